//! Where the calls of all operations come in: answered at once, or held until it is their turn.

use std::sync::{Arc, Mutex, MutexGuard};

use connects::domain::policy::Policy;
use connects::ledger::Ledger;
use connects::store::Store;
use connects_local::emulator;
use connects_local::project::Project;
use connects_local::template::Template;
use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt, ready};

use super::world::{AnswerId, CallId, StateId, World};
use crate::wire::{Answer, Broken, Call, Clear, Emulated, Layer};

/// The table's name.
const TABLE: &str = "small-world";

/// A call that waits for its turn.
#[derive(Debug)]
pub struct Held {
    /// The call.
    pub call: CallId,
    /// Where its answer goes.
    pub reply: oneshot::Sender<Result<Answer, Broken>>,
}

/// The table as it is now, and what waits for it.
#[derive(Debug)]
pub struct Desk {
    /// All that is known of the table.
    pub world: World,
    /// What it holds now.
    pub state: StateId,
    /// Whether calls wait; if not, each is answered at once.
    pub holding: bool,
    /// The calls that wait, by the seat they came from.
    pub held: Vec<Vec<Held>>,
    /// How many calls came from each seat.
    pub came: Vec<usize>,
}

impl Desk {
    /// Hands a call to the table.
    pub fn serve(&mut self, call: CallId) -> (AnswerId, Answer) {
        let (answer, state) = self.world.apply(self.state, call);
        self.state = state;
        (answer, self.world.answer(answer))
    }
}

/// A desk that can be reached from clients.
pub type SharedDesk = Arc<Mutex<Desk>>;

/// Takes the desk; nobody else has it, since all run on one thread.
pub fn at(desk: &SharedDesk) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap()
}

/// A desk over an empty table as template.yaml has it, with a ledger for each of so many seats.
pub async fn open(policy: &Policy, seats: usize) -> (SharedDesk, Vec<Ledger>) {
    let table = Emulated::new();
    let mut schema = Template::read(&Project::find().unwrap().template())
        .unwrap()
        .table;
    // Nothing here reads the stream.
    schema.stream_specification = None;
    emulator::ensure(&table.client(Arc::new(Clear)), TABLE, &schema)
        .await
        .unwrap();
    let mut world = World::new(table.clone(), TABLE.to_owned());
    let state = world.empty();
    let desk = Arc::new(Mutex::new(Desk {
        world,
        state,
        holding: false,
        held: (0..seats).map(|_| vec![]).collect(),
        came: vec![0; seats],
    }));
    let ledgers = (0..seats).map(|number| {
        let seat = Arc::new(Seat {
            desk: desk.clone(),
            number,
        });
        Ledger::new(Store::new(table.client(seat), TABLE), policy.clone())
    });
    let ledgers = ledgers.collect();
    (desk, ledgers)
}

/// Where one operation's calls come from.
#[derive(Debug)]
struct Seat {
    desk: SharedDesk,
    number: usize,
}

impl Layer for Seat {
    fn pass(
        self: Arc<Self>,
        call: Call,
        _: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let mut desk = at(&self.desk);
        if desk.holding {
            if let Some(nothing) = desk.world.nothing_due(&call) {
                return ready(Ok(nothing)).boxed();
            }
            let (reply, answer) = oneshot::channel();
            let call = desk.world.call_id(call);
            desk.held[self.number].push(Held { call, reply });
            desk.came[self.number] += 1;
            // Dropped unanswered only when nobody listens any more.
            return answer.map(|a| a.unwrap_or(Err(Broken::Reset))).boxed();
        }
        let call = desk.world.call_id(call);
        ready(Ok(desk.serve(call).1)).boxed()
    }
}
