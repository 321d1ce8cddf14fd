//! Boosts: bids for the first places among a job's proposals, by holders or the backend, which also
//! tells of clients looking into them. On a schedule, auctions whose time is over end and are settled.

use connects::domain::bid::BidCommand;
use connects::domain::ids::{AccountId, JobId};
use connects::domain::refusal::Refusal;
use connects::domain::units::Connects;
use connects::http::input::{Fields, both, connects, input};
use connects::http::{self, Answer, App, Problem, Request, Scope};

const HOLDERS: &[Scope] = &[Scope::User, Scope::Service];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let app = App::start().await?;
    let routes = async |request: &Request| route(&app, request).await;
    http::serve_and_sweep(app.clock, routes, async |context, until| {
        app.ledger.sweep_auctions(&context, until).await
    })
    .await
}

/// The routes of this function.
pub async fn route(app: &App, request: &Request) -> Result<Answer, Problem> {
    match (request.method(), &*request.path()) {
        ("GET", ["v1", "jobs", job, "bids"]) => get(app, request, job).await,
        ("PUT", ["v1", "jobs", job, "bids", account]) => bid(app, request, job, account).await,
        ("POST", ["v1", "jobs", job, "bids", account, "interactions"]) => {
            interaction(app, request, job, account).await
        }
        _ => Err(Problem::not_found()),
    }
}

async fn get(app: &App, request: &Request, job: &str) -> Result<Answer, Problem> {
    let caller = app.caller(request).await?;
    caller.holds(HOLDERS)?;
    let id = JobId::try_new(job).map_err(|_| Refusal::JobNotFound)?;
    let mine = |account: &AccountId| caller.is(account);
    let auction = app.ledger.auction(&request.context, &id, mine).await?;
    request.nothing()?;
    Answer::json(200, &auction)
}

async fn bid(app: &App, request: &Request, job: &str, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, HOLDERS, account).await?;
    let asked = both(
        request.idempotency_key_if_any(),
        request.body().and_then(amount),
    );
    let (job_id, (key, amount)) = of_proposal(app, &account, job, asked).await?;
    let command = BidCommand { job_id, amount };
    let ledger = &app.ledger;
    let placed = ledger.bid(&request.context, &account, key.as_ref(), &command);
    Answer::of(200, placed.await)
}

async fn interaction(
    app: &App,
    request: &Request,
    job: &str,
    account: &str,
) -> Result<Answer, Problem> {
    let account = app.account(request, &[Scope::Service], account).await?;
    let asked = request.body().and_then(|body| body.finish(|| Some(())));
    let (job, ()) = of_proposal(app, &account, job, asked).await?;
    let ledger = &app.ledger;
    let bid = ledger.interaction(&request.context, &account, &job).await?;
    Answer::json(200, &bid)
}

/// The body of a bid: what is bid in all.
pub fn amount(mut body: Fields) -> Result<Connects, Problem> {
    let amount = body.required("amount", connects());
    body.finish(|| amount)
}

/// The job and what was read of a request, or what is wrong with it if the account has a proposal there.
async fn of_proposal<T>(
    app: &App,
    account: &AccountId,
    job: &str,
    read: Result<T, Problem>,
) -> Result<(JobId, T), Problem> {
    let job = JobId::try_new(job).map_err(|_| Refusal::JobNotFound.into());
    let job = app.input(account, job).await?;
    let exists = app.ledger.proposal_exists(account, &job);
    let read = input(read, exists, Refusal::ProposalNotFound).await;
    let read = input(read, app.ledger.job_exists(&job), Refusal::JobNotFound).await;
    Ok((job, app.input(account, read).await?))
}
