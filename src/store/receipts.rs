//! What is known of the messages that deliveries became: attempts whose outcome is open, what statuses say, and deliveries
//! that wait for their customer.
//!
//! Before such a message is sent, it is written down that it may be there: if the connection or the process breaks, the
//! attempt waits for a status instead of being made again at once. What a status means is decided in
//! `crate::domain::{receipt, cloud_error}`.

use redb::ReadableTable;

use crate::domain::cloud_error::{self, CloudError};
use crate::domain::ids::{JobId, SubmissionId};
use crate::domain::job::{Job, JobEvent, JobState};
use crate::domain::receipt::{Learned, Open, Receipt, StatusUpdate};
use crate::domain::retry::Verdict;
use crate::domain::time::Timestamp;

use super::batch::{Batch, Transaction};
use super::{StoreError, codec, deliveries, jobs, joins, schedule};

/// Writes down that a message may be there from now on.
#[derive(Debug)]
pub struct BeginDelivery {
    /// Of which delivery.
    pub job: JobId,
    /// The attempt, and how long a status of it is waited for if nothing else comes back.
    pub open: Open,
}

/// Lets a delivery wait without an attempt.
#[derive(Clone, Debug)]
pub struct HoldDelivery {
    /// Which one.
    pub job: JobId,
    /// Until when, at the most.
    pub at: Timestamp,
    /// What it waits for.
    pub until: Until,
}

/// What a delivery waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// A status that says whether there is a message.
    Status,
    /// The customer of this submission, which the delivery tells of.
    Customer(SubmissionId),
}

/// What an attempt leaves behind of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// There is one: its id.
    Taken(Box<str>),
    /// There is none.
    None,
    /// There may be one: what [`BeginDelivery`] wrote down stands.
    Unknown,
}

/// Whether a status has told of an attempt before its own answer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overtaken {
    Yes,
    No,
}

impl Transaction for BeginDelivery {
    /// Whether it is to be sent: it still waits for that.
    type Outcome = bool;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<bool, StoreError> {
        let waits = schedule::find(batch, self.job)?.is_some_and(|job| job.state == JobState::Scheduled);
        if waits {
            let receipt = find(batch, self.job)?.unwrap_or_default();
            write(batch, self.job, &Receipt { open: Some(self.open), ..receipt })?;
        }
        Ok(waits)
    }
}

impl Transaction for HoldDelivery {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        let mut job = jobs::job(batch, self.job)?;
        if job.state != JobState::Scheduled {
            return Ok(());
        }
        match self.until {
            // What it waits for came while this was on its way.
            Until::Customer(submission) if is_known(batch, submission)? => return Ok(()),
            Until::Customer(submission) => {
                batch.tables.awaiting.insert((submission.get(), self.job.get()), ())?;
            }
            Until::Status => {}
        }
        schedule::move_job(batch, self.job, &mut job, JobState::Scheduled, self.at)
    }
}

/// Notes what an attempt left behind. Where a status was faster, what followed from it stands.
pub(super) fn trace(batch: &mut Batch<'_, '_>, id: JobId, trace: &Trace) -> Result<Overtaken, StoreError> {
    let known = find(batch, id)?.unwrap_or_default();
    let receipt = match trace {
        Trace::Taken(wamid) if known.is_lost(wamid) => return Ok(Overtaken::Yes),
        Trace::Taken(wamid) => {
            name(batch, id, known.wamid.as_deref(), wamid)?;
            let kept = if known.wamid.as_ref() == Some(wamid) { known } else { Receipt::default() };
            Receipt { wamid: Some(wamid.clone()), open: None, ..kept }
        }
        Trace::None => Receipt { open: None, ..known },
        Trace::Unknown => return Ok(Overtaken::No),
    };
    write(batch, id, &receipt)?;
    Ok(Overtaken::No)
}

/// Takes in what a status says, and what follows from it. One that is of no message of ours changes nothing.
pub(super) fn learn(batch: &mut Batch<'_, '_>, update: &StatusUpdate) -> Result<(), StoreError> {
    let Some(id) = owner(batch, update)? else { return Ok(()) };
    let mut receipt = find(batch, id)?.unwrap_or_default();
    let (open, before) = (receipt.open, receipt.wamid.clone());
    let learned = receipt.learn(update);
    if learned == Learned::Nothing {
        return Ok(());
    }
    receipt.open = None;
    write(batch, id, &receipt)?;
    name(batch, id, before.as_deref(), &update.wamid)?;
    let job = jobs::job(batch, id)?;
    match (learned, open) {
        (Learned::Failed(error), _) => lost(batch, id, job, open, error),
        (_, Some(open)) => there(batch, id, job, open),
        // Nothing was open: it is taken already, or is a dead letter that an admin has to judge.
        _ => Ok(()),
    }
}

/// There is a message: the attempt that was open has succeeded.
fn there(batch: &mut Batch<'_, '_>, id: JobId, mut job: Job, open: Open) -> Result<(), StoreError> {
    let Ok(state) = job.state.after(JobEvent::Finish) else { return Ok(()) };
    if open.attempt > job.attempts {
        jobs::succeed(&mut job, &open.attempt(None));
        batch.tables.revived.remove(id.get())?;
        return schedule::move_job(batch, id, &mut job, state, batch.now);
    }
    jobs::prove(batch, id, &mut job, state, &open.attempt(None))
}

/// What follows where a message was lost that had been taken, or of which nothing was known.
fn lost(
    batch: &mut Batch<'_, '_>,
    id: JobId,
    mut job: Job,
    open: Option<Open>,
    error: CloudError,
) -> Result<(), StoreError> {
    if !matches!(job.state, JobState::Done | JobState::Scheduled) {
        return Ok(());
    }
    let why = format!("taken, and then lost: {}", error.why());
    // Its own answer is still on its way, and will find that this was faster.
    let uncounted = open.filter(|open| open.attempt > job.attempts);
    let attempts = job.attempts_since_revival.saturating_add(u32::from(uncounted.is_some()));
    let (verdict, event) = match cloud_error::after_failed_status(error, attempts) {
        Some(pause) => (Verdict::Again { at: batch.now.plus(pause) }, JobEvent::Retry),
        None => (Verdict::Dead, JobEvent::Bury),
    };
    match (uncounted, job.state.after(event)) {
        (Some(open), Ok(state)) => jobs::fail(batch, id, &mut job, state, &open.attempt(Some(why)), verdict)?,
        _ => jobs::disprove(batch, id, &mut job, why, verdict)?,
    }
    if error.stops() { deliveries::disable(batch, id, &error.why()) } else { Ok(()) }
}

/// The delivery that a status is about.
fn owner(batch: &Batch<'_, '_>, update: &StatusUpdate) -> Result<Option<JobId>, StoreError> {
    let Some(callback) = &update.callback else {
        return Ok(batch.tables.wamids.get(&*update.wamid)?.map(|id| JobId::new(id.value())));
    };
    if batch.tables.deliveries.get(callback.job.get())?.is_none() {
        return Ok(None);
    }
    let delivery = deliveries::delivery(batch, callback.job)?;
    Ok((delivery.message_id == callback.message_id).then_some(callback.job))
}

/// The customer of `submission` is known now: what waited for that is due.
pub(super) fn release(batch: &mut Batch<'_, '_>, submission: SubmissionId) -> Result<(), StoreError> {
    let range = (submission.get(), 0)..=(submission.get(), u64::MAX);
    let mut waiting = Vec::new();
    for row in batch.tables.awaiting.range(range.clone())? {
        waiting.push(JobId::new(row?.0.value().1));
    }
    batch.tables.awaiting.retain_in(range, |_, ()| false)?;
    for id in waiting {
        let Some(mut job) = schedule::find(batch, id)? else { continue };
        if job.state == JobState::Scheduled {
            schedule::move_job(batch, id, &mut job, JobState::Scheduled, batch.now)?;
        }
    }
    Ok(())
}

/// Removes all that is known of the message `wamid` of a delivery that goes and tells of `submission`.
pub(super) fn remove(
    batch: &mut Batch<'_, '_>,
    id: JobId,
    wamid: Option<&str>,
    submission: Option<SubmissionId>,
) -> Result<(), StoreError> {
    batch.tables.receipts.remove(id.get())?;
    if let Some(wamid) = wamid {
        batch.tables.wamids.remove(wamid)?;
    }
    if let Some(submission) = submission {
        batch.tables.awaiting.remove((submission.get(), id.get()))?;
    }
    Ok(())
}

/// Meta's id of the message that the delivery `id` became.
pub(super) fn wamid(batch: &Batch<'_, '_>, id: JobId) -> Result<Option<Box<str>>, StoreError> {
    Ok(find(batch, id)?.and_then(|receipt| receipt.wamid))
}

fn is_known(batch: &Batch<'_, '_>, submission: SubmissionId) -> Result<bool, StoreError> {
    let row = super::accept::submission(batch, submission)?;
    Ok(!joins::customer(batch, submission, &row.submission.customer)?.is_unknown())
}

/// Makes the delivery `id` known by its message, and no longer by the one `before`. Each status of a message comes here: the
/// row, a page of its own, is written for the first one.
fn name(batch: &mut Batch<'_, '_>, id: JobId, before: Option<&str>, wamid: &str) -> Result<(), StoreError> {
    match before {
        Some(before) if before == wamid => return Ok(()),
        Some(before) => {
            batch.tables.wamids.remove(before)?;
        }
        None => {}
    }
    batch.tables.wamids.insert(wamid, id.get())?;
    Ok(())
}

fn find(batch: &Batch<'_, '_>, id: JobId) -> Result<Option<Receipt>, StoreError> {
    batch.tables.receipts.get(id.get())?.map(|row| codec::decode(id, row.value())).transpose()
}

fn write(batch: &mut Batch<'_, '_>, id: JobId, receipt: &Receipt) -> Result<(), StoreError> {
    batch.tables.receipts.insert(id.get(), codec::encode(receipt)?.as_slice())?;
    batch.dirty = true;
    Ok(())
}
