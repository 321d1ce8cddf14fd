//! Proposals: submitted and withdrawn by holders or the backend, decided by the backend.

use connects::domain::ids::{AccountId, JobId};
use connects::domain::proposal::{Decision, FreeReason, ProposeCommand};
use connects::domain::refusal::Refusal;
use connects::domain::units::Connects;
use connects::http::input::{
    Fields, MAX_CONNECTS, both, connects, input, integer, one_of, text, word,
};
use connects::http::{Answer, App, Problem, Request, Scope};

const HOLDERS: &[Scope] = &[Scope::User, Scope::Service];

/// `POST …/proposals`
pub async fn submit(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let caller = app.caller(request).await?;
    let account = caller.may(HOLDERS, account)?;
    let may_claim = caller.holds(&[Scope::Service]).is_ok();
    let asked = both(
        request.idempotency_key_if_any(),
        request.body().and_then(|body| command(body, may_claim)),
    );
    let (key, command) = app.input(&account, asked).await?;
    let ledger = &app.ledger;
    let submitted = ledger.propose(&request.context, &account, key.as_ref(), &command);
    Answer::of(201, submitted.await)
}

/// `GET …/proposals/{job_id}`
pub async fn get(
    app: &App,
    request: &Request,
    account: &str,
    job: &str,
) -> Result<Answer, Problem> {
    let account = app.account(request, HOLDERS, account).await?;
    let job = app.input(&account, known(job)).await?;
    let ledger = &app.ledger;
    let proposal = ledger.proposal(&request.context, &account, &job).await?;
    request.nothing()?;
    Answer::json(200, &proposal)
}

/// `DELETE …/proposals/{job_id}`
pub async fn withdraw(
    app: &App,
    request: &Request,
    account: &str,
    job: &str,
) -> Result<Answer, Problem> {
    let account = app.account(request, HOLDERS, account).await?;
    let job = app.input(&account, known(job)).await?;
    asked_of(app, &account, &job, request.nothing()).await?;
    let ledger = &app.ledger;
    let withdrawn = ledger.withdraw(&request.context, &account, &job).await?;
    Answer::json(200, &withdrawn)
}

/// `PUT /v1/jobs/{job_id}/proposals/{account_id}/outcome`
pub async fn decide(
    app: &App,
    request: &Request,
    account: &str,
    job: &str,
) -> Result<Answer, Problem> {
    let account = app.account(request, &[Scope::Service], account).await?;
    let job = app.input(&account, known(job)).await?;
    let outcome = request.body().and_then(outcome);
    let outcome = asked_of(app, &account, &job, outcome).await?;
    let ledger = &app.ledger;
    let decided = ledger
        .decide(&request.context, &account, &job, outcome)
        .await?;
    Answer::json(200, &decided)
}

/// The id, if it can be a job's.
fn known(job: &str) -> Result<JobId, Problem> {
    JobId::try_new(job).map_err(|_| Refusal::ProposalNotFound.into())
}

/// What was read of a request, or what is wrong with it if account and proposal exist.
async fn asked_of<T>(
    app: &App,
    account: &AccountId,
    job: &JobId,
    read: Result<T, Problem>,
) -> Result<T, Problem> {
    let exists = app.ledger.proposal_exists(account, job);
    let read = input(read, exists, Refusal::ProposalNotFound).await;
    app.input(account, read).await
}

/// The body of a proposal; only some may claim that it is free.
pub fn command(mut body: Fields, may_claim: bool) -> Result<ProposeCommand, Problem> {
    if !may_claim {
        body.forbid("free_reason");
    }
    let job_id = body.required("job_id", text(JobId::try_new));
    let expected_cost = body.required("expected_cost", integer(0..=MAX_CONNECTS));
    let free_reason = body.optional(
        "free_reason",
        one_of(&FreeReason::CLAIMS, FreeReason::claimed),
    );
    let boost = body.optional("boost", connects());
    body.finish(|| {
        Some(ProposeCommand {
            job_id: job_id?,
            expected_cost: Connects::new(expected_cost?.unsigned_abs()),
            free_reason: free_reason?,
            boost: boost?,
        })
    })
}

/// The body of a decision.
pub fn outcome(mut body: Fields) -> Result<Decision, Problem> {
    let outcome = body.required("outcome", word());
    body.finish(|| outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_claim_what() {
        let free = r#"{"job_id":"J1","expected_cost":0,"free_reason":"invited"}"#;
        for (body, may_claim, code, field) in [
            (r#"{"job_id":"J1","expected_cost":0}"#, false, "ok", None),
            (
                r#"{"job_id":"J1","expected_cost":1000000}"#,
                false,
                "ok",
                None,
            ),
            (free, true, "ok", None),
            (free, false, "forbidden", None),
            (
                r#"{"job_id":"J1","expected_cost":0,"free_reason":"zero_cost_job"}"#,
                true,
                "invalid_field",
                Some("free_reason"),
            ),
            (
                r#"{"job_id":"J1","expected_cost":8,"boost":5}"#,
                false,
                "ok",
                None,
            ),
            (
                r#"{"job_id":"J1","expected_cost":8,"boost":0}"#,
                true,
                "below_minimum",
                Some("boost"),
            ),
            (
                r#"{"job_id":"J1","expected_cost":8,"boost":"5"}"#,
                true,
                "malformed_request",
                None,
            ),
            (
                r#"{"job_id":"J1","expected_cost":-1}"#,
                true,
                "below_minimum",
                Some("expected_cost"),
            ),
            (
                r#"{"expected_cost":8}"#,
                true,
                "invalid_field",
                Some("job_id"),
            ),
        ] {
            let read = Fields::of_body(body.as_bytes());
            let told = match read.and_then(|body| command(body, may_claim)) {
                Ok(_) => ("ok", None),
                Err(problem) => {
                    let field = problem.member("field").and_then(|field| field.as_str());
                    (problem.code(), field.map(str::to_owned))
                }
            };
            assert_eq!(told, (code, field.map(str::to_owned)), "{body}");
        }
    }
}
