//! The local issuer: an ES256 key made once, its JWKS, and the tokens it signs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::SecretKey;
use p256::elliptic_curve::rand_core::OsRng;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use serde_json::{Value, json};

use crate::environment;
use crate::failure::{Doing, Result};

/// The tokens' `iss`.
pub const ISSUER: &str = "https://issuer.connects.localhost";
/// The tokens' `aud`.
pub const AUDIENCE: &str = "connects-local";

/// The issuer's key pair on disk.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The private key, PEM; only its owner may read it.
    pub signing_key: PathBuf,
    /// The public key, as a JWKS.
    pub jwks: PathBuf,
}

/// What a token says.
#[derive(Debug)]
pub struct Claims<'a> {
    /// Who acts.
    pub subject: &'a str,
    /// Space-separated scopes.
    pub scope: &'a str,
    /// The accounts that the holder may act for.
    pub accounts: &'a [String],
    /// For how many seconds from now the token is good.
    pub ttl: u32,
}

impl Keys {
    /// Takes the keys of that folder, or makes them.
    pub fn ensure(folder: &Path) -> Result<Self> {
        let mut private_folder = fs::DirBuilder::new();
        private_folder.recursive(true).mode(0o700);
        private_folder.create(folder).doing(folder.display())?;
        let keys = Self {
            signing_key: folder.join("signing-key.pem"),
            jwks: folder.join("jwks.json"),
        };
        if !keys.signing_key.exists() {
            let pem = SecretKey::random(&mut OsRng)
                .to_pkcs8_pem(LineEnding::LF)
                .doing("a new key")?;
            write(&keys.signing_key, pem.as_bytes())?;
        }
        let jwks = jwks(&keys.secret()?)?;
        write(&keys.jwks, format!("{jwks:#}\n").as_bytes())?;
        Ok(keys)
    }

    fn secret(&self) -> Result<SecretKey> {
        let pem = fs::read_to_string(&self.signing_key).doing(self.signing_key.display())?;
        SecretKey::from_pkcs8_pem(&pem).doing(self.signing_key.display())
    }

    /// Signs a token that the stack accepts.
    pub fn token(&self, claims: &Claims<'_>) -> Result<String> {
        let pem = fs::read(&self.signing_key).doing(self.signing_key.display())?;
        let key = EncodingKey::from_ec_pem(&pem).doing(self.signing_key.display())?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key_id(&self.secret()?)?);
        let now = environment::now().timestamp();
        let claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": claims.subject,
            "scope": claims.scope,
            "accounts": claims.accounts,
            "iat": now,
            "exp": now + i64::from(claims.ttl),
        });
        jsonwebtoken::encode(&header, &claims, &key).doing("a token")
    }
}

/// Writes beside the place and moves it there: whoever reads sees all of it or nothing.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .doing(draft.display())?;
    file.write_all(content).doing(draft.display())?;
    fs::rename(&draft, path).doing(path.display())
}

fn point(secret: &SecretKey) -> Result<(String, String)> {
    let point = secret.public_key().to_encoded_point(false);
    let x = point.x().doing("a key at infinity")?;
    let y = point.y().doing("a key at infinity")?;
    Ok((BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y)))
}

/// The key's id: enough of its own coordinates to tell it from another.
fn key_id(secret: &SecretKey) -> Result<String> {
    let point = secret.public_key().to_encoded_point(true);
    let id = point.x().doing("a key at infinity")?.iter().take(8);
    Ok(HEXLOWER.encode(&id.copied().collect::<Vec<u8>>()))
}

fn jwks(secret: &SecretKey) -> Result<Value> {
    let (x, y) = point(secret)?;
    Ok(json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
        "kid": key_id(secret)?, "x": x, "y": y,
    }] }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{DecodingKey, Validation, decode};

    #[test]
    fn the_jwks_verifies_the_tokens_and_the_key_stays_the_same_and_private() {
        let name = format!("connects-keys-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let keys = Keys::ensure(&folder).unwrap();
        let accounts = ["a1".to_owned(), "a2".to_owned()];
        let token = keys
            .token(&Claims {
                subject: "somebody",
                scope: "connects",
                accounts: &accounts,
                ttl: 60,
            })
            .unwrap();
        let again = Keys::ensure(&folder).unwrap();
        let set: JwkSet = serde_json::from_slice(&fs::read(&again.jwks).unwrap()).unwrap();
        let mut expected = Validation::new(Algorithm::ES256);
        expected.set_audience(&[AUDIENCE]);
        expected.set_issuer(&[ISSUER]);
        let key = DecodingKey::from_jwk(&set.keys[0]).unwrap();
        let read = decode::<Value>(&token, &key, &expected).unwrap();
        assert_eq!(read.header.kid, set.keys[0].common.key_id);
        assert_eq!(read.claims["accounts"], json!(["a1", "a2"]));
        assert_eq!(read.claims["sub"], "somebody");
        let mode = fs::metadata(&keys.signing_key)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(&folder).unwrap();
    }
}
