//! Spends a second through the local gateway: functions as they are deployed, cargo-lambda before
//! them, the emulator behind.

use std::sync::Arc;
use std::time::Duration;

use connects::ledger::Ledger;
use connects::store::Store as Table;
use connects_local::emulator::Store;
use connects_local::project::Project;
use connects_local::stack::{Options, Payments, Site, free_port};
use connects_local::state::Features;
use connects_local::template::Template;
use connects_tests::stack::Stack;
use connects_tests::table::unique;
use reqwest::Method;
use serde_json::json;

use crate::bed::{self, Sent};
use crate::function::Binaries;
use crate::rates::{Floor, drive, rich_account};
use crate::report::{ratio, table, thousands};

/// The gateway jams when more than a hundred requests wait for one function.
const CLIENTS: [usize; 4] = [1, 8, 32, 64];

/// Processes of each function.
const PROCESSES: u16 = 4;

/// Accounts that spread clients share out among themselves.
const ACCOUNTS: usize = 128;

pub async fn run(functions: &Binaries, seconds: u64) {
    println!(
        "Spends of 1 over HTTP through cargo-lambda's gateway, {PROCESSES} processes of each function, \
         release binaries, all on this machine; {seconds} s for each figure. The floor is that of the \
         same emulator in the same run: plain transactions of three items as large as a spend's, without \
         gateway and function.\n"
    );
    let project = Project::find().unwrap();
    let template = Template::read(&project.template()).unwrap();
    let site = Site::claim(Options {
        port: free_port().unwrap(),
        store: Store::Embedded,
        data: None,
        concurrency: PROCESSES,
        state: project.home().join("bench/stack.json"),
        features: Features::Deploy,
        schedules: false,
        origins: vec![],
        reference: false,
        payments: Payments::Sandbox,
        with_aws: false,
    });
    let running = site
        .unwrap()
        .start(&project, &template, functions.get().await)
        .await
        .unwrap();
    let stack = Stack::described_by(&project.home().join("bench/stack.json"));
    let client = bed::client(&running.state.endpoint, &Arc::new(Sent::default()));
    let ledger = Ledger::new(
        Table::new(client.clone(), running.state.table.as_str()),
        bed::policy(),
    );
    let floor = Floor::like_a_spend(client, &ledger, &running.state.table).await;
    let mut accounts = vec![];
    for _ in 0..ACCOUNTS {
        accounts.push(rich_account(&ledger).await);
    }
    let hot = rich_account(&ledger).await;
    let part = Duration::from_secs(seconds);
    let spend = async |account: &str| {
        let answer = stack
            .service(Method::POST, format!("/v1/accounts/{account}/spends"))
            .key(unique())
            .json(json!({ "amount": 1, "reason": "bench" }))
            .await;
        answer.status == 201
    };
    let mut rows = vec![];
    for clients in CLIENTS {
        let own = |client: usize, turn: u64| {
            let mine = ACCOUNTS / clients;
            accounts[client + clients * (turn as usize % mine)].as_str()
        };
        let bare = drive(clients, part, async |client, _| floor.write(client).await).await;
        let mut spread = drive(clients, part, async |client, turn| {
            spend(own(client, turn)).await
        })
        .await;
        let mut hot = drive(clients, part, async |_, _| spend(hot.as_str()).await).await;
        rows.push([
            clients.to_string(),
            thousands(bare.rate()),
            thousands(spread.rate()),
            ratio(spread.rate(), bare.rate()),
            spread.percentiles(),
            thousands(hot.rate()),
            hot.percentiles(),
            hot.slowest_share(),
            (spread.failed + hot.failed).to_string(),
        ]);
    }
    table(
        [
            "clients",
            "floor a second",
            "spends, spread",
            "spends / floor",
            "p50 / p90 / p99, ms",
            "spends, one hot account",
            "p50 / p90 / p99, ms",
            "slowest client's part of an equal share",
            "failed",
        ],
        rows,
    );
    running.stop().await;
}
