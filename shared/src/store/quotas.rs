//! Quotas: each bucket an item in a partition of its own, so that who may only count can be allowed
//! these and nothing else.
//!
//! A take is one conditional update, one write unit; a bucket that is not as it was thought comes
//! back with the failure, so who is refused, or takes more than one at a time, needs one call more.
//! Takes add up in the table: none is lost, and none makes another wait. What is full again is as
//! good as not there, and DynamoDB deletes it by its `ttl`.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;

use crate::domain::ids::AccountId;
use crate::domain::quota::{Bucket, Quota, Take};

use super::items::{Item, number, text};
use super::meter::Access;
use super::{Store, StoreError, keys};

/// What became of a take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is taken.
    Done,
    /// Nothing was: this is the bucket.
    Not(Option<Bucket>),
}

impl Store {
    /// An account's bucket, if it is kept.
    pub async fn bucket(
        &self,
        account: &AccountId,
        quota: Quota,
    ) -> Result<Option<Bucket>, StoreError> {
        let item = self.get(keys::quota(account), keys::bucket(quota)).await?;
        item.as_ref().map(bucket_of).transpose()
    }

    /// Takes from an account's bucket, and keeps it until `ttl` at least, in seconds since 1970.
    pub async fn take(
        &self,
        account: &AccountId,
        quota: Quota,
        take: Take,
        ttl: i64,
    ) -> Result<Taken, StoreError> {
        let (update, condition, value, bound) = match take {
            Take::First { now, after } => (
                "SET full_at = :value, #ttl = :ttl",
                "attribute_not_exists(full_at) OR full_at <= :bound",
                after.ms(),
                now,
            ),
            Take::Further { latest, by } => (
                "SET full_at = full_at + :value, #ttl = :ttl",
                "full_at <= :bound",
                by,
                latest,
            ),
        };
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(keys::quota(account)))
            .key("sk", text(keys::bucket(quota)))
            .update_expression(update)
            .condition_expression(condition)
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":value", number(value))
            .expression_attribute_values(":bound", number(bound.ms()))
            .expression_attribute_values(":ttl", number(ttl))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .set_return_consumed_capacity(self.capacity());
        let mut found = None;
        let sent = async {
            let sent = request.send().await;
            if let Err(error) = &sent
                && let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
                    error.as_service_error()
            {
                found = failed.item().cloned();
            }
            sent
        };
        match self.call(Access::Write(1), sent).await {
            Ok(_) => Ok(Taken::Done),
            Err(StoreError::Lost) => Ok(Taken::Not(found.as_ref().map(bucket_of).transpose()?)),
            Err(error) => Err(error),
        }
    }
}

fn bucket_of(item: &Item) -> Result<Bucket, StoreError> {
    item.get("full_at")
        .and_then(|full_at| full_at.as_n().ok()?.parse().ok())
        .map(Bucket::full_at)
        .ok_or_else(|| StoreError::unreadable("quota", "no instant at which it is full"))
}
