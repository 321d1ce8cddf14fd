//! Plan changes.

use super::{Context, Error, Ledger, Outcome};
use crate::domain::draft::Draft;
use crate::domain::ids::AccountId;
use crate::domain::key::IdempotencyKey;
use crate::domain::plan_change::{PlanChangeAnswer, PlanChangeCommand};
use crate::domain::settle;

impl Ledger {
    /// Changes the plan.
    ///
    /// # Errors
    /// `account_not_found`, `idempotency_key_reused`, `account_suspended`, `plan_unchanged`.
    pub async fn change_plan(
        &self,
        context: &Context,
        account: &AccountId,
        key: &IdempotencyKey,
        command: PlanChangeCommand,
    ) -> Result<Outcome<PlanChangeAnswer>, Error> {
        let id = PlanChangeCommand::id(account, key);
        let fingerprint = command.fingerprint();
        let outcome = self
            .once(
                context,
                account,
                async |_| self.store.answered(account, &id).await,
                async |_| Ok(()),
                |receipt, _, ()| receipt.for_request(&fingerprint),
                |draft, ()| command.plan(draft, &id),
            )
            .await?;
        Ok(outcome.map(|receipt| receipt.answer))
    }

    /// What a plan change would be answered, were it asked for now. Changes nothing.
    ///
    /// # Errors
    /// `account_not_found`, `account_suspended`, `plan_unchanged`.
    pub async fn preview_plan(
        &self,
        context: &Context,
        account: &AccountId,
        command: PlanChangeCommand,
    ) -> Result<PlanChangeAnswer, Error> {
        let state = self.read(context, account).await?;
        let settled = settle::view(&self.policy, context.now, state);
        let draft = Draft::new(&self.policy, context.now, settled);
        Ok(command.preview(draft)?)
    }
}
