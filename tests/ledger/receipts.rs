//! A request happens once, whatever becomes of its answer.

use connects::domain::ids::Fingerprint;
use connects::domain::promo::{RedeemCommand, Terms};
use connects::domain::purchase::PurchaseCommand;
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::domain::refusal::Refusal;
use connects::domain::spend::SpendAnswer;
use connects::domain::units::Connects;
use connects::ledger::Outcome;
use connects::payments::Sandbox;
use connects_tests::table::{Table, at, grant, key, promo_code, refusal, spend};
use futures::future::join_all;

const NOW: &str = "2026-01-10T12:00:00Z";

#[tokio::test]
async fn one_key_fifty_times_at_once_is_one_spend() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    let (one, command, now) = (key(), spend(20), at(NOW));
    let answers =
        join_all((0..50).map(|_| table.ledger.spend(&now, &account, &one, &command))).await;
    let answers: Vec<Outcome<SpendAnswer>> = answers.into_iter().map(Result::unwrap).collect();
    let applied = answers
        .iter()
        .filter(|a| matches!(a, Outcome::Applied(_)))
        .count();
    assert_eq!(applied, 1);
    let first = answers[0].clone().into_inner();
    assert!(
        answers
            .into_iter()
            .all(|answer| answer.into_inner() == first)
    );
    assert_eq!(table.audit(&account).await.balance(), 30);
}

#[tokio::test]
async fn a_key_belongs_to_its_first_request() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    let one = key();
    table
        .ledger
        .spend(&at(NOW), &account, &one, &spend(20))
        .await
        .unwrap();
    let before = table.state(&account).await;
    let other = table
        .ledger
        .spend(&at(NOW), &account, &one, &spend(21))
        .await;
    assert_eq!(refusal(other), Refusal::IdempotencyKeyReused);
    assert_eq!(table.state(&account).await, before);
}

/// A refusal binds no key: the same request succeeds once there is enough.
#[tokio::test]
async fn a_refused_request_can_be_sent_again() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    let one = key();
    let refused = table
        .ledger
        .spend(&at(NOW), &account, &one, &spend(55))
        .await;
    let expected = Refusal::InsufficientConnects {
        available: Connects::new(50),
        required: Connects::new(55),
    };
    assert_eq!(refusal(refused), expected);
    // The next cycle's grant makes 60.
    let later = at("2026-02-10T00:00:00Z");
    table
        .ledger
        .spend(&later, &account, &one, &spend(55))
        .await
        .unwrap();
    assert_eq!(table.audit(&account).await.balance(), 5);
}

/// The first try committed and its answer was lost; by the time of the retry its lots have expired
/// and the account is empty. The retry gets the first answer, not a refusal.
#[tokio::test]
async fn a_retry_after_everything_expired_gets_the_first_answer() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    let one = key();
    let first = table
        .ledger
        .spend(&at(NOW), &account, &one, &spend(50))
        .await
        .unwrap();
    let years_later = at("2030-01-01T00:00:00Z");
    table
        .ledger
        .sweep_expiry(&years_later, years_later.now)
        .await
        .unwrap();
    let again = table
        .ledger
        .spend(&years_later, &account, &one, &spend(50))
        .await
        .unwrap();
    assert_eq!(again, Outcome::Replayed(first.into_inner()));
}

#[tokio::test]
async fn two_refunds_of_one_spend_never_return_more_than_was_spent() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    let now = at(NOW);
    let spent = table
        .ledger
        .spend(&now, &account, &key(), &spend(45))
        .await
        .unwrap()
        .into_inner();
    let refund = RefundCommand {
        of: RefundOf::SpendId(spent.spend_id),
        amount: Some(Connects::new(20)),
        reason: RefundReason::Goodwill,
    };
    let keys: Vec<_> = (0..8).map(|_| key()).collect();
    let answers = join_all(
        keys.iter()
            .map(|one| table.ledger.refund(&now, &account, one, &refund)),
    )
    .await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 2);
    let left = Refusal::RefundExceedsSpend {
        returnable: Connects::new(5),
    };
    assert!(refused.into_iter().all(|answer| refusal(answer) == left));
    assert_eq!(table.audit(&account).await.balance(), 45);
}

/// Refunds, redemptions and purchases have ids and receipts too. None of them is a spend, and a
/// spend is no purchase.
#[tokio::test]
async fn only_a_spend_is_refunded_and_only_a_purchase_is_a_purchase() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    let (now, ledger) = (at(NOW), &table.ledger);
    let refund = |id| RefundCommand {
        of: RefundOf::SpendId(id),
        amount: None,
        reason: RefundReason::Goodwill,
    };
    let first = ledger.spend(&now, &account, &key(), &spend(50)).await;
    let first = first.unwrap().into_inner().spend_id;
    let back = ledger
        .refund(&now, &account, &key(), &refund(first.clone()))
        .await;
    let back = back.unwrap().into_inner().refund_id;
    ledger
        .spend(&now, &account, &key(), &spend(50))
        .await
        .unwrap();

    let code = promo_code();
    let terms = Terms {
        lot_valid_days: Some(14),
        ..grant(7)
    };
    ledger.put_promo(&now, &code, &terms).await.unwrap();
    ledger.redeem(&now, &account, None, &code).await.unwrap();
    let redemption = RedeemCommand { code }.id(&account);
    ledger
        .spend(&now, &account, &key(), &spend(7))
        .await
        .unwrap();

    let buy = PurchaseCommand {
        quantity: 10,
        promo_code: None,
        payment_method: None,
    };
    let sandbox = Sandbox::new(ledger.store().clone());
    let bought = ledger
        .purchase(&now, &sandbox, &account, &key(), &buy)
        .await;
    let bought = bought.unwrap().into_inner().purchase_id;

    let before = table.state(&account).await;
    for id in [back, redemption, bought] {
        let refused = ledger
            .refund(&now, &account, &key(), &refund(id.clone()))
            .await;
        assert_eq!(refusal(refused), Refusal::SpendNotFound, "{id}");
    }
    let refused = ledger.purchase_by_id(&now, &account, &first).await;
    assert_eq!(refusal(refused), Refusal::PurchaseNotFound);
    let refused = ledger.chargeback(&now, &account, &first, None).await;
    assert_eq!(refusal(refused), Refusal::PurchaseNotFound);
    assert_eq!(table.state(&account).await, before);
    assert_eq!(table.audit(&account).await.balance(), 10);
}

/// A redemption under the key of the first is its retry; under any other, or none, it is a second.
#[tokio::test]
async fn only_the_key_of_a_redemption_brings_its_answer_again() {
    let table = Table::new().await;
    let code = promo_code();
    let terms = Terms {
        lot_valid_days: Some(14),
        ..grant(7)
    };
    let (now, ledger) = (at(NOW), &table.ledger);
    ledger.put_promo(&now, &code, &terms).await.unwrap();
    let (one, other) = (Some(key()), Some(key()));
    for (first, second, replayed) in [
        (&one, &one, true),
        (&one, &other, false),
        (&one, &None, false),
        (&None, &one, false),
        (&None, &None, false),
    ] {
        let account = table.open_empty(NOW).await;
        let redeem = |key| ledger.redeem(&now, &account, key, &code);
        let Outcome::Applied(answer) = redeem(first.as_ref()).await.unwrap() else {
            panic!("redeemed before");
        };
        let again = redeem(second.as_ref()).await;
        if replayed {
            assert_eq!(again.unwrap(), Outcome::Replayed(answer));
        } else {
            let existing = serde_json::to_value(answer).unwrap();
            let expected = Refusal::PromoAlreadyRedeemed { existing };
            assert_eq!(refusal(again), expected, "{first:?} {second:?}");
        }
        assert_eq!(table.audit(&account).await.balance(), 7);
    }
}

#[tokio::test]
async fn the_last_redemption_goes_to_one_and_the_counter_is_exact() {
    let table = Table::new().await;
    for (max, racers) in [(1_u64, 8_usize), (5, 12)] {
        let code = promo_code();
        let terms = Terms {
            max_redemptions: Some(max),
            lot_valid_days: Some(14),
            ..grant(7)
        };
        let now = at(NOW);
        table.ledger.put_promo(&now, &code, &terms).await.unwrap();
        let accounts = join_all((0..racers).map(|_| table.open_empty(NOW))).await;
        let answers = join_all(
            accounts
                .iter()
                .map(|account| table.ledger.redeem(&now, account, None, &code)),
        )
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(won.len() as u64, max);
        assert!(
            lost.into_iter()
                .all(|answer| refusal(answer) == Refusal::PromoExhausted)
        );
        let promo = table.ledger.promo(&now, &code).await.unwrap();
        assert_eq!(promo.redeemed, max);
        for account in &accounts {
            table.audit(account).await;
        }
    }
}

/// Several slots: whoever finds its own full takes another, until the last one of all.
#[tokio::test]
async fn a_full_slot_is_not_a_used_up_code() {
    let table = Table::new().await;
    let code = promo_code();
    let terms = |max| Terms {
        max_redemptions: Some(max),
        ..grant(1)
    };
    // Three slots for 3,000, then all but five redemptions taken away again.
    table
        .ledger
        .put_promo(&at(NOW), &code, &terms(3_000))
        .await
        .unwrap();
    table
        .ledger
        .put_promo(&at(NOW), &code, &terms(5))
        .await
        .unwrap();
    let mut redeemed = 0;
    for _ in 0..7 {
        let account = table.open_empty(NOW).await;
        match table.ledger.redeem(&at(NOW), &account, None, &code).await {
            Ok(_) => redeemed += 1,
            answer => assert_eq!(refusal(answer), Refusal::PromoExhausted),
        }
    }
    assert_eq!(redeemed, 5);
    let lowered = table.ledger.put_promo(&at(NOW), &code, &terms(4)).await;
    assert_eq!(refusal(lowered), Refusal::PromoInUse { redeemed: 5 });
}

#[test]
fn ids_follow_from_account_operation_and_key() {
    use connects::domain::ids::{AccountId, Operation, OperationId};
    let account = |text| AccountId::try_new(text).unwrap();
    let id = |of, operation, key| OperationId::derive(&account(of), operation, key);
    let one = id("a1", Operation::Spend, "k");
    assert_eq!(one, id("a1", Operation::Spend, "k"));
    assert_eq!(one.as_str().len(), 29);
    assert!(OperationId::try_new(one.as_str()).is_ok());
    for other in [
        id("a2", Operation::Spend, "k"),
        id("a1", Operation::Refund, "k"),
        id("a1", Operation::Spend, "k2"),
    ] {
        assert_ne!(one.as_str()[3..], other.as_str()[3..]);
    }
    let empty = Fingerprint::of(Operation::Spend, &());
    assert_eq!(empty.as_str().len(), 32);
}
