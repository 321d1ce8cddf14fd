//! Defects to plant on purpose, to see that the checks of the tests notice.
//!
//! Only a build with the feature `defects` can be broken, and only tests are built with it, from the
//! command line. In every other build [`present`] is `false` while compiling, and each place that
//! asks is as if it did not.

use crate::domain::account::Account;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// The journal's next number can be taken twice.
    NoLock,
    /// Neither the journal's next number nor what a lot holds is a condition.
    NoConditions,
    /// A lost race sends what was planned for the old state again.
    StalePlan,
    /// A commit that was not answered is taken for done.
    UnansweredIsDone,
    /// The receipt is written after the transaction, not in it.
    ReceiptApart,
    /// A refusal is answered without looking for the receipt once more.
    RefusalAtOnce,
    /// A key's second request is taken for its first.
    AnyBody,
    /// Lots that have expired are used.
    ExpiryIgnored,
    /// The scheduled run is not told of new lots.
    LotNotDue,
    /// What was read is not held against the newest entry's seal.
    TornTaken,
    /// A transaction's entries can each be the newest.
    HalfTaken,
    /// Readers see pending lots as they are stored.
    PendingIgnored,
    /// The newest lots are used first.
    NewestFirst,
    /// Time goes back with the clock of the writer.
    ClockBack,
    /// A suspended account spends.
    SuspendedSpends,
    /// A promo code's limit is looked at before the transaction, not in it.
    CapBefore,
    /// A declined purchase does not give its code's redemption back.
    CodeKept,
    /// A purchase is charged its whole price, whatever its code takes off.
    DiscountForgotten,
    /// A refund does not count what came back before.
    RefundUncounted,
    /// A purchase is credited whatever it stands at.
    CreditedTwice,
    /// A payment without an answer is taken for declined.
    OpenIsDeclined,
    /// A person's signup bonus is not written down under a condition.
    SignupTwice,
    /// A cycle's grant is not noted as given.
    CycleTwice,
    /// Every second cycle is passed over.
    CycleSkipped,
    /// That the job is open, at the price that was read, is no part of a proposal's transaction.
    JobUnchecked,
    /// What a closure gives back is not noted with the proposal.
    ReturnUnnoted,
    /// A proposal is written over whatever has become of it.
    ProposalOverwritten,
    /// A job is written over whatever has become of it.
    JobOverwritten,
    /// A pass over a job's proposals counts those that failed as settled.
    FailedIsSettled,
    /// What a closure gives back is decided when it is carried out.
    DecidedLate,
    /// A closure that the table's stream did not tell of is never carried out.
    ClosureNotDue,
    /// A hold is written over whatever has become of it.
    HoldOverwritten,
    /// The scheduled run is not told of holds that end by themselves.
    HoldNotDue,
    /// A hold is captured though its time is over.
    OverIsOpen,
    /// What was held lapses with its lot when it is released.
    HeldLapses,
    /// An auction is written over whatever has become of it.
    AuctionOverwritten,
    /// The scheduled run is not told of auctions.
    AuctionNotDue,
    /// Whoever loses their place is left out of the transaction that takes it.
    LoserForgotten,
    /// Of equal bids the later one leads.
    LateTieWins,
    /// A winner pays one more than the best bid that lost, also where that is more than they bid.
    PaysBeyondBid,
    /// A badge's week is charged whatever has become of the badge.
    BadgeOverwritten,
    /// A week's price is fixed whether it has one or not.
    PriceOverwritten,
    /// A top-up is written over whatever has become of it.
    TopUpOverwritten,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 43] = [
        Self::NoLock,
        Self::NoConditions,
        Self::StalePlan,
        Self::UnansweredIsDone,
        Self::ReceiptApart,
        Self::RefusalAtOnce,
        Self::AnyBody,
        Self::ExpiryIgnored,
        Self::LotNotDue,
        Self::TornTaken,
        Self::HalfTaken,
        Self::PendingIgnored,
        Self::NewestFirst,
        Self::ClockBack,
        Self::SuspendedSpends,
        Self::CapBefore,
        Self::CodeKept,
        Self::DiscountForgotten,
        Self::RefundUncounted,
        Self::CreditedTwice,
        Self::OpenIsDeclined,
        Self::SignupTwice,
        Self::CycleTwice,
        Self::CycleSkipped,
        Self::JobUnchecked,
        Self::ReturnUnnoted,
        Self::ProposalOverwritten,
        Self::JobOverwritten,
        Self::FailedIsSettled,
        Self::DecidedLate,
        Self::ClosureNotDue,
        Self::HoldOverwritten,
        Self::HoldNotDue,
        Self::OverIsOpen,
        Self::HeldLapses,
        Self::AuctionOverwritten,
        Self::AuctionNotDue,
        Self::LoserForgotten,
        Self::LateTieWins,
        Self::PaysBeyondBid,
        Self::BadgeOverwritten,
        Self::PriceOverwritten,
        Self::TopUpOverwritten,
    ];
}

pub use planted::{CAN_BE_PLANTED, plant, present, resent};

#[cfg(not(feature = "defects"))]
mod planted {
    use super::{Account, Defect};

    /// Whether this build can be broken.
    pub const CAN_BE_PLANTED: bool = false;

    /// Whether this thread works with that defect: never.
    pub const fn present(_: Defect) -> bool {
        false
    }

    /// Does nothing: this build can't be broken.
    pub const fn plant(_: Option<Defect>) {}

    /// What is planned on: what was read.
    pub fn resent(_lost: u32, read: Account) -> Account {
        read
    }
}

#[cfg(feature = "defects")]
mod planted {
    use std::cell::{Cell, RefCell};

    use super::{Account, Defect};

    /// Whether this build can be broken.
    pub const CAN_BE_PLANTED: bool = true;

    thread_local! {
        static PLANTED: Cell<Option<Defect>> = const { Cell::new(None) };
        static READ_FIRST: RefCell<Option<Account>> = const { RefCell::new(None) };
    }

    /// Whether this thread works with that defect.
    pub fn present(defect: Defect) -> bool {
        PLANTED.get() == Some(defect)
    }

    /// Breaks this thread's ledger in that way, or mends it.
    pub fn plant(defect: Option<Defect>) {
        PLANTED.set(defect);
    }

    /// What is planned on: what was read; with a stale plan, what the first attempt read, under the
    /// newest number.
    pub fn resent(lost: u32, read: Account) -> Account {
        if !present(Defect::StalePlan) {
            return read;
        }
        READ_FIRST.with_borrow_mut(|first| match first {
            Some(first) if lost > 0 && first.id == read.id => Account {
                head: read.head,
                ..first.clone()
            },
            _ => first.insert(read).clone(),
        })
    }
}
