//! What a client that repeats itself can rely on: one table of every route that can change something,
//! and for each of them the same request again, under the same key with another body, fifty times at
//! once, while the first is under way, long after, and after a 503.
//!
//! What a single request does is not written down: a world made alike, in which it is asked once,
//! says it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use connects::domain::ids::AccountId;
use connects_tests::client::{Answer, Request};
use connects_tests::door::Door;
use connects_tests::holder::Holder;
use connects_tests::items::Item;
use connects_tests::stack::{Stack, fresh, fresh_code};
use connects_tests::table::{self, batch_name};
use connects_tests::wire::{Call, Failing, HeldOnce, Layer, Losing, Way};
use futures::future::{join, join_all};
use serde_json::{Value, json};

use crate::world::{NOW, Route, World, world};

/// When the lots of every world are long gone.
const LATER: &str = "2054-02-01";

/// How many ask at once.
const CROWD: usize = 50;

/// What a request is answered that is not the first of its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Again {
    /// The first answer, marked as such. Under another key it is another operation.
    Replayed,
    /// The first answer, marked as such. Under another key, or none: 409 with that code.
    ReplayedOrElse(&'static str),
    /// Where it stands by now, marked as such: it may be under way still.
    Standing,
    /// It asks for a state: how that is, with this status.
    Told(u16),
}

use Again::{Replayed, ReplayedOrElse, Standing, Told};

/// What another body is answered, under the same key where there is one.
#[derive(Debug, Clone)]
enum Other {
    /// There is no other that would be accepted.
    None,
    /// 422 `idempotency_key_reused`.
    Reused(Value),
    /// It asks for another state than there can be.
    Refused(Value, u16, &'static str),
    /// It asks for another state, and gets it.
    Applied(Value),
}

/// The table: a route's first status, and what comes after.
fn rule(route: &str) -> (u16, Again, Other) {
    use Other::{Applied, Refused, Reused};
    let none = Other::None;
    match route {
        "open" => {
            let other = json!({ "kind": "agency", "person_id": "another" });
            (201, Told(200), Refused(other, 409, "account_exists"))
        }
        "amend" => {
            let other = json!({ "email": "another@example.org" });
            (200, Told(200), Applied(other))
        }
        "mail preferences" => (200, Told(200), Applied(json!({ "muted": ["promo"] }))),
        "purchase" => (201, Standing, Reused(json!({ "quantity": 20 }))),
        "chargeback" => (200, ReplayedOrElse("already_charged_back"), none),
        "reversal" => (200, ReplayedOrElse("purchase_not_charged_back"), none),
        "spend" => {
            let other = json!({ "amount": 6, "reason": "application", "reference": "job:J-1" });
            (201, Replayed, Reused(other))
        }
        "hold" => {
            let other = json!({ "amount": 6, "reason": "listing" });
            (201, Replayed, Reused(other))
        }
        "capture" => {
            let other = Reused(json!({ "amount": 2 }));
            (200, ReplayedOrElse("hold_not_open"), other)
        }
        "release" => (200, ReplayedOrElse("hold_not_open"), none),
        "refund" => {
            // All that is left of it, instead of one.
            (201, Replayed, Reused(json!({ "reason": "goodwill" })))
        }
        "propose" => {
            let other = Reused(json!({ "expected_cost": 11 }));
            (201, ReplayedOrElse("already_proposed"), other)
        }
        "withdraw" | "interaction" | "badge off" | "low balance off" => (200, Told(200), none),
        "decide" => (200, Told(200), Applied(json!({ "outcome": "hired" }))),
        "bid" => {
            let other = Reused(json!({ "amount": 4 }));
            (200, ReplayedOrElse("bid_not_raised"), other)
        }
        "reward" => {
            let client = json!({ "hires": 2, "spend": { "amount": 1, "currency": "USD" } });
            let other = Reused(json!({ "client": client }));
            (201, ReplayedOrElse("reward_already_given"), other)
        }
        "badge on" => (201, Told(200), Applied(json!({ "max_weekly": 11 }))),
        "low balance on" => (200, Told(200), Applied(json!({ "threshold": 2 }))),
        "change plan" => (200, Replayed, Reused(json!({ "plan": "basic" }))),
        // Its body is its natural key: another code is another operation.
        "redeem" => (201, ReplayedOrElse("promo_already_redeemed"), none),
        "make codes" => {
            let other = Reused(json!({ "count": 6 }));
            (201, ReplayedOrElse("promo_exists"), other)
        }
        "put promo" => (201, Told(200), Applied(json!({ "quantity": 6 }))),
        "post job" => (201, Told(200), Applied(json!({ "duration_weeks": 60 }))),
        "contract" => (202, Told(202), Applied(json!({ "account_id": "another" }))),
        "close" => (202, Told(202), Applied(json!({ "reason": "fraud" }))),
        _ => panic!("{route} can change something: what is it when it is repeated?"),
    }
}

/// A route with whom it is asked for, and the key that it is asked under.
struct Case<'a> {
    stack: &'a Stack,
    name: &'static str,
    route: Route,
    holder: Holder<'a>,
    key: String,
    status: u16,
    again: Again,
    other: Other,
}

/// Everything that can be changed, in a world of its own.
async fn cases(stack: &Stack) -> Vec<Case<'_>> {
    let World { ana, routes, .. } = world(stack).await;
    let newcomer = stack.holder("newcomer");
    let bea = stack.freelancer("2052-01-15").await;
    let mut cases = vec![];
    for mut route in routes.into_iter().filter(Route::changes) {
        // In that world these would change nothing.
        let holder = match route.name {
            "open" => &newcomer,
            "badge on" | "low balance on" => &bea,
            _ => &ana,
        };
        match route.name {
            "put promo" => route.path = format!("/v1/promos/{}", fresh_code()),
            "make codes" => route.path = format!("/v1/promos/{}/codes", batch_name()),
            "post job" => route.path = format!("/v1/jobs/{}", fresh("job")),
            _ => {}
        }
        let (status, again, other) = rule(route.name);
        cases.push(Case {
            stack,
            name: route.name,
            route,
            holder: holder.clone(),
            key: fresh("key"),
            status,
            again,
            other,
        });
    }
    cases
}

/// What is left behind: the partitions that a request is about.
type Traces = Vec<BTreeMap<String, Item>>;

impl<'a> Case<'a> {
    /// The request, under its key if it can have one.
    fn request(&self) -> Request<'a> {
        let request = self.route.good(self.stack, &self.holder.id);
        match self.again {
            Told(_) => request,
            _ => request.key(&self.key),
        }
    }

    /// The same with other members.
    fn with(&self, members: &Value) -> Request<'a> {
        let mut body = self.route.body.clone().unwrap();
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        if self.name == "refund" {
            body.as_object_mut().unwrap().remove("amount");
        }
        self.request().json(body)
    }

    async fn traces(&self) -> Traces {
        let segments: Vec<&str> = self.route.path.split('/').collect();
        let after = |word: &str| {
            let place = segments.iter().position(|segment| *segment == word)?;
            segments.get(place + 1).copied()
        };
        let proposed = after("proposals").filter(|id| *id != "{}");
        let member = |name: &str| self.route.body.as_ref()?[name].as_str();
        let of = |kind: &str, id: Option<&str>| Some(format!("{kind}#{}", id?));
        let partitions = [
            of("ACCOUNT", Some(&self.holder.id)),
            of("JOB", after("jobs").or(member("job_id")).or(proposed)),
            of("PROMO", after("promos").or(member("code"))),
        ];
        let read = partitions.iter().flatten().map(|pk| self.stack.items(pk));
        let mut traces = join_all(read).await;
        if self.name == "close" {
            // What closing gives back is on its way by itself; what counts is that it is noted.
            traces
                .iter_mut()
                .flatten()
                .for_each(|(_, item)| item.clear());
        }
        traces
    }

    /// The journal in words.
    async fn story(&self) -> Vec<String> {
        let id = AccountId::try_new(&self.holder.id).unwrap();
        let journal = table::journal(&self.stack.store(), &id).await;
        let told = journal.iter().map(|entry| {
            let (kind, reason) = (entry.entry_type, &entry.reason);
            format!("{kind:?} {reason:?} {} -> {:?}", entry.amount, entry.after)
        });
        told.collect()
    }

    /// Does something, and gives what it added to the journal.
    async fn added(&self, doing: impl Future<Output = ()>) -> Vec<String> {
        let before = self.story().await;
        doing.await;
        self.story().await.split_off(before.len())
    }

    /// Asked for the first time, and alone.
    async fn first(&self) -> Answer {
        let answer = self.request().await.is(self.status);
        assert!(!answer.replayed(), "{}", self.name);
        answer
    }

    /// Checks what is answered once the first was.
    fn is_again(&self, answer: Answer, first: &Answer) {
        let name = self.name;
        match self.again {
            Told(status) => {
                assert!(!answer.is(status).replayed(), "{name}");
            }
            Standing => {
                let answer = answer.is(self.status);
                assert!(answer.replayed(), "{name}");
                assert_eq!(answer["purchase_id"], first["purchase_id"]);
                assert_eq!(answer["status"], "paid");
            }
            Replayed | ReplayedOrElse(_) => {
                let answer = answer.is(self.status);
                assert!(answer.replayed(), "{name}");
                assert_eq!(answer.text, first.text, "{name}");
            }
        }
    }

    /// Checks what several were answered who asked at once: one of them was the first.
    fn are_one(&self, answers: &[Answer]) {
        let name = self.name;
        let first_hand = |answer: &&Answer| !answer.replayed();
        match self.again {
            Told(status) => {
                let expected = HashSet::from([self.status, status]);
                let seen: HashSet<u16> = answers.iter().map(|answer| answer.status).collect();
                assert_eq!(seen, expected, "{name}");
                let first = answers.iter().filter(|a| a.status == self.status).count();
                assert!(status == self.status || first == 1, "{name}: {first}");
            }
            Standing => {
                assert_eq!(answers.iter().filter(first_hand).count(), 1, "{name}");
                for answer in answers {
                    let stands = (answer.status, answer["status"].as_str());
                    let known = [(201, Some("paid")), (202, Some("pending"))];
                    assert!(known.contains(&stands), "{name}: {}", answer.text);
                    assert_eq!(answer["purchase_id"], answers[0]["purchase_id"]);
                }
            }
            Replayed | ReplayedOrElse(_) => {
                assert_eq!(answers.iter().filter(first_hand).count(), 1, "{name}");
                for answer in answers {
                    let told = (answer.status, &answer.text);
                    assert_eq!(told, (self.status, &answers[0].text), "{name}");
                }
            }
        }
    }
}

/// What one request adds to the journal, by route.
async fn alone(stack: &Stack) -> BTreeMap<&'static str, Vec<String>> {
    let mut effects = BTreeMap::new();
    for case in cases(stack).await {
        let added = case.added(async { drop(case.first().await) }).await;
        effects.insert(case.name, added);
    }
    effects
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_another_body_is_another_matter() {
    let stack = Stack::local();
    for case in cases(&stack).await {
        let name = case.name;
        let before = case.traces().await;
        let first = case.first().await;
        let after = case.traces().await;
        assert!(before != after, "{name} changes nothing");
        case.is_again(case.request().await, &first);
        assert!(case.traces().await == after, "{name}, the same again");
        match &case.other {
            Other::None => {}
            Other::Reused(other) => {
                let answer = case.with(other).await;
                answer.refused(422, "idempotency_key_reused");
                assert!(case.traces().await == after, "{name}, another body");
            }
            Other::Refused(other, status, code) => {
                case.with(other).await.refused(*status, code);
                assert!(case.traces().await == after, "{name}, another body");
            }
            Other::Applied(other) => {
                let status = if case.status == 202 { 202 } else { 200 };
                case.with(other).await.is(status);
                assert!(case.traces().await != after, "{name}, another body");
            }
        }
        let after = case.traces().await;
        let rekeyed = || case.request().key(fresh("another"));
        match case.again {
            ReplayedOrElse(code) => {
                let keyless = case.request().without("idempotency-key");
                let keyless = (!case.route.key).then_some(keyless);
                for request in [rekeyed()].into_iter().chain(keyless) {
                    let refused = request.await.refused(409, code);
                    let what = ["existing", "bid"].map(|member| !refused[member].is_null());
                    assert!(what.contains(&true), "{name}: {}", refused.text);
                }
                assert!(case.traces().await == after, "{name}, another key");
            }
            // There is no more to change the plan to.
            Replayed if name == "change plan" => {
                rekeyed().await.refused(409, "plan_unchanged");
            }
            Replayed | Standing => {
                assert!(!rekeyed().await.is(case.status).replayed(), "{name}");
                assert!(case.traces().await != after, "{name}, another key");
            }
            Told(_) => {}
        }
    }
}

#[tokio::test]
async fn fifty_at_once_are_one() {
    let stack = Stack::local();
    let effects = alone(&stack).await;
    for case in cases(&stack).await {
        let at_once = async {
            let crowd = (0..CROWD).map(|_| async { case.request().await });
            case.are_one(&join_all(crowd).await);
        };
        assert_eq!(
            case.added(at_once).await,
            effects[case.name],
            "{}",
            case.name
        );
        let (first, after) = (case.request().await, case.traces().await);
        case.is_again(case.request().await, &first);
        assert!(case.traces().await == after, "{}", case.name);
        case.holder.audit().await;
    }
}

/// One is held back at its first write, before the table has done it or when it has; meanwhile the
/// other comes, and is through.
#[tokio::test]
async fn a_second_while_the_first_is_under_way_is_one_with_it() {
    let door = Door::open().await;
    let effects = alone(&door.stack).await;
    for way in [Way::There, Way::Back] {
        for case in cases(&door.stack).await {
            let (held, has_come, go_on) = HeldOnce::new(Call::writes, way);
            let both = async {
                door.through(held);
                let second = async {
                    has_come.await.expect("a write");
                    door.clear();
                    let answer = case.request().await;
                    go_on.send(()).unwrap();
                    answer
                };
                let (first, second) = join(async { case.request().await }, second).await;
                case.are_one(&[first, second]);
            };
            let added = case.added(both).await;
            assert_eq!(added, effects[case.name], "{}, {way:?}", case.name);
            let (first, after) = (case.request().await, case.traces().await);
            case.is_again(case.request().await, &first);
            assert!(case.traces().await == after, "{}, {way:?}", case.name);
        }
    }
}

/// The table does not do what it is asked; or does it once, and nobody hears of it. The same request
/// afterwards has its effect, or finds it.
#[tokio::test]
async fn after_a_503_the_same_request_has_its_effect_once() {
    let door = Door::open().await;
    let effects = alone(&door.stack).await;
    for done in [false, true] {
        for case in cases(&door.stack).await {
            let name = case.name;
            let before = case.traces().await;
            let asked_twice = async {
                let layer: Arc<dyn Layer> = match done {
                    true => Arc::new(Losing::default()),
                    false => Failing::new(Call::writes, "ThrottlingException"),
                };
                door.broken(layer);
                let busy = case.request().await;
                door.clear();
                assert!(
                    busy.header("retry-after").is_some(),
                    "{name}: {}",
                    busy.text
                );
                busy.refused(503, "busy");
                assert_eq!(case.traces().await != before, done, "{name}");
                let retried = case.request().await;
                match (done, case.again) {
                    (true, Told(status)) => drop(retried.is(status)),
                    (true, Standing) => {
                        // Written down and not paid: that is where it stands, until recovery comes.
                        assert!(retried.is(202).replayed());
                        case.stack.fire("purchase", NOW).await;
                        drop(case.request().await.is(201));
                    }
                    (found, _) => assert_eq!(retried.is(case.status).replayed(), found, "{name}"),
                }
            };
            let added = case.added(asked_twice).await;
            assert_eq!(added, effects[name], "{name}, done: {done}");
        }
    }
}

/// Two years later, when every lot is gone that was touched.
#[tokio::test]
async fn the_same_again_long_after_changes_nothing() {
    let stack = Stack::local();
    let mut asked = vec![];
    for case in cases(&stack).await {
        let mut first = None;
        let added = case.added(async { first = Some(case.first().await) }).await;
        asked.push((case, first.unwrap(), added));
    }
    for (case, first, effect) in asked {
        let (name, before) = (case.name, case.traces().await);
        let again = case.added(async {
            if name == "make codes" {
                // These alone are told for a while only.
                case.request().at(LATER).await.refused(409, "promo_exists");
                return;
            }
            case.is_again(case.request().at(LATER).await, &first);
        });
        let added = again.await;
        if !matches!(case.again, Told(_)) {
            assert!(case.traces().await == before, "{name}");
        }
        // What is due by then is booked; the effect is not among it.
        // A badge's price is that of the day, and other badges come and go meanwhile.
        let end = match name {
            "badge on" => ") ",
            _ => " -> ",
        };
        let kind = |entry: &String| entry.split(end).next().map(str::to_owned);
        let effect: HashSet<_> = effect.iter().map(kind).collect();
        let twice = added.iter().filter(|entry| effect.contains(&kind(entry)));
        // But for the badge: two years later it is for another week.
        let expected = usize::from(name == "badge on");
        assert_eq!(twice.count(), expected, "{name}: {added:?}");
    }
}
