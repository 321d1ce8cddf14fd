//! Plans: what an upgrade brings and when, what a downgrade waits for, and how a preview tells.

use connects_tests::client::Answer;
use connects_tests::holder::Holder;
use connects_tests::stack::Stack;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// Of a cycle 2053-10-11 to 11-10.
const OPENED: &str = "2053-10-11";

async fn preview(ana: &Holder<'_>, plan: &str, at: &str) -> Answer {
    let path = format!("/plan-changes/preview?plan={plan}");
    ana.get(&path).at(at).await
}

fn issued(plan_included: i64, monthly_free: i64) -> Value {
    json!([
        { "reason": "plan_included", "amount": plan_included },
        { "reason": "monthly_free", "amount": monthly_free },
    ])
}

/// A freelancer on plus since 2053-10-21: 113 Connects, and 70 on each 21st.
async fn on_plus(stack: &Stack) -> Holder<'_> {
    let ana = stack.freelancer(OPENED).await;
    ana.change_plan("plus").at("2053-10-21").await.is(200);
    ana
}

#[tokio::test]
async fn an_upgrade_brings_what_the_days_that_passed_are_worth() {
    let stack = Stack::local();
    for (day, free, ends_on, next) in [
        ("2053-10-11", 0, "2053-11-10", "2053-11-11"),
        ("2053-10-21", 3, "2053-11-20", "2053-11-21"),
        ("2053-11-10", 10, "2053-12-09", "2053-12-10"),
    ] {
        let ana = stack.freelancer(OPENED).await;
        let before = ana.items().await;
        let told = preview(&ana, "plus", day).await.is(200);
        assert_eq!(ana.items().await, before);

        let changed = ana.change_plan("plus").at(day).await.is(200);
        assert_eq!(changed.text, told.text);
        changed
            .has("effective_on", day)
            .has("issued", issued(60, free));
        let account = ana.get("").at(day).await.is(200);
        assert_eq!(told["account"], account.body);
        account
            .has("plan", "plus")
            .has("pending_plan", Value::Null)
            .has(
                "billing_cycle",
                json!({ "starts_on": day, "ends_on": ends_on, "next_grant_on": next }),
            )
            .balance(110 + free, 0);

        // Nothing when the old cycle ends, all of it when the new one does.
        let last = format!("{ends_on}T23:59:59.999Z");
        assert_eq!(ana.available(&last).await, 110 + free);
        let next = format!("{next}T00:00:00Z");
        assert_eq!(ana.available(&next).await, 110 + free + 70);
        ana.audit().await;
    }
}

#[tokio::test]
async fn an_upgrade_is_a_story_of_its_cycle() {
    let stack = Stack::local();
    let ana = on_plus(&stack).await;
    let lots = ana.lots("2053-10-21").await;
    let expected = [
        "40/40 signup until 2054-10-11",
        "10/10 monthly_free until 2054-10-11",
        "60/60 plan_included until 2054-10-21",
        "3/3 monthly_free until 2054-10-21",
    ];
    assert_eq!(lots, expected);
    let path = "/history?reference=cycle:2053-10-21";
    let entries = ana.listing(path, "entries", "2053-10-22").await;
    let told: Vec<String> = entries
        .iter()
        .map(|entry| format!("{} {} {}", entry["type"], entry["reason"], entry["amount"]))
        .collect();
    let expected = [
        r#""issue" "monthly_free" 3"#,
        r#""issue" "plan_included" 60"#,
        r#""account" "upgraded" 0"#,
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_downgrade_waits_for_the_next_cycle_unless_it_is_cancelled() {
    let stack = Stack::local();
    let ana = on_plus(&stack).await;
    let told = preview(&ana, "basic", "2053-10-25").await.is(200);
    let scheduled = ana.change_plan("basic").at("2053-10-25").await.is(200);
    assert_eq!(scheduled.text, told.text);
    scheduled
        .has("effective_on", "2053-11-21")
        .has("issued", json!([]));
    let account = ana.get("").at("2053-10-26").await.is(200);
    account
        .has("plan", "plus")
        .has("pending_plan", "basic")
        .balance(113, 0);

    // Plus again before that brings nothing.
    let cancelled = ana.change_plan("plus").at("2053-10-27").await.is(200);
    cancelled
        .has("effective_on", "2053-10-27")
        .has("issued", json!([]));
    assert_eq!(ana.available("2053-10-27").await, 113);
    let account = ana.get("").at("2053-11-21T00:00:00Z").await.is(200);
    account
        .has("plan", "plus")
        .has("pending_plan", Value::Null)
        .balance(183, 0);

    // This one is not cancelled: the next grant is basic's, and lots stay.
    ana.change_plan("basic").at("2053-11-25").await.is(200);
    assert_eq!(ana.available("2053-12-20T23:59:59Z").await, 183);
    let account = ana.get("").at("2053-12-21T00:00:00Z").await.is(200);
    account
        .has("plan", "basic")
        .has("pending_plan", Value::Null)
        .balance(193, 0);
    let again = ana.change_plan("plus").at("2053-12-21").await.is(200);
    again.has("issued", issued(60, 0));
    let expected = [
        "account downgrade_cancelled 0 -> 113",
        "issue plan_included 60 -> 173",
        "issue monthly_free 10 -> 183",
        "account downgrade_scheduled 0 -> 183",
        "account downgraded 0 -> 183",
        "issue monthly_free 10 -> 193",
        "account upgraded 0 -> 193",
        "issue plan_included 60 -> 253",
    ];
    let story = ana.story("2053-12-21").await;
    assert_eq!(story[story.len() - expected.len()..], expected);
    ana.audit().await;
}

#[tokio::test]
async fn a_failed_payment_means_basic_at_once() {
    let stack = Stack::local();
    let ana = on_plus(&stack).await;
    ana.change_plan("basic").at("2053-10-25").await.is(200);
    let failed = json!({ "plan": "basic", "effective": "now", "reason": "payment_failed" });
    let changed = ana.change_plan_with(failed.clone()).at("2053-10-28").await;
    let changed = changed.is(200);
    let account = ana.get("").at("2053-10-28").await.is(200);
    assert_eq!(changed["account"], account.body);
    changed
        .has("effective_on", "2053-10-28")
        .has("issued", json!([]));
    account
        .has("plan", "basic")
        .has("pending_plan", Value::Null)
        .has(
            "billing_cycle",
            json!({ "starts_on": "2053-10-21", "ends_on": "2053-11-20", "next_grant_on": "2053-11-21" }),
        )
        .balance(113, 0);
    assert_eq!(ana.available("2053-11-21T00:00:00Z").await, 123);
    let again = ana.change_plan_with(failed).at("2053-10-29").await;
    again.refused(409, "plan_unchanged");
}

#[tokio::test]
async fn what_would_change_nothing_is_refused_and_previewed_so() {
    let stack = Stack::local();
    let ana = stack.freelancer(OPENED).await;
    let now = "2053-10-25";
    let refused = async |plan: &str, code: &str| {
        let before = ana.items().await;
        let changed = ana.change_plan(plan).at(now).await;
        let changed = changed.refused(409, code);
        let previewed = preview(&ana, plan, now).await.refused(409, code);
        assert_eq!(previewed.body, changed.body);
        assert_eq!(ana.items().await, before);
    };
    refused("basic", "plan_unchanged").await;
    ana.change_plan("plus").at(now).await.is(200);
    refused("plus", "plan_unchanged").await;
    ana.change_plan("basic").at(now).await.is(200);
    refused("basic", "plan_unchanged").await;

    // What is suspended is not granted anything, so it can't go up. It can go down.
    let ana = stack.freelancer(OPENED).await;
    let status = |status: &str| ana.amend(json!({ "status": status })).at(now);
    status("suspended").await.is(200);
    let before = ana.items().await;
    for answer in [
        ana.change_plan("plus").at(now).await,
        preview(&ana, "plus", now).await,
    ] {
        answer.refused(409, "account_suspended");
    }
    assert_eq!(ana.items().await, before);
    status("active").await.is(200);
    ana.change_plan("plus").at(now).await.is(200);
    status("suspended").await.is(200);
    ana.change_plan("basic").at(now).await.is(200);
    let account = ana.get("").at("2053-11-25T00:00:00Z").await.is(200);
    account
        .has("plan", "basic")
        .has("status", "suspended")
        .balance(110 + 5, 0);
}

#[tokio::test]
async fn agencies_get_what_the_policy_gives_them() {
    let stack = Stack::local();
    let bea = stack.agency(OPENED).await;
    let changed = bea.change_plan("plus").at("2053-10-21").await.is(200);
    changed.has("issued", json!([]));
    let account = bea.get("").at("2054-01-21").await.is(200);
    account.has("plan", "plus").balance(0, 0);
}

#[tokio::test]
async fn a_change_happens_once_and_is_answered_the_same() {
    let stack = Stack::local();
    let ana = stack.freelancer(OPENED).await;
    let request = ana.change_plan("plus").key("one").at("2053-10-21");
    let answers = join_all((0..20).map(|_| async { request.clone().await })).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.text), (200, &answers[0].text));
    }
    let first_hand = answers.iter().filter(|answer| !answer.replayed()).count();
    assert_eq!(first_hand, 1);
    ana.spend(100).at("2053-10-22").await.is(201);
    ana.change_plan("basic").at("2053-10-23").await.is(200);
    let before = ana.items().await;
    let replay = request.clone().at("2055-01-01").await.is(200);
    assert!(replay.replayed());
    assert_eq!(replay.text, answers[0].text);
    let other = ana.change_plan("basic").key("one").at("2053-10-24").await;
    other.refused(422, "idempotency_key_reused");
    assert_eq!(ana.items().await, before);
    // What is left out is what the plan allows, so this is the same request.
    let spelt = json!({ "reason": "requested", "effective": "now", "plan": "plus" });
    let replay = ana
        .change_plan_with(spelt)
        .key("one")
        .at("2053-10-24")
        .await;
    assert_eq!(replay.is(200).text, answers[0].text);
    ana.audit().await;
}

#[tokio::test]
async fn holders_may_ask_but_only_the_backend_changes() {
    let stack = Stack::local();
    let ana = stack.freelancer(OPENED).await;
    let holder = stack.minter.token("connects", &[&ana.id]);
    let told = preview(&ana, "plus", "2053-10-21").await.is(200);
    let path = format!("/v1/accounts/{}/plan-changes/preview?plan=plus", ana.id);
    let asked = stack.user(&[&ana.id], Method::GET, path);
    let asked = asked.at("2053-10-21").await.is(200);
    assert_eq!(asked.text, told.text);
    let changed = ana.change_plan("plus").token(holder).at("2053-10-21").await;
    changed.refused(403, "forbidden");
}
