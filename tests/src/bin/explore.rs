//! Explores every pair and the chosen triples.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use connects_tests::explorer::operation::Grain;
use connects_tests::explorer::{
    Bounds, Case, Report, auction_pairs, auction_triples, badge_pairs, code_cases, explore_all,
    hold_pairs, hold_triples, market_pairs, market_triples, pairs, total, triples,
};

/// Runs every order of events of a few operations at once, and checks each from end to end.
#[derive(Debug, Parser)]
#[command(name = "cargo local explore")]
struct Arguments {
    /// Calls that go wrong, at most, in each execution of two operations
    #[arg(long, default_value_t = 1)]
    pairs: u32,
    /// The same, of three
    #[arg(long, default_value_t = 0)]
    triples: u32,
    /// Only cases whose names have all these words
    words: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let words = &arguments.words;
    let wanted = |case: &Case| words.iter().all(|word| case.to_string().contains(word));
    let began = Instant::now();
    let mut reports: Vec<Report> = vec![];
    let pairs = [
        pairs(),
        market_pairs(),
        hold_pairs(),
        auction_pairs(),
        badge_pairs(),
        code_cases(),
    ]
    .concat();
    let triples = [
        triples(),
        market_triples(),
        hold_triples(),
        auction_triples(),
    ]
    .concat();
    for (cases, faults) in [(pairs, arguments.pairs), (triples, arguments.triples)] {
        let cases: Vec<Case> = cases.into_iter().filter(wanted).collect();
        println!("\n{} cases, {faults} faults", cases.len());
        let bounds = Bounds {
            faults,
            grain: Grain::Coarse,
        };
        reports.extend(explore_all(&cases, bounds));
    }
    println!("\n{} in {:?}", total(&reports), began.elapsed());
    match reports.iter().all(Report::is_fine) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
