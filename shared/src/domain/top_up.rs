//! Topping up: a purchase that is made by itself when a balance has become low.
//!
//! What the holder asked for, what was bought this month and what went wrong are one item, which is
//! only ever written over the revision that was read, in the transaction of whatever changes with it:
//! the purchase that begins adds its price to the month's sum, and is the only one that is open; paid
//! or declined, it says so here too. So the sum is that of the purchases that are paid or pending, and
//! never above the cap, whoever runs twice or at the same time.
//!
//! A crossing waits here until it is served: so nothing is lost where nobody was told of it. A decline
//! leaves it waiting for a while, each time longer; one too many turns the top-up off.

use chrono::{Datelike, Months, NaiveDate, TimeDelta};
use serde::{Deserialize, Serialize};

use super::account::{Account, Status};
use super::ids::{AccountId, Operation, OperationId, Seq};
use super::policy::Policy;
use super::purchase::{Purchase, PurchaseCommand};
use super::time::{self, Time};
use super::units::{Connects, Money};

/// The most numbers that the policy may have of back-off, and the most hours of each: a month.
const MAX_BACK_OFF: (usize, u32) = (10, 720);

/// `[top_up]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopUpPolicy {
    /// Hours after which a declined one is tried again: after the first decline in a row, the second
    /// and so on. One more turns it off.
    pub back_off_hours: Vec<u32>,
}

impl TopUpPolicy {
    /// What can't be kept of it, if anything.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let (most, longest) = MAX_BACK_OFF;
        let hours = &self.back_off_hours;
        let kept = hours.len() <= most && hours.iter().all(|h| (1..=longest).contains(h));
        (!kept).then_some("top_up.back_off_hours must be at most 10 numbers from 1 to 720")
    }

    /// How long to wait after so many declines in a row; none where that is too many.
    fn back_off(&self, declines: u32) -> Option<TimeDelta> {
        let place = usize::try_from(declines).ok()?.checked_sub(1)?;
        let hours = self.back_off_hours.get(place)?;
        Some(TimeDelta::hours((*hours).into()))
    }
}

/// What a holder asks to be bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpTerms {
    /// How many Connects at a time.
    pub quantity: Connects,
    /// What a calendar month (UTC) may cost at most.
    pub monthly_cap: Money,
    /// The provider's payment method; its default, if none is named.
    #[serde(default)]
    pub payment_method: Option<String>,
}

/// Why a top-up is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TopUpOffReason {
    /// Its payments were declined too often in a row.
    Declined,
}

/// A crossing that was not served yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The entry that made the balance low.
    pub crossing: Seq,
    /// Since when.
    #[serde(with = "time::as_text")]
    pub since: Time,
}

/// An account's top-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUp {
    /// What was asked for.
    #[serde(flatten)]
    pub terms: TopUpTerms,
    /// The first day of the month that `spent` is of.
    pub month: NaiveDate,
    /// What that month's purchases cost that are paid or pending, in the cap's minor units.
    pub spent: u64,
    /// Declines since the last that was paid.
    pub declines: u32,
    /// Nothing is tried before.
    #[serde(default, with = "time::as_text_if_any")]
    pub not_before: Option<Time>,
    /// The newest crossing that no purchase is for.
    #[serde(default)]
    pub waiting: Option<Waiting>,
    /// The purchase whose payment is open.
    #[serde(default)]
    pub open: Option<OperationId>,
    /// Why it went off, if it did.
    #[serde(default)]
    pub off_reason: Option<TopUpOffReason>,
    /// Whether its holder does not want it any more.
    #[serde(default)]
    pub removed: bool,
    /// Grows with whatever changes of it.
    pub revision: u64,
}

/// What a holder is told when a top-up went off by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct TopUpOff {
    /// The purchase that was declined last.
    pub purchase_id: OperationId,
    /// How many Connects it was for.
    pub quantity: Connects,
    /// What they would have cost.
    pub price: Money,
    /// How often in a row a payment was declined.
    pub declines: u32,
    /// When that was seen.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub noticed_at: Time,
}

/// Why nothing is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skipped {
    /// There is none, or it is off.
    Off,
    /// No crossing waits: it was served, or there was none.
    Nothing,
    /// A purchase is open.
    Open,
    /// It is too early after a decline, or the month's cap was reached.
    Later,
    /// The account is suspended.
    Suspended,
    /// The account owes for a charged-back purchase: that is its holder's to settle.
    InDebt,
    /// The balance is not low any more.
    Enough,
    /// The quantity is not for sale any more, or not in the cap's currency.
    NotForSale,
    /// The month's cap leaves too little.
    CapReached,
    /// The payment provider has nothing to charge.
    NoMethod,
}

/// What is to be done with a top-up now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// To buy.
    Buy {
        /// What is begun.
        purchase: Box<Purchase>,
        /// The top-up with it.
        top_up: Box<TopUp>,
    },
    /// Nothing.
    Skip {
        /// Why not.
        why: Skipped,
        /// The top-up, where that changes it.
        top_up: Option<Box<TopUp>>,
    },
}

impl TopUp {
    /// The top-up that those terms ask for: the same where it is so already.
    pub fn put(current: Option<&Self>, terms: &TopUpTerms, now: Time) -> Self {
        match current {
            None => Self {
                terms: terms.clone(),
                month: month_of(now),
                spent: 0,
                declines: 0,
                not_before: None,
                waiting: None,
                open: None,
                off_reason: None,
                removed: false,
                revision: 1,
            },
            Some(current) if current.is_on() && current.terms == *terms => current.clone(),
            Some(current) => Self {
                terms: terms.clone(),
                spent: match current.terms.monthly_cap.currency == terms.monthly_cap.currency {
                    true => current.spent,
                    false => 0,
                },
                declines: 0,
                not_before: None,
                off_reason: None,
                removed: false,
                ..current.revised()
            },
        }
    }

    /// The same, not wanted any more. It stays for its month's sum, and for a payment that is open.
    #[must_use]
    pub fn removed(&self) -> Self {
        match self.removed {
            true => self.clone(),
            false => Self {
                waiting: None,
                removed: true,
                ..self.revised()
            },
        }
    }

    /// Whether it buys.
    pub fn is_on(&self) -> bool {
        !self.removed && self.off_reason.is_none()
    }

    /// Whether a crossing waits that came after an account that was read up to an entry: that account
    /// does not tell whether it is to be served.
    pub fn is_ahead_of(&self, read: Seq) -> bool {
        self.waiting.is_some_and(|waiting| read < waiting.crossing)
    }

    /// When it is to be looked at, if it is.
    pub fn due_at(&self) -> Option<Time> {
        let waiting = self
            .waiting
            .filter(|_| self.is_on() && self.open.is_none())?;
        let since = waiting.since;
        Some(self.not_before.map_or(since, |at| at.max(since)))
    }

    /// What this month's purchases cost that are paid or pending.
    pub fn spent_in_month_of(&self, now: Time) -> Money {
        let spent = match month_of(now) <= self.month {
            true => self.spent,
            false => 0,
        };
        Money {
            amount: spent,
            ..self.terms.monthly_cap.none()
        }
    }

    /// What is to be done now, with the account as it is settled.
    pub fn decide(&self, account: &Account, policy: &Policy, now: Time) -> Next {
        let now = now.max(account.head.at).max(time::midnight(self.month));
        let Some(waiting) = self.waiting else {
            let why = match self.is_on() {
                true => Skipped::Nothing,
                false => Skipped::Off,
            };
            return Next::Skip { why, top_up: None };
        };
        let skip = |why, top_up: Self| Next::Skip {
            why,
            top_up: Some(Box::new(top_up)),
        };
        let dropped = || self.dropped();
        if !self.is_on() {
            return skip(Skipped::Off, dropped());
        }
        if self.open.is_some() {
            return skip(Skipped::Open, self.revised());
        }
        if self.not_before.is_some_and(|at| now < at) {
            return skip(Skipped::Later, self.revised());
        }
        if account.profile.status == Status::Suspended {
            return skip(Skipped::Suspended, dropped());
        }
        if !account.balance().debt.is_zero() {
            return skip(Skipped::InDebt, dropped());
        }
        if !account.is_low() {
            return skip(Skipped::Enough, dropped());
        }
        let cap = &self.terms.monthly_cap;
        let for_sale = policy.price(self.terms.quantity.credit()).ok();
        let Some((quantity, price)) = for_sale.filter(|(_, p)| p.currency == cap.currency) else {
            return skip(Skipped::NotForSale, dropped());
        };
        let spent = self.spent_in_month_of(now).amount + price.amount;
        if spent > cap.amount {
            let not_before = Some(time::midnight(month_of(now) + Months::new(1)));
            let later = Self {
                not_before,
                ..self.revised()
            };
            return skip(Skipped::CapReached, later);
        }
        let id = self.purchase_id(&account.id, waiting.crossing);
        let method = self.terms.payment_method.clone();
        let command = PurchaseCommand {
            quantity: quantity.credit(),
            promo_code: None,
            payment_method: method.clone(),
        };
        let asked = command.fingerprint();
        let method = method.unwrap_or_default();
        let purchase = Purchase::pending(id.clone(), asked, quantity, price, method, now);
        let top_up = Self {
            month: month_of(now),
            spent,
            waiting: None,
            open: Some(id),
            ..self.revised()
        };
        Next::Buy {
            purchase: Box::new(Purchase {
                top_up: Some(waiting.crossing),
                ..purchase
            }),
            top_up: Box::new(top_up),
        }
    }

    /// The same, its crossing served by nothing.
    #[must_use]
    pub fn dropped(&self) -> Self {
        Self {
            waiting: None,
            ..self.revised()
        }
    }

    /// The id of a purchase for that crossing that begins now: no two have the same, since each changes
    /// the revision. No client's key makes it: none has a space in it.
    fn purchase_id(&self, account: &AccountId, crossing: Seq) -> OperationId {
        let key = format!("top up {} {}", crossing.get(), self.revision);
        OperationId::derive(account, Operation::Purchase, &key)
    }

    /// The same after its purchase was paid.
    #[must_use]
    pub fn paid(&self) -> Self {
        Self {
            declines: 0,
            not_before: None,
            open: None,
            ..self.revised()
        }
    }

    /// The same after its purchase was declined, and what its holder is told if that was once too
    /// often. Its crossing waits again, unless another does.
    pub fn declined(
        &self,
        purchase: &Purchase,
        policy: &Policy,
        now: Time,
    ) -> (Self, Option<TopUpOff>) {
        let now = now.max(purchase.created_at);
        let declines = self.declines + 1;
        let back_off = policy.top_up.back_off(declines);
        let goes_off = self.is_on() && back_off.is_none();
        let counted = month_of(purchase.created_at) == self.month
            && purchase.price.currency == self.terms.monthly_cap.currency;
        let price = if counted { purchase.price.amount } else { 0 };
        let again = purchase.top_up.map(|crossing| Waiting {
            crossing,
            since: now,
        });
        let off_reason = match goes_off {
            true => Some(TopUpOffReason::Declined),
            false => self.off_reason,
        };
        let still_on = self.is_on() && !goes_off;
        let after = Self {
            spent: self.spent.saturating_sub(price),
            declines,
            not_before: back_off.map(|wait| now + wait),
            waiting: self.waiting.or(again).filter(|_| still_on),
            open: None,
            off_reason,
            ..self.revised()
        };
        let told = goes_off.then(|| TopUpOff {
            purchase_id: purchase.id.clone(),
            quantity: purchase.quantity,
            price: purchase.price.clone(),
            declines,
            noticed_at: now,
        });
        (after, told)
    }

    /// The same, about to be written over what was read.
    fn revised(&self) -> Self {
        Self {
            revision: self.revision + 1,
            ..self.clone()
        }
    }
}

/// The first day of the calendar month in UTC that an instant is in.
fn month_of(now: Time) -> NaiveDate {
    let today = now.date_naive();
    today.with_day(1).unwrap_or(today)
}

/// Whether a top-up buys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TopUpState {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// A top-up as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct TopUpView {
    /// How many Connects at a time.
    pub quantity: Connects,
    /// What a calendar month (UTC) may cost at most.
    pub monthly_cap: Money,
    /// The payment provider's name of what is charged; none for its default.
    pub payment_method: Option<String>,
    /// Whether it buys.
    pub state: TopUpState,
    /// Why it does not, where that is not its holder's wish.
    pub off_reason: Option<TopUpOffReason>,
    /// What this calendar month's purchases cost that are paid or pending.
    pub spent_this_month: Money,
    /// How often in a row a payment was declined.
    pub declines: u32,
}

impl TopUpView {
    /// Of a top-up that is wanted, as of `now`; none of one that was removed.
    pub fn of(top_up: &TopUp, now: Time) -> Option<Self> {
        let terms = &top_up.terms;
        (!top_up.removed).then(|| Self {
            quantity: terms.quantity,
            monthly_cap: terms.monthly_cap.clone(),
            payment_method: terms.payment_method.clone(),
            state: match top_up.is_on() {
                true => TopUpState::On,
                false => TopUpState::Off,
            },
            off_reason: top_up.off_reason,
            spent_this_month: top_up.spent_in_month_of(now),
            declines: top_up.declines,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::{Amend, Kind};
    use super::super::low_balance::LowBalance;
    use super::super::policy::built_in;
    use super::super::testing::{OPENED, at, connects, draft, opened, stored};
    use super::*;

    fn cents(amount: u64) -> Money {
        Money {
            amount,
            currency: "USD".to_owned(),
        }
    }

    /// Twenty at a time, for 300 cents.
    fn terms(cap: u64) -> TopUpTerms {
        TopUpTerms {
            quantity: connects(20),
            monthly_cap: cents(cap),
            payment_method: Some("m".to_owned()),
        }
    }

    fn waits(crossing: u64, since: &str) -> Option<Waiting> {
        Some(Waiting {
            crossing: Seq::new(crossing),
            since: at(since),
        })
    }

    fn waiting(cap: u64) -> TopUp {
        TopUp {
            waiting: waits(4, OPENED),
            ..TopUp::put(None, &terms(cap), at(OPENED))
        }
    }

    /// A freelancer's 50, which are low.
    fn low(policy: &Policy) -> Account {
        let mut account = opened(policy, Kind::Freelancer);
        account.profile.low_balance = Some(LowBalance {
            threshold: connects(60),
            tops_up: true,
        });
        account
    }

    fn bought(next: Next) -> (Purchase, TopUp) {
        match next {
            Next::Buy { purchase, top_up } => (*purchase, *top_up),
            Next::Skip { why, .. } => panic!("{why:?}"),
        }
    }

    fn skipped(next: Next) -> (Skipped, Option<TopUp>) {
        match next {
            Next::Skip { why, top_up } => (why, top_up.map(|top_up| *top_up)),
            Next::Buy { purchase, .. } => panic!("{purchase:?}"),
        }
    }

    #[test]
    fn what_it_buys_is_counted_when_it_begins_and_open_until_it_ends() {
        let policy = built_in();
        let account = low(&policy);
        let before = waiting(300);
        assert_eq!(before.due_at(), Some(at(OPENED)));
        let (purchase, begun) = bought(before.decide(&account, &policy, at(OPENED)));
        assert_eq!(
            (purchase.quantity, &purchase.price),
            (connects(20), &cents(300))
        );
        assert_eq!(purchase.top_up, Some(Seq::new(4)));
        assert_eq!(purchase.payment_method, "m");
        let open = Some(purchase.id.clone());
        assert_eq!(
            (begun.spent, &begun.open, begun.waiting),
            (300, &open, None)
        );
        assert_eq!((begun.revision, begun.due_at()), (2, None));

        // Paid, it is done; the sum stays.
        let paid = begun.paid();
        assert_eq!((paid.spent, &paid.open, paid.due_at()), (300, &None, None));
        // Another crossing meanwhile waits for that.
        let crossed = TopUp {
            waiting: waits(9, OPENED),
            ..begun.clone()
        };
        let (why, kept) = skipped(crossed.decide(&account, &policy, at(OPENED)));
        let kept = kept.unwrap();
        assert_eq!((why, kept.waiting), (Skipped::Open, crossed.waiting));
        assert_eq!(kept.due_at(), None);
        assert_eq!(crossed.paid().due_at(), Some(at(OPENED)));
    }

    /// The id is new whenever one begins, and the same for who begins it at the same time.
    #[test]
    fn an_attempt_has_an_id_of_its_own() {
        let policy = built_in();
        let account = low(&policy);
        let id = |top_up: &TopUp| bought(top_up.decide(&account, &policy, at(OPENED))).0.id;
        let first = waiting(900);
        assert_eq!(id(&first), id(&first));
        let (purchase, begun) = bought(first.decide(&account, &policy, at(OPENED)));
        let (again, _) = begun.declined(&purchase, &policy, at(OPENED));
        let later = TopUp {
            not_before: None,
            ..again
        };
        assert_eq!(later.waiting, first.waiting);
        assert_ne!(id(&later), id(&first));
        let other = TopUp {
            waiting: waits(5, OPENED),
            ..first.clone()
        };
        assert_ne!(id(&other), id(&first));
    }

    /// In each row: what is different, why nothing is bought, and whether the crossing waits on.
    #[test]
    fn something_may_be_in_the_way() {
        let policy = built_in();
        type Differs = fn(&mut Account, &mut TopUp);
        let rows: [(Differs, Skipped, bool); 9] = [
            (|_, top_up| top_up.waiting = None, Skipped::Nothing, false),
            (|_, top_up| *top_up = top_up.removed(), Skipped::Off, false),
            (
                |_, top_up| top_up.off_reason = Some(TopUpOffReason::Declined),
                Skipped::Off,
                false,
            ),
            (
                |_, top_up| top_up.not_before = Some(at("2025-01-10T12:00:00.001Z")),
                Skipped::Later,
                true,
            ),
            (
                |account, _| account.profile.status = Status::Suspended,
                Skipped::Suspended,
                false,
            ),
            (
                |account, _| account.head.after.debt = connects(1),
                Skipped::InDebt,
                false,
            ),
            (
                |account, _| account.head.after.available = connects(60),
                Skipped::Enough,
                false,
            ),
            (
                |_, top_up| top_up.terms.quantity = connects(9),
                Skipped::NotForSale,
                false,
            ),
            (
                |_, top_up| top_up.terms.monthly_cap.currency = "EUR".to_owned(),
                Skipped::NotForSale,
                false,
            ),
        ];
        for (change, why, waits_on) in rows {
            let (mut account, mut top_up) = (low(&policy), waiting(300));
            change(&mut account, &mut top_up);
            let (skipped, after) = skipped(top_up.decide(&account, &policy, at(OPENED)));
            let after = after.unwrap_or_else(|| top_up.clone());
            assert_eq!((skipped, after.waiting.is_some()), (why, waits_on));
            assert_eq!(
                after.due_at(),
                top_up.not_before.filter(|_| waits_on),
                "{why:?}"
            );
            assert_eq!(after.spent, 0);
        }
    }

    /// A suspension is seen in the account as it is settled.
    #[test]
    fn a_suspended_account_is_not_topped_up() {
        let policy = built_in();
        let suspend = Amend {
            status: Some(Status::Suspended),
            email: None,
            payment_customer: None,
        };
        let (account, _) = suspend.plan(draft(&policy, low(&policy), OPENED));
        let next = waiting(300).decide(&stored(account), &policy, at(OPENED));
        assert_eq!(skipped(next).0, Skipped::Suspended);
    }

    /// The cap, what was spent and in which month; now; what the sum is then, or when it is tried again.
    #[test]
    fn a_month_costs_no_more_than_its_cap() {
        let policy = built_in();
        let (january, february) = ("2025-01-01", "2025-02-01");
        let (last, next) = ("2025-01-31T23:59:59.999Z", "2025-02-01T00:00:00Z");
        for (cap, spent, month, now, expected) in [
            (300, 0, january, OPENED, Ok(300)),
            (300, 1, january, OPENED, Err(next)),
            (300, 300, january, last, Err(next)),
            (300, 300, january, next, Ok(300)),
            (900, 600, january, last, Ok(900)),
            (900, 601, january, last, Err(next)),
            (299, 0, january, OPENED, Err(next)),
            // A clock that is behind does not begin the month again.
            (300, 300, february, last, Err("2025-03-01T00:00:00Z")),
        ] {
            let top_up = TopUp {
                spent,
                month: month.parse().unwrap(),
                ..waiting(cap)
            };
            let decided = match top_up.decide(&low(&policy), &policy, at(now)) {
                Next::Buy { top_up, .. } => Ok(top_up.spent),
                Next::Skip { why, top_up } => {
                    assert_eq!(why, Skipped::CapReached);
                    Err(top_up.unwrap().due_at().unwrap())
                }
            };
            assert_eq!(decided, expected.map_err(at), "{cap} {spent} {now}");
        }
    }

    #[test]
    fn a_decline_gives_the_price_back_and_waits_longer_each_time() {
        let policy = built_in();
        let account = low(&policy);
        let mut top_up = waiting(300);
        let mut now = at(OPENED);
        for (declines, wait) in [(1, Some(1)), (2, Some(24)), (3, None)] {
            let (purchase, begun) = bought(top_up.decide(&account, &policy, now));
            let (declined, off) = begun.declined(&purchase, &policy, now);
            assert_eq!((declined.spent, declined.declines), (0, declines));
            let next = wait.map(|hours| now + TimeDelta::hours(hours));
            assert_eq!(
                (declined.due_at(), declined.is_on()),
                (next, wait.is_some())
            );
            let told = wait.is_none().then_some(TopUpOff {
                purchase_id: purchase.id,
                quantity: connects(20),
                price: cents(300),
                declines: 3,
                noticed_at: now,
            });
            assert_eq!(off, told);
            if let Some(next) = next {
                let early = declined.decide(&account, &policy, next - TimeDelta::milliseconds(1));
                assert_eq!(skipped(early).0, Skipped::Later);
                now = next;
            }
            top_up = declined;
        }
        assert_eq!(top_up.off_reason, Some(TopUpOffReason::Declined));
        assert_eq!(top_up.waiting, None);
        // Asked for again, it is on again, in the same month.
        let spent = TopUp {
            spent: 150,
            ..top_up
        };
        let again = TopUp::put(Some(&spent), &terms(300), now);
        assert_eq!((again.is_on(), again.declines, again.spent), (true, 0, 150));
        assert_eq!(again.not_before, None);
    }

    /// A payment in between begins the count again.
    #[test]
    fn only_declines_in_a_row_turn_it_off() {
        let policy = built_in();
        let account = low(&policy);
        let top_up = TopUp {
            declines: 2,
            ..waiting(3_000)
        };
        let (_, begun) = bought(top_up.decide(&account, &policy, at(OPENED)));
        assert_eq!(begun.paid().declines, 0);
    }

    #[test]
    fn a_decline_counts_in_the_month_that_it_began_in() {
        let policy = built_in();
        let (purchase, begun) = bought(waiting(300).decide(&low(&policy), &policy, at(OPENED)));
        let next_month = TopUp {
            month: "2025-02-01".parse().unwrap(),
            spent: 300,
            ..begun
        };
        let (declined, _) = next_month.declined(&purchase, &policy, at("2025-02-02T00:00:00Z"));
        assert_eq!(declined.spent, 300);
    }

    #[test]
    fn the_same_terms_again_change_nothing_and_others_begin_anew() {
        let on = TopUp {
            declines: 1,
            not_before: Some(at("2025-01-10T13:00:00Z")),
            spent: 300,
            ..waiting(900)
        };
        assert_eq!(TopUp::put(Some(&on), &terms(900), at(OPENED)), on);
        let changed = TopUp::put(Some(&on), &terms(901), at(OPENED));
        assert_eq!(
            (changed.declines, changed.not_before, changed.spent),
            (0, None, 300)
        );
        assert_eq!(changed.revision, on.revision + 1);
        let removed = on.removed();
        assert_eq!((removed.is_on(), removed.due_at()), (false, None));
        assert_eq!(removed.removed(), removed);
        assert_eq!(TopUpView::of(&removed, at(OPENED)), None);
        let back = TopUp::put(Some(&removed), &terms(900), at(OPENED));
        assert_eq!((back.is_on(), back.spent), (true, 300));
    }

    #[test]
    fn it_reads_back_and_is_shown_with_this_months_sum() {
        let policy = built_in();
        let (purchase, begun) = bought(waiting(900).decide(&low(&policy), &policy, at(OPENED)));
        let (declined, _) = begun.declined(&purchase, &policy, at(OPENED));
        for top_up in [waiting(900), begun.clone(), declined, begun.removed()] {
            let item: serde_dynamo::Item = serde_dynamo::to_item(&top_up).unwrap();
            assert_eq!(serde_dynamo::from_item::<_, TopUp>(item).unwrap(), top_up);
        }
        for (now, spent) in [
            (OPENED, 300),
            ("2025-01-31T23:59:59.999Z", 300),
            ("2025-02-01T00:00:00Z", 0),
        ] {
            let view = TopUpView::of(&begun, at(now)).unwrap();
            assert_eq!(
                (view.spent_this_month, view.state),
                (cents(spent), TopUpState::On)
            );
        }
    }
}
