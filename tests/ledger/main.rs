//! The ledger on a real table: on the embedded stand-in, and on the one whose address
//! `CONNECTS_TEST_STORE` holds.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod auctions;
mod badges;
mod busy;
mod chargebacks;
mod closures;
mod codes;
mod concurrency;
mod cost;
mod holds;
mod jobs;
mod many_lots;
mod payments;
mod plans;
mod properties;
mod proposals;
mod questions;
mod quotas;
mod receipts;
mod rewards;
mod single_use;
mod sweeps;
mod top_ups;
mod torn;
