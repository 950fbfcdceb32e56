//! Runs one session monitor for each gateway of the config, and follows its changes.
//!
//! See [`super::monitor`] for the monitor of one gateway.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::api::GatewayApi;
use super::credentials::{GatewayCredentials, GatewayCredentialsByName};
use super::monitor::{GatewayContext, SessionMonitor};
use super::registry::GatewayRegistry;
use crate::clock::{Clock, Entropy};
use crate::domain::gateway::GatewayKind;
use crate::domain::ids::GatewayName;
use crate::net::HttpClients;
use crate::store::Store;
use crate::tasks::{self, Tasks};

/// Session monitors of all gateways. They run until [`GatewayMonitors::stop`].
pub struct GatewayMonitors {
    context: GatewayContext,
    runtime: Handle,
    pub(super) registry: GatewayRegistry,
    monitors: Mutex<Tasks<GatewayName, MonitorHandle>>,
}

/// Handle of a monitor, with the channel that sends the monitor a new config.
struct MonitorHandle {
    kind: GatewayKind,
    /// Sends the gateway's current settings and secrets to the monitor.
    credentials_tx: watch::Sender<Arc<GatewayCredentials>>,
}

impl GatewayMonitors {
    /// Starts one monitor on `runtime` for each gateway. `store` must be open.
    #[must_use]
    pub fn start(
        runtime: Handle,
        credentials: &GatewayCredentialsByName,
        registry: GatewayRegistry,
        clients: HttpClients,
        store: &Store,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Self {
        let context = GatewayContext {
            store: store.clone(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            api: GatewayApi::new(clients),
        };
        let gateways = Self {
            context,
            runtime,
            registry,
            monitors: Mutex::default(),
        };
        gateways.reconcile(credentials);
        gateways
    }

    /// Applies a new config: stops monitors of removed gateways, starts monitors of new ones, and
    /// updates the others. A gateway whose kind has changed counts as a different gateway.
    pub fn reconcile(&self, credentials: &GatewayCredentialsByName) {
        let mut monitors = self.monitors.lock();
        if monitors.is_stopped() {
            return;
        }
        let stays = |name: &GatewayName, kind| {
            credentials
                .get(name)
                .is_some_and(|gateway| gateway.settings.kind == kind)
        };
        monitors.retain(|name, handle| stays(name, handle.kind));
        self.registry.retain(|name| monitors.get(name).is_some());
        for (name, gateway) in credentials {
            if let Some(handle) = monitors.get(name) {
                handle.credentials_tx.send_replace(Arc::clone(gateway));
                continue;
            }
            let (credentials_tx, credentials_rx) = watch::channel(Arc::clone(gateway));
            let handle = MonitorHandle {
                kind: gateway.settings.kind,
                credentials_tx,
            };
            let (channels, context, registry) = (
                self.registry.register(name),
                self.context.clone(),
                self.registry.clone(),
            );
            let monitor = {
                let name = name.clone();
                async move {
                    SessionMonitor::new(name, credentials_rx, channels, context, registry)
                        .run()
                        .await;
                }
            };
            // Only one monitor per gateway runs at a time. Two monitors would perform an action
            // twice, and the old one could overwrite the session state of the new one.
            monitors.begin(&self.runtime, name.clone(), handle, monitor);
        }
    }

    /// Stops all monitors and starts no new ones. Waits until requests in flight are answered and
    /// their results are stored, at most for `deadline`.
    pub async fn stop(&self, deadline: Duration) {
        // A reload from now on must not start a monitor, because nothing would wait for its
        // requests.
        let monitors = self.monitors.lock().stop();
        if !tasks::finish(monitors, deadline).await {
            tracing::warn!(
                "some gateways did not respond in time: they are probed again at the next start"
            );
        }
    }
}

impl std::fmt::Debug for GatewayMonitors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayMonitors").finish_non_exhaustive()
    }
}
