//! Proposals: one for each account and job, at the price that the job has at that moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use connects::domain::ids::{AccountId, JobId};
use connects::domain::job::{PostJob, Pricing};
use connects::domain::key::IdempotencyKey;
use connects::domain::proposal::{
    Decision, FreeReason, ProposalState, ProposalView, ProposeCommand,
};
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::domain::refusal::Refusal;
use connects::domain::units::Connects;
use connects::ledger::{Error, Ledger, Outcome};
use connects_tests::table::{Table, account_id, at, audit, instant, job_id, key, refusal};
use connects_tests::wire::{Answer, Broken, Call, Clear, Emulated, Layer};
use futures::future::{BoxFuture, join_all, ready};
use serde_json::json;

use super::busy::{TABLE, ledger, opened};

const NOW: &str = "2026-01-10T12:00:00Z";

pub fn propose(job: &JobId, expected_cost: u64) -> ProposeCommand {
    ProposeCommand::new(job.clone(), Connects::new(expected_cost))
}

pub async fn post(ledger: &Ledger, job: &JobId, cost: u64) -> u64 {
    let post = PostJob {
        posted_at: instant(NOW),
        pricing: Pricing::Stated(Connects::new(cost)),
    };
    let posted = ledger.post_job(&at(NOW), job, &post).await;
    posted.unwrap().1.version
}

pub async fn posted(table: &Table, cost: u64) -> JobId {
    let job = job_id();
    post(&table.ledger, &job, cost).await;
    job
}

pub fn refund(job: &JobId, amount: Option<u64>) -> RefundCommand {
    RefundCommand {
        of: RefundOf::JobId(job.clone()),
        amount: amount.map(Connects::new),
        reason: RefundReason::Goodwill,
    }
}

fn summary(view: &ProposalView) -> (u64, ProposalState, u64, Option<&str>, u64) {
    let reason = view.return_reason.as_ref();
    let available = view.balance.available.get();
    (
        view.cost.get(),
        view.state,
        view.returned.get(),
        reason.map(|reason| reason.as_str()),
        available,
    )
}

#[tokio::test]
async fn a_proposal_from_its_submission_to_the_last_refund() {
    use ProposalState::{Submitted, Withdrawn};
    let table = Table::new().await;
    let (ledger, now) = (&table.ledger, at(NOW));
    let (account, job) = (table.open(NOW).await, posted(&table, 45).await);
    let missing = ledger.proposal(&now, &account, &job).await;
    assert_eq!(refusal(missing), Refusal::ProposalNotFound);

    let (one, command) = (key(), propose(&job, 45));
    let submit = async |key: Option<&IdempotencyKey>, command| {
        ledger.propose(&now, &account, key, command).await
    };
    let first = submit(Some(&one), &command).await.unwrap();
    let Outcome::Applied(first) = first else {
        panic!("{first:?}");
    };
    assert_eq!(summary(&first), (45, Submitted, 0, None, 5));
    let head = table.state(&account).await.head;
    assert_eq!((head.amount, head.reason.as_str()), (-45, "proposal"));
    assert_eq!(head.reference.unwrap().as_str(), format!("job:{job}"));

    let decided = async |outcome| ledger.decide(&now, &account, &job, outcome).await.unwrap();
    let declined = decided(Decision::ClientDeclined).await;
    let why = Some("client_declined");
    assert_eq!(summary(&declined), (45, Submitted, 0, why, 5));
    assert_eq!(decided(Decision::ClientDeclined).await, declined);
    let hired = decided(Decision::Hired).await;
    let why = Some("had_contract");
    assert_eq!(summary(&hired), (45, Submitted, 0, why, 5));
    let withdrawn = ledger.withdraw(&now, &account, &job).await.unwrap();
    let why = Some("withdrawn");
    assert_eq!(summary(&withdrawn), (45, Withdrawn, 0, why, 5));
    let again = ledger.withdraw(&now, &account, &job).await.unwrap();
    assert_eq!(again, withdrawn);

    // Refunds of it go back to its lots, the last taken first.
    let refunded = ledger
        .refund(&now, &account, &key(), &refund(&job, Some(7)))
        .await;
    let refunded = refunded.unwrap().into_inner();
    let lots: Vec<u64> = refunded.lots.iter().map(|lot| lot.amount.get()).collect();
    assert_eq!(lots, [5, 2]);
    let now_back = ledger.proposal(&now, &account, &job).await.unwrap();
    let why = Some("goodwill");
    assert_eq!(summary(&now_back), (45, Withdrawn, 7, why, 12));
    let over = ledger
        .refund(&now, &account, &key(), &refund(&job, Some(39)))
        .await;
    let returnable = Connects::new(38);
    assert_eq!(refusal(over), Refusal::RefundExceedsSpend { returnable });
    let rest = ledger
        .refund(&now, &account, &key(), &refund(&job, None))
        .await;
    assert_eq!(rest.unwrap().into_inner().amount, returnable);

    // A retry is told what the first was; anybody else that there is one, as it stands.
    let replay = submit(Some(&one), &command).await.unwrap();
    assert_eq!(replay, Outcome::Replayed(first));
    let other = propose(&job, 46);
    let reused = submit(Some(&one), &other).await;
    assert_eq!(refusal(reused), Refusal::IdempotencyKeyReused);
    for key in [None, Some(&key())] {
        let stands = ledger.proposal(&now, &account, &job).await.unwrap();
        assert_eq!(summary(&stands), (45, Withdrawn, 45, why, 50));
        let existing = json!(stands);
        let refused = refusal(submit(key, &command).await);
        assert_eq!(refused, Refusal::AlreadyProposed { existing });
    }
    assert_eq!(table.audit(&account).await.balance(), 50);
}

#[tokio::test]
async fn a_free_proposal_is_recorded_and_takes_nothing() {
    let table = Table::new().await;
    let (ledger, now) = (&table.ledger, at(NOW));
    let agency = table.open_empty(NOW).await;
    for (cost, claimed, told) in [
        (8, Some(FreeReason::TalentCloud), FreeReason::TalentCloud),
        (0, None, FreeReason::ZeroCostJob),
    ] {
        let job = posted(&table, cost).await;
        let command = ProposeCommand {
            free_reason: claimed,
            ..propose(&job, 0)
        };
        let submitted = ledger.propose(&now, &agency, None, &command).await;
        let submitted = submitted.unwrap().into_inner();
        assert_eq!(submitted.cost, Connects::ZERO);
        assert_eq!(submitted.free_reason, Some(told));
        let head = table.state(&agency).await.head;
        assert_eq!(head.reference.unwrap().as_str(), format!("job:{job}"));
        let nothing = ledger
            .refund(&now, &agency, &key(), &refund(&job, None))
            .await;
        let returnable = Connects::ZERO;
        assert_eq!(refusal(nothing), Refusal::RefundExceedsSpend { returnable });
    }
    assert_eq!(table.audit(&agency).await.balance(), 0);
}

#[tokio::test]
async fn what_is_not_there() {
    let table = Table::new().await;
    let (ledger, now) = (&table.ledger, at(NOW));
    let (account, job) = (table.open(NOW).await, posted(&table, 8).await);
    let (nobody, nowhere) = (account_id(), job_id());
    let submit = async |account, job| {
        let command = propose(job, 8);
        refusal(ledger.propose(&now, account, None, &command).await)
    };
    assert_eq!(submit(&nobody, &job).await, Refusal::AccountNotFound);
    assert_eq!(submit(&account, &nowhere).await, Refusal::JobNotFound);
    for (account, refused) in [
        (&nobody, Refusal::AccountNotFound),
        (&account, Refusal::ProposalNotFound),
    ] {
        let found = ledger.proposal(&now, account, &job).await;
        assert_eq!(refusal(found), refused);
        let withdrawn = ledger.withdraw(&now, account, &job).await;
        assert_eq!(refusal(withdrawn), refused);
        let decided = ledger.decide(&now, account, &job, Decision::Hired).await;
        assert_eq!(refusal(decided), refused);
        let back = ledger
            .refund(&now, account, &key(), &refund(&job, None))
            .await;
        assert_eq!(refusal(back), refused);
    }
}

#[tokio::test]
async fn of_many_at_once_one_account_submits_one() {
    let table = Table::new().await;
    let (ledger, now) = (&table.ledger, at(NOW));
    let (account, job) = (table.open(NOW).await, posted(&table, 8).await);
    let command = propose(&job, 8);
    let one = key();
    let same = (0..10).map(|_| ledger.propose(&now, &account, Some(&one), &command));
    let others = (0..10).map(|_| ledger.propose(&now, &account, None, &command));
    let (same, others) = futures::join!(join_all(same), join_all(others));
    let answers = || same.iter().chain(&others);
    let applied = answers().filter(|answer| matches!(answer, Ok(Outcome::Applied(_))));
    assert_eq!(applied.count(), 1);
    for answer in answers() {
        match answer {
            Ok(outcome) => assert_eq!(outcome.clone().into_inner().balance.available.get(), 42),
            Err(Error::Refused(Refusal::AlreadyProposed { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(table.audit(&account).await.balance(), 42);
}

/// While the price goes up and down, each proposal is charged what its version of it says.
#[tokio::test]
async fn each_is_charged_a_price_that_the_job_had() {
    let table = Table::new().await;
    let ledger = &table.ledger;
    let job = posted(&table, 5).await;
    let accounts: Vec<AccountId> = join_all((0..24).map(|_| table.open(NOW))).await;
    let reprice = async {
        let mut prices = BTreeMap::from([(1, 5)]);
        for cost in [7, 3, 8, 2, 9, 4, 6, 10] {
            prices.insert(post(ledger, &job, cost).await, cost);
        }
        prices
    };
    let submit = accounts.iter().map(async |account| {
        let command = propose(&job, 7);
        (
            account,
            ledger.propose(&at(NOW), account, None, &command).await,
        )
    });
    let (prices, answers) = futures::join!(reprice, join_all(submit));
    for (account, answer) in answers {
        let balance = table.audit(account).await.balance();
        match answer {
            Ok(submitted) => {
                let cost = submitted.into_inner().cost.get();
                let stored = ledger.store().proposal(&job, account).await;
                let stored = stored.unwrap().unwrap();
                assert_eq!(prices[&stored.job_version], cost);
                assert!(cost <= 7);
                assert_eq!(balance, 50 - cost);
            }
            Err(Error::Refused(Refusal::PriceChanged { required, .. })) => {
                assert!(required.get() > 7);
                assert_eq!(balance, 50);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Refunds go by the account, withdrawal and decision don't: none writes over another.
#[tokio::test]
async fn what_happens_to_a_proposal_at_once_all_happens() {
    let table = Table::new().await;
    let (ledger, now) = (&table.ledger, at(NOW));
    for _ in 0..4 {
        let (account, job) = (table.open(NOW).await, posted(&table, 8).await);
        let command = propose(&job, 8);
        let submitted = ledger.propose(&now, &account, None, &command).await;
        submitted.unwrap();
        let back = refund(&job, Some(3));
        let refunds = (0..6).map(async |_| {
            let refunded = ledger.refund(&now, &account, &key(), &back).await;
            usize::from(refunded.is_ok())
        });
        let (refunded, withdrawn, hired) = futures::join!(
            join_all(refunds),
            ledger.withdraw(&now, &account, &job),
            ledger.decide(&now, &account, &job, Decision::Hired),
        );
        withdrawn.unwrap();
        hired.unwrap();
        assert_eq!(refunded.iter().sum::<usize>(), 2);
        let last = ledger.proposal(&now, &account, &job).await.unwrap();
        let why = Some("goodwill");
        assert_eq!(summary(&last), (8, ProposalState::Withdrawn, 6, why, 48));
        assert_eq!(last.outcome, Some(Decision::Hired));
        assert_eq!(table.audit(&account).await.balance(), 48);
    }
}

/// Changes the job behind the back of the first transaction.
#[derive(Debug)]
struct Meanwhile {
    change: Call,
    done: AtomicBool,
}

impl Meanwhile {
    fn new(job: &JobId, version: u64, cost: u64, state: &str) -> Arc<Self> {
        let request = json!({
            "TableName": TABLE,
            "Key": { "pk": { "S": format!("JOB#{job}") }, "sk": { "S": "JOB" } },
            "UpdateExpression": REPRICE,
            "ExpressionAttributeNames": { "#state": "state" },
            "ExpressionAttributeValues": {
                ":version": { "N": version.to_string() },
                ":cost": { "N": cost.to_string() },
                ":state": { "S": state },
            },
        });
        Arc::new(Self {
            change: Call {
                operation: "UpdateItem".to_owned(),
                request,
            },
            done: AtomicBool::new(false),
        })
    }
}

impl Layer for Meanwhile {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        if call.operation == "TransactWriteItems" && !self.done.swap(true, Relaxed) {
            let changed = table.answer(&self.change);
            assert_eq!(changed.status, 200, "{:?}", changed.body);
        }
        Box::pin(ready(Ok(table.answer(&call))))
    }
}

const REPRICE: &str = "SET version = :version, connects_required = :cost, #state = :state";

/// What was read of the job is checked in the transaction that relies on it.
#[tokio::test(start_paused = true)]
async fn a_job_that_changes_under_a_proposal() {
    let (table, account) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let now = at("2025-01-10T10:00:00Z");
    let expected = Connects::new(8);
    // The job as it becomes after it was read: its version, cost and state, and what follows.
    for (version, cost, state, answer) in [
        (2, 7, "open", Ok(7)),
        (
            2,
            9,
            "open",
            Err(Refusal::PriceChanged {
                expected,
                required: Connects::new(9),
            }),
        ),
        (1, 8, "closing", Err(Refusal::JobClosed)),
        (1, 8, "closed", Err(Refusal::JobClosed)),
        (3, 8, "open", Ok(8)),
    ] {
        let job = job_id();
        post(&plain, &job, 8).await;
        let layer = Meanwhile::new(&job, version, cost, state);
        let racing = ledger(&table, layer);
        let before = plain.account(&now, &account).await.unwrap().balance;
        let told = racing
            .propose(&now, &account, None, &propose(&job, 8))
            .await;
        let after = plain.account(&now, &account).await.unwrap().balance;
        let stored = plain.store().proposal(&job, &account).await.unwrap();
        match answer {
            Ok(cost) => {
                assert_eq!(told.unwrap().into_inner().cost.get(), cost);
                assert_eq!(before.available - after.available, Connects::new(cost));
                assert_eq!(stored.unwrap().job_version, version);
            }
            Err(refused) => {
                assert_eq!(refusal(told), refused);
                assert_eq!((before, stored), (after, None));
            }
        }
    }
    audit(plain.store(), &account).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_closes_under_a_withdrawal() {
    let (table, account) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let now = at("2025-01-10T10:00:00Z");
    let job = job_id();
    post(&plain, &job, 8).await;
    let command = propose(&job, 8);
    let submitted = plain.propose(&now, &account, None, &command).await;
    submitted.unwrap();
    let stored = plain.store().proposal(&job, &account).await.unwrap();
    let layer = Meanwhile::new(&job, 1, 8, "closing");
    let racing = ledger(&table, layer);
    let withdrawn = racing.withdraw(&now, &account, &job).await;
    assert_eq!(refusal(withdrawn), Refusal::JobClosed);
    assert_eq!(
        plain.store().proposal(&job, &account).await.unwrap(),
        stored
    );
}

/// Commits the first transaction and loses its answer.
#[derive(Debug, Default)]
pub struct Speechless(AtomicBool);

impl Layer for Speechless {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let answer = table.answer(&call);
        let lost = call.operation == "TransactWriteItems" && !self.0.swap(true, Relaxed);
        Box::pin(ready(if lost { Err(Broken::Reset) } else { Ok(answer) }))
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_in_the_proposal() {
    let (table, account) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let now = at("2025-01-10T10:00:00Z");
    // With a key of the client's or without.
    for (key, left) in [(Some(key()), 25), (None, 0)] {
        let job = job_id();
        post(&plain, &job, 25).await;
        let losing = ledger(&table, Arc::new(Speechless::default()));
        let submitted = losing
            .propose(&now, &account, key.as_ref(), &propose(&job, 25))
            .await
            .unwrap();
        let Outcome::Replayed(submitted) = submitted else {
            panic!("{submitted:?}");
        };
        assert_eq!(submitted.balance.available, Connects::new(left));
    }
    assert_eq!(audit(plain.store(), &account).await.balance(), 0);
}
