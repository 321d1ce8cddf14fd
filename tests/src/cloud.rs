//! The stand-in for the rest of AWS, as a subscriber and a reader of mail see it.

use std::time::Duration;

use connects::domain::email::Email;
use connects_local::state::Aws;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::stack::{Stack, fresh};

/// Looks at what was to come, and the pause between two.
const LOOKS: u32 = 300;
const PAUSE: Duration = Duration::from_millis(200);

/// A queue that a rule fills with an account's events.
#[derive(Debug)]
pub struct Subscriber<'a> {
    stack: &'a Stack,
    url: String,
    /// What came so far: what it was told under, and its detail.
    pub events: Vec<(String, Value)>,
}

impl Stack {
    fn aws(&self) -> &Aws {
        let missing = "the stack tells nobody: start it with `cargo local up --with-aws`";
        self.aws.as_ref().expect(missing)
    }

    async fn ask(&self, service: &str, target: &str, about: &Value) -> Value {
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=0"
        );
        let answer = self
            .web
            .post(&self.aws().endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .header("authorization", scope)
            .body(about.to_string())
            .send()
            .await
            .unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{target}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn sqs(&self, operation: &str, about: Value) -> Value {
        let target = format!("AmazonSQS.{operation}");
        self.ask("sqs", &target, &about).await
    }

    /// Subscribes to the events of an account that is yet to be opened.
    pub async fn subscribe(&self, account: &str) -> Subscriber<'_> {
        let name = fresh("subscriber");
        let queue = self.sqs("CreateQueue", json!({ "QueueName": name })).await;
        let url = queue["QueueUrl"].as_str().unwrap().to_owned();
        let pattern = json!({ "source": ["connects"], "detail": { "account_id": [account] } });
        let bus = &self.aws().bus;
        let rule =
            json!({ "Name": name, "EventBusName": bus, "EventPattern": pattern.to_string() });
        self.ask("events", "AWSEvents.PutRule", &rule).await;
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:{name}");
        let target = json!({ "Id": "all", "Arn": arn });
        let targets = json!({ "Rule": name, "EventBusName": bus, "Targets": [target] });
        self.ask("events", "AWSEvents.PutTargets", &targets).await;
        let stack = self;
        Subscriber {
            stack,
            url,
            events: vec![],
        }
    }

    /// Puts a message into the queue that mails are made of, as a rule would.
    pub async fn queue_mail(&self, source: &str, detail_type: &str, detail: &Value) {
        let prefix = json!({ "QueueNamePrefix": format!("{}-Mails", self.aws().bus) });
        let queues = self.sqs("ListQueues", prefix).await;
        let event = json!({ "source": source, "detail-type": detail_type, "detail": detail });
        let message =
            json!({ "QueueUrl": queues["QueueUrls"][0], "MessageBody": event.to_string() });
        self.sqs("SendMessage", message).await;
    }

    /// Waits until it is known that an address takes no mail.
    pub async fn addresses_lost(&self, address: &str) {
        let email = Email::try_new(address).unwrap();
        for _ in 0..LOOKS {
            if !self.store().takes_mail(&email).await.unwrap() {
                return;
            }
            sleep(PAUSE).await;
        }
        panic!("mail to {address} did not come back")
    }

    /// The mails to an address, in the order in which they were sent, once there are so many.
    pub async fn mails(&self, address: &str, count: usize) -> Vec<Value> {
        let url = format!("{}/_ministack/ses/messages", self.aws().endpoint);
        for _ in 0..LOOKS {
            let told: Value = self
                .web
                .get(&url)
                .send()
                .await
                .unwrap()
                .json()
                .await
                .unwrap();
            let all = told["messages"]
                .as_object()
                .into_iter()
                .flat_map(|it| it.values());
            let mails = all.filter_map(Value::as_array).flatten();
            let to = |mail: &&Value| {
                mail["To"]
                    .as_array()
                    .is_some_and(|to| to[..] == [json!(address)])
            };
            let mails: Vec<Value> = mails.filter(to).cloned().collect();
            if mails.len() >= count {
                return mails;
            }
            sleep(PAUSE).await;
        }
        panic!("{count} mails to {address} did not come")
    }
}

impl Subscriber<'_> {
    /// Waits until there are so many events.
    pub async fn until(&mut self, count: usize) {
        for _ in 0..LOOKS {
            if self.events.len() >= count {
                return;
            }
            let about = json!({ "QueueUrl": self.url, "MaxNumberOfMessages": 10 });
            let answer = self.stack.sqs("ReceiveMessage", about).await;
            for message in answer["Messages"].as_array().into_iter().flatten() {
                let event: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
                let told = event["detail-type"].as_str().unwrap().to_owned();
                self.events.push((told, event["detail"].clone()));
                let handle = &message["ReceiptHandle"];
                let about = json!({ "QueueUrl": self.url, "ReceiptHandle": handle });
                self.stack.sqs("DeleteMessage", about).await;
            }
            if answer["Messages"].as_array().is_none_or(Vec::is_empty) {
                sleep(PAUSE).await;
            }
        }
        panic!("{count} events did not come: {:?}", self.events)
    }
}
