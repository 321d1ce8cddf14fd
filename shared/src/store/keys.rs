//! Partition and sort keys.
//!
//! `ENTRY < LOT < PROFILE < RECEIPT, REDEMPTION, SEEN, SETTING` is deliberate, and nothing else may sort between `ENTRY`
//! and `PROFILE`: one reverse query from `PROFILE` on reads the whole state of an account.

use std::fmt::Display;
use std::hash::Hash;

use chrono::NaiveDate;
use sha2::{Digest, Sha256};

use crate::domain::closure::ClosureReason;
use crate::domain::ids::{AccountId, JobId, LotId, OperationId, PersonId, PromoCode, Seq};
use crate::domain::lot::Birth;
use crate::domain::quota::Quota;
use crate::domain::time::{self, Time};

/// Shards of each kind of due work.
pub const DUE_SHARDS: u32 = 64;

pub const PROFILE: &str = "PROFILE";
pub const PERSON: &str = "SIGNUP";
pub const JOB: &str = "JOB";
pub const AUCTION: &str = "AUCTION";
pub const PROMO: &str = "PROMO";
pub const SLOT: &str = "SLOT";
/// Marks of a promo's single-use codes.
pub const CODES: &str = "CODES";
/// What a promo's single-use codes follow from.
pub const EXPORT: &str = "EXPORT";
/// That a single-use code is used.
pub const USED: &str = "USED";
pub const SANDBOX: &str = "CHARGE";
/// An account's availability badge.
pub const BADGE: &str = "SETTING#BADGE";
/// An account's top-up.
pub const TOP_UP: &str = "SETTING#TOP_UP";
/// The partition of the badge's prices.
pub const BADGE_PRICES: &str = "BADGE";
pub const LOT_PREFIX: &str = "LOT#";
pub const ENTRY_PREFIX: &str = "ENTRY#";
pub const RECEIPT_PREFIX: &str = "RECEIPT#";
pub const REDEMPTION_PREFIX: &str = "REDEMPTION#";

pub const CLOSURE_PREFIX: &str = "CLOSURE#";
pub const PROPOSAL_PREFIX: &str = "PROPOSAL#";
pub const BADGE_PRICE_PREFIX: &str = "PRICE#";

const ACCOUNT_PREFIX: &str = "ACCOUNT#";
const JOB_PREFIX: &str = "JOB#";
/// Named by a policy of template.yaml.
const QUOTA_PREFIX: &str = "QUOTA#";

/// What has a partition with due work in it.
pub trait Owner: Clone + Ord + Hash + Display {
    /// The one whose partition this is.
    fn of(pk: &str) -> Option<Self>;
}

impl Owner for AccountId {
    fn of(pk: &str) -> Option<Self> {
        Self::try_new(pk.strip_prefix(ACCOUNT_PREFIX)?).ok()
    }
}

impl Owner for JobId {
    fn of(pk: &str) -> Option<Self> {
        Self::try_new(pk.strip_prefix(JOB_PREFIX)?).ok()
    }
}

pub fn account(id: &AccountId) -> String {
    format!("{ACCOUNT_PREFIX}{id}")
}

/// The partition of an account's quotas: a role may be allowed these alone, by their prefix.
pub fn quota(id: &AccountId) -> String {
    format!("{QUOTA_PREFIX}{id}")
}

pub fn bucket(quota: Quota) -> String {
    quota.as_str().to_uppercase()
}

pub fn person(id: &PersonId) -> String {
    format!("PERSON#{id}")
}

pub fn job(id: &JobId) -> String {
    format!("{JOB_PREFIX}{id}")
}

pub fn closure(reason: ClosureReason) -> String {
    format!("{CLOSURE_PREFIX}{}", reason.as_str())
}

pub fn contract(account: &AccountId) -> String {
    format!("CONTRACT#{account}")
}

pub fn proposal(account: &AccountId) -> String {
    format!("{PROPOSAL_PREFIX}{account}")
}

pub fn promo(code: &PromoCode) -> String {
    format!("PROMO#{code}")
}

pub fn promo_slot(code: &PromoCode, slot: u32) -> String {
    format!("PROMO#{code}#{slot}")
}

/// A page of marks is beside the slot of its number.
pub fn codes_page(code: &PromoCode, page: u32) -> String {
    promo_slot(code, page)
}

pub fn sandbox(id: &OperationId) -> String {
    format!("SANDBOX#{id}")
}

/// Twelve digits: a million entries a second would fill them in eleven days, a thousand in thirty
/// years.
pub fn entry(seq: Seq) -> String {
    format!("{ENTRY_PREFIX}{:012}", seq.get())
}

pub fn lot(birth: &Birth) -> String {
    format!("{LOT_PREFIX}{}#{}", time::text(birth.issued_at), birth.id)
}

pub fn receipt(id: &OperationId) -> String {
    format!("{RECEIPT_PREFIX}{id}")
}

/// That an account has used a code for a purchase.
pub fn redemption(code: &PromoCode) -> String {
    format!("{REDEMPTION_PREFIX}{code}")
}

pub fn expiry_notice(lot: LotId, days: u32) -> String {
    format!("SEEN#expiry#{lot}#{days}")
}

pub fn badge_notice(paid_until: Time, revision: u64) -> String {
    format!("SEEN#badge_off#{}#{revision}", time::text(paid_until))
}

/// That a balance became low with that entry.
pub fn low_balance_notice(crossing: Seq) -> String {
    format!("SEEN#low_balance#{:012}", crossing.get())
}

pub fn top_up_notice(purchase: &OperationId) -> String {
    format!("SEEN#top_up_off#{purchase}")
}

/// The price of the week that begins on that Monday.
pub fn badge_price(monday: NaiveDate) -> String {
    format!("{BADGE_PRICE_PREFIX}{monday}")
}

/// The shard that an owner's due work of one kind is in.
pub fn due_shard(kind: DueKind, owner: &impl Owner) -> String {
    let digest = Sha256::digest(owner.to_string());
    let spread = u32::from_be_bytes([digest[4], digest[5], digest[6], digest[7]]);
    due_shard_numbered(kind, spread % DUE_SHARDS)
}

pub fn due_shard_numbered(kind: DueKind, shard: u32) -> String {
    format!("{}#{shard}", kind.as_str())
}

/// The kinds of due work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueKind {
    /// Lots to tell about or to expire.
    Expiry,
    /// Accounts whose cycle begins.
    Grant,
    /// Purchases whose payment is open.
    Payment,
    /// Closures of jobs that are not carried out.
    Closure,
    /// Open holds that end by themselves.
    Hold,
    /// Auctions to end or to settle, and bids to release.
    Auction,
    /// Badges that are on: whose paid weeks are to be renewed.
    Badge,
    /// Top-ups that are wanted.
    TopUp,
}

impl DueKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Expiry => "expiry",
            Self::Grant => "grant",
            Self::Payment => "payment",
            Self::Closure => "closure",
            Self::Hold => "hold",
            Self::Auction => "auction",
            Self::Badge => "badge",
            Self::TopUp => "top_up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reverse_query_from_the_profile_meets_lots_then_the_newest_entry() {
        assert!(ENTRY_PREFIX < LOT_PREFIX);
        assert!(LOT_PREFIX < PROFILE);
        assert!(PROFILE < RECEIPT_PREFIX);
        assert!(RECEIPT_PREFIX < REDEMPTION_PREFIX);
        assert!(REDEMPTION_PREFIX < "SEEN#");
        assert!(PROFILE < BADGE && PROFILE < TOP_UP);
    }

    #[test]
    fn entries_sort_by_their_numbers() {
        assert_eq!(entry(Seq::new(42)), "ENTRY#000000000042");
        assert!(entry(Seq::new(9)) < entry(Seq::new(10)));
    }
}
