//! Jobs: everything about one in a partition of its own.

use std::collections::HashMap;

use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::Job;

use super::commit::{IS_NEW, Values};
use super::items::{Item, from_item, number, text, to_item};
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
