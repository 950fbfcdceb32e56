//! Stores the traffic of the business's phone numbers, and emits an event for a silent number.
//!
//! A number is silent if it receives no messages for an unusually long time. The store emits one
//! event, and no further event until messages have arrived again.
//!
//! See [`crate::domain::health::number_traffic`] for the definition of usual traffic, and
//! `crate::http` for the times of the samples.

use redb::ReadableTable;

use crate::domain::health::number_traffic::NumberTraffic;

use super::events;
use crate::store::StoreError;
use crate::store::engine::redb::tables::PHONE_NUMBERS;
use crate::store::read::Snapshot;
use crate::store::rows::codec;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Records the traffic of phone numbers, each by Meta's `phone_number_id`.
#[derive(Debug)]
pub struct RecordTraffic {
    /// Observed numbers with their traffic.
    pub numbers: Vec<(Box<str>, NumberTraffic)>,
    /// IDs of the numbers to remove.
    pub removed: Vec<Box<str>>,
}

impl Transaction for RecordTraffic {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<(), StoreError> {
        for (id, traffic) in &self.numbers {
            let known = match ctx.tables.phone_numbers.get(&**id)? {
                // An unreadable row is replaced.
                Some(row) => codec::decode::<NumberTraffic>(id, row.value()).ok(),
                None => None,
            };
            ctx.tables
                .phone_numbers
                .insert(&**id, codec::encode(traffic)?.as_slice())?;
            if traffic.is_silent() && !known.is_some_and(|known| known.is_silent()) {
                events::emit_number_silent(ctx, id, traffic)?;
            }
        }
        for id in &self.removed {
            ctx.tables.phone_numbers.remove(&**id)?;
        }
        ctx.is_dirty = true;
        Ok(())
    }
}

impl Snapshot {
    /// Returns the phone numbers of the business with their traffic, by `phone_number_id`.
    ///
    /// Skips unreadable rows: the traffic of these numbers is measured anew.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn phone_numbers(&self) -> Result<Vec<(Box<str>, NumberTraffic)>, StoreError> {
        self.with_read_txn(|txn| {
            let mut numbers = Vec::new();
            for row in txn.open_table(PHONE_NUMBERS)?.iter()? {
                let (id, bytes) = row?;
                numbers.extend(
                    codec::decode(id.value(), bytes.value())
                        .map(|traffic| (id.value().into(), traffic)),
                );
            }
            Ok(numbers)
        })
    }
}
