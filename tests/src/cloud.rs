//! The stand-in for the rest of AWS, as a subscriber and a reader of mail see it.

use std::time::Duration;

use connects::domain::email::Email;
use connects_local::aws::{Client, Mail, Subscription, Told};
use connects_local::state::Aws;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::stack::{Stack, fresh};

/// Looks at what was to come, and the pause between two.
const LOOKS: u32 = 300;
const PAUSE: Duration = Duration::from_millis(200);

impl Stack {
    fn aws(&self) -> (&Aws, Client) {
        let missing = "the stack tells nobody: start it with `cargo local up --with-aws`";
        let aws = self.aws.as_ref().expect(missing);
        (aws, Client::new(self.web.clone(), aws.endpoint.clone()))
    }

    /// Subscribes to the events of an account that is yet to be opened.
    pub async fn subscribe(&self, account: &str) -> Subscription {
        let (aws, client) = self.aws();
        let (name, accounts) = (fresh("subscriber"), [account.to_owned()]);
        client.subscribe(aws, &name, &accounts).await.unwrap()
    }

    /// Puts a message into the queue that mails are made of, as a rule would.
    pub async fn queue_mail(&self, source: &str, detail_type: &str, detail: &Value) {
        let (aws, client) = self.aws();
        let prefix = json!({ "QueueNamePrefix": format!("{}-Mails", aws.bus) });
        let queues = client.sqs("ListQueues", &prefix).await.unwrap();
        let event = json!({ "source": source, "detail-type": detail_type, "detail": detail });
        let message =
            json!({ "QueueUrl": queues["QueueUrls"][0], "MessageBody": event.to_string() });
        client.sqs("SendMessage", &message).await.unwrap();
    }

    /// Waits until it is known that an address takes no mail.
    pub async fn addresses_lost(&self, address: &str) {
        let email = Email::try_new(address).unwrap();
        for _ in 0..LOOKS {
            if !self.store().takes_mail(&email).await.unwrap() {
                return;
            }
            sleep(PAUSE).await;
        }
        panic!("mail to {address} did not come back")
    }

    /// The mails to an address, in the order in which they were sent, once there are so many.
    pub async fn mails(&self, address: &str, count: usize) -> Vec<Mail> {
        let (_, client) = self.aws();
        for _ in 0..LOOKS {
            let mut mails = client.mails().await.unwrap();
            mails.retain(|mail| mail.to == [address]);
            if mails.len() >= count {
                return mails;
            }
            sleep(PAUSE).await;
        }
        panic!("{count} mails to {address} did not come")
    }
}

/// What has come to a subscriber, once there are so many events.
pub async fn until(subscription: &mut Subscription, count: usize) -> &[Told] {
    for _ in 0..LOOKS {
        if subscription.events.len() >= count {
            break;
        }
        subscription.look().await.unwrap();
    }
    let came = &subscription.events;
    assert!(came.len() >= count, "{count} events did not come: {came:?}");
    came
}
