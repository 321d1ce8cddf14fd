//! The embedded emulator without a network: calls go straight into it, through a layer that may
//! hold them back, tamper with them or lose them. Nothing here runs on another thread or waits for
//! a socket, so a run under a paused clock and a seed is the same run every time.

use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;

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
