//! Closing jobs, and giving back what that gives back.
//!
//! Asking for it is one transaction: the closure with what was decided, and the job, which takes no
//! proposals from then on. So whoever reads a job's proposals after it reads all there will ever be.
//! The table's stream then wakes a pass over them, page by page, many accounts at a time: each gets
//! its Connects back in a transaction of its own that also marks the proposal, so the pass may die
//! anywhere, or run twice, and the next goes on. It leaves `due` when no proposal is left.
//!
//! Round trips: two to close (three for another reason); a pass reads 200 proposals in one and spends
//! two on each that gets something back (6 write units from one lot), one on any other (1 unit).

use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use super::sweeps::Swept;
use super::{Attempt, Context, Error, Fault, Ledger, Report};
use crate::domain::closure::{Closure, ClosureReason, ReturnPolicyView};
use crate::domain::draft::Unplanned;
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{Job, JobState, JobView};
use crate::domain::proposal::Proposal;
use crate::domain::refusal::Refusal;
use crate::domain::time::Time;
use crate::store::{Due, DueKind, StoreError};

/// Proposals of one job settled at the same time.
const PROPOSALS_AT_ONCE: usize = 16;

impl Ledger {
    /// What closing a job gives back, reason by reason.
    pub fn return_policy(&self) -> ReturnPolicyView {
        ReturnPolicyView::of(&self.policy)
    }

    /// Closes a job, once for each reason.
    ///
    /// # Errors
    /// `job_not_found`.
    pub async fn close(
        &self,
        context: &Context,
        id: &JobId,
        reason: ClosureReason,
    ) -> Result<JobView, Error> {
        self.retry(context, async |_| {
            let (job, mut closures) = self.job_and_closures(id).await?;
            if closures.iter().any(|closure| closure.reason == reason) {
                return Ok(Attempt::Done(JobView::of(job, &closures)));
            }
            let (job, closure) = job.close(&self.policy, context.now, reason);
            self.store.begin_closure(&job, &closure).await?;
            closures.push(closure);
            Ok(Attempt::Done(JobView::of(job, &closures)))
        })
        .await
    }

    /// A job with the closures it has: an open one has none.
    pub(super) async fn job_and_closures(&self, id: &JobId) -> Result<(Job, Vec<Closure>), Error> {
        let job = self.store.job(id).await?.ok_or(Refusal::JobNotFound)?;
        let closures = match job.state {
            JobState::Open => vec![],
            JobState::Closing | JobState::Closed => self.store.closures(id).await?,
        };
        Ok((job, closures))
    }

    /// Carries out the closures that were just written.
    ///
    /// # Errors
    /// When one can't be read; those that only failed in part stay due.
    pub async fn carry_out(
        &self,
        context: &Context,
        closures: Vec<(JobId, ClosureReason)>,
    ) -> Result<Report, Error> {
        let mut sum = Report::default();
        for (job, reason) in closures {
            let settled = self.settle_closure(context, &job, reason).await?;
            sum = sum.and(JobId::one()).and(settled);
        }
        Ok(sum)
    }

    /// Carries out every closure that is left over.
    ///
    /// # Errors
    /// When the index can't be read at all.
    pub async fn sweep_closures(&self, context: &Context, until: Time) -> Result<Report, Fault> {
        self.sweep(
            context,
            DueKind::Closure,
            until,
            async |context, job: &JobId, due| {
                let mut sum = Report::default();
                for what in due {
                    if let Due::Closure(reason) = what {
                        sum = sum.and(self.settle_closure(context, job, *reason).await?);
                    }
                }
                Ok(sum)
            },
        )
        .await
    }

    /// Settles every proposal on a job for one closure of it, from where the last pass stopped.
    async fn settle_closure(
        &self,
        context: &Context,
        job: &JobId,
        reason: ClosureReason,
    ) -> Result<Report, Error> {
        let mut sum = Report::default();
        let found = self.retry(context, async |_| {
            Ok(Attempt::Done(self.store.closure(job, reason).await?))
        });
        let Some(mut closure) = found.await?.filter(|closure| !closure.finished) else {
            return Ok(sum);
        };
        if closure.progress.total.is_none() {
            let count = async |_| Ok(Attempt::Done(self.store.count_proposals(job).await?));
            closure.progress.total = Some(self.retry(context, count).await?);
        }
        let mut last = closure.progress.last.clone();
        loop {
            if Instant::now() >= context.deadline {
                sum.unfinished = true;
                return Ok(sum);
            }
            let page = self.retry(context, async |_| {
                Ok(Attempt::Done(
                    self.store.proposals(job, last.as_ref()).await?,
                ))
            });
            let page = page.await?;
            let read = page.proposals.len() as u64;
            let newest = page
                .proposals
                .last()
                .map(|proposal| proposal.account_id.clone());
            sum = stream::iter(page.proposals)
                .map(|proposal| self.settle_one(context, &closure, proposal))
                .buffer_unordered(PROPOSALS_AT_ONCE)
                .fold(sum, async |sum, report| sum.and(report))
                .await;
            // What comes after a proposal that failed is settled, but not counted: the next pass
            // begins there.
            if sum.failed == 0 && !sum.unfinished {
                closure.progress.done += read;
                closure.progress.last.clone_from(&newest);
                if !page.is_last {
                    self.note_progress(&closure).await?;
                }
            }
            last = newest.or(last);
            if page.is_last {
                break;
            }
        }
        if sum.failed == 0 && !sum.unfinished {
            self.finish(context, closure).await?;
        }
        Ok(sum)
    }

    /// Another pass may be further: then that one's word stands.
    async fn note_progress(&self, closure: &Closure) -> Result<(), StoreError> {
        match self.store.advance_closure(closure).await {
            Ok(()) | Err(StoreError::Lost | StoreError::Unanswered(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn finish(&self, context: &Context, closure: Closure) -> Result<(), Error> {
        let finished = Closure {
            finished: true,
            ..closure
        };
        self.retry(context, async |_| {
            let (job, mut closures) = self.job_and_closures(&finished.job_id).await?;
            let is_this = |other: &&mut Closure| other.reason == finished.reason;
            match closures.iter_mut().find(is_this) {
                Some(stored) if !stored.finished => stored.clone_from(&finished),
                _ => return Ok(Attempt::Done(())),
            }
            let job = job.after_closure(&closures);
            self.store.finish_closure(&job, &finished).await?;
            Ok(Attempt::Done(()))
        })
        .await
    }

    async fn settle_one(&self, context: &Context, closure: &Closure, proposal: Proposal) -> Report {
        if !closure.concerns(&proposal) {
            return Report::default();
        }
        if Instant::now() >= context.deadline {
            return Report {
                unfinished: true,
                ..Report::default()
            };
        }
        let account = proposal.account_id.clone();
        match self.settle_proposal(context, closure, proposal).await {
            Ok(()) => Report {
                proposals: 1,
                ..Report::default()
            },
            Err(error) => {
                let job = &closure.job_id;
                tracing::error!(%job, %account, %error, "left for the next run");
                Report::failure(&account)
            }
        }
    }

    async fn settle_proposal(
        &self,
        context: &Context,
        closure: &Closure,
        proposal: Proposal,
    ) -> Result<(), Error> {
        let account = proposal.account_id.clone();
        let mut read = Some(proposal);
        self.retry(context, async |_| {
            let proposal = match read.take() {
                Some(proposal) => Some(proposal),
                None => self.store.proposal(&closure.job_id, &account).await?,
            };
            let proposal = proposal.ok_or(Refusal::ProposalNotFound)?;
            if !closure.concerns(&proposal) {
                return Ok(Attempt::Done(()));
            }
            if closure.gives_back(&proposal).is_zero() {
                self.store.put_proposal(&closure.settles(&proposal)).await?;
                return Ok(Attempt::Done(()));
            }
            self.give_back(context, closure, &account, &proposal).await
        })
        .await
    }

    /// What comes back does so at the closure's time, however late the pass; in an account that has
    /// gone on since, at its newest entry's.
    async fn give_back(
        &self,
        context: &Context,
        closure: &Closure,
        account: &AccountId,
        proposal: &Proposal,
    ) -> Result<Attempt<()>, Error> {
        let state = self.load(account).await?;
        let then = Context {
            now: closure.at.max(state.head.at),
            ..*context
        };
        let Some(draft) = self.ready(&then, state).await? else {
            return Ok(Attempt::Again);
        };
        match closure.plan(draft, proposal) {
            Ok(plan) => {
                self.commit(&then, plan).await?;
                Ok(Attempt::Done(()))
            }
            Err(Unplanned::Stale) => Err(StoreError::Lost.into()),
            Err(Unplanned::Refused(refusal)) => Err(refusal.into()),
        }
    }
}
