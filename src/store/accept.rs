//! Taking submissions: the duplicate, the slot and the job of each, decided in one transaction.
//!
//! One webhook body may carry a thousand messages: all of them are one [`Accept`]. What the keys are is decided in
//! `crate::domain::submission`, what they remember in [`super::keys`], whether a slot is free in
//! `crate::domain::booking`.

use std::sync::Arc;

use jiff::civil::{Date, Time};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::domain::arrival::{Arrival, Form, Unreadable};
use crate::domain::calendar::{Calendar, Slot, SlotRefused};
use crate::domain::draft;
use crate::domain::field::FieldProblem;
use crate::domain::ids::{BookingId, Customer, JobId, SubmissionId};
use crate::domain::job::{DeadLetter, Job, JobKind, JobState};
use crate::domain::submission::{IdempotencyKey, Submission};
use crate::domain::time::Timestamp;

use super::batch::{Batch, Transaction};
use super::keys::{Hit, Log, Span};
use super::{RowProblem, StoreError, announce, answers, bookings, codec, drafts, ends, jobs, joins, schedule};

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
        /// The day that it asks for.
        date: Date,
        /// The time that it asks for.
        time: Time,
    },
    /// Not taken: which slot it asks for can't be told, and the user is to say.
    Unfit {
        /// What is wrong with its fields and those of its earlier screens.
        problem: FieldProblem,
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
    /// The elapsed clock then.
    pub stamp: Timestamp,
    /// The job that carries it on.
    pub job: JobId,
    /// The slot it got.
    pub booking: Option<BookingId>,
    /// Why it did not get the slot that it asked for, where nobody could be asked again.
    pub conflict: Option<String>,
    /// What was sent.
    pub submission: Submission,
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
    if let Some(hit) = message_of(batch, message_key)? {
        return Ok(duplicate(hit));
    }
    if let Some(hit) = known_form(batch, form)? {
        return joins::join(batch, hit, &form.submission, form.message_key);
    }
    let mut whole = form.submission.clone();
    if let Some(earlier) = earlier_screens(batch, form.draft_key)? {
        whole.data = draft::merge(&earlier.data, &whole.data);
    }
    let place = match form.asks.as_ref().map(|asks| asks.wish(&whole.data, form.answerable)) {
        None | Some(Ok(None)) => Place::None,
        Some(Err(problem)) if form.answerable => return Ok(Accepted::Unfit { problem }),
        Some(Err(problem)) => {
            whole.problems.push(problem.to_string());
            Place::None
        }
        Some(Ok(Some(wish))) => match bookings::find_place(batch, &wish, None)? {
            Ok(slot) => Place::Free(wish.calendar, slot),
            Err(why) if form.answerable => {
                return Ok(Accepted::SlotRefused { why, date: wish.date, time: wish.time });
            }
            Err(why) => Place::Lost(why),
        },
    };
    write(batch, form, whole, place)
}

/// What became of the slot that a form asks for.
enum Place {
    /// It asks for none.
    None,
    /// It can have it.
    Free(Arc<Calendar>, Slot),
    /// It can't, and nobody can be asked again.
    Lost(SlotRefused),
}

/// Writes a form that was decided to be taken. `whole`: with the fields of its earlier screens.
fn write(batch: &mut Batch<'_, '_>, form: &Form, whole: Submission, place: Place) -> Result<Accepted, StoreError> {
    let submission = batch.memory.counters.next_submission();
    let (booking, conflict) = match place {
        Place::Free(calendar, slot) => (Some(bookings::book(batch, &calendar, &slot, submission)?), None),
        Place::Lost(why) => (None, Some(why.to_string())),
        Place::None => (None, None),
    };
    let job = schedule(batch, JobKind::Process, submission)?;
    let row =
        StoredSubmission { received_at: batch.now, stamp: batch.expiry, job, booking, conflict, submission: whole };
    if let Some(key) = form.draft_key {
        // The submission carries it on.
        drafts::remove(batch, key.as_bytes())?;
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
    announce::accepted(batch, submission, &row)?;
    Ok(Accepted::New { submission, job, booking })
}

/// The form's earlier screens.
fn earlier_screens(batch: &Batch<'_, '_>, key: Option<IdempotencyKey>) -> Result<Option<draft::Draft>, StoreError> {
    match key {
        Some(key) => drafts::find(batch, key),
        None => Ok(None),
    }
}

/// Keeps a message of which nothing can be made as a dead letter, once.
fn keep_unreadable(batch: &mut Batch<'_, '_>, message: &Unreadable) -> Result<Accepted, StoreError> {
    if let Some(hit) = message_of(batch, message.message_key)? {
        return Ok(duplicate(hit));
    }
    if let Some(later) = &message.join {
        let hit = match find(batch, Span::Form, &message.elsewhere)? {
            None => late_for(batch, &message.elsewhere, message.message_key, &later.customer)?,
            hit => hit,
        };
        if let Some(hit) = hit {
            return joins::join(batch, hit, later, message.message_key);
        }
    }
    let job = batch.memory.counters.next_job();
    let row = Job {
        state: JobState::Dead,
        last_error: Some(message.reason.clone()),
        ..Job::new(JobKind::Message, None, batch.now)
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
    jobs::tell_of_death(batch, job, &row, &message.reason)?;
    Ok(Accepted::DeadLetter { job })
}

/// Makes a job that is due at once.
fn schedule(batch: &mut Batch<'_, '_>, kind: JobKind, submission: SubmissionId) -> Result<JobId, StoreError> {
    let id = batch.memory.counters.next_job();
    let job = Job::new(kind, Some(submission), batch.now);
    schedule::write(batch, id, &job)?;
    schedule::insert(batch, None, job.due_at, id)?;
    Ok(id)
}

/// The form that `form` is once more. What came as a message may be the one that follows a form which ended at its flow's path.
/// Meta sends that one for days: it is awaited as long as messages come, and not only as long as the same token means the same
/// form. So late, it is the same only in the flow that claims the message or, without a token, where its reference says so.
fn known_form(batch: &Batch<'_, '_>, form: &Form) -> Result<Option<Hit>, StoreError> {
    let span = if form.for_good { Span::Message } else { Span::Form };
    if let Some(hit) = find(batch, span, &form.keys())? {
        return Ok(Some(hit));
    }
    let late = form.form_key.as_ref().map_or(form.elsewhere.as_slice(), std::slice::from_ref);
    late_for(batch, late, form.message_key, &form.submission.customer)
}

/// The form under one of `keys` that still waits for the message that follows it.
fn late_for(
    batch: &Batch<'_, '_>,
    keys: &[IdempotencyKey],
    message_key: Option<IdempotencyKey>,
    customer: &Customer,
) -> Result<Option<Hit>, StoreError> {
    for key in keys.iter().filter(|_| message_key.is_some()) {
        // One form may have had its message, and another one that knows the same token still wait for it.
        let hit = find(batch, Span::Message, std::slice::from_ref(key))?;
        if let Some(Hit::Submission(id)) = hit
            && joins::waits_for_message(batch, id, customer)?
        {
            return Ok(hit);
        }
    }
    Ok(None)
}

/// The form that is known under one of `keys`, taken within `span`.
pub(super) fn find(batch: &Batch<'_, '_>, span: Span, keys: &[IdempotencyKey]) -> Result<Option<Hit>, StoreError> {
    for key in keys {
        match batch.memory.keys.find(batch.tables, &batch.memory.counters, span, key, batch.expiry)? {
            None | Some(Hit::Message) => {}
            hit => return Ok(hit),
        }
    }
    Ok(None)
}

/// What a message with this key became.
pub(super) fn message_of(batch: &Batch<'_, '_>, key: Option<IdempotencyKey>) -> Result<Option<Hit>, StoreError> {
    match key {
        Some(key) => batch.memory.keys.find(batch.tables, &batch.memory.counters, Span::Message, &key, batch.expiry),
        None => Ok(None),
    }
}

pub(super) fn learn(
    batch: &mut Batch<'_, '_>,
    log: Log,
    key: IdempotencyKey,
    submission: Option<SubmissionId>,
) -> Result<u64, StoreError> {
    batch.dirty = true;
    let memory = &mut *batch.memory;
    memory.keys.learn(batch.tables, &mut memory.counters, log, key, submission, batch.expiry)
}

pub(super) const fn duplicate(hit: Hit) -> Accepted {
    match hit {
        Hit::Submission(id) => Accepted::Duplicate { of: Some(id) },
        Hit::Message => Accepted::Duplicate { of: None },
    }
}

/// The submission behind `id`.
pub(super) fn submission(batch: &Batch<'_, '_>, id: SubmissionId) -> Result<StoredSubmission, StoreError> {
    match batch.tables.submissions.get(id.get())? {
        Some(row) => codec::decode(id, row.value()),
        None => Err(StoreError::row::<StoredSubmission>(&id.to_string(), RowProblem::Missing)),
    }
}
