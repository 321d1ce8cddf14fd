//! A real table on a stand-in for DynamoDB: the embedded one, or the one that
//! `CONNECTS_TEST_STORE` names by its address.

use connects::domain::account::{Account, Kind, Open};
use connects::domain::ids::{AccountId, JobId, PersonId, PromoCode, Reason, Seq};
use connects::domain::journal::Entry;
use connects::domain::key::IdempotencyKey;
use connects::domain::policy::{BUILT_IN, Policy};
use connects::domain::promo::{Offer, Terms};
use connects::domain::refusal::Refusal;
use connects::domain::spend::SpendCommand;
use connects::domain::time::{self, Time};
use connects::domain::units::Connects;
use connects::ledger::{Context, Error, Ledger};
use connects::store::Store;
use connects_local::emulator::{self, Emulator};
use connects_local::project::Project;
use connects_local::template::Template;
use tokio::time::{Duration, Instant};

use crate::model::{Model, replay};

/// How long an operation may take in a test: ample, so that load on the machine fails nothing.
const PATIENCE: Duration = Duration::from_secs(300);

/// A table of its own, made as template.yaml says.
#[derive(Debug)]
pub struct Table {
    /// The ledger over it, under the built-in policy.
    pub ledger: Ledger,
    _emulator: Option<Emulator>,
}

/// Whether figures of consumed capacity are right here. They are on the embedded stand-in only.
pub fn capacity_is_right() -> bool {
    named_store().is_none()
}

/// Why something was refused, which it has to be.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> Refusal {
    match answer {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn named_store() -> Option<String> {
    std::env::var("CONNECTS_TEST_STORE")
        .ok()
        .filter(|store| store != "embedded")
}

impl Table {
    /// Starts the stand-in, if it is not running, and makes the table, if it is not there.
    pub async fn new() -> Self {
        Self::under(Policy::parse(BUILT_IN).unwrap()).await
    }

    /// The same, under another policy.
    pub async fn under(policy: Policy) -> Self {
        let (endpoint, emulator) = match named_store() {
            Some(endpoint) => (endpoint, None),
            None => {
                let emulator = emulator::embedded(None).await.unwrap();
                (emulator.endpoint.clone(), Some(emulator))
            }
        };
        let template = Template::read(&Project::find().unwrap().template()).unwrap();
        // A table for each test: its schedules sweep nobody else's accounts into the future.
        let name = unique();
        emulator::ensure_table(&endpoint, &name, &template.table)
            .await
            .unwrap();
        let client = emulator::client(&endpoint);
        Self {
            ledger: Ledger::new(Store::new(client, name), policy),
            _emulator: emulator,
        }
    }

    /// Opens a freelancer's account: 40 and 10 Connects, unless it begins without.
    pub async fn open(&self, now: &str) -> AccountId {
        self.open_as(Kind::Freelancer, now).await
    }

    /// Opens an account with nothing in it.
    pub async fn open_empty(&self, now: &str) -> AccountId {
        self.open_as(Kind::Agency, now).await
    }

    async fn open_as(&self, kind: Kind, now: &str) -> AccountId {
        let id = account_id();
        let open = Open {
            kind,
            person_id: PersonId::try_new(id.as_str()).unwrap(),
            email: None,
            opened_on: None,
        };
        self.ledger.open(&at(now), &id, open).await.unwrap();
        id
    }

    /// The account as it is stored, nothing settled.
    pub async fn state(&self, id: &AccountId) -> Account {
        self.ledger.store().load(id).await.unwrap().unwrap()
    }

    /// The whole journal, oldest entry first.
    pub async fn journal(&self, id: &AccountId) -> Vec<Entry> {
        journal(self.ledger.store(), id).await
    }

    /// Checks an account by the model, and gives the model at its end.
    pub async fn audit(&self, id: &AccountId) -> Model {
        audit(self.ledger.store(), id).await
    }
}

/// The whole journal of an account, oldest entry first.
pub async fn journal(store: &Store, id: &AccountId) -> Vec<Entry> {
    let mut before = Seq::new(u64::from(u32::MAX));
    let mut journal = vec![];
    loop {
        let page = store.entries_before(id, before, 500).await.unwrap();
        let Some(last) = page.last() else { break };
        before = last.seq;
        journal.extend(page);
    }
    journal.reverse();
    journal
}

/// Checks that the journal is gap-free, chained and sealed, that every entry used the oldest
/// Connects there were, and that the lots hold what the journal left in them.
pub async fn audit(store: &Store, id: &AccountId) -> Model {
    inspect(store, id)
        .await
        .unwrap_or_else(|why| panic!("{id}: {why}"))
}

/// The same, for those who go on.
///
/// # Errors
/// Says what is wrong.
pub async fn inspect(store: &Store, id: &AccountId) -> Result<Model, String> {
    let journal = journal(store, id).await;
    let model = replay(&journal)?;
    let account = store.load(id).await.map_err(|why| why.to_string())?;
    let account = account.ok_or("no account")?;
    let same = |what: &str, is: bool| is.then_some(()).ok_or(what.to_owned());
    same(
        "the lots are not the journal's",
        account.lots == model.lots()?,
    )?;
    same("not the newest entry", account.head.seq == model.seq())?;
    let sum: i64 = journal.iter().map(|entry| entry.amount).sum();
    same(
        "the journal's sum is not the balance",
        sum == account.balance().available.credit(),
    )?;
    Ok(model)
}

/// An account id that no other test has.
pub fn account_id() -> AccountId {
    AccountId::try_new(&unique()).unwrap()
}

/// A job id that no other test has.
pub fn job_id() -> JobId {
    JobId::try_new(&unique()).unwrap()
}

/// An idempotency key that no other request has.
pub fn key() -> IdempotencyKey {
    IdempotencyKey::try_new(&unique()).unwrap()
}

/// A spend of that many.
pub fn spend(amount: u64) -> SpendCommand {
    SpendCommand {
        amount: Connects::new(amount),
        reason: Reason::of("test"),
        reference: None,
    }
}

/// A promo code that no other test has.
pub fn promo_code() -> PromoCode {
    PromoCode::try_new(&unique()[..30]).unwrap()
}

/// A promo's name that no other test has, short enough for single-use codes.
pub fn batch_name() -> PromoCode {
    PromoCode::try_new(&format!("B{:013x}", fastrand::u64(..1 << 52))).unwrap()
}

/// The terms of a code that grants everybody so many, from 2020 to 2100 and without limit.
pub fn grant(quantity: u64) -> Terms {
    Terms {
        offer: Offer::Grant {
            quantity: Connects::new(quantity),
        },
        valid_from: instant("2020-01-01T00:00:00Z"),
        valid_until: instant("2100-01-01T00:00:00Z"),
        max_redemptions: None,
        kinds: None,
        plans: None,
        lot_valid_days: None,
    }
}

/// A text that no other call gives.
pub fn unique() -> String {
    format!("t{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

/// The instant that RFC 3339 text names.
pub fn instant(text: &str) -> Time {
    time::parse(text).unwrap()
}

/// At that instant, with ample time to answer.
pub fn at(text: &str) -> Context {
    Context {
        now: instant(text),
        deadline: Instant::now() + PATIENCE,
    }
}
