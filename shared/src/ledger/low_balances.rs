//! When a balance is low, and whether it is topped up then: what holders ask for.
//!
//! Two round trips: the account and its top-up are read together; one transaction books the change and
//! writes the top-up over the revision that was read. Telling a holder costs nothing more than the
//! notice: every plan has read the threshold ([`crate::domain::low_balance`]).

use super::{Attempt, Context, Error, Ledger};
use crate::domain::ids::AccountId;
use crate::domain::low_balance::{self, LowBalanceChange, LowBalanceView, SetLowBalance};
use crate::domain::refusal::{Invalid, Refusal};
use crate::payments::Provider;

impl Ledger {
    /// Sets under how many Connects the balance is low, and what is bought then.
    ///
    /// # Errors
    /// `account_not_found`; `invalid_field`, `below_minimum` or `above_maximum` for what can't be kept.
    pub async fn set_low_balance(
        &self,
        context: &Context,
        provider: &impl Provider,
        account: &AccountId,
        wanted: &SetLowBalance,
    ) -> Result<LowBalanceView, Error> {
        let method = wanted.top_up.as_ref();
        let method = method.and_then(|top_up| top_up.payment_method.as_deref());
        let unknown = method.is_some_and(|method| !provider.accepts(method));
        self.change_low_balance(context, account, Some(wanted), || {
            wanted.check(&self.policy)?;
            match unknown {
                true => Err(Invalid::field("top_up.payment_method", "is not known")),
                false => Ok(()),
            }
        })
        .await
    }

    /// Clears it: nothing is low any more, and nothing is bought.
    ///
    /// # Errors
    /// `account_not_found`.
    pub async fn clear_low_balance(
        &self,
        context: &Context,
        account: &AccountId,
    ) -> Result<LowBalanceView, Error> {
        self.change_low_balance(context, account, None, || Ok(()))
            .await
    }

    async fn change_low_balance(
        &self,
        context: &Context,
        account: &AccountId,
        wanted: Option<&SetLowBalance>,
        checked: impl Fn() -> Result<(), Invalid>,
    ) -> Result<LowBalanceView, Error> {
        self.change(
            context,
            account,
            async || self.store.top_up(account).await,
            async |draft, current| {
                checked()?;
                let LowBalanceChange { view, plan } =
                    low_balance::set(wanted, current.as_ref(), draft);
                Ok((view, plan))
            },
        )
        .await
    }

    /// What is asked for as it stands.
    ///
    /// # Errors
    /// `account_not_found`.
    pub async fn low_balance(
        &self,
        context: &Context,
        account: &AccountId,
    ) -> Result<LowBalanceView, Error> {
        self.retry(context, async |_| {
            let (state, top_up) =
                futures::try_join!(self.store.load(account), self.store.top_up(account))?;
            let state = state.ok_or(Refusal::AccountNotFound)?;
            let now = context.now.max(state.head.at);
            let low = state.profile.low_balance;
            let view = LowBalanceView::of(low, top_up.as_ref(), now);
            Ok(Attempt::Done(view))
        })
        .await
    }
}
