//! The journal: one entry for every change, numbered without gaps, each sealing the one before.

use serde::{Deserialize, Serialize};

use super::account::Balance;
use super::ids::{Reason, Reference, Seq};
use super::lot::{Lot, Slice, SliceView, views};
use super::seal::Seal;
use super::time::{self, Time};
use super::units::Connects;

/// What an entry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EntryType {
    /// A new lot.
    Issue,
    /// Connects used.
    Spend,
    /// Connects back from a spend.
    Return,
    /// Connects set aside.
    Hold,
    /// Connects back from a hold.
    Release,
    /// Connects of a hold used.
    Capture,
    /// A lot's unused rest lapsed.
    Expire,
    /// The rest of a charged-back purchase taken away.
    Revoke,
    /// Connects used to cover what a charged-back purchase had already spent.
    DebtRepaid,
    /// The account itself changed; no Connects moved.
    Account,
    /// Lots of an earlier entry written; no Connects moved.
    Pending,
}

impl EntryType {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Spend => "spend",
            Self::Return => "return",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Capture => "capture",
            Self::Expire => "expire",
            Self::Revoke => "revoke",
            Self::DebtRepaid => "debt_repaid",
            Self::Account => "account",
            Self::Pending => "pending",
        }
    }
}

/// One journal entry. Never updated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the account, from 1.
    pub seq: Seq,
    /// When it was booked; never before the entry before it.
    pub at: Time,
    /// When what it books happened: an expiry's or a cycle's first instant, else `at`.
    pub effective_at: Time,
    /// What it did.
    pub entry_type: EntryType,
    /// Why.
    pub reason: Reason,
    /// The signed change of what is available.
    pub amount: i64,
    /// The lots it touched.
    pub slices: Vec<Slice>,
    /// Available, held and owed after it.
    pub after: Balance,
    /// What it is about.
    pub reference: Option<Reference>,
    /// The policy it was made under.
    pub policy_version: u32,
    /// The entry that last changed the profile, this one included; none where the same transaction
    /// goes on after this entry, so that nobody who misses the rest takes it for the newest.
    pub profile_seq: Seq,
    /// Lots whose items don't yet hold what this entry left in them; readers apply these, the next
    /// commit writes them.
    pub pending: Vec<Lot>,
    /// The seal of the entry before.
    pub prev_hash: Seal,
    /// Its own seal.
    pub hash: Seal,
}

impl Entry {
    /// The seal that this entry must carry if `lots` are the live lots after it, oldest first.
    pub fn seal(&self, lots: &[Lot]) -> Seal {
        Seal::of(self, lots)
    }
}

/// Of some entries of a journal, in order: those that one transaction booked, the entry of that number
/// among them. None where they don't reach from its first to its last.
pub fn transaction(entries: &[Entry], seq: Seq) -> Option<&[Entry]> {
    let place = entries.iter().position(|entry| entry.seq == seq)?;
    let is_last = |entry: &Entry| entry.profile_seq != Seq::NONE;
    let end = place + entries[place..].iter().position(is_last)?;
    let begin = match entries[..place].iter().rposition(is_last) {
        Some(before) => before + 1,
        None if entries[0].seq == Seq::NONE.next() => 0,
        None => return None,
    };
    Some(&entries[begin..=end])
}

/// An entry as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct EntryView {
    /// Its number.
    pub seq: Seq,
    /// When it was booked.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub at: Time,
    /// When what it books happened.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub effective_at: Time,
    /// What it did.
    pub r#type: EntryType,
    /// Why.
    pub reason: Reason,
    /// The signed change of what is available.
    pub amount: i64,
    /// Available after it.
    pub available_after: Connects,
    /// Held after it.
    pub held_after: Connects,
    /// What it is about.
    pub reference: Option<Reference>,
    /// The lots it touched.
    pub lots: Vec<SliceView>,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self {
            seq: entry.seq,
            at: entry.at,
            effective_at: entry.effective_at,
            r#type: entry.entry_type,
            lots: views(&entry.slices),
            reason: entry.reason,
            amount: entry.amount,
            available_after: entry.after.available,
            held_after: entry.after.held,
            reference: entry.reference,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_called_the_same_everywhere() {
        for entry_type in [
            EntryType::Issue,
            EntryType::Spend,
            EntryType::Return,
            EntryType::Hold,
            EntryType::Release,
            EntryType::Capture,
            EntryType::Expire,
            EntryType::Revoke,
            EntryType::DebtRepaid,
            EntryType::Account,
            EntryType::Pending,
        ] {
            assert_eq!(serde_json::json!(entry_type), entry_type.as_str());
        }
    }
}
