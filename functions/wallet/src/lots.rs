//! The live lots, oldest first.

use connects::domain::ids::{AccountId, LotId};
use connects::domain::lot::{Lot, LotView};
use connects::domain::time::{self, Time};
use connects::http::input::Fields;
use connects::http::page::{Listing, cursor, limit};
use connects::http::{Answer, App, Problem, Request, Scope};
use serde::{Deserialize, Serialize};

/// The last lot of a page: lots born after it follow, whatever was used up meanwhile.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Position {
    #[serde(with = "time::as_text")]
    issued_at: Time,
    lot_id: LotId,
}

#[derive(Serialize)]
struct Page {
    lots: Vec<LotView>,
    next_cursor: Option<String>,
}

/// `GET …/lots`
pub async fn page(app: &App, request: &Request, id: &str) -> Result<Answer, Problem> {
    let id = app.account(request, Scope::ANY, id).await?;
    let listing = Listing::of(&["lots", id.as_str()]);
    let asked = request.query().and_then(|query| asked(query, &listing));
    let (limit, after) = app.input(&id, asked).await?;
    let lots = lots_after(app, request, &id, after).await?;
    let (page, rest) = lots.split_at(limit.min(lots.len()));
    let next_cursor = page
        .last()
        .filter(|_| !rest.is_empty())
        .map(|last| listing.cursor(&position(last)))
        .transpose()?;
    let lots = page.iter().map(LotView::from).collect();
    Answer::json(200, &Page { lots, next_cursor })
}

/// The query of a page.
pub fn asked(mut query: Fields, listing: &Listing) -> Result<(usize, Option<Position>), Problem> {
    let limit = limit(&mut query);
    let after = cursor(&mut query, listing);
    query.finish(|| Some((limit?, after?)))
}

async fn lots_after(
    app: &App,
    request: &Request,
    id: &AccountId,
    after: Option<Position>,
) -> Result<Vec<Lot>, Problem> {
    let lots = app.ledger.lots(&request.context, id).await?;
    let follows =
        |lot: &Lot| after.is_none_or(|last| lot.birth().age_key() > (last.issued_at, last.lot_id));
    Ok(lots.into_iter().filter(follows).collect())
}

fn position(lot: &Lot) -> Position {
    let (issued_at, lot_id) = lot.birth().age_key();
    Position { issued_at, lot_id }
}
