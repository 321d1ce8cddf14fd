//! Bodies that are no JSON object, too large, or have members nobody knows.

use connects_tests::stack::Stack;
use serde_json::json;

use crate::world::{BODY_LIMIT, Route, world};

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
        b"\xef\xbb\xbf{}",
        b"amount=5",
    ];
    for route in world.with_body() {
        for body in bodies {
            let request = world.good(route).raw(*body);
            let request = request.about(String::from_utf8_lossy(body));
            request.await.refused(400, "malformed_request");
        }
        // The one without members may be left out where nothing is asked for.
        if route.name != "chargeback" {
            for request in [world.good(route).raw(""), world.good(route).raw(" ")] {
                request.await.refused(400, "malformed_request");
            }
        }
        for deep in [
            "[".repeat(40_000),
            format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000)),
            "{\"a\":".repeat(10_000),
            format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200)),
        ] {
            let answer = world.good(route).raw(deep).await;
            answer.refused(400, "malformed_request");
        }
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
            let answer = world.good(route).about(&twice).raw(twice).await;
            answer.refused(400, "malformed_request");
        }
    }
    assert_eq!(world.ana.items().await, before);
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
    let spend = world.route("spend");
    // As much as Lambda would hand to a function.
    let answer = world.good(spend).raw(padded(spend, 5 << 20)).await;
    answer.refused(413, "body_too_large");
    assert_eq!(world.ana.items().await, before);
    let answer = world.good(spend).raw(padded(spend, BODY_LIMIT)).await;
    answer.is(201);
}
