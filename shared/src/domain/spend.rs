//! Spending: oldest lots first, all or nothing.

use serde::Serialize;

use super::account::Balance;
use super::draft::{Draft, Guard, Plan, Unplanned};
use super::ids::{AccountId, Fingerprint, Operation, OperationId, Reason, Reference};
use super::key::IdempotencyKey;
use super::lot::{Slice, SliceView, views};
use super::receipt::Receipt;
use super::refusal::{Invalid, Refusal};
use super::units::Connects;
use crate::defect::{Defect, present};

/// The reasons of spends that have operations of their own.
const OWN_OPERATION: [&str; 3] = ["proposal", "boost", "badge"];

/// A request to spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpendCommand {
    /// How many.
    pub amount: Connects,
    /// For what kind of thing.
    pub reason: Reason,
    /// For what; the spend itself where absent.
    pub reference: Option<Reference>,
}

impl SpendCommand {
    /// A reason that a plain spend may have.
    ///
    /// # Errors
    /// `invalid_field` when it is not of the form, or belongs to an operation of its own.
    pub fn reason(text: &str) -> Result<Reason, Invalid> {
        match OWN_OPERATION.contains(&text) {
            true => Err(Invalid::field("reason", "has an operation of its own")),
            false => Reason::try_new(text),
        }
    }

    /// The id that this request has under `key`.
    pub fn id(account: &AccountId, key: &IdempotencyKey) -> OperationId {
        OperationId::derive(account, Operation::Spend, key.as_str())
    }

    /// What a retry must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::Spend, self)
    }

    /// Takes the Connects out of the oldest lots.
    ///
    /// # Errors
    /// `account_suspended`, `in_debt`, `insufficient_connects`, in that order.
    pub fn plan(
        &self,
        mut draft: Draft<'_>,
        id: &OperationId,
    ) -> Result<(Receipt, Option<Plan>), Unplanned> {
        may_spend(&draft, self.amount)?;
        let reference = self.reference.clone();
        let charge = Charge {
            id: id.clone(),
            fingerprint: self.fingerprint(),
            key: None,
            amount: self.amount,
            field: "amount",
            reason: self.reason.clone(),
            reference: reference.unwrap_or_else(|| Reference::of("spend", id)),
        };
        let receipt = charge.take(&mut draft)?;
        let (_, plan) = draft.finish(vec![Guard::NewReceipt(receipt.clone())]);
        Ok((receipt, plan))
    }
}

/// Whether an account may be charged that much at all, however much it has.
///
/// # Errors
/// `account_suspended`; `in_debt`, unless it is nothing.
pub(super) fn may_spend(draft: &Draft<'_>, amount: Connects) -> Result<(), Refusal> {
    let debt = draft.account().balance().debt;
    if draft.is_suspended() && !present(Defect::SuspendedSpends) {
        return Err(Refusal::AccountSuspended);
    }
    if !debt.is_zero() && !amount.is_zero() {
        return Err(Refusal::InDebt { debt });
    }
    Ok(())
}

/// What an operation takes.
pub(super) struct Charge {
    pub id: OperationId,
    pub fingerprint: Fingerprint,
    pub key: Option<IdempotencyKey>,
    pub amount: Connects,
    /// What asks for so much, in the request.
    pub field: &'static str,
    pub reason: Reason,
    pub reference: Reference,
}

impl Charge {
    /// Takes it out of the oldest lots.
    ///
    /// # Errors
    /// `insufficient_connects`.
    pub fn take(self, draft: &mut Draft<'_>) -> Result<Receipt, Refusal> {
        self.taken(draft, Draft::spend)
    }

    /// Sets it aside out of the oldest lots.
    ///
    /// # Errors
    /// `insufficient_connects`.
    pub fn hold(self, draft: &mut Draft<'_>) -> Result<Receipt, Refusal> {
        self.taken(draft, Draft::hold)
    }

    fn taken<'p>(
        self,
        draft: &mut Draft<'p>,
        take: impl FnOnce(&mut Draft<'p>, Connects, Reason, Reference) -> Option<Vec<Slice>>,
    ) -> Result<Receipt, Refusal> {
        let available = draft.account().balance().available;
        if available < self.amount {
            return Err(Refusal::InsufficientConnects {
                available,
                required: self.amount,
            });
        }
        let slices = take(draft, self.amount, self.reason, self.reference.clone())
            .ok_or_else(|| too_many_lots(self.field))?;
        Ok(Receipt {
            id: self.id,
            fingerprint: self.fingerprint,
            key: self.key,
            seq: draft.account().head.seq,
            amount: self.amount,
            slices,
            after: draft.account().balance(),
            reference: self.reference,
            returned: Connects::ZERO,
        })
    }
}

pub(super) fn too_many_lots(field: &str) -> Refusal {
    let detail = "lies in more lots than one entry can name; ask for less at once";
    Refusal::Invalid(Invalid {
        code: super::refusal::InvalidCode::AboveMaximum,
        field: field.to_owned(),
        detail: detail.to_owned(),
    })
}

/// The answer to a spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct SpendAnswer {
    /// Its id.
    pub spend_id: OperationId,
    /// How many.
    pub amount: Connects,
    /// Out of which lots, in the order of use.
    pub lots: Vec<SliceView>,
    /// The balance after it.
    pub balance: Balance,
}

impl From<Receipt> for SpendAnswer {
    fn from(receipt: Receipt) -> Self {
        Self {
            lots: views(&receipt.slices),
            spend_id: receipt.id,
            amount: receipt.amount,
            balance: receipt.after,
        }
    }
}
