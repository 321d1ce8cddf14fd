//! A stack of one's own, in processes that can be killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use connects_local::project::Project;
use connects_local::stack::free_port;
use connects_local::template::Template;

use crate::stack::Stack;

/// The runner of a stack with its emulator's data in a folder: `cargo local up`.
#[derive(Debug)]
pub struct Runner {
    home: PathBuf,
    port: u16,
    child: Child,
    functions: Vec<String>,
}

impl Runner {
    /// Starts it, with what an earlier one left in that folder, and waits until it is ready.
    pub fn start(home: &Path) -> Self {
        Self::on_port(home, free_port().unwrap())
    }

    fn on_port(home: &Path, port: u16) -> Self {
        fs::create_dir_all(home).unwrap();
        let template = Template::read(&Project::find().unwrap().template()).unwrap();
        let log = fs::File::create(home.join("runner.log")).unwrap();
        let mut child = Command::new(program())
            .args(["up", "--port", &port.to_string(), "--concurrency", "2"])
            .arg("--state")
            .arg(home.join("stack.json"))
            .arg("--data")
            .arg(home.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut says = BufReader::new(child.stdout.take().unwrap());
        says.read_line(&mut first).unwrap();
        let runner = Self {
            home: home.to_owned(),
            port,
            child,
            functions: template.functions.iter().cloned().collect(),
        };
        assert!(first.starts_with("ready "), "{first}{}", runner.log());
        runner
    }

    /// What it said about its children.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("runner.log")).unwrap()
    }

    /// The stack it runs.
    pub fn stack(&self) -> Stack {
        Stack::described_by(&self.home.join("stack.json"))
    }

    /// The functions' processes just now: each with its function.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let children = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name))?;
                Some(line.split_once(':')?.1.trim().to_owned())
            };
            let mine = field("PPid")? == self.child.id().to_string();
            let name = field("Name")?;
            (mine && self.functions.contains(&name)).then_some((pid, name))
        });
        children.collect()
    }

    /// Kills it as a lost machine would, emulator and all, and starts another in its place.
    pub fn killed_and_replaced(mut self) -> Self {
        // SIGKILL; its children end with it.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Self::on_port(&self.home.clone(), self.port)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `kill -9`.
pub fn kill(pid: u32) -> bool {
    let mut kill = Command::new("kill");
    kill.args(["-KILL", &pid.to_string()]).stderr(Stdio::null());
    kill.status().unwrap().success()
}

/// The runner, built beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("connects-local");
    assert!(
        program.exists(),
        "{} is not there: run `cargo local test`",
        program.display()
    );
    program
}
