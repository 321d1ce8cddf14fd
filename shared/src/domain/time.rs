//! Instants, to the millisecond, in one fixed-width form that sorts as text.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, SecondsFormat, SubsecRound, Utc};

/// An instant in UTC.
pub type Time = DateTime<Utc>;

/// `2027-01-01T00:00:00.000Z`: how instants are stored and answered.
pub fn text(at: Time) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
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

/// The same for fields that may hold none.
pub mod as_text_if_any {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Time;

    #[derive(Serialize, Deserialize)]
    struct Text(#[serde(with = "super::as_text")] Time);

    /// Writes the fixed-width form, or nothing.
    pub fn serialize<S: Serializer>(at: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(Text).serialize(serializer)
    }

    /// Reads any RFC 3339 form, or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Time>, D::Error> {
        Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_leap_second_is_written_as_one() {
        for at in ["2016-12-31T23:59:60.250Z", "2016-12-31T23:59:59.999Z"] {
            assert_eq!(parse(at).map(text).as_deref(), Some(at));
        }
    }

    proptest! {
        /// From the year 1000 to the end of 9998, the form sorts as the instants do.
        #[test]
        fn what_is_written_reads_back_and_sorts(
            one in 0_i64..283_980_988_800_000,
            other in 0_i64..283_980_988_800_000,
        ) {
            let first = midnight(NaiveDate::from_ymd_opt(1000, 1, 1).unwrap());
            let [one, other] = [one, other].map(|after| first + TimeDelta::milliseconds(after));
            prop_assert_eq!(parse(&text(one)), Some(one));
            prop_assert_eq!(text(one).cmp(&text(other)), one.cmp(&other));
        }
    }
}
