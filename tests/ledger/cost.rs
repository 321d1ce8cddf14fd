//! What each operation costs, to the unit: the budget table of docs/architecture.md.

use connects_tests::cost::{Step, operations, scheduled_steps};
use connects_tests::table::capacity_is_right;

#[tokio::test]
async fn every_operation_keeps_to_its_budget() {
    operations().await.iter().for_each(keeps_to_its_budget);
}

#[tokio::test]
async fn every_scheduled_step_keeps_to_its_budget() {
    scheduled_steps().await.iter().for_each(keeps_to_its_budget);
}

fn keeps_to_its_budget(step: &Step) {
    let Step {
        operation,
        budget,
        cost,
    } = step;
    assert_eq!(cost.items_written, budget.items_written, "{operation}");
    if let Some(reading) = budget.reading {
        assert_eq!(cost.round_trips, reading.round_trips, "{operation}");
    }
    if !capacity_is_right() {
        return;
    }
    assert_eq!(
        cost.write_units, budget.write_units,
        "{operation}: write units"
    );
    if let Some(reading) = budget.reading {
        let beside = reading.beside_state * 10;
        let state = cost.read_tenths.checked_sub(beside);
        assert!(
            state.is_some_and(|tenths| tenths == 0 || (5..=20).contains(&tenths)),
            "{operation}: {} tenths of read units, {beside} beside the state's",
            cost.read_tenths
        );
    }
}
