//! Changes that share one commit, and what the writer keeps in memory for them.
//!
//! A change is a [`Transaction`]: it decides fully before its first write, so that a refusal (an outcome, not an error)
//! leaves no trace in the batch it shares. One that errs midway aborts the batch, which is run again without it.

use std::sync::Arc;
use std::time::Duration;

use redb::{ReadTransaction, ReadableTable};

use crate::domain::ids::AgentId;
use crate::domain::lead::Agent;
use crate::domain::roster::Roster;
use crate::domain::routes::Routes;
use crate::domain::time::{Millis, Timestamp};

use super::counters::{Counters, ExpiryClock};
use super::keys::Keys;
use super::options::StoreOptions;
use super::tables::{AGENTS, ANSWERS, MESSAGE_LOG, TOKEN_LOG, Tables};
use super::tallies::Changes;
use super::{StoreError, answers, codec, format};

/// A change of the file, decided and written by the writer thread.
pub trait Transaction: Send + 'static {
    /// What comes of it: done, or refused.
    type Outcome: Send + 'static;

    /// How many changes it counts for in a batch.
    fn weight(&self) -> usize {
        1
    }

    /// How many bytes it brings, about.
    fn bytes(&self) -> usize {
        0
    }

    /// Reads, decides, then writes. May be called again with the same `self` after the batch was aborted.
    ///
    /// # Errors
    /// [`StoreError`] for what is no decision: a row that can't be read, a failing disk.
    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Self::Outcome, StoreError>;
}

/// How long a change took on its way to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// From the hand-over until its batch began.
    pub waited: Duration,
    /// Its batch, from the beginning until it was on disk.
    pub commit: Duration,
}

/// What the writer knows besides the file. All of it follows from the file.
pub(super) struct Memory {
    pub(super) counters: Counters,
    /// The counters as the last commit left them.
    committed: Counters,
    pub(super) keys: Keys,
    pub(super) roster: Roster,
    /// Bytes of the answers that are kept.
    pub(super) answer_bytes: u64,
    /// The same as of the last commit.
    committed_answer_bytes: u64,
    /// Rows that can't be read, and that the memory does without.
    pub(super) left_out: u64,
    /// Encrypted requests that are remembered at the most.
    pub(super) answered_max: u64,
}

impl Memory {
    /// Rebuilds the memory from the file.
    pub(super) fn load(
        options: &StoreOptions,
        counters: Counters,
        txn: &ReadTransaction,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let logs = [&txn.open_table(TOKEN_LOG)?, &txn.open_table(MESSAGE_LOG)?];
        let mut left_out = LeftOut::default();
        let spans = [options.token_ttl, options.message_ttl];
        let keys = Keys::load(spans, options.keys_max, &counters, logs, &mut left_out)?;
        let roster = Roster::new(agents(&txn.open_table(AGENTS)?, &mut left_out)?, now);
        let answer_bytes = answers::bytes_in(&txn.open_table(ANSWERS)?)?;
        Ok(Self {
            committed: counters.clone(),
            counters,
            keys,
            roster,
            answer_bytes,
            committed_answer_bytes: answer_bytes,
            left_out: left_out.tell(),
            answered_max: options.answered_max,
        })
    }

    /// A batch begins: takes over what the clock shows. Returns whether the wall clock was set since the last commit. That must
    /// reach the file also where nothing else changes, or the next start could take the setting for a closed period.
    pub(super) fn begin(&mut self, clock: &ExpiryClock) -> bool {
        self.counters.stamp(clock);
        self.counters.wall_was_set_since(&self.committed)
    }

    /// The batch is on disk.
    pub(super) fn publish(&mut self) {
        self.keys.publish();
        self.committed = self.counters.clone();
        self.committed_answer_bytes = self.answer_bytes;
        self.roster.keep();
    }

    /// The batch came to nothing: back to what the file says.
    pub(super) fn discard(&mut self) {
        self.keys.discard();
        self.counters = self.committed.clone();
        self.roster.undo();
        self.answer_bytes = self.committed_answer_bytes;
    }
}

/// Rows that the memory does without, because they can't be read. One bad row must not keep all the others from being served.
#[derive(Default)]
pub(super) struct LeftOut {
    rows: u64,
}

impl LeftOut {
    /// Rows that are told one by one.
    const TOLD: u64 = 20;

    /// `row`, unless it can't be read, which is told.
    pub(super) fn unless<T>(&mut self, row: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match row {
            Ok(row) => Ok(Some(row)),
            Err(error) if error.is_of_one_change() => {
                self.rows += 1;
                if self.rows <= Self::TOLD {
                    tracing::error!(error = %error, "the store goes on without a row that can't be read");
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How many there were; tells of those that were not told one by one.
    fn tell(&self) -> u64 {
        if self.rows > Self::TOLD {
            tracing::error!(store.rows_left_out = self.rows, "the store goes on without rows that can't be read");
        }
        self.rows
    }
}

fn agents(
    table: &impl ReadableTable<u64, &'static [u8]>,
    left_out: &mut LeftOut,
) -> Result<Vec<(AgentId, Agent)>, StoreError> {
    let mut agents = Vec::new();
    for row in table.range(0..)? {
        let (id, bytes) = row?;
        let agent = left_out.unless(codec::decode(id.value(), bytes.value()))?;
        agents.extend(agent.map(|agent| (AgentId::new(id.value()), agent)));
    }
    Ok(agents)
}

/// An open transaction and all that changes in it need.
pub struct Batch<'a, 'txn> {
    pub(super) tables: &'a mut Tables<'txn>,
    pub(super) memory: &'a mut Memory,
    /// The wall clock at the beginning of the batch: the time at which all of its changes happen.
    pub(super) now: Timestamp,
    /// The elapsed clock likewise: the stamp of rows that the batch writes. See [`ExpiryClock`].
    pub(super) expiry: Timestamp,
    /// Whether anything was written.
    pub(super) dirty: bool,
    /// Whether a job was scheduled: the feeder wants to know.
    pub(super) scheduled: bool,
    /// Whether a delivery was, or a destination may be told again: the courier wants to know.
    pub(super) delivering: bool,
    /// Changes of the sums that figures need.
    pub(super) tallies: Changes,
    /// Who is told of what.
    pub(super) routes: Arc<Routes>,
}

impl Batch<'_, '_> {
    /// Age of a row stamped `at`.
    pub(super) fn age(&self, at: Timestamp) -> Millis {
        self.memory.counters.closings.age(at, self.expiry)
    }

    /// A stamp for which all rows stamped up to it are at least of this age.
    pub(super) fn latest(&self, age: Millis) -> Timestamp {
        self.memory.counters.closings.latest(age, self.expiry)
    }

    /// The elapsed clock as the oldest rows count it: a wall clock that is ahead does not put it ahead.
    pub(super) fn counted(&self) -> Timestamp {
        self.expiry.minus(self.memory.counters.closings.uncounted())
    }

    /// Writes what belongs to every commit: the agents that changed, sums, and the counters.
    pub(super) fn seal(&mut self) -> Result<(), StoreError> {
        let memory = &mut *self.memory;
        // No more than it brings: what a lowered bound leaves over goes with the rounds of the sweeper.
        let learnt = memory.keys.learnt();
        memory.keys.evict(self.tables, &mut memory.counters, learnt)?;
        for (id, agent) in self.memory.roster.changed() {
            self.tables.agents.insert(id.get(), codec::encode(&agent)?.as_slice())?;
        }
        std::mem::take(&mut self.tallies).write(self.tables)?;
        let row = codec::encode(&self.memory.counters)?;
        self.tables.meta.insert(format::COUNTERS, row.as_slice())?;
        Ok(())
    }
}
