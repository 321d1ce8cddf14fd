//! Tells of what happens. From the table's stream: every journal entry and every notice, as an event on a
//! bus of EventBridge. From the queue that a rule of that bus fills: the mails that events call for;
//! and, from the same queue, that mail came back. It runs as one function for each.

mod bus;
mod post;

use std::fmt;

use connects::config::{BusConfig, Environment, MailConfig};
use connects::domain::email::Email;
use connects::domain::event::{self, Event};
use connects::domain::words::Dictionary;
use connects::http::{self, BusEvent, Change, Core, Message, Problem, Run, Work};
use connects::ledger::Context;
use connects::store;
use serde::Serialize;
use serde_json::Value;

use bus::Bus;
use post::Mailbox;

/// Who tells of mail that came back.
const SES: &str = "aws.ses";

/// What this function has, beside the ledger: as much as it is configured for.
struct Notify {
    core: Core,
    bus: Option<Bus>,
    mails: Option<(Mailbox, Dictionary)>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let core = Core::start().await?;
    let environment = Environment::of_process()?;
    let sdk = store::sdk_config().await;
    let bus = BusConfig::read(&environment)?.bus;
    let mails = match MailConfig::read(&environment)? {
        None => None,
        Some(config) => {
            let dictionary = Dictionary::new(&config.language)
                .map_err(|why| format!("CONNECTS_MAIL_LANGUAGE {why}"))?;
            Some((Mailbox::new(&sdk, config), dictionary))
        }
    };
    let notify = Notify {
        bus: bus.map(|name| Bus::new(&sdk, name)),
        mails,
        core,
    };
    let nowhere = async |_: &http::Request| Err(Problem::not_found());
    http::serve_and_run(notify.core.clock, nowhere, async |run| {
        notify.run(run).await
    })
    .await
}

/// What was not done, in Lambda's form: of a stream, everything from there on comes again; of a
/// queue, the messages that are named.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Undone {
    batch_item_failures: Vec<Item>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    item_identifier: String,
}

impl Undone {
    fn of(ids: impl IntoIterator<Item = String>) -> Self {
        let items = ids
            .into_iter()
            .map(|item_identifier| Item { item_identifier });
        Self {
            batch_item_failures: items.collect(),
        }
    }
}

impl Notify {
    async fn run(&self, run: Run) -> Result<Undone, String> {
        match run.work {
            Work::Changed(changes) => self.tell(changes).await,
            Work::Told(messages) => Ok(self.mail(&run.context, messages).await),
            Work::Due(_) => Err("this function has no schedule".to_owned()),
        }
    }

    /// Puts the events of these changes on the bus, in order.
    async fn tell(&self, changes: Vec<Change>) -> Result<Undone, String> {
        let bus = self.bus.as_ref().ok_or("CONNECTS_BUS is not set")?;
        let mut told = Vec::new();
        let mut unreadable = None;
        for change in changes {
            let event = change.new_image.map_or(Ok(None), |image| image.event());
            match event {
                Ok(Some(event)) => told.push((change.sequence_number, event)),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, sequence = change.sequence_number, "unreadable");
                    unreadable = Some(change.sequence_number);
                    break;
                }
            }
        }
        // What comes before an item that can't be read is told; from there on it comes again.
        let stuck = bus.tell(&told).await;
        Ok(Undone::of(stuck.or(unreadable)))
    }

    async fn mail(&self, context: &Context, messages: Vec<Message>) -> Undone {
        let mut undone = Vec::new();
        for message in messages {
            let done = match message.told {
                Some(told) if told.source == SES => self.came_back(context, &told.detail).await,
                Some(told) if told.source == event::SOURCE => self.mail_one(context, told).await,
                _ => Err("no event of a bus that is known here".to_owned()),
            };
            if let Err(cause) = done {
                tracing::error!(queued = message.id, cause, "not mailed");
                undone.push(message.id);
            }
        }
        Undone::of(undone)
    }

    async fn mail_one(&self, context: &Context, told: BusEvent) -> Result<(), String> {
        let (post, dictionary) = self.mails.as_ref().ok_or("CONNECTS_MAIL_FROM is not set")?;
        let detail_type = told.detail_type;
        let event = Event::read(&detail_type, told.detail).map_err(text)?;
        let Some(event) = event else { return Ok(()) };
        let ledger = &self.core.ledger;
        let mailed = ledger.mail(context, post, dictionary, &event).await;
        let mailed = mailed.map_err(text)?;
        tracing::info!(detail_type, ?mailed, "mail");
        Ok(())
    }

    /// Sends no more to the addresses that a bounce or a complaint names. What bounces for now only, SES
    /// tries again by itself.
    async fn came_back(&self, context: &Context, detail: &Value) -> Result<(), String> {
        for address in addresses_lost(detail) {
            match Email::try_new(address) {
                Ok(email) => self
                    .core
                    .ledger
                    .take_no_mail(context, &email)
                    .await
                    .map_err(text)?,
                Err(_) => tracing::warn!("mail came back from what is no address"),
            }
        }
        Ok(())
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Of SES's event: the addresses at which nobody is, or nobody wants the mail.
fn addresses_lost(detail: &Value) -> Vec<&str> {
    let bounce = match detail["bounce"]["bounceType"] == "Permanent" {
        true => detail["bounce"]["bouncedRecipients"].as_array(),
        false => None,
    };
    let complaint = detail["complaint"]["complainedRecipients"].as_array();
    [bounce, complaint]
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|recipient| recipient["emailAddress"].as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_bounces_for_good_and_complaints_stop_an_address() {
        let recipients =
            json!([{ "emailAddress": "a@example.com" }, { "emailAddress": "b@example.com" }]);
        for (detail, lost) in [
            (
                json!({ "bounce": { "bounceType": "Permanent", "bouncedRecipients": recipients } }),
                vec!["a@example.com", "b@example.com"],
            ),
            (
                json!({ "bounce": { "bounceType": "Transient", "bouncedRecipients": recipients } }),
                vec![],
            ),
            (
                json!({ "complaint": { "complainedRecipients": recipients } }),
                vec!["a@example.com", "b@example.com"],
            ),
            (json!({ "delivery": {} }), vec![]),
            (json!(null), vec![]),
        ] {
            assert_eq!(addresses_lost(&detail), lost, "{detail}");
        }
    }

    #[test]
    fn what_is_undone_has_lambdas_form() {
        assert_eq!(
            serde_json::to_value(Undone::of(["7".to_owned()])).unwrap(),
            json!({ "batchItemFailures": [{ "itemIdentifier": "7" }] })
        );
        assert_eq!(
            serde_json::to_value(Undone::default()).unwrap(),
            json!({ "batchItemFailures": [] })
        );
    }
}
