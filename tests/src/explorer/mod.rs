//! The small world: every order of events of two or three operations on one account, at the
//! granularity of calls to the table, with calls whose answer is lost, whose process dies, that
//! conflict or arrive late. What is told and what is left at each end must be what one of the
//! orders without any concurrency tells and leaves.
//!
//! The code under test is the ledger itself over its store and the SDK; only the wire is ours.

pub mod acts;
pub mod auctions;
pub mod badges;
pub mod check;
pub mod desk;
pub mod holds;
pub mod market;
pub mod operation;
pub mod search;
pub mod world;

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use connects::domain::closure::ClosureReason::{ClientCancelled, Expired, Fraud};
use connects::ledger::Ledger;
use tokio::runtime::Runtime;
use tokio::task::unconstrained;

use acts::{Act, Deed, Scene, Told, prepare};
use check::{Finished, Judge};
use desk::{SharedDesk, at};
use operation::{Grain, Operations, clock};
use search::Search;
use world::{Items, StateId, Tamper, honest};

/// No case has more points.
const MOST_POINTS: usize = 1_000_000;

/// Bytes of stack: one poll goes through every operation that a scene is made of, and through all that they
/// call, and a build for tests keeps what each has apart.
const STACK: usize = 16 << 20;

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
    /// Different orders of events.
    pub orders: u128,
    /// How often an operation was run.
    pub runs: u64,
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
            "{:<36} {:>12} orders {:>6} points {:>5} runs {:>3} ends {:>3} violations",
            self.case.to_string(),
            self.orders,
            self.points,
            self.runs,
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
        let mut explorer = Explorer::new();
        let claim = || cases.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(claim)
            .map(|case| {
                let report = explorer.explore(case, bounds);
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
    let orders = reports.iter().map(|report| report.orders);
    let orders = orders.fold(0, u128::saturating_add);
    let runs: u64 = reports.iter().map(|report| report.runs).sum();
    let points: usize = reports.iter().map(|report| report.points).sum();
    let ends: usize = reports.iter().map(|report| report.ends.len()).sum();
    let violations: usize = reports.iter().map(|report| report.violations).sum();
    let partial = reports.iter().filter(|r| !r.bounds.is_empty()).count();
    format!(
        "{} cases, {orders} orders, {points} points, {runs} runs, {ends} ends: {violations} violations, \
         {partial} cases not explored to the end",
        reports.len()
    )
}

/// A table and all that is known of it, and of what operations do, by now.
#[derive(Debug)]
pub struct Explorer {
    runtime: Runtime,
    desk: SharedDesk,
    ledger: Ledger,
    operations: Operations,
    tamper: Tamper,
    starts: HashMap<Start, StateId>,
    finished: Finished,
}

/// Where a case begins: its scene, and what of it depends on its acts.
type Start = (Scene, Vec<Deed>);

impl Explorer {
    /// With everything in its place.
    pub fn new() -> Self {
        Self::without(honest)
    }

    /// With a safeguard taken away: calls are changed on their way to the table.
    pub fn without(tamper: Tamper) -> Self {
        let runtime = clock();
        let (desk, ledger) = runtime.block_on(desk::open(&acts::policy()));
        // Where the job's closures are due is known before anything asks.
        runtime.block_on(unconstrained(market::close_once(&ledger)));
        Self {
            runtime,
            operations: Operations::new(desk.clone(), ledger.clone()),
            desk,
            ledger,
            tamper,
            starts: HashMap::new(),
            finished: Finished::new(),
        }
    }

    /// Explores a case.
    pub fn explore(&mut self, case: &Case, bounds: Bounds) -> Report {
        stacker::grow(STACK, || self.explored(case, bounds))
    }

    fn explored(&mut self, case: &Case, bounds: Bounds) -> Report {
        let Self {
            runtime,
            desk,
            ledger,
            operations,
            ..
        } = self;
        let (acts, scene) = (&case.acts, case.scene);
        let needed = acts.iter().map(|act| act.kind);
        let needed = needed.filter(|deed| deed.needs_more());
        let start = *self
            .starts
            .entry((scene, needed.collect()))
            .or_insert_with(|| {
                at(desk).begin_anew();
                runtime.block_on(unconstrained(prepare(ledger, scene, acts)));
                at(desk).state
            });
        at(desk).world.tamper(honest);
        let judge = Judge::new(desk, ledger, scene, start, acts, &mut self.finished);
        let mut judge = runtime.block_on(unconstrained(judge));
        at(desk).world.tamper(self.tamper);
        let search = Search {
            desk,
            start,
            scene,
            acts,
            faults: bounds.faults,
            grain: bounds.grain,
            most: MOST_POINTS,
        };
        let runs = operations.runs;
        let found = search.run(operations);
        let mut report = Report {
            case: case.clone(),
            orders: found.orders,
            runs: operations.runs - runs,
            points: found.points,
            ends: HashSet::new(),
            violations: 0,
            described: vec![],
            bounds: found.bounds,
        };
        for (end, trail) in &found.ends {
            let items = at(desk).world.items(end.state);
            report.ends.insert((end.told.clone(), items));
            let wrong = runtime.block_on(unconstrained(judge.wrong_with(end)));
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
}

impl Default for Explorer {
    fn default() -> Self {
        Self::new()
    }
}

/// Every pair of kinds, and the same request twice, at each time of the account's life.
pub fn pairs() -> Vec<Case> {
    use Deed::{
        Buy, BuyInVain, BuySlowly, ChargeBack, FallBack, Interview, Open, OpenForAnother,
        OpenSecond, Propose, Read, Recover, Redeem, RedeemElsewhere, Refund, RefundProposal,
        Reward, Spend, StayOnPlus, Suspend, SweepExpiry, SweepGrants, Upgrade,
    };
    let kinds = [
        Spend,
        Refund,
        Buy,
        BuySlowly,
        BuyInVain,
        Recover,
        ChargeBack,
        Redeem,
        Reward,
        Upgrade,
        Suspend,
        SweepGrants,
        SweepExpiry,
        Read,
    ];
    let twice = [
        Spend,
        Refund,
        Buy,
        BuySlowly,
        BuyInVain,
        ChargeBack,
        Redeem,
        Reward,
        Upgrade,
        StayOnPlus,
        FallBack,
        Propose,
        Interview,
        RefundProposal,
    ];
    let downwards = [Spend, Upgrade, Suspend, SweepGrants, SweepExpiry, Read];
    let beginnings = [
        Open,
        OpenForAnother,
        OpenSecond,
        Spend,
        Buy,
        Redeem,
        Upgrade,
        Suspend,
        SweepGrants,
        Read,
    ];
    let different = each_with_each(&kinds);
    let same = twice.iter().map(|one| [(*one, 0), (*one, 0)]);
    let elsewhere = [(Redeem, 0), (RedeemElsewhere, 1)];
    let down = downwards
        .iter()
        .flat_map(|other| [StayOnPlus, FallBack].map(|one| [(one, 0), (*other, 1)]));
    let beside_jobs = [Spend, ChargeBack, Suspend, SweepGrants, SweepExpiry];
    let of_jobs = beside_jobs
        .iter()
        .flat_map(|other| [Propose, Interview].map(|one| [(one, 0), (*other, 1)]));
    let of_one_job = [
        [(Interview, 0), (RefundProposal, 1)],
        [(Interview, 0), (Propose, 1)],
        [(Interview, 0), (Interview, 1)],
        [(Propose, 0), (Propose, 1)],
    ];
    let either = [(StayOnPlus, 0), (FallBack, 1)];
    let rewards = [(Reward, 0), (Reward, 1)];
    let both: Vec<_> = different
        .chain(same)
        .chain(down)
        .chain(of_jobs)
        .chain(of_one_job)
        .chain([elsewhere, either, rewards])
        .collect();
    let later = [Scene::Quiet, Scene::Due]
        .into_iter()
        .flat_map(|scene| both.iter().map(move |acts| case(scene, acts)));
    let first = beginnings
        .iter()
        .map(|two| case(Scene::New, &[(Open, 0), (*two, 1)]));
    first.chain(later).collect()
}

/// Pairs and a triple about purchases with single-use codes. Such a purchase is judged when it begins and takes
/// effect when it is paid. So two pairs come to what no order comes to, as they should, and are none of these: who
/// is refused because of a purchase that is declined afterwards, and one that is credited to an account that
/// was suspended since.
pub fn code_cases() -> Vec<Case> {
    use Deed::{
        BuyWithAnother, BuyWithCode, BuyWithCodeElsewhere, BuyWithCodeInVain, ChargeBack, Recover,
        Spend, SweepGrants,
    };
    let beside = [Recover, Spend, SweepGrants, ChargeBack];
    let beside = beside
        .iter()
        .flat_map(|other| [BuyWithCode, BuyWithCodeInVain].map(|one| [(one, 0), (*other, 1)]));
    let of_codes = [
        [(BuyWithCode, 0), (BuyWithCode, 0)],
        [(BuyWithCode, 0), (BuyWithCode, 1)],
        [(BuyWithCode, 0), (BuyWithAnother, 1)],
        [(BuyWithCode, 0), (BuyWithCodeElsewhere, 1)],
        [(BuyWithAnother, 0), (BuyWithCodeElsewhere, 1)],
        [(BuyWithCodeInVain, 0), (BuyWithCodeInVain, 0)],
    ];
    let pairs: Vec<_> = beside.chain(of_codes).collect();
    let pairs = [Scene::Quiet, Scene::Due]
        .into_iter()
        .flat_map(|scene| pairs.iter().map(move |acts| case(scene, acts)));
    let race = [(BuyWithCode, 0), (BuyWithCodeElsewhere, 1), (Recover, 2)];
    pairs.chain([case(Scene::Quiet, &race)]).collect()
}

/// Chosen triples.
pub fn triples() -> Vec<Case> {
    use Deed::{
        Buy, BuySlowly, ChargeBack, FallBack, Interview, Open, OpenSecond, Read, Recover, Redeem,
        RedeemElsewhere, Refund, RefundProposal, Spend, SpendOne, StayOnPlus, Suspend, SweepExpiry,
        SweepGrants, Upgrade,
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
        case(Scene::Due, &[(Upgrade, 0), (SweepGrants, 1), (Spend, 2)]),
        case(
            Scene::Quiet,
            &[(Interview, 0), (RefundProposal, 1), (Spend, 2)],
        ),
        case(
            Scene::Due,
            &[(StayOnPlus, 0), (FallBack, 1), (SweepGrants, 2)],
        ),
        case(Scene::New, &[(Open, 0), (Open, 1), (OpenSecond, 2)]),
        case(Scene::New, &[(Open, 0), (SpendOne, 1), (Read, 2)]),
    ]
}

/// Pairs about a job, and one with an account's own life beside it.
pub fn market_pairs() -> Vec<Case> {
    use Deed::{Job, Spend, SpendOne, Suspend};
    use market::Deed::{
        Close, Contract, Hire, Interview, Propose, ProposeAnyhow, ProposeElsewhere, ReadJob,
        ReadProposal, Refund, Reprice, Settle, Sweep, Withdraw,
    };
    let at_first = [
        Job(Propose),
        Job(ProposeAnyhow),
        Job(ProposeElsewhere),
        Job(Reprice),
        Job(Contract),
        Job(Close(ClientCancelled)),
        Job(Close(Fraud)),
        Job(Settle(Fraud)),
        Job(ReadJob),
        Spend,
        Suspend,
    ];
    let then = [
        Job(Propose),
        Job(Withdraw),
        Job(Refund),
        Job(Interview),
        Job(Hire),
        Job(Contract),
        Job(Close(ClientCancelled)),
        Job(Close(Expired)),
        Job(Settle(Expired)),
        Job(ReadProposal),
        SpendOne,
    ];
    let at_last = [
        Job(Propose),
        Job(Withdraw),
        Job(Refund),
        Job(Interview),
        Job(Hire),
        Job(Contract),
        Job(Close(ClientCancelled)),
        Job(Close(Fraud)),
        Job(Settle(ClientCancelled)),
        Job(Sweep),
        Job(ReadJob),
        Job(ReadProposal),
        Spend,
        Suspend,
    ];
    let twice = [
        (Scene::Posted, Job(Propose)),
        (Scene::Posted, Job(Close(Fraud))),
        (Scene::Proposed, Job(Refund)),
        (Scene::Proposed, Job(Interview)),
    ];
    let twice = twice.map(|(scene, deed)| case(scene, &[(deed, 0), (deed, 0)]));
    let pairs = [
        (Scene::Posted, &at_first[..]),
        (Scene::Proposed, &then),
        (Scene::Cancelled, &at_last),
    ]
    .into_iter()
    .flat_map(|(scene, deeds)| each_with_each(deeds).map(move |acts| case(scene, &acts)));
    pairs
        // What is nothing about a job is with the others.
        .filter(|case| case.acts.iter().any(|act| matches!(act.kind, Job(_))))
        .chain(twice)
        .collect()
}

/// Chosen triples about a job.
pub fn market_triples() -> Vec<Case> {
    use Deed::{Job, Spend};
    use market::Deed::{
        Close, Interview, Propose, ProposeElsewhere, Refund, Reprice, Settle, Sweep, Withdraw,
    };
    let expired = Job(Settle(Expired));
    let cancelled = Job(Settle(ClientCancelled));
    let fraud = [Job(Close(Fraud)), Job(Settle(Fraud))];
    vec![
        triple(Scene::Posted, [Job(Propose), fraud[0], fraud[1]]),
        triple(
            Scene::Posted,
            [Job(Propose), Job(ProposeElsewhere), fraud[0]],
        ),
        triple(Scene::Posted, [Job(Propose), Job(Propose), Job(Reprice)]),
        triple(Scene::Proposed, [Job(Withdraw), fraud[0], fraud[1]]),
        triple(Scene::Proposed, [Job(Close(Expired)), fraud[0], fraud[1]]),
        triple(Scene::Expired, [expired, fraud[0], fraud[1]]),
        triple(Scene::Cancelled, [cancelled, fraud[0], fraud[1]]),
        triple(Scene::Cancelled, [cancelled, Job(Interview), Job(Refund)]),
        triple(Scene::Cancelled, [cancelled, Job(Sweep), Spend]),
    ]
}

/// Pairs about a hold.
pub fn hold_pairs() -> Vec<Case> {
    use Deed::{ChargeBack, Read, Spend, Suspend, SweepExpiry, SweepGrants};
    use holds::Deed::{Capture, CapturePart, Hold, Release, Sweep};
    let of_it = [Hold, Capture, CapturePart, Release, Sweep].map(Deed::Hold);
    let beside = [Spend, ChargeBack, Suspend, SweepGrants, SweepExpiry, Read];
    let twice = [Hold, Capture, CapturePart, Release].map(Deed::Hold);
    let [_, capture, part, _] = twice;
    let twice = twice.map(|one| [(one, 0), (one, 0)]);
    let with_others = of_it
        .iter()
        .flat_map(|one| beside.map(|other| [(*one, 0), (other, 1)]))
        // That schedule is the one of lots and the one of holds, one after the other.
        .filter(|[one, other]| (one.0, other.0) != (Deed::Hold(Sweep), SweepExpiry));
    let both: Vec<_> = each_with_each(&of_it)
        .chain(twice)
        .chain([[(capture, 0), (part, 0)]])
        .chain(with_others)
        .collect();
    [Scene::Quiet, Scene::Due]
        .into_iter()
        .flat_map(|scene| both.iter().map(move |acts| case(scene, acts)))
        .collect()
}

/// Chosen triples about a hold.
pub fn hold_triples() -> Vec<Case> {
    use Deed::{ChargeBack, Spend, SweepExpiry};
    use holds::Deed::{Capture, CapturePart, Hold, Release, Sweep};
    let all = [Hold, Capture, CapturePart, Release, Sweep].map(Deed::Hold);
    let [hold, capture, part, release, sweep] = all;
    [
        (Scene::Quiet, [capture, release, sweep]),
        (Scene::Quiet, [capture, capture, release]),
        (Scene::Quiet, [hold, Spend, release]),
        (Scene::Quiet, [part, ChargeBack, Spend]),
        (Scene::Due, [part, sweep, sweep]),
        (Scene::Due, [sweep, Spend, hold]),
        (Scene::Due, [release, SweepExpiry, Spend]),
    ]
    .into_iter()
    .map(|(scene, deeds)| triple(scene, deeds))
    .collect()
}

/// Pairs about an auction: bids over both accounts, and what ends it.
pub fn auction_pairs() -> Vec<Case> {
    use Deed::{Auction, Job, Spend, Suspend};
    use auctions::Deed::{
        Bid, BidElsewhere, Hire, Interaction, Propose, ProposeElsewhere, Raise, Read, Sweep,
    };
    use market::Deed::{Close, ReadProposal, Settle, Withdraw};
    let close = Job(Close(ClientCancelled));
    let settle = Job(Settle(ClientCancelled));
    let [bid, raise, elsewhere, hire] = [Bid, Raise, BidElsewhere, Hire].map(Auction);
    let [looked, sweep, read, mine] = [
        Auction(Interaction),
        Auction(Sweep),
        Auction(Read),
        Job(ReadProposal),
    ];
    let (withdraw, expired) = (Job(Withdraw), Job(Close(Expired)));
    // Each of the first with each of the others, and all of the first with each other.
    let lists = [
        (
            Scene::Posted,
            vec![Auction(Propose)],
            vec![Auction(ProposeElsewhere), close, hire, sweep, read, Spend],
        ),
        (
            Scene::Proposed,
            vec![bid],
            vec![elsewhere, close, hire, withdraw, read, mine, Spend, Suspend],
        ),
        (
            Scene::Led,
            vec![elsewhere],
            vec![
                raise, looked, hire, close, expired, sweep, withdraw, read, mine, Spend, Suspend,
            ],
        ),
        (
            Scene::Led,
            vec![looked, hire],
            vec![raise, close, sweep, withdraw, read, mine, Spend],
        ),
        (
            Scene::Over,
            vec![sweep, hire],
            vec![raise, looked, close, withdraw, read, mine, Spend, Suspend],
        ),
        (
            Scene::Dropped,
            vec![settle, sweep],
            vec![raise, looked, hire, withdraw, read, mine, Spend],
        ),
        (
            Scene::Releasing,
            vec![sweep, raise],
            vec![close, withdraw, read, mine, hire, Spend, Suspend],
        ),
    ];
    let different = lists.into_iter().flat_map(|(scene, these, those)| {
        let with_those = |(n, one): (usize, &Deed)| {
            let others = these[n..].iter().chain(&those);
            let both = others.map(|other| case(scene, &[(*one, 0), (*other, 1)]));
            both.collect::<Vec<_>>()
        };
        these
            .iter()
            .enumerate()
            .flat_map(with_those)
            .collect::<Vec<_>>()
    });
    let twice = [
        (Scene::Posted, Auction(Propose)),
        (Scene::Proposed, bid),
        (Scene::Led, raise),
    ];
    let twice = twice.map(|(scene, deed)| case(scene, &[(deed, 0), (deed, 0)]));
    different.chain(twice).collect()
}

/// Chosen triples about an auction.
pub fn auction_triples() -> Vec<Case> {
    use auctions::Deed::{Hire, Interaction, Read, Sweep};
    let [interaction, hire, sweep, read] = [Interaction, Hire, Sweep, Read].map(Deed::Auction);
    [
        (Scene::Led, [interaction, hire, sweep]),
        (Scene::Led, [hire, sweep, Deed::Spend]),
        (Scene::Over, [hire, sweep, read]),
    ]
    .into_iter()
    .map(|(scene, deeds)| triple(scene, deeds))
    .collect()
}

/// Pairs about a badge: on a day without one, and when its paid week is just over.
pub fn badge_pairs() -> Vec<Case> {
    use Deed::{Badge, Suspend};
    use badges::Deed::{Put, PutLess, PutMore, Read, ReadPrice, Renew, Spend, TurnOff};
    let lists = [
        (Scene::Quiet, Put, vec![PutMore, PutLess, ReadPrice]),
        (
            Scene::Badged,
            Renew,
            vec![Renew, PutMore, PutLess, TurnOff, Spend, Read],
        ),
        (Scene::Badged, TurnOff, vec![Put, Spend]),
    ];
    let pairs = lists.into_iter().flat_map(|(scene, one, others)| {
        let pair = move |other| case(scene, &[(Badge(one), 0), (Badge(other), 1)]);
        others.into_iter().map(pair)
    });
    let twice = case(Scene::Quiet, &[(Badge(Put), 0), (Badge(Put), 0)]);
    let beside = case(Scene::Badged, &[(Badge(Renew), 0), (Suspend, 1)]);
    pairs.chain([twice, beside]).collect()
}

/// Every two of them, and each with itself.
fn each_with_each(deeds: &[Deed]) -> impl Iterator<Item = [(Deed, usize); 2]> {
    let pairs = (0..deeds.len()).flat_map(|one| (one..deeds.len()).map(move |two| (one, two)));
    pairs.map(|(one, two)| [(deeds[one], 0), (deeds[two], 1)])
}

fn triple(scene: Scene, deeds: [Deed; 3]) -> Case {
    let acts: Vec<_> = deeds.into_iter().zip(0..).collect();
    case(scene, &acts)
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
