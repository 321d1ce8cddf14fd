//! Receipts: what an operation did, found by its id, so that a retry gets the first answer.

use serde::{Deserialize, Serialize};

use super::account::Balance;
use super::ids::{Fingerprint, OperationId, Reference, Seq};
use super::key::IdempotencyKey;
use super::lot::Slice;
use super::refusal::Refusal;
use super::units::Connects;
use crate::defect::{Defect, present};

/// The receipt of a spend, a refund or a redemption. Its answer is made from it alone, and a spend's
/// says which lots a refund goes back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The operation.
    pub id: OperationId,
    /// What it was asked for.
    pub fingerprint: Fingerprint,
    /// The idempotency key it came under, where that is not already what the id was made of.
    pub key: Option<IdempotencyKey>,
    /// Its journal entry.
    pub seq: Seq,
    /// How many Connects it moved.
    pub amount: Connects,
    /// Out of or into which lots.
    pub slices: Vec<Slice>,
    /// What the account had after it.
    pub after: Balance,
    /// What it was about.
    pub reference: Reference,
    /// How much of a spend or a hold has come back.
    pub returned: Connects,
}

impl Receipt {
    /// What of a spend can still come back.
    pub fn returnable(&self) -> Connects {
        match present(Defect::RefundUncounted) {
            false => self.amount - self.returned,
            true => self.amount,
        }
    }

    /// This receipt, if the request that finds it is the one that made it.
    ///
    /// # Errors
    /// `idempotency_key_reused` when it is another.
    pub fn for_request(self, fingerprint: &Fingerprint) -> Result<Self, Refusal> {
        self.fingerprint.must_be(fingerprint)?;
        Ok(self)
    }
}

/// The receipt of an operation whose answer can't be made again from what it moved: it keeps the
/// answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered<A> {
    /// The operation.
    pub id: OperationId,
    /// What it was asked for.
    pub fingerprint: Fingerprint,
    /// The idempotency key it came under, where that is not already what the id was made of.
    pub key: Option<IdempotencyKey>,
    /// Its journal entry, the first if it has several.
    pub entry: Seq,
    /// What was answered.
    pub answer: A,
}

impl<A> Answered<A> {
    /// This receipt, if the request that finds it is the one that made it.
    ///
    /// # Errors
    /// `idempotency_key_reused` when it is another.
    pub fn for_request(self, fingerprint: &Fingerprint) -> Result<Self, Refusal> {
        self.fingerprint.must_be(fingerprint)?;
        Ok(self)
    }
}

impl Fingerprint {
    /// Whether a request is the one that this is of.
    pub(super) fn must_be(&self, request: &Self) -> Result<(), Refusal> {
        match self == request || present(Defect::AnyBody) {
            true => Ok(()),
            false => Err(Refusal::IdempotencyKeyReused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::Kind;
    use super::super::ids::Operation;
    use super::super::policy::built_in;
    use super::super::testing::{OPENED, connects, opened, spend, spent};
    use super::*;

    #[test]
    fn a_receipt_is_of_one_request_and_knows_what_can_come_back() {
        let policy = built_in();
        let (receipt, _, _) = spent(&policy, opened(&policy, Kind::Freelancer), OPENED, 45);
        assert_eq!(receipt.returnable(), connects(45));
        let returned = connects(40);
        let partly = Receipt {
            returned,
            ..receipt.clone()
        };
        assert_eq!(partly.returnable(), connects(5));
        let same = receipt.clone().for_request(&spend(45).fingerprint());
        assert_eq!(same, Ok(receipt.clone()));
        let other = Fingerprint::of(Operation::Spend, &46);
        assert_eq!(
            receipt.for_request(&other),
            Err(Refusal::IdempotencyKeyReused)
        );
    }
}
