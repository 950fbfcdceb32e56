//! Taking submissions: the duplicate, the slot and the job of each, decided in one transaction.
//!
//! One webhook body may carry a thousand messages: all of them are one [`Accept`]. What the keys are is decided in
//! `crate::domain::submission`, what they remember in [`super::keys`], what is
//! a copy in [`super::known`], whether a slot is free in `crate::domain::booking`.

use std::sync::Arc;

use jiff::civil::{Date, Time};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::domain::arrival::{Arrival, Form, Unreadable};
use crate::domain::calendar::{Calendar, Slot, SlotRefused};
use crate::domain::draft;
use crate::domain::field::FieldProblem;
use crate::domain::ids::{BookingId, JobId, SubmissionId};
use crate::domain::job::{DeadLetter, Job, JobKind, JobState};
use crate::domain::submission::{Channel, IdempotencyKey, Submission};
use crate::domain::time::Timestamp;

use super::batch::{Batch, Transaction};
use super::joins::Joining;
use super::keys::{Hit, Log, Span};
use super::known::{self, Known, New};
use super::{RowProblem, StoreError, announce, answers, bookings, codec, drafts, ends, jobs, joins, schedule};

/// Takes what one request brought.
#[derive(Debug, Default)]
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
    /// Not taken: several customers use its token, and it does not name its own. It is to come as one without a token.
    TokenShared,
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
fn accept(batch: &mut Batch<'_, '_>, form: &Form, carrier: Option<JobId>) -> Result<Accepted, StoreError> {
    let decision = decide(batch, form, carrier)?;
    carry_out(batch, form, decision)
}

/// A decision on a form, before anything is written.
pub(super) enum Decision {
    /// The form changes nothing.
    Nothing(Accepted),
    /// Several customers use its token, and this key is not marked as theirs yet.
    Share(IdempotencyKey),
    /// A copy.
    Join(Box<Joining>),
    /// A form that is taken.
    Take(Box<Taken>),
}

/// Decides on one form. Reads only: a damaged row ends here, before the first write. `carrier`: see [`accept`].
pub(super) fn decide(batch: &Batch<'_, '_>, form: &Form, carrier: Option<JobId>) -> Result<Decision, StoreError> {
    if answers::is_answered(batch, form.request)? {
        return Ok(Decision::Nothing(Accepted::Replayed));
    }
    let known = match message_of(batch, form.message_key) {
        // An admin has the message read again: a damaged key must not keep its letter dead for good.
        Err(error) if carrier.is_some() && error.is_of_one_change() => None,
        known => known?,
    };
    match known {
        None => {}
        // A gateway tells of one message in several events, of which the first may lack what makes it a form.
        Some(Hit::Message) if form.submission.channel == Channel::Gateway => {}
        Some(hit) => return Ok(Decision::Nothing(duplicate(hit))),
    }
    let new = match known::recognize(batch, form)? {
        Known::Copy(id) => {
            return joins::decide(batch, id, &form.submission, form.message_key).map(Box::new).map(Decision::Join);
        }
        // The mark makes the reference count that the form without its token gets.
        Known::Shared => {
            return Ok(match form.form_key {
                Some(key) if !known::is_shared(batch, key)? => Decision::Share(key),
                _ => Decision::Nothing(Accepted::TokenShared),
            });
        }
        Known::New(new) => new,
    };
    let mut whole = form.submission.clone();
    let draft = match form.draft_key {
        Some(key) => drafts::of(batch, key, &whole.customer, new.shared.is_some())?,
        None => None,
    };
    if let Some((_, earlier)) = &draft {
        whole.data = draft::merge(&earlier.data, &whole.data);
    }
    let unclaimed = match &new.beside {
        Some(beside) => joins::unclaimed(batch, beside, &whole, form.draft_key.is_some())?,
        None => None,
    };
    if let Some(unclaimed) = &unclaimed {
        whole.data = draft::merge(&unclaimed.data, &whole.data);
        whole.problems.extend(unclaimed.doubt.map(str::to_owned));
    }
    let place = match form.asks.as_ref().map(|asks| asks.wish(&whole.data, form.answerable)) {
        None | Some(Ok(None)) => Place::None,
        Some(Err(problem)) if form.answerable => return Ok(Decision::Nothing(Accepted::Unfit { problem })),
        Some(Err(problem)) => {
            whole.problems.push(problem.to_string());
            Place::None
        }
        Some(Ok(Some(wish))) => match bookings::find_place(batch, &wish, None)? {
            Ok(slot) => Place::Free(wish.calendar, slot),
            Err(why) if form.answerable => {
                return Ok(Decision::Nothing(Accepted::SlotRefused { why, date: wish.date, time: wish.time }));
            }
            Err(why) => Place::Lost(why),
        },
    };
    let copy = unclaimed.and_then(|unclaimed| unclaimed.copy);
    Ok(Decision::Take(Box::new(Taken { whole, place, new, draft: draft.map(|(key, _)| key), copy })))
}

/// Writes what was decided on a form.
pub(super) fn carry_out(batch: &mut Batch<'_, '_>, form: &Form, decision: Decision) -> Result<Accepted, StoreError> {
    match decision {
        Decision::Nothing(accepted) => Ok(accepted),
        Decision::Share(key) => {
            share(batch, key)?;
            Ok(Accepted::TokenShared)
        }
        Decision::Join(joining) => joins::write(batch, *joining),
        Decision::Take(taken) => write(batch, form, *taken),
    }
}

/// Marks a token as one that several customers use.
fn share(batch: &mut Batch<'_, '_>, key: IdempotencyKey) -> Result<(), StoreError> {
    learn(batch, Log::Token, key.of_many(), None)?;
    drafts::remove_unnamed(batch, key)
}

/// A form that was decided to be taken.
pub(super) struct Taken {
    /// With the fields of its earlier screens.
    whole: Submission,
    place: Place,
    new: New,
    /// Key of the draft with its earlier screens.
    draft: Option<IdempotencyKey>,
    /// Key of the row that holds its answers beside another customer's submission.
    copy: Option<(u64, u64)>,
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

/// Writes a form that was decided to be taken.
fn write(batch: &mut Batch<'_, '_>, form: &Form, taken: Taken) -> Result<Accepted, StoreError> {
    let Taken { whole, place, new, draft, copy } = taken;
    let submission = batch.memory.counters.next_submission();
    let (booking, conflict) = match place {
        Place::Free(calendar, slot) => (Some(bookings::book(batch, &calendar, &slot, submission)?), None),
        Place::Lost(why) => (None, Some(why.to_string())),
        Place::None => (None, None),
    };
    let job = schedule(batch, JobKind::Process, submission)?;
    let row =
        StoredSubmission { received_at: batch.now, stamp: batch.expiry, job, booking, conflict, submission: whole };
    if let Some(key) = draft {
        // The submission carries it on.
        drafts::remove(batch, key.as_bytes())?;
    }
    if let Some(key) = copy {
        batch.tables.joins.remove(key)?;
    }
    batch.tables.submissions.insert(submission.get(), codec::encode(&row)?.as_slice())?;
    if let Some(key) = new.shared {
        share(batch, key)?;
    }
    for key in new.keys {
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

/// Keeps a message of which nothing can be made as a dead letter, once. The message itself is taken if it comes again where it
/// can be read; its letter, if it is read again after that, is a copy.
fn keep_unreadable(batch: &mut Batch<'_, '_>, message: &Unreadable) -> Result<Accepted, StoreError> {
    let letter_key = message.message_key.map(IdempotencyKey::of_letter);
    for key in [message.message_key, letter_key] {
        if let Some(hit) = message_of(batch, key)? {
            return Ok(duplicate(hit));
        }
    }
    // Meta sends a message again for days; one without an id can be told from nothing for as long.
    let span = if message.message_key.is_some() { Span::Message } else { Span::Form };
    if let Some(later) = &message.join
        && let Some(id) = known::echo(batch, span, &message.elsewhere, &later.customer)?
    {
        let joining = joins::decide(batch, id, later, message.message_key)?;
        return joins::write(batch, joining);
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
    if let Some(key) = letter_key {
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
