//! An account: who holds it, its live lots and the newest entry of its journal.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};

use super::cycle;
use super::draft::{Draft, Guard, Plan as Writes};
use super::email::Email;
use super::ids::{AccountId, PaymentCustomer, PersonId, Reason, Seq};
use super::journal::{Entry, EntryType};
use super::lot::{Lot, Source};
use super::low_balance::LowBalance;
use super::policy::Policy;
use super::refusal::Invalid;
use super::seal::Seal;
use super::time::Time;
use super::units::Connects;
use crate::defect::{Defect, present};

/// Who may hold an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One person.
    Freelancer,
    /// A firm; gets no grants unless the policy says so.
    Agency,
}

impl Kind {
    /// Both kinds by their words.
    pub const ALL: [(&'static str, Self); 2] =
        [("freelancer", Self::Freelancer), ("agency", Self::Agency)];

    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freelancer => "freelancer",
            Self::Agency => "agency",
        }
    }
}

/// What the holder subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Free.
    Basic,
    /// Paid.
    Plus,
}

impl Plan {
    /// Both plans by their words.
    pub const ALL: [(&'static str, Self); 2] = [("basic", Self::Basic), ("plus", Self::Plus)];

    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Plus => "plus",
        }
    }
}

/// Whether the account may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Yes.
    Active,
    /// It can't spend and gets no grants; lots age, returns and paid purchases still credit it.
    Suspended,
}

impl Status {
    /// Both by their words.
    pub const ALL: [(&'static str, Self); 2] =
        [("active", Self::Active), ("suspended", Self::Suspended)];

    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

/// What a plan reads of an account besides its lots. Changes only together with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Who holds it.
    pub kind: Kind,
    /// The person behind it.
    pub person_id: PersonId,
    /// What is subscribed to.
    pub plan: Plan,
    /// Whether it may be used.
    pub status: Status,
    /// The opening day that was asked for, or the day of opening.
    pub opened_on: NaiveDate,
    /// The day from which billing cycles are counted.
    pub anchor: NaiveDate,
    /// The first cycle start that no grant was booked for.
    pub next_grant_on: NaiveDate,
    /// The plan that this cycle start brings, where it is another one.
    pub pending_plan: Option<Plan>,
    /// Where plus was not paid any more: the start of the cycle that had brought its grants.
    pub lapsed_cycle: Option<NaiveDate>,
    /// Under how many Connects the balance is low, where its holder has said so.
    pub low_balance: Option<LowBalance>,
    /// The entry that last changed this profile.
    pub seq: Seq,
}

/// Available, held and owed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct Balance {
    /// Can be spent.
    pub available: Connects,
    /// Reserved.
    pub held: Connects,
    /// Owed for a charged-back purchase; blocks spending.
    pub debt: Connects,
}

/// A loaded account: the whole state that a plan is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Who holds it, and how.
    pub profile: Profile,
    /// What the lots hold, oldest first.
    pub lots: Vec<Lot>,
    /// The newest entry.
    pub head: Entry,
    /// The lots as their items stand: different from `lots` while the head has pending ones.
    pub stored: Vec<Lot>,
}

/// What was read does not fit together: either items from before and after a commit were mixed, or
/// something is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("account {account} does not match entry {seq} of its journal")]
pub struct Torn {
    account: AccountId,
    seq: Seq,
}

impl Account {
    /// Puts together what was read.
    ///
    /// # Errors
    /// [`Torn`] when the lots and the profile are not those that the newest entry sealed.
    pub fn assemble(
        id: AccountId,
        profile: Profile,
        mut stored: Vec<Lot>,
        head: Entry,
    ) -> Result<Self, Torn> {
        stored.sort_by_key(|lot| lot.birth().age_key());
        let lots = apply_pending(&stored, &head.pending);
        let available: Connects = lots.iter().map(Lot::remaining).sum();
        let fits = profile.seq == head.profile_seq
            && available == head.after.available
            && head.seal(&lots) == head.hash;
        if !fits && !present(Defect::TornTaken) {
            return Err(Torn {
                account: id,
                seq: head.seq,
            });
        }
        Ok(Self {
            id,
            profile,
            lots,
            head,
            stored,
        })
    }

    /// Available, held and owed as the newest entry left them.
    pub fn balance(&self) -> Balance {
        self.head.after
    }

    /// Whether a cycle start ever brings this account anything.
    pub fn has_grants(&self, policy: &Policy) -> bool {
        !policy
            .grants(self.profile.kind, self.profile.plan)
            .is_empty()
    }

    /// An account on its way into being: nothing booked yet.
    fn unborn(id: AccountId, profile: Profile, now: Time, policy: &Policy) -> Self {
        let head = Entry {
            seq: Seq::NONE,
            at: now,
            effective_at: now,
            entry_type: EntryType::Account,
            reason: Reason::of("opened"),
            amount: 0,
            slices: vec![],
            after: Balance::default(),
            reference: None,
            policy_version: policy.version,
            profile_seq: Seq::NONE,
            pending: vec![],
            prev_hash: Seal::GENESIS,
            hash: Seal::GENESIS,
        };
        Self {
            id,
            profile,
            lots: vec![],
            head,
            stored: vec![],
        }
    }
}

fn apply_pending(stored: &[Lot], pending: &[Lot]) -> Vec<Lot> {
    let by_age = |lot: &Lot| (lot.birth().age_key(), lot.clone());
    let mut lots: BTreeMap<_, _> = stored.iter().map(by_age).collect();
    if !present(Defect::PendingIgnored) {
        lots.extend(pending.iter().map(by_age));
    }
    lots.into_values()
        .filter(|lot| !lot.remaining().is_zero())
        .collect()
}

/// An account as the contract shows it. Receipts of plan changes keep it as it was: a new member needs
/// a default, or their replays can't be read any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct AccountView {
    /// Its id.
    pub account_id: AccountId,
    /// Who holds it.
    pub kind: Kind,
    /// What is subscribed to.
    pub plan: Plan,
    /// Whether it may be used.
    pub status: Status,
    /// The cycle that today lies in.
    pub billing_cycle: BillingCycle,
    /// Available, held and owed.
    pub balance: Balance,
    /// What lapses first, if anything can.
    pub next_expiry: Option<NextExpiry>,
    /// The plan that the next cycle begins with, where it is another one.
    pub pending_plan: Option<Plan>,
}

/// A billing cycle, both days inclusive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct BillingCycle {
    /// Its first day.
    pub starts_on: NaiveDate,
    /// Its last day.
    pub ends_on: NaiveDate,
    /// The day of the next grant: the first of the next cycle.
    pub next_grant_on: NaiveDate,
}

/// What lapses first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct NextExpiry {
    /// Its last usable day.
    pub on: NaiveDate,
    /// How many Connects of that day there are.
    pub amount: Connects,
}

impl AccountView {
    /// Of an account that is settled at `now`.
    pub fn of(account: &Account, now: Time) -> Self {
        let today = now.date_naive();
        let next = cycle::after(account.profile.anchor, today);
        let expires_on = |lot: &Lot| lot.birth().expires_on;
        let next_expiry = account
            .lots
            .iter()
            .map(expires_on)
            .min()
            .map(|on| NextExpiry {
                on,
                amount: account
                    .lots
                    .iter()
                    .filter(|lot| expires_on(lot) == on)
                    .map(Lot::remaining)
                    .sum(),
            });
        Self {
            account_id: account.id.clone(),
            kind: account.profile.kind,
            plan: account.profile.plan,
            status: account.profile.status,
            billing_cycle: BillingCycle {
                starts_on: cycle::containing(account.profile.anchor, today),
                ends_on: next - Days::new(1),
                next_grant_on: next,
            },
            balance: account.balance(),
            next_expiry,
            pending_plan: account.profile.pending_plan,
        }
    }
}

/// A request to open an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Who will hold it.
    pub kind: Kind,
    /// The person behind it.
    pub person_id: PersonId,
    /// Where to write to.
    pub email: Option<Email>,
    /// Who the holder is at the payment provider.
    pub payment_customer: Option<PaymentCustomer>,
    /// A past day from which billing cycles are counted; today where absent.
    pub opened_on: Option<NaiveDate>,
}

impl Open {
    /// What is kept beside the account.
    pub fn contact(&self) -> Contact<'_> {
        Contact {
            email: self.email.as_ref(),
            payment_customer: self.payment_customer.as_ref(),
        }
    }

    /// Whether such an account can be opened today.
    ///
    /// # Errors
    /// `invalid_field` when the opening day is to come.
    pub fn check(&self, now: Time) -> Result<(), Invalid> {
        match self.opened_on {
            Some(day) if day > now.date_naive() => {
                Err(Invalid::field("opened_on", "must not be after today"))
            }
            _ => Ok(()),
        }
    }

    /// Whether opening again asks for the account that is there.
    pub fn matches(&self, profile: &Profile) -> bool {
        self.kind == profile.kind
            && self.person_id == profile.person_id
            && self.opened_on.is_none_or(|day| day == profile.opened_on)
    }

    /// Opens the account: the signup bonus for a new freelancer, and the grant of the cycle that
    /// contains today. A past opening day fixes the anchor and earns no back grants.
    pub fn plan(
        &self,
        policy: &Policy,
        now: Time,
        id: &AccountId,
        person_is_new: bool,
    ) -> (Account, Option<Writes>) {
        let today = now.date_naive();
        let opened_on = self.opened_on.unwrap_or(today);
        let profile = Profile {
            kind: self.kind,
            person_id: self.person_id.clone(),
            plan: Plan::Basic,
            status: Status::Active,
            opened_on,
            anchor: opened_on,
            next_grant_on: cycle::after(opened_on, today),
            pending_plan: None,
            lapsed_cycle: None,
            low_balance: None,
            seq: Seq::NONE,
        };
        let cycle_start = cycle::containing(opened_on, today);
        let account = Account::unborn(id.clone(), profile, now, policy);
        let mut draft = Draft::new(policy, now, account);
        draft.change_profile("opened", None, |_| {});

        let bonus = person_is_new && self.kind == Kind::Freelancer;
        if bonus && !policy.signup.amount.is_zero() {
            draft.issue(Source::Signup, "signup", policy.signup.amount, None);
        }
        draft.grant(cycle_start, now);

        let claim = bonus.then(|| Guard::NewPerson(self.person_id.clone()));
        draft.finish(claim.into_iter().collect())
    }
}

/// A request to change an account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amend {
    /// Suspend or reactivate.
    pub status: Option<Status>,
    /// Where to write to from now on.
    pub email: Option<Email>,
    /// Who the holder is at the payment provider from now on.
    pub payment_customer: Option<PaymentCustomer>,
}

/// What is kept with an account and read by no plan, so that no entry says when it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contact<'a> {
    /// Where to write to.
    pub email: Option<&'a Email>,
    /// Who the holder is at the payment provider.
    pub payment_customer: Option<&'a PaymentCustomer>,
}

impl Amend {
    /// What changes beside the account.
    pub fn contact(&self) -> Contact<'_> {
        Contact {
            email: self.email.as_ref(),
            payment_customer: self.payment_customer.as_ref(),
        }
    }

    /// Books the change of status, if it is one.
    pub fn plan(&self, mut draft: Draft<'_>) -> (Account, Option<Writes>) {
        match self.status {
            Some(status) if status != draft.account().profile.status => {
                let reason = match status {
                    Status::Active => "reactivated",
                    Status::Suspended => "suspended",
                };
                draft.change_profile(reason, None, |profile| profile.status = status);
                draft.finish(vec![])
            }
            _ => (draft.into_account(), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::built_in;
    use super::super::testing::{OPENED, account_id, at, connects, draft, open, opened, stored};
    use super::*;

    #[test]
    fn words_are_the_same_everywhere() {
        let json = |word: &str| serde_json::Value::from(word);
        for (word, kind) in Kind::ALL {
            assert_eq!((kind.as_str(), serde_json::json!(kind)), (word, json(word)));
        }
        for (word, plan) in Plan::ALL {
            assert_eq!((plan.as_str(), serde_json::json!(plan)), (word, json(word)));
        }
        for (word, status) in Status::ALL {
            assert_eq!(
                (status.as_str(), serde_json::json!(status)),
                (word, json(word))
            );
        }
    }

    #[test]
    fn a_state_that_does_not_fit_its_newest_entry_is_torn() {
        let account = opened(&built_in(), Kind::Freelancer);
        let assemble = |change: fn(&mut Account)| {
            let mut account = account.clone();
            change(&mut account);
            let Account {
                id,
                profile,
                lots,
                head,
                ..
            } = account;
            Account::assemble(id, profile, lots, head)
        };
        assert_eq!(assemble(|_| {}).unwrap(), account);
        assert!(assemble(|account| account.profile.seq = Seq::NONE).is_err());
        assert!(assemble(|account| account.lots.truncate(1)).is_err());
        assert!(assemble(|account| account.head.hash = Seal::GENESIS).is_err());
        assert!(
            assemble(|account| {
                account.head.after.available += Connects::new(1);
                account.head.hash = account.head.seal(&account.lots);
            })
            .is_err()
        );
    }

    #[test]
    fn an_account_is_shown_with_its_cycle_and_what_lapses_first() {
        let policy = built_in();
        let mut draft = draft(&policy, opened(&policy, Kind::Freelancer), OPENED);
        let later = "2026-03-01".parse().unwrap();
        draft.issue_at(
            Source::Promo,
            "promo_grant",
            connects(7),
            None,
            at(OPENED),
            later,
        );
        let account = draft.into_account();
        let view = AccountView::of(&account, at("2025-02-10T00:00:00Z"));
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        assert_eq!(
            view.billing_cycle,
            BillingCycle {
                starts_on: day("2025-02-10"),
                ends_on: day("2025-03-09"),
                next_grant_on: day("2025-03-10"),
            }
        );
        assert_eq!(view.balance.available, connects(57));
        assert_eq!(
            view.next_expiry,
            Some(NextExpiry {
                on: day("2026-01-10"),
                amount: connects(50),
            })
        );
    }

    #[test]
    fn an_account_opens_today_or_on_a_past_day() {
        let opens = |opened_on: Option<&str>| {
            let opened_on = opened_on.map(|day| day.parse().unwrap());
            let open = Open {
                opened_on,
                ..open(Kind::Agency)
            };
            open.check(at(OPENED)).is_ok()
        };
        assert!(opens(None));
        assert!(opens(Some("2024-02-29")));
        assert!(opens(Some("2025-01-10")));
        assert!(!opens(Some("2025-01-11")));
    }

    #[test]
    fn opening_again_must_ask_for_the_same() {
        let account = opened(&built_in(), Kind::Freelancer);
        let matches = |open: Open| open.matches(&account.profile);
        let same = || open(Kind::Freelancer);
        let on = |day: &str| Open {
            opened_on: Some(day.parse().unwrap()),
            ..same()
        };
        assert!(matches(same()));
        assert!(matches(on("2025-01-10")));
        assert!(!matches(on("2025-01-09")));
        assert!(!matches(open(Kind::Agency)));
        let person_id = PersonId::try_new("p2").unwrap();
        assert!(!matches(Open {
            person_id,
            ..same()
        }));
    }

    #[test]
    fn the_signup_bonus_is_for_a_new_freelancer() {
        let mut policy = built_in();
        let brings = |policy: &Policy, kind, is_new| {
            let (account, plan) = open(kind).plan(policy, at(OPENED), &account_id(), is_new);
            (
                account.balance().available.get(),
                plan.unwrap().guards.len(),
            )
        };
        assert_eq!(brings(&policy, Kind::Freelancer, true), (50, 1));
        assert_eq!(brings(&policy, Kind::Freelancer, false), (10, 0));
        assert_eq!(brings(&policy, Kind::Agency, true), (0, 0));
        assert_eq!(brings(&policy, Kind::Agency, false), (0, 0));
        policy.signup.amount = Connects::ZERO;
        assert_eq!(brings(&policy, Kind::Freelancer, true), (10, 1));
        let (account, _) = open(Kind::Freelancer).plan(&policy, at(OPENED), &account_id(), true);
        assert_eq!(account.lots.len(), 1);
    }

    #[test]
    fn a_status_that_is_there_already_is_no_change() {
        let policy = built_in();
        let account = opened(&policy, Kind::Freelancer);
        let amend = |account: &Account, status| {
            let amend = Amend {
                status: Some(status),
                email: None,
                payment_customer: None,
            };
            amend.plan(draft(&policy, account.clone(), OPENED))
        };
        assert_eq!(amend(&account, Status::Active).1, None);
        let (suspended, plan) = amend(&account, Status::Suspended);
        assert_eq!(plan.unwrap().entries[0].reason, Reason::of("suspended"));
        let suspended = stored(suspended);
        assert_eq!(amend(&suspended, Status::Suspended).1, None);
        let (active, plan) = amend(&suspended, Status::Active);
        assert_eq!(plan.unwrap().entries[0].reason, Reason::of("reactivated"));
        assert_eq!(active.profile.status, Status::Active);
        assert_eq!(
            Amend::default().plan(draft(&policy, suspended, OPENED)).1,
            None
        );
    }

    #[test]
    fn only_what_the_policy_grants_has_a_next_grant() {
        let policy = built_in();
        for (kind, due_at) in [
            (Kind::Freelancer, Some(at("2025-02-10T00:00:00Z"))),
            (Kind::Agency, None),
        ] {
            let (account, plan) = open(kind).plan(&policy, at(OPENED), &account_id(), true);
            assert_eq!(account.has_grants(&policy), due_at.is_some());
            let profile = plan.unwrap().profile.unwrap();
            assert_eq!((profile.due_at, profile.was), (due_at, None));
        }
    }
}
