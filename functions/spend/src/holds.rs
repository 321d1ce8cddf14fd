//! Holds: Connects set aside by the backend, then captured or released.

use connects::domain::hold::{EndHold, HoldCommand};
use connects::domain::ids::{OperationId, Reference};
use connects::domain::refusal::Refusal;
use connects::http::input::{Fields, both, connects, input, instant, text};
use connects::http::{Answer, App, Problem, Request, Scope};

/// `POST …/holds`
pub async fn hold(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let account = app.account(request, &[Scope::Service], account).await?;
    let asked = both(request.idempotency_key(), request.body().and_then(command));
    let (key, command) = app.input(&account, asked).await?;
    let held = app
        .ledger
        .hold(&request.context, &account, &key, &command)
        .await;
    Answer::of(201, held)
}

/// `POST …/holds/{hold_id}/capture`
pub async fn capture(
    app: &App,
    request: &Request,
    account: &str,
    hold: &str,
) -> Result<Answer, Problem> {
    end(app, request, account, hold, used).await
}

/// `POST …/holds/{hold_id}/release`
pub async fn release(
    app: &App,
    request: &Request,
    account: &str,
    hold: &str,
) -> Result<Answer, Problem> {
    let nothing = |body: Fields| body.finish(|| Some(EndHold::Release));
    end(app, request, account, hold, nothing).await
}

async fn end(
    app: &App,
    request: &Request,
    account: &str,
    hold: &str,
    read: impl FnOnce(Fields) -> Result<EndHold, Problem>,
) -> Result<Answer, Problem> {
    let account = app.account(request, &[Scope::Service], account).await?;
    let asked = both(
        request.idempotency_key_if_any(),
        request.body().and_then(read),
    );
    let asked = match OperationId::try_new(hold) {
        Ok(id) => {
            let exists = app.ledger.hold_exists(&account, &id);
            let asked = input(asked, exists, Refusal::HoldNotFound).await;
            asked.map(|asked| (id, asked))
        }
        Err(_) => Err(Refusal::HoldNotFound.into()),
    };
    let (id, (key, end)) = app.input(&account, asked).await?;
    let ended = app
        .ledger
        .end_hold(&request.context, &account, &id, key.as_ref(), &end)
        .await;
    Answer::of(200, ended)
}

/// The body of a capture: how much of the hold.
pub fn used(mut body: Fields) -> Result<EndHold, Problem> {
    let amount = body.optional("amount", connects());
    body.finish(|| Some(EndHold::Capture { amount: amount? }))
}

/// The body of a hold.
pub fn command(mut body: Fields) -> Result<HoldCommand, Problem> {
    let amount = body.required("amount", connects());
    let reason = body.required("reason", text(HoldCommand::reason));
    let reference = body.optional("reference", text(Reference::try_new));
    let expires_at = body.optional("expires_at", instant());
    body.finish(|| {
        Some(HoldCommand {
            amount: amount?,
            reason: reason?,
            reference: reference?,
            expires_at: expires_at?,
        })
    })
}
