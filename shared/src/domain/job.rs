//! Jobs: what a proposal on one costs, and why.
//!
//! The marketplace states the cost, or the rate card makes it from the job's budget, its duration
//! and the demand. Whenever the cost changes the job's version grows, so a proposal's transaction
//! can check that it charges the price that is still shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::closure::{Closure, Returns};
use super::draft::Guard;
use super::ids::JobId;
use super::policy::{MAX_AMOUNT, Policy};
use super::refusal::{Invalid, Refusal};
use super::time::{self, Time};
use super::units::{Connects, Money};

/// Bands that one scale may have.
const MAX_BANDS: usize = 64;

/// The most that demand may multiply a cost by, in percent.
const MAX_DEMAND: u64 = 1_000;

/// How the work is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ContractKind {
    /// One price for all of it.
    Fixed,
    /// By the hour.
    Hourly,
}

impl ContractKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Fixed, Self::Hourly];
}

/// `[jobs]`: the rate card.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateCard {
    /// No job costs less, unless its post says so.
    pub minimum: Connects,
    /// No job costs more, unless its post says so.
    pub maximum: Connects,
    /// What the bands' sum is multiplied by.
    pub demand: Demand,
    /// By budget, for each kind of contract.
    pub budget: BTreeMap<ContractKind, Scale>,
    /// By weeks.
    pub duration: Scale,
}

/// `[jobs.demand]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// As it is.
    pub percent: u64,
    /// As low as it may be.
    pub minimum: u64,
    /// As high as it may be.
    pub maximum: u64,
}

/// Costs by the size of something.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// For a size that is not told.
    pub unstated: Connects,
    /// For all others, the smallest first.
    pub bands: Vec<Band>,
}

/// A part of a scale, up to where the next begins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// The least size in it.
    pub from: u64,
    /// What that costs.
    pub cost: Connects,
}

impl Scale {
    /// Whether there is one cost for each size, and none beyond what a request may move.
    fn is_whole(&self) -> bool {
        let begins_at_0 = self.bands.first().is_some_and(|band| band.from == 0);
        let ordered = self.bands.windows(2).all(|two| two[0].from < two[1].from);
        let mut costs = self.bands.iter().map(|band| band.cost);
        begins_at_0
            && ordered
            && self.bands.len() <= MAX_BANDS
            && self.unstated <= MAX_AMOUNT
            && costs.all(|cost| cost <= MAX_AMOUNT)
    }

    fn cost(&self, size: Option<u64>) -> Connects {
        size.map_or(self.unstated, |size| {
            let begun = self.bands.partition_point(|band| band.from <= size);
            let band = begun.checked_sub(1).and_then(|last| self.bands.get(last));
            band.map_or(self.unstated, |band| band.cost)
        })
    }
}

impl RateCard {
    /// What can't be kept of it, if anything.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let Demand {
            percent,
            minimum,
            maximum,
        } = self.demand;
        let budgets = ContractKind::ALL.map(|kind| self.budget.get(&kind));
        let rules = [
            (
                self.minimum <= self.maximum && self.maximum <= MAX_AMOUNT,
                "jobs.minimum and maximum must be at most 1000000, in order",
            ),
            (
                1 <= minimum && minimum <= percent && percent <= maximum && maximum <= MAX_DEMAND,
                "jobs.demand must lie within its minimum and maximum, and those within 1 and 1000",
            ),
            (
                budgets
                    .iter()
                    .all(|scale| scale.is_some_and(Scale::is_whole)),
                "jobs.budget must name each kind of contract, with 1 to 64 bands that rise from 0 \
                 and cost at most 1000000",
            ),
            (
                self.duration.is_whole(),
                "jobs.duration must have 1 to 64 bands that rise from 0 and cost at most 1000000",
            ),
        ];
        rules
            .iter()
            .find(|(kept, _)| !kept)
            .map(|(_, broken)| *broken)
    }
}

/// What a job's cost is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pricing {
    /// Its post says it.
    Stated(Connects),
    /// The rate card says it.
    Details(Details),
}

/// What the rate card looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct Details {
    /// How the work is paid.
    pub contract_kind: ContractKind,
    /// The whole price, or an hour's.
    pub budget: Option<Money>,
    /// How long it will take.
    pub duration_weeks: Option<u32>,
}

/// Why a job costs what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(tag = "basis", rename_all = "snake_case")]
pub enum Factors {
    /// Its post says so.
    Stated,
    /// The rate card says so.
    RateCard {
        /// What it looked at.
        #[serde(flatten)]
        details: Details,
        /// For the budget.
        budget_cost: Connects,
        /// For the duration.
        duration_cost: Connects,
        /// What both were multiplied by.
        demand_percent: u64,
        /// No less than this.
        minimum: Connects,
        /// No more than this.
        maximum: Connects,
        /// The policy that the card was in.
        policy_version: u32,
    },
}

impl Pricing {
    /// The cost under a policy, and what made it.
    ///
    /// # Errors
    /// `invalid_field` for a budget in a currency that the card does not know.
    fn cost(&self, policy: &Policy) -> Result<(Connects, Factors), Invalid> {
        let details = match self {
            Self::Stated(cost) => return Ok((*cost, Factors::Stated)),
            Self::Details(details) => details,
        };
        let currency = &policy.purchases.currency;
        if let Some(budget) = &details.budget
            && budget.currency != *currency
        {
            return Err(Invalid::field(
                "budget.currency",
                format!("must be {currency}"),
            ));
        }
        let card = &policy.jobs;
        let budget = details.budget.as_ref().map(|budget| budget.amount);
        let scale = card.budget.get(&details.contract_kind);
        let budget_cost = scale.map_or(Connects::ZERO, |scale| scale.cost(budget));
        let duration_cost = card.duration.cost(details.duration_weeks.map(u64::from));
        let percent = card.demand.percent;
        let hundredths = (budget_cost + duration_cost).get() * percent;
        let cost = Connects::new((hundredths + 50) / 100).clamp(card.minimum, card.maximum);
        let factors = Factors::RateCard {
            details: details.clone(),
            budget_cost,
            duration_cost,
            demand_percent: percent,
            minimum: card.minimum,
            maximum: card.maximum,
            policy_version: policy.version,
        };
        Ok((cost, factors))
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It takes proposals.
    Open,
    /// It takes none any more, and what comes back is on its way.
    Closing,
    /// Whatever was to come back has.
    Closed,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub job_id: JobId,
    /// When it was posted; stays as it is.
    #[serde(with = "time::as_text")]
    pub posted_at: Time,
    /// What a proposal costs.
    pub connects_required: Connects,
    /// Why.
    pub factors: Factors,
    /// Grows whenever the cost changes.
    pub version: u64,
    /// Where it stands.
    pub state: JobState,
    /// How many contracts were made on it.
    pub contracts: u32,
    /// Grows with whatever changes of it: what was read is what is written over.
    pub revision: u64,
}

/// A request to post a job, or to change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostJob {
    /// When it was posted.
    pub posted_at: Time,
    /// What its cost is made from.
    pub pricing: Pricing,
}

impl PostJob {
    /// The job as this request wants it; as it is where that changes nothing.
    ///
    /// # Errors
    /// `invalid_field` for a budget in another currency or a posting time that is not the first
    /// one, `job_closed`.
    pub fn apply(
        &self,
        policy: &Policy,
        id: &JobId,
        current: Option<&Job>,
    ) -> Result<Job, Refusal> {
        let (connects_required, factors) = self.pricing.cost(policy)?;
        let Some(current) = current else {
            return Ok(Job {
                job_id: id.clone(),
                posted_at: self.posted_at,
                connects_required,
                factors,
                version: 1,
                state: JobState::Open,
                contracts: 0,
                revision: 1,
            });
        };
        if current.posted_at != self.posted_at {
            Err(Invalid::field("posted_at", "is not the job's"))?;
        }
        current.open()?;
        let repriced = connects_required != current.connects_required;
        let changed = repriced || factors != current.factors;
        Ok(Job {
            connects_required,
            factors,
            version: current.version + u64::from(repriced),
            revision: current.revision + u64::from(changed),
            ..current.clone()
        })
    }
}

impl Job {
    /// Nothing, while it takes proposals.
    ///
    /// # Errors
    /// `job_closed`.
    pub fn open(&self) -> Result<(), Refusal> {
        match self.state {
            JobState::Open => Ok(()),
            JobState::Closing | JobState::Closed => Err(Refusal::JobClosed),
        }
    }

    /// What a transaction must find that was planned on this job.
    pub(super) fn guard(&self) -> Guard {
        Guard::OpenJob {
            job: self.job_id.clone(),
            version: self.version,
            contracts: self.contracts,
        }
    }

    /// The job with one contract more.
    #[must_use]
    pub fn contracted(&self) -> Self {
        Self {
            contracts: self.contracts + 1,
            revision: self.revision + 1,
            ..self.clone()
        }
    }
}

/// A job as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct JobView {
    /// Its id.
    pub job_id: JobId,
    /// When it was posted.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub posted_at: Time,
    /// What a proposal costs.
    pub connects_required: Connects,
    /// Why.
    pub factors: Factors,
    /// Grows whenever the cost changes.
    pub version: u64,
    /// Where it stands.
    pub state: JobState,
    /// How many contracts were made on it.
    pub contracts: u32,
    /// How far the returns are; none before it is closed and its proposals are counted.
    pub returns: Option<Returns>,
}

impl JobView {
    /// Of a job with its closures, which are read after it and tell better how far it is.
    pub fn of(job: Job, closures: &[Closure]) -> Self {
        let state = match closures {
            [] => job.state,
            closures => JobState::after(closures),
        };
        Self {
            job_id: job.job_id,
            posted_at: job.posted_at,
            connects_required: job.connects_required,
            factors: job.factors,
            version: job.version,
            state,
            contracts: job.contracts,
            returns: Returns::of(closures),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::policy::built_in;
    use super::super::testing::{at, connects};
    use super::*;

    const POSTED: &str = "2026-01-10T12:00:00Z";

    fn id() -> JobId {
        JobId::try_new("J1").unwrap()
    }

    fn details(kind: ContractKind, budget: Option<u64>, weeks: Option<u32>) -> PostJob {
        let dollars = |amount| Money {
            amount,
            currency: "USD".to_owned(),
        };
        PostJob {
            posted_at: at(POSTED),
            pricing: Pricing::Details(Details {
                contract_kind: kind,
                budget: budget.map(dollars),
                duration_weeks: weeks,
            }),
        }
    }

    fn stated(cost: u64) -> PostJob {
        PostJob {
            posted_at: at(POSTED),
            pricing: Pricing::Stated(connects(cost)),
        }
    }

    fn posted(policy: &Policy, post: &PostJob) -> Job {
        post.apply(policy, &id(), None).unwrap()
    }

    #[test]
    fn the_rate_card_prices_by_budget_and_duration() {
        use ContractKind::{Fixed, Hourly};
        let policy = built_in();
        for (kind, budget, weeks, cost) in [
            (Fixed, None, None, 6 + 2),
            (Fixed, Some(0), None, 4 + 2),
            (Fixed, Some(9_999), Some(1), 4),
            (Fixed, Some(10_000), Some(3), 6),
            (Fixed, Some(10_001), Some(4), 6 + 2),
            (Fixed, Some(499_999), Some(12), 12 + 2),
            (Fixed, Some(500_000), Some(13), 16 + 4),
            (Fixed, Some(u64::MAX), Some(u32::MAX), 16 + 6),
            (Hourly, None, Some(26), 8 + 6),
            (Hourly, Some(1_499), None, 6 + 2),
            (Hourly, Some(6_000), Some(25), 14 + 4),
        ] {
            let job = posted(&policy, &details(kind, budget, weeks));
            let told = (kind, budget, weeks);
            assert_eq!(job.connects_required, connects(cost), "{told:?}");
        }
    }

    #[test]
    fn demand_multiplies_within_the_cards_bounds() {
        let mut policy = built_in();
        let post = details(ContractKind::Fixed, Some(10_000), Some(1));
        for (percent, cost) in [
            (50, 3),
            (58, 3),
            (59, 4),
            (100, 6),
            (125, 8),
            (24, 2),
            (600, 30),
        ] {
            policy.jobs.demand.percent = percent;
            let job = posted(&policy, &post);
            assert_eq!(job.connects_required, connects(cost), "{percent}");
        }
    }

    #[test]
    fn what_a_post_states_is_what_it_costs() {
        let policy = built_in();
        for cost in [0, 1, 31, 1_000_000] {
            let job = posted(&policy, &stated(cost));
            assert_eq!((job.connects_required, job.version), (connects(cost), 1));
            assert_eq!(json!(job.factors), json!({ "basis": "stated" }));
        }
    }

    #[test]
    fn a_job_says_what_its_cost_is_made_of() {
        let post = details(ContractKind::Hourly, Some(3_000), None);
        let job = posted(&built_in(), &post);
        let factors = json!({
            "basis": "rate_card",
            "contract_kind": "hourly",
            "budget": { "amount": 3_000, "currency": "USD" },
            "duration_weeks": null,
            "budget_cost": 10,
            "duration_cost": 2,
            "demand_percent": 100,
            "minimum": 2,
            "maximum": 30,
            "policy_version": 1,
        });
        let expected = json!({
            "job_id": "J1",
            "posted_at": "2026-01-10T12:00:00.000Z",
            "connects_required": 12,
            "factors": factors,
            "version": 1,
            "state": "open",
            "contracts": 0,
            "returns": null,
        });
        assert_eq!(json!(JobView::of(job, &[])), expected);
    }

    #[test]
    fn an_update_that_changes_no_price_keeps_the_version() {
        let policy = built_in();
        let first = posted(
            &policy,
            &details(ContractKind::Fixed, Some(10_000), Some(1)),
        );
        let with = |post: PostJob| {
            let job = post.apply(&policy, &id(), Some(&first)).unwrap();
            (job.connects_required.get(), job.version, job.revision)
        };
        let fixed = |budget, weeks| details(ContractKind::Fixed, budget, weeks);
        assert_eq!(with(fixed(Some(10_000), Some(1))), (6, 1, 1));
        assert_eq!(with(fixed(Some(20_000), Some(1))), (6, 1, 2));
        assert_eq!(with(stated(6)), (6, 1, 2));
        assert_eq!(with(fixed(Some(50_000), Some(1))), (8, 2, 2));
        assert_eq!(with(stated(0)), (0, 2, 2));
    }

    #[test]
    fn an_update_keeps_the_posting_time_and_comes_before_the_end() {
        let policy = built_in();
        let job = posted(&policy, &stated(8)).contracted();
        let later = PostJob {
            posted_at: at("2026-01-11T12:00:00Z"),
            ..stated(8)
        };
        let field = |refused: Result<Job, Refusal>| match refused {
            Err(Refusal::Invalid(invalid)) => invalid.field,
            other => panic!("{other:?}"),
        };
        let moved = later.apply(&policy, &id(), Some(&job));
        assert_eq!(field(moved), "posted_at");
        let euros = PostJob {
            posted_at: at(POSTED),
            pricing: Pricing::Details(Details {
                contract_kind: ContractKind::Fixed,
                budget: Some(Money {
                    amount: 1,
                    currency: "EUR".to_owned(),
                }),
                duration_weeks: None,
            }),
        };
        assert_eq!(field(euros.apply(&policy, &id(), None)), "budget.currency");
        for state in [JobState::Closing, JobState::Closed] {
            let job = Job {
                state,
                ..job.clone()
            };
            assert_eq!(job.open(), Err(Refusal::JobClosed));
            let updated = stated(9).apply(&policy, &id(), Some(&job));
            assert_eq!(updated, Err(Refusal::JobClosed));
        }
        let updated = stated(9).apply(&policy, &id(), Some(&job)).unwrap();
        assert_eq!((updated.contracts, updated.revision), (1, 3));
    }

    #[test]
    fn a_scale_without_bands_leaves_sizes_without_a_cost() {
        let mut scale = built_in().jobs.duration;
        assert!(scale.is_whole());
        scale.bands.clear();
        assert!(!scale.is_whole());
    }

    fn scale() -> impl Strategy<Value = Scale> {
        let band = |from| (Just(from), 0_u64..40);
        let rising = prop::collection::btree_set(1_u64..1_000, 0..6);
        let bands = rising.prop_flat_map(move |starts| {
            let starts = [0].into_iter().chain(starts);
            starts.map(band).collect::<Vec<_>>()
        });
        (0_u64..40, bands).prop_map(|(unstated, bands)| Scale {
            unstated: connects(unstated),
            bands: bands
                .into_iter()
                .map(|(from, cost)| Band {
                    from,
                    cost: connects(cost),
                })
                .collect(),
        })
    }

    proptest! {
        /// Naively: the last band that has begun, looked for from the end.
        #[test]
        fn each_size_has_the_cost_of_the_last_band_that_begins_by_it(
            scale in scale(),
            size in 0_u64..1_100,
        ) {
            prop_assert!(scale.is_whole());
            let band = scale.bands.iter().rev().find(|band| band.from <= size).unwrap();
            prop_assert_eq!(scale.cost(Some(size)), band.cost);
            prop_assert_eq!(scale.cost(None), scale.unstated);
        }

        /// Whatever the updates: a version is never seen with two prices, and grows only with them.
        #[test]
        fn a_version_has_one_price(costs in prop::collection::vec(0_u64..4, 1..20)) {
            let policy = built_in();
            let mut job = posted(&policy, &stated(5));
            let mut seen = BTreeMap::from([(job.version, job.connects_required)]);
            for cost in costs {
                let next = stated(cost).apply(&policy, &id(), Some(&job)).unwrap();
                let repriced = next.connects_required != job.connects_required;
                prop_assert_eq!(next.version - job.version, u64::from(repriced));
                let price = seen.entry(next.version).or_insert(next.connects_required);
                prop_assert_eq!(*price, next.connects_required);
                prop_assert_eq!(next == job, next.revision == job.revision);
                job = next;
            }
        }

        #[test]
        fn a_cost_lies_within_the_cards_bounds(
            budget in prop::option::of(any::<u64>()),
            weeks in prop::option::of(any::<u32>()),
            percent in 1_u64..=1_000,
        ) {
            let mut policy = built_in();
            policy.jobs.demand.percent = percent;
            let job = posted(&policy, &details(ContractKind::Hourly, budget, weeks));
            let bounds = policy.jobs.minimum..=policy.jobs.maximum;
            prop_assert!(bounds.contains(&job.connects_required));
        }
    }
}
