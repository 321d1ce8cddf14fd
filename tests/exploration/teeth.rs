//! The explorer sees what it is there to see: with one safeguard taken away, on the wire, the
//! orders in which that safeguard was needed come out wrong.

use connects::domain::closure::ClosureReason::{self, ClientCancelled, Fraud};
use connects_tests::explorer::acts::{Deed, Scene};
use connects_tests::explorer::auctions::Deed::{Bid, BidElsewhere};
use connects_tests::explorer::badges::Deed::{Renew, TurnOff};
use connects_tests::explorer::holds::Deed::{Capture, Release};
use connects_tests::explorer::market::Deed::{Close, Hire, Propose, Settle};
use connects_tests::explorer::operation::Grain;
use connects_tests::explorer::world::Tamper;
use connects_tests::explorer::{Bounds, Explorer, case};
use connects_tests::wire::Call;
use serde_json::Value;

/// The actions of a transaction, each as its parameters.
fn actions(call: &mut Call) -> impl Iterator<Item = &mut Value> {
    let actions = call.request["TransactItems"].as_array_mut();
    actions
        .into_iter()
        .flatten()
        .flat_map(|action| action.as_object_mut().unwrap().values_mut())
}

fn key<'a>(action: &'a Value, part: &str) -> &'a str {
    let key = action.get("Item").unwrap_or(&action["Key"]);
    key[part]["S"].as_str().unwrap()
}

/// Takes the conditions off the actions on such items.
fn unconditional(call: &mut Call, on: impl Fn(&Value) -> bool) {
    for action in actions(call).filter(|action| on(action)) {
        let action = action.as_object_mut().unwrap();
        action.remove("ConditionExpression");
        // A value that no expression uses is refused.
        if !action.contains_key("UpdateExpression") {
            action.remove("ExpressionAttributeValues");
            action.remove("ExpressionAttributeNames");
        } else if let Some(values) = action["ExpressionAttributeValues"].as_object_mut() {
            values.remove(":was");
            values.remove(":version");
        }
    }
}

fn no_lock(call: &mut Call) {
    unconditional(call, |action| key(action, "sk").starts_with("ENTRY#"));
}

fn no_lock_and_lots_as_they_come(call: &mut Call) {
    unconditional(call, |action| {
        let sk = key(action, "sk");
        sk.starts_with("ENTRY#") || sk.starts_with("LOT#")
    });
}

fn no_receipt(call: &mut Call) {
    if let Some(actions) = call.request["TransactItems"].as_array_mut() {
        actions.retain(|action| {
            let put = &action["Put"]["Item"]["sk"]["S"];
            !put.as_str().is_some_and(|sk| sk.starts_with("RECEIPT#sp_"))
        });
    }
}

fn what_came_back_unchecked(call: &mut Call) {
    unconditional(call, |action| key(action, "sk").starts_with("RECEIPT#sp_"));
}

fn a_payment_credited_as_often_as_it_is_seen(call: &mut Call) {
    unconditional(call, |action| key(action, "sk").starts_with("RECEIPT#pu_"));
}

fn no_cap(call: &mut Call) {
    unconditional(call, |action| key(action, "sk") == "SLOT");
}

fn a_code_for_whoever_comes(call: &mut Call) {
    unconditional(call, |action| key(action, "sk") == "USED");
}

fn a_bonus_for_each_account(call: &mut Call) {
    unconditional(call, |action| key(action, "pk").starts_with("PERSON#"));
}

fn a_proposal_whatever_the_job_stands_at(call: &mut Call) {
    if let Some(actions) = call.request["TransactItems"].as_array_mut() {
        actions.retain(|action| action.get("ConditionCheck").is_none());
    }
}

fn a_proposal_written_over_whatever_it_was(call: &mut Call) {
    unconditional(call, |action| key(action, "sk").starts_with("PROPOSAL#"));
}

fn a_job_written_over_whatever_it_was(call: &mut Call) {
    unconditional(call, |action| {
        action.get("Item").is_some() && key(action, "sk") == "JOB"
    });
}

fn a_hold_written_over_whatever_it_was(call: &mut Call) {
    unconditional(call, |action| key(action, "sk").starts_with("RECEIPT#ho_"));
}

fn a_ranking_written_over_whatever_it_was(call: &mut Call) {
    unconditional(call, |action| key(action, "sk") == "AUCTION");
}

fn a_loser_left_out(call: &mut Call) {
    let theirs = |action: &mut Value, account: &str| {
        let parts = action.as_object_mut().unwrap().values();
        let ours = |part| [key(part, "pk"), key(part, "sk")].map(|key| key.ends_with(account));
        parts.map(ours).any(|[pk, sk]| pk || sk)
    };
    let actions = call.request["TransactItems"].as_array_mut();
    if let Some(actions) = actions
        && actions.iter_mut().any(|action| theirs(action, "#second"))
    {
        actions.retain_mut(|action| !theirs(action, "#first"));
    }
}

fn a_badge_charged_whatever_has_become_of_it(call: &mut Call) {
    unconditional(call, |action| key(action, "sk") == "SETTING#BADGE");
}

#[test]
fn what_a_safeguard_is_for_goes_wrong_without_it() {
    use Deed::{Buy, Open, OpenSecond, Recover, Redeem, RedeemElsewhere, Refund, Spend, SpendOne};
    use Scene::{Badged, Cancelled, Expired, Led, New, Posted, Proposed, Quiet};
    let job = Deed::Job;
    type Safeguard = (&'static str, Tamper, Scene, Vec<(Deed, usize)>);
    let safeguards: [Safeguard; 15] = [
        ("the lock", no_lock, Quiet, vec![(SpendOne, 0), (Redeem, 1)]),
        (
            "the lock and the lots",
            no_lock_and_lots_as_they_come,
            Quiet,
            vec![(Spend, 0), (Spend, 1)],
        ),
        (
            "the receipt",
            no_receipt,
            Quiet,
            vec![(Spend, 0), (Spend, 0)],
        ),
        (
            "what came back",
            what_came_back_unchecked,
            Quiet,
            vec![(Refund, 0), (Refund, 1)],
        ),
        (
            "the step before",
            a_payment_credited_as_often_as_it_is_seen,
            Quiet,
            vec![(Buy, 0), (Recover, 1)],
        ),
        (
            "the cap",
            no_cap,
            Quiet,
            vec![(Redeem, 0), (RedeemElsewhere, 1)],
        ),
        (
            "the used code",
            a_code_for_whoever_comes,
            Quiet,
            vec![(Deed::BuyWithCode, 0), (Deed::BuyWithCodeElsewhere, 1)],
        ),
        (
            "the person",
            a_bonus_for_each_account,
            New,
            vec![(Open, 0), (OpenSecond, 1)],
        ),
        (
            "the check of the job",
            a_proposal_whatever_the_job_stands_at,
            Posted,
            vec![
                (job(Propose), 0),
                (job(Close(Fraud)), 1),
                (job(Settle(Fraud)), 2),
            ],
        ),
        (
            "the proposal's revision",
            a_proposal_written_over_whatever_it_was,
            Cancelled,
            vec![(job(Settle(ClientCancelled)), 0), (job(Hire), 1)],
        ),
        (
            "the job's revision",
            a_job_written_over_whatever_it_was,
            Expired,
            vec![
                (job(Settle(ClosureReason::Expired)), 0),
                (job(Close(Fraud)), 1),
                (job(Settle(Fraud)), 2),
            ],
        ),
        (
            "the hold's revision",
            a_hold_written_over_whatever_it_was,
            Quiet,
            vec![(Deed::Hold(Capture), 0), (Deed::Hold(Release), 1)],
        ),
        (
            "the ranking's revision",
            a_ranking_written_over_whatever_it_was,
            Proposed,
            vec![(Deed::Auction(Bid), 0), (Deed::Auction(BidElsewhere), 1)],
        ),
        (
            "the loser's part",
            a_loser_left_out,
            Led,
            vec![(Deed::Auction(BidElsewhere), 0), (Spend, 1)],
        ),
        (
            "the badge's revision",
            a_badge_charged_whatever_has_become_of_it,
            Badged,
            vec![(Deed::Badge(Renew), 0), (Deed::Badge(TurnOff), 1)],
        ),
    ];
    let bounds = Bounds {
        faults: 0,
        grain: Grain::Coarse,
    };
    for (safeguard, tamper, scene, acts) in safeguards {
        let case = case(scene, &acts);
        let with = Explorer::new().explore(&case, bounds);
        assert!(with.is_fine(), "{with}");
        let without = Explorer::without(tamper).explore(&case, bounds);
        println!("without {safeguard}: {without}");
        assert!(without.violations > 0, "without {safeguard}: {case}");
    }
}
