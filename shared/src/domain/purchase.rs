//! Buying: pending until the payment is known, then paid or declined, once.

use serde::{Deserialize, Serialize};

use super::account::Balance;
use super::draft::{Draft, Guard, Plan};
use super::ids::{
    AccountId, Fingerprint, LotId, Operation, OperationId, PromoCode, Reference, Seq,
};
use super::key::IdempotencyKey;
use super::lot::{Birth, Source};
use super::promo::Reservation;
use super::refusal::Refusal;
use super::time::{self, Time};
use super::top_up::TopUp;
use super::units::{Connects, Money};
use crate::defect::{Defect, present};

/// Where a purchase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PurchaseStatus {
    /// The payment's outcome is not known yet.
    Pending,
    /// Paid and credited.
    Paid,
    /// Definitely not paid; nothing was issued.
    Declined,
    /// Paid, then taken back by the payer's bank.
    ChargedBack,
}

impl PurchaseStatus {
    /// The step that must come before this one.
    pub const fn before(self) -> Option<Self> {
        match self {
            Self::Pending => None,
            Self::Paid | Self::Declined => Some(Self::Pending),
            Self::ChargedBack => Some(Self::Paid),
        }
    }
}

/// A request to buy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PurchaseCommand {
    /// How many; the policy says how few and how many.
    pub quantity: i64,
    /// A code that rides on the purchase.
    pub promo_code: Option<PromoCode>,
    /// A payment method that the provider knows.
    pub payment_method: Option<String>,
}

impl PurchaseCommand {
    /// The id that this request has under `key`; the provider's idempotency key too.
    pub fn id(account: &AccountId, key: &IdempotencyKey) -> OperationId {
        OperationId::derive(account, Operation::Purchase, key.as_str())
    }

    /// What a retry must agree with.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::Purchase, self)
    }
}

/// A purchase with everything that was fixed when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    /// Its id.
    pub id: OperationId,
    /// What it was asked for.
    pub fingerprint: Fingerprint,
    /// Where it stands.
    pub status: PurchaseStatus,
    /// How many Connects.
    pub quantity: Connects,
    /// What is charged: the whole price, less its code's discount.
    pub price: Money,
    /// The provider's payment method.
    pub payment_method: String,
    /// When it began.
    #[serde(with = "time::as_text")]
    pub created_at: Time,
    /// The redemption of the code that rides on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promo: Option<Reservation>,
    /// The entry that made the balance low, of one that was made by itself for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_up: Option<Seq>,
    /// What it issued, packed, once paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lot: Option<PackedBirth>,
    /// What its code brought on top, packed, once paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bonus_lot: Option<PackedBirth>,
    /// The balance after its last step that moved Connects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Balance>,
    /// The idempotency key that a chargeback came under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chargeback_key: Option<IdempotencyKey>,
}

/// A lot's birth as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedBirth(pub Birth);

impl Serialize for PackedBirth {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&super::lot::Lot::issued(self.0.clone()))
    }
}

impl<'de> Deserialize<'de> for PackedBirth {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse::<super::lot::Lot>()
            .map(|lot| Self(lot.birth().clone()))
            .map_err(serde::de::Error::custom)
    }
}

impl Purchase {
    /// A purchase that is about to be charged.
    pub fn pending(
        id: OperationId,
        fingerprint: Fingerprint,
        quantity: Connects,
        price: Money,
        payment_method: String,
        now: Time,
    ) -> Self {
        Self {
            id,
            fingerprint,
            status: PurchaseStatus::Pending,
            quantity,
            price,
            payment_method,
            created_at: now,
            promo: None,
            top_up: None,
            lot: None,
            bonus_lot: None,
            after: None,
            chargeback_key: None,
        }
    }

    /// The same with a code, whose discount comes off the price.
    #[must_use]
    pub fn reserving(self, promo: Reservation) -> Self {
        let price = match present(Defect::DiscountForgotten) {
            false => self.price.less(&promo.discount),
            true => self.price.clone(),
        };
        Self {
            price,
            promo: Some(promo),
            ..self
        }
    }

    /// Whether there is nothing to charge, so that it is paid as soon as it has begun.
    pub fn is_free(&self) -> bool {
        self.price.amount == 0
    }

    /// What it issued.
    pub fn lots(&self) -> impl Iterator<Item = &Birth> {
        let lots = [&self.lot, &self.bonus_lot].into_iter().flatten();
        lots.map(|lot| &lot.0)
    }

    /// When a purchase still needs looking at: at once, for as long as it is pending.
    pub fn due_at(&self) -> Option<Time> {
        (self.status == PurchaseStatus::Pending).then_some(self.created_at)
    }

    /// This purchase, definitely not paid.
    #[must_use]
    pub fn declined(self) -> Self {
        Self {
            status: PurchaseStatus::Declined,
            ..self
        }
    }

    /// Credits a confirmed payment, to a suspended account too. Its lot and that of its code's bonus
    /// are born now. The `top_up` that it was made for moves on with it.
    pub fn plan_credit(
        &self,
        mut draft: Draft<'_>,
        top_up: Option<&TopUp>,
    ) -> (Self, Option<Plan>) {
        let reference = Reference::of("purchase", &self.id);
        let birth = draft.issue(Source::Purchase, "purchase", self.quantity, Some(reference));
        let promo = self.promo.as_ref();
        let bonus = promo.and_then(|promo| promo.issue(&mut draft));
        let paid = Self {
            status: PurchaseStatus::Paid,
            lot: Some(PackedBirth(birth)),
            bonus_lot: bonus.map(PackedBirth),
            after: Some(draft.account().balance()),
            ..self.clone()
        };
        let purchase = Guard::Purchase {
            purchase: paid.clone(),
        };
        let top_up = top_up.map(|top_up| Guard::TopUp(top_up.paid()));
        let (_, plan) = draft.finish(std::iter::once(purchase).chain(top_up).collect());
        (paid, plan)
    }

    /// Revokes what is left of its lots, that of a bonus too; what was spent of them becomes debt,
    /// covered at once from other lots as far as they go. `expired` Connects of them lapsed before:
    /// nobody had them. Its code stays redeemed.
    ///
    /// # Errors
    /// `already_charged_back`; `purchase_not_paid` for one that never was.
    pub fn plan_chargeback(
        &self,
        mut draft: Draft<'_>,
        key: Option<&IdempotencyKey>,
        expired: Connects,
    ) -> Result<(Self, Option<Plan>), Refusal> {
        match self.status {
            PurchaseStatus::Paid => {}
            PurchaseStatus::ChargedBack => {
                let existing = serde_json::to_value(PurchaseView::of(self, Balance::default()));
                return Err(Refusal::AlreadyChargedBack {
                    existing: existing.unwrap_or_default(),
                });
            }
            _ => return Err(Refusal::PurchaseNotPaid),
        }
        let lots: Vec<&Birth> = self.lots().collect();
        draft.revoke(&lots, expired, Reference::of("purchase", &self.id));
        let charged_back = Self {
            status: PurchaseStatus::ChargedBack,
            after: Some(draft.account().balance()),
            chargeback_key: key.cloned(),
            ..self.clone()
        };
        let (_, plan) = draft.finish(vec![Guard::Purchase {
            purchase: charged_back.clone(),
        }]);
        Ok((charged_back, plan))
    }
}

/// A purchase as the contract shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "contract", derive(schemars::JsonSchema))]
pub struct PurchaseView {
    /// Its id.
    pub purchase_id: OperationId,
    /// Where it stands.
    pub status: PurchaseStatus,
    /// How many Connects were bought.
    pub quantity: Connects,
    /// How many a code brings on top, in a lot of their own.
    pub bonus: Connects,
    /// What is charged.
    pub price: Money,
    /// What a code took off: the whole price is this and `price`.
    pub discount: Money,
    /// The lot of what was bought, once paid.
    pub lot_id: Option<LotId>,
    /// The balance after it; today's while it has moved nothing.
    pub balance: Balance,
}

impl PurchaseView {
    /// Of a purchase, beside the account's balance.
    pub fn of(purchase: &Purchase, balance: Balance) -> Self {
        let promo = purchase.promo.as_ref();
        Self {
            purchase_id: purchase.id.clone(),
            status: purchase.status,
            quantity: purchase.quantity,
            bonus: promo.map_or(Connects::ZERO, |promo| promo.bonus),
            price: purchase.price.clone(),
            discount: promo.map_or(purchase.price.none(), |promo| promo.discount.clone()),
            lot_id: purchase.lot.as_ref().map(|lot| lot.0.id),
            balance: purchase.after.unwrap_or(balance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::{Account, Kind};
    use super::super::journal::Entry;
    use super::super::policy::{Policy, built_in};
    use super::super::promo::Redemption;
    use super::super::testing::{OPENED, at, connects, draft, opened, operation, spent, stored};
    use super::*;

    fn pending(policy: &Policy) -> Purchase {
        let (quantity, price) = policy.price(100).unwrap();
        let command = PurchaseCommand {
            quantity: 100,
            promo_code: None,
            payment_method: None,
        };
        let id = operation(Operation::Purchase, "k");
        let method = "sandbox_approve".to_owned();
        Purchase::pending(
            id,
            command.fingerprint(),
            quantity,
            price,
            method,
            at(OPENED),
        )
    }

    /// The purchase, paid, and the agency that holds it.
    fn paid(policy: &Policy) -> (Purchase, Account) {
        let account = opened(policy, Kind::Agency);
        let (paid, plan) =
            pending(policy).plan_credit(draft(policy, account.clone(), OPENED), None);
        let purchase = paid.clone();
        assert_eq!(plan.unwrap().guards, [Guard::Purchase { purchase }]);
        let mut credited = draft(policy, account, OPENED);
        let reference = Reference::of("purchase", &paid.id);
        credited.issue(Source::Purchase, "purchase", paid.quantity, Some(reference));
        (paid, stored(credited.finish(vec![]).0))
    }

    #[test]
    fn each_step_follows_one_other() {
        for (status, before) in [
            (PurchaseStatus::Pending, None),
            (PurchaseStatus::Paid, Some(PurchaseStatus::Pending)),
            (PurchaseStatus::Declined, Some(PurchaseStatus::Pending)),
            (PurchaseStatus::ChargedBack, Some(PurchaseStatus::Paid)),
        ] {
            assert_eq!(status.before(), before);
        }
    }

    #[test]
    fn only_an_open_purchase_is_due() {
        let policy = built_in();
        let pending = pending(&policy);
        assert_eq!(pending.due_at(), Some(at(OPENED)));
        let declined = pending.declined();
        assert_eq!(
            (declined.status, declined.due_at()),
            (PurchaseStatus::Declined, None)
        );
        assert_eq!(paid(&policy).0.due_at(), None);
    }

    #[test]
    fn a_paid_purchase_names_its_lot_and_reads_back() {
        let (paid, account) = paid(&built_in());
        assert_eq!(paid.status, PurchaseStatus::Paid);
        assert_eq!(paid.after.unwrap().available, connects(100));
        assert_eq!(
            paid.lot.as_ref().map(|lot| &lot.0),
            Some(account.lots[0].birth())
        );
        let json = serde_json::to_value(&paid).unwrap();
        assert_eq!(serde_json::from_value::<Purchase>(json).unwrap(), paid);
        let view = PurchaseView::of(&paid, Balance::default());
        assert_eq!(view.lot_id, Some(account.lots[0].birth().id));
        assert_eq!((view.price.amount, view.discount.amount), (1_500, 0));
        assert_eq!(view.balance.available, connects(100));
    }

    /// The purchase of 100 with a code, whose bonus can be used for two weeks.
    fn with_code(policy: &Policy, bonus: u64, discount: u64) -> Purchase {
        let pending = pending(policy);
        let redemption = Redemption {
            code: PromoCode::try_new("MORE").unwrap(),
            slot: 0,
            version: 1,
            single_use: None,
        };
        let discount = Money {
            amount: discount,
            ..pending.price.none()
        };
        pending.reserving(Reservation {
            redemption,
            bonus: connects(bonus),
            discount,
            lot_valid_days: Some(14),
        })
    }

    #[test]
    fn a_discount_comes_off_the_price() {
        let policy = built_in();
        for (discount, price, is_free) in [(300, 1_200, false), (1_500, 0, true)] {
            let pending = with_code(&policy, 0, discount);
            assert_eq!((pending.price.amount, pending.is_free()), (price, is_free));
            let agency = opened(&policy, Kind::Agency);
            let (paid, plan) = pending.plan_credit(draft(&policy, agency, OPENED), None);
            assert_eq!(plan.unwrap().entries.len(), 1);
            let view = PurchaseView::of(&paid, Balance::default());
            assert_eq!((view.price.amount, view.discount.amount), (price, discount));
            assert_eq!((view.bonus, paid.bonus_lot), (Connects::ZERO, None));
        }
    }

    #[test]
    fn a_bonus_is_a_lot_of_its_own_and_goes_with_a_chargeback() {
        let policy = built_in();
        let pending = with_code(&policy, 20, 0);
        let account = opened(&policy, Kind::Agency);
        let (paid, plan) = pending.plan_credit(draft(&policy, account.clone(), OPENED), None);
        let entries = plan.unwrap().entries;
        let told = |entry: &Entry| {
            let reference = entry.reference.clone().unwrap();
            (
                entry.reason.to_string(),
                entry.amount,
                reference.to_string(),
            )
        };
        let bought = format!("purchase:{}", paid.id);
        assert_eq!(
            Vec::from_iter(entries.iter().map(told)),
            [
                ("purchase".to_owned(), 100, bought.clone()),
                ("promo_bonus".to_owned(), 20, "promo:MORE".to_owned()),
            ]
        );
        let bonus = &paid.bonus_lot.as_ref().unwrap().0;
        assert_eq!(bonus.source, Source::Promo);
        assert_eq!(bonus.expires_on.to_string(), "2025-01-24");
        assert_eq!(paid.after.unwrap().available, connects(120));
        let view = PurchaseView::of(&paid, Balance::default());
        assert_eq!((view.bonus, view.price.amount), (connects(20), 1_500));
        let json = serde_json::to_value(&paid).unwrap();
        assert_eq!(serde_json::from_value::<Purchase>(json).unwrap(), paid);

        // What was spent of either is owed; what is left of both is taken in one entry.
        for (spend, revoked, debt) in [(70, 50, 70), (110, 10, 110)] {
            let mut credited = draft(&policy, account.clone(), OPENED);
            let reference = Reference::of("purchase", &paid.id);
            credited.issue(Source::Purchase, "purchase", paid.quantity, Some(reference));
            pending.promo.as_ref().unwrap().issue(&mut credited);
            let credited = stored(credited.finish(vec![]).0);
            let (_, _, spent) = spent(&policy, credited, OPENED, spend);
            let ready = draft(&policy, spent, OPENED);
            let (back, plan) = paid.plan_chargeback(ready, None, Connects::ZERO).unwrap();
            let after = back.after.unwrap();
            assert_eq!(
                (after.available, after.debt),
                (Connects::ZERO, connects(debt))
            );
            let entries = plan.unwrap().entries;
            let entries = Vec::from_iter(entries.iter().map(told));
            assert_eq!(
                entries,
                [("chargeback".to_owned(), -revoked, bought.clone())]
            );
        }
    }

    #[test]
    fn a_chargeback_takes_what_is_left_and_notes_the_rest() {
        let policy = built_in();
        let (paid, account) = paid(&policy);
        let (_, _, account) = spent(&policy, account, OPENED, 70);
        let key = IdempotencyKey::try_new("c");
        let ready = || draft(&policy, account.clone(), OPENED);
        let back = paid.plan_chargeback(ready(), key.as_ref(), Connects::ZERO);
        let (back, plan) = back.unwrap();
        assert_eq!(
            (back.status, &back.chargeback_key),
            (PurchaseStatus::ChargedBack, &key)
        );
        let after = back.after.unwrap();
        assert_eq!(
            (after.available, after.debt),
            (Connects::ZERO, connects(70))
        );
        assert_eq!(plan.unwrap().entries[0].amount, -30);

        let again = back.plan_chargeback(ready(), None, Connects::ZERO);
        let existing = serde_json::to_value(PurchaseView::of(&back, Balance::default())).unwrap();
        assert_eq!(again, Err(Refusal::AlreadyChargedBack { existing }));
        let never = pending(&policy).plan_chargeback(ready(), None, Connects::ZERO);
        assert_eq!(never, Err(Refusal::PurchaseNotPaid));
    }
}
