//! The events that invoke a function: API Gateway's HTTP request (payload version 2.0),
//! EventBridge's scheduled event, the changes that the table's stream tells, and messages of a queue,
//! each an event that was told on a bus. One binary may receive all of them.
//!
//! The gateway's forms are `lambda_http`'s; its conversion to an `http::Request` is not used. That
//! panics on a `Host` header that makes no URL, which any stranger can send, and its adapter takes
//! no other events beside requests.

use std::collections::HashMap;

use data_encoding::BASE64;
use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_http::http::{HeaderName, HeaderValue};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::answer::{Answer, SAFEGUARDS};
use crate::store::{Image, ItemKey};

/// What invoked the function.
#[derive(Debug)]
pub enum Event {
    /// A schedule.
    Scheduled(ScheduledEvent),
    /// Changes of the table.
    Changed(StreamEvent),
    /// What was told on a bus.
    Told(QueueEvent),
    /// A request.
    Http(Box<ApiGatewayV2httpRequest>),
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut event = Value::deserialize(deserializer)?;
        let read = if event.get("detail-type").is_some() {
            serde_json::from_value(event).map(Self::Scheduled)
        } else if event["Records"][0]["eventSource"] == QUEUE {
            serde_json::from_value(event).map(Self::Told)
        } else if event.get("Records").is_some() {
            serde_json::from_value(event).map(Self::Changed)
        } else {
            // The function verifies tokens itself: no form of the gateway's claims can stop it.
            if let Some(context) = event
                .get_mut("requestContext")
                .and_then(Value::as_object_mut)
            {
                context.remove("authorizer");
            }
            serde_json::from_value(event).map(Self::Http)
        };
        read.map_err(D::Error::custom)
    }
}

/// EventBridge's scheduled event.
#[derive(Debug, Deserialize)]
pub struct ScheduledEvent {
    /// When the schedule was to fire.
    #[serde(default)]
    pub time: Option<String>,
}

/// What the table's stream tells, as far as a function needs it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamEvent {
    records: Vec<StreamRecord>,
}

#[derive(Debug, Deserialize)]
struct StreamRecord {
    dynamodb: Change,
}

/// A change of an item.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Change {
    /// Its place in the stream.
    #[serde(default)]
    pub sequence_number: String,
    /// The item.
    pub keys: ItemKey,
    /// The item as it is after; none where it is gone, or the stream does not show it.
    #[serde(default)]
    pub new_image: Option<Image>,
}

impl StreamEvent {
    /// What changed, in order.
    pub fn changes(self) -> Vec<Change> {
        let change = |record: StreamRecord| record.dynamodb;
        self.records.into_iter().map(change).collect()
    }
}

/// What a queue of SQS calls itself.
const QUEUE: &str = "aws:sqs";

/// Messages of a queue that a rule of EventBridge fills.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueEvent {
    records: Vec<QueueRecord>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueueRecord {
    message_id: String,
    body: String,
}

/// An event that somebody told on a bus.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BusEvent {
    /// Who.
    pub source: String,
    /// What kind of event it is.
    pub detail_type: String,
    /// The event.
    pub detail: Value,
    /// When it happened.
    #[serde(default)]
    pub time: Option<String>,
}

/// A message of a queue.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// What it says; none where that is no event of a bus.
    pub told: Option<BusEvent>,
}

impl QueueEvent {
    /// The messages.
    pub fn messages(self) -> Vec<Message> {
        let message = |record: QueueRecord| Message {
            id: record.message_id,
            told: serde_json::from_str(&record.body).ok(),
        };
        self.records.into_iter().map(message).collect()
    }
}

/// The parts of a request, read but not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HashMap<String, String>,
    /// `None` when the event's own encoding of it is broken.
    pub body: Option<Vec<u8>>,
}

impl From<ApiGatewayV2httpRequest> for Parts {
    fn from(event: ApiGatewayV2httpRequest) -> Self {
        let text = event.body.unwrap_or_default();
        let raw_path = event.raw_path.unwrap_or_default();
        let stage = event
            .request_context
            .stage
            .filter(|stage| stage != "$default")
            .map(|stage| format!("/{stage}/"));
        // A named stage is part of the raw path but of no route.
        let path = stage
            .and_then(|prefix| Some(format!("/{}", raw_path.strip_prefix(&prefix)?)))
            .unwrap_or(raw_path);
        // What is no text stays recognisably bad, rather than seeming absent.
        let text_of = |(name, value): (&HeaderName, &HeaderValue)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        };
        Self {
            method: event.request_context.http.method.to_string(),
            path,
            query: event.raw_query_string.unwrap_or_default(),
            headers: event.headers.iter().map(text_of).collect(),
            body: if event.is_base64_encoded {
                BASE64.decode(text.as_bytes()).ok()
            } else {
                Some(text.into_bytes())
            },
        }
    }
}

/// API Gateway's form of the answer to the request of that id.
pub fn gateway_answer(answer: Answer, request_id: &str) -> ApiGatewayV2httpResponse {
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = answer.status.into();
    // Every value is one of ours: a content type, a cursor, an id of Lambda's.
    response.headers = answer
        .headers
        .iter()
        .chain(&SAFEGUARDS)
        .map(|(name, value)| (*name, value.as_ref()))
        .chain([("connects-request-id", request_id)])
        .filter_map(|(name, value)| {
            let name = HeaderName::from_static(name);
            Some((name, HeaderValue::from_str(value).ok()?))
        })
        .collect();
    response.body = Some(Body::Text(answer.body));
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn http(event: Value) -> Parts {
        match serde_json::from_value(event).unwrap() {
            Event::Http(event) => (*event).into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_gateway_event_becomes_a_request() {
        let parts = http(json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": "/v1/accounts/a1/spends",
            "rawQueryString": "x=1",
            "cookies": ["a=b"],
            "headers": { "Authorization": "Bearer t", "content-type": "application/json" },
            "requestContext": {
                "accountId": "anonymous",
                "authorizer": { "jwt": { "claims": { "accounts": ["a1"] }, "scopes": null } },
                "stage": "$default",
                "http": { "method": "POST", "path": "/v1/accounts/a1/spends" },
            },
            "body": "{\"amount\":1}",
            "isBase64Encoded": false,
        }));
        assert_eq!(parts.method, "POST");
        assert_eq!(parts.path, "/v1/accounts/a1/spends");
        assert_eq!(parts.query, "x=1");
        assert_eq!(parts.headers["authorization"], "Bearer t");
        assert_eq!(parts.body.as_deref(), Some(&br#"{"amount":1}"#[..]));
    }

    #[test]
    fn a_body_may_come_in_base64() {
        for (body, decoded) in [("e30=", Some(&b"{}"[..])), ("e30", None), ("!", None)] {
            let parts = http(json!({
                "rawPath": "/",
                "headers": {},
                "requestContext": { "http": { "method": "PUT" } },
                "body": body,
                "isBase64Encoded": true,
            }));
            assert_eq!(parts.body.as_deref(), decoded, "{body}");
        }
    }

    #[test]
    fn a_named_stage_is_no_part_of_the_path() {
        for (stage, raw, path) in [
            (json!("$default"), "/v1/catalog", "/v1/catalog"),
            (json!("prod"), "/prod/v1/catalog", "/v1/catalog"),
            (json!("prod"), "/production/v1", "/production/v1"),
            (Value::Null, "/v1/catalog", "/v1/catalog"),
        ] {
            let parts = http(json!({
                "rawPath": raw,
                "headers": {},
                "requestContext": { "stage": stage, "http": { "method": "GET" } },
                "isBase64Encoded": false,
            }));
            assert_eq!(parts.path, path);
            assert_eq!(parts.body, Some(vec![]));
        }
    }

    #[test]
    fn a_schedule_is_told_from_a_request() {
        let event = json!({
            "version": "0",
            "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": "123456789012",
            "time": "2027-01-01T00:00:00Z",
            "region": "eu-central-1",
            "resources": ["arn:aws:events:eu-central-1:123456789012:rule/nightly"],
            "detail": {},
        });
        let Event::Scheduled(event) = serde_json::from_value(event).unwrap() else {
            panic!("not a schedule");
        };
        assert_eq!(event.time.as_deref(), Some("2027-01-01T00:00:00Z"));
        assert!(serde_json::from_value::<Event>(json!({ "Records": [{}] })).is_err());
    }

    #[test]
    fn a_queues_messages_are_told_from_a_streams_changes() {
        let event = json!({
            "version": "0",
            "detail-type": "connects.low_balance",
            "source": "connects",
            "time": "2027-01-01T00:00:00Z",
            "detail": { "account_id": "a1", "seq": 42 },
        });
        let record = |id: &str, body: &str| json!({ "eventSource": "aws:sqs", "messageId": id, "body": body });
        let event = json!({ "Records": [record("m1", &event.to_string()), record("m2", "hello")] });
        let Event::Told(event) = serde_json::from_value(event).unwrap() else {
            panic!("not told");
        };
        let messages = event.messages();
        let told = messages[0].told.as_ref().unwrap();
        assert_eq!(told.source, "connects");
        assert_eq!(told.detail_type, "connects.low_balance");
        assert_eq!(told.time.as_deref(), Some("2027-01-01T00:00:00Z"));
        assert_eq!(told.detail["seq"], 42);
        assert_eq!(messages[1].id, "m2");
        assert!(messages[1].told.is_none());
    }

    #[test]
    fn an_answer_has_the_gateways_form_and_the_request_id() {
        let answer = Answer::json(201, &json!({ "spend_id": "sp_x" }))
            .unwrap()
            .replayed();
        let answer = serde_json::to_value(gateway_answer(answer, "r-1")).unwrap();
        let expected = json!({
            "statusCode": 201,
            "headers": {
                "content-type": "application/json",
                "idempotency-replayed": "true",
                "cache-control": "no-store",
                "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
                "referrer-policy": "no-referrer",
                "strict-transport-security": "max-age=31536000",
                "x-content-type-options": "nosniff",
                "connects-request-id": "r-1",
            },
            "multiValueHeaders": {},
            "body": "{\"spend_id\":\"sp_x\"}",
            "isBase64Encoded": false,
            "cookies": [],
        });
        assert_eq!(answer, expected);
    }
}
