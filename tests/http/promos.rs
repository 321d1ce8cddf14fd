//! Promo codes: who may redeem which, when, and how many in all.

use connects_tests::stack::{Stack, fresh_code};
use futures::future::join_all;
use serde_json::{Value, json};

/// A grant of 15, valid in March 2052, with these terms on top.
fn march(more: Value) -> Value {
    let mut terms = json!({
        "kind": "grant", "quantity": 15,
        "valid_from": "2052-03-01T00:00:00Z", "valid_until": "2052-04-01T00:00:00Z",
    });
    let more = more.as_object().cloned().unwrap_or_default();
    terms.as_object_mut().unwrap().extend(more);
    terms
}

async fn code(stack: &Stack, more: Value) -> String {
    let code = fresh_code();
    let put = stack.put_promo(&code, march(more)).at("2052-01-01");
    put.await.is(201);
    code
}

#[tokio::test]
async fn a_grant_posts_at_once_and_costs_nothing() {
    let stack = Stack::local();
    let code = code(&stack, json!({})).await;
    let ana = stack.freelancer("2052-03-05").await;
    // Codes are read aloud and typed: case does not matter.
    let redeemed = ana
        .redeem(&code.to_lowercase())
        .at("2052-03-06")
        .await
        .is(201);
    let redeemed = redeemed.has("code", json!(code)).has("amount", 15);
    let redeemed = redeemed.balance(65, 0);
    let journal = ana.journal("2052-03-06").await;
    let entry = journal.last().unwrap();
    assert_eq!(entry["reason"], "promo_grant");
    assert_eq!(entry["reference"], format!("promo:{code}"));
    assert_eq!(
        entry["lots"],
        json!([{ "lot_id": redeemed["lot_id"], "amount": 15 }])
    );
    assert_eq!(
        ana.lots("2052-03-06").await.last().unwrap(),
        "15/15 promo until 2053-03-06"
    );
    assert_eq!(stack.redeemed(&code).await, 1);
}

#[tokio::test]
async fn the_holder_redeems_too() {
    let stack = Stack::local();
    let code = code(&stack, json!({})).await;
    let ana = stack.freelancer("2052-03-05").await;
    let token = stack.minter.token("connects", &[&ana.id]);
    let redeemed = ana.redeem(&code).token(token).at("2052-03-06").await;
    redeemed.is(201).balance(65, 0);
}

#[tokio::test]
async fn a_code_is_valid_from_its_first_instant_until_before_its_last() {
    let stack = Stack::local();
    let code = code(&stack, json!({})).await;
    for (at, refusal) in [
        ("2052-02-29T23:59:59.999Z", Some("promo_not_started")),
        ("2052-03-01T00:00:00Z", None),
        ("2052-03-31T23:59:59.999Z", None),
        ("2052-04-01T00:00:00Z", Some("promo_expired")),
    ] {
        let account = stack.agency("2052-01-10").await;
        let before = account.items().await;
        let answer = account.redeem(&code).at(at).await;
        match refusal {
            Some(refusal) => {
                answer.refused(409, refusal);
                assert_eq!(account.items().await, before, "{at}");
            }
            None => drop(answer.is(201)),
        }
    }
    assert_eq!(stack.redeemed(&code).await, 2);
}

#[tokio::test]
async fn a_code_may_be_for_some_kinds_and_plans_only() {
    let stack = Stack::local();
    let freelancer = stack.freelancer("2052-03-01").await;
    let agency = stack.agency("2052-03-01").await;
    for (more, of_freelancer, of_agency) in [
        (json!({ "kinds": ["freelancer"] }), true, false),
        (json!({ "kinds": ["agency"] }), false, true),
        (json!({ "kinds": ["agency", "freelancer"] }), true, true),
        (
            json!({ "plans": ["basic"], "kinds": ["freelancer"] }),
            true,
            false,
        ),
        (json!({ "plans": ["plus"] }), false, false),
    ] {
        let code = code(&stack, more.clone()).await;
        for (account, eligible) in [(&freelancer, of_freelancer), (&agency, of_agency)] {
            let answer = account.redeem(&code).at("2052-03-06").await;
            match eligible {
                true => drop(answer.is(201)),
                false => drop(answer.refused(409, "promo_not_eligible")),
            }
        }
        let expected = i64::from(of_freelancer) + i64::from(of_agency);
        assert_eq!(stack.redeemed(&code).await, expected, "{more}");
    }
}

#[tokio::test]
async fn a_code_may_give_lots_that_live_for_two_weeks() {
    let stack = Stack::local();
    let code = code(&stack, json!({ "lot_valid_days": 14 })).await;
    let ana = stack.agency("2052-03-01").await;
    ana.redeem(&code).at("2052-03-06").await.is(201);
    let lots = ana.lots("2052-03-06").await;
    assert_eq!(lots, ["15/15 promo until 2052-03-20"]);
    assert_eq!(ana.available("2052-03-20T23:59:59Z").await, 15);
    assert_eq!(ana.available("2052-03-21T00:00:00Z").await, 0);
}

#[tokio::test]
async fn once_per_account() {
    let stack = Stack::local();
    let code = code(&stack, json!({ "max_redemptions": 10 })).await;
    let ana = stack.agency("2052-03-01").await;
    let first = ana.redeem(&code).key("r-1").at("2052-03-06").await.is(201);
    let before = ana.items().await;
    let other = ana.redeem(&code).key("r-2").at("2052-03-07").await;
    let other = other.refused(409, "promo_already_redeemed");
    assert_eq!(other["existing"], first.body);
    let retried = ana.redeem(&code).key("r-1").at("2052-03-08").await.is(201);
    assert!(retried.replayed());
    assert_eq!(retried.body, first.body);
    assert_eq!(ana.items().await, before);
    assert_eq!(stack.redeemed(&code).await, 1);

    // Ten tries at once, each under its own key, are one redemption.
    let bea = stack.agency("2052-03-01").await;
    let tries = (0..10).map(|n| {
        let request = bea.redeem(&code).key(format!("try-{n}")).at("2052-03-06");
        async move { request.await.status }
    });
    let mut statuses = join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [&[201][..], &[409; 9]].concat());
    assert_eq!(stack.redeemed(&code).await, 2);
    assert_eq!(bea.available("2052-03-06").await, 15);
    ana.audit().await;
}

#[tokio::test]
async fn a_suspended_account_redeems_nothing() {
    let stack = Stack::local();
    let code = code(&stack, json!({})).await;
    let ana = stack.agency("2052-03-01").await;
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at("2052-03-05").await.is(200);
    let before = ana.items().await;
    let answer = ana.redeem(&code).at("2052-03-06").await;
    answer.refused(409, "account_suspended");
    assert_eq!(ana.items().await, before);
    assert_eq!(stack.redeemed(&code).await, 0);
}

#[tokio::test]
async fn unknown_codes_and_codes_for_purchases() {
    let stack = Stack::local();
    let ana = stack.agency("2052-03-01").await;
    let grant = code(&stack, json!({})).await;
    let before = ana.items().await;
    let unknown = fresh_code();
    let redeemed = ana.redeem(&unknown).at("2052-03-06").await;
    redeemed.refused(404, "promo_unknown");
    for (code, status, problem) in [
        (&unknown, 404, "promo_unknown"),
        (&grant, 409, "promo_not_eligible"),
    ] {
        let bought = ana.buy_with(json!({ "quantity": 10, "promo_code": code }));
        bought.at("2052-03-06").await.refused(status, problem);
    }
    assert_eq!(ana.items().await, before);
    let path = format!("/v1/promos/{unknown}");
    let answer = stack.admin(reqwest::Method::GET, path).await;
    answer.refused(404, "promo_unknown");
}

/// Valid in March 2052, with these members beside.
fn on_a_purchase(members: Value) -> Value {
    let mut terms = march(members);
    if terms["kind"] == "discount" {
        terms.as_object_mut().unwrap().remove("quantity");
    }
    terms
}

#[tokio::test]
async fn codes_for_purchases_are_shown_as_they_were_put() {
    let stack = Stack::local();
    let dollars = json!({ "amount": 200, "currency": "USD" });
    for (members, other) in [
        (
            json!({ "kind": "bonus", "quantity": 20, "lot_valid_days": 30 }),
            json!({ "kind": "bonus", "quantity": 25 }),
        ),
        (
            json!({ "kind": "discount", "percent_off": 20 }),
            json!({ "kind": "discount", "amount_off": dollars }),
        ),
        (
            json!({ "kind": "discount", "amount_off": dollars, "max_redemptions": 3 }),
            json!({ "kind": "discount", "amount_off": dollars, "max_redemptions": 4 }),
        ),
    ] {
        let code = fresh_code();
        let put = |members: &Value| stack.put_promo(&code, on_a_purchase(members.clone()));
        let shown = put(&members).await.is(201);
        for (member, value) in members.as_object().unwrap() {
            assert_eq!(shown[member], *value, "{members}");
        }
        assert_eq!(shown["redeemed"], 0);
        let discounts = ["percent_off", "amount_off", "quantity"];
        for member in discounts.iter().filter(|m| members.get(m).is_none()) {
            assert_eq!(shown.body.get(member), None, "{members}");
        }
        put(&members).await.is(200);
        let path = format!("/v1/promos/{code}");
        let found = stack.admin(reqwest::Method::GET, path).await.is(200);
        assert_eq!(found.body, shown.body);
        put(&other).await.is(200);
        // A grant is once for each account by its own count: no code turns into one, or from one.
        let grant = stack.put_promo(&code, march(json!({}))).await;
        grant.refused(422, "invalid_field").has("field", "kind");
        let ana = stack.agency("2052-03-01").await;
        let redeemed = ana.redeem(&code).at("2052-03-06").await;
        redeemed.refused(409, "promo_not_eligible");
    }
}

#[tokio::test]
async fn each_kind_takes_the_members_it_needs_and_no_others() {
    let stack = Stack::local();
    let dollars = json!({ "amount": 200, "currency": "USD" });
    let euros = json!({ "amount": 200, "currency": "EUR" });
    let nothing = json!({ "amount": 0, "currency": "USD" });
    for (members, code, field) in [
        (json!({ "kind": "bonus" }), "invalid_field", "quantity"),
        (
            json!({ "kind": "bonus", "quantity": 0 }),
            "below_minimum",
            "quantity",
        ),
        (
            json!({ "kind": "bonus", "quantity": 5, "percent_off": 5 }),
            "invalid_field",
            "percent_off",
        ),
        (
            json!({ "kind": "bonus", "quantity": 5, "amount_off": dollars }),
            "invalid_field",
            "amount_off",
        ),
        (
            json!({ "kind": "discount" }),
            "invalid_field",
            "percent_off",
        ),
        (
            json!({ "kind": "discount", "percent_off": 5, "amount_off": dollars }),
            "invalid_field",
            "amount_off",
        ),
        (
            json!({ "kind": "discount", "percent_off": 5, "quantity": 5 }),
            "invalid_field",
            "quantity",
        ),
        (
            json!({ "kind": "discount", "percent_off": 5, "lot_valid_days": 5 }),
            "invalid_field",
            "lot_valid_days",
        ),
        (
            json!({ "kind": "discount", "percent_off": 0 }),
            "below_minimum",
            "percent_off",
        ),
        (
            json!({ "kind": "discount", "percent_off": 101 }),
            "above_maximum",
            "percent_off",
        ),
        (
            json!({ "kind": "discount", "amount_off": euros }),
            "invalid_field",
            "amount_off.currency",
        ),
        (
            json!({ "kind": "discount", "amount_off": nothing }),
            "below_minimum",
            "amount_off.amount",
        ),
        (
            json!({ "kind": "grant", "quantity": 5, "percent_off": 5 }),
            "invalid_field",
            "percent_off",
        ),
    ] {
        let mut terms = json!({
            "valid_from": "2052-03-01T00:00:00Z", "valid_until": "2052-04-01T00:00:00Z",
        });
        let members = members.as_object().cloned().unwrap();
        terms.as_object_mut().unwrap().extend(members);
        let answer = stack.put_promo(&fresh_code(), terms.clone()).await;
        let refused = answer.refused(422, code);
        assert_eq!(refused["field"], field, "{terms}");
    }
}

#[tokio::test]
async fn the_limit_is_raised_and_lowered_but_not_below_what_is_used() {
    let stack = Stack::local();
    let code = code(&stack, json!({ "max_redemptions": 2 })).await;
    let limit = |max: i64| {
        let terms = march(json!({ "max_redemptions": max }));
        stack.put_promo(&code, terms).at("2052-03-02")
    };
    let redeem = || async {
        let account = stack.agency("2052-03-01").await;
        account.redeem(&code).at("2052-03-06").await
    };
    for _ in 0..2 {
        redeem().await.is(201);
    }
    redeem().await.refused(409, "promo_exhausted");
    limit(4).await.is(200).has("max_redemptions", 4);
    redeem().await.is(201);
    limit(2).await.refused(409, "promo_in_use");
    limit(3).await.is(200);
    redeem().await.refused(409, "promo_exhausted");
    limit(2500).await.is(200);
    redeem().await.is(201);
    assert_eq!(stack.redeemed(&code).await, 4);
}

#[tokio::test]
async fn a_race_for_the_last_redemptions_has_exactly_as_many_winners() {
    let stack = Stack::local();
    let code = code(&stack, json!({ "max_redemptions": 5 })).await;
    let mut racers = Vec::new();
    for _ in 0..24 {
        racers.push(stack.agency("2052-03-01").await);
    }
    let answers = join_all(
        racers
            .iter()
            .map(|racer| async { racer.redeem(&code).at("2052-03-06").await }),
    )
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == 201);
    assert_eq!((won.len(), lost.len()), (5, 19));
    for answer in lost {
        answer.refused(409, "promo_exhausted");
    }
    let mut in_all = 0;
    for racer in &racers {
        in_all += racer.available("2052-03-06").await;
    }
    assert_eq!(in_all, 5 * 15);
    assert_eq!(stack.redeemed(&code).await, 5);
}

#[tokio::test]
async fn a_large_campaign_counts_across_its_slots() {
    let stack = Stack::local();
    let code = code(&stack, json!({ "max_redemptions": 3000 })).await;
    for count in 1..=12 {
        let account = stack.agency("2052-03-01").await;
        account.redeem(&code).at("2052-03-06").await.is(201);
        assert_eq!(stack.redeemed(&code).await, count);
    }
}
