//! What does not fit together is not used.

use connects::domain::account::{Account, Amend, Status};
use connects::domain::draft::{Draft, Unplanned};
use connects::domain::refund::{Charged, RefundCommand, RefundOf, RefundReason};
use connects::domain::units::Connects;
use connects_tests::table::{Table, at, key, spend};

const NOW: &str = "2026-01-10T12:00:00Z";

/// A query that met some items before a commit and some after it.
#[tokio::test]
async fn a_mixture_of_before_and_after_is_noticed() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    let before = table.state(&account).await;
    let command = spend(45);
    table
        .ledger
        .spend(&at(NOW), &account, &key(), &command)
        .await
        .unwrap();
    // A cycle later the profile has moved on too.
    let later = at("2026-02-10T00:00:00Z");
    table.ledger.sweep_grants(&later, later.now).await.unwrap();
    let after = table.state(&account).await;

    let assemble = |profile: &Account, lots: &Account, head: &Account| {
        Account::assemble(
            account.clone(),
            profile.profile.clone(),
            lots.stored.clone(),
            head.head.clone(),
        )
    };
    assert!(assemble(&after, &after, &after).is_ok());
    assert!(assemble(&before, &before, &before).is_ok());
    for (what, profile, lots, head) in [
        ("the profile of before", &before, &after, &after),
        ("the lots of before", &after, &before, &after),
        ("the entry of before", &after, &after, &before),
        ("only the entry of after", &before, &before, &after),
    ] {
        assert!(assemble(profile, lots, head).is_err(), "{what}");
    }
}

/// A query that met all of a transaction but its last entry and what goes with that: the entry
/// before it fits the lots, but nobody ever had that account.
#[tokio::test]
async fn half_a_transaction_is_no_account() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    let before = table.state(&account).await;
    let suspend = Amend {
        status: Some(Status::Suspended),
        email: None,
        payment_customer: None,
    };
    // Books the cycle's grant first, in the same transaction.
    let later = at("2026-02-10T00:00:00Z");
    table.ledger.amend(&later, &account, suspend).await.unwrap();
    let after = table.state(&account).await;

    let journal = table.journal(&account).await;
    let [.., granted, suspended] = &journal[..] else {
        panic!("{journal:?}");
    };
    assert_eq!(suspended, &after.head);
    assert_eq!(granted.hash, granted.seal(&after.lots), "it fits the lots");
    for profile in [&before.profile, &after.profile] {
        let half = Account::assemble(
            account.clone(),
            profile.clone(),
            after.stored.clone(),
            granted.clone(),
        );
        assert!(half.is_err(), "{profile:?}");
    }
}

/// The spend's receipt is read beside the account, so it may be older: a refund in between is in
/// the lots already. That is no refusal and no plan, but a reason to read again.
#[tokio::test]
async fn a_receipt_older_than_the_account_plans_nothing() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    let command = spend(40);
    let spent = table
        .ledger
        .spend(&at(NOW), &account, &key(), &command)
        .await
        .unwrap()
        .into_inner();
    let store = table.ledger.store();
    let old = store
        .receipt(&account, &spent.spend_id)
        .await
        .unwrap()
        .unwrap();
    let refund = RefundCommand {
        of: RefundOf::SpendId(spent.spend_id),
        amount: Some(Connects::new(30)),
        reason: RefundReason::Goodwill,
    };
    table
        .ledger
        .refund(&at(NOW), &account, &key(), &refund)
        .await
        .unwrap();

    let state = table.state(&account).await;
    let draft = Draft::new(table.ledger.policy(), at(NOW).now, state);
    let id = RefundCommand::id(&account, &key());
    let planned = refund.plan(draft, &id, Some(&Charged::Spend(old)));
    assert_eq!(planned.err(), Some(Unplanned::Stale));
}
