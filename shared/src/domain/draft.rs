//! A plan in the making: an account in memory, changed entry by entry, then turned into the one
//! transaction that makes it so.
//!
//! The writes of lots are the difference between the lots as their items stand and as the last
//! entry leaves them. What does not fit one transaction stays in the last entry as `pending`:
//! every reader applies it, the next commit writes it. A plan is therefore atomic however many
//! lots it touches, and a crash leaves nothing half-done.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::account::{Account, Balance, Profile, Status};
use super::auction::Auction;
use super::badge::{Badge, BadgeNotice};
use super::bid::BidView;
use super::hold::Hold;
use super::ids::{
    AccountId, JobId, LotId, OperationId, PersonId, PromoCode, Reason, Reference, Seq,
};
use super::journal::{Entry, EntryType};
use super::lot::{Birth, Lot, Slice, Source, total};
use super::low_balance::Crossing;
use super::plan_change::PlanChangeAnswer;
use super::policy::{MAX_GRANTS_PER_CYCLE, Policy, ReturnMode};
use super::promo::Redemption;
use super::proposal::Proposal;
use super::purchase::Purchase;
use super::receipt::{Answered, Receipt};
use super::refusal::Refusal;
use super::reward::RewardAnswer;
use super::time::{self, Time};
use super::top_up::{TopUp, Waiting};
use super::units::Connects;
use crate::defect::{Defect, present};

/// Actions that one `TransactWriteItems` carries.
pub const MAX_ACTIONS: usize = 100;

/// Entries that settling may put into one transaction. Each writes at most one lot beside itself,
/// so with the profile there are 100 − (2 × 40 + 1) = 19 actions left for the command: its entry,
/// a repayment of debt, its receipts and its lots, of which any number can be pending.
pub const MAX_SETTLE_ENTRIES: usize = 40;

/// Entries and guards that a command may add beside its lots: most for an upgrade, whose four grants
/// may each be followed by a repayment of debt.
const MAX_COMMAND_ACTIONS: usize = 1 + 2 * MAX_GRANTS_PER_CYCLE + 1;
const _: () = assert!(
    2 * MAX_SETTLE_ENTRIES + 1 + MAX_COMMAND_ACTIONS + MAX_LAPSED + MAX_CROSSING_ACTIONS
        <= MAX_ACTIONS
);

/// What goes with a balance that becomes low: the notice, and the wish for a top-up.
const MAX_CROSSING_ACTIONS: usize = 2;

/// Lots that lapse in the moment in which something comes back to them.
const MAX_LAPSED: usize = 4;

/// Lots that one entry may touch. At some 60 bytes for a slice and as much while it is pending,
/// 2,000 lots fill 240 of the 400 KB that an item may have.
pub const MAX_LOTS_PER_ENTRY: usize = 2_000;

/// How a lot's item changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LotWrite {
    /// A lot that has no item.
    Create {
        /// With what it holds.
        lot: Lot,
        /// When the scheduled run looks at it first.
        due_at: Time,
    },
    /// Another number left.
    Update {
        /// With what it holds after.
        lot: Lot,
        /// What its item must hold before.
        was: Connects,
    },
    /// Nothing left.
    Delete {
        /// Its birth.
        birth: Birth,
        /// What its item must hold before.
        was: Connects,
    },
}

/// How the profile's item changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileWrite {
    /// As it is after.
    pub profile: Profile,
    /// The entry that had changed it before: its item must say so. None: there must be no item.
    pub was: Option<Seq>,
    /// When the scheduled run looks at it next, if it ever needs to.
    pub due_at: Option<Time>,
}

/// What else must hold, and is written, in the same transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Guard {
    /// The operation is new.
    NewReceipt(Receipt),
    /// The plan change is new.
    NewPlanChange(Answered<PlanChangeAnswer>),
    /// The reward is new.
    NewReward(Answered<RewardAnswer>),
    /// The bid is new.
    NewBid(Answered<BidView>),
    /// So much of a spend had come back, and now so much has.
    Returned {
        /// The spend.
        spend: OperationId,
        /// Before.
        was: Connects,
        /// After.
        now: Connects,
    },
    /// The person had no signup bonus before.
    NewPerson(PersonId),
    /// One of a promo code's redemptions is taken, under the terms that were read.
    Redemption(Redemption),
    /// A single-use code was used by nobody.
    CodeUsed(PromoCode),
    /// A proposal is new, or moves on: the revision before it is what the item must have.
    Proposal(Proposal),
    /// A hold is new, or moves on: the revision before it is what the item must have.
    Hold(Hold),
    /// An auction is new, or moves on: the revision before it is what the item must have.
    Auction(Auction),
    /// A badge is new, or moves on: the revision before it is what the item must have.
    Badge(Badge),
    /// The holder is to be told that a badge went off.
    BadgeNotice(BadgeNotice),
    /// The holder is to be told that the balance has become low.
    LowBalance(Crossing),
    /// A top-up is new, or moves on: the revision before it is what the item must have.
    TopUp(TopUp),
    /// A top-up is wanted, whatever it is by now.
    TopUpWanted(Waiting),
    /// The job takes proposals, at the price that was read, and no contract was made since.
    OpenJob {
        /// The job.
        job: JobId,
        /// The price's version.
        version: u64,
        /// How many contracts there were.
        contracts: u32,
    },
    /// A purchase moves on.
    Purchase {
        /// As it is after; its step before is what the item must say.
        purchase: Purchase,
    },
}

/// One transaction's worth of changes, made by the core from a state it was shown. Not `Clone`: it
/// is committed once, and a lost race is planned again from what is there then.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// Whose.
    pub account: AccountId,
    /// New entries; the first one's number is the lock.
    pub entries: Vec<Entry>,
    /// Changes of lots.
    pub lots: Vec<LotWrite>,
    /// Change of the profile.
    pub profile: Option<ProfileWrite>,
    /// Whatever else belongs to it.
    pub guards: Vec<Guard>,
    /// Whether lots are left pending.
    pub leaves_pending: bool,
    /// Another account's part of the same transaction.
    pub beside: Option<Box<Plan>>,
}

impl Plan {
    /// Its own writes and checks.
    fn actions(&self) -> usize {
        let profile = usize::from(self.profile.is_some());
        self.entries.len() + self.lots.len() + profile + self.guards.len()
    }

    /// The proposal whose bid it leaves to be released, if there is one.
    pub fn releases_later(&self) -> Option<(JobId, AccountId)> {
        self.guards.iter().find_map(|guard| match guard {
            Guard::Proposal(proposal) => {
                proposal.bid.as_ref()?.due_at()?;
                Some((proposal.job_id.clone(), proposal.account_id.clone()))
            }
            _ => None,
        })
    }

    /// It and what goes with it.
    pub fn parts(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |plan| plan.beside.as_deref())
    }
}

/// Why no plan was made.
#[derive(Debug, Clone, PartialEq)]
pub enum Unplanned {
    /// The business says no.
    Refused(Refusal),
    /// What was read beside the account is older than the account: read again.
    Stale,
}

impl From<Refusal> for Unplanned {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// An account being changed.
#[derive(Debug, Clone)]
pub struct Draft<'p> {
    policy: &'p Policy,
    now: Time,
    account: Account,
    entries: Vec<Entry>,
    /// Whether the last entry still wants its seal: it gets it when what follows is known.
    unsealed: bool,
    profile_was: Seq,
    profile_changed: bool,
    /// Whether the balance was low before whatever is asked for: as it was read, and as it was settled.
    was_low: bool,
}

impl<'p> Draft<'p> {
    /// Begins with an account as it was loaded.
    pub fn new(policy: &'p Policy, now: Time, account: Account) -> Self {
        Self {
            policy,
            // Time never goes back within a journal, whatever the clocks of its writers say.
            now: match present(Defect::ClockBack) {
                false => now.max(account.head.at),
                true => now,
            },
            profile_was: account.profile.seq,
            profile_changed: false,
            was_low: account.is_low(),
            entries: vec![],
            unsealed: false,
            account,
        }
    }

    /// Notes that everything due is booked: what follows is asked for.
    pub fn settled(&mut self) {
        self.was_low &= self.account.is_low();
    }

    /// The account as it stands.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The account as it stands, without its writes.
    pub fn into_account(mut self) -> Account {
        self.seal();
        self.account
    }

    /// The instant of every entry of this draft.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The rules it is made under.
    pub fn policy(&self) -> &'p Policy {
        self.policy
    }

    /// The entries so far.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether the account was read before that entry was written.
    pub fn is_before(&self, entry: Seq) -> bool {
        self.read() < entry
    }

    /// The newest entry when the account was read.
    pub fn read(&self) -> Seq {
        Seq::new(self.account.head.seq.get() - self.entries.len() as u64)
    }

    fn available(&self) -> Connects {
        self.account.head.after.available
    }

    fn held(&self) -> Connects {
        self.account.head.after.held
    }

    fn debt(&self) -> Connects {
        self.account.head.after.debt
    }

    fn next_seq(&self) -> Seq {
        self.account.head.seq.next()
    }

    /// Seals the last entry over the lots as they are now.
    fn seal(&mut self) {
        if std::mem::take(&mut self.unsealed)
            && let Some(entry) = self.entries.last_mut()
        {
            entry.hash = entry.seal(&self.account.lots);
            self.account.head.hash = entry.hash;
        }
    }

    /// The lots, to be changed: what was booked before is sealed over them as they were.
    fn lots(&mut self) -> &mut Vec<Lot> {
        self.seal();
        &mut self.account.lots
    }

    /// Adds an entry about changes that the lots already show. Sealing it waits: that costs more than
    /// all the rest of a plan, and most often it is the last, which [`Self::finish`] still changes.
    fn post(&mut self, booking: Booking) {
        self.seal();
        let held = booking.held_after(self.held());
        let entry = Entry {
            seq: self.next_seq(),
            at: self.now,
            effective_at: booking.effective_at.unwrap_or(self.now),
            entry_type: booking.entry_type,
            reason: booking.reason,
            amount: booking.amount,
            slices: booking.slices,
            after: Balance {
                available: self.account.lots.iter().map(Lot::remaining).sum(),
                held,
                debt: booking.debt.unwrap_or_else(|| self.debt()),
            },
            reference: booking.reference,
            policy_version: self.policy.version,
            // Only a transaction's last entry names one: no other is ever an account's newest.
            profile_seq: match present(Defect::HalfTaken) {
                false => Seq::NONE,
                true => self.account.profile.seq,
            },
            pending: vec![],
            prev_hash: self.account.head.hash,
            hash: self.account.head.hash,
        };
        debug_assert_eq!(
            i128::from(entry.after.available.get()),
            i128::from(self.available().get()) + i128::from(entry.amount),
            "available after an entry is available before it and its amount"
        );
        self.account.head = entry.clone();
        self.entries.push(entry);
        self.unsealed = true;
    }

    /// Changes the profile and says so in the journal.
    pub fn change_profile(
        &mut self,
        reason: &'static str,
        about: Option<(Time, Reference)>,
        change: impl FnOnce(&mut Profile),
    ) {
        change(&mut self.account.profile);
        self.profile_changed = true;
        let (effective_at, reference) = about.unzip();
        self.post(Booking {
            effective_at,
            reference,
            ..Booking::new(EntryType::Account, Reason::of(reason))
        });
    }

    /// Issues one lot that is born now and lives as long as the policy says.
    pub fn issue(
        &mut self,
        source: Source,
        reason: &'static str,
        quantity: Connects,
        reference: Option<Reference>,
    ) -> Birth {
        let expires_on = self.policy.expires_on(self.now.date_naive());
        self.issue_at(source, reason, quantity, reference, self.now, expires_on)
    }

    /// Issues one lot with a birth and a last usable day of its own; what it brings first covers
    /// any debt.
    pub fn issue_at(
        &mut self,
        source: Source,
        reason: &'static str,
        quantity: Connects,
        reference: Option<Reference>,
        issued_at: Time,
        expires_on: NaiveDate,
    ) -> Birth {
        let birth = Birth {
            id: LotId {
                seq: self.next_seq(),
                index: 0,
            },
            source,
            issued_at,
            expires_on,
            quantity,
        };
        self.add_lot(Lot::issued(birth.clone()));
        self.post(Booking {
            effective_at: Some(issued_at),
            amount: quantity.credit(),
            slices: vec![Slice {
                birth: birth.clone(),
                amount: quantity,
            }],
            reference: reference.clone(),
            ..Booking::new(EntryType::Issue, Reason::of(reason))
        });
        self.cover_debt(reference);
        birth
    }

    fn add_lot(&mut self, lot: Lot) {
        let lots = self.lots();
        let at = lots.partition_point(|other| other.birth().age_key() < lot.birth().age_key());
        lots.insert(at, lot);
    }

    /// Books the grants of the cycle that starts on `start`, as lots born at `issued_at`. What
    /// would have expired by now is not issued.
    pub fn grant(&mut self, start: NaiveDate, issued_at: Time) {
        let profile = &self.account.profile;
        let grants = self.policy.grants(profile.kind, profile.plan);
        let expires_on = self.policy.expires_on(issued_at.date_naive());
        if super::lot::first_instant_after(expires_on) <= self.now {
            return;
        }
        for grant in grants {
            self.issue_at(
                grant.source,
                grant.source.as_str(),
                grant.amount,
                Some(Reference::of("cycle", start)),
                issued_at,
                expires_on,
            );
        }
    }

    /// Moves the next grant on, past a cycle start that is dealt with.
    pub fn cycle_done(&mut self, next: NaiveDate) {
        self.account.profile.next_grant_on = next;
        self.profile_changed = !present(Defect::CycleTwice);
    }

    /// Takes exactly `amount` out of the lots in the order of use, without an entry; the caller
    /// has seen that there is enough. `None` when that would touch more lots than an entry holds.
    fn take(&mut self, amount: Connects) -> Option<Vec<Slice>> {
        let policy = self.policy;
        let mut order: Vec<&mut Lot> = self.lots().iter_mut().collect();
        policy.use_order(&mut order);
        if present(Defect::NewestFirst) {
            order.reverse();
        }
        let slices: Vec<Slice> = order
            .into_iter()
            .scan(amount, |wanted, lot| {
                (!wanted.is_zero()).then(|| {
                    let slice = lot.take(*wanted);
                    *wanted -= slice.as_ref().map_or(Connects::ZERO, |slice| slice.amount);
                    slice
                })
            })
            .flatten()
            .collect();
        self.lots().retain(|lot| !lot.remaining().is_zero());
        (slices.len() <= MAX_LOTS_PER_ENTRY).then_some(slices)
    }

    /// Uses `amount` in the order of use. `None` when there is too little, or it lies in more lots
    /// than one entry can name: then nothing may be made of this draft.
    pub fn spend(
        &mut self,
        amount: Connects,
        reason: Reason,
        reference: Reference,
    ) -> Option<Vec<Slice>> {
        self.take_for(EntryType::Spend, amount, reason, reference)
    }

    /// Sets `amount` aside in the order of use. `None` as for [`Self::spend`].
    pub fn hold(
        &mut self,
        amount: Connects,
        reason: Reason,
        reference: Reference,
    ) -> Option<Vec<Slice>> {
        self.take_for(EntryType::Hold, amount, reason, reference)
    }

    fn take_for(
        &mut self,
        entry_type: EntryType,
        amount: Connects,
        reason: Reason,
        reference: Reference,
    ) -> Option<Vec<Slice>> {
        if amount > self.available() {
            return None;
        }
        let slices = self.take(amount)?;
        self.post(Booking {
            amount: amount.debit(),
            slices: slices.clone(),
            reference: Some(reference),
            ..Booking::new(entry_type, reason)
        });
        Some(slices)
    }

    /// Uses slices that are held. `None` when less is: then nothing may be made of this draft.
    pub fn capture(
        &mut self,
        slices: Vec<Slice>,
        reason: Reason,
        reference: Reference,
    ) -> Option<()> {
        (total(&slices) <= self.held()).then(|| {
            self.post(Booking {
                slices,
                reference: Some(reference),
                ..Booking::new(EntryType::Capture, reason)
            });
        })
    }

    /// Gives slices that are held back, as [`Self::give_back`] does. `None` also when less is held.
    pub fn release(
        &mut self,
        slices: &[Slice],
        reason: Reason,
        reference: Reference,
    ) -> Option<Vec<Slice>> {
        match total(slices) <= self.held() {
            true => self.land(EntryType::Release, slices, reason, reference),
            false => None,
        }
    }

    /// Gives slices back, to their own lots or to others, as the policy says. `None` when a lot has no
    /// room for what is said to have come out of it: then nothing may be made of this draft.
    pub fn give_back(
        &mut self,
        slices: &[Slice],
        reason: Reason,
        reference: Reference,
    ) -> Option<Vec<Slice>> {
        self.land(EntryType::Return, slices, reason, reference)
    }

    fn land(
        &mut self,
        entry_type: EntryType,
        slices: &[Slice],
        reason: Reason,
        reference: Reference,
    ) -> Option<Vec<Slice>> {
        let seq = self.next_seq();
        let mut indexes = 0..;
        let landed: Vec<Slice> = slices
            .iter()
            .map(|slice| {
                let landing = match entry_type == EntryType::Release && present(Defect::HeldLapses)
                {
                    false => self.policy.landing(&slice.birth, self.now),
                    true => None,
                };
                let Some(landing) = landing else {
                    return self.put_back(slice).then(|| slice.clone());
                };
                let birth = Birth {
                    id: LotId {
                        seq,
                        index: indexes.next().unwrap_or_default(),
                    },
                    source: landing.source,
                    issued_at: landing.issued_at,
                    expires_on: landing.expires_on,
                    quantity: slice.amount,
                };
                self.add_lot(Lot::issued(birth.clone()));
                Some(Slice {
                    birth,
                    amount: slice.amount,
                })
            })
            .collect::<Option<_>>()?;
        self.post(Booking {
            amount: total(&landed).credit(),
            slices: landed.clone(),
            reference: Some(reference.clone()),
            ..Booking::new(entry_type, reason)
        });
        if self.policy.returns.mode == ReturnMode::Original {
            self.lapse();
        }
        self.cover_debt(Some(reference));
        Some(landed)
    }

    /// Books that what came back to lots whose time is over lapses at once. What is left of that, where
    /// it would not fit, the next settling books.
    fn lapse(&mut self) {
        for _ in 0..MAX_LAPSED {
            let mut lots = self.account.lots.iter();
            match lots.position(|lot| lot.birth().expires_at() <= self.now) {
                Some(place) => self.expire(place),
                None => return,
            }
        }
    }

    fn put_back(&mut self, slice: &Slice) -> bool {
        let mut lots = self.lots().iter_mut();
        let live = lots.find(|lot| lot.birth().id == slice.birth.id);
        match live {
            Some(lot) => lot.put_back(slice.amount),
            None => match Lot::with_remaining(slice.birth.clone(), slice.amount) {
                Some(lot) => {
                    self.add_lot(lot);
                    true
                }
                None => false,
            },
        }
    }

    /// Books the end of the lot at `place`: whatever was left of it lapses.
    pub fn expire(&mut self, place: usize) {
        let lot = self.lots().remove(place);
        self.post(Booking {
            effective_at: Some(lot.birth().expires_at()),
            amount: lot.remaining().debit(),
            slices: vec![Slice {
                birth: lot.birth().clone(),
                amount: lot.remaining(),
            }],
            ..Booking::new(EntryType::Expire, Reason::of("expired"))
        });
    }

    /// Takes away what is left of an operation's lots and owes the rest that was spent, then covers
    /// what it can of that from other lots.
    pub fn revoke(&mut self, births: &[&Birth], expired: Connects, reference: Reference) {
        let taken = births.iter().filter_map(|birth| {
            let mut lots = self.account.lots.iter();
            let place = lots.position(|lot| lot.birth().id == birth.id)?;
            let lot = self.lots().remove(place);
            Some(Slice {
                birth: lot.birth().clone(),
                amount: lot.remaining(),
            })
        });
        let slices: Vec<Slice> = taken.collect();
        let left = total(&slices);
        let issued: Connects = births.iter().map(|birth| birth.quantity).sum();
        self.post(Booking {
            amount: left.debit(),
            slices,
            debt: Some(self.debt() + (issued - left - expired)),
            reference: Some(reference.clone()),
            ..Booking::new(EntryType::Revoke, Reason::of("chargeback"))
        });
        self.cover_debt(Some(reference));
    }

    fn cover_debt(&mut self, reference: Option<Reference>) {
        let covered = self.debt().min(self.available());
        if covered.is_zero() {
            return;
        }
        let mut attempt = self.clone();
        // Where the debt lies in more lots than one entry can name, the next credit goes on.
        if let Some(slices) = attempt.take(covered) {
            *self = attempt;
            self.post(Booking {
                amount: covered.debit(),
                slices,
                debt: Some(self.debt() - covered),
                reference,
                ..Booking::new(EntryType::DebtRepaid, Reason::of("debt"))
            });
        }
    }

    /// Books nothing but that pending lots are being written.
    pub fn flush(&mut self) {
        let reason = self.account.head.reason.clone();
        let reference = self.account.head.reference.clone();
        self.post(Booking {
            reference,
            ..Booking::new(EntryType::Pending, reason)
        });
    }

    /// Turns the draft into the account after it and the plan that makes it so; no plan where
    /// there is nothing to book.
    pub fn finish(self, guards: Vec<Guard>) -> (Account, Option<Plan>) {
        self.finish_within(MAX_ACTIONS, guards)
    }

    /// The same in one transaction with another account's plan.
    pub fn finish_beside(
        self,
        beside: Option<Plan>,
        guards: Vec<Guard>,
    ) -> (Account, Option<Plan>) {
        let taken = beside.as_ref().map_or(0, Plan::actions);
        let (account, plan) = self.finish_within(MAX_ACTIONS - taken, guards);
        let beside = beside.map(Box::new);
        (account, plan.map(|plan| Plan { beside, ..plan }))
    }

    /// The same in so many actions: more than entries, profile and guards alone.
    pub fn finish_within(mut self, actions: usize, guards: Vec<Guard>) -> (Account, Option<Plan>) {
        let Some(last) = self.entries.last().map(|entry| entry.seq) else {
            return (self.account, None);
        };
        let profile = self.profile_changed.then(|| {
            self.account.profile.seq = last;
            ProfileWrite {
                profile: self.account.profile.clone(),
                was: (self.profile_was != Seq::NONE).then_some(self.profile_was),
                due_at: self.next_cycle_due(),
            }
        });

        let guards = self.with_crossing(last, guards);
        let fixed = self.entries.len() + usize::from(profile.is_some()) + guards.len();
        let mut lots = self.lot_writes();
        let pending = lots.split_off(lots.len().min(actions.saturating_sub(fixed)));

        // The last entry is what the next reader checks the whole account against.
        if let Some(entry) = self.entries.last_mut() {
            entry.profile_seq = self.account.profile.seq;
            entry.pending = pending.iter().map(LotWrite::lot_after).collect();
            entry.hash = entry.seal(&self.account.lots);
            self.account.head = entry.clone();
        }
        let plan = Plan {
            account: self.account.id.clone(),
            entries: self.entries,
            lots,
            profile,
            guards,
            leaves_pending: !pending.is_empty(),
            beside: None,
        };
        (self.account, Some(plan))
    }

    /// The guards, and what goes with them where the balance has become low.
    fn with_crossing(&self, last: Seq, mut guards: Vec<Guard>) -> Vec<Guard> {
        let became_low = self.account.is_low() && !self.was_low;
        let Some(low) = self.account.profile.low_balance.filter(|_| became_low) else {
            return guards;
        };
        guards.push(Guard::LowBalance(Crossing {
            seq: last,
            at: self.now,
            threshold: low.threshold,
            available: self.available(),
        }));
        if low.tops_up {
            let wanted = Waiting {
                crossing: last,
                since: self.now,
            };
            // One item can't be written twice in a transaction.
            let written = guards.iter_mut().find_map(|guard| match guard {
                Guard::TopUp(top_up) => Some(top_up),
                _ => None,
            });
            match written {
                Some(top_up) => top_up.waiting = Some(wanted),
                None => guards.push(Guard::TopUpWanted(wanted)),
            }
        }
        guards
    }

    /// When the next cycle brings something: grants, or another plan.
    fn next_cycle_due(&self) -> Option<Time> {
        let profile = &self.account.profile;
        let is_due = self.account.has_grants(self.policy) || profile.pending_plan.is_some();
        is_due.then(|| time::midnight(profile.next_grant_on))
    }

    fn lot_writes(&self) -> Vec<LotWrite> {
        let mut stored: BTreeMap<LotId, &Lot> = self
            .account
            .stored
            .iter()
            .map(|lot| (lot.birth().id, lot))
            .collect();
        let changed =
            self.account
                .lots
                .iter()
                .filter_map(|lot| match stored.remove(&lot.birth().id) {
                    None => Some(LotWrite::Create {
                        lot: lot.clone(),
                        due_at: lot
                            .birth()
                            .next_due(self.now, &self.policy.lots.notice_days),
                    }),
                    Some(was) if was.remaining() != lot.remaining() => Some(LotWrite::Update {
                        lot: lot.clone(),
                        was: was.remaining(),
                    }),
                    Some(_) => None,
                });
        let mut writes: Vec<LotWrite> = changed.collect();
        writes.extend(stored.into_values().map(|lot| LotWrite::Delete {
            birth: lot.birth().clone(),
            was: lot.remaining(),
        }));
        writes
    }

    /// Whether the account may not spend or be granted anything.
    pub fn is_suspended(&self) -> bool {
        self.account.profile.status == Status::Suspended
    }
}

impl LotWrite {
    fn lot_after(&self) -> Lot {
        match self {
            Self::Create { lot, .. } | Self::Update { lot, .. } => lot.clone(),
            Self::Delete { birth, .. } => {
                let mut lot = Lot::issued(birth.clone());
                lot.take(birth.quantity);
                lot
            }
        }
    }
}

/// What an entry says, before it has a number and a seal.
struct Booking {
    entry_type: EntryType,
    reason: Reason,
    amount: i64,
    slices: Vec<Slice>,
    effective_at: Option<Time>,
    debt: Option<Connects>,
    reference: Option<Reference>,
}

impl Booking {
    /// What is held after it, of what was held before.
    fn held_after(&self, before: Connects) -> Connects {
        match self.entry_type {
            EntryType::Hold => before + total(&self.slices),
            EntryType::Release | EntryType::Capture => before - total(&self.slices),
            _ => before,
        }
    }

    fn new(entry_type: EntryType, reason: Reason) -> Self {
        Self {
            entry_type,
            reason,
            amount: 0,
            slices: vec![],
            effective_at: None,
            debt: None,
            reference: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::{Amend, Kind};
    use super::super::lot;
    use super::super::policy::built_in;
    use super::super::refund::{Charged, RefundCommand, RefundOf, RefundReason};
    use super::super::settle::settle;
    use super::super::testing::{
        OPENED, account_id, at, connects, draft, open, opened, operation, spend, spent, stored,
    };
    use super::*;
    use crate::domain::ids::Operation;

    /// An agency with so many lots of 1.
    fn many_lots(policy: &Policy, count: u32) -> Account {
        (0..count).fold(opened(policy, Kind::Agency), |account, _| {
            let mut draft = draft(policy, account, OPENED);
            draft.issue(Source::Promo, "promo_grant", connects(1), None);
            stored(draft.finish(vec![]).0)
        })
    }

    #[test]
    fn only_lots_that_changed_are_written() {
        let policy = built_in();
        let (receipt, plan, account) =
            spent(&policy, opened(&policy, Kind::Freelancer), OPENED, 45);
        let [
            LotWrite::Update { lot, was },
            LotWrite::Delete { birth, was: all },
        ] = &plan.lots[..]
        else {
            panic!("{:?}", plan.lots);
        };
        assert_eq!((lot.remaining(), *was), (connects(5), connects(10)));
        assert_eq!((birth.quantity, *all), (connects(40), connects(40)));
        assert_eq!(plan.profile, None);
        assert!(!plan.leaves_pending);
        let (_, plan, _) = spent(&policy, account, OPENED, 5);
        assert!(matches!(plan.lots[..], [LotWrite::Delete { .. }]));
        assert_eq!(receipt.slices.len(), 2);
    }

    #[test]
    fn an_entry_says_what_it_is_about_and_since_when_it_holds() {
        let policy = built_in();
        let account = opened(&policy, Kind::Freelancer);
        let said = |draft: &Draft<'_>| -> Vec<_> {
            let told = |entry: &Entry| {
                let reference = entry.reference.as_ref().map(ToString::to_string);
                (entry.reason.to_string(), entry.effective_at, reference)
            };
            draft.entries().iter().map(told).collect()
        };
        let start = at("2025-02-10T00:00:00Z");
        let cycle = Some("cycle:2025-02-10".to_owned());
        let granted = draft(&policy, account.clone(), "2025-02-11T00:00:00Z");
        let expected = ("monthly_free".to_owned(), start, cycle.clone());
        assert_eq!(said(&granted), [expected]);

        let amend = Amend {
            status: Some(Status::Suspended),
            email: None,
        };
        let (suspended, plan) = amend.plan(draft(&policy, account, OPENED));
        assert_eq!(plan.unwrap().profile.unwrap().was, Some(Seq::new(3)));
        let skipped = draft(&policy, stored(suspended), "2025-02-11T00:00:00Z");
        assert!(skipped.is_suspended());
        let expected = ("grant_skipped".to_owned(), start, cycle);
        assert_eq!(said(&skipped), [expected]);

        let expired = draft(&policy, many_lots(&policy, 1), "2026-01-11T06:00:00Z");
        let expected = ("expired".to_owned(), at("2026-01-11T00:00:00Z"), None);
        assert_eq!(said(&expired), [expected]);
        assert_eq!(expired.entries()[0].amount, -1);
    }

    #[test]
    fn a_refund_goes_back_last_taken_first_and_names_the_spend() {
        let policy = built_in();
        let account = opened(&policy, Kind::Freelancer);
        let (mut spent, plan, account) = spent(&policy, account, OPENED, 45);
        assert_eq!(plan.entries[0].reference.as_ref(), Some(&spent.reference));
        let refund = |amount, spent: &Receipt| {
            let command = RefundCommand {
                of: RefundOf::SpendId(spent.id.clone()),
                amount: Some(connects(amount)),
                reason: RefundReason::Correction,
            };
            let id = operation(Operation::Refund, "r");
            let draft = draft(&policy, account.clone(), OPENED);
            command.plan(draft, &id, Some(&Charged::Spend(spent.clone())))
        };
        let (receipt, plan) = refund(7, &spent).unwrap();
        let back: Vec<_> = receipt
            .slices
            .iter()
            .map(|slice| slice.amount.get())
            .collect();
        assert_eq!(back, [5, 2]);
        assert_eq!(
            (receipt.amount, receipt.returned),
            (connects(7), Connects::ZERO)
        );
        let entry = &plan.unwrap().entries[0];
        assert_eq!((entry.amount, entry.reason.as_str()), (7, "correction"));
        assert_eq!(entry.reference.as_ref(), Some(&spent.reference));
        // More than the first lot holds room for: it was said to have lost less.
        spent.slices[0].amount = connects(50);
        spent.amount = connects(55);
        assert_eq!(refund(55, &spent), Err(Unplanned::Stale));
    }

    /// A seal is most of what a plan takes: each entry gets one, when it is known what it covers.
    #[test]
    fn an_entry_is_sealed_once_the_next_change_or_the_end_comes() {
        let policy = built_in();
        let account = opened(&policy, Kind::Freelancer);
        let before = account.head.hash;
        let mut two = draft(&policy, account, OPENED);
        let lots: Vec<_> = [7, 8]
            .into_iter()
            .map(|amount| {
                let about = Reference::of("test", amount);
                two.spend(connects(amount), Reason::of("test"), about)
                    .unwrap();
                two.account().lots.clone()
            })
            .collect();
        let [first, second] = two.entries() else {
            panic!("{:?}", two.entries());
        };
        assert_eq!(
            (first.prev_hash, first.hash),
            (before, first.seal(&lots[0]))
        );
        assert_eq!((second.prev_hash, second.hash), (first.hash, first.hash));
        let (after, plan) = two.finish(vec![]);
        let last = &plan.unwrap().entries[1];
        assert_eq!((last.hash, &after.head), (last.seal(&lots[1]), last));
    }

    /// Connects of lots that end on 2026-01-10, and the last day of what comes in their place where
    /// that is less than thirty days on; and what lapses of another lot meanwhile.
    #[test]
    fn what_comes_back_too_late_for_its_lot_is_a_grace_lot() {
        let policy = built_in();
        let account = opened(&policy, Kind::Freelancer);
        let (spent, plan, account) = spent(&policy, account, OPENED, 45);
        assert_eq!(plan.entries[0].slices, spent.slices);
        let taken = &spent.slices[0];
        for (now, last_day, lapsed) in [
            ("2025-12-11T23:59:59.999Z", None, 0),
            ("2025-12-12T00:00:00Z", Some("2026-01-11"), 0),
            ("2026-03-01T00:00:00Z", Some("2026-03-31"), 5),
        ] {
            let mut later = draft(&policy, account.clone(), now);
            let expired = later
                .entries()
                .iter()
                .filter(|entry| entry.entry_type == EntryType::Expire)
                .flat_map(|entry| &entry.slices);
            let expired: Connects = expired.map(|slice| slice.amount).sum();
            assert_eq!(expired, connects(lapsed), "{now}");

            let reason = Reason::of("goodwill");
            let about = spent.reference.clone();
            let back = later.give_back(std::slice::from_ref(taken), reason, about);
            let back = back.unwrap();
            let expected = match last_day {
                None => taken.birth.clone(),
                Some(day) => Birth {
                    id: back[0].birth.id,
                    source: Source::Grace,
                    expires_on: day.parse().unwrap(),
                    ..taken.birth.clone()
                },
            };
            assert_eq!((back.len(), &back[0].birth), (1, &expected), "{now}");
            let lot = Lot::with_remaining(expected, taken.amount).unwrap();
            assert!(later.account().lots.contains(&lot), "{now}");
            assert_eq!(later.entries().last().unwrap().slices, back);
        }
    }

    #[test]
    fn a_charged_back_lot_is_revoked_and_its_spent_part_owed_and_covered() {
        let policy = built_in();
        let mut bought = draft(&policy, opened(&policy, Kind::Agency), OPENED);
        let about = Reference::of("purchase", "pu");
        let birth = bought.issue(Source::Purchase, "purchase", connects(100), None);
        let account = stored(bought.finish(vec![]).0);
        let (_, _, account) = spent(&policy, account, OPENED, 70);

        let mut revoked = draft(&policy, account.clone(), OPENED);
        revoked.revoke(&[&birth], connects(10), about.clone());
        let entry = &revoked.entries()[0];
        assert_eq!((entry.amount, entry.slices.len()), (-30, 1));
        assert_eq!(entry.after.debt, connects(60));
        assert_eq!(entry.reference.as_ref(), Some(&about));
        assert_eq!(
            revoked.entries().len(),
            1,
            "there is nothing to cover it with"
        );
        let owing = stored(revoked.finish(vec![]).0);
        let id = operation(Operation::Spend, "k");
        let refused = spend(1).plan(draft(&policy, owing.clone(), OPENED), &id);
        let debt = connects(60);
        assert_eq!(refused, Err(Refusal::InDebt { debt }.into()));

        let mut credited = draft(&policy, owing, OPENED);
        let code = Some(Reference::of("promo", "SPRING"));
        credited.issue(Source::Promo, "promo_grant", connects(25), code.clone());
        let [issued, repaid] = credited.entries() else {
            panic!("{:?}", credited.entries());
        };
        assert_eq!((issued.amount, issued.after.debt), (25, debt));
        assert_eq!((repaid.amount, repaid.after.debt), (-25, connects(35)));
        assert_eq!(
            (repaid.slices[0].amount, &repaid.reference),
            (connects(25), &code)
        );
        assert_eq!(issued.reference, code);

        // A lot of which nothing is left has nothing to name.
        let (_, _, used_up) = spent(&policy, account, OPENED, 30);
        let mut revoked = draft(&policy, used_up, OPENED);
        revoked.revoke(&[&birth], Connects::ZERO, about);
        let entry = &revoked.entries()[0];
        assert_eq!((entry.amount, entry.slices.len()), (0, 0));
        assert_eq!(entry.after.debt, connects(100));
    }

    #[test]
    fn what_does_not_fit_one_transaction_is_pending_until_the_next() {
        let policy = built_in();
        let account = many_lots(&policy, 120);
        let (_, plan, _) = spent(&policy, account.clone(), OPENED, 119);
        // One entry and one guard; 98 of 119 lots fit beside them.
        assert_eq!((plan.lots.len(), plan.guards.len()), (98, 1));
        assert!(plan.leaves_pending);
        assert_eq!(plan.entries[0].pending.len(), 21);
        assert!(
            plan.entries[0]
                .pending
                .iter()
                .all(|lot| lot.remaining().is_zero())
        );

        // A profile that changes takes a place too.
        let mut both = draft(&policy, account.clone(), OPENED);
        both.change_profile("suspended", None, |profile| {
            profile.status = Status::Suspended
        });
        let reference = Reference::of("spend", "s");
        both.spend(connects(119), Reason::of("test"), reference.clone());
        let (after, both) = both.finish(vec![]);
        let both = both.unwrap();
        assert_eq!((both.entries.len(), both.lots.len()), (2, 97));
        let written = |lot: &Lot| {
            both.lots
                .iter()
                .any(|w| w.lot_after().birth() == lot.birth())
        };
        let left = account.lots.iter().filter(|lot| !written(lot));
        let before: Vec<Lot> = left.cloned().collect();
        let read = Account::assemble(after.id, after.profile, before, after.head).unwrap();
        assert_eq!(read.balance().available, connects(1));

        let mut flushed = Draft::new(&policy, at(OPENED), read);
        flushed.flush();
        let (_, plan) = flushed.finish(vec![]);
        let plan = plan.unwrap();
        assert_eq!((plan.lots.len(), plan.leaves_pending), (22, false));
        let entry = &plan.entries[0];
        assert_eq!((entry.entry_type, entry.amount), (EntryType::Pending, 0));
        assert_eq!(entry.reference, Some(reference));
    }

    #[test]
    fn settling_stops_where_a_transaction_is_full() {
        let policy = built_in();
        let settled = settle(&policy, at("2027-01-01T00:00:00Z"), many_lots(&policy, 60));
        assert!(!settled.complete);
        assert!(settled.draft.entries().len() <= MAX_SETTLE_ENTRIES);
        assert!(!settled.draft.entries().is_empty());
    }

    #[test]
    fn nothing_to_book_is_no_plan() {
        let policy = built_in();
        let account = opened(&policy, Kind::Freelancer);
        let (after, plan) = Draft::new(&policy, at(OPENED), account.clone()).finish(vec![]);
        assert_eq!((after, plan), (account, None));
        let (_, plan) = open(Kind::Freelancer).plan(&policy, at(OPENED), &account_id(), true);
        let plan = plan.unwrap();
        assert_eq!((plan.entries.len(), plan.lots.len()), (3, 2));
        let due = |lot: &LotWrite| match lot {
            LotWrite::Create { due_at, .. } => Some(*due_at),
            _ => None,
        };
        let notice = lot::first_instant_after("2025-12-10".parse().unwrap());
        assert!(plan.lots.iter().all(|lot| due(lot) == Some(notice)));
    }
}
