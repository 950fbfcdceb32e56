//! A resource with opening hours: which starts it offers, and whether one can be booked.
//!
//! [`Calendar::slot_at`] is the one function that says whether a start exists and may be booked now; lists of slots are
//! made of the same. How many places are taken is `super::booking`'s question. Opening hours are wall-clock times of
//! the calendar's zone: on the day of a clock change a time that does not exist is left out, and one that comes twice
//! is meant the first time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::booking::Interval;
use super::ids::CalendarName;
use super::time::{Millis, Timestamp};

const MINUTE: Millis = Millis::from_secs(60);
const DAY_MINUTES: u16 = 24 * 60;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Opening hours of one day: from a minute of the day up to another, which is excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    start: u16,
    end: u16,
}

/// A text that is no [`Span`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no opening time: write it like \"09:00-12:30\", from 00:00 up to 24:00, the end after the start")]
pub struct InvalidSpan(String);

impl Span {
    /// Reads `09:00-12:30`. `24:00` is the end of the day.
    ///
    /// # Errors
    /// [`InvalidSpan`] for anything else, and where the end is not after the start.
    pub fn parse(text: &str) -> Result<Self, InvalidSpan> {
        let span = text.split_once('-').and_then(|(start, end)| {
            let (start, end) = (minute_of_day(start.trim())?, minute_of_day(end.trim())?);
            (start < end).then_some(Self { start, end })
        });
        span.ok_or_else(|| InvalidSpan(text.to_owned()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start, self.end);
        write!(f, "{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
    }
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits =
        |part: &str| (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok());
    let (hours, minutes): (u16, u16) = (two_digits(hours)??, two_digits(minutes)??);
    let minute = hours.checked_mul(60)?.checked_add(minutes)?;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}

/// What a calendar is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct CalendarSpec {
    /// Its name.
    pub name: CalendarName,
    /// Where its clock hangs.
    pub zone: TimeZone,
    /// Opening hours by weekday, Monday first. Breaks are the gaps between spans.
    pub week: [Vec<Span>; 7],
    /// Days off.
    pub closed: BTreeSet<Date>,
    /// Single days with hours of their own, over the week's and over days off.
    pub opened: BTreeMap<Date, Vec<Span>>,
    /// How long a booking lasts: whole minutes, up to a day.
    pub slot: Millis,
    /// What is kept free after each: whole minutes, up to a day.
    pub buffer: Millis,
    /// How many can be booked at the same time, 1 or more.
    pub capacity: u32,
    /// How far ahead a start may lie.
    pub ahead: Millis,
    /// How far ahead a start must lie.
    pub notice: Millis,
}

/// Why a [`CalendarSpec`] makes no calendar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarProblem {
    /// Not a length that a booking can have.
    #[error("slot must be whole minutes, from 1 minute to 24 hours")]
    Slot,
    /// Not a length that can be kept free.
    #[error("buffer must be whole minutes, up to 24 hours")]
    Buffer,
    /// No place at all.
    #[error("capacity must be at least 1")]
    Capacity,
    /// The horizon lies before the earliest start.
    #[error("notice is longer than ahead: nothing could ever be booked")]
    Notice,
    /// Two spans of one day have time in common.
    #[error("{day}: {one} and {other} overlap")]
    Overlap {
        /// The day.
        day: String,
        /// The earlier one.
        one: Span,
        /// The later one.
        other: Span,
    },
    /// Hours into which no booking fits.
    #[error("{day}: no slot of {minutes} minutes fits into {span}")]
    TooShort {
        /// The day.
        day: String,
        /// The hours.
        span: Span,
        /// The length of a slot.
        minutes: u16,
    },
    /// No opening hours at all.
    #[error("it is never open")]
    NeverOpen,
}

/// One start that a calendar offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// When it begins.
    pub start: Timestamp,
    /// When it ends; the buffer comes behind.
    pub end: Timestamp,
    /// The day on the calendar's clock.
    pub date: Date,
    /// The time on the calendar's clock.
    pub time: Time,
}

impl Slot {
    /// What forms carry: `2027-01-04T09:00`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}T{}", self.date, self.clock_time())
    }

    /// What people read: `Mon 4 Jan, 09:00`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}, {}", self.date.strftime("%a %-d %b"), self.clock_time())
    }

    /// `09:00`.
    #[must_use]
    pub fn clock_time(&self) -> String {
        format!("{:02}:{:02}", self.time.hour(), self.time.minute())
    }
}

/// Why a start can't be booked. `Display` is a sentence for the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotRefused {
    /// It has begun.
    #[error("This time is in the past. Please choose another.")]
    Past,
    /// It begins too soon.
    #[error("This time is too soon to be booked. Please choose a later one.")]
    TooSoon,
    /// It lies too far ahead.
    #[error("This time is too far ahead. Please choose an earlier one.")]
    TooFar,
    /// The calendar is closed then.
    #[error("We are closed at this time. Please choose another.")]
    Closed,
    /// Open, but no booking begins then.
    #[error("No appointment begins at this time. Please choose another.")]
    NotASlot,
    /// All places are taken.
    #[error("This time has just been taken. Please choose another.")]
    Full,
}

impl SlotRefused {
    /// The name that logs show.
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

/// A calendar: checked, and ready to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    spec: CalendarSpec,
    slot_minutes: u16,
    /// From one start to the next: slot and buffer.
    step_minutes: u16,
}

impl Calendar {
    /// Checks `spec`. Spans may come in any order.
    ///
    /// # Errors
    /// [`CalendarProblem`] says what is wrong with it.
    pub fn new(mut spec: CalendarSpec) -> Result<Self, CalendarProblem> {
        let slot_minutes = minutes(spec.slot).filter(|minutes| *minutes > 0).ok_or(CalendarProblem::Slot)?;
        let buffer_minutes = minutes(spec.buffer).ok_or(CalendarProblem::Buffer)?;
        if spec.capacity == 0 {
            return Err(CalendarProblem::Capacity);
        }
        if spec.notice > spec.ahead {
            return Err(CalendarProblem::Notice);
        }
        for (name, spans) in WEEKDAYS.iter().zip(&mut spec.week) {
            check_day(name, spans, slot_minutes)?;
        }
        for (date, spans) in &mut spec.opened {
            check_day(&date.to_string(), spans, slot_minutes)?;
        }
        if spec.week.iter().chain(spec.opened.values()).all(Vec::is_empty) {
            return Err(CalendarProblem::NeverOpen);
        }
        Ok(Self { spec, slot_minutes, step_minutes: slot_minutes.saturating_add(buffer_minutes) })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &CalendarName {
        &self.spec.name
    }

    /// How many can be booked at the same time.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.spec.capacity
    }

    /// Where its clock hangs.
    #[must_use]
    pub const fn zone(&self) -> &TimeZone {
        &self.spec.zone
    }

    /// The day that its clock shows at `now`.
    #[must_use]
    pub fn day_of(&self, now: Timestamp) -> Date {
        self.spec.zone.to_datetime(now.to_jiff()).date()
    }

    /// The first day on which something can be booked at `now`: the notice has passed by then.
    #[must_use]
    pub fn first_day(&self, now: Timestamp) -> Date {
        self.day_of(now.plus(self.spec.notice))
    }

    /// The last day on which something can be booked at `now`.
    #[must_use]
    pub fn last_day(&self, now: Timestamp) -> Date {
        self.day_of(now.plus(self.spec.ahead))
    }

    /// The start at `time` on `date`, if there is one and it may be booked at `now`. Whether a place is left is not
    /// asked. Costs about a microsecond: no list is made.
    ///
    /// # Errors
    /// [`SlotRefused`], never [`SlotRefused::Full`]. A past time is called so even where the calendar was closed.
    pub fn slot_at(&self, date: Date, time: Time, now: Timestamp) -> Result<Slot, SlotRefused> {
        let start = self.instant(date, time);
        if start.is_some_and(|start| start <= now) {
            return Err(SlotRefused::Past);
        }
        let minute = u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        let spans = self.spans(date);
        let span = spans.iter().find(|span| (span.start..span.end).contains(&minute)).ok_or(SlotRefused::Closed)?;
        let on_grid = minute.abs_diff(span.start).checked_rem(self.step_minutes) == Some(0);
        let whole = time.second() == 0 && time.subsec_nanosecond() == 0;
        if !on_grid || !whole || minute.saturating_add(self.slot_minutes) > span.end {
            return Err(SlotRefused::NotASlot);
        }
        let start = start.ok_or(SlotRefused::NotASlot)?;
        if start < now.plus(self.spec.notice) {
            return Err(SlotRefused::TooSoon);
        }
        if start > now.plus(self.spec.ahead) {
            return Err(SlotRefused::TooFar);
        }
        Ok(Slot { start, end: start.plus(self.spec.slot), date, time })
    }

    /// All starts of a day that may be booked at `now`, in order, whether or not a place is left.
    #[must_use]
    pub fn offered_on(&self, date: Date, now: Timestamp) -> Vec<Slot> {
        self.offers(date, now).collect()
    }

    /// The same one by one, each looked at when it is asked for: a time zone makes them costly.
    pub(super) fn offers(&self, date: Date, now: Timestamp) -> impl Iterator<Item = Slot> {
        let step = usize::from(self.step_minutes.max(1));
        let minutes = move |span: &Span| {
            let last = span.end.saturating_sub(self.slot_minutes);
            (span.start..=last).step_by(step)
        };
        let spans = self.spans(date).iter().flat_map(minutes);
        spans.filter_map(move |minute| time_of(minute).and_then(|time| self.slot_at(date, time, now).ok()))
    }

    /// The time that a booking of `slot` takes: the slot and the buffer behind it.
    #[must_use]
    pub const fn blocked(&self, slot: &Slot) -> Interval {
        Interval { start: slot.start, end: slot.end.plus(self.spec.buffer) }
    }

    fn spans(&self, date: Date) -> &[Span] {
        if let Some(spans) = self.spec.opened.get(&date) {
            return spans;
        }
        if self.spec.closed.contains(&date) {
            return &[];
        }
        let weekday = usize::from(date.weekday().to_monday_zero_offset().unsigned_abs());
        self.spec.week.get(weekday).map_or(&[], Vec::as_slice)
    }

    /// The moment at which the calendar's clock shows this; the first one where it does so twice, `None` where never.
    fn instant(&self, date: Date, time: Time) -> Option<Timestamp> {
        let local = self.spec.zone.to_ambiguous_timestamp(date.to_datetime(time));
        if matches!(local.offset(), AmbiguousOffset::Gap { .. }) {
            return None;
        }
        local.earlier().ok().map(Timestamp::from_jiff)
    }
}

/// Whole minutes up to a day.
fn minutes(length: Millis) -> Option<u16> {
    let whole = length.get().checked_rem(MINUTE.get()) == Some(0);
    let minutes = length.get().checked_div(MINUTE.get()).and_then(|minutes| u16::try_from(minutes).ok())?;
    (whole && minutes <= DAY_MINUTES).then_some(minutes)
}

fn time_of(minute: u16) -> Option<Time> {
    let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
    Time::new(hour, minute, 0, 0).ok()
}

fn check_day(day: &str, spans: &mut [Span], slot_minutes: u16) -> Result<(), CalendarProblem> {
    spans.sort_unstable();
    for span in spans.iter() {
        if span.end - span.start < slot_minutes {
            return Err(CalendarProblem::TooShort { day: day.to_owned(), span: *span, minutes: slot_minutes });
        }
    }
    let overlap = spans.iter().zip(spans.iter().skip(1)).find(|(one, other)| other.start < one.end);
    match overlap {
        Some((one, other)) => Err(CalendarProblem::Overlap { day: day.to_owned(), one: *one, other: *other }),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests;
