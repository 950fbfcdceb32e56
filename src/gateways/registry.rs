//! Passes updates from webhooks and requests of admins to the session monitors.
//!
//! See [`super::monitor`] for the receiver of both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::domain::gateway::{RecoveryAction, SessionState};
use crate::domain::ids::GatewayName;
use crate::domain::time::Timestamp;

/// Maximum time that an admin waits for a restart. The time is sufficient for a request in flight,
/// one probe and one action, each with the maximum timeout of a gateway.
const RESTART_TIMEOUT: Duration = Duration::from_secs(200);

/// Updates from the gateway's webhook. The counters also show an update that repeats the same
/// state.
#[derive(Clone, Debug, Default)]
pub(super) struct WebhookUpdates {
    /// State name in the latest update.
    pub(super) last_state: String,
    /// Number of updates with a state.
    pub(super) state_count: u64,
    /// Number of events from WhatsApp.
    pub(super) activity_count: u64,
}

/// Request of an admin for a recovery action.
pub(super) struct RestartRequest {
    pub(super) reply: SyncSender<RestartResult>,
}

/// Result of a requested recovery action.
#[derive(Clone, Debug)]
pub struct RestartResult {
    /// Recovery action that was performed. `None` if the probe before it failed.
    pub action: Option<RecoveryAction>,
    /// Description of the result, for the admin.
    pub detail: String,
    /// Session state after the action.
    pub session: SessionState,
}

/// Reason why a requested recovery action has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartError {
    /// No gateway has this name.
    Unknown,
    /// Another request is in progress.
    Busy,
    /// The time limit was exceeded, or the gateway was removed from the config in the meantime.
    Timeout,
}

/// Receiving ends of a monitor's channels.
pub(super) struct MonitorChannels {
    pub(super) updates: watch::Receiver<WebhookUpdates>,
    pub(super) restart_requests: mpsc::Receiver<RestartRequest>,
}

struct MonitorEntry {
    updates: watch::Sender<WebhookUpdates>,
    restart_requests: mpsc::Sender<RestartRequest>,
    probed_at: Option<Timestamp>,
}

/// Registry of all gateways with a monitor.
#[derive(Clone, Default)]
pub struct GatewayRegistry(Arc<Mutex<BTreeMap<GatewayName, MonitorEntry>>>);

impl GatewayRegistry {
    /// Reports a session state that the gateway sent to the webhook.
    pub fn report_state(&self, name: &GatewayName, state: String) {
        self.send_update(name, |updates| {
            updates.last_state = state;
            updates.state_count = updates.state_count.wrapping_add(1);
        });
    }

    /// Reports an event from WhatsApp through this gateway.
    pub fn report_activity(&self, name: &GatewayName) {
        self.send_update(name, |updates| {
            updates.activity_count = updates.activity_count.wrapping_add(1);
        });
    }

    /// Requests the recovery action that fits the current state, and waits for its result. Blocks
    /// the thread.
    ///
    /// # Errors
    /// [`RestartError`] if the gateway has no monitor, is busy, or does not finish in time.
    pub fn request_restart(&self, name: &GatewayName) -> Result<RestartResult, RestartError> {
        let (reply_tx, result) = sync_channel(1);
        let restart_requests = self
            .0
            .lock()
            .get(name)
            .map(|gateway| gateway.restart_requests.clone())
            .ok_or(RestartError::Unknown)?;
        restart_requests
            .try_send(RestartRequest { reply: reply_tx })
            .map_err(|_| RestartError::Busy)?;
        result
            .recv_timeout(RESTART_TIMEOUT)
            .map_err(|_| RestartError::Timeout)
    }

    /// Returns all gateways with the time of their last probe. The time is `None` before the first
    /// probe.
    #[must_use]
    pub fn last_probes(&self) -> BTreeMap<GatewayName, Option<Timestamp>> {
        self.0
            .lock()
            .iter()
            .map(|(name, gateway)| (name.clone(), gateway.probed_at))
            .collect()
    }

    /// Registers a gateway, and returns the receiving ends of its monitor's channels.
    pub(super) fn register(&self, name: &GatewayName) -> MonitorChannels {
        let (updates_tx, updates_rx) = watch::channel(WebhookUpdates::default());
        let (requests_tx, requests_rx) = mpsc::channel(1);
        self.0.lock().insert(
            name.clone(),
            MonitorEntry {
                updates: updates_tx,
                restart_requests: requests_tx,
                probed_at: None,
            },
        );
        MonitorChannels {
            updates: updates_rx,
            restart_requests: requests_rx,
        }
    }

    /// Records the time of a probe.
    pub(super) fn record_probe(&self, name: &GatewayName, at: Timestamp) {
        if let Some(gateway) = self.0.lock().get_mut(name) {
            gateway.probed_at = Some(at);
        }
    }

    /// Removes the gateways for which `wanted` returns `false`.
    pub(super) fn retain(&self, wanted: impl Fn(&GatewayName) -> bool) {
        self.0.lock().retain(|name, _| wanted(name));
    }

    fn send_update(&self, name: &GatewayName, change: impl FnOnce(&mut WebhookUpdates)) {
        if let Some(gateway) = self.0.lock().get(name) {
            gateway.updates.send_modify(change);
        }
    }
}

impl std::fmt::Debug for GatewayRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayRegistry").finish_non_exhaustive()
    }
}
