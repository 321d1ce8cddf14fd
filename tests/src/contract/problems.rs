//! Every problem there is: its document as it is sent, and what its documents have in common.

use std::collections::BTreeMap;

use connects::domain::hold::HoldView;
use connects::domain::promo::{PromoView, RedeemAnswer};
use connects::domain::proposal::ProposalView;
use connects::domain::purchase::PurchaseView;
use connects::domain::refusal::{Invalid, Refusal};
use connects::domain::reward::RewardAnswer;
use connects::domain::units::Connects;
use connects::http::Problem;
use connects::http::input::MAX_BODY;
use connects::http::problem::Unauthenticated;
use schemars::{SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::of;

/// A problem as the document has it.
pub struct Known {
    pub status: u16,
    pub example: Value,
    pub schema: Value,
}

/// The name of a problem's schema: `Problem.account_not_found`.
pub fn name(code: &str) -> String {
    format!("Problem.{code}")
}

/// One of each.
fn all() -> Vec<Problem> {
    let connects = Connects::new;
    let out_of = |value| Invalid::range("amount", value, 1, 1_000_000).expect("out of range");
    let balance = |available| json!({ "available": available, "held": 0, "debt": 0 });
    let purchase = |status: &str, available: u32| {
        json!({
            "purchase_id": "pu_7owehycd6icbdywkcvldjmutru", "status": status, "quantity": 20, "bonus": 0,
            "price": { "amount": 300, "currency": "USD" }, "discount": { "amount": 0, "currency": "USD" },
            "lot_id": if status == "declined" { Value::Null } else { "5-0".into() },
            "balance": balance(available),
        })
    };
    let refusals = [
        Refusal::AccountNotFound,
        Refusal::PurchaseNotFound,
        Refusal::SpendNotFound,
        Refusal::ProposalNotFound,
        Refusal::HoldNotFound,
        Refusal::BadgeNotFound,
        Refusal::JobNotFound,
        Refusal::PromoUnknown,
        Refusal::AccountExists,
        Refusal::AccountSuspended,
        Refusal::InDebt { debt: connects(7) },
        Refusal::InsufficientConnects {
            available: connects(3),
            required: connects(8),
        },
        Refusal::RefundExceedsSpend {
            returnable: connects(5),
        },
        Refusal::JobClosed,
        Refusal::AlreadyProposed {
            existing: json!({
                "job_id": "J1", "cost": 8, "free_reason": null, "boost": null, "boost_state": null,
                "boost_charged": 0, "state": "submitted", "outcome": null, "returned": 0,
                "return_reason": null, "balance": balance(42),
            }),
        },
        Refusal::PriceChanged {
            expected: connects(8),
            required: connects(10),
        },
        Refusal::AuctionClosed,
        Refusal::BidNotRaised { bid: connects(11) },
        Refusal::BidTooLow {
            required: connects(12),
        },
        Refusal::HoldNotOpen {
            existing: json!({
                "hold_id": "ho_7b6yqi5vuvrrbvxqp7w2b2uwlm", "amount": 8, "captured": 5, "state": "captured",
                "balance": balance(45),
            }),
        },
        Refusal::PlanUnchanged,
        Refusal::RewardAlreadyGiven {
            existing: json!({
                "kind": "rising_talent", "refunded": 0, "awarded": 30, "balance": balance(80),
            }),
        },
        Refusal::RewardNotEarned,
        Refusal::PromoNotStarted,
        Refusal::PromoExpired,
        Refusal::PromoExhausted,
        Refusal::PromoAlreadyRedeemed {
            existing: json!({
                "code": "SPRING-26", "amount": 15, "lot_id": "6-0", "balance": balance(40),
            }),
        },
        Refusal::PromoNotEligible,
        Refusal::PromoInUse { redeemed: 4 },
        Refusal::PromoExists {
            existing: json!({
                "code": "SPRING-26", "kind": "grant", "quantity": 15,
                "valid_from": "2026-01-01T00:00:00.000Z", "valid_until": "2027-06-01T00:00:00.000Z",
                "max_redemptions": null, "kinds": null, "plans": null, "lot_valid_days": null,
                "single_use_codes": 10_000, "redeemed": 4,
            }),
        },
        Refusal::PurchaseNotPaid,
        Refusal::AlreadyChargedBack {
            existing: purchase("charged_back", 5),
        },
        Refusal::PaymentDeclined {
            purchase: purchase("declined", 25),
        },
        Refusal::IdempotencyKeyReused,
        Refusal::RateLimited { retry_after: 360 },
        Invalid::field("reason", "must match [a-z_]{1,40}").into(),
        out_of(0).into(),
        out_of(1_000_001).into(),
    ];
    let mut all: Vec<Problem> = refusals.into_iter().map(Problem::from).collect();
    all.extend([
        Unauthenticated::Missing.into(),
        Problem::forbidden(),
        Problem::not_found(),
        Problem::body_too_large(MAX_BODY),
        Problem::malformed("amount must be a whole number without fraction or exponent"),
        Problem::key_required(),
        Problem::key_invalid(),
        Problem::invalid_cursor(),
        Problem::unknown_field("amuont"),
        Problem::busy(),
        Problem::internal(&"an example"),
    ]);
    all
}

/// Every problem, by its code.
pub fn known(generator: &mut SchemaGenerator) -> BTreeMap<&'static str, Known> {
    let known = all().into_iter().map(|problem| {
        let example = serde_json::to_value(&problem).expect("a document");
        let schema = schema(&problem, &example, generator);
        let status = problem.status();
        (
            problem.code(),
            Known {
                status,
                example,
                schema,
            },
        )
    });
    known.collect()
}

fn schema(problem: &Problem, example: &Value, generator: &mut SchemaGenerator) -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let mut properties = Map::from_iter([
        ("type".to_owned(), json!({ "const": example["type"] })),
        ("title".to_owned(), text("The code in words.")),
        ("status".to_owned(), json!({ "const": problem.status() })),
        (
            "detail".to_owned(),
            text("What is wrong with this request, for a person to read."),
        ),
        ("code".to_owned(), json!({ "const": problem.code() })),
    ]);
    let further = example.as_object().expect("an object").keys();
    let further: Vec<String> = further
        .filter(|name| !properties.contains_key(*name))
        .cloned()
        .collect();
    properties.extend(further.into_iter().map(|name| {
        let schema = member(problem.code(), &name, generator);
        (name, schema)
    }));
    json!({
        "type": "object",
        "required": properties.keys().collect::<Vec<_>>(),
        "properties": properties,
    })
}

/// What a problem has beyond what all have.
fn member(code: &str, name: &str, generator: &mut SchemaGenerator) -> Value {
    let schema = match (code, name) {
        (_, "field") => {
            return json!({
                "type": "string",
                "description": "The member, query parameter or path segment at fault; `price.currency` for one within another.",
            });
        }
        (_, "redeemed") => {
            return json!({ "type": "integer", "minimum": 0, "description": "Redemptions there are." });
        }
        (_, "available" | "required" | "debt" | "returnable" | "bid" | "expected") => {
            of::<Connects>(generator)
        }
        ("already_proposed", "existing") => of::<ProposalView>(generator),
        ("hold_not_open", "existing") => of::<HoldView>(generator),
        ("reward_already_given", "existing") => of::<RewardAnswer>(generator),
        // What the account used the code for.
        ("promo_already_redeemed", "existing") => json_schema!({
            "anyOf": [of::<RedeemAnswer>(generator), of::<PurchaseView>(generator)],
        }),
        ("promo_exists", "existing") => of::<PromoView>(generator),
        ("already_charged_back", "existing") | ("payment_declined", "purchase") => {
            of::<PurchaseView>(generator)
        }
        _ => panic!("{code}: what is {name}?"),
    };
    schema.to_value()
}
