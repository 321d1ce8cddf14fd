//! When the table does not do what it is asked: again, and for how long. The clock is paused, so
//! waiting takes no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use connects::domain::account::{Kind, Open};
use connects::domain::ids::{AccountId, PersonId};
use connects::domain::policy::{BUILT_IN, Policy};
use connects::domain::purchase::{PurchaseCommand, PurchaseStatus};
use connects::ledger::{Context, Error, Ledger, Outcome};
use connects::store::Store;
use connects_local::emulator;
use connects_local::project::Project;
use connects_local::template::Template;
use connects_tests::cost::Approves;
use connects_tests::table::{account_id, instant, key, spend};
use connects_tests::wire::{
    Answer, Broken, Call, Clear, Emulated, Failing, HeldOnce, Layer, Way, Which,
};
use futures::channel::oneshot::{Receiver, Sender};
use futures::future::{BoxFuture, ready};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

const OPENED: &str = "2025-01-10T09:00:00Z";
pub const TABLE: &str = "table";

pub fn ledger(table: &Emulated, layer: Arc<impl Layer>) -> Ledger {
    let policy = Policy::parse(BUILT_IN).unwrap();
    Ledger::new(Store::new(table.client(layer), TABLE), policy)
}

fn within(seconds: u64, now: &str) -> Context {
    Context {
        now: instant(now),
        deadline: Instant::now() + Duration::from_secs(seconds),
    }
}

pub async fn opened() -> (Emulated, AccountId) {
    let table = Emulated::new();
    let template = Template::read(&Project::find().unwrap().template()).unwrap();
    let client = table.client(Arc::new(Clear));
    emulator::ensure(&client, TABLE, &template.table)
        .await
        .unwrap();
    let id = account_id();
    let open = Open {
        kind: Kind::Freelancer,
        person_id: PersonId::try_new(id.as_str()).unwrap(),
        email: None,
        payment_customer: None,
        opened_on: None,
    };
    let ledger = ledger(&table, Arc::new(Clear));
    ledger.open(&within(8, OPENED), &id, open).await.unwrap();
    (table, id)
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_stays_is_told_at_once() {
    let (table, id) = opened().await;
    let layer = Failing::new(Call::writes, "ValidationException");
    let ledger = ledger(&table, Arc::clone(&layer));
    let spent = ledger
        .spend(&within(8, OPENED), &id, &key(), &spend(1))
        .await;
    let Err(Error::Fault(fault)) = spent else {
        panic!("{spent:?}");
    };
    assert!(!fault.is_busy(), "{fault}");
    assert_eq!(layer.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_run_again_until_the_deadline_and_no_longer() {
    fastrand::seed(1);
    let (table, id) = opened().await;
    let layer = Failing::new(Call::writes, "TransactionConflictException");
    let ledger = ledger(&table, Arc::clone(&layer));
    for _ in 0..20 {
        let context = within(8, OPENED);
        let spent = ledger.spend(&context, &id, &key(), &spend(1)).await;
        let Err(Error::Fault(fault)) = spent else {
            panic!("{spent:?}");
        };
        assert!(fault.is_busy(), "{fault}");
        // A timer is up to a millisecond late.
        assert!(Instant::now() <= context.deadline + Duration::from_millis(1));
        assert!(Instant::now() + Duration::from_secs(1) > context.deadline);
        // Attempts take no time here, and pauses are never longer than a tenth of what is left: that
        // makes some hundred.
        let attempts = layer.calls();
        assert!((50..160).contains(&attempts), "{attempts}");
    }
}

/// Another writer's clock may be ahead by a minute; more is a fault.
#[tokio::test(start_paused = true)]
async fn an_entry_from_a_time_to_come_is_a_fault() {
    let (table, id) = opened().await;
    let ledger = ledger(&table, Arc::new(Clear));
    let spend_at = async |now: &str| {
        let spent = ledger.spend(&within(8, now), &id, &key(), &spend(1)).await;
        spent.is_ok()
    };
    assert!(!spend_at("2025-01-10T08:58:59.999Z").await);
    assert!(spend_at("2025-01-10T08:59:00Z").await);
    assert!(spend_at("2025-01-10T09:00:01Z").await);
}

/// An account that can't be read is counted, named and stepped over.
#[tokio::test(start_paused = true)]
async fn a_run_reports_what_it_did_and_whom_it_left() {
    let (table, id) = opened().await;
    let ghost = json!({
        "pk": { "S": "ACCOUNT#ghost" }, "sk": { "S": "PROFILE" },
        "due_shard": { "S": "grant#0" }, "due_at": { "S": "2025-02-01T00:00:00.000Z" },
    });
    let put = Call {
        operation: "PutItem".to_owned(),
        request: json!({ "TableName": TABLE, "Item": ghost }),
    };
    assert_eq!(table.answer(&put).status, 200);
    let ledger = ledger(&table, Arc::new(Clear));
    let now = within(600, "2025-04-10T00:00:00Z");
    let report = ledger.sweep_grants(&now, now.now).await.unwrap();
    assert_eq!(
        (report.due_until, report.accounts, report.entries),
        (Some(now.now), 2, 3)
    );
    assert_eq!((report.failed, report.notices, report.purchases), (1, 0, 0));
    assert_eq!(report.failures, ["ghost"]);
    assert!(!report.unfinished);

    // Thirty days before their end: two lots of the first day, and what was granted since.
    let now = within(600, "2025-12-11T00:00:00Z");
    let report = ledger.sweep_expiry(&now, now.now).await.unwrap();
    assert_eq!((report.accounts, report.entries, report.notices), (1, 8, 2));
    let again = ledger.sweep_expiry(&now, now.now).await.unwrap();
    assert_eq!((again.accounts, again.notices), (0, 0));
    let balance = ledger.account(&now, &id).await.unwrap().balance;
    assert_eq!(balance.available.get(), 160);
}

/// Does the first put and loses its answer; before that, it has it put something else.
#[derive(Debug)]
struct FirstPutLost {
    instead: Value,
    puts: AtomicU64,
}

impl Layer for FirstPutLost {
    fn pass(
        self: Arc<Self>,
        mut call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let lost = call.operation == "PutItem" && self.puts.fetch_add(1, Relaxed) == 0;
        if lost && let Some(others) = self.instead.as_object() {
            for (name, value) in others {
                call.request["Item"][name] = json!({ "S": value });
            }
        }
        let answer = table.answer(&call);
        assert!(!lost || answer.status == 200, "{answer:?}");
        Box::pin(ready(if lost { Err(Broken::Reset) } else { Ok(answer) }))
    }
}

/// A purchase that a second attempt finds written down: by the first, whose answer was lost, or by
/// another request under the same key. Only the one that wrote it down charges it.
#[tokio::test(start_paused = true)]
async fn a_purchase_found_after_a_lost_answer_is_ours_or_another_s() {
    use PurchaseStatus::{Declined, Paid, Pending};
    let command = PurchaseCommand {
        quantity: 20,
        promo_code: None,
        payment_method: None,
    };
    for (instead, applied, status) in [
        (json!({}), true, Paid),
        (
            json!({"created_at": "2025-01-10T08:59:59.000Z"}),
            false,
            Pending,
        ),
        (json!({"status": "declined"}), false, Declined),
    ] {
        let (table, id) = opened().await;
        let puts = AtomicU64::new(0);
        let ledger = ledger(&table, Arc::new(FirstPutLost { instead, puts }));
        let now = within(8, OPENED);
        let bought = ledger
            .purchase(&now, &Approves, &id, &key(), &command)
            .await
            .unwrap();
        let was_applied = matches!(bought, Outcome::Applied(_));
        let bought = bought.into_inner();
        assert_eq!((was_applied, bought.status), (applied, status));
        let available = ledger.account(&now, &id).await.unwrap().balance.available;
        assert_eq!(available.get(), if status == Paid { 70 } else { 50 });
    }
}

/// Does each put twice and tells of the second: another request is faster by nothing.
#[derive(Debug)]
struct AnotherFirst;

impl Layer for AnotherFirst {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        if call.operation == "PutItem" {
            table.answer(&call);
        }
        Box::pin(ready(Ok(table.answer(&call))))
    }
}

/// Two requests of one millisecond look the same in the table. Who was refused the write knows that
/// the purchase is another's, and does not charge it.
#[tokio::test(start_paused = true)]
async fn of_two_purchases_in_one_millisecond_one_is_first_hand() {
    let (table, id) = opened().await;
    let ledger = ledger(&table, Arc::new(AnotherFirst));
    let command = PurchaseCommand {
        quantity: 20,
        promo_code: None,
        payment_method: None,
    };
    let bought = ledger
        .purchase(&within(8, OPENED), &Approves, &id, &key(), &command)
        .await
        .unwrap();
    let replayed = matches!(bought, Outcome::Replayed(_));
    assert_eq!(
        (replayed, bought.into_inner().status),
        (true, PurchaseStatus::Pending)
    );
}

/// Lists nothing in no time, and what there is in two seconds.
#[derive(Debug)]
struct SlowIndex;

impl Layer for SlowIndex {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let answer = table.answer(&call);
        let items = answer.body["Items"].as_array().map_or(0, Vec::len);
        let slow = call.request.get("IndexName").is_some() && items > 0;
        Box::pin(async move {
            if slow {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            Ok(answer)
        })
    }
}

/// Whoever is listed only when the time is over stays for the next run, and the report says so.
#[tokio::test(start_paused = true)]
async fn an_account_whose_turn_comes_too_late_is_left_for_the_next_run() {
    let (table, _) = opened().await;
    let ledger = ledger(&table, Arc::new(SlowIndex));
    for (seconds, expected) in [(1, (0, 0, true)), (600, (1, 1, false))] {
        let now = within(seconds, "2025-02-10T00:00:00Z");
        let report = ledger.sweep_grants(&now, now.now).await.unwrap();
        let told = (report.accounts, report.entries, report.unfinished);
        assert_eq!(told, expected, "{seconds} s");
    }
}

/// A ledger whose first such call is held back; what tells that it has come; what lets it go on.
pub fn held_once(table: &Emulated, which: Which) -> (Ledger, Receiver<()>, Sender<()>) {
    let (held, has_come, go_on) = HeldOnce::new(which, Way::There);
    (ledger(table, held), has_come, go_on)
}

/// The end of a lot is booked after a chargeback has read the account and before it looks into the
/// journal for it: what lapsed is counted once.
#[tokio::test(start_paused = true)]
async fn an_expiry_booked_between_two_looks_is_counted_once() {
    const LATER: &str = "2026-02-01T00:00:00Z";
    let (table, id) = opened().await;
    let clear = ledger(&table, Arc::new(Clear));
    let opened = within(8, OPENED);
    let command = PurchaseCommand {
        quantity: 100,
        promo_code: None,
        payment_method: None,
    };
    let bought = clear
        .purchase(&opened, &Approves, &id, &key(), &command)
        .await
        .unwrap();
    let bought = bought.into_inner().purchase_id;
    // 50 of the first day, 40 of the purchase.
    clear.spend(&opened, &id, &key(), &spend(90)).await.unwrap();
    // Twelve cycles are booked, so that the lot's end is all that is due.
    let cycles = within(8, "2026-01-10T12:00:00Z");
    let report = clear.sweep_grants(&cycles, cycles.now).await.unwrap();
    assert_eq!(report.entries, 12);
    let into_the_journal = |call: &Call| {
        let values = &call.request["ExpressionAttributeValues"];
        values.get(":first").is_some()
    };
    let (ledger, has_come, go_on) = held_once(&table, into_the_journal);
    let later = within(8, LATER);
    let (back, ()) = futures::join!(ledger.chargeback(&later, &id, &bought, None), async {
        has_come.await.unwrap();
        let report = clear.sweep_expiry(&later, later.now).await.unwrap();
        assert_eq!((report.entries, report.failed), (1, 0));
        go_on.send(()).unwrap();
    });
    let balance = back.unwrap().into_inner().balance;
    // They brought 120, which cover the 40.
    assert_eq!((balance.available.get(), balance.debt.get()), (80, 0));
}
