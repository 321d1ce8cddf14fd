//! Scheduled runs over many accounts: the time grows with them, the memory does not.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use chrono::TimeDelta;
use connects::domain::account::{Kind, Open};
use connects::domain::closure::ClosureReason;
use connects::domain::ids::PersonId;
use connects::domain::job::{PostJob, Pricing};
use connects::domain::policy::{BUILT_IN, Policy};
use connects::domain::proposal::ProposeCommand;
use connects::domain::time;
use connects::domain::units::Connects;
use connects::ledger::{Context, Ledger};
use connects::store::{DUE_SHARDS, Store};
use connects_local::environment;
use connects_local::keys::Keys;
use connects_local::project::Project;
use connects_tests::table::{account_id, job_id};
use futures::stream::{self, TryStreamExt};
use sha2::{Digest, Sha256};

use crate::bed::{self, Bed, Sent, TABLE};
use crate::function::{Binaries, Function, cpu, peak_memory, scheduled};
use crate::rates::context;
use crate::report::{table, thousands, thousandths};
use crate::start::environment_of;

/// Items that one BatchWriteItem carries.
const BATCH: usize = 25;

/// A schedule under its policy, and what each account gets of it.
struct Due {
    function: &'static str,
    valid_months: u32,
    /// Days ago that the accounts were opened.
    opened: i64,
    /// Whether they all proposed on a job that is then closed.
    proposed: bool,
    /// The report's member that counts what is done, and how much of it an account makes.
    done: (&'static str, u64),
    what: &'static str,
}

const DUE: [Due; 3] = [
    Due {
        function: "monthly-grant",
        valid_months: 12,
        opened: 40,
        proposed: false,
        done: ("entries", 1),
        what: "one grant: entry, lot, profile",
    },
    Due {
        function: "nightly-expiry",
        valid_months: 1,
        opened: 40,
        proposed: false,
        done: ("entries", 3),
        what: "two lots' expiry and the grant that is due too: three entries, three lots, profile",
    },
    Due {
        function: "refund",
        valid_months: 12,
        opened: 0,
        proposed: true,
        done: ("proposals", 1),
        what: "what one job's closing gives back: entry, lot, proposal; that job is all that is due",
    },
];

type Item = HashMap<String, AttributeValue>;

pub async fn run(functions: &Binaries, sizes: &[u64]) {
    println!(
        "One invocation of a schedule's function, release binary, over HTTP to the embedded emulator \
         in a process of its own. `again`: the run after it, which finds nothing."
    );
    for due in &DUE {
        println!("\n`{}`; each account gets {}.\n", due.function, due.what);
        let mut rows = vec![];
        for &accounts in sizes {
            rows.push(invoke(functions, due, accounts).await);
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
}

async fn invoke(functions: &Binaries, due: &Due, accounts: u64) -> [String; 8] {
    let project = Project::find().unwrap();
    let keys = Keys::ensure(&project.keys()).unwrap();
    let policy = project.home().join(format!("bench/{}.toml", due.function));
    std::fs::create_dir_all(policy.parent().unwrap()).unwrap();
    std::fs::write(&policy, with_lots_of(due.valid_months)).unwrap();
    let binary = &functions.get().await[due.function];
    let bed = Bed::start().await;
    seed(&bed, due, accounts).await;
    let mut environment = environment_of(&bed.endpoint, &keys);
    environment.push(("CONNECTS_POLICY".to_owned(), policy.display().to_string()));
    let mut function = Function::start(binary, &environment).await;
    let event = scheduled(&time::text(environment::now()));
    let (used, used_there) = (cpu(function.id()), bed.cpu());
    let (took, report) = function.invoke(&event).await;
    let used = cpu(function.id()) - used;
    let used_there = bed.cpu() - used_there;
    let memory = peak_memory(function.id());
    let whole = report["unfinished"] == false;
    assert_eq!(report["failed"], 0, "{report}");
    let (counted, times) = due.done;
    let booked = report[counted].as_u64().unwrap();
    assert!(!whole || booked == accounts * times, "{report}");
    let (again, nothing) = function.invoke(&event).await;
    assert!(!whole || nothing[counted] == 0, "{nothing}");
    function.stop().await;
    let done = booked / times;
    let each = |total: u64| thousandths(total / done.max(1));
    [
        thousands(accounts),
        thousands(booked),
        thousandths(u64::try_from(took.as_millis()).unwrap()),
        each(u64::try_from(took.as_micros()).unwrap()),
        each(used * 1_000),
        each(used_there * 1_000),
        thousandths(memory),
        thousandths(u64::try_from(again.as_micros()).unwrap()),
    ]
}

/// The built-in policy with lots that live so long.
fn with_lots_of(months: u32) -> String {
    let line = |line: &str| match line.starts_with("valid_months") {
        true => format!("valid_months = {months}\n"),
        false => format!("{line}\n"),
    };
    BUILT_IN.lines().map(line).collect()
}

/// Accounts that are due: copies of one that was opened through the ledger.
async fn seed(bed: &Bed, due: &Due, accounts: u64) {
    let client = bed::client(&bed.endpoint, &Arc::new(Sent::default()));
    let policy = Policy::parse(&with_lots_of(due.valid_months)).unwrap();
    let ledger = Ledger::new(Store::new(client.clone(), TABLE), policy);
    let id = account_id();
    let open = Open {
        kind: Kind::Freelancer,
        person_id: PersonId::try_new(id.as_str()).unwrap(),
        email: None,
        payment_customer: None,
        opened_on: None,
    };
    let then = Context {
        now: environment::now() - TimeDelta::days(due.opened),
        ..context()
    };
    ledger.open(&then, &id, open).await.unwrap();
    let job = job_id();
    if due.proposed {
        let post = PostJob {
            posted_at: then.now,
            pricing: Pricing::Stated(Connects::new(8)),
        };
        ledger.post_job(&then, &job, &post).await.unwrap();
        let command = ProposeCommand::new(job.clone(), Connects::new(8));
        ledger.propose(&then, &id, None, &command).await.unwrap();
    }
    let mut original = items(&client, &format!("ACCOUNT#{id}"), ["ENTRY#", "PROFILE"]).await;
    original.extend(items(&client, &format!("JOB#{job}"), ["PROPOSAL#", "PROPOSAL#~"]).await);
    let copies: Vec<Item> = (1..accounts)
        .flat_map(|number| original.iter().map(move |item| (number, item)))
        .map(|(number, item)| copy(item, &format!("copy-{number:027}")))
        .collect();
    let batches = copies.chunks(BATCH).map(Ok::<_, String>);
    stream::iter(batches)
        .try_for_each_concurrent(4, |batch| put(&client, batch))
        .await
        .unwrap();
    if due.proposed {
        let fraud = ClosureReason::Fraud;
        ledger.close(&context(), &job, fraud).await.unwrap();
    }
}

/// An account's profile, lots and newest entry, or a job's proposals: what a sweep reads.
async fn items(client: &Client, pk: &str, [first, last]: [&str; 2]) -> Vec<Item> {
    let page = client
        .query()
        .table_name(TABLE)
        .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
        .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
        .expression_attribute_values(":first", AttributeValue::S(first.to_owned()))
        .expression_attribute_values(":last", AttributeValue::S(last.to_owned()))
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
    match item.contains_key("job_id") {
        true => {
            item.insert("sk".into(), AttributeValue::S(format!("PROPOSAL#{id}")));
            item.insert("account_id".into(), AttributeValue::S(id.to_owned()));
        }
        false => {
            item.insert("pk".into(), AttributeValue::S(format!("ACCOUNT#{id}")));
        }
    }
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
