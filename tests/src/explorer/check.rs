//! What must hold at every end: what is there is what one of the orders without concurrency leaves,
//! byte for byte but for hints, and each operation was told what it is told there. And when every
//! closure is carried out, every proposal is settled for each, and no more came back than was paid.

use std::collections::{BTreeSet, HashMap};

use connects::domain::ids::AccountId;
use connects::domain::time;
use connects::ledger::Ledger;
use serde_json::Value;

use super::acts::{Act, LeftOpen, Scene, Told, account, finish, other};
use super::desk::{SharedDesk, at};
use super::search::End;
use super::world::{Items, Key, StateId};
use crate::table::{inspect, instant};

/// Recovery runs so often until nothing is open: a first request may have been lost.
const MOST_RECOVERIES: usize = 2;

/// What one order of operations without concurrency comes to.
#[derive(Debug)]
struct Sequence {
    order: Vec<usize>,
    told: Vec<Told>,
    left: Items,
}

/// The judge of ends.
#[derive(Debug)]
pub struct Judge<'j> {
    desk: &'j SharedDesk,
    /// Nobody's ledger: for what is done alone.
    ledger: &'j Ledger,
    scene: Scene,
    acts: &'j [Act],
    /// Whether one of the acts is many changes, one after the other.
    goes_in_steps: bool,
    sequences: Vec<Sequence>,
    finished: &'j mut Finished,
}

/// What is left of each state, and what is wrong with it, as far as it is known by now.
pub type Finished = HashMap<(Scene, StateId), (Items, Vec<String>)>;

impl<'j> Judge<'j> {
    /// Goes through all orders. Recovery may run between any two operations: a purchase is a few
    /// steps, each of which recovery may take in its place.
    pub async fn new(
        desk: &'j SharedDesk,
        ledger: &'j Ledger,
        scene: Scene,
        start: StateId,
        acts: &'j [Act],
        finished: &'j mut Finished,
    ) -> Self {
        let mut judge = Self {
            desk,
            ledger,
            scene,
            acts,
            goes_in_steps: acts.iter().any(|act| act.kind.is_pass()),
            sequences: vec![],
            finished,
        };
        for order in orders(acts.len()) {
            let between = match acts.iter().any(|act| act.kind.pays()) {
                true => acts.len() - 1,
                false => 0,
            };
            for recovered in 0..1_u32 << between {
                let sequence = judge.in_turn(start, acts, &order, recovered).await;
                judge.sequences.push(sequence);
            }
        }
        judge
    }

    async fn in_turn(
        &mut self,
        start: StateId,
        acts: &[Act],
        order: &[usize],
        recovered: u32,
    ) -> Sequence {
        self.from(start);
        let mut told = vec![None; acts.len()];
        for (place, op) in order.iter().enumerate() {
            told[*op] = Some(acts[*op].begin(self.ledger.clone(), self.scene).await);
            if recovered & 1 << place != 0 {
                self.recover().await;
            }
        }
        let state = at(self.desk).state;
        let (left, wrong) = self.finish(state).await;
        assert_eq!(wrong, [""; 0], "without concurrency");
        Sequence {
            order: order.to_vec(),
            told: told.into_iter().flatten().collect(),
            left,
        }
    }

    fn from(&self, state: StateId) {
        let mut desk = at(self.desk);
        desk.state = state;
        desk.holding = false;
    }

    /// What is wrong with an end.
    pub async fn wrong_with(&mut self, end: &End) -> Vec<String> {
        let (left, mut wrong) = self.finish(end.state).await;
        for told in &end.told {
            if let Told::Broke(why) = told {
                wrong.push(format!("broke: {why}"));
            }
        }
        let told_so = |s: &&Sequence| {
            let told = s.told.iter().zip(&end.told);
            told.zip(self.acts).all(|((a, b), act)| {
                let retried = end.faults > 0;
                a.agrees(b, retried) || retried && act.kind.is_refused_when_done(b)
            })
        };
        let in_order = || {
            let all = self.sequences.iter();
            all.filter(|sequence| respects(&sequence.order, end))
        };
        let possible: Vec<&Sequence> = in_order().filter(told_so).collect();
        for (op, told) in end.told.iter().enumerate() {
            let later = end.faults > 0;
            if !in_order().any(|s| s.told[op].agrees_beside(told, later)) {
                wrong.push(format!(
                    "a balance or a state that there never was: {told:?}"
                ));
            }
        }
        if possible.is_empty() {
            wrong.push(format!("told what no order tells: {:?}", end.told));
        } else if !(possible.iter().any(|sequence| same(&sequence.left, &left))
            || self.goes_in_steps && same_in_parts(&possible, &left))
        {
            let differs = difference(&possible[0].left, &left);
            wrong.push(format!("left what no such order leaves: {differs}"));
        }
        wrong
    }

    /// What is left when recovery has run, without the payment provider's memory, and what is
    /// wrong with it by itself.
    async fn finish(&mut self, state: StateId) -> (Items, Vec<String>) {
        if let Some(known) = self.finished.get(&(self.scene, state)) {
            return known.clone();
        }
        let mut wrong = vec![];
        self.from(state);
        wrong.extend(self.audit().await);
        // What the provider was slow to say at first it says when it is asked again.
        for _ in 0..MOST_RECOVERIES {
            if self.recover().await {
                wrong.extend(self.audit().await);
            }
        }
        let finished = at(self.desk).state;
        let items: Items = at(self.desk)
            .world
            .items(finished)
            .iter()
            .filter(|((pk, _), _)| !pk.starts_with("SANDBOX#"))
            .map(|(key, item)| (key.clone(), item.clone()))
            .collect();
        let left = self.left_open();
        for (open, what) in [
            (left.payments, "a payment stays open"),
            (left.auctions, "an auction is never settled"),
            (left.closures, "a closure is never carried out"),
        ] {
            if open {
                wrong.push(what.to_owned());
            }
        }
        wrong.extend(wrong_with_jobs(&items));
        wrong.extend(wrong_with_auctions(&items));
        wrong.extend(wrong_with_holds(&items));
        let known = (items, wrong);
        self.finished.insert((self.scene, state), known.clone());
        known
    }

    /// Lets recovery run, auctions be settled and every closure be carried out, if there is something
    /// for them.
    async fn recover(&self) -> bool {
        let left = self.left_open();
        finish(self.ledger, self.scene, left).await;
        left.payments || left.auctions || left.closures
    }

    fn left_open(&self) -> LeftOpen {
        let desk = at(self.desk);
        let items = desk.world.items(desk.state);
        let due = |kind: &str, until: Option<&str>| {
            items.values().any(|item| {
                let part = |name: &str| item[name]["S"].as_str();
                let is_due = part("due_at")
                    .zip(until)
                    .is_none_or(|(at, until)| at <= until);
                is_due && part("due_shard").is_some_and(|shard| shard.starts_with(kind))
            })
        };
        let now = time::text(instant(self.scene.now()));
        LeftOpen {
            payments: due("payment#", None),
            auctions: due("auction#", Some(&now)),
            closures: due("closure#", None),
        }
    }

    /// The journal of each account by the model, its lots by its journal, nothing pending.
    async fn audit(&self) -> Vec<String> {
        let mut wrong = vec![];
        for id in [account(), other()] {
            match self.audit_one(&id).await {
                Ok(()) => {}
                Err(why) => wrong.push(format!("{id}: {why}")),
            }
        }
        wrong
    }

    async fn audit_one(&self, id: &AccountId) -> Result<(), String> {
        let store = self.ledger.store();
        let exists = store.load(id).await.map_err(|why| why.to_string())?;
        let Some(account) = exists else {
            return Ok(());
        };
        inspect(store, id).await?;
        match account.head.pending.is_empty() {
            true => Ok(()),
            false => Err("lots stay pending".to_owned()),
        }
    }
}

/// Whether an order has what ended before something else began before it. A purchase that is told
/// to be pending takes effect after its end.
fn respects(order: &[usize], end: &End) -> bool {
    let pending = |told: &Told| matches!(told, Told::Purchase { settled: None, .. });
    let later = end
        .told
        .iter()
        .enumerate()
        .filter(|(_, told)| pending(told));
    let later = later.fold(0, |later, (op, _)| later | 1 << op);
    let mut done = later;
    order.iter().all(|op| {
        let all_before = end.after[*op] & !done == 0;
        done |= 1 << op;
        all_before
    })
}

/// All orders of so many.
fn orders(of: usize) -> Vec<Vec<usize>> {
    match of {
        0 => vec![vec![]],
        _ => orders(of - 1)
            .into_iter()
            .flat_map(|order| {
                (0..of).map(move |place| {
                    let mut longer = order.clone();
                    longer.insert(place, of - 1);
                    longer
                })
            })
            .collect(),
    }
}

/// Byte for byte, but for three things that are no more than hints: how much there was when a holder
/// was told of an expiry, since a run tells of lot after lot; that the holder was told at all, where
/// the lot was used up between the run's entries and its notices; and when a lot is to be looked at
/// next, which may be too early, never too late.
fn same(wanted: &Items, found: &Items) -> bool {
    let known = found.keys().all(|key| wanted.contains_key(key));
    known
        && wanted.iter().all(|(key, wanted)| {
            let Some(found) = found.get(key) else {
                return is_notice_of_no_lot(key, found);
            };
            let early = match (
                wanted["due_at"]["S"].as_str(),
                found["due_at"]["S"].as_str(),
            ) {
                (Some(wanted), Some(found)) => found <= wanted,
                (wanted, found) => wanted == found,
            };
            early && without_hints(key, wanted) == without_hints(key, found)
        })
}

/// A pass over a job's proposals comes to one account after the other, and something else may happen
/// between them: then what is left of each account, its proposal with it, is what some order leaves,
/// and so is the rest.
fn same_in_parts(possible: &[&Sequence], found: &Items) -> bool {
    let whose = |(pk, sk): &Key| {
        let account = pk.strip_prefix("ACCOUNT#");
        account.or(sk.strip_prefix("PROPOSAL#")).map(str::to_owned)
    };
    let part = |items: &Items, of: &Option<String>| -> Items {
        let items = items.iter().filter(|(key, _)| whose(key) == *of);
        items
            .map(|(key, item)| (key.clone(), item.clone()))
            .collect()
    };
    let parts: BTreeSet<_> = found.keys().map(whose).collect();
    parts.iter().all(|of| {
        let found = part(found, of);
        let mut wanted = possible.iter().map(|sequence| part(&sequence.left, of));
        wanted.any(|wanted| same(&wanted, &found))
    })
}

fn number(item: &Value, name: &str) -> i64 {
    let text = item[name]["N"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What is wrong with the holds that are left: what they took is held, or was used or came back once, all
/// of it. Bids are holds too.
fn wrong_with_holds(items: &Items) -> Vec<String> {
    let mut wrong = vec![];
    let of_account = |of: &str, prefix: &str| -> Vec<&Value> {
        let of_it = items
            .iter()
            .filter(|((pk, sk), _)| pk == of && sk.starts_with(prefix));
        of_it.map(|(_, item)| item).collect()
    };
    let accounts = items.keys().filter(|(_, sk)| sk == "PROFILE");
    for (pk, _) in accounts {
        let entries = of_account(pk, "ENTRY#");
        let account = pk.strip_prefix("ACCOUNT#").unwrap_or_default();
        let bids = items
            .iter()
            .filter(|((_, sk), _)| sk.strip_prefix("PROPOSAL#") == Some(account));
        let bids = bids.map(|(_, proposal)| &proposal["bid"]["M"]);
        let bids = bids.filter(|bid| ["leading", "releasing"].contains(&state_of(bid)));
        let mut open: i64 = bids.map(|bid| number(bid, "amount")).sum();
        for hold in of_account(pk, "RECEIPT#ho_") {
            let about = entries.iter().filter(|entry| {
                let reference = hold["reference"]["S"].as_str();
                reference.is_some() && entry["reference"]["S"].as_str() == reference
            });
            let told = about.filter_map(|entry| entry["type"]["S"].as_str());
            let told: Vec<_> = told.filter(|kind| *kind != "debt_repaid").collect();
            let (amount, back) = (number(hold, "amount"), number(hold, "returned"));
            let expected: &[&str] = match hold["state"]["S"].as_str() {
                Some("open") => {
                    open += amount;
                    &["hold"]
                }
                Some("captured") if back == 0 => &["hold", "capture"],
                Some("captured") => &["hold", "capture", "release"],
                _ => &["hold", "release"],
            };
            if told != expected {
                wrong.push(format!("{told:?} by the journal: {hold}"));
            }
        }
        let held = entries.last().map_or(0, |entry| number(entry, "held"));
        if held != open {
            wrong.push(format!("{held} are held, {open} in open holds and bids"));
        }
    }
    wrong
}

fn state_of(bid: &Value) -> &str {
    bid["bid_state"]["S"].as_str().unwrap_or_default()
}

/// What came back of what was paid for a bid.
fn returned_of(bid: &Value) -> i64 {
    match state_of(bid) {
        "charged" => number(bid, "paid") + number(bid, "returned") - number(bid, "amount"),
        _ => 0,
    }
}

/// What is wrong with the auctions that are left, once all are settled that are over: whoever has a place
/// holds a bid for it, or paid its price, once; nobody else's bid is held or was paid.
fn wrong_with_auctions(items: &Items) -> Vec<String> {
    let mut wrong = vec![];
    let auctions = items.iter().filter(|((_, sk), _)| sk == "AUCTION");
    for ((pk, _), auction) in auctions {
        let places = auction["places"]["L"].as_array();
        let places: Vec<_> = places
            .into_iter()
            .flatten()
            .map(|place| &place["M"])
            .collect();
        if places.len() as i64 > number(auction, "slots") {
            wrong.push(format!("more places than there are: {auction}"));
        }
        let proposals = items.iter().filter(|((of, _), _)| of == pk);
        for ((_, sk), proposal) in proposals {
            let Some(account) = sk.strip_prefix("PROPOSAL#") else {
                continue;
            };
            let bid = &proposal["bid"]["M"];
            let place = places
                .iter()
                .find(|place| place["account_id"]["S"] == account);
            let price = place.filter(|place| place.get("price").is_some());
            let price = price.map(|place| number(place, "price"));
            let expected = match (place, price) {
                (None, _) => ["", "outbid"],
                (Some(_), None) => ["leading"; 2],
                (Some(_), Some(0)) => ["lost"; 2],
                (Some(_), Some(_)) => ["charged"; 2],
            };
            let pays = price.unwrap_or_default();
            let amounts = [number(bid, "paid"), number(bid, "amount")];
            let led = place.map_or(amounts[1], |place| number(place, "amount"));
            let is_so = expected.contains(&state_of(bid)) && amounts == [pays, led] && pays <= led;
            if !is_so {
                wrong.push(format!(
                    "not {expected:?} at {pays}: {proposal} in {auction}"
                ));
            }
            let reference = pk.replacen("JOB#", "job:", 1);
            let captured = items.iter().filter(|((pk, sk), entry)| {
                pk.strip_prefix("ACCOUNT#") == Some(account)
                    && sk.starts_with("ENTRY#")
                    && entry["reference"]["S"] == *reference
                    && entry["type"]["S"] == "capture"
            });
            if captured.count() != usize::from(pays > 0) {
                wrong.push(format!("not paid as often as it was sold: {proposal}"));
            }
        }
    }
    wrong
}

/// What is wrong with the jobs that are left, once all their closures are carried out.
fn wrong_with_jobs(items: &Items) -> Vec<String> {
    let of_job = |pk: &str, prefix: &str| -> Vec<(String, Value)> {
        let items = items
            .iter()
            .filter(|((of, sk), _)| of == pk && sk.starts_with(prefix));
        items
            .map(|((_, sk), item)| (sk[prefix.len()..].to_owned(), item.clone()))
            .collect()
    };
    let mut wrong = vec![];
    let jobs = items.iter().filter(|((_, sk), _)| sk == "JOB");
    for ((pk, _), job) in jobs {
        let closures = of_job(pk, "CLOSURE#");
        let proposals = of_job(pk, "PROPOSAL#");
        let state = match closures.is_empty() {
            true => "open",
            false => "closed",
        };
        if job["state"]["S"] != state {
            wrong.push(format!("the job is not {state}: {job}"));
        }
        for (_, closure) in &closures {
            let progress = &closure["progress"]["M"];
            let all = proposals.len() as i64;
            let counted = [number(progress, "done"), number(progress, "total")] == [all, all];
            if !counted || closure["stage"]["S"] != "checked" {
                wrong.push(format!("not carried out for all {all}: {closure}"));
            }
        }
        for (account, proposal) in &proposals {
            let settled = proposal["settled_for"]["L"].as_array();
            let settled: BTreeSet<_> = settled
                .into_iter()
                .flatten()
                .filter_map(|reason| reason["S"].as_str())
                .collect();
            if settled != closures.iter().map(|(reason, _)| reason.as_str()).collect() {
                wrong.push(format!("not settled for each closure: {proposal}"));
            }
            let (amount, returned) = (number(proposal, "amount"), number(proposal, "returned"));
            let reference = pk.replacen("JOB#", "job:", 1);
            let entries = items.iter().filter(|((pk, sk), item)| {
                pk.strip_prefix("ACCOUNT#") == Some(account)
                    && sk.starts_with("ENTRY#")
                    && item["reference"]["S"] == *reference
                    && matches!(item["type"]["S"].as_str(), Some("spend" | "return"))
            });
            let moved: i64 = entries.map(|(_, entry)| number(entry, "amount")).sum();
            let of_bid = returned_of(&proposal["bid"]["M"]);
            if returned > amount || moved != returned - amount + of_bid {
                wrong.push(format!("{moved} by the journal: {proposal}"));
            }
        }
    }
    wrong
}

fn is_notice_of_no_lot((pk, sk): &Key, items: &Items) -> bool {
    let told = sk.strip_prefix("SEEN#expiry#");
    let lot = told.and_then(|told| told.split('#').next());
    lot.is_some_and(|lot| {
        let of_lot = |sk: &str| sk.starts_with("LOT#") && sk.ends_with(&format!("#{lot}"));
        !items.keys().any(|(other, sk)| other == pk && of_lot(sk))
    })
}

fn without_hints((_, sk): &Key, item: &Value) -> Value {
    let mut item = item.clone();
    if let Some(attributes) = item.as_object_mut() {
        if sk.starts_with("LOT#") {
            attributes.remove("due_at");
        } else if sk.starts_with("SEEN#") {
            attributes.remove("amount");
        }
    }
    item
}

fn difference(wanted: &Items, found: &Items) -> String {
    let keys: BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
    let differing: Vec<String> = keys
        .into_iter()
        .filter(|key| wanted.get(*key) != found.get(*key))
        .map(|key| format!("{key:?}: {:?} for {:?}", found.get(key), wanted.get(key)))
        .collect();
    differing.join("; ")
}
