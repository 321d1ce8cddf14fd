//! Runs random histories under random faults until the time is up or a promise is broken; or breaks
//! the ledger in every way that there is, to see that the histories show it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use connects::defect::{CAN_BE_PLANTED, Defect, plant};
use connects_tests::faults::Fault;
use connects_tests::simulator::{Simulator, Tally};

/// Random histories of a few accounts under random faults, each checked from end to end.
#[derive(Debug, Parser)]
#[command(name = "cargo local simulate", bin_name = "cargo local simulate")]
struct Arguments {
    /// How long to go on
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many histories at most
    #[arg(long)]
    histories: Option<u64>,
    /// Only the history of this number, or as many from it on as `--histories` says
    #[arg(long)]
    seed: Option<u64>,
    /// Plant each defect that there is, and run histories until it is noticed; `--histories` says
    /// how many at most [default: 10000]
    #[arg(long)]
    defects: bool,
    /// Only the defects whose names have one of these words
    #[arg(requires = "defects")]
    words: Vec<String>,
}

/// A defect that so many histories don't show is not noticed.
const HISTORIES_FOR_A_DEFECT: u64 = 10_000;

/// How much of a violation's text a line shows.
const WORDS: usize = 90;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let simulator = Simulator::new();
    let first = arguments.seed.unwrap_or_else(|| fastrand::u64(..) >> 16);
    if arguments.defects {
        let most = arguments.histories.unwrap_or(HISTORIES_FOR_A_DEFECT);
        return defects(&simulator, first, most, &arguments.words);
    }
    let most = match (arguments.histories, arguments.seed) {
        (None, Some(_)) => 1,
        (histories, _) => histories.unwrap_or(u64::MAX),
    };
    let (begun, patience) = (Instant::now(), Duration::from_secs(arguments.seconds));
    let mut sum = Tally::default();
    println!("from seed {first} on");
    for seed in (first..).take(usize::try_from(most).unwrap_or(usize::MAX)) {
        if begun.elapsed() >= patience {
            break;
        }
        match simulator.run(seed) {
            Ok(tally) => sum.add(&tally),
            Err(violation) => {
                print(&sum, begun.elapsed());
                println!("\nA promise was broken. To see it again:\n");
                println!("  cargo local simulate --seed {seed}\n\n{violation}");
                return ExitCode::FAILURE;
            }
        }
    }
    print(&sum, begun.elapsed());
    ExitCode::SUCCESS
}

/// Whether every defect is noticed.
fn defects(simulator: &Simulator, first: u64, most: u64, words: &[String]) -> ExitCode {
    if !CAN_BE_PLANTED {
        println!("this build can't be broken; it takes --features connects/defects");
        return ExitCode::FAILURE;
    }
    // A panic is a way to notice; its text is in the violation.
    std::panic::set_hook(Box::new(|_| {}));
    println!(
        "from seed {first} on\n\n{:<18} {:>9}  noticed by",
        "defect", "histories"
    );
    let wanted = |defect: &&Defect| {
        let name = format!("{defect:?}");
        words.is_empty() || words.iter().any(|word| name.contains(word))
    };
    let missed = Defect::ALL.iter().filter(wanted).filter(|defect| {
        plant(Some(**defect));
        let mut seeds = (first..).zip(1..=most);
        let noticed = seeds.find_map(|(seed, n)| Some((n, simulator.run(seed).err()?)));
        plant(None);
        let name = format!("{defect:?}");
        match &noticed {
            None => println!("{name:<18} {:>9}  NOT NOTICED", most),
            Some((n, violation)) => {
                let what: String = violation.what.chars().take(WORDS).collect();
                println!("{name:<18} {n:>9}  {what}");
            }
        }
        noticed.is_none()
    });
    match missed.count() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn print(sum: &Tally, took: Duration) {
    let milliseconds = took.as_millis().max(1) as u64;
    println!(
        "{} histories in {}.{:03} s: {} a minute; {} requests, {} journal entries, {} late payments",
        sum.histories,
        milliseconds / 1_000,
        milliseconds % 1_000,
        sum.histories * 60_000 / milliseconds,
        sum.operations,
        sum.entries,
        sum.late_payments,
    );
    for (fault, word, _) in Fault::ALL {
        let times = sum.faults.get(&fault).copied().unwrap_or(0);
        println!("{times:>9} {word}");
    }
}
