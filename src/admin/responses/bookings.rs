//! Defines the rows of bookings and slots.

use serde::Serialize;

use crate::domain::booking::calendar::Slot;
use crate::domain::booking::{Booking, Occupancy};
use crate::domain::ids::{BookingId, SubmissionId};
use crate::domain::time::Timestamp;

/// Response row of a booking.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BookingRow {
    id: BookingId,
    calendar: String,
    date: String,
    time: String,
    submission_id: SubmissionId,
    state: &'static str,
    start: Timestamp,
    /// End of the reserved time in UTC, including the buffer.
    end: Timestamp,
    made_at: Timestamp,
    cancelled_at: Option<Timestamp>,
}

impl BookingRow {
    pub(crate) fn new(id: BookingId, booking: &Booking) -> Self {
        Self {
            id,
            calendar: booking.calendar.to_string(),
            date: booking.date.clone(),
            time: booking.time.clone(),
            submission_id: booking.submission_id,
            state: booking.state.as_str(),
            start: booking.start,
            end: booking.end,
            made_at: booking.created_at,
            cancelled_at: booking.cancelled_at,
        }
    }
}

/// Response row of a bookable slot.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SlotRow {
    calendar: String,
    date: String,
    time: String,
    capacity: u32,
    taken: u32,
    start: Timestamp,
    end: Timestamp,
}

impl SlotRow {
    pub(crate) fn new(
        calendar: &crate::domain::booking::calendar::Calendar,
        slot: &Slot,
        taken: &Occupancy,
    ) -> Self {
        Self {
            calendar: calendar.name().to_string(),
            date: slot.date.to_string(),
            time: slot.clock_time(),
            capacity: calendar.capacity(),
            taken: taken.max_overlap(calendar.occupied_interval(slot)),
            start: slot.start,
            end: slot.end,
        }
    }
}
