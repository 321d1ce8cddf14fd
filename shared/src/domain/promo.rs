//! Promo codes: who may redeem them, when, and how many times in all.
//!
//! Redemptions are counted in slots, so that a popular code is not one hot item. The slots' caps
//! add up exactly to the limit, and each slot carries the version of the terms: taking one of its
//! redemptions checks in the same write that the code is still what was read.

use chrono::Days;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::account::{Balance, Kind, Plan as AccountPlan, Status};
use super::draft::{Draft, Guard, Plan, Unplanned};
use super::ids::{AccountId, Fingerprint, LotId, Operation, OperationId, PromoCode, Reference};
use super::key::IdempotencyKey;
use super::lot::Source;
use super::receipt::Receipt;
use super::refusal::{Invalid, Refusal};
use super::time::{self, Time};
use super::units::Connects;

/// Slots at most, and what an unlimited code has.
const MAX_SLOTS: u64 = 16;

/// Redemptions for each slot before there is another.
const REDEMPTIONS_PER_SLOT: u64 = 1_000;

/// What a code gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PromoKind {
    /// Free Connects, at once.
    Grant,
}

/// What a code promises, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct Terms {
    /// What it gives.
    pub kind: PromoKind,
    /// How many Connects.
    pub quantity: Connects,
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
    /// How often it was redeemed.
    pub redeemed: u64,
}

impl PromoView {
    /// Of a code and all its slots.
    pub fn of(promo: &Promo, slots: &[Slot]) -> Self {
        Self {
            code: promo.code.clone(),
            terms: promo.terms.clone(),
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
/// validity that ends before it begins.
pub fn set_terms(
    code: &PromoCode,
    terms: Terms,
    current: Option<&PromoState>,
) -> Result<PromoState, Refusal> {
    if terms.valid_until <= terms.valid_from {
        Err(Invalid::field("valid_until", "must be after valid_from"))?;
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
    };
    Ok((promo, slots))
}

/// The `n`th of `count` shares that add up to `whole`.
fn share(whole: u64, count: u64, n: u64) -> u64 {
    whole / count + u64::from(n < whole % count)
}

impl Promo {
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
}

impl RedeemCommand {
    /// One redemption for each account and code.
    pub fn id(&self, account: &AccountId) -> OperationId {
        OperationId::derive(account, Operation::Redemption, self.code.as_str())
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
        let promo = self.eligible(&draft, facts)?;
        let account = draft.account().id.clone();
        let slot = match &facts.slots {
            None => promo.first_slot(&account),
            // Slots that were read while the terms changed say nothing about what is left.
            Some(slots) if slots.iter().any(|slot| slot.version != promo.version) => {
                return Err(Unplanned::Stale);
            }
            Some(slots) => promo
                .slot_with_room(&account, slots)
                .ok_or(Refusal::PromoExhausted)?,
        };
        let terms = &promo.terms;
        let today = draft.now().date_naive();
        let expires_on = match terms.lot_valid_days {
            Some(days) => today + Days::new(days.into()),
            None => draft.policy().expires_on(today),
        };
        let reference = Reference::of("promo", &self.code);
        let seq = draft.account().head.seq.next();
        let born = draft.now();
        let birth = draft.issue_at(
            Source::Promo,
            "promo_grant",
            terms.quantity,
            Some(reference.clone()),
            born,
            expires_on,
        );
        let receipt = Receipt {
            id: self.id(&account),
            fingerprint: self.fingerprint(),
            key: key.cloned(),
            seq,
            amount: terms.quantity,
            slices: vec![super::lot::Slice {
                amount: terms.quantity,
                birth,
            }],
            after: draft.account().balance(),
            reference,
            returned: Connects::ZERO,
        };
        let (_, plan) = draft.finish(vec![
            Guard::NewReceipt(receipt.clone()),
            Guard::Redemption {
                code: promo.code.clone(),
                slot,
                version: promo.version,
            },
        ]);
        Ok((receipt, plan))
    }

    /// The code, if this account may redeem it now.
    ///
    /// # Errors
    /// As for [`RedeemCommand::plan`], but for what needs the slots.
    pub fn eligible<'f>(
        &self,
        draft: &Draft<'_>,
        facts: &'f PromoFacts,
    ) -> Result<&'f Promo, Refusal> {
        let profile = &draft.account().profile;
        if profile.status == Status::Suspended {
            return Err(Refusal::AccountSuspended);
        }
        let promo = facts.promo.as_ref().ok_or(Refusal::PromoUnknown)?;
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
        Ok(promo)
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
    /// Of a redemption of `code`.
    pub fn of(code: &PromoCode, receipt: &Receipt) -> Self {
        Self {
            code: code.clone(),
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
            kind: PromoKind::Grant,
            quantity: Connects::new(5),
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
        };
        let command = RedeemCommand { code: code() };
        let refused = command.plan(draft, None, &facts);
        assert_eq!(refused, Err(Refusal::AccountSuspended.into()));
    }

    #[test]
    fn operators_see_how_often_a_code_was_redeemed() {
        let (promo, mut slots) = limited(2_000);
        (slots[0].used, slots[1].used) = (3, 4);
        assert_eq!(PromoView::of(&promo, &slots).redeemed, 7);
    }
}
