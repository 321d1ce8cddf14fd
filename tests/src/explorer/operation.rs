//! An operation as a function of what it is told: from a point of its own and what becomes of one
//! of its calls, to the next point. Each step is run once, by the ledger's own code from the
//! beginning of the operation; whatever comes back to the same point again is looked up.
//!
//! **Points** of an operation are the same when it was told the same. What it was told while all
//! its other calls were still held counts in any order, because it asks for things together only
//! to wait for all of them. And once it reads the account anew after a write that failed, it does
//! not matter what it read before, only how often that happened, which writes succeeded and what
//! was due: what one attempt read is never used by the next. `Grain::Fine` forgets nothing, for a
//! comparison. That nothing else matters is the ledger's own way of being deterministic: it has no
//! memory beside the table, its clock is given, and its pauses decide nothing. A pass over a job's
//! proposals does several things at once, and remembers: there nothing is forgotten but the order
//! between what was told about one account and about another, which have nothing to do with each
//! other until all are done.
//!
//! A run waits at the point it came to, on a clock of its own, until a step from there is wanted;
//! a second step from the same point begins again.
//!
//! **Time.** A pause is no event. It ends before the next choice is made, and the call that comes
//! after it is held like any other, for as long as the order says: an order in which the pause was
//! longer is an order in which the call was held longer. Pauses beside calls that are held follow
//! only a torn read, or a write of a pass that failed, and are waited for too. No timer of a call runs out meanwhile: all pauses of
//! an operation together are bounded, far below the shortest, and by a second, the ledger's grain.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Task, Poll, Wake, Waker};
use std::time::Duration;

use connects::ledger::Ledger;
use futures::future::LocalBoxFuture;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};

use super::acts::{Act, Scene, Told};
use super::desk::{Held, SharedDesk, at};
use super::world::{AnswerId, CallId, World, key_of, touched, writes};
use crate::wire::{Answer, Broken, Call};

/// Longer than the pause after a torn read.
const TORN_PAUSE: Duration = Duration::from_millis(13);

/// Longer than the pauses after the first writes that failed.
const RETRIED: Duration = Duration::from_millis(300);

/// How long an operation that waits for nothing else is watched for its next call.
const STEP: Duration = Duration::from_millis(5);

/// All pauses of an operation, together, stay below this.
const MAX_TIME: Duration = Duration::from_millis(990);

/// Runs that wait where they are; beyond that, they begin again.
const MOST_WAITING: usize = 2_000;

/// Which points count as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grain {
    /// What it was told and still matters.
    Coarse,
    /// All that it was ever told, in order.
    Fine,
}

/// What an operation is told of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The table's answer.
    Answer(AnswerId),
    /// That no answer came in time.
    Silence,
    /// That another transaction was in the way.
    Conflict,
}

/// A point of an operation, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointId(usize);

/// What an operation was told of its calls.
type History = Vec<(CallId, Outcome)>;

/// What of it matters: each group in any order.
type Essence = Vec<Vec<(CallId, Outcome)>>;

/// Stands for a write that failed, and for all that was read before.
const FAILED: (CallId, Outcome) = (CallId(u32::MAX), Outcome::Conflict);

/// A point of an operation.
#[derive(Debug)]
pub struct Point {
    /// Where it began.
    pub beginning: Beginning,
    /// The calls that wait.
    pub held: Vec<CallId>,
    /// What it was told at its end.
    pub told: Option<Told>,
    /// One way to it.
    history: History,
    essence: Essence,
}

/// What is done, and how it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Beginning {
    /// Where.
    pub scene: Scene,
    /// What.
    pub act: Act,
    /// Which points count as the same.
    pub grain: Grain,
}

/// All points of all operations met so far.
#[derive(Debug)]
pub struct Operations {
    desk: SharedDesk,
    ledger: Ledger,
    points: Vec<Point>,
    known: HashMap<(Beginning, Essence), PointId>,
    steps: HashMap<(PointId, CallId, Outcome), PointId>,
    waiting: HashMap<PointId, Run>,
    /// How often an operation was run.
    pub runs: u64,
    /// Whether pauses took longer than they may.
    pub overran: bool,
}

impl Operations {
    /// None yet.
    pub fn new(desk: SharedDesk, ledger: Ledger) -> Self {
        Self {
            desk,
            ledger,
            points: vec![],
            known: HashMap::new(),
            steps: HashMap::new(),
            waiting: HashMap::new(),
            runs: 0,
            overran: false,
        }
    }

    /// A point by its number.
    pub fn point(&self, id: PointId) -> &Point {
        &self.points[id.0]
    }

    /// An operation when all its first calls are held.
    pub fn begin(&mut self, beginning: Beginning) -> PointId {
        match self.known.get(&(beginning, vec![])) {
            Some(known) => *known,
            None => {
                let run = self.run(beginning);
                self.met(beginning, vec![], vec![], run)
            }
        }
    }

    /// Where an operation is once it was told that of one of the calls that wait.
    pub fn step(&mut self, from: PointId, call: CallId, outcome: Outcome) -> PointId {
        if let Some(known) = self.steps.get(&(from, call, outcome)) {
            return *known;
        }
        let point = self.point(from);
        let (beginning, mut history) = (point.beginning, point.history.clone());
        let mut essence = point.essence.clone();
        let mut run = self.waiting.remove(&from).unwrap_or_else(|| {
            let mut run = self.run(beginning);
            for (call, outcome) in &history {
                run.tell(&self.desk, *call, *outcome);
            }
            run
        });
        let before = run.held.len() - 1;
        let failed = run.tell(&self.desk, call, outcome);
        self.overran |= run.took > MAX_TIME;

        history.push((call, outcome));
        let fine = beginning.grain == Grain::Fine;
        if beginning.act.kind.is_pass() && !fine {
            essence = in_threads(&at(&self.desk).world, &history);
        } else {
            // The last group is open: what it is told next still belongs to it.
            let mut group = essence.pop().unwrap_or_default();
            group.push((call, outcome));
            group.sort_unstable();
            essence.push(group);
            let came = run.held.get(before..).unwrap_or_default();
            if failed || fine || !came.is_empty() || run.told.is_some() {
                essence.push(vec![]);
            }
            if failed && !fine {
                let world = &at(&self.desk).world;
                if came.iter().any(|held| reads_the_account(world, held.call)) {
                    essence = after_failure(world, &essence);
                }
            }
        }
        let to = match self.known.get(&(beginning, essence.clone())) {
            Some(known) => *known,
            None => self.met(beginning, history, essence, run),
        };
        self.steps.insert((from, call, outcome), to);
        to
    }

    fn met(
        &mut self,
        beginning: Beginning,
        history: History,
        essence: Essence,
        run: Run,
    ) -> PointId {
        let id = PointId(self.points.len());
        self.points.push(Point {
            beginning,
            held: run.held.iter().map(|held| held.call).collect(),
            told: run.told.clone(),
            history,
            essence: essence.clone(),
        });
        self.known.insert((beginning, essence), id);
        if run.told.is_none() {
            if self.waiting.len() == MOST_WAITING {
                self.waiting.clear();
            }
            self.waiting.insert(id, run);
        }
        id
    }

    fn run(&mut self, beginning: Beginning) -> Run {
        self.runs += 1;
        let Beginning { act, scene, .. } = beginning;
        let flag = Flag(AtomicBool::new(true));
        let mut run = Run {
            future: Some(act.begin(self.ledger.clone(), scene)),
            flag: Arc::new(flag),
            told: None,
            held: vec![],
            runtime: clock(),
            took: Duration::ZERO,
        };
        run.go_on(&self.desk, false, false);
        run
    }
}

/// A runtime whose clock stands still but for pauses.
pub fn clock() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// Whether a future asked to be polled.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An operation on its way.
struct Run {
    future: Option<LocalBoxFuture<'static, Told>>,
    flag: Arc<Flag>,
    told: Option<Told>,
    held: Vec<Held>,
    runtime: Runtime,
    took: Duration,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("held", &self.held).finish()
    }
}

impl Run {
    /// Tells it what became of a call. Whether that was a failure.
    fn tell(&mut self, desk: &SharedDesk, call: CallId, outcome: Outcome) -> bool {
        let place = self.held.iter().position(|held| held.call == call);
        let held = self.held.remove(place.expect("the same call as before"));
        let (answer, torn) = {
            let world = &at(desk).world;
            let answer = match outcome {
                Outcome::Answer(answer) => Ok(world.answer(answer)),
                Outcome::Silence => Err(Broken::Silent),
                Outcome::Conflict => Ok(conflict(world, call)),
            };
            (answer, world.call(call).operation == "Query")
        };
        let failed = !matches!(&answer, Ok(answer) if answer.status == 200);
        let _ = held.reply.send(answer);
        self.go_on(desk, torn, failed);
        failed
    }

    /// Lets it do what it can, until it is at its end or all it waits for is held.
    fn go_on(&mut self, desk: &SharedDesk, torn: bool, failed: bool) {
        at(desk).holding = true;
        let (future, flag) = (&mut self.future, &self.flag);
        let (told, held, took) = (&mut self.told, &mut self.held, &mut self.took);
        let before = held.len();
        let work = async {
            let began = Instant::now();
            let mut go = || {
                *told = poll(future, flag);
                held.append(&mut at(desk).held);
                // One that nobody listens to any more does not wait.
                held.retain(|held| !held.reply.is_canceled());
                (told.is_none(), held.len())
            };
            let (mut goes_on, mut calls) = go();
            // What met a torn read or failed is tried again after a pause, beside calls that are held.
            let patience = match (torn, failed) {
                (_, true) => RETRIED,
                (true, false) => TORN_PAUSE,
                (false, false) => Duration::ZERO,
            };
            while goes_on && (calls == 0 || calls <= before && began.elapsed() < patience) {
                sleep(STEP).await;
                (goes_on, calls) = go();
            }
            *took += began.elapsed();
        };
        self.runtime.block_on(tokio::task::unconstrained(work));
    }
}

fn poll(future: &mut Option<LocalBoxFuture<'static, Told>>, flag: &Arc<Flag>) -> Option<Told> {
    let waker = Waker::from(flag.clone());
    while flag.0.swap(false, Ordering::Relaxed) {
        let polled = future.as_mut()?.as_mut();
        if let Poll::Ready(told) = polled.poll(&mut Task::from_waker(&waker)) {
            *future = None;
            return Some(told);
        }
    }
    None
}

/// What a pass was told about each account, in order, and about the job.
fn in_threads(world: &World, history: &History) -> Essence {
    let mut threads: BTreeMap<String, Vec<(CallId, Outcome)>> = BTreeMap::new();
    for (call, outcome) in history {
        let thread = threads.entry(whose(world.call(*call))).or_default();
        thread.push((*call, *outcome));
    }
    threads.into_values().collect()
}

/// The account that a call is about, nobody's where it is about a job.
fn whose(call: &Call) -> String {
    let key = match call.operation.as_str() {
        "Query" => {
            let pk = &call.request["ExpressionAttributeValues"][":pk"]["S"];
            Some((pk.as_str().unwrap_or_default().to_owned(), String::new()))
        }
        "GetItem" => Some(key_of(&call.request["Key"])),
        _ => touched(call).into_iter().next(),
    };
    let (pk, sk) = key.unwrap_or_default();
    let account = pk.strip_prefix("ACCOUNT#");
    account
        .or(sk.strip_prefix("PROPOSAL#"))
        .unwrap_or_default()
        .to_owned()
}

/// Whether a call reads the state of an account.
fn reads_the_account(world: &World, call: CallId) -> bool {
    let call = world.call(call);
    call.operation == "Query" && call.request.get("IndexName").is_none()
}

/// What still matters when an operation begins to read anew.
fn after_failure(world: &World, essence: &Essence) -> Essence {
    let succeeded = |(id, outcome): &(CallId, Outcome)| {
        let Outcome::Answer(answer) = outcome else {
            return false;
        };
        let call = world.call(*id);
        let kept = writes(call) || call.request.get("IndexName").is_some();
        kept && world.answer(*answer).status == 200
    };
    let told = || essence.iter().flatten();
    let failures = told().filter(|told| **told == FAILED).count();
    let kept = told().filter(|told| **told != FAILED && succeeded(told));
    let kept = kept.copied().collect();
    vec![kept, vec![FAILED; failures + 1], vec![]]
}

/// What DynamoDB says of a write that meets another transaction.
fn conflict(world: &World, call: CallId) -> Answer {
    let call = world.call(call);
    let body = match call.request["TransactItems"].as_array() {
        None => json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException",
            "message": "Transaction is ongoing for the item",
        }),
        Some(actions) => {
            let mut reasons = vec!["None"; actions.len()];
            reasons[0] = "TransactionConflict";
            json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                "message": format!(
                    "Transaction cancelled, please refer cancellation reasons for specific \
                     reasons [{}]",
                    reasons.join(", "),
                ),
            })
        }
    };
    Answer { status: 400, body }
}
