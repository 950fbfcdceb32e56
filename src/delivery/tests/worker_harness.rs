//! Test harness: a destination worker whose steps the test runs.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::support::DeliveryHarness;
use crate::delivery::DeliveryStats;
use crate::delivery::attempt::AttemptOutcome;
use crate::delivery::destination_worker::{DestinationWorker, WorkerConfig};
use crate::domain::time::Millis;
use crate::store::StoreError;

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_mins(1);

/// Worker whose steps the test runs.
pub struct WorkerHarness {
    pub harness: DeliveryHarness,
    pub stats: DeliveryStats,
    pub worker: DestinationWorker,
    pub attempts: JoinSet<Result<AttemptOutcome, StoreError>>,
}

impl WorkerHarness {
    pub fn new(address: SocketAddr, more: &str) -> Self {
        let harness = DeliveryHarness::new(address, more);
        let stats = DeliveryStats::default();
        let worker = new_worker(&harness, &stats);
        Self {
            harness,
            stats,
            worker,
            attempts: JoinSet::new(),
        }
    }

    /// Replaces the worker with a new one, as after a restart.
    pub fn replace_worker(&mut self) {
        self.attempts.abort_all();
        self.stats = DeliveryStats::default();
        self.worker = new_worker(&self.harness, &self.stats);
    }

    /// Advances the clock by `length` and runs a step. Returns the number of deliveries in flight
    /// and the pause of the worker.
    pub fn step_after(&mut self, length: Duration) -> (usize, Duration) {
        self.harness
            .clock
            .advance(Millis::new(u64::try_from(length.as_millis()).unwrap()));
        let pause = self.worker.step(&mut self.attempts);
        (self.stats.in_flight().len(), pause)
    }

    /// Waits for the end of one attempt and reports it to the worker.
    pub async fn finish_one(&mut self) {
        let ended = self.attempts.join_next_with_id().await.unwrap();
        self.worker.finish_attempt(ended);
    }
}

fn new_worker(harness: &DeliveryHarness, stats: &DeliveryStats) -> DestinationWorker {
    new_worker_with_config(harness, stats).1
}

/// Returns a worker with the sender of its config.
pub fn new_worker_with_config(
    harness: &DeliveryHarness,
    stats: &DeliveryStats,
) -> (watch::Sender<WorkerConfig>, DestinationWorker) {
    let target = harness.targets().remove(&DeliveryHarness::crm()).unwrap();
    let (config_tx, config_rx) = watch::channel(WorkerConfig {
        target,
        resume_count: 0,
    });
    let (_, wakeups) = watch::channel(0);
    (
        config_tx,
        DestinationWorker::new(
            DeliveryHarness::crm(),
            config_rx,
            harness.context(),
            stats.clone(),
            wakeups,
        ),
    )
}
