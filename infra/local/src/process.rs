//! Child processes that never outlive the runner.
//!
//! The kernel ends a child when the thread that started it is gone, if the child asked for that
//! (`PR_SET_PDEATHSIG`). Asking takes a system call between fork and exec; util-linux's `setpriv`
//! makes it and then becomes the program, which keeps this crate free of unsafe code. Since it is
//! the thread that counts, one thread starts all children and lives as long as the stack; threads
//! of the async runtime come and go.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::environment;
use crate::failure::{Doing, Result};

/// A process that lived this long had started well.
const LIVED: Duration = Duration::from_secs(10);
/// The pause before the first restart; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A process that dies this often without having lived is not started again.
const MAX_DEATHS: u32 = 8;
/// How much of a log is shown when its process died.
const TAIL_LINES: usize = 12;

/// A program and what it needs to run.
#[derive(Debug, Clone)]
pub struct Service {
    /// What messages and the log file call it.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, in place of the runner's.
    pub environment: Vec<(String, String)>,
    /// Whether it also gets the runner's environment.
    pub inherits: bool,
    /// The folder it starts in.
    pub folder: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
}

/// A child's end.
#[derive(Debug)]
pub struct Death {
    /// What happened.
    pub what: String,
    /// Whether it won't be started again.
    pub last: bool,
}

type Order = (Command, oneshot::Sender<std::io::Result<Child>>);

/// Starts children; when the last handle is dropped, the kernel ends them all.
#[derive(Debug, Clone)]
pub struct Spawner {
    orders: Sender<Order>,
}

impl Spawner {
    /// Starts the thread that starts children.
    pub fn new() -> Result<Self> {
        let (orders, taken): (_, Receiver<Order>) = channel();
        let runtime = Handle::current();
        let serve = move || {
            let _inside = runtime.enter();
            for (mut command, answer) in taken {
                // Whoever asked may have stopped waiting; then the child is dropped, and killed.
                let _ = answer.send(command.spawn());
            }
        };
        let thread = thread::Builder::new().name("children".to_owned());
        thread.spawn(serve).doing("a thread for children")?;
        Ok(Self { orders })
    }

    /// Starts the service once, with its output appended to its log.
    pub async fn start(&self, service: &Service) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&service.log)
            .doing(service.log.display())?;
        let mut command = tethered(&service.program);
        if !service.inherits {
            command.env_clear();
        }
        command
            .args(&service.arguments)
            .envs(service.environment.iter().cloned())
            .current_dir(&service.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().doing(service.log.display())?)
            .stderr(log)
            // Ctrl-C in a terminal goes to the runner alone, which then ends its children.
            .process_group(0)
            .kill_on_drop(true);
        let (answer, child) = oneshot::channel();
        let _ = self.orders.send((command, answer));
        child
            .await
            .doing("the thread for children is gone")?
            .doing(service.program.display())
    }

    /// Keeps one process of the service running until the returned future is dropped.
    pub async fn keep_running(self, service: Service, deaths: mpsc::UnboundedSender<Death>) {
        let mut in_a_row = 0;
        loop {
            let started = Instant::now();
            let end = match self.start(&service).await {
                Ok(mut child) => match child.wait().await {
                    Ok(status) => status.to_string(),
                    Err(e) => e.to_string(),
                },
                Err(e) => e.to_string(),
            };
            in_a_row = if started.elapsed() > LIVED {
                1
            } else {
                in_a_row + 1
            };
            let last = in_a_row >= MAX_DEATHS;
            let what = format!("{} ended ({end}){}", service.name, tail(&service.log));
            let _ = deaths.send(Death { what, last });
            if last {
                return;
            }
            sleep(FIRST_PAUSE * 2_u32.pow(in_a_row - 1)).await;
        }
    }
}

/// A command whose process ends with the thread that starts it.
fn tethered(program: &Path) -> Command {
    match environment::on_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// The end of a log, for a message.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(TAIL_LINES).collect();
    if lines.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = lines
        .iter()
        .rev()
        .map(|line| format!("\n    {line}"))
        .collect();
    format!(", {} ends:{}", log.display(), lines.concat())
}
