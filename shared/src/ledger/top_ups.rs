//! Topping up: purchases that are made by themselves when balances have become low.
//!
//! The transaction that makes a balance low also notes the crossing in the account's top-up, which is
//! due from then on. Whoever looks at it next, told of the crossing or by a schedule's run, reads the
//! account and the top-up together and decides. A purchase begins in one transaction with the top-up,
//! over the revision that was read: so of two who look at the same time one begins, and the month's sum
//! stays within its cap. From there on it is a purchase like any other ([`super::purchases`]): charged
//! under its id, found again by recovery wherever it stopped; and whatever ends it, paid or declined,
//! takes the top-up along in the same transaction.
//!
//! Round trips: one to look, one to begin, then the charge, and one to credit or to decline.

use super::purchases::{Read, charged, method};
use super::{Attempt, Context, Error, Fault, Ledger, Report, check_clock};
use crate::domain::ids::AccountId;
use crate::domain::purchase::PurchaseStatus;
use crate::domain::settle;
use crate::domain::time::Time;
use crate::domain::top_up::{Next, Skipped};
use crate::payments::Provider;
use crate::store::{DueKind, StoreError};

use std::collections::BTreeMap;

impl Ledger {
    /// Buys what the account's top-up is for, if a crossing waits and nothing is in the way. Told twice,
    /// or of a crossing that was served, it does nothing.
    ///
    /// # Errors
    /// When the table is busy or does not answer; what was begun is finished by recovery.
    pub async fn top_up(
        &self,
        context: &Context,
        provider: &impl Provider,
        account: &AccountId,
    ) -> Result<Report, Error> {
        let begun = self
            .retry(context, async |_| {
                let (state, top_up) =
                    futures::try_join!(self.store.load(account), self.store.top_up(account))?;
                let Some((state, current)) = state.zip(top_up) else {
                    return Ok(Attempt::Done(Err(Skipped::Off)));
                };
                if current.is_ahead_of(state.head.seq) {
                    return Err(StoreError::Lost.into());
                }
                check_clock(&state, context.now)?;
                let settled = settle::view(&self.policy, context.now, state.clone());
                let decided = match current.decide(&settled, &self.policy, context.now) {
                    Next::Buy { purchase, top_up } => {
                        let customer = self.customer(provider, account).await?;
                        let named = top_up.terms.payment_method.as_deref();
                        match method(provider, named, customer.as_ref()).await {
                            Ok(method) => {
                                let purchase = purchase.charged_to(method, customer);
                                let began =
                                    self.store
                                        .begin_purchase(account, &purchase, Some(&*top_up));
                                began.await?;
                                Ok((purchase, *top_up, state))
                            }
                            Err(Error::Refused(_)) => {
                                self.store.put_top_up(account, &current.dropped()).await?;
                                Err(Skipped::NoMethod)
                            }
                            Err(fault) => return Err(fault),
                        }
                    }
                    Next::Skip { why, top_up } => {
                        if let Some(top_up) = top_up {
                            self.store.put_top_up(account, &top_up).await?;
                        }
                        Err(why)
                    }
                };
                Ok(Attempt::Done(decided))
            })
            .await?;
        let (purchase, top_up, state) = match begun {
            Ok(begun) => begun,
            Err(why) => {
                tracing::info!(%account, ?why, "no top-up");
                return Ok(Report {
                    top_ups_skipped: BTreeMap::from([(why, 1)]),
                    ..Report::default()
                });
            }
        };
        let payment = charged(provider, account, &purchase).await;
        let read = Read {
            state: &state,
            top_up: Some(&top_up),
        };
        let settled = self
            .settle_payment(context, account, purchase, payment, Some(read))
            .await?;
        Ok(Report {
            top_ups: 1,
            purchases: u64::from(settled.status != PurchaseStatus::Pending),
            ..Report::default()
        })
    }

    /// Looks at every top-up that a crossing waits in.
    pub(super) async fn sweep_top_ups(
        &self,
        context: &Context,
        provider: &impl Provider,
        until: Time,
    ) -> Result<Report, Fault> {
        self.sweep(
            context,
            DueKind::TopUp,
            until,
            async |context, account: &AccountId, _| self.top_up(context, provider, account).await,
        )
        .await
    }
}
