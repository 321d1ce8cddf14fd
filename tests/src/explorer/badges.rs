//! What can be done about a badge in the small world, and the badge it is done about.

use connects::domain::badge::BadgeView;
use connects::domain::units::Connects;
use connects::ledger::{Context, Ledger, Outcome};
use serde_json::json;

use super::acts::{self, Act, Scene, Told, account, key, swept, text, told};
use crate::table::{at, spend};

/// When the badge was turned on, where it was before anything happens at once: its week is just over, and
/// its renewal begins a little earlier than a week that is charged anew.
const ON_SINCE: &str = "2025-01-29T11:50:00Z";

/// What a week may cost: more than it does, still more, and less.
const MAX: u64 = 6;
const MORE: u64 = 9;
const LESS: u64 = 2;

/// So much that what is left does not cover a week.
const SPEND: u64 = 8;

/// Something that is done about the badge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Turns it on.
    Put,
    /// Turns it on, or lets a week cost more.
    PutMore,
    /// Lets a week cost no more than less than it does.
    PutLess,
    /// Turns it off.
    TurnOff,
    /// The schedule that renews it.
    Renew,
    /// Spends what a week would cost.
    Spend,
    /// Reads it.
    Read,
    /// Reads what a week costs.
    ReadPrice,
}

/// Turns the badge on where the scene has one, and fixes the new week's price, unless it is asked for:
/// whoever fixes it counts in a call for each shard.
pub async fn prepare(ledger: &Ledger, scene: Scene, acts: &[Act]) {
    let deeds = || acts.iter().map(|act| act.kind);
    if scene == Scene::Badged {
        let (then, id) = (at(ON_SINCE), account());
        let put = ledger.put_badge(&then, &id, Connects::new(MAX)).await;
        put.unwrap();
    }
    let priced = deeds().any(|deed| matches!(deed, acts::Deed::Badge(_)));
    if priced && deeds().all(|deed| deed != acts::Deed::Badge(Deed::ReadPrice)) {
        ledger.badge_price(&at(scene.now())).await.unwrap();
    }
}

impl Deed {
    /// Does it.
    pub async fn done(self, ledger: &Ledger, now: &Context, act: Act) -> Told {
        let id = account();
        let put = async |max_weekly| {
            let put = ledger.put_badge(now, &id, Connects::new(max_weekly)).await;
            told(put.map(|(_, view)| view), badge_view)
        };
        match self {
            Self::Put => put(MAX).await,
            Self::PutMore => put(MORE).await,
            Self::PutLess => put(LESS).await,
            Self::TurnOff => told(ledger.turn_badge_off(now, &id).await, badge_view),
            Self::Renew => swept(ledger.sweep_badges(now, now.now).await),
            Self::Spend => {
                let (key, command) = (key("act", act.key), spend(SPEND));
                let spent = ledger.spend(now, &id, &key, &command).await;
                told(spent.map(Outcome::into_inner), text)
            }
            Self::Read => told(ledger.badge(now, &id).await, badge_view),
            Self::ReadPrice => told(ledger.badge_price(now).await, text),
        }
    }
}

/// Where nothing is charged, a badge and the balance are not read at one moment.
fn badge_view(view: BadgeView) -> Told {
    let mut all = json!(view);
    let balance = all["balance"].take();
    Told::Proposal {
        fixed: "the badge".to_owned(),
        now: all.to_string(),
        balance: balance.to_string(),
    }
}
