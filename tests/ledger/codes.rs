//! Codes that ride on purchases: one redemption for each purchase that is not declined, however it
//! gets there.

use connects::domain::account::{Amend, Status};
use connects::domain::ids::{AccountId, PromoCode};
use connects::domain::key::IdempotencyKey;
use connects::domain::promo::{Discount, Offer, Redemption, Reservation, Terms};
use connects::domain::purchase::{Purchase, PurchaseCommand, PurchaseStatus, PurchaseView};
use connects::domain::refusal::Refusal;
use connects::domain::units::{Connects, Money};
use connects::ledger::{Error, Outcome};
use connects::payments::{Charge, Payment, Provider, Sandbox};
use connects_tests::table::{Table, at, grant, instant, key, promo_code, refusal, spend};
use futures::StreamExt;
use futures::future::join_all;

const NOW: &str = "2026-01-10T12:00:00Z";
const SOON: &str = "2026-01-10T12:15:00Z";
const NEXT_DAY: &str = "2026-01-11T12:00:00Z";

fn bonus(quantity: u64, max: u64) -> Terms {
    Terms {
        offer: Offer::Bonus {
            quantity: Connects::new(quantity),
        },
        valid_until: instant("2026-02-01T00:00:00Z"),
        max_redemptions: Some(max),
        ..grant(quantity)
    }
}

fn percent_off(percent_off: u64, max: u64) -> Terms {
    Terms {
        offer: Offer::Discount(Discount::Percent { percent_off }),
        ..bonus(1, max)
    }
}

/// A table with one code.
struct Bed {
    table: Table,
    code: PromoCode,
}

impl Bed {
    async fn with(terms: Terms) -> Self {
        let bed = Self {
            table: Table::new().await,
            code: promo_code(),
        };
        bed.put(terms).await;
        bed
    }

    async fn put(&self, terms: Terms) {
        let (ledger, now) = (&self.table.ledger, at(NOW));
        ledger.put_promo(&now, &self.code, &terms).await.unwrap();
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox::new(self.table.ledger.store().clone())
    }

    fn command(&self, method: &str) -> PurchaseCommand {
        PurchaseCommand {
            quantity: 100,
            promo_code: Some(self.code.clone()),
            payment_method: Some(method.to_owned()),
        }
    }

    async fn buy_under(
        &self,
        key: &IdempotencyKey,
        account: &AccountId,
        method: &str,
        now: &str,
    ) -> Result<Outcome<PurchaseView>, Error> {
        let (command, sandbox, now) = (self.command(method), self.sandbox(), at(now));
        let ledger = &self.table.ledger;
        ledger
            .purchase(&now, &sandbox, account, key, &command)
            .await
    }

    async fn buy(&self, account: &AccountId, method: &str) -> Result<PurchaseView, Error> {
        let bought = self.buy_under(&key(), account, method, NOW).await;
        bought.map(Outcome::into_inner)
    }

    async fn recover(&self, now: &str) {
        let now = at(now);
        let sandbox = self.sandbox();
        let swept = self.table.ledger.sweep_payments(&now, &sandbox, now.now);
        assert_eq!(swept.await.unwrap().failed, 0);
    }

    async fn status(&self, account: &AccountId, bought: &PurchaseView) -> PurchaseStatus {
        let (ledger, now) = (&self.table.ledger, at(NEXT_DAY));
        let found = ledger.purchase_by_id(&now, account, &bought.purchase_id);
        found.await.unwrap().status
    }

    /// How often the code counts as redeemed.
    async fn redeemed(&self) -> u64 {
        let promo = self.table.ledger.promo(&at(NOW), &self.code).await;
        promo.unwrap().redeemed
    }

    async fn balance(&self, account: &AccountId) -> u64 {
        self.table.audit(account).await.balance()
    }
}

#[tokio::test]
async fn a_code_follows_the_payment_of_its_purchase() {
    use PurchaseStatus::{Declined, Paid, Pending};
    let bed = Bed::with(bonus(20, 1)).await;
    for (method, at_once, later, after, kept) in [
        ("sandbox_decline", Declined, SOON, Declined, false),
        // Still open after a day: cancelled at the provider.
        ("sandbox_late", Pending, NEXT_DAY, Declined, false),
        // The provider had taken the money.
        ("sandbox_timeout", Pending, NEXT_DAY, Paid, true),
        ("sandbox_timeout", Pending, SOON, Paid, true),
        ("sandbox_late", Pending, SOON, Paid, true),
        ("sandbox_approve", Paid, SOON, Paid, true),
    ] {
        let bed = match kept {
            // What is given back is used again by the next.
            false => &bed,
            true => &Bed::with(bonus(20, 1)).await,
        };
        let account = bed.table.open_empty(NOW).await;
        let bought = bed.buy(&account, method).await.unwrap();
        assert_eq!(bought.status, at_once, "{method}");
        assert_eq!(
            (bought.bonus, bought.price.amount),
            (Connects::new(20), 1_500)
        );
        assert_eq!(
            bed.redeemed().await,
            u64::from(at_once != Declined),
            "{method}"
        );
        for _ in 0..2 {
            bed.recover(later).await;
        }
        assert_eq!(bed.status(&account, &bought).await, after, "{method}");
        assert_eq!(bed.redeemed().await, u64::from(kept), "{method}");
        let balance = if kept { 120 } else { 0 };
        assert_eq!(bed.balance(&account).await, balance, "{method}");
    }
}

#[tokio::test]
async fn what_is_given_back_can_be_used_again_by_the_same_account() {
    let bed = Bed::with(bonus(20, 1)).await;
    let account = bed.table.open_empty(NOW).await;
    for _ in 0..2 {
        let declined = bed.buy(&account, "sandbox_decline").await.unwrap();
        assert_eq!(declined.status, PurchaseStatus::Declined);
    }
    let pending = bed.buy(&account, "sandbox_late").await.unwrap();
    let again = refusal(bed.buy(&account, "sandbox_approve").await);
    let existing = serde_json::to_value(&pending).unwrap();
    assert_eq!(again, Refusal::PromoAlreadyRedeemed { existing });
    bed.recover(NEXT_DAY).await;
    let paid = bed.buy(&account, "sandbox_approve").await.unwrap();
    assert_eq!(paid.status, PurchaseStatus::Paid);
    assert!(matches!(
        refusal(bed.buy(&account, "sandbox_approve").await),
        Refusal::PromoAlreadyRedeemed { .. }
    ));
    assert_eq!(
        (bed.redeemed().await, bed.balance(&account).await),
        (1, 120)
    );
}

/// For the last redemptions: some pay, some don't, and none is lost or taken twice.
#[tokio::test]
async fn a_race_for_the_last_redemptions_leaves_the_counter_exact() {
    for (max, racers) in [(1_u64, 8), (5, 12)] {
        let bed = Bed::with(bonus(20, max)).await;
        let accounts = join_all((0..racers).map(|_| bed.table.open_empty(NOW))).await;
        let racing = accounts
            .iter()
            .map(|account| bed.buy(account, "sandbox_approve"));
        let (won, lost): (Vec<_>, Vec<_>) =
            join_all(racing).await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len() as u64, max);
        assert!(
            lost.into_iter()
                .all(|answer| refusal(answer) == Refusal::PromoExhausted)
        );
        assert_eq!(bed.redeemed().await, max);
        for account in &accounts {
            let balance = bed.balance(account).await;
            assert!([0, 120].contains(&balance), "{balance}");
        }
    }

    let bed = Bed::with(bonus(20, 3)).await;
    let accounts = join_all((0..12).map(|_| bed.table.open_empty(NOW))).await;
    let methods = ["sandbox_approve", "sandbox_decline", "sandbox_late"];
    let racing = accounts.iter().zip(methods.iter().cycle());
    let racing = racing.map(|(account, method)| bed.buy(account, method));
    let answers = join_all(racing).await;
    let live = answers.iter().flatten();
    let live = live.filter(|bought| bought.status != PurchaseStatus::Declined);
    let live = live.count() as u64;
    assert!(live <= 3 && bed.redeemed().await == live, "{live}");
    bed.recover(NEXT_DAY).await;
    let mut with_bonus = 0;
    for account in &accounts {
        with_bonus += u64::from(bed.balance(account).await == 120);
    }
    assert_eq!(bed.redeemed().await, with_bonus);
}

/// More than one slot holds, so that redeemers have to look for one that has room.
#[tokio::test]
async fn of_fifteen_hundred_at_once_exactly_as_many_as_there_are_get_the_code() {
    let max = 1_200;
    let bed = Bed::with(Terms {
        max_redemptions: Some(max),
        ..grant(5)
    })
    .await;
    let accounts: Vec<AccountId> = futures::stream::iter(0..1_500)
        .map(|_| bed.table.open_empty(NOW))
        .buffer_unordered(50)
        .collect()
        .await;
    let (ledger, now) = (&bed.table.ledger, at(NOW));
    let redeemed = join_all(
        accounts
            .iter()
            .map(|account| ledger.redeem(&now, account, None, &bed.code)),
    )
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = redeemed.into_iter().partition(Result::is_ok);
    assert_eq!((won.len() as u64, bed.redeemed().await), (max, max));
    for answer in lost {
        assert_eq!(refusal(answer), Refusal::PromoExhausted);
    }
}

#[tokio::test]
async fn an_account_uses_a_code_once_however_it_tries() {
    let bed = Bed::with(percent_off(20, 50)).await;
    let account = bed.table.open_empty(NOW).await;
    let racing = (0..8).map(|_| bed.buy(&account, "sandbox_approve"));
    let (won, lost): (Vec<_>, Vec<_>) = join_all(racing).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), bed.redeemed().await), (1, 1));
    for answer in lost {
        let refused = refusal(answer);
        let told = matches!(refused, Refusal::PromoAlreadyRedeemed { .. });
        assert!(told, "{refused:?}");
    }
    assert_eq!(bed.balance(&account).await, 100);

    // One key is one purchase, and never refused for what it took itself.
    let one = key();
    let account = bed.table.open_empty(NOW).await;
    let racing = (0..12).map(|_| bed.buy_under(&one, &account, "sandbox_approve", NOW));
    for answer in join_all(racing).await {
        let bought = answer.unwrap().into_inner();
        assert_eq!((bought.price.amount, bought.discount.amount), (1_200, 300));
    }
    bed.recover(SOON).await;
    assert_eq!(
        (bed.redeemed().await, bed.balance(&account).await),
        (2, 100)
    );
}

/// What a code gives is what it gave when the purchase began, whatever has become of it.
#[tokio::test]
async fn what_was_promised_is_frozen() {
    let bed = Bed::with(bonus(20, 1)).await;
    let account = bed.table.open_empty(NOW).await;
    let one = key();
    let pending = bed.buy_under(&one, &account, "sandbox_late", NOW).await;
    let pending = pending.unwrap().into_inner();
    let other = bed.table.open_empty(NOW).await;
    assert_eq!(
        refusal(bed.buy(&other, "sandbox_approve").await),
        Refusal::PromoExhausted
    );
    bed.put(Terms {
        valid_until: instant("2026-01-10T12:05:00Z"),
        lot_valid_days: Some(1),
        ..bonus(1, 1)
    })
    .await;
    let again = bed.buy_under(&one, &account, "sandbox_late", SOON).await;
    assert_eq!(again.unwrap(), Outcome::Replayed(pending.clone()));
    bed.recover(SOON).await;
    assert_eq!(bed.balance(&account).await, 120);
    let paid = bed.buy_under(&one, &account, "sandbox_late", "2026-03-01T00:00:00Z");
    let paid = paid.await.unwrap().into_inner();
    assert_eq!(
        (paid.status, paid.bonus),
        (PurchaseStatus::Paid, Connects::new(20))
    );
    assert_eq!(
        refusal(bed.buy_under(&key(), &other, "sandbox_approve", SOON).await),
        Refusal::PromoExpired
    );
}

/// Terms that were changed meanwhile don't stand in the way of giving back.
#[tokio::test]
async fn a_redemption_is_given_back_under_other_terms() {
    let bed = Bed::with(bonus(20, 3_000)).await;
    let account = bed.table.open_empty(NOW).await;
    bed.buy(&account, "sandbox_late").await.unwrap();
    bed.put(bonus(30, 1)).await;
    assert_eq!(bed.redeemed().await, 1);
    bed.recover(NEXT_DAY).await;
    assert_eq!(bed.redeemed().await, 0);
    let paid = bed.buy(&account, "sandbox_approve").await.unwrap();
    assert_eq!((paid.bonus, bed.redeemed().await), (Connects::new(30), 1));
}

/// A process that died after the purchase and its redemption were written down.
#[tokio::test]
async fn recovery_goes_on_with_what_was_reserved() {
    for (percent, method, later, ends, balance) in [
        (20, "sandbox_approve", SOON, PurchaseStatus::Paid, 100),
        (20, "sandbox_decline", SOON, PurchaseStatus::Declined, 0),
        (20, "sandbox_approve", NEXT_DAY, PurchaseStatus::Declined, 0),
        // Nothing to charge: nobody is asked, also not to cancel it.
        (100, "sandbox_decline", SOON, PurchaseStatus::Paid, 100),
        (100, "sandbox_approve", NEXT_DAY, PurchaseStatus::Paid, 100),
    ] {
        let bed = Bed::with(percent_off(percent, 1)).await;
        let account = bed.table.open_empty(NOW).await;
        let (one, command) = (key(), bed.command(method));
        let (quantity, price) = bed.table.ledger.policy().price(100).unwrap();
        let discount = Money {
            amount: price.amount * percent / 100,
            ..price.none()
        };
        let purchase = Purchase::pending(
            PurchaseCommand::id(&account, &one),
            command.fingerprint(),
            quantity,
            price,
            method.to_owned(),
            instant(NOW),
        );
        let purchase = purchase.reserving(Reservation {
            redemption: Redemption {
                code: bed.code.clone(),
                slot: 0,
                version: 1,
                single_use: None,
            },
            bonus: Connects::ZERO,
            discount,
            lot_valid_days: None,
        });
        let store = bed.table.ledger.store();
        store
            .begin_purchase(&account, &purchase, None)
            .await
            .unwrap();
        assert_eq!(bed.redeemed().await, 1);
        for _ in 0..2 {
            bed.recover(later).await;
        }
        let view = bed.buy_under(&one, &account, method, later).await;
        let view = view.unwrap().into_inner();
        assert_eq!(view.status, ends, "{percent} {method} {later}");
        let kept = u64::from(ends == PurchaseStatus::Paid);
        assert_eq!(
            (bed.redeemed().await, bed.balance(&account).await),
            (kept, balance)
        );
    }
}

/// A provider that must not be asked.
#[derive(Debug)]
struct Unasked;

impl Provider for Unasked {
    fn default_method(&self) -> &str {
        "unasked"
    }
    fn accepts(&self, _: &str) -> bool {
        true
    }
    async fn charge(&self, charge: &Charge<'_>) -> Payment {
        panic!("{charge:?}")
    }
    async fn cancel(&self, charge: &Charge<'_>) -> Payment {
        panic!("{charge:?}")
    }
}

#[tokio::test]
async fn what_costs_nothing_is_paid_without_the_provider() {
    let price = Money {
        amount: 1_501,
        currency: "USD".to_owned(),
    };
    let amount_off = Terms {
        offer: Offer::Discount(Discount::Amount { amount_off: price }),
        ..bonus(1, 1)
    };
    for terms in [amount_off, percent_off(100, 1)] {
        let bed = Bed::with(terms).await;
        let account = bed.table.open_empty(NOW).await;
        let (now, one, command) = (at(NOW), key(), bed.command("any"));
        let ledger = &bed.table.ledger;
        let bought = ledger.purchase(&now, &Unasked, &account, &one, &command);
        let bought = bought.await.unwrap().into_inner();
        assert_eq!(bought.status, PurchaseStatus::Paid);
        assert_eq!((bought.price.amount, bought.discount.amount), (0, 1_500));
        assert_eq!(bed.balance(&account).await, 100);
    }
}

#[tokio::test]
async fn a_suspended_account_uses_no_code() {
    let bed = Bed::with(bonus(20, 1)).await;
    let account = bed.table.open_empty(NOW).await;
    let amend = Amend {
        status: Some(Status::Suspended),
        email: None,
    };
    let ledger = &bed.table.ledger;
    ledger.amend(&at(NOW), &account, amend).await.unwrap();
    let refused = refusal(bed.buy(&account, "sandbox_approve").await);
    assert_eq!(refused, Refusal::AccountSuspended);
    assert_eq!(bed.redeemed().await, 0);
}

/// A chargeback takes the bonus too, less what lapsed of it unused; the code stays used.
#[tokio::test]
async fn a_chargeback_takes_the_bonus_back() {
    for (spent, later, left) in [
        (70, SOON, (0, 70)),
        (110, SOON, (0, 110)),
        // The bonus of 20 has lapsed, whole or what was left of it.
        (70, "2026-01-26T00:00:00Z", (0, 70)),
        (110, "2026-01-26T00:00:00Z", (0, 110)),
    ] {
        let terms = Terms {
            lot_valid_days: Some(14),
            ..bonus(20, 1)
        };
        let bed = Bed::with(terms).await;
        let account = bed.table.open_empty(NOW).await;
        let bought = bed.buy(&account, "sandbox_approve").await.unwrap();
        let ledger = &bed.table.ledger;
        let used = spend(spent);
        ledger
            .spend(&at(NOW), &account, &key(), &used)
            .await
            .unwrap();
        let now = at(later);
        let back = ledger.chargeback(&now, &account, &bought.purchase_id, None);
        let back = back.await.unwrap().into_inner();
        let balance = (back.balance.available.get(), back.balance.debt.get());
        assert_eq!(balance, left, "{spent} {later}");
        assert_eq!((back.bonus, bed.redeemed().await), (Connects::new(20), 1));
        bed.balance(&account).await;
        assert!(matches!(
            refusal(
                bed.buy_under(&key(), &account, "sandbox_approve", later)
                    .await
            ),
            Refusal::PromoAlreadyRedeemed { .. }
        ));
    }
}
