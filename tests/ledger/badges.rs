//! Availability badges: each week charged once, at one price for everybody, whatever comes in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use connects::domain::account::{Amend, Status};
use connects::domain::badge::{BadgeView, OffReason, PriceView};
use connects::domain::draft::Draft;
use connects::domain::ids::AccountId;
use connects::domain::lot::Source;
use connects::domain::policy::{BUILT_IN, Policy};
use connects::domain::purchase::PurchaseCommand;
use connects::domain::refusal::Refusal;
use connects::domain::units::Connects;
use connects::ledger::{Context, Error, Ledger, Report};
use connects::store::Store;
use connects_tests::cost::Approves;
use connects_tests::table::{Table, account_id, at, audit, instant, journal, key, refusal, spend};
use connects_tests::wire::{Answer, Broken, Call, Clear, Emulated, Layer};
use futures::future::{BoxFuture, join_all, ready};
use tokio::time::{Duration, Instant};

use super::busy::{TABLE, held_once, ledger, opened};

/// A Monday; every paid week that begins here ends on a Monday too.
const NOW: &str = "2026-01-05T12:00:00Z";
const WEEK_2: &str = "2026-01-12T12:00:00Z";
const WEEK_3: &str = "2026-01-19T12:00:00Z";

/// 7 while no badge is on, and 2 more for each that is.
fn rising() -> Policy {
    let mut policy = Policy::parse(BUILT_IN).unwrap();
    let price = &mut policy.badge.price;
    (price.base, price.step, price.every) = (Connects::new(7), Connects::new(2), 1);
    (price.minimum, price.maximum) = (Connects::new(1), Connects::new(100));
    policy
}

struct World {
    table: Table,
    account: AccountId,
}

impl World {
    /// A freelancer with 50 Connects, where prices rise with each badge.
    async fn new() -> Self {
        Self::under(rising()).await
    }

    /// The same where every week costs that much.
    async fn at_price(price: u64) -> Self {
        let mut policy = rising();
        (policy.badge.price.base, policy.badge.price.step) = (Connects::new(price), Connects::ZERO);
        Self::under(policy).await
    }

    async fn under(policy: Policy) -> Self {
        let table = Table::under(policy).await;
        let account = table.open(NOW).await;
        Self { table, account }
    }

    fn ledger(&self) -> &Ledger {
        &self.table.ledger
    }

    async fn put(&self, now: &str, max_weekly: u64) -> BadgeView {
        put(self.ledger(), &self.account, now, max_weekly)
            .await
            .unwrap()
            .1
    }

    async fn badge(&self, now: &str) -> BadgeView {
        let badge = self.ledger().badge(&at(now), &self.account).await;
        badge.unwrap()
    }

    async fn turn_off(&self, now: &str) -> BadgeView {
        let off = self.ledger().turn_badge_off(&at(now), &self.account).await;
        off.unwrap()
    }

    async fn sweep(&self, now: &str) -> Report {
        sweep(self.ledger(), now).await
    }

    async fn price(&self, now: &str) -> PriceView {
        self.ledger().badge_price(&at(now)).await.unwrap()
    }

    async fn charges(&self) -> Vec<(i64, String)> {
        charges(self.ledger().store(), &self.account).await
    }

    async fn amend(&self, now: &str, status: Status) {
        let amend = Amend {
            status: Some(status),
            email: None,
            payment_customer: None,
        };
        let amended = self.ledger().amend(&at(now), &self.account, amend).await;
        amended.unwrap();
    }
}

async fn put(
    ledger: &Ledger,
    account: &AccountId,
    now: &str,
    max_weekly: u64,
) -> Result<(bool, BadgeView), Error> {
    let max_weekly = Connects::new(max_weekly);
    ledger.put_badge(&at(now), account, max_weekly).await
}

async fn sweep(ledger: &Ledger, now: &str) -> Report {
    let report = ledger.sweep_badges(&at(now), instant(now)).await.unwrap();
    assert_eq!((report.failed, report.unfinished), (0, false), "{report:?}");
    report
}

/// Amount and reference of each charge, and that the account is whole.
async fn charges(store: &Store, account: &AccountId) -> Vec<(i64, String)> {
    audit(store, account).await;
    let journal = journal(store, account).await;
    let charges = journal
        .iter()
        .filter(|entry| entry.reason.as_str() == "badge");
    charges
        .map(|entry| (entry.amount, entry.reference.clone().unwrap().to_string()))
        .collect()
}

fn about<const N: usize>(charges: [(i64, &str); N]) -> Vec<(i64, String)> {
    let charge = |(amount, day): (i64, &str)| (amount, format!("badge:{day}"));
    charges.map(charge).into()
}

/// Active, price, until when, why off, what is left.
fn summary(badge: &BadgeView) -> (bool, u64, Option<String>, Option<OffReason>, u64) {
    let until = badge.paid_until.map(connects::domain::time::text);
    let left = badge.balance.available.get();
    (
        badge.active,
        badge.price.get(),
        until,
        badge.off_reason,
        left,
    )
}

fn until(text: &str) -> Option<String> {
    Some(connects::domain::time::text(instant(text)))
}

/// Maximum 10, weekly prices 7, 9, 11: −7, −9, then off. The prices rise because others turn theirs on.
#[tokio::test]
async fn a_badge_over_three_weeks_of_rising_prices() {
    let world = World::new().await;
    let bea = world.table.open(NOW).await;
    let first = world.put(NOW, 10).await;
    assert_eq!(summary(&first), (true, 7, until(WEEK_2), None, 43));

    // The price of the second week is fixed at its first run, and Bea's badge comes after that.
    let begun = world.sweep("2026-01-12T00:00:00Z").await;
    assert_eq!((begun.badges, begun.accounts), (0, 0));
    let others = put(world.ledger(), &bea, "2026-01-12T06:00:00Z", 100).await;
    assert_eq!(others.unwrap().1.price.get(), 9);
    let renewed = world.sweep(WEEK_2).await;
    let told = (
        renewed.badges,
        renewed.badges_off,
        renewed.entries,
        renewed.notices,
    );
    assert_eq!(told, (1, 0, 1, 0));
    let second = world.badge(WEEK_2).await;
    assert_eq!(summary(&second), (true, 9, until(WEEK_3), None, 34));

    // Both are on when the third begins. Bea's second week ends at six, hers at noon.
    world.sweep("2026-01-19T00:00:00Z").await;
    let renewed = world.sweep("2026-01-19T06:00:00Z").await;
    assert_eq!((renewed.badges, renewed.badges_off), (1, 0));
    let off = world.sweep(WEEK_3).await;
    let told = (off.badges, off.badges_off, off.entries, off.notices);
    assert_eq!(told, (0, 1, 0, 1));
    let third = world.badge(WEEK_3).await;
    let dear = Some(OffReason::TooDear);
    assert_eq!(summary(&third), (false, 11, until(WEEK_3), dear, 34));
    for later in [WEEK_3, "2026-01-19T12:15:00Z", "2026-01-26T12:00:00Z"] {
        let report = world.sweep(later).await;
        assert_eq!((report.badges_off, report.notices), (0, 0));
    }
    let expected = about([(-7, "2026-01-05"), (-9, "2026-01-12")]);
    assert_eq!(world.charges().await, expected);
    // Of the fourth week's count Ana is not one any more.
    let prices = world.price("2026-01-26T12:00:00Z").await;
    let history: Vec<_> = prices.history.iter().map(|past| past.price.get()).collect();
    assert_eq!((prices.price.get(), history), (9, vec![11, 9, 7]));

    // A maximum that is high enough turns it on again, from now on.
    let again = world.put("2026-01-27T00:00:00Z", 11).await;
    let until = until("2026-02-03T00:00:00Z");
    assert_eq!(summary(&again), (true, 9, until, None, 25));
}

#[tokio::test]
async fn the_same_request_however_often_is_one_badge_and_one_charge() {
    let world = World::new().await;
    let ledger = world.ledger();
    let asked = join_all((0..12).map(|_| put(ledger, &world.account, NOW, 10))).await;
    let asked: Vec<_> = asked.into_iter().map(Result::unwrap).collect();
    assert_eq!(asked.iter().filter(|(is_new, _)| *is_new).count(), 1);
    for (_, badge) in &asked {
        assert_eq!(summary(badge), (true, 7, until(WEEK_2), None, 43));
    }
    let later = world.put("2026-01-12T11:59:59.999Z", 12).await;
    assert_eq!((later.active, later.max_weekly.get()), (true, 12));
    assert_eq!(world.charges().await, about([(-7, "2026-01-05")]));
}

/// Runs and requests at once, when the paid week of six accounts is over.
#[tokio::test]
async fn runs_and_requests_at_once_charge_each_week_once() {
    let world = World::at_price(7).await;
    let mut accounts = vec![world.account.clone()];
    for _ in 0..5 {
        accounts.push(world.table.open(NOW).await);
    }
    let ledger = world.ledger();
    for account in &accounts {
        put(ledger, account, NOW, 10).await.unwrap();
    }
    let runs = (0..4).map(|_| sweep(ledger, WEEK_2));
    let asked = accounts[..3]
        .iter()
        .map(|account| put(ledger, account, WEEK_2, 10));
    let spent = accounts.iter().map(async |account| {
        let spent = ledger.spend(&at(WEEK_2), account, &key(), &spend(1)).await;
        spent.unwrap();
    });
    let (reports, asked, _) = futures::join!(join_all(runs), join_all(asked), join_all(spent));
    let renewed: u64 = reports.iter().map(|report| report.badges).sum();
    // The rest of them was renewed by the requests.
    assert!((3..=6).contains(&renewed), "{renewed}");
    assert!(asked.into_iter().all(|asked| asked.unwrap().1.active));
    for account in &accounts {
        let charges = charges(ledger.store(), account).await;
        assert_eq!(charges, about([(-7, "2026-01-05"), (-7, "2026-01-12")]));
    }
    assert_eq!(sweep(ledger, WEEK_2).await.accounts, 0);
}

/// Breaks one call, before it is done or after it.
#[derive(Debug)]
struct BreaksOne {
    calls_left: AtomicI64,
    done: bool,
}

impl Layer for BreaksOne {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let breaks = self.calls_left.fetch_sub(1, Relaxed) == 0;
        let answer = match breaks && !self.done {
            true => Err(Broken::Reset),
            false => Ok(table.answer(&call)),
        };
        Box::pin(ready(if breaks { Err(Broken::Reset) } else { answer }))
    }
}

/// Whichever call is lost, or its answer, of turning on and of renewing: each week is charged once,
/// by whom it is asked for or by the next run.
#[tokio::test(start_paused = true)]
async fn a_lost_call_or_answer_charges_nothing_twice() {
    fastrand::seed(7);
    for done in [false, true] {
        // A price's count is 64 calls, so that the last ones are beyond it.
        for nth in [0, 1, 2, 3, 30, 66, 67, 68, 69, 70] {
            let (table, account) = opened().await;
            let (now, next) = ("2025-01-10T10:00:00Z", "2025-01-17T10:00:00Z");
            let breaking = || {
                let calls_left = AtomicI64::new(nth);
                ledger(&table, Arc::new(BreaksOne { calls_left, done }))
            };
            let (_, badge) = put(&breaking(), &account, now, 10).await.unwrap();
            assert!(badge.active && badge.balance.available.get() == 46, "{nth}");
            // A run that can't read the index fails as a whole; the next one goes on.
            let _ = breaking().sweep_badges(&at(next), instant(next)).await;
            let plain = ledger(&table, Arc::new(Clear));
            sweep(&plain, next).await;
            let expected = about([(-4, "2025-01-10"), (-4, "2025-01-17")]);
            assert_eq!(
                charges(plain.store(), &account).await,
                expected,
                "{nth} {done}"
            );
        }
    }
}

/// A run that dies anywhere, one without time, and then one that has it.
#[tokio::test]
async fn a_run_that_dies_half_way_changes_nothing_in_the_end() {
    let world = World::at_price(7).await;
    let mut accounts = vec![];
    for _ in 0..10 {
        let account = world.table.open(NOW).await;
        put(world.ledger(), &account, NOW, 10).await.unwrap();
        accounts.push(account);
    }
    for millis in [1, 3, 9, 27] {
        let now = at(WEEK_2);
        let run = world.ledger().sweep_badges(&now, now.now);
        let _ = tokio::time::timeout(Duration::from_millis(millis), run).await;
    }
    let no_time = Context {
        deadline: Instant::now(),
        ..at(WEEK_2)
    };
    let cut_off = world.ledger().sweep_badges(&no_time, no_time.now).await;
    assert!(cut_off.unwrap().unfinished);
    world.sweep(WEEK_2).await;
    for account in &accounts {
        let charges = charges(world.ledger().store(), account).await;
        assert_eq!(charges, about([(-7, "2026-01-05"), (-7, "2026-01-12")]));
    }
}

/// Within the hour a renewal follows on and the badge stays on meanwhile; after it a new week begins at
/// the run, and what was missed is not charged.
#[tokio::test]
async fn a_late_run_charges_no_week_that_was_missed() {
    for (now, shows, day, paid_until) in [
        ("2026-01-12T12:14:59Z", true, "2026-01-12", WEEK_3),
        ("2026-01-12T12:59:59.999Z", true, "2026-01-12", WEEK_3),
        (
            "2026-01-12T13:00:00Z",
            false,
            "2026-01-12",
            "2026-01-19T13:00:00Z",
        ),
        (
            "2026-02-02T09:00:00Z",
            false,
            "2026-02-02",
            "2026-02-09T09:00:00Z",
        ),
    ] {
        let world = World::at_price(7).await;
        world.put(NOW, 10).await;
        let waiting = world.badge(now).await;
        let told = (waiting.active, waiting.off_reason, waiting.paid_until);
        assert_eq!(told, (shows, None, Some(instant(WEEK_2))), "{now}");
        // What is not due yet is not looked at, whatever the clock says.
        let early = world.ledger().sweep_badges(&at(now), instant(NOW)).await;
        assert_eq!(early.unwrap().accounts, 0);
        assert_eq!(world.sweep(now).await.badges, 1);
        let renewed = world.badge(now).await;
        // A run may take its time, and begins a new week when it comes to it.
        let began_late = renewed.paid_until.unwrap() - instant(paid_until);
        assert!((0..120).contains(&began_late.num_seconds()), "{began_late}");
        assert!(renewed.active);
        let expected = about([(-7, "2026-01-05"), (-7, day)]);
        assert_eq!(world.charges().await, expected);
    }
}

#[tokio::test]
async fn turned_off_it_runs_out_and_on_again_it_is_charged_once_a_week() {
    let world = World::at_price(7).await;
    let nobody = account_id();
    let (ledger, now) = (world.ledger(), at(NOW));
    for (account, refused) in [
        (&world.account, Refusal::BadgeNotFound),
        (&nobody, Refusal::AccountNotFound),
    ] {
        assert_eq!(refusal(ledger.badge(&now, account).await), refused);
        assert_eq!(refusal(ledger.turn_badge_off(&now, account).await), refused);
    }
    let asked = put(ledger, &nobody, NOW, 10).await;
    assert_eq!(refusal(asked), Refusal::AccountNotFound);

    world.put(NOW, 10).await;
    let by_holder = Some(OffReason::TurnedOff);
    for _ in 0..2 {
        let off = world.turn_off("2026-01-07T12:00:00Z").await;
        assert_eq!(summary(&off), (true, 7, until(WEEK_2), by_holder, 43));
    }
    assert_eq!(world.sweep(WEEK_2).await.accounts, 0);
    let over = world.badge(WEEK_2).await;
    assert_eq!(summary(&over), (false, 7, until(WEEK_2), by_holder, 43));

    // On again, off and on again within its week.
    let again = world.put("2026-01-13T00:00:00Z", 10).await;
    let paid_until = until("2026-01-20T00:00:00Z");
    assert_eq!(summary(&again), (true, 7, paid_until.clone(), None, 36));
    world.turn_off("2026-01-14T00:00:00Z").await;
    let again = world.put("2026-01-15T00:00:00Z", 8).await;
    assert_eq!(summary(&again), (true, 7, paid_until, None, 36));
    assert_eq!(world.sweep("2026-01-20T00:00:00Z").await.badges, 1);
    let days = [(-7, "2026-01-05"), (-7, "2026-01-13"), (-7, "2026-01-20")];
    assert_eq!(world.charges().await, about(days));
}

/// Turned off while a run renews it: charged and running out, or not charged at all.
#[tokio::test]
async fn turning_off_beside_a_renewal() {
    let mut renewals = 0;
    for round in 0..10 {
        let world = World::at_price(7).await;
        world.put(NOW, 10).await;
        let (off, report) = match round % 2 {
            0 => futures::join!(world.turn_off(WEEK_2), world.sweep(WEEK_2)),
            _ => {
                let (report, off) = futures::join!(world.sweep(WEEK_2), world.turn_off(WEEK_2));
                (off, report)
            }
        };
        assert_eq!(off.off_reason, Some(OffReason::TurnedOff));
        assert_eq!(report.badges_off, 0);
        renewals += report.badges;
        let charged = world.charges().await.len() as u64;
        assert_eq!(charged, 1 + report.badges);
        let seen = world.badge(WEEK_2).await;
        assert_eq!(seen, off);
        assert_eq!(seen.active, report.badges == 1);
    }
    println!("{renewals} of 10 were renewed first");
}

/// What the holder says after a run has read the badge, and before it charges a week: the run reads
/// again, and does what the holder wants.
#[tokio::test(start_paused = true)]
async fn a_run_charges_nothing_on_what_is_no_longer_so() {
    let (now, next) = ("2025-01-10T10:00:00Z", "2025-01-17T10:00:00Z");
    for (max_weekly, off_reason, counted) in [
        (None, OffReason::TurnedOff, (0, 0)),
        (Some(3), OffReason::TooDear, (0, 0)),
    ] {
        let (table, account) = opened().await;
        let clear = ledger(&table, Arc::new(Clear));
        put(&clear, &account, now, 10).await.unwrap();
        let (late, has_come, go_on) =
            held_once(&table, |call| call.operation == "TransactWriteItems");
        let (report, ()) = futures::join!(sweep(&late, next), async {
            has_come.await.unwrap();
            match max_weekly {
                None => drop(clear.turn_badge_off(&at(next), &account).await.unwrap()),
                Some(max_weekly) => drop(put(&clear, &account, next, max_weekly).await.unwrap()),
            }
            go_on.send(()).unwrap();
        });
        assert_eq!((report.badges, report.badges_off), counted);
        let badge = clear.badge(&at(next), &account).await.unwrap();
        assert_eq!((badge.active, badge.off_reason), (false, Some(off_reason)));
        let charged = charges(clear.store(), &account).await;
        assert_eq!(charged, about([(-4, "2025-01-10")]));
    }
}

#[tokio::test]
async fn who_is_suspended_in_debt_or_has_too_little_goes_off() {
    // Suspended: no new week, nor a request for one; the paid one stays.
    let world = World::at_price(7).await;
    world.put(NOW, 10).await;
    world.amend("2026-01-06T12:00:00Z", Status::Suspended).await;
    let asked = put(world.ledger(), &world.account, "2026-01-07T12:00:00Z", 12).await;
    assert_eq!(refusal(asked), Refusal::AccountSuspended);
    assert!(world.badge("2026-01-12T11:00:00Z").await.active);
    let report = world.sweep(WEEK_2).await;
    assert_eq!((report.badges_off, report.notices), (1, 1));
    let off = world.badge(WEEK_2).await;
    let suspended = Some(OffReason::Suspended);
    assert_eq!(summary(&off), (false, 7, until(WEEK_2), suspended, 43));
    world.amend("2026-01-13T12:00:00Z", Status::Active).await;
    assert_eq!(world.sweep(WEEK_3).await.accounts, 0);
    assert!(world.put(WEEK_3, 10).await.active);
    let expected = about([(-7, "2026-01-05"), (-7, "2026-01-19")]);
    assert_eq!(world.charges().await, expected);

    // In debt: 100 bought, all spent, charged back.
    let world = World::at_price(7).await;
    world.put(NOW, 10).await;
    let (ledger, now) = (world.ledger(), at(NOW));
    let command = PurchaseCommand {
        quantity: 100,
        promo_code: None,
        payment_method: None,
    };
    let account = &world.account;
    let bought = ledger
        .purchase(&now, &Approves, account, &key(), &command)
        .await;
    let bought = bought.unwrap().into_inner().purchase_id;
    ledger
        .spend(&now, account, &key(), &spend(143))
        .await
        .unwrap();
    ledger
        .chargeback(&now, account, &bought, None)
        .await
        .unwrap();
    let debt = Connects::new(100);
    let asked = put(ledger, account, NOW, 12).await;
    assert_eq!(refusal(asked), Refusal::InDebt { debt });
    assert_eq!(world.sweep(WEEK_2).await.badges_off, 1);
    let short = Some(OffReason::InsufficientConnects);
    assert_eq!(world.badge(WEEK_2).await.off_reason, short);

    // Too little, at a renewal and at once.
    let world = World::at_price(7).await;
    world.put(NOW, 10).await;
    world
        .ledger()
        .spend(&at(NOW), &world.account, &key(), &spend(37))
        .await
        .unwrap();
    assert_eq!(world.sweep(WEEK_2).await.badges_off, 1);
    for now in [WEEK_2, "2026-01-13T00:00:00Z"] {
        let off = world.put(now, 10).await;
        assert_eq!(summary(&off), (false, 7, until(WEEK_2), short, 6));
    }
    let dear = world.put(WEEK_3, 6).await;
    assert_eq!(dear.off_reason, Some(OffReason::TooDear));
    assert_eq!(world.charges().await, about([(-7, "2026-01-05")]));
}

/// The first to need a week's price fixes it, for everybody and for good.
#[tokio::test]
async fn a_weeks_price_is_fixed_once_whoever_asks_first() {
    let world = World::new().await;
    let mut accounts = vec![];
    for _ in 0..6 {
        accounts.push(world.table.open(NOW).await);
    }
    let ledger = world.ledger();
    let asked = accounts.iter().map(|account| put(ledger, account, NOW, 50));
    let (asked, priced) =
        futures::join!(join_all(asked), join_all((0..6).map(|_| world.price(NOW))));
    let first = &priced[0];
    assert!(priced.iter().all(|price| price == first));
    let paid = asked.into_iter().map(|asked| asked.unwrap().1);
    for badge in paid {
        assert_eq!((badge.price, badge.active), (first.price, true));
    }
    assert_eq!(
        (first.price.get(), first.active),
        (7 + 2 * first.active, first.active)
    );
    let days = (first.week.starts_on, first.week.ends_on);
    let expected = ("2026-01-05".parse().unwrap(), "2026-01-11".parse().unwrap());
    assert_eq!(days, expected);
    assert_eq!(world.price("2026-01-11T23:59:59.999Z").await, *first);

    // All six are on by now, and a run and requests come at once in the next week.
    let runs = (0..3).map(|_| world.sweep("2026-01-12T00:00:00Z"));
    let asked = (0..3).map(|_| world.price("2026-01-12T00:00:00Z"));
    let (_, priced) = futures::join!(join_all(runs), join_all(asked));
    for price in priced {
        assert_eq!((price.price.get(), price.active), (19, 6));
        assert_eq!(price.history.len(), 1);
        assert_eq!(price.history[0].price, first.price);
    }
}

/// Who has counted before another badge was on, and is slower than who counted after that, says what
/// the other one fixed.
#[tokio::test(start_paused = true)]
async fn the_slower_one_learns_the_price_of_the_faster() {
    let (table, account) = opened().await;
    let clear = ledger(&table, Arc::new(Clear));
    let next_week = at("2025-01-15T12:00:00Z");
    let (late, has_come, go_on) = held_once(&table, |call| call.operation == "PutItem");
    let (told, fixed) = futures::join!(late.badge_price(&next_week), async {
        has_come.await.unwrap();
        put(&clear, &account, "2025-01-10T10:00:00Z", 10)
            .await
            .unwrap();
        let fixed = clear.badge_price(&next_week).await.unwrap();
        go_on.send(()).unwrap();
        fixed
    });
    assert_eq!((told.unwrap().active, fixed.active), (1, 1));
    assert_eq!(clear.badge_price(&next_week).await.unwrap(), fixed);
}

/// What is told of the past is twelve weeks at most, and no week to come.
#[tokio::test]
async fn the_history_is_of_the_last_weeks() {
    let world = World::new().await;
    for week in 0..20 {
        let now = instant(NOW) + chrono::TimeDelta::weeks(week);
        world.price(&connects::domain::time::text(now)).await;
    }
    for (now, newest, count) in [
        ("2026-05-20T12:00:00Z", "2026-05-11", 12),
        ("2026-02-02T12:00:00Z", "2026-01-26", 4),
        ("2026-01-05T00:00:00Z", "", 0),
        // A week that nobody asked in has no price; its place is taken by those before.
        ("2026-07-01T12:00:00Z", "2026-05-18", 12),
    ] {
        let history = world.price(now).await.history;
        let first = history.first().map(|past| past.starts_on.to_string());
        assert_eq!(
            (first.unwrap_or_default().as_str(), history.len()),
            (newest, count)
        );
        assert!(history.is_sorted_by(|a, b| a.starts_on > b.starts_on));
    }
}

/// The badge lies beyond what a state's query reads: many lots later the account still loads as one.
#[tokio::test]
async fn a_badge_is_no_part_of_the_accounts_state() {
    let (table, account) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let now = "2025-01-10T10:00:00Z";
    put(&plain, &account, now, 10).await.unwrap();
    let scan = Call {
        operation: "Scan".to_owned(),
        request: serde_json::json!({ "TableName": TABLE }),
    };
    let items = table.answer(&scan).body["Items"]
        .as_array()
        .unwrap()
        .clone();
    let keys: Vec<_> = items
        .iter()
        .map(|item| item["sk"]["S"].as_str().unwrap())
        .collect();
    assert!(keys.contains(&"SETTING#BADGE") && keys.contains(&"PRICE#2025-01-06"));
    assert_eq!(audit(plain.store(), &account).await.balance(), 46);
}

/// However many lots have expired that nobody has booked yet.
#[tokio::test]
async fn a_reader_is_told_the_balance_that_there_is() {
    let world = World::at_price(1).await;
    world.put(NOW, 9).await;
    let store = world.ledger().store();
    for _ in 0..3 {
        let state = store.load(&world.account).await.unwrap().unwrap();
        let mut draft = Draft::new(world.ledger().policy(), instant(NOW), state);
        for _ in 0..40 {
            draft.issue(Source::Reward, "test", Connects::new(1), None);
        }
        store.commit_if(draft.finish(vec![]).1).await.unwrap();
    }
    let later = "2027-06-01T12:00:00Z";
    let account = world.ledger().account(&at(later), &world.account).await;
    let expected = account.unwrap().balance;
    assert_eq!(world.badge(later).await.balance, expected);
    assert_eq!(world.turn_off(later).await.balance, expected);
}

/// A clock that is behind turns a badge on again in the week after which another saw it go off.
#[tokio::test]
async fn going_off_twice_after_one_week_is_told_twice() {
    let world = World::at_price(5).await;
    world.put(NOW, 9).await;
    let off = world.put(WEEK_2, 2).await;
    assert_eq!(off.off_reason, Some(OffReason::TooDear));
    let behind = "2026-01-12T11:59:50Z";
    assert!(world.put(behind, 3).await.active);
    assert_eq!(world.sweep(WEEK_2).await.badges_off, 1);
    assert_eq!(world.sweep(WEEK_2).await.badges_off, 0);
    let off = world.badge(WEEK_2).await;
    assert_eq!(
        (off.active, off.off_reason),
        (false, Some(OffReason::TooDear))
    );
    assert_eq!(world.charges().await, [(-5, "badge:2026-01-05".to_owned())]);
}
