//! When the table does not do what it is asked: again, and for how long. The clock is paused, so
//! waiting takes no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use connects::domain::account::{Kind, Open};
use connects::domain::ids::{AccountId, PersonId};
use connects::domain::policy::{BUILT_IN, Policy};
use connects::ledger::{Context, Error, Ledger};
use connects::store::Store;
use connects_local::emulator;
use connects_local::project::Project;
use connects_local::template::Template;
use connects_tests::table::{account_id, instant, key, spend};
use connects_tests::wire::{Answer, Broken, Call, Clear, Emulated, Layer};
use futures::future::{BoxFuture, ready};
use serde_json::json;
use tokio::time::{Duration, Instant};

const OPENED: &str = "2025-01-10T09:00:00Z";
pub const TABLE: &str = "table";

/// Answers every call of one operation with the same failure, and counts them.
#[derive(Debug)]
struct Failing {
    operation: &'static str,
    failure: Answer,
    calls: AtomicU64,
}

impl Failing {
    fn new(operation: &'static str, kind: &str) -> Arc<Self> {
        Arc::new(Self {
            operation,
            failure: Answer::failure(400, kind),
            calls: AtomicU64::new(0),
        })
    }
}

impl Layer for Failing {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let answer = if call.operation == self.operation {
            self.calls.fetch_add(1, Relaxed);
            self.failure.clone()
        } else {
            table.answer(&call)
        };
        Box::pin(ready(Ok(answer)))
    }
}

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
        opened_on: None,
    };
    let ledger = ledger(&table, Arc::new(Clear));
    ledger.open(&within(8, OPENED), &id, open).await.unwrap();
    (table, id)
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_stays_is_told_at_once() {
    let (table, id) = opened().await;
    let layer = Failing::new("TransactWriteItems", "ValidationException");
    let ledger = ledger(&table, Arc::clone(&layer));
    let spent = ledger
        .spend(&within(8, OPENED), &id, &key(), &spend(1))
        .await;
    let Err(Error::Fault(fault)) = spent else {
        panic!("{spent:?}");
    };
    assert!(!fault.is_busy(), "{fault}");
    assert_eq!(layer.calls.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_run_again_until_the_deadline_and_no_longer() {
    fastrand::seed(1);
    let (table, id) = opened().await;
    let layer = Failing::new("TransactWriteItems", "TransactionConflictException");
    let ledger = ledger(&table, Arc::clone(&layer));
    for _ in 0..20 {
        layer.calls.store(0, Relaxed);
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
        let attempts = layer.calls.load(Relaxed);
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
    assert_eq!(report.failures, [AccountId::try_new("ghost").unwrap()]);
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
