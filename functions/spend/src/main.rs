//! Spending: Connects out of the oldest lots, all or nothing, once; on whatever the backend says,
//! and on proposals. Also holds: what may be spent later.

pub mod holds;
pub mod proposals;

use connects::domain::ids::Reference;
use connects::domain::spend::SpendCommand;
use connects::http::input::{Fields, both, connects, text};
use connects::http::{self, Answer, App, Problem, Request, Scope};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let app = App::start().await?;
    http::serve(app.clock, async |request| route(&app, request).await).await
}

/// The routes of this function.
pub async fn route(app: &App, request: &Request) -> Result<Answer, Problem> {
    match (request.method(), &*request.path()) {
        ("POST", ["v1", "accounts", account, "spends"]) => spend(app, request, account).await,
        ("POST", ["v1", "accounts", account, "holds"]) => holds::hold(app, request, account).await,
        ("POST", ["v1", "accounts", account, "holds", hold, "capture"]) => {
            holds::capture(app, request, account, hold).await
        }
        ("POST", ["v1", "accounts", account, "holds", hold, "release"]) => {
            holds::release(app, request, account, hold).await
        }
        ("POST", ["v1", "accounts", account, "proposals"]) => {
            proposals::submit(app, request, account).await
        }
        ("GET", ["v1", "accounts", account, "proposals", job]) => {
            proposals::get(app, request, account, job).await
        }
        ("DELETE", ["v1", "accounts", account, "proposals", job]) => {
            proposals::withdraw(app, request, account, job).await
        }
        ("PUT", ["v1", "jobs", job, "proposals", account, "outcome"]) => {
            proposals::decide(app, request, account, job).await
        }
        _ => Err(Problem::not_found()),
    }
}

async fn spend(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &[Scope::Service], account).await?;
    let asked = both(request.idempotency_key(), request.body().and_then(command));
    let (key, command) = app.input(&account, asked).await?;
    let spent = app
        .ledger
        .spend(&request.context, &account, &key, &command)
        .await;
    Answer::of(201, spent)
}

/// The body of a spend.
pub fn command(mut body: Fields) -> Result<SpendCommand, Problem> {
    let amount = body.required("amount", connects());
    let reason = body.required("reason", text(SpendCommand::reason));
    let reference = body.optional("reference", text(Reference::try_new));
    body.finish(|| {
        Some(SpendCommand {
            amount: amount?,
            reason: reason?,
            reference: reference?,
        })
    })
}
