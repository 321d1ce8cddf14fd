//! A function from its environment: everything that is made once, at start.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::auth::{Auth, Caller, Scope};
use super::input::input;
use super::problem::Problem;
use super::request::Request;
use super::run::init_logs;
use crate::clock::Clock;
use crate::config::{
    ClockConfig, ConfigError, Environment, LogConfig, PolicyConfig, StoreConfig, TokenConfig,
};
use crate::domain::ids::AccountId;
use crate::domain::policy::{self, Policy};
use crate::domain::quota::Quota;
use crate::domain::refusal::Refusal;
use crate::ledger::{Error, Ledger};
use crate::store::{self, Store};

/// Why a function does not start: one line that names the variable at fault.
#[derive(thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// The same line: `main` prints what it returns in this form.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self(error.to_string())
    }
}

impl StartError {
    pub(super) fn of<E: fmt::Display>(variable: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{variable} can't be used: {error}"))
    }
}

/// What every function has.
#[derive(Debug)]
pub struct Core {
    /// The clock.
    pub clock: Clock,
    /// The ledger.
    pub ledger: Ledger,
}

/// What a function that serves requests has.
#[derive(Debug)]
pub struct App {
    core: Core,
    auth: Auth,
}

impl Deref for App {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl Core {
    /// Reads the configuration and connects to the table.
    ///
    /// # Errors
    /// When a variable is missing or unusable, or the policy can't be read.
    pub async fn start() -> Result<Self, StartError> {
        Self::of(&Environment::of_process()?).await
    }

    async fn of(environment: &Environment) -> Result<Self, StartError> {
        init_logs(&LogConfig::read(environment)).map_err(StartError::of("RUST_LOG"))?;
        let clock = Clock::new(&ClockConfig::read(environment)?)?;
        let table = StoreConfig::read(environment)?.table;
        let policy = match PolicyConfig::read(environment)?.path {
            Some(path) => std::fs::read_to_string(path)
                .map_err(StartError::of("CONNECTS_POLICY"))
                .and_then(|text| Policy::parse(&text).map_err(StartError::of("CONNECTS_POLICY")))?,
            None => {
                Policy::parse(policy::BUILT_IN).map_err(StartError::of("the built-in policy"))?
            }
        };
        let store = Store::new(store::connect().await, table);
        Ok(Self {
            clock,
            ledger: Ledger::new(store, policy),
        })
    }
}

impl App {
    /// Of its parts, made elsewhere.
    pub fn new(core: Core, auth: Auth) -> Self {
        Self { core, auth }
    }

    /// Reads the configuration, connects to the table and reads the keys of tokens.
    ///
    /// # Errors
    /// When a variable is missing or unusable, or the policy or the keys can't be read.
    pub async fn start() -> Result<Self, StartError> {
        Self::of(&Environment::of_process()?).await
    }

    pub(super) async fn of(environment: &Environment) -> Result<Self, StartError> {
        let tokens = TokenConfig::read(environment)?;
        let core = Core::of(environment).await?;
        let auth = Auth::connect(tokens, core.clock.real())
            .await
            .map_err(StartError::of("CONNECTS_JWKS"))?;
        Ok(Self::new(core, auth))
    }

    /// Who sent a request.
    ///
    /// # Errors
    /// `unauthenticated`.
    pub async fn caller(&self, request: &Request) -> Result<Arc<Caller>, Problem> {
        let header = request.header("authorization");
        self.auth.caller(header, request.received_at).await
    }

    /// The account in a request's path, if its sender may act on it under a route of those scopes.
    ///
    /// # Errors
    /// `unauthenticated`, `forbidden`, `account_not_found`.
    pub async fn account(
        &self,
        request: &Request,
        scopes: &[Scope],
        segment: &str,
    ) -> Result<AccountId, Problem> {
        self.caller(request).await?.may(scopes, segment)
    }

    /// What was read of a request, or what is wrong with it if the account exists.
    ///
    /// # Errors
    /// `account_not_found`, else the input error.
    pub async fn input<T>(
        &self,
        account: &AccountId,
        parsed: Result<T, Problem>,
    ) -> Result<T, Problem> {
        let exists = self.ledger.account_exists(account);
        input(parsed, exists, Refusal::AccountNotFound).await
    }

    /// Takes one of an account's quota, by the real clock.
    ///
    /// # Errors
    /// `rate_limited`.
    pub async fn take(
        &self,
        request: &Request,
        account: &AccountId,
        quota: Quota,
    ) -> Result<(), Problem> {
        let (context, now) = (&request.context, request.received_at);
        Ok(self.ledger.take(context, account, quota, now).await?)
    }

    /// Does what tells whether there is a promo code, as often as an account may guess.
    ///
    /// # Errors
    /// `rate_limited`, else what `attempt` says.
    pub async fn guess<T>(
        &self,
        request: &Request,
        account: &AccountId,
        attempt: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let (context, now) = (&request.context, request.received_at);
        self.ledger.guess(context, account, now, attempt).await
    }
}
