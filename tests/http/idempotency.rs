//! A retry is the same request: one effect, the same answer, however late and however often.

use connects_tests::client::Request;
use connects_tests::stack::{Stack, fresh};
use futures::future::join_all;
use serde_json::json;

#[tokio::test]
async fn fifty_at_once_are_one() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let spend_id = ana.spend(9).at("2052-01-16").await.is(201).text("spend_id");
    let now = "2052-01-17";
    let balance_after = [
        (ana.spend(7).at(now), 34),
        (ana.refund(&spend_id, 4).at(now), 38),
    ];
    for (request, balance) in balance_after {
        let entries = ana.journal(now).await.len();
        let answers = join_all((0..50).map(|_| async { request.clone().await })).await;
        for answer in &answers {
            assert_eq!((answer.status, &answer.text), (201, &answers[0].text));
        }
        let first_hand = answers.iter().filter(|answer| !answer.replayed()).count();
        assert_eq!(first_hand, 1);
        assert_eq!(ana.journal(now).await.len(), entries + 1);
        assert_eq!(ana.available(now).await, balance);
    }
    ana.audit().await;
}

#[tokio::test]
async fn a_purchase_asked_for_fifty_times_is_charged_once_and_answers_as_it_stands() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-15").await;
    let request = ana.buy(20).at("2052-01-17");
    let answers = join_all((0..50).map(|_| async { request.clone().await })).await;
    // Whoever asks while the payment is under way is told so.
    for answer in &answers {
        let state = (answer.status, answer.text("status"));
        let known = [(201, "paid".to_owned()), (202, "pending".to_owned())];
        assert!(known.contains(&state), "{state:?}");
        assert_eq!(answer["purchase_id"], answers[0]["purchase_id"]);
    }
    let first_hand = answers.iter().filter(|answer| !answer.replayed()).count();
    assert_eq!(first_hand, 1);
    let paid = request.await.is(201).has("status", "paid");
    assert!(paid.replayed());
    assert_eq!(
        ana.lots("2052-01-18").await,
        ["20/20 purchase until 2053-01-17"]
    );
}

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
