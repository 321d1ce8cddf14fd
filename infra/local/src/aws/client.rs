//! What is asked of the stand-in: of its services, and, as nobody could of AWS, which mails it took.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::emulator::{ACCESS_KEY, REGION};
use crate::failure::{Doing, Failure, Result};
use crate::state::Aws;

/// What one question takes from a queue at most.
const MOST: u64 = 10;

/// How long a queue without messages is asked.
const WAIT: Duration = Duration::from_secs(1);

/// The AWS account that everything in the stand-in belongs to.
const OWNER: &str = "000000000000";

/// Asks the stand-in.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: String,
}

/// A mail that was taken.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mail {
    /// To whom.
    pub to: Vec<String>,
    /// Its subject.
    pub subject: String,
    /// Its plain text.
    #[serde(rename = "BodyText")]
    pub text: String,
    /// The same as HTML.
    #[serde(rename = "BodyHtml")]
    pub html: String,
}

/// An event as a subscriber gets it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Told {
    /// What kind of event it is.
    pub detail_type: String,
    /// The event.
    pub detail: Value,
}

/// A queue that a rule of the bus fills.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    url: String,
    /// What came so far.
    pub events: Vec<Told>,
}

impl Client {
    /// Of the stand-in that answers there.
    pub fn new(http: reqwest::Client, endpoint: String) -> Self {
        Self { http, endpoint }
    }

    /// What its requests are sent with.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Asks SES.
    pub async fn ses(&self, what: &str, about: &Value) -> Result<String> {
        let url = format!("{}/v2/email/{what}", self.endpoint);
        let call = self.http.post(url).header("authorization", scope("ses"));
        answered(call.json(about), what).await
    }

    /// Asks SQS.
    pub async fn sqs(&self, operation: &str, about: &Value) -> Result<Value> {
        let target = format!("AmazonSQS.{operation}");
        self.json("sqs", &target, about).await
    }

    /// Asks a service that is asked in forms.
    pub async fn query(&self, service: &str, about: &[(&str, &str)]) -> Result<String> {
        let call = self
            .http
            .post(&self.endpoint)
            .header("authorization", scope(service))
            .form(about);
        answered(call, service).await
    }

    async fn json(&self, service: &str, target: &str, about: &Value) -> Result<Value> {
        let call = self
            .http
            .post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .header("authorization", scope(service))
            .body(about.to_string());
        let text = answered(call, target).await?;
        match text.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_str(&text).doing(target),
        }
    }

    /// Messages of a queue, as many as one question takes.
    pub async fn messages(&self, url: &str, most: u64) -> Result<Vec<Value>> {
        let asked = json!({
            "QueueUrl": url,
            "MaxNumberOfMessages": most.min(MOST),
            "WaitTimeSeconds": WAIT.as_secs(),
        });
        let mut answer = self.sqs("ReceiveMessage", &asked).await?;
        match answer["Messages"].take() {
            Value::Array(messages) => Ok(messages),
            _ => Ok(vec![]),
        }
    }

    /// Subscribes to the events of these accounts, from now on.
    pub async fn subscribe(
        &self,
        aws: &Aws,
        name: &str,
        accounts: &[String],
    ) -> Result<Subscription> {
        let queue = json!({ "QueueName": name });
        let queue = self.sqs("CreateQueue", &queue).await?;
        let url = queue["QueueUrl"].as_str().map(str::to_owned);
        let pattern = json!({ "source": ["connects"], "detail": { "account_id": accounts } });
        let rule =
            json!({ "Name": name, "EventBusName": aws.bus, "EventPattern": pattern.to_string() });
        self.json("events", "AWSEvents.PutRule", &rule).await?;
        let target = json!({ "Id": "all", "Arn": format!("arn:aws:sqs:{REGION}:{OWNER}:{name}") });
        let targets = json!({ "Rule": name, "EventBusName": aws.bus, "Targets": [target] });
        self.json("events", "AWSEvents.PutTargets", &targets)
            .await?;
        Ok(Subscription {
            client: self.clone(),
            url: url.doing("a queue without a URL")?,
            events: vec![],
        })
    }

    /// The mails that were taken, in the order in which they were.
    pub async fn mails(&self) -> Result<Vec<Mail>> {
        let url = format!("{}/_ministack/ses/messages", self.endpoint);
        let text = answered(self.http.get(url), "the mails").await?;
        let mut told: Value = serde_json::from_str(&text).doing("the mails")?;
        let Value::Object(by_account) = told["messages"].take() else {
            return Ok(vec![]);
        };
        let mails = by_account.into_iter().flat_map(|(_, mails)| match mails {
            Value::Array(mails) => mails,
            _ => vec![],
        });
        mails
            .map(|mail| serde_json::from_value(mail).doing("a mail"))
            .collect()
    }
}

impl Subscription {
    /// Takes what has come.
    pub async fn look(&mut self) -> Result<()> {
        for message in self.client.messages(&self.url, MOST).await? {
            let body = message["Body"].as_str().unwrap_or_default();
            self.events.push(serde_json::from_str(body).doing(body)?);
            let about = json!({ "QueueUrl": self.url, "ReceiptHandle": message["ReceiptHandle"] });
            self.client.sqs("DeleteMessage", &about).await?;
        }
        Ok(())
    }
}

/// A signature for show: the stand-in looks at no more than the service's name.
fn scope(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/{REGION}/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    )
}

async fn answered(call: RequestBuilder, what: &str) -> Result<String> {
    let answer = call.send().await.doing(what)?;
    let status = answer.status();
    let text = answer.text().await.doing(what)?;
    match status.is_success() {
        true => Ok(text),
        false => Err(Failure::new(format!("{what}: {text}"))),
    }
}
