//! Defines the write context that a transaction gets, and the writer state in memory.
//!
//! A [`Transaction`] decides fully before its first write. So a refusal (an outcome, not an error)
//! leaves no trace in the batch that it shares. If a transaction fails halfway, the writer aborts
//! the batch and runs the batch again without that transaction.

use std::sync::Arc;
use std::time::Duration;

use redb::{ReadTransaction, ReadableTable};

use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::ids::AgentId;
use crate::domain::lead::Agent;
use crate::domain::lead::agent_pool::AgentPool;
use crate::domain::time::{Millis, Timestamp};

use super::counters::{Counters, ExpiryClock};
use super::dedup::DedupIndex;
use crate::store::StoreError;
use crate::store::engine::redb::format;
use crate::store::engine::redb::tables::{
    AGENTS, CACHED_RESPONSES, MESSAGE_LOG, TOKEN_LOG, Tables,
};
use crate::store::options::StoreOptions;
use crate::store::rows::codec;
use crate::store::rows::tallies::TallyChanges;
use crate::store::tx::response_cache;

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
    /// [`StoreError`] for a failure that is no decision: an unreadable row, a failing disk.
    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<Self::Outcome, StoreError>;
}

/// Duration of a transaction from the caller to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Time in the write queue: from the submit until the batch begins.
    pub queue_time: Duration,
    /// Time of the batch, from its beginning until the batch is on disk.
    pub commit_time: Duration,
}

/// State that the writer holds in memory. All of it is derived from the file.
pub(in crate::store) struct WriterState {
    pub(in crate::store) counters: Counters,
    /// Counters as of the last commit.
    committed_counters: Counters,
    pub(in crate::store) dedup: DedupIndex,
    pub(in crate::store) agent_pool: AgentPool,
    /// Total size of the cached responses in bytes.
    pub(in crate::store) cached_response_bytes: u64,
    /// Total size of the cached responses in bytes, as of the last commit.
    committed_response_bytes: u64,
    /// Number of unreadable rows that are missing in this state.
    pub(in crate::store) unreadable_rows: u64,
    /// Maximum number of answered encrypted requests on record.
    pub(in crate::store) max_encrypted_requests: u64,
}

impl WriterState {
    /// Rebuilds the state from the file.
    pub(in crate::store) fn load(
        options: &StoreOptions,
        counters: Counters,
        txn: &ReadTransaction,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let logs = [&txn.open_table(TOKEN_LOG)?, &txn.open_table(MESSAGE_LOG)?];
        let mut skipped = SkippedRows::default();
        let windows = [options.idempotency_ttl, options.message_id_ttl];
        let dedup = DedupIndex::load(
            windows,
            options.max_idempotency_keys,
            &counters,
            logs,
            &mut skipped,
        )?;
        let agent_pool = AgentPool::new(load_agents(&txn.open_table(AGENTS)?, &mut skipped)?, now);
        let cached_response_bytes =
            response_cache::total_bytes(&txn.open_table(CACHED_RESPONSES)?)?;
        Ok(Self {
            committed_counters: counters.clone(),
            counters,
            dedup,
            agent_pool,
            cached_response_bytes,
            committed_response_bytes: cached_response_bytes,
            unreadable_rows: skipped.log_total(),
            max_encrypted_requests: options.max_encrypted_requests,
        })
    }

    /// Begins a batch: records the time of the clocks. Returns `true` if the wall clock was set
    /// since the last commit.
    ///
    /// A setting of the wall clock must reach the file even if nothing else changes. Without this,
    /// the next start could count the setting as downtime.
    pub(in crate::store) fn begin(&mut self, clock: &ExpiryClock) -> bool {
        self.counters.record_clocks(clock);
        self.counters.wall_was_set_since(&self.committed_counters)
    }

    /// Adopts the batch that is now on disk.
    pub(in crate::store) fn apply_commit(&mut self) {
        self.dedup.apply_commit();
        self.committed_counters = self.counters.clone();
        self.committed_response_bytes = self.cached_response_bytes;
        self.agent_pool.mark_saved();
    }

    /// Rolls back an aborted batch: returns to the state of the file.
    pub(in crate::store) fn roll_back(&mut self) {
        self.dedup.roll_back();
        self.counters = self.committed_counters.clone();
        self.agent_pool.roll_back();
        self.cached_response_bytes = self.committed_response_bytes;
    }
}

/// Counts unreadable rows that the writer state skips. Without this, one unreadable row would block
/// all other rows.
#[derive(Default)]
pub(in crate::store) struct SkippedRows {
    rows: u64,
}

impl SkippedRows {
    /// Maximum number of unreadable rows that are logged one by one.
    const LOGGED_MAX: u64 = 20;

    /// Returns the row, or logs and counts the row if it is unreadable.
    pub(in crate::store) fn skip_unreadable<T>(
        &mut self,
        row: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match row {
            Ok(row) => Ok(Some(row)),
            Err(error) if error.affects_one_row() => {
                self.rows += 1;
                if self.rows <= Self::LOGGED_MAX {
                    tracing::error!(error = %error, "unreadable row skipped");
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the number of unreadable rows. Logs the total if some rows were not logged one by
    /// one.
    fn log_total(&self) -> u64 {
        if self.rows > Self::LOGGED_MAX {
            tracing::error!(
                store.rows_left_out = self.rows,
                "more unreadable rows skipped"
            );
        }
        self.rows
    }
}

fn load_agents(
    table: &impl ReadableTable<u64, &'static [u8]>,
    skipped: &mut SkippedRows,
) -> Result<Vec<(AgentId, Agent)>, StoreError> {
    let mut agents = Vec::new();
    for row in table.range(0..)? {
        let (id, bytes) = row?;
        let agent = skipped.skip_unreadable(codec::decode(id.value(), bytes.value()))?;
        agents.extend(agent.map(|agent| (AgentId::new(id.value()), agent)));
    }
    Ok(agents)
}

/// Open transaction of the engine, with the data that a [`Transaction`] needs.
pub struct WriteContext<'a, 'txn> {
    pub(in crate::store) tables: &'a mut Tables<'txn>,
    pub(in crate::store) state: &'a mut WriterState,
    /// Wall clock at the beginning of the batch, in UTC: the time of all changes of the batch.
    pub(in crate::store) now: Timestamp,
    /// Expiry clock at the beginning of the batch: the stamp of rows that the batch writes. See
    /// [`ExpiryClock`].
    pub(in crate::store) expiry_now: Timestamp,
    /// `true` if the batch has written a row.
    pub(in crate::store) is_dirty: bool,
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

impl WriteContext<'_, '_> {
    /// Returns the age of a row with this stamp.
    pub(in crate::store) fn age(&self, at: Timestamp) -> Millis {
        self.state.counters.downtime.age(at, self.expiry_now)
    }

    /// Returns a stamp: all rows with this or an earlier stamp have at least the given age.
    pub(in crate::store) fn latest_stamp_of_age(&self, age: Millis) -> Timestamp {
        self.state.counters.downtime.latest(age, self.expiry_now)
    }

    /// Returns the expiry clock as the oldest rows count it. A wall clock that is ahead does not
    /// put this time ahead.
    pub(in crate::store) fn oldest_rows_clock(&self) -> Timestamp {
        self.expiry_now
            .minus(self.state.counters.downtime.uncounted())
    }

    /// Writes the rows of every commit: the changed agents, the tallies and the counters.
    pub(in crate::store) fn finalize(&mut self) -> Result<(), StoreError> {
        let state = &mut *self.state;
        // Evicts at most as many keys as the batch adds. After the limit was lowered, retention
        // evicts the other keys.
        let inserted = state.dedup.uncommitted_len();
        state
            .dedup
            .evict_oldest(self.tables, &mut state.counters, inserted)?;
        for (id, agent) in self.state.agent_pool.changed_agents() {
            self.tables
                .agents
                .insert(id.get(), codec::encode(&agent)?.as_slice())?;
        }
        std::mem::take(&mut self.tallies).write_sums(self.tables)?;
        let row = codec::encode(&self.state.counters)?;
        self.tables.meta.insert(format::COUNTERS, row.as_slice())?;
        Ok(())
    }
}
