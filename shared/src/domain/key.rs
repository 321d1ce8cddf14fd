//! The client's name for a request: the same request under the same key happens once.

use serde::{Deserialize, Serialize};

use std::fmt;

/// The longest key that is accepted.
const MAX_LENGTH: usize = 255;

/// An `Idempotency-Key`: 1–255 visible ASCII characters, chosen by the client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key, or `None` when the text is empty, too long or not visible ASCII.
    pub fn try_new(text: &str) -> Option<Self> {
        let fits =
            (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// A key that nobody else has, made from a random number.
    pub fn own(random: u128) -> Self {
        Self(format!("{random:032x}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_1_to_255_visible_ascii_characters() {
        for (text, accepted) in [
            ("k", true),
            ("order-17/attempt:1", true),
            ("!~", true),
            (&"k".repeat(255), true),
            (&"k".repeat(256), false),
            ("", false),
            (" ", false),
            ("two words", false),
            ("tab\t", false),
            ("é", false),
            ("\u{7f}", false),
        ] {
            assert_eq!(
                IdempotencyKey::try_new(text).is_some(),
                accepted,
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_key_is_written_as_it_came() {
        let key = IdempotencyKey::try_new("k-1").unwrap();
        assert_eq!((key.as_str(), key.to_string()), ("k-1", "k-1".to_owned()));
    }
}
