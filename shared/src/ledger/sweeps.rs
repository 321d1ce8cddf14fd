//! Scheduled runs: whatever the `due` index lists, account by account or job by job.
//!
//! One engine serves all. The index is a hint: the decision is made on the loaded account, and what
//! is no longer due is nothing to do. Finished work leaves the index, so a run that crashed, came
//! late or ran twice just goes on; an account that fails is reported and passed over. Memory holds
//! one page of each shard under way, whatever there is to do. A run stops before its deadline and
//! says that something is left.
//!
//! Round trips: one for each page of a shard, and for each account those of its settling.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;

use futures::stream::{self, StreamExt};
use serde::Serialize;
use tokio::time::Instant;

use super::{Attempt, Context, Error, Fault, Ledger};
use crate::domain::account::Account;
use crate::domain::ids::{AccountId, JobId};
use crate::domain::time::{self, Time};
use crate::domain::top_up::Skipped;
use crate::payments::Provider;
use crate::store::{DUE_SHARDS, Due, DueItem, DueKind, Owner, StoreError};

/// Shards worked on at the same time.
const SHARDS_AT_ONCE: usize = 8;

/// Accounts or jobs of each shard worked on at the same time: 64 in all.
const OWNERS_AT_ONCE: usize = 8;

/// Failures that a report names; the log has them all.
const MAX_FAILURES_NAMED: usize = 20;

/// What a scheduled run did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whatever was due by then.
    #[serde(serialize_with = "time::as_text_if_any::serialize")]
    pub due_until: Option<Time>,
    /// Accounts looked at.
    pub accounts: u64,
    /// Journal entries booked.
    pub entries: u64,
    /// Notices recorded.
    pub notices: u64,
    /// Open purchases that are paid or declined now.
    pub purchases: u64,
    /// Jobs whose closures were looked at.
    pub jobs: u64,
    /// Proposals on them that were settled.
    pub proposals: u64,
    /// Holds released because their time was over.
    pub holds: u64,
    /// Bids that were paid or released.
    pub bids: u64,
    /// Badges whose next week was charged.
    pub badges: u64,
    /// Badges that went off.
    pub badges_off: u64,
    /// Top-ups that were begun.
    pub top_ups: u64,
    /// Top-ups that were looked at and not begun, by why not.
    pub top_ups_skipped: BTreeMap<Skipped, u64>,
    /// Accounts and jobs that failed and stay due.
    pub failed: u64,
    /// Some of them.
    pub failures: Vec<String>,
    /// Whether time ran out with work left.
    pub unfinished: bool,
}

/// What runs look at, one after another.
pub(super) trait Swept: Owner {
    /// The report that one was looked at, whatever came of it.
    fn one() -> Report;
}

impl Swept for AccountId {
    fn one() -> Report {
        Report {
            accounts: 1,
            ..Report::default()
        }
    }
}

impl Swept for JobId {
    fn one() -> Report {
        Report {
            jobs: 1,
            ..Report::default()
        }
    }
}

impl Report {
    /// Of one failure.
    pub(super) fn failure(whose: &impl Display) -> Self {
        Self {
            failed: 1,
            failures: vec![whose.to_string()],
            ..Self::default()
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.accounts += other.accounts;
        self.entries += other.entries;
        self.notices += other.notices;
        self.purchases += other.purchases;
        self.jobs += other.jobs;
        self.proposals += other.proposals;
        self.holds += other.holds;
        self.bids += other.bids;
        self.badges += other.badges;
        self.badges_off += other.badges_off;
        self.top_ups += other.top_ups;
        for (why, times) in other.top_ups_skipped {
            *self.top_ups_skipped.entry(why).or_default() += times;
        }
        self.failed += other.failed;
        self.unfinished |= other.unfinished;
        self.failures.extend(other.failures);
        self.failures.truncate(MAX_FAILURES_NAMED);
        self
    }
}

impl Ledger {
    /// Books the grants of every cycle that has begun.
    ///
    /// # Errors
    /// When the index can't be read at all.
    pub async fn sweep_grants(&self, context: &Context, until: Time) -> Result<Report, Fault> {
        self.sweep(
            context,
            DueKind::Grant,
            until,
            async |context, account: &AccountId, _| {
                let (_, entries) = self.book_due(context, account).await?;
                Ok(Report {
                    entries,
                    ..Report::default()
                })
            },
        )
        .await
    }

    /// Books every expiry that has come, of lots and of holds, and records once each what holders are
    /// to be told.
    ///
    /// # Errors
    /// When the index can't be read at all.
    pub async fn sweep_expiry(&self, context: &Context, until: Time) -> Result<Report, Fault> {
        let begun = Instant::now();
        let lots = self.sweep_lots(context, until).await?;
        let holds = self.sweep_holds(&context.later(begun), until).await?;
        Ok(lots.and(holds))
    }

    async fn sweep_lots(&self, context: &Context, until: Time) -> Result<Report, Fault> {
        self.sweep(
            context,
            DueKind::Expiry,
            until,
            async |context, account: &AccountId, due| {
                let (state, entries) = self.book_due(context, account).await?;
                let notices = self.record_notices(context, &state, due).await?;
                Ok(Report {
                    entries,
                    notices,
                    ..Report::default()
                })
            },
        )
        .await
    }

    /// Asks the provider about every open payment, and begins the top-ups that are wanted.
    ///
    /// # Errors
    /// When the index can't be read at all.
    pub async fn sweep_payments(
        &self,
        context: &Context,
        provider: &impl Provider,
        until: Time,
    ) -> Result<Report, Fault> {
        let begun = Instant::now();
        let open = self.sweep_open(context, provider, until).await?;
        let later = context.later(begun);
        let wanted = self.sweep_top_ups(&later, provider, until).await?;
        Ok(open.and(wanted))
    }

    async fn sweep_open(
        &self,
        context: &Context,
        provider: &impl Provider,
        until: Time,
    ) -> Result<Report, Fault> {
        self.sweep(
            context,
            DueKind::Payment,
            until,
            async |context, account: &AccountId, due| {
                let mut purchases = 0;
                for what in due {
                    if let Due::Purchase(id) = what {
                        let settled = self.recover(context, provider, account, id).await?;
                        purchases += u64::from(settled);
                    }
                }
                Ok(Report {
                    purchases,
                    ..Report::default()
                })
            },
        )
        .await
    }

    /// Settles an account with no command. Gives it as it is then, and how many entries were added
    /// meanwhile.
    async fn book_due(
        &self,
        context: &Context,
        account: &AccountId,
    ) -> Result<(Account, u64), Error> {
        let mut before = None;
        self.retry(context, async |_| {
            let state = self.load(account).await?;
            let from = *before.get_or_insert(state.head.seq);
            let Some(draft) = self.ready(context, state).await? else {
                return Ok(Attempt::Again);
            };
            let (state, plan) = draft.finish(vec![]);
            self.commit(context, plan).await?;
            let booked = state.head.seq.get() - from.get();
            Ok(Attempt::Done((state, booked)))
        })
        .await
    }

    async fn record_notices(
        &self,
        context: &Context,
        state: &Account,
        due: &[Due],
    ) -> Result<u64, StoreError> {
        let notice_days = &self.policy.lots.notice_days;
        let mut recorded = 0;
        for lot in &state.lots {
            if !due.contains(&Due::Lot(lot.birth().id)) {
                continue;
            }
            if let Some(days) = lot.birth().notice_due(context.now, notice_days) {
                let new = self
                    .store
                    .record_notice(&state.id, lot, days, context.now)
                    .await?;
                recorded += u64::from(new);
            }
            let next = lot.birth().next_due(context.now, notice_days);
            self.store.postpone(&state.id, lot, next).await?;
        }
        Ok(recorded)
    }

    /// Lets `handle` do whatever is due of a kind, owner by owner.
    pub(super) async fn sweep<K: Swept>(
        &self,
        context: &Context,
        kind: DueKind,
        until: Time,
        handle: impl AsyncFn(&Context, &K, &[Due]) -> Result<Report, Error>,
    ) -> Result<Report, Fault> {
        let handle = &handle;
        let begun = Instant::now();
        let reports: Vec<Result<Report, StoreError>> = stream::iter(0..DUE_SHARDS)
            .map(|shard| self.sweep_shard(context, begun, kind, shard, until, handle))
            .buffer_unordered(SHARDS_AT_ONCE)
            .collect()
            .await;
        let none = Report {
            due_until: Some(until),
            ..Report::default()
        };
        reports
            .into_iter()
            .try_fold(none, |sum, report| Ok(sum.and(report?)))
    }

    async fn sweep_shard<K: Swept>(
        &self,
        context: &Context,
        begun: Instant,
        kind: DueKind,
        shard: u32,
        until: Time,
        handle: &impl AsyncFn(&Context, &K, &[Due]) -> Result<Report, Error>,
    ) -> Result<Report, StoreError> {
        let mut sum = Report::default();
        let mut start = None;
        loop {
            if Instant::now() >= context.deadline {
                sum.unfinished = true;
                return Ok(sum);
            }
            let page = self.store.due(kind, shard, until, start).await?;
            sum = stream::iter(by_owner(page.items))
                .map(|(owner, due)| async move {
                    self.handle_one(context, begun, &owner, &due, handle).await
                })
                .buffer_unordered(OWNERS_AT_ONCE)
                .fold(sum, |sum, report| async { sum.and(report) })
                .await;
            match page.next {
                None => return Ok(sum),
                next => start = next,
            }
        }
    }

    async fn handle_one<K: Swept>(
        &self,
        context: &Context,
        begun: Instant,
        owner: &K,
        due: &[Due],
        handle: &impl AsyncFn(&Context, &K, &[Due]) -> Result<Report, Error>,
    ) -> Report {
        if Instant::now() >= context.deadline {
            return Report {
                unfinished: true,
                ..Report::default()
            };
        }
        let handled = handle(&context.later(begun), owner, due).await;
        K::one().and(handled.unwrap_or_else(|error| {
            tracing::error!(%owner, %error, "left for the next run");
            Report::failure(owner)
        }))
    }
}

/// What is due, gathered for each owner, so that one is not worked on twice at the same time.
fn by_owner<K: Swept>(items: Vec<DueItem<K>>) -> BTreeMap<K, Vec<Due>> {
    let mut seen = HashSet::new();
    items
        .into_iter()
        .filter(|item| seen.insert(item.clone()))
        .fold(BTreeMap::new(), |mut owners, item| {
            owners
                .entry(item.owner)
                .or_insert_with(Vec::new)
                .push(item.what);
            owners
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::LotId;

    fn id(name: &str) -> AccountId {
        AccountId::try_new(name).unwrap()
    }

    #[test]
    fn reports_add_up() {
        let skipped = |n| match n {
            10 => Skipped::Enough,
            _ => Skipped::Open,
        };
        let report = |n: u64, unfinished| Report {
            due_until: None,
            accounts: n,
            entries: n + 1,
            notices: n + 2,
            purchases: n + 3,
            jobs: n + 5,
            proposals: n + 6,
            holds: n + 7,
            bids: n + 8,
            badges: n + 8,
            badges_off: n + 9,
            top_ups: n + 10,
            top_ups_skipped: BTreeMap::from([(Skipped::Later, n), (skipped(n), 1)]),
            failed: n + 4,
            failures: vec![format!("a{n}")],
            unfinished,
        };
        let sum = report(10, false).and(report(200, false));
        let expected = Report {
            due_until: None,
            accounts: 210,
            entries: 212,
            notices: 214,
            purchases: 216,
            jobs: 220,
            proposals: 222,
            holds: 224,
            bids: 226,
            badges: 226,
            badges_off: 228,
            top_ups: 230,
            top_ups_skipped: BTreeMap::from([
                (Skipped::Later, 210),
                (Skipped::Enough, 1),
                (Skipped::Open, 1),
            ]),
            failed: 218,
            failures: vec!["a10".to_owned(), "a200".to_owned()],
            unfinished: false,
        };
        assert_eq!(sum, expected);
        for (one, other) in [(true, false), (false, true), (true, true)] {
            assert!(report(1, one).and(report(2, other)).unfinished);
        }
        let many = (0..30).fold(Report::default(), |sum, n| sum.and(report(n, false)));
        assert_eq!(many.failures.len(), MAX_FAILURES_NAMED);
    }

    #[test]
    fn a_report_names_the_instant_it_is_of() {
        let due_until = time::parse("2026-01-01T00:00:00Z");
        let report = Report {
            due_until,
            ..Report::default()
        };
        let told = serde_json::to_value(&report).unwrap();
        assert_eq!(told["due_until"], "2026-01-01T00:00:00.000Z");
        let told = serde_json::to_value(Report::default()).unwrap();
        assert_eq!(told["due_until"], serde_json::Value::Null);
    }

    #[test]
    fn what_is_due_is_gathered_by_owner_each_thing_once() {
        let lot = |text: &str| Due::Lot(text.parse::<LotId>().unwrap());
        let item = |account: &str, what: &Due| DueItem {
            owner: id(account),
            what: what.clone(),
        };
        let (first, second) = (lot("2-0"), lot("3-0"));
        let gathered = by_owner(vec![
            item("a", &first),
            item("b", &first),
            item("a", &second),
            item("a", &first),
        ]);
        let expected = BTreeMap::from([
            (id("a"), vec![first.clone(), second]),
            (id("b"), vec![first]),
        ]);
        assert_eq!(gathered, expected);
    }
}
