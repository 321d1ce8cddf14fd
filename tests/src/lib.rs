//! What the tests share: a client of the running stack, tokens of any shape, schedules, and a
//! look at the items behind an account.

// A harness stops at the first thing that is not as it should be, and names its stack by the
// environment; the bans are for what runs in production.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::unwrap_used
)]

pub mod client;
pub mod cloud;
pub mod contract;
pub mod cost;
pub mod door;
pub mod explorer;
pub mod faults;
pub mod fuzzing;
mod gateway;
pub mod holder;
pub mod items;
pub mod logs;
pub mod model;
pub mod raw;
pub mod runner;
pub mod schedule;
pub mod simulator;
pub mod stack;
pub mod table;
pub mod token;
pub mod told;
pub mod typescript;
pub mod wire;
pub mod written;
