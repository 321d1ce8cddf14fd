//! The journal, newest first: JSON, or CSV for those who ask.

use chrono::NaiveDate;
use connects::domain::history::{Cursor, Query, Range};
use connects::domain::ids::{AccountId, Reason, Reference, Seq};
use connects::domain::journal::{EntryType, EntryView};
use connects::domain::quota::Quota;
use connects::domain::refusal::Invalid;
use connects::domain::time;
use connects::domain::units::Connects;
use connects::http::input::{Fields, date, one_of, text};
use connects::http::page::{Listing, cursor, limit};
use connects::http::{Answer, App, Problem, Request, Scope};
use serde::Serialize;

/// The columns of a CSV page: the members of the JSON entries.
const COLUMNS: [&str; 10] = [
    "seq",
    "at",
    "effective_at",
    "type",
    "reason",
    "amount",
    "available_after",
    "held_after",
    "reference",
    "lots",
];

#[derive(Serialize)]
struct Page {
    entries: Vec<EntryView>,
    next_cursor: Option<String>,
}

/// `GET …/history`
pub async fn page(app: &App, request: &Request, id: &str) -> Result<Answer, Problem> {
    let id = app.account(request, Scope::ANY, id).await?;
    let asked = request.query().and_then(|query| asked(query, &id));
    let (asked, after, limit, listing) = app.input(&id, asked).await?;
    app.take(request, &id, Quota::History).await?;
    let page = app
        .ledger
        .history(&request.context, &id, &asked, after, limit)
        .await?;
    let next_cursor = page.next.map(|next| listing.cursor(&next)).transpose()?;
    if request.wants_csv() {
        let body = csv(&page.entries).map_err(|error| Problem::internal(&error))?;
        return Ok(Answer::csv(body, next_cursor));
    }
    let entries = page.entries;
    Answer::json(
        200,
        &Page {
            entries,
            next_cursor,
        },
    )
}

/// What a page is of, where it goes on, how long it is, and what its cursors belong to.
pub type Asked = (Query, Option<Cursor>, usize, Listing);

/// The query of a page.
pub fn asked(mut query: Fields, account: &AccountId) -> Result<Asked, Problem> {
    let (days, between) = (days(&mut query), between(&mut query));
    let reference = query.optional("reference", text(Reference::try_new));
    let limit = limit(&mut query);
    if matches!((days, between), (Some(Some(_)), Some(Some(_)))) {
        query.refuse(Invalid::field("days", "can't go with from and to"));
    }
    let asked = || {
        let reference = reference.clone()?;
        let range = match (days?, between?) {
            (Some(days), _) => Range::Days(days),
            (None, Some((from, to))) => Range::Between(from, to),
            (None, None) if reference.is_some() => Range::ALL,
            (None, None) => Range::default(),
        };
        Some(Query { range, reference })
    };
    // A cursor belongs to the filters that it was made under.
    let filters = serde_json::to_string(&asked()).map_err(|error| Problem::internal(&error))?;
    let listing = Listing::of(&["history", account.as_str(), &filters]);
    let after = cursor(&mut query, &listing);
    query.finish(|| Some((asked()?, after?, limit?, listing)))
}

fn days(query: &mut Fields) -> Option<Option<u32>> {
    query.optional("days", one_of(&Range::DAYS, |days| days.parse().ok()))
}

type Between = (Option<NaiveDate>, Option<NaiveDate>);

fn between(query: &mut Fields) -> Option<Option<Between>> {
    let (from, to) = (query.optional("from", date()), query.optional("to", date()));
    let (from, to) = (from?, to?);
    if from.zip(to).is_some_and(|(from, to)| to < from) {
        query.refuse(Invalid::field("to", "must not be before from"));
    }
    Some((from.is_some() || to.is_some()).then_some((from, to)))
}

/// An entry as a line.
#[derive(Serialize)]
struct Line<'e> {
    seq: Seq,
    at: String,
    effective_at: String,
    r#type: EntryType,
    reason: &'e Reason,
    amount: i64,
    available_after: Connects,
    held_after: Connects,
    reference: Option<&'e Reference>,
    lots: String,
}

impl<'e> From<&'e EntryView> for Line<'e> {
    fn from(entry: &'e EntryView) -> Self {
        let lots = entry
            .lots
            .iter()
            .map(|slice| format!("{}:{}", slice.lot_id, slice.amount));
        Self {
            seq: entry.seq,
            at: time::text(entry.at),
            effective_at: time::text(entry.effective_at),
            r#type: entry.r#type,
            reason: &entry.reason,
            amount: entry.amount,
            available_after: entry.available_after,
            held_after: entry.held_after,
            reference: entry.reference.as_ref(),
            lots: lots.collect::<Vec<_>>().join(";"),
        }
    }
}

fn csv(entries: &[EntryView]) -> Result<String, Box<dyn std::error::Error>> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for entry in entries {
        writer.serialize(Line::from(entry))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use connects::domain::lot::SliceView;

    fn read(query: &str) -> Result<Asked, Problem> {
        let account = AccountId::try_new("a1").unwrap();
        Fields::of_query(query).and_then(|query| asked(query, &account))
    }

    fn day(text: &str) -> Option<NaiveDate> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn what_is_asked_for() {
        let range = |query: &str| read(query).unwrap().0.range;
        assert_eq!(range(""), Range::Days(30));
        assert_eq!(range("days=7"), Range::Days(7));
        assert_eq!(range("days=90&reference=job:J1"), Range::Days(90));
        assert_eq!(range("reference=job:J1"), Range::ALL);
        assert_eq!(
            range("from=2026-01-01"),
            Range::Between(day("2026-01-01"), None)
        );
        assert_eq!(
            range("from=2026-01-01&to=2026-01-01"),
            Range::Between(day("2026-01-01"), day("2026-01-01"))
        );
        for (query, code, field) in [
            ("days=8", "invalid_field", "days"),
            ("days=07", "invalid_field", "days"),
            ("days=seven", "invalid_field", "days"),
            ("days=7&to=2026-01-01", "invalid_field", "days"),
            ("from=2026-01-02&to=2026-01-01", "invalid_field", "to"),
            ("from=yesterday", "invalid_field", "from"),
            ("reference=J1", "invalid_field", "reference"),
            ("limit=101", "above_maximum", "limit"),
            ("since=2026-01-01", "unknown_field", "since"),
        ] {
            let problem = read(query).unwrap_err();
            let told = problem.member("field").and_then(|field| field.as_str());
            assert_eq!((problem.code(), told), (code, Some(field)), "{query}");
        }
        assert_eq!(read("limit=x").unwrap_err().code(), "malformed_request");
    }

    #[test]
    fn a_cursor_goes_on_under_the_same_filters_only() {
        let position = Cursor {
            before: Seq::new(7),
            since_ms: Some(1),
        };
        let cursor = read("days=7").unwrap().3.cursor(&position).unwrap();
        let again = read(&format!("days=7&limit=5&cursor={cursor}")).unwrap();
        assert_eq!((again.1, again.2), (Some(position), 5));
        for other in ["", "days=30", "days=7&reference=job:J1", "from=2026-01-01"] {
            let problem = read(&format!("{other}&cursor={cursor}")).unwrap_err();
            assert_eq!(problem.code(), "invalid_cursor", "{other}");
        }
    }

    #[test]
    fn a_csv_line_says_what_the_json_entry_says() {
        let at = time::parse("2026-03-01T12:00:00Z").unwrap();
        let slice = |lot: &str, amount| SliceView {
            lot_id: lot.parse().unwrap(),
            amount: Connects::new(amount),
        };
        let entry = EntryView {
            seq: Seq::new(4),
            at,
            effective_at: at,
            r#type: EntryType::Spend,
            reason: Reason::of("profile_boost"),
            amount: -45,
            available_after: Connects::new(5),
            held_after: Connects::ZERO,
            reference: Some(Reference::of("job", "J1")),
            lots: vec![slice("2-0", 40), slice("3-0", 5)],
        };
        let bare = EntryView {
            reference: None,
            lots: vec![],
            ..entry.clone()
        };
        let serde_json::Value::Object(json) = serde_json::to_value(&entry).unwrap() else {
            panic!("an entry is an object");
        };
        assert!(COLUMNS.iter().all(|column| json.contains_key(*column)));
        assert_eq!(json.len(), COLUMNS.len());
        let expected = "seq,at,effective_at,type,reason,amount,available_after,held_after,reference,lots\n\
            4,2026-03-01T12:00:00.000Z,2026-03-01T12:00:00.000Z,spend,profile_boost,-45,5,0,job:J1,2-0:40;3-0:5\n\
            4,2026-03-01T12:00:00.000Z,2026-03-01T12:00:00.000Z,spend,profile_boost,-45,5,0,,\n";
        assert_eq!(csv(&[entry, bare]).unwrap(), expected);
        assert_eq!(csv(&[]).unwrap().lines().count(), 1);
    }
}
