//! Rewards: Connects for what the marketplace's backend says that somebody has achieved, each once.

use connects::domain::ids::JobId;
use connects::domain::policy::Policy;
use connects::domain::reward::{Client, RewardCommand};
use connects::http::input::{Fields, both, integer, money_from, object, text, word};
use connects::http::{self, Answer, App, Problem, Request, Scope};

/// More than anybody has hired.
const MAX_HIRES: i64 = 1_000_000_000;

/// More than anybody has spent, in minor units: ten billion units of a currency.
const MAX_SPEND: i64 = 1_000_000_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let app = App::start().await?;
    http::serve(app.clock, async |request| route(&app, request).await).await
}

/// The routes of this function.
pub async fn route(app: &App, request: &Request) -> Result<Answer, Problem> {
    match (request.method(), &*request.path()) {
        ("POST", ["v1", "accounts", account, "rewards"]) => reward(app, request, account).await,
        _ => Err(Problem::not_found()),
    }
}

async fn reward(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &[Scope::Service], account).await?;
    let policy = app.ledger.policy();
    let asked = both(
        request.idempotency_key_if_any(),
        request.body().and_then(|body| command(body, policy)),
    );
    let (key, command) = app.input(&account, asked).await?;
    let ledger = &app.ledger;
    let rewarded = ledger.reward(&request.context, &account, key.as_ref(), &command);
    Answer::of(201, rewarded.await)
}

/// The body of a reward.
pub fn command(mut body: Fields, policy: &Policy) -> Result<RewardCommand, Problem> {
    let kind = body.required("kind", word());
    let job_id = body.optional("job_id", text(JobId::try_new));
    let client = body.optional("client", object(client));
    let asked = match (kind, job_id, client) {
        (Some(kind), Some(job_id), Some(client)) => {
            let command = RewardCommand::try_new(policy, kind, job_id, client);
            command.map_err(|invalid| body.refuse(invalid)).ok()
        }
        _ => None,
    };
    body.finish(|| asked)
}

fn client(mut client: Fields) -> Result<Client, Problem> {
    let hires = client.required("hires", integer(0..=MAX_HIRES));
    let spend = client.required("spend", money_from(0, MAX_SPEND));
    client.finish(|| {
        Some(Client {
            hires: hires?.unsigned_abs(),
            spend: spend?,
        })
    })
}

#[cfg(test)]
mod tests {
    use connects::domain::policy::BUILT_IN;

    use super::*;

    #[test]
    fn a_reward_is_read_or_refused_with_the_member_at_fault() {
        let policy = Policy::parse(BUILT_IN).unwrap();
        let known = r#"{"hires":1,"spend":{"amount":1,"currency":"USD"}}"#;
        let interview =
            |client: &str| format!(r#"{{"kind":"interview_won","job_id":"J1","client":{client}}}"#);
        for (body, told) in [
            (r#"{"kind":"rising_talent"}"#.to_owned(), "ok"),
            (r#"{"kind":"skill_certification"}"#.to_owned(), "ok"),
            (interview(known), "ok"),
            (
                interview(r#"{"hires":0,"spend":{"amount":1000000000000,"currency":"USD"}}"#),
                "ok",
            ),
            (r#"{}"#.to_owned(), "invalid_field kind"),
            (r#"{"kind":"luck"}"#.to_owned(), "invalid_field kind"),
            (r#"{"kind":1}"#.to_owned(), "malformed_request"),
            (
                r#"{"kind":"interview_won"}"#.to_owned(),
                "invalid_field job_id",
            ),
            (
                r#"{"kind":"interview_won","job_id":"J1"}"#.to_owned(),
                "invalid_field client",
            ),
            (
                r#"{"kind":"rising_talent","job_id":"J1"}"#.to_owned(),
                "invalid_field job_id",
            ),
            (
                format!(r#"{{"kind":"skill_certification","client":{known}}}"#),
                "invalid_field client",
            ),
            (interview("5"), "malformed_request"),
            (interview("null"), "invalid_field client"),
            (interview("{}"), "invalid_field client.hires"),
            (interview(r#"{"hires":1}"#), "invalid_field client.spend"),
            (
                interview(r#"{"hires":-1,"spend":{"amount":1,"currency":"USD"}}"#),
                "below_minimum client.hires",
            ),
            (
                interview(r#"{"hires":1,"spend":{"amount":-1,"currency":"USD"}}"#),
                "below_minimum client.spend.amount",
            ),
            (
                interview(r#"{"hires":1,"spend":{"amount":1000000000001,"currency":"USD"}}"#),
                "above_maximum client.spend.amount",
            ),
            (
                interview(r#"{"hires":1,"spend":{"amount":1,"currency":"EUR"}}"#),
                "invalid_field client.spend.currency",
            ),
            (interview(r#"{"hires":1,"spend":1}"#), "malformed_request"),
            (
                interview(r#"{"hires":1,"spend":{"amount":1,"currency":"USD"},"since":2020}"#),
                "unknown_field client.since",
            ),
        ] {
            let read = Fields::of_body(body.as_bytes()).and_then(|body| command(body, &policy));
            let answer = match read {
                Ok(_) => "ok".to_owned(),
                Err(problem) => {
                    let field = problem.member("field").and_then(|field| field.as_str());
                    field.map_or(problem.code().to_owned(), |field| {
                        format!("{} {field}", problem.code())
                    })
                }
            };
            assert_eq!(answer, told, "{body}");
        }
    }
}
