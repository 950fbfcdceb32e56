//! Records the attempts of jobs and what follows: a retry, the end of the job, or a dead letter.
//!
//! See [`super::jobs`] and [`super::deliveries`] for the transactions, and
//! [`super::dead_letters`] for the actions of admins on dead letters.

use crate::domain::delivery::Event;
use crate::domain::event::EventKind;
use crate::domain::event::data::{EventData, JobData};
use crate::domain::ids::{JobId, SubmissionId};
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Attempt, DeadLetter, Job, JobEvent, JobKind, JobState};

use super::outbox;
use super::schedule::move_job;
use crate::store::engine::Rows;
use crate::store::rows::codec;
use crate::store::rows::schema::DEAD_LETTERS;
use crate::store::rows::submissions::StoredSubmission;
use crate::store::writer::write_context::WriteContext;
use crate::store::{RowProblem, StoreResult};

/// Records a failed attempt of a job and changes the state of the job to `state`.
pub fn record_failed_attempt(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    attempt: &Attempt,
    decision: RetryDecision,
) -> StoreResult<()> {
    count_attempt(job);
    let attempt = Attempt {
        number: job.attempts,
        ..attempt.clone()
    };
    job.last_error.clone_from(&attempt.error);
    ctx.tables.attempts.put((id, attempt.number), &attempt)?;
    match decision {
        RetryDecision::RetryAt { at } => move_job(ctx, id, job, state, at),
        RetryDecision::GiveUp => {
            create_dead_letter(ctx, id, job, &attempt.error.unwrap_or_default())
        }
    }
}

/// Records the last attempt of a job that gets no retry and does not become a dead letter.
pub fn record_final_attempt(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    attempt: &Attempt,
) -> StoreResult<()> {
    count_attempt(job);
    job.last_error.clone_from(&attempt.error);
    ctx.tables.attempts.put((id, attempt.number), attempt)?;
    move_job(ctx, id, job, state, ctx.now)
}

/// Reopens a job whose recorded success turned out to be a failure, or fails a job that waited for
/// a status.
///
/// The job gets a retry at a given time or becomes a dead letter. The function counts no attempt,
/// because none took place.
pub fn reopen(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    job: &mut Job,
    reason: &str,
    decision: RetryDecision,
) -> StoreResult<()> {
    if let Ok(state) = job.state.transition(JobEvent::Reopen) {
        if let Some(success) = job.success.take() {
            let attempt = Attempt {
                error: Some(reason.to_owned()),
                ..success
            };
            ctx.tables.attempts.put((id, attempt.number), &attempt)?;
        }
        move_job(ctx, id, job, state, ctx.now)?;
    }
    job.last_error = Some(reason.to_owned());
    match decision {
        RetryDecision::RetryAt { at } => move_job(ctx, id, job, JobState::Scheduled, at),
        RetryDecision::GiveUp => create_dead_letter(ctx, id, job, reason),
    }
}

/// Finishes a job whose last attempt was recorded as failed but succeeded after all.
///
/// `fallback` is the attempt to store if the row of the recorded attempt is missing.
pub fn confirm_late(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    fallback: &Attempt,
) -> StoreResult<()> {
    let recorded = ctx.tables.attempts.take((id, fallback.number))?;
    job.success = Some(Attempt {
        error: None,
        ..recorded.unwrap_or_else(|| fallback.clone())
    });
    job.last_error = None;
    ctx.tables.retried_dead_letters.remove(id)?;
    move_job(ctx, id, job, state, ctx.now)
}

/// Returns the submission of job `id`. Returns `None` if the row of the submission is unreadable.
///
/// Without this, a job with a damaged submission could not become a dead letter.
fn find_readable_submission(
    ctx: &WriteContext<'_>,
    id: JobId,
    submission: SubmissionId,
) -> StoreResult<Option<StoredSubmission>> {
    match ctx.tables.submissions.require(submission) {
        Err(error) if error.affects_one_row() => {
            tracing::error!(%error, job.id = id.get(), "submission of a dead letter is unreadable: its data is left out");
            Ok(None)
        }
        submission => submission.map(Some),
    }
}

/// Makes a job a dead letter that stores the payload of the job, as far as the payload is readable.
pub fn create_dead_letter(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    job: &mut Job,
    reason: &str,
) -> StoreResult<()> {
    let retried = ctx.tables.retried_dead_letters.get_bytes(id)?;
    ctx.tables.retried_dead_letters.remove(id)?;
    let dead_letter = match retried.as_deref().map(codec::decode::<DeadLetter>) {
        // An admin retried the dead letter and the job failed again.
        Some(Ok(retried)) => Ok(DeadLetter {
            died_at: ctx.now,
            reason: reason.to_owned(),
            ..retried
        }),
        Some(Err(problem)) => Err(problem),
        None => Ok(DeadLetter {
            died_at: ctx.now,
            reason: reason.to_owned(),
            payload: build_payload(ctx, id, job)?,
            corrected_payload: None,
        }),
    };
    match dead_letter {
        Ok(dead_letter) => ctx.tables.dead_letters.put(id, &dead_letter)?,
        // The damaged row stays unchanged, so that `check` reports the row. Without this, the job
        // would run every minute.
        Err(problem) => {
            let error = DEAD_LETTERS.row_error(id, problem);
            tracing::error!(%error, job.id = id.get(), "dead letter is unreadable: its damaged row stays unchanged");
            let row = retried.unwrap_or_default();
            ctx.tables.dead_letters.put_bytes(id, &row)?
        }
    };
    move_job(ctx, id, job, JobState::Dead, ctx.now)?;
    emit_dead_letter_event(ctx, id, job, reason)
}

/// Payload of a job that becomes a dead letter for the first time.
fn build_payload(ctx: &WriteContext<'_>, id: JobId, job: &Job) -> StoreResult<String> {
    match (job.kind, job.submission_id) {
        (JobKind::Process, submission) => {
            let submission = submission
                .map(|submission| find_readable_submission(ctx, id, submission))
                .transpose()?
                .flatten();
            Ok(submission.map_or_else(String::new, |submission| submission.submission.data.into()))
        }
        (JobKind::Message, _) => Err(DEAD_LETTERS.row_error(id, RowProblem::Missing)),
        (JobKind::Deliver, _) => {
            let event = ctx.tables.deliveries.require(id)?.event_id;
            Ok(ctx.tables.events.require(event)?.body.into())
        }
    }
}

/// Emits the alert that a job became a dead letter.
///
/// A failed delivery of such an alert emits no alert. Without this, each failed alert would cause
/// another one.
pub fn emit_dead_letter_event(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    job: &Job,
    reason: &str,
) -> StoreResult<()> {
    let delivery = match job.kind {
        JobKind::Deliver => Some(ctx.tables.deliveries.require(id)?),
        JobKind::Process | JobKind::Message => None,
    };
    let event = delivery
        .as_ref()
        .map(|delivery| ctx.tables.events.require(delivery.event_id))
        .transpose()?;
    let is_alert = |event: &Event| event.kind == EventKind::JobDead;
    if event.as_ref().is_some_and(is_alert) {
        return Ok(());
    }
    let Some(pending) = outbox::prepare_event(ctx, EventKind::JobDead, None) else {
        return Ok(());
    };
    let flow = match (event, job.submission_id) {
        (Some(event), _) => event.flow,
        (None, Some(submission)) => find_readable_submission(ctx, id, submission)?
            .map(|submission| submission.submission.flow),
        (None, None) => None,
    };
    let data = JobData {
        id,
        kind: job.kind.as_str(),
        submission_id: job.submission_id,
        destination: delivery
            .as_ref()
            .map(|delivery| delivery.destination.as_str()),
        attempts: job.attempts,
        reason,
    };
    let data = EventData {
        flow: flow.as_ref(),
        job: Some(data),
        ..EventData::default()
    };
    pending.write_deliveries(ctx, job.submission_id, &data)
}

/// Returns the event of a job that a failed attempt causes.
pub const fn event_of(decision: RetryDecision) -> JobEvent {
    match decision {
        RetryDecision::RetryAt { .. } => JobEvent::Retry,
        RetryDecision::GiveUp => JobEvent::MarkDead,
    }
}

/// Counts an attempt. Resets the number of crashes, because the attempt has finished without a
/// crash.
const fn count_attempt(job: &mut Job) {
    job.attempts = job.attempts.saturating_add(1);
    job.attempts_since_manual_retry = job.attempts_since_manual_retry.saturating_add(1);
    job.crashes = 0;
}

pub fn record_success(job: &mut Job, attempt: &Attempt) {
    count_attempt(job);
    job.last_error = None;
    job.success = Some(Attempt {
        number: job.attempts,
        error: None,
        ..attempt.clone()
    });
}
