//! A transaction on its way to the writer: queued, applied, answered.

use std::time::Duration;

use super::StoreError;
use super::batch::{Batch, Timing, Transaction};

/// A transaction of any kind, with whoever waits for it.
pub(super) trait Request: Send {
    fn weight(&self) -> usize;
    fn bytes(&self) -> usize;
    /// Runs it in `batch` and keeps the outcome.
    fn apply(&mut self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError>;
    /// Tells the outcome, now that it is on disk.
    fn succeed(self: Box<Self>, began: Duration, ended: Duration);
    /// Tells why nothing came of it.
    fn fail(self: Box<Self>, error: StoreError);
}

/// A transaction and the callback that gets its outcome.
pub(super) struct Waiting<T: Transaction, R> {
    transaction: T,
    reply: R,
    /// The process clock when it was handed over.
    queued: Duration,
    outcome: Option<T::Outcome>,
}

impl<T, R> Waiting<T, R>
where
    T: Transaction,
    R: FnOnce(Result<T::Outcome, StoreError>, Timing) + Send + 'static,
{
    pub(super) fn boxed(transaction: T, reply: R, queued: Duration) -> Box<dyn Request> {
        Box::new(Self { transaction, reply, queued, outcome: None })
    }
}

impl<T, R> Request for Waiting<T, R>
where
    T: Transaction,
    R: FnOnce(Result<T::Outcome, StoreError>, Timing) + Send + 'static,
{
    fn weight(&self) -> usize {
        self.transaction.weight()
    }

    fn bytes(&self) -> usize {
        self.transaction.bytes()
    }

    fn apply(&mut self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        self.outcome = Some(self.transaction.apply(batch)?);
        Ok(())
    }

    fn succeed(self: Box<Self>, began: Duration, ended: Duration) {
        let timing = Timing { waited: began.saturating_sub(self.queued), commit: ended.saturating_sub(began) };
        (self.reply)(self.outcome.ok_or(StoreError::NotOpen), timing);
    }

    fn fail(self: Box<Self>, error: StoreError) {
        (self.reply)(Err(error), Timing::default());
    }
}
