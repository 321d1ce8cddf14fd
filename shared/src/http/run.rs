//! Functions on the Lambda runtime.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_runtime::{Diagnostic, LambdaEvent, Runtime, service_fn};
use serde::Serialize;
use tokio::time::Instant;
use tracing::Instrument;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::answer::Answer;
use super::event::{Change, Event, Message, Parts, gateway_answer};
use super::problem::Problem;
use super::request::{Request, route};
use crate::clock::Clock;
use crate::config::LogConfig;
use crate::domain::time::Time;
use crate::ledger::{Context, Fault};

/// A request is answered within this, whatever the gateway says.
const REQUEST_BUDGET: Duration = Duration::from_secs(8);

/// Kept back from a request's Lambda deadline, to answer in.
const REQUEST_RESERVE: Duration = Duration::from_millis(500);

/// A scheduled run lasts at most this long: Lambda's 15 minutes, less one.
const RUN_BUDGET: Duration = Duration::from_secs(14 * 60);

/// Kept back from a run's Lambda deadline, to report in.
const RUN_RESERVE: Duration = Duration::from_secs(10);

/// What a function that only serves requests says to anything else.
const ONLY_REQUESTS: &str = "this function only serves requests";

/// What a function that works on a schedule says to a stream.
const ONLY_SCHEDULED: &str = "this function reads no stream and no queue";

/// The header by which tests set the time.
const TEST_TIME: &str = "connects-now";

/// A run that nobody waits for.
#[derive(Debug, Clone)]
pub struct Run {
    /// Now, and until when the run may last.
    pub context: Context,
    /// What it is to do.
    pub work: Work,
}

/// What a run is to do.
#[derive(Debug, Clone)]
pub enum Work {
    /// A schedule: whatever is due at this instant or before.
    Due(Time),
    /// The table's stream: whatever these changes of items ask for, in order.
    Changed(Vec<Change>),
    /// A queue: whatever these messages ask for.
    Told(Vec<Message>),
}

/// Writes logs as JSON lines, filtered as configured.
///
/// # Errors
/// When the filter can't be read or logs are set up already.
pub fn init_logs(config: &LogConfig) -> Result<(), lambda_runtime::Error> {
    let filter: Targets = config.filter.parse()?;
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false);
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .try_init()?;
    Ok(())
}

/// Runs a function that serves requests.
///
/// # Errors
/// When the runtime can't be reached.
pub async fn serve(
    clock: Clock,
    handler: impl AsyncFn(&Request) -> Result<Answer, Problem>,
) -> Result<(), lambda_runtime::Error> {
    serve_and_run(clock, handler, async |_| Err::<(), _>(ONLY_REQUESTS)).await
}

/// Runs a function that works on a schedule, up to the instant that it is given.
///
/// # Errors
/// When the runtime can't be reached.
pub async fn run<R: Serialize>(
    clock: Clock,
    job: impl AsyncFn(Context, Time) -> Result<R, Fault>,
) -> Result<(), lambda_runtime::Error> {
    serve_and_sweep(clock, async |_| Err(Problem::not_found()), job).await
}

/// Runs a function that serves requests and also works on a schedule.
///
/// # Errors
/// When the runtime can't be reached.
pub async fn serve_and_sweep<R: Serialize>(
    clock: Clock,
    handler: impl AsyncFn(&Request) -> Result<Answer, Problem>,
    job: impl AsyncFn(Context, Time) -> Result<R, Fault>,
) -> Result<(), lambda_runtime::Error> {
    serve_and_run(clock, handler, async |run| match run.work {
        Work::Due(until) => job(run.context, until)
            .await
            .map_err(|fault| fault.to_string()),
        Work::Changed(_) | Work::Told(_) => Err(ONLY_SCHEDULED.to_owned()),
    })
    .await
}

/// Runs a function that serves requests and also does work that nobody waits for.
///
/// # Errors
/// When the runtime can't be reached.
pub async fn serve_and_run<R: Serialize, E: Display>(
    clock: Clock,
    handler: impl AsyncFn(&Request) -> Result<Answer, Problem>,
    job: impl AsyncFn(Run) -> Result<R, E>,
) -> Result<(), lambda_runtime::Error> {
    let (handler, job) = (&handler, &job);
    let service = service_fn(move |event| invoked(clock, handler, job, event));
    Runtime::new(service).run().await
}

/// One invocation: a request goes to `handler`, anything else to `job`.
///
/// # Errors
/// When a run fails; a request is always answered.
pub async fn invoked<R: Serialize, E: Display>(
    clock: Clock,
    handler: &impl AsyncFn(&Request) -> Result<Answer, Problem>,
    job: &impl AsyncFn(Run) -> Result<R, E>,
    event: LambdaEvent<Event>,
) -> Result<Reply<R>, Diagnostic> {
    let id = event.context.request_id;
    let deadline_ms = event.context.deadline;
    let span = tracing::info_span!("invocation", request_id = %id);
    let reply = async {
        match event.payload {
            Event::Http(event) => {
                let answer = answer(clock, handler, *event, deadline_ms).await;
                Ok(Reply::Answer(Box::new(gateway_answer(answer, &id))))
            }
            Event::Scheduled(event) => {
                let schedule = clock
                    .scheduled(event.time.as_deref())
                    .map_err(|error| Diagnostic::from(format!("the event's time is {error}")))?;
                let work = Work::Due(schedule.due);
                let report = report(clock, job, schedule.now, work, deadline_ms);
                report.await.map(Reply::Report)
            }
            Event::Changed(event) => {
                let work = Work::Changed(event.changes());
                let report = report(clock, job, clock.real(), work, deadline_ms);
                report.await.map(Reply::Report)
            }
            Event::Told(event) => {
                let messages = event.messages();
                let told = messages.first().and_then(|message| message.told.as_ref());
                let time = told.and_then(|told| told.time.as_deref());
                let now = clock
                    .scheduled(time)
                    .map_err(|error| Diagnostic::from(format!("the event's time is {error}")))?
                    .now;
                let report = report(clock, job, now, Work::Told(messages), deadline_ms);
                report.await.map(Reply::Report)
            }
        }
    };
    reply.instrument(span).await
}

/// What goes back to Lambda.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Reply<R> {
    /// To a request.
    Answer(Box<ApiGatewayV2httpResponse>),
    /// Of a run.
    Report(R),
}

async fn answer(
    clock: Clock,
    handler: &impl AsyncFn(&Request) -> Result<Answer, Problem>,
    event: ApiGatewayV2httpRequest,
    deadline_ms: u64,
) -> Answer {
    let received_at = clock.real();
    let started = Instant::now();
    let budget = budget(deadline_ms, received_at, REQUEST_RESERVE, REQUEST_BUDGET);
    let parts = Parts::from(event);
    let now = clock
        .now(parts.headers.get(TEST_TIME).map(String::as_str))
        .map_err(|error| Problem::malformed(format!("Connects-Now is {error}")));
    let context = Context {
        now: now.as_ref().copied().unwrap_or(received_at),
        deadline: started + budget,
    };
    let request = Request::new(parts, context, received_at);
    let answered = match now {
        // Boxed, like the job below: a whole function as one nested type is more than the compiler
        // cares to lay out.
        Ok(_) => caught(Box::pin(handler(&request))).await,
        Err(problem) => Err(problem),
    };
    let answer = answered.unwrap_or_else(Answer::from);
    tracing::info!(
        method = request.method(),
        route = route(&request.path()),
        status = answer.status,
        outcome = answer.outcome,
        ms = millis(started.elapsed()),
        "request"
    );
    answer
}

async fn report<R: Serialize, E: Display>(
    clock: Clock,
    job: &impl AsyncFn(Run) -> Result<R, E>,
    now: Time,
    work: Work,
    deadline_ms: u64,
) -> Result<R, Diagnostic> {
    let started = Instant::now();
    let budget = budget(deadline_ms, clock.real(), RUN_RESERVE, RUN_BUDGET);
    let run = Run {
        context: Context {
            now,
            deadline: started + budget,
        },
        work,
    };
    let report = Box::pin(job(run)).await.map_err(|fault| {
        tracing::error!(cause = %fault, ms = millis(started.elapsed()), "run failed");
        Diagnostic::from(fault.to_string())
    })?;
    let told = serde_json::to_string(&report).unwrap_or_default();
    tracing::info!(report = told, ms = millis(started.elapsed()), "run");
    Ok(report)
}

/// A panic is a fault of ours and answered as one. (Release builds abort instead: the gateway
/// answers 500 and the next request starts afresh.)
async fn caught(handler: impl Future<Output = Result<Answer, Problem>>) -> Result<Answer, Problem> {
    AssertUnwindSafe(handler)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(Problem::internal(&"a handler panicked")))
}

/// What is left of a Lambda deadline, less a reserve. A deadline that is past or unlikely far is
/// a stand-in's and counts as `most`.
fn budget(deadline_ms: u64, now: Time, reserve: Duration, most: Duration) -> Duration {
    let now_ms = u64::try_from(now.timestamp_millis()).unwrap_or_default();
    Duration::from_millis(deadline_ms.saturating_sub(now_ms))
        .checked_sub(reserve)
        .filter(|left| !left.is_zero() && *left <= most)
        .unwrap_or(most)
}

fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::ClockConfig;
    use crate::domain::time;

    fn clock() -> Clock {
        Clock::new(&ClockConfig {
            local: false,
            in_aws: false,
        })
        .unwrap()
    }

    fn get(path: &str) -> ApiGatewayV2httpRequest {
        let event = json!({
            "rawPath": path,
            "headers": {},
            "requestContext": { "http": { "method": "GET" } },
            "isBase64Encoded": false,
        });
        serde_json::from_value(event).unwrap()
    }

    type Told = Result<serde_json::Value, Diagnostic>;

    async fn told(
        job: impl AsyncFn(Run) -> Result<serde_json::Value, String>,
        event: Value,
    ) -> Told {
        let handler = async |_: &Request| Err(Problem::not_found());
        let event = LambdaEvent::new(serde_json::from_value(event).unwrap(), Default::default());
        let reply = invoked(clock(), &handler, &job, event).await?;
        Ok(serde_json::to_value(reply).unwrap())
    }

    #[test]
    fn a_deadline_is_believed_when_it_is_likely() {
        let now = time::parse("2026-01-01T00:00:00Z").unwrap();
        let now_ms = u64::try_from(now.timestamp_millis()).unwrap();
        for (deadline, expected_ms) in [
            (now_ms + 5_000, 4_500),
            (now_ms + 8_500, 8_000),
            (now_ms + 8_501, 8_000),
            (now_ms + 900_000, 8_000),
            (now_ms + 501, 1),
            (now_ms + 500, 8_000),
            (now_ms, 8_000),
            (0, 8_000),
        ] {
            let left = budget(deadline, now, REQUEST_RESERVE, REQUEST_BUDGET);
            assert_eq!(left, Duration::from_millis(expected_ms), "{deadline}");
        }
        assert_eq!(
            budget(now_ms + 60_000, now, RUN_RESERVE, RUN_BUDGET).as_secs(),
            50
        );
        assert_eq!(budget(0, now, RUN_RESERVE, RUN_BUDGET), RUN_BUDGET);
    }

    #[tokio::test]
    async fn a_handlers_answer_and_problem_become_answers() {
        let handler = async |request: &Request| match &*request.path() {
            ["v1", "catalog"] => Answer::json(200, &json!({})),
            ["v1", "panic"] => panic!("on purpose"),
            _ => Err(Problem::not_found()),
        };
        for (path, status, outcome) in [
            ("/v1/catalog", 200, "ok"),
            ("/v1/elsewhere", 404, "not_found"),
            ("/v1/panic", 500, "internal"),
        ] {
            let answer = answer(clock(), &handler, get(path), 0).await;
            assert_eq!((answer.status, answer.outcome), (status, outcome), "{path}");
        }
    }

    #[tokio::test]
    async fn a_run_reports() {
        let job = async |run: Run| match run.work {
            Work::Due(until) => Ok(json!({ "due": time::text(until) })),
            Work::Changed(changes) => {
                Ok(json!({ "closures": format!("{:?}", changes[0].keys.closure()) }))
            }
            Work::Told(messages) => {
                let told = messages[0].told.as_ref().unwrap();
                Ok(json!({ "told": told.detail_type, "detail": told.detail }))
            }
        };
        let scheduled = |time| json!({ "detail-type": "Scheduled Event", "time": time });
        let at = "2020-02-02T00:00:00Z";
        let done = told(job, scheduled(at)).await;
        assert_eq!(done.unwrap(), json!({ "due": "2020-02-02T00:00:00.000Z" }));
        assert!(told(job, scheduled("soon")).await.is_err());
        let failing = async |_: Run| Err("the table is gone".to_owned());
        assert!(told(failing, scheduled(at)).await.is_err());

        let keys = json!({ "pk": { "S": "JOB#J1" }, "sk": { "S": "CLOSURE#fraud" } });
        let changed =
            json!({ "Records": [{ "eventName": "INSERT", "dynamodb": { "Keys": keys } }] });
        let closure = "Some((JobId(\"J1\"), Fraud))";
        let done = told(job, changed).await;
        assert_eq!(done.unwrap(), json!({ "closures": closure }));

        let event = json!({ "source": "connects", "detail-type": "connects.x", "detail": 7 });
        let queued =
            json!({ "messageId": "1", "eventSource": "aws:sqs", "body": event.to_string() });
        let done = told(job, json!({ "Records": [queued] })).await;
        assert_eq!(done.unwrap(), json!({ "told": "connects.x", "detail": 7 }));
    }
}
