//! The embedded emulator without a network: calls go straight into it, through a layer that may
//! hold them back, tamper with them or lose them. Nothing here runs on another thread or waits for
//! a socket, so a run under a paused clock and a seed is the same run every time.

use std::fmt::Debug;
use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use connects_local::emulator::{self, REGION};
use dynoxide::{Database, DynoxideError};
use futures::channel::oneshot::{self, Receiver, Sender};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One call to DynamoDB, as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    /// `Query`, `TransactWriteItems` and so on.
    pub operation: String,
    /// Its request.
    pub request: Value,
}

impl Call {
    /// Whether it may change the table.
    pub fn writes(&self) -> bool {
        matches!(
            self.operation.as_str(),
            "TransactWriteItems" | "PutItem" | "UpdateItem" | "DeleteItem"
        )
    }
}

/// What DynamoDB answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    /// 200, or what tells of a failure.
    pub status: u16,
    /// The answer, or the failure.
    pub body: Value,
}

impl Answer {
    /// A failure of that `__type`, as DynamoDB words it.
    pub fn failure(status: u16, kind: &str) -> Self {
        let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
        let body = serde_json::json!({"__type": kind, "message": "injected"});
        Self { status, body }
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The connection was reset.
    Reset,
    /// Nothing came back in time.
    Silent,
}

/// What stands between a client and the emulator.
pub trait Layer: Debug + Send + Sync + 'static {
    /// Passes a call on, or not.
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>>;
}

/// Passes every call on.
#[derive(Debug)]
pub struct Clear;

impl Layer for Clear {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        Box::pin(ready(Ok(table.answer(&call))))
    }
}

/// Which calls a layer is about.
pub type Which = fn(&Call) -> bool;

/// Answers some calls with the same failure, and counts them; they are not done.
#[derive(Debug)]
pub struct Failing {
    which: Which,
    failure: Answer,
    calls: AtomicU64,
}

impl Failing {
    /// Those calls, with a failure of that `__type`.
    pub fn new(which: Which, kind: &str) -> Arc<Self> {
        Arc::new(Self {
            which,
            failure: Answer::failure(400, kind),
            calls: AtomicU64::new(0),
        })
    }

    /// How often it did, since it was last asked.
    pub fn calls(&self) -> u64 {
        self.calls.swap(0, Relaxed)
    }
}

impl Layer for Failing {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let answer = if (self.which)(&call) {
            self.calls.fetch_add(1, Relaxed);
            self.failure.clone()
        } else {
            table.answer(&call)
        };
        Box::pin(ready(Ok(answer)))
    }
}

/// The first write is done, but nobody is told: its answer is lost, and so is the line to the table.
#[derive(Debug, Default)]
pub struct Losing {
    lost: AtomicU64,
}

impl Layer for Losing {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        if self.lost.load(Relaxed) == 0 {
            let answer = table.answer(&call);
            if !call.writes() {
                return Box::pin(ready(Ok(answer)));
            }
            self.lost.fetch_add(1, Relaxed);
        }
        Box::pin(ready(Err(Broken::Reset)))
    }
}

/// On which of its two ways a call is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Before the table has done it.
    There,
    /// When it is done, and before its answer is told.
    Back,
}

type Gate = (Sender<()>, Receiver<()>);

/// Holds the first such call back: says that it has come, and waits until it may go on.
#[derive(Debug)]
pub struct HeldOnce {
    which: Which,
    way: Way,
    gate: Mutex<Option<Gate>>,
}

impl HeldOnce {
    /// The layer; what tells that the call has come; what lets it go on.
    pub fn new(which: Which, way: Way) -> (Arc<Self>, Receiver<()>, Sender<()>) {
        let (come, has_come) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel();
        let gate = Mutex::new(Some((come, may_go_on)));
        (Arc::new(Self { which, way, gate }), has_come, go_on)
    }
}

impl Layer for HeldOnce {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let gate = match (self.which)(&call) {
            true => self.gate.lock().unwrap().take(),
            false => None,
        };
        Box::pin(async move {
            let Some((come, go_on)) = gate else {
                return Ok(table.answer(&call));
            };
            let done = (self.way == Way::Back).then(|| table.answer(&call));
            come.send(()).unwrap();
            go_on.await.unwrap();
            Ok(done.unwrap_or_else(|| table.answer(&call)))
        })
    }
}

/// Passes every call on, and keeps what it was.
#[derive(Debug, Default)]
pub struct Listening(Mutex<Vec<Call>>);

impl Listening {
    /// The calls, since it was last asked.
    pub fn heard(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Layer for Listening {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let answer = table.answer(&call);
        self.0.lock().unwrap().push(call);
        Box::pin(ready(Ok(answer)))
    }
}

/// One layer after another, in the same place.
#[derive(Debug)]
pub struct Switch(Mutex<Arc<dyn Layer>>);

impl Switch {
    /// From now on it is this one.
    pub fn to(&self, layer: Arc<dyn Layer>) {
        *self.0.lock().unwrap() = layer;
    }
}

impl Default for Switch {
    fn default() -> Self {
        Self(Mutex::new(Arc::new(Clear)))
    }
}

impl Layer for Switch {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let layer = Arc::clone(&self.0.lock().unwrap());
        layer.pass(call, table)
    }
}

/// The emulator, inside this process.
#[derive(Clone)]
pub struct Emulated(Database);

impl Debug for Emulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Emulated")
    }
}

impl Emulated {
    /// An empty one, in memory.
    pub fn new() -> Self {
        Self(emulator::database(None).unwrap())
    }

    /// Does what is asked, at once.
    pub fn answer(&self, call: &Call) -> Answer {
        let db = &self.0;
        let request = &call.request;
        let done = match call.operation.as_str() {
            "Query" => done(request, |r| db.query(r)),
            "GetItem" => done(request, |r| db.get_item(r)),
            "BatchGetItem" => done(request, |r| db.batch_get_item(r)),
            "TransactWriteItems" => done(request, |r| db.transact_write_items(r)),
            "PutItem" => done(request, |r| db.put_item(r)),
            "UpdateItem" => done(request, |r| db.update_item(r)),
            "DeleteItem" => done(request, |r| db.delete_item(r)),
            "Scan" => done(request, |r| db.scan(r)),
            "CreateTable" => done(request, |r| db.create_table(r)),
            "DeleteTable" => done(request, |r| db.delete_table(r)),
            "DescribeTable" => done(request, |r| db.describe_table(r)),
            other => panic!("{other} is not passed on"),
        };
        match done {
            Ok(body) => Answer { status: 200, body },
            Err(error) => Answer {
                status: error.status_code(),
                body: serde_json::from_str(&error.to_json()).unwrap(),
            },
        }
    }

    /// A client whose calls go through `layer`; it waits and repeats as a function's does.
    pub fn client(&self, layer: Arc<impl Layer>) -> Client {
        let wire = SharedHttpConnector::new(Wire {
            layer,
            table: self.clone(),
        });
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url("http://emulated")
            .region(Region::new(REGION))
            // Nobody checks a signature here, and making one is a sixth of all the work.
            .allow_no_auth()
            .retry_config(connects::store::retries())
            // Its own, as a process has: what one client failed at must not show in another.
            .retry_partition(
                RetryPartition::custom("emulated")
                    .token_bucket(TokenBucket::default())
                    .build(),
            )
            .timeout_config(connects::store::timeouts())
            .http_client(http_client_fn(move |_, _| wire.clone()));
        Client::from_conf(config.build())
    }
}

impl Default for Emulated {
    fn default() -> Self {
        Self::new()
    }
}

fn done<Q: DeserializeOwned, A: Serialize>(
    request: &Value,
    run: impl FnOnce(Q) -> dynoxide::Result<A>,
) -> Result<Value, DynoxideError> {
    let request = Q::deserialize(request)
        .map_err(|error| DynoxideError::ValidationException(error.to_string()))?;
    run(request).map(|answer| serde_json::to_value(answer).unwrap())
}

#[derive(Debug)]
struct Wire<L> {
    layer: Arc<L>,
    table: Emulated,
}

impl<L: Layer> HttpConnector for Wire<L> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap();
        let (_, operation) = target.split_once('.').unwrap();
        let call = Call {
            operation: operation.to_owned(),
            request: serde_json::from_slice(request.body().bytes().unwrap()).unwrap(),
        };
        let passed = self.layer.clone().pass(call, self.table.clone());
        HttpConnectorFuture::new(async move {
            match passed.await {
                Ok(answer) => Ok(http(&answer)),
                Err(Broken::Reset) => Err(ConnectorError::io("connection reset".into())),
                Err(Broken::Silent) => Err(ConnectorError::timeout("no answer".into())),
            }
        })
    }
}

fn http(answer: &Answer) -> HttpResponse {
    let status = StatusCode::try_from(answer.status).unwrap();
    let body = SdkBody::from(answer.body.to_string());
    let mut response = HttpResponse::new(status, body);
    response
        .headers_mut()
        .insert("content-type", "application/x-amz-json-1.0");
    response
}
