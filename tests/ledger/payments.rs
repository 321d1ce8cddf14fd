//! One charge, one lot, however often a step is repeated and wherever it stopped.

use connects::domain::ids::AccountId;
use connects::domain::journal::EntryType;
use connects::domain::purchase::{Purchase, PurchaseCommand, PurchaseStatus, PurchaseView};
use connects::domain::refusal::Refusal;
use connects::domain::units::Connects;
use connects::ledger::{Error, Outcome};
use connects::payments::{Charge, Payment, Provider, Sandbox};
use connects_tests::table::{Table, at, grant, instant, key, promo_code};
use futures::future::join_all;

const NOW: &str = "2026-01-10T12:00:00Z";
const SOON: &str = "2026-01-10T12:15:00Z";

fn command(method: &str) -> PurchaseCommand {
    PurchaseCommand {
        quantity: 20,
        promo_code: None,
        payment_method: Some(method.to_owned()),
    }
}

fn sandbox(table: &Table) -> Sandbox {
    Sandbox::new(table.ledger.store().clone())
}

async fn buy(table: &Table, account: &AccountId, method: &str) -> PurchaseView {
    table
        .ledger
        .purchase(&at(NOW), &sandbox(table), account, &key(), &command(method))
        .await
        .unwrap()
        .into_inner()
}

async fn issued(table: &Table, account: &AccountId) -> usize {
    let journal = table.journal(account).await;
    let issues = journal.iter().filter(|e| e.entry_type == EntryType::Issue);
    issues.count()
}

#[tokio::test]
async fn each_method_ends_where_its_name_says() {
    use PurchaseStatus::{Declined, Paid, Pending};
    let table = Table::new().await;
    for (method, at_once, after_recovery, balance) in [
        ("sandbox_approve", Paid, Paid, 20),
        ("sandbox_decline", Declined, Declined, 0),
        ("sandbox_timeout", Pending, Paid, 20),
        ("sandbox_late", Pending, Paid, 20),
    ] {
        let account = table.open_empty(NOW).await;
        let bought = buy(&table, &account, method).await;
        assert_eq!(bought.status, at_once, "{method}");
        let soon = at(SOON);
        let runs = (0..4).map(|_| async {
            table
                .ledger
                .sweep_payments(&soon, &sandbox(&table), soon.now)
                .await
                .unwrap()
        });
        join_all(runs).await;
        let now = table
            .ledger
            .purchase_by_id(&soon, &account, &bought.purchase_id)
            .await
            .unwrap();
        assert_eq!(now.status, after_recovery, "{method}");
        assert_eq!(table.audit(&account).await.balance(), balance, "{method}");
        assert_eq!(
            issued(&table, &account).await,
            usize::from(balance > 0),
            "{method}"
        );
    }
}

/// A process that died after writing the purchase down and before asking the provider, or right
/// after it.
#[tokio::test]
async fn recovery_goes_on_wherever_it_stopped() {
    let table = Table::new().await;
    for charged in [false, true] {
        let account = table.open_empty(NOW).await;
        let (one, command) = (key(), command("sandbox_approve"));
        let (quantity, price) = table.ledger.policy().price(command.quantity).unwrap();
        let purchase = Purchase::pending(
            PurchaseCommand::id(&account, &one),
            command.fingerprint(),
            quantity,
            price,
            "sandbox_approve".to_owned(),
            instant(NOW),
        );
        table
            .ledger
            .store()
            .begin_purchase(&account, &purchase, None)
            .await
            .unwrap();
        if charged {
            let charge = Charge {
                purchase: &purchase.id,
                price: &purchase.price,
                method: &purchase.payment_method,
            };
            assert_eq!(sandbox(&table).charge(&charge).await, Payment::Paid);
        }
        let again = table
            .ledger
            .purchase(&at(NOW), &sandbox(&table), &account, &one, &command)
            .await
            .unwrap();
        assert!(matches!(again, Outcome::Replayed(view) if view.status == PurchaseStatus::Pending));
        let soon = at(SOON);
        table
            .ledger
            .sweep_payments(&soon, &sandbox(&table), soon.now)
            .await
            .unwrap();
        assert_eq!(table.audit(&account).await.balance(), 20);
        assert_eq!(issued(&table, &account).await, 1);
    }
}

/// After a day an open payment is cancelled at the provider, and only then declined.
#[tokio::test]
async fn patience_ends_with_a_cancelled_charge() {
    let table = Table::new().await;
    for (method, ends) in [
        ("sandbox_late", PurchaseStatus::Declined),
        // The provider had taken the money: that is credited, not given up.
        ("sandbox_timeout", PurchaseStatus::Paid),
    ] {
        let account = table.open_empty(NOW).await;
        let bought = buy(&table, &account, method).await;
        let next_day = at("2026-01-11T12:00:00Z");
        table
            .ledger
            .sweep_payments(&next_day, &sandbox(&table), next_day.now)
            .await
            .unwrap();
        let now = table
            .ledger
            .purchase_by_id(&next_day, &account, &bought.purchase_id)
            .await
            .unwrap();
        assert_eq!(now.status, ends, "{method}");
        table.audit(&account).await;
    }
}

#[tokio::test]
async fn a_suspended_account_is_credited_for_what_was_paid() {
    use connects::domain::account::{Amend, Status};
    let table = Table::new().await;
    let account = table.open_empty(NOW).await;
    buy(&table, &account, "sandbox_late").await;
    let amend = Amend {
        status: Some(Status::Suspended),
        email: None,
    };
    table.ledger.amend(&at(NOW), &account, amend).await.unwrap();
    let soon = at(SOON);
    table
        .ledger
        .sweep_payments(&soon, &sandbox(&table), soon.now)
        .await
        .unwrap();
    assert_eq!(table.audit(&account).await.balance(), 20);
}

#[tokio::test]
async fn one_key_at_once_is_one_purchase() {
    let table = Table::new().await;
    let account = table.open_empty(NOW).await;
    let (one, command, now, sandbox) =
        (key(), command("sandbox_approve"), at(NOW), sandbox(&table));
    let racing = (0..20).map(|_| {
        table
            .ledger
            .purchase(&now, &sandbox, &account, &one, &command)
    });
    for answer in join_all(racing).await {
        assert_eq!(answer.unwrap().into_inner().quantity, Connects::new(20));
    }
    let now = at(SOON);
    table
        .ledger
        .sweep_payments(&now, &sandbox, now.now)
        .await
        .unwrap();
    assert_eq!(table.audit(&account).await.balance(), 20);
    assert_eq!(issued(&table, &account).await, 1);
}

/// Giving up is final either way: what was taken stays taken however often it is cancelled, and
/// what was cancelled is never charged.
#[tokio::test]
async fn a_cancelled_charge_stays_what_it_was() {
    let table = Table::new().await;
    let sandbox = sandbox(&table);
    let account = table.open_empty(NOW).await;
    for (method, asked, cancelled, after) in [
        ("sandbox_timeout", 1, Payment::Paid, Payment::Paid),
        ("sandbox_approve", 1, Payment::Paid, Payment::Paid),
        ("sandbox_late", 1, Payment::Declined, Payment::Declined),
        ("sandbox_approve", 0, Payment::Declined, Payment::Declined),
    ] {
        let purchase = PurchaseCommand::id(&account, &key());
        let (_, price) = table.ledger.policy().price(20).unwrap();
        let charge = Charge {
            purchase: &purchase,
            price: &price,
            method,
        };
        for _ in 0..asked {
            sandbox.charge(&charge).await;
        }
        for _ in 0..2 {
            assert_eq!(sandbox.cancel(&charge).await, cancelled, "{method} {asked}");
        }
        assert_eq!(sandbox.charge(&charge).await, after, "{method} {asked}");
    }
}

/// A provider that does not come to a decision.
#[derive(Debug)]
struct Undecided;

impl Provider for Undecided {
    fn default_method(&self) -> &str {
        "undecided"
    }
    async fn charge(&self, _: &Charge<'_>) -> Payment {
        Payment::Open
    }
    async fn cancel(&self, _: &Charge<'_>) -> Payment {
        Payment::Open
    }
    fn accepts(&self, _: &str) -> bool {
        true
    }
}

/// Three open purchases of two accounts: looked at by each run until they are settled, and counted
/// by the one that settles them.
#[tokio::test]
async fn a_run_counts_the_purchases_that_it_settles() {
    let table = Table::new().await;
    let accounts = [table.open_empty(NOW).await, table.open_empty(NOW).await];
    for (account, method) in [
        (0, "sandbox_late"),
        (0, "sandbox_timeout"),
        (1, "sandbox_late"),
    ] {
        buy(&table, &accounts[account], method).await;
    }
    let soon = at(SOON);
    let ledger = &table.ledger;
    let counted = |report: connects::ledger::Report| (report.accounts, report.purchases);
    let report = ledger.sweep_payments(&soon, &Undecided, soon.now).await;
    assert_eq!(counted(report.unwrap()), (2, 0));
    for expected in [(2, 3), (0, 0)] {
        let sandbox = sandbox(&table);
        let report = ledger.sweep_payments(&soon, &sandbox, soon.now).await;
        assert_eq!(counted(report.unwrap()), expected);
    }
    assert_eq!(table.audit(&accounts[0]).await.balance(), 40);
    assert_eq!(table.audit(&accounts[1]).await.balance(), 20);
}

/// A code that grants is redeemed by itself, so one that is sent along stops the purchase before it
/// begins.
#[tokio::test]
async fn a_grant_rides_on_no_purchase() {
    let table = Table::new().await;
    let account = table.open_empty(NOW).await;
    let (now, ledger) = (at(NOW), &table.ledger);
    let [unknown, known] = [(); 2].map(|()| promo_code());
    let terms = grant(7);
    ledger.put_promo(&now, &known, &terms).await.unwrap();
    for (code, expected) in [
        (unknown, Refusal::PromoUnknown),
        (known, Refusal::PromoNotEligible),
    ] {
        let one = key();
        let command = PurchaseCommand {
            promo_code: Some(code),
            ..command("sandbox_approve")
        };
        let bought = ledger
            .purchase(&now, &sandbox(&table), &account, &one, &command)
            .await;
        let Err(Error::Refused(refusal)) = bought else {
            panic!("{bought:?}");
        };
        assert_eq!(refusal, expected);
        let id = PurchaseCommand::id(&account, &one);
        assert!(!ledger.purchase_exists(&account, &id).await.unwrap());
    }
    assert_eq!(issued(&table, &account).await, 0);
}
