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
#[cfg(test)]
mod tests;

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
use crate::outgoing::Clients;
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
    keepers: Mutex<Keepers>,
}

/// Keepers by their gateway.
#[derive(Default)]
struct Keepers {
    /// No keeper begins any more.
    is_stopped: bool,
    running: BTreeMap<GatewayName, Running>,
    /// Keepers that wait for their last answers: the gateway left the config, or is another program now.
    ending: BTreeMap<GatewayName, JoinHandle<()>>,
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
    #[must_use]
    pub fn start(
        runtime: Handle,
        accesses: &Accesses,
        board: Board,
        clients: Clients,
        store: &Store,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Self {
        let tools = Tools {
            store: store.clone(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            api: Api::new(clients),
        };
        let gateways = Self { tools, runtime, board, keepers: Mutex::default() };
        gateways.renew(accesses);
        gateways
    }

    /// Goes by `accesses` from now on. A gateway that is another program now is another gateway.
    pub fn renew(&self, accesses: &Accesses) {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        let Keepers { is_stopped, running, ending } = &mut *keepers;
        if *is_stopped {
            return;
        }
        ending.retain(|_, task| !task.is_finished());
        let stays = |name: &GatewayName, kind| accesses.get(name).is_some_and(|access| access.rule.kind == kind);
        let gone = running.extract_if(.., |name, keeper| !stays(name, keeper.kind));
        ending.extend(gone.map(|(name, keeper)| (name, keeper.task)));
        self.board.keep_only(|name| running.contains_key(name));
        for (name, access) in accesses {
            if let Some(keeper) = running.get(name) {
                keeper.access.send_replace(Arc::clone(access));
            } else {
                let before = ending.remove(name);
                running.insert(name.clone(), self.begin(name, access, before));
            }
        }
    }

    /// Begins no keeper any more and waits until what is under way has been answered and noted, `deadline` at the most.
    pub async fn stop(&self, deadline: Duration) {
        // A reload that comes now must begin none: nobody would wait for its answers.
        let stopped = Keepers { is_stopped: true, ..Keepers::default() };
        let Keepers { running, ending, .. } =
            std::mem::replace(&mut *self.keepers.lock().unwrap_or_else(PoisonError::into_inner), stopped);
        let tasks: Vec<_> = running.into_values().map(|keeper| keeper.task).chain(ending.into_values()).collect();
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

    /// Begins the keeper of `name` as soon as the one `before` has ended. Two at once would call a gateway twice, and the later
    /// note of the old one would replace how the gateway stands.
    fn begin(&self, name: &GatewayName, access: &Arc<Access>, before: Option<JoinHandle<()>>) -> Running {
        let (tell, told) = watch::channel(Arc::clone(access));
        let post = self.board.begin(name);
        let name = name.clone();
        let tools = self.tools.clone();
        let board = self.board.clone();
        let task = self.runtime.spawn(async move {
            if let Some(before) = before {
                // A panic has been told by its own hook.
                let _ = before.await;
            }
            Keeper::new(name, told, post, tools, board).run().await;
        });
        Running { kind: access.rule.kind, access: tell, task }
    }
}

impl std::fmt::Debug for Gateways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateways").finish_non_exhaustive()
    }
}
