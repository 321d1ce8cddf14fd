//! What must hold of the table at any moment, whatever has gone wrong so far.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days, NaiveDate};
use connects::domain::account::{Kind, Plan, Status};
use connects::domain::bid::BidState;
use connects::domain::closure::{Closure, ClosureReason, Progress, Stage};
use connects::domain::cycle;
use connects::domain::hold::HoldState;
use connects::domain::ids::Reference;
use connects::domain::job::JobState;
use connects::domain::journal::{Entry, EntryType};
use connects::domain::lot::{Lot, Slice, Source, first_instant_after, first_of, last_of, total};
use connects::domain::policy::Policy;
use connects::domain::promo::{Discount, Offer};
use connects::domain::proposal::{FreeReason, ProposalState};
use connects::domain::purchase::{Purchase, PurchaseStatus};
use connects::domain::time::{Time, midnight, text};
use connects::domain::units::Connects;
use connects::store::SandboxCharge;
use serde_json::{Value, json};

use super::snapshot::{
    BidRow, HoldRow, JobPartition, Partition, ProfileRow, ProposalRow, ReceiptRow, Snapshot,
};
use super::{auctions, badges, top_ups};
use crate::model::Model;

/// What comes back can be used for so many days more, by the built-in policy.
const FLOOR: Days = Days::new(30);

/// What an account was after one of its entries.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Its Connects.
    pub model: Model,
    /// Whether it could be used.
    pub status: Status,
    plan: Plan,
    /// The day from which its plan is basic again, if that is to be.
    until: Option<NaiveDate>,
    anchor: NaiveDate,
    next_cycle: Option<NaiveDate>,
    /// Under how many Connects its balance was low, if that was said.
    pub threshold: Option<u64>,
}

/// An account's moments: before its first entry, after it, and so on.
pub type Moments = Vec<Moment>;

impl Moment {
    /// What is available and owed at `now` to one who settles first.
    pub fn balance(&self, policy: &Policy, profile: &ProfileRow, now: Time) -> (u64, u64) {
        let now = self.now(now);
        let grants = |start: &NaiveDate| -> u64 {
            let grants = policy.grants(profile.kind, self.plan_on(*start)).iter();
            grants.map(|grant| grant.amount.get()).sum()
        };
        let active = self.status == Status::Active;
        let granted: u64 = std::iter::successors(self.next_cycle, |start| {
            Some(cycle::after(self.anchor, *start))
        })
        .take_while(|start| active && midnight(*start) <= now)
        .filter(|start| first_instant_after(policy.expires_on(*start)) > now)
        .map(|start| grants(&start))
        .sum();
        let there = self.model.usable(now) + granted;
        let covered = there.min(self.model.debt());
        (there - covered, self.model.debt() - covered)
    }
}

impl Moment {
    /// Time does not go back within a journal.
    pub fn now(&self, now: Time) -> Time {
        self.model.at().map_or(now, |at| at.max(now))
    }

    fn plan_on(&self, day: NaiveDate) -> Plan {
        match self.until.is_some_and(|until| until <= day) {
            true => Plan::Basic,
            false => self.plan,
        }
    }

    /// The plan at `now`, and the one that is to come, to one who settles first.
    pub fn plans(&self, now: Time) -> (Plan, Option<Plan>) {
        let today = self.now(now).date_naive();
        let to_come = self.until.is_some_and(|until| until > today);
        (self.plan_on(today), to_come.then_some(Plan::Basic))
    }

    /// What an entry says of the account itself.
    fn follow(&mut self, entry: &Entry) {
        let today = entry.at.date_naive();
        match entry.reason.as_str() {
            "opened" => self.anchor = today,
            "suspended" => self.status = Status::Suspended,
            "reactivated" => self.status = Status::Active,
            "upgraded" => {
                (self.plan, self.until, self.anchor) = (Plan::Plus, None, today);
            }
            "downgrade_scheduled" => self.until = cycle_of(entry),
            "downgrade_cancelled" => self.until = None,
            "downgraded" => (self.plan, self.until) = (Plan::Basic, None),
            "low_balance_set" => self.threshold = threshold_of(entry),
            "low_balance_cleared" => self.threshold = None,
            _ => {}
        }
    }
}

/// Checks everything that holds at all times; gives each account's moments.
///
/// # Errors
/// Says what does not hold.
pub fn check(snapshot: &Snapshot) -> Result<BTreeMap<String, Moments>, String> {
    let mut all = BTreeMap::new();
    for (id, partition) in &snapshot.partitions {
        let checked = account(partition).and_then(|moments| {
            badges::paid(partition, &snapshot.prices)?;
            top_ups::told(partition, &moments)?;
            top_ups::counted(partition)?;
            Ok(moments)
        });
        let moments = checked.map_err(|why| format!("account {id}: {why}"))?;
        all.insert(id.clone(), moments);
    }
    persons(snapshot)?;
    promos(snapshot)?;
    for (id, job) in &snapshot.jobs {
        self::job(snapshot, id, job).map_err(|why| format!("job {id}: {why}"))?;
    }
    Ok(all)
}

/// Says what does not hold.
pub fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn account(partition: &Partition) -> Result<Moments, String> {
    let profile = partition.profile.as_ref().ok_or("has no profile")?;
    let moments = replay(partition, profile)?;
    let last = moments.last().ok_or("was never opened")?;
    let head = partition.journal.last().ok_or("has no journal")?;
    ensure(profile.seq == head.profile_seq, || {
        format!("the profile is of entry {}", profile.seq)
    })?;
    let in_step = last
        .next_cycle
        .is_none_or(|next| next <= profile.next_grant_on);
    let pending = last.until.map(|_| Plan::Basic);
    let same = (
        profile.status,
        profile.plan,
        profile.pending_plan,
        profile.anchor,
    ) == (last.status, last.plan, pending, last.anchor);
    ensure(same && in_step, || {
        format!("{profile:?} is not what the journal says")
    })?;
    let lots = with_pending(&partition.stored, &head.pending);
    let expected = last.model.lots()?;
    ensure(lots == expected, || {
        format!("the lots are {lots:?}, not {expected:?}")
    })?;
    receipts(partition)?;
    holds(partition, last.model.held())?;
    for (job, proposal) in &partition.proposals {
        auctions::bid(partition, job, proposal).map_err(|why| format!("job {job}: {why}"))?;
    }
    purchases(partition)?;
    cycles(partition)?;
    Ok(moments)
}

fn replay(partition: &Partition, profile: &ProfileRow) -> Result<Moments, String> {
    let mut moment = Moment {
        model: Model::default(),
        status: Status::Active,
        plan: Plan::Basic,
        until: None,
        anchor: NaiveDate::MIN,
        next_cycle: None,
        threshold: None,
    };
    let mut moments = vec![moment.clone()];
    for entry in &partition.journal {
        if matches!(entry.entry_type, EntryType::Spend | EntryType::Hold) {
            // A proposal that takes nothing is no spending: a debt is not in its way.
            let in_debt = moment.model.debt() > 0 && entry.amount != 0;
            let may = moment.status == Status::Active && !in_debt;
            ensure(may, || {
                format!("spent while suspended or in debt: {entry:?}")
            })?;
        }
        if let (Some(until), Some(begun)) = (moment.until, cycle_brought(entry)) {
            ensure(begun < until, || {
                format!("not downgraded before: {entry:?}")
            })?;
        }
        let followed = moment.model.follow(entry);
        followed.map_err(|why| format!("{why}: {entry:?}"))?;
        moment.follow(entry);
        let begun = match entry.reason.as_str() {
            "opened" | "upgraded" => {
                (profile.kind == Kind::Freelancer).then(|| entry.at.date_naive())
            }
            _ => cycle_brought(entry),
        };
        if let Some(begun) = begun {
            moment.next_cycle = Some(cycle::after(moment.anchor, begun));
        }
        moments.push(moment.clone());
    }
    Ok(moments)
}

/// The threshold that an entry says was set.
fn threshold_of(entry: &Entry) -> Option<u64> {
    let reference = entry.reference.as_ref()?.as_str();
    reference.strip_prefix("threshold:")?.parse().ok()
}

fn cycle_of(entry: &Entry) -> Option<NaiveDate> {
    let reference = entry.reference.as_ref()?.as_str();
    reference.strip_prefix("cycle:")?.parse().ok()
}

/// The cycle that an entry deals with: it brings its grants, or says that it brings none. What covers a
/// debt out of a grant names the cycle too, and so does a change of the plan.
fn cycle_brought(entry: &Entry) -> Option<NaiveDate> {
    let deals = entry.entry_type == EntryType::Issue || entry.reason.as_str() == "grant_skipped";
    cycle_of(entry).filter(|_| deals)
}

fn with_pending(stored: &[Lot], pending: &[Lot]) -> Vec<Lot> {
    let lots = stored.iter().chain(pending);
    let lots: BTreeMap<_, _> = lots.map(|lot| (lot.birth().age_key(), lot)).collect();
    let live = lots.into_values().filter(|lot| !lot.remaining().is_zero());
    live.cloned().collect()
}

/// Each operation has one entry and each such entry one operation.
fn receipts(partition: &Partition) -> Result<(), String> {
    let mut owners = BTreeMap::new();
    for receipt in partition.operations() {
        let other = owners.insert(receipt.entry, receipt);
        ensure(other.is_none(), || {
            format!("two operations under entry {}", receipt.entry)
        })?;
    }
    for entry in &partition.journal {
        let prefix = match (entry.entry_type, entry.reason.as_str()) {
            (EntryType::Spend, "proposal") => "pr_",
            // A badge's week is written down with the badge.
            (EntryType::Spend, "badge") => continue,
            (EntryType::Spend, _) => "sp_",
            // A bid has a receipt, or is a proposal's.
            (EntryType::Hold, "boost") => continue,
            (EntryType::Hold, _) => "ho_",
            // What a closure gives back is written down with the proposal.
            (EntryType::Return, reason) if ClosureReason::of(reason).is_some() => continue,
            (EntryType::Return, _) => "rf_",
            (EntryType::Issue, "promo_grant") => "rd_",
            (EntryType::Issue, "rising_talent" | "skill_certification") => "rw_",
            (EntryType::Account, "upgraded" | "downgrade_scheduled" | "downgrade_cancelled") => {
                "pc_"
            }
            // Somebody asked for it, or its cycle has begun.
            (EntryType::Account, "downgraded") if owners.contains_key(&entry.seq) => "pc_",
            (EntryType::Account, "downgraded") => {
                let begun = cycle_of(entry).map(midnight);
                ensure(begun == Some(entry.effective_at), || {
                    format!("no cycle has begun: {entry:?}")
                })?;
                continue;
            }
            _ => continue,
        };
        let receipt = owners
            .remove(&entry.seq)
            .ok_or_else(|| format!("no receipt: {entry:?}"))?;
        let same = receipt.id.as_str().starts_with(prefix)
            && match &receipt.answer {
                Some(answer) if prefix == "rw_" => answer["awarded"] == entry.amount,
                Some(answer) => answer["issued"] == issued_after(partition, entry),
                None => {
                    receipt.amount.get() == entry.amount.unsigned_abs()
                        && receipt.slices()? == entry.slices
                }
            };
        ensure(same, || format!("{receipt:?} is not of {entry:?}"))?;
    }
    owners.retain(|_, receipt| !receipt.id.as_str().starts_with("bd_"));
    ensure(owners.is_empty(), || format!("no entry: {owners:?}"))?;
    for (job, proposal) in &partition.proposals {
        bid_receipts(partition, job, proposal)?;
        let (cost, bid) = returns_of(partition, job, proposal);
        returns(&cost, &proposal.charge, Connects::ZERO)?;
        let of_bid = bid_returns(proposal.bid.as_ref(), &bid);
        of_bid.map_err(|why| format!("{why}: {proposal:?}"))?;
    }
    let spends = partition.receipts.values();
    let spends = spends.filter(|receipt| receipt.id.as_str().starts_with("sp_"));
    let mut spends = spends.map(|spend| (format!("spend:{}", spend.id), spend));
    spends.try_for_each(|(reference, spend)| {
        returns(&returned(partition, &reference), spend, Connects::ZERO)
    })
}

/// Each bid that set something aside was asked for once: by itself, or with its proposal.
fn bid_receipts(partition: &Partition, job: &str, proposal: &ProposalRow) -> Result<(), String> {
    let steps = auctions::bids(partition, job)?;
    let steps = steps.iter().flat_map(|bid| &bid.steps);
    let mut steps: BTreeMap<_, _> = steps.copied().collect();
    if let Some(boost) = proposal.boost {
        let first = steps.pop_first();
        let with_it = (proposal.charge.entry.next(), boost);
        ensure(first == Some(with_it), || {
            format!("its bid was {first:?}: {proposal:?}")
        })?;
    }
    let receipts = partition.receipts.values();
    let receipts = receipts.filter(|receipt| receipt.id.as_str().starts_with("bd_"));
    for receipt in receipts {
        let Some(answer) = receipt.answer.as_ref().filter(|a| a["job_id"] == job) else {
            continue;
        };
        // What was lost before comes back first, where that was left.
        let own = steps.range(receipt.entry..).next();
        let own = own.map(|(entry, amount)| (*entry, *amount));
        let told = own.is_some_and(|(_, amount)| {
            let told = (&answer["amount"], &answer["state"], &answer["charged"]);
            told == (&json!(amount), &json!("leading"), &json!(0))
        });
        ensure(told, || format!("{own:?} is not of {receipt:?}"))?;
        own.and_then(|(entry, _)| steps.remove(&entry));
    }
    ensure(steps.is_empty(), || {
        format!("nobody asked for {steps:?}: {proposal:?}")
    })
}

/// What an upgrade's transaction issued after its entry, as it is answered: the built-in policy's two
/// grants, of which one may have come to nothing. Other changes issue nothing.
fn issued_after(partition: &Partition, change: &Entry) -> Value {
    if change.reason.as_str() != "upgraded" || is_agency(partition) {
        return json!([]);
    }
    let of_it = |entry: &&Entry| entry.seq > change.seq && entry.reference == change.reference;
    let later = partition.journal.iter().filter(of_it);
    // The next change of the plan on the same day brings what it brings.
    let later = later.take_while(|entry| entry.entry_type != EntryType::Account);
    let issues: Vec<&Entry> = later
        .filter(|entry| entry.entry_type == EntryType::Issue)
        .collect();
    let amount = |reason: &str| {
        let issue = issues.iter().find(|entry| entry.reason.as_str() == reason);
        issue.map_or(0, |entry| entry.amount)
    };
    let item = |reason: &str| json!({ "reason": reason, "amount": amount(reason) });
    json!([item("plan_included"), item("monthly_free")])
}

fn is_agency(partition: &Partition) -> bool {
    let profile = partition.profile.as_ref();
    profile.is_some_and(|profile| profile.kind == Kind::Agency)
}

/// What came back by a reference.
pub fn returned<'p>(partition: &'p Partition, reference: &str) -> Vec<&'p Entry> {
    let about = |entry: &&Entry| {
        let about = entry.reference.as_ref().map(Reference::as_str);
        entry.entry_type == EntryType::Return && about == Some(reference)
    };
    partition.journal.iter().filter(about).collect()
}

/// What came back of a proposal's cost, and of its bid: a closure gives back all of the cost first.
pub fn returns_of<'p>(
    partition: &'p Partition,
    job: &str,
    proposal: &ProposalRow,
) -> (Vec<&'p Entry>, Vec<&'p Entry>) {
    let mut left = proposal.charge.amount;
    let entries = returned(partition, &format!("job:{job}")).into_iter();
    entries.partition(|entry| {
        let by_closure = ClosureReason::of(entry.reason.as_str()).is_some();
        let of_cost = !by_closure || !left.is_zero();
        if of_cost {
            let back = Connects::new(entry.amount.unsigned_abs());
            left = left - back.min(left);
        }
        of_cost
    })
}

/// Of a bid only what was paid comes back, and no more than that.
fn bid_returns(bid: Option<&BidRow>, entries: &[&Entry]) -> Result<(), String> {
    match bid.filter(|bid| bid.bid_state == BidState::Charged) {
        None => ensure(entries.is_empty(), || {
            format!("came back of no bid that was paid: {entries:?}")
        }),
        Some(bid) => returns(entries, &bid.hold.taken, bid.amount() - bid.paid),
    }
}

/// What came back of a spend, of which so much had: no more than was spent, last taken first.
fn returns(entries: &[&Entry], spend: &ReceiptRow, before: Connects) -> Result<(), String> {
    let taken = spend.slices()?;
    let mut returned = before;
    for entry in entries {
        let amount = Connects::new(entry.amount.unsigned_abs());
        ensure(returned + amount <= spend.amount, || {
            format!("more came back than {spend:?}: {entry:?}")
        })?;
        came_back(&last_of(&taken, returned, amount), entry)?;
        returned += amount;
    }
    ensure(returned == spend.returned, || {
        format!("{returned} came back of {spend:?}")
    })
}

/// Each to the lot it came from; to a grace lot in its place if it could soon not be used any more.
pub fn came_back(due: &[Slice], entry: &Entry) -> Result<(), String> {
    let floor = entry.at.date_naive() + FLOOR;
    let lands = |was: &Slice, is: &Slice| {
        let as_it_was = match was.birth.expires_on >= floor {
            true => is.birth == was.birth,
            false => {
                let place = is.birth.issued_at == was.birth.issued_at;
                place && is.birth.source == Source::Grace && is.birth.expires_on == floor
            }
        };
        as_it_was && is.amount == was.amount
    };
    let all = due.len() == entry.slices.len();
    let mut each = due.iter().zip(&entry.slices);
    ensure(all && each.all(|(was, is)| lands(was, is)), || {
        format!("{due:?} came back as {entry:?}")
    })
}

/// What the account holds is what its open holds took; each of the others has ended once.
fn holds(partition: &Partition, held: u64) -> Result<(), String> {
    let all = || partition.holds.values();
    all().try_for_each(|hold| {
        let followed = self::hold(partition, hold);
        followed.map_err(|why| format!("{why}: {hold:?}"))
    })?;
    let open = all().filter(|hold| hold.state == HoldState::Open);
    let open: Connects = open.map(|hold| hold.taken.amount).sum();
    let bids = partition.proposals.values();
    let bids = bids.filter_map(|proposal| proposal.bid.as_ref());
    let bids: Connects = bids.filter(|bid| bid.is_held()).map(BidRow::amount).sum();
    ensure((open + bids).get() == held, || {
        format!("{held} are held, {open} in open holds and {bids} in bids")
    })
}

/// What was taken was used or came back, all of it and once, in time or when its time was over.
fn hold(partition: &Partition, hold: &HoldRow) -> Result<(), String> {
    use EntryType::{Capture, Hold, Release};
    let HoldRow { taken, state, .. } = hold;
    let end = match state {
        HoldState::Open => vec![],
        HoldState::Captured => vec![
            (Capture, "captured", hold.captured()),
            (Release, "released", taken.returned),
        ],
        HoldState::Released => vec![(Release, "released", taken.amount)],
        HoldState::Expired => vec![(Release, "hold_expired", taken.amount)],
    };
    let end = end.into_iter().filter(|(_, _, amount)| !amount.is_zero());
    let begun = [(Hold, hold.reason.as_str(), taken.amount)];
    let entries = hold_entries(partition, hold);
    let found = entries.iter().map(|entry| {
        let amount = total(&entry.slices);
        (entry.entry_type, entry.reason.as_str(), amount)
    });
    ensure(found.eq(begun.into_iter().chain(end)), || {
        format!("not as the journal has it, {entries:?}")
    })?;
    let slices = taken.slices()?;
    for entry in &entries {
        let over = hold.expires_at.is_some_and(|end| end <= entry.at);
        let in_time = match (entry.entry_type, state) {
            (Hold | Capture, _) => !over,
            (_, HoldState::Expired) => over,
            _ => true,
        };
        ensure(in_time, || format!("not at its time, {entry:?}"))?;
        match entry.entry_type {
            Capture => ensure(entry.slices == first_of(&slices, hold.captured()), || {
                format!("not the first of {slices:?}, {entry:?}")
            })?,
            Release => {
                came_back(&last_of(&slices, Connects::ZERO, taken.returned), entry)?;
            }
            _ => {}
        }
    }
    let is_open = *state == HoldState::Open;
    let told = hold.ended.is_none() == is_open && hold.revision == 2 - u64::from(is_open);
    ensure(told, || "its end is not told".to_owned())?;
    let due_at = hold.expires_at.filter(|_| is_open).map(text);
    ensure(hold.due_at == due_at, || {
        format!("is not looked at at {due_at:?}")
    })
}

/// What the journal has of a hold.
pub fn hold_entries<'p>(partition: &'p Partition, hold: &HoldRow) -> Vec<&'p Entry> {
    let reference = format!("hold:{}", hold.taken.id);
    let about = |entry: &&Entry| {
        let moves = [EntryType::Hold, EntryType::Capture, EntryType::Release];
        let about = entry.reference.as_ref().map(Reference::as_str);
        moves.contains(&entry.entry_type) && about == Some(&reference)
    };
    partition.journal.iter().filter(about).collect()
}

/// A purchase is credited once it is paid and not before, and revoked once it is charged back.
fn purchases(partition: &Partition) -> Result<(), String> {
    let count = |purchase: &Purchase, entry_type: EntryType| {
        let reference = format!("purchase:{}", purchase.id);
        let entries = partition.journal.iter().filter(|entry| {
            entry.entry_type == entry_type
                && entry
                    .reference
                    .as_ref()
                    .is_some_and(|r| r.as_str() == reference)
        });
        entries.count()
    };
    for purchase in partition.purchases.values() {
        let (credited, revoked) = match purchase.status {
            PurchaseStatus::Pending | PurchaseStatus::Declined => (0, 0),
            PurchaseStatus::Paid => (1, 0),
            PurchaseStatus::ChargedBack => (1, 1),
        };
        let found = (
            count(purchase, EntryType::Issue),
            count(purchase, EntryType::Revoke),
        );
        ensure(found == (credited, revoked), || {
            format!("credited and revoked {found:?}: {purchase:?}")
        })?;
    }
    let bought = partition
        .journal
        .iter()
        .filter(|e| e.reason.as_str() == "purchase");
    let paid = partition
        .purchases
        .values()
        .filter(|purchase| purchase.lot.is_some());
    let (bought, paid) = (bought.count(), paid.count());
    ensure(bought == paid, || {
        format!("{bought} credits of {paid} purchases")
    })?;
    codes(partition)
}

/// A code is used by the purchase that it rides on unless that is declined, and brings what that was
/// promised.
fn codes(partition: &Partition) -> Result<(), String> {
    let purchases = partition.purchases.values();
    let with_code = purchases.filter_map(|purchase| Some((purchase, purchase.promo.as_ref()?)));
    let mut used = BTreeMap::new();
    let mut brought = 0;
    for (purchase, promo) in with_code {
        let credited = purchase.lot.is_some();
        let bonus = purchase.bonus_lot.as_ref().map(|lot| lot.0.quantity);
        let promised = (credited && !promo.bonus.is_zero()).then_some(promo.bonus);
        ensure(bonus == promised, || format!("another bonus: {purchase:?}"))?;
        brought += usize::from(bonus.is_some());
        if purchase.status != PurchaseStatus::Declined {
            let code = promo.redemption.code.to_string();
            let twice = used.insert(code, purchase.id.to_string());
            ensure(twice.is_none(), || format!("used twice: {purchase:?}"))?;
        }
    }
    let noted = &partition.redemptions;
    ensure(*noted == used, || format!("codes used {used:?}: {noted:?}"))?;
    let journal = partition.journal.iter();
    let issued = journal.filter(|entry| entry.reason.as_str() == "promo_bonus");
    let issued = issued.count();
    ensure(issued == brought, || {
        format!("{issued} bonuses of {brought} purchases")
    })
}

/// Each cycle brings each of its grants once, in order; skipped only while suspended.
fn cycles(partition: &Partition) -> Result<(), String> {
    let mut status = Status::Active;
    let mut anchor: Option<NaiveDate> = None;
    let mut last: Option<NaiveDate> = None;
    let mut brought = BTreeSet::new();
    for entry in &partition.journal {
        match entry.reason.as_str() {
            "suspended" => status = Status::Suspended,
            "reactivated" => status = Status::Active,
            "opened" | "upgraded" => anchor = Some(entry.at.date_naive()),
            _ => {}
        }
        let Some(start) = cycle_brought(entry) else {
            continue;
        };
        let skipped = entry.reason.as_str() == "grant_skipped";
        let new = brought.insert((start, entry.reason.clone()));
        ensure(new && last.is_none_or(|last| last <= start), || {
            format!("a cycle again: {entry:?}")
        })?;
        let in_step = anchor.is_some_and(|anchor| cycle::containing(anchor, start) == start);
        ensure(in_step, || format!("no cycle starts then: {entry:?}"))?;
        ensure(skipped == (status == Status::Suspended), || {
            format!("while {status:?}: {entry:?}")
        })?;
        last = Some(start);
    }
    Ok(())
}

fn persons(snapshot: &Snapshot) -> Result<(), String> {
    let mut had = BTreeSet::new();
    for (id, partition) in &snapshot.partitions {
        let Some(profile) = &partition.profile else {
            continue;
        };
        let person = profile.person_id.as_str();
        let signups = partition
            .journal
            .iter()
            .filter(|e| e.reason.as_str() == "signup");
        for _ in signups {
            ensure(had.insert(person.to_owned()), || {
                format!("{person} signed up twice")
            })?;
            ensure(snapshot.persons.get(person) == Some(id), || {
                format!("the signup of {person} in {id} is not written down")
            })?;
        }
        let known = snapshot.persons.contains_key(person);
        ensure(known || profile.kind == Kind::Agency, || {
            format!("{person} opened {id} and nobody had a signup bonus")
        })?;
    }
    ensure(had.len() == snapshot.persons.len(), || {
        format!("signups {had:?}, written down {:?}", snapshot.persons)
    })
}

fn promos(snapshot: &Snapshot) -> Result<(), String> {
    for (code, promo) in &snapshot.promos {
        let slots: Vec<_> = snapshot
            .slots
            .iter()
            .filter(|((of, _), _)| of == code)
            .map(|(_, slot)| slot)
            .collect();
        let used: u64 = slots.iter().map(|slot| slot.used).sum();
        let over = slots
            .iter()
            .any(|slot| slot.cap.is_some_and(|cap| slot.used > cap))
            || promo.terms.max_redemptions.is_some_and(|max| used > max);
        ensure(!over, || format!("{code} is overdrawn: {slots:?}"))?;
        let reference = format!("promo:{code}");
        let redeemed = snapshot
            .partitions
            .values()
            .flat_map(|partition| &partition.journal)
            .filter(|entry| {
                entry.reason.as_str() == "promo_grant"
                    && entry
                        .reference
                        .as_ref()
                        .is_some_and(|r| r.as_str() == reference)
            })
            .count() as u64;
        let partitions = snapshot.partitions.values();
        let with_purchases =
            partitions.filter(|partition| partition.redemptions.contains_key(code));
        let redeemed = redeemed + with_purchases.count() as u64;
        ensure(redeemed == used, || {
            format!("{code} was redeemed {redeemed} times, counted {used}")
        })?;
    }
    Ok(())
}

/// A job is as its closures have it, and a closure that is carried out has come to every proposal.
fn job(snapshot: &Snapshot, id: &str, partition: &JobPartition) -> Result<(), String> {
    let job = partition.job.as_ref().ok_or("was never posted")?;
    let closures = &partition.closures;
    let all_done = !closures.iter().any(Closure::is_pending);
    let state = match (closures.is_empty(), all_done) {
        (true, _) => JobState::Open,
        (false, false) => JobState::Closing,
        (false, true) => JobState::Closed,
    };
    ensure(job.state == state, || format!("{job:?} has {closures:?}"))?;
    ensure(job.contracts as usize == partition.contracts.len(), || {
        format!("{job:?} counts {:?}", partition.contracts)
    })?;
    let proposals = partition.proposals.iter().filter_map(|account| {
        let partition = snapshot.partitions.get(account)?;
        partition
            .proposals
            .get(id)
            .map(|proposal| (partition, proposal))
    });
    let proposals: Vec<_> = proposals.collect();
    auctions::auction(snapshot, id, partition)?;
    for closure in closures {
        let Progress { done, total, .. } = closure.progress;
        let count = proposals.len() as u64;
        ensure(
            total.is_none_or(|total| total == count) && done <= count,
            || format!("{count} proposals, not as {closure:?} counts"),
        )?;
        ensure(closure.is_pending() || done == count, || {
            format!("{count} proposals, not all for {closure:?}")
        })?;
    }
    let finished = closures.iter().filter(|closure| !closure.is_pending());
    let finished: BTreeSet<_> = finished.map(|closure| closure.reason).collect();
    for (partition, proposal) in &proposals {
        let all: BTreeSet<_> = closures.iter().map(|closure| closure.reason).collect();
        let settled = &proposal.settled_for;
        ensure(
            settled.is_superset(&finished) && settled.is_subset(&all),
            || format!("settled for other closures than {closures:?}: {proposal:?}"),
        )?;
        settled_as_decided(partition, proposal, closures)?;
        let price = match proposal.free_reason {
            Some(FreeReason::Invited) => 0,
            _ if proposal.job_version != job.version => continue,
            _ => job.connects_required.get(),
        };
        ensure(proposal.charge.amount.get() == price, || {
            format!("{price} by {job:?}: {proposal:?}")
        })?;
    }
    Ok(())
}

/// What came back of a proposal, closure by closure: all that had not come back before, once, if it
/// was decided so when the closure was asked for.
fn settled_as_decided(
    partition: &Partition,
    proposal: &ProposalRow,
    closures: &[Closure],
) -> Result<(), String> {
    let (cost, bid) = returns_of(partition, proposal.job_id.as_str(), proposal);
    let times = |entries: &[&Entry], reason: ClosureReason| {
        let by_it = |entry: &&&Entry| entry.reason.as_str() == reason.as_str();
        entries.iter().filter(by_it).count()
    };
    let withdrawn = proposal.state == ProposalState::Withdrawn;
    let (mut all_back, mut bid_back) = (false, false);
    for closure in closures {
        let terms = closure.terms;
        let gives = terms.returned
            && !(terms.unless_contract && closure.had_contract)
            && (terms.includes_withdrawn || !withdrawn);
        let settled = proposal.settled_for.contains(&closure.reason);
        let gives_bid = gives && terms.includes_boost;
        for (entries, gives) in [(&cost, gives), (&bid, gives_bid)] {
            let times = times(entries, closure.reason);
            ensure(times <= usize::from(gives && settled), || {
                format!("{times} returns for {closure:?}: {proposal:?}")
            })?;
        }
        all_back |= gives && settled;
        bid_back |= gives_bid && settled;
    }
    let kept = proposal.bid.as_ref().filter(|bid| {
        let taken = &bid.hold.taken;
        bid.bid_state == BidState::Charged && taken.returned < taken.amount
    });
    ensure(!bid_back || kept.is_none(), || {
        format!("a bid did not come back for {closures:?}: {proposal:?}")
    })?;
    let charge = &proposal.charge;
    ensure(!all_back || charge.returned == charge.amount, || {
        format!("not all came back for {closures:?}: {proposal:?}")
    })
}

/// What holds once every closure is carried out.
///
/// # Errors
/// Says which job is not closed.
pub fn check_returned(snapshot: &Snapshot) -> Result<(), String> {
    let open = |closure: &&Closure| closure.stage != Stage::Checked;
    let mut left = snapshot.jobs.values().flat_map(|job| &job.closures);
    let left = left.find(open);
    ensure(left.is_none(), || format!("never carried out: {left:?}"))
}

/// What holds once the runs that end holds and auctions and renew badges have been: none is open whose
/// time is over.
///
/// # Errors
/// Says which is.
pub fn check_ended(snapshot: &Snapshot, now: Time) -> Result<(), String> {
    let holds = snapshot.partitions.values().flat_map(|p| p.holds.values());
    let over = |hold: &&HoldRow| {
        let over = hold.expires_at.is_some_and(|end| end <= now);
        over && hold.state == HoldState::Open
    };
    let left = holds.into_iter().find(over);
    ensure(left.is_none(), || format!("never ended: {left:?}"))?;
    badges::check_over(snapshot, now)?;
    top_ups::check_over(snapshot, now)?;
    auctions::check_over(snapshot, now)
}

/// What holds once recovery has run: no purchase is open, and the money that the provider has taken is the
/// price of the Connects that were issued for it, less the discounts; for each purchase, and in total. Gives
/// how many were paid later than they were asked for.
///
/// # Errors
/// Says which purchase is not so.
pub fn check_paid(snapshot: &Snapshot, policy: &Policy) -> Result<u64, String> {
    let purchases = || snapshot.partitions.values().flat_map(|p| &p.purchases);
    let issued = || {
        let journals = snapshot.partitions.values().flat_map(|p| &p.journal);
        journals.filter(|e| e.entry_type == EntryType::Issue && e.reason.as_str() == "purchase")
    };
    let price = |entry: &Entry| entry.amount.unsigned_abs() * policy.purchases.unit_price;
    let mut late = 0;
    for (id, purchase) in purchases() {
        ensure(purchase.status != PurchaseStatus::Pending, || {
            format!("still pending: {purchase:?}")
        })?;
        let reference = format!("purchase:{id}");
        let its_own = |entry: &&Entry| {
            let about = entry.reference.as_ref().map(Reference::as_str);
            about == Some(&reference)
        };
        let whole: u64 = issued().filter(its_own).map(price).sum();
        let promo = purchase.promo.as_ref();
        let promo = promo.and_then(|promo| snapshot.promos.get(promo.redemption.code.as_str()));
        let off = match promo.map(|promo| &promo.terms.offer) {
            Some(Offer::Discount(Discount::Percent { percent_off })) => {
                (whole * percent_off).div_ceil(100)
            }
            Some(Offer::Discount(Discount::Amount { amount_off })) => amount_off.amount.min(whole),
            Some(Offer::Grant { .. } | Offer::Bonus { .. }) | None => 0,
        };
        let taken = snapshot.charges.get(id).map_or(0, taken);
        ensure(taken == whole - off, || {
            format!("{taken} taken for what costs {whole} less {off}: {purchase:?}")
        })?;
        let mut credits = issued().filter(its_own);
        late += u64::from(credits.any(|entry| entry.at > purchase.created_at));
    }
    let credited = purchases().filter(|(_, purchase)| purchase.lot.is_some());
    let promised = credited.filter_map(|(_, purchase)| purchase.promo.as_ref());
    let off: u64 = promised.map(|promo| promo.discount.amount).sum();
    let (taken, whole): (u64, u64) = (
        snapshot.charges.values().map(taken).sum(),
        issued().map(price).sum(),
    );
    ensure(taken + off == whole, || {
        format!("{taken} taken in all for what costs {whole} less {off}")
    })?;
    Ok(late)
}

/// What the provider has taken, in minor units.
fn taken(charge: &SandboxCharge) -> u64 {
    let asked = match charge.method.as_str() {
        "sandbox_approve" | "sandbox_timeout" => 1,
        "sandbox_late" => 2,
        _ => return 0,
    };
    match !charge.cancelled && charge.asked >= asked {
        true => charge.amount,
        false => 0,
    }
}

/// What holds once every schedule has run.
///
/// # Errors
/// Says what is left undone.
pub fn check_settled(snapshot: &Snapshot, policy: &Policy, now: Time) -> Result<(), String> {
    for (id, partition) in &snapshot.partitions {
        settled(partition, policy, now).map_err(|why| format!("account {id}: {why}"))?;
    }
    Ok(())
}

fn settled(partition: &Partition, policy: &Policy, now: Time) -> Result<(), String> {
    let dead = partition
        .stored
        .iter()
        .find(|lot| lot.birth().expires_at() <= now);
    ensure(dead.is_none(), || format!("not expired: {dead:?}"))?;
    let profile = partition.profile.as_ref().ok_or("has no profile")?;
    let moments = replay(partition, profile)?;
    let until = moments.last().and_then(|last| last.until);
    let overdue = until.is_some_and(|until| midnight(until) <= now);
    ensure(!overdue, || format!("not downgraded: {profile:?}"))?;
    match profile.kind {
        Kind::Freelancer => granted(partition, policy, now),
        Kind::Agency => Ok(()),
    }
}

/// Every cycle since the opening brought its grant or was skipped, but for those whose grant would
/// have expired before anybody looked.
fn granted(partition: &Partition, policy: &Policy, now: Time) -> Result<(), String> {
    let dealt: BTreeSet<NaiveDate> = partition.journal.iter().filter_map(cycle_brought).collect();
    // Cycles are counted from the opening, then from each upgrade on.
    let anchors = |entry: &&Entry| matches!(entry.reason.as_str(), "opened" | "upgraded");
    let anchored: Vec<Time> = partition
        .journal
        .iter()
        .filter(anchors)
        .map(|entry| entry.at)
        .collect();
    ensure(!anchored.is_empty(), || "has no journal".to_owned())?;
    let ends = anchored.iter().skip(1).copied().chain([now]);
    anchored.iter().zip(ends).try_for_each(|(begun, end)| {
        let anchor = begun.date_naive();
        std::iter::successors(Some(cycle::after(anchor, anchor)), |start| {
            Some(cycle::after(anchor, *start))
        })
        .take_while(|start| midnight(*start) <= end)
        .filter(|start| first_instant_after(policy.expires_on(*start)) > now)
        .try_for_each(|start| {
            ensure(dealt.contains(&start), || {
                format!("the cycle of {start} brought nothing")
            })
        })
    })
}
