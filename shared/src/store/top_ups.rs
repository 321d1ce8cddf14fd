//! What is written when a balance becomes low, and top-ups: each in its account's partition.

use aws_sdk_dynamodb::types::TransactWriteItem;

use crate::domain::ids::AccountId;
use crate::domain::low_balance::Crossing;
use crate::domain::time;
use crate::domain::top_up::{TopUp, TopUpOff, Waiting};

use super::commit::{IS_NEW, due, follows};
use super::items::{Item, from_item, notice_item, number, text, to_item};
use super::{DueKind, Store, StoreError, keys};

impl Store {
    /// An account's top-up, if it ever had one.
    pub async fn top_up(&self, account: &AccountId) -> Result<Option<TopUp>, StoreError> {
        self.get(keys::account(account), keys::TOP_UP.to_owned())
            .await?
            .map(from_item)
            .transpose()
    }

    /// Writes a top-up over the one that was read.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when that is not there any more.
    pub async fn put_top_up(&self, account: &AccountId, top_up: &TopUp) -> Result<(), StoreError> {
        let (condition, values) = follows(top_up.revision);
        self.put(top_up_item(account, top_up)?, condition, values)
            .await
    }

    pub(super) fn top_up_action(
        &self,
        account: &AccountId,
        top_up: &TopUp,
    ) -> Result<TransactWriteItem, StoreError> {
        let (condition, values) = follows(top_up.revision);
        self.put_where(top_up_item(account, top_up)?, condition, values)
    }

    /// Notes a crossing in whatever the top-up is by now: it is looked at when it is due. So the
    /// operation that made the balance low need not read it, and does not lose to those who write it.
    pub(super) fn top_up_wanted_action(
        &self,
        account: &AccountId,
        waiting: &Waiting,
    ) -> Result<TransactWriteItem, StoreError> {
        let waits = serde_dynamo::to_attribute_value(waiting)
            .map_err(|error| StoreError::unreadable("top-up", error))?;
        self.update(
            keys::account(account),
            keys::TOP_UP.to_owned(),
            "SET waiting = :waits, due_shard = :due_shard, due_at = :due_at, revision = revision + :one",
            "attribute_exists(pk)",
            [
                (":waits", waits),
                (":due_shard", text(keys::due_shard(DueKind::TopUp, account))),
                (":due_at", text(time::text(waiting.since))),
                (":one", number(1)),
            ],
        )
    }

    pub(super) fn low_balance_action(
        &self,
        account: &AccountId,
        crossing: &Crossing,
    ) -> Result<TransactWriteItem, StoreError> {
        let key = keys::low_balance_notice(crossing.seq);
        self.put_if(notice_item(account, key, crossing)?, IS_NEW)
    }

    pub(super) fn top_up_off_action(
        &self,
        account: &AccountId,
        off: &TopUpOff,
    ) -> Result<TransactWriteItem, StoreError> {
        let key = keys::top_up_notice(&off.purchase_id);
        self.put_if(notice_item(account, key, off)?, IS_NEW)
    }
}

/// It is due for as long as a crossing waits that it can serve.
fn top_up_item(account: &AccountId, top_up: &TopUp) -> Result<Item, StoreError> {
    let mut item = to_item(keys::account(account), keys::TOP_UP.to_owned(), top_up)?;
    if let Some(at) = top_up.due_at() {
        item.extend(due(DueKind::TopUp, account, at));
    }
    Ok(item)
}
