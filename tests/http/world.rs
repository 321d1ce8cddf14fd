//! An account with something in every corner, and for every route a request that would be accepted:
//! what the tests about all routes start from.

use std::collections::{BTreeMap, BTreeSet};

use connects_local::project::Project;
use connects_local::template::{self, Template};
use connects_tests::client::Request;
use connects_tests::contract::{names, operations};
use connects_tests::holder::Holder;
use connects_tests::stack::{Stack, fresh, fresh_code, instant};
use connects_tests::table::batch_name;
use reqwest::Method;
use serde_json::{Value, json};

pub const NOW: &str = "2052-02-01";
pub const SERVICE: &str = "connects:service";
pub const ADMIN: &str = "connects:admin";
pub const USER: &str = "connects";
pub const ANYONE: &[&str] = &[SERVICE, ADMIN, USER];
pub const BODY_LIMIT: usize = 64 * 1024;

/// A route: who may use it, and a request to it that would be accepted.
#[derive(Debug, Clone)]
pub struct Route {
    pub name: &'static str,
    pub scopes: &'static [&'static str],
    pub method: Method,
    /// With `{}` for the account.
    pub path: String,
    pub body: Option<Value>,
    pub key: bool,
}

impl Route {
    fn new(
        name: &'static str,
        scopes: &'static [&'static str],
        (method, path): (Method, impl Into<String>),
    ) -> Self {
        let (path, body, key) = (path.into(), None, false);
        Self {
            name,
            scopes,
            method,
            path,
            body,
            key,
        }
    }

    fn body(self, body: Value) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    fn needs_a_key(self) -> Self {
        Self { key: true, ..self }
    }

    pub fn of_an_account(&self) -> bool {
        self.path.contains("{}")
    }

    /// Opening is the one request that an unknown account is meant for.
    pub fn opens(&self) -> bool {
        self.name == "open"
    }

    /// The acceptable request for that account, without a token.
    pub fn request<'a>(&self, stack: &'a Stack, account: &str) -> Request<'a> {
        let path = self.path.replace("{}", account);
        let request = stack
            .request(self.method.clone(), path)
            .at(NOW)
            .about(self.name);
        let request = match &self.body {
            Some(body) => request.json(body.clone()),
            None => request,
        };
        if self.key {
            request.key(fresh("key"))
        } else {
            request
        }
    }

    /// The same, from the first who may; without a token where anybody may.
    pub fn good<'a>(&self, stack: &'a Stack, account: &str) -> Request<'a> {
        let request = self.request(stack, account);
        match self.scopes.first() {
            Some(scope) => request.token(stack.minter.token(scope, &[account])),
            None => request,
        }
    }

    /// Whether it can change anything.
    pub fn changes(&self) -> bool {
        self.method != Method::GET
    }

    /// The template's route that it is.
    pub fn of_template(&self, template: &Template) -> template::Route {
        let (path, _) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let is_it = |route: &&template::Route| {
            route.method == self.method.as_str() && names(&route.path, path)
        };
        let named = template.routes.iter().filter(is_it);
        // `plan-changes/preview` is none of `plan-changes/{id}`: the fewest names are meant.
        named
            .min_by_key(|route| route.path.matches('{').count())
            .unwrap_or_else(|| panic!("{} {path}: the template has no such route", self.method))
            .clone()
    }
}

/// An account with something in every corner, and the routes to it.
pub struct World<'a> {
    pub stack: &'a Stack,
    pub ana: Holder<'a>,
    pub routes: Vec<Route>,
}

pub async fn world(stack: &Stack) -> World<'_> {
    let ana = stack.freelancer("2052-01-15").await;
    let spend_id = ana.spend(9).at("2052-01-16").await.is(201).text("spend_id");
    let held = ana.hold(2).at("2052-01-16").await.is(201).text("hold_id");
    let kept = ana.hold(2).at("2052-01-16").await.is(201).text("hold_id");
    let bought = ana.buy(10).at("2052-01-17").await.is(201);
    let purchase = bought.text("purchase_id");
    let code = fresh_code();
    let terms = json!({
        "kind": "grant", "quantity": 5,
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2100-01-01T00:00:00Z",
    });
    stack.put_promo(&code, terms.clone()).at(NOW).await.is(201);
    let mut codes = terms.clone();
    codes["count"] = json!(5);
    let job = fresh("job");
    let details = json!({
        "contract_kind": "fixed", "duration_weeks": 6,
        "budget": { "amount": 50_000, "currency": "USD" },
    });
    stack.post_job(&job, NOW, details).await.is(201);
    let (proposed, ended) = (stack.new_job(8, NOW).await, stack.new_job(8, NOW).await);
    ana.propose(&proposed, 8).at("2052-01-18").await.is(201);
    ana.badge_up_to(10).at("2052-01-18").await.is(201);
    ana.low_under(json!({ "threshold": 1 }))
        .at("2052-01-18")
        .await
        .is(200);
    let sought = stack.new_job(0, NOW).await;
    let boosted = json!({ "job_id": sought, "expected_cost": 0, "boost": 1 });
    ana.propose_with(boosted).at(NOW).await.is(201);
    use Method as M;
    let account = "/v1/accounts/{}";
    let under = |rest: &str| format!("{account}{rest}");
    let routes = vec![
        Route::new("open", &[SERVICE], (M::PUT, account))
            .body(json!({ "kind": "freelancer", "person_id": ana.person })),
        Route::new("amend", &[SERVICE], (M::PATCH, account))
            .body(json!({ "email": "ana@example.org" })),
        Route::new("account", ANYONE, (M::GET, account)),
        Route::new("lots", ANYONE, (M::GET, under("/lots"))),
        Route::new("history", ANYONE, (M::GET, under("/history?days=7"))),
        Route::new("return policy", &[], (M::GET, "/v1/return-policy")),
        Route::new("badge price", &[], (M::GET, "/v1/availability-badge/price")),
        Route::new("document", &[], (M::GET, "/v1/openapi.json")),
        Route::new("catalog", ANYONE, (M::GET, "/v1/catalog?kind=agency")),
        Route::new("purchase", &[USER], (M::POST, under("/purchases")))
            .body(json!({ "quantity": 10 }))
            .needs_a_key(),
        Route::new(
            "find purchase",
            ANYONE,
            (M::GET, under(&format!("/purchases/{purchase}"))),
        ),
        Route::new(
            "chargeback",
            &[ADMIN],
            (M::POST, under(&format!("/purchases/{purchase}/chargeback"))),
        )
        .body(json!({})),
        Route::new("spend", &[SERVICE], (M::POST, under("/spends")))
            .body(json!({ "amount": 5, "reason": "application", "reference": "job:J-1" }))
            .needs_a_key(),
        Route::new("hold", &[SERVICE], (M::POST, under("/holds")))
            .body(json!({
                "amount": 5, "reason": "listing", "reference": "job:J-1",
                "expires_at": "2052-03-01T00:00:00Z",
            }))
            .needs_a_key(),
        Route::new(
            "capture",
            &[SERVICE],
            (M::POST, under(&format!("/holds/{held}/capture"))),
        )
        .body(json!({ "amount": 1 })),
        Route::new(
            "release",
            &[SERVICE],
            (M::POST, under(&format!("/holds/{kept}/release"))),
        )
        .body(json!({})),
        Route::new("refund", &[ADMIN, SERVICE], (M::POST, under("/refunds")))
            .body(json!({ "spend_id": spend_id, "amount": 1, "reason": "goodwill" }))
            .needs_a_key(),
        Route::new("propose", &[SERVICE, USER], (M::POST, under("/proposals")))
            .body(json!({ "job_id": job, "expected_cost": 10 })),
        Route::new(
            "find proposal",
            &[SERVICE, USER],
            (M::GET, under(&format!("/proposals/{proposed}"))),
        ),
        Route::new(
            "withdraw",
            &[SERVICE, USER],
            (M::DELETE, under(&format!("/proposals/{proposed}"))),
        ),
        Route::new(
            "decide",
            &[SERVICE],
            (
                M::PUT,
                format!("/v1/jobs/{proposed}/proposals/{{}}/outcome"),
            ),
        )
        .body(json!({ "outcome": "client_declined" })),
        Route::new(
            "bids",
            &[SERVICE, USER],
            (M::GET, format!("/v1/jobs/{proposed}/bids")),
        ),
        Route::new(
            "bid",
            &[SERVICE, USER],
            (M::PUT, format!("/v1/jobs/{sought}/bids/{{}}")),
        )
        .body(json!({ "amount": 3 })),
        Route::new(
            "interaction",
            &[SERVICE],
            (M::POST, format!("/v1/jobs/{sought}/bids/{{}}/interactions")),
        )
        .body(json!({})),
        Route::new("reward", &[SERVICE], (M::POST, under("/rewards"))).body(json!({
            "kind": "interview_won", "job_id": proposed,
            "client": { "hires": 1, "spend": { "amount": 1, "currency": "USD" } },
        })),
        Route::new("badge on", &[USER], (M::PUT, under("/availability-badge")))
            .body(json!({ "max_weekly": 10 })),
        Route::new("badge", ANYONE, (M::GET, under("/availability-badge"))),
        Route::new(
            "badge off",
            &[USER],
            (M::DELETE, under("/availability-badge")),
        ),
        Route::new(
            "low balance on",
            &[SERVICE, USER],
            (M::PUT, under("/low-balance")),
        )
        .body(json!({
            "threshold": 1,
            "top_up": {
                "quantity": 10, "monthly_cap": { "amount": 150, "currency": "USD" },
                "payment_method": "sandbox_approve",
            },
        })),
        Route::new("low balance", ANYONE, (M::GET, under("/low-balance"))),
        Route::new(
            "low balance off",
            &[SERVICE, USER],
            (M::DELETE, under("/low-balance")),
        ),
        // Asked before it is changed: afterwards there is nothing to preview.
        Route::new(
            "preview plan",
            &[SERVICE, USER],
            (M::GET, under("/plan-changes/preview?plan=plus")),
        ),
        Route::new("change plan", &[SERVICE], (M::POST, under("/plan-changes")))
            .body(json!({ "plan": "plus" }))
            .needs_a_key(),
        Route::new("redeem", &[SERVICE, USER], (M::POST, under("/redemptions")))
            .body(json!({ "code": code })),
        Route::new(
            "put promo",
            &[ADMIN],
            (M::PUT, format!("/v1/promos/{code}")),
        )
        .body(terms),
        Route::new("promo", &[ADMIN], (M::GET, format!("/v1/promos/{code}"))),
        Route::new(
            "make codes",
            &[ADMIN],
            (M::POST, format!("/v1/promos/{}/codes", batch_name())),
        )
        .body(codes)
        .needs_a_key(),
        Route::new("post job", &[SERVICE], (M::PUT, format!("/v1/jobs/{job}"))).body(json!({
            "posted_at": instant(NOW), "contract_kind": "fixed", "duration_weeks": 6,
            "budget": { "amount": 50_000, "currency": "USD" },
        })),
        Route::new("job", ANYONE, (M::GET, format!("/v1/jobs/{job}"))),
        Route::new(
            "contract",
            &[SERVICE],
            (M::POST, format!("/v1/jobs/{job}/contracts")),
        )
        .body(json!({ "account_id": "somebody" })),
        Route::new(
            "close",
            &[SERVICE],
            (M::POST, format!("/v1/jobs/{ended}/closure")),
        )
        .body(json!({ "reason": "expired" })),
    ];
    World { stack, ana, routes }
}

impl<'a> World<'a> {
    pub fn route(&self, name: &str) -> &Route {
        self.routes.iter().find(|route| route.name == name).unwrap()
    }

    pub fn good(&self, route: &Route) -> Request<'a> {
        route.good(self.stack, &self.ana.id)
    }

    pub fn with_body(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|route| route.body.is_some())
    }
}

#[tokio::test]
async fn the_requests_that_the_others_are_made_from_are_good() {
    let stack = Stack::local();
    let world = world(&stack).await;
    for route in &world.routes {
        let answer = world.good(route).await;
        assert!(
            answer.status < 300,
            "{}: {} {}",
            route.name,
            answer.status,
            answer.text
        );
        let request_id = answer.header("connects-request-id").unwrap_or_default();
        assert!(!request_id.is_empty(), "{}", route.name);
    }
}

/// Every route of the template has its request here, and every request its route.
#[tokio::test]
async fn the_world_has_the_routes_of_the_template() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let template = Template::read(&Project::find().unwrap().template()).unwrap();
    let routes = world
        .routes
        .iter()
        .map(|route| route.of_template(&template));
    assert_eq!(routes.collect::<BTreeSet<_>>(), template.routes);
    assert_eq!(world.routes.len(), template.routes.len());
    let open = world.routes.iter().filter(|route| route.scopes.is_empty());
    let open = open.map(|route| (route.method.to_string(), route.path.clone()));
    assert_eq!(open.collect::<BTreeSet<_>>(), template.open);
}

/// So what `authorisation` sees of the routes is what the contract says of them.
#[tokio::test]
async fn the_world_has_the_scopes_of_the_contract() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let template = Template::read(&Project::find().unwrap().template()).unwrap();
    let said = operations().into_iter();
    let mut said: BTreeMap<_, _> = said
        .map(|operation| {
            let route = (operation.method.to_owned(), operation.path.to_owned());
            (route, sorted(operation.scopes))
        })
        .collect();
    for route in &world.routes {
        let named = route.of_template(&template);
        let scopes = said.remove(&(named.method, named.path));
        assert_eq!(scopes, Some(sorted(route.scopes)), "{}", route.name);
    }
}

fn sorted<'s>(scopes: &[&'s str]) -> BTreeSet<&'s str> {
    scopes.iter().copied().collect()
}
