//! Proposals: what they cost, once for each account and job.

use connects_tests::client::Request;
use connects_tests::holder::Holder;
use connects_tests::stack::{Stack, fresh};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const DAY: &str = "2052-01-16";

fn reprice<'a>(stack: &'a Stack, job: &str, cost: i64) -> Request<'a> {
    stack.post_job(job, DAY, json!({ "connects_required": cost }))
}

#[tokio::test]
async fn a_proposal_takes_the_oldest_connects() {
    let stack = Stack::local();
    let ana = stack.agency("2055-01-01").await;
    ana.given(3, "2055-01-10").await;
    ana.given(10, "2055-02-10").await;
    let job = stack.new_job(8, DAY).await;
    let now = "2055-02-11";
    let submitted = ana.propose(&job, 8).at(now).await.is(201);
    assert!(!submitted.replayed());
    submitted
        .has("job_id", json!(job))
        .has("cost", 8)
        .has("free_reason", Value::Null)
        .has("boost", Value::Null)
        .has("state", "submitted")
        .has("returned", 0)
        .has("return_reason", Value::Null)
        .balance(5, 0);
    assert_eq!(ana.lots(now).await, ["5/10 promo until 2056-02-10"]);
    let journal = ana.journal(now).await;
    let entry = journal.last().unwrap();
    assert_eq!(
        (&entry["type"], &entry["reason"]),
        (&json!("spend"), &json!("proposal"))
    );
    assert_eq!(entry["reference"], format!("job:{job}"));

    // The client cancels, and an operator makes it good: 3 and 5 back to their lots.
    let body = json!({ "job_id": job, "reason": "goodwill" });
    let back = ana.refund_with(body).at(now).await.is(201);
    back.has("amount", 8).balance(13, 0);
    assert_eq!(
        ana.lots(now).await,
        ["3/3 promo until 2056-01-10", "10/10 promo until 2056-02-10"]
    );
    let story = ana.get(&format!("/history?reference=job:{job}")).at(now);
    let story = story.await.is(200);
    let entries = story["entries"].as_array().unwrap().iter();
    let amounts: Vec<_> = entries.map(|entry| entry["amount"].clone()).collect();
    assert_eq!(amounts, [json!(8), json!(-8)]);
    let found = ana.get(&format!("/proposals/{job}")).at(now).await.is(200);
    found
        .has("cost", 8)
        .has("returned", 8)
        .has("return_reason", "goodwill")
        .balance(13, 0);
    ana.audit().await;
}

#[tokio::test]
async fn a_price_that_rose_is_told_and_one_that_fell_is_charged() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let before = ana.items().await;
    let job = stack.new_job(8, DAY).await;
    reprice(&stack, &job, 12).await.is(200);
    let refused = ana.propose(&job, 8).at(DAY).await;
    refused
        .refused(409, "price_changed")
        .has("expected", 8)
        .has("required", 12);
    assert_eq!(ana.items().await, before);
    reprice(&stack, &job, 6).await.is(200);
    let submitted = ana.propose(&job, 8).at(DAY).await.is(201);
    submitted.has("cost", 6).balance(44, 0);
    // After submission nothing moves.
    reprice(&stack, &job, 16).await.is(200);
    let found = ana.get(&format!("/proposals/{job}")).at(DAY).await.is(200);
    found.has("cost", 6).balance(44, 0);
}

#[tokio::test]
async fn with_too_little_nothing_changes() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let before = ana.items().await;
    let job = stack.new_job(51, DAY).await;
    let refused = ana.propose(&job, 51).at(DAY).await;
    refused
        .refused(409, "insufficient_connects")
        .has("available", 50)
        .has("required", 51);
    let missing = ana.get(&format!("/proposals/{job}")).at(DAY).await;
    missing.refused(404, "proposal_not_found");
    assert_eq!(ana.items().await, before);
}

#[tokio::test]
async fn there_is_one_for_each_account_and_job() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let bea = stack.agency("2052-01-15").await;
    bea.given(20, DAY).await;
    let job = stack.new_job(8, DAY).await;
    let one = ana.propose(&job, 8).key("one").at(DAY);
    let answers = join_all((0..20).map(|_| async { one.clone().await })).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.text), (201, &answers[0].text));
    }
    let first_hand = answers.iter().filter(|answer| !answer.replayed()).count();
    assert_eq!(first_hand, 1);
    ana.withdraw(&job).at(DAY).await.is(200);
    let before = ana.items().await;

    // Withdrawn or not, it was submitted: the retry is told what the first was.
    let replay = one.clone().at("2054-01-01").await.is(201);
    assert!(replay.replayed());
    assert_eq!(replay.text, answers[0].text);
    for again in [
        ana.propose(&job, 8),
        ana.propose(&job, 8).key("two"),
        ana.propose(&job, 1),
    ] {
        let refused = again.at(DAY).await.refused(409, "already_proposed");
        let existing = &refused["existing"];
        assert_eq!(existing["state"], "withdrawn");
        assert_eq!(existing["cost"], 8);
    }
    let reused = ana.propose(&job, 9).key("one").at(DAY).await;
    reused.refused(422, "idempotency_key_reused");
    assert_eq!(ana.items().await, before);
    assert_eq!(ana.available(DAY).await, 42);

    // Another account has one of its own, under the same key; the agency pays for its own.
    let other = bea.propose(&job, 8).key("one").at(DAY).await.is(201);
    other.balance(12, 0);
    ana.audit().await;
    bea.audit().await;
}

#[tokio::test]
async fn a_withdrawn_proposal_stays_paid() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let job = stack.new_job(8, DAY).await;
    ana.withdraw(&job)
        .at(DAY)
        .await
        .refused(404, "proposal_not_found");
    ana.propose(&job, 8).at(DAY).await.is(201);
    let holder = stack.minter.token("connects", &[&ana.id]);
    for _ in 0..2 {
        let withdrawn = ana.withdraw(&job).token(&holder).at(DAY).await.is(200);
        withdrawn
            .has("state", "withdrawn")
            .has("returned", 0)
            .has("return_reason", "withdrawn")
            .balance(42, 0);
    }
}

#[tokio::test]
async fn only_the_backend_says_that_a_proposal_is_free() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let user = stack.minter.token("connects", &[&ana.id]);
    for reason in ["invited", "offer", "project_catalog", "talent_cloud"] {
        let job = stack.new_job(8, DAY).await;
        let body = json!({ "job_id": job, "expected_cost": 0, "free_reason": reason });
        let before = ana.items().await;
        let claimed = ana.propose_with(body.clone()).token(&user).at(DAY).await;
        claimed.refused(403, "forbidden");
        assert_eq!(ana.items().await, before);
        let submitted = ana.propose_with(body).at(DAY).await.is(201);
        submitted
            .has("cost", 0)
            .has("free_reason", reason)
            .balance(50, 0);
    }
    // However little else of the request is right.
    for body in [
        json!({ "free_reason": "offer" }),
        json!({ "free_reason": 5, "expected_cost": "x", "more": 1 }),
    ] {
        let claimed = ana.propose_with(body).token(&user).at(DAY).await;
        claimed.refused(403, "forbidden");
    }
    let free = stack.new_job(0, DAY).await;
    let submitted = ana.propose(&free, 0).token(&user).at(DAY).await.is(201);
    submitted
        .has("cost", 0)
        .has("free_reason", "zero_cost_job")
        .balance(50, 0);
    ana.audit().await;
}

fn decide<'a>(stack: &'a Stack, ana: &Holder<'_>, job: &str, outcome: &str) -> Request<'a> {
    let path = format!("/v1/jobs/{job}/proposals/{}/outcome", ana.id);
    let body = json!({ "outcome": outcome });
    stack.service(Method::PUT, path).json(body)
}

#[tokio::test]
async fn a_proposal_says_why_nothing_comes_back() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let job = stack.new_job(8, DAY).await;
    let early = decide(&stack, &ana, &job, "hired").at(DAY).await;
    early.refused(404, "proposal_not_found");
    ana.propose(&job, 8).at(DAY).await.is(201);
    for (outcome, reason) in [
        ("client_declined", "client_declined"),
        ("client_declined", "client_declined"),
        ("hired", "had_contract"),
    ] {
        let decided = decide(&stack, &ana, &job, outcome).at(DAY).await.is(200);
        let found = ana.get(&format!("/proposals/{job}")).at(DAY).await.is(200);
        assert_eq!(decided.text, found.text);
        found
            .has("state", "submitted")
            .has("outcome", outcome)
            .has("returned", 0)
            .has("return_reason", reason)
            .balance(42, 0);
    }
    let withdrawn = ana.withdraw(&job).at(DAY).await.is(200);
    withdrawn.has("return_reason", "withdrawn");
}

#[tokio::test]
async fn who_is_suspended_or_in_debt_proposes_nothing_that_costs() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-10").await;
    let bought = ana.buy(20).at("2052-01-11").await.is(201);
    ana.spend(5).at("2052-01-12").await.is(201);
    let purchase = bought.text("purchase_id");
    ana.charge_back(&purchase).at("2052-01-13").await.is(200);
    let (dear, free) = (stack.new_job(8, DAY).await, stack.new_job(0, DAY).await);
    let refused = ana.propose(&dear, 8).at(DAY).await;
    refused.refused(409, "in_debt").has("debt", 5);
    ana.propose(&free, 0).at(DAY).await.is(201);
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at(DAY).await.is(200);
    for cost in [8, 0] {
        let job = stack.new_job(cost, DAY).await;
        let refused = ana.propose(&job, cost).at(DAY).await;
        refused.refused(409, "account_suspended");
    }
    // It may withdraw, though.
    ana.withdraw(&free).at(DAY).await.is(200);
}

/// Of two things wrong the first of the list is answered.
#[tokio::test]
async fn refusals_have_their_order() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-10").await;
    ana.given(10, "2052-01-11").await;
    let (taken, dear) = (stack.new_job(8, DAY).await, stack.new_job(50, DAY).await);
    ana.propose(&taken, 8).key("taken").at(DAY).await.is(201);
    let body = |job: &str, expected: Value| json!({ "job_id": job, "expected_cost": expected });
    let nowhere = fresh("nowhere");
    for (body, status, code) in [
        (body(&nowhere, json!("8")), 400, "malformed_request"),
        (body(&nowhere, json!(-1)), 422, "below_minimum"),
        (body(&nowhere, json!(8)), 404, "job_not_found"),
        (body(&taken, json!(1)), 409, "already_proposed"),
        (body(&dear, json!(8)), 409, "price_changed"),
        (body(&dear, json!(50)), 409, "insufficient_connects"),
    ] {
        let refused = ana.propose_with(body).at(DAY).await;
        refused.refused(status, code);
    }
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at(DAY).await.is(200);
    let reused = ana.propose(&taken, 9).key("taken").at(DAY).await;
    reused.refused(422, "idempotency_key_reused");
    let replay = ana.propose(&taken, 8).key("taken").at(DAY).await.is(201);
    assert!(replay.replayed());
    for job in [&taken, &dear] {
        let refused = ana.propose(job, 8).at(DAY).await;
        refused.refused(409, "account_suspended");
    }
    let unknown = ana.propose(&nowhere, 8).at(DAY).await;
    unknown.refused(404, "job_not_found");
}
