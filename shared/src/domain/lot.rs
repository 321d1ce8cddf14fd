//! Lots: where every Connect lives, from its birth to its last usable day.

use std::fmt;
use std::str::FromStr;

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};

use super::ids::LotId;
use super::time::{self, Time};
use super::units::Connects;

/// Where a lot's Connects came from. The numbers stand for them in seals, so they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// First registration, once per person.
    Signup = 1,
    /// The free part of a billing cycle's grant.
    MonthlyFree = 2,
    /// The paid plan's part of a billing cycle's grant.
    PlanIncluded = 3,
    /// Bought.
    Purchase = 4,
    /// A promo code.
    Promo = 5,
    /// Earned.
    Reward = 6,
    /// Returned after the original lot had expired, or too shortly before.
    Grace = 7,
}

impl Source {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signup => "signup",
            Self::MonthlyFree => "monthly_free",
            Self::PlanIncluded => "plan_included",
            Self::Purchase => "purchase",
            Self::Promo => "promo",
            Self::Reward => "reward",
            Self::Grace => "grace",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [
            Self::Signup,
            Self::MonthlyFree,
            Self::PlanIncluded,
            Self::Purchase,
            Self::Promo,
            Self::Reward,
            Self::Grace,
        ]
        .into_iter()
        .find(|source| source.as_str() == word)
    }
}

/// What never changes about a lot. A slice carries it, so a lot that was used up can be made again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Birth {
    /// The lot's name.
    pub id: LotId,
    /// Where it came from.
    pub source: Source,
    /// Its place in the order of use.
    pub issued_at: Time,
    /// The last day (UTC) on which it can be used.
    pub expires_on: NaiveDate,
    /// How many it was issued with.
    pub quantity: Connects,
}

impl Birth {
    /// The first instant at which the lot can't be used any more.
    pub fn expires_at(&self) -> Time {
        first_instant_after(self.expires_on)
    }

    /// Whether the lot can be used at `now`: from its birth until its expiry, half-open.
    pub fn active_at(&self, now: Time) -> bool {
        self.issued_at <= now && now < self.expires_at()
    }

    /// Oldest first: by birth, then by name.
    pub fn age_key(&self) -> (Time, LotId) {
        (self.issued_at, self.id)
    }

    /// When the scheduled run must look at this lot next: the first of its notices still to come
    /// after `now`, else its expiry.
    pub fn next_due(&self, now: Time, notice_days: &[u32]) -> Time {
        notice_days
            .iter()
            .map(|days| self.notice_at(*days))
            .filter(|at| *at > now)
            .min()
            .unwrap_or_else(|| self.expires_at())
    }

    /// The instant `days` days before the last usable day begins.
    pub fn notice_at(&self, days: u32) -> Time {
        time::midnight(self.expires_on - Days::new(days.into()))
    }

    /// The tightest notice that is due at `now`, in days, if any is and the lot still lives.
    pub fn notice_due(&self, now: Time, notice_days: &[u32]) -> Option<u32> {
        notice_days
            .iter()
            .copied()
            .filter(|days| self.active_at(now) && self.notice_at(*days) <= now)
            .min()
    }
}

/// What a holder is told before a lot lapses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct ExpiryNotice {
    /// The lot.
    pub lot_id: LotId,
    /// How many of it were left.
    pub amount: Connects,
    /// Its last usable day.
    pub expires_on: NaiveDate,
    /// So many days before.
    pub days: u32,
    /// When that was seen.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub noticed_at: Time,
}

/// The first instant after a UTC day.
pub fn first_instant_after(day: NaiveDate) -> Time {
    time::midnight(day + Days::new(1))
}

/// A lot with what is left in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lot {
    birth: Birth,
    remaining: Connects,
}

impl Lot {
    /// A lot as it was issued, nothing used.
    pub fn issued(birth: Birth) -> Self {
        Self {
            remaining: birth.quantity,
            birth,
        }
    }

    /// A lot with so much left, if that is no more than it was issued with.
    pub fn with_remaining(birth: Birth, remaining: Connects) -> Option<Self> {
        (remaining <= birth.quantity).then_some(Self { birth, remaining })
    }

    /// What never changes about it.
    pub fn birth(&self) -> &Birth {
        &self.birth
    }

    /// What is left.
    pub fn remaining(&self) -> Connects {
        self.remaining
    }

    /// Takes up to `wanted` out; the slice says how much it was. `None` when nothing was.
    pub fn take(&mut self, wanted: Connects) -> Option<Slice> {
        let amount = self.remaining.min(wanted);
        self.remaining -= amount;
        (!amount.is_zero()).then(|| Slice {
            birth: self.birth.clone(),
            amount,
        })
    }

    /// Puts `amount` back in, if the lot then holds no more than it was issued with.
    #[must_use]
    pub fn put_back(&mut self, amount: Connects) -> bool {
        let fits = self.remaining + amount <= self.birth.quantity;
        if fits {
            self.remaining += amount;
        }
        fits
    }
}

/// A lot as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct LotView {
    /// The lot's name.
    pub lot_id: LotId,
    /// Where it came from.
    pub source: Source,
    /// Its birth.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub issued_at: Time,
    /// The last usable day.
    pub expires_on: NaiveDate,
    /// How many it was issued with.
    pub quantity: Connects,
    /// What is left.
    pub remaining: Connects,
}

impl From<&Lot> for LotView {
    fn from(lot: &Lot) -> Self {
        Self {
            lot_id: lot.birth.id,
            source: lot.birth.source,
            issued_at: lot.birth.issued_at,
            expires_on: lot.birth.expires_on,
            quantity: lot.birth.quantity,
            remaining: lot.remaining,
        }
    }
}

/// So many Connects of one lot: what an entry moved. Always positive; the entry's type says which
/// way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The lot.
    pub birth: Birth,
    /// How many.
    pub amount: Connects,
}

/// A slice as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct SliceView {
    /// The lot.
    pub lot_id: LotId,
    /// How many of it.
    pub amount: Connects,
}

impl From<&Slice> for SliceView {
    fn from(slice: &Slice) -> Self {
        Self {
            lot_id: slice.birth.id,
            amount: slice.amount,
        }
    }
}

/// The views of some slices.
pub fn views(slices: &[Slice]) -> Vec<SliceView> {
    slices.iter().map(SliceView::from).collect()
}

/// How many Connects slices are.
pub fn total(slices: &[Slice]) -> Connects {
    slices.iter().map(|slice| slice.amount).sum()
}

/// The first `amount` Connects of `slices`, which are no fewer.
pub fn first_of(slices: &[Slice], amount: Connects) -> Vec<Slice> {
    let mut first = last_of(slices, total(slices) - amount, amount);
    first.reverse();
    first
}

/// The last `amount` Connects of `slices` after the last `skip` of them were set aside, last first:
/// what goes back, in reverse order of consumption.
pub fn last_of(slices: &[Slice], skip: Connects, amount: Connects) -> Vec<Slice> {
    let (mut skip, mut amount) = (skip, amount);
    slices
        .iter()
        .rev()
        .filter_map(|slice| {
            let skipped = slice.amount.min(skip);
            skip -= skipped;
            let taken = (slice.amount - skipped).min(amount);
            amount -= taken;
            (!taken.is_zero()).then(|| Slice {
                birth: slice.birth.clone(),
                amount: taken,
            })
        })
        .collect()
}

/// The packed text of a lot's birth and a number of its Connects:
/// `12-0/purchase/2025-01-10T00:00:00.000Z/2026-01-10/100/5`.
fn pack(birth: &Birth, amount: Connects, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Birth {
        id,
        source,
        issued_at,
        expires_on,
        quantity,
    } = birth;
    let (source, issued_at) = (source.as_str(), time::text(*issued_at));
    write!(
        f,
        "{id}/{source}/{issued_at}/{expires_on}/{quantity}/{amount}"
    )
}

fn unpack(text: &str) -> Option<(Birth, Connects)> {
    let mut parts = text.split('/');
    let birth = Birth {
        id: parts.next()?.parse().ok()?,
        source: Source::parse(parts.next()?)?,
        issued_at: time::parse(parts.next()?)?,
        expires_on: parts.next()?.parse().ok()?,
        quantity: Connects::new(parts.next()?.parse().ok()?),
    };
    let amount = Connects::new(parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((birth, amount))
}

/// A packed text that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a packed lot: {0}")]
pub struct NotPacked(String);

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        pack(&self.birth, self.amount, f)
    }
}

impl FromStr for Slice {
    type Err = NotPacked;

    fn from_str(text: &str) -> Result<Self, NotPacked> {
        unpack(text)
            .map(|(birth, amount)| Self { birth, amount })
            .ok_or_else(|| NotPacked(text.to_owned()))
    }
}

impl fmt::Display for Lot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        pack(&self.birth, self.remaining, f)
    }
}

impl FromStr for Lot {
    type Err = NotPacked;

    fn from_str(text: &str) -> Result<Self, NotPacked> {
        unpack(text)
            .and_then(|(birth, remaining)| Self::with_remaining(birth, remaining))
            .ok_or_else(|| NotPacked(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Seq;

    fn birth(expires_on: &str) -> Birth {
        Birth {
            id: LotId {
                seq: Seq::new(12),
                index: 0,
            },
            source: Source::Purchase,
            issued_at: time::parse("2025-03-15T09:30:00Z").unwrap(),
            expires_on: expires_on.parse().unwrap(),
            quantity: Connects::new(10),
        }
    }

    #[test]
    fn a_lot_is_usable_through_the_end_of_its_last_day() {
        let lot = birth("2026-03-15");
        for (at, usable) in [
            ("2025-03-15T09:29:59.999Z", false),
            ("2025-03-15T09:30:00Z", true),
            ("2026-03-15T23:59:59.999Z", true),
            ("2026-03-16T00:00:00Z", false),
        ] {
            assert_eq!(lot.active_at(time::parse(at).unwrap()), usable, "{at}");
        }
    }

    #[test]
    fn due_is_the_next_notice_then_the_expiry() {
        let lot = birth("2026-03-31");
        for (now, due, notice) in [
            ("2025-03-15T09:30:00Z", "2026-03-01T00:00:00Z", None),
            ("2026-03-01T00:00:00Z", "2026-03-24T00:00:00Z", Some(30)),
            ("2026-03-24T10:00:00Z", "2026-03-30T00:00:00Z", Some(7)),
            ("2026-03-30T00:00:00Z", "2026-04-01T00:00:00Z", Some(1)),
            ("2026-04-01T00:00:00Z", "2026-04-01T00:00:00Z", None),
        ] {
            let now = time::parse(now).unwrap();
            assert_eq!(Some(lot.next_due(now, &[30, 7, 1])), time::parse(due));
            assert_eq!(lot.notice_due(now, &[30, 7, 1]), notice, "{now}");
        }
    }

    #[test]
    fn packed_text_reads_back_and_rejects_the_rest() {
        let slice = Slice {
            birth: birth("2026-03-15"),
            amount: Connects::new(5),
        };
        assert_eq!(
            slice.to_string(),
            "12-0/purchase/2025-03-15T09:30:00.000Z/2026-03-15/10/5"
        );
        assert_eq!(slice.to_string().parse(), Ok(slice));
        for bad in [
            "",
            "12-0/purchase",
            "12-0/gift/2025-03-15T09:30:00Z/2026-03-15/10/5",
        ] {
            assert!(bad.parse::<Slice>().is_err(), "{bad}");
        }
        let too_full = "12-0/purchase/2025-03-15T09:30:00.000Z/2026-03-15/10/11";
        assert!(too_full.parse::<Lot>().is_err());
    }

    #[test]
    fn what_comes_back_is_the_last_taken_first() {
        let slice = |amount| Slice {
            birth: birth("2026-03-15"),
            amount: Connects::new(amount),
        };
        let spent = [slice(3), slice(5), slice(2)];
        for (skip, amount, expected) in [
            (0, 10, vec![2, 5, 3]),
            (0, 4, vec![2, 2]),
            (4, 6, vec![3, 3]),
            (10, 0, vec![]),
        ] {
            let back: Vec<u64> = last_of(&spent, Connects::new(skip), Connects::new(amount))
                .iter()
                .map(|slice| slice.amount.get())
                .collect();
            assert_eq!(back, expected, "skip {skip}, amount {amount}");
        }
        for (amount, expected) in [(0, vec![]), (4, vec![3, 1]), (10, vec![3, 5, 2])] {
            let first = first_of(&spent, Connects::new(amount));
            let first: Vec<u64> = first.iter().map(|slice| slice.amount.get()).collect();
            assert_eq!(first, expected, "the first {amount}");
        }
        assert_eq!(total(&spent), Connects::new(10));
    }

    #[test]
    fn a_lot_reads_back_and_its_views_name_it() {
        let slice = Slice {
            birth: birth("2026-03-15"),
            amount: Connects::new(5),
        };
        let mut lot = Lot::issued(slice.birth.clone());
        lot.take(Connects::new(3));
        let text = lot.to_string();
        assert_eq!(
            text,
            "12-0/purchase/2025-03-15T09:30:00.000Z/2026-03-15/10/7"
        );
        assert_eq!(text.parse(), Ok(lot));
        let view = SliceView {
            lot_id: slice.birth.id,
            amount: slice.amount,
        };
        assert_eq!(views(&[slice]), [view]);
    }
}
