//! Tokens of any shape: what the issuer signs, and what others try.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::SystemTime;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// Signs tokens as the stack's issuer.
pub struct Minter {
    key: EncodingKey,
    jwk: Value,
    issuer: String,
    audience: String,
    made: Mutex<HashMap<String, String>>,
}

impl std::fmt::Debug for Minter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minter").finish_non_exhaustive()
    }
}

impl Minter {
    pub(crate) fn new(key_path: &str, jwks_path: &str, issuer: String, audience: String) -> Self {
        let read =
            |path: &str| std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let pem: String = read(key_path)
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let der = BASE64.decode(pem.as_bytes()).expect("a PEM file");
        let jwks: Value = serde_json::from_str(&read(jwks_path)).expect("a JWKS");
        Self {
            key: EncodingKey::from_ec_der(&der),
            jwk: jwks["keys"][0].clone(),
            issuer,
            audience,
            made: Mutex::default(),
        }
    }

    /// A token that is good for an hour.
    pub fn token(&self, scope: &str, accounts: &[&str]) -> String {
        let made = || self.sign(&self.header(), &self.claims(scope, accounts), &self.key);
        self.made
            .lock()
            .unwrap()
            .entry(format!("{scope} {}", accounts.join(" ")))
            .or_insert_with(made)
            .clone()
    }

    /// The claims of such a token.
    pub fn claims(&self, scope: &str, accounts: &[&str]) -> Value {
        let now = epoch_seconds();
        json!({
            "iss": self.issuer, "aud": self.audience, "sub": "tests", "scope": scope,
            "accounts": accounts, "iat": now, "exp": now + 3600,
        })
    }

    fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = self.jwk["kid"].as_str().map(str::to_owned);
        header
    }

    fn sign(&self, header: &Header, claims: &Value, key: &EncodingKey) -> String {
        jsonwebtoken::encode(header, claims, key).expect("a token")
    }

    /// `Authorization` values that must not open anything, each with the reason why; the claims
    /// of all of them are otherwise those of a good token.
    pub fn forged(&self, scope: &str, accounts: &[&str]) -> Vec<(&'static str, String)> {
        let good = self.claims(scope, accounts);
        let with = |member: &str, value: Value| {
            let mut claims = good.clone();
            claims[member] = value;
            claims
        };
        let without = |member: &str| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(member);
            claims
        };
        let signed = |claims: &Value| self.sign(&self.header(), claims, &self.key);
        let (now, token) = (epoch_seconds(), signed(&good));
        let parts: Vec<&str> = token.split('.').collect();
        let (head, signature) = (parts[0], parts[2]);
        let other_claims = BASE64URL_NOPAD.encode(
            with("accounts", json!(["somebody-else"]))
                .to_string()
                .as_bytes(),
        );
        let mut unknown_kid = self.header();
        unknown_kid.kid = Some("nobody".to_owned());
        let bearer = |token: String| format!("Bearer {token}");
        vec![
            ("an empty one", "Bearer ".to_owned()),
            ("garbage", bearer("abc".to_owned())),
            ("three parts of nothing", bearer("..".to_owned())),
            ("under another scheme", format!("Basic {token}")),
            ("without a scheme", token.clone()),
            ("expired", bearer(signed(&with("exp", json!(now - 120))))),
            (
                "not yet valid",
                bearer(signed(&with("nbf", json!(now + 600)))),
            ),
            ("without an expiry", bearer(signed(&without("exp")))),
            (
                "of another issuer",
                bearer(signed(&with("iss", json!("https://elsewhere.example")))),
            ),
            ("without an issuer", bearer(signed(&without("iss")))),
            (
                "for another audience",
                bearer(signed(&with("aud", json!("elsewhere")))),
            ),
            ("without an audience", bearer(signed(&without("aud")))),
            (
                "signed by another key, under the name of ours",
                bearer(self.sign(&self.header(), &good, &strangers_key())),
            ),
            (
                "signed by a key that nobody knows",
                bearer(self.sign(&unknown_kid, &good, &strangers_key())),
            ),
            (
                "its signature left out",
                bearer(format!("{}.{}.", head, parts[1])),
            ),
            (
                "the signature of other claims",
                bearer(format!("{head}.{other_claims}.{signature}")),
            ),
            ("`alg: none`", bearer(self.alg_none(&good, "none"))),
            ("`alg: None`", bearer(self.alg_none(&good, "None"))),
            (
                "HMAC, the public JWK as its secret",
                bearer(self.hmac(&good, self.jwk.to_string().as_bytes())),
            ),
            (
                "HMAC, the public key in PEM as its secret",
                bearer(self.hmac(&good, self.public_pem().as_bytes())),
            ),
        ]
    }

    fn alg_none(&self, claims: &Value, name: &str) -> String {
        let header = json!({ "alg": name, "typ": "JWT", "kid": self.jwk["kid"] });
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        format!("{}.{}.", part(&header), part(claims))
    }

    fn hmac(&self, claims: &Value, secret: &[u8]) -> String {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = self.header().kid;
        self.sign(&header, claims, &EncodingKey::from_secret(secret))
    }

    /// The public key, in the form of RFC 5480.
    fn public_pem(&self) -> String {
        const PREFIX: [u8; 27] = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
            0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
        ];
        let coordinate = |name: &str| {
            let text = self.jwk[name].as_str().unwrap();
            BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
        };
        let der = [&PREFIX[..], &coordinate("x"), &coordinate("y")].concat();
        let text = BASE64.encode(&der);
        let (first, second) = text.split_at(64);
        format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n")
    }
}

/// A P-256 key that the stack has never heard of, in the form of RFC 5208.
fn strangers_key() -> EncodingKey {
    const PREFIX: [u8; 35] = [
        0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
        0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25,
        0x02, 0x01, 0x01, 0x04, 0x20,
    ];
    EncodingKey::from_ec_der(&[&PREFIX[..], &[7; 32]].concat())
}

fn epoch_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
