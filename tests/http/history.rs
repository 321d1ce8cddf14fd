//! The report of an account: what happened, when, to which lots.

use connects_tests::holder::Holder;
use connects_tests::stack::Stack;
use serde_json::{Value, json};

/// An agency with a credit of 1 on each of these instants.
async fn credited<'a>(stack: &'a Stack, opened: &str, credits: &[&str]) -> Holder<'a> {
    let holder = stack.agency(opened).await;
    for at in credits {
        holder.given(1, at).await;
    }
    holder
}

async fn count(holder: &Holder<'_>, query: &str, at: &str) -> usize {
    let path = format!("/history?{query}");
    holder.listing(&path, "entries", at).await.len()
}

#[tokio::test]
async fn the_last_7_30_and_90_days() {
    let stack = Stack::local();
    // 91 days, 89 days, 29 days, exactly 7 days and 6 days before noon of 1 June.
    let aged = [
        "2053-03-02T12:00:00Z",
        "2053-03-04T12:00:00Z",
        "2053-05-03T12:00:00Z",
        "2053-05-25T12:00:00Z",
        "2053-05-26T12:00:00Z",
    ];
    let ana = credited(&stack, "2053-02-01", &aged).await;
    let now = "2053-06-01T12:00:00Z";
    for (days, entries) in [(7, 2), (30, 3), (90, 4)] {
        let seen = count(&ana, &format!("days={days}"), now).await;
        assert_eq!(seen, entries, "{days} days");
    }
    // A millisecond later the entry of exactly seven days ago has left the window.
    assert_eq!(count(&ana, "days=7", "2053-06-01T12:00:00.001Z").await, 1);
}

#[tokio::test]
async fn from_and_to_are_days_and_both_count() {
    let stack = Stack::local();
    let instants = [
        "2053-03-01T23:59:59.999Z",
        "2053-03-02T00:00:00Z",
        "2053-03-03T12:00:00Z",
        "2053-03-04T23:59:59.999Z",
        "2053-03-05T00:00:00Z",
    ];
    let ana = credited(&stack, "2053-02-01", &instants).await;
    for (from, to, entries) in [
        ("2053-03-02", "2053-03-04", 3),
        ("2053-03-01", "2053-03-01", 1),
        ("2053-03-03", "2053-03-03", 1),
        ("2053-03-01", "2053-03-05", 5),
        ("2053-03-06", "2053-03-09", 0),
        ("2053-01-01", "2053-02-28", 1),
    ] {
        let query = format!("from={from}&to={to}");
        assert_eq!(count(&ana, &query, "2053-03-10").await, entries, "{query}");
    }
}

#[tokio::test]
async fn by_reference() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    for (amount, reference) in [(3, "job:J-1"), (4, "job:J-2"), (5, "job:J-1")] {
        let body = json!({ "amount": amount, "reason": "application", "reference": reference });
        ana.spend_with(body).at("2052-01-16").await.is(201);
    }
    for (reference, amounts) in [
        ("job:J-1", vec![-5, -3]),
        ("job:J-2", vec![-4]),
        ("job:J-3", vec![]),
    ] {
        let path = format!("/history?reference={reference}");
        let entries = ana.listing(&path, "entries", "2052-01-17").await;
        let seen: Vec<_> = entries
            .iter()
            .map(|e| e["amount"].as_i64().unwrap())
            .collect();
        assert_eq!(seen, amounts, "{reference}");
    }
}

#[tokio::test]
async fn newest_first_and_page_by_page_to_the_end() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    for amount in 1..=8 {
        ana.spend(amount).at("2052-01-16").await.is(201);
    }
    let now = "2052-01-17";
    let all = ana
        .listing("/history?days=7&limit=100", "entries", now)
        .await;
    let seqs: Vec<_> = all.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=11).rev().collect::<Vec<_>>());
    for limit in [1, 2, 5, 11, 12] {
        let path = format!("/history?days=7&limit={limit}");
        let pages = ana.listing(&path, "entries", now).await;
        assert_eq!(pages, all, "limit {limit}");
    }
    for path in ["/lots?limit=1", "/lots"] {
        let lots = ana.listing(path, "lots", now).await;
        assert_eq!(lots.len(), 2, "{path}");
    }
}

#[tokio::test]
async fn csv_says_what_json_says() {
    let stack = Stack::local();
    let ana = stack.agency("2055-01-01").await;
    ana.given(3, "2055-01-10").await;
    ana.given(10, "2055-01-11").await;
    let body = json!({ "amount": 8, "reason": "application", "reference": "job:J-1" });
    ana.spend_with(body).at("2055-01-12").await.is(201);
    let now = "2055-01-13";
    let entries = ana.listing("/history?days=30", "entries", now).await;

    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ana.get(&format!("/history?days=30&limit=2{cursor}"));
        let page = page.at(now).header("accept", "text/csv").await.is(200);
        let kind = page.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/csv"), "{kind}");
        let mut reader = csv::Reader::from_reader(page.text.as_bytes());
        let header = reader.headers().unwrap().clone();
        rows.extend(
            reader
                .records()
                .map(|record| (header.clone(), record.unwrap())),
        );
        match page.header("connects-next-cursor") {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(rows.len(), entries.len());
    for ((header, row), entry) in rows.iter().zip(&entries) {
        let members: Vec<_> = entry.as_object().unwrap().keys().collect();
        assert_eq!(header.len(), members.len(), "{header:?} for {entry}");
        for (name, field) in header.iter().zip(row) {
            assert_eq!(field, in_csv(&entry[name]), "{name} of {entry}");
        }
    }
}

/// How a member of an entry reads in a CSV field.
fn in_csv(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(lots) => {
            let lot =
                |lot: &Value| format!("{}:{}", lot["lot_id"].as_str().unwrap(), lot["amount"]);
            lots.iter().map(lot).collect::<Vec<_>>().join(";")
        }
        other => other.to_string(),
    }
}

#[tokio::test]
async fn a_cursor_is_good_for_the_listing_it_came_from() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let bea = stack.freelancer("2052-01-15").await;
    let now = "2052-01-16";
    let first = ana.get("/history?days=7&limit=1").at(now).await.is(200);
    let cursor = first.text("next_cursor");
    for (holder, path) in [
        (&bea, format!("/history?days=7&limit=1&cursor={cursor}")),
        (&ana, format!("/history?days=30&limit=1&cursor={cursor}")),
        (&ana, format!("/lots?limit=1&cursor={cursor}")),
        (&ana, format!("/history?days=7&limit=1&cursor={cursor}A")),
        (&ana, "/history?days=7&cursor=garbage".to_owned()),
        (&ana, "/history?days=7&cursor=".to_owned()),
        (&ana, "/lots?cursor=%00".to_owned()),
    ] {
        let answer = holder.get(&path).at(now).await;
        answer.refused(400, "invalid_cursor");
    }
    let path = format!("/history?days=7&limit=1&cursor={cursor}");
    ana.get(&path).at(now).await.is(200);
}
