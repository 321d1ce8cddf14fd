//! Low balances: what is asked for, told and bought then.
//!
//! A run is for every account of the stack, so these tests look at their own accounts only, and take
//! turns.

use connects_tests::holder::Holder;
use connects_tests::schedule;
use connects_tests::stack::Stack;
use reqwest::Method;
use serde_json::{Value, json};

const NOW: &str = "2055-01-16T12:00:00Z";
const SOON: &str = "2055-01-16T12:15:00Z";

fn asked(threshold: u32, method: &str) -> Value {
    json!({
        "threshold": threshold,
        "top_up": {
            "quantity": 40, "monthly_cap": { "amount": 900, "currency": "USD" },
            "payment_method": method,
        },
    })
}

/// The answer where so much was spent, in that state, with so many declines.
fn stands(method: &str, spent: u32, state: &str, declines: u32) -> Value {
    let mut stands = asked(40, method);
    let off_reason = (state == "off").then_some("declined");
    for (member, value) in [
        ("state", json!(state)),
        ("off_reason", json!(off_reason)),
        (
            "spent_this_month",
            json!({ "amount": spent, "currency": "USD" }),
        ),
        ("declines", json!(declines)),
    ] {
        stands["top_up"][member] = value;
    }
    stands
}

async fn low_balance(holder: &Holder<'_>, at: &str) -> Value {
    let answer = holder.low_balance(Method::GET).at(at).await.is(200);
    answer.body
}

/// As the event of it wakes the function.
async fn told(stack: &Stack, holder: &Holder<'_>, at: &str) -> Value {
    let detail = json!({
        "event_id": format!("{}:low_balance:4", holder.id), "account_id": holder.id,
        "at": "2055-01-16T12:00:00.000Z", "seq": 4, "threshold": 40, "available": 39,
    });
    let report = stack.tell("purchase", "connects.low_balance", detail, at);
    report.await.unwrap()
}

/// The notices in the table of crossings, and of top-ups that went off.
async fn notices(stack: &Stack, holder: &Holder<'_>) -> (usize, usize) {
    let items = stack.items(&format!("ACCOUNT#{}", holder.id)).await;
    let of_kind = |kind: &str| items.keys().filter(|sk| sk.starts_with(kind)).count();
    (of_kind("SEEN#low_balance#"), of_kind("SEEN#top_up_off#"))
}

#[tokio::test]
async fn a_low_balance_is_told_of_and_topped_up_once() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.freelancer("2055-01-15").await;
    let nothing = json!({ "threshold": null, "top_up": null });
    assert_eq!(low_balance(&ana, NOW).await, nothing);
    let approve = "sandbox_approve";
    for _ in 0..2 {
        let set = ana.low_under(asked(40, approve)).at(NOW).await.is(200);
        assert_eq!(set.body, stands(approve, 0, "on", 0));
    }
    assert_eq!(low_balance(&ana, NOW).await, stands(approve, 0, "on", 0));

    ana.spend(10).at(NOW).await.is(201);
    assert_eq!(told(&stack, &ana, NOW).await["top_ups"], 0);
    ana.spend(1).at(NOW).await.is(201);
    assert_eq!(notices(&stack, &ana).await, (1, 0));
    let report = told(&stack, &ana, NOW).await;
    assert_eq!(
        (&report["top_ups"], &report["purchases"]),
        (&json!(1), &json!(1))
    );
    // Told twice, and once more by a run.
    let report = told(&stack, &ana, NOW).await;
    assert_eq!(report["top_ups_skipped"], json!({ "nothing": 1 }));
    stack.fire("purchase", SOON).await;
    assert_eq!(ana.available(SOON).await, 79);
    assert_eq!(low_balance(&ana, SOON).await, stands(approve, 600, "on", 0));
    let story = ana.story(SOON).await;
    assert_eq!(story[3], "account low_balance_set 0 -> 50");
    assert_eq!(story[6..], ["issue purchase 40 -> 79"], "{story:?}");

    // The purchase is found under its id like any other.
    let journal = ana.journal(SOON).await;
    let reference = journal.last().unwrap()["reference"].as_str().unwrap();
    let id = reference.strip_prefix("purchase:").unwrap();
    let bought = ana.get(&format!("/purchases/{id}")).at(SOON).await.is(200);
    assert_eq!(
        (&bought["status"], &bought["quantity"]),
        (&json!("paid"), &json!(40))
    );

    // The next comes over the month's cap, and waits for the next month.
    ana.spend(40).at(SOON).await.is(201);
    assert_eq!(notices(&stack, &ana).await, (2, 0));
    let report = told(&stack, &ana, SOON).await;
    assert_eq!(report["top_ups_skipped"], json!({ "cap_reached": 1 }));
    let next_month = "2055-02-01T00:00:00Z";
    stack.fire("purchase", next_month).await;
    assert_eq!(
        low_balance(&ana, next_month).await,
        stands(approve, 600, "on", 0)
    );

    let cleared = ana.low_balance(Method::DELETE).at(next_month).await.is(200);
    assert_eq!(cleared.body, nothing);
    ana.low_balance(Method::DELETE).at(next_month).await.is(200);
    assert_eq!(low_balance(&ana, next_month).await, nothing);
}

#[tokio::test]
async fn a_top_up_that_is_declined_three_times_is_off_until_it_is_asked_for_again() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.freelancer("2055-03-15").await;
    let decline = "sandbox_decline";
    ana.low_under(asked(40, decline))
        .at("2055-03-16")
        .await
        .is(200);
    ana.spend(11).at("2055-03-16").await.is(201);
    for (at, state, declines, off) in [
        ("2055-03-16T12:00:00Z", "on", 1, 0),
        ("2055-03-16T12:45:00Z", "on", 1, 0),
        ("2055-03-16T13:00:00Z", "on", 2, 0),
        ("2055-03-17T13:00:00Z", "off", 3, 1),
        ("2055-03-20T13:00:00Z", "off", 3, 1),
    ] {
        stack.fire("purchase", at).await;
        assert_eq!(
            low_balance(&ana, at).await,
            stands(decline, 0, state, declines)
        );
        assert_eq!(notices(&stack, &ana).await, (1, off), "{at}");
    }
    // The backend may ask too. It is low still: one is bought at the next run.
    let late = "2055-03-20T14:00:00Z";
    let path = format!("/v1/accounts/{}/low-balance", ana.id);
    let again = stack
        .service(Method::PUT, path)
        .json(asked(40, "sandbox_late"));
    let again = again.at(late).await.is(200);
    assert_eq!(again.body, stands("sandbox_late", 0, "on", 0));
    stack.fire("purchase", late).await;
    assert_eq!(
        low_balance(&ana, late).await,
        stands("sandbox_late", 600, "on", 0)
    );
    assert_eq!(ana.available(late).await, 39);
    stack.fire("purchase", "2055-03-20T14:15:00Z").await;
    assert_eq!(ana.available("2055-03-20T14:15:00Z").await, 79);
}

#[tokio::test]
async fn only_what_tells_of_a_low_balance_wakes_the_purchase_function() {
    let stack = Stack::local();
    let detail = json!({ "account_id": "nobody-here", "more": 1 });
    let report = stack.tell("purchase", "connects.low_balance", detail.clone(), NOW);
    assert_eq!(
        report.await.unwrap()["top_ups_skipped"],
        json!({ "off": 1 })
    );
    for (function, kind, detail, said) in [
        (
            "purchase",
            "connects.entry",
            detail.clone(),
            "not for this function",
        ),
        ("purchase", "connects.low_balance", json!({}), "account_id"),
        ("purchase", "connects.low_balance", json!(7), "account_id"),
        (
            "refund",
            "connects.low_balance",
            detail.clone(),
            "reads no queue",
        ),
        ("boost", "connects.low_balance", detail, "no queue"),
    ] {
        let failed = stack.tell(function, kind, detail, NOW).await.unwrap_err();
        assert!(failed.contains(said), "{function} {kind}: {failed}");
    }
}
