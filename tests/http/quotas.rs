//! How often an account may ask for what is dear, and how often it may guess.

use std::time::Instant;

use connects::domain::policy::{BUILT_IN, Policy};
use connects_tests::client::Answer;
use connects_tests::stack::{Stack, fresh_code};
use futures::future::join_all;
use serde_json::json;

/// Requests at the same time.
const AT_ONCE: u32 = 20;

#[track_caller]
fn waits(answer: Answer) {
    let answer = answer.refused(429, "rate_limited");
    let seconds = answer.header("retry-after").unwrap().parse::<u32>();
    assert!(seconds.unwrap() > 0);
}

#[tokio::test]
async fn history_is_dear_and_refused_to_who_asks_too_often() {
    let stack = Stack::local();
    let rate = Policy::parse(BUILT_IN).unwrap().limits.history;
    let ana = stack.freelancer("2052-01-15").await;
    let ben = stack.freelancer("2052-01-15").await;
    let ask = |csv: bool| {
        let request = ana.get("/history?limit=1").at("2052-01-16");
        match csv {
            true => request.header("accept", "text/csv"),
            false => request,
        }
    };
    let begun = Instant::now();
    let mut let_in = 0;
    let refused = loop {
        let asked = (0..AT_ONCE).map(|n| ask(n % 2 == 0).into_future());
        let answers = join_all(asked).await;
        let (good, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|it| it.status == 200);
        let_in += good.len() as u128;
        match refused.into_iter().next() {
            Some(refused) => break refused,
            None => assert!(let_in < 20 * u128::from(rate.burst), "never refused"),
        }
    };
    waits(refused);
    // The quota's clock is the real one: in the time that this took some have come back.
    let back = begun.elapsed().as_millis() / u128::from(rate.every_ms);
    let burst = u128::from(rate.burst);
    assert!(let_in >= burst && let_in <= burst + back + 1, "{let_in}");
    ben.get("/history").at("2052-01-16").await.is(200);
    ana.get("").at("2052-01-16").await.is(200);
    ana.spend(1).at("2052-01-16").await.is(201);
}

#[tokio::test]
async fn guesses_at_codes_end_on_every_route_that_tells_of_codes() {
    let stack = Stack::local();
    let guesses = Policy::parse(BUILT_IN).unwrap().limits.guesses.burst;
    let now = "2052-03-06";
    let ana = stack.agency("2052-03-01").await;
    let buy = |code: &str| ana.buy_with(json!({ "quantity": 10, "promo_code": code }));
    let known = [
        stack.grant_code(1, now).await,
        stack.grant_code(1, now).await,
    ];
    for n in 0..guesses {
        let guess = match n % 2 {
            0 => ana.redeem(&fresh_code()),
            _ => buy(&fresh_code()),
        };
        guess.at(now).await.refused(404, "promo_unknown");
        if n == 0 {
            ana.redeem(&known[0]).at(now).await.is(201);
        }
    }
    for code in [&fresh_code(), &known[0], &known[1]] {
        waits(ana.redeem(code).at(now).await);
        waits(buy(code).at(now).await);
    }
    assert_eq!(stack.redeemed(&known[1]).await, 0);
    // What is no guess goes on.
    ana.buy(10).at(now).await.is(201);
    let ben = stack.agency("2052-03-01").await;
    ben.redeem(&known[1]).at(now).await.is(201);
}
