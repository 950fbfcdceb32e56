//! Reads bookings, and the slots that are still available.

use jiff::civil::{Date, Time};

use crate::domain::booking::calendar::{Calendar, Slot};
use crate::domain::booking::{Booking, Interval, Occupancy, nearest_free};
use crate::domain::ids::{BookingId, CalendarName};
use crate::domain::time::Timestamp;

use super::Snapshot;
use crate::store::StoreResult;
use crate::store::rows::schema::{BOOKINGS, OCCUPIED_SLOTS};
use crate::store::tx::bookings;

/// Maximum number of available slots offered to a customer whose slot is not available.
///
/// A radio group can show 20 (*Flow JSON components*), but customers read fewer.
const OFFERED_SLOTS_MAX: usize = 8;

impl Snapshot {
    /// Returns a booking. Returns `None` if no booking has this ID.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn booking(&self, id: BookingId) -> StoreResult<Option<Booking>> {
        self.get_row(BOOKINGS, id)
    }

    /// Returns the occupied slots of `calendar` in `window`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn occupancy(&self, calendar: &CalendarName, window: Interval) -> StoreResult<Occupancy> {
        self.with_read_txn(|txn| {
            let table = txn.open(OCCUPIED_SLOTS)?;
            Ok(Occupancy::sum(bookings::list_occupied(
                &table, calendar, window,
            )?))
        })
    }

    /// Lists the available slots nearest to an unavailable one, up to the number that a customer is
    /// offered.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn nearest_free_slots(
        &self,
        calendar: &Calendar,
        around: (Date, Time),
        now: Timestamp,
    ) -> StoreResult<Vec<Slot>> {
        nearest_free(calendar, Some(around), now, OFFERED_SLOTS_MAX, |window| {
            self.occupancy(calendar.name(), window)
        })
    }
}
