//! Several faults at once: the weightiest is answered.

use connects_tests::client::Answer;
use connects_tests::stack::Stack;
use serde_json::json;

use crate::world::{BODY_LIMIT, NOW, USER, world};
use Fault::*;

/// What is wrong with a request, in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    NoToken,
    WrongScope,
    UnknownAccount,
    TooLarge,
    Malformed,
    BadValue,
    ReusedKey,
    Suspended,
    InDebt,
    TooFew,
}

/// Of two faults at once the first of the list is answered.
#[tokio::test]
async fn of_two_faults_the_weightier_is_answered() {
    let stack = Stack::local();
    let codes = [
        (NoToken, 401, "unauthenticated"),
        (WrongScope, 403, "forbidden"),
        (UnknownAccount, 404, "account_not_found"),
        (TooLarge, 413, "body_too_large"),
        (Malformed, 400, "malformed_request"),
        (BadValue, 422, "below_minimum"),
        (ReusedKey, 422, "idempotency_key_reused"),
        (Suspended, 409, "account_suspended"),
        (InDebt, 409, "in_debt"),
        (TooFew, 409, "insufficient_connects"),
    ];
    for (place, (first, status, code)) in codes.iter().enumerate() {
        for (second, ..) in &codes[place..] {
            let faults = [*first, *second];
            faulty_spend(&stack, &faults).await.refused(*status, code);
        }
    }
}

/// A spend with all of these faults. It leaves the account as it was.
async fn faulty_spend(stack: &Stack, faults: &[Fault]) -> Answer {
    let ana = stack.agency("2052-01-10").await;
    let mut body = json!({ "amount": 5, "reason": "application" });
    let bought = ana.buy(20).at("2052-01-11").await.is(201);
    ana.spend(1).key("taken").at("2052-01-12").await.is(201);
    if faults.contains(&InDebt) {
        ana.charge_back(&bought.text("purchase_id"))
            .at("2052-01-13")
            .await
            .is(200);
    }
    if faults.contains(&Suspended) {
        let suspend = ana.amend(json!({ "status": "suspended" }));
        suspend.at("2052-01-14").await.is(200);
    }
    if faults.contains(&TooFew) {
        body["amount"] = json!(500);
    }
    if faults.contains(&BadValue) {
        body["amount"] = json!(0);
    }
    let mut text = body.to_string();
    if faults.contains(&Malformed) {
        text = text.replace("\"application\"", "5");
    }
    if faults.contains(&TooLarge) {
        text.push_str(&" ".repeat(BODY_LIMIT));
    }
    let nowhere = stack.holder("nowhere");
    let of = if faults.contains(&UnknownAccount) {
        &nowhere
    } else {
        &ana
    };
    let mut request = of.spend(1).raw(text).at(NOW).about(format!("{faults:?}"));
    if faults.contains(&ReusedKey) {
        request = request.key("taken");
    }
    if faults.contains(&WrongScope) {
        request = request.token(stack.minter.token(USER, &[&of.id]));
    }
    if faults.contains(&NoToken) {
        request = request.without("authorization");
    }
    let before = ana.items().await;
    let answer = request.await;
    assert_eq!(ana.items().await, before, "{faults:?}");
    answer
}

#[tokio::test]
async fn a_missing_key_and_other_faults() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let spend = world.route("spend");
    let keyless = || world.good(spend).without("idempotency-key");
    let too_large = " ".repeat(BODY_LIMIT + 1);
    keyless()
        .raw(too_large)
        .await
        .refused(413, "body_too_large");
    let zero = json!({ "amount": 0, "reason": "application" });
    let answer = keyless().json(zero).await;
    answer.refused(400, "idempotency_key_required");
    // Any wrong type outweighs every bad value, wherever they stand.
    for body in [
        json!({ "amount": 0, "reason": 5 }),
        json!({ "amount": "5", "reason": "" }),
        json!({ "amount": 5.5, "reason": "application", "extra": 1 }),
        json!({ "extra": 1, "reason": [] }),
    ] {
        let answer = world.good(spend).json(body).await;
        answer.refused(400, "malformed_request");
    }
}
