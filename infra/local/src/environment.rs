//! The runner's own environment and clock; nothing else here reads them.
#![allow(clippy::disallowed_methods)] // What the functions must not do themselves is done here.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

/// What this program's `cargo run` set for it. Build scripts watch some of these, so a cargo
/// that inherited them would rebuild what they belong to.
const SET_BY_CARGO_RUN: [&str; 6] = [
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_PACKAGE",
    "OUT_DIR",
];

/// The names of the variables that a cargo started from here must not see.
pub fn of_cargo_run() -> Vec<String> {
    env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            name == "CARGO" || SET_BY_CARGO_RUN.iter().any(|known| name.starts_with(known))
        })
        .collect()
}

/// The first program of that name on `PATH`.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// `PATH` with a folder in front of it.
pub fn path_with(folder: &Path) -> OsString {
    let rest = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&rest));
    env::join_paths(folders).unwrap_or(rest)
}

/// `RUST_LOG`: what the functions log.
pub fn log_filter() -> String {
    env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned())
}

/// `CI`: a run that has to be complete, and whose output is read by nobody's eyes first.
pub fn ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// The wall clock.
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
