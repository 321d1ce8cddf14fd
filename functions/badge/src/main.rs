//! The availability badge: turned on and off by its holder, priced for everybody. Also, on a schedule,
//! renewed week by week.

use connects::domain::refusal::Refusal;
use connects::domain::units::Connects;
use connects::http::input::{Fields, connects, input};
use connects::http::{self, Answer, App, Problem, Request, Scope};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let app = App::start().await?;
    let routes = async |request: &Request| route(&app, request).await;
    http::serve_and_sweep(app.clock, routes, async |context, until| {
        app.ledger.sweep_badges(&context, until).await
    })
    .await
}

/// The routes of this function.
pub async fn route(app: &App, request: &Request) -> Result<Answer, Problem> {
    match (request.method(), &*request.path()) {
        ("PUT", ["v1", "accounts", account, "availability-badge"]) => {
            turn_on(app, request, account).await
        }
        ("GET", ["v1", "accounts", account, "availability-badge"]) => {
            get(app, request, account).await
        }
        ("DELETE", ["v1", "accounts", account, "availability-badge"]) => {
            turn_off(app, request, account).await
        }
        ("GET", ["v1", "availability-badge", "price"]) => price(app, request).await,
        _ => Err(Problem::not_found()),
    }
}

async fn turn_on(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &[Scope::User], account).await?;
    let max_weekly = request.body().and_then(max_weekly);
    let max_weekly = app.input(&account, max_weekly).await?;
    let ledger = &app.ledger;
    let (is_new, badge) = ledger
        .put_badge(&request.context, &account, max_weekly)
        .await?;
    Answer::json(if is_new { 201 } else { 200 }, &badge)
}

async fn get(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, Scope::ANY, account).await?;
    let badge = app.ledger.badge(&request.context, &account).await?;
    request.nothing()?;
    Answer::json(200, &badge)
}

async fn turn_off(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &[Scope::User], account).await?;
    let exists = app.ledger.badge_exists(&account);
    let nothing = input(request.nothing(), exists, Refusal::BadgeNotFound).await;
    app.input(&account, nothing).await?;
    let ledger = &app.ledger;
    let badge = ledger.turn_badge_off(&request.context, &account).await?;
    Answer::json(200, &badge)
}

/// What a screen shows to anybody: no token is asked for.
async fn price(app: &App, request: &Request) -> Result<Answer, Problem> {
    request.nothing()?;
    Answer::json(200, &app.ledger.badge_price(&request.context).await?)
}

/// The body that turns the badge on: what a week may cost.
pub fn max_weekly(mut body: Fields) -> Result<Connects, Problem> {
    let max_weekly = body.required("max_weekly", connects());
    body.finish(|| max_weekly)
}
