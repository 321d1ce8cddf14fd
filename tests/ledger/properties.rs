//! Random histories, planned by the core and followed by the model.

use chrono::{Days, TimeDelta};
use connects::domain::account::{Account, Kind, Open};
use connects::domain::draft::{Draft, LotWrite, Plan};
use connects::domain::hold::{EndHold, Hold, HoldCommand, HoldState};
use connects::domain::ids::{
    AccountId, Fingerprint, Operation, OperationId, PersonId, Reason, Reference,
};
use connects::domain::journal::Entry;
use connects::domain::key::IdempotencyKey;
use connects::domain::lot::{Lot, Source};
use connects::domain::policy::{BUILT_IN, Order, Policy};
use connects::domain::receipt::Receipt;
use connects::domain::refund::{Charged, RefundCommand, RefundOf, RefundReason};
use connects::domain::settle::{self, settle};
use connects::domain::spend::SpendCommand;
use connects::domain::time::{Time, midnight};
use connects::domain::units::Connects;
use connects_tests::model::replay;
use connects_tests::table::instant;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Wait { hours: u32 },
    Issue { amount: u64, valid_days: u32 },
    Spend { amount: u64 },
    Return { spend: usize, amount: Option<u64> },
    Hold { amount: u64 },
    Raise { hold: usize, by: u64 },
    Capture { hold: usize, amount: Option<u64> },
    Release { hold: usize },
    Suspend { active: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (1_u32..2_000).prop_map(|hours| Step::Wait { hours }),
        3 => (1_u64..30, 0_u32..400)
            .prop_map(|(amount, valid_days)| Step::Issue { amount, valid_days }),
        4 => (1_u64..60).prop_map(|amount| Step::Spend { amount }),
        2 => (0_usize..8, prop::option::of(1_u64..20))
            .prop_map(|(spend, amount)| Step::Return { spend, amount }),
        3 => (1_u64..60).prop_map(|amount| Step::Hold { amount }),
        1 => (0_usize..6, 1_u64..20).prop_map(|(hold, by)| Step::Raise { hold, by }),
        1 => (0_usize..6, prop::option::of(1_u64..60))
            .prop_map(|(hold, amount)| Step::Capture { hold, amount }),
        2 => (0_usize..6).prop_map(|hold| Step::Release { hold }),
        1 => prop::bool::ANY.prop_map(|active| Step::Suspend { active }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a table would hold of one account; takes a plan only if every condition holds.
struct Partition {
    account: Account,
    journal: Vec<Entry>,
    spends: Vec<Receipt>,
    holds: Vec<Hold>,
}

impl Partition {
    fn open(policy: &Policy, now: Time) -> Self {
        let open = Open {
            kind: Kind::Freelancer,
            person_id: PersonId::try_new("p1").unwrap(),
            email: None,
            payment_customer: None,
            opened_on: None,
        };
        let id = AccountId::try_new("a1").unwrap();
        let (account, plan) = open.plan(policy, now, &id, true);
        let mut partition = Self {
            account,
            journal: vec![],
            spends: vec![],
            holds: vec![],
        };
        partition.commit(plan);
        partition
    }

    fn commit(&mut self, plan: Option<Plan>) {
        let Some(plan) = plan else { return };
        let mut stored = self.account.stored.clone();
        for write in plan.lots {
            let birth = match &write {
                LotWrite::Create { lot, .. } | LotWrite::Update { lot, .. } => lot.birth(),
                LotWrite::Delete { birth, .. } => birth,
            };
            let place = stored.iter().position(|lot| lot.birth() == birth);
            match (write, place) {
                (LotWrite::Create { lot, .. }, None) => stored.push(lot),
                (LotWrite::Update { lot, was }, Some(place))
                    if stored[place].remaining() == was =>
                {
                    stored[place] = lot;
                }
                (LotWrite::Delete { was, .. }, Some(place)) if stored[place].remaining() == was => {
                    stored.remove(place);
                }
                (write, _) => panic!("a condition on a lot does not hold: {write:?}"),
            }
        }
        self.journal.extend(plan.entries);
        let profile = plan
            .profile
            .map_or(self.account.profile.clone(), |write| write.profile);
        let head = self.journal.last().unwrap().clone();
        let id = self.account.id.clone();
        self.account = Account::assemble(id, profile, stored, head).unwrap();
    }

    /// Settles, committing as often as it takes.
    fn settled<'p>(&mut self, policy: &'p Policy, now: Time) -> Draft<'p> {
        loop {
            let settled = settle(policy, now, self.account.clone());
            if settled.complete {
                return settled.draft;
            }
            self.commit(settled.draft.finish(vec![]).1);
        }
    }

    /// Commits what moves a hold on.
    fn moved(&mut self, hold: Hold, plan: Option<Plan>) {
        self.commit(plan);
        let same = |other: &Hold| other.taken.id == hold.taken.id;
        let place = self.holds.iter().position(same).unwrap();
        self.holds[place] = hold;
    }

    fn end(&mut self, draft: Draft<'_>, hold: usize, end: &EndHold) {
        let Some(hold) = self.holds.get(hold) else {
            return;
        };
        let fits = match end {
            EndHold::Capture {
                amount: Some(amount),
            } => *amount <= hold.taken.amount,
            _ => true,
        };
        let may = hold.state == HoldState::Open && fits;
        match end.plan(draft, None, hold) {
            Ok((hold, plan)) => {
                assert!(may);
                self.moved(hold, plan);
            }
            Err(_) => assert!(!may),
        }
    }

    /// What the open holds have set aside.
    fn held(&self) -> u64 {
        let open = self
            .holds
            .iter()
            .filter(|hold| hold.state == HoldState::Open);
        open.map(|hold| hold.taken.amount.get()).sum()
    }

    fn take(&mut self, policy: &Policy, now: Time, number: usize, step: &Step) {
        let draft = self.settled(policy, now);
        let id = OperationId::derive(&self.account.id, Operation::Spend, &number.to_string());
        match step {
            Step::Wait { .. } => self.commit(draft.finish(vec![]).1),
            Step::Issue { amount, valid_days } => {
                let mut draft = draft;
                draft.issue_at(
                    Source::Promo,
                    "promo_grant",
                    Connects::new(*amount),
                    None,
                    now,
                    now.date_naive() + Days::new((*valid_days).into()),
                );
                self.commit(draft.finish(vec![]).1);
            }
            Step::Spend { amount } => {
                let command = SpendCommand {
                    amount: Connects::new(*amount),
                    reason: Reason::of("test"),
                    reference: None,
                };
                let available = draft.account().balance().available;
                let may = available.get() >= *amount && !draft.is_suspended();
                match command.plan(draft, &id) {
                    Ok((receipt, plan)) => {
                        assert!(may);
                        self.commit(plan);
                        self.spends.push(receipt);
                    }
                    Err(_) => assert!(!may),
                }
            }
            Step::Return { spend, amount } => {
                let Some(spent) = self.spends.get_mut(*spend) else {
                    return;
                };
                let command = RefundCommand {
                    of: RefundOf::SpendId(spent.id.clone()),
                    amount: amount.map(Connects::new),
                    reason: RefundReason::Goodwill,
                };
                let may = amount.unwrap_or(1) <= spent.returnable().get();
                match command.plan(draft, &id, Some(&Charged::Spend(spent.clone()))) {
                    Ok((receipt, plan)) => {
                        assert!(may);
                        spent.returned += receipt.amount;
                        assert!(spent.returned <= spent.amount);
                        self.commit(plan);
                    }
                    Err(_) => assert!(!may),
                }
            }
            Step::Hold { amount } => {
                let command = HoldCommand {
                    amount: Connects::new(*amount),
                    reason: Reason::of("test"),
                    reference: None,
                    expires_at: None,
                };
                let available = draft.account().balance().available;
                let may = available.get() >= *amount && !draft.is_suspended();
                match command.plan(draft, &HoldCommand::id(&self.account.id, &key(number))) {
                    Ok((hold, plan)) => {
                        assert!(may);
                        self.commit(plan);
                        self.holds.push(hold);
                    }
                    Err(_) => assert!(!may),
                }
            }
            Step::Raise { hold, by } => {
                let Some(hold) = self.holds.get(*hold) else {
                    return;
                };
                let mut raised = draft;
                let available = raised.account().balance().available;
                let may = hold.state == HoldState::Open
                    && available.get() >= *by
                    && !raised.is_suspended();
                match hold.raise(&mut raised, Connects::new(*by)) {
                    Ok(hold) => {
                        assert!(may);
                        self.moved(hold, raised.finish(vec![]).1);
                    }
                    Err(_) => assert!(!may),
                }
            }
            Step::Capture { hold, amount } => {
                let amount = amount.map(Connects::new);
                self.end(draft, *hold, &EndHold::Capture { amount });
            }
            Step::Release { hold } => self.end(draft, *hold, &EndHold::Release),
            Step::Suspend { active } => {
                use connects::domain::account::{Amend, Status};
                let status = match active {
                    true => Status::Active,
                    false => Status::Suspended,
                };
                let amend = Amend {
                    status: Some(status),
                    email: None,
                    payment_customer: None,
                };
                self.commit(amend.plan(draft).1);
            }
        }
    }
}

fn key(number: usize) -> IdempotencyKey {
    IdempotencyKey::try_new(&number.to_string()).unwrap()
}

fn policy() -> Policy {
    Policy::parse(BUILT_IN).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens in whatever order: the same lots as the queue's, the same balance, oldest
    /// first, and a journal whose every seal can be made again from it alone.
    #[test]
    fn the_journal_does_what_a_queue_of_tokens_does(steps in steps()) {
        let policy = policy();
        let mut now = instant("2025-01-31T08:00:00Z");
        let mut partition = Partition::open(&policy, now);
        for (number, step) in steps.iter().enumerate() {
            if let Step::Wait { hours } = step {
                now += TimeDelta::hours((*hours).into());
            }
            partition.take(&policy, now, number, step);
            let model = replay(&partition.journal).unwrap();
            prop_assert_eq!(&partition.account.lots, &model.lots().unwrap());
            prop_assert_eq!(model.usable(now), model.balance(), "nothing expired is left");
            prop_assert_eq!(model.held(), partition.held());
        }
    }

    /// Settling in one go or bit by bit, by schedules that run or don't: the same lots.
    #[test]
    fn when_it_is_settled_makes_no_difference(
        stops in prop::collection::vec(1_u32..3_000, 1..12),
        suspended_for in prop::option::of(1_u32..3_000),
    ) {
        let policy = policy();
        let begin = instant("2024-02-29T00:00:00Z");
        let mut often = Partition::open(&policy, begin);
        let mut seldom = Partition::open(&policy, begin);
        let mut now = begin;
        if let Some(hours) = suspended_for {
            for partition in [&mut often, &mut seldom] {
                partition.take(&policy, now, 0, &Step::Suspend { active: false });
            }
            now += TimeDelta::hours(hours.into());
            for partition in [&mut often, &mut seldom] {
                partition.take(&policy, now, 0, &Step::Suspend { active: true });
            }
        }
        for hours in stops {
            now += TimeDelta::hours(hours.into());
            often.take(&policy, now, 0, &Step::Wait { hours });
        }
        let viewed = settle::view(&policy, now, seldom.account.clone());
        seldom.take(&policy, now, 0, &Step::Wait { hours: 0 });
        let what = |lots: &[Lot]| -> Vec<_> {
            lots.iter()
                .map(|lot| (lot.birth().source, lot.birth().issued_at, lot.remaining()))
                .collect()
        };
        prop_assert_eq!(&viewed.lots, &seldom.account.lots, "a reader sees what is booked later");
        prop_assert_eq!(what(&often.account.lots), what(&seldom.account.lots));
    }

    /// The other order that the policy may ask for.
    #[test]
    fn earliest_expiry_first_where_the_policy_says_so(
        lots in prop::collection::vec((1_u64..9, 0_u32..300), 1..12),
        amount in 1_u64..40,
    ) {
        let mut policy = policy();
        policy.lots.order = Order::EarliestExpiry;
        let now = instant("2025-01-31T08:00:00Z");
        let mut partition = Partition::open(&policy, now);
        for (number, (amount, valid_days)) in lots.iter().enumerate() {
            let step = Step::Issue { amount: *amount, valid_days: *valid_days };
            partition.take(&policy, now, number, &step);
        }
        let mut tokens: Vec<_> = partition
            .account
            .lots
            .iter()
            .flat_map(|lot| vec![lot.birth().clone(); lot.remaining().get() as usize])
            .collect();
        tokens.sort_by_key(|birth| (birth.expires_on, birth.age_key()));
        partition.take(&policy, now, 99, &Step::Spend { amount });
        if let Some(receipt) = partition.spends.first() {
            let used: Vec<_> = receipt
                .slices
                .iter()
                .flat_map(|slice| vec![slice.birth.clone(); slice.amount.get() as usize])
                .collect();
            prop_assert_eq!(&used[..], &tokens[..amount as usize]);
        }
    }
}

/// Basic cycle 2025-01-31 on, plan plus: each cycle brings two lots, clamped to short months.
#[test]
fn a_plus_cycle_brings_two_lots() {
    use connects::domain::account::Plan as AccountPlan;
    let policy = policy();
    let now = instant("2025-01-31T08:00:00Z");
    let mut partition = Partition::open(&policy, now);
    let mut draft = partition.settled(&policy, now);
    draft.change_profile("upgraded", None, |profile| profile.plan = AccountPlan::Plus);
    partition.commit(draft.finish(vec![]).1);
    partition.take(
        &policy,
        instant("2025-04-30T00:00:00Z"),
        0,
        &Step::Wait { hours: 0 },
    );
    let granted: Vec<_> = partition
        .account
        .lots
        .iter()
        .skip(2)
        .map(|lot| {
            (
                lot.birth().issued_at,
                lot.birth().source,
                lot.remaining().get(),
            )
        })
        .collect();
    let expected: Vec<_> = ["2025-02-28", "2025-03-31", "2025-04-30"]
        .iter()
        .map(|day| midnight(day.parse().unwrap()))
        .flat_map(|day| {
            [
                (day, Source::PlanIncluded, 60),
                (day, Source::MonthlyFree, 10),
            ]
        })
        .collect();
    assert_eq!(granted, expected);
}

/// The fingerprint of a request does not depend on the order of its members.
#[test]
fn a_fingerprint_is_of_what_is_asked_for() {
    let fingerprint = |amount, reference: Option<&str>| -> Fingerprint {
        SpendCommand {
            amount: Connects::new(amount),
            reason: Reason::of("test"),
            reference: reference.map(|text| Reference::try_new(text).unwrap()),
        }
        .fingerprint()
    };
    assert_eq!(fingerprint(5, Some("job:1")), fingerprint(5, Some("job:1")));
    assert_ne!(fingerprint(5, Some("job:1")), fingerprint(6, Some("job:1")));
    assert_ne!(fingerprint(5, Some("job:1")), fingerprint(5, None));
}
