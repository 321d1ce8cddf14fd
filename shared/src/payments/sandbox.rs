//! A payment provider for trying things out: what happens is in the payment method's name.

use super::{Charge, NoMethod, Payment, Provider};
use crate::domain::ids::PaymentCustomer;
use crate::store::{SandboxCharge, Store};

/// What a sandbox payment method does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Approved at once.
    Approve,
    /// Declined at once.
    Decline,
    /// Charged, but the answer is lost; asked again, it says so.
    Timeout,
    /// Under way at first; paid when asked again.
    Late,
}

const METHODS: [(&str, Method); 4] = [
    ("sandbox_approve", Method::Approve),
    ("sandbox_decline", Method::Decline),
    ("sandbox_timeout", Method::Timeout),
    ("sandbox_late", Method::Late),
];

fn method(name: &str) -> Option<Method> {
    METHODS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, method)| *method)
}

/// Keeps its charges in the ledger's table, under keys of its own, so that it remembers
/// idempotency keys across processes as a real provider does.
#[derive(Debug, Clone)]
pub struct Sandbox {
    store: Store,
}

impl Sandbox {
    /// With its memory in that table.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

impl Provider for Sandbox {
    async fn default_method(&self, _: Option<&PaymentCustomer>) -> Result<String, NoMethod> {
        Ok(METHODS[0].0.to_owned())
    }

    fn accepts(&self, name: &str) -> bool {
        method(name).is_some()
    }

    async fn charge(&self, charge: &Charge<'_>) -> Payment {
        match self
            .store
            .sandbox_charge(charge.purchase, charge.method, charge.price)
            .await
        {
            Ok(remembered) => answer(&remembered, charge),
            Err(error) => no_answer(charge, &error),
        }
    }

    async fn cancel(&self, charge: &Charge<'_>) -> Payment {
        match self.store.sandbox_remembered(charge.purchase).await {
            Ok(Some(remembered)) if taken(&remembered) => Payment::Paid,
            Ok(remembered) => {
                let asked = remembered.map_or(0, |remembered| remembered.asked);
                match self.store.sandbox_cancel(charge.purchase, asked).await {
                    Ok(()) => Payment::Declined,
                    Err(error) => no_answer(charge, &error),
                }
            }
            Err(error) => no_answer(charge, &error),
        }
    }
}

fn no_answer(charge: &Charge<'_>, error: &dyn std::error::Error) -> Payment {
    tracing::warn!(purchase = %charge.purchase, %error, "the sandbox did not answer");
    Payment::Open
}

/// Whether the money was taken by the requests so far, whatever was answered.
fn taken(charge: &SandboxCharge) -> bool {
    match method(&charge.method) {
        _ if charge.cancelled => false,
        Some(Method::Approve | Method::Timeout) => charge.asked >= 1,
        Some(Method::Late) => charge.asked >= 2,
        Some(Method::Decline) | None => false,
    }
}

fn answer(remembered: &SandboxCharge, charge: &Charge<'_>) -> Payment {
    let same = remembered.amount == charge.price.amount && remembered.method == charge.method;
    match method(&remembered.method) {
        // One key, another charge: no provider takes that.
        _ if !same || remembered.cancelled => Payment::Declined,
        Some(Method::Timeout) if remembered.asked == 1 => Payment::Open,
        Some(Method::Late) if remembered.asked == 1 => Payment::Open,
        _ if taken(remembered) => Payment::Paid,
        _ => Payment::Declined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{AccountId, Operation, OperationId};
    use crate::domain::units::Money;

    #[test]
    fn a_method_does_what_its_name_says() {
        let account = AccountId::try_new("a1").unwrap();
        let purchase = OperationId::derive(&account, Operation::Purchase, "k");
        let price = Money {
            amount: 150,
            currency: "USD".into(),
        };
        for (method, asked, cancelled, expected) in [
            ("sandbox_approve", 1, false, Payment::Paid),
            ("sandbox_approve", 5, false, Payment::Paid),
            ("sandbox_decline", 1, false, Payment::Declined),
            ("sandbox_decline", 2, false, Payment::Declined),
            ("sandbox_timeout", 1, false, Payment::Open),
            ("sandbox_timeout", 2, false, Payment::Paid),
            ("sandbox_late", 1, false, Payment::Open),
            ("sandbox_late", 2, false, Payment::Paid),
            ("sandbox_late", 2, true, Payment::Declined),
        ] {
            let charge = Charge {
                account: &account,
                purchase: &purchase,
                price: &price,
                method,
                customer: None,
            };
            let mut remembered = SandboxCharge {
                method: method.to_owned(),
                amount: 150,
                asked,
                cancelled,
            };
            assert_eq!(answer(&remembered, &charge), expected, "{method} {asked}");
            remembered.amount = 151;
            assert_eq!(answer(&remembered, &charge), Payment::Declined, "{method}");
        }
    }
}
