//! Purchases taken back.

use connects::domain::ids::{AccountId, OperationId};
use connects::domain::purchase::{DisputeState, PurchaseCommand, PurchaseStatus};
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::domain::refusal::Refusal;
use connects::domain::units::Connects;
use connects::ledger::Error;
use connects::payments::Sandbox;
use connects_tests::table::{self, Table, at, key};

const NOW: &str = "2026-01-10T12:00:00Z";

async fn buy(table: &Table, account: &AccountId, quantity: i64, now: &str) -> OperationId {
    let command = PurchaseCommand {
        quantity,
        promo_code: None,
        payment_method: None,
    };
    let sandbox = Sandbox::new(table.ledger.store().clone());
    let bought = table
        .ledger
        .purchase(&at(now), &sandbox, account, &key(), &command)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(bought.status, PurchaseStatus::Paid);
    bought.purchase_id
}

async fn spend(table: &Table, account: &AccountId, amount: u64, now: &str) -> Result<(), Error> {
    let spent = table
        .ledger
        .spend(&at(now), account, &key(), &table::spend(amount))
        .await;
    spent.map(|_| ())
}

/// What the chargeback leaves: available and debt.
async fn charge_back(
    table: &Table,
    account: &AccountId,
    id: &OperationId,
    now: &str,
) -> (u64, u64) {
    let done = table
        .ledger
        .chargeback(&at(now), account, id, None)
        .await
        .unwrap();
    let balance = done.into_inner().balance;
    table.audit(account).await;
    (balance.available.get(), balance.debt.get())
}

/// Bought 100, spent 70: 30 revoked, debt 70, which blocks spending until credits cover it.
#[tokio::test]
async fn the_spent_rest_is_owed() {
    let table = Table::new().await;
    let account = table.open_empty(NOW).await;
    let id = buy(&table, &account, 100, NOW).await;
    spend(&table, &account, 70, NOW).await.unwrap();
    assert_eq!(charge_back(&table, &account, &id, NOW).await, (0, 70));

    let blocked = spend(&table, &account, 1, NOW).await;
    let owed = |debt| Refusal::InDebt {
        debt: Connects::new(debt),
    };
    assert!(matches!(blocked, Err(Error::Refused(refusal)) if refusal == owed(70)));
    buy(&table, &account, 50, NOW).await;
    let blocked = spend(&table, &account, 1, NOW).await;
    assert!(matches!(blocked, Err(Error::Refused(refusal)) if refusal == owed(20)));
    buy(&table, &account, 50, NOW).await;
    spend(&table, &account, 30, NOW).await.unwrap();
    assert_eq!(table.audit(&account).await.balance(), 0);
}

/// Other Connects cover the debt at once, oldest first.
#[tokio::test]
async fn what_is_there_covers_the_debt_first() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    let id = buy(&table, &account, 100, NOW).await;
    // 50 of the first day, then 70 of the purchase.
    spend(&table, &account, 120, NOW).await.unwrap();
    buy(&table, &account, 40, NOW).await;
    assert_eq!(charge_back(&table, &account, &id, NOW).await, (0, 30));
}

/// What lapsed unused was never spent, so nobody owes it.
#[tokio::test]
async fn what_lapsed_of_the_lot_is_not_owed() {
    let table = Table::new().await;
    for (swept, later) in [
        // The last instant of the lot, and the first without it.
        (false, "2027-01-10T23:59:59.999Z"),
        (false, "2027-01-11T00:00:00Z"),
        (false, "2027-02-01T00:00:00Z"),
        (true, "2027-02-01T00:00:00Z"),
    ] {
        let account = table.open_empty(NOW).await;
        let id = buy(&table, &account, 100, NOW).await;
        spend(&table, &account, 30, NOW).await.unwrap();
        // Used on its last day, when some of it may have lapsed for all that the day tells.
        let last_day = "2027-01-10T09:00:00Z";
        spend(&table, &account, 20, last_day).await.unwrap();
        if swept {
            let later = at(later);
            table.ledger.sweep_expiry(&later, later.now).await.unwrap();
        }
        assert_eq!(
            charge_back(&table, &account, &id, later).await,
            (0, 50),
            "{later}, swept: {swept}"
        );
    }
}

/// The scheduled run books the lot's end while the chargeback looks for it.
#[tokio::test]
async fn an_expiry_that_is_booked_meanwhile_is_counted_once() {
    let table = Table::new().await;
    for _ in 0..6 {
        let account = table.open_empty(NOW).await;
        let id = buy(&table, &account, 100, NOW).await;
        spend(&table, &account, 40, NOW).await.unwrap();
        let later = at("2027-02-01T00:00:00Z");
        let (done, swept) = futures::join!(
            table.ledger.chargeback(&later, &account, &id, None),
            table.ledger.sweep_expiry(&later, later.now),
        );
        assert_eq!(swept.unwrap().failed, 0);
        assert_eq!(done.unwrap().into_inner().balance.debt, Connects::new(40));
        table.audit(&account).await;
    }
}

#[tokio::test]
async fn once_only() {
    let table = Table::new().await;
    let account = table.open_empty(NOW).await;
    let id = buy(&table, &account, 100, NOW).await;
    let now = at(NOW);
    let one = key();
    let racing = futures::future::join_all(
        (0..6).map(|_| table.ledger.chargeback(&now, &account, &id, Some(&one))),
    )
    .await;
    let answers: Vec<_> = racing
        .into_iter()
        .map(|answer| answer.unwrap().into_inner())
        .collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let other = table
        .ledger
        .chargeback(&now, &account, &id, Some(&key()))
        .await;
    assert!(matches!(
        other,
        Err(Error::Refused(Refusal::AlreadyChargedBack { .. }))
    ));
    assert_eq!(table.audit(&account).await.balance(), 0);
}

/// Nothing tells a request without a key from another without one.
#[tokio::test]
async fn without_a_key_a_second_chargeback_is_refused() {
    let table = Table::new().await;
    let account = table.open_empty(NOW).await;
    let id = buy(&table, &account, 100, NOW).await;
    charge_back(&table, &account, &id, NOW).await;
    let one = key();
    for key in [None, Some(&one)] {
        let again = table.ledger.chargeback(&at(NOW), &account, &id, key).await;
        assert!(
            matches!(
                again,
                Err(Error::Refused(Refusal::AlreadyChargedBack { .. }))
            ),
            "{again:?}"
        );
    }
}

/// What a reversal leaves: available and debt.
async fn reverse(table: &Table, account: &AccountId, id: &OperationId, now: &str) -> (u64, u64) {
    let done = table
        .ledger
        .reverse_chargeback(&at(now), account, id, None)
        .await
        .unwrap();
    let view = done.into_inner();
    assert_eq!(
        (view.status, view.chargeback_reversed),
        (PurchaseStatus::Paid, true)
    );
    table.audit(account).await;
    (view.balance.available.get(), view.balance.debt.get())
}

/// 100 bought and 70 spent: whatever was repaid meanwhile comes back with the 30, and nothing is owed.
#[tokio::test]
async fn a_reversal_gives_back_what_the_bank_gave_back() {
    let table = Table::new().await;
    for (more, owing, back) in [
        (0, (0, 70), (30, 0)),
        (50, (0, 20), (80, 0)),
        (90, (20, 0), (120, 0)),
    ] {
        let account = table.open_empty(NOW).await;
        let id = buy(&table, &account, 100, NOW).await;
        spend(&table, &account, 70, NOW).await.unwrap();
        assert_eq!(charge_back(&table, &account, &id, NOW).await, (0, 70));
        if more > 0 {
            buy(&table, &account, more, NOW).await;
        }
        let state = table.audit(&account).await;
        assert_eq!((state.balance(), state.debt()), owing);
        assert_eq!(reverse(&table, &account, &id, NOW).await, back);
        // The first 30 are in their own lot again, usable first.
        spend(&table, &account, 30, NOW).await.unwrap();
        // A second time the bank takes it: all that was spent of it is owed again.
        let (available, debt) = charge_back(&table, &account, &id, NOW).await;
        assert_eq!((available, debt), (0, 100 - more as u64));
        let (available, debt) = reverse(&table, &account, &id, NOW).await;
        assert_eq!((available, debt), (more as u64, 0));
    }
}

/// The job is cancelled after all that: what was spent of the purchase comes back to its lot.
#[tokio::test]
async fn what_was_spent_can_be_returned_after_a_reversal() {
    let table = Table::new().await;
    let account = table.open_empty(NOW).await;
    let id = buy(&table, &account, 100, NOW).await;
    let (now, ledger) = (at(NOW), &table.ledger);
    let spent = ledger
        .spend(&now, &account, &key(), &table::spend(70))
        .await;
    let spent = spent.unwrap().into_inner();
    charge_back(&table, &account, &id, NOW).await;
    buy(&table, &account, 90, NOW).await;
    assert_eq!(reverse(&table, &account, &id, NOW).await, (120, 0));
    let refund = RefundCommand {
        of: RefundOf::SpendId(spent.spend_id),
        amount: None,
        reason: RefundReason::Goodwill,
    };
    let refunded = ledger.refund(&now, &account, &key(), &refund).await;
    assert_eq!(refunded.unwrap().into_inner().amount, Connects::new(70));
    assert_eq!(table.audit(&account).await.balance(), 190);
    let (available, debt) = charge_back(&table, &account, &id, NOW).await;
    assert_eq!((available, debt), (90, 0));
}

/// Long after: a purchase's lot that has lapsed comes back for 30 days, as anything does.
#[tokio::test]
async fn what_has_lapsed_meanwhile_comes_back_for_a_while() {
    let table = Table::new().await;
    let account = table.open_empty(NOW).await;
    let id = buy(&table, &account, 100, NOW).await;
    spend(&table, &account, 60, NOW).await.unwrap();
    charge_back(&table, &account, &id, "2027-01-02T00:00:00Z").await;
    let late = "2027-03-01T00:00:00Z";
    assert_eq!(reverse(&table, &account, &id, late).await, (40, 0));
    let lots = table.ledger.lots(&at(late), &account).await.unwrap();
    let lots: Vec<_> = lots
        .iter()
        .map(|lot| (lot.birth().expires_on.to_string(), lot.remaining().get()))
        .collect();
    assert_eq!(lots, [("2027-03-31".to_owned(), 40)]);
}

#[tokio::test]
async fn a_reversal_happens_once_too() {
    let table = Table::new().await;
    let account = table.open_empty(NOW).await;
    let id = buy(&table, &account, 100, NOW).await;
    spend(&table, &account, 70, NOW).await.unwrap();
    let (now, ledger, one, other) = (at(NOW), &table.ledger, key(), key());
    let early = ledger
        .reverse_chargeback(&now, &account, &id, Some(&one))
        .await;
    assert!(matches!(
        early,
        Err(Error::Refused(Refusal::PurchaseNotChargedBack { .. }))
    ));
    charge_back(&table, &account, &id, NOW).await;
    let racing = (0..6).map(|_| ledger.reverse_chargeback(&now, &account, &id, Some(&one)));
    for answer in futures::future::join_all(racing).await {
        let balance = answer.unwrap().into_inner().balance;
        assert_eq!((balance.available.get(), balance.debt.get()), (30, 0));
    }
    let again = ledger
        .reverse_chargeback(&now, &account, &id, Some(&other))
        .await;
    assert!(matches!(
        again,
        Err(Error::Refused(Refusal::PurchaseNotChargedBack { .. }))
    ));
    assert_eq!(table.audit(&account).await.balance(), 30);
}

/// Whatever is heard of a dispute, in whatever order and however often: it took, and gave back, once.
#[tokio::test]
async fn a_dispute_ends_where_it_stands() {
    use DisputeState::{GivenBack, Taken};
    let table = Table::new().await;
    for (heard, status, balance) in [
        (&[Taken][..], PurchaseStatus::ChargedBack, (0, 70)),
        (&[Taken, Taken], PurchaseStatus::ChargedBack, (0, 70)),
        (&[Taken, GivenBack], PurchaseStatus::Paid, (30, 0)),
        (&[GivenBack], PurchaseStatus::Paid, (30, 0)),
        // What was asked before and applied after.
        (&[GivenBack, Taken], PurchaseStatus::Paid, (30, 0)),
        (
            &[Taken, GivenBack, Taken, GivenBack],
            PurchaseStatus::Paid,
            (30, 0),
        ),
    ] {
        let account = table.open_empty(NOW).await;
        let id = buy(&table, &account, 100, NOW).await;
        spend(&table, &account, 70, NOW).await.unwrap();
        let (now, ledger, dispute) = (at(NOW), &table.ledger, key());
        let mut told = None;
        for state in heard {
            let done = ledger.dispute_told(&now, &account, &id, &dispute, *state);
            told = done.await.unwrap();
        }
        assert_eq!(told, Some(status), "{heard:?}");
        let state = table.audit(&account).await;
        assert_eq!((state.balance(), state.debt()), balance, "{heard:?}");
    }
    // All at once.
    let account = table.open_empty(NOW).await;
    let id = buy(&table, &account, 100, NOW).await;
    let (now, ledger, dispute) = (at(NOW), &table.ledger, key());
    let states = [Taken, GivenBack].into_iter().cycle().take(12);
    let told = states.map(|state| ledger.dispute_told(&now, &account, &id, &dispute, state));
    for told in futures::future::join_all(told).await {
        told.unwrap();
    }
    let told = ledger.dispute_told(&now, &account, &id, &dispute, Taken);
    assert_eq!(told.await.unwrap(), Some(PurchaseStatus::Paid));
    assert_eq!(table.audit(&account).await.balance(), 100);
    // About nothing that there is.
    let nothing = PurchaseCommand::id(&account, &key());
    let told = ledger.dispute_told(&now, &account, &nothing, &dispute, Taken);
    assert_eq!(told.await.unwrap(), None);
}

/// An operator who was faster than the provider's message, and one whose purchase was never paid.
#[tokio::test]
async fn a_dispute_about_what_is_charged_back_already_changes_nothing() {
    let table = Table::new().await;
    let account = table.open_empty(NOW).await;
    let id = buy(&table, &account, 100, NOW).await;
    charge_back(&table, &account, &id, NOW).await;
    let (now, ledger, dispute) = (at(NOW), &table.ledger, key());
    let told = ledger.dispute_told(&now, &account, &id, &dispute, DisputeState::Taken);
    assert_eq!(told.await.unwrap(), Some(PurchaseStatus::ChargedBack));
    // Its first message comes once more at the end.
    for state in [DisputeState::GivenBack, DisputeState::Taken] {
        let told = ledger.dispute_told(&now, &account, &id, &dispute, state);
        assert_eq!(told.await.unwrap(), Some(PurchaseStatus::Paid));
    }
    assert_eq!(table.audit(&account).await.balance(), 100);
}
