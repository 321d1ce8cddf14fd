//! Spends and returns that touch more lots than one transaction carries.

use connects::domain::draft::{Draft, MAX_ACTIONS};
use connects::domain::ids::AccountId;
use connects::domain::journal::EntryType;
use connects::domain::lot::Source;
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::domain::spend::SpendCommand;
use connects::domain::units::Connects;
use connects_tests::table::{Table, at, instant, key, spend};

const NOW: &str = "2026-01-10T12:00:00Z";

/// An account with `lots` lots of one Connect each, as many to a transaction as it carries.
async fn account_of_ones(table: &Table, lots: usize) -> AccountId {
    let account = table.open_empty(NOW).await;
    let store = table.ledger.store();
    let mut left = lots;
    while left > 0 {
        let batch = left.min(MAX_ACTIONS / 2);
        let state = table.state(&account).await;
        let mut draft = Draft::new(table.ledger.policy(), instant(NOW), state);
        for _ in 0..batch {
            draft.issue(Source::Reward, "test", Connects::new(1), None);
        }
        store.commit_if(draft.finish(vec![]).1).await.unwrap();
        left -= batch;
    }
    account
}

#[tokio::test]
async fn five_hundred_lots_of_one_are_spent_and_returned_at_once() {
    let table = Table::new().await;
    let account = account_of_ones(&table, 500).await;
    let ledger = &table.ledger;

    let (first, command) = (key(), spend(500));
    let spent = ledger
        .spend(&at(NOW), &account, &first, &command)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(spent.lots.len(), 500);
    assert!(spent.balance.available.is_zero());

    let journal = table.journal(&account).await;
    let spends = journal.iter().filter(|e| e.entry_type == EntryType::Spend);
    let spends: Vec<_> = spends.collect();
    assert_eq!(spends.len(), 1, "one entry names all the lots");
    assert!(
        spends[0].pending.len() > 500 - MAX_ACTIONS,
        "which one transaction can't write"
    );
    let written = journal
        .iter()
        .filter(|e| e.entry_type == EntryType::Pending)
        .count();
    assert!(
        written >= 4,
        "the rest was written by entries of amount 0: {written}"
    );
    assert!(table.state(&account).await.stored.is_empty());
    table.audit(&account).await;

    let again = ledger
        .spend(&at(NOW), &account, &first, &command)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again, spent);

    let refund = RefundCommand {
        of: RefundOf::SpendId(spent.spend_id),
        amount: None,
        reason: RefundReason::Correction,
    };
    let back = ledger
        .refund(&at(NOW), &account, &key(), &refund)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(back.balance.available, Connects::new(500));
    assert_eq!(table.audit(&account).await.balance(), 500);
    assert_eq!(table.state(&account).await.stored.len(), 500);
}

/// A worker that died right after the spend's own transaction: every reader sees the whole spend,
/// and the next commit of anyone writes what it left.
#[tokio::test]
async fn what_a_dead_worker_left_pending_is_seen_by_all_and_written_by_the_next() {
    let table = Table::new().await;
    let account = account_of_ones(&table, 150).await;
    let ledger = &table.ledger;

    let state = table.state(&account).await;
    let draft = Draft::new(ledger.policy(), instant(NOW), state);
    let (first, command) = (key(), spend(140));
    let id = SpendCommand::id(&account, &first);
    let (_, plan) = command.plan(draft, &id).unwrap();
    ledger.store().commit(plan.unwrap()).await.unwrap();

    let state = table.state(&account).await;
    assert!(state.stored.len() > 10, "lots are left to write");
    assert_eq!(state.lots.len(), 10);
    let view = ledger.account(&at(NOW), &account).await.unwrap();
    assert_eq!(view.balance.available, Connects::new(10));

    let refused = ledger.spend(&at(NOW), &account, &key(), &spend(11)).await;
    assert!(refused.is_err(), "a spend of what was spent already");
    ledger
        .spend(&at(NOW), &account, &key(), &spend(10))
        .await
        .unwrap();
    assert_eq!(table.audit(&account).await.balance(), 0);
    assert!(table.state(&account).await.stored.is_empty());
}

/// 130 lots lapse on one day: more than one transaction settles.
#[tokio::test]
async fn many_expiries_are_booked_in_several_transactions() {
    let table = Table::new().await;
    let account = account_of_ones(&table, 130).await;
    let ledger = &table.ledger;
    let later = at("2027-01-11T00:00:00Z");

    let view = ledger.account(&later, &account).await.unwrap();
    assert!(
        view.balance.available.is_zero(),
        "before anything is booked"
    );
    let report = ledger.sweep_expiry(&later, later.now).await.unwrap();
    assert_eq!((report.failed, report.unfinished), (0, false));

    let journal = table.journal(&account).await;
    let expired = journal
        .iter()
        .filter(|e| e.entry_type == EntryType::Expire)
        .count();
    assert_eq!(expired, 130, "one entry each");
    assert_eq!(table.audit(&account).await.balance(), 0);
}
