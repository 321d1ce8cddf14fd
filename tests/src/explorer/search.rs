//! Through every order of events.
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
//! **Points** are the same when the table holds the same, the same calls are under way, as many
//! faults are left, each operation is at the same point of its own, and the same ones had ended
//! before others began. What can follow is then the same, so each is gone on from once, and the
//! orders through all of them are counted without being walked one by one.

use std::collections::HashMap;

use super::acts::{Act, Scene, Told};
use super::desk::{SharedDesk, at};
use super::operation::{Beginning, Grain, Operations, Outcome, PointId};
use super::world::{CallId, StateId, World, touched, writes};

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
    /// A held call of an operation meets its fate.
    Call(usize, CallId, Fate),
    /// A call under way takes effect.
    Lands(CallId),
}

/// One operation among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Running {
    point: PointId,
    /// Which others had ended when its first call was answered, as a bit each; none before that.
    after: Option<u32>,
}

/// Everything that tells what can happen from here on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Point {
    table: StateId,
    faults: u32,
    under_way: Vec<CallId>,
    running: Vec<Running>,
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
    /// Different orders of events.
    pub orders: u128,
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
    /// Where it begins.
    pub start: StateId,
    /// Whose time it is.
    pub scene: Scene,
    /// What is done at once.
    pub acts: &'s [Act],
    /// How many faults there may be.
    pub faults: u32,
    /// Which points of an operation count as the same.
    pub grain: Grain,
    /// How many points there may be.
    pub most: usize,
}

impl Search<'_> {
    /// Goes through all there is.
    pub fn run(&self, operations: &mut Operations) -> Found {
        let mut running = vec![];
        for act in self.acts {
            running.push(Running {
                point: operations.begin(self.beginning(*act)),
                after: None,
            });
        }
        let first = Point {
            table: self.start,
            faults: self.faults,
            under_way: vec![],
            running,
        };
        let mut numbers = HashMap::from([(first.clone(), 0)]);
        // Each point with the one it was first met from, and by what event.
        let mut points = vec![(first, None)];
        let mut next: Vec<Vec<usize>> = vec![];
        let mut found = Found::default();
        while next.len() < points.len() {
            let here = next.len();
            let point = points[here].0.clone();
            let mut following = vec![];
            for event in self.events(operations, &point) {
                let after = self.after(operations, &point, event);
                let number = *numbers.entry(after).or_insert_with_key(|after| {
                    points.push((after.clone(), Some((here, event))));
                    points.len() - 1
                });
                following.push(number);
            }
            next.push(following);
            if let Some(end) = self.end(operations, &point) {
                found.ends.entry(end).or_insert_with(|| {
                    let trail = trail(&points, here);
                    trail.into_iter().map(|event| self.words(event)).collect()
                });
            }
            if points.len() > self.most {
                found.bounds.push(format!("{} points", self.most));
                break;
            }
        }
        if operations.overran {
            found.bounds.push("the time for pauses".to_owned());
        }
        found.points = points.len();
        found.orders = match found.bounds.is_empty() {
            true => orders(&next),
            false => 0,
        };
        found
    }

    fn beginning(&self, act: Act) -> Beginning {
        Beginning {
            scene: self.scene,
            act,
            grain: self.grain,
        }
    }

    fn events(&self, operations: &Operations, point: &Point) -> Vec<Event> {
        let desk = at(self.desk);
        let calls = point.running.iter().enumerate().flat_map(|(op, running)| {
            let held = &operations.point(running.point).held;
            held.iter().map(move |call| (op, *call))
        });
        let mut events: Vec<Event> = calls
            .flat_map(|(op, call)| {
                let fates = fates(&desk.world, call, point.faults);
                fates
                    .into_iter()
                    .map(move |fate| Event::Call(op, call, fate))
            })
            .collect();
        let mut under_way = point.under_way.clone();
        under_way.dedup();
        events.extend(under_way.into_iter().map(Event::Lands));
        events
    }

    fn after(&self, operations: &mut Operations, point: &Point, event: Event) -> Point {
        let mut point = point.clone();
        let (op, call, fate) = match event {
            Event::Lands(call) => {
                let place = point.under_way.iter().position(|other| *other == call);
                point.under_way.remove(place.unwrap());
                point.table = at(self.desk).world.apply(point.table, call).1;
                return point;
            }
            Event::Call(op, call, fate) => (op, call, fate),
        };
        let ended = point
            .running
            .iter()
            .enumerate()
            .filter(|(_, other)| operations.point(other.point).told.is_some())
            .fold(0, |ended, (op, _)| ended | 1 << op);
        point.running[op].after.get_or_insert(ended);
        if fate != Fate::Answered {
            point.faults -= 1;
        }
        if matches!(fate, Fate::Unanswered | Fate::Died) {
            point.under_way.push(call);
            point.under_way.sort_unstable();
        }
        let from = point.running[op].point;
        let outcome = match fate {
            Fate::Answered => {
                let (answer, table) = at(self.desk).world.apply(point.table, call);
                point.table = table;
                Outcome::Answer(answer)
            }
            Fate::Unanswered => Outcome::Silence,
            Fate::Conflict => Outcome::Conflict,
            Fate::Died => {
                let beginning = self.beginning(self.acts[op]);
                point.running[op].point = operations.begin(beginning);
                return point;
            }
        };
        point.running[op].point = operations.step(from, call, outcome);
        point
    }

    fn end(&self, operations: &Operations, point: &Point) -> Option<End> {
        let told = point
            .running
            .iter()
            .map(|running| operations.point(running.point).told.clone())
            .collect::<Option<Vec<Told>>>()?;
        Some(End {
            state: point.table,
            told,
            after: point.running.iter().filter_map(|r| r.after).collect(),
            faults: self.faults - point.faults,
        })
    }

    fn words(&self, event: Event) -> String {
        let desk = at(self.desk);
        let name = |call| {
            let call = desk.world.call(call);
            match writes(call) {
                true => format!("{} {:?}", call.operation, touched(call)),
                false => call.operation.clone(),
            }
        };
        match event {
            Event::Lands(call) => format!("late: {}", name(call)),
            Event::Call(op, call, fate) => {
                format!("{op} {:?}: {}: {fate:?}", self.acts[op].kind, name(call))
            }
        }
    }
}

/// The events on the way to a point.
fn trail(points: &[(Point, Option<(usize, Event)>)], to: usize) -> Vec<Event> {
    let back = std::iter::successors(points[to].1, |(from, _)| points[*from].1);
    let mut events: Vec<Event> = back.map(|(_, event)| event).collect();
    events.reverse();
    events
}

/// How many ways there are from the first point to wherever nothing follows. No way leads back.
fn orders(next: &[Vec<usize>]) -> u128 {
    let mut known: Vec<Option<u128>> = vec![None; next.len()];
    let mut open = vec![0];
    while let Some(here) = open.last().copied() {
        let ways = |known: &[Option<u128>]| {
            next[here].iter().try_fold(0_u128, |sum, to| {
                known[*to].map(|ways| sum.saturating_add(ways))
            })
        };
        match ways(&known) {
            Some(ways) => {
                known[here] = Some(ways.max(1));
                open.pop();
            }
            None => open.extend(next[here].iter().filter(|to| known[**to].is_none())),
        }
    }
    known[0].unwrap_or_default()
}

/// What can become of a call.
fn fates(world: &World, call: CallId, faults: u32) -> Vec<Fate> {
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
