//! How often an account may do what is dear to the ledger, or what only a guesser does often.
//!
//! A bucket holds a burst, and one runs into it again each so often. All there is to know of one is
//! when it will be full again: each take moves that on by the time that one takes to come back, and
//! none is left where it would lie further ahead than a whole burst takes. So one number is kept,
//! takes at the same moment add up whatever their order, and a bucket that is full again is as good
//! as not there. A clock that goes back finds less in it, never more.

use serde::Deserialize;

use super::refusal::Refusal;
use super::time::Time;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// A page of an account's history.
    History,
    /// A redemption of a code that there is not.
    Guesses,
}

impl Quota {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Guesses => "guesses",
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitPolicy {
    /// Pages of history.
    pub history: Rate,
    /// Redemptions of codes that there are not.
    pub guesses: Rate,
}

impl LimitPolicy {
    /// The rate of what is counted.
    pub fn rate(&self, quota: Quota) -> Rate {
        match quota {
            Quota::History => self.history,
            Quota::Guesses => self.guesses,
        }
    }

    /// What of it could not be kept.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let is_kept = |rate: &Rate| {
            (1..=MAX_BURST).contains(&rate.burst) && (1..=MAX_EVERY_MS).contains(&rate.every_ms)
        };
        match [self.history, self.guesses].iter().all(is_kept) {
            true => None,
            false => Some("limits must each be a burst from 1 to 10000, one each 1 to 86400000 ms"),
        }
    }
}

const MAX_BURST: u32 = 10_000;

/// A day: the longest that one may take to come back. With the largest burst a bucket is then full
/// again within 28 years.
const MAX_EVERY_MS: u32 = 86_400_000;

/// So many at once, and one more each so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// What a full bucket holds.
    pub burst: u32,
    /// The milliseconds in which one comes back.
    pub every_ms: u32,
}

/// When a bucket will be full again: milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(i64);

impl Bucket {
    /// Full at that instant.
    pub const fn full_at(ms: i64) -> Self {
        Self(ms)
    }

    /// That instant.
    pub const fn ms(self) -> i64 {
        self.0
    }
}

/// How one is taken: a change of the bucket, and what must be so for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// The first of a bucket that is full at `now` or is not there: it is `after`.
    First {
        /// Now.
        now: Bucket,
        /// The bucket without it.
        after: Bucket,
    },
    /// One more of a bucket that is full again at `latest` or before: `by` milliseconds later, now.
    Further {
        /// The last instant at which there is one.
        latest: Bucket,
        /// What one costs.
        by: i64,
    },
}

impl Rate {
    /// Takes one of the bucket, if it is there, that was seen.
    ///
    /// # Errors
    /// `rate_limited` when there is none left.
    pub fn take(self, seen: Option<Bucket>, now: Time) -> Result<Take, Refusal> {
        let now = now.timestamp_millis();
        let every = i64::from(self.every_ms);
        let latest = now + i64::from(self.burst.saturating_sub(1)) * every;
        match seen {
            Some(Bucket(full)) if full > latest => Err(Refusal::RateLimited {
                retry_after: seconds(full - latest),
            }),
            Some(Bucket(full)) if full > now => Ok(Take::Further {
                latest: Bucket(latest),
                by: every,
            }),
            _ => Ok(Take::First {
                now: Bucket(now),
                after: Bucket(now + every),
            }),
        }
    }

    /// When any bucket of this rate that was taken from at `now` is full again, in whole seconds
    /// since 1970: from then on it need not be kept.
    pub fn forgotten_at(self, now: Time) -> i64 {
        let burst = i64::from(self.burst) * i64::from(self.every_ms);
        (now.timestamp_millis() + burst) / 1_000 + 1
    }
}

/// Whole ones, so that who waits that long has waited long enough.
fn seconds(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or_default().div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        every_ms: 1_500,
    };

    fn at(ms: i64) -> Time {
        DateTime::from_timestamp_millis(ms).unwrap()
    }

    /// What the table does with a take: nothing, where the bucket is not what it must be.
    fn applied(take: Take, bucket: Option<Bucket>) -> Option<Bucket> {
        match (take, bucket) {
            (Take::First { after, .. }, None) => Some(after),
            (Take::First { now, after }, Some(found)) => (found <= now).then_some(after),
            (Take::Further { latest, by }, Some(found)) => {
                (found <= latest).then(|| Bucket(found.ms() + by))
            }
            (Take::Further { .. }, None) => None,
        }
    }

    #[test]
    fn each_quota_has_a_bucket_of_its_own() {
        let names = [Quota::History, Quota::Guesses].map(Quota::as_str);
        assert_eq!(names, ["history", "guesses"]);
    }

    /// Takes one at that millisecond; the seconds to wait where there is none.
    fn taken(rate: Rate, bucket: &mut Option<Bucket>, ms: i64) -> Result<(), u64> {
        match rate.take(*bucket, at(ms)) {
            Ok(take) => {
                *bucket = applied(take, *bucket);
                assert!(bucket.is_some(), "what was seen is what is there");
                Ok(())
            }
            Err(Refusal::RateLimited { retry_after }) => Err(retry_after),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_burst_and_then_one_each_so_often() {
        let mut bucket = None;
        for (ms, expected) in [
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Err(2)),
            (500, Err(1)),
            (1_499, Err(1)),
            (1_500, Ok(())),
            (1_500, Err(2)),
            // Back, it waits for the time that it was.
            (0, Err(3)),
            (3_000, Ok(())),
            // Full again, and no fuller than that.
            (60_000, Ok(())),
            (60_000, Ok(())),
            (60_000, Ok(())),
            (60_000, Err(2)),
        ] {
            assert_eq!(taken(RATE, &mut bucket, ms), expected, "{ms}");
        }
    }

    #[test]
    fn takes_of_what_two_saw_at_once_add_up() {
        let now = at(0);
        let seen = taken(RATE, &mut None, 0).map(|()| Bucket(1_500)).ok();
        let (one, other) = (RATE.take(seen, now), RATE.take(seen, now));
        let bucket = applied(one.unwrap(), seen);
        let bucket = applied(other.unwrap(), bucket);
        assert_eq!(bucket, Some(Bucket(4_500)));
        // A third that saw the same finds none left.
        assert_eq!(applied(RATE.take(seen, now).unwrap(), bucket), None);
        // Two that saw none there: one of them has to look again.
        let first = RATE.take(None, now).unwrap();
        assert_eq!(applied(first, applied(first, None)), None);
    }

    proptest! {
        #[test]
        fn never_more_than_a_burst_and_what_comes_back_whatever_the_clock_does(
            burst in 1..6_u32,
            every_ms in 1..50_u32,
            times in prop::collection::vec(0..400_i64, 1..200),
        ) {
            let rate = Rate { burst, every_ms };
            let mut bucket = None;
            let granted = times.iter().filter(|ms| taken(rate, &mut bucket, **ms).is_ok()).count();
            let span = times.iter().max().unwrap() - times.iter().min().unwrap();
            let most = i64::from(burst) + span / i64::from(every_ms);
            prop_assert!(i64::try_from(granted).unwrap() <= most, "{granted} of {most}");
        }

        #[test]
        fn it_is_a_bucket_of_tokens(
            burst in 1..6_u32,
            every_ms in 1..50_u32,
            pauses in prop::collection::vec(0..60_i64, 1..200),
        ) {
            let rate = Rate { burst, every_ms };
            let every = i64::from(every_ms);
            let full = i64::from(burst) * every;
            let (mut bucket, mut now, mut tokens) = (None, 0, full);
            for pause in pauses {
                now += pause;
                tokens = full.min(tokens + pause);
                let has_one = tokens >= every;
                prop_assert_eq!(taken(rate, &mut bucket, now).is_ok(), has_one);
                if has_one {
                    tokens -= every;
                }
            }
        }

        #[test]
        fn who_waits_as_told_gets_one_and_a_forgotten_bucket_is_full(
            burst in 1..=MAX_BURST,
            every_ms in 1..=MAX_EVERY_MS,
            ahead in 0..1_000_000_i64,
        ) {
            let rate = Rate { burst, every_ms };
            let mut bucket = Some(Bucket(i64::from(burst) * i64::from(every_ms) + ahead));
            let wait = taken(rate, &mut bucket, 0);
            if let Err(seconds) = wait {
                prop_assert!(seconds > 0);
                let later = i64::try_from(seconds).unwrap() * 1_000;
                prop_assert_eq!(taken(rate, &mut bucket, later), Ok(()));
            }
            let now = at(ahead);
            let forgotten = at(rate.forgotten_at(now) * 1_000);
            let fullest = now + TimeDelta::milliseconds(i64::from(burst) * i64::from(every_ms));
            prop_assert!(forgotten >= fullest);
        }
    }
}
