//! Scheduled runs: late, twice, at once, cut off: the same end.

use connects::domain::account::{Amend, Status};
use connects::domain::journal::EntryType;
use connects::domain::policy::{BUILT_IN, Policy};
use connects::ledger::Context;
use connects_tests::table::{Table, at, instant, key, spend};
use futures::stream::{self, StreamExt};
use tokio::time::Instant;

async fn entries(
    table: &Table,
    account: &connects::domain::ids::AccountId,
    of: EntryType,
) -> usize {
    let journal = table.journal(account).await;
    journal
        .iter()
        .filter(|entry| entry.entry_type == of)
        .count()
}

/// Lot of 10 from 2025-03-15; the sweep comes six hours after its end.
#[tokio::test]
async fn a_late_sweep_books_one_expiry() {
    let table = Table::new().await;
    let account = table.open("2025-03-15T09:00:00Z").await;
    table
        .ledger
        .spend(&at("2025-03-15T10:00:00Z"), &account, &key(), &spend(40))
        .await
        .unwrap();
    let late = at("2026-03-16T06:00:00Z");
    // Each month brought ten more; only those of the first day are gone.
    let before = table
        .ledger
        .account(&at("2026-03-16T03:00:00Z"), &account)
        .await
        .unwrap();
    assert_eq!(before.balance.available.get(), 120);
    for _ in 0..2 {
        table.ledger.sweep_expiry(&late, late.now).await.unwrap();
    }
    let journal = table.journal(&account).await;
    let expired: Vec<_> = journal
        .iter()
        .filter(|e| e.entry_type == EntryType::Expire)
        .collect();
    assert_eq!(expired.len(), 1);
    assert_eq!(expired[0].amount, -10);
    // Booked when the run came to it, which a busy machine may take its time for.
    let booked_after = expired[0].at - late.now;
    assert!(
        (0..300).contains(&booked_after.num_seconds()),
        "{booked_after}"
    );
    assert_eq!(expired[0].effective_at, instant("2026-03-16T00:00:00Z"));
    table.audit(&account).await;
}

#[tokio::test]
async fn grants_are_booked_once_whoever_runs_and_however_late() {
    let table = Table::new().await;
    let account = table.open("2025-01-31T09:00:00Z").await;
    let late = at("2025-05-02T00:00:00Z");
    let runs = (0..4).map(|_| table.ledger.sweep_grants(&late, late.now));
    for report in futures::future::join_all(runs).await {
        assert_eq!(report.unwrap().failed, 0);
    }
    let journal = table.journal(&account).await;
    let granted: Vec<String> = journal
        .iter()
        .filter(|entry| entry.entry_type == EntryType::Issue)
        .filter(|entry| entry.reason.as_str() == "monthly_free")
        .map(|entry| entry.effective_at.date_naive().to_string())
        .collect();
    assert_eq!(
        granted,
        ["2025-01-31", "2025-02-28", "2025-03-31", "2025-04-30"]
    );
    assert_eq!(table.audit(&account).await.balance(), 80);
}

/// A run that is out of time does nothing more and says so; the next goes on.
#[tokio::test]
async fn a_run_that_is_cut_off_is_finished_by_the_next() {
    let table = Table::new().await;
    let account = table.open("2025-01-10T09:00:00Z").await;
    let later = at("2025-02-10T00:00:00Z");
    let no_time = Context {
        deadline: Instant::now(),
        ..later
    };
    let report = table
        .ledger
        .sweep_grants(&no_time, later.now)
        .await
        .unwrap();
    assert!(report.unfinished);
    assert_eq!(entries(&table, &account, EntryType::Issue).await, 2);
    let report = table.ledger.sweep_grants(&later, later.now).await.unwrap();
    assert!(!report.unfinished);
    assert_eq!(entries(&table, &account, EntryType::Issue).await, 3);
}

/// Whether a run is dropped anywhere in the middle, or is never run: the same end.
#[tokio::test]
async fn a_run_that_dies_half_way_changes_nothing_in_the_end() {
    let table = Table::new().await;
    let mut accounts = vec![];
    for _ in 0..12 {
        accounts.push(table.open("2025-01-10T09:00:00Z").await);
    }
    let later = at("2025-03-10T00:00:00Z");
    for millis in [1, 3, 9, 27] {
        let run = table.ledger.sweep_grants(&later, later.now);
        let cut = tokio::time::timeout(std::time::Duration::from_millis(millis), run);
        let _ = cut.await;
    }
    table.ledger.sweep_grants(&later, later.now).await.unwrap();
    for account in &accounts {
        assert_eq!(table.audit(account).await.balance(), 70);
    }
}

#[tokio::test]
async fn a_cycle_that_begins_in_a_suspension_is_skipped_for_good() {
    let table = Table::new().await;
    let account = table.open("2025-01-10T09:00:00Z").await;
    let set = async |status, now: &str| {
        let amend = Amend {
            status: Some(status),
            email: None,
            payment_customer: None,
        };
        table.ledger.amend(&at(now), &account, amend).await.unwrap();
    };
    set(Status::Suspended, "2025-02-01T00:00:00Z").await;
    let during = at("2025-02-15T00:00:00Z");
    table
        .ledger
        .sweep_grants(&during, during.now)
        .await
        .unwrap();
    set(Status::Active, "2025-03-20T00:00:00Z").await;
    let after = at("2025-04-10T00:00:00Z");
    table.ledger.sweep_grants(&after, after.now).await.unwrap();

    let journal = table.journal(&account).await;
    let skipped: Vec<_> = journal
        .iter()
        .filter(|entry| entry.reason.as_str() == "grant_skipped")
        .map(|entry| entry.reference.clone().unwrap().to_string())
        .collect();
    assert_eq!(skipped, ["cycle:2025-02-10", "cycle:2025-03-10"]);
    assert_eq!(table.audit(&account).await.balance(), 60);
}

/// Told at 30, 7 and 1 days, once each; a run that comes late tells what is true then.
#[tokio::test]
async fn holders_are_told_once_of_each_notice() {
    let table = Table::new().await;
    let account = table.open("2025-01-10T09:00:00Z").await;
    table
        .ledger
        .sweep_grants(&at("2025-01-11T00:00:00Z"), instant("2025-01-11T00:00:00Z"))
        .await
        .unwrap();
    // Two lots end on 2026-01-10: signup and the first month's.
    for (now, told) in [
        ("2025-12-10T23:00:00Z", 0),
        ("2025-12-11T00:00:00Z", 2),
        ("2025-12-20T00:00:00Z", 0),
        // Late for the notice of 7 days, and only that one is told.
        ("2026-01-05T00:00:00Z", 2),
        ("2026-01-09T00:00:00Z", 2),
        ("2026-01-09T00:15:00Z", 0),
    ] {
        let context = at(now);
        let report = table
            .ledger
            .sweep_expiry(&context, context.now)
            .await
            .unwrap();
        assert_eq!(report.notices, told, "{now}");
    }
    table.audit(&account).await;
}

/// Many accounts in one run: 500, or as many as `CONNECTS_TEST_ACCOUNTS` says. The memory of a run
/// does not grow with them: it holds a page of each shard under way.
#[tokio::test]
async fn many_accounts_in_one_run() {
    let count = account_count();
    let mut policy = Policy::parse(BUILT_IN).unwrap();
    policy.lots.valid_months = 1;
    let table = Table::under(policy).await;
    let accounts: Vec<_> = stream::iter(0..count)
        .map(|_| table.open("2025-01-10T09:00:00Z"))
        .buffer_unordered(16)
        .collect()
        .await;
    let later = Context {
        deadline: Instant::now() + LAMBDA,
        ..at("2025-02-10T00:00:00Z")
    };
    println!("{count} accounts opened; peak memory {}", peak_memory());
    let begun = Instant::now();
    let report = table.ledger.sweep_grants(&later, later.now).await.unwrap();
    println!("grants: {report:?}");
    println!("in {:?}; peak memory {}", begun.elapsed(), peak_memory());
    assert_eq!((report.accounts, report.entries), (count, count));
    assert!(report.failed == 0 && !report.unfinished);
    let again = table.ledger.sweep_grants(&later, later.now).await.unwrap();
    assert_eq!(
        (again.accounts, again.entries),
        (0, 0),
        "finished work has left the index"
    );

    // The two lots of the first day have ended.
    let later = Context {
        deadline: Instant::now() + LAMBDA,
        ..at("2025-02-11T00:00:00Z")
    };
    let begun = Instant::now();
    let report = table.ledger.sweep_expiry(&later, later.now).await.unwrap();
    println!("expiry: {report:?}");
    println!("in {:?}; peak memory {}", begun.elapsed(), peak_memory());
    assert_eq!(
        (report.accounts, report.failed, report.unfinished),
        (count, 0, false)
    );
    for account in accounts.iter().step_by(accounts.len() / 7) {
        assert_eq!(table.audit(account).await.balance(), 10);
    }
}

/// How long one invocation may last.
const LAMBDA: std::time::Duration = std::time::Duration::from_secs(14 * 60);

#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn account_count() -> u64 {
    let count = std::env::var("CONNECTS_TEST_ACCOUNTS");
    count.map_or(500, |count| count.parse().unwrap())
}

/// The most memory that this process has had, as Linux tells it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown", str::trim).to_owned()
}
