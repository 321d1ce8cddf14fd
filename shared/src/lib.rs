//! Connects: a credits ledger whose every unit lives in a lot with a birth and an expiry.
//!
//! Dependencies point one way: `http` → `ledger` → `store`, and everything → `domain`.
//! `domain` decides and knows neither AWS nor a clock; `store` alone names attributes.

pub mod clock;
pub mod config;
pub mod defect;
pub mod domain;
pub mod http;
pub mod ledger;
pub mod payments;
pub mod store;
pub mod web;
