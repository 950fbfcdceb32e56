//! Defines slots, which are the start times that a calendar offers, and the reasons to refuse one.

use jiff::civil::{Date, Time};

use crate::domain::time::Timestamp;

/// Start time that a calendar offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Start of the slot.
    pub start: Timestamp,
    /// End of the slot, without the buffer that follows.
    pub end: Timestamp,
    /// Date in the time zone of the calendar.
    pub date: Date,
    /// Start time in the time zone of the calendar.
    pub time: Time,
}

impl Slot {
    /// Returns the ID of the slot for form fields: `2027-01-04T09:00`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}T{}", self.date, self.clock_time())
    }

    /// Returns the title of the slot for people: `Mon 4 Jan, 09:00`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}, {}", self.date.strftime("%a %-d %b"), self.clock_time())
    }

    /// Returns the start time as text: `09:00`.
    #[must_use]
    pub fn clock_time(&self) -> String {
        format!("{:02}:{:02}", self.time.hour(), self.time.minute())
    }
}

named_enum! {
    /// Reason why a start can't be booked. `Display` is a sentence for the customer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum SlotRefused {
        /// The start is now or in the past.
        #[error("This time is in the past. Please choose another.")]
        Past = "past",
        /// The start is earlier than the minimum notice allows.
        #[error("This time is too soon to be booked. Please choose a later one.")]
        TooSoon = "too_soon",
        /// The start is later than the maximum advance allows.
        #[error("This time is too far ahead. Please choose an earlier one.")]
        TooFar = "too_far",
        /// The calendar is closed at this time.
        #[error("We are closed at this time. Please choose another.")]
        Closed = "closed",
        /// The calendar is open, but no slot starts at this time.
        #[error("No appointment begins at this time. Please choose another.")]
        NotASlot = "not_a_slot",
        /// All places of the slot are occupied.
        #[error("This time has just been taken. Please choose another.")]
        Full = "full",
    }
}
