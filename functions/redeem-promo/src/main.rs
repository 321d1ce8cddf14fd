//! Promo codes: redeemed once per account by holders or the backend, administered by operators, who
//! also make single-use codes of one promo by the thousand.

use connects::domain::account::{Kind, Plan};
use connects::domain::codes::{CodesAnswer, CodesCommand, PromoPolicy};
use connects::domain::ids::PromoCode;
use connects::domain::promo::{Discount, Offer, PromoKind, Terms};
use connects::domain::refusal::{Invalid, Refusal};
use connects::http::input::{
    Fields, MAX_MONEY, both, connects, each, instant, integer, money_from, text, word,
};
use connects::http::{self, Answer, App, Problem, Request, Scope};

/// The most redemptions that a limit may allow.
const MAX_REDEMPTIONS: i64 = 1_000_000_000;

/// The longest validity of a code's lots, in days: ten years.
const MAX_LOT_DAYS: i64 = 3_650;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let app = App::start().await?;
    http::serve(app.clock, async |request| route(&app, request).await).await
}

/// The routes of this function.
pub async fn route(app: &App, request: &Request) -> Result<Answer, Problem> {
    match (request.method(), &*request.path()) {
        ("POST", ["v1", "accounts", account, "redemptions"]) => redeem(app, request, account).await,
        ("PUT", ["v1", "promos", code]) => set(app, request, code).await,
        ("GET", ["v1", "promos", code]) => get(app, request, code).await,
        ("POST", ["v1", "promos", code, "codes"]) => make(app, request, code).await,
        _ => Err(Problem::not_found()),
    }
}

async fn redeem(app: &App, request: &Request, account: &str) -> Result<Answer, Problem> {
    let scopes = [Scope::User, Scope::Service];
    let account = app.account(request, &scopes, account).await?;
    let asked = both(
        request.idempotency_key_if_any(),
        request.body().and_then(code),
    );
    let (key, code) = app.input(&account, asked).await?;
    let redeemed = app
        .ledger
        .redeem(&request.context, &account, key.as_ref(), &code);
    Answer::of(201, app.guess(request, &account, redeemed).await)
}

async fn set(app: &App, request: &Request, code: &str) -> Result<Answer, Problem> {
    app.caller(request).await?.holds(&[Scope::Admin])?;
    let code = PromoCode::try_new(code).map_err(Problem::from);
    let (code, terms) = both(code, request.body().and_then(terms))?;
    let (is_new, promo) = app
        .ledger
        .put_promo(&request.context, &code, &terms)
        .await?;
    Answer::json(if is_new { 201 } else { 200 }, &promo)
}

async fn get(app: &App, request: &Request, code: &str) -> Result<Answer, Problem> {
    app.caller(request).await?.holds(&[Scope::Admin])?;
    let code = PromoCode::try_new(code).map_err(|_| Refusal::PromoUnknown)?;
    let promo = app.ledger.promo(&request.context, &code).await?;
    request.nothing()?;
    Answer::json(200, &promo)
}

async fn make(app: &App, request: &Request, code: &str) -> Result<Answer, Problem> {
    app.caller(request).await?.holds(&[Scope::Admin])?;
    let policy = &app.ledger.policy().promos;
    let body = request.body().and_then(|body| codes(body, policy));
    let code = PromoCode::try_new(code).map_err(Problem::from);
    let (key, (code, command)) = both(request.idempotency_key(), both(code, body))?;
    let made = app
        .ledger
        .make_codes(&request.context, &key, &code, &command);
    let made = made.await;
    match request.wants_csv() {
        true => Answer::csv_of(201, made, CodesAnswer::csv),
        false => Answer::of(201, made),
    }
}

/// The body of a redemption.
pub fn code(mut body: Fields) -> Result<PromoCode, Problem> {
    let code = body.required("code", text(PromoCode::try_new));
    body.finish(|| code)
}

/// The body of a code.
pub fn terms(mut body: Fields) -> Result<Terms, Problem> {
    let terms = terms_in(&mut body);
    body.finish(terms)
}

/// The body of a request for single-use codes.
pub fn codes(mut body: Fields, policy: &PromoPolicy) -> Result<CodesCommand, Problem> {
    let count = body.required("count", integer(1..=policy.max_codes.into()));
    let terms = terms_in(&mut body);
    body.finish(|| {
        Some(CodesCommand {
            count: u32::try_from(count?).ok()?,
            terms: terms()?,
        })
    })
}

fn terms_in(body: &mut Fields) -> impl FnOnce() -> Option<Terms> + use<> {
    let kind = body.required("kind", word());
    let quantity = body.optional("quantity", connects());
    let percent_off = body.optional("percent_off", integer(1..=100));
    let amount_off = body.optional("amount_off", money_from(1, MAX_MONEY));
    let valid_from = body.required("valid_from", instant());
    let valid_until = body.required("valid_until", instant());
    let max_redemptions = body.optional("max_redemptions", integer(1..=MAX_REDEMPTIONS));
    let kinds = body.optional("kinds", each(word::<Kind>()));
    let plans = body.optional("plans", each(word::<Plan>()));
    let lot_valid_days = body.optional("lot_valid_days", integer(1..=MAX_LOT_DAYS));

    let is_given = [
        ("quantity", matches!(quantity, Some(Some(_)))),
        ("percent_off", matches!(percent_off, Some(Some(_)))),
        ("amount_off", matches!(amount_off, Some(Some(_)))),
        ("lot_valid_days", matches!(lot_valid_days, Some(Some(_)))),
    ];
    for (name, _) in is_given.into_iter().filter(|(_, is_given)| *is_given) {
        if kind.is_some_and(|kind| !goes_with(kind, name)) {
            body.refuse(Invalid::field(name, "does not go with this kind"));
        }
    }
    match (kind, &quantity, &percent_off, &amount_off) {
        (Some(PromoKind::Grant | PromoKind::Bonus), Some(None), _, _) => {
            body.refuse(Invalid::field("quantity", "is required"));
        }
        (Some(PromoKind::Discount), _, Some(None), Some(None)) => {
            let detail = "this or amount_off is required";
            body.refuse(Invalid::field("percent_off", detail));
        }
        (Some(PromoKind::Discount), _, Some(Some(_)), Some(Some(_))) => {
            body.refuse(Invalid::field("amount_off", "can't go with percent_off"));
        }
        _ => {}
    }
    move || {
        let offer = match (kind?, percent_off?, amount_off?) {
            (PromoKind::Grant, ..) => Offer::Grant {
                quantity: quantity??,
            },
            (PromoKind::Bonus, ..) => Offer::Bonus {
                quantity: quantity??,
            },
            (PromoKind::Discount, Some(percent), _) => Offer::Discount(Discount::Percent {
                percent_off: percent.unsigned_abs(),
            }),
            (PromoKind::Discount, None, amount_off) => Offer::Discount(Discount::Amount {
                amount_off: amount_off?,
            }),
        };
        Some(Terms {
            offer,
            valid_from: valid_from?,
            valid_until: valid_until?,
            max_redemptions: max_redemptions?.map(i64::unsigned_abs),
            kinds: kinds?,
            plans: plans?,
            lot_valid_days: lot_valid_days?.and_then(|days| u32::try_from(days).ok()),
        })
    }
}

/// Whether a member that not every kind has belongs to this one.
fn goes_with(kind: PromoKind, member: &str) -> bool {
    match kind {
        PromoKind::Grant | PromoKind::Bonus => ["quantity", "lot_valid_days"].contains(&member),
        PromoKind::Discount => ["percent_off", "amount_off"].contains(&member),
    }
}

#[cfg(test)]
mod tests {
    use connects::domain::units::{Connects, Money};

    use super::*;

    fn read(more: &str) -> Result<Terms, Problem> {
        let body = format!(
            r#"{{"quantity":5,"valid_from":"2026-01-01T00:00:00Z","valid_until":"2027-01-01T00:00:00Z",{more}}}"#
        );
        Fields::of_body(body.as_bytes()).and_then(terms)
    }

    #[test]
    fn terms_are_read_or_refused() {
        for (more, code, field) in [
            (r#""kind":"grant""#, "ok", None),
            (
                r#""kind":"grant","max_redemptions":1,"kinds":["agency"],"plans":["plus"],"lot_valid_days":14"#,
                "ok",
                None,
            ),
            (r#""kind":"bonus","lot_valid_days":14"#, "ok", None),
            (
                r#""kind":"bonus","percent_off":10"#,
                "invalid_field",
                Some("percent_off"),
            ),
            (
                r#""kind":"discount","percent_off":10"#,
                "invalid_field",
                Some("quantity"),
            ),
            (r#""kind":"lottery""#, "invalid_field", Some("kind")),
            (
                r#""kind":"grant","percent_off":10"#,
                "invalid_field",
                Some("percent_off"),
            ),
            (
                r#""kind":"grant","amount_off":{"amount":1,"currency":"USD"}"#,
                "invalid_field",
                Some("amount_off"),
            ),
            (
                r#""kind":"grant","amount_off":{"amount":1.5,"currency":"USD"}"#,
                "malformed_request",
                None,
            ),
            (
                r#""kind":"grant","kinds":[]"#,
                "invalid_field",
                Some("kinds"),
            ),
            (
                r#""kind":"grant","plans":["gold"]"#,
                "invalid_field",
                Some("plans"),
            ),
            (
                r#""kind":"grant","max_redemptions":0"#,
                "below_minimum",
                Some("max_redemptions"),
            ),
            (
                r#""kind":"grant","lot_valid_days":0"#,
                "below_minimum",
                Some("lot_valid_days"),
            ),
            (
                r#""kind":"grant","valid":true"#,
                "unknown_field",
                Some("valid"),
            ),
        ] {
            let told = match read(more) {
                Ok(_) => ("ok", None),
                Err(problem) => {
                    let field = problem.member("field").and_then(|field| field.as_str());
                    (problem.code(), field.map(str::to_owned))
                }
            };
            assert_eq!(told, (code, field.map(str::to_owned)), "{more}");
        }
    }

    #[test]
    fn each_kind_has_the_members_it_needs() {
        let dollar = r#""amount_off":{"amount":100,"currency":"USD"}"#;
        let both = format!(r#""kind":"discount","percent_off":10,{dollar}"#);
        let refused = |field: &str| Err(field.to_owned());
        for (members, expected) in [
            (r#""kind":"grant""#, refused("quantity")),
            (r#""kind":"bonus""#, refused("quantity")),
            (r#""kind":"discount""#, refused("percent_off")),
            (
                r#""kind":"discount","lot_valid_days":14,"percent_off":10"#,
                refused("lot_valid_days"),
            ),
            (
                r#""kind":"discount","percent_off":0"#,
                refused("percent_off"),
            ),
            (
                r#""kind":"discount","percent_off":101"#,
                refused("percent_off"),
            ),
            (
                r#""kind":"discount","amount_off":{"amount":0,"currency":"USD"}"#,
                refused("amount_off.amount"),
            ),
            (
                r#""kind":"discount","amount_off":{"amount":100000001,"currency":"USD"}"#,
                refused("amount_off.amount"),
            ),
            (&both, refused("amount_off")),
            (
                &format!(r#""kind":"discount",{dollar}"#),
                Ok(Offer::Discount(Discount::Amount {
                    amount_off: Money {
                        amount: 100,
                        currency: "USD".to_owned(),
                    },
                })),
            ),
            (
                r#""kind":"discount","percent_off":100"#,
                Ok(Offer::Discount(Discount::Percent { percent_off: 100 })),
            ),
            (
                r#""kind":"bonus","quantity":20"#,
                Ok(Offer::Bonus {
                    quantity: Connects::new(20),
                }),
            ),
        ] {
            let body = format!(
                r#"{{"valid_from":"2026-01-01T00:00:00Z","valid_until":"2027-01-01T00:00:00Z",{members}}}"#
            );
            let read = Fields::of_body(body.as_bytes()).and_then(terms);
            let told = read.map(|terms| terms.offer).map_err(|problem| {
                let field = problem.member("field").and_then(|field| field.as_str());
                field.unwrap_or_default().to_owned()
            });
            assert_eq!(told, expected, "{members}");
        }
    }

    #[test]
    fn codes_are_counted_within_the_policy() {
        let policy = PromoPolicy {
            max_codes: 10_000,
            codes_shown_minutes: 15,
        };
        for (members, told) in [
            (r#""count":1,"#, "ok"),
            (r#""count":10000,"max_redemptions":5,"#, "ok"),
            (r#""count":0,"#, "below_minimum"),
            (r#""count":10001,"#, "above_maximum"),
            (r#""count":"1","#, "malformed_request"),
            ("", "invalid_field"),
            (r#""count":1,"quantity":0,"#, "below_minimum"),
        ] {
            let quantity = if members.contains("quantity") {
                ""
            } else {
                r#""quantity":5,"#
            };
            let body = format!(
                r#"{{{members}{quantity}"kind":"grant","valid_from":"2026-01-01T00:00:00Z","valid_until":"2027-01-01T00:00:00Z"}}"#
            );
            let read = Fields::of_body(body.as_bytes()).and_then(|body| codes(body, &policy));
            let code = read.map_or_else(|problem| problem.code(), |_| "ok");
            assert_eq!(code, told, "{members}");
        }
    }

    #[test]
    fn what_is_left_out_has_no_limit() {
        let terms = read(r#""kind":"grant""#).unwrap();
        assert_eq!(terms.max_redemptions, None);
        assert_eq!(
            (terms.kinds, terms.plans, terms.lot_valid_days),
            (None, None, None)
        );
        let terms = read(r#""kind":"grant","max_redemptions":3,"lot_valid_days":14"#).unwrap();
        assert_eq!(
            (terms.max_redemptions, terms.lot_valid_days),
            (Some(3), Some(14))
        );
    }
}
