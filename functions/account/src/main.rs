//! Accounts: opened by the marketplace's backend, suspended, reactivated, amended; and which mails their
//! holders want.

use std::collections::BTreeSet;

use connects::domain::account::{Amend, Open};
use connects::domain::email::Email;
use connects::domain::ids::{AccountId, PaymentCustomer, PersonId};
use connects::domain::mail::{Mail, Preferences, PreferencesView};
use connects::domain::words::Locale;
use connects::http::input::{Fields, both, date, each, one_of, text, word};
use connects::http::{self, Answer, App, Problem, Request, Scope};
use connects::ledger::Outcome;

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
        ("PUT", ["v1", "accounts", account, "mail-preferences"]) => {
            prefer(app, request, account).await
        }
        ("GET", ["v1", "accounts", account, "mail-preferences"]) => {
            preferred(app, request, account).await
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

async fn prefer(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let scopes = [Scope::User, Scope::Service];
    let account = app.account(request, &scopes, account).await?;
    let preferences = request.body().and_then(preferences);
    let preferences = app.input(&account, preferences).await?;
    let (ledger, context) = (&app.ledger, &request.context);
    ledger
        .set_preferences(context, &account, &preferences)
        .await?;
    Answer::json(200, &PreferencesView::from(preferences))
}

async fn preferred(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, Scope::ANY, account).await?;
    let preferences = app.ledger.preferences(&request.context, &account).await?;
    request.nothing()?;
    Answer::json(200, &PreferencesView::from(preferences))
}

/// The body of an opening.
pub fn particulars(mut body: Fields) -> Result<Open, Problem> {
    let kind = body.required("kind", word());
    let person_id = body.required("person_id", text(PersonId::try_new));
    let email = body.optional("email", text(Email::try_new));
    let payment_customer = body.optional("payment_customer", text(PaymentCustomer::try_new));
    let opened_on = body.optional("opened_on", date());
    body.finish(|| {
        Some(Open {
            kind: kind?,
            person_id: person_id?,
            email: email?,
            payment_customer: payment_customer?,
            opened_on: opened_on?,
        })
    })
}

/// What a holder wants to be told.
pub fn preferences(mut body: Fields) -> Result<Preferences, Problem> {
    let locale = body.optional("locale", text(Locale::try_new));
    let muted = body.optional("muted", each(one_of(&Mail::OPTIONAL, Mail::optional)));
    body.finish(|| {
        let muted: BTreeSet<Mail> = muted?.into_iter().flatten().collect();
        Some(Preferences {
            locale: locale?,
            muted: muted.into_iter().collect(),
        })
    })
}

/// The body of a change.
pub fn changes(mut body: Fields) -> Result<Amend, Problem> {
    let status = body.optional("status", word());
    let email = body.optional("email", text(Email::try_new));
    let payment_customer = body.optional("payment_customer", text(PaymentCustomer::try_new));
    body.finish(|| {
        Some(Amend {
            status: status?,
            email: email?,
            payment_customer: payment_customer?,
        })
    })
}
