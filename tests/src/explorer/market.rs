//! What can be done about a job in the small world, and the job it is done about.

use connects::domain::closure::ClosureReason;
use connects::domain::ids::{AccountId, JobId};
use connects::domain::job::{JobView, PostJob, Pricing};
use connects::domain::proposal::{Decision, ProposalView, ProposeCommand};
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::domain::reward::{Client, RewardCommand};
use connects::domain::units::{Connects, Money};
use connects::ledger::{Context, Ledger, Outcome};
use serde_json::{Value, json};

use super::acts::{Act, Scene, Told, account, key, other, swept, text, told};
use super::auctions;
use crate::table::{at, instant};

/// When the job was posted, proposals were made on it, and it was closed.
const POSTED: &str = "2025-02-02T12:00:00Z";
const PROPOSED: &str = "2025-02-03T12:00:00Z";
const CLOSED: &str = "2025-02-05T11:00:00Z";

/// What a proposal costs: it takes what is left of one lot and a part of the next.
pub const COST: u64 = 8;

/// What one costs after the price has changed.
const NEW_COST: u64 = 9;

/// More than half of what a proposal costs.
const GIVEN_BACK: u64 = 5;

/// Something that is done about the job, or the first account's proposal on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Proposes, at the first price.
    Propose,
    /// Proposes at any price.
    ProposeAnyhow,
    /// The other account proposes.
    ProposeElsewhere,
    /// Takes the proposal back.
    Withdraw,
    /// Gives back more than half of what the proposal took.
    Refund,
    /// Rewards an interview that the proposal led to.
    Interview,
    /// Notes that the client took the proposal.
    Hire,
    /// Makes the job dearer.
    Reprice,
    /// Notes a contract with the first account.
    Contract,
    /// Closes the job.
    Close(ClosureReason),
    /// A worker carries out the closure for that reason, if there is one.
    Settle(ClosureReason),
    /// The schedule that carries out closures that are left over.
    Sweep,
    /// Reads the job.
    ReadJob,
    /// Reads the proposal.
    ReadProposal,
}

/// The job.
pub fn job() -> JobId {
    JobId::try_new("job").unwrap()
}

fn post(cost: u64) -> PostJob {
    PostJob {
        posted_at: instant(POSTED),
        pricing: Pricing::Stated(Connects::new(cost)),
    }
}

fn propose(most: u64) -> ProposeCommand {
    ProposeCommand::new(job(), Connects::new(most))
}

/// Makes what the scene has of the job.
pub async fn prepare(ledger: &Ledger, scene: Scene) {
    let closed_for = match scene {
        Scene::New | Scene::Quiet | Scene::Due | Scene::Badged => return,
        Scene::Posted | Scene::Proposed | Scene::Led | Scene::Over | Scene::Releasing => None,
        Scene::Cancelled | Scene::Dropped => Some(ClosureReason::ClientCancelled),
        Scene::Expired => Some(ClosureReason::Expired),
    };
    let (id, post) = (job(), post(COST));
    ledger.post_job(&at(POSTED), &id, &post).await.unwrap();
    if scene == Scene::Posted {
        return;
    }
    for (number, account) in [account(), other()].iter().enumerate() {
        let key = key("proposal", number);
        ledger
            .propose(&at(PROPOSED), account, Some(&key), &propose(COST))
            .await
            .unwrap();
    }
    auctions::prepare(ledger, scene).await;
    if let Some(reason) = closed_for {
        ledger.close(&at(CLOSED), &id, reason).await.unwrap();
    }
}

/// Closes a job that nobody has proposed on.
pub async fn close_once(ledger: &Ledger) {
    let (id, reason) = (job(), ClosureReason::Filled);
    let posted = ledger.post_job(&at(POSTED), &id, &post(COST)).await;
    posted.unwrap();
    ledger.close(&at(CLOSED), &id, reason).await.unwrap();
}

impl Deed {
    /// Whether it goes on in steps that are not one change.
    pub fn is_pass(self) -> bool {
        matches!(self, Self::Settle(_) | Self::Sweep)
    }

    /// Does it.
    pub async fn done(self, ledger: &Ledger, now: &Context, act: Act) -> Told {
        let (id, job, key) = (account(), job(), key("act", act.key));
        let propose = async |account: &AccountId, most| {
            let command = propose(most);
            let proposed = ledger.propose(now, account, Some(&key), &command).await;
            told(proposed.map(Outcome::into_inner), text)
        };
        match self {
            Self::Propose => propose(&id, COST).await,
            Self::ProposeAnyhow => propose(&id, NEW_COST).await,
            Self::ProposeElsewhere => propose(&other(), COST).await,
            Self::Withdraw => told(ledger.withdraw(now, &id, &job).await, proposal_view),
            Self::Refund => {
                let command = RefundCommand {
                    of: RefundOf::JobId(job),
                    amount: Some(Connects::new(GIVEN_BACK)),
                    reason: RefundReason::Correction,
                };
                let refunded = ledger.refund(now, &id, &key, &command).await;
                told(refunded.map(Outcome::into_inner), text)
            }
            Self::Interview => {
                let client = Client {
                    hires: 1_000,
                    spend: Money {
                        amount: 1_000_000_000,
                        currency: ledger.policy().purchases.currency.clone(),
                    },
                };
                let command = RewardCommand::InterviewWon {
                    job_id: job,
                    client,
                };
                let rewarded = ledger.reward(now, &id, Some(&key), &command).await;
                told(rewarded.map(Outcome::into_inner), text)
            }
            Self::Hire => {
                let hired = ledger.decide(now, &id, &job, Decision::Hired).await;
                told(hired, proposal_view)
            }
            Self::Reprice => {
                let posted = ledger.post_job(now, &job, &post(NEW_COST)).await;
                told(posted.map(|(_, view)| view), job_view)
            }
            Self::Contract => told(ledger.contract(now, &job, &id).await, job_view),
            Self::Close(reason) => told(ledger.close(now, &job, reason).await, job_view),
            Self::Settle(reason) => swept(ledger.carry_out(now, vec![(job, reason)]).await),
            Self::Sweep => swept(ledger.sweep_closures(now, now.now).await),
            Self::ReadJob => told(ledger.job(now, &job).await, job_view),
            Self::ReadProposal => {
                let read = ledger.proposal(now, &id, &job).await;
                told(read, |view| existing(json!(view)))
            }
        }
    }
}

/// A job, told as it stands.
pub fn job_view(view: JobView) -> Told {
    let mut all = json!(view);
    let [state, returns] = ["state", "returns"].map(|name| all[name].take());
    Told::Job {
        fixed: format!("{} {}", view.job_id, view.posted_at),
        now: all.to_string(),
        far: format!("{} {returns}", state.as_str().unwrap_or_default()),
    }
}

/// A proposal that stays as it is by being told.
pub fn existing(mut view: Value) -> Told {
    let balance = view["balance"].take();
    Told::Proposal {
        fixed: view.to_string(),
        now: String::new(),
        balance: balance.to_string(),
    }
}

fn proposal_view(view: ProposalView) -> Told {
    let mut all = json!(view);
    let balance = all["balance"].take();
    let told = Told::Proposal {
        fixed: format!("{} {}", view.job_id, view.cost),
        now: all.to_string(),
        balance: balance.to_string(),
    };
    auctions::whole(view.boost_state, view.balance, told)
}
