//! How often an account may ask for its history, and guess at promo codes.

use chrono::TimeDelta;
use connects::domain::ids::{AccountId, PromoCode};
use connects::domain::policy::{BUILT_IN, Policy};
use connects::domain::quota::{Quota, Rate};
use connects::domain::refusal::Refusal;
use connects::ledger::{Error, Ledger};
use connects_tests::table::{Table, account_id, at, grant, instant, promo_code};
use futures::future::join_all;

const NOW: &str = "2026-01-10T12:00:00Z";

/// Of each five, and one more a minute.
async fn table() -> Table {
    let mut policy = Policy::parse(BUILT_IN).unwrap();
    let five = Rate {
        burst: 5,
        every_ms: 60_000,
    };
    (policy.limits.history, policy.limits.guesses) = (five, five);
    Table::under(policy).await
}

/// So many seconds after now; the refusal, if it is one.
async fn taken(ledger: &Ledger, account: &AccountId, seconds: i64) -> Result<(), Refusal> {
    let now = instant(NOW) + TimeDelta::seconds(seconds);
    refusal(ledger.take(&at(NOW), account, Quota::History, now).await)
}

fn refusal<T>(answer: Result<T, Error>) -> Result<T, Refusal> {
    answer.map_err(|error| match error {
        Error::Refused(refusal) => refusal,
        Error::Fault(fault) => panic!("{fault:?}"),
    })
}

const fn wait(retry_after: u64) -> Result<(), Refusal> {
    Err(Refusal::RateLimited { retry_after })
}

#[tokio::test]
async fn a_burst_then_one_a_minute_for_each_account() {
    let table = table().await;
    let (ana, ben) = (account_id(), account_id());
    let ledger = &table.ledger;
    for (who, seconds, expected) in [
        (&ana, 0, Ok(())),
        (&ana, 1, Ok(())),
        (&ana, 1, Ok(())),
        (&ana, 2, Ok(())),
        (&ana, 2, Ok(())),
        (&ana, 2, wait(58)),
        (&ben, 2, Ok(())),
        (&ana, 59, wait(1)),
        (&ana, 60, Ok(())),
        (&ana, 0, wait(120)),
        (&ana, 3_600, Ok(())),
        (&ana, 3_600, Ok(())),
    ] {
        assert_eq!(taken(ledger, who, seconds).await, expected, "{seconds}");
    }
}

#[tokio::test]
async fn of_many_at_once_a_burst_is_let_in() {
    let table = table().await;
    let account = account_id();
    let all = (0..40).map(|_| taken(&table.ledger, &account, 0));
    let answers = join_all(all).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5);
    let refused = answers.iter().filter(|answer| **answer == wait(60));
    assert_eq!(refused.count(), 35);
}

#[tokio::test]
async fn quotas_are_counted_apart_and_leave_the_account_alone() {
    let table = table().await;
    let account = table.open(NOW).await;
    let before = table.state(&account).await;
    for _ in 0..5 {
        assert_eq!(taken(&table.ledger, &account, 0).await, Ok(()));
    }
    assert_eq!(taken(&table.ledger, &account, 0).await, wait(60));
    let now = at(NOW);
    let guesses = table.ledger.take(&now, &account, Quota::Guesses, now.now);
    assert_eq!(refusal(guesses.await), Ok(()));
    assert_eq!(table.state(&account).await, before);
}

#[tokio::test]
async fn who_guesses_too_often_is_not_told_even_of_a_code_there_is() {
    let table = table().await;
    let account = table.open(NOW).await;
    let (ledger, now) = (&table.ledger, at(NOW));
    let code = || promo_code();
    let given = async || {
        let (code, terms) = (code(), grant(1));
        ledger.put_promo(&now, &code, &terms).await.unwrap();
        code
    };
    let redeem = async |code: &PromoCode, seconds| {
        let real = now.now + TimeDelta::seconds(seconds);
        let attempt = ledger.redeem(&now, &account, None, code);
        let done = ledger.guess(&now, &account, real, attempt).await;
        refusal(done.map(|_| ()))
    };
    // What there is costs no guess.
    for _ in 0..8 {
        assert_eq!(redeem(&given().await, 0).await, Ok(()));
    }
    for _ in 0..5 {
        assert_eq!(redeem(&code(), 0).await, Err(Refusal::PromoUnknown));
    }
    let known = given().await;
    assert_eq!(redeem(&code(), 0).await, wait(60));
    assert_eq!(redeem(&known, 0).await, wait(60));
    assert_eq!(redeem(&known, 60).await, Ok(()));
    assert_eq!(redeem(&code(), 60).await, Err(Refusal::PromoUnknown));
    assert_eq!(redeem(&code(), 60).await, wait(60));
}

#[tokio::test]
async fn of_many_guesses_at_once_a_burst_is_answered() {
    let table = table().await;
    let account = table.open(NOW).await;
    let (ledger, now) = (&table.ledger, at(NOW));
    let guess = async |_| {
        let code = promo_code();
        let attempt = ledger.redeem(&now, &account, None, &code);
        refusal(ledger.guess(&now, &account, now.now, attempt).await)
    };
    let answers = join_all((0..20).map(guess)).await;
    let unknown = answers
        .iter()
        .filter(|answer| matches!(answer, Err(Refusal::PromoUnknown)));
    assert_eq!(unknown.count(), 5);
    assert!(answers.iter().all(Result::is_err));
}
