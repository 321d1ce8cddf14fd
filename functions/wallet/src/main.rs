//! Every question about an account: balance, lots, history, purchases; and what there is to know
//! before there is one: the catalog, and the contract.

pub mod history;
pub mod lots;

use std::sync::LazyLock;

use connects::domain::account::Kind;
use connects::domain::ids::OperationId;
use connects::domain::refusal::Refusal;
use connects::http::input::{Fields, word};
use connects::http::{self, Answer, App, Problem, Request, Scope};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let app = App::start().await?;
    http::serve(app.clock, async |request| route(&app, request).await).await
}

/// What every route takes and answers, as OpenAPI; made from the code, which a test holds it against. Kept as
/// it reads best, and answered without the spaces.
static CONTRACT: LazyLock<String> = LazyLock::new(|| {
    let kept = include_str!("../../../infra/openapi.json");
    serde_json::from_str(kept).map_or(kept.to_owned(), |document: Value| document.to_string())
});

/// The routes of this function.
pub async fn route(app: &App, request: &Request) -> Result<Answer, Problem> {
    match (request.method(), &*request.path()) {
        ("GET", ["v1", "openapi.json"]) => {
            request.nothing()?;
            Ok(Answer::document(&CONTRACT))
        }
        ("GET", ["v1", "catalog"]) => catalog(app, request).await,
        ("GET", ["v1", "accounts", id]) => account(app, request, id).await,
        ("GET", ["v1", "accounts", id, "lots"]) => lots::page(app, request, id).await,
        ("GET", ["v1", "accounts", id, "history"]) => history::page(app, request, id).await,
        ("GET", ["v1", "accounts", id, "purchases", purchase]) => {
            self::purchase(app, request, id, purchase).await
        }
        _ => Err(Problem::not_found()),
    }
}

async fn catalog(app: &App, request: &Request) -> Result<Answer, Problem> {
    app.caller(request).await?.holds(Scope::ANY)?;
    let kind = buyer(request.query()?)?;
    Answer::json(200, &app.ledger.policy().catalog(kind))
}

/// The query of the catalog: for which kind of account.
pub fn buyer(mut query: Fields) -> Result<Kind, Problem> {
    let kind = query.required("kind", word());
    query.finish(|| kind)
}

async fn account(app: &App, request: &Request, id: &str) -> Result<Answer, Problem> {
    let id = app.account(request, Scope::ANY, id).await?;
    app.input(&id, request.nothing()).await?;
    Answer::json(200, &app.ledger.account(&request.context, &id).await?)
}

async fn purchase(
    app: &App,
    request: &Request,
    id: &str,
    purchase: &str,
) -> Result<Answer, Problem> {
    let id = app.account(request, Scope::ANY, id).await?;
    let purchase = OperationId::try_new(purchase).map_err(|_| Refusal::PurchaseNotFound.into());
    let purchase = app.input(&id, purchase).await?;
    let purchase = app
        .ledger
        .purchase_by_id(&request.context, &id, &purchase)
        .await?;
    request.nothing()?;
    Answer::json(200, &purchase)
}
