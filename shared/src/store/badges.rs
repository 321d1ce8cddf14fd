//! Availability badges: each in its account's partition, their prices in one of their own.

use aws_sdk_dynamodb::types::{Select, TransactWriteItem};
use chrono::NaiveDate;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::defect::{Defect, present};
use crate::domain::badge::{Badge, BadgeNotice, WeekPrice};
use crate::domain::ids::AccountId;

use super::commit::{IS_NEW, due, follows};
use super::due::INDEX;
use super::items::{Item, from_item, notice_item, text, to_item};
use super::meter::Access;
use super::{DUE_SHARDS, DueKind, Store, StoreError, keys};

/// Shards counted at the same time.
const SHARDS_AT_ONCE: usize = 16;

impl Store {
    /// An account's badge, if it ever had one.
    pub async fn badge(&self, account: &AccountId) -> Result<Option<Badge>, StoreError> {
        self.get(keys::account(account), keys::BADGE.to_owned())
            .await?
            .map(from_item)
            .transpose()
    }

    /// Writes a badge over the one that was read, and what its holder is to be told of it.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when that is not there any more.
    pub async fn put_badge(
        &self,
        account: &AccountId,
        badge: &Badge,
        notice: Option<&BadgeNotice>,
    ) -> Result<(), StoreError> {
        match notice {
            None => {
                let (condition, values) = follows(badge.revision);
                self.put(badge_item(account, badge)?, condition, values)
                    .await
            }
            Some(notice) => {
                let badge = self.badge_action(account, badge)?;
                let notice = self.badge_notice_action(account, notice)?;
                self.transact(vec![badge, notice]).await
            }
        }
    }

    pub(super) fn badge_action(
        &self,
        account: &AccountId,
        badge: &Badge,
    ) -> Result<TransactWriteItem, StoreError> {
        let (condition, values) = follows(badge.revision);
        self.put_where(badge_item(account, badge)?, condition, values)
    }

    pub(super) fn badge_notice_action(
        &self,
        account: &AccountId,
        notice: &BadgeNotice,
    ) -> Result<TransactWriteItem, StoreError> {
        let key = keys::badge_notice(notice.paid_until, notice.revision);
        let item = notice_item(account, key, notice)?;
        self.put_if(item, IS_NEW)
    }

    /// How many badges are on: the index lists those and no others. It may be a moment behind.
    pub async fn count_badges(&self) -> Result<u64, StoreError> {
        stream::iter(0..DUE_SHARDS)
            .map(|shard| self.count_badges_in(shard))
            .buffer_unordered(SHARDS_AT_ONCE)
            .try_fold(0, async |sum, count| Ok(sum + count))
            .await
    }

    async fn count_badges_in(&self, shard: u32) -> Result<u64, StoreError> {
        let mut sum = 0;
        let mut start = None;
        loop {
            let shard = keys::due_shard_numbered(DueKind::Badge, shard);
            let request = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(INDEX)
                .key_condition_expression("due_shard = :shard")
                .expression_attribute_values(":shard", text(shard))
                .select(Select::Count)
                .set_exclusive_start_key(start)
                .set_return_consumed_capacity(self.capacity());
            let page = self.call(Access::Read, request.send()).await?;
            sum += u64::try_from(page.count).unwrap_or_default();
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(sum);
            }
        }
    }

    /// The price of the week that begins on that Monday, once it is fixed.
    pub async fn badge_price(&self, monday: NaiveDate) -> Result<Option<WeekPrice>, StoreError> {
        self.get(keys::BADGE_PRICES.to_owned(), keys::badge_price(monday))
            .await?
            .map(from_item)
            .transpose()
    }

    /// The prices of that week and those before, newest first, at most `limit`.
    pub async fn badge_prices(
        &self,
        monday: NaiveDate,
        limit: usize,
    ) -> Result<Vec<WeekPrice>, StoreError> {
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", text(keys::BADGE_PRICES))
            .expression_attribute_values(":first", text(keys::BADGE_PRICE_PREFIX))
            .expression_attribute_values(":last", text(keys::badge_price(monday)))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_return_consumed_capacity(self.capacity());
        let page = self.call(Access::Read, request.send()).await?;
        let items = page.items.unwrap_or_default();
        items.into_iter().map(from_item).collect()
    }

    /// Fixes a week's price.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when it has one.
    pub async fn put_badge_price(&self, price: &WeekPrice) -> Result<(), StoreError> {
        let key = keys::badge_price(price.starts_on);
        let item = to_item(keys::BADGE_PRICES.to_owned(), key, price)?;
        let condition = match present(Defect::PriceOverwritten) {
            true => "attribute_not_exists(pk) OR attribute_exists(pk)",
            false => IS_NEW,
        };
        self.put(item, condition, None).await
    }
}

/// It is due for as long as it is on.
fn badge_item(account: &AccountId, badge: &Badge) -> Result<Item, StoreError> {
    let mut item = to_item(keys::account(account), keys::BADGE.to_owned(), badge)?;
    if let Some(at) = badge.due_at() {
        item.extend(due(DueKind::Badge, account, at));
    }
    Ok(item)
}
