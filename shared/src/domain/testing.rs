//! What the unit tests of the domain share.

use super::account::{Account, Kind, Open};
use super::draft::{Draft, Plan};
use super::ids::{AccountId, Operation, OperationId, PersonId, Reason};
use super::policy::Policy;
use super::receipt::Receipt;
use super::settle::settle;
use super::spend::SpendCommand;
use super::time::{self, Time};
use super::units::Connects;

/// When these accounts open.
pub const OPENED: &str = "2025-01-10T12:00:00Z";

/// The instant that RFC 3339 text names.
pub fn at(text: &str) -> Time {
    time::parse(text).unwrap()
}

/// So many.
pub fn connects(units: u64) -> Connects {
    Connects::new(units)
}

/// The account that these tests are about.
pub fn account_id() -> AccountId {
    AccountId::try_new("a1").unwrap()
}

/// A request for such an account.
pub fn open(kind: Kind) -> Open {
    Open {
        kind,
        person_id: PersonId::try_new("p1").unwrap(),
        email: None,
        payment_customer: None,
        opened_on: None,
    }
}

/// A new account as it would be loaded: a freelancer's 40 + 10, an agency's nothing.
pub fn opened(policy: &Policy, kind: Kind) -> Account {
    let (account, _) = open(kind).plan(policy, at(OPENED), &account_id(), true);
    stored(account)
}

/// The account as it is loaded once everything of it is written.
pub fn stored(account: Account) -> Account {
    let Account {
        id,
        profile,
        lots,
        mut head,
        ..
    } = account;
    head.pending.clear();
    head.hash = head.seal(&lots);
    Account::assemble(id, profile, lots, head).unwrap()
}

/// The account settled, ready for a command.
pub fn draft<'p>(policy: &'p Policy, account: Account, now: &str) -> Draft<'p> {
    let settled = settle(policy, at(now), account);
    assert!(settled.complete);
    settled.draft
}

/// A spend of so many.
pub fn spend(amount: u64) -> SpendCommand {
    SpendCommand {
        amount: connects(amount),
        reason: Reason::of("test"),
        reference: None,
    }
}

/// The id of the operation of that kind under a key.
pub fn operation(kind: Operation, key: &str) -> OperationId {
    OperationId::derive(&account_id(), kind, key)
}

/// Spends so many of an account: the receipt, the plan and the account after it.
pub fn spent(
    policy: &Policy,
    account: Account,
    now: &str,
    amount: u64,
) -> (Receipt, Plan, Account) {
    let drafted = draft(policy, account, now);
    let mut after = drafted.clone();
    let id = operation(Operation::Spend, "k");
    let (receipt, plan) = spend(amount).plan(drafted, &id).unwrap();
    let reference = receipt.reference.clone();
    after
        .spend(connects(amount), Reason::of("test"), reference)
        .unwrap();
    let (after, _) = after.finish(vec![]);
    (receipt, plan.unwrap(), stored(after))
}
