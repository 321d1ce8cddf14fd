//! The marketplace's numbers, read from `infra/policy.toml`.

use std::collections::BTreeMap;

use chrono::{Days, Months, NaiveDate};
use serde::{Deserialize, Serialize};

use super::account::{Kind, Plan};
use super::auction::BoostPolicy;
use super::badge::BadgePolicy;
use super::closure::{ClosureReason, Terms};
use super::codes::PromoPolicy;
use super::job::RateCard;
use super::lot::{Birth, Lot, Source};
use super::quota::LimitPolicy;
use super::refusal::Invalid;
use super::reward::RewardPolicy;
use super::time::Time;
use super::top_up::TopUpPolicy;
use super::units::{Connects, Money};

/// The policy that is built in; `CONNECTS_POLICY` names another file.
pub const BUILT_IN: &str = include_str!("../../../infra/policy.toml");

/// More catch-up than any policy asks for would not fit one transaction.
pub(super) const MAX_GRANTS_PER_CYCLE: usize = 4;

/// The most that one grant or bonus may bring: as much as the most that one request may move. Sums
/// of such amounts stay far within what a journal's signed amounts hold.
pub(super) const MAX_AMOUNT: Connects = Connects::new(1_000_000);

/// A policy that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not TOML of the expected form.
    #[error("the policy can't be read: {0}")]
    Form(#[from] toml::de::Error),
    /// A value that the ledger could not keep.
    #[error("the policy's {0}")]
    Value(&'static str),
}

/// Every number of the rules.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Raised with every change; each journal entry names it.
    pub version: u32,
    /// How lots are ordered, and how long they live.
    pub lots: LotPolicy,
    /// What happens to what comes back.
    pub returns: ReturnPolicy,
    /// The signup bonus.
    pub signup: SignupPolicy,
    /// The grants of each cycle.
    pub grants: BTreeMap<Kind, BTreeMap<Plan, Vec<Grant>>>,
    /// What of the paid plan's grants an upgrade brings.
    pub upgrade: UpgradePolicy,
    /// What is rewarded, and how.
    pub rewards: RewardPolicy,
    /// Prices and bounds of buying.
    pub purchases: PurchasePolicy,
    /// Single-use codes.
    pub promos: PromoPolicy,
    /// What proposals cost.
    pub jobs: RateCard,
    /// Bids on top of that.
    pub boost: BoostPolicy,
    /// What the availability badge costs.
    pub badge: BadgePolicy,
    /// When a declined top-up is tried again.
    pub top_up: TopUpPolicy,
    /// How often an account may do what is dear.
    pub limits: LimitPolicy,
}

/// `[lots]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LotPolicy {
    /// Which lot is used first.
    pub order: Order,
    /// Months from the issue day to the last usable day.
    pub valid_months: u32,
    /// Days before the last usable day on which the holder is told.
    pub notice_days: Vec<u32>,
}

/// Which lot is used first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The oldest.
    Issued,
    /// The one that expires first; the oldest among equals.
    EarliestExpiry,
}

/// `[returns]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnPolicy {
    /// Where what comes back goes.
    pub mode: ReturnMode,
    /// Days after the return for which anything that comes back is usable at least, in that mode.
    pub floor_days: u32,
    /// What closing a job gives back.
    pub closures: BTreeMap<ClosureReason, Terms>,
}

/// Where what comes back goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnMode {
    /// To its lot, or to a grace lot where that would lapse too soon.
    OriginalWithFloor,
    /// To its lot.
    Original,
    /// To a new lot.
    Fresh,
}

/// A lot of their own for Connects that come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landing {
    /// What it is.
    pub source: Source,
    /// Its place in the order.
    pub issued_at: Time,
    /// Its last usable day.
    pub expires_on: NaiveDate,
}

/// `[signup]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignupPolicy {
    /// Connects for a person's first registration.
    pub amount: Connects,
}

/// One lot of a cycle's grant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// `monthly_free` or `plan_included`.
    pub source: Source,
    /// How many.
    pub amount: Connects,
}

/// `[upgrade]`: each source that a grant can have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradePolicy {
    /// What of the paid plan's own part.
    pub plan_included: Share,
    /// What of the free part.
    pub monthly_free: Share,
}

/// What of a grant an upgrade within a cycle brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// All of it.
    Full,
    /// For each day of the old cycle that has passed its part, rounded half up: so much of the old
    /// cycle's own grant has been lived on, and the new cycle begins today.
    Prorated,
}

impl Share {
    fn of(self, amount: Connects, passed: u64, days: u64) -> Connects {
        match self {
            Self::Full => amount,
            Self::Prorated => Connects::new((2 * amount.get() * passed + days) / (2 * days)),
        }
    }
}

/// `[purchases]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurchasePolicy {
    /// Minor units for one Connect.
    pub unit_price: u64,
    /// ISO 4217.
    pub currency: String,
    /// The fewest that can be bought.
    pub minimum: Connects,
    /// The most that can be bought at once.
    pub maximum: Connects,
    /// Hours after which an open payment is cancelled.
    pub cancel_after_hours: u32,
    /// What the shop shows, by kind of account.
    pub bundles: BTreeMap<Kind, Vec<Connects>>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// When it is not of this form or holds a value that the ledger could not keep.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        toml::from_str::<Self>(text)?.checked()
    }

    fn checked(self) -> Result<Self, PolicyError> {
        let grants = || self.grants.values().flat_map(BTreeMap::values);
        let bundles = || self.purchases.bundles.values().flatten();
        let is_grant = |grant: &Grant| {
            matches!(grant.source, Source::MonthlyFree | Source::PlanIncluded)
                && !grant.amount.is_zero()
                && grant.amount <= MAX_AMOUNT
        };
        let rules = [
            (
                (1..=120).contains(&self.lots.valid_months),
                "lots.valid_months must be from 1 to 120",
            ),
            (
                self.lots.notice_days.iter().all(|days| *days <= 365),
                "lots.notice_days must be at most 365 each",
            ),
            (
                self.returns.floor_days <= 3650,
                "returns.floor_days must be at most 3650",
            ),
            (
                ClosureReason::ALL
                    .iter()
                    .all(|reason| self.returns.closures.contains_key(reason)),
                "returns.closures must name each reason to close a job",
            ),
            (
                self.returns
                    .closures
                    .values()
                    .all(|terms| terms.returned || *terms == Terms::default()),
                "returns.closures that return nothing can't say to whom",
            ),
            (
                self.signup.amount <= MAX_AMOUNT,
                "signup.amount must be at most 1000000",
            ),
            (
                grants().all(|lots| lots.len() <= MAX_GRANTS_PER_CYCLE),
                "grants must be at most 4 lots for a cycle",
            ),
            (
                grants().flatten().all(is_grant),
                "grants must each be monthly_free or plan_included, and from 1 to 1000000",
            ),
            (
                self.rewards
                    .amounts()
                    .iter()
                    .all(|amount| !amount.is_zero() && *amount <= MAX_AMOUNT),
                "rewards must each be from 1 to 1000000",
            ),
            (
                [Kind::Freelancer, Kind::Agency]
                    .iter()
                    .all(|kind| self.purchases.bundles.contains_key(kind)),
                "purchases.bundles must name each kind of account",
            ),
            (
                (1..=1_000_000).contains(&self.purchases.unit_price),
                "purchases.unit_price must be from 1 to 1000000",
            ),
            (
                self.purchases.currency.len() == 3
                    && self
                        .purchases
                        .currency
                        .bytes()
                        .all(|b| b.is_ascii_uppercase()),
                "purchases.currency must be three capital letters",
            ),
            (
                !self.purchases.minimum.is_zero()
                    && self.purchases.minimum <= self.purchases.maximum
                    && self.purchases.maximum.get() <= 1_000_000,
                "purchases.minimum and maximum must be from 1 to 1000000, in order",
            ),
            (
                bundles().all(|n| (self.purchases.minimum..=self.purchases.maximum).contains(n)),
                "purchases.bundles must lie within the minimum and maximum",
            ),
            (
                (1..=720).contains(&self.purchases.cancel_after_hours),
                "purchases.cancel_after_hours must be from 1 to 720",
            ),
        ];
        let broken = rules.iter().find(|(kept, _)| !kept);
        let broken = broken.map(|(_, broken)| *broken);
        let broken = broken.or(self.jobs.broken()).or(self.boost.broken());
        let broken = broken.or(self.badge.broken()).or(self.top_up.broken());
        let broken = broken.or(self.promos.broken());
        match broken.or(self.limits.broken()) {
            Some(broken) => Err(PolicyError::Value(broken)),
            None => Ok(self),
        }
    }

    /// The lots that a cycle's start brings to such an account.
    pub fn grants(&self, kind: Kind, plan: Plan) -> &[Grant] {
        self.grants
            .get(&kind)
            .and_then(|plans| plans.get(&plan))
            .map_or(&[], Vec::as_slice)
    }

    /// What an upgrade brings to such an account: of each of the paid plan's grants its share, when
    /// so many of the old cycle's days have passed.
    pub fn upgrade_grants(
        &self,
        kind: Kind,
        (passed, days): (u64, u64),
    ) -> impl Iterator<Item = (Source, Connects)> {
        self.grants(kind, Plan::Plus).iter().map(move |grant| {
            let share = match grant.source {
                Source::PlanIncluded => self.upgrade.plan_included,
                _ => self.upgrade.monthly_free,
            };
            (grant.source, share.of(grant.amount, passed, days))
        })
    }

    /// The last usable day of a lot issued on `day`: its anniversary, 29 February's on the 28th.
    pub fn expires_on(&self, day: NaiveDate) -> NaiveDate {
        day.checked_add_months(Months::new(self.lots.valid_months))
            .unwrap_or(NaiveDate::MAX)
    }

    /// The lot that Connects out of a lot of that birth come back to at `now`, if not to that lot.
    pub fn landing(&self, birth: &Birth, now: Time) -> Option<Landing> {
        let today = now.date_naive();
        let floor = today + Days::new(self.returns.floor_days.into());
        match self.returns.mode {
            ReturnMode::Original => None,
            ReturnMode::OriginalWithFloor if birth.expires_on >= floor => None,
            ReturnMode::OriginalWithFloor => Some(Landing {
                source: Source::Grace,
                issued_at: birth.issued_at,
                expires_on: floor,
            }),
            ReturnMode::Fresh => Some(Landing {
                source: birth.source,
                issued_at: now,
                expires_on: self.expires_on(today),
            }),
        }
    }

    /// Puts lots in the order in which they are used. They come oldest first.
    pub fn use_order(&self, lots: &mut [&mut Lot]) {
        match self.lots.order {
            Order::Issued => {}
            Order::EarliestExpiry => {
                lots.sort_by_key(|lot| (lot.birth().expires_on, lot.birth().age_key()));
            }
        }
    }

    /// The price of one Connect.
    pub fn unit_price(&self) -> Money {
        Money {
            amount: self.purchases.unit_price,
            currency: self.purchases.currency.clone(),
        }
    }

    /// The price of `quantity`, once it is known to be for sale.
    ///
    /// # Errors
    /// `below_minimum` or `above_maximum` when it is not.
    pub fn price(&self, quantity: i64) -> Result<(Connects, Money), Invalid> {
        let (min, max) = (self.purchases.minimum, self.purchases.maximum);
        match Invalid::range("quantity", quantity, min.credit(), max.credit()) {
            Some(invalid) => Err(invalid),
            None => {
                let quantity = Connects::new(quantity.unsigned_abs());
                Ok((quantity, self.unit_price().times(quantity)))
            }
        }
    }

    /// What the shop shows to such an account.
    pub fn catalog(&self, kind: Kind) -> Catalog {
        let unit_price = self.unit_price();
        let bundles = self.purchases.bundles.get(&kind).into_iter().flatten();
        Catalog {
            bundles: bundles
                .map(|quantity| Bundle {
                    quantity: *quantity,
                    price: unit_price.times(*quantity),
                })
                .collect(),
            custom: Custom {
                min: self.purchases.minimum,
                max: self.purchases.maximum,
            },
            unit_price,
        }
    }
}

/// What can be bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct Catalog {
    /// For one Connect.
    pub unit_price: Money,
    /// The sizes that are offered.
    pub bundles: Vec<Bundle>,
    /// The bounds of any other size.
    pub custom: Custom,
}

/// One offered size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct Bundle {
    /// How many.
    pub quantity: Connects,
    /// For how much.
    pub price: Money,
}

/// The bounds of a custom size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct Custom {
    /// The fewest.
    pub min: Connects,
    /// The most.
    pub max: Connects,
}

#[cfg(test)]
pub(crate) fn built_in() -> Policy {
    Policy::parse(BUILT_IN).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lot_lives_to_its_anniversary() {
        let policy = built_in();
        for (issued, last) in [
            ("2025-03-15", "2026-03-15"),
            ("2024-02-29", "2025-02-28"),
            ("2023-02-28", "2024-02-28"),
        ] {
            let issued = issued.parse().unwrap();
            assert_eq!(policy.expires_on(issued).to_string(), last);
        }
    }

    #[test]
    fn a_prorated_share_is_rounded_half_up() {
        for (amount, passed, days, share) in [
            (10, 0, 31, 0),
            (10, 1, 31, 0),
            (10, 2, 31, 1),
            (10, 10, 31, 3),
            (10, 30, 31, 10),
            (10, 14, 28, 5),
            (1, 14, 28, 1),
            (1, 14, 29, 0),
            (9, 15, 30, 5),
            (1_000_000, 27, 28, 964_286),
        ] {
            let prorated = Share::Prorated.of(Connects::new(amount), passed, days);
            assert_eq!(prorated.get(), share, "{amount} {passed} {days}");
            assert_eq!(
                Share::Full.of(Connects::new(amount), passed, days).get(),
                amount
            );
        }
    }

    #[test]
    fn prices_are_exact_and_bounded() {
        let policy = built_in();
        for (quantity, cents) in [(10, 150), (37, 555), (300, 4_500), (1_000_000, 15_000_000)] {
            assert_eq!(policy.price(quantity).unwrap().1.amount, cents);
        }
        for quantity in [i64::MIN, -1, 0, 9, 1_000_001, i64::MAX] {
            assert!(policy.price(quantity).is_err(), "{quantity}");
        }
    }

    #[test]
    fn a_policy_that_could_not_be_kept_is_refused() {
        for (good, bad) in [
            ("valid_months = 12", "valid_months = 0"),
            ("valid_months = 12", "valid_months = 121"),
            ("notice_days = [30, 7, 1]", "notice_days = [366]"),
            ("floor_days = 30", "floor_days = 3651"),
            ("filled = { returned = false }", ""),
            (
                "filled = { returned = false }",
                "filled = { returned = false, includes_boost = true }",
            ),
            ("mode = \"original_with_floor\"", "mode = \"kept\""),
            ("amount = 40", "amount = 1000001"),
            ("amount = 60", "amount = 0"),
            ("amount = 60", "amount = 1000001"),
            ("unit_price = 15", "unit_price = 0"),
            ("unit_price = 15", "unit_price = 1000001"),
            ("minimum = 10", "minimum = 0"),
            ("minimum = 10", "minimum = 1000001"),
            ("maximum = 1_000_000", "maximum = 1_000_001"),
            ("currency = \"USD\"", "currency = \"usd\""),
            ("currency = \"USD\"", "currency = \"EURO\""),
            ("cancel_after_hours = 24", "cancel_after_hours = 0"),
            ("cancel_after_hours = 24", "cancel_after_hours = 721"),
            ("version = 1", "version = 1\nsurprise = 2"),
            ("rising_talent = 30", "rising_talent = 0"),
            ("skill_certification = 10", "skill_certification = 0"),
            ("interview_won = 10", "interview_won = 1000001"),
            ("hires = 1", "hires = -1"),
            ("plan_included = \"full\"", ""),
            ("plan_included = \"full\"", "plan_included = \"half\""),
            ("plan_included = \"full\"", "purchase = \"full\""),
            (
                "plan_included = \"full\"",
                "plan_included = \"full\"\nsignup = \"full\"",
            ),
            ("source = \"monthly_free\"", "source = \"gift\""),
            ("source = \"monthly_free\"", "source = \"purchase\""),
            ("agency = [10,", "agency = [9,"),
            ("agency = [10,", "agency = [1_000_001,"),
            ("agency = [10,", "# agency = [10,"),
            ("plus = []", &format!("plus = [{}]", GRANT.repeat(5))),
            ("maximum = 30", "maximum = 1"),
            ("maximum = 30", "maximum = 1000001"),
            ("percent = 100", "percent = 49"),
            ("percent = 100", "percent = 201"),
            ("minimum = 50", "minimum = 0"),
            ("maximum = 200", "maximum = 1001"),
            ("{ from = 0, cost = 4 }", "{ from = 1, cost = 4 }"),
            ("{ from = 0, cost = 0 }", "{ from = 1, cost = 0 }"),
            ("{ from = 10_000, cost", "{ from = 0, cost"),
            ("{ from = 10_000, cost", "{ from = 50_000, cost"),
            ("{ from = 10_000, cost", "{ from = 50_001, cost"),
            ("{ from = 13, cost", "{ from = 26, cost"),
            ("{ from = 0, cost = 4 }", "{ from = 0, cost = 1000001 }"),
            ("unstated = 6", "unstated = 1000001"),
            ("unstated = 2", "unstated = 1000001"),
            ("{ from = 0, cost = 4 }", "{ from = 0, cost = 4, to = 9 }"),
            ("[jobs.budget.hourly]", "[jobs.budget.weekly]"),
            ("{ from = 0, cost = 4 }", &bands(61)),
            ("renew_within_minutes = 60", "renew_within_minutes = 1441"),
            ("base = 4", "base = -4"),
            ("every = 25", "every = 0"),
            ("slots = 4", "slots = 21"),
            ("open_hours = 168", "open_hours = 0"),
            ("pricing = \"pay_as_bid\"", "pricing = \"free\""),
            ("minimum = 4", "minimum = 0"),
            ("minimum = 4", "minimum = 17"),
            ("maximum = 16", "maximum = 2001"),
            ("back_off_hours = [1, 24]", "back_off_hours = [0, 24]"),
            ("back_off_hours = [1, 24]", "back_off_hours = [1, 721]"),
            (
                "back_off_hours = [1, 24]",
                "back_off_hours = [1,1,1,1,1,1,1,1,1,1,1]",
            ),
            ("back_off_hours = [1, 24]", ""),
            ("[limits]", "[limit]"),
            ("burst = 120", "burst = 0"),
            ("burst = 120", "burst = 10001"),
            ("every_ms = 500", "every_ms = 0"),
            ("every_ms = 360_000", "every_ms = 86400001"),
            ("burst = 10,", ""),
        ] {
            let text = BUILT_IN.replacen(good, bad, 1);
            assert_ne!(text, BUILT_IN, "{good} is not in the policy any more");
            assert!(Policy::parse(&text).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_policy_may_go_to_its_limits() {
        for (good, limit) in [
            ("valid_months = 12", "valid_months = 1"),
            ("valid_months = 12", "valid_months = 120"),
            ("notice_days = [30, 7, 1]", "notice_days = [365, 0]"),
            ("floor_days = 30", "floor_days = 3650"),
            ("amount = 40", "amount = 0"),
            ("amount = 40", "amount = 1000000"),
            ("amount = 60", "amount = 1000000"),
            ("rising_talent = 30", "rising_talent = 1000000"),
            ("interview_won = 10", "interview_won = 1"),
            ("hires = 1", "hires = 0"),
            ("unit_price = 15", "unit_price = 1000000"),
            ("cancel_after_hours = 24", "cancel_after_hours = 720"),
            ("agency = [10,", "agency = [1_000_000,"),
            ("plus = []", &format!("plus = [{}]", GRANT.repeat(4))),
            ("maximum = 30", "maximum = 2"),
            ("maximum = 30", "maximum = 1000000"),
            ("percent = 100", "percent = 50"),
            ("percent = 100", "percent = 200"),
            ("minimum = 50", "minimum = 1"),
            ("maximum = 200", "maximum = 1000"),
            ("{ from = 10_000, cost", "{ from = 49_999, cost"),
            ("{ from = 0, cost = 4 }", "{ from = 0, cost = 1000000 }"),
            ("unstated = 2", "unstated = 1000000"),
            ("{ from = 0, cost = 4 }", &bands(60)),
            ("renew_within_minutes = 60", "renew_within_minutes = 0"),
            ("renew_within_minutes = 60", "renew_within_minutes = 1440"),
            ("base = 4", "base = 9223372036854775807"),
            ("step = 1", "step = 0"),
            ("every = 25", "every = 1"),
            ("slots = 4", "slots = 20"),
            ("pricing = \"pay_as_bid\"", "pricing = \"next_plus_one\""),
            ("minimum = 4", "minimum = 1"),
            ("minimum = 4", "minimum = 16"),
            ("maximum = 16", "maximum = 2000"),
            ("back_off_hours = [1, 24]", "back_off_hours = []"),
            ("back_off_hours = [1, 24]", "back_off_hours = [720]"),
            ("burst = 120", "burst = 1"),
            ("burst = 120", "burst = 10000"),
            ("every_ms = 500", "every_ms = 1"),
            ("every_ms = 500", "every_ms = 86400000"),
        ] {
            let text = BUILT_IN.replacen(good, limit, 1);
            assert_ne!(text, BUILT_IN, "{good} is not in the policy any more");
            assert!(Policy::parse(&text).is_ok(), "{limit}");
        }
    }

    /// So many bands, where the built-in scale has one and four to follow.
    fn bands(count: u64) -> String {
        let band = |from| format!("{{ from = {from}, cost = 4 }}");
        let bands: Vec<String> = (0..count).map(band).collect();
        bands.join(", ")
    }

    const GRANT: &str = "{ source = \"monthly_free\", amount = 1 },";
}
