//! What the world is told: events on the bus, and mails to holders.

use connects_local::aws::{Mail, Told};
use connects_local::project::Project;
use connects_tests::cloud::until;
use connects_tests::stack::{Stack, fresh};
use reqwest::Method;
use serde_json::{Value, json};

const NOW: &str = "2052-03-04";

/// What was told, as far as a line tells it.
fn lines(events: &[Told]) -> Vec<String> {
    let line = |told: &Told| {
        let detail = &told.detail;
        let [seq, amount, after] = ["seq", "amount", "available_after"].map(|name| &detail[name]);
        format!("{seq} {} {amount} {after}", told.detail_type)
    };
    events.iter().map(line).collect()
}

/// Every event has the form that is published for it.
fn have_their_form(events: &[Told]) {
    let folder = Project::find().unwrap().root().join("infra/events");
    for Told {
        detail_type,
        detail,
    } in events
    {
        let text = std::fs::read_to_string(folder.join(format!("{detail_type}.json"))).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        let form = jsonschema::validator_for(&schema).unwrap();
        let wrong: Vec<String> = form.iter_errors(detail).map(|it| it.to_string()).collect();
        assert!(wrong.is_empty(), "{detail_type}: {wrong:?} in {detail}");
    }
}

#[tokio::test]
async fn every_entry_is_told_in_order_in_its_published_form() {
    let stack = Stack::local();
    let ana = stack.holder("ana");
    let mut subscriber = stack.subscribe(&ana.id).await;
    ana.open("freelancer").at(NOW).await.is(201);
    for amount in 1..=5 {
        ana.spend(amount).at(NOW).await.is(201);
    }
    let events = until(&mut subscriber, 8).await;
    assert_eq!(
        lines(events),
        [
            "1 connects.account 0 0",
            "2 connects.issue 40 40",
            "3 connects.issue 10 50",
            "4 connects.spend -1 49",
            "5 connects.spend -2 47",
            "6 connects.spend -3 44",
            "7 connects.spend -4 40",
            "8 connects.spend -5 35",
        ]
    );
    have_their_form(events);
    let last = &events[7].detail;
    assert_eq!(last["event_id"], format!("{}:8", ana.id));
    assert_eq!(last["account_id"], ana.id);
}

#[tokio::test]
async fn a_holder_is_written_to_once_about_each_cause_in_their_language() {
    let stack = Stack::local();
    let ana = stack.holder("ana");
    let address = format!("{}@example.org", ana.id);
    let mut subscriber = stack.subscribe(&ana.id).await;
    let opening = json!({ "kind": "freelancer", "person_id": ana.person, "email": address });
    ana.open_with(opening).at(NOW).await.is(201);
    // Two lots, one grant, one mail.
    let mails = stack.mails(&address, 1).await;
    assert_eq!(mails[0].subject, "You have 50 new Connects");

    let path = format!("/v1/accounts/{}/mail-preferences", ana.id);
    let chosen = json!({ "locale": "es-MX", "muted": ["reward", "promo"] });
    let preferring = stack
        .user(&[&ana.id], Method::PUT, &path)
        .json(chosen.clone());
    let told = preferring.at(NOW).await.is(200);
    assert_eq!(told["muted"], json!(["reward", "promo"]));
    ana.given(7, NOW).await;
    let bought = ana.buy(100).at(NOW).await.is(201);
    let mails = stack.mails(&address, 2).await;
    assert_eq!(mails[1].subject, "Recibo de 100 Connects");
    let text = &mails[1].text;
    assert!(text.contains("Pagado: USD 15.00."), "{text}");
    assert!(text.contains(&bought.text("purchase_id")), "{text}");
    let html = &mails[1].html;
    assert!(
        html.starts_with("<!doctype html>\n<html lang=\"es\">"),
        "{html}"
    );

    let spend = ana.spend(8).at(NOW).await.is(201);
    ana.refund(&spend.text("spend_id"), 8).at(NOW).await.is(201);
    let mails = stack.mails(&address, 3).await;
    assert_eq!(mails[2].subject, "Le volvieron 8 Connects");
    let text = &mails[2].text;
    assert!(
        text.contains("El motivo: un gesto de buena voluntad."),
        "{text}"
    );

    // However often it is told: all events once more, and then something new.
    for told in until(&mut subscriber, 7).await {
        let (kind, detail) = (&told.detail_type, &told.detail);
        stack.queue_mail("connects", kind, detail).await;
    }
    let spend = ana.spend(3).at(NOW).await.is(201);
    ana.refund(&spend.text("spend_id"), 3).at(NOW).await.is(201);
    let mails = stack.mails(&address, 4).await;
    let subjects: Vec<&str> = mails.iter().map(|mail| &*mail.subject).collect();
    assert_eq!(subjects[3..], ["Le volvieron 3 Connects"]);
    let unfilled = |mail: &Mail| format!("{mail:?}").contains("{{");
    assert!(!mails.iter().any(unfilled), "{mails:?}");
}

#[tokio::test]
async fn an_address_from_which_mail_comes_back_gets_no_more_and_another_does() {
    let stack = Stack::local();
    let ana = stack.holder("ana");
    let [dead, alive] = ["dead", "alive"].map(|name| format!("{}@example.org", fresh(name)));
    let opening = json!({ "kind": "freelancer", "person_id": ana.person, "email": dead });
    ana.open_with(opening).at(NOW).await.is(201);
    stack.mails(&dead, 1).await;
    let bounce = json!({
        "mail": { "destination": [dead] },
        "bounce": { "bounceType": "Permanent", "bouncedRecipients": [{ "emailAddress": dead }] },
    });
    stack.queue_mail("aws.ses", "Email Bounced", &bounce).await;
    stack.addresses_lost(&dead).await;
    ana.buy(10).at(NOW).await.is(201);
    ana.amend(json!({ "email": alive })).at(NOW).await.is(200);
    ana.buy(20).at(NOW).await.is(201);
    let mails = stack.mails(&alive, 1).await;
    // The first receipt came before the new address or after it; the old one has got none.
    assert!(mails[0].subject.starts_with("Receipt for"));
    assert_eq!(stack.mails(&dead, 1).await.len(), 1);
}

#[tokio::test]
async fn preferences_are_checked_and_kept() {
    let stack = Stack::local();
    let ana = stack.freelancer(NOW).await;
    let path = format!("/v1/accounts/{}/mail-preferences", ana.id);
    let put = |body: Value| {
        stack
            .user(&[&ana.id], Method::PUT, &path)
            .json(body)
            .at(NOW)
    };
    let get = || stack.user(&[&ana.id], Method::GET, &path).at(NOW);
    let none = json!({ "locale": null, "muted": [], "required": ["receipt"] });
    assert_eq!(get().await.is(200).body, none);
    for (body, field) in [
        (json!({ "muted": ["receipt"] }), "muted"),
        (json!({ "muted": ["news"] }), "muted"),
        (json!({ "muted": [] }), "muted"),
        (json!({ "locale": "english please" }), "locale"),
        (json!({ "locale": "e" }), "locale"),
        (json!({ "locale": "1x" }), "locale"),
    ] {
        put(body)
            .await
            .refused(422, "invalid_field")
            .has("field", field);
    }
    put(json!({ "language": "en" }))
        .await
        .refused(422, "unknown_field");
    put(json!({ "muted": "promo" }))
        .await
        .refused(400, "malformed_request");
    assert_eq!(get().await.is(200).body, none);
    let chosen = json!({ "locale": "pt-BR", "muted": ["promo", "grant", "promo"] });
    let kept = json!({ "locale": "pt-BR", "muted": ["grant", "promo"], "required": ["receipt"] });
    assert_eq!(put(chosen).await.is(200).body, kept);
    assert_eq!(get().await.is(200).body, kept);
    // What an account's own changes leave alone.
    ana.amend(json!({ "status": "suspended" }))
        .at(NOW)
        .await
        .is(200);
    assert_eq!(get().await.is(200).body, kept);
    assert_eq!(put(json!({})).await.is(200).body, none);
}
