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

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

pub use access::{Access, Accesses};
pub use board::{Board, Done, NotDone};

use crate::clock::{Clock, Entropy};
use crate::domain::gateway::GatewayKind;
use crate::domain::ids::GatewayName;
use crate::outgoing::Clients;
use crate::store::Store;
use crate::tasks::{self, Tasks};
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
    keepers: Mutex<Tasks<GatewayName, Orders>>,
}

/// What a keeper gets from the config.
struct Orders {
    kind: GatewayKind,
    /// Sends the gateway's access, as the config has it now.
    access: watch::Sender<Arc<Access>>,
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
        if keepers.is_stopped() {
            return;
        }
        let stays = |name: &GatewayName, kind| accesses.get(name).is_some_and(|access| access.rule.kind == kind);
        keepers.retain(|name, orders| stays(name, orders.kind));
        self.board.keep_only(|name| keepers.get(name).is_some());
        for (name, access) in accesses {
            if let Some(orders) = keepers.get(name) {
                orders.access.send_replace(Arc::clone(access));
                continue;
            }
            let (tell, told) = watch::channel(Arc::clone(access));
            let orders = Orders { kind: access.rule.kind, access: tell };
            let (post, tools, board) = (self.board.begin(name), self.tools.clone(), self.board.clone());
            let keeper = {
                let name = name.clone();
                async move { Keeper::new(name, told, post, tools, board).run().await }
            };
            // One at a time: two would call a gateway twice, and the later note of the old one would replace how the
            // gateway stands.
            keepers.begin(&self.runtime, name.clone(), orders, keeper);
        }
    }

    /// Begins no keeper any more and waits until what is under way has been answered and noted, `deadline` at the most.
    pub async fn stop(&self, deadline: Duration) {
        // A reload that comes now must begin none: nobody would wait for its answers.
        let keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner).stop();
        if !tasks::finish(keepers, deadline).await {
            tracing::warn!("some gateways did not answer in time: they are asked again at the next start");
        }
    }
}

impl std::fmt::Debug for Gateways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateways").finish_non_exhaustive()
    }
}
