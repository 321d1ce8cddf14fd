//! What stands in for Stripe: localstripe, with what it lacks and the ledger asks for.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use reqwest::Client;
use serde_json::json;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::failure::{Doing, Failure, Result};
use crate::process::{Service, Spawner, tail};
use crate::project::Project;
use crate::stack::free_port;
use crate::tools;

/// How long it may take to start.
const START: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// What requests are made with; it takes any key of that form.
pub const API_KEY: &str = "sk_test_local";
/// What messages are signed with.
pub const WEBHOOK_SECRET: &str = "whsec_local";

/// A running stand-in; it ends with what started it.
#[derive(Debug)]
pub struct StandIn {
    /// Its address.
    pub url: String,
    _child: Child,
}

impl StandIn {
    /// Starts one.
    pub async fn start(project: &Project, spawner: &Spawner, logs: &Path) -> Result<Self> {
        let modules = tools::localstripe(&project.tools()).await?;
        let port = free_port()?;
        let script = project.root().join("infra/local/stripe/stand_in.py");
        let service = Service {
            name: "the stand-in for Stripe".to_owned(),
            program: "python3".into(),
            arguments: vec![script.display().to_string(), port.to_string()],
            environment: vec![("PYTHONPATH".to_owned(), modules.display().to_string())],
            inherits: true,
            folder: project.root().to_owned(),
            log: logs.join("stripe.log"),
        };
        let mut child = spawner.start(&service).await?;
        let listens = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                sleep(POLL).await;
            }
        };
        let listens = timeout(START, listens);
        tokio::select! {
            listens = listens => listens.doing("the stand-in for Stripe does not listen")?,
            _ = child.wait() => {
                let why = tail(&service.log);
                return Err(Failure::new(format!("the stand-in for Stripe ended{why}")));
            }
        }
        Ok(Self {
            url: format!("http://127.0.0.1:{port}"),
            _child: child,
        })
    }

    /// What the functions are told about it; their secrets are kept in a file of that folder.
    pub fn environment(&self, folder: &Path) -> Result<Vec<(String, String)>> {
        let path = folder.join("stripe.json");
        let secrets = json!({ "api_key": API_KEY, "webhook_secrets": [WEBHOOK_SECRET] });
        fs::write(&path, secrets.to_string()).doing(path.display())?;
        let variables = [
            ("CONNECTS_PAYMENTS", "stripe".to_owned()),
            ("CONNECTS_STRIPE_SECRET", format!("file:{}", path.display())),
            ("CONNECTS_STRIPE_URL", self.url.clone()),
        ];
        Ok(variables
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec())
    }

    /// Has it send its messages to a stack.
    pub async fn tell(&self, http: &Client, stack: &str) -> Result<()> {
        let hook =
            json!({ "url": format!("{stack}/v1/webhooks/stripe"), "secret": WEBHOOK_SECRET });
        let config = format!("{}/_config/webhooks/connects", self.url);
        let set = http.post(config).json(&hook).send().await;
        let set = set.and_then(reqwest::Response::error_for_status);
        set.doing("the stand-in for Stripe").map(drop)
    }
}
