//! The business says no: a closed list, part of the HTTP contract.

use serde_json::{Map, Value, json};

use super::units::Connects;

/// A value of the right type that the rules don't accept; answered 422.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct Invalid {
    /// What kind of wrong.
    pub code: InvalidCode,
    /// The member, query parameter or path segment at fault.
    pub field: String,
    /// What would have been accepted.
    pub detail: String,
}

/// The codes of [`Invalid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidCode {
    /// Missing, `null` or not one of the accepted values.
    InvalidField,
    /// A number under its least accepted value.
    BelowMinimum,
    /// A number over its greatest accepted value.
    AboveMaximum,
}

impl Invalid {
    /// A missing or unacceptable value.
    pub fn field(field: &str, detail: impl Into<String>) -> Self {
        Self::new(InvalidCode::InvalidField, field, detail.into())
    }

    /// A number outside `min..=max`, or `None` when it is inside.
    pub fn range(field: &str, value: i64, min: i64, max: i64) -> Option<Self> {
        let detail = || format!("must be from {min} to {max}");
        match value {
            v if v < min => Some(Self::new(InvalidCode::BelowMinimum, field, detail())),
            v if v > max => Some(Self::new(InvalidCode::AboveMaximum, field, detail())),
            _ => None,
        }
    }

    fn new(code: InvalidCode, field: &str, detail: String) -> Self {
        Self {
            code,
            field: field.to_owned(),
            detail,
        }
    }
}

/// Why an operation did not happen. Nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A bad value that only the ledger could see.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// No such account, or none that the caller may know of.
    #[error("no such account")]
    AccountNotFound,
    /// No such purchase in this account.
    #[error("no such purchase")]
    PurchaseNotFound,
    /// No such spend in this account.
    #[error("no such spend")]
    SpendNotFound,
    /// The account has no proposal on that job.
    #[error("no proposal on this job")]
    ProposalNotFound,
    /// No such hold in this account.
    #[error("no such hold")]
    HoldNotFound,
    /// The account never had an availability badge.
    #[error("no availability badge was ever turned on")]
    BadgeNotFound,
    /// The hold has ended, or its time is over.
    #[error("the hold is not open any more")]
    HoldNotOpen {
        /// The hold as it stands.
        existing: Value,
    },
    /// No bids are taken any more.
    #[error("the auction is closed")]
    AuctionClosed,
    /// The account bids as much or more.
    #[error("a bid can only be raised: it is {bid} now")]
    BidNotRaised {
        /// How much it bids.
        bid: Connects,
    },
    /// All places are taken by bids that are higher, or as high and earlier.
    #[error("the bid brings no place: {required} would")]
    BidTooLow {
        /// The least that brings a place.
        required: Connects,
    },
    /// No such job.
    #[error("no such job")]
    JobNotFound,
    /// The job takes no proposals any more.
    #[error("the job is closed")]
    JobClosed,
    /// The account has a proposal on the job, if only a withdrawn one.
    #[error("the account has a proposal on this job")]
    AlreadyProposed {
        /// The proposal as it stands.
        existing: Value,
    },
    /// The job costs more than the submitter expects.
    #[error("the job costs {required} Connects now, not {expected}")]
    PriceChanged {
        /// What was expected.
        expected: Connects,
        /// What it costs.
        required: Connects,
    },
    /// The account is on that plan already, or will be.
    #[error("the account has this plan, or will have it with its next cycle")]
    PlanUnchanged,
    /// The achievement was rewarded before.
    #[error("the account has this reward")]
    RewardAlreadyGiven {
        /// The reward's stored answer.
        existing: Value,
    },
    /// What was achieved does not count. What would is private.
    #[error("this is not rewarded")]
    RewardNotEarned,
    /// No such promo code.
    #[error("no such promo code")]
    PromoUnknown,
    /// The account is open already, with other particulars.
    #[error("the account exists with another kind, person or opening date")]
    AccountExists,
    /// Spending and grants stop while an account is suspended.
    #[error("the account is suspended")]
    AccountSuspended,
    /// A charged-back purchase was partly spent; later credits must cover it first.
    #[error("{debt} Connects of a charged-back purchase must be covered first")]
    InDebt {
        /// What is still owed.
        debt: Connects,
    },
    /// Fewer Connects than the operation needs.
    #[error("{required} Connects needed, {available} available")]
    InsufficientConnects {
        /// The balance at the time.
        available: Connects,
        /// What the operation needs.
        required: Connects,
    },
    /// More than is left to return of a spend.
    #[error("only {returnable} Connects of this spend can still be returned")]
    RefundExceedsSpend {
        /// What can still come back.
        returnable: Connects,
    },
    /// The code's validity has not begun.
    #[error("the code is not valid yet")]
    PromoNotStarted,
    /// The code's validity is over.
    #[error("the code has expired")]
    PromoExpired,
    /// Every redemption of the code is taken.
    #[error("the code is used up")]
    PromoExhausted,
    /// The account has redeemed the code before.
    #[error("the account has redeemed this code")]
    PromoAlreadyRedeemed {
        /// The redemption's stored answer.
        existing: Value,
    },
    /// The code is not for this kind of account, plan or use.
    #[error("the code is not for this account or use")]
    PromoNotEligible,
    /// More redemptions exist than the new limit allows.
    #[error("{redeemed} redemptions exist already")]
    PromoInUse {
        /// How many there are.
        redeemed: u64,
    },
    /// There is a promo of that name, and whoever asks can't be told its codes.
    #[error("there is a promo code of this name; single-use codes are shown once")]
    PromoExists {
        /// It as it stands.
        existing: Value,
    },
    /// The purchase was charged back before.
    #[error("the purchase was charged back")]
    AlreadyChargedBack {
        /// The purchase as it stands.
        existing: Value,
    },
    /// Only a paid purchase can be charged back.
    #[error("the purchase was not paid")]
    PurchaseNotPaid,
    /// The payment provider declined for good.
    #[error("the payment was declined")]
    PaymentDeclined {
        /// The purchase as it stands.
        purchase: Value,
    },
    /// The idempotency key belongs to another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// The account did this too often.
    #[error("too many of these for one account; try again in {retry_after} s")]
    RateLimited {
        /// The seconds after which there is one again.
        retry_after: u64,
    },
}

impl Refusal {
    /// The HTTP status and the problem code of the contract.
    pub fn status_and_code(&self) -> (u16, &'static str) {
        match self {
            Self::Invalid(invalid) => (
                422,
                match invalid.code {
                    InvalidCode::InvalidField => "invalid_field",
                    InvalidCode::BelowMinimum => "below_minimum",
                    InvalidCode::AboveMaximum => "above_maximum",
                },
            ),
            Self::AccountNotFound => (404, "account_not_found"),
            Self::PurchaseNotFound => (404, "purchase_not_found"),
            Self::SpendNotFound => (404, "spend_not_found"),
            Self::ProposalNotFound => (404, "proposal_not_found"),
            Self::HoldNotFound => (404, "hold_not_found"),
            Self::BadgeNotFound => (404, "badge_not_found"),
            Self::HoldNotOpen { .. } => (409, "hold_not_open"),
            Self::AuctionClosed => (409, "auction_closed"),
            Self::BidNotRaised { .. } => (409, "bid_not_raised"),
            Self::BidTooLow { .. } => (409, "bid_too_low"),
            Self::JobNotFound => (404, "job_not_found"),
            Self::JobClosed => (409, "job_closed"),
            Self::AlreadyProposed { .. } => (409, "already_proposed"),
            Self::PriceChanged { .. } => (409, "price_changed"),
            Self::PlanUnchanged => (409, "plan_unchanged"),
            Self::RewardAlreadyGiven { .. } => (409, "reward_already_given"),
            Self::RewardNotEarned => (409, "reward_not_earned"),
            Self::PromoUnknown => (404, "promo_unknown"),
            Self::AccountExists => (409, "account_exists"),
            Self::AccountSuspended => (409, "account_suspended"),
            Self::InDebt { .. } => (409, "in_debt"),
            Self::InsufficientConnects { .. } => (409, "insufficient_connects"),
            Self::RefundExceedsSpend { .. } => (409, "refund_exceeds_spend"),
            Self::PromoNotStarted => (409, "promo_not_started"),
            Self::PromoExpired => (409, "promo_expired"),
            Self::PromoExhausted => (409, "promo_exhausted"),
            Self::PromoAlreadyRedeemed { .. } => (409, "promo_already_redeemed"),
            Self::PromoNotEligible => (409, "promo_not_eligible"),
            Self::PromoInUse { .. } => (409, "promo_in_use"),
            Self::PromoExists { .. } => (409, "promo_exists"),
            Self::AlreadyChargedBack { .. } => (409, "already_charged_back"),
            Self::PurchaseNotPaid => (409, "purchase_not_paid"),
            Self::PaymentDeclined { .. } => (402, "payment_declined"),
            Self::IdempotencyKeyReused => (422, "idempotency_key_reused"),
            Self::RateLimited { .. } => (429, "rate_limited"),
        }
    }

    /// The members that a problem document carries beyond the standard ones.
    pub fn members(&self) -> Map<String, Value> {
        let members = match self {
            Self::Invalid(invalid) => json!({ "field": invalid.field }),
            Self::InDebt { debt } => json!({ "debt": debt }),
            Self::InsufficientConnects {
                available,
                required,
            } => json!({ "available": available, "required": required }),
            Self::RefundExceedsSpend { returnable } => json!({ "returnable": returnable }),
            Self::PromoAlreadyRedeemed { existing }
            | Self::PromoExists { existing }
            | Self::AlreadyChargedBack { existing }
            | Self::AlreadyProposed { existing }
            | Self::HoldNotOpen { existing }
            | Self::RewardAlreadyGiven { existing } => json!({ "existing": existing }),
            Self::BidNotRaised { bid } => json!({ "bid": bid }),
            Self::BidTooLow { required } => json!({ "required": required }),
            Self::PriceChanged { expected, required } => {
                json!({ "expected": expected, "required": required })
            }
            Self::PromoInUse { redeemed } => json!({ "redeemed": redeemed }),
            Self::PaymentDeclined { purchase } => json!({ "purchase": purchase }),
            _ => Value::Null,
        };
        match members {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::connects;
    use super::*;

    #[test]
    fn each_refusal_has_its_status_code_and_members() {
        let some = Connects::new;
        let value = || json!({ "a": 1 });
        let invalid = |code| Refusal::Invalid(Invalid::new(code, "amount", String::new()));
        let field = json!({ "field": "amount" });
        let none = json!({});
        for (refusal, status, code, members) in [
            (
                invalid(InvalidCode::InvalidField),
                422,
                "invalid_field",
                &field,
            ),
            (
                invalid(InvalidCode::BelowMinimum),
                422,
                "below_minimum",
                &field,
            ),
            (
                invalid(InvalidCode::AboveMaximum),
                422,
                "above_maximum",
                &field,
            ),
            (Refusal::AccountNotFound, 404, "account_not_found", &none),
            (Refusal::PurchaseNotFound, 404, "purchase_not_found", &none),
            (Refusal::SpendNotFound, 404, "spend_not_found", &none),
            (Refusal::ProposalNotFound, 404, "proposal_not_found", &none),
            (Refusal::HoldNotFound, 404, "hold_not_found", &none),
            (Refusal::BadgeNotFound, 404, "badge_not_found", &none),
            (
                Refusal::HoldNotOpen { existing: value() },
                409,
                "hold_not_open",
                &json!({ "existing": { "a": 1 } }),
            ),
            (Refusal::AuctionClosed, 409, "auction_closed", &none),
            (
                Refusal::BidNotRaised { bid: connects(9) },
                409,
                "bid_not_raised",
                &json!({ "bid": 9 }),
            ),
            (
                Refusal::BidTooLow {
                    required: connects(11),
                },
                409,
                "bid_too_low",
                &json!({ "required": 11 }),
            ),
            (Refusal::PromoUnknown, 404, "promo_unknown", &none),
            (Refusal::JobNotFound, 404, "job_not_found", &none),
            (Refusal::JobClosed, 409, "job_closed", &none),
            (
                Refusal::AlreadyProposed { existing: value() },
                409,
                "already_proposed",
                &json!({ "existing": { "a": 1 } }),
            ),
            (
                Refusal::PriceChanged {
                    expected: some(8),
                    required: some(10),
                },
                409,
                "price_changed",
                &json!({ "expected": 8, "required": 10 }),
            ),
            (Refusal::AccountExists, 409, "account_exists", &none),
            (Refusal::PlanUnchanged, 409, "plan_unchanged", &none),
            (
                Refusal::RewardAlreadyGiven { existing: value() },
                409,
                "reward_already_given",
                &json!({ "existing": { "a": 1 } }),
            ),
            (Refusal::RewardNotEarned, 409, "reward_not_earned", &none),
            (Refusal::AccountSuspended, 409, "account_suspended", &none),
            (
                Refusal::InDebt { debt: some(7) },
                409,
                "in_debt",
                &json!({ "debt": 7 }),
            ),
            (
                Refusal::InsufficientConnects {
                    available: some(1),
                    required: some(2),
                },
                409,
                "insufficient_connects",
                &json!({ "available": 1, "required": 2 }),
            ),
            (
                Refusal::RefundExceedsSpend {
                    returnable: some(3),
                },
                409,
                "refund_exceeds_spend",
                &json!({ "returnable": 3 }),
            ),
            (Refusal::PromoNotStarted, 409, "promo_not_started", &none),
            (Refusal::PromoExpired, 409, "promo_expired", &none),
            (Refusal::PromoExhausted, 409, "promo_exhausted", &none),
            (
                Refusal::PromoAlreadyRedeemed { existing: value() },
                409,
                "promo_already_redeemed",
                &json!({ "existing": { "a": 1 } }),
            ),
            (Refusal::PromoNotEligible, 409, "promo_not_eligible", &none),
            (
                Refusal::PromoInUse { redeemed: 4 },
                409,
                "promo_in_use",
                &json!({ "redeemed": 4 }),
            ),
            (
                Refusal::PromoExists { existing: value() },
                409,
                "promo_exists",
                &json!({ "existing": { "a": 1 } }),
            ),
            (
                Refusal::AlreadyChargedBack { existing: value() },
                409,
                "already_charged_back",
                &json!({ "existing": { "a": 1 } }),
            ),
            (Refusal::PurchaseNotPaid, 409, "purchase_not_paid", &none),
            (
                Refusal::PaymentDeclined { purchase: value() },
                402,
                "payment_declined",
                &json!({ "purchase": { "a": 1 } }),
            ),
            (
                Refusal::IdempotencyKeyReused,
                422,
                "idempotency_key_reused",
                &none,
            ),
            (
                Refusal::RateLimited { retry_after: 3 },
                429,
                "rate_limited",
                &none,
            ),
        ] {
            assert_eq!(refusal.status_and_code(), (status, code));
            assert_eq!(&Value::Object(refusal.members()), members, "{code}");
        }
    }

    #[test]
    fn a_range_includes_its_ends() {
        for (value, code) in [
            (0, Some(InvalidCode::BelowMinimum)),
            (1, None),
            (9, None),
            (10, Some(InvalidCode::AboveMaximum)),
        ] {
            let found = Invalid::range("amount", value, 1, 9).map(|invalid| invalid.code);
            assert_eq!(found, code, "{value}");
        }
    }
}
