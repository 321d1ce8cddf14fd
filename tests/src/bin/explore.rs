//! Explores every pair and the chosen triples: `explore [faults for pairs] [faults for triples]
//! [words of the cases wanted]`.

use std::process::ExitCode;
use std::time::Instant;

use connects_tests::explorer::operation::Grain;
use connects_tests::explorer::{Bounds, Case, Report, explore_all, pairs, total, triples};

/// Without arguments: two faults in each execution of a pair, one in each of a triple.
const FAULTS: [u32; 2] = [2, 1];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let faults = |place: usize| {
        let given = arguments.get(place).and_then(|text| text.parse().ok());
        given.unwrap_or(FAULTS[place])
    };
    let words = arguments.get(2..).unwrap_or_default();
    let wanted = |case: &Case| words.iter().all(|word| case.to_string().contains(word));
    let began = Instant::now();
    let mut reports: Vec<Report> = vec![];
    for (cases, faults) in [(pairs(), faults(0)), (triples(), faults(1))] {
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
