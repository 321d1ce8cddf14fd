//! The table as a function: what it holds and a call go in, an answer and what it holds then come
//! out. The emulator is asked once for each pair; whatever comes back to the same point again, as
//! almost everything does, is looked up. To answer from another state, the emulator is brought to
//! it item by item.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::wire::{Answer, Call, Emulated};

/// An item's `pk` and `sk`.
pub type Key = (String, String);

/// What the table holds.
pub type Items = BTreeMap<Key, Value>;

/// A number for each different value.
#[derive(Debug)]
struct Interned<T> {
    values: Vec<Arc<T>>,
    numbers: HashMap<Arc<T>, u32>,
}

impl<T: Eq + Hash> Interned<T> {
    fn new() -> Self {
        Self {
            values: vec![],
            numbers: HashMap::new(),
        }
    }

    fn number(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let value = Arc::new(value);
        let number = u32::try_from(self.values.len()).unwrap();
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    fn get(&self, number: u32) -> &Arc<T> {
        &self.values[number as usize]
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);
    };
}

number!(
    /// What the table holds at some point.
    StateId
);
number!(
    /// A call, as it is on the wire.
    CallId
);
number!(
    /// An answer.
    AnswerId
);

/// Changes a call on its way to the table: how a test takes one of the ledger's safeguards away.
pub type Tamper = fn(&mut Call);

/// Leaves a call as it is.
pub fn honest(_: &mut Call) {}

/// The table, and all that is known of it.
#[derive(Debug)]
pub struct World {
    table: Emulated,
    name: String,
    tamper: Tamper,
    /// What the emulator holds just now.
    holds: StateId,
    states: Interned<Items>,
    calls: Interned<Call>,
    answers: Interned<Answer>,
    known: HashMap<(StateId, CallId), (AnswerId, StateId)>,
    /// The shards that anything due was ever in.
    shards: BTreeSet<Shard>,
}

impl World {
    /// The emulator with that table, empty.
    pub fn new(table: Emulated, name: String) -> Self {
        let mut states = Interned::new();
        let empty = StateId(states.number(Items::new()));
        Self {
            table,
            name,
            tamper: honest,
            holds: empty,
            states,
            calls: Interned::new(),
            answers: Interned::new(),
            known: HashMap::new(),
            shards: BTreeSet::new(),
        }
    }

    /// From now on, calls are changed on their way.
    pub fn tamper(&mut self, tamper: Tamper) {
        if !std::ptr::fn_addr_eq(self.tamper, tamper) {
            self.tamper = tamper;
            self.known.clear();
        }
    }

    /// The table without anything in it.
    pub fn empty(&mut self) -> StateId {
        StateId(self.states.number(Items::new()))
    }

    /// What a state is.
    pub fn items(&self, state: StateId) -> Arc<Items> {
        self.states.get(state.0).clone()
    }

    /// The number of a call. A transaction's token is of no account: each is sent once.
    pub fn call_id(&mut self, mut call: Call) -> CallId {
        if let Some(request) = call.request.as_object_mut() {
            request.remove("ClientRequestToken");
        }
        CallId(self.calls.number(call))
    }

    /// A call by its number.
    pub fn call(&self, call: CallId) -> &Call {
        self.calls.get(call.0)
    }

    /// An answer by its number.
    pub fn answer(&self, answer: AnswerId) -> Answer {
        (**self.answers.get(answer.0)).clone()
    }

    /// The answer to a query for what is due in a shard where nothing of this world ever is: the
    /// shard of an account or a job is a hash of its id.
    pub fn nothing_due(&self, call: &Call) -> Option<Answer> {
        let request = &call.request;
        request.get("IndexName")?;
        let shard = request["ExpressionAttributeValues"][":shard"]["S"].as_str()?;
        (!self.shards.contains(&shard_of(shard))).then(|| Answer {
            status: 200,
            body: json!({"Count": 0, "Items": [], "ScannedCount": 0}),
        })
    }

    /// What the table answers and holds then.
    pub fn apply(&mut self, state: StateId, call: CallId) -> (AnswerId, StateId) {
        if let Some(known) = self.known.get(&(state, call)) {
            return *known;
        }
        self.bring_to(state);
        let mut sent = self.call(call).clone();
        (self.tamper)(&mut sent);
        let answer = self.table.answer(&sent);
        let after = match answer.status == 200 && writes(&sent) {
            true => self.after(state, &sent),
            false => state,
        };
        self.holds = after;
        let answer = AnswerId(self.answers.number(answer));
        self.known.insert((state, call), (answer, after));
        (answer, after)
    }

    fn after(&mut self, state: StateId, call: &Call) -> StateId {
        let mut items = (*self.items(state)).clone();
        for key in touched(call) {
            let read = Call {
                operation: "GetItem".to_owned(),
                request: json!({"TableName": self.name, "Key": wire_key(&key)}),
            };
            let mut answer = self.table.answer(&read);
            match answer.body["Item"].take() {
                Value::Null => items.remove(&key),
                item => items.insert(key, item),
            };
        }
        for item in items.values() {
            if let Some(shard) = item["due_shard"]["S"].as_str() {
                self.shards.insert(shard_of(shard));
            }
        }
        StateId(self.states.number(items))
    }

    fn bring_to(&mut self, state: StateId) {
        if self.holds == state {
            return;
        }
        let (now, then) = (self.items(self.holds), self.items(state));
        for key in now.keys().filter(|key| !then.contains_key(*key)) {
            self.ask("DeleteItem", "Key", wire_key(key));
        }
        for (key, item) in then.iter() {
            if now.get(key) != Some(item) {
                self.ask("PutItem", "Item", item.clone());
            }
        }
        self.holds = state;
    }

    fn ask(&self, operation: &str, member: &str, value: Value) {
        let call = Call {
            operation: operation.to_owned(),
            request: json!({"TableName": self.name, member: value}),
        };
        let answer = self.table.answer(&call);
        assert_eq!(answer.status, 200, "{call:?}: {answer:?}");
    }
}

fn wire_key((pk, sk): &Key) -> Value {
    json!({"pk": {"S": pk}, "sk": {"S": sk}})
}

/// Whether it is of jobs, and its number.
type Shard = (bool, String);

fn shard_of(shard: &str) -> Shard {
    let (kind, number) = shard.split_once('#').unwrap_or_default();
    (matches!(kind, "closure" | "auction"), number.to_owned())
}

/// Whether a call can change anything.
pub fn writes(call: &Call) -> bool {
    matches!(
        call.operation.as_str(),
        "TransactWriteItems" | "PutItem" | "UpdateItem" | "DeleteItem"
    )
}

/// The key of an item as it is on the wire.
pub fn key_of(item: &Value) -> Key {
    let part = |name: &str| item[name]["S"].as_str().unwrap().to_owned();
    (part("pk"), part("sk"))
}

/// The items that a call writes.
pub fn touched(call: &Call) -> Vec<Key> {
    let of = |request: &Value| match request.get("Item") {
        Some(item) => key_of(item),
        None => key_of(&request["Key"]),
    };
    match call.request["TransactItems"].as_array() {
        None => vec![of(&call.request)],
        Some(actions) => actions
            .iter()
            .flat_map(|action| action.as_object().unwrap().values())
            .map(of)
            .collect(),
    }
}
