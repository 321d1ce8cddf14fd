//! Where things are.

use std::path::{Path, PathBuf};

use crate::failure::{Doing, Result};

/// The checkout that this program was built from.
#[derive(Debug, Clone)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// Finds the workspace two folders above this crate.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().doing(root.display())?;
        Ok(Self { root })
    }

    /// The workspace's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The template that is deployed.
    pub fn template(&self) -> PathBuf {
        self.root.join("template.yaml")
    }

    /// The workspace's manifest, which has the gateway's routes.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("Cargo.toml")
    }

    /// The contract, for programs.
    pub fn contract(&self) -> PathBuf {
        self.root.join("infra/openapi.json")
    }

    /// The TypeScript client.
    pub fn typescript(&self) -> PathBuf {
        self.root.join("infra/clients/typescript")
    }

    /// The mails, as SES keeps them.
    pub fn mails(&self) -> PathBuf {
        self.root.join("infra/mail/templates.yaml")
    }

    /// A page for each job to be done.
    pub fn recipes(&self) -> PathBuf {
        self.root.join("docs/recipes")
    }

    /// Everything that the local stack writes, except builds; git ignores it.
    pub fn home(&self) -> PathBuf {
        self.root.join(".connects")
    }

    /// Installed tools.
    pub fn tools(&self) -> PathBuf {
        self.home().join("tools")
    }

    /// The signing key and its public half.
    pub fn keys(&self) -> PathBuf {
        self.home().join("keys")
    }

    /// The file that describes the running stack, unless another is named.
    pub fn state(&self) -> PathBuf {
        self.home().join("stack.json")
    }
}
