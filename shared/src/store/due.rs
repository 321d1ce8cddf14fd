//! The work queue: a sparse, keys-only index of everything timed. It is a hint; the decision is
//! made on the loaded account.

use crate::domain::closure::ClosureReason;
use crate::domain::ids::{AccountId, LotId, Operation, OperationId};
use crate::domain::lot::{ExpiryNotice, Lot};
use crate::domain::time::{self, Time};

use super::commit::IS_NEW;
use super::items::{Item, notice_item, text, text_of};
use super::meter::Access;
use super::{DueKind, Owner, Store, StoreError, keys};

/// The index's name in the table.
pub(super) const INDEX: &str = "due";

/// Items of one page: enough to keep a sweep busy, little enough to hold many shards' pages.
const PAGE: i32 = 100;

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DueItem<K> {
    /// Whose.
    pub owner: K,
    /// What.
    pub what: Due,
}

/// What can be due.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Due {
    /// A lot: to tell about, or to expire.
    Lot(LotId),
    /// A billing cycle of the account.
    Cycle,
    /// A purchase whose payment is open.
    Purchase(OperationId),
    /// A job's closure that is not carried out.
    Closure(ClosureReason),
    /// A hold whose time is over.
    Hold(OperationId),
    /// An auction of a job.
    Auction,
    /// A bid that lost its place, and is not released.
    Bid(AccountId),
    /// A badge whose paid week is over.
    Badge,
    /// A top-up that is wanted.
    TopUp,
}

/// Some of what is due in a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct DuePage<K> {
    /// The items, what was due first first.
    pub items: Vec<DueItem<K>>,
    /// Where to go on.
    pub next: Option<Item>,
}

impl Store {
    /// What is due in one shard by `until`, page by page.
    pub async fn due<K: Owner>(
        &self,
        kind: DueKind,
        shard: u32,
        until: Time,
        start: Option<Item>,
    ) -> Result<DuePage<K>, StoreError> {
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .key_condition_expression("due_shard = :shard AND due_at <= :until")
            .expression_attribute_values(":shard", text(keys::due_shard_numbered(kind, shard)))
            .expression_attribute_values(":until", text(time::text(until)))
            .limit(PAGE)
            .set_exclusive_start_key(start)
            .set_return_consumed_capacity(self.capacity());
        let page = self.call(Access::Read, request.send()).await?;
        let items = page.items().iter().filter_map(due_item).collect();
        Ok(DuePage {
            items,
            next: page.last_evaluated_key,
        })
    }

    /// Records that a holder is to be told of a lot's expiry `days` days before; told once.
    pub async fn record_notice(
        &self,
        account: &AccountId,
        lot: &Lot,
        days: u32,
        now: Time,
    ) -> Result<bool, StoreError> {
        let notice = ExpiryNotice {
            lot_id: lot.birth().id,
            amount: lot.remaining(),
            expires_on: lot.birth().expires_on,
            days,
            noticed_at: now,
        };
        let key = keys::expiry_notice(lot.birth().id, days);
        let item = notice_item(account, key, &notice)?;
        match self.put(item, IS_NEW, None).await {
            Ok(()) => Ok(true),
            Err(StoreError::Lost) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves on when a lot is due next; nothing where the lot is gone.
    pub async fn postpone(
        &self,
        account: &AccountId,
        lot: &Lot,
        due_at: Time,
    ) -> Result<(), StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(keys::account(account)))
            .key("sk", text(keys::lot(lot.birth())))
            .update_expression("SET due_at = :due_at")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":due_at", text(time::text(due_at)))
            .set_return_consumed_capacity(self.capacity());
        let moved = self.call(Access::Write(1), request.send()).await;
        match moved {
            Ok(_) | Err(StoreError::Lost) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn due_item<K: Owner>(item: &Item) -> Option<DueItem<K>> {
    let sk = text_of(item, "sk")?;
    let what = if sk == keys::PROFILE {
        Due::Cycle
    } else if sk == keys::BADGE {
        Due::Badge
    } else if sk == keys::TOP_UP {
        Due::TopUp
    } else if let Some(id) = sk.strip_prefix(keys::RECEIPT_PREFIX) {
        let id = OperationId::try_new(id).ok()?;
        match id.is(Operation::Hold) {
            true => Due::Hold(id),
            false => Due::Purchase(id),
        }
    } else if sk == keys::AUCTION {
        Due::Auction
    } else if let Some(account) = sk.strip_prefix(keys::PROPOSAL_PREFIX) {
        Due::Bid(AccountId::try_new(account).ok()?)
    } else if let Some(reason) = sk.strip_prefix(keys::CLOSURE_PREFIX) {
        Due::Closure(ClosureReason::of(reason)?)
    } else {
        let (_, id) = sk.strip_prefix(keys::LOT_PREFIX)?.split_once('#')?;
        Due::Lot(id.parse().ok()?)
    };
    Some(DueItem {
        owner: K::of(text_of(item, "pk")?)?,
        what,
    })
}
