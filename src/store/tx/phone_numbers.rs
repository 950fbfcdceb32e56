//! Stores the traffic of the business's phone numbers, and emits an event for a silent number.
//!
//! A number is silent if it receives no messages for an unusually long time. The store emits one
//! event, and no further event until messages have arrived again.
//!
//! See [`crate::domain::health::number_traffic`] for the definition of usual traffic, and
//! `crate::http` for the times of the samples.

use crate::domain::health::number_traffic::NumberTraffic;

use super::events;
use crate::store::StoreResult;
use crate::store::engine::Rows;
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

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        for (id, traffic) in &self.numbers {
            let was_silent = match ctx.tables.phone_numbers.get(id) {
                Ok(known) => known.is_some_and(|known| known.is_silent()),
                // The unreadable row is replaced.
                Err(error) if error.affects_one_row() => false,
                Err(error) => return Err(error),
            };
            ctx.tables.phone_numbers.put(id, traffic)?;
            if traffic.is_silent() && !was_silent {
                events::emit_number_silent(ctx, id, traffic)?;
            }
        }
        for id in &self.removed {
            ctx.tables.phone_numbers.remove(id)?;
        }
        Ok(())
    }
}
