//! What time brings, whether or not a schedule has run: grants, expiry, notices.
//!
//! A sweep is for every account of the stack, so these tests look at their own accounts only,
//! and take turns.

use connects_tests::holder::Holder;
use connects_tests::schedule;
use connects_tests::stack::Stack;
use futures::future::join;
use serde_json::{Value, json};

/// The first instants of the cycles whose free Connects are in the journal.
async fn grants(holder: &Holder<'_>, at: &str) -> Vec<String> {
    let issued = |entry: &Value| entry["type"] == "issue" && entry["reason"] == "monthly_free";
    let journal = holder.journal(at).await;
    let entries = journal.iter().filter(|entry| issued(entry));
    entries
        .inspect(|entry| assert_eq!(entry["amount"], 10))
        .map(|entry| entry["effective_at"].as_str().unwrap()[..10].to_owned())
        .collect()
}

/// The entries of that type: `at`, `effective_at`, amount, balance after.
async fn entries_of(holder: &Holder<'_>, kind: &str, at: &str) -> Vec<String> {
    let journal = holder.journal(at).await;
    let of_kind = journal.iter().filter(|entry| entry["type"] == kind);
    of_kind
        .map(|entry| {
            let text = |member: &str| entry[member].as_str().unwrap().to_owned();
            format!(
                "{} for {}: {} -> {}",
                text("at"),
                text("effective_at"),
                entry["amount"],
                entry["available_after"]
            )
        })
        .collect()
}

#[tokio::test]
async fn each_cycle_is_granted_once_however_often_and_late_the_schedule_runs() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.freelancer("2042-01-11").await;

    // Just before the cycle turns there is nothing to do.
    stack.fire("monthly-grant", "2042-02-10T23:45:00Z").await;
    assert_eq!(grants(&ana, "2042-02-10T23:50:00Z").await, ["2042-01-11"]);

    // Visible from the first instant, booked by the schedule, twice and concurrently.
    assert_eq!(ana.available("2042-02-11T00:00:00Z").await, 60);
    assert_eq!(grants(&ana, "2042-02-11T00:00:00Z").await, ["2042-01-11"]);
    for _ in 0..2 {
        stack.fire("monthly-grant", "2042-02-11T00:00:00Z").await;
    }
    join(
        stack.fire("monthly-grant", "2042-02-11T00:15:00Z"),
        stack.fire("monthly-grant", "2042-02-11T00:15:00Z"),
    )
    .await;
    let booked = grants(&ana, "2042-02-11T00:20:00Z").await;
    assert_eq!(booked, ["2042-01-11", "2042-02-11"]);

    // Ten weeks late: each missed cycle, with its own day.
    stack.fire("monthly-grant", "2042-04-20").await;
    let booked = grants(&ana, "2042-04-21").await;
    assert_eq!(
        booked,
        ["2042-01-11", "2042-02-11", "2042-03-11", "2042-04-11"]
    );
    assert_eq!(ana.available("2042-04-21").await, 80);
    let lots = ana.lots("2042-04-21").await;
    assert_eq!(
        lots[2..],
        [
            "10/10 monthly_free until 2043-02-11",
            "10/10 monthly_free until 2043-03-11",
            "10/10 monthly_free until 2043-04-11"
        ]
    );
    ana.audit().await;
}

#[tokio::test]
async fn two_late_runs_at_once_grant_once() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let mut holders = Vec::new();
    for _ in 0..5 {
        holders.push(stack.freelancer("2042-06-15").await);
    }
    join(
        stack.fire("monthly-grant", "2042-08-20"),
        stack.fire("monthly-grant", "2042-08-20"),
    )
    .await;
    for holder in &holders {
        let booked = grants(holder, "2042-08-21").await;
        assert_eq!(booked, ["2042-06-15", "2042-07-15", "2042-08-15"]);
    }
}

#[tokio::test]
async fn a_request_brings_its_grants_with_it() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.freelancer("2042-01-31").await;
    // 28 February and 31 March: the anchor is kept.
    let spent = ana.spend(65).at("2042-03-31T00:00:00Z").await.is(201);
    spent.balance(5, 0);
    stack.fire("monthly-grant", "2042-03-31T00:15:00Z").await;
    let booked = grants(&ana, "2042-03-31T00:20:00Z").await;
    assert_eq!(booked, ["2042-01-31", "2042-02-28", "2042-03-31"]);
}

#[tokio::test]
async fn agencies_get_no_monthly_connects() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let agency = stack.agency("2042-01-11").await;
    stack.fire("monthly-grant", "2042-05-20").await;
    assert_eq!(agency.available("2042-05-21").await, 0);
    assert!(grants(&agency, "2042-05-21").await.is_empty());
}

#[tokio::test]
async fn a_cycle_that_starts_in_a_suspension_is_skipped_for_good() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.freelancer("2042-01-11").await;
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at("2042-03-01").await.is(200).balance(60, 0);
    stack.fire("monthly-grant", "2042-03-12").await;
    assert_eq!(ana.available("2042-03-13").await, 60);
    let reactivate = ana.amend(json!({ "status": "active" }));
    reactivate.at("2042-03-20").await.is(200).balance(60, 0);
    stack.fire("monthly-grant", "2042-03-21").await;
    assert_eq!(ana.available("2042-03-22").await, 60);
    stack.fire("monthly-grant", "2042-04-12").await;
    let booked = grants(&ana, "2042-04-13").await;
    assert_eq!(booked, ["2042-01-11", "2042-02-11", "2042-04-11"]);
    assert_eq!(ana.available("2042-04-13").await, 70);
    ana.audit().await;
}

#[tokio::test]
async fn a_suspension_that_no_sweep_has_seen_skips_its_cycles_too() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-11").await;
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at("2052-03-01").await.is(200);
    let reactivate = ana.amend(json!({ "status": "active" }));
    reactivate.at("2052-05-20").await.is(200).balance(60, 0);
    assert_eq!(ana.available("2052-06-10T23:59:59Z").await, 60);
    assert_eq!(ana.available("2052-06-11T00:00:00Z").await, 70);
}

#[tokio::test]
async fn a_sweep_six_hours_late_writes_one_entry_and_nobody_spends_before_it() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.agency("2041-03-01").await;
    ana.given(10, "2041-03-15").await;
    assert_eq!(ana.available("2042-03-15T23:59:59Z").await, 10);

    let at_three = "2042-03-16T03:00:00Z";
    assert_eq!(ana.available(at_three).await, 0);
    assert!(ana.lots(at_three).await.is_empty());
    let refused = ana.spend(1).at(at_three).await;
    refused
        .refused(409, "insufficient_connects")
        .has("available", 0)
        .has("required", 1);
    assert!(entries_of(&ana, "expire", at_three).await.is_empty());

    for time in ["2042-03-16T06:00:00Z", "2042-03-16T06:15:00Z"] {
        stack.fire("nightly-expiry", time).await;
    }
    assert_eq!(
        entries_of(&ana, "expire", "2042-03-16T06:20:00Z").await,
        ["2042-03-16T06:00:00.000Z for 2042-03-16T00:00:00.000Z: -10 -> 0"]
    );
    assert!(ana.keys("LOT#").await.is_empty());
    ana.audit().await;
}

#[tokio::test]
async fn two_expiry_runs_at_once_book_once() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.agency("2041-03-01").await;
    ana.given(10, "2041-05-15").await;
    ana.given(20, "2041-05-16").await;
    ana.given(30, "2041-05-18").await;
    join(
        stack.fire("nightly-expiry", "2042-05-17T00:15:00Z"),
        stack.fire("nightly-expiry", "2042-05-17T00:15:00Z"),
    )
    .await;
    assert_eq!(
        entries_of(&ana, "expire", "2042-05-17T00:20:00Z").await,
        [
            "2042-05-17T00:15:00.000Z for 2042-05-16T00:00:00.000Z: -10 -> 50",
            "2042-05-17T00:15:00.000Z for 2042-05-17T00:00:00.000Z: -20 -> 30"
        ]
    );
    assert_eq!(ana.available("2042-05-17T00:20:00Z").await, 30);
    ana.audit().await;
}

#[tokio::test]
async fn a_lot_of_29_february_is_good_through_28_february() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    for (issued, last_day, expired) in [
        ("2044-02-29", "2045-02-28", "2045-03-01T00:00:00Z"),
        ("2043-02-28", "2044-02-28", "2044-02-29T00:00:00Z"),
    ] {
        let ana = stack.agency("2043-02-01").await;
        ana.given(10, issued).await;
        let lots = ana.lots(issued).await;
        assert_eq!(lots, [format!("10/10 promo until {last_day}")]);
        stack
            .fire("nightly-expiry", &format!("{last_day}T23:59:59Z"))
            .await;
        assert_eq!(ana.available(&format!("{last_day}T23:59:59Z")).await, 10);
        assert_eq!(ana.available(expired).await, 0);
        stack.fire("nightly-expiry", expired).await;
        let booked = entries_of(&ana, "expire", expired).await;
        let instant = expired.replace('Z', ".000Z");
        assert_eq!(booked, [format!("{instant} for {instant}: -10 -> 0")]);
    }
}

#[tokio::test]
async fn holders_are_told_thirty_seven_and_one_day_before_once_each() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.agency("2041-03-01").await;
    // Good through 15 March 2042.
    let lot = ana.given(10, "2041-03-15").await;
    let told = || async { ana.keys("SEEN#").await };
    for (time, told_so_far) in [
        ("2042-02-12T12:00:00Z", &[][..]),
        ("2042-02-14T12:00:00Z", &["#30"]),
        ("2042-02-14T12:15:00Z", &["#30"]),
        ("2042-03-07T12:00:00Z", &["#30"]),
        ("2042-03-09T12:00:00Z", &["#30", "#7"]),
        ("2042-03-10T12:00:00Z", &["#30", "#7"]),
        ("2042-03-15T12:00:00Z", &["#1", "#30", "#7"]),
        ("2042-03-15T12:15:00Z", &["#1", "#30", "#7"]),
    ] {
        stack.fire("nightly-expiry", time).await;
        let notices = told().await;
        let fits = notices.len() == told_so_far.len()
            && notices
                .iter()
                .zip(told_so_far)
                .all(|(sk, days)| sk.contains(&lot) && sk.ends_with(days));
        assert!(fits, "at {time}: {notices:?}, not {told_so_far:?}");
    }
    assert_eq!(ana.available("2042-03-15T12:20:00Z").await, 10);
}
