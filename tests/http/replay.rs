//! The journal, checked against the simplest model there is: every Connect a token of its own,
//! in a queue in the order they came.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use connects_tests::items::Item;
use serde_json::Value;

/// A lot's place in the order: when its Connects were got, then which lot it is.
type Place = (String, u64, u32);

/// What is left in each lot, by id, after the journal.
pub type Remaining = BTreeMap<String, i64>;

/// Replays a journal, oldest entry first, and asserts of every entry that it follows the one
/// before, takes the oldest tokens there are, and leaves the balance it says.
pub fn replay(journal: &[Value]) -> Remaining {
    let mut queue: Vec<(Place, String)> = Vec::new();
    let mut places: BTreeMap<String, Place> = BTreeMap::new();
    for (index, entry) in journal.iter().enumerate() {
        assert_eq!(entry["seq"].as_u64(), Some(index as u64 + 1), "{entry}");
        let amount = entry["amount"].as_i64().unwrap();
        let slices = slices(entry);
        match entry["type"].as_str().unwrap() {
            "issue" | "return" => {
                for (lot, _) in &slices {
                    places
                        .entry(lot.clone())
                        .or_insert_with(|| place(lot, entry["effective_at"].as_str().unwrap()));
                }
                let tokens = slices.iter().flat_map(|(lot, count)| {
                    (0..*count).map(|_| (places[lot].clone(), lot.clone()))
                });
                queue.extend(tokens);
                queue.sort();
            }
            "spend" | "debt_repaid" => {
                let count = usize::try_from(-amount).unwrap();
                let taken: Vec<_> = queue.drain(..count).map(|(_, lot)| lot).collect();
                assert_eq!(tally(taken), slices, "not the oldest: {entry}");
            }
            "expire" | "revoke" => {
                for (lot, count) in &slices {
                    let before = queue.len();
                    queue.retain(|(_, of)| of != lot);
                    assert_eq!((before - queue.len()) as i64, *count, "{entry}");
                }
            }
            "account" => assert!(amount == 0 && slices.is_empty(), "{entry}"),
            other => panic!("no entry of type {other} was asked for: {entry}"),
        }
        let counted: i64 = slices.iter().map(|(_, count)| count).sum();
        assert_eq!(counted, amount.abs(), "{entry}");
        assert_eq!(entry["available_after"], queue.len(), "{entry}");
    }
    let sum: i64 = journal.iter().map(|e| e["amount"].as_i64().unwrap()).sum();
    assert_eq!(sum, queue.len() as i64);
    tally(queue.into_iter().map(|(_, lot)| lot).collect())
        .into_iter()
        .collect()
}

fn place(lot: &str, issued_at: &str) -> Place {
    let (seq, index) = lot.split_once('-').unwrap();
    (
        issued_at.to_owned(),
        seq.parse().unwrap(),
        index.parse().unwrap(),
    )
}

/// The lots an entry touched, in its order.
fn slices(entry: &Value) -> Vec<(String, i64)> {
    let lots = entry["lots"].as_array().unwrap();
    lots.iter()
        .map(|lot| {
            let id = lot["lot_id"].as_str().unwrap().to_owned();
            (id, lot["amount"].as_i64().unwrap())
        })
        .collect()
}

/// Runs of the same lot, counted.
fn tally(tokens: Vec<String>) -> Vec<(String, i64)> {
    tokens.into_iter().fold(Vec::new(), |mut runs, lot| {
        match runs.last_mut() {
            Some((of, count)) if *of == lot => *count += 1,
            _ => runs.push((lot, 1)),
        }
        runs
    })
}

/// Asserts that the stored entries are numbered 1 to n without a gap and that each names the
/// hash of the one before.
pub fn chained(items: &BTreeMap<String, Item>) {
    let entries = items.iter().filter(|(sk, _)| sk.starts_with("ENTRY#"));
    let mut previous: Option<&AttributeValue> = None;
    for (index, (sk, entry)) in entries.enumerate() {
        assert_eq!(*sk, format!("ENTRY#{:012}", index + 1));
        if let Some(hash) = previous {
            assert_eq!(&entry["prev_hash"], hash, "{sk}");
        }
        previous = Some(&entry["hash"]);
    }
    assert!(previous.is_some(), "an empty journal");
}
