//! Plans: changed by the marketplace's backend, which bills the membership; anybody concerned may ask
//! what a change would bring.

use connects::domain::plan_change::PlanChangeCommand;
use connects::http::input::{Fields, both, word};
use connects::http::{self, Answer, App, Problem, Request, Scope};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let app = App::start().await?;
    http::serve(app.clock, async |request| route(&app, request).await).await
}

/// The routes of this function.
pub async fn route(app: &App, request: &Request) -> Result<Answer, Problem> {
    match (request.method(), &*request.path()) {
        ("POST", ["v1", "accounts", account, "plan-changes"]) => {
            change(app, request, account).await
        }
        ("GET", ["v1", "accounts", account, "plan-changes", "preview"]) => {
            preview(app, request, account).await
        }
        _ => Err(Problem::not_found()),
    }
}

async fn change(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &[Scope::Service], account).await?;
    let asked = both(request.idempotency_key(), request.body().and_then(command));
    let (key, command) = app.input(&account, asked).await?;
    let changed = app
        .ledger
        .change_plan(&request.context, &account, &key, command)
        .await;
    Answer::of(200, changed)
}

async fn preview(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let scopes = [Scope::User, Scope::Service];
    let account = app.account(request, &scopes, account).await?;
    let command = app.input(&account, request.query().and_then(plan)).await?;
    let preview = app
        .ledger
        .preview_plan(&request.context, &account, command)
        .await?;
    Answer::json(200, &preview)
}

/// The body of a change.
pub fn command(mut body: Fields) -> Result<PlanChangeCommand, Problem> {
    let plan = body.required("plan", word());
    let effective = body.optional("effective", word());
    let reason = body.optional("reason", word());
    let asked = match (plan, effective, reason) {
        (Some(plan), Some(effective), Some(reason)) => {
            match PlanChangeCommand::try_new(plan, effective, reason) {
                Ok(command) => Some(command),
                Err(invalid) => {
                    body.refuse(invalid);
                    None
                }
            }
        }
        _ => None,
    };
    body.finish(|| asked)
}

/// What is asked for with no more than a plan.
pub fn plan(mut query: Fields) -> Result<PlanChangeCommand, Problem> {
    let plan = query.required("plan", word());
    let plan = query.finish(|| plan)?;
    Ok(PlanChangeCommand::try_new(plan, None, None)?)
}

#[cfg(test)]
mod tests {
    use connects::domain::plan_change::PlanChangeCommand::{Downgrade, FallBack, Upgrade};

    use super::*;

    fn told(read: Result<PlanChangeCommand, Problem>) -> Result<PlanChangeCommand, String> {
        read.map_err(|problem| {
            let field = problem.member("field").and_then(|field| field.as_str());
            format!("{} {}", problem.code(), field.unwrap_or_default())
        })
    }

    #[test]
    fn a_change_is_one_of_three_or_refused_with_the_member_at_fault() {
        for (body, expected) in [
            (r#"{"plan":"plus"}"#, Ok(Upgrade)),
            (
                r#"{"plan":"plus","effective":"now","reason":"requested"}"#,
                Ok(Upgrade),
            ),
            (r#"{"plan":"basic"}"#, Ok(Downgrade)),
            (
                r#"{"plan":"basic","effective":"next_cycle"}"#,
                Ok(Downgrade),
            ),
            (
                r#"{"plan":"basic","effective":"now","reason":"payment_failed"}"#,
                Ok(FallBack),
            ),
            (
                r#"{"plan":"basic","effective":"now"}"#,
                Err("invalid_field effective"),
            ),
            (
                r#"{"plan":"plus","effective":"next_cycle"}"#,
                Err("invalid_field effective"),
            ),
            (
                r#"{"plan":"plus","reason":"payment_failed"}"#,
                Err("invalid_field reason"),
            ),
            (
                r#"{"plan":"basic","effective":"next_cycle","reason":"payment_failed"}"#,
                Err("invalid_field effective"),
            ),
            (r#"{}"#, Err("invalid_field plan")),
            (r#"{"plan":null}"#, Err("invalid_field plan")),
            (r#"{"plan":"gold"}"#, Err("invalid_field plan")),
            (r#"{"plan":5}"#, Err("malformed_request ")),
            (
                r#"{"plan":"gold","effective":"later"}"#,
                Err("invalid_field plan"),
            ),
            (
                r#"{"plan":"basic","effective":"now","fee":5}"#,
                Err("unknown_field fee"),
            ),
            (
                r#"{"plan":"basic","effective":"now","reason":5}"#,
                Err("malformed_request "),
            ),
        ] {
            let read = Fields::of_body(body.as_bytes()).and_then(command);
            assert_eq!(told(read), expected.map_err(str::to_owned), "{body}");
        }
    }

    #[test]
    fn a_preview_is_of_a_plan_alone() {
        for (query, expected) in [
            ("plan=plus", Ok(Upgrade)),
            ("plan=basic", Ok(Downgrade)),
            ("", Err("invalid_field plan")),
            ("plan=", Err("invalid_field plan")),
            ("plan=Plus", Err("invalid_field plan")),
            ("plan=plus&plan=plus", Err("invalid_field plan")),
            ("plan=plus&effective=now", Err("unknown_field effective")),
        ] {
            let read = Fields::of_query(query).and_then(plan);
            assert_eq!(told(read), expected.map_err(str::to_owned), "{query}");
        }
    }
}
