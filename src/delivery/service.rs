//! Starts, updates and stops the destination workers when the config changes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::context::DeliveryContext;
use super::destination_worker::{DestinationWorker, WorkerConfig};
use super::eligibility::ProcessStart;
use super::shared_rate_limit::SharedLimiters;
use super::stats::DeliveryStats;
use super::suspect_deliveries::SuspectDeliveries;
use super::target::{DeliveryTarget, DeliveryTargets};
use crate::clock::{Clock, Entropy};
use crate::domain::ids::DestinationName;
use crate::net::HttpClients;
use crate::store::Store;
use crate::tasks::{self, Tasks};

/// Workers of all destinations. They run until [`DeliveryService::stop`].
pub struct DeliveryService {
    context: DeliveryContext,
    runtime: Handle,
    stats: DeliveryStats,
    /// Number of times that the writer has woken the workers.
    wakeups: watch::Receiver<u64>,
    workers: Mutex<Tasks<DestinationName, watch::Sender<WorkerConfig>>>,
}

impl DeliveryService {
    /// Starts a worker for each target on `runtime`. `store` must be open.
    #[must_use]
    pub fn start(
        runtime: Handle,
        targets: &DeliveryTargets,
        clients: HttpClients,
        store: &Store,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Self {
        let (call, called) = watch::channel(0_u64);
        store.on_delivery_due(move || call.send_modify(|calls| *calls = calls.wrapping_add(1)));
        let context = DeliveryContext {
            store: store.clone(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            clients,
            limiters: SharedLimiters::default(),
            process_start: ProcessStart::capture(&**clock),
            suspects: SuspectDeliveries::load(store),
        };
        let service = Self {
            context,
            runtime,
            stats: DeliveryStats::default(),
            wakeups: called,
            workers: Mutex::default(),
        };
        service.reconcile(targets);
        service
    }

    /// Applies a new config. Starts workers for new destinations and updates the workers of the
    /// others. Stops the workers of removed destinations. Their pending deliveries stay stored.
    pub fn reconcile(&self, targets: &DeliveryTargets) {
        let mut workers = self.workers.lock();
        if workers.is_stopped() {
            return;
        }
        workers.retain(|name, _| targets.contains_key(name));
        self.stats.retain(|name| targets.contains_key(name));
        for (name, target) in targets {
            if let Some(worker) = workers.get(name) {
                worker.send_modify(|config| config.target = Arc::clone(target));
                continue;
            }
            let (config_tx, config_rx) = watch::channel(WorkerConfig {
                target: Arc::clone(target),
                resume_count: 0,
            });
            let worker = DestinationWorker::new(
                name.clone(),
                config_rx,
                self.context.clone(),
                self.stats.clone(),
                self.wakeups.clone(),
            );
            // A destination must have one worker at a time. Of two workers, only one would know
            // which deliveries are in flight.
            workers.begin(&self.runtime, name.clone(), config_tx, worker.run());
        }
    }

    /// Returns the statistics of the workers.
    #[must_use]
    pub fn stats(&self) -> DeliveryStats {
        self.stats.clone()
    }

    /// Returns the current target of `name`, or `None` if it has no worker.
    #[must_use]
    pub fn target(&self, name: &DestinationName) -> Option<Arc<DeliveryTarget>> {
        let workers = self.workers.lock();
        workers
            .get(name)
            .map(|worker| Arc::clone(&worker.borrow().target))
    }

    /// Resumes `name` for an admin. Its deliveries start at once: the worker resets the breaker and
    /// the pause that the destination asked for.
    pub fn resume(&self, name: &DestinationName) {
        let workers = self.workers.lock();
        if let Some(worker) = workers.get(name) {
            worker.send_modify(|config| config.resume_count = config.resume_count.wrapping_add(1));
        }
    }

    /// Returns the HTTP clients, for tests of a destination.
    #[must_use]
    pub fn clients(&self) -> HttpClients {
        self.context.clients.clone()
    }

    /// Stops the workers and waits for deliveries in flight and their records, at most for
    /// `deadline`. An unfinished delivery stays due. It is sent again at the next start.
    pub async fn stop(&self, deadline: Duration) {
        // A later reload must start no worker. Without this, deliveries in flight would be sent
        // again.
        let workers = self.workers.lock().stop();
        if !tasks::finish(workers, deadline).await {
            tracing::warn!(
                "some deliveries did not finish in time: they are sent again at the next start"
            );
        }
    }
}

impl std::fmt::Debug for DeliveryService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryService").finish_non_exhaustive()
    }
}
