//! Spending: oldest Connects first, all or nothing.

use connects_tests::stack::Stack;
use std::future::IntoFuture;

use futures::future::join_all;
use serde_json::json;

#[tokio::test]
async fn eight_are_three_of_the_older_lot_and_five_of_the_younger() {
    let stack = Stack::local();
    let ana = stack.agency("2055-01-01").await;
    let january = ana.given(3, "2055-01-10").await;
    let february = ana.given(10, "2055-02-10").await;
    let spent = ana.spend(8).at("2055-02-11").await.is(201);
    let lots = json!([
        { "lot_id": january, "amount": 3 },
        { "lot_id": february, "amount": 5 }
    ]);
    assert!(spent.text("spend_id").starts_with("sp_"));
    let spent = spent.has("amount", 8).has("lots", lots).balance(5, 0);
    assert_eq!(
        ana.lots("2055-02-11").await,
        ["5/10 promo until 2056-02-10"]
    );

    let id = spent.text("spend_id");
    let returned = ana.refund(&id, 8).at("2055-02-12").await.is(201);
    returned.balance(13, 0);
    assert_eq!(
        ana.lots("2055-02-12").await,
        ["3/3 promo until 2056-01-10", "10/10 promo until 2056-02-10"]
    );
    ana.audit().await;
}

#[tokio::test]
async fn five_lots_are_taken_in_the_order_they_came() {
    let stack = Stack::local();
    let ana = stack.agency("2055-01-01").await;
    let mut lots = Vec::new();
    for (quantity, day) in [(1, "02"), (2, "03"), (3, "04"), (4, "05"), (5, "06")] {
        lots.push(ana.given(quantity, &format!("2055-01-{day}")).await);
    }
    for (amount, taken) in [
        (2, vec![(0, 1), (1, 1)]),
        (1, vec![(1, 1)]),
        (8, vec![(2, 3), (3, 4), (4, 1)]),
        (4, vec![(4, 4)]),
    ] {
        let taken: Vec<_> = taken
            .into_iter()
            .map(|(lot, amount)| json!({ "lot_id": lots[lot], "amount": amount }))
            .collect();
        let spent = ana.spend(amount).at("2055-01-07").await.is(201);
        spent.has("lots", taken);
    }
    assert_eq!(ana.available("2055-01-07").await, 0);
    ana.audit().await;
}

#[tokio::test]
async fn too_few_connects_change_nothing() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    ana.spend(42).at("2052-01-16").await.is(201).balance(8, 0);
    let before = ana.items().await;
    let refused = ana.spend(9).at("2052-01-17").await;
    refused
        .refused(409, "insufficient_connects")
        .has("available", 8)
        .has("required", 9);
    assert_eq!(ana.items().await, before);
    ana.spend(8).at("2052-01-18").await.is(201).balance(0, 0);
}

#[tokio::test]
async fn a_suspended_account_spends_nothing() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at("2052-01-16").await.is(200);
    let before = ana.items().await;
    let refused = ana.spend(1).at("2052-01-17").await;
    refused.refused(409, "account_suspended");
    assert_eq!(ana.items().await, before);
}

#[tokio::test]
async fn ten_spends_of_two_at_once_on_a_balance_of_ten_are_five() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-10").await;
    ana.given(10, "2052-01-11").await;
    let answers = join_all((0..10).map(|_| ana.spend(2).at("2052-01-12").into_future())).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == 201);
    assert_eq!((done.len(), refused.len()), (5, 5));
    for answer in refused {
        answer
            .refused(409, "insufficient_connects")
            .has("available", 0)
            .has("required", 2);
    }
    assert_eq!(ana.available("2052-01-12").await, 0);
    let spends = ana.journal("2052-01-12").await;
    assert_eq!(spends.iter().filter(|e| e["type"] == "spend").count(), 5);
    ana.audit().await;
}

#[tokio::test]
async fn the_journal_says_what_a_spend_was_for() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let body = json!({ "amount": 6, "reason": "featured_listing", "reference": "job:J-77" });
    ana.spend_with(body)
        .at("2052-01-16T08:30:00Z")
        .await
        .is(201);
    let journal = ana.journal("2052-01-17").await;
    let last = journal.last().unwrap();
    for (member, value) in [
        ("seq", json!(journal.len())),
        ("at", json!("2052-01-16T08:30:00.000Z")),
        ("type", json!("spend")),
        ("reason", json!("featured_listing")),
        ("amount", json!(-6)),
        ("available_after", json!(44)),
        ("held_after", json!(0)),
        ("reference", json!("job:J-77")),
    ] {
        assert_eq!(last[member], value, "{member} in {last}");
    }
    assert_eq!(last["lots"][0]["amount"], 6);
}

#[tokio::test]
async fn the_last_day_counts_and_the_instant_after_it_does_not() {
    let stack = Stack::local();
    let ana = stack.agency("2055-03-01").await;
    ana.given(10, "2055-03-15").await;
    let on_the_last_day = ana.spend(1).at("2056-03-15T23:59:59Z").await;
    on_the_last_day.is(201).balance(9, 0);
    let after = ana.spend(1).at("2056-03-16T00:00:00Z").await;
    after
        .refused(409, "insufficient_connects")
        .has("available", 0);
}
