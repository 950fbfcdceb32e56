//! Builds the batches of the writer from two queues of waiting transactions.
//!
//! Each queue gets half of every batch, so a rush of forms can't delay internal transactions, nor
//! the reverse. A batch fills while the previous commit syncs, so a submission never waits for
//! others.

use std::time::Duration;

use crossbeam_channel::{Receiver, Select, select_biased};

use super::queued_transaction::WriteRequest;
use crate::store::StoreError;

/// Time without a transaction after which the writer handles an idle period. See `Writer::on_idle`.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time that an internal transaction waits for a submission to share a commit.
const COALESCE_WAIT: Duration = Duration::from_millis(2);
/// Approximate maximum size of a commit, in bytes. A larger commit would delay all transactions in
/// it.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Receiving ends of the write queues, with the stop signal.
pub struct WriteQueues {
    /// Intake queue: transactions from outside, such as submissions.
    pub intake: Receiver<Box<dyn WriteRequest>>,
    /// Internal queue: transactions of workers and admins.
    pub internal: Receiver<Box<dyn WriteRequest>>,
    /// Stop signal. The writer stops when the channel is closed or gets a message.
    pub stop: Receiver<()>,
    /// Maximum number of changes in a batch.
    pub max_batch: usize,
}

/// Next action of the writer.
pub enum WriterAction {
    /// Commits these transactions in one batch.
    Batch(Vec<Box<dyn WriteRequest>>),
    /// No transaction arrived for a while.
    Idle,
    /// Stops the writer: shutdown.
    Stop,
}

/// Changes and bytes that still fit into a batch.
struct BatchBudget {
    changes: usize,
    bytes: usize,
}

impl BatchBudget {
    fn charge(&mut self, request: &dyn WriteRequest) {
        self.changes = self.changes.saturating_sub(request.weight());
        self.bytes = self.bytes.saturating_sub(request.bytes());
    }
}

impl WriteQueues {
    /// Waits for the first transaction, then adds the transactions that are already queued.
    pub fn next_action(&self) -> WriterAction {
        let first = select_biased! {
            recv(self.stop) -> _ => return WriterAction::Stop,
            recv(self.internal) -> request => {
                self.wait_to_coalesce();
                request.ok()
            }
            recv(self.intake) -> request => request.ok(),
            default(IDLE_TIMEOUT) => return WriterAction::Idle,
        };
        // All handles are dropped, so no further transaction can arrive.
        first.map_or(WriterAction::Stop, |first| {
            WriterAction::Batch(self.fill_batch(first))
        })
    }

    /// Returns the transactions that are still queued at shutdown, one batch per call.
    pub fn drain_batch(&self) -> Option<Vec<Box<dyn WriteRequest>>> {
        let first = self
            .internal
            .try_recv()
            .or_else(|_| self.intake.try_recv())
            .ok()?;
        Some(self.fill_batch(first))
    }

    /// Refuses the transactions that arrive within `pause`. Returns `true` if the writer must stop.
    pub fn refuse_during(&self, pause: Duration, error: &StoreError) -> bool {
        let timeout = crossbeam_channel::after(pause);
        loop {
            let request = select_biased! {
                recv(self.stop) -> _ => return true,
                recv(timeout) -> _ => return false,
                recv(self.internal) -> request => request,
                recv(self.intake) -> request => request,
            };
            match request {
                Ok(request) => request.reply_error(error.clone()),
                Err(_) => return true,
            }
        }
    }

    /// Waits a short time for a submission, so that the first internal transaction shares its
    /// commit.
    ///
    /// No customer waits for the internal transaction. A separate commit would delay the next
    /// submission.
    fn wait_to_coalesce(&self) {
        if self.internal.len() < self.max_batch / 2 {
            let mut intake = Select::new();
            intake.recv(&self.intake);
            // The next batch receives the submission from the queue.
            let _ = intake.ready_timeout(COALESCE_WAIT);
        }
    }

    /// Returns a batch of `first` and the transactions queued behind it, up to the limits.
    fn fill_batch(&self, first: Box<dyn WriteRequest>) -> Vec<Box<dyn WriteRequest>> {
        let mut budget = BatchBudget {
            changes: self.max_batch,
            bytes: BATCH_BYTES_MAX,
        };
        budget.charge(first.as_ref());
        let mut batch = vec![first];
        let half = budget.changes / 2;
        for (queue, reserved) in [
            (&self.internal, half),
            (&self.intake, 0),
            (&self.internal, 0),
        ] {
            while budget.changes > reserved && budget.bytes > 0 {
                let Ok(request) = queue.try_recv() else { break };
                budget.charge(request.as_ref());
                batch.push(request);
            }
        }
        batch
    }
}
