//! Many proposals on one job at once, and many redemptions of one code. Each proposal's transaction checks
//! the job, which makes the job a part of it, and each redemption's counts in one of the code's slots: where two
//! overlap, DynamoDB turns one away. Emulators never do; so this does, under a clock that jumps.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connects::domain::ids::AccountId;
use connects::domain::job::{PostJob, Pricing};
use connects::domain::promo::Terms;
use connects::domain::proposal::ProposeCommand;
use connects::domain::units::Connects;
use connects::ledger::{Context, Ledger};
use connects::store::Store;
use connects_local::project::Project;
use connects_local::template::Template;
use connects_local::{emulator, environment};
use connects_tests::faults::cancelled;
use connects_tests::table::{grant, job_id, promo_code};
use connects_tests::wire::{Answer, Broken, Call, Emulated, Layer};
use futures::future::{BoxFuture, join_all};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::bed::{TABLE, policy};
use crate::rates::{context, rich_account};
use crate::report::{percentile, table, thousands, thousandths};

/// Proposals that come at once.
const BURSTS: [usize; 4] = [10, 50, 100, 200];

/// The most redemptions of each code, of which a thousand are asked for at once.
const LIMITS: [Option<u64>; 4] = [Some(500), Some(1_000), Some(16_000), None];

/// Accounts that ask for one.
const REDEEMERS: usize = 1_000;

/// Milliseconds for which a redemption's transaction holds its items.
const SLOT_HELD: u64 = 5;

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

impl Contended {
    /// Does that while nothing is held for any time.
    async fn calmly<T>(&self, what: impl Future<Output = T>) -> T {
        self.held.store(0, Relaxed);
        what.await
    }

    /// What comes of it when all accounts do that at once; it says who got through.
    async fn burst(
        &self,
        accounts: &[AccountId],
        act: impl AsyncFn(Context, &AccountId) -> bool,
    ) -> Told {
        self.conflicts.store(0, Relaxed);
        let (began, start) = (environment::now(), Instant::now());
        let one = async |account| {
            let context = Context {
                now: began + start.elapsed(),
                ..context()
            };
            let through = act(context, account).await;
            let micros = u64::try_from(start.elapsed().as_micros()).unwrap();
            through.then_some(micros)
        };
        let took = join_all(accounts.iter().map(one)).await;
        let mut took: Vec<u64> = took.into_iter().flatten().collect();
        took.sort_unstable();
        let all = took.last().copied().unwrap_or_default();
        let conflicts = self.conflicts.load(Relaxed);
        let times = [50, 99].map(|hundredth| (percentile(&took, hundredth) / 1_000).to_string());
        Told {
            through: took.len() as u64,
            rate: (took.len() as u64 * 1_000_000 / all.max(1)).to_string(),
            conflicts: thousandths(1_000 * conflicts / accounts.len() as u64),
            took: times.join(" / "),
            others: accounts.len() - took.len(),
        }
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
    proposals(&ledger, &contended).await;
    redemptions(&ledger, &contended).await;
}

async fn proposals(ledger: &Ledger, contended: &Contended) {
    let mut rows = vec![];
    for held in HELD {
        for proposals in BURSTS {
            let accounts = contended.calmly(rich_accounts(ledger, proposals)).await;
            contended.held.store(held, Relaxed);
            let job = job_id();
            let post = PostJob {
                posted_at: environment::now(),
                pricing: Pricing::Stated(Connects::new(8)),
            };
            ledger.post_job(&context(), &job, &post).await.unwrap();
            let command = ProposeCommand::new(job, Connects::new(8));
            let told = contended
                .burst(&accounts, async |context, account| {
                    let submitted = ledger.propose(&context, account, None, &command).await;
                    submitted.is_ok()
                })
                .await;
            let Told {
                rate,
                conflicts,
                took,
                others,
                ..
            } = told;
            rows.push([
                held.to_string(),
                proposals.to_string(),
                rate,
                conflicts,
                took,
                others.to_string(),
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

async fn redemptions(ledger: &Ledger, contended: &Contended) {
    println!(
        "\n{REDEEMERS} accounts redeem one code at the same instant, and a transaction holds its items for \
         {SLOT_HELD} ms. Redemptions are counted in slots, one for each thousand that there may be, sixteen at \
         most.\n"
    );
    let mut rows = vec![];
    for max_redemptions in LIMITS {
        let accounts = contended.calmly(rich_accounts(ledger, REDEEMERS)).await;
        let code = promo_code();
        let terms = Terms {
            max_redemptions,
            ..grant(5)
        };
        ledger.put_promo(&context(), &code, &terms).await.unwrap();
        contended.held.store(SLOT_HELD, Relaxed);
        let told = contended
            .burst(&accounts, async |context, account| {
                let redeemed = ledger.redeem(&context, account, None, &code).await;
                redeemed.is_ok()
            })
            .await;
        let counted = ledger.promo(&context(), &code).await.unwrap().redeemed;
        assert!(counted >= told.through && max_redemptions.is_none_or(|most| counted <= most));
        let limit = max_redemptions.map_or("none".to_owned(), thousands);
        let Told {
            through,
            rate,
            conflicts,
            took,
            ..
        } = told;
        rows.push([
            limit,
            through.to_string(),
            counted.to_string(),
            rate,
            conflicts,
            took,
        ]);
    }
    table(
        [
            "may be redeemed",
            "told so",
            "counted",
            "a second, until the last",
            "conflicts for each",
            "p50 / p99, ms",
        ],
        rows,
    );
}

async fn rich_accounts(ledger: &Ledger, count: usize) -> Vec<AccountId> {
    let mut accounts = vec![];
    for _ in 0..count {
        accounts.push(rich_account(ledger).await);
    }
    accounts
}

/// What came of a burst.
struct Told {
    /// How many got through.
    through: u64,
    rate: String,
    conflicts: String,
    took: String,
    /// How many did not.
    others: usize,
}
