//! Builds the functions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use crate::environment;
use crate::failure::{Doing, Failure, Result};
use crate::project::Project;
use crate::state::Features;
use crate::template::Template;
use crate::tools;

/// Each function's binary.
pub type Binaries = BTreeMap<String, PathBuf>;

/// Builds all functions with one cargo call.
pub async fn build(project: &Project, template: &Template, how: Features) -> Result<Binaries> {
    match how {
        Features::Local => local(project, template).await,
        Features::Deploy => deployable(project, template, "release").await,
    }
}

#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The whole workspace, so that cargo resolves the dependencies' features as it did for this
/// program and will for the tests, and compiles none of them twice.
async fn local(project: &Project, template: &Template) -> Result<Binaries> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--workspace", "--bins", "--features", "local"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(project.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let running = tools::without_cargo_run(&mut cargo)
        .spawn()
        .doing("cargo")?;
    let built = running.wait_with_output().await.doing("cargo")?;
    if !built.status.success() {
        return Err(Failure::new("the functions don't compile"));
    }
    let lines = String::from_utf8(built.stdout).doing("cargo's messages")?;
    let mut executables: Binaries = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
        .filter_map(|artifact| Some((artifact.target.name, artifact.executable?)))
        .collect();
    template
        .functions
        .iter()
        .map(|name| {
            let binary = executables.remove(name);
            binary
                .map(|binary| (name.clone(), binary))
                .doing(format!("no binary {name}"))
        })
        .collect()
}

#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

/// What `sam build` runs for the template's build method, here for all functions at once, and in
/// one of cargo's profiles, each of which has a folder of its own.
pub async fn deployable(project: &Project, template: &Template, profile: &str) -> Result<Binaries> {
    let folder = target_directory(project)
        .await?
        .join("lambda")
        .join(profile);
    let cargo_lambda = tools::cargo_lambda(&project.tools()).await?;
    let mut build = Command::new(&cargo_lambda);
    build.args(["lambda", "build", "--profile", profile, "--lambda-dir"]);
    build.arg(&folder);
    build.args(template.functions.iter().flat_map(|name| ["--bin", name]));
    build
        .current_dir(project.root())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(modules) = tools::zig(&project.tools()).await? {
        build.env("PYTHONPATH", modules);
    }
    if let Some(folder) = cargo_lambda.parent() {
        build.env("PATH", environment::path_with(folder));
    }
    // Its progress must not end up among the lines that scripts read from us.
    build.stdout(Stdio::from(std::io::stderr()));
    let status = tools::without_cargo_run(&mut build).status().await;
    if !status.doing(cargo_lambda.display())?.success() {
        return Err(Failure::new("the functions don't build for deployment"));
    }
    template
        .functions
        .iter()
        .map(|name| {
            let binary = folder.join(name).join("bootstrap");
            if binary.is_file() {
                Ok((name.clone(), binary))
            } else {
                Err(Failure::new(format!("no binary {}", binary.display())))
            }
        })
        .collect()
}

async fn target_directory(project: &Project) -> Result<PathBuf> {
    let mut ask = Command::new("cargo");
    ask.args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(project.root());
    let answer = tools::without_cargo_run(&mut ask)
        .output()
        .await
        .doing("cargo metadata")?;
    let metadata: Metadata = serde_json::from_slice(&answer.stdout).doing("cargo metadata")?;
    Ok(metadata.target_directory)
}
