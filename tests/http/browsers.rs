//! What a browser is told: whose pages may call, and what it may do with an answer.

use connects_local::project::Project;
use connects_local::template::Template;
use connects_tests::client::Answer;
use connects_tests::stack::{SCRIPT, Stack, fresh};
use reqwest::Method;

/// The page of a frontend on the developer's machine.
const APP: &str = "http://localhost:5173";

const SAFEGUARDS: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("strict-transport-security", "max-age=31536000"),
    ("x-content-type-options", "nosniff"),
];

#[track_caller]
fn is_guarded(answer: &Answer, what: &str) {
    for (name, value) in SAFEGUARDS {
        assert_eq!(answer.header(name), Some(value), "{what}: {name}");
    }
}

/// Without a token, with one for another account, and with one that is good.
#[tokio::test]
async fn every_answer_of_every_route_is_guarded() {
    let stack = Stack::local();
    let template = Template::read(&Project::find().unwrap().template()).unwrap();
    let nobody = fresh("nobody");
    for route in &template.routes {
        let what = format!("{} {}", route.method, route.path);
        let method = Method::from_bytes(route.method.as_bytes()).unwrap();
        let part = |part: &str| match part.starts_with('{') {
            true => nobody.clone(),
            false => part.to_owned(),
        };
        let path: Vec<String> = route.path.split('/').map(part).collect();
        let path = path.join("/");
        for request in [
            stack.request(method.clone(), &*path),
            stack.user(&[], method.clone(), &*path),
            stack.service(method, &*path),
        ] {
            is_guarded(&request.await, &what);
        }
    }
    let ana = stack.freelancer("2052-01-15").await;
    let csv = ana.get("/history").header("accept", "text/csv");
    let csv = csv.at("2052-01-16").await.is(200);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    is_guarded(&csv, "csv");
}

fn allowed<'a>(answer: &'a Answer, what: &str) -> Option<&'a str> {
    answer.header(&format!("access-control-{what}"))
}

#[tokio::test]
async fn pages_of_an_allowed_origin_may_call_and_no_others() {
    let stack = Stack::local().for_pages_of(APP).await;
    for origin in [
        APP,
        "http://localhost:5174",
        "https://localhost:5173",
        "http://localhost:5173.example.com",
        "null",
        "*",
    ] {
        let mine = (origin == APP).then_some(APP);
        let preflight = stack
            .request(Method::OPTIONS, "/v1/accounts/a1/purchases")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization")
            .await
            .is(204);
        assert_eq!(allowed(&preflight, "allow-origin"), mine, "{origin}");
        let told = |what: &str| allowed(&preflight, what).map(str::to_owned);
        let only_mine = |value: &str| mine.map(|_| value.to_owned());
        assert_eq!(
            told("allow-methods"),
            only_mine("GET,PUT,PATCH,POST,DELETE")
        );
        assert_eq!(
            told("allow-headers"),
            only_mine("authorization,content-type,idempotency-key")
        );
        assert_eq!(told("max-age"), only_mine("600"));
        assert_eq!(told("allow-credentials"), None);

        // Whatever the answer is, a page may read it or may not.
        for (path, status) in [("/v1/return-policy", 200), ("/v1/catalog", 401), ("/", 404)] {
            let answer = stack.request(Method::GET, path).header("origin", origin);
            let answer = answer.await.is(status);
            assert_eq!(allowed(&answer, "allow-origin"), mine, "{origin} {path}");
            assert_eq!(
                allowed(&answer, "expose-headers"),
                mine.map(
                    |_| "connects-next-cursor,connects-request-id,idempotency-replayed,retry-after"
                )
            );
            assert_eq!(answer.header("vary"), Some("Origin"));
        }
    }
    let answer = stack
        .request(Method::GET, "/v1/return-policy")
        .await
        .is(200);
    assert_eq!(allowed(&answer, "allow-origin"), None);
}

#[tokio::test]
async fn the_reference_page_is_made_of_what_this_origin_has() {
    let stack = Stack::local().for_pages_of(APP).await;
    let get = |path: &'static str| stack.request(Method::GET, path);
    let page = get("/reference").await.is(200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        !page.text.contains("//"),
        "something from elsewhere: {}",
        page.text
    );
    for (path, kind) in [
        ("/v1/openapi.json", "application/json"),
        ("/reference/scalar.js", "text/javascript; charset=utf-8"),
    ] {
        assert!(page.text.contains(&format!("\"{path}\"")), "{path}");
        let answer = get(path).await.is(200);
        assert_eq!(answer.header("content-type"), Some(kind));
    }
    assert_eq!(get("/reference/scalar.js").await.text, SCRIPT);
    for part in [&page, &get("/reference/scalar.js").await] {
        let policy = part.header("content-security-policy").unwrap();
        let elsewhere = policy
            .split([' ', ';'])
            .find(|word| word.contains("http") || *word == "*");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(elsewhere, None, "{policy}");
    }
}

/// OPTIONS is a preflight only with what browsers send; anything else is a request like others.
#[tokio::test]
async fn the_browsers_gateway_hands_on_all_else_as_it_is() {
    let stack = Stack::local().for_pages_of(APP).await;
    let options = stack.request(Method::OPTIONS, "/v1/catalog");
    assert_eq!(options.await.status, 404);
    let ana = stack.freelancer("2052-01-15").await;
    let spent = ana.spend(3).at("2052-01-16");
    let first = spent.clone().await.is(201);
    let again = spent.await.is(201);
    assert!(again.replayed());
    assert_eq!(again.text, first.text);
    let path = format!("/v1/accounts/{}/spends", ana.id);
    let big = |body: Vec<u8>| stack.service(Method::POST, &*path).key("k").raw(body);
    let limit = 10 * 1024 * 1024;
    for (length, status) in [(64 * 1024 + 1, 413), (limit + 1, 413)] {
        let body = vec![b' '; length];
        let answer = big(body).await;
        let own = answer.header("content-type") == Some("application/json");
        assert_eq!((answer.status, own), (status, length > limit), "{length}");
    }
}
