//! `cargo local simulate`, `explore` and `bench`: programs of the tests' crate, optimised and in a
//! process of their own.

use std::process::Stdio;

use tokio::process::Command;

use crate::failure::{Doing, Failure, Result};
use crate::project::Project;
use crate::tools;

/// Asks for a build that can be broken on purpose.
const DEFECTS: &str = "--defects";

/// Runs that program; `arguments` are handed to it.
pub async fn run(project: &Project, program: &str, arguments: &[String]) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["run", "--profile", "proof", "--package", "connects-tests"])
        .args(["--bin", program])
        .current_dir(project.root())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if arguments.iter().any(|argument| argument == DEFECTS) {
        cargo.args(["--features", "connects/defects"]);
    }
    cargo.arg("--").args(arguments);
    tools::without_cargo_run(&mut cargo);
    match cargo.status().await.doing("cargo run")?.success() {
        true => Ok(()),
        false => Err(Failure::new(format!("{program} failed"))),
    }
}
