//! Holds: set aside, then captured or released, or over when their time is.

use connects_tests::client::Answer;
use connects_tests::schedule;
use connects_tests::stack::{Stack, fresh};
use futures::future::join_all;
use serde_json::{Value, json};

const NOW: &str = "2052-01-16";

fn balance(available: i64, held: i64) -> Value {
    json!({ "available": available, "held": held, "debt": 0 })
}

/// Amount, captured, state and balance.
#[track_caller]
fn tells(answer: &Answer, numbers: (i64, i64), state: &str, expected: Value) {
    let told = (answer.int("amount"), answer.int("captured"));
    assert_eq!(told, numbers, "{}", answer.text);
    assert_eq!(
        (&answer["state"], &answer["balance"]),
        (&json!(state), &expected)
    );
    let members = answer.body.as_object().unwrap();
    let known = ["hold_id", "amount", "captured", "state", "balance"];
    assert!(
        members
            .keys()
            .all(|member| known.contains(&member.as_str()))
    );
}

/// L(2052-01-10, 3), L(2052-02-10, 10), hold 8: 3 + 5. Captured 4 of it, which are 3 + 1; 4 go back to
/// the second. The journal has what was held at each step.
#[tokio::test]
async fn from_the_oldest_lots_and_what_is_not_used_back_to_them() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-01").await;
    ana.given(3, "2052-01-10").await;
    ana.given(10, "2052-02-10").await;
    let held = ana.hold(8).at("2052-02-11").await.is(201);
    tells(&held, (8, 0), "open", balance(5, 8));
    let lots = ["5/10 promo until 2053-02-10"];
    assert_eq!(ana.lots("2052-02-11").await, lots);
    let id = held.text("hold_id");
    assert!(id.starts_with("ho_") && id.len() == 29);

    let account = ana.get("").at("2052-02-12").await.is(200);
    assert_eq!(account["balance"], balance(5, 8));
    let short = ana.spend(6).at("2052-02-12").await;
    let short = short.refused(409, "insufficient_connects");
    short.has("available", 5).has("required", 6);

    let captured = ana.capture(&id, json!({ "amount": 4 }));
    let captured = captured.at("2052-02-12").await.is(200);
    tells(&captured, (8, 4), "captured", balance(9, 0));
    let lots = ["9/10 promo until 2053-02-10"];
    assert_eq!(ana.lots("2052-02-12").await, lots);
    let path = format!("/history?reference=hold:{id}");
    let mut entries = ana.listing(&path, "entries", "2052-02-12").await;
    entries.reverse();
    let told = entries.iter().map(|entry| {
        let words = ["type", "reason"].map(|member| entry[member].as_str().unwrap());
        let after = (&entry["available_after"], &entry["held_after"]);
        let lots = entry["lots"].as_array().unwrap();
        let lots: Vec<_> = lots.iter().map(|lot| lot["amount"].to_string()).collect();
        format!(
            "{} {} {} of {} -> {} + {}",
            words[0],
            words[1],
            entry["amount"],
            lots.join("+"),
            after.0,
            after.1
        )
    });
    let expected = [
        "hold listing -8 of 3+5 -> 5 + 8",
        "capture captured 0 of 3+1 -> 5 + 4",
        "release released 4 of 4 -> 9 + 0",
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    ana.audit().await;
}

#[tokio::test]
async fn a_release_leaves_everything_as_it_was() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let before = ana.lots(NOW).await;
    let held = ana.hold(45).at(NOW).await.is(201);
    let id = held.text("hold_id");
    let released = ana.release(&id).at(NOW).await.is(200);
    tells(&released, (45, 0), "released", balance(50, 0));
    assert_eq!(ana.lots(NOW).await, before);
    let about = json!({ "amount": 5, "reason": "proposal", "reference": "job:J-1" });
    let held = ana.hold_with(about).at(NOW).await.is(201);
    tells(&held, (5, 0), "open", balance(45, 5));
    let listed = ana.listing("/history?reference=job:J-1", "entries", NOW);
    assert_eq!(listed.await.len(), 1);
    ana.audit().await;
}

#[tokio::test]
async fn each_step_happens_once() {
    let stack = Stack::local();
    for (end, body, available) in [
        ("capture", json!({}), 42),
        ("capture", json!({ "amount": 3 }), 47),
        ("release", json!({}), 50),
    ] {
        let ana = stack.freelancer("2052-01-15").await;
        let hold = ana.hold(8).at(NOW);
        let answers = join_all((0..20).map(|_| async { hold.clone().await })).await;
        let once = |answers: &[Answer], status: u16| {
            for answer in answers {
                assert_eq!((answer.status, &answer.text), (status, &answers[0].text));
            }
            let first_hand = answers.iter().filter(|answer| !answer.replayed()).count();
            assert_eq!(first_hand, 1);
        };
        once(&answers, 201);
        let id = answers[0].text("hold_id");
        let ending = ana.end_hold(&id, end, body.clone()).key("one").at(NOW);
        let ends = join_all((0..20).map(|_| async { ending.clone().await })).await;
        once(&ends, 200);
        assert_eq!(ana.available(NOW).await, available);

        // Told the same for good; anything else is told that it has ended.
        let before = ana.items().await;
        for late in [NOW, "2054-01-01"] {
            let replay = hold.clone().at(late).await.is(201);
            assert!(replay.replayed());
            assert_eq!(replay.text, answers[0].text);
            let replay = ending.clone().at(late).await.is(200);
            assert!(replay.replayed());
            assert_eq!(replay.text, ends[0].text);
        }
        for other in [
            ana.end_hold(&id, end, body.clone()),
            ana.end_hold(&id, end, body).key("two"),
            ana.end_hold(&id, "capture", json!({ "amount": 2 })),
            ana.release(&id),
        ] {
            let refused = other.at(NOW).await.refused(409, "hold_not_open");
            assert_eq!(refused["existing"], ends[0].body);
        }
        if end == "capture" {
            let reused = ana.capture(&id, json!({ "amount": 2 })).key("one");
            let reused = reused.at(NOW).await;
            reused.refused(422, "idempotency_key_reused");
        }
        assert_eq!(ana.items().await, before);
        ana.audit().await;
    }
}

#[tokio::test]
async fn captured_or_released_but_not_both() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let mut available = 50;
    for _ in 0..5 {
        let held = ana.hold(4).at(NOW).await.is(201);
        let id = held.text("hold_id");
        let ends = (0..8).map(|number| match number % 2 {
            0 => ana.capture(&id, json!({})),
            _ => ana.release(&id),
        });
        let answers = join_all(ends.map(|end| async { end.at(NOW).await })).await;
        let (won, lost): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!(won.len(), 1);
        for answer in lost {
            let refused = answer.refused(409, "hold_not_open");
            assert_eq!(refused["existing"], won[0].body);
        }
        available -= won[0].int("captured");
        let account = ana.get("").at(NOW).await.is(200);
        assert_eq!(account["balance"], balance(available, 0));
    }
    ana.audit().await;
}

/// Of two things wrong the first of the list is answered.
#[tokio::test]
async fn refusals_have_their_order() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let id = ana
        .hold(8)
        .key("taken")
        .at(NOW)
        .await
        .is(201)
        .text("hold_id");
    let spend_id = ana.spend(1).at(NOW).await.is(201).text("spend_id");
    let bea = stack.freelancer("2052-01-15").await;
    let passed =
        json!({ "amount": 1000, "reason": "listing", "expires_at": "2052-01-16T12:00:00Z" });
    let bad = json!({ "amount": "1" });
    for (request, status, code) in [
        (ana.capture("elsewhere", bad.clone()), 404, "hold_not_found"),
        (ana.capture(&spend_id, bad.clone()), 404, "hold_not_found"),
        (bea.capture(&id, bad.clone()), 404, "hold_not_found"),
        (bea.release(&id), 404, "hold_not_found"),
        (ana.capture(&id, bad), 400, "malformed_request"),
        (
            ana.capture(&id, json!({ "amount": 9 })),
            422,
            "above_maximum",
        ),
        (
            ana.end_hold(&id, "release", json!({ "amount": 1 })),
            422,
            "unknown_field",
        ),
        (ana.hold(9).key("taken"), 422, "idempotency_key_reused"),
        (ana.hold_with(passed.clone()), 422, "invalid_field"),
        (ana.hold(42), 409, "insufficient_connects"),
    ] {
        request.at(NOW).await.refused(status, code);
    }
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at(NOW).await.is(200);
    let suspended = ana.hold(1000).at(NOW).await;
    suspended.refused(409, "account_suspended");
    let passed = ana.hold_with(passed).at(NOW).await;
    passed
        .refused(422, "invalid_field")
        .has("field", "expires_at");
    // What it holds can be ended all the same.
    let captured = ana.capture(&id, json!({})).at(NOW).await.is(200);
    tells(&captured, (8, 8), "captured", balance(41, 0));
    let above = ana.capture(&id, json!({ "amount": 9 })).at(NOW).await;
    above.refused(422, "above_maximum");
    ana.audit().await;
}

#[tokio::test]
async fn what_is_held_of_a_charged_back_purchase_counts_as_spent() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-15").await;
    let bought = ana.buy(100).at(NOW).await.is(201);
    let id = ana.hold(70).at(NOW).await.is(201).text("hold_id");
    let charged_back = ana.charge_back(&bought.text("purchase_id"));
    let charged_back = charged_back.at(NOW).await.is(200);
    let expected = json!({ "available": 0, "held": 70, "debt": 70 });
    assert_eq!(charged_back["balance"], expected);
    ana.hold(1).at(NOW).await.refused(409, "in_debt");
    let released = ana.release(&id).at(NOW).await.is(200);
    tells(&released, (70, 0), "released", balance(0, 0));
    let story = ana.story(NOW).await;
    let expected = ["release released 70 -> 70", "debt_repaid debt -70 -> 0"];
    assert_eq!(story[story.len() - 2..], expected);
    ana.audit().await;
}

/// Held until 1 March; the run comes six hours late.
#[tokio::test]
async fn a_hold_ends_by_itself() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.freelancer("2046-02-11").await;
    let until = "2046-03-01T00:00:00Z";
    let body = json!({ "amount": 8, "reason": "listing", "expires_at": until });
    let hold = ana.hold_with(body).key(fresh("hold")).at("2046-02-12");
    let held = hold.clone().await.is(201);
    let id = held.text("hold_id");
    let early = stack.fire("nightly-expiry", "2046-02-28T23:45:00Z").await;
    assert_eq!(early["holds"], 0);

    let refused = ana.capture(&id, json!({})).at(until).await;
    let refused = refused.refused(409, "hold_not_open");
    assert_eq!(refused["existing"]["state"], "expired");
    let account = ana.get("").at(until).await.is(200);
    assert_eq!(account["balance"], balance(42, 8));
    let report = stack.fire("nightly-expiry", "2046-03-01T06:00:00Z").await;
    assert_eq!(report["holds"], 1);
    let again = stack.fire("nightly-expiry", "2046-03-01T06:15:00Z").await;
    assert_eq!(again["holds"], 0);
    let account = ana.get("").at("2046-03-01T07:00:00Z").await.is(200);
    assert_eq!(account["balance"], balance(50, 0));
    let story = ana.story("2046-03-01T07:00:00Z").await;
    assert_eq!(story.last().unwrap(), "release hold_expired 8 -> 50");
    let refused = ana.release(&id).at("2046-03-01T07:00:00Z").await;
    let refused = refused.refused(409, "hold_not_open");
    let expected = json!({
        "hold_id": id, "amount": 8, "captured": 0, "state": "expired", "balance": balance(50, 0),
    });
    assert_eq!(refused["existing"], expected);
    // Its retry is told what it was told, though its end has passed by now.
    let replay = hold.at("2046-03-01T07:00:00Z").await.is(201);
    assert!(replay.replayed());
    assert_eq!(replay.text, held.text);
    ana.audit().await;
}

/// Signed up with 40 + 10 and held all of it past the year that they last: not swept, still good, and
/// what comes back comes in grace lots.
#[tokio::test]
async fn what_is_held_is_never_swept() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.freelancer("2047-01-15").await;
    let id = ana.hold(50).at("2047-01-16").await.is(201).text("hold_id");
    stack.fire("nightly-expiry", "2048-01-20").await;
    let captured = ana.capture(&id, json!({ "amount": 42 }));
    let captured = captured.at("2048-01-21").await.is(200);
    assert_eq!(
        (captured.int("captured"), &captured["state"]),
        (42, &json!("captured"))
    );
    let lots = ana.lots("2048-01-21").await;
    assert_eq!(lots[0], "8/8 grace until 2048-02-20");
    ana.audit().await;
}
