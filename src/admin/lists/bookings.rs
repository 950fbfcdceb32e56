//! `bookings` and `slots`.

use jiff::civil::Date;

use crate::domain::booking::{Booking, Interval};
use crate::domain::ids::{BookingId, CalendarName};

use super::super::desk::{Desk, Out, row};
use super::super::protocol::{AdminError, Filter};
use super::super::views::{BookingView, SlotView};
use super::{Counted, Pick, fits, is_before, known_state, walk};

/// Days of slots in one answer at the most.
const DAYS_MAX: usize = 400;

pub(in crate::admin) fn bookings(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    known_state(filter, &["confirmed", "cancelled"])?;
    let mut out = Counted::new(filter.most(), out);
    let pick = |_: &_, _: &_, id, booking: Booking| {
        if is_before(filter, booking.made_at) {
            return Ok(Pick::Stop);
        }
        let wanted = fits(filter.state.as_deref(), booking.state.as_str());
        Ok(Pick::when(wanted, || BookingView::new(id, &booking)))
    };
    walk(desk, pick, |view| out.send(view))
}

pub(in crate::admin) fn booking(desk: &Desk, id: BookingId, out: &mut Out<'_>) -> Result<(), AdminError> {
    let found = desk.read()?.booking(id)?;
    match found {
        Some(booking) => row(out, BookingView::new(id, &booking)),
        None => Err(no_booking(id)),
    }
}

pub(in crate::admin) fn no_booking(id: BookingId) -> AdminError {
    AdminError::not_found(format!("there is no booking {id}: `flowgate bookings` lists them"))
}

pub(in crate::admin) fn slots(
    desk: &Desk,
    calendar: Option<&CalendarName>,
    (from, to): (Option<Date>, Option<Date>),
    limit: usize,
    out: &mut Out<'_>,
) -> Result<(), AdminError> {
    let catalog = desk.catalog();
    if let Some(name) = calendar
        && !catalog.calendars.contains_key(name)
    {
        let known: Vec<&str> = catalog.calendars.keys().map(CalendarName::as_str).collect();
        return Err(AdminError::not_found(format!("there is no calendar {name}: the config has {}", or_none(&known))));
    }
    let mut out = Counted::new(Filter { limit, ..Filter::default() }.most(), out);
    let now = desk.now();
    for calendar in catalog.calendars.values().filter(|one| calendar.is_none_or(|name| one.name() == name)) {
        let first = from.unwrap_or_else(|| calendar.day_of(now)).max(calendar.day_of(now));
        let last = to.unwrap_or_else(|| first.saturating_add(jiff::Span::new().days(6))).min(calendar.last_day(now));
        for date in first.series(jiff::Span::new().days(1)).take_while(|date| *date <= last).take(DAYS_MAX) {
            let slots = calendar.offered_on(date, now);
            let (Some(earliest), Some(latest)) = (slots.first(), slots.last()) else { continue };
            let day = Interval { start: earliest.start, end: calendar.blocked(latest).end };
            let taken = desk.read()?.taken(calendar.name(), day)?;
            for slot in &slots {
                if !out.send(SlotView::new(calendar, slot, &taken))? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
