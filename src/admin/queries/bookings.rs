//! Handles the requests `bookings` and `slots`.

use jiff::civil::Date;

use crate::domain::booking::{Booking, Interval};
use crate::domain::ids::{BookingId, CalendarName};

use super::{LimitedSink, RowFilter, check_state, for_each_page, is_before_since, matches_name};
use crate::admin::handler::{AdminHandler, RowSink, send_row};
use crate::admin::protocol::{AdminError, ListFilter};
use crate::admin::responses::{BookingRow, SlotRow};

/// Maximum number of days in one response about slots, for each calendar.
const DAYS_MAX: usize = 400;

pub(crate) fn list_bookings(
    handler: &AdminHandler,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    check_state(filter, &["confirmed", "cancelled"])?;
    let mut sink = LimitedSink::new(filter.max_rows(), sink);
    let pick = |_: &_, _: &_, id, booking: Booking| {
        if is_before_since(filter, booking.created_at) {
            return Ok(RowFilter::Stop);
        }
        let wanted = matches_name(filter.state.as_deref(), booking.state.as_str());
        Ok(RowFilter::include_if(wanted, || {
            BookingRow::new(id, &booking)
        }))
    };
    for_each_page(handler, pick, |view| sink.send(view))
}

pub(crate) fn get_booking(
    handler: &AdminHandler,
    id: BookingId,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let found = handler.snapshot()?.booking(id)?;
    match found {
        Some(booking) => send_row(sink, BookingRow::new(id, &booking)),
        None => Err(booking_not_found(id)),
    }
}

pub(crate) fn booking_not_found(id: BookingId) -> AdminError {
    AdminError::not_found(format!(
        "there is no booking {id}: `flowgate bookings` lists them"
    ))
}

pub(crate) fn list_slots(
    handler: &AdminHandler,
    calendar: Option<&CalendarName>,
    (from, to): (Option<Date>, Option<Date>),
    limit: usize,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let catalog = handler.catalog();
    if let Some(name) = calendar
        && !catalog.calendars.contains_key(name)
    {
        let known: Vec<&str> = catalog.calendars.keys().map(CalendarName::as_str).collect();
        return Err(AdminError::not_found(format!(
            "there is no calendar {name}: the config has {}",
            list_or_none(&known)
        )));
    }
    let mut sink = LimitedSink::new(
        ListFilter {
            limit,
            ..ListFilter::default()
        }
        .max_rows(),
        sink,
    );
    let now = handler.now();
    for calendar in catalog
        .calendars
        .values()
        .filter(|one| calendar.is_none_or(|name| one.name() == name))
    {
        let first = from
            .unwrap_or_else(|| calendar.local_date(now))
            .max(calendar.local_date(now));
        let last = to
            .unwrap_or_else(|| first.saturating_add(jiff::Span::new().days(6)))
            .min(calendar.last_bookable_date(now));
        for date in first
            .series(jiff::Span::new().days(1))
            .take_while(|date| *date <= last)
            .take(DAYS_MAX)
        {
            let slots = calendar.collect_available_starts(date, now);
            let (Some(earliest), Some(latest)) = (slots.first(), slots.last()) else {
                continue;
            };
            let day = Interval {
                start: earliest.start,
                end: calendar.occupied_interval(latest).end,
            };
            let taken = handler.snapshot()?.occupancy(calendar.name(), day)?;
            for slot in &slots {
                if !sink.send(SlotRow::new(calendar, slot, &taken))? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn list_or_none(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
