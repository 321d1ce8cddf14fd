//! `Stripe-Signature`: `t=<seconds>,v1=<hex>,…`, where `v1` is the HMAC-SHA256 of `<t>.<body>` under
//! one of the endpoint's secrets. While a secret is being replaced there are several of both.

use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::secret::Secret;
use crate::domain::time::Time;

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// There is no signature of that form.
    #[error("it has no signature")]
    Missing,
    /// It was signed too long ago, or in a time to come.
    #[error("its signature is not of this time")]
    NotNow,
    /// Nobody who knows a secret of ours signed it.
    #[error("its signature is not the provider's")]
    Stranger,
}

/// Whether one of the secrets signed the body, within that long of now.
///
/// # Errors
/// Says why it is not believed.
pub fn verify(
    secrets: &[Secret],
    header: &str,
    body: &[u8],
    now: Time,
    tolerance: Duration,
) -> Result<(), Unsigned> {
    let fields = || {
        header
            .split(',')
            .filter_map(|field| field.trim().split_once('='))
    };
    let value_of = |wanted| {
        fields()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
    };
    let signed_at = value_of("t").ok_or(Unsigned::Missing)?;
    let seconds: i64 = signed_at.parse().map_err(|_| Unsigned::Missing)?;
    let signatures: Vec<Vec<u8>> = fields()
        .filter(|(name, _)| *name == "v1")
        .filter_map(|(_, hex)| HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok())
        .collect();
    if signatures.is_empty() {
        return Err(Unsigned::Missing);
    }
    // Each comparison takes the same time wherever it fails.
    let is_signed_by = |secret: &Secret| {
        signatures.iter().any(|signature| {
            mac(secret, signed_at, body).is_some_and(|mac| mac.verify_slice(signature).is_ok())
        })
    };
    if !secrets.iter().any(is_signed_by) {
        return Err(Unsigned::Stranger);
    }
    match now.timestamp().abs_diff(seconds) <= tolerance.as_secs() {
        true => Ok(()),
        false => Err(Unsigned::NotNow),
    }
}

fn mac(secret: &Secret, signed_at: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(signed_at.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;
    use crate::domain::time;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn signed(secret: &str, at: &str, body: &[u8]) -> String {
        let mac = mac(&Secret::new(secret), at, body).unwrap();
        HEXLOWER.encode(&mac.finalize().into_bytes())
    }

    /// The HMAC of a well-known key and message, so that ours can't be wrong both ways.
    #[test]
    fn the_signature_is_hmac_sha256_of_time_dot_body() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_test
        assert_eq!(
            signed("whsec_test", "1700000000", b"{}"),
            "35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91"
        );
    }

    #[test]
    fn only_what_is_signed_with_one_of_the_secrets_at_this_time_is_believed() {
        let (now, at) = (time::parse("2026-01-10T12:00:00Z").unwrap(), "1768046400");
        assert_eq!(now.timestamp().to_string(), at);
        let secrets = [Secret::new("whsec_new"), Secret::new("whsec_old")];
        let (new, old) = (signed("whsec_new", at, BODY), signed("whsec_old", at, BODY));
        let other = signed("whsec_other", at, BODY);
        let stamped = |at: &str| format!("t={at},v1={}", signed("whsec_new", at, BODY));
        for (header, expected) in [
            (format!("t={at},v1={new}"), Ok(())),
            (format!("t={at},v1={old}"), Ok(())),
            (format!("t={at}, v1={other}, v1={new}, v0=00"), Ok(())),
            (format!("v1={new},t={at}"), Ok(())),
            (format!("t={at},v1={}", new.to_uppercase()), Ok(())),
            (format!("t={at},v1={other}"), Err(Unsigned::Stranger)),
            (format!("t={at},v1={}", &new[..62]), Err(Unsigned::Stranger)),
            (format!("t=1768046401,v1={new}"), Err(Unsigned::Stranger)),
            (format!("t={at},v0={new}"), Err(Unsigned::Missing)),
            (format!("t={at},v1=zz"), Err(Unsigned::Missing)),
            (format!("t=soon,v1={new}"), Err(Unsigned::Missing)),
            (format!("v1={new}"), Err(Unsigned::Missing)),
            (String::new(), Err(Unsigned::Missing)),
            // Five minutes and not a second more, either way.
            (stamped("1768046100"), Ok(())),
            (stamped("1768046099"), Err(Unsigned::NotNow)),
            (stamped("1768046700"), Ok(())),
            (stamped("1768046701"), Err(Unsigned::NotNow)),
        ] {
            let tolerance = Duration::from_secs(300);
            let read = verify(&secrets, &header, BODY, now, tolerance);
            assert_eq!(read, expected, "{header}");
        }
        let tampered = verify(
            &secrets,
            &stamped(at),
            br#"{"id":"evt_2"}"#,
            now,
            Duration::from_secs(300),
        );
        assert_eq!(tampered, Err(Unsigned::Stranger));
    }
}
