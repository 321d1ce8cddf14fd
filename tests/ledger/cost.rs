//! What each operation costs, to the unit: the budget table of docs/architecture.md.

use std::sync::Arc;

use connects::domain::account::{Amend, Status};
use connects::domain::ids::{AccountId, OperationId, PromoCode};
use connects::domain::key::IdempotencyKey;
use connects::domain::promo::{PromoKind, Terms};
use connects::domain::purchase::PurchaseCommand;
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::domain::units::Connects;
use connects::ledger::Ledger;
use connects::payments::{Charge, Payment, Provider};
use connects::store::{Cost, Meter};
use connects_tests::table::{
    Table, account_id, at, capacity_is_right, instant, key, spend, unique,
};

const NOW: &str = "2026-01-10T12:00:00Z";

/// A provider that costs the table nothing.
struct Approves;

impl Provider for Approves {
    fn default_method(&self) -> &str {
        "approves"
    }
    fn accepts(&self, _: &str) -> bool {
        true
    }
    async fn charge(&self, _: &Charge<'_>) -> Payment {
        Payment::Paid
    }
    async fn cancel(&self, _: &Charge<'_>) -> Payment {
        Payment::Paid
    }
}

struct Bench {
    table: Table,
    ledger: Ledger,
    meter: Arc<Meter>,
}

impl Bench {
    async fn new() -> Self {
        let table = Table::new().await;
        let meter = Arc::new(Meter::default());
        let store = table.ledger.store().clone().metered(meter.clone());
        let ledger = Ledger::new(store, table.ledger.policy().clone());
        Self {
            table,
            ledger,
            meter,
        }
    }

    /// Holds what was done since the last call of this to its budget: items written, write units,
    /// read units beside the state's, round trips. The state's one query is 1 or 2 read units: it
    /// asks for 16 items, however many of them are older entries.
    fn costs(&self, operation: &str, budget: (u64, u64, u64, u32)) {
        let Cost {
            round_trips,
            read_tenths,
            write_units,
            items_written,
        } = self.meter.take();
        let (items, writes, reads, trips) = budget;
        assert_eq!((items_written, round_trips), (items, trips), "{operation}");
        if capacity_is_right() {
            assert_eq!(write_units, writes, "{operation}: write units");
            let state = read_tenths.checked_sub(reads * 10);
            assert!(
                state.is_some_and(|tenths| tenths == 0 || (5..=20).contains(&tenths)),
                "{operation}: {read_tenths} tenths of read units, {reads} beside the state's"
            );
        }
    }

    /// The same, of what is written alone.
    fn costs_to_write(&self, step: &str, items: u64, writes: u64) {
        let cost = self.meter.take();
        assert_eq!(cost.items_written, items, "{step}");
        if capacity_is_right() {
            assert_eq!(cost.write_units, writes, "{step}: write units");
        }
    }

    async fn spend(&self, account: &AccountId, key: &IdempotencyKey, amount: u64) -> OperationId {
        let command = spend(amount);
        let spent = self.ledger.spend(&at(NOW), account, key, &command).await;
        spent.unwrap().into_inner().spend_id
    }

    async fn refund(&self, account: &AccountId, spend: OperationId) {
        let command = RefundCommand {
            of: RefundOf::SpendId(spend),
            amount: None,
            reason: RefundReason::Goodwill,
        };
        self.ledger
            .refund(&at(NOW), account, &key(), &command)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn every_operation_keeps_to_its_budget() {
    let bench = Bench::new().await;
    let Bench { ledger, .. } = &bench;
    let now = at(NOW);

    // Opening: three entries, two lots, profile, person; three of them are in the index.
    let account = {
        use connects::domain::account::{Kind, Open};
        use connects::domain::ids::PersonId;
        let id = account_id();
        let open = Open {
            kind: Kind::Freelancer,
            person_id: PersonId::try_new(&unique()).unwrap(),
            email: None,
            opened_on: None,
        };
        bench.meter.take();
        ledger.open(&now, &id, open.clone()).await.unwrap();
        bench.costs("open", (7, 17, 1, 2));
        ledger.open(&now, &id, open).await.unwrap();
        bench.costs("open again", (0, 0, 1, 1));
        id
    };

    ledger.account(&now, &account).await.unwrap();
    bench.costs("balance", (0, 0, 0, 1));
    ledger.lots(&now, &account).await.unwrap();
    bench.costs("lots", (0, 0, 0, 1));

    let one = key();
    bench.spend(&account, &one, 30).await;
    bench.costs("spend from one lot", (3, 6, 1, 2));
    bench.spend(&account, &one, 30).await;
    bench.costs("replay", (0, 0, 1, 1));
    let emptying = bench.spend(&account, &key(), 10).await;
    bench.costs("spend that empties its lot", (3, 7, 1, 2));
    bench.refund(&account, emptying).await;
    bench.costs("refund that makes the lot again", (4, 9, 2, 2));
    let across = bench.spend(&account, &key(), 12).await;
    bench.costs("spend from two lots, emptying one", (4, 9, 1, 2));
    bench.refund(&account, across).await;
    bench.costs("refund to two lots, making one again", (5, 11, 2, 2));
    let partly = bench.spend(&account, &key(), 5).await;
    bench.costs("spend from one lot", (3, 6, 1, 2));
    bench.refund(&account, partly).await;
    bench.costs("refund of a spend", (4, 8, 2, 2));

    let refused = spend(1_000);
    ledger
        .spend(&now, &account, &key(), &refused)
        .await
        .unwrap_err();
    bench.costs("refused spend", (0, 0, 2, 2));

    let code = PromoCode::try_new(&unique()[..30]).unwrap();
    let terms = Terms {
        kind: PromoKind::Grant,
        quantity: Connects::new(5),
        valid_from: instant(NOW),
        valid_until: instant("2027-01-01T00:00:00Z"),
        max_redemptions: Some(10),
        kinds: None,
        plans: None,
        lot_valid_days: None,
    };
    ledger.put_promo(&now, &code, &terms).await.unwrap();
    bench.costs("new promo code, one slot", (2, 4, 1, 2));
    ledger.redeem(&now, &account, None, &code).await.unwrap();
    bench.costs("redemption", (4, 9, 2, 2));
    ledger.promo(&now, &code).await.unwrap();
    bench.costs("promo code", (0, 0, 2, 2));

    let command = PurchaseCommand {
        quantity: 20,
        promo_code: None,
        payment_method: None,
    };
    let bought = ledger
        .purchase(&now, &Approves, &account, &key(), &command)
        .await
        .unwrap();
    bench.costs("purchase", (4, 10, 1, 3));
    let id = bought.into_inner().purchase_id;
    ledger.chargeback(&now, &account, &id, None).await.unwrap();
    bench.costs("chargeback of an unspent purchase", (3, 7, 1, 2));

    let amend = |status| Amend {
        status: Some(status),
        email: None,
    };
    ledger
        .amend(&now, &account, amend(Status::Suspended))
        .await
        .unwrap();
    bench.costs("suspension", (2, 4, 0, 2));
    ledger
        .amend(&now, &account, amend(Status::Active))
        .await
        .unwrap();
    bench.costs("reactivation", (2, 4, 0, 2));

    let one_cycle_on = at("2026-02-10T00:00:00Z");
    ledger.account(&one_cycle_on, &account).await.unwrap();
    bench.costs("balance with a grant due", (0, 0, 0, 1));
}

/// Scheduled runs, less the sixty-four queries that find what is due: what each account costs.
#[tokio::test]
async fn every_scheduled_step_keeps_to_its_budget() {
    let bench = Bench::new().await;
    let Bench { table, ledger, .. } = &bench;
    // Of 50 Connects the 40 of the signup are spent: one lot that ends on 2027-01-10, and more
    // from each cycle on.
    let account = table.open(NOW).await;
    bench.spend(&account, &key(), 40).await;
    bench.meter.take();
    for (step, now, items, writes) in [
        (
            "a basic cycle: entry, lot, profile",
            "2026-02-10T00:00:00Z",
            3,
            9,
        ),
        ("the same run again", "2026-02-10T00:15:00Z", 0, 0),
    ] {
        let now = at(now);
        ledger.sweep_grants(&now, now.now).await.unwrap();
        bench.costs_to_write(step, items, writes);
    }
    let spent = at("2026-02-11T00:00:00Z");
    let fifteen = spend(15);
    ledger
        .spend(&spent, &account, &key(), &fifteen)
        .await
        .unwrap();
    bench.meter.take();
    // What is left of the second cycle's lot ends on 2027-02-10; the cycles between are booked
    // with the first of its notices.
    let booked = at("2027-01-10T00:00:00Z");
    ledger.sweep_grants(&booked, booked.now).await.unwrap();
    bench.meter.take();
    for (step, now, items, writes) in [
        (
            "a notice: itself, and the lot's next",
            "2027-01-12T00:00:00Z",
            2,
            4,
        ),
        ("the same run again", "2027-01-12T00:15:00Z", 0, 0),
    ] {
        let now = at(now);
        ledger.sweep_expiry(&now, now.now).await.unwrap();
        bench.costs_to_write(step, items, writes);
    }
    let granted = at("2027-02-10T00:00:00Z");
    ledger.sweep_grants(&granted, granted.now).await.unwrap();
    bench.meter.take();
    // That of the third cycle has its first notice on the same day; told before, it is only moved.
    let ended = at("2027-02-11T00:00:00Z");
    ledger.sweep_expiry(&ended, ended.now).await.unwrap();
    bench.costs_to_write("an expiry: entry, lot; a notice", 4, 9);
    table.audit(&account).await;
}
