//! Members of the wrong type, out of range, or not of the required form.

use connects_tests::stack::Stack;
use serde_json::{Value, json};

use crate::world::world;

/// A member's value, what it is answered with, and the member at fault.
type Case = (&'static str, Value, u16, &'static str);

/// Values that no whole number from 1 to a million is.
fn bad_amounts(field: &'static str, minimum: i64) -> Vec<Case> {
    let not_a_whole_number = [
        "10.5",
        "10.0",
        "1e1",
        "-0.0",
        "9223372036854775808",
        "1e300",
    ]
    .map(|text| {
        (
            field,
            serde_json::from_str(text).unwrap(),
            400,
            "malformed_request",
        )
    });
    let mut cases = Vec::from(not_a_whole_number);
    for value in [
        json!("10"),
        json!(true),
        json!([10]),
        json!({ "n": 10 }),
        json!(""),
    ] {
        cases.push((field, value, 400, "malformed_request"));
    }
    for value in [0, -1, minimum - 1, i64::MIN] {
        cases.push((field, json!(value), 422, "below_minimum"));
    }
    for value in [1_000_001, i64::MAX] {
        cases.push((field, json!(value), 422, "above_maximum"));
    }
    cases
}

/// What is not a text of the required form.
fn bad_texts(field: &'static str, bad: &[&str]) -> Vec<Case> {
    let mut cases: Vec<Case> = [json!(5), json!(true), json!([]), json!({})]
        .map(|value| (field, value, 400, "malformed_request"))
        .into();
    cases.extend(
        bad.iter()
            .map(|text| (field, json!(text), 422, "invalid_field")),
    );
    cases.push((field, Value::Null, 422, "invalid_field"));
    cases
}

fn cases() -> Vec<(&'static str, Vec<Case>)> {
    let long = "x".repeat(65);
    let ids = [
        "",
        "has space",
        "slash/ed",
        "ünicode",
        "tab\t",
        "nul\0",
        long.as_str(),
    ];
    let instants = ["yesterday", "2052-01-01", "2052-13-01T00:00:00Z", ""];
    let null = |field| (field, Value::Null, 422, "invalid_field");
    let reason = "r".repeat(41);
    let reasons = [
        "",
        "Proposal",
        "with space",
        "proposal",
        "boost",
        "badge",
        "9",
        reason.as_str(),
    ];
    let hold_reasons = ["", "Listing", "with space", "boost", "9", reason.as_str()];
    let references = ["", "nocolon", ":", "job:", ":J", "job:has space", "Job:J"];
    vec![
        ("spend", bad_amounts("amount", 1)),
        ("spend", vec![null("amount")]),
        ("spend", bad_texts("reason", &reasons)),
        ("spend", bad_texts("reference", &references)),
        ("hold", bad_amounts("amount", 1)),
        ("hold", vec![null("amount")]),
        ("hold", bad_texts("reason", &hold_reasons)),
        ("hold", bad_texts("reference", &references)),
        ("hold", bad_texts("expires_at", &instants)),
        // A time that has passed, and the very instant.
        (
            "hold",
            bad_texts(
                "expires_at",
                &["2052-02-01T11:59:59.999Z", "2052-02-01T12:00:00Z"],
            ),
        ),
        ("capture", bad_amounts("amount", 1)),
        (
            "capture",
            vec![
                null("amount"),
                // It holds 2.
                ("amount", json!(3), 422, "above_maximum"),
            ],
        ),
        ("badge on", bad_amounts("max_weekly", 1)),
        ("badge on", vec![null("max_weekly")]),
        ("low balance on", bad_amounts("threshold", 1)),
        ("low balance on", vec![null("threshold")]),
        ("purchase", bad_amounts("quantity", 10)),
        ("purchase", vec![null("quantity")]),
        (
            "purchase",
            bad_texts("promo_code", &["", "A", "under_score", long.as_str()]),
        ),
        (
            "purchase",
            bad_texts("payment_method", &["", "cash", "SANDBOX_APPROVE"]),
        ),
        ("refund", bad_amounts("amount", 1)),
        (
            "refund",
            bad_texts("reason", &["", "because", "Goodwill", "fraud"]),
        ),
        ("refund", bad_texts("spend_id", &[])),
        (
            "redeem",
            bad_texts("code", &["", "A", "under_score", long.as_str()]),
        ),
        ("open", bad_texts("kind", &["", "robot", "Freelancer"])),
        ("open", bad_texts("person_id", &ids)),
        (
            "open",
            bad_texts("email", &["", "nobody", "two words@example.org"]),
        ),
        (
            "open",
            bad_texts(
                "opened_on",
                &["", "2052-02-30", "2052-1-1", "today", "2052-02-02"],
            ),
        ),
        ("amend", bad_texts("status", &["", "closed", "Active"])),
        ("amend", bad_texts("email", &["", "nobody", "a@b@c"])),
        (
            "put promo",
            bad_texts("kind", &["", "gift", "Bonus", "discounts"]),
        ),
        ("put promo", bad_amounts("quantity", 1)),
        ("put promo", bad_texts("valid_from", &instants)),
        ("put promo", bad_texts("valid_until", &instants)),
        (
            "put promo",
            bad_texts(
                "valid_until",
                &["2019-12-31T00:00:00Z", "2020-01-01T00:00:00Z"],
            ),
        ),
        (
            "put promo",
            vec![
                ("max_redemptions", json!(0), 422, "below_minimum"),
                ("max_redemptions", json!(-1), 422, "below_minimum"),
                ("max_redemptions", json!("10"), 400, "malformed_request"),
                ("max_redemptions", json!(1.5), 400, "malformed_request"),
                ("lot_valid_days", json!(0), 422, "below_minimum"),
                ("lot_valid_days", json!(-14), 422, "below_minimum"),
                ("lot_valid_days", json!("14"), 400, "malformed_request"),
                ("kinds", json!("agency"), 400, "malformed_request"),
                ("kinds", json!([5]), 400, "malformed_request"),
                ("kinds", json!(["robot"]), 422, "invalid_field"),
                ("plans", json!({}), 400, "malformed_request"),
                ("plans", json!(["gold"]), 422, "invalid_field"),
            ],
        ),
        ("post job", bad_texts("posted_at", &instants)),
        // A job that is there was posted when it was.
        (
            "post job",
            vec![(
                "posted_at",
                json!("2052-02-01T12:00:01Z"),
                422,
                "invalid_field",
            )],
        ),
        (
            "post job",
            bad_texts("contract_kind", &["", "salaried", "Fixed"]),
        ),
        (
            "post job",
            vec![
                ("budget", json!(500), 400, "malformed_request"),
                ("budget", json!({ "amount": 0.5 }), 400, "malformed_request"),
                ("duration_weeks", json!(1.5), 400, "malformed_request"),
                ("duration_weeks", json!("6"), 400, "malformed_request"),
                ("duration_weeks", json!(0), 422, "below_minimum"),
                ("duration_weeks", json!(521), 422, "above_maximum"),
                ("connects_required", json!("8"), 400, "malformed_request"),
                ("connects_required", json!(-1), 422, "below_minimum"),
                ("connects_required", json!(1_000_001), 422, "above_maximum"),
            ],
        ),
        ("contract", bad_texts("account_id", &ids)),
        (
            "close",
            bad_texts(
                "reason",
                &["", "closed", "Fraud", "goodwill", "client_declined"],
            ),
        ),
        ("propose", bad_texts("job_id", &ids)),
        (
            "propose",
            bad_texts("free_reason", &["", "Invited", "zero_cost_job"]),
        ),
        (
            "propose",
            vec![
                ("expected_cost", json!("8"), 400, "malformed_request"),
                ("expected_cost", json!(8.5), 400, "malformed_request"),
                ("expected_cost", json!(-1), 422, "below_minimum"),
                ("expected_cost", json!(1_000_001), 422, "above_maximum"),
                null("expected_cost"),
                ("boost", json!("5"), 400, "malformed_request"),
                ("boost", json!(0), 422, "below_minimum"),
                ("boost", json!(1_000_001), 422, "above_maximum"),
            ],
        ),
        ("bid", bad_amounts("amount", 1)),
        ("bid", vec![null("amount")]),
        ("reward", bad_texts("kind", &["", "luck", "Rising_talent"])),
        ("reward", bad_texts("job_id", &ids)),
        (
            "reward",
            vec![
                null("client"),
                ("client", json!(1), 400, "malformed_request"),
                ("client", json!([]), 400, "malformed_request"),
                ("client", json!({ "hires": 1.5 }), 400, "malformed_request"),
            ],
        ),
        ("change plan", bad_texts("plan", &["", "gold", "Plus"])),
        (
            "change plan",
            bad_texts("effective", &["", "later", "next_cycle"]),
        ),
        (
            "change plan",
            bad_texts("reason", &["", "because", "payment_failed"]),
        ),
        (
            "decide",
            bad_texts("outcome", &["", "declined", "withdrawn", "Hired"]),
        ),
    ]
}

#[tokio::test]
async fn values_of_the_wrong_type_and_values_out_of_range() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    for (name, cases) in cases() {
        let route = world.route(name);
        for (field, value, status, code) in cases {
            let mut body = route.body.clone().unwrap();
            body[field] = value.clone();
            let request = world.good(route).json(body);
            let request = request.about(format!("{field} {value}"));
            let answer = request.await.refused(status, code);
            if status == 422 {
                answer.has("field", field);
            }
        }
    }
    for (name, field) in [
        ("spend", "amount"),
        ("spend", "reason"),
        ("hold", "amount"),
        ("hold", "reason"),
        ("badge on", "max_weekly"),
        ("low balance on", "threshold"),
        ("purchase", "quantity"),
        ("refund", "reason"),
        ("redeem", "code"),
        ("open", "kind"),
        ("open", "person_id"),
        ("put promo", "kind"),
        ("put promo", "quantity"),
        ("put promo", "valid_from"),
        ("put promo", "valid_until"),
        ("post job", "posted_at"),
        ("post job", "contract_kind"),
        ("contract", "account_id"),
        ("close", "reason"),
        ("propose", "job_id"),
        ("propose", "expected_cost"),
        ("reward", "kind"),
        ("reward", "job_id"),
        ("reward", "client"),
        ("change plan", "plan"),
        ("decide", "outcome"),
        ("bid", "amount"),
    ] {
        let route = world.route(name);
        let mut body = route.body.clone().unwrap();
        body.as_object_mut().unwrap().remove(field);
        let answer = world.good(route).json(body).await;
        answer.refused(422, "invalid_field").has("field", field);
    }
    assert_eq!(world.ana.items().await, before);
}

#[tokio::test]
async fn a_whole_number_is_written_as_one() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    for number in [
        "10.0",
        "10.5",
        "1e1",
        "1E+1",
        "0.1e2",
        "1e400",
        "9223372036854775808",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "+5",
        "05",
        "0x5",
        "5_0",
        "\"5\"",
        "Infinity",
        "",
    ] {
        for (name, field) in [
            ("spend", "amount"),
            ("purchase", "quantity"),
            ("refund", "amount"),
        ] {
            let route = world.route(name);
            let mut body = route.body.clone().unwrap();
            body[field] = json!("the number");
            let body = body.to_string().replace("\"the number\"", number);
            let answer = world.good(route).raw(body).about(number).await;
            answer.refused(400, "malformed_request");
        }
    }
    assert_eq!(world.ana.items().await, before);
}

#[tokio::test]
async fn a_job_states_its_cost_or_has_details_in_the_currency_of_the_shop() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let money = |currency: &str| json!({ "amount": 500, "currency": currency });
    for (field, value, at_fault) in [
        ("connects_required", json!(8), "contract_kind"),
        ("budget", money("EUR"), "budget.currency"),
        ("budget", money("usd"), "budget.currency"),
        ("budget", json!({ "currency": "USD" }), "budget.amount"),
    ] {
        let route = world.route("post job");
        let mut body = route.body.clone().unwrap();
        body[field] = value;
        let answer = world.good(route).json(body).await;
        answer.refused(422, "invalid_field").has("field", at_fault);
    }
}

#[tokio::test]
async fn an_interview_names_its_job_and_a_client_in_the_currency_of_the_shop() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    let interview = world.route("reward").body.clone().unwrap();
    let with = |hires: Value, amount: Value, currency: &str| {
        let mut body = interview.clone();
        body["client"] =
            json!({ "hires": hires, "spend": { "amount": amount, "currency": currency } });
        body
    };
    let of_kind = |kind: &str, without: &str| {
        let mut body = interview.clone();
        body["kind"] = json!(kind);
        body.as_object_mut().unwrap().remove(without);
        body
    };
    for (body, code, field) in [
        (
            with(json!(-1), json!(1), "USD"),
            "below_minimum",
            "client.hires",
        ),
        (
            with(Value::Null, json!(1), "USD"),
            "invalid_field",
            "client.hires",
        ),
        (
            with(json!(1), json!(-1), "USD"),
            "below_minimum",
            "client.spend.amount",
        ),
        (
            with(json!(1), json!(i64::MAX), "USD"),
            "above_maximum",
            "client.spend.amount",
        ),
        (
            with(json!(1), json!(1), "EUR"),
            "invalid_field",
            "client.spend.currency",
        ),
        (
            with(json!(1), json!(1), "usd"),
            "invalid_field",
            "client.spend.currency",
        ),
        (
            of_kind("rising_talent", "client"),
            "invalid_field",
            "job_id",
        ),
        (
            of_kind("skill_certification", "job_id"),
            "invalid_field",
            "client",
        ),
    ] {
        let answer = world.good(world.route("reward")).json(body).await;
        answer.refused(422, code).has("field", field);
    }
    assert_eq!(world.ana.items().await, before);
}

#[tokio::test]
async fn a_top_up_must_help_be_for_sale_and_fit_its_cap() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    let good = world.route("low balance on").body.clone().unwrap();
    let cap = |amount: Value, currency: &str| json!({ "amount": amount, "currency": currency });
    for (member, value, status, code) in [
        ("quantity", json!(9), 422, "below_minimum"),
        ("quantity", json!(1_000_001), 422, "above_maximum"),
        ("quantity", json!("10"), 400, "malformed_request"),
        ("quantity", Value::Null, 422, "invalid_field"),
        ("monthly_cap", json!(150), 400, "malformed_request"),
        ("monthly_cap", Value::Null, 422, "invalid_field"),
        (
            "monthly_cap.amount",
            cap(json!(0), "USD"),
            422,
            "below_minimum",
        ),
        (
            "monthly_cap.amount",
            cap(json!(149), "USD"),
            422,
            "below_minimum",
        ),
        (
            "monthly_cap.amount",
            cap(json!(100_000_001), "USD"),
            422,
            "above_maximum",
        ),
        (
            "monthly_cap.currency",
            cap(json!(150), "EUR"),
            422,
            "invalid_field",
        ),
        (
            "monthly_cap.currency",
            cap(json!(150), "usd"),
            422,
            "invalid_field",
        ),
        ("payment_method", json!("cash"), 422, "invalid_field"),
        ("payment_method", json!(""), 422, "invalid_field"),
        ("payment_method", json!(5), 400, "malformed_request"),
        ("surprise", json!(1), 422, "unknown_field"),
    ] {
        let mut body = good.clone();
        let name = member.split('.').next().unwrap();
        body["top_up"][name] = value.clone();
        let request = world.good(world.route("low balance on")).json(body);
        let answer = request.about(format!("{member} {value}")).await;
        let answer = answer.refused(status, code);
        if status == 422 {
            answer.has("field", format!("top_up.{member}").as_str());
        }
    }
    // Fewer than the threshold would leave the balance low.
    let mut body = good.clone();
    body["threshold"] = json!(11);
    let answer = world.good(world.route("low balance on")).json(body).await;
    answer
        .refused(422, "below_minimum")
        .has("field", "top_up.quantity");
    for top_up in [json!(1), json!([]), json!("on")] {
        let body = json!({ "threshold": 10, "top_up": top_up });
        let answer = world.good(world.route("low balance on")).json(body).await;
        answer.refused(400, "malformed_request");
    }
    assert_eq!(world.ana.items().await, before);
}

#[tokio::test]
async fn basic_at_once_is_for_a_failed_payment_alone() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    for (body, field) in [
        (json!({ "plan": "basic", "effective": "now" }), "effective"),
        (
            json!({ "plan": "basic", "effective": "now", "reason": "requested" }),
            "effective",
        ),
        (
            json!({ "plan": "basic", "effective": "next_cycle", "reason": "payment_failed" }),
            "effective",
        ),
        (
            json!({ "plan": "plus", "effective": "now", "reason": "payment_failed" }),
            "reason",
        ),
    ] {
        let answer = world.good(world.route("change plan")).json(body).await;
        answer.refused(422, "invalid_field").has("field", field);
    }
    assert_eq!(world.ana.items().await, before);
}

#[tokio::test]
async fn a_refund_is_of_a_spend_or_of_a_job() {
    let stack = Stack::local();
    let world = world(&stack).await;
    let before = world.ana.items().await;
    let spend = world.route("refund").body.clone().unwrap()["spend_id"].clone();
    for body in [
        json!({ "reason": "goodwill" }),
        json!({ "reason": "goodwill", "spend_id": spend, "job_id": "J-1" }),
        json!({ "reason": "goodwill", "job_id": "not an id" }),
    ] {
        let answer = world.good(world.route("refund")).json(body).await;
        answer.refused(422, "invalid_field");
    }
    assert_eq!(world.ana.items().await, before);
}
