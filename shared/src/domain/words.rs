//! The words of mails, language by language: `infra/mail/<language>.toml`. The templates that SES keeps are
//! made of the same files.

use std::collections::BTreeMap;

use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::mail::Mail;
use super::refusal::Invalid;

/// The languages there are.
const BUILT_IN: [&str; 2] = [
    include_str!("../../../infra/mail/en.toml"),
    include_str!("../../../infra/mail/es.toml"),
];

/// What a locale may measure.
const LOCALE_LENGTH: std::ops::RangeInclusive<usize> = 2..=35;

/// A language and what belongs to it, as BCP 47 has it: `en`, `es-MX`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "contract", schemars(extend("pattern" = "^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", "minLength" = 2, "maxLength" = 35)))]
#[serde(transparent)]
pub struct Locale(String);

impl Locale {
    /// Checks the text.
    ///
    /// # Errors
    /// `invalid_field` when it is no locale's.
    pub fn try_new(text: &str) -> Result<Self, Invalid> {
        let is_word = |part: &str, length: std::ops::RangeInclusive<usize>| {
            length.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        let mut parts = text.split('-');
        let language = parts.next().unwrap_or_default();
        let fits = LOCALE_LENGTH.contains(&text.len())
            && is_word(language, 2..=3)
            && language.bytes().all(|b| b.is_ascii_alphabetic())
            && parts.all(|part| is_word(part, 2..=8));
        fits.then(|| Self(text.to_owned()))
            .ok_or_else(|| Invalid::field("locale", "must be a language tag such as en or es-MX"))
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The language alone.
    pub fn language(&self) -> String {
        let language = self.0.split('-').next().unwrap_or_default();
        language.to_lowercase()
    }
}

impl<'de> Deserialize<'de> for Locale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Everything that is said in one language.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// The language, as a locale begins.
    pub language: String,
    /// A date, of `{day}`, `{month}` and `{year}`.
    pub date: String,
    /// January first.
    pub months: [String; 12],
    /// What an address is written to for, under mails that can be turned off.
    pub choice: String,
    /// The same under those that can't.
    pub required: String,
    /// Why something happened, by the word of the contract.
    pub reasons: BTreeMap<String, String>,
    /// The mails.
    pub mails: BTreeMap<Mail, Text>,
}

/// A mail's words, with `{{names}}` where SES puts what is particular.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The subject, which is the heading too.
    pub subject: String,
    /// Paragraph by paragraph.
    pub lines: Vec<String>,
}

impl Words {
    /// That day.
    pub fn day(&self, day: NaiveDate) -> String {
        self.date
            .replace("{day}", &day.day().to_string())
            .replace("{month}", &self.months[day.month0() as usize])
            .replace("{year}", &day.year().to_string())
    }

    /// Why, in a few words; the word itself where it is the marketplace's own.
    pub fn reason(&self, word: &str) -> String {
        let known = self.reasons.get(word).cloned();
        known.unwrap_or_else(|| word.replace('_', " "))
    }
}

/// All languages, and the one for those who read none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dictionary {
    all: Vec<Words>,
    fallback: usize,
}

impl Dictionary {
    /// Every language there is; that one for whoever reads none of them.
    ///
    /// # Errors
    /// When there is none of that name, with those that there are.
    pub fn new(fallback: &str) -> Result<Self, String> {
        let read = |text: &&str| toml::from_str::<Words>(text).map_err(|error| error.to_string());
        let all = BUILT_IN.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let place = all.iter().position(|words| words.language == fallback);
        match place {
            Some(fallback) => Ok(Self { all, fallback }),
            None => {
                let there: Vec<_> = all.iter().map(|words| words.language.as_str()).collect();
                Err(format!("must be one of {}", there.join(", ")))
            }
        }
    }

    /// The languages.
    pub fn all(&self) -> &[Words] {
        &self.all
    }

    /// The words for a reader of that locale.
    pub fn of(&self, locale: Option<&Locale>) -> &Words {
        let language = locale.map(Locale::language);
        let known = self
            .all
            .iter()
            .find(|words| Some(&words.language) == language.as_ref());
        known.unwrap_or(&self.all[self.fallback])
    }
}
