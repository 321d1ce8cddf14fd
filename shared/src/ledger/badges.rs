//! Availability badges, and what a week of one costs.
//!
//! Two round trips: the account, the badge and the week's price are read together; one transaction
//! books the charge and writes the badge over the revision that was read. Where nothing is booked,
//! since the badge goes off or only its maximum changes, the badge is written by itself on the same
//! condition: what was decided on a balance that has changed since was right when that was read.
//!
//! A week's price is fixed by whoever asks first, most often the schedule's run: one query for each
//! of the index's 64 shards, and a put that only the first one does. Who comes second reads what the
//! first one put, so everybody pays the same.

use super::{Context, Error, Fault, Ledger, Report};
use crate::domain::badge::{
    Badge, BadgeChange, BadgeView, PAST_WEEKS, PriceView, WeekPrice, monday,
};
use crate::domain::ids::AccountId;
use crate::domain::refusal::Refusal;
use crate::domain::settle;
use crate::domain::time::Time;
use crate::domain::units::Connects;
use crate::ledger::Attempt;
use crate::store::{DueKind, StoreError};

impl Ledger {
    /// Turns an account's badge on, or changes what a week of it may cost. Says whether it is new.
    ///
    /// # Errors
    /// `account_not_found`, `account_suspended`, `in_debt`.
    pub async fn put_badge(
        &self,
        context: &Context,
        account: &AccountId,
        max_weekly: Connects,
    ) -> Result<(bool, BadgeView), Error> {
        self.change(
            context,
            account,
            async || self.badge_and_price(account, context.now).await,
            async |draft, (current, price)| {
                let (now, price) = (draft.now(), price.price);
                let change = Badge::put(current.as_ref(), draft, max_weekly, price)?;
                self.write_badge(account, current.as_ref(), &change).await?;
                let BadgeChange { badge, balance, .. } = &change;
                let view = BadgeView::of(badge, &self.policy, now, price, *balance);
                Ok(((current.is_none(), view), change.plan))
            },
        )
        .await
    }

    /// An account's badge as it stands.
    ///
    /// # Errors
    /// `account_not_found`, `badge_not_found`.
    pub async fn badge(&self, context: &Context, account: &AccountId) -> Result<BadgeView, Error> {
        self.on_badge(context, account, async |badge| Ok(badge))
            .await
    }

    /// Turns an account's badge off; what is paid for runs out. Once is enough.
    ///
    /// # Errors
    /// `account_not_found`, `badge_not_found`.
    pub async fn turn_badge_off(
        &self,
        context: &Context,
        account: &AccountId,
    ) -> Result<BadgeView, Error> {
        self.on_badge(context, account, async |badge| {
            let off = badge.turned_off();
            if off != badge {
                self.store.put_badge(account, &off, None).await?;
            }
            Ok(off)
        })
        .await
    }

    /// Whether the account ever had a badge.
    ///
    /// # Errors
    /// When the table does not tell.
    pub async fn badge_exists(&self, account: &AccountId) -> Result<bool, Fault> {
        Ok(self.store.badge(account).await?.is_some())
    }

    /// What a week costs now, and what it cost before.
    ///
    /// # Errors
    /// When the table does not tell.
    pub async fn badge_price(&self, context: &Context) -> Result<PriceView, Error> {
        self.retry(context, async |_| {
            let this = monday(context.now);
            let mut prices = self.store.badge_prices(this, 1 + PAST_WEEKS).await?;
            let is_fixed = prices.first().is_some_and(|price| price.starts_on == this);
            let price = match is_fixed {
                true => prices.remove(0),
                false => self.fix_price(context.now).await?,
            };
            prices.truncate(PAST_WEEKS);
            Ok(Attempt::Done(PriceView::of(price, prices)))
        })
        .await
    }

    /// Fixes the week's price if nobody has, and charges the next week of every badge whose paid one
    /// is over, or turns it off.
    ///
    /// # Errors
    /// When the index can't be read at all, or the price neither read nor fixed.
    pub async fn sweep_badges(&self, context: &Context, until: Time) -> Result<Report, Fault> {
        let fixed = self.retry(context, async |_| {
            self.price_of(context.now).await?;
            Ok(Attempt::Done(()))
        });
        if let Err(Error::Fault(fault)) = fixed.await {
            return Err(fault);
        }
        self.sweep(
            context,
            DueKind::Badge,
            until,
            async |context, account: &AccountId, _| self.renew_badge(context, account).await,
        )
        .await
    }

    async fn renew_badge(&self, context: &Context, account: &AccountId) -> Result<Report, Error> {
        self.change(
            context,
            account,
            async || self.badge_and_price(account, context.now).await,
            async |draft, (current, price)| {
                let renewed = current
                    .as_ref()
                    .and_then(|badge| badge.renew(draft, price.price));
                let Some(change) = renewed else {
                    return Ok((Report::default(), None));
                };
                self.write_badge(account, current.as_ref(), &change).await?;
                let off = change.notice.is_some();
                let report = Report {
                    entries: change.plan.as_ref().map_or(0, |p| p.entries.len() as u64),
                    notices: u64::from(off),
                    badges: u64::from(!off),
                    badges_off: u64::from(off),
                    ..Report::default()
                };
                Ok((report, change.plan))
            },
        )
        .await
    }

    /// Writes what no entry goes with.
    async fn write_badge(
        &self,
        account: &AccountId,
        current: Option<&Badge>,
        change: &BadgeChange,
    ) -> Result<(), StoreError> {
        let BadgeChange {
            badge,
            notice,
            plan,
            ..
        } = change;
        match plan.is_none() && current != Some(badge) {
            true => {
                let notice = notice.as_ref();
                self.store.put_badge(account, badge, notice).await
            }
            false => Ok(()),
        }
    }

    /// What is done with a badge that moves no Connects. Read together: the account, the badge and
    /// the week's price.
    async fn on_badge(
        &self,
        context: &Context,
        account: &AccountId,
        change: impl AsyncFn(Badge) -> Result<Badge, StoreError>,
    ) -> Result<BadgeView, Error> {
        self.retry(context, async |_| {
            let (state, (badge, price)) = futures::try_join!(
                self.store.load(account),
                self.badge_and_price(account, context.now)
            )?;
            let state = state.ok_or(Refusal::AccountNotFound)?;
            let badge = badge.ok_or(Refusal::BadgeNotFound)?;
            if badge.is_ahead_of(state.head.seq) {
                return Err(StoreError::Lost.into());
            }
            let now = context.now.max(state.head.at);
            let badge = change(badge).await?;
            let balance = settle::view(&self.policy, context.now, state).balance();
            let view = BadgeView::of(&badge, &self.policy, now, price.price, balance);
            Ok(Attempt::Done(view))
        })
        .await
    }

    async fn badge_and_price(
        &self,
        account: &AccountId,
        now: Time,
    ) -> Result<(Option<Badge>, WeekPrice), StoreError> {
        futures::try_join!(self.store.badge(account), self.price_of(now))
    }

    /// The price of the week that `now` is in.
    async fn price_of(&self, now: Time) -> Result<WeekPrice, StoreError> {
        match self.store.badge_price(monday(now)).await? {
            Some(price) => Ok(price),
            None => self.fix_price(now).await,
        }
    }

    /// Fixes it, unless another is faster.
    async fn fix_price(&self, now: Time) -> Result<WeekPrice, StoreError> {
        let active = self.store.count_badges().await?;
        let price = WeekPrice::fixed(&self.policy, active, now);
        match self.store.put_badge_price(&price).await {
            Ok(()) => Ok(price),
            Err(StoreError::Lost) => {
                let fixed = self.store.badge_price(price.starts_on).await?;
                fixed.ok_or(StoreError::Lost)
            }
            Err(error) => Err(error),
        }
    }
}
