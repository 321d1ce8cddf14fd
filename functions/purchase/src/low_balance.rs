//! When an account's balance is low, and what is bought then: set by its holder or the backend.

use connects::domain::low_balance::SetLowBalance;
use connects::domain::top_up::TopUpTerms;
use connects::http::input::{Fields, MAX_MONEY, connects, money_from, object, sized};
use connects::http::{Answer, Problem, Request, Scope, Till};

use super::MAX_METHOD;

/// Who may say when a balance is low.
const HOLDERS: [Scope; 2] = [Scope::User, Scope::Service];

/// Says under how many Connects the balance is low, and what is bought then.
pub async fn set(app: &Till, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &HOLDERS, account).await?;
    let wanted = request.body().and_then(wanted);
    let wanted = app.input(&account, wanted).await?;
    let set = app
        .ledger
        .set_low_balance(&request.context, &app.payments, &account, &wanted);
    Answer::json(200, &set.await?)
}

/// What was said.
pub async fn get(app: &Till, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, Scope::ANY, account).await?;
    let low = app.ledger.low_balance(&request.context, &account).await?;
    request.nothing()?;
    Answer::json(200, &low)
}

/// Takes it back: nothing is low any more, and nothing is bought.
pub async fn clear(app: &Till, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &HOLDERS, account).await?;
    app.input(&account, request.nothing()).await?;
    let ledger = &app.ledger;
    let cleared = ledger.clear_low_balance(&request.context, &account);
    Answer::json(200, &cleared.await?)
}

/// The body that says when a balance is low.
pub fn wanted(mut body: Fields) -> Result<SetLowBalance, Problem> {
    let threshold = body.required("threshold", connects());
    let top_up = body.optional("top_up", object(top_up));
    body.finish(|| {
        Some(SetLowBalance {
            threshold: threshold?,
            top_up: top_up?,
        })
    })
}

fn top_up(mut top_up: Fields) -> Result<TopUpTerms, Problem> {
    let quantity = top_up.required("quantity", connects());
    let monthly_cap = top_up.required("monthly_cap", money_from(1, MAX_MONEY));
    let method = top_up.optional("payment_method", sized(1..=MAX_METHOD, str::to_owned));
    top_up.finish(|| {
        Some(TopUpTerms {
            quantity: quantity?,
            monthly_cap: monthly_cap?,
            payment_method: method?,
        })
    })
}
