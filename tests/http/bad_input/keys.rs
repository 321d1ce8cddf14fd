//! The `Idempotency-Key` header.

use connects_tests::stack::{Stack, fresh};

use crate::world::world;

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
            let answer = world.good(route).key(key).about(key).await;
            answer.refused(400, "idempotency_key_invalid");
        }
    }
    // Where the key is optional a bad one is still bad.
    for name in [
        "redeem",
        "chargeback",
        "propose",
        "reward",
        "capture",
        "release",
        "bid",
        "badge on",
        "low balance on",
    ] {
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
