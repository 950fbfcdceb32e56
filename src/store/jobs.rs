//! What happens to jobs: finished, failed, buried, revived, discarded.
//!
//! What may follow what is decided by the table in `crate::domain::job`; when the next try comes, by
//! `crate::domain::retry`. A job needs no write to start.

use redb::ReadableTable;

use crate::domain::arrival::Form;
use crate::domain::ids::{AgentName, JobId, LeadId, SubmissionId};
use crate::domain::job::{Attempt, DeadLetter, Job, JobEvent, JobKind, JobState, NotAllowed};
use crate::domain::retry::Verdict;
use crate::domain::time::Timestamp;

use super::accept::{self, Accepted};
use super::batch::{Batch, Transaction};
use super::leads::{self, LeadOrder};
use super::{RowProblem, StoreError, codec};

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

/// Runs a dead letter again.
#[derive(Debug)]
pub struct Revive {
    /// Which job.
    pub job: JobId,
    /// A corrected payload for a message that is to be read again (JSON text). The original stays with the letter until
    /// the job succeeds.
    pub payload: Option<String>,
}

/// Gives a dead letter up. Its submission stays.
#[derive(Debug)]
pub struct Discard {
    /// Which job.
    pub job: JobId,
}

/// What an admin's word did to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobChanged {
    /// It is so now.
    Now(JobState),
    /// It can't be.
    Refused(NotAllowed),
    /// A payload can be corrected for messages only: that of a submission is the submission.
    NoPayload,
    /// There is no such job.
    Unknown,
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
        let submission = match accept::accept(batch, &self.form, Some(self.job))? {
            Accepted::New { submission, .. } => Some(submission),
            Accepted::Duplicate { of } => of,
            // Nobody can be answered here: a lost slot is a conflict, and the message was read.
            Accepted::SlotRefused { .. }
            | Accepted::Unfit { .. }
            | Accepted::DeadLetter { .. }
            | Accepted::Replayed => None,
        };
        succeed(&mut job, &self.attempt);
        job.submission = submission;
        batch.tables.revived.remove(self.job.get())?;
        move_job(batch, self.job, &mut job, state, batch.now)?;
        Ok(Finished::Done { submission, lead: None, agent: None })
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
        count(&mut job);
        let attempt = Attempt { number: job.attempts, ..self.attempt.clone() };
        job.last_error.clone_from(&attempt.error);
        let row = codec::encode(&attempt)?;
        batch.tables.attempts.insert((self.job.get(), attempt.number), row.as_slice())?;
        match self.verdict {
            Verdict::Again { at } => move_job(batch, self.job, &mut job, state, at)?,
            Verdict::Dead => bury(batch, self.job, &mut job, attempt.error.unwrap_or_default())?,
        }
        Ok(Finished::Done { submission: job.submission, lead: None, agent: None })
    }
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

impl Transaction for Revive {
    type Outcome = JobChanged;

    fn bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, String::len)
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<JobChanged, StoreError> {
        let Some(mut job) = find(batch, self.job)? else { return Ok(JobChanged::Unknown) };
        let state = match job.state.after(JobEvent::Revive) {
            Ok(state) => state,
            Err(refused) => return Ok(JobChanged::Refused(refused)),
        };
        if self.payload.is_some() && job.kind != JobKind::Message {
            return Ok(JobChanged::NoPayload);
        }
        let mut letter: DeadLetter = match batch.tables.dead.remove(self.job.get())? {
            Some(row) => codec::decode(self.job, row.value())?,
            None => return Err(StoreError::row::<DeadLetter>(&self.job.to_string(), RowProblem::Missing)),
        };
        if job.kind == JobKind::Message {
            // Nothing else holds the message.
            letter.corrected = self.payload.clone().or(letter.corrected);
            batch.tables.revived.insert(self.job.get(), codec::encode(&letter)?.as_slice())?;
        }
        job.attempts_since_revival = 0;
        job.crashes = 0;
        move_job(batch, self.job, &mut job, state, batch.now)?;
        Ok(JobChanged::Now(state))
    }
}

impl Transaction for Discard {
    type Outcome = JobChanged;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<JobChanged, StoreError> {
        let Some(mut job) = find(batch, self.job)? else { return Ok(JobChanged::Unknown) };
        let state = match job.state.after(JobEvent::Discard) {
            Ok(state) => state,
            Err(refused) => return Ok(JobChanged::Refused(refused)),
        };
        batch.tables.dead.remove(self.job.get())?;
        move_job(batch, self.job, &mut job, state, batch.now)?;
        Ok(JobChanged::Now(state))
    }
}

/// Makes a job a dead letter that holds all that the job was to carry.
fn bury(batch: &mut Batch<'_, '_>, id: JobId, job: &mut Job, reason: String) -> Result<(), StoreError> {
    let letter = match (job.kind, job.submission) {
        // A message was read again and failed again.
        (JobKind::Message, _) => match batch.tables.revived.remove(id.get())? {
            Some(row) => DeadLetter { died_at: batch.now, reason, ..codec::decode(id, row.value())? },
            None => return Err(StoreError::row::<DeadLetter>(&id.to_string(), RowProblem::Missing)),
        },
        (JobKind::Process, Some(submission)) => DeadLetter {
            died_at: batch.now,
            reason,
            payload: accept::submission(batch, submission)?.submission.data.into(),
            corrected: None,
        },
        (JobKind::Process, None) => {
            return Err(StoreError::row::<Job>(&id.to_string(), RowProblem::Fields));
        }
    };
    batch.tables.dead.insert(id.get(), codec::encode(&letter)?.as_slice())?;
    move_job(batch, id, job, JobState::Dead, batch.now)
}

/// Moves a job from its state and time to others, in the row and in the schedule.
fn move_job(
    batch: &mut Batch<'_, '_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    at: Timestamp,
) -> Result<(), StoreError> {
    if job.state == JobState::Scheduled {
        batch.tables.due.remove((job.due_at.as_millis(), id.get()))?;
    }
    if state == JobState::Scheduled {
        batch.tables.due.insert((at.as_millis(), id.get()), ())?;
        batch.scheduled = true;
    }
    (job.state, job.due_at) = (state, at);
    write(batch, id, job)
}

fn write(batch: &mut Batch<'_, '_>, id: JobId, job: &Job) -> Result<(), StoreError> {
    batch.tables.jobs.insert(id.get(), codec::encode(job)?.as_slice())?;
    batch.dirty = true;
    Ok(())
}

/// Counts one more attempt, and takes the suspicion off the job: it came to an end, and the process lives.
const fn count(job: &mut Job) {
    job.attempts = job.attempts.saturating_add(1);
    job.attempts_since_revival = job.attempts_since_revival.saturating_add(1);
    job.crashes = 0;
}

fn succeed(job: &mut Job, attempt: &Attempt) {
    count(job);
    job.last_error = None;
    job.success = Some(Attempt { number: job.attempts, error: None, ..attempt.clone() });
}

fn find(batch: &Batch<'_, '_>, id: JobId) -> Result<Option<Job>, StoreError> {
    batch.tables.jobs.get(id.get())?.map(|row| codec::decode(id, row.value())).transpose()
}

fn job(batch: &Batch<'_, '_>, id: JobId) -> Result<Job, StoreError> {
    find(batch, id)?.ok_or_else(|| StoreError::row::<Job>(&id.to_string(), RowProblem::Missing))
}
