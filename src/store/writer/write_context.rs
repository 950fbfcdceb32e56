//! Defines a transaction, and the write context that it gets.
//!
//! A [`Transaction`] decides fully before its first write. So a refusal (an outcome, not an error)
//! leaves no trace in the batch that it shares. If a transaction fails halfway, the writer aborts
//! the batch and runs the batch again without that transaction.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::ids::SubmissionId;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::{Millis, Timestamp};

use super::dedup_index::{DedupMatch, DedupWindow, KeyLog};
use super::writer_state::WriterState;
use crate::store::StoreResult;
use crate::store::data_file;
use crate::store::engine::WriteTxn;
use crate::store::expiry_clock::ExpiryClock;
use crate::store::rows::change_log::{append_entry, read_header};
use crate::store::rows::keys::EvictedKey;
use crate::store::rows::schema::Tables;
use crate::store::rows::tallies::TallyChanges;

/// A change of the file, decided and written by the writer thread.
pub trait Transaction: Send + 'static {
    /// Result of the transaction: done or refused.
    type Outcome: Send + 'static;

    /// Returns the number of changes that the transaction counts for in a batch.
    fn weight(&self) -> usize {
        1
    }

    /// Returns the approximate number of bytes that the transaction writes.
    fn bytes(&self) -> usize {
        0
    }

    /// Reads, decides, then writes. The writer may call this again with the same `self` after an
    /// aborted batch.
    ///
    /// # Errors
    /// [`crate::store::StoreError`] for a failure that is no decision: an unreadable row, a failing
    /// disk.
    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<Self::Outcome>;
}

/// Duration of a transaction from the caller to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Time in the write queue: from the submit until the batch begins.
    pub queue_time: Duration,
    /// Time of the batch, from its beginning until the batch is on disk.
    pub commit_time: Duration,
}

/// Open transaction of the engine, with the data that a [`Transaction`] needs.
pub struct WriteContext<'a> {
    txn: &'a WriteTxn,
    pub(in crate::store) tables: Tables<'a>,
    pub(in crate::store) state: &'a mut WriterState,
    /// Wall clock at the beginning of the batch, in UTC: the time of all changes of the batch.
    pub(in crate::store) now: Timestamp,
    /// Expiry clock at the beginning of the batch: the stamp of rows that the batch writes. See
    /// [`ExpiryClock`].
    pub(in crate::store) expiry_now: Timestamp,
    /// `true` if the batch is committed even if it changes no row.
    pub(in crate::store) must_commit: bool,
    /// `true` if the batch scheduled a job. The writer then wakes the dispatcher.
    pub(in crate::store) has_new_jobs: bool,
    /// `true` if the batch scheduled a delivery or resumed a destination. The writer then wakes the
    /// delivery service.
    pub(in crate::store) has_new_deliveries: bool,
    /// Changes of the stored tallies.
    pub(in crate::store) tallies: TallyChanges,
    /// Subscriptions: the destinations of each event kind.
    pub(in crate::store) subscriptions: Arc<Subscriptions>,
}

impl<'a> WriteContext<'a> {
    /// Begins a batch in `txn` at this reading of the clocks.
    pub(super) fn begin(
        txn: &'a WriteTxn,
        state: &'a mut WriterState,
        now: Timestamp,
        clock: &ExpiryClock,
        is_forced: bool,
        subscriptions: Arc<Subscriptions>,
    ) -> StoreResult<Self> {
        let wall_was_set = state.begin(clock);
        let tables = Tables::open(txn)?;
        // An unreadable header ends the log. Everything else continues.
        let header = match read_header(&tables.change_log) {
            Err(error) if error.affects_one_row() => None,
            header => header?,
        };
        txn.set_recording(header.is_some_and(|header| header.state.is_recording()));
        Ok(Self {
            txn,
            tables,
            state,
            now,
            expiry_now: clock.reading(),
            must_commit: is_forced || wall_was_set,
            has_new_jobs: false,
            has_new_deliveries: false,
            tallies: TallyChanges::default(),
            subscriptions,
        })
    }

    /// Finds the result of an earlier arrival with this key.
    pub(in crate::store) fn find_key(
        &self,
        window: DedupWindow,
        key: IdempotencyKey,
    ) -> StoreResult<Option<DedupMatch>> {
        let entry = self.find_entry(window, key)?;
        Ok(entry.map(EvictedKey::dedup_match))
    }

    /// Finds the entry of an earlier arrival with this key.
    pub(in crate::store) fn find_entry(
        &self,
        window: DedupWindow,
        key: IdempotencyKey,
    ) -> StoreResult<Option<EvictedKey>> {
        let state = &*self.state;
        let now = self.expiry_now;
        state
            .dedup
            .find_entry(&self.tables, &state.counters, window, &key, now)
    }

    /// Writes a key to its log and returns the row number. The key finds `submission`, or nothing
    /// but itself if there is no submission.
    pub(in crate::store) fn insert_key(
        &mut self,
        log: KeyLog,
        key: IdempotencyKey,
        submission: Option<SubmissionId>,
    ) -> StoreResult<u64> {
        self.state.dedup.insert(
            &mut self.tables,
            &mut self.state.counters,
            log,
            key,
            submission,
            self.expiry_now,
        )
    }

    /// Returns the age of a row with this stamp.
    pub(in crate::store) fn age(&self, at: Timestamp) -> Millis {
        self.state.counters.clock.downtime.age(at, self.expiry_now)
    }

    /// Returns a stamp: all rows with this or an earlier stamp have at least the given age.
    pub(in crate::store) fn latest_stamp_of_age(&self, age: Millis) -> Timestamp {
        let downtime = &self.state.counters.clock.downtime;
        downtime.latest(age, self.expiry_now)
    }

    /// Returns the expiry clock as the oldest rows count it. A wall clock that is ahead does not
    /// put this time ahead.
    pub(in crate::store) fn oldest_rows_clock(&self) -> Timestamp {
        self.expiry_now
            .minus(self.state.counters.clock.downtime.uncounted())
    }

    /// Returns `true` if the batch must be committed.
    pub(super) fn needs_commit(&self) -> bool {
        self.must_commit || self.txn.has_changes()
    }

    /// Writes the rows of every commit: the changed agents, the tallies and the counters.
    pub(super) fn finalize(&mut self) -> StoreResult<()> {
        let state = &mut *self.state;
        // Evicts at most as many keys as the batch adds. After the limit was lowered, retention
        // evicts the other keys.
        let inserted = state.dedup.uncommitted_len();
        state
            .dedup
            .evict_oldest(&mut self.tables, &mut state.counters, inserted)?;
        for (id, agent) in state.agent_pool.changed_agents() {
            self.tables.agents.put(id, &agent)?;
        }
        std::mem::take(&mut self.tallies).write_sums(&mut self.tables)?;
        let mut changes = self.txn.take_recorded();
        // The counters alone are not worth an entry. Without this, the removal of entries would
        // itself add an entry.
        let has_changes = !changes.is_empty();
        self.tables.meta.put(data_file::COUNTERS, &state.counters)?;
        if has_changes {
            changes.extend(self.txn.take_recorded());
            let max = state.max_change_log_bytes;
            append_entry(&mut self.tables.change_log, self.now, changes, max)?;
        }
        Ok(())
    }
}
