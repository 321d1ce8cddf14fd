//! What Stripe answers, as far as it matters here, and what follows from it.
//!
//! | answer to a charge | the purchase |
//! |---|---|
//! | 200, an intent | by its status, below |
//! | 402; 400 or 404, but for `idempotency_error` | declined, once its intent is cancelled |
//! | 401, 403, 409, 429, 5xx, `idempotency_error`, none | pending |
//!
//! | intent's status | the purchase |
//! |---|---|
//! | `succeeded` | paid |
//! | `canceled` | declined |
//! | `requires_payment_method`, `requires_action` | declined, once it is cancelled |
//! | `processing`, `requires_confirmation`, `requires_capture`, any other | pending |
//!
//! | dispute's status | the purchase |
//! |---|---|
//! | `needs_response`, `under_review`, `lost` | charged back |
//! | `won` | charged back, and that undone |
//! | `warning_…`, any other | as it is: no money moved |

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::Charge;
use crate::domain::ids::{AccountId, OperationId};
use crate::domain::purchase::DisputeState;
use crate::web::Response;

/// A PaymentIntent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Intent {
    /// Its id, `pi_…`.
    pub id: String,
    status: IntentStatus,
    amount: u64,
    currency: String,
    #[serde(default)]
    metadata: Metadata,
}

/// What we wrote on an intent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    account_id: Option<String>,
    purchase_id: Option<String>,
}

/// How an intent stands, in Stripe's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentStatus {
    /// The money is taken.
    Succeeded,
    /// It will never be.
    Canceled,
    /// The method was declined, or there is none.
    RequiresPaymentMethod,
    /// The customer would have to do something, and is not there.
    RequiresAction,
    /// It is under way.
    Processing,
    /// It was not tried yet.
    RequiresConfirmation,
    /// The money is reserved; we never ask for that.
    RequiresCapture,
    /// A word of later versions.
    #[serde(other)]
    Unknown,
}

/// How an intent stands, in ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// The money is taken.
    Paid,
    /// It never will be.
    Declined,
    /// It is not, and will not be unless somebody tries again.
    CameToNothing,
    /// Not known yet.
    UnderWay,
}

impl Intent {
    /// Whether it was made for that charge, of that amount.
    pub fn is_for(&self, charge: &Charge<'_>) -> bool {
        self.metadata.purchase_id.as_deref() == Some(charge.purchase.as_str())
            && self.metadata.account_id.as_deref() == Some(charge.account.as_str())
            && self.amount == charge.price.amount
            && self.currency.eq_ignore_ascii_case(&charge.price.currency)
    }

    /// How it stands.
    pub fn stands(&self) -> Stands {
        match self.status {
            IntentStatus::Succeeded => Stands::Paid,
            IntentStatus::Canceled => Stands::Declined,
            IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresAction => {
                Stands::CameToNothing
            }
            IntentStatus::Processing
            | IntentStatus::RequiresConfirmation
            | IntentStatus::RequiresCapture
            | IntentStatus::Unknown => Stands::UnderWay,
        }
    }
}

impl Metadata {
    /// The purchase that it names, if it names one of ours.
    pub fn purchase(&self) -> Option<(AccountId, OperationId)> {
        let account = AccountId::try_new(self.account_id.as_deref()?).ok()?;
        let purchase = OperationId::try_new(self.purchase_id.as_deref()?).ok()?;
        Some((account, purchase))
    }
}

/// What came of asking for a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// An intent.
    Made(Intent),
    /// A refusal, with the intent that it left if it names one.
    Refused {
        /// Why: the bank's code, or Stripe's.
        code: Option<String>,
        /// What is left of it.
        intent: Option<Intent>,
    },
    /// Nothing that is certain.
    Unknown(String),
}

#[derive(Debug, Default, Deserialize)]
struct Failure {
    #[serde(default)]
    error: FailureDetail,
}

#[derive(Debug, Default, Deserialize)]
struct FailureDetail {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
    #[serde(default)]
    payment_intent: Option<Intent>,
}

/// Reads the answer to a charge.
pub fn asked(answer: &Response) -> Asked {
    let failure = || read::<Failure>(&answer.body).unwrap_or_default().error;
    match answer.status {
        200 => match read(&answer.body) {
            Ok(intent) => Asked::Made(intent),
            Err(error) => Asked::Unknown(error),
        },
        400 | 402 | 404 => match failure() {
            FailureDetail {
                r#type: Some(of), ..
            } if of == "idempotency_error" => {
                Asked::Unknown("its key was used for another charge".to_owned())
            }
            FailureDetail {
                code,
                decline_code,
                payment_intent,
                ..
            } => Asked::Refused {
                code: decline_code.or(code),
                intent: payment_intent,
            },
        },
        status => Asked::Unknown(format!("status {status}, code {:?}", failure().code)),
    }
}

/// The code of a refusal.
pub fn code(body: &[u8]) -> Option<String> {
    read::<Failure>(body).ok()?.error.code
}

/// Reads what came.
///
/// # Errors
/// Says what it is not.
pub fn read<A: DeserializeOwned>(body: &[u8]) -> Result<A, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct List<T> {
    /// What is on it, newest first.
    pub data: Vec<T>,
    /// Whether there are further ones.
    #[serde(default)]
    pub has_more: bool,
}

/// A customer.
#[derive(Debug, Deserialize)]
pub struct Customer {
    #[serde(default)]
    invoice_settings: Option<InvoiceSettings>,
}

#[derive(Debug, Deserialize)]
struct InvoiceSettings {
    #[serde(default)]
    default_payment_method: Option<String>,
}

impl Customer {
    /// The method that is charged where none is named.
    pub fn default_method(self) -> Option<String> {
        self.invoice_settings?.default_payment_method
    }
}

/// A dispute, with its intent.
#[derive(Debug, Deserialize)]
pub struct Dispute {
    id: String,
    status: DisputeStatus,
    #[serde(default)]
    payment_intent: Option<About>,
}

#[derive(Debug, Deserialize)]
struct About {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DisputeStatus {
    NeedsResponse,
    UnderReview,
    Lost,
    Won,
    #[serde(other)]
    NoMoney,
}

/// A dispute that is about a purchase, and has moved money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disputed {
    /// Its id.
    pub id: String,
    /// Whose purchase.
    pub account: AccountId,
    /// The purchase.
    pub purchase: OperationId,
    /// How it stands.
    pub state: DisputeState,
}

impl Dispute {
    /// What it is about.
    pub fn about(self) -> Option<Disputed> {
        let state = match self.status {
            DisputeStatus::NeedsResponse | DisputeStatus::UnderReview | DisputeStatus::Lost => {
                DisputeState::Taken
            }
            DisputeStatus::Won => DisputeState::GivenBack,
            DisputeStatus::NoMoney => return None,
        };
        let (account, purchase) = self.payment_intent?.metadata.purchase()?;
        Some(Disputed {
            id: self.id,
            account,
            purchase,
            state,
        })
    }
}
