//! Identifiers. Those from outside are parsed once, at the edge; ours follow from what they name,
//! so a retry makes the same one.

use std::fmt;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use sha2::{Digest, Sha256};

use super::refusal::Invalid;

/// The longest id that is accepted from outside.
const MAX_EXTERNAL_ID: usize = 64;

/// What a promo code may measure.
const PROMO_CODE_LENGTH: std::ops::RangeInclusive<usize> = 3..=32;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $parse:path, $form:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "contract", schemars(extend("pattern" = $form, "examples" = [$example])))]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// `invalid_field` when the text is not of this id's form.
            pub fn try_new(text: &str) -> Result<Self, Invalid> {
                $parse($field, text).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::try_new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    };
}

text_id!(
    /// A holder's account: `[A-Za-z0-9_-]{1,64}`, chosen by the marketplace.
    AccountId, "account_id", external_id, r"^[A-Za-z0-9_-]{1,64}$", "a1"
);
text_id!(
    /// A natural person behind accounts: the signup bonus is once per person.
    PersonId, "person_id", external_id, r"^[A-Za-z0-9_-]{1,64}$", "p1"
);
text_id!(
    /// A job of the marketplace.
    JobId, "job_id", external_id, r"^[A-Za-z0-9_-]{1,64}$", "J1"
);
text_id!(
    /// A promo code: `[A-Z0-9-]{3,32}`, upper-cased on input.
    PromoCode, "code", promo_code, r"^[A-Za-z0-9-]{3,32}$", "SPRING-26"
);
text_id!(
    /// What an entry is about: `job:…`, `purchase:…`, `promo:…`, `cycle:…`, `spend:…` and so on.
    Reference, "reference", reference, r"^[a-z_]{1,32}:[A-Za-z0-9_-]{1,64}$", "job:J1"
);
text_id!(
    /// Why an entry was made: `[a-z_]{1,40}`.
    Reason, "reason", reason, r"^[a-z_]{1,40}$", "featured_profile"
);
text_id!(
    /// One of our own ids: a prefix and 26 base32 characters.
    OperationId, "id", operation_id, r"^[a-z]{2}_[a-z0-9]{26}$", "sp_lnu5nhgz3lsyasjuyzvedewhr5"
);

fn external_id(field: &str, text: &str) -> Result<String, Invalid> {
    let fits = (1..=MAX_EXTERNAL_ID).contains(&text.len()) && text.bytes().all(is_id_byte);
    fits.then(|| text.to_owned())
        .ok_or_else(|| Invalid::field(field, "must match [A-Za-z0-9_-]{1,64}"))
}

fn promo_code(field: &str, text: &str) -> Result<String, Invalid> {
    let fits = PROMO_CODE_LENGTH.contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    fits.then(|| text.to_ascii_uppercase())
        .ok_or_else(|| Invalid::field(field, "must match [A-Z0-9-]{3,32}"))
}

fn reference(field: &str, text: &str) -> Result<String, Invalid> {
    let fits = text.split_once(':').is_some_and(|(kind, id)| {
        (1..=32).contains(&kind.len())
            && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            && (1..=MAX_EXTERNAL_ID).contains(&id.len())
            && id.bytes().all(is_id_byte)
    });
    fits.then(|| text.to_owned()).ok_or_else(|| {
        Invalid::field(
            field,
            "must be a kind and an id, such as job:J1: [a-z_]{1,32}:[A-Za-z0-9_-]{1,64}",
        )
    })
}

fn reason(field: &str, text: &str) -> Result<String, Invalid> {
    let fits =
        (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    fits.then(|| text.to_owned())
        .ok_or_else(|| Invalid::field(field, "must match [a-z_]{1,40}"))
}

fn operation_id(field: &str, text: &str) -> Result<String, Invalid> {
    let fits = text.split_once('_').is_some_and(|(prefix, hash)| {
        prefix.len() == 2
            && prefix.bytes().all(|b| b.is_ascii_lowercase())
            && hash.len() == 26
            && hash
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    });
    fits.then(|| text.to_owned())
        .ok_or_else(|| Invalid::field(field, "is not an id of this system"))
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

impl Reason {
    /// A reason of the vocabulary, known when the program is written.
    pub fn of(word: &'static str) -> Self {
        debug_assert!(reason("reason", word).is_ok());
        Self(word.to_owned())
    }
}

impl Reference {
    /// A reference whose parts are known to fit.
    pub fn of(kind: &'static str, id: impl fmt::Display) -> Self {
        Self(format!("{kind}:{id}"))
    }
}

/// The kinds of operation that leave a receipt; the scope of an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `sp_…`
    Spend,
    /// `pu_…`
    Purchase,
    /// `rf_…`
    Refund,
    /// `rd_…`
    Redemption,
    /// `pr_…`
    Proposal,
    /// `pc_…`
    PlanChange,
    /// `rw_…`
    Reward,
    /// `ho_…`
    Hold,
    /// `bd_…`
    Bid,
    /// `co_…`
    Codes,
}

impl Operation {
    /// The two letters that its ids begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Spend => "sp",
            Self::Purchase => "pu",
            Self::Refund => "rf",
            Self::Redemption => "rd",
            Self::Proposal => "pr",
            Self::PlanChange => "pc",
            Self::Reward => "rw",
            Self::Hold => "ho",
            Self::Bid => "bd",
            Self::Codes => "co",
        }
    }
}

impl OperationId {
    /// The id of the operation that `key` names in this account: the same for every retry.
    pub fn derive(account: &AccountId, operation: Operation, key: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(account.as_str())
            .chain_update([0])
            .chain_update(operation.prefix())
            .chain_update([0])
            .chain_update(key)
            .finalize();
        let hash = BASE32_NOPAD.encode(&digest[..17]).to_ascii_lowercase();
        Self(format!("{}_{}", operation.prefix(), &hash[..26]))
    }

    /// Whether this is an id of that kind of operation.
    pub fn is(&self, operation: Operation) -> bool {
        self.0.starts_with(operation.prefix())
    }
}

/// What a request asked for, as far as two requests under one idempotency key must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of an operation's name and its parsed arguments: the canonical body.
    pub fn of(operation: Operation, arguments: &impl Serialize) -> Self {
        // A `Value` keeps its members in order of name, whatever order they came in.
        let canonical = serde_json::to_value(arguments)
            .unwrap_or_default()
            .to_string();
        let digest = Sha256::new()
            .chain_update(operation.prefix())
            .chain_update([0])
            .chain_update(canonical)
            .finalize();
        Self(HEXLOWER.encode(&digest[..16]))
    }

    /// The stored form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The number of a journal entry in its account, from 1, without gaps.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Seq(u64);

impl Seq {
    /// Before the first entry.
    pub const NONE: Self = Self(0);

    /// That number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lot's name: the entry that issued it and its place in that entry, `12-0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LotId {
    /// The issuing entry.
    pub seq: Seq,
    /// Its place among the lots of that entry, from 0.
    pub index: u32,
}

impl fmt::Display for LotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.seq, self.index)
    }
}

impl std::str::FromStr for LotId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.split_once('-')
            .and_then(|(seq, index)| {
                Some(Self {
                    seq: Seq(seq.parse().ok()?),
                    index: index.parse().ok()?,
                })
            })
            .ok_or_else(|| Invalid::field("lot_id", "is not a lot id"))
    }
}

#[cfg(feature = "contract")]
impl schemars::JsonSchema for LotId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LotId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+-[0-9]+$",
            "description": "A lot's name: the number of the entry that issued it and its place in that entry.",
        })
    }
}

impl Serialize for LotId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LotId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts<T>(parse: impl Fn(&str) -> Result<T, Invalid>, good: &[&str], bad: &[&str])
    where
        T: fmt::Display + for<'de> Deserialize<'de>,
    {
        let read = |text: &str| serde_json::from_value::<T>(text.into());
        for text in good {
            assert_eq!(parse(text).unwrap().to_string(), *text);
            assert_eq!(read(text).unwrap().to_string(), *text);
        }
        for text in bad {
            assert!(parse(text).is_err(), "{text:?}");
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ids_from_outside_have_their_forms() {
        let (longest, too_long) = ("a".repeat(64), "a".repeat(65));
        let good = ["a", "A-1_z", "09", &longest];
        let bad = ["", " ", "a b", "a.b", "a/b", "ä", "a\n", &too_long];
        accepts(AccountId::try_new, &good, &bad);
        accepts(PersonId::try_new, &good, &bad);
        accepts(JobId::try_new, &good, &bad);

        let (longest, too_long) = ("A".repeat(32), "A".repeat(33));
        let good = ["ABC", "A-1", "---", &longest];
        accepts(
            PromoCode::try_new,
            &good,
            &["", "AB", "A_B", "A B", "ÄBC", &too_long],
        );
        assert_eq!(
            PromoCode::try_new("spring-26").unwrap().as_str(),
            "SPRING-26"
        );

        let longest = format!("{}:{}", "k".repeat(32), "a".repeat(64));
        let kind_too_long = format!("{}:a", "k".repeat(33));
        let id_too_long = format!("k:{}", "a".repeat(65));
        let bad = [
            "",
            ":",
            "job:",
            ":J1",
            "job",
            "Job:J1",
            "job1:J1",
            "job:J 1",
            "job:a:b",
            "j-b:J1",
            &kind_too_long,
            &id_too_long,
        ];
        accepts(
            Reference::try_new,
            &["job:J1", "free_job:a-b_c", &longest],
            &bad,
        );

        let (longest, too_long) = ("a".repeat(40), "a".repeat(41));
        let good = ["a", "_", "a_b", &longest];
        accepts(
            Reason::try_new,
            &good,
            &["", "A", "a b", "a-b", "a1", &too_long],
        );
    }

    #[test]
    fn ids_of_ours_have_their_form() {
        let id = format!("sp_{}", "a0".repeat(13));
        let bad = [
            "",
            "sp",
            "sp_",
            &format!("sp-{}", "a".repeat(26)),
            &format!("s_{}", "a".repeat(26)),
            &format!("spx_{}", "a".repeat(26)),
            &format!("Sp_{}", "a".repeat(26)),
            &format!("s1_{}", "a".repeat(26)),
            &format!("sp_{}", "a".repeat(25)),
            &format!("sp_{}", "a".repeat(27)),
            &format!("sp_{}A", "a".repeat(25)),
            &format!("sp_{}_", "a".repeat(25)),
        ];
        accepts(OperationId::try_new, &[&id], &bad);
    }

    #[test]
    fn an_operations_id_follows_from_what_it_names() {
        let account = |id| AccountId::try_new(id).unwrap();
        let kinds = [
            (Operation::Spend, "sp_"),
            (Operation::Purchase, "pu_"),
            (Operation::Refund, "rf_"),
            (Operation::Redemption, "rd_"),
            (Operation::Proposal, "pr_"),
            (Operation::PlanChange, "pc_"),
            (Operation::Reward, "rw_"),
            (Operation::Hold, "ho_"),
            (Operation::Bid, "bd_"),
            (Operation::Codes, "co_"),
        ];
        for (kind, prefix) in kinds {
            let id = OperationId::derive(&account("a1"), kind, "k");
            assert_eq!(OperationId::try_new(id.as_str()).as_ref(), Ok(&id));
            assert!(id.as_str().starts_with(prefix));
            assert_eq!(id, OperationId::derive(&account("a1"), kind, "k"));
            assert_ne!(id, OperationId::derive(&account("a2"), kind, "k"));
            assert_ne!(id, OperationId::derive(&account("a1"), kind, "l"));
            for (other, _) in kinds {
                assert_eq!(id.is(other), kind == other);
            }
        }
    }

    #[test]
    fn a_fingerprint_is_of_the_operation_and_its_arguments() {
        let print = Fingerprint::of(Operation::Spend, &("a", 1));
        assert_eq!(print, Fingerprint::of(Operation::Spend, &("a", 1)));
        assert_ne!(print, Fingerprint::of(Operation::Spend, &("a", 2)));
        assert_ne!(print, Fingerprint::of(Operation::Refund, &("a", 1)));
        assert_eq!(print.as_str().len(), 32);
        assert_eq!(serde_json::json!(print), print.as_str());
    }

    #[test]
    fn a_lots_name_reads_back() {
        let id: LotId = "12-3".parse().unwrap();
        assert_eq!((id.seq, id.index), (Seq::new(12), 3));
        assert_eq!(id.to_string(), "12-3");
        assert_eq!((id.seq.get(), id.seq.next()), (12, Seq::new(13)));
        for text in ["", "12", "-3", "12-", "a-1", "1-b", "1-2-3"] {
            assert!(text.parse::<LotId>().is_err(), "{text}");
        }
    }
}
