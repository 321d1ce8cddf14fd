//! Instants, to the millisecond, in one fixed-width form that sorts as text.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, SubsecRound, Timelike, Utc};

/// An instant in UTC.
pub type Time = DateTime<Utc>;

/// `2027-01-01T00:00:00.000Z`: how instants are stored and answered.
pub fn text(at: Time) -> String {
    let mut text = String::with_capacity(INSTANT.len());
    push(&mut text, at);
    text
}

const INSTANT: [u8; 24] = *b"0000-00-00T00:00:00.000Z";

const DAY: [u8; 10] = *b"0000-00-00";

/// Adds an instant in that form. By hand: seals and keys are made of instants, and formatting them
/// was most of what a plan cost.
pub(super) fn push(text: &mut String, at: Time) {
    let mut form = INSTANT;
    let (day, time) = (at.date_naive(), at.time());
    put_day(&mut form[..DAY.len()], day);
    // A leap second is the one before with more than a second's worth of fraction.
    let milliseconds = time.nanosecond() / 1_000_000;
    let (leap, milliseconds) = (milliseconds / 1_000, milliseconds % 1_000);
    put(&mut form[11..13], time.hour());
    put(&mut form[14..16], time.minute());
    put(&mut form[17..19], time.second() + leap);
    put(&mut form[20..23], milliseconds);
    text.push_str(std::str::from_utf8(&form).unwrap_or_default());
}

/// Adds a day, `2027-01-01`.
pub(super) fn push_day(text: &mut String, day: NaiveDate) {
    let mut form = DAY;
    put_day(&mut form, day);
    text.push_str(std::str::from_utf8(&form).unwrap_or_default());
}

/// The year has four digits: [`parse`] takes no other.
fn put_day(form: &mut [u8], day: NaiveDate) {
    put(&mut form[0..4], day.year().unsigned_abs());
    put(&mut form[5..7], day.month());
    put(&mut form[8..10], day.day());
}

fn put(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The instant that [`text`] or any other RFC 3339 text names, to the millisecond; `None` when
/// it is not one or its year has not four digits.
pub fn parse(text: &str) -> Option<Time> {
    let at = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    let four_digits = (1000..=9998).contains(&at.year());
    four_digits.then(|| at.trunc_subsecs(3))
}

/// The first instant of a UTC day.
pub fn midnight(day: NaiveDate) -> Time {
    day.and_time(NaiveTime::MIN).and_utc()
}

/// Serde for fields that hold an instant in [`text`] form.
pub mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Time;

    /// Writes the fixed-width form.
    pub fn serialize<S: Serializer>(at: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::text(*at))
    }

    /// Reads any RFC 3339 form.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 instant"))
    }
}

#[cfg(test)]
mod tests {
    use chrono::{SecondsFormat, TimeDelta};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_leap_second_is_written_as_one() {
        for at in ["2016-12-31T23:59:60.250Z", "2016-12-31T23:59:59.999Z"] {
            assert_eq!(parse(at).map(text).as_deref(), Some(at));
        }
    }

    proptest! {
        /// From the year 1000 to the end of 9999.
        #[test]
        fn the_form_is_that_of_rfc_3339(milliseconds in 0_i64..284_012_524_800_000) {
            let first = midnight(NaiveDate::from_ymd_opt(1000, 1, 1).unwrap());
            let at = first + TimeDelta::milliseconds(milliseconds);
            prop_assert_eq!(text(at), at.to_rfc3339_opts(SecondsFormat::Millis, true));
            let mut day = String::new();
            push_day(&mut day, at.date_naive());
            prop_assert_eq!(day, at.date_naive().to_string());
        }
    }
}
