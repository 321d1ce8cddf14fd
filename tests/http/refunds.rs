//! Returns: to the lots the Connects came from, last taken first.

use connects_tests::stack::Stack;
use futures::future::join_all;
use serde_json::json;

#[tokio::test]
async fn parts_come_back_in_reverse_order_and_never_more_than_was_spent() {
    let stack = Stack::local();
    let ana = stack.agency("2055-01-01").await;
    let older = ana.given(3, "2055-01-10").await;
    let younger = ana.given(10, "2055-02-10").await;
    let spend = ana.spend(8).at("2055-02-11").await.is(201).text("spend_id");

    let lot = |id: &str, amount: i64| json!({ "lot_id": id, "amount": amount });
    for (amount, lots, balance) in [
        (2, vec![lot(&younger, 2)], 7),
        (4, vec![lot(&younger, 3), lot(&older, 1)], 11),
        (1, vec![lot(&older, 1)], 12),
    ] {
        let returned = ana.refund(&spend, amount).at("2055-02-12").await.is(201);
        assert!(returned.text("refund_id").starts_with("rf_"));
        let returned = returned.has("amount", amount).has("lots", lots);
        returned.balance(balance, 0);
    }
    let before = ana.items().await;
    let over = ana.refund(&spend, 2).at("2055-02-13").await;
    over.refused(409, "refund_exceeds_spend");
    assert_eq!(ana.items().await, before);
    ana.refund(&spend, 1)
        .at("2055-02-13")
        .await
        .is(201)
        .balance(13, 0);
    let over = ana.refund(&spend, 1).at("2055-02-13").await;
    over.refused(409, "refund_exceeds_spend");
    assert_eq!(
        ana.lots("2055-02-14").await,
        ["3/3 promo until 2056-01-10", "10/10 promo until 2056-02-10"]
    );
    ana.audit().await;
}

#[tokio::test]
async fn ten_refunds_of_three_at_once_of_a_spend_of_eight_are_two() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let spend = ana.spend(8).at("2052-01-16").await.is(201).text("spend_id");
    let tries = (0..10).map(|_| async { ana.refund(&spend, 3).at("2052-01-17").await });
    let answers = join_all(tries).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == 201);
    assert_eq!((done.len(), refused.len()), (2, 8));
    for answer in refused {
        answer.refused(409, "refund_exceeds_spend");
    }
    assert_eq!(ana.available("2052-01-17").await, 48);
}

#[tokio::test]
async fn without_an_amount_all_that_is_left_comes_back() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let spend = ana
        .spend(45)
        .at("2052-01-16")
        .await
        .is(201)
        .text("spend_id");
    ana.refund(&spend, 5).at("2052-01-17").await.is(201);
    let rest = ana.refund_with(json!({ "spend_id": spend, "reason": "correction" }));
    let rest = rest.at("2052-01-18").await.is(201);
    rest.has("amount", 40).balance(50, 0);
    let reasons: Vec<_> = ana.story("2052-01-18").await.split_off(4);
    assert_eq!(
        reasons,
        ["return goodwill 5 -> 10", "return correction 40 -> 50"]
    );
    ana.audit().await;
}

#[tokio::test]
async fn what_has_expired_comes_back_as_a_grace_lot_of_thirty_days() {
    let stack = Stack::local();
    let ana = stack.agency("2055-01-01").await;
    ana.given(3, "2055-03-10").await;
    let live = ana.given(10, "2055-12-01").await;
    let spend = ana.spend(8).at("2056-03-01").await.is(201).text("spend_id");

    let returned = ana.refund(&spend, 8).at("2056-03-20").await.is(201);
    let returned = returned.balance(13, 0);
    assert_eq!(returned["lots"][0], json!({ "lot_id": live, "amount": 5 }));
    assert_eq!(returned["lots"][1]["amount"], 3);

    // The grace lot keeps its original's place in the order.
    let lots = ana.lots("2056-03-20").await;
    assert_eq!(
        lots,
        ["3/3 grace until 2056-04-19", "10/10 promo until 2056-12-01"]
    );
    assert_eq!(ana.available("2056-04-19T23:59:59Z").await, 13);
    assert_eq!(ana.available("2056-04-20T00:00:00Z").await, 10);
    let spent = ana.spend(4).at("2056-04-19").await.is(201);
    assert_eq!(spent["lots"][0]["amount"], 3);
    assert_eq!(spent["lots"][1], json!({ "lot_id": live, "amount": 1 }));
    ana.audit().await;
}

#[tokio::test]
async fn less_than_thirty_days_left_become_thirty() {
    let stack = Stack::local();
    for (returned_on, lot) in [
        // The lot is good through 10 March 2056, thirty days after 9 February.
        ("2056-02-09", "5/5 promo until 2056-03-10"),
        ("2056-02-10", "5/5 grace until 2056-03-11"),
        ("2056-03-10", "5/5 grace until 2056-04-09"),
    ] {
        let ana = stack.agency("2055-01-01").await;
        ana.given(5, "2055-03-10").await;
        let spend = ana.spend(5).at("2056-01-01").await.is(201).text("spend_id");
        ana.refund(&spend, 5).at(returned_on).await.is(201);
        assert_eq!(ana.lots(returned_on).await, [lot], "returned {returned_on}");
    }
}

#[tokio::test]
async fn a_suspended_account_gets_its_connects_back() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let spend = ana.spend(5).at("2052-01-16").await.is(201).text("spend_id");
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at("2052-01-17").await.is(200);
    ana.refund(&spend, 5)
        .at("2052-01-18")
        .await
        .is(201)
        .balance(50, 0);
}

#[tokio::test]
async fn only_what_this_account_spent_can_come_back() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let bea = stack.freelancer("2052-01-15").await;
    let of_ana = ana.spend(5).at("2052-01-16").await.is(201).text("spend_id");
    let before = bea.items().await;
    let unknown = format!("sp_{}", "a".repeat(26));
    for spend in [&of_ana, &unknown] {
        let answer = bea.refund(spend, 1).at("2052-01-17").await;
        answer.refused(404, "spend_not_found");
    }
    let body = json!({ "job_id": "J-1", "reason": "goodwill" });
    let answer = bea.refund_with(body).at("2052-01-17").await;
    answer.refused(404, "proposal_not_found");
    assert_eq!(bea.items().await, before);
}
