//! Mails: one for each account and cause, however often the event that calls for it comes.
//!
//! A mail is begun in the table, handed over, and done in the table. What is refused or certainly not
//! taken is forgotten again, so that the event's repetition sends it. Where nobody knows, because
//! the answer was lost or the process died in between, it is not sent a second time: the event
//! fails until its queue parks it, and an operator decides.

use super::{Attempt, Context, Error, Fault, Ledger};
use crate::domain::email::Email;
use crate::domain::event::{Event, What};
use crate::domain::ids::{AccountId, OperationId};
use crate::domain::lot::ExpiryNotice;
use crate::domain::mail::{Contact, Letter, Mail, Matter, Preferences, particulars};
use crate::domain::refusal::Refusal;
use crate::domain::units::Connects;
use crate::domain::words::Dictionary;
use crate::store::{Stage, StoreError};

/// Who carries letters.
pub trait Post {
    /// Hands one over.
    ///
    /// # Errors
    /// [`Undelivered`], which says whether it may have been taken all the same.
    fn send(&self, letter: &Letter) -> impl Future<Output = Result<(), Undelivered>>;
}

/// Why a letter was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// It was certainly not taken.
    #[error("the mail was not taken: {0}")]
    NotTaken(String),
    /// There was no answer: it may have been.
    #[error("nobody knows whether the mail was taken: {0}")]
    Unknown(String),
}

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mailed {
    /// It was handed over.
    Sent,
    /// It had been before.
    SentBefore,
    /// The event calls for none.
    Uncalled,
    /// Nothing of what it would be about is left.
    Nothing,
    /// No address is known.
    NoAddress,
    /// Mail to the address came back.
    Returned,
    /// The holder does not want it.
    Muted,
}

/// Why it is not known what became of a mail, or that it has to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] Error),
    /// The post.
    #[error(transparent)]
    Undelivered(#[from] Undelivered),
    /// It was begun before and not done: whether it was sent, nobody knows.
    #[error("the mail {0} was begun and not done: whether it was sent, nobody knows")]
    InDoubt(String),
}

impl From<StoreError> for MailError {
    fn from(error: StoreError) -> Self {
        Self::Ledger(error.into())
    }
}

impl Ledger {
    /// Tells an event's holder of it, if it calls for a mail that they want.
    ///
    /// # Errors
    /// [`MailError`]; the same event may come again, and has to.
    pub async fn mail(
        &self,
        context: &Context,
        post: &impl Post,
        dictionary: &Dictionary,
        event: &Event,
    ) -> Result<Mailed, MailError> {
        let account = &event.account_id;
        let Some(mail) = Mail::of(&event.what) else {
            return Ok(Mailed::Uncalled);
        };
        let contact = self.contact(context, account).await?;
        let Some(to) = contact.email else {
            return Ok(Mailed::NoAddress);
        };
        if !contact.preferences.wants(mail) {
            return Ok(Mailed::Muted);
        }
        if !self.store.takes_mail(&to).await? {
            return Ok(Mailed::Returned);
        }
        let Some(matter) = self.matter(context, account, mail, &event.what).await? else {
            return Ok(Mailed::Nothing);
        };
        let words = dictionary.of(contact.preferences.locale.as_ref());
        let letter = Letter {
            mail,
            to,
            language: words.language.clone(),
            particulars: particulars(account, mail, &matter, words),
        };
        self.send_once(context, post, account, &matter.cause(mail), &letter)
            .await
    }

    async fn send_once(
        &self,
        context: &Context,
        post: &impl Post,
        account: &AccountId,
        cause: &str,
        letter: &Letter,
    ) -> Result<Mailed, MailError> {
        let attempt = format!("{:032x}", fastrand::u128(..));
        let begun = self
            .retry(context, async |_| {
                let begun = self.store.begin_mail(account, cause, &attempt, context.now);
                Ok(Attempt::Done(begun.await?))
            })
            .await?;
        match begun {
            None => {}
            Some(Stage::Sent) => return Ok(Mailed::SentBefore),
            Some(Stage::Begun) => return Err(MailError::InDoubt(cause.to_owned())),
        }
        match post.send(letter).await {
            Ok(()) => {
                self.retry(context, async |_| {
                    let done = self
                        .store
                        .end_mail(account, cause, &attempt, context.now)
                        .await;
                    Ok(Attempt::Done(done?))
                })
                .await?;
                Ok(Mailed::Sent)
            }
            Err(why @ Undelivered::NotTaken(_)) => {
                self.store.forget_mail(account, cause).await?;
                Err(why.into())
            }
            Err(why) => Err(why.into()),
        }
    }

    async fn contact(&self, context: &Context, account: &AccountId) -> Result<Contact, Error> {
        self.retry(context, async |_| {
            let contact = self.store.contact(account).await?;
            Ok(Attempt::Done(contact.ok_or(Refusal::AccountNotFound)?))
        })
        .await
    }

    /// What a mail is about, as the table has it now; none where nothing of it is left.
    async fn matter(
        &self,
        context: &Context,
        account: &AccountId,
        mail: Mail,
        what: &What,
    ) -> Result<Option<Matter>, Error> {
        match what {
            What::Entry(booked) => {
                let mut entries = self.store.transaction_of(account, booked.entry.seq).await?;
                entries.retain(|entry| {
                    Mail::of_entry(entry.entry_type, entry.reason.as_str()) == Some(mail)
                });
                if entries.iter().all(|entry| entry.amount == 0) {
                    return Ok(None);
                }
                let purchase = match mail {
                    Mail::Receipt => {
                        let bought = entries.iter().find(|e| e.reason.as_str() == "purchase");
                        let reference = bought.and_then(|entry| entry.reference.as_ref());
                        let id =
                            reference.and_then(|about| about.as_str().strip_prefix("purchase:"));
                        match id.and_then(|id| OperationId::try_new(id).ok()) {
                            Some(id) => self.store.purchase(account, &id).await?.map(Box::new),
                            None => None,
                        }
                    }
                    _ => None,
                };
                Ok(Some(Matter::Entries { entries, purchase }))
            }
            What::LotExpiring(notice) => self.expiring(context, account, notice).await,
            What::BadgeOff(notice) => Ok(Some(Matter::BadgeOff(notice.clone()))),
            What::LowBalance(crossing) => Ok(Some(Matter::LowBalance(crossing.clone()))),
            What::TopUpOff(off) => Ok(Some(Matter::TopUpOff(off.clone()))),
        }
    }

    async fn expiring(
        &self,
        context: &Context,
        account: &AccountId,
        notice: &ExpiryNotice,
    ) -> Result<Option<Matter>, Error> {
        let lots = self.read(context, account).await?.lots;
        let lapsing = lots
            .iter()
            .filter(|lot| lot.birth().expires_on == notice.expires_on);
        let amount: Connects = lapsing.map(|lot| lot.remaining()).sum();
        Ok((!amount.is_zero()).then_some(Matter::Expiring {
            amount,
            on: notice.expires_on,
            days: notice.days,
        }))
    }

    /// What a holder wants to be told.
    ///
    /// # Errors
    /// `account_not_found`.
    pub async fn preferences(
        &self,
        context: &Context,
        account: &AccountId,
    ) -> Result<Preferences, Error> {
        Ok(self.contact(context, account).await?.preferences)
    }

    /// Writes down what a holder wants to be told.
    ///
    /// # Errors
    /// `account_not_found`.
    pub async fn set_preferences(
        &self,
        context: &Context,
        account: &AccountId,
        preferences: &Preferences,
    ) -> Result<(), Error> {
        self.contact(context, account).await?;
        self.retry(context, async |_| {
            // The account is there, so what was lost is a race with a commit, not its profile.
            let written = self.store.set_preferences(account, preferences).await;
            Ok(Attempt::Done(written?))
        })
        .await
    }

    /// Sends no more mail to an address from which it came back; other addresses are not touched.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn take_no_mail(&self, context: &Context, email: &Email) -> Result<(), Fault> {
        Ok(self.store.take_no_mail(email, context.now).await?)
    }
}
