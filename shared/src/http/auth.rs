//! Who calls: tokens verified against the issuer's keys, and what a verified caller may do.
//!
//! A token that was verified once is remembered until it expires, so a repeated caller costs a
//! hash instead of a signature check. Keys are read at start, again after an hour, and again when
//! a token names a key that is not among them; both kinds of refresh share one limit, so strangers
//! can't make us hammer the issuer. When a refresh fails the keys at hand keep serving.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::problem::{Problem, Unauthenticated};
use crate::config::{JwksSource, TokenConfig};
use crate::domain::ids::AccountId;
use crate::domain::refusal::Refusal;
use crate::domain::time::Time;
use crate::web::Web;

/// The longest token that is looked at: the gateway's headers measure 10 KiB at most.
const MAX_TOKEN: usize = 8 * 1024;

/// How far the issuer's clock may be off, in seconds.
const LEEWAY: u64 = 30;

/// Keys are read again after this long.
const KEYS_AGE: TimeDelta = TimeDelta::hours(1);

/// Between two attempts to read the keys at least this long passes.
const ATTEMPTS_APART: TimeDelta = TimeDelta::seconds(30);

/// The same while there are no keys at all and every request has to be turned away.
const ATTEMPTS_APART_WITHOUT: TimeDelta = TimeDelta::seconds(1);

/// An issuer that takes longer to answer counts as not answering.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest key set that is read.
const MAX_KEY_SET: usize = 256 * 1024;

/// RSA keys below this are not trusted (NIST SP 800-131A).
const MIN_RSA_BITS: usize = 2048;

/// How many verified tokens are remembered.
const MAX_VERIFIED: usize = 1024;

/// What a token's holder is allowed to do at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `connects`: an end user, on their own accounts.
    User,
    /// `connects:service`: the marketplace's backend.
    Service,
    /// `connects:admin`: operators.
    Admin,
}

impl Scope {
    /// Every scope there is.
    pub const ANY: &'static [Self] = &[Self::User, Self::Service, Self::Admin];

    fn of(word: &str) -> Option<Self> {
        match word {
            "connects" => Some(Self::User),
            "connects:service" => Some(Self::Service),
            "connects:admin" => Some(Self::Admin),
            _ => None,
        }
    }
}

/// The holder of a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    scopes: HashSet<Scope>,
    accounts: HashSet<String>,
}

impl Caller {
    /// Whether the caller holds one of a route's scopes.
    ///
    /// # Errors
    /// `forbidden` when not.
    pub fn holds(&self, scopes: &[Scope]) -> Result<(), Problem> {
        let holds_one = scopes.iter().any(|scope| self.scopes.contains(scope));
        holds_one.then_some(()).ok_or_else(Problem::forbidden)
    }

    /// Whether the account is one of the caller's own.
    pub fn is(&self, account: &AccountId) -> bool {
        self.accounts.contains(account.as_str())
    }

    /// The account that a path names, if a route with these scopes lets the caller act on it. The
    /// backend and operators may act on any, an end user on their own; what is not theirs does
    /// not exist for them.
    ///
    /// # Errors
    /// `forbidden` without one of the scopes, `account_not_found` for another's account or what
    /// can be none.
    pub fn may(&self, scopes: &[Scope], segment: &str) -> Result<AccountId, Problem> {
        self.holds(scopes)?;
        let acts_on_any = scopes
            .iter()
            .any(|scope| *scope != Scope::User && self.scopes.contains(scope));
        AccountId::try_new(segment)
            .ok()
            .filter(|id| acts_on_any || self.accounts.contains(id.as_str()))
            .ok_or_else(|| Refusal::AccountNotFound.into())
    }
}

/// Verifies tokens.
#[derive(Debug)]
pub struct Auth {
    source: Source,
    issuer: String,
    audience: String,
    state: Mutex<State>,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(String, Web),
}

#[derive(Debug, Default)]
struct State {
    keys: Arc<[Key]>,
    read_at: Option<Time>,
    tried_at: Option<Time>,
    verified: HashMap<[u8; 32], Verified>,
}

#[derive(Debug, Clone)]
struct Verified {
    caller: Arc<Caller>,
    expires: u64,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    scope: String,
    #[serde(default)]
    accounts: HashSet<String>,
    exp: Value,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// They could not be had.
    #[error("the key set can't be read: {0}")]
    Read(String),
    /// What came is something else.
    #[error("it is not a JSON Web Key Set: {0}")]
    Form(#[from] serde_json::Error),
    /// None of them verifies what is accepted here.
    #[error("the key set has no RS256 or ES256 key")]
    Empty,
}

impl Auth {
    /// Reads the keys once. Where they come from an address, a failure waits for the first
    /// request; a file that can't be read refuses the start.
    ///
    /// # Errors
    /// When the file is not a readable key set.
    pub async fn connect(config: TokenConfig, now: Time) -> Result<Self, KeysError> {
        let auth = Self {
            source: match config.jwks {
                JwksSource::File(path) => Source::File(path),
                JwksSource::Url(url) => Source::Url(url, Web::default()),
            },
            issuer: config.issuer,
            audience: config.audience,
            state: Mutex::default(),
        };
        match auth.refresh(now).await {
            Err(error) if matches!(auth.source, Source::File(_)) => Err(error),
            _ => Ok(auth),
        }
    }

    /// The caller that an `Authorization` header proves.
    ///
    /// # Errors
    /// `unauthenticated` for whatever is wrong with it; `busy` when no keys could be had at all.
    pub async fn caller(&self, header: Option<&str>, now: Time) -> Result<Arc<Caller>, Problem> {
        let token = bearer(header)?;
        if self.is_due(now) {
            // A failure is logged there; the keys at hand serve on.
            let _ = self.refresh(now).await;
        }
        let fingerprint: [u8; 32] = Sha256::digest(token).into();
        if let Some(verified) = self.state().verified.get(&fingerprint).cloned() {
            return verified.at(now).map_err(Problem::from);
        }
        let verified = self.verify(token, now).await?;
        if let Some(verified) = &verified.1 {
            self.state().remember(fingerprint, verified.clone(), now);
        }
        Ok(verified.0)
    }

    async fn verify(
        &self,
        token: &str,
        now: Time,
    ) -> Result<(Arc<Caller>, Option<Verified>), Problem> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Unauthenticated::Malformed)?;
        let is_ours = matches!(header.alg, Algorithm::RS256 | Algorithm::ES256);
        // A critical extension that is not understood makes a token unacceptable (RFC 7515).
        if !is_ours || header.crit.is_some() {
            return Err(Unauthenticated::Untrusted.into());
        }
        let keys = self
            .keys_for(header.kid.as_deref(), header.alg, now)
            .await?;
        let key =
            find(&keys, header.kid.as_deref(), header.alg).ok_or(Unauthenticated::Untrusted)?;

        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &validation)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => {
                    Unauthenticated::NotNow
                }
                ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => {
                    Unauthenticated::Malformed
                }
                _ => Unauthenticated::Untrusted,
            })?
            .claims;

        let caller = Arc::new(Caller {
            scopes: claims.scope.split(' ').filter_map(Scope::of).collect(),
            accounts: claims.accounts,
        });
        // A time with a fraction is valid but rare; such a token is just verified every time.
        let verified = claims.exp.as_u64().map(|expires| Verified {
            caller: Arc::clone(&caller),
            expires,
        });
        Ok((caller, verified))
    }

    /// The keys, read again when none of them is the token's.
    async fn keys_for(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        now: Time,
    ) -> Result<Arc<[Key]>, Problem> {
        let keys = self.keys();
        if find(&keys, id, algorithm).is_some() || !self.may_try(now) {
            return if keys.is_empty() {
                Err(Problem::busy())
            } else {
                Ok(keys)
            };
        }
        match self.refresh(now).await {
            Err(_) if keys.is_empty() => Err(Problem::busy()),
            _ => Ok(self.keys()),
        }
    }

    async fn refresh(&self, now: Time) -> Result<(), KeysError> {
        self.state().tried_at = Some(now);
        match self.source.read().await.and_then(|bytes| parse(&bytes)) {
            Ok(keys) => {
                let mut state = self.state();
                state.keys = keys.into();
                state.read_at = Some(now);
                // A key that was withdrawn must not live on in what it verified.
                state.verified.clear();
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "token keys not refreshed");
                Err(error)
            }
        }
    }

    fn is_due(&self, now: Time) -> bool {
        let is_old = self.state().read_at.is_none_or(|at| now - at >= KEYS_AGE);
        is_old && self.may_try(now)
    }

    fn may_try(&self, now: Time) -> bool {
        let state = self.state();
        let apart = if state.keys.is_empty() {
            ATTEMPTS_APART_WITHOUT
        } else {
            ATTEMPTS_APART
        };
        state.tried_at.is_none_or(|at| now - at >= apart)
    }

    fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.state().keys)
    }

    /// The state is replaced whole, so what a panicking holder left behind is still good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, fingerprint: [u8; 32], verified: Verified, now: Time) {
        if self.verified.len() >= MAX_VERIFIED {
            self.verified.retain(|_, verified| verified.at(now).is_ok());
        }
        if self.verified.len() >= MAX_VERIFIED {
            self.verified.clear();
        }
        self.verified.insert(fingerprint, verified);
    }
}

impl Verified {
    fn at(&self, now: Time) -> Result<Arc<Caller>, Unauthenticated> {
        let now = u64::try_from(now.timestamp()).unwrap_or_default();
        let is_valid = now <= self.expires.saturating_add(LEEWAY);
        is_valid
            .then(|| Arc::clone(&self.caller))
            .ok_or(Unauthenticated::NotNow)
    }
}

impl Source {
    async fn read(&self) -> Result<Vec<u8>, KeysError> {
        match self {
            Self::File(path) => {
                std::fs::read(path).map_err(|error| KeysError::Read(error.to_string()))
            }
            Self::Url(url, web) => fetch(url, web).await,
        }
    }
}

async fn fetch(url: &str, web: &Web) -> Result<Vec<u8>, KeysError> {
    let response = web.get(url, MAX_KEY_SET, FETCH_TIMEOUT).await;
    let response = response.map_err(|error| KeysError::Read(error.to_string()))?;
    match response.status {
        200 => Ok(response.body),
        status => Err(KeysError::Read(format!("answered with status {status}"))),
    }
}

/// The keys of a set that can verify our tokens; others, and what can't be read, are left out.
fn parse(bytes: &[u8]) -> Result<Vec<Key>, KeysError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(bytes)?;
    let keys: Vec<Key> = set
        .keys
        .into_iter()
        .filter_map(|value| key(&serde_json::from_value(value).ok()?))
        .collect();
    if keys.is_empty() {
        return Err(KeysError::Empty);
    }
    Ok(keys)
}

fn key(jwk: &Jwk) -> Option<Key> {
    // The key's own type decides the algorithm, never the token.
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = BASE64URL_NOPAD.decode(rsa.n.as_bytes()).ok()?;
            let bytes = modulus.iter().skip_while(|byte| **byte == 0).count();
            (bytes * 8 >= MIN_RSA_BITS).then_some((Algorithm::RS256, KeyAlgorithm::RS256))?
        }
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    let is_for_this = jwk.common.key_algorithm.is_none_or(|alg| alg == name);
    let signs = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    Some(Key {
        id: jwk.common.key_id.clone(),
        algorithm,
        key: DecodingKey::from_jwk(jwk).ok()?,
    })
    .filter(|_| is_for_this && signs)
}

/// The key that a token names; one that names none can only mean the single key of its algorithm.
fn find<'a>(keys: &'a [Key], id: Option<&str>, algorithm: Algorithm) -> Option<&'a Key> {
    let mut candidates = keys.iter().filter(|key| key.algorithm == algorithm);
    match id {
        Some(id) => candidates.find(|key| key.id.as_deref() == Some(id)),
        None => candidates.next().filter(|_| candidates.next().is_none()),
    }
}

fn bearer(header: Option<&str>) -> Result<&str, Unauthenticated> {
    let (scheme, token) = header
        .and_then(|header| header.trim().split_once(' '))
        .ok_or(Unauthenticated::Missing)?;
    let token = token.trim();
    match token {
        _ if !scheme.eq_ignore_ascii_case("bearer") => Err(Unauthenticated::Missing),
        "" => Err(Unauthenticated::Missing),
        token if token.len() > MAX_TOKEN => Err(Unauthenticated::Malformed),
        token => Ok(token),
    }
}

#[cfg(test)]
mod tests;
