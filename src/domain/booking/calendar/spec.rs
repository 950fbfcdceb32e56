//! Defines the settings of a calendar and their validation.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::opening_hours::{DAY_MINUTES, TimeRange};
use crate::domain::ids::CalendarName;
use crate::domain::time::Millis;

const MINUTE: Millis = Millis::from_secs(60);
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Settings of a calendar, before validation.
#[derive(Clone, Debug, PartialEq)]
pub struct CalendarSpec {
    /// Calendar name.
    pub name: CalendarName,
    /// Time zone of the opening hours.
    pub time_zone: TimeZone,
    /// Opening hours by weekday, Monday first. Breaks are the gaps between the ranges.
    pub weekly_hours: [Vec<TimeRange>; 7],
    /// Dates on which the calendar is closed.
    pub closed_dates: BTreeSet<Date>,
    /// Opening hours of single dates. Special hours replace the weekly hours and override the
    /// closed dates.
    pub special_hours: BTreeMap<Date, Vec<TimeRange>>,
    /// Length of a booking: whole minutes, maximum 24 hours.
    pub slot_length: Millis,
    /// Time that stays free after each booking: whole minutes, maximum 24 hours.
    pub buffer: Millis,
    /// Maximum number of bookings at the same time, minimum 1.
    pub capacity: u32,
    /// Maximum time from now to the start of a booking.
    pub max_advance: Millis,
    /// Minimum time from now to the start of a booking.
    pub min_notice: Millis,
}

/// Reason why a [`CalendarSpec`] is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// The slot length is not a valid length of a booking.
    #[error("slot_length must be whole minutes, from 1 minute to 24 hours")]
    InvalidSlotLength,
    /// The buffer is not a valid length.
    #[error("buffer must be whole minutes, up to 24 hours")]
    InvalidBuffer,
    /// The capacity is 0.
    #[error("capacity must be at least 1")]
    ZeroCapacity,
    /// The minimum notice is longer than the maximum advance, so no start can be booked.
    #[error("min_notice is longer than max_advance: no slot could ever be booked")]
    NoticeExceedsAdvance,
    /// Two ranges of the same day overlap.
    #[error("{day}: {first} and {second} overlap")]
    OverlappingHours {
        /// Weekday or date.
        day: String,
        /// Earlier range.
        first: TimeRange,
        /// Later range.
        second: TimeRange,
    },
    /// The opening hours are shorter than one slot.
    #[error("{day}: no slot of {slot_minutes} minutes fits into {range}")]
    HoursTooShort {
        /// Weekday or date.
        day: String,
        /// Range that is too short.
        range: TimeRange,
        /// Length of a slot in minutes.
        slot_minutes: u16,
    },
    /// The calendar has no opening hours at all.
    #[error("the calendar is never open: add opening hours")]
    NeverOpen,
}

/// Lengths of a validated calendar, in minutes.
pub(super) struct SlotMinutes {
    pub(super) slot: u16,
    pub(super) buffer: u16,
}

impl CalendarSpec {
    /// Validates the settings, and sorts the ranges of each day.
    ///
    /// # Errors
    /// [`CalendarError`] with the first problem.
    pub(super) fn validate(&mut self) -> Result<SlotMinutes, CalendarError> {
        let slot = whole_minutes(self.slot_length)
            .filter(|minutes| *minutes > 0)
            .ok_or(CalendarError::InvalidSlotLength)?;
        let buffer = whole_minutes(self.buffer).ok_or(CalendarError::InvalidBuffer)?;
        if self.capacity == 0 {
            return Err(CalendarError::ZeroCapacity);
        }
        if self.min_notice > self.max_advance {
            return Err(CalendarError::NoticeExceedsAdvance);
        }
        for (name, ranges) in WEEKDAYS.iter().zip(&mut self.weekly_hours) {
            validate_day(name, ranges, slot)?;
        }
        for (date, ranges) in &mut self.special_hours {
            validate_day(&date.to_string(), ranges, slot)?;
        }
        let mut days = self.weekly_hours.iter().chain(self.special_hours.values());
        if days.all(Vec::is_empty) {
            return Err(CalendarError::NeverOpen);
        }
        Ok(SlotMinutes { slot, buffer })
    }
}

/// Returns `length` in minutes. Returns `None` unless `length` is whole minutes, at most 24 hours.
fn whole_minutes(length: Millis) -> Option<u16> {
    let is_whole = length.get().is_multiple_of(MINUTE.get());
    let minutes = u16::try_from(length.get() / MINUTE.get()).ok()?;
    (is_whole && minutes <= DAY_MINUTES).then_some(minutes)
}

fn validate_day(
    day: &str,
    ranges: &mut [TimeRange],
    slot_minutes: u16,
) -> Result<(), CalendarError> {
    ranges.sort_unstable();
    let is_too_short = |range: &&TimeRange| range.end - range.start < slot_minutes;
    if let Some(range) = ranges.iter().find(is_too_short).copied() {
        let day = day.to_owned();
        return Err(CalendarError::HoursTooShort {
            day,
            range,
            slot_minutes,
        });
    }
    let mut neighbors = ranges.iter().zip(ranges.iter().skip(1));
    match neighbors.find(|(first, second)| second.start < first.end) {
        Some((first, second)) => Err(CalendarError::OverlappingHours {
            day: day.to_owned(),
            first: *first,
            second: *second,
        }),
        None => Ok(()),
    }
}
