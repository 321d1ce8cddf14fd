//! Taking money: what the ledger asks of a payment provider.

mod sandbox;

pub use sandbox::Sandbox;

use crate::domain::ids::OperationId;
use crate::domain::units::Money;

/// A payment that the ledger wants. The purchase's id is the provider's idempotency key: however
/// often it is asked for, it is charged once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge<'c> {
    /// The purchase.
    pub purchase: &'c OperationId,
    /// How much.
    pub price: &'c Money,
    /// How.
    pub method: &'c str,
}

/// What a provider says of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payment {
    /// The money is taken.
    Paid,
    /// Definitely not, and it never will be.
    Declined,
    /// Not known yet: still under way, or no answer came. Asking again will tell.
    Open,
}

/// A payment provider.
pub trait Provider {
    /// The method that a purchase without one is charged to.
    fn default_method(&self) -> &str;

    /// Whether the provider knows the method.
    fn accepts(&self, method: &str) -> bool;

    /// Charges once for each purchase; asked again, it says how that charge stands.
    fn charge(&self, charge: &Charge<'_>) -> impl Future<Output = Payment> + Send;

    /// Makes sure that nothing more will be charged: `Paid` if it was already, else `Declined`;
    /// `Open` where even that can't be told.
    fn cancel(&self, charge: &Charge<'_>) -> impl Future<Output = Payment> + Send;
}
