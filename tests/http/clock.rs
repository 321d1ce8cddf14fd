//! Test time is for tests: what is deployed keeps its own clock.

use std::path::PathBuf;
use std::process::Stdio;

use chrono::{Duration, NaiveDate, Utc};
use connects_tests::schedule;
use connects_tests::stack::Stack;
use tokio::process::Command;

#[tokio::test]
async fn deployed_functions_ignore_connects_now() {
    let stack = Stack::deployed();
    let ana = stack.holder("ana");
    let before = Utc::now().date_naive();
    let opened = ana.open("freelancer").at("2020-05-05").await.is(201);
    let after = Utc::now().date_naive();
    let starts_on = opened["billing_cycle"]["starts_on"].as_str().unwrap();
    let starts_on: NaiveDate = starts_on.parse().unwrap();
    assert!((before..=after).contains(&starts_on), "{}", opened.text);

    // A year and a half on, all of it would have expired.
    let later = (Utc::now() + Duration::days(550)).to_rfc3339();
    for now in ["2020-05-06T00:00:00Z", &later, "not a time"] {
        ana.get("").at(now).await.is(200).balance(50, 0);
        ana.spend(1).at(now).await.is(201);
        let spends = ana.journal(now).await;
        let spent = spends.last().unwrap();
        let at = spent["at"].as_str().unwrap();
        assert_eq!(at.get(..4), Some(after.to_string().split_at(4).0), "{at}");
        ana.given(1, now).await;
    }
}

#[tokio::test]
async fn the_time_of_an_event_makes_nothing_due_in_deployed_functions() {
    let _turn = schedule::turn().await;
    let stack = Stack::deployed();
    let ana = stack.holder("ana");
    let now = Utc::now().to_rfc3339();
    ana.open("freelancer").await.is(201);
    let before = ana.items().await;
    let years_on = (Utc::now() + Duration::days(800)).to_rfc3339();
    for function in ["monthly-grant", "nightly-expiry", "purchase"] {
        stack.fire(function, &years_on).await;
    }
    assert_eq!(ana.items().await, before);
    assert_eq!(ana.available(&now).await, 50);
}

#[tokio::test]
async fn a_broken_connects_now_is_refused_where_it_counts() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let before = ana.items().await;
    for now in ["yesterdayT", "2052-01-15T", "2052-13-01T00:00:00Z", "T"] {
        let answer = ana.spend(1).at(now).await;
        answer.refused(400, "malformed_request");
        let answer = ana.get("").at(now).await;
        answer.refused(400, "malformed_request");
    }
    assert_eq!(ana.items().await, before);
}

/// The local build of a function, beside the one that runs this test.
fn local_build(function: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let profile = this.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join(function)
}

#[tokio::test]
async fn a_build_with_test_time_does_not_start_in_lambda() {
    let functions = [
        "account",
        "wallet",
        "purchase",
        "spend",
        "refund",
        "redeem-promo",
        "reward",
        "plan-change",
        "job",
        "monthly-grant",
        "nightly-expiry",
    ];
    let set_by_lambda = [
        ("AWS_EXECUTION_ENV", "AWS_Lambda_rust"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
    ];
    for (function, mark) in functions
        .into_iter()
        .flat_map(|function| set_by_lambda.map(|mark| (function, mark)))
    {
        let path = local_build(function);
        assert!(path.exists(), "{}: run `cargo local test`", path.display());
        let run = Command::new(&path)
            .env_clear()
            .envs([
                mark,
                ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9"),
                ("AWS_LAMBDA_FUNCTION_NAME", function),
                ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
                ("AWS_REGION", "us-east-1"),
                ("CONNECTS_LOCAL", "1"),
                ("CONNECTS_TABLE", "connects"),
                ("CONNECTS_JWKS", "/dev/null"),
                ("CONNECTS_JWT_ISSUER", "issuer"),
                ("CONNECTS_JWT_AUDIENCE", "audience"),
            ])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let limit = std::time::Duration::from_secs(20);
        let output = tokio::time::timeout(limit, run).await;
        let output = output
            .unwrap_or_else(|_| panic!("{function} started"))
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!output.status.success(), "{function}: {said}");
        assert!(said.contains(mark.0), "{function}: {said}");
    }
}
