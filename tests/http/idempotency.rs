//! A retry is the same request: one effect, the same answer, however late. What holds of every route is
//! in `conformance`; here is what is to be said of some.

use connects_tests::client::Request;
use connects_tests::stack::{Stack, fresh};
use serde_json::json;

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let now = "2052-01-16";
    let spend_id = ana.spend(9).key("s").at(now).await.is(201).text("spend_id");
    ana.refund(&spend_id, 4).key("r").at(now).await.is(201);
    ana.buy(20).key("p").at(now).await.is(201);
    let before = ana.items().await;
    let with_reference = json!({ "amount": 9, "reason": "application", "reference": "job:J" });
    for request in [
        ana.spend(8).key("s"),
        ana.spend_with(with_reference).key("s"),
        ana.spend_with(json!({ "amount": 9, "reason": "listing" }))
            .key("s"),
        // More than there is: the key speaks first.
        ana.spend(1_000_000).key("s"),
        ana.refund(&spend_id, 3).key("r"),
        ana.refund(&spend_id, 1000).key("r"),
        ana.buy(40).key("p"),
        ana.buy_with(json!({ "quantity": 20, "payment_method": "sandbox_decline" }))
            .key("p"),
    ] {
        let answer = request.at(now).await;
        answer.refused(422, "idempotency_key_reused");
    }
    assert_eq!(ana.items().await, before);
}

#[tokio::test]
async fn the_same_request_may_be_written_differently() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let now = "2052-01-16";
    let first = r#"{"amount":9,"reason":"application","reference":"job:J"}"#;
    let other = "{ \"reference\": \"job:J\",\n \"reason\": \"applic\\u0061tion\", \"amount\": 9 }";
    let first = ana.spend(1).raw(first).key("s").at(now).await.is(201);
    let other = ana.spend(1).raw(other).key("s").at(now).await.is(201);
    assert!(other.replayed());
    assert_eq!(other.text, first.text);
}

#[tokio::test]
async fn keys_belong_to_one_account_and_one_operation() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let bea = stack.freelancer("2052-01-15").await;
    let now = "2052-01-16";
    let key = fresh("key");
    let of_ana = ana
        .spend(9)
        .key(&key)
        .at(now)
        .await
        .is(201)
        .text("spend_id");
    let of_bea = bea
        .spend(9)
        .key(&key)
        .at(now)
        .await
        .is(201)
        .text("spend_id");
    assert_ne!(of_ana, of_bea);
    ana.refund(&of_ana, 9).key(&key).at(now).await.is(201);
    ana.buy(10).key(&key).at(now).await.is(201).balance(60, 0);
}

#[tokio::test]
async fn the_answer_outlives_its_lots_and_the_balance() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-10").await;
    ana.given(10, "2052-01-11").await;
    let spend: Request<'_> = ana.spend(7).at("2052-01-12");
    let spent = spend.clone().await.is(201).balance(3, 0);
    assert!(!spent.replayed());
    let spend_id = spent.text("spend_id");
    let refund = ana.refund(&spend_id, 2).at("2052-01-13");
    let refunded = refund.clone().await.is(201).balance(5, 0);
    ana.spend(5).at("2052-01-14").await.is(201).balance(0, 0);
    let suspend = ana.amend(json!({ "status": "suspended" }));

    // Empty, then suspended, then the lot long expired.
    let replay_both = async |at: &str| {
        let before = ana.items().await;
        for (request, answer) in [(&spend, &spent), (&refund, &refunded)] {
            let replay = request.clone().at(at).await.is(201);
            assert!(replay.replayed(), "{at}");
            assert_eq!(replay.text, answer.text, "{at}");
        }
        assert_eq!(ana.items().await, before, "{at}");
    };
    replay_both("2052-01-15").await;
    suspend.at("2052-01-16").await.is(200);
    replay_both("2052-01-17").await;
    replay_both("2054-01-17").await;
    ana.audit().await;
}

#[tokio::test]
async fn a_refused_request_does_not_use_up_its_key() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-10").await;
    let request = ana.spend(7).key("later");
    let refused = request.clone().at("2052-01-11").await;
    refused.refused(409, "insufficient_connects");
    ana.given(10, "2052-01-12").await;
    let spent = request.at("2052-01-13").await.is(201);
    assert!(!spent.replayed());
    spent.balance(3, 0);
}
