//! Defines the rows of bookings and slots.

use serde::{Deserialize, Serialize};

use crate::domain::booking::calendar::{Calendar, Slot};
use crate::domain::booking::{Booking, BookingState, Occupancy};
use crate::domain::ids::{BookingId, CalendarName, SubmissionId};
use crate::domain::time::Timestamp;

/// Response row of a booking.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BookingRow {
    pub(crate) id: BookingId,
    pub(crate) calendar: CalendarName,
    pub(crate) date: String,
    pub(crate) time: String,
    pub(crate) submission_id: SubmissionId,
    pub(crate) state: BookingState,
    start: Timestamp,
    /// End of the reserved time in UTC, including the buffer.
    end: Timestamp,
    made_at: Timestamp,
    cancelled_at: Option<Timestamp>,
}

impl BookingRow {
    pub(crate) fn new(id: BookingId, booking: Booking) -> Self {
        Self {
            id,
            calendar: booking.calendar,
            date: booking.date,
            time: booking.time,
            submission_id: booking.submission_id,
            state: booking.state,
            start: booking.start,
            end: booking.end,
            made_at: booking.created_at,
            cancelled_at: booking.cancelled_at,
        }
    }
}

/// Response row of a bookable slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SlotRow {
    pub(crate) calendar: CalendarName,
    pub(crate) date: String,
    pub(crate) time: String,
    pub(crate) capacity: u32,
    pub(crate) taken: u32,
    start: Timestamp,
    end: Timestamp,
}

impl SlotRow {
    pub(crate) fn new(calendar: &Calendar, slot: &Slot, taken: &Occupancy) -> Self {
        Self {
            calendar: calendar.name().clone(),
            date: slot.date.to_string(),
            time: slot.clock_time(),
            capacity: calendar.capacity(),
            taken: taken.max_overlap(calendar.occupied_interval(slot)),
            start: slot.start,
            end: slot.end,
        }
    }
}
