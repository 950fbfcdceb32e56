//! Unofficial gateways, looked after: each has a task of its own that asks for its session's state, brings it back, and keeps
//! what became of it.
//!
//! ```text
//! schedule ─▶ keeper (one task each) ──asks, calls──▶ gateway
//! webhook ─▶ board ─▶ ▲ │
//! admin ──▶ board ────┘ └── standing, history, alerts ─▶ store
//! ```
//!
//! | file | what it decides |
//! |---|---|
//! | `keeper` | when a gateway is asked, and that what follows is done and kept |
//! | `api` | how each kind is asked and called, and what its answers say |
//! | `access` | nothing: a gateway's rule with its secrets at hand |
//! | `board` | nothing: where a keeper is told something, and shown |
//!
//! What follows from a state is `crate::domain::gateway`'s to say, what a webhook brings is read in `crate::intake`. A gateway
//! that hangs holds up its own keeper only.

mod access;
mod api;
mod board;
mod keeper;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use access::{Access, Accesses};
pub use board::{Board, Done, NotDone};

use crate::clock::{Clock, Entropy};
use crate::domain::gateway::GatewayKind;
use crate::domain::ids::GatewayName;
use crate::outgoing::OutgoingError;
use crate::store::Store;
use api::Api;
use keeper::Keeper;

/// What all keepers work with.
#[derive(Clone)]
pub(crate) struct Tools {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    api: Api,
}

/// The keepers of all gateways, until [`Gateways::stop`].
pub struct Gateways {
    tools: Tools,
    runtime: Handle,
    board: Board,
    keepers: Mutex<BTreeMap<GatewayName, Running>>,
}

/// A keeper that runs.
struct Running {
    kind: GatewayKind,
    /// Tells it how to ask from now on. Dropped: it is to end.
    access: watch::Sender<Arc<Access>>,
    task: JoinHandle<()>,
}

impl Gateways {
    /// Starts a keeper for each of `accesses` on `runtime`. `store` must be open.
    ///
    /// # Errors
    /// [`OutgoingError::Tls`].
    pub fn start(
        runtime: Handle,
        accesses: &Accesses,
        board: Board,
        store: &Store,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, OutgoingError> {
        let tools =
            Tools { store: store.clone(), clock: Arc::clone(clock), entropy: Arc::clone(entropy), api: Api::new()? };
        let gateways = Self { tools, runtime, board, keepers: Mutex::default() };
        gateways.renew(accesses);
        Ok(gateways)
    }

    /// Goes by `accesses` from now on. A gateway that is another program now is another gateway.
    pub fn renew(&self, accesses: &Accesses) {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        let stays = |name: &GatewayName, kind| accesses.get(name).is_some_and(|access| access.rule.kind == kind);
        keepers.retain(|name, running| stays(name, running.kind));
        self.board.keep_only(|name| keepers.contains_key(name));
        for (name, access) in accesses {
            match keepers.get(name) {
                Some(running) => {
                    running.access.send_replace(Arc::clone(access));
                }
                None => {
                    keepers.insert(name.clone(), self.begin(name, access));
                }
            }
        }
    }

    /// Waits until what is under way has been answered and noted, `deadline` at the most.
    pub async fn stop(&self, deadline: Duration) {
        let keepers = std::mem::take(&mut *self.keepers.lock().unwrap_or_else(PoisonError::into_inner));
        let tasks: Vec<_> = keepers.into_values().map(|running| running.task).collect();
        let all = async {
            for task in tasks {
                // A panic has been told by its own hook.
                let _ = task.await;
            }
        };
        if timeout(deadline, all).await.is_err() {
            tracing::warn!("some gateways did not answer in time: they are asked again at the next start");
        }
    }

    fn begin(&self, name: &GatewayName, access: &Arc<Access>) -> Running {
        let (tell, told) = watch::channel(Arc::clone(access));
        let keeper = Keeper::new(name.clone(), told, self.board.begin(name), self.tools.clone(), self.board.clone());
        Running { kind: access.rule.kind, access: tell, task: self.runtime.spawn(keeper.run()) }
    }
}

impl std::fmt::Debug for Gateways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateways").finish_non_exhaustive()
    }
}
