//! A stand-in for the rest of AWS: the bus, its rules, queues and SES, by ministack.
//!
//! What is in it is made of template.yaml: those of its resources that are none of Lambda's, as they are
//! written there. The mails' templates are put into SES one by one; ministack knows no such resource.
//! Queues are read here, as Lambda reads them, and their functions invoked.

mod client;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::emulator::REGION;
use crate::failure::{Doing, Failure, Result};
use crate::process::{Service, Spawner};
use crate::schedule::invoke;
use crate::stack::free_port;
use crate::state::Aws;
use crate::template::{QueueTrigger, Template};

pub use client::{Client, Mail, Subscription, Told};

/// The name of the stack, and so of the bus.
const STACK: &str = "connects";

/// Whom mails are from.
pub const MAIL_FROM: &str = "Connects <connects@example.com>";
const MAIL_DOMAIN: &str = "example.com";

/// How long it may take until it answers.
const START: Duration = Duration::from_secs(30);

/// Between two looks at it.
const POLL: Duration = Duration::from_millis(50);

/// When a message that failed comes again, in seconds. In production that is the queue's visibility
/// timeout, minutes; nobody waits so long here.
const AGAIN: u32 = 1;

/// A running stand-in.
#[derive(Debug)]
pub struct Cloud {
    /// What others need to know of it.
    pub about: Aws,
    client: Client,
    _child: Child,
}

/// A stack of templates of SES.
#[derive(Deserialize)]
struct MailTemplates {
    #[serde(rename = "Resources")]
    resources: BTreeMap<String, MailResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MailResource {
    properties: MailProperties,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MailProperties {
    template: MailTemplate,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MailTemplate {
    template_name: serde_yaml_ng::Value,
    subject_part: String,
    text_part: String,
    html_part: String,
}

impl Cloud {
    /// Starts it, and puts into it what the template has.
    pub async fn start(
        spawner: &Spawner,
        http: &reqwest::Client,
        ministack: &Path,
        template: &Template,
        mails: &Path,
        logs: &Path,
    ) -> Result<Self> {
        let port = free_port()?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let variables = [
            ("PYTHONPATH", ministack.display().to_string()),
            ("BIND_HOST", "127.0.0.1".to_owned()),
            ("GATEWAY_PORT", port.to_string()),
            ("IOT_MTLS_ENABLED", "0".to_owned()),
            ("AWS_ENDPOINT_URL", endpoint.clone()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ];
        let service = Service {
            name: "ministack".to_owned(),
            program: crate::environment::on_path("python3").doing("ministack needs python3")?,
            arguments: ["-m", "ministack"].map(str::to_owned).to_vec(),
            environment: variables
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
            inherits: true,
            folder: logs.to_owned(),
            log: logs.join("ministack.log"),
        };
        let mut child = spawner.start(&service).await?;
        let health = format!("{endpoint}/_ministack/health");
        let answers = async {
            while !http
                .get(&health)
                .send()
                .await
                .is_ok_and(|it| it.status().is_success())
            {
                sleep(POLL).await;
            }
        };
        tokio::select! {
            answered = timeout(START, answers) => {
                answered.doing(format!("ministack does not answer; see {}", service.log.display()))?;
            }
            _ = child.wait() => {
                return Err(Failure::new(format!("ministack ended; see {}", service.log.display())));
            }
        }
        let client = Client::new(http.clone(), endpoint.clone());
        let mut cloud = Self {
            about: Aws {
                endpoint,
                bus: STACK.to_owned(),
                mail_configuration: String::new(),
                mail_templates: format!("{STACK}-"),
            },
            client,
            _child: child,
        };
        cloud.create(&template.told).await?;
        cloud.about.mail_configuration = cloud.physical("MailConfiguration").await?;
        cloud.keep_templates(mails).await?;
        let domain = json!({ "EmailIdentity": MAIL_DOMAIN });
        cloud.client.ses("identities", &domain).await?;
        Ok(cloud)
    }

    async fn create(&self, body: &str) -> Result<()> {
        let asked = [
            ("Action", "CreateStack"),
            ("StackName", STACK),
            ("TemplateBody", body),
            ("Parameters.member.1.ParameterKey", "MailFrom"),
            ("Parameters.member.1.ParameterValue", MAIL_FROM),
        ];
        self.client.query("cloudformation", &asked).await?;
        let made = async {
            loop {
                let about = [("Action", "DescribeStacks"), ("StackName", STACK)];
                let answer = self.client.query("cloudformation", &about).await?;
                match element(&answer, "StackStatus").as_deref() {
                    Some("CREATE_COMPLETE") => return Ok(()),
                    Some("CREATE_IN_PROGRESS") | None => sleep(POLL).await,
                    Some(other) => {
                        return Err(Failure::new(format!(
                            "the stack in ministack is {other}: {answer}"
                        )));
                    }
                }
            }
        };
        timeout(START, made).await.doing("the stack in ministack")?
    }

    /// The name by which a resource of the template is known.
    async fn physical(&self, resource: &str) -> Result<String> {
        let about = [
            ("Action", "DescribeStackResource"),
            ("StackName", STACK),
            ("LogicalResourceId", resource),
        ];
        let answer = self.client.query("cloudformation", &about).await?;
        element(&answer, "PhysicalResourceId").doing(format!("no {resource} in ministack"))
    }

    async fn keep_templates(&self, mails: &Path) -> Result<()> {
        let text = std::fs::read_to_string(mails).doing(mails.display())?;
        let mails: MailTemplates = serde_yaml_ng::from_str(&text).doing(mails.display())?;
        for mail in mails.resources.into_values() {
            let MailTemplate {
                template_name,
                subject_part,
                text_part,
                html_part,
            } = mail.properties.template;
            let name = match &template_name {
                serde_yaml_ng::Value::Tagged(sub) => sub.value.as_str(),
                plain => plain.as_str(),
            };
            let name = name.doing("a mail's template has no name")?;
            let name = name.replace("${Prefix}", &self.about.mail_templates);
            let template = json!({
                "TemplateName": name,
                "TemplateContent": { "Subject": subject_part, "Text": text_part, "Html": html_part },
            });
            self.client.ses("templates", &template).await?;
        }
        Ok(())
    }

    /// Hands a queue's messages to its function, for ever.
    pub async fn keep_handing(self: Arc<Self>, runtime_url: String, trigger: QueueTrigger) {
        let url = loop {
            match self.physical(&trigger.queue).await {
                Ok(url) => break url,
                Err(failure) => eprintln!("{failure}"),
            }
            sleep(Duration::from_secs(1)).await;
        };
        loop {
            if let Err(failure) = self.hand_over(&runtime_url, &trigger, &url).await {
                eprintln!("{}: {failure}", trigger.queue);
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    async fn hand_over(&self, runtime_url: &str, trigger: &QueueTrigger, url: &str) -> Result<()> {
        let messages = self.client.messages(url, trigger.batch).await?;
        if messages.is_empty() {
            return Ok(());
        }
        let record = |message: &Value| {
            json!({
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "eventSource": "aws:sqs",
                "awsRegion": REGION,
            })
        };
        let event = json!({ "Records": messages.iter().map(record).collect::<Vec<_>>() });
        let report = invoke(self.client.http(), runtime_url, &trigger.function, &event).await;
        let failed = |message: &Value| match &report {
            Err(_) => true,
            Ok(report) => report["batchItemFailures"]
                .as_array()
                .is_some_and(|failures| {
                    failures
                        .iter()
                        .any(|it| it["itemIdentifier"] == message["MessageId"])
                }),
        };
        match &report {
            Ok(report) => eprintln!("{}: {report}", trigger.function),
            Err(failure) => eprintln!("{failure}"),
        }
        for message in &messages {
            let mut about = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
            if failed(message) {
                about["VisibilityTimeout"] = json!(AGAIN);
                self.client.sqs("ChangeMessageVisibility", &about).await?;
            } else {
                self.client.sqs("DeleteMessage", &about).await?;
            }
        }
        Ok(())
    }
}

/// What stands in an XML answer's first element of that name.
fn element(answer: &str, name: &str) -> Option<String> {
    let after = answer.split_once(&format!("<{name}>"))?.1;
    Some(after.split_once("</")?.0.to_owned())
}
