//! Configuration: one struct per concern, read once at start. A missing, unknown or unusable
//! variable refuses the start with one message that names it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The prefix of our own variables; any other variable that has it is a mistake.
const PREFIX: &str = "CONNECTS_";

/// Variables under this prefix belong to the tests and are nobody else's business.
const TEST_PREFIX: &str = "CONNECTS_TEST_";

const TABLE: &str = "CONNECTS_TABLE";
const JWKS: &str = "CONNECTS_JWKS";
const JWT_ISSUER: &str = "CONNECTS_JWT_ISSUER";
const JWT_AUDIENCE: &str = "CONNECTS_JWT_AUDIENCE";
const POLICY: &str = "CONNECTS_POLICY";
const PAYMENTS: &str = "CONNECTS_PAYMENTS";
const STRIPE_SECRET: &str = "CONNECTS_STRIPE_SECRET";
const STRIPE_URL: &str = "CONNECTS_STRIPE_URL";
const LOCAL: &str = "CONNECTS_LOCAL";
const BUS: &str = "CONNECTS_BUS";
const MAIL_FROM: &str = "CONNECTS_MAIL_FROM";
const MAIL_TEMPLATES: &str = "CONNECTS_MAIL_TEMPLATES";
const MAIL_CONFIGURATION: &str = "CONNECTS_MAIL_CONFIGURATION";
const MAIL_LANGUAGE: &str = "CONNECTS_MAIL_LANGUAGE";
const KNOWN: [&str; 14] = [
    TABLE,
    JWKS,
    JWT_ISSUER,
    JWT_AUDIENCE,
    POLICY,
    PAYMENTS,
    STRIPE_SECRET,
    STRIPE_URL,
    LOCAL,
    BUS,
    MAIL_FROM,
    MAIL_TEMPLATES,
    MAIL_CONFIGURATION,
    MAIL_LANGUAGE,
];

const RUST_LOG: &str = "RUST_LOG";
/// Set by Lambda: the first on managed runtimes only, the second on all.
const SET_BY_LAMBDA: [&str; 2] = ["AWS_EXECUTION_ENV", "AWS_LAMBDA_INITIALIZATION_TYPE"];

/// Why a function does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A variable that is needed is not set.
    #[error("{0} must be set")]
    Missing(&'static str),
    /// A variable has a value that can't be used.
    #[error("{0} {1}")]
    Unusable(&'static str, String),
    /// A variable of ours that nothing reads: most likely misspelt.
    #[error("{0} is not a variable of this system (known: {known})", known = KNOWN.join(", "))]
    Unknown(String),
    /// The feature `local` lets callers set the time.
    #[error(
        "AWS_EXECUTION_ENV or AWS_LAMBDA_INITIALIZATION_TYPE is set, so this is AWS Lambda, and a \
         local build, whose callers may set the time, does not start there"
    )]
    LocalBuildInAws,
}

/// The variables of the process as they were at start.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads the process's variables.
    ///
    /// # Errors
    /// When one begins with `CONNECTS_` and is none of ours.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn of_process() -> Result<Self, ConfigError> {
        // A variable that is not Unicode can be none that is read here.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::of(variables)
    }

    fn of(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let variables: BTreeMap<_, _> = variables.into_iter().collect();
        let stranger = variables.keys().find(|name| {
            name.starts_with(PREFIX)
                && !name.starts_with(TEST_PREFIX)
                && !KNOWN.contains(&name.as_str())
        });
        match stranger {
            Some(name) => Err(ConfigError::Unknown(name.clone())),
            None => Ok(Self(variables)),
        }
    }

    fn optional(&self, name: &'static str) -> Result<Option<&str>, ConfigError> {
        match self.0.get(name).map(|value| value.trim()) {
            Some("") => Err(ConfigError::Unusable(name, "is empty".to_owned())),
            value => Ok(value),
        }
    }

    fn required(&self, name: &'static str) -> Result<&str, ConfigError> {
        self.optional(name)?.ok_or(ConfigError::Missing(name))
    }
}

/// Where the ledger is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// `CONNECTS_TABLE`, required: the DynamoDB table.
    pub table: String,
}

impl StoreConfig {
    /// Reads it.
    ///
    /// # Errors
    /// When the variable is missing or empty.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            table: environment.required(TABLE)?.to_owned(),
        })
    }
}

/// Where the keys are that tokens are verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// A file with a JSON Web Key Set.
    File(PathBuf),
    /// An `http://` or `https://` address that answers one.
    Url(String),
}

/// Whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// `CONNECTS_JWKS`, required by functions that serve HTTP: a file's path or an http(s) URL.
    pub jwks: JwksSource,
    /// `CONNECTS_JWT_ISSUER`, required by functions that serve HTTP: the `iss` of every token.
    pub issuer: String,
    /// `CONNECTS_JWT_AUDIENCE`, required by functions that serve HTTP: one `aud` of every token.
    pub audience: String,
}

impl TokenConfig {
    /// Reads it.
    ///
    /// # Errors
    /// When a variable is missing or empty.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let jwks = environment.required(JWKS)?;
        let is_url = jwks.starts_with("https://") || jwks.starts_with("http://");
        Ok(Self {
            jwks: match jwks {
                url if is_url => JwksSource::Url(url.to_owned()),
                other if other.contains("://") => {
                    let why = "must be a file's path or an http(s) URL";
                    return Err(ConfigError::Unusable(JWKS, why.to_owned()));
                }
                path => JwksSource::File(path.into()),
            },
            issuer: environment.required(JWT_ISSUER)?.to_owned(),
            audience: environment.required(JWT_AUDIENCE)?.to_owned(),
        })
    }
}

/// Which rules apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyConfig {
    /// `CONNECTS_POLICY`, optional: a file that replaces the policy built into the function.
    pub path: Option<PathBuf>,
}

impl PolicyConfig {
    /// Reads it.
    ///
    /// # Errors
    /// When the variable is set and empty.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            path: environment.optional(POLICY)?.map(PathBuf::from),
        })
    }
}

/// The payment providers there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// Charges nothing and answers by the payment method's name.
    Sandbox,
    /// Charges real money.
    Stripe(StripeConfig),
}

/// How Stripe is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeConfig {
    /// `CONNECTS_STRIPE_SECRET`, required with `stripe`: the name or ARN of the secret in AWS Secrets
    /// Manager that holds `{"api_key": "…", "webhook_secrets": ["…"]}`; in a local build also a file,
    /// `file:/…`.
    pub secret: SecretSource,
    /// `CONNECTS_STRIPE_URL`, optional and only for tests: what stands in for Stripe's API.
    pub url: Option<String>,
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In AWS Secrets Manager, under that name or ARN.
    Manager(String),
    /// In a file, on one machine.
    File(PathBuf),
}

/// Whether this build takes what stands in for the real thing.
const IS_LOCAL: bool = cfg!(feature = "local");

impl StripeConfig {
    fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Self::for_build(IS_LOCAL, environment)
    }

    fn for_build(is_local: bool, environment: &Environment) -> Result<Self, ConfigError> {
        let secret = environment.required(STRIPE_SECRET)?;
        let secret = match secret.strip_prefix("file:") {
            Some(path) if is_local => SecretSource::File(path.into()),
            Some(_) => {
                let why = "must name a secret in AWS Secrets Manager, not a file";
                return Err(ConfigError::Unusable(STRIPE_SECRET, why.to_owned()));
            }
            None => SecretSource::Manager(secret.to_owned()),
        };
        let url = environment.optional(STRIPE_URL)?;
        let is_for_tests = |url: &str| {
            let rest = url.strip_prefix("http://127.0.0.1:");
            rest.is_some_and(|port| port.parse::<u16>().is_ok())
        };
        match url {
            Some(url) if !is_local || !is_for_tests(url) => {
                let why = "is only for local builds, and of the form http://127.0.0.1:<port>";
                Err(ConfigError::Unusable(STRIPE_URL, why.to_owned()))
            }
            url => Ok(Self {
                secret,
                url: url.map(str::to_owned),
            }),
        }
    }
}

/// Who charges for purchases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentsConfig {
    /// `CONNECTS_PAYMENTS`, optional: `sandbox`, which is also the default, or `stripe`.
    pub provider: Provider,
}

impl PaymentsConfig {
    /// Reads it.
    ///
    /// # Errors
    /// When the variable names no provider, or one of the provider's is missing or unusable.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let provider = match environment.optional(PAYMENTS)? {
            None | Some("sandbox") => Provider::Sandbox,
            Some("stripe") => Provider::Stripe(StripeConfig::read(environment)?),
            Some(other) => {
                let why = format!("must be sandbox or stripe, not {other}");
                return Err(ConfigError::Unusable(PAYMENTS, why));
            }
        };
        Ok(Self { provider })
    }
}

/// Where events are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusConfig {
    /// `CONNECTS_BUS`, optional: the EventBridge bus that the stream's events go to.
    pub bus: Option<String>,
}

impl BusConfig {
    /// Reads it.
    ///
    /// # Errors
    /// When the variable is set and empty.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let bus = environment.optional(BUS)?.map(str::to_owned);
        Ok(Self { bus })
    }
}

/// How holders are written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailConfig {
    /// `CONNECTS_MAIL_FROM`: the sender, such as `Connects <connects@example.com>`, of a domain that
    /// SES has verified.
    pub from: String,
    /// `CONNECTS_MAIL_TEMPLATES`, required with a sender: what the names of the templates in SES begin
    /// with.
    pub templates: String,
    /// `CONNECTS_MAIL_CONFIGURATION`, optional: the configuration set that mails are sent under.
    pub configuration: Option<String>,
    /// `CONNECTS_MAIL_LANGUAGE`, optional: the language of whoever reads none that there is; `en` when it
    /// is not set.
    pub language: String,
}

impl MailConfig {
    /// Reads it; none without a sender.
    ///
    /// # Errors
    /// When a variable is empty, or the templates' is missing.
    pub fn read(environment: &Environment) -> Result<Option<Self>, ConfigError> {
        let Some(from) = environment.optional(MAIL_FROM)? else {
            return Ok(None);
        };
        let language = environment.optional(MAIL_LANGUAGE)?;
        let configuration = environment.optional(MAIL_CONFIGURATION)?;
        Ok(Some(Self {
            from: from.to_owned(),
            templates: environment.required(MAIL_TEMPLATES)?.to_owned(),
            configuration: configuration.map(str::to_owned),
            language: language.unwrap_or("en").to_owned(),
        }))
    }
}

/// Whose time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockConfig {
    /// `CONNECTS_LOCAL`, optional: `1` lets a local build take the time from its callers. Other
    /// builds ignore it.
    pub local: bool,
    /// `AWS_EXECUTION_ENV` or `AWS_LAMBDA_INITIALIZATION_TYPE`, set by AWS Lambda: a local build
    /// refuses to start there.
    pub in_aws: bool,
}

impl ClockConfig {
    /// Reads it.
    ///
    /// # Errors
    /// When `CONNECTS_LOCAL` is set to anything but `0` or `1`.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let local = match environment.optional(LOCAL)? {
            None | Some("0") => false,
            Some("1") => true,
            Some(_) => return Err(ConfigError::Unusable(LOCAL, "must be 0 or 1".to_owned())),
        };
        Ok(Self {
            local,
            in_aws: SET_BY_LAMBDA
                .iter()
                .any(|name| environment.0.contains_key(*name)),
        })
    }
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `RUST_LOG`, optional: a filter such as `info,connects=debug`; `info` when it is not set.
    pub filter: String,
}

impl LogConfig {
    /// Reads it.
    pub fn read(environment: &Environment) -> Self {
        let filter = environment.0.get(RUST_LOG).filter(|f| !f.trim().is_empty());
        Self {
            filter: filter.cloned().unwrap_or_else(|| "info".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Result<Environment, ConfigError> {
        Environment::of(
            variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    const TOKENS: [(&str, &str); 3] = [
        (JWKS, "https://id.example/keys"),
        (JWT_ISSUER, "https://id.example"),
        (JWT_AUDIENCE, "connects"),
    ];

    #[test]
    fn a_misspelt_variable_refuses_the_start() {
        let refused = environment(&[("CONNECTS_TABEL", "t")]).unwrap_err();
        assert!(
            refused.to_string().starts_with("CONNECTS_TABEL is not"),
            "{refused}"
        );
        assert!(
            environment(&[
                ("CONNECTS_TEST_STORE", "x"),
                ("CONNECTSX", "y"),
                ("HOME", "/")
            ])
            .is_ok()
        );
    }

    #[test]
    fn the_message_names_the_variable() {
        let read_tokens = |without: &str| {
            let left: Vec<_> = TOKENS.into_iter().filter(|(n, _)| *n != without).collect();
            TokenConfig::read(&environment(&left).unwrap())
        };
        for (name, _) in TOKENS {
            assert_eq!(read_tokens(name), Err(ConfigError::Missing(name)));
        }
        let empty = environment(&[(TABLE, " ")]).unwrap();
        assert_eq!(
            StoreConfig::read(&empty).unwrap_err().to_string(),
            "CONNECTS_TABLE is empty"
        );
        let none = environment(&[]).unwrap();
        assert_eq!(
            StoreConfig::read(&none).unwrap_err().to_string(),
            "CONNECTS_TABLE must be set"
        );
    }

    #[test]
    fn values_are_checked() {
        let value = |name: &str, value: &str| environment(&[(name, value)]).unwrap();
        for (local, expected) in [
            ("1", Some(true)),
            ("0", Some(false)),
            ("yes", None),
            ("", None),
        ] {
            let read = ClockConfig::read(&value(LOCAL, local)).ok();
            assert_eq!(read.map(|c| c.local), expected, "{local:?}");
        }
        for (provider, accepted) in [("sandbox", true), ("cash", false), ("", false)] {
            let read = PaymentsConfig::read(&value(PAYMENTS, provider));
            assert_eq!(read.is_ok(), accepted, "{provider:?}");
        }
        assert_eq!(
            PaymentsConfig::read(&value(PAYMENTS, "stripe")),
            Err(ConfigError::Missing(STRIPE_SECRET))
        );
        assert!(PaymentsConfig::read(&environment(&[]).unwrap()).is_ok());
        for name in SET_BY_LAMBDA {
            assert!(
                ClockConfig::read(&value(name, "on-demand")).unwrap().in_aws,
                "{name}"
            );
        }
        assert_eq!(
            PolicyConfig::read(&environment(&[]).unwrap()).unwrap().path,
            None
        );
        assert_eq!(LogConfig::read(&environment(&[]).unwrap()).filter, "info");
        assert_eq!(LogConfig::read(&value(RUST_LOG, "debug")).filter, "debug");
    }

    #[test]
    fn stripe_is_itself_but_in_a_local_build() {
        let manager = |name: &str| Some(SecretSource::Manager(name.to_owned()));
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:stripe-a1B2c3";
        let stand_in = "http://127.0.0.1:8420";
        for (is_local, secret, url, expected) in [
            (false, "connects/stripe", None, manager("connects/stripe")),
            (false, arn, None, manager(arn)),
            (true, arn, None, manager(arn)),
            (
                true,
                "file:/tmp/s.json",
                Some(stand_in),
                Some(SecretSource::File("/tmp/s.json".into())),
            ),
            (false, "file:/tmp/s.json", None, None),
            (false, arn, Some(stand_in), None),
            (true, arn, Some("http://stripe.example:80"), None),
            (true, arn, Some("http://127.0.0.1:80@stripe.example"), None),
            (true, arn, Some("https://127.0.0.1:80"), None),
        ] {
            let variables = [(STRIPE_SECRET, secret), (STRIPE_URL, url.unwrap_or("x"))];
            let set = 1 + usize::from(url.is_some());
            let read = StripeConfig::for_build(is_local, &environment(&variables[..set]).unwrap());
            assert_eq!(read.ok().map(|c| c.secret), expected, "{secret} {url:?}");
        }
    }

    #[test]
    fn keys_come_from_a_file_or_an_address() {
        for (jwks, expected) in [
            (
                "https://id.example/keys",
                Some(JwksSource::Url("https://id.example/keys".to_owned())),
            ),
            (
                "http://127.0.0.1:1/k",
                Some(JwksSource::Url("http://127.0.0.1:1/k".to_owned())),
            ),
            (
                "/etc/keys.json",
                Some(JwksSource::File("/etc/keys.json".into())),
            ),
            ("ftp://id.example/keys", None),
        ] {
            let variables = [(JWKS, jwks), TOKENS[1], TOKENS[2]];
            let read = TokenConfig::read(&environment(&variables).unwrap());
            assert_eq!(read.ok().map(|c| c.jwks), expected, "{jwks}");
        }
    }
}
