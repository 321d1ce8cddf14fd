//! The availability badge: prepaid weeks, at a price that moves with demand.
//!
//! A holder says what a week may cost at most. Turning the badge on charges the first week, and from
//! then on each week is charged when the one before it ends, if the price is within the maximum and
//! the balance covers it; else the badge goes off and says why. The badge is written over only at the
//! revision that was read, in the transaction that books the charge: so a week is charged once. A
//! week that nobody came to renew in time was never begun, and is never charged afterwards.
//!
//! The price is one for each calendar week and the same for everybody: it is fixed when it is first
//! asked for in that week, by the number of badges that are on, and stays as it is.

use chrono::{Datelike, Days, NaiveDate, TimeDelta};
use serde::{Deserialize, Serialize};

use super::account::Balance;
use super::draft::{Draft, Guard, MAX_LOTS_PER_ENTRY, Plan, Unplanned};
use super::ids::{Reason, Reference, Seq};
use super::policy::Policy;
use super::spend::may_spend;
use super::time::{self, Time};
use super::units::Connects;

/// What is paid at once, in days.
const PAID_DAYS: i64 = 7;

/// The most minutes for which a badge may wait for its renewal and stay on: a day, so that the week
/// which begins where the last one ended is far from over.
const MAX_RENEW_WITHIN: u32 = 24 * 60;

/// The highest price: a lot holds one Connect at least, so a charge lies in no more lots than one
/// entry can name.
const MAX_PRICE: Connects = Connects::new(MAX_LOTS_PER_ENTRY as u64);

/// The weeks before this one whose prices are told with it.
pub const PAST_WEEKS: usize = 12;

/// `[badge]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BadgePolicy {
    /// Minutes after the end of a paid week in which its renewal follows on without a gap.
    pub renew_within_minutes: u32,
    /// What a week costs.
    pub price: PriceFormula,
}

/// `[badge.price]`: `base + step × ⌊active / every⌋`, within the minimum and the maximum.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceFormula {
    /// While few badges are on.
    pub base: Connects,
    /// So much more…
    pub step: Connects,
    /// …for each so many badges that are on.
    pub every: u64,
    /// No week costs less.
    pub minimum: Connects,
    /// No week costs more.
    pub maximum: Connects,
}

impl PriceFormula {
    /// The price while so many badges are on.
    pub fn price(&self, active: u64) -> Connects {
        let steps = active / self.every;
        let more = self.step.get().saturating_mul(steps);
        let price = self.base.get().saturating_add(more);
        Connects::new(price).clamp(self.minimum, self.maximum)
    }
}

impl BadgePolicy {
    /// What can't be kept of it, if anything.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let price = &self.price;
        let rules = [
            (
                self.renew_within_minutes <= MAX_RENEW_WITHIN,
                "badge.renew_within_minutes must be at most 1440",
            ),
            (
                price.every > 0,
                "badge.price.every must be from 1 on: prices rise for each so many badges",
            ),
            (
                !price.minimum.is_zero()
                    && price.minimum <= price.maximum
                    && price.maximum <= MAX_PRICE,
                "badge.price.minimum and maximum must be from 1 to 2000, in order",
            ),
        ];
        let broken = rules.iter().find(|(kept, _)| !kept);
        broken.map(|(_, broken)| *broken)
    }

    fn renew_within(&self) -> TimeDelta {
        TimeDelta::minutes(self.renew_within_minutes.into())
    }
}

/// The Monday of the calendar week in UTC that an instant is in.
pub fn monday(now: Time) -> NaiveDate {
    let today = now.date_naive();
    today - Days::new(today.weekday().num_days_from_monday().into())
}

/// What a badge costs in a calendar week. Never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeekPrice {
    /// The week's Monday.
    pub starts_on: NaiveDate,
    /// For seven days.
    pub price: Connects,
    /// The badges that were on when it was fixed.
    pub active: u64,
    /// The policy that it was made under.
    pub policy_version: u32,
    /// When it was fixed.
    #[serde(with = "time::as_text")]
    pub fixed_at: Time,
}

impl WeekPrice {
    /// Of the week that `now` is in, with so many badges on.
    pub fn fixed(policy: &Policy, active: u64, now: Time) -> Self {
        Self {
            starts_on: monday(now),
            price: policy.badge.price.price(active),
            active,
            policy_version: policy.version,
            fixed_at: now,
        }
    }
}

/// The price as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct PriceView {
    /// For seven days that begin in this calendar week.
    pub price: Connects,
    /// The calendar week.
    pub week: WeekView,
    /// The badges that were on when the price was fixed.
    pub active: u64,
    /// The weeks before it that have a price, newest first.
    pub history: Vec<PastPrice>,
}

/// A calendar week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct WeekView {
    /// Its Monday.
    pub starts_on: NaiveDate,
    /// Its Sunday.
    pub ends_on: NaiveDate,
}

/// The price of an earlier week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct PastPrice {
    /// Its Monday.
    pub starts_on: NaiveDate,
    /// The price.
    pub price: Connects,
    /// The badges that were on when the price was fixed.
    pub active: u64,
}

impl PriceView {
    /// Of a week, with what was before it.
    pub fn of(week: WeekPrice, past: Vec<WeekPrice>) -> Self {
        Self {
            price: week.price,
            week: WeekView {
                starts_on: week.starts_on,
                ends_on: week.starts_on + Days::new(6),
            },
            active: week.active,
            history: past
                .into_iter()
                .map(|past| PastPrice {
                    starts_on: past.starts_on,
                    price: past.price,
                    active: past.active,
                })
                .collect(),
        }
    }
}

/// Why a badge is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OffReason {
    /// Its holder turned it off.
    TurnedOff,
    /// A week costs more than its holder would pay.
    TooDear,
    /// The balance did not cover a week.
    InsufficientConnects,
    /// The account was suspended when a week was to be charged.
    Suspended,
}

impl OffReason {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TurnedOff => "turned_off",
            Self::TooDear => "too_dear",
            Self::InsufficientConnects => "insufficient_connects",
            Self::Suspended => "suspended",
        }
    }
}

/// A week that was paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidWeek {
    /// Its first instant.
    #[serde(with = "time::as_text")]
    pub begins_at: Time,
    /// The first instant after it.
    #[serde(with = "time::as_text")]
    pub paid_until: Time,
    /// What was charged for it.
    pub price: Connects,
    /// The entry that charged it.
    pub entry: Seq,
}

/// An account's badge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Badge {
    /// What a week may cost at most.
    pub max_weekly: Connects,
    /// The newest week that was paid for.
    #[serde(default)]
    pub week: Option<PaidWeek>,
    /// Why it is off; it is on, and to be renewed, where there is no reason.
    #[serde(default)]
    pub off_reason: Option<OffReason>,
    /// Grows with whatever changes of it.
    pub revision: u64,
}

/// What a holder is told when a badge went off by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct BadgeNotice {
    /// The end of the last paid week.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub paid_until: Time,
    /// The badge's revision that is off: no two notices of an account have the same. Two may be about one
    /// week, where a clock that is behind turned the badge on again in it.
    pub revision: u64,
    /// Why it is off.
    pub off_reason: OffReason,
    /// What a week would have cost.
    pub price: Connects,
    /// What it might have cost.
    pub max_weekly: Connects,
    /// When that was seen.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub noticed_at: Time,
}

/// What comes of asking something of a badge.
#[derive(Debug, PartialEq)]
pub struct BadgeChange {
    /// As it is after.
    pub badge: Badge,
    /// What its holder is to be told.
    pub notice: Option<BadgeNotice>,
    /// What the account has after.
    pub balance: Balance,
    /// What books it. There is none where nothing changes, nor where there is nothing to book: then
    /// the badge and the notice are written by themselves.
    pub plan: Option<Plan>,
}

impl Badge {
    /// Turns a badge on, or changes its maximum. A week that is paid for is not paid again; without
    /// one, a week is charged if that can be, and the badge stays off if it can't.
    ///
    /// # Errors
    /// `account_suspended`, `in_debt`. Stale when the account was read before the badge's newest week
    /// was charged.
    pub fn put(
        current: Option<&Self>,
        draft: Draft<'_>,
        max_weekly: Connects,
        price: Connects,
    ) -> Result<BadgeChange, Unplanned> {
        if current.is_some_and(|badge| badge.is_ahead_of(draft.read())) {
            return Err(Unplanned::Stale);
        }
        may_spend(&draft, price)?;
        let asked = Self {
            max_weekly,
            week: current.and_then(|badge| badge.week.clone()),
            off_reason: None,
            revision: current.map_or(0, |badge| badge.revision) + 1,
        };
        let now = draft.now();
        if asked.is_paid(now) {
            return Ok(asked.change(current, draft, None));
        }
        // One that was off begins anew, whenever its last week ended.
        let begins_at = match current {
            Some(badge) if badge.is_on() => badge.next_begin(now, &draft.policy().badge),
            _ => now,
        };
        Ok(asked.charge(current, draft, price, begins_at))
    }

    /// Charges the next week when the paid one is over, or turns the badge off. None where nothing is
    /// due.
    pub fn renew(&self, draft: Draft<'_>, price: Connects) -> Option<BadgeChange> {
        let due = self.due_at().is_some_and(|at| at <= draft.now());
        if !due || self.is_ahead_of(draft.read()) {
            return None;
        }
        let begins_at = self.next_begin(draft.now(), &draft.policy().badge);
        Some(self.next().charge(Some(self), draft, price, begins_at))
    }

    /// The same, turned off by its holder: what is paid for runs out, and nothing more is charged.
    #[must_use]
    pub fn turned_off(&self) -> Self {
        match self.off_reason {
            Some(OffReason::TurnedOff) => self.clone(),
            _ => Self {
                off_reason: Some(OffReason::TurnedOff),
                ..self.next()
            },
        }
    }

    /// When the next week is to be charged, if one is.
    pub fn due_at(&self) -> Option<Time> {
        let week = self.week.as_ref().filter(|_| self.is_on());
        week.map(|week| week.paid_until)
    }

    /// Whether it shows: while a week is paid for, and for the short time in which a renewal that
    /// follows on may still come.
    pub fn is_active(&self, now: Time, policy: &BadgePolicy) -> bool {
        self.is_paid(now) || self.is_on() && self.follows_on(now, policy)
    }

    /// Whether its newest week was charged after an account that was read up to an entry.
    pub fn is_ahead_of(&self, read: Seq) -> bool {
        self.week.as_ref().is_some_and(|week| read < week.entry)
    }

    fn is_on(&self) -> bool {
        self.off_reason.is_none()
    }

    fn is_paid(&self, now: Time) -> bool {
        self.week.as_ref().is_some_and(|week| now < week.paid_until)
    }

    fn follows_on(&self, now: Time, policy: &BadgePolicy) -> bool {
        let latest = self.week.as_ref().map(|week| week.paid_until);
        latest.is_some_and(|end| now < end + policy.renew_within())
    }

    /// Where a week begins that is charged now: where the last one ended, if that was not long ago.
    fn next_begin(&self, now: Time, policy: &BadgePolicy) -> Time {
        match &self.week {
            Some(week) if self.follows_on(now, policy) => week.paid_until,
            _ => now,
        }
    }

    /// Why a week at that price can't be charged, if it can't.
    fn obstacle(&self, draft: &Draft<'_>, price: Connects) -> Option<OffReason> {
        let Balance {
            available, debt, ..
        } = draft.account().balance();
        if draft.is_suspended() {
            Some(OffReason::Suspended)
        } else if price > self.max_weekly {
            Some(OffReason::TooDear)
        } else if available < price || !debt.is_zero() {
            Some(OffReason::InsufficientConnects)
        } else {
            None
        }
    }

    /// Charges a week or goes off.
    fn charge(
        mut self,
        current: Option<&Self>,
        mut draft: Draft<'_>,
        price: Connects,
        begins_at: Time,
    ) -> BadgeChange {
        let week = self
            .obstacle(&draft, price)
            .map_or_else(|| pay(&mut draft, price, begins_at), Err);
        self.off_reason = week.as_ref().err().copied();
        let was_on = current.filter(|badge| badge.is_on());
        let ended = was_on.and_then(|badge| badge.week.as_ref());
        let notice = self.off_reason.zip(ended).map(|(off_reason, ended)| {
            let (max_weekly, noticed_at) = (self.max_weekly, draft.now());
            BadgeNotice {
                paid_until: ended.paid_until,
                revision: self.revision,
                off_reason,
                price,
                max_weekly,
                noticed_at,
            }
        });
        if let Ok(week) = week {
            self.week = Some(week);
        }
        self.change(current, draft, notice)
    }

    /// The change to this badge, if it is one.
    fn change(
        self,
        current: Option<&Self>,
        draft: Draft<'_>,
        notice: Option<BadgeNotice>,
    ) -> BadgeChange {
        let same = current.filter(|current| {
            let revision = current.revision;
            let as_it_was = Self {
                revision,
                ..self.clone()
            };
            **current == as_it_was
        });
        if let Some(same) = same {
            return BadgeChange {
                badge: same.clone(),
                notice: None,
                balance: draft.account().balance(),
                plan: None,
            };
        }
        let mut guards = vec![Guard::Badge(self.clone())];
        guards.extend(notice.clone().map(Guard::BadgeNotice));
        let (account, plan) = draft.finish(guards);
        BadgeChange {
            badge: self,
            notice,
            balance: account.balance(),
            plan,
        }
    }

    /// The same, about to be written over what was read.
    fn next(&self) -> Self {
        Self {
            revision: self.revision + 1,
            ..self.clone()
        }
    }
}

/// Books the charge of a week.
fn pay(draft: &mut Draft<'_>, price: Connects, begins_at: Time) -> Result<PaidWeek, OffReason> {
    let about = Reference::of("badge", begins_at.date_naive());
    let mut paid = draft.clone();
    paid.spend(price, Reason::of("badge"), about)
        .ok_or(OffReason::InsufficientConnects)?;
    *draft = paid;
    Ok(PaidWeek {
        begins_at,
        paid_until: begins_at + TimeDelta::days(PAID_DAYS),
        price,
        entry: draft.account().head.seq,
    })
}

/// A badge as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct BadgeView {
    /// Whether it shows.
    pub active: bool,
    /// What a week may cost at most.
    pub max_weekly: Connects,
    /// What a week costs now.
    pub price: Connects,
    /// The end of the newest week that was paid for.
    #[serde(serialize_with = "time::as_text_if_any::serialize")]
    #[cfg_attr(feature = "contract", schemars(with = "Option<Time>"))]
    pub paid_until: Option<Time>,
    /// Why it is off, if it is.
    pub off_reason: Option<OffReason>,
    /// What the account has.
    pub balance: Balance,
}

impl BadgeView {
    /// Of a badge, as of `now`.
    pub fn of(
        badge: &Badge,
        policy: &Policy,
        now: Time,
        price: Connects,
        balance: Balance,
    ) -> Self {
        Self {
            active: badge.is_active(now, &policy.badge),
            max_weekly: badge.max_weekly,
            price,
            paid_until: badge.week.as_ref().map(|week| week.paid_until),
            off_reason: badge.off_reason,
            balance,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::account::{Account, Amend, Kind, Status};
    use super::super::journal::{Entry, EntryType};
    use super::super::lot::Source;
    use super::super::policy::built_in;
    use super::super::refusal::Refusal;
    use super::super::testing::{OPENED, at, connects, draft, opened, stored};
    use super::*;

    /// The first paid week's end, a second before it, and the last instant at which a renewal still
    /// follows on.
    const END: &str = "2025-01-17T12:00:00Z";
    const BEFORE_END: &str = "2025-01-17T11:59:59.999Z";
    const STILL: &str = "2025-01-17T12:59:59.999Z";
    const TOO_LATE: &str = "2025-01-17T13:00:00Z";

    #[derive(Debug, Clone)]
    struct World {
        policy: Policy,
        account: Account,
        badge: Option<Badge>,
        entries: Vec<Entry>,
        notices: Vec<BadgeNotice>,
    }

    impl World {
        /// A freelancer with 50 Connects and no badge.
        fn new() -> Self {
            let policy = built_in();
            Self {
                account: opened(&policy, Kind::Freelancer),
                policy,
                badge: None,
                entries: vec![],
                notices: vec![],
            }
        }

        /// With a badge from the moment it was opened on.
        fn with_badge(max_weekly: u64, price: u64) -> Self {
            let mut world = Self::new();
            world.put(OPENED, max_weekly, price).unwrap();
            world
        }

        fn put(&mut self, now: &str, max_weekly: u64, price: u64) -> Result<(), Unplanned> {
            let draft = draft(&self.policy, self.account.clone(), now);
            let (most, price) = (connects(max_weekly), connects(price));
            let change = Badge::put(self.badge.as_ref(), draft, most, price)?;
            self.apply(now, change);
            Ok(())
        }

        /// Says whether there was anything to do.
        fn renew(&mut self, now: &str, price: u64) -> bool {
            let draft = draft(&self.policy, self.account.clone(), now);
            let badge = self.badge.as_ref().unwrap();
            match badge.renew(draft, connects(price)) {
                None => false,
                Some(change) => {
                    self.apply(now, change);
                    true
                }
            }
        }

        fn turn_off(&mut self) {
            self.badge = self.badge.as_ref().map(Badge::turned_off);
        }

        fn amend(&mut self, now: &str, status: Status) {
            if self.account.profile.status == status {
                return;
            }
            let amend = Amend {
                status: Some(status),
                email: None,
                payment_customer: None,
            };
            let (account, _) = amend.plan(draft(&self.policy, self.account.clone(), now));
            self.account = stored(account);
        }

        fn apply(&mut self, now: &str, change: BadgeChange) {
            let before = self.badge.replace(change.badge.clone());
            match &change.plan {
                None => {}
                Some(plan) => {
                    let has = |guard| plan.guards.contains(&guard);
                    assert!(has(Guard::Badge(change.badge.clone())));
                    let mut noted = change.notice.iter();
                    assert!(noted.all(|notice| has(Guard::BadgeNotice(notice.clone()))));
                    self.entries.extend(plan.entries.clone());
                    // The account after the plan, made of its own entries.
                    let mut after = draft(&self.policy, self.account.clone(), now);
                    let charges = plan.entries.iter();
                    for charge in charges.filter(|entry| entry.reason.as_str() == "badge") {
                        let amount = connects(charge.amount.unsigned_abs());
                        let about = charge.reference.clone().unwrap();
                        after.spend(amount, Reason::of("badge"), about).unwrap();
                    }
                    let (account, _) = after.finish(vec![]);
                    self.account = stored(account);
                    assert_eq!(self.account.head.seq, plan.entries.last().unwrap().seq);
                    assert_eq!(self.account.balance(), change.balance);
                }
            }
            if before.is_some_and(|before| before.revision == change.badge.revision) {
                assert!(change.plan.is_none() && change.notice.is_none());
            }
            self.notices.extend(change.notice);
        }

        fn badge(&self) -> &Badge {
            self.badge.as_ref().unwrap()
        }

        fn is_active(&self, now: &str) -> bool {
            self.badge().is_active(at(now), &self.policy.badge)
        }

        /// Amount and reference of each charge.
        fn charges(&self) -> Vec<(i64, String)> {
            let charged = |entry: &&Entry| entry.reason.as_str() == "badge";
            let charges = self.entries.iter().filter(charged);
            charges
                .inspect(|entry| assert_eq!(entry.entry_type, EntryType::Spend))
                .map(|entry| (entry.amount, entry.reference.clone().unwrap().to_string()))
                .collect()
        }

        fn paid_until(&self) -> Option<Time> {
            self.badge().week.as_ref().map(|week| week.paid_until)
        }
    }

    #[test]
    fn the_price_rises_by_steps_within_its_bounds() {
        let formula = |base, step, every, minimum, maximum| PriceFormula {
            base: connects(base),
            step: connects(step),
            every,
            minimum: connects(minimum),
            maximum: connects(maximum),
        };
        for (formula, active, price) in [
            (formula(7, 2, 10, 5, 12), 0, 7),
            (formula(7, 2, 10, 5, 12), 9, 7),
            (formula(7, 2, 10, 5, 12), 10, 9),
            (formula(7, 2, 10, 5, 12), 29, 11),
            (formula(7, 2, 10, 5, 12), 30, 12),
            (formula(7, 2, 10, 5, 12), u64::MAX, 12),
            (formula(1, 2, 10, 5, 12), 19, 5),
            (formula(1, 2, 10, 5, 12), 25, 5),
            (formula(1, 2, 10, 5, 12), 30, 7),
            (formula(u64::MAX, u64::MAX, 1, 5, 12), u64::MAX, 12),
            (formula(7, 0, 1, 5, 12), 1_000, 7),
        ] {
            assert_eq!(formula.price(active).get(), price, "{formula:?} {active}");
        }
    }

    #[test]
    fn a_calendar_week_begins_on_monday() {
        for (now, starts_on) in [
            ("2026-01-04T23:59:59.999Z", "2025-12-29"),
            ("2026-01-05T00:00:00Z", "2026-01-05"),
            ("2026-01-11T23:59:59.999Z", "2026-01-05"),
            ("2024-02-29T12:00:00Z", "2024-02-26"),
        ] {
            assert_eq!(monday(at(now)).to_string(), starts_on);
        }
    }

    #[test]
    fn the_price_is_told_with_its_week_and_those_before() {
        let policy = built_in();
        let price = |now, active| WeekPrice::fixed(&policy, active, at(now));
        let this = price("2026-01-14T09:00:00Z", 50);
        let view = PriceView::of(this, vec![price("2026-01-05T00:15:00Z", 25)]);
        let expected = serde_json::json!({
            "price": 6, "active": 50,
            "week": { "starts_on": "2026-01-12", "ends_on": "2026-01-18" },
            "history": [{ "starts_on": "2026-01-05", "price": 5, "active": 25 }],
        });
        assert_eq!(serde_json::to_value(view).unwrap(), expected);
    }

    /// Maximum 10, weekly prices 7, 9, 11.
    #[test]
    fn weeks_are_charged_until_one_is_too_dear() {
        let mut world = World::with_badge(10, 7);
        let (second, third) = (END, "2025-01-24T12:00:00Z");
        assert!(!world.renew(BEFORE_END, 9));
        assert!(world.renew(second, 9));
        assert!(!world.renew(second, 9));
        assert!(world.renew(third, 11));
        assert!(!world.renew(third, 1));
        let charged = [(-7, "badge:2025-01-10"), (-9, "badge:2025-01-17")];
        let charged = charged.map(|(amount, about)| (amount, about.to_owned()));
        assert_eq!(world.charges(), charged);
        assert_eq!(world.badge().off_reason, Some(OffReason::TooDear));
        assert!(!world.is_active(third));
        let told = BadgeNotice {
            paid_until: at(third),
            revision: 3,
            off_reason: OffReason::TooDear,
            price: connects(11),
            max_weekly: connects(10),
            noticed_at: at(third),
        };
        assert_eq!(world.notices, [told]);
        assert_eq!(world.account.balance().available, connects(34));
    }

    #[test]
    fn a_renewal_in_time_follows_on_and_a_late_one_begins_anew() {
        let next_week = "2025-01-24T12:00:00Z";
        for (now, active_before, begins_at) in [
            (END, true, END),
            (STILL, true, END),
            (TOO_LATE, false, TOO_LATE),
            ("2025-02-07T08:00:00Z", false, "2025-02-07T08:00:00Z"),
        ] {
            let mut world = World::with_badge(10, 7);
            assert_eq!(world.is_active(now), active_before, "{now}");
            // The request for it says the same as the schedule's run.
            let mut asked = world.clone();
            assert!(world.renew(now, 9));
            asked.put(now, 10, 9).unwrap();
            assert_eq!(world.badge, asked.badge);
            let begins_at = at(begins_at);
            let paid_until = begins_at + TimeDelta::days(7);
            assert_eq!(world.paid_until(), Some(paid_until));
            assert!(begins_at != at(END) || paid_until == at(next_week));
            assert!(world.is_active(now));
            // Once, however long it took: what was missed is not charged.
            let about = format!("badge:{}", begins_at.date_naive());
            assert_eq!(world.charges()[1..], [(-9, about)]);
            assert!(!world.renew(now, 9));
        }
    }

    #[test]
    fn asking_again_in_a_paid_week_charges_nothing() {
        let mut world = World::with_badge(10, 7);
        let first = world.badge().clone();
        world.put(BEFORE_END, 10, 16).unwrap();
        assert_eq!(world.badge(), &first);
        // Also where the price is beyond the new maximum: the week is paid for.
        world.put(BEFORE_END, 5, 16).unwrap();
        assert_eq!(world.badge().max_weekly, connects(5));
        assert_eq!(
            (world.badge().off_reason, world.badge().revision),
            (None, 2)
        );
        assert_eq!(world.charges().len(), 1);
        assert!(world.renew(END, 7));
        assert_eq!(world.badge().off_reason, Some(OffReason::TooDear));
    }

    #[test]
    fn a_badge_that_cant_be_paid_for_stays_off_and_can_be_asked_for_again() {
        for (max_weekly, price, why) in [
            (10, 11, OffReason::TooDear),
            (60, 51, OffReason::InsufficientConnects),
            (50, 51, OffReason::TooDear),
        ] {
            let mut world = World::with_badge(max_weekly, price);
            assert_eq!(world.badge().off_reason, Some(why));
            assert_eq!((world.paid_until(), world.badge().due_at()), (None, None));
            assert!(!world.is_active(OPENED) && world.notices.is_empty());
            assert!(!world.renew(END, 1));
            let same = world.badge().clone();
            world.put(OPENED, max_weekly, price).unwrap();
            assert_eq!(world.badge(), &same);
            world.put(TOO_LATE, 50, 50).unwrap();
            assert_eq!(world.charges(), [(-50, "badge:2025-01-17".to_owned())]);
            assert!(world.is_active(TOO_LATE));
        }
    }

    #[test]
    fn turned_off_it_runs_out_and_turned_on_again_it_costs_no_second_time() {
        let mut world = World::with_badge(10, 7);
        world.turn_off();
        assert_eq!(world.badge().off_reason, Some(OffReason::TurnedOff));
        assert_eq!(world.badge().turned_off(), *world.badge());
        assert_eq!(world.badge().due_at(), None);
        assert!(world.is_active(BEFORE_END) && !world.is_active(END));
        let mut again = world.clone();
        again.put(BEFORE_END, 10, 9).unwrap();
        assert_eq!((again.charges().len(), again.badge().off_reason), (1, None));
        assert_eq!(again.badge().due_at(), Some(at(END)));
        // Once it has run out, a new week begins when it is asked for.
        assert!(!world.renew(END, 7));
        world.put(STILL, 10, 9).unwrap();
        let begins_at = world.badge().week.as_ref().map(|week| week.begins_at);
        assert_eq!(begins_at, Some(at(STILL)));
        assert_eq!(world.charges().len(), 2);
        assert!(world.notices.is_empty());
    }

    #[test]
    fn a_suspended_account_gets_no_week_and_keeps_the_one_it_has() {
        let mut world = World::with_badge(10, 7);
        world.amend(OPENED, Status::Suspended);
        let refused = world.put(OPENED, 10, 7);
        assert_eq!(refused, Err(Refusal::AccountSuspended.into()));
        assert!(world.is_active(BEFORE_END));
        assert!(world.renew(END, 11));
        assert_eq!(world.badge().off_reason, Some(OffReason::Suspended));
        assert_eq!(world.notices.len(), 1);
        world.amend(TOO_LATE, Status::Active);
        assert!(!world.renew(TOO_LATE, 7));
        world.put(TOO_LATE, 10, 7).unwrap();
        assert!(world.is_active(TOO_LATE));
        assert_eq!(world.charges().len(), 2);
    }

    #[test]
    fn what_is_owed_goes_first() {
        let mut world = World::with_badge(10, 7);
        let mut bought = draft(&world.policy, world.account.clone(), OPENED);
        let birth = bought.issue(Source::Purchase, "purchase", connects(100), None);
        bought.spend(connects(143), Reason::of("test"), Reference::of("test", 1));
        bought.revoke(&[&birth], Connects::ZERO, Reference::of("purchase", "pu"));
        world.account = stored(bought.finish(vec![]).0);
        let debt = connects(100);
        let refused = world.put(OPENED, 10, 7);
        assert_eq!(refused, Err(Refusal::InDebt { debt }.into()));
        assert!(world.renew(END, 7));
        let why = Some(OffReason::InsufficientConnects);
        assert_eq!((world.badge().off_reason, world.notices.len()), (why, 1));
        // Debt that lies in more lots than an entry can name leaves something available.
        let mut world = World::with_badge(10, 7);
        world.account.head.after.debt = connects(5);
        world.account = stored(world.account);
        assert!(world.renew(END, 7));
        assert_eq!(world.badge().off_reason, why);
    }

    #[test]
    fn what_was_read_before_the_newest_charge_is_read_again() {
        let world = World::with_badge(10, 7);
        let before = World::new();
        let stale = || draft(&before.policy, before.account.clone(), OPENED);
        let (most, price) = (connects(10), connects(7));
        let put = Badge::put(world.badge.as_ref(), stale(), most, price);
        assert_eq!(put, Err(Unplanned::Stale));
        let late = draft(&before.policy, before.account.clone(), TOO_LATE);
        assert_eq!(world.badge().renew(late, price), None);
        assert!(world.badge().is_ahead_of(stale().read()));
        let read = draft(&world.policy, world.account.clone(), TOO_LATE);
        assert!(!world.badge().is_ahead_of(read.read()));
    }

    /// Going off is booked together with whatever settling found; by itself it needs no entry.
    #[test]
    fn going_off_needs_no_entry_of_its_own() {
        let badge = World::with_badge(10, 7);
        let off = |now: &str| {
            let draft = draft(&badge.policy, badge.account.clone(), now);
            badge.badge().renew(draft, connects(11)).unwrap()
        };
        let change = off(END);
        assert!(change.plan.is_none() && change.notice.is_some());
        // A month later a grant is due too.
        let change = off("2025-02-10T12:00:00Z");
        let plan = change.plan.unwrap();
        assert_eq!((plan.entries.len(), plan.guards.len()), (1, 2));
    }

    #[test]
    fn a_badge_is_told_as_the_contract_says() {
        let mut world = World::with_badge(10, 7);
        world.turn_off();
        let (balance, price) = (world.account.balance(), connects(9));
        let view = |now| {
            let view = BadgeView::of(world.badge(), &world.policy, at(now), price, balance);
            serde_json::to_value(view).unwrap()
        };
        let mut expected = serde_json::json!({
            "active": true, "max_weekly": 10, "price": 9,
            "paid_until": "2025-01-17T12:00:00.000Z", "off_reason": "turned_off",
            "balance": { "available": 43, "held": 0, "debt": 0 },
        });
        assert_eq!(view(OPENED), expected);
        expected["active"] = false.into();
        assert_eq!(view(END), expected);
        let words = [
            OffReason::TooDear,
            OffReason::InsufficientConnects,
            OffReason::Suspended,
        ];
        let words = words.map(|why| serde_json::to_value(why).unwrap());
        assert_eq!(words, ["too_dear", "insufficient_connects", "suspended"]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(i64),
        Put(u64),
        TurnOff,
        Renew,
        Suspend(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<(Step, u64)>> {
        let step = prop_oneof![
            4 => (1_i64..400).prop_map(Step::Wait),
            3 => (1_u64..12).prop_map(Step::Put),
            1 => Just(Step::TurnOff),
            4 => Just(Step::Renew),
            1 => any::<bool>().prop_map(Step::Suspend),
        ];
        prop::collection::vec((step, 1_u64..14), 1..40)
    }

    proptest! {
        /// Whatever is asked for whenever, at whatever prices: paid weeks never overlap, each is
        /// charged once, at no more than the maximum of then, and never while suspended; each has a
        /// reference of its own, and whoever goes off by themselves is told once.
        #[test]
        fn each_week_is_charged_once(steps in steps()) {
            let mut world = World::new();
            let mut now = at(OPENED);
            let mut weeks: Vec<PaidWeek> = vec![];
            for (step, price) in steps {
                let text = time::text(now);
                let was_on = world.badge.as_ref().is_some_and(Badge::is_on);
                let told = world.notices.len();
                let by_holder = matches!(step, Step::TurnOff);
                match step {
                    Step::Wait(hours) => now += TimeDelta::hours(hours),
                    Step::Put(max_weekly) => {
                        let suspended = world.account.profile.status == Status::Suspended;
                        let put = world.put(&text, max_weekly, price);
                        prop_assert_eq!(put.is_err(), suspended);
                    }
                    Step::TurnOff => world.turn_off(),
                    Step::Renew if world.badge.is_some() => {
                        world.renew(&text, price);
                        prop_assert!(!world.renew(&text, price));
                    }
                    Step::Renew => {}
                    Step::Suspend(suspended) => {
                        let status = if suspended { Status::Suspended } else { Status::Active };
                        world.amend(&text, status);
                    }
                }
                let Some(badge) = &world.badge else { continue };
                let went_off = was_on && !badge.is_on();
                prop_assert_eq!(world.notices.len() - told, usize::from(went_off && !by_holder));
                if badge.week != weeks.last().cloned() {
                    let week = badge.week.clone().unwrap();
                    if let Some(last) = weeks.last() {
                        prop_assert!(week.begins_at >= last.paid_until);
                    }
                    prop_assert!(week.price <= badge.max_weekly);
                    prop_assert!(badge.is_on() && badge.is_paid(now));
                    prop_assert_ne!(world.account.profile.status, Status::Suspended);
                    weeks.push(week);
                }
            }
            let charges = world.charges();
            let paid: Vec<_> = weeks
                .iter()
                .map(|week| (week.price.debit(), format!("badge:{}", week.begins_at.date_naive())))
                .collect();
            prop_assert_eq!(&charges, &paid);
            let mut abouts: Vec<_> = charges.iter().map(|(_, about)| about).collect();
            abouts.dedup();
            prop_assert_eq!(abouts.len(), charges.len());
            let mut ends: Vec<_> = world.notices.iter().map(|notice| notice.paid_until).collect();
            ends.dedup();
            prop_assert_eq!(ends.len(), world.notices.len());
        }
    }
}
