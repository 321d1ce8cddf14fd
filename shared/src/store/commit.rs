//! The write path.
//!
//! A plan is one `TransactWriteItems`, one round trip after the load's one; so are two plans for two
//! accounts of which one goes beside the other. Its first action puts
//! the journal's next entry where there is none: of all plans made from one state exactly one can
//! commit, so the changes of an account are one total order. Every lot it touches is conditioned on
//! what was read, although the lock already implies it: what would break that is seen, not booked.
//!
//! Capacity: two units for each kilobyte of each item, one more for each write of the `due` index
//! (a lot made or used up, a profile whose next grant moves, a purchase that stops being open, a hold
//! with an end of its own that is made or ended, a badge that is turned on or off; two where a badge's
//! paid week moves on).
//!
//! Failure: a condition or a conflict means nothing was written and the plan is stale; no answer
//! means that either may be so. Both ways the caller reads again and plans again. The SDK does not
//! repeat a transaction by itself: a plan is sent once.
//!
//! Bounds: 100 actions, by the draft that made the plan; lots beyond that are pending in its last
//! entry.
//!
//! Rejected: a version attribute on the profile as the lock (one more item written by each
//! operation), and locking lots alone (two spends of different lots would both pass, and the older
//! lot could be used second).

use std::collections::HashMap;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};
use serde::Serialize;

use crate::defect::{Defect, present};
use crate::domain::codes::Batch;
use crate::domain::draft::{Guard, LotWrite, Plan, ProfileWrite};
use crate::domain::email::Email;
use crate::domain::hold::Hold;
use crate::domain::ids::{AccountId, PromoCode};
use crate::domain::promo::{Promo, Redemption, Slot};
use crate::domain::purchase::Purchase;
use crate::domain::receipt::Answered;
use crate::domain::time::{self, Time};
use crate::domain::top_up::{TopUp, TopUpOff};

use super::items::{
    EntryItem, HoldItem, Item, LotItem, ProfileItem, ReceiptItem, RedemptionItem, UsedItem, number,
    text, to_item,
};
use super::meter::Access;
use super::{DueKind, Owner, Store, StoreError, broken, keys};

pub const IS_NEW: &str = "attribute_not_exists(pk)";

/// Attributes that a profile may or may not have.
const OPTIONAL_IN_PROFILE: [&str; 5] = [
    "pending_plan",
    "lapsed_cycle",
    "low_balance",
    "due_shard",
    "due_at",
];

impl Store {
    /// Commits a plan: all of it, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when the plan is stale, [`StoreError::Unanswered`] when the outcome is
    /// not known.
    pub async fn commit(&self, plan: Plan) -> Result<(), StoreError> {
        self.commit_with_email(plan, None).await
    }

    /// Commits a plan if there is one.
    ///
    /// # Errors
    /// As for [`Store::commit`].
    pub async fn commit_if(&self, plan: Option<Plan>) -> Result<(), StoreError> {
        match plan {
            Some(plan) => self.commit(plan).await,
            None => Ok(()),
        }
    }

    /// The same for a plan that opens an account whose holder can be written to.
    ///
    /// # Errors
    /// As for [`Store::commit`].
    pub async fn commit_with_email(
        &self,
        plan: Plan,
        email: Option<&Email>,
    ) -> Result<(), StoreError> {
        let parts = plan.parts().map(|part| self.actions(part, email));
        let actions = parts.collect::<Result<Vec<_>, _>>()?;
        self.transact(actions.concat()).await
    }

    fn actions(
        &self,
        plan: &Plan,
        email: Option<&Email>,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let account = &plan.account;
        let entries = plan.entries.iter().map(|entry| {
            let item = to_item(
                keys::account(account),
                keys::entry(entry.seq),
                &EntryItem::from(entry),
            )?;
            self.put_if(item, IS_NEW)
        });
        let lots = plan
            .lots
            .iter()
            .map(|write| self.lot_action(account, write));
        let profile = plan
            .profile
            .iter()
            .map(|write| self.profile_action(account, write, email));
        let guards = plan
            .guards
            .iter()
            .map(|guard| self.guard_action(account, guard));
        entries.chain(lots).chain(profile).chain(guards).collect()
    }

    /// Writes a promo code's terms and counters, if they are still what was read.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when they are not.
    pub async fn put_promo(
        &self,
        promo: &Promo,
        slots: &[Slot],
        were: Option<&[Slot]>,
    ) -> Result<(), StoreError> {
        self.transact(self.promo_actions(promo, slots, were)?).await
    }

    fn promo_actions(
        &self,
        promo: &Promo,
        slots: &[Slot],
        were: Option<&[Slot]>,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let item = to_item(keys::promo(&promo.code), keys::PROMO.to_owned(), promo)?;
        let terms = match were {
            None => self.put_if(item, IS_NEW),
            Some(_) => self.put_where(
                item,
                "version = :was",
                named([(":was", number(promo.version - 1))]),
            ),
        };
        let counters = slots.iter().enumerate().map(|(n, slot)| {
            let pk = keys::promo_slot(&promo.code, n as u32);
            let item = to_item(pk, keys::SLOT.to_owned(), slot)?;
            match were.and_then(|were| were.get(n)) {
                None => self.put_if(item, IS_NEW),
                Some(was) => self.put_where(
                    item,
                    "used = :used AND version = :was",
                    named([(":used", number(was.used)), (":was", number(was.version))]),
                ),
            }
        });
        std::iter::once(terms).chain(counters).collect()
    }

    /// Writes down a promo with its single-use codes, where there is none of that name. What the codes
    /// follow from is deleted some time after it may not be told any more.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when there is one.
    pub async fn put_codes(&self, batch: &Batch) -> Result<(), StoreError> {
        let (promo, slots) = &batch.state;
        let mut export = to_item(
            keys::promo(&promo.code),
            keys::EXPORT.to_owned(),
            &batch.export,
        )?;
        let ttl = number(batch.export.shown_until.timestamp());
        export.insert("ttl".to_owned(), ttl);
        let pages = batch.pages.iter().enumerate().map(|(n, page)| {
            let marks = AttributeValue::B(page.marks().into());
            let item = HashMap::from([
                (
                    "pk".to_owned(),
                    text(keys::codes_page(&promo.code, n as u32)),
                ),
                ("sk".to_owned(), text(keys::CODES)),
                ("marks".to_owned(), marks),
            ]);
            self.put_if(item, IS_NEW)
        });
        let mut actions = self.promo_actions(promo, slots, None)?;
        actions.push(self.put_if(export, IS_NEW)?);
        actions.extend(pages.collect::<Result<Vec<_>, _>>()?);
        self.transact(actions).await
    }

    /// Writes down a purchase that is about to be charged, where there is none, and takes with it what
    /// it rides on: the redemption of its code; its price out of the month of a `top_up`.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when there is one of another request, or what it rides on is not as it was
    /// read.
    pub async fn begin_purchase(
        &self,
        account: &AccountId,
        purchase: &Purchase,
        top_up: Option<&TopUp>,
    ) -> Result<(), StoreError> {
        let promo = purchase.promo.as_ref().map(|promo| {
            let marker = RedemptionItem {
                purchase_id: purchase.id.clone(),
            };
            let code = keys::redemption(&promo.redemption.code);
            let marker = to_item(keys::account(account), code, &marker)?;
            let mut actions = vec![
                self.put_if(marker, IS_NEW)?,
                self.redemption_action(&promo.redemption)?,
            ];
            if let Some(code) = &promo.redemption.single_use {
                actions.push(self.code_used(account, code)?);
            }
            Ok(actions)
        });
        let top_up = top_up.map(|top_up| self.top_up_action(account, top_up));
        self.write_purchase(account, purchase, promo, top_up.into_iter().collect())
            .await
    }

    /// Writes down that a pending purchase is definitely not paid, and gives back what it rode on: the
    /// redemption of its code; its price to the month of a `top_up`, with what the holder is to be told
    /// if that went off.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when it is not pending any more, another transaction was under way, or the
    /// top-up is not as it was read.
    pub async fn decline_purchase(
        &self,
        account: &AccountId,
        purchase: &Purchase,
        top_up: Option<&(TopUp, Option<TopUpOff>)>,
    ) -> Result<(), StoreError> {
        let promo = purchase.promo.as_ref();
        let promo = promo.filter(|_| !present(Defect::CodeKept)).map(|promo| {
            let (taken, by) = (&promo.redemption, text(purchase.id.as_str()));
            let marker = (keys::account(account), keys::redemption(&taken.code));
            let mut actions = vec![
                self.delete(marker, "purchase_id", by)?,
                self.redemption_back(taken)?,
            ];
            if let Some(code) = &taken.single_use {
                let used = (keys::promo(code), keys::USED.to_owned());
                actions.push(self.delete(used, "account_id", text(account.as_str()))?);
            }
            Ok(actions)
        });
        let top_up = top_up.map(|(top_up, off)| {
            let told = off.iter().map(|off| self.top_up_off_action(account, off));
            std::iter::once(self.top_up_action(account, top_up)).chain(told)
        });
        let top_up = top_up.into_iter().flatten().collect();
        self.write_purchase(account, purchase, promo, top_up).await
    }

    /// A purchase by itself, or in a transaction with what goes with it. Sent once, so that the outcome
    /// is its own: sent again, it would meet what it wrote itself.
    async fn write_purchase(
        &self,
        account: &AccountId,
        purchase: &Purchase,
        promo: Option<Result<Vec<TransactWriteItem>, StoreError>>,
        top_up: Vec<Result<TransactWriteItem, StoreError>>,
    ) -> Result<(), StoreError> {
        let promo = promo.transpose()?.into_iter().flatten();
        let top_up = top_up.into_iter().collect::<Result<Vec<_>, _>>()?;
        let with_it: Vec<_> = promo.chain(top_up).collect();
        if !with_it.is_empty() {
            let purchase = self.purchase_action(account, purchase)?;
            let actions = std::iter::once(purchase).chain(with_it);
            return self.transact(actions.collect()).await;
        }
        let (condition, names, values) = purchase_condition(purchase);
        let request = self
            .put_request(purchase_item(account, purchase)?, condition, values)
            .set_expression_attribute_names(names)
            .customize()
            .config_override(once());
        self.call(Access::Write(1), request.send())
            .await
            .map(|_| ())
    }

    fn purchase_action(
        &self,
        account: &AccountId,
        purchase: &Purchase,
    ) -> Result<TransactWriteItem, StoreError> {
        let (condition, names, values) = purchase_condition(purchase);
        Put::builder()
            .table_name(&self.table)
            .set_item(Some(purchase_item(account, purchase)?))
            .condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .build()
            .map(|put| TransactWriteItem::builder().put(put).build())
            .map_err(rejected)
    }

    /// Counts a redemption, if the terms are what was read and there is room.
    fn redemption_action(&self, taken: &Redemption) -> Result<TransactWriteItem, StoreError> {
        self.update(
            keys::promo_slot(&taken.code, taken.slot),
            keys::SLOT.to_owned(),
            "SET used = used + :one",
            "version = :version AND (attribute_not_exists(cap) OR used < cap)",
            [(":one", number(1)), (":version", number(taken.version))],
        )
    }

    /// Counts a redemption no more, whatever the terms are by now.
    fn redemption_back(&self, taken: &Redemption) -> Result<TransactWriteItem, StoreError> {
        self.update(
            keys::promo_slot(&taken.code, taken.slot),
            keys::SLOT.to_owned(),
            "SET used = used - :one",
            "used >= :one",
            [(":one", number(1))],
        )
    }

    /// Uses a single-use code up, if nobody has.
    fn code_used(
        &self,
        account: &AccountId,
        code: &PromoCode,
    ) -> Result<TransactWriteItem, StoreError> {
        let used = UsedItem {
            account_id: account,
        };
        let item = to_item(keys::promo(code), keys::USED.to_owned(), &used)?;
        self.put_if(item, IS_NEW)
    }

    /// Deletes an item, if one of its attributes is what it was.
    fn delete(
        &self,
        (pk, sk): (String, String),
        name: &str,
        was: AttributeValue,
    ) -> Result<TransactWriteItem, StoreError> {
        Delete::builder()
            .table_name(&self.table)
            .key("pk", text(pk))
            .key("sk", text(sk))
            .condition_expression(format!("{name} = :was"))
            .expression_attribute_values(":was", was)
            .build()
            .map(|delete| TransactWriteItem::builder().delete(delete).build())
            .map_err(rejected)
    }

    pub(super) async fn transact(&self, actions: Vec<TransactWriteItem>) -> Result<(), StoreError> {
        for actions in broken::sent(actions) {
            self.send(actions).await?;
        }
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that sends a transaction"
    )]
    async fn send(&self, actions: Vec<TransactWriteItem>) -> Result<(), StoreError> {
        let checks = actions.iter().filter(|a| a.condition_check().is_some());
        let items = actions.len() - checks.count();
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(actions))
            .set_return_consumed_capacity(self.capacity())
            .customize()
            .config_override(once());
        self.call(Access::Write(items), request.send())
            .await
            .map(|_| ())
    }

    fn lot_action(
        &self,
        account: &AccountId,
        write: &LotWrite,
    ) -> Result<TransactWriteItem, StoreError> {
        match write {
            LotWrite::Create { lot, due_at } => {
                let mut item = to_item(
                    keys::account(account),
                    keys::lot(lot.birth()),
                    &LotItem::from(lot),
                )?;
                item.extend(due(DueKind::Expiry, account, *due_at));
                self.put_if(item, IS_NEW)
            }
            LotWrite::Update { lot, was } => self.update(
                keys::account(account),
                keys::lot(lot.birth()),
                "SET remaining = :now",
                "remaining = :was",
                [(":now", number(lot.remaining())), (":was", number(was))],
            ),
            LotWrite::Delete { birth, was } => {
                let lot = (keys::account(account), keys::lot(birth));
                self.delete(lot, "remaining", number(was))
            }
        }
    }

    /// The contact stays where it is, so an existing profile is updated, not put.
    fn profile_action(
        &self,
        account: &AccountId,
        write: &ProfileWrite,
        email: Option<&Email>,
    ) -> Result<TransactWriteItem, StoreError> {
        let (pk, sk) = (keys::account(account), keys::PROFILE.to_owned());
        let mut item = to_item(pk.clone(), sk.clone(), &ProfileItem::from(&write.profile))?;
        if let Some(due_at) = write.due_at {
            item.extend(due(DueKind::Grant, account, due_at));
        }
        let Some(was) = write.was else {
            item.extend(email.map(|email| ("email".to_owned(), text(email.as_str()))));
            return self.put_if(item, IS_NEW);
        };
        item.remove("pk");
        item.remove("sk");
        let mut names: Vec<&String> = item.keys().collect();
        names.sort_unstable();
        let sets: Vec<String> = names
            .iter()
            .map(|name| format!("#{name} = :{name}"))
            .collect();
        // What the profile does not have, an earlier one may have had.
        let gone: Vec<&str> = OPTIONAL_IN_PROFILE
            .into_iter()
            .filter(|name| !item.contains_key(*name))
            .collect();
        let removal = match gone.is_empty() {
            true => String::new(),
            false => format!(" REMOVE {}", gone.join(", ")),
        };
        let update = Update::builder()
            .table_name(&self.table)
            .key("pk", text(pk))
            .key("sk", text(sk))
            .update_expression(format!("SET {}{removal}", sets.join(", ")))
            .condition_expression("#seq = :was")
            .set_expression_attribute_names(Some(
                names
                    .iter()
                    .map(|name| (format!("#{name}"), (*name).clone()))
                    .collect(),
            ))
            .set_expression_attribute_values(Some(
                item.iter()
                    .map(|(name, value)| (format!(":{name}"), value.clone()))
                    .chain([(":was".to_owned(), number(was))])
                    .collect(),
            ))
            .build()
            .map_err(rejected)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn guard_action(
        &self,
        account: &AccountId,
        guard: &Guard,
    ) -> Result<TransactWriteItem, StoreError> {
        match guard {
            Guard::NewReceipt(receipt) => {
                let item = to_item(
                    keys::account(account),
                    keys::receipt(&receipt.id),
                    &ReceiptItem::from(receipt),
                )?;
                self.put_if(item, IS_NEW)
            }
            Guard::NewPlanChange(change) => self.put_if(answered_item(account, change)?, IS_NEW),
            Guard::NewReward(reward) => self.put_if(answered_item(account, reward)?, IS_NEW),
            Guard::NewBid(bid) => self.put_if(answered_item(account, bid)?, IS_NEW),
            Guard::Auction(auction) => self.auction_action(auction),
            Guard::Returned { spend, was, now } => self.update(
                keys::account(account),
                keys::receipt(spend),
                "SET returned = :now",
                "returned = :was",
                [(":now", number(now)), (":was", number(was))],
            ),
            Guard::NewPerson(person) => {
                let item = HashMap::from([
                    ("pk".to_owned(), text(keys::person(person))),
                    ("sk".to_owned(), text(keys::PERSON)),
                    ("account_id".to_owned(), text(account.as_str())),
                ]);
                self.put_if(item, IS_NEW)
            }
            Guard::Redemption(taken) => self.redemption_action(taken),
            Guard::CodeUsed(code) => self.code_used(account, code),
            Guard::Proposal(proposal) => self.proposal_action(proposal),
            Guard::Hold(hold) => {
                let (condition, values) = follows(hold.revision);
                self.put_where(hold_item(account, hold)?, condition, values)
            }
            Guard::Badge(badge) => self.badge_action(account, badge),
            Guard::BadgeNotice(notice) => self.badge_notice_action(account, notice),
            Guard::LowBalance(crossing) => self.low_balance_action(account, crossing),
            Guard::TopUp(top_up) => self.top_up_action(account, top_up),
            Guard::TopUpWanted(waiting) => self.top_up_wanted_action(account, waiting),
            Guard::OpenJob {
                job,
                version,
                contracts,
            } => self.open_job_check(job, *version, *contracts),
            Guard::Purchase { purchase } => self.purchase_action(account, purchase),
        }
    }

    pub(super) fn put_if(
        &self,
        item: Item,
        condition: &str,
    ) -> Result<TransactWriteItem, StoreError> {
        self.put_where(item, condition, None)
    }

    pub(super) fn put_where(
        &self,
        item: Item,
        condition: &str,
        values: Values,
    ) -> Result<TransactWriteItem, StoreError> {
        Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_values(values)
            .build()
            .map(|put| TransactWriteItem::builder().put(put).build())
            .map_err(rejected)
    }

    pub(super) fn update<const N: usize>(
        &self,
        pk: String,
        sk: String,
        change: &str,
        condition: &str,
        values: [(&str, AttributeValue); N],
    ) -> Result<TransactWriteItem, StoreError> {
        Update::builder()
            .table_name(&self.table)
            .key("pk", text(pk))
            .key("sk", text(sk))
            .update_expression(change)
            .condition_expression(condition)
            .set_expression_attribute_values(named(values))
            .build()
            .map(|update| TransactWriteItem::builder().update(update).build())
            .map_err(rejected)
    }
}

pub type Values = Option<HashMap<String, AttributeValue>>;
type Names = Option<HashMap<String, String>>;

/// For a write that must not be repeated below us.
fn once() -> aws_sdk_dynamodb::config::Builder {
    aws_sdk_dynamodb::config::Builder::new().retry_config(RetryConfig::disabled())
}

fn named<const N: usize>(values: [(&str, AttributeValue); N]) -> Values {
    (N > 0).then(|| {
        values
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    })
}

pub fn due(kind: DueKind, owner: &impl Owner, at: Time) -> [(String, AttributeValue); 2] {
    [
        ("due_shard".to_owned(), text(keys::due_shard(kind, owner))),
        ("due_at".to_owned(), text(time::text(at))),
    ]
}

fn purchase_item(account: &AccountId, purchase: &Purchase) -> Result<Item, StoreError> {
    let mut item = to_item(
        keys::account(account),
        keys::receipt(&purchase.id),
        purchase,
    )?;
    if let Some(at) = purchase.due_at() {
        item.extend(due(DueKind::Payment, account, at));
    }
    Ok(item)
}

/// It is due for as long as it is open and ends by itself.
fn hold_item(account: &AccountId, hold: &Hold) -> Result<Item, StoreError> {
    let mut item = to_item(
        keys::account(account),
        keys::receipt(&hold.taken.id),
        &HoldItem::from(hold),
    )?;
    if let Some(at) = hold.due_at() {
        item.extend(due(DueKind::Hold, account, at));
    }
    Ok(item)
}

fn answered_item<A: Serialize>(
    account: &AccountId,
    receipt: &Answered<A>,
) -> Result<Item, StoreError> {
    to_item(keys::account(account), keys::receipt(&receipt.id), receipt)
}

/// A purchase's item must say the step before.
fn purchase_condition(purchase: &Purchase) -> (&'static str, Names, Values) {
    match purchase.status.before() {
        None => (IS_NEW, None, None),
        Some(before) => {
            let word = serde_dynamo::to_attribute_value(before);
            (
                "#status = :before",
                Some(HashMap::from([("#status".into(), "status".into())])),
                Some(HashMap::from([(
                    ":before".to_owned(),
                    word.unwrap_or(AttributeValue::Null(true)),
                )])),
            )
        }
    }
}

/// What must be there for an item of that revision to be written: the one before it.
pub fn follows(revision: u64) -> (&'static str, Values) {
    match revision.checked_sub(1) {
        None | Some(0) => (IS_NEW, None),
        Some(was) => ("revision = :was", named([(":was", number(was))])),
    }
}

pub fn rejected(error: aws_sdk_dynamodb::error::BuildError) -> StoreError {
    StoreError::Rejected(error.to_string())
}
