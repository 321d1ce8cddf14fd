//! The post: SES, which keeps the templates and puts into them what is particular to a letter.

use std::error::Error;
use std::iter::successors;

use aws_config::SdkConfig;
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::config::http::HttpResponse;
use aws_sdk_sesv2::config::retry::RetryConfig;
use aws_sdk_sesv2::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::types::{Destination, EmailContent, Template};
use connects::config::MailConfig;
use connects::domain::mail::Letter;
use connects::ledger::{Post, Undelivered};

/// SES is not there just now; what it says so of, it has not begun.
const UNAVAILABLE: u16 = 503;

/// Letters go out from here.
pub struct Mailbox {
    client: Client,
    config: MailConfig,
}

impl Mailbox {
    /// As it is configured. A letter is handed over once: what may have been taken is never handed over
    /// again by itself.
    pub fn new(sdk: &SdkConfig, config: MailConfig) -> Self {
        let once = aws_sdk_sesv2::config::Builder::from(sdk)
            .retry_config(RetryConfig::disabled())
            .build();
        Self {
            client: Client::from_conf(once),
            config,
        }
    }
}

impl Post for Mailbox {
    async fn send(&self, letter: &Letter) -> Result<(), Undelivered> {
        let particulars = serde_json::to_string(&letter.particulars)
            .map_err(|error| Undelivered::NotTaken(error.to_string()))?;
        let template = Template::builder()
            .template_name(format!(
                "{}{}-{}",
                self.config.templates,
                letter.mail.as_str(),
                letter.language
            ))
            .template_data(particulars)
            .build();
        let to = Destination::builder().to_addresses(letter.to.as_str());
        self.client
            .send_email()
            .from_email_address(&self.config.from)
            .destination(to.build())
            .content(EmailContent::builder().template(template).build())
            .set_configuration_set_name(self.config.configuration.clone())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| sort(&error))
    }
}

/// Whether a letter that was not acknowledged may have been taken: not where SES refused it, and not where
/// there was no connection to it. What SES says may name the address, so no more of it is told than its
/// code.
fn sort(error: &SdkError<SendEmailError, HttpResponse>) -> Undelivered {
    let said = match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("no code");
            format!("{code}, {}", service.raw().status())
        }
        other => other.to_string(),
    };
    let not_taken = match error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::DispatchFailure(failure) => {
            failure.is_user() || failure.as_connector_error().is_some_and(is_unconnected)
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            status < 500 || status == UNAVAILABLE
        }
        _ => false,
    };
    match not_taken {
        true => Undelivered::NotTaken(said),
        false => Undelivered::Unknown(said),
    }
}

fn is_unconnected(error: &ConnectorError) -> bool {
    let first: &(dyn Error + 'static) = error;
    successors(Some(first), |error: &&(dyn Error + 'static)| {
        (*error).source()
    })
    .filter_map(|error| error.downcast_ref::<hyper_util::client::legacy::Error>())
    .any(hyper_util::client::legacy::Error::is_connect)
}
