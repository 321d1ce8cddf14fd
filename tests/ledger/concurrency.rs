//! Many at once: one total order for each account, nothing lost, doubled or overdrawn.

use connects::domain::ids::AccountId;
use connects::domain::refund::{RefundCommand, RefundOf, RefundReason};
use connects::domain::refusal::Refusal;
use connects::domain::units::Connects;
use connects::ledger::Error;
use connects_tests::table::{Table, at, key, spend};
use futures::future::join_all;

const NOW: &str = "2026-01-10T12:00:00Z";

/// Balance 10, ten parallel spends of 2: five succeed.
#[tokio::test]
async fn ten_spends_of_two_from_ten() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    table
        .ledger
        .spend(&at(NOW), &account, &key(), &spend(40))
        .await
        .unwrap();
    let (now, command) = (at(NOW), spend(2));
    let keys: Vec<_> = (0..10).map(|_| key()).collect();
    let answers = join_all(
        keys.iter()
            .map(|one| table.ledger.spend(&now, &account, one, &command)),
    )
    .await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 5);
    for answer in refused {
        let Err(Error::Refused(Refusal::InsufficientConnects {
            available,
            required,
        })) = answer
        else {
            panic!("{answer:?}");
        };
        assert_eq!((available.get(), required.get()), (0, 2));
    }
    assert_eq!(table.audit(&account).await.balance(), 0);
}

/// What one client did and was answered: how much its acknowledged requests moved.
async fn client(table: &Table, account: &AccountId, number: u64) -> i64 {
    let now = at(NOW);
    let mut moved = 0;
    for round in 0..3 {
        let amount = 1 + (number + round) % 3;
        let Ok(spent) = table
            .ledger
            .spend(&now, account, &key(), &spend(amount))
            .await
        else {
            continue;
        };
        moved -= amount as i64;
        if number.is_multiple_of(4) {
            let refund = RefundCommand {
                of: RefundOf::SpendId(spent.into_inner().spend_id),
                amount: Some(Connects::new(1)),
                reason: RefundReason::Goodwill,
            };
            table
                .ledger
                .refund(&now, account, &key(), &refund)
                .await
                .unwrap();
            moved += 1;
        }
    }
    moved
}

#[tokio::test]
async fn sixty_four_clients_on_one_account() {
    let table = Table::new().await;
    let account = table.open(NOW).await;
    let moved = join_all((0..64).map(|number| client(&table, &account, number))).await;
    let left = 50 + moved.iter().sum::<i64>();
    assert_eq!(table.audit(&account).await.balance() as i64, left);
}

#[tokio::test]
async fn sixty_four_clients_on_many_accounts() {
    let table = Table::new().await;
    let accounts = join_all((0..8).map(|_| table.open(NOW))).await;
    let table = &table;
    let moved = join_all((0..64_u64).map(|number| {
        let account = &accounts[number as usize % accounts.len()];
        async move { (account, client(table, account, number).await) }
    }))
    .await;
    for account in &accounts {
        let mine = moved.iter().filter(|(of, _)| *of == account);
        let left = 50 + mine.map(|(_, moved)| moved).sum::<i64>();
        assert_eq!(table.audit(account).await.balance() as i64, left);
    }
}

/// A person who opens two accounts at once gets one signup bonus.
#[tokio::test]
async fn one_signup_bonus_for_a_person() {
    use connects::domain::account::{Kind, Open};
    use connects::domain::ids::PersonId;
    use connects_tests::table::{account_id, unique};
    let table = Table::new().await;
    let open = Open {
        kind: Kind::Freelancer,
        person_id: PersonId::try_new(&unique()).unwrap(),
        email: None,
        payment_customer: None,
        opened_on: None,
    };
    let ids: Vec<AccountId> = (0..4).map(|_| account_id()).collect();
    let now = at(NOW);
    join_all(
        ids.iter()
            .map(|id| table.ledger.open(&now, id, open.clone())),
    )
    .await;
    let mut balances = vec![];
    for id in &ids {
        balances.push(table.audit(id).await.balance());
    }
    balances.sort_unstable();
    assert_eq!(balances, [10, 10, 10, 50]);
}
