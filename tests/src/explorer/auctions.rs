//! What can be done about an auction in the small world, and the bids it is done about. There is one
//! place on each job.

use connects::domain::account::Balance;
use connects::domain::auction::AuctionView;
use connects::domain::bid::{BidCommand, BidState, BidView};
use connects::domain::ids::AccountId;
use connects::domain::proposal::ProposeCommand;
use connects::domain::units::Connects;
use connects::ledger::{Context, Ledger, Outcome};
use serde_json::json;

use super::acts::{Act, Scene, Told, account, key, other, swept, text, told};
use super::market::{COST, job, job_view};
use crate::table::{at, instant, spend};

/// When the first account bid, where it did before anything happens at once.
const BID_AT: &str = "2025-02-04T12:00:00Z";

/// When the other one bid more, and what the first one's clock had come to by then: nothing can be
/// done in an account that is so far ahead, so its bid could not be released with that.
const OUTBID_AT: &str = "2025-02-05T11:50:00Z";
const AHEAD_AT: &str = "2025-02-05T11:59:00Z";

/// What the first account bids: out of two lots, and so much that what it has left is less than a spend.
const BID: u64 = 9;

/// What the other one bids: more than that, and less than what the first one raises it to.
const MORE: u64 = 10;
const MOST: u64 = 11;

/// Something that is done about the auction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Bids.
    Bid,
    /// Bids more than the other account, whatever was bid before.
    Raise,
    /// The other account bids, more than the first one did at first.
    BidElsewhere,
    /// Proposes, with a bid.
    Propose,
    /// The other account proposes, with a higher one.
    ProposeElsewhere,
    /// Notes that the client looked into the proposal.
    Interaction,
    /// Notes a contract with the first account, which ends the auction.
    Hire,
    /// The schedule that ends it when its time is over, and settles what is left over.
    Sweep,
    /// Reads the bids.
    Read,
}

impl Scene {
    /// Whether somebody has bid.
    pub fn has_bids(self) -> bool {
        matches!(
            self,
            Self::Led | Self::Over | Self::Releasing | Self::Dropped
        )
    }
}

/// Makes the bids that the scene has.
pub async fn prepare(ledger: &Ledger, scene: Scene) {
    if !scene.has_bids() {
        return;
    }
    let bid = async |account: &AccountId, now, number, amount| {
        let (now, key) = (at(now), key("bid", number));
        let bid = ledger.bid(&now, account, Some(&key), &bid(amount)).await;
        bid.unwrap();
    };
    bid(&account(), BID_AT, 0, BID).await;
    if scene == Scene::Releasing {
        let (now, key) = (at(AHEAD_AT), key("earlier", 3));
        let spent = ledger.spend(&now, &account(), &key, &spend(1)).await;
        spent.unwrap();
        bid(&other(), OUTBID_AT, 1, MORE).await;
        let stands = ledger.store().proposal(&job(), &account()).await.unwrap();
        let bid = stands.and_then(|proposal| proposal.bid);
        assert!(bid.is_some_and(|bid| bid.state == BidState::Releasing));
    }
}

/// Ends and settles whatever is due by then.
pub async fn finish(ledger: &Ledger, scene: Scene) {
    let now = instant(scene.now());
    let swept = ledger.sweep_auctions(&at(scene.now()), now).await;
    assert_eq!(swept.unwrap().failed, 0);
}

fn bid(amount: u64) -> BidCommand {
    BidCommand {
        job_id: job(),
        amount: Connects::new(amount),
    }
}

impl Deed {
    /// Whether it goes on in steps that are not one change.
    pub fn is_pass(self) -> bool {
        matches!(self, Self::Hire | Self::Sweep)
    }

    /// Whether the other account does it.
    pub fn is_of_the_other(self) -> bool {
        matches!(self, Self::BidElsewhere | Self::ProposeElsewhere)
    }

    /// Does it.
    pub async fn done(self, ledger: &Ledger, now: &Context, act: Act) -> Told {
        let (id, job, key) = (account(), job(), key("act", act.key));
        let bids = async |account: &AccountId, amount| {
            let placed = ledger.bid(now, account, Some(&key), &bid(amount)).await;
            told(placed.map(Outcome::into_inner), |view| {
                whole(Some(view.state), view.balance, text(view))
            })
        };
        let proposes = async |account: &AccountId, amount| {
            let command = ProposeCommand {
                boost: Some(Connects::new(amount)),
                ..ProposeCommand::new(job.clone(), Connects::new(COST))
            };
            let proposed = ledger.propose(now, account, Some(&key), &command).await;
            told(proposed.map(Outcome::into_inner), text)
        };
        match self {
            Self::Bid => bids(&id, BID).await,
            Self::Raise => bids(&id, MOST).await,
            Self::BidElsewhere => bids(&other(), MORE).await,
            Self::Propose => proposes(&id, BID).await,
            Self::ProposeElsewhere => proposes(&other(), MORE).await,
            Self::Interaction => told(ledger.interaction(now, &id, &job).await, bid_view),
            Self::Hire => told(ledger.contract(now, &job, &id).await, job_view),
            Self::Sweep => swept(ledger.sweep_auctions(now, now.now).await),
            Self::Read => {
                let read = ledger.auction(now, &job, |of| *of == id).await;
                told(read, auction_view)
            }
        }
    }
}

fn auction_view(view: AuctionView) -> Told {
    let mut all = json!(view);
    let state = all["state"].take();
    Told::Job {
        fixed: format!("{} {}", view.job_id, view.closes_at),
        now: all.to_string(),
        far: state.as_str().unwrap_or_default().to_owned(),
    }
}

/// A bid that lost is told of only together with a balance in which nothing is held for it; no hold
/// but a bid is in this world where bids are.
pub fn whole(state: Option<BidState>, balance: Balance, told: Told) -> Told {
    let lost = matches!(state, Some(BidState::Outbid | BidState::Lost));
    match lost && !balance.held.is_zero() {
        true => Told::Broke(format!("lost, and still held: {told:?}")),
        false => told,
    }
}

fn bid_view(view: BidView) -> Told {
    let mut all = json!(view);
    let balance = all["balance"].take();
    let told = Told::Proposal {
        fixed: format!("{} {}", view.job_id, view.amount),
        now: all.to_string(),
        balance: balance.to_string(),
    };
    whole(Some(view.state), view.balance, told)
}
