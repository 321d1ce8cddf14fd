//! Quotas of what is dear to the ledger, and of guessing promo codes.
//!
//! Who takes one assumes a full bucket, which is what most find: one round trip, one write. Who
//! finds another looks at what the failed update brought, and takes from that or is refused.
//!
//! The clock is the caller's real one, as it is for tokens: a rate is one of requests, whatever time
//! they ask about.

use super::{Attempt, Context, Error, Ledger};
use crate::domain::ids::AccountId;
use crate::domain::quota::Quota;
use crate::domain::refusal::Refusal;
use crate::domain::time::Time;
use crate::store::{StoreError, Taken};

/// How often what one take found was gone when the next came, before it counts as a lost race: each
/// time another request has emptied or filled the bucket in between.
const MAX_LOOKS: u32 = 4;

impl Ledger {
    /// Takes one of an account's quota.
    ///
    /// # Errors
    /// `rate_limited`.
    pub async fn take(
        &self,
        context: &Context,
        account: &AccountId,
        quota: Quota,
        now: Time,
    ) -> Result<(), Error> {
        let rate = self.policy.limits.rate(quota);
        let ttl = rate.forgotten_at(now);
        self.retry(context, async |_| {
            let mut seen = None;
            for _ in 0..MAX_LOOKS {
                let take = rate.take(seen, now)?;
                match self.store.take(account, quota, take, ttl).await? {
                    Taken::Done => return Ok(Attempt::Done(())),
                    Taken::Not(bucket) => seen = bucket,
                }
            }
            Err(StoreError::Lost.into())
        })
        .await
    }

    /// Does what tells whether there is a promo code, if the account has guesses left. That there
    /// is none costs one: whoever has none left, or none any more, is not told. So no more than the
    /// quota is ever learnt of codes that don't exist; one that does, asked for while the last
    /// guesses are under way, may still be found.
    ///
    /// # Errors
    /// `rate_limited`, else what `attempt` says.
    pub async fn guess<T>(
        &self,
        context: &Context,
        account: &AccountId,
        now: Time,
        attempt: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let quota = Quota::Guesses;
        let bucket = self.retry(context, async |_| {
            Ok(Attempt::Done(self.store.bucket(account, quota).await?))
        });
        self.policy.limits.rate(quota).take(bucket.await?, now)?;
        let done = attempt.await;
        if matches!(done, Err(Error::Refused(Refusal::PromoUnknown))) {
            self.take(context, account, quota, now).await?;
        }
        done
    }
}
