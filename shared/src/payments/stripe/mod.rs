//! Stripe: a saved payment method, charged off-session with one PaymentIntent for each purchase.
//!
//! 1. `POST /v1/payment_intents`, confirmed at once, with the purchase's id as `Idempotency-Key` and
//!    as metadata beside the account's. While Stripe remembers the key (a day at least) asking again
//!    gives the first answer again, so that answer may be old.
//! 2. What came to nothing (a decline, authentication that nobody is there for) leaves an intent that
//!    could still be paid. It is cancelled before the purchase counts as declined.
//! 3. Asking again never trusts the key: it looks for the intent among the customer's, by its metadata
//!    and in a list that, unlike Stripe's search, is never behind; only where there is none the first
//!    request is repeated, under the same key.
//!
//! An answer that says nothing for certain (no answer, 409, 429, 5xx, a request that is not authorised)
//! leaves the purchase pending; messages and recovery ask again. [`answers`] has the table.
//!
//! Messages (webhooks) are hints: one that is signed says which purchase to look at, and Stripe is
//! asked how that stands. So it makes no difference in which order they come, or how often.

pub mod answers;
pub mod event;
pub mod secret;
pub mod signature;

use std::time::Duration;

use serde::de::DeserializeOwned;

use self::answers::{Asked, Customer, Dispute, Disputed, Intent, List, Stands, asked};
use self::event::Event;
use self::secret::Keeper;
use self::signature::Unsigned;
use super::{Charge, NoMethod, Payment, Provider};
use crate::domain::ids::PaymentCustomer;
use crate::domain::time::Time;
use crate::web::{NoAnswer, Response, Web};

/// The version of Stripe's API that requests are made in, and answers read.
const VERSION: &str = "2024-06-20";

/// The address of Stripe's API.
pub const API: &str = "https://api.stripe.com";

/// What a charge may take with all its requests. With [`LOOKED_UP`] and the ledger's own three round
/// trips it fits into the 8 s of a request; one that takes longer is left pending.
const CHARGED: Duration = Duration::from_millis(4_500);

/// What a single look may take.
const LOOKED_UP: Duration = Duration::from_millis(1_500);

/// The longest answer that is read: a page of intents measures some 300 KB.
const MAX_ANSWER: usize = 1024 * 1024;

/// How many intents a page has; the most that Stripe gives.
const PAGE: usize = 100;

/// How many pages of a customer's intents are looked through, newest first.
const MAX_PAGES: usize = 10;

/// What a payment method's id may measure, like every id of Stripe's.
const MAX_ID: usize = 255;

/// Stripe, by its HTTP API.
#[derive(Debug)]
pub struct Stripe {
    web: Web,
    api: String,
    secrets: Keeper,
}

/// Why Stripe's word is not had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// No answer came.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// Another answer than one of its own.
    #[error("answered with status {status} and code {code:?}")]
    Answered {
        /// Its status.
        status: u16,
        /// Its code, if it has one.
        code: Option<String>,
    },
    /// What came could not be read.
    #[error("not in the documented form: {0}")]
    Form(String),
}

impl Stripe {
    /// At that address, under those secrets.
    pub fn new(api: String, secrets: Keeper) -> Self {
        Self {
            web: Web::default(),
            api,
            secrets,
        }
    }

    /// What a message says, once its signature proves that Stripe sent it.
    ///
    /// # Errors
    /// When it proves no such thing.
    pub async fn message(
        &self,
        signature: Option<&str>,
        body: &[u8],
        now: Time,
        tolerance: Duration,
    ) -> Result<Event, Unsigned> {
        let signature = signature.unwrap_or_default();
        let proves = |secrets: &secret::Secrets| {
            signature::verify(&secrets.webhook_secrets, signature, body, now, tolerance)
        };
        let proved = match proves(&self.secrets.current()) {
            Err(Unsigned::Stranger) if self.secrets.refresh().await => {
                proves(&self.secrets.current())
            }
            proved => proved,
        };
        proved.map(|()| event::read(body))
    }

    /// How a dispute stands, and about which purchase it is; none where it is about no purchase.
    ///
    /// # Errors
    /// When Stripe does not say.
    pub async fn dispute(&self, id: &str) -> Result<Option<Disputed>, Unheard> {
        let path = format!("/v1/disputes/{}", escaped(id));
        let query = [("expand[]", "payment_intent")];
        let dispute: Dispute = self.look(&path, &query).await?;
        Ok(dispute.about())
    }

    async fn send(
        &self,
        request: (&str, &str),
        key: Option<&str>,
        form: String,
        within: Duration,
    ) -> Result<Response, NoAnswer> {
        let answer = self.send_once(request, key, form.clone(), within).await?;
        // The key may have been replaced since it was read.
        match answer.status {
            401 if self.secrets.refresh().await => self.send_once(request, key, form, within).await,
            _ => Ok(answer),
        }
    }

    async fn send_once(
        &self,
        (method, path): (&str, &str),
        key: Option<&str>,
        form: String,
        within: Duration,
    ) -> Result<Response, NoAnswer> {
        let secrets = self.secrets.current();
        let mut headers = vec![
            (
                "authorization",
                format!("Bearer {}", secrets.api_key.expose()),
            ),
            ("stripe-version", VERSION.to_owned()),
            (
                "content-type",
                "application/x-www-form-urlencoded".to_owned(),
            ),
        ];
        headers.extend(key.map(|key| ("idempotency-key", key.to_owned())));
        let url = format!("{}{path}", self.api);
        self.web
            .ask((method, &url), &headers, form, MAX_ANSWER, within)
            .await
    }

    /// What Stripe has under a path.
    async fn look<A: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<A, Unheard> {
        let path = format!("{path}?{}", form(query));
        let answer = self.send(("GET", &path), None, String::new(), LOOKED_UP);
        let answer = answer.await?;
        match answer.status {
            200 => answers::read(&answer.body).map_err(Unheard::Form),
            status => Err(Unheard::Answered {
                status,
                code: answers::code(&answer.body),
            }),
        }
    }

    /// The intent that was made for a charge, if there is one.
    async fn find(&self, charge: &Charge<'_>) -> Result<Option<Intent>, Unheard> {
        let customer = charge.customer.map_or("", PaymentCustomer::as_str);
        let limit = PAGE.to_string();
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut query = vec![("customer", customer), ("limit", &limit)];
            query.extend(after.as_deref().map(|after| ("starting_after", after)));
            let page: List<Intent> = self.look("/v1/payment_intents", &query).await?;
            after = page.data.last().map(|intent| intent.id.clone());
            let found = page.data.into_iter().find(|intent| intent.is_for(charge));
            if found.is_some() || !page.has_more {
                return Ok(found);
            }
        }
        Err(Unheard::Form(
            "the customer has too many intents".to_owned(),
        ))
    }

    /// Asks for a charge under its key.
    async fn ask(&self, charge: &Charge<'_>) -> Payment {
        let (account, purchase) = (charge.account.as_str(), charge.purchase.as_str());
        let amount = charge.price.amount.to_string();
        let currency = charge.price.currency.to_ascii_lowercase();
        let customer = charge.customer.map_or("", PaymentCustomer::as_str);
        let request = form(&[
            ("amount", &amount),
            ("currency", &currency),
            ("customer", customer),
            ("payment_method", charge.method),
            ("automatic_payment_methods[enabled]", "true"),
            ("automatic_payment_methods[allow_redirects]", "never"),
            ("off_session", "true"),
            ("confirm", "true"),
            ("metadata[account_id]", account),
            ("metadata[purchase_id]", purchase),
        ]);
        let path = ("POST", "/v1/payment_intents");
        match self.send(path, Some(purchase), request, CHARGED).await {
            Err(error) => open(charge, &error),
            Ok(answer) => match asked(&answer) {
                Asked::Made(intent) => self.settle(charge, intent).await,
                Asked::Refused { code, intent } => {
                    tracing::info!(purchase, code, "Stripe declined");
                    self.give_up(charge, intent).await
                }
                Asked::Unknown(why) => open(charge, &why),
            },
        }
    }

    /// Where an intent leaves its purchase.
    async fn settle(&self, charge: &Charge<'_>, intent: Intent) -> Payment {
        if !intent.is_for(charge) {
            let other = format!("{} is for something else", intent.id);
            tracing::error!(purchase = %charge.purchase, other, "Stripe mistakes a charge");
            return Payment::Open;
        }
        match intent.stands() {
            Stands::Paid => Payment::Paid,
            Stands::Declined => Payment::Declined,
            Stands::UnderWay => Payment::Open,
            Stands::CameToNothing => self.close(charge, &intent).await,
        }
    }

    /// Makes sure that no intent of a charge can be paid any more. Where none is at hand one is
    /// looked for.
    async fn give_up(&self, charge: &Charge<'_>, intent: Option<Intent>) -> Payment {
        let found = match intent {
            Some(intent) => Ok(Some(intent)),
            None => self.find(charge).await,
        };
        match found {
            Err(error) => open(charge, &error),
            Ok(None) => Payment::Declined,
            Ok(Some(intent)) => match intent.stands() {
                Stands::Paid => Payment::Paid,
                Stands::Declined => Payment::Declined,
                Stands::UnderWay | Stands::CameToNothing => self.close(charge, &intent).await,
            },
        }
    }

    /// Cancels an intent, unless it was faster.
    async fn close(&self, charge: &Charge<'_>, intent: &Intent) -> Payment {
        let path = format!("/v1/payment_intents/{}", escaped(&intent.id));
        let cancel = format!("{path}/cancel");
        let cancelled = self
            .send(("POST", &cancel), None, String::new(), LOOKED_UP)
            .await;
        let stands = match cancelled {
            Err(error) => return open(charge, &error),
            Ok(answer) if answer.status == 200 => {
                answers::read::<Intent>(&answer.body).map_err(Unheard::Form)
            }
            // It can't be, as it stands now.
            Ok(_) => self.look(&path, &[]).await,
        };
        match stands {
            Err(error) => open(charge, &error),
            Ok(intent) => match intent.stands() {
                Stands::Paid => Payment::Paid,
                Stands::Declined => Payment::Declined,
                Stands::UnderWay | Stands::CameToNothing => Payment::Open,
            },
        }
    }

    async fn look_again(&self, charge: &Charge<'_>) -> Payment {
        match self.find(charge).await {
            Err(error) => open(charge, &error),
            Ok(Some(intent)) => self.settle(charge, intent).await,
            Ok(None) => self.ask(charge).await,
        }
    }
}

impl Provider for Stripe {
    fn needs_customer(&self) -> bool {
        true
    }

    async fn default_method(&self, customer: Option<&PaymentCustomer>) -> Result<String, NoMethod> {
        let customer = customer.ok_or(NoMethod::None)?;
        let path = format!("/v1/customers/{}", escaped(customer.as_str()));
        match self.look::<Customer>(&path, &[]).await {
            Ok(customer) => customer.default_method().ok_or(NoMethod::None),
            // There is no such customer.
            Err(Unheard::Answered { status: 404, .. }) => Err(NoMethod::None),
            Err(error) => Err(NoMethod::Unknown(error.to_string())),
        }
    }

    fn accepts(&self, method: &str) -> bool {
        method.len() <= MAX_ID
            && method.strip_prefix("pm_").is_some_and(|id| {
                !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            })
    }

    async fn charge(&self, charge: &Charge<'_>) -> Payment {
        within(CHARGED, charge, self.ask(charge)).await
    }

    async fn again(&self, charge: &Charge<'_>) -> Payment {
        within(CHARGED, charge, self.look_again(charge)).await
    }

    async fn cancel(&self, charge: &Charge<'_>) -> Payment {
        within(CHARGED, charge, self.give_up(charge, None)).await
    }
}

async fn within(
    most: Duration,
    charge: &Charge<'_>,
    asked: impl Future<Output = Payment>,
) -> Payment {
    let answered = tokio::time::timeout(most, asked).await;
    answered.unwrap_or_else(|_| open(charge, &NoAnswer::Late))
}

/// Not known: said in the log, and asked again later.
fn open(charge: &Charge<'_>, why: &dyn std::fmt::Display) -> Payment {
    tracing::warn!(account = %charge.account, purchase = %charge.purchase, %why, "Stripe did not say");
    Payment::Open
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// An id in a path.
fn escaped(id: &str) -> String {
    form_urlencoded::byte_serialize(id.as_bytes()).collect()
}

#[cfg(test)]
mod tests;
