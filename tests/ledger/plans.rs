//! Plans: up at once with a cycle that begins anew, down with the next one; once for each request.

use std::sync::Arc;

use connects::domain::account::{Amend, Plan, Status};
use connects::domain::ids::AccountId;
use connects::domain::key::IdempotencyKey;
use connects::domain::plan_change::PlanChangeAnswer;
use connects::domain::plan_change::PlanChangeCommand::{self, Downgrade, FallBack, Upgrade};
use connects::domain::policy::{BUILT_IN, Policy};
use connects::domain::refusal::Refusal;
use connects::ledger::{Error, Outcome};
use connects_tests::table::{Table, account_id, at, audit, key, refusal, spend};
use connects_tests::wire::Clear;
use futures::future::join_all;

use super::busy::{ledger, opened};
use super::proposals::Speechless;

const OPENED: &str = "2023-10-11T09:00:00Z";

type Told = Result<Outcome<PlanChangeAnswer>, Error>;

fn applied(told: Told) -> PlanChangeAnswer {
    match told {
        Ok(Outcome::Applied(answer)) => answer,
        other => panic!("not applied: {other:?}"),
    }
}

fn issued(answer: &PlanChangeAnswer) -> Vec<(&str, u64)> {
    let items = answer.issued.iter();
    items
        .map(|item| (item.reason.as_str(), item.amount.get()))
        .collect()
}

/// One account, asked for changes.
struct World {
    table: Table,
    account: AccountId,
}

impl World {
    async fn opened() -> Self {
        let table = Table::new().await;
        let account = table.open(OPENED).await;
        Self { table, account }
    }

    async fn change(&self, now: &str, key: &IdempotencyKey, command: PlanChangeCommand) -> Told {
        let ledger = &self.table.ledger;
        ledger
            .change_plan(&at(now), &self.account, key, command)
            .await
    }

    async fn ask(&self, now: &str, command: PlanChangeCommand) -> PlanChangeAnswer {
        applied(self.change(now, &key(), command).await)
    }

    async fn suspend(&self, now: &str) {
        let amend = Amend {
            status: Some(Status::Suspended),
            email: None,
            payment_customer: None,
        };
        let ledger = &self.table.ledger;
        ledger.amend(&at(now), &self.account, amend).await.unwrap();
    }

    /// Runs the schedule: how many accounts were due, and how many entries that brought.
    async fn run(&self, now: &str) -> (u64, u64) {
        let now = at(now);
        let report = self.table.ledger.sweep_grants(&now, now.now).await.unwrap();
        assert_eq!(report.failed, 0);
        (report.accounts, report.entries)
    }

    /// The journal's reasons with their amounts, after the opening.
    async fn story(&self) -> Vec<String> {
        let journal = self.table.journal(&self.account).await;
        let told = journal.iter().skip(3);
        told.map(|entry| format!("{} {}", entry.reason, entry.amount))
            .collect()
    }
}

/// Cycle 2023-10-11 to 11-10, upgraded after ten of its 31 days.
#[tokio::test]
async fn a_plan_from_its_upgrade_to_the_cycle_after_its_downgrade() {
    let world = World::opened().await;
    let ledger = &world.table.ledger;
    let now = at("2023-10-21T08:00:00Z");
    let before = world.table.state(&world.account).await;
    let preview = ledger.preview_plan(&now, &world.account, Upgrade).await;
    let preview = preview.unwrap();
    assert_eq!(world.table.state(&world.account).await, before);

    let upgraded = world.ask("2023-10-21T08:00:00Z", Upgrade).await;
    assert_eq!(upgraded, preview);
    assert_eq!(
        issued(&upgraded),
        [("plan_included", 60), ("monthly_free", 3)]
    );
    assert_eq!(
        upgraded.account,
        ledger.account(&now, &world.account).await.unwrap()
    );
    assert_eq!(world.run("2023-11-11T00:00:00Z").await, (0, 0));
    assert_eq!(world.run("2023-11-21T00:00:00Z").await, (1, 2));

    let down = world.ask("2023-11-25T08:00:00Z", Downgrade).await;
    assert_eq!(down.effective_on.to_string(), "2023-12-21");
    world.ask("2023-11-26T08:00:00Z", Upgrade).await;
    let stored = world.table.state(&world.account).await.profile;
    assert_eq!((stored.plan, stored.pending_plan), (Plan::Plus, None));
    world.ask("2023-11-27T08:00:00Z", Downgrade).await;
    let stored = world.table.state(&world.account).await.profile;
    assert_eq!(stored.pending_plan, Some(Plan::Basic));
    assert_eq!(world.run("2023-12-21T00:00:00Z").await, (1, 2));
    let stored = world.table.state(&world.account).await.profile;
    assert_eq!((stored.plan, stored.pending_plan), (Plan::Basic, None));
    assert_eq!(world.run("2024-01-21T00:00:00Z").await, (1, 1));

    let expected = [
        "upgraded 0",
        "plan_included 60",
        "monthly_free 3",
        "plan_included 60",
        "monthly_free 10",
        "downgrade_scheduled 0",
        "downgrade_cancelled 0",
        "downgrade_scheduled 0",
        "downgraded 0",
        "monthly_free 10",
        "monthly_free 10",
    ];
    assert_eq!(world.story().await, expected);
    let balance = 50 + 63 + 70 + 10 + 10;
    assert_eq!(world.table.audit(&world.account).await.balance(), balance);
}

/// Late by three cycles, and whoever comes first: what was due is booked in its order.
#[tokio::test]
async fn a_command_books_a_downgrade_that_has_come_before_itself() {
    let world = World::opened().await;
    world.ask("2023-10-21T08:00:00Z", Upgrade).await;
    world.ask("2023-10-25T08:00:00Z", Downgrade).await;
    let late = "2024-01-25T08:00:00Z";
    let refused = world.change(late, &key(), FallBack).await;
    assert_eq!(refusal(refused), Refusal::PlanUnchanged);
    let again = world.ask(late, Upgrade).await;
    // Four of the cycle's 31 days have passed.
    assert_eq!(issued(&again), [("plan_included", 60), ("monthly_free", 1)]);
    let expected = [
        "upgraded 0",
        "plan_included 60",
        "monthly_free 3",
        "downgrade_scheduled 0",
        "downgraded 0",
        "monthly_free 10",
        "monthly_free 10",
        "monthly_free 10",
        "upgraded 0",
        "plan_included 60",
        "monthly_free 1",
    ];
    assert_eq!(world.story().await, expected);
    let journal = world.table.journal(&world.account).await;
    let downgraded = &journal[7];
    assert_eq!(
        downgraded.effective_at.to_rfc3339(),
        "2023-11-21T00:00:00+00:00"
    );
    world.table.audit(&world.account).await;
}

#[tokio::test]
async fn a_retry_is_answered_as_the_first_was() {
    let world = World::opened().await;
    let (now, one) = ("2023-10-21T08:00:00Z", key());
    let first = applied(world.change(now, &one, Upgrade).await);
    let reused = world.change(now, &one, Downgrade).await;
    assert_eq!(refusal(reused), Refusal::IdempotencyKeyReused);
    let unchanged = world.change(now, &key(), Upgrade).await;
    assert_eq!(refusal(unchanged), Refusal::PlanUnchanged);
    world.suspend("2023-10-22T08:00:00Z").await;
    for later in ["2023-10-23T08:00:00Z", "2025-12-01T08:00:00Z"] {
        let head = world.table.state(&world.account).await.head;
        let replay = world.change(later, &one, Upgrade).await;
        assert_eq!(replay.unwrap(), Outcome::Replayed(first.clone()));
        assert_eq!(world.table.state(&world.account).await.head, head);
    }
    // Keys belong to one operation: this one was not used for a spend.
    let nobody = account_id();
    let ledger = &world.table.ledger;
    let missing = ledger.change_plan(&at(now), &nobody, &one, Upgrade).await;
    assert_eq!(refusal(missing), Refusal::AccountNotFound);
    let missing = ledger.preview_plan(&at(now), &nobody, Upgrade).await;
    assert_eq!(refusal(missing), Refusal::AccountNotFound);
}

/// A cycle has just begun and nobody has booked its grant: runs, upgrades and spends all at once.
#[tokio::test]
async fn an_upgrade_beside_a_grant_and_spends() {
    for _ in 0..3 {
        let world = World::opened().await;
        let now = "2023-11-11T00:00:05Z";
        let (one, other) = (key(), key());
        let keys = [&one, &one, &one, &other, &other];
        let upgrades = keys.map(|key| world.change(now, key, Upgrade));
        let runs = (0..2).map(|_| world.run(now));
        let spends = (0..5).map(async |_| {
            let ledger = &world.table.ledger;
            let spent = ledger
                .spend(&at(now), &world.account, &key(), &spend(3))
                .await;
            spent.unwrap();
        });
        let (told, _, _) = futures::join!(join_all(upgrades), join_all(runs), join_all(spends));
        let done = told
            .iter()
            .filter(|told| matches!(told, Ok(Outcome::Applied(_))));
        assert_eq!(done.count(), 1);
        for answer in told {
            match answer {
                Ok(outcome) => {
                    let answer = outcome.into_inner();
                    assert_eq!(
                        issued(&answer),
                        [("plan_included", 60), ("monthly_free", 0)]
                    );
                }
                refused => assert_eq!(refusal(refused), Refusal::PlanUnchanged),
            }
        }
        let mut story = world.story().await;
        story.retain(|told| told != "test -3");
        let expected = ["monthly_free 10", "upgraded 0", "plan_included 60"];
        assert_eq!(story, expected);
        let model = world.table.audit(&world.account).await;
        assert_eq!(model.balance(), 50 + 10 + 60 - 15);
        assert_eq!(world.run("2023-12-11T00:00:00Z").await, (1, 2));
    }
}

/// At the start of the cycle that a downgrade waits for it is applied once, whatever else is asked.
#[tokio::test]
async fn a_downgrade_is_applied_once_beside_runs_and_other_changes() {
    let world = World::opened().await;
    world.ask("2023-10-21T08:00:00Z", Upgrade).await;
    world.ask("2023-10-25T08:00:00Z", Downgrade).await;
    let now = "2023-11-21T00:00:05Z";
    let changes = [Upgrade, Downgrade, FallBack, Upgrade, Downgrade];
    let changes = changes.map(async |command| {
        let told = world.change(now, &key(), command).await;
        (command, told)
    });
    let runs = (0..3).map(|_| world.run(now));
    let (told, _) = futures::join!(join_all(changes), join_all(runs));
    let story = world.story().await.split_off(4);
    assert_eq!(story[..2], ["downgraded 0", "monthly_free 10"]);
    let done = told.iter().filter(|(_, told)| told.is_ok()).count();
    let changes = story[2..].iter().filter(|told| told.ends_with(" 0"));
    assert_eq!(changes.count(), done, "{story:?}");
    for (command, told) in told {
        if told.is_err() {
            assert_eq!(refusal(told), Refusal::PlanUnchanged, "{command:?}");
        }
    }
    world.table.audit(&world.account).await;
}

/// An account that no cycle brings anything is in nobody's way, but for the cycle of its downgrade.
#[tokio::test]
async fn an_account_is_due_while_a_cycle_brings_it_something() {
    let table = Table::new().await;
    let account = table.open_empty(OPENED).await;
    let world = World { table, account };
    world.ask("2023-10-21T08:00:00Z", Upgrade).await;
    assert_eq!(world.run("2023-11-21T00:00:00Z").await, (0, 0));
    world.ask("2023-11-25T08:00:00Z", Downgrade).await;
    assert_eq!(world.run("2023-12-20T23:59:00Z").await, (0, 0));
    assert_eq!(world.run("2023-12-21T00:00:00Z").await, (1, 1));
    assert_eq!(world.run("2024-03-21T00:00:00Z").await, (0, 0));
    let expected = ["upgraded 0", "downgrade_scheduled 0", "downgraded 0"];
    let journal = world.table.journal(&world.account).await;
    let told = journal[1..].iter();
    let told: Vec<String> = told
        .map(|entry| format!("{} {}", entry.reason, entry.amount))
        .collect();
    assert_eq!(told, expected);

    // Where plus does bring something, an upgrade puts the account back.
    let text = BUILT_IN.replacen(
        "[grants.agency]\nbasic = []\nplus = []",
        "[grants.agency]\nbasic = []\nplus = [{ source = \"plan_included\", amount = 5 }]",
        1,
    );
    assert_ne!(text, BUILT_IN);
    let table = Table::under(Policy::parse(&text).unwrap()).await;
    let account = table.open_empty(OPENED).await;
    let world = World { table, account };
    assert_eq!(world.run("2023-11-11T00:00:00Z").await, (0, 0));
    world.ask("2023-11-15T08:00:00Z", Upgrade).await;
    assert_eq!(world.run("2023-12-15T00:00:00Z").await, (1, 1));
    world.ask("2023-12-20T08:00:00Z", FallBack).await;
    assert_eq!(world.run("2024-03-21T00:00:00Z").await, (0, 0));
    assert_eq!(world.table.audit(&world.account).await.balance(), 10);
}

/// A renewal that fails and is paid after all on the same day: the cycle's grants are not brought
/// again, on another day those of a new cycle are.
#[tokio::test]
async fn plus_on_and_off_within_a_day() {
    let world = World::opened().await;
    let day = "2023-10-21T08:00:00Z";
    world.ask(day, Upgrade).await;
    for _ in 0..2 {
        world.ask(day, FallBack).await;
        let again = world.ask(day, Upgrade).await;
        assert_eq!(issued(&again), [("plan_included", 0), ("monthly_free", 0)]);
        let stored = world.table.state(&world.account).await.profile;
        assert_eq!((stored.plan, stored.lapsed_cycle), (Plan::Plus, None));
    }
    let next = "2023-10-22T08:00:00Z";
    world.ask(next, FallBack).await;
    let again = world.ask(next, Upgrade).await;
    assert_eq!(issued(&again), [("plan_included", 60), ("monthly_free", 0)]);
    let balance = world.table.audit(&world.account).await.balance();
    assert_eq!(balance, 50 + 63 + 60);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_in_the_receipt() {
    let (table, account) = opened().await;
    let plain = ledger(&table, Arc::new(Clear));
    let now = at("2025-01-20T10:00:00Z");
    for command in [Upgrade, Downgrade, FallBack] {
        let losing = ledger(&table, Arc::new(Speechless::default()));
        let told = losing.change_plan(&now, &account, &key(), command).await;
        let Ok(Outcome::Replayed(answer)) = told else {
            panic!("{told:?}");
        };
        let stands = plain.account(&now, &account).await.unwrap();
        assert_eq!(answer.account, stands, "{command:?}");
    }
    assert_eq!(audit(plain.store(), &account).await.balance(), 50 + 63);
}
