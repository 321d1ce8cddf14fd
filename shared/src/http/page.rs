//! Pages of a listing: `limit` and an opaque `cursor` that fits only the listing it came from.

use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::input::{Fields, number, opaque};
use super::problem::Problem;

/// How many a page holds when nothing is said.
const DEFAULT_LIMIT: usize = 50;

/// The most that a page can hold.
const MAX_LIMIT: i64 = 100;

/// Bytes of the fingerprint in a cursor: against mistakes, not against forgery. A cursor only
/// says where to go on; what may be seen is decided by the token, every time.
const FINGERPRINT: usize = 6;

/// A listing: what its pages are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing([u8; FINGERPRINT]);

impl Listing {
    /// The listing that these words name: the route, the account, the filters.
    pub fn of(words: &[&str]) -> Self {
        let digest = words
            .iter()
            .fold(Sha256::new(), |hash, word| {
                hash.chain_update(word.len().to_be_bytes())
                    .chain_update(word)
            })
            .finalize();
        let mut fingerprint = [0; FINGERPRINT];
        fingerprint.copy_from_slice(&digest[..FINGERPRINT]);
        Self(fingerprint)
    }

    /// The cursor that stands at a position.
    ///
    /// # Errors
    /// `internal`, should the position have no JSON form.
    pub fn cursor(&self, position: &impl Serialize) -> Result<String, Problem> {
        let json = serde_json::to_vec(position).map_err(|error| Problem::internal(&error))?;
        Ok(BASE64URL_NOPAD.encode(&[&self.0[..], &json].concat()))
    }

    fn position<T: DeserializeOwned>(&self, cursor: &str) -> Result<T, Problem> {
        BASE64URL_NOPAD
            .decode(cursor.as_bytes())
            .ok()
            .filter(|bytes| bytes.starts_with(&self.0))
            .and_then(|bytes| serde_json::from_slice(&bytes[FINGERPRINT..]).ok())
            .ok_or_else(Problem::invalid_cursor)
    }
}

/// Reads `limit`: 1 to 100, 50 when it is left out. What is no whole number is a 400, like a
/// number of the wrong type in a body.
pub fn limit(query: &mut Fields) -> Option<usize> {
    let limit = query.optional("limit", number(1..=MAX_LIMIT))?;
    Some(limit.map_or(DEFAULT_LIMIT, |n| {
        usize::try_from(n).unwrap_or(DEFAULT_LIMIT)
    }))
}

/// Reads `cursor`: the position it stands at, if it is one of this listing.
pub fn cursor<T: DeserializeOwned>(query: &mut Fields, listing: &Listing) -> Option<Option<T>> {
    query.optional("cursor", opaque(|cursor| listing.position(cursor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        Listing::of(&["history", "a1", "days=7"])
    }

    fn cursor_of_two(fields: &mut Fields) -> Option<Option<(String, u64)>> {
        cursor(fields, &listing())
    }

    #[test]
    fn a_cursor_leads_back_to_its_position() {
        let cursor = listing().cursor(&("12-0", 7)).unwrap();
        let read = |query: &str| {
            let mut fields = Fields::of_query(query)?;
            let position = cursor_of_two(&mut fields);
            fields.finish(|| position)
        };
        assert_eq!(
            read(&format!("cursor={cursor}")),
            Ok(Some(("12-0".to_owned(), 7)))
        );
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("cursor=x"), Err(Problem::invalid_cursor()));
        assert_eq!(read("cursor="), Err(Problem::invalid_cursor()));
    }

    #[test]
    fn a_cursor_fits_only_its_own_listing() {
        let cursor = listing().cursor(&7).unwrap();
        for words in [
            &["history", "a2", "days=7"][..],
            &["history", "a1", "days=30"],
            &["lots", "a1", "days=7"],
            &["history", "a1days=7", ""],
            &["history", "a1"],
        ] {
            let read = Listing::of(words).position::<u64>(&cursor);
            assert_eq!(read, Err(Problem::invalid_cursor()), "{words:?}");
        }
    }

    #[test]
    fn garbage_is_no_cursor() {
        let cut = listing().cursor(&7).unwrap();
        let of_another_type = listing().cursor(&"seven").unwrap();
        for text in [
            "",
            "x",
            "%%%",
            "AAAAAAAA",
            &cut[..8],
            &of_another_type,
            &format!("{cut}="),
        ] {
            let read = listing().position::<u64>(text);
            assert_eq!(read, Err(Problem::invalid_cursor()), "{text:?}");
        }
    }

    #[test]
    fn a_page_holds_50_unless_told() {
        let read = |query: &str| {
            let mut fields = Fields::of_query(query)?;
            let limit = limit(&mut fields);
            fields.finish(|| limit)
        };
        assert_eq!(read(""), Ok(50));
        assert_eq!(read("limit=1"), Ok(1));
        assert_eq!(read("limit=100"), Ok(100));
        for (query, code) in [
            ("limit=0", "below_minimum"),
            ("limit=-1", "below_minimum"),
            ("limit=101", "above_maximum"),
            ("limit=many", "malformed_request"),
        ] {
            assert_eq!(read(query).map_err(|p| p.code()), Err(code), "{query}");
        }
    }
}
