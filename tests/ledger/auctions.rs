//! Auctions: bids over many accounts, each Connect of them held, paid or whole again, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use connects::domain::auction::{AuctionState, AuctionView, ClosedBy, Pricing};
use connects::domain::bid::{BidCommand, BidState, BidView};
use connects::domain::closure::ClosureReason;
use connects::domain::ids::{AccountId, JobId};
use connects::domain::job::{PostJob, Pricing as JobPricing};
use connects::domain::key::IdempotencyKey;
use connects::domain::policy::{BUILT_IN, Policy};
use connects::domain::proposal::{ProposalView, ProposeCommand};
use connects::domain::refusal::Refusal;
use connects::domain::units::Connects;
use connects::ledger::{Error, Ledger, Outcome, Report};
use connects_tests::table::{Table, account_id, at, audit, instant, job_id, key, refusal, spend};
use connects_tests::wire::{Answer, Broken, Call, Clear, Emulated, Layer};
use futures::future::{BoxFuture, join_all, ready};

use super::busy::{ledger, opened};
use super::proposals::{post, posted, propose};

const NOW: &str = "2026-01-10T12:00:00Z";
const LATER: &str = "2026-01-11T12:00:00Z";
const CLOSES: &str = "2026-01-17T12:00:00Z";
const COST: u64 = 2;

fn with_bid(job: &JobId, cost: u64, bid: u64) -> ProposeCommand {
    ProposeCommand {
        boost: Some(Connects::new(bid)),
        ..propose(job, cost)
    }
}

fn next_plus_one() -> Policy {
    let mut policy = Policy::parse(BUILT_IN).unwrap();
    policy.boost.pricing = Pricing::NextPlusOne;
    policy
}

/// A job that costs 2, and a freelancer's 50 less that for each of these bids.
async fn bidders(table: &Table, bids: &[u64]) -> (JobId, Vec<AccountId>) {
    let job = posted(table, COST).await;
    let mut accounts = vec![];
    for bid in bids {
        accounts.push(bidder(table, &job, *bid).await);
    }
    (job, accounts)
}

/// Who bids so much with their proposal; nothing at 0.
async fn bidder(table: &Table, job: &JobId, bid: u64) -> AccountId {
    let account = table.open(NOW).await;
    let command = match bid {
        0 => propose(job, COST),
        bid => with_bid(job, COST, bid),
    };
    let now = at(NOW);
    let submitted = table.ledger.propose(&now, &account, None, &command);
    submitted.await.unwrap();
    account
}

async fn bid_at(
    ledger: &Ledger,
    now: &str,
    account: &AccountId,
    job: &JobId,
    amount: u64,
) -> Result<BidView, Error> {
    let command = BidCommand {
        job_id: job.clone(),
        amount: Connects::new(amount),
    };
    let bid = ledger.bid(&at(now), account, Some(&key()), &command).await;
    bid.map(Outcome::into_inner)
}

async fn bid(table: &Table, account: &AccountId, job: &JobId, amount: u64) -> BidView {
    let bid = bid_at(&table.ledger, NOW, account, job, amount).await;
    bid.unwrap()
}

async fn spent_at(table: &Table, now: &str, account: &AccountId) {
    let (now, key, one) = (at(now), key(), spend(1));
    table.ledger.spend(&now, account, &key, &one).await.unwrap();
}

async fn view(table: &Table, now: &str, job: &JobId) -> AuctionView {
    let view = table.ledger.auction(&at(now), job, |_| false).await;
    view.unwrap()
}

fn amounts(view: &AuctionView) -> Vec<u64> {
    view.bids.iter().map(|bid| bid.amount.get()).collect()
}

fn prices(view: &AuctionView) -> Vec<u64> {
    let price = |price: Option<Connects>| price.unwrap().get();
    view.bids.iter().map(|bid| price(bid.price)).collect()
}

async fn proposal(table: &Table, account: &AccountId, job: &JobId) -> ProposalView {
    let found = table.ledger.proposal(&at(CLOSES), account, job).await;
    found.unwrap()
}

/// Where a bid stands, and what the account has available and held.
async fn stands(table: &Table, account: &AccountId, job: &JobId) -> (BidState, u64, u64) {
    let view = proposal(table, account, job).await;
    table.audit(account).await;
    let balance = view.balance;
    let state = view.boost_state.unwrap();
    (state, balance.available.get(), balance.held.get())
}

async fn run(table: &Table, now: &str) -> Report {
    let now = at(now);
    table.ledger.sweep_auctions(&now, now.now).await.unwrap()
}

async fn close(table: &Table, job: &JobId, reason: ClosureReason) {
    let now = at(LATER);
    table.ledger.close(&now, job, reason).await.unwrap();
    let report = table.ledger.sweep_closures(&now, now.now).await.unwrap();
    assert_eq!(report.failed, 0, "{report:?}");
}

/// The entries of an account about a job: type, reason, amount.
async fn story(table: &Table, account: &AccountId, job: &JobId) -> Vec<(String, String, i64)> {
    let about = format!("job:{job}");
    let entries = table.journal(account).await;
    entries
        .iter()
        .filter(|entry| {
            entry
                .reference
                .as_ref()
                .is_some_and(|r| r.to_string() == about)
        })
        .map(|entry| {
            let reason = entry.reason.to_string();
            (entry.entry_type.as_str().to_owned(), reason, entry.amount)
        })
        .collect()
}

fn told(entries: &[(&str, &str, i64)]) -> Vec<(String, String, i64)> {
    let told = |(kind, reason, amount): &(&str, &str, i64)| {
        ((*kind).to_owned(), (*reason).to_owned(), *amount)
    };
    entries.iter().map(told).collect()
}

#[tokio::test]
async fn a_fifth_bidder_pushes_the_lowest_out_who_is_whole_at_once() {
    let table = Table::new().await;
    let (job, all) = bidders(&table, &[20, 15, 12, 10, 0]).await;
    let before = table.state(&all[3]).await.lots;
    let fifth = bid(&table, &all[4], &job, 11).await;
    assert_eq!((fifth.rank, fifth.state), (Some(4), BidState::Leading));
    assert_eq!(fifth.balance.available.get(), 50 - COST - 11);
    assert_eq!(amounts(&view(&table, NOW, &job).await), [20, 15, 12, 11]);
    let lost = stands(&table, &all[3], &job).await;
    assert_eq!(lost, (BidState::Outbid, 48, 0));
    let after = table.state(&all[3]).await.lots;
    assert_eq!(before[0].birth(), after[0].birth());
    let whole = [
        ("spend", "proposal", -2),
        ("hold", "boost", -10),
        ("release", "outbid", 10),
    ];
    assert_eq!(story(&table, &all[3], &job).await, told(&whole));

    // Nobody is paid before the end; then each winner pays what they bid.
    let early = run(&table, "2026-01-17T11:59:59Z").await;
    assert_eq!((early.jobs, early.bids), (0, 0));
    assert_eq!(run(&table, CLOSES).await.bids, 4);
    assert_eq!(run(&table, CLOSES).await.jobs, 0);
    let ended = view(&table, CLOSES, &job).await;
    assert_eq!(ended.state, AuctionState::Closed);
    assert_eq!(ended.closed_by, Some(ClosedBy::Time));
    assert_eq!(prices(&ended), [20, 15, 12, 11]);
    for (account, left) in all.iter().zip([28, 33, 36, 48, 37]) {
        let (state, available, held) = stands(&table, account, &job).await;
        let expected = match left {
            48 => BidState::Outbid,
            _ => BidState::Charged,
        };
        assert_eq!((state, available, held), (expected, left, 0));
    }
}

#[tokio::test]
async fn by_the_other_rule_each_winner_pays_one_more_than_the_best_that_lost() {
    let table = Table::under(next_plus_one()).await;
    let (job, all) = bidders(&table, &[20, 15, 12, 10, 11]).await;
    assert_eq!(run(&table, "2026-01-20T00:00:00Z").await.bids, 4);
    assert_eq!(prices(&view(&table, CLOSES, &job).await), [11; 4]);
    // However late the run: the winners pay as of the end.
    let paid = table.journal(&all[0]).await;
    let captured = paid.iter().rev().nth(1).unwrap();
    assert_eq!(captured.at, instant(CLOSES));
    let whole = [
        ("spend", "proposal", -2),
        ("hold", "boost", -20),
        ("capture", "won", 0),
        ("release", "released", 9),
    ];
    assert_eq!(story(&table, &all[0], &job).await, told(&whole));
    for (account, left) in all.iter().zip([37, 37, 37, 48, 37]) {
        assert_eq!(stands(&table, account, &job).await.1, left);
    }
}

#[tokio::test]
async fn a_bid_is_raised_by_the_difference_and_only_raised() {
    let table = Table::new().await;
    let (job, all) = bidders(&table, &[10, 8]).await;
    let raised = bid(&table, &all[1], &job, 12).await;
    assert_eq!((raised.amount.get(), raised.rank), (12, Some(1)));
    assert_eq!(raised.balance.held.get(), 12);
    let last = table.journal(&all[1]).await.pop().unwrap();
    assert_eq!(last.amount, -4);
    for amount in [12, 3] {
        let refused = bid_at(&table.ledger, NOW, &all[1], &job, amount).await;
        let stands = Connects::new(12);
        assert_eq!(refusal(refused), Refusal::BidNotRaised { bid: stands });
    }
    let poor = bid_at(&table.ledger, NOW, &all[1], &job, 60).await;
    let short = Refusal::InsufficientConnects {
        available: Connects::new(36),
        required: Connects::new(48),
    };
    assert_eq!(refusal(poor), short);
    // A raise that comes out of several lots comes back to them.
    bid(&table, &all[1], &job, 45).await;
    close(&table, &job, ClosureReason::ClientCancelled).await;
    assert_eq!(stands(&table, &all[1], &job).await, (BidState::Lost, 50, 0));
    let lots = table.state(&all[1]).await.lots;
    let left: Vec<u64> = lots.iter().map(|lot| lot.remaining().get()).collect();
    assert_eq!(left, [40, 10]);
}

#[tokio::test]
async fn the_same_request_is_one_bid() {
    let table = Table::new().await;
    let (job, all) = bidders(&table, &[0, 0]).await;
    let command = |amount| BidCommand {
        job_id: job.clone(),
        amount: Connects::new(amount),
    };
    let one = key();
    let now = at(NOW);
    let bid = async |key: Option<&IdempotencyKey>, amount| {
        table.ledger.bid(&now, &all[0], key, &command(amount)).await
    };
    let first = bid(Some(&one), 5).await.unwrap();
    assert!(matches!(first, Outcome::Applied(_)));
    let first = first.into_inner();
    // Also after it was raised; without a key it is another bid.
    bid(None, 7).await.unwrap();
    assert_eq!(bid(Some(&one), 5).await.unwrap(), Outcome::Replayed(first));
    let as_much = Refusal::BidNotRaised {
        bid: Connects::new(7),
    };
    assert_eq!(refusal(bid(None, 7).await), as_much);
    let reused = bid(Some(&one), 6).await;
    assert_eq!(refusal(reused), Refusal::IdempotencyKeyReused);
    assert_eq!(
        stands(&table, &all[0], &job).await,
        (BidState::Leading, 41, 7)
    );
}

#[tokio::test]
async fn a_proposal_and_its_bid_are_both_or_neither() {
    let table = Table::new().await;
    let (job, _) = bidders(&table, &[20, 15, 12, 10]).await;
    let account = table.open(NOW).await;
    let submit = async |cost, bid| {
        let command = with_bid(&job, cost, bid);
        let now = at(LATER);
        let submitted = table.ledger.propose(&now, &account, None, &command);
        submitted.await.map(Outcome::into_inner)
    };
    let required = Connects::new(11);
    assert_eq!(
        refusal(submit(2, 10).await),
        Refusal::BidTooLow { required }
    );
    let short = Refusal::InsufficientConnects {
        available: Connects::new(50),
        required: Connects::new(51),
    };
    assert_eq!(refusal(submit(2, 49).await), short);
    // Too low and not covered either: more Connects would not help.
    let low = with_bid(&job, 2, 10);
    let poor = table.open_empty(NOW).await;
    let later = at(LATER);
    let submitted = table.ledger.propose(&later, &poor, None, &low).await;
    assert_eq!(refusal(submitted), Refusal::BidTooLow { required });
    let dearer = submit(1, 20).await;
    assert!(matches!(refusal(dearer), Refusal::PriceChanged { .. }));
    assert_eq!(table.state(&account).await.balance().available.get(), 50);
    let both = submit(2, 48).await.unwrap();
    assert_eq!(both.boost, Some(Connects::new(48)));
    assert_eq!(
        (both.balance.available.get(), both.balance.held.get()),
        (0, 48)
    );
    assert_eq!(amounts(&view(&table, NOW, &job).await), [48, 20, 15, 12]);
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed() {
    let table = Table::new().await;
    let (job, all) = bidders(&table, &[5]).await;
    let ledger = &table.ledger;
    let stranger = table.open(NOW).await;
    let none = bid_at(ledger, NOW, &stranger, &job, 5).await;
    assert_eq!(refusal(none), Refusal::ProposalNotFound);
    let nowhere = bid_at(ledger, NOW, &stranger, &job_id(), 5).await;
    assert_eq!(refusal(nowhere), Refusal::JobNotFound);
    let nobody = bid_at(ledger, NOW, &account_id(), &job, 5).await;
    assert_eq!(refusal(nobody), Refusal::AccountNotFound);
    let late = bid_at(ledger, CLOSES, &all[0], &job, 6).await;
    assert_eq!(refusal(late), Refusal::AuctionClosed);
    // A bid can't be taken back: it stays when the proposal is withdrawn, and can't be raised either.
    ledger.withdraw(&at(NOW), &all[0], &job).await.unwrap();
    let withdrawn = bid_at(ledger, NOW, &all[0], &job, 6).await;
    assert_eq!(refusal(withdrawn), Refusal::ProposalNotFound);
    assert_eq!(
        stands(&table, &all[0], &job).await,
        (BidState::Leading, 43, 5)
    );
    run(&table, CLOSES).await;
    assert_eq!(
        stands(&table, &all[0], &job).await,
        (BidState::Charged, 43, 0)
    );
}

#[tokio::test]
async fn a_client_who_looks_into_a_proposal_makes_it_pay_at_once() {
    let table = Table::under(next_plus_one()).await;
    let (job, all) = bidders(&table, &[20, 15, 12, 10]).await;
    let look = async |account: &AccountId| {
        let looked = table.ledger.interaction(&at(NOW), account, &job).await;
        looked.map(|bid| (bid.state, bid.charged.get()))
    };
    // Once, in full, whatever the others will pay.
    for _ in 0..2 {
        assert_eq!(look(&all[3]).await.unwrap(), (BidState::Charged, 10));
    }
    let paid = [
        ("spend", "proposal", -2),
        ("hold", "boost", -10),
        ("capture", "interaction", 0),
    ];
    assert_eq!(story(&table, &all[3], &job).await, told(&paid));
    // The place is sold: the lowest of the others goes.
    let fifth = bidder(&table, &job, 13).await;
    assert_eq!(stands(&table, &all[2], &job).await.0, BidState::Outbid);
    assert_eq!(look(&all[2]).await.unwrap(), (BidState::Outbid, 0));
    let stranger = table.open(NOW).await;
    assert_eq!(refusal(look(&stranger).await), Refusal::ProposalNotFound);
    let raised = bid_at(&table.ledger, NOW, &all[3], &job, 30).await;
    assert_eq!(refusal(raised), Refusal::AuctionClosed);
    run(&table, CLOSES).await;
    assert_eq!(prices(&view(&table, CLOSES, &job).await), [13, 13, 13, 10]);
    assert_eq!(stands(&table, &fifth, &job).await.1, 35);
    // After the end it charges nothing more.
    let after = table.ledger.interaction(&at(CLOSES), &all[0], &job).await;
    assert_eq!(after.unwrap().charged.get(), 13);
}

#[tokio::test]
async fn the_first_hire_ends_it_and_the_winners_pay() {
    let table = Table::new().await;
    let (job, all) = bidders(&table, &[9, 7, 0]).await;
    let hire = async |who: &AccountId| {
        let hired = table.ledger.contract(&at(LATER), &job, who).await;
        hired.unwrap();
    };
    hire(&all[2]).await;
    hire(&all[0]).await;
    let ended = view(&table, LATER, &job).await;
    assert_eq!(ended.state, AuctionState::Closed);
    assert_eq!(ended.closed_by, Some(ClosedBy::Hire));
    assert_eq!(ended.closed_at, Some(instant(LATER)));
    assert_eq!(
        stands(&table, &all[0], &job).await,
        (BidState::Charged, 39, 0)
    );
    let late = bid_at(&table.ledger, LATER, &all[2], &job, 20).await;
    assert_eq!(refusal(late), Refusal::AuctionClosed);
    // Where nobody had bid, a hire keeps them from it as well.
    let (quiet, few) = bidders(&table, &[0]).await;
    let hired = table.ledger.contract(&at(NOW), &quiet, &few[0]).await;
    hired.unwrap();
    let late = bid_at(&table.ledger, NOW, &few[0], &quiet, 20).await;
    assert_eq!(refusal(late), Refusal::AuctionClosed);
}

#[tokio::test]
async fn closing_the_job_gives_back_what_is_held_or_lets_it_pay_by_the_matrix() {
    use BidState::{Charged, Lost, Outbid};
    use ClosureReason::{ClientCancelled, Expired, Filled, Fraud};
    for (reason, state, left) in [
        (ClientCancelled, Lost, 50),
        (Fraud, Lost, 50),
        (Expired, Charged, 39),
        (Filled, Charged, 39),
    ] {
        let table = Table::new().await;
        let (job, all) = bidders(&table, &[9, 8, 7, 6, 10]).await;
        close(&table, &job, reason).await;
        let lost = stands(&table, &all[3], &job).await;
        let whole = if state == Lost { 50 } else { 48 };
        assert_eq!(lost, (Outbid, whole, 0), "{reason:?}");
        assert_eq!(stands(&table, &all[0], &job).await, (state, left, 0));
        let ended = view(&table, LATER, &job).await;
        assert_eq!(ended.closed_by, Some(ClosedBy::JobClosed));
        let free = prices(&ended).iter().all(|price| *price == 0);
        assert_eq!(free, state == Lost);
        let late = bid_at(&table.ledger, LATER, &all[3], &job, 40).await;
        assert_eq!(refusal(late), Refusal::JobClosed);
    }
}

#[tokio::test]
async fn what_was_paid_comes_back_with_the_cost_in_an_entry_of_its_own() {
    let table = Table::new().await;
    let (job, all) = bidders(&table, &[9, 7]).await;
    run(&table, CLOSES).await;
    let now = at("2026-01-18T12:00:00Z");
    let closing = async |reason| {
        table.ledger.close(&now, &job, reason).await.unwrap();
        table.ledger.sweep_closures(&now, now.now).await.unwrap()
    };
    // First it ran out, then it was found a fraud.
    closing(ClosureReason::Expired).await;
    assert_eq!(
        stands(&table, &all[0], &job).await,
        (BidState::Charged, 39, 0)
    );
    closing(ClosureReason::Fraud).await;
    closing(ClosureReason::TermsViolation).await;
    let back = [
        ("spend", "proposal", -2),
        ("hold", "boost", -9),
        ("capture", "won", 0),
        ("return", "fraud", 2),
        ("return", "fraud", 9),
    ];
    assert_eq!(story(&table, &all[0], &job).await, told(&back));
    let after = proposal(&table, &all[0], &job).await;
    assert_eq!(after.returned.get(), 11);
    assert_eq!(after.return_reason.unwrap().as_str(), "fraud");
    assert_eq!(after.boost_charged.get(), 9);
    assert_eq!(
        stands(&table, &all[0], &job).await,
        (BidState::Charged, 50, 0)
    );
}

#[tokio::test]
async fn a_free_proposal_may_bid_and_gets_that_back() {
    let table = Table::new().await;
    let job = posted(&table, 0).await;
    let account = table.open(NOW).await;
    let command = with_bid(&job, 0, 6);
    let now = at(NOW);
    let submitted = table.ledger.propose(&now, &account, None, &command);
    submitted.await.unwrap();
    run(&table, CLOSES).await;
    let now = at(CLOSES);
    let closed = table.ledger.close(&now, &job, ClosureReason::Fraud).await;
    closed.unwrap();
    table.ledger.sweep_closures(&now, now.now).await.unwrap();
    let after = proposal(&table, &account, &job).await;
    assert_eq!(after.returned.get(), 6);
    assert_eq!(after.return_reason.unwrap().as_str(), "fraud");
    assert_eq!(after.balance.available.get(), 50);
}

#[tokio::test]
async fn a_loser_who_cant_be_changed_just_then_is_released_after() {
    let table = Table::new().await;
    let (job, all) = bidders(&table, &[20, 15, 12, 10, 0]).await;
    // Somebody whose clock is an hour ahead has changed the loser's account.
    let ahead = "2026-01-10T13:00:00Z";
    spent_at(&table, ahead, &all[3]).await;
    bid(&table, &all[4], &job, 11).await;
    let waiting = stands(&table, &all[3], &job).await;
    assert_eq!(waiting, (BidState::Releasing, 37, 10));
    assert_eq!(amounts(&view(&table, NOW, &job).await), [20, 15, 12, 11]);
    // It is due, and a run that can reads it and releases it, once.
    let failed = run(&table, NOW).await;
    assert_eq!((failed.bids, failed.failed), (0, 1));
    assert_eq!(run(&table, ahead).await.bids, 1);
    assert_eq!(run(&table, ahead).await.jobs, 0);
    let whole = stands(&table, &all[3], &job).await;
    assert_eq!(whole, (BidState::Outbid, 47, 0));
}

#[tokio::test]
async fn who_cant_be_changed_keeps_nobody_else_from_the_end() {
    let table = Table::new().await;
    let (job, all) = bidders(&table, &[20, 15, 12, 10, 0]).await;
    // Far ahead: no run will reach the loser's account, nor one of the winners'.
    for account in [&all[0], &all[3]] {
        spent_at(&table, "2026-02-09T12:00:00Z", account).await;
    }
    bid(&table, &all[4], &job, 11).await;
    let report = run(&table, CLOSES).await;
    assert_eq!((report.bids, report.failed), (3, 2), "{report:?}");
    let named: Vec<String> = [&all[3], &all[0]].iter().map(|id| id.to_string()).collect();
    assert_eq!(report.failures, named);
    assert_eq!(
        view(&table, CLOSES, &job).await.state,
        AuctionState::Closing
    );
    for account in [&all[1], &all[2], &all[4]] {
        assert_eq!(stands(&table, account, &job).await.0, BidState::Charged);
    }
    assert_eq!(run(&table, "2026-02-09T12:00:00Z").await.bids, 2);
    assert_eq!(view(&table, CLOSES, &job).await.state, AuctionState::Closed);
    assert_eq!(run(&table, "2026-02-09T12:00:00Z").await.jobs, 0);
}

/// Whatever comes between the request to close a job and the pass that settles its proposals.
#[tokio::test]
async fn what_a_closing_decides_about_bids_stays_so() {
    let table = Table::new().await;
    let (job, all) = bidders(&table, &[10, 9, 0]).await;
    let (ledger, now) = (&table.ledger, at(LATER));
    ledger.withdraw(&now, &all[0], &job).await.unwrap();
    let why = ClosureReason::ClientCancelled;
    ledger.close(&now, &job, why).await.unwrap();
    for account in &all[..2] {
        let looked = ledger.interaction(&now, account, &job).await.unwrap();
        assert_eq!(looked.charged, Connects::ZERO);
    }
    ledger.contract(&now, &job, &all[2]).await.unwrap();
    run(&table, CLOSES).await;
    let filled = ledger.close(&now, &job, ClosureReason::Filled).await;
    filled.unwrap();
    ledger.sweep_closures(&now, now.now).await.unwrap();
    assert_eq!(stands(&table, &all[0], &job).await, (BidState::Lost, 48, 0));
    assert_eq!(stands(&table, &all[1], &job).await, (BidState::Lost, 50, 0));
    let ended = view(&table, LATER, &job).await;
    assert_eq!(ended.state, AuctionState::Closed);
    assert_eq!(ended.closed_by, Some(ClosedBy::JobClosed));
}

#[tokio::test]
async fn whose_release_is_on_its_way_may_bid_again() {
    let table = Table::new().await;
    let (job, all) = bidders(&table, &[20, 15, 12, 10, 0]).await;
    let ahead = "2026-01-10T13:00:00Z";
    spent_at(&table, ahead, &all[3]).await;
    bid(&table, &all[4], &job, 11).await;
    let again = bid_at(&table.ledger, ahead, &all[3], &job, 47).await;
    assert_eq!(again.unwrap().rank, Some(1));
    assert_eq!(
        stands(&table, &all[3], &job).await,
        (BidState::Leading, 0, 47)
    );
    assert_eq!(
        stands(&table, &all[4], &job).await,
        (BidState::Outbid, 48, 0)
    );
    assert_eq!(run(&table, ahead).await.jobs, 0);
    close(&table, &job, ClosureReason::ClientCancelled).await;
    assert_eq!(stands(&table, &all[3], &job).await, (BidState::Lost, 49, 0));
}

#[tokio::test]
async fn what_lapsed_while_it_was_held_comes_back_for_a_while() {
    let table = Table::new().await;
    let posted_at = "2027-01-09T12:00:00Z";
    let job = job_id();
    let post = PostJob {
        posted_at: instant(posted_at),
        pricing: JobPricing::Stated(Connects::new(COST)),
    };
    table
        .ledger
        .post_job(&at(posted_at), &job, &post)
        .await
        .unwrap();
    // 40 and 10 of 10 January 2026: usable through 10 January 2027.
    let account = table.open(NOW).await;
    let command = with_bid(&job, COST, 30);
    let now = at(posted_at);
    let submitted = table.ledger.propose(&now, &account, None, &command);
    submitted.await.unwrap();
    let after = at("2027-01-12T00:00:00Z");
    let closed = table
        .ledger
        .close(&after, &job, ClosureReason::ClientCancelled);
    closed.await.unwrap();
    table
        .ledger
        .sweep_closures(&after, after.now)
        .await
        .unwrap();
    let lots = table.state(&account).await.lots;
    let grace = lots
        .iter()
        .filter(|lot| lot.birth().source.as_str() == "grace");
    let grace: Vec<(u64, String)> = grace
        .map(|lot| (lot.remaining().get(), lot.birth().expires_on.to_string()))
        .collect();
    assert_eq!(grace.iter().map(|(n, _)| n).sum::<u64>(), 32);
    assert!(
        grace.iter().all(|(_, day)| day == "2027-02-11"),
        "{grace:?}"
    );
    table.audit(&account).await;
}

#[tokio::test]
async fn many_bidders_at_once_sell_each_place_once() {
    let table = Table::new().await;
    let (job, all) = bidders(&table, &[0; 12]).await;
    let bids = all.iter().enumerate().map(|(n, account)| {
        let (table, job) = (&table, &job);
        async move {
            // Two bids each; of the later ones some come too low.
            for amount in [5 + (n as u64 * 7) % 12, 20 + (n as u64 * 5) % 12] {
                match bid_at(&table.ledger, NOW, account, job, amount).await {
                    Ok(_) | Err(Error::Refused(Refusal::BidTooLow { .. })) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    join_all(bids).await;
    let led = view(&table, NOW, &job).await;
    assert_eq!(amounts(&led), [31, 30, 29, 28]);
    let (mut leading, mut held) = (0, 0);
    for account in &all {
        let state = table.audit(account).await;
        held += state.held();
        let view = proposal(&table, account, &job).await;
        leading += u64::from(view.boost_state == Some(BidState::Leading));
        if view.boost_state != Some(BidState::Leading) {
            assert_eq!(view.balance.available.get(), 48);
        }
    }
    assert_eq!((leading, held), (4, 31 + 30 + 29 + 28));
    // Runs, a hire and a closure at the same time.
    let now = at(CLOSES);
    let ledger = &table.ledger;
    let closing = async {
        ledger
            .close(&now, &job, ClosureReason::Filled)
            .await
            .unwrap();
        ledger.sweep_closures(&now, now.now).await.unwrap()
    };
    let hire = ledger.contract(&now, &job, &all[0]);
    let (one, other, _, hired) = futures::join!(
        ledger.sweep_auctions(&now, now.now),
        ledger.sweep_auctions(&now, now.now),
        closing,
        hire
    );
    assert!(one.is_ok() && other.is_ok() && hired.is_ok());
    run(&table, "2026-01-17T13:00:00Z").await;
    let ended = view(&table, CLOSES, &job).await;
    assert_eq!(ended.state, AuctionState::Closed);
    assert_eq!(prices(&ended), [31, 30, 29, 28]);
    let mut paid = 0;
    for account in &all {
        let state = table.audit(account).await;
        assert_eq!(state.held(), 0);
        paid += 48 - state.balance();
    }
    assert_eq!(paid, 31 + 30 + 29 + 28);
}

/// Loses the answer of the next transaction, once it is told to.
#[derive(Debug, Default)]
pub struct Losing(pub AtomicBool);

impl Layer for Losing {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let is_write = call.operation == "TransactWriteItems";
        let answer = table.answer(&call);
        let loses = is_write && self.0.swap(false, Relaxed);
        let answer = match loses {
            true => Err(Broken::Reset),
            false => Ok(answer),
        };
        Box::pin(ready(answer))
    }
}

#[tokio::test(start_paused = true)]
async fn a_bid_whose_answer_is_lost_is_one_bid() {
    let (table, account) = opened().await;
    let layer = Arc::new(Losing::default());
    let (lossy, clear) = (
        ledger(&table, layer.clone()),
        ledger(&table, Arc::new(Clear)),
    );
    let job = job_id();
    post(&clear, &job, COST).await;
    layer.0.store(true, Relaxed);
    let command = with_bid(&job, COST, 6);
    let submitted = lossy.propose(&at(NOW), &account, None, &command).await;
    assert!(matches!(submitted, Ok(Outcome::Replayed(_))));
    layer.0.store(true, Relaxed);
    let raised = bid_at(&lossy, NOW, &account, &job, 9).await.unwrap();
    assert_eq!((raised.amount.get(), raised.balance.held.get()), (9, 9));
    layer.0.store(true, Relaxed);
    let looked = lossy.interaction(&at(NOW), &account, &job).await.unwrap();
    assert_eq!(looked.charged.get(), 9);
    let model = audit(clear.store(), &account).await;
    assert_eq!(model.held(), 0);
}
