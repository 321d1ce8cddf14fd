//! Settling: what time alone has done to an account, booked in time order before anything else.
//!
//! Expired lots lapse, cycle starts bring the plan that was asked for and then that plan's grants; at
//! the same instant a lot's end comes before a cycle's start. So balances are right at every instant though no schedule has run, and
//! a scheduled run is this and nothing more.

use super::account::Account;
use super::cycle;
use super::draft::{Draft, MAX_SETTLE_ENTRIES};
use super::ids::Reference;
use super::policy::{MAX_GRANTS_PER_CYCLE, Policy};
use super::time::{self, Time};
use crate::defect::{Defect, present};

/// An account settled at an instant.
#[derive(Debug, Clone)]
pub struct Settled<'p> {
    /// The account with everything due booked.
    pub draft: Draft<'p>,
    /// Whether that is everything. If not, this much must be committed first.
    pub complete: bool,
}

enum Due {
    Expiry { place: usize },
    Cycle,
}

/// Settles as much as fits one transaction together with a command.
pub fn settle(policy: &Policy, now: Time, account: Account) -> Settled<'_> {
    run(policy, now, account, MAX_SETTLE_ENTRIES)
}

/// Settles everything, for a reader that commits nothing.
pub fn view(policy: &Policy, now: Time, account: Account) -> Account {
    run(policy, now, account, usize::MAX).draft.into_account()
}

fn run(policy: &Policy, now: Time, account: Account, most: usize) -> Settled<'_> {
    let mut draft = Draft::new(policy, now, account);
    loop {
        // A cycle's start may book a few entries, so the bound is checked before each step.
        let room = draft.entries().len().saturating_add(MAX_ENTRIES_PER_STEP) <= most;
        match next_due(&draft) {
            None => {
                draft.settled();
                return Settled {
                    draft,
                    complete: true,
                };
            }
            Some(_) if !room => {
                return Settled {
                    draft,
                    complete: false,
                };
            }
            Some(Due::Expiry { place }) => draft.expire(place),
            Some(Due::Cycle) => begin_cycle(&mut draft),
        }
    }
}

/// A cycle brings at most another plan and then its grants, and each of those may be followed by a
/// repayment of debt.
const MAX_ENTRIES_PER_STEP: usize = 1 + 2 * MAX_GRANTS_PER_CYCLE;
const _: () = assert!(MAX_ENTRIES_PER_STEP < MAX_SETTLE_ENTRIES);

fn next_due(draft: &Draft<'_>) -> Option<Due> {
    let now = draft.now();
    let account = draft.account();
    let expiry = account
        .lots
        .iter()
        .enumerate()
        .map(|(place, lot)| (lot.birth().expires_at(), place))
        .filter(|(at, _)| *at <= now && !present(Defect::ExpiryIgnored))
        .min();
    let cycle = Some(time::midnight(account.profile.next_grant_on)).filter(|at| *at <= now);
    match (expiry, cycle) {
        (Some((expires_at, place)), cycle) if cycle.is_none_or(|at| expires_at <= at) => {
            Some(Due::Expiry { place })
        }
        (_, Some(_)) => Some(Due::Cycle),
        _ => None,
    }
}

fn begin_cycle(draft: &mut Draft<'_>) {
    let profile = &draft.account().profile;
    let start = profile.next_grant_on;
    let mut next = cycle::after(profile.anchor, start);
    if present(Defect::CycleSkipped) {
        next = cycle::after(profile.anchor, next);
    }
    let begins_at = time::midnight(start);
    if let Some(plan) = profile.pending_plan {
        let about = (begins_at, Reference::of("cycle", start));
        draft.change_profile("downgraded", Some(about), |profile| {
            profile.plan = plan;
            profile.pending_plan = None;
        });
    }
    let brings_something = draft.account().has_grants(draft.policy());
    if draft.is_suspended() && brings_something {
        let about = (begins_at, Reference::of("cycle", start));
        draft.change_profile("grant_skipped", Some(about), |profile| {
            profile.next_grant_on = next;
        });
    } else {
        draft.grant(start, begins_at);
        draft.cycle_done(next);
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::Kind;
    use super::super::policy::built_in;
    use super::super::testing::{OPENED, account_id, at, draft, open, opened, stored};
    use super::*;
    use crate::domain::account::Open;

    fn booked(policy: &Policy, account: Account, now: &str) -> Vec<(String, Time)> {
        let draft = draft(policy, account, now);
        let entries = draft.entries().iter();
        entries
            .map(|entry| (entry.reason.to_string(), entry.effective_at))
            .collect()
    }

    #[test]
    fn what_happened_is_booked_in_the_order_it_happened() {
        let policy = built_in();
        let account = opened(&policy, Kind::Freelancer);
        let booked = booked(&policy, account, "2026-02-20T00:00:00Z");
        let times: Vec<Time> = booked.iter().map(|(_, at)| *at).collect();
        assert!(times.is_sorted(), "{booked:?}");
        // The first two lots lapse after January's grant; last February's has lapsed unbooked.
        let lapsed = booked.iter().filter(|(reason, _)| reason == "expired");
        assert_eq!((lapsed.count(), booked.len()), (2, 14));
    }

    #[test]
    fn at_one_instant_a_lot_lapses_before_a_cycle_begins() {
        let policy = built_in();
        let request = Open {
            opened_on: Some("2024-12-11".parse().unwrap()),
            ..open(Kind::Freelancer)
        };
        let (account, _) = request.plan(&policy, at(OPENED), &account_id(), true);
        let instant = "2026-01-11T00:00:00Z";
        let booked = booked(&policy, stored(account), instant);
        let then: Vec<&str> = booked
            .iter()
            .filter(|(_, time)| *time == at(instant))
            .map(|(reason, _)| reason.as_str())
            .collect();
        assert_eq!(then, ["expired", "expired", "monthly_free"]);
    }
}
