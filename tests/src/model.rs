//! The simplest ledger there is: every Connect a token of its own, in a queue in the order they
//! came. Slow, and too simple to be wrong. A journal is right when it does what the queue does.

use std::collections::BTreeMap;

use connects::domain::ids::{LotId, Reference, Seq};
use connects::domain::journal::{Entry, EntryType};
use connects::domain::lot::{Birth, Lot, Slice, Source};
use connects::domain::seal::Seal;
use connects::domain::time::Time;
use connects::domain::units::Connects;

/// The queue, and the end of the journal that it has followed.
#[derive(Debug, Clone)]
pub struct Model {
    tokens: Vec<Birth>,
    /// What is held, in the order in which it was taken, each under what its hold is about.
    held: Vec<(Option<Reference>, Birth)>,
    debt: u64,
    seq: Seq,
    at: Option<Time>,
    hash: Seal,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            tokens: vec![],
            held: vec![],
            debt: 0,
            seq: Seq::NONE,
            at: None,
            hash: Seal::GENESIS,
        }
    }
}

/// How many Connects of which lots.
pub type Tally = BTreeMap<LotId, u64>;

fn tally<'b>(tokens: impl IntoIterator<Item = &'b Birth>) -> Tally {
    tokens.into_iter().fold(Tally::new(), |mut tally, birth| {
        *tally.entry(birth.id).or_default() += 1;
        tally
    })
}

fn named(slices: &[Slice]) -> Tally {
    slices.iter().fold(Tally::new(), |mut tally, slice| {
        *tally.entry(slice.birth.id).or_default() += slice.amount.get();
        tally
    })
}

/// Follows a whole journal, oldest entry first, and gives the queue at its end.
///
/// # Errors
/// Says which entry does not do what the queue does.
pub fn replay(journal: &[Entry]) -> Result<Model, String> {
    journal
        .iter()
        .try_fold(Model::default(), |mut model, entry| {
            model
                .follow(entry)
                .map_err(|why| format!("{why}: {entry:?}"))?;
            Ok(model)
        })
}

impl Model {
    /// What is left of each lot.
    pub fn remaining(&self) -> Tally {
        tally(&self.tokens)
    }

    /// How many Connects there are.
    pub fn balance(&self) -> u64 {
        self.tokens.len() as u64
    }

    /// How many of them can be used at `now`.
    pub fn usable(&self, now: Time) -> u64 {
        self.tokens
            .iter()
            .filter(|birth| birth.active_at(now))
            .count() as u64
    }

    /// The number of the last entry.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// How many are held.
    pub fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// What is owed.
    pub fn debt(&self) -> u64 {
        self.debt
    }

    /// When the last entry was booked.
    pub fn at(&self) -> Option<Time> {
        self.at
    }

    /// Follows one more entry.
    ///
    /// # Errors
    /// Says what it does that the queue does not.
    pub fn follow(&mut self, entry: &Entry) -> Result<(), String> {
        let same = |what: &str, is: bool| is.then_some(()).ok_or(what.to_owned());
        same("a gap before this entry", entry.seq == self.seq.next())?;
        same(
            "not chained to the entry before",
            entry.prev_hash == self.hash,
        )?;
        same("time went back", self.at.is_none_or(|at| at <= entry.at))?;

        let amount = entry.amount.unsigned_abs();
        let moved = self.apply(entry)?;
        same(
            "not the lots that the queue says",
            moved == named(&entry.slices),
        )?;
        let counted: u64 = moved.values().sum();
        let shown = match entry.entry_type {
            EntryType::Capture => 0,
            _ => counted,
        };
        same("the lots don't add up to the amount", shown == amount)?;
        same(
            "the balance is not the queue's length",
            entry.after.available.get() == self.balance(),
        )?;
        same(
            "not as many held as there are",
            entry.after.held.get() == self.held(),
        )?;
        same("not the debt there is", entry.after.debt.get() == self.debt)?;
        same("the seal is wrong", entry.seal(&self.lots()?) == entry.hash)?;
        self.seq = entry.seq;
        self.at = Some(entry.at);
        self.hash = entry.hash;
        Ok(())
    }

    /// Does what the entry says it did, by the queue's own lights.
    fn apply(&mut self, entry: &Entry) -> Result<Tally, String> {
        let amount = entry.amount.unsigned_abs() as usize;
        match entry.entry_type {
            EntryType::Return if entry.reason.as_str() == "chargeback_reversed" => {
                // What is not owed any more was owed.
                let owed = entry.after.debt.get();
                if owed > self.debt {
                    return Err("more is owed after a reversal".to_owned());
                }
                self.debt = owed;
                Ok(self.enqueue(&entry.slices))
            }
            EntryType::Issue | EntryType::Return => Ok(self.enqueue(&entry.slices)),
            EntryType::Release => {
                for slice in &entry.slices {
                    self.unhold(entry, slice)?;
                }
                Ok(self.enqueue(&entry.slices))
            }
            EntryType::Capture => {
                for slice in &entry.slices {
                    self.unhold(entry, slice)?;
                }
                Ok(named(&entry.slices))
            }
            EntryType::Spend | EntryType::Hold | EntryType::DebtRepaid => {
                let usable = self.usable(entry.at) as usize;
                if usable < self.tokens.len() || usable < amount {
                    return Err("expired or missing Connects used".to_owned());
                }
                if entry.entry_type == EntryType::DebtRepaid {
                    self.debt -= amount as u64;
                }
                let taken: Vec<Birth> = self.tokens.drain(..amount).collect();
                if entry.entry_type == EntryType::Hold {
                    let about = |birth: &Birth| (entry.reference.clone(), birth.clone());
                    self.held.extend(taken.iter().map(about));
                }
                Ok(tally(&taken))
            }
            EntryType::Expire => {
                let lapsed = self.remove(entry.slices.first())?;
                match lapsed
                    .iter()
                    .all(|birth| birth.expires_at() == entry.effective_at)
                {
                    true => Ok(tally(&lapsed)),
                    false => Err("lapsed at another time".to_owned()),
                }
            }
            EntryType::Revoke => {
                let mut revoked = vec![];
                for slice in &entry.slices {
                    revoked.extend(self.remove(Some(slice))?);
                }
                self.debt = entry.after.debt.get();
                Ok(tally(&revoked))
            }
            EntryType::Account | EntryType::Pending => Ok(Tally::new()),
        }
    }

    fn enqueue(&mut self, slices: &[Slice]) -> Tally {
        for slice in slices {
            let tokens = (0..slice.amount.get()).map(|_| slice.birth.clone());
            self.tokens.extend(tokens);
        }
        self.tokens.sort_by_key(Birth::age_key);
        named(slices)
    }

    /// Holds a slice no more: what was taken of its lot, or of the one whose place its lot takes; the
    /// last taken first.
    fn unhold(&mut self, entry: &Entry, slice: &Slice) -> Result<(), String> {
        let lot = &slice.birth;
        let is_new = entry.entry_type == EntryType::Release && lot.id.seq == entry.seq;
        let in_place =
            |held: &Birth| lot.source != Source::Grace || lot.issued_at == held.issued_at;
        for _ in 0..slice.amount.get() {
            let held = self.held.iter().rposition(|(about, held)| {
                *about == entry.reference && (held.id == lot.id || (is_new && in_place(held)))
            });
            self.held.remove(held.ok_or("not held")?);
        }
        Ok(())
    }

    /// Everything there is of a slice's lot.
    fn remove(&mut self, slice: Option<&Slice>) -> Result<Vec<Birth>, String> {
        let id = slice.ok_or("names no lot")?.birth.id;
        let (gone, kept) = std::mem::take(&mut self.tokens)
            .into_iter()
            .partition(|birth| birth.id == id);
        self.tokens = kept;
        Ok(gone)
    }

    /// The queue as lots, oldest first.
    ///
    /// # Errors
    /// When a lot holds more than it was issued with.
    pub fn lots(&self) -> Result<Vec<Lot>, String> {
        let mut lots: Vec<(Birth, u64)> = vec![];
        for birth in &self.tokens {
            match lots.last_mut() {
                Some((last, count)) if last == birth => *count += 1,
                _ => lots.push((birth.clone(), 1)),
            }
        }
        lots.into_iter()
            .map(|(birth, count)| {
                Lot::with_remaining(birth, Connects::new(count))
                    .ok_or_else(|| "a lot holds more than it was issued with".to_owned())
            })
            .collect()
    }
}
