//! Stripe's secrets: read from where they are kept at start, and again when they seem to have changed.
//!
//! They are kept as one JSON object, `{"api_key": "…", "webhook_secrets": ["…"]}`, so that a rotation
//! is one write: both webhook secrets while Stripe signs with either. They are never in the
//! environment, which anybody may read who can describe the function, and never in a log.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::answers::read;

/// They are read again at most this often: strangers can send bad signatures as they like.
const READINGS_APART: Duration = Duration::from_secs(60);

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Of that text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever it is a secret between.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// What requests are made with: a restricted key, best.
    pub api_key: Secret,
    /// What messages may be signed with.
    pub webhook_secrets: Vec<Secret>,
}

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
pub enum NoSecrets {
    /// They could not be had.
    #[error("the secret can't be read: {0}")]
    Unread(String),
    /// What is kept is something else. What, is not said: it may be a secret in another form.
    #[error(
        "the secret is not of the form {{\"api_key\": \"…\", \"webhook_secrets\": [\"…\"]}}, \
         with no text empty"
    )]
    Form,
}

/// Where they are kept.
#[derive(Debug, Clone)]
pub enum Source {
    /// AWS Secrets Manager, under that name or ARN.
    Manager(aws_sdk_secretsmanager::Client, String),
    /// A file: on one machine, and in tests.
    File(PathBuf),
}

/// Keeps them while the function lives.
#[derive(Debug)]
pub struct Keeper {
    source: Source,
    state: Mutex<State>,
}

#[derive(Debug, Clone)]
struct State {
    secrets: Arc<Secrets>,
    read_at: Instant,
}

impl Keeper {
    /// Reads them once.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn new(source: Source) -> Result<Self, NoSecrets> {
        let secrets = Arc::new(source.read().await?);
        let read_at = Instant::now();
        Ok(Self {
            source,
            state: Mutex::new(State { secrets, read_at }),
        })
    }

    /// As they were read last.
    pub fn current(&self) -> Arc<Secrets> {
        Arc::clone(&self.state().secrets)
    }

    /// Reads them again, if they were not just read: whether they have changed.
    pub async fn refresh(&self) -> bool {
        self.refresh_at(Instant::now()).await
    }

    async fn refresh_at(&self, now: Instant) -> bool {
        {
            let mut state = self.state();
            if now.saturating_duration_since(state.read_at) < READINGS_APART {
                return false;
            }
            state.read_at = now;
        }
        match self.source.read().await {
            Ok(secrets) => {
                let mut state = self.state();
                let changed = *state.secrets != secrets;
                state.secrets = Arc::new(secrets);
                changed
            }
            Err(error) => {
                tracing::warn!(%error, "the payment provider's secrets are not refreshed");
                false
            }
        }
    }

    /// The state is replaced whole, so what a panicking holder left behind is still good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// In AWS Secrets Manager, under that name or ARN.
    pub fn manager(config: &aws_config::SdkConfig, name: String) -> Self {
        Self::Manager(aws_sdk_secretsmanager::Client::new(config), name)
    }

    async fn read(&self) -> Result<Secrets, NoSecrets> {
        let text = match self {
            Self::Manager(client, name) => {
                let kept = client.get_secret_value().secret_id(name).send().await;
                let kept = kept.map_err(|error| {
                    NoSecrets::Unread(
                        aws_sdk_secretsmanager::error::DisplayErrorContext(error).to_string(),
                    )
                })?;
                kept.secret_string.ok_or(NoSecrets::Form)?
            }
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|error| NoSecrets::Unread(error.to_string()))?,
        };
        parse(&text)
    }
}

fn parse(text: &str) -> Result<Secrets, NoSecrets> {
    let secrets: Secrets = read(text.as_bytes()).map_err(|_| NoSecrets::Form)?;
    let is_there = |secret: &Secret| !secret.0.is_empty();
    let webhooks = &secrets.webhook_secrets;
    let is_whole =
        is_there(&secrets.api_key) && !webhooks.is_empty() && webhooks.iter().all(is_there);
    is_whole.then_some(secrets).ok_or(NoSecrets::Form)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use aws_sdk_secretsmanager::config::{Credentials, Region, SharedCredentialsProvider};

    use super::*;

    #[test]
    fn a_secret_is_not_printed_by_accident() {
        let secrets = parse(r#"{"api_key":"rk_x","webhook_secrets":["whsec_x"]}"#).unwrap();
        let printed = format!("{secrets:?}");
        assert!(!printed.contains("_x"), "{printed}");
        let broken = parse(r#"{"api_key":"rk_x","webhook_secret":"whsec_x"}"#).unwrap_err();
        assert!(!format!("{broken:?} {broken}").contains("_x"));
    }

    #[test]
    fn secrets_are_whole_or_refused() {
        for (text, is_whole) in [
            (r#"{"api_key":"rk_x","webhook_secrets":["a","b"]}"#, true),
            (r#"{"api_key":"rk_x","webhook_secrets":[]}"#, false),
            (r#"{"api_key":"rk_x","webhook_secrets":[""]}"#, false),
            (r#"{"api_key":"","webhook_secrets":["a"]}"#, false),
            (r#"{"api_key":"rk_x"}"#, false),
            (r#""rk_x""#, false),
        ] {
            assert_eq!(parse(text).is_ok(), is_whole, "{text}");
        }
    }

    #[tokio::test]
    async fn secrets_are_read_again_once_a_minute() {
        let path = std::env::temp_dir().join(format!("connects-secrets-{}", fastrand::u64(..)));
        let keep = |key: &str| {
            let text = format!(r#"{{"api_key":"{key}","webhook_secrets":["a"]}}"#);
            std::fs::write(&path, text).unwrap();
        };
        keep("one");
        let keeper = Keeper::new(Source::File(path.clone())).await.unwrap();
        let current = || keeper.current().api_key.expose().to_owned();
        keep("two");
        let (soon, later) = (Instant::now(), |minutes| {
            Instant::now() + READINGS_APART * minutes
        });
        assert!(!keeper.refresh_at(soon).await);
        assert_eq!(current(), "one");
        assert!(keeper.refresh_at(later(1)).await);
        assert_eq!(current(), "two");
        // Unchanged, then gone: what was read serves on.
        assert!(!keeper.refresh_at(later(3)).await);
        std::fs::remove_file(&path).unwrap();
        assert!(!keeper.refresh_at(later(5)).await);
        assert_eq!(current(), "two");
    }

    /// Answers one request with that, as Secrets Manager does; gives the request.
    fn answers(status: &'static str, body: &'static str) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut part) = (String::new(), [0; 4096]);
            while !request.contains(r#"{"SecretId""#) {
                let read = stream.read(&mut part).unwrap();
                request += std::str::from_utf8(&part[..read]).unwrap();
            }
            let kind = "content-type: application/x-amz-json-1.1";
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\n{kind}\r\ncontent-length: {length}\r\n");
            write!(stream, "{head}connection: close\r\n\r\n{body}").unwrap();
            request
        });
        (url, served)
    }

    #[tokio::test]
    async fn secrets_are_kept_in_secrets_manager() {
        let kept = r#"{"Name":"connects/stripe","SecretString":"{\"api_key\":\"rk_x\",\"webhook_secrets\":[\"a\"]}"}"#;
        let none = r#"{"__type":"ResourceNotFoundException","Message":"no such secret"}"#;
        for (status, body, key) in [
            ("200 OK", kept, Some("rk_x")),
            (
                "200 OK",
                r#"{"Name":"connects/stripe","SecretBinary":"cmtfeA=="}"#,
                None,
            ),
            ("400 Bad Request", none, None),
        ] {
            let (url, served) = answers(status, body);
            let credentials = Credentials::new("local", "local", None, None, "tests");
            let config = aws_config::SdkConfig::builder()
                .behavior_version(aws_config::BehaviorVersion::latest())
                .region(Region::new("eu-central-1"))
                .credentials_provider(SharedCredentialsProvider::new(credentials))
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .endpoint_url(url)
                .build();
            let source = Source::manager(&config, "connects/stripe".to_owned());
            let read = Keeper::new(source).await;
            let read = read.map(|keeper| keeper.current().api_key.expose().to_owned());
            assert_eq!(read.ok().as_deref(), key, "{status}");
            let request = served.join().unwrap().to_lowercase();
            assert!(request.contains("x-amz-target: secretsmanager.getsecretvalue"));
            assert!(
                request.contains(r#"{"secretid":"connects/stripe"}"#),
                "{request}"
            );
        }
    }
}
