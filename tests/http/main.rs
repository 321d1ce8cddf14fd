//! The functions as their callers see them: over HTTP, through the gateway, on a running stack.
//!
//! Tests run in parallel on one stack, so each makes accounts, people and codes of its own and
//! chooses its own time. A sweep is for the whole table: tests that fire schedules take turns
//! and live before 2050, all others after it, where those sweeps find nothing due.

// Tests stop at the first surprise; their environment and clock are their own.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs
)]

mod auctions;
mod authorisation;
mod bad_input;
mod badges;
mod browsers;
mod clock;
mod closures;
mod codes;
mod concurrency;
mod conformance;
mod history;
mod holds;
mod hostile;
mod idempotency;
mod jobs;
mod low_balances;
mod opening;
mod plans;
mod promos;
mod proposals;
mod purchases;
mod quotas;
mod recipes;
mod refunds;
mod rewards;
mod schedules;
mod single_use;
mod spends;
mod typescript;
mod world;
