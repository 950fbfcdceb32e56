//! Records the attempts of deliveries with their responses, and closes deliveries that waited too
//! long.
//!
//! See [`crate::domain::delivery`] for the meaning of a response, and [`crate::domain::job::retry`]
//! for the time of the next attempt.

use crate::domain::delivery::ResponseRecord;
use crate::domain::ids::{JobId, SubmissionId};
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Attempt, Job, JobEvent};
use crate::domain::time::Millis;

use super::jobs::FinishOutcome;
use super::receipts::{self, DeferDelivery, MessageOutcome, Superseded};
use super::{attempts, schedule, suspensions};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Records one attempt of a delivery and its consequences.
#[derive(Clone, Debug)]
pub struct RecordAttempt {
    /// ID of the delivery job.
    pub job_id: JobId,
    /// Start, duration and error of the attempt. The transaction sets the attempt number.
    pub attempt: Attempt,
    /// Response of the destination.
    pub response: ResponseRecord,
    /// Decision after a failed attempt. `None` if the attempt delivered the event.
    pub failure: Option<RetryDecision>,
    /// Reason why the destination must be disabled. `None` if the destination stays active.
    pub disable_reason: Option<Box<str>>,
    /// Outcome of the sent message. `None` if the channel gets no later status of its messages.
    pub message_outcome: Option<MessageOutcome>,
}

/// Records one attempt that sent several deliveries in one request. All attempts are recorded, or
/// none.
#[derive(Debug)]
pub struct RecordAttempts {
    /// Attempts, one for each delivery.
    pub attempts: Vec<RecordAttempt>,
}

/// Defers or expires due deliveries that must not be sent now.
#[derive(Clone, Debug, Default)]
pub struct DeferOrExpire {
    /// Deliveries that wait without an attempt.
    pub deferred: Vec<DeferDelivery>,
    /// Job IDs of deliveries that waited too long, with the reason. These deliveries are closed.
    pub expired: Vec<(JobId, String)>,
}

impl Transaction for RecordAttempt {
    type Outcome = FinishOutcome;

    fn bytes(&self) -> usize {
        self.response.body_excerpt.len()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<FinishOutcome> {
        let Some(mut job) = find_unless_forgotten(ctx, self.job_id)? else {
            return Ok(FinishOutcome::AlreadyFinished);
        };
        let event = self.failure.map_or(JobEvent::Finish, attempts::event_of);
        let Ok(state) = job.state.transition(event) else {
            return Ok(FinishOutcome::AlreadyFinished);
        };
        if let Some(message_outcome) = &self.message_outcome
            && receipts::record_message_outcome(ctx, self.job_id, message_outcome)?
                == Superseded::Yes
        {
            return Ok(FinishOutcome::AlreadyFinished);
        }
        let number = job.attempts.saturating_add(1);
        ctx.tables
            .delivery_responses
            .put((self.job_id, number), &self.response)?;
        if let Some(reason) = &self.disable_reason {
            suspensions::disable_destination(ctx, self.job_id, reason)?;
        }
        if let Some(decision) = self.failure {
            let (id, attempt) = (self.job_id, &self.attempt);
            attempts::record_failed_attempt(ctx, id, &mut job, state, attempt, decision)?;
        } else {
            attempts::record_success(&mut job, &self.attempt);
            schedule::move_job(ctx, self.job_id, &mut job, state, ctx.now)?;
        }
        Ok(FinishOutcome::without_lead(job.submission_id))
    }
}

impl DeferOrExpire {
    /// Returns `true` if the transaction changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deferred.is_empty() && self.expired.is_empty()
    }

    /// Returns the job IDs of all deliveries in the transaction.
    #[must_use]
    pub fn job_ids(&self) -> Vec<JobId> {
        self.deferred
            .iter()
            .map(|deferral| deferral.job_id)
            .chain(self.expired.iter().map(|(job, _)| *job))
            .collect()
    }

    /// Splits the transaction into one transaction for each delivery.
    pub fn split(self) -> impl Iterator<Item = Self> {
        let deferred = self.deferred.into_iter().map(|deferral| Self {
            deferred: vec![deferral],
            ..Self::default()
        });
        deferred.chain(self.expired.into_iter().map(|expired| Self {
            expired: vec![expired],
            ..Self::default()
        }))
    }
}

impl Transaction for RecordAttempts {
    type Outcome = ();

    fn weight(&self) -> usize {
        self.attempts.len()
    }

    fn bytes(&self) -> usize {
        self.attempts.iter().map(Transaction::bytes).sum()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        self.attempts
            .iter()
            .try_for_each(|attempt| attempt.apply(ctx).map(|_| ()))
    }
}

impl Transaction for DeferOrExpire {
    type Outcome = ();

    fn weight(&self) -> usize {
        self.deferred.len() + self.expired.len()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        self.deferred
            .iter()
            .try_for_each(|deferral| deferral.apply(ctx))?;
        self.expired
            .iter()
            .try_for_each(|(job, reason)| expire_delivery(ctx, *job, reason))
    }
}

/// Returns the job of a delivery. Returns `None` if the customer of the delivery was forgotten
/// meanwhile: then the delivery is gone with its job.
fn find_unless_forgotten(ctx: &WriteContext<'_>, id: JobId) -> StoreResult<Option<Job>> {
    match ctx.tables.jobs.get(id)? {
        None if ctx.tables.deliveries.get(id)?.is_some() => ctx.tables.jobs.require(id).map(Some),
        found => Ok(found),
    }
}

/// Closes a delivery that waited too long.
fn expire_delivery(ctx: &mut WriteContext<'_>, id: JobId, reason: &str) -> StoreResult<()> {
    let Some(mut job) = find_unless_forgotten(ctx, id)? else {
        return Ok(());
    };
    let Ok(state) = job.state.transition(JobEvent::Expire) else {
        return Ok(());
    };
    let earlier_error = job
        .last_error
        .take()
        .map(|error| format!("; earlier error: {error}"))
        .unwrap_or_default();
    // The expiry counts as an attempt. So a delivery that an admin retries differs from a delivery
    // that never ran.
    let number = job.attempts.saturating_add(1);
    let attempt = Attempt {
        number,
        started_at: ctx.now,
        duration: Millis::ZERO,
        error: Some(format!("{reason}{earlier_error}")),
    };
    attempts::record_final_attempt(ctx, id, &mut job, state, &attempt)
}

/// Data of a finished delivery that is needed for its removal. See [`remove_delivery`].
pub struct PurgeableDelivery {
    event_id: JobId,
    /// Number of deliveries that the event had when it was written.
    delivery_count: u32,
    submission_id: Option<SubmissionId>,
    wamid: Option<Box<str>>,
}

/// Reads the data that [`remove_delivery`] needs. Adds the size of the rows to `bytes`.
pub fn read_purgeable(
    ctx: &WriteContext<'_>,
    id: JobId,
    job: &Job,
    bytes: &mut u64,
) -> StoreResult<PurgeableDelivery> {
    let event = ctx.tables.deliveries.require(id)?.event_id;
    let row = ctx.tables.events.require(event)?;
    *bytes = bytes.saturating_add(u64::try_from(row.body.len()).unwrap_or(u64::MAX));
    Ok(PurgeableDelivery {
        event_id: event,
        delivery_count: row.delivery_count,
        submission_id: job.submission_id,
        wamid: ctx
            .tables
            .receipts
            .get(id)?
            .and_then(|receipt| receipt.wamid),
    })
}

/// Removes the rows of a finished delivery. Also removes the event if no other delivery needs it.
/// The caller removes the row of the job.
pub fn remove_delivery(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    delivery: &PurgeableDelivery,
) -> StoreResult<()> {
    ctx.tables.deliveries.remove(id)?;
    ctx.tables.retried_dead_letters.remove(id)?;
    receipts::remove_receipt(ctx, id, delivery.wamid.as_deref(), delivery.submission_id)?;
    ctx.tables
        .delivery_responses
        .remove_range((id, 0)..=(id, u32::MAX))?;
    let first = delivery.event_id.get();
    for delivery_id in first..first.saturating_add(u64::from(delivery.delivery_count)) {
        if ctx.tables.deliveries.contains(JobId::new(delivery_id))? {
            return Ok(());
        }
    }
    ctx.tables.events.remove(delivery.event_id)?;
    Ok(())
}
