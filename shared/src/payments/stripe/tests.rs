//! What follows from recorded answers, in the form that Stripe documents for version [`VERSION`].

use super::answers::{Asked, Customer, Dispute, Intent, Stands, asked};
use super::event::{Event, Says, read};
use super::*;
use crate::domain::ids::{AccountId, OperationId};
use crate::domain::purchase::DisputeState;
use crate::domain::units::Money;

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("fixtures/", $name, ".json"))
    };
}

fn ours() -> (AccountId, OperationId) {
    let purchase = OperationId::try_new("pu_7owehycd6icbdywkcvldjmutru");
    (AccountId::try_new("a1").unwrap(), purchase.unwrap())
}

#[test]
fn each_answer_to_a_charge_means_one_thing() {
    let made = |stands| (Some(stands), "");
    let declined = |code| (Some(Stands::CameToNothing), code);
    for (status, body, expected) in [
        (200, recorded!("intent_succeeded"), made(Stands::Paid)),
        (200, recorded!("intent_processing"), made(Stands::UnderWay)),
        (200, recorded!("intent_canceled"), made(Stands::Declined)),
        (
            402,
            recorded!("card_declined"),
            declined("insufficient_funds"),
        ),
        (402, recorded!("expired_card"), declined("expired_card")),
        (
            402,
            recorded!("authentication_required"),
            declined("authentication_required"),
        ),
        (
            400,
            recorded!("no_such_payment_method"),
            (None, "resource_missing"),
        ),
        (
            404,
            recorded!("no_such_payment_method"),
            (None, "resource_missing"),
        ),
        (400, recorded!("idempotency_error"), (None, "unknown")),
        (409, recorded!("idempotency_key_in_use"), (None, "unknown")),
        (429, recorded!("rate_limit"), (None, "unknown")),
        (401, recorded!("api_key_expired"), (None, "unknown")),
        (403, recorded!("api_error"), (None, "unknown")),
        (500, recorded!("api_error"), (None, "unknown")),
        (503, "<html>", (None, "unknown")),
        (200, "{}", (None, "unknown")),
        (302, recorded!("intent_succeeded"), (None, "unknown")),
        // No form of a refusal makes it anything else.
        (402, "", (None, "")),
    ] {
        let body = body.as_bytes().to_vec();
        let read = match asked(&Response { status, body }) {
            Asked::Made(intent) => (Some(intent.stands()), String::new()),
            Asked::Refused { code, intent } => {
                (intent.map(|i| i.stands()), code.unwrap_or_default())
            }
            Asked::Unknown(_) => (None, "unknown".to_owned()),
        };
        let (stands, code) = expected;
        assert_eq!(read, (stands, code.to_owned()), "{status}");
    }
}

#[test]
fn each_status_of_an_intent_means_one_thing() {
    for (status, stands) in [
        ("succeeded", Stands::Paid),
        ("canceled", Stands::Declined),
        ("requires_payment_method", Stands::CameToNothing),
        ("requires_action", Stands::CameToNothing),
        ("processing", Stands::UnderWay),
        ("requires_confirmation", Stands::UnderWay),
        ("requires_capture", Stands::UnderWay),
        ("a_word_to_come", Stands::UnderWay),
    ] {
        let text = recorded!("intent_succeeded");
        let text = text.replace(
            r#""status": "succeeded""#,
            &format!(r#""status": "{status}""#),
        );
        let intent: Intent = answers::read(text.as_bytes()).unwrap();
        assert_eq!(intent.stands(), stands, "{status}");
    }
}

/// An intent counts for the purchase, account and price that it was made for, and nothing else.
#[test]
fn an_intent_is_for_one_charge() {
    let intent: Intent = answers::read(recorded!("intent_succeeded").as_bytes()).unwrap();
    let ((account, purchase), other) = (ours(), AccountId::try_new("a2").unwrap());
    let another = OperationId::try_new("pu_aaaaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
    for (account, purchase, amount, currency, is_for) in [
        (&account, &purchase, 1_500, "USD", true),
        (&other, &purchase, 1_500, "USD", false),
        (&account, &another, 1_500, "USD", false),
        (&account, &purchase, 1_501, "USD", false),
        (&account, &purchase, 1_500, "EUR", false),
    ] {
        let currency = currency.to_owned();
        let charge = Charge {
            account,
            purchase,
            price: &Money { amount, currency },
            method: "pm_x",
            customer: None,
        };
        assert_eq!(intent.is_for(&charge), is_for, "{charge:?}");
    }
}

#[test]
fn a_message_says_what_to_look_at_and_no_more() {
    let payment = |says| {
        let (account, purchase) = ours();
        Event::Payment {
            account,
            purchase,
            says,
        }
    };
    let (paid, failed) = (payment(Says::Paid), payment(Says::Failed));
    let id = "du_1PqW2v2eZvKYlo2CvWxYzAbC".to_owned();
    for (body, expected) in [
        (recorded!("event_succeeded"), Some(&paid)),
        (recorded!("event_payment_failed"), Some(&failed)),
        (
            recorded!("event_dispute_created"),
            Some(&Event::Dispute { id }),
        ),
        (recorded!("event_of_another_system"), None),
        (recorded!("event_customer_created"), None),
        ("{}", None),
        ("", None),
        (
            r#"{"type":"charge.dispute.closed","data":{"object":{}}}"#,
            None,
        ),
        (
            r#"{"type":"payment_intent.succeeded","data":{"object":{"metadata":{"account_id":"a/b","purchase_id":"x"}}}}"#,
            None,
        ),
    ] {
        match (read(body.as_bytes()), expected) {
            (Event::Other(_), None) => {}
            (event, expected) => assert_eq!(Some(&event), expected),
        }
    }
}

#[test]
fn a_dispute_counts_once_it_has_moved_money() {
    use DisputeState::{GivenBack, Taken};
    for (recorded, status, state) in [
        (
            recorded!("dispute_needs_response"),
            "needs_response",
            Some(Taken),
        ),
        (
            recorded!("dispute_needs_response"),
            "under_review",
            Some(Taken),
        ),
        (recorded!("dispute_needs_response"), "lost", Some(Taken)),
        (recorded!("dispute_won"), "won", Some(GivenBack)),
        (recorded!("dispute_warning"), "warning_needs_response", None),
        (recorded!("dispute_warning"), "warning_closed", None),
        (recorded!("dispute_warning"), "a_word_to_come", None),
    ] {
        let mut dispute: serde_json::Value = serde_json::from_str(recorded).unwrap();
        dispute["status"] = status.into();
        let about = serde_json::from_value::<Dispute>(dispute).unwrap().about();
        assert_eq!(about.as_ref().map(|about| about.state), state, "{status}");
        if let Some(about) = about {
            assert_eq!((about.account, about.purchase), ours());
        }
    }
}

#[test]
fn a_customers_default_is_that_of_its_invoices() {
    let customer: Customer = answers::read(recorded!("customer").as_bytes()).unwrap();
    let default = Some("pm_1MpQxK2eZvKYlo2CwxyzABCD".to_owned());
    assert_eq!(customer.default_method(), default);
    for none in [
        r#"{"id":"cus_x","deleted":true}"#,
        r#"{"invoice_settings":{}}"#,
    ] {
        let customer: Customer = answers::read(none.as_bytes()).unwrap();
        assert_eq!(customer.default_method(), None);
    }
}
