//! Answers the requests `bookings` and `slots`.

use std::ops::ControlFlow::{Break, Continue};

use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::list::{LimitedSink, check_state, for_each_page};
use crate::admin::context::{AdminContext, RowSink, send_rows};
use crate::admin::error::AdminError;
use crate::admin::protocol::{ListFilter, SlotFilter};
use crate::admin::responses::{BookingRow, CalendarRow, QueryRow, SlotRow};
use crate::admin::text::join_or_none;
use crate::domain::booking::calendar::Calendar;
use crate::domain::booking::{Booking, BookingState, Interval};
use crate::domain::day_range::DayRange;
use crate::domain::ids::{BookingId, CalendarName};
use crate::domain::time::Timestamp;
use crate::store::{Snapshot, StoreError};

/// Maximum number of days in one response about slots, for each calendar.
const DAYS_MAX: usize = 400;

pub(super) fn list_bookings(
    context: &AdminContext,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    check_state(filter, &["confirmed", "cancelled"])?;
    let (catalog, now) = (context.catalog(), context.now());
    let is_wanted = |booking: &Booking| {
        let calendar = catalog.calendars.get(&booking.calendar);
        let is_on_day = |days: DayRange| {
            let (first, last) = days.resolve(today(calendar.map(AsRef::as_ref), now));
            let date = booking.date.parse::<Date>();
            date.is_ok_and(|date| (first..=last).contains(&date))
        };
        // Who asks for a day wants to know who comes.
        let is_in_state = match (&filter.state, filter.days) {
            (None, Some(_)) => booking.state == BookingState::Confirmed,
            _ => filter.matches_state(booking.state.as_str()),
        };
        let is_in_calendar = |name: &CalendarName| *name == booking.calendar;
        is_in_state
            && filter.calendar.as_ref().is_none_or(is_in_calendar)
            && filter.days.is_none_or(is_on_day)
    };
    let filter_row = |snapshot: &Snapshot, _: &_, id, booking: Booking| {
        if filter.starts_after(booking.created_at) {
            return Ok(Break(()));
        }
        Ok(Continue(if is_wanted(&booking) {
            Some(booking_row(context, snapshot, id, booking)?)
        } else {
            None
        }))
    };
    let mut sink = LimitedSink::new(filter.limit, sink);
    let mut is_empty = true;
    if filter.days.is_none() {
        for_each_page(context, filter_row, |row| {
            is_empty = false;
            sink.send(row)
        })?;
    } else {
        let mut rows = Vec::new();
        for_each_page(context, filter_row, |row| {
            rows.push(row);
            Ok(true)
        })?;
        is_empty = rows.is_empty();
        // Unreadable rows come last.
        rows.sort_by_key(|row| match row {
            QueryRow::Row(BookingRow {
                start, calendar, ..
            }) => (*start, calendar.to_string()),
            QueryRow::Unreadable(_) => (Timestamp::MAX, String::new()),
        });
        for row in rows {
            if !sink.send(row)? {
                break;
            }
        }
    }
    match &filter.calendar {
        // A calendar that the config no longer has may still have bookings.
        Some(name) if is_empty => check_calendar(context, name),
        _ => Ok(()),
    }
}

/// Returns the current date in the time zone of a calendar, or in UTC.
fn today(calendar: Option<&Calendar>, now: Timestamp) -> Date {
    calendar.map_or_else(
        || TimeZone::UTC.to_datetime(now.to_jiff()).date(),
        |calendar| calendar.local_date(now),
    )
}

/// Returns the row of a booking with its customer. If the submission is unreadable, the customer is
/// missing.
pub(in crate::admin) fn booking_row(
    context: &AdminContext,
    snapshot: &Snapshot,
    id: BookingId,
    booking: Booking,
) -> Result<BookingRow, StoreError> {
    let form = match snapshot.found_submission(booking.submission_id) {
        Err(error) if error.affects_one_row() => None,
        found => found?,
    };
    let catalog = context.catalog();
    let calendar = catalog.calendars.get(&booking.calendar);
    let calendar = calendar.map(AsRef::as_ref);
    Ok(BookingRow::new(id, booking, form.as_ref(), calendar))
}

/// Refuses a calendar that the config does not have.
fn check_calendar(context: &AdminContext, name: &CalendarName) -> Result<(), AdminError> {
    let catalog = context.catalog();
    if catalog.calendars.contains_key(name) {
        return Ok(());
    }
    let known: Vec<&str> = catalog.calendars.keys().map(CalendarName::as_str).collect();
    Err(AdminError::not_found(format!(
        "there is no calendar {name}: the config has {}",
        join_or_none(&known)
    )))
}

pub(super) fn get_booking(context: &AdminContext, id: BookingId) -> Result<BookingRow, AdminError> {
    let snapshot = context.snapshot()?;
    let found = snapshot.booking(id)?;
    let booking = found.ok_or_else(|| AdminError::missing("booking", id))?;
    Ok(booking_row(context, &snapshot, id, booking)?)
}

pub(super) fn list_calendars(
    context: &AdminContext,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let (catalog, feeds) = (context.catalog(), context.snapshot()?.feeds()?);
    let calendars = catalog.calendars.values();
    send_rows(
        sink,
        calendars.map(|calendar| CalendarRow::new(calendar, &feeds)),
    )
}

pub(super) fn list_slots(
    context: &AdminContext,
    filter: &SlotFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let catalog = context.catalog();
    if let Some(name) = &filter.calendar {
        check_calendar(context, name)?;
    }
    let mut sink = LimitedSink::new(filter.limit, sink);
    for calendar in catalog.calendars.values() {
        let is_wanted = |name: &CalendarName| name == calendar.name();
        if filter.calendar.as_ref().is_none_or(is_wanted)
            && !send_slots(context, calendar, filter, &mut sink)?
        {
            break;
        }
    }
    Ok(())
}

/// Sends the bookable slots of one calendar. Returns `false` if no more rows are wanted.
fn send_slots(
    context: &AdminContext,
    calendar: &Calendar,
    filter: &SlotFilter,
    sink: &mut LimitedSink<'_, '_>,
) -> Result<bool, AdminError> {
    let now = context.now();
    let today = calendar.local_date(now);
    let (first, last) = if let Some(days) = filter.days {
        days.resolve(today)
    } else {
        let first = filter.from.unwrap_or(today).max(today);
        let week = || first.saturating_add(Span::new().days(6));
        (first, filter.to.unwrap_or_else(week))
    };
    let first = first.max(today);
    let last = last.min(calendar.bookable_dates(now).1);
    let days = first.series(Span::new().days(1));
    let is_included = |date: &Date| *date <= last;
    for date in days.take_while(is_included).take(DAYS_MAX) {
        let slots: Vec<_> = calendar.available_starts(date, now).collect();
        let (Some(earliest), Some(latest)) = (slots.first(), slots.last()) else {
            continue;
        };
        let day = Interval {
            start: earliest.start,
            end: calendar.occupied_interval(latest).end,
        };
        let taken = context.snapshot()?.occupancy(calendar.name(), day)?;
        for slot in &slots {
            if !sink.send(SlotRow::new(calendar, slot, &taken))? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
