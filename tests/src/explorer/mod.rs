//! The small world: every order of events of two or three operations on one account, at the
//! granularity of calls to the table, with calls whose answer is lost, whose process dies, that
//! conflict or arrive late. What is told and what is left at each end must be what one of the
//! orders without any concurrency tells and leaves.
//!
//! The code under test is the ledger itself over its store and the SDK; only the wire is ours.

pub mod acts;
pub mod check;
pub mod desk;
pub mod search;
pub mod world;

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use acts::{Act, Deed, Scene, Told, prepare};
use check::Judge;
use desk::at;
use search::{Grain, Search};
use world::{Items, Tamper};

/// No exploration of one set of operations takes more executions.
const MOST_EXECUTIONS: u64 = 200_000;

/// Violations that a report describes.
const DESCRIBED: usize = 2;

/// What is done at once, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Where.
    pub scene: Scene,
    /// What.
    pub acts: Vec<Act>,
}

impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acts: Vec<String> = self
            .acts
            .iter()
            .enumerate()
            .map(|(op, act)| match act.key == op {
                true => format!("{:?}", act.kind),
                false => format!("{:?} again", act.kind),
            })
            .collect();
        write!(f, "{:?}: {}", self.scene, acts.join(" × "))
    }
}

/// How a case is explored.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many faults an execution may have.
    pub faults: u32,
    /// Which points count as the same.
    pub grain: Grain,
}

/// What an exploration came to.
#[derive(Debug)]
pub struct Report {
    /// What was explored.
    pub case: Case,
    /// Executions.
    pub executions: u64,
    /// Different points.
    pub points: usize,
    /// Different ends: what each operation was told, and what the table held.
    pub ends: HashSet<(Vec<Told>, Arc<Items>)>,
    /// Ends that should not be.
    pub violations: usize,
    /// Some of them: what is wrong, and how it came to be.
    pub described: Vec<String>,
    /// Bounds that were hit: then this is not everything.
    pub bounds: Vec<String>,
}

impl Report {
    /// Whether everything was explored and all of it is as it should be.
    pub fn is_fine(&self) -> bool {
        self.violations == 0 && self.bounds.is_empty()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<44} {:>6} executions {:>6} points {:>4} ends {:>3} violations",
            self.case.to_string(),
            self.executions,
            self.points,
            self.ends.len(),
            self.violations
        )?;
        self.bounds
            .iter()
            .try_for_each(|bound| write!(f, "\n  not everything: more than {bound}"))?;
        self.described
            .iter()
            .try_for_each(|what| write!(f, "\n  {what}"))
    }
}

/// Explores cases, as many at a time as there are processors, and prints each report.
pub fn explore_all(cases: &[Case], bounds: Bounds) -> Vec<Report> {
    let next = AtomicUsize::new(0);
    let work = || {
        let claim = || cases.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(claim)
            .map(|case| {
                let report = explore(case, bounds, None);
                println!("{report}");
                report
            })
            .collect::<Vec<_>>()
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let working: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        working
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    })
}

/// The sums of many reports, in a line.
pub fn total(reports: &[Report]) -> String {
    let executions: u64 = reports.iter().map(|report| report.executions).sum();
    let points: usize = reports.iter().map(|report| report.points).sum();
    let ends: usize = reports.iter().map(|report| report.ends.len()).sum();
    let violations: usize = reports.iter().map(|report| report.violations).sum();
    let partial = reports.iter().filter(|r| !r.bounds.is_empty()).count();
    format!(
        "{} cases, {executions} executions, {points} points, {ends} ends: {violations} violations, \
         {partial} cases not explored to the end",
        reports.len()
    )
}

/// Explores a case, with a safeguard taken away if there is a `tamper`.
pub fn explore(case: &Case, bounds: Bounds, tamper: Option<Tamper>) -> Report {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(tokio::task::unconstrained(explored(case, bounds, tamper)))
}

async fn explored(case: &Case, bounds: Bounds, tamper: Option<Tamper>) -> Report {
    let acts = &case.acts;
    let (desk, ledgers) = desk::open(&acts::policy(), acts.len() + 1).await;
    let ledger = &ledgers[acts.len()];
    prepare(ledger, case.scene, acts).await;
    let start = at(&desk).state;
    let mut judge = Judge::new(&desk, ledger, case.scene, start, acts).await;
    if let Some(tamper) = tamper {
        at(&desk).world.tamper(tamper);
    }
    let search = Search {
        desk: &desk,
        ledgers: &ledgers,
        start,
        scene: case.scene,
        acts,
        faults: bounds.faults,
        grain: bounds.grain,
        most: MOST_EXECUTIONS,
    };
    let found = search.run().await;
    let mut report = Report {
        case: case.clone(),
        executions: found.executions,
        points: found.points,
        ends: HashSet::new(),
        violations: 0,
        described: vec![],
        bounds: found.bounds,
    };
    for (end, trail) in &found.ends {
        let items = at(&desk).world.items(end.state);
        report.ends.insert((end.told.clone(), items));
        let wrong = judge.wrong_with(end).await;
        if wrong.is_empty() {
            continue;
        }
        report.violations += 1;
        if report.described.len() < DESCRIBED {
            let lines = [wrong.join("\n    "), trail.join("\n      ")];
            report.described.push(lines.join("\n      "));
        }
    }
    report
}

/// Every pair of kinds, and the same request twice, at each time of the account's life.
pub fn pairs() -> Vec<Case> {
    use Deed::{
        Buy, BuyInVain, BuySlowly, ChargeBack, Open, OpenForAnother, OpenSecond, Read, ReadLots,
        Recover, Redeem, RedeemElsewhere, Refund, Spend, SpendOne, Suspend, SweepExpiry,
        SweepGrants,
    };
    let kinds = [
        Spend,
        SpendOne,
        Refund,
        Buy,
        BuySlowly,
        BuyInVain,
        Recover,
        ChargeBack,
        Redeem,
        RedeemElsewhere,
        Suspend,
        SweepGrants,
        SweepExpiry,
        Read,
        ReadLots,
    ];
    let twice = [Spend, Refund, Buy, BuySlowly, BuyInVain, ChargeBack, Redeem];
    let beginnings = [
        Open,
        OpenForAnother,
        OpenSecond,
        Spend,
        Buy,
        Redeem,
        Suspend,
        SweepGrants,
        Read,
    ];
    let different = (0..kinds.len())
        .flat_map(|one| (one..kinds.len()).map(move |two| [(kinds[one], 0), (kinds[two], 1)]));
    let same = twice.iter().map(|one| [(*one, 0), (*one, 0)]);
    let both: Vec<_> = different.chain(same).collect();
    let later = [Scene::Quiet, Scene::Due]
        .into_iter()
        .flat_map(|scene| both.iter().map(move |acts| case(scene, acts)));
    let first = beginnings
        .iter()
        .map(|two| case(Scene::New, &[(Open, 0), (*two, 1)]));
    first.chain(later).collect()
}

/// Chosen triples.
pub fn triples() -> Vec<Case> {
    use Deed::{
        Buy, BuySlowly, ChargeBack, Open, OpenSecond, Read, Recover, Redeem, RedeemElsewhere,
        Refund, Spend, SpendOne, Suspend, SweepExpiry, SweepGrants,
    };
    vec![
        case(Scene::Quiet, &[(Spend, 0), (Spend, 1), (SpendOne, 2)]),
        case(Scene::Quiet, &[(Spend, 0), (Spend, 0), (Spend, 2)]),
        case(Scene::Quiet, &[(Spend, 0), (Spend, 0), (Refund, 2)]),
        case(Scene::Quiet, &[(Refund, 0), (Refund, 1), (Spend, 2)]),
        case(Scene::Quiet, &[(ChargeBack, 0), (Spend, 1), (Redeem, 2)]),
        case(Scene::Quiet, &[(Spend, 0), (Suspend, 1), (Refund, 2)]),
        case(Scene::Quiet, &[(BuySlowly, 0), (Recover, 1), (Recover, 2)]),
        case(
            Scene::Quiet,
            &[(Redeem, 0), (RedeemElsewhere, 1), (Read, 2)],
        ),
        case(
            Scene::Due,
            &[(SweepGrants, 0), (SweepExpiry, 1), (Spend, 2)],
        ),
        case(Scene::Due, &[(Buy, 0), (ChargeBack, 1), (Spend, 2)]),
        case(Scene::New, &[(Open, 0), (Open, 1), (OpenSecond, 2)]),
        case(Scene::New, &[(Open, 0), (SpendOne, 1), (Read, 2)]),
    ]
}

/// A case of deeds, each under the key of that number.
pub fn case(scene: Scene, acts: &[(Deed, usize)]) -> Case {
    let acts = acts.iter().map(|(kind, key)| Act {
        kind: *kind,
        key: *key,
    });
    Case {
        scene,
        acts: acts.collect(),
    }
}
