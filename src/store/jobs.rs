//! What happens to jobs by themselves: finished, failed, buried. What admins do with the buried ones is
//! [`super::letters`]'.
//!
//! What may follow what is decided by the table in `crate::domain::job`; when the next try comes, by
//! `crate::domain::retry`. A job needs no write to start.

use crate::domain::arrival::Form;
use crate::domain::event::EventKind;
use crate::domain::event::facts::{Facts, JobFacts};
use crate::domain::ids::{AgentName, JobId, LeadId, SubmissionId};
use crate::domain::job::{Attempt, DeadLetter, Job, JobEvent, JobKind, JobState};
use crate::domain::retry::Verdict;

use super::accept::{self, Accepted, StoredSubmission};
use super::batch::{Batch, Transaction};
use super::leads::{self, LeadOrder};
use super::schedule::{find, move_job, write};
use super::{RowProblem, StoreError, codec, deliveries, outbox};

/// How often a job may take the process down before it becomes a dead letter.
const CRASHES_MAX: u8 = 3;

/// Ends a job that carried a submission, with the lead it led to.
#[derive(Debug)]
pub struct Finish {
    /// Which job.
    pub job: JobId,
    /// When its attempt began, and how long it took. The number is set here.
    pub attempt: Attempt,
    /// The lead to make; `None`: the flow makes none.
    pub lead: Option<LeadOrder>,
}

/// Ends a job that read a message again, with what it turned out to be.
#[derive(Debug)]
pub struct FinishMessage {
    /// Which job.
    pub job: JobId,
    /// As in [`Finish`].
    pub attempt: Attempt,
    /// What the message says.
    pub form: Box<Form>,
}

/// What came of a finished job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is done.
    Done {
        /// The submission it carried, or became.
        submission: Option<SubmissionId>,
        /// The lead it led to.
        lead: Option<LeadId>,
        /// Who has it; `None`: it waits.
        agent: Option<AgentName>,
    },
    /// It was over already: nothing was changed.
    AlreadyOver,
    /// Its attempt failed: it is a dead letter.
    Buried {
        /// The reason.
        reason: String,
    },
}

/// Notes a failed attempt and what follows from it.
#[derive(Debug)]
pub struct Fail {
    /// Which job.
    pub job: JobId,
    /// When its attempt began, how long it took, why it failed. The number is set here.
    pub attempt: Attempt,
    /// Again later, or a dead letter.
    pub verdict: Verdict,
}

/// Notes that a job runs which may have taken the process down before.
#[derive(Debug)]
pub struct MarkSuspect {
    /// Which job.
    pub job: JobId,
}

/// Takes the mark of [`MarkSuspect`] away: what might have taken the process down did not.
#[derive(Debug)]
pub struct ClearSuspect {
    /// Which job.
    pub job: JobId,
}

/// What is to be done with a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect {
    /// Run it, alone.
    Run,
    /// It has taken the process down too often and is a dead letter now.
    Buried,
    /// It is over already.
    Over,
}

impl Transaction for Finish {
    type Outcome = Finished;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Finished, StoreError> {
        let mut job = job(batch, self.job)?;
        let Ok(state) = job.state.after(JobEvent::Finish) else { return Ok(Finished::AlreadyOver) };
        let made = match (&self.lead, job.submission) {
            (Some(order), Some(submission)) => Some(leads::make(batch, order, submission)?),
            _ => None,
        };
        succeed(&mut job, &self.attempt);
        job.lead = made.as_ref().map(|(lead, _)| *lead);
        move_job(batch, self.job, &mut job, state, batch.now)?;
        let (submission, agent) = (job.submission, made.and_then(|(_, agent)| agent));
        Ok(Finished::Done { submission, lead: job.lead, agent })
    }
}

impl Transaction for FinishMessage {
    type Outcome = Finished;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Finished, StoreError> {
        let mut job = job(batch, self.job)?;
        let Ok(state) = job.state.after(JobEvent::Finish) else { return Ok(Finished::AlreadyOver) };
        let decision = match accept::decide(batch, &self.form, Some(self.job)) {
            // Without this, the job would run every minute: no attempt would be counted, and no admin would see it.
            Err(error) if error.is_of_one_change() => return self.bury(batch, &mut job, error.to_string()),
            decision => decision?,
        };
        let submission = match accept::carry_out(batch, &self.form, decision)? {
            Accepted::New { submission, .. } => Some(submission),
            Accepted::Duplicate { of } => of,
            // Nobody can be answered here: a lost slot is a conflict, and the message was read.
            Accepted::SlotRefused { .. }
            | Accepted::Unfit { .. }
            | Accepted::DeadLetter { .. }
            | Accepted::TokenShared
            | Accepted::Replayed => None,
        };
        succeed(&mut job, &self.attempt);
        job.submission = submission;
        batch.tables.revived.remove(self.job.get())?;
        move_job(batch, self.job, &mut job, state, batch.now)?;
        Ok(Finished::Done { submission, lead: None, agent: None })
    }
}

impl FinishMessage {
    /// Makes the job a dead letter again: the message needs a row that can't be read.
    fn bury(&self, batch: &mut Batch<'_, '_>, job: &mut Job, reason: String) -> Result<Finished, StoreError> {
        let Ok(state) = job.state.after(JobEvent::Bury) else { return Ok(Finished::AlreadyOver) };
        let attempt = Attempt { error: Some(reason.clone()), ..self.attempt.clone() };
        fail(batch, self.job, job, state, &attempt, Verdict::Dead)?;
        Ok(Finished::Buried { reason })
    }
}

impl Transaction for Fail {
    type Outcome = Finished;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Finished, StoreError> {
        let mut job = job(batch, self.job)?;
        let event = match self.verdict {
            Verdict::Again { .. } => JobEvent::Retry,
            Verdict::Dead => JobEvent::Bury,
        };
        let Ok(state) = job.state.after(event) else { return Ok(Finished::AlreadyOver) };
        fail(batch, self.job, &mut job, state, &self.attempt, self.verdict)?;
        Ok(Finished::Done { submission: job.submission, lead: None, agent: None })
    }
}

/// Notes a failed attempt of a job, which goes over to `state`.
pub(super) fn fail(
    batch: &mut Batch<'_, '_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    attempt: &Attempt,
    verdict: Verdict,
) -> Result<(), StoreError> {
    count(job);
    let attempt = Attempt { number: job.attempts, ..attempt.clone() };
    job.last_error.clone_from(&attempt.error);
    batch.tables.attempts.insert((id.get(), attempt.number), codec::encode(&attempt)?.as_slice())?;
    match verdict {
        Verdict::Again { at } => move_job(batch, id, job, state, at),
        Verdict::Dead => bury(batch, id, job, attempt.error.unwrap_or_default()),
    }
}

/// Notes the last attempt of a job that is neither run again nor buried.
pub(super) fn close(
    batch: &mut Batch<'_, '_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    attempt: &Attempt,
) -> Result<(), StoreError> {
    count(job);
    job.last_error.clone_from(&attempt.error);
    batch.tables.attempts.insert((id.get(), attempt.number), codec::encode(attempt)?.as_slice())?;
    move_job(batch, id, job, state, batch.now)
}

impl Transaction for MarkSuspect {
    type Outcome = Suspect;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Suspect, StoreError> {
        let Some(mut job) = find(batch, self.job)? else { return Ok(Suspect::Over) };
        if job.state != JobState::Scheduled {
            return Ok(Suspect::Over);
        }
        if job.crashes >= CRASHES_MAX {
            let reason = format!("the process died {CRASHES_MAX} times while this job ran alone");
            job.last_error = Some(reason.clone());
            bury(batch, self.job, &mut job, reason)?;
            return Ok(Suspect::Buried);
        }
        job.crashes += 1;
        write(batch, self.job, &job)?;
        Ok(Suspect::Run)
    }
}

impl Transaction for ClearSuspect {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        match find(batch, self.job)? {
            Some(job) if job.crashes > 0 => write(batch, self.job, &Job { crashes: 0, ..job }),
            _ => Ok(()),
        }
    }
}

/// Takes up a job again whose last attempt only seemed to succeed, or fails one that waited to hear of it: again at a time, or
/// a dead letter. No attempt is counted: there was none.
pub(super) fn disprove(
    batch: &mut Batch<'_, '_>,
    id: JobId,
    job: &mut Job,
    why: String,
    verdict: Verdict,
) -> Result<(), StoreError> {
    if let Ok(state) = job.state.after(JobEvent::Reopen) {
        if let Some(success) = job.success.take() {
            let attempt = Attempt { error: Some(why.clone()), ..success };
            batch.tables.attempts.insert((id.get(), attempt.number), codec::encode(&attempt)?.as_slice())?;
        }
        move_job(batch, id, job, state, batch.now)?;
    }
    job.last_error = Some(why.clone());
    match verdict {
        Verdict::Again { at } => move_job(batch, id, job, JobState::Scheduled, at),
        Verdict::Dead => bury(batch, id, job, why),
    }
}

/// Ends a job whose last attempt, which was noted as failed, turns out to have succeeded. `known` is what is known of it
/// where its row is gone.
pub(super) fn prove(
    batch: &mut Batch<'_, '_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    known: &Attempt,
) -> Result<(), StoreError> {
    let row = batch.tables.attempts.remove((id.get(), known.number))?;
    let noted = row.map(|row| codec::decode(id, row.value())).transpose()?;
    job.success = Some(Attempt { error: None, ..noted.unwrap_or_else(|| known.clone()) });
    job.last_error = None;
    batch.tables.revived.remove(id.get())?;
    move_job(batch, id, job, state, batch.now)
}

/// The submission of the job `id`; `None` if its row can't be read. Without this, a job with a damaged submission could not
/// become a dead letter.
fn readable(
    batch: &Batch<'_, '_>,
    id: JobId,
    submission: SubmissionId,
) -> Result<Option<StoredSubmission>, StoreError> {
    match accept::submission(batch, submission) {
        Err(error) if error.is_of_one_change() => {
            tracing::error!(%error, job.id = id.get(), "a dead letter lacks its submission, which can't be read");
            Ok(None)
        }
        submission => submission.map(Some),
    }
}

/// Makes a job a dead letter that holds all that the job was to carry, as far as that can be read.
fn bury(batch: &mut Batch<'_, '_>, id: JobId, job: &mut Job, reason: String) -> Result<(), StoreError> {
    let revived = batch.tables.revived.remove(id.get())?.map(|row| row.value().to_vec());
    let found = match &revived {
        // It was run again and failed again.
        Some(row) => codec::decode::<DeadLetter>(id, row).map(|letter| (letter.payload, letter.corrected)),
        None => payload(batch, id, job).map(|payload| (payload, None)),
    };
    let row = match (found, revived) {
        (Ok((payload, corrected)), _) => {
            codec::encode(&DeadLetter { died_at: batch.now, reason: reason.clone(), payload, corrected })?
        }
        // The damaged row stays as it is, for `check` to name. Without this, the job would run every minute.
        (Err(error), Some(damaged)) if error.is_of_one_change() => {
            tracing::error!(%error, job.id = id.get(), "a dead letter can't be read and stays damaged");
            damaged
        }
        (Err(error), _) => return Err(error),
    };
    batch.tables.dead.insert(id.get(), row.as_slice())?;
    move_job(batch, id, job, JobState::Dead, batch.now)?;
    tell_of_death(batch, id, job, &reason)
}

/// All that a job that becomes a dead letter for the first time was to carry.
fn payload(batch: &Batch<'_, '_>, id: JobId, job: &Job) -> Result<String, StoreError> {
    match (job.kind, job.submission) {
        (JobKind::Process, submission) => {
            let submission = submission.map(|submission| readable(batch, id, submission)).transpose()?.flatten();
            Ok(submission.map_or_else(String::new, |submission| submission.submission.data.into()))
        }
        (JobKind::Message, _) => Err(StoreError::row::<DeadLetter>(&id.to_string(), RowProblem::Missing)),
        (JobKind::Deliver, _) => {
            let event = deliveries::delivery(batch, id)?.event;
            Ok(deliveries::event(batch, event)?.body.into())
        }
    }
}

/// Alerts those who run the server. That an alert of this kind could not be delivered is no alert: they would breed.
pub(super) fn tell_of_death(batch: &mut Batch<'_, '_>, id: JobId, job: &Job, reason: &str) -> Result<(), StoreError> {
    let delivery = match job.kind {
        JobKind::Deliver => Some(deliveries::delivery(batch, id)?),
        JobKind::Process | JobKind::Message => None,
    };
    let event = delivery.as_ref().map(|delivery| deliveries::event(batch, delivery.event)).transpose()?;
    if event.as_ref().is_some_and(|event| event.kind == EventKind::JobDead) {
        return Ok(());
    }
    let Some(told) = outbox::told(batch, EventKind::JobDead, None) else { return Ok(()) };
    let flow = match (event, job.submission) {
        (Some(event), _) => event.flow,
        (None, Some(submission)) => readable(batch, id, submission)?.map(|submission| submission.submission.flow),
        (None, None) => None,
    };
    let facts = JobFacts {
        id,
        kind: job.kind.as_str(),
        submission_id: job.submission,
        destination: delivery.as_ref().map(|delivery| delivery.destination.as_str()),
        attempts: job.attempts,
        reason,
    };
    told.write(batch, job.submission, &Facts { flow: flow.as_ref(), job: Some(facts), ..Facts::default() })
}

/// Counts one more attempt, and takes the suspicion off the job: it came to an end, and the process lives.
const fn count(job: &mut Job) {
    job.attempts = job.attempts.saturating_add(1);
    job.attempts_since_revival = job.attempts_since_revival.saturating_add(1);
    job.crashes = 0;
}

pub(super) fn succeed(job: &mut Job, attempt: &Attempt) {
    count(job);
    job.last_error = None;
    job.success = Some(Attempt { number: job.attempts, error: None, ..attempt.clone() });
}

/// The job behind `id`.
pub(super) fn job(batch: &Batch<'_, '_>, id: JobId) -> Result<Job, StoreError> {
    find(batch, id)?.ok_or_else(|| StoreError::row::<Job>(&id.to_string(), RowProblem::Missing))
}
