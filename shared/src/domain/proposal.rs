//! Proposals: one for each account and job, charged at the job's price when it is submitted.
//!
//! A proposal is the receipt of its own operation. It lies with its job, so that whoever closes
//! that finds all of them, and is written over only at the revision that was read.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::account::Balance;
use super::auction::Auction;
use super::bid::{Arena, Bid, BidState};
use super::closure::ClosureReason;
use super::draft::{Draft, Guard, Plan, Unplanned};
use super::ids::{AccountId, Fingerprint, JobId, Operation, OperationId, Reason, Reference};
use super::job::Job;
use super::key::IdempotencyKey;
use super::receipt::Receipt;
use super::refusal::Refusal;
use super::spend::{Charge, may_spend};
use super::units::Connects;

/// Why a proposal costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FreeReason {
    /// The client invited to it.
    Invited,
    /// It answers a client's offer.
    Offer,
    /// The client bought a project from the catalogue.
    ProjectCatalog,
    /// It was sent within an enterprise's talent cloud.
    TalentCloud,
    /// The job costs nobody anything. Nobody claims this: it is so.
    ZeroCostJob,
}

impl FreeReason {
    /// The words of the reasons that the marketplace may claim.
    pub const CLAIMS: [&str; 4] = ["invited", "offer", "project_catalog", "talent_cloud"];

    /// The reason of one of these words.
    pub fn claimed(word: &str) -> Option<Self> {
        match word {
            "invited" => Some(Self::Invited),
            "offer" => Some(Self::Offer),
            "project_catalog" => Some(Self::ProjectCatalog),
            "talent_cloud" => Some(Self::TalentCloud),
            _ => None,
        }
    }
}

/// Where a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProposalState {
    /// With the client.
    Submitted,
    /// Taken back. It was paid all the same.
    Withdrawn,
    /// Its job is closed, and what was to come back has.
    Settled,
}

/// What the client made of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Not this one.
    ClientDeclined,
    /// This one.
    Hired,
}

/// A proposal.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// On which job.
    pub job_id: JobId,
    /// Who pays for it.
    pub account_id: AccountId,
    /// What it took, and what of that came back.
    pub charge: Receipt,
    /// Why it took nothing, if so.
    pub free_reason: Option<FreeReason>,
    /// The version of the job's price that it was charged by.
    pub job_version: u64,
    /// Where it stands.
    pub state: ProposalState,
    /// What the client made of it.
    pub outcome: Option<Decision>,
    /// Why anything came back last.
    pub returned_for: Option<Reason>,
    /// Why nothing came back when its job was closed, if so.
    pub kept_for: Option<Reason>,
    /// The closures of its job that it was settled for.
    pub settled_for: BTreeSet<ClosureReason>,
    /// What was bid on top with it.
    pub boost: Option<Connects>,
    /// What is bid on top of it, or was.
    pub bid: Option<Box<Bid>>,
    /// Grows with whatever changes of it.
    pub revision: u64,
}

/// A request to submit a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProposeCommand {
    /// On which job.
    pub job_id: JobId,
    /// The most that it may cost.
    pub expected_cost: Connects,
    /// Why it costs nothing, by the word of the marketplace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_reason: Option<FreeReason>,
    /// What is bid on top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boost: Option<Connects>,
}

impl ProposeCommand {
    /// For at most so much, with nothing bid on top.
    pub const fn new(job_id: JobId, expected_cost: Connects) -> Self {
        Self {
            job_id,
            expected_cost,
            free_reason: None,
            boost: None,
        }
    }

    /// What a retry must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::Proposal, self)
    }

    fn cost(&self, job: &Job) -> Connects {
        match self.free_reason {
            Some(_) => Connects::ZERO,
            None => job.connects_required,
        }
    }

    /// The job, if this account may submit a proposal on it now, were it the first; with the auction
    /// that it bids in.
    ///
    /// # Errors
    /// `job_not_found`, `account_suspended`, `in_debt`, `job_closed`, `auction_closed`, in that order.
    pub fn admitted<'j>(
        &self,
        draft: &Draft<'_>,
        arena: &'j Arena,
    ) -> Result<(&'j Job, Option<Auction>), Refusal> {
        let job = arena.job.as_ref().ok_or(Refusal::JobNotFound)?;
        may_spend(draft, self.cost(job) + self.boost.unwrap_or(Connects::ZERO))?;
        job.open()?;
        let auction = match self.boost {
            Some(_) => Some(arena.open(draft, job)?),
            None => None,
        };
        Ok((job, auction))
    }

    /// Takes the cost, if there is enough for what is bid on top as well.
    fn charged(&self, charge: Charge, draft: &mut Draft<'_>) -> Result<Receipt, Refusal> {
        let available = draft.account().balance().available;
        let required = charge.amount + self.boost.unwrap_or(Connects::ZERO);
        match required <= available {
            true => charge.take(draft),
            false => Err(Refusal::InsufficientConnects {
                available,
                required,
            }),
        }
    }

    /// Charges what the job costs now, if that is not more than expected, and sets aside what is bid on
    /// top: both or neither.
    ///
    /// # Errors
    /// As for [`ProposeCommand::admitted`], then `price_changed`, `below_minimum` or `bid_too_low` for
    /// the bid, `insufficient_connects`.
    pub fn plan(
        &self,
        mut draft: Draft<'_>,
        key: Option<&IdempotencyKey>,
        arena: &Arena,
    ) -> Result<(Proposal, Option<Plan>), Unplanned> {
        let (job, auction) = self.admitted(&draft, arena)?;
        let cost = self.cost(job);
        if cost > self.expected_cost {
            return Err(Unplanned::Refused(Refusal::PriceChanged {
                expected: self.expected_cost,
                required: cost,
            }));
        }
        let account_id = draft.account().id.clone();
        if let (Some(auction), Some(bid)) = (&auction, self.boost) {
            auction.bid(&account_id, bid, "boost")?;
        }
        let charge = Charge {
            id: OperationId::derive(&account_id, Operation::Proposal, job.job_id.as_str()),
            fingerprint: self.fingerprint(),
            key: key.cloned(),
            amount: cost,
            field: "expected_cost",
            reason: Reason::of("proposal"),
            reference: Reference::of("job", &job.job_id),
        };
        let zero_cost = cost.is_zero().then_some(FreeReason::ZeroCostJob);
        let mut proposal = Proposal {
            job_id: job.job_id.clone(),
            account_id,
            charge: self.charged(charge, &mut draft)?,
            free_reason: self.free_reason.or(zero_cost),
            job_version: job.version,
            state: ProposalState::Submitted,
            outcome: None,
            returned_for: None,
            kept_for: None,
            settled_for: BTreeSet::new(),
            boost: self.boost,
            bid: None,
            revision: 1,
        };
        let (mut guards, mut beside) = (vec![], None);
        if let (Some(auction), Some(bid)) = (auction, self.boost) {
            let placing = arena.place(&mut draft, &auction, &proposal, bid, "boost")?;
            proposal.bid = placing.proposal.bid;
            proposal.charge.after = draft.account().balance();
            (guards, beside) = (placing.guards, placing.beside);
        }
        guards.push(Guard::Proposal(proposal.clone()));
        guards.push(job.guard());
        let (_, plan) = draft.finish_beside(beside, guards);
        Ok((proposal, plan))
    }
}

impl Proposal {
    /// This proposal, if the request that finds it under its key is the one that made it.
    ///
    /// # Errors
    /// `idempotency_key_reused` when it is another.
    pub fn for_request(self, fingerprint: &Fingerprint) -> Result<Self, Refusal> {
        let charge = self.charge.for_request(fingerprint)?;
        Ok(Self { charge, ..self })
    }

    /// The same, about to be written over what was read.
    pub(super) fn next(&self) -> Self {
        Self {
            revision: self.revision + 1,
            ..self.clone()
        }
    }

    /// The proposal with what became of its bid.
    #[must_use]
    pub fn with_bid(&self, bid: Bid) -> Self {
        Self {
            bid: Some(Box::new(bid)),
            ..self.next()
        }
    }

    /// Lets its bid pay or go back, if anything is held for it.
    ///
    /// # Errors
    /// As for [`Bid::settle`].
    pub fn settle_bid(
        &self,
        mut draft: Draft<'_>,
        auction: Option<&Auction>,
    ) -> Result<Option<Plan>, Unplanned> {
        let Some(bid) = &self.bid else {
            return Ok(None);
        };
        let Some(bid) = bid.settle(&mut draft, &self.account_id, auction)? else {
            return Ok(None);
        };
        let proposal = Guard::Proposal(self.with_bid(bid));
        Ok(draft.finish(vec![proposal]).1)
    }

    /// How much was paid, for it and for what was bid on top.
    pub fn paid(&self) -> Connects {
        let bid = self.bid.as_ref().map_or(Connects::ZERO, |bid| bid.paid);
        self.charge.amount + bid
    }

    /// How much came back of what it took and of what was bid on top.
    pub fn returned(&self) -> Connects {
        let bid = self.bid.as_deref().map_or(Connects::ZERO, Bid::returned);
        self.charge.returned + bid
    }

    /// The proposal taken back. What is bid on top stays bid: it may have pushed out others.
    #[must_use]
    pub fn withdrawn(&self) -> Self {
        Self {
            state: ProposalState::Withdrawn,
            ..self.next()
        }
    }

    /// The proposal as the client decided.
    #[must_use]
    pub fn decided(&self, outcome: Decision) -> Self {
        Self {
            outcome: Some(outcome),
            ..self.next()
        }
    }

    /// The proposal after so much more of it came back.
    #[must_use]
    pub fn refunded(&self, amount: Connects, reason: Reason) -> Self {
        let mut next = self.next();
        next.charge.returned += amount;
        next.returned_for = Some(reason);
        next
    }

    /// Why something came back; else why nothing does, where that is known.
    fn return_reason(&self) -> Option<Reason> {
        let outcome = self.outcome.map(|outcome| match outcome {
            Decision::ClientDeclined => Reason::of("client_declined"),
            Decision::Hired => Reason::of("had_contract"),
        });
        let not_returned = match self.state {
            ProposalState::Withdrawn => Some(Reason::of("withdrawn")),
            ProposalState::Submitted | ProposalState::Settled => outcome,
        };
        let nothing_paid = |why: &Reason| why.as_str() == "nothing_paid";
        let returned = self.returned_for.clone();
        returned
            .or(self.kept_for.clone().filter(nothing_paid))
            .or(not_returned)
            .or(self.kept_for.clone())
    }
}

/// A proposal as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct ProposalView {
    /// On which job.
    pub job_id: JobId,
    /// What it took.
    pub cost: Connects,
    /// Why it took nothing, if so.
    pub free_reason: Option<FreeReason>,
    /// What is bid on top of it, or was.
    pub boost: Option<Connects>,
    /// Where that bid stands.
    pub boost_state: Option<BidState>,
    /// How much of it was paid.
    pub boost_charged: Connects,
    /// Where it stands.
    pub state: ProposalState,
    /// What the client made of it.
    pub outcome: Option<Decision>,
    /// How much came back.
    pub returned: Connects,
    /// Why something came back, or why nothing does.
    pub return_reason: Option<Reason>,
    /// The account's balance.
    pub balance: Balance,
}

impl ProposalView {
    /// Of a proposal as it stands, in an account with that balance.
    pub fn of(proposal: &Proposal, balance: Balance) -> Self {
        let bid = proposal.bid.as_deref();
        Self {
            job_id: proposal.job_id.clone(),
            cost: proposal.charge.amount,
            free_reason: proposal.free_reason,
            boost: bid.map(Bid::amount),
            boost_state: bid.map(|bid| bid.state),
            boost_charged: bid.map_or(Connects::ZERO, |bid| bid.paid),
            state: proposal.state,
            outcome: proposal.outcome,
            returned: proposal.returned(),
            return_reason: proposal.return_reason(),
            balance,
        }
    }

    /// Of a proposal as it was when it was submitted, whatever became of it.
    pub fn submitted(proposal: &Proposal) -> Self {
        Self {
            boost: proposal.boost,
            boost_state: proposal.boost.map(|_| BidState::Leading),
            boost_charged: Connects::ZERO,
            state: ProposalState::Submitted,
            outcome: None,
            returned: Connects::ZERO,
            return_reason: None,
            ..Self::of(proposal, proposal.charge.after)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::account::{Account, Kind, Status};
    use super::super::job::{JobState, PostJob, Pricing};
    use super::super::policy::{Policy, built_in};
    use super::super::refund::{Charged, RefundCommand, RefundOf, RefundReason, bring_back};
    use super::super::testing::{OPENED, account_id, at, connects, draft, opened, stored};
    use super::*;

    fn job(policy: &Policy, cost: u64) -> Job {
        let post = PostJob {
            posted_at: at(OPENED),
            pricing: Pricing::Stated(connects(cost)),
        };
        let id = JobId::try_new("J1").unwrap();
        post.apply(policy, &id, None).unwrap()
    }

    fn propose(expected: u64, free_reason: Option<FreeReason>) -> ProposeCommand {
        ProposeCommand {
            job_id: JobId::try_new("J1").unwrap(),
            expected_cost: connects(expected),
            free_reason,
            boost: None,
        }
    }

    type Told = Result<(u64, Option<FreeReason>), Refusal>;

    fn told(planned: Result<(Proposal, Option<Plan>), Unplanned>) -> Told {
        match planned {
            Ok((proposal, plan)) => {
                let cost = proposal.charge.amount;
                let entry = plan.unwrap().entries.pop().unwrap();
                assert_eq!(entry.amount, cost.debit());
                assert_eq!(entry.reason, Reason::of("proposal"));
                assert_eq!(entry.reference.unwrap().as_str(), "job:J1");
                Ok((cost.get(), proposal.free_reason))
            }
            Err(Unplanned::Refused(refusal)) => Err(refusal),
            Err(Unplanned::Stale) => panic!("stale"),
        }
    }

    #[test]
    fn a_proposal_costs_what_the_job_costs_now_or_nothing() {
        use FreeReason::{Invited, ZeroCostJob};
        let policy = built_in();
        let too_dear = |expected, required| {
            Err(Refusal::PriceChanged {
                expected: connects(expected),
                required: connects(required),
            })
        };
        let too_little = |required| {
            Err(Refusal::InsufficientConnects {
                available: connects(50),
                required: connects(required),
            })
        };
        for (cost, expected, free, answer) in [
            (8, 8, None, Ok((8, None))),
            (8, 9, None, Ok((8, None))),
            (8, 7, None, too_dear(7, 8)),
            (8, 0, None, too_dear(0, 8)),
            (50, 50, None, Ok((50, None))),
            (51, 51, None, too_little(51)),
            (51, 50, None, too_dear(50, 51)),
            (0, 0, None, Ok((0, Some(ZeroCostJob)))),
            (0, 8, None, Ok((0, Some(ZeroCostJob)))),
            (51, 0, Some(Invited), Ok((0, Some(Invited)))),
            (0, 0, Some(Invited), Ok((0, Some(Invited)))),
        ] {
            let account = opened(&policy, Kind::Freelancer);
            let draft = draft(&policy, account, OPENED);
            let job = job(&policy, cost);
            let planned = propose(expected, free).plan(draft, None, &Arena::of(Some(job.clone())));
            assert_eq!(told(planned), answer, "{cost} {expected} {free:?}");
        }
    }

    /// Everything wrong at once, and one thing less each time.
    #[test]
    fn refusals_come_in_their_order() {
        let policy = built_in();
        let mut account = opened(&policy, Kind::Agency);
        account.head.after.debt = connects(3);
        let mut draft = draft(&policy, stored(account), OPENED);
        let mut posted = job(&policy, 8);
        posted.state = JobState::Closing;
        let command = propose(7, None);
        let arena = |job: &Job| Arena::of(Some(job.clone()));
        let refused =
            |draft: &Draft<'_>, arena: &Arena| told(command.plan(draft.clone(), None, arena));
        draft.change_profile("suspended", None, |profile| {
            profile.status = Status::Suspended;
        });
        assert_eq!(
            refused(&draft, &Arena::default()),
            Err(Refusal::JobNotFound)
        );
        let suspended = refused(&draft, &arena(&posted));
        assert_eq!(suspended, Err(Refusal::AccountSuspended));
        draft.change_profile("reactivated", None, |profile| {
            profile.status = Status::Active;
        });
        let debt = connects(3);
        assert_eq!(
            refused(&draft, &arena(&posted)),
            Err(Refusal::InDebt { debt })
        );
        // Nothing is spent on a free one, so no debt is in its way.
        let free = propose(0, Some(FreeReason::Offer));
        let closed = told(free.plan(draft.clone(), None, &arena(&posted)));
        assert_eq!(closed, Err(Refusal::JobClosed));
        posted.state = JobState::Open;
        let free = told(free.plan(draft.clone(), None, &arena(&posted)));
        assert_eq!(free, Ok((0, Some(FreeReason::Offer))));
    }

    #[test]
    fn only_the_marketplaces_words_can_be_claimed() {
        for (word, claimed) in [
            ("invited", Some(FreeReason::Invited)),
            ("offer", Some(FreeReason::Offer)),
            ("project_catalog", Some(FreeReason::ProjectCatalog)),
            ("talent_cloud", Some(FreeReason::TalentCloud)),
            ("zero_cost_job", None),
            ("Invited", None),
            ("", None),
        ] {
            assert_eq!(FreeReason::claimed(word), claimed, "{word}");
            assert_eq!(FreeReason::CLAIMS.contains(&word), claimed.is_some());
            if let Some(claimed) = claimed {
                assert_eq!(json!(claimed), word);
            }
        }
    }

    fn submitted(policy: &Policy, account: Account, cost: u64) -> (Proposal, Account) {
        let job = job(policy, cost);
        let command = propose(cost, None);
        let drafted = draft(policy, account, OPENED);
        let mut after = drafted.clone();
        let (proposal, _) = command
            .plan(drafted, None, &Arena::of(Some(job.clone())))
            .unwrap();
        let reference = proposal.charge.reference.clone();
        after
            .spend(connects(cost), Reason::of("proposal"), reference)
            .unwrap();
        (proposal, stored(after.finish(vec![]).0))
    }

    #[test]
    fn a_replay_shows_the_proposal_as_it_was_submitted() {
        let policy = built_in();
        let (proposal, _) = submitted(&policy, opened(&policy, Kind::Freelancer), 45);
        let first = ProposalView::submitted(&proposal);
        let expected = json!({
            "job_id": "J1", "cost": 45, "free_reason": null, "boost": null,
            "boost_state": null, "boost_charged": 0,
            "state": "submitted", "outcome": null, "returned": 0, "return_reason": null,
            "balance": { "available": 5, "held": 0, "debt": 0 },
        });
        assert_eq!(json!(first), expected);
        let changed = proposal.withdrawn().decided(Decision::Hired);
        let changed = changed.refunded(connects(5), Reason::of("goodwill"));
        assert_eq!(ProposalView::submitted(&changed), first);
        let now = ProposalView::of(&changed, Balance::default());
        assert_eq!(
            (now.state, now.returned),
            (ProposalState::Withdrawn, connects(5))
        );
        assert_eq!(now.return_reason, Some(Reason::of("goodwill")));
    }

    #[test]
    fn a_request_finds_its_own_proposal() {
        let policy = built_in();
        let (proposal, _) = submitted(&policy, opened(&policy, Kind::Freelancer), 8);
        let same = proposal
            .clone()
            .for_request(&propose(8, None).fingerprint());
        assert_eq!(same, Ok(proposal.clone()));
        for other in [propose(9, None), propose(8, Some(FreeReason::Offer))] {
            let other = proposal.clone().for_request(&other.fingerprint());
            assert_eq!(other, Err(Refusal::IdempotencyKeyReused));
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Withdraw,
        Decide(Decision),
        Refund(Option<u64>),
        Close(ClosureReason, bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Withdraw),
            Just(Step::Decide(Decision::ClientDeclined)),
            Just(Step::Decide(Decision::Hired)),
            prop::option::of(1_u64..30).prop_map(Step::Refund),
            (prop::sample::select(&ClosureReason::ALL[..]), any::<bool>())
                .prop_map(|(reason, had_contract)| Step::Close(reason, had_contract)),
        ];
        prop::collection::vec(step, 0..12)
    }

    /// The account and its proposal after a plan, which must give so many more back.
    fn brought_back(
        policy: &Policy,
        account: &Account,
        proposal: &Proposal,
        (amount, reason): (u64, &'static str),
        plan: Option<Plan>,
    ) -> (Account, Proposal) {
        let plan = plan.unwrap();
        assert_eq!(plan.entries[0].amount, connects(amount).credit());
        let Some(Guard::Proposal(next)) = plan.guards.into_iter().last() else {
            panic!("no proposal");
        };
        let mut after = draft(policy, account.clone(), OPENED);
        let charge = &proposal.charge;
        bring_back(&mut after, charge, connects(amount), Reason::of(reason)).unwrap();
        (stored(after.finish(vec![]).0), next)
    }

    proptest! {
        /// In any order: never more back than was paid, the balance tells exactly that, and the
        /// reason is that of what came back last, else of why nothing does.
        #[test]
        fn a_proposals_life(cost in 0_u64..=50, steps in steps()) {
            let policy = built_in();
            let account = opened(&policy, Kind::Freelancer);
            let (mut proposal, mut account) = submitted(&policy, account, cost);
            let (mut back, mut withdrawn, mut decided) = (0, false, None);
            let (mut returned_for, mut kept_for) = (None, None);
            for (number, step) in steps.iter().enumerate() {
                let before = proposal.clone();
                match step {
                    Step::Withdraw => {
                        proposal = proposal.withdrawn();
                        withdrawn = true;
                    }
                    Step::Decide(outcome) => {
                        proposal = proposal.decided(*outcome);
                        decided = Some(*outcome);
                    }
                    Step::Refund(amount) => {
                        let command = RefundCommand {
                            of: RefundOf::JobId(proposal.job_id.clone()),
                            amount: amount.map(connects),
                            reason: RefundReason::Goodwill,
                        };
                        let drafted = draft(&policy, account.clone(), OPENED);
                        let key = number.to_string();
                        let id = OperationId::derive(&account_id(), Operation::Refund, &key);
                        let charged = Charged::Proposal(proposal.clone());
                        let wanted = amount.unwrap_or(cost - back);
                        match command.plan(drafted, &id, Some(&charged)) {
                            Err(_) => prop_assert!(wanted == 0 || back + wanted > cost),
                            Ok((receipt, plan)) => {
                                prop_assert_eq!(receipt.amount, connects(wanted));
                                let what = (wanted, "goodwill");
                                (account, proposal) =
                                    brought_back(&policy, &account, &proposal, what, plan);
                                back += wanted;
                                returned_for = Some("goodwill");
                            }
                        }
                    }
                    Step::Close(reason, had_contract) => {
                        let mut job = job(&policy, cost);
                        job.contracts = u32::from(*had_contract);
                        let (_, closure) = job.close(&policy, at(OPENED), *reason);
                        if !closure.concerns(&proposal) {
                            continue;
                        }
                        let wanted = closure.gives_back(&proposal).0.get();
                        if wanted == 0 {
                            proposal = closure.settles(&proposal);
                            kept_for = proposal.kept_for.clone();
                            continue;
                        }
                        prop_assert_eq!(back + wanted, cost);
                        let drafted = draft(&policy, account.clone(), OPENED);
                        let plan = closure.plan(drafted, &proposal, None);
                        let what = (wanted, reason.as_str());
                        (account, proposal) =
                            brought_back(&policy, &account, &proposal, what, plan.unwrap());
                        back += wanted;
                        returned_for = Some(reason.as_str());
                    }
                }
                let changed = u64::from(proposal != before);
                prop_assert_eq!(proposal.revision, before.revision + changed);
                let view = ProposalView::of(&proposal, account.balance());
                prop_assert!(back <= cost);
                prop_assert_eq!((view.cost, view.returned), (connects(cost), connects(back)));
                prop_assert_eq!(view.balance.available, connects(50 - cost + back));
                let settled_free = kept_for.is_some() && cost == 0;
                let reason = match (returned_for, withdrawn, decided) {
                    (Some(reason), _, _) => Some(Reason::of(reason)),
                    (None, _, _) if settled_free => Some(Reason::of("nothing_paid")),
                    (None, true, _) => Some(Reason::of("withdrawn")),
                    (None, false, Some(Decision::ClientDeclined)) => {
                        Some(Reason::of("client_declined"))
                    }
                    (None, false, Some(Decision::Hired)) => Some(Reason::of("had_contract")),
                    (None, false, None) => kept_for.clone(),
                };
                prop_assert_eq!(view.return_reason, reason);
            }
        }
    }
}
