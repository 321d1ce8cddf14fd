//! A stand-in for Lambda's side of the table's stream: reads it and wakes the functions whose filters
//! let a record through.
//!
//! The stream's records go to the functions as the emulator tells them: it tells them as DynamoDB
//! does. What the real thing does and this does not: it begins where the last run stopped (here with
//! what comes after the start), batches, keeps the records of one partition in order (here several are
//! on their way at once), and sends what failed three times to a queue.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::emulator::{ACCESS_KEY, REGION};
use crate::failure::{Doing, Failure, Result};
use crate::schedule::invoke;
use crate::template::Trigger;

/// How long after a read that brought nothing the next one is.
const POLL: Duration = Duration::from_millis(100);

/// Records on their way at the same time. The gateway jams where a hundred wait.
const AT_ONCE: usize = 10;

/// How often a function is tried with a record.
const TRIES: u32 = 3;

/// Between two tries.
const BETWEEN: Duration = Duration::from_secs(1);

/// How long a function may take. A process that dies while it is at work is never heard of again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A table's stream.
#[derive(Debug)]
pub struct Stream {
    http: reqwest::Client,
    endpoint: String,
    arn: String,
    /// Where reading goes on, shard by shard; nowhere once one has ended.
    iterators: BTreeMap<String, Option<String>>,
}

impl Stream {
    /// Takes note of where the stream ends now: what comes later is delivered.
    pub async fn open(http: &reqwest::Client, endpoint: &str, table: &str) -> Result<Self> {
        let mut stream = Self {
            http: http.clone(),
            endpoint: endpoint.to_owned(),
            arn: String::new(),
            iterators: BTreeMap::new(),
        };
        let about = json!({ "TableName": table });
        let answer = stream
            .call("DynamoDB_20120810.DescribeTable", &about)
            .await?;
        stream.arn = text(&answer["Table"]["LatestStreamArn"], "the table's stream")?;
        stream.find_shards("LATEST").await?;
        Ok(stream)
    }

    /// Delivers whatever comes, for ever.
    pub async fn keep_delivering(mut self, runtime_url: String, triggers: Vec<Trigger>) {
        let mut deliveries = JoinSet::new();
        loop {
            let records = match self.read().await {
                Ok(records) => records,
                Err(failure) => {
                    eprintln!("the table's stream: {failure}");
                    Vec::new()
                }
            };
            if records.is_empty() {
                while deliveries.try_join_next().is_some() {}
                sleep(POLL).await;
            }
            for record in records {
                for trigger in triggers.iter().filter(|trigger| trigger.is_for(&record)) {
                    while deliveries.len() >= AT_ONCE {
                        deliveries.join_next().await;
                    }
                    let event = json!({ "Records": [record] });
                    let (http, url) = (self.http.clone(), runtime_url.clone());
                    deliveries.spawn(deliver(http, url, trigger.function.clone(), event));
                }
            }
        }
    }

    /// What is new in all shards.
    async fn read(&mut self) -> Result<Vec<Value>> {
        self.find_shards("TRIM_HORIZON").await?;
        let mut records = Vec::new();
        for (shard, iterator) in self.iterators.clone() {
            let Some(iterator) = iterator else { continue };
            let about = json!({ "ShardIterator": iterator });
            let answer = self.streams("GetRecords", &about).await;
            // An iterator that was not used for long is no good any more: the shard is read anew, from
            // its beginning; what a function has done already it does not do again.
            let mut answer = match answer {
                Ok(answer) => answer,
                Err(failure) => {
                    eprintln!("the table's stream: {failure}");
                    self.iterators.remove(&shard);
                    continue;
                }
            };
            let next = answer["NextShardIterator"].as_str().map(str::to_owned);
            self.iterators.insert(shard, next);
            if let Value::Array(new) = answer["Records"].take() {
                records.extend(new);
            }
        }
        Ok(records)
    }

    /// Goes to the place of that name in every shard that is not read yet.
    async fn find_shards(&mut self, place: &str) -> Result<()> {
        let about = json!({ "StreamArn": self.arn });
        let answer = self.streams("DescribeStream", &about).await?;
        let shards = answer["StreamDescription"]["Shards"].as_array();
        for shard in shards.into_iter().flatten() {
            let id = text(&shard["ShardId"], "a shard's id")?;
            if self.iterators.contains_key(&id) {
                continue;
            }
            let about = json!({
                "StreamArn": self.arn,
                "ShardId": id,
                "ShardIteratorType": place,
            });
            let answer = self.streams("GetShardIterator", &about).await?;
            let iterator = text(&answer["ShardIterator"], "a shard's iterator")?;
            self.iterators.insert(id, Some(iterator));
        }
        Ok(())
    }

    async fn streams(&self, operation: &str, about: &Value) -> Result<Value> {
        let target = format!("DynamoDBStreams_20120810.{operation}");
        self.call(&target, about).await
    }

    /// One call, signed for show: no emulator looks at more than the key's name.
    async fn call(&self, target: &str, about: &Value) -> Result<Value> {
        let scope = format!("{ACCESS_KEY}/20260101/{REGION}/dynamodb/aws4_request");
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-target, Signature=0"
        );
        let answer = self
            .http
            .post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .header("x-amz-date", "20260101T000000Z")
            .header("authorization", signature)
            .body(about.to_string())
            .send()
            .await
            .doing(target)?;
        let status = answer.status();
        let text = answer.text().await.doing(target)?;
        match status.is_success() {
            true => serde_json::from_str(&text).doing(target),
            false => Err(Failure::new(format!("{target}: {text}"))),
        }
    }
}

async fn deliver(http: reqwest::Client, url: String, function: String, event: Value) {
    for _ in 0..TRIES {
        let report = timeout(PATIENCE, invoke(&http, &url, &function, &event)).await;
        match report {
            Ok(Ok(report)) => {
                eprintln!("{function}: {report}");
                return;
            }
            Ok(Err(failure)) => eprintln!("{failure}"),
            Err(_) => eprintln!("{function} does not answer"),
        }
        sleep(BETWEEN).await;
    }
}

fn text(value: &Value, what: &str) -> Result<String> {
    value.as_str().map(str::to_owned).doing(what)
}
