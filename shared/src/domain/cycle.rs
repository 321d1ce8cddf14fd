//! Billing cycles: months counted from an anchor day, never from the last result.

use chrono::{Datelike, Months, NaiveDate};

/// The start of the cycle `n` months after the anchor's. An anchor on the 29th to 31st falls on the
/// last day of a shorter month and comes back in the next longer one.
fn start(anchor: NaiveDate, n: u32) -> NaiveDate {
    anchor
        .checked_add_months(Months::new(n))
        .unwrap_or(NaiveDate::MAX)
}

fn months_between(anchor: NaiveDate, day: NaiveDate) -> u32 {
    let months = |date: NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month0());
    u32::try_from(months(day) - months(anchor)).unwrap_or(0)
}

/// The first day of the cycle that contains `day`; the anchor itself for an earlier day.
pub fn containing(anchor: NaiveDate, day: NaiveDate) -> NaiveDate {
    let n = months_between(anchor, day);
    match start(anchor, n) {
        begun if begun <= day || n == 0 => begun,
        _ => start(anchor, n - 1),
    }
}

/// The first day of the cycle after the one that contains `day`.
pub fn after(anchor: NaiveDate, day: NaiveDate) -> NaiveDate {
    let n = months_between(anchor, day);
    match start(anchor, n) {
        coming if coming > day => coming,
        _ => start(anchor, n + 1),
    }
}

/// How many days of the cycle that contains `day` have passed before it, and how many it has.
pub fn progress(anchor: NaiveDate, day: NaiveDate) -> (u64, u64) {
    let begun = containing(anchor, day);
    let days_until = |end: NaiveDate| u64::try_from((end - begun).num_days()).unwrap_or(0);
    (days_until(day), days_until(after(anchor, day)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn cycles_follow_the_anchor_day() {
        for (anchor, today, begins, next) in [
            ("2023-10-11", "2023-10-11", "2023-10-11", "2023-11-11"),
            ("2023-10-11", "2023-11-10", "2023-10-11", "2023-11-11"),
            ("2023-10-11", "2023-11-11", "2023-11-11", "2023-12-11"),
            ("2025-01-31", "2025-02-27", "2025-01-31", "2025-02-28"),
            ("2025-01-31", "2025-02-28", "2025-02-28", "2025-03-31"),
            ("2025-01-31", "2025-03-30", "2025-02-28", "2025-03-31"),
            ("2025-01-31", "2025-03-31", "2025-03-31", "2025-04-30"),
            ("2024-01-30", "2024-02-29", "2024-02-29", "2024-03-30"),
        ] {
            let (anchor, today) = (day(anchor), day(today));
            assert_eq!(containing(anchor, today), day(begins), "{anchor} {today}");
            assert_eq!(after(anchor, today), day(next), "{anchor} {today}");
        }
    }

    #[test]
    fn a_cycle_has_as_many_days_as_its_months() {
        for (anchor, today, passed, all) in [
            ("2023-10-11", "2023-10-11", 0, 31),
            ("2023-10-11", "2023-10-21", 10, 31),
            ("2023-10-11", "2023-11-10", 30, 31),
            ("2023-10-11", "2023-11-11", 0, 30),
            ("2025-01-31", "2025-02-27", 27, 28),
            ("2025-01-31", "2025-02-28", 0, 31),
        ] {
            let progress = progress(day(anchor), day(today));
            assert_eq!(progress, (passed, all), "{anchor} {today}");
        }
    }
}
