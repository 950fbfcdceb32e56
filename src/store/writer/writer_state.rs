//! Holds the state that the writer keeps in memory. All of it is derived from the file.

use jiff::tz::TimeZone;

use crate::domain::ids::AgentId;
use crate::domain::lead::Agent;
use crate::domain::lead::agent_pool::AgentPool;
use crate::domain::time::Timestamp;

use super::dedup_index::DedupIndex;
use super::skipped_rows::SkippedRows;
use crate::store::engine::{ReadTxn, Rows};
use crate::store::expiry_clock::ExpiryClock;
use crate::store::options::StoreOptions;
use crate::store::rows::counters::Counters;
use crate::store::rows::schema::{AGENTS, CACHED_RESPONSES, MESSAGE_LOG, TOKEN_LOG};
use crate::store::{StoreError, StoreResult};

/// State of the writer in memory.
pub struct WriterState {
    pub counters: Counters,
    /// Counters as of the last commit.
    committed_counters: Counters,
    pub dedup: DedupIndex,
    pub agent_pool: AgentPool,
    /// Total size of the cached responses in bytes.
    pub cached_response_bytes: u64,
    /// Total size of the cached responses in bytes, as of the last commit.
    committed_response_bytes: u64,
    /// Number of unreadable rows that are missing in this state.
    pub unreadable_rows: u64,
    /// Maximum number of answered encrypted requests on record.
    pub max_encrypted_requests: u64,
    /// Maximum size of the change log, in bytes.
    pub max_change_log_bytes: u64,
}

impl WriterState {
    /// Rebuilds the state from the file.
    pub fn load(
        options: &StoreOptions,
        counters: Counters,
        txn: &ReadTxn,
        now: Timestamp,
    ) -> StoreResult<Self> {
        let logs = [&txn.open(TOKEN_LOG)?, &txn.open(MESSAGE_LOG)?];
        let mut skipped = SkippedRows::default();
        let windows = [options.idempotency_ttl, options.message_id_ttl];
        let dedup = DedupIndex::load(
            windows,
            options.max_idempotency_keys,
            &counters,
            logs,
            &mut skipped,
        )?;
        let agent_pool = AgentPool::new(
            load_agents(&txn.open(AGENTS)?, &mut skipped)?,
            now,
            TimeZone::clone(&options.time_zone.load()),
        );
        let cached_response_bytes = txn
            .open(CACHED_RESPONSES)?
            .all_rows()?
            .try_fold(0, |sum: u64, row| {
                Ok::<_, StoreError>(sum.saturating_add(row?.stored_bytes()))
            })?;
        Ok(Self {
            committed_counters: counters.clone(),
            counters,
            dedup,
            agent_pool,
            cached_response_bytes,
            committed_response_bytes: cached_response_bytes,
            unreadable_rows: skipped.log_total(),
            max_encrypted_requests: options.max_encrypted_requests,
            max_change_log_bytes: options.max_change_log_bytes,
        })
    }

    /// Begins a batch: records the time of the clocks. Returns `true` if the wall clock was set
    /// since the last commit.
    ///
    /// A setting of the wall clock must reach the file even if nothing else changes. Without this,
    /// the next start could count the setting as downtime.
    pub fn begin(&mut self, clock: &ExpiryClock) -> bool {
        self.counters.clock = clock.state();
        self.counters
            .clock
            .wall_was_set_since(&self.committed_counters.clock)
    }

    /// Adopts the batch that is now on disk.
    pub fn apply_commit(&mut self) {
        self.dedup.apply_commit();
        self.committed_counters = self.counters.clone();
        self.committed_response_bytes = self.cached_response_bytes;
        self.agent_pool.mark_saved();
    }

    /// Rolls back an aborted batch: returns to the state of the file.
    pub fn roll_back(&mut self) {
        self.dedup.roll_back();
        self.counters = self.committed_counters.clone();
        self.agent_pool.roll_back();
        self.cached_response_bytes = self.committed_response_bytes;
    }
}

fn load_agents(
    table: &impl Rows<Key = AgentId, Value = Agent>,
    skipped: &mut SkippedRows,
) -> StoreResult<Vec<(AgentId, Agent)>> {
    let mut agents = Vec::new();
    for row in table.all_rows()? {
        let row = row?;
        let agent = skipped.skip_unreadable(row.value())?;
        agents.extend(agent.map(|agent| (row.key(), agent)));
    }
    Ok(agents)
}
