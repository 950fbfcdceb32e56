//! Sends deliveries. Each destination has its own worker, so a broken destination blocks no other.
//!
//! ```text
//! file ── due deliveries ──▶ destination worker (tokio task) ──▶ attempt ──▶ destination
//!                                   ▲                              │
//!                                   └──── recorded and on disk ◀───┘
//! ```
//!
//! | file | responsibility |
//! |---|---|
//! | `destination_worker` | starts deliveries: each once, within concurrency, rate and breaker |
//! | `ready_queue` | reads due deliveries and classifies them: send, defer, expire |
//! | `clock_skew` | finds deliveries that should be due, but were scheduled by a fast clock |
//! | `attempt` | makes one attempt and records its result |
//! | `client` | sends a message and interprets the response |
//! | `eligibility` | decides whether a due delivery is sent, deferred or expired |
//! | `suspect_deliveries` | stops a delivery that would crash the process again and again |
//! | `shared_rate_limit` | order and rate of destinations that share a gateway or phone number |
//! | `channel::smtp` | builds an e-mail from an event, and interprets the reply |
//! | `channel::whatsapp` | builds a WhatsApp message, and parses Meta's response |
//! | `channel::gateway` | builds and merges texts through a gateway, and parses the response |
//! | `target` | a destination with its secrets |
//! | `stats` | statistics of the workers |
//!
//! As with jobs, the start of a delivery is not recorded on disk. Only its worker knows which
//! deliveries are in flight. After a crash, such a delivery is still due. It is sent again with the
//! same ID.
//!
//! See [`crate::domain::delivery`] for the disposition of a response, [`crate::domain::job::retry`]
//! for the time of the next attempt, and [`crate::domain::circuit_breaker`] for pauses after
//! failures.

mod attempt;
pub(crate) mod channel;
mod client;
mod clock_skew;
mod destination_worker;
mod eligibility;
mod ready_queue;
mod shared_rate_limit;
mod stats;
mod suspect_deliveries;
mod target;
#[cfg(test)]
mod tests;

use parking_lot::Mutex;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

pub use channel::gateway::GatewayResponse;
pub use channel::smtp::{build_email, build_message};
pub use channel::whatsapp::CloudApiResponse;
pub use client::{DeliveryClient, ProviderResponse, SendOutcome, request_headers};
pub use stats::{DeliveryStats, DestinationStats};
pub use target::{DeliveryTarget, DeliveryTargets, DestinationCredentials, WebhookEndpoint};

use crate::clock::{Clock, Entropy};
use crate::domain::ids::DestinationName;
use crate::net::HttpClients;
use crate::store::Store;
use crate::tasks::{self, Tasks};
use destination_worker::DestinationWorker;
use eligibility::ProcessStart;
use shared_rate_limit::SharedLimiters;
use suspect_deliveries::SuspectDeliveries;

/// Dependencies that all workers share.
#[derive(Clone)]
pub(crate) struct DeliveryContext {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) client: DeliveryClient,
    pub(crate) limiters: SharedLimiters,
    pub(crate) process_start: ProcessStart,
    pub(crate) suspects: SuspectDeliveries,
}

/// Workers of all destinations. They run until [`DeliveryService::stop`].
pub struct DeliveryService {
    context: DeliveryContext,
    runtime: Handle,
    stats: DeliveryStats,
    /// Number of times that the writer has woken the workers.
    wakeups: watch::Receiver<u64>,
    workers: Mutex<Tasks<DestinationName, watch::Sender<WorkerConfig>>>,
}

/// Current config of a worker.
#[derive(Clone, Debug)]
struct WorkerConfig {
    target: Arc<DeliveryTarget>,
    /// Number of resumes by an admin. After a resume, the worker resets the breaker and the pause.
    resume_count: u64,
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
            client: DeliveryClient::new(clients),
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

    /// Returns the client, for tests of a destination.
    #[must_use]
    pub fn client(&self) -> DeliveryClient {
        self.context.client.clone()
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
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}
