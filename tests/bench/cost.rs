//! Units and money for each operation.

use connects_tests::cost::{Step, operations, scheduled_steps};

use crate::prices::{LIST, dollars, table as price};
use crate::report::table;

/// How long a request is assumed to wait for the table, in milliseconds for a round trip.
const ROUND_TRIP: u64 = 5;

/// CPU time of a request that is assumed here, in milliseconds: the part `start` measures it.
const CPU: u64 = 1;

/// The least that an atomic, idempotent, journalled spend can be: one item of what is left, and one
/// that is both journal and answer, written together; one strongly consistent read before it.
const LEAST: (u64, u64) = (4, 10);

pub async fn run() {
    println!(
        "Each operation once, on an account with two to four lots. Money is for a million operations \
         and DynamoDB alone.\n"
    );
    let steps = operations().await;
    table(
        [
            "operation",
            "items written",
            "write units",
            "read units",
            "round trips",
            "a million",
        ],
        steps.iter().map(
            |Step {
                 operation, cost, ..
             }| {
                [
                    (*operation).to_owned(),
                    cost.items_written.to_string(),
                    cost.write_units.to_string(),
                    tenths(cost.read_tenths),
                    cost.round_trips.to_string(),
                    dollars(price(cost.write_units, cost.read_tenths)),
                ]
            },
        ),
    );
    println!("\nFor each account of a schedule, without what finds it:\n");
    table(
        ["step", "items written", "write units", "a million writes"],
        scheduled_steps().await.iter().map(|step| {
            [
                step.operation.to_owned(),
                step.cost.items_written.to_string(),
                step.cost.write_units.to_string(),
                dollars(price(step.cost.write_units, 0)),
            ]
        }),
    );
    let (writes, reads) = LEAST;
    println!(
        "\nThe least for an atomic, idempotent, journalled spend: 2 items, {writes} write units, {} \
         read units, 2 round trips: {} a million.",
        tenths(reads),
        dollars(price(writes, reads))
    );
    let spend = steps
        .iter()
        .find(|step| step.operation == "spend from one lot")
        .expect("a spend is measured");
    whole_request(spend);
}

/// What a million spends cost with gateway and function.
fn whole_request(spend: &Step) {
    let milliseconds = u64::from(spend.cost.round_trips) * ROUND_TRIP + CPU;
    let function = LIST.invocations + milliseconds * LIST.milliseconds;
    let dynamo = price(spend.cost.write_units, spend.cost.read_tenths);
    println!(
        "\nA million spends over HTTP: DynamoDB {}, the gateway {}, the function {} ({milliseconds} ms \
         in half a gigabyte on arm64, of which {ROUND_TRIP} ms for each round trip are assumed): {}.",
        dollars(dynamo),
        dollars(LIST.gateway),
        dollars(function),
        dollars(dynamo + LIST.gateway + function)
    );
}

/// Tenths of units as units.
pub fn tenths(of: u64) -> String {
    format!("{}.{}", of / 10, of % 10)
}
