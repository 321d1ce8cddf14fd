//! The HTTP edge: one request in, one answer out, and everything that can go wrong a problem.
//!
//! A function is an `async` closure that matches the request's method and path and answers;
//! [`serve`] and [`run`] put it on the Lambda runtime. What a handler does is always the same
//! sentence: who calls and may they ([`auth`]), what do they want ([`input`]), do it, answer.

pub mod answer;
mod app;
pub mod auth;
mod event;
pub mod input;
mod json;
pub mod page;
pub mod problem;
pub mod request;
mod run;
#[cfg(feature = "contract")]
pub mod shape;
mod till;

pub use answer::Answer;
pub use app::{App, Core, StartError};
pub use auth::{Auth, Caller, Scope};
pub use event::{BusEvent, Change, Event, Message};
pub use problem::Problem;
pub use request::Request;
pub use run::{Reply, Run, Work, init_logs, invoked, run, serve, serve_and_run, serve_and_sweep};
pub use till::Till;
