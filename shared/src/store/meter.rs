//! What calls to the table cost, for the tests that hold every operation to its budget.

use std::sync::Mutex;

use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::ConsumedCapacity;

/// Adds up calls. A call that begins after another has ended is a round trip after it; calls under
/// way together are the same one.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Cost>);

/// What some calls cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Calls one after another.
    pub round_trips: u32,
    /// Read units, in tenths.
    pub read_tenths: u64,
    /// Write units, index writes included.
    pub write_units: u64,
    /// Items put, updated or deleted.
    pub items_written: u64,
}

/// Whether a call reads or writes.
#[derive(Debug, Clone, Copy)]
pub enum Access {
    /// Reads.
    Read,
    /// Writes so many items.
    Write(usize),
}

/// An answer that says what it cost, where it was asked to.
pub(super) trait Consumed {
    /// For each table.
    fn consumed(&self) -> Vec<ConsumedCapacity>;
}

macro_rules! consumed {
    ($($output:ty),*) => {$(
        impl Consumed for $output {
            fn consumed(&self) -> Vec<ConsumedCapacity> {
                self.consumed_capacity().into_iter().cloned().collect()
            }
        }
    )*};
}

consumed!(
    DeleteItemOutput,
    GetItemOutput,
    PutItemOutput,
    QueryOutput,
    UpdateItemOutput
);
consumed!(BatchGetItemOutput, TransactWriteItemsOutput);

impl Meter {
    /// Everything since the last call of this.
    pub fn take(&self) -> Cost {
        std::mem::take(&mut self.cost())
    }

    fn cost(&self) -> std::sync::MutexGuard<'_, Cost> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A call begins; which round trip it is.
    pub(super) fn begin(&self) -> u32 {
        self.cost().round_trips + 1
    }

    /// The call of that round trip has ended.
    pub(super) fn end(&self, round_trip: u32, access: Access, consumed: &[ConsumedCapacity]) {
        let mut cost = self.cost();
        cost.round_trips = cost.round_trips.max(round_trip);
        let tenths: u64 = consumed.iter().filter_map(tenths).sum();
        match access {
            Access::Read => cost.read_tenths += tenths,
            Access::Write(items) => {
                cost.write_units += tenths / 10;
                cost.items_written += items as u64;
            }
        }
    }
}

#[expect(
    clippy::float_arithmetic,
    reason = "capacity units come as floating-point numbers, in halves"
)]
fn tenths(consumed: &ConsumedCapacity) -> Option<u64> {
    consumed.capacity_units().map(|units| (units * 10.0) as u64)
}
