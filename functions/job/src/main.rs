//! Jobs: posted and repriced by the backend, which also tells of contracts and closes them; read by
//! anybody.

use connects::domain::closure::ClosureReason;
use connects::domain::ids::{AccountId, JobId};
use connects::domain::job::{Details, PostJob, Pricing};
use connects::domain::refusal::{Invalid, Refusal};
use connects::domain::units::Connects;
use connects::http::input::{
    Fields, MAX_CONNECTS, both, input, instant, integer, money, text, word,
};
use connects::http::{self, Answer, App, Problem, Request, Scope};

/// The longest job, in weeks: ten years.
const MAX_WEEKS: i64 = 520;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let app = App::start().await?;
    http::serve(app.clock, async |request| route(&app, request).await).await
}

/// The routes of this function.
pub async fn route(app: &App, request: &Request) -> Result<Answer, Problem> {
    match (request.method(), &*request.path()) {
        ("PUT", ["v1", "jobs", job]) => post(app, request, job).await,
        ("GET", ["v1", "jobs", job]) => get(app, request, job).await,
        ("POST", ["v1", "jobs", job, "contracts"]) => contract(app, request, job).await,
        ("POST", ["v1", "jobs", job, "closure"]) => close(app, request, job).await,
        ("GET", ["v1", "return-policy"]) => return_policy(app, request),
        _ => Err(Problem::not_found()),
    }
}

async fn post(app: &App, request: &Request, job: &str) -> Result<Answer, Problem> {
    app.caller(request).await?.holds(&[Scope::Service])?;
    let id = JobId::try_new(job).map_err(Problem::from);
    let (id, post) = both(id, request.body().and_then(particulars))?;
    let (is_new, job) = app.ledger.post_job(&request.context, &id, &post).await?;
    Answer::json(if is_new { 201 } else { 200 }, &job)
}

async fn get(app: &App, request: &Request, job: &str) -> Result<Answer, Problem> {
    app.caller(request).await?.holds(Scope::ANY)?;
    let id = known(job)?;
    let job = app.ledger.job(&request.context, &id).await?;
    request.nothing()?;
    Answer::json(200, &job)
}

async fn contract(app: &App, request: &Request, job: &str) -> Result<Answer, Problem> {
    app.caller(request).await?.holds(&[Scope::Service])?;
    let id = known(job)?;
    let account = request.body().and_then(party);
    let account = input(account, app.ledger.job_exists(&id), Refusal::JobNotFound).await?;
    let ledger = &app.ledger;
    let job = ledger.contract(&request.context, &id, &account).await?;
    Answer::json(202, &job)
}

async fn close(app: &App, request: &Request, job: &str) -> Result<Answer, Problem> {
    app.caller(request).await?.holds(&[Scope::Service])?;
    let id = known(job)?;
    let reason = request.body().and_then(why);
    let reason = input(reason, app.ledger.job_exists(&id), Refusal::JobNotFound).await?;
    let job = app.ledger.close(&request.context, &id, reason).await?;
    Answer::json(202, &job)
}

/// What a screen shows before a proposal is submitted: nothing secret, so no token is asked for.
fn return_policy(app: &App, request: &Request) -> Result<Answer, Problem> {
    request.nothing()?;
    Answer::json(200, &app.ledger.return_policy())
}

/// The id, if it can be a job's.
fn known(job: &str) -> Result<JobId, Refusal> {
    JobId::try_new(job).map_err(|_| Refusal::JobNotFound)
}

/// The body of a posting.
pub fn particulars(mut body: Fields) -> Result<PostJob, Problem> {
    let posted_at = body.required("posted_at", instant());
    let stated = body.optional("connects_required", integer(0..=MAX_CONNECTS));
    let kind = body.optional("contract_kind", word());
    let budget = body.optional("budget", money());
    let weeks = body.optional("duration_weeks", integer(1..=MAX_WEEKS));
    let details = [
        ("contract_kind", matches!(kind, Some(Some(_)))),
        ("budget", matches!(budget, Some(Some(_)))),
        ("duration_weeks", matches!(weeks, Some(Some(_)))),
    ];
    match (&stated, &kind) {
        (Some(Some(_)), _) => {
            for (name, _) in details.into_iter().filter(|(_, is_given)| *is_given) {
                body.refuse(Invalid::field(name, "can't go with connects_required"));
            }
        }
        (Some(None), Some(None)) => body.refuse(Invalid::field(
            "contract_kind",
            "this or connects_required is required",
        )),
        _ => {}
    }
    body.finish(|| {
        let pricing = match stated? {
            Some(cost) => Pricing::Stated(Connects::new(cost.unsigned_abs())),
            None => Pricing::Details(Details {
                contract_kind: kind??,
                budget: budget?,
                duration_weeks: weeks?.and_then(|weeks| u32::try_from(weeks).ok()),
            }),
        };
        Some(PostJob {
            posted_at: posted_at?,
            pricing,
        })
    })
}

/// The body of a contract: with whom it was made.
pub fn party(mut body: Fields) -> Result<AccountId, Problem> {
    let account = body.required("account_id", text(AccountId::try_new));
    body.finish(|| account)
}

/// The body of a closure: its reason.
pub fn why(mut body: Fields) -> Result<ClosureReason, Problem> {
    let reason = body.required("reason", word());
    body.finish(|| reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_states_its_cost_or_has_details() {
        for (more, code, field) in [
            (r#""connects_required":0"#, "ok", None),
            (r#""connects_required":1000000"#, "ok", None),
            (r#""contract_kind":"fixed""#, "ok", None),
            (
                r#""contract_kind":"hourly","budget":{"amount":0,"currency":"USD"},"duration_weeks":520"#,
                "ok",
                None,
            ),
            (
                r#""connects_required":-1"#,
                "below_minimum",
                Some("connects_required"),
            ),
            (
                r#""connects_required":1000001"#,
                "above_maximum",
                Some("connects_required"),
            ),
            (
                r#""connects_required":null"#,
                "invalid_field",
                Some("connects_required"),
            ),
            (
                r#""connects_required":8,"contract_kind":"fixed""#,
                "invalid_field",
                Some("contract_kind"),
            ),
            (
                r#""connects_required":8,"budget":{"amount":1,"currency":"USD"}"#,
                "invalid_field",
                Some("budget"),
            ),
            (
                r#""connects_required":8,"duration_weeks":1"#,
                "invalid_field",
                Some("duration_weeks"),
            ),
            (
                r#""duration_weeks":1"#,
                "invalid_field",
                Some("contract_kind"),
            ),
            (
                r#""contract_kind":"salaried""#,
                "invalid_field",
                Some("contract_kind"),
            ),
            (
                r#""contract_kind":"fixed","duration_weeks":0"#,
                "below_minimum",
                Some("duration_weeks"),
            ),
            (
                r#""contract_kind":"fixed","duration_weeks":521"#,
                "above_maximum",
                Some("duration_weeks"),
            ),
            (
                r#""contract_kind":"fixed","budget":500"#,
                "malformed_request",
                None,
            ),
            (
                r#""contract_kind":"fixed","title":"x""#,
                "unknown_field",
                Some("title"),
            ),
        ] {
            let body = format!(r#"{{"posted_at":"2026-01-10T12:00:00Z",{more}}}"#);
            let read = Fields::of_body(body.as_bytes()).and_then(particulars);
            let told = match read {
                Ok(_) => ("ok", None),
                Err(problem) => {
                    let field = problem.member("field").and_then(|field| field.as_str());
                    (problem.code(), field.map(str::to_owned))
                }
            };
            assert_eq!(told, (code, field.map(str::to_owned)), "{more}");
        }
    }
}
