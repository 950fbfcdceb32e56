//! Starts the services that work on the open data file, and stops them: deliveries, gateways and
//! jobs.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::active_config::ActiveConfig;
use super::error::ServeError;
use crate::admin_server::SocketServer;
use crate::backup::BackupService;
use crate::clock::{Clock, Entropy};
use crate::delivery::DeliveryService;
use crate::gateways::{GatewayMonitors, GatewayRegistry};
use crate::http::HealthMonitor;
use crate::jobs::JobSystem;
use crate::net::HttpClients;
use crate::reloadable::Reloadable;
use crate::store::Store;

/// Maximum time at the stop for running jobs and deliveries in flight.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum time at the stop for the upload of the last commits.
const LAST_UPLOAD_TIMEOUT: Duration = Duration::from_millis(1500);

/// Running services.
pub(super) struct Services {
    pub(super) runtime: Handle,
    /// Statistics of the requests.
    pub(super) health_monitor: HealthMonitor,
    pub(super) delivery_service: Arc<DeliveryService>,
    pub(super) gateway_monitors: Arc<GatewayMonitors>,
    pub(super) gateway_registry: GatewayRegistry,
    pub(super) job_system: JobSystem,
    pub(super) backup: BackupService,
}

impl Services {
    /// Starts the services. Must be called in a tokio runtime. `store` must be open.
    ///
    /// # Errors
    /// Returns an error if the system provides no threads or the TLS client can't be set up.
    pub(super) fn start(
        active: &Arc<ArcSwap<ActiveConfig>>,
        store: &Store,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, ServeError> {
        let runtime = Handle::current();
        let clients = HttpClients::load()?;
        let gateway_registry = GatewayRegistry::default();
        let config = active.load_full();
        let resolved = &config.components.resolved;
        let delivery_service = DeliveryService::start(
            runtime.clone(),
            &resolved.targets,
            clients.clone(),
            store,
            clock,
            entropy,
        );
        let gateway_monitors = GatewayMonitors::start(
            runtime.clone(),
            &resolved.gateway_credentials,
            gateway_registry.clone(),
            clients,
            store,
            clock,
            entropy,
        );
        let job_settings = Reloadable::part_of(active, |active| Arc::clone(&active.job_settings));
        let job_system = JobSystem::start(
            &config.components.config.workers,
            &job_settings,
            store,
            clock,
            entropy,
        )?;
        let backup = BackupService::start(
            config.components.config.backup.clone(),
            store,
            clock,
            entropy,
            runtime.clone(),
        )?;
        Ok(Self {
            runtime,
            health_monitor: HealthMonitor::default(),
            delivery_service: Arc::new(delivery_service),
            gateway_monitors: Arc::new(gateway_monitors),
            gateway_registry,
            job_system,
            backup,
        })
    }

    /// Waits until jobs, deliveries and gateway requests in flight have finished, and closes the
    /// admin socket.
    pub(super) async fn finish(self, socket: SocketServer) {
        let jobs = tokio::task::spawn_blocking(move || {
            self.job_system.stop(FINISH_TIMEOUT);
            drop(socket);
        });
        let _ = tokio::join!(
            jobs,
            self.delivery_service.stop(FINISH_TIMEOUT),
            self.gateway_monitors.stop(FINISH_TIMEOUT)
        );
        // The last upload has the results of all others.
        let backup = self.backup;
        let _ = tokio::task::spawn_blocking(move || backup.stop(LAST_UPLOAD_TIMEOUT)).await;
    }
}
