//! Buying: charged at once, credited once paid. Also charges back and undoes that, hears what the payment
//! provider has to say, and on a schedule settles the payments that were left open. Told that a
//! balance became low, it buys what its holder wants then; the schedule does so too where nobody told.

pub mod low_balance;

use connects::domain::event;
use connects::domain::ids::{AccountId, OperationId, PromoCode};
use connects::domain::key::IdempotencyKey;
use connects::domain::purchase::{PurchaseCommand, PurchaseStatus, PurchaseView};
use connects::domain::refusal::Refusal;
use connects::http::input::{Fields, both, input, quantity, sized, text};
use connects::http::{self, Answer, App, Message, Problem, Request, Run, Scope, Till, Work};
use connects::ledger::{Outcome, Report};

/// The longest payment method that is looked at.
const MAX_METHOD: usize = 200;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let till = Till::start().await?;
    let routes = async |request: &Request| route(&till, request).await;
    http::serve_and_run(till.clock, routes, async |run| work(&till, run).await).await
}

/// What nobody waits for: open payments and top-ups that are wanted, all of them or one account's.
pub async fn work(app: &Till, run: Run) -> Result<Report, String> {
    let (ledger, payments) = (&app.ledger, &app.payments);
    match run.work {
        Work::Due(until) => {
            let swept = ledger.sweep_payments(&run.context, payments, until).await;
            swept.map_err(|fault| fault.to_string())
        }
        // One at a time, as the template has it: what fails comes again.
        Work::Told(messages) => {
            let mut report = Report::default();
            for message in messages {
                let account = crossed(message)?;
                let topped_up = ledger.top_up(&run.context, payments, &account).await;
                report = report.and(topped_up.map_err(|error| error.to_string())?);
            }
            Ok(report)
        }
        Work::Changed(_) => Err("this function reads no stream".to_owned()),
    }
}

/// The account whose balance became low; the rest is in the table.
fn crossed(message: Message) -> Result<AccountId, String> {
    let told = message.told.ok_or("a message that is no event")?;
    if told.source != event::SOURCE || told.detail_type != event::LOW_BALANCE {
        return Err(format!("{} is not for this function", told.detail_type));
    }
    let account = told.detail.get("account_id").cloned();
    serde_json::from_value(account.unwrap_or_default())
        .map_err(|error| format!("account_id: {error}"))
}

/// The routes of this function.
pub async fn route(app: &Till, request: &Request) -> Result<Answer, Problem> {
    match (request.method(), &*request.path()) {
        ("POST", ["v1", "accounts", account, "purchases"]) => buy(app, request, account).await,
        (
            "POST",
            [
                "v1",
                "accounts",
                account,
                "purchases",
                purchase,
                "chargeback",
            ],
        ) => charge_back(app, request, account, purchase).await,
        (
            "POST",
            [
                "v1",
                "accounts",
                account,
                "purchases",
                purchase,
                "chargeback",
                "reversal",
            ],
        ) => reverse(app, request, account, purchase).await,
        ("PUT", ["v1", "accounts", account, "low-balance"]) => {
            low_balance::set(app, request, account).await
        }
        ("GET", ["v1", "accounts", account, "low-balance"]) => {
            low_balance::get(app, request, account).await
        }
        ("DELETE", ["v1", "accounts", account, "low-balance"]) => {
            low_balance::clear(app, request, account).await
        }
        ("POST", ["v1", "webhooks", "stripe"]) => app.heed(request).await,
        _ => Err(Problem::not_found()),
    }
}

async fn buy(app: &Till, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &[Scope::User], account).await?;
    let asked = both(request.idempotency_key(), request.body().and_then(command));
    let (key, command) = app.input(&account, asked).await?;
    let bought = app
        .ledger
        .purchase(&request.context, &app.payments, &account, &key, &command);
    // A code that there is not is told apart from one that is for something else.
    let bought = match command.promo_code {
        Some(_) => app.guess(request, &account, bought).await?,
        None => bought.await?,
    };
    match bought {
        Outcome::Applied(purchase) => by_status(&purchase),
        Outcome::Replayed(purchase) => by_status(&purchase)
            .map(Answer::replayed)
            .map_err(Problem::replayed),
    }
}

fn by_status(purchase: &PurchaseView) -> Result<Answer, Problem> {
    match purchase.status {
        PurchaseStatus::Paid | PurchaseStatus::ChargedBack => Answer::json(201, purchase),
        PurchaseStatus::Pending => Answer::json(202, purchase),
        PurchaseStatus::Declined => {
            let purchase =
                serde_json::to_value(purchase).map_err(|error| Problem::internal(&error))?;
            Err(Refusal::PaymentDeclined { purchase }.into())
        }
    }
}

async fn charge_back(
    app: &App,
    request: &Request,
    account: &str,
    purchase: &str,
) -> Result<Answer, Problem> {
    let (account, id, key) = disputed(app, request, account, purchase).await?;
    let (ledger, context) = (&app.ledger, &request.context);
    let done = ledger.chargeback(context, &account, &id, key.as_ref());
    Answer::of(200, done.await)
}

async fn reverse(
    app: &App,
    request: &Request,
    account: &str,
    purchase: &str,
) -> Result<Answer, Problem> {
    let (account, id, key) = disputed(app, request, account, purchase).await?;
    let (ledger, context) = (&app.ledger, &request.context);
    let done = ledger.reverse_chargeback(context, &account, &id, key.as_ref());
    Answer::of(200, done.await)
}

/// A purchase whose payment the payer's bank has moved, and the request's key.
async fn disputed(
    app: &App,
    request: &Request,
    account: &str,
    purchase: &str,
) -> Result<(AccountId, OperationId, Option<IdempotencyKey>), Problem> {
    let account = app.account(request, &[Scope::Admin], account).await?;
    let asked = both(
        request.idempotency_key_if_any(),
        request.body().and_then(|body| body.finish(|| Some(()))),
    );
    let asked = match OperationId::try_new(purchase) {
        Ok(id) => {
            let exists = app.ledger.purchase_exists(&account, &id);
            let asked = input(asked, exists, Refusal::PurchaseNotFound).await;
            asked.map(|(key, ())| (id, key))
        }
        Err(_) => Err(Refusal::PurchaseNotFound.into()),
    };
    let (id, key) = app.input(&account, asked).await?;
    Ok((account, id, key))
}

/// The body of a purchase.
pub fn command(mut body: Fields) -> Result<PurchaseCommand, Problem> {
    let quantity = body.required("quantity", quantity());
    let promo_code = body.optional("promo_code", text(PromoCode::try_new));
    let payment_method = body.optional("payment_method", sized(1..=MAX_METHOD, str::to_owned));
    body.finish(|| {
        Some(PurchaseCommand {
            quantity: quantity?,
            promo_code: promo_code?,
            payment_method: payment_method?,
        })
    })
}
