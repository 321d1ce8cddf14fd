//! Spends, refunds, redemptions and promo codes.

use super::{Attempt, Context, Error, Fault, Ledger, Outcome, known_by};
use crate::defect::{Defect, present};
use crate::domain::codes::{CodesAnswer, CodesCommand, Place, Salt};
use crate::domain::ids::{AccountId, Operation, PromoCode};
use crate::domain::key::IdempotencyKey;
use crate::domain::promo::{
    self, PromoFacts, PromoView, RedeemAnswer, RedeemCommand, SingleUse, Terms,
};
use crate::domain::refund::{Charged, RefundAnswer, RefundCommand, RefundOf};
use crate::domain::refusal::Refusal;
use crate::domain::reward::{RewardAnswer, RewardCommand};
use crate::domain::spend::{SpendAnswer, SpendCommand};
use crate::store::StoreError;

impl Ledger {
    /// Spends, oldest lots first.
    ///
    /// # Errors
    /// `account_not_found`, `idempotency_key_reused`, `account_suspended`, `in_debt`,
    /// `insufficient_connects`.
    pub async fn spend(
        &self,
        context: &Context,
        account: &AccountId,
        key: &IdempotencyKey,
        command: &SpendCommand,
    ) -> Result<Outcome<SpendAnswer>, Error> {
        let id = SpendCommand::id(account, key);
        let fingerprint = command.fingerprint();
        let outcome = self
            .once(
                context,
                account,
                async |_| self.store.receipt(account, &id).await,
                async |_| Ok(()),
                |receipt, _, ()| receipt.for_request(&fingerprint),
                |draft, ()| command.plan(draft, &id),
            )
            .await?;
        Ok(outcome.map(SpendAnswer::from))
    }

    /// Gives Connects of a spend back.
    ///
    /// # Errors
    /// `account_not_found`, `idempotency_key_reused`, `spend_not_found`, `proposal_not_found`,
    /// `refund_exceeds_spend`.
    pub async fn refund(
        &self,
        context: &Context,
        account: &AccountId,
        key: &IdempotencyKey,
        command: &RefundCommand,
    ) -> Result<Outcome<RefundAnswer>, Error> {
        let id = RefundCommand::id(account, key);
        let fingerprint = command.fingerprint();
        let outcome = self
            .once(
                context,
                account,
                async |_| self.store.receipt(account, &id).await,
                async |_| match &command.of {
                    // Refunds and redemptions have receipts too; what they brought is not refunded.
                    RefundOf::SpendId(spend) if spend.is(Operation::Spend) => {
                        let receipt = self.store.receipt(account, spend).await?;
                        Ok(receipt.map(Charged::Spend))
                    }
                    RefundOf::SpendId(_) => Ok(None),
                    RefundOf::JobId(job) => {
                        let proposal = self.store.proposal(job, account).await?;
                        Ok(proposal.map(Charged::Proposal))
                    }
                },
                |receipt, _, _| receipt.for_request(&fingerprint),
                |draft, charged| command.plan(draft, &id, charged.as_ref()),
            )
            .await?;
        Ok(outcome.map(RefundAnswer::from))
    }

    /// Redeems a promo code, once for each account and promo. The first attempt takes a redemption of the
    /// account's own slot on trust; one that lost reads all slots.
    ///
    /// # Errors
    /// `account_not_found`, `idempotency_key_reused`, `account_suspended`, the `promo_…` codes.
    pub async fn redeem(
        &self,
        context: &Context,
        account: &AccountId,
        key: Option<&IdempotencyKey>,
        code: &PromoCode,
    ) -> Result<Outcome<RedeemAnswer>, Error> {
        let command = RedeemCommand { code: code.clone() };
        let id = command.id(account);
        let fingerprint = command.fingerprint();
        let key = &known_by(key);
        let outcome = self
            .once(
                context,
                account,
                async |_| self.store.receipt(account, &id).await,
                async |lost| self.promo_facts(code, lost).await,
                |receipt, draft, facts| {
                    // The other may have been another code of the same promo.
                    if receipt.key.as_ref() == Some(key) {
                        return receipt.for_request(&fingerprint);
                    }
                    command.admitted(draft, facts)?;
                    let existing = serde_json::to_value(RedeemAnswer::of(code, &receipt));
                    Err(Refusal::PromoAlreadyRedeemed {
                        existing: existing.unwrap_or_default(),
                    })
                },
                |draft, facts| command.plan(draft, Some(key), facts),
            )
            .await?;
        Ok(outcome.map(|receipt| RedeemAnswer::of(code, &receipt)))
    }

    /// What an attempt to redeem a code reads of it: the terms, of a single-use code its mark, and
    /// after a lost race all slots and whether it is used.
    pub(super) async fn promo_facts(
        &self,
        code: &PromoCode,
        lost: u32,
    ) -> Result<PromoFacts, StoreError> {
        let (place, name) = (Place::of(code), Place::promo_of(code));
        let (promo, page) = futures::try_join!(
            self.store.promo(&name),
            self.store.codes_page(place.as_ref())
        )?;
        let promo = promo.filter(|promo| promo.is_named(code, place.as_ref(), page.as_ref()));
        let (slots, is_used) = match &promo {
            Some(promo) if lost > 0 || present(Defect::CapBefore) => {
                let (slots, is_used) = futures::try_join!(
                    self.store.promo_slots(promo),
                    self.store.code_is_used(place.as_ref().and(Some(code))),
                )?;
                (Some(slots), is_used)
            }
            _ => (None, false),
        };
        Ok(PromoFacts {
            promo,
            slots,
            single_use: place.map(|_| SingleUse {
                code: code.clone(),
                is_used,
            }),
        })
    }

    /// Rewards an achievement, once.
    ///
    /// # Errors
    /// `account_not_found`, `idempotency_key_reused`, `proposal_not_found`, `account_suspended`,
    /// `reward_not_earned`, `reward_already_given`.
    pub async fn reward(
        &self,
        context: &Context,
        account: &AccountId,
        key: Option<&IdempotencyKey>,
        command: &RewardCommand,
    ) -> Result<Outcome<RewardAnswer>, Error> {
        let id = command.id(account);
        let fingerprint = command.fingerprint();
        let key = &known_by(key);
        let outcome = self
            .once(
                context,
                account,
                async |_| self.store.answered::<RewardAnswer>(account, &id).await,
                async |_| match command.job_id() {
                    Some(job) => self.store.proposal(job, account).await,
                    None => Ok(None),
                },
                |receipt, draft, proposal| {
                    if receipt.key.as_ref() == Some(key) {
                        return receipt.for_request(&fingerprint);
                    }
                    command.admitted(draft, proposal.as_ref())?;
                    Err(Refusal::RewardAlreadyGiven {
                        existing: serde_json::to_value(receipt.answer).unwrap_or_default(),
                    })
                },
                |draft, proposal| command.plan(draft, Some(key), proposal.as_ref()),
            )
            .await?;
        Ok(outcome.map(|receipt| receipt.answer))
    }

    /// Creates a promo code or changes its terms. Says whether it is new.
    ///
    /// # Errors
    /// `promo_in_use` when it is redeemed more often than the new limit allows; `invalid_field` as
    /// for [`promo::set_terms`] and [`Terms::check`].
    pub async fn put_promo(
        &self,
        context: &Context,
        code: &PromoCode,
        terms: &Terms,
    ) -> Result<(bool, PromoView), Error> {
        terms.check(&self.policy)?;
        self.retry(context, async |_| {
            let current = self.store.promo_state(code).await?;
            if let Some((promo, slots)) = &current
                && promo.terms == *terms
            {
                return Ok(Attempt::Done((false, PromoView::of(promo, slots))));
            }
            let (promo, slots) = promo::set_terms(code, terms.clone(), current.as_ref())?;
            let were = current.as_ref().map(|(_, slots)| slots.as_slice());
            self.store.put_promo(&promo, &slots, were).await?;
            let view = PromoView::of(&promo, &slots);
            Ok(Attempt::Done((current.is_none(), view)))
        })
        .await
    }

    /// Makes the single-use codes of a new promo. They are told to whoever asks in the same way under
    /// the same key, for as long as the policy says.
    ///
    /// # Errors
    /// `promo_exists`, `idempotency_key_reused`; `invalid_field` as for [`CodesCommand::plan`] and
    /// [`Terms::check`]. A fault where there is no randomness to be had.
    pub async fn make_codes(
        &self,
        context: &Context,
        key: &IdempotencyKey,
        promo: &PromoCode,
        command: &CodesCommand,
    ) -> Result<Outcome<CodesAnswer>, Error> {
        command.terms.check(&self.policy)?;
        self.retry(context, async |_| {
            let (state, export) =
                futures::try_join!(self.store.promo_state(promo), self.store.export(promo))?;
            if let Some(state) = state {
                let answer = command.again(&state, export.as_ref(), key, context.now)?;
                return Ok(Attempt::Done(Outcome::Replayed(answer)));
            }
            let salt = Salt::of(&random()?);
            let policy = &self.policy.promos;
            let (answer, batch) = command.plan(promo, key, salt, context.now, policy)?;
            self.store.put_codes(&batch).await?;
            Ok(Attempt::Done(Outcome::Applied(answer)))
        })
        .await
    }

    /// A promo code with its terms and how often it was redeemed.
    ///
    /// # Errors
    /// `promo_unknown`.
    pub async fn promo(&self, context: &Context, code: &PromoCode) -> Result<PromoView, Error> {
        self.retry(context, async |_| {
            let state = self.store.promo_state(code).await?;
            let (promo, slots) = state.ok_or(Refusal::PromoUnknown)?;
            Ok(Attempt::Done(PromoView::of(&promo, &slots)))
        })
        .await
    }
}

fn random() -> Result<[u8; 32], Fault> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Fault::NoRandomness)?;
    Ok(bytes)
}
