//! Bookings, and the slots of a calendar.

use serde::Serialize;

use crate::domain::booking::{Booking, Occupancy};
use crate::domain::calendar::Slot;
use crate::domain::ids::{BookingId, SubmissionId};
use crate::domain::time::Timestamp;

/// A booking.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct BookingView {
    id: BookingId,
    calendar: String,
    date: String,
    time: String,
    submission_id: SubmissionId,
    state: &'static str,
    start: Timestamp,
    /// Until when its place is taken, the buffer included.
    end: Timestamp,
    made_at: Timestamp,
    cancelled_at: Option<Timestamp>,
}

impl BookingView {
    pub(in crate::admin) fn new(id: BookingId, booking: &Booking) -> Self {
        Self {
            id,
            calendar: booking.calendar.to_string(),
            date: booking.date.clone(),
            time: booking.time.clone(),
            submission_id: booking.submission,
            state: booking.state.as_str(),
            start: booking.start,
            end: booking.end,
            made_at: booking.made_at,
            cancelled_at: booking.ended_at,
        }
    }
}

/// A slot that may be booked.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct SlotView {
    calendar: String,
    date: String,
    time: String,
    capacity: u32,
    taken: u32,
    start: Timestamp,
    end: Timestamp,
}

impl SlotView {
    pub(in crate::admin) fn new(calendar: &crate::domain::calendar::Calendar, slot: &Slot, taken: &Occupancy) -> Self {
        Self {
            calendar: calendar.name().to_string(),
            date: slot.date.to_string(),
            time: slot.clock_time(),
            capacity: calendar.capacity(),
            taken: taken.peak(calendar.blocked(slot)),
            start: slot.start,
            end: slot.end,
        }
    }
}
