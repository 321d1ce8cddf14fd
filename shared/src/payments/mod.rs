//! Taking money: what the ledger asks of a payment provider.

mod sandbox;
pub mod stripe;

pub use sandbox::Sandbox;
pub use stripe::Stripe;

use crate::domain::ids::{AccountId, OperationId, PaymentCustomer};
use crate::domain::units::Money;

/// A payment that the ledger wants. The purchase's id is the provider's idempotency key: however
/// often it is asked for, it is charged once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge<'c> {
    /// Whose purchase.
    pub account: &'c AccountId,
    /// The purchase.
    pub purchase: &'c OperationId,
    /// How much.
    pub price: &'c Money,
    /// How.
    pub method: &'c str,
    /// Who pays, where the provider needs to know.
    pub customer: Option<&'c PaymentCustomer>,
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

/// Why there is no method to charge where none was named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoMethod {
    /// The customer has none.
    #[error("the customer has no default payment method")]
    None,
    /// The provider did not say.
    #[error("the payment provider did not answer: {0}")]
    Unknown(String),
}

/// A payment provider.
pub trait Provider {
    /// Whether a charge names the customer.
    fn needs_customer(&self) -> bool {
        false
    }

    /// The method that a purchase without one is charged to.
    ///
    /// # Errors
    /// When there is none, or none is known.
    fn default_method(
        &self,
        customer: Option<&PaymentCustomer>,
    ) -> impl Future<Output = Result<String, NoMethod>> + Send;

    /// Whether it can be a method of the provider's, as far as its name tells.
    fn accepts(&self, method: &str) -> bool;

    /// Charges once for each purchase; asked again, it says how that charge stands.
    fn charge(&self, charge: &Charge<'_>) -> impl Future<Output = Payment> + Send;

    /// How a charge stands that was asked for before, if that ever arrived; else it is made now.
    fn again(&self, charge: &Charge<'_>) -> impl Future<Output = Payment> + Send {
        self.charge(charge)
    }

    /// Makes sure that nothing more will be charged: `Paid` if it was already, else `Declined`;
    /// `Open` where even that can't be told.
    fn cancel(&self, charge: &Charge<'_>) -> impl Future<Output = Payment> + Send;
}

/// The providers there are.
#[derive(Debug)]
pub enum Payments {
    /// For trying things out.
    Sandbox(Sandbox),
    /// Real money.
    Stripe(Box<Stripe>),
}

impl Provider for Payments {
    fn needs_customer(&self) -> bool {
        match self {
            Self::Sandbox(sandbox) => sandbox.needs_customer(),
            Self::Stripe(stripe) => stripe.needs_customer(),
        }
    }

    async fn default_method(&self, customer: Option<&PaymentCustomer>) -> Result<String, NoMethod> {
        match self {
            Self::Sandbox(sandbox) => sandbox.default_method(customer).await,
            Self::Stripe(stripe) => stripe.default_method(customer).await,
        }
    }

    fn accepts(&self, method: &str) -> bool {
        match self {
            Self::Sandbox(sandbox) => sandbox.accepts(method),
            Self::Stripe(stripe) => stripe.accepts(method),
        }
    }

    async fn charge(&self, charge: &Charge<'_>) -> Payment {
        match self {
            Self::Sandbox(sandbox) => sandbox.charge(charge).await,
            Self::Stripe(stripe) => stripe.charge(charge).await,
        }
    }

    async fn again(&self, charge: &Charge<'_>) -> Payment {
        match self {
            Self::Sandbox(sandbox) => sandbox.again(charge).await,
            Self::Stripe(stripe) => stripe.again(charge).await,
        }
    }

    async fn cancel(&self, charge: &Charge<'_>) -> Payment {
        match self {
            Self::Sandbox(sandbox) => sandbox.cancel(charge).await,
            Self::Stripe(stripe) => stripe.cancel(charge).await,
        }
    }
}
