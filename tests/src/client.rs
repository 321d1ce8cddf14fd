//! One request and its answer.

use std::fmt::Display;
use std::future::{Future, IntoFuture};
use std::ops::Index;
use std::pin::Pin;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::contract::Contract;
use crate::stack::{Stack, instant};

/// A request that can be changed, sent, and sent again.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Request<'a> {
    stack: &'a Stack,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    about: String,
}

impl<'a> Request<'a> {
    pub(crate) fn new(stack: &'a Stack, method: Method, path: String) -> Self {
        Self {
            stack,
            method,
            path,
            headers: HeaderMap::new(),
            body: None,
            about: String::new(),
        }
    }

    /// Replaces or adds a header, whatever its bytes.
    pub fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        let value = HeaderValue::from_bytes(value.as_ref()).expect("bytes that a header may hold");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Leaves a header out.
    pub fn without(mut self, name: &'static str) -> Self {
        self.headers.remove(name);
        self
    }

    /// The bearer's token.
    pub fn token(self, token: impl AsRef<str>) -> Self {
        self.header("authorization", format!("Bearer {}", token.as_ref()))
    }

    /// The time of the ledger's clock; a day alone means its noon.
    pub fn at(self, now: &str) -> Self {
        self.header("connects-now", instant(now))
    }

    /// The `Idempotency-Key`.
    pub fn key(self, key: impl AsRef<[u8]>) -> Self {
        self.header("idempotency-key", key)
    }

    /// A JSON body.
    pub fn json(self, body: Value) -> Self {
        self.raw(body.to_string())
    }

    /// A body that calls itself JSON.
    pub fn raw(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", "application/json")
    }

    /// Says in words what this request is, for when its answer is not what it should be.
    pub fn about(mut self, words: impl Display) -> Self {
        self.about = format!("{words}: {}", self.about);
        self
    }

    /// Sends it and waits so long; `None` when nothing came back.
    pub async fn within(self, patience: Duration) -> Option<Answer> {
        let sent = tokio::time::timeout(patience, self.attempt()).await;
        sent.ok()?.ok()
    }

    async fn send(self) -> Answer {
        let answer = self.attempt().await;
        answer.unwrap_or_else(|why| panic!("{why}"))
    }

    async fn attempt(self) -> Result<Answer, String> {
        let what = format!("{}{} {}", self.about, self.method, self.path);
        let why = |e: reqwest::Error| format!("{what}: {e:?}");
        let route = (self.method.to_string(), self.path.clone());
        let mut request = self
            .stack
            .web
            .request(self.method, format!("{}{}", self.stack.url, self.path))
            .headers(self.headers);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await.map_err(why)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.map_err(why)?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let content_type = headers
            .get("content-type")
            .and_then(|kind| kind.to_str().ok());
        let objection = Contract::get().objection(
            (&route.0, &route.1),
            status,
            content_type.unwrap_or_default(),
            &body,
        );
        if let Some(objection) = objection {
            panic!("{what}: not as the contract says: {objection}: {text}");
        }
        Ok(Answer {
            what,
            status,
            headers,
            text,
            body,
        })
    }
}

impl<'a> IntoFuture for Request<'a> {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    what: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON, `Null` when it is none.
    pub body: Value,
}

impl Answer {
    /// Asserts the status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text);
        self
    }

    /// Asserts a problem document of that status and code, in the form of RFC 9457.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let Self { what, text, .. } = &self;
        assert_eq!(
            (self.status, self.body["code"].as_str()),
            (status, Some(code)),
            "{what}: {text}"
        );
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{what}"
        );
        assert_eq!(self["type"], format!("/problems/{code}"), "{what}: {text}");
        assert_eq!(self["status"], status, "{what}: {text}");
        for member in ["title", "detail"] {
            let words = self[member].as_str().unwrap_or_default();
            assert!(!words.is_empty(), "{what}: no {member} in {text}");
        }
        self
    }

    /// Asserts a member.
    #[track_caller]
    pub fn has(self, member: &str, value: impl Into<Value>) -> Self {
        assert_eq!(
            self.body[member],
            value.into(),
            "{}: {}",
            self.what,
            self.text
        );
        self
    }

    /// Asserts `balance {available, held, debt}`, nothing held.
    #[track_caller]
    pub fn balance(self, available: i64, debt: i64) -> Self {
        let balance = serde_json::json!({ "available": available, "held": 0, "debt": debt });
        self.has("balance", balance)
    }

    /// A member that is text.
    #[track_caller]
    pub fn text(&self, member: &str) -> String {
        self.body[member]
            .as_str()
            .unwrap_or_else(|| panic!("{}: no text {member} in {}", self.what, self.text))
            .to_owned()
    }

    /// A member that is a number.
    #[track_caller]
    pub fn int(&self, member: &str) -> i64 {
        self.body[member]
            .as_i64()
            .unwrap_or_else(|| panic!("{}: no number {member} in {}", self.what, self.text))
    }

    /// A header, when it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether this is the stored answer of an earlier request.
    pub fn replayed(&self) -> bool {
        self.header("idempotency-replayed") == Some("true")
    }
}

impl Index<&str> for Answer {
    type Output = Value;

    fn index(&self, member: &str) -> &Value {
        &self.body[member]
    }
}
