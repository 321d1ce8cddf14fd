//! Sixty-four clients at once, on one account and on many: nothing lost, nothing doubled,
//! nothing below zero, and the oldest Connects first.

use connects_tests::client::{Answer, Request};
use connects_tests::holder::Holder;
use connects_tests::model::Tally;
use connects_tests::schedule;
use connects_tests::stack::{Stack, fresh};
use futures::future::{join, join_all};
use serde_json::{Value, json};

const CLIENTS: usize = 64;

/// A busy answer asks to be asked again; a stack that is busy this often is not serving.
const MAX_TRIES: usize = 20;

/// All of it happens at one instant, so that order is the journal's alone; and before the other
/// tests' time, so that recovery finds none of their purchases.
const NOW: &str = "2051-02-01T09:00:00Z";

/// When recovery has run and all is looked at.
const LATER: &str = "2051-02-01T10:00:00Z";

/// An answered request and the entry it must have left: type, signed amount, lots.
struct Effect<'a> {
    account: usize,
    request: Request<'a>,
    answer: Answer,
    entry: (String, i64, Value),
}

/// Asks until there is an answer other than busy.
async fn ask(request: &Request<'_>) -> Answer {
    for _ in 0..MAX_TRIES {
        let answer = request.clone().at(NOW).await;
        if answer.status != 503 {
            return answer;
        }
        assert!(answer.header("retry-after").is_some(), "{}", answer.text);
        answer.refused(503, "busy");
    }
    panic!("busy {MAX_TRIES} times");
}

/// One client: a few requests, each after the last one's answer.
struct Client<'a> {
    stack: &'a Stack,
    holders: &'a [Holder<'a>],
    effects: Vec<Effect<'a>>,
    pending: Vec<(usize, Request<'a>)>,
}

impl<'a> Client<'a> {
    /// Runs one of four scripts on an account.
    async fn script(&mut self, script: usize, account: usize) {
        match script % 4 {
            0 => {
                self.buy(account, 10).await;
                self.spend(account, 3).await;
                self.spend(account, 12).await;
            }
            1 => {
                if let Some(spend) = self.spend(account, 4).await {
                    self.refund(account, &spend, 3).await;
                    self.refund(account, &spend, 1).await;
                }
            }
            2 => {
                self.redeem(account, 5).await;
                self.spend(account, 6).await;
            }
            _ => {
                for amount in [1, 2, 1] {
                    self.spend(account, amount).await;
                    let available = self.holders[account].available(NOW).await;
                    assert!(available >= 0, "{available}");
                }
            }
        }
    }

    fn record(&mut self, account: usize, request: Request<'a>, answer: Answer, kind: &str) {
        let amount = match kind {
            "spend" => -answer.int("amount"),
            "purchase" => answer.int("quantity"),
            _ => answer.int("amount"),
        };
        let (kind, lots) = match kind {
            "spend" | "return" => (kind, answer["lots"].clone()),
            _ => (
                "issue",
                json!([{ "lot_id": answer["lot_id"], "amount": amount }]),
            ),
        };
        self.effects.push(Effect {
            account,
            request,
            answer,
            entry: (kind.to_owned(), amount, lots),
        });
    }

    /// The spend's id, or `None` when the account was short of it.
    async fn spend(&mut self, account: usize, amount: i64) -> Option<String> {
        let request = self.holders[account].spend(amount);
        let answer = ask(&request).await;
        if answer.status == 409 {
            let refused = answer.refused(409, "insufficient_connects");
            let available = refused.int("available");
            assert!((0..amount).contains(&available), "{}", refused.text);
            return None;
        }
        let answer = answer.is(201);
        let id = answer.text("spend_id");
        self.record(account, request, answer, "spend");
        Some(id)
    }

    async fn refund(&mut self, account: usize, spend: &str, amount: i64) {
        let request = self.holders[account].refund(spend, amount);
        let answer = ask(&request).await.is(201);
        self.record(account, request, answer, "return");
    }

    /// A purchase whose credit finds the account too busy stays pending; recovery is for that.
    async fn buy(&mut self, account: usize, quantity: i64) {
        let request = self.holders[account].buy(quantity);
        let answer = ask(&request).await;
        match answer.status {
            202 => self.pending.push((account, request)),
            _ => self.record(account, request, answer.is(201), "purchase"),
        }
    }

    /// After recovery has run there is nothing pending.
    async fn look_again(&mut self) {
        for (account, request) in std::mem::take(&mut self.pending) {
            let answer = request.clone().at(LATER).await.is(201);
            self.record(account, request, answer, "purchase");
        }
    }

    async fn redeem(&mut self, account: usize, quantity: i64) {
        let code = self.stack.grant_code(quantity, NOW).await;
        let request = self.holders[account].redeem(&code).key(fresh("redeem"));
        let answer = ask(&request).await.is(201);
        self.record(account, request, answer, "redemption");
    }
}

/// Agencies with three lots each, 30 Connects in all.
async fn accounts(stack: &Stack, count: usize) -> Vec<Holder<'_>> {
    join_all((0..count).map(|_| async {
        let holder = stack.agency("2051-01-01").await;
        for (quantity, day) in [(5, "2051-01-05"), (10, "2051-01-06"), (15, "2051-01-07")] {
            holder.given(quantity, day).await;
        }
        holder
    }))
    .await
}

/// Lets the clients loose; client `n` runs script `n` on the accounts that `route` names.
async fn run(stack: &Stack, holders: &[Holder<'_>], route: impl Fn(usize) -> Vec<usize>) {
    let running = (0..CLIENTS).map(|n| {
        let accounts = route(n);
        async move {
            let (effects, pending) = (Vec::new(), Vec::new());
            let mut client = Client {
                stack,
                holders,
                effects,
                pending,
            };
            for (step, account) in accounts.into_iter().enumerate() {
                client.script(n + step, account).await;
            }
            client
        }
    });
    let mut clients = join_all(running).await;
    if clients.iter().any(|client| !client.pending.is_empty()) {
        let _turn = schedule::turn().await;
        stack.fire("purchase", LATER).await;
    }
    for client in &mut clients {
        client.look_again().await;
    }
    let effects: Vec<_> = clients
        .into_iter()
        .flat_map(|client| client.effects)
        .collect();
    assert!(effects.len() >= CLIENTS, "{} effects", effects.len());
    for (account, holder) in holders.iter().enumerate() {
        let of_account: Vec<_> = effects.iter().filter(|e| e.account == account).collect();
        check(holder, &of_account).await;
    }
}

/// Everything that must hold of an account after any run at all.
async fn check(holder: &Holder<'_>, effects: &[&Effect<'_>]) {
    // Gap-free, chained, the oldest Connects first, never below zero: the model says so.
    let model = holder.audit().await;
    let items = holder.items().await;

    // What HTTP answers is what is stored; no lot is empty or above its quantity.
    let lots = holder.listing("/lots", "lots", LATER).await;
    for lot in &lots {
        let (left, of) = (lot["remaining"].as_i64(), lot["quantity"].as_i64());
        assert!(left > Some(0) && left <= of, "{lot}");
    }
    let listed: Tally = lots
        .iter()
        .map(|lot| {
            let id = lot["lot_id"].as_str().unwrap().parse().unwrap();
            (id, lot["remaining"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(listed, model.remaining());
    assert_eq!(holder.available(LATER).await, model.balance().cast_signed());
    let journal = holder.journal(LATER).await;
    assert_eq!(journal.len() as u64, model.seq().get());

    // Each answered effect once, and nothing that was not answered.
    let of_the_run = |entry: &&Value| entry["at"].as_str().unwrap() >= "2051-02-01";
    let mut written: Vec<_> = journal
        .iter()
        .filter(of_the_run)
        .map(|entry| {
            let text = |member: &str| entry[member].as_str().unwrap().to_owned();
            let amount = entry["amount"].as_i64().unwrap();
            (text("type"), amount, entry["lots"].clone())
        })
        .collect();
    let mut answered: Vec<_> = effects.iter().map(|effect| effect.entry.clone()).collect();
    for entries in [&mut written, &mut answered] {
        entries.sort_by_key(|entry| format!("{entry:?}"));
    }
    assert_eq!(written, answered);

    // Asked again, each gives its answer again and writes nothing.
    for effect in effects {
        let again = effect.request.clone().at(LATER).await.is(201);
        assert!(again.replayed(), "{}", again.text);
        if effect.answer["purchase_id"].is_null() {
            assert_eq!(again.text, effect.answer.text);
        } else {
            assert_eq!(again["lot_id"], effect.answer["lot_id"]);
        }
    }
    assert_eq!(holder.items().await, items);
}

#[tokio::test]
async fn sixty_four_clients_on_one_account() {
    let stack = Stack::local();
    let holders = accounts(&stack, 1).await;
    run(&stack, &holders, |_| vec![0]).await;
}

#[tokio::test]
async fn sixty_four_clients_on_sixteen_accounts() {
    let stack = Stack::local();
    let holders = accounts(&stack, 16).await;
    run(&stack, &holders, |n| vec![n % 16, (n * 5 + 3) % 16]).await;
}

/// More lots than one page of a query holds, so that a read can fall between a commit's items.
#[tokio::test]
async fn readers_of_many_lots_are_never_told_of_half_a_commit() {
    let stack = Stack::local();
    let holder = stack.agency("2051-01-01").await;
    for _ in 0..60 {
        holder.given(2, NOW).await;
    }
    let mut requests = Vec::new();
    for _ in 0..12 {
        let code = stack.grant_code(10, NOW).await;
        requests.extend([holder.redeem(&code).key("once"), holder.spend(3)]);
    }
    let writers = requests
        .iter()
        .map(|request| async { ask(request).await.is(201) });
    let writers = join_all(writers);
    let readers = join_all((0..24).map(|_| {
        let holder = &holder;
        async move {
            for _ in 0..3 {
                let lots = holder.get("/lots?limit=100").at(NOW).await.is(200);
                assert!(lots["lots"].as_array().is_some_and(|lots| !lots.is_empty()));
            }
        }
    }));
    join(writers, readers).await;
    assert_eq!(holder.audit().await.balance(), 60 * 2 + 12 * 10 - 12 * 3);
}
