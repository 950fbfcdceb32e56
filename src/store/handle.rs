//! Defines the handle to the store, which starts and closes the store, submits transactions and
//! returns snapshots.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::domain::ids::JobId;
use crate::panic::catch_panic;

use super::options::StoreOptions;
use super::read::Snapshot;
use super::state::{LogHolds, StoreHealth, StoreState, WriterStats};
use super::writer::Writer;
use super::writer::queued_transaction::{QueuedTransaction, WriteRequest};
use super::writer::write_context::{Timing, Transaction};
use super::writer::write_queue::WriteQueues;
use super::{StoreError, StoreResult};

/// Capacity of the internal write queue: transactions from workers and admins.
const INTERNAL_QUEUE: usize = 4096;

/// Interval at which a task checks again for space in the write queue.
const QUEUE_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Reason why a submission was not queued. Nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The intake queue is full.
    #[error("the intake queue is full")]
    QueueFull,
    /// The file is not open yet, the disk is full, or the store has stopped.
    #[error("the data file can't accept writes at the moment: see the log")]
    NotOpen,
    /// The disk is nearly full.
    #[error("the disk is nearly full: free disk space")]
    LowSpace,
}

/// A handle to the store, cheap to clone. [`Store::close`] closes the file, or the file is closed
/// when the last handle is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<StoreState>,
    clock: Arc<dyn Clock>,
    options: Arc<StoreOptions>,
    intake: Sender<Box<dyn WriteRequest>>,
    internal: Sender<Box<dyn WriteRequest>>,
    stop: Sender<()>,
    writer_done: Receiver<()>,
}

impl Store {
    /// Starts the writer thread, which opens the file. Use [`Store::wait_open`] to get the result
    /// of the open.
    ///
    /// # Errors
    /// [`StoreError::File`] if the operating system can't start a thread.
    pub fn start(options: StoreOptions, clock: Arc<dyn Clock>) -> StoreResult<Self> {
        let shared = Arc::new(StoreState::default());
        let (intake, intake_rx) = bounded(options.intake_queue.max(1));
        let (internal, internal_rx) = bounded(INTERNAL_QUEUE);
        let (stop, stop_rx) = bounded(1);
        let (done_tx, writer_done) = bounded(1);
        let writer = Writer {
            options: options.clone(),
            clock: Arc::clone(&clock),
            shared: Arc::clone(&shared),
            queues: WriteQueues {
                intake: intake_rx,
                internal: internal_rx,
                stop: stop_rx,
                max_batch: options.max_batch,
            },
            expiry_clock: Cell::default(),
        };
        let path = options.path.clone();
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                writer.run();
                drop(done_tx);
            })
            .map_err(|error| StoreError::File {
                operation: "start the writer of",
                path,
                error: error.to_string(),
            })?;
        Ok(Self {
            shared,
            clock,
            options: Arc::new(options),
            intake,
            internal,
            stop,
            writer_done,
        })
    }

    /// Waits until no other process has the file open. From then on, only this process may use the
    /// file.
    ///
    /// # Errors
    /// [`StoreError::InUse`] after [`StoreOptions::lock_timeout`], or the reason why the file can't
    /// be opened.
    pub fn wait_exclusive(&self) -> StoreResult<()> {
        self.shared
            .wait_while(|health| matches!(health, StoreHealth::WaitingForLock))
    }

    /// Returns the verified part of the file at the start, in percent. The value is 0 for a small
    /// file.
    #[must_use]
    pub fn verified_percent(&self) -> u8 {
        self.shared.verified_percent()
    }

    /// Waits until the file is open.
    ///
    /// # Errors
    /// The reason why the file can't be opened.
    pub fn wait_open(&self) -> StoreResult<()> {
        self.shared.wait_while(|health| {
            matches!(health, StoreHealth::WaitingForLock | StoreHealth::Opening)
        })
    }

    /// Returns the health of the store.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.shared.health()
    }

    /// Submits a submission to the writer and never waits. The writer thread calls `reply` after
    /// the commit, so `reply` must be fast. If the store stops first, `reply` is dropped without a
    /// call.
    ///
    /// # Errors
    /// [`SubmitError`]: nothing was queued, and `reply` is not called.
    pub fn try_submit<T: Transaction>(
        &self,
        transaction: T,
        reply: impl FnOnce(StoreResult<T::Outcome>, Timing) + Send + 'static,
    ) -> Result<(), SubmitError> {
        match self.shared.health() {
            StoreHealth::Ready => {}
            StoreHealth::LowSpace => return Err(SubmitError::LowSpace),
            _ => return Err(SubmitError::NotOpen),
        }
        let request = QueuedTransaction::boxed(transaction, reply, self.clock.elapsed());
        self.intake.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => SubmitError::QueueFull,
            TrySendError::Disconnected(_) => SubmitError::NotOpen,
        })
    }

    /// Submits an internal transaction to the writer. Waits for space in the write queue, but not
    /// for the commit. See [`Store::try_submit`] for `reply`. If the store has already stopped,
    /// `reply` is called at once with [`StoreError::NotOpen`].
    pub fn submit<T: Transaction>(
        &self,
        transaction: T,
        reply: impl FnOnce(StoreResult<T::Outcome>, Timing) + Send + 'static,
    ) {
        let request = QueuedTransaction::boxed(transaction, reply, self.clock.elapsed());
        if let Err(returned) = self.internal.send(request) {
            returned.into_inner().reply_error(StoreError::NotOpen);
        }
    }

    /// Executes a transaction, and blocks until the transaction is on disk.
    ///
    /// # Errors
    /// The reason why the transaction failed.
    pub fn execute_blocking<T: Transaction>(&self, transaction: T) -> StoreResult<T::Outcome> {
        let (outcome_tx, outcome_rx) = bounded(1);
        self.submit(transaction, move |result, _| {
            let _ = outcome_tx.send(result);
        });
        outcome_rx.recv().unwrap_or(Err(StoreError::NotOpen))
    }

    /// Executes a transaction like [`Store::execute_blocking`], but waits without blocking a
    /// thread. If the task is cancelled meanwhile, a committed transaction stays on disk.
    ///
    /// # Errors
    /// The reason why the transaction failed.
    pub async fn execute<T: Transaction>(&self, transaction: T) -> StoreResult<T::Outcome> {
        let (outcome_tx, outcome_rx) = oneshot::channel();
        let reply = move |result, _| {
            let _ = outcome_tx.send(result);
        };
        let mut request = QueuedTransaction::boxed(transaction, reply, self.clock.elapsed());
        while let Err(refused) = self.internal.try_send(request) {
            match refused {
                TrySendError::Full(returned) => request = returned,
                TrySendError::Disconnected(_) => return Err(StoreError::NotOpen),
            }
            sleep(QUEUE_POLL_INTERVAL).await;
        }
        outcome_rx.await.unwrap_or(Err(StoreError::NotOpen))
    }

    /// Returns a snapshot of the last commit. Drop the snapshot soon: while it exists, the engine
    /// can't reuse any page of the file. An invalid page or an unreadable disk stops the store. See
    /// [`Store::failure_receiver`].
    ///
    /// # Errors
    /// [`StoreError::NotOpen`], or the error with which the engine refused to begin the read.
    pub fn read(&self) -> StoreResult<Snapshot> {
        let snapshot = self.read_last()?;
        if snapshot.is_before_full_disk {
            return Err(StoreError::NotOpen);
        }
        Ok(snapshot)
    }

    /// Returns a snapshot like [`Store::read`]. While the disk is full and nothing can change,
    /// returns the last commit before the disk was full. Use the result only to show data. The
    /// results of actions can't be stored meanwhile, so a caller would repeat the same action again
    /// and again.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_last(&self) -> StoreResult<Snapshot> {
        Snapshot::begin(&self.shared)
    }

    /// Calls a function with a snapshot of the last commit, and returns its result.
    ///
    /// # Errors
    /// As [`Store::read`], and the errors of the function.
    pub fn read_with<T>(&self, read: impl FnOnce(Snapshot) -> StoreResult<T>) -> StoreResult<T> {
        // The snapshot catches a panic of the engine. A panic of the caller's own function becomes
        // an error, and the caller's thread continues.
        catch_panic(|| read(self.read()?)).unwrap_or_else(|panic| Err(StoreError::Engine(panic)))
    }

    /// Returns the time of the process clock.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.options.path
    }

    /// Returns the holds of copies on the change log.
    pub(super) fn log_holds(&self) -> Arc<LogHolds> {
        Arc::clone(&self.shared.log_holds)
    }

    /// Returns `true` if the store is read-only. See [`StoreOptions::is_read_only`].
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.options.is_read_only
    }

    /// Returns the number of unreadable rows that the store skipped when it opened the file.
    /// `flowgate check` lists these rows.
    #[must_use]
    pub fn unreadable_rows(&self) -> u64 {
        self.shared.unreadable_rows.load(Ordering::Relaxed)
    }

    /// Returns the jobs that may have been running when the process died, in the order of their due
    /// times. The list is empty after a clean shutdown. The list is complete once the file is open.
    #[must_use]
    pub fn suspect_jobs(&self) -> Vec<JobId> {
        self.shared.suspect_jobs.lock().clone()
    }

    /// Returns the deliveries that may have been running when the process died. The list is empty
    /// after a clean shutdown. The list is complete once the file is open.
    #[must_use]
    pub fn suspect_deliveries(&self) -> Vec<JobId> {
        self.shared.suspect_deliveries.lock().clone()
    }

    /// Registers a channel that gets a token after each commit that scheduled a job. A new channel
    /// replaces the previous one.
    pub fn on_job_due(&self, job_due_tx: Sender<()>) {
        *self.shared.job_due_tx.lock() = Some(job_due_tx);
    }

    /// Registers a function that the writer thread calls after each commit that scheduled a
    /// delivery or resumed a destination. The function must be fast. A new function replaces the
    /// previous one.
    pub fn on_delivery_due(&self, callback: impl Fn() + Send + 'static) {
        *self.shared.delivery_due_callback.lock() = Some(Box::new(callback));
    }

    /// Returns a channel that receives the error with which the store stops. A clean shutdown sends
    /// no error.
    #[must_use]
    pub fn failure_receiver(&self) -> Receiver<StoreError> {
        let (failure_tx, failure_rx) = bounded(1);
        self.shared.on_failure(failure_tx);
        failure_rx
    }

    /// Returns the statistics of the writer since the start.
    #[must_use]
    pub fn writer_stats(&self) -> WriterStats {
        *self.shared.writer_stats.lock()
    }

    /// Returns the number of submissions in the intake queue, and the capacity of the queue.
    #[must_use]
    pub fn intake_queue_depth(&self) -> (usize, usize) {
        (self.intake.len(), self.options.intake_queue)
    }

    /// Returns the disk space of the file in bytes. The file is sparse, so the disk space is less
    /// than the file length.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        super::compact::allocated_bytes(&self.options.path)
    }

    /// Returns the free disk space in bytes (`None` if unknown), and the minimum in bytes below
    /// which the store accepts no submission.
    #[must_use]
    pub fn free_space(&self) -> (Option<u64>, u64) {
        (
            super::state::free_space(&self.options.path),
            self.options.min_free_bytes,
        )
    }

    /// Commits all queued transactions, closes the file, and waits for the writer thread. Other
    /// handles can't be used afterwards.
    ///
    /// # Errors
    /// The reason why the shutdown was not clean.
    pub fn close(&self) -> StoreResult<()> {
        let _ = self.stop.try_send(());
        // The writer sends nothing: the channel closes when the thread ends.
        let _ = self.writer_done.recv();
        self.shared.failure().map_or(Ok(()), Err)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.options.path)
            .finish_non_exhaustive()
    }
}
