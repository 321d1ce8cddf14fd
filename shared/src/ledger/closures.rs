//! Closing jobs, and giving back what that gives back.
//!
//! Asking for it is one transaction: the closure with what was decided, and the job, which takes no
//! proposals from then on. So whoever reads a job's proposals after it reads all there will ever be.
//! The table's stream then wakes a pass over them, page by page, many accounts at a time: each gets
//! its Connects back in a transaction of its own that also marks the proposal, so the pass may die
//! anywhere, or run twice, and the next goes on. When no proposal is left the closure is done, but for
//! one more look a quarter of an hour later: a query may not see at once all of a transaction that came
//! just before the closure. Then it leaves `due`.
//!
//! Round trips: two to close (three for another reason); a pass reads 200 proposals in one and spends
//! two on each that gets something back (6 write units from one lot), one on any other (1 unit).

use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::sweeps::Swept;
use super::{Attempt, Context, Error, Fault, Ledger, Report, check_clock};
use crate::defect::{Defect, present};
use crate::domain::auction::{Auction, ClosedBy};
use crate::domain::closure::{Closure, ClosureReason, Progress, ReturnPolicyView};
use crate::domain::draft::{Draft, Plan, Unplanned};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{Job, JobState, JobView};
use crate::domain::proposal::Proposal;
use crate::domain::refusal::Refusal;
use crate::domain::time::Time;
use crate::store::{Bidding, Due, DueKind, StoreError};

/// Proposals of one job settled at the same time.
const PROPOSALS_AT_ONCE: usize = 16;

/// Proposals of all jobs together: as many as a schedule has accounts under way.
const PLACES: usize = 64;

/// How long one proposal is tried: the others of its job should not wait for an account that is not
/// itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a proposal in a pass.
enum Settling {
    Now,
    Before,
    Failed(AccountId),
    NotReached,
}

impl From<Settling> for Report {
    fn from(outcome: Settling) -> Self {
        match outcome {
            Settling::Before => Self::default(),
            Settling::Now => Self {
                proposals: 1,
                ..Self::default()
            },
            Settling::Failed(account) => Self::failure(&account),
            Settling::NotReached => Self {
                unfinished: true,
                ..Self::default()
            },
        }
    }
}

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
            let auction = async { Ok(self.store.auction(id).await?) };
            let ((job, mut closures), auction) =
                futures::try_join!(self.job_and_closures(id), auction)?;
            if closures.iter().any(|closure| closure.reason == reason) {
                return Ok(Attempt::Done(JobView::of(job, &closures)));
            }
            let (job, closure) = job.close(&self.policy, context.now, reason);
            let gives_back = closure.releases_bids();
            let bidding = Bidding::ended(auction, closure.at, ClosedBy::JobClosed, gives_back);
            self.store.begin_closure(&job, &closure, &bidding).await?;
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
        let places = Semaphore::new(PLACES);
        let mut sum = Report::default();
        for (job, reason) in closures {
            let settled = self.settle_closure(context, &places, &job, reason).await?;
            sum = sum.and(JobId::one()).and(settled);
        }
        Ok(sum)
    }

    /// Carries out every closure that is left over.
    ///
    /// # Errors
    /// When the index can't be read at all.
    pub async fn sweep_closures(&self, context: &Context, until: Time) -> Result<Report, Fault> {
        let places = &Semaphore::new(PLACES);
        self.sweep(
            context,
            DueKind::Closure,
            until,
            async |context, job: &JobId, due| {
                let mut sum = Report::default();
                for what in due {
                    if let Due::Closure(reason) = what {
                        let pass = self.settle_closure(context, places, job, *reason);
                        sum = sum.and(pass.await?);
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
        places: &Semaphore,
        job: &JobId,
        reason: ClosureReason,
    ) -> Result<Report, Error> {
        let mut sum = Report::default();
        let found = self.retry(context, async |_| {
            Ok(Attempt::Done(self.store.closure(job, reason).await?))
        });
        let wanted = |closure: &Closure| closure.wants_pass(context.now);
        let Some(mut closure) = found.await?.filter(wanted) else {
            return Ok(sum);
        };
        let auction = async |_| Ok(Attempt::Done(self.store.auction(job).await?));
        let auction = self.retry(context, auction).await?;
        if closure.progress.total.is_none() {
            let count = async |_| Ok(Attempt::Done(self.store.count_proposals(job).await?));
            closure.progress.total = Some(self.retry(context, count).await?);
            self.note_progress(&closure).await?;
        }
        if present(Defect::DecidedLate)
            && let Some(job) = self.store.job(job).await?
        {
            closure.had_contract = job.contracts > 0;
        }
        // The last look is at all of them again.
        let progress = match closure.is_pending() {
            true => &closure.progress,
            false => &Progress::default(),
        };
        let (mut after, mut settled) = (progress.last.clone(), progress.passed);
        let mut whole = true;
        loop {
            if Instant::now() >= context.deadline {
                sum.unfinished = true;
                return Ok(sum);
            }
            let page = self.retry(context, async |_| {
                let page = self.store.proposals(job, after.as_ref()).await?;
                Ok(Attempt::Done(page))
            });
            let page = page.await?;
            let left = page.unreadable.len() as u64;
            for (account, error) in page.unreadable {
                tracing::error!(%job, %account, %error, "left for the next run");
                sum = sum.and(Report::failure(&account));
            }
            let one =
                |proposal| self.settle_one(context, places, &closure, auction.as_ref(), proposal);
            let outcomes: Vec<Settling> = stream::iter(page.proposals)
                .map(one)
                .buffer_unordered(PROPOSALS_AT_ONCE)
                .collect()
                .await;
            whole &= left == 0;
            for outcome in outcomes {
                let is_settled = matches!(outcome, Settling::Now | Settling::Before)
                    || present(Defect::FailedIsSettled);
                settled += u64::from(is_settled);
                whole &= is_settled;
                sum = sum.and(outcome.into());
            }
            // The next pass begins before the first that failed, though those after it are settled.
            closure.progress.done = closure.progress.done.max(settled);
            if whole {
                closure.progress.passed = settled;
                closure.progress.last = page.last.clone().or(closure.progress.last);
            }
            match page.last {
                None if whole => {
                    self.finish(context, closure).await?;
                    return Ok(match auction {
                        Some(auction) => sum.and(self.settle_auction(context, &auction).await),
                        None => sum,
                    });
                }
                last => {
                    self.note_progress(&closure).await?;
                    if last.is_none() {
                        return Ok(sum);
                    }
                    after = last;
                }
            }
        }
    }

    /// Another pass may be further: then that one's word stands. The last look notes nothing.
    async fn note_progress(&self, closure: &Closure) -> Result<(), StoreError> {
        if !closure.is_pending() {
            return Ok(());
        }
        match self.store.advance_closure(closure).await {
            Ok(()) | Err(StoreError::Lost | StoreError::Unanswered(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn finish(&self, context: &Context, closure: Closure) -> Result<(), Error> {
        let passed = closure.passed(context.now);
        self.retry(context, async |_| {
            let (job, mut closures) = self.job_and_closures(&closure.job_id).await?;
            let is_this = |other: &&mut Closure| other.reason == closure.reason;
            let stored = closures.iter_mut().find(is_this);
            let Some(stored) = stored.filter(|stored| stored.stage == closure.stage) else {
                return Ok(Attempt::Done(()));
            };
            stored.clone_from(&passed);
            match closure.is_pending() {
                true => {
                    let job = job.after_closure(&closures);
                    self.store.finish_closure(&job, &passed).await?;
                }
                false => self.store.check_closure(&passed).await?,
            }
            Ok(Attempt::Done(()))
        })
        .await
    }

    async fn settle_one(
        &self,
        context: &Context,
        places: &Semaphore,
        closure: &Closure,
        auction: Option<&Auction>,
        proposal: Proposal,
    ) -> Settling {
        if !closure.concerns(&proposal) {
            return Settling::Before;
        }
        // It is never closed.
        let _place = places.acquire().await;
        let now = Instant::now();
        if now >= context.deadline {
            return Settling::NotReached;
        }
        let context = Context {
            deadline: context.deadline.min(now + PATIENCE),
            ..*context
        };
        let account = proposal.account_id.clone();
        match self
            .settle_proposal(&context, closure, auction, proposal)
            .await
        {
            Ok(()) => Settling::Now,
            Err(error) => {
                let job = &closure.job_id;
                tracing::error!(%job, %account, %error, "left for the next run");
                Settling::Failed(account)
            }
        }
    }

    async fn settle_proposal(
        &self,
        context: &Context,
        closure: &Closure,
        auction: Option<&Auction>,
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
            if closure.moves_nothing(&proposal) {
                self.store.put_proposal(&closure.settles(&proposal)).await?;
                return Ok(Attempt::Done(()));
            }
            let plan = |draft: Draft<'_>| closure.plan(draft, &proposal, auction);
            self.as_of(context, closure.at, &account, plan).await
        })
        .await
    }

    /// Changes an account as of that time, however late it is; where the account has gone on since, as
    /// of its newest entry's.
    pub(super) async fn as_of(
        &self,
        context: &Context,
        at: Time,
        account: &AccountId,
        plan: impl FnOnce(Draft<'_>) -> Result<Option<Plan>, Unplanned>,
    ) -> Result<Attempt<()>, Error> {
        let state = self.load(account).await?;
        check_clock(&state, context.now.max(at))?;
        let then = Context {
            now: at.max(state.head.at),
            ..*context
        };
        let Some(draft) = self.ready(&then, state).await? else {
            return Ok(Attempt::Again);
        };
        self.commit(&then, plan(draft)?).await?;
        Ok(Attempt::Done(()))
    }
}
