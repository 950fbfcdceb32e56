//! Where keepers are told something from outside: what their gateway's webhook said, and what an admin wants of them.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::domain::gateway::{Call, Standing};
use crate::domain::ids::GatewayName;
use crate::domain::time::Timestamp;

/// How long an admin waits: a look and a call, each as long as a gateway may take, after one that is under way.
const PATIENCE: Duration = Duration::from_secs(200);

/// What a webhook said so far. Numbers, so that what came twice before anybody looked is still seen.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    /// The state it named last.
    pub(super) state: String,
    /// How often it named one.
    pub(super) states: u64,
    /// How often something came from WhatsApp.
    pub(super) heard: u64,
}

/// An admin asks for a call.
pub(super) struct Order {
    pub(super) reply: SyncSender<Done>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Done {
    /// The call that was made; `None`: the gateway could not even be asked for its state.
    pub call: Option<Call>,
    /// What came of it.
    pub note: String,
    /// How the session stands now.
    pub standing: Standing,
}

/// Why an order was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// There is no such gateway.
    Unknown,
    /// Another order is being carried out.
    Busy,
    /// It took too long, or the gateway was taken from the config meanwhile.
    Late,
}

/// A keeper's ends of its channels.
pub(super) struct Post {
    pub(super) news: watch::Receiver<News>,
    pub(super) orders: mpsc::Receiver<Order>,
}

struct Gateway {
    news: watch::Sender<News>,
    orders: mpsc::Sender<Order>,
    looked_at: Option<Timestamp>,
}

/// All gateways that are looked after.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<BTreeMap<GatewayName, Gateway>>>);

impl Board {
    /// The gateway's webhook named this state.
    pub fn say_state(&self, name: &GatewayName, state: String) {
        self.tell(name, |news| {
            news.state = state;
            news.states = news.states.wrapping_add(1);
        });
    }

    /// Something came from WhatsApp through it.
    pub fn say_heard(&self, name: &GatewayName) {
        self.tell(name, |news| news.heard = news.heard.wrapping_add(1));
    }

    /// Has the call made that fits, and waits for what comes of it. Blocks the thread.
    ///
    /// # Errors
    /// [`NotDone`].
    pub fn order(&self, name: &GatewayName) -> Result<Done, NotDone> {
        let (reply, answer) = sync_channel(1);
        let orders = self.lock().get(name).map(|gateway| gateway.orders.clone()).ok_or(NotDone::Unknown)?;
        orders.try_send(Order { reply }).map_err(|_| NotDone::Busy)?;
        answer.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected => NotDone::Late,
        })
    }

    /// All gateways, and when each was last looked at.
    #[must_use]
    pub fn read(&self) -> BTreeMap<GatewayName, Option<Timestamp>> {
        self.lock().iter().map(|(name, gateway)| (name.clone(), gateway.looked_at)).collect()
    }

    /// A new keeper's channels.
    pub(super) fn begin(&self, name: &GatewayName) -> Post {
        let (tell, news) = watch::channel(News::default());
        let (order, orders) = mpsc::channel(1);
        self.lock().insert(name.clone(), Gateway { news: tell, orders: order, looked_at: None });
        Post { news, orders }
    }

    /// It was looked at.
    pub(super) fn note(&self, name: &GatewayName, at: Timestamp) {
        if let Some(gateway) = self.lock().get_mut(name) {
            gateway.looked_at = Some(at);
        }
    }

    /// Shows nothing any more of those that are not `wanted`.
    pub(super) fn keep_only(&self, wanted: impl Fn(&GatewayName) -> bool) {
        self.lock().retain(|name, _| wanted(name));
    }

    fn tell(&self, name: &GatewayName, change: impl FnOnce(&mut News)) {
        if let Some(gateway) = self.lock().get(name) {
            gateway.news.send_modify(change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GatewayName, Gateway>> {
        // Each change is one assignment: whoever panicked left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}
