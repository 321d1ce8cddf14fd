//! What the world is told: one event for every journal entry, and one for every notice.
//!
//! An event says what its item in the table says, so whoever makes it twice makes the same one, with
//! the same id. Those of an account's entries carry the journal's numbers, without gaps: a
//! subscriber who may get them late, twice or out of order tells by them what is missing.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::badge::BadgeNotice;
use super::ids::{AccountId, Seq};
use super::journal::{Entry, EntryType, EntryView};
use super::lot::ExpiryNotice;
use super::low_balance::Crossing;
use super::time::Time;
use super::top_up::TopUpOff;
use super::units::Connects;

/// Who tells: every event's `source`.
pub const SOURCE: &str = "connects";

/// What every event's `detail-type` begins with.
const PREFIX: &str = "connects.";

/// An entry and what the holder owes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct EntryBooked {
    /// The entry, as an account's history has it.
    #[serde(flatten)]
    pub entry: EntryView,
    /// Owed after it.
    pub debt_after: Connects,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum What {
    /// An entry was booked.
    Entry(Box<EntryBooked>),
    /// A lot is about to lapse.
    LotExpiring(ExpiryNotice),
    /// An availability badge went off by itself.
    BadgeOff(BadgeNotice),
    /// A balance has become low.
    LowBalance(Crossing),
    /// A top-up went off by itself.
    TopUpOff(TopUpOff),
}

/// The `detail` of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct Event<W = What> {
    /// The same whenever the same is told: the account and its entry's number, or what the notice is
    /// about.
    pub event_id: String,
    /// Whose.
    pub account_id: AccountId,
    /// What.
    #[serde(flatten)]
    pub what: W,
}

/// The `detail-type` that a lot about to lapse is told under.
pub const LOT_EXPIRING: &str = "connects.lot_expiring";

/// The `detail-type` that a badge that went off is told under.
pub const BADGE_OFF: &str = "connects.badge_off";

/// The `detail-type` that a balance that became low is told under.
pub const LOW_BALANCE: &str = "connects.low_balance";

/// The `detail-type` that a top-up that went off is told under.
pub const TOP_UP_OFF: &str = "connects.top_up_off";

/// The `detail-type` of entries of that type.
pub fn of_entries(entry_type: EntryType) -> String {
    format!("{PREFIX}{}", entry_type.as_str())
}

/// The id of what an account's entry of that number, or a notice of that name, is told as.
pub fn id(account: &AccountId, what: impl std::fmt::Display) -> String {
    format!("{account}:{what}")
}

impl Event {
    /// Of an entry.
    pub fn of_entry(account: &AccountId, entry: Entry) -> Self {
        let seq: Seq = entry.seq;
        let debt_after = entry.after.debt;
        Self {
            event_id: id(account, seq),
            account_id: account.clone(),
            what: What::Entry(Box::new(EntryBooked {
                entry: entry.into(),
                debt_after,
            })),
        }
    }

    /// Of a notice of that name.
    pub fn of_notice(account: &AccountId, name: &str, what: What) -> Self {
        Self {
            event_id: id(account, name),
            account_id: account.clone(),
            what,
        }
    }

    /// What it is told under.
    pub fn detail_type(&self) -> String {
        match &self.what {
            What::Entry(booked) => of_entries(booked.entry.r#type),
            What::LotExpiring(_) => LOT_EXPIRING.to_owned(),
            What::BadgeOff(_) => BADGE_OFF.to_owned(),
            What::LowBalance(_) => LOW_BALANCE.to_owned(),
            What::TopUpOff(_) => TOP_UP_OFF.to_owned(),
        }
    }

    /// When it happened.
    pub fn at(&self) -> Time {
        match &self.what {
            What::Entry(booked) => booked.entry.at,
            What::LotExpiring(notice) => notice.noticed_at,
            What::BadgeOff(notice) => notice.noticed_at,
            What::LowBalance(crossing) => crossing.at,
            What::TopUpOff(off) => off.noticed_at,
        }
    }

    /// Reads one that was told under that type; none of a type that is not ours.
    ///
    /// # Errors
    /// When it has not the form of its type.
    pub fn read(detail_type: &str, detail: Value) -> Result<Option<Self>, serde_json::Error> {
        let read = match detail_type {
            LOT_EXPIRING => what(detail, What::LotExpiring)?,
            BADGE_OFF => what(detail, What::BadgeOff)?,
            LOW_BALANCE => what(detail, What::LowBalance)?,
            TOP_UP_OFF => what(detail, What::TopUpOff)?,
            other if other.starts_with(PREFIX) => {
                what(detail, |entry| What::Entry(Box::new(entry)))?
            }
            _ => return Ok(None),
        };
        Ok(Some(read))
    }
}

fn what<W: DeserializeOwned>(
    detail: Value,
    into: fn(W) -> What,
) -> Result<Event, serde_json::Error> {
    let event: Event<W> = serde_json::from_value(detail)?;
    Ok(Event {
        event_id: event.event_id,
        account_id: event.account_id,
        what: into(event.what),
    })
}
