//! Auctions: who is shown first among the proposals on a job.
//!
//! One item for each job holds the whole ranking, so whoever writes it over at the revision that was
//! read has seen every bid before. A bid that loses its place is never better than one that leads and is
//! not paid, and its account leads again only by pushing out another: so the bid that lost its place last
//! is the best of all that don't lead, and the only one of them that a price needs.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::ids::{AccountId, JobId};
use super::job::Job;
use super::policy::{MAX_AMOUNT, Policy};
use super::refusal::{Invalid, Refusal};
use super::time::{self, Time};
use super::units::Connects;
use crate::defect::{Defect, present};

/// Places that an auction may have. Each is an account that its end settles at once.
const MAX_SLOTS: usize = 20;

/// `[boost]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoostPolicy {
    /// Places on each job.
    pub slots: usize,
    /// The least that can be bid.
    pub minimum: Connects,
    /// Hours after a job's posting in which bids are taken.
    pub open_hours: u32,
    /// What the winners pay.
    pub pricing: Pricing,
}

impl BoostPolicy {
    /// What can't be kept of it, if anything.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let rules = [
            (
                (1..=MAX_SLOTS).contains(&self.slots),
                "boost.slots must be from 1 to 20",
            ),
            (
                !self.minimum.is_zero() && self.minimum <= MAX_AMOUNT,
                "boost.minimum must be from 1 to 1000000",
            ),
            (
                (1..=8760).contains(&self.open_hours),
                "boost.open_hours must be from 1 to 8760",
            ),
        ];
        let broken = rules.iter().find(|(kept, _)| !kept);
        broken.map(|(_, broken)| *broken)
    }
}

/// What the winners of an auction pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Pricing {
    /// What they bid.
    PayAsBid,
    /// One more than the best bid that lost, the minimum where none did, and never more than they bid.
    NextPlusOne,
}

/// A bid that leads, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Whose.
    pub account_id: AccountId,
    /// How much.
    pub amount: Connects,
    /// What it pays, once that is known: 0 where the job's end gives back what was bid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Connects>,
}

/// What ended an auction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// Its time was over.
    Time,
    /// Somebody was hired.
    Hire,
    /// The job was closed.
    JobClosed,
}

/// The end of an auction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When: that is also when the winners pay.
    #[serde(with = "time::as_text")]
    pub at: Time,
    /// What brought it.
    pub by: ClosedBy,
    /// Whether every bid that led is paid or given back.
    pub settled: bool,
}

/// The bids on a job, with the terms that were in force when the first came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auction {
    /// On which job.
    pub job_id: JobId,
    /// How many places there are.
    pub slots: usize,
    /// The least that can be bid.
    pub minimum: Connects,
    /// What the winners pay.
    pub pricing: Pricing,
    /// From when on no bids are taken.
    #[serde(with = "time::as_text")]
    pub closes_at: Time,
    /// The policy that the terms are from.
    pub policy_version: u32,
    /// The leading bids, the best first; of equal ones the earlier.
    pub places: Vec<Place>,
    /// The bid that lost its place last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<Place>,
    /// Its end, once it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// Grows with whatever changes of it: what was read is what is written over.
    pub revision: u64,
}

/// An auction after a bid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// As it is then.
    pub auction: Auction,
    /// Who lost their place by it.
    pub outbid: Option<AccountId>,
}

impl Auction {
    /// A job's, before the first bid.
    pub fn new(policy: &Policy, job: &Job) -> Self {
        let boost = &policy.boost;
        Self {
            job_id: job.job_id.clone(),
            slots: boost.slots,
            minimum: boost.minimum,
            pricing: boost.pricing,
            closes_at: job.posted_at + TimeDelta::hours(boost.open_hours.into()),
            policy_version: policy.version,
            places: vec![],
            runner_up: None,
            end: None,
            revision: 0,
        }
    }

    /// Nothing, while bids are taken.
    ///
    /// # Errors
    /// `job_closed`; `auction_closed` once its time is over or somebody was hired.
    pub fn open(&self, job: &Job, now: Time) -> Result<(), Refusal> {
        job.open()?;
        // The job may have been read before what ended both.
        if self.end.is_some_and(|end| end.by == ClosedBy::JobClosed) {
            return Err(Refusal::JobClosed);
        }
        match self.is_over(now) || job.contracts > 0 {
            true => Err(Refusal::AuctionClosed),
            false => Ok(()),
        }
    }

    /// Whether it has ended, or its time is over.
    pub fn is_over(&self, now: Time) -> bool {
        self.end.is_some() || self.closes_at <= now
    }

    /// Where an account leads, the best being 1.
    pub fn rank(&self, account: &AccountId) -> Option<usize> {
        let mut places = self.places.iter();
        let place = places.position(|place| place.account_id == *account);
        place.map(|place| place + 1)
    }

    /// The place of an account that leads.
    pub fn place(&self, account: &AccountId) -> Option<&Place> {
        self.rank(account).map(|rank| &self.places[rank - 1])
    }

    /// The auction with a bid in its place, behind all that are as high: a new one, or a higher one of
    /// an account that leads. A bid that was paid for keeps its place to the end.
    ///
    /// # Errors
    /// `below_minimum`; `bid_not_raised` for no more than the account bids; `bid_too_low` where that
    /// brings no place; `auction_closed` where all places are paid for, or the account's is.
    pub fn bid(
        &self,
        account: &AccountId,
        amount: Connects,
        field: &str,
    ) -> Result<Placed, Refusal> {
        let least = self.minimum.credit();
        if let Some(outside) = Invalid::range(field, amount.credit(), least, MAX_AMOUNT.credit()) {
            return Err(outside.into());
        }
        match self.place(account) {
            Some(own) if own.price.is_some() => return Err(Refusal::AuctionClosed),
            Some(own) if own.amount >= amount => {
                return Err(Refusal::BidNotRaised { bid: own.amount });
            }
            _ => {}
        }
        let mut next = self.next();
        next.places.retain(|place| place.account_id != *account);
        let behind = next.places.partition_point(|place| {
            place.amount > amount || place.amount == amount && !present(Defect::LateTieWins)
        });
        let place = Place {
            account_id: account.clone(),
            amount,
            price: None,
        };
        next.places.insert(behind, place);
        if next.places.len() <= self.slots {
            return Ok(Placed {
                auction: next,
                outbid: None,
            });
        }
        let weakest = next.places.iter().rposition(|place| place.price.is_none());
        // There is one: the bid that was just put there.
        let lost = next.places.remove(weakest.unwrap_or(behind));
        if lost.account_id == *account {
            let unpaid = self.places.iter().filter(|place| place.price.is_none());
            return Err(match unpaid.map(|place| place.amount).min() {
                None => Refusal::AuctionClosed,
                Some(weakest) => Refusal::BidTooLow {
                    required: weakest + Connects::new(1),
                },
            });
        }
        let outbid = Some(lost.account_id.clone());
        next.runner_up = Some(lost);
        Ok(Placed {
            auction: next,
            outbid,
        })
    }

    /// The auction after a bid that leads was paid for at once, in full.
    #[must_use]
    pub fn sold(&self, account: &AccountId) -> Self {
        let mut next = self.next();
        let mut places = next.places.iter_mut();
        if let Some(place) = places.find(|place| place.account_id == *account) {
            place.price = Some(place.amount);
        }
        next
    }

    /// The auction at its end, with what each winner pays. One that should have ended by itself before
    /// `at` has done so. `gives_back` whether what was bid is given back instead.
    #[must_use]
    pub fn ended(&self, at: Time, by: ClosedBy, gives_back: bool) -> Self {
        let mut next = self.next();
        let (at, by, gives_back) = match at < self.closes_at {
            true => (at, by, gives_back),
            false => (self.closes_at, ClosedBy::Time, false),
        };
        let least = match &self.runner_up {
            Some(runner_up) => runner_up.amount + Connects::new(1),
            None => self.minimum,
        };
        for place in &mut next.places {
            let price = match (gives_back, self.pricing) {
                (true, _) => Connects::ZERO,
                (false, Pricing::PayAsBid) => place.amount,
                (false, Pricing::NextPlusOne) if present(Defect::PaysBeyondBid) => least,
                (false, Pricing::NextPlusOne) => least.min(place.amount),
            };
            place.price.get_or_insert(price);
        }
        next.end = Some(End {
            at,
            by,
            settled: false,
        });
        next
    }

    /// The auction once every bid that led is paid or given back.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut next = self.next();
        next.end = next.end.map(|end| End {
            settled: true,
            ..end
        });
        next
    }

    /// When it must be looked at next, if ever.
    pub fn due_at(&self) -> Option<Time> {
        match self.end {
            None => Some(self.closes_at),
            Some(end) => (!end.settled).then_some(end.at),
        }
    }

    fn next(&self) -> Self {
        Self {
            revision: self.revision + 1,
            ..self.clone()
        }
    }
}

/// Where an auction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuctionState {
    /// It takes bids.
    Open,
    /// It takes none any more, and the winners are about to pay.
    Closing,
    /// The winners have paid.
    Closed,
}

/// An auction as the contract shows it: nobody's name is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct AuctionView {
    /// On which job.
    pub job_id: JobId,
    /// Where it stands.
    pub state: AuctionState,
    /// How many places there are.
    pub slots: usize,
    /// The least that can be bid.
    pub minimum: Connects,
    /// What the winners pay.
    pub pricing: Pricing,
    /// The leading bids, the best first.
    pub bids: Vec<PlaceView>,
    /// When it ends by itself.
    #[serde(serialize_with = "time::as_text::serialize")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub closes_at: Time,
    /// When it ended.
    #[serde(serialize_with = "time::as_text_if_any::serialize")]
    #[cfg_attr(feature = "contract", schemars(with = "Option<Time>"))]
    pub closed_at: Option<Time>,
    /// What ended it.
    pub closed_by: Option<ClosedBy>,
    /// The asker's best place, the first being 1.
    pub my_rank: Option<usize>,
}

/// A leading bid as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct PlaceView {
    /// How much.
    pub amount: Connects,
    /// Whether it is the asker's.
    pub mine: bool,
    /// What it pays, once that is known.
    pub price: Option<Connects>,
}

impl AuctionView {
    /// Of a job's auction at that time, for whoever acts for those accounts.
    pub fn of(
        auction: &Auction,
        job: &Job,
        now: Time,
        is_mine: impl Fn(&AccountId) -> bool,
    ) -> Self {
        let bids = auction.places.iter().map(|place| PlaceView {
            amount: place.amount,
            mine: is_mine(&place.account_id),
            price: place.price,
        });
        let bids: Vec<PlaceView> = bids.collect();
        Self {
            job_id: auction.job_id.clone(),
            state: match auction.end {
                Some(end) if end.settled => AuctionState::Closed,
                None if auction.open(job, now).is_ok() => AuctionState::Open,
                _ if bids.is_empty() => AuctionState::Closed,
                _ => AuctionState::Closing,
            },
            slots: auction.slots,
            minimum: auction.minimum,
            pricing: auction.pricing,
            closes_at: auction.closes_at,
            closed_at: auction.end.map(|end| end.at),
            closed_by: auction.end.map(|end| end.by),
            my_rank: bids.iter().position(|bid| bid.mine).map(|place| place + 1),
            bids,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::closure::ClosureReason;
    use super::super::job::{PostJob, Pricing as JobPricing};
    use super::super::policy::built_in;
    use super::super::testing::{at, connects};
    use super::*;

    const POSTED: &str = "2026-01-10T12:00:00Z";
    const CLOSES: &str = "2026-01-17T12:00:00Z";

    fn job() -> Job {
        let post = PostJob {
            posted_at: at(POSTED),
            pricing: JobPricing::Stated(connects(8)),
        };
        let id = JobId::try_new("J1").unwrap();
        post.apply(&built_in(), &id, None).unwrap()
    }

    fn account(name: &str) -> AccountId {
        AccountId::try_new(name).unwrap()
    }

    fn bid(auction: &Auction, name: &str, amount: u64) -> Result<Placed, Refusal> {
        auction.bid(&account(name), connects(amount), "amount")
    }

    /// An auction after these bids, each of which got a place.
    fn after(bids: &[(&str, u64)]) -> Auction {
        bids.iter().fold(
            Auction::new(&built_in(), &job()),
            |auction, (name, amount)| {
                let placed = bid(&auction, name, *amount).unwrap();
                assert_eq!(placed.auction.revision, auction.revision + 1);
                placed.auction
            },
        )
    }

    fn table(auction: &Auction) -> Vec<(&str, u64)> {
        let places = auction.places.iter();
        places
            .map(|place| (place.account_id.as_str(), place.amount.get()))
            .collect()
    }

    fn prices(auction: &Auction, by: ClosedBy, gives_back: bool) -> Vec<u64> {
        let ended = auction.ended(at(POSTED), by, gives_back);
        let places = ended.places.iter();
        places.map(|place| place.price.unwrap().get()).collect()
    }

    const FOUR: [(&str, u64); 4] = [("a", 20), ("b", 15), ("c", 12), ("d", 10)];

    #[test]
    fn a_higher_bid_pushes_the_lowest_out() {
        let four = after(&FOUR);
        let placed = bid(&four, "e", 11).unwrap();
        assert_eq!(placed.outbid, Some(account("d")));
        let now = [("a", 20), ("b", 15), ("c", 12), ("e", 11)];
        assert_eq!(table(&placed.auction), now);
        assert_eq!(
            bid(&placed.auction, "d", 11),
            Err(Refusal::BidTooLow {
                required: connects(12)
            })
        );
        let again = bid(&placed.auction, "d", 13).unwrap();
        assert_eq!(again.outbid, Some(account("e")));
        assert_eq!(again.auction.rank(&account("d")), Some(3));
        assert_eq!(again.auction.rank(&account("e")), None);
    }

    #[test]
    fn of_equal_bids_the_earlier_leads() {
        let auction = after(&[("a", 5), ("b", 9), ("c", 5)]);
        assert_eq!(table(&auction), [("b", 9), ("a", 5), ("c", 5)]);
        // Whoever raises comes behind those who have bid as much before.
        let raised = bid(&auction, "a", 9).unwrap().auction;
        assert_eq!(table(&raised), [("b", 9), ("a", 9), ("c", 5)]);
        let full = after(&[("a", 5), ("b", 5), ("c", 5), ("d", 5)]);
        assert_eq!(
            bid(&full, "e", 5),
            Err(Refusal::BidTooLow {
                required: connects(6)
            })
        );
        let placed = bid(&full, "e", 6).unwrap();
        assert_eq!(placed.outbid, Some(account("d")));
    }

    #[test]
    fn a_bid_can_only_be_raised() {
        let four = after(&FOUR);
        for amount in [1, 14, 15] {
            let bid = bid(&four, "b", amount);
            let stands = connects(15);
            assert_eq!(bid, Err(Refusal::BidNotRaised { bid: stands }), "{amount}");
        }
        let raised = bid(&four, "d", 21).unwrap();
        assert_eq!(raised.outbid, None);
        assert_eq!(raised.auction.rank(&account("d")), Some(1));
        assert!(matches!(
            bid(&four, "e", 0),
            Err(Refusal::Invalid(Invalid { .. }))
        ));
    }

    #[test]
    fn what_is_paid_for_keeps_its_place() {
        let sold = after(&FOUR).sold(&account("d"));
        // The lowest is sold, so the lowest but one goes.
        let placed = bid(&sold, "e", 13).unwrap();
        assert_eq!(placed.outbid, Some(account("c")));
        assert_eq!(
            bid(&sold, "e", 11),
            Err(Refusal::BidTooLow {
                required: connects(13)
            })
        );
        assert_eq!(bid(&sold, "d", 50), Err(Refusal::AuctionClosed));
        let all = ["a", "b", "c"].iter();
        let all = all.fold(sold, |auction, name| auction.sold(&account(name)));
        assert_eq!(bid(&all, "e", 50), Err(Refusal::AuctionClosed));
        assert_eq!(prices(&all, ClosedBy::JobClosed, true), [20, 15, 12, 10]);
    }

    #[test]
    fn the_winners_pay_by_the_rule() {
        use Pricing::{NextPlusOne, PayAsBid};
        let full = bid(&after(&FOUR), "e", 11).unwrap().auction;
        let tied = [
            ("a", 10),
            ("b", 10),
            ("c", 9),
            ("d", 10),
            ("e", 12),
            ("f", 11),
        ];
        for (auction, pricing, expected) in [
            (full.clone(), PayAsBid, vec![20, 15, 12, 11]),
            (full, NextPlusOne, vec![11, 11, 11, 11]),
            (after(&FOUR), NextPlusOne, vec![1, 1, 1, 1]),
            // One of three that were equal had to go: the other two pay no more than they bid.
            (after(&tied), NextPlusOne, vec![11, 11, 10, 10]),
            (after(&[("a", 7)]), NextPlusOne, vec![1]),
            (after(&[]), PayAsBid, vec![]),
        ] {
            let auction = Auction { pricing, ..auction };
            assert_eq!(prices(&auction, ClosedBy::Hire, false), expected);
            let free = vec![0; expected.len()];
            assert_eq!(prices(&auction, ClosedBy::JobClosed, true), free);
        }
    }

    #[test]
    fn it_ends_once_and_by_itself_when_its_time_is_over() {
        let four = after(&FOUR);
        assert_eq!(four.due_at(), Some(at(CLOSES)));
        let hired = four.ended(at("2026-01-12T00:00:00Z"), ClosedBy::Hire, false);
        assert_eq!(hired.due_at(), Some(at("2026-01-12T00:00:00Z")));
        assert_eq!(hired.settled().due_at(), None);
        // A closure that comes late finds an auction that has ended by itself: nothing goes back.
        let late = four.ended(at("2026-01-18T00:00:00Z"), ClosedBy::JobClosed, true);
        let end = late.end.unwrap();
        assert_eq!((end.at, end.by), (at(CLOSES), ClosedBy::Time));
        assert_eq!(late.places[3].price, Some(connects(10)));
    }

    #[test]
    fn bids_are_taken_while_the_job_is_open_and_nobody_is_hired() {
        let (auction, job) = (after(&FOUR), job());
        let just_before = at("2026-01-17T11:59:59.999Z");
        assert_eq!(auction.open(&job, just_before), Ok(()));
        let closed = Err(Refusal::AuctionClosed);
        assert_eq!(auction.open(&job, at(CLOSES)), closed);
        assert_eq!(auction.open(&job.contracted(), at(POSTED)), closed);
        let ended = auction.ended(at(POSTED), ClosedBy::Hire, false);
        assert_eq!(ended.open(&job, at(POSTED)), closed);
        let (gone, _) = job.close(&built_in(), at(POSTED), ClosureReason::Fraud);
        assert_eq!(auction.open(&gone, at(POSTED)), Err(Refusal::JobClosed));
        for (auction, job, now, state) in [
            (&auction, &job, POSTED, AuctionState::Open),
            (&auction, &job, CLOSES, AuctionState::Closing),
            (&auction, &job.contracted(), POSTED, AuctionState::Closing),
            (&ended, &job, POSTED, AuctionState::Closing),
            (&ended.settled(), &job, POSTED, AuctionState::Closed),
            (&after(&[]), &job, CLOSES, AuctionState::Closed),
        ] {
            let mine = |id: &AccountId| ["b", "c"].contains(&id.as_str());
            let view = AuctionView::of(auction, job, at(now), mine);
            assert_eq!(view.state, state);
            let rank = (!view.bids.is_empty()).then_some(2);
            assert_eq!(view.my_rank, rank);
        }
    }

    #[test]
    fn what_the_ledger_could_not_keep_is_refused() {
        let whole = built_in().boost;
        assert_eq!(whole.broken(), None);
        for (change, part) in [
            ((|boost| boost.slots = 0) as fn(&mut BoostPolicy), "slots"),
            (|boost| boost.slots = 21, "slots"),
            (|boost| boost.minimum = connects(0), "minimum"),
            (|boost| boost.minimum = connects(1_000_001), "minimum"),
            (|boost| boost.open_hours = 0, "open_hours"),
            (|boost| boost.open_hours = 8761, "open_hours"),
        ] {
            let mut boost = whole.clone();
            change(&mut boost);
            assert!(boost.broken().unwrap().contains(part));
        }
    }

    proptest! {
        /// Whatever is bid and sold: places stay in order and within their number, nobody has two, what
        /// lost is never better than what leads unpaid, and the price is made of the best bid without a
        /// place, found the slow way.
        #[test]
        fn the_best_of_those_without_a_place_is_known(
            steps in prop::collection::vec((0..9_usize, 1..30_u64, 0..12_u8), 0..60),
        ) {
            const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
            let mut auction = Auction::new(&built_in(), &job());
            auction.pricing = Pricing::NextPlusOne;
            let mut last: BTreeMap<&str, u64> = BTreeMap::new();
            for (who, amount, sale) in steps {
                let name = NAMES[who];
                if sale == 0 {
                    auction = auction.sold(&account(name));
                } else if let Ok(placed) = bid(&auction, name, amount) {
                    let before = auction.places.len();
                    let grew = auction.rank(&account(name)).is_none();
                    prop_assert_eq!(placed.outbid.is_some(), grew && before == auction.slots);
                    last.insert(name, amount);
                    auction = placed.auction;
                }
                let led = table(&auction);
                prop_assert!(led.len() <= auction.slots);
                prop_assert!(led.windows(2).all(|two| two[0].1 >= two[1].1));
                let names: BTreeMap<&str, u64> = led.iter().copied().collect();
                prop_assert_eq!(names.len(), led.len());
                let lost = last.iter().filter(|(name, _)| !names.contains_key(**name));
                let best = lost.map(|(_, amount)| *amount).max();
                let known = auction.runner_up.as_ref().map(|place| place.amount.get());
                prop_assert_eq!(known, best);
                let unpaid = auction.places.iter().filter(|place| place.price.is_none());
                for place in unpaid {
                    prop_assert!(best.is_none_or(|best| best <= place.amount.get()));
                }
                let ended = auction.ended(at(POSTED), ClosedBy::Hire, false);
                for (place, paid) in auction.places.iter().zip(&ended.places) {
                    let price = place.price.map_or(best.map_or(1, |b| b + 1), Connects::get);
                    prop_assert_eq!(paid.price, Some(connects(price.min(place.amount.get()))));
                }
            }
        }
    }
}
