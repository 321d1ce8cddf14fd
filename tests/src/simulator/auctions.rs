//! Auctions, told once more from the journals: each bid sets Connects aside that come back or are paid,
//! all of them and once, and the ranking is what the bids make it, one after another.

use connects::domain::auction::{Auction, ClosedBy, Place, Pricing};
use connects::domain::bid::BidState;
use connects::domain::hold::HoldState;
use connects::domain::ids::{Reference, Seq};
use connects::domain::journal::{Entry, EntryType};
use connects::domain::lot::{Slice, first_of, last_of, total};
use connects::domain::time::{Time, text};
use connects::domain::units::Connects;

use super::snapshot::{BidRow, JobPartition, Partition, ProposalRow, Snapshot};
use super::state::{came_back, ensure};

/// How the journal tells the end of a bid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The entry.
    pub entry: Seq,
    /// Where it left the bid.
    pub state: BidState,
    /// How much was paid.
    pub paid: Connects,
    /// Whether somebody had looked into the proposal.
    pub by_interaction: bool,
}

/// A bid as the journal tells it: from the first Connects that are set aside for it to the last.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// How much it was, from which entry on.
    pub steps: Vec<(Seq, Connects)>,
    /// What was set aside.
    slices: Vec<Slice>,
    /// Its end.
    pub end: Option<End>,
    back: Connects,
}

impl Told {
    /// How much it is in the end.
    pub fn amount(&self) -> Connects {
        self.steps.last().map_or(Connects::ZERO, |step| step.1)
    }

    /// Follows one more entry of it.
    fn follow(&mut self, entry: &Entry) -> Result<(), String> {
        let amount = total(&entry.slices);
        let end = |state, paid| {
            Some(End {
                entry: entry.seq,
                state,
                paid,
                by_interaction: entry.reason.as_str() == "interaction",
            })
        };
        match (entry.entry_type, entry.reason.as_str(), self.end) {
            (EntryType::Hold, "boost", None) => {
                self.steps.push((entry.seq, self.amount() + amount));
                self.slices.extend(entry.slices.clone());
                Ok(())
            }
            (EntryType::Capture, "won" | "interaction", None) => {
                self.end = end(BidState::Charged, amount);
                ensure(entry.slices == first_of(&self.slices, amount), || {
                    format!("not the first of {self:?}")
                })
            }
            (EntryType::Release, "outbid", None) => {
                self.end = end(BidState::Outbid, Connects::ZERO);
                self.gone_back(entry)
            }
            (EntryType::Release, "job_closed", None) => {
                self.end = end(BidState::Lost, Connects::ZERO);
                self.gone_back(entry)
            }
            (EntryType::Release, "released", Some(end)) if end.state == BidState::Charged => {
                self.gone_back(entry)
            }
            _ => Err(format!("not for {self:?}")),
        }
    }

    /// All that was not paid is back where it was.
    fn gone_back(&mut self, entry: &Entry) -> Result<(), String> {
        let paid = self.end.map_or(Connects::ZERO, |end| end.paid);
        let rest = self.amount() - paid;
        let twice = !self.back.is_zero();
        self.back = total(&entry.slices);
        ensure(self.back == rest && !twice, || {
            format!("not all of {self:?}")
        })?;
        came_back(&last_of(&self.slices, Connects::ZERO, rest), entry)
    }

    /// Whether nothing of it is held.
    fn is_over(&self) -> bool {
        let paid = self.end.map_or(Connects::ZERO, |end| end.paid);
        self.end.is_some() && paid + self.back == self.amount()
    }
}

/// The bids of an account on a job, one after another.
///
/// # Errors
/// Says which entry belongs to none.
pub fn bids(partition: &Partition, job: &str) -> Result<Vec<Told>, String> {
    let reference = format!("job:{job}");
    let about = |entry: &&Entry| {
        let moves = [EntryType::Hold, EntryType::Capture, EntryType::Release];
        let about = entry.reference.as_ref().map(Reference::as_str);
        moves.contains(&entry.entry_type) && about == Some(&reference)
    };
    let mut bids: Vec<Told> = vec![];
    for entry in partition.journal.iter().filter(about) {
        if bids.last().is_none_or(Told::is_over) {
            bids.push(Told::default());
        }
        let followed = bids.last_mut().map_or(Ok(()), |bid| bid.follow(entry));
        followed.map_err(|why| format!("{why}: {entry:?}"))?;
    }
    Ok(bids)
}

/// A proposal's bid is the last that the journal tells of; those before it lost their places, and
/// nobody pays twice.
pub fn bid(partition: &Partition, job: &str, proposal: &ProposalRow) -> Result<(), String> {
    let told = bids(partition, job)?;
    let Some((last, before)) = told.split_last() else {
        return ensure(proposal.bid.is_none(), || {
            format!("nothing was held for {proposal:?}")
        });
    };
    let bid = proposal.bid.as_ref();
    let bid = bid.ok_or_else(|| format!("no bid has {last:?}"))?;
    let lost = |bid: &Told| bid.end.is_some_and(|end| end.state == BidState::Outbid);
    ensure(before.iter().all(lost), || {
        format!("a bid after {before:?}")
    })?;
    as_told(bid, last).map_err(|why| format!("{why}: {bid:?}, {last:?}"))?;
    ensure(proposal.settled_for.is_empty() || !bid.is_held(), || {
        format!("settled, and its bid is held: {proposal:?}")
    })?;
    let due_at = bid.lost_at.map(text);
    ensure(proposal.due_at == due_at, || {
        format!("is not looked at at {due_at:?}: {proposal:?}")
    })
}

fn as_told(bid: &BidRow, told: &Told) -> Result<(), String> {
    let taken = &bid.hold.taken;
    let same = (bid.amount(), taken.slices()?) == (told.amount(), told.slices.clone());
    ensure(same, || "it set something else aside".to_owned())?;
    let paid = told.end.map_or(Connects::ZERO, |end| end.paid);
    let stands = match (told.end, bid.hold.state) {
        (None, HoldState::Open) => bid.is_held(),
        (Some(end), HoldState::Released | HoldState::Captured) => {
            end.state == bid.bid_state && told.is_over()
        }
        _ => false,
    };
    ensure(stands && paid == bid.paid, || {
        "it ended otherwise".to_owned()
    })?;
    let on_its_way = bid.bid_state == BidState::Releasing;
    ensure(on_its_way == bid.lost_at.is_some(), || {
        "since when is it on its way?".to_owned()
    })?;
    // What was paid may have come back.
    let back = match bid.bid_state {
        BidState::Charged => taken.returned >= told.back && taken.returned <= taken.amount,
        _ => taken.returned == told.back,
    };
    ensure(back, || "another part is back".to_owned())
}

/// The ranking is in order and has the bids that lead, each account's once; its end says what each
/// pays.
pub fn auction(snapshot: &Snapshot, job: &str, partition: &JobPartition) -> Result<(), String> {
    let proposals = snapshot.partitions.values();
    let proposals = proposals.filter_map(|account| account.proposals.get(job));
    let bids = proposals.filter_map(|proposal| Some((proposal, proposal.bid.as_ref()?)));
    let bids: Vec<_> = bids.collect();
    let Some(auction) = &partition.auction else {
        return ensure(bids.is_empty(), || format!("no auction has {bids:?}"));
    };
    ranked(auction).map_err(|why| format!("{why}: {auction:?}"))?;
    ended(auction, partition).map_err(|why| format!("{why}: {auction:?}, {partition:?}"))?;
    for place in &auction.places {
        let bid = bids.iter().find(|(proposal, bid)| {
            proposal.account_id == place.account_id && bid.amount() == place.amount
        });
        ensure(bid.is_some(), || format!("nobody bids {place:?}"))?;
    }
    for (proposal, bid) in &bids {
        let place = auction.place(&proposal.account_id);
        ensure(leads_as(auction, place, bid), || {
            format!("stands otherwise in {auction:?}: {proposal:?}")
        })?;
    }
    Ok(())
}

fn ranked(auction: &Auction) -> Result<(), String> {
    let Auction { places, slots, .. } = auction;
    let amounts = || places.iter().map(|place| place.amount);
    let in_order = amounts().rev().is_sorted() && places.len() <= *slots;
    let enough = amounts().all(|amount| amount >= auction.minimum);
    let mut accounts: Vec<_> = places.iter().map(|place| &place.account_id).collect();
    accounts.sort();
    accounts.dedup();
    ensure(in_order && enough && accounts.len() == places.len(), || {
        "not a ranking".to_owned()
    })?;
    let mut unpaid = places.iter().filter(|place| place.price.is_none());
    let best = auction.runner_up.as_ref();
    let beaten = best.is_none_or(|best| unpaid.all(|place| place.amount >= best.amount));
    ensure(beaten, || "whoever lost bid more".to_owned())
}

fn leads_as(auction: &Auction, place: Option<&Place>, bid: &BidRow) -> bool {
    let settled = auction.end.is_some_and(|end| end.settled);
    let state = bid.bid_state;
    match (place.map(|place| place.price), auction.end) {
        (None, _) => matches!(state, BidState::Outbid | BidState::Releasing),
        (Some(None), None) => state == BidState::Leading,
        (Some(None), Some(_)) => false,
        (Some(Some(price)), None) => {
            state == BidState::Charged && bid.paid == price && price == bid.amount()
        }
        (Some(Some(price)), Some(_)) => match state {
            BidState::Leading => !settled,
            BidState::Charged => bid.paid == price && !price.is_zero(),
            BidState::Lost => price.is_zero(),
            BidState::Outbid | BidState::Releasing => false,
        },
    }
}

/// An auction ends with the first contract or closure, or when its time is over, whichever was first.
fn ended(auction: &Auction, job: &JobPartition) -> Result<(), String> {
    let hired = !job.contracts.is_empty();
    let Some(end) = auction.end else {
        return ensure(!hired, || "goes on after a contract".to_owned());
    };
    let in_time = end.at < auction.closes_at;
    let by_it = |by| match by {
        ClosedBy::Time => end.at == auction.closes_at,
        ClosedBy::Hire => in_time && hired,
        ClosedBy::JobClosed => in_time && job.closures.iter().any(|one| one.at == end.at),
    };
    ensure(by_it(end.by), || "ended otherwise".to_owned())
}

/// What holds once the runs have been: no auction is open whose time is over or whose job is closed, and
/// no bid is held but those that lead on an open one.
///
/// # Errors
/// Says which is.
pub fn check_over(snapshot: &Snapshot, now: Time) -> Result<(), String> {
    for (id, job) in &snapshot.jobs {
        let Some(auction) = &job.auction else {
            continue;
        };
        let open = auction.end.is_none() && auction.closes_at > now && job.closures.is_empty();
        let settled = auction.end.is_some_and(|end| end.settled);
        ensure(open || settled, || format!("never ended: {auction:?}"))?;
        let proposals = snapshot.partitions.values();
        let bids = proposals.filter_map(|account| account.proposals.get(id)?.bid.as_ref());
        let left = bids.filter(|bid| bid.is_held());
        let left = left.filter(|bid| !open || bid.bid_state == BidState::Releasing);
        let left: Vec<_> = left.collect();
        ensure(left.is_empty(), || format!("still held: {left:?}"))?;
    }
    Ok(())
}

/// A bid that had a place at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bidder {
    /// Whose.
    pub account: String,
    /// How much.
    pub amount: Connects,
    /// Since when.
    since: u64,
    /// Whether it was paid at once.
    pub sold: bool,
}

/// The ranking from some moment on.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// When it came to be.
    pub tick: u64,
    /// The best first; of equal ones the earlier.
    pub places: Vec<Bidder>,
    /// Who lost their place last.
    runner_up: Option<Bidder>,
}

impl Standing {
    /// Where an account leads, the best being 1.
    pub fn rank(&self, account: &str) -> Option<usize> {
        let mut places = self.places.iter();
        let place = places.position(|bidder| bidder.account == account);
        place.map(|place| place + 1)
    }

    /// The bid of an account that leads.
    pub fn bidder(&self, account: &str) -> Option<&Bidder> {
        self.places.iter().find(|bidder| bidder.account == account)
    }

    /// The least that would bring a place to one who has none.
    pub fn required(&self, slots: usize) -> Option<Connects> {
        let unpaid = self.places.iter().filter(|bidder| !bidder.sold);
        let weakest = unpaid.map(|bidder| bidder.amount).min();
        let full = self.places.len() >= slots;
        weakest
            .filter(|_| full)
            .map(|weakest| weakest + Connects::new(1))
    }
}

/// A job's ranking after each bid and each interaction, from none on: the way of one who has a list
/// and sorts it.
///
/// # Errors
/// Says which bid could not have had a place.
pub fn standings(
    snapshot: &Snapshot,
    job: &str,
    slots: usize,
    tick: impl Fn(&str, Seq) -> Result<u64, String>,
) -> Result<Vec<Standing>, String> {
    let mut events = vec![];
    for (account, partition) in &snapshot.partitions {
        for bid in bids(partition, job)? {
            for (seq, amount) in &bid.steps {
                events.push((tick(account, *seq)?, account, Some(*amount)));
            }
            if let Some(end) = bid.end.filter(|end| end.by_interaction) {
                ensure(end.paid == bid.amount(), || {
                    format!("not paid in full: {bid:?}")
                })?;
                events.push((tick(account, end.entry)?, account, None));
            }
        }
    }
    events.sort();
    let mut standings = vec![Standing::default()];
    for (tick, account, amount) in events {
        let last = standings.last().cloned().unwrap_or_default();
        standings.push(followed(last, slots, tick, account, amount)?);
    }
    Ok(standings)
}

/// The ranking after a bid, or after the one that stands was paid.
fn followed(
    last: Standing,
    slots: usize,
    tick: u64,
    account: &str,
    amount: Option<Connects>,
) -> Result<Standing, String> {
    let mut next = Standing { tick, ..last };
    let Some(amount) = amount else {
        let mut places = next.places.iter_mut();
        let bidder = places.find(|bidder| bidder.account == account && !bidder.sold);
        let bidder = bidder.ok_or_else(|| format!("{account} paid without a place"))?;
        bidder.sold = true;
        return Ok(next);
    };
    next.places.retain(|bidder| bidder.account != account);
    next.places.push(Bidder {
        account: account.to_owned(),
        amount,
        since: tick,
        sold: false,
    });
    let order = |bidder: &Bidder| (std::cmp::Reverse(bidder.amount), bidder.since);
    next.places.sort_by_key(order);
    if next.places.len() > slots {
        let weakest = next.places.iter().rposition(|bidder| !bidder.sold);
        let lost = weakest.map(|place| next.places.remove(place));
        let own = lost.as_ref().is_none_or(|lost| lost.account == account);
        ensure(!own, || {
            format!("{account} bid {amount} for no place at {tick}: {next:?}")
        })?;
        next.runner_up = lost;
    }
    Ok(next)
}

/// The ranking that is stored is the last one there was, and its end says what each of them pays.
///
/// # Errors
/// Says what it should be.
pub fn check_ranking(
    auction: &Auction,
    last: &Standing,
    gives_back: impl Fn(Time) -> Vec<bool>,
) -> Result<(), String> {
    let stored = auction
        .places
        .iter()
        .map(|place| (place.account_id.as_str(), place.amount));
    let places = last.places.iter();
    let expected = places.map(|bidder| (bidder.account.as_str(), bidder.amount));
    let best = auction.runner_up.as_ref();
    let best = best.map(|best| (best.account_id.as_str(), best.amount));
    let lost = last.runner_up.as_ref();
    let lost = lost.map(|lost| (lost.account.as_str(), lost.amount));
    ensure(stored.eq(expected) && best == lost, || {
        format!("{auction:?} is not {last:?}")
    })?;
    let Some(end) = auction.end else {
        return Ok(());
    };
    let back = match end.by {
        ClosedBy::JobClosed => gives_back(end.at),
        ClosedBy::Time | ClosedBy::Hire => vec![false],
    };
    let least = lost.map_or(auction.minimum, |(_, amount)| amount + Connects::new(1));
    let pays = |bidder: &Bidder, back: bool| match (bidder.sold, back, auction.pricing) {
        (true, ..) | (_, false, Pricing::PayAsBid) => bidder.amount,
        (_, true, _) => Connects::ZERO,
        (_, false, Pricing::NextPlusOne) => least.min(bidder.amount),
    };
    let prices: Vec<_> = auction.places.iter().map(|place| place.price).collect();
    let possible = back.iter().any(|back| {
        let prices_then = last.places.iter().map(|bidder| Some(pays(bidder, *back)));
        prices_then.eq(prices.iter().copied())
    });
    ensure(possible, || format!("other prices: {auction:?}, {last:?}"))
}
