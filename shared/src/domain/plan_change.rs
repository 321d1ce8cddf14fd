//! Plan changes: up at once, with a billing cycle that begins anew; down with the next cycle, or at
//! once where the membership was not paid.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::account::{AccountView, Plan, Profile};
use super::cycle;
use super::draft::{Draft, Guard, Plan as Writes, Unplanned};
use super::ids::{AccountId, Fingerprint, Operation, OperationId, Reason, Reference};
use super::key::IdempotencyKey;
use super::lot::Source;
use super::receipt::Answered;
use super::refusal::{Invalid, Refusal};
use super::units::Connects;

/// When a change is to take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Effective {
    /// At once.
    Now,
    /// With the next cycle.
    NextCycle,
}

/// What a change comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The holder asked for it.
    Requested,
    /// The membership's renewal was not paid.
    PaymentFailed,
}

/// A request to change the plan. There is no other way up and no other way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanChangeCommand {
    /// To plus, at once.
    Upgrade,
    /// To basic, with the next cycle.
    Downgrade,
    /// To basic, at once: the membership was not paid.
    FallBack,
}

/// Connects that a change brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct Issued {
    /// As what.
    pub reason: Reason,
    /// How many, if any.
    pub amount: Connects,
}

/// The answer to a plan change, and to the question what it would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct PlanChangeAnswer {
    /// The first day of the plan that was asked for.
    pub effective_on: NaiveDate,
    /// What it brings at once, item by item.
    pub issued: Vec<Issued>,
    /// The account after it.
    pub account: AccountView,
}

impl PlanChangeCommand {
    /// The change that a request asks for; what it leaves out is what the plan allows.
    ///
    /// # Errors
    /// `invalid_field` for plus with the next cycle or for a failed payment, and for basic at once
    /// but for a failed payment or with the next cycle for one.
    pub fn try_new(
        plan: Plan,
        effective: Option<Effective>,
        cause: Option<Cause>,
    ) -> Result<Self, Invalid> {
        use Effective::{NextCycle, Now};
        let failed = cause == Some(Cause::PaymentFailed);
        match (plan, effective, failed) {
            (Plan::Plus, _, true) => Err(Invalid::field("reason", "must be requested for plus")),
            (Plan::Plus, Some(NextCycle), false) => {
                Err(Invalid::field("effective", "must be now for plus"))
            }
            (Plan::Plus, None | Some(Now), false) => Ok(Self::Upgrade),
            (Plan::Basic, Some(Now), false) => Err(Invalid::field(
                "effective",
                "must be next_cycle for basic, unless a payment failed",
            )),
            (Plan::Basic, None | Some(NextCycle), false) => Ok(Self::Downgrade),
            (Plan::Basic, Some(NextCycle), true) => Err(Invalid::field(
                "effective",
                "must be now where a payment failed",
            )),
            (Plan::Basic, None | Some(Now), true) => Ok(Self::FallBack),
        }
    }

    /// The id that this request has under `key`.
    pub fn id(account: &AccountId, key: &IdempotencyKey) -> OperationId {
        OperationId::derive(account, Operation::PlanChange, key.as_str())
    }

    /// What a retry must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::PlanChange, self)
    }

    /// Changes the plan. Debt is not in its way, and a suspension only in an upgrade's: the marketplace
    /// has billed the holder, or has not.
    ///
    /// # Errors
    /// `account_suspended` for an upgrade, `plan_unchanged`.
    pub fn plan(
        &self,
        mut draft: Draft<'_>,
        id: &OperationId,
    ) -> Result<(Answered<PlanChangeAnswer>, Option<Writes>), Unplanned> {
        let receipt = Answered {
            id: id.clone(),
            fingerprint: self.fingerprint(),
            key: None,
            entry: draft.account().head.seq.next(),
            answer: self.apply(&mut draft)?,
        };
        let (_, writes) = draft.finish(vec![Guard::NewPlanChange(receipt.clone())]);
        Ok((receipt, writes))
    }

    /// What the change would be answered, were it made now.
    ///
    /// # Errors
    /// As for [`PlanChangeCommand::plan`].
    pub fn preview(&self, mut draft: Draft<'_>) -> Result<PlanChangeAnswer, Refusal> {
        self.apply(&mut draft)
    }

    fn apply(self, draft: &mut Draft<'_>) -> Result<PlanChangeAnswer, Refusal> {
        let today = draft.now().date_naive();
        let Profile {
            plan,
            pending_plan,
            anchor,
            next_grant_on,
            ..
        } = draft.account().profile;
        let mut issued = vec![];
        let effective_on = match (self, plan, pending_plan) {
            (Self::Upgrade, Plan::Basic, _) => {
                issued = upgrade(draft, today)?;
                today
            }
            (Self::Upgrade, Plan::Plus, Some(_)) => {
                book(draft, "downgrade_cancelled", next_grant_on, |profile| {
                    profile.pending_plan = None;
                });
                today
            }
            (Self::Downgrade, Plan::Plus, None) => {
                book(draft, "downgrade_scheduled", next_grant_on, |profile| {
                    profile.pending_plan = Some(Plan::Basic);
                });
                next_grant_on
            }
            (Self::FallBack, Plan::Plus, _) => {
                let begun = cycle::containing(anchor, today);
                book(draft, "downgraded", begun, |profile| {
                    profile.plan = Plan::Basic;
                    profile.pending_plan = None;
                    profile.lapsed_cycle = Some(begun);
                });
                today
            }
            _ => return Err(Refusal::PlanUnchanged),
        };
        Ok(PlanChangeAnswer {
            effective_on,
            issued,
            account: AccountView::of(draft.account(), draft.now()),
        })
    }
}

/// Begins a new cycle today, on plus. If plus has brought its grants for a cycle that began today
/// already, they are not brought for it again.
fn upgrade(draft: &mut Draft<'_>, today: NaiveDate) -> Result<Vec<Issued>, Refusal> {
    if draft.is_suspended() {
        return Err(Refusal::AccountSuspended);
    }
    let profile = &draft.account().profile;
    let progress = cycle::progress(profile.anchor, today);
    let again = profile.lapsed_cycle == Some(today);
    let grants = draft.policy().upgrade_grants(profile.kind, progress);
    let grants: Vec<(Source, Connects)> = grants
        .map(|(source, amount)| (source, if again { Connects::ZERO } else { amount }))
        .collect();
    book(draft, "upgraded", today, |profile| {
        profile.plan = Plan::Plus;
        profile.anchor = today;
        profile.next_grant_on = cycle::after(today, today);
        profile.lapsed_cycle = None;
    });
    for (source, amount) in grants.iter().filter(|(_, amount)| !amount.is_zero()) {
        let about = Reference::of("cycle", today);
        draft.issue(*source, source.as_str(), *amount, Some(about));
    }
    let issued = grants.into_iter().map(|(source, amount)| Issued {
        reason: Reason::of(source.as_str()),
        amount,
    });
    Ok(issued.collect())
}

/// Books a change of the profile that is about the cycle which begins on that day.
fn book(
    draft: &mut Draft<'_>,
    reason: &'static str,
    cycle: NaiveDate,
    change: impl FnOnce(&mut Profile),
) {
    let about = (draft.now(), Reference::of("cycle", cycle));
    draft.change_profile(reason, Some(about), change);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::account::{Account, Amend, Balance, Kind, Status};
    use super::super::ids::Seq;
    use super::super::policy::{Policy, built_in};
    use super::super::settle;
    use super::super::testing::{account_id, at, connects, draft, open, operation, stored};
    use super::PlanChangeCommand::{Downgrade, FallBack, Upgrade};
    use super::*;

    #[test]
    fn only_what_a_plan_allows_can_be_asked_for() {
        use Cause::{PaymentFailed, Requested};
        use Effective::{NextCycle, Now};
        for (plan, effective, cause, told) in [
            (Plan::Plus, None, None, Ok(Upgrade)),
            (Plan::Plus, Some(Now), Some(Requested), Ok(Upgrade)),
            (Plan::Plus, Some(NextCycle), None, Err("effective")),
            (Plan::Plus, None, Some(PaymentFailed), Err("reason")),
            (
                Plan::Plus,
                Some(NextCycle),
                Some(PaymentFailed),
                Err("reason"),
            ),
            (Plan::Basic, None, None, Ok(Downgrade)),
            (Plan::Basic, Some(NextCycle), Some(Requested), Ok(Downgrade)),
            (Plan::Basic, Some(Now), None, Err("effective")),
            (Plan::Basic, Some(Now), Some(Requested), Err("effective")),
            (Plan::Basic, None, Some(PaymentFailed), Ok(FallBack)),
            (Plan::Basic, Some(Now), Some(PaymentFailed), Ok(FallBack)),
            (
                Plan::Basic,
                Some(NextCycle),
                Some(PaymentFailed),
                Err("effective"),
            ),
        ] {
            let read = PlanChangeCommand::try_new(plan, effective, cause);
            let told = told.map_err(str::to_owned);
            assert_eq!(
                read.map_err(|invalid| invalid.field),
                told,
                "{plan:?} {effective:?} {cause:?}"
            );
        }
        let prints = [Upgrade, Downgrade, FallBack].map(|command| command.fingerprint());
        assert!(prints[0] != prints[1] && prints[1] != prints[2] && prints[0] != prints[2]);
    }

    /// An account, its policy, and what becomes of it.
    struct World {
        policy: Policy,
        account: Account,
    }

    impl World {
        fn new(kind: Kind, opened_on: &str) -> Self {
            let policy = built_in();
            let now = at(&format!("{opened_on}T12:00:00Z"));
            let (account, _) = open(kind).plan(&policy, now, &account_id(), true);
            let account = stored(account);
            Self { policy, account }
        }

        /// Asks for a change on that day: what is answered, and what the journal says of it.
        fn ask(
            &mut self,
            day: &str,
            command: PlanChangeCommand,
        ) -> Result<(PlanChangeAnswer, Vec<String>), Refusal> {
            let now = format!("{day}T15:00:00Z");
            let drafted = draft(&self.policy, self.account.clone(), &now);
            let settled = drafted.entries().len();
            let previewed = command.preview(drafted.clone());
            let mut after = drafted.clone();
            let id = operation(Operation::PlanChange, "k");
            match command.plan(drafted, &id) {
                Err(Unplanned::Stale) => panic!("stale"),
                Err(Unplanned::Refused(refusal)) => {
                    assert_eq!(previewed, Err(refusal.clone()));
                    Err(refusal)
                }
                Ok((receipt, writes)) => {
                    assert_eq!(previewed.as_ref(), Ok(&receipt.answer));
                    let writes = writes.unwrap();
                    assert_eq!(writes.guards, [Guard::NewPlanChange(receipt.clone())]);
                    assert_eq!(writes.entries[settled].seq, receipt.entry);
                    command.apply(&mut after).unwrap();
                    self.account = stored(after.finish(vec![]).0);
                    let told = writes.entries[settled..].iter().map(|entry| {
                        let about = entry.reference.as_ref().map_or("", |of| of.as_str());
                        format!("{} {} {about}", entry.reason, entry.amount)
                    });
                    Ok((receipt.answer, told.collect()))
                }
            }
        }

        /// What time alone does to it by then.
        fn pass(&mut self, now: &str) -> Vec<String> {
            let drafted = draft(&self.policy, self.account.clone(), now);
            let told = drafted.entries().iter();
            let told = told.map(|entry| {
                let day = entry.effective_at.date_naive();
                format!("{} {} on {day}", entry.reason, entry.amount)
            });
            let told = told.collect();
            self.account = stored(drafted.finish(vec![]).0);
            told
        }

        fn amend(&mut self, day: &str, status: Status) {
            let amend = Amend {
                status: Some(status),
                email: None,
                payment_customer: None,
            };
            let now = format!("{day}T15:00:00Z");
            let (account, _) = amend.plan(draft(&self.policy, self.account.clone(), &now));
            self.account = stored(account);
        }

        fn due(&self, now: &str) -> Option<String> {
            let mut drafted = draft(&self.policy, self.account.clone(), now);
            drafted.change_profile("test", None, |_| {});
            let (_, writes) = drafted.finish(vec![]);
            let due_at = writes.unwrap().profile.unwrap().due_at;
            due_at.map(|due_at| due_at.date_naive().to_string())
        }
    }

    fn issued(answer: &PlanChangeAnswer) -> Vec<(&str, u64)> {
        let items = answer.issued.iter();
        items
            .map(|item| (item.reason.as_str(), item.amount.get()))
            .collect()
    }

    #[test]
    fn an_upgrade_begins_a_cycle_and_brings_what_the_days_that_passed_are_worth() {
        for (today, free, next) in [
            ("2023-10-11", 0, "2023-11-11"),
            ("2023-10-12", 0, "2023-11-12"),
            ("2023-10-21", 3, "2023-11-21"),
            ("2023-11-10", 10, "2023-12-10"),
        ] {
            let mut world = World::new(Kind::Freelancer, "2023-10-11");
            let (answer, entries) = world.ask(today, Upgrade).unwrap();
            assert_eq!(answer.effective_on.to_string(), today);
            let items = issued(&answer);
            assert_eq!(items, [("plan_included", 60), ("monthly_free", free)]);
            let mut expected = vec![
                format!("upgraded 0 cycle:{today}"),
                format!("plan_included 60 cycle:{today}"),
            ];
            if free > 0 {
                expected.push(format!("monthly_free {free} cycle:{today}"));
            }
            assert_eq!(entries, expected);
            let account = answer.account;
            assert_eq!((account.plan, account.pending_plan), (Plan::Plus, None));
            assert_eq!(account.balance.available, connects(110 + free));
            assert_eq!(account.billing_cycle.starts_on.to_string(), today);
            assert_eq!(account.billing_cycle.next_grant_on.to_string(), next);
            assert_eq!(world.due(&format!("{today}T16:00:00Z")).unwrap(), next);

            // Nothing at the old cycle's end, all of it at the new one's.
            let grants = world.pass(&format!("{next}T00:00:00Z"));
            let expected = [
                format!("plan_included 60 on {next}"),
                format!("monthly_free 10 on {next}"),
            ];
            assert_eq!(grants, expected);
        }
    }

    #[test]
    fn an_upgrade_between_months_of_different_lengths() {
        let mut world = World::new(Kind::Freelancer, "2025-01-31");
        let (answer, _) = world.ask("2025-03-30", Upgrade).unwrap();
        // 30 of the 31 days from 28 February on.
        let items = issued(&answer);
        assert_eq!(items, [("plan_included", 60), ("monthly_free", 10)]);
        let cycle = answer.account.billing_cycle;
        assert_eq!(cycle.next_grant_on.to_string(), "2025-04-30");
        let grants = world.pass("2025-05-30T00:00:00Z");
        let days = grants.iter().map(|told| told.rsplit(' ').next().unwrap());
        let days: Vec<&str> = days.collect();
        assert_eq!(
            days,
            ["2025-04-30", "2025-04-30", "2025-05-30", "2025-05-30"]
        );
    }

    #[test]
    fn what_an_upgrade_issues_covers_debt_first() {
        let mut world = World::new(Kind::Freelancer, "2025-01-10");
        world.account.lots.clear();
        world.account.head.after = Balance {
            debt: connects(61),
            ..Default::default()
        };
        world.account = stored(world.account);
        let (answer, entries) = world.ask("2025-01-30", Upgrade).unwrap();
        let expected = [
            "upgraded 0 cycle:2025-01-30",
            "plan_included 60 cycle:2025-01-30",
            "debt -60 cycle:2025-01-30",
            "monthly_free 6 cycle:2025-01-30",
            "debt -1 cycle:2025-01-30",
        ];
        assert_eq!(entries, expected);
        assert_eq!(
            issued(&answer),
            [("plan_included", 60), ("monthly_free", 6)]
        );
        assert_eq!(answer.account.balance.available, connects(5));
        assert_eq!(answer.account.balance.debt, connects(0));
    }

    #[test]
    fn a_downgrade_waits_for_the_next_cycle_and_comes_before_its_grants() {
        let mut world = World::new(Kind::Freelancer, "2023-10-11");
        world.ask("2023-10-21", Upgrade).unwrap();
        let (answer, entries) = world.ask("2023-10-25", Downgrade).unwrap();
        assert_eq!(entries, ["downgrade_scheduled 0 cycle:2023-11-21"]);
        assert_eq!(answer.effective_on.to_string(), "2023-11-21");
        assert!(answer.issued.is_empty());
        let account = &answer.account;
        assert_eq!(
            (account.plan, account.pending_plan),
            (Plan::Plus, Some(Plan::Basic))
        );
        assert_eq!(json!(account)["pending_plan"], "basic");
        assert_eq!(
            world.ask("2023-10-26", Downgrade),
            Err(Refusal::PlanUnchanged)
        );

        // Just before the cycle all is as it was; lots stay.
        assert_eq!(world.pass("2023-11-20T23:59:59.999Z"), Vec::<String>::new());
        let told = world.pass("2023-11-21T00:00:00Z");
        let expected = [
            "downgraded 0 on 2023-11-21",
            "monthly_free 10 on 2023-11-21",
        ];
        assert_eq!(told, expected);
        let profile = &world.account.profile;
        assert_eq!((profile.plan, profile.pending_plan), (Plan::Basic, None));
        assert_eq!(world.account.balance().available, connects(50 + 63 + 10));
        assert_eq!(
            world.pass("2023-12-21T00:00:00Z"),
            ["monthly_free 10 on 2023-12-21"]
        );
        assert_eq!(
            world.ask("2023-12-22", Downgrade),
            Err(Refusal::PlanUnchanged)
        );
    }

    #[test]
    fn asking_for_plus_again_only_cancels_the_downgrade() {
        let mut world = World::new(Kind::Freelancer, "2023-10-11");
        world.ask("2023-10-21", Upgrade).unwrap();
        assert_eq!(
            world.ask("2023-10-22", Upgrade),
            Err(Refusal::PlanUnchanged)
        );
        world.ask("2023-10-25", Downgrade).unwrap();
        let (answer, entries) = world.ask("2023-11-20", Upgrade).unwrap();
        assert_eq!(entries, ["downgrade_cancelled 0 cycle:2023-11-21"]);
        assert_eq!(answer.effective_on.to_string(), "2023-11-20");
        assert!(answer.issued.is_empty());
        let account = &answer.account;
        assert_eq!((account.plan, account.pending_plan), (Plan::Plus, None));
        assert_eq!(account.balance.available, connects(113));
        let told = world.pass("2023-11-21T00:00:00Z");
        let expected = ["plan_included 60", "monthly_free 10"];
        assert_eq!(told, expected.map(|told| format!("{told} on 2023-11-21")));

        // A cycle later the downgrade would have been applied: plus is an upgrade again.
        world.ask("2023-11-30", Downgrade).unwrap();
        let (answer, _) = world.ask("2023-12-21", Upgrade).unwrap();
        assert_eq!(
            issued(&answer),
            [("plan_included", 60), ("monthly_free", 0)]
        );
    }

    #[test]
    fn who_did_not_pay_is_on_basic_at_once_in_the_same_cycle() {
        let mut world = World::new(Kind::Freelancer, "2023-10-11");
        let refused = world.ask("2023-10-20", FallBack);
        assert_eq!(refused, Err(Refusal::PlanUnchanged));
        for (upgraded, scheduled, failed, next) in [
            ("2023-10-21", None, "2023-11-20", "2023-11-21"),
            ("2023-11-25", Some("2023-11-30"), "2023-12-01", "2023-12-25"),
        ] {
            world.ask(upgraded, Upgrade).unwrap();
            if let Some(day) = scheduled {
                world.ask(day, Downgrade).unwrap();
            }
            let before = world.account.balance();
            let (answer, entries) = world.ask(failed, FallBack).unwrap();
            assert_eq!(entries, [format!("downgraded 0 cycle:{upgraded}")]);
            assert_eq!(answer.effective_on.to_string(), failed);
            assert!(answer.issued.is_empty());
            let account = answer.account;
            assert_eq!((account.plan, account.pending_plan), (Plan::Basic, None));
            assert_eq!(account.balance, before);
            let cycle = account.billing_cycle;
            assert_eq!(cycle.starts_on.to_string(), upgraded);
            assert_eq!(cycle.next_grant_on.to_string(), next);
            let told = world.pass(&format!("{next}T00:00:00Z"));
            assert_eq!(told, [format!("monthly_free 10 on {next}")]);
        }
    }

    /// A renewal fails on the day of its cycle, or just after an upgrade, and is paid after all.
    #[test]
    fn a_cycle_brings_the_grants_of_plus_once() {
        for (failed, again, included, free) in [
            // The cycle of that day has brought 60 already.
            ("2023-10-21", "2023-10-21", 0, 0),
            ("2023-11-21", "2023-11-21", 0, 0),
            // A cycle that begins on another day is another one.
            ("2023-10-21", "2023-10-22", 60, 0),
            ("2023-11-21", "2023-11-24", 60, 1),
            ("2023-11-24", "2023-11-24", 60, 1),
            ("2023-11-24", "2023-12-21", 60, 0),
        ] {
            let mut world = World::new(Kind::Freelancer, "2023-10-11");
            world.ask("2023-10-21", Upgrade).unwrap();
            world.ask(failed, FallBack).unwrap();
            let (answer, entries) = world.ask(again, Upgrade).unwrap();
            let expected = [("plan_included", included), ("monthly_free", free)];
            assert_eq!(issued(&answer), expected, "{failed} {again}");
            let lots = expected.iter().filter(|(_, amount)| *amount > 0).count();
            assert_eq!(entries.len(), 1 + lots);
            assert_eq!(answer.account.plan, Plan::Plus);
            assert_eq!(world.account.profile.lapsed_cycle, None);
            let next = answer.account.billing_cycle.next_grant_on;
            let grants = world.pass(&format!("{next}T00:00:00Z"));
            assert_eq!(grants.len(), 2, "the next cycle brings both");
        }
    }

    #[test]
    fn a_suspended_account_goes_down_but_not_up() {
        let mut world = World::new(Kind::Freelancer, "2023-10-11");
        world.amend("2023-10-12", Status::Suspended);
        let refused = world.ask("2023-10-21", Upgrade);
        assert_eq!(refused, Err(Refusal::AccountSuspended));
        world.amend("2023-10-21", Status::Active);
        world.ask("2023-10-21", Upgrade).unwrap();
        world.amend("2023-10-22", Status::Suspended);

        let (answer, _) = world.ask("2023-10-23", Downgrade).unwrap();
        assert_eq!(answer.account.pending_plan, Some(Plan::Basic));
        // Nothing is issued for it, so it can be cancelled too.
        let (answer, _) = world.ask("2023-10-24", Upgrade).unwrap();
        assert_eq!(answer.account.pending_plan, None);
        world.ask("2023-10-25", Downgrade).unwrap();
        let told = world.pass("2023-11-21T00:00:00Z");
        let expected = [
            "downgraded 0 on 2023-11-21",
            "grant_skipped 0 on 2023-11-21",
        ];
        assert_eq!(told, expected);
        world.amend("2023-11-22", Status::Active);
        world.ask("2023-11-22", Upgrade).unwrap();
        world.amend("2023-11-23", Status::Suspended);
        let (answer, _) = world.ask("2023-11-24", FallBack).unwrap();
        assert_eq!(answer.account.plan, Plan::Basic);
        assert_eq!(answer.account.status, Status::Suspended);
    }

    #[test]
    fn an_account_without_grants_is_due_for_its_downgrade_only() {
        let mut world = World::new(Kind::Agency, "2023-10-11");
        assert_eq!(world.due("2023-10-11T16:00:00Z"), None);
        let (answer, entries) = world.ask("2023-10-21", Upgrade).unwrap();
        assert_eq!(
            (issued(&answer), entries.len()),
            (vec![], 1),
            "the policy gives agencies nothing"
        );
        assert_eq!(world.due("2023-10-21T16:00:00Z"), None);
        world.ask("2023-10-25", Downgrade).unwrap();
        let due = world.due("2023-10-25T16:00:00Z");
        assert_eq!(due.as_deref(), Some("2023-11-21"));
        let told = world.pass("2023-11-21T00:00:00Z");
        assert_eq!(told, ["downgraded 0 on 2023-11-21"]);
        assert_eq!(world.due("2023-11-21T16:00:00Z"), None);

        // Where plus brings something, it is due as long as it has that.
        world.policy.grants = serde_json::from_value(json!({
            "agency": { "plus": [{ "source": "plan_included", "amount": 5 }] },
        }))
        .unwrap();
        let (answer, _) = world.ask("2023-11-25", Upgrade).unwrap();
        assert_eq!(issued(&answer), [("plan_included", 5)]);
        let due = world.due("2023-11-25T16:00:00Z");
        assert_eq!(due.as_deref(), Some("2023-12-25"));
        world.ask("2023-11-26", FallBack).unwrap();
        assert_eq!(world.due("2023-11-26T16:00:00Z"), None);
    }

    /// What a reader sees who books nothing is what a run would book.
    #[test]
    fn a_downgrade_shows_before_it_is_booked() {
        let policy = built_in();
        let mut world = World::new(Kind::Freelancer, "2023-10-11");
        world.ask("2023-10-21", Upgrade).unwrap();
        world.ask("2023-10-25", Downgrade).unwrap();
        let now = at("2024-01-21T00:00:00Z");
        let seen = settle::view(&policy, now, world.account.clone());
        world.pass("2024-01-21T00:00:00Z");
        let (seen, booked) = (
            AccountView::of(&seen, now),
            AccountView::of(&world.account, now),
        );
        assert_eq!(seen, booked);
        assert_eq!((seen.plan, seen.pending_plan), (Plan::Basic, None));
        assert_eq!(seen.balance.available, connects(50 + 63 + 30));
    }

    #[test]
    fn a_receipt_keeps_its_answer() {
        let mut world = World::new(Kind::Freelancer, "2023-10-11");
        let (answer, _) = world.ask("2023-10-21", Upgrade).unwrap();
        let receipt = Answered {
            id: operation(Operation::PlanChange, "k"),
            fingerprint: Upgrade.fingerprint(),
            key: None,
            entry: Seq::new(4),
            answer,
        };
        let same = receipt.clone().for_request(&Upgrade.fingerprint());
        assert_eq!(same, Ok(receipt.clone()));
        let other = receipt.clone().for_request(&Downgrade.fingerprint());
        assert_eq!(other, Err(Refusal::IdempotencyKeyReused));
        let kept: Answered<PlanChangeAnswer> = serde_json::from_value(json!(receipt)).unwrap();
        assert_eq!(kept, receipt);
    }
}
