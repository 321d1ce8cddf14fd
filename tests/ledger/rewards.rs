//! Rewards: each once, beside whatever else gives a proposal's Connects back.

use std::sync::Arc;

use connects::domain::account::{Amend, Status};
use connects::domain::closure::ClosureReason;
use connects::domain::ids::{AccountId, JobId};
use connects::domain::job::{PostJob, Pricing};
use connects::domain::key::IdempotencyKey;
use connects::domain::proposal::ProposeCommand;
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::domain::refusal::Refusal;
use connects::domain::reward::{Client, RewardAnswer, RewardCommand};
use connects::domain::units::{Connects, Money};
use connects::ledger::{Error, Ledger, Outcome};
use connects_tests::table::{Table, account_id, at, audit, instant, job_id, key, refusal};
use connects_tests::wire::Clear;
use futures::future::join_all;
use serde_json::json;

use super::busy::{ledger, opened};
use super::proposals::Speechless;

const NOW: &str = "2026-01-10T12:00:00Z";

fn interview(job: &JobId, hires: u64) -> RewardCommand {
    RewardCommand::InterviewWon {
        job_id: job.clone(),
        client: Client {
            hires,
            spend: Money {
                amount: 500,
                currency: "USD".to_owned(),
            },
        },
    }
}

/// A proposal of that account on a new job of that cost.
async fn proposed(ledger: &Ledger, account: &AccountId, cost: u64, now: &str) -> JobId {
    let (job, now, cost) = (job_id(), at(now), Connects::new(cost));
    let post = PostJob {
        posted_at: instant(NOW),
        pricing: Pricing::Stated(cost),
    };
    ledger.post_job(&now, &job, &post).await.unwrap();
    let command = ProposeCommand::new(job.clone(), cost);
    let submitted = ledger.propose(&now, account, None, &command).await;
    submitted.unwrap();
    job
}

fn summary(answer: &RewardAnswer) -> (u64, u64, u64) {
    let available = answer.balance.available;
    (answer.refunded.get(), answer.awarded.get(), available.get())
}

/// One account, rewarded.
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

    async fn proposed(&self, cost: u64) -> JobId {
        proposed(self.ledger(), &self.account, cost, NOW).await
    }

    async fn reward(
        &self,
        key: Option<&IdempotencyKey>,
        command: &RewardCommand,
    ) -> Result<Outcome<RewardAnswer>, Error> {
        self.ledger()
            .reward(&at(NOW), &self.account, key, command)
            .await
    }

    async fn applied(&self, command: &RewardCommand) -> RewardAnswer {
        match self.reward(None, command).await {
            Ok(Outcome::Applied(answer)) => answer,
            other => panic!("not applied: {other:?}"),
        }
    }

    async fn refund(&self, job: &JobId, amount: u64) -> Result<u64, Error> {
        let command = RefundCommand {
            of: RefundOf::JobId(job.clone()),
            amount: Some(Connects::new(amount)),
            reason: RefundReason::Goodwill,
        };
        let refunded = self
            .ledger()
            .refund(&at(NOW), &self.account, &key(), &command)
            .await?;
        Ok(refunded.into_inner().amount.get())
    }

    async fn close(&self, job: &JobId) {
        let now = at(NOW);
        let reason = ClosureReason::Fraud;
        self.ledger().close(&now, job, reason).await.unwrap();
        let closures = vec![(job.clone(), reason)];
        let report = self.ledger().carry_out(&now, closures).await.unwrap();
        assert_eq!(report.failed, 0);
    }

    async fn returned(&self, job: &JobId) -> (u64, Option<String>) {
        let found = self.ledger().proposal(&at(NOW), &self.account, job).await;
        let found = found.unwrap();
        let reason = found.return_reason.map(|reason| reason.to_string());
        (found.returned.get(), reason)
    }

    async fn balance(&self) -> u64 {
        self.table.audit(&self.account).await.balance()
    }
}

#[tokio::test]
async fn each_achievement_is_rewarded_once() {
    let world = World::new().await;
    let job = world.proposed(16).await;
    let mut available = 34;
    for (command, refunded, awarded) in [
        (RewardCommand::RisingTalent, 0, 30),
        (RewardCommand::SkillCertification, 0, 10),
        (interview(&job, 1), 10, 0),
    ] {
        let one = key();
        let first = world.reward(Some(&one), &command).await.unwrap();
        available += refunded + awarded;
        let Outcome::Applied(first) = first else {
            panic!("{first:?}");
        };
        assert_eq!(summary(&first), (refunded, awarded, available));
        let head = world.table.state(&world.account).await.head;
        let replay = world.reward(Some(&one), &command).await.unwrap();
        assert_eq!(replay, Outcome::Replayed(first.clone()));
        let existing = json!(first);
        for key in [None, Some(&key())] {
            let refused = refusal(world.reward(key, &command).await);
            let existing = existing.clone();
            assert_eq!(refused, Refusal::RewardAlreadyGiven { existing });
        }
        assert_eq!(world.table.state(&world.account).await.head, head);
    }
    assert_eq!(
        world.returned(&job).await,
        (10, Some("interview_refunded".to_owned()))
    );

    // Another client of the same interview, under one key or another.
    let one = key();
    let second = world.proposed(8).await;
    let first = world.reward(Some(&one), &interview(&second, 1)).await;
    assert_eq!(summary(&first.unwrap().into_inner()), (8, 2, 86));
    let reused = world.reward(Some(&one), &interview(&second, 2)).await;
    assert_eq!(refusal(reused), Refusal::IdempotencyKeyReused);
    let other = world.reward(Some(&key()), &interview(&second, 2)).await;
    assert!(matches!(refusal(other), Refusal::RewardAlreadyGiven { .. }));
    assert_eq!(world.balance().await, 86);
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let world = World::new().await;
    let job = world.proposed(8).await;
    let before = world.table.state(&world.account).await;
    let nowhere = interview(&job_id(), 1);
    let refused = refusal(world.reward(None, &nowhere).await);
    assert_eq!(refused, Refusal::ProposalNotFound);
    let refused = refusal(world.reward(None, &interview(&job, 0)).await);
    assert_eq!(refused, Refusal::RewardNotEarned);
    let nobody = account_id();
    let command = RewardCommand::RisingTalent;
    let ledger = world.ledger();
    let refused = ledger.reward(&at(NOW), &nobody, None, &command).await;
    assert_eq!(refusal(refused), Refusal::AccountNotFound);
    assert_eq!(world.table.state(&world.account).await, before);
    // A job is not enough: the proposal must be this account's.
    let other = world.table.open(NOW).await;
    let refused = ledger
        .reward(&at(NOW), &other, None, &interview(&job, 1))
        .await;
    assert_eq!(refusal(refused), Refusal::ProposalNotFound);

    let amend = Amend {
        status: Some(Status::Suspended),
        email: None,
        payment_customer: None,
    };
    ledger.amend(&at(NOW), &world.account, amend).await.unwrap();
    for command in [RewardCommand::RisingTalent, interview(&job, 1)] {
        let refused = refusal(world.reward(None, &command).await);
        assert_eq!(refused, Refusal::AccountSuspended);
    }
}

/// A proposal that cost 8 and one that cost 16, rewarded before, between and after what gives them
/// back: the same end.
#[tokio::test]
async fn before_or_after_a_closure_it_ends_the_same() {
    let reason = |word: &str| Some(word.to_owned());
    for (cost, awarded) in [(0, 10), (8, 2), (16, 0)] {
        for order in 0..4 {
            let world = World::new().await;
            let job = world.proposed(cost).await;
            let command = interview(&job, 1);
            let expected = match order {
                0 => {
                    let first = world.applied(&command).await;
                    let refunded = cost.min(10);
                    assert_eq!(
                        summary(&first),
                        (refunded, awarded, 50 - cost + refunded + awarded)
                    );
                    world.close(&job).await;
                    if cost > 10 {
                        "fraud"
                    } else {
                        "interview_refunded"
                    }
                }
                1 => {
                    world.close(&job).await;
                    let last = world.applied(&command).await;
                    assert_eq!(summary(&last), (0, awarded, 50 + awarded));
                    "fraud"
                }
                2 => {
                    let three = world.refund(&job, 3).await;
                    assert_eq!(three.is_ok(), cost > 0);
                    world.applied(&command).await;
                    world.close(&job).await;
                    if cost > 13 {
                        "fraud"
                    } else {
                        "interview_refunded"
                    }
                }
                _ => {
                    let (rewarded, ()) =
                        futures::join!(world.reward(None, &command), world.close(&job));
                    let rewarded = rewarded.unwrap().into_inner();
                    assert_eq!(rewarded.awarded.get(), awarded);
                    match rewarded.refunded.get() {
                        0 => "fraud",
                        _ if cost > 10 => "fraud",
                        _ => "interview_refunded",
                    }
                }
            };
            let (returned, why) = world.returned(&job).await;
            assert_eq!(returned, cost, "{cost} {order}");
            if cost > 0 {
                assert_eq!(why, reason(expected), "{cost} {order}");
            } else {
                assert_ne!(why, reason("interview_refunded"));
            }
            assert_eq!(world.balance().await, 50 + awarded, "{cost} {order}");
        }
    }
}

#[tokio::test]
async fn of_many_at_once_one_is_given() {
    let world = World::new().await;
    let job = world.proposed(45).await;
    for (command, gained) in [(interview(&job, 1), 10), (RewardCommand::RisingTalent, 30)] {
        let before = world.balance().await;
        let one = key();
        let same = (0..6).map(|_| world.reward(Some(&one), &command));
        let others = (0..6).map(|_| world.reward(None, &command));
        let (same, others) = futures::join!(join_all(same), join_all(others));
        let answers = || same.iter().chain(&others);
        let applied = answers().filter(|answer| matches!(answer, Ok(Outcome::Applied(_))));
        assert_eq!(applied.count(), 1);
        for answer in answers() {
            match answer {
                Ok(outcome) => {
                    let answer = outcome.clone().into_inner();
                    assert_eq!(answer.balance.available.get(), before + gained);
                }
                Err(Error::Refused(Refusal::RewardAlreadyGiven { .. })) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(world.balance().await, before + gained);
    }
}

/// A reward and refunds of the same proposal at once: what it cost comes back once in total.
#[tokio::test]
async fn beside_refunds_the_cost_comes_back_once() {
    for _ in 0..3 {
        let world = World::new().await;
        let job = world.proposed(12).await;
        let command = interview(&job, 1);
        let refunds = (0..5).map(|_| world.refund(&job, 4));
        let (rewarded, refunded) = futures::join!(world.reward(None, &command), join_all(refunds));
        let rewarded = rewarded.unwrap().into_inner();
        assert_eq!(rewarded.awarded, Connects::ZERO);
        let refunded: u64 = refunded
            .into_iter()
            .map(|answer| match answer {
                Ok(amount) => amount,
                Err(Error::Refused(Refusal::RefundExceedsSpend { .. })) => 0,
                Err(error) => panic!("{error:?}"),
            })
            .sum();
        let back = rewarded.refunded.get() + refunded;
        assert!(back <= 12 && back > 8, "{rewarded:?} {refunded}");
        assert_eq!(world.returned(&job).await.0, back);
        assert_eq!(world.balance().await, 38 + back);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_never_told_as_somebody_elses() {
    let (table, account) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let now = "2026-01-10T13:00:00Z";
    let first = proposed(&plain, &account, 8, now).await;
    let second = proposed(&plain, &account, 8, now).await;
    // With a key of the client's or without.
    for (key, command) in [
        (Some(key()), RewardCommand::RisingTalent),
        (None, RewardCommand::SkillCertification),
        (Some(key()), interview(&first, 1)),
        (None, interview(&second, 1)),
    ] {
        let losing = ledger(&table, Arc::new(Speechless::default()));
        let now = at(now);
        let told = losing.reward(&now, &account, key.as_ref(), &command);
        let Ok(Outcome::Replayed(answer)) = told.await else {
            panic!("{command:?}");
        };
        let stands = plain.account(&now, &account).await.unwrap();
        assert_eq!(answer.balance, stands.balance);
    }
    audit(plain.store(), &account).await;
}
