//! Low balances and top-ups, followed once more: which transactions made a balance low, from the
//! journals; and everything that was written of top-ups, change by change.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, NaiveDate};
use connects::domain::account::Status;
use connects::domain::ids::{AccountId, Reference, Seq};
use connects::domain::journal::{Entry, EntryType};
use connects::domain::purchase::{Purchase, PurchaseStatus};
use connects::domain::time::Time;
use connects::domain::top_up::{TopUp, TopUpOffReason};
use connects::domain::units::Connects;
use serde_json::{Value, json};

use super::answers::Evidence;
use super::snapshot::{CrossingRow, Partition, Snapshot, plain_item, read};
use super::state::{Moment, ensure};
use super::world::{Asked, Attempt};
use crate::faults::Written;

/// Declines in a row that turn a top-up off, by the built-in policy.
const TOO_MANY: u32 = 3;

type Checked = Result<(), String>;

/// The first day of the month that an instant is in.
fn month_of(at: Time) -> NaiveDate {
    let day = at.date_naive();
    day.with_day(1).unwrap_or(day)
}

/// The transactions after which the balance is low, and before which it was not, as it was read or with
/// what was due by then. A transaction's last entry is the one that names the profile's.
fn crossings(partition: &Partition, moments: &[Moment]) -> BTreeMap<Seq, CrossingRow> {
    let (mut was_low, mut before) = (false, None);
    let (mut was_asked, mut settled) = (false, None);
    let mut crossings = BTreeMap::new();
    for (entry, after) in partition.journal.iter().zip(moments.iter().skip(1)) {
        was_asked |= !was_due(entry);
        let available = entry.after.available;
        if !was_asked {
            settled = Some(available);
        }
        if entry.profile_seq == Seq::NONE {
            continue;
        }
        let is_low = |low: Option<u64>, available: Connects| low.filter(|n| available.get() < *n);
        was_low &= settled.is_none_or(|settled| is_low(before, settled).is_some());
        let threshold = is_low(after.threshold, available);
        if let Some(threshold) = threshold.filter(|_| !was_low) {
            let row = CrossingRow {
                seq: entry.seq,
                at: entry.at,
                threshold: Connects::new(threshold),
                available,
            };
            crossings.insert(entry.seq, row);
        }
        (was_low, before) = (threshold.is_some(), after.threshold);
        (was_asked, settled) = (false, None);
    }
    crossings
}

/// Whether an entry books what time alone has done.
fn was_due(entry: &Entry) -> bool {
    let reference = entry.reference.as_ref().map_or("", Reference::as_str);
    match entry.entry_type {
        EntryType::Expire => true,
        EntryType::Issue | EntryType::DebtRepaid => reference.starts_with("cycle:"),
        EntryType::Account => matches!(entry.reason.as_str(), "grant_skipped" | "downgraded"),
        _ => false,
    }
}

/// Its holder is told of each of them, and of nothing else; and a top-up is for one of them, or for a
/// request that asked for it.
pub fn told(partition: &Partition, moments: &[Moment]) -> Checked {
    let expected = crossings(partition, moments);
    ensure(expected == partition.crossings, || {
        format!("became low {expected:?}, told {:?}", partition.crossings)
    })?;
    let profile = partition.profile.as_ref();
    let stored = profile.and_then(|profile| profile.low_balance);
    let stored = stored.map(|low| low.threshold.get());
    let last = moments.last().and_then(|last| last.threshold);
    ensure(stored == last, || {
        format!("low under {last:?} by the journal, {stored:?} by the profile")
    })?;
    let asked = partition.journal.iter();
    let asked = asked.filter(|entry| entry.reason.as_str() == "low_balance_set");
    let asked: BTreeSet<Seq> = asked.map(|entry| entry.seq).collect();
    for purchase in bought(partition) {
        let cause = purchase.top_up.unwrap_or(Seq::NONE);
        ensure(
            expected.contains_key(&cause) || asked.contains(&cause),
            || format!("bought for nothing: {purchase:?}"),
        )?;
    }
    Ok(())
}

/// The purchases that were made by themselves.
fn bought(partition: &Partition) -> impl Iterator<Item = &Purchase> {
    let purchases = partition.purchases.values();
    purchases.filter(|purchase| purchase.top_up.is_some())
}

/// The month's sum is that of its purchases that are paid or pending, one at most is open, and each
/// crossing is served once.
pub fn counted(partition: &Partition) -> Checked {
    let declined = |purchase: &&Purchase| purchase.status == PurchaseStatus::Declined;
    let Some(top_up) = &partition.top_up else {
        let other = bought(partition).next();
        return ensure(other.is_none(), || format!("without a top-up: {other:?}"));
    };
    let of_month = |purchase: &&Purchase| month_of(purchase.created_at) == top_up.month;
    let live = || bought(partition).filter(|purchase| !declined(purchase));
    let sum: u64 = live().filter(of_month).map(|p| p.price.amount).sum();
    ensure(sum == top_up.spent, || {
        format!("{sum} in the month, counted as {top_up:?}")
    })?;
    let pending = bought(partition).filter(|p| p.status == PurchaseStatus::Pending);
    let pending: Vec<_> = pending.map(|purchase| &purchase.id).collect();
    let open: Vec<_> = top_up.open.iter().collect();
    ensure(pending == open, || {
        format!("open are {pending:?}, noted {open:?}")
    })?;
    let mut served = BTreeSet::new();
    let twice = live().find(|purchase| !served.insert(purchase.top_up));
    ensure(twice.is_none(), || format!("served twice: {twice:?}"))
}

/// What holds once the runs have been: no crossing waits that can be served.
///
/// # Errors
/// Says which does.
pub fn check_over(snapshot: &Snapshot, now: Time) -> Checked {
    let mut top_ups = snapshot
        .partitions
        .values()
        .filter_map(|partition| partition.top_up.as_ref());
    let left = top_ups.find(|top_up| top_up.due_at().is_some_and(|at| at <= now));
    ensure(left.is_none(), || format!("never looked at: {left:?}"))
}

/// Everything that was put of top-ups, by account, in the order in which it was.
#[derive(Debug, Default)]
pub struct TopUps(BTreeMap<String, Vec<TopUp>>);

impl TopUps {
    /// Reads what was written.
    ///
    /// # Errors
    /// Says which item can't be read.
    pub fn read(written: &[Written]) -> Result<Self, String> {
        let mut top_ups = Self::default();
        for Written { pk, item, .. } in written {
            let account = pk.trim_start_matches("ACCOUNT#").to_owned();
            let versions = top_ups.0.entry(account).or_default();
            versions.push(read(&plain_item(item))?);
        }
        Ok(top_ups)
    }
}

impl Evidence<'_> {
    /// Every change of a top-up was possible, and every threshold was asked for.
    pub fn top_ups(&self) -> Checked {
        for (id, versions) in &self.top_ups.0 {
            let account = AccountId::try_new(id).map_err(|why| why.to_string())?;
            let partition = self.partition(&account).ok_or("no account")?;
            let followed = followed(partition, versions).and_then(|()| self.served(id, partition));
            followed.map_err(|why| format!("the top-up of {id}: {why}"))?;
        }
        for (id, partition) in &self.snapshot.partitions {
            for entry in &partition.journal {
                if entry.reason.as_str() != "low_balance_set" {
                    continue;
                }
                let account = AccountId::try_new(id).map_err(|why| why.to_string())?;
                let tick = self.tick(&account, entry.seq.get())?;
                let asked = self.attempts.iter().any(|attempt| match &attempt.asked {
                    Asked::SetLow(wanted) => {
                        let reference = format!("threshold:{}", wanted.threshold);
                        let said = entry.reference.as_ref().map(|about| about.as_str());
                        attempt.account == account
                            && attempt.begun < tick
                            && said == Some(reference.as_str())
                    }
                    _ => false,
                });
                ensure(asked, || format!("nobody asked for it: {entry:?}"))?;
            }
        }
        Ok(())
    }

    /// Where the balance is low and nothing waits nor is open, the account could not be topped up at some
    /// time since it became so, or since that was asked for: what is bought is never too little.
    fn served(&self, id: &str, partition: &Partition) -> Checked {
        let Some(top_up) = partition.top_up.as_ref().filter(|top_up| top_up.is_on()) else {
            return Ok(());
        };
        let moments = &self.moments[id];
        let last = moments.last().ok_or("no journal")?;
        let low = last.threshold.is_some_and(|low| last.model.balance() < low);
        if !low || top_up.waiting.is_some() || top_up.open.is_some() {
            return Ok(());
        }
        let crossing = partition.crossings.last_key_value();
        let since = crossing.ok_or("low, and never became so")?.0.get() as usize;
        let profile = partition.profile.as_ref().ok_or("no profile")?;
        let ends = moments.iter().skip(since + 1).filter_map(|m| m.model.at());
        let mut since = moments.iter().skip(since).zip(ends.chain([self.now]));
        // Where something was due that nobody had booked, it may have been enough.
        let blocked = |(moment, end): (&Moment, Time)| {
            moment.status == Status::Suspended
                || moment.model.debt() > 0
                || moment.balance(self.policy, profile, end).0 != moment.model.balance()
        };
        ensure(since.any(blocked), || format!("not served: {top_up:?}"))
    }

    /// It was said so while the request was under way.
    pub fn told_of_a_low_balance(&self, attempt: &Attempt, said: &Value) -> Checked {
        let as_asked = match &attempt.asked {
            Asked::SetLow(wanted) => {
                let top_up = wanted.top_up.as_ref();
                let asked = top_up.map(|top_up| (json!(top_up.quantity), json!("on")));
                let told = said["top_up"].as_object();
                let told = told.map(|told| (told["quantity"].clone(), told["state"].clone()));
                said["threshold"] == json!(wanted.threshold) && told == asked
            }
            Asked::ClearLow => *said == json!({ "threshold": null, "top_up": null }),
            _ => true,
        };
        ensure(as_asked, || "not as it was asked".to_owned())?;
        self.saw(attempt, "was low under that", |moment| {
            said["threshold"] == json!(moment.threshold)
        })
    }
}

fn followed(partition: &Partition, versions: &[TopUp]) -> Checked {
    let mut off = BTreeSet::new();
    for (was, is) in versions.iter().zip(versions.iter().skip(1)) {
        let so = changed(partition, was, is, &mut off);
        so.map_err(|why| format!("{why}: {was:?}, then {is:?}"))?;
    }
    ensure(off == partition.top_ups_off, || {
        let told = &partition.top_ups_off;
        format!("went off with {off:?}, the holder was told {told:?}")
    })
}

fn changed(partition: &Partition, was: &TopUp, is: &TopUp, off: &mut BTreeSet<String>) -> Checked {
    ensure(was.revision < is.revision, || {
        "another was there".to_owned()
    })?;
    let purchase = |id: &connects::domain::ids::OperationId| {
        let purchase = partition.purchases.get(id.as_str());
        purchase.ok_or_else(|| format!("no purchase {id}"))
    };
    match (&was.open, &is.open) {
        (None, Some(id)) => {
            let purchase = purchase(id)?;
            let before = if was.month == is.month { was.spent } else { 0 };
            let on_time = was.not_before.is_none_or(|at| at <= purchase.created_at);
            ensure(was.is_on() && is.is_on() && on_time, || {
                "bought though it was off, or too early".to_owned()
            })?;
            ensure(is.spent == before + purchase.price.amount, || {
                format!("not counted: {purchase:?}")
            })?;
            ensure(is.spent <= is.terms.monthly_cap.amount, || {
                "over the cap".to_owned()
            })
        }
        (Some(id), None) => {
            let purchase = purchase(id)?;
            let declined = purchase.status == PurchaseStatus::Declined;
            let declines = if declined { was.declines + 1 } else { 0 };
            let goes_off = was.is_on() && declines >= TOO_MANY;
            if goes_off {
                off.insert(id.to_string());
            }
            let reason = match goes_off {
                true => Some(TopUpOffReason::Declined),
                false => was.off_reason,
            };
            let same = (is.declines, is.off_reason) == (declines, reason);
            ensure(same, || format!("not as it ended: {purchase:?}"))
        }
        (was_open, is_open) => {
            ensure(was_open == is_open, || "another is open".to_owned())?;
            let rest = is.spent == was.spent && is.month == was.month;
            ensure(
                rest && (is.declines == was.declines || is.declines == 0),
                || "changed by nothing".to_owned(),
            )
        }
    }
}
