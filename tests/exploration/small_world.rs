//! No order of events breaks a promise.

use connects_tests::explorer::acts::{Deed, Scene};
use connects_tests::explorer::operation::Grain;
use connects_tests::explorer::{Bounds, Case, Explorer, case, explore_all, pairs, total};

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
    all_fine(&pairs(), 0);
}

/// `cargo local explore` does this with every pair.
#[test]
fn pairs_with_a_call_that_goes_wrong() {
    let cases = [
        case(Scene::New, &[(Deed::Open, 0), (Deed::Open, 0)]),
        case(Scene::Quiet, &[(Deed::Spend, 0), (Deed::Spend, 0)]),
        case(Scene::Due, &[(Deed::SweepGrants, 0), (Deed::Spend, 1)]),
    ];
    all_fine(&cases, 1);
}

/// The search takes points of an operation for the same when what was forgotten between them no
/// longer matters. Forgetting nothing, it finds the same ends.
#[test]
fn what_is_forgotten_tells_nothing() {
    for acts in [
        [(Deed::Spend, 0), (Deed::Spend, 1)],
        [(Deed::Spend, 0), (Deed::Spend, 0)],
        [(Deed::ChargeBack, 0), (Deed::SpendOne, 1)],
        [(Deed::Suspend, 0), (Deed::SweepGrants, 1)],
    ] {
        let case = case(Scene::Due, &acts);
        let [coarse, fine] = [Grain::Coarse, Grain::Fine].map(|grain| {
            let found = Explorer::new().explore(&case, Bounds { faults: 1, grain });
            println!("{found}");
            assert!(found.is_fine(), "{found}");
            found
        });
        assert!(fine.points > coarse.points, "{fine}");
        assert_eq!(coarse.ends, fine.ends, "{case}");
    }
}
