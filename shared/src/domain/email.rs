//! Where a holder can be told things.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::refusal::Invalid;

/// What an address may measure, in bytes.
const LENGTH: std::ops::RangeInclusive<usize> = 3..=254;

/// An email address, as far as its form tells: one `@` with something on both sides, no spaces or
/// control characters. Whether it exists, only a letter to it can tell. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "contract", schemars(extend("format" = "email", "minLength" = 3, "maxLength" = 254)))]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// Checks the text.
    ///
    /// # Errors
    /// `invalid_field` when the text has not the form of an address.
    pub fn try_new(text: &str) -> Result<Self, Invalid> {
        let has_two_sides = text.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        });
        let fits = LENGTH.contains(&text.len())
            && has_two_sides
            && !text.chars().any(|c| c.is_whitespace() || c.is_control());
        fits.then(|| Self(text.to_owned()))
            .ok_or_else(|| Invalid::field("email", "must be an email address of 3 to 254 bytes"))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_at_and_two_sides() {
        for (text, accepted) in [
            ("a@b", true),
            ("ada.lovelace+jobs@example.org", true),
            ("ünï@exämple.org", true),
            (&format!("{}@b", "a".repeat(252)), true),
            (&format!("{}@b", "a".repeat(253)), false),
            ("", false),
            ("@", false),
            ("ab@", false),
            ("@bc", false),
            ("a@b@", false),
            ("@@b", false),
            ("abc", false),
            ("a@", false),
            ("@b", false),
            ("a@b@c", false),
            ("a b@c", false),
            ("a@b\n", false),
            ("a\u{0}@b", false),
            ("nobody", false),
        ] {
            assert_eq!(Email::try_new(text).is_ok(), accepted, "{text:?}");
        }
    }

    #[test]
    fn an_address_is_not_printed_by_accident() {
        let email = Email::try_new("ada@example.org").unwrap();
        assert_eq!(format!("{email:?}"), "Email(…)");
    }

    #[test]
    fn an_address_is_written_as_it_came() {
        let email = Email::try_new("ada@example.org").unwrap();
        assert_eq!(email.as_str(), "ada@example.org");
        let json = serde_json::to_string(&email).unwrap();
        assert_eq!(serde_json::from_str::<Email>(&json).unwrap(), email);
    }
}
