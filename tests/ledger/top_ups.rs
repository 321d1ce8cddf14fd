//! Balances that become low: told of once each time, and topped up once for each, within the month's
//! cap, whatever comes in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use connects::domain::account::{Amend, Status};
use connects::domain::ids::AccountId;
use connects::domain::low_balance::{LowBalanceView, SetLowBalance};
use connects::domain::purchase::{PurchaseCommand, PurchaseView};
use connects::domain::refusal::Refusal;
use connects::domain::top_up::{Skipped, TopUpOffReason, TopUpState, TopUpTerms, TopUpView};
use connects::domain::units::{Connects, Money};
use connects::ledger::{Context, Error, Ledger, Report};
use connects::payments::Sandbox;
use connects_tests::cost::Approves;
use connects_tests::table::{Table, at, audit, instant, journal, key, refusal, spend};
use connects_tests::wire::{Answer, Broken, Call, Clear, Emulated, Layer};
use futures::future::{BoxFuture, join_all, ready};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::busy::{TABLE, held_once, ledger, opened};

const NOW: &str = "2026-01-10T12:00:00Z";
const SOON: &str = "2026-01-10T12:15:00Z";
const HOUR: &str = "2026-01-10T13:00:00Z";
const NEXT_DAY: &str = "2026-01-11T13:00:00Z";
const NEXT_MONTH: &str = "2026-02-01T00:00:00Z";

/// Under 40; then 50 for 750 cents, up to so many in a month.
fn wanted(method: &str, times: u64) -> SetLowBalance {
    SetLowBalance {
        threshold: Connects::new(40),
        top_up: Some(TopUpTerms {
            quantity: Connects::new(50),
            monthly_cap: Money {
                amount: 750 * times,
                currency: "USD".to_owned(),
            },
            payment_method: Some(method.to_owned()),
        }),
    }
}

fn sandbox(ledger: &Ledger) -> Sandbox {
    Sandbox::new(ledger.store().clone())
}

/// A freelancer's 50 Connects, and what their holder asked for.
struct World {
    table: Table,
    account: AccountId,
}

impl World {
    async fn new(method: &str, times: u64) -> Self {
        let table = Table::new().await;
        let account = table.open(NOW).await;
        let world = Self { table, account };
        world.set(NOW, method, times).await;
        world
    }

    fn ledger(&self) -> &Ledger {
        &self.table.ledger
    }

    async fn set(&self, now: &str, method: &str, times: u64) -> LowBalanceView {
        let wanted = wanted(method, times);
        set(self.ledger(), now, &self.account, &wanted)
            .await
            .unwrap()
    }

    async fn clear(&self, now: &str) -> LowBalanceView {
        let now = at(now);
        let cleared = self.ledger().clear_low_balance(&now, &self.account);
        cleared.await.unwrap()
    }

    async fn spend(&self, now: &str, amount: u64) {
        let spent = self
            .ledger()
            .spend(&at(now), &self.account, &key(), &spend(amount))
            .await;
        spent.unwrap();
    }

    /// As it is told of the balance.
    async fn told(&self, now: &str) -> Report {
        told(self.ledger(), now, &self.account).await.unwrap()
    }

    /// As the schedule has it.
    async fn sweep(&self, now: &str) -> Report {
        sweep(self.ledger(), now).await
    }

    async fn view(&self, now: &str) -> TopUpView {
        let view = self.ledger().low_balance(&at(now), &self.account).await;
        view.unwrap().top_up.unwrap()
    }

    /// Bought so far, and what is available.
    async fn bought(&self) -> (usize, u64) {
        bought(self.ledger(), &self.account).await
    }

    /// Buys so many otherwise.
    async fn buy(&self, now: &str, quantity: i64) -> PurchaseView {
        let command = PurchaseCommand {
            quantity,
            promo_code: None,
            payment_method: None,
        };
        let bought = self
            .ledger()
            .purchase(&at(now), &Approves, &self.account, &key(), &command)
            .await;
        bought.unwrap().into_inner()
    }
}

async fn set(
    ledger: &Ledger,
    now: &str,
    account: &AccountId,
    wanted: &SetLowBalance,
) -> Result<LowBalanceView, Error> {
    ledger
        .set_low_balance(&within(now), &sandbox(ledger), account, wanted)
        .await
}

async fn told(ledger: &Ledger, now: &str, account: &AccountId) -> Result<Report, Error> {
    ledger.top_up(&within(now), &sandbox(ledger), account).await
}

/// With as long to answer as a request has.
fn within(now: &str) -> Context {
    Context {
        now: instant(now),
        deadline: Instant::now() + Duration::from_secs(8),
    }
}

async fn sweep(ledger: &Ledger, now: &str) -> Report {
    let (context, sandbox) = (at(now), sandbox(ledger));
    let report = ledger.sweep_payments(&context, &sandbox, context.now);
    let report = report.await.unwrap();
    assert_eq!((report.failed, report.unfinished), (0, false), "{report:?}");
    report
}

async fn bought(ledger: &Ledger, account: &AccountId) -> (usize, u64) {
    let model = audit(ledger.store(), account).await;
    let journal = journal(ledger.store(), account).await;
    let bought = journal.iter().filter(|e| e.reason.as_str() == "purchase");
    (bought.count(), model.balance())
}

/// Month's sum, state, declines in a row.
fn stands(view: &TopUpView) -> (u64, TopUpState, u32) {
    (view.spent_this_month.amount, view.state, view.declines)
}

fn skipped(report: &Report) -> Vec<Skipped> {
    report.top_ups_skipped.keys().copied().collect()
}

/// In each row: the method; what the month's sum, the declines and the balance are at once, and after a
/// run. It is told of, or a run finds it.
#[tokio::test]
async fn a_balance_that_becomes_low_is_topped_up() {
    for (method, at_once, after) in [
        ("sandbox_approve", (750, 0, 84), (750, 0, 84)),
        ("sandbox_decline", (0, 1, 34), (0, 1, 34)),
        ("sandbox_timeout", (750, 0, 34), (750, 0, 84)),
        ("sandbox_late", (750, 0, 34), (750, 0, 84)),
    ] {
        for told in [true, false] {
            let world = World::new(method, 4).await;
            world.spend(NOW, 16).await;
            let report = match told {
                true => world.told(NOW).await,
                false => world.sweep(NOW).await,
            };
            assert_eq!(report.top_ups, 1, "{method} {told}");
            let stands = async |now| {
                let view = world.view(now).await;
                let spent = view.spent_this_month.amount;
                (spent, view.declines, world.bought().await.1)
            };
            assert_eq!(stands(NOW).await, at_once, "{method} {told}");
            world.sweep(SOON).await;
            assert_eq!(stands(SOON).await, after, "{method} {told}");
            // Told again, or once more by a run: it is done.
            assert_eq!(world.told(SOON).await.top_ups, 0);
            assert_eq!(stands(SOON).await, after, "{method} {told}");
        }
    }
}

#[tokio::test]
async fn whoever_looks_at_once_one_of_them_buys() {
    let world = World::new("sandbox_approve", 9).await;
    world.spend(NOW, 11).await;
    let told = (0..6).map(|_| world.told(NOW));
    let runs = (0..2).map(|_| world.sweep(NOW));
    let (told, runs) = futures::join!(join_all(told), join_all(runs));
    let begun: u64 = told.iter().chain(&runs).map(|report| report.top_ups).sum();
    assert_eq!((begun, world.bought().await), (1, (1, 89)));
    assert_eq!(stands(&world.view(NOW).await), (750, TopUpState::On, 0));
}

/// The cap is for two. What comes over it waits for the next month, and is bought then without a word.
#[tokio::test]
async fn a_month_costs_no_more_than_its_cap_however_many_crossings_race() {
    let world = World::new("sandbox_approve", 2).await;
    for _ in 0..4 {
        // Each crosses where the one before was topped up.
        let spends = (0..3).map(|_| async {
            let one = key();
            let spent = world
                .ledger()
                .spend(&at(NOW), &world.account, &one, &spend(20))
                .await;
            if let Err(Error::Fault(fault)) = spent {
                panic!("{fault}");
            }
        });
        let told = (0..3).map(|_| world.told(NOW));
        futures::join!(join_all(spends), join_all(told), world.sweep(NOW));
    }
    assert_eq!(world.bought().await.0, 2);
    assert_eq!(stands(&world.view(NOW).await), (1_500, TopUpState::On, 0));
    assert_eq!(world.sweep("2026-01-31T23:59:59.999Z").await.top_ups, 0);
    let next = world.sweep(NEXT_MONTH).await;
    assert_eq!((next.top_ups, world.bought().await.0), (1, 3));
    let view = world.view(NEXT_MONTH).await;
    assert_eq!(stands(&view), (750, TopUpState::On, 0));
}

#[tokio::test]
async fn declines_wait_longer_each_time_and_the_third_turns_it_off() {
    let world = World::new("sandbox_decline", 9).await;
    world.spend(NOW, 15).await;
    // In each row: when, whether it is tried, the declines in a row by then, whether it is still on.
    for (now, tried, declines, state) in [
        (NOW, 1, 1, TopUpState::On),
        ("2026-01-10T12:59:59.999Z", 0, 1, TopUpState::On),
        (HOUR, 1, 2, TopUpState::On),
        ("2026-01-11T12:59:59.999Z", 0, 2, TopUpState::On),
        (NEXT_DAY, 1, 3, TopUpState::Off),
        ("2026-01-20T12:00:00Z", 0, 3, TopUpState::Off),
    ] {
        let report = world.sweep(now).await;
        assert_eq!(report.top_ups, tried, "{now}");
        assert_eq!(
            stands(&world.view(now).await),
            (0, state, declines),
            "{now}"
        );
    }
    let off = world.view(NEXT_DAY).await;
    assert_eq!(off.off_reason, Some(TopUpOffReason::Declined));
    // Nothing is bought while it is off, also at the next crossing.
    let later = "2026-01-21T12:00:00Z";
    world.buy(later, 10).await;
    world.spend(later, 10).await;
    assert_eq!(skipped(&world.told(later).await), [Skipped::Off]);
    assert_eq!(world.bought().await.0, 1);
    // Asked for again, it is on again, and buys at once: the balance is low.
    let on = world.set(later, "sandbox_approve", 9).await.top_up.unwrap();
    assert_eq!(stands(&on), (0, TopUpState::On, 0));
    assert_eq!(world.sweep(later).await.top_ups, 1);
    assert_eq!(world.bought().await, (2, 85));
}

/// A payment that recovery gives up counts as a decline, from then on.
#[tokio::test]
async fn a_decline_by_recovery_gives_the_price_back() {
    let world = World::new("sandbox_late", 1).await;
    world.spend(NOW, 11).await;
    assert_eq!(world.told(NOW).await.top_ups, 1);
    assert_eq!(stands(&world.view(NOW).await), (750, TopUpState::On, 0));
    // Nothing more is begun while it is open.
    world.buy(NOW, 10).await;
    world.spend(NOW, 10).await;
    assert_eq!(skipped(&world.told(NOW).await), [Skipped::Open]);
    let given_up = world.sweep(NEXT_DAY).await;
    assert_eq!((given_up.purchases, given_up.top_ups), (1, 0));
    let view = world.view(NEXT_DAY).await;
    assert_eq!(stands(&view), (0, TopUpState::On, 1));
    // What had waited meanwhile is tried after the back-off.
    let again = "2026-01-11T14:00:00Z";
    assert_eq!(world.sweep(again).await.top_ups, 1);
    world.sweep("2026-01-11T14:15:00Z").await;
    assert_eq!(world.bought().await, (2, 89));
    let view = world.view(again).await;
    assert_eq!(stands(&view), (750, TopUpState::On, 0));
}

/// Whatever was asked for meanwhile, a payment that is open ends as it ends.
#[tokio::test]
async fn a_late_success_counts_also_where_it_is_not_wanted_any_more() {
    let world = World::new("sandbox_late", 1).await;
    world.spend(NOW, 11).await;
    world.told(NOW).await;
    let cleared = world.clear(NOW).await;
    assert_eq!((cleared.threshold, cleared.top_up), (None, None));
    let report = world.sweep(SOON).await;
    assert_eq!((report.purchases, world.bought().await), (1, (1, 89)));
    // The month's sum is still there when it is wanted again.
    let again = world.set(SOON, "sandbox_late", 1).await.top_up.unwrap();
    assert_eq!(stands(&again), (750, TopUpState::On, 0));
}

#[tokio::test]
async fn who_is_suspended_owes_or_has_enough_is_not_topped_up() {
    let amend = |status| Amend {
        status: Some(status),
        email: None,
        payment_customer: None,
    };
    let world = World::new("sandbox_approve", 9).await;
    let ledger = world.ledger();
    world.spend(NOW, 11).await;
    let suspended = amend(Status::Suspended);
    ledger
        .amend(&at(NOW), &world.account, suspended)
        .await
        .unwrap();
    assert_eq!(skipped(&world.told(NOW).await), [Skipped::Suspended]);
    let active = amend(Status::Active);
    ledger
        .amend(&at(NOW), &world.account, active)
        .await
        .unwrap();
    assert_eq!(skipped(&world.told(NOW).await), [Skipped::Nothing]);

    // 39 and 10 are enough, whatever it was when it was told of.
    world.buy(NOW, 10).await;
    world.spend(NOW, 10).await;
    world.buy(NOW, 10).await;
    assert_eq!(skipped(&world.sweep(NOW).await), [Skipped::Enough]);

    // A chargeback makes it low and owes: that is not for the top-up to pay.
    let world = World::new("sandbox_approve", 9).await;
    let dear = world.buy(NOW, 60).await;
    world.spend(NOW, 65).await;
    let (ledger, now) = (world.ledger(), at(NOW));
    let back = ledger.chargeback(&now, &world.account, &dear.purchase_id, None);
    let balance = back.await.unwrap().into_inner().balance;
    assert_eq!((balance.available.get(), balance.debt.get()), (0, 15));
    assert_eq!(skipped(&world.told(NOW).await), [Skipped::InDebt]);
    assert_eq!(world.bought().await.0, 1);
}

#[tokio::test]
async fn what_can_t_be_kept_is_refused_and_the_same_again_is_no_change() {
    let world = World::new("sandbox_approve", 2).await;
    let ledger = world.ledger();
    let entries = world.table.journal(&world.account).await.len();
    let first = ledger.low_balance(&at(NOW), &world.account).await.unwrap();
    assert_eq!(world.set(NOW, "sandbox_approve", 2).await, first);
    assert_eq!(world.table.journal(&world.account).await.len(), entries);
    let unknown = wanted("sandbox_no_such", 2);
    let set = set(ledger, NOW, &world.account, &unknown).await;
    let Refusal::Invalid(invalid) = refusal(set) else {
        panic!("not of a field");
    };
    assert_eq!(invalid.field, "top_up.payment_method");
    let nobody = connects_tests::table::account_id();
    let view = ledger.low_balance(&at(NOW), &nobody).await;
    assert_eq!(refusal(view), Refusal::AccountNotFound);
    let cleared = ledger.clear_low_balance(&at(NOW), &nobody).await;
    assert_eq!(refusal(cleared), Refusal::AccountNotFound);
    let report = ledger.top_up(&at(NOW), &Approves, &nobody).await.unwrap();
    assert_eq!(skipped(&report), [Skipped::Off]);
}

/// The notices in the table: of crossings by entry, with what was available; of top-ups that went off.
fn notices(table: &Emulated) -> (BTreeMap<u64, u64>, usize) {
    let answer = table.answer(&Call {
        operation: "Scan".to_owned(),
        request: json!({ "TableName": TABLE }),
    });
    let items = answer.body["Items"].as_array().unwrap();
    let of_kind = |kind: &'static str| {
        let is = move |item: &&Value| item["sk"]["S"].as_str().unwrap().starts_with(kind);
        items.iter().filter(is)
    };
    let number = |item: &Value, name: &str| item[name]["N"].as_str().unwrap().parse().unwrap();
    let crossings = of_kind("SEEN#low_balance#");
    let crossings = crossings.map(|item| (number(item, "seq"), number(item, "available")));
    (crossings.collect(), of_kind("SEEN#top_up_off#").count())
}

/// Dies with one of its calls, before the table has done it or after.
#[derive(Debug)]
struct Dies {
    calls_left: AtomicI64,
    done: bool,
}

impl Layer for Dies {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let left = self.calls_left.fetch_sub(1, Relaxed);
        if left > 0 || left == 0 && self.done {
            let answer = table.answer(&call);
            if left > 0 {
                return Box::pin(ready(Ok(answer)));
            }
        }
        Box::pin(ready(Err(Broken::Reset)))
    }
}

/// Whichever call it dies at of the spend that makes the balance low and of the top-up: in the end there
/// is one notice and one purchase, paid or declined, and the month's sum is of that.
#[tokio::test(start_paused = true)]
async fn wherever_it_dies_there_is_one_notice_and_one_purchase() {
    fastrand::seed(11);
    // Which of the calls are made at all: so many are enough to come to an end.
    for (method, paid) in [("sandbox_approve", true), ("sandbox_decline", false)] {
        for done in [false, true] {
            for nth in 0..14 {
                let (table, account) = opened().await;
                let plain = ledger(&table, Arc::new(Clear));
                let (now, soon) = ("2025-01-10T10:00:00Z", "2025-01-10T10:15:00Z");
                let asked = wanted(method, 3);
                set(&plain, now, &account, &asked).await.unwrap();
                let calls_left = AtomicI64::new(nth);
                let dying = ledger(&table, Arc::new(Dies { calls_left, done }));
                let one = key();
                let _ = dying.spend(&within(now), &account, &one, &spend(15)).await;
                let _ = told(&dying, now, &account).await;
                // The backend asks again; the schedule runs.
                plain
                    .spend(&within(now), &account, &one, &spend(15))
                    .await
                    .unwrap();
                sweep(&plain, soon).await;
                let crossings = BTreeMap::from([(5, 35)]);
                assert_eq!(notices(&table), (crossings, 0), "{method} {nth} {done}");
                let expected = if paid { (1, 85) } else { (0, 35) };
                assert_eq!(
                    bought(&plain, &account).await,
                    expected,
                    "{method} {nth} {done}"
                );
                let view = plain.low_balance(&within(soon), &account).await.unwrap();
                let view = view.top_up.unwrap();
                let expected = (if paid { 750 } else { 0 }, TopUpState::On, u32::from(!paid));
                assert_eq!(stands(&view), expected, "{method} {nth} {done}");
            }
        }
    }
}

/// The account is read before the spend that makes its balance low, the top-up after it: what the account
/// was says nothing about that crossing.
#[tokio::test(start_paused = true)]
async fn a_crossing_is_not_judged_by_what_was_before_it() {
    let (table, account) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let now = "2025-01-10T10:00:00Z";
    let asked = wanted("sandbox_approve", 3);
    set(&plain, now, &account, &asked).await.unwrap();
    let of_the_top_up = |call: &Call| call.request["Key"]["sk"]["S"] == "SETTING#TOP_UP";
    let (held, has_come, go_on) = held_once(&table, of_the_top_up);
    let crosses = async {
        has_come.await.unwrap();
        let spent = plain.spend(&at(now), &account, &key(), &spend(15)).await;
        spent.unwrap();
        go_on.send(()).unwrap();
    };
    let (report, ()) = futures::join!(told(&held, now, &account), crosses);
    assert_eq!(report.unwrap().top_ups, 1);
    assert_eq!(bought(&plain, &account).await, (1, 85));
}

/// Of a top-up that goes off its holder is told once, of a balance once each time that it becomes low.
#[tokio::test(start_paused = true)]
async fn a_holder_is_told_once_of_each() {
    let (table, account) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let asked = wanted("sandbox_decline", 3);
    let now = "2025-01-10T10:00:00Z";
    set(&plain, now, &account, &asked).await.unwrap();
    for (amount, crossings) in [(10, 0), (1, 1), (1, 1), (9, 1)] {
        let spent = plain
            .spend(&at(now), &account, &key(), &spend(amount))
            .await;
        spent.unwrap();
        assert_eq!(notices(&table).0.len(), crossings, "{amount}");
    }
    assert_eq!(notices(&table), (BTreeMap::from([(6, 39)]), 0));
    for (now, off) in [
        ("2025-01-10T10:00:00Z", 0),
        ("2025-01-10T11:00:00Z", 0),
        ("2025-01-11T11:00:00Z", 1),
        ("2025-01-12T11:00:00Z", 1),
    ] {
        sweep(&plain, now).await;
        assert_eq!(notices(&table).1, off, "{now}");
    }
}
