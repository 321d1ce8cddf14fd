//! The local stack: `cargo local up`, `token`, `fire`, `demo`, `test`, `simulate`, `explore` and `bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use connects_local::emulator::Store;
use connects_local::failure::{Doing, Failure, Result};
use connects_local::front::Origin;
use connects_local::keys::{Claims, Keys};
use connects_local::project::Project;
use connects_local::stack::{self, Options, Payments, Site, Stack};
use connects_local::state::{self, Features};
use connects_local::template::Template;
use connects_local::{demo, environment, functions, proofs, schedule, testing, tools};

/// Connects on one machine: every function, DynamoDB and the API gateway.
#[derive(Debug, Parser)]
#[command(name = "cargo local", bin_name = "cargo local")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The file that describes the running stack [default: .connects/stack.json]
    #[arg(long, global = true, value_name = "FILE")]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the stack, and keep it running until Ctrl-C
    Up(Up),
    /// Print a signed token that the stack accepts
    Token(Token),
    /// Run a schedule on the running stack and print its report
    Fire(Fire),
    /// Walk through a ledger's life with real requests, on the running stack or one of its own
    Demo,
    /// Set up whatever the tests need and run all of them
    Test(Test),
    /// Run random histories under random faults and check each from end to end
    #[command(disable_help_flag = true)]
    Simulate(Handed),
    /// Run every order of events of a few operations at once
    #[command(disable_help_flag = true)]
    Explore(Handed),
    /// Measure what the ledger costs; `cargo local bench --help` names the parts
    #[command(disable_help_flag = true)]
    Bench(Handed),
}

#[derive(Debug, Args)]
struct Up {
    /// Where the HTTP API answers, on 127.0.0.1
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// embedded, dynamodb-local, or the address of another DynamoDB
    #[arg(long, default_value = "embedded")]
    store: Store,
    /// Keep the data in this folder instead of in memory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Processes of each function
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// Let pages of this origin call the API from a browser; may be repeated
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<Origin>,
    /// Show the contract as a page, at /reference
    #[arg(long)]
    reference: bool,
    /// Who charges for purchases: the sandbox, or what stands in for Stripe
    #[arg(long, value_enum, default_value = "sandbox")]
    payments: Payments,
    /// Tell events on a bus and send mails, with a stand-in for EventBridge, SQS and SES
    #[arg(long)]
    with_aws: bool,
}

#[derive(Debug, Args)]
struct Token {
    /// Scopes, separated by spaces: connects, connects:service, connects:admin
    #[arg(long)]
    scope: String,
    /// An account that the holder may act for; may be repeated
    #[arg(long = "account", value_name = "ID")]
    accounts: Vec<String>,
    /// Who the holder is
    #[arg(long, value_name = "NAME", default_value = "local")]
    sub: String,
    /// How long the token is good, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    ttl: u32,
}

#[derive(Debug, Args)]
struct Fire {
    /// The function to run
    function: String,
    /// The schedule event's time [default: now]
    #[arg(long, value_name = "RFC3339")]
    at: Option<DateTime<Utc>>,
}

#[derive(Debug, Args)]
struct Test {
    /// Arguments for cargo test, after `--`
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(Debug, Args)]
struct Handed {
    /// Arguments for the program: `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// How a shell reports a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ends_by_signal = matches!(cli.command, Command::Up(_));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build();
    // Whatever was started ends with the future that is dropped here, and with the runtime.
    let done = runtime.doing("the runtime").and_then(|runtime| {
        runtime.block_on(async {
            let mut signals = Signals::listen()?;
            tokio::select! {
                done = run(cli) => done.map(|()| ExitCode::SUCCESS),
                () = signals.any() => Ok(match ends_by_signal {
                    true => ExitCode::SUCCESS,
                    false => ExitCode::from(INTERRUPTED),
                }),
            }
        })
    });
    done.unwrap_or_else(|failure| {
        eprintln!("error: {failure}");
        ExitCode::FAILURE
    })
}

/// What a terminal or a service manager sends to end a program.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).doing("SIGINT")?,
            terminate: signal(SignalKind::terminate()).doing("SIGTERM")?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let project = Project::find()?;
    let state = match cli.state {
        Some(path) => std::path::absolute(&path).doing(path.display())?,
        None => project.state(),
    };
    match cli.command {
        Command::Up(up) => up.run(&project, state).await,
        Command::Token(token) => token.run(&project),
        Command::Fire(fire) => fire.run(&project, state).await,
        Command::Demo => show(&project, state).await,
        Command::Test(test) => testing::run(&project, &test.arguments).await,
        Command::Simulate(handed) => proofs::run(&project, "simulate", &handed.arguments).await,
        Command::Explore(handed) => proofs::run(&project, "explore", &handed.arguments).await,
        Command::Bench(handed) => proofs::run(&project, "bench", &handed.arguments).await,
    }
}

impl Up {
    async fn run(self, project: &Project, state: PathBuf) -> Result<()> {
        let options = Options {
            port: self.port,
            store: self.store,
            data: self.data,
            concurrency: self.concurrency,
            state,
            features: Features::Local,
            schedules: true,
            origins: self.origins,
            reference: self.reference,
            payments: self.payments,
            with_aws: self.with_aws,
        };
        let mut stack = start(project, options).await?;
        println!("ready {}", stack.state.url);
        eprintln!(
            "{}",
            how_to_go_on(&stack.state.url, &stack.state.endpoint, &stack.state.logs)
        );
        Err(stack.watch().await)
    }
}

async fn start(project: &Project, options: Options) -> Result<Stack> {
    let features = options.features;
    let site = Site::claim(options)?;
    let template = Template::read(&project.template())?;
    eprintln!("building the functions");
    let binaries = functions::build(project, &template, features).await?;
    eprintln!("starting them");
    site.start(project, &template, &binaries).await
}

/// On the running stack; or on one of its own, which lives as long as the demo.
async fn show(project: &Project, state: PathBuf) -> Result<()> {
    let keys = Keys::ensure(&project.keys())?;
    let http = stack::client()?;
    if let Some(running) = state::running(&state)? {
        eprintln!(
            "using the stack at {}; the demo fires its schedules at later times, which takes all \
             of its accounts there",
            running.url
        );
        return demo::walk(&running, &keys, http).await;
    }
    let own = Options {
        port: stack::free_port()?,
        store: Store::Embedded,
        data: None,
        concurrency: 1,
        state,
        features: Features::Local,
        schedules: false,
        origins: vec![],
        reference: false,
        payments: Payments::Sandbox,
        with_aws: tools::missing_for_aws().is_empty(),
    };
    let mut stack = start(project, own).await?;
    let running = stack.state.clone();
    tokio::select! {
        walked = demo::walk(&running, &keys, http) => walked?,
        failure = stack.watch() => return Err(failure),
    }
    stack.stop().await;
    println!("\nThe demo's stack is gone again. To go on with one that stays:\n\n  cargo local up");
    Ok(())
}

fn how_to_go_on(url: &str, endpoint: &str, logs: &std::path::Path) -> String {
    format!(
        r#"
  TOKEN=$(cargo local token --scope "connects connects:service" --account a1)
  curl -X PUT {url}/v1/accounts/a1 -H "Authorization: Bearer $TOKEN" \
       -H "Content-Type: application/json" -d '{{"kind": "freelancer", "person_id": "p1"}}'
  cargo local fire monthly-grant

DynamoDB answers at {endpoint}, logs are in {}; Ctrl-C stops everything."#,
        logs.display()
    )
}

impl Token {
    fn run(&self, project: &Project) -> Result<()> {
        let claims = Claims {
            subject: &self.sub,
            scope: &self.scope,
            accounts: &self.accounts,
            ttl: self.ttl,
        };
        println!("{}", Keys::ensure(&project.keys())?.token(&claims)?);
        Ok(())
    }
}

impl Fire {
    async fn run(&self, project: &Project, state: PathBuf) -> Result<()> {
        let template = Template::read(&project.template())?;
        if !template.schedules.contains_key(&self.function) {
            let known = template.schedule_names();
            return Err(Failure::new(format!(
                "{} is no schedule; there are {known}",
                self.function
            )));
        }
        let state = state::running(&state)?;
        let state = state.doing("no stack runs; start one with `cargo local up`")?;
        let http = stack::client()?;
        let at = self.at.unwrap_or_else(environment::now);
        let report = schedule::fire(&http, &state.runtime_url, &self.function, at).await?;
        println!("{report:#}");
        Ok(())
    }
}
