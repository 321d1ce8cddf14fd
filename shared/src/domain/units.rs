//! What is counted: Connects and money, both whole numbers.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde::{Deserialize, Serialize};

/// A number of Connects, never negative. Arithmetic that would leave its range stops the
/// operation (overflow checks are on in every build).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Connects(u64);

impl Connects {
    /// None at all.
    pub const ZERO: Self = Self(0);

    /// So many Connects.
    pub const fn new(units: u64) -> Self {
        Self(units)
    }

    /// The bare number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether there are none.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// This many more available: a journal entry's positive amount.
    pub const fn credit(self) -> i64 {
        self.0 as i64
    }

    /// This many fewer available: a journal entry's negative amount.
    pub const fn debit(self) -> i64 {
        -(self.0 as i64)
    }
}

impl fmt::Display for Connects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Add for Connects {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Connects {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Connects {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl SubAssign for Connects {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Connects {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// Money in minor units (cents) with its ISO 4217 currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Minor units.
    pub amount: u64,
    /// Three capital letters.
    #[cfg_attr(feature = "contract", schemars(regex(pattern = r"^[A-Z]{3}$"), extend("examples" = ["USD"])))]
    pub currency: String,
}

impl Money {
    /// `unit × quantity`, exact. A price is within `u64` because quantities are at most
    /// 1,000,000 and a unit price is checked when the policy is read.
    pub fn times(&self, quantity: Connects) -> Self {
        Self {
            amount: self.amount * quantity.get(),
            currency: self.currency.clone(),
        }
    }

    /// What is left of it after a part of it, in the same currency, is taken off.
    #[must_use]
    pub fn less(&self, part: &Self) -> Self {
        Self {
            amount: self.amount - part.amount,
            currency: self.currency.clone(),
        }
    }

    /// Nothing, in the same currency.
    pub fn none(&self) -> Self {
        Self {
            amount: 0,
            currency: self.currency.clone(),
        }
    }
}
