//! Units as journals and lots grow: what a request costs must not follow from an account's past.

use connects::domain::ids::AccountId;
use connects::store::Cost;
use connects_tests::cost::Metered;
use connects_tests::table::{at, key, spend};

use crate::cost::tenths;
use crate::report::{table, thousands};

const NOW: &str = "2026-01-10T12:00:00Z";

const ENTRIES: [u64; 4] = [10, 100, 1_000, 10_000];

const LOTS: [usize; 8] = [1, 10, 14, 15, 78, 100, 300, 1_000];

const HEADS: [&str; 7] = [
    "",
    "write units of a spend",
    "its read units",
    "its round trips",
    "read units of a replay",
    "read units of the balance",
    "its round trips",
];

pub async fn run() {
    println!(
        "A spend of 1 and its replay, and the balance, by the account's journal entries; a receipt \
              comes with nearly each entry. One lot.\n"
    );
    let bench = Metered::new().await;
    // One lot that lasts for all of them.
    let account = bench.table.open_empty(NOW).await;
    bench.buy(&account, 20_000).await;
    let mut rows = vec![];
    for entries in ENTRIES {
        let there = bench.table.state(&account).await.head.seq.get();
        for _ in there + 1..entries {
            bench.spend(&account, &key(), 1).await;
        }
        rows.push(row(&bench, &account, entries).await);
    }
    table(
        HEADS.map(|head| if head.is_empty() { "entries" } else { head }),
        rows,
    );

    println!("\nThe same by its live lots:\n");
    let account = bench.table.open_empty(NOW).await;
    let mut rows = vec![];
    for lots in LOTS {
        let there = bench.table.state(&account).await.lots.len();
        for _ in there..lots {
            bench.buy(&account, 20).await;
        }
        rows.push(row(&bench, &account, lots as u64).await);
    }
    table(
        HEADS.map(|head| if head.is_empty() { "lots" } else { head }),
        rows,
    );
}

async fn row(bench: &Metered, account: &AccountId, size: u64) -> [String; 7] {
    let key = key();
    let spend_once = async || {
        bench.meter.take();
        let spent = bench.ledger.spend(&at(NOW), account, &key, &spend(1)).await;
        spent.unwrap();
        bench.meter.take()
    };
    let first: Cost = spend_once().await;
    let again = spend_once().await;
    bench.ledger.account(&at(NOW), account).await.unwrap();
    let balance = bench.meter.take();
    [
        thousands(size),
        first.write_units.to_string(),
        tenths(first.read_tenths),
        first.round_trips.to_string(),
        tenths(again.read_tenths),
        tenths(balance.read_tenths),
        balance.round_trips.to_string(),
    ]
}
