//! Accounts: opening, amending and reading them.

use super::{Attempt, Context, Error, Fault, Ledger, Outcome};
use crate::domain::account::{Account, AccountView, Amend, Kind, Open};
use crate::domain::history::{Cursor, Page, Query};
use crate::domain::ids::{AccountId, OperationId, Seq};
use crate::domain::lot::Lot;
use crate::domain::refusal::Refusal;
use crate::domain::settle;
use crate::domain::time::Time;
use crate::store::StoreError;

/// One past the greatest number that an entry can have.
const AFTER_LAST: Seq = Seq::new(1_000_000_000_000);

/// How often one page of history reads the table at most, so that a filter that finds little ends
/// in a short page, not in a long wait.
const MAX_READS: usize = 10;

/// Entries that each read asks for at least, when most may be filtered out.
const FILTERED_READ: usize = 200;

impl Ledger {
    /// Whether the account was ever opened.
    ///
    /// # Errors
    /// When the table does not tell.
    pub async fn account_exists(&self, id: &AccountId) -> Result<bool, Fault> {
        Ok(self.store.account_exists(id).await?)
    }

    /// Whether the account has such a purchase.
    ///
    /// # Errors
    /// When the table does not tell.
    pub async fn purchase_exists(
        &self,
        account: &AccountId,
        id: &OperationId,
    ) -> Result<bool, Fault> {
        Ok(self.store.purchase(account, id).await?.is_some())
    }

    /// Opens an account, once: a retry finds it open.
    ///
    /// # Errors
    /// `account_exists` when it is open with other particulars; `invalid_field` for an opening day
    /// to come.
    pub async fn open(
        &self,
        context: &Context,
        id: &AccountId,
        open: Open,
    ) -> Result<Outcome<AccountView>, Error> {
        self.retry(context, async |_| {
            let person_is_known = async {
                match open.kind {
                    Kind::Freelancer => self.store.person_is_known(&open.person_id).await,
                    Kind::Agency => Ok(false),
                }
            };
            let (existing, known) = futures::try_join!(self.store.load(id), person_is_known)?;
            open.check(context.now)?;
            if let Some(account) = existing {
                if !open.matches(&account.profile) {
                    return Err(Refusal::AccountExists.into());
                }
                let account = self.settled_view(context, account);
                return Ok(Attempt::Done(Outcome::Replayed(account)));
            }
            let (account, plan) = open.plan(&self.policy, context.now, id, !known);
            if let Some(plan) = plan {
                self.store.commit_with(plan, open.contact()).await?;
            }
            let view = AccountView::of(&account, context.now);
            Ok(Attempt::Done(Outcome::Applied(view)))
        })
        .await
    }

    /// Suspends, reactivates, or changes the contact.
    ///
    /// # Errors
    /// `account_not_found`.
    pub async fn amend(
        &self,
        context: &Context,
        id: &AccountId,
        amend: Amend,
    ) -> Result<AccountView, Error> {
        let account = self
            .change(
                context,
                id,
                async || Ok(()),
                async |draft, ()| Ok(amend.plan(draft)),
            )
            .await?;
        self.retry(context, async |_| {
            // The account is there, so what was lost is a race with a commit, not its profile.
            Ok(Attempt::Done(
                self.store.set_contact(id, amend.contact()).await?,
            ))
        })
        .await?;
        Ok(AccountView::of(&account, context.now))
    }

    /// The account as it is now, whether or not what is due has been booked.
    ///
    /// # Errors
    /// `account_not_found`.
    pub async fn account(&self, context: &Context, id: &AccountId) -> Result<AccountView, Error> {
        let account = self.read(context, id).await?;
        Ok(self.settled_view(context, account))
    }

    /// The live lots, oldest first.
    ///
    /// # Errors
    /// `account_not_found`.
    pub async fn lots(&self, context: &Context, id: &AccountId) -> Result<Vec<Lot>, Error> {
        let account = self.read(context, id).await?;
        Ok(settle::view(&self.policy, context.now, account).lots)
    }

    /// Loads, trying again while the table is busy.
    pub(super) async fn read(&self, context: &Context, id: &AccountId) -> Result<Account, Error> {
        self.retry(context, async |_| Ok(Attempt::Done(self.load(id).await?)))
            .await
    }

    pub(super) fn settled_view(&self, context: &Context, account: Account) -> AccountView {
        let account = settle::view(&self.policy, context.now, account);
        AccountView::of(&account, context.now)
    }

    /// A page of the journal, newest first. Pages may be short; only one without `next` is the
    /// last.
    ///
    /// # Errors
    /// `account_not_found`.
    pub async fn history(
        &self,
        context: &Context,
        id: &AccountId,
        query: &Query,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, Error> {
        let newest = self.store.entries_before(id, AFTER_LAST, 1).await?;
        let newest = newest.first().ok_or(Refusal::AccountNotFound)?.seq;
        let since_ms = match cursor {
            Some(cursor) => cursor.since_ms,
            None => query
                .range
                .since(context.now)
                .map(|at| at.timestamp_millis()),
        };
        let mut before = match (cursor, query.range.until()) {
            (Some(cursor), _) => cursor.before,
            (None, None) => newest.next(),
            (None, Some(until)) => self.first_booked_from(id, newest, until).await?,
        };
        let batch = match &query.reference {
            None => limit,
            Some(_) => limit.max(FILTERED_READ),
        };
        let mut entries = vec![];
        for _ in 0..MAX_READS {
            let read = self.store.entries_before(id, before, batch).await?;
            if read.is_empty() {
                return Ok(Page {
                    entries,
                    next: None,
                });
            }
            for entry in read {
                if since_ms.is_some_and(|since| entry.at.timestamp_millis() < since) {
                    return Ok(Page {
                        entries,
                        next: None,
                    });
                }
                before = entry.seq;
                let wanted = query.reference.is_none() || query.reference == entry.reference;
                if wanted {
                    entries.push(entry.into());
                }
                if entries.len() == limit {
                    break;
                }
            }
            if entries.len() == limit {
                break;
            }
        }
        let next = (before > Seq::NONE.next()).then_some(Cursor { before, since_ms });
        Ok(Page { entries, next })
    }

    /// The number of the first entry booked at or after `at`, one past the newest if there is none.
    /// Booking times never go back, so halving finds it.
    async fn first_booked_from(
        &self,
        id: &AccountId,
        newest: Seq,
        at: Time,
    ) -> Result<Seq, StoreError> {
        let (mut low, mut high) = (1, newest.get() + 1);
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.store.entry(id, Seq::new(middle)).await?;
            if entry.is_some_and(|entry| entry.at < at) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Seq::new(low))
    }
}
