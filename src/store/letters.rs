//! What admins do with dead letters: run them again, now or spread over a time, or give them up; one, or many in one change.
//!
//! Whether a job may be revived or discarded is decided by the table in `crate::domain::job`. What many changes of this kind
//! would take is for whoever asks to bound: a slice of them is one change, which shares its commit with what else waits.

use redb::ReadableTable;

use crate::domain::ids::JobId;
use crate::domain::job::{DeadLetter, Job, JobEvent, JobKind, JobState, NotAllowed};
use crate::domain::time::Timestamp;

use super::batch::{Batch, Transaction};
use super::schedule::{find, move_job};
use super::{RowProblem, StoreError, codec, deliveries};

/// Runs a dead letter again.
#[derive(Debug)]
pub struct Revive {
    /// Which job.
    pub job: JobId,
    /// A corrected payload for a message that is to be read again, or a body that is to be delivered (JSON text). The
    /// original stays: with the letter until the job succeeds, and of a body for good.
    pub payload: Option<String>,
}

/// Runs many dead letters again. Those that are none any more are left as they are.
#[derive(Debug)]
pub struct ReviveMany {
    /// Which jobs, and when each is due.
    pub jobs: Vec<(JobId, Timestamp)>,
}

/// Gives a dead letter up. Its submission stays.
#[derive(Debug)]
pub struct Discard {
    /// Which job.
    pub job: JobId,
}

/// Gives many dead letters up. Those that are none any more are left as they are.
#[derive(Debug)]
pub struct DiscardMany {
    /// Which jobs.
    pub jobs: Vec<JobId>,
}

/// Gives up deliveries that wait, to a destination that is gone say. What is under way just then may still arrive.
#[derive(Debug)]
pub struct GiveUpDeliveries {
    /// Which jobs.
    pub jobs: Vec<JobId>,
}

/// What an admin's word did to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobChanged {
    /// It is so now.
    Now(JobState),
    /// It can't be.
    Refused(NotAllowed),
    /// The payload of a submission can't be corrected: it is the submission.
    NoPayload,
    /// There is no such job.
    Unknown,
}

/// What was made of many letters.
#[derive(Clone, Debug, Default)]
pub struct ManyChanged {
    /// How many were changed.
    pub changed: usize,
    /// Those that stay as they are, because a row of theirs can't be read.
    pub unreadable: Vec<(JobId, StoreError)>,
}

impl ManyChanged {
    /// Counts what became of one letter.
    fn add(&mut self, id: JobId, decided: Result<JobChanged, StoreError>) -> Result<(), StoreError> {
        match decided {
            Ok(JobChanged::Now(_)) => self.changed += 1,
            Ok(_) => {}
            Err(error) if error.is_of_one_change() => self.unreadable.push((id, error)),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Transaction for Revive {
    type Outcome = JobChanged;

    fn bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, String::len)
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<JobChanged, StoreError> {
        let now = batch.now;
        revive(batch, self.job, self.payload.as_ref(), now)
    }
}

impl Transaction for ReviveMany {
    type Outcome = ManyChanged;

    fn weight(&self) -> usize {
        self.jobs.len()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<ManyChanged, StoreError> {
        let mut many = ManyChanged::default();
        for (job, at) in &self.jobs {
            many.add(*job, revive(batch, *job, None, *at))?;
        }
        Ok(many)
    }
}

impl Transaction for Discard {
    type Outcome = JobChanged;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<JobChanged, StoreError> {
        discard(batch, self.job)
    }
}

impl Transaction for DiscardMany {
    type Outcome = ManyChanged;

    fn weight(&self) -> usize {
        self.jobs.len()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<ManyChanged, StoreError> {
        let mut many = ManyChanged::default();
        for job in &self.jobs {
            many.add(*job, discard(batch, *job))?;
        }
        Ok(many)
    }
}

impl Transaction for GiveUpDeliveries {
    /// What was done to each, in their order.
    type Outcome = Vec<JobChanged>;

    fn weight(&self) -> usize {
        self.jobs.len()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Vec<JobChanged>, StoreError> {
        self.jobs.iter().map(|job| give_up(batch, *job)).collect()
    }
}

fn give_up(batch: &mut Batch<'_, '_>, id: JobId) -> Result<JobChanged, StoreError> {
    // One whose rows can't be read is left as it is, and holds up no other.
    let found = find(batch, id).and_then(|job| match job {
        Some(job) if job.kind == JobKind::Deliver => deliveries::delivery(batch, id).map(|_| Some(job)),
        _ => Ok(None),
    });
    let mut job = match found {
        Ok(Some(job)) => job,
        Ok(None) => return Ok(JobChanged::Unknown),
        Err(error) if error.is_of_one_change() => {
            tracing::error!(job.id = id.get(), error = %error, "a delivery can't be given up");
            return Ok(JobChanged::Unknown);
        }
        Err(error) => return Err(error),
    };
    let state = match job.state.after(JobEvent::GiveUp) {
        Ok(state) => state,
        Err(refused) => return Ok(JobChanged::Refused(refused)),
    };
    let now = batch.now;
    move_job(batch, id, &mut job, state, now)?;
    Ok(JobChanged::Now(state))
}

fn revive(
    batch: &mut Batch<'_, '_>,
    id: JobId,
    payload: Option<&String>,
    at: Timestamp,
) -> Result<JobChanged, StoreError> {
    let (mut job, state) = match dead(batch, id, JobEvent::Revive)? {
        Ok(dead) => dead,
        Err(refusal) => return Ok(refusal),
    };
    if payload.is_some() && job.kind == JobKind::Process {
        return Ok(JobChanged::NoPayload);
    }
    let mut letter = if job.state == JobState::Expired { letter_of(batch, id, &job)? } else { letter(batch, id)? };
    if job.kind == JobKind::Deliver {
        deliveries::delivery(batch, id)?;
    }
    // All that had to be read was: from here on nothing of this letter alone can fail.
    batch.tables.dead.remove(id.get())?;
    batch.tables.revived.remove(id.get())?;
    letter.corrected = payload.cloned().or(letter.corrected);
    // Nothing else holds a message, or what an admin put in the place of a body.
    if job.kind == JobKind::Message || letter.corrected.is_some() {
        batch.tables.revived.insert(id.get(), codec::encode(&letter)?.as_slice())?;
    }
    job.attempts_since_revival = 0;
    job.crashes = 0;
    move_job(batch, id, &mut job, state, at)?;
    Ok(JobChanged::Now(state))
}

fn discard(batch: &mut Batch<'_, '_>, id: JobId) -> Result<JobChanged, StoreError> {
    let (mut job, state) = match dead(batch, id, JobEvent::Discard)? {
        Ok(dead) => dead,
        Err(refusal) => return Ok(refusal),
    };
    if job.kind == JobKind::Deliver {
        deliveries::delivery(batch, id)?;
    }
    // One that can't be read can still be given up.
    let letter = batch.tables.dead.remove(id.get())?.and_then(|row| codec::decode::<DeadLetter>(id, row.value()).ok());
    // What was sent last is shown with the delivery for as long as that is kept.
    if let Some(letter) = letter.filter(|letter| job.kind == JobKind::Deliver && letter.corrected.is_some()) {
        batch.tables.revived.insert(id.get(), codec::encode(&letter)?.as_slice())?;
    }
    let now = batch.now;
    move_job(batch, id, &mut job, state, now)?;
    Ok(JobChanged::Now(state))
}

/// The job `id` and its state after `event`, or why it can't be.
fn dead(batch: &Batch<'_, '_>, id: JobId, event: JobEvent) -> Result<Result<(Job, JobState), JobChanged>, StoreError> {
    let Some(job) = find(batch, id)? else { return Ok(Err(JobChanged::Unknown)) };
    Ok(match job.state.after(event) {
        Ok(state) => Ok((job, state)),
        Err(refused) => Err(JobChanged::Refused(refused)),
    })
}

/// What an admin's correction of a delivery that expired is kept with, and what was corrected before.
fn letter_of(batch: &Batch<'_, '_>, id: JobId, job: &Job) -> Result<DeadLetter, StoreError> {
    if let Some(row) = batch.tables.revived.get(id.get())? {
        return codec::decode(id, row.value());
    }
    let event = deliveries::delivery(batch, id)?.event;
    let payload = deliveries::event(batch, event)?.body.into();
    let reason = job.last_error.clone().unwrap_or_default();
    Ok(DeadLetter { died_at: job.due_at, reason, payload, corrected: None })
}

fn letter(batch: &Batch<'_, '_>, id: JobId) -> Result<DeadLetter, StoreError> {
    match batch.tables.dead.get(id.get())? {
        Some(row) => codec::decode(id, row.value()),
        None => Err(StoreError::row::<DeadLetter>(&id.to_string(), RowProblem::Missing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_takes_as_much_of_a_commit_as_it_has_letters() {
        let jobs: Vec<JobId> = (1..=100).map(JobId::new).collect();
        let due = jobs.iter().map(|job| (*job, Timestamp::ZERO)).collect();
        assert_eq!(ReviveMany { jobs: due }.weight(), 100);
        assert_eq!(DiscardMany { jobs: jobs.clone() }.weight(), 100);
        assert_eq!(GiveUpDeliveries { jobs }.weight(), 100);
    }
}
