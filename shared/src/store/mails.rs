//! What mails need: the events that the stream's images are of, whom to write to, and what was
//! written already.
//!
//! A mail is begun before it is handed over and done after: 1 + 1 write units. What is begun and not
//! done may have been sent or not, and nobody can tell; it is never sent again by itself.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::domain::email::Email;
use crate::domain::event::{Event, What};
use crate::domain::ids::{AccountId, Seq};
use crate::domain::journal::{self, Entry};
use crate::domain::mail::{Contact, Mail, Preferences};
use crate::domain::time::{self, Time};
use crate::domain::words::Locale;

use super::commit::IS_NEW;
use super::items::{EntryItem, Item, from_item, text, text_of, to_item};
use super::meter::Access;
use super::{Owner, Store, StoreError, keys};

/// What was sent is known for so long: the stream repeats for a day, a queue for two weeks, and
/// parked letters wait two more.
const KNOWN_FOR: TimeDelta = TimeDelta::days(60);

/// Entries on each side of one that are read first to find those of its transaction, and how many times
/// more are read next. A transaction has a hundred at most.
const REACH: u64 = 8;
const REACH_GROWTH: u64 = 4;

/// An item of the table as its stream shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Image(serde_dynamo::Item);

impl Image {
    /// What is to be told of the item, if anything is: of a journal entry or a notice.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when it is one and has not its form.
    pub fn event(self) -> Result<Option<Event>, StoreError> {
        let item: Item = self.0.into();
        let key = |name| text_of(&item, name).unwrap_or_default().to_owned();
        let (pk, sk) = (key("pk"), key("sk"));
        let Some(account) = AccountId::of(&pk) else {
            return Ok(None);
        };
        if sk.starts_with(keys::ENTRY_PREFIX) {
            let entry = from_item::<EntryItem>(item)?.try_into()?;
            return Ok(Some(Event::of_entry(&account, entry)));
        }
        let Some(name) = keys::notice_name(&sk) else {
            return Ok(None);
        };
        let what = if sk.starts_with(keys::EXPIRY_NOTICE_PREFIX) {
            What::LotExpiring(from_item(item)?)
        } else if sk.starts_with(keys::BADGE_NOTICE_PREFIX) {
            What::BadgeOff(from_item(item)?)
        } else if sk.starts_with(keys::LOW_BALANCE_NOTICE_PREFIX) {
            What::LowBalance(from_item(item)?)
        } else if sk.starts_with(keys::TOP_UP_NOTICE_PREFIX) {
            What::TopUpOff(from_item(item)?)
        } else {
            return Ok(None);
        };
        Ok(Some(Event::of_notice(&account, name, what)))
    }
}

#[derive(Deserialize)]
struct ContactItem {
    #[serde(default)]
    email: Option<Email>,
    #[serde(default)]
    locale: Option<Locale>,
    #[serde(default)]
    muted: Vec<Mail>,
}

/// How far a mail has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It may have been handed over, or not.
    Begun,
    /// It was.
    Sent,
}

#[derive(Serialize, Deserialize)]
struct MailedItem {
    stage: Stage,
    /// Whose attempt it is.
    attempt: String,
    ttl: i64,
}

impl Store {
    /// Whom to write to; none where there is no such account.
    pub async fn contact(&self, account: &AccountId) -> Result<Option<Contact>, StoreError> {
        let profile = self.get(keys::account(account), keys::PROFILE.to_owned());
        let Some(item) = profile.await? else {
            return Ok(None);
        };
        let item: ContactItem = from_item(item)?;
        Ok(Some(Contact {
            email: item.email,
            preferences: Preferences {
                locale: item.locale,
                muted: item.muted,
            },
        }))
    }

    /// Writes down what a holder wants to be told. No plan reads it, so no entry says so.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when there is no such account.
    pub async fn set_preferences(
        &self,
        account: &AccountId,
        preferences: &Preferences,
    ) -> Result<(), StoreError> {
        let muted = preferences.muted.iter().map(|mail| text(mail.as_str()));
        let locale = preferences
            .locale
            .as_ref()
            .map(|locale| text(locale.as_str()));
        let update = match locale {
            Some(_) => "SET muted = :muted, locale = :locale",
            None => "SET muted = :muted REMOVE locale",
        };
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(keys::account(account)))
            .key("sk", text(keys::PROFILE))
            .update_expression(update)
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":muted", AttributeValue::L(muted.collect()));
        let request = match locale {
            Some(locale) => request.expression_attribute_values(":locale", locale),
            None => request,
        };
        let request = request.set_return_consumed_capacity(self.capacity());
        self.call(Access::Write(1), request.send())
            .await
            .map(|_| ())
    }

    /// The entries that were booked together with that one, in order.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when they are not all there yet.
    pub async fn transaction_of(
        &self,
        account: &AccountId,
        seq: Seq,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut reach = REACH;
        loop {
            let after = Seq::new(seq.get() + reach + 1);
            let limit = usize::try_from(2 * reach + 1).unwrap_or(usize::MAX);
            let mut entries = self.entries_before(account, after, limit).await?;
            entries.reverse();
            let has_all = entries.len() < limit;
            match journal::transaction(&entries, seq) {
                Some(booked) => return Ok(booked.to_vec()),
                None if has_all => return Err(StoreError::Lost),
                None => reach *= REACH_GROWTH,
            }
        }
    }

    /// Begins the mail about a cause, unless another attempt has: then how far that has come.
    pub async fn begin_mail(
        &self,
        account: &AccountId,
        cause: &str,
        attempt: &str,
        now: Time,
    ) -> Result<Option<Stage>, StoreError> {
        let begun = mailed(account, cause, attempt, Stage::Begun, now)?;
        match self.put(begun, IS_NEW, None).await {
            Ok(()) => Ok(None),
            Err(StoreError::Lost) => {
                let there = self.get(keys::mails(account), cause.to_owned()).await?;
                let there: MailedItem = from_item(there.ok_or(StoreError::Lost)?)?;
                Ok((there.attempt != attempt).then_some(there.stage))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes down that the mail about a cause was handed over.
    pub async fn end_mail(
        &self,
        account: &AccountId,
        cause: &str,
        attempt: &str,
        now: Time,
    ) -> Result<(), StoreError> {
        let sent = mailed(account, cause, attempt, Stage::Sent, now)?;
        self.put(sent, "attribute_exists(pk)", None).await
    }

    /// Forgets a mail that was begun and certainly not handed over.
    pub async fn forget_mail(&self, account: &AccountId, cause: &str) -> Result<(), StoreError> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("pk", text(keys::mails(account)))
            .key("sk", text(cause))
            .set_return_consumed_capacity(self.capacity());
        self.call(Access::Write(1), request.send())
            .await
            .map(|_| ())
    }

    /// Whether mail to an address came back.
    pub async fn takes_mail(&self, email: &Email) -> Result<bool, StoreError> {
        let returned = self.get(keys::address(email), keys::RETURNED_MAIL.to_owned());
        Ok(returned.await?.is_none())
    }

    /// Writes down that mail to an address came back. The address itself is not kept.
    pub async fn take_no_mail(&self, email: &Email, now: Time) -> Result<(), StoreError> {
        let mut item = Item::new();
        item.insert("pk".to_owned(), text(keys::address(email)));
        item.insert("sk".to_owned(), text(keys::RETURNED_MAIL));
        item.insert("returned_at".to_owned(), text(time::text(now)));
        match self.put(item, IS_NEW, None).await {
            Err(StoreError::Lost) => Ok(()),
            done => done,
        }
    }
}

fn mailed(
    account: &AccountId,
    cause: &str,
    attempt: &str,
    stage: Stage,
    now: Time,
) -> Result<Item, StoreError> {
    let item = MailedItem {
        stage,
        attempt: attempt.to_owned(),
        ttl: (now + KNOWN_FOR).timestamp(),
    };
    to_item(keys::mails(account), cause.to_owned(), &item)
}
