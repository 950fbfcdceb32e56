//! Transactions that record the results of job attempts: finished, failed, or dead letter.
//!
//! A job needs no write to start.
//!
//! See [`super::dead_letters`] for the actions of admins on dead letters. See
//! [`crate::domain::job`] for the table of state transitions, and [`crate::domain::job::retry`] for
//! the time of the next attempt.

use crate::domain::event::EventKind;
use crate::domain::event::data::{EventData, JobData};
use crate::domain::ids::{AgentName, JobId, LeadId, SubmissionId};
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Attempt, DeadLetter, Job, JobEvent, JobKind, JobState};
use crate::domain::submission::inbound::InboundSubmission;

use super::accept::{self, AcceptOutcome, StoredSubmission};
use super::leads::{self, NewLead};
use super::schedule::{find_job, move_job, put_job};
use super::{deliveries, outbox};
use crate::store::rows::codec;
use crate::store::writer::write_context::{Transaction, WriteContext};
use crate::store::{RowProblem, StoreError};

/// Maximum number of times that a job may crash the process before the job becomes a dead letter.
const CRASHES_MAX: u8 = 3;

/// Finishes a job that processed a submission, and creates the lead of the submission.
#[derive(Debug)]
pub struct FinishJob {
    /// Job ID.
    pub job_id: JobId,
    /// Start and duration of the attempt. The store sets the attempt number.
    pub attempt: Attempt,
    /// Lead to create. `None` if the flow creates no leads.
    pub lead: Option<NewLead>,
}

/// Finishes a job that parsed a stored message again, and accepts the submission of the message.
#[derive(Debug)]
pub struct FinishMessageJob {
    /// Job ID.
    pub job_id: JobId,
    /// Start and duration of the attempt. The store sets the attempt number.
    pub attempt: Attempt,
    /// Submission that the parser found in the message.
    pub form: Box<InboundSubmission>,
}

/// Result of a transaction that finishes a job or records a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishOutcome {
    /// The transaction recorded the attempt.
    Done {
        /// ID of the submission that the job processed, or that the message of the job became.
        submission_id: Option<SubmissionId>,
        /// ID of the lead that the job created.
        lead_id: Option<LeadId>,
        /// Agent of the lead. `None` if the lead waits for an agent.
        agent: Option<AgentName>,
    },
    /// The job had finished before: the transaction changed nothing.
    AlreadyFinished,
    /// The attempt failed: the job is a dead letter.
    DeadLettered {
        /// Reason of the failure.
        reason: String,
    },
}

/// Records a failed attempt of a job, and the retry or dead letter that follows.
#[derive(Debug)]
pub struct FailAttempt {
    /// Job ID.
    pub job_id: JobId,
    /// Start, duration and error of the attempt. The store sets the attempt number.
    pub attempt: Attempt,
    /// Decision after the failed attempt: a retry at a given time, or a dead letter.
    pub decision: RetryDecision,
}

/// Records that a suspect job starts. A suspect job may have crashed the process before.
#[derive(Debug)]
pub struct MarkSuspect {
    /// Job ID.
    pub job_id: JobId,
}

/// Removes the mark of [`MarkSuspect`]: the job ran and did not crash the process.
#[derive(Debug)]
pub struct ClearSuspect {
    /// Job ID.
    pub job_id: JobId,
}

/// Action for a suspect job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuspectAction {
    /// The worker must run the job alone.
    Run,
    /// The job has crashed the process too often and is a dead letter now.
    DeadLettered,
    /// The job has finished already.
    AlreadyFinished,
}

impl Transaction for FinishJob {
    type Outcome = FinishOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<FinishOutcome, StoreError> {
        let mut job = get_job(ctx, self.job_id)?;
        let Ok(state) = job.state.transition(JobEvent::Finish) else {
            return Ok(FinishOutcome::AlreadyFinished);
        };
        let created = match (&self.lead, job.submission_id) {
            (Some(new_lead), Some(submission)) => {
                Some(leads::create_lead(ctx, new_lead, submission)?)
            }
            _ => None,
        };
        record_success(&mut job, &self.attempt);
        job.lead_id = created.as_ref().map(|(lead, _)| *lead);
        move_job(ctx, self.job_id, &mut job, state, ctx.now)?;
        let (submission, agent) = (job.submission_id, created.and_then(|(_, agent)| agent));
        Ok(FinishOutcome::Done {
            submission_id: submission,
            lead_id: job.lead_id,
            agent,
        })
    }
}

impl Transaction for FinishMessageJob {
    type Outcome = FinishOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<FinishOutcome, StoreError> {
        let mut job = get_job(ctx, self.job_id)?;
        let Ok(state) = job.state.transition(JobEvent::Finish) else {
            return Ok(FinishOutcome::AlreadyFinished);
        };
        let decision = match accept::decide(ctx, &self.form, Some(self.job_id)) {
            // Without this, the job would run every minute: no attempt would be counted, and no
            // admin would see the job.
            Err(error) if error.affects_one_row() => {
                return self.move_to_dead_letters(ctx, &mut job, error.to_string());
            }
            decision => decision?,
        };
        let submission = match accept::write_decision(ctx, &self.form, decision)? {
            AcceptOutcome::New {
                submission_id: submission,
                ..
            } => Some(submission),
            AcceptOutcome::Duplicate { original } => original,
            // No customer waits for a response here. An unavailable slot is a conflict. The message
            // counts as parsed.
            AcceptOutcome::SlotRefused { .. }
            | AcceptOutcome::InvalidSlotFields { .. }
            | AcceptOutcome::DeadLetter { .. }
            | AcceptOutcome::TokenShared
            | AcceptOutcome::Replayed => None,
        };
        record_success(&mut job, &self.attempt);
        job.submission_id = submission;
        ctx.tables.retried_dead_letters.remove(self.job_id.get())?;
        move_job(ctx, self.job_id, &mut job, state, ctx.now)?;
        Ok(FinishOutcome::Done {
            submission_id: submission,
            lead_id: None,
            agent: None,
        })
    }
}

impl FinishMessageJob {
    /// Makes the job a dead letter again, because a row that the message needs is unreadable.
    fn move_to_dead_letters(
        &self,
        ctx: &mut WriteContext<'_, '_>,
        job: &mut Job,
        reason: String,
    ) -> Result<FinishOutcome, StoreError> {
        let Ok(state) = job.state.transition(JobEvent::MarkDead) else {
            return Ok(FinishOutcome::AlreadyFinished);
        };
        let attempt = Attempt {
            error: Some(reason.clone()),
            ..self.attempt.clone()
        };
        record_failed_attempt(
            ctx,
            self.job_id,
            job,
            state,
            &attempt,
            RetryDecision::GiveUp,
        )?;
        Ok(FinishOutcome::DeadLettered { reason })
    }
}

impl Transaction for FailAttempt {
    type Outcome = FinishOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<FinishOutcome, StoreError> {
        let mut job = get_job(ctx, self.job_id)?;
        let event = match self.decision {
            RetryDecision::RetryAt { .. } => JobEvent::Retry,
            RetryDecision::GiveUp => JobEvent::MarkDead,
        };
        let Ok(state) = job.state.transition(event) else {
            return Ok(FinishOutcome::AlreadyFinished);
        };
        record_failed_attempt(
            ctx,
            self.job_id,
            &mut job,
            state,
            &self.attempt,
            self.decision,
        )?;
        Ok(FinishOutcome::Done {
            submission_id: job.submission_id,
            lead_id: None,
            agent: None,
        })
    }
}

/// Records a failed attempt of a job and changes the state of the job to `state`.
pub(in crate::store) fn record_failed_attempt(
    ctx: &mut WriteContext<'_, '_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    attempt: &Attempt,
    decision: RetryDecision,
) -> Result<(), StoreError> {
    count_attempt(job);
    let attempt = Attempt {
        number: job.attempts,
        ..attempt.clone()
    };
    job.last_error.clone_from(&attempt.error);
    ctx.tables.attempts.insert(
        (id.get(), attempt.number),
        codec::encode(&attempt)?.as_slice(),
    )?;
    match decision {
        RetryDecision::RetryAt { at } => move_job(ctx, id, job, state, at),
        RetryDecision::GiveUp => {
            create_dead_letter(ctx, id, job, &attempt.error.unwrap_or_default())
        }
    }
}

/// Records the last attempt of a job that gets no retry and does not become a dead letter.
pub(in crate::store) fn record_final_attempt(
    batch: &mut WriteContext<'_, '_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    attempt: &Attempt,
) -> Result<(), StoreError> {
    count_attempt(job);
    job.last_error.clone_from(&attempt.error);
    batch.tables.attempts.insert(
        (id.get(), attempt.number),
        codec::encode(attempt)?.as_slice(),
    )?;
    move_job(batch, id, job, state, batch.now)
}

impl Transaction for MarkSuspect {
    type Outcome = SuspectAction;

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<SuspectAction, StoreError> {
        let Some(mut job) = find_job(ctx, self.job_id)? else {
            return Ok(SuspectAction::AlreadyFinished);
        };
        if job.state != JobState::Scheduled {
            return Ok(SuspectAction::AlreadyFinished);
        }
        if job.crashes >= CRASHES_MAX {
            let reason =
                format!("the process crashed {CRASHES_MAX} times while only this job was running");
            job.last_error = Some(reason.clone());
            create_dead_letter(ctx, self.job_id, &mut job, &reason)?;
            return Ok(SuspectAction::DeadLettered);
        }
        job.crashes += 1;
        put_job(ctx, self.job_id, &job)?;
        Ok(SuspectAction::Run)
    }
}

impl Transaction for ClearSuspect {
    type Outcome = ();

    fn apply(&self, batch: &mut WriteContext<'_, '_>) -> Result<(), StoreError> {
        match find_job(batch, self.job_id)? {
            Some(job) if job.crashes > 0 => put_job(batch, self.job_id, &Job { crashes: 0, ..job }),
            _ => Ok(()),
        }
    }
}

/// Reopens a job whose recorded success turned out to be a failure, or fails a job that waited for
/// a status.
///
/// The job gets a retry at a given time or becomes a dead letter. The function counts no attempt,
/// because none took place.
pub(in crate::store) fn reopen(
    ctx: &mut WriteContext<'_, '_>,
    id: JobId,
    job: &mut Job,
    reason: &str,
    decision: RetryDecision,
) -> Result<(), StoreError> {
    if let Ok(state) = job.state.transition(JobEvent::Reopen) {
        if let Some(success) = job.success.take() {
            let attempt = Attempt {
                error: Some(reason.to_owned()),
                ..success
            };
            ctx.tables.attempts.insert(
                (id.get(), attempt.number),
                codec::encode(&attempt)?.as_slice(),
            )?;
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
pub(in crate::store) fn confirm_late(
    batch: &mut WriteContext<'_, '_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    fallback: &Attempt,
) -> Result<(), StoreError> {
    let row = batch.tables.attempts.remove((id.get(), fallback.number))?;
    let recorded = row.map(|row| codec::decode(id, row.value())).transpose()?;
    job.success = Some(Attempt {
        error: None,
        ..recorded.unwrap_or_else(|| fallback.clone())
    });
    job.last_error = None;
    batch.tables.retried_dead_letters.remove(id.get())?;
    move_job(batch, id, job, state, batch.now)
}

/// Returns the submission of job `id`. Returns `None` if the row of the submission is unreadable.
///
/// Without this, a job with a damaged submission could not become a dead letter.
fn find_readable_submission(
    batch: &WriteContext<'_, '_>,
    id: JobId,
    submission: SubmissionId,
) -> Result<Option<StoredSubmission>, StoreError> {
    match accept::get_submission(batch, submission) {
        Err(error) if error.affects_one_row() => {
            tracing::error!(%error, job.id = id.get(), "submission of a dead letter is unreadable: its data is left out");
            Ok(None)
        }
        submission => submission.map(Some),
    }
}

/// Makes a job a dead letter that stores the payload of the job, as far as the payload is readable.
fn create_dead_letter(
    ctx: &mut WriteContext<'_, '_>,
    id: JobId,
    job: &mut Job,
    reason: &str,
) -> Result<(), StoreError> {
    let retried = ctx
        .tables
        .retried_dead_letters
        .remove(id.get())?
        .map(|row| row.value().to_vec());
    let row = match retried {
        // An admin retried the dead letter and the job failed again.
        Some(row) => match codec::decode::<DeadLetter>(id, &row) {
            Ok(retried) => codec::encode(&DeadLetter {
                died_at: ctx.now,
                reason: reason.to_owned(),
                ..retried
            })?,
            // The damaged row stays unchanged, so that `check` reports the row. Without this, the
            // job would run every minute.
            Err(error) if error.affects_one_row() => {
                tracing::error!(%error, job.id = id.get(), "dead letter is unreadable: its damaged row stays unchanged");
                row
            }
            Err(error) => return Err(error),
        },
        None => codec::encode(&DeadLetter {
            died_at: ctx.now,
            reason: reason.to_owned(),
            payload: build_payload(ctx, id, job)?,
            corrected_payload: None,
        })?,
    };
    ctx.tables.dead_letters.insert(id.get(), row.as_slice())?;
    move_job(ctx, id, job, JobState::Dead, ctx.now)?;
    emit_dead_letter_event(ctx, id, job, reason)
}

/// Payload of a job that becomes a dead letter for the first time.
fn build_payload(ctx: &WriteContext<'_, '_>, id: JobId, job: &Job) -> Result<String, StoreError> {
    match (job.kind, job.submission_id) {
        (JobKind::Process, submission) => {
            let submission = submission
                .map(|submission| find_readable_submission(ctx, id, submission))
                .transpose()?
                .flatten();
            Ok(submission.map_or_else(String::new, |submission| submission.submission.data.into()))
        }
        (JobKind::Message, _) => Err(StoreError::row::<DeadLetter>(
            &id.to_string(),
            RowProblem::Missing,
        )),
        (JobKind::Deliver, _) => {
            let event = deliveries::get_delivery(ctx, id)?.event_id;
            Ok(deliveries::get_event(ctx, event)?.body.into())
        }
    }
}

/// Emits the alert that a job became a dead letter.
///
/// A failed delivery of such an alert emits no alert. Without this, each failed alert would cause
/// another one.
pub(in crate::store) fn emit_dead_letter_event(
    ctx: &mut WriteContext<'_, '_>,
    id: JobId,
    job: &Job,
    reason: &str,
) -> Result<(), StoreError> {
    let delivery = match job.kind {
        JobKind::Deliver => Some(deliveries::get_delivery(ctx, id)?),
        JobKind::Process | JobKind::Message => None,
    };
    let event = delivery
        .as_ref()
        .map(|delivery| deliveries::get_event(ctx, delivery.event_id))
        .transpose()?;
    if event
        .as_ref()
        .is_some_and(|event| event.kind == EventKind::JobDead)
    {
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
    pending.write_deliveries(
        ctx,
        job.submission_id,
        &EventData {
            flow: flow.as_ref(),
            job: Some(data),
            ..EventData::default()
        },
    )
}

/// Counts an attempt. Resets the number of crashes, because the attempt has finished without a
/// crash.
const fn count_attempt(job: &mut Job) {
    job.attempts = job.attempts.saturating_add(1);
    job.attempts_since_manual_retry = job.attempts_since_manual_retry.saturating_add(1);
    job.crashes = 0;
}

pub(in crate::store) fn record_success(job: &mut Job, attempt: &Attempt) {
    count_attempt(job);
    job.last_error = None;
    job.success = Some(Attempt {
        number: job.attempts,
        error: None,
        ..attempt.clone()
    });
}

/// Returns the job with this ID, or an error if the row is missing or unreadable.
pub(in crate::store) fn get_job(
    batch: &WriteContext<'_, '_>,
    id: JobId,
) -> Result<Job, StoreError> {
    find_job(batch, id)?.ok_or_else(|| StoreError::row::<Job>(&id.to_string(), RowProblem::Missing))
}
