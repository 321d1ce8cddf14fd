//! What the sandbox payment provider remembers, so that it is as forgetful as a real one: not.

use serde::{Deserialize, Serialize};

use crate::domain::ids::OperationId;
use crate::domain::units::Money;

use aws_sdk_dynamodb::types::AttributeValue;

use super::items::{from_item, number, text};
use super::meter::Access;
use super::{Store, StoreError, keys};

/// A charge that the sandbox was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxCharge {
    /// The payment method of the first request; empty where it was cancelled before.
    #[serde(default)]
    pub method: String,
    /// The amount of the first request, in minor units.
    #[serde(default)]
    pub amount: u64,
    /// How often it was asked for.
    pub asked: u64,
    /// Whether it was cancelled before it was paid.
    #[serde(default)]
    pub cancelled: bool,
}

impl Store {
    /// Counts a request for a charge under its idempotency key, remembering the first.
    pub async fn sandbox_charge(
        &self,
        id: &OperationId,
        method: &str,
        price: &Money,
    ) -> Result<SandboxCharge, StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(keys::sandbox(id)))
            .key("sk", text(keys::SANDBOX))
            .update_expression(
                "SET #method = if_not_exists(#method, :method), \
                 amount = if_not_exists(amount, :amount) ADD asked :one",
            )
            .expression_attribute_names("#method", "method")
            .expression_attribute_values(":method", text(method))
            .expression_attribute_values(":amount", number(price.amount))
            .expression_attribute_values(":one", number(1))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew)
            .set_return_consumed_capacity(self.capacity());
        let done = self.call(Access::Write(1), request.send()).await?;
        from_item(done.attributes.unwrap_or_default())
    }

    /// What is remembered of a charge.
    pub async fn sandbox_remembered(
        &self,
        id: &OperationId,
    ) -> Result<Option<SandboxCharge>, StoreError> {
        self.get(keys::sandbox(id), keys::SANDBOX.to_owned())
            .await?
            .map(from_item)
            .transpose()
    }

    /// Marks a charge as cancelled that was asked for so often and no more.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when it was asked for again meanwhile.
    pub async fn sandbox_cancel(&self, id: &OperationId, asked: u64) -> Result<(), StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(keys::sandbox(id)))
            .key("sk", text(keys::SANDBOX))
            .update_expression("SET cancelled = :yes, asked = :asked")
            .condition_expression(
                "asked = :asked OR (attribute_not_exists(asked) AND :asked = :none)",
            )
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":asked", number(asked))
            .expression_attribute_values(":none", number(0))
            .set_return_consumed_capacity(self.capacity());
        self.call(Access::Write(1), request.send())
            .await
            .map(|_| ())
    }
}
