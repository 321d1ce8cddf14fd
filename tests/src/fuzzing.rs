//! Whatever comes from outside, as bytes. Each function takes an input of any form in by the way
//! that it comes in production, and panics if what happens is not what the contract says: an
//! answer in its form, no fault of ours, a bounded number of calls to the table. `tests/fuzz` feeds
//! them from libFuzzer, the test `fuzz` from the corpus and seeded mutations of it.

pub(crate) mod world;

use std::collections::BTreeMap;

use connects::domain::account::{Kind, Open};
use connects::domain::ids::{AccountId, PersonId};
use connects::domain::policy::Policy;
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::http::{Auth, Event};
use connects::ledger::Ledger;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::table::{at, audit, key, spend};
use world::{WORLD, gateway_event, issued_by, scratch, status, with_world};

/// Items that are put in place for one input.
const MAX_ITEMS: usize = 16;

/// More Connects than the model is fast with.
const MANY: u64 = 1_000;

/// What is asked of a table that may hold anything.
const QUESTIONS: [&str; 10] = [
    "GET /v1/accounts/a1\nauthorization: Bearer $SERVICE\n\n",
    "GET /v1/accounts/a1/lots\nauthorization: Bearer $SERVICE\n\n",
    "GET /v1/accounts/a1/history?from=2000-01-01\nauthorization: Bearer $SERVICE\n\n",
    "GET /v1/accounts/a1/history?days=90\nauthorization: Bearer $SERVICE\naccept: text/csv\n\n",
    "GET /v1/accounts/a1/purchases/$PURCHASE\nauthorization: Bearer $SERVICE\n\n",
    "GET /v1/promos/SPRING\nauthorization: Bearer $ADMIN\n\n",
    "POST /v1/accounts/a1/redemptions\nauthorization: Bearer $SERVICE\n\n{\"code\":\"SPRING\"}",
    "POST /v1/accounts/a1/spends\nauthorization: Bearer $SERVICE\nidempotency-key: s1\n\n\
     {\"amount\":7,\"reason\":\"test\"}",
    "POST /v1/accounts/a1/refunds\nauthorization: Bearer $SERVICE\nidempotency-key: r2\n\n\
     {\"spend_id\":\"$SPEND\",\"reason\":\"goodwill\"}",
    "POST /v1/accounts/a1/purchases/$PURCHASE/chargeback\nauthorization: Bearer $ADMIN\n\n{}",
];

/// A schedule, as EventBridge words it.
const SCHEDULE: &str = r#"{"detail-type":"Scheduled Event","time":"2026-03-01T00:00:00Z"}"#;

/// An event, as Lambda hands it to a function: JSON. `$USER`, `$SERVICE` and `$ADMIN` in it become
/// tokens of that scope, so that what lies behind authentication is reached.
pub fn event(data: &[u8]) {
    with_world(data, |world| {
        if let Ok(event) = serde_json::from_slice::<Event>(&world.filled_in(data)) {
            world.invoke(event);
        }
    });
}

/// A request as HTTP would have it: a line of method and target, lines of headers, an empty line,
/// the body.
pub fn request(data: &[u8]) {
    with_world(data, |world| {
        if let Some(event) = gateway_event(&world.filled_in(data)) {
            world.invoke(event);
        }
    });
}

/// The position in a cursor of one of the listings, which the first byte chooses: behind the right
/// fingerprint, so that only the position can be wrong.
pub fn cursor(data: &[u8]) {
    let Some((listing, position)) = data.split_first() else {
        return;
    };
    with_world(data, |world| {
        let (path, fingerprint) = &world.listings[usize::from(*listing) % world.listings.len()];
        let cursor = BASE64URL_NOPAD.encode(&[fingerprint, position].concat());
        let request = format!("GET {path}&cursor={cursor}\nauthorization: Bearer $ADMIN\n\n");
        let answer = world.ask_for(&request);
        assert!(
            matches!(status(&answer), 200 | 400),
            "good or bad: {answer}"
        );
    });
}

/// An `Authorization` header; or, after a line that is a token's header, its claims, signed with
/// the issuer's own key.
pub fn token(data: &[u8]) {
    with_world(data, |world| {
        let text = String::from_utf8_lossy(data);
        let (claims, token) = match text.split_once('\n') {
            Some((header, claims)) if !header.is_empty() => (
                Some(claims),
                format!("Bearer {}", world.sign(header, claims)),
            ),
            _ => (None, text.trim().to_owned()),
        };
        let request = format!("GET /v1/accounts/a1\nauthorization: {token}\n\n");
        let answer = world.ask_for(&request);
        if matches!(status(&answer), 0 | 401) {
            return;
        }
        let claims: Value = claims
            .and_then(|claims| serde_json::from_str(claims).ok())
            .unwrap_or_else(|| panic!("accepted without a signature: {text}"));
        let is_over = claims["exp"]
            .as_u64()
            .is_some_and(|exp| exp < world.second - 60);
        assert!(claims["exp"].is_number() && !is_over, "{claims}");
        let names_it = claims["accounts"].to_string().contains("a1");
        let scope = claims["scope"].as_str().unwrap_or_default();
        let acts_on_any = scope.contains("connects:service") || scope.contains("connects:admin");
        let may = names_it || acts_on_any;
        assert!(may || status(&answer) != 200, "{claims}: {answer}");
    });
}

/// A key set. None makes tokens good that its owner did not sign.
pub fn jwks(data: &[u8]) {
    with_world(data, |world| {
        let path = scratch("jwks");
        std::fs::write(&path, data).unwrap();
        let now = world.now();
        let auth = world.runtime.block_on(Auth::connect(issued_by(&path), now));
        if let Ok(auth) = auth {
            let header = world.filled_in(b"Bearer $SERVICE");
            let header = std::str::from_utf8(&header).ok();
            let caller = world.runtime.block_on(auth.caller(header, now));
            assert!(caller.is_err(), "another's key set made a token good");
        }
        std::fs::remove_file(&path).unwrap();
    });
}

/// A policy file. Under one that is accepted an account can live.
pub fn policy(data: &[u8]) {
    let text = std::str::from_utf8(data).unwrap_or_default();
    let Ok(policy) = Policy::parse(text) else {
        return;
    };
    with_world(data, |world| {
        for kind in [Kind::Freelancer, Kind::Agency] {
            serde_json::to_string(&policy.catalog(kind)).unwrap();
        }
        let ledger = Ledger::new(world.store().clone(), policy);
        let id = world.runtime.block_on(life(&ledger));
        if brings_few(ledger.policy()) {
            world.runtime.block_on(audit(ledger.store(), &id));
        }
    });
}

/// Items as they might be found in the table: a JSON array of them in DynamoDB's own form. They
/// take the place of those that belong there; whatever is then asked is answered, if only as a
/// fault, and nothing is written.
pub fn item(data: &[u8]) {
    let Ok(items) = serde_json::from_slice::<Vec<Value>>(data) else {
        return;
    };
    with_world(data, |world| {
        let placed = world.place(items.iter().take(MAX_ITEMS));
        for request in &QUESTIONS {
            world.ask_for(request);
        }
        world.ask(serde_json::from_str(SCHEDULE).unwrap());
        world.put_back(placed);
    });
}

/// Inputs of [`item`] that hold each item that is really stored, alone.
pub fn stored() -> Vec<Vec<u8>> {
    let mut stored = vec![];
    with_world(&[], |world| {
        let alone = |item: &Value| json!([item]).to_string().into_bytes();
        stored = world.items().iter().map(alone).collect();
    });
    stored
}

/// Whether the model, to whom each Connect is a thing of its own, can follow.
fn brings_few(policy: &Policy) -> bool {
    let grants = policy.grants.values().flat_map(BTreeMap::values).flatten();
    let amounts = grants.map(|grant| grant.amount.get());
    amounts
        .chain([policy.signup.amount.get()])
        .all(|amount| amount <= MANY)
}

/// One account's life under a policy: opened, spent from, refunded, and a year later settled.
async fn life(ledger: &Ledger) -> AccountId {
    let id = AccountId::try_new("p9").unwrap();
    let open = Open {
        kind: Kind::Freelancer,
        person_id: PersonId::try_new("p9").unwrap(),
        email: None,
        payment_customer: None,
        opened_on: None,
    };
    ledger.open(&at(WORLD), &id, open).await.unwrap();
    if let Ok(spent) = ledger.spend(&at(WORLD), &id, &key(), &spend(7)).await {
        let refund = RefundCommand {
            of: RefundOf::SpendId(spent.into_inner().spend_id),
            amount: None,
            reason: RefundReason::Goodwill,
        };
        let later = at("2026-07-10T12:00:00Z");
        ledger.refund(&later, &id, &key(), &refund).await.unwrap();
    }
    let later = at("2027-02-01T00:00:00Z");
    ledger.account(&later, &id).await.unwrap();
    ledger.sweep_grants(&later, later.now).await.unwrap();
    ledger.sweep_expiry(&later, later.now).await.unwrap();
    id
}
