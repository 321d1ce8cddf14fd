//! Single-use codes: as many as are wanted of one promo, made by one request and shown once.
//!
//! `SPRING-22BKA-…`: the promo's name and fifteen characters, of which three number the code and
//! twelve, 60 bits, can't be guessed. Of each code a mark is kept, its hash, on a page that its
//! number leads to. The codes themselves follow from random bytes, which are kept for as long as a retry
//! may be answered as its first try was, and from the request's idempotency key, which is not: so the
//! same request can be told them again, and whoever reads the table can't make them.
//!
//! What is compared is hashes, so how long it takes tells nothing that would help to find a code.

use chrono::TimeDelta;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::draft::MAX_ACTIONS;
use super::ids::{Fingerprint, Operation, PromoCode};
use super::key::IdempotencyKey;
use super::promo::{MAX_SLOTS, Promo, PromoState, PromoView, Terms, set_terms};
use super::refusal::{Invalid, Refusal};
use super::time::{self, Time};

/// What a code's tail is written in: no two of these look alike.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Characters between two hyphens of a tail.
const GROUP: usize = 5;

/// `-NNNXX-XXXXX-XXXXX`
const TAIL: usize = 3 * (1 + GROUP);

/// Characters that number a code.
const DIGITS: usize = 3;

/// Characters that can't be guessed, 5 bits each.
const UNGUESSED: usize = 3 * GROUP - DIGITS;

/// The longest name that leaves room for a tail in a code.
const MAX_NAME: usize = 32 - TAIL;

/// More than the numbers go up to would have no code.
const MAX_CODES: u32 = 32_u32.pow(DIGITS as u32);

/// Bytes of a mark: as many bits as a code's own and a few more.
const MARK: usize = 8;

/// Marks on a page: with its key it is no more than 4 KB, one read unit.
const MARKS_PER_PAGE: u32 = 500;

/// The promo, its slots, the pages and the export are written together.
const _: () =
    assert!(2 + MAX_SLOTS as usize + MAX_CODES.div_ceil(MARKS_PER_PAGE) as usize <= MAX_ACTIONS);

/// `[promos]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromoPolicy {
    /// The most single-use codes of one promo.
    pub max_codes: u32,
    /// Minutes for which a retry of the request that made them is answered with them.
    pub codes_shown_minutes: u32,
}

impl PromoPolicy {
    /// What of it could not be kept.
    pub(super) fn broken(&self) -> Option<&'static str> {
        if !(1..=MAX_CODES).contains(&self.max_codes) {
            Some("promos.max_codes must be from 1 to 32768")
        } else if !(1..=1_440).contains(&self.codes_shown_minutes) {
            Some("promos.codes_shown_minutes must be from 1 to 1440")
        } else {
            None
        }
    }
}

/// Where a text of a single-use code's form leads, whether it is one or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The promo whose terms it would have.
    pub promo: PromoCode,
    /// Its number, from 0.
    number: u32,
}

impl Place {
    /// Of a code; none where it is not of that form, so that it can only name a promo itself.
    pub fn of(code: &PromoCode) -> Option<Self> {
        let text = code.as_str();
        let (name, tail) = text.split_at_checked(text.len().checked_sub(TAIL)?)?;
        let groups: Vec<&str> = tail.split('-').collect();
        let ["", groups @ ..] = &groups[..] else {
            return None;
        };
        let digit = |byte| ALPHABET.iter().position(|one| *one == byte);
        let digits: Option<Vec<usize>> = groups.concat().bytes().map(digit).collect();
        let number = digits?.iter().take(DIGITS).fold(0, |n, d| n * 32 + d);
        groups
            .iter()
            .all(|group| group.len() == GROUP)
            .then_some(Self {
                promo: PromoCode::try_new(name).ok()?,
                number: number as u32,
            })
    }

    /// The promo that a code would be redeemed of: the one it names, or itself.
    pub fn promo_of(code: &PromoCode) -> PromoCode {
        Self::of(code).map_or_else(|| code.clone(), |place| place.promo)
    }

    /// The page that its mark would be on.
    pub fn page(&self) -> u32 {
        self.number / MARKS_PER_PAGE
    }
}

/// Marks of codes whose numbers follow one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page(Vec<u8>);

impl Page {
    /// As it was stored.
    pub const fn stored(marks: Vec<u8>) -> Self {
        Self(marks)
    }

    /// The stored form.
    pub fn marks(&self) -> &[u8] {
        &self.0
    }

    fn of(codes: &[PromoCode]) -> Self {
        Self(codes.iter().flat_map(mark).collect())
    }

    /// Whether the code of that place is one of its own.
    pub fn has(&self, place: &Place, code: &PromoCode) -> bool {
        let (marks, _) = self.0.as_chunks::<MARK>();
        marks.get((place.number % MARKS_PER_PAGE) as usize) == Some(&mark(code))
    }
}

fn mark(code: &PromoCode) -> [u8; MARK] {
    let digest = Sha256::digest(code.as_str());
    std::array::from_fn(|n| digest[n])
}

/// Random bytes that codes follow from, together with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Salt(String);

impl Salt {
    /// Of bytes that are fit for cryptography.
    pub fn of(random: &[u8; 32]) -> Self {
        Self(HEXLOWER.encode(random))
    }

    /// What tells the key again without telling what it is.
    fn mark(&self, key: &IdempotencyKey) -> String {
        HEXLOWER.encode(&self.digest(b'k', key))
    }

    fn secret(&self, key: &IdempotencyKey) -> Secret {
        Secret(self.digest(b's', key))
    }

    fn digest(&self, purpose: u8, key: &IdempotencyKey) -> [u8; 32] {
        let digest = Sha256::new()
            .chain_update([purpose])
            .chain_update(&self.0)
            .chain_update(key.as_str());
        digest.finalize().into()
    }
}

/// What a batch of codes follows from. It is kept nowhere.
struct Secret([u8; 32]);

impl Secret {
    fn codes(&self, promo: &PromoCode, count: u32) -> Result<Vec<PromoCode>, Invalid> {
        (0..count).map(|number| self.code(promo, number)).collect()
    }

    fn code(&self, promo: &PromoCode, number: u32) -> Result<PromoCode, Invalid> {
        let digest = Sha256::new()
            .chain_update(self.0)
            .chain_update(number.to_be_bytes())
            .finalize();
        let digits = [number >> 10, number >> 5, number].map(|digit| (digit % 32) as usize);
        let unguessed = digest.iter().map(|byte| usize::from(byte % 32));
        let tail: Vec<char> = digits
            .into_iter()
            .chain(unguessed.take(UNGUESSED))
            .map(|digit| char::from(ALPHABET[digit]))
            .collect();
        let tail: String = tail
            .chunks(GROUP)
            .flat_map(|group| std::iter::once(&'-').chain(group))
            .collect();
        PromoCode::try_new(&format!("{promo}{tail}"))
    }
}

/// A request for single-use codes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodesCommand {
    /// How many.
    pub count: u32,
    /// The terms of each.
    #[serde(flatten)]
    pub terms: Terms,
}

/// What is kept of the request that made a promo's codes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// What it asked for.
    pub fingerprint: Fingerprint,
    /// What its idempotency key is known by.
    pub key_mark: String,
    /// What the codes follow from together with the key.
    pub salt: Salt,
    /// From when on they are not shown any more.
    #[serde(with = "time::as_text")]
    pub shown_until: Time,
}

/// All that is written down for a promo with single-use codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The promo and its counters.
    pub state: PromoState,
    /// The marks of its codes.
    pub pages: Vec<Page>,
    /// What the answer can be made of again.
    pub export: Export,
}

impl CodesCommand {
    /// What a retry must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::Codes, self)
    }

    /// Makes the codes of a promo that is not there yet.
    ///
    /// # Errors
    /// `invalid_field` as for [`set_terms`], and for a name that is too long.
    pub fn plan(
        &self,
        promo: &PromoCode,
        key: &IdempotencyKey,
        salt: Salt,
        now: Time,
        policy: &PromoPolicy,
    ) -> Result<(CodesAnswer, Batch), Refusal> {
        if promo.as_str().len() > MAX_NAME {
            let detail =
                format!("must have {MAX_NAME} characters at most: its codes have {TAIL} more");
            Err(Invalid::field("code", detail))?;
        }
        let (plain, slots) = set_terms(promo, self.terms.clone(), None)?;
        let export = Export {
            fingerprint: self.fingerprint(),
            key_mark: salt.mark(key),
            salt,
            shown_until: now + TimeDelta::minutes(policy.codes_shown_minutes.into()),
        };
        let answer = export.answer(promo, key, self.count)?;
        let pages = answer.codes.chunks(MARKS_PER_PAGE as usize);
        let batch = Batch {
            pages: pages.map(Page::of).collect(),
            state: (
                Promo {
                    single_use_codes: Some(self.count),
                    ..plain
                },
                slots,
            ),
            export,
        };
        Ok((answer, batch))
    }

    /// The answer that the request has had, where the promo is there already.
    ///
    /// # Errors
    /// `promo_exists` where another request made it, or it was too long ago; `idempotency_key_reused`
    /// for another request under the same key.
    pub fn again(
        &self,
        (promo, slots): &PromoState,
        export: Option<&Export>,
        key: &IdempotencyKey,
        now: Time,
    ) -> Result<CodesAnswer, Refusal> {
        let exists = || {
            let existing = serde_json::to_value(PromoView::of(promo, slots));
            Refusal::PromoExists {
                existing: existing.unwrap_or_default(),
            }
        };
        let ours = export.filter(|export| export.key_mark == export.salt.mark(key));
        let ours = ours.ok_or_else(exists)?;
        ours.fingerprint.must_be(&self.fingerprint())?;
        match now < ours.shown_until {
            true => Ok(ours.answer(&promo.code, key, self.count)?),
            false => Err(exists()),
        }
    }
}

impl Export {
    fn answer(
        &self,
        promo: &PromoCode,
        key: &IdempotencyKey,
        count: u32,
    ) -> Result<CodesAnswer, Invalid> {
        Ok(CodesAnswer {
            code: promo.clone(),
            shown_until: self.shown_until,
            codes: self.salt.secret(key).codes(promo, count)?,
        })
    }
}

/// The codes of a promo, as they are shown to whoever made them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct CodesAnswer {
    /// The promo.
    pub code: PromoCode,
    /// From when on the same request is not answered with them any more.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub shown_until: Time,
    /// Each can be redeemed once.
    pub codes: Vec<PromoCode>,
}

impl CodesAnswer {
    /// One code a line, under a header.
    pub fn csv(&self) -> String {
        let lines = self.codes.iter().map(PromoCode::as_str);
        std::iter::once("code")
            .chain(lines)
            .fold(String::new(), |text, line| text + line + "\r\n")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::policy::built_in;
    use super::super::promo::{Offer, Slot};
    use super::super::testing::at;
    use super::super::units::Connects;
    use super::*;

    const NOW: &str = "2026-01-10T12:00:00Z";

    fn name(text: &str) -> PromoCode {
        PromoCode::try_new(text).unwrap()
    }

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::try_new(text).unwrap()
    }

    fn command(count: u32) -> CodesCommand {
        CodesCommand {
            count,
            terms: Terms {
                offer: Offer::Grant {
                    quantity: Connects::new(5),
                },
                valid_from: at(NOW),
                valid_until: at("2027-01-01T00:00:00Z"),
                max_redemptions: None,
                kinds: None,
                plans: None,
                lot_valid_days: None,
            },
        }
    }

    fn made(promo: &str, count: u32) -> Result<(CodesAnswer, Batch), Refusal> {
        let policy = built_in().promos;
        let salt = Salt::of(&[7; 32]);
        command(count).plan(&name(promo), &key("k"), salt, at(NOW), &policy)
    }

    #[test]
    fn ten_thousand_codes_differ_and_each_is_found_by_its_mark() {
        let (answer, batch) = made("SPRING", 10_000).unwrap();
        let different: BTreeSet<&PromoCode> = answer.codes.iter().collect();
        assert_eq!(different.len(), 10_000);
        assert_eq!(batch.pages.len(), 20);
        for (number, code) in answer.codes.iter().enumerate() {
            let place = Place::of(code).unwrap();
            assert_eq!(
                (place.promo.as_str(), place.number),
                ("SPRING", number as u32)
            );
            assert!(batch.pages[place.page() as usize].has(&place, code));
        }
        // No two share what can't be guessed, either.
        let tails: BTreeSet<&str> = answer.codes.iter().map(|c| &c.as_str()[10..]).collect();
        assert_eq!(tails.len(), 10_000);
        let promo = &batch.state.0;
        assert_eq!((promo.single_use_codes, promo.slots), (Some(10_000), 16));
    }

    #[test]
    fn a_code_that_was_changed_anywhere_is_none() {
        let (answer, batch) = made("SPRING", 3).unwrap();
        let page = &batch.pages[0];
        let code = answer.codes[1].as_str();
        let known = |text: &str| {
            let code = name(text);
            Place::of(&code).is_some_and(|place| page.has(&place, &code))
        };
        assert!(known(code) && known(&code.to_lowercase()));
        for (n, was) in code.char_indices().filter(|(_, c)| *c != '-') {
            let other = if was == 'A' { 'B' } else { 'A' };
            let mut text = code.to_owned();
            text.replace_range(n..=n, &other.to_string());
            assert!(!known(&text), "{text}");
        }
        // The tail of another number, and a number that there is not.
        let other = format!("SPRING-224{}", &code[10..]);
        let beyond = format!("SPRING-225{}", &code[10..]);
        assert!(!known(&other) && !known(&beyond));
    }

    #[test]
    fn what_is_not_of_the_form_is_a_promo_itself() {
        for (code, number) in [
            ("SPRING-22223-AAAAA-AAAAA", Some(0)),
            ("SPRING-ZZZ23-AAAAA-AAAAA", Some(32_767)),
            ("A-B-2322A-AAAAA-ZZZZZ", Some(32)),
            ("LONGEST-NAME-X-22223-AAAAA-AAAAA", Some(0)),
            ("SPRING", None),
            ("SPRING-26", None),
            ("-22223-AAAAA-AAAAA", None),
            ("AB-22223-AAAAA-AAAAA", None),
            ("SPRING-22223-AAAAA-AAAA", None),
            ("SPRING-22223-AAAAA-AAAA0", None),
            ("SPRING-22223-AAAAA-AAAA1", None),
            ("SPRING-22223-AAAAA-AAAAI", None),
            ("SPRING-22223-AAAAA-AAAAO", None),
            ("SPRING-222-23AAAAA-AAAAA", None),
            ("SPRING--2223-AAAAA-AAAAA", None),
            ("SPRING22223-AAAAA-AAAAA-", None),
        ] {
            let place = Place::of(&name(code));
            assert_eq!(place.map(|place| place.number), number, "{code}");
        }
    }

    #[test]
    fn a_name_leaves_room_for_its_codes() {
        assert!(made("FOURTEEN-CHARS", 1).is_ok());
        let refused = made("FIFTEEN-LETTERS", 1);
        let Err(Refusal::Invalid(invalid)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(invalid.field, "code");
    }

    #[test]
    fn the_codes_are_told_again_to_the_same_request_for_a_while() {
        let (answer, batch) = made("SPRING", 3).unwrap();
        let again = |command: &CodesCommand, text: &str, now: &str| {
            command.again(&batch.state, Some(&batch.export), &key(text), at(now))
        };
        let exists = |told: Result<CodesAnswer, Refusal>| {
            let Err(Refusal::PromoExists { existing }) = told else {
                panic!("{told:?}");
            };
            assert_eq!(existing["single_use_codes"], 3);
        };
        let three = command(3);
        let last = "2026-01-10T12:14:59.999Z";
        assert_eq!(again(&three, "k", NOW), Ok(answer.clone()));
        assert_eq!(again(&three, "k", last), Ok(answer.clone()));
        assert_eq!(answer.shown_until, at("2026-01-10T12:15:00Z"));
        exists(again(&three, "k", "2026-01-10T12:15:00Z"));
        exists(again(&three, "other", NOW));
        exists(three.again(&batch.state, None, &key("k"), at(NOW)));
        let reused = again(&command(4), "k", NOW);
        assert_eq!(reused, Err(Refusal::IdempotencyKeyReused));
    }

    #[test]
    fn terms_of_a_promo_with_codes_change_as_any_others() {
        let (_, batch) = made("SPRING", 3).unwrap();
        let less = Terms {
            max_redemptions: Some(2),
            ..command(3).terms
        };
        let (promo, slots) = set_terms(&name("SPRING"), less, Some(&batch.state)).unwrap();
        assert_eq!((promo.single_use_codes, promo.version), (Some(3), 2));
        let caps: u64 = slots.iter().filter_map(|slot: &Slot| slot.cap).sum();
        assert_eq!(caps, 2);
    }

    #[test]
    fn codes_follow_from_what_is_kept_and_from_the_key_which_is_not() {
        let codes = |byte: u8, text: &str| {
            let secret = Salt::of(&[byte; 32]).secret(&key(text));
            secret.codes(&name("SPRING"), 50).unwrap()
        };
        let one = codes(7, "k");
        assert_eq!(codes(7, "k"), one);
        for other in [codes(8, "k"), codes(7, "l")] {
            assert!(one.iter().all(|code| !other.contains(code)));
        }
        let salt = Salt::of(&[7; 32]);
        let (_, batch) = command(3)
            .plan(
                &name("SPRING"),
                &key("my-own-key"),
                salt,
                at(NOW),
                &built_in().promos,
            )
            .unwrap();
        let kept = serde_json::to_string(&batch.export).unwrap();
        assert!(!kept.contains("my-own-key"), "{kept}");
    }

    #[test]
    fn csv_is_a_code_a_line() {
        let (answer, _) = made("SPRING", 2).unwrap();
        let csv = answer.csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0], "code");
        assert_eq!(
            lines[1..],
            answer
                .codes
                .iter()
                .map(PromoCode::as_str)
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_policy_says_what_can_be_kept() {
        for (max_codes, codes_shown_minutes, fits) in [
            (1, 1, true),
            (32_768, 1_440, true),
            (0, 15, false),
            (32_769, 15, false),
            (10, 0, false),
            (10, 1_441, false),
        ] {
            let policy = PromoPolicy {
                max_codes,
                codes_shown_minutes,
            };
            assert_eq!(policy.broken().is_none(), fits, "{policy:?}");
        }
    }
}
