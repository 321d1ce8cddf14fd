//! What each operation costs: a walk through all of them on a metered table. The tests hold each
//! step to its budget, and `cargo local bench cost` puts prices on it.

use std::sync::Arc;

use connects::domain::account::{Amend, Kind, Open, Status};
use connects::domain::bid::BidCommand;
use connects::domain::closure::ClosureReason;
use connects::domain::codes::CodesCommand;
use connects::domain::hold::{EndHold, HoldCommand};
use connects::domain::ids::{AccountId, JobId, OperationId, PersonId, PromoCode, Reason};
use connects::domain::job::{PostJob, Pricing};
use connects::domain::key::IdempotencyKey;
use connects::domain::low_balance::SetLowBalance;
use connects::domain::plan_change::PlanChangeCommand;
use connects::domain::promo::{Discount, Offer, PromoKind, Terms};
use connects::domain::proposal::{Decision, ProposeCommand};
use connects::domain::purchase::PurchaseCommand;
use connects::domain::quota::Quota;
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::domain::reward::{Client, RewardCommand};
use connects::domain::top_up::TopUpTerms;
use connects::domain::units::{Connects, Money};
use connects::ledger::Ledger;
use connects::payments::{Charge, Payment, Provider};
use connects::store::{Cost, Meter};

use crate::table::{
    Table, account_id, at, batch_name, grant, instant, job_id, key, promo_code, spend, unique,
};

const NOW: &str = "2026-01-10T12:00:00Z";

/// A provider that costs the table nothing.
#[derive(Debug)]
pub struct Approves;

impl Provider for Approves {
    fn default_method(&self) -> &str {
        "approves"
    }
    async fn charge(&self, _: &Charge<'_>) -> Payment {
        Payment::Paid
    }
    async fn cancel(&self, _: &Charge<'_>) -> Payment {
        Payment::Paid
    }
    fn accepts(&self, _: &str) -> bool {
        true
    }
}

/// The same, that never takes money.
#[derive(Debug)]
pub struct Declines;

impl Provider for Declines {
    fn default_method(&self) -> &str {
        "declines"
    }
    async fn charge(&self, _: &Charge<'_>) -> Payment {
        Payment::Declined
    }
    async fn cancel(&self, _: &Charge<'_>) -> Payment {
        Payment::Declined
    }
    fn accepts(&self, _: &str) -> bool {
        true
    }
}

/// What a step may cost.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Items put, updated or deleted.
    pub items_written: u64,
    /// Write units, index writes included.
    pub write_units: u64,
    /// What it reads; none for a step of a schedule, which also looks for what is due.
    pub reading: Option<Reading>,
}

/// What a step reads.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Read units beside the state's. The state's one query is 1 or 2: it asks for 16 items, however
    /// many of them are older entries.
    pub beside_state: u64,
    /// Calls one after another, the writing one included.
    pub round_trips: u32,
}

impl Budget {
    const fn of(items_written: u64, write_units: u64, beside_state: u64, round_trips: u32) -> Self {
        Self {
            items_written,
            write_units,
            reading: Some(Reading {
                beside_state,
                round_trips,
            }),
        }
    }

    const fn written(items_written: u64, write_units: u64) -> Self {
        Self {
            items_written,
            write_units,
            reading: None,
        }
    }
}

/// A step of the walk.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What was done.
    pub operation: &'static str,
    /// What it may cost.
    pub budget: Budget,
    /// What it cost.
    pub cost: Cost,
}

/// A table whose calls are counted.
#[derive(Debug)]
pub struct Metered {
    /// The table.
    pub table: Table,
    /// The ledger over it.
    pub ledger: Ledger,
    /// What counts.
    pub meter: Arc<Meter>,
    steps: Vec<Step>,
}

impl Metered {
    /// A new one.
    pub async fn new() -> Self {
        let table = Table::new().await;
        let meter = Arc::new(Meter::default());
        let store = table.ledger.store().clone().metered(meter.clone());
        let ledger = Ledger::new(store, table.ledger.policy().clone());
        Self {
            table,
            ledger,
            meter,
            steps: vec![],
        }
    }

    /// Whatever was called since the last step was this.
    fn was(&mut self, operation: &'static str, budget: Budget) {
        self.steps.push(Step {
            operation,
            budget,
            cost: self.meter.take(),
        });
    }

    /// Spends so many.
    pub async fn spend(
        &self,
        account: &AccountId,
        key: &IdempotencyKey,
        amount: u64,
    ) -> OperationId {
        let command = spend(amount);
        let spent = self.ledger.spend(&at(NOW), account, key, &command).await;
        spent.unwrap().into_inner().spend_id
    }

    async fn propose(&self, job: &JobId, account: &AccountId, expected_cost: u64) {
        let command = ProposeCommand::new(job.clone(), Connects::new(expected_cost));
        let now = at(NOW);
        let submitted = self.ledger.propose(&now, account, None, &command);
        submitted.await.unwrap();
    }

    async fn hold(&self, account: &AccountId, amount: u64, until: Option<&str>) -> OperationId {
        let command = HoldCommand {
            amount: Connects::new(amount),
            reason: Reason::of("test"),
            reference: None,
            expires_at: until.map(instant),
        };
        let held = self.ledger.hold(&at(NOW), account, &key(), &command).await;
        held.unwrap().into_inner().hold_id
    }

    /// Holds and their ends, in an account of their own.
    async fn holds(&mut self) {
        let (ledger, now) = (self.ledger.clone(), at(NOW));
        let account = self.table.open(NOW).await;
        for (operation, end, budget) in [
            (
                "capture of a hold",
                EndHold::Capture { amount: None },
                Budget::of(2, 4, 1, 2),
            ),
            (
                "capture of a part",
                EndHold::Capture {
                    amount: Some(Connects::new(1)),
                },
                Budget::of(4, 8, 1, 2),
            ),
            (
                "release of a hold",
                EndHold::Release,
                Budget::of(3, 6, 1, 2),
            ),
        ] {
            let held = self.hold(&account, 2, None).await;
            self.meter.take();
            let ended = ledger.end_hold(&now, &account, &held, None, &end).await;
            ended.unwrap();
            self.was(operation, budget);
        }
        let held = self.hold(&account, 2, None).await;
        self.was("hold from one lot", Budget::of(3, 6, 1, 2));
        let release = EndHold::Release;
        let ended = ledger.end_hold(&now, &account, &held, None, &release).await;
        ended.unwrap();
        self.meter.take();
        // One that ends by itself is in the index until it has ended.
        let held = self.hold(&account, 2, Some("2027-01-01T00:00:00Z")).await;
        self.was("hold with an end of its own", Budget::of(3, 7, 1, 2));
        let ended = ledger.end_hold(&now, &account, &held, None, &release).await;
        ended.unwrap();
        self.was("its release", Budget::of(3, 7, 1, 2));
    }

    async fn bid(&self, account: &AccountId, job: &JobId, amount: u64) -> IdempotencyKey {
        let key = key();
        self.bid_under(&key, account, job, amount).await;
        key
    }

    async fn bid_under(&self, key: &IdempotencyKey, account: &AccountId, job: &JobId, amount: u64) {
        let command = BidCommand {
            job_id: job.clone(),
            amount: Connects::new(amount),
        };
        let bid = self
            .ledger
            .bid(&at(NOW), account, Some(key), &command)
            .await;
        bid.unwrap();
    }

    /// A job with five that want the first four places.
    async fn auction(&mut self, post: &PostJob) {
        let (ledger, now) = (self.ledger.clone(), at(NOW));
        let job = job_id();
        ledger.post_job(&now, &job, post).await.unwrap();
        let mut all = vec![];
        for _ in 0..6 {
            all.push(self.table.open(NOW).await);
        }
        for account in &all[..5] {
            self.propose(&job, account, 8).await;
        }
        self.meter.take();
        self.bid(&all[0], &job, 10).await;
        // Entry, lot, proposal, receipt, auction, which is due at its end; the check of the job.
        self.was("a job's first bid", Budget::of(5, 13, 4, 2));
        self.bid(&all[1], &job, 11).await;
        self.was("bid", Budget::of(5, 12, 4, 2));
        let raise = self.bid(&all[1], &job, 12).await;
        self.was("raise of a bid", Budget::of(5, 12, 4, 2));
        self.bid_under(&raise, &all[1], &job, 12).await;
        self.was("replay of a bid", Budget::of(0, 0, 4, 1));
        self.bid(&all[2], &job, 13).await;
        self.bid(&all[3], &job, 14).await;
        self.meter.take();
        // The loser's entry, lot and proposal as well.
        self.bid(&all[4], &job, 15).await;
        self.was("bid that pushes another out", Budget::of(8, 18, 6, 3));
        let boosted = ProposeCommand {
            boost: Some(Connects::new(16)),
            ..ProposeCommand::new(job.clone(), Connects::new(8))
        };
        let submitted = ledger.propose(&now, &all[5], None, &boosted).await;
        submitted.unwrap();
        self.was(
            "proposal with a bid that pushes another out",
            Budget::of(8, 18, 5, 3),
        );
        ledger.auction(&now, &job, |_| false).await.unwrap();
        self.was("bids on a job", Budget::of(0, 0, 2, 1));
        ledger.interaction(&now, &all[2], &job).await.unwrap();
        self.was("interaction that charges", Budget::of(3, 6, 2, 2));
        ledger.interaction(&now, &all[2], &job).await.unwrap();
        self.was("interaction after that", Budget::of(0, 0, 2, 1));
        ledger.contract(&now, &job, &all[0]).await.unwrap();
        // Contract, job, auction; an entry and a proposal for each of three; the auction once more.
        self.was("hire that three winners pay at", Budget::written(10, 22));
    }

    /// A badge and its price, in an account of its own.
    async fn badges(&mut self) {
        let (ledger, now) = (self.ledger.clone(), at(NOW));
        let account = self.table.open(NOW).await;
        // The first to ask in a week counts the badges that are on, shard by shard.
        ledger.badge_price(&now).await.unwrap();
        let first = "the badge's price, first in its week";
        self.was(first, Budget::written(1, 1));
        ledger.badge_price(&now).await.unwrap();
        self.was("the badge's price", Budget::of(0, 0, 0, 1));
        for (operation, max_weekly, budget) in [
            ("turning the badge on", 10, Budget::of(3, 7, 2, 2)),
            ("the same again", 10, Budget::of(0, 0, 2, 1)),
            ("another maximum", 12, Budget::of(1, 1, 2, 2)),
        ] {
            let max_weekly = Connects::new(max_weekly);
            ledger.put_badge(&now, &account, max_weekly).await.unwrap();
            self.was(operation, budget);
        }
        ledger.badge(&now, &account).await.unwrap();
        self.was("badge", Budget::of(0, 0, 2, 1));
        ledger.turn_badge_off(&now, &account).await.unwrap();
        self.was("turning the badge off", Budget::of(1, 2, 2, 2));
    }

    /// A balance that becomes low and is topped up, in an account of its own.
    async fn low_balances(&mut self) {
        let (ledger, now) = (self.ledger.clone(), at(NOW));
        let account = self.table.open(NOW).await;
        let wanted = |threshold, top_up: bool| SetLowBalance {
            threshold: Connects::new(threshold),
            top_up: top_up.then(|| TopUpTerms {
                quantity: Connects::new(40),
                monthly_cap: Money {
                    amount: 1_200,
                    currency: "USD".to_owned(),
                },
                payment_method: "approves".to_owned(),
            }),
        };
        self.meter.take();
        for (operation, wanted, budget) in [
            ("a threshold", wanted(40, false), Budget::of(2, 4, 1, 2)),
            ("the same again", wanted(40, false), Budget::of(0, 0, 1, 1)),
        ] {
            let set = ledger.set_low_balance(&now, &Approves, &account, &wanted);
            set.await.unwrap();
            self.was(operation, budget);
        }
        self.spend(&account, &key(), 11).await;
        // Entry, lot, receipt; the notice.
        self.was("spend that makes the balance low", Budget::of(4, 8, 1, 2));
        for (operation, wanted, budget) in [
            // Wanted at once: it is low.
            ("a top-up", wanted(40, true), Budget::of(3, 7, 1, 2)),
            // The top-up is as it was.
            (
                "another threshold",
                wanted(39, true),
                Budget::of(2, 4, 1, 2),
            ),
        ] {
            let set = ledger.set_low_balance(&now, &Approves, &account, &wanted);
            set.await.unwrap();
            self.was(operation, budget);
        }
        ledger.low_balance(&now, &account).await.unwrap();
        self.was("when a balance is low", Budget::of(0, 0, 1, 1));
        // It is enough now: the crossing is dropped.
        ledger.top_up(&now, &Approves, &account).await.unwrap();
        self.was("top-up that is not needed", Budget::of(1, 2, 1, 2));
        self.spend(&account, &key(), 1).await;
        // And the top-up, which is due now.
        let operation = "spend that makes the balance low, with a top-up";
        self.was(operation, Budget::of(5, 11, 1, 2));
        ledger.top_up(&now, &Declines, &account).await.unwrap();
        // Purchase and top-up, twice; each is in the index in between or before and after.
        self.was("declined top-up", Budget::of(4, 12, 1, 3));
        let later = at("2026-01-10T13:00:00Z");
        ledger.top_up(&later, &Approves, &account).await.unwrap();
        // Purchase and top-up; entry, lot, purchase and top-up.
        self.was("top-up", Budget::of(6, 16, 1, 3));
        ledger.top_up(&later, &Approves, &account).await.unwrap();
        self.was("the same again", Budget::of(0, 0, 1, 1));
        ledger.clear_low_balance(&later, &account).await.unwrap();
        self.was("clearing it", Budget::of(3, 6, 1, 2));
        self.table.audit(&account).await;
    }

    /// The weeks of a badge, in an account of its own: one that is renewed, and one that is too dear.
    async fn badge_weeks(&mut self) {
        let ledger = self.ledger.clone();
        let account = self.table.open(NOW).await;
        let (second, third) = ("2026-01-17T12:00:00Z", "2026-01-24T12:00:00Z");
        let put = async |now: &str, max_weekly| {
            let max_weekly = Connects::new(max_weekly);
            let put = ledger.put_badge(&at(now), &account, max_weekly).await;
            put.unwrap();
        };
        put(NOW, 4).await;
        for now in [second, third] {
            ledger.badge_price(&at(now)).await.unwrap();
        }
        self.meter.take();
        for (step, budget) in [
            ("a badge's week: entry, lot, badge", Budget::written(3, 8)),
            ("the same run again", Budget::written(0, 0)),
        ] {
            let now = at(second);
            ledger.sweep_badges(&now, now.now).await.unwrap();
            self.was(step, budget);
        }
        put(second, 1).await;
        self.meter.take();
        let now = at(third);
        ledger.sweep_badges(&now, now.now).await.unwrap();
        let off = "a badge that goes off: itself, a notice";
        self.was(off, Budget::written(2, 5));
        self.table.audit(&account).await;
    }

    /// What a request for history costs more, and one that names a promo code.
    async fn quotas(&mut self, account: &AccountId) {
        let (ledger, now) = (self.ledger.clone(), at(NOW));
        let taken = |quota| ledger.take(&now, account, quota, now.now);
        taken(Quota::History).await.unwrap();
        self.was("count of a first page of history", Budget::of(1, 1, 0, 1));
        taken(Quota::History).await.unwrap();
        self.was("count of a further page", Budget::of(1, 1, 0, 2));
        for _ in 0..ledger.policy().limits.guesses.burst {
            taken(Quota::Guesses).await.unwrap();
        }
        self.meter.take();
        taken(Quota::Guesses).await.unwrap_err();
        self.was("one too many", Budget::of(0, 0, 0, 1));
        let guess = ledger.guess(&now, account, now.now, async { Ok(()) });
        guess.await.unwrap_err();
        self.was("a look at the guesses left", Budget::of(0, 0, 1, 1));
    }

    async fn refund(&self, account: &AccountId, spend: OperationId) {
        self.refund_of(account, RefundOf::SpendId(spend)).await;
    }

    async fn refund_of(&self, account: &AccountId, of: RefundOf) {
        let command = RefundCommand {
            of,
            amount: None,
            reason: RefundReason::Goodwill,
        };
        self.ledger
            .refund(&at(NOW), account, &key(), &command)
            .await
            .unwrap();
    }

    /// Buys one lot, and gives the purchase.
    pub async fn buy(&self, account: &AccountId, quantity: i64) -> OperationId {
        self.buy_with(&Approves, account, quantity, None).await
    }

    async fn buy_with(
        &self,
        provider: &impl Provider,
        account: &AccountId,
        quantity: i64,
        promo_code: Option<PromoCode>,
    ) -> OperationId {
        let command = PurchaseCommand {
            quantity,
            promo_code,
            payment_method: None,
        };
        let bought = self
            .ledger
            .purchase(&at(NOW), provider, account, &key(), &command)
            .await
            .unwrap();
        bought.into_inner().purchase_id
    }

    /// As many single-use codes as can be made at once.
    async fn make_codes(&mut self, terms: &Terms) -> Vec<PromoCode> {
        let command = CodesCommand {
            count: self.ledger.policy().promos.max_codes,
            terms: terms.clone(),
        };
        let (now, key, promo) = (at(NOW), key(), batch_name());
        let made = self.ledger.make_codes(&now, &key, &promo, &command).await;
        let codes = made.unwrap().into_inner().codes;
        // The promo, 16 slots, what the codes follow from, and 20 pages of 4 KB.
        self.was("10,000 single-use codes", Budget::of(38, 196, 2, 2));
        codes
    }

    /// Purchases with codes on them.
    async fn codes(&mut self, account: &AccountId, terms: &Terms) {
        let (ledger, now) = (self.ledger.clone(), at(NOW));
        let quantity = Connects::new(5);
        let percent_off = 20;
        for (operation, offer, budget) in [
            // Three to begin with; the bonus has an entry and a lot of its own.
            (
                "purchase with a bonus",
                Offer::Bonus { quantity },
                Budget::of(8, 20, 3, 3),
            ),
            (
                "purchase with a discount",
                Offer::Discount(Discount::Percent { percent_off }),
                Budget::of(6, 15, 3, 3),
            ),
        ] {
            let code = promo_code();
            let is_bonus = offer.kind() == PromoKind::Bonus;
            let terms = Terms {
                offer,
                ..terms.clone()
            };
            ledger.put_promo(&now, &code, &terms).await.unwrap();
            self.meter.take();
            let sent = || Some(code.clone());
            self.buy_with(&Declines, account, 20, sent()).await;
            self.was("declined purchase with a code", Budget::of(6, 14, 3, 3));
            let bought = self.buy_with(&Approves, account, 20, sent()).await;
            self.was(operation, budget);
            if is_bonus {
                let back = ledger.chargeback(&now, account, &bought, None).await;
                back.unwrap();
                let operation = "chargeback of an unspent purchase with a bonus";
                self.was(operation, Budget::of(4, 10, 1, 2));
            }
        }
        let discount = Terms {
            offer: Offer::Discount(Discount::Percent { percent_off }),
            ..grant(1)
        };
        let [sent, ..] = &self.make_codes(&discount).await[..] else {
            return;
        };
        let sent = || Some(sent.clone());
        self.buy_with(&Declines, account, 20, sent()).await;
        let budget = Budget::of(8, 18, 4, 3);
        self.was("declined purchase with a single-use code", budget);
        self.buy_with(&Approves, account, 20, sent()).await;
        let budget = Budget::of(7, 17, 4, 3);
        self.was("purchase with a single-use code's discount", budget);
    }
}

/// Every operation once, in each of its forms.
pub async fn operations() -> Vec<Step> {
    let mut walk = Metered::new().await;
    let ledger = walk.ledger.clone();
    let now = at(NOW);

    // Opening: three entries, two lots, profile, person; three of them are in the index.
    let account = account_id();
    let open = Open {
        kind: Kind::Freelancer,
        person_id: PersonId::try_new(&unique()).unwrap(),
        email: None,
        opened_on: None,
    };
    walk.meter.take();
    ledger.open(&now, &account, open.clone()).await.unwrap();
    walk.was("open an account", Budget::of(7, 17, 1, 2));
    ledger.open(&now, &account, open).await.unwrap();
    walk.was("open it again", Budget::of(0, 0, 1, 1));

    ledger.account(&now, &account).await.unwrap();
    walk.was("balance", Budget::of(0, 0, 0, 1));
    ledger.lots(&now, &account).await.unwrap();
    walk.was("lots", Budget::of(0, 0, 0, 1));

    let one = key();
    walk.spend(&account, &one, 30).await;
    walk.was("spend from one lot", Budget::of(3, 6, 1, 2));
    walk.spend(&account, &one, 30).await;
    walk.was("replay of a spend", Budget::of(0, 0, 1, 1));
    let emptying = walk.spend(&account, &key(), 10).await;
    walk.was("spend that empties its lot", Budget::of(3, 7, 1, 2));
    walk.refund(&account, emptying).await;
    walk.was("refund that makes the lot again", Budget::of(4, 9, 2, 2));
    let across = walk.spend(&account, &key(), 12).await;
    walk.was("spend from two lots, emptying one", Budget::of(4, 9, 1, 2));
    walk.refund(&account, across).await;
    walk.was(
        "refund to two lots, making one again",
        Budget::of(5, 11, 2, 2),
    );
    let partly = walk.spend(&account, &key(), 5).await;
    walk.meter.take();
    walk.refund(&account, partly).await;
    walk.was("refund of a spend", Budget::of(4, 8, 2, 2));

    walk.holds().await;
    walk.badges().await;
    walk.low_balances().await;

    let refused = spend(1_000);
    ledger
        .spend(&now, &account, &key(), &refused)
        .await
        .unwrap_err();
    walk.was("refused spend", Budget::of(0, 0, 2, 2));

    let code = promo_code();
    let terms = Terms {
        max_redemptions: Some(10),
        ..grant(5)
    };
    ledger.put_promo(&now, &code, &terms).await.unwrap();
    walk.was("new promo code, one slot", Budget::of(2, 4, 1, 2));
    ledger.redeem(&now, &account, None, &code).await.unwrap();
    walk.was("redemption", Budget::of(4, 9, 2, 2));
    ledger.promo(&now, &code).await.unwrap();
    walk.was("promo code, one slot", Budget::of(0, 0, 2, 2));
    let codes = walk.make_codes(&grant(5)).await;
    let budget = Budget::of(5, 11, 3, 2);
    ledger
        .redeem(&now, &account, None, &codes[0])
        .await
        .unwrap();
    walk.was("redemption of a single-use code", budget);

    walk.quotas(&account).await;

    let job = job_id();
    let post = PostJob {
        posted_at: instant(NOW),
        pricing: Pricing::Stated(Connects::new(8)),
    };
    ledger.post_job(&now, &job, &post).await.unwrap();
    walk.was("new job", Budget::of(1, 1, 1, 2));
    ledger.post_job(&now, &job, &post).await.unwrap();
    walk.was("the same job again", Budget::of(0, 0, 1, 1));
    ledger.job(&now, &job).await.unwrap();
    walk.was("job", Budget::of(0, 0, 1, 1));
    ledger.contract(&now, &job, &account).await.unwrap();
    // Contract, job; the check that it has no auction.
    walk.was("contract on a job", Budget::of(2, 6, 3, 2));
    walk.propose(&job, &account, 8).await;
    walk.was("proposal from one lot", Budget::of(3, 8, 2, 2));
    ledger.proposal(&now, &account, &job).await.unwrap();
    walk.was("read a proposal", Budget::of(0, 0, 1, 1));
    let outcome = Decision::ClientDeclined;
    ledger.decide(&now, &account, &job, outcome).await.unwrap();
    walk.was("outcome of a proposal", Budget::of(1, 1, 1, 2));
    ledger.withdraw(&now, &account, &job).await.unwrap();
    walk.was("withdrawal of a proposal", Budget::of(1, 4, 2, 2));
    walk.refund_of(&account, RefundOf::JobId(job)).await;
    walk.was("refund of a proposal", Budget::of(4, 8, 2, 2));
    let cancelled = job_id();
    ledger.post_job(&now, &cancelled, &post).await.unwrap();
    walk.propose(&cancelled, &account, 8).await;
    walk.meter.take();
    let why = ClosureReason::ClientCancelled;
    ledger.close(&now, &cancelled, why).await.unwrap();
    walk.was("closing a job", Budget::of(2, 7, 2, 2));
    let closure = vec![(cancelled.clone(), why)];
    ledger.carry_out(&now, closure.clone()).await.unwrap();
    // The return itself: entry, lot, proposal. Around it, once: the closure's total, then its end and
    // the job's, which moves when it is looked at last.
    walk.was("a closure with one return", Budget::written(6, 13));
    ledger.carry_out(&now, closure.clone()).await.unwrap();
    walk.was("the same closure again", Budget::of(0, 0, 1, 1));
    let later = at("2026-01-10T12:15:00Z");
    ledger.carry_out(&later, closure).await.unwrap();
    walk.was("its last look", Budget::written(1, 2));
    ledger.job(&now, &cancelled).await.unwrap();
    walk.was("closed job", Budget::of(0, 0, 2, 2));
    walk.auction(&post).await;
    let free = job_id();
    let post = PostJob {
        pricing: Pricing::Stated(Connects::ZERO),
        ..post
    };
    ledger.post_job(&now, &free, &post).await.unwrap();
    walk.meter.take();
    walk.propose(&free, &account, 0).await;
    walk.was(
        "proposal on a job that costs nothing",
        Budget::of(2, 6, 2, 2),
    );

    // Of 8 that it cost, 8 go back to the lot that it was paid from, and 2 are a lot of their own.
    let interview = job_id();
    let eight = PostJob {
        pricing: Pricing::Stated(Connects::new(8)),
        ..post
    };
    ledger.post_job(&now, &interview, &eight).await.unwrap();
    walk.propose(&interview, &account, 8).await;
    walk.meter.take();
    for (operation, command, budget) in [
        (
            "reward of an interview: refund, and a new lot",
            RewardCommand::InterviewWon {
                job_id: interview,
                client: Client {
                    hires: 1,
                    spend: Money {
                        amount: 1,
                        currency: "USD".to_owned(),
                    },
                },
            },
            Budget::of(6, 13, 2, 2),
        ),
        (
            "reward of an achievement",
            RewardCommand::RisingTalent,
            Budget::of(3, 7, 1, 2),
        ),
    ] {
        ledger.reward(&now, &account, None, &command).await.unwrap();
        walk.was(operation, budget);
    }

    let bought = walk.buy(&account, 20).await;
    walk.was("purchase", Budget::of(4, 10, 1, 3));
    ledger
        .chargeback(&now, &account, &bought, None)
        .await
        .unwrap();
    walk.was("chargeback of an unspent purchase", Budget::of(3, 7, 1, 2));
    walk.buy_with(&Declines, &account, 20, None).await;
    walk.was("declined purchase", Budget::of(2, 4, 1, 3));
    walk.codes(&account, &terms).await;

    for (operation, status) in [
        ("suspension", Status::Suspended),
        ("reactivation", Status::Active),
    ] {
        let amend = Amend {
            status: Some(status),
            email: None,
        };
        ledger.amend(&now, &account, amend).await.unwrap();
        walk.was(operation, Budget::of(2, 4, 0, 2));
    }

    let one_cycle_on = at("2026-02-10T00:00:00Z");
    ledger.account(&one_cycle_on, &account).await.unwrap();
    walk.was("balance with a grant due", Budget::of(0, 0, 0, 1));

    // Ten days into the cycle: entries, lots and where the profile is due all move.
    let later = at("2026-01-20T12:00:00Z");
    let preview = ledger.preview_plan(&later, &account, PlanChangeCommand::Upgrade);
    preview.await.unwrap();
    walk.was("preview of a plan change", Budget::of(0, 0, 0, 1));
    for (operation, command, budget) in [
        (
            "upgrade within a cycle",
            PlanChangeCommand::Upgrade,
            Budget::of(7, 18, 1, 2),
        ),
        (
            "scheduled downgrade",
            PlanChangeCommand::Downgrade,
            Budget::of(3, 6, 1, 2),
        ),
        (
            "cancelled downgrade",
            PlanChangeCommand::Upgrade,
            Budget::of(3, 6, 1, 2),
        ),
        (
            "downgrade for a failed payment",
            PlanChangeCommand::FallBack,
            Budget::of(3, 6, 1, 2),
        ),
    ] {
        let changed = ledger.change_plan(&later, &account, &key(), command).await;
        changed.unwrap();
        walk.was(operation, budget);
    }
    walk.steps
}

/// Scheduled runs: what each account costs to write.
pub async fn scheduled_steps() -> Vec<Step> {
    let mut walk = Metered::new().await;
    let ledger = walk.ledger.clone();
    // Of 50 Connects the 40 of the signup are spent: one lot that ends on 2027-01-10, and more
    // from each cycle on.
    let account = walk.table.open(NOW).await;
    walk.spend(&account, &key(), 40).await;
    walk.meter.take();
    for (step, now, budget) in [
        (
            "a basic cycle: entry, lot, profile",
            "2026-02-10T00:00:00Z",
            Budget::written(3, 9),
        ),
        (
            "the same run again",
            "2026-02-10T00:15:00Z",
            Budget::written(0, 0),
        ),
    ] {
        let now = at(now);
        ledger.sweep_grants(&now, now.now).await.unwrap();
        walk.was(step, budget);
    }
    let spent = at("2026-02-11T00:00:00Z");
    let fifteen = spend(15);
    ledger
        .spend(&spent, &account, &key(), &fifteen)
        .await
        .unwrap();
    // What is left of the second cycle's lot ends on 2027-02-10; the cycles between are booked
    // with the first of its notices.
    let booked = at("2027-01-10T00:00:00Z");
    ledger.sweep_grants(&booked, booked.now).await.unwrap();
    walk.meter.take();
    for (step, now, budget) in [
        (
            "a notice: itself, and the lot's next",
            "2027-01-12T00:00:00Z",
            Budget::written(2, 4),
        ),
        (
            "the same run again",
            "2027-01-12T00:15:00Z",
            Budget::written(0, 0),
        ),
    ] {
        let now = at(now);
        ledger.sweep_expiry(&now, now.now).await.unwrap();
        walk.was(step, budget);
    }
    let granted = at("2027-02-10T00:00:00Z");
    ledger.sweep_grants(&granted, granted.now).await.unwrap();
    walk.meter.take();
    // That of the third cycle has its first notice on the same day; told before, it is only moved.
    let ended = at("2027-02-11T00:00:00Z");
    ledger.sweep_expiry(&ended, ended.now).await.unwrap();
    walk.was("an expiry: entry, lot; a notice", Budget::written(4, 9));
    let until = "2027-02-12T00:00:00Z";
    let command = HoldCommand {
        amount: Connects::new(2),
        reason: Reason::of("test"),
        reference: None,
        expires_at: Some(instant(until)),
    };
    let held = ledger.hold(&ended, &account, &key(), &command).await;
    held.unwrap();
    walk.meter.take();
    for (step, budget) in [
        // Less than thirty days before its lot's last one.
        (
            "the end of a hold: entry, grace lot, hold",
            Budget::written(3, 8),
        ),
        ("the same run again", Budget::written(0, 0)),
    ] {
        let now = at(until);
        ledger.sweep_expiry(&now, now.now).await.unwrap();
        walk.was(step, budget);
    }
    walk.table.audit(&account).await;
    walk.badge_weeks().await;
    walk.steps
}
