//! Books slots of calendars in the transaction that accepts a submission. An admin can cancel or
//! move a booking.
//!
//! This file looks up the occupied slots. See [`crate::domain::booking::calendar`] for the times
//! that a calendar offers. See [`crate::domain::booking::availability`] for the decision
//! whether a slot is free.

use std::sync::Arc;

use jiff::civil;

use crate::domain::booking::calendar::{Calendar, Slot, SlotRefused};
use crate::domain::booking::{self, Booking, BookingState, Interval, Occupancy, OccupiedInterval};
use crate::domain::ids::{BookingId, CalendarName, SubmissionId};
use crate::domain::submission::inbound::SlotRequest;
use crate::domain::time::{Millis, Timestamp};

use super::events;
use crate::store::StoreResult;
use crate::store::engine::{Rows, Text};
use crate::store::rows::tallies::Tally;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Cancels a booking and releases its slot.
#[derive(Debug)]
pub struct CancelBooking {
    /// Booking ID.
    pub booking_id: BookingId,
}

/// Moves a booking to another time in one transaction. The old slot is released if and only if the
/// new slot is occupied.
#[derive(Debug)]
pub struct MoveBooking {
    /// Booking ID.
    pub booking_id: BookingId,
    /// Calendar of the booking, from the current config.
    pub calendar: Arc<Calendar>,
    /// New date.
    pub date: civil::Date,
    /// New time of day.
    pub time: civil::Time,
}

/// Outcome of an admin's command about a booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookingOutcome {
    /// The booking was changed.
    Updated(Booking),
    /// The slot at the new time is not available.
    SlotRefused(SlotRefused),
    /// The booking was cancelled before.
    AlreadyCancelled,
    /// The booking is in another calendar.
    OtherCalendar(CalendarName),
    /// No booking has this ID.
    NotFound,
}

impl Transaction for CancelBooking {
    type Outcome = BookingOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<BookingOutcome> {
        let Some(mut booking) = ctx.tables.bookings.get(self.booking_id)? else {
            return Ok(BookingOutcome::NotFound);
        };
        if booking.state == BookingState::Cancelled {
            return Ok(BookingOutcome::AlreadyCancelled);
        }
        release_slot(ctx, &booking)?;
        booking.state = BookingState::Cancelled;
        booking.cancelled_at = Some(ctx.now);
        ctx.tables.bookings.put(self.booking_id, &booking)?;
        events::emit_booking_event(ctx, self.booking_id, &booking, &booking)?;
        Ok(BookingOutcome::Updated(booking))
    }
}

impl Transaction for MoveBooking {
    type Outcome = BookingOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<BookingOutcome> {
        let Some(mut booking) = ctx.tables.bookings.get(self.booking_id)? else {
            return Ok(BookingOutcome::NotFound);
        };
        if booking.state == BookingState::Cancelled {
            return Ok(BookingOutcome::AlreadyCancelled);
        }
        if booking.calendar != *self.calendar.name() {
            return Ok(BookingOutcome::OtherCalendar(booking.calendar));
        }
        let request = SlotRequest {
            calendar: Arc::clone(&self.calendar),
            date: self.date,
            time: self.time,
        };
        let slot = match find_slot(ctx, &request, Some(&booking))? {
            Ok(slot) => slot,
            Err(reason) => return Ok(BookingOutcome::SlotRefused(reason)),
        };
        release_slot(ctx, &booking)?;
        let previous = booking.clone();
        booking = booking.moved_to(&self.calendar, &slot, ctx.now);
        occupy_slot(ctx, &booking)?;
        ctx.tables.bookings.put(self.booking_id, &booking)?;
        events::emit_booking_event(ctx, self.booking_id, &booking, &previous)?;
        Ok(BookingOutcome::Updated(booking))
    }
}

/// Finds the requested slot, if it is available. A given booking that is about to move does not
/// count against the capacity.
pub fn find_slot(
    ctx: &WriteContext<'_>,
    request: &SlotRequest,
    except: Option<&Booking>,
) -> StoreResult<Result<Slot, SlotRefused>> {
    let calendar = &request.calendar;
    let slot = match calendar.slot_at(request.date, request.time, ctx.now) {
        Ok(slot) => slot,
        Err(reason) => return Ok(Err(reason)),
    };
    let (table, window) = (
        &ctx.tables.occupied_slots,
        calendar.occupied_interval(&slot),
    );
    let mut occupied = list_occupied(table, calendar.name(), window)?;
    let except = except.map(|&Booking { start, end, .. }| Interval { start, end });
    for current in &mut occupied {
        if Some(current.interval) == except {
            current.bookings = current.bookings.saturating_sub(1);
        }
    }
    Ok(booking::reserve(calendar, slot, &Occupancy::sum(occupied)))
}

/// Creates the booking of `slot` for `submission`.
pub fn create_booking(
    ctx: &mut WriteContext<'_>,
    calendar: &Calendar,
    slot: &Slot,
    submission: SubmissionId,
) -> StoreResult<BookingId> {
    let id = ctx.state.counters.next_booking();
    let booking = Booking::new(calendar, slot, submission, ctx.now);
    occupy_slot(ctx, &booking)?;
    ctx.tables.bookings.put(id, &booking)?;
    Ok(id)
}

/// Removes a booking, and releases its slot if the booking is confirmed.
pub fn remove_booking(
    ctx: &mut WriteContext<'_>,
    id: BookingId,
    booking: &Booking,
) -> StoreResult<()> {
    ctx.tables.bookings.remove(id)?;
    if booking.state == BookingState::Confirmed {
        release_slot(ctx, booking)?;
    }
    Ok(())
}

/// Returns the occupied times of `calendar` that overlap `window`. Reads one row for each time and
/// one row for each length of booking, however many bookings exist.
pub fn list_occupied(
    table: &impl Rows<Key = (Text, Millis, Timestamp), Value = u64>,
    calendar: &CalendarName,
    window: Interval,
) -> StoreResult<Vec<OccupiedInterval>> {
    let name = calendar.as_str();
    let mut occupied = Vec::new();
    let mut next_length = Some(Millis::ZERO);
    while let Some(from) = next_length {
        let last = (name, Millis::MAX, Timestamp::MAX);
        let mut rows = table.range((name, from, Timestamp::ZERO)..=last)?;
        let Some(length) = rows.next().transpose()?.map(|row| row.key().1) else {
            break;
        };
        // A booking of this length that starts earlier is over before the window begins.
        let first = window.start.plus(Millis::new(1)).minus(length);
        for row in table.range((name, length, first)..(name, length, window.end))? {
            let row = row?;
            let start = row.key().2;
            occupied.push(OccupiedInterval {
                interval: Interval {
                    start,
                    end: start.plus(length),
                },
                bookings: u32::try_from(row.value()?).unwrap_or(u32::MAX),
            });
        }
        next_length = length.get().checked_add(1).map(Millis::new);
    }
    Ok(occupied)
}

/// Returns the key under which bookings of the same time are counted.
fn occupancy_key(booking: &Booking) -> (&str, Millis, Timestamp) {
    (
        booking.calendar.as_str(),
        booking.end.since(booking.start),
        booking.start,
    )
}

fn occupy_slot(ctx: &mut WriteContext<'_>, booking: &Booking) -> StoreResult<()> {
    let key = occupancy_key(booking);
    let count = ctx.tables.occupied_slots.get(key)?.unwrap_or(0);
    ctx.tables
        .occupied_slots
        .put(key, &count.saturating_add(1))?;
    ctx.tallies.increment(Tally::Bookings, key.0);
    Ok(())
}

fn release_slot(ctx: &mut WriteContext<'_>, booking: &Booking) -> StoreResult<()> {
    let key = occupancy_key(booking);
    match ctx.tables.occupied_slots.get(key)?.unwrap_or(0) {
        0 => return Ok(()),
        1 => ctx.tables.occupied_slots.remove(key)?,
        count => ctx.tables.occupied_slots.put(key, &(count - 1))?,
    };
    ctx.tallies.decrement(Tally::Bookings, key.0);
    Ok(())
}
