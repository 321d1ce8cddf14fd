//! What can be done in the small world, and the world it is done in.

use std::fmt::Debug;

use connects::domain::account::{AccountView, Amend, Kind, Open, Status};
use connects::domain::auction;
use connects::domain::codes::{Batch, CodesCommand, Salt};
use connects::domain::email::Email;
use connects::domain::ids::{AccountId, JobId, OperationId, PersonId, PromoCode};
use connects::domain::job::{PostJob, Pricing};
use connects::domain::key::IdempotencyKey;
use connects::domain::plan_change::PlanChangeCommand;
use connects::domain::policy::{BUILT_IN, Policy};
use connects::domain::promo::{Discount, Offer, Terms};
use connects::domain::proposal::ProposeCommand;
use connects::domain::purchase::{PurchaseCommand, PurchaseStatus, PurchaseView};
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::domain::refusal::Refusal;
use connects::domain::reward::{Client, RewardCommand};
use connects::domain::spend::SpendCommand;
use connects::domain::units::{Connects, Money};
use connects::ledger::{Error, Ledger, Outcome, Report};
use connects::payments::Sandbox;
use futures::future::{FutureExt, LocalBoxFuture};

use super::{auctions, badges, holds, market};
use crate::table::{at, grant, instant, spend};

/// When the account was opened, and the fixed part of its life went by.
const OPENED: &str = "2025-01-10T12:00:00Z";
const SPENT: &str = "2025-01-12T12:00:00Z";
const BOUGHT: &str = "2025-01-20T12:00:00Z";

/// Far enough ahead that whatever is open is due.
const AHEAD: &str = "2025-03-01T00:00:00Z";

/// What the earlier spend took: both first lots, the second one but for 5.
const SPENT_BEFORE: u64 = 45;

/// What the earlier purchase brought.
const BOUGHT_BEFORE: i64 = 10;

/// What a proposal costs: less than an interview's reward, and an amount that no one lot holds.
const COST: u64 = 7;

/// Two lots' worth, and more than can be had twice.
const SPEND: u64 = 12;

/// More than half of what was spent.
const REFUND: u64 = 30;

/// The state of things before anything happens at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scene {
    /// No account yet.
    New,
    /// An account with two lots, on a day on which nothing is due but a notice.
    Quiet,
    /// The same account when its first lot has just expired and a cycle's grant is due.
    Due,
    /// The quiet day, and a job that nobody has proposed on.
    Posted,
    /// The same when two accounts have proposed on it.
    Proposed,
    /// The same when the client has cancelled the job, and nothing has come back yet.
    Cancelled,
    /// The same when it has expired instead, and nobody has noted that nothing comes back.
    Expired,
    /// Two accounts have proposed on the job, and the first one's bid leads.
    Led,
    /// The same when the auction's time is just over.
    Over,
    /// The same when the other one's bid leads instead, and the first one's is still on its way back.
    Releasing,
    /// The same when the first one leads and the client has cancelled the job.
    Dropped,
    /// The quiet day, and the account's badge is on: its paid week is just over.
    Badged,
}

impl Scene {
    /// The time there.
    pub fn now(self) -> &'static str {
        match self {
            Self::New => OPENED,
            Self::Due => "2025-02-11T00:05:00Z",
            Self::Over => "2025-02-09T12:00:00Z",
            _ => "2025-02-05T12:00:00Z",
        }
    }

    /// Whether another account has part in it from the beginning.
    fn has_other(self) -> bool {
        matches!(self, Self::Proposed | Self::Cancelled | Self::Expired) || self.has_bids()
    }
}

/// Something that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Opens the account.
    Open,
    /// Opens it for somebody else.
    OpenForAnother,
    /// Opens another account for the same person.
    OpenSecond,
    /// Spends more than half of what there is.
    Spend,
    /// Spends one.
    SpendOne,
    /// Gives back more than half of what was spent before.
    Refund,
    /// Buys, approved at once.
    Buy,
    /// Buys; the provider's first answer is lost.
    BuySlowly,
    /// Buys, and is declined.
    BuyInVain,
    /// Buys with a single-use code's discount, approved at once.
    BuyWithCode,
    /// Buys with that code, and is declined.
    BuyWithCodeInVain,
    /// Buys with another code of the same promo.
    BuyWithAnother,
    /// Another account buys with the first code.
    BuyWithCodeElsewhere,
    /// The schedule that recovers open payments.
    Recover,
    /// Takes the purchase made before back.
    ChargeBack,
    /// Redeems a code that can be redeemed once.
    Redeem,
    /// Another account redeems it.
    RedeemElsewhere,
    /// Proposes on a job.
    Propose,
    /// Rewards the interview that an earlier proposal led to.
    Interview,
    /// Gives most of what that proposal cost back.
    RefundProposal,
    /// Rewards the account's holder.
    Reward,
    /// Upgrades the account.
    Upgrade,
    /// Asks for plus where a downgrade is scheduled.
    StayOnPlus,
    /// Says that a membership was not paid, where a downgrade is scheduled.
    FallBack,
    /// Suspends the account and changes its contact.
    Suspend,
    /// The schedule that books grants.
    SweepGrants,
    /// The schedule that books expiries and notices.
    SweepExpiry,
    /// Reads the account.
    Read,
    /// Does something about a job.
    Job(market::Deed),
    /// Does something about a hold.
    Hold(holds::Deed),
    /// Does something about an auction.
    Auction(auctions::Deed),
    /// Does something about the badge.
    Badge(badges::Deed),
}

/// Something that is done under an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Act {
    /// What.
    pub kind: Deed,
    /// Under which key: acts of one kind and one key are tries of the same.
    pub key: usize,
}

/// What an operation was told at its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Told {
    /// An answer, or a refusal.
    Answer(String),
    /// Where a purchase stands.
    Purchase {
        /// What never changes.
        fixed: String,
        /// What may still change; none while it is pending.
        settled: Option<String>,
    },
    /// Something as it stands at the end of a request that would leave it as it is.
    Standing {
        /// What never changes.
        fixed: String,
        /// What may have changed since the request first took effect.
        now: String,
    },
    /// A proposal or a badge, read together with its account's balance, but not at one moment.
    Proposal {
        /// What never changes.
        fixed: String,
        /// What may have changed since the request first took effect.
        now: String,
        /// The balance.
        balance: String,
    },
    /// A job, or its auction, read while somebody may be carrying out a closure of it, or its end.
    Job {
        /// What never changes.
        fixed: String,
        /// What may have changed since the request first took effect.
        now: String,
        /// How far it is.
        far: String,
    },
    /// Something broke.
    Broke(String),
}

impl Told {
    /// Whether both tell of the same. A purchase that is pending may end as any. An operation that
    /// met with a fault may have looked once more, `later` than it took effect.
    pub fn agrees(&self, other: &Self, later: bool) -> bool {
        match (self, other) {
            (
                Self::Purchase { fixed, settled },
                Self::Purchase {
                    fixed: same,
                    settled: then,
                },
            ) => fixed == same && (settled.is_none() || then.is_none() || settled == then),
            (
                Self::Standing { fixed, now },
                Self::Standing {
                    fixed: same,
                    now: then,
                },
            ) => fixed == same && (later || now == then),
            (
                Self::Proposal { fixed, now, .. },
                Self::Proposal {
                    fixed: same,
                    now: then,
                    ..
                },
            )
            | (
                Self::Job { fixed, now, .. },
                Self::Job {
                    fixed: same,
                    now: then,
                    ..
                },
            ) => fixed == same && (later || now == then),
            _ => self == other,
        }
    }
}

impl Told {
    /// Whether both tell of the same balance beside a proposal, or of a job that is as far; one that
    /// is being closed may be anywhere on the way.
    pub fn agrees_beside(&self, other: &Self, later: bool) -> bool {
        match (self, other) {
            (Self::Proposal { balance, .. }, Self::Proposal { balance: same, .. }) => {
                later || balance == same
            }
            (Self::Job { far, .. }, Self::Job { far: found, .. }) => {
                later || far == found || found.starts_with("closing")
            }
            _ => true,
        }
    }
}

/// The policy of the small world: the built-in one, but lots live for a month, so that little has
/// to happen before one expires; an auction has one place, so that two bids are one too many, and its
/// winner pays what the bids before make of it.
pub fn policy() -> Policy {
    let text = BUILT_IN
        .replace("valid_months = 12", "valid_months = 1")
        .replace("slots = 4", "slots = 1")
        .replace("pricing = \"pay_as_bid\"", "pricing = \"next_plus_one\"");
    let policy = Policy::parse(&text).unwrap();
    assert_eq!(policy.lots.valid_months, 1);
    assert_eq!(policy.boost.slots, 1);
    assert_eq!(policy.boost.pricing, auction::Pricing::NextPlusOne);
    policy
}

/// The account that everything happens to.
pub fn account() -> AccountId {
    AccountId::try_new("first").unwrap()
}

/// The other account.
pub fn other() -> AccountId {
    AccountId::try_new("second").unwrap()
}

/// A key that is the same in every order.
pub fn key(name: &str, number: usize) -> IdempotencyKey {
    IdempotencyKey::try_new(&format!("{name}-{number}")).unwrap()
}

fn person(name: &str) -> Open {
    Open {
        kind: Kind::Freelancer,
        person_id: PersonId::try_new(name).unwrap(),
        email: None,
        opened_on: None,
    }
}

fn code() -> PromoCode {
    PromoCode::try_new("ONCE").unwrap()
}

/// A promo with two single-use codes, and those: the same in every run.
fn batch() -> (Vec<PromoCode>, Batch) {
    let command = CodesCommand {
        count: 2,
        terms: Terms {
            offer: Offer::Discount(Discount::Percent { percent_off: 20 }),
            ..grant(1)
        },
    };
    let (name, policy) = (PromoCode::try_new("BATCH").unwrap(), policy().promos);
    let salt = Salt::of(&[7; 32]);
    let planned = command.plan(&name, &key("codes", 0), salt, instant(OPENED), &policy);
    let (answer, batch) = planned.unwrap();
    (answer.codes, batch)
}

fn purchase(method: &str) -> PurchaseCommand {
    PurchaseCommand {
        quantity: BOUGHT_BEFORE,
        promo_code: None,
        payment_method: Some(method.to_owned()),
    }
}

fn purchase_with(code: usize, method: &str) -> PurchaseCommand {
    PurchaseCommand {
        promo_code: batch().0.get(code).cloned(),
        ..purchase(method)
    }
}

fn job(name: &str) -> JobId {
    JobId::try_new(name).unwrap()
}

fn proposal(name: &str) -> ProposeCommand {
    ProposeCommand::new(job(name), Connects::new(COST))
}

fn interview() -> RewardCommand {
    RewardCommand::InterviewWon {
        job_id: job("earlier"),
        client: Client {
            hires: 1,
            spend: Money {
                amount: 1,
                currency: "USD".to_owned(),
            },
        },
    }
}

fn earlier_spend() -> OperationId {
    SpendCommand::id(&account(), &key("earlier", 0))
}

fn earlier_purchase() -> OperationId {
    PurchaseCommand::id(&account(), &key("earlier", 0))
}

/// Makes the scene, as far as the acts need it.
pub async fn prepare(ledger: &Ledger, scene: Scene, acts: &[Act]) {
    let wanted = |kind| acts.iter().any(|act| act.kind == kind);
    let terms = Terms {
        max_redemptions: Some(1),
        ..grant(7)
    };
    if wanted(Deed::Redeem) || wanted(Deed::RedeemElsewhere) {
        ledger
            .put_promo(&at(OPENED), &code(), &terms)
            .await
            .unwrap();
    }
    if acts.iter().any(|act| act.kind.has_code()) {
        ledger.store().put_codes(&batch().1).await.unwrap();
    }
    let elsewhere = [
        Deed::RedeemElsewhere,
        Deed::BuyWithCodeElsewhere,
        Deed::Job(market::Deed::ProposeElsewhere),
    ];
    let has_part = |act: &Act| matches!(act.kind, Deed::Auction(deed) if deed.is_of_the_other());
    if scene.has_other() || elsewhere.into_iter().any(wanted) || acts.iter().any(has_part) {
        let open = person("q");
        ledger.open(&at(OPENED), &other(), open).await.unwrap();
    }
    if scene == Scene::New {
        return;
    }
    let (id, sandbox) = (account(), Sandbox::new(ledger.store().clone()));
    ledger.open(&at(OPENED), &id, person("p")).await.unwrap();
    let plus = acts.iter().any(|act| act.kind.leaves_plus());
    let change = async |number, now, command| {
        let key = key("earlier", number);
        let changed = ledger.change_plan(&at(now), &id, &key, command).await;
        changed.unwrap();
    };
    if plus {
        // On the day of the opening, so that the cycles are the same.
        change(0, OPENED, PlanChangeCommand::Upgrade).await;
    }
    let command = spend(SPENT_BEFORE);
    let (now, first) = (at(SPENT), key("earlier", 0));
    ledger.spend(&now, &id, &first, &command).await.unwrap();
    let buy = async |number, now, method| {
        let (key, command) = (key("earlier", number), purchase(method));
        let now = at(now);
        let bought = ledger.purchase(&now, &sandbox, &id, &key, &command);
        bought.await.unwrap();
    };
    buy(0, BOUGHT, "sandbox_approve").await;
    if plus {
        change(1, BOUGHT, PlanChangeCommand::Downgrade).await;
    }
    if acts.iter().any(|act| act.kind.is_of_a_job()) {
        let post = PostJob {
            posted_at: instant(OPENED),
            pricing: Pricing::Stated(Connects::new(COST)),
        };
        for job in [job("earlier"), job("new")] {
            ledger.post_job(&at(OPENED), &job, &post).await.unwrap();
        }
        let (now, key) = (at(BOUGHT), key("earlier", 0));
        let command = proposal("earlier");
        let submitted = ledger.propose(&now, &id, Some(&key), &command);
        submitted.await.unwrap();
    }
    let of_a_hold = acts.iter().any(|act| act.kind.is_of_a_hold());
    let bids = acts.iter().any(|act| matches!(act.kind, Deed::Auction(_)));
    if of_a_hold || bids || scene.has_bids() {
        buy(2, BOUGHT, "sandbox_approve").await;
    }
    if of_a_hold {
        let ends = wanted(Deed::Hold(holds::Deed::Sweep));
        holds::prepare(ledger, scene, ends).await;
    }
    if wanted(Deed::Recover) {
        // Recovery asks again, or has lost patience and gives it up.
        let since = match scene {
            Scene::New | Scene::Due => BOUGHT,
            _ => scene.now(),
        };
        buy(1, since, "sandbox_late").await;
    }
    market::prepare(ledger, scene).await;
    badges::prepare(ledger, scene, acts).await;
}

/// What may be left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOpen {
    /// Whether payments are.
    pub payments: bool,
    /// Whether auctions are that should not be, or bids on their way back.
    pub auctions: bool,
    /// Whether closures are.
    pub closures: bool,
}

/// Finishes what is left open: recovery asks the provider about each open payment, auctions are settled,
/// and every closure is carried out.
pub async fn finish(ledger: &Ledger, scene: Scene, left: LeftOpen) {
    let (now, until) = (at(scene.now()), instant(AHEAD));
    if left.auctions {
        auctions::finish(ledger, scene).await;
    }
    if left.payments {
        let sandbox = Sandbox::new(ledger.store().clone());
        let swept = ledger.sweep_payments(&now, &sandbox, until).await;
        assert_eq!(swept.unwrap().failed, 0);
    }
    if left.closures {
        let swept = ledger.sweep_closures(&at(AHEAD), until).await;
        assert_eq!(swept.unwrap().failed, 0);
    }
}

impl Deed {
    /// Whether something has to be there for it that is not there for all.
    pub fn needs_more(self) -> bool {
        matches!(
            self,
            Self::Redeem
                | Self::RedeemElsewhere
                | Self::Recover
                | Self::Job(market::Deed::ProposeElsewhere)
                | Self::Auction(_)
                | Self::Badge(_)
        ) || self.leaves_plus()
            || self.is_of_a_job()
            || self.is_of_a_hold()
            || self.has_code()
    }

    /// Whether it is a purchase with a single-use code.
    pub fn has_code(self) -> bool {
        matches!(
            self,
            Self::BuyWithCode
                | Self::BuyWithCodeInVain
                | Self::BuyWithAnother
                | Self::BuyWithCodeElsewhere
        )
    }

    /// Whether it is about a hold.
    pub fn is_of_a_hold(self) -> bool {
        matches!(self, Self::Hold(_))
    }

    /// Whether it is about a proposal on a job.
    pub fn is_of_a_job(self) -> bool {
        matches!(self, Self::Propose | Self::Interview | Self::RefundProposal)
    }

    /// Whether it is about an account on plus that is to go down.
    pub fn leaves_plus(self) -> bool {
        matches!(self, Self::StayOnPlus | Self::FallBack)
    }

    /// Whether it remembers what it read when it begins to read anew, and waits for some calls
    /// while it goes on to others.
    pub fn is_pass(self) -> bool {
        match self {
            Self::Job(deed) => deed.is_pass(),
            Self::Auction(deed) => deed.is_pass(),
            _ => false,
        }
    }

    /// Whether a second try may be refused although the first one, of which nobody heard, was done:
    /// a job's post leaves no receipt, and the job may have been closed since.
    pub fn is_refused_when_done(self, told: &Told) -> bool {
        let closed = format!("{:?}", Refusal::JobClosed);
        self == Self::Job(market::Deed::Reprice) && *told == Told::Answer(closed)
    }

    /// Whether a payment may be open meanwhile.
    pub fn pays(self) -> bool {
        matches!(
            self,
            Self::Buy | Self::BuySlowly | Self::BuyInVain | Self::Recover
        ) || self.has_code()
    }
}

impl Act {
    /// Does it.
    pub fn begin(self, ledger: Ledger, scene: Scene) -> LocalBoxFuture<'static, Told> {
        let act = async move {
            let (id, now, key) = (account(), at(scene.now()), key("act", self.key));
            let sandbox = Sandbox::new(ledger.store().clone());
            let until = instant(AHEAD);
            let buy_as = async |id: &AccountId, command: PurchaseCommand| {
                let bought = ledger.purchase(&now, &sandbox, id, &key, &command).await;
                told(bought.map(Outcome::into_inner), stands)
            };
            let buy = async |method| buy_as(&id, purchase(method)).await;
            let buy_with = async |code, method| buy_as(&id, purchase_with(code, method)).await;
            let open = async |id: &AccountId, name| {
                let opened = ledger.open(&now, id, person(name)).await;
                told(opened.map(Outcome::into_inner), account_view)
            };
            let spend = async |amount| {
                let spent = ledger.spend(&now, &id, &key, &spend(amount)).await;
                told(spent.map(Outcome::into_inner), text)
            };
            let redeem = async |id: &AccountId| {
                let redeemed = ledger.redeem(&now, id, Some(&key), &code()).await;
                told(redeemed.map(Outcome::into_inner), text)
            };
            let change = async |command| {
                let changed = ledger.change_plan(&now, &id, &key, command).await;
                told(changed.map(Outcome::into_inner), text)
            };
            let refund = async |of, amount| {
                let command = RefundCommand {
                    of,
                    amount: Some(Connects::new(amount)),
                    reason: RefundReason::Goodwill,
                };
                let refunded = ledger.refund(&now, &id, &key, &command).await;
                told(refunded.map(Outcome::into_inner), text)
            };
            let reward = async |command| {
                let rewarded = ledger.reward(&now, &id, Some(&key), &command).await;
                told(rewarded.map(Outcome::into_inner), text)
            };
            match self.kind {
                Deed::Open => open(&id, "p").await,
                Deed::OpenForAnother => open(&id, "q").await,
                Deed::OpenSecond => open(&other(), "p").await,
                Deed::Spend => spend(SPEND).await,
                Deed::SpendOne => spend(1).await,
                Deed::Refund => refund(RefundOf::SpendId(earlier_spend()), REFUND).await,
                Deed::RefundProposal => refund(RefundOf::JobId(job("earlier")), COST - 1).await,
                Deed::Buy => buy("sandbox_approve").await,
                Deed::BuySlowly => buy("sandbox_timeout").await,
                Deed::BuyInVain => buy("sandbox_decline").await,
                Deed::BuyWithCode => buy_with(0, "sandbox_approve").await,
                Deed::BuyWithCodeInVain => buy_with(0, "sandbox_decline").await,
                Deed::BuyWithAnother => buy_with(1, "sandbox_approve").await,
                Deed::BuyWithCodeElsewhere => {
                    buy_as(&other(), purchase_with(0, "sandbox_approve")).await
                }
                Deed::Recover => swept(ledger.sweep_payments(&now, &sandbox, until).await),
                Deed::ChargeBack => {
                    let purchase = earlier_purchase();
                    let done = ledger.chargeback(&now, &id, &purchase, Some(&key)).await;
                    told(done.map(Outcome::into_inner), text)
                }
                Deed::Redeem => redeem(&id).await,
                Deed::RedeemElsewhere => redeem(&other()).await,
                Deed::Propose => {
                    let command = proposal("new");
                    let submitted = ledger.propose(&now, &id, Some(&key), &command).await;
                    told(submitted.map(Outcome::into_inner), text)
                }
                Deed::Interview => reward(interview()).await,
                Deed::Reward => reward(RewardCommand::RisingTalent).await,
                Deed::Upgrade | Deed::StayOnPlus => change(PlanChangeCommand::Upgrade).await,
                Deed::FallBack => change(PlanChangeCommand::FallBack).await,
                Deed::Suspend => {
                    let amend = Amend {
                        status: Some(Status::Suspended),
                        email: Some(Email::try_new("holder@example.com").unwrap()),
                    };
                    told(ledger.amend(&now, &id, amend).await, account_view)
                }
                Deed::SweepGrants => swept(ledger.sweep_grants(&now, now.now).await),
                Deed::SweepExpiry => swept(ledger.sweep_expiry(&now, now.now).await),
                Deed::Read => told(ledger.account(&now, &id).await, text),
                Deed::Job(deed) => deed.done(&ledger, &now, self).await,
                Deed::Hold(deed) => deed.done(&ledger, &now, self).await,
                Deed::Auction(deed) => deed.done(&ledger, &now, self).await,
                Deed::Badge(deed) => deed.done(&ledger, &now, self).await,
            }
        };
        act.boxed_local()
    }
}

/// What an operation was told, an answer in these words.
pub fn told<T>(answer: Result<T, Error>, words: impl FnOnce(T) -> Told) -> Told {
    match answer {
        Ok(answer) => words(answer),
        Err(Error::Refused(Refusal::AlreadyProposed { existing })) => market::existing(existing),
        // Where the purchase that used the code stands is as it may be.
        Err(Error::Refused(Refusal::PromoAlreadyRedeemed { existing }))
            if !existing["purchase_id"].is_null() =>
        {
            Told::Answer(format!("used by {}", existing["purchase_id"]))
        }
        Err(Error::Refused(refusal)) => Told::Answer(format!("{refusal:?}")),
        Err(Error::Fault(fault)) => Told::Broke(fault.to_string()),
    }
}

/// All of an answer.
pub fn text(answer: impl Debug) -> Told {
    Told::Answer(format!("{answer:?}"))
}

fn account_view(view: AccountView) -> Told {
    Told::Standing {
        fixed: format!("{} {:?}", view.account_id, view.billing_cycle),
        now: format!("{view:?}"),
    }
}

fn stands(view: PurchaseView) -> Told {
    let fixed = format!("{} {} {:?}", view.purchase_id, view.quantity, view.price);
    let settled = format!("{:?} {:?} {:?}", view.status, view.lot_id, view.balance);
    Told::Purchase {
        fixed,
        settled: (view.status != PurchaseStatus::Pending).then_some(settled),
    }
}

/// How much a run found to do depends on who was quicker; that nothing failed does not.
pub fn swept(report: Result<Report, impl Into<Error>>) -> Told {
    match report.map_err(Into::into) {
        Ok(report) if report.failed == 0 && !report.unfinished => {
            Told::Answer("nothing failed".to_owned())
        }
        Ok(report) => Told::Broke(format!("{report:?}")),
        Err(error) => Told::Broke(error.to_string()),
    }
}
