//! Test harness: a destination worker whose steps the test runs.

use std::net::SocketAddr;
use std::ops::Deref;
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

/// Worker whose steps the test runs, with the harness of its store.
pub struct WorkerHarness {
    delivery: DeliveryHarness,
    pub config_tx: watch::Sender<WorkerConfig>,
    pub stats: DeliveryStats,
    pub worker: DestinationWorker,
    pub attempts: JoinSet<Result<AttemptOutcome, StoreError>>,
}

impl WorkerHarness {
    pub fn new(address: SocketAddr, more: &str) -> Self {
        let delivery = DeliveryHarness::new(address, more);
        let stats = DeliveryStats::default();
        let (config_tx, worker) = new_worker(&delivery, &stats);
        Self {
            delivery,
            config_tx,
            stats,
            worker,
            attempts: JoinSet::new(),
        }
    }

    /// Replaces the worker with a new one, as after a restart.
    pub fn replace_worker(&mut self) {
        self.attempts.abort_all();
        self.stats = DeliveryStats::default();
        (self.config_tx, self.worker) = new_worker(&self.delivery, &self.stats);
    }

    /// Advances the clock by `length` and runs a step. Returns the number of deliveries in flight
    /// and the pause of the worker.
    pub fn step_after(&mut self, length: Duration) -> (usize, Duration) {
        self.clock
            .advance(Millis::new(u64::try_from(length.as_millis()).unwrap()));
        let pause = self.worker.step(&mut self.attempts);
        (self.stats.in_flight().len(), pause)
    }

    /// Advances the clock by `length`, runs a step, and asserts the number of deliveries in flight.
    #[track_caller]
    pub fn assert_step(&mut self, length: Duration, in_flight: usize, why: &str) {
        assert_eq!(self.step_after(length).0, in_flight, "{why}");
    }

    /// Advances the clock by `length`, and runs the attempt of the only delivery that is due.
    pub async fn run_attempt(&mut self, length: Duration) {
        self.assert_step(length, 1, "one delivery is due");
        self.finish_one().await;
    }

    /// Waits for the end of one attempt and reports it to the worker.
    pub async fn finish_one(&mut self) {
        let ended = self.attempts.join_next_with_id().await.unwrap();
        self.worker.finish_attempt(ended);
    }
}

impl Deref for WorkerHarness {
    type Target = DeliveryHarness;

    fn deref(&self) -> &DeliveryHarness {
        &self.delivery
    }
}

/// Returns a worker with the sender of its config.
fn new_worker(
    harness: &DeliveryHarness,
    stats: &DeliveryStats,
) -> (watch::Sender<WorkerConfig>, DestinationWorker) {
    let target = harness.targets().remove(&DeliveryHarness::crm()).unwrap();
    let (config_tx, config_rx) = watch::channel(WorkerConfig {
        target,
        resume_count: 0,
    });
    let (_, wakeups) = watch::channel(0);
    let (crm, context) = (DeliveryHarness::crm(), harness.context());
    let worker = DestinationWorker::new(crm, config_rx, context, stats.clone(), wakeups);
    (config_tx, worker)
}
