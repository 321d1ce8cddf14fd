//! Auctions: bids, and what the leading ones pay in the end.
//!
//! A bid is one transaction: the ranking at the revision that was read, the new hold, the proposal that
//! it is part of, the check that the job takes bids, and where it pushes another out, that one's release
//! in the other account. So every reader sees the loser either leading or whole again. Should the other
//! account be lost to a race three times, or not be itself, the bid does not wait for it: the loser's
//! bid is `releasing` then, and is released right after, or by the next run.
//!
//! An auction ends with one write that says what each winner pays; each then pays in a transaction of
//! its own, at the revision of its bid, as of the auction's end. A contract and a closure end it in their
//! own transaction, a run when its time is over.
//!
//! Round trips: two for a bid, three where it pushes another out; two for an interaction, and for each
//! winner at the end.

use std::time::Duration;

use futures::future;
use tokio::time::Instant;

use super::{Attempt, Context, Error, Fault, Ledger, Outcome, Report, check_clock, known_by};
use crate::domain::account::Account;
use crate::domain::auction::{Auction, AuctionView, ClosedBy};
use crate::domain::bid::{self, Arena, BidCommand, BidState, BidView, Rival};
use crate::domain::draft::Draft;
use crate::domain::ids::{AccountId, JobId};
use crate::domain::key::IdempotencyKey;
use crate::domain::refusal::Refusal;
use crate::domain::time::Time;
use crate::domain::units::Connects;
use crate::store::{Due, DueKind, StoreError};

/// Attempts of a bid that wait for the loser's account.
const ATTEMPTS_FOR_BOTH: u32 = 3;

/// How long the settling of one bid is tried.
const PATIENCE: Duration = Duration::from_secs(2);

impl Ledger {
    /// Bids on a job on which the account has a proposal, or bids more.
    ///
    /// # Errors
    /// `account_not_found`, `job_not_found`, `proposal_not_found`, `idempotency_key_reused`,
    /// `account_suspended`, `in_debt`, `job_closed`, `auction_closed`, `below_minimum`,
    /// `bid_not_raised`, `bid_too_low`, `insufficient_connects`.
    pub async fn bid(
        &self,
        context: &Context,
        account: &AccountId,
        key: Option<&IdempotencyKey>,
        command: &BidCommand,
    ) -> Result<Outcome<BidView>, Error> {
        let id = command.id(account, &known_by(key));
        let job = &command.job_id;
        let fingerprint = command.fingerprint();
        let outcome = self
            .once(
                context,
                account,
                async |judged_by| {
                    let answered = self.store.answered(account, &id);
                    let Some((before, _)) = judged_by else {
                        return answered.await;
                    };
                    // The account may have been read after a bid of its own, and that before it.
                    let proposal = self.store.proposal(job, account);
                    let (answered, proposal) = future::try_join(answered, proposal).await?;
                    match answered.is_some() || proposal == *before {
                        true => Ok(answered),
                        false => Err(StoreError::Lost),
                    }
                },
                async |lost| {
                    let arena = self.arena(context, account, job, Some(command.amount), lost);
                    future::try_join(self.store.proposal(job, account), arena).await
                },
                |receipt, _, _| receipt.for_request(&fingerprint),
                |draft, (proposal, arena)| command.plan(draft, &id, proposal.as_ref(), arena),
            )
            .await?;
        Ok(outcome.map(|receipt| receipt.answer))
    }

    /// Notes that the client looked into a proposal: if its bid leads, it is paid at once, in full. One
    /// that the auction's end has not settled yet is settled by this.
    ///
    /// # Errors
    /// `account_not_found`, `proposal_not_found`, also where nothing was ever bid.
    pub async fn interaction(
        &self,
        context: &Context,
        account: &AccountId,
        job: &JobId,
    ) -> Result<BidView, Error> {
        let facts = async || {
            let proposal = self.store.proposal(job, account);
            future::try_join(proposal, self.store.auction(job)).await
        };
        self.change(
            context,
            account,
            facts,
            async |draft, (proposal, auction)| {
                let bid = proposal.as_ref().and_then(|found| found.bid.as_ref());
                if bid.is_some_and(|bid| bid.awaits_settling(auction.as_ref(), context.now)) {
                    self.end_if_over(context, job).await?;
                    self.settle_bid(context, job, account).await?;
                    return Err(StoreError::Lost.into());
                }
                Ok(bid::interact(draft, proposal.as_ref(), auction.as_ref())?)
            },
        )
        .await
    }

    /// The bids on a job, for whoever acts for those accounts.
    ///
    /// # Errors
    /// `job_not_found`.
    pub async fn auction(
        &self,
        context: &Context,
        id: &JobId,
        is_mine: impl Fn(&AccountId) -> bool,
    ) -> Result<AuctionView, Error> {
        self.retry(context, async |_| {
            let both = future::try_join(self.store.job(id), self.store.auction(id));
            let (job, auction) = both.await?;
            let job = job.ok_or(Refusal::JobNotFound)?;
            let auction = auction.unwrap_or_else(|| Auction::new(&self.policy, &job));
            let view = AuctionView::of(&auction, &job, context.now, &is_mine);
            Ok(Attempt::Done(view))
        })
        .await
    }

    /// What a bid of so much is judged by; the job alone where nothing is bid.
    pub(super) async fn arena(
        &self,
        context: &Context,
        account: &AccountId,
        job: &JobId,
        amount: Option<Connects>,
        lost: u32,
    ) -> Result<Arena, StoreError> {
        let Some(amount) = amount else {
            return Ok(Arena::of(self.store.job(job).await?));
        };
        let both = future::try_join(self.store.job(job), self.store.auction(job));
        let (found, auction) = both.await?;
        let arena = Arena {
            job: found,
            auction,
            rival: None,
        };
        let Some(rival) = arena.outbids(account, amount) else {
            return Ok(arena);
        };
        let account = async {
            match lost < ATTEMPTS_FOR_BOTH {
                true => self.changeable(context, &rival).await,
                false => Ok(None),
            }
        };
        let (proposal, account) =
            future::try_join(self.store.proposal(job, &rival), account).await?;
        Ok(Arena {
            rival: proposal.map(|proposal| Rival { proposal, account }),
            ..arena
        })
    }

    /// An account as it is; none where it is not itself.
    async fn changeable(
        &self,
        context: &Context,
        account: &AccountId,
    ) -> Result<Option<Account>, StoreError> {
        match self.store.load(account).await {
            Ok(state) => Ok(state.filter(|state| check_clock(state, context.now).is_ok())),
            Err(error @ (StoreError::Lost | StoreError::Unanswered(_))) => Err(error),
            Err(error) => {
                tracing::error!(%account, %error, "outbid, and not released with that");
                Ok(None)
            }
        }
    }

    /// Lets every bid pay or go back that led when the auction ended. What fails stays due.
    pub(super) async fn settle_auction(&self, context: &Context, auction: &Auction) -> Report {
        let job = &auction.job_id;
        if auction.end.is_none_or(|end| end.settled) {
            return Report::default();
        }
        let places = auction.places.iter();
        let settled = places.map(|place| self.settle_or_leave(context, job, &place.account_id));
        let settled = future::join_all(settled).await;
        let report = settled.into_iter().fold(Report::default(), Report::and);
        if report.failed == 0
            && let Err(error) = self.store.put_auction(&auction.settled()).await
            && !matches!(error, StoreError::Lost)
        {
            tracing::error!(%job, %error, "left for the next run");
            return report.and(Report::failure(job));
        }
        report
    }

    async fn settle_or_leave(&self, context: &Context, job: &JobId, account: &AccountId) -> Report {
        match self.settle_bid(context, job, account).await {
            Ok(settled) => Report {
                bids: u64::from(settled),
                ..Report::default()
            },
            Err(error) => {
                tracing::error!(%job, %account, %error, "left for the next run");
                Report::failure(account)
            }
        }
    }

    /// Lets a bid pay that won, or go back that lost, as of then. Says whether anything was left to do.
    /// It is not tried for long: the others should not wait for an account that is not itself.
    pub(super) async fn settle_bid(
        &self,
        context: &Context,
        job: &JobId,
        account: &AccountId,
    ) -> Result<bool, Error> {
        let context = &Context {
            deadline: context.deadline.min(Instant::now() + PATIENCE),
            ..*context
        };
        self.retry(context, async |_| {
            let proposal = self.store.proposal(job, account);
            let both = future::try_join(proposal, self.store.auction(job));
            let (proposal, auction) = both.await?;
            let proposal = proposal.ok_or(Refusal::ProposalNotFound)?;
            let state = proposal.bid.as_ref().map(|bid| bid.state);
            let ended = auction.as_ref().filter(|auction| auction.end.is_some());
            let at = match (state, ended.and_then(|auction| auction.end)) {
                (Some(BidState::Releasing), _) => proposal.bid.as_ref().and_then(|bid| bid.lost_at),
                (Some(BidState::Leading), end) => end.map(|end| end.at),
                (Some(BidState::Charged | BidState::Lost), _) => None,
                // A place that the proposal knows nothing of: it was read before its bid.
                _ if ended.is_some_and(|auction| auction.rank(account).is_some()) => {
                    return Err(StoreError::Lost.into());
                }
                _ => None,
            };
            let Some(at) = at else {
                return Ok(Attempt::Done(false));
            };
            let plan = |draft: Draft<'_>| proposal.settle_bid(draft, auction.as_ref());
            match self.as_of(context, at, account, plan).await? {
                Attempt::Done(()) => Ok(Attempt::Done(true)),
                Attempt::Again => Ok(Attempt::Again),
            }
        })
        .await
    }

    /// Ends every auction whose time is over, settles those that have ended, and releases bids that
    /// lost their place and could not be released then.
    ///
    /// # Errors
    /// When the index can't be read at all.
    pub async fn sweep_auctions(&self, context: &Context, until: Time) -> Result<Report, Fault> {
        self.sweep(
            context,
            DueKind::Auction,
            until,
            async |context, job: &JobId, due| {
                let mut sum = Report::default();
                for what in due {
                    sum = sum.and(match what {
                        Due::Auction => self.sweep_auction(context, job).await?,
                        Due::Bid(account) => self.settle_or_leave(context, job, account).await,
                        _ => Report::default(),
                    });
                }
                Ok(sum)
            },
        )
        .await
    }

    async fn sweep_auction(&self, context: &Context, job: &JobId) -> Result<Report, Error> {
        match self.end_if_over(context, job).await? {
            Some(auction) => Ok(self.settle_auction(context, &auction).await),
            None => Ok(Report::default()),
        }
    }

    /// Ends an auction whose time is over; none where nothing is to be settled.
    async fn end_if_over(&self, context: &Context, job: &JobId) -> Result<Option<Auction>, Error> {
        self.retry(context, async |_| {
            // The index may be behind.
            let over = |auction: &Auction| auction.due_at().is_some_and(|at| at <= context.now);
            let Some(auction) = self.store.auction(job).await?.filter(over) else {
                return Ok(Attempt::Done(None));
            };
            if auction.end.is_some() {
                return Ok(Attempt::Done(Some(auction)));
            }
            let ended = auction.ended(auction.closes_at, ClosedBy::Time, false);
            self.store.put_auction(&ended).await?;
            Ok(Attempt::Done(Some(ended)))
        })
        .await
    }
}
