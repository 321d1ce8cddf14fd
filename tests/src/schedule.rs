//! Fires schedules and hands on events, as EventBridge would.

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::stack::{Stack, instant};

/// A sweep is for the whole table: a test that fires one must be the only one that does, or
/// another's sweep would carry its accounts into a later time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Waits for a turn at the schedules; it ends when the guard is dropped.
pub async fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

impl Stack {
    /// Runs a schedule's function with that event time; the answer is its report.
    pub async fn fire(&self, function: &str, at: &str) -> Value {
        let event = json!({
            "version": "0",
            "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": "123456789012",
            "time": instant(at),
            "region": "us-east-1",
            "resources": [format!("arn:aws:events:us-east-1:123456789012:rule/{function}")],
            "detail": {},
        });
        let answer = self.invoked(function, &event).await;
        answer.unwrap_or_else(|text| panic!("{function} at {at}: {text}"))
    }

    /// Hands a function one of this system's own events, as the queue of a rule would; the answer is its report.
    ///
    /// # Errors
    /// What it says where it fails.
    pub async fn tell(
        &self,
        function: &str,
        kind: &str,
        detail: Value,
        at: &str,
    ) -> Result<Value, String> {
        let event = json!({
            "version": "0",
            "id": "0d079340-135a-c8c6-95c2-41fb8f496c53",
            "detail-type": kind,
            "source": "connects",
            "account": "123456789012",
            "time": instant(at),
            "region": "us-east-1",
            "resources": [],
            "detail": detail,
        });
        let message = json!({
            "messageId": "19dd0b57-b21e-4ac1-bd88-01bbb068cb78",
            "eventSource": "aws:sqs",
            "body": event.to_string(),
        });
        self.invoked(function, &json!({ "Records": [message] }))
            .await
    }

    async fn invoked(&self, function: &str, event: &Value) -> Result<Value, String> {
        let url = format!(
            "{}/2015-03-31/functions/{function}/invocations",
            self.runtime_url
        );
        let response = self
            .web
            .post(url)
            .json(event)
            .send()
            .await
            .unwrap_or_else(|e| panic!("{function}: {e:?}"));
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let report: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
        let failed = !status.is_success()
            || headers.contains_key("x-amz-function-error")
            || report.get("errorType").is_some();
        match failed {
            true => Err(text),
            false => Ok(report),
        }
    }
}
