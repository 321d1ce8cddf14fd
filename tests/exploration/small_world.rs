//! No order of events breaks a promise: pairs here, triples with `cargo local explore`.

use connects::domain::closure::ClosureReason::{ClientCancelled, Fraud};
use connects_tests::explorer::acts::{Deed, Scene};
use connects_tests::explorer::auctions::Deed::{BidElsewhere, Raise};
use connects_tests::explorer::badges::Deed::{Renew, TurnOff};
use connects_tests::explorer::holds::Deed::{Capture, CapturePart, Release, Sweep};
use connects_tests::explorer::market::Deed::{Close, Propose, Refund, Settle, Withdraw};
use connects_tests::explorer::operation::Grain;
use connects_tests::explorer::{
    Bounds, Case, Explorer, auction_pairs, badge_pairs, case, explore_all, hold_pairs, market,
    market_pairs, pairs, total,
};

fn job(deed: market::Deed) -> Deed {
    Deed::Job(deed)
}

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

#[test]
fn every_pair_about_a_job() {
    all_fine(&market_pairs(), 0);
}

#[test]
fn every_pair_about_a_hold() {
    all_fine(&hold_pairs(), 0);
}

/// All but what takes places, of which `cargo local explore` does the rest.
#[test]
fn pairs_about_an_auction() {
    let takes_places = |deed| matches!(deed, Deed::Auction(deed) if deed.takes_places());
    let long = |case: &Case| case.acts.iter().all(|act| takes_places(act.kind));
    let mut cases = auction_pairs();
    cases.retain(|case| !long(case));
    let [raise, elsewhere] = [Raise, BidElsewhere].map(Deed::Auction);
    cases.push(case(Scene::Led, &[(raise, 0), (elsewhere, 1)]));
    all_fine(&cases, 0);
}

#[test]
fn every_pair_about_a_badge() {
    all_fine(&badge_pairs(), 0);
}

/// `cargo local explore` does the rest.
#[test]
fn pairs_about_a_purchase_with_a_code() {
    use Deed::{BuyWithCode, BuyWithCodeElsewhere, BuyWithCodeInVain, Recover};
    let cases = [
        case(Scene::Quiet, &[(BuyWithCode, 0), (BuyWithCodeElsewhere, 1)]),
        case(Scene::Quiet, &[(BuyWithCode, 0), (Recover, 1)]),
        case(Scene::Quiet, &[(BuyWithCodeInVain, 0), (Recover, 1)]),
    ];
    all_fine(&cases, 0);
}

/// `cargo local explore` does this with every pair.
#[test]
fn pairs_with_a_call_that_goes_wrong() {
    let cases = [
        case(Scene::New, &[(Deed::Open, 0), (Deed::Open, 0)]),
        case(Scene::Quiet, &[(Deed::Spend, 0), (Deed::Spend, 0)]),
        case(Scene::Due, &[(Deed::SweepGrants, 0), (Deed::Spend, 1)]),
        case(Scene::Posted, &[(job(Propose), 0), (job(Close(Fraud)), 1)]),
        case(
            Scene::Proposed,
            &[(job(Withdraw), 0), (job(Close(ClientCancelled)), 1)],
        ),
        case(
            Scene::Cancelled,
            &[(job(Settle(ClientCancelled)), 0), (job(Refund), 1)],
        ),
        case(
            Scene::Quiet,
            &[(Deed::Hold(Capture), 0), (Deed::Hold(Capture), 0)],
        ),
        case(
            Scene::Due,
            &[(Deed::Hold(CapturePart), 0), (Deed::Hold(Sweep), 1)],
        ),
        case(
            Scene::Due,
            &[(Deed::Hold(Capture), 0), (Deed::Hold(Release), 1)],
        ),
        case(
            Scene::Badged,
            &[(Deed::Badge(Renew), 0), (Deed::Badge(TurnOff), 1)],
        ),
    ];
    all_fine(&cases, 1);
}

/// The search takes points of an operation for the same when what was forgotten between them no
/// longer matters. Forgetting nothing, it finds the same ends.
#[test]
fn what_is_forgotten_tells_nothing() {
    let pass = job(Settle(ClientCancelled));
    for (scene, acts) in [
        (Scene::Due, [(Deed::Spend, 0), (Deed::Spend, 1)]),
        (Scene::Due, [(Deed::Spend, 0), (Deed::Spend, 0)]),
        (Scene::Due, [(Deed::ChargeBack, 0), (Deed::SpendOne, 1)]),
        (Scene::Due, [(Deed::Suspend, 0), (Deed::SweepGrants, 1)]),
        (Scene::Cancelled, [(pass, 0), (job(Close(Fraud)), 1)]),
    ] {
        let case = case(scene, &acts);
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
