//! `cargo local test`: sets up whatever the tests need and runs all of them.
//!
//! One call of cargo runs everything against two stacks: one as `up` starts it, and one whose
//! functions were built by the template's build command, not optimised, which shows what those
//! ignore. A second
//! call repeats the tests of store and ledger on AWS's DynamoDB Local.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::emulator::{Emulator, Place, Store};
use crate::failure::{Doing, Failure, Result};
use crate::functions::{self, Binaries};
use crate::process::Spawner;
use crate::project::Project;
use crate::stack::{Options, Payments, Site, Stack, free_port};
use crate::state::Features;
use crate::template::Template;
use crate::{environment, tools};

/// The tests that run on either stand-in of DynamoDB.
const STORE_TESTS: &str = "ledger";

/// Everything of a deployment but the optimiser, which takes a quarter of an hour.
const DEPLOYED_PROFILE: &str = "checked";

/// Enough processes of each function to race each other for an account.
const CONCURRENCY: u16 = 4;

/// Runs all tests; `arguments` are handed to cargo.
pub async fn run(project: &Project, arguments: &[String]) -> Result<()> {
    let reference = all_there(
        &tools::missing_for_dynamodb_local(&project.tools()),
        "the tests of store and ledger run on the embedded DynamoDB only, NOT on AWS's DynamoDB Local",
    )?;
    let typescript = all_there(
        &tools::missing_for_typescript(project),
        "the TypeScript client and the recipes are NOT tested",
    )?;
    if typescript && let Err(why) = tools::typescript(project).await {
        if environment::ci() {
            return Err(why);
        }
        warn(&format!(
            "{why}: the TypeScript client and the recipes are NOT tested"
        ));
    }
    all_there(&tools::missing_for_aws(), "events and mails are NOT tested")?;

    let stripe = all_there(
        &tools::missing_for_stripe(),
        "payments by Stripe are NOT tested against what stands in for it",
    )?;

    let template = Template::read(&project.template())?;
    let home = project.home().join("test");
    eprintln!("building the functions, as `cargo local up` does");
    let built = functions::build(project, &template, Features::Local).await?;
    let (folder, features) = (home.join("local"), Features::Local);
    let local = start(
        project,
        &template,
        &folder,
        features,
        &built,
        Payments::Sandbox,
    )
    .await?;
    let paid = match stripe {
        true => {
            let folder = home.join("stripe");
            let payments = Payments::Stripe;
            Some(start(project, &template, &folder, features, &built, payments).await?)
        }
        false => None,
    };
    eprintln!("building the functions, as `sam build` does");
    let built = functions::deployable(project, &template, DEPLOYED_PROFILE).await?;
    let (folder, features) = (home.join("deployed"), Features::Deploy);
    let deployed = start(
        project,
        &template,
        &folder,
        features,
        &built,
        Payments::Sandbox,
    )
    .await?;

    let mut stacks = vec![
        ("CONNECTS_TEST_STACK", stack_file(&home.join("local"))),
        ("CONNECTS_TEST_DEPLOYED", stack_file(&home.join("deployed"))),
    ];
    stacks.extend(
        paid.as_ref()
            .map(|_| ("CONNECTS_TEST_STRIPE", stack_file(&home.join("stripe")))),
    );
    let mut on_embedded = cargo_test(project, &stacks, "embedded");
    on_embedded.args(arguments);
    let mut passed = succeeds(on_embedded).await?;

    // Arguments choose tests; repeating other tests than those on the reference makes no sense.
    if reference && arguments.is_empty() {
        eprintln!("\nonce more on DynamoDB Local: store and ledger\n");
        let spawner = Spawner::new()?;
        let place = Place {
            spawner: &spawner,
            tools: &project.tools(),
            logs: &local.state.logs,
            data: None,
        };
        let emulator = Emulator::start(&Store::DynamoDbLocal, &place).await?;
        let mut on_reference = cargo_test(project, &stacks, &emulator.endpoint);
        on_reference.args(["--test", STORE_TESTS]);
        passed &= succeeds(on_reference).await?;
        emulator.stop().await;
    }
    deployed.stop().await;
    local.stop().await;
    if let Some(paid) = paid {
        paid.stop().await;
    }
    if passed {
        Ok(())
    } else {
        Err(Failure::new("tests failed"))
    }
}

/// Whether nothing is missing for a part of the tests. If something is, that part is left out, which a
/// person is told, and which fails where nobody would read it.
fn all_there(missing: &[&str], otherwise: &str) -> Result<bool> {
    if missing.is_empty() {
        return Ok(true);
    }
    let warning = format!("{otherwise}: that needs {} on PATH", missing.join(" and "));
    if environment::ci() {
        return Err(Failure::new(warning));
    }
    warn(&warning);
    Ok(false)
}

async fn start(
    project: &Project,
    template: &Template,
    home: &Path,
    features: Features,
    binaries: &Binaries,
    payments: Payments,
) -> Result<Stack> {
    let site = Site::claim(Options {
        port: free_port()?,
        store: Store::Embedded,
        data: None,
        concurrency: CONCURRENCY,
        state: stack_file(home),
        features,
        // The tests' accounts live at many times; a schedule at today's would move them all.
        schedules: false,
        origins: vec![],
        reference: false,
        payments,
        with_aws: features == Features::Local && tools::missing_for_aws().is_empty(),
    })?;
    site.start(project, template, binaries).await
}

fn stack_file(home: &Path) -> PathBuf {
    home.join("stack.json")
}

fn cargo_test(project: &Project, stacks: &[(&str, PathBuf)], store: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .args([
            "test",
            "--workspace",
            "--features",
            "local",
            "--no-fail-fast",
        ])
        .envs(stacks.iter().map(|(name, path)| (name, path.as_os_str())))
        .env("CONNECTS_TEST_STORE", OsStr::new(store))
        .current_dir(project.root())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    tools::without_cargo_run(&mut cargo);
    cargo
}

async fn succeeds(mut cargo: Command) -> Result<bool> {
    Ok(cargo.status().await.doing("cargo test")?.success())
}

fn warn(text: &str) {
    let line = "!".repeat(78);
    eprintln!("{line}\n{text}\n{line}");
}
