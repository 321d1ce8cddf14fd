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
        /// What it says of it.
        says: Says,
    },
    /// A dispute.
    Dispute {
        /// Its id, `du_…` or `dp_…`.
        id: String,
    },
    /// Nothing that matters here; its type, or what it lacks.
    Other(String),
}

/// What a message says of a payment: no reason to believe it, but to look closer where the ledger comes
/// to something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The money is taken.
    Paid,
    /// It is not.
    Failed,
    /// It is under way.
    UnderWay,
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

/// Types of messages about a payment. (`payment_intent.created` and `requires_action` come before there
/// is anything to say.)
const PAYMENT: [(&str, Says); 4] = [
    ("payment_intent.succeeded", Says::Paid),
    ("payment_intent.payment_failed", Says::Failed),
    ("payment_intent.canceled", Says::Failed),
    ("payment_intent.processing", Says::UnderWay),
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
    if let Some((_, says)) = PAYMENT.into_iter().find(|(known, _)| *known == of) {
        return match metadata.unwrap_or_default().purchase() {
            Some((account, purchase)) => Event::Payment {
                account,
                purchase,
                says,
            },
            None => Event::Other(format!("{of} without a purchase")),
        };
    }
    match id {
        Some(id) if of.starts_with(DISPUTE) => Event::Dispute { id },
        _ => Event::Other(of),
    }
}
