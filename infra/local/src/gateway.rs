//! `cargo lambda watch` as the API gateway and the Lambda service, with the functions' processes
//! started by us.
//!
//! Left to itself, `watch` compiles each function at its first request, one cargo after the other.
//! With `--only-lambda-apis` it serves the routes of Cargo.toml and the runtime API on one port,
//! and the functions, built beforehand in one go, are ours to start, several processes of each.
//!
//! What differs from AWS, beside the authorizer that is not there (the functions verify tokens
//! themselves):
//! - A request of a process that dies while serving it is never answered; clients need a timeout.
//! - At most 100 requests for one function may wait for a process; one more, and the gateway jams
//!   for good: its queue is full while it holds the lock that the processes need to empty it.
//! - The deadline that functions are told lies in 1970.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::failure::{Doing, Failure, Result};
use crate::functions::Binaries;
use crate::process::{Service, Spawner, tail};

/// How long the gateway may take to start.
const START: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);
/// The version in every path of Lambda's runtime API.
const RUNTIME: &str = "2018-06-01/runtime";

/// The memory that functions are told they have.
const MEMORY_MB: &str = "512";

/// The running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Its address, for requests, invocations and the runtime API alike.
    pub url: String,
    child: Child,
    log: PathBuf,
}

impl Gateway {
    /// Starts the gateway on a port of the loopback address.
    pub async fn start(
        spawner: &Spawner,
        cargo_lambda: PathBuf,
        root: &Path,
        port: u16,
        log: PathBuf,
    ) -> Result<Self> {
        let arguments = ["lambda", "watch", "--only-lambda-apis", "--disable-cors"];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        arguments.extend(["--invoke-address", "127.0.0.1", "--invoke-port"].map(str::to_owned));
        arguments.push(port.to_string());
        let service = Service {
            name: "the gateway".to_owned(),
            program: cargo_lambda,
            arguments,
            environment: Vec::new(),
            inherits: true,
            folder: root.to_owned(),
            log,
        };
        let child = spawner.start(&service).await?;
        let mut gateway = Self {
            url: format!("http://127.0.0.1:{port}"),
            child,
            log: service.log,
        };
        let listens = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                sleep(POLL).await;
            }
        };
        let listens = timeout(START, listens);
        tokio::select! {
            listens = listens => listens.doing("the gateway does not listen")?,
            end = gateway.ended() => return Err(end),
        }
        Ok(gateway)
    }

    /// Waits for the gateway's end, which is always a failure.
    pub async fn ended(&mut self) -> Failure {
        let status = self.child.wait().await;
        let status = status.map_or_else(|e| e.to_string(), |status| status.to_string());
        Failure::new(format!("the gateway ended ({status}){}", tail(&self.log)))
    }

    /// A process of each function, to be kept running.
    pub fn services(
        &self,
        binaries: &Binaries,
        environment: &[(String, String)],
        folder: &Path,
        logs: &Path,
    ) -> Vec<Service> {
        let service = |(name, binary): (&String, &PathBuf)| {
            let runtime_api = format!("{}/.rt/{name}", self.url);
            let lambda = [
                ("AWS_LAMBDA_FUNCTION_NAME", name.as_str()),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", MEMORY_MB),
                ("AWS_LAMBDA_RUNTIME_API", &runtime_api),
            ];
            let lambda = lambda.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Service {
                name: name.clone(),
                program: binary.clone(),
                arguments: Vec::new(),
                environment: lambda
                    .into_iter()
                    .chain(environment.iter().cloned())
                    .collect(),
                inherits: false,
                folder: folder.to_owned(),
                log: logs.join(format!("{name}.log")),
            }
        };
        binaries.iter().map(service).collect()
    }
}

/// Answers what no route serves, as API Gateway does. The gateway would hand it to a function
/// without a name and wait for that for ever; so this is that function.
pub async fn answer_unrouted(http: reqwest::Client, url: String) {
    loop {
        if answer_one(&http, &url).await.is_none() {
            sleep(POLL).await;
        }
    }
}

/// API Gateway's own answer to the request of that id.
fn not_found(id: &str) -> serde_json::Value {
    json!({
        "statusCode": 404,
        "headers": { "content-type": "application/json", "apigw-requestid": id },
        "multiValueHeaders": {},
        "body": json!({ "message": "Not Found" }).to_string(),
        "isBase64Encoded": false,
        "cookies": [],
    })
}

async fn answer_one(http: &reqwest::Client, url: &str) -> Option<()> {
    let next = format!("{url}/.rt/{RUNTIME}/invocation/next");
    let request = http.get(next).send().await.ok()?;
    let id = request.headers().get("lambda-runtime-aws-request-id")?;
    let id = id.to_str().ok()?.to_owned();
    let response = format!("{url}/.rt/{RUNTIME}/invocation/{id}/response");
    let answered = http.post(response).json(&not_found(&id)).send().await;
    answered.ok().map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde::Deserialize;

    use crate::project::Project;
    use crate::template::{Route, Template};

    #[derive(Deserialize)]
    struct Target {
        method: String,
        function: String,
    }

    #[test]
    fn the_gateway_has_exactly_the_routes_of_the_template() {
        let project = Project::find().unwrap();
        let manifest = std::fs::read_to_string(project.manifest()).unwrap();
        let manifest: toml::Value = toml::from_str(&manifest).unwrap();
        let router = &manifest["workspace"]["metadata"]["lambda"]["watch"]["router"];
        let router: BTreeMap<String, Vec<Target>> = router.clone().try_into().unwrap();
        let gateway: BTreeSet<Route> = router
            .into_iter()
            .flat_map(|(path, targets)| {
                targets.into_iter().map(move |target| Route {
                    path: path.clone(),
                    method: target.method,
                    function: target.function,
                })
            })
            .collect();
        let template = Template::read(&project.template()).unwrap();
        assert_eq!(gateway, &template.routes | &template.hooks);
    }
}
