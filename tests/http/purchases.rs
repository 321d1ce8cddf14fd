//! Buying: what it costs, when the lot comes, and what a chargeback takes back.

use connects_tests::holder::Holder;
use connects_tests::schedule;
use connects_tests::stack::Stack;
use serde_json::{Value, json};

fn cents(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

async fn purchase_at(holder: &Holder<'_>, purchase_id: &str, at: &str) -> String {
    let path = format!("/purchases/{purchase_id}");
    holder.get(&path).at(at).await.is(200).text("status")
}

#[tokio::test]
async fn fifteen_cents_each() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-10").await;
    let mut total = 0;
    for (quantity, price) in [(10, 150), (37, 555), (300, 4500)] {
        total += quantity;
        let bought = ana.buy(quantity).at("2052-01-11").await.is(201);
        let bought = bought
            .has("status", "paid")
            .has("quantity", quantity)
            .has("bonus", 0)
            .has("price", cents(price))
            .balance(total, 0);
        let path = format!("/purchases/{}", bought.text("purchase_id"));
        let found = ana.get(&path).at("2052-01-11").await.is(200);
        assert_eq!(found.body, bought.body);
    }
    assert_eq!(
        ana.lots("2052-01-11").await,
        [
            "10/10 purchase until 2053-01-11",
            "37/37 purchase until 2053-01-11",
            "300/300 purchase until 2053-01-11"
        ]
    );
    let before = ana.items().await;
    let few = ana.buy(9).at("2052-01-12").await;
    few.refused(422, "below_minimum").has("field", "quantity");
    assert_eq!(ana.items().await, before);
    ana.audit().await;
}

#[tokio::test]
async fn the_catalogue_says_what_there_is() {
    let stack = Stack::local();
    let bundles = [10, 20, 40, 60, 80, 100, 150, 200, 250, 300]
        .map(|quantity| json!({ "quantity": quantity, "price": cents(quantity * 15) }));
    for kind in ["freelancer", "agency"] {
        let path = format!("/v1/catalog?kind={kind}");
        let catalog = stack.user(&["anyone"], reqwest::Method::GET, path).await;
        catalog
            .is(200)
            .has("unit_price", cents(15))
            .has("bundles", bundles.to_vec())
            .has("custom", json!({ "min": 10, "max": 1_000_000 }));
    }
}

#[tokio::test]
async fn a_declined_payment_issues_nothing() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-10").await;
    let request = ana
        .buy_with(json!({ "quantity": 20, "payment_method": "sandbox_decline" }))
        .at("2052-01-11");
    let declined = request.clone().await.refused(402, "payment_declined");
    assert_eq!(declined["purchase"]["status"], "declined");
    assert_eq!(declined["purchase"]["lot_id"], Value::Null);
    let id = declined["purchase"]["purchase_id"].as_str().unwrap();
    assert_eq!(purchase_at(&ana, id, "2052-01-12").await, "declined");
    assert!(ana.lots("2052-01-12").await.is_empty());
    // Trying again under the same key does not charge again.
    let again = request.at("2052-01-12").await;
    assert!(again.replayed());
    let again = again.refused(402, "payment_declined");
    assert_eq!(again["purchase"]["purchase_id"], id);
}

#[tokio::test]
async fn an_approved_payment_by_name_is_the_default_one() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-10").await;
    let request = ana
        .buy_with(json!({ "quantity": 20, "payment_method": "sandbox_approve" }))
        .at("2052-01-11");
    let paid = request.clone().await.is(201).has("status", "paid");
    let again = request.at("2052-02-11").await.is(201);
    assert!(again.replayed() && !paid.replayed());
    assert_eq!(again["purchase_id"], paid["purchase_id"]);
    assert_eq!(ana.available("2052-02-12").await, 20);
}

#[tokio::test]
async fn a_payment_without_an_answer_is_settled_by_recovery_and_replayed_as_it_stands() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    for (month, method) in [("01", "sandbox_timeout"), ("02", "sandbox_late")] {
        let at = |day_and_time: &str| format!("2041-{month}-{day_and_time}");
        let ana = stack.agency(&at("10")).await;
        let request = ana.buy_with(json!({ "quantity": 20, "payment_method": method }));
        let pending = request.clone().at(&at("11T09:00:00Z")).await.is(202);
        let pending = pending
            .has("status", "pending")
            .has("lot_id", Value::Null)
            .balance(0, 0);
        let id = pending.text("purchase_id");
        let still = request.clone().at(&at("11T09:00:10Z")).await.is(202);
        assert!(still.replayed(), "{method}");
        assert_eq!(ana.available(&at("11T09:00:20Z")).await, 0);

        // However often recovery runs: one lot.
        for time in ["11T10:00:00Z", "11T10:15:00Z", "11T10:30:00Z"] {
            stack.fire("purchase", &at(time)).await;
        }
        assert_eq!(purchase_at(&ana, &id, &at("11T11:00:00Z")).await, "paid");
        let lots = ana.lots(&at("11T11:00:00Z")).await;
        assert_eq!(
            lots,
            [format!("20/20 purchase until 2042-{month}-11")],
            "{method}"
        );
        let replay = request.at(&at("12")).await.is(201).has("status", "paid");
        assert!(replay.replayed(), "{method}");
        assert_eq!(replay["purchase_id"], json!(id));
        assert_eq!(ana.available(&at("12")).await, 20, "{method}");
    }
}

#[tokio::test]
async fn a_paid_purchase_credits_a_suspended_account() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.agency("2041-03-10").await;
    let late = ana.buy_with(json!({ "quantity": 20, "payment_method": "sandbox_late" }));
    late.at("2041-03-11T09:00:00Z").await.is(202);
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at("2041-03-11T09:30:00Z").await.is(200);
    for time in ["2041-03-11T10:00:00Z", "2041-03-11T10:15:00Z"] {
        stack.fire("purchase", time).await;
    }
    assert_eq!(ana.available("2041-03-12").await, 20);
}

#[tokio::test]
async fn a_chargeback_takes_what_is_left_and_the_rest_is_owed() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-10").await;
    let id = ana
        .buy(100)
        .at("2052-01-11")
        .await
        .is(201)
        .text("purchase_id");
    ana.spend(70).at("2052-01-12").await.is(201).balance(30, 0);
    let charged_back = ana.charge_back(&id).at("2052-01-13").await.is(200);
    charged_back.has("status", "charged_back").balance(0, 70);
    assert!(ana.lots("2052-01-13").await.is_empty());

    // Debt blocks spending, whatever the amount.
    let before = ana.items().await;
    let blocked = ana.spend(1).at("2052-01-13").await;
    blocked.refused(409, "in_debt").has("debt", 70);
    assert_eq!(ana.items().await, before);

    // Later credits cover it first.
    ana.given(50, "2052-01-14").await;
    ana.get("").at("2052-01-14").await.is(200).balance(0, 20);
    let bought = ana.buy(30).at("2052-01-15").await.is(201);
    bought.balance(10, 0);
    ana.spend(10).at("2052-01-16").await.is(201).balance(0, 0);
    assert_eq!(
        ana.story("2052-01-16").await,
        [
            "account opened 0 -> 0",
            "issue purchase 100 -> 100",
            "spend application -70 -> 30",
            "revoke chargeback -30 -> 0",
            "issue promo_grant 50 -> 50",
            "debt_repaid debt -50 -> 0",
            "issue purchase 30 -> 30",
            "debt_repaid debt -20 -> 10",
            "spend application -10 -> 0"
        ]
    );
    ana.audit().await;
}

#[tokio::test]
async fn other_connects_cover_a_chargeback_at_once_oldest_first() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-10").await;
    let id = ana
        .buy(100)
        .at("2052-01-11")
        .await
        .is(201)
        .text("purchase_id");
    ana.spend(70).at("2052-01-12").await.is(201);
    ana.given(40, "2052-01-13").await;
    ana.given(50, "2052-01-14").await;
    let charged_back = ana.charge_back(&id).at("2052-01-15").await.is(200);
    charged_back.balance(20, 0);
    assert_eq!(
        ana.lots("2052-01-15").await,
        ["20/50 promo until 2053-01-14"]
    );
    ana.audit().await;
}

#[tokio::test]
async fn a_purchase_is_charged_back_once() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-10").await;
    let id = ana
        .buy(100)
        .at("2052-01-11")
        .await
        .is(201)
        .text("purchase_id");
    let first = ana.charge_back(&id).key("dispute-1").at("2052-01-12");
    let done = first.clone().await.is(200).balance(0, 0);
    let before = ana.items().await;
    let other = ana.charge_back(&id).key("dispute-2").at("2052-01-13").await;
    let refused = other.refused(409, "already_charged_back");
    assert_eq!(refused["existing"]["purchase_id"], json!(id));
    assert_eq!(refused["existing"]["status"], "charged_back");
    let retried = first.at("2052-01-13").await.is(200);
    assert!(retried.replayed());
    assert_eq!(retried["purchase_id"], done["purchase_id"]);
    assert_eq!(ana.items().await, before);

    let unknown = format!("pu_{}", "a".repeat(26));
    let answer = ana.charge_back(&unknown).at("2052-01-13").await;
    answer.refused(404, "purchase_not_found");
    ana.audit().await;
}
