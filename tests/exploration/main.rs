//! Every order of events of a few operations at once: `cargo run --profile proof -p connects-tests
//! --bin explore` goes further, and prints what it explored.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod small_world;
mod teeth;
