//! What can go wrong between a function and its table, drawn from a seed: a layer for the embedded
//! emulator that holds calls back, refuses them, loses their answers, and shows reads that no single
//! moment had. All chance comes from the thread's own generator and all waiting from the runtime's
//! clock, so that under a seed and a paused clock the same things go wrong again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::wire::{Answer, Broken, Call, Emulated, Layer};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Another transaction holds one of the items.
    Conflict,
    /// A transaction is cancelled for want of capacity.
    Cancelled,
    /// The call is throttled.
    Throttled,
    /// DynamoDB fails inside, before or after it has done what it was asked.
    ServerError,
    /// The connection is reset before the call is sent.
    Reset,
    /// The call is done, its answer is lost.
    AnswerLost,
    /// No answer comes; the call is done later, when nobody waits for it any more.
    Late,
    /// The call takes long, perhaps longer than anybody waits.
    Slow,
    /// A read mixes items from before and after whatever happened meanwhile.
    Torn,
    /// A read of the index sees an older state.
    StaleIndex,
    /// The process dies at one of its waits.
    Death,
    /// The caller's clock is off.
    Skew,
    /// A schedule's event comes late or twice.
    Schedule,
    /// A record of the table's stream is lost, or comes late or twice.
    Record,
}

impl Fault {
    /// Each of them with its word, and how often it comes at most, in a thousand.
    pub const ALL: [(Self, &'static str, u16); 14] = [
        (Self::Conflict, "transaction conflict", 200),
        (Self::Cancelled, "transaction cancelled", 80),
        (Self::Throttled, "throttled", 80),
        (Self::ServerError, "server error", 80),
        (Self::Reset, "connection reset", 80),
        (Self::AnswerLost, "answer lost", 150),
        (Self::Late, "done after the timeout", 60),
        (Self::Slow, "slow", 60),
        (Self::Torn, "torn read", 400),
        (Self::StaleIndex, "stale index", 300),
        (Self::Death, "process died", 150),
        (Self::Skew, "clock skew", 600),
        (Self::Schedule, "event late or twice", 500),
        (Self::Record, "record lost, late or twice", 700),
    ];

    /// Whether it can befall such a call.
    fn befalls(self, call: &Call) -> bool {
        let operation = call.operation.as_str();
        let transaction = operation == "TransactWriteItems";
        let writes = call.writes();
        match self {
            Self::Throttled | Self::ServerError | Self::Reset | Self::Slow => true,
            Self::Cancelled => transaction,
            Self::Conflict | Self::AnswerLost | Self::Late => writes,
            Self::Torn => {
                let reads = matches!(operation, "Query" | "BatchGetItem") && !of_index(call);
                // A number without the items can't be put together from two moments.
                reads && call.request["Select"] != "COUNT"
            }
            Self::StaleIndex => of_index(call),
            Self::Death | Self::Skew | Self::Schedule | Self::Record => false,
        }
    }
}

fn of_index(call: &Call) -> bool {
    call.request.get("IndexName").is_some()
}

/// How likely each fault is, in a thousand.
pub type Odds = BTreeMap<Fault, u16>;

/// Some faults, each as likely as chance will have it; a history without some of them shows what
/// the others would hide.
pub fn weather() -> Odds {
    Fault::ALL
        .iter()
        .filter(|_| fastrand::bool())
        .map(|(fault, _, most)| (*fault, fastrand::u16(1..=*most)))
        .collect()
}

/// How long a call is under way, one way, in milliseconds.
const WAY: RangeInclusive<u64> = 0..=6;

/// How long between the two moments that a torn read shows.
const TORN: RangeInclusive<u64> = 1..=40;

/// How long a slow call takes: a client waits three seconds for it.
const SLOW: RangeInclusive<u64> = 50..=5_000;

/// How long until a client that gets no answer sees that it has none.
const SILENCE: RangeInclusive<u64> = 3_001..=8_000;

/// How much later than called a late call is done.
const LATE: RangeInclusive<u64> = 1..=20_000;

/// After so long nothing that was sent is still under way.
pub const ALL_DONE: Duration = Duration::from_secs(180);

/// An item as it was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// When, in the numbers of `tick`.
    pub tick: u64,
    /// Its partition.
    pub pk: String,
    /// All of it, as it is on the wire.
    pub item: Value,
}

/// The layer; nothing goes wrong until it starts.
#[derive(Debug, Default)]
pub struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    odds: Odds,
    injected: BTreeMap<Fault, u64>,
    ticks: u64,
    committed: BTreeMap<(String, u64), u64>,
    first: BTreeMap<(String, String), u64>,
    badges: Vec<Written>,
    top_ups: Vec<Written>,
    shards: HashSet<String>,
    remembered: HashMap<String, Vec<Value>>,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on things go wrong with those odds.
    pub fn start(&self, odds: Odds) {
        self.state().odds = odds;
    }

    /// From here on nothing goes wrong that is not under way already.
    pub fn stop(&self) {
        self.state().odds.clear();
    }

    /// Whether a fault strikes now; if so it is counted.
    pub fn strikes(&self, fault: Fault) -> bool {
        let mut state = self.state();
        let odds = state.odds.get(&fault).copied().unwrap_or(0);
        let strikes = odds > 0 && fastrand::u16(0..1_000) < odds;
        if strikes {
            *state.injected.entry(fault).or_default() += 1;
        }
        strikes
    }

    /// What went wrong so far, and how often.
    pub fn injected(&self) -> BTreeMap<Fault, u64> {
        self.state().injected.clone()
    }

    /// The next number in the order of everything that happens.
    pub fn tick(&self) -> u64 {
        let mut state = self.state();
        state.ticks += 1;
        state.ticks
    }

    /// When each journal entry was written, by partition and number, in the numbers of `tick`.
    pub fn committed(&self) -> BTreeMap<(String, u64), u64> {
        self.state().committed.clone()
    }

    /// When each item of a job was written first, by partition and sort key.
    pub fn first_written(&self) -> BTreeMap<(String, String), u64> {
        self.state().first.clone()
    }

    /// Every write of a badge or of a week's price, whatever became of its answer.
    pub fn badges_written(&self) -> Vec<Written> {
        self.state().badges.clone()
    }

    /// Every top-up that was put, whatever became of its answer.
    pub fn top_ups_written(&self) -> Vec<Written> {
        self.state().top_ups.clone()
    }

    /// Has the emulator do it, and notes what was written and when.
    fn done(&self, call: &Call, table: &Emulated) -> Answer {
        if of_index(call) {
            return self.listed(call, table);
        }
        let answer = table.answer(call);
        if answer.status == 200 {
            self.note(call);
        }
        answer
    }

    fn note(&self, call: &Call) {
        let tick = self.tick();
        let mut state = self.state();
        for item in written(&call.request) {
            if let Some(shard) = text(&item["due_shard"]) {
                state.shards.insert(shard.to_owned());
            }
            if let (Some(pk), Some(sk)) = (text(&item["pk"]), text(&item["sk"]))
                && pk.starts_with("JOB#")
                && matches!(call.operation.as_str(), "TransactWriteItems" | "PutItem")
            {
                let key = (pk.to_owned(), sk.to_owned());
                state.first.entry(key).or_insert(tick);
            }
            if let (Some(pk), Some(sk)) = (text(&item["pk"]), text(&item["sk"]))
                && (sk == "SETTING#BADGE" || pk == "BADGE")
                && matches!(call.operation.as_str(), "TransactWriteItems" | "PutItem")
            {
                let pk = pk.to_owned();
                state.badges.push(Written {
                    tick,
                    pk,
                    item: item.clone(),
                });
            }
            if let (Some(pk), Some("SETTING#TOP_UP")) = (text(&item["pk"]), text(&item["sk"]))
                && item.get("revision").is_some()
            {
                let pk = pk.to_owned();
                state.top_ups.push(Written {
                    tick,
                    pk,
                    item: item.clone(),
                });
            }
            let number = text(&item["sk"]).and_then(|sk| sk.strip_prefix("ENTRY#")?.parse().ok());
            if let (Some(pk), Some(number)) = (text(&item["pk"]), number) {
                state.committed.insert((pk.to_owned(), number), tick);
            }
        }
    }

    /// What the index lists. A shard that nothing was ever written into is not asked for.
    fn listed(&self, call: &Call, table: &Emulated) -> Answer {
        let shard = shard(call);
        if !self.state().shards.contains(&shard) {
            return listing(&[]);
        }
        let answer = table.answer(call);
        let whole = call.request.get("ExclusiveStartKey").is_none()
            && answer.body.get("LastEvaluatedKey").is_none();
        // A number tells nothing of what is listed.
        if whole && answer.body.get("Items").is_some() && fastrand::bool() {
            let items = answer.body["Items"].as_array().cloned();
            let remembered = &mut self.state().remembered;
            remembered.insert(shard, items.unwrap_or_default());
        }
        answer
    }

    /// What the index listed at some time before.
    fn listed_before(&self, call: &Call) -> Answer {
        let until = text(&call.request["ExpressionAttributeValues"][":until"]);
        let items: Vec<Value> = self
            .state()
            .remembered
            .get(&shard(call))
            .into_iter()
            .flatten()
            .filter(|item| until.is_none() || text(&item["due_at"]) <= until)
            .cloned()
            .collect();
        listing(&items)
    }

    async fn undergo(
        self: Arc<Self>,
        fault: Option<Fault>,
        call: Call,
        table: Emulated,
    ) -> Result<Answer, Broken> {
        pause(WAY).await;
        let answer = match fault {
            Some(Fault::Reset) => return Err(Broken::Reset),
            Some(Fault::Throttled) => Answer::failure(400, throttled()),
            Some(Fault::Cancelled) => cancelled(&call, "ThrottlingError"),
            Some(Fault::Conflict) if call.operation == "TransactWriteItems" => {
                cancelled(&call, "TransactionConflict")
            }
            Some(Fault::Conflict) => Answer::failure(400, "TransactionConflictException"),
            Some(Fault::ServerError) => {
                if fastrand::bool() {
                    self.done(&call, &table);
                }
                Answer::failure(500, "InternalServerError")
            }
            Some(Fault::AnswerLost) => {
                self.done(&call, &table);
                return Err(Broken::Reset);
            }
            Some(Fault::Late) => {
                tokio::spawn(async move {
                    pause(LATE).await;
                    self.done(&call, &table);
                });
                pause(SILENCE).await;
                return Err(Broken::Silent);
            }
            Some(Fault::Slow) => {
                pause(SLOW).await;
                self.done(&call, &table)
            }
            Some(Fault::Torn) => {
                let before = self.done(&call, &table);
                pause(TORN).await;
                let after = self.done(&call, &table);
                match call.operation.as_str() {
                    "Query" => torn_page(&call.request, &before, &after),
                    _ => torn_batch(&before, &after),
                }
            }
            Some(Fault::StaleIndex) => self.listed_before(&call),
            Some(Fault::Death | Fault::Skew | Fault::Schedule | Fault::Record) | None => {
                self.done(&call, &table)
            }
        };
        pause(WAY).await;
        Ok(answer)
    }
}

impl Layer for Faults {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let fault = Fault::ALL
            .iter()
            .map(|(fault, ..)| *fault)
            .find(|fault| fault.befalls(&call) && self.strikes(*fault));
        Box::pin(self.undergo(fault, call, table))
    }
}

async fn pause(milliseconds: RangeInclusive<u64>) {
    let long = fastrand::u64(milliseconds);
    if long > 0 {
        sleep(Duration::from_millis(long)).await;
    }
}

fn throttled() -> &'static str {
    match fastrand::bool() {
        true => "ThrottlingException",
        false => "ProvisionedThroughputExceededException",
    }
}

/// A transaction cancelled because of one of its items, as DynamoDB words it.
pub fn cancelled(call: &Call, reason: &str) -> Answer {
    let actions = call.request["TransactItems"].as_array().map_or(0, Vec::len);
    let unlucky = fastrand::usize(0..actions.max(1));
    let codes: Vec<&str> = (0..actions)
        .map(|place| if place == unlucky { reason } else { "None" })
        .collect();
    let mut answer = Answer::failure(400, "TransactionCanceledException");
    answer.body["Message"] = json!(format!(
        "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
        codes.join(", ")
    ));
    answer.body["message"] = answer.body["Message"].clone();
    let reasons = codes.iter().map(|code| json!({"Code": code}));
    answer.body["CancellationReasons"] = reasons.collect();
    answer
}

/// The items, whole or as far as named, that a request writes.
fn written(request: &Value) -> Vec<Value> {
    let item = |write: &Value| match write.get("Item") {
        Some(item) => item.clone(),
        None => {
            let mut item = write["Key"].clone();
            item["due_shard"] = write["ExpressionAttributeValues"][":due_shard"].clone();
            item
        }
    };
    match request["TransactItems"].as_array() {
        None => vec![item(request)],
        Some(actions) => actions
            .iter()
            .filter_map(Value::as_object)
            .flat_map(|action| action.values())
            .map(item)
            .collect(),
    }
}

fn text(attribute: &Value) -> Option<&str> {
    attribute["S"].as_str()
}

fn shard(call: &Call) -> String {
    let values = &call.request["ExpressionAttributeValues"];
    text(&values[":shard"]).unwrap_or_default().to_owned()
}

fn listing(items: &[Value]) -> Answer {
    let body = json!({"Items": items, "Count": items.len(), "ScannedCount": items.len()});
    Answer { status: 200, body }
}

/// Each item as it was before or as it was after, by chance; there or not there likewise. Or, where
/// an entry was added meanwhile, all as after, but for the newest entry and what is its own: of all
/// mixtures, the one that shows least. What one of the pages does not reach is left for the next.
fn torn_page(request: &Value, before: &Answer, after: &Answer) -> Answer {
    if before.status != 200 || after.status != 200 {
        return after.clone();
    }
    let key = |item: &Value| text(&item["sk"]).unwrap_or_default().to_owned();
    let backwards = request["ScanIndexForward"] == json!(false);
    let pages = [&before.body, &after.body];
    let ends = pages.iter().filter_map(|page| page.get("LastEvaluatedKey"));
    let end = match backwards {
        true => ends.max_by_key(|end| key(end)),
        false => ends.min_by_key(|end| key(end)),
    };
    let reached = |item: &Value| match end {
        None => true,
        Some(end) if backwards => key(item) >= key(end),
        Some(end) => key(item) <= key(end),
    };
    let mut versions: BTreeMap<String, [Option<Value>; 2]> = BTreeMap::new();
    for (place, page) in pages.iter().enumerate() {
        for item in page["Items"].as_array().into_iter().flatten() {
            versions.entry(key(item)).or_default()[place] = Some(item.clone());
        }
    }
    let newest = newest_entry(after).filter(|newest| Some(newest) != newest_entry(before).as_ref());
    let hidden = newest.filter(|_| fastrand::bool());
    let is_older = |key: &str| match &hidden {
        Some(seq) => key == "PROFILE" || seq_of(key).as_ref() == Some(seq),
        None => fastrand::bool(),
    };
    let mut items: Vec<Value> = versions
        .into_iter()
        .filter_map(|(key, [before, after])| if is_older(&key) { before } else { after })
        .filter(reached)
        .collect();
    if backwards {
        items.reverse();
    }
    let limit = request["Limit"].as_u64().map_or(usize::MAX, |n| n as usize);
    let cut = items.len() > limit;
    items.truncate(limit);
    let mut answer = listing(&items);
    // The next page goes on from an item of this one, as DynamoDB's does.
    match items.last() {
        Some(last) if cut || end.is_some() => {
            answer.body["LastEvaluatedKey"] = json!({"pk": last["pk"], "sk": last["sk"]});
        }
        None if end.is_some() => return after.clone(),
        _ => {}
    }
    answer
}

/// The number of a page's newest entry.
fn newest_entry(page: &Answer) -> Option<u64> {
    let items = page.body["Items"].as_array()?;
    let keys = items.iter().filter_map(|item| text(&item["sk"]));
    keys.filter(|key| key.starts_with("ENTRY#"))
        .filter_map(seq_of)
        .max()
}

/// The entry that an item is, or that made it: `ENTRY#000000000012`, `LOT#<birth>#12-0`.
fn seq_of(key: &str) -> Option<u64> {
    let (_, last) = key.rsplit_once('#')?;
    let (seq, _) = last.split_once('-').unwrap_or((last, ""));
    seq.parse().ok()
}

/// The same for items that were asked for by key.
fn torn_batch(before: &Answer, after: &Answer) -> Answer {
    let mut answer = after.clone();
    let tables = answer.body["Responses"].as_object_mut();
    for (name, items) in tables.into_iter().flatten() {
        let older = before.body["Responses"][name].as_array();
        let newer = items.as_array_mut();
        for item in newer.into_iter().flatten().filter(|_| fastrand::bool()) {
            let same = |other: &&Value| other["pk"] == item["pk"] && other["sk"] == item["sk"];
            if let Some(was) = older.into_iter().flatten().find(same) {
                *item = was.clone();
            }
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(items: &[(&str, u64)], next: Option<&str>) -> Answer {
        let items: Vec<Value> = items
            .iter()
            .map(|(sk, n)| json!({"pk": {"S": "a"}, "sk": {"S": sk}, "n": {"N": n.to_string()}}))
            .collect();
        let mut answer = listing(&items);
        if let Some(sk) = next {
            answer.body["LastEvaluatedKey"] = json!({"pk": {"S": "a"}, "sk": {"S": sk}});
        }
        answer
    }

    fn keys(answer: &Answer) -> Vec<String> {
        let items = answer.body["Items"].as_array().unwrap();
        let key = |item: &Value| text(&item["sk"]).unwrap().to_owned();
        items.iter().map(key).collect()
    }

    #[test]
    fn a_torn_page_is_in_order_within_its_limit_and_says_where_to_go_on() {
        fastrand::seed(7);
        let request = json!({"ScanIndexForward": false, "Limit": 3});
        let before = page(&[("p", 1), ("l3", 1), ("l2", 1)], Some("l2"));
        let after = page(&[("p", 2), ("l4", 2), ("l3", 2)], Some("l3"));
        let mut seen = HashSet::new();
        for _ in 0..200 {
            let torn = torn_page(&request, &before, &after);
            let keys = keys(&torn);
            assert!(keys.is_sorted_by(|a, b| a > b), "{keys:?}");
            assert!(keys.len() <= 3 && !keys.contains(&"l2".to_owned()));
            let next = text(&torn.body["LastEvaluatedKey"]["sk"]).unwrap();
            assert_eq!(next, "l3", "both pages reach that far");
            seen.insert(torn.body.to_string());
        }
        // p and l3 as before or after, l4 there or not.
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn a_torn_page_may_lack_no_more_than_the_newest_entry() {
        fastrand::seed(7);
        let request = json!({"ScanIndexForward": false});
        let before = page(&[("PROFILE", 1), ("ENTRY#000000000001", 1)], None);
        let after = [
            ("PROFILE", 2),
            ("LOT#b#3-0", 2),
            ("LOT#a#2-0", 2),
            ("ENTRY#000000000003", 2),
            ("ENTRY#000000000002", 2),
        ];
        let wanted = page(
            &[("PROFILE", 1), ("LOT#a#2-0", 2), ("ENTRY#000000000002", 2)],
            None,
        );
        let after = page(&after, None);
        assert!((0..20).any(|_| torn_page(&request, &before, &after).body == wanted.body));
    }
}
