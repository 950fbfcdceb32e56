//! Pairs a transaction in the write queue with the callback that gets its result.

use std::time::Duration;

use super::write_context::{Timing, Transaction, WriteContext};
use crate::store::{StoreError, StoreResult};

/// Transaction of any type, with its reply callback.
pub trait WriteRequest: Send {
    fn weight(&self) -> usize;
    fn bytes(&self) -> usize;
    /// Applies the transaction to `ctx` and stores the outcome.
    fn apply(&mut self, ctx: &mut WriteContext<'_>) -> StoreResult<()>;
    /// Replies with the outcome after the commit.
    fn reply_outcome(self: Box<Self>, began: Duration, ended: Duration);
    /// Replies with the error of the failed transaction.
    fn reply_error(self: Box<Self>, error: StoreError);
}

/// Transaction with the callback that gets its outcome.
pub struct QueuedTransaction<T: Transaction, R> {
    transaction: T,
    reply: R,
    /// Process clock at the time of queueing.
    queued_at: Duration,
    outcome: Option<T::Outcome>,
}

impl<T, R> QueuedTransaction<T, R>
where
    T: Transaction,
    R: FnOnce(StoreResult<T::Outcome>, Timing) + Send + 'static,
{
    pub fn boxed(transaction: T, reply: R, queued_at: Duration) -> Box<dyn WriteRequest> {
        Box::new(Self {
            transaction,
            reply,
            queued_at,
            outcome: None,
        })
    }
}

impl<T, R> WriteRequest for QueuedTransaction<T, R>
where
    T: Transaction,
    R: FnOnce(StoreResult<T::Outcome>, Timing) + Send + 'static,
{
    fn weight(&self) -> usize {
        self.transaction.weight()
    }

    fn bytes(&self) -> usize {
        self.transaction.bytes()
    }

    fn apply(&mut self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        self.outcome = Some(self.transaction.apply(ctx)?);
        Ok(())
    }

    fn reply_outcome(self: Box<Self>, began: Duration, ended: Duration) {
        let timing = Timing {
            queue_time: began.saturating_sub(self.queued_at),
            commit_time: ended.saturating_sub(began),
        };
        (self.reply)(self.outcome.ok_or(StoreError::NotOpen), timing);
    }

    fn reply_error(self: Box<Self>, error: StoreError) {
        (self.reply)(Err(error), Timing::default());
    }
}
