//! Closing a job: what comes back, to whom, once, and however the pass that brings it dies.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::Poll;

use connects::domain::account::{Amend, Kind, Open, Status};
use connects::domain::closure::{ClosureReason, Returns};
use connects::domain::ids::{AccountId, JobId, PersonId};
use connects::domain::job::{JobState, JobView};
use connects::domain::policy::{BUILT_IN, Policy, ReturnMode};
use connects::domain::proposal::ProposalView;
use connects::domain::purchase::PurchaseCommand;
use connects::domain::refusal::Refusal;
use connects::ledger::{Context, Ledger, Report};
use connects_tests::cost::Approves;
use connects_tests::table::{Table, account_id, at, instant, job_id, key, refusal, spend};
use connects_tests::wire::{Answer, Broken, Call, Clear, Emulated, Layer};
use futures::future::{BoxFuture, join_all, ready};
use serde_json::{Value, json};

use super::busy::{ledger, opened};
use super::proposals::{post, posted, propose, refund};

const NOW: &str = "2026-01-10T12:00:00Z";

/// Accounts of 50 Connects each, with a proposal on a job that costs so many.
async fn proposed(table: &Table, accounts: usize, cost: u64) -> (JobId, Vec<AccountId>) {
    let job = posted(table, cost).await;
    let submitted = (0..accounts).map(|_| async {
        let account = table.open(NOW).await;
        let command = propose(&job, cost);
        let answer = table
            .ledger
            .propose(&at(NOW), &account, None, &command)
            .await;
        answer.unwrap();
        account
    });
    let accounts = join_all(submitted).await;
    (job, accounts)
}

async fn close(table: &Table, now: &str, job: &JobId, reason: ClosureReason) -> JobView {
    table.ledger.close(&at(now), job, reason).await.unwrap()
}

async fn pass(table: &Table, now: &str) -> Report {
    let now = at(now);
    table.ledger.sweep_closures(&now, now.now).await.unwrap()
}

async fn job(table: &Table, job: &JobId) -> (JobState, Option<(u64, u64)>) {
    let view = table.ledger.job(&at(NOW), job).await.unwrap();
    let returns = view.returns.map(|Returns { done, total }| (done, total));
    (view.state, returns)
}

async fn view(table: &Table, account: &AccountId, job: &JobId) -> ProposalView {
    let found = table.ledger.proposal(&at(NOW), account, job).await;
    found.unwrap()
}

/// What came back, why or why not, and what the account has.
async fn returned(table: &Table, account: &AccountId, job: &JobId) -> (u64, String, u64) {
    let view = view(table, account, job).await;
    table.audit(account).await;
    (
        view.returned.get(),
        view.return_reason.unwrap().to_string(),
        view.balance.available.get(),
    )
}

fn told(back: u64, why: &str, available: u64) -> (u64, String, u64) {
    (back, why.to_owned(), available)
}

#[tokio::test]
async fn everybody_gets_back_what_they_paid_once() {
    let table = Table::new().await;
    let (id, accounts) = proposed(&table, 5, 45).await;
    let [first, partly, withdrawn, suspended, fifth] = &accounts[..] else {
        unreachable!()
    };
    let ledger = &table.ledger;
    let some = refund(&id, Some(7));
    ledger
        .refund(&at(NOW), partly, &key(), &some)
        .await
        .unwrap();
    ledger.withdraw(&at(NOW), withdrawn, &id).await.unwrap();
    let suspend = Amend {
        status: Some(Status::Suspended),
        email: None,
        payment_customer: None,
    };
    ledger.amend(&at(NOW), suspended, suspend).await.unwrap();

    let closing = close(&table, NOW, &id, ClosureReason::ClientCancelled).await;
    assert_eq!((closing.state, closing.returns), (JobState::Closing, None));
    let again = close(&table, NOW, &id, ClosureReason::ClientCancelled).await;
    assert_eq!(again, closing);
    let late = account_id();
    let late = ledger
        .propose(&at(NOW), &late, None, &propose(&id, 45))
        .await;
    assert_eq!(refusal(late), Refusal::AccountNotFound);
    let newcomer = table.open(NOW).await;
    let late = ledger
        .propose(&at(NOW), &newcomer, None, &propose(&id, 45))
        .await;
    assert_eq!(refusal(late), Refusal::JobClosed);
    let late = ledger.withdraw(&at(NOW), first, &id).await;
    assert_eq!(refusal(late), Refusal::JobClosed);

    let report = pass(&table, NOW).await;
    assert_eq!((report.jobs, report.proposals, report.failed), (1, 5, 0));
    assert_eq!(job(&table, &id).await, (JobState::Closed, Some((5, 5))));
    let all = told(45, "client_cancelled", 50);
    assert_eq!(returned(&table, first, &id).await, all);
    assert_eq!(returned(&table, partly, &id).await, all);
    assert_eq!(returned(&table, suspended, &id).await, all);
    assert_eq!(returned(&table, fifth, &id).await, all);
    let kept = told(0, "withdrawn", 5);
    assert_eq!(returned(&table, withdrawn, &id).await, kept);
    // The entry is about the job, and the Connects are where they came from, last taken first.
    let head = table.state(first).await.head;
    assert_eq!(
        (head.amount, head.reason.as_str()),
        (45, "client_cancelled")
    );
    assert_eq!(head.reference.unwrap().as_str(), format!("job:{id}"));
    let back: Vec<u64> = head.slices.iter().map(|slice| slice.amount.get()).collect();
    assert_eq!(back, [5, 40]);

    let heads = async || join_all(accounts.iter().map(|account| table.state(account))).await;
    let before = heads().await;
    let closed = close(&table, NOW, &id, ClosureReason::ClientCancelled).await;
    assert_eq!(closed.state, JobState::Closed);
    let report = pass(&table, NOW).await;
    assert_eq!((report.jobs, report.proposals), (0, 0));
    let keys = vec![(id.clone(), ClosureReason::ClientCancelled)];
    let report = ledger.carry_out(&at(NOW), keys).await.unwrap();
    assert_eq!((report.jobs, report.proposals), (1, 0));
    assert_eq!(heads().await, before);
}

#[tokio::test]
async fn a_later_reason_makes_its_own_pass() {
    let table = Table::new().await;
    let (id, accounts) = proposed(&table, 3, 8).await;
    let withdrawn = &accounts[2];
    table
        .ledger
        .withdraw(&at(NOW), withdrawn, &id)
        .await
        .unwrap();
    close(&table, NOW, &id, ClosureReason::Expired).await;
    pass(&table, NOW).await;
    assert_eq!(job(&table, &id).await, (JobState::Closed, Some((3, 3))));
    let kept = told(0, "job_expired", 42);
    assert_eq!(returned(&table, &accounts[0], &id).await, kept);

    // Two more at once; the job is closed again when both are carried out.
    let later = "2026-01-11T12:00:00Z";
    close(&table, NOW, &id, ClosureReason::ClientCancelled).await;
    let closing = close(&table, later, &id, ClosureReason::Fraud).await;
    assert_eq!((closing.state, closing.returns), (JobState::Closing, None));
    let [cancelled, fraud] = [ClosureReason::ClientCancelled, ClosureReason::Fraud]
        .map(|reason| vec![(id.clone(), reason)]);
    let now = at(later);
    let both = [cancelled, fraud].map(|closure| table.ledger.carry_out(&now, closure));
    for report in join_all(both).await {
        assert_eq!(report.unwrap().failed, 0);
    }
    assert_eq!(job(&table, &id).await, (JobState::Closed, Some((3, 3))));
    for account in &accounts {
        let (back, why, available) = returned(&table, account, &id).await;
        assert_eq!((back, available), (8, 50));
        let is_withdrawn = account == withdrawn;
        assert!(
            why == "fraud" || (why == "client_cancelled" && !is_withdrawn),
            "{why}"
        );
        let returns = table.journal(account).await;
        let returns = returns.iter().filter(|entry| entry.amount == 8).count();
        assert_eq!(returns, 1);
    }
}

#[tokio::test]
async fn a_contract_counts_if_it_was_there_when_the_job_was_closed() {
    let table = Table::new().await;
    let ledger = &table.ledger;
    for (contracted_first, back, why, available) in [
        (true, 0, "had_contract", 42),
        (false, 8, "client_cancelled", 50),
    ] {
        let (id, accounts) = proposed(&table, 1, 8).await;
        let contract = async || ledger.contract(&at(NOW), &id, &accounts[0]).await.unwrap();
        if contracted_first {
            contract().await;
        }
        close(&table, NOW, &id, ClosureReason::ClientCancelled).await;
        if !contracted_first {
            assert_eq!(contract().await.state, JobState::Closing);
        }
        pass(&table, NOW).await;
        let told = told(back, why, available);
        assert_eq!(returned(&table, &accounts[0], &id).await, told);
    }
}

/// Whoever races the closure is refused, or gets everything back.
#[tokio::test]
async fn a_proposal_that_races_the_closure_is_refused_or_returned() {
    let table = Table::new().await;
    let ledger = &table.ledger;
    let id = posted(&table, 8).await;
    let accounts = join_all((0..12).map(|_| table.open(NOW))).await;
    let (now, command) = (at(NOW), propose(&id, 8));
    let all_of = async |accounts: &[AccountId]| {
        let propose = |account| ledger.propose(&now, account, None, &command);
        join_all(accounts.iter().map(propose)).await
    };
    let closing = async {
        ledger.close(&now, &id, ClosureReason::Fraud).await.unwrap();
        pass(&table, NOW).await
    };
    // Some before, some meanwhile, some after it.
    let mut answers = all_of(&accounts[..2]).await;
    let (racing, _) = futures::join!(all_of(&accounts[2..10]), closing);
    answers.extend(racing);
    answers.extend(all_of(&accounts[10..]).await);
    pass(&table, NOW).await;
    let submitted = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert!((2..=10).contains(&submitted), "{submitted}");
    let state = (JobState::Closed, Some((submitted, submitted)));
    assert_eq!(job(&table, &id).await, state);
    for (account, answer) in accounts.iter().zip(answers) {
        match answer {
            Ok(_) => assert_eq!(returned(&table, account, &id).await, told(8, "fraud", 50)),
            Err(error) => {
                assert_eq!(refusal::<()>(Err(error)), Refusal::JobClosed);
                assert_eq!(table.state(account).await.balance().available.get(), 50);
            }
        }
    }
}

/// Runs until it was woken so often: as a process that dies in the middle of it.
async fn dies_after<T>(wakings: u32, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = wakings;
    poll_fn(|cx| {
        let Some(rest) = left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        left = rest;
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_pass_may_die_anywhere_and_the_next_goes_on() {
    let table = Table::new().await;
    let (id, accounts) = proposed(&table, 30, 8).await;
    close(&table, NOW, &id, ClosureReason::TermsViolation).await;
    let mut deaths = 0;
    let mut wakings = 1;
    while dies_after(wakings, pass(&table, NOW)).await.is_none() {
        deaths += 1;
        wakings += wakings.div_ceil(3);
        assert!(deaths < 100, "no end of it");
    }
    assert!(deaths > 3, "{deaths}");
    assert_eq!(job(&table, &id).await, (JobState::Closed, Some((30, 30))));
    for account in &accounts {
        assert_eq!(
            returned(&table, account, &id).await,
            told(8, "terms_violation", 50)
        );
        assert_eq!(table.journal(account).await.len(), 5);
    }
}

#[tokio::test]
async fn passes_at_the_same_time_do_it_once() {
    let table = Table::new().await;
    // More than a page of them.
    let (id, accounts) = proposed(&table, 230, 8).await;
    close(&table, NOW, &id, ClosureReason::Fraud).await;
    let reports = join_all((0..3).map(|_| pass(&table, NOW))).await;
    let settled: u64 = reports.iter().map(|report| report.proposals).sum();
    assert!(settled >= 230, "{settled}");
    assert!(reports.iter().all(|report| report.failed == 0));
    assert_eq!(job(&table, &id).await, (JobState::Closed, Some((230, 230))));
    for account in &accounts {
        assert_eq!(returned(&table, account, &id).await, told(8, "fraud", 50));
        assert_eq!(table.journal(account).await.len(), 5);
    }
}

#[tokio::test]
async fn a_pass_stops_before_its_deadline_and_says_so() {
    let table = Table::new().await;
    let (id, accounts) = proposed(&table, 2, 8).await;
    close(&table, NOW, &id, ClosureReason::Fraud).await;
    let over = Context {
        deadline: tokio::time::Instant::now(),
        ..at(NOW)
    };
    let keys = vec![(id.clone(), ClosureReason::Fraud)];
    let report = table.ledger.carry_out(&over, keys).await.unwrap();
    assert!(report.unfinished && report.proposals == 0);
    assert_eq!(job(&table, &id).await.0, JobState::Closing);
    pass(&table, NOW).await;
    assert_eq!(
        returned(&table, &accounts[0], &id).await,
        told(8, "fraud", 50)
    );
}

/// Late as it may be, what comes back does so at the closure's time; in an account that has gone on
/// since, after what it did.
#[tokio::test]
async fn returns_are_of_the_closures_time() {
    let table = Table::new().await;
    let (id, accounts) = proposed(&table, 2, 8).await;
    let [quiet, busy] = &accounts[..] else {
        unreachable!()
    };
    let closed = "2026-01-20T12:00:00Z";
    close(&table, closed, &id, ClosureReason::ClientCancelled).await;
    let since = "2026-01-25T12:00:00Z";
    let one = spend(1);
    let spent = table.ledger.spend(&at(since), busy, &key(), &one).await;
    spent.unwrap();
    pass(&table, "2026-02-20T12:00:00Z").await;
    for (account, at) in [(quiet, closed), (busy, since)] {
        assert_eq!(table.state(account).await.head.at, instant(at));
        table.audit(account).await;
    }
}

/// Spent 8 = 3 from a lot that has lapsed by the return and 5 from one that has not, by each of the
/// policy's ways to return: what the lots hold then, and until when.
#[tokio::test]
async fn the_policy_says_where_returns_go() {
    let mut policy = Policy::parse(BUILT_IN).unwrap();
    for (mode, lots) in [
        (
            ReturnMode::OriginalWithFloor,
            &[("grace", 3, "2026-04-19"), ("purchase", 10, "2026-12-01")][..],
        ),
        (ReturnMode::Original, &[("purchase", 10, "2026-12-01")]),
        (
            ReturnMode::Fresh,
            &[
                ("purchase", 5, "2026-12-01"),
                ("purchase", 5, "2027-03-20"),
                ("purchase", 3, "2027-03-20"),
            ],
        ),
    ] {
        policy.returns.mode = mode;
        let table = Table::under(policy.clone()).await;
        let ledger = &table.ledger;
        let account = table.open_empty("2025-03-10T12:00:00Z").await;
        let ten = PurchaseCommand {
            quantity: 10,
            promo_code: None,
            payment_method: None,
        };
        for day in ["2025-03-10T12:00:00Z", "2025-12-01T12:00:00Z"] {
            let (day, key) = (at(day), key());
            let bought = ledger.purchase(&day, &Approves, &account, &key, &ten);
            bought.await.unwrap();
        }
        let (day, seven) = (at("2026-03-01T12:00:00Z"), spend(7));
        ledger.spend(&day, &account, &key(), &seven).await.unwrap();
        let id = posted(&table, 8).await;
        let command = propose(&id, 8);
        ledger
            .propose(&day, &account, None, &command)
            .await
            .unwrap();

        let day = "2026-03-20T12:00:00Z";
        close(&table, day, &id, ClosureReason::ClientCancelled).await;
        pass(&table, day).await;
        let (day, now) = (at(day), instant(day));
        ledger.sweep_expiry(&day, now).await.unwrap();
        let held = ledger.lots(&day, &account).await.unwrap();
        let held: Vec<(&str, u64, String)> = held
            .iter()
            .map(|lot| {
                (
                    lot.birth().source.as_str(),
                    lot.remaining().get(),
                    lot.birth().expires_on.to_string(),
                )
            })
            .collect();
        let expected: Vec<(&str, u64, String)> = lots
            .iter()
            .map(|(source, left, last)| (*source, *left, (*last).to_owned()))
            .collect();
        assert_eq!(held, expected, "{mode:?}");
        let sum: i64 = table
            .journal(&account)
            .await
            .iter()
            .map(|entry| entry.amount)
            .sum();
        assert_eq!(
            sum,
            lots.iter().map(|(_, left, _)| *left as i64).sum::<i64>()
        );
        table.audit(&account).await;
    }
}

/// Lets one proposal not be seen, or not be read, for as long as it is told to.
#[derive(Debug)]
struct Veiled {
    proposal: String,
    what: AtomicU8,
}

const HIDDEN: u8 = 1;
const BROKEN: u8 = 2;

impl Veiled {
    fn new(account: &AccountId) -> Arc<Self> {
        Arc::new(Self {
            proposal: format!("PROPOSAL#{account}"),
            what: AtomicU8::new(0),
        })
    }

    fn now(&self, what: u8) {
        self.what.store(what, Relaxed);
    }
}

impl Layer for Veiled {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let mut answer = table.answer(&call);
        let is_it = |item: &Value| item["sk"]["S"] == json!(self.proposal);
        if let Some(items) = answer.body["Items"].as_array_mut() {
            match self.what.load(Relaxed) {
                HIDDEN => items.retain(|item| !is_it(item)),
                BROKEN => {
                    for item in items.iter_mut().filter(|item| is_it(item)) {
                        item["returned"]["N"] = json!("9");
                    }
                }
                _ => {}
            }
            answer.body["Count"] = json!(items.len());
        }
        Box::pin(ready(Ok(answer)))
    }
}

/// Three accounts with proposals of 8 on a job, the second of them behind a veil.
async fn veiled(cost: u64) -> (Ledger, Arc<Veiled>, JobId, Vec<AccountId>) {
    let (table, first) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let job = job_id();
    let mut accounts = vec![first];
    for _ in 0..2 {
        let id = account_id();
        let open = Open {
            kind: Kind::Freelancer,
            person_id: PersonId::try_new(id.as_str()).unwrap(),
            email: None,
            payment_customer: None,
            opened_on: None,
        };
        plain.open(&at(NOW), &id, open).await.unwrap();
        accounts.push(id);
    }
    post(&plain, &job, cost).await;
    for account in &accounts {
        let command = propose(&job, cost);
        plain
            .propose(&at(NOW), account, None, &command)
            .await
            .unwrap();
    }
    let veil = Veiled::new(&accounts[1]);
    (ledger(&table, veil.clone()), veil, job, accounts)
}

async fn back(ledger: &Ledger, accounts: &[AccountId], job: &JobId) -> Vec<u64> {
    let mut back = vec![];
    for account in accounts {
        let found = ledger.proposal(&at(NOW), account, job).await;
        back.push(found.unwrap().returned.get());
    }
    back
}

/// A proposal that a query did not show, though it came before the closure, is found by the last look.
#[tokio::test(start_paused = true)]
async fn a_straggler_gets_its_own_back_too() {
    let (ledger, veil, job, accounts) = veiled(8).await;
    let fraud = ClosureReason::Fraud;
    ledger.close(&at(NOW), &job, fraud).await.unwrap();
    veil.now(HIDDEN);
    let sweep = async |now: &str| {
        let now = at(now);
        ledger.sweep_closures(&now, now.now).await.unwrap()
    };
    assert_eq!(sweep(NOW).await.proposals, 2);
    let closed = ledger.job(&at(NOW), &job).await.unwrap();
    assert_eq!(closed.state, JobState::Closed);
    veil.now(0);
    assert_eq!(sweep("2026-01-10T12:14:00Z").await.proposals, 0);
    assert_eq!(back(&ledger, &accounts, &job).await, [8, 0, 8]);
    let last_look = sweep("2026-01-10T12:15:00Z").await;
    assert_eq!((last_look.jobs, last_look.proposals), (1, 1));
    assert_eq!(back(&ledger, &accounts, &job).await, [8; 3]);
    assert_eq!(sweep("2026-01-10T12:30:00Z").await.jobs, 0);
}

/// One that can't be read keeps the job from its end, and nobody else from their Connects.
#[tokio::test(start_paused = true)]
async fn an_unreadable_proposal_is_stepped_over() {
    let (ledger, veil, job, accounts) = veiled(8).await;
    let fraud = ClosureReason::Fraud;
    ledger.close(&at(NOW), &job, fraud).await.unwrap();
    veil.now(BROKEN);
    let carry_out = async || {
        let closure = vec![(job.clone(), fraud)];
        ledger.carry_out(&at(NOW), closure).await.unwrap()
    };
    let shown = async || {
        let view = ledger.job(&at(NOW), &job).await.unwrap();
        (
            view.state,
            view.returns.map(|returns| (returns.done, returns.total)),
        )
    };
    let mut failures = vec![];
    for settled in [2, 0] {
        let report = carry_out().await;
        assert_eq!((report.proposals, report.failed), (settled, 1));
        failures.extend(report.failures);
        assert_eq!(shown().await, (JobState::Closing, Some((2, 3))));
    }
    assert_eq!(failures, [accounts[1].to_string(), accounts[1].to_string()]);
    veil.now(0);
    assert_eq!(back(&ledger, &accounts, &job).await, [8, 0, 8]);
    assert_eq!(carry_out().await.proposals, 1);
    assert_eq!(shown().await, (JobState::Closed, Some((3, 3))));
    assert_eq!(back(&ledger, &accounts, &job).await, [8; 3]);
}
