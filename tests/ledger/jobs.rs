//! Jobs: one price for each version, whoever posts at the same time.

use std::collections::BTreeMap;

use connects::domain::ids::{AccountId, JobId};
use connects::domain::job::{ContractKind, Details, Factors, JobView, PostJob, Pricing};
use connects::domain::refusal::Refusal;
use connects::domain::units::{Connects, Money};
use connects_tests::table::{Table, account_id, at, instant, job_id, refusal};
use futures::future::join_all;

const NOW: &str = "2026-01-10T12:00:00Z";

fn stated(cost: u64) -> PostJob {
    PostJob {
        posted_at: instant(NOW),
        pricing: Pricing::Stated(Connects::new(cost)),
    }
}

fn budget(amount: u64) -> PostJob {
    PostJob {
        posted_at: instant(NOW),
        pricing: Pricing::Details(Details {
            contract_kind: ContractKind::Fixed,
            budget: Some(Money {
                amount,
                currency: "USD".to_owned(),
            }),
            duration_weeks: None,
        }),
    }
}

async fn post(table: &Table, id: &JobId, post: &PostJob) -> (bool, JobView) {
    table.ledger.post_job(&at(NOW), id, post).await.unwrap()
}

#[tokio::test]
async fn a_job_is_posted_and_repriced() {
    let table = Table::new().await;
    let id = job_id();
    let unknown = table.ledger.job(&at(NOW), &id).await;
    assert_eq!(refusal(unknown), Refusal::JobNotFound);
    // What is posted, whether that is new, what it costs, and the price's version.
    for (request, is_new, cost, version) in [
        (budget(10_000), true, 8, 1),
        (budget(10_000), false, 8, 1),
        (budget(20_000), false, 8, 1),
        (budget(50_000), false, 10, 2),
        (stated(0), false, 0, 3),
        (stated(10), false, 10, 4),
    ] {
        let (new, job) = post(&table, &id, &request).await;
        assert_eq!(
            (new, job.connects_required.get(), job.version),
            (is_new, cost, version)
        );
        assert_eq!(table.ledger.job(&at(NOW), &id).await.unwrap(), job);
    }
    let later = PostJob {
        posted_at: instant("2026-01-10T12:00:01Z"),
        ..stated(10)
    };
    let moved = table.ledger.post_job(&at(NOW), &id, &later).await;
    assert!(matches!(refusal(moved), Refusal::Invalid(invalid) if invalid.field == "posted_at"));
}

#[tokio::test]
async fn of_posts_at_once_none_is_lost_and_each_version_has_one_price() {
    let table = Table::new().await;
    let id = job_id();
    let requests: Vec<PostJob> = (0..12).map(|n| stated(n % 6)).collect();
    let answers = join_all(requests.iter().map(|request| post(&table, &id, request))).await;
    assert_eq!(answers.iter().filter(|(is_new, _)| *is_new).count(), 1);
    let mut prices = BTreeMap::new();
    for (request, (_, job)) in requests.iter().zip(answers) {
        assert_eq!(request.pricing, Pricing::Stated(job.connects_required));
        let price = prices.entry(job.version).or_insert(job.connects_required);
        assert_eq!(*price, job.connects_required);
        assert_eq!(job.factors, Factors::Stated);
    }
    let (_, last) = prices.last_key_value().unwrap();
    let job = table.ledger.job(&at(NOW), &id).await.unwrap();
    assert_eq!(job.connects_required, *last);
    assert!(prices.keys().copied().eq(1..=job.version));
}

#[tokio::test]
async fn contracts_count_once_for_each_account_beside_updates() {
    let table = Table::new().await;
    let id = job_id();
    let nobody = table.ledger.contract(&at(NOW), &id, &account_id()).await;
    assert_eq!(refusal(nobody), Refusal::JobNotFound);
    post(&table, &id, &stated(8)).await;
    let accounts: Vec<AccountId> = (0..5).map(|_| account_id()).collect();
    let contracts = accounts.iter().chain(&accounts).map(async |account| {
        let contracted = table.ledger.contract(&at(NOW), &id, account).await;
        assert!(contracted.unwrap().contracts >= 1);
    });
    let updates = (0..4).map(async |n| {
        post(&table, &id, &stated(n)).await;
    });
    futures::join!(join_all(contracts), join_all(updates));
    let job = table.ledger.job(&at(NOW), &id).await.unwrap();
    assert_eq!(job.contracts, 5);
    assert!((2..=5).contains(&job.version));
    let again = table.ledger.contract(&at(NOW), &id, &accounts[0]).await;
    assert_eq!(again.unwrap(), job);
}
