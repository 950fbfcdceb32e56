//! Accompanies one request through its handler: the shared state, the deadline and the log record.
//! Sends its transactions to the writer.
//!
//! See [`super::authentication`] for reading its body.

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::request_log::RequestLog;
use super::response::HttpError;
use super::state::AppState;
use crate::clock::timer_now;
use crate::store::{StoreError, Timing, Transaction};

/// Request in its handler.
pub(super) struct RequestContext<'a> {
    pub(super) app: &'a AppState,
    /// Time at which the response must be ready.
    pub(super) deadline: Instant,
    pub(super) log: RequestLog<'a>,
}

impl<'a> RequestContext<'a> {
    /// Starts the time limit of a request.
    pub(super) fn new(app: &'a AppState, log: RequestLog<'a>) -> Self {
        Self {
            app,
            deadline: timer_now() + app.config.limits.request_timeout.to_duration(),
            log,
        }
    }

    /// Sends a transaction to the writer and waits for the commit.
    pub(super) async fn execute<T: Transaction>(
        &mut self,
        transaction: T,
    ) -> Result<T::Outcome, HttpError> {
        let outcome = self.try_execute(transaction).await?;
        outcome.map_err(|_| HttpError::CommitFailed)
    }

    /// Like [`Self::execute`], but returns the error of a transaction that failed.
    pub(super) async fn try_execute<T: Transaction>(
        &mut self,
        transaction: T,
    ) -> Result<Result<T::Outcome, StoreError>, HttpError> {
        let (result_tx, result_rx) = oneshot::channel::<(Result<T::Outcome, StoreError>, Timing)>();
        // The body memory stays reserved until the writer has finished, even after the client has
        // disconnected or the deadline has passed.
        let permit = self.log.body_permit.clone();
        self.app
            .store
            .try_submit(transaction, move |outcome, timing| {
                drop(permit);
                // The client may have disconnected. The data stays stored in this case.
                let _ = result_tx.send((outcome, timing));
            })?;
        // After a timeout the transaction may still be committed. No success was acknowledged, so
        // the client can safely retry.
        let Ok(Ok((outcome, timing))) = timeout_at(self.deadline, result_rx).await else {
            return Err(HttpError::CommitFailed);
        };
        self.log.timing = Some(timing);
        Ok(outcome)
    }
}
