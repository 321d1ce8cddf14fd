//! Instructions of planning a spend, counted by callgrind: the same on every machine that has the
//! same compiler, so that a check in CI can hold them.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::ValueEnum;
use connects::domain::account::{Account, Kind, Open};
use connects::domain::draft::Plan;
use connects::domain::ids::{AccountId, LotId, OperationId, PersonId, Seq};
use connects::domain::key::IdempotencyKey;
use connects::domain::lot::{Birth, Lot, Source};
use connects::domain::policy::{BUILT_IN, Policy};
use connects::domain::settle::settle;
use connects::domain::spend::SpendCommand;
use connects::domain::time::Time;
use connects::domain::units::Connects;
use connects_tests::table::{instant, spend};

use crate::report::{ratio, table, thousands, thousandths};

const NOW: &str = "2026-01-10T12:00:00Z";

const LOTS: [u32; 4] = [1, 10, 100, 1_000];

/// What each lot holds.
const EACH: u64 = 20;

/// How far a count may be from what it was, in hundredths: other versions of the C library copy
/// memory in other ways.
const TOLERANCE: u64 = 3;

/// How often the same is timed.
const TIMED: u32 = 300;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum What {
    /// Checking that what was loaded is what the newest entry sealed.
    Check,
    /// Settling and planning a spend of 1.
    Spend,
    /// The same for everything there is.
    SpendAll,
}

impl What {
    const ALL: [Self; 3] = [Self::Check, Self::Spend, Self::SpendAll];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Spend => "spend",
            Self::SpendAll => "spend-all",
        }
    }
}

/// What becomes of the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// They are shown.
    Show,
    /// They are compared with those of the last time.
    Check,
    /// They are written down for the next time.
    Record,
}

/// An account as it is loaded, and what is asked of it.
struct Scene {
    policy: Policy,
    now: Time,
    account: Account,
    id: OperationId,
    command: SpendCommand,
}

impl Scene {
    fn new(what: What, lots: u32) -> Self {
        let policy = Policy::parse(BUILT_IN).unwrap();
        let now = instant(NOW);
        let id = AccountId::try_new("agency").unwrap();
        let open = Open {
            kind: Kind::Agency,
            person_id: PersonId::try_new("person").unwrap(),
            email: None,
            payment_customer: None,
            opened_on: None,
        };
        let (mut account, _) = open.plan(&policy, now, &id, true);
        let lot = |seq| {
            Lot::issued(Birth {
                id: LotId {
                    seq: Seq::new(seq),
                    index: 0,
                },
                source: Source::Purchase,
                issued_at: now,
                expires_on: policy.expires_on(now.date_naive()),
                quantity: Connects::new(EACH),
            })
        };
        account.lots = (1..=lots.into()).map(lot).collect();
        account.stored.clone_from(&account.lots);
        let all = EACH * u64::from(lots);
        account.head.after.available = Connects::new(all);
        account.head.hash = account.head.seal(&account.lots);
        let key = IdempotencyKey::try_new("key").unwrap();
        Self {
            policy,
            now,
            id: SpendCommand::id(&account.id, &key),
            account,
            command: spend(if what == What::SpendAll { all } else { 1 }),
        }
    }
}

/// The part of a spend between reading and writing.
#[inline(never)]
fn counted_plan(scene: &Scene, account: Account) -> Plan {
    let settled = settle(&scene.policy, scene.now, account);
    let planned = scene.command.plan(settled.draft.clone(), &scene.id);
    planned.unwrap().1.unwrap()
}

/// What each load does.
#[inline(never)]
fn counted_check(account: Account) -> Account {
    let Account {
        id,
        profile,
        head,
        stored,
        ..
    } = account;
    Account::assemble(id, profile, stored, head).unwrap()
}

fn once(what: What, scene: &Scene, account: Account) {
    match what {
        What::Check => drop(black_box(counted_check(account))),
        What::Spend | What::SpendAll => drop(black_box(counted_plan(scene, account))),
    }
}

/// What runs under callgrind.
pub fn plan_once(what: What, lots: u32) {
    let scene = Scene::new(what, lots);
    once(what, &scene, scene.account.clone());
}

type Counts = BTreeMap<(What, u32), u64>;

/// Shows, checks or records the counts. False where they have grown.
pub fn run(then: Then) -> bool {
    println!(
        "`check` is what each load does: it verifies that the lots are those that the newest entry \
         sealed. `spend` settles and plans a spend of 1, `spend-all` of everything, each lot holding \
         {EACH}. Instructions by callgrind, of a build with the profile `{}`, without the release \
         build's link-time optimisation; callgrind's processor has no instructions for SHA-256, so hashing is \
         the portable code and shown apart. The time is this machine's, which may have them, for the \
         same without callgrind.\n",
        profile()
    );
    let mut counts = Counts::new();
    let mut rows = vec![];
    for lots in LOTS {
        for what in What::ALL {
            let count = count(what, lots);
            let nanoseconds = time(what, lots);
            counts.insert((what, lots), count.all);
            rows.push([
                what.as_str().to_owned(),
                thousands(lots),
                thousands(count.all),
                thousands(count.hashing),
                thousandths(nanoseconds),
                ratio(count.all - count.hashing, nanoseconds),
            ]);
        }
    }
    let heads = [
        "what",
        "live lots",
        "instructions",
        "of them hashing",
        "µs",
        "instructions beside hashing, a ns",
    ];
    table(heads, rows);
    match then {
        Then::Show => true,
        Then::Record => {
            let text = std::fs::read_to_string(recorded()).unwrap();
            let mut all = read(&text);
            all.insert(profile(), counts);
            std::fs::write(recorded(), written(&all)).unwrap();
            println!("\nWritten to {}.", recorded().display());
            true
        }
        Then::Check => holds(&counts),
    }
}

fn holds(counts: &Counts) -> bool {
    let text = std::fs::read_to_string(recorded()).unwrap();
    let were = read(&text).remove(&profile()).unwrap_or_default();
    assert_eq!(
        were.keys().collect::<Vec<_>>(),
        counts.keys().collect::<Vec<_>>(),
        "the counts of the last time are for other cases: record them anew"
    );
    let off: Vec<_> = counts
        .iter()
        .filter(|(case, now)| now.abs_diff(were[case]) * 100 > were[case] * TOLERANCE)
        .collect();
    for ((what, lots), now) in &off {
        let was = were[&(*what, *lots)];
        eprintln!(
            "{} with {lots} lots: {} instructions, {} before",
            what.as_str(),
            thousands(**now),
            thousands(was)
        );
    }
    match off.len() {
        0 => println!("\nWithin {TOLERANCE} % of the counts on record."),
        _ => eprintln!(
            "more than {TOLERANCE} % off; if it is meant: cargo local bench plans --record"
        ),
    }
    off.is_empty()
}

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/instructions.txt")
}

/// The profile that this program was built with: the folder it lies in has its name.
fn profile() -> String {
    let program = std::env::current_exe().unwrap();
    let folder = program.parent().and_then(Path::file_name).unwrap();
    folder.to_str().unwrap().to_owned()
}

fn written(counts: &BTreeMap<String, Counts>) -> String {
    let line = |profile: &String, (what, lots): &(What, u32), count: &u64| {
        format!("{profile} {} {lots} {count}\n", what.as_str())
    };
    counts
        .iter()
        .flat_map(|(profile, counts)| counts.iter().map(move |(case, n)| line(profile, case, n)))
        .collect()
}

/// The counts of each profile.
fn read(text: &str) -> BTreeMap<String, Counts> {
    text.lines().fold(BTreeMap::new(), |mut all, line| {
        let words: Vec<&str> = line.split(' ').collect();
        let what = What::from_str(words[1], false).unwrap();
        let counts: &mut Counts = all.entry(words[0].to_owned()).or_default();
        counts.insert((what, words[2].parse().unwrap()), words[3].parse().unwrap());
        all
    })
}

struct Count {
    all: u64,
    hashing: u64,
}

/// Runs this program under callgrind, which counts only inside the functions above.
fn count(what: What, lots: u32) -> Count {
    let out = std::env::temp_dir().join(format!("connects-callgrind-{}", std::process::id()));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["plan", what.as_str(), &lots.to_string()])
        .output()
        .expect("counting instructions needs valgrind");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "valgrind: {said}");
    let text = std::fs::read_to_string(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    let count = by_function(&text);
    assert!(count.all > 0, "nothing was counted");
    count
}

/// Adds up what each function did itself. In callgrind's format a line of figures is a cost of the
/// function named last; one after `calls=` is the callee's, counted there.
fn by_function(text: &str) -> Count {
    let mut names: BTreeMap<&str, bool> = BTreeMap::new();
    let mut in_hash = false;
    let mut is_callee = false;
    let mut count = Count { all: 0, hashing: 0 };
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            // "(12) name" the first time, "(12)" from then on.
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            in_hash = *names.entry(number).or_insert_with(|| name.contains("sha2"));
        } else if line.starts_with("calls=") {
            is_callee = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            let own = !std::mem::take(&mut is_callee);
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
            let cost: u64 = cost.filter(|_| own).unwrap_or_default();
            count.all += cost;
            count.hashing += if in_hash { cost } else { 0 };
        } else if let Some(name) = line.strip_prefix("cfn=") {
            // A callee may be named here first.
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            names.entry(number).or_insert_with(|| name.contains("sha2"));
        }
    }
    count
}

/// Nanoseconds of the same, the best of a few hundred: whatever else runs can only add.
fn time(what: What, lots: u32) -> u64 {
    let scene = Scene::new(what, lots);
    (0..TIMED)
        .map(|_| {
            let account = scene.account.clone();
            let begun = Instant::now();
            once(what, &scene, account);
            u64::try_from(begun.elapsed().as_nanos()).unwrap()
        })
        .min()
        .unwrap_or_default()
}
