//! The first chapter: where Connects come from, how they are used, and how they end.

use chrono::{Days, Months};
use reqwest::StatusCode;
use serde_json::json;

use super::{Demo, date, get, midnight, post, put, rfc3339};
use crate::environment;
use crate::failure::{Doing, Failure, Result};

pub async fn walk(demo: &mut Demo, account: &str) -> Result<()> {
    let promo = format!("/v1/promos/DEMO-{}", demo.run.to_uppercase());
    demo.step("A freelancer opens an account: 40 Connects for signing up, 10 for the month");
    let body = json!({ "kind": "freelancer", "person_id": format!("person-{}", demo.run) });
    demo.tell(put(account, body))
        .await?
        .is(StatusCode::CREATED)?;
    demo.show_lots(account).await?;

    demo.step("They buy 20 more, at 15 cents each");
    let purchase = post(account, "/purchases", json!({ "quantity": 20 })).key("buy");
    demo.tell(purchase).await?.is(StatusCode::CREATED)?;
    demo.show_lots(account).await?;

    let opened = demo.send(&get(account, "")).await?.is(StatusCode::OK)?;
    let next_cycle = date(&opened["billing_cycle"]["next_grant_on"])?;
    demo.step(&format!(
        "On {next_cycle} their next billing cycle begins: a grant is issued"
    ));
    demo.travel_to(next_cycle);
    demo.fire("monthly-grant").await?;
    demo.show_lots(account).await?;

    demo.step("An operator makes a promo code, and they redeem it");
    let until = next_cycle.checked_add_days(Days::new(30)).doing("a date")?;
    let terms = json!({
        "kind": "grant", "quantity": 15, "max_redemptions": 100,
        "valid_from": rfc3339(environment::now()), "valid_until": rfc3339(midnight(until)),
    });
    let made = demo
        .tell(put(&promo, terms).operator())
        .await?
        .is(StatusCode::CREATED)?;
    println!();
    let redemption = post(account, "/redemptions", json!({ "code": made["code"] }));
    demo.tell(redemption).await?.is(StatusCode::CREATED)?;
    demo.show_lots(account).await?;

    demo.step("They spend 55, across lots: the oldest Connects go first");
    let body = json!({ "amount": 55, "reason": "featured_profile" });
    let spend = post(account, "/spends", body).key("feature-me");
    let spent = demo.tell(spend.clone()).await?.is(StatusCode::CREATED)?;
    demo.show_lots(account).await?;

    demo.step("They did not see the answer, and send it again: the same answer, spent once");
    let again = demo.tell(spend).await?;
    if !again.replayed {
        return Err(Failure::new("the retry was not answered as a replay"));
    }
    if again.is(StatusCode::CREATED)? != spent {
        return Err(Failure::new("the retry was answered differently"));
    }
    demo.show_lots(account).await?;

    demo.step("15 of them are given back: to the lots they came from, the last taken first");
    let body = json!({ "spend_id": spent["spend_id"], "amount": 15, "reason": "goodwill" });
    let refund = post(account, "/refunds", body).key("sorry");
    demo.tell(refund).await?.is(StatusCode::CREATED)?;
    demo.show_lots(account).await?;

    let today = environment::now().date_naive();
    let anniversary = today.checked_add_months(Months::new(12)).doing("a date")?;
    let later = anniversary.checked_add_days(Days::new(2)).doing("a date")?;
    demo.step(&format!(
        "A year passes, to {later}: the first lots expire, each month brought 10"
    ));
    demo.travel_to(later);
    demo.tell(get(account, "")).await?.is(StatusCode::OK)?;
    println!("\nNo schedule ran in that year; the balance is right all the same. Now one does:\n");
    demo.fire("nightly-expiry").await?;
    demo.show_lots(account).await?;

    demo.step("The whole history");
    let days = format!("from={today}&to={later}");
    let history = demo.history(account, &days).await?;
    match history.iter().any(|entry| entry["type"] == "expire") {
        true => Ok(()),
        false => Err(Failure::new("nothing has expired")),
    }
}
