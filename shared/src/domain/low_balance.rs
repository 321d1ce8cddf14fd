//! A balance that has become low: the holder says under how many Connects it is, and is told once each
//! time that it falls there.
//!
//! The threshold is in the profile, which every plan has read, so that the transaction that makes a
//! balance low also puts the notice, whatever it was: a spend, a hold, an expiry, a chargeback. Setting
//! a threshold above the balance makes it low too. What is low stays so, and nothing more is told,
//! until it is not; a grant that was due has ended that, though it is booked with the next spend.

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::draft::{Draft, Guard, Plan};
use super::ids::{Reference, Seq};
use super::policy::Policy;
use super::refusal::Invalid;
use super::time::{self, Time};
use super::top_up::{TopUp, TopUpTerms, TopUpView, Waiting};
use super::units::{Connects, Money};

/// What a holder has asked for, as far as every plan needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowBalance {
    /// Fewer available are low.
    pub threshold: Connects,
    /// Whether a low balance is topped up.
    pub tops_up: bool,
}

/// A balance has become low.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct Crossing {
    /// The last entry of the transaction that made it so.
    pub seq: Seq,
    /// When.
    #[serde(with = "time::as_text")]
    #[cfg_attr(feature = "contract", schemars(with = "Time"))]
    pub at: Time,
    /// Fewer are low.
    pub threshold: Connects,
    /// So many are available.
    pub available: Connects,
}

impl Account {
    /// Whether its balance is low, where its holder has said what that is.
    pub fn is_low(&self) -> bool {
        let low = self.profile.low_balance;
        low.is_some_and(|low| self.balance().available < low.threshold)
    }
}

/// What a holder asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetLowBalance {
    /// Fewer available are to be low.
    pub threshold: Connects,
    /// What is to be bought then, if anything.
    pub top_up: Option<TopUpTerms>,
}

impl SetLowBalance {
    /// Whether that can be kept.
    ///
    /// # Errors
    /// `below_minimum` or `above_maximum` for Connects that are not for sale in such a number, for
    /// fewer than the threshold, which would leave the balance low, and for a cap under their price;
    /// `invalid_field` for one in a currency that is not the policy's.
    pub fn check(&self, policy: &Policy) -> Result<(), Invalid> {
        let Some(top_up) = &self.top_up else {
            return Ok(());
        };
        let named = |invalid: Invalid| Invalid {
            field: "top_up.quantity".to_owned(),
            ..invalid
        };
        let (quantity, price) = policy.price(top_up.quantity.credit()).map_err(named)?;
        let most = policy.purchases.maximum.credit();
        let least = self.threshold.credit();
        let Money { amount, currency } = &top_up.monthly_cap;
        if *currency != price.currency {
            let detail = format!("must be {}", price.currency);
            return Err(Invalid::field("top_up.monthly_cap.currency", detail));
        }
        let (cap, price) = (*amount as i64, price.amount as i64);
        Invalid::range("top_up.quantity", quantity.credit(), least, most)
            .or_else(|| Invalid::range("top_up.monthly_cap.amount", cap, price, i64::MAX))
            .map_or(Ok(()), Err)
    }
}

/// What comes of a request.
#[derive(Debug, PartialEq)]
pub struct LowBalanceChange {
    /// As it is after.
    pub view: LowBalanceView,
    /// What makes it so; none where it is so already.
    pub plan: Option<Plan>,
}

/// Sets what an account's holder asks for, or clears it. A top-up that went off is on again, and keeps
/// its month's sum; one that is new or changed is wanted at once where the balance is low.
pub fn set(
    wanted: Option<&SetLowBalance>,
    current: Option<&TopUp>,
    mut draft: Draft<'_>,
) -> LowBalanceChange {
    let terms = wanted.and_then(|wanted| wanted.top_up.as_ref());
    let low = wanted.map(|wanted| LowBalance {
        threshold: wanted.threshold,
        tops_up: wanted.top_up.is_some(),
    });
    let now = draft.now();
    let top_up = match terms {
        Some(terms) => Some(TopUp::put(current, terms, now)),
        None => current.map(TopUp::removed),
    };
    let same = draft.account().profile.low_balance == low && top_up.as_ref() == current;
    let view = LowBalanceView::of(low, top_up.as_ref(), now);
    if same {
        return LowBalanceChange { view, plan: None };
    }
    let reason = match low {
        Some(_) => "low_balance_set",
        None => "low_balance_cleared",
    };
    let about = low.map(|low| (now, Reference::of("threshold", low.threshold)));
    draft.change_profile(reason, about, |profile| profile.low_balance = low);
    let crossing = draft.account().head.seq;
    let top_up = top_up.filter(|top_up| Some(top_up) != current);
    let guards = top_up.map(|top_up| {
        let waiting = draft.account().is_low() && top_up.is_on();
        let waiting = waiting.then_some(Waiting {
            crossing,
            since: now,
        });
        Guard::TopUp(TopUp { waiting, ..top_up })
    });
    let (_, plan) = draft.finish(guards.into_iter().collect());
    LowBalanceChange { view, plan }
}

/// What a holder has asked for, as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct LowBalanceView {
    /// Fewer available are low; none where nobody has said so.
    pub threshold: Option<Connects>,
    /// What is bought then, if anything.
    pub top_up: Option<TopUpView>,
}

impl LowBalanceView {
    /// Of a profile's part and the top-up's own item, as of `now`.
    pub fn of(low: Option<LowBalance>, top_up: Option<&TopUp>, now: Time) -> Self {
        let shown = top_up.filter(|_| low.is_some_and(|low| low.tops_up));
        Self {
            threshold: low.map(|low| low.threshold),
            top_up: shown.and_then(|top_up| TopUpView::of(top_up, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::Kind;
    use super::super::draft::Draft;
    use super::super::ids::Reason;
    use super::super::lot::Source;
    use super::super::policy::built_in;
    use super::super::testing::{OPENED, at, connects, draft, opened, stored};
    use super::*;

    fn terms(quantity: u64, cap: u64) -> TopUpTerms {
        TopUpTerms {
            quantity: connects(quantity),
            monthly_cap: Money {
                amount: cap,
                currency: "USD".to_owned(),
            },
            payment_method: Some("m".to_owned()),
        }
    }

    fn wanted(threshold: u64, top_up: Option<TopUpTerms>) -> SetLowBalance {
        SetLowBalance {
            threshold: connects(threshold),
            top_up,
        }
    }

    /// A freelancer's 50 with a threshold.
    fn account(policy: &Policy, threshold: u64, tops_up: bool) -> Account {
        let mut account = opened(policy, Kind::Freelancer);
        account.profile.low_balance = Some(LowBalance {
            threshold: connects(threshold),
            tops_up,
        });
        account
    }

    fn spend(draft: &mut Draft<'_>, amount: u64) {
        let about = Reference::of("test", amount);
        let taken = draft.spend(connects(amount), Reason::of("test"), about);
        taken.unwrap();
    }

    fn issue(draft: &mut Draft<'_>, amount: u64) {
        draft.issue(Source::Promo, "promo_grant", connects(amount), None);
    }

    /// Moves of one transaction, from 50 on: what is under 0 is spent, the rest is issued.
    fn moved(policy: &Policy, account: Account, moves: &[i64]) -> (Account, Plan) {
        let mut draft = draft(policy, account, OPENED);
        for amount in moves {
            match amount {
                ..0 => spend(&mut draft, amount.unsigned_abs()),
                _ => issue(&mut draft, amount.unsigned_abs()),
            }
        }
        let (account, plan) = draft.finish(vec![]);
        (stored(account), plan.unwrap())
    }

    fn told(plan: &Plan) -> Vec<(u64, u64, u64)> {
        let crossing = |guard: &Guard| match guard {
            Guard::LowBalance(crossing) => Some((
                crossing.seq.get(),
                crossing.threshold.get(),
                crossing.available.get(),
            )),
            _ => None,
        };
        plan.guards.iter().filter_map(crossing).collect()
    }

    /// From 50 Connects and three entries on: the threshold, the moves of each transaction, and whether
    /// it is told of, under which entry and with how much.
    #[test]
    fn a_balance_is_told_of_once_each_time_it_becomes_low() {
        let policy = built_in();
        for (threshold, transactions) in [
            // At the threshold it is not low; one less is; and low stays low.
            (
                10,
                &[
                    (&[-40][..], None),
                    (&[-1], Some((5, 9))),
                    (&[-1], None),
                    (&[1], None),
                    (&[1], None),
                    (&[-1], Some((9, 9))),
                ][..],
            ),
            // The whole transaction counts, not what is in between.
            (10, &[(&[-45, 20, -10], None), (&[-6], Some((7, 9)))]),
            (10, &[(&[20, -60, -5], Some((6, 5)))]),
            (51, &[(&[-1], None), (&[2], None), (&[-1], Some((6, 50)))]),
            (1, &[(&[-49], None), (&[-1], Some((5, 0)))]),
        ] {
            let mut account = account(&policy, threshold, false);
            for (moves, expected) in transactions {
                let (after, plan) = moved(&policy, account, moves);
                let expected = expected.map(|(seq, left)| (seq, threshold, left));
                assert_eq!(
                    told(&plan),
                    Vec::from_iter(expected),
                    "{threshold} {moves:?}"
                );
                account = after;
            }
        }
    }

    #[test]
    fn nothing_is_told_where_nobody_asked() {
        let policy = built_in();
        let (_, plan) = moved(&policy, opened(&policy, Kind::Freelancer), &[-50]);
        assert_eq!(plan.guards, []);
    }

    #[test]
    fn an_expiry_makes_a_balance_low() {
        let policy = built_in();
        let mut bought = draft(&policy, opened(&policy, Kind::Agency), OPENED);
        issue(&mut bought, 20);
        let mut account = stored(bought.finish(vec![]).0);
        account.profile.low_balance = Some(LowBalance {
            threshold: connects(5),
            tops_up: false,
        });
        for (now, expected) in [
            ("2026-01-10T23:59:59.999Z", None),
            ("2026-01-11T00:00:00Z", Some((3, 5, 0))),
        ] {
            let (_, plan) = draft(&policy, account.clone(), now).finish(vec![]);
            let told: Vec<_> = plan.iter().flat_map(told).collect();
            assert_eq!(told, Vec::from_iter(expected), "{now}");
        }
    }

    #[test]
    fn a_crossing_asks_for_a_top_up_where_one_is_wanted() {
        let policy = built_in();
        let wishes = |plan: &Plan| {
            let wish = |guard: &Guard| match guard {
                Guard::TopUpWanted(waiting) => Some((waiting.crossing.get(), waiting.since)),
                _ => None,
            };
            Vec::from_iter(plan.guards.iter().filter_map(wish))
        };
        for (tops_up, expected) in [(false, vec![]), (true, vec![(4, at(OPENED))])] {
            let (_, plan) = moved(&policy, account(&policy, 10, tops_up), &[-45]);
            assert_eq!(wishes(&plan), expected);
            let (_, plan) = moved(&policy, account(&policy, 10, tops_up), &[-40]);
            assert_eq!(wishes(&plan), []);
        }
        // Where the top-up is written anyway, the wish is part of that: an item is written once.
        let mut draft = draft(&policy, account(&policy, 10, true), OPENED);
        spend(&mut draft, 45);
        let top_up = TopUp::put(None, &terms(10, 150), at(OPENED));
        let (_, plan) = draft.finish(vec![Guard::TopUp(top_up)]);
        let plan = plan.unwrap();
        assert_eq!((told(&plan), wishes(&plan)), (vec![(4, 10, 5)], vec![]));
        let Guard::TopUp(written) = &plan.guards[0] else {
            panic!("{plan:?}");
        };
        assert_eq!(written.waiting.unwrap().crossing.get(), 4);
    }

    /// What was due before a spend has happened before it, whether or not it was booked: 35 and a cycle's
    /// 10 are enough, so that 8 less are told of; without the cycle they were low before.
    #[test]
    fn what_was_due_counts_as_it_was_before_a_request() {
        let policy = built_in();
        let (spent, _) = moved(&policy, account(&policy, 40, false), &[-15]);
        for (now, amount, expected) in [
            ("2025-02-09T23:59:59.999Z", 8, None),
            ("2025-02-10T00:00:00Z", 8, Some((6, 40, 37))),
            ("2025-02-10T00:00:00Z", 5, None),
        ] {
            let mut draft = draft(&policy, spent.clone(), now);
            spend(&mut draft, amount);
            let (_, plan) = draft.finish(vec![]);
            assert_eq!(told(&plan.unwrap()), Vec::from_iter(expected), "{now}");
        }
    }

    /// What 50 Connects are to a threshold, an earlier one, and whether a top-up is asked for.
    #[test]
    fn setting_a_threshold_above_the_balance_makes_it_low() {
        let policy = built_in();
        for (before, threshold, crossed) in [
            (None, 50, false),
            (None, 51, true),
            (Some(10), 51, true),
            (Some(60), 70, false),
            (Some(60), 20, false),
        ] {
            let mut account = opened(&policy, Kind::Freelancer);
            account.profile.low_balance = before.map(|before| LowBalance {
                threshold: connects(before),
                tops_up: false,
            });
            let ready = draft(&policy, account.clone(), OPENED);
            let change = set(Some(&wanted(threshold, None)), None, ready);
            assert_eq!(change.view.threshold, Some(connects(threshold)));
            let plan = change.plan.unwrap();
            let entry = &plan.entries[0];
            assert_eq!(
                (entry.reason.as_str(), entry.amount),
                ("low_balance_set", 0)
            );
            let expected = crossed.then_some((4, threshold, 50));
            assert_eq!(
                told(&plan),
                Vec::from_iter(expected),
                "{before:?} {threshold}"
            );

            // One that comes while the balance is low is wanted at once, told of or not.
            let top_up = terms(100, 1_500);
            let ready = draft(&policy, account, OPENED);
            let change = set(Some(&wanted(threshold, Some(top_up))), None, ready);
            let plan = change.plan.unwrap();
            let Some(Guard::TopUp(top_up)) = plan.guards.first() else {
                panic!("{plan:?}");
            };
            let waits = top_up.waiting.map(|waiting| waiting.crossing.get());
            assert_eq!(
                waits,
                (threshold > 50).then_some(4),
                "{before:?} {threshold}"
            );
        }
    }

    #[test]
    fn what_is_so_already_is_no_change() {
        let policy = built_in();
        let wanted = wanted(10, Some(terms(20, 900)));
        let top_up = TopUp::put(None, &terms(20, 900), at(OPENED));
        let ready = || draft(&policy, account(&policy, 10, true), OPENED);
        let again = set(Some(&wanted), Some(&top_up), ready());
        assert_eq!(again.plan, None);
        let first = LowBalanceView::of(
            ready().account().profile.low_balance,
            Some(&top_up),
            at(OPENED),
        );
        assert_eq!(again.view, first);

        // Cleared: the item stays, and is not shown.
        let cleared = set(None, Some(&top_up), ready());
        assert_eq!((cleared.view.threshold, cleared.view.top_up), (None, None));
        let plan = cleared.plan.unwrap();
        assert_eq!(plan.entries[0].reason.as_str(), "low_balance_cleared");
        assert_eq!(plan.profile.unwrap().profile.low_balance, None);
        assert_eq!(plan.guards, [Guard::TopUp(top_up.removed())]);
        let bare = draft(&policy, opened(&policy, Kind::Freelancer), OPENED);
        assert_eq!(set(None, Some(&top_up.removed()), bare.clone()).plan, None);
        assert_eq!(set(None, None, bare).plan, None);
    }

    #[test]
    fn a_top_up_must_help_and_be_for_sale() {
        let policy = built_in();
        let euros = TopUpTerms {
            monthly_cap: Money {
                amount: 9_000,
                currency: "EUR".to_owned(),
            },
            ..terms(20, 0)
        };
        for (threshold, top_up, wrong) in [
            (10, terms(10, 150), None),
            (20, terms(20, 300), None),
            (1, terms(37, 555), None),
            (1_000_000, terms(1_000_000, 15_000_000), None),
            (1, terms(9, 900), Some("top_up.quantity")),
            // It would leave the balance low, and there would be no next crossing.
            (21, terms(20, 300), Some("top_up.quantity")),
            (10, terms(20, 299), Some("top_up.monthly_cap.amount")),
            (10, euros, Some("top_up.monthly_cap.currency")),
        ] {
            let checked = wanted(threshold, Some(top_up)).check(&policy);
            let field = checked.err().map(|invalid| invalid.field);
            assert_eq!(field.as_deref(), wrong, "{threshold}");
        }
        assert_eq!(wanted(1, None).check(&policy), Ok(()));
    }
}
