//! Promo codes: who may redeem them, when, and how many times in all.
//!
//! Redemptions are counted in slots, so that a popular code is not one hot item. The slots' caps
//! add up exactly to the limit, and each slot carries the version of the terms: taking one of its
//! redemptions checks in the same write that the code is still what was read.
//!
//! A `grant` is redeemed by itself. A `bonus` or `discount` rides on a purchase: one redemption is
//! reserved with it, what it gives is frozen in it, and it is given back if the purchase fails.

use chrono::Days;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::account::{Balance, Kind, Plan as AccountPlan, Status};
use super::codes::{Page, Place};
use super::draft::{Draft, Guard, Plan, Unplanned};
use super::ids::{AccountId, Fingerprint, LotId, Operation, OperationId, PromoCode, Reference};
use super::key::IdempotencyKey;
use super::lot::{Birth, Slice, Source};
use super::policy::Policy;
use super::purchase::{Purchase, PurchaseStatus, PurchaseView};
use super::receipt::Receipt;
use super::refusal::{Invalid, Refusal};
use super::time::{self, Time};
use super::units::{Connects, Money};

/// Slots at most, and what an unlimited code has.
pub(super) const MAX_SLOTS: u64 = 16;

/// Redemptions for each slot before there is another.
const REDEMPTIONS_PER_SLOT: u64 = 1_000;

/// The kinds of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PromoKind {
    /// Free Connects, at once.
    Grant,
    /// Connects on top of a purchase.
    Bonus,
    /// Less to pay for a purchase.
    Discount,
}

/// What a code gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Offer {
    /// Free Connects, at once.
    Grant {
        /// How many.
        quantity: Connects,
    },
    /// Connects on top of a purchase.
    Bonus {
        /// How many.
        quantity: Connects,
    },
    /// Less to pay for a purchase.
    Discount(Discount),
}

impl Offer {
    /// Of which kind it is.
    pub fn kind(&self) -> PromoKind {
        match self {
            Self::Grant { .. } => PromoKind::Grant,
            Self::Bonus { .. } => PromoKind::Bonus,
            Self::Discount(_) => PromoKind::Discount,
        }
    }

    /// What it grants by itself; none for what rides on a purchase.
    fn granted(&self) -> Option<Connects> {
        match self {
            Self::Grant { quantity } => Some(*quantity),
            Self::Bonus { .. } | Self::Discount(_) => None,
        }
    }

    /// What it brings a purchase of that price: Connects on top, and money off. None for what does
    /// not ride on a purchase, or not on one in that currency.
    fn brought(&self, price: &Money) -> Option<(Connects, Money)> {
        match self {
            Self::Grant { .. } => None,
            Self::Bonus { quantity } => Some((*quantity, price.none())),
            Self::Discount(discount) => Some((Connects::ZERO, discount.off(price)?)),
        }
    }
}

/// What is taken off a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Discount {
    /// A part of it.
    Percent {
        /// In percent, 1 to 100.
        percent_off: u64,
    },
    /// A fixed amount.
    Amount {
        /// How much, in minor units of the shop's currency.
        amount_off: Money,
    },
}

impl Discount {
    /// What it takes off that price: all of it at most. A part of a minor unit is taken off as a
    /// whole one. None where the currencies differ.
    fn off(&self, price: &Money) -> Option<Money> {
        let amount = match self {
            Self::Percent { percent_off } => (price.amount * percent_off).div_ceil(100),
            Self::Amount { amount_off } if amount_off.currency == price.currency => {
                amount_off.amount
            }
            Self::Amount { .. } => return None,
        };
        Some(Money {
            amount: amount.min(price.amount),
            ..price.none()
        })
    }
}

/// What a code promises, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct Terms {
    /// What it gives.
    #[serde(flatten)]
    pub offer: Offer,
    /// From when on.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub valid_from: Time,
    /// Until when, exclusive.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub valid_until: Time,
    /// How often in all; without limit where absent.
    pub max_redemptions: Option<u64>,
    /// For which kinds of account; all where absent.
    pub kinds: Option<Vec<Kind>>,
    /// For which plans; all where absent.
    pub plans: Option<Vec<AccountPlan>>,
    /// Days after the issue day on which its lot can be used; the policy's where absent.
    pub lot_valid_days: Option<u32>,
}

impl Terms {
    /// Whether they fit the shop.
    ///
    /// # Errors
    /// `invalid_field` for money off in a currency that is not the policy's.
    pub fn check(&self, policy: &Policy) -> Result<(), Invalid> {
        let currency = &policy.purchases.currency;
        match &self.offer {
            Offer::Discount(Discount::Amount { amount_off })
                if amount_off.currency != *currency =>
            {
                let detail = format!("must be {currency}");
                Err(Invalid::field("amount_off.currency", detail))
            }
            _ => Ok(()),
        }
    }
}

/// A code with its terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promo {
    /// The code.
    pub code: PromoCode,
    /// Its terms.
    #[serde(flatten)]
    pub terms: Terms,
    /// Raised with every change of the terms.
    pub version: u64,
    /// How many slots count its redemptions.
    pub slots: u32,
    /// How many single-use codes it has, by which alone it is redeemed; none where it is redeemed by
    /// its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_use_codes: Option<u32>,
}

/// One counter of a code's redemptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// How many it may count; without limit where absent.
    pub cap: Option<u64>,
    /// How many it has counted.
    pub used: u64,
    /// The version of the terms it counts under.
    pub version: u64,
}

impl Slot {
    fn has_room(&self) -> bool {
        self.cap.is_none_or(|cap| self.used < cap)
    }
}

/// A code as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct PromoView {
    /// The code.
    pub code: PromoCode,
    /// Its terms.
    #[serde(flatten)]
    pub terms: Terms,
    /// How many single-use codes were made of it; left out of a code that is redeemed itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single_use_codes: Option<u32>,
    /// How often it was redeemed, by which of its codes ever.
    pub redeemed: u64,
}

impl PromoView {
    /// Of a code and all its slots.
    pub fn of(promo: &Promo, slots: &[Slot]) -> Self {
        Self {
            code: promo.code.clone(),
            terms: promo.terms.clone(),
            single_use_codes: promo.single_use_codes,
            redeemed: slots.iter().map(|slot| slot.used).sum(),
        }
    }
}

/// A code and its slots, before or after a change.
pub type PromoState = (Promo, Vec<Slot>);

/// Creates a code or changes its terms. Slots never go away, and none is capped below what it has
/// counted.
///
/// # Errors
/// `promo_in_use` when the new limit is under what is redeemed already; `invalid_field` for a
/// validity that ends before it begins, for another kind than the code has (once for each account
/// is told by other items for grants than for what rides on purchases), and for a new code that looks
/// like a single-use one.
pub fn set_terms(
    code: &PromoCode,
    terms: Terms,
    current: Option<&PromoState>,
) -> Result<PromoState, Refusal> {
    if terms.valid_until <= terms.valid_from {
        Err(Invalid::field("valid_until", "must be after valid_from"))?;
    }
    if current.is_none() && Place::of(code).is_some() {
        let detail = "has the form of a single-use code";
        Err(Invalid::field("code", detail))?;
    }
    if let Some((promo, _)) = current
        && promo.terms.offer.kind() != terms.offer.kind()
    {
        Err(Invalid::field("kind", "of a code can't be changed"))?;
    }
    let used: Vec<u64> = current.map_or(vec![], |(_, slots)| {
        slots.iter().map(|slot| slot.used).collect()
    });
    let redeemed: u64 = used.iter().sum();
    let spare = match terms.max_redemptions {
        Some(max) => Some(
            max.checked_sub(redeemed)
                .ok_or(Refusal::PromoInUse { redeemed })?,
        ),
        None => None,
    };
    let wanted = terms.max_redemptions.map_or(MAX_SLOTS, |max| {
        max.div_ceil(REDEMPTIONS_PER_SLOT).clamp(1, MAX_SLOTS)
    });
    let count = wanted.max(used.len() as u64);
    let version = current.map_or(1, |(promo, _)| promo.version + 1);
    let slots = (0..count)
        .map(|n| {
            let used = used.get(n as usize).copied().unwrap_or(0);
            Slot {
                cap: spare.map(|spare| used + share(spare, count, n)),
                used,
                version,
            }
        })
        .collect();
    let promo = Promo {
        code: code.clone(),
        terms,
        version,
        slots: count as u32,
        single_use_codes: current.and_then(|(promo, _)| promo.single_use_codes),
    };
    Ok((promo, slots))
}

/// The `n`th of `count` shares that add up to `whole`.
fn share(whole: u64, count: u64, n: u64) -> u64 {
    whole / count + u64::from(n < whole % count)
}

impl Promo {
    /// Whether it is what a code leads to: its own, or one of its single-use codes, whose `place` is
    /// on that page.
    pub fn is_named(&self, code: &PromoCode, place: Option<&Place>, page: Option<&Page>) -> bool {
        match (self.single_use_codes, place) {
            (None, None) => true,
            (Some(_), Some(place)) => page.is_some_and(|page| page.has(place, code)),
            _ => false,
        }
    }

    /// The slot at which an account begins to look for room.
    pub fn first_slot(&self, account: &AccountId) -> u32 {
        let digest = Sha256::digest(account.as_str());
        let spread = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        spread % self.slots.max(1)
    }

    /// The first slot with room, from the account's own on; none when the code is used up.
    pub fn slot_with_room(&self, account: &AccountId, slots: &[Slot]) -> Option<u32> {
        let first = self.first_slot(account);
        (0..self.slots)
            .map(|n| (first + n) % self.slots)
            .find(|n| slots.get(*n as usize).is_some_and(Slot::has_room))
    }
}

/// A request to redeem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RedeemCommand {
    /// The code.
    pub code: PromoCode,
}

/// What a redemption reads of its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromoFacts {
    /// The code, if there is one.
    pub promo: Option<Promo>,
    /// All slots, where they were read.
    pub slots: Option<Vec<Slot>>,
    /// The single-use code that is redeemed, where it is one of those.
    pub single_use: Option<SingleUse>,
}

/// A promo's single-use code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleUse {
    /// The code.
    pub code: PromoCode,
    /// Whether somebody has used it, where that was read.
    pub is_used: bool,
}

impl PromoFacts {
    /// The code and what it gives, if this account may redeem it now for what it `gives`.
    ///
    /// # Errors
    /// `account_suspended`, `promo_unknown`, `promo_not_started`, `promo_expired`,
    /// `promo_not_eligible`, in that order.
    fn eligible<T>(
        &self,
        draft: &Draft<'_>,
        gives: impl FnOnce(&Offer) -> Option<T>,
    ) -> Result<(&Promo, T), Refusal> {
        let profile = &draft.account().profile;
        if profile.status == Status::Suspended {
            return Err(Refusal::AccountSuspended);
        }
        let promo = self.promo.as_ref().ok_or(Refusal::PromoUnknown)?;
        let terms = &promo.terms;
        let admits = |refusal, admitted: bool| if admitted { Ok(()) } else { Err(refusal) };
        let kinds = terms.kinds.as_ref();
        let plans = terms.plans.as_ref();
        admits(Refusal::PromoNotStarted, terms.valid_from <= draft.now())?;
        admits(Refusal::PromoExpired, draft.now() < terms.valid_until)?;
        admits(
            Refusal::PromoNotEligible,
            kinds.is_none_or(|kinds| kinds.contains(&profile.kind))
                && plans.is_none_or(|plans| plans.contains(&profile.plan)),
        )?;
        let given = gives(&terms.offer).ok_or(Refusal::PromoNotEligible)?;
        Ok((promo, given))
    }

    /// The redemption to take: in the account's own slot on trust, or where there is room.
    ///
    /// # Errors
    /// `promo_exhausted`.
    fn redemption(&self, promo: &Promo, account: &AccountId) -> Result<Redemption, Unplanned> {
        let single_use = self.single_use.as_ref();
        if single_use.is_some_and(|code| code.is_used) {
            return Err(Refusal::PromoExhausted.into());
        }
        let slot = match &self.slots {
            None => promo.first_slot(account),
            // Slots that were read while the terms changed say nothing about what is left.
            Some(slots) if slots.iter().any(|slot| slot.version != promo.version) => {
                return Err(Unplanned::Stale);
            }
            Some(slots) => promo
                .slot_with_room(account, slots)
                .ok_or(Refusal::PromoExhausted)?,
        };
        Ok(Redemption {
            code: promo.code.clone(),
            slot,
            version: promo.version,
            single_use: single_use.map(|single_use| single_use.code.clone()),
        })
    }
}

/// One of a code's redemptions, counted under the terms that were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redemption {
    /// The code.
    pub code: PromoCode,
    /// The slot it is counted in.
    pub slot: u32,
    /// The terms' version.
    pub version: u64,
    /// The single-use code that is used up by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_use: Option<PromoCode>,
}

impl Redemption {
    /// The code as it was typed.
    pub fn presented(&self) -> &PromoCode {
        self.single_use.as_ref().unwrap_or(&self.code)
    }

    /// What it needs in a transaction.
    fn guards(self) -> impl Iterator<Item = Guard> {
        let single_use = self.single_use.clone().map(Guard::CodeUsed);
        std::iter::once(Guard::Redemption(self)).chain(single_use)
    }
}

/// A redemption that rides on a purchase, with what it gives as it was promised then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The redemption.
    #[serde(flatten)]
    pub redemption: Redemption,
    /// Connects on top.
    pub bonus: Connects,
    /// Taken off the price, in its minor units.
    pub discount: Money,
    /// Days after the issue day on which the bonus can be used; the policy's where absent.
    pub lot_valid_days: Option<u32>,
}

impl Reservation {
    /// For a purchase of that price. `used_by` is the purchase that this account has used the code
    /// for already.
    ///
    /// # Errors
    /// `account_suspended`, `promo_unknown`, `promo_not_started`, `promo_expired`,
    /// `promo_not_eligible`, `promo_already_redeemed`, `promo_exhausted`, in that order.
    pub fn new(
        draft: &Draft<'_>,
        facts: &PromoFacts,
        used_by: Option<&Purchase>,
        price: &Money,
    ) -> Result<Self, Unplanned> {
        let (promo, (bonus, discount)) = facts.eligible(draft, |offer| offer.brought(price))?;
        let account = draft.account();
        match used_by {
            None => {}
            // It has given the code back since that was read.
            Some(purchase) if purchase.status == PurchaseStatus::Declined => {
                return Err(Unplanned::Stale);
            }
            Some(purchase) => {
                let existing = serde_json::to_value(PurchaseView::of(purchase, account.balance()));
                return Err(Refusal::PromoAlreadyRedeemed {
                    existing: existing.unwrap_or_default(),
                }
                .into());
            }
        }
        Ok(Self {
            redemption: facts.redemption(promo, &account.id)?,
            bonus,
            discount,
            lot_valid_days: promo.terms.lot_valid_days,
        })
    }

    /// Issues the bonus, born now; nothing where there is none.
    pub fn issue(&self, draft: &mut Draft<'_>) -> Option<Birth> {
        let code = self.redemption.presented();
        (!self.bonus.is_zero())
            .then(|| issue(draft, "promo_bonus", code, self.bonus, self.lot_valid_days))
    }
}

/// Issues a code's lot, born now, for as long as its terms say or else the policy.
fn issue(
    draft: &mut Draft<'_>,
    reason: &'static str,
    code: &PromoCode,
    quantity: Connects,
    valid_days: Option<u32>,
) -> Birth {
    let born = draft.now();
    let today = born.date_naive();
    let expires_on = match valid_days {
        Some(days) => today + Days::new(days.into()),
        None => draft.policy().expires_on(today),
    };
    let reference = Some(Reference::of("promo", code));
    draft.issue_at(Source::Promo, reason, quantity, reference, born, expires_on)
}

impl RedeemCommand {
    /// One redemption for each account and promo, by which of its codes ever.
    pub fn id(&self, account: &AccountId) -> OperationId {
        let promo = Place::promo_of(&self.code);
        OperationId::derive(account, Operation::Redemption, promo.as_str())
    }

    /// What a retry must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::Redemption, self)
    }

    /// Grants the code's Connects and takes one of its redemptions.
    ///
    /// # Errors
    /// `account_suspended`, `promo_unknown`, `promo_not_started`, `promo_expired`,
    /// `promo_not_eligible`, `promo_exhausted`, in that order.
    pub fn plan(
        &self,
        mut draft: Draft<'_>,
        key: Option<&IdempotencyKey>,
        facts: &PromoFacts,
    ) -> Result<(Receipt, Option<Plan>), Unplanned> {
        let (promo, quantity) = facts.eligible(&draft, Offer::granted)?;
        let account = draft.account().id.clone();
        let redemption = facts.redemption(promo, &account)?;
        let seq = draft.account().head.seq.next();
        let valid_days = promo.terms.lot_valid_days;
        let birth = issue(&mut draft, "promo_grant", &self.code, quantity, valid_days);
        let receipt = Receipt {
            id: self.id(&account),
            fingerprint: self.fingerprint(),
            key: key.cloned(),
            seq,
            amount: quantity,
            slices: vec![Slice {
                amount: quantity,
                birth,
            }],
            after: draft.account().balance(),
            reference: Reference::of("promo", &self.code),
            returned: Connects::ZERO,
        };
        let receipt_is_new = Guard::NewReceipt(receipt.clone());
        let guards = std::iter::once(receipt_is_new).chain(redemption.guards());
        let (_, plan) = draft.finish(guards.collect());
        Ok((receipt, plan))
    }

    /// Whether this account may redeem the code now.
    ///
    /// # Errors
    /// As for [`RedeemCommand::plan`], but for what needs the slots.
    pub fn admitted(&self, draft: &Draft<'_>, facts: &PromoFacts) -> Result<(), Refusal> {
        facts.eligible(draft, Offer::granted).map(|_| ())
    }
}

/// The answer to a redemption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct RedeemAnswer {
    /// The code.
    pub code: PromoCode,
    /// How many Connects it gave.
    pub amount: Connects,
    /// The lot they are in.
    pub lot_id: Option<LotId>,
    /// The balance after it.
    pub balance: Balance,
}

impl RedeemAnswer {
    /// Of the receipt of a redemption, which is about the code that was redeemed.
    pub fn of(code: &PromoCode, receipt: &Receipt) -> Self {
        let redeemed = receipt.reference.as_str().strip_prefix("promo:");
        let redeemed = redeemed.and_then(|redeemed| PromoCode::try_new(redeemed).ok());
        Self {
            code: redeemed.unwrap_or_else(|| code.clone()),
            amount: receipt.amount,
            lot_id: receipt.slices.first().map(|slice| slice.birth.id),
            balance: receipt.after,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::policy::built_in;
    use super::super::testing::{at, draft, opened};
    use super::*;

    fn terms(max: Option<u64>) -> Terms {
        Terms {
            offer: Offer::Grant {
                quantity: Connects::new(5),
            },
            valid_from: time::parse("2026-01-01T00:00:00Z").unwrap(),
            valid_until: time::parse("2027-01-01T00:00:00Z").unwrap(),
            max_redemptions: max,
            kinds: None,
            plans: None,
            lot_valid_days: None,
        }
    }

    fn code() -> PromoCode {
        PromoCode::try_new("spring-26").unwrap()
    }

    #[test]
    fn slots_grow_with_the_limit() {
        for (max, slots) in [
            (Some(1), 1),
            (Some(1_000), 1),
            (Some(1_001), 2),
            (Some(16_000), 16),
            (Some(1_000_000), 16),
            (Some(0), 1),
            (None, 16),
        ] {
            let (promo, made) = set_terms(&code(), terms(max), None).unwrap();
            assert_eq!(
                (promo.slots, made.len()),
                (slots, slots as usize),
                "{max:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn caps_add_up_to_the_limit_and_cover_what_is_used(
            first in 1_u64..40_000,
            second in 0_u64..40_000,
            taken in prop::collection::vec(0_u64..3_000, 16),
        ) {
            let (promo, mut slots) = set_terms(&code(), terms(Some(first)), None).unwrap();
            prop_assert_eq!(slots.iter().filter_map(|slot| slot.cap).sum::<u64>(), first);
            for (slot, taken) in slots.iter_mut().zip(taken) {
                slot.used = taken.min(slot.cap.unwrap());
            }
            let redeemed: u64 = slots.iter().map(|slot| slot.used).sum();
            let state = (promo, slots);
            match set_terms(&code(), terms(Some(second)), Some(&state)) {
                Ok((promo, slots)) => {
                    prop_assert_eq!(promo.version, 2);
                    prop_assert!(slots.len() >= state.1.len());
                    prop_assert_eq!(slots.iter().filter_map(|slot| slot.cap).sum::<u64>(), second);
                    prop_assert!(slots.iter().all(|slot| slot.used <= slot.cap.unwrap()));
                }
                Err(refusal) => {
                    prop_assert!(second < redeemed);
                    prop_assert_eq!(refusal, Refusal::PromoInUse { redeemed });
                }
            }
        }
    }

    fn limited(max: u64) -> PromoState {
        set_terms(&code(), terms(Some(max)), None).unwrap()
    }

    #[test]
    fn a_code_ends_after_it_begins() {
        let ends_at = |text: &str| {
            let valid_until = at(text);
            let terms = Terms {
                valid_until,
                ..terms(None)
            };
            set_terms(&code(), terms, None).is_ok()
        };
        assert!(ends_at("2026-01-01T00:00:00.001Z"));
        assert!(!ends_at("2026-01-01T00:00:00Z"));
        assert!(!ends_at("2025-12-31T00:00:00Z"));
    }

    #[test]
    fn an_account_looks_for_room_from_its_own_slot_on() {
        let (promo, mut slots) = limited(3_000);
        let accounts: Vec<AccountId> = (0..40)
            .map(|n| AccountId::try_new(&format!("a{n}")).unwrap())
            .collect();
        let firsts: std::collections::BTreeSet<u32> =
            accounts.iter().map(|id| promo.first_slot(id)).collect();
        assert_eq!(
            Vec::from_iter(firsts),
            [0, 1, 2],
            "accounts spread over all slots"
        );
        for full in 0..=3 {
            for id in &accounts {
                let first = promo.first_slot(id);
                let order = [first, (first + 1) % 3, (first + 2) % 3];
                let expected = order.into_iter().find(|n| *n >= full);
                assert_eq!(promo.slot_with_room(id, &slots), expected);
            }
            if let Some(slot) = slots.get_mut(full as usize) {
                slot.used = 1_000;
            }
        }
        let (unlimited, mut slots) = set_terms(&code(), terms(None), None).unwrap();
        slots[0].used = u64::MAX;
        let first = unlimited.first_slot(&accounts[0]);
        assert_eq!(unlimited.slot_with_room(&accounts[0], &slots), Some(first));
    }

    #[test]
    fn a_code_is_redeemed_by_those_it_is_for_in_its_time() {
        let policy = built_in();
        let command = RedeemCommand { code: code() };
        let redeem = |kind, now: &str, terms: Terms, more: fn(&mut PromoFacts)| {
            let (promo, slots) = set_terms(&code(), terms, None).unwrap();
            let mut facts = PromoFacts {
                promo: Some(promo),
                slots: Some(slots),
                single_use: None,
            };
            more(&mut facts);
            let draft = draft(&policy, opened(&policy, kind), now);
            command
                .plan(draft, None, &facts)
                .map(|(receipt, _)| receipt)
        };
        let is = |refusal: Refusal| Err(Unplanned::Refused(refusal));
        let (begin, end) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        let any = || terms(Some(1));
        let none = |_: &mut PromoFacts| {};
        let agency = Kind::Agency;

        let receipt = redeem(agency, begin, any(), none).unwrap();
        assert_eq!(
            (receipt.amount, receipt.slices.len()),
            (Connects::new(5), 1)
        );
        assert_eq!(receipt.slices[0].birth.expires_on.to_string(), "2027-01-01");
        assert_eq!(receipt.after.available, Connects::new(5));
        let short = Terms {
            lot_valid_days: Some(14),
            ..any()
        };
        let receipt = redeem(agency, begin, short, none).unwrap();
        assert_eq!(receipt.slices[0].birth.expires_on.to_string(), "2026-01-15");

        let early = "2025-12-31T23:59:59.999Z";
        let late = "2026-12-31T23:59:59.999Z";
        assert_eq!(
            redeem(agency, early, any(), none),
            is(Refusal::PromoNotStarted)
        );
        assert!(redeem(agency, late, any(), none).is_ok());
        assert_eq!(redeem(agency, end, any(), none), is(Refusal::PromoExpired));

        let kinds = Terms {
            kinds: Some(vec![Kind::Freelancer]),
            ..any()
        };
        assert!(redeem(Kind::Freelancer, begin, kinds.clone(), none).is_ok());
        assert_eq!(
            redeem(agency, begin, kinds, none),
            is(Refusal::PromoNotEligible)
        );
        let plans = Terms {
            plans: Some(vec![AccountPlan::Plus]),
            ..any()
        };
        assert_eq!(
            redeem(agency, begin, plans, none),
            is(Refusal::PromoNotEligible)
        );

        let unknown = redeem(agency, begin, any(), |facts| facts.promo = None);
        assert_eq!(unknown, is(Refusal::PromoUnknown));
        let full = redeem(agency, begin, any(), |facts| {
            facts.slots.as_mut().unwrap()[0].used = 1;
        });
        assert_eq!(full, is(Refusal::PromoExhausted));
        let changed = redeem(agency, begin, any(), |facts| {
            facts.slots.as_mut().unwrap()[0].version = 2;
        });
        assert_eq!(changed, Err(Unplanned::Stale));
        let unread = redeem(agency, begin, any(), |facts| facts.slots = None);
        assert!(unread.is_ok());
    }

    fn cents(amount: u64) -> Money {
        Money {
            amount,
            currency: "USD".to_owned(),
        }
    }

    fn percent(percent_off: u64) -> Offer {
        Offer::Discount(Discount::Percent { percent_off })
    }

    fn amount(amount_off: Money) -> Offer {
        Offer::Discount(Discount::Amount { amount_off })
    }

    #[test]
    fn a_discount_is_exact_and_at_most_the_price() {
        for (offer, price, off) in [
            (percent(20), 1_500, 300),
            // 49.5 and 0.15: a part of a cent is the customer's.
            (percent(33), 150, 50),
            (percent(1), 15, 1),
            (percent(100), 555, 555),
            (percent(99), 1_000_000_000_000, 990_000_000_000),
            (amount(cents(200)), 1_500, 200),
            (amount(cents(1_500)), 1_500, 1_500),
            (amount(cents(1_501)), 1_500, 1_500),
        ] {
            let brought = offer.brought(&cents(price));
            assert_eq!(brought, Some((Connects::ZERO, cents(off))), "{offer:?}");
        }
        let euros = Money {
            currency: "EUR".to_owned(),
            ..cents(200)
        };
        assert_eq!(amount(euros.clone()).brought(&cents(1_500)), None);
        let fits = |offer| {
            Terms {
                offer,
                ..terms(None)
            }
            .check(&built_in())
        };
        assert_eq!(fits(amount(cents(200))), Ok(()));
        assert!(fits(amount(euros)).is_err());
    }

    #[test]
    fn terms_of_each_kind_read_back_as_they_were_written() {
        for (offer, members) in [
            (
                Offer::Grant {
                    quantity: Connects::new(5),
                },
                r#""kind":"grant","quantity":5"#,
            ),
            (
                Offer::Bonus {
                    quantity: Connects::new(20),
                },
                r#""kind":"bonus","quantity":20"#,
            ),
            (percent(20), r#""kind":"discount","percent_off":20"#),
            (
                amount(cents(200)),
                r#""kind":"discount","amount_off":{"amount":200,"currency":"USD"}"#,
            ),
        ] {
            let terms = Terms {
                offer,
                ..terms(Some(3))
            };
            let (promo, slots) = set_terms(&code(), terms, None).unwrap();
            let shown = serde_json::to_string(&PromoView::of(&promo, &slots)).unwrap();
            let begin = format!(r#"{{"code":"SPRING-26",{members},"valid_from""#);
            assert!(shown.starts_with(&begin), "{shown}");
            let item: serde_dynamo::Item = serde_dynamo::to_item(&promo).unwrap();
            assert_eq!(serde_dynamo::from_item::<_, Promo>(item).unwrap(), promo);
        }
    }

    #[test]
    fn a_code_stays_of_its_kind() {
        let other = Terms {
            offer: percent(10),
            ..terms(Some(9))
        };
        let refused = set_terms(&code(), other.clone(), Some(&limited(9)));
        let Err(Refusal::Invalid(invalid)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(invalid.field, "kind");
        let discount = set_terms(&code(), other, None).unwrap();
        let more = Terms {
            offer: amount(cents(9)),
            ..terms(Some(9))
        };
        assert!(set_terms(&code(), more, Some(&discount)).is_ok());
    }

    #[test]
    fn what_rides_on_a_purchase_is_reserved_under_the_conditions_of_a_redemption() {
        use super::super::ids::Operation;
        use super::super::testing::operation;

        let policy = built_in();
        let (begin, end) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        let bonus = |max| Terms {
            offer: Offer::Bonus {
                quantity: Connects::new(20),
            },
            ..terms(Some(max))
        };
        let used_by = |status| {
            let id = operation(Operation::Purchase, "other");
            let fingerprint = Fingerprint::of(Operation::Purchase, &());
            let many = Connects::new(100);
            let other = Purchase::pending(id, fingerprint, many, cents(1), "m".into(), at(begin));
            Some(Purchase { status, ..other })
        };
        let reserve = |now: &str, terms: Terms, used: u64, used_by: Option<Purchase>| {
            let (promo, mut slots) = set_terms(&code(), terms, None).unwrap();
            slots[0].used = used;
            let facts = PromoFacts {
                promo: Some(promo),
                slots: Some(slots),
                single_use: None,
            };
            let draft = draft(&policy, opened(&policy, Kind::Agency), now);
            Reservation::new(&draft, &facts, used_by.as_ref(), &cents(1_500))
        };
        let is = |refusal: Refusal| Err(Unplanned::Refused(refusal));

        let reserved = reserve(begin, bonus(1), 0, None).unwrap();
        let redemption = Redemption {
            code: code(),
            slot: 0,
            version: 1,
            single_use: None,
        };
        assert_eq!(reserved.redemption, redemption);
        assert_eq!(
            (reserved.bonus, reserved.discount.amount),
            (Connects::new(20), 0)
        );
        let fifth = Terms {
            offer: percent(20),
            ..terms(None)
        };
        let reserved = reserve(begin, fifth, 0, None).unwrap();
        assert_eq!(
            (reserved.bonus, reserved.discount.amount),
            (Connects::ZERO, 300)
        );

        let early = "2025-12-31T23:59:59.999Z";
        let elsewhere = Terms {
            plans: Some(vec![AccountPlan::Plus]),
            ..bonus(1)
        };
        for (now, terms, used, refusal) in [
            (early, bonus(1), 1, Refusal::PromoNotStarted),
            (end, bonus(1), 1, Refusal::PromoExpired),
            (begin, elsewhere, 1, Refusal::PromoNotEligible),
            (begin, terms(Some(1)), 1, Refusal::PromoNotEligible),
            (begin, bonus(1), 1, Refusal::PromoExhausted),
        ] {
            assert_eq!(reserve(now, terms, used, None), is(refusal));
        }
        for status in [
            PurchaseStatus::Pending,
            PurchaseStatus::Paid,
            PurchaseStatus::ChargedBack,
        ] {
            let again = reserve(begin, bonus(1), 1, used_by(status));
            let told = matches!(
                again,
                Err(Unplanned::Refused(Refusal::PromoAlreadyRedeemed { .. }))
            );
            assert!(told, "{again:?}");
        }
        let given_back = reserve(begin, bonus(1), 1, used_by(PurchaseStatus::Declined));
        assert_eq!(given_back, Err(Unplanned::Stale));
    }

    #[test]
    fn a_suspended_account_redeems_nothing() {
        let policy = built_in();
        let mut draft = draft(
            &policy,
            opened(&policy, Kind::Agency),
            "2026-01-01T00:00:00Z",
        );
        draft.change_profile("suspended", None, |profile| {
            profile.status = Status::Suspended;
        });
        let facts = PromoFacts {
            promo: Some(limited(1).0),
            slots: None,
            single_use: None,
        };
        let command = RedeemCommand { code: code() };
        let admitted = command.admitted(&draft, &facts);
        assert_eq!(admitted, Err(Refusal::AccountSuspended));
        let refused = command.plan(draft, None, &facts);
        assert_eq!(refused, Err(Refusal::AccountSuspended.into()));
    }

    #[test]
    fn a_single_use_code_is_used_up_by_its_redemption() {
        let policy = built_in();
        let single = PromoCode::try_new("SPRING-26-22223-AAAAA-AAAAA").unwrap();
        let command = RedeemCommand {
            code: single.clone(),
        };
        let redeem = |is_used| {
            let (promo, slots) = limited(9);
            let facts = PromoFacts {
                promo: Some(promo),
                slots: Some(slots),
                single_use: Some(SingleUse {
                    code: single.clone(),
                    is_used,
                }),
            };
            let account = opened(&policy, Kind::Agency);
            let draft = draft(&policy, account, "2026-01-01T00:00:00Z");
            command.plan(draft, None, &facts)
        };
        let (receipt, plan) = redeem(false).unwrap();
        let redemption = Redemption {
            code: code(),
            slot: 0,
            version: 1,
            single_use: Some(single.clone()),
        };
        let guards = plan.unwrap().guards;
        assert_eq!(
            guards[1..],
            [
                Guard::Redemption(redemption),
                Guard::CodeUsed(single.clone())
            ]
        );
        assert_eq!(receipt.reference, Reference::of("promo", &single));
        assert_eq!(redeem(true), Err(Refusal::PromoExhausted.into()));

        // Once for each account and promo: its other codes find the receipt, and are told of this one.
        let account = AccountId::try_new("a1").unwrap();
        let id = |code: &str| {
            let code = PromoCode::try_new(code).unwrap();
            RedeemCommand { code }.id(&account)
        };
        assert_eq!(id(single.as_str()), id("SPRING-26-22224-BBBBB-BBBBB"));
        assert_ne!(id(single.as_str()), id("SPRING-27-22223-AAAAA-AAAAA"));
        let other = PromoCode::try_new("SPRING-26-22224-BBBBB-BBBBB").unwrap();
        assert_eq!(RedeemAnswer::of(&other, &receipt).code, single);
    }

    #[test]
    fn a_promo_is_named_by_its_own_code_or_by_its_single_use_codes_alone() {
        let single = PromoCode::try_new("SPRING-26-22223-AAAAA-AAAAA").unwrap();
        let place = Place::of(&single);
        let (empty, plain) = (Page::stored(vec![]), limited(9).0);
        assert!(plain.is_named(&code(), None, None));
        assert!(!plain.is_named(&single, place.as_ref(), Some(&empty)));
        let batch = Promo {
            single_use_codes: Some(1),
            ..plain
        };
        assert!(!batch.is_named(&code(), None, None));
        assert!(!batch.is_named(&single, place.as_ref(), None));
        assert!(!batch.is_named(&single, place.as_ref(), Some(&empty)));
        // No new promo is named like one of another's codes.
        assert!(set_terms(&single, terms(None), None).is_err());
    }

    #[test]
    fn operators_see_how_often_a_code_was_redeemed() {
        let (promo, mut slots) = limited(2_000);
        (slots[0].used, slots[1].used) = (3, 4);
        assert_eq!(PromoView::of(&promo, &slots).redeemed, 7);
    }
}
