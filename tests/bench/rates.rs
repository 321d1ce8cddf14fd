//! Spends a second and how long they take, beside the bare floor: the same number and size of items
//! written by plain transactions, on the same emulator, in turns with them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use connects::domain::account::{Kind, Open};
use connects::domain::ids::{AccountId, PersonId};
use connects::domain::purchase::PurchaseCommand;
use connects::ledger::{Context, Ledger};
use connects_local::environment;
use connects_tests::cost::Approves;
use connects_tests::table::{account_id, key, spend, unique};
use futures::future::join_all;
use tokio::time::Instant;

use crate::bed::{self, Bed, Sent, TABLE};
use crate::report::{percentile, ratio, table, thousands, thousandths};

/// How many clients there are at a time.
const CLIENTS: [usize; 4] = [1, 8, 32, 128];

/// Accounts that spread clients share out among themselves.
const ACCOUNTS: usize = 256;

/// Each measurement is made in so many parts, in turns with the others.
const TURNS: u32 = 3;

/// How long a request may take, as in a function.
const BUDGET: Duration = Duration::from_secs(8);

/// What some clients did.
#[derive(Debug, Default, Clone)]
pub struct Run {
    /// Each client's successes.
    pub done: Vec<u64>,
    /// How long each success took, in microseconds.
    pub took: Vec<u64>,
    /// Requests that failed.
    pub failed: u64,
    /// Requests to the table.
    pub sent: u64,
    /// How long all of it took.
    pub elapsed: Duration,
}

impl Run {
    /// Successes a second.
    pub fn rate(&self) -> u64 {
        let done: u64 = self.done.iter().sum();
        done * 1_000_000 / u64::try_from(self.elapsed.as_micros()).unwrap().max(1)
    }

    /// The times in which that many in a hundred were done, in milliseconds.
    pub fn percentiles(&mut self) -> String {
        self.took.sort_unstable();
        [50, 90, 99]
            .map(|hundredth| thousandths(percentile(&self.took, hundredth)))
            .join(" / ")
    }

    /// The slowest client's part of an equal share.
    pub fn slowest_share(&self) -> String {
        let equal = self.done.iter().sum::<u64>() / self.done.len().max(1) as u64;
        ratio(self.done.iter().copied().min().unwrap_or_default(), equal)
    }

    /// Requests to the table for each success.
    pub fn sent_for_each(&self) -> String {
        ratio(self.sent, self.done.iter().sum())
    }

    fn and(mut self, other: Self) -> Self {
        self.done.resize(other.done.len(), 0);
        self.done
            .iter_mut()
            .zip(&other.done)
            .for_each(|(sum, done)| *sum += done);
        self.took.extend(other.took);
        self.failed += other.failed;
        self.sent += other.sent;
        self.elapsed += other.elapsed;
        self
    }
}

/// So many clients, each doing one thing after another until the time is over.
pub async fn drive(clients: usize, time: Duration, one: impl AsyncFn(usize, u64) -> bool) -> Run {
    let begun = Instant::now();
    let (one, end) = (&one, begun + time);
    let client = |client| async move {
        let (mut took, mut failed) = (vec![], 0);
        for turn in 0.. {
            let begun = Instant::now();
            if begun >= end {
                break;
            }
            if one(client, turn).await {
                took.push(u64::try_from(begun.elapsed().as_micros()).unwrap());
            } else {
                failed += 1;
            }
        }
        (took, failed)
    };
    let clients = join_all((0..clients).map(client)).await;
    Run {
        done: clients.iter().map(|(took, _)| took.len() as u64).collect(),
        failed: clients.iter().map(|(_, failed)| failed).sum(),
        took: clients.into_iter().flat_map(|(took, _)| took).collect(),
        sent: 0,
        elapsed: begun.elapsed(),
    }
}

/// Time and patience of a request that comes in now.
pub fn context() -> Context {
    Context {
        now: environment::now(),
        deadline: Instant::now() + BUDGET,
    }
}

/// An account with a million Connects in one lot.
pub async fn rich_account(ledger: &Ledger) -> AccountId {
    let id = account_id();
    let open = Open {
        kind: Kind::Agency,
        person_id: PersonId::try_new(id.as_str()).unwrap(),
        email: None,
        payment_customer: None,
        opened_on: None,
    };
    ledger.open(&context(), &id, open).await.unwrap();
    let all = PurchaseCommand {
        quantity: 1_000_000,
        promo_code: None,
        payment_method: None,
    };
    ledger
        .purchase(&context(), &Approves, &id, &key(), &all)
        .await
        .unwrap();
    id
}

type Item = HashMap<String, AttributeValue>;

/// The bare floor.
pub struct Floor {
    client: Client,
    table: String,
    entry: Item,
    lot: Item,
    receipt: Item,
}

impl Floor {
    /// The items of a spend, from one that is made here.
    pub async fn like_a_spend(client: Client, ledger: &Ledger, table: &str) -> Self {
        let account = rich_account(ledger).await;
        ledger
            .spend(&context(), &account, &key(), &spend(1))
            .await
            .unwrap();
        let pk = AttributeValue::S(format!("ACCOUNT#{account}"));
        let page = client
            .query()
            .table_name(table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", pk)
            .send()
            .await
            .unwrap();
        let newest = |prefix: &str| {
            let items = page.items().iter().rev();
            let mut items = items.filter(|item| item["sk"].as_s().unwrap().starts_with(prefix));
            items.next().unwrap().clone()
        };
        // A lot's index keys are put with the rest each time and so never change.
        Self {
            entry: newest("ENTRY#"),
            lot: newest("LOT#"),
            receipt: newest("RECEIPT#sp_"),
            table: table.to_owned(),
            client,
        }
    }

    /// Writes them, with new keys where a spend's are new, in the partition of that client.
    pub async fn write(&self, client: usize) -> bool {
        let pk = AttributeValue::S(format!("FLOOR#{client:027}"));
        let at = |item: &Item, sk: AttributeValue| {
            let mut item = item.clone();
            item.insert("pk".to_owned(), pk.clone());
            item.insert("sk".to_owned(), sk);
            let put = Put::builder().table_name(&self.table).set_item(Some(item));
            TransactWriteItem::builder()
                .put(put.build().unwrap())
                .build()
        };
        let number = || AttributeValue::S(format!("ENTRY#{:012}", fastrand::u32(..)));
        let id = || AttributeValue::S(format!("RECEIPT#sp_{}", &unique()[..26]));
        let items = vec![
            at(&self.entry, number()),
            at(&self.lot, self.lot["sk"].clone()),
            at(&self.receipt, id()),
        ];
        let request = self.client.transact_write_items();
        let answer = request.set_transact_items(Some(items)).send().await;
        answer.is_ok()
    }

    /// The same after the two reads that a spend begins with, of as much as it reads.
    pub async fn read_and_write(&self, client: usize, account: &AccountId) -> bool {
        let pk = AttributeValue::S(format!("ACCOUNT#{account}"));
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk <= :profile")
            .expression_attribute_values(":pk", pk.clone())
            .expression_attribute_values(":profile", AttributeValue::S("PROFILE".to_owned()))
            .scan_index_forward(false)
            .limit(16)
            .send();
        let get = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", pk)
            .key("sk", AttributeValue::S("RECEIPT#none".to_owned()))
            .send();
        let (query, get) = futures::join!(query, get);
        query.is_ok() && get.is_ok() && self.write(client).await
    }
}

pub async fn run(seconds: u64) {
    println!(
        "The crate's ledger against the embedded emulator in a process of its own; all clients on one \
         thread; a spend of 1 from one lot, {seconds} s for each figure in {TURNS} turns. `floor`: three \
         items as large as a spend's, put by plain TransactWriteItems, unconditioned, one partition for \
         each client. `with reads`: the same after the two reads that a spend begins with. `spread`: \
         {ACCOUNTS} accounts, none shared by two clients. `hot`: all clients on one account; its ratio \
         is to the floor of one client, for an account takes one change after another.\n"
    );
    let bed = Bed::start().await;
    let sent = Arc::new(Sent::default());
    let ledger = bed.ledger(&sent);
    let floor = Floor::like_a_spend(bed::client(&bed.endpoint, &sent), &ledger, TABLE).await;
    let mut accounts = vec![];
    for _ in 0..ACCOUNTS {
        accounts.push(rich_account(&ledger).await);
    }
    let part = Duration::from_millis(1_000 * seconds / u64::from(TURNS));
    let spend_on = async |account: &AccountId| {
        let spent = ledger.spend(&context(), account, &key(), &spend(1)).await;
        spent.is_ok()
    };
    let mut single = 0;
    let mut spread_rows = vec![];
    let mut hot_rows = vec![];
    for clients in CLIENTS {
        let own = |client: usize, turn: u64| {
            let mine = ACCOUNTS / clients;
            &accounts[client + clients * (turn as usize % mine)]
        };
        let hot_account = rich_account(&ledger).await;
        let mut runs: [Run; 4] = Default::default();
        for _ in 0..TURNS {
            sent.take();
            let of = |run: Run| Run {
                sent: sent.take(),
                ..run
            };
            let [bare, reading, spread, hot] = runs;
            let next = drive(clients, part, async |client, _| floor.write(client).await).await;
            let bare = bare.and(of(next));
            let next = drive(clients, part, async |client, turn| {
                floor.read_and_write(client, own(client, turn)).await
            });
            let reading = reading.and(of(next.await));
            let next = drive(clients, part, async |client, turn| {
                spend_on(own(client, turn)).await
            });
            let spread = spread.and(of(next.await));
            let next = drive(clients, part, async |_, _| spend_on(&hot_account).await).await;
            runs = [bare, reading, spread, hot.and(of(next))];
        }
        let [mut bare, reading, mut spread, mut hot] = runs;
        if clients == 1 {
            single = bare.rate();
        }
        spread_rows.push([
            clients.to_string(),
            thousands(bare.rate()),
            thousands(reading.rate()),
            thousands(spread.rate()),
            ratio(spread.rate(), bare.rate()),
            ratio(spread.rate(), reading.rate()),
            bare.percentiles(),
            spread.percentiles(),
            (bare.failed + reading.failed + spread.failed).to_string(),
        ]);
        hot_rows.push([
            clients.to_string(),
            thousands(hot.rate()),
            ratio(hot.rate(), single),
            hot.sent_for_each(),
            hot.percentiles(),
            hot.slowest_share(),
            hot.failed.to_string(),
        ]);
    }
    println!("Spread over accounts, a second:\n");
    table(
        [
            "clients",
            "floor",
            "with reads",
            "spends",
            "spends / floor",
            "spends / with reads",
            "floor's p50 / p90 / p99, ms",
            "spends', ms",
            "failed",
        ],
        spread_rows,
    );
    println!("\nOne hot account:\n");
    table(
        [
            "clients",
            "spends a second",
            "to the floor of one client",
            "requests for each spend",
            "p50 / p90 / p99, ms",
            "slowest client's part of an equal share",
            "failed",
        ],
        hot_rows,
    );
    println!(
        "\nThe emulator's process used {} ms of CPU time in all.",
        thousands(bed.cpu())
    );
}
