//! The functions' side of the gateway, and a table with a little of everything in it.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Once};

use connects::config::{JwksSource, TokenConfig};
use connects::domain::event::Event as DomainEvent;
use connects::domain::policy::{BUILT_IN, Policy};
use connects::domain::quota::{LimitPolicy, Rate};
use connects::domain::time::{self, Time};
use connects::http::{App, Auth, Event, Run, Till, Work, invoked};
use connects::store::Store;
use connects_local::emulator;
use connects_local::keys::{AUDIENCE, Claims, ISSUER, Keys};
use connects_local::project::Project;
use connects_local::template::{Table, Template};
use data_encoding::BASE64URL_NOPAD;
use futures::future::{BoxFuture, ready};
use jsonwebtoken::{Algorithm, EncodingKey};
use lambda_runtime::LambdaEvent;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::gateway::{self, purchase, route};
use crate::table::unique;
use crate::wire::{Answer, Broken, Call, Emulated, Layer};

/// The most calls to the table that one invocation may cause. A kind of due work is 64 shards, and here
/// there are six kinds in one run.
const MAX_CALLS: u64 = 464;

/// The longest input of any kind.
const MAX_INPUT: usize = 1 << 20;

/// When everything in the table happened.
pub(super) const WORLD: &str = "2026-01-10T12:00:00Z";

/// What stands for a token in an input, and the scope of the token that takes its place.
const TOKENS: [(&str, &str); 3] = [
    ("$USER", "connects"),
    ("$SERVICE", "connects:service"),
    ("$ADMIN", "connects:admin"),
];

/// How long those are good, in seconds: longer than any run.
const TTL: u32 = 90 * 86_400;

/// The listings whose cursors are made up.
const LISTINGS: [&str; 3] = [
    "/v1/accounts/a1/lots?",
    "/v1/accounts/a1/history?from=2000-01-01",
    "/v1/accounts/a1/history?days=90&reference=job:J1",
];

/// The functions, their table and their issuer.
pub(super) struct World {
    pub(super) runtime: Runtime,
    pub(super) listings: Vec<(&'static str, Vec<u8>)>,
    pub(super) second: u64,
    app: Till,
    key: EncodingKey,
    names: Vec<(&'static str, String)>,
    table: Emulated,
    layer: Arc<Counting>,
}

thread_local! {
    static KEPT: RefCell<Option<World>> = const { RefCell::new(None) };
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Runs an input against a world in its first state: one that was written to is not used again.
pub(super) fn with_world(data: &[u8], run: impl FnOnce(&World)) {
    if data.len() > MAX_INPUT {
        return;
    }
    count_panics();
    let world = KEPT.take().unwrap_or_else(World::new);
    fastrand::seed(0);
    let panics = PANICS.get();
    run(&world);
    assert_eq!(PANICS.get(), panics, "a handler panicked");
    if !world.layer.wrote.load(Relaxed) {
        KEPT.set(Some(world));
    }
}

/// A function answers 500 to a panic of its own; here that must not pass for an answer.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
}

impl World {
    fn new() -> Self {
        static TABLE: LazyLock<Table> = LazyLock::new(|| {
            Template::read(&Project::find().unwrap().template())
                .unwrap()
                .table
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (table, layer) = (Emulated::new(), Arc::new(Counting::default()));
        let client = table.client(Arc::clone(&layer));
        runtime
            .block_on(emulator::ensure(&client, NAME, &TABLE))
            .unwrap();
        let core = gateway::core(client, NAME, tireless());
        let folder = scratch("keys");
        let keys = Keys::ensure(&folder).unwrap();
        let now = core.clock.real();
        let auth = Auth::connect(issued_by(&keys.jwks), now);
        let auth = runtime.block_on(auth).unwrap();
        let pem = std::fs::read(&keys.signing_key).unwrap();
        let names = TOKENS.map(|(name, scope)| {
            let claims = Claims {
                subject: "fuzz",
                scope,
                accounts: &["a1".to_owned()],
                ttl: TTL,
            };
            (name, keys.token(&claims).unwrap())
        });
        std::fs::remove_dir_all(folder).unwrap();
        let mut world = Self {
            runtime,
            listings: vec![],
            second: u64::try_from(now.timestamp()).unwrap(),
            app: gateway::till(App::new(core, auth)),
            key: EncodingKey::from_ec_pem(&pem).unwrap(),
            names: names.into(),
            table,
            layer,
        };
        world.populate();
        world
    }

    /// An account that has bought, spent, been refunded and holds some; a promo code.
    fn populate(&mut self) {
        let done = |what: &str, scope: &str, body: Value| {
            let answer = self.ask_for(&format!(
                "{what}\nauthorization: Bearer {scope}\nidempotency-key: s1\n\
                 connects-now: {WORLD}\n\n{body}"
            ));
            assert!((200..300).contains(&status(&answer)), "{what}: {answer}");
            serde_json::from_str::<Value>(answer["body"].as_str().unwrap()).unwrap()
        };
        done(
            "PUT /v1/accounts/a1",
            "$SERVICE",
            json!({ "kind": "freelancer", "person_id": "p1" }),
        );
        let bought = done(
            "POST /v1/accounts/a1/purchases",
            "$USER",
            json!({ "quantity": 100 }),
        );
        let spent = done(
            "POST /v1/accounts/a1/spends",
            "$SERVICE",
            json!({ "amount": 45, "reason": "test", "reference": "job:J1" }),
        );
        done(
            "POST /v1/accounts/a1/refunds",
            "$SERVICE",
            json!({ "spend_id": spent["spend_id"], "amount": 2, "reason": "goodwill" }),
        );
        let held = done(
            "POST /v1/accounts/a1/holds",
            "$SERVICE",
            json!({ "amount": 4, "reason": "test", "expires_at": "2101-01-01T00:00:00Z" }),
        );
        done(
            "PUT /v1/promos/SPRING",
            "$ADMIN",
            json!({
                "kind": "grant", "quantity": 5, "max_redemptions": 9,
                "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2100-01-01T00:00:00Z",
            }),
        );
        let fingerprint = |path: &'static str| {
            let page = done(&format!("GET {path}&limit=1"), "$ADMIN", Value::Null);
            let cursor = page["next_cursor"].as_str().unwrap().as_bytes();
            let bytes = BASE64URL_NOPAD.decode(cursor).unwrap();
            (path, bytes[..FINGERPRINT].to_vec())
        };
        let listings = LISTINGS.map(fingerprint);
        let id = |answer: &Value, member: &str| answer[member].as_str().unwrap().to_owned();
        self.names.extend([
            ("$PURCHASE", id(&bought, "purchase_id")),
            ("$SPEND", id(&spent, "spend_id")),
            ("$HOLD", id(&held, "hold_id")),
        ]);
        self.listings = listings.into();
        self.layer.wrote.store(false, Relaxed);
    }

    /// The input with tokens and ids where they are named.
    pub(super) fn filled_in(&self, data: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(data) else {
            return data.to_vec();
        };
        let filled = self
            .names
            .iter()
            .fold(text.to_owned(), |text, (name, value)| {
                text.replace(name, value)
            });
        filled.into_bytes()
    }

    /// A token with that header and those claims, whatever they are, signed as the issuer signs.
    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::ES256);
        format!("{message}.{}", signature.unwrap())
    }

    /// Invokes a function and checks its answer: in the gateway's form, in the contract's form, and
    /// no fault of ours.
    pub(super) fn invoke(&self, event: Event) -> Value {
        let is_from_before = is_from_before(&event);
        let answer = self.ask(event);
        assert!(is_from_before || status(&answer) < 500, "a fault: {answer}");
        answer
    }

    /// The same for a request in text.
    pub(super) fn ask_for(&self, request: &str) -> Value {
        let event = gateway_event(&self.filled_in(request.as_bytes()));
        event.map_or(Value::Null, |event| self.ask(event))
    }

    /// The same, where a fault is an answer.
    pub(super) fn ask(&self, event: Event) -> Value {
        self.layer.calls.store(0, Relaxed);
        let routes = async |request: &_| route(&self.app, request).await;
        let job = async |run| Ok::<_, Infallible>(self.sweep(run).await);
        let event = LambdaEvent::new(event, lambda_runtime::Context::default());
        let reply = invoked(self.app.clock, &routes, &job, event);
        let reply = self.runtime.block_on(reply);
        let calls = self.layer.calls.load(Relaxed);
        assert!(calls <= MAX_CALLS, "{calls} calls to the table");
        let Ok(reply) = reply else {
            return Value::Null;
        };
        let answer = serde_json::to_value(reply).unwrap();
        assert!(
            answer.get("statusCode").is_none() || is_well_formed(&answer),
            "{answer}"
        );
        answer
    }

    /// Everything that schedules and the stream do.
    async fn sweep(&self, run: Run) -> Value {
        let (ledger, context) = (&self.app.ledger, &run.context);
        let until = match run.work.clone() {
            Work::Due(until) => until,
            Work::Changed(changes) => {
                let closures = changes.iter().filter_map(|change| change.keys.closure());
                let report = ledger.carry_out(context, closures.collect()).await;
                let events = changes.into_iter().filter_map(|change| change.new_image);
                let events = events.map(|image| image.event().map_err(|error| error.to_string()));
                return json!([
                    json!(report.map_err(|error| error.to_string())),
                    json!(events.collect::<Vec<_>>()),
                ]);
            }
            Work::Told(messages) => {
                let events = messages.iter().filter_map(|message| message.told.clone());
                let events = events.map(|told| {
                    let event = DomainEvent::read(&told.detail_type, told.detail);
                    event.map_err(|error| error.to_string())
                });
                let events: Vec<_> = events.collect();
                let work = Work::Told(messages);
                let topped_up = purchase::work(&self.app, Run { work, ..run }).await;
                return json!([json!(events), json!(topped_up)]);
            }
        };
        let reports = [
            ledger.sweep_grants(context, until).await,
            ledger.sweep_expiry(context, until).await,
            ledger
                .sweep_payments(context, &self.app.payments, until)
                .await,
            ledger.sweep_closures(context, until).await,
        ];
        json!(reports.map(|report| report.map_err(|fault| fault.to_string())))
    }

    /// The wall clock.
    pub(super) fn now(&self) -> Time {
        self.app.clock.real()
    }

    /// The table.
    pub(super) fn store(&self) -> &Store {
        self.app.ledger.store()
    }

    /// Puts items in place and lets nothing more be written; gives what was there before.
    pub(super) fn place<'i>(&self, items: impl Iterator<Item = &'i Value>) -> Vec<(Value, Value)> {
        self.layer.closed.store(true, Relaxed);
        items
            .filter_map(|item| {
                let key = json!({ "pk": item.get("pk")?, "sk": item.get("sk")? });
                let there = self.answer("GetItem", "Key", &key)?;
                self.answer("PutItem", "Item", item)?;
                Some((key, there["Item"].clone()))
            })
            .collect()
    }

    /// Undoes that, the last first.
    pub(super) fn put_back(&self, placed: Vec<(Value, Value)>) {
        for (key, before) in placed.iter().rev() {
            let undone = match before {
                Value::Null => self.answer("DeleteItem", "Key", key),
                before => self.answer("PutItem", "Item", before),
            };
            undone.unwrap();
        }
        self.layer.closed.store(false, Relaxed);
    }

    /// Everything in the table, in order of key.
    pub(super) fn items(&self) -> Vec<Value> {
        let scanned = self.answer("Scan", "ConsistentRead", &true.into()).unwrap();
        let mut items = scanned["Items"].as_array().unwrap().clone();
        items.sort_by_key(|item| item["pk"].to_string() + &item["sk"].to_string());
        items
    }

    /// Past the functions, straight into the table.
    fn answer(&self, operation: &str, member: &str, value: &Value) -> Option<Value> {
        let answer = self.table.answer(&Call {
            operation: operation.to_owned(),
            request: json!({ "TableName": NAME, member: value }),
        });
        (answer.status == 200).then_some(answer.body)
    }
}

/// The built-in policy, but for how often one may ask: an input's answer is not to hang on how many
/// came before it.
fn tireless() -> Policy {
    let mut policy = Policy::parse(BUILT_IN).unwrap();
    let at_once = Rate {
        burst: 10_000,
        every_ms: 1,
    };
    policy.limits = LimitPolicy {
        history: at_once,
        guesses: at_once,
    };
    policy
}

/// The table's name.
const NAME: &str = "world";

/// The bytes of a cursor that say which listing it is of.
const FINGERPRINT: usize = 6;

/// Counts the calls, remembers writes, and can refuse them.
#[derive(Debug, Default)]
struct Counting {
    calls: AtomicU64,
    wrote: AtomicBool,
    closed: AtomicBool,
}

impl Layer for Counting {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        self.calls.fetch_add(1, Relaxed);
        let reads = ["Query", "GetItem", "BatchGetItem", "DescribeTable"];
        // A quota is no part of what is asked about.
        let quota = call.request["Key"]["pk"]["S"].as_str();
        let counts = quota.is_some_and(|pk| pk.starts_with("QUOTA#"));
        let answer = if counts || reads.contains(&call.operation.as_str()) {
            table.answer(&call)
        } else if self.closed.load(Relaxed) {
            Answer::failure(400, "ValidationException")
        } else {
            self.wrote.store(true, Relaxed);
            table.answer(&call)
        };
        Box::pin(ready(Ok(answer)))
    }
}

/// The event that the gateway makes of a request in text; none of one that it would not let in.
pub(super) fn gateway_event(request: &[u8]) -> Option<Event> {
    let text = String::from_utf8_lossy(request);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Map<String, Value> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.into()))
        .collect();
    gateway::event(method, path, query, headers, body.as_bytes())
}

/// The status of an answer; 0 where there is none.
pub(super) fn status(answer: &Value) -> u64 {
    answer["statusCode"].as_u64().unwrap_or_default()
}

/// A document of the contract: a problem says its own status and code, all else is no failure.
fn is_well_formed(answer: &Value) -> bool {
    let kind = answer["headers"]["content-type"]
        .as_str()
        .unwrap_or_default();
    let body = answer["body"].as_str().unwrap_or_default();
    let document = serde_json::from_str::<Value>(body).unwrap_or_default();
    match status(answer) {
        200..=299 if kind == "text/csv; charset=utf-8" => body.starts_with("seq,at,"),
        200..=299 => kind == "application/json" && document.is_object(),
        status @ 400..=599 => {
            let code = document["code"].as_str().unwrap_or_default();
            kind == "application/problem+json"
                && document["status"] == status
                && document["type"] == format!("/problems/{code}")
        }
        _ => false,
    }
}

/// Test time from before the account's last change is a fault: real clocks are not so far apart.
fn is_from_before(event: &Event) -> bool {
    let Event::Http(event) = event else {
        return false;
    };
    let told = event.headers.get("connects-now");
    let told = told.and_then(|value| time::parse(value.to_str().ok()?));
    told.is_some_and(|told| told < time::parse(WORLD).unwrap())
}

/// Tokens of the local issuer, under the keys of that file.
pub(crate) fn issued_by(jwks: &Path) -> TokenConfig {
    TokenConfig {
        jwks: JwksSource::File(jwks.to_owned()),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
    }
}

/// A path that nothing is at.
pub(super) fn scratch(name: &str) -> PathBuf {
    let process = std::process::id();
    std::env::temp_dir().join(format!("connects-{name}-{process}-{}", unique()))
}
