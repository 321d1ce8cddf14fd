//! Random histories of a few accounts under random faults, in virtual time, each checked from end
//! to end.
//!
//! A history is made from one number: who asks what, when, what goes wrong and how long all of it
//! takes. It runs on one thread under a paused clock, against an emulator of its own, so the same
//! number is the same history. Clients and schedulers work at the same time in a few bursts, with
//! seconds to months between them. When the last burst is over the faults stop, whatever was under
//! way ends, the schedules run, and then the table and everything that any client heard is held
//! against the simplest model there is.

mod answers;
mod auctions;
mod badges;
mod snapshot;
mod state;
mod top_ups;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chrono::TimeDelta;
use connects::domain::account::{Kind, Open};
use connects::domain::auction::{BoostPolicy, Pricing};
use connects::domain::badge::PriceFormula;
use connects::domain::ids::{AccountId, JobId, PersonId, PromoCode};
use connects::domain::policy::{BUILT_IN, Policy};
use connects::domain::promo::{Discount, Offer, Terms};
use connects::domain::time::Time;
use connects::domain::units::Connects;
use connects::ledger::{Context, Ledger};
use connects::store::Store;
use connects_local::emulator;
use connects_local::project::Project;
use connects_local::template::Template;
use futures::future::join_all;
use tokio::time::{Duration, Instant, sleep};

use crate::faults::{ALL_DONE, Fault, Faults, weather};
use crate::table::instant;
use crate::wire::Emulated;
use answers::Evidence;
use badges::Badges;
use snapshot::Snapshot;
use top_ups::TopUps;
use world::{Attempt, BADGES, Heard, World};

/// The table's name.
const TABLE: &str = "simulated";

/// Rounds of schedules that finish whatever there is to do: a late payment takes two.
const ROUNDS: usize = 6;

/// After so long closures are looked at for the last time.
const LAST_LOOK: Duration = Duration::from_secs(15 * 60);

/// Lines of a history that a report shows.
const TRACE: usize = 60;

/// How much of a line.
const WIDTH: usize = 330;

/// What some histories came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Histories.
    pub histories: u64,
    /// Requests, with every repetition.
    pub operations: u64,
    /// Journal entries.
    pub entries: u64,
    /// Purchases that were paid later than they were asked for.
    pub late_payments: u64,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
}

impl Tally {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.operations += other.operations;
        self.entries += other.entries;
        self.late_payments += other.late_payments;
        for (fault, times) in &other.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
    }
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The history's number.
    pub seed: u64,
    /// What does not hold.
    pub what: String,
    /// What was asked and heard before.
    pub trace: Vec<String>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        self.trace
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// What every history needs and none changes.
#[derive(Debug)]
pub struct Simulator {
    template: Template,
    policy: Policy,
}

impl Simulator {
    /// With the table as the template has it and the built-in policy.
    pub fn new() -> Self {
        let project = Project::find().unwrap();
        Self {
            template: Template::read(&project.template()).unwrap(),
            policy: Policy::parse(BUILT_IN).unwrap(),
        }
    }

    /// Runs the history of that number.
    ///
    /// # Errors
    /// The first promise that was not kept.
    pub fn run(&self, seed: u64) -> Result<Tally, Violation> {
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let trace = RefCell::new(vec![]);
        let history = AssertUnwindSafe(|| runtime.block_on(self.history(&trace)));
        let done = catch_unwind(history).unwrap_or_else(|panic| Err(said(&*panic)));
        done.map_err(|what| Violation {
            seed,
            what,
            trace: trace.take(),
        })
    }

    async fn history(&self, trace: &RefCell<Vec<String>>) -> Result<Tally, String> {
        let emulated = Emulated::new();
        let faults = Arc::new(Faults::default());
        let world = self.world(&emulated, &faults).await;
        let done = self.live(&world, &emulated).await;
        if done.is_err() {
            trace.replace(lines(&world));
        }
        let entries = faults.committed().len() as u64;
        done.map(|late_payments| Tally {
            late_payments,
            histories: 1,
            operations: world.attempts.borrow().len() as u64,
            entries,
            faults: faults.injected(),
        })
    }

    async fn world(&self, emulated: &Emulated, faults: &Arc<Faults>) -> World {
        let client = emulated.client(faults.clone());
        let table = emulator::ensure(&client, TABLE, &self.template.table);
        table.await.unwrap();
        let mut policy = self.policy.clone();
        policy.lots.valid_months = *[1, 2, 12, 12].get(fastrand::usize(0..4)).unwrap_or(&12);
        policy.boost = boost();
        policy.badge.price = prices();
        let epoch = epoch();
        let world = World {
            jobs: jobs(epoch, policy.boost.open_hours),
            ledger: Ledger::new(Store::new(client, TABLE), policy),
            table: emulated.clone(),
            faults: faults.clone(),
            epoch,
            begun: Instant::now(),
            accounts: accounts(),
            codes: vec![],
            market: *[10, 30, 80].get(fastrand::usize(0..3)).unwrap_or(&30),
            bidding: *[0, 25, 60].get(fastrand::usize(0..3)).unwrap_or(&25),
            holding: *[0, 10, 40].get(fastrand::usize(0..3)).unwrap_or(&10),
            badging: *[0, 0, 30, 70].get(fastrand::usize(0..4)).unwrap_or(&0),
            topping: *[0, 0, 15, 40].get(fastrand::usize(0..4)).unwrap_or(&0),
            streamed: RefCell::default(),
            crossed: RefCell::default(),
            attempts: RefCell::default(),
            requests: RefCell::default(),
            complaints: RefCell::default(),
        };
        World {
            codes: promos(&world).await,
            ..world
        }
    }

    async fn live(&self, world: &World, emulated: &Emulated) -> Result<u64, String> {
        world.faults.start(weather());
        let openers = (0..world.accounts.len()).flat_map(|place| [place, place]);
        join_all(openers.map(|place| world.opener(place))).await;
        let posters = (0..world.jobs.len()).map(|place| world.poster(place));
        join_all(posters).await;
        if world.bidding > 0 && fastrand::bool() {
            let proposers = (0..world.accounts.len()).map(|place| world.proposer(place));
            join_all(proposers).await;
        }
        if fastrand::u32(0..12) == 0 {
            world.faults.stop();
            let lots = fastrand::usize(110..150);
            world.crowd(0, lots).await.map_err(|why| why.to_string())?;
            world.faults.start(weather());
        }
        for _ in 0..fastrand::u32(1..=3) {
            burst(world).await;
            if fastrand::u32(0..3) == 0 {
                state::check(&Snapshot::take(emulated, TABLE)?)?;
            }
            world.pass().await;
        }
        burst(world).await;
        world.faults.stop();
        sleep(ALL_DONE).await;
        // A run of a schedule asks 64 shards, which is as much work as all the clients'.
        let all = fastrand::u32(0..3) == 0;
        finish(world, emulated, all).await?;
        state::check(&Snapshot::take(emulated, TABLE)?)?;
        sleep(LAST_LOOK).await;
        finish(world, emulated, all).await?;
        verdict(world, emulated, all).await
    }
}

impl Default for Simulator {
    fn default() -> Self {
        Self::new()
    }
}

/// Clients, schedulers and readers at the same time.
async fn burst(world: &World) {
    let clients = (0..fastrand::u32(1..=4)).map(|_| world.client(fastrand::usize(1..=5)));
    let schedulers = (0..fastrand::usize(0..=1)).map(|_| world.scheduler());
    let readers = (0..fastrand::u32(0..=1)).map(|_| world.reader());
    futures::join!(
        join_all(clients),
        join_all(schedulers),
        join_all(readers),
        world.stream()
    );
}

/// The schedules run until nothing is due; unless `all` do, only those of payments, top-ups, closures,
/// bids, badges and holds.
async fn finish(world: &World, emulated: &Emulated, all: bool) -> Result<(), String> {
    let open = |(_, what): &&(String, String)| {
        let words = [
            "RECEIPT#",
            "CLOSURE#",
            "AUCTION",
            "PROPOSAL#",
            "SETTING#BADGE",
            "SETTING#TOP_UP",
        ];
        all || words.iter().any(|word| what.contains(word))
    };
    for round in 0..ROUNDS {
        let now = world.now(0);
        let until = connects::domain::time::text(now);
        let snapshot = Snapshot::take(emulated, TABLE)?;
        let due = snapshot.due.iter().filter(|(at, _)| *at <= until);
        let due: Vec<_> = due.filter(open).collect();
        if due.is_empty() {
            return Ok(());
        }
        let context = Context {
            now,
            deadline: Instant::now() + ALL_DONE,
        };
        for (kind, word) in [
            (0, "PROFILE"),
            (1, "LOT#"),
            (1, "RECEIPT#ho_"),
            (2, "CLOSURE#"),
            (3, "AUCTION"),
            (3, "PROPOSAL#"),
            (4, "RECEIPT#pu_"),
            (4, "SETTING#TOP_UP"),
            (BADGES, "SETTING#BADGE"),
        ] {
            if !due.iter().any(|(_, what)| what.contains(word)) {
                continue;
            }
            let report = world.sweep(kind, &context, now).await;
            let report = report.map_err(|why| format!("a schedule failed: {why}"))?;
            if report.failed > 0 || report.unfinished {
                return Err(format!(
                    "a schedule left something in round {round}: {report:?}"
                ));
            }
        }
    }
    Err("the schedules leave something due".to_owned())
}

/// Whether all was well in the end; how many purchases were paid late.
async fn verdict(world: &World, emulated: &Emulated, all: bool) -> Result<u64, String> {
    let snapshot = Snapshot::take(emulated, TABLE)?;
    let policy = world.ledger.policy();
    let moments = state::check(&snapshot)?;
    let late_payments = state::check_paid(&snapshot, policy)?;
    state::check_returned(&snapshot)?;
    state::check_ended(&snapshot, world.now(0))?;
    if all {
        state::check_settled(&snapshot, policy, world.now(0))?;
    }
    for id in snapshot.partitions.keys() {
        let id = AccountId::try_new(id).map_err(|why| why.to_string())?;
        let loaded = world.ledger.store().load(&id).await;
        loaded.map_err(|why| format!("does not load: {why}"))?;
    }
    let attempts = world.attempts.borrow();
    let badges = Badges::read(&world.faults.badges_written())?;
    let top_ups = TopUps::read(&world.faults.top_ups_written())?;
    let evidence = Evidence {
        snapshot: &snapshot,
        moments: &moments,
        committed: &world.faults.committed(),
        first: &world.faults.first_written(),
        badges: &badges,
        top_ups: &top_ups,
        attempts: &attempts,
        policy,
        now: world.now(0),
    };
    evidence.check()?;
    match world.complaints.borrow().first() {
        Some(complaint) => Err(format!("a schedule said {complaint}")),
        None => Ok(late_payments),
    }
}

/// A few accounts; some have a person in common.
fn accounts() -> Vec<(AccountId, Open)> {
    let persons = fastrand::u32(1..=2);
    let account = |number: u32| {
        let open = Open {
            kind: match fastrand::u32(0..4) {
                0 => Kind::Agency,
                _ => Kind::Freelancer,
            },
            person_id: PersonId::try_new(&format!("p{}", number % persons)).unwrap(),
            email: None,
            opened_on: None,
        };
        (AccountId::try_new(&format!("a{number}")).unwrap(), open)
    };
    (0..fastrand::u32(1..=4)).map(account).collect()
}

/// A few jobs, or none: their auctions end within the first burst, some time after it or late.
fn jobs(epoch: Time, open_hours: u32) -> Vec<(JobId, Time)> {
    let open = TimeDelta::hours(open_hours.into());
    let job = |number| {
        let id = JobId::try_new(&format!("j{number}")).unwrap();
        let left = match fastrand::u32(0..10) {
            0..3 => TimeDelta::milliseconds(fastrand::i64(1_000..20_000)),
            3..6 => TimeDelta::hours(fastrand::i64(1..100)),
            _ => open - TimeDelta::hours(1),
        };
        (id, epoch + left - open)
    };
    (0..fastrand::u32(0..=3)).map(job).collect()
}

/// Few places, so that many bids lose theirs.
fn boost() -> BoostPolicy {
    BoostPolicy {
        slots: fastrand::usize(1..=2),
        minimum: Connects::new(fastrand::u64(1..=2)),
        open_hours: if fastrand::bool() { 168 } else { 8_760 },
        pricing: match fastrand::bool() {
            true => Pricing::PayAsBid,
            false => Pricing::NextPlusOne,
        },
    }
}

/// A price that each badge that is on makes higher.
fn prices() -> PriceFormula {
    PriceFormula {
        base: Connects::new(fastrand::u64(1..=4)),
        step: Connects::new(fastrand::u64(1..=4)),
        every: 1,
        minimum: Connects::new(fastrand::u64(1..=2)),
        maximum: Connects::new(fastrand::u64(8..=20)),
    }
}

/// Some day, often one whose number not every month has.
fn epoch() -> Time {
    let day = [
        "2024-01-31",
        "2024-02-29",
        "2025-01-30",
        "2025-06-15",
        "2025-12-31",
    ];
    let midnight = format!("{}T00:00:00Z", day[fastrand::usize(0..day.len())]);
    instant(&midnight) + TimeDelta::milliseconds(fastrand::i64(0..86_400_000))
}

/// A code of each sort with few redemptions: one that grants, and two that ride on purchases; some
/// count them in two places.
async fn promos(world: &World) -> Vec<(PromoCode, Terms)> {
    let quantity = Connects::new(fastrand::u64(1..=15));
    // Everything off now and then, so that nothing is charged.
    let percent_off = if fastrand::bool() { 100 } else { 33 };
    let mut codes = vec![];
    for (code, offer) in [
        ("WELCOME", Offer::Grant { quantity }),
        ("MORE", Offer::Bonus { quantity }),
        ("LESS", Offer::Discount(Discount::Percent { percent_off })),
    ] {
        codes.push(promo(world, PromoCode::try_new(code).unwrap(), offer).await);
    }
    codes
}

async fn promo(world: &World, code: PromoCode, offer: Offer) -> (PromoCode, Terms) {
    let terms = Terms {
        offer,
        valid_from: world.epoch,
        valid_until: world.epoch + TimeDelta::days(fastrand::i64(1..800)),
        max_redemptions: Some(fastrand::u64(1..=3)),
        kinds: None,
        plans: None,
        lot_valid_days: fastrand::bool().then(|| fastrand::u32(0..60)),
    };
    let context = Context {
        now: world.now(0),
        deadline: Instant::now() + ALL_DONE,
    };
    let many = Terms {
        max_redemptions: Some(1_500),
        ..terms.clone()
    };
    if fastrand::bool() {
        world
            .ledger
            .put_promo(&context, &code, &many)
            .await
            .unwrap();
    }
    world
        .ledger
        .put_promo(&context, &code, &terms)
        .await
        .unwrap();
    (code, terms)
}

fn lines(world: &World) -> Vec<String> {
    let attempts = world.attempts.borrow();
    let first = attempts.len().saturating_sub(TRACE);
    let line = |attempt: &Attempt| {
        let heard = match &attempt.heard {
            Heard::Done { replayed, said } => format!("replayed {replayed} {said}"),
            heard => format!("{heard:?}"),
        };
        let Attempt {
            account,
            asked,
            begun,
            ended,
            now,
            ..
        } = attempt;
        let line = format!("{begun}-{ended} {now} {account} {asked:?} -> {heard}");
        line.chars().take(WIDTH).collect()
    };
    attempts[first..].iter().map(line).collect()
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or_default())
}
