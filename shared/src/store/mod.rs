//! The table. Nothing else names an attribute, a key or an expression.
//!
//! An account's whole state is one strongly consistent reverse query, or three in two round trips
//! where it has more than a dozen lots; a change is one
//! `TransactWriteItems` that takes the journal's next number as its lock and conditions every lot
//! it touches on what was read. A query is not a snapshot: the newest entry's seal tells whether
//! what came back fits together, and if not it is read again.

mod badges;
mod broken;
mod client;
mod commit;
mod due;
mod items;
mod jobs;
mod keys;
mod meter;
mod quotas;
mod sandbox;
mod top_ups;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnConsumedCapacity};
use serde::de::DeserializeOwned;

pub use client::{connect, retries, timeouts};
pub use due::{Due, DueItem, DuePage};
pub use jobs::{Bidding, ItemKey, ProposalPage};
pub use keys::{DUE_SHARDS, DueKind, Owner};
pub use meter::{Cost, Meter};
pub use quotas::Taken;
pub use sandbox::SandboxCharge;

use crate::domain::account::{Account, Profile, Torn};
use crate::domain::codes::{Export, Page, Place};
use crate::domain::email::Email;
use crate::domain::hold::Hold;
use crate::domain::ids::{AccountId, Operation, OperationId, PersonId, PromoCode, Seq};
use crate::domain::journal::Entry;
use crate::domain::lot::Lot;
use crate::domain::promo::{Promo, PromoState, Slot};
use crate::domain::purchase::Purchase;
use crate::domain::receipt::{Answered, Receipt};

use commit::Values;
use items::{
    EntryItem, HoldItem, Item, LotItem, ProfileItem, ReceiptItem, RedemptionItem, from_item, text,
    text_of,
};
use meter::{Access, Consumed};

/// Items that the first query for a state asks for: the profile, up to 14 lots and the newest entry.
/// What is left over for older entries is read in vain: at some 460 bytes for an entry, 250 for the
/// profile and 230 for a lot, 16 items are 4 to 8 KB, so one or two read units whatever their mix.
const FIRST_QUERY: i32 = 16;

/// After a torn read the next asks for so many times more.
const QUERY_GROWTH: i32 = 4;

/// The most that it asks for.
const MAX_QUERY: i32 = 2_048;

/// A number that no entry reaches.
const AFTER_ALL: Seq = Seq::new(1_000_000_000_000);

/// How often a state may fail to fit the same newest entry before it is called broken.
const MAX_TORN_READS: u32 = 3;

/// How often a state that commits keep tearing is read before its reader waits for a better moment.
const MAX_READS: u32 = 6;

/// The pause before a torn state is read again, in milliseconds.
const TORN_PAUSE_MS: std::ops::RangeInclusive<u64> = 2..=12;

/// What went wrong with the table.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A condition did not hold or another transaction was under way: nothing was written, and the
    /// plan was made from what is no longer so.
    #[error("lost a race")]
    Lost,
    /// Throttled, timed out, cut off or failed inside: whether anything was written, the next read
    /// tells.
    #[error("the table did not answer: {0}")]
    Unanswered(String),
    /// What is in the table is not what belongs there.
    #[error(transparent)]
    Torn(#[from] Torn),
    /// An item that can't be read.
    #[error("unreadable {what}: {why}")]
    Unreadable {
        /// The kind of item.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The table refused the request itself.
    #[error("the table refused the request: {0}")]
    Rejected(String),
}

impl StoreError {
    fn unreadable(what: &'static str, why: impl ToString) -> Self {
        Self::Unreadable {
            what,
            why: why.to_string(),
        }
    }
}

/// A handle to the table.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    table: String,
    meter: Option<Arc<Meter>>,
}

impl Store {
    /// Of that table.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            client,
            table: table.into(),
            meter: None,
        }
    }

    /// The same, with every call counted.
    #[must_use]
    pub fn metered(self, meter: Arc<Meter>) -> Self {
        Self {
            meter: Some(meter),
            ..self
        }
    }

    fn capacity(&self) -> Option<ReturnConsumedCapacity> {
        self.meter
            .is_some()
            .then_some(ReturnConsumedCapacity::Total)
    }

    /// Sends a request, counts it and sorts its failure.
    async fn call<T, E>(
        &self,
        access: Access,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, StoreError>
    where
        T: Consumed,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let round_trip = self.meter.as_ref().map(|meter| meter.begin());
        let answer = request.await;
        if let Some((meter, round_trip)) = self.meter.as_ref().zip(round_trip) {
            let consumed = answer.as_ref().map(Consumed::consumed).unwrap_or_default();
            let written = match (&answer, access) {
                (Err(_), Access::Write(_)) => Access::Write(0),
                _ => access,
            };
            meter.end(round_trip, written, &consumed);
        }
        answer.map_err(|error| sort(&error))
    }

    /// Loads an account's whole state; none where it was never opened. After a read that met a
    /// commit half-way the next asks for more at once, so that it is one page.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when commits keep coming in between; [`StoreError::Torn`] when the
    /// state does not fit the same newest entry time and again.
    pub async fn load(&self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        let mut limit = FIRST_QUERY;
        let mut torn_at = (Seq::NONE, 0);
        for _ in 0..MAX_READS {
            let Some((profile, lots, head)) = self.read_state(id, limit).await? else {
                return Ok(None);
            };
            let seq = head.seq;
            match Account::assemble(id.clone(), profile, lots, head) {
                Ok(account) => return Ok(Some(account)),
                Err(torn) => {
                    let times = if torn_at.0 == seq { torn_at.1 + 1 } else { 1 };
                    if times == MAX_TORN_READS {
                        return Err(torn.into());
                    }
                    torn_at = (seq, times);
                    // A commit is applied item by item: give it the time to be.
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(TORN_PAUSE_MS))).await;
                    limit = (limit * QUERY_GROWTH).min(MAX_QUERY);
                }
            }
        }
        Err(StoreError::Lost)
    }

    /// One query where the lots fit it. Else two more, sent together: the lots that it left, and the
    /// newest entry; so a state is two round trips at most, and no older entry is read in vain.
    async fn read_state(
        &self,
        id: &AccountId,
        limit: i32,
    ) -> Result<Option<(Profile, Vec<Lot>, Entry)>, StoreError> {
        let (items, next) = self.state_page(id, limit).await?;
        let mut profile: Option<Profile> = None;
        let mut lots = vec![];
        for item in items {
            match text_of(&item, "sk").unwrap_or_default() {
                keys::PROFILE => {
                    profile = Some(from_item::<ProfileItem>(item)?.into());
                }
                sk if sk.starts_with(keys::LOT_PREFIX) => {
                    lots.push(from_item::<LotItem>(item)?.try_into()?);
                }
                _ => {
                    let head = from_item::<EntryItem>(item)?.try_into()?;
                    return Ok(profile.map(|profile| (profile, lots, head)));
                }
            }
        }
        let (Some(profile), Some(next)) = (profile, next) else {
            return Ok(None);
        };
        let (rest, newest) = futures::try_join!(
            self.lots_from(id, next),
            self.entries_before(id, AFTER_ALL, 1)
        )?;
        lots.extend(rest);
        Ok(newest.into_iter().next().map(|head| (profile, lots, head)))
    }

    async fn state_page(
        &self,
        id: &AccountId,
        limit: i32,
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let request = self
            .back_from_profile(id, "pk = :pk AND sk <= :profile")
            .limit(limit)
            .set_return_consumed_capacity(self.capacity());
        let page = self.call(Access::Read, request.send()).await?;
        Ok((page.items.unwrap_or_default(), page.last_evaluated_key))
    }

    /// The lots after that key, newest first. A megabyte is some 4,000 of them, so this is one call
    /// in all but name.
    async fn lots_from(&self, id: &AccountId, start: Item) -> Result<Vec<Lot>, StoreError> {
        let mut lots = vec![];
        let mut start = Some(start);
        while start.is_some() {
            let request = self
                .back_from_profile(id, "pk = :pk AND sk BETWEEN :lots AND :profile")
                .expression_attribute_values(":lots", text(keys::LOT_PREFIX))
                .set_exclusive_start_key(start)
                .set_return_consumed_capacity(self.capacity());
            let page = self.call(Access::Read, request.send()).await?;
            for item in page.items.unwrap_or_default() {
                lots.push(from_item::<LotItem>(item)?.try_into()?);
            }
            start = page.last_evaluated_key;
        }
        Ok(lots)
    }

    /// A query from the profile downwards.
    fn back_from_profile(&self, id: &AccountId, range: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression(range)
            .expression_attribute_values(":pk", text(keys::account(id)))
            .expression_attribute_values(":profile", text(keys::PROFILE))
            .scan_index_forward(false)
            .consistent_read(true)
    }

    /// Whether the account was ever opened.
    pub async fn account_exists(&self, id: &AccountId) -> Result<bool, StoreError> {
        let profile = self.get(keys::account(id), keys::PROFILE.to_owned());
        Ok(profile.await?.is_some())
    }

    /// An operation's receipt.
    pub async fn receipt(
        &self,
        account: &AccountId,
        id: &OperationId,
    ) -> Result<Option<Receipt>, StoreError> {
        self.get(keys::account(account), keys::receipt(id))
            .await?
            .map(|item| from_item::<ReceiptItem>(item)?.try_into())
            .transpose()
    }

    /// The receipt of an operation that keeps its answer.
    pub async fn answered<A: DeserializeOwned>(
        &self,
        account: &AccountId,
        id: &OperationId,
    ) -> Result<Option<Answered<A>>, StoreError> {
        self.get(keys::account(account), keys::receipt(id))
            .await?
            .map(from_item)
            .transpose()
    }

    /// A purchase; none under another operation's id.
    pub async fn purchase(
        &self,
        account: &AccountId,
        id: &OperationId,
    ) -> Result<Option<Purchase>, StoreError> {
        if !id.is(Operation::Purchase) {
            return Ok(None);
        }
        self.get(keys::account(account), keys::receipt(id))
            .await?
            .map(from_item)
            .transpose()
    }

    /// The purchase that the account has used a code for, or is about to.
    pub async fn purchase_with(
        &self,
        account: &AccountId,
        code: &PromoCode,
    ) -> Result<Option<Purchase>, StoreError> {
        match self
            .get(keys::account(account), keys::redemption(code))
            .await?
        {
            None => Ok(None),
            Some(item) => {
                let redemption: RedemptionItem = from_item(item)?;
                self.purchase(account, &redemption.purchase_id).await
            }
        }
    }

    /// A hold; none under another operation's id.
    pub async fn hold(
        &self,
        account: &AccountId,
        id: &OperationId,
    ) -> Result<Option<Hold>, StoreError> {
        if !id.is(Operation::Hold) {
            return Ok(None);
        }
        self.get(keys::account(account), keys::receipt(id))
            .await?
            .map(|item| from_item::<HoldItem>(item)?.try_into())
            .transpose()
    }

    /// Whether the person has had a signup bonus.
    pub async fn person_is_known(&self, id: &PersonId) -> Result<bool, StoreError> {
        let person = self.get(keys::person(id), keys::PERSON.to_owned());
        Ok(person.await?.is_some())
    }

    /// A promo code's terms.
    pub async fn promo(&self, code: &PromoCode) -> Result<Option<Promo>, StoreError> {
        self.get(keys::promo(code), keys::PROMO.to_owned())
            .await?
            .map(from_item)
            .transpose()
    }

    /// A promo code's counters, in order.
    pub async fn promo_slots(&self, promo: &Promo) -> Result<Vec<Slot>, StoreError> {
        let keys = (0..promo.slots).map(|n| {
            HashMap::from([
                ("pk".to_owned(), text(keys::promo_slot(&promo.code, n))),
                ("sk".to_owned(), text(keys::SLOT)),
            ])
        });
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys.collect()))
            .consistent_read(true)
            .build()
            .map_err(|error| StoreError::Rejected(error.to_string()))?;
        let request = self
            .client
            .batch_get_item()
            .request_items(&self.table, wanted)
            .set_return_consumed_capacity(self.capacity());
        let answer = self.call(Access::Read, request.send()).await?;
        let mut slots = answer
            .responses
            .unwrap_or_default()
            .remove(&self.table)
            .unwrap_or_default()
            .into_iter()
            .map(|item| {
                let place = text_of(&item, "pk").and_then(slot_number);
                Ok((place, from_item::<Slot>(item)?))
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        if slots.len() != promo.slots as usize {
            return Err(StoreError::Unanswered("some slots were not read".into()));
        }
        slots.sort_by_key(|(place, _)| *place);
        Ok(slots.into_iter().map(|(_, slot)| slot).collect())
    }

    /// The page of marks that a single-use code would be on.
    pub async fn codes_page(&self, place: Option<&Place>) -> Result<Option<Page>, StoreError> {
        let Some(place) = place else {
            return Ok(None);
        };
        let pk = keys::codes_page(&place.promo, place.page());
        let item = self.get(pk, keys::CODES.to_owned()).await?;
        let marks = item.map(|mut item| match item.remove("marks") {
            Some(AttributeValue::B(marks)) => Ok(Page::stored(marks.into_inner())),
            _ => Err(StoreError::unreadable("page of codes", "no marks")),
        });
        marks.transpose()
    }

    /// Whether a single-use code is used.
    pub async fn code_is_used(&self, code: Option<&PromoCode>) -> Result<bool, StoreError> {
        match code {
            None => Ok(false),
            Some(code) => {
                let used = self.get(keys::promo(code), keys::USED.to_owned());
                Ok(used.await?.is_some())
            }
        }
    }

    /// What is kept of the request that made a promo's single-use codes.
    pub async fn export(&self, promo: &PromoCode) -> Result<Option<Export>, StoreError> {
        self.get(keys::promo(promo), keys::EXPORT.to_owned())
            .await?
            .map(from_item)
            .transpose()
    }

    /// A promo code with its counters.
    pub async fn promo_state(&self, code: &PromoCode) -> Result<Option<PromoState>, StoreError> {
        match self.promo(code).await? {
            None => Ok(None),
            Some(promo) => {
                let slots = self.promo_slots(&promo).await?;
                Ok(Some((promo, slots)))
            }
        }
    }

    /// One entry of a journal.
    pub async fn entry(&self, id: &AccountId, seq: Seq) -> Result<Option<Entry>, StoreError> {
        self.get(keys::account(id), keys::entry(seq))
            .await?
            .map(|item| from_item::<EntryItem>(item)?.try_into())
            .transpose()
    }

    /// The newest entries before `before`, newest first, at most `limit`.
    pub async fn entries_before(
        &self,
        id: &AccountId,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let last = Seq::new(before.get().saturating_sub(1));
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", text(keys::account(id)))
            .expression_attribute_values(":first", text(keys::entry(Seq::NONE)))
            .expression_attribute_values(":last", text(keys::entry(last)))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_return_consumed_capacity(self.capacity());
        let page = self.call(Access::Read, request.send()).await?;
        page.items
            .unwrap_or_default()
            .into_iter()
            .map(|item| from_item::<EntryItem>(item)?.try_into())
            .collect()
    }

    /// Writes down where the holder can be told things. No plan reads it, so no entry says so.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when there is no such account.
    pub async fn set_email(&self, id: &AccountId, email: &Email) -> Result<(), StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(keys::account(id)))
            .key("sk", text(keys::PROFILE))
            .update_expression("SET email = :email")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":email", text(email.as_str()))
            .set_return_consumed_capacity(self.capacity());
        self.call(Access::Write(1), request.send())
            .await
            .map(|_| ())
    }

    async fn get(&self, pk: String, sk: String) -> Result<Option<Item>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk))
            .consistent_read(true)
            .set_return_consumed_capacity(self.capacity());
        let answer = self.call(Access::Read, request.send()).await?;
        Ok(answer.item)
    }

    fn put_request(&self, item: Item, condition: &str, values: Values) -> PutItemFluentBuilder {
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_values(values)
            .set_return_consumed_capacity(self.capacity())
    }

    async fn put(&self, item: Item, condition: &str, values: Values) -> Result<(), StoreError> {
        let request = self.put_request(item, condition, values);
        self.call(Access::Write(1), request.send())
            .await
            .map(|_| ())
    }
}

fn slot_number(pk: &str) -> Option<u32> {
    pk.rsplit_once('#')?.1.parse().ok()
}

/// Whether a failure means a lost race, an unknown outcome or a mistake of ours.
fn sort<E>(error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let SdkError::ServiceError(service) = error else {
        return StoreError::Unanswered(format!("{error:?}"));
    };
    let failure = service.err();
    let message = failure.message().unwrap_or_default();
    match failure.code().unwrap_or_default() {
        "ConditionalCheckFailedException" | "TransactionConflictException" => StoreError::Lost,
        "TransactionCanceledException" => sort_cancellation(message),
        "ThrottlingException"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "TransactionInProgressException" => StoreError::Unanswered(failure.to_string()),
        _ if service.raw().status().is_server_error() => {
            StoreError::Unanswered(failure.to_string())
        }
        code => StoreError::Rejected(format!("{code}: {message}")),
    }
}

/// A cancelled transaction's message lists its reasons in order:
/// `… specific reasons [None, ConditionalCheckFailed]`.
fn sort_cancellation(message: &str) -> StoreError {
    if message.contains("ConditionalCheckFailed") || message.contains("TransactionConflict") {
        StoreError::Lost
    } else if message.contains("ValidationError") || message.contains("ItemCollectionSize") {
        StoreError::Rejected(message.to_owned())
    } else {
        StoreError::Unanswered(message.to_owned())
    }
}
