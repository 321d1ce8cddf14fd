//! Closures: why a job ends, and what that gives back to those who proposed on it.
//!
//! What a closure gives back is decided when it is asked for and written down with it; giving it
//! back is then a pass over the job's proposals that can stop anywhere and go on, since each
//! proposal remembers the closures that it was settled for. A job may be closed for several reasons,
//! one after the other: each makes its own pass, and no proposal gets more back than it took.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::auction::Auction;
use super::bid::Bid;
use super::draft::{Draft, Guard, Plan, Unplanned};
use super::ids::{AccountId, JobId, Reason};
use super::job::{Job, JobState};
use super::policy::Policy;
use super::proposal::{Decision, Proposal, ProposalState};
use super::refund;
use super::time::{self, Time};
use super::units::Connects;

/// Why a job is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClosureReason {
    /// The client wants it no more.
    ClientCancelled,
    /// The operator took the post down for what it says.
    TermsViolation,
    /// The post was a fraud.
    Fraud,
    /// Its time is over.
    Expired,
    /// Somebody was chosen.
    Filled,
}

impl ClosureReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ClientCancelled,
        Self::TermsViolation,
        Self::Fraud,
        Self::Expired,
        Self::Filled,
    ];

    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCancelled => "client_cancelled",
            Self::TermsViolation => "terms_violation",
            Self::Fraud => "fraud",
            Self::Expired => "expired",
            Self::Filled => "filled",
        }
    }

    /// The reason of that word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// What one reason for closing a job gives back: a line of `[returns.closures]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Whether anything.
    pub returned: bool,
    /// Whether what was bid on top of the cost as well.
    #[serde(default)]
    pub includes_boost: bool,
    /// Whether to those as well who had withdrawn their proposals.
    #[serde(default)]
    pub includes_withdrawn: bool,
    /// Whether only as long as no contract was made on the job.
    #[serde(default)]
    pub unless_contract: bool,
}

/// The return policy as the contract shows it: what comes back, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct ReturnPolicyView {
    /// One for each event in a job's life that somebody may expect Connects back for.
    pub rows: Vec<ReturnRow>,
}

/// A line of the return policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct ReturnRow {
    /// The event.
    pub reason: &'static str,
    /// What it gives back.
    #[serde(flatten)]
    pub terms: Terms,
}

/// What gives nothing back, under any policy: none of it closes a job.
const NEVER_RETURNED: [&str; 3] = ["client_declined", "withdrawn", "price_recalculated"];

impl ReturnPolicyView {
    /// Of a policy.
    pub fn of(policy: &Policy) -> Self {
        let closures = policy.returns.closures.iter();
        let closures = closures.map(|(reason, terms)| (reason.as_str(), *terms));
        let never = NEVER_RETURNED.map(|reason| (reason, Terms::default()));
        Self {
            rows: closures
                .chain(never)
                .map(|(reason, terms)| ReturnRow { reason, terms })
                .collect(),
        }
    }
}

/// The closing of a job for one reason, with what was decided then and how far it is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    /// Of which job.
    pub job_id: JobId,
    /// Why.
    pub reason: ClosureReason,
    /// When: that is also when whatever comes back does.
    #[serde(with = "time::as_text")]
    pub at: Time,
    /// What it gives back.
    pub terms: Terms,
    /// Whether a contract had been made on the job.
    pub had_contract: bool,
    /// The policy it was decided under.
    pub policy_version: u32,
    /// How far it is.
    pub progress: Progress,
    /// What is left to do for it.
    pub stage: Stage,
}

/// What is left to do for a closure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// To settle the job's proposals.
    Pending,
    /// Nothing, as far as could be seen: to look once more.
    Settled,
    /// Nothing.
    Checked,
}

/// How long after a closure its proposals are looked through for the last time. A transaction is
/// visible item by item: one that came just before the closure may have let go of the job before its
/// proposal can be read. DynamoDB brings such a transaction to its end within seconds.
const LAST_LOOK: TimeDelta = TimeDelta::minutes(15);

/// How far a pass over a job's proposals is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Proposals that are settled.
    pub done: u64,
    /// Proposals there are, once they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The last one before which none is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<AccountId>,
    /// How many there are up to that one.
    pub passed: u64,
}

/// How far a closed job's returns are, as the contract shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct Returns {
    /// Proposals that are settled.
    pub done: u64,
    /// Proposals there are.
    pub total: u64,
}

impl Returns {
    /// Of the newest closure of a job, of those at the same time of one that is not done; none before
    /// its proposals are counted.
    pub fn of(closures: &[Closure]) -> Option<Self> {
        let newest = closures
            .iter()
            .max_by_key(|closure| (closure.at, closure.is_pending()))?;
        newest.progress.total.map(|total| Self {
            done: newest.progress.done,
            total,
        })
    }
}

impl JobState {
    /// What its closures make of a job.
    pub(super) fn after(closures: &[Closure]) -> Self {
        match closures.iter().any(Closure::is_pending) {
            true => Self::Closing,
            false => Self::Closed,
        }
    }
}

impl Job {
    /// The job on its way to its end, and the closure that brings it there.
    pub fn close(&self, policy: &Policy, now: Time, reason: ClosureReason) -> (Self, Closure) {
        let terms = policy.returns.closures.get(&reason);
        let closure = Closure {
            job_id: self.job_id.clone(),
            reason,
            at: now,
            terms: terms.copied().unwrap_or_default(),
            had_contract: self.contracts > 0,
            policy_version: policy.version,
            progress: Progress::default(),
            stage: Stage::Pending,
        };
        (self.moved(JobState::Closing), closure)
    }

    /// The job after one of its closures is carried out, closed if that was the last.
    #[must_use]
    pub fn after_closure(&self, closures: &[Closure]) -> Self {
        self.moved(JobState::after(closures))
    }

    fn moved(&self, state: JobState) -> Self {
        Self {
            state,
            revision: self.revision + 1,
            ..self.clone()
        }
    }
}

impl Closure {
    /// Whether proposals are left to be settled for it.
    pub fn is_pending(&self) -> bool {
        self.stage == Stage::Pending
    }

    /// When it is looked at next, if ever.
    pub fn due_at(&self) -> Option<Time> {
        match self.stage {
            Stage::Pending => Some(self.at),
            Stage::Settled => Some(self.at + LAST_LOOK),
            Stage::Checked => None,
        }
    }

    /// Whether there is something to do for it by then.
    pub fn wants_pass(&self, now: Time) -> bool {
        self.is_pending() || self.due_at().is_some_and(|due_at| due_at <= now)
    }

    /// The closure after a pass that began then and left nothing over.
    #[must_use]
    pub fn passed(&self, now: Time) -> Self {
        let stage = match now >= self.at + LAST_LOOK {
            true => Stage::Checked,
            false => Stage::Settled,
        };
        Self {
            stage,
            ..self.clone()
        }
    }

    /// Whether a proposal still has to be settled for it.
    pub fn concerns(&self, proposal: &Proposal) -> bool {
        !proposal.settled_for.contains(&self.reason)
    }

    /// Whether it gives anything back to those who have not withdrawn.
    fn returns(&self) -> bool {
        self.terms.returned && !(self.terms.unless_contract && self.had_contract)
    }

    /// Whether the bids that lead on an open auction of the job come back, unpaid.
    pub fn releases_bids(&self) -> bool {
        self.returns() && self.terms.includes_boost
    }

    /// How much comes back by it of what a proposal took, and of what was paid for its bid.
    pub(super) fn gives_back(&self, proposal: &Proposal) -> (Connects, Connects) {
        let is_withdrawn = proposal.state == ProposalState::Withdrawn;
        if !self.returns() || (is_withdrawn && !self.terms.includes_withdrawn) {
            return (Connects::ZERO, Connects::ZERO);
        }
        let bid = proposal
            .bid
            .as_deref()
            .filter(|_| self.terms.includes_boost);
        let boost = bid.map_or(Connects::ZERO, Bid::returnable);
        (proposal.charge.returnable(), boost)
    }

    /// Whether settling a proposal for it moves nothing in its account.
    pub fn moves_nothing(&self, proposal: &Proposal) -> bool {
        let is_held = proposal.bid.as_deref().is_some_and(Bid::is_held);
        !is_held && self.gives_back(proposal) == (Connects::ZERO, Connects::ZERO)
    }

    /// Why a proposal stays paid that gets nothing back by it.
    fn keeps_for(&self, proposal: &Proposal) -> Reason {
        let is_withdrawn = proposal.state == ProposalState::Withdrawn;
        let is_hired = proposal.outcome == Some(Decision::Hired);
        Reason::of(match self.reason {
            _ if proposal.paid().is_zero() => "nothing_paid",
            _ if is_withdrawn && !self.terms.includes_withdrawn => "withdrawn",
            _ if self.terms.unless_contract && self.had_contract => "had_contract",
            ClosureReason::Expired => "job_expired",
            ClosureReason::Filled if is_hired => "had_contract",
            ClosureReason::Filled => "other_freelancer_chosen",
            // By the policy of that day.
            _ => "not_returned",
        })
    }

    /// A proposal that gets nothing back by it, settled.
    pub fn settles(&self, proposal: &Proposal) -> Proposal {
        let mut settled = proposal.next();
        settled.kept_for = Some(self.keeps_for(proposal));
        self.mark(settled)
    }

    /// Settles a proposal whose account gets something back, or has a bid that is still held: what is
    /// held first, as the auction's end says; then the cost and what was paid for the bid come back, each
    /// in an entry of its own, to the lots they came out of, last taken first. A suspended account gets it
    /// too.
    ///
    /// # Errors
    /// Stale when the proposal was read before something that the account already shows.
    pub fn plan(
        &self,
        mut draft: Draft<'_>,
        proposal: &Proposal,
        auction: Option<&Auction>,
    ) -> Result<Option<Plan>, Unplanned> {
        let mut next = proposal.next();
        if let Some(bid) = &mut next.bid
            && let Some(settled) = bid.settle(&mut draft, &proposal.account_id, auction)?
        {
            **bid = settled;
        }
        let reason = Reason::of(self.reason.as_str());
        let (cost, boost) = self.gives_back(&next);
        let taken = std::iter::once(&mut next.charge);
        let taken = taken.chain(next.bid.as_mut().map(|bid| &mut bid.hold.taken));
        for (taken, back) in taken.zip([cost, boost]) {
            if !back.is_zero() {
                refund::bring_back(&mut draft, taken, back, reason.clone())?;
                taken.returned += back;
                next.returned_for = Some(reason.clone());
            }
        }
        if (cost + boost).is_zero() {
            next.kept_for = Some(self.keeps_for(&next));
        }
        let settled = self.mark(next);
        Ok(draft.finish(vec![Guard::Proposal(settled)]).1)
    }

    fn mark(&self, mut proposal: Proposal) -> Proposal {
        proposal.settled_for.insert(self.reason);
        if proposal.state == ProposalState::Submitted {
            proposal.state = ProposalState::Settled;
        }
        proposal
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::account::Kind;
    use super::super::bid::Arena;
    use super::super::job::{JobView, PostJob, Pricing};
    use super::super::policy::built_in;
    use super::super::proposal::{ProposalView, ProposeCommand};
    use super::super::testing::{OPENED, at, connects, draft, opened};
    use super::*;

    const LATER: &str = "2025-01-11T12:00:00Z";

    fn job(policy: &Policy, cost: u64) -> Job {
        let post = PostJob {
            posted_at: at(OPENED),
            pricing: Pricing::Stated(connects(cost)),
        };
        let id = JobId::try_new("J1").unwrap();
        post.apply(policy, &id, None).unwrap()
    }

    fn proposal(policy: &Policy, cost: u64) -> Proposal {
        let command = ProposeCommand::new(JobId::try_new("J1").unwrap(), connects(cost));
        let draft = draft(policy, opened(policy, Kind::Freelancer), OPENED);
        let planned = command.plan(draft, None, &Arena::of(Some(job(policy, cost))));
        planned.unwrap().0
    }

    /// A proposal after a closure, as the contract shows it: its state, what came back, and why.
    fn settled(policy: &Policy, closure: &Closure, proposal: &Proposal) -> (String, u64, String) {
        let back = closure.gives_back(proposal);
        let after = match closure.moves_nothing(proposal) {
            true => closure.settles(proposal),
            false => {
                let reason = Reason::of(closure.reason.as_str());
                closure.mark(proposal.refunded(back.0, reason))
            }
        };
        assert!(closure.concerns(proposal) && !closure.concerns(&after));
        assert_eq!(after.revision, proposal.revision + 1);
        let balance = opened(policy, Kind::Freelancer).balance();
        let view = json!(ProposalView::of(&after, balance));
        let word = |name: &str| view[name].as_str().unwrap().to_owned();
        (
            word("state"),
            view["returned"].as_u64().unwrap(),
            word("return_reason"),
        )
    }

    #[test]
    fn what_comes_back_and_why_follows_the_matrix() {
        use ClosureReason::{ClientCancelled, Expired, Filled, Fraud, TermsViolation};
        let policy = built_in();
        let paid = proposal(&policy, 8);
        let withdrawn = paid.withdrawn();
        let declined = paid.decided(Decision::ClientDeclined);
        let hired = paid.decided(Decision::Hired);
        let partly = paid.refunded(connects(3), Reason::of("goodwill"));
        let wholly = paid.refunded(connects(8), Reason::of("goodwill"));
        let free = proposal(&policy, 0);
        for (reason, contracts, proposal, state, back, why) in [
            (ClientCancelled, 0, &paid, "settled", 8, "client_cancelled"),
            (ClientCancelled, 1, &paid, "settled", 0, "had_contract"),
            (ClientCancelled, 0, &withdrawn, "withdrawn", 0, "withdrawn"),
            (ClientCancelled, 1, &withdrawn, "withdrawn", 0, "withdrawn"),
            (
                ClientCancelled,
                0,
                &declined,
                "settled",
                8,
                "client_cancelled",
            ),
            (
                ClientCancelled,
                1,
                &declined,
                "settled",
                0,
                "client_declined",
            ),
            (ClientCancelled, 0, &free, "settled", 0, "nothing_paid"),
            (
                ClientCancelled,
                0,
                &partly,
                "settled",
                8,
                "client_cancelled",
            ),
            (ClientCancelled, 0, &wholly, "settled", 8, "goodwill"),
            (TermsViolation, 0, &paid, "settled", 8, "terms_violation"),
            (TermsViolation, 1, &paid, "settled", 8, "terms_violation"),
            (
                TermsViolation,
                0,
                &withdrawn,
                "withdrawn",
                8,
                "terms_violation",
            ),
            (Fraud, 0, &paid, "settled", 8, "fraud"),
            (Fraud, 2, &hired, "settled", 8, "fraud"),
            (Fraud, 2, &withdrawn, "withdrawn", 8, "fraud"),
            (Fraud, 0, &free, "settled", 0, "nothing_paid"),
            (Expired, 0, &paid, "settled", 0, "job_expired"),
            (Expired, 0, &partly, "settled", 3, "goodwill"),
            (Expired, 0, &declined, "settled", 0, "client_declined"),
            (Expired, 0, &withdrawn, "withdrawn", 0, "withdrawn"),
            (Filled, 1, &paid, "settled", 0, "other_freelancer_chosen"),
            (Filled, 1, &hired, "settled", 0, "had_contract"),
        ] {
            let job = (0..contracts).fold(job(&policy, 8), |job, _| job.contracted());
            let (job, closure) = job.close(&policy, at(LATER), reason);
            assert_eq!(job.state, JobState::Closing);
            let told = settled(&policy, &closure, proposal);
            let expected = (state.to_owned(), back, why.to_owned());
            assert_eq!(told, expected, "{reason:?} {contracts} {proposal:?}");
        }
    }

    /// What was decided stays, whatever becomes of the job and the policy.
    #[test]
    fn a_closures_decision_is_made_when_it_is_asked_for() {
        let mut policy = built_in();
        let paid = proposal(&policy, 8);
        let job = job(&policy, 8);
        let (closing, closure) = job.close(&policy, at(LATER), ClosureReason::ClientCancelled);
        policy.returns.closures.clear();
        assert_eq!(closing.contracted().contracts, 1);
        assert_eq!(closure.gives_back(&paid).0, connects(8));
        let (_, later) = closing
            .contracted()
            .close(&policy, at(LATER), ClosureReason::Fraud);
        assert_eq!(later.gives_back(&paid).0, Connects::ZERO);
        let read: Closure = serde_json::from_value(json!(closure)).unwrap();
        assert_eq!(read, closure);
    }

    #[test]
    fn a_job_is_closed_when_all_its_closures_are_carried_out() {
        let policy = built_in();
        let (job, first) = job(&policy, 8).close(&policy, at(OPENED), ClosureReason::Expired);
        let (job, second) = job.close(&policy, at(LATER), ClosureReason::Fraud);
        let done = |closure: &Closure, done| Closure {
            progress: Progress {
                done,
                total: Some(done),
                ..Progress::default()
            },
            ..closure.passed(at(LATER))
        };
        let after = |closures: &[Closure]| (job.after_closure(closures), Returns::of(closures));
        let (half, returns) = after(&[done(&first, 3), second.clone()]);
        assert_eq!((half.state, returns), (JobState::Closing, None));
        let (whole, returns) = after(&[done(&first, 3), done(&second, 2)]);
        assert_eq!(whole.state, JobState::Closed);
        assert_eq!(returns, Some(Returns { done: 2, total: 2 }));
        // Of two at the same time the one that is not done is shown.
        let (_, third) = job.close(&policy, at(LATER), ClosureReason::Filled);
        for closures in [[done(&second, 2), third.clone()], [third, done(&second, 2)]] {
            assert_eq!(Returns::of(&closures), None);
        }
        assert_eq!(
            (half.revision, whole.revision),
            (job.revision + 1, job.revision + 1)
        );
    }

    /// A job and its closures are not read at one moment.
    #[test]
    fn a_job_is_shown_as_its_closures_have_it() {
        let policy = built_in();
        let (closing, closure) = job(&policy, 8).close(&policy, at(LATER), ClosureReason::Expired);
        let finished = closure.passed(at(LATER));
        let (_, another) = closing.close(&policy, at(LATER), ClosureReason::Fraud);
        let closed = closing.after_closure(std::slice::from_ref(&finished));
        let (first, both) = ([finished.clone()], [finished, another]);
        for (job, closures, shown) in [
            (&closing, &[closure][..], JobState::Closing),
            (&closing, &first, JobState::Closed),
            (&closed, &first, JobState::Closed),
            (&closed, &both, JobState::Closing),
            (&closing, &both, JobState::Closing),
        ] {
            assert_eq!(JobView::of(job.clone(), closures).state, shown);
        }
    }

    #[test]
    fn a_closure_is_looked_at_once_more() {
        let policy = built_in();
        let (_, closure) = job(&policy, 8).close(&policy, at(OPENED), ClosureReason::Fraud);
        let [soon, then] = ["2025-01-10T12:14:59Z", "2025-01-10T12:15:00Z"].map(at);
        assert_eq!(closure.due_at(), Some(at(OPENED)));
        assert!(closure.wants_pass(soon));
        let settled = closure.passed(soon);
        assert_eq!(
            (settled.stage, settled.due_at()),
            (Stage::Settled, Some(then))
        );
        assert!(!settled.wants_pass(soon) && settled.wants_pass(then));
        for checked in [settled.passed(then), closure.passed(then)] {
            assert_eq!((checked.stage, checked.due_at()), (Stage::Checked, None));
            assert!(!checked.wants_pass(at(LATER)));
        }
    }

    #[test]
    fn a_policy_that_returns_nothing_says_so() {
        let mut policy = built_in();
        let terms = policy.returns.closures.values_mut();
        terms.for_each(|terms| *terms = Terms::default());
        let paid = proposal(&policy, 8);
        let (_, closure) = job(&policy, 8).close(&policy, at(LATER), ClosureReason::Fraud);
        let told = settled(&policy, &closure, &paid);
        assert_eq!(told, ("settled".to_owned(), 0, "not_returned".to_owned()));
    }

    #[test]
    fn the_matrix_is_served_as_data() {
        let view = json!(ReturnPolicyView::of(&built_in()));
        let row = |reason: &str, flags: [bool; 4]| {
            json!({
                "reason": reason,
                "returned": flags[0],
                "includes_boost": flags[1],
                "includes_withdrawn": flags[2],
                "unless_contract": flags[3],
            })
        };
        let rows = [
            row("client_cancelled", [true, true, false, true]),
            row("terms_violation", [true, true, true, false]),
            row("fraud", [true, true, true, false]),
            row("expired", [false; 4]),
            row("filled", [false; 4]),
            row("client_declined", [false; 4]),
            row("withdrawn", [false; 4]),
            row("price_recalculated", [false; 4]),
        ];
        assert_eq!(view, json!({ "rows": rows }));
    }

    #[test]
    fn words() {
        for reason in ClosureReason::ALL {
            assert_eq!(json!(reason), reason.as_str());
            assert_eq!(ClosureReason::of(reason.as_str()), Some(reason));
        }
        assert_eq!(ClosureReason::of("closed"), None);
    }
}
