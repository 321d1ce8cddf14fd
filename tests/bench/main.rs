//! `cargo local bench`: what the ledger costs, in units, instructions, time and money.
//!
//! Each part prints its workload, the machine and the load on it, and tables in Markdown as
//! docs/performance.md has them. Nothing here fails because of a time; instructions are counted,
//! and compared with what they were.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::unwrap_used
)]

mod bed;
mod burst;
mod cost;
mod function;
mod growth;
mod hot;
mod http;
mod plans;
mod prices;
mod rates;
mod report;
mod start;
mod sweeps;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::runtime::{Builder, Runtime};

/// What the ledger costs.
#[derive(Debug, Parser)]
#[command(name = "cargo local bench", bin_name = "cargo local bench")]
struct Cli {
    /// What to measure; everything where nothing is named
    parts: Vec<Part>,
    /// Take the functions from here (`<name>/bootstrap`) instead of building them for deployment
    #[arg(long, value_name = "DIR")]
    functions: Option<PathBuf>,
    /// Accounts that are due in the part `sweeps`, for each run of it
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1000,10000"
    )]
    accounts: Vec<u64>,
    /// Seconds of each measurement in the parts `rates` and `http`
    #[arg(long, value_name = "N", default_value_t = 6)]
    seconds: u64,
    /// Compare the part `plans` with the counts in tests/bench/instructions.txt, and fail where they
    /// have grown
    #[arg(long)]
    check: bool,
    /// Write the counts of the part `plans` to that file
    #[arg(long, conflicts_with = "check")]
    record: bool,
    #[command(subcommand)]
    inner: Option<Inner>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Units and money for each operation
    Cost,
    /// Units as journals and lots grow
    Growth,
    /// Instructions of planning a spend
    Plans,
    /// Spends a second on one account, each call taking as long as in DynamoDB
    Hot,
    /// Proposals a second on one job and redemptions of one code, with the conflicts that DynamoDB has and
    /// emulators have not
    Burst,
    /// Spends a second, beside bare transactions
    Rates,
    /// The functions' size, start, first answer, memory and CPU time
    Start,
    /// Spends a second through the local gateway
    Http,
    /// Scheduled runs over many accounts
    Sweeps,
}

/// What the bench runs in processes of their own.
#[derive(Debug, Subcommand)]
enum Inner {
    #[command(hide = true)]
    Emulator,
    #[command(hide = true)]
    Plan { what: plans::What, lots: u32 },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Inner::Plan { what, lots }) = cli.inner {
        plans::plan_once(what, lots);
        return ExitCode::SUCCESS;
    }
    if matches!(cli.inner, Some(Inner::Emulator)) {
        parallel().block_on(bed::serve());
        return ExitCode::SUCCESS;
    }
    let all = Part::value_variants();
    let parts = if cli.parts.is_empty() {
        all
    } else {
        &cli.parts
    };
    let functions = function::Binaries::new(cli.functions.clone());
    // Every part runs, whatever one before it came to.
    let failed = parts
        .iter()
        .filter(|part| !cli.run(**part, &functions))
        .count();
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

impl Cli {
    /// Whether every count that is held to something keeps to it.
    fn run(&self, part: Part, functions: &function::Binaries) -> bool {
        match part {
            Part::Cost => {
                let run = report::part("Cost of each operation", cost::run());
                in_order().build().unwrap().block_on(run);
            }
            Part::Growth => {
                let run = report::part("How cost grows", growth::run());
                in_order().build().unwrap().block_on(run);
            }
            Part::Plans => {
                let then = match (self.check, self.record) {
                    (true, _) => plans::Then::Check,
                    (_, true) => plans::Then::Record,
                    _ => plans::Then::Show,
                };
                let run = async { plans::run(then) };
                let run = report::part("Instructions of planning a spend", run);
                return parallel().block_on(run);
            }
            Part::Hot => {
                let run = report::part("One hot account", hot::run());
                let runtime = in_order().start_paused(true).build();
                runtime.unwrap().block_on(run);
            }
            Part::Burst => {
                let run = report::part("Bursts", burst::run());
                let runtime = in_order().start_paused(true).build();
                runtime.unwrap().block_on(run);
            }
            Part::Rates => {
                let run = report::part("Spends a second", rates::run(self.seconds));
                parallel().block_on(run);
            }
            Part::Start => {
                let run = report::part("The functions", start::run(functions));
                parallel().block_on(run);
            }
            Part::Http => {
                let run = http::run(functions, self.seconds);
                let run = report::part("Spends a second over HTTP", run);
                parallel().block_on(run);
            }
            Part::Sweeps => {
                let run = sweeps::run(functions, &self.accounts);
                parallel().block_on(report::part("Scheduled runs", run));
            }
        }
        true
    }
}

/// One thread: what is sent together arrives together, so that round trips can be told.
fn in_order() -> Builder {
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    builder
}

fn parallel() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}
