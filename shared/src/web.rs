//! Requests to others: the issuer of tokens, the payment provider. One connector, TLS by ring.

use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::http::Request;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;

/// Why there is no answer, or none that was read to its end. Whatever was asked for may have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It could not be asked for.
    #[error("not an address: {0}")]
    Address(String),
    /// Nothing came, or it broke off.
    #[error("no answer: {0}")]
    Broken(String),
    /// Nothing came in time.
    #[error("no answer in time")]
    Late,
    /// More came than is read.
    #[error("the answer is too long")]
    TooLong,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// Asks, and keeps connections open.
#[derive(Debug)]
pub struct Web(Connector);

impl Default for Web {
    fn default() -> Self {
        let tls = tls::Provider::Rustls(CryptoMode::Ring);
        Self(Connector::builder().tls_provider(tls).build())
    }
}

impl Web {
    /// Gets what is at an address.
    ///
    /// # Errors
    /// As for [`Self::ask`].
    pub async fn get(
        &self,
        url: &str,
        most: usize,
        within: Duration,
    ) -> Result<Response, NoAnswer> {
        self.ask(("GET", url), &[], String::new(), most, within)
            .await
    }

    /// Sends a request: its answer, of `most` bytes at most.
    ///
    /// # Errors
    /// When no whole answer came `within` that time.
    pub async fn ask(
        &self,
        (method, url): (&str, &str),
        headers: &[(&'static str, String)],
        body: String,
        most: usize,
        within: Duration,
    ) -> Result<Response, NoAnswer> {
        let mut request = Request::new(SdkBody::from(body));
        let address = |error: &dyn std::fmt::Display| NoAnswer::Address(error.to_string());
        request
            .set_method(method)
            .map_err(|error| address(&error))?;
        request.set_uri(url).map_err(|error| address(&error))?;
        for (name, value) in headers {
            let inserted = request.headers_mut().try_insert(*name, value.clone());
            // What the value is may be a secret.
            inserted.map_err(|_| NoAnswer::Address(format!("the header {name}")))?;
        }
        tokio::time::timeout(within, self.answer(request, most))
            .await
            .unwrap_or(Err(NoAnswer::Late))
    }

    async fn answer(&self, request: Request, most: usize) -> Result<Response, NoAnswer> {
        let broken = |error: &dyn std::fmt::Debug| NoAnswer::Broken(format!("{error:?}"));
        let response = self.0.call(request).await.map_err(|error| broken(&error))?;
        let status = response.status().as_u16();
        let mut stream = ByteStream::new(response.into_body());
        let mut body = Vec::new();
        while let Some(chunk) = stream.next().await {
            body.extend_from_slice(&chunk.map_err(|error| broken(&error))?);
            if body.len() > most {
                return Err(NoAnswer::TooLong);
            }
        }
        Ok(Response { status, body })
    }
}
