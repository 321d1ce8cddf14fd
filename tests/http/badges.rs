//! The availability badge: weeks paid for, renewed, run out; and what they cost.
//!
//! On this stack few badges are on, so a week costs what the policy's base says, except where a test
//! has fixed the price of its own weeks beforehand.

use connects::domain::badge::WeekPrice;
use connects::domain::units::Connects;
use connects::store::StoreError;
use connects_tests::client::Answer;
use connects_tests::holder::Holder;
use connects_tests::schedule;
use connects_tests::stack::Stack;
use futures::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};

const NOW: &str = "2052-01-16T12:00:00Z";
const NEXT_WEEK: &str = "2052-01-23T12:00:00.000Z";

fn balance(available: i64) -> Value {
    json!({ "available": available, "held": 0, "debt": 0 })
}

/// Active, maximum, price, until when, why off; and the balance.
#[track_caller]
fn tells(answer: &Answer, badge: Value, available: i64) {
    let members = ["active", "max_weekly", "price", "paid_until", "off_reason"];
    let told: Value = members
        .iter()
        .map(|member| answer[*member].clone())
        .collect();
    assert_eq!(told, badge, "{}", answer.text);
    assert_eq!(answer["balance"], balance(available), "{}", answer.text);
    assert_eq!(answer.body.as_object().unwrap().len(), 1 + members.len());
}

/// What was charged, with its reference.
async fn charges(holder: &Holder<'_>, at: &str) -> Vec<String> {
    let journal = holder.journal(at).await;
    let charged = journal.iter().filter(|entry| entry["reason"] == "badge");
    charged
        .inspect(|entry| assert_eq!(entry["type"], "spend"))
        .map(|entry| {
            format!(
                "{} {}",
                entry["amount"],
                entry["reference"].as_str().unwrap()
            )
        })
        .collect()
}

async fn price(stack: &Stack, at: &str) -> Answer {
    let price = stack.request(Method::GET, "/v1/availability-badge/price");
    price.at(at).await.is(200)
}

/// Fixes what the weeks from that Monday on cost, as if that had been asked for when they began.
async fn fix(stack: &Stack, monday: &str, prices: &[u64]) {
    let first: chrono::NaiveDate = monday.parse().unwrap();
    for (week, price) in prices.iter().enumerate() {
        let starts_on = first + chrono::Days::new(7 * week as u64);
        let price = WeekPrice {
            starts_on,
            price: Connects::new(*price),
            active: 0,
            policy_version: 1,
            fixed_at: starts_on.and_time(chrono::NaiveTime::MIN).and_utc(),
        };
        match stack.store().put_badge_price(&price).await {
            // An earlier run on this stack has done it.
            Ok(()) | Err(StoreError::Lost) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Maximum 10, weekly prices 7, 9, 11: −7, −9, then off, told once.
#[tokio::test]
async fn three_weeks_of_rising_prices() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    fix(&stack, "2046-01-01", &[7, 9, 11]).await;
    let ana = stack.freelancer("2046-01-02").await;
    let (second, third) = ("2046-01-10T12:00:00.000Z", "2046-01-17T12:00:00.000Z");
    let first = ana.badge_up_to(10).at("2046-01-03").await.is(201);
    tells(&first, json!([true, 10, 7, second, null]), 43);
    // A second before its end there is nothing to renew.
    stack.fire("badge", "2046-01-10T11:59:59Z").await;
    assert_eq!(charges(&ana, second).await.len(), 1);

    join(stack.fire("badge", second), stack.fire("badge", second)).await;
    let renewed = ana.badge(Method::GET).at(second).await.is(200);
    tells(&renewed, json!([true, 10, 9, third, null]), 34);
    stack.fire("badge", third).await;
    let off = ana.badge(Method::GET).at(third).await.is(200);
    tells(&off, json!([false, 10, 11, third, "too_dear"]), 34);
    for time in [third, "2046-01-24T12:00:00Z", "2046-02-01T12:00:00Z"] {
        stack.fire("badge", time).await;
    }
    let charged = ["-7 badge:2046-01-03", "-9 badge:2046-01-10"];
    assert_eq!(charges(&ana, third).await, charged);
    let by_reference = ana.listing("/history?reference=badge:2046-01-10", "entries", third);
    assert_eq!(by_reference.await.len(), 1);
    let told = ana.keys("SEEN#badge_off#").await;
    let [told] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(told.starts_with(&format!("SEEN#badge_off#{third}#")));

    let week = price(&stack, third).await;
    let history = json!([
        { "starts_on": "2046-01-08", "price": 9, "active": 0 },
        { "starts_on": "2046-01-01", "price": 7, "active": 0 },
    ]);
    assert_eq!(week["price"], 11);
    assert_eq!(
        week["history"].as_array().unwrap()[..2],
        history.as_array().unwrap()[..]
    );
    ana.audit().await;
}

/// An hour late, or three weeks: what was missed is not charged, and the badge does not show meanwhile.
#[tokio::test]
async fn a_late_schedule_begins_a_new_week() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    for (year, late, shows, day, until) in [
        (
            "2047-02-04",
            "2047-02-11T12:59:00.000Z",
            true,
            "2047-02-11",
            "2047-02-18T12:00:00.000Z",
        ),
        (
            "2047-03-04",
            "2047-03-11T13:00:00.000Z",
            false,
            "2047-03-11",
            "2047-03-18T13:00:00.000Z",
        ),
        (
            "2047-05-06",
            "2047-06-03T09:00:00.000Z",
            false,
            "2047-06-03",
            "2047-06-10T09:00:00.000Z",
        ),
    ] {
        let ana = stack.freelancer(year).await;
        ana.badge_up_to(1_000).at(year).await.is(201);
        let waiting = ana.badge(Method::GET).at(late).await.is(200);
        assert_eq!(waiting["active"], shows, "{}", waiting.text);
        assert_eq!(waiting["off_reason"], Value::Null);
        for _ in 0..2 {
            stack.fire("badge", late).await;
        }
        let renewed = ana.badge(Method::GET).at(late).await.is(200);
        renewed.has("active", true).has("paid_until", until);
        let charged = charges(&ana, late).await;
        assert_eq!(charged.len(), 2, "{charged:?}");
        assert!(
            charged[1].ends_with(&format!(" badge:{day}")),
            "{charged:?}"
        );
        ana.audit().await;
        ana.badge(Method::DELETE).at(late).await.is(200);
    }
}

#[tokio::test]
async fn on_off_and_on_again_within_a_paid_week() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    for method in [Method::GET, Method::DELETE] {
        let none = ana.badge(method).at(NOW).await;
        none.refused(404, "badge_not_found");
    }
    let costs = price(&stack, NOW).await.int("price");
    let on = ana.badge_up_to(20).at(NOW).await.is(201);
    let left = 50 - costs;
    let badge = |active, most, until: &str, why: Value| json!([active, most, costs, until, why]);
    tells(&on, badge(true, 20, NEXT_WEEK, Value::Null), left);
    let before = ana.items().await;
    let again = ana.badge_up_to(20).at("2052-01-18").await.is(200);
    assert_eq!(again.body, on.body);
    assert_eq!(ana.items().await, before);
    // Within the paid week the maximum may be anything.
    let lower = ana.badge_up_to(1).at("2052-01-18").await.is(200);
    tells(&lower, badge(true, 1, NEXT_WEEK, Value::Null), left);

    for _ in 0..2 {
        let off = ana.badge(Method::DELETE).at("2052-01-19").await.is(200);
        tells(&off, badge(true, 1, NEXT_WEEK, json!("turned_off")), left);
    }
    let over = ana.badge(Method::GET).at(NEXT_WEEK).await.is(200);
    tells(&over, badge(false, 1, NEXT_WEEK, json!("turned_off")), left);
    let on = ana.badge_up_to(20).at("2052-01-20").await.is(200);
    tells(&on, badge(true, 20, NEXT_WEEK, Value::Null), left);
    assert_eq!(
        charges(&ana, NOW).await,
        [format!("-{costs} badge:2052-01-16")]
    );
    // Whoever may look at the account may look at its badge.
    let path = format!("/v1/accounts/{}/availability-badge", ana.id);
    for asked in [
        stack.service(Method::GET, &path),
        stack.admin(Method::GET, &path),
    ] {
        assert_eq!(asked.at("2052-01-20").await.is(200).body, on.body);
    }
    ana.badge(Method::DELETE).at("2052-01-20").await.is(200);
    ana.audit().await;
}

#[tokio::test]
async fn many_requests_at_once_pay_one_week() {
    let stack = Stack::local();
    let ana = stack.freelancer("2052-01-15").await;
    let on = ana.badge_up_to(20).at(NOW);
    let answers = join_all((0..20).map(|_| async { on.clone().await })).await;
    let with = |status| answers.iter().filter(move |answer| answer.status == status);
    assert_eq!((with(201).count(), with(200).count()), (1, 19));
    for answer in &answers {
        assert_eq!(answer.body, answers[0].body);
    }
    assert_eq!(charges(&ana, NOW).await.len(), 1);
    ana.badge(Method::DELETE).at(NOW).await.is(200);
    ana.audit().await;
}

#[tokio::test]
async fn what_is_too_dear_or_not_covered_stays_off() {
    let stack = Stack::local();
    let costs = price(&stack, NOW).await.int("price");
    let ana = stack.freelancer("2052-01-15").await;
    let dear = ana.badge_up_to(costs - 1).at(NOW).await.is(201);
    let badge = |most: i64, why: &str| json!([false, most, costs, null, why]);
    tells(&dear, badge(costs - 1, "too_dear"), 50);
    ana.spend(51 - costs).at(NOW).await.is(201);
    let short = ana.badge_up_to(costs).at(NOW).await.is(200);
    tells(&short, badge(costs, "insufficient_connects"), costs - 1);
    let seen = ana.badge(Method::GET).at(NOW).await.is(200);
    assert_eq!(seen.body, short.body);
    // There was nothing to end, so there is nothing to tell.
    assert!(ana.keys("SEEN#badge_off#").await.is_empty());
    ana.given(1, NOW).await;
    let on = ana.badge_up_to(costs).at(NOW).await.is(200);
    tells(&on, json!([true, costs, costs, NEXT_WEEK, null]), 0);
    ana.badge(Method::DELETE).at(NOW).await.is(200);
    ana.audit().await;
}

#[tokio::test]
async fn who_is_suspended_or_in_debt_turns_nothing_on() {
    let stack = Stack::local();
    let ana = stack.agency("2052-01-15").await;
    let bought = ana.buy(20).at(NOW).await.is(201).text("purchase_id");
    ana.badge_up_to(20).at(NOW).await.is(201);
    ana.charge_back(&bought).at(NOW).await.is(200);
    let before = ana.items().await;
    let refused = ana.badge_up_to(20).at(NOW).await.refused(409, "in_debt");
    assert!(refused.int("debt") > 0);
    assert_eq!(ana.items().await, before);
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at(NOW).await.is(200);
    let refused = ana.badge_up_to(20).at(NOW).await;
    refused.refused(409, "account_suspended");
    // What is paid for shows until it is over, and can be turned off.
    let seen = ana.badge(Method::GET).at(NOW).await.is(200);
    seen.has("active", true);
    let off = ana.badge(Method::DELETE).at(NOW).await.is(200);
    off.has("active", true).has("off_reason", "turned_off");
}

#[tokio::test]
async fn a_renewal_in_a_suspension_turns_the_badge_off() {
    let _turn = schedule::turn().await;
    let stack = Stack::local();
    let ana = stack.freelancer("2047-08-05").await;
    ana.badge_up_to(100).at("2047-08-05").await.is(201);
    let suspend = ana.amend(json!({ "status": "suspended" }));
    suspend.at("2047-08-06").await.is(200);
    let over = "2047-08-12T12:00:00.000Z";
    stack.fire("badge", over).await;
    let off = ana.badge(Method::GET).at(over).await.is(200);
    off.has("active", false).has("off_reason", "suspended");
    assert_eq!(ana.keys("SEEN#badge_off#").await.len(), 1);
    assert_eq!(charges(&ana, over).await.len(), 1);
}

/// For anybody, the same through the whole week.
#[tokio::test]
async fn the_price_is_for_everybody_and_for_the_week() {
    let stack = Stack::local();
    let first = price(&stack, "2052-06-17").await;
    let week = json!({ "starts_on": "2052-06-17", "ends_on": "2052-06-23" });
    assert_eq!(first["week"], week);
    assert!(first.int("price") > 0 && first.int("active") >= 0);
    let mut members: Vec<_> = first.body.as_object().unwrap().keys().collect();
    members.sort_unstable();
    assert_eq!(members, ["active", "history", "price", "week"]);
    let asked = (0..10).map(|_| price(&stack, "2052-06-23T23:59:59.999Z"));
    for later in join_all(asked).await {
        for member in ["price", "active", "week"] {
            assert_eq!(later[member], first[member]);
        }
    }
    let next = price(&stack, "2052-06-24T00:00:00Z").await;
    assert_eq!(next["week"]["starts_on"], "2052-06-24");
    let past = &next["history"][0];
    assert_eq!(
        (&past["starts_on"], &past["price"]),
        (&json!("2052-06-17"), &first["price"])
    );
}
