//! Places in calendars: taken in the transaction that accepts a submission, freed or moved by an admin.
//!
//! Which times a calendar offers and whether one is free is decided in `crate::domain::{calendar, booking}`; here it is
//! looked up what is taken.

use std::sync::Arc;

use jiff::civil;
use redb::ReadableTable;

use crate::domain::arrival::Wish;
use crate::domain::booking::{self, Booking, BookingState, Interval};
use crate::domain::calendar::{Calendar, Slot, SlotRefused};
use crate::domain::ids::{BookingId, CalendarName, SubmissionId};
use crate::domain::time::Millis;

use super::batch::{Batch, Transaction};
use super::{StoreError, announce, codec};

/// Free slots told to a user whose choice is gone. A radio group takes 20 (*Flow JSON components*); fewer are read.
const OFFERED: usize = 8;

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
    Refused {
        /// Why.
        why: SlotRefused,
        /// The nearest ones that are free.
        free: Vec<Slot>,
    },
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
        free(batch, self.booking, &booking)?;
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
        let slot = match find_place(batch, &wish, Some(self.booking))? {
            Ok(slot) => slot,
            Err(why) => return Ok(BookingChanged::Refused { why, free: nearest_free(batch, &wish)? }),
        };
        free(batch, self.booking, &booking)?;
        let before = booking.clone();
        booking = booking.moved_to(&self.calendar, &slot);
        take(batch, self.booking, &booking)?;
        write(batch, self.booking, &booking)?;
        announce::booking(batch, self.booking, &booking, &before)?;
        Ok(BookingChanged::Now(booking))
    }
}

/// The slot that `wish` asks for, if it can be had. `except`: a booking that would give its own place up.
pub(super) fn find_place(
    batch: &Batch<'_, '_>,
    wish: &Wish,
    except: Option<BookingId>,
) -> Result<Result<Slot, SlotRefused>, StoreError> {
    let slot = match wish.calendar.slot_at(wish.date, wish.time, batch.now) {
        Ok(slot) => slot,
        Err(why) => return Ok(Err(why)),
    };
    let taken = taken(batch, wish.calendar.name(), wish.calendar.blocked(&slot), except)?;
    Ok(booking::reserve(&wish.calendar, slot, &taken))
}

/// The free slots nearest to the one that `wish` asks for.
pub(super) fn nearest_free(batch: &Batch<'_, '_>, wish: &Wish) -> Result<Vec<Slot>, StoreError> {
    let mut failure = None;
    let around = Some((wish.date, wish.time));
    let free = booking::nearest_free(&wish.calendar, around, batch.now, OFFERED, |window| {
        taken(batch, wish.calendar.name(), window, None).unwrap_or_else(|error| {
            failure = Some(error);
            Vec::new()
        })
    });
    failure.map_or(Ok(free), Err)
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
    take(batch, id, &booking)?;
    write(batch, id, &booking)?;
    Ok(id)
}

/// Times that overlap `window` and are taken, all but that of `except`.
fn taken(
    batch: &Batch<'_, '_>,
    calendar: &CalendarName,
    window: Interval,
    except: Option<BookingId>,
) -> Result<Vec<Interval>, StoreError> {
    let longest = batch.memory.longest.get(calendar).copied().unwrap_or(Millis::ZERO);
    read_taken(&batch.tables.taken, calendar, window, longest, except)
}

/// Times in `table` that overlap `window`. `longest`: the longest time that one booking of this calendar takes.
pub(super) fn read_taken(
    table: &impl ReadableTable<(&'static str, u64, u64), u64>,
    calendar: &CalendarName,
    window: Interval,
    longest: Millis,
    except: Option<BookingId>,
) -> Result<Vec<Interval>, StoreError> {
    use crate::domain::time::Timestamp;
    let name = calendar.as_str();
    let first = window.start.minus(longest).as_millis();
    let mut taken = Vec::new();
    for row in table.range((name, first, 0)..(name, window.end.as_millis(), 0))? {
        let (key, end) = row?;
        let (_, start, id) = key.value();
        let interval = Interval { start: Timestamp::from_millis(start), end: Timestamp::from_millis(end.value()) };
        if interval.end > window.start && except != Some(BookingId::new(id)) {
            taken.push(interval);
        }
    }
    Ok(taken)
}

fn take(batch: &mut Batch<'_, '_>, id: BookingId, booking: &Booking) -> Result<(), StoreError> {
    let key = (booking.calendar.as_str(), booking.start.as_millis(), id.get());
    batch.tables.taken.insert(key, booking.end.as_millis())?;
    let length = booking.end.since(booking.start);
    let longest = batch.memory.longest.entry(booking.calendar.clone()).or_insert(length);
    *longest = length.max(*longest);
    Ok(())
}

fn free(batch: &mut Batch<'_, '_>, id: BookingId, booking: &Booking) -> Result<(), StoreError> {
    batch.tables.taken.remove((booking.calendar.as_str(), booking.start.as_millis(), id.get()))?;
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
