//! Defines calendars, which are resources with opening hours, and computes the slots that they
//! offer.
//!
//! [`Calendar::slot_at`] alone decides if a start exists and can be booked now. Lists of slots use
//! the same function. Opening hours are wall-clock times in the time zone of the calendar. On the
//! day of a clock change, a time that does not exist is left out. A time that occurs twice means
//! its first occurrence.
//!
//! See [`crate::domain::booking`] for the number of occupied places.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::Interval;
use crate::domain::ids::CalendarName;
use crate::domain::time::{Millis, Timestamp};

const MINUTE: Millis = Millis::from_secs(60);
const DAY_MINUTES: u16 = 24 * 60;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Opening hours within one day, from a start minute of the day to an end minute, which is
/// excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeRange {
    start: u16,
    end: u16,
}

/// Error for a text that is not a [`TimeRange`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a valid time range: write it like \"09:00-12:30\", from 00:00 up to 24:00, the end after the start"
)]
pub struct InvalidTimeRange(String);

impl TimeRange {
    /// Parses a text such as `09:00-12:30`. `24:00` is the end of the day.
    ///
    /// # Errors
    /// [`InvalidTimeRange`] if the text has another format or if the end is not after the start.
    pub fn parse(text: &str) -> Result<Self, InvalidTimeRange> {
        let range = text.split_once('-').and_then(|(start, end)| {
            let (start, end) = (minute_of_day(start.trim())?, minute_of_day(end.trim())?);
            (start < end).then_some(Self { start, end })
        });
        range.ok_or_else(|| InvalidTimeRange(text.to_owned()))
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start, self.end);
        write!(
            f,
            "{:02}:{:02}-{:02}:{:02}",
            start / 60,
            start % 60,
            end / 60,
            end % 60
        )
    }
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |part: &str| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())
    };
    let (hours, minutes): (u16, u16) = (two_digits(hours)??, two_digits(minutes)??);
    let minute = hours.checked_mul(60)?.checked_add(minutes)?;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}

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

/// Reason why a start can't be booked. `Display` is a sentence for the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotRefused {
    /// The start is now or in the past.
    #[error("This time is in the past. Please choose another.")]
    Past,
    /// The start is earlier than the minimum notice allows.
    #[error("This time is too soon to be booked. Please choose a later one.")]
    TooSoon,
    /// The start is later than the maximum advance allows.
    #[error("This time is too far ahead. Please choose an earlier one.")]
    TooFar,
    /// The calendar is closed at this time.
    #[error("We are closed at this time. Please choose another.")]
    Closed,
    /// The calendar is open, but no slot starts at this time.
    #[error("No appointment begins at this time. Please choose another.")]
    NotASlot,
    /// All places of the slot are occupied.
    #[error("This time has just been taken. Please choose another.")]
    Full,
}

impl SlotRefused {
    /// Returns the name of the reason in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Past => "past",
            Self::TooSoon => "too_soon",
            Self::TooFar => "too_far",
            Self::Closed => "closed",
            Self::NotASlot => "not_a_slot",
            Self::Full => "full",
        }
    }
}

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
        let slot_minutes = whole_minutes(spec.slot_length)
            .filter(|minutes| *minutes > 0)
            .ok_or(CalendarError::InvalidSlotLength)?;
        let buffer_minutes = whole_minutes(spec.buffer).ok_or(CalendarError::InvalidBuffer)?;
        if spec.capacity == 0 {
            return Err(CalendarError::ZeroCapacity);
        }
        if spec.min_notice > spec.max_advance {
            return Err(CalendarError::NoticeExceedsAdvance);
        }
        for (name, ranges) in WEEKDAYS.iter().zip(&mut spec.weekly_hours) {
            validate_day(name, ranges, slot_minutes)?;
        }
        for (date, ranges) in &mut spec.special_hours {
            validate_day(&date.to_string(), ranges, slot_minutes)?;
        }
        if spec
            .weekly_hours
            .iter()
            .chain(spec.special_hours.values())
            .all(Vec::is_empty)
        {
            return Err(CalendarError::NeverOpen);
        }
        Ok(Self {
            spec,
            slot_minutes,
            step_minutes: slot_minutes.saturating_add(buffer_minutes),
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

    /// Returns the first date that can be booked at `now`: the date on which the minimum notice is
    /// over.
    #[must_use]
    pub fn first_bookable_date(&self, now: Timestamp) -> Date {
        self.local_date(now.plus(self.spec.min_notice))
    }

    /// Returns the last date that can be booked at `now`.
    #[must_use]
    pub fn last_bookable_date(&self, now: Timestamp) -> Date {
        self.local_date(now.plus(self.spec.max_advance))
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
    /// without a free place.
    #[must_use]
    pub fn collect_available_starts(&self, date: Date, now: Timestamp) -> Vec<Slot> {
        self.available_starts(date, now).collect()
    }

    /// Returns the same slots as an iterator. The iterator computes each slot on demand, because a
    /// time-zone conversion is expensive.
    pub(crate) fn available_starts(
        &self,
        date: Date,
        now: Timestamp,
    ) -> impl Iterator<Item = Slot> {
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
        self.spec
            .weekly_hours
            .get(weekday)
            .map_or(&[], Vec::as_slice)
    }

    /// Returns the time at which the clock of the calendar shows `date` and `time`. A time that
    /// occurs twice gives the first occurrence, a time that never occurs gives `None`.
    fn to_timestamp(&self, date: Date, time: Time) -> Option<Timestamp> {
        let local = self
            .spec
            .time_zone
            .to_ambiguous_timestamp(date.to_datetime(time));
        if matches!(local.offset(), AmbiguousOffset::Gap { .. }) {
            return None;
        }
        local.earlier().ok().map(Timestamp::from_jiff)
    }
}

/// Returns `length` in minutes. Returns `None` unless `length` is whole minutes, at most 24 hours.
fn whole_minutes(length: Millis) -> Option<u16> {
    let whole = length.get().checked_rem(MINUTE.get()) == Some(0);
    let minutes = length
        .get()
        .checked_div(MINUTE.get())
        .and_then(|minutes| u16::try_from(minutes).ok())?;
    (whole && minutes <= DAY_MINUTES).then_some(minutes)
}

fn time_of_minute(minute: u16) -> Option<Time> {
    let (hour, minute) = (
        i8::try_from(minute / 60).ok()?,
        i8::try_from(minute % 60).ok()?,
    );
    Time::new(hour, minute, 0, 0).ok()
}

fn validate_day(
    day: &str,
    ranges: &mut [TimeRange],
    slot_minutes: u16,
) -> Result<(), CalendarError> {
    ranges.sort_unstable();
    for span in ranges.iter() {
        if span.end - span.start < slot_minutes {
            return Err(CalendarError::HoursTooShort {
                day: day.to_owned(),
                range: *span,
                slot_minutes,
            });
        }
    }
    let overlap = ranges
        .iter()
        .zip(ranges.iter().skip(1))
        .find(|(first, other)| other.start < first.end);
    match overlap {
        Some((first, second)) => Err(CalendarError::OverlappingHours {
            day: day.to_owned(),
            first: *first,
            second: *second,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
