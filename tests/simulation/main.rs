//! A few of the simulator's histories, always the same ones. `cargo local simulate` runs as many
//! others as there is time for.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use connects_tests::faults::Fault;
use connects_tests::simulator::{Simulator, Tally};

/// Histories that every run of the tests repeats.
const HISTORIES: u64 = 30;

#[test]
fn every_promise_is_kept_whatever_goes_wrong() {
    let simulator = Simulator::new();
    let mut sum = Tally::default();
    for seed in 0..HISTORIES {
        match simulator.run(seed) {
            Ok(tally) => sum.add(&tally),
            Err(violation) => panic!("{violation}"),
        }
    }
    assert_eq!(sum.histories, HISTORIES);
    assert!(sum.late_payments > 0, "every payment was known at once");
    for (fault, word, _) in Fault::ALL {
        assert!(sum.faults.contains_key(&fault), "never: {word}");
    }
}

#[test]
fn the_same_number_is_the_same_history() {
    let simulator = Simulator::new();
    for seed in [3, 1_000_003] {
        let first = simulator.run(seed).unwrap();
        // What came in between must not show.
        simulator.run(seed + 1).unwrap();
        assert_eq!(simulator.run(seed).unwrap(), first, "{seed}");
    }
}
