//! What nobody sends by mistake: tricks in paths and headers, dates that are none, bodies that trickle
//! in; and what is left of all of it in exports and logs, which is nothing that could do harm or
//! tell on anybody.

use std::collections::{BTreeMap, HashSet};

use connects_local::project::Project;
use connects_local::template::Template;
use connects_tests::client::Answer;
use connects_tests::holder::Holder;
use connects_tests::stack::{Stack, fresh};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{NOW, Route, SERVICE, USER, world};

/// A request as it goes over the wire.
fn wire(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nhost: connects\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    )
}

fn bearer(stack: &Stack, scope: &str, accounts: &[&str]) -> String {
    format!("Bearer {}", stack.minter.token(scope, accounts))
}

#[tokio::test]
async fn no_path_leads_where_it_does_not_say() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let token = bearer(&stack, SERVICE, &[]);
    let get = async |path: &str| {
        let headers = [("authorization", token.as_str())];
        let request = wire("GET", path, &headers, "");
        stack.converse(request).await
    };
    let before = ana.items().await;
    let id = &ana.id;
    let long = "a".repeat(20_000);
    let tricks = [
        "/".to_owned(),
        "/v1".to_owned(),
        "/v2/catalog".to_owned(),
        format!("/v1/accounts/../accounts/{id}"),
        format!("/v1/accounts/./{id}"),
        format!("/v1/accounts/{id}/../{id}"),
        format!("/v1/accounts/{id}/lots/.."),
        format!("/v1/accounts/%2e%2e/{id}"),
        "/v1/accounts/%2e%2e/lots".to_owned(),
        format!("/v1/accounts/{id}%2flots"),
        format!("/v1/accounts/{id}%2Flots"),
        format!("/v1/accounts/{id}%5clots"),
        format!("/v1/accounts%2f{id}"),
        format!("/v1//accounts/{id}"),
        format!("//v1/accounts/{id}"),
        "/v1/accounts//lots".to_owned(),
        format!("/v1/accounts/{id}/"),
        format!("/v1/accounts/{id};lots"),
        format!("/v1/accounts/{id}%3Bx=1"),
        format!("/v1/accounts/{id}%00"),
        format!("/v1/accounts/%00{id}"),
        format!("/v1/accounts/{id}%20"),
        format!("/v1/accounts/{id}%0a"),
        format!("/v1/accounts/{id}%0d%0aset-cookie:%20a=b"),
        format!("/v1/accounts/%e2%80%ae{id}"),
        format!("/v1/accounts/{id}%e2%80%8b"),
        format!("/v1/accounts/%ef%bb%bf{id}"),
        format!("/v1/accounts/{id}%c0%80"),
        "/v1/accounts/%c0%ae%c0%ae".to_owned(),
        "/v1/accounts/%ff".to_owned(),
        "/v1/accounts/%".to_owned(),
        "/v1/accounts/%zz".to_owned(),
        format!("/v1/accounts/{id}%"),
        format!("/v1/accounts/%25{:02x}{}", id.as_bytes()[0], &id[1..]),
        format!("/v1/accounts/{}", id.to_uppercase()),
        "/v1/accounts/%ef%bd%81".to_owned(),
        format!("/v1/accounts/{long}"),
        format!("/v1/accounts/{id}/{long}"),
    ];
    for path in &tricks {
        let (status, text) = get(path).await;
        assert_eq!(status, 404, "{path}: {text}");
        assert!(
            !text.to_lowercase().contains("set-cookie"),
            "{path}: {text}"
        );
        assert!(!text.contains("available"), "{path}: {text}");
        // A function's own id for the request, or the gateway's where none was asked.
        let ids = ["connects-request-id: ", "apigw-requestid: "];
        assert!(ids.iter().any(|id| text.contains(id)), "{path}: {text}");
    }
    // An escape is what it stands for, and nothing more.
    let escaped = format!("/v1/accounts/%{:02x}{}", id.as_bytes()[0], &id[1..]);
    let (status, text) = get(&escaped).await;
    assert!(status == 200 && text.contains(id), "{escaped}: {text}");
    let root = format!("http://elsewhere.example/v1/accounts/{id}");
    let (status, text) = get(&root).await;
    assert!([200, 404].contains(&status), "{root}: {text}");
    // Letters that become others when they are made great ones.
    let code = format!("K{}S", fresh("").to_uppercase());
    let terms = json!({
        "kind": "grant", "quantity": 5,
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2100-01-01T00:00:00Z",
    });
    stack.put_promo(&code, terms).at(NOW).await.is(201);
    let middle = &code[1..code.len() - 1];
    for (alike, status) in [
        (format!("k{}s", middle.to_lowercase()), 200),
        (format!("%e2%84%aa{middle}S"), 404),
        (format!("K{middle}%c5%bf"), 404),
    ] {
        let found = stack
            .admin(Method::GET, format!("/v1/promos/{alike}"))
            .await;
        assert_eq!(found.status, status, "{alike}: {}", found.text);
    }
    // Methods that no route has.
    let account = format!("/v1/accounts/{id}");
    for (method, path) in [
        ("DELETE", account.clone()),
        ("BREW", account.clone()),
        ("OPTIONS", account.clone()),
        ("TRACE", account.clone()),
        ("GET", format!("{account}/spends")),
        ("PUT", format!("{account}/lots")),
        ("POST", format!("{account}/spends/x")),
    ] {
        let headers = [("authorization", token.as_str())];
        let (status, text) = stack.converse(wire(method, &path, &headers, "")).await;
        assert!((400..500).contains(&status), "{method} {path}: {text}");
    }
    assert!(ana.items().await == before, "something was changed");
}

#[tokio::test]
async fn headers_may_be_long_and_many_and_are_still_headers() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let before = ana.items().await;
    let long = "x".repeat(20_000);
    let spend = || ana.spend(5).at(NOW);
    let token = format!("Bearer {long}");
    let answer = spend().header("authorization", token).await;
    answer.refused(401, "unauthenticated");
    let answer = spend().key(&long).await;
    answer.refused(400, "idempotency_key_invalid");
    let answer = spend().header("connects-now", &long).await;
    answer.refused(400, "malformed_request");
    assert!(ana.items().await == before, "something was changed");
    for (name, value) in [
        ("accept", long.as_str()),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-http-method-override", "DELETE"),
        ("x-amzn-trace-id", "\u{1b}[31m"),
        ("content-length-of", "-1"),
    ] {
        let asked = ana
            .get("")
            .at(NOW)
            .header(name, value.replace('\u{1b}', "["));
        asked.await.is(200);
    }
    let many = (0..80).map(|n| (format!("x-{n}"), "y".to_owned()));
    let many: Vec<_> = many
        .chain([("authorization".to_owned(), bearer(&stack, SERVICE, &[]))])
        .collect();
    let many: Vec<_> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let path = format!("/v1/accounts/{}", ana.id);
    let (status, text) = stack.converse(wire("GET", &path, &many, "")).await;
    assert_eq!(status, 200, "{text}");
}

#[tokio::test]
async fn dates_that_are_none_and_dates_too_far_away() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    let dates = [
        "0000-01-01",
        "0999-12-31",
        "-001-01-01",
        "9999-12-31",
        "10000-01-01",
        "+2052-01-01",
        "2052-02-30",
        "2051-02-29",
        "2052-00-01",
        "2052-13-01",
        "2052-01-32",
        "2052-1-001",
        "2052- 1-01",
        "2052-01- 1",
        "2052-+1-01",
        "20520101",
        "2052/01/01",
        "2052-01-01T00:00:00Z",
        "２０５２-01-01",
        "2052-01-01\0",
    ];
    let open = world.route("open");
    for date in dates {
        let mut body = open.body.clone().unwrap();
        body["opened_on"] = json!(date);
        let answer = world.good(open).json(body).about(date).await;
        answer
            .refused(422, "invalid_field")
            .has("field", "opened_on");
        for side in ["from", "to"] {
            let escaped: String = date.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let asked = world.ana.get(&format!("/history?{side}={escaped}")).at(NOW);
            let answer = asked.about(date).await;
            answer.refused(422, "invalid_field").has("field", side);
        }
    }
    let instants = [
        "0000-01-01T00:00:00Z",
        "0999-12-31T23:59:59Z",
        "9999-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "+12052-01-01T00:00:00Z",
        // Beyond, once it is UTC.
        "1000-01-01T00:00:00+01:00",
        "9998-12-31T23:59:59-01:00",
        "2052-02-30T00:00:00Z",
        "2052- 2-01T00:00:00Z",
        "2052-02-01T 0:00:00Z",
        "2052-02-01T24:00:00Z",
        "2052-02-01T23:60:00Z",
        "2052-02-01T23:59:61Z",
        "2052-02-01T00:00:00",
        "2052-02-01T00:00:00+99:00",
        "2052-02-01T00:00Z",
        "2052-02-01",
        "4102444800",
        "now",
    ];
    for (name, field) in [
        ("hold", "expires_at"),
        ("put promo", "valid_from"),
        ("put promo", "valid_until"),
        ("post job", "posted_at"),
    ] {
        let route = world.route(name);
        for instant in instants {
            let mut body = route.body.clone().unwrap();
            body[field] = json!(instant);
            let answer = world.good(route).json(body).about(instant).await;
            answer.refused(422, "invalid_field").has("field", field);
        }
    }
    assert!(world.ana.items().await == before, "something was changed");
}

/// A body that comes byte by byte keeps nobody else waiting, and one that never ends does nothing.
#[tokio::test]
async fn a_slow_body_waits_for_itself_alone() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let token = bearer(&stack, SERVICE, &[]);
    let path = format!("/v1/accounts/{}/spends", ana.id);
    let body = json!({ "amount": 5, "reason": "application" }).to_string();
    let key = fresh("slow");
    let headers = [
        ("authorization", token.as_str()),
        ("content-type", "application/json"),
        ("connects-now", "2052-01-16T12:00:00Z"),
        ("idempotency-key", key.as_str()),
    ];
    let request = wire("POST", &path, &headers, &body);
    let (head, _) = request.split_at(request.len() - body.len());
    // More of them than there are processes, and none is ever ended.
    let mut left = vec![];
    for _ in 0..16 {
        let mut connection = stack.dial().await;
        connection.send(head).await;
        connection.send(&body[..1]).await;
        left.push(connection);
    }
    let mut slow = stack.dial().await;
    slow.send(head).await;
    for byte in body.as_bytes().chunks(1) {
        assert_eq!(
            ana.available("2052-01-16").await,
            50,
            "nothing is spent yet"
        );
        slow.send(byte).await;
    }
    let (status, text) = slow.answer().await;
    assert_eq!(status, 201, "{text}");
    drop(left);
    // One that says it is longer than it is, and ends.
    let mut short = stack.dial().await;
    short.send(head.replace(&key, &fresh("short"))).await;
    short.send(&body[..body.len() - 1]).await;
    drop(short);
    assert_eq!(ana.available("2052-01-16").await, 45);
    assert_eq!(ana.keys("ENTRY#").await.len(), 4);
}

/// A spreadsheet takes a cell that begins so for a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Whatever a caller may choose that shows in an export is no formula there.
#[tokio::test]
async fn no_cell_of_an_export_is_a_formula() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let formulas = [
        "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\"=1", "a:=1", "a,=1",
    ];
    for formula in formulas {
        for member in ["reason", "reference"] {
            let mut body = json!({ "amount": 1, "reason": "application" });
            body[member] = json!(formula);
            let refused = ana.spend_with(body).at(NOW).await;
            refused.refused(422, "invalid_field").has("field", member);
        }
    }
    // What comes nearest to one, and is accepted.
    let job = format!("-1-{}", fresh("_2"));
    let posted = stack.post_job(&job, NOW, json!({ "connects_required": 2 }));
    posted.await.is(201);
    ana.propose(&job, 2).at(NOW).await.is(201);
    let body = json!({ "amount": 3, "reason": "_", "reference": "_:-1" });
    ana.spend_with(body.clone()).at(NOW).await.is(201);
    ana.hold_with(body).at(NOW).await.is(201);
    let code = format!("-1-{}", fresh("").to_uppercase());
    let terms = json!({
        "kind": "grant", "quantity": 5,
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2100-01-01T00:00:00Z",
    });
    stack.put_promo(&code, terms).at(NOW).await.is(201);
    ana.redeem(&code).at(NOW).await.is(201);

    let export = ana.get("/history?days=90").at(NOW);
    let export = export.header("accept", "text/csv").await.is(200);
    let mut reader = csv::Reader::from_reader(export.text.as_bytes());
    let names = reader.headers().unwrap().clone();
    let mut chosen = 0;
    for record in reader.records() {
        for (name, cell) in names.iter().zip(&record.unwrap()) {
            let begins = cell.trim_start_matches(' ').starts_with(FORMULA);
            let is_number = cell.parse::<i64>().is_ok();
            assert!(!begins || is_number, "{name}: {cell}");
            chosen += usize::from(cell.contains("-1"));
        }
    }
    assert!(chosen > 4, "{}", export.text);
}

/// What must never be in a log.
struct Secrets(Vec<String>);

impl Secrets {
    /// Texts that nobody else has.
    fn text(&mut self, name: &str) -> String {
        let secret = fresh(name);
        self.0.push(secret.clone());
        secret
    }
}

/// Asks what is asked of every function, with something to keep in every place; gives the answers with
/// the routes that the log may name.
async fn tell_secrets(stack: &Stack, secrets: &mut Secrets) -> Vec<(String, Answer)> {
    let world = world(stack).await;
    let ana = &world.ana;
    secrets.0.extend([ana.id.clone(), ana.person.clone()]);
    let template = Template::read(&Project::find().unwrap().template()).unwrap();
    let named = |route: &Route| route.of_template(&template);
    let mut answers = vec![];
    let mut noted = |route: &Route, answer: Answer| {
        let route = named(route);
        answers.push((format!("{} {}", route.method, route.path), answer));
    };
    for route in &world.routes {
        for segment in route.path.split('/').filter(|part| part.contains('-')) {
            let is_fixed = named(route)
                .path
                .contains(segment.split('?').next().unwrap());
            secrets.0.extend((!is_fixed).then(|| segment.to_owned()));
        }
        // As it should be, and with all that can be wrong with it.
        noted(route, world.good(route).await);
        noted(route, world.good(route).without("authorization").await);
        let token = format!("Bearer {}", secrets.text("token"));
        noted(
            route,
            world.good(route).header("authorization", token).await,
        );
        let user = stack.minter.token(USER, &[&secrets.text("account")]);
        secrets.0.extend(user.rsplit('.').next().map(str::to_owned));
        noted(route, world.good(route).token(user).await);
        let key = secrets.text("key\"}{\"level\":\"ERROR");
        noted(route, world.good(route).key(key).await);
        let agent = secrets.text("agent\u{1b}[31m");
        let agent = agent.replace('\u{1b}', "%1b");
        noted(route, world.good(route).header("user-agent", agent).await);
        let cookie = secrets.text("session");
        noted(route, world.good(route).header("cookie", cookie).await);
        if let Some(body) = &route.body {
            for value in ["\n{\"level\":\"ERROR\"}\n", "\u{1b}[2J", "\r\n\0", ""] {
                let mut body = body.clone();
                let secret = secrets.text("value");
                for member in body.as_object_mut().unwrap().values_mut() {
                    *member = json!(format!("{secret}{value}"));
                }
                body[secrets.text("name") + value] = json!(secret);
                noted(route, world.good(route).json(body).await);
            }
            let mut mailed = body.clone();
            mailed["email"] = json!(format!("{}@example.org", secrets.text("mail")));
            noted(route, world.good(route).json(mailed).await);
            let spaces = " ".repeat(crate::world::BODY_LIMIT);
            let long = format!("{{\"{}\":1}}{spaces}", secrets.text("long"));
            noted(route, world.good(route).raw(long).await);
            noted(route, world.good(route).raw(secrets.text("broken")).await);
        }
        // Ids that would end a line, or begin another.
        if route.of_an_account() {
            let secret = secrets.text("id");
            for id in [
                "%0a%7b%22level%22:%22ERROR%22%7d",
                "%1b%5b2J",
                "%22%7d",
                "%e2%80%ae",
            ] {
                let answer = route.good(stack, &format!("{secret}{id}")).await;
                noted(route, answer);
            }
        }
        let joint = if route.path.contains('?') { '&' } else { '?' };
        let query = format!("{joint}{}={}", secrets.text("asked"), secrets.text("told"));
        let asked = Route {
            path: route.path.clone() + &query,
            ..route.clone()
        };
        noted(route, world.good(&asked).await);
    }
    answers
}

/// Every answer has a request's id, and the log has one line about that request, which tells what was
/// asked for and what came of it, and nothing of who asked, with what.
#[tokio::test]
async fn a_request_is_one_line_in_the_log_that_tells_on_nobody() {
    let stack = Stack::local();
    let mut secrets = Secrets(vec![]);
    let answers = tell_secrets(&stack, &mut secrets).await;
    let statuses: HashSet<u16> = answers.iter().map(|(_, answer)| answer.status).collect();
    for status in [200, 201, 202, 400, 401, 403, 404, 409, 413, 422] {
        assert!(statuses.contains(&status), "{status} of {statuses:?}");
    }
    let lines = stack.logged();
    for line in &lines {
        let text = line.text.to_lowercase();
        let told = secrets.0.iter().find(|s| text.contains(&s.to_lowercase()));
        assert!(
            told.is_none(),
            "{}: {told:?} in {}",
            line.function,
            line.text
        );
    }
    let mut of_request: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for line in &lines {
        // What else there is to be said of it, such as why it took several tries, is another matter.
        let is_summary = line.said["message"] == "request";
        if let Some(id) = line.request_id().filter(|_| is_summary) {
            of_request.entry(id).or_default().push(&line.said);
        }
    }
    let mut ids = HashSet::new();
    for (route, answer) in &answers {
        let id = answer.header("connects-request-id").unwrap_or_default();
        assert!(ids.insert(id.to_owned()), "{route}: {id} is another's");
        let [line] = of_request.get(id).map_or(&[][..], Vec::as_slice) else {
            panic!("{route}: {id} has {:?}", of_request.get(id));
        };
        let outcome = match answer.status {
            ..400 => "ok",
            _ => answer["code"].as_str().unwrap(),
        };
        let method = line["method"].as_str().unwrap_or_default();
        let told = (
            format!("{method} {}", line["route"].as_str().unwrap_or_default()),
            &line["status"],
            &line["outcome"],
        );
        let expected = (route.clone(), &json!(answer.status), &json!(outcome));
        assert_eq!(told, expected, "{id}");
    }
}

/// Whom a holder is, their log lines do not say either.
#[tokio::test]
async fn an_address_is_kept_and_not_logged() {
    let stack = Stack::local();
    let mail = format!("{}@example.org", fresh("somebody"));
    let holder: Holder<'_> = stack.holder("addressed");
    let body = json!({ "kind": "agency", "person_id": holder.person, "email": mail });
    holder.open_with(body).at(NOW).await.is(201);
    let profile = &holder.items().await["PROFILE"];
    assert!(format!("{profile:?}").contains(&mail));
    let told = stack
        .logged()
        .into_iter()
        .find(|line| line.text.contains(&mail));
    assert!(told.is_none(), "{told:?}");
}
