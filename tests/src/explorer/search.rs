//! Depth first through every order of events.
//!
//! **Events.** An operation runs until each of its calls is held at the desk. Then one held call
//! meets its fate: it is answered; or, for a write and while there are faults left, no answer ever
//! comes and the call stays *under way*, its process dies with the call under way and the request
//! is made again from the start, or it conflicts with another transaction. A call under way may
//! take effect at any later point, or never. So a lost answer, a lost request and a request that
//! arrives long after its sender gave up are all among the orders. A read has one fate: a read
//! without an answer leaves no trace, and what is done instead is the same as if the call had been
//! held for longer. For the same reason a process that dies anywhere is one that dies at a write:
//! dying later, among reads, is dying at the last write, or at none.
//!
//! **Time.** A pause is no event. It ends before the next choice is made, and the call that comes
//! after it is held like any other, for as long as the order says: an order in which the pause was
//! longer is an order in which the call was held longer. Pauses beside calls that are held follow
//! only a torn read, and are waited for too. No timer of a call runs out meanwhile: all pauses
//! together are bounded, far below the shortest, and by a second, the ledger's own grain.
//!
//! **Re-execution.** Nothing is ever undone: each execution begins anew and follows a path of
//! choices, then goes on with first choices. It stops where it comes to a point that was met
//! before. Points are the same when the table holds the same, the same calls are under way, as many
//! faults are left, each operation has been told the same, and the same ones ended before others
//! began: an operation is a function of what it is told, and of nothing else; seeded, even its
//! pauses are. What it was told while all its other calls were still held counts in any order,
//! because it asks for things together only to wait for all of them. `Grain::Fine` counts the
//! order too, for a comparison.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Task, Poll, Wake, Waker};
use std::time::Duration;

use connects::ledger::Ledger;
use futures::future::LocalBoxFuture;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::acts::{Act, Scene, Told};
use super::desk::{SharedDesk, at};
use super::world::{CallId, StateId, touched, writes};
use crate::wire::{Answer, Broken};

/// Longer than the pause after a torn read.
const TORN_PAUSE: Duration = Duration::from_millis(13);

/// How long an operation that waits for nothing else is watched for its next call.
const STEP: Duration = Duration::from_millis(5);

/// All pauses of an execution, together, stay below this.
const MAX_TIME: Duration = Duration::from_millis(990);

/// No execution has so many events.
const MAX_EVENTS: usize = 200;

/// Which points count as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// Answers to calls made together count in any order.
    Coarse,
    /// The order of all answers counts.
    Fine,
}

/// What becomes of a held call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Unanswered,
    Died,
    Conflict,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// A held call, by its operation and its place there, meets its fate.
    Call(usize, usize, Fate),
    /// A call under way takes effect.
    Lands(CallId),
}

/// What an end of everything looks like.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct End {
    /// What the table holds.
    pub state: StateId,
    /// What each operation was told.
    pub told: Vec<Told>,
    /// For each operation, which others had ended before it began, as a bit each.
    pub after: Vec<u32>,
    /// How many faults there were.
    pub faults: u32,
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Found {
    /// Executions, each up to its end or to a point that was met before.
    pub executions: u64,
    /// Different points.
    pub points: usize,
    /// Different ends, each with one way to it.
    pub ends: HashMap<End, Vec<String>>,
    /// Bounds that were hit: then this is not everything.
    pub bounds: Vec<String>,
}

/// An exploration of a few operations from one state.
#[derive(Debug)]
pub struct Search<'s> {
    /// The table.
    pub desk: &'s SharedDesk,
    /// A ledger for each operation.
    pub ledgers: &'s [Ledger],
    /// Where it begins.
    pub start: StateId,
    /// Whose time it is.
    pub scene: Scene,
    /// What is done at once.
    pub acts: &'s [Act],
    /// How many faults an execution may have.
    pub faults: u32,
    /// Which points count as the same.
    pub grain: Grain,
    /// How many executions there may be.
    pub most: u64,
}

impl Search<'_> {
    /// Goes through all there is.
    pub async fn run(&self) -> Found {
        let mut found = Found::default();
        let mut met = HashSet::new();
        // The choices made so far, each with how many there were.
        let mut path: Vec<(usize, usize)> = vec![];
        loop {
            found.executions += 1;
            self.execute(&mut path, &mut met, &mut found).await;
            while path.last().is_some_and(|(choice, of)| choice + 1 == *of) {
                path.pop();
            }
            match path.last_mut() {
                None => break,
                Some((choice, _)) => *choice += 1,
            }
            if found.executions == self.most {
                found.bounds.push(format!("{} executions", self.most));
                break;
            }
        }
        found.points = met.len();
        found
    }

    async fn execute(
        &self,
        path: &mut Vec<(usize, usize)>,
        met: &mut HashSet<Vec<u32>>,
        found: &mut Found,
    ) {
        fastrand::seed(1);
        let began = Instant::now();
        let mut run = Run::begin(self).await;
        for depth in 0.. {
            let events = run.events();
            if run.ended() {
                let end = run.end();
                found.ends.entry(end).or_insert_with(|| run.trail.clone());
            }
            if events.is_empty() {
                break;
            }
            if depth == MAX_EVENTS {
                found.bounds.push(format!("{MAX_EVENTS} events"));
                break;
            }
            if depth == path.len() {
                if !met.insert(run.point()) {
                    break;
                }
                path.push((0, events.len()));
            }
            let (choice, of) = path[depth];
            assert_eq!(of, events.len(), "not the same again: {:?}", run.trail);
            run.let_happen(events[choice]).await;
            if began.elapsed() > MAX_TIME {
                found.bounds.push(format!("{MAX_TIME:?}"));
                break;
            }
        }
    }
}

/// Whether a future asked to be polled.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One operation on its way.
struct Running {
    future: Option<LocalBoxFuture<'static, Told>>,
    flag: Arc<Flag>,
    told: Option<Told>,
    /// Which others had ended when its first call was answered; none before that.
    after: Option<u32>,
    /// What it was told, up to the last time that it did something about it.
    history: Vec<u32>,
    /// What it was told since, while it waited for more.
    since: Vec<[u32; 2]>,
}

/// Marks in an operation's history, where answers have numbers.
const NO_ANSWER: u32 = u32::MAX;
const CONFLICT: u32 = u32::MAX - 1;
const BREAK: u32 = u32::MAX - 2;

/// One execution.
struct Run<'s> {
    search: &'s Search<'s>,
    running: Vec<Running>,
    under_way: Vec<CallId>,
    faults: u32,
    trail: Vec<String>,
}

impl<'s> Run<'s> {
    async fn begin(search: &'s Search<'s>) -> Self {
        {
            let mut desk = at(search.desk);
            desk.state = search.start;
            desk.holding = true;
            desk.held.iter_mut().for_each(Vec::clear);
        }
        let running = search.acts.iter().map(|_| Running {
            future: None,
            flag: Arc::default(),
            told: None,
            after: None,
            history: vec![],
            since: vec![],
        });
        let mut run = Self {
            search,
            running: running.collect(),
            under_way: vec![],
            faults: search.faults,
            trail: vec![],
        };
        for op in 0..search.acts.len() {
            run.start(op).await;
        }
        run
    }

    /// Starts an operation, or starts it again.
    async fn start(&mut self, op: usize) {
        at(self.search.desk).held[op].clear();
        let ledger = self.search.ledgers[op].clone();
        let future = self.search.acts[op].begin(ledger, self.search.scene);
        let running = &mut self.running[op];
        running.future = Some(future);
        running.flag.0.store(true, Ordering::Relaxed);
        running.history.clear();
        running.since.clear();
        self.go_on(op, false).await;
    }

    /// Lets an operation do what it can, until it is at its end or all it waits for is held.
    async fn go_on(&mut self, op: usize, torn: bool) {
        self.poll(op);
        if torn && self.running[op].told.is_none() {
            sleep(TORN_PAUSE).await;
            self.poll(op);
        }
        while self.running[op].told.is_none() && self.held(op) == 0 {
            sleep(STEP).await;
            self.poll(op);
        }
        self.held(op);
    }

    fn poll(&mut self, op: usize) {
        let running = &mut self.running[op];
        let waker = Waker::from(running.flag.clone());
        while running.flag.0.swap(false, Ordering::Relaxed) {
            let Some(future) = &mut running.future else {
                return;
            };
            if let Poll::Ready(told) = future.as_mut().poll(&mut Task::from_waker(&waker)) {
                running.told = Some(told);
                running.future = None;
            }
        }
    }

    /// How many of an operation's calls wait. One that nobody listens to any more does not.
    fn held(&self, op: usize) -> usize {
        let held = &mut at(self.search.desk).held[op];
        held.retain(|held| !held.reply.is_canceled());
        held.len()
    }

    fn ended(&self) -> bool {
        self.running.iter().all(|running| running.told.is_some())
    }

    fn end(&self) -> End {
        End {
            state: at(self.search.desk).state,
            told: self.running.iter().filter_map(|r| r.told.clone()).collect(),
            after: self.running.iter().filter_map(|r| r.after).collect(),
            faults: self.search.faults - self.faults,
        }
    }

    fn events(&self) -> Vec<Event> {
        let desk = at(self.search.desk);
        let calls = desk.held.iter().take(self.running.len()).enumerate();
        let mut events: Vec<Event> = calls
            .flat_map(|(op, held)| held.iter().enumerate().map(move |(n, held)| (op, n, held)))
            .flat_map(|(op, n, held)| {
                fates(&desk.world, held.call, self.faults)
                    .into_iter()
                    .map(move |fate| Event::Call(op, n, fate))
            })
            .collect();
        let mut under_way = self.under_way.clone();
        under_way.dedup();
        events.extend(under_way.into_iter().map(Event::Lands));
        events
    }

    /// All that tells what can happen from here on.
    fn point(&self) -> Vec<u32> {
        let mut point = vec![at(self.search.desk).state.0, self.faults];
        point.extend(self.under_way.iter().map(|call| call.0));
        for running in &self.running {
            point.push(BREAK);
            point.push(running.after.unwrap_or(NO_ANSWER));
            point.extend(&running.history);
            point.push(BREAK);
            point.extend(running.since.iter().flatten());
        }
        point
    }

    async fn let_happen(&mut self, event: Event) {
        match event {
            Event::Lands(call) => {
                let place = self.under_way.iter().position(|other| *other == call);
                self.under_way.remove(place.unwrap());
                let (_, answer) = at(self.search.desk).serve(call);
                self.note("late", call, &answer.status.to_string());
            }
            Event::Call(op, n, fate) => self.meet(op, n, fate).await,
        }
    }

    async fn meet(&mut self, op: usize, n: usize, fate: Fate) {
        let ended = self
            .running
            .iter()
            .enumerate()
            .filter(|(_, other)| other.told.is_some())
            .fold(0, |ended, (op, _)| ended | 1 << op);
        self.running[op].after.get_or_insert(ended);
        let held = at(self.search.desk).held[op].remove(n);
        let call = held.call;
        let name = format!("{op} {:?}", self.search.acts[op].kind);
        if fate != Fate::Answered {
            self.faults -= 1;
        }
        let came = at(self.search.desk).came[op];
        let (told, answer) = match fate {
            Fate::Answered => {
                let (answer, sent) = at(self.search.desk).serve(call);
                self.note(&name, call, &sent.status.to_string());
                (answer.0, Ok(sent))
            }
            Fate::Unanswered => {
                self.note(&name, call, "no answer");
                self.set_out(call);
                (NO_ANSWER, Err(Broken::Silent))
            }
            Fate::Conflict => {
                self.note(&name, call, "conflict");
                let conflict = conflict(&at(self.search.desk).world, call);
                (CONFLICT, Ok(conflict))
            }
            Fate::Died => {
                self.note(&name, call, "dies, and begins again");
                self.set_out(call);
                self.start(op).await;
                return;
            }
        };
        let succeeded = matches!(&answer, Ok(answer) if answer.status == 200);
        let query = at(self.search.desk).world.call(call).operation == "Query";
        let _ = held.reply.send(answer);
        self.go_on(op, query).await;

        let did_something =
            self.running[op].told.is_some() || at(self.search.desk).came[op] != came;
        let fine = self.search.grain == Grain::Fine;
        let running = &mut self.running[op];
        running.since.push([call.0, told]);
        running.since.sort_unstable();
        if did_something || !succeeded || fine {
            running.history.extend(running.since.drain(..).flatten());
            running.history.push(BREAK);
        }
    }

    fn set_out(&mut self, call: CallId) {
        self.under_way.push(call);
        self.under_way.sort_unstable();
    }

    fn note(&mut self, who: &str, call: CallId, what: &str) {
        let words = {
            let desk = at(self.search.desk);
            let call = desk.world.call(call);
            match writes(call) {
                true => format!("{} {:?}", call.operation, touched(call)),
                false => call.operation.clone(),
            }
        };
        self.trail.push(format!("{who}: {words}: {what}"));
    }
}

/// What can become of a call.
fn fates(world: &super::world::World, call: CallId, faults: u32) -> Vec<Fate> {
    let call = world.call(call);
    if !writes(call) || faults == 0 {
        return vec![Fate::Answered];
    }
    let mut fates = vec![Fate::Answered, Fate::Unanswered, Fate::Died];
    // Only what some transaction writes can be in one when another write comes.
    let shared =
        |(pk, sk): &(String, String)| !pk.starts_with("SANDBOX#") && !sk.starts_with("SEEN#");
    if touched(call).iter().any(shared) {
        fates.push(Fate::Conflict);
    }
    fates
}

/// What DynamoDB says of a write that meets another transaction.
fn conflict(world: &super::world::World, call: CallId) -> Answer {
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
