//! What the sandbox payment provider remembers, so that it is as forgetful as a real one: not.

use serde::{Deserialize, Serialize};

use crate::domain::ids::OperationId;
use crate::domain::units::Money;

use super::items::{from_item, number, text};
use super::meter::Access;
use super::{Store, StoreError, keys};

/// A charge that the sandbox was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxCharge {
    /// The payment method of the first request.
    pub method: String,
    /// The amount of the first request, in minor units.
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

    /// Marks a charge as cancelled. Gives what was remembered of it before, if anything was.
    pub async fn sandbox_cancel(
        &self,
        id: &OperationId,
    ) -> Result<Option<SandboxCharge>, StoreError> {
        let item = self
            .get(keys::sandbox(id), keys::SANDBOX.to_owned())
            .await?;
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(keys::sandbox(id)))
            .key("sk", text(keys::SANDBOX))
            .update_expression("SET cancelled = :yes")
            .expression_attribute_values(
                ":yes",
                aws_sdk_dynamodb::types::AttributeValue::Bool(true),
            )
            .set_return_consumed_capacity(self.capacity());
        self.call(Access::Write(1), request.send()).await?;
        item.map(from_item).transpose()
    }
}
