//! Fires schedules, as EventBridge would.

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
        let url = format!(
            "{}/2015-03-31/functions/{function}/invocations",
            self.runtime_url
        );
        let response = self
            .web
            .post(url)
            .json(&event)
            .send()
            .await
            .unwrap_or_else(|e| panic!("{function}: {e:?}"));
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        assert!(
            status.is_success() && !headers.contains_key("x-amz-function-error"),
            "{function} at {at}: {status} {text}"
        );
        let report: Value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{function}'s report is not JSON: {e}: {text}"));
        assert!(
            report.get("errorType").is_none(),
            "{function} at {at}: {text}"
        );
        report
    }
}
