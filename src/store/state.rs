//! Defines the state that the writer thread and the handles share: health, the open file, and
//! counters.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use crossbeam_channel::Sender;

use crate::domain::ids::JobId;

use super::engine::{Database, OpenObserver};
use super::{StoreError, StoreResult};

/// Health of the store, as health checks and metrics show it.
#[derive(Clone, Debug, Default)]
pub enum StoreHealth {
    /// Another process has the file open.
    #[default]
    WaitingForLock,
    /// This process has the lock, and opens or verifies the file.
    Opening,
    /// The store accepts transactions.
    Ready,
    /// The disk is nearly full. The store accepts no new submissions, so that the stored ones can
    /// be processed.
    LowSpace,
    /// The disk is full. The store opens the file again as soon as disk space is free.
    NoSpace,
    /// The store has failed with this error.
    Failed(StoreError),
    /// The store is closed.
    Closed,
}

/// Statistics of the writer since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WriterStats {
    /// Number of batches committed.
    pub commits: u64,
    /// Number of changes committed.
    pub changes: u64,
    /// Number of changes in the last batch.
    pub last_batch: u64,
    /// Duration of the last batch, in microseconds.
    pub last_commit_us: u64,
    /// Duration of the slowest batch, in microseconds.
    pub slowest_commit_us: u64,
    /// Number of idempotency keys in memory.
    pub keys: u64,
}

impl WriterStats {
    pub(super) fn record_batch(&mut self, changes: usize, took: Duration, keys: usize) {
        let changes = u64::try_from(changes).unwrap_or(u64::MAX);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits = self.commits.saturating_add(1);
        self.changes = self.changes.saturating_add(changes);
        self.last_batch = changes;
        self.last_commit_us = us;
        self.slowest_commit_us = self.slowest_commit_us.max(us);
        self.keys = u64::try_from(keys).unwrap_or(u64::MAX);
        metrics::histogram!("flowgate_commit_duration_seconds").record(took.as_secs_f64());
        metrics::histogram!("flowgate_commit_batch_size")
            .record(u32::try_from(changes).unwrap_or(u32::MAX));
        metrics::gauge!("flowgate_idempotency_keys").set(u32::try_from(keys).unwrap_or(u32::MAX));
    }
}

/// Progress of a start: the lock of the file, and the verified fraction.
#[derive(Clone)]
pub(super) struct OpenProgress {
    shared: Arc<StoreState>,
    on_progress: Arc<dyn Fn() + Send + Sync>,
}

impl OpenProgress {
    pub(super) fn new(shared: Arc<StoreState>, on_progress: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self {
            shared,
            on_progress,
        }
    }
}

impl OpenObserver for OpenProgress {
    fn on_locked(&self) {
        let mut health = self.shared.health.lock();
        // The writer may open the file again later, after a full disk.
        if matches!(*health, StoreHealth::WaitingForLock) {
            *health = StoreHealth::Opening;
            self.shared.health_changed.notify_all();
        }
    }

    /// Records the verified fraction, and logs each tenth once.
    fn on_verified(&self, fraction: f64) {
        (self.on_progress)();
        let tenths = (1..=10u8)
            .rev()
            .find(|tenths| fraction * 10.0 >= f64::from(*tenths))
            .unwrap_or(0);
        if self
            .shared
            .verified_tenths
            .fetch_max(tenths, Ordering::Relaxed)
            < tenths
        {
            tracing::info!(
                store.progress_percent = u32::from(tenths) * 10,
                "verifying the data file"
            );
        }
    }
}

impl std::fmt::Debug for OpenProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenProgress({} %)", self.shared.verified_percent())
    }
}

/// Open file from which readers take snapshots.
#[derive(Clone)]
pub(super) struct ReadSource {
    pub(super) database: Arc<Database>,
    /// `true` if the file is closed because the disk is full. Then `database` shows the last commit
    /// before that.
    pub(super) is_before_full_disk: bool,
}

impl ReadSource {
    /// Returns the source for a file that no transaction changes.
    pub(super) fn before_full_disk(database: Database) -> Self {
        Self {
            database: Arc::new(database),
            is_before_full_disk: true,
        }
    }
}

/// Entries of the change log that copies need.
#[derive(Debug, Default)]
pub struct LogHolds {
    /// Last entry that each copy does not need any more, by the number of the copy.
    released: Mutex<BTreeMap<u64, u64>>,
}

impl LogHolds {
    /// Returns the last entry that no copy needs. Returns `None` if there are no copies.
    pub(super) fn first(&self) -> Option<u64> {
        self.released.lock().values().min().copied()
    }
}

/// Hold of one copy. Until it is dropped, the entries behind the released one stay.
pub(super) struct LogHold {
    holds: Arc<LogHolds>,
    number: u64,
}

impl LogHold {
    /// Creates a hold of all entries.
    pub(super) fn new(holds: Arc<LogHolds>) -> Self {
        let mut released = holds.released.lock();
        let number = released
            .last_key_value()
            .map_or(0, |(last, _)| last.saturating_add(1));
        released.insert(number, 0);
        drop(released);
        Self { holds, number }
    }

    /// Releases the entries up to number `entry`.
    pub(super) fn release_up_to(&self, entry: u64) {
        self.holds.released.lock().insert(self.number, entry);
    }
}

impl Drop for LogHold {
    fn drop(&mut self) {
        self.holds.released.lock().remove(&self.number);
    }
}

/// State that the writer thread and the handles share.
#[derive(Default)]
pub(super) struct StoreState {
    health: Mutex<StoreHealth>,
    /// Verified part of the file at start, in tenths. 0 for small files.
    verified_tenths: AtomicU8,
    health_changed: Condvar,
    read_source: RwLock<Option<ReadSource>>,
    /// Number of unreadable rows that the last opening of the file skipped.
    pub(super) unreadable_rows: AtomicU64,
    pub(super) suspect_jobs: Mutex<Vec<JobId>>,
    pub(super) suspect_deliveries: Mutex<Vec<JobId>>,
    pub(super) job_due_tx: Mutex<Option<Sender<()>>>,
    pub(super) delivery_due_callback: Mutex<Option<Box<dyn Fn() + Send>>>,
    failure_txs: Mutex<Vec<Sender<StoreError>>>,
    pub(super) log_holds: Arc<LogHolds>,
    pub(super) writer_stats: Mutex<WriterStats>,
}

impl StoreState {
    pub(super) fn health(&self) -> StoreHealth {
        self.health.lock().clone()
    }

    /// Sets the health. A failed store stays failed.
    pub(super) fn set_health(&self, health: StoreHealth) {
        let mut current = self.health.lock();
        if !matches!(*current, StoreHealth::Failed(_)) {
            *current = health;
        }
        self.health_changed.notify_all();
    }

    /// Records that the store fails with `error`.
    pub(super) fn fail(&self, error: &StoreError) {
        self.unpublish();
        self.set_health(StoreHealth::Failed(error.clone()));
        for failure_tx in self.failure_txs.lock().drain(..) {
            let _ = failure_tx.try_send(error.clone());
        }
    }

    /// Returns the error with which the store failed.
    pub(super) fn failure(&self) -> Option<StoreError> {
        match &*self.health.lock() {
            StoreHealth::Failed(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// Returns the verified part of the file at start, in percent. The value is 0 for small files.
    pub(super) fn verified_percent(&self) -> u8 {
        self.verified_tenths
            .load(Ordering::Relaxed)
            .saturating_mul(10)
    }

    /// Waits while the health is pending, and returns the reason if opening failed.
    pub(super) fn wait_while(&self, is_pending: impl Fn(&StoreHealth) -> bool) -> StoreResult<()> {
        let mut health = self.health.lock();
        loop {
            match &*health {
                current if is_pending(current) => {
                    self.health_changed.wait(&mut health);
                }
                StoreHealth::WaitingForLock
                | StoreHealth::Opening
                | StoreHealth::Ready
                | StoreHealth::LowSpace => return Ok(()),
                StoreHealth::NoSpace => return Err(StoreError::NoSpace),
                StoreHealth::Failed(error) => return Err(error.clone()),
                StoreHealth::Closed => return Err(StoreError::NotOpen),
            }
        }
    }

    /// Publishes the open file for readers. After a failure of the store, readers find no file.
    pub(super) fn publish(&self, source: ReadSource) {
        let mut published = self.read_source.write();
        *published = self.failure().is_none().then_some(source);
    }

    /// Removes the open file: no new reader can start.
    pub(super) fn unpublish(&self) {
        *self.read_source.write() = None;
    }

    pub(super) fn read_source(&self) -> Option<ReadSource> {
        self.read_source.read().clone()
    }

    pub(super) fn on_failure(&self, failure_tx: Sender<StoreError>) {
        let mut failure_txs = self.failure_txs.lock();
        match self.failure() {
            Some(error) => {
                let _ = failure_tx.try_send(error);
            }
            None => failure_txs.push(failure_tx),
        }
    }

    /// Wakes the dispatcher because a job was scheduled. A full channel already contains a wake-up.
    pub(super) fn wake_dispatcher(&self) {
        if let Some(job_due_tx) = &*self.job_due_tx.lock() {
            let _ = job_due_tx.try_send(());
        }
    }

    /// Wakes the delivery service because a delivery is due or a destination may continue.
    pub(super) fn wake_deliveries(&self) {
        if let Some(callback) = &*self.delivery_due_callback.lock() {
            callback();
        }
    }
}

/// Returns the free space for this process on the disk of `path`, in bytes. Returns `None` if the
/// system can't report the free space.
pub(super) fn free_space(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
