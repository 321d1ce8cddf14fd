//! Questions about the journal.

use chrono::{Days, NaiveDate, TimeDelta};
use serde::{Deserialize, Serialize};

use super::ids::{Reference, Seq};
use super::journal::EntryView;
use super::lot::first_instant_after;
use super::time::{self, Time};

/// What is asked for where nothing else is said.
const DEFAULT_DAYS: u32 = 30;

/// Which entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Query {
    /// Booked when.
    pub range: Range,
    /// About what; anything where absent.
    pub reference: Option<Reference>,
}

/// A span of booking times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// The last N × 24 hours, the lower bound inclusive.
    Days(u32),
    /// From the first UTC day through the last, each open where absent.
    Between(Option<NaiveDate>, Option<NaiveDate>),
}

impl Range {
    /// The spans of days that are reported.
    pub const DAYS: [&str; 3] = ["7", "30", "90"];

    /// The whole journal.
    pub const ALL: Self = Self::Between(None, None);

    /// The first instant of the span, if it has one.
    pub fn since(self, now: Time) -> Option<Time> {
        match self {
            Self::Days(days) => Some(now - TimeDelta::days(days.into())),
            Self::Between(from, _) => from.map(time::midnight),
        }
    }

    /// The first instant after the span, if it has one.
    pub fn until(self) -> Option<Time> {
        match self {
            Self::Days(_) => None,
            Self::Between(_, to) => to
                .filter(|day| *day < NaiveDate::MAX - Days::new(1))
                .map(first_instant_after),
        }
    }
}

impl Default for Range {
    fn default() -> Self {
        Self::Days(DEFAULT_DAYS)
    }
}

/// Where the next page goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Entries before this one.
    pub before: Seq,
    /// The span's lower bound, in milliseconds, fixed when the first page was asked for.
    pub since_ms: Option<i64>,
}

/// Some entries, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<EntryView>,
    /// Where to go on, if there is more.
    pub next: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::super::testing::at;
    use super::*;

    #[test]
    fn a_span_begins_and_ends_at_instants() {
        let day = |text: &str| Some(text.parse::<NaiveDate>().unwrap());
        let now = at("2026-03-31T10:00:00Z");
        for (range, since, until) in [
            (Range::Days(30), Some("2026-03-01T10:00:00Z"), None),
            (Range::default(), Some("2026-03-01T10:00:00Z"), None),
            (Range::ALL, None, None),
            (
                Range::Between(day("2026-01-01"), day("2026-01-31")),
                Some("2026-01-01T00:00:00Z"),
                Some("2026-02-01T00:00:00Z"),
            ),
        ] {
            assert_eq!(range.since(now), since.map(at), "{range:?}");
            assert_eq!(range.until(), until.map(at), "{range:?}");
        }
    }

    #[test]
    fn there_is_nothing_after_the_last_days_there_are() {
        let until = |day| Range::Between(None, Some(day)).until();
        let last = NaiveDate::MAX;
        assert_eq!(until(last), None);
        assert_eq!(until(last - Days::new(1)), None);
        let before = last - Days::new(2);
        assert_eq!(until(before), Some(first_instant_after(before)));
    }
}
