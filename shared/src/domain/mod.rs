//! The pure core: `(account, command, now, policy) → plan | refusal`.
//! Integers only, no I/O, no clock; whatever varies is an argument.

pub mod account;
pub mod auction;
pub mod badge;
pub mod bid;
pub mod closure;
pub mod codes;
pub mod cycle;
pub mod draft;
pub mod email;
pub mod history;
pub mod hold;
pub mod ids;
pub mod job;
pub mod journal;
pub mod key;
pub mod lot;
pub mod low_balance;
pub mod plan_change;
pub mod policy;
pub mod promo;
pub mod proposal;
pub mod purchase;
pub mod quota;
pub mod receipt;
pub mod refund;
pub mod refusal;
pub mod reward;
pub mod seal;
pub mod settle;
pub mod spend;
#[cfg(test)]
mod testing;
pub mod time;
pub mod top_up;
pub mod units;
