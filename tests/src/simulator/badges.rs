//! Availability badges, followed once more: from the journals week by week, and from everything that was
//! written of them change by change.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate, TimeDelta, Weekday};
use connects::domain::account::Status;
use connects::domain::badge::{Badge, OffReason, PaidWeek, WeekPrice};
use connects::domain::ids::{AccountId, Reference};
use connects::domain::journal::{Entry, EntryType};
use connects::domain::time::{Time, text};
use serde_json::{Value, json};

use super::answers::Evidence;
use super::snapshot::{NoticeRow, Partition, Snapshot, plain_item, read};
use super::state::{Moment, ensure};
use super::world::{Asked, Attempt, Heard};
use crate::faults::Written;

/// What is paid at once.
const WEEK: TimeDelta = TimeDelta::days(7);

/// A renewal that is no later begins where the last week ended, by the built-in policy.
const RENEW_WITHIN: TimeDelta = TimeDelta::minutes(60);

/// How far an account's time may be ahead of the clock that a price is looked up by.
const AHEAD: TimeDelta = TimeDelta::seconds(60);

/// How far apart two clocks may be, and how long a request may be under way.
const APART: TimeDelta = TimeDelta::minutes(5);

/// How many weeks are told beside this one.
const PAST: usize = 12;

type Checked = Result<(), String>;

/// The Monday of a calendar week.
fn week_of(at: Time) -> NaiveDate {
    at.date_naive().week(Weekday::Mon).first_day()
}

/// Each week is charged when the one before it is over, at the price of its calendar week, and under
/// its first day; the newest one is the badge's.
pub fn paid(partition: &Partition, prices: &BTreeMap<NaiveDate, WeekPrice>) -> Checked {
    // Where the last week may have ended: from the journal alone there is no telling whether a badge
    // that was charged within the hour had been off.
    let mut ends: Option<Vec<Time>> = None;
    let charges = partition.journal.iter();
    let charges = charges.filter(|entry| entry.reason.as_str() == "badge");
    let mut last = None;
    for entry in charges {
        let mut then = [entry.at - AHEAD, entry.at].into_iter();
        let at_its_price = then.any(|at| {
            let price = prices.get(&week_of(at));
            price.is_some_and(|price| entry.amount == price.price.debit())
        });
        ensure(entry.entry_type == EntryType::Spend && at_its_price, || {
            format!("not at the week's price: {entry:?}, {prices:?}")
        })?;
        let over = |end: &&Time| **end <= entry.at;
        let over: Vec<Time> = ends.iter().flatten().filter(over).copied().collect();
        ensure(ends.is_none() || !over.is_empty(), || {
            format!("charged before the last week was over: {entry:?}")
        })?;
        let follow_on = over
            .into_iter()
            .filter(|end| entry.at < *end + RENEW_WITHIN);
        let begins = follow_on.chain([entry.at]).filter(|begin| {
            let day = format!("badge:{}", begin.date_naive());
            entry.reference.as_ref().map(Reference::as_str) == Some(&day)
        });
        let next: Vec<Time> = begins.map(|begin| begin + WEEK).collect();
        ensure(!next.is_empty(), || format!("under another day: {entry:?}"))?;
        (ends, last) = (Some(next), Some(entry));
    }
    let week = partition
        .badge
        .as_ref()
        .and_then(|badge| badge.week.as_ref());
    let same = match (week, last) {
        (None, None) => true,
        (Some(week), Some(entry)) => {
            let ends = ends.unwrap_or_default();
            (week.entry, week.price.debit()) == (entry.seq, entry.amount)
                && week.begins_at + WEEK == week.paid_until
                && ends.contains(&week.paid_until)
        }
        _ => false,
    };
    ensure(same, || format!("{week:?} was not charged by {last:?}"))
}

/// What holds once the runs have been: no badge is on whose paid week is over.
///
/// # Errors
/// Says which is.
pub fn check_over(snapshot: &Snapshot, now: Time) -> Checked {
    let badges = snapshot
        .partitions
        .values()
        .filter_map(|p| p.badge.as_ref());
    let over = |badge: &&Badge| is_on(badge) && end_of(badge).is_none_or(|end| end <= now);
    let left = badges.into_iter().find(over);
    ensure(left.is_none(), || {
        format!("never renewed nor turned off: {left:?}")
    })
}

fn is_on(badge: &Badge) -> bool {
    badge.off_reason.is_none()
}

fn end_of(badge: &Badge) -> Option<Time> {
    badge.week.as_ref().map(|week| week.paid_until)
}

/// A badge from some moment on.
#[derive(Debug, Clone)]
struct Version {
    tick: u64,
    badge: Badge,
}

/// All that was written of badges and their prices, first first.
#[derive(Debug, Default)]
pub struct Badges {
    versions: BTreeMap<String, Vec<Version>>,
    prices: Vec<(u64, WeekPrice)>,
}

impl Badges {
    /// Reads what was written.
    ///
    /// # Errors
    /// Says which item can't be read.
    pub fn read(all: &[Written]) -> Result<Self, String> {
        let mut badges = Self::default();
        for Written { tick, pk, item } in all {
            let (tick, item) = (*tick, plain_item(item));
            match pk.strip_prefix("ACCOUNT#") {
                Some(account) => {
                    let badge = read(&item)?;
                    let versions = badges.versions.entry(account.to_owned()).or_default();
                    versions.push(Version { tick, badge });
                }
                None => badges.prices.push((tick, read(&item)?)),
            }
        }
        Ok(badges)
    }

    fn of(&self, account: &AccountId) -> &[Version] {
        self.versions
            .get(account.as_str())
            .map_or(&[], Vec::as_slice)
    }

    /// When an account's badge was first there.
    pub fn begun(&self, account: &AccountId) -> Option<u64> {
        self.of(account).first().map(|version| version.tick)
    }

    /// What somebody could see who began and ended then.
    fn visible(&self, attempt: &Attempt) -> impl Iterator<Item = &Badge> {
        let versions = self.of(&attempt.account);
        let next = versions
            .iter()
            .skip(1)
            .map(|next| next.tick)
            .chain([u64::MAX]);
        let seen = versions
            .iter()
            .zip(next)
            .filter(|(version, next)| version.tick < attempt.ended && *next > attempt.begun);
        seen.map(|(version, _)| &version.badge)
    }
}

impl Evidence<'_> {
    /// Every change of a badge was asked for, or was due and as it had to be, and each week has one price.
    pub fn badges(&self) -> Checked {
        self.prices()?;
        for (id, versions) in &self.badges.versions {
            let account = AccountId::try_new(id).map_err(|why| why.to_string())?;
            let followed = self.followed(&account, versions);
            followed.map_err(|why| format!("the badge of {id}: {why}"))?;
        }
        Ok(())
    }

    /// A week's price was fixed once, in that week, by the formula, and is what it was.
    fn prices(&self) -> Checked {
        let mut fixed = BTreeMap::new();
        let formula = &self.policy.badge.price;
        for (_, price) in &self.badges.prices {
            let before = fixed.insert(price.starts_on, price.clone());
            ensure(before.is_none(), || {
                format!("fixed again: {before:?}, {price:?}")
            })?;
            let more = formula.step.get() * (price.active / formula.every);
            let (least, most) = (formula.minimum.get(), formula.maximum.get());
            let expected = (formula.base.get() + more).clamp(least, most);
            let possible = price.price.get() == expected
                && price.active <= self.snapshot.partitions.len() as u64
                && week_of(price.fixed_at) == price.starts_on;
            ensure(possible, || format!("{expected} by the formula: {price:?}"))?;
        }
        ensure(fixed == self.snapshot.prices, || {
            format!("{fixed:?} were fixed, not {:?}", self.snapshot.prices)
        })
    }

    fn followed(&self, account: &AccountId, versions: &[Version]) -> Checked {
        let partition = self.partition(account).ok_or("no account")?;
        let mut notices = BTreeMap::new();
        let mut before: Option<&Version> = None;
        for version in versions {
            let change = Change {
                account,
                partition,
                was: before.map(|before| &before.badge),
                is: &version.badge,
                tick: version.tick,
            };
            let so = self.changed(&change);
            so.map_err(|why| format!("{why}: {before:?}, then {version:?}"))?;
            let ended = change.was.filter(|was| is_on(was)).and_then(end_of);
            let reason = version.badge.off_reason;
            let reason = reason.filter(|reason| *reason != OffReason::TurnedOff);
            let told = ended.zip(reason);
            notices.extend(told.map(|told| (version.badge.revision, told)));
            before = Some(version);
        }
        let told = partition.notices.iter();
        let told: BTreeMap<_, _> = told
            .map(|told| (told.revision, (told.paid_until, told.off_reason)))
            .collect();
        ensure(told == notices, || {
            format!("went off {notices:?}, the holder was told {told:?}")
        })?;
        let last = before.map(|before| &before.badge);
        ensure(partition.badge.as_ref() == last, || {
            format!("{:?} was written as {last:?}", partition.badge)
        })
    }

    fn changed(&self, change: &Change<'_>) -> Checked {
        let Change { was, is, .. } = *change;
        let revision = was.map_or(0, |was| was.revision) + 1;
        ensure(is.revision == revision, || "another was there".to_owned())?;
        let week_before = was.and_then(|was| was.week.as_ref());
        if is.off_reason == Some(OffReason::TurnedOff) {
            let rest = was.map(|was| was.max_weekly) == Some(is.max_weekly);
            let by = self.asked(change, &Asked::TurnBadgeOff).next();
            return ensure(
                by.is_some() && rest && week_before == is.week.as_ref(),
                || "nobody turned it off".to_owned(),
            );
        }
        let this = Asked::PutBadge(is.max_weekly);
        let put = || self.asked(change, &this);
        let may_be_run = was.is_some_and(|was| is_on(was) && was.max_weekly == is.max_weekly);
        ensure(may_be_run || put().next().is_some(), || {
            "nobody asked for it".to_owned()
        })?;
        let charged = is.week.as_ref().filter(|week| Some(*week) != week_before);
        match (charged, is.off_reason) {
            (Some(week), None) => self.charged(change, week),
            (Some(_), Some(_)) => Err("charged, and off".to_owned()),
            (None, None) => {
                let running = put().any(|attempt| {
                    let moments = self.visible(attempt).iter();
                    let mut times = moments.map(|moment| moment.now(attempt.now));
                    times.any(|now| end_of(is).is_some_and(|end| now < end))
                });
                ensure(running, || "on without a paid week".to_owned())
            }
            (None, Some(reason)) => {
                let mut notices = change.partition.notices.iter();
                match notices.find(|notice| notice.revision == is.revision) {
                    Some(notice) => self.had_to_go_off(change, reason, notice),
                    // Whoever put it was told the price.
                    None => Ok(()),
                }
            }
        }
    }

    /// A week is charged together with its entry, when the last one is over, and costs no more than the
    /// holder would pay then.
    fn charged(&self, change: &Change<'_>, week: &PaidWeek) -> Checked {
        let mut journal = change.partition.journal.iter();
        let entry = journal.find(|entry| entry.seq == week.entry);
        let entry: &Entry = entry.ok_or("charged by no entry")?;
        let together = self.tick(change.account, week.entry.get())? == change.tick;
        let ended = change.was.and_then(end_of);
        let on = change.was.is_some_and(is_on);
        let follows_on = ended.filter(|end| on && entry.at < *end + RENEW_WITHIN);
        let begins = follows_on.unwrap_or(entry.at);
        let so = entry.reason.as_str() == "badge"
            && entry.amount == week.price.debit()
            && ended.is_none_or(|end| end <= entry.at)
            && (week.begins_at, week.paid_until) == (begins, begins + WEEK);
        ensure(together && so, || format!("not as {entry:?} charged it"))?;
        ensure(week.price <= change.is.max_weekly, || {
            "dearer than its holder would pay".to_owned()
        })
    }

    /// A badge that goes off by itself has the reason that its holder is told.
    fn had_to_go_off(&self, change: &Change<'_>, reason: OffReason, notice: &NoticeRow) -> Checked {
        let NoticeRow {
            price,
            noticed_at: at,
            ..
        } = *notice;
        let mut then = [at - AHEAD, at].into_iter();
        let at_its_price = then.any(|at| {
            let fixed = self.snapshot.prices.get(&week_of(at));
            fixed.is_some_and(|fixed| fixed.price == price)
        });
        let same = (notice.off_reason, notice.max_weekly) == (reason, change.is.max_weekly);
        ensure(same && at_its_price && notice.paid_until <= at, || {
            format!("not so: {notice:?}")
        })?;
        let mut moments = self.around(change, at)?.into_iter();
        let so = match reason {
            OffReason::TurnedOff => false,
            OffReason::TooDear => price > notice.max_weekly,
            OffReason::Suspended => moments.any(|moment| moment.status == Status::Suspended),
            OffReason::InsufficientConnects => moments.any(|moment| {
                let profile = change.partition.profile.as_ref();
                let balance = profile.map(|profile| moment.balance(self.policy, profile, at));
                balance.is_some_and(|(available, debt)| available < price.get() || debt > 0)
            }),
        };
        ensure(so, || format!("was it {reason:?}? {notice:?}"))
    }

    /// What the account may have been to one who wrote that change, at about that time: never what it was
    /// before the week that the badge had.
    fn around(&self, change: &Change<'_>, at: Time) -> Result<Vec<&Moment>, String> {
        let moments = &self.moments[change.account.as_str()];
        let week = change.was.and_then(|was| was.week.as_ref());
        let first = week.map_or(1, |week| week.entry.get());
        let mut around = vec![];
        for n in first..moments.len() as u64 {
            if self.tick(change.account, n)? > change.tick {
                break;
            }
            // What is written after the change may say that it happened before: it was not seen.
            let seen = |next: &&Moment| {
                let tick = self.tick(change.account, next.model.seq().get());
                tick.is_ok_and(|tick| tick <= change.tick)
            };
            let next = moments.get(n as usize + 1).filter(seen);
            let next = next.and_then(|next| next.model.at());
            if next.is_none_or(|next| at < next + APART) {
                around.push(&moments[n as usize]);
            }
        }
        Ok(around)
    }

    /// Who asked for a change, and was not done before it.
    fn asked<'a>(
        &'a self,
        change: &'a Change<'_>,
        what: &'a Asked,
    ) -> impl Iterator<Item = &'a Attempt> {
        self.attempts.iter().filter(move |attempt| {
            let under_way = match attempt.heard {
                Heard::Unknown(_) => attempt.begun < change.tick,
                // One that was not answered, and asked once more, may be refused by then.
                _ => attempt.begun < change.tick && change.tick < attempt.ended,
            };
            under_way && attempt.account == *change.account && attempt.asked == *what
        })
    }

    /// The badge was so while the request was under way.
    pub fn told_of_a_badge(&self, attempt: &Attempt, replayed: bool, said: &Value) -> Checked {
        if !replayed {
            let begun = self.badges.begun(&attempt.account);
            ensure(
                begun.is_some_and(|tick| attempt.begun < tick && tick < attempt.ended),
                || format!("is no new one: {begun:?}"),
            )?;
        }
        let price = self.snapshot.prices.get(&week_of(attempt.now));
        let price = price.ok_or("no price")?.price;
        let moments = self.visible(attempt);
        let so = |badge: &Badge| {
            let active = |moment: &Moment| {
                let now = moment.now(attempt.now);
                let end = end_of(badge);
                let waits = is_on(badge) && end.is_some_and(|end| now < end + RENEW_WITHIN);
                waits || end.is_some_and(|end| now < end)
            };
            let as_asked = match &attempt.asked {
                Asked::PutBadge(most) => {
                    badge.max_weekly == *most && badge.off_reason != Some(OffReason::TurnedOff)
                }
                Asked::TurnBadgeOff => badge.off_reason == Some(OffReason::TurnedOff),
                _ => true,
            };
            as_asked
                && said["max_weekly"] == json!(badge.max_weekly)
                && said["paid_until"] == json!(end_of(badge).map(text))
                && said["off_reason"] == json!(badge.off_reason)
                && moments.iter().any(|m| said["active"] == json!(active(m)))
        };
        let seen = || self.badges.visible(attempt);
        ensure(said["price"] == json!(price) && seen().any(so), || {
            let seen: Vec<_> = seen().collect();
            format!("was so at no time, at {price}: {seen:?}")
        })?;
        self.saw(attempt, "had that balance", |moment| {
            let (available, debt) = self.balance(attempt, moment);
            let held = moment.model.held();
            said["balance"] == json!({ "available": available, "held": held, "debt": debt })
        })?;
        if !matches!(attempt.asked, Asked::PutBadge(_)) {
            return Ok(());
        }
        let dear = said["max_weekly"].as_u64() < Some(price.get());
        match said["off_reason"].as_str() {
            None => Ok(()),
            Some("too_dear") => ensure(dear, || "not too dear".to_owned()),
            Some(_) => {
                ensure(!dear, || "too dear".to_owned())?;
                self.saw(attempt, "had too little", |moment| {
                    self.balance(attempt, moment).0 < price.get()
                })
            }
        }
    }

    /// The prices that are told were fixed by then, and none is left out that was fixed before.
    pub fn told_of_prices(&self, attempt: &Attempt, said: &Value) -> Checked {
        let this = week_of(attempt.now);
        let told = |price: &WeekPrice| {
            let WeekPrice {
                starts_on,
                price,
                active,
                ..
            } = price;
            json!({ "starts_on": starts_on, "price": price, "active": active })
        };
        let prices = self.badges.prices.iter();
        let by_then = prices.filter(|(tick, _)| *tick < attempt.ended);
        let known: BTreeMap<_, _> = by_then.map(|(tick, p)| (p.starts_on, (*tick, p))).collect();
        let (_, now) = known.get(&this).ok_or("not fixed yet")?;
        let week = json!({ "starts_on": this, "ends_on": this + Days::new(6) });
        let so = (&said["price"], &said["active"]) == (&json!(now.price), &json!(now.active));
        ensure(so && said["week"] == week, || format!("not {now:?}"))?;
        let history = said["history"].as_array().ok_or("no history")?;
        let before = known.range(..this).rev();
        let mut possible = before.map(|(_, (tick, price))| (*tick, told(price)));
        let mut shown = history.iter();
        let mut next = shown.next();
        let complete = possible.all(|(tick, price)| match next == Some(&price) {
            true => {
                next = shown.next();
                true
            }
            false => tick > attempt.begun || history.len() == PAST && next.is_none(),
        });
        ensure(complete && next.is_none() && history.len() <= PAST, || {
            format!("not the weeks before: {known:?}")
        })
    }
}

/// A change of a badge.
#[derive(Debug, Clone, Copy)]
struct Change<'c> {
    account: &'c AccountId,
    partition: &'c Partition,
    was: Option<&'c Badge>,
    is: &'c Badge,
    tick: u64,
}
