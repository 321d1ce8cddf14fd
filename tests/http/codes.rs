//! Promo codes that ride on purchases.

use connects_tests::holder::Holder;
use connects_tests::schedule;
use connects_tests::stack::{Stack, fresh_code};
use futures::future::join_all;
use serde_json::{Value, json};

/// When everything here is bought, but for what schedules settle.
const NOW: &str = "2052-03-06";

fn cents(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

/// A new code with these terms, valid for a century but for what they say.
async fn code(stack: &Stack, more: Value) -> String {
    let mut terms = json!({
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2100-01-01T00:00:00Z",
    });
    let more = more.as_object().cloned().unwrap_or_default();
    terms.as_object_mut().unwrap().extend(more);
    let code = fresh_code();
    stack.put_promo(&code, terms).at("2041-01-01").await.is(201);
    code
}

fn with(quantity: i64, code: &str, method: &str) -> Value {
    json!({ "quantity": quantity, "promo_code": code, "payment_method": method })
}

#[tokio::test]
async fn a_discount_comes_off_the_price() {
    let stack = Stack::local();
    for (terms, quantity, price, discount) in [
        (json!({ "percent_off": 20 }), 100, 1_200, 300),
        // 33 % of 555 are 183.15: the part of a cent is the customer's.
        (json!({ "percent_off": 33 }), 37, 371, 184),
        (json!({ "percent_off": 100 }), 10, 0, 150),
        (json!({ "amount_off": cents(200) }), 100, 1_300, 200),
        (json!({ "amount_off": cents(2_000) }), 100, 0, 1_500),
    ] {
        let mut terms = terms;
        terms["kind"] = json!("discount");
        let code = code(&stack, terms.clone()).await;
        let ana = stack.agency("2052-03-01").await;
        let body = json!({ "quantity": quantity, "promo_code": code.to_lowercase() });
        let request = ana.buy_with(body).at(NOW);
        let bought = request.clone().await.is(201).has("status", "paid");
        let bought = bought
            .has("price", cents(price))
            .has("discount", cents(discount))
            .has("quantity", quantity)
            .has("bonus", 0)
            .balance(quantity, 0);
        let path = format!("/purchases/{}", bought.text("purchase_id"));
        let found = ana.get(&path).at(NOW).await.is(200);
        assert_eq!(found.body, bought.body, "{terms}");
        let again = request.at("2052-05-06").await.is(201);
        assert!(again.replayed());
        assert_eq!(again.body, bought.body, "{terms}");
        assert_eq!(stack.redeemed(&code).await, 1);
        ana.audit().await;
    }
}

#[tokio::test]
async fn what_costs_nothing_is_not_asked_of_the_provider() {
    let stack = Stack::local();
    let code = code(&stack, json!({ "kind": "discount", "percent_off": 100 })).await;
    let ana = stack.agency("2052-03-01").await;
    let bought = ana.buy_with(with(20, &code, "sandbox_decline")).at(NOW);
    let bought = bought.await.is(201).has("status", "paid");
    bought.has("price", cents(0)).balance(20, 0);
}

#[tokio::test]
async fn a_bonus_comes_in_a_lot_of_its_own() {
    let stack = Stack::local();
    let code = code(
        &stack,
        json!({ "kind": "bonus", "quantity": 20, "lot_valid_days": 14 }),
    )
    .await;
    let ana = stack.agency("2052-03-01").await;
    let bought = ana.buy_with(with(100, &code, "sandbox_approve")).at(NOW);
    let bought = bought.await.is(201).balance(120, 0);
    let bought = bought
        .has("bonus", 20)
        .has("price", cents(1_500))
        .has("discount", cents(0));
    assert_eq!(
        ana.lots(NOW).await,
        [
            "100/100 purchase until 2053-03-06",
            "20/20 promo until 2052-03-20"
        ]
    );
    assert_eq!(
        ana.story(NOW).await,
        [
            "account opened 0 -> 0",
            "issue purchase 100 -> 100",
            "issue promo_bonus 20 -> 120"
        ]
    );
    let journal = ana.journal(NOW).await;
    assert_eq!(journal[2]["reference"], format!("promo:{code}"));
    assert_eq!(journal[1]["lots"][0]["lot_id"], bought["lot_id"]);

    // A chargeback takes both, and the code stays used.
    let id = bought.text("purchase_id");
    ana.spend(70).at(NOW).await.is(201).balance(50, 0);
    ana.charge_back(&id).at(NOW).await.is(200).balance(0, 70);
    let again = ana.buy_with(with(100, &code, "sandbox_approve")).at(NOW);
    let again = again.await.refused(409, "promo_already_redeemed");
    assert_eq!(again["existing"]["purchase_id"], json!(id));
    assert_eq!(again["existing"]["status"], "charged_back");
    assert_eq!(stack.redeemed(&code).await, 1);
    ana.audit().await;

    // Without days of its own a bonus lasts as long as what is redeemed.
    let plain = self::code(&stack, json!({ "kind": "bonus", "quantity": 5 })).await;
    let ben = stack.agency("2052-03-01").await;
    let bought = ben.buy_with(with(10, &plain, "sandbox_approve")).at(NOW);
    bought.await.is(201);
    assert_eq!(ben.lots(NOW).await[1], "5/5 promo until 2053-03-06");
}

#[tokio::test]
async fn a_code_is_for_whom_and_when_its_terms_say() {
    let stack = Stack::local();
    let march = json!({
        "kind": "bonus", "quantity": 5, "kinds": ["freelancer"],
        "valid_from": "2052-03-01T00:00:00Z", "valid_until": "2052-04-01T00:00:00Z",
    });
    let march = code(&stack, march).await;
    let plus = code(
        &stack,
        json!({ "kind": "discount", "percent_off": 5, "plans": ["plus"] }),
    )
    .await;
    let ana = stack.freelancer("2052-01-10").await;
    let ben = stack.agency("2052-01-10").await;
    let nobody = &fresh_code();
    let refused = async |holder: &Holder<'_>, code: &str, at: &str, status, problem: &str| {
        let before = holder.items().await;
        let answer = holder.buy_with(with(10, code, "sandbox_approve")).at(at);
        answer.await.refused(status, problem);
        assert_eq!(holder.items().await, before, "{problem}");
    };
    for (holder, code, at, status, problem) in [
        (
            &ana,
            &march,
            "2052-02-29T23:59:59.999Z",
            409,
            "promo_not_started",
        ),
        (&ana, &march, "2052-04-01T00:00:00Z", 409, "promo_expired"),
        (&ben, &march, "2052-03-06", 409, "promo_not_eligible"),
        (&ana, &plus, "2052-03-06", 409, "promo_not_eligible"),
        (&ben, nobody, "2052-03-06", 404, "promo_unknown"),
    ] {
        refused(holder, code, at, status, problem).await;
    }
    let eve = stack.freelancer("2052-01-10").await;
    let suspend = eve.amend(json!({ "status": "suspended" }));
    suspend.at("2052-03-06").await.is(200);
    refused(&eve, &march, "2052-03-06", 409, "account_suspended").await;
    let last = ana.buy_with(with(10, &march, "sandbox_approve"));
    last.at("2052-03-31T23:59:59.999Z").await.is(201);
    assert_eq!(stack.redeemed(&march).await, 1);
    // Too few is told before what the code is.
    let few = ben.buy_with(with(9, nobody, "sandbox_approve")).at(NOW);
    few.await
        .refused(422, "below_minimum")
        .has("field", "quantity");
}

#[tokio::test]
async fn a_declined_purchase_gives_its_code_back() {
    let stack = Stack::local();
    let code = code(
        &stack,
        json!({ "kind": "bonus", "quantity": 5, "max_redemptions": 1 }),
    )
    .await;
    let ana = stack.agency("2052-03-01").await;
    let declined = ana.buy_with(with(10, &code, "sandbox_decline")).at(NOW);
    let first = declined.clone().await.refused(402, "payment_declined");
    assert_eq!(first["purchase"]["bonus"], 5);
    assert_eq!(stack.redeemed(&code).await, 0);
    let paid = ana.buy_with(with(10, &code, "sandbox_approve")).at(NOW);
    paid.await.is(201).balance(15, 0);
    assert_eq!(stack.redeemed(&code).await, 1);
    // The key of the first finds what became of that.
    let again = declined.await;
    assert!(again.replayed());
    again.refused(402, "payment_declined");
    let ben = stack.agency("2052-03-01").await;
    let late = ben.buy_with(with(10, &code, "sandbox_approve")).at(NOW);
    late.await.refused(409, "promo_exhausted");
    assert_eq!(stack.redeemed(&code).await, 1);
}

#[tokio::test]
async fn an_open_payment_keeps_its_code_until_it_is_known() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    for (month, method, run, status, left) in [
        ("04", "sandbox_timeout", "11T10:00:00Z", "paid", 1),
        ("05", "sandbox_late", "11T10:00:00Z", "paid", 1),
        ("06", "sandbox_late", "12T09:00:00Z", "declined", 0),
        ("07", "sandbox_timeout", "12T09:00:00Z", "paid", 1),
    ] {
        let at = |day_and_time: &str| format!("2041-{month}-{day_and_time}");
        let code = code(
            &stack,
            json!({ "kind": "bonus", "quantity": 5, "max_redemptions": 1 }),
        )
        .await;
        let ana = stack.agency(&at("10")).await;
        let request = ana.buy_with(with(10, &code, method));
        let pending = request.clone().at(&at("11T09:00:00Z")).await.is(202);
        let pending = pending.has("bonus", 5).balance(0, 0);
        assert_eq!(stack.redeemed(&code).await, 1, "{month}");
        let other = ana.buy_with(with(10, &code, "sandbox_approve"));
        let other = other.at(&at("11T09:00:01Z")).await;
        let other = other.refused(409, "promo_already_redeemed");
        assert_eq!(other["existing"], pending.body);
        for _ in 0..2 {
            stack.fire("purchase", &at(run)).await;
        }
        let path = format!("/purchases/{}", pending.text("purchase_id"));
        let found = ana.get(&path).at(&at("13")).await.is(200);
        found.has("status", status).has("bonus", 5);
        assert_eq!(stack.redeemed(&code).await, left, "{month}");
        assert_eq!(ana.available(&at("13")).await, left * 15, "{month}");
        ana.audit().await;
    }
}

#[tokio::test]
async fn a_race_for_the_last_redemptions_has_exactly_as_many_winners() {
    let stack = Stack::local();
    let code = code(
        &stack,
        json!({ "kind": "discount", "percent_off": 50, "max_redemptions": 4 }),
    )
    .await;
    let mut racers = Vec::new();
    for _ in 0..12 {
        racers.push(stack.agency("2052-03-01").await);
    }
    let racing = racers.iter().map(|racer| async {
        let request = racer.buy_with(with(10, &code, "sandbox_approve"));
        request.at(NOW).await
    });
    let (won, lost): (Vec<_>, Vec<_>) = join_all(racing)
        .await
        .into_iter()
        .partition(|answer| answer.status == 201);
    assert_eq!((won.len(), lost.len()), (4, 8));
    for answer in lost {
        answer.refused(409, "promo_exhausted");
    }
    assert_eq!(stack.redeemed(&code).await, 4);
}
