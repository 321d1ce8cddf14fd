//! Bids: what an account offers on top of its proposal, to be shown first.
//!
//! A bid is a hold, and part of its proposal: both are one item, written over at one revision, so a bid
//! is never held and lost at once. Whoever pushes another out writes the ranking, the new hold and the
//! loser's release in one transaction over both accounts. Where the loser's account can't be changed
//! just then, their bid is `releasing` from that moment on, and a transaction of its own follows.

use serde::{Deserialize, Serialize};

use super::account::{Account, Balance};
use super::auction::Auction;
use super::draft::{Draft, Guard, Plan, Unplanned};
use super::hold::{BOOST, Hold, HoldState};
use super::ids::{AccountId, Fingerprint, JobId, Operation, OperationId, Reason, Reference, Seq};
use super::job::Job;
use super::key::IdempotencyKey;
use super::policy::Policy;
use super::proposal::{Proposal, ProposalState};
use super::receipt::Answered;
use super::refusal::Refusal;
use super::settle::settle;
use super::spend::{Charge, may_spend};
use super::time::Time;
use super::units::Connects;
use crate::defect::{Defect, present};

/// Entries that settling a loser may book in the winner's transaction; with more, the loser is settled
/// and released by another.
const MAX_RIVAL_ENTRIES: usize = 8;

/// Actions of a transaction that are the loser's, of the 100; what does not fit is pending.
const RIVAL_ACTIONS: usize = 30;

/// Where a bid stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BidState {
    /// It has a place, and its Connects are held.
    Leading,
    /// It lost its place, and its Connects are back.
    Outbid,
    /// It lost its place, and its Connects are on their way back.
    Releasing,
    /// It was paid.
    Charged,
    /// It led when the job was closed, which gave its Connects back.
    Lost,
}

/// A bid.
#[derive(Debug, Clone, PartialEq)]
pub struct Bid {
    /// What it sets aside, and after it was paid, what of that came back.
    pub hold: Hold,
    /// Where it stands.
    pub state: BidState,
    /// How much was paid.
    pub paid: Connects,
    /// Since when its Connects are on their way back, if they are.
    pub lost_at: Option<Time>,
    /// The account's entry that last moved them.
    pub entry: Seq,
}

impl Bid {
    /// How much it is.
    pub fn amount(&self) -> Connects {
        self.hold.taken.amount
    }

    /// Whether Connects are held for it.
    pub fn is_held(&self) -> bool {
        matches!(self.state, BidState::Leading | BidState::Releasing)
    }

    /// Whether it has a place.
    fn is_ranked(&self) -> bool {
        !matches!(self.state, BidState::Outbid | BidState::Releasing)
    }

    /// Whether Connects are held for it that the auction has no say in any more but to settle it.
    pub fn awaits_settling(&self, auction: Option<&Auction>, now: Time) -> bool {
        match self.state {
            BidState::Releasing => true,
            BidState::Leading => auction.is_some_and(|auction| auction.is_over(now)),
            BidState::Outbid | BidState::Charged | BidState::Lost => false,
        }
    }

    /// When its release must be looked at, if it is on its way.
    pub fn due_at(&self) -> Option<Time> {
        self.lost_at
    }

    /// What of it was paid and has not come back.
    pub fn returnable(&self) -> Connects {
        match self.state {
            BidState::Charged => self.hold.taken.returnable(),
            _ => Connects::ZERO,
        }
    }

    /// What of what was paid has come back.
    pub fn returned(&self) -> Connects {
        match self.state {
            BidState::Charged => self.paid - self.returnable(),
            _ => Connects::ZERO,
        }
    }

    fn moved(&self, draft: &Draft<'_>, hold: Hold, state: BidState) -> Self {
        Self {
            hold,
            state,
            lost_at: None,
            entry: draft.account().head.seq,
            paid: self.paid,
        }
    }

    fn outbid(&self, draft: &mut Draft<'_>) -> Result<Self, Unplanned> {
        self.released(draft, BidState::Outbid, "outbid")
    }

    fn released(
        &self,
        draft: &mut Draft<'_>,
        state: BidState,
        reason: &'static str,
    ) -> Result<Self, Unplanned> {
        let reason = Reason::of(reason);
        let hold = self.hold.release(draft, HoldState::Released, reason)?;
        Ok(self.moved(draft, hold, state))
    }

    fn charged(
        &self,
        draft: &mut Draft<'_>,
        price: Connects,
        reason: &'static str,
    ) -> Result<Self, Unplanned> {
        let hold = self.hold.capture(draft, price, Reason::of(reason))?;
        Ok(Self {
            paid: price,
            ..self.moved(draft, hold, BidState::Charged)
        })
    }

    /// The bid paid or given back as the auction's end says; none where nothing is held for it.
    ///
    /// # Errors
    /// Stale where the auction does not say yet.
    pub fn settle(
        &self,
        draft: &mut Draft<'_>,
        account: &AccountId,
        auction: Option<&Auction>,
    ) -> Result<Option<Self>, Unplanned> {
        match self.state {
            BidState::Releasing => self.outbid(draft).map(Some),
            BidState::Leading => {
                let ended = auction.filter(|auction| auction.end.is_some());
                let place = ended.and_then(|auction| auction.place(account));
                let price = place.and_then(|place| place.price);
                let price = price.ok_or(Unplanned::Stale)?;
                if !price.is_zero() {
                    return self.charged(draft, price, "won").map(Some);
                }
                self.released(draft, BidState::Lost, "job_closed").map(Some)
            }
            BidState::Outbid | BidState::Charged | BidState::Lost => Ok(None),
        }
    }
}

/// Whoever would lose their place by a bid.
#[derive(Debug, Clone, PartialEq)]
pub struct Rival {
    /// Their proposal, with their bid.
    pub proposal: Proposal,
    /// Their account; none where it can't be changed now.
    pub account: Option<Account>,
}

impl Rival {
    /// What gives the rival's Connects back at once: a plan for their account.
    fn released(&self, bid: &Bid, policy: &Policy, now: Time) -> Option<Plan> {
        let account = self.account.clone()?;
        if !account.head.pending.is_empty() {
            return None;
        }
        let settled = settle(policy, now, account);
        if !settled.complete || settled.draft.entries().len() > MAX_RIVAL_ENTRIES {
            return None;
        }
        let mut draft = settled.draft;
        let outbid = bid.outbid(&mut draft).ok()?;
        let proposal = Guard::Proposal(self.proposal.with_bid(outbid));
        draft.finish_within(RIVAL_ACTIONS, vec![proposal]).1
    }

    /// The rival's bid on its way back: since when is when it is due.
    fn releasing(&self, bid: &Bid, now: Time) -> Guard {
        Guard::Proposal(self.proposal.with_bid(Bid {
            state: BidState::Releasing,
            lost_at: Some(now),
            ..bid.clone()
        }))
    }
}

/// What a bid is judged by.
#[derive(Debug, Clone, Default)]
pub struct Arena {
    /// The job.
    pub job: Option<Job>,
    /// Its auction, once there was a bid.
    pub auction: Option<Auction>,
    /// Whoever would lose their place.
    pub rival: Option<Rival>,
}

/// A bid about to be committed.
pub(super) struct Placing {
    pub proposal: Proposal,
    pub auction: Auction,
    /// Beside the bidder's proposal.
    pub guards: Vec<Guard>,
    /// For the rival's account.
    pub beside: Option<Plan>,
}

impl Arena {
    /// For a proposal without a bid.
    pub fn of(job: Option<Job>) -> Self {
        Self {
            job,
            ..Self::default()
        }
    }

    /// Who would lose their place by a bid of so much, as far as the auction tells.
    pub fn outbids(&self, account: &AccountId, amount: Connects) -> Option<AccountId> {
        let placed = self.auction.as_ref()?.bid(account, amount, "amount");
        placed.ok()?.outbid
    }

    /// The auction, open.
    ///
    /// # Errors
    /// `job_closed`, `auction_closed`.
    pub(super) fn open(&self, draft: &Draft<'_>, job: &Job) -> Result<Auction, Refusal> {
        let auction = match &self.auction {
            Some(auction) => auction.clone(),
            None => Auction::new(draft.policy(), job),
        };
        auction.open(job, draft.now())?;
        Ok(auction)
    }

    /// Sets a bid aside, or what it grows by, and takes its place in the ranking.
    ///
    /// # Errors
    /// `below_minimum`, `bid_not_raised`, `bid_too_low`, `auction_closed`, `insufficient_connects`.
    pub(super) fn place(
        &self,
        draft: &mut Draft<'_>,
        auction: &Auction,
        proposal: &Proposal,
        amount: Connects,
        field: &'static str,
    ) -> Result<Placing, Unplanned> {
        let account = &proposal.account_id;
        let bid = proposal.bid.as_deref();
        if bid.is_some_and(|bid| draft.is_before(bid.entry)) {
            // The account was read before its bid moved.
            return Err(Unplanned::Stale);
        }
        let placed = auction.bid(account, amount, field)?;
        let leads = auction.rank(account).is_some();
        let held = match bid {
            Some(bid) if leads && bid.state == BidState::Leading => Some(bid),
            // One was read before the other changed.
            Some(Bid {
                state: BidState::Leading,
                ..
            }) => return Err(Unplanned::Stale),
            _ if leads => return Err(Unplanned::Stale),
            Some(bid) if bid.state == BidState::Releasing => {
                bid.outbid(draft)?;
                None
            }
            _ => None,
        };
        let hold = match held {
            Some(bid) => bid.hold.raise(draft, amount - bid.amount())?,
            None => begun(draft, proposal, amount, field)?,
        };
        let mut guards = vec![];
        let mut beside = None;
        if let Some(outbid) = &placed.outbid
            && !present(Defect::LoserForgotten)
        {
            let rival = self.rival.as_ref();
            let rival = rival.filter(|rival| rival.proposal.account_id == *outbid);
            let bid = rival.and_then(|rival| Some((rival, rival.proposal.bid.as_deref()?)));
            let bid = bid.filter(|(_, bid)| bid.state == BidState::Leading);
            let (rival, bid) = bid.ok_or(Unplanned::Stale)?;
            beside = rival.released(bid, draft.policy(), draft.now());
            if beside.is_none() {
                guards.push(rival.releasing(bid, draft.now()));
            }
        }
        guards.push(Guard::Auction(placed.auction.clone()));
        Ok(Placing {
            proposal: proposal.with_bid(Bid {
                hold,
                state: BidState::Leading,
                paid: Connects::ZERO,
                lost_at: None,
                entry: draft.account().head.seq,
            }),
            auction: placed.auction,
            guards,
            beside,
        })
    }
}

/// A new hold for a proposal's bid.
fn begun(
    draft: &mut Draft<'_>,
    proposal: &Proposal,
    amount: Connects,
    field: &'static str,
) -> Result<Hold, Refusal> {
    may_spend(draft, amount)?;
    let reason = Reason::of(BOOST);
    let name = format!("held:{}:{}", proposal.job_id, proposal.revision);
    let charge = Charge {
        id: OperationId::derive(&proposal.account_id, Operation::Bid, &name),
        fingerprint: Fingerprint::of(Operation::Bid, &amount),
        key: None,
        amount,
        field,
        reason: reason.clone(),
        reference: Reference::of("job", &proposal.job_id),
    };
    Ok(Hold {
        taken: charge.hold(draft)?,
        reason,
        expires_at: None,
        state: HoldState::Open,
        ended: None,
        revision: 1,
    })
}

/// A request to bid on a job on which the account has a proposal, or to bid more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BidCommand {
    /// On which job.
    pub job_id: JobId,
    /// How much in all.
    pub amount: Connects,
}

impl BidCommand {
    /// The id that this request has under `key`.
    pub fn id(&self, account: &AccountId, key: &IdempotencyKey) -> OperationId {
        let name = format!("{}#{}", self.job_id, key.as_str());
        OperationId::derive(account, Operation::Bid, &name)
    }

    /// What a retry must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::Bid, self)
    }

    /// Bids.
    ///
    /// # Errors
    /// `job_not_found`, `proposal_not_found`, `account_suspended`, `in_debt`, `job_closed`,
    /// `auction_closed`, `below_minimum`, `bid_not_raised`, `bid_too_low`, `insufficient_connects`.
    pub fn plan(
        &self,
        mut draft: Draft<'_>,
        id: &OperationId,
        proposal: Option<&Proposal>,
        arena: &Arena,
    ) -> Result<(Answered<BidView>, Option<Plan>), Unplanned> {
        let job = arena.job.as_ref().ok_or(Refusal::JobNotFound)?;
        let proposal = proposal.filter(|proposal| proposal.state != ProposalState::Withdrawn);
        let proposal = proposal.ok_or(Refusal::ProposalNotFound)?;
        may_spend(&draft, self.amount)?;
        let auction = arena.open(&draft, job)?;
        let first = draft.account().head.seq.next();
        let placing = arena.place(&mut draft, &auction, proposal, self.amount, "amount")?;
        let view = BidView::of(
            &placing.proposal,
            Some(&placing.auction),
            draft.account().balance(),
        );
        let answered = Answered {
            id: id.clone(),
            fingerprint: self.fingerprint(),
            key: None,
            entry: first,
            answer: view.ok_or(Unplanned::Stale)?,
        };
        let mut guards = placing.guards;
        guards.push(Guard::Proposal(placing.proposal));
        guards.push(Guard::NewBid(answered.clone()));
        guards.push(job.guard());
        let (_, plan) = draft.finish_beside(placing.beside, guards);
        Ok((answered, plan))
    }
}

/// Charges the bid of a proposal that the client looked into, if it leads.
///
/// # Errors
/// `proposal_not_found`, also where nothing was ever bid. Stale where it is to be settled first.
pub fn interact(
    mut draft: Draft<'_>,
    proposal: Option<&Proposal>,
    auction: Option<&Auction>,
) -> Result<(BidView, Option<Plan>), Unplanned> {
    let proposal = proposal.ok_or(Refusal::ProposalNotFound)?;
    let bid = proposal.bid.as_ref().ok_or(Refusal::ProposalNotFound)?;
    if draft.is_before(bid.entry) || bid.awaits_settling(auction, draft.now()) {
        return Err(Unplanned::Stale);
    }
    if bid.state != BidState::Leading {
        let view = BidView::of(proposal, auction, draft.account().balance());
        return Ok((view.ok_or(Unplanned::Stale)?, None));
    }
    let place = auction.and_then(|auction| auction.place(&proposal.account_id));
    let unpaid = place.is_some_and(|place| place.price.is_none());
    // Otherwise they were read at different moments.
    let auction = auction.filter(|_| unpaid).ok_or(Unplanned::Stale)?;
    let charged = bid.charged(&mut draft, bid.amount(), "interaction")?;
    let proposal = proposal.with_bid(charged);
    let auction = auction.sold(&proposal.account_id);
    let view = BidView::of(&proposal, Some(&auction), draft.account().balance());
    let guards = vec![Guard::Proposal(proposal), Guard::Auction(auction)];
    let (_, plan) = draft.finish(guards);
    Ok((view.ok_or(Unplanned::Stale)?, plan))
}

/// A bid as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct BidView {
    /// On which job.
    pub job_id: JobId,
    /// How much.
    pub amount: Connects,
    /// Where it stands.
    pub state: BidState,
    /// Its place, the first being 1; none where it has none.
    pub rank: Option<usize>,
    /// How much was paid.
    pub charged: Connects,
    /// The account's balance.
    pub balance: Balance,
}

impl BidView {
    /// Of a proposal's bid in its job's auction; none where nothing was bid.
    pub fn of(proposal: &Proposal, auction: Option<&Auction>, balance: Balance) -> Option<Self> {
        let bid = proposal.bid.as_ref()?;
        // The auction may have been read before it was outbid.
        let auction = auction.filter(|_| bid.is_ranked());
        Some(Self {
            job_id: proposal.job_id.clone(),
            amount: bid.amount(),
            state: bid.state,
            rank: auction.and_then(|auction| auction.rank(&proposal.account_id)),
            charged: bid.paid,
            balance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::Kind;
    use super::super::job::{PostJob, Pricing};
    use super::super::policy::built_in;
    use super::super::proposal::{ProposalView, ProposeCommand};
    use super::super::testing::{OPENED, account_id, at, connects, draft, opened, stored};
    use super::*;

    /// A job that costs nothing but a bid.
    fn job(policy: &Policy) -> Job {
        let post = PostJob {
            posted_at: at(OPENED),
            pricing: Pricing::Stated(Connects::ZERO),
        };
        post.apply(policy, &job_id(), None).unwrap()
    }

    fn job_id() -> JobId {
        JobId::try_new("J1").unwrap()
    }

    /// Submitted with a bid of 5 by a new freelancer, and the account after it.
    fn submitted(policy: &Policy) -> (Proposal, Auction, Account) {
        let arena = Arena::of(Some(job(policy)));
        let mut drafted = draft(policy, opened(policy, Kind::Freelancer), OPENED);
        let plain = ProposeCommand::new(job_id(), Connects::ZERO);
        let (plain, _) = plain.plan(drafted.clone(), None, &arena).unwrap();
        let auction = arena.open(&drafted, &job(policy)).unwrap();
        let placing = arena.place(&mut drafted, &auction, &plain, connects(5), "boost");
        let placing = placing.unwrap();
        let proposal = Proposal {
            boost: Some(connects(5)),
            ..placing.proposal
        };
        (proposal, placing.auction, stored(drafted.finish(vec![]).0))
    }

    /// What is booked in the winner's transaction is bounded; beyond that the loser's follows.
    #[test]
    fn who_has_too_much_to_settle_is_released_by_a_transaction_of_its_own() {
        let policy = built_in();
        let (proposal, _, account) = submitted(&policy);
        let bid = proposal.bid.clone().unwrap();
        let rival = Rival {
            proposal,
            account: Some(account.clone()),
        };
        // A grant for each month since the opening on 10 January.
        for (now, due, at_once) in [
            ("2025-02-09T00:00:00Z", 0, true),
            ("2025-08-10T00:00:00Z", 7, true),
            ("2025-09-10T00:00:00Z", 8, true),
            ("2025-10-10T00:00:00Z", 9, false),
            ("2025-11-10T00:00:00Z", 10, false),
        ] {
            let settled = draft(&policy, account.clone(), now);
            assert_eq!(settled.entries().len(), due, "{now}");
            let plan = rival.released(&bid, &policy, at(now));
            assert_eq!(plan.is_some(), at_once, "{now}");
            if let Some(plan) = plan {
                assert_eq!((plan.account, plan.entries.len()), (account_id(), due + 1));
            }
        }
    }

    /// What the first request was answered is what its replay is, however high the bid is by then.
    #[test]
    fn a_replay_shows_the_first_bid() {
        let policy = built_in();
        let (proposal, auction, account) = submitted(&policy);
        let first = ProposalView::submitted(&proposal);
        assert_eq!(first.boost, Some(connects(5)));
        let mut drafted = draft(&policy, account, OPENED);
        let arena = Arena {
            auction: Some(auction.clone()),
            ..Arena::of(Some(job(&policy)))
        };
        let raised = arena.place(&mut drafted, &auction, &proposal, connects(9), "amount");
        let raised = raised.unwrap().proposal;
        let now = ProposalView::of(&raised, Balance::default());
        assert_eq!(now.boost, Some(connects(9)));
        assert_eq!(ProposalView::submitted(&raised), first);
    }
}
