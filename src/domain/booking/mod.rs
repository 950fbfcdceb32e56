//! Defines bookings: reserved places in the slots of a calendar.
//!
//! | to find | see |
//! |---|---|
//! | the decision about the last free place of a slot | [`availability`] |
//! | the number of occupied places at a time | [`occupancy`] |
//! | the start times of a calendar, and the reasons to refuse one | [`calendar`], [`slot`] |
//! | the slot that a form requests | [`slot_request`] |

pub mod availability;
pub mod calendar;
pub mod occupancy;
pub mod slot;
pub mod slot_request;

use serde::{Deserialize, Serialize};

use super::ids::{CalendarName, SubmissionId};
use super::time::Timestamp;
pub use availability::{SlotAvailability, day_availability, nearest_free, reserve};
use calendar::Calendar;
pub use occupancy::{Interval, Occupancy, OccupiedInterval};
use slot::Slot;

named_enum! {
    /// State of a booking.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum BookingState {
        /// The booking occupies its place.
        Confirmed = "confirmed",
        /// The booking is cancelled and its place is free.
        Cancelled = "cancelled",
    }
}

/// Reserved place in a calendar, as stored in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// Calendar of the booking.
    pub calendar: CalendarName,
    /// Start of the booking.
    pub start: Timestamp,
    /// End of the occupied time, including the buffer.
    pub end: Timestamp,
    /// Date in the time zone of the calendar, `2027-01-04`.
    pub date: String,
    /// Start time in the time zone of the calendar, `09:00`.
    pub time: String,
    /// Submission that requested the booking.
    pub submission_id: SubmissionId,
    /// State of the booking.
    pub state: BookingState,
    /// Time of the reservation.
    pub created_at: Timestamp,
    /// Number of times that the booking was moved.
    pub moves: u32,
    /// Time of the last move. `None`: never moved.
    pub moved_at: Option<Timestamp>,
    /// Time of the cancellation. `None`: not cancelled.
    pub cancelled_at: Option<Timestamp>,
}

impl Booking {
    /// Creates a confirmed booking of `slot` at the time `now`.
    #[must_use]
    pub fn new(calendar: &Calendar, slot: &Slot, submission: SubmissionId, now: Timestamp) -> Self {
        let Interval { start, end } = calendar.occupied_interval(slot);
        Self {
            calendar: calendar.name().clone(),
            start,
            end,
            date: slot.date.to_string(),
            time: slot.clock_time(),
            submission_id: submission,
            state: BookingState::Confirmed,
            created_at: now,
            moves: 0,
            moved_at: None,
            cancelled_at: None,
        }
    }

    /// Returns the booking moved to `slot` at the time `now`, with the same submission and creation
    /// time.
    #[must_use]
    pub fn moved_to(&self, calendar: &Calendar, slot: &Slot, now: Timestamp) -> Self {
        Self {
            moves: self.moves.saturating_add(1),
            moved_at: Some(now),
            ..Self::new(calendar, slot, self.submission_id, self.created_at)
        }
    }

    /// Returns the number of changes since the reservation.
    #[must_use]
    pub fn revision(&self) -> u32 {
        let is_cancelled = self.cancelled_at.is_some();
        self.moves.saturating_add(is_cancelled.into())
    }

    /// Returns the time of the last change: reservation, move or cancellation.
    #[must_use]
    pub fn changed_at(&self) -> Timestamp {
        let last = self.cancelled_at.or(self.moved_at);
        last.unwrap_or(self.created_at)
    }
}
