//! The file that describes a running stack to the other commands and to the tests.
//!
//! Whether it runs is told by a lock that the runner holds for its life, not by the file: the
//! kernel drops the lock however the runner dies, and a number of a process may be used again.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Doing, Failure, Result};

/// A running stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// Where the HTTP API answers.
    pub url: String,
    /// Where functions are invoked without HTTP, as a schedule does.
    pub runtime_url: String,
    /// DynamoDB's address.
    pub endpoint: String,
    /// DynamoDB's region.
    pub region: String,
    /// The table's name.
    pub table: String,
    /// The tokens' `iss`.
    pub issuer: String,
    /// The tokens' `aud`.
    pub audience: String,
    /// The file with the public keys.
    pub jwks: PathBuf,
    /// The file with the private key.
    pub signing_key: PathBuf,
    /// The folder with the logs of the functions, a file each, and of what serves them.
    pub logs: PathBuf,
    /// The runner's process.
    pub pid: u32,
    /// How the functions were built.
    pub features: Features,
    /// The address of what stands in for Stripe, if purchases are charged there.
    #[serde(default)]
    pub stripe: Option<String>,
    /// The stand-in for the rest of AWS, where there is one.
    #[serde(default)]
    pub aws: Option<Aws>,
}

/// A stand-in for the rest of AWS.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Aws {
    /// Where it answers, for every service.
    pub endpoint: String,
    /// The bus.
    pub bus: String,
    /// The configuration set that mails are sent under.
    pub mail_configuration: String,
    /// What the names of the mails' templates begin with.
    pub mail_templates: String,
}

/// How functions are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Features {
    /// With the feature `local`: they take a caller's word for the time.
    Local,
    /// As they are deployed.
    Deploy,
}

/// The right to run a stack in one place; it ends with the process.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _lock: File,
}

impl Claim {
    /// Claims the place of that state file, unless a stack runs there.
    pub fn take(path: &Path) -> Result<Self> {
        let lock = open_lock(path)?;
        match lock.try_lock() {
            Ok(()) => {
                // What a runner that was killed left behind describes nothing any more.
                let _ = fs::remove_file(path);
                Ok(Self {
                    path: path.to_owned(),
                    _lock: lock,
                })
            }
            Err(TryLockError::WouldBlock) => Err(Failure::new(match read(path) {
                Ok(state) => format!(
                    "a stack already runs at {} (process {}); stop it with Ctrl-C, or give this \
                     one its own --state and --port",
                    state.url, state.pid
                ),
                Err(_) => "a stack is starting here already".to_owned(),
            })),
            Err(TryLockError::Error(e)) => Err(e).doing(path.display()),
        }
    }

    /// Tells everybody about the stack.
    pub fn publish(&self, state: &State) -> Result<()> {
        let text = serde_json::to_string_pretty(state).doing("the stack file")?;
        let draft = self.path.with_extension("draft");
        fs::write(&draft, text + "\n").doing(draft.display())?;
        fs::rename(&draft, &self.path).doing(self.path.display())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The stack that runs there, if one does.
pub fn running(path: &Path) -> Result<Option<State>> {
    if !path.exists() {
        return Ok(None);
    }
    match open_lock(path)?.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => read(path).map(Some),
        Err(TryLockError::Error(e)) => Err(e).doing(path.display()),
    }
}

fn read(path: &Path) -> Result<State> {
    let text = fs::read_to_string(path).doing(path.display())?;
    serde_json::from_str(&text).doing(path.display())
}

fn open_lock(path: &Path) -> Result<File> {
    let path = path.with_extension("lock");
    let folder = path.parent().doing("a state file needs a folder")?;
    fs::create_dir_all(folder).doing(folder.display())?;
    let mut options = File::options();
    let lock = options.write(true).create(true).truncate(false).open(&path);
    lock.doing(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stack_at_a_time_and_none_after_the_runner_is_gone() {
        let name = format!("connects-state-{}", std::process::id());
        let path = std::env::temp_dir().join(name).join("stack.json");
        let state = State {
            url: "http://127.0.0.1:1".to_owned(),
            runtime_url: "http://127.0.0.1:1".to_owned(),
            endpoint: "http://127.0.0.1:2".to_owned(),
            region: "us-east-1".to_owned(),
            table: "connects".to_owned(),
            issuer: "i".to_owned(),
            audience: "a".to_owned(),
            jwks: PathBuf::from("/j"),
            signing_key: PathBuf::from("/k"),
            logs: PathBuf::from("/l"),
            pid: 7,
            features: Features::Local,
            stripe: None,
            aws: None,
        };
        assert!(running(&path).unwrap().is_none());
        let claim = Claim::take(&path).unwrap();
        claim.publish(&state).unwrap();
        assert_eq!(running(&path).unwrap().unwrap().pid, 7);
        let refused = Claim::take(&path).unwrap_err().to_string();
        assert!(refused.contains("http://127.0.0.1:1"), "{refused}");
        drop(claim);
        assert!(running(&path).unwrap().is_none());
        // As after a kill: the file is there, the lock is not.
        fs::write(&path, serde_json::to_string(&state).unwrap()).unwrap();
        assert!(running(&path).unwrap().is_none());
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
