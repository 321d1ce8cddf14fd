//! Single-use codes: each is redeemed once by one account, whoever races, declines or dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use connects::domain::account::{Kind, Open};
use connects::domain::codes::{CodesAnswer, CodesCommand};
use connects::domain::ids::{AccountId, PersonId, PromoCode};
use connects::domain::key::IdempotencyKey;
use connects::domain::promo::{Discount, Offer, RedeemAnswer, Terms};
use connects::domain::purchase::{PurchaseCommand, PurchaseStatus, PurchaseView};
use connects::domain::refusal::Refusal;
use connects::ledger::{Error, Ledger, Outcome};
use connects::payments::{Provider, Sandbox};
use connects_tests::cost::{Approves, Declines};
use connects_tests::table::{Table, account_id, at, audit, batch_name, grant, key, refusal};
use connects_tests::wire::{Answer, Broken, Call, Clear, Emulated, Layer};
use futures::future::{BoxFuture, join_all, ready};

use crate::auctions::Losing;
use crate::busy::{ledger, opened};

const NOW: &str = "2026-01-10T12:00:00Z";
const SOON: &str = "2026-01-10T12:15:00Z";
const NEXT_DAY: &str = "2026-01-11T12:00:00Z";

fn half_off() -> Terms {
    Terms {
        offer: Offer::Discount(Discount::Percent { percent_off: 50 }),
        ..grant(1)
    }
}

async fn made_by(
    ledger: &Ledger,
    key: &IdempotencyKey,
    promo: &PromoCode,
    count: u32,
    terms: Terms,
) -> Result<Outcome<CodesAnswer>, Error> {
    let command = CodesCommand { count, terms };
    ledger.make_codes(&at(NOW), key, promo, &command).await
}

/// A new promo with so many codes.
async fn codes(ledger: &Ledger, count: u32, terms: Terms) -> (PromoCode, Vec<PromoCode>) {
    let promo = batch_name();
    let made = made_by(ledger, &key(), &promo, count, terms).await;
    (promo, made.unwrap().into_inner().codes)
}

async fn redeem(
    ledger: &Ledger,
    account: &AccountId,
    code: &PromoCode,
) -> Result<RedeemAnswer, Error> {
    let redeemed = ledger.redeem(&at(NOW), account, None, code).await;
    redeemed.map(Outcome::into_inner)
}

async fn redeemed(ledger: &Ledger, promo: &PromoCode) -> u64 {
    ledger.promo(&at(NOW), promo).await.unwrap().redeemed
}

async fn buy(
    ledger: &Ledger,
    provider: &impl Provider,
    key: &IdempotencyKey,
    account: &AccountId,
    code: &PromoCode,
    method: Option<&str>,
) -> Result<PurchaseView, Error> {
    let command = PurchaseCommand {
        quantity: 100,
        promo_code: Some(code.clone()),
        payment_method: method.map(str::to_owned),
    };
    let now = at(NOW);
    let bought = ledger
        .purchase(&now, provider, account, key, &command)
        .await;
    bought.map(Outcome::into_inner)
}

async fn recover(ledger: &Ledger, provider: &impl Provider, now: &str) {
    let now = at(now);
    let swept = ledger.sweep_payments(&now, provider, now.now).await;
    assert_eq!(swept.unwrap().failed, 0);
}

fn is_taken(answer: Result<impl std::fmt::Debug, Error>) {
    let refused = refusal(answer);
    let told = matches!(refused, Refusal::PromoAlreadyRedeemed { .. });
    assert!(told, "{refused:?}");
}

#[tokio::test]
async fn a_code_is_redeemed_once_and_an_account_redeems_one_of_a_promo() {
    let table = Table::new().await;
    let ledger = &table.ledger;
    let (promo, codes) = codes(ledger, 3, grant(5)).await;
    let (ana, ben) = (table.open_empty(NOW).await, table.open_empty(NOW).await);
    let one = Some(key());
    let first = ledger.redeem(&at(NOW), &ana, one.as_ref(), &codes[1]).await;
    let Ok(Outcome::Applied(first)) = first else {
        panic!("{first:?}");
    };
    assert_eq!((&first.code, first.amount.get()), (&codes[1], 5));
    let again = ledger
        .redeem(&at(SOON), &ana, one.as_ref(), &codes[1])
        .await;
    assert_eq!(again.unwrap(), Outcome::Replayed(first.clone()));

    // Under that key another code is another request; under any other it is one too many.
    let reused = ledger.redeem(&at(NOW), &ana, one.as_ref(), &codes[2]).await;
    assert_eq!(refusal(reused), Refusal::IdempotencyKeyReused);
    for code in [&codes[1], &codes[2]] {
        let existing = serde_json::to_value(&first).unwrap();
        let refused = refusal(redeem(ledger, &ana, code).await);
        assert_eq!(refused, Refusal::PromoAlreadyRedeemed { existing });
    }
    let used = redeem(ledger, &ben, &codes[1]).await;
    assert_eq!(refusal(used), Refusal::PromoExhausted);

    // Neither the promo's name nor what only looks like a code of it is one.
    let mut forged = codes[2].as_str().to_owned();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    let forged = PromoCode::try_new(&forged).unwrap();
    let beyond = format!("{promo}-ZZZ22-22222-22222");
    let nowhere = format!("NOBODYS-{}", &codes[2].as_str()[promo.as_str().len() + 1..]);
    for code in [
        forged,
        promo.clone(),
        PromoCode::try_new(&beyond).unwrap(),
        PromoCode::try_new(&nowhere).unwrap(),
    ] {
        let unknown = refusal(redeem(ledger, &ben, &code).await);
        assert_eq!(unknown, Refusal::PromoUnknown, "{code}");
    }
    redeem(ledger, &ben, &codes[2]).await.unwrap();
    assert_eq!(redeemed(ledger, &promo).await, 2);
    for account in [ana, ben] {
        assert_eq!(table.audit(&account).await.balance(), 5);
    }
}

#[tokio::test]
async fn of_those_who_race_for_a_code_one_gets_it() {
    let table = Table::new().await;
    let ledger = &table.ledger;
    let (promo, codes) = codes(ledger, 20, grant(5)).await;
    let accounts = join_all((0..12).map(|_| table.open_empty(NOW))).await;
    let racing = accounts.iter().map(|id| redeem(ledger, id, &codes[0]));
    let (won, lost): (Vec<_>, Vec<_>) = join_all(racing).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), redeemed(ledger, &promo).await), (1, 1));
    for answer in lost {
        assert_eq!(refusal(answer), Refusal::PromoExhausted);
    }

    // Each with a code of its own: nobody stands in another's way.
    let accounts = join_all((0..12).map(|_| table.open_empty(NOW))).await;
    let racing = accounts.iter().zip(&codes[1..13]);
    let racing = racing.map(|(id, code)| redeem(ledger, id, code));
    assert!(join_all(racing).await.iter().all(Result::is_ok));
    assert_eq!(redeemed(ledger, &promo).await, 13);

    // One account with all that are left.
    let greedy = table.open_empty(NOW).await;
    let racing = codes[13..].iter().map(|code| redeem(ledger, &greedy, code));
    let (won, lost): (Vec<_>, Vec<_>) = join_all(racing).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), redeemed(ledger, &promo).await), (1, 14));
    lost.into_iter().for_each(is_taken);
    assert_eq!(table.audit(&greedy).await.balance(), 5);
}

#[tokio::test]
async fn a_code_follows_the_payment_of_its_purchase() {
    let table = Table::new().await;
    let ledger = &table.ledger;
    let sandbox = Sandbox::new(ledger.store().clone());
    let (promo, codes) = codes(ledger, 2, half_off()).await;
    let (ana, ben) = (table.open_empty(NOW).await, table.open_empty(NOW).await);
    for (method, at_once, later, after, kept) in [
        (
            "sandbox_decline",
            PurchaseStatus::Declined,
            SOON,
            PurchaseStatus::Declined,
            false,
        ),
        (
            "sandbox_late",
            PurchaseStatus::Pending,
            NEXT_DAY,
            PurchaseStatus::Declined,
            false,
        ),
        (
            "sandbox_late",
            PurchaseStatus::Pending,
            SOON,
            PurchaseStatus::Paid,
            true,
        ),
    ] {
        let one = key();
        let bought = buy(ledger, &sandbox, &one, &ana, &codes[0], Some(method)).await;
        let bought = bought.unwrap();
        assert_eq!((bought.status, bought.price.amount), (at_once, 750));
        if at_once == PurchaseStatus::Pending {
            let other = buy(ledger, &sandbox, &key(), &ben, &codes[0], None).await;
            assert_eq!(refusal(other), Refusal::PromoExhausted, "{method}");
            is_taken(buy(ledger, &sandbox, &key(), &ana, &codes[1], None).await);
        }
        recover(ledger, &sandbox, later).await;
        let found = buy(ledger, &sandbox, &one, &ana, &codes[0], Some(method)).await;
        assert_eq!(found.unwrap().status, after, "{method}");
        assert_eq!(redeemed(ledger, &promo).await, u64::from(kept), "{method}");
    }
    let paid = buy(ledger, &sandbox, &key(), &ben, &codes[1], None).await;
    assert_eq!(paid.unwrap().status, PurchaseStatus::Paid);
    assert_eq!(redeemed(ledger, &promo).await, 2);
}

#[tokio::test]
async fn a_promo_has_the_codes_of_one_request() {
    let table = Table::new().await;
    let ledger = &table.ledger;
    let promo = batch_name();
    let racing = (0..6).map(async |_| made_by(ledger, &key(), &promo, 700, grant(5)).await);
    let (won, lost): (Vec<_>, Vec<_>) = join_all(racing).await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for answer in lost {
        let refused = refusal(answer);
        let Refusal::PromoExists { existing } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(existing["single_use_codes"], 700);
    }

    // Under one key all are told the same.
    let (one, promo) = (key(), batch_name());
    let racing = (0..6).map(async |_| made_by(ledger, &one, &promo, 3, grant(5)).await);
    let answers: Vec<CodesAnswer> = join_all(racing)
        .await
        .into_iter()
        .map(|made| made.unwrap().into_inner())
        .collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    // New terms are the codes' too, and leave them what they are.
    let terms = Terms {
        max_redemptions: Some(1),
        ..grant(7)
    };
    let put = ledger.put_promo(&at(NOW), &promo, &terms).await.unwrap();
    assert_eq!((put.0, put.1.single_use_codes), (false, Some(3)));
    let (ana, ben) = (table.open_empty(NOW).await, table.open_empty(NOW).await);
    let given = redeem(ledger, &ana, &answers[0].codes[2]).await.unwrap();
    assert_eq!(given.amount.get(), 7);
    let no_more = redeem(ledger, &ben, &answers[0].codes[1]).await;
    assert_eq!(refusal(no_more), Refusal::PromoExhausted);
}

/// Fails from its `from`th call on, which is done unless it is only `before` it that the line breaks:
/// to the table it is a process that has died.
#[derive(Debug)]
struct Dying {
    from: u64,
    before: bool,
    calls: AtomicU64,
}

impl Layer for Dying {
    fn pass(
        self: Arc<Self>,
        call: Call,
        table: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let number = self.calls.fetch_add(1, Relaxed);
        let answer = match number < self.from + u64::from(!self.before) {
            true => Ok(table.answer(&call)),
            false => Err(Broken::Reset),
        };
        let is_told = number < self.from;
        Box::pin(ready(answer.and_then(|answer| match is_told {
            true => Ok(answer),
            false => Err(Broken::Reset),
        })))
    }
}

async fn another(ledger: &Ledger) -> AccountId {
    let id = account_id();
    let open = Open {
        kind: Kind::Agency,
        person_id: PersonId::try_new(id.as_str()).unwrap(),
        email: None,
        opened_on: None,
    };
    ledger.open(&at(NOW), &id, open).await.unwrap();
    id
}

/// Wherever a process dies, the same request afterwards and recovery leave a code either used, by that
/// account, or free for the next, and the promo's counter says the same.
#[tokio::test(start_paused = true)]
async fn wherever_a_process_dies_a_code_is_used_once_or_not_at_all() {
    let (table, _) = opened().await;
    let clear = ledger(&table, Arc::new(Clear));
    let mut deaths = 0;
    for paid in [true, false] {
        for before in [true, false] {
            for from in 0.. {
                let (promo, codes) = codes(&clear, 1, half_off()).await;
                let (ana, ben, one) = (another(&clear).await, another(&clear).await, key());
                let layer = Arc::new(Dying {
                    from,
                    before,
                    calls: AtomicU64::new(0),
                });
                let dying = ledger(&table, layer.clone());
                let code = &codes[0];
                let died = match paid {
                    true => buy(&dying, &Approves, &one, &ana, code, None).await,
                    false => buy(&dying, &Declines, &one, &ana, code, None).await,
                };
                let survived = layer.calls.load(Relaxed) <= from;
                deaths += u64::from(!survived);
                let retried = match paid {
                    true => {
                        recover(&clear, &Approves, SOON).await;
                        buy(&clear, &Approves, &one, &ana, code, None).await
                    }
                    false => {
                        recover(&clear, &Declines, SOON).await;
                        buy(&clear, &Declines, &one, &ana, code, None).await
                    }
                };
                let status = retried.unwrap().status;
                let at = format!("paid {paid}, call {from}, before {before}: {died:?}");
                let ends_as = match paid {
                    true => PurchaseStatus::Paid,
                    false => PurchaseStatus::Declined,
                };
                assert_eq!(status, ends_as, "{at}");
                assert_eq!(redeemed(&clear, &promo).await, u64::from(paid), "{at}");
                let next = buy(&clear, &Approves, &key(), &ben, code, None).await;
                match paid {
                    true => assert_eq!(refusal(next), Refusal::PromoExhausted, "{at}"),
                    false => assert_eq!(next.unwrap().status, PurchaseStatus::Paid, "{at}"),
                }
                assert_eq!(redeemed(&clear, &promo).await, 1, "{at}");
                let bought = audit(clear.store(), &ana).await.balance();
                assert_eq!(bought, if paid { 100 } else { 0 }, "{at}");
                if survived {
                    break;
                }
            }
        }
    }
    assert!(deaths >= 24, "{deaths}");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_answered_is_found_by_the_next_try() {
    let (table, account) = opened().await;
    let layer = Arc::new(Losing::default());
    let lossy = ledger(&table, layer.clone());
    let (promo, one) = (batch_name(), key());
    layer.0.store(true, Relaxed);
    let made = made_by(&lossy, &one, &promo, 3, grant(5)).await.unwrap();
    let Outcome::Replayed(made) = made else {
        panic!("{made:?}");
    };
    let again = made_by(&lossy, &one, &promo, 3, grant(5)).await.unwrap();
    assert_eq!(again.into_inner(), made);
    layer.0.store(true, Relaxed);
    let given = redeem(&lossy, &account, &made.codes[0]).await.unwrap();
    assert_eq!((given.amount.get(), redeemed(&lossy, &promo).await), (5, 1));
}
