//! Jobs, and proposals on them.

use super::{Attempt, Context, Error, Fault, Ledger, Outcome, known_by};
use crate::domain::auction::ClosedBy;
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::{JobView, PostJob};
use crate::domain::key::IdempotencyKey;
use crate::domain::proposal::{Decision, Proposal, ProposalState, ProposalView, ProposeCommand};
use crate::domain::refusal::Refusal;
use crate::domain::settle;
use crate::store::{Bidding, StoreError};

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
            Ok(Attempt::Done((current.is_none(), JobView::of(job, &[]))))
        })
        .await
    }

    /// A job with what it costs and where it stands.
    ///
    /// # Errors
    /// `job_not_found`.
    pub async fn job(&self, context: &Context, id: &JobId) -> Result<JobView, Error> {
        self.retry(context, async |_| {
            let (job, closures) = self.job_and_closures(id).await?;
            Ok(Attempt::Done(JobView::of(job, &closures)))
        })
        .await
    }

    /// Notes that a contract was made on a job with an account, once for each. The first ends the job's
    /// auction, and the winners pay.
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
            let known = async { Ok(self.store.is_contracted(id, account).await?) };
            let auction = async { Ok(self.store.auction(id).await?) };
            let ((job, closures), known, auction) =
                futures::try_join!(self.job_and_closures(id), known, auction)?;
            if known {
                // The job may have been read before the contract was made.
                let (job, closures) = self.job_and_closures(id).await?;
                return Ok(Attempt::Done(JobView::of(job, &closures)));
            }
            let job = job.contracted();
            let bidding = Bidding::ended(auction, context.now, ClosedBy::Hire, false);
            self.store.put_contract(&job, account, &bidding).await?;
            if let Bidding::Ends(auction) = bidding {
                self.settle_auction(context, &auction).await;
            }
            Ok(Attempt::Done(JobView::of(job, &closures)))
        })
        .await
    }

    /// Submits a proposal, once for each account and job, with a bid or without.
    ///
    /// # Errors
    /// `account_not_found`, `job_not_found`, `idempotency_key_reused`, `account_suspended`,
    /// `in_debt`, `job_closed`, `auction_closed`, `already_proposed`, `price_changed`,
    /// `below_minimum`, `bid_too_low`, `insufficient_connects`.
    pub async fn propose(
        &self,
        context: &Context,
        account: &AccountId,
        key: Option<&IdempotencyKey>,
        command: &ProposeCommand,
    ) -> Result<Outcome<ProposalView>, Error> {
        let fingerprint = command.fingerprint();
        let key = &known_by(key);
        let outcome = self
            .once(
                context,
                account,
                async |_| self.store.proposal(&command.job_id, account).await,
                async |lost| {
                    self.arena(context, account, &command.job_id, command.boost, lost)
                        .await
                },
                |proposal, draft, arena| {
                    if proposal.charge.key.as_ref() == Some(key) {
                        return proposal.for_request(&fingerprint);
                    }
                    command.admitted(draft, arena)?;
                    // The account is read beside the proposal, perhaps just before that was made.
                    let balance = match draft.is_before(proposal.charge.seq) {
                        true => proposal.charge.after,
                        false => draft.account().balance(),
                    };
                    let existing = ProposalView::of(&proposal, balance);
                    Err(Refusal::AlreadyProposed {
                        existing: serde_json::to_value(existing).unwrap_or_default(),
                    })
                },
                |draft, arena| command.plan(draft, Some(key), arena),
            )
            .await?;
        Ok(outcome.map(|proposal| ProposalView::submitted(&proposal)))
    }

    /// A proposal as it stands.
    ///
    /// # Errors
    /// `account_not_found`, `proposal_not_found`.
    pub async fn proposal(
        &self,
        context: &Context,
        account: &AccountId,
        job: &JobId,
    ) -> Result<ProposalView, Error> {
        let nothing = async || Ok(());
        self.on_proposal(context, account, job, nothing, async |found, ()| Ok(found))
            .await
    }

    /// Takes a proposal back; what it cost stays paid. Once is enough.
    ///
    /// # Errors
    /// `account_not_found`, `proposal_not_found`, `job_closed`.
    pub async fn withdraw(
        &self,
        context: &Context,
        account: &AccountId,
        job: &JobId,
    ) -> Result<ProposalView, Error> {
        let its_job = async || self.store.job(job).await;
        self.on_proposal(context, account, job, its_job, async |proposal, job| {
            if proposal.state == ProposalState::Withdrawn {
                return Ok(proposal);
            }
            let job = job.ok_or(Refusal::JobNotFound)?;
            if let Err(refusal) = job.open() {
                // A first try whose answer was lost may have come before the closure, and the
                // proposal may have been read before both.
                let again = self.store.proposal(&proposal.job_id, account).await?;
                let withdrawn = again.filter(|again| again.state == ProposalState::Withdrawn);
                return withdrawn.ok_or(refusal.into());
            }
            let proposal = proposal.withdrawn();
            self.store.put_proposal_on(&job, &proposal).await?;
            Ok(proposal)
        })
        .await
    }

    /// Notes what the client made of a proposal; a later word replaces an earlier one.
    ///
    /// # Errors
    /// `account_not_found`, `proposal_not_found`.
    pub async fn decide(
        &self,
        context: &Context,
        account: &AccountId,
        job: &JobId,
        outcome: Decision,
    ) -> Result<ProposalView, Error> {
        let nothing = async || Ok(());
        self.on_proposal(context, account, job, nothing, async |proposal, ()| {
            if proposal.outcome == Some(outcome) {
                return Ok(proposal);
            }
            let proposal = proposal.decided(outcome);
            self.store.put_proposal(&proposal).await?;
            Ok(proposal)
        })
        .await
    }

    /// Whether the account has a proposal on the job.
    ///
    /// # Errors
    /// When the table does not tell.
    pub async fn proposal_exists(&self, account: &AccountId, job: &JobId) -> Result<bool, Fault> {
        Ok(self.store.proposal(job, account).await?.is_some())
    }

    /// What is done with a proposal that moves no Connects. Read together: the account, the
    /// proposal and the `facts` that the change needs.
    async fn on_proposal<F>(
        &self,
        context: &Context,
        account: &AccountId,
        job: &JobId,
        facts: impl AsyncFn() -> Result<F, StoreError>,
        change: impl AsyncFn(Proposal, F) -> Result<Proposal, Error>,
    ) -> Result<ProposalView, Error> {
        self.retry(context, async |_| {
            let (state, proposal, facts) = futures::try_join!(
                self.store.load(account),
                self.store.proposal(job, account),
                facts()
            )?;
            let state = state.ok_or(Refusal::AccountNotFound)?;
            let proposal = proposal.ok_or(Refusal::ProposalNotFound)?;
            // Where its bid stands and what the account has should go together.
            let moved = proposal.bid.as_ref().map(|bid| bid.entry);
            if moved.is_some_and(|entry| state.head.seq < entry) {
                return Err(StoreError::Lost.into());
            }
            let proposal = change(proposal, facts).await?;
            let balance = settle::view(&self.policy, context.now, state).balance();
            Ok(Attempt::Done(ProposalView::of(&proposal, balance)))
        })
        .await
    }
}
