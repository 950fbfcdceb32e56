//! Answers to encrypted requests: the same bytes again get the same bytes back, since one key and IV must never seal two
//! different answers.
//!
//! A request is known by a key of its own among those of forms ([`super::keys`]), as long as those are remembered. Its
//! answer is kept under the number of that key's row, within a bound of bytes; past it the oldest answers go, and whoever
//! asks for one of those is told that it is gone, never another one.

use redb::{ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};

use crate::domain::submission::IdempotencyKey;

use super::batch::{Batch, Transaction};
use super::keys::{Log, Span};
use super::{StoreError, codec};

/// Bytes of all answers that are kept: about a hundred thousand of the usual ones.
pub(super) const BYTES_MAX: u64 = 64 << 20;

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

/// Which of some keys is remembered.
#[derive(Debug)]
pub struct FindKey {
    /// Keys of forms, in order.
    pub keys: Vec<IdempotencyKey>,
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

impl Transaction for FindKey {
    type Outcome = Option<IdempotencyKey>;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Option<IdempotencyKey>, StoreError> {
        for key in &self.keys {
            if seen(batch, *key)?.is_some() {
                return Ok(Some(*key));
            }
        }
        Ok(None)
    }
}

/// Keeps an answer that is not known yet.
pub(super) fn keep(batch: &mut Batch<'_, '_>, request: IdempotencyKey, answer: &KeptAnswer) -> Result<(), StoreError> {
    let row = note(batch, request)?;
    let bytes = codec::encode(answer)?;
    batch.tables.answers.insert(row, bytes.as_slice())?;
    batch.memory.answer_bytes = batch.memory.answer_bytes.saturating_add(length(&bytes));
    while batch.memory.answer_bytes > BYTES_MAX && batch.tables.answers.len()? > 1 {
        take_oldest(batch)?;
    }
    Ok(())
}

/// Whether `request` was answered.
pub(super) fn is_answered(batch: &Batch<'_, '_>, request: Option<IdempotencyKey>) -> Result<bool, StoreError> {
    Ok(match request {
        Some(request) => seen(batch, request)?.is_some(),
        None => false,
    })
}

/// Remembers that a request was answered. Returns the row of its key.
pub(super) fn note(batch: &mut Batch<'_, '_>, request: IdempotencyKey) -> Result<u64, StoreError> {
    batch.dirty = true;
    let memory = &mut *batch.memory;
    let (tables, counters) = (&mut *batch.tables, &mut memory.counters);
    memory.keys.learn(tables, counters, Log::Token, request, None, batch.expiry)
}

/// Takes the answers whose keys have expired. Returns how many.
pub(super) fn expire(batch: &mut Batch<'_, '_>) -> Result<usize, StoreError> {
    let oldest = batch.tables.token_log.first()?.map_or(u64::MAX, |(number, _)| number.value());
    let mut taken = 0;
    while batch.tables.answers.first()?.is_some_and(|(number, _)| number.value() < oldest) {
        take_oldest(batch)?;
        taken += 1;
    }
    Ok(taken)
}

/// Bytes of all answers in the table.
pub(super) fn bytes_in(table: &impl ReadableTable<u64, &'static [u8]>) -> Result<u64, StoreError> {
    table.iter()?.try_fold(0, |sum: u64, row| Ok(sum.saturating_add(length(row?.1.value()))))
}

fn recall(batch: &Batch<'_, '_>, request: IdempotencyKey) -> Result<Option<AnswerKept>, StoreError> {
    let Some(row) = seen(batch, request)? else { return Ok(None) };
    Ok(Some(match batch.tables.answers.get(row)? {
        Some(bytes) => AnswerKept::Earlier(codec::decode(row, bytes.value())?),
        None => AnswerKept::Gone,
    }))
}

/// The row of a key's log, if it is remembered.
fn seen(batch: &Batch<'_, '_>, key: IdempotencyKey) -> Result<Option<u64>, StoreError> {
    let memory = &*batch.memory;
    memory.keys.row_of(batch.tables, &memory.counters, Span::Form, &key, batch.expiry)
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
