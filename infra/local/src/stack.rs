//! The whole stack: emulator, gateway, functions, schedules, the table's stream.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::aws::{Cloud, MAIL_FROM};
use crate::emulator::{self, ACCESS_KEY, Emulator, Place, REGION, Store, TABLE};
use crate::environment;
use crate::failure::{Doing, Failure, Result};
use crate::front::{self, Origin};
use crate::functions::Binaries;
use crate::gateway::{self, Gateway};
use crate::keys::{AUDIENCE, ISSUER, Keys};
use crate::process::{Death, Spawner};
use crate::project::Project;
use crate::reference;
use crate::schedule;
use crate::state::{Aws, Claim, Features, State};
use crate::stream::Stream;
use crate::stripe::StandIn;
use crate::template::Template;
use crate::tools;

/// How long all functions together may take until they answer.
const READY: Duration = Duration::from_secs(90);

/// What a stack is started with.
#[derive(Debug)]
pub struct Options {
    /// The gateway's port.
    pub port: u16,
    /// Which DynamoDB.
    pub store: Store,
    /// Where data is kept; in memory without it.
    pub data: Option<PathBuf>,
    /// Processes of each function.
    pub concurrency: u16,
    /// The file that describes the stack; logs go beside it.
    pub state: PathBuf,
    /// How the functions were built.
    pub features: Features,
    /// Whether schedules fire by themselves.
    pub schedules: bool,
    /// The origins whose pages may call the API.
    pub origins: Vec<Origin>,
    /// Whether the contract can be read as a page.
    pub reference: bool,
    /// Who charges for purchases.
    pub payments: Payments,
    /// Whether events are told and mails sent, to a stand-in for the rest of AWS.
    pub with_aws: bool,
}

/// The payment providers that a stack can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Payments {
    /// The functions' own, which charges nobody.
    Sandbox,
    /// What stands in for Stripe.
    Stripe,
}

/// The function that needs more of AWS than DynamoDB.
const NOTIFY: &str = "notify";

/// A running stack.
#[derive(Debug)]
pub struct Stack {
    /// What other programs need to know.
    pub state: State,
    gateway: Gateway,
    emulator: Emulator,
    tasks: JoinSet<()>,
    deaths: mpsc::UnboundedReceiver<Death>,
    _stripe: Option<StandIn>,
    _spawner: Spawner,
    claim: Claim,
}

/// A place in which no other stack runs, with a port that nobody listens on.
#[derive(Debug)]
pub struct Site {
    options: Options,
    claim: Claim,
}

impl Site {
    /// Looks at place and port before anything is installed or built.
    pub fn claim(options: Options) -> Result<Self> {
        let claim = Claim::take(&options.state)?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).doing(format!(
            "port {} is taken; choose another with --port",
            options.port
        ))?;
        Ok(Self { options, claim })
    }

    /// Starts everything, and waits until every function answers.
    pub async fn start(
        self,
        project: &Project,
        template: &Template,
        binaries: &Binaries,
    ) -> Result<Stack> {
        let Self { options, claim } = self;
        let cargo_lambda = tools::cargo_lambda(&project.tools()).await?;
        let keys = Keys::ensure(&project.keys())?;
        let logs = empty_logs(&options.state)?;
        let spawner = Spawner::new()?;

        let place = Place {
            spawner: &spawner,
            tools: &project.tools(),
            logs: &logs,
            data: options.data.as_deref(),
        };
        let emulator = Emulator::start(&options.store, &place).await?;
        emulator::ensure_table(&emulator.endpoint, TABLE, &template.table).await?;
        let http = client()?;
        let stream = Stream::open(&http, &emulator.endpoint, TABLE).await?;

        let log = logs.join("gateway.log");
        let mut tasks = JoinSet::new();
        // Where there is something for browsers, their gateway has the port, and the other one stands
        // behind it.
        let (port, front) = match options.reference || !options.origins.is_empty() {
            false => (options.port, None),
            true => {
                let front = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, options.port));
                let front = front.await.doing(format!("port {}", options.port))?;
                (free_port()?, Some(front))
            }
        };
        let gateway = Gateway::start(&spawner, cargo_lambda, project.root(), port, log).await?;
        if let Some(front) = front {
            let (behind, cors) = (gateway.url.clone(), template.cors.clone());
            let pages = match options.reference {
                true => reference::routes(tools::scalar(&project.tools()).await?.into()),
                false => Router::new(),
            };
            let cors = (options.origins, cors);
            tasks.spawn(front::serve(front, http.clone(), behind, cors, pages));
        }

        let (report, deaths) = mpsc::unbounded_channel();
        tasks.spawn(gateway::answer_unrouted(http.clone(), gateway.url.clone()));
        let cloud = match options.with_aws {
            false => None,
            true => {
                let modules = tools::ministack(&project.tools()).await?;
                let mails = project.mails();
                let cloud = Cloud::start(&spawner, &http, &modules, template, &mails, &logs);
                Some(Arc::new(cloud.await?))
            }
        };
        let aws = cloud.as_ref().map(|cloud| cloud.about.clone());
        let mut environment = function_environment(&emulator.endpoint, &keys, options.features);
        let stripe = match options.payments {
            Payments::Sandbox => None,
            Payments::Stripe => Some(StandIn::start(project, &spawner, &logs).await?),
        };
        if let Some(stripe) = &stripe {
            environment.retain(|(name, _)| name != "CONNECTS_PAYMENTS");
            environment.extend(stripe.environment(&logs)?);
        }
        environment.extend(aws.iter().flat_map(telling));
        let mut services = gateway.services(binaries, &environment, project.root(), &logs);
        services.retain(|service| aws.is_some() || service.name != NOTIFY);
        for service in services {
            for _ in 0..options.concurrency {
                let kept = spawner
                    .clone()
                    .keep_running(service.clone(), report.clone());
                tasks.spawn(kept);
            }
        }

        let state = State {
            url: format!("http://127.0.0.1:{}", options.port),
            runtime_url: gateway.url.clone(),
            endpoint: emulator.endpoint.clone(),
            region: REGION.to_owned(),
            table: TABLE.to_owned(),
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            jwks: keys.jwks,
            signing_key: keys.signing_key,
            logs,
            pid: std::process::id(),
            features: options.features,
            stripe: stripe.as_ref().map(|stripe| stripe.url.clone()),
            aws,
        };
        if let Some(stripe) = &stripe {
            stripe.tell(&http, &state.url).await?;
        }
        let mut stack = Stack {
            state,
            gateway,
            emulator,
            tasks,
            deaths,
            _stripe: stripe,
            _spawner: spawner,
            claim,
        };
        stack.until_ready(&http, template).await?;
        let runtime_url = stack.state.runtime_url.clone();
        let mut triggers = template.triggers.clone();
        triggers.retain(|trigger| cloud.is_some() || trigger.function != NOTIFY);
        stack
            .tasks
            .spawn(stream.keep_delivering(runtime_url.clone(), triggers));
        if let Some(cloud) = cloud {
            for queue in template.queues.clone() {
                let handing = cloud.clone().keep_handing(runtime_url.clone(), queue);
                stack.tasks.spawn(handing);
            }
        }
        if options.schedules {
            let Stack { state, tasks, .. } = &mut stack;
            schedule::keep_firing(&http, &state.runtime_url, &template.schedules, tasks);
        }
        stack.claim.publish(&stack.state)?;
        Ok(stack)
    }
}

impl Stack {
    /// Every function has answered once: a route its refusal of a request without a token, a
    /// schedule its report, as if it had just fired.
    async fn until_ready(&mut self, http: &reqwest::Client, template: &Template) -> Result<()> {
        let url = self.state.url.clone();
        let answers = async {
            for function in template.schedules.keys() {
                schedule::fire(http, &url, function, environment::now()).await?;
            }
            for function in &template.functions {
                let route = template
                    .routes
                    .iter()
                    .find(|route| route.function == *function);
                if let Some(route) = route {
                    refuses(http, &url, &route.method, &route.path).await?;
                }
            }
            Ok(())
        };
        tokio::select! {
            ready = timeout(READY, answers) => {
                ready.doing(format!("not every function answers; see {}", self.state.logs.display()))?
            }
            Some(death) = self.deaths.recv() => Err(Failure::new(death.what)),
            end = self.gateway.ended() => Err(end),
        }
    }

    /// Watches over the stack; returns only when it can't go on.
    pub async fn watch(&mut self) -> Failure {
        loop {
            tokio::select! {
                Some(death) = self.deaths.recv() => {
                    if death.last {
                        return Failure::new(format!("{}\n  given up", death.what));
                    }
                    eprintln!("{}\n  starting it again", death.what);
                }
                end = self.gateway.ended() => return end,
            }
        }
    }

    /// Ends everything. Nothing here has to end gently: all that matters is in DynamoDB, and every
    /// operation survives the death of its process by design.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        drop(self.gateway);
        self.emulator.stop().await;
    }
}

/// A request without a token, to a made-up resource, must get an answer of the function's own.
async fn refuses(http: &reqwest::Client, url: &str, method: &str, path: &str) -> Result<()> {
    let path: Vec<&str> = path
        .split('/')
        .map(|part| if part.starts_with('{') { "ready" } else { part })
        .collect();
    let path = path.join("/");
    let method = reqwest::Method::from_bytes(method.as_bytes()).doing(method)?;
    let answer = http
        .request(method, format!("{url}{path}"))
        .send()
        .await
        .doing(&path)?;
    let status = answer.status();
    if status == reqwest::StatusCode::UNAUTHORIZED {
        return Ok(());
    }
    let text = answer.text().await.unwrap_or_default();
    Err(Failure::new(format!(
        "{path} without a token was answered {status}: {text}"
    )))
}

/// What a function's process is told.
pub fn function_environment(endpoint: &str, keys: &Keys, how: Features) -> Vec<(String, String)> {
    let jwks = keys.jwks.display().to_string();
    let log_filter = environment::log_filter();
    let mut variables = vec![
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", ACCESS_KEY),
        ("AWS_REGION", REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
        ("CONNECTS_TABLE", TABLE),
        ("CONNECTS_JWKS", &jwks),
        ("CONNECTS_JWT_ISSUER", ISSUER),
        ("CONNECTS_JWT_AUDIENCE", AUDIENCE),
        ("CONNECTS_PAYMENTS", "sandbox"),
        ("RUST_LOG", &log_filter),
    ];
    if how == Features::Local {
        variables.push(("CONNECTS_LOCAL", "1"));
    }
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    variables.into_iter().map(owned).collect()
}

/// What the function that tells is told beside: where, and by whom.
fn telling(aws: &Aws) -> Vec<(String, String)> {
    let variables = [
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", aws.endpoint.as_str()),
        ("AWS_ENDPOINT_URL_SESV2", &aws.endpoint),
        ("CONNECTS_BUS", &aws.bus),
        ("CONNECTS_MAIL_FROM", MAIL_FROM),
        ("CONNECTS_MAIL_TEMPLATES", &aws.mail_templates),
        ("CONNECTS_MAIL_CONFIGURATION", &aws.mail_configuration),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    variables.map(owned).to_vec()
}

fn empty_logs(state: &Path) -> Result<PathBuf> {
    let logs = state
        .parent()
        .doing("a state file needs a folder")?
        .join("logs");
    if logs.exists() {
        fs::remove_dir_all(&logs).doing(logs.display())?;
    }
    fs::create_dir_all(&logs).doing(logs.display())?;
    Ok(logs)
}

/// The client for requests to the stack. No timeout: a sweep takes as long as it takes.
pub fn client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .doing("an HTTP client")
}

/// A port that nobody listens on just now.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("a free port")?;
    let address = listener.local_addr().doing("a free port")?;
    Ok(address.port())
}
