//! What a route answers when all is well, and the form in which every answer leaves.

use std::borrow::Cow;

use serde::Serialize;

use super::problem::Problem;
use crate::ledger::{Error, Outcome};

/// A header of an answer.
pub type Header = (&'static str, Cow<'static, str>);

/// The header that marks a replayed answer.
pub(super) const REPLAYED: Header = ("idempotency-replayed", Cow::Borrowed("true"));

/// What a browser is told with every answer, whatever its status: it is data for who asked, to be
/// shown in no page, kept in no cache and fetched by https alone.
pub(super) const SAFEGUARDS: [Header; 5] = [
    ("cache-control", Cow::Borrowed("no-store")),
    (
        "content-security-policy",
        Cow::Borrowed("default-src 'none'; frame-ancestors 'none'"),
    ),
    ("referrer-policy", Cow::Borrowed("no-referrer")),
    (
        "strict-transport-security",
        Cow::Borrowed("max-age=31536000"),
    ),
    ("x-content-type-options", Cow::Borrowed("nosniff")),
];

/// An answer: status, headers and body.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<Header>,
    pub(super) body: String,
    /// What the log calls it: `ok` or a problem's code.
    pub(super) outcome: &'static str,
}

impl Answer {
    /// A JSON document.
    ///
    /// # Errors
    /// `internal`, should the value have no JSON form.
    pub fn json(status: u16, value: &impl Serialize) -> Result<Self, Problem> {
        serde_json::to_string(value)
            .map(|body| Self::new(status, "application/json", body))
            .map_err(|error| Problem::internal(&error))
    }

    /// A document that is JSON as it is.
    pub fn document(json: &str) -> Self {
        Self::new(200, "application/json", json.to_owned())
    }

    /// A CSV document; `next` is the cursor of the page after it.
    pub fn csv(body: String, next: Option<String>) -> Self {
        let mut answer = Self::new(200, "text/csv; charset=utf-8", body);
        answer
            .headers
            .extend(next.map(|cursor| ("connects-next-cursor", cursor.into())));
        answer
    }

    /// The answer to an operation that may be a replay: the same document either way.
    ///
    /// # Errors
    /// The ledger's refusal or fault.
    pub fn of<T: Serialize>(
        status: u16,
        outcome: Result<Outcome<T>, Error>,
    ) -> Result<Self, Problem> {
        match outcome? {
            Outcome::Applied(value) => Self::json(status, &value),
            Outcome::Replayed(value) => Self::json(status, &value).map(Self::replayed),
        }
    }

    /// The same as CSV.
    ///
    /// # Errors
    /// The ledger's refusal or fault.
    pub fn csv_of<T>(
        status: u16,
        outcome: Result<Outcome<T>, Error>,
        csv: impl FnOnce(&T) -> String,
    ) -> Result<Self, Problem> {
        let answer = |value: &T| Self {
            status,
            ..Self::csv(csv(value), None)
        };
        Ok(match outcome? {
            Outcome::Applied(value) => answer(&value),
            Outcome::Replayed(value) => answer(&value).replayed(),
        })
    }

    /// The same, marked as a replay.
    #[must_use]
    pub fn replayed(mut self) -> Self {
        self.headers.push(REPLAYED);
        self
    }

    pub(super) fn new(status: u16, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            headers: vec![("content-type", content_type.into())],
            body,
            outcome: "ok",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::refusal::Refusal;

    #[test]
    fn a_replay_is_the_same_document_with_a_mark() {
        let applied = Answer::of(201, Ok(Outcome::Applied(json!({ "amount": 5 })))).unwrap();
        let replayed = Answer::of(201, Ok(Outcome::Replayed(json!({ "amount": 5 })))).unwrap();
        assert_eq!(
            (applied.status, applied.body.as_str()),
            (201, r#"{"amount":5}"#)
        );
        assert_eq!(
            (replayed.status, &replayed.body),
            (applied.status, &applied.body)
        );
        assert!(!applied.headers.contains(&REPLAYED));
        assert!(replayed.headers.contains(&REPLAYED));
    }

    #[test]
    fn a_refusal_passes_through() {
        let refused = Answer::of::<()>(201, Err(Refusal::AccountSuspended.into())).unwrap_err();
        assert_eq!(refused.code(), "account_suspended");
    }
}
