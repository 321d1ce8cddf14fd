//! A request as handlers see it.

use std::collections::HashMap;

use super::event::Parts;
use super::input::{Fields, decode};
use super::problem::Problem;
use crate::domain::key::IdempotencyKey;
use crate::domain::time::Time;
use crate::ledger::Context;

/// The header that carries the client's name for the operation.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A request, with the times it is handled by.
#[derive(Debug)]
pub struct Request {
    method: String,
    segments: Vec<String>,
    query: String,
    headers: HashMap<String, String>,
    body: Option<Vec<u8>>,
    /// Now, as the ledger sees it, and until when an answer is worth anything.
    pub context: Context,
    /// Now by the wall clock: what tokens are judged by.
    pub received_at: Time,
}

impl Request {
    pub(super) fn new(parts: Parts, context: Context, received_at: Time) -> Self {
        Self {
            method: parts.method,
            segments: segments(&parts.path),
            query: parts.query,
            headers: parts.headers,
            body: parts.body,
            context,
            received_at,
        }
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path's segments, escapes resolved: `["v1", "accounts", "a1"]`.
    pub fn path(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether the client asks for CSV.
    pub fn wants_csv(&self) -> bool {
        self.header("accept").is_some_and(|accept| {
            let names = accept
                .split(',')
                .filter_map(|range| range.split(';').next());
            names
                .map(str::trim)
                .any(|name| name.eq_ignore_ascii_case("text/csv"))
        })
    }

    /// The members of the body. A route that reads its body has no query parameters, so any is
    /// refused as unknown.
    ///
    /// # Errors
    /// 413 or 400 when it is too long or not a JSON object.
    pub fn body(&self) -> Result<Fields, Problem> {
        let body = self
            .body
            .as_deref()
            .ok_or_else(|| Problem::malformed("the body's base64 is broken"));
        let mut fields = Fields::of_body(body?)?;
        // A route that needs no key takes none that is no key either.
        self.idempotency_key_if_any()?;
        fields.refuse_all_of(self.query()?);
        Ok(fields)
    }

    /// The query's parameters.
    ///
    /// # Errors
    /// 400 when their escapes are broken.
    pub fn query(&self) -> Result<Fields, Problem> {
        Fields::of_query(&self.query)
    }

    /// Nothing, of a route that takes no input.
    ///
    /// # Errors
    /// `unknown_field` for any query parameter.
    pub fn nothing(&self) -> Result<(), Problem> {
        self.query()?.finish(|| Some(()))
    }

    /// The idempotency key of an operation that needs one.
    ///
    /// # Errors
    /// `idempotency_key_required`, `idempotency_key_invalid`.
    pub fn idempotency_key(&self) -> Result<IdempotencyKey, Problem> {
        self.idempotency_key_if_any()?
            .ok_or_else(Problem::key_required)
    }

    /// The idempotency key of an operation that has a natural key anyway.
    ///
    /// # Errors
    /// `idempotency_key_invalid`.
    pub fn idempotency_key_if_any(&self) -> Result<Option<IdempotencyKey>, Problem> {
        self.header(IDEMPOTENCY_KEY)
            .map(|text| IdempotencyKey::try_new(text).ok_or_else(Problem::key_invalid))
            .transpose()
    }
}

/// `/v1/accounts/a%31` → `v1`, `accounts`, `a1`. What can't be decoded matches no route's words
/// and no id, so it is kept as it is.
fn segments(path: &str) -> Vec<String> {
    path.strip_prefix('/')
        .unwrap_or(path)
        .split('/')
        .map(|segment| decode(segment, false).unwrap_or_else(|| segment.to_owned()))
        .collect()
}

/// The path with its ids replaced by what they are: what a log may hold.
pub(super) fn route(segments: &[&str]) -> String {
    let masked = segments.iter().enumerate().map(|(i, segment)| {
        match i.checked_sub(1).and_then(|before| segments.get(before)) {
            Some(&"accounts") => "{account_id}",
            Some(&"purchases") => "{purchase_id}",
            Some(&"holds") => "{hold_id}",
            Some(&"bids") => "{account_id}",
            Some(&"promos") => "{code}",
            Some(&"jobs") => "{job_id}",
            Some(&"proposals") if segments.get(1) == Some(&"jobs") => "{account_id}",
            Some(&"proposals") => "{job_id}",
            _ => *segment,
        }
    });
    masked.fold(String::new(), |path, segment| path + "/" + segment)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(headers: &[(&str, &str)], path: &str) -> Request {
        let now = crate::domain::time::parse("2026-01-01T00:00:00Z").unwrap();
        let parts = Parts {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: String::new(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: Some(b"{}".to_vec()),
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(8);
        Request::new(parts, Context { now, deadline }, now)
    }

    #[test]
    fn a_route_without_query_parameters_refuses_any() {
        let mut request = request(&[], "/");
        let read = |request: &Request| request.body()?.finish(|| Some(()));
        assert_eq!(read(&request), Ok(()));
        assert_eq!(request.nothing(), Ok(()));
        request.query = "dry_run=1".to_owned();
        assert_eq!(read(&request), Err(Problem::unknown_field("dry_run")));
        assert_eq!(request.nothing(), Err(Problem::unknown_field("dry_run")));
        request.body = None;
        assert_eq!(
            read(&request).map_err(|p| p.code()),
            Err("malformed_request")
        );
    }

    #[test]
    fn the_path_is_matched_by_segments() {
        for (path, expected) in [
            ("/v1/accounts/a1", &["v1", "accounts", "a1"][..]),
            ("/v1/accounts/a%31/lots", &["v1", "accounts", "a1", "lots"]),
            ("/v1/accounts/a%2Flots", &["v1", "accounts", "a/lots"]),
            ("/v1/accounts/a+b%", &["v1", "accounts", "a+b%"]),
            ("/v1/catalog/", &["v1", "catalog", ""]),
            ("/", &[""]),
        ] {
            assert_eq!(request(&[], path).path(), expected, "{path}");
        }
    }

    #[test]
    fn a_log_shows_the_route_and_no_ids() {
        for (path, expected) in [
            (
                "/v1/accounts/a1/purchases/pu_x/chargeback",
                "/v1/accounts/{account_id}/purchases/{purchase_id}/chargeback",
            ),
            (
                "/v1/accounts/a1/plan-changes/preview",
                "/v1/accounts/{account_id}/plan-changes/preview",
            ),
            (
                "/v1/accounts/a1/holds/ho_x/capture",
                "/v1/accounts/{account_id}/holds/{hold_id}/capture",
            ),
            (
                "/v1/jobs/J1/bids/a1/interactions",
                "/v1/jobs/{job_id}/bids/{account_id}/interactions",
            ),
            ("/v1/jobs/J1/bids", "/v1/jobs/{job_id}/bids"),
            ("/v1/promos/SPRING", "/v1/promos/{code}"),
            ("/v1/promos/SPRING/codes", "/v1/promos/{code}/codes"),
            ("/v1/jobs/J1/contracts", "/v1/jobs/{job_id}/contracts"),
            (
                "/v1/jobs/J1/proposals/a1/outcome",
                "/v1/jobs/{job_id}/proposals/{account_id}/outcome",
            ),
            (
                "/v1/accounts/a1/proposals/J1",
                "/v1/accounts/{account_id}/proposals/{job_id}",
            ),
            (
                "/v1/accounts/a1/purchases",
                "/v1/accounts/{account_id}/purchases",
            ),
            ("/v1/catalog", "/v1/catalog"),
        ] {
            assert_eq!(route(&request(&[], path).path()), expected);
        }
    }

    #[test]
    fn keys_are_required_optional_or_bad() {
        let long = "k".repeat(256);
        for (key, code) in [
            (None, Err("idempotency_key_required")),
            (Some(""), Err("idempotency_key_invalid")),
            (Some("two words"), Err("idempotency_key_invalid")),
            (Some(long.as_str()), Err("idempotency_key_invalid")),
            (Some("k-1"), Ok(())),
        ] {
            let headers: Vec<_> = key.map(|key| (IDEMPOTENCY_KEY, key)).into_iter().collect();
            let request = request(&headers, "/");
            let required = request.idempotency_key().map(|_| ()).map_err(|p| p.code());
            assert_eq!(required, code, "{key:?}");
            let optional = request.idempotency_key_if_any();
            assert_eq!(optional.is_ok(), key.is_none() || code.is_ok(), "{key:?}");
        }
    }

    #[test]
    fn csv_is_for_those_who_ask() {
        for (accept, csv) in [
            ("text/csv", true),
            ("application/json;q=0.5, text/CSV; charset=utf-8", true),
            ("*/*", false),
            ("application/json", false),
            ("text/csvx", false),
        ] {
            assert_eq!(
                request(&[("accept", accept)], "/").wants_csv(),
                csv,
                "{accept}"
            );
        }
        assert!(!request(&[], "/").wants_csv());
    }
}
