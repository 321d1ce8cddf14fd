//! A stand-in for EventBridge: fires schedules by hand and at their rate.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::emulator::REGION;
use crate::environment;
use crate::failure::{Doing, Failure, Result};

/// The event that EventBridge sends to a function at that time.
fn event(function: &str, at: DateTime<Utc>) -> Value {
    json!({
        "version": "0",
        "id": format!("{function}-{}", at.timestamp_millis()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": at.to_rfc3339_opts(SecondsFormat::Secs, true),
        "region": REGION,
        "resources": [format!("arn:aws:events:{REGION}:000000000000:rule/{function}")],
        "detail": {},
    })
}

/// Runs a schedule's function; its report.
pub async fn fire(
    http: &reqwest::Client,
    runtime_url: &str,
    function: &str,
    at: DateTime<Utc>,
) -> Result<Value> {
    invoke(http, runtime_url, function, &event(function, at)).await
}

/// Invokes a function with an event; its report.
pub async fn invoke(
    http: &reqwest::Client,
    runtime_url: &str,
    function: &str,
    event: &Value,
) -> Result<Value> {
    let url = format!("{runtime_url}/2015-03-31/functions/{function}/invocations");
    let answer = http.post(url).json(event).send().await.doing(function)?;
    let status = answer.status();
    let text = answer.text().await.doing(function)?;
    let failed = || Failure::new(format!("{function} failed: {text}"));
    if !status.is_success() {
        return Err(failed());
    }
    let report: Value = serde_json::from_str(&text).map_err(|_| failed())?;
    // Lambda answers 200 to an invocation whose function failed; the body tells.
    if report.get("errorType").is_some() || report.get("errorMessage").is_some() {
        return Err(failed());
    }
    Ok(report)
}

/// Fires every schedule at its rate, the first time one interval from now.
pub fn keep_firing(
    http: &reqwest::Client,
    runtime_url: &str,
    schedules: &BTreeMap<String, Duration>,
    tasks: &mut JoinSet<()>,
) {
    for (function, every) in schedules {
        let (http, runtime_url) = (http.clone(), runtime_url.to_owned());
        let (function, every) = (function.clone(), *every);
        tasks.spawn(async move {
            let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                match fire(&http, &runtime_url, &function, environment::now()).await {
                    Ok(report) => eprintln!("{function}: {report}"),
                    Err(e) => eprintln!("{e}"),
                }
            }
        });
    }
}
