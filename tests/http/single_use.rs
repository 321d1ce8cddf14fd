//! Single-use codes over HTTP: made at once, shown once, each redeemed once.

use std::collections::BTreeSet;

use connects_tests::client::{Answer, Request};
use connects_tests::stack::{Stack, fresh};
use connects_tests::table::batch_name;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const NOW: &str = "2052-03-06";

/// A grant of 15 to everybody, with these members beside.
fn grant(members: Value) -> Value {
    let mut terms = json!({
        "kind": "grant", "quantity": 15,
        "valid_from": "2052-03-01T00:00:00Z", "valid_until": "2052-04-01T00:00:00Z",
    });
    let members = members.as_object().cloned().unwrap_or_default();
    terms.as_object_mut().unwrap().extend(members);
    terms
}

fn ask<'a>(stack: &'a Stack, promo: &str, body: Value) -> Request<'a> {
    let path = format!("/v1/promos/{promo}/codes");
    let request = stack.admin(Method::POST, path).json(body);
    request.key(fresh("key")).at(NOW)
}

fn codes(answer: &Answer) -> Vec<String> {
    let codes = answer["codes"].as_array().unwrap().iter();
    codes
        .map(|code| code.as_str().unwrap().to_owned())
        .collect()
}

async fn made(stack: &Stack, members: Value) -> (String, Vec<String>) {
    let promo = batch_name().to_string();
    let answer = ask(stack, &promo, grant(members)).await.is(201);
    (promo, codes(&answer))
}

fn is_of_the_form(promo: &str, code: &str) -> bool {
    let tail = code
        .strip_prefix(promo)
        .and_then(|tail| tail.strip_prefix('-'));
    let groups: Vec<&str> = tail.unwrap_or_default().split('-').collect();
    let is_read_aloud = |c: char| matches!(c, '2'..='9' | 'A'..='Z') && !matches!(c, 'I' | 'O');
    groups.len() == 3
        && groups
            .iter()
            .all(|g| g.len() == 5 && g.chars().all(is_read_aloud))
}

#[tokio::test]
async fn ten_thousand_codes_of_one_request() {
    let stack = Stack::local();
    let promo = batch_name().to_string();
    let request = ask(&stack, &promo, grant(json!({ "count": 10_000 })));
    let answer = request.clone().await.is(201).has("code", json!(promo));
    let all = codes(&answer);
    let different: BTreeSet<&String> = all.iter().collect();
    assert_eq!(different.len(), 10_000);
    assert!(all.iter().all(|code| is_of_the_form(&promo, code)));
    assert!(all.iter().all(|code| code.len() <= 32));
    // A sixth of what a function may answer.
    assert!(answer.text.len() < 1_000_000, "{}", answer.text.len());

    // As CSV the same, by the retry whose answer it is.
    let csv = request.header("accept", "text/csv").await.is(201);
    assert!(csv.replayed());
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let mut reader = csv::Reader::from_reader(csv.text.as_bytes());
    assert_eq!(reader.headers().unwrap(), ["code"].as_slice());
    let read: Vec<String> = reader
        .records()
        .map(|line| line.unwrap()[0].to_owned())
        .collect();
    assert_eq!(read, all);

    // Some of every page; each twice.
    for code in all.iter().step_by(833) {
        let (ana, ben) = (
            stack.agency("2052-03-01").await,
            stack.agency("2052-03-01").await,
        );
        let given = ana.redeem(&code.to_lowercase()).at(NOW).await.is(201);
        given
            .has("code", json!(code))
            .has("amount", 15)
            .balance(15, 0);
        ben.redeem(code)
            .at(NOW)
            .await
            .refused(409, "promo_exhausted");
        assert_eq!(
            ana.journal(NOW).await[1]["reference"],
            format!("promo:{code}")
        );
        ana.audit().await;
    }
    let path = format!("/v1/promos/{promo}");
    let shown = stack.admin(Method::GET, path).await.is(200);
    shown.has("single_use_codes", 10_000).has("redeemed", 13);
}

#[tokio::test]
async fn the_codes_are_shown_once() {
    let stack = Stack::local();
    let promo = batch_name().to_string();
    let request = ask(&stack, &promo, grant(json!({ "count": 3 })));
    let at = |time: &str| request.clone().at(&format!("2052-03-06T12:{time}Z"));
    let first = at("00:00").await.is(201);
    assert!(!first.replayed());
    assert_eq!(first["shown_until"], "2052-03-06T12:15:00.000Z");
    let again = at("14:59.999").await.is(201);
    assert!(again.replayed());
    assert_eq!(again.text, first.text);
    let stands = json!(3);
    for late in [
        at("15:00").await,
        at("00:00").key(fresh("another")).await,
        // A plain code's name is taken, too.
        {
            let plain = batch_name().to_string();
            stack
                .put_promo(&plain, grant(json!({})))
                .at(NOW)
                .await
                .is(201);
            let refused = ask(&stack, &plain, grant(json!({ "count": 3 }))).await;
            let refused = refused.refused(409, "promo_exists");
            assert_eq!(refused["existing"].get("single_use_codes"), None);
            at("16:00").await
        },
    ] {
        let refused = late.refused(409, "promo_exists");
        assert_eq!(refused["existing"]["single_use_codes"], stands);
        assert!(!codes(&first).iter().any(|code| refused.text.contains(code)));
    }
    let other = at("00:00").json(grant(json!({ "count": 4 }))).await;
    other.refused(422, "idempotency_key_reused");
    // Its terms are changed like any others, and its codes stay.
    let put = stack
        .put_promo(&promo, grant(json!({ "quantity": 20 })))
        .at(NOW);
    put.await.is(200).has("single_use_codes", 3);
    let ana = stack.agency("2052-03-01").await;
    let given = ana.redeem(&codes(&first)[0]).at(NOW).await.is(201);
    given.balance(20, 0);
}

#[tokio::test]
async fn a_code_is_no_others() {
    let stack = Stack::local();
    let (promo, codes) = made(&stack, json!({ "count": 2 })).await;
    let ana = stack.agency("2052-03-01").await;
    let mut forged = codes[0].clone();
    forged.replace_range(
        forged.len() - 1..,
        if codes[0].ends_with('A') { "B" } else { "A" },
    );
    for code in [&promo, &forged] {
        ana.redeem(code).at(NOW).await.refused(404, "promo_unknown");
    }
    // These were guesses: eight more of ten.
    for _ in 0..8 {
        ana.redeem(&forged)
            .at(NOW)
            .await
            .refused(404, "promo_unknown");
    }
    ana.redeem(&codes[0])
        .at(NOW)
        .await
        .refused(429, "rate_limited");

    let ben = stack.agency("2052-03-01").await;
    let on_a_purchase = json!({ "quantity": 10, "promo_code": codes[0] });
    let bought = ben.buy_with(on_a_purchase).at(NOW).await;
    bought.refused(409, "promo_not_eligible");
    let first = ben.redeem(&codes[0]).at(NOW).await.is(201);
    let second = ben.redeem(&codes[1]).at(NOW).await;
    let second = second.refused(409, "promo_already_redeemed");
    assert_eq!(second["existing"], first.body);
    assert_eq!(stack.redeemed(&promo).await, 1);
}

#[tokio::test]
async fn a_code_rides_on_a_purchase_and_is_given_back() {
    let stack = Stack::local();
    let terms = json!({ "kind": "bonus", "quantity": 5, "count": 1 });
    let (promo, codes) = made(&stack, terms).await;
    let (ana, ben) = (
        stack.agency("2052-03-01").await,
        stack.agency("2052-03-01").await,
    );
    let with =
        |method: &str| json!({ "quantity": 10, "promo_code": codes[0], "payment_method": method });
    let declined = ana.buy_with(with("sandbox_decline")).at(NOW).await;
    declined.refused(402, "payment_declined");
    assert_eq!(stack.redeemed(&promo).await, 0);
    let paid = ben.buy_with(with("sandbox_approve")).at(NOW).await.is(201);
    paid.has("bonus", 5).balance(15, 0);
    let late = ana.buy_with(with("sandbox_approve")).at(NOW).await;
    late.refused(409, "promo_exhausted");
    let journal = ben.journal(NOW).await;
    assert_eq!(journal[2]["reference"], format!("promo:{}", codes[0]));
    assert_eq!(stack.redeemed(&promo).await, 1);
    ben.audit().await;
}

#[tokio::test]
async fn each_code_has_one_winner_whoever_races() {
    let stack = Stack::local();
    let (promo, codes) = made(&stack, json!({ "count": 4 })).await;
    let mut racers = vec![];
    for _ in 0..16 {
        racers.push(stack.agency("2052-03-01").await);
    }
    let racing = racers.iter().enumerate().map(|(n, racer)| {
        let request = racer.redeem(&codes[n % codes.len()]).at(NOW);
        async move { (n % 4, request.await) }
    });
    let (won, lost): (Vec<_>, Vec<_>) = join_all(racing)
        .await
        .into_iter()
        .partition(|(_, answer)| answer.status == 201);
    let winners: BTreeSet<usize> = won.iter().map(|(code, _)| *code).collect();
    assert_eq!((won.len(), winners.len()), (4, 4));
    for (_, answer) in lost {
        answer.refused(409, "promo_exhausted");
    }
    assert_eq!(stack.redeemed(&promo).await, 4);
}

#[tokio::test]
async fn what_is_asked_for_in_a_wrong_way_is_refused() {
    let stack = Stack::local();
    let name = || batch_name().to_string();
    let count = |count: Value| grant(json!({ "count": count }));
    for (promo, body, code, field) in [
        (name(), grant(json!({})), "invalid_field", "count"),
        (name(), count(json!(0)), "below_minimum", "count"),
        (name(), count(json!(10_001)), "above_maximum", "count"),
        (
            "FIFTEEN-LETTERS".to_owned(),
            count(json!(1)),
            "invalid_field",
            "code",
        ),
        ("A_B".to_owned(), count(json!(1)), "invalid_field", "code"),
        (
            name(),
            grant(json!({ "count": 1, "percent_off": 5 })),
            "invalid_field",
            "percent_off",
        ),
        (
            name(),
            grant(json!({ "count": 1, "codes": 5 })),
            "unknown_field",
            "codes",
        ),
        (
            name(),
            grant(json!({ "count": 1, "valid_until": "2052-03-01T00:00:00Z" })),
            "invalid_field",
            "valid_until",
        ),
    ] {
        let refused = ask(&stack, &promo, body).await.refused(422, code);
        assert_eq!(refused["field"], field);
        let path = format!("/v1/promos/{promo}");
        let found = stack.admin(Method::GET, path).await;
        found.refused(404, "promo_unknown");
    }
    let keyless = ask(&stack, &name(), count(json!(1))).without("idempotency-key");
    keyless.await.refused(400, "idempotency_key_required");
    let textual = ask(&stack, &name(), count(json!("1"))).await;
    textual.refused(400, "malformed_request");
    // No code of its own has the form of another's.
    let alike = stack.put_promo("SPRING-22222-AAAAA-AAAAA", grant(json!({})));
    let alike = alike.at(NOW).await.refused(422, "invalid_field");
    assert_eq!(alike["field"], "code");
}
