//! Forms that were sent before, as whoever sends one again needs them: whether they are remembered, and how they ended.
//!
//! Only an end that is not the usual one is kept, under the number that its form's key has in `token_log`, and for as long
//! as that key says that it is the same form: a second press that finds the form finds its end. How long that is, [`super::keys`] decides.

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::domain::ids::Customer;
use crate::domain::submission::IdempotencyKey;

use super::batch::{Batch, Transaction};
use super::keys::{KeyRow, Span};
use super::{StoreError, codec, known};

/// The key, of several or derived from them, under which a customer's form is remembered.
#[derive(Debug)]
pub struct FindKey {
    /// Keys of forms, in order.
    pub keys: Vec<IdempotencyKey>,
    /// Customer whose form it is to be.
    pub customer: Customer,
    /// As [`crate::domain::arrival::Form::for_good`].
    pub for_good: bool,
}

/// The end of a form that was sent before, where it is not the usual one.
#[derive(Debug)]
pub struct RecallEnd {
    /// The key of the form.
    pub form: IdempotencyKey,
}

/// A row of `ends`.
#[derive(Serialize, Deserialize)]
pub(super) struct End {
    /// JSON text.
    text: Box<str>,
}

impl codec::Row for End {
    const TABLE: &'static str = "ends";
}

impl Transaction for FindKey {
    type Outcome = Option<IdempotencyKey>;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Option<IdempotencyKey>, StoreError> {
        known::key_of(batch, Span::of_form(self.for_good), &self.keys, &self.customer)
    }
}

impl Transaction for RecallEnd {
    type Outcome = Option<Box<str>>;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Option<Box<str>>, StoreError> {
        let memory = &*batch.memory;
        let row = memory.keys.row_of(batch.tables, &memory.counters, Span::Form, &self.form, batch.expiry)?;
        let Some(row) = row else { return Ok(None) };
        match batch.tables.ends.get(row)? {
            Some(bytes) => codec::decode::<End>(row, bytes.value()).map(|end| Some(end.text)),
            None => Ok(None),
        }
    }
}

/// Bytes of an end that is kept at the most: clients show nothing of it. A longer one is a bare success when it is asked for
/// again.
const END_BYTES_MAX: usize = 64 << 10;

/// Keeps the end of the form whose key is row `row` of `token_log`.
pub(super) fn keep(batch: &mut Batch<'_, '_>, row: u64, text: &str) -> Result<(), StoreError> {
    if text.len() > END_BYTES_MAX {
        return Ok(());
    }
    batch.tables.ends.insert(row, codec::encode(&End { text: text.into() })?.as_slice())?;
    Ok(())
}

/// Takes the ends whose forms are forgotten, `most` of them at the most. Returns how many it took.
pub(super) fn expire(batch: &mut Batch<'_, '_>, most: usize) -> Result<usize, StoreError> {
    let mut taken = 0;
    while taken < most && oldest_is_forgotten(batch)? {
        batch.tables.ends.pop_first()?;
        taken += 1;
    }
    Ok(taken)
}

fn oldest_is_forgotten(batch: &Batch<'_, '_>) -> Result<bool, StoreError> {
    let Some((number, _)) = batch.tables.ends.first()? else { return Ok(false) };
    let Some(row) = batch.tables.token_log.get(number.value())? else { return Ok(true) };
    // One whose key can't be read is found by nobody.
    let Ok(key) = codec::decode::<KeyRow>(number.value(), row.value()) else { return Ok(true) };
    Ok(batch.age(key.at) >= batch.memory.keys.length_of(Span::Form))
}
