//! What becomes of deliveries: each attempt noted with what came back; and destinations that are to be left alone.
//!
//! What an answer means is decided in `crate::domain::delivery`, when the next attempt comes in `crate::domain::retry`.

use redb::ReadableTable;

use crate::domain::delivery::{Delivery, Event, Exchange, Standstill};
use crate::domain::ids::{DestinationName, JobId, SubmissionId};
use crate::domain::job::{Attempt, Job, JobEvent};
use crate::domain::retry::Verdict;
use crate::domain::time::Millis;

use super::batch::{Batch, Transaction};
use super::jobs::{self, Finished};
use super::receipts::{self, HoldDelivery, Overtaken, Trace};
use super::{RowProblem, StoreError, announce, codec, schedule};

/// Notes one attempt to tell a destination, and what follows from it.
#[derive(Clone, Debug)]
pub struct NoteDelivery {
    /// Which delivery.
    pub job: JobId,
    /// When it began, how long it took, why it failed. The number is set here.
    pub attempt: Attempt,
    /// What came back.
    pub exchange: Exchange,
    /// What follows; `None`: it was delivered.
    pub failed: Option<Verdict>,
    /// Why its destination is to be left alone from now on, if it is.
    pub disable: Option<Box<str>>,
    /// What it leaves behind of the message that it became, where its kind tells of that later.
    pub trace: Option<Trace>,
}

/// Notes one attempt that told several deliveries at once. All of them are noted, or none.
#[derive(Debug)]
pub struct NoteDeliveries {
    /// Each of them.
    pub notes: Vec<NoteDelivery>,
}

/// Lets deliveries rest that are due and are not to be sent now.
#[derive(Clone, Debug, Default)]
pub struct SettleDeliveries {
    /// Those that wait without an attempt.
    pub held: Vec<HoldDelivery>,
    /// Those that have waited too long, and what says so: they are closed.
    pub expired: Vec<(JobId, String)>,
}

/// Pauses a destination, or ends its pause and whatever else stands against it. Nothing is lost meanwhile.
#[derive(Debug)]
pub struct PauseDestination {
    /// Which one.
    pub destination: DestinationName,
    /// Whether it is paused now.
    pub paused: bool,
}

impl Transaction for NoteDelivery {
    type Outcome = Finished;

    fn bytes(&self) -> usize {
        self.exchange.answer.len()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Finished, StoreError> {
        let mut job = jobs::job(batch, self.job)?;
        let event = match self.failed {
            None => JobEvent::Finish,
            Some(Verdict::Again { .. }) => JobEvent::Retry,
            Some(Verdict::Dead) => JobEvent::Bury,
        };
        let Ok(state) = job.state.after(event) else { return Ok(Finished::AlreadyOver) };
        if let Some(trace) = &self.trace
            && receipts::trace(batch, self.job, trace)? == Overtaken::Yes
        {
            return Ok(Finished::AlreadyOver);
        }
        let number = job.attempts.saturating_add(1);
        batch.tables.exchanges.insert((self.job.get(), number), codec::encode(&self.exchange)?.as_slice())?;
        if let Some(why) = &self.disable {
            disable(batch, self.job, why)?;
        }
        if let Some(verdict) = self.failed {
            jobs::fail(batch, self.job, &mut job, state, &self.attempt, verdict)?;
        } else {
            jobs::succeed(&mut job, &self.attempt);
            schedule::move_job(batch, self.job, &mut job, state, batch.now)?;
        }
        Ok(Finished::Done { submission: job.submission, lead: None, agent: None })
    }
}

impl SettleDeliveries {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.expired.is_empty()
    }

    /// All of them.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobId> {
        self.held.iter().map(|hold| hold.job).chain(self.expired.iter().map(|(job, _)| *job)).collect()
    }

    /// Each by itself.
    pub fn each(self) -> impl Iterator<Item = Self> {
        let held = self.held.into_iter().map(|hold| Self { held: vec![hold], ..Self::default() });
        held.chain(self.expired.into_iter().map(|expired| Self { expired: vec![expired], ..Self::default() }))
    }
}

impl Transaction for NoteDeliveries {
    type Outcome = ();

    fn weight(&self) -> usize {
        self.notes.len()
    }

    fn bytes(&self) -> usize {
        self.notes.iter().map(Transaction::bytes).sum()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        self.notes.iter().try_for_each(|note| note.apply(batch).map(|_| ()))
    }
}

impl Transaction for SettleDeliveries {
    type Outcome = ();

    fn weight(&self) -> usize {
        self.held.len() + self.expired.len()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        self.held.iter().try_for_each(|hold| hold.apply(batch))?;
        self.expired.iter().try_for_each(|(job, why)| expire(batch, *job, why))
    }
}

impl Transaction for PauseDestination {
    type Outcome = Standstill;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Standstill, StoreError> {
        let standstill = if self.paused {
            let before = standstill(batch, &self.destination)?;
            Standstill { paused_at: before.paused_at.or(Some(batch.now)), ..before }
        } else {
            // Nothing is read: a resume also mends a row that can't be read.
            Standstill::default()
        };
        write(batch, &self.destination, &standstill)?;
        batch.delivering = true;
        Ok(standstill)
    }
}

/// Closes a delivery that has waited for too long.
fn expire(batch: &mut Batch<'_, '_>, id: JobId, why: &str) -> Result<(), StoreError> {
    let mut job = jobs::job(batch, id)?;
    let Ok(state) = job.state.after(JobEvent::Expire) else { return Ok(()) };
    let before = job.last_error.take().map(|error| format!("; before that: {error}")).unwrap_or_default();
    // It counts as an attempt: one that an admin runs again is told from one that was never run by that.
    let number = job.attempts.saturating_add(1);
    let error = Some(format!("{why}{before}"));
    let attempt = Attempt { number, started_at: batch.now, took: Millis::ZERO, error };
    jobs::close(batch, id, &mut job, state, &attempt)
}

/// Leaves the destination of the delivery `job` alone from now on, and says so once.
pub(super) fn disable(batch: &mut Batch<'_, '_>, job: JobId, why: &str) -> Result<(), StoreError> {
    let destination = delivery(batch, job)?.destination;
    let mut standstill = standstill(batch, &destination)?;
    if standstill.disabled.is_none() {
        standstill.disabled = Some((batch.now, why.into()));
        write(batch, &destination, &standstill)?;
        announce::stopped(batch, &destination, why)?;
    }
    Ok(())
}

fn standstill(batch: &Batch<'_, '_>, destination: &DestinationName) -> Result<Standstill, StoreError> {
    let row = batch.tables.standstills.get(destination.as_str())?;
    Ok(row.map(|row| codec::decode(destination, row.value())).transpose()?.unwrap_or_default())
}

fn write(batch: &mut Batch<'_, '_>, destination: &DestinationName, standstill: &Standstill) -> Result<(), StoreError> {
    if standstill.is_over() {
        batch.tables.standstills.remove(destination.as_str())?;
    } else {
        batch.tables.standstills.insert(destination.as_str(), codec::encode(standstill)?.as_slice())?;
    }
    batch.dirty = true;
    Ok(())
}

/// What the job `id` is to deliver.
pub(super) fn delivery(batch: &Batch<'_, '_>, id: JobId) -> Result<Delivery, StoreError> {
    match batch.tables.deliveries.get(id.get())? {
        Some(row) => codec::decode(id, row.value()),
        None => Err(StoreError::row::<Delivery>(&id.to_string(), RowProblem::Missing)),
    }
}

/// What the event says whose first delivery is `id`.
pub(super) fn event(batch: &Batch<'_, '_>, id: JobId) -> Result<Event, StoreError> {
    match batch.tables.events.get(id.get())? {
        Some(row) => codec::decode(id, row.value()),
        None => Err(StoreError::row::<Event>(&id.to_string(), RowProblem::Missing)),
    }
}

/// Rows that belong to a delivery which is over. See [`remove`].
pub(super) struct LeavingDelivery {
    event: JobId,
    /// Deliveries that the event had when it was written.
    deliveries: u32,
    submission: Option<SubmissionId>,
    wamid: Option<Box<str>>,
}

/// Reads what [`remove`] needs of the delivery `id`, whose job is `job`. Adds the size of the rows to `bytes`.
pub(super) fn leaving(
    batch: &Batch<'_, '_>,
    id: JobId,
    job: &Job,
    bytes: &mut usize,
) -> Result<LeavingDelivery, StoreError> {
    let event = delivery(batch, id)?.event;
    let row = self::event(batch, event)?;
    *bytes = bytes.saturating_add(row.body.len());
    let wamid = receipts::wamid(batch, id)?;
    Ok(LeavingDelivery { event, deliveries: row.deliveries, submission: job.submission, wamid })
}

/// Removes what belongs to a delivery that is over, and its event once nobody else needs it. The job's row is the
/// caller's.
pub(super) fn remove(batch: &mut Batch<'_, '_>, id: JobId, leaving: &LeavingDelivery) -> Result<(), StoreError> {
    batch.tables.deliveries.remove(id.get())?;
    batch.tables.revived.remove(id.get())?;
    receipts::remove(batch, id, leaving.wamid.as_deref(), leaving.submission)?;
    batch.tables.exchanges.retain_in((id.get(), 0)..=(id.get(), u32::MAX), |_, _| false)?;
    let first = leaving.event.get();
    for other in first..first.saturating_add(u64::from(leaving.deliveries)) {
        if batch.tables.deliveries.get(other)?.is_some() {
            return Ok(());
        }
    }
    batch.tables.events.remove(first)?;
    Ok(())
}
