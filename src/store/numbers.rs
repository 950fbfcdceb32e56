//! Our numbers and their usual traffic. That one has been silent for unusually long is told when it begins, and not again before
//! messages came.
//!
//! What is usual is decided in `crate::domain::traffic`; when to look, by `crate::http`.

use redb::ReadableTable;

use crate::domain::traffic::Traffic;

use super::batch::{Batch, Transaction};
use super::read::Snapshot;
use super::tables::NUMBERS;
use super::{StoreError, announce, codec};

/// Notes the traffic of numbers, each by Meta's `phone_number_id`.
#[derive(Debug)]
pub struct NoteTraffic {
    /// Those that are looked at.
    pub numbers: Vec<(Box<str>, Traffic)>,
    /// Those that are gone.
    pub gone: Vec<Box<str>>,
}

impl Transaction for NoteTraffic {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        for (id, traffic) in &self.numbers {
            let known = match batch.tables.numbers.get(&**id)? {
                // One that can't be read is written anew.
                Some(row) => codec::decode::<Traffic>(id, row.value()).ok(),
                None => None,
            };
            batch.tables.numbers.insert(&**id, codec::encode(traffic)?.as_slice())?;
            if traffic.is_silent() && !known.is_some_and(|known| known.is_silent()) {
                announce::silent(batch, id, traffic)?;
            }
        }
        for id in &self.gone {
            batch.tables.numbers.remove(&**id)?;
        }
        batch.dirty = true;
        Ok(())
    }
}

impl Snapshot {
    /// Our numbers and their traffic, by `phone_number_id`. Those whose row can't be read are left out: they are learned anew.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn numbers(&self) -> Result<Vec<(Box<str>, Traffic)>, StoreError> {
        self.reading(|txn| {
            let mut numbers = Vec::new();
            for row in txn.open_table(NUMBERS)?.iter()? {
                let (id, bytes) = row?;
                numbers.extend(codec::decode(id.value(), bytes.value()).map(|traffic| (id.value().into(), traffic)));
            }
            Ok(numbers)
        })
    }
}
