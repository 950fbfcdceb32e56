//! Transactions that record the results of job attempts: finished, failed, or dead letter.
//!
//! A job needs no write to start.
//!
//! See [`super::dead_letters`] for the actions of admins on dead letters. See
//! [`crate::domain::job`] for the table of state transitions, and [`crate::domain::job::retry`] for
//! the time of the next attempt.

use crate::domain::ids::{AgentName, JobId, LeadId, SubmissionId};
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Attempt, Job, JobEvent, JobState};
use crate::domain::submission::inbound::InboundSubmission;

use super::accept::{self, AcceptOutcome};
use super::attempts::{self, create_dead_letter, record_failed_attempt, record_success};
use super::leads::{self, NewLead};
use super::schedule::move_job;
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::writer::write_context::{Transaction, WriteContext};

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

impl FinishOutcome {
    /// Returns the outcome of a job that created no lead.
    pub(in crate::store) const fn without_lead(submission_id: Option<SubmissionId>) -> Self {
        Self::Done {
            submission_id,
            lead_id: None,
            agent: None,
        }
    }
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

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<FinishOutcome> {
        let mut job = ctx.tables.jobs.require(self.job_id)?;
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
        Ok(FinishOutcome::Done {
            submission_id: job.submission_id,
            lead_id: job.lead_id,
            agent: created.and_then(|(_, agent)| agent),
        })
    }
}

impl Transaction for FinishMessageJob {
    type Outcome = FinishOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<FinishOutcome> {
        let mut job = ctx.tables.jobs.require(self.job_id)?;
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
            AcceptOutcome::New { submission_id, .. } => Some(submission_id),
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
        ctx.tables.retried_dead_letters.remove(self.job_id)?;
        move_job(ctx, self.job_id, &mut job, state, ctx.now)?;
        Ok(FinishOutcome::without_lead(submission))
    }
}

impl FinishMessageJob {
    /// Makes the job a dead letter again, because a row that the message needs is unreadable.
    fn move_to_dead_letters(
        &self,
        ctx: &mut WriteContext<'_>,
        job: &mut Job,
        reason: String,
    ) -> StoreResult<FinishOutcome> {
        let Ok(state) = job.state.transition(JobEvent::MarkDead) else {
            return Ok(FinishOutcome::AlreadyFinished);
        };
        let attempt = Attempt {
            error: Some(reason.clone()),
            ..self.attempt.clone()
        };
        let decision = RetryDecision::GiveUp;
        record_failed_attempt(ctx, self.job_id, job, state, &attempt, decision)?;
        Ok(FinishOutcome::DeadLettered { reason })
    }
}

impl Transaction for FailAttempt {
    type Outcome = FinishOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<FinishOutcome> {
        let mut job = ctx.tables.jobs.require(self.job_id)?;
        let Ok(state) = job.state.transition(attempts::event_of(self.decision)) else {
            return Ok(FinishOutcome::AlreadyFinished);
        };
        let (attempt, decision) = (&self.attempt, self.decision);
        record_failed_attempt(ctx, self.job_id, &mut job, state, attempt, decision)?;
        Ok(FinishOutcome::without_lead(job.submission_id))
    }
}

impl Transaction for MarkSuspect {
    type Outcome = SuspectAction;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<SuspectAction> {
        let Some(mut job) = ctx.tables.jobs.get(self.job_id)? else {
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
        ctx.tables.jobs.put(self.job_id, &job)?;
        Ok(SuspectAction::Run)
    }
}

impl Transaction for ClearSuspect {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        if let Some(job) = ctx.tables.jobs.get(self.job_id)?
            && job.crashes > 0
        {
            let job = Job { crashes: 0, ..job };
            ctx.tables.jobs.put(self.job_id, &job)?;
        }
        Ok(())
    }
}
