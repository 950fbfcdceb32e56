//! Taking submissions: the duplicate, the slot and the job of each, decided in one transaction.
//!
//! One webhook body may carry a thousand messages: all of them are one [`Accept`]. What the keys are is decided in
//! `crate::domain::submission`, what they remember in [`super::keys`], whether a slot is free in
//! `crate::domain::booking`.

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::domain::arrival::{Arrival, Form, Unreadable};
use crate::domain::calendar::{Slot, SlotRefused};
use crate::domain::draft;
use crate::domain::ids::{BookingId, Customer, JobId, MessageId, SubmissionId};
use crate::domain::job::{DeadLetter, Job, JobKind, JobState};
use crate::domain::submission::{Channel, IdempotencyKey, Submission};
use crate::domain::time::Timestamp;

use super::batch::{Batch, Transaction};
use super::keys::{Hit, Log};
use super::{RowProblem, StoreError, answers, bookings, codec, ends};

/// Later arrivals kept for one submission at the most: a sender gone wild must not fill the disk.
const JOINS_MAX: u64 = 16;

/// Takes what one request brought.
#[derive(Debug)]
pub struct Accept {
    /// In the order of the body.
    pub arrivals: Vec<Arrival>,
}

/// What became of one arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Taken.
    New {
        /// Its number.
        submission: SubmissionId,
        /// The job that carries it on.
        job: JobId,
        /// The slot it got.
        booking: Option<BookingId>,
    },
    /// Taken before; `None`: as a message that became no submission.
    Duplicate {
        /// The first one.
        of: Option<SubmissionId>,
    },
    /// Not taken: the user is to choose another slot.
    SlotRefused {
        /// Why.
        why: SlotRefused,
        /// The nearest ones that are free.
        free: Vec<Slot>,
    },
    /// Kept as a dead letter.
    DeadLetter {
        /// Its job.
        job: JobId,
    },
    /// Nothing was done: the encrypted request that brought it was answered before, and gets that answer again.
    Replayed,
}

/// A submission, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSubmission {
    /// When it was taken.
    pub received_at: Timestamp,
    /// The job that carries it on.
    pub job: JobId,
    /// The slot it got.
    pub booking: Option<BookingId>,
    /// Why it did not get the slot that it asked for, where nobody could be asked again.
    pub conflict: Option<String>,
    /// What was sent.
    pub submission: Submission,
}

/// What arrived later for a submission that was there already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// When.
    pub at: Timestamp,
    /// Through which door.
    pub channel: Channel,
    /// The message that carried it.
    pub message_id: Option<MessageId>,
    /// Who sent it.
    pub customer: Customer,
    /// Its fields, where they are others than those that were taken: JSON text.
    pub differing: Option<Box<str>>,
}

impl Transaction for Accept {
    type Outcome = Vec<Accepted>;

    fn weight(&self) -> usize {
        self.arrivals.len()
    }

    fn bytes(&self) -> usize {
        let bytes = |arrival: &Arrival| match arrival {
            Arrival::Form(form) => {
                let Submission { data, extra, .. } = &form.submission;
                data.len().saturating_add(extra.len()).saturating_add(form.end.as_ref().map_or(0, |end| end.len()))
            }
            Arrival::Unreadable(message) => message.payload.len(),
        };
        self.arrivals.iter().map(bytes).sum()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Self::Outcome, StoreError> {
        self.arrivals
            .iter()
            .map(|arrival| match arrival {
                Arrival::Form(form) => accept(batch, form, None),
                Arrival::Unreadable(message) => keep_unreadable(batch, message),
            })
            .collect()
    }
}

/// Takes one form. `carrier`: the job of the message that is being read again, which then ends with it.
pub(super) fn accept(batch: &mut Batch<'_, '_>, form: &Form, carrier: Option<JobId>) -> Result<Accepted, StoreError> {
    if answers::is_answered(batch, form.request)? {
        return Ok(Accepted::Replayed);
    }
    // A message that is read again is known by its own key: that one is no duplicate of itself.
    let message_key = form.message_key.filter(|_| carrier.is_none());
    if let Some(hit) = find(batch, Log::Message, message_key.as_slice())? {
        return Ok(duplicate(hit));
    }
    if let Some(hit) = find(batch, Log::Token, &form.keys())? {
        return join(batch, hit, &form.submission, form.message_key);
    }
    let slot = match &form.wish {
        None => None,
        Some(wish) => match bookings::find_place(batch, wish, None)? {
            Ok(slot) => Some(Ok(slot)),
            Err(why) if form.answerable => {
                return Ok(Accepted::SlotRefused { why, free: bookings::nearest_free(batch, wish)? });
            }
            Err(why) => Some(Err(why)),
        },
    };
    write(batch, form, slot)
}

/// Writes a form that was decided to be taken.
fn write(
    batch: &mut Batch<'_, '_>,
    form: &Form,
    slot: Option<Result<Slot, SlotRefused>>,
) -> Result<Accepted, StoreError> {
    let submission = batch.memory.counters.next_submission();
    let (booking, conflict) = match (&form.wish, slot) {
        (Some(wish), Some(Ok(slot))) => (Some(bookings::book(batch, &wish.calendar, &slot, submission)?), None),
        (_, Some(Err(why))) => (None, Some(why.to_string())),
        _ => (None, None),
    };
    let job = schedule(batch, JobKind::Process, submission)?;
    let mut row =
        StoredSubmission { received_at: batch.now, job, booking, conflict, submission: form.submission.clone() };
    if let Some(draft) = take_draft(batch, form.draft_key)? {
        row.submission.data = draft::merge(&draft.data, &row.submission.data);
    }
    batch.tables.submissions.insert(submission.get(), codec::encode(&row)?.as_slice())?;
    if let Some(key) = form.form_key {
        let row = learn(batch, Log::Token, key, Some(submission))?;
        if let Some(end) = &form.end {
            // In the same commit: a second press at once, or after a crash, finds the end wherever it finds the form.
            ends::keep(batch, row, end)?;
        }
    }
    if let Some(key) = form.message_key {
        learn(batch, Log::Message, key, Some(submission))?;
    }
    batch.dirty = true;
    Ok(Accepted::New { submission, job, booking })
}

/// The form's earlier screens, taken out of the drafts: the submission carries them on.
fn take_draft(batch: &mut Batch<'_, '_>, key: Option<IdempotencyKey>) -> Result<Option<draft::Draft>, StoreError> {
    let Some(key) = key else { return Ok(None) };
    match batch.tables.drafts.remove(key.as_bytes())? {
        Some(row) => codec::decode(key, row.value()).map(Some),
        None => Ok(None),
    }
}

/// Notes what a second arrival brings that the first did not.
fn join(
    batch: &mut Batch<'_, '_>,
    hit: Hit,
    later: &Submission,
    message_key: Option<IdempotencyKey>,
) -> Result<Accepted, StoreError> {
    let Hit::Submission(id) = hit else { return Ok(duplicate(hit)) };
    let first: Option<StoredSubmission> = match batch.tables.submissions.get(id.get())? {
        Some(row) => Some(codec::decode(id, row.value())?),
        // Retention may be shorter than the memory of keys.
        None => None,
    };
    let differs = first.as_ref().is_some_and(|first| !same_json(&first.submission.data, &later.data));
    let differing = differs.then(|| later.data.clone());
    if first.is_some() && (differing.is_some() || message_key.is_some()) {
        note_join(batch, id, later, differing)?;
    }
    if let Some(key) = message_key {
        learn(batch, Log::Message, key, Some(id))?;
    }
    Ok(Accepted::Duplicate { of: Some(id) })
}

fn note_join(
    batch: &mut Batch<'_, '_>,
    id: SubmissionId,
    later: &Submission,
    differing: Option<Box<str>>,
) -> Result<(), StoreError> {
    let mut last = 0;
    for row in batch.tables.joins.range((id.get(), 0)..=(id.get(), u64::MAX))? {
        let (key, bytes) = row?;
        last = key.value().1;
        let known: Join = codec::decode(key.value(), bytes.value())?;
        if known.differing == differing && known.message_id == later.message_id {
            return Ok(());
        }
    }
    if last >= JOINS_MAX {
        tracing::debug!(submission.id = id.get(), "more differing copies than are kept for one submission");
        return Ok(());
    }
    let join = Join {
        at: batch.now,
        channel: later.channel,
        message_id: later.message_id.clone(),
        customer: later.customer.clone(),
        differing,
    };
    batch.tables.joins.insert((id.get(), last + 1), codec::encode(&join)?.as_slice())?;
    batch.dirty = true;
    Ok(())
}

/// Keeps a message of which nothing can be made as a dead letter, once.
fn keep_unreadable(batch: &mut Batch<'_, '_>, message: &Unreadable) -> Result<Accepted, StoreError> {
    if let Some(hit) = find(batch, Log::Message, message.message_key.as_slice())? {
        return Ok(duplicate(hit));
    }
    if let (Some(later), Some(hit)) = (&message.join, find(batch, Log::Token, &message.elsewhere)?) {
        return join(batch, hit, later, message.message_key);
    }
    let job = batch.memory.counters.next_job();
    let row = Job {
        kind: JobKind::Message,
        state: JobState::Dead,
        submission: None,
        created_at: batch.now,
        due_at: batch.now,
        attempts: 0,
        attempts_since_revival: 0,
        crashes: 0,
        last_error: Some(message.reason.clone()),
        success: None,
        lead: None,
    };
    let letter = DeadLetter {
        died_at: batch.now,
        reason: message.reason.clone(),
        payload: message.payload.clone(),
        corrected: None,
    };
    batch.tables.jobs.insert(job.get(), codec::encode(&row)?.as_slice())?;
    batch.tables.dead.insert(job.get(), codec::encode(&letter)?.as_slice())?;
    if let Some(key) = message.message_key {
        learn(batch, Log::Message, key, None)?;
    }
    batch.dirty = true;
    Ok(Accepted::DeadLetter { job })
}

/// Makes a job that is due at once.
fn schedule(batch: &mut Batch<'_, '_>, kind: JobKind, submission: SubmissionId) -> Result<JobId, StoreError> {
    let id = batch.memory.counters.next_job();
    let job = Job {
        kind,
        state: JobState::Scheduled,
        submission: Some(submission),
        created_at: batch.now,
        due_at: batch.now,
        attempts: 0,
        attempts_since_revival: 0,
        crashes: 0,
        last_error: None,
        success: None,
        lead: None,
    };
    batch.tables.jobs.insert(id.get(), codec::encode(&job)?.as_slice())?;
    batch.tables.due.insert((job.due_at.as_millis(), id.get()), ())?;
    batch.scheduled = true;
    batch.dirty = true;
    Ok(id)
}

pub(super) fn find(batch: &Batch<'_, '_>, log: Log, keys: &[IdempotencyKey]) -> Result<Option<Hit>, StoreError> {
    for key in keys {
        let hit = batch.memory.keys.find(batch.tables, &batch.memory.counters, log, key, batch.expiry)?;
        // A row that an earlier version wrote for an encrypted request is no form, whoever refers to it as one.
        let is_request = log == Log::Token && hit == Some(Hit::Message);
        if hit.is_some() && !is_request {
            return Ok(hit);
        }
    }
    Ok(None)
}

fn learn(
    batch: &mut Batch<'_, '_>,
    log: Log,
    key: IdempotencyKey,
    submission: Option<SubmissionId>,
) -> Result<u64, StoreError> {
    batch.dirty = true;
    let memory = &mut *batch.memory;
    memory.keys.learn(batch.tables, &mut memory.counters, log, key, submission, batch.expiry)
}

const fn duplicate(hit: Hit) -> Accepted {
    match hit {
        Hit::Submission(id) => Accepted::Duplicate { of: Some(id) },
        Hit::Message => Accepted::Duplicate { of: None },
    }
}

/// Whether two texts are the same JSON value, whatever the order of the fields.
fn same_json(one: &str, other: &str) -> bool {
    let value = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || value(one).is_some_and(|one| Some(one) == value(other))
}

/// The submission behind `id`.
pub(super) fn submission(batch: &Batch<'_, '_>, id: SubmissionId) -> Result<StoredSubmission, StoreError> {
    match batch.tables.submissions.get(id.get())? {
        Some(row) => codec::decode(id, row.value()),
        None => Err(StoreError::row::<StoredSubmission>(&id.to_string(), RowProblem::Missing)),
    }
}
