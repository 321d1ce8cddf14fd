//! Reading request bodies and query parameters.
//!
//! Every field is read before anything is answered, because a 400 anywhere wins over any 422:
//!
//! ```text
//! let amount = body.required("amount", connects());
//! let reference = body.optional("reference", text(Reference::try_new));
//! body.finish(|| Some(SpendCommand { amount: amount?, reference: reference? }))
//! ```
//!
//! What reads a field also says what it takes, so that the published contract is made from the code that
//! reads requests ([`shape`](super::shape)); of that, nothing is compiled into a function.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::RangeInclusive;

use chrono::{Datelike, NaiveDate};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};

use super::json::Json;
use super::problem::Problem;
#[cfg(feature = "contract")]
use super::shape::{self, Asked};
use crate::domain::refusal::{Invalid, Refusal};
use crate::domain::time::{self, Time};
use crate::domain::units::{Connects, Money};
use crate::ledger::Fault;

/// The most that a body may measure, in bytes, once decoded.
pub const MAX_BODY: usize = 64 * 1024;

/// The most Connects that a request may move.
pub const MAX_CONNECTS: i64 = 1_000_000;

/// The most money that a request may name, in minor units: a million units of a currency.
pub const MAX_MONEY: i64 = 100_000_000;

/// Fields on their way into a command: read one by one, each at most once; what nobody asked for
/// is refused at the end.
#[derive(Debug)]
pub struct Fields {
    prefix: String,
    values: BTreeMap<String, Json>,
    worst: Option<Problem>,
    #[cfg(feature = "contract")]
    asked: Option<Asked>,
}

impl Fields {
    /// No fields at all, and a note of whatever is asked for.
    #[cfg(feature = "contract")]
    pub(super) fn asking(asked: Asked) -> Self {
        Self {
            asked: Some(asked),
            ..Self::of(String::new(), BTreeMap::new())
        }
    }

    /// The members of a JSON object.
    ///
    /// # Errors
    /// 413 when it is too long, 400 when it is not a JSON object without repeated members.
    pub fn of_body(body: &[u8]) -> Result<Self, Problem> {
        if body.len() > MAX_BODY {
            return Err(Problem::body_too_large(MAX_BODY));
        }
        match serde_json::from_slice(body) {
            Ok(Json::Object(values)) => Ok(Self::of(String::new(), values)),
            Ok(_) => Err(Problem::malformed(
                "the body must be a JSON object, such as {}",
            )),
            Err(error) => Err(Problem::malformed(format!(
                "the body must be a JSON object: {}",
                error.classify_briefly()
            ))),
        }
    }

    /// The parameters of a query string; each value is [`Json::Text`].
    ///
    /// # Errors
    /// 400 when the escapes can't be read. A parameter that occurs twice is a 422, held back
    /// like any other until [`Fields::finish`].
    pub fn of_query(query: &str) -> Result<Self, Problem> {
        query.split('&').filter(|pair| !pair.is_empty()).try_fold(
            Self::of(String::new(), BTreeMap::new()),
            |mut fields, pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let decoded = decode(name, true).zip(decode(value, true));
                let (name, value) = decoded
                    .ok_or_else(|| Problem::malformed("the query string has broken escapes"))?;
                match fields.values.entry(name) {
                    Entry::Vacant(place) => {
                        place.insert(Json::Text(value));
                    }
                    Entry::Occupied(place) => {
                        let twice = Invalid::field(place.key(), "occurs more than once");
                        fields.note(twice.into());
                    }
                }
                Ok(fields)
            },
        )
    }

    fn of(prefix: String, values: BTreeMap<String, Json>) -> Self {
        Self {
            prefix,
            values,
            worst: None,
            #[cfg(feature = "contract")]
            asked: None,
        }
    }

    /// A field that must be there; `None` when it can't be read, which [`Fields::finish`] answers.
    pub fn required<T>(&mut self, name: &str, reader: Reader<impl Read<T>>) -> Option<T> {
        #[cfg(feature = "contract")]
        shape::note(self.asked.as_ref(), name, true, reader.schema);
        self.read(name, reader.read)
    }

    /// A field that may be left out, but may not be `null`.
    pub fn optional<T>(&mut self, name: &str, reader: Reader<impl Read<T>>) -> Option<Option<T>> {
        #[cfg(feature = "contract")]
        shape::note(self.asked.as_ref(), name, false, reader.schema);
        if self.values.contains_key(name) {
            self.read(name, reader.read).map(Some)
        } else {
            Some(None)
        }
    }

    fn read<T>(&mut self, name: &str, read: impl Read<T>) -> Option<T> {
        let path = format!("{}{name}", self.prefix);
        match self.values.remove(name) {
            None | Some(Json::Null) => {
                self.note(Invalid::field(&path, "is required").into());
                None
            }
            Some(value) => self.kept(read(&path, value)),
        }
    }

    /// Adds a finding about fields that were read, such as two that exclude each other.
    pub fn refuse(&mut self, invalid: Invalid) {
        self.note(invalid.into());
    }

    /// Notes that this caller may not send a field, if it is there.
    pub fn forbid(&mut self, name: &str) {
        if self.values.contains_key(name) {
            self.note(Problem::forbidden());
        }
    }

    /// Takes over the findings of fields that were read apart and of which none may be left.
    pub(super) fn refuse_all_of(&mut self, others: Self) {
        if let Err(problem) = others.finish(|| Some(())) {
            self.note(problem);
        }
    }

    /// The command, if every field could be read and none is left over.
    ///
    /// # Errors
    /// A 403 or else a 400 if there is one; else the first left-over field; else the first bad
    /// value.
    pub fn finish<T>(mut self, build: impl FnOnce() -> Option<T>) -> Result<T, Problem> {
        let goes_first = self.worst.as_ref().is_some_and(|p| p.status() != 422);
        if let Some(name) = self.values.keys().next()
            && !goes_first
        {
            return Err(Problem::unknown_field(&format!("{}{name}", self.prefix)));
        }
        match self.worst.take() {
            Some(problem) => Err(problem),
            None => build().ok_or_else(|| Problem::internal(&"a field was lost while reading")),
        }
    }

    fn kept<T>(&mut self, read: Result<T, Problem>) -> Option<T> {
        read.map_err(|problem| self.note(problem)).ok()
    }

    fn note(&mut self, problem: Problem) {
        let is_worse = |worst: &Problem| problem.precedence() < worst.precedence();
        if self.worst.as_ref().is_none_or(is_worse) {
            self.worst = Some(problem);
        }
    }
}

/// A few fixed words for what the parser found; its own message would quote the body.
trait ClassifyBriefly {
    fn classify_briefly(&self) -> &'static str;
}

impl ClassifyBriefly for serde_json::Error {
    fn classify_briefly(&self) -> &'static str {
        match self.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Data => "a member occurs twice",
            _ => "it is not JSON",
        }
    }
}

/// Makes a value of the JSON of a field, which it is told the name of for what it may say.
pub trait Read<T>: FnOnce(&str, Json) -> Result<T, Problem> {}

impl<T, R: FnOnce(&str, Json) -> Result<T, Problem>> Read<T> for R {}

/// What reads a field, and says what it takes.
pub struct Reader<R> {
    read: R,
    #[cfg(feature = "contract")]
    schema: shape::Schematic,
}

impl<R> Reader<R> {
    /// Reads a value that is no field's.
    ///
    /// # Errors
    /// What is wrong with it.
    #[cfg(test)]
    fn of<T>(self, name: &str, value: Json) -> Result<T, Problem>
    where
        R: Read<T>,
    {
        (self.read)(name, value)
    }
}

/// A [`Reader`] of what it reads, as a function of the schema generator, and of how.
macro_rules! reader {
    ($schema:expr, $read:expr) => {
        $crate::http::input::Reader {
            read: $read,
            #[cfg(feature = "contract")]
            schema: Box::new($schema),
        }
    };
}

/// What has a schema where schemas are made, and anything where none are.
#[cfg(feature = "contract")]
pub use schemars::JsonSchema as Described;

/// What has a schema where schemas are made, and anything where none are.
#[cfg(not(feature = "contract"))]
pub trait Described {}

#[cfg(not(feature = "contract"))]
impl<T> Described for T {}

/// Text that `parse` accepts.
pub fn text<T: Described + 'static>(
    parse: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Reader<impl Read<T>> {
    reader!(shape::of_type::<T>, as_text(parse))
}

/// Text of so many bytes.
pub fn sized<T>(
    length: RangeInclusive<usize>,
    make: impl FnOnce(&str) -> T,
) -> Reader<impl Read<T>> {
    let (least, most) = (*length.start(), *length.end());
    reader!(
        move |_| shape::text_of(least, most),
        as_text(move |text| {
            let detail = || format!("must be {least} to {most} bytes of text");
            let fits = length.contains(&text.len()).then(|| make(text));
            fits.ok_or_else(|| Invalid::field("", detail()))
        })
    )
}

/// One of a few words; `make` knows them all.
pub fn one_of<T>(
    words: &'static [&'static str],
    make: impl FnOnce(&str) -> Option<T> + Copy,
) -> Reader<impl Read<T> + Copy> {
    reader!(move |_| shape::words(words), move |name: &str, value| {
        let known = |word: &str| {
            let known = words.contains(&word).then(|| make(word)).flatten();
            known.ok_or_else(|| Invalid::field("", one_of_these(words)))
        };
        as_text(known)(name, value)
    })
}

/// One of the words of an enumeration.
pub fn word<T: DeserializeOwned + Described + 'static>() -> Reader<impl Read<T> + Copy> {
    reader!(shape::of_type::<T>, |name: &str, value| as_text(of_words)(
        name, value
    ))
}

/// A whole number within a range.
pub fn integer(range: RangeInclusive<i64>) -> Reader<impl Read<i64>> {
    let (least, most) = (*range.start(), *range.end());
    reader!(move |_| shape::number(least, most), whole(least, most))
}

/// A number of Connects to buy. How few and how many may be, the policy says, and so the refusal can.
pub fn quantity() -> Reader<impl Read<i64>> {
    reader!(
        |_| shape::number(1, MAX_CONNECTS),
        whole(i64::MIN, i64::MAX)
    )
}

/// A number of Connects to move: 1 to 1,000,000.
pub fn connects() -> Reader<impl Read<Connects>> {
    let read = |name: &str, value| {
        whole(1, MAX_CONNECTS)(name, value).map(|number| Connects::new(number.unsigned_abs()))
    };
    reader!(|_| shape::number(1, MAX_CONNECTS), read)
}

/// A query parameter that is a whole number within a range; 400 when it is no number.
pub fn number(range: RangeInclusive<i64>) -> Reader<impl Read<i64>> {
    let (least, most) = (*range.start(), *range.end());
    reader!(
        move |_| shape::number(least, most),
        move |name: &str, value| {
            let Json::Text(text) = value else {
                return Err(wrong_type(name, "a whole number"));
            };
            // As JSON would have it: neither `+5` nor `05`.
            let number = text.parse().ok().filter(|n: &i64| n.to_string() == text);
            let number = number.ok_or_else(|| wrong_type(name, "a whole number"))?;
            in_range(name, number, least, most)
        }
    )
}

/// A query parameter that only its route can read.
pub(super) fn opaque<T>(read: impl FnOnce(&str) -> Result<T, Problem>) -> Reader<impl Read<T>> {
    reader!(shape::of_type::<String>, |name: &str, value| match value {
        Json::Text(text) => read(&text),
        _ => Err(wrong_type(name, "a string")),
    })
}

/// A list, not empty, whose elements are read alike.
pub fn each<T>(element: Reader<impl Read<T> + Copy>) -> Reader<impl Read<Vec<T>>> {
    let Reader { read, .. } = element;
    reader!(
        |generator| shape::list(element.schema, generator),
        move |name: &str, value| {
            let Json::List(elements) = value else {
                return Err(wrong_type(name, "an array"));
            };
            if elements.is_empty() {
                let detail = "must name at least one, or be left out";
                return Err(Invalid::field(name, detail).into());
            }
            let (read, failed): (Vec<_>, Vec<_>) = elements
                .into_iter()
                .map(|element| read(name, element))
                .partition(Result::is_ok);
            match failed
                .into_iter()
                .filter_map(Result::err)
                .min_by_key(Problem::precedence)
            {
                Some(worst) => Err(worst),
                None => read.into_iter().collect(),
            }
        }
    )
}

/// An object with fields of its own; `read` ends with their [`Fields::finish`].
pub fn object<T: 'static>(
    read: impl FnOnce(Fields) -> Result<T, Problem> + Copy + Send + 'static,
) -> Reader<impl Read<T>> {
    reader!(
        move |generator| shape::of(generator, read).object(),
        move |name: &str, value| match value {
            Json::Object(values) => read(Fields::of(format!("{name}."), values)),
            _ => Err(wrong_type(name, "an object")),
        }
    )
}

/// `{"amount": 150, "currency": "USD"}`
pub fn money() -> Reader<impl Read<Money>> {
    money_from(0, MAX_MONEY)
}

/// The same, of so many minor units.
pub fn money_from(least: i64, most: i64) -> Reader<impl Read<Money>> {
    object(move |mut fields| {
        let amount = fields.required("amount", integer(least..=most));
        let currency = fields.required("currency", currency());
        fields.finish(|| {
            Some(Money {
                amount: amount?.unsigned_abs(),
                currency: currency?,
            })
        })
    })
}

/// A date, `YYYY-MM-DD`.
pub fn date() -> Reader<impl Read<NaiveDate>> {
    text(|text| {
        NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()
            // The parser lets signs and spaces pass in the place of digits.
            .filter(|date| date.to_string() == text && (1000..=9998).contains(&date.year()))
            .ok_or_else(|| Invalid::field("", "must be a date, YYYY-MM-DD"))
    })
}

/// An instant, RFC 3339.
pub fn instant() -> Reader<impl Read<Time>> {
    text(|text| {
        time::parse(text)
            .ok_or_else(|| Invalid::field("", "must be an instant, 2027-01-01T00:00:00Z"))
    })
}

/// Two parts of a request that are read apart: both, or the problem that goes first.
///
/// # Errors
/// The problem that precedes, the first of two equals.
pub fn both<A, B>(a: Result<A, Problem>, b: Result<B, Problem>) -> Result<(A, B), Problem> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) if b.precedence() < a.precedence() => Err(b),
        (Err(a), _) => Err(a),
        (_, Err(b)) => Err(b),
    }
}

/// What was read, or what is wrong with it; but of something that does not exist only that is
/// said. The look-up happens only when there is an input error to answer. What the caller may not
/// ask for at all goes before either.
///
/// # Errors
/// `missing` when the thing does not exist, else the input error.
pub async fn input<T>(
    parsed: Result<T, Problem>,
    exists: impl Future<Output = Result<bool, Fault>>,
    missing: Refusal,
) -> Result<T, Problem> {
    match parsed {
        Ok(value) => Ok(value),
        Err(problem) if problem.status() == 403 || exists.await? => Err(problem),
        Err(_) => Err(missing.into()),
    }
}

/// Percent-escapes resolved, and in a query `+` read as a space; `None` when they are broken.
pub(super) fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = text.bytes();
    let decoded: Option<Vec<u8>> = std::iter::from_fn(|| {
        bytes.next().map(|byte| match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let value = |digit: u8| (digit as char).to_digit(16);
                u8::try_from(value(digits[0])? * 16 + value(digits[1])?).ok()
            }
            b'+' if plus_is_space => Some(b' '),
            byte => Some(byte),
        })
    })
    .collect();
    String::from_utf8(decoded?).ok()
}

fn currency() -> Reader<impl Read<String>> {
    reader!(
        |_| shape::pattern("^[A-Z]{3}$"),
        as_text(|text| {
            let fits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase());
            fits.then(|| text.to_owned())
                .ok_or_else(|| Invalid::field("", "must be three capital letters"))
        })
    )
}

fn of_words<T: DeserializeOwned>(word: &str) -> Result<T, Invalid> {
    let deserializer: StrDeserializer<'_, NoSuchWord> = word.into_deserializer();
    T::deserialize(deserializer).map_err(|error| Invalid::field("", error.0))
}

fn as_text<T, P: FnOnce(&str) -> Result<T, Invalid>>(parse: P) -> impl Read<T> + use<T, P> {
    |name: &str, value: Json| {
        let Json::Text(text) = value else {
            return Err(wrong_type(name, "a string"));
        };
        parse(&text).map_err(|invalid| named(invalid, name).into())
    }
}

fn whole(least: i64, most: i64) -> impl Read<i64> + Copy {
    move |name: &str, value: Json| {
        let Json::Integer(number) = value else {
            return Err(wrong_type(
                name,
                "a whole number without fraction or exponent",
            ));
        };
        in_range(name, number, least, most)
    }
}

fn in_range(name: &str, number: i64, least: i64, most: i64) -> Result<i64, Problem> {
    Invalid::range(name, number, least, most).map_or(Ok(number), |invalid| Err(invalid.into()))
}

fn one_of_these(words: &[&str]) -> String {
    format!("must be one of: {}", words.join(", "))
}

fn named(invalid: Invalid, name: &str) -> Invalid {
    Invalid {
        field: name.to_owned(),
        ..invalid
    }
}

fn wrong_type(name: &str, expected: &str) -> Problem {
    Problem::malformed(format!("{name} must be {expected}"))
}

/// What serde says of a word that an enumeration does not have: the words it has.
#[derive(Debug)]
struct NoSuchWord(String);

impl fmt::Display for NoSuchWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoSuchWord {}

impl serde::de::Error for NoSuchWord {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self("is not an accepted value".to_owned())
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(one_of_these(expected))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::domain::ids::{AccountId, Reason};

    #[derive(Debug, PartialEq, Deserialize)]
    #[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Freelancer,
        Agency,
    }

    #[derive(Debug, PartialEq)]
    struct Command {
        amount: Connects,
        reason: Reason,
        kind: Option<Kind>,
        price: Option<Money>,
    }

    fn command(body: &[u8]) -> Result<Command, Problem> {
        let mut body = Fields::of_body(body)?;
        let amount = body.required("amount", connects());
        let reason = body.required("reason", text(Reason::try_new));
        let kind = body.optional("kind", word());
        let price = body.optional("price", money());
        body.finish(|| {
            Some(Command {
                amount: amount?,
                reason: reason?,
                kind: kind?,
                price: price?,
            })
        })
    }

    /// The code and the field of what is answered.
    fn told<T: fmt::Debug>(read: Result<T, Problem>) -> (&'static str, Option<String>) {
        match read {
            Ok(_) => ("ok", None),
            Err(problem) => {
                let field = problem.member("field").and_then(|f| f.as_str());
                (problem.code(), field.map(str::to_owned))
            }
        }
    }

    #[test]
    fn a_body_is_read_or_refused_with_the_code_of_the_contract() {
        for (body, code, field) in [
            (r#"{"amount":10,"reason":"x"}"#, "ok", None),
            (
                r#" {"reason":"x","amount":1000000,"kind":"agency"} "#,
                "ok",
                None,
            ),
            (
                r#"{"amount":1,"reason":"x","price":{"amount":0,"currency":"USD"}}"#,
                "ok",
                None,
            ),
            // Not a JSON object
            ("", "malformed_request", None),
            ("{", "malformed_request", None),
            ("amount=10", "malformed_request", None),
            ("[]", "malformed_request", None),
            ("null", "malformed_request", None),
            ("10", "malformed_request", None),
            (r#"{"amount":10,"reason":"x"} x"#, "malformed_request", None),
            (
                r#"{"amount":10,"amount":10,"reason":"x"}"#,
                "malformed_request",
                None,
            ),
            (
                r#"{"amount":10,"reason":"\ud800"}"#,
                "malformed_request",
                None,
            ),
            // The wrong type
            (r#"{"amount":10.0,"reason":"x"}"#, "malformed_request", None),
            (r#"{"amount":1e2,"reason":"x"}"#, "malformed_request", None),
            (r#"{"amount":"10","reason":"x"}"#, "malformed_request", None),
            (r#"{"amount":true,"reason":"x"}"#, "malformed_request", None),
            (r#"{"amount":[10],"reason":"x"}"#, "malformed_request", None),
            (
                r#"{"amount":9223372036854775808,"reason":"x"}"#,
                "malformed_request",
                None,
            ),
            (r#"{"amount":1,"reason":7}"#, "malformed_request", None),
            (
                r#"{"amount":1,"reason":"x","price":150}"#,
                "malformed_request",
                None,
            ),
            // The right type, a bad value
            (
                r#"{"amount":0,"reason":"x"}"#,
                "below_minimum",
                Some("amount"),
            ),
            (
                r#"{"amount":-1,"reason":"x"}"#,
                "below_minimum",
                Some("amount"),
            ),
            (
                r#"{"amount":1000001,"reason":"x"}"#,
                "above_maximum",
                Some("amount"),
            ),
            (
                r#"{"amount":9223372036854775807,"reason":"x"}"#,
                "above_maximum",
                Some("amount"),
            ),
            (
                r#"{"amount":1,"reason":"No!"}"#,
                "invalid_field",
                Some("reason"),
            ),
            (
                r#"{"amount":1,"reason":"x","kind":"robot"}"#,
                "invalid_field",
                Some("kind"),
            ),
            (
                r#"{"amount":1,"reason":"x","price":{"amount":1,"currency":"usd"}}"#,
                "invalid_field",
                Some("price.currency"),
            ),
            // Missing, null, unknown
            (r#"{"amount":1}"#, "invalid_field", Some("reason")),
            (
                r#"{"amount":null,"reason":"x"}"#,
                "invalid_field",
                Some("amount"),
            ),
            (
                r#"{"amount":1,"reason":"x","kind":null}"#,
                "invalid_field",
                Some("kind"),
            ),
            (
                r#"{"amount":1,"reason":"x","note":"y"}"#,
                "unknown_field",
                Some("note"),
            ),
            (
                r#"{"amount":1,"reason":"x","price":{"amount":1,"currency":"USD","vat":1}}"#,
                "unknown_field",
                Some("price.vat"),
            ),
            (
                r#"{"amuont":1,"reason":"x"}"#,
                "unknown_field",
                Some("amuont"),
            ),
            // A 400 anywhere wins over any 422
            (
                r#"{"note":1,"amount":0,"reason":7}"#,
                "malformed_request",
                None,
            ),
            (
                r#"{"amount":0,"reason":"No!","price":{"amount":0.5}}"#,
                "malformed_request",
                None,
            ),
        ] {
            let expected = (code, field.map(str::to_owned));
            assert_eq!(told(command(body.as_bytes())), expected, "{body}");
        }
    }

    #[test]
    fn a_command_holds_what_the_body_says() {
        let read = command(br#"{"amount":7,"reason":"badge_trial","kind":"freelancer"}"#);
        let expected = Command {
            amount: Connects::new(7),
            reason: Reason::try_new("badge_trial").unwrap(),
            kind: Some(Kind::Freelancer),
            price: None,
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn a_body_may_measure_64_kib() {
        let padded = |size: usize| {
            let body = r#"{"amount":1,"reason":"x"}"#;
            format!("{body}{}", " ".repeat(size - body.len()))
        };
        assert_eq!(told(command(padded(MAX_BODY).as_bytes())).0, "ok");
        assert_eq!(
            told(command(padded(MAX_BODY + 1).as_bytes())).0,
            "body_too_large"
        );
        assert_eq!(told(command(&[b'x'; MAX_BODY + 1])).0, "body_too_large");
        assert_eq!(told(command(&[0xff, 0xfe])).0, "malformed_request");
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let deep = format!(
            r#"{{"amount":{}1{}}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        assert_eq!(told(command(deep.as_bytes())).0, "malformed_request");
    }

    #[test]
    fn what_a_caller_may_not_send_goes_before_whatever_is_wrong() {
        let read = |body: &str| {
            let mut body = Fields::of_body(body.as_bytes())?;
            body.forbid("reason");
            let amount = body.required("amount", connects());
            let reason = body.optional("reason", text(Reason::try_new));
            body.finish(|| Some((amount?, reason?)))
        };
        for (body, code) in [
            (r#"{"amount":1}"#, "ok"),
            (r#"{"amount":1,"reason":"x"}"#, "forbidden"),
            (r#"{"amount":1,"reason":null}"#, "forbidden"),
            (r#"{"amount":"1","reason":"x","note":1}"#, "forbidden"),
            (r#"{"amount":0}"#, "below_minimum"),
            (r#"{"amount":0,"note":1}"#, "unknown_field"),
            (r#"{"amount":"#, "malformed_request"),
        ] {
            assert_eq!(told(read(body)).0, code, "{body}");
        }
    }

    #[test]
    fn the_words_of_an_enumeration_are_named() {
        let problem = word::<Kind>()
            .of("kind", Json::Text("robot".to_owned()))
            .unwrap_err();
        let answer = super::super::answer::Answer::from(problem);
        assert!(
            answer.body.contains("must be one of: freelancer, agency"),
            "{}",
            answer.body
        );
    }

    #[test]
    fn lists_answer_their_worst_element() {
        let kinds = |body: &str| {
            let mut fields = Fields::of_body(body.as_bytes())?;
            let kinds = fields.required("kinds", each(word::<Kind>()));
            fields.finish(|| kinds)
        };
        assert_eq!(kinds(r#"{"kinds":["agency"]}"#), Ok(vec![Kind::Agency]));
        for (body, code) in [
            (r#"{"kinds":[]}"#, "invalid_field"),
            (r#"{"kinds":["agency","robot"]}"#, "invalid_field"),
            (r#"{"kinds":["robot",7]}"#, "malformed_request"),
            (r#"{"kinds":"agency"}"#, "malformed_request"),
        ] {
            assert_eq!(told(kinds(body)).0, code, "{body}");
        }
    }

    #[test]
    fn dates_and_instants() {
        let day = |text: &str| date().of("on", Json::Text(text.to_owned())).is_ok();
        for (text, accepted) in [
            ("2024-02-29", true),
            ("2023-02-29", false),
            ("2024-2-9", false),
            ("24-02-09", false),
            ("+024-02-09", false),
            ("2024- 2-09", false),
            ("2024-+2-09", false),
            ("0999-01-01", false),
            ("2024-02-29T00:00:00Z", false),
            ("", false),
        ] {
            assert_eq!(day(text), accepted, "{text}");
        }
        let moment = |text: &str| instant().of("at", Json::Text(text.to_owned())).is_ok();
        for (text, accepted) in [
            ("2027-01-01T00:00:00Z", true),
            ("2027-01-01T02:00:00.123+02:00", true),
            ("2027-01-01", false),
            ("2027-01-01T00:00:00", false),
            ("10000-01-01T00:00:00Z", false),
        ] {
            assert_eq!(moment(text), accepted, "{text}");
        }
    }

    #[test]
    fn a_query_is_read_like_a_body() {
        let read = |query: &str| {
            let mut fields = Fields::of_query(query)?;
            let limit = fields.optional("limit", number(1..=100));
            let account = fields.optional("account", text(AccountId::try_new));
            fields.finish(|| Some((limit?, account?)))
        };
        for (query, code, field) in [
            ("", "ok", None),
            ("&", "ok", None),
            ("limit=100&account=a%2D1", "ok", None),
            ("limit=0", "below_minimum", Some("limit")),
            ("limit=101", "above_maximum", Some("limit")),
            ("limit=ten", "malformed_request", None),
            ("limit=", "malformed_request", None),
            ("limit=1.0", "malformed_request", None),
            ("limit=%2B1", "malformed_request", None),
            ("limit=+1", "malformed_request", None),
            ("limit=01", "malformed_request", None),
            ("limit=99999999999999999999", "malformed_request", None),
            ("limit=1&limit=2", "invalid_field", Some("limit")),
            ("limit=1&limit=1", "invalid_field", Some("limit")),
            ("page=2", "unknown_field", Some("page")),
            ("page", "unknown_field", Some("page")),
            ("account=a+1", "invalid_field", Some("account")),
            ("account=%zz", "malformed_request", None),
            ("account=%4", "malformed_request", None),
            ("account=%ff", "malformed_request", None),
        ] {
            assert_eq!(
                told(read(query)),
                (code, field.map(str::to_owned)),
                "{query}"
            );
        }
    }

    #[test]
    fn of_two_parts_the_one_that_goes_first_is_answered() {
        let bad_body = || command(br#"{"amount":0,"reason":"x"}"#);
        let too_long = || command(&[b'x'; MAX_BODY + 1]);
        let no_key = || Err::<(), _>(Problem::key_required());
        assert_eq!(
            told(both(no_key(), bad_body())).0,
            "idempotency_key_required"
        );
        assert_eq!(
            told(both(bad_body(), no_key())).0,
            "idempotency_key_required"
        );
        assert_eq!(told(both(no_key(), too_long())).0, "body_too_large");
        assert_eq!(
            told(both(no_key(), command(b"["))).0,
            "idempotency_key_required"
        );
        assert_eq!(told(both(Ok(()), bad_body())).0, "below_minimum");
        assert_eq!(told(both(no_key(), Ok(()))).0, "idempotency_key_required");
        assert_eq!(both(Ok(1), Ok(2)), Ok((1, 2)));
    }

    #[tokio::test]
    async fn an_input_error_is_told_only_of_what_exists() {
        let missing = || Refusal::AccountNotFound;
        let bad = || Err::<(), _>(Problem::malformed("no"));
        let (there, gone) = (async || Ok(true), async || Ok(false));
        assert_eq!(
            told(input(bad(), there(), missing()).await).0,
            "malformed_request"
        );
        assert_eq!(
            told(input(bad(), gone(), missing()).await).0,
            "account_not_found"
        );
        let forbidden = Err::<(), _>(Problem::forbidden());
        assert_eq!(
            told(input(forbidden, gone(), missing()).await).0,
            "forbidden"
        );
        // Good input is not looked up: the ledger will find out by itself.
        assert_eq!(told(input(Ok(()), gone(), missing()).await).0, "ok");
    }
}
