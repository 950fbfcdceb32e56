//! Answers to encrypted requests: the same bytes again get the same bytes back, since one key and IV must never seal two
//! different texts.
//!
//! Two memories, which forget at different times. *That* a request was answered is on disk until four million more were
//! (`answered_max` of the options), however long those take: whoever has caught a signed body can send it for as long as its
//! flow has the private key, long after the token in it is forgotten. Past that bound it would be answered anew; what helps
//! then, `docs/flows.md` says. *What* was answered is kept within a bound of bytes; past it the oldest answers go, and
//! whoever asks for one of those is told that it is gone, never another one.
//!
//! A request is known by its envelope alone, whatever flow it is sent to. Forms have keys of their own: [`super::keys`].

use redb::{ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};

use crate::domain::submission::IdempotencyKey;

use super::batch::{Batch, Transaction};
use super::{StoreError, codec};

/// Bytes of all answers that are kept: about a hundred thousand of the usual ones.
pub(super) const BYTES_MAX: u64 = 64 << 20;

/// Requests forgotten for each new one, where too many are remembered. More than one, so that a file comes down to a bound
/// that was lowered; few, so that no commit is held up by it.
const FORGOTTEN: usize = 2;

/// An answer as it went out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// Its HTTP status.
    pub status: u16,
    /// Its body: base64.
    pub body: Box<str>,
}

/// Keeps the answer to a request before it goes out, unless that was answered before.
#[derive(Debug)]
pub struct KeepAnswer {
    /// The request.
    pub request: IdempotencyKey,
    /// What is to be answered.
    pub answer: KeptAnswer,
}

/// What was answered to a request.
#[derive(Debug)]
pub struct RecallAnswer {
    /// The request.
    pub request: IdempotencyKey,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerKept {
    /// The answer that was to be kept.
    First,
    /// This one: it was there first.
    Earlier(KeptAnswer),
    /// Nothing: another answer went out, and is no longer there.
    Gone,
}

impl Transaction for KeepAnswer {
    type Outcome = AnswerKept;

    fn bytes(&self) -> usize {
        self.answer.body.len()
    }

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<AnswerKept, StoreError> {
        match recall(batch, self.request)? {
            Some(earlier) => Ok(earlier),
            None => keep(batch, self.request, &self.answer).map(|()| AnswerKept::First),
        }
    }
}

impl Transaction for RecallAnswer {
    type Outcome = Option<KeptAnswer>;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Option<KeptAnswer>, StoreError> {
        Ok(match recall(batch, self.request)? {
            Some(AnswerKept::Earlier(answer)) => Some(answer),
            _ => None,
        })
    }
}

/// Whether `request` was answered.
pub(super) fn is_answered(batch: &Batch<'_, '_>, request: Option<IdempotencyKey>) -> Result<bool, StoreError> {
    Ok(match request {
        Some(request) => number_of(batch, request)?.is_some(),
        None => false,
    })
}

/// Bytes of all answers in the table.
pub(super) fn bytes_in(table: &impl ReadableTable<u64, &'static [u8]>) -> Result<u64, StoreError> {
    table.iter()?.try_fold(0, |sum: u64, row| Ok(sum.saturating_add(length(row?.1.value()))))
}

fn recall(batch: &Batch<'_, '_>, request: IdempotencyKey) -> Result<Option<AnswerKept>, StoreError> {
    let Some(number) = number_of(batch, request)? else { return Ok(None) };
    Ok(Some(match batch.tables.answers.get(number)? {
        Some(bytes) => AnswerKept::Earlier(codec::decode(number, bytes.value())?),
        None => AnswerKept::Gone,
    }))
}

/// The number under which a request was answered.
fn number_of(batch: &Batch<'_, '_>, request: IdempotencyKey) -> Result<Option<u64>, StoreError> {
    Ok(batch.tables.answered.get(request.as_bytes())?.map(|number| number.value()))
}

/// Keeps an answer that is not known yet.
fn keep(batch: &mut Batch<'_, '_>, request: IdempotencyKey, answer: &KeptAnswer) -> Result<(), StoreError> {
    let bytes = codec::encode(answer)?;
    batch.dirty = true;
    let number = note(batch, request)?;
    batch.tables.answers.insert(number, bytes.as_slice())?;
    batch.memory.answer_bytes = batch.memory.answer_bytes.saturating_add(length(&bytes));
    while batch.memory.answer_bytes > BYTES_MAX && batch.tables.answers.len()? > 1 {
        take_oldest(batch)?;
    }
    Ok(())
}

/// Remembers that a request was answered, and forgets the oldest where those are too many. Returns its number.
fn note(batch: &mut Batch<'_, '_>, request: IdempotencyKey) -> Result<u64, StoreError> {
    let last = batch.tables.answered_log.last()?.map_or(0, |(number, _)| number.value());
    let number = last.saturating_add(1);
    batch.tables.answered_log.insert(number, request.as_bytes())?;
    batch.tables.answered.insert(request.as_bytes(), number)?;
    for _ in 0..FORGOTTEN {
        if batch.tables.answered_log.len()? <= batch.memory.answered_max {
            break;
        }
        forget_oldest(batch)?;
    }
    Ok(number)
}

fn forget_oldest(batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
    let Some((number, request)) = batch.tables.answered_log.pop_first()?.map(|row| (row.0.value(), *row.1.value()))
    else {
        return Ok(());
    };
    batch.tables.answered.remove(&request)?;
    while batch.tables.answers.first()?.is_some_and(|(of, _)| of.value() <= number) {
        take_oldest(batch)?;
    }
    Ok(())
}

fn take_oldest(batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
    if let Some((_, bytes)) = batch.tables.answers.pop_first()? {
        batch.memory.answer_bytes = batch.memory.answer_bytes.saturating_sub(length(bytes.value()));
    }
    Ok(())
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
