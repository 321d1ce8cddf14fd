//! Refunds: Connects of a spend back to the lots they came from, last taken first.

use serde::{Deserialize, Serialize};

use super::account::Balance;
use super::draft::{Draft, Guard, Plan, Unplanned};
use super::ids::{AccountId, Fingerprint, JobId, Operation, OperationId, Reason};
use super::key::IdempotencyKey;
use super::lot::{Slice, SliceView, last_of, views};
use super::proposal::Proposal;
use super::receipt::Receipt;
use super::refusal::Refusal;
use super::units::Connects;

/// What a refund is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundOf {
    /// A plain spend.
    SpendId(OperationId),
    /// The account's proposal on a job.
    JobId(JobId),
}

/// Why an operator gives Connects back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RefundReason {
    /// As a courtesy.
    Goodwill,
    /// The spend was a mistake.
    Correction,
}

impl RefundReason {
    /// Both by their words.
    pub const ALL: [(&'static str, Self); 2] = [
        ("goodwill", Self::Goodwill),
        ("correction", Self::Correction),
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Goodwill => "goodwill",
            Self::Correction => "correction",
        }
    }
}

/// A request to give back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefundCommand {
    /// What it is of.
    pub of: RefundOf,
    /// How many; all that is left where absent.
    pub amount: Option<Connects>,
    /// Why.
    pub reason: RefundReason,
}

impl RefundCommand {
    /// The id that this request has under `key`.
    pub fn id(account: &AccountId, key: &IdempotencyKey) -> OperationId {
        OperationId::derive(account, Operation::Refund, key.as_str())
    }

    /// What a retry must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::Refund, self)
    }

    /// Gives the Connects back. A suspended account is credited too.
    ///
    /// # Errors
    /// `spend_not_found`, `proposal_not_found`, `refund_exceeds_spend`; stale when the spend's
    /// receipt was read before a refund that the account already shows.
    pub fn plan(
        &self,
        mut draft: Draft<'_>,
        id: &OperationId,
        charged: Option<&Charged>,
    ) -> Result<(Receipt, Option<Plan>), Unplanned> {
        let charged = charged.ok_or(match &self.of {
            RefundOf::SpendId(_) => Refusal::SpendNotFound,
            RefundOf::JobId(_) => Refusal::ProposalNotFound,
        })?;
        let spend = charged.receipt();
        let returnable = spend.returnable();
        let amount = self.amount.unwrap_or(returnable);
        if amount > returnable || returnable.is_zero() {
            return Err(Refusal::RefundExceedsSpend { returnable }.into());
        }
        let seq = draft.account().head.seq.next();
        let reason = Reason::of(self.reason.as_str());
        let slices = bring_back(&mut draft, spend, amount, reason.clone())?;
        let receipt = Receipt {
            id: id.clone(),
            fingerprint: self.fingerprint(),
            key: None,
            seq,
            amount,
            slices,
            after: draft.account().balance(),
            reference: spend.reference.clone(),
            returned: Connects::ZERO,
        };
        let returned = match charged {
            Charged::Spend(spend) => Guard::Returned {
                spend: spend.id.clone(),
                was: spend.returned,
                now: spend.returned + amount,
            },
            Charged::Proposal(proposal) => Guard::Proposal(proposal.refunded(amount, reason)),
        };
        let (_, plan) = draft.finish(vec![Guard::NewReceipt(receipt.clone()), returned]);
        Ok((receipt, plan))
    }
}

/// Gives `amount` more of a spend back, to the lots it came out of, last taken first. Says where to.
///
/// # Errors
/// Stale when the spend's receipt was read before something came back that the account already
/// shows.
pub fn bring_back(
    draft: &mut Draft<'_>,
    spend: &Receipt,
    amount: Connects,
    reason: Reason,
) -> Result<Vec<Slice>, Unplanned> {
    let back = last_of(&spend.slices, spend.returned, amount);
    draft
        .give_back(&back, reason, spend.reference.clone())
        .ok_or(Unplanned::Stale)
}

/// What took the Connects that a refund gives back.
#[derive(Debug, Clone, PartialEq)]
pub enum Charged {
    /// A plain spend, by its receipt.
    Spend(Receipt),
    /// A proposal.
    Proposal(Proposal),
}

impl Charged {
    fn receipt(&self) -> &Receipt {
        match self {
            Self::Spend(receipt) => receipt,
            Self::Proposal(proposal) => &proposal.charge,
        }
    }
}

/// The answer to a refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct RefundAnswer {
    /// Its id.
    pub refund_id: OperationId,
    /// How many came back.
    pub amount: Connects,
    /// Into which lots, last taken first.
    pub lots: Vec<SliceView>,
    /// The balance after it.
    pub balance: Balance,
}

impl From<Receipt> for RefundAnswer {
    fn from(receipt: Receipt) -> Self {
        Self {
            lots: views(&receipt.slices),
            refund_id: receipt.id,
            amount: receipt.amount,
            balance: receipt.after,
        }
    }
}
