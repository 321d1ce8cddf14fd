//! The whole table at one moment, read past the store: what is checked must not be read by what is
//! checked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::str::FromStr;

use chrono::NaiveDate;
use connects::domain::account::{Balance, Kind, Plan, Status};
use connects::domain::auction::Auction;
use connects::domain::badge::{Badge, OffReason, WeekPrice};
use connects::domain::bid::BidState;
use connects::domain::closure::{Closure, ClosureReason};
use connects::domain::hold::{Ended, HoldState};
use connects::domain::ids::{
    AccountId, Fingerprint, JobId, LotId, OperationId, PersonId, Reason, Reference, Seq,
};
use connects::domain::job::Job;
use connects::domain::journal::{Entry, EntryType};
use connects::domain::key::IdempotencyKey;
use connects::domain::lot::{Birth, Lot, Slice, Source};
use connects::domain::low_balance::LowBalance;
use connects::domain::promo::{Promo, Slot};
use connects::domain::proposal::{FreeReason, ProposalState};
use connects::domain::purchase::Purchase;
use connects::domain::seal::Seal;
use connects::domain::time::{Time, as_text, as_text_if_any};
use connects::domain::top_up::TopUp;
use connects::domain::units::Connects;
use connects::store::SandboxCharge;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::wire::{Call, Emulated};

/// Everything there is.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By account.
    pub partitions: BTreeMap<String, Partition>,
    /// Who has had a signup bonus, and in which account.
    pub persons: BTreeMap<String, String>,
    /// By code.
    pub promos: BTreeMap<String, Promo>,
    /// By code and place.
    pub slots: BTreeMap<(String, u32), Slot>,
    /// What the provider remembers, by purchase.
    pub charges: HashMap<String, SandboxCharge>,
    /// By job.
    pub jobs: BTreeMap<String, JobPartition>,
    /// What a week of a badge costs, by its Monday.
    pub prices: BTreeMap<NaiveDate, WeekPrice>,
    /// What stands in the index: when it is due, and what it is.
    pub due: Vec<(String, String)>,
}

/// One account.
#[derive(Debug, Default)]
pub struct Partition {
    /// Its journal, oldest entry first.
    pub journal: Vec<Entry>,
    /// Its lots as they are stored, oldest first.
    pub stored: Vec<Lot>,
    /// Its profile.
    pub profile: Option<ProfileRow>,
    /// Its receipts, by id.
    pub receipts: BTreeMap<String, ReceiptRow>,
    /// Its purchases, by id.
    pub purchases: BTreeMap<String, Purchase>,
    /// The purchases it has used codes for, by code.
    pub redemptions: BTreeMap<String, String>,
    /// Its proposals, by job.
    pub proposals: BTreeMap<String, ProposalRow>,
    /// Its holds, by id.
    pub holds: BTreeMap<String, HoldRow>,
    /// Its badge, once it asked for one.
    pub badge: Option<Badge>,
    /// What its holder is told of a badge that went off.
    pub notices: Vec<NoticeRow>,
    /// What its holder is told of a balance that became low, by entry.
    pub crossings: BTreeMap<Seq, CrossingRow>,
    /// Its top-up, once it asked for one.
    pub top_up: Option<TopUp>,
    /// The purchases by whose decline its top-up went off, as its holder is told.
    pub top_ups_off: BTreeSet<String>,
}

/// One job.
#[derive(Debug, Default)]
pub struct JobPartition {
    /// The job.
    pub job: Option<Job>,
    /// The bids on it, once there was one.
    pub auction: Option<Auction>,
    /// Why it was closed.
    pub closures: Vec<Closure>,
    /// The accounts that contracts on it were made with.
    pub contracts: BTreeSet<String>,
    /// The accounts that proposed on it.
    pub proposals: BTreeSet<String>,
}

/// A proposal as it is stored.
#[derive(Debug, Deserialize)]
pub struct ProposalRow {
    /// What it took, and what of that came back.
    #[serde(flatten)]
    pub charge: ReceiptRow,
    /// On which job.
    pub job_id: JobId,
    /// Whose.
    pub account_id: AccountId,
    /// Why it took nothing, if so.
    pub free_reason: Option<FreeReason>,
    /// The version of the job's price.
    pub job_version: u64,
    /// Where it stands.
    pub state: ProposalState,
    /// The closures that it was settled for.
    #[serde(default)]
    pub settled_for: BTreeSet<ClosureReason>,
    /// What was bid on top with it.
    pub boost: Option<Connects>,
    /// What is bid on top of it, or was.
    pub bid: Option<BidRow>,
    /// When its bid is to be looked at.
    pub due_at: Option<String>,
}

/// A bid as it is stored.
#[derive(Debug, Deserialize)]
pub struct BidRow {
    /// What it set aside.
    #[serde(flatten)]
    pub hold: HoldRow,
    /// Where it stands.
    pub bid_state: BidState,
    /// How much was paid.
    pub paid: Connects,
    /// Since when its Connects are on their way back, if they are.
    #[serde(default, with = "as_text_if_any")]
    pub lost_at: Option<Time>,
}

impl BidRow {
    /// How much it is.
    pub fn amount(&self) -> Connects {
        self.hold.taken.amount
    }

    /// Whether Connects are held for it.
    pub fn is_held(&self) -> bool {
        matches!(self.bid_state, BidState::Leading | BidState::Releasing)
    }
}

/// What a holder is told of a badge that went off, as it is stored.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct NoticeRow {
    /// The end of the last week that was paid for.
    #[serde(with = "as_text")]
    pub paid_until: Time,
    /// The badge's revision that is off.
    pub revision: u64,
    /// Why it went off.
    pub off_reason: OffReason,
    /// What a week would have cost.
    pub price: Connects,
    /// What it might have cost.
    pub max_weekly: Connects,
    /// When that was seen.
    #[serde(with = "as_text")]
    pub noticed_at: Time,
}

/// What a holder is told of a balance that became low, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CrossingRow {
    /// The entry that made it so.
    pub seq: Seq,
    /// When.
    #[serde(with = "as_text")]
    pub at: Time,
    /// Fewer are low.
    pub threshold: Connects,
    /// So many were available.
    pub available: Connects,
}

/// A hold as it is stored.
#[derive(Debug, Deserialize)]
pub struct HoldRow {
    /// What it took, and what of that came back.
    #[serde(flatten)]
    pub taken: ReceiptRow,
    /// What for.
    pub reason: Reason,
    /// When it is over.
    #[serde(default, with = "as_text_if_any")]
    pub expires_at: Option<Time>,
    /// Where it stands.
    pub state: HoldState,
    /// How it ended.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// How often it was written.
    pub revision: u64,
    /// When it is to be looked at.
    pub due_at: Option<String>,
}

impl HoldRow {
    /// How many of its Connects were used.
    pub fn captured(&self) -> Connects {
        match self.state {
            HoldState::Captured => self.taken.amount - self.taken.returned,
            HoldState::Open | HoldState::Released | HoldState::Expired => Connects::ZERO,
        }
    }
}

/// A profile as it is stored.
#[derive(Debug, Deserialize)]
pub struct ProfileRow {
    /// Who holds it.
    pub kind: Kind,
    /// The person behind it.
    pub person_id: PersonId,
    /// What is subscribed to.
    pub plan: Plan,
    /// What the next cycle brings, where it is another plan.
    pub pending_plan: Option<Plan>,
    /// Whether it may be used.
    pub status: Status,
    /// The day from which cycles are counted.
    pub anchor: NaiveDate,
    /// The first cycle that nothing was booked for.
    pub next_grant_on: NaiveDate,
    /// Under how many Connects its balance is low.
    pub low_balance: Option<LowBalance>,
    /// The entry that changed it last.
    pub seq: Seq,
}

/// A receipt as it is stored.
#[derive(Debug, Deserialize)]
pub struct ReceiptRow {
    /// The operation.
    pub id: OperationId,
    /// What it was asked for.
    pub fingerprint: Fingerprint,
    /// The key it came under, where the id is not made of it.
    pub key: Option<IdempotencyKey>,
    /// Its entry.
    pub entry: Seq,
    /// How many Connects.
    #[serde(default)]
    pub amount: Connects,
    /// The lots it touched, packed.
    #[serde(default)]
    pub lots: Vec<String>,
    /// How much has come back.
    #[serde(default)]
    pub returned: Connects,
    /// What was answered, where the receipt keeps it.
    pub answer: Option<Value>,
}

#[derive(Deserialize)]
struct EntryRow {
    seq: Seq,
    #[serde(with = "as_text")]
    at: Time,
    #[serde(with = "as_text")]
    effective_at: Time,
    r#type: EntryType,
    reason: Reason,
    amount: i64,
    #[serde(default)]
    lots: Vec<String>,
    available: Connects,
    held: Connects,
    debt: Connects,
    reference: Option<Reference>,
    policy: u32,
    profile_seq: Seq,
    #[serde(default)]
    pending: Vec<String>,
    prev_hash: String,
    hash: String,
}

impl EntryRow {
    fn entry(self) -> Result<Entry, String> {
        Ok(Entry {
            seq: self.seq,
            at: self.at,
            effective_at: self.effective_at,
            entry_type: self.r#type,
            reason: self.reason,
            amount: self.amount,
            slices: unpacked(&self.lots)?,
            after: Balance {
                available: self.available,
                held: self.held,
                debt: self.debt,
            },
            reference: self.reference,
            policy_version: self.policy,
            profile_seq: self.profile_seq,
            pending: unpacked(&self.pending)?,
            prev_hash: seal(&self.prev_hash)?,
            hash: seal(&self.hash)?,
        })
    }
}

#[derive(Deserialize)]
struct LotRow {
    lot_id: LotId,
    source: Source,
    #[serde(with = "as_text")]
    issued_at: Time,
    expires_on: NaiveDate,
    quantity: Connects,
    remaining: Connects,
}

impl LotRow {
    fn lot(self) -> Result<Lot, String> {
        let birth = Birth {
            id: self.lot_id,
            source: self.source,
            issued_at: self.issued_at,
            expires_on: self.expires_on,
            quantity: self.quantity,
        };
        Lot::with_remaining(birth, self.remaining)
            .ok_or_else(|| format!("lot {} holds more than it was issued with", self.lot_id))
    }
}

impl ReceiptRow {
    /// The lots it touched.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn slices(&self) -> Result<Vec<Slice>, String> {
        unpacked(&self.lots)
    }
}

fn unpacked<T: FromStr<Err: Display>>(texts: &[String]) -> Result<Vec<T>, String> {
    let read = |text: &String| text.parse().map_err(|why: T::Err| why.to_string());
    texts.iter().map(read).collect()
}

fn seal(text: &str) -> Result<Seal, String> {
    let bytes = HEXLOWER.decode(text.as_bytes());
    let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Seal).ok_or_else(|| format!("no seal: {text}"))
}

impl Snapshot {
    /// Reads the table.
    ///
    /// # Errors
    /// Says which item can't be read.
    pub fn take(emulated: &Emulated, table: &str) -> Result<Self, String> {
        let mut snapshot = Self::default();
        let mut start = Value::Null;
        loop {
            let mut request = json!({"TableName": table});
            if !start.is_null() {
                request["ExclusiveStartKey"] = start;
            }
            let answer = emulated.answer(&Call {
                operation: "Scan".to_owned(),
                request,
            });
            for item in answer.body["Items"].as_array().into_iter().flatten() {
                snapshot.sort_in(&plain_item(item))?;
            }
            start = answer.body["LastEvaluatedKey"].clone();
            if start.is_null() {
                break;
            }
        }
        for partition in snapshot.partitions.values_mut() {
            partition.journal.sort_by_key(|entry| entry.seq);
            partition.stored.sort_by_key(|lot| lot.birth().age_key());
        }
        Ok(snapshot)
    }

    fn sort_in(&mut self, item: &Value) -> Result<(), String> {
        let word = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let (pk, sk) = (word("pk"), word("sk"));
        if item.get("due_shard").is_some() {
            self.due.push((word("due_at"), format!("{pk} {sk}")));
        }
        let (kind, id) = pk.split_once('#').unwrap_or_default();
        match (kind, sk.split('#').next().unwrap_or_default()) {
            ("ACCOUNT", row) => {
                let partition = self.partitions.entry(id.to_owned()).or_default();
                partition.sort_in(row, sk.as_str(), item)?;
            }
            ("PERSON", _) => {
                self.persons.insert(id.to_owned(), word("account_id"));
            }
            ("PROMO", "PROMO") => {
                self.promos.insert(id.to_owned(), read(item)?);
            }
            ("PROMO", _) => {
                let (code, place) = id.split_once('#').unwrap_or_default();
                let place = place.parse().map_err(|_| pk.clone())?;
                self.slots.insert((code.to_owned(), place), read(item)?);
            }
            ("JOB", row) => self.jobs.entry(id.to_owned()).or_default().sort_in(
                row,
                item,
                &mut self.partitions,
            )?,
            ("", _) if pk == "BADGE" => {
                let price: WeekPrice = read(item)?;
                self.prices.insert(price.starts_on, price);
            }
            ("SANDBOX", _) => {
                self.charges.insert(id.to_owned(), read(item)?);
            }
            _ => return Err(format!("no such item: {item}")),
        }
        Ok(())
    }
}

impl JobPartition {
    fn sort_in(
        &mut self,
        row: &str,
        item: &Value,
        partitions: &mut BTreeMap<String, Partition>,
    ) -> Result<(), String> {
        match row {
            "JOB" => self.job = Some(read(item)?),
            "AUCTION" => self.auction = Some(read(item)?),
            "CLOSURE" => self.closures.push(read(item)?),
            "CONTRACT" => {
                let sk = item["sk"].as_str().unwrap_or_default();
                let (_, account) = sk.split_once('#').unwrap_or_default();
                self.contracts.insert(account.to_owned());
            }
            "PROPOSAL" => {
                let proposal: ProposalRow = read(item)?;
                let account = proposal.account_id.to_string();
                self.proposals.insert(account.clone());
                let partition = partitions.entry(account).or_default();
                let job = proposal.job_id.to_string();
                partition.proposals.insert(job, proposal);
            }
            _ => return Err(format!("no such item: {item}")),
        }
        Ok(())
    }
}

impl Partition {
    /// Everything that is an operation with an entry of its own.
    pub fn operations(&self) -> impl Iterator<Item = &ReceiptRow> {
        let proposals = self.proposals.values().map(|proposal| &proposal.charge);
        let holds = self.holds.values().map(|hold| &hold.taken);
        self.receipts.values().chain(proposals).chain(holds)
    }

    /// The operation of that id.
    pub fn operation(&self, id: &OperationId) -> Option<&ReceiptRow> {
        self.operations().find(|receipt| receipt.id == *id)
    }

    fn sort_in(&mut self, row: &str, sk: &str, item: &Value) -> Result<(), String> {
        match row {
            "ENTRY" => self.journal.push(read::<EntryRow>(item)?.entry()?),
            "LOT" => self.stored.push(read::<LotRow>(item)?.lot()?),
            "PROFILE" => self.profile = Some(read(item)?),
            "RECEIPT" if sk.starts_with("RECEIPT#pu_") => {
                let purchase: Purchase = read(item)?;
                self.purchases.insert(purchase.id.to_string(), purchase);
            }
            "RECEIPT" if sk.starts_with("RECEIPT#ho_") => {
                let hold: HoldRow = read(item)?;
                self.holds.insert(hold.taken.id.to_string(), hold);
            }
            "RECEIPT" => {
                let receipt: ReceiptRow = read(item)?;
                self.receipts.insert(receipt.id.to_string(), receipt);
            }
            "REDEMPTION" => {
                let code = sk.trim_start_matches("REDEMPTION#").to_owned();
                self.redemptions.insert(code, read(&item["purchase_id"])?);
            }
            "SETTING" if sk == "SETTING#TOP_UP" => self.top_up = Some(read(item)?),
            "SETTING" => self.badge = Some(read(item)?),
            "SEEN" if sk.starts_with("SEEN#low_balance#") => {
                let crossing: CrossingRow = read(item)?;
                self.crossings.insert(crossing.seq, crossing);
            }
            "SEEN" if sk.starts_with("SEEN#top_up_off#") => {
                self.top_ups_off.insert(read(&item["purchase_id"])?);
            }
            "SEEN" if sk.starts_with("SEEN#badge_off#") => self.notices.push(read(item)?),
            "SEEN" => {}
            _ => return Err(format!("no such item: {item}")),
        }
        Ok(())
    }
}

/// Reads an item.
///
/// # Errors
/// Says what is not as it should be.
pub fn read<T: DeserializeOwned>(item: &Value) -> Result<T, String> {
    T::deserialize(item).map_err(|why| format!("{why}: {item}"))
}

/// DynamoDB's way of writing values, undone.
fn plain(attribute: &Value) -> Value {
    let Some((kind, value)) = attribute.as_object().and_then(|one| one.iter().next()) else {
        return Value::Null;
    };
    match (kind.as_str(), value) {
        ("N", Value::String(number)) => number.parse::<i64>().map_or(Value::Null, Value::from),
        ("L", Value::Array(items)) => items.iter().map(plain).collect(),
        ("M", item) => plain_item(item),
        ("NULL", _) => Value::Null,
        (_, value) => value.clone(),
    }
}

/// An item without DynamoDB's way of writing values.
pub fn plain_item(item: &Value) -> Value {
    let members = item.as_object().into_iter().flatten();
    let members = members.map(|(name, value)| (name.clone(), plain(value)));
    Value::Object(members.collect::<Map<_, _>>())
}
