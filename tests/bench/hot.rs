//! One hot account as in DynamoDB: every call takes a while and none waits for another. The clock is
//! the runtime's, which jumps to whatever comes next, so this is the same on every machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connects::ledger::{Context, Ledger};
use connects::store::Store;
use connects_local::project::Project;
use connects_local::template::Template;
use connects_local::{emulator, environment};
use connects_tests::table::{key, spend};
use connects_tests::wire::{Answer, Broken, Call, Emulated, Layer};
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};

use crate::bed::{TABLE, policy};
use crate::rates::{Floor, Run, context, drive, rich_account};
use crate::report::{ratio, table, thousands};

const CLIENTS: [usize; 4] = [1, 8, 32, 128];

/// Microseconds that a call is on its way to the table, and again back.
const WAY: std::ops::Range<u64> = 2_000..4_000;

/// How long each measurement takes, by that clock.
const TIME: Duration = Duration::from_secs(5);

/// A table that is some way off.
#[derive(Debug, Default)]
struct Far {
    sent: AtomicU64,
}

impl Layer for Far {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            sleep(Duration::from_micros(fastrand::u64(WAY))).await;
            let answer = table.answer(&call);
            sleep(Duration::from_micros(fastrand::u64(WAY))).await;
            Ok(answer)
        })
    }
}

/// Runs under a paused clock.
pub async fn run() {
    println!(
        "All clients spend 1 from the same account, again and again, for {} s of a clock that jumps: \
         each call to the table takes 4 to 8 ms, and none waits for another. The floor is one client's \
         plain transactions of three items, one after another: a spend alone is two such calls.\n",
        TIME.as_secs()
    );
    fastrand::seed(1);
    let far = Arc::new(Far::default());
    let client = Emulated::new().client(far.clone());
    let template = Template::read(&Project::find().unwrap().template()).unwrap();
    emulator::ensure(&client, TABLE, &template.table)
        .await
        .unwrap();
    let ledger = Ledger::new(Store::new(client.clone(), TABLE), policy());
    let floor = Floor::like_a_spend(client, &ledger, TABLE).await;
    let floor = drive(1, TIME, async |client, _| floor.write(client).await).await;
    // Time goes by that clock alone: a writer's must not seem ahead of another's.
    let (began, start) = (environment::now(), Instant::now());
    let mut rows = vec![];
    for clients in CLIENTS {
        let account = rich_account(&ledger).await;
        far.sent.swap(0, Ordering::Relaxed);
        let run = drive(clients, TIME, async |_, _| {
            let context = Context {
                now: began + (Instant::now() - start),
                ..context()
            };
            let spent = ledger.spend(&context, &account, &key(), &spend(1)).await;
            spent.is_ok()
        });
        let run = run.await;
        let mut run = Run {
            sent: far.sent.swap(0, Ordering::Relaxed),
            ..run
        };
        rows.push([
            clients.to_string(),
            thousands(run.rate()),
            ratio(run.rate(), floor.rate()),
            run.sent_for_each(),
            run.percentiles(),
            run.slowest_share(),
            run.failed.to_string(),
        ]);
    }
    println!("The floor: {} a second.\n", thousands(floor.rate()));
    table(
        [
            "clients",
            "spends a second",
            "to the floor",
            "requests for each spend",
            "p50 / p90 / p99, ms",
            "slowest client's part of an equal share",
            "failed",
        ],
        rows,
    );
}
