//! Purchases: written down, charged, credited; each step found again by recovery.
//!
//! 1. The purchase is put as `pending`, with its price, and is due at once. With a code that is a
//!    transaction, which also takes one of the code's redemptions and marks the code as used by the
//!    account; what the code gives is frozen in the purchase.
//! 2. The provider charges under the purchase's id, so that asking again never charges twice. Where
//!    nothing is left to charge it is not asked.
//! 3. Paid: one transaction issues the lot, and that of a bonus, and takes the purchase from
//!    `pending` to `paid`. Declined: one write says so; with a code a transaction, which also gives
//!    the redemption back and takes the mark off. Anything else stays pending and due.
//!
//! So a redemption is taken exactly as long as its purchase is pending, paid or charged back. A purchase
//! that an account's top-up makes carries its price in the top-up's month in the same way
//! ([`super::top_ups`]).
//!
//! A crash or a lost answer after any step leaves a pending purchase that is due: recovery asks the
//! provider again and goes on from there. Past the policy's patience it cancels at the provider
//! first, so that `declined` is final.

use super::{Attempt, Context, Error, Ledger, Outcome, known_by};
use crate::defect::{Defect, present};
use crate::domain::account::{Account, Balance};
use crate::domain::codes::Place;
use crate::domain::draft::Draft;
use crate::domain::history::{Query, Range};
use crate::domain::ids::{AccountId, OperationId, PromoCode};
use crate::domain::journal::EntryType;
use crate::domain::key::IdempotencyKey;
use crate::domain::lot::Birth;
use crate::domain::promo::{PromoFacts, Reservation};
use crate::domain::purchase::{Purchase, PurchaseCommand, PurchaseStatus, PurchaseView};
use crate::domain::refusal::{Invalid, Refusal};
use crate::domain::settle;
use crate::domain::top_up::TopUp;
use crate::domain::units::{Connects, Money};
use crate::payments::{Charge, Payment, Provider};
use crate::store::StoreError;

use chrono::TimeDelta;

/// What was read before a charge, for the first attempt to book what came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read<'r> {
    /// The account.
    pub state: &'r Account,
    /// The top-up that the purchase was made for.
    pub top_up: Option<&'r TopUp>,
}

/// Entries read at a time when looking for what lapsed of a lot.
const JOURNAL_PAGE: usize = 200;

impl Ledger {
    /// Buys. The answer says where the purchase stands: paid, pending or declined; a replay says
    /// where it stands by now.
    ///
    /// # Errors
    /// `account_not_found`, `below_minimum`, `above_maximum`, `invalid_field`,
    /// `idempotency_key_reused`; with a code `account_suspended` and the `promo_…` codes.
    pub async fn purchase(
        &self,
        context: &Context,
        provider: &impl Provider,
        account: &AccountId,
        key: &IdempotencyKey,
        command: &PurchaseCommand,
    ) -> Result<Outcome<PurchaseView>, Error> {
        let id = PurchaseCommand::id(account, key);
        let mut unanswered = false;
        let begun = self
            .retry(context, async |lost| {
                let (state, existing, facts) = futures::try_join!(
                    self.store.load(account),
                    self.store.purchase(account, &id),
                    self.code_facts(account, command.promo_code.as_ref(), lost),
                )?;
                let state = state.ok_or(Refusal::AccountNotFound)?;
                let (quantity, price, method) = self.checked(provider, command)?;
                let found = |purchase: Purchase, state| {
                    if purchase.fingerprint != command.fingerprint() {
                        return Err(Refusal::IdempotencyKeyReused);
                    }
                    // Ours, if we wrote it down and only the answer was lost.
                    let ours = unanswered
                        && purchase.status == PurchaseStatus::Pending
                        && purchase.created_at == context.now;
                    let begun = (purchase, state);
                    Ok(Attempt::Done(match ours {
                        true => Outcome::Applied(begun),
                        false => Outcome::Replayed(begun),
                    }))
                };
                if let Some(purchase) = existing {
                    return Ok(found(purchase, state)?);
                }
                let reserved = match &facts {
                    None => None,
                    Some((promo, used_by)) => {
                        let Some(draft) = self.ready(context, state.clone()).await? else {
                            return Ok(Attempt::Again);
                        };
                        match Reservation::new(&draft, promo, used_by.as_ref(), &price) {
                            Ok(reservation) => Some(reservation),
                            // A first try whose answer was lost may be what took the redemption.
                            Err(why) => match self.store.purchase(account, &id).await? {
                                Some(purchase) => return Ok(found(purchase, state)?),
                                None => return Err(why.into()),
                            },
                        }
                    }
                };
                let purchase = Purchase::pending(
                    id.clone(),
                    command.fingerprint(),
                    quantity,
                    price,
                    method,
                    context.now,
                );
                let purchase = match reserved {
                    Some(reservation) => purchase.reserving(reservation),
                    None => purchase,
                };
                let written = self.store.begin_purchase(account, &purchase, None).await;
                unanswered |= matches!(written, Err(StoreError::Unanswered(_)));
                written?;
                Ok(Attempt::Done(Outcome::Applied((purchase, state))))
            })
            .await?;
        let balance = |state| settle::view(&self.policy, context.now, state).balance();
        match begun {
            Outcome::Replayed((purchase, state)) => Ok(Outcome::Replayed(PurchaseView::of(
                &purchase,
                balance(state),
            ))),
            Outcome::Applied((purchase, state)) => {
                let payment = charged(provider, &purchase).await;
                let read = Read {
                    state: &state,
                    top_up: None,
                };
                let settled = self
                    .settle_payment(context, account, purchase.clone(), payment, Some(read))
                    .await;
                let purchase = match settled {
                    Ok(purchase) => purchase,
                    // The charge was made, so this is no refusal: recovery finishes it.
                    Err(Error::Fault(fault)) => {
                        tracing::error!(%account, purchase = %purchase.id, %fault, "left pending");
                        purchase
                    }
                    Err(refused) => return Err(refused),
                };
                Ok(Outcome::Applied(PurchaseView::of(
                    &purchase,
                    balance(state),
                )))
            }
        }
    }

    fn checked(
        &self,
        provider: &impl Provider,
        command: &PurchaseCommand,
    ) -> Result<(Connects, Money, String), Invalid> {
        let (quantity, price) = self.policy.price(command.quantity)?;
        let method = command
            .payment_method
            .as_deref()
            .unwrap_or(provider.default_method());
        match provider.accepts(method) {
            true => Ok((quantity, price, method.to_owned())),
            false => Err(Invalid::field("payment_method", "is not known")),
        }
    }

    /// What a purchase reads of its code: what a redemption does, and the purchase that has used it, or
    /// another of its promo.
    async fn code_facts(
        &self,
        account: &AccountId,
        code: Option<&PromoCode>,
        lost: u32,
    ) -> Result<Option<(PromoFacts, Option<Purchase>)>, StoreError> {
        match code {
            None => Ok(None),
            Some(code) => {
                let promo = Place::promo_of(code);
                let used_by = self.store.purchase_with(account, &promo);
                futures::try_join!(self.promo_facts(code, lost), used_by).map(Some)
            }
        }
    }

    /// A purchase as it stands.
    ///
    /// # Errors
    /// `account_not_found`, `purchase_not_found`.
    pub async fn purchase_by_id(
        &self,
        context: &Context,
        account: &AccountId,
        id: &OperationId,
    ) -> Result<PurchaseView, Error> {
        self.retry(context, async |_| {
            let (state, purchase) =
                futures::try_join!(self.store.load(account), self.store.purchase(account, id))?;
            let state = state.ok_or(Refusal::AccountNotFound)?;
            let purchase = purchase.ok_or(Refusal::PurchaseNotFound)?;
            let balance = settle::view(&self.policy, context.now, state).balance();
            Ok(Attempt::Done(PurchaseView::of(&purchase, balance)))
        })
        .await
    }

    /// Takes a paid purchase back because the payer's bank did.
    ///
    /// # Errors
    /// `account_not_found`, `purchase_not_found`, `already_charged_back`, `purchase_not_paid`.
    pub async fn chargeback(
        &self,
        context: &Context,
        account: &AccountId,
        id: &OperationId,
        key: Option<&IdempotencyKey>,
    ) -> Result<Outcome<PurchaseView>, Error> {
        let key = &known_by(key);
        let charged_back = self
            .change(
                context,
                account,
                async || self.store.purchase(account, id).await,
                async |draft, purchase| {
                    let purchase = purchase.ok_or(Refusal::PurchaseNotFound)?;
                    if purchase.status == PurchaseStatus::ChargedBack
                        && purchase.chargeback_key.as_ref() == Some(key)
                    {
                        return Ok((Outcome::Replayed(purchase), None));
                    }
                    let mut expired = Connects::ZERO;
                    for lot in purchase.lots() {
                        expired += self.lapsed_of(context, &draft, lot).await?;
                    }
                    let (purchase, plan) = purchase.plan_chargeback(draft, Some(key), expired)?;
                    Ok((Outcome::Applied(purchase), plan))
                },
            )
            .await?;
        // A charged-back purchase keeps the balance it left; nothing else is asked for here.
        Ok(charged_back.map(|purchase| PurchaseView::of(&purchase, Balance::default())))
    }

    /// How much of a lot lapsed unused, booked before or in this draft. What another request books
    /// meanwhile is not counted: it makes this draft stale.
    async fn lapsed_of(
        &self,
        context: &Context,
        draft: &Draft<'_>,
        birth: &Birth,
    ) -> Result<Connects, Error> {
        if birth.expires_at() > draft.now() {
            return Ok(Connects::ZERO);
        }
        let first = draft.entries().first().map(|entry| entry.seq);
        let first = first.unwrap_or(draft.account().head.seq.next());
        let due = draft
            .entries()
            .iter()
            .filter(|entry| entry.entry_type == EntryType::Expire)
            .flat_map(|entry| &entry.slices)
            .filter(|slice| slice.birth.id == birth.id)
            .map(|slice| slice.amount)
            .sum();
        let since_expiry = Query {
            range: Range::Between(Some(birth.expires_on), None),
            reference: None,
        };
        let account = &draft.account().id;
        let mut lapsed: Connects = due;
        let mut cursor = None;
        loop {
            let page = self
                .history(context, account, &since_expiry, cursor, JOURNAL_PAGE)
                .await?;
            lapsed += page
                .entries
                .iter()
                .filter(|entry| entry.r#type == EntryType::Expire && entry.seq < first)
                .flat_map(|entry| &entry.lots)
                .filter(|lot| lot.lot_id == birth.id)
                .map(|lot| lot.amount)
                .sum();
            match page.next {
                None => return Ok(lapsed),
                next => cursor = next,
            }
        }
    }

    /// Asks the provider again how a pending purchase stands, or gives it up.
    pub(super) async fn recover(
        &self,
        context: &Context,
        provider: &impl Provider,
        account: &AccountId,
        id: &OperationId,
    ) -> Result<bool, Error> {
        let purchase = self.store.purchase(account, id).await?;
        let Some(purchase) = purchase.filter(|p| p.status == PurchaseStatus::Pending) else {
            return Ok(false);
        };
        let patience = TimeDelta::hours(self.policy.purchases.cancel_after_hours.into());
        let is_given_up = context.now - purchase.created_at >= patience && !purchase.is_free();
        let payment = match is_given_up {
            true => provider.cancel(&charge(&purchase)).await,
            false => charged(provider, &purchase).await,
        };
        let purchase = self
            .settle_payment(context, account, purchase, payment, None)
            .await?;
        Ok(purchase.status != PurchaseStatus::Pending)
    }

    /// Brings a pending purchase to where its payment says; gives it as it stands then. What was `read`
    /// before the charge serves the first attempt: the journal's lock and the top-up's revision tell if
    /// it has gone stale.
    pub(super) async fn settle_payment(
        &self,
        context: &Context,
        account: &AccountId,
        purchase: Purchase,
        payment: Payment,
        read: Option<Read<'_>>,
    ) -> Result<Purchase, Error> {
        match payment {
            Payment::Open if present(Defect::OpenIsDeclined) => {
                self.decline(context, account, purchase, read).await
            }
            Payment::Open => Ok(purchase),
            Payment::Paid => self.credit(context, account, purchase, read).await,
            Payment::Declined => self.decline(context, account, purchase, read).await,
        }
    }

    /// The top-up that a purchase was made for.
    async fn top_up_of(
        &self,
        account: &AccountId,
        purchase: &Purchase,
    ) -> Result<Option<TopUp>, StoreError> {
        match purchase.top_up {
            None => Ok(None),
            Some(_) => self.store.top_up(account).await,
        }
    }

    async fn credit(
        &self,
        context: &Context,
        account: &AccountId,
        purchase: Purchase,
        mut read: Option<Read<'_>>,
    ) -> Result<Purchase, Error> {
        self.retry(context, async |_| {
            let (state, current, top_up) = match read.take() {
                Some(read) => (Some(read.state.clone()), None, read.top_up.cloned()),
                None => futures::try_join!(
                    self.store.load(account),
                    self.store.purchase(account, &purchase.id),
                    self.top_up_of(account, &purchase),
                )?,
            };
            if let Some(current) = current.filter(|p| p.status != PurchaseStatus::Pending) {
                return Ok(Attempt::Done(current));
            }
            let state = state.ok_or(Refusal::AccountNotFound)?;
            let Some(draft) = self.ready(context, state).await? else {
                return Ok(Attempt::Again);
            };
            let (paid, plan) = purchase.plan_credit(draft, top_up.as_ref());
            self.commit(context, plan).await?;
            Ok(Attempt::Done(paid))
        })
        .await
    }

    async fn decline(
        &self,
        context: &Context,
        account: &AccountId,
        purchase: Purchase,
        mut read: Option<Read<'_>>,
    ) -> Result<Purchase, Error> {
        let declined = purchase.declined();
        self.retry(context, async |_| {
            let top_up = match read.take() {
                Some(read) => read.top_up.cloned(),
                None => self.top_up_of(account, &declined).await?,
            };
            let top_up = top_up.map(|top_up| top_up.declined(&declined, &self.policy, context.now));
            let written = self
                .store
                .decline_purchase(account, &declined, top_up.as_ref());
            match written.await {
                Ok(()) => Ok(Attempt::Done(declined.clone())),
                Err(StoreError::Lost) => {
                    let current = self.store.purchase(account, &declined.id).await?;
                    let current = current.ok_or(Refusal::PurchaseNotFound)?;
                    match current.status {
                        // Others were redeeming its code, or changed the top-up.
                        PurchaseStatus::Pending => Err(StoreError::Lost.into()),
                        _ => Ok(Attempt::Done(current)),
                    }
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }
}

/// What the provider says of a purchase, which is not asked where there is nothing to charge.
pub(super) async fn charged(provider: &impl Provider, purchase: &Purchase) -> Payment {
    match purchase.is_free() {
        true => Payment::Paid,
        false => provider.charge(&charge(purchase)).await,
    }
}

fn charge(purchase: &Purchase) -> Charge<'_> {
    Charge {
        purchase: &purchase.id,
        price: &purchase.price,
        method: &purchase.payment_method,
    }
}
