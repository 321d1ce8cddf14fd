//! Clients and schedulers at work on a few accounts: what they ask for, and what they hear.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use chrono::TimeDelta;
use connects::domain::account::{Amend, Open, Status};
use connects::domain::bid::BidCommand;
use connects::domain::closure::ClosureReason;
use connects::domain::draft::{Draft, MAX_ACTIONS};
use connects::domain::hold::{EndHold, HoldCommand};
use connects::domain::ids::{AccountId, JobId, OperationId, PromoCode, Reason};
use connects::domain::job::{PostJob, Pricing};
use connects::domain::key::IdempotencyKey;
use connects::domain::lot::{Lot, Source};
use connects::domain::low_balance::SetLowBalance;
use connects::domain::plan_change::PlanChangeCommand;
use connects::domain::promo::{PromoKind, Terms};
use connects::domain::proposal::{Decision, FreeReason, ProposeCommand};
use connects::domain::purchase::{DisputeState, PurchaseCommand};
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::domain::refusal::Refusal;
use connects::domain::reward::RewardCommand;
use connects::domain::spend::SpendCommand;
use connects::domain::time::{self, Time, midnight};
use connects::domain::top_up::TopUpTerms;
use connects::domain::units::Connects;
use connects::ledger::{Context, Error, Fault as Broken, Ledger, Outcome, Report};
use connects::payments::Sandbox;
use connects::store::{ItemKey, StoreError};
use futures::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::TABLE;
use crate::faults::{Fault, Faults};
use crate::table::spend;
use crate::wire::{Call, Emulated};

/// What a client can ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// To open the account.
    Open(Open),
    /// To spend.
    Spend(IdempotencyKey, SpendCommand),
    /// To give back.
    Refund(IdempotencyKey, RefundCommand),
    /// To set aside.
    Hold(IdempotencyKey, HoldCommand),
    /// To use what is set aside, or to give it back.
    EndHold(Option<IdempotencyKey>, OperationId, EndHold),
    /// To buy.
    Buy(IdempotencyKey, PurchaseCommand),
    /// To take a purchase back.
    Chargeback(Option<IdempotencyKey>, OperationId),
    /// To undo that.
    Reversal(Option<IdempotencyKey>, OperationId),
    /// To hear the payment provider's message about a purchase.
    Message(OperationId),
    /// To hear its message about a dispute.
    Dispute(IdempotencyKey, OperationId, DisputeState),
    /// To redeem a promo code.
    Redeem(Option<IdempotencyKey>, PromoCode),
    /// To change a promo code's limit.
    Limit(PromoCode, Terms),
    /// To suspend or reactivate.
    Amend(Status),
    /// To change the plan.
    Change(IdempotencyKey, PlanChangeCommand),
    /// What a change would bring.
    Preview(PlanChangeCommand),
    /// To reward an achievement.
    Reward(Option<IdempotencyKey>, RewardCommand),
    /// How much there is.
    Look,
    /// Which lots there are.
    Lots,
    /// To propose on a job.
    Propose(Option<IdempotencyKey>, ProposeCommand),
    /// To take a proposal back.
    Withdraw(JobId),
    /// To note what the client made of a proposal.
    Decide(JobId, Decision),
    /// To post a job, or to change what it costs.
    Post(JobId, PostJob),
    /// To note a contract.
    Contract(JobId),
    /// To close a job.
    Close(JobId, ClosureReason),
    /// How a job stands.
    LookAtJob(JobId),
    /// How a proposal stands.
    LookAtProposal(JobId),
    /// To bid for one of the first places on a job, or to bid more.
    Bid(Option<IdempotencyKey>, BidCommand),
    /// To note that the client looked into a proposal.
    Interact(JobId),
    /// How the bids on a job stand.
    LookAtBids(JobId),
    /// To turn the badge on, or to change what a week may cost.
    PutBadge(Connects),
    /// To turn it off.
    TurnBadgeOff,
    /// How it stands.
    LookAtBadge,
    /// What a week costs.
    LookAtPrice,
    /// To say when the balance is low, and what is bought then.
    SetLow(SetLowBalance),
    /// To say so no more.
    ClearLow,
    /// What was said.
    LookAtLow,
}

/// What a client heard.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// It was done: now, or before.
    Done {
        /// Whether it was before.
        replayed: bool,
        /// The answer.
        said: Value,
    },
    /// The business said no.
    Refused(Refusal),
    /// Nothing that tells.
    Unknown(String),
    /// What no client may ever hear.
    Broken(String),
}

/// One request and what came of it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Whose account.
    pub account: AccountId,
    /// What was asked.
    pub asked: Asked,
    /// When it began and ended, in the order of everything that happened.
    pub begun: u64,
    /// The end.
    pub ended: u64,
    /// What time it was to the caller.
    pub now: Time,
    /// What was heard.
    pub heard: Heard,
}

impl Attempt {
    /// Whether nobody but itself can know its effect for its own.
    pub fn is_a_keyless_bid(&self) -> bool {
        matches!(self.asked, Asked::Bid(None, _))
    }
}

/// A few accounts, and everything that was asked about them.
#[derive(Debug)]
pub struct World {
    /// The ledger, behind the faults.
    pub ledger: Ledger,
    /// The table, as its stream sees it.
    pub table: Emulated,
    /// What goes wrong.
    pub faults: Arc<Faults>,
    /// When it all began.
    pub epoch: Time,
    /// The same, on the runtime's clock.
    pub begun: Instant,
    /// The accounts, and how each is opened.
    pub accounts: Vec<(AccountId, Open)>,
    /// The promo codes.
    pub codes: Vec<(PromoCode, Terms)>,
    /// The jobs, and when each was posted.
    pub jobs: Vec<(JobId, Time)>,
    /// How many of a hundred requests are about one of them.
    pub market: u32,
    /// How many of these are about a bid.
    pub bidding: u32,
    /// How many of the others are about a hold.
    pub holding: u32,
    /// How many of the rest are about the badge.
    pub badging: u32,
    /// How many of the rest are about a low balance.
    pub topping: u32,
    /// The closures that the stream has told of.
    pub streamed: RefCell<BTreeSet<(JobId, ClosureReason)>>,
    /// The crossings that it has told of, by account and sort key.
    pub crossed: RefCell<BTreeSet<(AccountId, String)>>,
    /// What was asked, in the order in which it ended.
    pub attempts: RefCell<Vec<Attempt>>,
    /// Everything that may be asked again.
    pub requests: RefCell<Vec<(AccountId, Asked)>>,
    /// What a scheduled run should not have said.
    pub complaints: RefCell<Vec<String>>,
}

/// How long a client gives a request, in milliseconds of the world's time.
const PATIENCE: std::ops::RangeInclusive<u64> = 200..=9_000;

/// The schedule of badges.
pub const BADGES: u32 = 6;

/// How often a client asks again at once after it heard nothing.
const REPEATS: usize = 3;

fn chance(in_a_hundred: u32) -> bool {
    fastrand::u32(0..100) < in_a_hundred
}

fn pick<T>(among: &[T]) -> Option<&T> {
    match among.len() {
        0 => None,
        n => among.get(fastrand::usize(0..n)),
    }
}

impl World {
    /// What time it is to somebody whose clock is so many milliseconds ahead.
    pub fn now(&self, ahead: i64) -> Time {
        let elapsed = self.begun.elapsed().as_millis() as i64;
        self.epoch + TimeDelta::milliseconds(elapsed + ahead)
    }

    fn context(&self, ahead: i64) -> Context {
        Context {
            now: self.now(ahead),
            deadline: Instant::now() + Duration::from_millis(fastrand::u64(PATIENCE)),
        }
    }

    /// How far ahead the clock of a new process is: mostly seconds, at times more than is borne.
    fn skew(&self) -> i64 {
        match self.faults.strikes(Fault::Skew) {
            false => 0,
            true if chance(5) => fastrand::i64(-120_000..120_000),
            true => fastrand::i64(-25_000..25_000),
        }
    }

    /// What the next process does before it dies, if it does.
    fn lifetime(&self) -> Option<u32> {
        self.faults
            .strikes(Fault::Death)
            .then(|| fastrand::u32(1..30))
    }

    /// Some requests one after another.
    pub async fn client(&self, requests: usize) {
        let ahead = self.skew();
        for _ in 0..requests {
            let (account, asked) = self.next_request();
            self.insist(ahead, account, asked).await;
            if chance(70) {
                sleep(Duration::from_millis(fastrand::u64(0..60))).await;
            }
        }
    }

    /// Looks at an account while others are at work on it.
    pub async fn reader(&self) {
        let (account, _) = pick(&self.accounts).cloned().unwrap();
        for _ in 0..3 {
            sleep(Duration::from_millis(fastrand::u64(0..25))).await;
            self.attempt(0, &account, &Asked::Look).await;
        }
    }

    /// Asks, and mostly asks again where nothing was heard.
    async fn insist(&self, ahead: i64, account: AccountId, asked: Asked) {
        for _ in 0..=REPEATS {
            let heard = self.attempt(ahead, &account, &asked).await;
            if !matches!(heard, Heard::Unknown(_)) || chance(30) {
                return;
            }
            sleep(Duration::from_millis(fastrand::u64(0..2_000))).await;
        }
    }

    async fn attempt(&self, ahead: i64, account: &AccountId, asked: &Asked) -> Heard {
        let begun = self.faults.tick();
        let context = self.context(ahead);
        let done = mortal(self.lifetime(), self.perform(&context, account, asked)).await;
        let heard = match done {
            None => Heard::Unknown("died".to_owned()),
            Some(Ok((replayed, said))) => Heard::Done { replayed, said },
            Some(Err(Error::Refused(refusal))) => Heard::Refused(refusal),
            Some(Err(Error::Fault(fault))) => match fault {
                fault if fault.is_busy() => Heard::Unknown(fault.to_string()),
                Broken::ClockAhead { .. } => Heard::Unknown("clock ahead".to_owned()),
                fault => Heard::Broken(fault.to_string()),
            },
        };
        self.attempts.borrow_mut().push(Attempt {
            account: account.clone(),
            asked: asked.clone(),
            begun,
            ended: self.faults.tick(),
            now: context.now,
            heard: heard.clone(),
        });
        heard
    }

    fn provider(&self) -> Sandbox {
        Sandbox::new(self.ledger.store().clone())
    }

    async fn perform(
        &self,
        context: &Context,
        account: &AccountId,
        asked: &Asked,
    ) -> Result<(bool, Value), Error> {
        let ledger = &self.ledger;
        match asked {
            Asked::Open(open) => said(ledger.open(context, account, open.clone()).await?),
            Asked::Spend(key, command) => said(ledger.spend(context, account, key, command).await?),
            Asked::Refund(key, command) => {
                said(ledger.refund(context, account, key, command).await?)
            }
            Asked::Hold(key, command) => said(ledger.hold(context, account, key, command).await?),
            Asked::EndHold(key, id, end) => {
                let ended = ledger.end_hold(context, account, id, key.as_ref(), end);
                said(ended.await?)
            }
            Asked::Buy(key, command) => {
                let provider = self.provider();
                let bought = ledger.purchase(context, &provider, account, key, command);
                said(bought.await?)
            }
            Asked::Chargeback(key, id) => said(
                ledger
                    .chargeback(context, account, id, key.as_ref())
                    .await?,
            ),
            Asked::Reversal(key, id) => {
                let reversed = ledger.reverse_chargeback(context, account, id, key.as_ref());
                said(reversed.await?)
            }
            Asked::Message(id) => {
                let provider = self.provider();
                let told = ledger.payment_told(context, &provider, account, id);
                said(Outcome::Applied(told.await?))
            }
            Asked::Dispute(key, id, state) => {
                let told = ledger.dispute_told(context, account, id, key, *state);
                said(Outcome::Applied(told.await?))
            }
            Asked::Redeem(key, code) => {
                said(ledger.redeem(context, account, key.as_ref(), code).await?)
            }
            Asked::Limit(code, terms) => {
                let (_, view) = ledger.put_promo(context, code, terms).await?;
                said(Outcome::Applied(view))
            }
            Asked::Amend(status) => {
                let amend = Amend {
                    status: Some(*status),
                    email: None,
                    payment_customer: None,
                };
                said(Outcome::Applied(
                    ledger.amend(context, account, amend).await?,
                ))
            }
            Asked::Change(key, command) => {
                said(ledger.change_plan(context, account, key, *command).await?)
            }
            Asked::Preview(command) => {
                let preview = ledger.preview_plan(context, account, *command).await?;
                said(Outcome::Applied(preview))
            }
            Asked::Reward(key, command) => said(
                ledger
                    .reward(context, account, key.as_ref(), command)
                    .await?,
            ),
            Asked::Look => said(Outcome::Applied(ledger.account(context, account).await?)),
            Asked::Propose(key, command) => {
                let proposed = ledger.propose(context, account, key.as_ref(), command);
                said(proposed.await?)
            }
            Asked::Withdraw(job) => {
                let withdrawn = ledger.withdraw(context, account, job).await?;
                said(Outcome::Applied(withdrawn))
            }
            Asked::Decide(job, decision) => {
                let decided = ledger.decide(context, account, job, *decision).await?;
                said(Outcome::Applied(decided))
            }
            Asked::Post(job, post) => {
                let (_, view) = ledger.post_job(context, job, post).await?;
                said(Outcome::Applied(view))
            }
            Asked::Contract(job) => {
                let contracted = ledger.contract(context, job, account).await?;
                said(Outcome::Applied(contracted))
            }
            Asked::Close(job, reason) => {
                said(Outcome::Applied(ledger.close(context, job, *reason).await?))
            }
            Asked::LookAtJob(job) => said(Outcome::Applied(ledger.job(context, job).await?)),
            Asked::LookAtProposal(job) => {
                let proposal = ledger.proposal(context, account, job).await?;
                said(Outcome::Applied(proposal))
            }
            Asked::Bid(key, command) => {
                let bid = ledger.bid(context, account, key.as_ref(), command);
                said(bid.await?)
            }
            Asked::Interact(job) => {
                let charged = ledger.interaction(context, account, job).await?;
                said(Outcome::Applied(charged))
            }
            Asked::LookAtBids(job) => {
                let bids = ledger.auction(context, job, |of| of == account).await?;
                said(Outcome::Applied(bids))
            }
            Asked::PutBadge(max_weekly) => {
                let put = ledger.put_badge(context, account, *max_weekly);
                let (is_new, badge) = put.await?;
                said(match is_new {
                    true => Outcome::Applied(badge),
                    false => Outcome::Replayed(badge),
                })
            }
            Asked::TurnBadgeOff => {
                let badge = ledger.turn_badge_off(context, account).await?;
                said(Outcome::Replayed(badge))
            }
            Asked::LookAtBadge => {
                let badge = ledger.badge(context, account).await?;
                said(Outcome::Replayed(badge))
            }
            Asked::LookAtPrice => said(Outcome::Applied(ledger.badge_price(context).await?)),
            Asked::SetLow(wanted) => {
                let provider = self.provider();
                let set = ledger.set_low_balance(context, &provider, account, wanted);
                said(Outcome::Replayed(set.await?))
            }
            Asked::ClearLow => {
                let cleared = ledger.clear_low_balance(context, account).await?;
                said(Outcome::Replayed(cleared))
            }
            Asked::LookAtLow => {
                let view = ledger.low_balance(context, account).await?;
                said(Outcome::Replayed(view))
            }
            Asked::Lots => {
                let lots = ledger.lots(context, account).await?;
                let sum: Connects = lots.iter().map(Lot::remaining).sum();
                said(Outcome::Applied(json!({"sum": sum})))
            }
        }
    }

    /// Something new, or something that was asked before: by this client or another, answered or
    /// not, now and then with another body under the same key.
    fn next_request(&self) -> (AccountId, Asked) {
        let before = pick(&self.requests.borrow()).cloned();
        match before {
            Some(again) if chance(22) => again,
            Some((account, asked)) if chance(6) => (account, altered(asked)),
            _ => {
                let request = self.new_request();
                self.requests.borrow_mut().push(request.clone());
                request
            }
        }
    }

    fn new_request(&self) -> (AccountId, Asked) {
        let (account, open) = pick(&self.accounts).cloned().unwrap();
        let asked = match fastrand::u32(0..100) {
            _ if chance(self.market) => self.about_a_job(),
            _ if chance(self.holding) => self.about_a_hold(&account),
            _ if chance(self.badging) => about_a_badge(),
            _ if chance(self.topping) => self.about_a_low_balance(),
            0..36 => Asked::Spend(key(), spend(self.amount())),
            36..51 => self.refund().unwrap_or(Asked::Look),
            51..63 => Asked::Buy(key(), self.purchase()),
            63..73 => self.redemption().unwrap_or(Asked::Look),
            73..77 => self.about_a_payment(&account).unwrap_or(Asked::Look),
            77..82 => Asked::Amend(match chance(60) {
                true => Status::Active,
                false => Status::Suspended,
            }),
            82..91 => Asked::Change(key(), self.change(&account)),
            91 => Asked::Preview(self.change(&account)),
            92 => Asked::Reward(chance(70).then(key), reward()),
            93 => Asked::Open(open),
            94 => self.limit().unwrap_or(Asked::Look),
            95..98 => Asked::Look,
            _ => Asked::Lots,
        };
        match &asked {
            Asked::Refund(
                _,
                RefundCommand {
                    of: RefundOf::SpendId(id),
                    ..
                },
            ) => {
                let owner = self.owner(id).unwrap_or(account);
                (owner, asked)
            }
            _ => (account, asked),
        }
    }

    /// Often with a top-up, for which there is room in the month or not.
    fn about_a_low_balance(&self) -> Asked {
        match fastrand::u32(0..20) {
            0..13 => {
                let threshold = fastrand::u64(1..=50);
                let quantity = threshold.max(10) + fastrand::u64(0..20);
                let price = self.ledger.policy().unit_price();
                let times = quantity * fastrand::u64(1..=5);
                let top_up = chance(80).then(|| TopUpTerms {
                    quantity: Connects::new(quantity),
                    monthly_cap: price.times(Connects::new(times)),
                    payment_method: Some(method()),
                });
                Asked::SetLow(SetLowBalance {
                    threshold: Connects::new(threshold),
                    top_up,
                })
            }
            13..16 => Asked::ClearLow,
            _ => Asked::LookAtLow,
        }
    }

    /// A new hold as often as the end of one.
    fn about_a_hold(&self, account: &AccountId) -> Asked {
        let holds = self.holds(account);
        match pick(&holds).cloned() {
            Some(id) if chance(55) => Asked::EndHold(chance(70).then(key), id, self.end_of_hold()),
            _ => Asked::Hold(key(), self.hold()),
        }
    }

    fn hold(&self) -> HoldCommand {
        HoldCommand {
            amount: Connects::new(self.amount()),
            reason: Reason::of("listing"),
            reference: None,
            expires_at: chance(60).then(|| self.some_end()),
        }
    }

    /// Within the burst, or after it, at times while nobody is there for long.
    fn some_end(&self) -> Time {
        let long = match fastrand::u32(0..10) {
            0..5 => TimeDelta::milliseconds(fastrand::i64(0..4_000)),
            5..8 => TimeDelta::hours(fastrand::i64(1..60)),
            _ => TimeDelta::days(fastrand::i64(1..420)),
        };
        self.now(0) + long
    }

    fn end_of_hold(&self) -> EndHold {
        match fastrand::u32(0..10) {
            0..3 => EndHold::Capture { amount: None },
            3..6 => EndHold::Capture {
                amount: Some(Connects::new(fastrand::u64(1..=20))),
            },
            _ => EndHold::Release,
        }
    }

    fn holds(&self, account: &AccountId) -> Vec<OperationId> {
        let requests = self.requests.borrow();
        let holds = requests.iter().filter_map(|(of, asked)| match asked {
            Asked::Hold(key, _) if of == account => Some(HoldCommand::id(of, key)),
            _ => None,
        });
        holds.collect()
    }

    /// Proposals most often, closures now and then.
    fn about_a_job(&self) -> Asked {
        let Some((job, _)) = pick(&self.jobs).cloned() else {
            return Asked::Look;
        };
        if chance(self.bidding) {
            return about_a_bid(job);
        }
        match fastrand::u32(0..50) {
            0..20 => {
                let expected_cost = Connects::new(fastrand::u64(2..=12));
                self.proposal(job, expected_cost)
            }
            20..23 => Asked::Withdraw(job),
            23..25 => Asked::Decide(
                job,
                match fastrand::bool() {
                    true => Decision::Hired,
                    false => Decision::ClientDeclined,
                },
            ),
            25..30 => self.post(&job),
            30..33 => Asked::Contract(job),
            33..38 => {
                let reasons = ClosureReason::ALL;
                let reason = reasons[fastrand::usize(0..reasons.len())];
                Asked::Close(job, reason)
            }
            38..44 => self.refund_of(RefundOf::JobId(job)),
            44..47 => Asked::LookAtJob(job),
            _ => Asked::LookAtProposal(job),
        }
    }

    fn proposal(&self, job_id: JobId, expected_cost: Connects) -> Asked {
        let command = ProposeCommand {
            free_reason: chance(8).then_some(FreeReason::Invited),
            boost: chance(self.bidding).then(bid),
            ..ProposeCommand::new(job_id, expected_cost)
        };
        Asked::Propose(chance(70).then(key), command)
    }

    fn post(&self, job: &JobId) -> Asked {
        let posted = self.jobs.iter().find(|(id, _)| id == job);
        let post = PostJob {
            posted_at: posted.map_or(self.epoch, |(_, at)| *at),
            pricing: Pricing::Stated(Connects::new(fastrand::u64(3..=9))),
        };
        Asked::Post(job.clone(), post)
    }

    fn amount(&self) -> u64 {
        match fastrand::u32(0..100) {
            0..75 => fastrand::u64(1..=20),
            75..90 => fastrand::u64(1..=160),
            _ => fastrand::u64(100..=200),
        }
    }

    fn spends(&self) -> Vec<(AccountId, OperationId)> {
        let requests = self.requests.borrow();
        let spends = requests.iter().filter_map(|(account, asked)| match asked {
            Asked::Spend(key, _) => Some((account.clone(), SpendCommand::id(account, key))),
            _ => None,
        });
        spends.collect()
    }

    fn owner(&self, spend: &OperationId) -> Option<AccountId> {
        let mut spends = self.spends().into_iter();
        spends
            .find(|(_, id)| id == spend)
            .map(|(account, _)| account)
    }

    fn refund(&self) -> Option<Asked> {
        let (_, spend) = pick(&self.spends()).cloned()?;
        Some(self.refund_of(RefundOf::SpendId(spend)))
    }

    fn refund_of(&self, of: RefundOf) -> Asked {
        let amount = match chance(50) {
            true => None,
            false => Some(Connects::new(fastrand::u64(1..=10))),
        };
        let reason = match fastrand::bool() {
            true => RefundReason::Goodwill,
            false => RefundReason::Correction,
        };
        let command = RefundCommand { of, amount, reason };
        Asked::Refund(key(), command)
    }

    /// Every second one with a code, rarely with one that is for nothing of the kind.
    fn purchase(&self) -> PurchaseCommand {
        let code = chance(50).then(|| self.code(|kind| kind != PromoKind::Grant));
        purchase(code.flatten())
    }

    /// One of the codes, nine of ten times of such a kind.
    fn code(&self, wanted: impl Fn(PromoKind) -> bool) -> Option<PromoCode> {
        let any = chance(10);
        let codes = self.codes.iter();
        let codes = codes.filter(|(_, terms)| any || wanted(terms.offer.kind()));
        let codes: Vec<&PromoCode> = codes.map(|(code, _)| code).collect();
        pick(&codes).copied().cloned()
    }

    fn redemption(&self) -> Option<Asked> {
        let code = self.code(|kind| kind == PromoKind::Grant)?;
        Some(Asked::Redeem(chance(70).then(key), code))
    }

    fn limit(&self) -> Option<Asked> {
        let (code, terms) = pick(&self.codes)?.clone();
        let terms = Terms {
            max_redemptions: Some(fastrand::u64(1..=4)),
            ..terms
        };
        Some(Asked::Limit(code, terms))
    }

    /// Mostly down where it was up the last time, and else up.
    fn change(&self, account: &AccountId) -> PlanChangeCommand {
        use PlanChangeCommand::{Downgrade, FallBack, Upgrade};
        let requests = self.requests.borrow();
        let mut newest_first = requests.iter().rev();
        let last = newest_first.find_map(|(of, asked)| match asked {
            Asked::Change(_, command) if of == account => Some(*command),
            _ => None,
        });
        let usual = match last {
            Some(Upgrade) => Downgrade,
            _ => Upgrade,
        };
        match fastrand::u32(0..10) {
            0..7 => usual,
            7 => FallBack,
            8 => Downgrade,
            _ => Upgrade,
        }
    }

    /// What the payment provider or the payer's bank has to say of a purchase, and operators of it.
    fn about_a_payment(&self, account: &AccountId) -> Option<Asked> {
        let requests = self.requests.borrow();
        let bought = requests.iter().filter_map(|(of, asked)| match asked {
            Asked::Buy(key, _) if of == account => Some(PurchaseCommand::id(of, key)),
            _ => None,
        });
        let bought: Vec<OperationId> = bought.collect();
        let id = pick(&bought).cloned()?;
        Some(match fastrand::u32(0..10) {
            0..3 => Asked::Chargeback(chance(70).then(key), id),
            3..5 => Asked::Reversal(chance(70).then(key), id),
            5..8 => Asked::Message(id),
            8 => Asked::Dispute(key(), id, DisputeState::Taken),
            _ => Asked::Dispute(key(), id, DisputeState::GivenBack),
        })
    }

    /// Several clients open the same account at the same time.
    pub async fn opener(&self, place: usize) {
        let (account, open) = self.accounts[place].clone();
        self.insist(self.skew(), account, Asked::Open(open)).await;
    }

    /// A marketplace posts a job.
    pub async fn poster(&self, place: usize) {
        let (account, _) = pick(&self.accounts).cloned().unwrap();
        let post = self.post(&self.jobs[place].0);
        self.insist(self.skew(), account, post).await;
    }

    /// An account proposes on every job, at any price: who bids has to.
    pub async fn proposer(&self, place: usize) {
        let account = &self.accounts[place].0;
        for (job, _) in &self.jobs {
            let asked = self.proposal(job.clone(), Connects::new(12));
            let request = (account.clone(), asked.clone());
            self.requests.borrow_mut().push(request);
            self.insist(self.skew(), account.clone(), asked).await;
        }
    }

    /// The table's stream wakes a worker for each new closure: once, but for records that are lost,
    /// or come late or twice.
    pub async fn stream(&self) {
        for _ in 0..fastrand::u32(2..=6) {
            sleep(Duration::from_millis(fastrand::u64(0..150))).await;
            let mut passes = vec![];
            for closure in self.closures() {
                if !self.streamed.borrow_mut().insert(closure.clone()) {
                    continue;
                }
                let (times, late) = match self.faults.strikes(Fault::Record) {
                    false => (1, 0),
                    true => (fastrand::usize(0..=2), fastrand::u64(0..2_000)),
                };
                let wait = Duration::from_millis(late);
                passes.extend((0..times).map(|_| self.worker(wait, closure.clone())));
            }
            let mut wakes = vec![];
            for crossing in self.crossings() {
                if !self.crossed.borrow_mut().insert(crossing.clone()) {
                    continue;
                }
                let (times, late) = match self.faults.strikes(Fault::Record) {
                    false => (1, 0),
                    true => (fastrand::usize(0..=2), fastrand::u64(0..2_000)),
                };
                let wait = Duration::from_millis(late);
                wakes.extend((0..times).map(|_| self.topper(wait, crossing.0.clone())));
            }
            futures::join!(join_all(passes), join_all(wakes));
        }
    }

    /// Carries out a closure, unless it dies on the way.
    async fn worker(&self, wait: Duration, closure: (JobId, ClosureReason)) {
        sleep(wait).await;
        let context = self.context(self.skew());
        let pass = self.ledger.carry_out(&context, vec![closure]);
        match mortal(self.lifetime(), pass).await {
            Some(Err(Error::Fault(fault))) if !fault.is_busy() => {
                self.complaints.borrow_mut().push(fault.to_string());
            }
            Some(Err(Error::Refused(refusal))) => {
                self.complaints.borrow_mut().push(format!("{refusal:?}"));
            }
            _ => {}
        }
    }

    /// Tops an account up, unless it dies on the way.
    async fn topper(&self, wait: Duration, account: AccountId) {
        sleep(wait).await;
        let (context, provider) = (self.context(self.skew()), self.provider());
        let topped_up = self.ledger.top_up(&context, &provider, &account);
        match mortal(self.lifetime(), topped_up).await {
            Some(Err(Error::Fault(Broken::ClockAhead { .. }))) => {}
            Some(Err(Error::Fault(fault))) if !fault.is_busy() => {
                self.complaints.borrow_mut().push(fault.to_string());
            }
            Some(Err(Error::Refused(refusal))) => {
                self.complaints.borrow_mut().push(format!("{refusal:?}"));
            }
            _ => {}
        }
    }

    /// The crossings that there were so far.
    fn crossings(&self) -> Vec<(AccountId, String)> {
        if self.topping == 0 {
            return vec![];
        }
        let of = |account: &AccountId| {
            let answer = self.table.answer(&Call {
                operation: "Query".to_owned(),
                request: json!({
                    "TableName": TABLE,
                    "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
                    "ExpressionAttributeValues": {
                        ":pk": {"S": format!("ACCOUNT#{account}")},
                        ":prefix": {"S": "SEEN#low_balance#"},
                    },
                }),
            });
            let items = answer.body["Items"].as_array().cloned().unwrap_or_default();
            let keys = items.into_iter().filter_map(|item| {
                let key = item["sk"]["S"].as_str()?.to_owned();
                Some((account.clone(), key))
            });
            keys.collect::<Vec<_>>()
        };
        self.accounts.iter().flat_map(|(id, _)| of(id)).collect()
    }

    /// The closures that there are just now.
    fn closures(&self) -> Vec<(JobId, ClosureReason)> {
        let of = |job: &JobId| {
            let answer = self.table.answer(&Call {
                operation: "Query".to_owned(),
                request: json!({
                    "TableName": TABLE,
                    "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
                    "ExpressionAttributeValues": {
                        ":pk": {"S": format!("JOB#{job}")},
                        ":prefix": {"S": "CLOSURE#"},
                    },
                }),
            });
            let items = answer.body["Items"].as_array().cloned().unwrap_or_default();
            let keys = items.into_iter().filter_map(|item| {
                let key = json!({"pk": item["pk"], "sk": item["sk"]});
                serde_json::from_value::<ItemKey>(key).ok()?.closure()
            });
            keys.collect::<Vec<_>>()
        };
        self.jobs.iter().flat_map(|(job, _)| of(job)).collect()
    }

    /// One event of a schedule: perhaps for a time that has passed, perhaps twice.
    pub async fn scheduler(&self) {
        sleep(Duration::from_millis(fastrand::u64(0..300))).await;
        // Payments most often: there only the schedule goes on with what a client began.
        let kind = match fastrand::u32(0..6) {
            _ if chance(self.badging) => BADGES,
            kind => kind,
        };
        let ahead = self.skew();
        let (mut until, mut runs) = (self.now(ahead), 1);
        if self.faults.strikes(Fault::Schedule) {
            until -= TimeDelta::hours(fastrand::i64(0..72));
            runs = fastrand::u32(1..=2);
        }
        let run = || async {
            let context = self.context(ahead);
            mortal(self.lifetime(), self.sweep(kind, &context, until)).await
        };
        let reports = match runs {
            1 => vec![run().await],
            _ => {
                let (one, two) = futures::join!(run(), run());
                vec![one, two]
            }
        };
        for fault in reports.into_iter().flatten().filter_map(Result::err) {
            if !fault.is_busy() {
                self.complaints.borrow_mut().push(fault.to_string());
            }
        }
    }

    /// One run of one of the schedules.
    ///
    /// # Errors
    /// As the ledger's.
    pub async fn sweep(&self, kind: u32, context: &Context, until: Time) -> Result<Report, Broken> {
        match kind {
            0 => self.ledger.sweep_grants(context, until).await,
            1 => self.ledger.sweep_expiry(context, until).await,
            2 => self.ledger.sweep_closures(context, until).await,
            3 => self.ledger.sweep_auctions(context, until).await,
            BADGES => self.ledger.sweep_badges(context, until).await,
            _ => {
                let provider = self.provider();
                self.ledger.sweep_payments(context, &provider, until).await
            }
        }
    }

    /// Time passes: seconds or months, often until just before a day begins, or until a badge is to be
    /// renewed.
    pub async fn pass(&self) {
        let hours = match fastrand::u32(0..10) {
            0..2 => 0,
            2..5 => fastrand::u64(1..60),
            5..8 => fastrand::u64(24..24 * 45),
            _ => fastrand::u64(24 * 45..24 * 420),
        };
        let mut long = Duration::from_secs(hours * 3_600 + fastrand::u64(1..60));
        if chance(50) {
            let then = self.now(0) + TimeDelta::milliseconds(long.as_millis() as i64);
            let day = midnight(then.date_naive() + chrono::Days::new(1));
            let before = fastrand::i64(0..120);
            let wait = (day - self.now(0)).num_milliseconds() - before;
            long = Duration::from_millis(wait.max(0) as u64);
        }
        if let Some(end) = self.renewal()
            && chance(60)
        {
            let late = match fastrand::u32(0..3) {
                0 => TimeDelta::milliseconds(fastrand::i64(-3_000..3_000)),
                1 => TimeDelta::minutes(fastrand::i64(0..70)),
                _ => TimeDelta::hours(fastrand::i64(1..200)),
            };
            let wait = (end + late - self.now(0)).num_milliseconds();
            long = Duration::from_millis(wait.max(0) as u64);
        }
        sleep(long).await;
    }

    /// When a badge's paid week ends, as somebody was told, if that is to come.
    fn renewal(&self) -> Option<Time> {
        let attempts = self.attempts.borrow();
        let mut told = attempts.iter().rev().filter_map(|attempt| {
            let Heard::Done { said, .. } = &attempt.heard else {
                return None;
            };
            time::parse(said["paid_until"].as_str()?)
        });
        told.next().filter(|end| *end > self.now(0))
    }

    /// Puts many small lots into an account, so that a spend touches more than one transaction
    /// carries.
    pub async fn crowd(&self, place: usize, lots: usize) -> Result<(), StoreError> {
        let store = self.ledger.store();
        let mut left = lots;
        while left > 0 {
            let Some(state) = store.load(&self.accounts[place].0).await? else {
                return Ok(());
            };
            let batch = left.min(MAX_ACTIONS / 2);
            let mut draft = Draft::new(self.ledger.policy(), self.now(0), state);
            for _ in 0..batch {
                draft.issue(Source::Reward, "test", Connects::new(1), None);
            }
            store.commit_if(draft.finish(vec![]).1).await?;
            left -= batch;
        }
        Ok(())
    }
}

fn said<T: Serialize>(outcome: Outcome<T>) -> Result<(bool, Value), Error> {
    let replayed = matches!(outcome, Outcome::Replayed(_));
    let said = serde_json::to_value(outcome.into_inner()).unwrap();
    Ok((replayed, said))
}

fn key() -> IdempotencyKey {
    IdempotencyKey::try_new(&format!("k{:016x}", fastrand::u64(..))).unwrap()
}

fn reward() -> RewardCommand {
    match fastrand::bool() {
        true => RewardCommand::RisingTalent,
        false => RewardCommand::SkillCertification,
    }
}

/// One of the sandbox's methods of payment.
fn method() -> String {
    let methods = [
        "sandbox_approve",
        "sandbox_decline",
        "sandbox_timeout",
        "sandbox_late",
    ];
    methods[fastrand::usize(0..methods.len())].to_owned()
}

fn purchase(promo_code: Option<PromoCode>) -> PurchaseCommand {
    PurchaseCommand {
        quantity: fastrand::i64(10..=30),
        promo_code,
        payment_method: Some(method()),
    }
}

/// Few enough that there are many of the same.
fn bid() -> Connects {
    Connects::new(match fastrand::u32(0..10) {
        0..8 => fastrand::u64(1..=6),
        _ => fastrand::u64(5..=25),
    })
}

/// Bids most often, and somebody who looks.
fn about_a_bid(job_id: JobId) -> Asked {
    match fastrand::u32(0..20) {
        0..15 => {
            let amount = bid();
            Asked::Bid(chance(60).then(key), BidCommand { job_id, amount })
        }
        15..17 => Asked::Interact(job_id),
        17..19 => Asked::LookAtBids(job_id),
        _ => Asked::LookAtProposal(job_id),
    }
}

/// Cheap ones and dear ones, on and off.
fn about_a_badge() -> Asked {
    match fastrand::u32(0..20) {
        0..11 => Asked::PutBadge(Connects::new(match fastrand::u32(0..10) {
            0..4 => fastrand::u64(1..=8),
            _ => fastrand::u64(8..=20),
        })),
        11..14 => Asked::TurnBadgeOff,
        14..18 => Asked::LookAtBadge,
        _ => Asked::LookAtPrice,
    }
}

/// The same key, another body.
fn altered(asked: Asked) -> Asked {
    match asked {
        Asked::Spend(key, _) => Asked::Spend(key, spend(fastrand::u64(1..=30))),
        Asked::Refund(key, command) => {
            let amount = Some(Connects::new(fastrand::u64(1..=5)));
            Asked::Refund(key, RefundCommand { amount, ..command })
        }
        Asked::Hold(key, command) => {
            let amount = Connects::new(fastrand::u64(1..=20));
            Asked::Hold(key, HoldCommand { amount, ..command })
        }
        Asked::EndHold(key, id, EndHold::Capture { .. }) => {
            let amount = chance(70).then(|| Connects::new(fastrand::u64(1..=20)));
            Asked::EndHold(key, id, EndHold::Capture { amount })
        }
        Asked::EndHold(key, id, _) => Asked::EndHold(key, id, EndHold::Capture { amount: None }),
        Asked::Buy(key, command) => Asked::Buy(key, purchase(command.promo_code)),
        Asked::Change(key, PlanChangeCommand::Upgrade) => {
            Asked::Change(key, PlanChangeCommand::Downgrade)
        }
        Asked::Change(key, _) => Asked::Change(key, PlanChangeCommand::Upgrade),
        Asked::Propose(key, command) => {
            let expected_cost = Connects::new(fastrand::u64(2..=12));
            let command = ProposeCommand {
                expected_cost,
                ..command
            };
            Asked::Propose(key, command)
        }
        Asked::Bid(key, command) => {
            let amount = bid();
            Asked::Bid(key, BidCommand { amount, ..command })
        }
        Asked::Open(open) => Asked::Open(Open {
            kind: connects::domain::account::Kind::Agency,
            ..open
        }),
        other => other,
    }
}

/// Polls a future so many times and no more: then it is dropped where it waits.
async fn mortal<T>(polls: Option<u32>, life: impl Future<Output = T>) -> Option<T> {
    let mut life = pin!(life);
    let mut left = polls;
    poll_fn(|context| {
        if left == Some(0) {
            return Poll::Ready(None);
        }
        left = left.map(|left| left - 1);
        life.as_mut().poll(context).map(Some)
    })
    .await
}
