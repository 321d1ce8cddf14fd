//! The one place that reads the wall clock.
//!
//! Builds with the feature `local` take a caller's idea of the time, so that a year can pass in a
//! test. Three things stand between that and production: the feature is only switched on from a
//! command line, it does nothing without `CONNECTS_LOCAL=1`, and such a build refuses to start
//! where AWS Lambda's own variables are set.

use chrono::{SubsecRound, Utc};

use crate::config::{ClockConfig, ConfigError};
use crate::domain::time::{self, Time};

/// Whether this build can take the time from outside at all.
const HAS_TEST_TIME: bool = cfg!(feature = "local");

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    takes_test_time: bool,
}

/// A time from outside that is not an RFC 3339 instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 instant")]
pub struct NotAnInstant;

/// The times that a scheduled run works by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Now.
    pub now: Time,
    /// What is due at this instant or before is handled.
    pub due: Time,
}

impl Clock {
    /// The clock of this process.
    ///
    /// # Errors
    /// When a build that takes test time would start inside AWS Lambda.
    pub fn new(config: &ClockConfig) -> Result<Self, ConfigError> {
        Self::for_build(HAS_TEST_TIME, config)
    }

    fn for_build(has_test_time: bool, config: &ClockConfig) -> Result<Self, ConfigError> {
        if has_test_time && config.in_aws {
            return Err(ConfigError::LocalBuildInAws);
        }
        Ok(Self {
            takes_test_time: has_test_time && config.local,
        })
    }

    /// The wall clock, whatever a test says: tokens expire by it.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    pub fn real(&self) -> Time {
        Utc::now().trunc_subsecs(3)
    }

    /// Now, for a request that may carry a `Connects-Now` header.
    ///
    /// # Errors
    /// When a build that honours the header can't read it.
    pub fn now(&self, told: Option<&str>) -> Result<Time, NotAnInstant> {
        told.filter(|_| self.takes_test_time).map_or_else(
            || Ok(self.real()),
            |text| time::parse(text).ok_or(NotAnInstant),
        )
    }

    /// The times of a run that was scheduled for `event`. Elsewhere than in a test that time can
    /// only lower what is due.
    ///
    /// # Errors
    /// When the event's time can't be read.
    pub fn scheduled(&self, event: Option<&str>) -> Result<Schedule, NotAnInstant> {
        let event = event
            .map(|text| time::parse(text).ok_or(NotAnInstant))
            .transpose()?;
        let now = event
            .filter(|_| self.takes_test_time)
            .unwrap_or_else(|| self.real());
        Ok(Schedule {
            now,
            due: event.map_or(now, |at| at.min(now)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(local: bool, in_aws: bool) -> ClockConfig {
        ClockConfig { local, in_aws }
    }

    fn clock(has_test_time: bool, local: bool) -> Clock {
        Clock::for_build(has_test_time, &config(local, false)).unwrap()
    }

    fn at(text: &str) -> Time {
        time::parse(text).unwrap()
    }

    #[test]
    fn test_time_needs_both_the_build_and_the_variable() {
        let told = "2030-06-01T12:00:00Z";
        for (has_test_time, local, taken) in [
            (false, false, false),
            (false, true, false),
            (true, false, false),
            (true, true, true),
        ] {
            let clock = clock(has_test_time, local);
            assert_eq!(clock.now(Some(told)).unwrap() == at(told), taken);
            assert_eq!(clock.scheduled(Some(told)).unwrap().now == at(told), taken);
        }
    }

    #[test]
    fn a_broken_header_matters_only_where_it_is_honoured() {
        assert_eq!(clock(true, true).now(Some("noon")), Err(NotAnInstant));
        assert!(clock(true, false).now(Some("noon")).is_ok());
        assert!(clock(false, true).now(Some("noon")).is_ok());
    }

    #[test]
    fn without_a_header_it_is_the_wall_clock_to_the_millisecond() {
        let clock = clock(true, true);
        let (before, now, after) = (clock.real(), clock.now(None).unwrap(), clock.real());
        assert!(before <= now && now <= after);
        assert_eq!(now, now.trunc_subsecs(3));
    }

    #[test]
    fn an_event_can_only_lower_what_is_due_in_production() {
        let clock = clock(false, false);
        let past = at("2020-01-01T00:00:00Z");
        let run = clock.scheduled(Some("2020-01-01T00:00:00Z")).unwrap();
        assert_eq!(run.due, past);
        assert!(run.now > past);
        let run = clock.scheduled(Some("2999-01-01T00:00:00Z")).unwrap();
        assert_eq!(run.due, run.now);
        let run = clock.scheduled(None).unwrap();
        assert_eq!(run.due, run.now);
        assert_eq!(clock.scheduled(Some("soon")), Err(NotAnInstant));
    }

    #[test]
    fn a_build_with_test_time_does_not_start_in_aws() {
        for (has_test_time, in_aws, starts) in [
            (true, true, false),
            (true, false, true),
            (false, true, true),
            (false, false, true),
        ] {
            let clock = Clock::for_build(has_test_time, &config(true, in_aws));
            assert_eq!(clock.is_ok(), starts, "{has_test_time} {in_aws}");
        }
    }
}
