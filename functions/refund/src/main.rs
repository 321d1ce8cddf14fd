//! Refunds: Connects of a spend back to the lots they came from, by the backend or an operator. Also,
//! from the table's stream and for the rest on a schedule, whatever the closing of a job gives back.

use connects::domain::ids::{JobId, OperationId};
use connects::domain::refund::{RefundCommand, RefundOf};
use connects::domain::refusal::{Invalid, Refusal};
use connects::http::input::{Fields, both, connects, sized, text, word};
use connects::http::{self, Answer, App, Problem, Request, Run, Scope, Work};
use connects::ledger::{self, Report};

/// The longest text that is looked at as a spend's id.
const MAX_SPEND_ID: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let app = App::start().await?;
    let routes = async |request: &Request| route(&app, request).await;
    http::serve_and_run(app.clock, routes, async |run| returns(&app, run).await).await
}

async fn returns(app: &App, run: Run) -> Result<Report, String> {
    let report = match run.work {
        Work::Changed(changes) => {
            let closures = changes.iter().filter_map(|change| change.keys.closure());
            app.ledger.carry_out(&run.context, closures.collect()).await
        }
        Work::Due(until) => {
            let report = app.ledger.sweep_closures(&run.context, until).await;
            report.map_err(ledger::Error::from)
        }
        Work::Told(_) => return Err("this function reads no queue".to_owned()),
    };
    report.map_err(|error| error.to_string())
}

/// The routes of this function.
pub async fn route(app: &App, request: &Request) -> Result<Answer, Problem> {
    match (request.method(), &*request.path()) {
        ("POST", ["v1", "accounts", account, "refunds"]) => refund(app, request, account).await,
        _ => Err(Problem::not_found()),
    }
}

async fn refund(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let scopes = [Scope::Admin, Scope::Service];
    let account = app.account(request, &scopes, account).await?;
    let asked = both(request.idempotency_key(), request.body().and_then(command));
    let asked = asked.and_then(|(key, command)| {
        let command = command.ok_or(Refusal::SpendNotFound)?;
        Ok((key, command))
    });
    let (key, command) = app.input(&account, asked).await?;
    let refunded = app
        .ledger
        .refund(&request.context, &account, &key, &command)
        .await;
    Answer::of(201, refunded)
}

/// The command; none for a spend that can't exist because its id is none of ours.
pub fn command(mut body: Fields) -> Result<Option<RefundCommand>, Problem> {
    let spend_id = body.optional(
        "spend_id",
        sized(1..=MAX_SPEND_ID, |id| OperationId::try_new(id).ok()),
    );
    let job_id = body.optional("job_id", text(JobId::try_new));
    let amount = body.optional("amount", connects());
    let reason = body.required("reason", word());
    let of = match (spend_id, job_id) {
        (Some(Some(id)), Some(None)) => Some(id.map(RefundOf::SpendId)),
        (Some(None), Some(Some(id))) => Some(Some(RefundOf::JobId(id))),
        (Some(None), Some(None)) => {
            body.refuse(Invalid::field("spend_id", "this or job_id is required"));
            None
        }
        (Some(Some(_)), Some(Some(_))) => {
            body.refuse(Invalid::field("job_id", "can't go with spend_id"));
            None
        }
        _ => None,
    };
    body.finish(|| {
        let (of, amount, reason) = (of?, amount?, reason?);
        Some(of.map(|of| RefundCommand { of, amount, reason }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refund_is_of_a_spend_or_of_a_job() {
        let id = "sp_aaaaaaaaaaaaaaaaaaaaaaaaaa";
        for (body, told) in [
            (
                format!(r#"{{"spend_id":"{id}","reason":"goodwill"}}"#),
                "ok",
            ),
            (
                format!(r#"{{"spend_id":"{id}","amount":1,"reason":"correction"}}"#),
                "ok",
            ),
            (r#"{"job_id":"J1","reason":"goodwill"}"#.to_owned(), "ok"),
            (
                r#"{"spend_id":"elsewhere","reason":"goodwill"}"#.to_owned(),
                "no such spend",
            ),
            (
                r#"{"spend_id":"","reason":"goodwill"}"#.to_owned(),
                "invalid_field spend_id",
            ),
            (
                r#"{"reason":"goodwill"}"#.to_owned(),
                "invalid_field spend_id",
            ),
            (
                format!(r#"{{"spend_id":"{id}","job_id":"J1","reason":"goodwill"}}"#),
                "invalid_field job_id",
            ),
            (
                r#"{"job_id":"J 1","reason":"goodwill"}"#.to_owned(),
                "invalid_field job_id",
            ),
            (
                r#"{"job_id":"J1","reason":"fraud"}"#.to_owned(),
                "invalid_field reason",
            ),
            (
                r#"{"job_id":"J1","amount":0,"reason":"goodwill"}"#.to_owned(),
                "below_minimum amount",
            ),
            (
                r#"{"job_id":1,"reason":"fraud"}"#.to_owned(),
                "malformed_request",
            ),
        ] {
            let read = Fields::of_body(body.as_bytes()).and_then(command);
            let answer = match read {
                Ok(Some(_)) => "ok".to_owned(),
                Ok(None) => "no such spend".to_owned(),
                Err(problem) => {
                    let field = problem.member("field").and_then(|field| field.as_str());
                    field.map_or(problem.code().to_owned(), |f| {
                        format!("{} {f}", problem.code())
                    })
                }
            };
            assert_eq!(answer, told, "{body}");
        }
    }
}
