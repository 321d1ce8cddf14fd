//! Seals: what ties an entry to the one before it and to the live lots after it.
//!
//! What is hashed is a row of numbers and texts, each of which says where it ends, so no two entries
//! have the same row. Each load and each plan hashes all live lots: a lot is some 18 bytes there.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::journal::Entry;
use super::lot::{Birth, Lot};
use super::time::Time;
use super::units::Connects;

/// The form in which entries are sealed; part of each seal.
pub const FORMAT: u32 = 1;

/// What an entry takes in that form without its lots, and each of its lots; more or less.
const ENTRY: usize = 256;
const LOT: usize = 24;

/// A SHA-256 over an entry, the seal before it and the live lots after it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seal(pub [u8; 32]);

impl Seal {
    /// What the first entry follows.
    pub const GENESIS: Self = Self([0; 32]);

    /// The seal that an entry must carry if `lots` are the live lots after it, oldest first.
    pub(super) fn of(entry: &Entry, lots: &[Lot]) -> Self {
        let count = entry.slices.len() + entry.pending.len() + lots.len();
        let mut row = Row(Vec::with_capacity(ENTRY + LOT * count));
        row.number(FORMAT.into());
        row.number(entry.seq.get());
        row.instant(entry.at);
        row.instant(entry.effective_at);
        row.text(entry.entry_type.as_str());
        row.text(entry.reason.as_str());
        row.signed(entry.amount);
        row.number(entry.after.available.get());
        row.number(entry.after.held.get());
        row.number(entry.after.debt.get());
        row.text(entry.reference.as_ref().map_or("", |of| of.as_str()));
        row.number(entry.policy_version.into());
        row.number(entry.profile_seq.get());
        row.all(&entry.slices, |row, slice| {
            row.part(&slice.birth, slice.amount);
        });
        row.all(&entry.pending, Row::lot);
        row.all(lots, Row::lot);
        let digest = Sha256::new()
            .chain_update(entry.prev_hash.0)
            .chain_update(row.0)
            .finalize();
        Self(digest.into())
    }
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

/// What is hashed.
struct Row(Vec<u8>);

impl Row {
    /// Seven bits a byte, lowest first, the top bit set in all bytes but the last (LEB128).
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// A number with its sign in the lowest bit (zigzag).
    fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)) as u64);
    }

    /// Its length in bytes, then the bytes.
    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// In milliseconds since 1970.
    fn instant(&mut self, at: Time) {
        self.signed(at.timestamp_millis());
    }

    /// How many there are, then each of them.
    fn all<T>(&mut self, parts: &[T], add: impl Fn(&mut Self, &T)) {
        self.number(parts.len() as u64);
        for part in parts {
            add(self, part);
        }
    }

    fn lot(&mut self, lot: &Lot) {
        self.part(lot.birth(), lot.remaining());
    }

    /// So many Connects of a lot; its last day in days since 1970.
    fn part(&mut self, lot: &Birth, amount: Connects) {
        self.number(lot.id.seq.get());
        self.number(lot.id.index.into());
        self.number(lot.source as u64);
        self.instant(lot.issued_at);
        self.signed(lot.expires_on.to_epoch_days().into());
        self.number(lot.quantity.get());
        self.number(amount.get());
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::super::account::Kind;
    use super::super::ids::Reason;
    use super::super::journal::EntryType;
    use super::super::lot::{Slice, Source};
    use super::super::policy::built_in;
    use super::super::testing::opened;
    use super::*;

    /// `entry` with one thing changed, in every way there is.
    fn changed(entry: &Entry) -> Vec<Entry> {
        let changes: [fn(&mut Entry); 15] = [
            |entry| entry.seq = entry.seq.next(),
            |entry| entry.at += TimeDelta::milliseconds(1),
            |entry| entry.effective_at += TimeDelta::milliseconds(1),
            |entry| entry.entry_type = EntryType::Spend,
            |entry| entry.reason = Reason::of("other"),
            |entry| entry.amount += 1,
            |entry| entry.slices.clear(),
            |entry| entry.after.available += Connects::new(1),
            |entry| entry.after.held += Connects::new(1),
            |entry| entry.after.debt += Connects::new(1),
            |entry| entry.reference = None,
            |entry| entry.policy_version += 1,
            |entry| entry.profile_seq = entry.profile_seq.next(),
            |entry| {
                let lots = entry.slices.iter().map(|slice| slice.birth.clone());
                entry.pending = lots.map(Lot::issued).collect();
            },
            |entry| entry.prev_hash.0[0] ^= 1,
        ];
        let one = |change: fn(&mut Entry)| {
            let mut entry = entry.clone();
            change(&mut entry);
            entry
        };
        changes.into_iter().map(one).collect()
    }

    /// A lot with one thing changed, in every way there is.
    fn other_lots(lot: &Lot) -> Vec<Lot> {
        let changes: [fn(&mut Birth); 6] = [
            |birth| birth.id.seq = birth.id.seq.next(),
            |birth| birth.id.index += 1,
            |birth| birth.source = Source::Grace,
            |birth| birth.issued_at += TimeDelta::milliseconds(1),
            |birth| birth.expires_on = birth.expires_on.succ_opt().unwrap(),
            |birth| birth.quantity += Connects::new(1),
        ];
        let one = |change: fn(&mut Birth)| {
            let mut birth = lot.birth().clone();
            change(&mut birth);
            Lot::with_remaining(birth, lot.remaining()).unwrap()
        };
        let mut others: Vec<_> = changes.into_iter().map(one).collect();
        let mut used = lot.clone();
        used.take(Connects::new(1));
        others.push(used);
        others
    }

    #[test]
    fn a_seal_is_64_hex_digits_and_covers_everything() {
        let account = opened(&built_in(), Kind::Freelancer);
        let (entry, lots) = (&account.head, &account.lots[..]);
        let text = format!("{}", entry.hash);
        assert_eq!((text.len(), &text), (64, &format!("{:?}", entry.hash)));

        let mut seals = vec![Seal::of(entry, lots), Seal::of(entry, &lots[1..])];
        assert_eq!(seals[0], entry.hash);
        seals.extend(changed(entry).iter().map(|entry| Seal::of(entry, lots)));
        for other in other_lots(&lots[0]) {
            let lots = [std::slice::from_ref(&other), &lots[1..]].concat();
            seals.push(Seal::of(entry, &lots));
            let slice = Slice {
                birth: other.birth().clone(),
                amount: other.remaining(),
            };
            let slices = [slice].to_vec();
            seals.push(Seal::of(
                &Entry {
                    slices,
                    ..entry.clone()
                },
                &lots,
            ));
        }
        for (number, seal) in seals.iter().enumerate() {
            assert!(!seals[..number].contains(seal), "{number}");
        }
    }

    fn read_number(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for place in 0.. {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(first & 0x7f) << (7 * place);
            if first & 0x80 == 0 {
                break;
            }
        }
        number
    }

    proptest! {
        /// What can be read back is not the row of anything else.
        #[test]
        fn a_row_reads_back(number: u64, signed: i64, text: String) {
            let mut row = Row(Vec::new());
            row.number(number);
            row.signed(signed);
            row.text(&text);
            let bytes = &mut &row.0[..];
            prop_assert_eq!(read_number(bytes), number);
            let read = read_number(bytes);
            prop_assert_eq!((read >> 1) as i64 ^ -((read & 1) as i64), signed);
            prop_assert_eq!(read_number(bytes), text.len() as u64);
            prop_assert_eq!(*bytes, text.as_bytes());
        }
    }
}
