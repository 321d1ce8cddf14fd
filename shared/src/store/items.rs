//! Items: how what the domain knows is laid out in the table, and read back with every invariant
//! checked again.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::NaiveDate;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::domain::account::{Balance, Kind, Plan, Profile, Status};
use crate::domain::bid::{Bid, BidState};
use crate::domain::closure::ClosureReason;
use crate::domain::hold::{Ended, Hold, HoldState};
use crate::domain::ids::{
    AccountId, Fingerprint, JobId, LotId, OperationId, PersonId, Reason, Reference, Seq,
};
use crate::domain::journal::{Entry, EntryType};
use crate::domain::key::IdempotencyKey;
use crate::domain::lot::{Birth, Lot, Source, total};
use crate::domain::low_balance::LowBalance;
use crate::domain::proposal::{Decision, FreeReason, Proposal, ProposalState};
use crate::domain::receipt::Receipt;
use crate::domain::seal::{FORMAT, Seal};
use crate::domain::time::{self, Time};
use crate::domain::units::Connects;

use super::StoreError;

/// An item as the SDK has it.
pub type Item = HashMap<String, AttributeValue>;

/// A string attribute.
pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A string attribute's value.
pub fn text_of<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// Lays out any serde value under a key.
pub fn to_item(pk: String, sk: String, value: &impl Serialize) -> Result<Item, StoreError> {
    let mut item: Item =
        serde_dynamo::to_item(value).map_err(|error| StoreError::unreadable("item", error))?;
    // An absent optional value has no attribute.
    item.retain(|_, attribute| !attribute.is_null());
    item.insert("pk".to_owned(), text(pk));
    item.insert("sk".to_owned(), text(sk));
    Ok(item)
}

/// Reads any serde value, whatever else the item holds.
pub fn from_item<T: for<'de> Deserialize<'de>>(item: Item) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| StoreError::unreadable("item", error))
}

#[derive(Serialize, Deserialize)]
pub struct EntryItem {
    seq: Seq,
    #[serde(with = "time::as_text")]
    at: Time,
    #[serde(with = "time::as_text")]
    effective_at: Time,
    r#type: EntryType,
    reason: Reason,
    amount: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lots: Vec<String>,
    available: Connects,
    held: Connects,
    debt: Connects,
    #[serde(default)]
    reference: Option<Reference>,
    policy: u32,
    format: u32,
    profile_seq: Seq,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pending: Vec<String>,
    prev_hash: String,
    hash: String,
}

impl From<&Entry> for EntryItem {
    fn from(entry: &Entry) -> Self {
        Self {
            seq: entry.seq,
            at: entry.at,
            effective_at: entry.effective_at,
            r#type: entry.entry_type,
            reason: entry.reason.clone(),
            amount: entry.amount,
            lots: packed(&entry.slices),
            available: entry.after.available,
            held: entry.after.held,
            debt: entry.after.debt,
            reference: entry.reference.clone(),
            policy: entry.policy_version,
            format: FORMAT,
            profile_seq: entry.profile_seq,
            pending: packed(&entry.pending),
            prev_hash: entry.prev_hash.to_string(),
            hash: entry.hash.to_string(),
        }
    }
}

impl TryFrom<EntryItem> for Entry {
    type Error = StoreError;

    fn try_from(item: EntryItem) -> Result<Self, StoreError> {
        if item.format != FORMAT {
            return Err(StoreError::unreadable(
                "entry",
                format!("format {} is not known", item.format),
            ));
        }
        Ok(Self {
            seq: item.seq,
            at: item.at,
            effective_at: item.effective_at,
            entry_type: item.r#type,
            reason: item.reason,
            amount: item.amount,
            slices: unpacked(&item.lots)?,
            after: Balance {
                available: item.available,
                held: item.held,
                debt: item.debt,
            },
            reference: item.reference,
            policy_version: item.policy,
            profile_seq: item.profile_seq,
            pending: unpacked(&item.pending)?,
            prev_hash: seal(&item.prev_hash)?,
            hash: seal(&item.hash)?,
        })
    }
}

fn seal(text: &str) -> Result<Seal, StoreError> {
    HEXLOWER
        .decode(text.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .map(Seal)
        .ok_or_else(|| StoreError::unreadable("entry", "a hash is not 64 hex digits"))
}

fn packed(values: &[impl Display]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn unpacked<T: FromStr<Err: Display>>(texts: &[String]) -> Result<Vec<T>, StoreError> {
    texts
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()
        .map_err(|error: T::Err| StoreError::unreadable("slices", error))
}

#[derive(Serialize, Deserialize)]
pub struct LotItem {
    lot_id: LotId,
    source: Source,
    #[serde(with = "time::as_text")]
    issued_at: Time,
    expires_on: NaiveDate,
    quantity: Connects,
    remaining: Connects,
}

impl From<&Lot> for LotItem {
    fn from(lot: &Lot) -> Self {
        let birth = lot.birth();
        Self {
            lot_id: birth.id,
            source: birth.source,
            issued_at: birth.issued_at,
            expires_on: birth.expires_on,
            quantity: birth.quantity,
            remaining: lot.remaining(),
        }
    }
}

impl TryFrom<LotItem> for Lot {
    type Error = StoreError;

    fn try_from(item: LotItem) -> Result<Self, StoreError> {
        let birth = Birth {
            id: item.lot_id,
            source: item.source,
            issued_at: item.issued_at,
            expires_on: item.expires_on,
            quantity: item.quantity,
        };
        Self::with_remaining(birth, item.remaining)
            .ok_or_else(|| StoreError::unreadable("lot", "holds more than it was issued with"))
    }
}

#[derive(Serialize, Deserialize)]
pub struct ProfileItem {
    kind: Kind,
    person_id: PersonId,
    plan: Plan,
    status: Status,
    opened_on: NaiveDate,
    anchor: NaiveDate,
    next_grant_on: NaiveDate,
    #[serde(default)]
    pending_plan: Option<Plan>,
    #[serde(default)]
    lapsed_cycle: Option<NaiveDate>,
    #[serde(default)]
    low_balance: Option<LowBalance>,
    seq: Seq,
}

impl From<&Profile> for ProfileItem {
    fn from(profile: &Profile) -> Self {
        Self {
            kind: profile.kind,
            person_id: profile.person_id.clone(),
            plan: profile.plan,
            status: profile.status,
            opened_on: profile.opened_on,
            anchor: profile.anchor,
            next_grant_on: profile.next_grant_on,
            pending_plan: profile.pending_plan,
            lapsed_cycle: profile.lapsed_cycle,
            low_balance: profile.low_balance,
            seq: profile.seq,
        }
    }
}

impl From<ProfileItem> for Profile {
    fn from(item: ProfileItem) -> Self {
        Self {
            kind: item.kind,
            person_id: item.person_id,
            plan: item.plan,
            status: item.status,
            opened_on: item.opened_on,
            anchor: item.anchor,
            next_grant_on: item.next_grant_on,
            pending_plan: item.pending_plan,
            lapsed_cycle: item.lapsed_cycle,
            low_balance: item.low_balance,
            seq: item.seq,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub struct ReceiptItem {
    id: OperationId,
    fingerprint: Fingerprint,
    #[serde(default)]
    key: Option<IdempotencyKey>,
    entry: Seq,
    amount: Connects,
    lots: Vec<String>,
    available: Connects,
    held: Connects,
    debt: Connects,
    reference: Reference,
    returned: Connects,
}

impl From<&Receipt> for ReceiptItem {
    fn from(receipt: &Receipt) -> Self {
        Self {
            id: receipt.id.clone(),
            fingerprint: receipt.fingerprint.clone(),
            key: receipt.key.clone(),
            entry: receipt.seq,
            amount: receipt.amount,
            lots: packed(&receipt.slices),
            available: receipt.after.available,
            held: receipt.after.held,
            debt: receipt.after.debt,
            reference: receipt.reference.clone(),
            returned: receipt.returned,
        }
    }
}

impl TryFrom<ReceiptItem> for Receipt {
    type Error = StoreError;

    fn try_from(item: ReceiptItem) -> Result<Self, StoreError> {
        if item.returned > item.amount {
            return Err(StoreError::unreadable(
                "receipt",
                "more came back than was spent",
            ));
        }
        Ok(Self {
            id: item.id,
            fingerprint: item.fingerprint,
            key: item.key,
            seq: item.entry,
            amount: item.amount,
            slices: unpacked(&item.lots)?,
            after: Balance {
                available: item.available,
                held: item.held,
                debt: item.debt,
            },
            reference: item.reference,
            returned: item.returned,
        })
    }
}

/// A proposal is a receipt and what became of it.
#[derive(Serialize, Deserialize)]
pub struct ProposalItem {
    #[serde(flatten)]
    charge: ReceiptItem,
    job_id: JobId,
    account_id: AccountId,
    #[serde(default)]
    free_reason: Option<FreeReason>,
    job_version: u64,
    state: ProposalState,
    #[serde(default)]
    outcome: Option<Decision>,
    #[serde(default)]
    returned_for: Option<Reason>,
    #[serde(default)]
    kept_for: Option<Reason>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    settled_for: BTreeSet<ClosureReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boost: Option<Connects>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bid: Option<BidItem>,
    revision: u64,
}

/// A bid is a hold and what became of it.
#[derive(Serialize, Deserialize)]
struct BidItem {
    #[serde(flatten)]
    hold: HoldItem,
    bid_state: BidState,
    paid: Connects,
    #[serde(default, with = "time::as_text_if_any")]
    lost_at: Option<Time>,
    moved_by: Seq,
}

impl From<&Bid> for BidItem {
    fn from(bid: &Bid) -> Self {
        Self {
            hold: HoldItem::from(&bid.hold),
            bid_state: bid.state,
            paid: bid.paid,
            lost_at: bid.lost_at,
            moved_by: bid.entry,
        }
    }
}

impl TryFrom<BidItem> for Bid {
    type Error = StoreError;

    fn try_from(item: BidItem) -> Result<Self, StoreError> {
        Ok(Self {
            hold: item.hold.try_into()?,
            state: item.bid_state,
            paid: item.paid,
            lost_at: item.lost_at,
            entry: item.moved_by,
        })
    }
}

impl From<&Proposal> for ProposalItem {
    fn from(proposal: &Proposal) -> Self {
        Self {
            charge: ReceiptItem::from(&proposal.charge),
            job_id: proposal.job_id.clone(),
            account_id: proposal.account_id.clone(),
            free_reason: proposal.free_reason,
            job_version: proposal.job_version,
            state: proposal.state,
            outcome: proposal.outcome,
            returned_for: proposal.returned_for.clone(),
            kept_for: proposal.kept_for.clone(),
            settled_for: proposal.settled_for.clone(),
            boost: proposal.boost,
            bid: proposal.bid.as_deref().map(BidItem::from),
            revision: proposal.revision,
        }
    }
}

impl TryFrom<ProposalItem> for Proposal {
    type Error = StoreError;

    fn try_from(item: ProposalItem) -> Result<Self, StoreError> {
        Ok(Self {
            charge: item.charge.try_into()?,
            job_id: item.job_id,
            account_id: item.account_id,
            free_reason: item.free_reason,
            job_version: item.job_version,
            state: item.state,
            outcome: item.outcome,
            returned_for: item.returned_for,
            kept_for: item.kept_for,
            settled_for: item.settled_for,
            boost: item.boost,
            bid: item.bid.map(Bid::try_from).transpose()?.map(Box::new),
            revision: item.revision,
        })
    }
}

/// A hold is a receipt and what became of it.
#[derive(Serialize, Deserialize)]
pub struct HoldItem {
    #[serde(flatten)]
    taken: ReceiptItem,
    reason: Reason,
    #[serde(default, with = "time::as_text_if_any")]
    expires_at: Option<Time>,
    state: HoldState,
    #[serde(default)]
    ended: Option<Ended>,
    revision: u64,
}

impl From<&Hold> for HoldItem {
    fn from(hold: &Hold) -> Self {
        Self {
            taken: ReceiptItem::from(&hold.taken),
            reason: hold.reason.clone(),
            expires_at: hold.expires_at,
            state: hold.state,
            ended: hold.ended.clone(),
            revision: hold.revision,
        }
    }
}

impl TryFrom<HoldItem> for Hold {
    type Error = StoreError;

    fn try_from(item: HoldItem) -> Result<Self, StoreError> {
        let taken = Receipt::try_from(item.taken)?;
        if total(&taken.slices) != taken.amount {
            return Err(StoreError::unreadable(
                "hold",
                "its slices are not its amount",
            ));
        }
        Ok(Self {
            taken,
            reason: item.reason,
            expires_at: item.expires_at,
            state: item.state,
            ended: item.ended,
            revision: item.revision,
        })
    }
}

/// That an account has used a code: for which purchase.
#[derive(Serialize, Deserialize)]
pub struct RedemptionItem {
    pub purchase_id: OperationId,
}

/// That a single-use code is used: by whom.
#[derive(Serialize)]
pub struct UsedItem<'n> {
    pub account_id: &'n AccountId,
}

/// What a later notifier needs to tell a holder that a lot is about to lapse.
#[derive(Serialize)]
pub struct NoticeItem<'n> {
    pub account_id: &'n AccountId,
    pub lot_id: LotId,
    pub amount: Connects,
    pub expires_on: NaiveDate,
    pub days: u32,
    #[serde(with = "time::as_text")]
    pub noticed_at: Time,
}
