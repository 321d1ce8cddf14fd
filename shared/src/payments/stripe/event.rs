//! Stripe's messages, as far as they are heeded: which purchase or dispute to look at.

use serde::Deserialize;

use super::answers::{Metadata, read as parse};
use crate::domain::ids::{AccountId, OperationId};

/// What a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A purchase's payment.
    Payment {
        /// Whose purchase.
        account: AccountId,
        /// The purchase.
        purchase: OperationId,
    },
    /// A dispute.
    Dispute {
        /// Its id, `du_…` or `dp_…`.
        id: String,
    },
    /// Nothing that matters here; its type, or what it lacks.
    Other(String),
}

#[derive(Debug, Deserialize)]
struct Message {
    r#type: String,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    object: Object,
}

#[derive(Debug, Deserialize)]
struct Object {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// Types of messages about a payment that may have ended. (`payment_intent.created` and
/// `requires_action` come while it is under way.)
const PAYMENT: [&str; 4] = [
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.processing",
];

/// The beginning of every type of message about a dispute.
const DISPUTE: &str = "charge.dispute.";

/// Reads a message.
pub fn read(body: &[u8]) -> Event {
    let message: Message = match parse(body) {
        Ok(message) => message,
        Err(error) => return Event::Other(format!("unreadable: {error}")),
    };
    let Object { id, metadata } = message.data.object;
    let of = message.r#type;
    if PAYMENT.contains(&of.as_str()) {
        return match metadata.unwrap_or_default().purchase() {
            Some((account, purchase)) => Event::Payment { account, purchase },
            None => Event::Other(format!("{of} without a purchase")),
        };
    }
    match id {
        Some(id) if of.starts_with(DISPUTE) => Event::Dispute { id },
        _ => Event::Other(of),
    }
}
