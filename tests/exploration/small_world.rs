//! No order of events breaks a promise.

use connects_tests::explorer::acts::{Deed, Scene};
use connects_tests::explorer::operation::Grain;
use connects_tests::explorer::{Bounds, Case, Explorer, case, explore_all, pairs, total, triples};

fn all_fine(cases: &[Case], faults: u32) {
    let bounds = Bounds {
        faults,
        grain: Grain::Coarse,
    };
    let reports = explore_all(cases, bounds);
    let wrong: Vec<_> = reports.iter().filter(|report| !report.is_fine()).collect();
    assert!(wrong.is_empty(), "{}", total(&reports));
    println!("{}", total(&reports));
}

#[test]
fn every_pair_of_kinds() {
    all_fine(&pairs(), 1);
}

#[test]
fn some_triples() {
    all_fine(&triples(), 0);
}

/// The search takes answers to calls that were made together in any order for the same. Telling
/// the orders apart finds no other end.
#[test]
fn the_order_of_answers_within_a_step_tells_nothing() {
    for acts in [
        [(Deed::Spend, 0), (Deed::Spend, 1)],
        [(Deed::Refund, 0), (Deed::Spend, 1)],
        [(Deed::ChargeBack, 0), (Deed::Redeem, 1)],
    ] {
        let case = case(Scene::Due, &acts);
        let [coarse, fine] = [Grain::Coarse, Grain::Fine].map(|grain| {
            let found = Explorer::new().explore(&case, Bounds { faults: 1, grain });
            assert!(found.is_fine(), "{found}");
            found
        });
        assert!(fine.points > coarse.points, "{fine}");
        assert_eq!(coarse.ends, fine.ends, "{case}");
    }
}
