//! Whether what clients heard is what happened: every acknowledged effect once and in time, every
//! refused one not at all, and every read a state there was while it was under way.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use connects::domain::account::{Plan, Status};
use connects::domain::bid::BidState;
use connects::domain::closure::ClosureReason;
use connects::domain::hold::{EndHold, HoldCommand, HoldState};
use connects::domain::ids::{AccountId, Fingerprint, JobId, Operation, OperationId, Seq};
use connects::domain::job::Pricing;
use connects::domain::key::IdempotencyKey;
use connects::domain::plan_change::PlanChangeCommand;
use connects::domain::policy::Policy;
use connects::domain::promo::RedeemCommand;
use connects::domain::proposal::ProposalState;
use connects::domain::purchase::{PurchaseCommand, PurchaseStatus};
use connects::domain::refund::{RefundCommand, RefundOf};
use connects::domain::refusal::Refusal;
use connects::domain::spend::SpendCommand;
use connects::domain::time::{Time, text};
use connects::domain::units::Connects;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auctions::{self, Standing, Told};
use super::badges::Badges;
use super::snapshot::{HoldRow, Partition, ProposalRow, ReceiptRow, Snapshot};
use super::state::{Moment, Moments, hold_entries, returned, returns_of};
use super::top_ups::TopUps;
use super::world::{Asked, Attempt, Heard};

/// Everything that is known of a history at its end.
#[derive(Debug)]
pub struct Evidence<'e> {
    /// The table.
    pub snapshot: &'e Snapshot,
    /// What each account was, entry by entry.
    pub moments: &'e BTreeMap<String, Moments>,
    /// When each entry was written.
    pub committed: &'e BTreeMap<(String, u64), u64>,
    /// When each item of a job was written first.
    pub first: &'e BTreeMap<(String, String), u64>,
    /// What was written of badges.
    pub badges: &'e Badges,
    /// What was written of top-ups.
    pub top_ups: &'e TopUps,
    /// What was asked and heard.
    pub attempts: &'e [Attempt],
    /// The rules.
    pub policy: &'e Policy,
    /// When all of it was over.
    pub now: Time,
}

type Checked = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

impl Evidence<'_> {
    /// Checks all of it.
    ///
    /// # Errors
    /// Says which answer is not what happened.
    pub fn check(&self) -> Checked {
        for attempt in self.attempts {
            self.answer(attempt)
                .map_err(|why| format!("{why}: {attempt:?}"))?;
        }
        self.causes()?;
        self.ends()?;
        self.before_closures()?;
        self.rankings()?;
        self.badges()?;
        self.top_ups()?;
        self.in_order()
    }

    /// An account as it is at the end.
    pub fn partition(&self, account: &AccountId) -> Option<&Partition> {
        self.snapshot.partitions.get(account.as_str())
    }

    /// When an entry was written.
    pub fn tick(&self, account: &AccountId, entry: u64) -> Result<u64, String> {
        let key = (format!("ACCOUNT#{account}"), entry);
        let tick = self.committed.get(&key).copied();
        tick.ok_or_else(|| format!("nobody wrote entry {entry} of {account}"))
    }

    /// The states that somebody could see who began and ended then. Who is refused has not seen
    /// the request done.
    pub fn visible(&self, attempt: &Attempt) -> &[Moment] {
        let Some(moments) = self.moments.get(attempt.account.as_str()) else {
            return &[];
        };
        // What is done once without a key is refused for what has become of the account since.
        let done = match (&attempt.heard, self.receipt(attempt)) {
            (Heard::Refused(_), Some(receipt)) if !has_a_natural_key(attempt) => {
                receipt.entry.get() as usize - 1
            }
            _ => moments.len() - 1,
        };
        let by = |tick: u64| {
            let entries = 1..moments.len() as u64;
            entries
                .take_while(|entry| {
                    self.tick(&attempt.account, *entry)
                        .is_ok_and(|at| at <= tick)
                })
                .count()
        };
        let last = by(attempt.ended).min(done);
        &moments[by(attempt.begun).min(last)..=last]
    }

    /// Whether there was such a state.
    pub fn saw(&self, attempt: &Attempt, what: &str, saw: impl Fn(&Moment) -> bool) -> Checked {
        let visible = self.visible(attempt);
        ensure(visible.iter().any(saw), || format!("{what} at no time"))
    }

    /// What somebody who saw that was told to be available and owed.
    pub fn balance(&self, attempt: &Attempt, moment: &Moment) -> (u64, u64) {
        let partition = self.partition(&attempt.account);
        let profile = partition.and_then(|partition| partition.profile.as_ref());
        profile.map_or((0, 0), |profile| {
            moment.balance(self.policy, profile, attempt.now)
        })
    }

    fn answer(&self, attempt: &Attempt) -> Checked {
        match &attempt.heard {
            Heard::Broken(_) => Err("what no client may hear".to_owned()),
            Heard::Unknown(_) => Ok(()),
            Heard::Refused(refusal) => self.refused(attempt, refusal),
            Heard::Done { replayed, said } => self.done(attempt, *replayed, said),
        }
    }

    fn done(&self, attempt: &Attempt, replayed: bool, said: &Value) -> Checked {
        let account = &attempt.account;
        match &attempt.asked {
            Asked::Spend(..)
            | Asked::Refund(..)
            | Asked::Redeem(..)
            | Asked::Change(..)
            | Asked::Reward(..) => self.acknowledged(attempt, replayed, said),
            Asked::Hold(..) => {
                self.acknowledged(attempt, replayed, said)?;
                let told = (&said["state"], &said["captured"]);
                ensure(told == (&json!("open"), &json!(0)), || {
                    "not as it was made".to_owned()
                })
            }
            Asked::EndHold(key, id, end) => {
                let hold = self.hold(attempt, id).ok_or("no hold")?;
                let tick = self.ended(attempt, hold)?.ok_or("has not ended")?;
                ensure(
                    tick < attempt.ended && (replayed || attempt.begun < tick),
                    || format!("ended at {tick}"),
                )?;
                ensure(ends_so(hold, end), || "ended otherwise".to_owned())?;
                ensure(ended_under(hold, key.as_ref()), || {
                    "ended under another key".to_owned()
                })?;
                ensure(*said == told_of(hold), || "another answer".to_owned())?;
                self.left_what_it_told(attempt, hold)
            }
            Asked::Propose(_, command) => {
                self.acknowledged(attempt, replayed, said)?;
                ensure(
                    said["cost"].as_u64() <= Some(command.expected_cost.get()),
                    || "dearer than expected".to_owned(),
                )
            }
            Asked::Withdraw(job) => {
                let proposal = self.proposal(attempt, job).ok_or("no proposal")?;
                ensure(proposal.state == ProposalState::Withdrawn, || {
                    "is not withdrawn".to_owned()
                })
            }
            Asked::Decide(job, _) | Asked::LookAtProposal(job) => {
                let row = format!("PROPOSAL#{account}");
                let written = self.written(job, &row).ok_or("no proposal")?;
                ensure(written < attempt.ended, || "not proposed yet".to_owned())?;
                match Option::<BidState>::deserialize(&said["boost_state"]) {
                    Ok(Some(state)) => {
                        let (amount, paid) = (&said["boost"], &said["boost_charged"]);
                        self.stood(attempt, job, state, amount, paid)
                    }
                    Ok(None) => Ok(()),
                    Err(why) => Err(why.to_string()),
                }
            }
            Asked::Post(job, post) => {
                let priced = match &post.pricing {
                    Pricing::Stated(cost) => json!(cost),
                    Pricing::Details(_) => said["connects_required"].clone(),
                };
                let written = self.written(job, "JOB").ok_or("no job")?;
                ensure(
                    said["connects_required"] == priced && written < attempt.ended,
                    || "posted otherwise".to_owned(),
                )
            }
            Asked::Contract(job) => {
                let row = format!("CONTRACT#{account}");
                let written = self.written(job, &row).ok_or("no contract")?;
                ensure(
                    written < attempt.ended && said["contracts"].as_u64() >= Some(1),
                    || "not contracted yet".to_owned(),
                )
            }
            Asked::Close(job, reason) => {
                let row = format!("CLOSURE#{}", reason.as_str());
                let written = self.written(job, &row).ok_or("no closure")?;
                ensure(written < attempt.ended && said["state"] != "open", || {
                    "not closed yet".to_owned()
                })
            }
            Asked::Bid(_, command) => {
                self.acknowledged(attempt, replayed, said)?;
                self.ranked_so(attempt, command.job_id.as_str(), said)
            }
            Asked::Interact(job) => {
                let state = BidState::deserialize(&said["state"]).map_err(|why| why.to_string())?;
                self.stood(attempt, job, state, &said["amount"], &said["charged"])
            }
            Asked::LookAtBids(job) => self.ranked_then(attempt, job, said),
            Asked::PutBadge(_) | Asked::TurnBadgeOff | Asked::LookAtBadge => {
                self.told_of_a_badge(attempt, replayed, said)
            }
            Asked::LookAtPrice => self.told_of_prices(attempt, said),
            Asked::SetLow(_) | Asked::ClearLow | Asked::LookAtLow => {
                self.told_of_a_low_balance(attempt, said)
            }
            Asked::LookAtJob(job) => {
                let closed = self.closed(job);
                let possible = match said["state"].as_str() {
                    Some("open") => closed.is_none_or(|at| at > attempt.begun),
                    _ => closed.is_some_and(|at| at < attempt.ended),
                };
                ensure(possible, || "was in that state at no time".to_owned())
            }
            Asked::Open(_) => {
                let tick = self.tick(account, 1)?;
                let now = attempt.begun < tick;
                ensure(tick < attempt.ended && (replayed || now), || {
                    "not opened then".to_owned()
                })
            }
            Asked::Buy(key, command) => self.bought(attempt, key.as_str(), command, said),
            Asked::Chargeback(_, id) => {
                let at = self.ticks_of(attempt, "chargeback", id)?;
                let then =
                    |tick: &u64| *tick < attempt.ended && (replayed || attempt.begun < *tick);
                ensure(at.iter().any(then), || {
                    "was revoked at another time".to_owned()
                })
            }
            Asked::Reversal(_, id) => {
                let at = self.ticks_of(attempt, "chargeback_reversed", id)?;
                let then =
                    |tick: &u64| *tick < attempt.ended && (replayed || attempt.begun < *tick);
                ensure(at.iter().any(then), || {
                    "was given back at another time".to_owned()
                })
            }
            // Where the purchase stood then, and can have gone on from to where it stands now.
            Asked::Message(id) | Asked::Dispute(_, id, _) => {
                let partition = self.partition(account);
                let purchase = partition.and_then(|partition| partition.purchases.get(id.as_str()));
                let (Some(purchase), Some(then)) = (purchase, said.as_str()) else {
                    return ensure(said.is_null(), || "there is no such purchase".to_owned());
                };
                let now = json!(purchase.status);
                let is_paid = |status: &str| ["paid", "charged_back"].contains(&status);
                let goes_on = match then {
                    "pending" => true,
                    "declined" => now == "declined",
                    paid => is_paid(paid) && is_paid(now.as_str().unwrap_or_default()),
                };
                ensure(goes_on, || format!("{then}, and now {now}"))
            }
            Asked::Limit(_, terms) => ensure(
                said["max_redemptions"] == json!(terms.max_redemptions)
                    && said["redeemed"].as_u64() <= terms.max_redemptions,
                || "another limit".to_owned(),
            ),
            Asked::Amend(status) => self.saw(attempt, "had that status", |moment| {
                moment.status == *status
            }),
            Asked::Preview(command) => self.saw(attempt, "could be changed so", |moment| {
                changes(*command, moment.plans(attempt.now))
            }),
            Asked::Look => {
                let balance = &said["balance"];
                let wanted = (&balance["available"], &balance["held"], &balance["debt"]);
                let plans = (&said["plan"], &said["pending_plan"]);
                self.saw(attempt, "had that balance and plan", |moment| {
                    let (available, debt) = self.balance(attempt, moment);
                    let (plan, pending) = moment.plans(attempt.now);
                    wanted == (&json!(available), &json!(moment.model.held()), &json!(debt))
                        && plans == (&json!(plan), &json!(pending))
                })
            }
            Asked::Lots => self.saw(attempt, "had such lots", |moment| {
                said["sum"] == json!(self.balance(attempt, moment).0)
            }),
        }
    }

    /// When something of that reason happened to a purchase.
    fn ticks_of(
        &self,
        attempt: &Attempt,
        reason: &str,
        id: &OperationId,
    ) -> Result<Vec<u64>, String> {
        let partition = self.partition(&attempt.account).ok_or("no account")?;
        let reference = format!("purchase:{id}");
        let happened = partition.journal.iter().filter(|entry| {
            let about = entry.reference.as_ref();
            entry.reason.as_str() == reason && about.is_some_and(|r| r.as_str() == reference)
        });
        let ticks = happened.map(|entry| self.tick(&attempt.account, entry.seq.get()));
        ticks.collect()
    }

    /// An operation with a receipt: it says what was answered, and was written in time.
    fn acknowledged(&self, attempt: &Attempt, replayed: bool, said: &Value) -> Checked {
        let receipt = self.receipt(attempt).ok_or("left no receipt")?;
        let entry = receipt.entry.get();
        let tick = self.tick(&attempt.account, entry)?;
        ensure(
            tick < attempt.ended && (replayed || attempt.begun < tick),
            || format!("was written at {tick}"),
        )?;
        if let Some((_, fingerprint)) = operation(attempt) {
            ensure(receipt.fingerprint == fingerprint, || {
                "the key was another request's".to_owned()
            })?;
        }
        if let Some(answer) = &receipt.answer {
            ensure(said == answer, || "another answer".to_owned())?;
            return self.left_that_balance(attempt, receipt, said);
        }
        let amount = said.get("amount").unwrap_or(&said["cost"]);
        ensure(*amount == json!(receipt.amount), || {
            "another amount".to_owned()
        })?;
        let lots: Vec<Value> = receipt
            .slices()?
            .iter()
            .map(|slice| json!({"lot_id": slice.birth.id, "amount": slice.amount}))
            .collect();
        ensure(
            said.get("lots")
                .is_none_or(|said| *said == Value::Array(lots)),
            || "other lots".to_owned(),
        )?;
        self.left_that_balance(attempt, receipt, said)
    }

    /// What was said to be there afterwards was.
    fn left_that_balance(&self, attempt: &Attempt, receipt: &ReceiptRow, said: &Value) -> Checked {
        let entry = receipt.entry.get();
        // What covers a debt follows in the same transaction, as do an upgrade's two grants.
        let (said, entries) = match said.get("account") {
            Some(account) => (&account["balance"], 5),
            // What was lost before and comes back first covers a debt first.
            None if matches!(attempt.asked, Asked::Bid(..)) => (&said["balance"], 4),
            None => (&said["balance"], 2),
        };
        self.was_left(attempt, entry, entries, said)
    }

    /// One of so many entries from that one on left that balance.
    fn was_left(&self, attempt: &Attempt, entry: u64, entries: usize, said: &Value) -> Checked {
        let moments = &self.moments[attempt.account.as_str()];
        let mut after = moments[entry as usize..].iter().take(entries);
        let left = |moment: &Moment| {
            let model = &moment.model;
            json!({ "available": model.balance(), "held": model.held(), "debt": model.debt() })
        };
        ensure(after.any(|moment| left(moment) == *said), || {
            "another balance".to_owned()
        })
    }

    fn hold(&self, attempt: &Attempt, id: &OperationId) -> Option<&HoldRow> {
        self.partition(&attempt.account)?.holds.get(id.as_str())
    }

    /// When a hold was ended, if it was.
    fn ended(&self, attempt: &Attempt, hold: &HoldRow) -> Result<Option<u64>, String> {
        let partition = self.partition(&attempt.account).ok_or("no account")?;
        let entries = hold_entries(partition, hold);
        let end = entries.iter().find(|entry| entry.seq > hold.taken.entry);
        end.map(|entry| self.tick(&attempt.account, entry.seq.get()))
            .transpose()
    }

    /// The balance that an ended hold tells is what its end left: what was used, what came back, and
    /// what of that covered a debt, in one transaction.
    fn left_what_it_told(&self, attempt: &Attempt, hold: &HoldRow) -> Checked {
        let partition = self.partition(&attempt.account).ok_or("no account")?;
        let entries = hold_entries(partition, hold);
        let last = entries.last().ok_or("no entry")?.seq.get();
        self.was_left(attempt, last, 2, &told_of(hold)["balance"])
    }

    fn receipt(&self, attempt: &Attempt) -> Option<&ReceiptRow> {
        let partition = self.partition(&attempt.account)?;
        if attempt.is_a_keyless_bid() {
            let done = matches!(attempt.heard, Heard::Done { .. });
            let own = |receipt: &&ReceiptRow| done && self.may_be_its_own(attempt, receipt);
            return partition.operations().find(own);
        }
        let (id, _) = operation(attempt)?;
        partition.operation(&id)
    }

    /// Whether a bid without a key, whose id nobody else knows, may have left that receipt.
    fn may_be_its_own(&self, attempt: &Attempt, receipt: &ReceiptRow) -> bool {
        let same = match &attempt.asked {
            Asked::Bid(_, command) => receipt.fingerprint == command.fingerprint(),
            _ => false,
        };
        let tick = self.tick(&attempt.account, receipt.entry.get());
        tick.is_ok_and(|tick| match &attempt.heard {
            Heard::Done { said, .. } => {
                same && receipt.answer.as_ref() == Some(said)
                    && (attempt.begun..attempt.ended).contains(&tick)
            }
            _ => same && attempt.begun < tick,
        })
    }

    fn bought(
        &self,
        attempt: &Attempt,
        key: &str,
        command: &PurchaseCommand,
        said: &Value,
    ) -> Checked {
        let id = OperationId::derive(&attempt.account, Operation::Purchase, key);
        let partition = self.partition(&attempt.account).ok_or("no account")?;
        let purchase = partition
            .purchases
            .get(id.as_str())
            .ok_or("left no purchase")?;
        let promo = purchase.promo.as_ref();
        let same = purchase.fingerprint == command.fingerprint()
            && said["quantity"] == json!(command.quantity)
            && said["price"] == json!(purchase.price)
            && said["bonus"] == json!(promo.map_or(Connects::ZERO, |promo| promo.bonus));
        ensure(same, || "the key was another request's".to_owned())?;
        match said["status"].as_str().unwrap_or_default() {
            "pending" => Ok(()),
            "declined" => ensure(purchase.status == PurchaseStatus::Declined, || {
                format!("declined, then {:?}", purchase.status)
            }),
            _ => {
                let lot = purchase.lot.as_ref().ok_or("was never credited")?;
                let tick = self.tick(&attempt.account, lot.0.id.seq.get())?;
                ensure(tick < attempt.ended, || "was not credited yet".to_owned())
            }
        }
    }

    fn refused(&self, attempt: &Attempt, refusal: &Refusal) -> Checked {
        let receipt = self.receipt(attempt);
        let before = |receipt: &ReceiptRow| {
            let tick = self.tick(&attempt.account, receipt.entry.get());
            tick.is_ok_and(|tick| tick < attempt.begun)
        };
        let reused = matches!(refusal, Refusal::IdempotencyKeyReused);
        if let (Some(receipt), Some((_, fingerprint))) = (receipt, operation(attempt)) {
            let same = receipt.fingerprint == fingerprint;
            let natural = has_a_natural_key(attempt);
            ensure(!(before(receipt) && same) || natural, || {
                format!("refused though {receipt:?}")
            })?;
            ensure(!before(receipt) || same || reused || natural, || {
                "not the refusal of a key that is taken".to_owned()
            })?;
            ensure(!(reused && same), || {
                "the key is this request's own".to_owned()
            })?;
        }
        match refusal {
            Refusal::IdempotencyKeyReused if matches!(attempt.asked, Asked::EndHold(..)) => {
                let Asked::EndHold(key, id, end) = &attempt.asked else {
                    return Ok(());
                };
                let hold = self.hold(attempt, id).ok_or("no hold")?;
                let under = key.is_some() && ended_under(hold, key.as_ref());
                let ended = hold.ended.as_ref().map(|ended| &ended.fingerprint);
                let other = ended != Some(&Fingerprint::of(Operation::Hold, end));
                ensure(under && other, || "the key is free".to_owned())
            }
            Refusal::IdempotencyKeyReused if !matches!(attempt.asked, Asked::Buy(..)) => {
                ensure(receipt.is_some(), || "the key is free".to_owned())
            }
            Refusal::AccountNotFound => {
                let opened = self.tick(&attempt.account, 1);
                ensure(
                    opened.is_err() || opened.is_ok_and(|at| at > attempt.begun),
                    || "it was open".to_owned(),
                )
            }
            Refusal::AccountSuspended => self.saw(attempt, "was suspended", |moment| {
                moment.status == Status::Suspended
            }),
            Refusal::InDebt { debt } => self.saw(attempt, "owed that", |moment| {
                self.balance(attempt, moment).1 == debt.get()
            }),
            Refusal::InsufficientConnects {
                available,
                required,
            } => {
                ensure(available < required, || "there was enough".to_owned())?;
                self.saw(attempt, "had that much", |moment| {
                    self.balance(attempt, moment).0 == available.get()
                })
            }
            Refusal::AuctionClosed | Refusal::BidNotRaised { .. } | Refusal::BidTooLow { .. } => {
                self.refused_by_the_bids(attempt, refusal)
            }
            Refusal::BadgeNotFound => {
                let begun = self.badges.begun(&attempt.account);
                ensure(begun.is_none_or(|at| at > attempt.begun), || {
                    "it was there".to_owned()
                })
            }
            Refusal::HoldNotFound => match &attempt.asked {
                Asked::EndHold(_, id, _) => {
                    let hold = self.hold(attempt, id);
                    ensure(!hold.is_some_and(|hold| before(&hold.taken)), || {
                        "it was there".to_owned()
                    })
                }
                _ => Err("no such refusal".to_owned()),
            },
            Refusal::HoldNotOpen { existing } => self.was_over(attempt, existing),
            Refusal::Invalid(invalid) => match &attempt.asked {
                Asked::Hold(_, command) if invalid.field == "expires_at" => {
                    self.saw(attempt, "was that to come", |moment| {
                        let now = moment
                            .model
                            .at()
                            .map_or(attempt.now, |at| at.max(attempt.now));
                        command.expires_at.is_some_and(|end| end <= now)
                    })
                }
                Asked::EndHold(
                    _,
                    id,
                    EndHold::Capture {
                        amount: Some(amount),
                    },
                ) => {
                    let hold = self.hold(attempt, id).ok_or("no hold")?;
                    ensure(*amount > hold.taken.amount, || "it held as much".to_owned())
                }
                _ => Ok(()),
            },
            Refusal::RefundExceedsSpend { returnable } => self.exceeded(attempt, *returnable),
            Refusal::SpendNotFound | Refusal::ProposalNotFound
                if matches!(attempt.asked, Asked::Refund(..)) =>
            {
                match &attempt.asked {
                    Asked::Refund(_, command) => {
                        let spend = self.spend_of(attempt, command);
                        ensure(!spend.is_some_and(before), || "it was spent".to_owned())
                    }
                    _ => Err("no such refusal".to_owned()),
                }
            }
            Refusal::PromoAlreadyRedeemed { existing }
                if let Asked::Buy(key, command) = &attempt.asked =>
            {
                let own = PurchaseCommand::id(&attempt.account, key);
                let id = existing["purchase_id"].as_str().unwrap_or_default();
                ensure(id != own.as_str(), || "by this very request".to_owned())?;
                let partition = self.partition(&attempt.account);
                let other = partition.and_then(|partition| partition.purchases.get(id));
                let promo = other.and_then(|other| other.promo.as_ref());
                let code = promo.map(|promo| &promo.redemption.code);
                ensure(
                    code.is_some() && code == command.promo_code.as_ref(),
                    || "by no other purchase".to_owned(),
                )
            }
            Refusal::PromoAlreadyRedeemed { .. } | Refusal::AlreadyProposed { .. } => {
                let receipt = receipt.ok_or("it was never done")?;
                let tick = self.tick(&attempt.account, receipt.entry.get())?;
                ensure(tick < attempt.ended, || "not done yet".to_owned())?;
                let own = matches!(&attempt.asked,
                    Asked::Redeem(Some(key), _) | Asked::Propose(Some(key), _)
                        if receipt.key.as_ref() == Some(key));
                ensure(!own, || "by this very request".to_owned())
            }
            Refusal::RewardAlreadyGiven { existing } => {
                let receipt = receipt.ok_or("it was never given")?;
                let tick = self.tick(&attempt.account, receipt.entry.get())?;
                ensure(tick < attempt.ended, || "not given yet".to_owned())?;
                let own = matches!(&attempt.asked,
                    Asked::Reward(Some(key), _) if receipt.key.as_ref() == Some(key));
                ensure(!own, || "by this very request".to_owned())?;
                ensure(receipt.answer.as_ref() == Some(existing), || {
                    "another one exists".to_owned()
                })
            }
            Refusal::PlanUnchanged => match &attempt.asked {
                Asked::Change(_, command) | Asked::Preview(command) => {
                    self.saw(attempt, "had that plan", |moment| {
                        !changes(*command, moment.plans(attempt.now))
                    })
                }
                _ => Err("no such refusal".to_owned()),
            },
            Refusal::AlreadyChargedBack { .. } => match &attempt.asked {
                Asked::Chargeback(key, id) => {
                    let at = self.ticks_of(attempt, "chargeback", id)?;
                    ensure(at.iter().any(|tick| *tick < attempt.ended), || {
                        "not charged back yet".to_owned()
                    })?;
                    let partition = self.partition(&attempt.account);
                    let purchase = partition.and_then(|p| p.purchases.get(id.as_str()));
                    let under = purchase.and_then(|purchase| purchase.chargeback_key.as_ref());
                    ensure(key.is_none() || under != key.as_ref(), || {
                        "by this very request".to_owned()
                    })
                }
                _ => Err("no such refusal".to_owned()),
            },
            Refusal::JobClosed | Refusal::JobNotFound | Refusal::ProposalNotFound => {
                self.refused_by_the_job(attempt, refusal)
            }
            Refusal::PriceChanged { expected, required } => match &attempt.asked {
                Asked::Propose(_, command) => ensure(
                    *expected == command.expected_cost && required > expected,
                    || "no dearer than expected".to_owned(),
                ),
                _ => Err("no such refusal".to_owned()),
            },
            Refusal::PromoExhausted => {
                let code = match &attempt.asked {
                    Asked::Redeem(_, code) => Some(code),
                    Asked::Buy(_, command) => command.promo_code.as_ref(),
                    _ => None,
                };
                let code = code.ok_or("no such refusal")?.as_str();
                let slots = self.snapshot.slots.iter();
                let mut slots = slots.filter(|((of, _), _)| of == code);
                let left = slots.any(|(_, slot)| slot.cap.is_none_or(|cap| slot.used < cap));
                // So does a purchase that was declined since, or was not yet when this was asked.
                let partitions = self.snapshot.partitions.values();
                let mut purchases = partitions.flat_map(|partition| partition.purchases.values());
                let given_back = purchases.any(|purchase| {
                    let promo = purchase.promo.as_ref();
                    purchase.status == PurchaseStatus::Declined
                        && promo.is_some_and(|promo| promo.redemption.code.as_str() == code)
                });
                let limits = self.attempts.iter();
                let mut limits = limits.filter(|a| matches!(a.asked, Asked::Limit(..)));
                // A limit that was raised since makes room that there was not.
                let raised = limits.any(|limit| limit.ended > attempt.begun);
                ensure(
                    (raised || given_back || !left) && !receipt.is_some_and(before),
                    || "there was one left".to_owned(),
                )
            }
            _ => Ok(()),
        }
    }

    /// The hold was ended by another request, which is told; or it was open, and its time over.
    fn was_over(&self, attempt: &Attempt, existing: &Value) -> Checked {
        let Asked::EndHold(key, id, end) = &attempt.asked else {
            return Err("no such refusal".to_owned());
        };
        let hold = self.hold(attempt, id).ok_or("no hold")?;
        let by_itself = key.is_some() && ended_under(hold, key.as_ref()) && ends_so(hold, end);
        let ended = self.ended(attempt, hold)?;
        if ended.is_some_and(|tick| tick < attempt.ended) && *existing == told_of(hold) {
            return ensure(!by_itself, || "by this very request".to_owned());
        }
        ensure(
            existing["state"] == "expired" && ended.is_none_or(|tick| tick > attempt.begun),
            || "it did not stand so".to_owned(),
        )?;
        self.saw(attempt, "was its time over", |moment| {
            let at = moment.model.at();
            let now = at.map_or(attempt.now, |at| at.max(attempt.now));
            let (available, debt) = self.balance(attempt, moment);
            let held = moment.model.held();
            let balance = json!({ "available": available, "held": held, "debt": debt });
            hold.expires_at.is_some_and(|end| end <= now) && existing["balance"] == balance
        })
    }

    /// Whoever captured or released a hold was told so, or did not hear.
    fn ends(&self) -> Checked {
        for (account, partition) in &self.snapshot.partitions {
            for hold in partition.holds.values() {
                let entries = hold_entries(partition, hold);
                let asked_for = matches!(hold.state, HoldState::Captured | HoldState::Released);
                let Some(end) = entries.get(1).filter(|_| asked_for) else {
                    continue;
                };
                let key = (format!("ACCOUNT#{account}"), end.seq.get());
                let tick = self.committed.get(&key).copied().unwrap_or(0);
                let under_way = |attempt: &&Attempt| {
                    let ends_it = match &attempt.asked {
                        Asked::EndHold(key, id, end) => {
                            *id == hold.taken.id
                                && ends_so(hold, end)
                                && ended_under(hold, key.as_ref())
                        }
                        _ => false,
                    };
                    ends_it && attempt.account.as_str() == account && attempt.begun < tick
                };
                let asked = || self.attempts.iter().filter(under_way);
                let applied = asked()
                    .filter(|a| {
                        matches!(
                            a.heard,
                            Heard::Done {
                                replayed: false,
                                ..
                            }
                        )
                    })
                    .count();
                let mut unheard = asked().filter(|attempt| match &attempt.heard {
                    // Its own answer was lost on the way to itself.
                    Heard::Done { .. } => tick < attempt.ended,
                    Heard::Unknown(_) => true,
                    Heard::Refused(_) | Heard::Broken(_) => false,
                });
                let once = applied == 1 || applied == 0 && unheard.next().is_some();
                ensure(once, || {
                    format!("ended {applied} times, by nobody else: {hold:?}")
                })?;
            }
        }
        Ok(())
    }

    /// The job was closed already, or not there yet, or not proposed on.
    fn refused_by_the_job(&self, attempt: &Attempt, refusal: &Refusal) -> Checked {
        let job = match &attempt.asked {
            Asked::Propose(_, command) => &command.job_id,
            Asked::Bid(_, command) => &command.job_id,
            Asked::Interact(job)
            | Asked::LookAtBids(job)
            | Asked::Withdraw(job)
            | Asked::Decide(job, _)
            | Asked::Post(job, _)
            | Asked::Contract(job)
            | Asked::Close(job, _)
            | Asked::LookAtJob(job)
            | Asked::LookAtProposal(job) => job,
            _ => return Err("no such refusal".to_owned()),
        };
        let row = format!("PROPOSAL#{}", attempt.account);
        let later = |written: Option<u64>| written.is_none_or(|at| at > attempt.begun);
        let so = match refusal {
            Refusal::JobNotFound => later(self.written(job, "JOB")),
            Refusal::ProposalNotFound => {
                // Nobody bids on what was taken back, or is looked into for nothing.
                let proposal = self.proposal(attempt, job);
                let taken_back = proposal.is_some_and(|p| p.state == ProposalState::Withdrawn);
                let bids = self.bids(attempt, job)?;
                let begun = bids.first().and_then(|bid| bid.steps.first());
                let begun = begun.map(|(entry, _)| self.tick(&attempt.account, entry.get()));
                let nothing_bid = begun.transpose()?.is_none_or(|at| at > attempt.begun);
                later(self.written(job, &row))
                    || match attempt.asked {
                        Asked::Bid(..) => taken_back,
                        Asked::Interact(_) => nothing_bid,
                        _ => false,
                    }
            }
            _ => self.closed(job).is_some_and(|at| at < attempt.ended),
        };
        ensure(so, || "it was not so".to_owned())
    }

    /// When an item of a job was first written.
    fn written(&self, job: &JobId, row: &str) -> Option<u64> {
        let key = (format!("JOB#{job}"), row.to_owned());
        self.first.get(&key).copied()
    }

    /// When a job was first closed.
    fn closed(&self, job: &JobId) -> Option<u64> {
        let rows = ClosureReason::ALL.map(|reason| format!("CLOSURE#{}", reason.as_str()));
        rows.iter().filter_map(|row| self.written(job, row)).min()
    }

    fn proposal(&self, attempt: &Attempt, job: &JobId) -> Option<&ProposalRow> {
        let partition = self.partition(&attempt.account)?;
        partition.proposals.get(job.as_str())
    }

    /// A closed job takes no proposals, and what a closure was decided by is how the job stood when
    /// it was asked for.
    fn before_closures(&self) -> Checked {
        for (id, partition) in &self.snapshot.jobs {
            let job = JobId::try_new(id).map_err(|why| why.to_string())?;
            let closed = self.closed(&job).unwrap_or(u64::MAX);
            for account in &partition.proposals {
                let row = format!("PROPOSAL#{account}");
                let proposed = self.written(&job, &row).ok_or("nobody proposed")?;
                ensure(proposed < closed, || {
                    format!("{account} proposed on {id} at {proposed}, closed at {closed}")
                })?;
            }
            let contracts = partition.contracts.iter();
            let contracts = contracts.map(|account| format!("CONTRACT#{account}"));
            let contracted = contracts.filter_map(|row| self.written(&job, &row)).min();
            for closure in &partition.closures {
                let row = format!("CLOSURE#{}", closure.reason.as_str());
                let closed = self.written(&job, &row).ok_or("nobody closed it")?;
                let before = contracted.is_some_and(|at| at < closed);
                ensure(closure.had_contract == before, || {
                    format!("contracted at {contracted:?}, closed at {closed}: {closure:?}")
                })?;
            }
        }
        Ok(())
    }

    /// An account's bids on a job, one after another.
    fn bids(&self, attempt: &Attempt, job: &JobId) -> Result<Vec<Told>, String> {
        let partition = self.partition(&attempt.account);
        let bids = partition.map(|partition| auctions::bids(partition, job.as_str()));
        bids.unwrap_or(Ok(vec![]))
    }

    fn slots(&self) -> usize {
        self.policy.boost.slots
    }

    /// A job's ranking from none to the last, bid by bid.
    fn standings(&self, job: &str) -> Result<Vec<Standing>, String> {
        auctions::standings(self.snapshot, job, self.slots(), |account, entry| {
            let key = (format!("ACCOUNT#{account}"), entry.get());
            let tick = self.committed.get(&key).copied();
            tick.ok_or_else(|| format!("nobody wrote entry {entry} of {account}"))
        })
    }

    /// The rankings that somebody could see who began and ended then.
    fn visible_standings(&self, attempt: &Attempt, job: &JobId) -> Result<Vec<Standing>, String> {
        let standings = self.standings(job.as_str())?;
        let known = standings.partition_point(|standing| standing.tick <= attempt.begun);
        let ended = standings.partition_point(|standing| standing.tick <= attempt.ended);
        Ok(standings[known.saturating_sub(1)..ended].to_vec())
    }

    /// Each ranking is what the bids made it, one after another, and none came when the auction was
    /// over: in its time, and before the first contract and the first closure.
    fn rankings(&self) -> Checked {
        for (id, partition) in &self.snapshot.jobs {
            let Some(auction) = &partition.auction else {
                continue;
            };
            let job = JobId::try_new(id).map_err(|why| why.to_string())?;
            let standings = self.standings(id)?;
            let last = standings.last().ok_or("no ranking")?;
            let gives_back = |at| {
                let closures = partition.closures.iter().filter(|closure| closure.at == at);
                closures.map(|closure| closure.releases_bids()).collect()
            };
            auctions::check_ranking(auction, last, gives_back)?;
            let over = self.hired(&job).into_iter().chain(self.closed(&job)).min();
            ensure(over.is_none_or(|over| last.tick < over), || {
                format!("over at {over:?}, {last:?}")
            })?;
            for account in self.snapshot.partitions.values() {
                let bids = auctions::bids(account, id)?;
                let steps = bids.iter().flat_map(|bid| &bid.steps);
                for (seq, _) in steps {
                    let entry = account.journal.iter().find(|entry| entry.seq == *seq);
                    let in_time = entry.is_some_and(|entry| entry.at < auction.closes_at);
                    ensure(in_time, || format!("bid too late: {entry:?}, {auction:?}"))?;
                }
            }
        }
        Ok(())
    }

    /// When the first contract on a job was made.
    fn hired(&self, job: &JobId) -> Option<u64> {
        let partition = self.snapshot.jobs.get(job.as_str())?;
        let contracts = partition.contracts.iter();
        let contracts = contracts.map(|account| format!("CONTRACT#{account}"));
        contracts.filter_map(|row| self.written(job, &row)).min()
    }

    /// A bid has the rank that it was told.
    fn ranked_so(&self, attempt: &Attempt, job: &str, said: &Value) -> Checked {
        let receipt = self.receipt(attempt).ok_or("left no receipt")?;
        let partition = self.partition(&attempt.account).ok_or("no account")?;
        let bids = auctions::bids(partition, job)?;
        let mut steps = bids.iter().flat_map(|bid| &bid.steps);
        let own = steps.find(|(entry, _)| *entry >= receipt.entry);
        let tick = self.tick(&attempt.account, own.ok_or("no bid")?.0.get())?;
        let standings = self.standings(job)?;
        let then = standings.iter().find(|standing| standing.tick == tick);
        let rank = then.and_then(|standing| standing.rank(attempt.account.as_str()));
        ensure(said["rank"] == json!(rank), || {
            format!("it was {rank:?} of {then:?}")
        })
    }

    /// The bid was so while the request was under way.
    fn stood(
        &self,
        attempt: &Attempt,
        job: &JobId,
        state: BidState,
        amount: &Value,
        paid: &Value,
    ) -> Checked {
        let bids = self.bids(attempt, job)?;
        let tick = |entry: Seq| self.tick(&attempt.account, entry.get()).unwrap_or(u64::MAX);
        let stood = |bid: &Told| {
            let end = bid.end.map_or(u64::MAX, |end| tick(end.entry));
            let mut steps = bid.steps.iter();
            let offered =
                steps.any(|(entry, step)| json!(step) == *amount && tick(*entry) < attempt.ended);
            offered
                && match state {
                    BidState::Leading | BidState::Releasing => {
                        end > attempt.begun && *paid == json!(0)
                    }
                    _ => {
                        bid.end
                            .is_some_and(|end| end.state == state && *paid == json!(end.paid))
                            && end < attempt.ended
                    }
                }
        };
        ensure(bids.iter().any(stood), || {
            format!("was so at no time: {bids:?}")
        })
    }

    /// The ranking was so while the request was under way, and the auction as open as it says.
    fn ranked_then(&self, attempt: &Attempt, job: &JobId, said: &Value) -> Checked {
        let standings = self.visible_standings(attempt, job)?;
        let told = said["bids"].as_array().ok_or("no bids")?;
        let told: Vec<_> = told
            .iter()
            .map(|bid| (&bid["amount"], &bid["mine"]))
            .collect();
        let account = attempt.account.as_str();
        let so = standings.iter().any(|standing| {
            let shown = |(amount, mine): (&Value, &Value), is: &auctions::Bidder| {
                *amount == json!(is.amount) && *mine == json!(is.account == account)
            };
            let places = told.iter().zip(&standing.places);
            let all = told.len() == standing.places.len();
            all && said["my_rank"] == json!(standing.rank(account)) && { places }
                .all(|(told, is)| shown(*told, is))
        });
        ensure(so, || format!("it was so at no time: {standings:?}"))?;
        let over = self.hired(job).into_iter().chain(self.closed(job)).min();
        let closes_at = said["closes_at"].as_str().unwrap_or_default();
        let late = closes_at <= text(attempt.now).as_str();
        ensure(
            match said["state"].as_str() {
                Some("open") => !late && over.is_none_or(|over| over > attempt.begun),
                _ => late || over.is_some_and(|over| over < attempt.ended) || self.has_ended(job),
            },
            || "was in that state at no time".to_owned(),
        )
    }

    /// Whether a job's auction has ended, as far as is known now.
    fn has_ended(&self, job: &JobId) -> bool {
        let partition = self.snapshot.jobs.get(job.as_str());
        let auction = partition.and_then(|partition| partition.auction.as_ref());
        auction.is_some_and(|auction| auction.end.is_some())
    }

    /// The ranking left the bid no place, or the auction was over.
    fn refused_by_the_bids(&self, attempt: &Attempt, refusal: &Refusal) -> Checked {
        let (job, amount) = match &attempt.asked {
            Asked::Bid(_, command) => (&command.job_id, command.amount),
            Asked::Propose(_, command) => {
                (&command.job_id, command.boost.ok_or("nothing was bid")?)
            }
            _ => return Err("no such refusal".to_owned()),
        };
        let account = attempt.account.as_str();
        let standings = self.visible_standings(attempt, job)?;
        let so = |standing: &Standing| match refusal {
            Refusal::BidNotRaised { bid } => {
                let own = standing.bidder(account);
                own.is_some_and(|own| own.amount == *bid && amount <= *bid)
            }
            Refusal::BidTooLow { required } => {
                standing.required(self.slots()) == Some(*required) && amount < *required
            }
            _ => {
                let own = standing.bidder(account).is_some_and(|own| own.sold);
                let full = standing.places.len() == self.slots();
                own || full && standing.places.iter().all(|bidder| bidder.sold)
            }
        };
        let closed = *refusal == Refusal::AuctionClosed && {
            let hired = self.hired(job).is_some_and(|at| at < attempt.ended);
            let partition = self.snapshot.jobs.get(job.as_str());
            let posted = partition.and_then(|partition| partition.job.as_ref());
            let hours = TimeDelta::hours(self.policy.boost.open_hours.into());
            let closes_at = posted.map(|job| job.posted_at + hours);
            let late = |moment: &Moment| {
                let now = moment
                    .model
                    .at()
                    .map_or(attempt.now, |at| at.max(attempt.now));
                closes_at.is_some_and(|at| at <= now)
            };
            hired || self.has_ended(job) || self.visible(attempt).iter().any(late)
        };
        ensure(closed || standings.iter().any(so), || {
            format!("at no time: {standings:?}")
        })
    }

    fn spend_of(&self, attempt: &Attempt, command: &RefundCommand) -> Option<&ReceiptRow> {
        let partition = self.partition(&attempt.account)?;
        match &command.of {
            RefundOf::SpendId(id) => partition.receipts.get(id.as_str()),
            RefundOf::JobId(job) => {
                let proposal = partition.proposals.get(job.as_str())?;
                Some(&proposal.charge)
            }
        }
    }

    /// So much was left of the spend at some time, and more was asked for.
    fn exceeded(&self, attempt: &Attempt, returnable: Connects) -> Checked {
        let Asked::Refund(_, command) = &attempt.asked else {
            return Err("no such refusal".to_owned());
        };
        let spend = self.spend_of(attempt, command).ok_or("nothing was spent")?;
        let asked_too_much = match command.amount {
            Some(amount) => amount > returnable || returnable.is_zero(),
            None => returnable.is_zero(),
        };
        ensure(asked_too_much, || "that much was left".to_owned())?;
        let partition = self.partition(&attempt.account).ok_or("no account")?;
        let returns = match &command.of {
            RefundOf::SpendId(id) => returned(partition, &format!("spend:{id}")),
            RefundOf::JobId(job) => {
                let proposal = self.proposal(attempt, job).ok_or("no proposal")?;
                returns_of(partition, job.as_str(), proposal).0
            }
        };
        self.saw(attempt, "that was left", |moment| {
            let by_then = returns
                .iter()
                .filter(|entry| entry.seq <= moment.model.seq());
            let returned: u64 = by_then.map(|entry| entry.amount.unsigned_abs()).sum();
            spend.amount.get() == returned + returnable.get()
        })
    }

    /// Whatever happened, somebody asked for it and was not refused.
    fn causes(&self) -> Checked {
        for (account, partition) in &self.snapshot.partitions {
            for receipt in partition.operations() {
                let key = (format!("ACCOUNT#{account}"), receipt.entry.get());
                let tick = self.committed.get(&key).copied().unwrap_or(0);
                let mut said = BTreeSet::new();
                let mut applied = 0;
                let mut asked_for = false;
                for attempt in self.attempts {
                    let keyless = attempt.is_a_keyless_bid();
                    let asks = match keyless {
                        true => self.may_be_its_own(attempt, receipt),
                        false => operation(attempt).is_some_and(|(id, fingerprint)| {
                            id == receipt.id && fingerprint == receipt.fingerprint
                        }),
                    };
                    if !asks || attempt.account.as_str() != account {
                        continue;
                    }
                    match &attempt.heard {
                        Heard::Done {
                            replayed,
                            said: words,
                        } => {
                            said.insert(words.to_string());
                            applied += u32::from(!replayed && !keyless);
                            // Its own answer was lost on the way to itself.
                            asked_for |= attempt.begun < tick && tick < attempt.ended;
                        }
                        // Without a key a request can't tell its own doing from another's.
                        Heard::Unknown(_)
                        | Heard::Refused(Refusal::PromoAlreadyRedeemed { .. }) => {
                            asked_for |= attempt.begun < tick;
                        }
                        Heard::Refused(_) | Heard::Broken(_) => {}
                    }
                }
                ensure(applied == 1 || applied == 0 && asked_for, || {
                    format!("applied {applied} times, by nobody else: {receipt:?}")
                })?;
                ensure(said.len() <= 1, || format!("two answers: {said:?}"))?;
            }
        }
        Ok(())
    }

    /// Entries were written in the order of their numbers.
    fn in_order(&self) -> Checked {
        for (account, moments) in self.moments {
            let id = AccountId::try_new(account).map_err(|why| why.to_string())?;
            let entries = 1..moments.len() as u64;
            let ticks: Vec<u64> = entries
                .map(|n| self.tick(&id, n))
                .collect::<Result<_, _>>()?;
            ensure(ticks.is_sorted(), || {
                format!("{account} was written out of order")
            })?;
        }
        Ok(())
    }
}

/// Whether the request can only be done once, under whatever key.
fn has_a_natural_key(attempt: &Attempt) -> bool {
    matches!(
        attempt.asked,
        Asked::Redeem(..) | Asked::Reward(..) | Asked::Propose(..)
    )
}

/// The operation that a request with a receipt is, and what it must agree with; none where nobody else
/// knows its id.
fn operation(attempt: &Attempt) -> Option<(OperationId, Fingerprint)> {
    let account = &attempt.account;
    match &attempt.asked {
        Asked::Spend(key, command) => Some((SpendCommand::id(account, key), command.fingerprint())),
        Asked::Refund(key, command) => {
            Some((RefundCommand::id(account, key), command.fingerprint()))
        }
        Asked::Hold(key, command) => Some((HoldCommand::id(account, key), command.fingerprint())),
        Asked::Propose(_, command) => {
            let job = command.job_id.as_str();
            let id = OperationId::derive(account, Operation::Proposal, job);
            Some((id, command.fingerprint()))
        }
        Asked::Redeem(_, code) => {
            let command = RedeemCommand { code: code.clone() };
            Some((command.id(account), command.fingerprint()))
        }
        Asked::Bid(Some(key), command) => Some((command.id(account, key), command.fingerprint())),
        Asked::Change(key, command) => {
            Some((PlanChangeCommand::id(account, key), command.fingerprint()))
        }
        Asked::Reward(_, command) => Some((command.id(account), command.fingerprint())),
        _ => None,
    }
}

/// Whether a hold has come to such an end.
fn ends_so(hold: &HoldRow, end: &EndHold) -> bool {
    match end {
        EndHold::Capture { amount } => {
            let amount = amount.unwrap_or(hold.taken.amount);
            hold.state == HoldState::Captured && hold.captured() == amount
        }
        EndHold::Release => hold.state == HoldState::Released,
        EndHold::Expire => hold.state == HoldState::Expired,
    }
}

/// Whether a hold was ended under that key; one that nobody else has, if none is given.
fn ended_under(hold: &HoldRow, key: Option<&IdempotencyKey>) -> bool {
    let under = hold.ended.as_ref().and_then(|ended| ended.key.as_ref());
    key.is_none_or(|key| under == Some(key))
}

/// How an ended hold is told.
fn told_of(hold: &HoldRow) -> Value {
    json!({
        "hold_id": hold.taken.id,
        "amount": hold.taken.amount,
        "captured": hold.captured(),
        "state": hold.state,
        "balance": hold.ended.as_ref().map(|ended| ended.after),
    })
}

/// Whether a plan change does something to an account of that plan with that one to come.
fn changes(command: PlanChangeCommand, plans: (Plan, Option<Plan>)) -> bool {
    match command {
        PlanChangeCommand::Upgrade => plans != (Plan::Plus, None),
        PlanChangeCommand::Downgrade => plans == (Plan::Plus, None),
        PlanChangeCommand::FallBack => plans.0 == Plan::Plus,
    }
}
