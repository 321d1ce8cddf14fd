//! What an account is asked: does it exist, what is in it, what happened to it.

use connects::domain::account::{Amend, Kind, Open, Status};
use connects::domain::email::Email;
use connects::domain::history::{Query, Range};
use connects::domain::ids::{PersonId, Reference};
use connects::domain::journal::{Entry, EntryView};
use connects::domain::purchase::{PurchaseCommand, PurchaseStatus};
use connects::domain::refusal::Refusal;
use connects::domain::spend::SpendCommand;
use connects::domain::time::Time;
use connects::ledger::{Error, Outcome};
use connects::payments::Sandbox;
use connects_tests::table::{Table, account_id, at, instant, key, spend};

const OPENED: &str = "2025-01-10T09:00:00Z";

fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> Refusal {
    match answer {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn opening_again_asks_for_the_same_account_or_is_refused() {
    let table = Table::new().await;
    let id = account_id();
    let open = |kind, opened_on: Option<&str>| Open {
        kind,
        person_id: PersonId::try_new(id.as_str()).unwrap(),
        email: None,
        payment_customer: None,
        opened_on: opened_on.map(|day| day.parse().unwrap()),
    };
    let ledger = &table.ledger;
    assert!(!ledger.account_exists(&id).await.unwrap());
    assert_eq!(
        refused(ledger.account(&at(OPENED), &id).await),
        Refusal::AccountNotFound
    );
    let freelancer = Kind::Freelancer;
    let early = ledger
        .open(&at(OPENED), &id, open(freelancer, Some("2025-01-11")))
        .await;
    assert!(matches!(refused(early), Refusal::Invalid(_)));
    let first = ledger
        .open(&at(OPENED), &id, open(freelancer, None))
        .await
        .unwrap();
    let Outcome::Applied(first) = first else {
        panic!("{first:?}");
    };
    assert_eq!(first.balance.available.get(), 50);
    assert!(ledger.account_exists(&id).await.unwrap());
    // A month later it shows what it would show if it were asked for.
    let later = at("2025-02-10T00:00:00Z");
    let again = ledger
        .open(&later, &id, open(freelancer, Some("2025-01-10")))
        .await;
    let Outcome::Replayed(again) = again.unwrap() else {
        panic!("opened twice");
    };
    assert_eq!(again, ledger.account(&later, &id).await.unwrap());
    assert_eq!(again.balance.available.get(), 60);
    let other = ledger.open(&later, &id, open(Kind::Agency, None)).await;
    assert_eq!(refused(other), Refusal::AccountExists);
}

#[tokio::test]
async fn what_time_has_done_is_seen_before_it_is_booked() {
    let table = Table::new().await;
    let id = table.open(OPENED).await;
    let ledger = &table.ledger;
    let remaining = async |now: &str| -> Vec<u64> {
        let lots = ledger.lots(&at(now), &id).await.unwrap();
        lots.iter().map(|lot| lot.remaining().get()).collect()
    };
    assert_eq!(remaining(OPENED).await, [40, 10]);
    assert_eq!(remaining("2025-02-10T00:00:00Z").await, [40, 10, 10]);
    assert_eq!(remaining("2026-01-11T00:00:00Z").await, [10; 12]);
    assert_eq!(table.journal(&id).await.len(), 3);
}

#[tokio::test]
async fn amending_changes_the_status_and_the_contact() {
    let table = Table::new().await;
    let id = table.open(OPENED).await;
    let email = Email::try_new("a@b.example").ok();
    let amend = Amend {
        status: Some(Status::Suspended),
        email: email.clone(),
        payment_customer: None,
    };
    let ledger = &table.ledger;
    let view = ledger.amend(&at(OPENED), &id, amend.clone()).await.unwrap();
    assert_eq!(view.status, Status::Suspended);
    let spent = ledger.spend(&at(OPENED), &id, &key(), &spend(1)).await;
    assert_eq!(refused(spent), Refusal::AccountSuspended);
    let entries = table.journal(&id).await.len();
    ledger.amend(&at(OPENED), &id, amend).await.unwrap();
    assert_eq!(table.journal(&id).await.len(), entries);
    let nobody = Amend {
        status: None,
        email,
        payment_customer: None,
    };
    let amended = ledger.amend(&at(OPENED), &account_id(), nobody).await;
    assert_eq!(refused(amended), Refusal::AccountNotFound);
}

#[tokio::test]
async fn a_purchase_exists_where_it_was_made() {
    let table = Table::new().await;
    let (id, other) = (table.open(OPENED).await, table.open(OPENED).await);
    let ledger = &table.ledger;
    let provider = Sandbox::new(ledger.store().clone());
    let command = |quantity, method: Option<&str>| PurchaseCommand {
        quantity,
        promo_code: None,
        payment_method: method.map(str::to_owned),
    };
    let (key, now) = (key(), at(OPENED));
    let buy = async |command| ledger.purchase(&now, &provider, &id, &key, &command).await;
    let bought = buy(command(10, None)).await.unwrap();
    let Outcome::Applied(bought) = bought else {
        panic!("{bought:?}");
    };
    assert_eq!(
        (bought.status, bought.balance.available.get()),
        (PurchaseStatus::Paid, 60)
    );
    let again = buy(command(10, None)).await.unwrap();
    assert_eq!(again, Outcome::Replayed(bought.clone()));
    assert_eq!(
        refused(buy(command(11, None)).await),
        Refusal::IdempotencyKeyReused
    );
    let purchase = &bought.purchase_id;
    assert!(ledger.purchase_exists(&id, purchase).await.unwrap());
    assert!(!ledger.purchase_exists(&other, purchase).await.unwrap());
    let shown = ledger.purchase_by_id(&now, &id, purchase).await.unwrap();
    assert_eq!(shown, bought);
    let elsewhere = ledger.purchase_by_id(&now, &other, purchase).await;
    assert_eq!(refused(elsewhere), Refusal::PurchaseNotFound);
}

/// An account with an entry or more on many days, some about one job.
async fn busy_account(table: &Table) -> (connects::domain::ids::AccountId, Vec<Entry>) {
    let id = table.open("2025-01-10T09:00:00Z").await;
    // One at the very instant at which its day begins.
    for (day, hour) in [(11, 9), (14, 0), (14, 9), (20, 9), (21, 9), (28, 9)] {
        let command = SpendCommand {
            reference: (day % 2 == 0).then(|| Reference::try_new("job:J1").unwrap()),
            ..spend(2)
        };
        let now = at(&format!("2025-01-{day}T{hour:02}:00:00Z"));
        table
            .ledger
            .spend(&now, &id, &key(), &command)
            .await
            .unwrap();
    }
    let journal = table.journal(&id).await;
    (id, journal)
}

fn within(range: Range, entry: &Entry, now: Time) -> bool {
    range.since(now).is_none_or(|since| entry.at >= since)
        && range.until().is_none_or(|until| entry.at < until)
}

/// However it is asked for, by pages of any size: the entries of the span about the thing, newest
/// first, each once.
#[tokio::test]
async fn history_is_the_journal_filtered() {
    let table = Table::new().await;
    let (id, journal) = busy_account(&table).await;
    let now = instant("2025-01-28T09:00:00Z");
    let day = |text: &str| Some(text.parse().unwrap());
    let ranges = [
        Range::ALL,
        Range::Days(7),
        Range::Days(14),
        Range::Days(90),
        Range::Between(day("2025-01-14"), day("2025-01-20")),
        Range::Between(None, day("2025-01-13")),
        Range::Between(None, day("2025-01-28")),
        Range::Between(day("2025-01-20"), None),
        Range::Between(None, day("2025-01-09")),
        Range::Between(day("2025-01-29"), None),
    ];
    let job = Reference::try_new("job:J1").ok();
    for (range, reference) in ranges
        .iter()
        .flat_map(|range| [(range, None), (range, job.clone())])
    {
        let expected: Vec<EntryView> = journal
            .iter()
            .rev()
            .filter(|entry| within(*range, entry, now))
            .filter(|entry| reference.is_none() || entry.reference == reference)
            .map(|entry| entry.clone().into())
            .collect();
        let query = Query {
            range: *range,
            reference,
        };
        for limit in [1, 2, 3, 100] {
            let mut seen = vec![];
            let mut cursor = None;
            loop {
                let now = at("2025-01-28T09:00:00Z");
                let asked = table.ledger.history(&now, &id, &query, cursor, limit);
                let page = asked.await.unwrap();
                let left = expected.len() - seen.len();
                if query.reference.is_none() {
                    assert_eq!(page.entries.len(), left.min(limit), "{query:?} by {limit}");
                }
                assert!(page.entries.len() <= limit);
                seen.extend(page.entries);
                if *range == Range::ALL && query.reference.is_none() {
                    assert_eq!(page.next.is_none(), seen.len() == expected.len());
                }
                match page.next {
                    None => break,
                    next => cursor = next,
                }
            }
            assert_eq!(seen, expected, "{query:?} by {limit}");
        }
    }
    let query = Query {
        range: Range::ALL,
        reference: None,
    };
    let nobody = table
        .ledger
        .history(&at(OPENED), &account_id(), &query, None, 1)
        .await;
    assert_eq!(refused(nobody), Refusal::AccountNotFound);
}
