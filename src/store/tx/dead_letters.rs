//! Transactions of admins on dead letters and waiting deliveries: retry and discard.
//!
//! Each action exists for one job and for many jobs in one transaction. A retry may be spread over
//! time. A bulk transaction shares its commit with other transactions, so the caller must limit the
//! number of jobs in it.
//!
//! See [`crate::domain::job`] for the states in which a job may be retried or discarded.

use crate::domain::ids::JobId;
use crate::domain::job::{DeadLetter, IllegalTransition, Job, JobEvent, JobKind, JobState};
use crate::domain::time::Timestamp;

use super::schedule::move_job;
use crate::store::engine::Rows;
use crate::store::writer::write_context::{Transaction, WriteContext};
use crate::store::{StoreError, StoreResult};

/// Retries a dead letter.
#[derive(Debug)]
pub struct RetryDeadLetter {
    /// Job ID.
    pub job_id: JobId,
    /// Corrected payload as JSON text: a message to parse again, or a body to deliver. `None` to
    /// use the stored payload.
    ///
    /// The original payload stays: with the dead letter until the job succeeds, and for a delivery
    /// permanently.
    pub payload: Option<String>,
}

/// Retries many dead letters. Jobs that are no dead letters any more stay unchanged.
#[derive(Debug)]
pub struct RetryDeadLetters {
    /// Job IDs, each with the time at which the job is due.
    pub jobs: Vec<(JobId, Timestamp)>,
}

/// Discards a dead letter. Its submission stays.
#[derive(Debug)]
pub struct DiscardDeadLetter {
    /// Job ID.
    pub job_id: JobId,
}

/// Discards many dead letters. Jobs that are no dead letters any more stay unchanged.
#[derive(Debug)]
pub struct DiscardDeadLetters {
    /// Job IDs.
    pub job_ids: Vec<JobId>,
}

/// Discards waiting deliveries, for example those to a removed destination. A delivery in flight
/// may still arrive.
#[derive(Debug)]
pub struct DiscardDeliveries {
    /// Job IDs.
    pub job_ids: Vec<JobId>,
}

/// Result of an admin's change to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterOutcome {
    /// The job changed to this state.
    Updated(JobState),
    /// The state of the job does not allow the change.
    Refused(IllegalTransition),
    /// The payload of a submission can't be corrected, because the payload is the submission
    /// itself.
    PayloadNotEditable,
    /// No job has this ID.
    NotFound,
}

/// Result of a bulk change.
#[derive(Clone, Debug, Default)]
pub struct BulkOutcome {
    /// Number of jobs changed.
    pub changed: usize,
    /// Jobs that stay unchanged because one of their rows is unreadable.
    pub unreadable: Vec<(JobId, StoreError)>,
}

impl BulkOutcome {
    /// Adds the result of one dead letter.
    fn count_outcome(
        &mut self,
        id: JobId,
        outcome: StoreResult<DeadLetterOutcome>,
    ) -> StoreResult<()> {
        match outcome {
            Ok(DeadLetterOutcome::Updated(_)) => self.changed += 1,
            Ok(_) => {}
            Err(error) if error.affects_one_row() => self.unreadable.push((id, error)),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Transaction for RetryDeadLetter {
    type Outcome = DeadLetterOutcome;

    fn bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, String::len)
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<DeadLetterOutcome> {
        let now = ctx.now;
        retry_dead_letter(ctx, self.job_id, self.payload.as_ref(), now)
    }
}

impl Transaction for RetryDeadLetters {
    type Outcome = BulkOutcome;

    fn weight(&self) -> usize {
        self.jobs.len()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<BulkOutcome> {
        let mut bulk = BulkOutcome::default();
        for (job, at) in &self.jobs {
            bulk.count_outcome(*job, retry_dead_letter(ctx, *job, None, *at))?;
        }
        Ok(bulk)
    }
}

impl Transaction for DiscardDeadLetter {
    type Outcome = DeadLetterOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<DeadLetterOutcome> {
        discard_dead_letter(ctx, self.job_id)
    }
}

impl Transaction for DiscardDeadLetters {
    type Outcome = BulkOutcome;

    fn weight(&self) -> usize {
        self.job_ids.len()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<BulkOutcome> {
        let mut bulk = BulkOutcome::default();
        for job in &self.job_ids {
            bulk.count_outcome(*job, discard_dead_letter(ctx, *job))?;
        }
        Ok(bulk)
    }
}

impl Transaction for DiscardDeliveries {
    /// Results in the order of the jobs.
    type Outcome = Vec<DeadLetterOutcome>;

    fn weight(&self) -> usize {
        self.job_ids.len()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<Vec<DeadLetterOutcome>> {
        self.job_ids
            .iter()
            .map(|job| discard_delivery(ctx, *job))
            .collect()
    }
}

fn discard_delivery(ctx: &mut WriteContext<'_>, id: JobId) -> StoreResult<DeadLetterOutcome> {
    // A delivery with an unreadable row stays unchanged and does not block other deliveries.
    let found = ctx.tables.jobs.get(id).and_then(|job| match job {
        Some(job) if job.kind == JobKind::Deliver => {
            ctx.tables.deliveries.require(id).map(|_| Some(job))
        }
        _ => Ok(None),
    });
    let mut job = match found {
        Ok(Some(job)) => job,
        Ok(None) => return Ok(DeadLetterOutcome::NotFound),
        Err(error) if error.affects_one_row() => {
            tracing::error!(job.id = id.get(), error = %error, "delivery cannot be discarded: a row of it is unreadable");
            return Ok(DeadLetterOutcome::NotFound);
        }
        Err(error) => return Err(error),
    };
    let state = match job.state.transition(JobEvent::DiscardScheduled) {
        Ok(state) => state,
        Err(refused) => return Ok(DeadLetterOutcome::Refused(refused)),
    };
    let now = ctx.now;
    move_job(ctx, id, &mut job, state, now)?;
    Ok(DeadLetterOutcome::Updated(state))
}

fn retry_dead_letter(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    payload: Option<&String>,
    at: Timestamp,
) -> StoreResult<DeadLetterOutcome> {
    let (mut job, state) = match check_transition(ctx, id, JobEvent::RetryManually)? {
        Ok(dead) => dead,
        Err(refusal) => return Ok(refusal),
    };
    if payload.is_some() && job.kind == JobKind::Process {
        return Ok(DeadLetterOutcome::PayloadNotEditable);
    }
    let mut dead_letter = if job.state == JobState::Expired {
        rebuild_dead_letter(ctx, id, &job)?
    } else {
        ctx.tables.dead_letters.require(id)?
    };
    if job.kind == JobKind::Deliver {
        ctx.tables.deliveries.require(id)?;
    }
    // All necessary rows are read. From here on, no error can affect only this dead letter.
    ctx.tables.dead_letters.remove(id)?;
    ctx.tables.retried_dead_letters.remove(id)?;
    dead_letter.corrected_payload = payload.cloned().or(dead_letter.corrected_payload);
    // No other row stores the message, or the body that an admin corrected.
    if job.kind == JobKind::Message || dead_letter.corrected_payload.is_some() {
        ctx.tables.retried_dead_letters.put(id, &dead_letter)?;
    }
    job.attempts_since_manual_retry = 0;
    job.crashes = 0;
    move_job(ctx, id, &mut job, state, at)?;
    Ok(DeadLetterOutcome::Updated(state))
}

fn discard_dead_letter(ctx: &mut WriteContext<'_>, id: JobId) -> StoreResult<DeadLetterOutcome> {
    let (mut job, state) = match check_transition(ctx, id, JobEvent::Discard)? {
        Ok(dead) => dead,
        Err(refusal) => return Ok(refusal),
    };
    if job.kind == JobKind::Deliver {
        ctx.tables.deliveries.require(id)?;
    }
    // An unreadable dead letter can still be discarded.
    let dead_letter = match ctx.tables.dead_letters.get(id) {
        Err(error) if error.affects_one_row() => None,
        dead_letter => dead_letter?,
    };
    ctx.tables.dead_letters.remove(id)?;
    // The delivery shows the body that was sent last, as long as the delivery is stored.
    if let Some(dead_letter) = dead_letter.filter(|dead_letter| {
        job.kind == JobKind::Deliver && dead_letter.corrected_payload.is_some()
    }) {
        ctx.tables.retried_dead_letters.put(id, &dead_letter)?;
    }
    let now = ctx.now;
    move_job(ctx, id, &mut job, state, now)?;
    Ok(DeadLetterOutcome::Updated(state))
}

/// Returns job `id` and its state after `event`, or the reason why the change is not possible.
fn check_transition(
    ctx: &WriteContext<'_>,
    id: JobId,
    event: JobEvent,
) -> StoreResult<Result<(Job, JobState), DeadLetterOutcome>> {
    let Some(job) = ctx.tables.jobs.get(id)? else {
        return Ok(Err(DeadLetterOutcome::NotFound));
    };
    Ok(match job.state.transition(event) {
        Ok(state) => Ok((job, state)),
        Err(refused) => Err(DeadLetterOutcome::Refused(refused)),
    })
}

/// Builds the dead letter of an expired delivery, which stores the correction of an admin and any
/// earlier correction.
fn rebuild_dead_letter(ctx: &WriteContext<'_>, id: JobId, job: &Job) -> StoreResult<DeadLetter> {
    if let Some(retried) = ctx.tables.retried_dead_letters.get(id)? {
        return Ok(retried);
    }
    let event = ctx.tables.deliveries.require(id)?.event_id;
    let payload = ctx.tables.events.require(event)?.body.into();
    let reason = job.last_error.clone().unwrap_or_default();
    Ok(DeadLetter {
        died_at: job.due_at,
        reason,
        payload,
        corrected_payload: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_transaction_weight_is_job_count() {
        let jobs: Vec<JobId> = (1..=100).map(JobId::new).collect();
        let due = jobs.iter().map(|job| (*job, Timestamp::ZERO)).collect();
        assert_eq!(RetryDeadLetters { jobs: due }.weight(), 100);
        assert_eq!(
            DiscardDeadLetters {
                job_ids: jobs.clone()
            }
            .weight(),
            100
        );
        assert_eq!(DiscardDeliveries { job_ids: jobs }.weight(), 100);
    }
}
