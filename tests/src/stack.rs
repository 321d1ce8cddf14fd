//! The running stack that the tests talk to, as its stack file describes it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use connects::store::Store;
use connects_local::front;
use connects_local::project::Project;
use connects_local::reference;
use connects_local::state::Aws;
use connects_local::template::Template;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Answer, Request};
use crate::holder::Holder;
use crate::token::Minter;

/// The variable that names the stack file of the stack under test.
const STACK: &str = "CONNECTS_TEST_STACK";

/// The same, of a stack whose functions were built as they are deployed.
const DEPLOYED: &str = "CONNECTS_TEST_DEPLOYED";

/// The same, of a stack whose purchases are charged to what stands in for Stripe.
const STRIPE: &str = "CONNECTS_TEST_STRIPE";

/// No answer takes this long unless the stack hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What the stack file says.
#[derive(Debug, Deserialize)]
struct StackFile {
    url: String,
    runtime_url: String,
    endpoint: String,
    region: String,
    table: String,
    issuer: String,
    audience: String,
    jwks: String,
    signing_key: String,
    logs: PathBuf,
    #[serde(default)]
    stripe: Option<String>,
    aws: Option<Aws>,
}

/// In the place of the script that makes the reference page, which is a package's.
pub const SCRIPT: &str = "the script";

/// A running stack: its gateway, its functions, its table and the key its tokens are signed with.
#[derive(Debug)]
pub struct Stack {
    pub(crate) url: String,
    pub(crate) runtime_url: String,
    pub(crate) table: String,
    pub(crate) web: reqwest::Client,
    pub(crate) dynamo: aws_sdk_dynamodb::Client,
    /// Makes the tokens.
    pub minter: Minter,
    /// Where the functions' logs are, if they write any.
    pub(crate) logs: Option<PathBuf>,
    /// The address of what stands in for Stripe, if purchases are charged there.
    pub stripe: Option<String>,
    /// Where it tells of what happens, if it does.
    pub(crate) aws: Option<Aws>,
}

impl Stack {
    /// The stack under test.
    pub fn local() -> Self {
        Self::named_by(STACK)
    }

    /// The stack whose functions were built by the template's build command.
    pub fn deployed() -> Self {
        Self::named_by(DEPLOYED)
    }

    /// The stack whose purchases are charged to what stands in for Stripe; none where that can't run,
    /// which `cargo local test` says, and where nobody would read it, fails.
    pub fn charging_by_stripe() -> Option<Self> {
        let is_there = std::env::var_os(STRIPE).is_some();
        is_there.then(|| Self::named_by(STRIPE))
    }

    fn named_by(variable: &str) -> Self {
        let path = std::env::var(variable)
            .unwrap_or_else(|_| panic!("{variable} names no stack: run `cargo local test`"));
        Self::described_by(Path::new(&path))
    }

    /// The stack with that stack file.
    pub fn described_by(path: &Path) -> Self {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|e| panic!("{name}: {e}: run `cargo local test`"));
        let file: StackFile = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let web = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .build()
            .expect("an HTTP client");
        let dynamo = aws_sdk_dynamodb::Client::from_conf(
            aws_sdk_dynamodb::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .endpoint_url(file.endpoint)
                .region(Region::new(file.region))
                .credentials_provider(Credentials::new("local", "local", None, None, "tests"))
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .build(),
        );
        Self {
            url: file.url,
            runtime_url: file.runtime_url,
            table: file.table,
            web,
            dynamo,
            minter: Minter::new(&file.signing_key, &file.jwks, file.issuer, file.audience),
            logs: Some(file.logs),
            stripe: file.stripe,
            aws: file.aws,
        }
    }

    /// The same behind the gateway that lets pages of that origin in, and has the reference page.
    pub async fn for_pages_of(self, origin: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let template = Template::read(&Project::find().unwrap().template()).unwrap();
        let origins = vec![origin.parse().unwrap()];
        let (http, behind) = (self.web.clone(), self.url.clone());
        let pages = reference::routes(SCRIPT.into());
        let cors = (origins, template.cors);
        tokio::spawn(front::serve(listener, http, behind, cors, pages));
        Self { url, ..self }
    }

    /// Where its API is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its table, as the functions see it.
    pub fn store(&self) -> Store {
        Store::new(self.dynamo.clone(), self.table.as_str())
    }

    /// A request without a token.
    pub fn request(&self, method: Method, path: impl Into<String>) -> Request<'_> {
        Request::new(self, method, path.into())
    }

    /// A request of the marketplace's backend.
    pub fn service(&self, method: Method, path: impl Into<String>) -> Request<'_> {
        self.request(method, path)
            .token(self.minter.token("connects:service", &[]))
    }

    /// A request of an operator.
    pub fn admin(&self, method: Method, path: impl Into<String>) -> Request<'_> {
        self.request(method, path)
            .token(self.minter.token("connects:admin", &[]))
    }

    /// A request of an end user who holds these accounts.
    pub fn user(&self, accounts: &[&str], method: Method, path: impl Into<String>) -> Request<'_> {
        self.request(method, path)
            .token(self.minter.token("connects", accounts))
    }

    /// An account that does not exist yet, of a person of its own.
    pub fn holder(&self, name: &str) -> Holder<'_> {
        Holder::new(self, fresh(name), fresh("person"))
    }

    /// A freelancer who registered at that time: 40 + 10 Connects.
    pub async fn freelancer(&self, at: &str) -> Holder<'_> {
        let holder = self.holder("freelancer");
        holder.open("freelancer").at(at).await.is(201);
        holder
    }

    /// An agency opened at that time: an empty account.
    pub async fn agency(&self, at: &str) -> Holder<'_> {
        let holder = self.holder("agency");
        holder.open("agency").at(at).await.is(201);
        holder
    }

    /// `PUT /v1/promos/{code}` as an operator.
    pub fn put_promo(&self, code: &str, terms: Value) -> Request<'_> {
        self.admin(Method::PUT, format!("/v1/promos/{code}"))
            .json(terms)
    }

    /// A new code that grants so many Connects to anyone, at any time.
    pub async fn grant_code(&self, quantity: i64, at: &str) -> String {
        let code = fresh_code();
        let terms = json!({
            "kind": "grant", "quantity": quantity,
            "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2100-01-01T00:00:00Z",
        });
        self.put_promo(&code, terms).at(at).await.is(201);
        code
    }

    /// `PUT /v1/jobs/{job_id}` of the backend: a job posted at that time, with these particulars.
    pub fn post_job(&self, job: &str, posted_at: &str, mut particulars: Value) -> Request<'_> {
        particulars["posted_at"] = json!(instant(posted_at));
        self.service(Method::PUT, format!("/v1/jobs/{job}"))
            .json(particulars)
    }

    /// `GET /v1/jobs/{job_id}`
    pub fn job(&self, job: &str) -> Request<'_> {
        self.service(Method::GET, format!("/v1/jobs/{job}"))
    }

    /// A new job of that cost.
    pub async fn new_job(&self, cost: i64, at: &str) -> String {
        let job = fresh("job");
        let posted = self.post_job(&job, at, json!({ "connects_required": cost }));
        posted.await.is(201);
        job
    }

    /// `POST /v1/jobs/{job_id}/closure`
    pub fn close(&self, job: &str, reason: &str) -> Request<'_> {
        self.service(Method::POST, format!("/v1/jobs/{job}/closure"))
            .json(json!({ "reason": reason }))
    }

    /// The job once it is closed: whatever was to come back has.
    pub async fn closed(&self, job: &str) -> Answer {
        let started = tokio::time::Instant::now();
        let mut tries = tokio::time::interval(Duration::from_millis(100));
        loop {
            tries.tick().await;
            let found = self.job(job).await.is(200);
            if found["state"] == "closed" {
                return found;
            }
            assert!(started.elapsed() < TIMEOUT, "not closed: {}", found.text);
        }
    }

    /// How often a code has been redeemed.
    pub async fn redeemed(&self, code: &str) -> i64 {
        self.admin(Method::GET, format!("/v1/promos/{code}"))
            .await
            .is(200)
            .int("redeemed")
    }
}

/// An id that no test has used before, on this stack or any other.
pub fn fresh(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::OnceLock<u128> = std::sync::OnceLock::new();
    let start = START.get_or_init(|| {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_micros())
    });
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{start:x}-{number}")
}

/// A promo code that no test has used before.
pub fn fresh_code() -> String {
    fresh("C").to_uppercase()
}

/// The instant that a test's short form names: a day alone means its noon, UTC.
pub fn instant(text: &str) -> String {
    if text.contains('T') {
        text.to_owned()
    } else {
        format!("{text}T12:00:00Z")
    }
}
