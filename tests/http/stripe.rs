//! Payments through what stands in for Stripe: a server of its own that charges, and sends its messages
//! to the stack. It has no test time, so everything here happens today.

use std::time::Duration;

use connects::domain::ids::{AccountId, Operation, OperationId, PaymentCustomer};
use connects::domain::units::Money;
use connects::payments::stripe::secret::{Keeper, Source};
use connects::payments::{Charge, Payment, Provider, Stripe};
use connects_local::stripe::{API_KEY, WEBHOOK_SECRET};
use connects_tests::client::Answer;
use connects_tests::holder::Holder;
use connects_tests::stack::{Stack, fresh};
use connects_tests::table::unique;
use data_encoding::HEXLOWER;
use futures::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

/// A card that is always good, one that is declined when it is charged, and one whose holder would have
/// to be there.
const GOOD: &str = "4242424242424242";
const DECLINED: &str = "4000000000000341";
const ASKS: &str = "4000002500003155";

/// Accounts whose debits are confirmed, and fail, some time later.
const DEBIT: &str = "DE89370400440532013000";
const FAILED_DEBIT: &str = "DE62370400440532013001";

/// A message comes a second after what it tells; nothing takes this long unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server that stands in for Stripe.
struct Bank<'a> {
    stack: &'a Stack,
    url: &'a str,
    web: reqwest::Client,
}

impl<'a> Bank<'a> {
    fn of(stack: &'a Stack) -> Self {
        Self {
            stack,
            url: stack.stripe.as_deref().unwrap(),
            web: reqwest::Client::new(),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.web.request(method, format!("{}{path}", self.url));
        let answer = request.bearer_auth(API_KEY).json(&body).send().await;
        let text = answer.unwrap().text().await.unwrap();
        match text.is_empty() {
            true => Value::Null,
            false => serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}")),
        }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, body).await
    }

    /// A customer without anything to pay with.
    async fn customer(&self) -> String {
        let customer = self.post("/v1/customers", json!({ "email": "payer@example.org" }));
        customer.await["id"].as_str().unwrap().to_owned()
    }

    /// A method of a customer's, by its card's or account's number.
    async fn method(&self, customer: &str, number: &str) -> String {
        let details = match number.starts_with("DE") {
            true => json!({
                "type": "sepa_debit", "sepa_debit": { "iban": number },
                "billing_details": { "email": "payer@example.org", "name": "Payer" },
            }),
            false => json!({
                "type": "card",
                "card": { "number": number, "exp_month": 12, "exp_year": 2035, "cvc": "123" },
            }),
        };
        let method = self.post("/v1/payment_methods", details).await;
        let id = method["id"].as_str().unwrap().to_owned();
        let attach = format!("/v1/payment_methods/{id}/attach");
        self.post(&attach, json!({ "customer": customer })).await;
        id
    }

    /// An account, opened today, whose holder pays with that by default.
    async fn payer(&self, number: &str) -> (Holder<'a>, String) {
        let customer = self.customer().await;
        let method = self.method(&customer, number).await;
        let settings = json!({ "invoice_settings": { "default_payment_method": method } });
        self.post(&format!("/v1/customers/{customer}"), settings)
            .await;
        let holder = self.stack.holder("payer");
        let open = json!({
            "kind": "agency", "person_id": holder.person, "payment_customer": customer,
        });
        holder.open_with(open).await.is(201);
        (holder, customer)
    }

    /// The amounts and states of what a customer was to be charged.
    async fn charges(&self, customer: &str) -> Vec<(i64, String)> {
        let path = format!("/v1/payment_intents?customer={customer}&limit=100");
        let page = self.ask(Method::GET, &path, json!({})).await;
        let intents = page["data"].as_array().unwrap().iter();
        let told = |intent: &Value| {
            let status = intent["status"].as_str().unwrap().to_owned();
            (intent["amount"].as_i64().unwrap(), status)
        };
        intents.map(told).collect()
    }

    async fn lose(&self, customer: &str, before: bool) {
        let which = json!({ "customer": customer, "before": before });
        self.post("/_config/lost", which).await;
    }
}

/// Waits until a purchase says so.
async fn comes(holder: &Holder<'_>, purchase: &str, member: &str, value: Value) -> Answer {
    let path = format!("/purchases/{purchase}");
    let polling = async {
        loop {
            let found = holder.get(&path).await.is(200);
            if found[member] == value {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, polling).await;
    found.unwrap_or_else(|_| panic!("{purchase} never has {member} {value}"))
}

async fn issued(holder: &Holder<'_>, purchase: &str) -> usize {
    let path = format!("/history?reference=purchase:{purchase}");
    let history = holder.get(&path).await.is(200);
    let entries = history["entries"].as_array().unwrap().iter();
    entries.filter(|entry| entry["type"] == "issue").count()
}

fn now() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn signature(secret: &str, at: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    format!(
        "t={at},v1={}",
        HEXLOWER.encode(&mac.finalize().into_bytes())
    )
}

/// What a message with that signature is answered: status, and code if it is a refusal.
async fn told(stack: &Stack, signature: Option<String>, body: &str) -> (u16, Option<String>) {
    let url = format!("{}/v1/webhooks/stripe", stack.url());
    let mut request = reqwest::Client::new().post(url).body(body.to_owned());
    if let Some(signature) = signature {
        request = request.header("stripe-signature", signature);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    (status, body["code"].as_str().map(str::to_owned))
}

fn message(kind: &str, account: &str, purchase: &str) -> String {
    let metadata = json!({ "account_id": account, "purchase_id": purchase });
    json!({
        "id": fresh("evt"), "object": "event", "type": kind,
        "data": { "object": { "id": "pi_x", "object": "payment_intent", "metadata": metadata } },
    })
    .to_string()
}

macro_rules! stripe_or_done {
    () => {
        match Stack::charging_by_stripe() {
            Some(stack) => stack,
            None => return eprintln!("left out: nothing stands in for Stripe"),
        }
    };
}

#[tokio::test]
async fn a_saved_method_is_charged_once() {
    let stack = stripe_or_done!();
    let bank = Bank::of(&stack);
    let (payer, customer) = bank.payer(GOOD).await;
    let request = payer.buy(37);
    let bought = request.clone().await.is(201);
    bought.has("status", "paid").balance(37, 0);
    let bought = request.await.is(201);
    assert!(bought.replayed());
    let other = bank.method(&customer, GOOD).await;
    let named = json!({ "quantity": 10, "payment_method": other });
    payer.buy_with(named).await.is(201).balance(47, 0);
    let succeeded = |cents| (cents, "succeeded".to_owned());
    let charges = bank.charges(&customer).await;
    assert_eq!(charges, [succeeded(150), succeeded(555)]);

    // Its messages come as often as they like.
    let purchase = bought.text("purchase_id");
    let storm = (0..20).map(async |_| {
        let body = message("payment_intent.succeeded", &payer.id, &purchase);
        told(&stack, Some(signature(WEBHOOK_SECRET, now(), &body)), &body).await
    });
    assert!(
        join_all(storm)
            .await
            .iter()
            .all(|(status, _)| *status == 200)
    );
    assert_eq!(issued(&payer, &purchase).await, 1);
    payer.audit().await;
}

#[tokio::test]
async fn what_is_declined_is_cancelled_and_final() {
    let stack = stripe_or_done!();
    let bank = Bank::of(&stack);
    for number in [DECLINED, ASKS] {
        let (payer, customer) = bank.payer(number).await;
        let request = payer.buy(10);
        let refused = request.clone().await.refused(402, "payment_declined");
        let purchase = refused["purchase"]["purchase_id"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            bank.charges(&customer).await,
            [(150, "canceled".to_owned())]
        );
        // Whatever the messages say.
        for kind in ["payment_intent.payment_failed", "payment_intent.succeeded"] {
            let body = message(kind, &payer.id, &purchase);
            let signature = signature(WEBHOOK_SECRET, now(), &body);
            assert_eq!(told(&stack, Some(signature), &body).await.0, 200);
        }
        request.await.refused(402, "payment_declined");
        assert_eq!(issued(&payer, &purchase).await, 0);
    }
    // A method that there is not, and one of somebody else's.
    let (payer, customer) = bank.payer(GOOD).await;
    let (_, another) = bank.payer(GOOD).await;
    let anothers = bank.method(&another, GOOD).await;
    for method in ["pm_none", &anothers] {
        let body = json!({ "quantity": 10, "payment_method": method });
        let refused = payer.buy_with(body).await;
        refused.refused(402, "payment_declined");
    }
    for customer in [customer, another] {
        assert!(bank.charges(&customer).await.is_empty());
    }
}

#[tokio::test]
async fn who_has_nothing_to_pay_with_begins_nothing() {
    let stack = stripe_or_done!();
    let bank = Bank::of(&stack);
    let nobody = stack.holder("nobody");
    nobody.open("agency").await.is(201);
    let without_default = stack.holder("payer");
    without_default.open("agency").await.is(201);
    let customer = bank.customer().await;
    let amend = json!({ "payment_customer": customer });
    without_default.amend(amend).await.is(200);
    let unknown = stack.holder("unknown");
    unknown.open("agency").await.is(201);
    let amend = json!({ "payment_customer": "cus_none" });
    unknown.amend(amend).await.is(200);
    let method = |name: &str| json!({ "quantity": 10, "payment_method": name });
    let any = json!({ "quantity": 10 });
    for (holder, body) in [
        (&nobody, any.clone()),
        (&nobody, method("pm_x")),
        (&without_default, any.clone()),
        (&unknown, any),
        (&without_default, method("sandbox_approve")),
        (&without_default, method("pm_")),
        (&without_default, method("pm_x/../y")),
    ] {
        let items = holder.items().await;
        let refused = holder.buy_with(body).await.refused(422, "invalid_field");
        refused.has("field", "payment_method");
        assert_eq!(holder.items().await, items);
    }
    assert!(bank.charges(&customer).await.is_empty());
}

/// Nobody asks again: Stripe's message is what settles it.
#[tokio::test]
async fn a_debit_is_settled_by_its_message() {
    let stack = stripe_or_done!();
    let bank = Bank::of(&stack);
    for (number, ends, charged) in [
        (DEBIT, "paid", "succeeded"),
        (FAILED_DEBIT, "declined", "canceled"),
    ] {
        let (payer, customer) = bank.payer(number).await;
        let bought = payer.buy(20).await.is(202).has("status", "pending");
        comes(&payer, &bought.text("purchase_id"), "status", ends.into()).await;
        assert_eq!(bank.charges(&customer).await, [(300, charged.to_owned())]);
        payer.audit().await;
    }
}

/// The answer of a charge is lost, or the request never arrives: one charge in the end, and one lot.
#[tokio::test]
async fn a_lost_answer_is_found_again() {
    let stack = stripe_or_done!();
    let bank = Bank::of(&stack);
    for before in [false, true] {
        let (payer, customer) = bank.payer(GOOD).await;
        bank.lose(&customer, before).await;
        let bought = payer.buy(20).await.is(202).has("status", "pending");
        let purchase = bought.text("purchase_id");
        if before {
            assert!(bank.charges(&customer).await.is_empty());
            let body = message("payment_intent.processing", &payer.id, &purchase);
            let signature = signature(WEBHOOK_SECRET, now(), &body);
            assert_eq!(told(&stack, Some(signature), &body).await.0, 200);
        }
        comes(&payer, &purchase, "status", "paid".into()).await;
        let succeeded = (300, "succeeded".to_owned());
        assert_eq!(bank.charges(&customer).await, [succeeded]);
        assert_eq!(issued(&payer, &purchase).await, 1);
        payer.audit().await;
    }
}

/// 100 bought, 70 spent: 30 revoked, 70 owed. The bank changes its mind: 30 are back, nothing is owed.
#[tokio::test]
async fn a_dispute_takes_and_gives_back() {
    let stack = stripe_or_done!();
    let bank = Bank::of(&stack);
    let (payer, customer) = bank.payer(GOOD).await;
    let bought = payer.buy(100).await.is(201);
    let purchase = bought.text("purchase_id");
    payer.spend(70).await.is(201);
    let path = format!("/v1/payment_intents?customer={customer}");
    let intents = bank.ask(Method::GET, &path, json!({})).await;
    let about = json!({ "payment_intent": intents["data"][0]["id"] });
    let dispute = bank.post("/_config/disputes", about).await;
    let taken = comes(&payer, &purchase, "status", "charged_back".into()).await;
    taken.balance(0, 70);
    payer.spend(1).await.refused(409, "in_debt");

    let won = json!({ "id": dispute["id"], "status": "won" });
    bank.post("/_config/disputes", won).await;
    let back = comes(&payer, &purchase, "chargeback_reversed", true.into()).await;
    back.has("status", "paid").balance(30, 0);
    payer.spend(30).await.is(201);

    // What was said of it before comes again, and changes nothing.
    let body = json!({
        "type": "charge.dispute.created", "data": { "object": { "id": dispute["id"] } },
    });
    let body = body.to_string();
    for _ in 0..3 {
        let signature = signature(WEBHOOK_SECRET, now(), &body);
        assert_eq!(told(&stack, Some(signature), &body).await.0, 200);
    }
    payer.get("").await.is(200).balance(0, 0);
    payer.audit().await;
}

#[tokio::test]
async fn a_message_is_believed_when_it_is_signed() {
    let stack = stripe_or_done!();
    let body = message(
        "payment_intent.succeeded",
        "nobody",
        "pu_7owehycd6icbdywkcvldjmutru",
    );
    let other = json!({ "type": "customer.created", "data": { "object": {} } }).to_string();
    let signed = |at: i64, body: &str| Some(signature(WEBHOOK_SECRET, at, body));
    let refused = (400, Some("signature_invalid".to_owned()));
    let long = " ".repeat(64 * 1024 + 1);
    for (signature, body, expected) in [
        // Of no purchase here, of nothing that matters, of no form: received, or it would come again.
        (signed(now(), &body), &body, (200, None)),
        (signed(now(), &other), &other, (200, None)),
        (signed(now(), "no JSON"), &"no JSON".to_owned(), (200, None)),
        (None, &body, refused.clone()),
        (signed(now(), &other), &body, refused.clone()),
        (signed(now() - 330, &body), &body, refused.clone()),
        (Some(signature("whsec_other", now(), &body)), &body, refused),
        (
            signed(now(), &long),
            &long,
            (413, Some("body_too_large".to_owned())),
        ),
    ] {
        assert_eq!(told(&stack, signature, body).await, expected);
    }
    // The sandbox sends no messages.
    let sandbox = told(&Stack::local(), signed(now(), &body), &body).await;
    assert_eq!(sandbox, (400, Some("signature_invalid".to_owned())));
}

/// The provider by itself: asked again it finds its charge, given up it can't be paid any more.
#[tokio::test]
async fn a_charge_is_found_or_given_up() {
    let stack = stripe_or_done!();
    let bank = Bank::of(&stack);
    let secrets = json!({ "api_key": API_KEY, "webhook_secrets": [WEBHOOK_SECRET] });
    let file = std::env::temp_dir().join(format!("{}.json", unique()));
    std::fs::write(&file, secrets.to_string()).unwrap();
    let keeper = Keeper::new(Source::File(file.clone())).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    let stripe = Stripe::new(bank.url.to_owned(), keeper);
    let customer = bank.customer().await;
    let payer = PaymentCustomer::try_new(&customer).unwrap();
    let methods = [
        bank.method(&customer, GOOD).await,
        bank.method(&customer, DEBIT).await,
    ];
    let account = AccountId::try_new(&fresh("payer")).unwrap();
    let price = Money {
        amount: 150,
        currency: "USD".to_owned(),
    };
    for (n, method, lost, expected) in [
        // Paid and asked again; paid and given up; lost and given up; never arrived and given up.
        (
            0,
            &methods[0],
            None,
            [Payment::Paid, Payment::Paid, Payment::Paid],
        ),
        (
            1,
            &methods[0],
            Some(false),
            [Payment::Open, Payment::Paid, Payment::Paid],
        ),
        (
            2,
            &methods[0],
            Some(true),
            [Payment::Open, Payment::Paid, Payment::Paid],
        ),
    ] {
        let purchase = OperationId::derive(&account, Operation::Purchase, &n.to_string());
        let charge = Charge {
            account: &account,
            purchase: &purchase,
            price: &price,
            method,
            customer: Some(&payer),
        };
        if let Some(before) = lost {
            bank.lose(&customer, before).await;
        }
        let said = [
            stripe.charge(&charge).await,
            stripe.again(&charge).await,
            stripe.cancel(&charge).await,
        ];
        assert_eq!(said, expected, "{n}");
    }
    let never = OperationId::derive(&account, Operation::Purchase, "never");
    let charge = Charge {
        account: &account,
        purchase: &never,
        price: &price,
        method: &methods[1],
        customer: Some(&payer),
    };
    assert_eq!(stripe.cancel(&charge).await, Payment::Declined);
    assert_eq!(stripe.charge(&charge).await, Payment::Open);
    let charges = bank.charges(&customer).await;
    assert_eq!(charges.len(), 4, "{charges:?}");
}
