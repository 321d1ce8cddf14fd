//! Who may ask: tokens, scopes, accounts of others.

use connects_tests::stack::Stack;
use reqwest::Method;

use crate::world::{ADMIN, SERVICE, USER, world};

#[tokio::test]
async fn nobody_gets_in_without_a_good_token() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    for route in world.guarded() {
        let forged = stack.minter.forged(route.scopes[0], &[&world.ana.id]);
        for (why, value) in forged {
            let request = world.good(route).header("authorization", value);
            request.about(why).await.refused(401, "unauthenticated");
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
    for route in world.guarded() {
        let known = [USER, SERVICE, ADMIN].into_iter();
        let wrong = known
            .filter(|scope| !route.scopes.contains(scope))
            .chain(others);
        for scope in wrong {
            let token = stack.minter.token(scope, &[account]);
            let request = world.good(route).token(token).about(scope);
            request.await.refused(403, "forbidden");
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
                answer.refused(404, "account_not_found");
            }
        }
    }
    assert_eq!(world.ana.items().await, before);
    assert!(nowhere.items().await.is_empty());
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
        let answer = stack.service(method.clone(), path.clone()).await;
        let refused = (400..500).contains(&answer.status);
        assert!(refused, "{method} {path}: {}", answer.text);
    }
}
