//! Defines calendars, which are resources with opening hours, and computes the slots that they
//! offer.
//!
//! [`Calendar::slot_at`] alone decides if a start exists and can be booked now. Lists of slots use
//! the same function. Opening hours are wall-clock times in the time zone of the calendar. On the
//! day of a clock change, a time that does not exist is left out. A time that occurs twice means
//! its first occurrence.
//!
//! See [`crate::domain::booking::availability`] for the free places of a slot.

mod opening_hours;
mod spec;

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::occupancy::Interval;
pub use super::slot::{Slot, SlotRefused};
use crate::domain::ids::CalendarName;
use crate::domain::time::Timestamp;
pub use opening_hours::{InvalidTimeRange, TimeRange};
pub use spec::{CalendarError, CalendarSpec};

/// Validated calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    spec: CalendarSpec,
    slot_minutes: u16,
    /// Minutes from one start to the next: slot length and buffer.
    step_minutes: u16,
}

impl Calendar {
    /// Validates `spec`. The ranges of a day may be in any order.
    ///
    /// # Errors
    /// [`CalendarError`] with the first problem of `spec`.
    pub fn new(mut spec: CalendarSpec) -> Result<Self, CalendarError> {
        let minutes = spec.validate()?;
        Ok(Self {
            spec,
            slot_minutes: minutes.slot,
            step_minutes: minutes.slot.saturating_add(minutes.buffer),
        })
    }

    /// Returns the calendar name.
    #[must_use]
    pub const fn name(&self) -> &CalendarName {
        &self.spec.name
    }

    /// Returns the maximum number of bookings at the same time.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.spec.capacity
    }

    /// Returns the time zone of the opening hours.
    #[must_use]
    pub const fn time_zone(&self) -> &TimeZone {
        &self.spec.time_zone
    }

    /// Returns the date in the time zone of the calendar at `now`.
    #[must_use]
    pub fn local_date(&self, now: Timestamp) -> Date {
        self.spec.time_zone.to_datetime(now.to_jiff()).date()
    }

    /// Returns the first and the last date that can be booked at `now`. The first date is the date
    /// on which the minimum notice is over.
    #[must_use]
    pub fn bookable_dates(&self, now: Timestamp) -> (Date, Date) {
        let date_after = |length| self.local_date(now.plus(length));
        (
            date_after(self.spec.min_notice),
            date_after(self.spec.max_advance),
        )
    }

    /// Returns the slot that starts at `time` on `date` if the slot exists and can be booked at
    /// `now`. The function does not check if a place is left. A call takes about a microsecond,
    /// because the function builds no list.
    ///
    /// # Errors
    /// [`SlotRefused`], but never [`SlotRefused::Full`]. A past time gives [`SlotRefused::Past`]
    /// also if the calendar was closed.
    pub fn slot_at(&self, date: Date, time: Time, now: Timestamp) -> Result<Slot, SlotRefused> {
        let start = self.to_timestamp(date, time);
        if start.is_some_and(|start| start <= now) {
            return Err(SlotRefused::Past);
        }
        let minute =
            u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        let ranges = self.hours_on(date);
        let range = ranges
            .iter()
            .find(|range| (range.start..range.end).contains(&minute))
            .ok_or(SlotRefused::Closed)?;
        let on_grid = minute.abs_diff(range.start).checked_rem(self.step_minutes) == Some(0);
        let whole = time.second() == 0 && time.subsec_nanosecond() == 0;
        if !on_grid || !whole || minute.saturating_add(self.slot_minutes) > range.end {
            return Err(SlotRefused::NotASlot);
        }
        let start = start.ok_or(SlotRefused::NotASlot)?;
        if start < now.plus(self.spec.min_notice) {
            return Err(SlotRefused::TooSoon);
        }
        if start > now.plus(self.spec.max_advance) {
            return Err(SlotRefused::TooFar);
        }
        Ok(Slot {
            start,
            end: start.plus(self.spec.slot_length),
            date,
            time,
        })
    }

    /// Returns all slots of a date that can be booked at `now`, in order of time, including slots
    /// without a free place. The iterator computes each slot on demand, because a time-zone
    /// conversion is expensive.
    pub fn available_starts(&self, date: Date, now: Timestamp) -> impl Iterator<Item = Slot> {
        let step = usize::from(self.step_minutes.max(1));
        let minutes = move |range: &TimeRange| {
            let last = range.end.saturating_sub(self.slot_minutes);
            (range.start..=last).step_by(step)
        };
        let ranges = self.hours_on(date).iter().flat_map(minutes);
        ranges.filter_map(move |minute| {
            time_of_minute(minute).and_then(|time| self.slot_at(date, time, now).ok())
        })
    }

    /// Returns the interval that a booking of `slot` occupies: the slot and the buffer after it.
    #[must_use]
    pub const fn occupied_interval(&self, slot: &Slot) -> Interval {
        Interval {
            start: slot.start,
            end: slot.end.plus(self.spec.buffer),
        }
    }

    fn hours_on(&self, date: Date) -> &[TimeRange] {
        if let Some(ranges) = self.spec.special_hours.get(&date) {
            return ranges;
        }
        if self.spec.closed_dates.contains(&date) {
            return &[];
        }
        let weekday = usize::from(date.weekday().to_monday_zero_offset().unsigned_abs());
        let hours = self.spec.weekly_hours.get(weekday);
        hours.map_or(&[], Vec::as_slice)
    }

    /// Returns the time at which the clock of the calendar shows `date` and `time`. A time that
    /// occurs twice gives the first occurrence, a time that never occurs gives `None`.
    fn to_timestamp(&self, date: Date, time: Time) -> Option<Timestamp> {
        let zone = &self.spec.time_zone;
        let local = zone.to_ambiguous_timestamp(date.to_datetime(time));
        if matches!(local.offset(), AmbiguousOffset::Gap { .. }) {
            return None;
        }
        local.earlier().ok().map(Timestamp::from_jiff)
    }
}

fn time_of_minute(minute: u16) -> Option<Time> {
    let part = |minutes: u16| i8::try_from(minutes).ok();
    Time::new(part(minute / 60)?, part(minute % 60)?, 0, 0).ok()
}

#[cfg(test)]
pub(crate) mod tests;
