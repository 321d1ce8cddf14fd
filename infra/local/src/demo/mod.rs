//! `cargo local demo`: the life of some Connects, with real requests.

mod badges;
mod boosts;
mod lots;
mod marketplace;

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use crate::environment;
use crate::failure::{Doing, Failure, Result};
use crate::keys::{Claims, Keys};
use crate::schedule;
use crate::state::State;

/// Tokens outlive the demo.
const TTL: u32 = 3600;

/// Walks through everything that can happen to a Connect.
pub async fn walk(state: &State, keys: &Keys, http: Client) -> Result<()> {
    let run = environment::now().timestamp_millis();
    let accounts = ["freelancer", "agency", "other"].map(|who| format!("demo-{who}-{run:x}"));
    let bidders = [1, 2, 3, 4, 5, 6].map(|n| format!("demo-bidder{n}-{run:x}"));
    let badges = badges::names(&format!("{run:x}"));
    let held = [accounts.as_slice(), &bidders, &badges].concat();
    let mut demo = Demo {
        holder: token(keys, "connects connects:service", &held)?,
        operator: token(keys, "connects:admin", &[])?,
        url: state.url.clone(),
        runtime_url: state.runtime_url.clone(),
        http,
        now: None,
        steps: 0,
        run: format!("{run:x}"),
    };
    let [freelancer, agency, other] = accounts.map(|id| format!("/v1/accounts/{id}"));
    lots::walk(&mut demo, &freelancer).await?;
    demo.now = None;
    marketplace::walk(&mut demo, &agency, &other).await?;
    boosts::walk(&mut demo, &bidders).await?;
    badges::walk(&mut demo, &badges).await
}

fn token(keys: &Keys, scope: &str, accounts: &[String]) -> Result<String> {
    keys.token(&Claims {
        subject: "demo",
        scope,
        accounts,
        ttl: TTL,
    })
}

#[derive(Clone)]
struct Request {
    method: Method,
    path: String,
    body: Option<Value>,
    key: Option<&'static str>,
    by_operator: bool,
}

fn get(resource: &str, path: &str) -> Request {
    Request {
        method: Method::GET,
        path: format!("{resource}{path}"),
        body: None,
        key: None,
        by_operator: false,
    }
}

fn post(resource: &str, path: &str, body: Value) -> Request {
    Request {
        method: Method::POST,
        body: Some(body),
        ..get(resource, path)
    }
}

fn put(resource: &str, body: Value) -> Request {
    Request {
        method: Method::PUT,
        ..post(resource, "", body)
    }
}

impl Request {
    fn key(self, key: &'static str) -> Self {
        let key = Some(key);
        Self { key, ..self }
    }

    fn operator(self) -> Self {
        Self {
            by_operator: true,
            ..self
        }
    }
}

struct Answer {
    to: String,
    status: StatusCode,
    replayed: bool,
    body: Value,
}

impl Answer {
    /// The body, if that is how the request was answered.
    fn is(self, status: StatusCode) -> Result<Value> {
        if self.status == status {
            return Ok(self.body);
        }
        Err(Failure::new(format!(
            "{} should have been answered {status}, but was {}: {}",
            self.to, self.status, self.body
        )))
    }
}

struct Demo {
    http: Client,
    url: String,
    runtime_url: String,
    holder: String,
    operator: String,
    now: Option<DateTime<Utc>>,
    steps: u32,
    /// What the names of this run's things end with.
    run: String,
}

impl Demo {
    fn step(&mut self, title: &str) {
        self.steps += 1;
        println!("\n━━ {}. {title}\n", self.steps);
    }

    /// From here on the ledger's clock shows the early morning of that day.
    fn travel_to(&mut self, day: NaiveDate) {
        self.now = Some(midnight(day) + TimeDelta::minutes(10));
    }

    /// Sends a request and prints it and its answer.
    async fn tell(&self, request: Request) -> Result<Answer> {
        println!("{}", self.line(&request));
        if let Some(body) = &request.body {
            println!("  {body}");
        }
        let answer = self.send(&request).await?;
        let replayed = if answer.replayed {
            "   Idempotency-Replayed: true"
        } else {
            ""
        };
        println!("← {}{replayed}\n  {}", answer.status, answer.body);
        Ok(answer)
    }

    fn line(&self, request: &Request) -> String {
        let key = request.key.map(|key| format!("   Idempotency-Key: {key}"));
        let now = self
            .now
            .map(|now| format!("   Connects-Now: {}", rfc3339(now)));
        let headers = key.unwrap_or_default() + &now.unwrap_or_default();
        format!("→ {} {}{headers}", request.method, request.path)
    }

    async fn send(&self, request: &Request) -> Result<Answer> {
        let to = format!("{} {}", request.method, request.path);
        let url = format!("{}{}", self.url, request.path);
        let token = if request.by_operator {
            &self.operator
        } else {
            &self.holder
        };
        let mut call = self
            .http
            .request(request.method.clone(), url)
            .bearer_auth(token);
        if let Some(key) = request.key {
            call = call.header("Idempotency-Key", key);
        }
        if let Some(now) = self.now {
            call = call.header("Connects-Now", rfc3339(now));
        }
        if let Some(body) = &request.body {
            call = call.json(body);
        }
        let answer = call.send().await.doing(&to)?;
        let status = answer.status();
        let replayed = answer.headers().get("Idempotency-Replayed");
        let replayed = replayed.is_some_and(|value| value == "true");
        let text = answer.text().await.doing(&to)?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer {
            to,
            status,
            replayed,
            body,
        })
    }

    async fn fire(&self, function: &str) -> Result<()> {
        let at = self.now.unwrap_or_else(environment::now);
        println!("$ cargo local fire {function} --at {}", rfc3339(at));
        let report = schedule::fire(&self.http, &self.runtime_url, function, at).await?;
        println!("  {report}");
        Ok(())
    }

    /// Entries of an account's history, which are also shown as a table.
    async fn history(&self, account: &str, which: &str) -> Result<Vec<Value>> {
        let request = get(account, &format!("/history?{which}&limit=100"));
        println!("{}", self.line(&request));
        let mut history = self.send(&request).await?.is(StatusCode::OK)?;
        let Value::Array(entries) = history["entries"].take() else {
            return Err(Failure::new("an answer without entries"));
        };
        show_history(&entries);
        Ok(entries)
    }

    /// The live lots as a table; their sum has to be the balance.
    async fn show_lots(&self, account: &str) -> Result<()> {
        let request = get(account, "/lots?limit=100");
        println!("\n{}", self.line(&request));
        let lots = self.send(&request).await?.is(StatusCode::OK)?;
        let lots = lots["lots"].as_array().doing("an answer without lots")?;
        println!(
            "\n    {:<8} {:<14} {:<18} {:<16} left",
            "lot", "source", "issued", "usable through"
        );
        for lot in lots {
            println!(
                "    {:<8} {:<14} {:<18} {:<16} {:>4} of {}",
                text(&lot["lot_id"]),
                text(&lot["source"]),
                minute(&lot["issued_at"]),
                text(&lot["expires_on"]),
                lot["remaining"].to_string(),
                lot["quantity"],
            );
        }
        let sum: i64 = lots
            .iter()
            .filter_map(|lot| lot["remaining"].as_i64())
            .sum();
        let account = self.send(&get(account, "")).await?.is(StatusCode::OK)?;
        let available = &account["balance"]["available"];
        println!("    {:<59} {:>4} available", "", available.to_string());
        if available.as_i64() != Some(sum) {
            return Err(Failure::new(format!(
                "the lots add up to {sum}, not to {available}"
            )));
        }
        Ok(())
    }
}

fn show_history(entries: &[Value]) {
    println!(
        "\n    {:>4}  {:<18} {:<18} {:<8} {:<18} {:>6} {:>10} {:>6}",
        "seq", "booked", "effective", "type", "reason", "amount", "available", "held"
    );
    for entry in entries {
        println!(
            "    {:>4}  {:<18} {:<18} {:<8} {:<18} {:>6} {:>10} {:>6}",
            entry["seq"].to_string(),
            minute(&entry["at"]),
            minute(&entry["effective_at"]),
            text(&entry["type"]),
            text(&entry["reason"]),
            entry["amount"].to_string(),
            entry["available_after"].to_string(),
            entry["held_after"].to_string(),
        );
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// An instant without its seconds.
fn minute(value: &Value) -> String {
    let text = text(value).replace('T', " ");
    text.get(..16).unwrap_or(&text).to_owned()
}

fn date(value: &Value) -> Result<NaiveDate> {
    let text = value.as_str().doing("an answer without a date")?;
    text.parse().doing(text)
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
