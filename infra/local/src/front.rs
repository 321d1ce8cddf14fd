//! What API Gateway does for browsers: a page of an allowed origin may call the API, no other may.
//!
//! `cargo lambda watch` would let in every page or none, so where origins are named this stands
//! before it: preflights are answered here, without a token and without waking a function; every
//! other answer gets its headers, those of the template's `CorsConfiguration`. The functions know
//! nothing of it, here or in AWS.
//!
//! Bodies over 10 MB are turned away, as API Gateway does; the functions refuse those over 64 KiB.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::failure::{Doing, Failure, Result};

/// API Gateway's own limit.
const MAX_BODY: usize = 10 * 1024 * 1024;

/// What a page of an allowed origin may do: OpenAPI's names, as in the template.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// The methods it may use.
    pub allow_methods: Vec<String>,
    /// The headers it may send.
    pub allow_headers: Vec<String>,
    /// The headers it may read.
    pub expose_headers: Vec<String>,
    /// The seconds for which the browser may remember that.
    pub max_age: u32,
}

/// Scheme, host and port of a page: what a browser sends as `Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(HeaderValue);

impl std::str::FromStr for Origin {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let why = || format!("{text} is no origin, such as http://localhost:5173");
        let host = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"))
            .doing(why())?;
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:".contains(&b);
        match !host.is_empty() && host.bytes().all(known) {
            true => Ok(Self(HeaderValue::from_str(text).doing(why())?)),
            false => Err(Failure::new(why())),
        }
    }
}

struct Front {
    http: reqwest::Client,
    behind: String,
    origins: Vec<Origin>,
    cors: Cors,
}

/// Serves the gateway at `behind` to browsers, for ever, and before it the `pages` of the stack itself.
pub async fn serve(
    listener: TcpListener,
    http: reqwest::Client,
    behind: String,
    (origins, cors): (Vec<Origin>, Cors),
    pages: Router,
) {
    let front = Arc::new(Front {
        http,
        behind,
        origins,
        cors,
    });
    let router = pages.merge(Router::new().fallback(answer).with_state(front));
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("the browsers' gateway: {error}");
    }
}

async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response {
    let headers = request.headers();
    let origin = headers.get(ORIGIN);
    let origin = origin.filter(|origin| front.origins.iter().any(|known| known.0 == *origin));
    let origin = origin.cloned();
    let asks = headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let is_preflight = request.method() == Method::OPTIONS && asks;
    let mut answer = match is_preflight {
        true => StatusCode::NO_CONTENT.into_response(),
        false => front.forwarded(request).await,
    };
    answer
        .headers_mut()
        .append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        answer
            .headers_mut()
            .extend(front.cors.headers(origin, is_preflight));
    }
    answer
}

impl Cors {
    fn headers(&self, origin: HeaderValue, is_preflight: bool) -> HeaderMap {
        let list = |values: &[String]| values.join(",");
        let further = match is_preflight {
            true => vec![
                (ACCESS_CONTROL_ALLOW_METHODS, list(&self.allow_methods)),
                (ACCESS_CONTROL_ALLOW_HEADERS, list(&self.allow_headers)),
                (ACCESS_CONTROL_MAX_AGE, self.max_age.to_string()),
            ],
            false => vec![(ACCESS_CONTROL_EXPOSE_HEADERS, list(&self.expose_headers))],
        };
        let read = |(name, value): (HeaderName, String)| Some((name, value.parse().ok()?));
        further
            .into_iter()
            .filter_map(read)
            .chain([(ACCESS_CONTROL_ALLOW_ORIGIN, origin)])
            .collect()
    }
}

impl Front {
    /// The same request, asked of the gateway.
    async fn forwarded(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, MAX_BODY).await else {
            return told(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        };
        let target = parts.uri.path_and_query();
        let target = target.map_or("/", |target| target.as_str());
        let asked = self
            .http
            .request(parts.method, format!("{}{target}", self.behind))
            .headers(of_the_message(parts.headers))
            .body(body);
        let answered = async {
            let answer = asked.send().await?;
            let (status, headers) = (answer.status(), of_the_message(answer.headers().clone()));
            let body = Body::from(answer.bytes().await?);
            Ok::<_, reqwest::Error>((status, headers, body).into_response())
        };
        let answered = answered.await;
        answered.unwrap_or_else(|_| told(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"))
    }
}

/// Without what belongs to one connection.
fn of_the_message(mut headers: HeaderMap) -> HeaderMap {
    for name in [CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}

/// An answer of the gateway's own, in its form.
fn told(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({ "message": message }).to_string();
    (status, [("content-type", "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for (text, is_one) in [
            ("http://localhost:5173", true),
            ("https://app.example.com", true),
            ("*", false),
            ("null", false),
            ("https://", false),
            ("https://*.example.com", false),
            ("https://app.example.com/", false),
            ("https://App.example.com", false),
            ("app.example.com", false),
        ] {
            assert_eq!(text.parse::<Origin>().is_ok(), is_one, "{text}");
        }
    }
}
