//! The operations: which code reads their requests, what they answer, and how they refuse.

use std::collections::BTreeSet;

use connects::domain::account::AccountView;
use connects::domain::auction::AuctionView;
use connects::domain::badge::{BadgeView, PriceView};
use connects::domain::bid::BidView;
use connects::domain::closure::ReturnPolicyView;
use connects::domain::codes::CodesAnswer;
use connects::domain::hold::HoldView;
use connects::domain::ids::AccountId;
use connects::domain::job::JobView;
use connects::domain::journal::EntryView;
use connects::domain::lot::LotView;
use connects::domain::low_balance::LowBalanceView;
use connects::domain::plan_change::PlanChangeAnswer;
use connects::domain::policy::{BUILT_IN, Catalog, Policy};
use connects::domain::promo::{PromoView, RedeemAnswer};
use connects::domain::proposal::ProposalView;
use connects::domain::purchase::PurchaseView;
use connects::domain::refund::RefundAnswer;
use connects::domain::reward::RewardAnswer;
use connects::domain::spend::SpendAnswer;
use connects::http::input::Fields;
use connects::http::page::Listing;
use connects::http::shape::{self, Shape};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::of;
use crate::gateway as function;

const USER: &str = "connects";
const SERVICE: &str = "connects:service";
const ADMIN: &str = "connects:admin";

/// What operations are about, in the order in which one meets it.
pub const TAGS: [(&str, &str); 11] = [
    (
        "Accounts",
        "Holders of Connects: opened by the marketplace's backend, read by whoever may.",
    ),
    ("Purchases", "Connects for money."),
    (
        "Spends",
        "Connects used for whatever the marketplace charges for, and given back.",
    ),
    ("Holds", "Connects set aside, then used or released."),
    (
        "Proposals",
        "What a freelancer or agency submits on a job, and pays for.",
    ),
    (
        "Boosts",
        "Bids for the first places among the proposals on a job.",
    ),
    (
        "Jobs",
        "What proposals are submitted on: priced, contracted, closed.",
    ),
    ("Badge", "The availability badge, paid week by week."),
    ("Promo codes", "Connects for a code."),
    (
        "Plans and rewards",
        "What membership and achievements bring.",
    ),
    ("Contract", "This document."),
];

type Read = Box<dyn Fn(&mut SchemaGenerator) -> Shape>;

/// What a request to an operation brings beside its path.
pub enum Input {
    /// Nothing, and a query parameter is refused.
    Nothing,
    /// Query parameters.
    Query(Read),
    /// Members of a JSON object.
    Body(Read),
}

/// Whether an idempotency key goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// It makes no difference.
    Idle,
    /// A retry is known by it, or else by what it asks for.
    Possible,
    /// There has to be one.
    Needed,
}

/// An operation of the contract.
pub struct Operation {
    /// Its name, as a client would call the function.
    pub id: &'static str,
    /// What it is about.
    pub tag: &'static str,
    /// The method, in capitals.
    pub method: &'static str,
    /// The path, ids in braces.
    pub path: &'static str,
    /// Each of them opens it; none means that no token is needed.
    pub scopes: &'static [&'static str],
    /// What is read.
    pub input: Input,
    /// The statuses of success, and when each is answered.
    pub statuses: &'static [(u16, &'static str)],
    /// What is answered then.
    pub answers: fn(&mut SchemaGenerator) -> Schema,
    /// Whether it is also to be had as CSV.
    pub csv: bool,
    /// The operations that one goes on with, by their names.
    pub leads_to: &'static [&'static str],
    key: Key,
    refusals: &'static [&'static str],
}

const OK: &[(u16, &str)] = &[(200, "Done.")];
const FOUND: &[(u16, &str)] = &[(200, "As it stands.")];
const DONE: &[(u16, &str)] = &[(201, "Done.")];
const NEW_OR_NOT: &[(u16, &str)] = &[(200, "It was there; so it is now."), (201, "It is new.")];
const NOTED: &[(u16, &str)] = &[(202, "Noted; what follows from it is on its way.")];
const BOUGHT: &[(u16, &str)] = &[
    (201, "Paid, and its Connects are there."),
    (
        202,
        "Not known to be paid yet: ask for the purchase, or send this again under the same key.",
    ),
];

impl Operation {
    fn new(
        (method, path): (&'static str, &'static str),
        id: &'static str,
        scopes: &'static [&'static str],
        statuses: &'static [(u16, &'static str)],
        answers: fn(&mut SchemaGenerator) -> Schema,
    ) -> Self {
        Self {
            id,
            tag: "",
            method,
            path,
            scopes,
            input: Input::Nothing,
            statuses,
            answers,
            csv: false,
            leads_to: &[],
            key: Key::Idle,
            refusals: &[],
        }
    }

    fn body<T>(self, read: impl Fn(Fields) -> T + 'static) -> Self {
        let input = Input::Body(Box::new(move |generator| shape::of(generator, &read)));
        Self { input, ..self }
    }

    fn query<T>(self, read: impl Fn(Fields) -> T + 'static) -> Self {
        let input = Input::Query(Box::new(move |generator| shape::of(generator, &read)));
        Self { input, ..self }
    }

    fn takes_a_key(self) -> Self {
        Self {
            key: Key::Possible,
            ..self
        }
    }

    fn needs_a_key(self) -> Self {
        Self {
            key: Key::Needed,
            ..self
        }
    }

    fn also_csv(self) -> Self {
        Self { csv: true, ..self }
    }

    fn refuses(self, refusals: &'static [&'static str]) -> Self {
        Self { refusals, ..self }
    }

    fn leads_to(self, leads_to: &'static [&'static str]) -> Self {
        assert!(self.leads_to.is_empty(), "{} leads elsewhere", self.id);
        Self { leads_to, ..self }
    }

    /// The names of the ids in its path.
    pub fn ids(&self) -> impl Iterator<Item = &'static str> {
        let parts = self.path.split('/');
        parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// Whether it can't be without an idempotency key.
    pub fn needs_key(&self) -> bool {
        self.key == Key::Needed
    }

    /// Whether its answer can be that of an earlier request.
    pub fn is_replayed(&self) -> bool {
        self.key != Key::Idle
    }

    /// The codes of all its refusals, having read that.
    pub fn codes(&self, read: &Shape) -> BTreeSet<&'static str> {
        let mut codes: BTreeSet<_> = self.refusals.iter().copied().collect();
        codes.extend(["internal", "malformed_request", "unknown_field"]);
        if !self.scopes.is_empty() {
            codes.extend(["unauthenticated", "forbidden"]);
        }
        // Whoever has a token is asked for in the table or at the issuer's.
        if self.id != "getContract" && self.id != "getReturnPolicy" {
            codes.insert("busy");
        }
        // What is no account's id is none of an existing account's; but of one to be opened it is a bad value.
        codes.extend(self.path.contains("{account_id}").then_some(match self.id {
            "openAccount" => "invalid_field",
            _ => "account_not_found",
        }));
        if let Input::Body(_) = self.input {
            codes.extend(["body_too_large", "idempotency_key_invalid"]);
        }
        match self.key {
            Key::Idle => {}
            Key::Possible => codes.extend(["idempotency_key_reused"]),
            Key::Needed => codes.extend(["idempotency_key_required", "idempotency_key_reused"]),
        }
        if !read.0.is_empty() {
            codes.insert("invalid_field");
        }
        let limits = |limit: &str| {
            read.0
                .iter()
                .any(|field| has(field.schema.as_value(), limit))
        };
        codes.extend(limits("minimum").then_some("below_minimum"));
        codes.extend(limits("maximum").then_some("above_maximum"));
        codes
    }
}

/// Whether a schema, or one within it, sets that limit.
fn has(schema: &serde_json::Value, limit: &str) -> bool {
    let within = |name: &str| {
        schema[name]
            .as_object()
            .into_iter()
            .flat_map(|members| members.values())
    };
    schema.get(limit).is_some() || within("properties").any(|member| has(member, limit))
}

/// A page of a list.
fn page<T: JsonSchema>(name: &str, generator: &mut SchemaGenerator) -> Schema {
    let element = of::<T>(generator).to_value();
    json_schema!({
        "type": "object",
        "required": [name, "next_cursor"],
        "properties": {
            name: { "type": "array", "items": element },
            "next_cursor": {
                "type": ["string", "null"],
                "description": "The next page's `cursor`; `null` where the list ends.",
            },
        },
    })
}

/// Of all routes, in the order in which one meets them.
pub fn operations() -> Vec<Operation> {
    type O = Operation;
    const ACCOUNT: &str = "/v1/accounts/{account_id}";
    let about = |tag: &'static str, operations: Vec<O>| {
        operations
            .into_iter()
            .map(move |operation| O { tag, ..operation })
    };
    let policy = Policy::parse(BUILT_IN).expect("the built-in policy");
    let promos = policy.promos.clone();
    let somebody = AccountId::try_new("a1").expect("an id");
    about(
        "Accounts",
        vec![
            O::new(
                ("PUT", ACCOUNT),
                "openAccount",
                &[SERVICE],
                NEW_OR_NOT,
                of::<AccountView>,
            )
            .body(function::account::particulars)
            .leads_to(&[
                "getAccount",
                "listLots",
                "listHistory",
                "purchase",
                "propose",
                "redeem",
            ])
            .refuses(&["account_exists"]),
            O::new(
                ("PATCH", ACCOUNT),
                "amendAccount",
                &[SERVICE],
                OK,
                of::<AccountView>,
            )
            .body(function::account::changes),
            O::new(
                ("GET", ACCOUNT),
                "getAccount",
                &[USER, SERVICE, ADMIN],
                FOUND,
                of::<AccountView>,
            ),
            O::new(
                ("GET", "/v1/accounts/{account_id}/lots"),
                "listLots",
                &[USER, SERVICE, ADMIN],
                FOUND,
                |generator| page::<LotView>("lots", generator),
            )
            .query(|query| function::wallet::lots::asked(query, &Listing::of(&[])))
            .refuses(&["invalid_cursor"]),
            O::new(
                ("GET", "/v1/accounts/{account_id}/history"),
                "listHistory",
                &[USER, SERVICE, ADMIN],
                FOUND,
                |generator| page::<EntryView>("entries", generator),
            )
            .query(move |query| function::wallet::history::asked(query, &somebody))
            .also_csv()
            .refuses(&["invalid_cursor", "rate_limited"]),
            O::new(
                ("PUT", "/v1/accounts/{account_id}/low-balance"),
                "setLowBalance",
                &[USER, SERVICE],
                OK,
                of::<LowBalanceView>,
            )
            .body(function::account::low_balance)
            .leads_to(&["getLowBalance", "clearLowBalance"]),
            O::new(
                ("GET", "/v1/accounts/{account_id}/low-balance"),
                "getLowBalance",
                &[USER, SERVICE, ADMIN],
                FOUND,
                of::<LowBalanceView>,
            ),
            O::new(
                ("DELETE", "/v1/accounts/{account_id}/low-balance"),
                "clearLowBalance",
                &[USER, SERVICE],
                OK,
                of::<LowBalanceView>,
            ),
        ],
    )
    .chain(about(
        "Purchases",
        vec![
            O::new(
                ("GET", "/v1/catalog"),
                "getCatalog",
                &[USER, SERVICE, ADMIN],
                FOUND,
                of::<Catalog>,
            )
            .query(function::wallet::buyer),
            O::new(
                ("POST", "/v1/accounts/{account_id}/purchases"),
                "purchase",
                &[USER],
                BOUGHT,
                of::<PurchaseView>,
            )
            .body(function::purchase::command)
            .leads_to(&["getPurchase", "chargeBack"])
            .needs_a_key()
            .refuses(&[
                "payment_declined",
                "promo_unknown",
                "account_suspended",
                "promo_not_started",
                "promo_expired",
                "promo_not_eligible",
                "promo_already_redeemed",
                "promo_exhausted",
                "rate_limited",
            ]),
            O::new(
                ("GET", "/v1/accounts/{account_id}/purchases/{purchase_id}"),
                "getPurchase",
                &[USER, SERVICE, ADMIN],
                FOUND,
                of::<PurchaseView>,
            )
            .refuses(&["purchase_not_found"]),
            O::new(
                (
                    "POST",
                    "/v1/accounts/{account_id}/purchases/{purchase_id}/chargeback",
                ),
                "chargeBack",
                &[ADMIN],
                OK,
                of::<PurchaseView>,
            )
            .body(nothing)
            .takes_a_key()
            .refuses(&[
                "purchase_not_found",
                "purchase_not_paid",
                "already_charged_back",
            ]),
        ],
    ))
    .chain(about(
        "Spends",
        vec![
            O::new(
                ("POST", "/v1/accounts/{account_id}/spends"),
                "spend",
                &[SERVICE],
                DONE,
                of::<SpendAnswer>,
            )
            .body(function::spend::command)
            .needs_a_key()
            .refuses(&["account_suspended", "in_debt", "insufficient_connects"]),
            O::new(
                ("POST", "/v1/accounts/{account_id}/refunds"),
                "refund",
                &[SERVICE, ADMIN],
                DONE,
                of::<RefundAnswer>,
            )
            .body(function::refund::command)
            .needs_a_key()
            .refuses(&[
                "spend_not_found",
                "proposal_not_found",
                "refund_exceeds_spend",
            ]),
        ],
    ))
    .chain(about(
        "Holds",
        vec![
            O::new(
                ("POST", "/v1/accounts/{account_id}/holds"),
                "hold",
                &[SERVICE],
                DONE,
                of::<HoldView>,
            )
            .body(function::spend::holds::command)
            .needs_a_key()
            .leads_to(&["captureHold", "releaseHold"])
            .refuses(&["account_suspended", "in_debt", "insufficient_connects"]),
            O::new(
                ("POST", "/v1/accounts/{account_id}/holds/{hold_id}/capture"),
                "captureHold",
                &[SERVICE],
                OK,
                of::<HoldView>,
            )
            .body(function::spend::holds::used)
            .takes_a_key()
            .refuses(&["hold_not_found", "hold_not_open"]),
            O::new(
                ("POST", "/v1/accounts/{account_id}/holds/{hold_id}/release"),
                "releaseHold",
                &[SERVICE],
                OK,
                of::<HoldView>,
            )
            .body(nothing)
            .takes_a_key()
            .refuses(&["hold_not_found", "hold_not_open"]),
        ],
    ))
    .chain(about(
        "Proposals",
        vec![
            O::new(
                ("POST", "/v1/accounts/{account_id}/proposals"),
                "propose",
                &[USER, SERVICE],
                DONE,
                of::<ProposalView>,
            )
            .body(|body| function::spend::proposals::command(body, true))
            .leads_to(&[
                "getProposal",
                "withdrawProposal",
                "decideProposal",
                "bid",
                "noteInteraction",
            ])
            .takes_a_key()
            .refuses(&[
                "job_not_found",
                "account_suspended",
                "in_debt",
                "job_closed",
                "auction_closed",
                "already_proposed",
                "price_changed",
                "bid_too_low",
                "insufficient_connects",
            ]),
            O::new(
                ("GET", "/v1/accounts/{account_id}/proposals/{job_id}"),
                "getProposal",
                &[USER, SERVICE],
                FOUND,
                of::<ProposalView>,
            )
            .refuses(&["proposal_not_found"]),
            O::new(
                ("DELETE", "/v1/accounts/{account_id}/proposals/{job_id}"),
                "withdrawProposal",
                &[USER, SERVICE],
                OK,
                of::<ProposalView>,
            )
            .refuses(&["proposal_not_found", "job_closed"]),
            O::new(
                ("PUT", "/v1/jobs/{job_id}/proposals/{account_id}/outcome"),
                "decideProposal",
                &[SERVICE],
                OK,
                of::<ProposalView>,
            )
            .body(function::spend::proposals::outcome)
            .refuses(&["proposal_not_found"]),
        ],
    ))
    .chain(about(
        "Boosts",
        vec![
            O::new(
                ("GET", "/v1/jobs/{job_id}/bids"),
                "getBids",
                &[USER, SERVICE],
                FOUND,
                of::<AuctionView>,
            )
            .refuses(&["job_not_found"]),
            O::new(
                ("PUT", "/v1/jobs/{job_id}/bids/{account_id}"),
                "bid",
                &[USER, SERVICE],
                OK,
                of::<BidView>,
            )
            .body(function::boost::amount)
            .takes_a_key()
            .refuses(&[
                "job_not_found",
                "proposal_not_found",
                "account_suspended",
                "in_debt",
                "job_closed",
                "auction_closed",
                "bid_not_raised",
                "bid_too_low",
                "insufficient_connects",
            ]),
            O::new(
                ("POST", "/v1/jobs/{job_id}/bids/{account_id}/interactions"),
                "noteInteraction",
                &[SERVICE],
                OK,
                of::<BidView>,
            )
            .body(nothing)
            .refuses(&["job_not_found", "proposal_not_found"]),
        ],
    ))
    .chain(about(
        "Jobs",
        vec![
            O::new(
                ("PUT", "/v1/jobs/{job_id}"),
                "putJob",
                &[SERVICE],
                NEW_OR_NOT,
                of::<JobView>,
            )
            .body(function::job::particulars)
            .leads_to(&["getJob", "getBids", "noteContract", "closeJob"])
            .refuses(&["job_closed"]),
            O::new(
                ("GET", "/v1/jobs/{job_id}"),
                "getJob",
                &[USER, SERVICE, ADMIN],
                FOUND,
                of::<JobView>,
            )
            .refuses(&["job_not_found"]),
            O::new(
                ("POST", "/v1/jobs/{job_id}/contracts"),
                "noteContract",
                &[SERVICE],
                NOTED,
                of::<JobView>,
            )
            .body(function::job::party)
            .refuses(&["job_not_found"]),
            O::new(
                ("POST", "/v1/jobs/{job_id}/closure"),
                "closeJob",
                &[SERVICE],
                NOTED,
                of::<JobView>,
            )
            .body(function::job::why)
            .refuses(&["job_not_found"]),
            O::new(
                ("GET", "/v1/return-policy"),
                "getReturnPolicy",
                &[],
                FOUND,
                of::<ReturnPolicyView>,
            ),
        ],
    ))
    .chain(about(
        "Badge",
        vec![
            O::new(
                ("PUT", "/v1/accounts/{account_id}/availability-badge"),
                "turnBadgeOn",
                &[USER],
                NEW_OR_NOT,
                of::<BadgeView>,
            )
            .body(function::badge::max_weekly)
            .leads_to(&["getBadge", "turnBadgeOff"])
            .refuses(&["account_suspended", "in_debt"]),
            O::new(
                ("GET", "/v1/accounts/{account_id}/availability-badge"),
                "getBadge",
                &[USER, SERVICE, ADMIN],
                FOUND,
                of::<BadgeView>,
            )
            .refuses(&["badge_not_found"]),
            O::new(
                ("DELETE", "/v1/accounts/{account_id}/availability-badge"),
                "turnBadgeOff",
                &[USER],
                OK,
                of::<BadgeView>,
            )
            .refuses(&["badge_not_found"]),
            O::new(
                ("GET", "/v1/availability-badge/price"),
                "getBadgePrice",
                &[],
                FOUND,
                of::<PriceView>,
            ),
        ],
    ))
    .chain(about(
        "Promo codes",
        vec![
            O::new(
                ("POST", "/v1/accounts/{account_id}/redemptions"),
                "redeem",
                &[USER, SERVICE],
                DONE,
                of::<RedeemAnswer>,
            )
            .body(function::redeem_promo::code)
            .takes_a_key()
            .refuses(&[
                "promo_unknown",
                "account_suspended",
                "promo_not_started",
                "promo_expired",
                "promo_not_eligible",
                "promo_already_redeemed",
                "promo_exhausted",
                "rate_limited",
            ]),
            O::new(
                ("PUT", "/v1/promos/{code}"),
                "putPromo",
                &[ADMIN],
                NEW_OR_NOT,
                of::<PromoView>,
            )
            .body(function::redeem_promo::terms)
            .leads_to(&["getPromo"])
            .refuses(&["promo_in_use"]),
            O::new(
                ("GET", "/v1/promos/{code}"),
                "getPromo",
                &[ADMIN],
                FOUND,
                of::<PromoView>,
            )
            .refuses(&["promo_unknown"]),
            O::new(
                ("POST", "/v1/promos/{code}/codes"),
                "makeCodes",
                &[ADMIN],
                &[(201, "Here they are; nobody is told them later.")],
                of::<CodesAnswer>,
            )
            .body(move |body| function::redeem_promo::codes(body, &promos))
            .also_csv()
            .needs_a_key()
            .leads_to(&["getPromo", "putPromo"])
            .refuses(&["promo_exists"]),
        ],
    ))
    .chain(about(
        "Plans and rewards",
        vec![
            O::new(
                ("POST", "/v1/accounts/{account_id}/plan-changes"),
                "changePlan",
                &[SERVICE],
                OK,
                of::<PlanChangeAnswer>,
            )
            .body(function::plan_change::command)
            .needs_a_key()
            .refuses(&["account_suspended", "plan_unchanged"]),
            O::new(
                ("GET", "/v1/accounts/{account_id}/plan-changes/preview"),
                "previewPlanChange",
                &[USER, SERVICE],
                FOUND,
                of::<PlanChangeAnswer>,
            )
            .query(function::plan_change::plan)
            .refuses(&["account_suspended", "plan_unchanged"]),
            O::new(
                ("POST", "/v1/accounts/{account_id}/rewards"),
                "reward",
                &[SERVICE],
                DONE,
                of::<RewardAnswer>,
            )
            .body(move |body| function::reward::command(body, &policy))
            .takes_a_key()
            .refuses(&[
                "proposal_not_found",
                "account_suspended",
                "reward_not_earned",
                "reward_already_given",
            ]),
        ],
    ))
    .chain(about(
        "Contract",
        vec![O::new(
            ("GET", "/v1/openapi.json"),
            "getContract",
            &[],
            FOUND,
            |_| json_schema!({ "type": "object", "required": ["openapi", "paths"] }),
        )],
    ))
    .collect()
}

/// An empty object.
fn nothing(body: Fields) -> Result<(), connects::http::Problem> {
    body.finish(|| Some(()))
}
