//! The open data file with the writer state, and the commit of one batch.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::time::Timestamp;
use crate::panic::catch_panic;

use super::queued_transaction::WriteRequest;
use super::write_context::WriteContext;
use super::writer_state::WriterState;
use crate::store::engine::{Database, WriteTxn};
use crate::store::expiry_clock::ExpiryClock;
use crate::store::{StoreError, StoreResult};

/// Open file with its state.
pub(super) struct OpenFile {
    pub(super) database: Arc<Database>,
    pub(super) state: WriterState,
    /// `true` if the file would need a repair after a crash of the process now.
    pub(super) needs_repair: bool,
    /// Process clock at the last check of the free space.
    pub(super) space_checked_at: Duration,
}

/// Result of an attempt to commit a batch.
pub(super) enum BatchOutcome {
    /// The batch is on disk, or changed nothing.
    Committed {
        /// `true` if the batch scheduled a job.
        has_new_jobs: bool,
        /// `true` if the batch scheduled a delivery or resumed a destination.
        has_new_deliveries: bool,
    },
    /// The transaction at this index failed. The others can be committed.
    Excluding(usize, StoreError),
}

impl OpenFile {
    /// Commits `requests` in one transaction of the engine, at this reading of the clocks. With
    /// `is_forced`, commits even if nothing changed.
    pub(super) fn commit_batch(
        &mut self,
        requests: &mut [Box<dyn WriteRequest>],
        is_forced: bool,
        now: Timestamp,
        clock: &ExpiryClock,
        subscriptions: Arc<Subscriptions>,
    ) -> StoreResult<BatchOutcome> {
        let faults = self.database.faults();
        let commit = || {
            let txn = self.database.begin_write()?;
            let mut ctx =
                WriteContext::begin(&txn, &mut self.state, now, clock, is_forced, subscriptions)?;
            for (index, request) in requests.iter_mut().enumerate() {
                if let Err(error) = request.apply(&mut ctx) {
                    drop(ctx);
                    return self.abort_batch(txn, index, error);
                }
            }
            let outcome = BatchOutcome::Committed {
                has_new_jobs: ctx.has_new_jobs,
                has_new_deliveries: ctx.has_new_deliveries,
            };
            if !ctx.needs_commit() {
                drop(ctx);
                txn.abort()?;
                return Ok(outcome);
            }
            ctx.finalize()?;
            drop(ctx);
            txn.commit()?;
            self.state.apply_commit();
            self.needs_repair = true;
            Ok(outcome)
        };
        // A panic in the engine means that its pages are invalid. The writer must not confirm any
        // transaction after such a panic.
        match catch_panic(commit) {
            Ok(result) => result.map_err(|error| faults.cause_of(error)),
            Err(panic) => Err(StoreError::Damaged(panic)),
        }
    }

    /// Aborts the transaction of a batch in which the request at `index` failed.
    fn abort_batch(
        &mut self,
        txn: WriteTxn,
        index: usize,
        error: StoreError,
    ) -> StoreResult<BatchOutcome> {
        txn.abort()?;
        if !error.affects_one_row() {
            return Err(error);
        }
        // The writer state must also lose the changes of the aborted batch.
        self.state.roll_back();
        Ok(BatchOutcome::Excluding(index, error))
    }

    /// Leaves the file in a state that opens at once even after a crash.
    pub(super) fn prepare_quick_repair(&mut self) -> StoreResult<()> {
        if !mem::take(&mut self.needs_repair) {
            return Ok(());
        }
        self.database
            .prepare_quick_repair()
            .map_err(|error| self.database.faults().cause_of(error))
    }
}
