//! What takes money: the app with a payment provider, and what to make of the provider's messages.

use std::ops::Deref;

use serde::Serialize;

use super::answer::Answer;
use super::app::{App, StartError};
use super::problem::Problem;
use super::request::Request;
use crate::config::{Environment, PaymentsConfig, Provider, SecretSource};
use crate::domain::ids::{AccountId, OperationId};
use crate::domain::key::IdempotencyKey;
use crate::domain::purchase::PurchaseStatus;
use crate::ledger::{Context, Error};
use crate::payments::stripe::answers::Disputed;
use crate::payments::stripe::event::{Event, Says};
use crate::payments::stripe::signature::Unsigned;
use crate::payments::stripe::{self, secret};
use crate::payments::{Payments, Sandbox, Stripe};
use crate::store;

/// What a function that takes money has. It is no part of [`App`], so that no other function carries a
/// payment provider's code.
#[derive(Debug)]
pub struct Till {
    app: App,
    /// Who charges for purchases.
    pub payments: Payments,
}

impl Deref for Till {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

impl Till {
    /// Of its parts, made elsewhere.
    pub fn new(app: App, payments: Payments) -> Self {
        Self { app, payments }
    }

    /// Starts as [`App::start`] does, and reads what the payment provider needs.
    ///
    /// # Errors
    /// As for [`App::start`], and when the provider's secrets can't be read.
    pub async fn start() -> Result<Self, StartError> {
        let environment = Environment::of_process()?;
        let config = PaymentsConfig::read(&environment)?;
        let app = App::of(&environment).await?;
        let payments = match config.provider {
            Provider::Sandbox => Payments::Sandbox(Sandbox::new(app.ledger.store().clone())),
            Provider::Stripe(config) => {
                let source = match config.secret {
                    SecretSource::Manager(name) => {
                        secret::Source::manager(&store::sdk_config().await, name)
                    }
                    SecretSource::File(path) => secret::Source::File(path),
                };
                let secrets = secret::Keeper::new(source).await;
                let secrets = secrets.map_err(StartError::of("CONNECTS_STRIPE_SECRET"))?;
                let url = config.url.unwrap_or_else(|| stripe::API.to_owned());
                Payments::Stripe(Box::new(Stripe::new(url, secrets)))
            }
        };
        Ok(Self::new(app, payments))
    }
}

/// What the payment provider is told: that its message was understood, whether or not it was news.
#[derive(Debug, Serialize)]
struct Received {
    received: bool,
}

impl Till {
    /// A message of the payment provider's. What is not about a purchase of this ledger's is received
    /// all the same, or it would come again for days; what can't be settled now is answered as busy, and
    /// does come again.
    ///
    /// # Errors
    /// `signature_invalid`, `body_too_large`, `busy`.
    pub async fn heed(&self, request: &Request) -> Result<Answer, Problem> {
        let body = request.raw_body()?;
        let Payments::Stripe(stripe) = &self.payments else {
            return Err(Problem::signature_invalid(Unsigned::Stranger));
        };
        let tolerance = self.ledger.policy().purchases.message_tolerance();
        let signature = request.header("stripe-signature");
        let event = stripe
            .message(signature, body, request.received_at, tolerance)
            .await
            .map_err(Problem::signature_invalid)?;
        match event {
            Event::Payment {
                account,
                purchase,
                says,
            } => match (self.ask(&request.context, &account, &purchase).await?, says) {
                (Some(PurchaseStatus::Pending), Says::Paid | Says::Failed) => {
                    return Err(Problem::busy());
                }
                (Some(PurchaseStatus::Declined), Says::Paid) => {
                    // Its intent was cancelled, so nothing of ours can have taken money.
                    tracing::error!(%account, %purchase, "declined, and Stripe says paid");
                }
                _ => {}
            },
            Event::Dispute { id } => match stripe.dispute(&id).await {
                Ok(None) => tracing::info!(id, "a dispute that moves nothing here"),
                Ok(Some(dispute)) => self.settle(&request.context, dispute).await?,
                Err(error) => {
                    tracing::warn!(id, %error, "Stripe does not say how a dispute stands");
                    return Err(Problem::busy());
                }
            },
            Event::Other(what) => tracing::info!(what, "not heeded"),
        }
        Answer::json(200, &Received { received: true })
    }

    async fn ask(
        &self,
        context: &Context,
        account: &AccountId,
        purchase: &OperationId,
    ) -> Result<Option<PurchaseStatus>, Error> {
        let told = self
            .ledger
            .payment_told(context, &self.payments, account, purchase);
        let told = told.await?;
        match told {
            Some(status) => tracing::info!(%account, %purchase, ?status, "told of a purchase"),
            None => tracing::warn!(%account, %purchase, "told of an unknown purchase"),
        }
        Ok(told)
    }

    /// Brings a purchase to where its dispute stands. One that is not paid as far as the ledger knows is
    /// asked about first.
    async fn settle(&self, context: &Context, dispute: Disputed) -> Result<(), Problem> {
        let Disputed {
            id,
            account,
            purchase,
            state,
        } = dispute;
        let key = IdempotencyKey::try_new(&id);
        let key = key.ok_or_else(|| Problem::internal(&"no dispute has such an id"))?;
        if self.ask(context, &account, &purchase).await? == Some(PurchaseStatus::Pending) {
            return Err(Problem::busy());
        }
        let told = self
            .ledger
            .dispute_told(context, &account, &purchase, &key, state);
        let status = told.await?;
        tracing::info!(%account, %purchase, id, ?status, "told of a dispute");
        Ok(())
    }
}
