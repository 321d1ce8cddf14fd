//! Scheduled runs over many accounts: the time grows with them, the memory does not.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use chrono::TimeDelta;
use connects::domain::account::{Kind, Open};
use connects::domain::ids::PersonId;
use connects::domain::time;
use connects::ledger::Context;
use connects::store::DUE_SHARDS;
use connects_local::environment;
use connects_local::keys::Keys;
use connects_local::project::Project;
use connects_tests::table::account_id;
use futures::stream::{self, TryStreamExt};
use sha2::{Digest, Sha256};

use crate::bed::{self, Bed, Sent, TABLE};
use crate::function::{Binaries, Function, cpu, peak_memory, scheduled};
use crate::rates::context;
use crate::report::{table, thousands, thousandths};
use crate::start::environment_of;

/// Items that one BatchWriteItem carries.
const BATCH: usize = 25;

/// Days ago that the accounts were opened: one cycle has begun since.
const OPENED: TimeDelta = TimeDelta::days(40);

type Item = HashMap<String, AttributeValue>;

pub async fn run(functions: &Binaries, sizes: &[u64]) {
    println!(
        "One invocation of `monthly-grant`, release binary, over HTTP to the embedded emulator in a \
         process of its own, with so many accounts due, each of which gets one grant: entry, lot, \
         profile. `again`: the run after it, which finds nothing.\n"
    );
    let keys = Keys::ensure(&Project::find().unwrap().keys()).unwrap();
    let binary = &functions.get().await["monthly-grant"];
    let mut rows = vec![];
    for &accounts in sizes {
        let bed = Bed::start().await;
        seed(&bed, accounts).await;
        let mut function = Function::start(binary, &environment_of(&bed.endpoint, &keys)).await;
        let event = scheduled(&time::text(environment::now()));
        let (used, used_there) = (cpu(function.id()), bed.cpu());
        let (took, report) = function.invoke(&event).await;
        let used = cpu(function.id()) - used;
        let used_there = bed.cpu() - used_there;
        let memory = peak_memory(function.id());
        let whole = report["unfinished"] == false;
        assert_eq!(report["failed"], 0, "{report}");
        assert!(!whole || report["entries"] == accounts, "{report}");
        let (again, nothing) = function.invoke(&event).await;
        assert!(!whole || nothing["entries"] == 0, "{nothing}");
        let booked = report["entries"].as_u64().unwrap();
        let each = |total: u64| thousandths(total / booked.max(1));
        rows.push([
            thousands(accounts),
            thousands(booked),
            thousandths(u64::try_from(took.as_millis()).unwrap()),
            each(u64::try_from(took.as_micros()).unwrap()),
            each(used * 1_000),
            each(used_there * 1_000),
            thousandths(memory),
            thousandths(u64::try_from(again.as_micros()).unwrap()),
        ]);
        function.stop().await;
    }
    table(
        [
            "accounts due",
            "booked",
            "took, s",
            "an account, ms",
            "the function's CPU time for one, ms",
            "the emulator's, ms",
            "the function's peak memory, MB",
            "again, ms",
        ],
        rows,
    );
}

/// Accounts that are due: copies of one that was opened through the ledger.
async fn seed(bed: &Bed, accounts: u64) {
    let ledger = bed.ledger(&Arc::new(Sent::default()));
    let client = bed::client(&bed.endpoint, &Arc::new(Sent::default()));
    let id = account_id();
    let open = Open {
        kind: Kind::Freelancer,
        person_id: PersonId::try_new(id.as_str()).unwrap(),
        email: None,
        opened_on: None,
    };
    let then = Context {
        now: environment::now() - OPENED,
        ..context()
    };
    ledger.open(&then, &id, open).await.unwrap();
    let original = state(&client, &AttributeValue::S(format!("ACCOUNT#{id}"))).await;
    let copies: Vec<Item> = (1..accounts)
        .flat_map(|number| original.iter().map(move |item| (number, item)))
        .map(|(number, item)| copy(item, &format!("copy-{number:027}")))
        .collect();
    let batches = copies.chunks(BATCH).map(Ok::<_, String>);
    stream::iter(batches)
        .try_for_each_concurrent(4, |batch| put(&client, batch))
        .await
        .unwrap();
}

/// Profile, lots and newest entry: what a sweep reads.
async fn state(client: &Client, pk: &AttributeValue) -> Vec<Item> {
    let page = client
        .query()
        .table_name(TABLE)
        .key_condition_expression("pk = :pk AND sk <= :profile")
        .expression_attribute_values(":pk", pk.clone())
        .expression_attribute_values(":profile", AttributeValue::S("PROFILE".to_owned()))
        .scan_index_forward(false)
        .send()
        .await
        .unwrap();
    let is_entry = |item: &Item| item["sk"].as_s().unwrap().starts_with("ENTRY#");
    let items = page.items.unwrap();
    let lots = items.iter().take_while(|item| !is_entry(item)).count();
    items.into_iter().take(lots + 1).collect()
}

/// The same item of another account, in that account's shard.
fn copy(item: &Item, id: &str) -> Item {
    let mut item = item.clone();
    item.insert("pk".into(), AttributeValue::S(format!("ACCOUNT#{id}")));
    if let Some(AttributeValue::S(shard)) = item.get_mut("due_shard") {
        let digest = Sha256::digest(id);
        let spread = u32::from_be_bytes([digest[4], digest[5], digest[6], digest[7]]);
        let (kind, _) = shard.split_once('#').unwrap();
        *shard = format!("{kind}#{}", spread % DUE_SHARDS);
    }
    item
}

async fn put(client: &Client, items: &[Item]) -> Result<(), String> {
    let requests = items.iter().map(|item| {
        let put = PutRequest::builder().set_item(Some(item.clone()));
        WriteRequest::builder()
            .put_request(put.build().unwrap())
            .build()
    });
    let answer = client
        .batch_write_item()
        .request_items(TABLE, requests.collect())
        .send()
        .await
        .map_err(|error| format!("{error:?}"))?;
    match answer.unprocessed_items {
        Some(left) if !left.is_empty() => Err("the emulator left items".to_owned()),
        _ => Ok(()),
    }
}
