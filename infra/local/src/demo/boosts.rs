//! The third chapter, first half: six bid for four places on a job, until somebody is hired.

use reqwest::StatusCode;
use serde_json::json;

use super::{Demo, Request, get, post, put, rfc3339};
use crate::environment;
use crate::failure::{Doing, Failure, Result};

/// What a proposal costs.
const COST: i64 = 4;

/// What five of the six bid, one after another; of the equal ones the earlier comes first.
const BIDS: [i64; 5] = [12, 9, 15, 9, 10];

pub async fn walk(demo: &mut Demo, bidders: &[String; 6]) -> Result<()> {
    demo.step("Six freelancers propose on a job; the first of them bids with the proposal");
    let job = format!("demo-boost-{}", demo.run);
    let path = format!("/v1/jobs/{job}");
    let posted_at = rfc3339(environment::now());
    let posted = put(
        &path,
        json!({ "posted_at": posted_at, "connects_required": COST }),
    );
    demo.tell(posted).await?.is(StatusCode::CREATED)?;
    for (n, bidder) in bidders.iter().enumerate() {
        let body = json!({ "kind": "freelancer", "person_id": format!("bidder{n}-{}", demo.run) });
        let opened = demo.send(&put(&account(bidder), body)).await?;
        opened.is(StatusCode::CREATED)?;
        let mut proposal = json!({ "job_id": job, "expected_cost": COST });
        if n == 0 {
            proposal["boost"] = json!(BIDS[0]);
        }
        let request = post(&account(bidder), "/proposals", proposal);
        let submitted = match n {
            0 => demo.tell(request).await?,
            _ => demo.send(&request).await?,
        };
        submitted.is(StatusCode::CREATED)?;
    }
    println!("\n  (the other five likewise, without a bid)");

    demo.step("Four places, and two who bid the same: the earlier is ahead");
    for (bidder, amount) in bidders.iter().zip(BIDS).take(4).skip(1) {
        let bid = demo.tell(bid(&path, bidder, amount)).await?;
        bid.is(StatusCode::OK)?;
    }
    show(demo, &path).await?;

    demo.step("A fifth bids as much as the last: refused. One more, and the last is out");
    let tie = demo.tell(bid(&path, &bidders[4], BIDS[3])).await?;
    tie.is(StatusCode::CONFLICT)?;
    demo.tell(bid(&path, &bidders[4], BIDS[4]))
        .await?
        .is(StatusCode::OK)?;
    show(demo, &path).await?;
    println!("\nWhoever is out has their Connects back already:\n");
    let story = format!("reference=job:{job}");
    let out = demo.history(&account(&bidders[3]), &story).await?;
    if out.first().is_none_or(|entry| entry["reason"] != "outbid") {
        return Err(Failure::new("the last bidder was not released"));
    }

    demo.step("Somebody is hired: the bidding ends, and the winners pay what they bid");
    let hired = post(&path, "/contracts", json!({ "account_id": bidders[5] }));
    demo.tell(hired).await?.is(StatusCode::ACCEPTED)?;
    let paid = show(demo, &path).await?;
    if paid != [15, 12, 10, 9] {
        return Err(Failure::new(format!("the winners paid {paid:?}")));
    }
    println!();
    demo.history(&account(&bidders[2]), &story).await?;
    demo.show_lots(&account(&bidders[2])).await
}

fn account(id: &str) -> String {
    format!("/v1/accounts/{id}")
}

fn bid(job: &str, bidder: &str, amount: i64) -> Request {
    put(&format!("{job}/bids/{bidder}"), json!({ "amount": amount }))
}

/// The bids on the job; what each pays, once that is known.
async fn show(demo: &Demo, job: &str) -> Result<Vec<i64>> {
    println!();
    let table = demo.tell(get(job, "/bids")).await?.is(StatusCode::OK)?;
    let bids = table["bids"].as_array().doing("an answer without bids")?;
    Ok(bids
        .iter()
        .filter_map(|bid| bid["price"].as_i64())
        .collect())
}
