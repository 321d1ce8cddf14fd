//! The functions behind HTTP in this process, over the embedded stand-in for DynamoDB: a stack of
//! one's own whose line to the table can be held back, broken and listened to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use connects::domain::policy::{BUILT_IN, Policy};
use connects::http::{App, Auth, Event, Run, Till, Work, invoked};
use connects::ledger::Report;
use connects_local::emulator;
use connects_local::keys::{AUDIENCE, ISSUER, Keys};
use connects_local::project::Project;
use connects_local::template::Template;
use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::fuzzing::world::issued_by;
use crate::gateway::{self, route};
use crate::stack::Stack;
use crate::table::unique;
use crate::token::Minter;
use crate::wire::{Clear, Emulated, Layer, Switch};

/// The table's name.
const TABLE: &str = "door";

/// Where recovery is invoked, as Lambda's own interface has it.
const RECOVERY: &str = "/2015-03-31/functions/purchase/invocations";

/// How long a request may take, in milliseconds, when there is no hurry: as long as ever.
const NO_HURRY: u64 = 0;

/// The same where the table does not answer: what is kept back to answer in, and a few tries more.
const HURRY: i64 = 800;

/// A stack in this process.
#[derive(Debug)]
pub struct Door {
    /// To be asked as any other.
    pub stack: Stack,
    line: Arc<Switch>,
    hurries: Arc<AtomicBool>,
}

struct Visit {
    event: Event,
    answer: oneshot::Sender<Value>,
}

impl Door {
    /// Opens one, over an empty table.
    pub async fn open() -> Self {
        let project = Project::find().unwrap();
        let template = Template::read(&project.template()).unwrap();
        let keys = Keys::ensure(&project.keys()).unwrap();
        let (table, line) = (Emulated::new(), Arc::new(Switch::default()));
        let dynamo = table.client(Arc::new(Clear));
        emulator::ensure(&dynamo, TABLE, &template.table)
            .await
            .unwrap();
        let policy = Policy::parse(BUILT_IN).unwrap();
        let core = gateway::core(table.client(Arc::clone(&line)), TABLE, policy);
        let auth = Auth::connect(issued_by(&keys.jwks), core.clock.real())
            .await
            .unwrap();
        let hurries = Arc::new(AtomicBool::new(false));
        let (visits, visited) = unbounded_channel();
        let app = gateway::till(App::new(core, auth));
        let in_a_hurry = Arc::clone(&hurries);
        std::thread::spawn(move || answer_all(Arc::new(app), &in_a_hurry, visited));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(visit).with_state(visits);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let path = |path: &std::path::Path| path.display().to_string();
        Self {
            stack: Stack {
                runtime_url: url.clone(),
                url,
                table: TABLE.to_owned(),
                web: reqwest::Client::new(),
                dynamo,
                minter: Minter::new(
                    &path(&keys.signing_key),
                    &path(&keys.jwks),
                    ISSUER.to_owned(),
                    AUDIENCE.to_owned(),
                ),
                logs: None,
                stripe: None,
                aws: None,
            },
            line,
            hurries,
        }
    }

    /// From now on calls to the table go through that layer.
    pub fn through(&self, layer: Arc<dyn Layer>) {
        self.line.to(layer);
    }

    /// The same with one that fails them, so that nobody waits long.
    pub fn broken(&self, layer: Arc<dyn Layer>) {
        self.line.to(layer);
        self.hurries.store(true, Relaxed);
    }

    /// From now on calls go straight to the table, and there is time.
    pub fn clear(&self) {
        self.line.to(Arc::new(Clear));
        self.hurries.store(false, Relaxed);
    }
}

/// The functions, all on one thread: whatever is asked at once takes turns at each wait.
fn answer_all(app: Arc<Till>, hurries: &AtomicBool, mut visits: UnboundedReceiver<Visit>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        while let Some(Visit { event, answer }) = visits.recv().await {
            let mut context = lambda_runtime::Context::default();
            context.request_id = unique();
            context.deadline = match hurries.load(Relaxed) {
                true => (app.clock.real().timestamp_millis() + HURRY).unsigned_abs(),
                false => NO_HURRY,
            };
            let app = Arc::clone(&app);
            tokio::task::spawn_local(async move {
                let routes = async |request: &_| route(&app, request).await;
                let job = async |run| recover(&app, run).await;
                let event = LambdaEvent::new(event, context);
                let reply = invoked(app.clock, &routes, &job, event).await.unwrap();
                // Whoever asked may be gone.
                let _ = answer.send(serde_json::to_value(reply).unwrap());
            });
        }
    });
}

/// The one schedule there is.
async fn recover(app: &Till, run: Run) -> Result<Report, String> {
    let Work::Due(until) = run.work else {
        return Err("there is no stream here".to_owned());
    };
    let report = app
        .ledger
        .sweep_payments(&run.context, &app.payments, until);
    report.await.map_err(|fault| fault.to_string())
}

/// As API Gateway has it: the request becomes an event, the reply an answer.
async fn visit(
    State(visits): State<UnboundedSender<Visit>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let headers = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), json!(value))
    });
    let query = uri.query().unwrap_or_default();
    let event = match uri.path() {
        RECOVERY => serde_json::from_slice(&body).ok(),
        path => gateway::event(method.as_str(), path, query, headers.collect(), &body),
    };
    let (answer, answered) = oneshot::channel();
    let event = event.expect("a request that API Gateway lets in");
    assert!(visits.send(Visit { event, answer }).is_ok(), "closed");
    let reply = answered.await.expect("an answer");
    let Some(status) = reply["statusCode"].as_u64() else {
        return Response::new(Body::from(reply.to_string()));
    };
    let mut response = Response::builder().status(u16::try_from(status).unwrap());
    for (name, value) in reply["headers"].as_object().unwrap() {
        response = response.header(name, value.as_str().unwrap());
    }
    let body = reply["body"].as_str().unwrap().to_owned();
    response.body(Body::from(body)).unwrap()
}
