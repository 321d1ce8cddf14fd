//! The functions without a gateway between: their own routes, compiled in.

use aws_sdk_dynamodb::Client;
use connects::clock::Clock;
use connects::config::ClockConfig;
use connects::domain::policy::Policy;
use connects::http::{Answer, App, Core, Event, Problem, Request, Till};
use connects::ledger::Ledger;
use connects::payments::{Payments, Sandbox};
use connects::store::Store;
use data_encoding::BASE64;
use serde_json::{Map, Value, json};

// Each is a whole program; its `main` has no part in this.
#[allow(dead_code)]
#[path = "../../functions/account/src/main.rs"]
pub mod account;
#[allow(dead_code)]
#[path = "../../functions/badge/src/main.rs"]
pub mod badge;
#[allow(dead_code)]
#[path = "../../functions/boost/src/main.rs"]
pub mod boost;
#[allow(dead_code)]
#[path = "../../functions/job/src/main.rs"]
pub mod job;
#[allow(dead_code)]
#[path = "../../functions/plan-change/src/main.rs"]
pub mod plan_change;
#[allow(dead_code)]
#[path = "../../functions/purchase/src/main.rs"]
pub mod purchase;
#[allow(dead_code)]
#[path = "../../functions/redeem-promo/src/main.rs"]
pub mod redeem_promo;
#[allow(dead_code)]
#[path = "../../functions/refund/src/main.rs"]
pub mod refund;
#[allow(dead_code)]
#[path = "../../functions/reward/src/main.rs"]
pub mod reward;
#[allow(dead_code)]
#[path = "../../functions/spend/src/main.rs"]
pub mod spend;
#[allow(dead_code)]
#[path = "../../functions/wallet/src/main.rs"]
pub mod wallet;

/// What every function has, over that table, under those rules.
pub fn core(client: Client, table: &str, policy: Policy) -> Core {
    let store = Store::new(client, table);
    let clock = ClockConfig {
        local: true,
        in_aws: false,
    };
    Core {
        clock: Clock::new(&clock).unwrap(),
        ledger: Ledger::new(store, policy),
    }
}

/// All that, and the sandbox to charge.
pub fn till(app: App) -> Till {
    let sandbox = Sandbox::new(app.ledger.store().clone());
    Till::new(app, Payments::Sandbox(sandbox))
}

/// The event that API Gateway makes of a request; none of one that it would not let in.
pub fn event(
    method: &str,
    path: &str,
    query: &str,
    headers: Map<String, Value>,
    body: &[u8],
) -> Option<Event> {
    let text = std::str::from_utf8(body);
    let event = json!({
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": { "stage": "$default", "http": { "method": method } },
        "body": text.map_or_else(|_| BASE64.encode(body), str::to_owned),
        "isBase64Encoded": text.is_err(),
    });
    serde_json::from_value(event).ok()
}

/// What a request is answered by the function that has its route. No two have the same, so it is
/// the first that knows it.
///
/// # Errors
/// The function's own, or that none has such a route.
pub async fn route(app: &Till, request: &Request) -> Result<Answer, Problem> {
    macro_rules! first_of {
        ($($function:ident)*) => {
            $(match Box::pin($function::route(app, request)).await {
                Err(problem) if problem.code() == NO_ROUTE => {}
                answered => return answered,
            })*
        };
    }
    first_of!(account spend purchase refund redeem_promo reward plan_change job boost badge wallet);
    Err(Problem::not_found())
}

/// What a function says to a path that is none of its routes.
const NO_ROUTE: &str = "not_found";
