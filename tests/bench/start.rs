//! The functions as they are deployed: size, start, first and following answers, memory, CPU time.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use connects::domain::account::Plan;
use connects::domain::ids::{AccountId, JobId};
use connects::domain::job::{PostJob, Pricing};
use connects::domain::proposal::ProposeCommand;
use connects::domain::time;
use connects::domain::units::Connects;
use connects::ledger::Ledger;
use connects_local::environment;
use connects_local::keys::{Claims, Keys};
use connects_local::project::Project;
use connects_local::stack::function_environment;
use connects_local::state::Features;
use connects_tests::table::{grant, key, promo_code, spend, unique};
use serde_json::{Value, json};

use crate::bed::{Bed, Sent, TABLE};
use crate::function::{Binaries, Function, cpu, peak_memory, request, scheduled};
use crate::rates::{context, rich_account};
use crate::report::{median, table, thousands, thousandths};
use crate::tls::Tls;

/// Processes started of each function.
const STARTS: usize = 15;

/// Invocations of each process, the first included.
const INVOCATIONS: usize = 20;

/// Spends that the CPU time of one is measured by.
const SPENDS: u64 = 3_000;

/// Everything that a function's process is told.
pub fn environment_of(endpoint: &str, keys: &Keys) -> Vec<(String, String)> {
    let mut environment = function_environment(endpoint, keys, Features::Deploy);
    for (name, value) in &mut environment {
        if name == "CONNECTS_TABLE" {
            TABLE.clone_into(value);
        }
    }
    environment
}

pub async fn run(functions: &Binaries) {
    let project = Project::find().unwrap();
    let keys = Keys::ensure(&project.keys()).unwrap();
    let bed = Bed::start().await;
    let ledger = bed.ledger(&Arc::new(Sent::default()));
    let folder = std::env::temp_dir().join(format!("connects-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let tls = Tls::before(&bed.endpoint, &folder).await;
    let mut environment = environment_of(&tls.endpoint, &keys);
    let bundle = tls.bundle.display().to_string();
    environment.push(("SSL_CERT_FILE".to_owned(), bundle));

    let trusted = fs::read_to_string(&tls.bundle).unwrap();
    println!(
        "Release binaries; {STARTS} processes of each, {INVOCATIONS} invocations of each process, over \
         TLS to the embedded emulator, with {} authorities to trust; medians. The bench serves Lambda's \
         runtime API. The first answer includes TLS's handshake; nothing in Lambda that comes before the \
         process is part of this.\n",
        trusted.matches("BEGIN CERTIFICATE").count()
    );
    let mut rows = vec![];
    for (name, binary) in functions.get().await {
        let account = rich_account(&ledger).await;
        let token = token(&keys, &account);
        let mut timed = Timed::default();
        for _ in 0..STARTS {
            let mut events = vec![];
            for _ in 0..INVOCATIONS {
                events.push(event(name, &ledger, &account, &token).await);
            }
            timed.process(binary, &environment, &events).await;
        }
        let size = fs::metadata(binary).unwrap().len();
        rows.push([
            name.clone(),
            thousandths(size / 1_000),
            thousandths(median(timed.start)),
            thousandths(median(timed.first)),
            thousandths(median(timed.following)),
            thousandths(timed.memory),
        ]);
    }
    table(
        [
            "function",
            "binary, MB",
            "start to the first /next, ms",
            "first answer, ms",
            "following answers, ms",
            "peak memory, MB",
        ],
        rows,
    );
    cpu_of_spends(functions, &environment, &keys, &ledger).await;
    fs::remove_dir_all(&folder).unwrap();
}

#[derive(Default)]
struct Timed {
    start: Vec<u64>,
    first: Vec<u64>,
    following: Vec<u64>,
    /// The most, in kilobytes.
    memory: u64,
}

impl Timed {
    async fn process(&mut self, binary: &Path, environment: &[(String, String)], events: &[Value]) {
        let mut function = Function::start(binary, environment).await;
        self.start.push(micros(function.start));
        for (number, event) in events.iter().enumerate() {
            let (took, answer) = function.invoke(event).await;
            succeeded(&answer);
            let times = if number == 0 {
                &mut self.first
            } else {
                &mut self.following
            };
            times.push(micros(took));
        }
        self.memory = self.memory.max(peak_memory(function.id()));
        function.stop().await;
    }
}

/// A request's answer is a 2xx; a schedule's report names no failure.
fn succeeded(answer: &Value) {
    let status = answer["statusCode"].as_u64().unwrap_or(200);
    assert!((200..300).contains(&status), "{answer}");
    assert_eq!(answer["failed"].as_u64().unwrap_or_default(), 0, "{answer}");
}

/// CPU time of one process, one spend after another.
async fn cpu_of_spends(
    functions: &Binaries,
    environment: &[(String, String)],
    keys: &Keys,
    ledger: &Ledger,
) {
    let account = rich_account(ledger).await;
    let token = token(keys, &account);
    let mut function = Function::start(&functions.get().await["spend"], environment).await;
    // What is done once only is not part of it.
    for _ in 0..INVOCATIONS {
        let event = event("spend", ledger, &account, &token).await;
        succeeded(&function.invoke(&event).await.1);
    }
    let before = cpu(function.id());
    for _ in 0..SPENDS {
        let event = event("spend", ledger, &account, &token).await;
        succeeded(&function.invoke(&event).await.1);
    }
    let used = cpu(function.id()) - before;
    println!(
        "\nCPU time of a spend over HTTP in the function's own process, TLS included: {} ms, from {} \
         spends one after another.",
        thousandths(used * 1_000 / SPENDS),
        thousands(SPENDS)
    );
    function.stop().await;
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

/// A token that is good for an hour, for whatever can be done with an account.
fn token(keys: &Keys, account: &AccountId) -> String {
    let claims = Claims {
        subject: "bench",
        scope: "connects connects:service connects:admin",
        accounts: &[account.to_string()],
        ttl: 3_600,
    };
    keys.token(&claims).unwrap()
}

/// What each function is there for.
async fn event(function: &str, ledger: &Ledger, account: &AccountId, token: &str) -> Value {
    let path = format!("/v1/accounts/{account}");
    let fresh = unique();
    let post = |rest: &str, body: Value| {
        let path = format!("{path}/{rest}");
        request("POST", &path, token, Some(fresh.as_str()), &body)
    };
    match function {
        "spend" => post("spends", json!({ "amount": 1, "reason": "bench" })),
        "purchase" => post("purchases", json!({ "quantity": 10 })),
        "refund" => {
            let spent = ledger.spend(&context(), account, &key(), &spend(1)).await;
            let spend_id = spent.unwrap().into_inner().spend_id;
            let body = json!({ "spend_id": spend_id, "reason": "goodwill" });
            post("refunds", body)
        }
        "redeem-promo" => post("redemptions", json!({ "code": code(ledger).await })),
        "account" => {
            let body = json!({ "kind": "freelancer", "person_id": fresh });
            let path = format!("/v1/accounts/{fresh}");
            request("PUT", &path, token, None, &body)
        }
        "reward" => {
            let job = JobId::try_new(&fresh).unwrap();
            let (context, cost) = (context(), Connects::new(1));
            let posted = PostJob {
                posted_at: context.now,
                pricing: Pricing::Stated(cost),
            };
            ledger.post_job(&context, &job, &posted).await.unwrap();
            let proposal = ProposeCommand::new(job, cost);
            let submitted = ledger.propose(&context, account, None, &proposal);
            submitted.await.unwrap();
            let client = json!({ "hires": 1, "spend": { "amount": 1, "currency": "USD" } });
            let body = json!({ "kind": "interview_won", "job_id": fresh, "client": client });
            post("rewards", body)
        }
        "plan-change" => {
            let plan = match ledger.account(&context(), account).await.unwrap().plan {
                Plan::Basic => json!({ "plan": "plus" }),
                Plan::Plus => json!({ "plan": "basic", "reason": "payment_failed" }),
            };
            post("plan-changes", plan)
        }
        "job" => {
            let body = json!({ "posted_at": "2026-01-10T12:00:00Z", "connects_required": 8 });
            request("PUT", &format!("/v1/jobs/{fresh}"), token, None, &body)
        }
        "wallet" => request("GET", &path, token, None, &Value::Null),
        _ => scheduled(&time::text(environment::now())),
    }
}

/// A code that grants 5 to whoever redeems it.
async fn code(ledger: &Ledger) -> String {
    let code = promo_code();
    let terms = grant(5);
    ledger.put_promo(&context(), &code, &terms).await.unwrap();
    code.to_string()
}
