//! The shell around the core: load, decide, commit, and again where a race was lost.
//!
//! Every operation is two round trips: one that reads the account, the operation's receipt and
//! whatever else the decision needs, all at once, and one that commits. What one attempt read is
//! never used by the next: a lost race and an unknown outcome alike lead back to reading, where the
//! receipt tells whether the operation has happened. Before a refusal is answered the receipt is
//! read once more, after the state: a first try whose answer was lost may be what emptied the
//! account.

mod accounts;
mod auctions;
mod badges;
mod closures;
mod holds;
mod jobs;
mod low_balances;
mod operations;
mod plans;
mod purchases;
mod quotas;
mod sweeps;
mod top_ups;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

pub use sweeps::Report;

use crate::defect::{self, Defect, present};
use crate::domain::account::Account;
use crate::domain::draft::{Draft, Plan, Unplanned};
use crate::domain::ids::AccountId;
use crate::domain::key::IdempotencyKey;
use crate::domain::policy::Policy;
use crate::domain::refusal::{Invalid, Refusal};
use crate::domain::settle::{self, Settled};
use crate::domain::time::Time;
use crate::store::{Store, StoreError};

/// The pause before the second attempt is anywhere up to this, or up to the time that the first one
/// took if that is longer; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// Nor is one longer than the time that is left divided by this: who has waited long tries more
/// often than who has just come, so that nobody loses until the end.
const LEAST_ATTEMPTS_LEFT: u32 = 10;

/// How far another writer's clock may be ahead of ours before something must be wrong.
const MAX_CLOCK_AHEAD: TimeDelta = TimeDelta::seconds(60);

/// What an operation is done under.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The ledger's time.
    pub now: Time,
    /// When an answer must be there.
    pub deadline: Instant,
}

impl Context {
    /// The same after a long run has gone on since `begun`: an account may have changed since, and
    /// its entries must not seem to be from a time to come. Whole seconds are near enough.
    fn later(&self, begun: Instant) -> Self {
        let elapsed = TimeDelta::seconds(begun.elapsed().as_secs() as i64);
        Self {
            now: self.now + elapsed,
            deadline: self.deadline,
        }
    }
}

/// Whether an operation happened now or before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// Now.
    Applied(T),
    /// Before, under the same key; this is what it did then.
    Replayed(T),
}

impl<T> Outcome<T> {
    /// The answer, made into another.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Applied(answer) => Outcome::Applied(f(answer)),
            Self::Replayed(answer) => Outcome::Replayed(f(answer)),
        }
    }

    /// The answer, either way.
    pub fn into_inner(self) -> T {
        match self {
            Self::Applied(answer) | Self::Replayed(answer) => answer,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The business says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Something broke.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Refused(invalid.into())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.into())
    }
}

/// What was read too early is a lost race.
impl From<Unplanned> for Error {
    fn from(why: Unplanned) -> Self {
        match why {
            Unplanned::Refused(refusal) => Self::Refused(refusal),
            Unplanned::Stale => StoreError::Lost.into(),
        }
    }
}

/// Something broke. Its text is for the log, never for an answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The table.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The newest entry is from a time that has not come.
    #[error("account {account} was last changed at {at}, which is to come")]
    ClockAhead {
        /// The account.
        account: AccountId,
        /// Its newest entry's time.
        at: Time,
    },
    /// The system's source of random bytes.
    #[error("no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

impl Fault {
    /// Whether trying again later can help.
    pub fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError::Lost | StoreError::Unanswered(_))
        )
    }
}

/// The ledger over one table under one policy.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
    policy: Arc<Policy>,
}

/// What an attempt came to.
enum Attempt<T> {
    Done(T),
    /// Something else had to be committed first.
    Again,
}

impl Ledger {
    /// Over that table, under that policy.
    pub fn new(store: Store, policy: Policy) -> Self {
        Self {
            store,
            policy: Arc::new(policy),
        }
    }

    /// The rules it keeps.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The table it keeps them in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Tries until it is done, is refused, breaks or runs out of time. `attempt` gets the number
    /// of attempts that lost before it.
    async fn retry<T>(
        &self,
        context: &Context,
        mut attempt: impl AsyncFnMut(u32) -> Result<Attempt<T>, Error>,
    ) -> Result<T, Error> {
        let mut lost = 0;
        loop {
            let begun = Instant::now();
            match attempt(lost).await {
                Ok(Attempt::Done(answer)) => return Ok(answer),
                Ok(Attempt::Again) => {}
                Err(Error::Fault(fault)) if fault.is_busy() => {
                    let now = Instant::now();
                    let left = context.deadline.saturating_duration_since(now);
                    let pause = full_jitter(lost, now - begun, left);
                    lost += 1;
                    tracing::debug!(lost, %fault, "again");
                    if pause >= left {
                        return Err(fault.into());
                    }
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// An operation that happens once and leaves a receipt. Read together: the account, the
    /// receipt if one is `stored`, and the `facts` from outside the account that its plan needs.
    /// `found` judges a receipt that is there already. Before a refusal is told, `stored` is asked again,
    /// with the facts that it was judged by: it is lost where they are not what they were.
    async fn once<R, F>(
        &self,
        context: &Context,
        account: &AccountId,
        stored: impl AsyncFn(Option<&F>) -> Result<Option<R>, StoreError>,
        facts: impl AsyncFn(u32) -> Result<F, StoreError>,
        found: impl Fn(R, &Draft<'_>, &F) -> Result<R, Refusal>,
        plan: impl Fn(Draft<'_>, &F) -> Result<(R, Option<Plan>), Unplanned>,
    ) -> Result<Outcome<R>, Error> {
        self.retry(context, async |lost| {
            let (state, receipt, facts) =
                futures::try_join!(self.store.load(account), stored(None), facts(lost))?;
            let state = state.ok_or(Refusal::AccountNotFound)?;
            if let Some(receipt) = receipt {
                let settled = self.settle(context, state);
                let receipt = found(receipt, &settled.draft, &facts)?;
                return Ok(Attempt::Done(Outcome::Replayed(receipt)));
            }
            let state = defect::resent(lost, state);
            let Some(draft) = self.ready(context, state).await? else {
                return Ok(Attempt::Again);
            };
            match plan(draft.clone(), &facts) {
                Ok((receipt, plan)) => {
                    self.commit(context, plan).await?;
                    Ok(Attempt::Done(Outcome::Applied(receipt)))
                }
                Err(Unplanned::Stale) => Err(StoreError::Lost.into()),
                Err(Unplanned::Refused(refusal)) if present(Defect::RefusalAtOnce) => {
                    Err(refusal.into())
                }
                Err(Unplanned::Refused(refusal)) => match stored(Some(&facts)).await? {
                    None => Err(refusal.into()),
                    Some(receipt) => {
                        let receipt = found(receipt, &draft, &facts)?;
                        Ok(Attempt::Done(Outcome::Replayed(receipt)))
                    }
                },
            }
        })
        .await
    }

    /// A change of the account that is not an operation with a receipt of its own. Read together:
    /// the account and the `facts` from outside its state that the plan needs.
    async fn change<F, T>(
        &self,
        context: &Context,
        account: &AccountId,
        facts: impl AsyncFn() -> Result<F, StoreError>,
        plan: impl AsyncFn(Draft<'_>, F) -> Result<(T, Option<Plan>), Error>,
    ) -> Result<T, Error> {
        self.retry(context, async |_| {
            let (state, facts) = futures::try_join!(self.store.load(account), facts())?;
            let state = state.ok_or(Refusal::AccountNotFound)?;
            let Some(draft) = self.ready(context, state).await? else {
                return Ok(Attempt::Again);
            };
            let (answer, plan) = plan(draft, facts).await?;
            self.commit(context, plan).await?;
            Ok(Attempt::Done(answer))
        })
        .await
    }

    async fn load(&self, account: &AccountId) -> Result<Account, Error> {
        let state = self.store.load(account).await?;
        Ok(state.ok_or(Refusal::AccountNotFound)?)
    }

    fn settle(&self, context: &Context, state: Account) -> Settled<'_> {
        settle::settle(&self.policy, context.now, state)
    }

    /// Settles: the draft that a command can be planned on; none after something had to be
    /// committed before it: pending lots, or more settling than goes with a command.
    async fn ready<'s>(
        &'s self,
        context: &Context,
        state: Account,
    ) -> Result<Option<Draft<'s>>, Error> {
        check_clock(&state, context.now)?;
        if !state.head.pending.is_empty() {
            self.store
                .commit_if(flush(&self.policy, context, state))
                .await?;
            return Ok(None);
        }
        let settled = self.settle(context, state);
        if !settled.complete {
            self.store.commit_if(settled.draft.finish(vec![]).1).await?;
            return Ok(None);
        }
        Ok(Some(settled.draft))
    }

    /// Commits, and goes on with what did not fit: lots, which are in the journal already, so that every
    /// reader sees them and the next commit writes them; the release of a bid that lost its place, which
    /// is due, so that a run releases it.
    async fn commit(&self, context: &Context, plan: Option<Plan>) -> Result<(), Error> {
        let parts = || plan.iter().flat_map(Plan::parts);
        let pending = parts().filter(|part| part.leaves_pending);
        let rest: Vec<AccountId> = pending.map(|part| part.account.clone()).collect();
        let releasing = plan.as_ref().and_then(Plan::releases_later);
        match self.store.commit_if(plan).await {
            Err(StoreError::Unanswered(_)) if present(Defect::UnansweredIsDone) => {}
            done => done?,
        }
        for account in rest {
            if let Err(error) = self.write_pending(context, &account).await {
                tracing::warn!(%account, %error, "lots stay pending");
            }
        }
        if let Some((job, account)) = releasing
            && let Err(error) = Box::pin(self.settle_bid(context, &job, &account)).await
        {
            tracing::warn!(%job, %account, %error, "a bid stays to be released");
        }
        Ok(())
    }

    async fn write_pending(&self, context: &Context, account: &AccountId) -> Result<(), Error> {
        self.retry(context, async |_| {
            let state = self.load(account).await?;
            if state.head.pending.is_empty() {
                return Ok(Attempt::Done(()));
            }
            self.store
                .commit_if(flush(&self.policy, context, state))
                .await?;
            Ok(Attempt::Again)
        })
        .await
    }
}

/// Whoever wrote the newest entry should not have been far ahead of now.
fn check_clock(state: &Account, now: Time) -> Result<(), Fault> {
    match state.head.at > now + MAX_CLOCK_AHEAD {
        false => Ok(()),
        true => Err(Fault::ClockAhead {
            account: state.id.clone(),
            at: state.head.at,
        }),
    }
}

fn flush(policy: &Policy, context: &Context, state: Account) -> Option<Plan> {
    let mut draft = Draft::new(policy, context.now, state);
    draft.flush();
    draft.finish(vec![]).1
}

/// The key that a request's effect is known by. A request without one gets a key that nobody else has:
/// should the answer of its transaction be lost, its next attempt knows the effect for its own.
fn known_by(key: Option<&IdempotencyKey>) -> IdempotencyKey {
    key.cloned()
        .unwrap_or_else(|| IdempotencyKey::own(fastrand::u128(..)))
}

/// A pause of any length up to a bound that doubles each time: writers that collided once should
/// not collide again. What an attempt took is the measure: where the table is slow, or busy with
/// other attempts, more of them would only slow it further.
fn full_jitter(lost: u32, attempt: Duration, left: Duration) -> Duration {
    let first = FIRST_PAUSE.max(attempt).min(LONGEST_PAUSE);
    let bound = (first * 2_u32.pow(lost.min(10)))
        .min(LONGEST_PAUSE)
        .min(left / LEAST_ATTEMPTS_LEFT)
        .max(FIRST_PAUSE);
    Duration::from_micros(fastrand::u64(0..=bound.as_micros() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time;

    #[test]
    fn only_what_passes_is_busy() {
        let unreadable = StoreError::Unreadable {
            what: "lot",
            why: String::new(),
        };
        let ahead = Fault::ClockAhead {
            account: AccountId::try_new("a1").unwrap(),
            at: time::parse("2030-01-01T00:00:00Z").unwrap(),
        };
        for (fault, is_busy) in [
            (StoreError::Lost.into(), true),
            (StoreError::Unanswered(String::new()).into(), true),
            (StoreError::Rejected(String::new()).into(), false),
            (unreadable.into(), false),
            (ahead, false),
        ] {
            assert_eq!(fault.is_busy(), is_busy, "{fault:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_longest_and_to_a_tenth_of_what_is_left() {
        // Attempts lost before, how long one took, how long is left; the bound: all in milliseconds.
        for (lost, attempt, left, bound) in [
            (0, 1, 8_000, 10),
            (3, 1, 8_000, 80),
            (0, 50, 8_000, 50),
            (2, 50, 8_000, 200),
            (99, 50, 8_000, 800),
            (0, 5_000, 20_000, 800),
            (99, 50, 1_000, 100),
            (99, 50, 0, 10),
        ] {
            let [attempt, left, bound] = [attempt, left, bound].map(Duration::from_millis);
            let pauses = (0..2_000).map(|_| full_jitter(lost, attempt, left));
            let longest = pauses.max().unwrap();
            assert!(longest <= bound, "{lost}: {longest:?}");
            assert!(longest > bound / 2, "{lost}: {longest:?}");
        }
    }

    #[tokio::test]
    async fn a_long_run_goes_on_at_a_later_time() {
        let now = time::parse("2026-01-01T00:00:00Z").unwrap();
        let deadline = Instant::now();
        let context = Context { now, deadline };
        let Some(begun) = deadline.checked_sub(Duration::from_secs(90)) else {
            return;
        };
        let later = context.later(begun);
        let ninety = TimeDelta::seconds(90);
        assert!(later.now >= now + ninety && later.now < now + ninety * 2);
        assert_eq!(later.deadline, deadline);
    }

    #[test]
    fn an_outcome_keeps_whether_it_is_a_replay() {
        let applied = Outcome::Applied(1).map(|n| n + 1);
        let replayed = Outcome::Replayed(1).map(|n| n + 1);
        assert_eq!(
            (applied.clone(), replayed.clone()),
            (Outcome::Applied(2), Outcome::Replayed(2))
        );
        assert_eq!((applied.into_inner(), replayed.into_inner()), (2, 2));
    }
}
