//! Accounts: what they start with, when their cycle turns, who may have which.

use connects_tests::stack::Stack;
use futures::future::join_all;
use serde_json::{Value, json};

#[tokio::test]
async fn a_new_freelancer_has_40_for_registering_and_10_for_the_first_month() {
    let stack = Stack::local();
    let ana = stack.holder("ana");
    let opened = ana.open("freelancer").at("2052-01-15").await.is(201);
    for (member, value) in [
        ("account_id", json!(ana.id)),
        ("kind", json!("freelancer")),
        ("plan", json!("basic")),
        ("status", json!("active")),
        (
            "billing_cycle",
            json!({ "starts_on": "2052-01-15", "ends_on": "2052-02-14", "next_grant_on": "2052-02-15" }),
        ),
        ("balance", json!({ "available": 50, "held": 0, "debt": 0 })),
        ("next_expiry", json!({ "on": "2053-01-15", "amount": 50 })),
        ("pending_plan", Value::Null),
    ] {
        assert_eq!(opened[member], value, "{member} in {}", opened.text);
    }
    let now = "2052-01-16";
    assert_eq!(ana.get("").at(now).await.is(200).body, opened.body);
    assert_eq!(
        ana.lots(now).await,
        [
            "40/40 signup until 2053-01-15",
            "10/10 monthly_free until 2053-01-15"
        ]
    );
    assert_eq!(
        ana.story(now).await,
        [
            "account opened 0 -> 0",
            "issue signup 40 -> 40",
            "issue monthly_free 10 -> 50"
        ]
    );
}

#[tokio::test]
async fn an_agency_starts_with_nothing() {
    let stack = Stack::local();
    let agency = stack.holder("agency");
    let opened = agency.open("agency").at("2052-01-15").await.is(201);
    let opened = opened.balance(0, 0).has("next_expiry", Value::Null);
    assert_eq!(opened["kind"], "agency");
    assert!(agency.lots("2052-12-31").await.is_empty());
}

#[tokio::test]
async fn registering_is_rewarded_once_per_person() {
    let stack = Stack::local();
    let first = stack.freelancer("2052-01-15").await;
    let second = first.second_account();
    let opened = second.open("freelancer").at("2052-01-16").await.is(201);
    opened.balance(10, 0);

    // An agency does not use up its owner's bonus.
    let agency = stack.agency("2052-01-15").await;
    let owner = agency.second_account();
    let opened = owner.open("freelancer").at("2052-01-16").await.is(201);
    opened.balance(50, 0);

    // Four accounts of one person at once: one of them gets it.
    let someone = stack.holder("someone");
    let accounts = [(); 4].map(|()| someone.second_account());
    let opened = join_all(
        accounts
            .iter()
            .map(|account| async { account.open("freelancer").at("2052-01-15").await.is(201) }),
    )
    .await;
    let mut balances: Vec<_> = opened
        .iter()
        .map(|answer| answer["balance"]["available"].as_i64().unwrap())
        .collect();
    balances.sort_unstable();
    assert_eq!(balances, [10, 10, 10, 50]);
}

#[tokio::test]
async fn a_past_opening_date_fixes_the_cycle_and_earns_nothing_more() {
    let stack = Stack::local();
    let bea = stack.holder("bea");
    let body = json!({ "kind": "freelancer", "person_id": bea.person, "opened_on": "2050-03-11" });
    let opened = bea.open_with(body).at("2052-06-20").await.is(201);
    let opened = opened.balance(50, 0).has(
        "billing_cycle",
        json!({ "starts_on": "2052-06-11", "ends_on": "2052-07-10", "next_grant_on": "2052-07-11" }),
    );
    // Both lots are of the day the account was opened here.
    assert_eq!(
        opened["next_expiry"],
        json!({ "on": "2053-06-20", "amount": 50 })
    );
    assert_eq!(bea.available("2052-07-10T23:59:59Z").await, 50);
    assert_eq!(bea.available("2052-07-11T00:00:00Z").await, 60);
}

#[tokio::test]
async fn opening_again_is_the_same_account_or_a_conflict() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let before = ana.items().await;
    let again = ana.open("freelancer").at("2052-01-20").await.is(200);
    again.balance(50, 0);
    let person = &ana.person;
    for conflicting in [
        json!({ "kind": "agency", "person_id": person }),
        json!({ "kind": "freelancer", "person_id": "someone-else" }),
        json!({ "kind": "freelancer", "person_id": person, "opened_on": "2052-01-01" }),
    ] {
        let answer = ana.open_with(conflicting).at("2052-01-20").await;
        answer.refused(409, "account_exists");
    }
    assert_eq!(ana.items().await, before);
}

#[tokio::test]
async fn opened_eight_times_at_once_it_is_one_account() {
    let stack = Stack::local();
    let ana = stack.holder("ana");
    let tries = (0..8).map(|_| async { ana.open("freelancer").at("2052-01-15").await });
    let answers = join_all(tries).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201]);
    assert_eq!(ana.keys("ENTRY#").await.len(), 3);
    assert_eq!(ana.available("2052-01-15").await, 50);
}

#[tokio::test]
async fn nobody_opened_tomorrow() {
    let stack = Stack::local();
    let ana = stack.holder("ana");
    let on = |day: &str| {
        ana.open_with(json!({ "kind": "freelancer", "person_id": ana.person, "opened_on": day }))
            .at("2052-01-15T23:59:59Z")
    };
    let answer = on("2052-01-16").await.refused(422, "invalid_field");
    answer.has("field", "opened_on");
    assert!(ana.items().await.is_empty());
    on("2052-01-15").await.is(201).balance(50, 0);
}

#[tokio::test]
async fn an_account_is_suspended_and_reactivated_and_gets_a_new_contact() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let change = |body: Value, at: &str| ana.amend(body).at(at);
    let suspended = change(json!({ "status": "suspended" }), "2052-01-16")
        .await
        .is(200);
    suspended.has("status", "suspended").balance(50, 0);
    let refused = ana.spend(1).at("2052-01-17").await;
    refused.refused(409, "account_suspended");
    let active = change(json!({ "status": "active" }), "2052-01-18")
        .await
        .is(200);
    active.has("status", "active").balance(50, 0);
    ana.spend(1).at("2052-01-18").await.is(201).balance(49, 0);
    let mailed = change(json!({ "email": "ana@example.org" }), "2052-01-19").await;
    mailed.is(200).has("status", "active");
    let story = ana.story("2052-01-20").await;
    for entry in ["account suspended 0 -> 50", "account reactivated 0 -> 50"] {
        let count = story.iter().filter(|line| *line == entry).count();
        assert_eq!(count, 1, "{entry} in {story:#?}");
    }
}

#[tokio::test]
async fn cycles_begin_on_the_anchor_day_or_the_last_of_a_shorter_month() {
    let stack = Stack::local();
    for (opened_on, today, starts_on, ends_on, next_grant_on) in [
        (
            "2051-10-11",
            "2052-11-10",
            "2052-10-11",
            "2052-11-10",
            "2052-11-11",
        ),
        (
            "2051-10-11",
            "2052-11-11",
            "2052-11-11",
            "2052-12-10",
            "2052-12-11",
        ),
        (
            "2051-01-01",
            "2052-12-31",
            "2052-12-01",
            "2052-12-31",
            "2053-01-01",
        ),
        (
            "2051-01-29",
            "2053-02-28",
            "2053-02-28",
            "2053-03-28",
            "2053-03-29",
        ),
        (
            "2051-01-30",
            "2053-03-29",
            "2053-02-28",
            "2053-03-29",
            "2053-03-30",
        ),
        (
            "2051-01-31",
            "2052-01-31",
            "2052-01-31",
            "2052-02-28",
            "2052-02-29",
        ),
        (
            "2051-01-31",
            "2052-02-29",
            "2052-02-29",
            "2052-03-30",
            "2052-03-31",
        ),
        (
            "2051-01-31",
            "2053-02-27",
            "2053-01-31",
            "2053-02-27",
            "2053-02-28",
        ),
        (
            "2051-01-31",
            "2053-02-28",
            "2053-02-28",
            "2053-03-30",
            "2053-03-31",
        ),
        (
            "2051-01-31",
            "2052-04-30",
            "2052-04-30",
            "2052-05-30",
            "2052-05-31",
        ),
        (
            "2052-02-29",
            "2053-03-01",
            "2053-02-28",
            "2053-03-28",
            "2053-03-29",
        ),
    ] {
        let account = stack.holder("cycle");
        let body = json!({ "kind": "agency", "person_id": account.person, "opened_on": opened_on });
        let opened = account.open_with(body).at(today).await.is(201);
        let cycle =
            json!({ "starts_on": starts_on, "ends_on": ends_on, "next_grant_on": next_grant_on });
        assert_eq!(opened["billing_cycle"], cycle, "{opened_on}, on {today}");
    }
}
