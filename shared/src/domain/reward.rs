//! Rewards: Connects for what somebody has achieved, once for each achievement.
//!
//! An interview won gives back what its proposal cost, as far as the reward goes, and the rest of the
//! reward as new Connects. The new ones depend on the cost alone, what goes back on what has come back
//! already: so in whatever order rewards, refunds and closures of the job come, they end the same.

use serde::{Deserialize, Serialize};

use super::account::Balance;
use super::draft::{Draft, Guard, Plan, Unplanned};
use super::ids::{AccountId, Fingerprint, JobId, Operation, OperationId, Reason, Reference};
use super::key::IdempotencyKey;
use super::lot::Source;
use super::policy::Policy;
use super::proposal::Proposal;
use super::receipt::Answered;
use super::refund::bring_back;
use super::refusal::{Invalid, Refusal};
use super::units::{Connects, Money};

/// What is rewarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RewardKind {
    /// A talent is seen to rise.
    RisingTalent,
    /// A skill was certified.
    SkillCertification,
    /// A proposal led to an interview.
    InterviewWon,
}

impl RewardKind {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RisingTalent => "rising_talent",
            Self::SkillCertification => "skill_certification",
            Self::InterviewWon => "interview_won",
        }
    }

    /// Why its new Connects are there.
    const fn issued_for(self) -> &'static str {
        match self {
            Self::RisingTalent => "rising_talent",
            Self::SkillCertification => "skill_certification",
            Self::InterviewWon => "interview_awarded",
        }
    }
}

/// `[rewards]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardPolicy {
    /// For a rising talent.
    pub rising_talent: Connects,
    /// For a certified skill.
    pub skill_certification: Connects,
    /// For an interview that was won.
    pub interview_won: Connects,
    /// Whose interviews count. Nobody is told.
    pub established_client: EstablishedClient,
}

/// `[rewards.established_client]`: the least of each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EstablishedClient {
    /// How often they have hired.
    pub hires: u64,
    /// What they have spent, in minor units.
    pub spend: u64,
}

impl RewardPolicy {
    /// How much it is.
    pub fn amount(&self, kind: RewardKind) -> Connects {
        match kind {
            RewardKind::RisingTalent => self.rising_talent,
            RewardKind::SkillCertification => self.skill_certification,
            RewardKind::InterviewWon => self.interview_won,
        }
    }

    /// All amounts.
    pub(super) fn amounts(&self) -> [Connects; 3] {
        [
            self.rising_talent,
            self.skill_certification,
            self.interview_won,
        ]
    }
}

impl EstablishedClient {
    fn is(&self, client: &Client) -> bool {
        client.hires >= self.hires && client.spend.amount >= self.spend
    }
}

/// What is known of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Client {
    /// How often they have hired.
    pub hires: u64,
    /// What they have spent.
    pub spend: Money,
}

/// A request to reward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardCommand {
    /// Once for each account.
    RisingTalent,
    /// Once for each account.
    SkillCertification,
    /// Once for each proposal.
    InterviewWon {
        /// On which job.
        job_id: JobId,
        /// With whom.
        client: Client,
    },
}

impl RewardCommand {
    /// The reward that a request asks for.
    ///
    /// # Errors
    /// `invalid_field` for an interview without its job or its client, for anything else with one of
    /// them, and for a client's spend in a currency that is not the policy's.
    pub fn try_new(
        policy: &Policy,
        kind: RewardKind,
        job_id: Option<JobId>,
        client: Option<Client>,
    ) -> Result<Self, Invalid> {
        let beside = |field| Invalid::field(field, "goes with interview_won alone");
        let missing = |field| Invalid::field(field, "is required for interview_won");
        let command = match kind {
            RewardKind::RisingTalent => Self::RisingTalent,
            RewardKind::SkillCertification => Self::SkillCertification,
            RewardKind::InterviewWon => {
                let job_id = job_id.ok_or_else(|| missing("job_id"))?;
                let client = client.ok_or_else(|| missing("client"))?;
                let currency = &policy.purchases.currency;
                if client.spend.currency != *currency {
                    let detail = format!("must be {currency}");
                    return Err(Invalid::field("client.spend.currency", detail));
                }
                return Ok(Self::InterviewWon { job_id, client });
            }
        };
        match (job_id, client) {
            (Some(_), _) => Err(beside("job_id")),
            (None, Some(_)) => Err(beside("client")),
            (None, None) => Ok(command),
        }
    }

    /// What is rewarded.
    pub fn kind(&self) -> RewardKind {
        match self {
            Self::RisingTalent => RewardKind::RisingTalent,
            Self::SkillCertification => RewardKind::SkillCertification,
            Self::InterviewWon { .. } => RewardKind::InterviewWon,
        }
    }

    /// The job whose proposal is rewarded.
    pub fn job_id(&self) -> Option<&JobId> {
        match self {
            Self::InterviewWon { job_id, .. } => Some(job_id),
            _ => None,
        }
    }

    /// One for each account and achievement.
    pub fn id(&self, account: &AccountId) -> OperationId {
        let kind = self.kind().as_str();
        let natural = match self.job_id() {
            Some(job) => format!("{kind}:{job}"),
            None => kind.to_owned(),
        };
        OperationId::derive(account, Operation::Reward, &natural)
    }

    /// What a retry must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::Reward, self)
    }

    /// The proposal that is rewarded, if any, where this account may be rewarded, were it the first
    /// time.
    ///
    /// # Errors
    /// `proposal_not_found`, `account_suspended`, `reward_not_earned`, in that order.
    pub fn admitted<'p>(
        &self,
        draft: &Draft<'_>,
        proposal: Option<&'p Proposal>,
    ) -> Result<Option<&'p Proposal>, Refusal> {
        let proposal = match self {
            Self::InterviewWon { .. } => Some(proposal.ok_or(Refusal::ProposalNotFound)?),
            _ => None,
        };
        if draft.is_suspended() {
            return Err(Refusal::AccountSuspended);
        }
        let established = &draft.policy().rewards.established_client;
        match self {
            Self::InterviewWon { client, .. } if !established.is(client) => {
                Err(Refusal::RewardNotEarned)
            }
            _ => Ok(proposal),
        }
    }

    /// Gives the reward. What neither goes back nor is new is in the journal all the same, with
    /// amount 0.
    ///
    /// # Errors
    /// As for [`RewardCommand::admitted`]; stale when the proposal was read before something came
    /// back that the account already shows.
    pub fn plan(
        &self,
        mut draft: Draft<'_>,
        key: Option<&IdempotencyKey>,
        proposal: Option<&Proposal>,
    ) -> Result<(Answered<RewardAnswer>, Option<Plan>), Unplanned> {
        let proposal = self.admitted(&draft, proposal)?;
        let kind = self.kind();
        let amount = draft.policy().rewards.amount(kind);
        let entry = draft.account().head.seq.next();
        let mut refunded = Connects::ZERO;
        let mut awarded = amount;
        let mut about = Reference::of("reward", kind.as_str());
        let mut changed = None;
        if let Some(proposal) = proposal {
            let charge = &proposal.charge;
            refunded = amount.min(charge.returnable());
            awarded = amount - amount.min(charge.amount);
            about = charge.reference.clone();
            let reason = Reason::of("interview_refunded");
            if !refunded.is_zero() || awarded.is_zero() {
                bring_back(&mut draft, charge, refunded, reason.clone())?;
            }
            if !refunded.is_zero() {
                changed = Some(Guard::Proposal(proposal.refunded(refunded, reason)));
            }
        }
        if !awarded.is_zero() {
            draft.issue(Source::Reward, kind.issued_for(), awarded, Some(about));
        }
        let receipt = Answered {
            id: self.id(&draft.account().id),
            fingerprint: self.fingerprint(),
            key: key.cloned(),
            entry,
            answer: RewardAnswer {
                kind,
                refunded,
                awarded,
                balance: draft.account().balance(),
            },
        };
        let guards = [Guard::NewReward(receipt.clone())].into_iter();
        let (_, plan) = draft.finish(guards.chain(changed).collect());
        Ok((receipt, plan))
    }
}

/// The answer to a reward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct RewardAnswer {
    /// What was rewarded.
    pub kind: RewardKind,
    /// What went back to the lots that the proposal was paid from.
    pub refunded: Connects,
    /// What is new.
    pub awarded: Connects,
    /// The balance after it.
    pub balance: Balance,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::account::{Account, Kind, Status};
    use super::super::bid::Arena;
    use super::super::closure::ClosureReason;
    use super::super::job::{Job, PostJob, Pricing};
    use super::super::policy::built_in;
    use super::super::proposal::{ProposalView, ProposeCommand};
    use super::super::refund::{Charged, RefundCommand, RefundOf, RefundReason};
    use super::super::testing::{OPENED, at, connects, draft, opened, operation, stored};
    use super::*;

    fn job_id() -> JobId {
        JobId::try_new("J1").unwrap()
    }

    fn client(hires: u64, cents: u64) -> Client {
        let currency = "USD".to_owned();
        let spend = Money {
            amount: cents,
            currency,
        };
        Client { hires, spend }
    }

    fn interview(hires: u64, cents: u64) -> RewardCommand {
        RewardCommand::InterviewWon {
            job_id: job_id(),
            client: client(hires, cents),
        }
    }

    /// An account with a proposal on a job, and what becomes of both.
    #[derive(Clone)]
    struct World {
        policy: Policy,
        job: Job,
        account: Account,
        proposal: Proposal,
    }

    impl World {
        fn new(cost: u64) -> Self {
            Self::of(opened(&built_in(), Kind::Freelancer), cost)
        }

        fn of(account: Account, cost: u64) -> Self {
            let policy = built_in();
            let post = PostJob {
                posted_at: at(OPENED),
                pricing: Pricing::Stated(connects(cost)),
            };
            let job = post.apply(&policy, &job_id(), None).unwrap();
            let command = ProposeCommand::new(job_id(), connects(cost));
            let drafted = draft(&policy, account, OPENED);
            let mut after = drafted.clone();
            let (proposal, _) = command
                .plan(drafted, None, &Arena::of(Some(job.clone())))
                .unwrap();
            let about = proposal.charge.reference.clone();
            after
                .spend(connects(cost), Reason::of("proposal"), about)
                .unwrap();
            Self {
                account: stored(after.finish(vec![]).0),
                policy,
                job,
                proposal,
            }
        }

        /// Does what was planned on that draft.
        fn becomes(&mut self, mut after: Draft<'_>, plan: Plan) {
            let new = ["rising_talent", "skill_certification", "interview_awarded"];
            for entry in &plan.entries {
                let (reason, amount) = (&entry.reason, connects(entry.amount.unsigned_abs()));
                match new.into_iter().find(|word| *word == reason.as_str()) {
                    Some(word) => {
                        after.issue(Source::Reward, word, amount, entry.reference.clone());
                    }
                    // Whatever brings something covers debt by itself.
                    None if reason.as_str() == "debt" => {}
                    None => {
                        let charge = &self.proposal.charge;
                        bring_back(&mut after, charge, amount, reason.clone()).unwrap();
                    }
                }
            }
            self.account = stored(after.finish(vec![]).0);
            for guard in plan.guards {
                if let Guard::Proposal(next) = guard {
                    self.proposal = next;
                }
            }
        }

        fn reward(
            &mut self,
            command: &RewardCommand,
        ) -> Result<(RewardAnswer, Vec<String>), Refusal> {
            let policy = self.policy.clone();
            let drafted = draft(&policy, self.account.clone(), OPENED);
            let after = drafted.clone();
            match command.plan(drafted, None, Some(&self.proposal)) {
                Err(Unplanned::Stale) => panic!("stale"),
                Err(Unplanned::Refused(refusal)) => Err(refusal),
                Ok((receipt, plan)) => {
                    let plan = plan.unwrap();
                    assert_eq!(plan.guards[0], Guard::NewReward(receipt.clone()));
                    assert_eq!(plan.entries[0].seq, receipt.entry);
                    let told = plan.entries.iter().map(|entry| {
                        let about = entry.reference.as_ref().map_or("", |of| of.as_str());
                        format!("{} {} {about}", entry.reason, entry.amount)
                    });
                    let told = told.collect();
                    self.becomes(after, plan);
                    assert_eq!(receipt.answer.balance, self.account.balance());
                    Ok((receipt.answer, told))
                }
            }
        }

        fn refund(&mut self, amount: Option<u64>) {
            let policy = self.policy.clone();
            let command = RefundCommand {
                of: RefundOf::JobId(job_id()),
                amount: amount.map(connects),
                reason: RefundReason::Goodwill,
            };
            let drafted = draft(&policy, self.account.clone(), OPENED);
            let after = drafted.clone();
            let charged = Charged::Proposal(self.proposal.clone());
            let id = operation(Operation::Refund, "r");
            if let Ok((_, plan)) = command.plan(drafted, &id, Some(&charged)) {
                self.becomes(after, plan.unwrap());
            }
        }

        fn close(&mut self, reason: ClosureReason) {
            let policy = self.policy.clone();
            let (_, closure) = self.job.close(&policy, at(OPENED), reason);
            if !closure.concerns(&self.proposal) {
                return;
            }
            if closure.moves_nothing(&self.proposal) {
                self.proposal = closure.settles(&self.proposal);
                return;
            }
            let drafted = draft(&policy, self.account.clone(), OPENED);
            let after = drafted.clone();
            let plan = closure.plan(drafted, &self.proposal, None).unwrap();
            self.becomes(after, plan.unwrap());
        }

        fn returned(&self) -> (u64, Option<String>) {
            let view = ProposalView::of(&self.proposal, self.account.balance());
            let reason = view.return_reason.map(|reason| reason.to_string());
            (view.returned.get(), reason)
        }
    }

    fn split(answer: &RewardAnswer) -> (u64, u64) {
        (answer.refunded.get(), answer.awarded.get())
    }

    #[test]
    fn an_interview_brings_the_cost_back_and_the_rest_on_top() {
        for (cost, refunded, awarded, entries) in [
            (
                8,
                8,
                2,
                &["interview_refunded 8 job:J1", "interview_awarded 2 job:J1"][..],
            ),
            (16, 10, 0, &["interview_refunded 10 job:J1"]),
            (10, 10, 0, &["interview_refunded 10 job:J1"]),
            (0, 0, 10, &["interview_awarded 10 job:J1"]),
        ] {
            let mut world = World::new(cost);
            let (answer, told) = world.reward(&interview(1, 1)).unwrap();
            assert_eq!(split(&answer), (refunded, awarded), "{cost}");
            assert_eq!(told, entries);
            assert_eq!(answer.balance.available, connects(50 - cost + 10));
            let reason = (refunded > 0).then(|| "interview_refunded".to_owned());
            assert_eq!(world.returned(), (refunded, reason));
            let sources = world.account.lots.iter().map(|lot| lot.birth().source);
            let rewards = sources.filter(|source| *source == Source::Reward);
            assert_eq!(rewards.count(), usize::from(awarded > 0));

            // A cancel returns the rest, and its reason replaces the interview's.
            world.close(ClosureReason::Fraud);
            let (returned, reason) = world.returned();
            assert_eq!(returned, cost);
            if cost > refunded {
                assert_eq!(reason.as_deref(), Some("fraud"));
            }
            assert_eq!(
                world.account.balance().available,
                connects(50 + awarded),
                "{cost}"
            );
        }
    }

    #[test]
    fn connects_go_back_to_the_lots_they_came_from_the_last_taken_first() {
        // 40 of the signup's lot, 5 of the month's.
        let mut world = World::new(45);
        world.reward(&interview(1, 1)).unwrap();
        let left = world.account.lots.iter();
        let left: Vec<_> = left
            .map(|lot| (lot.birth().source, lot.remaining().get()))
            .collect();
        assert_eq!(left, [(Source::Signup, 5), (Source::MonthlyFree, 10)]);
    }

    #[test]
    fn what_has_come_back_is_not_refunded_again() {
        for (cost, back, expected, entries) in [
            (8, 8, (0, 2), &["interview_awarded 2 job:J1"][..]),
            (
                8,
                3,
                (5, 2),
                &["interview_refunded 5 job:J1", "interview_awarded 2 job:J1"],
            ),
            (16, 10, (6, 0), &["interview_refunded 6 job:J1"]),
            (16, 3, (10, 0), &["interview_refunded 10 job:J1"]),
            // Nothing is left to give, which is written down.
            (16, 16, (0, 0), &["interview_refunded 0 job:J1"]),
        ] {
            let mut world = World::new(cost);
            world.refund(Some(back));
            let (answer, told) = world.reward(&interview(1, 1)).unwrap();
            assert_eq!(split(&answer), expected, "{cost} {back}");
            assert_eq!(told, entries);
            let reason = if expected.0 == 0 {
                "goodwill"
            } else {
                "interview_refunded"
            };
            assert_eq!(
                world.returned(),
                (back + expected.0, Some(reason.to_owned()))
            );
        }
    }

    #[test]
    fn other_rewards_are_new_connects() {
        let mut world = World::new(8);
        for (command, amount) in [
            (RewardCommand::RisingTalent, 30),
            (RewardCommand::SkillCertification, 10),
        ] {
            let kind = command.kind().as_str();
            let (answer, told) = world.reward(&command).unwrap();
            assert_eq!(split(&answer), (0, amount));
            assert_eq!(told, [format!("{kind} {amount} reward:{kind}")]);
            assert_eq!(json!(answer)["kind"], kind);
        }
        assert_eq!(world.returned(), (0, None));
        assert_eq!(world.account.balance().available, connects(82));
    }

    #[test]
    fn only_established_clients_count_and_the_limits_are_the_policys() {
        for (hires, cents, counts) in [
            (0, 0, false),
            (0, 100, false),
            (1, 0, false),
            (1, 1, true),
            (5, 100_000, true),
        ] {
            let told = World::new(8).reward(&interview(hires, cents));
            match counts {
                true => assert_eq!(split(&told.unwrap().0), (8, 2)),
                false => assert_eq!(told, Err(Refusal::RewardNotEarned)),
            }
        }
        let mut world = World::new(8);
        world.policy.rewards.established_client = EstablishedClient {
            hires: 3,
            spend: 500,
        };
        for (hires, cents, counts) in [(2, 500, false), (3, 499, false), (3, 500, true)] {
            let told = world.clone().reward(&interview(hires, cents));
            assert_eq!(told.is_ok(), counts, "{hires} {cents}");
        }
        let told = Refusal::RewardNotEarned;
        assert!(!told.to_string().contains(|c: char| c.is_ascii_digit()));
    }

    /// Everything wrong at once, and one thing less each time.
    #[test]
    fn refusals_come_in_their_order() {
        let policy = built_in();
        let mut suspended = draft(&policy, opened(&policy, Kind::Freelancer), OPENED);
        suspended.change_profile("suspended", None, |profile| {
            profile.status = Status::Suspended;
        });
        let proposal = World::new(8).proposal;
        let refused = |draft: &Draft<'_>, command: &RewardCommand, proposal| {
            command.admitted(draft, proposal).unwrap_err()
        };
        let unknown = interview(0, 0);
        assert_eq!(
            refused(&suspended, &unknown, None),
            Refusal::ProposalNotFound
        );
        for command in [&unknown, &RewardCommand::RisingTalent] {
            let told = refused(&suspended, command, Some(&proposal));
            assert_eq!(told, Refusal::AccountSuspended);
        }
        let active = draft(&policy, opened(&policy, Kind::Freelancer), OPENED);
        let told = refused(&active, &unknown, Some(&proposal));
        assert_eq!(told, Refusal::RewardNotEarned);
        let plain = RewardCommand::RisingTalent.admitted(&active, None);
        assert_eq!(plain, Ok(None));
    }

    #[test]
    fn debt_takes_a_reward_but_does_not_stop_it() {
        let mut world = World::new(8);
        world.account.lots.clear();
        world.account.head.after = Balance {
            debt: connects(9),
            ..Balance::default()
        };
        world.account = stored(world.account);
        let (answer, told) = world.reward(&interview(1, 1)).unwrap();
        let expected = [
            "interview_refunded 8 job:J1",
            "debt -8 job:J1",
            "interview_awarded 2 job:J1",
            "debt -1 job:J1",
        ];
        assert_eq!(told, expected);
        assert_eq!(split(&answer), (8, 2));
        assert_eq!(answer.balance.available, connects(1));
        assert_eq!(answer.balance.debt, Connects::ZERO);
    }

    #[test]
    fn a_request_says_what_its_kind_needs_and_no_more() {
        use RewardKind::{InterviewWon, RisingTalent, SkillCertification};
        let policy = built_in();
        let euros = |mut client: Client| {
            client.spend.currency = "EUR".to_owned();
            client
        };
        let (job, known) = (|| Some(job_id()), || Some(client(1, 1)));
        for (kind, job_id, client, told) in [
            (RisingTalent, None, None, Ok(())),
            (SkillCertification, None, None, Ok(())),
            (InterviewWon, job(), known(), Ok(())),
            (RisingTalent, job(), None, Err("job_id")),
            (SkillCertification, None, known(), Err("client")),
            (RisingTalent, job(), known(), Err("job_id")),
            (InterviewWon, None, known(), Err("job_id")),
            (InterviewWon, job(), None, Err("client")),
            (InterviewWon, None, None, Err("job_id")),
            (
                InterviewWon,
                job(),
                known().map(euros),
                Err("client.spend.currency"),
            ),
        ] {
            let read = RewardCommand::try_new(&policy, kind, job_id, client);
            if let Ok(command) = &read {
                assert_eq!(command.kind(), kind);
            }
            let told = told.map_err(str::to_owned);
            let read = read.map(|_| ()).map_err(|invalid| invalid.field);
            assert_eq!(read, told, "{kind:?}");
        }
    }

    #[test]
    fn each_achievement_is_an_operation_of_its_own() {
        let account = AccountId::try_new("a1").unwrap();
        let other_job = RewardCommand::InterviewWon {
            job_id: JobId::try_new("J2").unwrap(),
            client: client(1, 1),
        };
        let commands = [
            RewardCommand::RisingTalent,
            RewardCommand::SkillCertification,
            interview(1, 1),
            other_job,
        ];
        let ids: Vec<_> = commands
            .iter()
            .map(|command| command.id(&account))
            .collect();
        for (place, id) in ids.iter().enumerate() {
            assert!(id.is(Operation::Reward));
            assert!(!ids[..place].contains(id));
        }
        // Another client is another request for the same reward.
        assert_eq!(interview(2, 1).id(&account), ids[2]);
        assert_ne!(interview(2, 1).fingerprint(), interview(1, 1).fingerprint());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Interview,
        Refund(Option<u64>),
        Close(ClosureReason),
        Withdraw,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            prop::option::of(1_u64..30).prop_map(Step::Refund),
            prop::sample::select(&ClosureReason::ALL[..]).prop_map(Step::Close),
            Just(Step::Withdraw),
        ];
        prop::collection::vec(step, 0..6).prop_flat_map(|mut steps| {
            steps.extend([Step::Interview, Step::Close(ClosureReason::Fraud)]);
            Just(steps).prop_shuffle()
        })
    }

    proptest! {
        /// In any order: what is new depends on the cost alone, the cost comes back once in total, and
        /// at the end nobody can tell which came first.
        #[test]
        fn the_order_of_returns_and_reward_does_not_matter(cost in 0_u64..=50, steps in steps()) {
            let mut world = World::new(cost);
            let awarded = 10_u64.saturating_sub(cost);
            let mut rewarded = 0;
            for step in steps {
                match step {
                    Step::Interview => {
                        let (before, _) = world.returned();
                        let (answer, _) = world.reward(&interview(1, 1)).unwrap();
                        prop_assert_eq!(split(&answer), ((cost - before).min(10), awarded));
                        rewarded = awarded;
                    }
                    Step::Refund(amount) => world.refund(amount),
                    Step::Close(reason) => world.close(reason),
                    Step::Withdraw => world.proposal = world.proposal.withdrawn(),
                }
                let (returned, _) = world.returned();
                prop_assert!(returned <= cost);
                let available = world.account.balance().available.get();
                prop_assert_eq!(available, 50 - cost + returned + rewarded);
            }
            prop_assert_eq!(world.returned().0, cost);
            prop_assert_eq!(world.account.balance().available, connects(50 + awarded));
        }
    }
}
