//! The third chapter, second half: a badge over three weeks in which its price rises.

use chrono::{Days, TimeDelta};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Demo, get, put};
use crate::environment;
use crate::failure::{Doing, Failure, Result};

/// Others who turn their badge on each week: what the built-in policy raises the price for.
const NEWCOMERS: usize = 25;

/// Weeks that the badge has after the first.
const WEEKS: u64 = 3;

/// Names enough for all who come.
pub fn names(run: &str) -> Vec<String> {
    let all = 0..=NEWCOMERS * WEEKS as usize;
    all.map(|n| format!("demo-badge{n}-{run}")).collect()
}

pub async fn walk(demo: &mut Demo, names: &[String]) -> Result<()> {
    let Some((holder, others)) = names.split_first() else {
        return Ok(());
    };
    let holder = format!("/v1/accounts/{holder}");
    demo.step("A badge: the price of this week, and a holder who pays at most one more for any");
    let price = demo.tell(get("/v1/availability-badge/price", "")).await?;
    let price = price.is(StatusCode::OK)?["price"].as_i64();
    let most = price.doing("an answer without a price")? + 1;
    open(demo, &holder).await?;
    let badge = format!("{holder}/availability-badge");
    let on = put(&badge, json!({ "max_weekly": most }));
    demo.tell(on).await?.is(StatusCode::CREATED)?;

    let begun = environment::now();
    let mut off = Value::Null;
    for (week, newcomers) in (1..=WEEKS).zip(others.chunks(NEWCOMERS)) {
        demo.step(&format!(
            "{NEWCOMERS} more turn theirs on; a week later it is renewed, at that week's price"
        ));
        for other in newcomers {
            let other = format!("/v1/accounts/{other}");
            open(demo, &other).await?;
            let on = put(
                &format!("{other}/availability-badge"),
                json!({ "max_weekly": 1000 }),
            );
            demo.send(&on).await?.is(StatusCode::CREATED)?;
        }
        demo.now = Some(begun + Days::new(7 * week) + TimeDelta::minutes(1));
        demo.fire("badge").await?;
        let stands = demo.tell(get(&badge, "")).await?.is(StatusCode::OK)?;
        off = stands["off_reason"].clone();
        if !off.is_null() {
            break;
        }
    }
    println!();
    demo.history(&holder, "days=30").await?;
    match off.as_str() {
        Some("too_dear") => Ok(()),
        _ => Err(Failure::new(format!("the badge went off for {off}"))),
    }
}

/// Opens a freelancer's account with 50 Connects.
async fn open(demo: &Demo, account: &str) -> Result<()> {
    let person = account.rsplit('/').next().unwrap_or_default();
    let body = json!({ "kind": "freelancer", "person_id": person });
    demo.send(&put(account, body))
        .await?
        .is(StatusCode::CREATED)?;
    Ok(())
}
