//! Deliveries on their way: each destination has a lane of its own, and nothing that is broken outside holds up anything else.
//!
//! ```text
//! file ── lane of one destination ──▶ lane (tokio task) ──▶ attempt ──▶ outside
//!                                       ▲                     │
//!                                       └── noted, on disk ◀──┘
//! ```
//!
//! | file | what it decides |
//! |---|---|
//! | `lane` | which deliveries are under way: each once, as many and as fast as the destination takes |
//! | `shelf` | what is due and how it is sorted: to be sent, to wait, too late |
//! | `ahead` | what should be due though a clock that ran ahead says otherwise |
//! | `attempt` | what follows from one attempt, and that it is noted |
//! | `webhook` | how something is sent, and what came back |
//! | `next` | whether what is due is sent now: it may have to wait, be too late, or be no message at all |
//! | `suspects` | that no delivery takes the process down again and again, nor buries those it would be told with |
//! | `way` | who goes first where several destinations are told by one gateway or number, and how fast |
//! | `mail` | how an event becomes an e-mail, and what came back |
//! | `cloud` | what a WhatsApp message says, and what Meta's answer does |
//! | `gateway` | what a text through a gateway says, which go together, and what the answer says |
//! | `recipient` | nothing: it has a destination's rule with its secrets at hand |
//! | `board` | nothing: it shows how the lanes do |
//!
//! As with jobs, nothing is written for a delivery to start: what is under way is known to its lane alone. After a crash it
//! is still due, and is sent again under the same id. What an answer means is `crate::domain::delivery`'s to say, when the
//! next attempt comes `crate::domain::retry`'s, and when a destination is left alone `crate::domain::breaker`'s.

mod ahead;
mod attempt;
mod board;
mod cloud;
mod gateway;
mod lane;
mod mail;
mod next;
mod recipient;
mod shelf;
mod suspects;
#[cfg(test)]
mod tests;
mod way;
mod webhook;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

pub use board::{Board, LaneState};
pub use cloud::CloudAnswer;
pub use gateway::GatewayAnswer;
pub use mail::{message, whole_mail};
pub use recipient::{Credentials, Endpoint, Recipient, Recipients};
pub use webhook::{Said, Sender, Sent, headers};

use crate::clock::{Clock, Entropy};
use crate::domain::ids::DestinationName;
use crate::outgoing::Clients;
use crate::store::Store;
use crate::tasks::{self, Tasks};
use lane::Lane;
use next::Since;
use suspects::Suspects;
use way::Ways;

/// What all lanes work with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) sender: Sender,
    pub(crate) ways: Ways,
    pub(crate) since: Since,
    pub(crate) suspects: Suspects,
}

/// The lanes of all destinations, until [`Courier::stop`].
pub struct Courier {
    tools: Tools,
    runtime: Handle,
    board: Board,
    /// Counts the writer's calls.
    called: watch::Receiver<u64>,
    lanes: Mutex<Tasks<DestinationName, watch::Sender<Orders>>>,
}

/// What a lane goes by.
#[derive(Clone, Debug)]
struct Orders {
    recipient: Arc<Recipient>,
    /// Counts how often an admin let the destination go on: what is known of its troubles is forgotten.
    resumed: u64,
}

impl Courier {
    /// Starts a lane for each of `recipients` on `runtime`. `store` must be open.
    #[must_use]
    pub fn start(
        runtime: Handle,
        recipients: &Recipients,
        clients: Clients,
        store: &Store,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Self {
        let (call, called) = watch::channel(0_u64);
        store.call_on_delivery(move || call.send_modify(|calls| *calls = calls.wrapping_add(1)));
        let tools = Tools {
            store: store.clone(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            sender: Sender::new(clients),
            ways: Ways::default(),
            since: Since::now(&**clock),
            suspects: Suspects::of(store),
        };
        let courier = Self { tools, runtime, board: Board::default(), called, lanes: Mutex::default() };
        courier.renew(recipients);
        courier
    }

    /// Goes by `recipients` from now on: lanes of new ones begin, those of the others go on as they now say or, where a
    /// destination is gone, end; what waits for it stays.
    pub fn renew(&self, recipients: &Recipients) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.is_stopped() {
            return;
        }
        lanes.retain(|name, _| recipients.contains_key(name));
        self.board.keep_only(|name| recipients.contains_key(name));
        for (name, recipient) in recipients {
            if let Some(lane) = lanes.get(name) {
                lane.send_modify(|orders| orders.recipient = Arc::clone(recipient));
                continue;
            }
            let (orders, told) = watch::channel(Orders { recipient: Arc::clone(recipient), resumed: 0 });
            let lane = Lane::new(name.clone(), told, self.tools.clone(), self.board.clone(), self.called.clone());
            // One at a time: only one of two lanes would know what is under way.
            lanes.begin(&self.runtime, name.clone(), orders, lane.run());
        }
    }

    /// How the lanes do.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// How `name` is told at this moment; `None`: it is not.
    #[must_use]
    pub fn recipient(&self, name: &DestinationName) -> Option<Arc<Recipient>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.get(name).map(|lane| Arc::clone(&lane.borrow().recipient))
    }

    /// An admin lets `name` go on: it is told at once, whatever its breaker says and however long it asked to be left alone.
    pub fn resume(&self, name: &DestinationName) {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(name) {
            lane.send_modify(|orders| orders.resumed = orders.resumed.wrapping_add(1));
        }
    }

    /// What sends, for who wants to see a destination answer.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.tools.sender.clone()
    }

    /// Begins nothing more and waits until what is under way has been answered and noted, `deadline` at the most. What is
    /// not stays due, and is sent again at the next start.
    pub async fn stop(&self, deadline: Duration) {
        // A reload that comes now is to begin none: what is under way would be sent once more.
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).stop();
        if !tasks::finish(lanes, deadline).await {
            tracing::warn!("some deliveries were not answered in time: they are sent again at the next start");
        }
    }
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}
