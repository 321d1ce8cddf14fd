//! A stand-in for Lambda's side of the table's stream: reads it and wakes the functions whose filters
//! let a record through.
//!
//! The stream's records go to the functions as the emulator tells them: it tells them as DynamoDB
//! does, in batches and by lanes as the template says, those of one partition in order. What the real
//! thing does and this does not: it begins where the last run stopped (here with what comes after the
//! start), and sends what it gives up to a queue.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::emulator::{ACCESS_KEY, REGION};
use crate::failure::{Doing, Failure, Result};
use crate::schedule::invoke;
use crate::template::Trigger;

/// How long after a read that brought nothing the next one is.
const POLL: Duration = Duration::from_millis(100);

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

    /// Delivers whatever comes, for ever: to each function by as many lanes as the template gives it, the
    /// changes of one partition by the same lane, so that they stay in order.
    pub async fn keep_delivering(mut self, runtime_url: String, triggers: Vec<Trigger>) {
        let mut deliveries = JoinSet::new();
        let mut lanes: Vec<(Trigger, Vec<UnboundedSender<Value>>)> = Vec::new();
        for trigger in triggers {
            let senders = (0..trigger.lanes).map(|_| {
                let (sender, waiting) = unbounded_channel();
                let lane = Lane {
                    http: self.http.clone(),
                    url: runtime_url.clone(),
                    trigger: trigger.clone(),
                    waiting,
                };
                deliveries.spawn(lane.keep_delivering());
                sender
            });
            let senders = senders.collect();
            lanes.push((trigger, senders));
        }
        loop {
            let records = match self.read().await {
                Ok(records) => records,
                Err(failure) => {
                    eprintln!("the table's stream: {failure}");
                    Vec::new()
                }
            };
            if records.is_empty() {
                sleep(POLL).await;
            }
            for record in records {
                let partition = record["dynamodb"]["Keys"]["pk"]["S"].as_str();
                for (_, lanes) in lanes.iter().filter(|(trigger, _)| trigger.is_for(&record)) {
                    let mut hasher = DefaultHasher::new();
                    partition.hash(&mut hasher);
                    let lane = hasher.finish() as usize % lanes.len();
                    // A lane ends with this task only.
                    let _ = lanes[lane].send(record.clone());
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

/// Changes on their way to a function, one invocation after the other.
struct Lane {
    http: reqwest::Client,
    url: String,
    trigger: Trigger,
    waiting: UnboundedReceiver<Value>,
}

impl Lane {
    async fn keep_delivering(mut self) {
        let mut records = Vec::new();
        while self
            .waiting
            .recv_many(&mut records, self.trigger.batch)
            .await
            > 0
        {
            self.deliver(std::mem::take(&mut records)).await;
        }
    }

    /// Tries until nothing is left, or the same record has failed too often.
    async fn deliver(&self, mut records: Vec<Value>) {
        let function = &self.trigger.function;
        let mut tries = 0;
        while !records.is_empty() && tries < TRIES {
            let event = json!({ "Records": records });
            let report = timeout(PATIENCE, invoke(&self.http, &self.url, function, &event)).await;
            let done = match report {
                Ok(Ok(report)) => {
                    eprintln!("{function}: {report}");
                    done(&records, &report)
                }
                Ok(Err(failure)) => {
                    eprintln!("{failure}");
                    0
                }
                Err(_) => {
                    eprintln!("{function} does not answer");
                    0
                }
            };
            tries = if done == 0 { tries + 1 } else { 0 };
            records.drain(..done);
            if !records.is_empty() {
                sleep(BETWEEN).await;
            }
        }
    }
}

/// How many records need not come again: those before the first that the report names.
fn done(records: &[Value], report: &Value) -> usize {
    let failures = report["batchItemFailures"].as_array().into_iter().flatten();
    let place = |failure: &Value| {
        let number = &failure["itemIdentifier"];
        let is_it = |record: &Value| record["dynamodb"]["SequenceNumber"] == *number;
        records.iter().position(is_it).unwrap_or(0)
    };
    failures.map(place).min().unwrap_or(records.len())
}

fn text(value: &Value, what: &str) -> Result<String> {
    value.as_str().map(str::to_owned).doing(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_first_failure_is_done() {
        let record = |number: &str| json!({ "dynamodb": { "SequenceNumber": number } });
        let records = ["1", "2", "3"].map(record);
        let failures = |numbers: &[&str]| {
            let item = |number: &&str| json!({ "itemIdentifier": number });
            json!({ "batchItemFailures": numbers.iter().map(item).collect::<Vec<_>>() })
        };
        for (report, expected) in [
            (json!({ "accounts": 7 }), 3),
            (failures(&[]), 3),
            (failures(&["1"]), 0),
            (failures(&["3", "2"]), 1),
            (failures(&["3"]), 2),
            (failures(&["4"]), 0),
        ] {
            assert_eq!(done(&records, &report), expected, "{report}");
        }
    }
}
