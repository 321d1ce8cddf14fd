//! Whatever is wrong with a request, it is refused with the documented problem, in the
//! documented order of precedence, and the account is byte for byte what it was.

use connects_tests::client::Request;
use connects_tests::holder::Holder;
use connects_tests::stack::{Stack, fresh, fresh_code};
use reqwest::Method;
use serde_json::{Value, json};

const NOW: &str = "2052-02-01";
const SERVICE: &str = "connects:service";
const ADMIN: &str = "connects:admin";
const USER: &str = "connects";
const ANYONE: &[&str] = &[SERVICE, ADMIN, USER];
const BODY_LIMIT: usize = 64 * 1024;

/// A route: who may use it, and a request to it that would be accepted.
struct Route {
    name: &'static str,
    scopes: &'static [&'static str],
    method: Method,
    /// With `{}` for the account.
    path: String,
    body: Option<Value>,
    key: bool,
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

    fn of_an_account(&self) -> bool {
        self.path.contains("{}")
    }

    /// Opening is the one request that an unknown account is meant for.
    fn opens(&self) -> bool {
        self.name == "open"
    }

    /// The acceptable request for that account, without a token.
    fn request<'a>(&self, stack: &'a Stack, account: &str) -> Request<'a> {
        let path = self.path.replace("{}", account);
        let request = stack.request(self.method.clone(), path).at(NOW);
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

    /// The same, from the first who may.
    fn good<'a>(&self, stack: &'a Stack, account: &str) -> Request<'a> {
        let token = stack.minter.token(self.scopes[0], &[account]);
        self.request(stack, account).token(token)
    }
}

/// An account with something in every corner, and the routes to it.
struct World<'a> {
    stack: &'a Stack,
    ana: Holder<'a>,
    routes: Vec<Route>,
}

async fn world(stack: &Stack) -> World<'_> {
    let ana = stack.freelancer("2052-01-15").await;
    let spend_id = ana.spend(9).at("2052-01-16").await.is(201).text("spend_id");
    let bought = ana.buy(10).at("2052-01-17").await.is(201);
    let purchase = bought.text("purchase_id");
    let code = fresh_code();
    let terms = json!({
        "kind": "grant", "quantity": 5,
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2100-01-01T00:00:00Z",
    });
    stack.put_promo(&code, terms.clone()).at(NOW).await.is(201);
    use Method as M;
    let account = "/v1/accounts/{}";
    let under = |rest: &str| format!("{account}{rest}");
    let routes = vec![
        Route::new("open", &[SERVICE], (M::PUT, account))
            .body(json!({ "kind": "freelancer", "person_id": ana.person })),
        Route::new("amend", &[SERVICE], (M::PATCH, account)).body(json!({ "status": "active" })),
        Route::new("account", ANYONE, (M::GET, account)),
        Route::new("lots", ANYONE, (M::GET, under("/lots"))),
        Route::new("history", ANYONE, (M::GET, under("/history?days=7"))),
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
        Route::new("refund", &[ADMIN, SERVICE], (M::POST, under("/refunds")))
            .body(json!({ "spend_id": spend_id, "amount": 1, "reason": "goodwill" }))
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
    ];
    World { stack, ana, routes }
}

impl<'a> World<'a> {
    fn route(&self, name: &str) -> &Route {
        self.routes.iter().find(|route| route.name == name).unwrap()
    }

    fn good(&self, route: &Route) -> Request<'a> {
        route.good(self.stack, &self.ana.id)
    }

    fn with_body(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|route| route.body.is_some())
    }

    fn of_accounts(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|route| route.of_an_account())
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

#[tokio::test]
async fn nobody_gets_in_without_a_good_token() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    for route in &world.routes {
        let forged = stack.minter.forged(route.scopes[0], &[&world.ana.id]);
        for (why, value) in forged {
            let request = world.good(route).header("authorization", value);
            let answer = request.await;
            assert_eq!(answer.status, 401, "{}, {why}: {}", route.name, answer.text);
            answer.refused(401, "unauthenticated");
        }
        let answer = world.good(route).without("authorization").await;
        let answer = answer.refused(401, "unauthenticated");
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer"), "{challenge}");
    }
    assert_eq!(world.ana.items().await, before);
}

#[tokio::test]
async fn every_route_is_for_its_scopes_only() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    let account = world.ana.id.as_str();
    let others = [
        "",
        "openid",
        "connects:",
        "connects:services",
        "CONNECTS:SERVICE",
    ];
    for route in &world.routes {
        let known = [USER, SERVICE, ADMIN].into_iter();
        let wrong = known
            .filter(|scope| !route.scopes.contains(scope))
            .chain(others);
        for scope in wrong {
            let token = stack.minter.token(scope, &[account]);
            let answer = world.good(route).token(token).await;
            assert_eq!(
                answer.status, 403,
                "{}, {scope:?}: {}",
                route.name, answer.text
            );
            answer.refused(403, "forbidden");
        }
    }
    assert_eq!(world.ana.items().await, before);
}

#[tokio::test]
async fn anothers_account_and_no_account_look_the_same() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    let foreign = stack.minter.token(USER, &["somebody-else", "ANOTHER"]);
    let none = stack.minter.token(USER, &[]);
    let nowhere = stack.holder("nowhere");
    for route in world.of_accounts() {
        if route.scopes.contains(&USER) {
            for token in [&foreign, &none] {
                let answer = world.good(route).token(token).await;
                let foreign = answer.refused(404, "account_not_found");
                let own = stack.minter.token(USER, &[&nowhere.id]);
                let unknown = route.request(&stack, &nowhere.id).token(own).await;
                let unknown = unknown.refused(404, "account_not_found");
                assert_eq!(foreign.body, unknown.body, "{}", route.name);
            }
        }
        if !route.opens() {
            for id in [nowhere.id.as_str(), "a%2Fb", "a%20b", &"a".repeat(65)] {
                let answer = route.good(&stack, id).await;
                assert_eq!(
                    answer.status, 404,
                    "{} of {id}: {}",
                    route.name, answer.text
                );
            }
        }
    }
    assert_eq!(world.ana.items().await, before);
    assert!(nowhere.items().await.is_empty());
}

#[tokio::test]
async fn bodies_that_are_not_a_json_object() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    let bodies: &[&[u8]] = &[
        b"{",
        b"{]",
        b"{\"amount\": 5,}",
        b"{'amount': 5}",
        b"[]",
        b"[{\"amount\": 5}]",
        b"null",
        b"true",
        b"5",
        b"\"text\"",
        b"{} {}",
        b"{}x",
        b"{\"a\": 1, \"a\": 1}",
        b"{\"a\": {\"b\": 1, \"b\": 2}}",
        b"{\"a\": 01}",
        b"{\"a\": NaN}",
        b"{\"a\": \"\xff\"}",
        b"\xef\xbb\xbf{}",
        b"amount=5",
    ];
    for route in world.with_body() {
        for body in bodies {
            let answer = world.good(route).raw(*body).await;
            let shown = String::from_utf8_lossy(body);
            assert_eq!(
                answer.status, 400,
                "{}, {shown}: {}",
                route.name, answer.text
            );
            answer.refused(400, "malformed_request");
        }
        // The one without members may be left out where nothing is asked for.
        if route.name != "chargeback" {
            for request in [world.good(route).raw(""), world.good(route).raw(" ")] {
                request.await.refused(400, "malformed_request");
            }
        }
        let deep = "[".repeat(40_000);
        let answer = world.good(route).raw(deep).await;
        answer.refused(400, "malformed_request");
    }
    assert_eq!(world.ana.items().await, before);
}

#[tokio::test]
async fn unknown_and_repeated_members() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    for route in world.with_body() {
        for name in ["extra", "Amount", "spendId", ""] {
            let mut body = route.body.clone().unwrap();
            body[name] = json!(1);
            let answer = world.good(route).json(body).await;
            let answer = answer.refused(422, "unknown_field");
            assert_eq!(answer["field"], name, "{}", route.name);
        }
        let body = route.body.clone().unwrap();
        for (name, value) in body.as_object().unwrap() {
            let whole = body.to_string();
            let twice = format!("{{\"{name}\":{value},{}", &whole[1..]);
            let answer = world.good(route).raw(twice).await;
            answer.refused(400, "malformed_request");
        }
    }
    assert_eq!(world.ana.items().await, before);
}

/// A member's value, what it is answered with, and the member at fault.
type Case = (&'static str, Value, u16, &'static str);

/// Values that no whole number from 1 to a million is.
fn bad_amounts(field: &'static str, minimum: i64) -> Vec<Case> {
    let not_a_whole_number = [
        "10.5",
        "10.0",
        "1e1",
        "-0.0",
        "9223372036854775808",
        "1e300",
    ]
    .map(|text| {
        (
            field,
            serde_json::from_str(text).unwrap(),
            400,
            "malformed_request",
        )
    });
    let mut cases = Vec::from(not_a_whole_number);
    for value in [
        json!("10"),
        json!(true),
        json!([10]),
        json!({ "n": 10 }),
        json!(""),
    ] {
        cases.push((field, value, 400, "malformed_request"));
    }
    for value in [0, -1, minimum - 1, i64::MIN] {
        cases.push((field, json!(value), 422, "below_minimum"));
    }
    for value in [1_000_001, i64::MAX] {
        cases.push((field, json!(value), 422, "above_maximum"));
    }
    cases
}

/// What is not a text of the required form.
fn bad_texts(field: &'static str, bad: &[&str]) -> Vec<Case> {
    let mut cases: Vec<Case> = [json!(5), json!(true), json!([]), json!({})]
        .map(|value| (field, value, 400, "malformed_request"))
        .into();
    cases.extend(
        bad.iter()
            .map(|text| (field, json!(text), 422, "invalid_field")),
    );
    cases.push((field, Value::Null, 422, "invalid_field"));
    cases
}

fn cases() -> Vec<(&'static str, Vec<Case>)> {
    let long = "x".repeat(65);
    let ids = [
        "",
        "has space",
        "slash/ed",
        "ünicode",
        "tab\t",
        "nul\0",
        long.as_str(),
    ];
    let instants = ["yesterday", "2052-01-01", "2052-13-01T00:00:00Z", ""];
    let null = |field| (field, Value::Null, 422, "invalid_field");
    let reason = "r".repeat(41);
    let reasons = [
        "",
        "Proposal",
        "with space",
        "proposal",
        "boost",
        "badge",
        "9",
        reason.as_str(),
    ];
    let references = ["", "nocolon", ":", "job:", ":J", "job:has space", "Job:J"];
    vec![
        ("spend", bad_amounts("amount", 1)),
        ("spend", vec![null("amount")]),
        ("spend", bad_texts("reason", &reasons)),
        ("spend", bad_texts("reference", &references)),
        ("purchase", bad_amounts("quantity", 10)),
        ("purchase", vec![null("quantity")]),
        (
            "purchase",
            bad_texts("promo_code", &["", "A", "under_score", long.as_str()]),
        ),
        (
            "purchase",
            bad_texts("payment_method", &["", "cash", "SANDBOX_APPROVE"]),
        ),
        ("refund", bad_amounts("amount", 1)),
        (
            "refund",
            bad_texts("reason", &["", "because", "Goodwill", "fraud"]),
        ),
        ("refund", bad_texts("spend_id", &[])),
        (
            "redeem",
            bad_texts("code", &["", "A", "under_score", long.as_str()]),
        ),
        ("open", bad_texts("kind", &["", "robot", "Freelancer"])),
        ("open", bad_texts("person_id", &ids)),
        (
            "open",
            bad_texts("email", &["", "nobody", "two words@example.org"]),
        ),
        (
            "open",
            bad_texts(
                "opened_on",
                &["", "2052-02-30", "2052-1-1", "today", "2052-02-02"],
            ),
        ),
        ("amend", bad_texts("status", &["", "closed", "Active"])),
        ("amend", bad_texts("email", &["", "nobody", "a@b@c"])),
        (
            "put promo",
            bad_texts("kind", &["", "gift", "bonus", "discount"]),
        ),
        ("put promo", bad_amounts("quantity", 1)),
        ("put promo", bad_texts("valid_from", &instants)),
        ("put promo", bad_texts("valid_until", &instants)),
        (
            "put promo",
            bad_texts(
                "valid_until",
                &["2019-12-31T00:00:00Z", "2020-01-01T00:00:00Z"],
            ),
        ),
        (
            "put promo",
            vec![
                ("max_redemptions", json!(0), 422, "below_minimum"),
                ("max_redemptions", json!(-1), 422, "below_minimum"),
                ("max_redemptions", json!("10"), 400, "malformed_request"),
                ("max_redemptions", json!(1.5), 400, "malformed_request"),
                ("lot_valid_days", json!(0), 422, "below_minimum"),
                ("lot_valid_days", json!(-14), 422, "below_minimum"),
                ("lot_valid_days", json!("14"), 400, "malformed_request"),
                ("kinds", json!("agency"), 400, "malformed_request"),
                ("kinds", json!([5]), 400, "malformed_request"),
                ("kinds", json!(["robot"]), 422, "invalid_field"),
                ("plans", json!({}), 400, "malformed_request"),
                ("plans", json!(["gold"]), 422, "invalid_field"),
            ],
        ),
    ]
}

#[tokio::test]
async fn values_of_the_wrong_type_and_values_out_of_range() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    for (name, cases) in cases() {
        let route = world.route(name);
        for (field, value, status, code) in cases {
            let mut body = route.body.clone().unwrap();
            body[field] = value.clone();
            let answer = world.good(route).json(body).await;
            let what = format!("{name}, {field} {value}: {} {}", answer.status, answer.text);
            assert_eq!(answer.status, status, "{what}");
            assert_eq!(answer["code"], code, "{what}");
            let answer = answer.refused(status, code);
            if status == 422 {
                assert_eq!(answer["field"], field, "{what}");
            }
        }
    }
    for (name, field) in [
        ("spend", "amount"),
        ("spend", "reason"),
        ("purchase", "quantity"),
        ("refund", "reason"),
        ("redeem", "code"),
        ("open", "kind"),
        ("open", "person_id"),
        ("put promo", "kind"),
        ("put promo", "quantity"),
        ("put promo", "valid_from"),
        ("put promo", "valid_until"),
    ] {
        let route = world.route(name);
        let mut body = route.body.clone().unwrap();
        body.as_object_mut().unwrap().remove(field);
        let answer = world.good(route).json(body).await;
        let answer = answer.refused(422, "invalid_field");
        assert_eq!(answer["field"], field, "{name} without {field}");
    }
    assert_eq!(world.ana.items().await, before);
}

#[tokio::test]
async fn a_whole_number_is_written_as_one() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    for number in [
        "10.0",
        "10.5",
        "1e1",
        "1E+1",
        "0.1e2",
        "1e400",
        "9223372036854775808",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "+5",
        "05",
        "0x5",
        "5_0",
        "\"5\"",
        "Infinity",
        "",
    ] {
        for (name, field) in [
            ("spend", "amount"),
            ("purchase", "quantity"),
            ("refund", "amount"),
        ] {
            let route = world.route(name);
            let mut body = route.body.clone().unwrap();
            body[field] = json!("the number");
            let body = body.to_string().replace("\"the number\"", number);
            let answer = world.good(route).raw(body).await;
            assert_eq!(answer.status, 400, "{name}, {number}: {}", answer.text);
            answer.refused(400, "malformed_request");
        }
    }
    assert_eq!(world.ana.items().await, before);
}

#[tokio::test]
async fn a_refund_is_of_a_spend_or_of_a_job() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    let spend = world.route("refund").body.clone().unwrap()["spend_id"].clone();
    for body in [
        json!({ "reason": "goodwill" }),
        json!({ "reason": "goodwill", "spend_id": spend, "job_id": "J-1" }),
        json!({ "reason": "goodwill", "job_id": "not an id" }),
    ] {
        let answer = world.good(world.route("refund")).json(body).await;
        answer.refused(422, "invalid_field");
    }
    assert_eq!(world.ana.items().await, before);
}

#[tokio::test]
async fn idempotency_keys_are_1_to_255_visible_characters() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    let long = "k".repeat(256);
    let keyed = world.routes.iter().filter(|route| route.key);
    for route in keyed {
        let answer = world.good(route).without("idempotency-key").await;
        answer.refused(400, "idempotency_key_required");
        for key in ["", "two words", "tab\tbed", "schlüssel", &long] {
            let answer = world.good(route).key(key).await;
            assert_eq!(
                answer.status, 400,
                "{}, {key:?}: {}",
                route.name, answer.text
            );
            answer.refused(400, "idempotency_key_invalid");
        }
    }
    // Where the key is optional a bad one is still bad.
    for name in ["redeem", "chargeback"] {
        for key in ["", "two words", &long] {
            let answer = world.good(world.route(name)).key(key).await;
            answer.refused(400, "idempotency_key_invalid");
        }
    }
    assert_eq!(world.ana.items().await, before);
    let longest = format!("{}{}", fresh("!~"), "k".repeat(255));
    let spend = world.good(world.route("spend")).key(&longest[..255]);
    spend.clone().await.is(201);
    assert!(spend.await.is(201).replayed());
}

#[tokio::test]
async fn bodies_of_64_kib_and_one_byte_more() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    let padded = |route: &Route, size: usize| {
        let body = route.body.clone().unwrap().to_string();
        format!("{body}{}", " ".repeat(size - body.len()))
    };
    for route in world.with_body() {
        for size in [BODY_LIMIT + 1, 4 * BODY_LIMIT] {
            let answer = world.good(route).raw(padded(route, size)).await;
            answer.refused(413, "body_too_large");
        }
    }
    assert_eq!(world.ana.items().await, before);
    let spend = world.route("spend");
    let answer = world.good(spend).raw(padded(spend, BODY_LIMIT)).await;
    answer.is(201);
}

#[tokio::test]
async fn bad_questions() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let ana = &world.ana;
    for (path, status, code) in [
        ("/history?days=8", 422, "invalid_field"),
        ("/history?days=0", 422, "invalid_field"),
        ("/history?days=-7", 422, "invalid_field"),
        (
            "/history?from=2052-02-30&to=2052-03-01",
            422,
            "invalid_field",
        ),
        (
            "/history?from=2052-02-03&to=2052-02-02",
            422,
            "invalid_field",
        ),
        ("/history?reference=nocolon", 422, "invalid_field"),
        ("/history?days=7&days=30", 422, "invalid_field"),
        ("/history?days=7&day=7", 422, "unknown_field"),
        ("/history?days=7&limit=0", 422, "below_minimum"),
        ("/history?days=7&limit=101", 422, "above_maximum"),
        ("/lots?limit=0", 422, "below_minimum"),
        ("/lots?limit=-1", 422, "below_minimum"),
        ("/lots?limit=101", 422, "above_maximum"),
        ("/lots?order=newest", 422, "unknown_field"),
        ("/lots?cursor=garbage", 400, "invalid_cursor"),
    ] {
        let answer = ana.get(path).at(NOW).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        answer.refused(status, code);
    }
    for (path, code) in [
        ("/v1/catalog?kind=robot", "invalid_field"),
        ("/v1/catalog?kind=", "invalid_field"),
        ("/v1/catalog?kind=agency&sort=price", "unknown_field"),
    ] {
        let answer = stack.service(Method::GET, path).await;
        answer.refused(422, code);
    }
    for path in ["/v1/promos/a", "/v1/promos/under_score"] {
        let answer = stack.admin(Method::GET, path).await;
        assert!(
            [404, 422].contains(&answer.status),
            "{path}: {}",
            answer.text
        );
    }
    for id in [
        "pu_1",
        "sp_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "pu_aaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        let answer = ana.get(&format!("/purchases/{id}")).at(NOW).await;
        answer.refused(404, "purchase_not_found");
    }
}

/// What is wrong with a request, in the order of precedence.
#[derive(Debug, Clone, Copy)]
enum Fault {
    NoToken,
    WrongScope,
    UnknownAccount,
    TooLarge,
    Malformed,
    BadValue,
    ReusedKey,
    Suspended,
    InDebt,
    TooFew,
}

/// Of two faults at once the first of the list is answered.
#[tokio::test]
async fn of_two_faults_the_weightier_is_answered() {
    use Fault::*;
    let stack = Stack::local();
    let codes = [
        (NoToken, 401, "unauthenticated"),
        (WrongScope, 403, "forbidden"),
        (UnknownAccount, 404, "account_not_found"),
        (TooLarge, 413, "body_too_large"),
        (Malformed, 400, "malformed_request"),
        (BadValue, 422, "below_minimum"),
        (ReusedKey, 422, "idempotency_key_reused"),
        (Suspended, 409, "account_suspended"),
        (InDebt, 409, "in_debt"),
        (TooFew, 409, "insufficient_connects"),
    ];
    for (place, (first, status, code)) in codes.iter().enumerate() {
        for (second, ..) in &codes[place..] {
            let faults = [*first, *second];
            let answer = faulty_spend(&stack, &faults).await;
            assert_eq!(answer.0.status, *status, "{faults:?}: {}", answer.0.text);
            answer.0.refused(*status, code);
            assert_eq!(answer.1, answer.2, "{faults:?} changed the account");
        }
    }
}

type Items = std::collections::BTreeMap<String, connects_tests::items::Item>;

/// A spend with all of these faults: its answer, and the account before and after.
async fn faulty_spend(
    stack: &Stack,
    faults: &[Fault],
) -> (connects_tests::client::Answer, Items, Items) {
    let ana = stack.agency("2052-01-10").await;
    let mut body = json!({ "amount": 5, "reason": "application" });
    let bought = ana.buy(20).at("2052-01-11").await.is(201);
    ana.spend(1).key("taken").at("2052-01-12").await.is(201);
    let has = |wanted: fn(&Fault) -> bool| faults.iter().any(wanted);
    if has(|f| matches!(f, Fault::InDebt)) {
        ana.charge_back(&bought.text("purchase_id"))
            .at("2052-01-13")
            .await
            .is(200);
    }
    if has(|f| matches!(f, Fault::Suspended)) {
        let suspend = ana.amend(json!({ "status": "suspended" }));
        suspend.at("2052-01-14").await.is(200);
    }
    if has(|f| matches!(f, Fault::TooFew)) {
        body["amount"] = json!(500);
    }
    if has(|f| matches!(f, Fault::BadValue)) {
        body["amount"] = json!(0);
    }
    let mut text = body.to_string();
    if has(|f| matches!(f, Fault::Malformed)) {
        text = text.replace("\"application\"", "5");
    }
    if has(|f| matches!(f, Fault::TooLarge)) {
        text.push_str(&" ".repeat(BODY_LIMIT));
    }
    let nowhere = stack.holder("nowhere");
    let of = if has(|f| matches!(f, Fault::UnknownAccount)) {
        &nowhere
    } else {
        &ana
    };
    let mut request = of.spend(1).raw(text).at(NOW);
    if has(|f| matches!(f, Fault::ReusedKey)) {
        request = request.key("taken");
    }
    if has(|f| matches!(f, Fault::WrongScope)) {
        request = request.token(stack.minter.token(USER, &[&of.id]));
    }
    if has(|f| matches!(f, Fault::NoToken)) {
        request = request.without("authorization");
    }
    let before = ana.items().await;
    let answer = request.await;
    (answer, before, ana.items().await)
}

#[tokio::test]
async fn a_missing_key_and_other_faults() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let spend = world.route("spend");
    let keyless = || world.good(spend).without("idempotency-key");
    let too_large = " ".repeat(BODY_LIMIT + 1);
    keyless()
        .raw(too_large)
        .await
        .refused(413, "body_too_large");
    let zero = json!({ "amount": 0, "reason": "application" });
    let answer = keyless().json(zero).await;
    answer.refused(400, "idempotency_key_required");
    // Any wrong type outweighs every bad value, wherever they stand.
    for body in [
        json!({ "amount": 0, "reason": 5 }),
        json!({ "amount": "5", "reason": "" }),
        json!({ "amount": 5.5, "reason": "application", "extra": 1 }),
        json!({ "extra": 1, "reason": [] }),
    ] {
        let answer = world.good(spend).json(body).await;
        answer.refused(400, "malformed_request");
    }
}

#[tokio::test]
async fn no_such_route() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let account = format!("/v1/accounts/{}", world.ana.id);
    for (method, path) in [
        (Method::GET, "/".to_owned()),
        (Method::GET, "/v1".to_owned()),
        (Method::GET, "/v2/catalog".to_owned()),
        (Method::DELETE, account.clone()),
        (Method::GET, format!("{account}/spends")),
        (Method::PUT, format!("{account}/lots")),
        (Method::POST, format!("{account}/spends/x")),
    ] {
        let answer = stack.service(method.clone(), path.clone()).at(NOW).await;
        let refused = (400..500).contains(&answer.status);
        assert!(
            refused,
            "{method} {path}: {} {}",
            answer.status, answer.text
        );
    }
}
