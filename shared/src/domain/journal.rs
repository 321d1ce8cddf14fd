//! The journal: one entry for every change, numbered without gaps, each sealing the one before.

use std::fmt::Write;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::account::Balance;
use super::ids::{Reason, Reference, Seq};
use super::lot::{Lot, PACKED, Slice, SliceView, views};
use super::time::{self, Time};
use super::units::Connects;

/// The form in which entries are sealed; part of each seal.
pub const FORMAT: u32 = 1;

/// What an entry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryType {
    /// A new lot.
    Issue,
    /// Connects used.
    Spend,
    /// Connects back from a spend.
    Return,
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
            Self::Expire => "expire",
            Self::Revoke => "revoke",
            Self::DebtRepaid => "debt_repaid",
            Self::Account => "account",
            Self::Pending => "pending",
        }
    }
}

/// A SHA-256 over an entry, the seal before it and the live lots after it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seal(pub [u8; 32]);

impl Seal {
    /// What the first entry follows.
    pub const GENESIS: Self = Self([0; 32]);
}

impl std::fmt::Display for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
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
        let packed = lots.len() + self.slices.len() + self.pending.len();
        let mut text = String::with_capacity(256 + PACKED * packed);
        // Writing to a `String` can't fail.
        let _ = write!(
            text,
            "{FORMAT}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}",
            self.seq,
            time::text(self.at),
            time::text(self.effective_at),
            self.entry_type.as_str(),
            self.reason,
            self.amount,
            self.after.available,
            self.after.held,
            self.after.debt,
            self.reference.as_ref().map_or("", Reference::as_str),
            self.policy_version,
            self.profile_seq,
        );
        for slice in &self.slices {
            text.push_str("\ns");
            slice.pack(&mut text);
        }
        for lot in &self.pending {
            text.push_str("\np");
            lot.pack(&mut text);
        }
        for lot in lots {
            text.push_str("\nl");
            lot.pack(&mut text);
        }
        let digest = Sha256::new()
            .chain_update(self.prev_hash.0)
            .chain_update(text)
            .finalize();
        Seal(digest.into())
    }
}

/// An entry as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntryView {
    /// Its number.
    pub seq: Seq,
    /// When it was booked.
    #[serde(with = "time::as_text")]
    pub at: Time,
    /// When what it books happened.
    #[serde(with = "time::as_text")]
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
    use super::super::account::Kind;
    use super::super::policy::built_in;
    use super::super::testing::opened;
    use super::*;

    #[test]
    fn types_are_called_the_same_everywhere() {
        for entry_type in [
            EntryType::Issue,
            EntryType::Spend,
            EntryType::Return,
            EntryType::Expire,
            EntryType::Revoke,
            EntryType::DebtRepaid,
            EntryType::Account,
            EntryType::Pending,
        ] {
            assert_eq!(serde_json::json!(entry_type), entry_type.as_str());
        }
    }

    #[test]
    fn a_seal_is_64_hex_digits_and_covers_everything() {
        let account = opened(&built_in(), Kind::Freelancer);
        let (entry, lots) = (&account.head, &account.lots[..]);
        let text = format!("{}", entry.hash);
        assert_eq!((text.len(), &text), (64, &format!("{:?}", entry.hash)));
        assert_eq!(entry.seal(lots), entry.hash);
        assert_ne!(entry.seal(&lots[1..]), entry.hash);
        let changed: [fn(&mut Entry); 12] = [
            |entry| entry.seq = entry.seq.next(),
            |entry| entry.at += chrono::TimeDelta::seconds(1),
            |entry| entry.effective_at += chrono::TimeDelta::seconds(1),
            |entry| entry.entry_type = EntryType::Spend,
            |entry| entry.reason = Reason::of("other"),
            |entry| entry.amount += 1,
            |entry| entry.slices.clear(),
            |entry| entry.after.available += Connects::new(1),
            |entry| entry.after.debt += Connects::new(1),
            |entry| entry.reference = None,
            |entry| entry.policy_version += 1,
            |entry| entry.prev_hash = Seal::GENESIS,
        ];
        for (number, change) in changed.into_iter().enumerate() {
            let mut entry = entry.clone();
            change(&mut entry);
            assert_ne!(entry.seal(lots), account.head.hash, "{number}");
        }
    }
}
