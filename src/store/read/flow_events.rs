//! Reads flow errors, the health events of Meta's monitoring, and the traffic of phone numbers.

use crate::domain::health::meta_event::HealthEvent;
use crate::domain::health::number_traffic::NumberTraffic;
use crate::domain::submission::flow_error::FlowError;
use crate::domain::time::Timestamp;

use super::{DecodedRows, Snapshot};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::schema::PHONE_NUMBERS;

/// Maximum number of health events that a reader gets.
const HEALTH_EVENTS_MAX: usize = 1000;

impl Snapshot {
    /// Returns the flow errors since this time, newest first, at most `limit`. Unreadable rows
    /// among them are included.
    ///
    /// # Errors
    /// [`crate::store::StoreError`] if the table can't be read.
    pub fn flow_errors_since(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> StoreResult<DecodedRows<FlowError>> {
        let newest = self.list_rows::<FlowError>(None, limit)?.into_iter();
        let is_recent = |flow_error: &FlowError| flow_error.received_at >= since;
        Ok(newest
            .take_while(|(_, row)| row.as_ref().ok().is_none_or(is_recent))
            .collect())
    }

    /// Returns the newest events of Meta's monitoring, newest first: at most 1000, fewer if the
    /// events are large.
    ///
    /// # Errors
    /// [`crate::store::StoreError`] if the table can't be read.
    pub fn health_events(&self) -> StoreResult<DecodedRows<HealthEvent>> {
        self.list_rows(None, HEALTH_EVENTS_MAX)
    }

    /// Returns the phone numbers of the business with their traffic, by `phone_number_id`.
    ///
    /// Skips unreadable rows: the traffic of these numbers is measured anew.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn phone_numbers(&self) -> StoreResult<Vec<(Box<str>, NumberTraffic)>> {
        self.with_read_txn(|txn| {
            let mut numbers = Vec::new();
            for row in txn.open(PHONE_NUMBERS)?.all_rows()? {
                let row = row?;
                numbers.extend(row.value().map(|traffic| (row.key().into(), traffic)));
            }
            Ok(numbers)
        })
    }
}
