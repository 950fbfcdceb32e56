//! Answers the requests `bookings` and `slots`.

use std::ops::ControlFlow::{Break, Continue};

use jiff::Span;
use jiff::civil::Date;

use super::list::{LimitedSink, send_list};
use crate::admin::context::{AdminContext, RowSink};
use crate::admin::error::AdminError;
use crate::admin::protocol::{ListFilter, SlotFilter};
use crate::admin::responses::{BookingRow, SlotRow};
use crate::admin::text::join_or_none;
use crate::domain::booking::calendar::Calendar;
use crate::domain::booking::{Booking, Interval};
use crate::domain::ids::{BookingId, CalendarName};

/// Maximum number of days in one response about slots, for each calendar.
const DAYS_MAX: usize = 400;

pub(super) fn list_bookings(
    context: &AdminContext,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let filter_row = |_: &_, _: &_, id, booking: Booking| {
        if filter.starts_after(booking.created_at) {
            return Ok(Break(()));
        }
        let wanted = filter.matches_state(booking.state.as_str());
        Ok(Continue(wanted.then(|| BookingRow::new(id, booking))))
    };
    send_list(
        context,
        filter,
        &["confirmed", "cancelled"],
        sink,
        filter_row,
    )
}

pub(super) fn get_booking(context: &AdminContext, id: BookingId) -> Result<BookingRow, AdminError> {
    let found = context.snapshot()?.booking(id)?;
    found
        .map(|booking| BookingRow::new(id, booking))
        .ok_or_else(|| AdminError::missing("booking", id))
}

pub(super) fn list_slots(
    context: &AdminContext,
    filter: &SlotFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let catalog = context.catalog();
    if let Some(name) = &filter.calendar
        && !catalog.calendars.contains_key(name)
    {
        let known: Vec<&str> = catalog.calendars.keys().map(CalendarName::as_str).collect();
        return Err(AdminError::not_found(format!(
            "there is no calendar {name}: the config has {}",
            join_or_none(&known)
        )));
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
    let first = filter.from.unwrap_or(today).max(today);
    let last = filter
        .to
        .unwrap_or_else(|| first.saturating_add(Span::new().days(6)))
        .min(calendar.bookable_dates(now).1);
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
