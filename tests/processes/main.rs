//! Real processes, really killed: functions at any moment, and the emulator with its runner.

// Tests stop at the first surprise; their environment and clock are their own.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs
)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use connects::domain::ids::{AccountId, JobId};
use connects::domain::journal::EntryType;
use connects::domain::proposal::Proposal;
use connects_tests::client::{Answer, Request};
use connects_tests::holder::Holder;
use connects_tests::runner::{Runner, kill};
use connects_tests::stack::Stack;
use futures::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

/// Each has an account of its own.
const CLIENTS: usize = 6;

/// The request of a process that dies is never answered.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client that has waited so long for an answer has found a stack that does not serve.
const LONGEST: Duration = Duration::from_secs(40);

/// Between two tries, and about as long between two kills.
const PAUSE: Duration = Duration::from_millis(200);

/// Before the emulator dies, and again after it.
const KILLS: usize = 12;

/// Of one function: a process that keeps dying young is given up in the end.
const KILLS_OF_ONE: usize = 5;

/// Runs of the recovery after all that.
const RECOVERIES: i64 = 2;

/// What a client was told has happened to its account, by the journal's words.
type Effects = Vec<(EntryType, i64)>;

/// Asks under one key until there is an answer that counts.
async fn ask(request: Request<'_>) -> Answer {
    let began = Instant::now();
    while began.elapsed() < LONGEST {
        match request.clone().within(PATIENCE).await {
            Some(answer) if answer.status < 500 => return answer,
            _ => sleep(PAUSE).await,
        }
    }
    panic!("no answer in {LONGEST:?}: {request:?}");
}

/// Buys, spends and refunds until it is told to stop.
async fn client(holder: &Holder<'_>, stop: &AtomicBool) -> Effects {
    ask(holder.open("freelancer")).await.is(201);
    let mut effects = vec![(EntryType::Issue, 40), (EntryType::Issue, 10)];
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let method = ["sandbox_approve", "sandbox_timeout"][round % 2];
        let order = json!({ "quantity": 10, "payment_method": method });
        let bought = ask(holder.buy_with(order)).await;
        assert!([201, 202].contains(&bought.status), "{}", bought.text);
        effects.push((EntryType::Issue, 10));
        let spent = ask(holder.spend(7)).await.is(201);
        effects.push((EntryType::Spend, -7));
        ask(holder.refund(&spent.text("spend_id"), 4)).await.is(201);
        effects.push((EntryType::Return, 4));
    }
    effects
}

/// Kills functions one after the other, whatever they are doing.
async fn reap(runner: &Runner) -> usize {
    let mut killed: Vec<String> = vec![];
    while killed.len() < KILLS {
        sleep(PAUSE).await;
        let of = |name: &str| killed.iter().filter(|other| *other == name).count();
        let mut alive = runner.processes();
        alive.retain(|(_, name)| of(name) < KILLS_OF_ONE);
        let busy = ["spend", "refund", "purchase", "account"];
        alive.retain(|(_, name)| busy.contains(&name.as_str()));
        if let Some((pid, name)) = fastrand::choice(alive)
            && kill(pid)
        {
            killed.push(name);
        }
    }
    killed.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_outlives_every_process() {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("killed");
    let _ = std::fs::remove_dir_all(&home);
    let runner = Runner::start(&home);
    let stack = runner.stack();
    let holders: Vec<Holder<'_>> = (0..CLIENTS).map(|_| stack.holder("killed")).collect();
    let stop = AtomicBool::new(false);

    let clients = join_all(holders.iter().map(|holder| client(holder, &stop)));
    let deaths = async {
        let mut killed = reap(&runner).await;
        let log = runner.log();
        let runner = tokio::task::block_in_place(|| runner.killed_and_replaced());
        killed += reap(&runner).await;
        let log = log + &runner.log();
        stop.store(true, Ordering::Relaxed);
        let noticed = log.matches("starting it again").count();
        (runner, killed, noticed)
    };
    let (effects, (runner, killed, noticed)) = futures::join!(clients, deaths);
    assert_eq!(killed, 2 * KILLS);
    assert!(noticed > KILLS, "{noticed} of {killed} deaths were told of");

    // What is still open is recovered. Where the table died before the provider's memory was written,
    // the first run is the first to ask, and is told nothing yet.
    let stack = runner.stack();
    for run in 1..=RECOVERIES {
        let later = Utc::now() + TimeDelta::hours(run);
        stack.fire("purchase", &later.to_rfc3339()).await;
    }
    let mut requests = 0;
    for (holder, effects) in holders.iter().zip(effects) {
        requests += effects.len();
        check(&stack, &holder.id, effects).await;
    }
    println!("{requests} effects, {killed} functions and one emulator killed");
}

/// Who proposed on the job that is closed.
const PROPOSALS: usize = 60;

/// Passes over it that are killed, at most.
const DYING_PASSES: usize = 4;

/// The job is closed, and whoever works on that is killed; as often as that happens, the schedule
/// goes on, and everybody has their Connects back once.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_closed_job_gives_back_outlives_its_workers() {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("closing");
    let _ = std::fs::remove_dir_all(&home);
    let runner = Runner::start(&home);
    let stack = runner.stack();
    let now = Utc::now().to_rfc3339();
    let job = stack.new_job(8, &now).await;
    let holders: Vec<Holder<'_>> = (0..PROPOSALS).map(|_| stack.holder("closing")).collect();
    for some in holders.chunks(20) {
        join_all(some.iter().map(|holder| async {
            ask(holder.open("freelancer")).await.is(201);
            ask(holder.propose(&job, 8)).await.is(201);
        }))
        .await;
    }

    ask(stack.close(&job, "fraud")).await.is(202);
    let (store, id) = (stack.store(), JobId::try_new(&job).unwrap());
    let settled = async || {
        let page = store.proposals(&id, None).await.unwrap();
        let settled = |proposal: &&Proposal| !proposal.settled_for.is_empty();
        page.proposals.iter().filter(settled).count()
    };
    // Each pass is killed once it has settled some more, and the schedule sends the next.
    let (mut died_at_work, mut before) = (0, 0);
    while died_at_work < DYING_PASSES {
        let done = settled().await;
        if done == PROPOSALS {
            break;
        }
        if done > before {
            let alive = runner.processes().into_iter();
            let workers = alive.filter(|(_, name)| name == "refund");
            died_at_work += usize::from(workers.filter(|(pid, _)| kill(*pid)).count() > 0);
            before = settled().await;
            // Nobody waits for its answer: it may not live to give one.
            let now = Utc::now().to_rfc3339();
            let _ = timeout(PAUSE, stack.fire("refund", &now)).await;
        }
    }
    assert!(died_at_work > 0, "{before} of {PROPOSALS}");
    stack.fire("refund", &Utc::now().to_rfc3339()).await;
    let closed = stack.closed(&job).await;
    closed.has("returns", json!({ "done": PROPOSALS, "total": PROPOSALS }));
    for holder in &holders {
        let effects = [(EntryType::Issue, 40), (EntryType::Issue, 10)];
        let effects = effects
            .into_iter()
            .chain([(EntryType::Spend, -8), (EntryType::Return, 8)]);
        check(&stack, &holder.id, effects.collect()).await;
    }
    println!("{died_at_work} passes over {PROPOSALS} proposals killed at work");
}

/// The journal is the model's, and has each effect once and no other.
async fn check(stack: &Stack, id: &str, mut told: Effects) {
    let account = AccountId::try_new(id).unwrap();
    let store = stack.store();
    let journal = connects_tests::table::journal(&store, &account).await;
    connects_tests::table::audit(&store, &account).await;
    let moved = journal.iter().filter(|entry| entry.amount != 0);
    let mut booked: Effects = moved.map(|e| (e.entry_type, e.amount)).collect();
    let order = |(kind, amount): &(EntryType, i64)| (format!("{kind:?}"), *amount);
    told.sort_by_key(order);
    booked.sort_by_key(order);
    assert_eq!(booked, told, "{id}");
}
