//! Defines the rows of bookings and slots.

use serde::{Deserialize, Serialize};

use crate::domain::booking::calendar::{Calendar, Slot};
use crate::domain::booking::{Booking, BookingState, Occupancy};
use crate::domain::contact::FormContact;
use crate::domain::ids::{BookingId, CalendarName, SubmissionId};
use crate::domain::time::Timestamp;
use crate::store::FoundSubmission;

use super::stored_json;

/// Response row of a booking.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BookingRow {
    pub(crate) id: BookingId,
    pub(crate) calendar: CalendarName,
    pub(crate) date: String,
    pub(crate) time: String,
    pub(crate) submission_id: SubmissionId,
    pub(crate) state: BookingState,
    /// Customer: the ID or, if there is none, the phone number.
    pub(crate) customer: Option<String>,
    /// Name in the answers of the form.
    pub(crate) name: Option<String>,
    /// Phone number: from WhatsApp or, if unknown, from the answers.
    pub(crate) phone: Option<String>,
    /// Time zone of the calendar. `None`: the config no longer has the calendar.
    timezone: Option<String>,
    pub(crate) start: Timestamp,
    /// End of the reserved time in UTC, including the buffer.
    pub(crate) end: Timestamp,
    made_at: Timestamp,
    cancelled_at: Option<Timestamp>,
}

impl BookingRow {
    /// Creates the row of a booking. `form` is the submission that made the booking.
    pub(crate) fn new(
        id: BookingId,
        booking: Booking,
        form: Option<&FoundSubmission>,
        calendar: Option<&Calendar>,
    ) -> Self {
        let answers = form.map(|form| stored_json(&form.stored.submission.data));
        let contact = answers.as_ref().map(FormContact::from_answers);
        let FormContact { name, phone } = contact.unwrap_or_default();
        let customer = form.map(|form| &form.customer);
        let known_phone = customer.and_then(|customer| customer.phone.as_deref());
        Self {
            customer: customer
                .and_then(|customer| customer.name())
                .map(str::to_owned),
            name,
            phone: known_phone.map(str::to_owned).or(phone),
            timezone: calendar.map(zone_name),
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

/// Returns the name of the calendar's time zone.
fn zone_name(calendar: &Calendar) -> String {
    calendar.time_zone().iana_name().unwrap_or("UTC").to_owned()
}

/// Response row of a bookable slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SlotRow {
    pub(crate) calendar: CalendarName,
    pub(crate) date: String,
    pub(crate) time: String,
    pub(crate) capacity: u32,
    pub(crate) taken: u32,
    /// Time zone of the calendar.
    timezone: String,
    start: Timestamp,
    pub(crate) end: Timestamp,
}

impl SlotRow {
    pub(crate) fn new(calendar: &Calendar, slot: &Slot, taken: &Occupancy) -> Self {
        Self {
            calendar: calendar.name().clone(),
            date: slot.date.to_string(),
            time: slot.clock_time(),
            timezone: zone_name(calendar),
            capacity: calendar.capacity(),
            taken: taken.max_overlap(calendar.occupied_interval(slot)),
            start: slot.start,
            end: slot.end,
        }
    }
}
