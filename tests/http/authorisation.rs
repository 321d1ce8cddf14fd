//! Who may ask for what: every route of the template with every kind of token. What is seen is also
//! the table in `docs/authorisation.md`, which the test compares with it, or writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use connects_local::project::Project;
use connects_local::template::Template;
use connects_tests::client::Answer;
use connects_tests::door::Door;
use connects_tests::stack::{Stack, fresh};
use connects_tests::wire::Listening;
use connects_tests::written::is_written;
use serde_json::json;

use crate::world::{ADMIN, NOW, Route, SERVICE, USER, World, world};

/// What comes before the tables.
const HEAD: &str = "# Who may do what

What the local stack answered to every route with every kind of token: the test `authorisation` in
`tests/http` asks, and fails where this page says something else. To write it anew:
`CONNECTS_TEST_WRITE_DOCS=1 cargo local test authorisation`.

401 is `unauthenticated`, 403 is `forbidden`. A signing key that the issuer adds is found when the first token
names it, at most once in 30 seconds, however many strangers name keys that there are not; one that the issuer
withdraws is forgotten with that, or within an hour, and with it every token that it signed.

";

/// A cell: what was answered.
fn seen(answer: &Answer) -> String {
    match (answer.status, answer["code"].as_str()) {
        (401, Some("unauthenticated")) | (403, Some("forbidden")) => answer.status.to_string(),
        (400.., Some(code)) => format!("{} `{code}`", answer.status),
        _ => answer.status.to_string(),
    }
}

/// A row of the table, by the columns' names.
type Row = BTreeMap<&'static str, String>;

const NO_TOKEN: &str = "no token";
const NO_GOOD: &str = "none that is good";
const NO_SCOPE: &str = "no scope";
const OTHERS: &str = "another's account";
const NOWHERE: &str = "no such account";
const SUSPENDED: &str = "suspended account";

/// The columns, in their order.
const COLUMNS: [&str; 9] = [
    NO_TOKEN, NO_GOOD, NO_SCOPE, USER, SERVICE, ADMIN, OTHERS, NOWHERE, SUSPENDED,
];

/// Words in `scope` that open nothing.
const NO_SCOPES: [&str; 5] = [
    "",
    "openid",
    "connects:",
    "connects:services",
    "CONNECTS:SERVICE",
];

#[tokio::test]
async fn every_route_is_for_those_who_may_ask() {
    let stack = Stack::local();
    let template = Template::read(&Project::find().unwrap().template()).unwrap();
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    let mut put = |route: &Route, column: &'static str, cell: String| {
        let named = route.of_template(&template);
        let row = rows.entry((named.path, named.method)).or_default();
        assert!(
            row.insert(column, cell).is_none(),
            "{} {column}",
            route.name
        );
    };
    let kinds = refused_tokens(&stack, &mut put).await;
    for scope in [USER, SERVICE, ADMIN] {
        let world = world(&stack).await;
        for route in &world.routes {
            let token = stack.minter.token(scope, &[&world.ana.id]);
            let answer = route.request(&stack, &world.ana.id).token(token).await;
            put(route, scope, seen(&answer));
            if route.scopes.is_empty() || route.scopes.contains(&scope) {
                assert!(
                    answer.status < 300,
                    "{} {scope}: {}",
                    route.name,
                    answer.text
                );
            } else {
                answer.refused(403, "forbidden");
            }
        }
    }
    others_and_suspended(&stack, &mut put).await;
    let routes = rows.len();
    assert_eq!(routes, template.routes.len());
    is_written("docs/authorisation.md", &page(kinds, &rows));
}

/// Tokens that open nothing, each on every route; gives the kinds, with what they were answered.
async fn refused_tokens(
    stack: &Stack,
    put: &mut impl FnMut(&Route, &'static str, String),
) -> BTreeMap<&'static str, BTreeSet<String>> {
    let world = world(stack).await;
    let before = world.ana.items().await;
    let mut kinds: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for route in &world.routes {
        let without = world.good(route).without("authorization").await;
        put(route, NO_TOKEN, seen(&without));
        if route.scopes.is_empty() {
            assert_eq!(without.status, 200, "{}", without.text);
        } else {
            let challenge = without.header("www-authenticate").unwrap_or_default();
            assert!(challenge.starts_with("Bearer"), "{challenge}");
            without.refused(401, "unauthenticated");
        }
        let all_scopes = [USER, SERVICE, ADMIN].join(" ");
        let mut no_good = BTreeSet::new();
        for (kind, value) in stack.minter.forged(&all_scopes, &[&world.ana.id]) {
            let request = world.good(route).header("authorization", value);
            let answer = request.about(kind).await;
            no_good.insert(seen(&answer));
            if !route.scopes.is_empty() {
                kinds.entry(kind).or_default().insert(seen(&answer));
                answer.refused(401, "unauthenticated");
            }
        }
        put(route, NO_GOOD, Vec::from_iter(no_good).join(", "));
        let mut no_scope = BTreeSet::new();
        for scope in NO_SCOPES {
            let token = stack.minter.token(scope, &[&world.ana.id]);
            let answer = world.good(route).token(token).about(scope).await;
            no_scope.insert(seen(&answer));
            if !route.scopes.is_empty() {
                answer.refused(403, "forbidden");
            }
        }
        put(route, NO_SCOPE, Vec::from_iter(no_scope).join(", "));
    }
    assert!(world.ana.items().await == before, "something was changed");
    kinds
}

/// The accounts of others, accounts that are not there, and one that is suspended.
async fn others_and_suspended(stack: &Stack, put: &mut impl FnMut(&Route, &'static str, String)) {
    let suspended = world(stack).await;
    let status = json!({ "status": "suspended" });
    suspended.ana.amend(status).at(NOW).await.is(200);
    let World { ana, routes, .. } = world(stack).await;
    let before = ana.items().await;
    for route in &routes {
        put(
            route,
            SUSPENDED,
            seen(&suspended.good(suspended.route(route.name)).await),
        );
        if !route.of_an_account() {
            put(route, OTHERS, String::new());
            put(route, NOWHERE, String::new());
            continue;
        }
        let token = stack.minter.token(USER, &["somebody-else", "ANOTHER"]);
        let of_another = route.request(stack, &ana.id).token(token).await;
        put(route, OTHERS, seen(&of_another));
        let (status, code) = match route.scopes.contains(&USER) {
            true => (404, "account_not_found"),
            false => (403, "forbidden"),
        };
        of_another.refused(status, code);
        let of_nobody = route.good(stack, &fresh("nowhere")).await;
        put(route, NOWHERE, seen(&of_nobody));
        if !route.opens() {
            of_nobody.refused(404, "account_not_found");
        }
    }
    assert!(ana.items().await == before, "something was changed");
}

/// An end user can't tell another's account from one that does not exist: not by the answer, and not by
/// what it costs, which is no look into the table.
#[tokio::test]
async fn anothers_account_and_no_account_are_one_to_a_stranger() {
    let door = Door::open().await;
    let stack = &door.stack;
    let World { ana, routes, .. } = world(stack).await;
    let line = Arc::new(Listening::default());
    door.through(line.clone());
    let holds = stack.holder("holder");
    for accounts in [&[][..], &["ANOTHER"], &[holds.id.as_str()]] {
        let token = stack.minter.token(USER, accounts);
        for route in routes.iter().filter(|route| route.of_an_account()) {
            let mut answers = vec![];
            for id in [ana.id.as_str(), &fresh("nowhere"), "a%2Fb", &"a".repeat(65)] {
                let answer = route.request(stack, id).token(&token).await;
                let headers = answer.headers.iter().filter(|(name, _)| {
                    // What tells one request from another, whatever it is about.
                    !["connects-request-id", "date"].contains(&name.as_str())
                });
                let headers: BTreeSet<_> = headers
                    .map(|(name, value)| format!("{name}: {value:?}"))
                    .collect();
                answers.push((answer.status, headers, answer.text, line.heard()));
            }
            let (status, _, text, calls) = &answers[0];
            assert!([403, 404].contains(status), "{}: {text}", route.name);
            assert!(calls.is_empty(), "{}: {calls:?}", route.name);
            assert!(
                answers.iter().all(|answer| answer == &answers[0]),
                "{answers:?}"
            );
        }
    }
}

/// The page as what was seen makes it.
fn page(
    kinds: BTreeMap<&'static str, BTreeSet<String>>,
    rows: &BTreeMap<(String, String), Row>,
) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let mut page = HEAD.to_owned();
    page += "## Tokens that open nothing\n\n";
    page += "Each on every route below that asks for a token, its claims being otherwise those of a good one \
             with every scope.\n\n";
    page += &line(&words(&["token", "answers"]));
    page += "|---|---|\n";
    for (kind, answers) in kinds {
        let answers = Vec::from_iter(answers).join(", ");
        page += &line(&[kind.to_owned(), answers]);
    }
    page += "\n## Routes\n\n";
    page += "The columns named by a scope are a token with that scope alone, for the account in the path; the last \
             three a token that would do otherwise: where end users may ask at all, one of theirs for another's account.\n\n";
    let titles = COLUMNS.map(|column| match column.starts_with(USER) {
        true => format!("`{column}`"),
        false => column.to_owned(),
    });
    page += &line(&[&["route".to_owned()][..], &titles].concat());
    page += &format!("|{}\n", "---|".repeat(1 + COLUMNS.len()));
    for ((path, method), row) in rows {
        let cells = COLUMNS.iter().map(|column| match row[column].as_str() {
            "" => "–".to_owned(),
            cell => cell.to_owned(),
        });
        let route = format!("`{method} {path}`");
        page += &line(&std::iter::once(route).chain(cells).collect::<Vec<_>>());
    }
    page
}
