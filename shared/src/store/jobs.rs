//! Jobs: everything about one in a partition of its own, its auction too. A bid is part of its proposal.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{ConditionCheck, Select, TransactWriteItem};
use serde::Deserialize;

use crate::domain::auction::{Auction, ClosedBy};
use crate::domain::bid::Bid;
use crate::domain::closure::{Closure, ClosureReason};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::Job;
use crate::domain::proposal::Proposal;
use crate::domain::time::Time;

use super::commit::{IS_NEW, due, follows, rejected};
use super::items::{Item, ProposalItem, from_item, number, text, text_of, to_item};
use super::meter::Access;
use super::{DueKind, Owner, Store, StoreError, keys};

/// Proposals of one page.
const PROPOSALS: i32 = 200;

/// Some of a job's proposals.
#[derive(Debug)]
pub struct ProposalPage {
    /// In the order of their accounts' ids.
    pub proposals: Vec<Proposal>,
    /// Those that can't be read, by their account's id, and why.
    pub unreadable: Vec<(String, StoreError)>,
    /// The account of the last one, unless there are no more after it.
    pub last: Option<AccountId>,
}

/// What a contract on a job, or its closing, means for the job's auction.
#[derive(Debug)]
pub enum Bidding {
    /// There must be none.
    NoAuction,
    /// It ends by it.
    Ends(Auction),
    /// It has ended before.
    AfterItsEnd,
}

impl Bidding {
    /// What it means for that auction, if there is one.
    pub fn ended(auction: Option<Auction>, at: Time, by: ClosedBy, gives_back: bool) -> Self {
        match auction {
            None => Self::NoAuction,
            Some(auction) if auction.end.is_some() => Self::AfterItsEnd,
            Some(auction) => Self::Ends(auction.ended(at, by, gives_back)),
        }
    }
}

/// The key of an item that changed, as the table's stream tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ItemKey {
    pk: Text,
    sk: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: String,
}

impl ItemKey {
    /// The closure that it is the key of.
    pub fn closure(&self) -> Option<(JobId, ClosureReason)> {
        let reason = self.sk.text.strip_prefix(keys::CLOSURE_PREFIX)?;
        Some((JobId::of(&self.pk.text)?, ClosureReason::of(reason)?))
    }
}

impl Store {
    /// A job.
    pub async fn job(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.get(keys::job(id), keys::JOB.to_owned())
            .await?
            .map(from_item)
            .transpose()
    }

    /// Whether a contract on the job was made with that account.
    pub async fn is_contracted(
        &self,
        job: &JobId,
        account: &AccountId,
    ) -> Result<bool, StoreError> {
        let contract = self.get(keys::job(job), keys::contract(account));
        Ok(contract.await?.is_some())
    }

    /// Writes a job over the one that was read.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when that is not there any more.
    pub async fn put_job(&self, job: &Job) -> Result<(), StoreError> {
        let (condition, values) = follows(job.revision);
        self.put(job_item(job)?, condition, values).await
    }

    /// A job's auction, once there was a bid.
    pub async fn auction(&self, job: &JobId) -> Result<Option<Auction>, StoreError> {
        self.get(keys::job(job), keys::AUCTION.to_owned())
            .await?
            .map(from_item)
            .transpose()
    }

    /// Writes an auction over the one that was read.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when that is not there any more.
    pub async fn put_auction(&self, auction: &Auction) -> Result<(), StoreError> {
        let (condition, values) = follows(auction.revision);
        self.put(auction_item(auction)?, condition, values).await
    }

    pub(super) fn auction_action(
        &self,
        auction: &Auction,
    ) -> Result<TransactWriteItem, StoreError> {
        let (condition, values) = follows(auction.revision);
        self.put_where(auction_item(auction)?, condition, values)
    }

    /// That the job has no auction.
    fn no_auction_check(&self, job: &JobId) -> Result<TransactWriteItem, StoreError> {
        ConditionCheck::builder()
            .table_name(&self.table)
            .key("pk", text(keys::job(job)))
            .key("sk", text(keys::AUCTION))
            .condition_expression(IS_NEW)
            .build()
            .map(|check| TransactWriteItem::builder().condition_check(check).build())
            .map_err(rejected)
    }

    /// Writes down a contract where there was none with that account, the job that counts it, and the
    /// end that it makes of the job's auction.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when there was one, or job or auction are not what was read any more.
    pub async fn put_contract(
        &self,
        job: &Job,
        account: &AccountId,
        bidding: &Bidding,
    ) -> Result<(), StoreError> {
        let contract = HashMap::from([
            ("pk".to_owned(), text(keys::job(&job.job_id))),
            ("sk".to_owned(), text(keys::contract(account))),
        ]);
        let contract = self.put_if(contract, IS_NEW)?;
        self.end_bidding(job, bidding, contract).await
    }

    /// Writes what ends a job's bidding, the job, and its auction.
    async fn end_bidding(
        &self,
        job: &Job,
        bidding: &Bidding,
        by: TransactWriteItem,
    ) -> Result<(), StoreError> {
        let auction = match bidding {
            Bidding::NoAuction => Some(self.no_auction_check(&job.job_id)?),
            Bidding::Ends(auction) => Some(self.auction_action(auction)?),
            Bidding::AfterItsEnd => None,
        };
        let actions = [by, self.job_action(job)?];
        self.transact(actions.into_iter().chain(auction).collect())
            .await
    }

    /// The closing of a job for that reason.
    pub async fn closure(
        &self,
        job: &JobId,
        reason: ClosureReason,
    ) -> Result<Option<Closure>, StoreError> {
        self.get(keys::job(job), keys::closure(reason))
            .await?
            .map(from_item)
            .transpose()
    }

    /// All closures of a job.
    pub async fn closures(&self, job: &JobId) -> Result<Vec<Closure>, StoreError> {
        let request = self.job_items(job, keys::CLOSURE_PREFIX);
        let page = self.call(Access::Read, request.send()).await?;
        let items = page.items.unwrap_or_default();
        items.into_iter().map(from_item).collect()
    }

    /// Writes down that a job is being closed, for a reason that it was not closed for before, and the end
    /// that this makes of its auction.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when it was, or job or auction are not what was read any more.
    pub async fn begin_closure(
        &self,
        job: &Job,
        closure: &Closure,
        bidding: &Bidding,
    ) -> Result<(), StoreError> {
        let closure = self.put_if(closure_item(closure)?, IS_NEW)?;
        self.end_bidding(job, bidding, closure).await
    }

    /// Writes down how far a closure is.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when it is further.
    pub async fn advance_closure(&self, closure: &Closure) -> Result<(), StoreError> {
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(closure_item(closure)?))
            .condition_expression(
                "stage = :pending AND (attribute_not_exists(#progress.#total) OR #progress.#done < :done)",
            )
            .expression_attribute_names("#progress", "progress")
            .expression_attribute_names("#total", "total")
            .expression_attribute_names("#done", "done")
            .expression_attribute_values(":pending", text("pending"))
            .expression_attribute_values(":done", number(closure.progress.done))
            .set_return_consumed_capacity(self.capacity());
        self.call(Access::Write(1), request.send())
            .await
            .map(|_| ())
    }

    /// Writes down that a closure's proposals are settled, and the job after it.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when that was so, or the job is not the one that was read any more.
    pub async fn finish_closure(&self, job: &Job, closure: &Closure) -> Result<(), StoreError> {
        let was = Some(HashMap::from([(":was".to_owned(), text("pending"))]));
        let closure = self.put_where(closure_item(closure)?, "stage = :was", was)?;
        self.transact(vec![closure, self.job_action(job)?]).await
    }

    /// Writes down that a closure's proposals were looked through for the last time.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when that was so.
    pub async fn check_closure(&self, closure: &Closure) -> Result<(), StoreError> {
        let was = Some(HashMap::from([(":was".to_owned(), text("settled"))]));
        self.put(closure_item(closure)?, "stage = :was", was).await
    }

    /// How many proposals a job has.
    pub async fn count_proposals(&self, job: &JobId) -> Result<u64, StoreError> {
        let mut sum = 0;
        let mut start = None;
        loop {
            let request = self
                .job_items(job, keys::PROPOSAL_PREFIX)
                .select(Select::Count)
                .set_exclusive_start_key(start);
            let page = self.call(Access::Read, request.send()).await?;
            sum += u64::try_from(page.count).unwrap_or_default();
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(sum);
            }
        }
    }

    /// The proposals on a job whose accounts' ids come after that one.
    pub async fn proposals(
        &self,
        job: &JobId,
        after: Option<&AccountId>,
    ) -> Result<ProposalPage, StoreError> {
        let start = after.map(|account| {
            Item::from([
                ("pk".to_owned(), text(keys::job(job))),
                ("sk".to_owned(), text(keys::proposal(account))),
            ])
        });
        let request = self
            .job_items(job, keys::PROPOSAL_PREFIX)
            .set_exclusive_start_key(start)
            .limit(PROPOSALS);
        let page = self.call(Access::Read, request.send()).await?;
        let mut read = ProposalPage {
            proposals: vec![],
            unreadable: vec![],
            last: page.last_evaluated_key.as_ref().and_then(proposer),
        };
        for item in page.items.unwrap_or_default() {
            let account = proposer(&item).map_or_else(String::new, |id| id.to_string());
            match from_item::<ProposalItem>(item).and_then(Proposal::try_from) {
                Ok(proposal) => read.proposals.push(proposal),
                Err(error) => read.unreadable.push((account, error)),
            }
        }
        Ok(read)
    }

    /// A query for a job's items of one kind.
    fn job_items(&self, job: &JobId, prefix: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", text(keys::job(job)))
            .expression_attribute_values(":prefix", text(prefix))
            .consistent_read(true)
            .set_return_consumed_capacity(self.capacity())
    }

    fn job_action(&self, job: &Job) -> Result<TransactWriteItem, StoreError> {
        let (condition, values) = follows(job.revision);
        self.put_where(job_item(job)?, condition, values)
    }

    /// An account's proposal on a job.
    pub async fn proposal(
        &self,
        job: &JobId,
        account: &AccountId,
    ) -> Result<Option<Proposal>, StoreError> {
        self.get(keys::job(job), keys::proposal(account))
            .await?
            .map(|item| from_item::<ProposalItem>(item)?.try_into())
            .transpose()
    }

    /// Writes a proposal over the one that was read.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when that is not there any more.
    pub async fn put_proposal(&self, proposal: &Proposal) -> Result<(), StoreError> {
        let (condition, values) = follows(proposal.revision);
        let item = proposal_item(proposal)?;
        self.put(item, condition, values).await
    }

    /// The same, if its job is still open, at the price that was read.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when one or the other is not so.
    pub async fn put_proposal_on(&self, job: &Job, proposal: &Proposal) -> Result<(), StoreError> {
        let proposal = self.proposal_action(proposal)?;
        let check = self.open_job_check(&job.job_id, job.version, job.contracts)?;
        self.transact(vec![proposal, check]).await
    }

    pub(super) fn proposal_action(
        &self,
        proposal: &Proposal,
    ) -> Result<TransactWriteItem, StoreError> {
        let (condition, values) = follows(proposal.revision);
        self.put_where(proposal_item(proposal)?, condition, values)
    }

    pub(super) fn open_job_check(
        &self,
        job: &JobId,
        version: u64,
        contracts: u32,
    ) -> Result<TransactWriteItem, StoreError> {
        ConditionCheck::builder()
            .table_name(&self.table)
            .key("pk", text(keys::job(job)))
            .key("sk", text(keys::JOB))
            .condition_expression(
                "version = :version AND #state = :open AND contracts = :contracts",
            )
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":version", number(version))
            .expression_attribute_values(":open", text("open"))
            .expression_attribute_values(":contracts", number(contracts))
            .build()
            .map(|check| TransactWriteItem::builder().condition_check(check).build())
            .map_err(rejected)
    }
}

/// It is due while its bid is on its way back.
fn proposal_item(proposal: &Proposal) -> Result<Item, StoreError> {
    let mut item = to_item(
        keys::job(&proposal.job_id),
        keys::proposal(&proposal.account_id),
        &ProposalItem::from(proposal),
    )?;
    if let Some(at) = proposal.bid.as_deref().and_then(Bid::due_at) {
        item.extend(due(DueKind::Auction, &proposal.job_id, at));
    }
    Ok(item)
}

fn auction_item(auction: &Auction) -> Result<Item, StoreError> {
    let key = (keys::job(&auction.job_id), keys::AUCTION.to_owned());
    let mut item = to_item(key.0, key.1, auction)?;
    if let Some(at) = auction.due_at() {
        item.extend(due(DueKind::Auction, &auction.job_id, at));
    }
    Ok(item)
}

fn job_item(job: &Job) -> Result<Item, StoreError> {
    to_item(keys::job(&job.job_id), keys::JOB.to_owned(), job)
}

fn closure_item(closure: &Closure) -> Result<Item, StoreError> {
    let key = (keys::job(&closure.job_id), keys::closure(closure.reason));
    let mut item = to_item(key.0, key.1, closure)?;
    if let Some(at) = closure.due_at() {
        item.extend(due(DueKind::Closure, &closure.job_id, at));
    }
    Ok(item)
}

/// Whose proposal has that key.
fn proposer(key: &Item) -> Option<AccountId> {
    let account = text_of(key, "sk")?.strip_prefix(keys::PROPOSAL_PREFIX)?;
    AccountId::try_new(account).ok()
}
