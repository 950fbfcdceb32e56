//! Places in calendars: taken in the transaction that accepts a submission, freed or moved by an admin.
//!
//! Which times a calendar offers and whether one is free is decided in `crate::domain::{calendar, booking}`; here it is
//! looked up what is taken.

use std::sync::Arc;

use jiff::civil;
use redb::ReadableTable;

use crate::domain::arrival::Wish;
use crate::domain::booking::{self, Booking, BookingState, Interval, Occupancy, Taken};
use crate::domain::calendar::{Calendar, Slot, SlotRefused};
use crate::domain::ids::{BookingId, CalendarName, SubmissionId};
use crate::domain::time::{Millis, Timestamp};

use super::batch::{Batch, Transaction};
use super::tallies::Tally;
use super::{StoreError, announce, codec};

/// Frees the place of a booking.
#[derive(Debug)]
pub struct CancelBooking {
    /// Which one.
    pub booking: BookingId,
}

/// Moves a booking to another time, in one step: the old place is free exactly when the new one is taken.
#[derive(Debug)]
pub struct MoveBooking {
    /// Which one.
    pub booking: BookingId,
    /// Its calendar, as the config has it now.
    pub calendar: Arc<Calendar>,
    /// The new day.
    pub date: civil::Date,
    /// The new time.
    pub time: civil::Time,
}

/// What an admin's word did to a booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookingChanged {
    /// It is so now.
    Now(Booking),
    /// The new time can't be had.
    Refused(SlotRefused),
    /// It was cancelled before.
    Cancelled,
    /// It is in another calendar.
    OtherCalendar(CalendarName),
    /// There is no such booking.
    Unknown,
}

impl Transaction for CancelBooking {
    type Outcome = BookingChanged;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<BookingChanged, StoreError> {
        let Some(mut booking) = find(batch, self.booking)? else { return Ok(BookingChanged::Unknown) };
        if booking.state == BookingState::Cancelled {
            return Ok(BookingChanged::Cancelled);
        }
        free(batch, &booking)?;
        booking.state = BookingState::Cancelled;
        booking.ended_at = Some(batch.now);
        write(batch, self.booking, &booking)?;
        announce::booking(batch, self.booking, &booking, &booking)?;
        Ok(BookingChanged::Now(booking))
    }
}

impl Transaction for MoveBooking {
    type Outcome = BookingChanged;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<BookingChanged, StoreError> {
        let Some(mut booking) = find(batch, self.booking)? else { return Ok(BookingChanged::Unknown) };
        if booking.state == BookingState::Cancelled {
            return Ok(BookingChanged::Cancelled);
        }
        if booking.calendar != *self.calendar.name() {
            return Ok(BookingChanged::OtherCalendar(booking.calendar));
        }
        let wish = Wish { calendar: Arc::clone(&self.calendar), date: self.date, time: self.time };
        let slot = match find_place(batch, &wish, Some(&booking))? {
            Ok(slot) => slot,
            Err(why) => return Ok(BookingChanged::Refused(why)),
        };
        free(batch, &booking)?;
        let before = booking.clone();
        booking = booking.moved_to(&self.calendar, &slot);
        take(batch, &booking)?;
        write(batch, self.booking, &booking)?;
        announce::booking(batch, self.booking, &booking, &before)?;
        Ok(BookingChanged::Now(booking))
    }
}

/// The slot that `wish` asks for, if it can be had. `except`: a booking that would give its own place up.
pub(super) fn find_place(
    batch: &Batch<'_, '_>,
    wish: &Wish,
    except: Option<&Booking>,
) -> Result<Result<Slot, SlotRefused>, StoreError> {
    let slot = match wish.calendar.slot_at(wish.date, wish.time, batch.now) {
        Ok(slot) => slot,
        Err(why) => return Ok(Err(why)),
    };
    let mut taken = read_taken(&batch.tables.places, wish.calendar.name(), wish.calendar.blocked(&slot))?;
    if let Some(Booking { start, end, .. }) = except
        && let Some(own) = taken.iter_mut().find(|taken| taken.time == Interval { start: *start, end: *end })
    {
        own.places = own.places.saturating_sub(1);
    }
    Ok(booking::reserve(&wish.calendar, slot, &Occupancy::of(taken)))
}

/// Takes `slot` for `submission`.
pub(super) fn book(
    batch: &mut Batch<'_, '_>,
    calendar: &Calendar,
    slot: &Slot,
    submission: SubmissionId,
) -> Result<BookingId, StoreError> {
    let id = batch.memory.counters.next_booking();
    let booking = Booking::new(calendar, slot, submission, batch.now);
    take(batch, &booking)?;
    write(batch, id, &booking)?;
    Ok(id)
}

/// Removes a booking, and frees its place if it stands.
pub(super) fn remove(batch: &mut Batch<'_, '_>, id: BookingId, booking: &Booking) -> Result<(), StoreError> {
    batch.tables.bookings.remove(id.get())?;
    if booking.state == BookingState::Confirmed {
        free(batch, booking)?;
    }
    Ok(())
}

/// Times of `calendar` that overlap `window` and are taken. Reads one row for each time and one for each length of
/// booking, however many bookings there are.
pub(super) fn read_taken(
    table: &impl ReadableTable<(&'static str, u64, u64), u64>,
    calendar: &CalendarName,
    window: Interval,
) -> Result<Vec<Taken>, StoreError> {
    let name = calendar.as_str();
    let mut taken = Vec::new();
    let mut next_length = Some(0);
    while let Some(from) = next_length {
        let mut longer = table.range((name, from, 0)..=(name, u64::MAX, u64::MAX))?;
        let Some(length) = longer.next().transpose()?.map(|(key, _)| key.value().1) else { break };
        // Later than this, or it is over before the window begins.
        let first = window.start.as_millis().saturating_add(1).saturating_sub(length);
        for row in table.range((name, length, first)..(name, length, window.end.as_millis()))? {
            let (key, places) = row?;
            let start = Timestamp::from_millis(key.value().2);
            let time = Interval { start, end: start.plus(Millis::new(length)) };
            taken.push(Taken { time, places: u32::try_from(places.value()).unwrap_or(u32::MAX) });
        }
        next_length = length.checked_add(1);
    }
    Ok(taken)
}

/// The key under which bookings of this time are counted.
fn place(booking: &Booking) -> (&str, u64, u64) {
    (booking.calendar.as_str(), booking.end.since(booking.start).get(), booking.start.as_millis())
}

fn take(batch: &mut Batch<'_, '_>, booking: &Booking) -> Result<(), StoreError> {
    let taken = batch.tables.places.get(place(booking))?.map_or(0, |places| places.value());
    batch.tables.places.insert(place(booking), taken.saturating_add(1))?;
    batch.tallies.add(Tally::Places, booking.calendar.as_str());
    Ok(())
}

fn free(batch: &mut Batch<'_, '_>, booking: &Booking) -> Result<(), StoreError> {
    let taken = batch.tables.places.get(place(booking))?.map_or(0, |places| places.value());
    match taken {
        0 => return Ok(()),
        1 => {
            batch.tables.places.remove(place(booking))?;
        }
        taken => {
            batch.tables.places.insert(place(booking), taken.saturating_sub(1))?;
        }
    }
    batch.tallies.subtract(Tally::Places, booking.calendar.as_str());
    Ok(())
}

fn write(batch: &mut Batch<'_, '_>, id: BookingId, booking: &Booking) -> Result<(), StoreError> {
    batch.tables.bookings.insert(id.get(), codec::encode(booking)?.as_slice())?;
    batch.dirty = true;
    Ok(())
}

fn find(batch: &Batch<'_, '_>, id: BookingId) -> Result<Option<Booking>, StoreError> {
    batch.tables.bookings.get(id.get())?.map(|row| codec::decode(id, row.value())).transpose()
}
