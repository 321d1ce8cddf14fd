//! Accounts: opened by the marketplace's backend, suspended, reactivated, amended. Also when an account's
//! balance is low, and what is bought then: set by its holder or the backend.

use connects::domain::account::{Amend, Open};
use connects::domain::email::Email;
use connects::domain::ids::{AccountId, PersonId};
use connects::domain::low_balance::SetLowBalance;
use connects::domain::top_up::TopUpTerms;
use connects::domain::units::{Connects, Money};
use connects::http::input::{
    Fields, MAX_MONEY, both, connects, date, money_from, object, sized, text, word,
};
use connects::http::{self, Answer, App, Problem, Request, Scope};
use connects::ledger::Outcome;
use connects::payments::Provider;

/// The longest payment method that is looked at.
const MAX_METHOD: usize = 200;

/// Who may say when a balance is low.
const HOLDERS: [Scope; 2] = [Scope::User, Scope::Service];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let app = App::start().await?;
    http::serve(app.clock, async |request| route(&app, request).await).await
}

/// The routes of this function.
pub async fn route(app: &App, request: &Request) -> Result<Answer, Problem> {
    match (request.method(), &*request.path()) {
        ("PUT", ["v1", "accounts", account]) => open(app, request, account).await,
        ("PATCH", ["v1", "accounts", account]) => amend(app, request, account).await,
        ("PUT", ["v1", "accounts", account, "low-balance"]) => set_low(app, request, account).await,
        ("GET", ["v1", "accounts", account, "low-balance"]) => get_low(app, request, account).await,
        ("DELETE", ["v1", "accounts", account, "low-balance"]) => {
            clear_low(app, request, account).await
        }
        _ => Err(Problem::not_found()),
    }
}

async fn open(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    app.caller(request).await?.holds(&[Scope::Service])?;
    let id = AccountId::try_new(account).map_err(Problem::from);
    let (id, open) = both(id, request.body().and_then(particulars))?;
    match app.ledger.open(&request.context, &id, open).await? {
        Outcome::Applied(account) => Answer::json(201, &account),
        Outcome::Replayed(account) => Answer::json(200, &account),
    }
}

async fn amend(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &[Scope::Service], account).await?;
    let amend = app
        .input(&account, request.body().and_then(changes))
        .await?;
    Answer::json(
        200,
        &app.ledger.amend(&request.context, &account, amend).await?,
    )
}

async fn set_low(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &HOLDERS, account).await?;
    let wanted = request.body().and_then(low_balance);
    let wanted = app.input(&account, wanted).await?;
    let wanted = wanted(app.payments.default_method());
    let set = app
        .ledger
        .set_low_balance(&request.context, &app.payments, &account, &wanted);
    Answer::json(200, &set.await?)
}

async fn get_low(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, Scope::ANY, account).await?;
    let low = app.ledger.low_balance(&request.context, &account).await?;
    request.nothing()?;
    Answer::json(200, &low)
}

async fn clear_low(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &HOLDERS, account).await?;
    app.input(&account, request.nothing()).await?;
    let ledger = &app.ledger;
    Answer::json(
        200,
        &ledger.clear_low_balance(&request.context, &account).await?,
    )
}

/// The body that says when a balance is low; what it asks for once the provider's default method is
/// known.
pub fn low_balance(mut body: Fields) -> Result<impl FnOnce(&str) -> SetLowBalance, Problem> {
    let threshold = body.required("threshold", connects());
    let top_up = body.optional("top_up", object(top_up));
    let (threshold, top_up) = body.finish(|| Some((threshold?, top_up?)))?;
    Ok(move |default: &str| SetLowBalance {
        threshold,
        top_up: top_up.map(|(quantity, monthly_cap, method)| TopUpTerms {
            quantity,
            monthly_cap,
            payment_method: method.unwrap_or_else(|| default.to_owned()),
        }),
    })
}

fn top_up(mut top_up: Fields) -> Result<(Connects, Money, Option<String>), Problem> {
    let quantity = top_up.required("quantity", connects());
    let monthly_cap = top_up.required("monthly_cap", money_from(1, MAX_MONEY));
    let method = top_up.optional("payment_method", sized(1..=MAX_METHOD, str::to_owned));
    top_up.finish(|| Some((quantity?, monthly_cap?, method?)))
}

/// The body of an opening.
pub fn particulars(mut body: Fields) -> Result<Open, Problem> {
    let kind = body.required("kind", word());
    let person_id = body.required("person_id", text(PersonId::try_new));
    let email = body.optional("email", text(Email::try_new));
    let opened_on = body.optional("opened_on", date());
    body.finish(|| {
        Some(Open {
            kind: kind?,
            person_id: person_id?,
            email: email?,
            opened_on: opened_on?,
        })
    })
}

/// The body of a change.
pub fn changes(mut body: Fields) -> Result<Amend, Problem> {
    let status = body.optional("status", word());
    let email = body.optional("email", text(Email::try_new));
    body.finish(|| {
        Some(Amend {
            status: status?,
            email: email?,
        })
    })
}
