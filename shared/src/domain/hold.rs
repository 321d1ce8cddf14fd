//! Holds: Connects set aside for something that may come to nothing.
//!
//! What is held has left its lots and is not used: nobody else can spend it, and it does not lapse.
//! A hold is the receipt of its own operation. It is open until it is captured, released or expired,
//! and is written over only at the revision that was read: so it ends once. What it releases goes
//! back as what is refunded does.

use serde::{Deserialize, Serialize};

use super::account::Balance;
use super::draft::{Draft, Guard, MAX_LOTS_PER_ENTRY, Plan, Unplanned};
use super::ids::{AccountId, Fingerprint, Operation, OperationId, Reason, Reference};
use super::key::IdempotencyKey;
use super::lot::{first_of, last_of};
use super::receipt::Receipt;
use super::refusal::{Invalid, Refusal};
use super::spend::{Charge, may_spend, too_many_lots};
use super::time::{self, Time};
use super::units::Connects;
use crate::defect::{Defect, present};

/// The reason of holds that have an operation of their own.
pub(super) const BOOST: &str = "boost";

/// Where a hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// Its Connects are set aside.
    Open,
    /// They were used, all or in part; the rest went back.
    Captured,
    /// They went back.
    Released,
    /// They went back because its time was over.
    Expired,
}

/// A hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// What it set aside, and how much of that went back.
    pub taken: Receipt,
    /// What for.
    pub reason: Reason,
    /// When it is over, if it is not ended before.
    pub expires_at: Option<Time>,
    /// Where it stands.
    pub state: HoldState,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
    /// Grows with whatever changes of it.
    pub revision: u64,
}

/// The end of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// What was asked for.
    pub fingerprint: Fingerprint,
    /// The idempotency key it came under.
    pub key: Option<IdempotencyKey>,
    /// What the account had after it.
    pub after: Balance,
}

/// A request to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HoldCommand {
    /// How many.
    pub amount: Connects,
    /// For what kind of thing.
    pub reason: Reason,
    /// For what; the hold itself where absent.
    pub reference: Option<Reference>,
    /// When it is over, if ever.
    #[serde(serialize_with = "time::as_text_if_any::serialize")]
    pub expires_at: Option<Time>,
}

impl HoldCommand {
    /// A reason that a plain hold may have.
    ///
    /// # Errors
    /// `invalid_field` when it is not of the form, or belongs to an operation of its own.
    pub fn reason(text: &str) -> Result<Reason, Invalid> {
        match text {
            BOOST => Err(Invalid::field("reason", "has an operation of its own")),
            _ => Reason::try_new(text),
        }
    }

    /// The id that this request has under `key`.
    pub fn id(account: &AccountId, key: &IdempotencyKey) -> OperationId {
        OperationId::derive(account, Operation::Hold, key.as_str())
    }

    /// What a retry must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::Hold, self)
    }

    /// Sets the Connects aside, out of the oldest lots.
    ///
    /// # Errors
    /// `invalid_field` for an end that has passed; `account_suspended`, `in_debt`,
    /// `insufficient_connects`, in that order.
    pub fn plan(
        &self,
        mut draft: Draft<'_>,
        id: &OperationId,
    ) -> Result<(Hold, Option<Plan>), Unplanned> {
        if self.expires_at.is_some_and(|at| at <= draft.now()) {
            let passed = Invalid::field("expires_at", "must be to come");
            return Err(Refusal::Invalid(passed).into());
        }
        may_spend(&draft, self.amount)?;
        let reference = self.reference.clone();
        let charge = Charge {
            id: id.clone(),
            fingerprint: self.fingerprint(),
            key: None,
            amount: self.amount,
            field: "amount",
            reason: self.reason.clone(),
            reference: reference.unwrap_or_else(|| Reference::of("hold", id)),
        };
        let hold = Hold {
            taken: charge.hold(&mut draft)?,
            reason: self.reason.clone(),
            expires_at: self.expires_at,
            state: HoldState::Open,
            ended: None,
            revision: 1,
        };
        let (_, plan) = draft.finish(vec![Guard::Hold(hold.clone())]);
        Ok((hold, plan))
    }
}

impl Hold {
    /// This hold, if the request that finds it under its key is the one that made it.
    ///
    /// # Errors
    /// `idempotency_key_reused` when it is another.
    pub fn for_request(self, fingerprint: &Fingerprint) -> Result<Self, Refusal> {
        let taken = self.taken.for_request(fingerprint)?;
        Ok(Self { taken, ..self })
    }

    /// Whether it is open, and its time is over.
    pub fn is_over(&self, now: Time) -> bool {
        self.state == HoldState::Open && self.expires_at.is_some_and(|at| at <= now)
    }

    /// When it must be looked at, if it is open and ends by itself.
    pub fn due_at(&self) -> Option<Time> {
        self.expires_at.filter(|_| self.state == HoldState::Open)
    }

    /// How many of its Connects were used.
    pub fn captured(&self) -> Connects {
        match self.state {
            HoldState::Captured => self.taken.amount - self.taken.returned,
            HoldState::Open | HoldState::Released | HoldState::Expired => Connects::ZERO,
        }
    }

    /// Sets more aside.
    ///
    /// # Errors
    /// `hold_not_open`; `account_suspended`, `in_debt`, `insufficient_connects`.
    pub fn raise(&self, draft: &mut Draft<'_>, by: Connects) -> Result<Self, Refusal> {
        if self.state != HoldState::Open || self.is_over(draft.now()) {
            return Err(self.not_open(draft));
        }
        may_spend(draft, by)?;
        let charge = Charge {
            id: self.taken.id.clone(),
            fingerprint: self.taken.fingerprint.clone(),
            key: None,
            amount: by,
            field: "amount",
            reason: self.reason.clone(),
            reference: self.taken.reference.clone(),
        };
        let more = charge.hold(draft)?;
        let mut next = self.next();
        next.taken.amount += more.amount;
        next.taken.slices.extend(more.slices);
        match next.taken.slices.len() <= MAX_LOTS_PER_ENTRY {
            true => Ok(next),
            false => Err(too_many_lots("amount")),
        }
    }

    /// Uses `amount` of it, the first taken first, and gives the rest back.
    ///
    /// # Errors
    /// `hold_not_open`, also once its time is over; `above_maximum` for more than it holds. Stale when
    /// it was read before it ended, as the account already shows.
    pub fn capture(
        &self,
        draft: &mut Draft<'_>,
        amount: Connects,
        reason: Reason,
    ) -> Result<Self, Unplanned> {
        self.holds(amount)?;
        let over = self.is_over(draft.now()) && !present(Defect::OverIsOpen);
        if self.state != HoldState::Open || over {
            return Err(self.not_open(draft).into());
        }
        let (taken, rest) = (&self.taken, self.taken.amount - amount);
        draft
            .capture(
                first_of(&taken.slices, amount),
                reason,
                taken.reference.clone(),
            )
            .ok_or(Unplanned::Stale)?;
        self.end(draft, HoldState::Captured, rest, Reason::of("released"))
    }

    /// Gives all of it back. The state says what kind of end that is.
    ///
    /// # Errors
    /// `hold_not_open`. Stale when it was read before it ended, as the account already shows.
    pub fn release(
        &self,
        draft: &mut Draft<'_>,
        state: HoldState,
        reason: Reason,
    ) -> Result<Self, Unplanned> {
        if self.state != HoldState::Open {
            return Err(self.not_open(draft).into());
        }
        self.end(draft, state, self.taken.amount, reason)
    }

    fn end(
        &self,
        draft: &mut Draft<'_>,
        state: HoldState,
        back: Connects,
        reason: Reason,
    ) -> Result<Self, Unplanned> {
        if !back.is_zero() {
            let slices = last_of(&self.taken.slices, Connects::ZERO, back);
            draft
                .release(&slices, reason, self.taken.reference.clone())
                .ok_or(Unplanned::Stale)?;
        }
        let mut next = self.next();
        next.state = state;
        next.taken.returned = back;
        Ok(next)
    }

    /// The same, about to be written over what was read.
    fn next(&self) -> Self {
        Self {
            revision: self.revision + 1,
            ..self.clone()
        }
    }

    /// Whether there is so much of it.
    fn holds(&self, amount: Connects) -> Result<(), Refusal> {
        let most = self.taken.amount.credit();
        let outside = Invalid::range("amount", amount.credit(), 1, most);
        outside.map_or(Ok(()), |outside| Err(outside.into()))
    }

    fn not_open(&self, draft: &Draft<'_>) -> Refusal {
        let balance = draft.account().balance();
        let existing = serde_json::to_value(match self.is_over(draft.now()) {
            true => HoldView {
                state: HoldState::Expired,
                ..HoldView::of(self, balance)
            },
            false => HoldView::of(self, balance),
        });
        Refusal::HoldNotOpen {
            existing: existing.unwrap_or_default(),
        }
    }
}

/// What ends a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndHold {
    /// Its use.
    Capture {
        /// How many; all of it where absent.
        amount: Option<Connects>,
    },
    /// That it came to nothing.
    Release,
    /// That its time is over.
    Expire,
}

impl EndHold {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::Hold, self)
    }

    /// Where it leaves a hold.
    const fn state(&self) -> HoldState {
        match self {
            Self::Capture { .. } => HoldState::Captured,
            Self::Release => HoldState::Released,
            Self::Expire => HoldState::Expired,
        }
    }

    /// Whether this request has ended the hold before.
    ///
    /// # Errors
    /// `above_maximum` for more than it holds; `idempotency_key_reused` where another request of the
    /// kind ended it under this key.
    pub fn is_done(&self, hold: &Hold, key: &IdempotencyKey) -> Result<bool, Refusal> {
        if let Self::Capture {
            amount: Some(amount),
        } = self
        {
            hold.holds(*amount)?;
        }
        match &hold.ended {
            Some(ended) if hold.state == self.state() && ended.key.as_ref() == Some(key) => {
                ended.fingerprint.must_be(&self.fingerprint())?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Ends the hold, in a suspended account too.
    ///
    /// # Errors
    /// As for [`Hold::capture`] and [`Hold::release`].
    pub fn plan(
        &self,
        mut draft: Draft<'_>,
        key: Option<&IdempotencyKey>,
        hold: &Hold,
    ) -> Result<(Hold, Option<Plan>), Unplanned> {
        // Of an account from before the hold nothing can be said.
        if draft.is_before(hold.taken.seq) {
            return Err(Unplanned::Stale);
        }
        let mut hold = match self {
            Self::Capture { amount } => {
                let amount = amount.unwrap_or(hold.taken.amount);
                hold.capture(&mut draft, amount, Reason::of("captured"))?
            }
            Self::Release => hold.release(&mut draft, self.state(), Reason::of("released"))?,
            Self::Expire => hold.release(&mut draft, self.state(), Reason::of("hold_expired"))?,
        };
        hold.ended = Some(Ended {
            fingerprint: self.fingerprint(),
            key: key.cloned(),
            after: draft.account().balance(),
        });
        let (_, plan) = draft.finish(vec![Guard::Hold(hold.clone())]);
        Ok((hold, plan))
    }
}

/// A hold as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct HoldView {
    /// Its id.
    pub hold_id: OperationId,
    /// How many it set aside.
    pub amount: Connects,
    /// How many of them were used.
    pub captured: Connects,
    /// Where it stands.
    pub state: HoldState,
    /// The balance after its end; that of the account while it is open.
    pub balance: Balance,
}

impl HoldView {
    /// Of a hold, in an account with that balance.
    pub fn of(hold: &Hold, balance: Balance) -> Self {
        Self {
            hold_id: hold.taken.id.clone(),
            amount: hold.taken.amount,
            captured: hold.captured(),
            state: hold.state,
            balance: hold.ended.as_ref().map_or(balance, |ended| ended.after),
        }
    }

    /// Of a hold as it was when it was made, whatever became of it.
    pub fn opened(hold: &Hold) -> Self {
        Self {
            captured: Connects::ZERO,
            state: HoldState::Open,
            balance: hold.taken.after,
            ..Self::of(hold, hold.taken.after)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::account::{Account, Amend, Kind, Status};
    use super::super::ids::{LotId, Seq};
    use super::super::journal::{Entry, EntryType};
    use super::super::lot::{Birth, Lot, Source, total};
    use super::super::policy::{Policy, built_in};
    use super::super::testing::{
        OPENED, account_id, at, connects, draft, opened, operation, spend, spent, stored,
    };
    use super::*;

    fn hold(amount: u64) -> HoldCommand {
        HoldCommand {
            amount: connects(amount),
            reason: Reason::of("test"),
            reference: None,
            expires_at: None,
        }
    }

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::try_new(text).unwrap()
    }

    /// An account with a hold: what a table would have of both.
    #[derive(Clone)]
    struct World {
        policy: Policy,
        account: Account,
        hold: Hold,
    }

    impl World {
        /// A new freelancer's 40 + 10, of which so many are held.
        fn holding(amount: u64) -> Self {
            Self::with(hold(amount), OPENED)
        }

        fn with(command: HoldCommand, now: &str) -> Self {
            let policy = built_in();
            let account = opened(&policy, Kind::Freelancer);
            let (account, hold) = made(&policy, account, &command, now).unwrap();
            Self {
                policy,
                account,
                hold,
            }
        }

        fn draft(&self, now: &str) -> Draft<'_> {
            draft(&self.policy, self.account.clone(), now)
        }

        /// Ends the hold, and gives the entries that it took.
        fn end(&mut self, end: &EndHold, now: &str) -> Result<Vec<Entry>, Unplanned> {
            let settled = self.draft(now).entries().len();
            let (hold, plan) = end.plan(self.draft(now), None, &self.hold)?;
            assert_eq!(hold.revision, self.hold.revision + 1);
            let mut entries = plan.unwrap().entries;
            let after = replayed(self.draft(now), end, &self.hold);
            assert_eq!(after.head.seq, entries.last().unwrap().seq);
            (self.account, self.hold) = (stored(after), hold);
            Ok(entries.split_off(settled))
        }

        fn lots(&self) -> Vec<(Source, u64, u64)> {
            let tell = |lot: &Lot| {
                let birth = lot.birth();
                (birth.source, lot.remaining().get(), birth.quantity.get())
            };
            self.account.lots.iter().map(tell).collect()
        }
    }

    fn made(
        policy: &Policy,
        account: Account,
        command: &HoldCommand,
        now: &str,
    ) -> Result<(Account, Hold), Unplanned> {
        let id = operation(Operation::Hold, &account.head.seq.to_string());
        let mut after = draft(policy, account.clone(), now);
        let (hold, plan) = command.plan(draft(policy, account, now), &id)?;
        let guards = plan.unwrap().guards;
        assert_eq!(guards, [Guard::Hold(hold.clone())]);
        let about = hold.taken.reference.clone();
        after.hold(command.amount, command.reason.clone(), about);
        Ok((stored(after.finish(vec![]).0), hold))
    }

    /// The account after a hold's end.
    fn replayed(mut draft: Draft<'_>, end: &EndHold, hold: &Hold) -> Account {
        let reason = || Reason::of("test");
        match end {
            EndHold::Capture { amount } => {
                let amount = amount.unwrap_or(hold.taken.amount);
                hold.capture(&mut draft, amount, reason()).unwrap();
            }
            _ => {
                hold.release(&mut draft, end.state(), reason()).unwrap();
            }
        }
        draft.finish(vec![]).0
    }

    const CAPTURE: EndHold = EndHold::Capture { amount: None };

    fn capture(amount: u64) -> EndHold {
        EndHold::Capture {
            amount: Some(connects(amount)),
        }
    }

    /// Type, reason, amount, the amounts of the slices, available and held after it.
    type Told<'e> = (EntryType, &'e str, i64, Vec<u64>, u64, u64);

    fn told(entries: &[Entry]) -> Vec<Told<'_>> {
        let slices = |entry: &Entry| entry.slices.iter().map(|s| s.amount.get()).collect();
        entries
            .iter()
            .map(|entry| {
                let Balance {
                    available, held, ..
                } = entry.after;
                (
                    entry.entry_type,
                    entry.reason.as_str(),
                    entry.amount,
                    slices(entry),
                    available.get(),
                    held.get(),
                )
            })
            .collect()
    }

    #[test]
    fn a_hold_takes_the_oldest_and_says_so() {
        let world = World::holding(45);
        let head = std::slice::from_ref(&world.account.head);
        let expected = (EntryType::Hold, "test", -45, vec![40, 5], 5, 45);
        assert_eq!(told(head), [expected]);
        let reference = format!("hold:{}", world.hold.taken.id);
        assert_eq!(head[0].reference.as_ref().unwrap().as_str(), reference);
        assert_eq!(world.lots(), [(Source::MonthlyFree, 5, 10)]);
        let view = HoldView::opened(&world.hold);
        let balance = json!({ "available": 5, "held": 45, "debt": 0 });
        assert_eq!(
            json!(view),
            json!({ "hold_id": world.hold.taken.id, "amount": 45, "captured": 0,
                    "state": "open", "balance": balance })
        );
        // What is held is nobody's to spend.
        let id = operation(Operation::Spend, "k");
        let refused = spend(6).plan(world.draft(OPENED), &id);
        let (available, required) = (connects(5), connects(6));
        let refusal = Refusal::InsufficientConnects {
            available,
            required,
        };
        assert_eq!(refused, Err(refusal.into()));
    }

    #[test]
    fn what_is_captured_is_the_first_taken_and_the_rest_goes_back() {
        for (end, entries, lots) in [
            (
                CAPTURE,
                vec![(EntryType::Capture, "captured", 0, vec![40, 5], 5, 0)],
                vec![(Source::MonthlyFree, 5, 10)],
            ),
            (
                capture(42),
                vec![
                    (EntryType::Capture, "captured", 0, vec![40, 2], 5, 3),
                    (EntryType::Release, "released", 3, vec![3], 8, 0),
                ],
                vec![(Source::MonthlyFree, 8, 10)],
            ),
            (
                capture(1),
                vec![
                    (EntryType::Capture, "captured", 0, vec![1], 5, 44),
                    (EntryType::Release, "released", 44, vec![5, 39], 49, 0),
                ],
                vec![(Source::Signup, 39, 40), (Source::MonthlyFree, 10, 10)],
            ),
            (
                EndHold::Release,
                vec![(EntryType::Release, "released", 45, vec![5, 40], 50, 0)],
                vec![(Source::Signup, 40, 40), (Source::MonthlyFree, 10, 10)],
            ),
            (
                EndHold::Expire,
                vec![(EntryType::Release, "hold_expired", 45, vec![5, 40], 50, 0)],
                vec![(Source::Signup, 40, 40), (Source::MonthlyFree, 10, 10)],
            ),
        ] {
            let mut world = World::holding(45);
            let about = world.account.head.reference.clone();
            let booked = world.end(&end, OPENED).unwrap();
            assert_eq!(told(&booked), entries, "{end:?}");
            assert!(booked.iter().all(|entry| entry.reference == about));
            assert_eq!(world.lots(), lots, "{end:?}");
            let after = booked.last().unwrap().after;
            assert_eq!(HoldView::of(&world.hold, Balance::default()).balance, after);
            assert_eq!(world.hold.state, end.state());
        }
    }

    #[test]
    fn a_hold_ends_once() {
        let ends = [CAPTURE, capture(3), EndHold::Release, EndHold::Expire];
        for first in &ends {
            let mut world = World::holding(10);
            world.end(first, OPENED).unwrap();
            let existing = json!(HoldView::of(&world.hold, world.account.balance()));
            let not_open = Refusal::HoldNotOpen { existing };
            for second in &ends {
                let again = second.plan(world.draft(OPENED), None, &world.hold);
                assert_eq!(again, Err(not_open.clone().into()), "{first:?} {second:?}");
            }
            let raised = world.hold.raise(&mut world.draft(OPENED), connects(1));
            assert_eq!(raised, Err(not_open));
        }
    }

    #[test]
    fn more_than_it_holds_is_not_captured() {
        let world = World::holding(10);
        for amount in [0, 11, 50] {
            let refused = capture(amount).plan(world.draft(OPENED), None, &world.hold);
            let Err(Unplanned::Refused(Refusal::Invalid(invalid))) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(invalid.field, "amount");
            let is_done = capture(amount).is_done(&world.hold, &key("k"));
            assert_eq!(is_done, Err(invalid.into()));
        }
    }

    /// Of an account that was read after the hold had ended, though the hold was read before.
    #[test]
    fn what_was_read_too_early_is_stale() {
        for end in [CAPTURE, EndHold::Release, EndHold::Expire] {
            let mut world = World::holding(10);
            let open = world.hold.clone();
            world.end(&EndHold::Release, OPENED).unwrap();
            let planned = end.plan(world.draft(OPENED), None, &open);
            assert_eq!(planned, Err(Unplanned::Stale), "{end:?}");
        }
        // And of one that was read before it began.
        let world = World::holding(10);
        let unheld = opened(&world.policy, Kind::Freelancer);
        for end in [CAPTURE, EndHold::Release, EndHold::Expire] {
            let early = draft(&world.policy, unheld.clone(), OPENED);
            let planned = end.plan(early, None, &world.hold);
            assert_eq!(planned, Err(Unplanned::Stale), "{end:?}");
        }
    }

    #[test]
    fn a_retry_is_known_by_its_key_its_kind_and_what_it_asks_for() {
        let one = key("one");
        let other = key("two");
        for (end, kind, another) in [
            (CAPTURE, EndHold::Release, Some(capture(3))),
            (capture(3), EndHold::Release, Some(capture(4))),
            (EndHold::Release, CAPTURE, None),
        ] {
            let world = World::holding(10);
            let (ended, _) = end
                .plan(world.draft(OPENED), Some(&one), &world.hold)
                .unwrap();
            assert_eq!(end.is_done(&world.hold, &one), Ok(false));
            assert_eq!(end.is_done(&ended, &one), Ok(true));
            assert_eq!(end.is_done(&ended, &other), Ok(false));
            assert_eq!(kind.is_done(&ended, &one), Ok(false));
            if let Some(another) = another {
                let reused = Err(Refusal::IdempotencyKeyReused);
                assert_eq!(another.is_done(&ended, &one), reused);
                assert_eq!(another.is_done(&ended, &other), Ok(false));
            }
        }
        let mut expired = World::holding(10);
        expired.end(&EndHold::Expire, OPENED).unwrap();
        assert_eq!(EndHold::Expire.is_done(&expired.hold, &one), Ok(false));
    }

    #[test]
    fn a_hold_is_of_one_request() {
        let world = World::holding(10);
        let same = world.hold.clone().for_request(&hold(10).fingerprint());
        assert_eq!(same, Ok(world.hold.clone()));
        let later = Some(at("2025-02-01T00:00:00Z"));
        for other in [
            hold(11),
            HoldCommand {
                expires_at: later,
                ..hold(10)
            },
        ] {
            let other = world.hold.clone().for_request(&other.fingerprint());
            assert_eq!(other, Err(Refusal::IdempotencyKeyReused));
        }
        let id = HoldCommand::id(&account_id(), &key("k"));
        assert_eq!(id, operation(Operation::Hold, "k"));
        for (reason, fits) in [("listing", true), ("proposal", true), ("boost", false)] {
            assert_eq!(HoldCommand::reason(reason).is_ok(), fits, "{reason}");
        }
    }

    /// From the instant that it names on, it is captured no more, whether or not a run has been.
    #[test]
    fn a_hold_is_over_from_its_instant_on() {
        let until = "2025-02-01T00:00:00Z";
        let command = HoldCommand {
            expires_at: Some(at(until)),
            ..hold(10)
        };
        let policy = built_in();
        let account = opened(&policy, Kind::Freelancer);
        for now in [until, "2025-02-01T00:00:00.001Z"] {
            let refused = made(&policy, account.clone(), &command, now);
            let Err(Unplanned::Refused(Refusal::Invalid(invalid))) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(invalid.field, "expires_at");
        }
        let before = "2025-01-31T23:59:59.999Z";
        let world = World::with(command, before);
        assert_eq!(world.hold.due_at(), Some(at(until)));
        assert!(!world.hold.is_over(at(before)));
        assert!(world.hold.is_over(at(until)));
        let captured = CAPTURE.plan(world.draft(before), None, &world.hold);
        assert_eq!(captured.unwrap().0.captured(), connects(10));

        let refused = CAPTURE.plan(world.draft(until), None, &world.hold);
        let Err(Unplanned::Refused(Refusal::HoldNotOpen { existing })) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(existing["state"], "expired");
        assert_eq!(existing["balance"]["held"], 10);
        let raised = world.hold.raise(&mut world.draft(until), connects(1));
        assert!(matches!(raised, Err(Refusal::HoldNotOpen { .. })));
        for (end, state) in [
            (EndHold::Release, HoldState::Released),
            (EndHold::Expire, HoldState::Expired),
        ] {
            let mut world = world.clone();
            world.end(&end, until).unwrap();
            assert_eq!((world.hold.state, world.hold.due_at()), (state, None));
            assert!(!world.hold.is_over(at(until)));
        }
    }

    /// 50 of lots that end on 2026-01-10, held until those have lapsed.
    #[test]
    fn what_is_held_outlives_its_lot() {
        let late = "2026-03-01T00:00:00Z";
        let mut world = World::holding(45);
        let settled = world.draft(late);
        let lapsed: Vec<i64> = settled
            .entries()
            .iter()
            .filter(|entry| entry.entry_type == EntryType::Expire)
            .map(|entry| entry.amount)
            .collect();
        assert_eq!(lapsed, [-5]);
        assert_eq!(settled.account().balance().held, connects(45));
        let mut captured = world.clone();
        let entries = captured.end(&CAPTURE, late).unwrap();
        assert_eq!((entries.len(), entries[0].amount), (1, 0));

        let entries = world.end(&EndHold::Release, late).unwrap();
        let (was, is) = (&world.hold.taken.slices, &entries[0].slices);
        let grace = was.iter().rev().zip(is).all(|(was, is)| {
            is.birth.source == Source::Grace
                && is.birth.issued_at == was.birth.issued_at
                && is.birth.expires_on == "2026-03-31".parse().unwrap()
                && is.amount == was.amount
        });
        assert!(grace, "{is:?}");
        // They are the oldest again.
        let (_, plan, _) = spent(&world.policy, world.account.clone(), late, 45);
        assert!(
            plan.entries[0]
                .slices
                .iter()
                .all(|s| s.birth.source == Source::Grace)
        );
    }

    #[test]
    fn a_suspended_account_holds_nothing_new_and_ends_what_it_holds() {
        let world = World::holding(10);
        let amend = Amend {
            status: Some(Status::Suspended),
            email: None,
            payment_customer: None,
        };
        let (suspended, _) = amend.plan(world.draft(OPENED));
        let suspended = World {
            account: stored(suspended),
            ..world
        };
        let id = operation(Operation::Hold, "k");
        let refused = hold(1).plan(suspended.draft(OPENED), &id);
        assert_eq!(refused, Err(Refusal::AccountSuspended.into()));
        let raised = suspended
            .hold
            .raise(&mut suspended.draft(OPENED), connects(1));
        assert_eq!(raised, Err(Refusal::AccountSuspended));
        for end in [CAPTURE, EndHold::Release] {
            suspended.clone().end(&end, OPENED).unwrap();
        }
    }

    /// Bought 100, 70 of them held, charged back: what is held counts as spent, until it comes back
    /// and covers what is owed.
    #[test]
    fn what_is_held_of_a_charged_back_lot_is_owed_and_covered_by_its_release() {
        let policy = built_in();
        let mut bought = draft(&policy, opened(&policy, Kind::Agency), OPENED);
        let birth = bought.issue(Source::Purchase, "purchase", connects(100), None);
        let account = stored(bought.finish(vec![]).0);
        let (account, hold) = made(&policy, account, &hold(70), OPENED).unwrap();
        let mut revoked = draft(&policy, account, OPENED);
        revoked.revoke(&[&birth], Connects::ZERO, Reference::of("purchase", "pu"));
        let account = stored(revoked.finish(vec![]).0);
        let balance = |available, held, debt| Balance {
            available: connects(available),
            held: connects(held),
            debt: connects(debt),
        };
        assert_eq!(account.balance(), balance(0, 70, 70));
        let world = World {
            policy,
            account,
            hold,
        };
        let debt = connects(70);
        let refused =
            super::tests::hold(1).plan(world.draft(OPENED), &operation(Operation::Hold, "k"));
        assert_eq!(refused, Err(Refusal::InDebt { debt }.into()));
        for (end, after, types) in [
            (CAPTURE, balance(0, 0, 70), vec![EntryType::Capture]),
            (
                EndHold::Release,
                balance(0, 0, 0),
                vec![EntryType::Release, EntryType::DebtRepaid],
            ),
            (
                capture(50),
                balance(0, 0, 50),
                vec![
                    EntryType::Capture,
                    EntryType::Release,
                    EntryType::DebtRepaid,
                ],
            ),
        ] {
            let mut world = world.clone();
            let entries = world.end(&end, OPENED).unwrap();
            let booked: Vec<_> = entries.iter().map(|entry| entry.entry_type).collect();
            assert_eq!((booked, world.account.balance()), (types, after));
            assert_eq!(world.hold.ended.unwrap().after, after);
        }
    }

    #[test]
    fn a_raise_adds_to_what_is_held() {
        let world = World::holding(38);
        let mut draft = world.draft(OPENED);
        let raised = world.hold.raise(&mut draft, connects(7)).unwrap();
        assert_eq!((raised.taken.amount, raised.revision), (connects(45), 2));
        let amounts: Vec<u64> = raised.taken.slices.iter().map(|s| s.amount.get()).collect();
        assert_eq!(amounts, [38, 2, 5]);
        let entry = draft.entries().last().unwrap();
        let reference = Some(&raised.taken.reference);
        assert_eq!((entry.amount, entry.reference.as_ref()), (-7, reference));
        assert_eq!(entry.after.held, connects(45));
        let refused = raised.raise(&mut draft, connects(6));
        let (available, required) = (connects(5), connects(6));
        let short = Refusal::InsufficientConnects {
            available,
            required,
        };
        assert_eq!(refused, Err(short));
        let ended = raised.capture(&mut draft, connects(39), Reason::of("won"));
        assert_eq!(ended.unwrap().captured(), connects(39));
        let [.., captured, released] = draft.entries() else {
            panic!("{:?}", draft.entries());
        };
        assert_eq!(told(std::slice::from_ref(captured))[0].3, [38, 1]);
        assert_eq!(told(std::slice::from_ref(released))[0].3, [5, 1]);
        assert_eq!(draft.account().balance().available, connects(11));
    }

    /// An entry names so many lots and no more: a hold that could not be given back is not raised.
    #[test]
    fn a_hold_lies_in_no_more_lots_than_an_entry_can_name() {
        let policy = built_in();
        let mut account = opened(&policy, Kind::Agency);
        let lot = |index| {
            Lot::issued(Birth {
                id: LotId {
                    seq: Seq::new(1),
                    index,
                },
                source: Source::Promo,
                issued_at: at(OPENED),
                expires_on: "2026-01-10".parse().unwrap(),
                quantity: connects(1),
            })
        };
        account.lots = (0..=MAX_LOTS_PER_ENTRY as u32).map(lot).collect();
        account.head.after.available = connects(account.lots.len() as u64);
        let mut many = draft(&policy, stored(account), OPENED);
        let most = MAX_LOTS_PER_ENTRY as u64;
        let id = operation(Operation::Hold, "k");
        let too_many = hold(most + 1).plan(many.clone(), &id);
        let refused = too_many_lots("amount");
        assert_eq!(too_many, Err(refused.clone().into()));
        let (held, plan) = hold(most).plan(many.clone(), &id).unwrap();
        assert!(plan.is_some());
        many.hold(
            connects(most),
            Reason::of("test"),
            held.taken.reference.clone(),
        );
        assert_eq!(held.raise(&mut many, connects(1)), Err(refused));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Hold(u64),
        Raise(usize, u64),
        Capture(usize, u64),
        Release(usize),
        Spend(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1_u64..25).prop_map(Step::Hold),
            2 => (0_usize..6, 1_u64..10).prop_map(|(n, by)| Step::Raise(n, by)),
            2 => (0_usize..6, 1_u64..30).prop_map(|(n, amount)| Step::Capture(n, amount)),
            2 => (0_usize..6).prop_map(Step::Release),
            1 => (1_u64..10).prop_map(Step::Spend),
        ];
        prop::collection::vec(step, 1..30)
    }

    proptest! {
        /// Whatever is held, raised, captured and released: what is held is the sum of the open holds,
        /// nothing appears or vanishes, and when all are released the lots are as if only what was
        /// used had been taken.
        #[test]
        fn nothing_held_is_lost_or_made(steps in steps()) {
            let policy = built_in();
            let mut draft = draft(&policy, opened(&policy, Kind::Freelancer), OPENED);
            let mut holds: Vec<Hold> = vec![];
            let mut used = Connects::ZERO;
            for step in steps {
                let before = draft.clone();
                let done = match step {
                    Step::Hold(amount) => {
                        let id = operation(Operation::Hold, &holds.len().to_string());
                        let made = hold(amount).plan(draft.clone(), &id);
                        made.map(|(hold, _)| {
                            let about = hold.taken.reference.clone();
                            draft.hold(connects(amount), Reason::of("test"), about);
                            holds.push(hold);
                        })
                    }
                    Step::Raise(n, by) => holds.get_mut(n).map_or(Ok(()), |hold| {
                        *hold = hold.raise(&mut draft, connects(by))?;
                        Ok(())
                    }),
                    Step::Capture(n, amount) => holds.get_mut(n).map_or(Ok(()), |hold| {
                        *hold = hold.capture(&mut draft, connects(amount), Reason::of("won"))?;
                        used += hold.captured();
                        Ok(())
                    }),
                    Step::Release(n) => holds.get_mut(n).map_or(Ok(()), |hold| {
                        let reason = Reason::of("lost");
                        *hold = hold.release(&mut draft, HoldState::Released, reason)?;
                        Ok(())
                    }),
                    Step::Spend(amount) => {
                        let about = Reference::of("test", amount);
                        let taken = draft.spend(connects(amount), Reason::of("test"), about);
                        used += taken.map_or(Connects::ZERO, |slices| total(&slices));
                        Ok(())
                    }
                };
                if done.is_err() {
                    draft = before;
                }
                let open = holds.iter().filter(|hold| hold.state == HoldState::Open);
                let held: Connects = open.map(|hold| hold.taken.amount).sum();
                let balance = draft.account().balance();
                prop_assert_eq!(balance.held, held);
                prop_assert_eq!(balance.available + held + used, connects(50));
            }
            for hold in holds.iter().filter(|hold| hold.state == HoldState::Open) {
                let reason = Reason::of("lost");
                hold.release(&mut draft, HoldState::Released, reason).unwrap();
            }
            let lots = &draft.account().lots;
            let left: Connects = lots.iter().map(Lot::remaining).sum();
            prop_assert_eq!(left + used, connects(50));
            let own = lots.iter().all(|lot| lot.birth().source != Source::Grace);
            prop_assert!(own && lots.is_sorted_by_key(|lot| lot.birth().age_key()));
        }
    }
}
