//! The single writer thread: reads the queues, applies and commits transactions, and then replies.
//!
//! The writer replaces row locks. Transactions run one after the other, so two of them can't book
//! the last slot or accept the same token.
//!
//! See [`self::write_queue`] for the contents of a batch and [`super::tx`] for the transactions.
//! The code that starts the store decides what the process does after a failure.

pub(in crate::store) mod dedup_index;
mod open_file;
pub(in crate::store) mod queued_transaction;
mod skipped_rows;
mod suspects;
pub(in crate::store) mod write_context;
pub(in crate::store) mod write_queue;
pub(in crate::store) mod writer_state;

use std::cell::Cell;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::time::{Millis, Timestamp};
use crate::panic::catch_panic;

use super::data_file::{self, OpenedFile};
use super::engine::OpenObserver;
use super::expiry_clock::ExpiryClock;
use super::options::StoreOptions;
use super::rows::schema::{DELIVERIES_DUE, DUE};
use super::state::{OpenProgress, ReadSource, StoreHealth, StoreState};
use super::{StoreError, StoreResult};
use open_file::{BatchOutcome, OpenFile};
use queued_transaction::WriteRequest;
use suspects::{find_suspect_deliveries, find_suspect_jobs};
use write_queue::{IDLE_TIMEOUT, WriteQueues, WriterAction};
use writer_state::WriterState;

/// Initial and maximum pause between attempts to open the file again after a full disk.
const REOPEN_PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(15)];
/// Pause between attempts to open a file that another process has open.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Minimum downtime by the wall clock that the log reports.
const DOWNTIME_LOG_MIN: Millis = Millis::from_secs(60 * 60);

/// Minimum free space, in bytes, for a new attempt to open the file after a full disk.
///
/// Opening a large file takes long. With less free space, the attempt would fail.
const REOPEN_FREE_BYTES_MIN: u64 = 1 << 20;

/// Writer: the state of the writer thread.
pub(super) struct Writer {
    pub(super) options: StoreOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shared: Arc<StoreState>,
    pub(super) queues: WriteQueues,
    /// Expiry clock since the first opening of the file. The clock continues while the file is
    /// closed because of a full disk.
    pub(super) expiry_clock: Cell<Option<ExpiryClock>>,
}

impl Writer {
    /// Runs until a stop signal, or until the file or the disk can't be trusted any more.
    ///
    /// Any panic counts as the latter, because the engine panics on invalid pages.
    pub(super) fn run(&self) {
        let serve = || {
            if self.options.is_read_only {
                self.serve_read_only();
            } else {
                self.serve_read_write();
            }
        };
        if let Err(panic) = catch_panic(serve) {
            self.shared.fail(&StoreError::Damaged(panic));
        }
    }

    /// Opens the file read-only and publishes it for readers until a stop signal.
    fn serve_read_only(&self) {
        let lock_deadline = self.lock_deadline();
        loop {
            match data_file::open_read_only(&self.options, true) {
                Ok(database) => {
                    self.shared.publish(ReadSource::before_full_disk(database));
                    self.shared.set_health(StoreHealth::Ready);
                    while !self.is_stopped_during(IDLE_TIMEOUT) {}
                    self.shared.unpublish();
                    return self.shared.set_health(StoreHealth::Closed);
                }
                Err(StoreError::InUse(_)) if self.clock.elapsed() < lock_deadline => {
                    if self.is_stopped_during(LOCK_RETRY_INTERVAL) {
                        return self.shared.set_health(StoreHealth::Closed);
                    }
                }
                Err(error) => return self.shared.fail(&error),
            }
        }
    }

    /// Returns the process clock at which the writer stops to wait for another process.
    fn lock_deadline(&self) -> Duration {
        self.clock
            .elapsed()
            .saturating_add(self.options.lock_timeout)
    }

    /// Refuses all transactions during `pause`. Returns `true` after a stop signal.
    fn is_stopped_during(&self, pause: Duration) -> bool {
        self.queues.refuse_during(pause, &StoreError::NotOpen)
    }

    /// Opens the file and runs transactions. Opens the file again after a full disk.
    fn serve_read_write(&self) {
        let mut first = true;
        let mut pause = REOPEN_PAUSES[0];
        let lock_deadline = self.lock_deadline();
        let mut is_logged = false;
        loop {
            match self.open_file(first) {
                Ok(open) => {
                    (first, pause) = (false, REOPEN_PAUSES[0]);
                    match self.process_queues(open) {
                        Ok(()) => return self.shared.set_health(StoreHealth::Closed),
                        Err(StoreError::NoSpace) => {
                            tracing::error!(
                                "the disk is full: new submissions get 503 until space is freed"
                            );
                        }
                        Err(error) => return self.shared.fail(&error),
                    }
                }
                Err(StoreError::InUse(_)) if first && self.clock.elapsed() < lock_deadline => {
                    if !mem::replace(&mut is_logged, true) {
                        let seconds = self.options.lock_timeout.as_secs();
                        tracing::warn!(
                            "another flowgate command or server has the data file open: waiting up to {seconds} s"
                        );
                    }
                    if self.is_stopped_during(LOCK_RETRY_INTERVAL) {
                        return self.shared.set_health(StoreHealth::Closed);
                    }
                    continue;
                }
                // A reader may still use the old file for a moment.
                Err(StoreError::NoSpace | StoreError::InUse(_)) if !first => {}
                Err(error) => return self.shared.fail(&error),
            }
            self.shared.set_health(StoreHealth::NoSpace);
            self.publish_last_commit();
            loop {
                if self.queues.refuse_during(pause, &StoreError::NoSpace) {
                    self.shared.unpublish();
                    return self.shared.set_health(StoreHealth::Closed);
                }
                let [_, longest] = REOPEN_PAUSES;
                pause = pause.saturating_mul(2).min(longest);
                if super::state::free_space(&self.options.path)
                    .is_none_or(|free| free >= REOPEN_FREE_BYTES_MIN)
                {
                    break;
                }
            }
        }
    }

    /// Publishes the last commit for readers until the file is open again.
    fn publish_last_commit(&self) {
        let readable = self.shared.read_source();
        if readable.is_some_and(|readable| readable.is_before_full_disk) {
            return;
        }
        self.shared.unpublish();
        match data_file::open_read_only(&self.options, false) {
            Ok(database) => self.shared.publish(ReadSource::before_full_disk(database)),
            Err(error) => {
                tracing::warn!(error = %error, "the data file cannot be read until disk space is freed");
            }
        }
    }

    /// Opens the file and rebuilds the writer state.
    fn open_file(&self, first: bool) -> StoreResult<OpenFile> {
        let started = self.clock.elapsed();
        let now = self.clock.now();
        let observer: Arc<dyn OpenObserver> = Arc::new(OpenProgress(Arc::clone(&self.shared)));
        let OpenedFile {
            database,
            mut counters,
        } = data_file::open_or_create(&self.options, now, &observer)?;
        let unclean = !counters.is_clean;
        let clock = self.expiry_clock.take().unwrap_or_else(|| {
            // The verification of the file may have taken long, so both clocks are read now.
            let (wall, elapsed) = (self.clock.now(), self.clock.elapsed());
            let clock = ExpiryClock::resume(&counters.clock, wall, elapsed);
            let downtime = clock.uncounted_downtime();
            if downtime >= DOWNTIME_LOG_MIN {
                tracing::info!(
                    retention.behind_ms = downtime.get(),
                    "long downtime by the wall clock: older rows count it toward retention and expiry over the next hours"
                );
            }
            clock
        });
        self.expiry_clock.set(Some(clock));
        counters.is_clean &= !self.options.is_serving;
        let database = Arc::new(database);
        let state = {
            let txn = database.begin_read()?;
            if first && unclean {
                let max_jobs = self.options.max_jobs_in_flight;
                *self.shared.suspect_jobs.lock() =
                    find_suspect_jobs(&txn.open(DUE)?, max_jobs, now)?;
                *self.shared.suspect_deliveries.lock() =
                    find_suspect_deliveries(&txn.open(DELIVERIES_DUE)?, now)?;
            }
            WriterState::load(&self.options, counters, &txn, now)?
        };
        self.shared
            .unreadable_rows
            .store(state.unreadable_rows, Ordering::Relaxed);
        let key_count = state.dedup.len();
        let mut open = OpenFile {
            database,
            state,
            needs_repair: true,
            space_checked_at: Duration::ZERO,
        };
        // The read-only view for a full disk shares the file. The first commit starts to reuse the
        // pages of the view.
        self.shared.unpublish();
        if self.options.is_serving {
            // From here on, a shutdown is unclean until `shut_down` records a clean one.
            self.commit_batch(&mut open, &mut [], true)?;
        }
        self.shared.publish(ReadSource {
            database: Arc::clone(&open.database),
            is_before_full_disk: false,
        });
        self.check_free_space(&mut open);
        let took = self.clock.elapsed().saturating_sub(started);
        if first && unclean {
            tracing::warn!(
                "unclean shutdown: the whole file was verified, and interrupted jobs run again"
            );
        }
        tracing::info!(
            store.keys = key_count,
            store.open_ms = Millis::from_duration(took).get(),
            "data file open"
        );
        Ok(open)
    }

    /// Runs transactions until a stop signal.
    fn process_queues(&self, mut open: OpenFile) -> StoreResult<()> {
        loop {
            let next = self.queues.next_action();
            // A reader has found damage.
            if let Some(error) = self.shared.failure() {
                return Err(error);
            }
            match next {
                WriterAction::Batch(batch) => self.run_batch(&mut open, batch)?,
                WriterAction::Idle => {
                    self.shared.writer_stats.lock().last_batch = 0;
                    open.prepare_quick_repair()?;
                }
                WriterAction::Stop => return self.shut_down(open),
            }
            if self.clock.elapsed().saturating_sub(open.space_checked_at) >= IDLE_TIMEOUT {
                self.check_free_space(&mut open);
            }
        }
    }

    /// Applies and commits `batch` without its failing transactions, and replies to all of them.
    fn run_batch(
        &self,
        open: &mut OpenFile,
        mut batch: Vec<Box<dyn WriteRequest>>,
    ) -> StoreResult<()> {
        let began = self.clock.elapsed();
        loop {
            match self.commit_batch(open, &mut batch, false) {
                Ok(BatchOutcome::Committed { .. }) => {
                    let ended = self.clock.elapsed();
                    self.shared.writer_stats.lock().record_batch(
                        batch.len(),
                        ended.saturating_sub(began),
                        open.state.dedup.len(),
                    );
                    for request in batch {
                        request.reply_outcome(began, ended);
                    }
                    return Ok(());
                }
                Ok(BatchOutcome::Excluding(index, error)) => {
                    tracing::error!(error = %error, "transaction failed; the rest of its batch is committed without it");
                    batch.remove(index).reply_error(error);
                }
                Err(error) => {
                    // No caller gets a confirmation. If the commit became durable nevertheless, the
                    // next try of the sender finds the stored rows.
                    for request in batch {
                        request.reply_error(error.clone());
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Commits `requests`, and wakes those who wait for their results. With `is_forced`, commits
    /// even if nothing changed.
    fn commit_batch(
        &self,
        open: &mut OpenFile,
        requests: &mut [Box<dyn WriteRequest>],
        is_forced: bool,
    ) -> StoreResult<BatchOutcome> {
        let now = self.clock.now();
        let clock = self.advance_expiry_clock(&open.state, now);
        let subscriptions = self.options.subscriptions.load();
        let outcome = open.commit_batch(requests, is_forced, now, &clock, subscriptions)?;
        if let BatchOutcome::Committed {
            has_new_jobs,
            has_new_deliveries,
        } = outcome
        {
            if has_new_jobs {
                self.shared.wake_dispatcher();
            }
            if has_new_deliveries {
                self.shared.wake_deliveries();
            }
        }
        Ok(outcome)
    }

    /// Advances the expiry clock and returns a copy.
    fn advance_expiry_clock(&self, state: &WriterState, now: Timestamp) -> ExpiryClock {
        let elapsed = self.clock.elapsed();
        let mut clock = self
            .expiry_clock
            .take()
            .unwrap_or_else(|| ExpiryClock::resume(&state.counters.clock, now, elapsed));
        clock.advance(now, elapsed);
        self.expiry_clock.set(Some(clock.clone()));
        clock
    }

    /// Commits the transactions that still wait, records a clean shutdown, and closes the file.
    ///
    /// A full disk is no error here: the acknowledged transactions are on disk, and the next start
    /// verifies the whole file.
    fn shut_down(&self, mut open: OpenFile) -> StoreResult<()> {
        self.shared.set_health(StoreHealth::Closed);
        let drained = self.drain_queues(&mut open);
        self.shared.unpublish();
        let mut database = open.database;
        // Readers are short-lived. The last reader releases the file.
        let closed = loop {
            match Arc::try_unwrap(database) {
                Ok(database) => break database.close(),
                Err(still_shared) => {
                    database = still_shared;
                    std::thread::yield_now();
                }
            }
        };
        match drained.and(closed) {
            Err(StoreError::NoSpace) => {
                tracing::warn!(
                    "no disk space for a clean close: the next start verifies the whole file"
                );
                Ok(())
            }
            result => result,
        }
    }

    /// Commits the transactions that still wait, and records a clean shutdown.
    fn drain_queues(&self, open: &mut OpenFile) -> StoreResult<()> {
        while let Some(batch) = self.queues.drain_batch() {
            self.run_batch(open, batch)?;
        }
        if self.options.is_serving {
            open.state.counters.is_clean = true;
            self.commit_batch(open, &mut [], true)?;
        }
        Ok(())
    }

    fn check_free_space(&self, open: &mut OpenFile) {
        open.space_checked_at = self.clock.elapsed();
        let free = super::state::free_space(&self.options.path);
        self.shared.set_health(match free {
            Some(free) if free < self.options.min_free_bytes => StoreHealth::LowSpace,
            _ => StoreHealth::Ready,
        });
    }
}
