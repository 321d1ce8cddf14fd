//! Holds: Connects set aside, then used or given back.
//!
//! Two round trips each, like a spend and its refund: the account and the hold are read together, and
//! one transaction books the change and moves the hold on from the revision that was read. The hold
//! is the receipt of all that happens to it: it keeps the key that ended it, so a retry is known.

use super::{Context, Error, Fault, Ledger, Outcome, known_by};
use crate::domain::hold::{EndHold, HoldCommand, HoldView};
use crate::domain::ids::{AccountId, OperationId};
use crate::domain::key::IdempotencyKey;
use crate::domain::refusal::Refusal;
use crate::domain::time::Time;
use crate::ledger::Report;
use crate::store::{Due, DueKind, StoreError};

impl Ledger {
    /// Whether the account has such a hold.
    ///
    /// # Errors
    /// When the table does not tell.
    pub async fn hold_exists(&self, account: &AccountId, id: &OperationId) -> Result<bool, Fault> {
        Ok(self.store.hold(account, id).await?.is_some())
    }

    /// Sets Connects aside, oldest lots first.
    ///
    /// # Errors
    /// `account_not_found`, `idempotency_key_reused`, `invalid_field`, `account_suspended`, `in_debt`,
    /// `insufficient_connects`.
    pub async fn hold(
        &self,
        context: &Context,
        account: &AccountId,
        key: &IdempotencyKey,
        command: &HoldCommand,
    ) -> Result<Outcome<HoldView>, Error> {
        let id = HoldCommand::id(account, key);
        let fingerprint = command.fingerprint();
        let outcome = self
            .once(
                context,
                account,
                async |_| self.store.hold(account, &id).await,
                async |_| Ok(()),
                |hold, _, ()| hold.for_request(&fingerprint),
                |draft, ()| command.plan(draft, &id),
            )
            .await?;
        Ok(outcome.map(|hold| HoldView::opened(&hold)))
    }

    /// Captures a hold, all or part of it, or releases it.
    ///
    /// # Errors
    /// `account_not_found`, `hold_not_found`, `above_maximum`, `idempotency_key_reused`,
    /// `hold_not_open`.
    pub async fn end_hold(
        &self,
        context: &Context,
        account: &AccountId,
        id: &OperationId,
        key: Option<&IdempotencyKey>,
        end: &EndHold,
    ) -> Result<Outcome<HoldView>, Error> {
        let key = &known_by(key);
        let ended = self.change(
            context,
            account,
            async || self.store.hold(account, id).await,
            async |draft, hold| {
                let balance = draft.account().balance();
                let hold = hold.ok_or(Refusal::HoldNotFound)?;
                if end.is_done(&hold, key)? {
                    return Ok((Outcome::Replayed(HoldView::of(&hold, balance)), None));
                }
                match end.plan(draft, Some(key), &hold) {
                    Ok((hold, plan)) => Ok((Outcome::Applied(HoldView::of(&hold, balance)), plan)),
                    // A first try of this request may have ended it since it was read.
                    Err(why) => match self.store.hold(account, id).await? == Some(hold) {
                        true => Err(why.into()),
                        false => Err(StoreError::Lost.into()),
                    },
                }
            },
        );
        ended.await
    }

    /// Releases every hold whose time is over: the last part of [`Ledger::sweep_expiry`].
    ///
    /// # Errors
    /// When the index can't be read at all.
    pub async fn sweep_holds(&self, context: &Context, until: Time) -> Result<Report, Fault> {
        self.sweep(
            context,
            DueKind::Hold,
            until,
            async |context, account: &AccountId, due| {
                let mut report = Report::default();
                for what in due {
                    if let Due::Hold(id) = what {
                        let entries = self.expire_hold(context, account, id).await?;
                        report.entries += entries;
                        report.holds += u64::from(entries > 0);
                    }
                }
                Ok(report)
            },
        )
        .await
    }

    /// Releases a hold if its time is over. Says how many entries that took.
    async fn expire_hold(
        &self,
        context: &Context,
        account: &AccountId,
        id: &OperationId,
    ) -> Result<u64, Error> {
        self.change(
            context,
            account,
            async || self.store.hold(account, id).await,
            async |draft, hold| {
                let Some(hold) = hold.filter(|hold| hold.is_over(draft.now())) else {
                    return Ok((0, None));
                };
                let (_, plan) = EndHold::Expire.plan(draft, None, &hold)?;
                let entries = plan.as_ref().map_or(0, |plan| plan.entries.len() as u64);
                Ok((entries, plan))
            },
        )
        .await
    }
}
