//! Cancels and moves bookings.

use jiff::civil::{Date, Time};

use crate::admin::context::AdminContext;
use crate::admin::error::AdminError;
use crate::admin::responses::BookingRow;
use crate::admin::text::join_or_none;
use crate::domain::ids::BookingId;
use crate::store::{BookingOutcome, CancelBooking, MoveBooking};

pub(super) fn cancel_booking(
    context: &AdminContext,
    id: BookingId,
) -> Result<BookingRow, AdminError> {
    let cancelled = context
        .store
        .execute_blocking(CancelBooking { booking_id: id })?;
    booking_row(id, cancelled)
}

pub(super) fn move_booking(
    context: &AdminContext,
    id: BookingId,
    date: Date,
    time: Time,
) -> Result<BookingRow, AdminError> {
    let Some(found) = context.snapshot()?.booking(id)? else {
        return Err(AdminError::missing("booking", id));
    };
    let catalog = context.catalog();
    let Some(calendar) = catalog.calendars.get(&found.calendar) else {
        let calendar = found.calendar;
        return Err(AdminError::failed(format!(
            "calendar {calendar} of booking {id} is not in the config: add it again, or cancel the booking"
        )));
    };
    let moved = context.store.execute_blocking(MoveBooking {
        booking_id: id,
        calendar: calendar.clone(),
        date,
        time,
    })?;
    let BookingOutcome::SlotRefused(why) = moved else {
        return booking_row(id, moved);
    };
    let snapshot = context.snapshot()?;
    let free = snapshot.nearest_free_slots(calendar, (date, time), context.now())?;
    let free: Vec<String> = free
        .iter()
        .map(|slot| format!("{} {}", slot.date, slot.clock_time()))
        .collect();
    let free = join_or_none(&free);
    Err(AdminError::failed(format!(
        "{why} Nearest free slots: {free}"
    )))
}

fn booking_row(id: BookingId, outcome: BookingOutcome) -> Result<BookingRow, AdminError> {
    let why = match outcome {
        BookingOutcome::Updated(booking) => return Ok(BookingRow::new(id, booking)),
        BookingOutcome::SlotRefused(why) => why.to_string(),
        BookingOutcome::AlreadyCancelled => format!("booking {id} is already cancelled"),
        BookingOutcome::OtherCalendar(calendar) => {
            format!("booking {id} is in calendar {calendar}: move it within that calendar")
        }
        BookingOutcome::NotFound => return Err(AdminError::missing("booking", id)),
    };
    Err(AdminError::failed(why))
}
