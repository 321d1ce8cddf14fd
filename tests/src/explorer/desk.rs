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

use super::world::{CallId, StateId, World, honest};
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
    /// The calls that came in to wait, until they are taken up.
    pub held: Vec<Held>,
}

impl Desk {
    /// An empty table again, whose calls are answered at once.
    pub fn begin_anew(&mut self) {
        self.world.tamper(honest);
        self.state = self.world.empty();
        self.holding = false;
        self.held.clear();
    }

    /// Hands a call to the table.
    pub fn serve(&mut self, call: CallId) -> Answer {
        let (answer, state) = self.world.apply(self.state, call);
        self.state = state;
        self.world.answer(answer)
    }
}

/// A desk that can be reached from clients.
pub type SharedDesk = Arc<Mutex<Desk>>;

/// Takes the desk; nobody else has it, since all run on one thread.
pub fn at(desk: &SharedDesk) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap()
}

/// A desk over an empty table as template.yaml has it, and a ledger whose calls come in there.
pub async fn open(policy: &Policy) -> (SharedDesk, Ledger) {
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
        held: vec![],
    }));
    let client = table.client(Arc::new(Front(desk.clone())));
    let ledger = Ledger::new(Store::new(client, TABLE), policy.clone());
    (desk, ledger)
}

/// Where calls come in.
#[derive(Debug)]
struct Front(SharedDesk);

impl Layer for Front {
    fn pass(
        self: Arc<Self>,
        call: Call,
        _: Emulated,
    ) -> BoxFuture<'static, Result<Answer, Broken>> {
        let mut desk = at(&self.0);
        if let Some(nothing) = desk.world.nothing_due(&call) {
            return ready(Ok(nothing)).boxed();
        }
        let call = desk.world.call_id(call);
        if !desk.holding {
            return ready(Ok(desk.serve(call))).boxed();
        }
        let (reply, answer) = oneshot::channel();
        desk.held.push(Held { call, reply });
        // Dropped unanswered only when nobody listens any more.
        answer.map(|a| a.unwrap_or(Err(Broken::Reset))).boxed()
    }
}
