//! What can be done about a hold in the small world, and the holds it is done about.

use chrono::TimeDelta;
use connects::domain::hold::{EndHold, HoldCommand};
use connects::domain::ids::{OperationId, Reason};
use connects::domain::units::Connects;
use connects::ledger::{Context, Ledger, Outcome};

use super::acts::{Act, Scene, Told, account, key, swept, text, told};
use crate::table::{at, instant};

/// When the two earlier holds were made.
const HELD: &str = "2025-01-21T12:00:00Z";

/// What each of them took, the first from two lots. While the other is open as much is held, so that
/// nothing but the hold itself tells that it has ended.
const HELD_BEFORE: u64 = 6;

/// More than can be had twice.
const MORE: u64 = 12;

/// Less than half of what an earlier hold took.
const PART: u64 = 2;

/// Something that is done about a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Holds more than half of what there is.
    Hold,
    /// Uses the first of the earlier holds, in its last moment.
    Capture,
    /// Uses a part of it.
    CapturePart,
    /// Gives it back.
    Release,
    /// The schedule that ends it, since its time is over.
    Sweep,
}

fn hold(amount: u64) -> HoldCommand {
    HoldCommand {
        amount: Connects::new(amount),
        reason: Reason::of("test"),
        reference: None,
        expires_at: None,
    }
}

fn earlier() -> OperationId {
    HoldCommand::id(&account(), &key("hold", 0))
}

/// Makes the earlier holds. The first one's time is just over, where it `ends` by itself.
pub async fn prepare(ledger: &Ledger, scene: Scene, ends: bool) {
    let first = HoldCommand {
        expires_at: ends.then(|| instant(scene.now())),
        ..hold(HELD_BEFORE)
    };
    for (number, command) in [first, hold(HELD_BEFORE)].iter().enumerate() {
        let key = key("hold", number);
        let held = ledger.hold(&at(HELD), &account(), &key, command).await;
        held.unwrap();
    }
}

impl Deed {
    /// Does it.
    pub async fn done(self, ledger: &Ledger, now: &Context, act: Act) -> Told {
        let (id, hold_id, key) = (account(), earlier(), key("act", act.key));
        let just_before = Context {
            now: now.now - TimeDelta::milliseconds(1),
            ..*now
        };
        let end = async |now: &Context, end| {
            let ended = ledger.end_hold(now, &id, &hold_id, Some(&key), &end);
            told(ended.await.map(Outcome::into_inner), text)
        };
        match self {
            Self::Hold => {
                let held = ledger.hold(now, &id, &key, &hold(MORE)).await;
                told(held.map(Outcome::into_inner), text)
            }
            Self::Capture => end(&just_before, EndHold::Capture { amount: None }).await,
            Self::CapturePart => {
                let amount = Some(Connects::new(PART));
                end(&just_before, EndHold::Capture { amount }).await
            }
            Self::Release => end(now, EndHold::Release).await,
            Self::Sweep => swept(ledger.sweep_holds(now, now.now).await),
        }
    }
}
