//! Boosts: bids for the first places on a job, who pays what, and who is whole again.

use connects_tests::client::{Answer, Request};
use connects_tests::holder::Holder;
use connects_tests::schedule;
use connects_tests::stack::{Stack, fresh};
use reqwest::Method;
use serde_json::{Value, json};

const DAY: &str = "2052-01-16";

/// So many freelancers with 50 each, and a proposal for 2 each on a new job.
async fn market<'a>(stack: &'a Stack, bidders: usize, day: &str) -> (String, Vec<Holder<'a>>) {
    let job = stack.new_job(2, day).await;
    let mut all = vec![];
    for _ in 0..bidders {
        let ana = stack.freelancer(day).await;
        ana.propose(&job, 2).at(day).await.is(201);
        all.push(ana);
    }
    (job, all)
}

fn bids<'a>(stack: &'a Stack, job: &str) -> Request<'a> {
    stack.service(Method::GET, format!("/v1/jobs/{job}/bids"))
}

fn column(table: &Answer, member: &str) -> Vec<Value> {
    let bids = table["bids"].as_array().unwrap();
    bids.iter().map(|bid| bid[member].clone()).collect()
}

fn balance(available: i64, held: i64) -> Value {
    json!({ "available": available, "held": held, "debt": 0 })
}

#[tokio::test]
async fn four_places_five_bidders_and_the_end_by_time() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let day = "2041-03-01";
    let (job, all) = market(&stack, 5, day).await;
    let none = bids(&stack, &job).at(day).await.is(200);
    none.has("state", "open")
        .has("slots", 4)
        .has("bids", json!([]))
        .has("my_rank", Value::Null)
        .has("closes_at", "2041-03-08T12:00:00.000Z");
    for (ana, amount) in all.iter().zip([20, 15, 12, 10]) {
        let bid = ana.bid(&job, amount).at(day).await.is(200);
        bid.has("amount", amount)
            .has("state", "leading")
            .has("balance", balance(48 - amount, amount));
    }
    let tie = all[4].bid(&job, 10).at(day).await;
    tie.refused(409, "bid_too_low").has("required", 11);
    let eleven = all[4].bid(&job, 11).at(day).await.is(200);
    eleven.has("rank", 4).has("balance", balance(37, 11));
    let lost = all[3].get(&format!("/proposals/{job}")).at(day).await;
    lost.is(200)
        .has("boost", 10)
        .has("boost_state", "outbid")
        .has("boost_charged", 0)
        .has("balance", balance(48, 0));

    // Nobody is named; each sees what is theirs.
    let mine = |ana: &Holder<'_>| {
        let id = ana.id.clone();
        let path = format!("/v1/jobs/{job}/bids");
        stack.user(&[&id], Method::GET, path).at(day)
    };
    let table = mine(&all[1]).await.is(200).has("my_rank", 2);
    let shown = ["amount", "mine", "price"].map(|member| column(&table, member));
    assert_eq!(shown[0], [20, 15, 12, 11]);
    assert_eq!(shown[1], [false, true, false, false]);
    assert_eq!(shown[2], vec![Value::Null; 4]);
    assert!(all.iter().all(|ana| !table.text.contains(&ana.id)));
    mine(&all[3]).await.is(200).has("my_rank", Value::Null);

    let early = stack.fire("boost", "2041-03-08T11:59:59Z").await;
    assert_eq!(early["bids"], 0);
    let late = all[3].bid(&job, 30).at("2041-03-08T12:00:00Z").await;
    late.refused(409, "auction_closed");
    stack.fire("boost", "2041-03-08T12:14:00Z").await;
    let after = "2041-03-09";
    let table = bids(&stack, &job).at(after).await.is(200);
    assert_eq!(column(&table, "price"), [20, 15, 12, 11]);
    table
        .has("state", "closed")
        .has("closed_by", "time")
        .has("closed_at", "2041-03-08T12:00:00.000Z");
    for (ana, left) in all.iter().zip([28, 33, 36, 48, 37]) {
        let account = ana.get("").at(after).await.is(200);
        account.has("balance", balance(left, 0));
        ana.audit().await;
    }
    let told = all[0].get(&format!("/history?reference=job:{job}"));
    let told = told.at(after).await.is(200);
    let entries = told["entries"].as_array().unwrap().iter();
    let entries: Vec<String> = entries
        .map(|e| format!("{} {} {}", e["type"], e["reason"], e["held_after"]))
        .collect();
    assert_eq!(
        entries,
        [
            r#""capture" "won" 0"#,
            r#""hold" "boost" 20"#,
            r#""spend" "proposal" 0"#
        ]
    );
}

#[tokio::test]
async fn a_proposal_with_a_boost_is_both_or_neither() {
    let stack = Stack::local();
    let (job, _) = market(&stack, 0, DAY).await;
    let ana = stack.freelancer(DAY).await;
    let before = ana.items().await;
    let body = |boost: i64| json!({ "job_id": job, "expected_cost": 2, "boost": boost });
    let poor = ana.propose_with(body(49)).at(DAY).await;
    poor.refused(409, "insufficient_connects")
        .has("available", 50)
        .has("required", 51);
    assert_eq!(ana.items().await, before);
    let both = ana.propose_with(body(7)).key("one").at(DAY).await.is(201);
    let both = both
        .has("cost", 2)
        .has("boost", 7)
        .has("boost_state", "leading")
        .has("balance", balance(41, 7));
    ana.bid(&job, 9).at(DAY).await.is(200);
    // The first answer again, whatever was bid since.
    let again = ana.propose_with(body(7)).key("one").at(DAY).await.is(201);
    assert!(again.replayed());
    assert_eq!(again.text, both.text);
    let other = ana.propose_with(body(8)).key("one").at(DAY).await;
    other.refused(422, "idempotency_key_reused");
    let closed = "2052-01-30";
    let bea = stack.freelancer(closed).await;
    let late = bea.propose_with(body(5)).at(closed).await;
    late.refused(409, "auction_closed");
    bea.propose(&job, 2).at(closed).await.is(201);
    ana.audit().await;
}

#[tokio::test]
async fn a_bid_is_raised_never_lowered() {
    let stack = Stack::local();
    let (job, all) = market(&stack, 1, DAY).await;
    let ana = &all[0];
    let five = ana.bid(&job, 5).key("five").at(DAY).await.is(200);
    let raised = ana.bid(&job, 8).at(DAY).await.is(200);
    raised.has("amount", 8).has("balance", balance(40, 8));
    let replay = ana.bid(&job, 5).key("five").at(DAY).await.is(200);
    assert!(replay.replayed());
    assert_eq!(replay.text, five.text);
    let reused = ana.bid(&job, 6).key("five").at(DAY).await;
    reused.refused(422, "idempotency_key_reused");
    for amount in [3, 8] {
        let lower = ana.bid(&job, amount).key(fresh("bid")).at(DAY).await;
        lower.refused(409, "bid_not_raised").has("bid", 8);
    }
    // It stays though the proposal is withdrawn, and can't be raised any more.
    ana.withdraw(&job).at(DAY).await.is(200);
    let gone = ana.bid(&job, 20).at(DAY).await;
    gone.refused(404, "proposal_not_found");
    let stays = bids(&stack, &job).at(DAY).await.is(200);
    assert_eq!(column(&stays, "amount"), [8]);
    ana.audit().await;
}

#[tokio::test]
async fn a_client_who_looks_pays_off_a_bid_and_a_hire_all() {
    let stack = Stack::local();
    let (job, all) = market(&stack, 3, DAY).await;
    for (ana, amount) in all.iter().zip([9, 7]) {
        ana.bid(&job, amount).at(DAY).await.is(200);
    }
    let look = |ana: &Holder<'_>| {
        let path = format!("/v1/jobs/{job}/bids/{}/interactions", ana.id);
        let looked = stack.service(Method::POST, path);
        looked.json(json!({})).at(DAY)
    };
    for _ in 0..2 {
        let paid = look(&all[1]).await.is(200);
        paid.has("state", "charged")
            .has("charged", 7)
            .has("balance", balance(41, 0));
    }
    look(&all[2]).await.refused(404, "proposal_not_found");
    let raise = all[1].bid(&job, 20).at(DAY).await;
    raise.refused(409, "auction_closed");

    let hired = stack.service(Method::POST, format!("/v1/jobs/{job}/contracts"));
    let hired = hired.json(json!({ "account_id": all[2].id })).at(DAY);
    hired.await.is(202);
    let table = bids(&stack, &job).at(DAY).await.is(200);
    assert_eq!(column(&table, "price"), [9, 7]);
    table.has("closed_by", "hire").has("state", "closed");
    let late = all[2].bid(&job, 20).at(DAY).await;
    late.refused(409, "auction_closed");

    // The post was a fraud: cost and bid come back, each by itself.
    stack.close(&job, "fraud").at(DAY).await.is(202);
    stack.closed(&job).await;
    let after = all[0].get(&format!("/proposals/{job}")).at(DAY).await;
    after
        .is(200)
        .has("returned", 11)
        .has("return_reason", "fraud")
        .has("boost_charged", 9)
        .has("balance", balance(50, 0));
    let story = all[0].story(DAY).await;
    let last: Vec<&str> = story.iter().rev().take(2).map(String::as_str).collect();
    assert_eq!(last, ["return fraud 9 -> 50", "return fraud 2 -> 41"]);
    all[0].audit().await;
    all[1].audit().await;
}

#[tokio::test]
async fn a_job_that_is_cancelled_lets_go_of_every_bid() {
    let stack = Stack::local();
    let (job, all) = market(&stack, 2, DAY).await;
    for (ana, amount) in all.iter().zip([9, 7]) {
        ana.bid(&job, amount).at(DAY).await.is(200);
    }
    stack.close(&job, "client_cancelled").at(DAY).await.is(202);
    stack.closed(&job).await;
    for ana in &all {
        let lost = ana.get(&format!("/proposals/{job}")).at(DAY).await.is(200);
        lost.has("boost_state", "lost")
            .has("returned", 2)
            .has("balance", balance(50, 0));
        ana.audit().await;
    }
    let table = bids(&stack, &job).at(DAY).await.is(200);
    assert_eq!(column(&table, "price"), [0, 0]);
    let late = all[0].bid(&job, 20).at(DAY).await;
    late.refused(409, "job_closed");
}

#[tokio::test]
async fn each_bids_for_their_own_account_only() {
    let stack = Stack::local();
    let (job, all) = market(&stack, 2, DAY).await;
    let path = format!("/v1/jobs/{job}/bids/{}", all[1].id);
    let others = stack.user(&[&all[0].id], Method::PUT, path);
    let others = others.json(json!({ "amount": 5 })).at(DAY).await;
    others.refused(404, "account_not_found");
    let path = format!("/v1/jobs/nowhere/bids/{}", all[0].id);
    let nowhere = stack
        .service(Method::PUT, path)
        .json(json!({ "amount": 5 }));
    nowhere.at(DAY).await.refused(404, "job_not_found");
    bids(&stack, "nowhere")
        .at(DAY)
        .await
        .refused(404, "job_not_found");
    let none = bids(&stack, &job).at(DAY).await.is(200);
    assert_eq!(column(&none, "amount"), Vec::<Value>::new());
}
