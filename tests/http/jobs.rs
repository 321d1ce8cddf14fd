//! Jobs: what they cost and why.

use connects_tests::stack::{Stack, fresh};
use reqwest::Method;
use serde_json::{Value, json};

const POSTED: &str = "2052-01-10T12:00:00Z";

fn dollars(cents: i64) -> Value {
    json!({ "amount": cents, "currency": "USD" })
}

#[tokio::test]
async fn a_job_costs_what_the_rate_card_makes_of_its_details() {
    let stack = Stack::local();
    for (details, cost) in [
        (json!({ "contract_kind": "fixed" }), 8),
        (
            json!({ "contract_kind": "fixed", "budget": dollars(9_999), "duration_weeks": 1 }),
            4,
        ),
        (
            json!({ "contract_kind": "fixed", "budget": dollars(50_000), "duration_weeks": 6 }),
            10,
        ),
        (
            json!({ "contract_kind": "hourly", "budget": dollars(6_000), "duration_weeks": 26 }),
            20,
        ),
    ] {
        let job = fresh("job");
        let posted = stack.post_job(&job, POSTED, details.clone()).await.is(201);
        let factors = &posted["factors"];
        assert_eq!(factors["basis"], "rate_card");
        assert_eq!(factors["contract_kind"], details["contract_kind"]);
        assert_eq!(factors["budget"], details["budget"]);
        assert_eq!(factors["demand_percent"], 100);
        let sum =
            factors["budget_cost"].as_i64().unwrap() + factors["duration_cost"].as_i64().unwrap();
        assert_eq!(sum, cost);
        let found = stack.job(&job).await.is(200);
        assert_eq!(found.text, posted.text);
        found
            .has("job_id", json!(job))
            .has("connects_required", cost)
            .has("version", 1)
            .has("state", "open")
            .has("returns", Value::Null);
    }
}

#[tokio::test]
async fn a_version_grows_when_the_price_changes_and_only_then() {
    let stack = Stack::local();
    let job = fresh("job");
    for (body, status, cost, version) in [
        (json!({ "connects_required": 8 }), 201, 8, 1),
        (json!({ "connects_required": 8 }), 200, 8, 1),
        (json!({ "contract_kind": "fixed" }), 200, 8, 1),
        (json!({ "connects_required": 0 }), 200, 0, 2),
        (json!({ "connects_required": 16 }), 200, 16, 3),
        (json!({ "connects_required": 8 }), 200, 8, 4),
    ] {
        let posted = stack.post_job(&job, POSTED, body).await.is(status);
        posted
            .has("connects_required", cost)
            .has("version", version);
    }
    let moved = json!({ "connects_required": 8 });
    let moved = stack.post_job(&job, "2052-01-10T12:00:01Z", moved).await;
    moved
        .refused(422, "invalid_field")
        .has("field", "posted_at");
    stack.job(&job).await.is(200).has("version", 4);
}

#[tokio::test]
async fn everybody_may_read_a_job() {
    let stack = Stack::local();
    let job = fresh("job");
    let posted = stack.post_job(&job, POSTED, json!({ "connects_required": 8 }));
    let posted = posted.await.is(201);
    for scope in ["connects", "connects:service", "connects:admin"] {
        let token = stack.minter.token(scope, &[]);
        let read = stack.job(&job).token(token).await.is(200);
        assert_eq!(read.text, posted.text);
    }
    for unknown in [fresh("job").as_str(), "a%20b", &"j".repeat(65)] {
        stack.job(unknown).await.refused(404, "job_not_found");
    }
}

#[tokio::test]
async fn a_contract_is_noted_once_for_each_account() {
    let stack = Stack::local();
    let job = fresh("job");
    let contract = |account: &str| {
        let path = format!("/v1/jobs/{job}/contracts");
        let body = json!({ "account_id": account });
        stack.service(Method::POST, path).json(body)
    };
    contract("a1").await.refused(404, "job_not_found");
    let posted = stack.post_job(&job, POSTED, json!({ "connects_required": 8 }));
    posted.await.is(201).has("contracts", 0);
    for (account, count) in [("a1", 1), ("a1", 1), ("a2", 2), ("a1", 2)] {
        let noted = contract(account).await.is(202);
        noted.has("contracts", count).has("version", 1);
    }
}
