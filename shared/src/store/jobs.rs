//! Jobs: everything about one in a partition of its own.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{ConditionCheck, TransactWriteItem};

use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::Job;
use crate::domain::proposal::Proposal;

use super::commit::{IS_NEW, Values, rejected};
use super::items::{Item, ProposalItem, from_item, number, text, to_item};
use super::{Store, StoreError, keys};

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

    /// Writes down a contract where there was none with that account, and the job that counts it.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when there was one, or the job is not the one that was read any more.
    pub async fn put_contract(&self, job: &Job, account: &AccountId) -> Result<(), StoreError> {
        let contract = HashMap::from([
            ("pk".to_owned(), text(keys::job(&job.job_id))),
            ("sk".to_owned(), text(keys::contract(account))),
        ]);
        let (condition, values) = follows(job.revision);
        let contract = self.put_if(contract, IS_NEW)?;
        let job = self.put_where(job_item(job)?, condition, values)?;
        self.transact(vec![contract, job]).await
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
        let check = self.open_job_check(&job.job_id, job.version)?;
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
    ) -> Result<TransactWriteItem, StoreError> {
        ConditionCheck::builder()
            .table_name(&self.table)
            .key("pk", text(keys::job(job)))
            .key("sk", text(keys::JOB))
            .condition_expression("version = :version AND #state = :open")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":version", number(version))
            .expression_attribute_values(":open", text("open"))
            .build()
            .map(|check| TransactWriteItem::builder().condition_check(check).build())
            .map_err(rejected)
    }
}

fn proposal_item(proposal: &Proposal) -> Result<Item, StoreError> {
    to_item(
        keys::job(&proposal.job_id),
        keys::proposal(&proposal.account_id),
        &ProposalItem::from(proposal),
    )
}

fn job_item(job: &Job) -> Result<Item, StoreError> {
    to_item(keys::job(&job.job_id), keys::JOB.to_owned(), job)
}

/// What must be there for an item of that revision to be written: the one before it.
fn follows(revision: u64) -> (&'static str, Values) {
    match revision.checked_sub(1) {
        None | Some(0) => (IS_NEW, None),
        Some(was) => (
            "revision = :was",
            Some(HashMap::from([(":was".to_owned(), number(was))])),
        ),
    }
}
