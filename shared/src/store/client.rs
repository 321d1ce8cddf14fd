//! The one DynamoDB client of a function.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

/// Waiting longer than this for a connection helps nobody.
const CONNECT: Duration = Duration::from_secs(1);

/// DynamoDB answers in milliseconds; a call that takes this long is lost.
const ATTEMPT: Duration = Duration::from_secs(3);

/// A call with its repetitions.
const OPERATION: Duration = Duration::from_secs(7);

/// The first pause before a read is repeated.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// Connects as the environment says: region, credentials and, for a stand-in,
/// `AWS_ENDPOINT_URL_DYNAMODB`.
pub async fn connect() -> Client {
    Client::new(&sdk_config().await)
}

/// How a function speaks to any service of AWS.
pub async fn sdk_config() -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts())
        .retry_config(retries())
        .load()
        .await
}

/// How long a function waits for the table.
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build()
}

/// How a function repeats a call that the table did not take.
pub fn retries() -> RetryConfig {
    RetryConfig::standard().with_initial_backoff(FIRST_PAUSE)
}
