//! Closing jobs: what comes back is driven by the table's stream, so the tests wait for it.

use connects_tests::holder::Holder;
use connects_tests::stack::{Stack, fresh};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const DAY: &str = "2052-01-16";

/// What an account's proposal came to: state, what came back, why or why not, what is available.
async fn told(holder: &Holder<'_>, job: &str, at: &str) -> (String, i64, String, i64) {
    let found = holder.get(&format!("/proposals/{job}")).at(at);
    let found = found.await.is(200);
    let available = found["balance"]["available"].as_i64().unwrap();
    (
        found.text("state"),
        found.int("returned"),
        found.text("return_reason"),
        available,
    )
}

fn expected(state: &str, back: i64, why: &str, available: i64) -> (String, i64, String, i64) {
    (state.to_owned(), back, why.to_owned(), available)
}

#[tokio::test]
async fn a_client_cancels_and_the_connects_are_where_they_came_from() {
    let stack = Stack::local();
    let ana = stack.agency("2055-01-01").await;
    ana.given(3, "2055-01-10").await;
    ana.given(10, "2055-02-10").await;
    let now = "2055-02-11";
    let job = stack.new_job(8, now).await;
    ana.propose(&job, 8).at(now).await.is(201).balance(5, 0);
    let closing = stack.close(&job, "client_cancelled").at(now).await.is(202);
    closing
        .has("job_id", json!(job))
        .has("connects_required", 8);
    let closed = stack.closed(&job).await;
    closed.has("returns", json!({ "done": 1, "total": 1 }));
    let lots = ["3/3 promo until 2056-01-10", "10/10 promo until 2056-02-10"];
    assert_eq!(ana.lots(now).await, lots);
    let story = ana.get(&format!("/history?reference=job:{job}")).at(now);
    let story = story.await.is(200);
    let told = |entry: &Value| {
        let words = ["type", "reason"].map(|name| entry[name].as_str().unwrap().to_owned());
        (words.join(" "), entry["amount"].as_i64().unwrap())
    };
    let entries: Vec<_> = story["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(told)
        .collect();
    let returned = ("return client_cancelled".to_owned(), 8);
    assert_eq!(entries, [returned, ("spend proposal".to_owned(), -8)]);
    ana.audit().await;

    // Again, or under another reason that gives nothing more back.
    for reason in ["client_cancelled", "fraud"] {
        stack.close(&job, reason).at(now).await.is(202);
        stack.closed(&job).await;
        assert_eq!(ana.lots(now).await, lots);
    }
    let late = ana.propose(&job, 8).at(now).await;
    late.refused(409, "job_closed");
    let other = stack.freelancer("2055-02-01").await;
    let late = other.propose(&job, 8).at(now).await;
    late.refused(409, "job_closed");
    let late = stack
        .post_job(&job, now, json!({ "connects_required": 9 }))
        .await;
    late.refused(409, "job_closed");
    ana.withdraw(&job).at(now).await.refused(409, "job_closed");
}

/// Spent 8 = 3 from a lot that has lapsed by the return, and 5 from one that has not.
#[tokio::test]
async fn what_has_lapsed_comes_back_with_thirty_days_of_grace() {
    let stack = Stack::local();
    let ana = stack.agency("2055-01-01").await;
    ana.given(3, "2055-03-10").await;
    ana.given(10, "2055-12-01").await;
    let job = stack.new_job(8, "2056-03-01").await;
    ana.propose(&job, 8).at("2056-03-01").await.is(201);
    let now = "2056-03-20";
    stack.close(&job, "client_cancelled").at(now).await.is(202);
    stack.closed(&job).await;
    assert_eq!(
        ana.lots(now).await,
        ["3/3 grace until 2056-04-19", "10/10 promo until 2056-12-01"]
    );
    ana.audit().await;
}

#[tokio::test]
async fn who_gets_something_back_follows_the_matrix() {
    let stack = Stack::local();
    for (reason, submitted, withdrawn, hired) in [
        (
            "client_cancelled",
            "had_contract",
            "withdrawn",
            "had_contract",
        ),
        ("terms_violation", "back", "back", "back"),
        ("fraud", "back", "back", "back"),
        ("expired", "job_expired", "withdrawn", "had_contract"),
        (
            "filled",
            "other_freelancer_chosen",
            "withdrawn",
            "had_contract",
        ),
    ] {
        let job = stack.new_job(8, DAY).await;
        let holders = join_all((0..3).map(|_| stack.freelancer("2052-01-15"))).await;
        for holder in &holders {
            holder.propose(&job, 8).at(DAY).await.is(201);
        }
        let [ana, ben, eva] = &holders[..] else {
            unreachable!()
        };
        ben.withdraw(&job).at(DAY).await.is(200);
        let path = format!("/v1/jobs/{job}/contracts");
        let contract = json!({ "account_id": eva.id });
        stack
            .service(Method::POST, path)
            .json(contract)
            .await
            .is(202);
        let path = format!("/v1/jobs/{job}/proposals/{}/outcome", eva.id);
        let hired_eva = json!({ "outcome": "hired" });
        stack
            .service(Method::PUT, path)
            .json(hired_eva)
            .await
            .is(200);
        stack.close(&job, reason).at(DAY).await.is(202);
        stack.closed(&job).await;
        let of = |why: &str, state: &str| match why {
            "back" => expected(state, 8, reason, 50),
            why => expected(state, 0, why, 42),
        };
        assert_eq!(
            told(ana, &job, DAY).await,
            of(submitted, "settled"),
            "{reason}"
        );
        assert_eq!(
            told(ben, &job, DAY).await,
            of(withdrawn, "withdrawn"),
            "{reason}"
        );
        assert_eq!(told(eva, &job, DAY).await, of(hired, "settled"), "{reason}");
    }
}

/// First it expires, then it turns out to be a fraud.
#[tokio::test]
async fn a_later_reason_still_gives_back() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let job = stack.new_job(8, DAY).await;
    ana.propose(&job, 8).at(DAY).await.is(201);
    for (reason, came) in [
        ("expired", expected("settled", 0, "job_expired", 42)),
        ("fraud", expected("settled", 8, "fraud", 50)),
        ("terms_violation", expected("settled", 8, "fraud", 50)),
    ] {
        stack.close(&job, reason).at(DAY).await.is(202);
        stack.closed(&job).await;
        assert_eq!(told(&ana, &job, DAY).await, came);
    }
    // A goodwill refund on top of that would be more than was paid.
    let body = json!({ "job_id": job, "reason": "goodwill" });
    let more = ana.refund_with(body).at(DAY).await;
    more.refused(409, "refund_exceeds_spend");
    ana.audit().await;
}

#[tokio::test]
async fn many_get_theirs_back_at_once() {
    let stack = Stack::local();
    let job = stack.new_job(8, DAY).await;
    let mut holders = Vec::new();
    for _ in 0..4 {
        let some = (0..10).map(|_| async {
            let holder = stack.freelancer("2052-01-15").await;
            holder.propose(&job, 8).at(DAY).await.is(201);
            holder
        });
        holders.extend(join_all(some).await);
    }
    stack.close(&job, "fraud").at(DAY).await.is(202);
    let closed = stack.closed(&job).await;
    closed.has("returns", json!({ "done": 40, "total": 40 }));
    for holder in &holders {
        assert_eq!(holder.available(DAY).await, 50);
        holder.audit().await;
    }
}

/// Whoever proposes while the job is being closed is refused, or gets it back.
#[tokio::test]
async fn a_proposal_that_races_the_closure() {
    let stack = Stack::local();
    let job = stack.new_job(8, DAY).await;
    let holders = join_all((0..12).map(|_| stack.freelancer("2052-01-15"))).await;
    let proposals = join_all(
        holders
            .iter()
            .map(|holder| async { holder.propose(&job, 8).at(DAY).await.status }),
    );
    let closing = async { stack.close(&job, "fraud").at(DAY).await.is(202) };
    let (statuses, _) = futures::join!(proposals, closing);
    let submitted = statuses.iter().filter(|status| **status == 201).count();
    assert!(
        statuses.iter().all(|status| [201, 409].contains(status)),
        "{statuses:?}"
    );
    let closed = stack.closed(&job).await;
    closed.has("returns", json!({ "done": submitted, "total": submitted }));
    for holder in &holders {
        assert_eq!(holder.available(DAY).await, 50);
    }
}

#[tokio::test]
async fn a_job_that_does_not_exist_is_not_closed() {
    let stack = Stack::local();
    for (job, reason) in [
        (fresh("job").as_str(), "fraud"),
        ("not%20an%20id", "nonsense"),
    ] {
        stack.close(job, reason).await.refused(404, "job_not_found");
    }
    let job = stack.new_job(8, DAY).await;
    let nobody = stack.close(&job, "filled").at(DAY).await.is(202);
    nobody.has("state", "closing").has("returns", Value::Null);
    let closed = stack.closed(&job).await;
    closed.has("returns", json!({ "done": 0, "total": 0 }));
}

#[tokio::test]
async fn the_return_policy_is_for_everybody() {
    let stack = Stack::local();
    let policy = stack
        .request(Method::GET, "/v1/return-policy")
        .await
        .is(200);
    let row = |reason: &str| {
        let rows = policy["rows"].as_array().unwrap();
        rows.iter()
            .find(|row| row["reason"] == reason)
            .unwrap()
            .clone()
    };
    let cancelled = json!({
        "reason": "client_cancelled", "returned": true, "includes_boost": true,
        "includes_withdrawn": false, "unless_contract": true,
    });
    assert_eq!(row("client_cancelled"), cancelled);
    for (reason, returned) in [
        ("terms_violation", true),
        ("fraud", true),
        ("expired", false),
        ("filled", false),
        ("client_declined", false),
        ("withdrawn", false),
        ("price_recalculated", false),
    ] {
        assert_eq!(row(reason)["returned"], returned, "{reason}");
    }
}
