//! What the members of requests mean, with their units.

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::{Operation, of as schema_of};
use connects::domain::ids::{AccountId, JobId, OperationId, PromoCode};

/// Members of requests, by their names, or by those of the operation and the member where a name is not enough.
const MEMBERS: [(&str, &str); 67] = [
    (
        "account_id",
        "The account of whoever was hired, which need not be one here.",
    ),
    ("amount", "How many Connects."),
    (
        "captureHold.amount",
        "How many of the Connects that are held are used; all, if left out. The rest is released.",
    ),
    (
        "refund.amount",
        "How many Connects come back; all that are left of it, if left out.",
    ),
    (
        "bid.amount",
        "How many Connects are bid in all, not how many more.",
    ),
    ("amount_off", "Money off the price of a purchase."),
    (
        "boost",
        "Connects bid for one of the first places on the job.",
    ),
    (
        "budget",
        "What the client pays: the whole price of a fixed contract, an hour's of an hourly one. In the shop's currency.",
    ),
    ("budget.amount", "In minor units: cents."),
    ("budget.currency", "ISO 4217."),
    ("client", "The job's client, for `interview_won` only."),
    ("client.hires", "How often they have hired."),
    (
        "client.spend",
        "What they have spent, in the shop's currency, in minor units.",
    ),
    ("amount_off.amount", "In minor units: cents."),
    ("amount_off.currency", "ISO 4217."),
    (
        "code",
        "The promo code; small letters are read as capitals.",
    ),
    (
        "connects_required",
        "What a proposal costs, in Connects, where the rate card is not to say it.",
    ),
    (
        "contract_kind",
        "How the client pays; the rate card needs it.",
    ),
    ("count", "How many codes."),
    (
        "cursor",
        "The `next_cursor` of the page before, under the same filters.",
    ),
    ("days", "The last so many times 24 hours."),
    (
        "duration_weeks",
        "How long the job is expected to take, in weeks.",
    ),
    (
        "effective",
        "From when on; what the plan allows, if left out.",
    ),
    ("email", "Where the holder can be told things."),
    (
        "expected_cost",
        "The most that may be charged, in Connects: what the holder was shown.",
    ),
    (
        "expires_at",
        "From when on the hold is over and its Connects are released; never, if left out. An instant to come.",
    ),
    (
        "free_reason",
        "Why nothing is charged. Only the backend may claim it.",
    ),
    ("from", "The first UTC day, inclusive."),
    ("job_id", "Which job."),
    (
        "refund.job_id",
        "The account's proposal on this job, instead of `spend_id`.",
    ),
    (
        "reward.job_id",
        "The job of the interview, for `interview_won` only.",
    ),
    ("kind", "What kind of account."),
    ("putPromo.kind", "What the code gives."),
    ("makeCodes.kind", "What each code gives."),
    ("reward.kind", "What was achieved."),
    (
        "kinds",
        "The kinds of account that it is for; all, if left out.",
    ),
    ("limit", "How many a page has; 50, if left out."),
    (
        "lot_valid_days",
        "For how many days its Connects are good; as long as the policy says, if left out.",
    ),
    (
        "max_redemptions",
        "How often in all; without limit, if left out.",
    ),
    ("max_weekly", "What a week may cost at most, in Connects."),
    (
        "opened_on",
        "The day that billing cycles are counted from, up to today; today, if left out.",
    ),
    ("outcome", "What the client decided."),
    (
        "payment_method",
        "The payment provider's name for it; the sandbox's are in the text above.",
    ),
    ("percent_off", "Per cent off the price of a purchase."),
    (
        "person_id",
        "Who is behind the account: the signup bonus is given once to a person.",
    ),
    ("plan", "The plan to change to."),
    ("plans", "The plans that it is for; all, if left out."),
    ("posted_at", "When the job was posted; the same each time."),
    ("promo_code", "A code that rides on the purchase."),
    ("quantity", "How many Connects."),
    ("reason", "Why, in a word that the journal keeps."),
    (
        "reference",
        "What it is about: a kind and an id, such as `job:J1`.",
    ),
    ("status", "Whether the account may be used."),
    ("spend_id", "Which spend."),
    ("threshold", "Fewer Connects available than this are low."),
    (
        "top_up",
        "What is bought when the balance becomes low; nothing, if left out.",
    ),
    (
        "top_up.quantity",
        "How many Connects are bought at a time: as many as the threshold at least.",
    ),
    (
        "top_up.monthly_cap",
        "What the purchases of a calendar month (UTC) may cost at most, in the shop's currency: once the price at least.",
    ),
    ("top_up.monthly_cap.amount", "In minor units: cents."),
    ("top_up.monthly_cap.currency", "ISO 4217."),
    (
        "top_up.payment_method",
        "The payment provider's name for what is charged; its default, if left out.",
    ),
    ("to", "The last UTC day, inclusive."),
    ("valid_from", "From when on the code can be used."),
    ("valid_until", "Until when it can be used, exclusive."),
    (
        "listHistory.reference",
        "Only entries about this, of all times if no days are named.",
    ),
    (
        "changePlan.reason",
        "What brings the change; `requested`, if left out.",
    ),
    (
        "closeJob.reason",
        "Why the job ends, which decides what comes back.",
    ),
];

/// Every name with its words.
pub fn all() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    MEMBERS.iter()
}

/// What a member of an operation's request means.
pub fn of(operation: &str, member: &str) -> &'static str {
    let own = format!("{operation}.{member}");
    let named = |wanted: &str| all().find(|(name, _)| *name == wanted);
    let found = named(&own).or_else(|| named(member));
    found
        .unwrap_or_else(|| panic!("{own}: what does it mean?"))
        .1
}

/// What the idempotency key does for an operation.
pub fn key(operation: &Operation) -> &'static str {
    if operation.needs_key() {
        "The client's name for the operation: sent again under the same key, it happens once and is answered the same."
    } else if operation.is_replayed() {
        "As with other operations; without it, a retry is told from the first by what it asks for, and refused."
    } else {
        "Makes no difference: the request asks for a state."
    }
}

/// The parameters of a path.
pub fn path(operation: &Operation, generator: &mut SchemaGenerator) -> Vec<Value> {
    let parameter = |name: &str| {
        let (schema, about) = match name {
            "account_id" => (schema_of::<AccountId>(generator), "Whose account."),
            "job_id" => (schema_of::<JobId>(generator), "Which job."),
            "code" => (
                schema_of::<PromoCode>(generator),
                "Which code; small letters are read as capitals.",
            ),
            "purchase_id" => (schema_of::<OperationId>(generator), "Which purchase."),
            "hold_id" => (schema_of::<OperationId>(generator), "Which hold."),
            other => panic!("{other}: what is it?"),
        };
        json!({ "in": "path", "name": name, "required": true, "schema": schema, "description": about })
    };
    operation.ids().map(parameter).collect()
}
