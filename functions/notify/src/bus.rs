//! The bus. Each event is put after the one before it of its account is there: a call takes several
//! events, but of each account one, and the next call waits for it. Where a call fails for one of
//! them, everything from that one on comes again, so events may come twice, and never out of
//! order. What EventBridge does with them from there is its own affair: it promises no order.

use std::collections::HashSet;

use aws_config::SdkConfig;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use connects::domain::event::{Event, SOURCE};

/// What one call may hold.
const MOST: usize = 10;

/// A bus of EventBridge.
pub struct Bus {
    client: Client,
    name: String,
}

/// An event and its place in the stream.
pub type Placed = (String, Event);

impl Bus {
    /// The bus of that name.
    pub fn new(sdk: &SdkConfig, name: String) -> Self {
        let client = Client::new(sdk);
        Self { client, name }
    }

    /// Puts events, in order; the place of the first that was not, if any was not.
    pub async fn tell(&self, events: &[Placed]) -> Option<String> {
        for wave in waves(events) {
            if let Err((place, cause)) = self.put(wave).await {
                tracing::error!(sequence = place, cause, "not told");
                return Some(place);
            }
        }
        None
    }

    async fn put(&self, wave: &[Placed]) -> Result<(), (String, String)> {
        let first = || {
            wave.first()
                .map(|(place, _)| place.clone())
                .unwrap_or_default()
        };
        let entry = |(_, event): &Placed| {
            let detail = serde_json::to_string(event);
            detail.map(|detail| {
                PutEventsRequestEntry::builder()
                    .event_bus_name(&self.name)
                    .source(SOURCE)
                    .detail_type(event.detail_type())
                    .detail(detail)
                    .time(DateTime::from_millis(event.at().timestamp_millis()))
                    .build()
            })
        };
        let entries = wave.iter().map(entry).collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|error| (first(), error.to_string()))?;
        let put = self.client.put_events().set_entries(Some(entries));
        let answer = put.send().await;
        let answer = answer.map_err(|error| (first(), format!("{error:?}")))?;
        let refused = wave
            .iter()
            .zip(answer.entries())
            .find_map(|((place, _), entry)| Some((place.clone(), entry.error_code()?.to_owned())));
        match refused {
            Some(refused) => Err(refused),
            None if answer.failed_entry_count() > 0 => Err((first(), "failed entries".to_owned())),
            None => Ok(()),
        }
    }
}

/// Events in calls: in order, and no two of one account together.
fn waves(mut events: &[Placed]) -> Vec<&[Placed]> {
    let mut waves = Vec::new();
    while !events.is_empty() {
        let mut accounts = HashSet::new();
        let length = events
            .iter()
            .take(MOST)
            .take_while(|(_, event)| accounts.insert(&event.account_id))
            .count();
        let (wave, rest) = events.split_at(length);
        waves.push(wave);
        events = rest;
    }
    waves
}

#[cfg(test)]
mod tests {
    use connects::domain::event::What;
    use serde_json::{Value, json};

    use super::*;

    fn placed(accounts: &str) -> Vec<Placed> {
        let event = |(place, account): (usize, char)| {
            let detail: Value = json!({
                "event_id": format!("{account}:{place}"),
                "account_id": account.to_string(),
                "lot_id": "2-0",
                "amount": 1,
                "expires_on": "2027-01-01",
                "days": 7,
                "noticed_at": "2026-12-25T00:00:00.000Z",
            });
            let event = Event::read("connects.lot_expiring", detail)
                .unwrap()
                .unwrap();
            assert!(matches!(event.what, What::LotExpiring(_)));
            (place.to_string(), event)
        };
        accounts.chars().enumerate().map(event).collect()
    }

    #[test]
    fn of_each_account_one_event_is_on_its_way() {
        for (accounts, calls) in [
            ("", ""),
            ("a", "a"),
            ("abc", "abc"),
            ("aab", "a ab"),
            ("abab", "ab ab"),
            ("aaa", "a a a"),
            ("abcdefghijkl", "abcdefghij kl"),
        ] {
            let placed = placed(accounts);
            let waves: Vec<String> = waves(&placed)
                .into_iter()
                .map(|wave| wave.iter().map(|(_, e)| e.account_id.as_str()).collect())
                .collect();
            assert_eq!(waves.join(" "), calls, "{accounts}");
        }
    }
}
