//! What the writer thread and the handles see of each other: health, the open file, figures.

use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crossbeam_channel::Sender;
use redb::Database;

use crate::domain::ids::JobId;

use super::StoreError;
use super::disk::Faults;

/// How the store is.
#[derive(Clone, Debug)]
pub enum Health {
    /// Another process has the file open.
    Waiting,
    /// The file is this process's own, and is being opened or verified.
    Opening,
    /// Changes are taken.
    Ready,
    /// The disk is nearly full: no new submissions, so that what is there can go on.
    LowSpace,
    /// The disk is full: the file is opened again as soon as there is room.
    NoSpace,
    /// The store has ended because of this.
    Failed(StoreError),
    /// The store has been closed.
    Closed,
}

/// What the writer has done since the start.
#[derive(Debug, Default)]
pub struct Figures {
    commits: AtomicU64,
    changes: AtomicU64,
    last_batch: AtomicU64,
    last_commit_us: AtomicU64,
    slowest_commit_us: AtomicU64,
    keys: AtomicU64,
}

/// What the writer has done since the start, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WriterFigures {
    /// Batches committed.
    pub commits: u64,
    /// Changes in them.
    pub changes: u64,
    /// Changes in the last one.
    pub last_batch: u64,
    /// How long the last one took, in microseconds.
    pub last_commit_us: u64,
    /// How long the slowest one took, in microseconds.
    pub slowest_commit_us: u64,
    /// Idempotency keys in memory.
    pub keys: u64,
}

impl Figures {
    pub(super) fn note_batch(&self, changes: usize, took: Duration, keys: usize) {
        let changes = u64::try_from(changes).unwrap_or(u64::MAX);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(changes, Ordering::Relaxed);
        self.last_batch.store(changes, Ordering::Relaxed);
        self.last_commit_us.store(us, Ordering::Relaxed);
        self.slowest_commit_us.fetch_max(us, Ordering::Relaxed);
        self.keys.store(u64::try_from(keys).unwrap_or(u64::MAX), Ordering::Relaxed);
        metrics::histogram!("flowgate_commit_seconds").record(took.as_secs_f64());
        metrics::histogram!("flowgate_batch_changes").record(u32::try_from(changes).unwrap_or(u32::MAX));
        metrics::gauge!("flowgate_idempotency_keys").set(u32::try_from(keys).unwrap_or(u32::MAX));
    }

    pub(super) fn note_idle(&self) {
        self.last_batch.store(0, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> WriterFigures {
        let get = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        WriterFigures {
            commits: get(&self.commits),
            changes: get(&self.changes),
            last_batch: get(&self.last_batch),
            last_commit_us: get(&self.last_commit_us),
            slowest_commit_us: get(&self.slowest_commit_us),
            keys: get(&self.keys),
        }
    }
}

/// Progress of a start: who has the file, and how much of it was verified.
#[derive(Clone)]
pub(super) struct Progress(Arc<Shared>);

impl Progress {
    pub(super) const fn of(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Notes that no other process has the file.
    pub(super) fn hold(&self) {
        let mut health = lock(&self.0.health);
        // Later on the file may be opened again, for want of space.
        if matches!(*health, Health::Waiting) {
            *health = Health::Opening;
            self.0.changed.notify_all();
        }
    }

    /// Takes the verified fraction, from 0 to 1, and logs it once each tenth.
    pub(super) fn report(&self, fraction: f64) {
        let tenths = (1..=10u8).rev().find(|tenths| fraction * 10.0 >= f64::from(*tenths)).unwrap_or(0);
        if self.0.verified_tenths.fetch_max(tenths, Ordering::Relaxed) < tenths {
            tracing::info!(store.progress_percent = u32::from(tenths) * 10, "verifying the data file");
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Progress({} %)", self.0.verified_percent())
    }
}

/// A file that can be read.
#[derive(Clone)]
pub(super) struct Readable {
    pub(super) database: Arc<Database>,
    pub(super) faults: Faults,
    /// The file is closed because the disk is full, and `database` shows the last commit before that.
    pub(super) is_last: bool,
}

/// What the writer thread and the handles share.
pub(super) struct Shared {
    health: Mutex<Health>,
    /// Tenths of the file that were verified at the start, where the file is large.
    verified_tenths: AtomicU8,
    changed: Condvar,
    readable: RwLock<Option<Readable>>,
    /// Rows that the last opening of the file left out of memory, because they can't be read.
    left_out: AtomicU64,
    suspects: Mutex<Vec<JobId>>,
    suspect_deliveries: Mutex<Vec<JobId>>,
    on_due: Mutex<Option<Sender<()>>>,
    on_delivery: Mutex<Option<Box<dyn Fn() + Send>>>,
    on_failure: Mutex<Vec<Sender<StoreError>>>,
    pub(super) figures: Figures,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            health: Mutex::new(Health::Waiting),
            verified_tenths: AtomicU8::new(0),
            changed: Condvar::new(),
            readable: RwLock::new(None),
            left_out: AtomicU64::new(0),
            suspects: Mutex::default(),
            suspect_deliveries: Mutex::default(),
            on_due: Mutex::default(),
            on_delivery: Mutex::default(),
            on_failure: Mutex::default(),
            figures: Figures::default(),
        }
    }

    pub(super) fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    /// A store that has failed stays so.
    pub(super) fn set(&self, health: Health) {
        let mut now = lock(&self.health);
        if !matches!(*now, Health::Failed(_)) {
            *now = health;
        }
        self.changed.notify_all();
    }

    /// The store ends with `error`.
    pub(super) fn fail(&self, error: &StoreError) {
        self.withdraw();
        self.set(Health::Failed(error.clone()));
        for told in lock(&self.on_failure).drain(..) {
            let _ = told.try_send(error.clone());
        }
    }

    /// The error that the store ends with.
    pub(super) fn failure(&self) -> Option<StoreError> {
        match &*lock(&self.health) {
            Health::Failed(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// Percent of the file that were verified at the start, where the file is large.
    pub(super) fn verified_percent(&self) -> u8 {
        self.verified_tenths.load(Ordering::Relaxed).saturating_mul(10)
    }

    /// Waits until no other process has the file, or the file will not be opened.
    pub(super) fn wait_held(&self) -> Result<(), StoreError> {
        self.wait_while(|health| matches!(health, Health::Waiting))
    }

    /// Waits until the file is open, or will not be.
    pub(super) fn wait_open(&self) -> Result<(), StoreError> {
        self.wait_while(|health| matches!(health, Health::Waiting | Health::Opening))
    }

    fn wait_while(&self, waits: impl Fn(&Health) -> bool) -> Result<(), StoreError> {
        let mut health = lock(&self.health);
        loop {
            match &*health {
                now if waits(now) => health = self.changed.wait(health).unwrap_or_else(PoisonError::into_inner),
                Health::Waiting | Health::Opening | Health::Ready | Health::LowSpace => return Ok(()),
                Health::NoSpace => return Err(StoreError::NoSpace),
                Health::Failed(error) => return Err(error.clone()),
                Health::Closed => return Err(StoreError::NotOpen),
            }
        }
    }

    /// A reader that comes when the store has failed finds nothing.
    pub(super) fn publish(&self, readable: Readable) {
        let mut published = self.readable.write().unwrap_or_else(PoisonError::into_inner);
        *published = self.failure().is_none().then_some(readable);
    }

    /// No new readers from here on.
    pub(super) fn withdraw(&self) {
        *self.readable.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn readable(&self) -> Option<Readable> {
        self.readable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note_left_out(&self, rows: u64) {
        self.left_out.store(rows, Ordering::Relaxed);
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    pub(super) fn suspect(&self, jobs: Vec<JobId>, deliveries: Vec<JobId>) {
        *lock(&self.suspects) = jobs;
        *lock(&self.suspect_deliveries) = deliveries;
    }

    pub(super) fn suspect_deliveries(&self) -> Vec<JobId> {
        lock(&self.suspect_deliveries).clone()
    }

    pub(super) fn suspects(&self) -> Vec<JobId> {
        lock(&self.suspects).clone()
    }

    pub(super) fn on_due(&self, wake: Sender<()>) {
        *lock(&self.on_due) = Some(wake);
    }

    pub(super) fn on_delivery(&self, call: impl Fn() + Send + 'static) {
        *lock(&self.on_delivery) = Some(Box::new(call));
    }

    pub(super) fn on_failure(&self, told: Sender<StoreError>) {
        let mut waiting = lock(&self.on_failure);
        match self.failure() {
            Some(error) => {
                let _ = told.try_send(error);
            }
            None => waiting.push(told),
        }
    }

    /// Tells the feeder that a job was scheduled. A full channel has told it already.
    pub(super) fn wake(&self) {
        if let Some(wake) = &*lock(&self.on_due) {
            let _ = wake.try_send(());
        }
    }

    /// Tells the courier that there is something to deliver, or that it may go on.
    pub(super) fn call_courier(&self) {
        if let Some(call) = &*lock(&self.on_delivery) {
            call();
        }
    }
}

/// The value behind a lock. A thread that panicked while it held it left no half-made value: all are set in one step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes free for us on the disk that holds `path`; `None` where the system can't tell.
pub(super) fn free_space(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
