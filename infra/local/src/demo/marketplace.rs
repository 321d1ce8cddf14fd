//! The second chapter: two proposals on a job that turns out to be a fraud.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Demo, get, post, put, rfc3339};
use crate::environment;
use crate::failure::{Doing, Failure, Result};

/// How often the job is looked at.
const POLL: Duration = Duration::from_millis(100);

/// How long the returns may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn walk(demo: &mut Demo, agency: &str, freelancer: &str) -> Result<()> {
    demo.step("An agency and a freelancer open accounts; the agency buys 20");
    let body = json!({ "kind": "agency", "person_id": format!("owner-{}", demo.run) });
    demo.tell(put(agency, body))
        .await?
        .is(StatusCode::CREATED)?;
    let body = json!({ "kind": "freelancer", "person_id": format!("other-{}", demo.run) });
    demo.tell(put(freelancer, body))
        .await?
        .is(StatusCode::CREATED)?;
    let purchase = post(agency, "/purchases", json!({ "quantity": 20 })).key("buy");
    demo.tell(purchase).await?.is(StatusCode::CREATED)?;

    demo.step("A job is posted: its budget and duration say what a proposal on it costs");
    let job = format!("demo-{}", demo.run);
    let path = format!("/v1/jobs/{job}");
    let mut post_of = json!({
        "posted_at": rfc3339(environment::now()), "contract_kind": "fixed",
        "budget": { "amount": 50_000, "currency": "USD" }, "duration_weeks": 2,
    });
    let posted = demo.tell(put(&path, post_of.clone())).await?;
    let cost = posted.is(StatusCode::CREATED)?["connects_required"].take();

    demo.step("The agency proposes, and its own Connects pay for it");
    let proposal = json!({ "job_id": job, "expected_cost": cost });
    let submitted = demo
        .tell(post(agency, "/proposals", proposal.clone()))
        .await?;
    submitted.is(StatusCode::CREATED)?;

    demo.step("The client raises the budget: the price changes under the freelancer's proposal");
    post_of["budget"]["amount"] = json!(200_000);
    demo.tell(put(&path, post_of)).await?.is(StatusCode::OK)?;
    let refused = demo.tell(post(freelancer, "/proposals", proposal)).await?;
    let now_required = refused.is(StatusCode::CONFLICT)?["required"].take();
    println!("\nNothing was taken. They look at the new price and propose again:\n");
    let proposal = json!({ "job_id": job, "expected_cost": now_required });
    let submitted = demo.tell(post(freelancer, "/proposals", proposal)).await?;
    submitted.is(StatusCode::CREATED)?;
    for account in [agency, freelancer] {
        demo.show_lots(account).await?;
    }

    demo.step("What would come back, and when: the return policy, for anybody to read");
    demo.tell(get("/v1/return-policy", ""))
        .await?
        .is(StatusCode::OK)?;

    demo.step(
        "The job turns out to be a fraud: it is closed, and everyone gets their Connects back",
    );
    let closure = post(&path, "/closure", json!({ "reason": "fraud" }));
    demo.tell(closure).await?.is(StatusCode::ACCEPTED)?;
    let returned = timeout(PATIENCE, closed(demo, &path)).await;
    println!("\n  {}", returned.doing("the job is not closed")??);
    for account in [agency, freelancer] {
        demo.show_lots(account).await?;
    }

    demo.step("The whole story of the agency's proposal");
    demo.tell(get(agency, &format!("/proposals/{job}")))
        .await?
        .is(StatusCode::OK)?;
    println!();
    let story = demo
        .history(agency, &format!("reference=job:{job}"))
        .await?;
    let sum: i64 = story
        .iter()
        .filter_map(|entry| entry["amount"].as_i64())
        .sum();
    match (story.len(), sum) {
        (2, 0) => Ok(()),
        other => Err(Failure::new(format!("entries and their sum: {other:?}"))),
    }
}

/// The job once everything that was to come back has.
async fn closed(demo: &Demo, path: &str) -> Result<Value> {
    loop {
        let job = demo.send(&get(path, "")).await?.is(StatusCode::OK)?;
        if job["state"] == "closed" {
            return Ok(job);
        }
        sleep(POLL).await;
    }
}
