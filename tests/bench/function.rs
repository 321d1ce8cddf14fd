//! A function's process, with the bench in the place of Lambda: it serves the runtime API, hands
//! over events and takes the answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use connects_local::project::Project;
use connects_local::state::Features;
use connects_local::template::Template;
use connects_local::{environment, functions};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinHandle;

/// Where everything of Lambda's runtime API is.
const RUNTIME: &str = "/2018-06-01/runtime";

/// How long an invocation may last: a schedule's quarter of an hour.
const DEADLINE: Duration = Duration::from_secs(900);

/// The functions as they are deployed, built when they are first asked for.
pub struct Binaries {
    given: Option<PathBuf>,
    built: OnceCell<functions::Binaries>,
}

impl Binaries {
    /// Those in a folder, or else new ones.
    pub fn new(given: Option<PathBuf>) -> Self {
        Self {
            given,
            built: OnceCell::new(),
        }
    }

    /// Each function's binary.
    pub async fn get(&self) -> &functions::Binaries {
        let project = Project::find().unwrap();
        let template = Template::read(&project.template()).unwrap();
        self.built
            .get_or_init(|| async {
                match &self.given {
                    None => functions::build(&project, &template, Features::Deploy)
                        .await
                        .unwrap(),
                    Some(folder) => {
                        let folder = folder.canonicalize().unwrap();
                        let binary = |name: &String| folder.join(name).join("bootstrap");
                        let names = template.functions.iter();
                        names.map(|name| (name.clone(), binary(name))).collect()
                    }
                }
            })
            .await
    }
}

/// What the process was answered, and when.
struct Answered {
    at: Instant,
    body: Bytes,
    failed: bool,
}

struct Api {
    asked: UnboundedSender<Instant>,
    events: Mutex<UnboundedReceiver<String>>,
    answers: UnboundedSender<Answered>,
}

/// A function's process.
pub struct Function {
    child: Child,
    server: JoinHandle<()>,
    asked: UnboundedReceiver<Instant>,
    events: UnboundedSender<String>,
    answers: UnboundedReceiver<Answered>,
    /// From the process's start to its first question for an event.
    pub start: Duration,
    ready: bool,
}

impl Function {
    /// Starts one, and waits until it asks for its first event.
    pub async fn start(binary: &Path, environment: &[(String, String)]) -> Self {
        let (asked_sender, mut asked) = unbounded_channel();
        let (events, events_receiver) = unbounded_channel();
        let (answers_sender, answers) = unbounded_channel();
        let api = Arc::new(Api {
            asked: asked_sender,
            events: Mutex::new(events_receiver),
            answers: answers_sender,
        });
        let routes = Router::new()
            .route(&format!("{RUNTIME}/invocation/next"), get(next))
            .route(
                &format!("{RUNTIME}/invocation/{{id}}/response"),
                post(response),
            )
            .route(&format!("{RUNTIME}/invocation/{{id}}/error"), post(error))
            .route(&format!("{RUNTIME}/init/error"), post(error))
            .with_state(api);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });

        let mut command = Command::new(binary);
        command
            .env_clear()
            .envs(environment.iter().cloned())
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "bench")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let begun = Instant::now();
        let child = command.spawn().unwrap();
        let first = asked.recv().await.expect("the server runs");
        Self {
            child,
            server,
            asked,
            events,
            answers,
            start: first - begun,
            ready: true,
        }
    }

    /// Invokes it; how long the answer took, and the answer.
    pub async fn invoke(&mut self, event: &Value) -> (Duration, Value) {
        if !std::mem::take(&mut self.ready) {
            self.asked.recv().await.expect("the server runs");
        }
        let event = event.to_string();
        let begun = Instant::now();
        self.events.send(event).unwrap();
        let answered = self.answers.recv().await.expect("the server runs");
        let body = String::from_utf8_lossy(&answered.body);
        assert!(!answered.failed, "the function failed: {body}");
        (answered.at - begun, serde_json::from_str(&body).unwrap())
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Ends it.
    pub async fn stop(mut self) {
        self.child.kill().await.unwrap();
        self.server.abort();
    }
}

async fn next(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let _ = api.asked.send(Instant::now());
    let event = api.events.lock().await.recv().await;
    let event = event.ok_or(StatusCode::GONE)?;
    let deadline = environment::now() + DEADLINE;
    Ok::<_, StatusCode>((
        [
            ("lambda-runtime-aws-request-id", "bench".to_owned()),
            (
                "lambda-runtime-deadline-ms",
                deadline.timestamp_millis().to_string(),
            ),
            (
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:us-east-1:123456789012:function:bench".to_owned(),
            ),
            ("content-type", "application/json".to_owned()),
        ],
        event,
    ))
}

async fn response(State(api): State<Arc<Api>>, body: Bytes) -> StatusCode {
    answered(&api, body, false)
}

async fn error(State(api): State<Arc<Api>>, body: Bytes) -> StatusCode {
    answered(&api, body, true)
}

fn answered(api: &Api, body: Bytes, failed: bool) -> StatusCode {
    let at = Instant::now();
    let _ = api.answers.send(Answered { at, body, failed });
    StatusCode::ACCEPTED
}

/// A request as API Gateway hands it to a function.
pub fn request(method: &str, path: &str, token: &str, key: Option<&str>, body: &Value) -> Value {
    let mut headers = json!({
        "accept": "application/json",
        "authorization": format!("Bearer {token}"),
        "content-type": "application/json",
        "host": "api.connects.localhost",
        "user-agent": "bench",
        "x-amzn-trace-id": "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    });
    if let Some(key) = key {
        headers["idempotency-key"] = key.into();
    }
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "r3pmxmplak",
            "domainName": "api.connects.localhost",
            "domainPrefix": "api",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "bench",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "10/Mar/2026:05:16:23 +0000",
            "timeEpoch": 1_773_119_783_000_u64,
        },
        "body": if body.is_null() { Value::Null } else { body.to_string().into() },
        "isBase64Encoded": false,
    })
}

/// A schedule's event.
pub fn scheduled(time: &str) -> Value {
    json!({
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": time,
        "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:123456789012:rule/bench"],
        "detail": {},
    })
}

/// Milliseconds of CPU time that a process has used, in user and kernel mode; Linux counts them in
/// hundredths of a second.
pub fn cpu(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2);
    ticks
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum::<u64>()
        * 10
}

/// The most memory that a process has had, in kilobytes.
pub fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.and_then(|kb| kb.trim().parse().ok()).unwrap()
}
