//! The one file that maps everything that can go wrong to `application/problem+json` (RFC 9457).
//! Inner detail is logged here, once, and never answered.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::answer::{Answer, Header, REPLAYED};
use crate::domain::refusal::{Invalid, Refusal};
use crate::ledger::{Error, Fault};
use crate::payments::stripe::signature::Unsigned;

/// Seconds after which a busy answer suggests another try.
const BUSY_FOR: u64 = 1;

/// The most of a name that came from outside and is answered back.
const MAX_ECHO: usize = 64;

/// Why a token is not accepted: all that is ever said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// No bearer token came with the request.
    #[error("a bearer token is needed")]
    Missing,
    /// What came is no token.
    #[error("the token is malformed")]
    Malformed,
    /// Not signed by a known key for this service.
    #[error("the token is not accepted here")]
    Untrusted,
    /// Its time is over or has not come.
    #[error("the token is not valid at this time")]
    NotNow,
}

/// A problem document on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: u16,
    code: &'static str,
    detail: Cow<'static, str>,
    members: Map<String, Value>,
    headers: Vec<Header>,
}

impl Problem {
    fn new(status: u16, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            members: Map::new(),
            headers: Vec::new(),
        }
    }

    /// The same, marked as a replay.
    #[must_use]
    pub fn replayed(mut self) -> Self {
        self.headers.push(REPLAYED);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The problem's code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The member of that name, beyond the standard ones.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// 403: the caller's scopes don't cover the route.
    pub fn forbidden() -> Self {
        Self::new(403, "forbidden", "the token's scope does not cover this")
    }

    /// 404: no such route.
    pub fn not_found() -> Self {
        Self::new(
            404,
            "not_found",
            "there is nothing at this path with this method",
        )
    }

    /// 413: the body is longer than any request needs.
    pub fn body_too_large(limit: usize) -> Self {
        let detail = format!("a body may measure {} KiB", limit / 1024);
        Self::new(413, "body_too_large", detail)
    }

    /// 400: not in a form that can be read.
    pub fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "malformed_request", detail)
    }

    /// 400: the operation happens once per key, and no key came with it.
    pub fn key_required() -> Self {
        let detail = "this operation needs an Idempotency-Key header";
        Self::new(400, "idempotency_key_required", detail)
    }

    /// 400: the key is empty, too long or not visible ASCII.
    pub fn key_invalid() -> Self {
        let detail = "an Idempotency-Key is 1 to 255 visible ASCII characters";
        Self::new(400, "idempotency_key_invalid", detail)
    }

    /// 400: not a cursor of this listing.
    pub fn invalid_cursor() -> Self {
        let detail = "the cursor is not one of this listing; start without it";
        Self::new(400, "invalid_cursor", detail)
    }

    /// 400: a message that its sender's signature does not prove, now.
    pub fn signature_invalid(why: Unsigned) -> Self {
        Self::new(
            400,
            "signature_invalid",
            format!("the message is not believed: {why}"),
        )
    }

    /// 422: a member or query parameter that the route does not have.
    pub fn unknown_field(name: &str) -> Self {
        let name: String = name.chars().take(MAX_ECHO).collect();
        let mut problem = Self::new(422, "unknown_field", format!("{name} is not known here"));
        problem.members.insert("field".to_owned(), name.into());
        problem
    }

    /// 503: try again, under the same key.
    pub fn busy() -> Self {
        let mut problem = Self::new(
            503,
            "busy",
            "try again; under the same idempotency key nothing happens twice",
        );
        problem.headers.push(retry_after(BUSY_FOR));
        problem
    }

    /// 500: something broke. The cause is logged, not answered.
    pub fn internal(cause: &dyn fmt::Display) -> Self {
        tracing::error!(%cause, "fault");
        Self::new(500, "internal", "something broke on our side")
    }

    /// The place of a problem when a request has several: the one with the least is answered.
    pub(super) fn precedence(&self) -> usize {
        [401, 403, 404, 413, 400, 422]
            .iter()
            .position(|status| *status == self.status)
            .unwrap_or(usize::MAX)
    }

    fn title(&self) -> String {
        let words = self.code.replace('_', " ");
        let (first, rest) = words.split_at(words.len().min(1));
        format!("{}{rest}", first.to_ascii_uppercase())
    }
}

impl From<Unauthenticated> for Problem {
    fn from(why: Unauthenticated) -> Self {
        let mut problem = Self::new(401, "unauthenticated", why.to_string());
        problem.headers.push(("www-authenticate", "Bearer".into()));
        problem
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = refusal.status_and_code();
        let headers = match refusal {
            Refusal::RateLimited { retry_after: wait } => vec![retry_after(wait)],
            _ => vec![],
        };
        Self {
            members: refusal.members(),
            headers,
            ..Self::new(status, code, refusal.to_string())
        }
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Refusal::Invalid(invalid).into()
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        if fault.is_busy() {
            tracing::warn!(cause = %fault, "busy");
            return Self::busy();
        }
        Self::internal(&fault)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Fault(fault) => fault.into(),
        }
    }
}

/// When to try again, in seconds from now.
fn retry_after(seconds: u64) -> Header {
    ("retry-after", seconds.to_string().into())
}

/// A problem document, in the order in which it reads best.
#[derive(Serialize)]
struct Document<'p> {
    r#type: String,
    title: String,
    status: u16,
    detail: &'p str,
    code: &'static str,
    #[serde(flatten)]
    members: &'p Map<String, Value>,
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = Document {
            r#type: format!("/problems/{}", self.code),
            title: self.title(),
            status: self.status,
            detail: &self.detail,
            code: self.code,
            members: &self.members,
        };
        document.serialize(serializer)
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        // Texts, numbers and maps with text keys always have a JSON form.
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let mut answer = Self::new(problem.status, "application/problem+json", body);
        answer.headers.extend(problem.headers);
        answer.outcome = problem.code;
        answer
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::units::Connects;

    fn document(problem: Problem) -> (Answer, Value) {
        let answer = Answer::from(problem);
        let body = serde_json::from_str(&answer.body).unwrap();
        (answer, body)
    }

    #[test]
    fn a_refusal_becomes_a_problem_document_with_its_members() {
        let refusal = Refusal::InsufficientConnects {
            available: Connects::new(3),
            required: Connects::new(8),
        };
        let (answer, body) = document(refusal.into());
        assert_eq!(answer.status, 409);
        assert_eq!(answer.outcome, "insufficient_connects");
        assert!(
            answer
                .headers
                .contains(&("content-type", "application/problem+json".into()))
        );
        let expected = json!({
            "type": "/problems/insufficient_connects",
            "title": "Insufficient connects",
            "status": 409,
            "detail": "8 Connects needed, 3 available",
            "code": "insufficient_connects",
            "available": 3,
            "required": 8,
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn each_kind_has_its_status_code_and_headers() {
        let invalid = || Invalid::field("amount", "is required");
        for (problem, status, code, header) in [
            (
                Unauthenticated::Missing.into(),
                401,
                "unauthenticated",
                Some(("www-authenticate", "Bearer")),
            ),
            (Problem::forbidden(), 403, "forbidden", None),
            (Problem::not_found(), 404, "not_found", None),
            (Problem::body_too_large(65536), 413, "body_too_large", None),
            (Problem::malformed("no"), 400, "malformed_request", None),
            (
                Problem::key_required(),
                400,
                "idempotency_key_required",
                None,
            ),
            (Problem::key_invalid(), 400, "idempotency_key_invalid", None),
            (Problem::invalid_cursor(), 400, "invalid_cursor", None),
            (Problem::unknown_field("x"), 422, "unknown_field", None),
            (invalid().into(), 422, "invalid_field", None),
            (
                Error::from(Refusal::from(invalid())).into(),
                422,
                "invalid_field",
                None,
            ),
            (Problem::busy(), 503, "busy", Some(("retry-after", "1"))),
            (
                Refusal::RateLimited { retry_after: 360 }.into(),
                429,
                "rate_limited",
                Some(("retry-after", "360")),
            ),
            (Problem::internal(&"the disk"), 500, "internal", None),
        ] {
            let (answer, body) = document(problem);
            assert_eq!((answer.status, answer.outcome), (status, code));
            assert_eq!(body["status"], status);
            assert_eq!(body["type"], format!("/problems/{code}"));
            let extra = answer
                .headers
                .get(1)
                .map(|(name, value)| (*name, value.as_ref()));
            assert_eq!(extra, header, "{code}");
        }
    }

    #[test]
    fn the_cause_of_a_fault_is_not_answered() {
        let (answer, _) = document(Problem::internal(&"table secret-table is gone"));
        assert!(!answer.body.contains("secret-table"));
    }

    #[test]
    fn a_long_unknown_name_is_cut() {
        let problem = Problem::unknown_field(&"é".repeat(1000));
        assert_eq!(
            problem
                .member("field")
                .unwrap()
                .as_str()
                .unwrap()
                .chars()
                .count(),
            64
        );
    }
}
