//! Jobs: posted, repriced, contracted.

use super::{Attempt, Context, Error, Fault, Ledger};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{JobView, PostJob};
use crate::domain::refusal::Refusal;

impl Ledger {
    /// Whether there is such a job.
    ///
    /// # Errors
    /// When the table does not tell.
    pub async fn job_exists(&self, id: &JobId) -> Result<bool, Fault> {
        Ok(self.store.job(id).await?.is_some())
    }

    /// Posts a job or changes it; what is so already is left as it is. Says whether it is new.
    ///
    /// # Errors
    /// `invalid_field` for a posting time that is not the job's and for a budget in a currency
    /// that the rate card does not know; `job_closed`.
    pub async fn post_job(
        &self,
        context: &Context,
        id: &JobId,
        post: &PostJob,
    ) -> Result<(bool, JobView), Error> {
        self.retry(context, async |_| {
            let current = self.store.job(id).await?;
            let job = post.apply(&self.policy, id, current.as_ref())?;
            if current.as_ref() != Some(&job) {
                self.store.put_job(&job).await?;
            }
            Ok(Attempt::Done((current.is_none(), job.into())))
        })
        .await
    }

    /// A job with what it costs and where it stands.
    ///
    /// # Errors
    /// `job_not_found`.
    pub async fn job(&self, context: &Context, id: &JobId) -> Result<JobView, Error> {
        self.retry(context, async |_| {
            let job = self.store.job(id).await?.ok_or(Refusal::JobNotFound)?;
            Ok(Attempt::Done(job.into()))
        })
        .await
    }

    /// Notes that a contract was made on a job with an account, once for each.
    ///
    /// # Errors
    /// `job_not_found`.
    pub async fn contract(
        &self,
        context: &Context,
        id: &JobId,
        account: &AccountId,
    ) -> Result<JobView, Error> {
        self.retry(context, async |_| {
            let (job, known) =
                futures::try_join!(self.store.job(id), self.store.is_contracted(id, account))?;
            let job = job.ok_or(Refusal::JobNotFound)?;
            if known {
                return Ok(Attempt::Done(job.into()));
            }
            let job = job.contracted();
            self.store.put_contract(&job, account).await?;
            Ok(Attempt::Done(job.into()))
        })
        .await
    }
}
