//! The emulator in a process of its own, and clients of it that count what they send.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
};
use aws_sdk_dynamodb::error::BoxError;
use connects::domain::policy::{BUILT_IN, Policy};
use connects::ledger::Ledger;
use connects::store::{Store, retries, timeouts};
use connects_local::emulator::{self, ACCESS_KEY, REGION};
use connects_local::project::Project;
use connects_local::template::Template;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// The table's name.
pub const TABLE: &str = "bench";

/// A running emulator, with the table as template.yaml has it.
pub struct Bed {
    /// Its address.
    pub endpoint: String,
    process: Child,
}

impl Bed {
    /// Starts one.
    pub async fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("emulator")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let endpoint = said.next_line().await.unwrap().expect("an address");
        let template = Template::read(&Project::find().unwrap().template()).unwrap();
        emulator::ensure_table(&endpoint, TABLE, &template.table)
            .await
            .unwrap();
        Self { endpoint, process }
    }

    /// A ledger over it, with what its client sends counted.
    pub fn ledger(&self, sent: &Arc<Sent>) -> Ledger {
        let store = Store::new(client(&self.endpoint, sent), TABLE);
        Ledger::new(store, policy())
    }

    /// Milliseconds of CPU time that it has used.
    pub fn cpu(&self) -> u64 {
        crate::function::cpu(self.process.id().unwrap())
    }
}

/// What the emulator's process does: serve until its input ends, which it does when whoever started
/// it is gone.
pub async fn serve() {
    let emulator = emulator::embedded(None).await.unwrap();
    println!("{}", emulator.endpoint);
    let _ = tokio::io::stdin().read_to_end(&mut vec![]).await;
    emulator.stop().await;
}

/// The built-in policy.
pub fn policy() -> Policy {
    Policy::parse(BUILT_IN).unwrap()
}

/// How many requests were sent.
#[derive(Debug, Default)]
pub struct Sent(AtomicU64);

impl Sent {
    /// How many since the last call of this.
    pub fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Counts(Arc<Sent>);

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A client that waits and repeats as a function's does.
pub fn client(endpoint: &str, sent: &Arc<Sent>) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(
            ACCESS_KEY, ACCESS_KEY, None, None, "local",
        ))
        .retry_config(retries())
        .timeout_config(timeouts())
        .interceptor(Counts(sent.clone()))
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    Client::from_conf(config.build())
}
