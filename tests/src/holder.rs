//! One account: the requests it is the subject of, and its state in a line or two.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Request;
use crate::stack::{Stack, fresh};

/// More pages than any test's listing has.
const MAX_PAGES: usize = 200;

/// An account and the person behind it.
#[derive(Debug, Clone)]
pub struct Holder<'a> {
    pub(crate) stack: &'a Stack,
    /// The account's id.
    pub id: String,
    /// The person's id.
    pub person: String,
}

impl<'a> Holder<'a> {
    pub(crate) fn new(stack: &'a Stack, id: String, person: String) -> Self {
        Self { stack, id, person }
    }

    /// Another account of the same person.
    #[must_use]
    pub fn second_account(&self) -> Self {
        Self::new(self.stack, fresh("second"), self.person.clone())
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/accounts/{}{rest}", self.id)
    }

    fn service(&self, method: Method, rest: &str) -> Request<'a> {
        self.stack.service(method, self.path(rest))
    }

    /// `PUT …` with the account's person and this kind.
    pub fn open(&self, kind: &str) -> Request<'a> {
        self.open_with(json!({ "kind": kind, "person_id": self.person }))
    }

    /// `PUT …`
    pub fn open_with(&self, body: Value) -> Request<'a> {
        self.service(Method::PUT, "").json(body)
    }

    /// `PATCH …`
    pub fn amend(&self, body: Value) -> Request<'a> {
        self.service(Method::PATCH, "").json(body)
    }

    /// `GET …` and what is under it.
    pub fn get(&self, rest: &str) -> Request<'a> {
        self.service(Method::GET, rest)
    }

    /// `POST …/spends` under a new key.
    pub fn spend(&self, amount: i64) -> Request<'a> {
        self.spend_with(json!({ "amount": amount, "reason": "application" }))
    }

    /// `POST …/spends` under a new key.
    pub fn spend_with(&self, body: Value) -> Request<'a> {
        self.service(Method::POST, "/spends")
            .key(fresh("spend"))
            .json(body)
    }

    /// `POST …/holds` under a new key.
    pub fn hold(&self, amount: i64) -> Request<'a> {
        self.hold_with(json!({ "amount": amount, "reason": "listing" }))
    }

    /// `POST …/holds` under a new key.
    pub fn hold_with(&self, body: Value) -> Request<'a> {
        self.service(Method::POST, "/holds")
            .key(fresh("hold"))
            .json(body)
    }

    /// `POST …/holds/{hold_id}/capture` without a key: the hold is the natural one.
    pub fn capture(&self, hold_id: &str, body: Value) -> Request<'a> {
        self.end_hold(hold_id, "capture", body)
    }

    /// `POST …/holds/{hold_id}/release` without a key.
    pub fn release(&self, hold_id: &str) -> Request<'a> {
        self.end_hold(hold_id, "release", json!({}))
    }

    /// Either of them.
    pub fn end_hold(&self, hold_id: &str, end: &str, body: Value) -> Request<'a> {
        self.service(Method::POST, &format!("/holds/{hold_id}/{end}"))
            .json(body)
    }

    /// `POST …/refunds` of so much of a spend, under a new key.
    pub fn refund(&self, spend_id: &str, amount: i64) -> Request<'a> {
        let body = json!({ "spend_id": spend_id, "amount": amount, "reason": "goodwill" });
        self.refund_with(body)
    }

    /// `POST …/refunds` under a new key.
    pub fn refund_with(&self, body: Value) -> Request<'a> {
        self.service(Method::POST, "/refunds")
            .key(fresh("refund"))
            .json(body)
    }

    /// `POST …/purchases` by the holder, under a new key.
    pub fn buy(&self, quantity: i64) -> Request<'a> {
        self.buy_with(json!({ "quantity": quantity }))
    }

    /// `POST …/purchases` by the holder, under a new key.
    pub fn buy_with(&self, body: Value) -> Request<'a> {
        self.stack
            .user(&[&self.id], Method::POST, self.path("/purchases"))
            .key(fresh("purchase"))
            .json(body)
    }

    /// `POST …/purchases/{purchase_id}/chargeback` by an operator.
    pub fn charge_back(&self, purchase_id: &str) -> Request<'a> {
        let path = self.path(&format!("/purchases/{purchase_id}/chargeback"));
        self.stack.admin(Method::POST, path).json(json!({}))
    }

    /// `POST …/purchases/{purchase_id}/chargeback/reversal` by an operator.
    pub fn give_back(&self, purchase_id: &str) -> Request<'a> {
        let path = self.path(&format!("/purchases/{purchase_id}/chargeback/reversal"));
        self.stack.admin(Method::POST, path).json(json!({}))
    }

    /// `POST …/proposals` without a key: the job is the natural one.
    pub fn propose(&self, job: &str, expected_cost: i64) -> Request<'a> {
        self.propose_with(json!({ "job_id": job, "expected_cost": expected_cost }))
    }

    /// `POST …/proposals` without a key.
    pub fn propose_with(&self, body: Value) -> Request<'a> {
        self.service(Method::POST, "/proposals").json(body)
    }

    /// `DELETE …/proposals/{job_id}`
    pub fn withdraw(&self, job: &str) -> Request<'a> {
        self.service(Method::DELETE, &format!("/proposals/{job}"))
    }

    /// `PUT /v1/jobs/{job_id}/bids/{account_id}` without a key: the amount is the natural one.
    pub fn bid(&self, job: &str, amount: i64) -> Request<'a> {
        let path = format!("/v1/jobs/{job}/bids/{}", self.id);
        self.stack
            .service(Method::PUT, path)
            .json(json!({ "amount": amount }))
    }

    /// `PUT …/availability-badge` by the holder.
    pub fn badge_up_to(&self, max_weekly: i64) -> Request<'a> {
        self.badge(Method::PUT)
            .json(json!({ "max_weekly": max_weekly }))
    }

    /// `GET …/availability-badge` or `DELETE` by the holder.
    pub fn badge(&self, method: Method) -> Request<'a> {
        let path = self.path("/availability-badge");
        self.stack.user(&[&self.id], method, path)
    }

    /// `PUT …/low-balance` by the holder.
    pub fn low_under(&self, body: Value) -> Request<'a> {
        self.low_balance(Method::PUT).json(body)
    }

    /// `GET …/low-balance` or `DELETE` by the holder.
    pub fn low_balance(&self, method: Method) -> Request<'a> {
        let path = self.path("/low-balance");
        self.stack.user(&[&self.id], method, path)
    }

    /// `POST …/plan-changes` under a new key.
    pub fn change_plan(&self, plan: &str) -> Request<'a> {
        self.change_plan_with(json!({ "plan": plan }))
    }

    /// `POST …/plan-changes` under a new key.
    pub fn change_plan_with(&self, body: Value) -> Request<'a> {
        self.service(Method::POST, "/plan-changes")
            .key(fresh("plan"))
            .json(body)
    }

    /// `POST …/rewards` without a key: the achievement is the natural one.
    pub fn reward(&self, body: Value) -> Request<'a> {
        self.service(Method::POST, "/rewards").json(body)
    }

    /// `POST …/redemptions`, without a key: the code is the natural one.
    pub fn redeem(&self, code: &str) -> Request<'a> {
        self.service(Method::POST, "/redemptions")
            .json(json!({ "code": code }))
    }

    /// Gives the account a lot of so many Connects, issued at that time; its id.
    pub async fn given(&self, quantity: i64, at: &str) -> String {
        let code = self.stack.grant_code(quantity, at).await;
        self.redeem(&code).at(at).await.is(201).text("lot_id")
    }

    /// What is available at that time.
    pub async fn available(&self, at: &str) -> i64 {
        let account = self.get("").at(at).await.is(200);
        account["balance"]["available"].as_i64().unwrap()
    }

    /// The live lots at that time, oldest first: `3/10 purchase until 2053-01-10`.
    pub async fn lots(&self, at: &str) -> Vec<String> {
        self.listing("/lots", "lots", at)
            .await
            .iter()
            .map(|lot| {
                let words = |member: &str| lot[member].as_str().unwrap().to_owned();
                format!(
                    "{}/{} {} until {}",
                    lot["remaining"],
                    lot["quantity"],
                    words("source"),
                    words("expires_on")
                )
            })
            .collect()
    }

    /// The whole journal as history shows it, oldest first. `at` is only the reader's clock.
    pub async fn journal(&self, at: &str) -> Vec<Value> {
        let from = "/history?from=2000-01-01&to=2099-12-31&limit=100";
        let mut entries = self.listing(from, "entries", at).await;
        entries.reverse();
        entries
    }

    /// The journal in words, oldest first: `issue signup 40 -> 40`.
    pub async fn story(&self, at: &str) -> Vec<String> {
        let tell = |entry: &Value| {
            let word = |member: &str| entry[member].as_str().unwrap().to_owned();
            format!(
                "{} {} {} -> {}",
                word("type"),
                word("reason"),
                entry["amount"],
                entry["available_after"]
            )
        };
        self.journal(at).await.iter().map(tell).collect()
    }

    /// All elements of a listing, page by page to the end.
    pub async fn listing(&self, rest: &str, member: &str, at: &str) -> Vec<Value> {
        let joint = if rest.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        let mut page = rest.to_owned();
        for _ in 0..MAX_PAGES {
            let answer = self.get(&page).at(at).await.is(200);
            all.extend(answer[member].as_array().unwrap().iter().cloned());
            match answer["next_cursor"].as_str() {
                Some(cursor) => page = format!("{rest}{joint}cursor={cursor}"),
                None => return all,
            }
        }
        panic!("{rest}: more than {MAX_PAGES} pages");
    }
}
