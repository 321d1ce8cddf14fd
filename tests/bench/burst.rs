//! Many proposals on one job at once. Each one's transaction checks the job, which makes the job a
//! part of it: where two overlap, DynamoDB turns one away. Emulators never do; so this does, under a
//! clock that jumps.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connects::domain::ids::AccountId;
use connects::domain::job::{PostJob, Pricing};
use connects::domain::proposal::ProposeCommand;
use connects::domain::units::Connects;
use connects::ledger::{Context, Ledger};
use connects::store::Store;
use connects_local::project::Project;
use connects_local::template::Template;
use connects_local::{emulator, environment};
use connects_tests::faults::cancelled;
use connects_tests::table::job_id;
use connects_tests::wire::{Answer, Broken, Call, Emulated, Layer};
use futures::future::{BoxFuture, join_all};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::bed::{TABLE, policy};
use crate::rates::{context, rich_account};
use crate::report::{percentile, table, thousandths};

/// Proposals that come at once.
const BURSTS: [usize; 4] = [10, 50, 100, 200];

/// Milliseconds for which a transaction holds its items.
const HELD: [u64; 3] = [2, 5, 10];

/// Microseconds that a call is on its way to the table, and again back.
const WAY: std::ops::Range<u64> = 1_000..3_000;

/// A table in which transactions collide.
#[derive(Debug, Default)]
struct Contended {
    held: AtomicU64,
    items: Mutex<HashSet<String>>,
    conflicts: AtomicU64,
}

impl Contended {
    /// Whether all of them are free, and held now.
    fn hold(&self, items: &[String]) -> bool {
        let mut held = self.items.lock().unwrap();
        let free = items.iter().all(|item| !held.contains(item));
        if free {
            held.extend(items.iter().cloned());
        }
        free
    }
}

impl Layer for Contended {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        Box::pin(async move {
            sleep(Duration::from_micros(fastrand::u64(WAY))).await;
            let items = items(&call.request);
            let answer = match self.hold(&items) {
                true => {
                    if !items.is_empty() {
                        sleep(Duration::from_millis(self.held.load(Relaxed))).await;
                    }
                    let answer = table.answer(&call);
                    let mut held = self.items.lock().unwrap();
                    held.retain(|item| !items.contains(item));
                    answer
                }
                false => {
                    self.conflicts.fetch_add(1, Relaxed);
                    cancelled(&call, "TransactionConflict")
                }
            };
            sleep(Duration::from_micros(fastrand::u64(WAY))).await;
            Ok(answer)
        })
    }
}

/// The keys of a transaction's items, those that it only checks included.
fn items(request: &Value) -> Vec<String> {
    let actions = request["TransactItems"].as_array().into_iter().flatten();
    let key = |action: &Value| {
        let action = action.as_object()?.values().next()?;
        let key = action.get("Key").or(action.get("Item"))?;
        Some(format!("{} {}", key["pk"]["S"], key["sk"]["S"]))
    };
    actions.filter_map(key).collect()
}

/// Runs under a paused clock.
pub async fn run() {
    println!(
        "So many accounts propose on one job at the same instant, by a clock that jumps: a call takes \
         2 to 6 ms on its way and back, a transaction holds its items for as long as said, and one \
         that meets an item held is cancelled with TransactionConflict. How long DynamoDB holds them \
         is not published.\n"
    );
    fastrand::seed(1);
    let contended = Arc::new(Contended::default());
    let client = Emulated::new().client(contended.clone());
    let template = Template::read(&Project::find().unwrap().template()).unwrap();
    emulator::ensure(&client, TABLE, &template.table)
        .await
        .unwrap();
    let ledger = Ledger::new(Store::new(client, TABLE), policy());
    let mut rows = vec![];
    for held in HELD {
        for proposals in BURSTS {
            contended.held.store(0, Relaxed);
            let mut accounts = vec![];
            for _ in 0..proposals {
                accounts.push(rich_account(&ledger).await);
            }
            contended.held.store(held, Relaxed);
            contended.conflicts.store(0, Relaxed);
            let (mut took, all) = burst(&ledger, &accounts).await;
            took.sort_unstable();
            let rate = took.len() as u64 * 1_000_000 / all.max(1);
            let conflicts = contended.conflicts.load(Relaxed);
            rows.push([
                held.to_string(),
                proposals.to_string(),
                rate.to_string(),
                thousandths(1_000 * conflicts / proposals as u64),
                [50, 99]
                    .map(|hundredth| (percentile(&took, hundredth) / 1_000).to_string())
                    .join(" / "),
                (proposals - took.len()).to_string(),
            ]);
        }
    }
    table(
        [
            "items held, ms",
            "proposals at once",
            "a second, until the last",
            "conflicts for each",
            "p50 / p99, ms",
            "gave up",
        ],
        rows,
    );
}

/// How long each took that got through, and all of them together, in microseconds.
async fn burst(ledger: &Ledger, accounts: &[AccountId]) -> (Vec<u64>, u64) {
    let (began, start) = (environment::now(), Instant::now());
    let job = job_id();
    let post = PostJob {
        posted_at: began,
        pricing: Pricing::Stated(Connects::new(8)),
    };
    ledger.post_job(&context(), &job, &post).await.unwrap();
    let command = ProposeCommand::new(job, Connects::new(8));
    let begun = Instant::now();
    let micros = || u64::try_from(begun.elapsed().as_micros()).unwrap();
    let one = async |account| {
        let context = Context {
            now: began + (Instant::now() - start),
            ..context()
        };
        let submitted = ledger.propose(&context, account, None, &command).await;
        submitted.is_ok().then(&micros)
    };
    let took = join_all(accounts.iter().map(one)).await;
    let took: Vec<u64> = took.into_iter().flatten().collect();
    let last = took.iter().max().copied().unwrap_or_default();
    (took, last)
}
