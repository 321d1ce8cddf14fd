//! Holds: set aside, then used or given back, once, whatever comes in between.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use connects::domain::account::{Amend, Status};
use connects::domain::hold::{EndHold, HoldCommand, HoldState, HoldView};
use connects::domain::ids::{AccountId, OperationId, Reason, Reference};
use connects::domain::journal::EntryType;
use connects::domain::key::IdempotencyKey;
use connects::domain::purchase::PurchaseCommand;
use connects::domain::refusal::Refusal;
use connects::domain::units::Connects;
use connects::ledger::{Context, Error, Ledger, Outcome, Report};
use connects_tests::cost::Approves;
use connects_tests::table::{Table, account_id, at, audit, instant, key, refusal, spend};
use connects_tests::wire::{Answer, Broken, Call, Clear, Emulated, Layer};
use futures::channel::oneshot::{self, Receiver, Sender};
use futures::future::{BoxFuture, join_all, ready};
use serde_json::json;
use tokio::time::Instant;

use super::busy::{ledger, opened};
use super::proposals::Speechless;

const NOW: &str = "2026-01-10T12:00:00Z";
const UNTIL: &str = "2026-01-20T00:00:00Z";
const JUST_BEFORE: &str = "2026-01-19T23:59:59.999Z";

const CAPTURE: EndHold = EndHold::Capture { amount: None };

fn capture(amount: u64) -> EndHold {
    EndHold::Capture {
        amount: Some(Connects::new(amount)),
    }
}

fn command(amount: u64) -> HoldCommand {
    HoldCommand {
        amount: Connects::new(amount),
        reason: Reason::of("test"),
        reference: None,
        expires_at: None,
    }
}

fn until(amount: u64, end: &str) -> HoldCommand {
    HoldCommand {
        expires_at: Some(instant(end)),
        ..command(amount)
    }
}

/// Amount, captured, state, available and held.
fn summary(view: &HoldView) -> (u64, u64, HoldState, u64, u64) {
    let balance = &view.balance;
    (
        view.amount.get(),
        view.captured.get(),
        view.state,
        balance.available.get(),
        balance.held.get(),
    )
}

async fn made(ledger: &Ledger, account: &AccountId, command: &HoldCommand) -> OperationId {
    let held = ledger.hold(&at(NOW), account, &key(), command).await;
    held.unwrap().into_inner().hold_id
}

/// One account, with the table it is in.
struct World {
    table: Table,
    account: AccountId,
}

impl World {
    async fn new() -> Self {
        let table = Table::new().await;
        let account = table.open(NOW).await;
        Self { table, account }
    }

    fn ledger(&self) -> &Ledger {
        &self.table.ledger
    }

    async fn hold(&self, command: &HoldCommand) -> OperationId {
        made(self.ledger(), &self.account, command).await
    }

    async fn end(
        &self,
        now: &str,
        id: &OperationId,
        key: Option<&IdempotencyKey>,
        end: &EndHold,
    ) -> Result<Outcome<HoldView>, Error> {
        self.ledger()
            .end_hold(&at(now), &self.account, id, key, end)
            .await
    }

    async fn applied(&self, now: &str, id: &OperationId, end: &EndHold) -> HoldView {
        match self.end(now, id, None, end).await {
            Ok(Outcome::Applied(view)) => view,
            other => panic!("not applied: {other:?}"),
        }
    }

    async fn sweep(&self, now: &str, due_until: &str) -> Report {
        let swept = self
            .ledger()
            .sweep_expiry(&at(now), instant(due_until))
            .await;
        swept.unwrap()
    }

    /// What remains of the lots, oldest first.
    async fn lots(&self, now: &str) -> Vec<u64> {
        let lots = self.ledger().lots(&at(now), &self.account).await.unwrap();
        lots.iter().map(|lot| lot.remaining().get()).collect()
    }

    /// What is available and what is held.
    async fn audit(&self) -> (u64, u64) {
        let model = self.table.audit(&self.account).await;
        (model.balance(), model.held())
    }

    async fn story(&self) -> Vec<(EntryType, String, i64, u64)> {
        let journal = self.table.journal(&self.account).await;
        let tell = journal.iter().skip(3).map(|entry| {
            let held = entry.after.held.get();
            let reason = entry.reason.to_string();
            (entry.entry_type, reason, entry.amount, held)
        });
        tell.collect()
    }
}

#[tokio::test]
async fn a_hold_is_made_once_and_captured_once() {
    use HoldState::{Captured, Open};
    let world = World::new().await;
    let (ledger, now) = (world.ledger(), at(NOW));
    let one = key();
    let hold = async |command: HoldCommand| ledger.hold(&now, &world.account, &one, &command).await;
    let first = hold(command(45)).await.unwrap();
    let Outcome::Applied(first) = first else {
        panic!("{first:?}");
    };
    assert_eq!(summary(&first), (45, 0, Open, 5, 45));
    let replay = hold(command(45)).await.unwrap();
    assert_eq!(replay, Outcome::Replayed(first.clone()));
    for other in [command(44), until(45, UNTIL)] {
        let reused = refusal(hold(other).await);
        assert_eq!(reused, Refusal::IdempotencyKeyReused);
    }

    let id = &first.hold_id;
    let over = refusal(world.end(NOW, id, None, &capture(46)).await);
    assert!(matches!(over, Refusal::Invalid(invalid) if invalid.field == "amount"));
    let two = key();
    let captured = world.end(NOW, id, Some(&two), &capture(42)).await.unwrap();
    let Outcome::Applied(captured) = captured else {
        panic!("{captured:?}");
    };
    assert_eq!(summary(&captured), (45, 42, Captured, 8, 0));
    assert_eq!(world.lots(NOW).await, [8]);
    let head = world.table.state(&world.account).await.head;

    // The same again is told the same, years later too; anything else that it has ended.
    ledger
        .spend(&now, &world.account, &key(), &spend(3))
        .await
        .unwrap();
    let replayed = Outcome::Replayed(captured.clone());
    for now in [NOW, "2031-01-01T00:00:00Z"] {
        let again = world.end(now, id, Some(&two), &capture(42)).await.unwrap();
        assert_eq!(again, replayed);
    }
    let reused = refusal(world.end(NOW, id, Some(&two), &CAPTURE).await);
    assert_eq!(reused, Refusal::IdempotencyKeyReused);
    let existing = json!(captured);
    for (key, end) in [
        (None, capture(42)),
        (Some(key()), capture(42)),
        (Some(two), EndHold::Release),
        (None, EndHold::Release),
    ] {
        let refused = refusal(world.end(NOW, id, key.as_ref(), &end).await);
        let existing = existing.clone();
        assert_eq!(refused, Refusal::HoldNotOpen { existing });
    }
    // A hold that has ended is still told as it began to who made it.
    let replay = hold(command(45)).await.unwrap();
    assert_eq!(replay, Outcome::Replayed(first));
    let after = world.table.state(&world.account).await.head;
    assert_eq!(after.seq, head.seq.next());
    assert_eq!(world.audit().await, (5, 0));
    let story = world.story().await;
    let expected = [
        (EntryType::Hold, "test", -45, 45),
        (EntryType::Capture, "captured", 0, 3),
        (EntryType::Release, "released", 3, 0),
        (EntryType::Spend, "test", -3, 0),
    ];
    let expected = expected.map(|(is, why, amount, held)| (is, why.to_owned(), amount, held));
    assert_eq!(story, expected);
}

#[tokio::test]
async fn what_is_released_is_whole_again() {
    let world = World::new().await;
    let before = world.table.state(&world.account).await.lots;
    let id = world.hold(&command(45)).await;
    let other = world.hold(&command(5)).await;
    assert_eq!(world.lots(NOW).await, [0_u64; 0]);
    let spent = world
        .ledger()
        .spend(&at(NOW), &world.account, &key(), &spend(1))
        .await;
    assert!(matches!(
        refusal(spent),
        Refusal::InsufficientConnects { .. }
    ));
    let released = world.applied(NOW, &id, &EndHold::Release).await;
    assert_eq!(summary(&released), (45, 0, HoldState::Released, 45, 5));
    world.applied(NOW, &other, &EndHold::Release).await;
    assert_eq!(world.table.state(&world.account).await.lots, before);
    assert_eq!(world.audit().await, (50, 0));
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed() {
    let world = World::new().await;
    let (ledger, now) = (world.ledger(), at(NOW));
    let id = world.hold(&command(10)).await;
    let before = world.table.state(&world.account).await;
    let nobody = account_id();
    let held = ledger.hold(&now, &nobody, &key(), &command(1)).await;
    assert_eq!(refusal(held), Refusal::AccountNotFound);
    let other = world.table.open(NOW).await;
    let spent = ledger.spend(&now, &other, &key(), &spend(1)).await;
    let spend_id = spent.unwrap().into_inner().spend_id;
    for end in [CAPTURE, EndHold::Release] {
        for (account, id, refused) in [
            (&nobody, &id, Refusal::AccountNotFound),
            (&other, &id, Refusal::HoldNotFound),
            (&other, &spend_id, Refusal::HoldNotFound),
        ] {
            let ended = ledger.end_hold(&now, account, id, None, &end).await;
            assert_eq!(refusal(ended), refused);
        }
    }
    for passed in [NOW, "2026-01-10T11:59:59.999Z"] {
        let held = ledger
            .hold(&now, &world.account, &key(), &until(1, passed))
            .await;
        let refused = refusal(held);
        assert!(matches!(refused, Refusal::Invalid(invalid) if invalid.field == "expires_at"));
    }
    let held = ledger
        .hold(&now, &world.account, &key(), &command(41))
        .await;
    let (available, required) = (Connects::new(40), Connects::new(41));
    let short = Refusal::InsufficientConnects {
        available,
        required,
    };
    assert_eq!(refusal(held), short);
    assert_eq!(world.table.state(&world.account).await, before);

    let amend = Amend {
        status: Some(Status::Suspended),
        email: None,
        payment_customer: None,
    };
    ledger.amend(&now, &world.account, amend).await.unwrap();
    let held = ledger.hold(&now, &world.account, &key(), &command(1)).await;
    assert_eq!(refusal(held), Refusal::AccountSuspended);
    let captured = world.applied(NOW, &id, &capture(4)).await;
    assert_eq!(summary(&captured), (10, 4, HoldState::Captured, 46, 0));
    assert_eq!(world.audit().await, (46, 0));
}

/// All 50 of the first day are held, and their lots' time is over on 2027-01-11.
#[tokio::test]
async fn what_is_held_outlives_its_lots() {
    let late = "2027-03-20T06:00:00Z";
    for (end, expected) in [
        (CAPTURE, (50, 50, HoldState::Captured, 120, 0)),
        (capture(8), (50, 8, HoldState::Captured, 162, 0)),
        (EndHold::Release, (50, 0, HoldState::Released, 170, 0)),
    ] {
        let world = World::new().await;
        let id = world.hold(&command(50)).await;
        // What lapses are later lots than theirs.
        world.sweep(late, late).await;
        let journal = world.table.journal(&world.account).await;
        let lapsed = journal.iter().filter(|e| e.entry_type == EntryType::Expire);
        assert!(lapsed.clone().all(|entry| entry.after.held.get() == 50));
        assert!(
            lapsed
                .flat_map(|entry| &entry.slices)
                .all(|slice| slice.birth.issued_at > instant(NOW))
        );
        let ended = world.applied(late, &id, &end).await;
        assert_eq!(summary(&ended), expected, "{end:?}");
        let back = Connects::new(50) - ended.captured;
        let lots = world.ledger().lots(&at(late), &world.account).await;
        let lots = lots.unwrap();
        let grace: Connects = lots
            .iter()
            .take_while(|lot| lot.birth().issued_at == instant(NOW))
            .map(|lot| {
                assert_eq!(lot.birth().expires_on, "2027-04-19".parse().unwrap());
                lot.remaining()
            })
            .sum();
        assert_eq!(grace, back);
        assert_eq!(world.audit().await, (expected.3, 0));
    }
}

#[tokio::test]
async fn a_hold_ends_by_itself_when_its_time_is_over() {
    let world = World::new().await;
    let id = world.hold(&until(45, UNTIL)).await;
    let forever = world.hold(&command(2)).await;
    let captured = world.hold(&until(1, UNTIL)).await;
    world.applied(NOW, &captured, &CAPTURE).await;
    assert_eq!(world.sweep(JUST_BEFORE, JUST_BEFORE).await.holds, 0);
    // The run's time says what is due; the clock alone ends a hold. It goes on while a run lasts.
    let before = "2026-01-19T23:50:00Z";
    assert_eq!(world.sweep(before, UNTIL).await.holds, 0);
    assert_eq!(world.sweep(UNTIL, JUST_BEFORE).await.holds, 0);

    // However late the run: from that instant on it is captured no more.
    let refused = refusal(world.end(UNTIL, &id, None, &CAPTURE).await);
    let existing = json!({
        "hold_id": id, "amount": 45, "captured": 0, "state": "expired",
        "balance": { "available": 2, "held": 47, "debt": 0 },
    });
    assert_eq!(refused, Refusal::HoldNotOpen { existing });
    let late = "2026-01-20T06:00:00Z";
    let report = world.sweep(late, late).await;
    assert_eq!((report.holds, report.entries, report.accounts), (1, 1, 1));
    let again = world.sweep(late, late).await;
    assert_eq!((again.holds, again.entries, again.accounts), (0, 0, 0));
    let story = world.story().await;
    let last = (EntryType::Release, "hold_expired".to_owned(), 45, 2);
    assert_eq!(story.last(), Some(&last));
    for end in [CAPTURE, EndHold::Release] {
        let refused = refusal(world.end(late, &id, Some(&key()), &end).await);
        let Refusal::HoldNotOpen { existing } = refused else {
            panic!("{refused:?}");
        };
        let told = (&existing["state"], &existing["balance"]["held"]);
        assert_eq!(told, (&json!("expired"), &json!(2)));
    }
    // Without an end of its own it stays, and what was captured in time was not released.
    let years_later = "2030-01-01T00:00:00Z";
    assert_eq!(world.sweep(years_later, years_later).await.holds, 0);
    let stays = world.applied(years_later, &forever, &CAPTURE).await;
    assert_eq!(stays.captured, Connects::new(2));
    assert_eq!(world.audit().await.1, 0);
}

/// A run that is cut off, twice at once, or beside whoever needs the account: each hold once.
#[tokio::test]
async fn runs_release_each_hold_once() {
    let world = World::new().await;
    for amount in 1..=6 {
        world.hold(&until(amount, UNTIL)).await;
    }
    let over = Context {
        deadline: Instant::now(),
        ..at(UNTIL)
    };
    let cut_off = world.ledger().sweep_expiry(&over, instant(UNTIL)).await;
    let cut_off = cut_off.unwrap();
    assert_eq!((cut_off.holds, cut_off.unfinished), (0, true));
    let spends = (0..5).map(async |_| {
        let spent = world
            .ledger()
            .spend(&at(UNTIL), &world.account, &key(), &spend(10))
            .await;
        spent.is_ok()
    });
    let (one, two, spent) = futures::join!(
        world.sweep(UNTIL, UNTIL),
        world.sweep(UNTIL, UNTIL),
        join_all(spends)
    );
    assert_eq!(one.holds + two.holds, 6);
    assert_eq!((one.failed, two.failed), (0, 0));
    let spent: u64 = spent.into_iter().map(|done| 10 * u64::from(done)).sum();
    assert_eq!(world.audit().await, (50 - spent, 0));
    let story = world.story().await;
    let released = story.iter().filter(|(is, ..)| *is == EntryType::Release);
    let mut amounts: Vec<i64> = released.map(|(_, _, amount, _)| *amount).collect();
    amounts.sort_unstable();
    assert_eq!(amounts, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn captured_or_released_but_not_both() {
    let world = World::new().await;
    let (mut available, mut captures) = (50, 0);
    for round in 0..12 {
        let id = world.hold(&command(4)).await;
        let (one, two) = (key(), key());
        let capture = world.end(NOW, &id, Some(&one), &CAPTURE);
        let release = world.end(NOW, &id, Some(&two), &EndHold::Release);
        let (captured, released) = match round % 2 {
            0 => futures::join!(capture, release),
            _ => {
                let (released, captured) = futures::join!(release, capture);
                (captured, released)
            }
        };
        let (won, lost) = match captured.is_ok() {
            true => (captured, released),
            false => (released, captured),
        };
        let won = won.unwrap();
        assert!(matches!(won, Outcome::Applied(_)));
        let won = won.into_inner();
        let existing = json!(won);
        assert_eq!(refusal(lost), Refusal::HoldNotOpen { existing });
        captures += u64::from(won.state == HoldState::Captured);
        available -= won.captured.get();
        assert_eq!(world.audit().await, (available, 0));
    }
    assert_eq!(available, 50 - 4 * captures);
}

#[tokio::test]
async fn of_many_captures_one_happens() {
    let world = World::new().await;
    let id = world.hold(&command(20)).await;
    let one = key();
    let end = capture(15);
    let same = (0..8).map(|_| world.end(NOW, &id, Some(&one), &end));
    let others = (0..8).map(|_| world.end(NOW, &id, None, &CAPTURE));
    let (same, others) = futures::join!(join_all(same), join_all(others));
    let answers = || same.iter().chain(&others);
    let applied = answers().filter(|answer| matches!(answer, Ok(Outcome::Applied(_))));
    assert_eq!(applied.count(), 1);
    for answer in answers() {
        match answer {
            Ok(outcome) => {
                let view = outcome.clone().into_inner();
                assert_eq!(view.balance.available + view.captured, Connects::new(50));
            }
            Err(Error::Refused(Refusal::HoldNotOpen { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    let (available, held) = world.audit().await;
    assert!([30, 35].contains(&available) && held == 0, "{available}");
}

/// A capture in time beside the run that comes a moment later: one of them.
#[tokio::test]
async fn captured_in_time_or_expired_but_not_both() {
    for _ in 0..8 {
        let world = World::new().await;
        let id = world.hold(&until(4, UNTIL)).await;
        let (captured, report) = futures::join!(
            world.end(JUST_BEFORE, &id, None, &CAPTURE),
            world.sweep(UNTIL, UNTIL)
        );
        let was_captured = match captured {
            Ok(_) => true,
            Err(Error::Refused(Refusal::HoldNotOpen { existing })) => {
                assert_eq!(existing["state"], "expired");
                false
            }
            other => panic!("{other:?}"),
        };
        assert_eq!((report.holds, report.failed), (u64::from(!was_captured), 0));
        let available = if was_captured { 46 } else { 50 };
        assert_eq!(world.audit().await, (available, 0));
    }
}

#[tokio::test]
async fn holds_and_spends_at_once_take_no_more_than_there_is() {
    let world = World::new().await;
    let now = at(NOW);
    let holds = (0..8).map(async |_| {
        let held = world
            .ledger()
            .hold(&now, &world.account, &key(), &command(6))
            .await;
        held.is_ok()
    });
    let spends = (0..8).map(async |_| {
        let spent = world
            .ledger()
            .spend(&now, &world.account, &key(), &spend(6))
            .await;
        spent.is_ok()
    });
    let (held, spent) = futures::join!(join_all(holds), join_all(spends));
    let count = |done: &[bool]| done.iter().filter(|done| **done).count() as u64;
    let (held, spent) = (count(&held), count(&spent));
    assert_eq!(held + spent, 8);
    assert_eq!(world.audit().await, (2, 6 * held));
}

/// Bought 100 and held 70 of them when the bank takes the money back: what is held counts as spent,
/// and covers what is owed when it comes back.
#[tokio::test]
async fn a_chargeback_counts_what_is_held_as_spent() {
    let table = Table::new().await;
    let (ledger, now) = (&table.ledger, at(NOW));
    for (end, captured, available, debt) in [
        (CAPTURE, 70, 0, 70),
        (capture(20), 20, 0, 20),
        (EndHold::Release, 0, 0, 0),
    ] {
        let account = table.open_empty(NOW).await;
        let bought = PurchaseCommand {
            quantity: 100,
            promo_code: None,
            payment_method: None,
        };
        let bought = ledger
            .purchase(&now, &Approves, &account, &key(), &bought)
            .await;
        let purchase = bought.unwrap().into_inner().purchase_id;
        let id = made(ledger, &account, &command(70)).await;
        let charged_back = ledger.chargeback(&now, &account, &purchase, None).await;
        let balance = charged_back.unwrap().into_inner().balance;
        let told = (balance.available, balance.held, balance.debt);
        assert_eq!(told, (Connects::ZERO, Connects::new(70), Connects::new(70)));
        let held = ledger.hold(&now, &account, &key(), &command(1)).await;
        let owed = Connects::new(70);
        assert_eq!(refusal(held), Refusal::InDebt { debt: owed });

        let ended = ledger.end_hold(&now, &account, &id, None, &end).await;
        let ended = ended.unwrap().into_inner();
        assert_eq!(ended.captured.get(), captured);
        let balance = ended.balance;
        assert_eq!(
            (
                balance.available.get(),
                balance.held.get(),
                balance.debt.get()
            ),
            (available, 0, debt)
        );
        let model = table.audit(&account).await;
        assert_eq!((model.balance(), model.debt()), (available, debt));
    }
}

/// Two holds about the same thing are two holds.
#[tokio::test]
async fn holds_may_be_about_the_same() {
    let world = World::new().await;
    let about = Reference::try_new("job:J1").unwrap();
    let command = HoldCommand {
        reference: Some(about.clone()),
        ..command(25)
    };
    let (one, two) = (world.hold(&command).await, world.hold(&command).await);
    world.applied(NOW, &two, &EndHold::Release).await;
    assert_eq!(world.lots(NOW).await, [15, 10]);
    let captured = world.applied(NOW, &one, &capture(10)).await;
    assert_eq!(summary(&captured), (25, 10, HoldState::Captured, 40, 0));
    let journal = world.table.journal(&world.account).await;
    let about = Some(about);
    assert!(journal.iter().skip(3).all(|entry| entry.reference == about));
    assert_eq!(world.audit().await, (40, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_never_told_as_somebody_elses() {
    let (table, account) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let now = at(NOW);
    // With a key of the client's or without.
    for (key, end) in [
        (Some(key()), CAPTURE),
        (None, capture(3)),
        (Some(key()), EndHold::Release),
        (None, EndHold::Release),
    ] {
        let losing = || ledger(&table, Arc::new(Speechless::default()));
        let held = losing()
            .hold(&now, &account, &connects_tests::table::key(), &command(5))
            .await;
        let Ok(Outcome::Replayed(held)) = held else {
            panic!("{held:?}");
        };
        let ended = losing()
            .end_hold(&now, &account, &held.hold_id, key.as_ref(), &end)
            .await;
        let Ok(Outcome::Replayed(ended)) = ended else {
            panic!("{ended:?}");
        };
        assert_ne!(ended.state, HoldState::Open);
        let stands = plain.account(&now, &account).await.unwrap();
        assert_eq!(ended.balance, stands.balance);
    }
    assert_eq!(audit(plain.store(), &account).await.held(), 0);
}

/// Reads a receipt, says so, and keeps what it read to itself until it may go on.
#[derive(Debug)]
struct SlowReceipt(Mutex<Option<(Sender<()>, Receiver<()>)>>);

impl Layer for SlowReceipt {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let answer = table.answer(&call);
        let gate = match call.operation.as_str() {
            "GetItem" => self.0.lock().unwrap().take(),
            _ => None,
        };
        Box::pin(async move {
            if let Some((come, go_on)) = gate {
                come.send(()).unwrap();
                go_on.await.unwrap();
            }
            Ok(answer)
        })
    }
}

/// A first try captures just in time while its retry, which comes too late to capture, has read the
/// hold as it was before: the retry is told of the capture, not that it is too late.
#[tokio::test(start_paused = true)]
async fn before_a_refusal_the_hold_is_read_again() {
    let (table, account) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let id = made(&plain, &account, &until(4, UNTIL)).await;
    let (come, has_come) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel();
    let slow = SlowReceipt(Mutex::new(Some((come, may_go_on))));
    let slow = ledger(&table, Arc::new(slow));
    let one = key();
    let (in_time, late) = (at(JUST_BEFORE), at(UNTIL));
    let (retry, first) = futures::join!(
        slow.end_hold(&late, &account, &id, Some(&one), &CAPTURE),
        async {
            has_come.await.unwrap();
            let first = plain.end_hold(&in_time, &account, &id, Some(&one), &CAPTURE);
            let first = first.await;
            go_on.send(()).unwrap();
            first
        }
    );
    let first = first.unwrap();
    assert!(matches!(first, Outcome::Applied(_)));
    assert_eq!(retry.unwrap(), Outcome::Replayed(first.into_inner()));
}

/// Does one transaction and dies.
#[derive(Debug, Default)]
struct DiesAfterOne(AtomicBool);

impl Layer for DiesAfterOne {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let dead = self.0.load(Relaxed);
        if call.operation == "TransactWriteItems" {
            self.0.store(true, Relaxed);
        }
        let answer = (!dead).then(|| table.answer(&call));
        Box::pin(ready(answer.ok_or(Broken::Reset)))
    }
}

/// A hold over more lots than a transaction carries, by a process that dies with most of them
/// pending; ended by others that die likewise.
#[tokio::test(start_paused = true)]
async fn a_hold_over_many_lots_is_whole_though_its_writers_die() {
    let (table, account) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let now = at("2025-01-10T10:00:00Z");
    for _ in 0..150 {
        let one = PurchaseCommand {
            quantity: 10,
            promo_code: None,
            payment_method: None,
        };
        let bought = plain
            .purchase(&now, &Approves, &account, &key(), &one)
            .await;
        bought.unwrap();
    }
    let available = plain.account(&now, &account).await.unwrap();
    let available = available.balance.available.get();
    let before = plain.lots(&now, &account).await.unwrap();
    for (end, captured) in [(EndHold::Release, 0), (capture(1_000), 1_000)] {
        let dying = ledger(&table, Arc::new(DiesAfterOne::default()));
        let held = dying.hold(&now, &account, &key(), &command(1_400)).await;
        let held = held.unwrap().into_inner();
        let balance = plain.account(&now, &account).await.unwrap().balance;
        assert_eq!(balance, held.balance);
        assert_eq!(
            (balance.available.get(), balance.held.get()),
            (available - 1_400, 1_400)
        );
        let dying = ledger(&table, Arc::new(DiesAfterOne::default()));
        let dead = dying.end_hold(&now, &account, &held.hold_id, None, &end);
        // What was pending had to be written first: that is all it came to.
        assert!(matches!(dead.await, Err(Error::Fault(_))));
        let ended = plain.end_hold(&now, &account, &held.hold_id, None, &end);
        let ended = ended.await.unwrap().into_inner();
        let balance = &ended.balance;
        assert_eq!(
            (balance.available.get(), balance.held.get()),
            (available - captured, 0)
        );
        if captured == 0 {
            let lots = plain.lots(&now, &account).await.unwrap();
            assert!(lots == before, "{} lots, not {}", lots.len(), before.len());
        }
        audit(plain.store(), &account).await;
    }
}
