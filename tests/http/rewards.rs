//! Rewards: what they bring, once each, and what an interview gives back.

use connects_tests::holder::Holder;
use connects_tests::stack::{Stack, fresh};
use futures::future::join_all;
use serde_json::{Value, json};

const NOW: &str = "2052-01-16";

fn established() -> Value {
    json!({ "hires": 1, "spend": { "amount": 1, "currency": "USD" } })
}

fn interview(job: &str) -> Value {
    json!({ "kind": "interview_won", "job_id": job, "client": established() })
}

/// What a proposal got back, and why.
async fn returned(ana: &Holder<'_>, job: &str) -> (i64, Value) {
    let found = ana.get(&format!("/proposals/{job}")).at(NOW).await.is(200);
    (found.int("returned"), found["return_reason"].clone())
}

/// All that the journal tells of a job, oldest first.
async fn story(ana: &Holder<'_>, job: &str) -> Vec<String> {
    let path = format!("/history?reference=job:{job}");
    let mut entries = ana.listing(&path, "entries", NOW).await;
    entries.reverse();
    let told = entries.iter().map(|entry| {
        let word = |member: &str| entry[member].as_str().unwrap();
        format!("{} {} {}", word("type"), word("reason"), entry["amount"])
    });
    told.collect()
}

#[tokio::test]
async fn achievements_bring_what_the_policy_says() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    for (kind, awarded, available) in [("rising_talent", 30, 80), ("skill_certification", 10, 90)] {
        let rewarded = ana.reward(json!({ "kind": kind })).at(NOW).await.is(201);
        rewarded
            .has("kind", kind)
            .has("refunded", 0)
            .has("awarded", awarded)
            .balance(available, 0);
        let path = format!("/history?reference=reward:{kind}");
        let entries = ana.listing(&path, "entries", NOW).await;
        assert_eq!(entries.len(), 1);
        assert_eq!(
            (&entries[0]["type"], &entries[0]["reason"]),
            (&json!("issue"), &json!(kind))
        );
    }
    let lots = ana.lots(NOW).await;
    let expected = [
        "30/30 reward until 2053-01-16",
        "10/10 reward until 2053-01-16",
    ];
    assert_eq!(lots[2..], expected);
    ana.audit().await;
}

#[tokio::test]
async fn an_interview_gives_the_cost_back_and_the_rest_on_top() {
    let stack = Stack::local();
    for (cost, refunded, awarded) in [(8, 8, 2), (16, 10, 0), (0, 0, 10)] {
        let ana = stack.freelancer("2052-01-15").await;
        let job = stack.new_job(cost, NOW).await;
        ana.propose(&job, cost).at(NOW).await.is(201);
        let rewarded = ana.reward(interview(&job)).at(NOW).await.is(201);
        rewarded
            .has("kind", "interview_won")
            .has("refunded", refunded)
            .has("awarded", awarded)
            .balance(60 - cost, 0);
        let mut expected = vec![format!("spend proposal {}", -cost)];
        if refunded > 0 {
            expected.push(format!("return interview_refunded {refunded}"));
            let reason = json!("interview_refunded");
            assert_eq!(returned(&ana, &job).await, (refunded, reason));
        }
        if awarded > 0 {
            expected.push(format!("issue interview_awarded {awarded}"));
        }

        // A cancel later returns what is left of the cost, and nothing twice.
        stack.close(&job, "client_cancelled").at(NOW).await.is(202);
        stack.closed(&job).await;
        if cost > refunded {
            expected.push(format!("return client_cancelled {}", cost - refunded));
            let reason = json!("client_cancelled");
            assert_eq!(returned(&ana, &job).await, (cost, reason));
        }
        assert_eq!(story(&ana, &job).await, expected);
        assert_eq!(ana.available(NOW).await, 50 + awarded);
        ana.audit().await;
    }
}

/// Cost 16 = 10 from one lot, then 6 from another: an interview returns 6 to the second and 4 to the
/// first.
#[tokio::test]
async fn what_comes_back_goes_where_it_came_from_the_last_taken_first() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-01").await;
    ana.given(10, "2052-01-02").await;
    ana.given(10, "2052-01-03").await;
    let job = stack.new_job(16, NOW).await;
    ana.propose(&job, 16).at(NOW).await.is(201);
    assert_eq!(ana.lots(NOW).await, ["4/10 promo until 2053-01-03"]);
    ana.reward(interview(&job)).at(NOW).await.is(201);
    let lots = [
        "4/10 promo until 2053-01-02",
        "10/10 promo until 2053-01-03",
    ];
    assert_eq!(ana.lots(NOW).await, lots);
    stack.close(&job, "client_cancelled").at(NOW).await.is(202);
    stack.closed(&job).await;
    let lots = [
        "10/10 promo until 2053-01-02",
        "10/10 promo until 2053-01-03",
    ];
    assert_eq!(ana.lots(NOW).await, lots);
    assert_eq!(returned(&ana, &job).await.0, 16);
    ana.audit().await;
}

#[tokio::test]
async fn a_cancel_before_the_interview_ends_the_same() {
    let stack = Stack::local();
    for (cost, awarded) in [(8, 2), (16, 0)] {
        let ana = stack.freelancer("2052-01-15").await;
        let job = stack.new_job(cost, NOW).await;
        ana.propose(&job, cost).at(NOW).await.is(201);
        stack.close(&job, "client_cancelled").at(NOW).await.is(202);
        stack.closed(&job).await;
        let rewarded = ana.reward(interview(&job)).at(NOW).await.is(201);
        rewarded
            .has("refunded", 0)
            .has("awarded", awarded)
            .balance(50 + awarded, 0);
        let reason = json!("client_cancelled");
        assert_eq!(returned(&ana, &job).await, (cost, reason));
        // Where there was nothing to give, the journal says that it was given all the same.
        let told = story(&ana, &job).await;
        let last = match awarded {
            0 => "return interview_refunded 0".to_owned(),
            _ => format!("issue interview_awarded {awarded}"),
        };
        assert_eq!(told.last(), Some(&last));
        let again = ana.reward(interview(&job)).at(NOW).await;
        again.refused(409, "reward_already_given");
        ana.audit().await;
    }
}

#[tokio::test]
async fn each_is_given_once() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let job = stack.new_job(8, NOW).await;
    ana.propose(&job, 8).at(NOW).await.is(201);
    for (body, available) in [
        (interview(&job), 52),
        (json!({ "kind": "rising_talent" }), 82),
    ] {
        let one = ana.reward(body.clone()).key("one").at(NOW);
        let answers = join_all((0..20).map(|_| async { one.clone().await })).await;
        for answer in &answers {
            assert_eq!((answer.status, &answer.text), (201, &answers[0].text));
        }
        let first_hand = answers.iter().filter(|answer| !answer.replayed()).count();
        assert_eq!(first_hand, 1);
        assert_eq!(ana.available(NOW).await, available);
        let before = ana.items().await;
        let replay = one.at("2054-01-01").await.is(201);
        assert!(replay.replayed());
        assert_eq!(replay.text, answers[0].text);
        for again in [ana.reward(body.clone()), ana.reward(body).key("two")] {
            let refused = again.at(NOW).await;
            let refused = refused.refused(409, "reward_already_given");
            assert_eq!(refused["existing"], answers[0].body);
        }
        assert_eq!(ana.items().await, before);
    }
    let mut other = interview(&job);
    other["client"]["hires"] = json!(2);
    let reused = ana.reward(other).key("one").at(NOW).await;
    reused.refused(422, "idempotency_key_reused");
    // Another account and another job have their own.
    let bea = stack.freelancer("2052-01-15").await;
    bea.propose(&job, 8).at(NOW).await.is(201);
    bea.reward(interview(&job)).key("one").at(NOW).await.is(201);
    let second = stack.new_job(8, NOW).await;
    ana.propose(&second, 8).at(NOW).await.is(201);
    ana.reward(interview(&second))
        .key("one")
        .at(NOW)
        .await
        .is(201);
}

#[tokio::test]
async fn thresholds_are_kept_and_never_told() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let job = stack.new_job(8, NOW).await;
    ana.propose(&job, 8).at(NOW).await.is(201);
    let before = ana.items().await;
    for (hires, cents) in [(0, 0), (0, 500_000), (7, 0)] {
        let mut body = interview(&job);
        body["client"] = json!({ "hires": hires, "spend": { "amount": cents, "currency": "USD" } });
        let refused = ana.reward(body).at(NOW).await;
        let refused = refused.refused(409, "reward_not_earned");
        let members = refused.body.as_object().unwrap();
        let known = ["type", "title", "status", "detail", "code"];
        assert!(
            members
                .keys()
                .all(|member| known.contains(&member.as_str()))
        );
        let detail = refused.text("detail");
        assert!(!detail.contains(|c: char| c.is_ascii_digit()), "{detail}");
    }
    assert_eq!(ana.items().await, before);
}

/// Of two things wrong the first of the list is answered.
#[tokio::test]
async fn refusals_have_their_order() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let job = stack.new_job(8, NOW).await;
    let new_client = json!({ "hires": 0, "spend": { "amount": 0, "currency": "USD" } });
    let of = |job: &str, client: &Value| json!({ "kind": "interview_won", "job_id": job, "client": client });
    // A job is not enough: this account has no proposal on it.
    let missing = ana.reward(of(&job, &new_client)).at(NOW).await;
    missing.refused(404, "proposal_not_found");
    ana.propose(&job, 8).at(NOW).await.is(201);
    ana.reward(interview(&job)).key("one").at(NOW).await.is(201);
    let not_earned = ana.reward(of(&job, &new_client)).at(NOW).await;
    not_earned.refused(409, "reward_not_earned");
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at(NOW).await.is(200);
    for (body, status, code) in [
        (of(&job, &json!({ "hires": "1" })), 400, "malformed_request"),
        (of(&job, &json!({ "hires": 1 })), 422, "invalid_field"),
        (
            of(&fresh("nowhere"), &new_client),
            404,
            "proposal_not_found",
        ),
        (of(&job, &new_client), 409, "account_suspended"),
        (interview(&job), 409, "account_suspended"),
        (json!({ "kind": "rising_talent" }), 409, "account_suspended"),
    ] {
        ana.reward(body).at(NOW).await.refused(status, code);
    }
    let replay = ana.reward(interview(&job)).key("one").at(NOW).await.is(201);
    assert!(replay.replayed());
    let reused = ana.reward(of(&job, &new_client)).key("one").at(NOW).await;
    reused.refused(422, "idempotency_key_reused");
}
