//! Calendars and slot requests for tests of bookings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::booking::calendar::{Calendar, CalendarSpec, TimeRange};
use crate::domain::booking::slot_request::BookingSettings;
use crate::domain::ids::CalendarName;
use crate::domain::submission::inbound::{InboundSubmission, SlotSelector};
use crate::domain::time::Millis;

use super::support::form;

/// Calendar that is open from nine to twelve UTC on each day, with one place in slots of an hour.
pub fn calendar_spec(name: &str) -> CalendarSpec {
    CalendarSpec {
        name: CalendarName::new(name).unwrap(),
        time_zone: jiff::tz::TimeZone::UTC,
        weekly_hours: std::array::from_fn(|_| vec![TimeRange::parse("09:00-12:00").unwrap()]),
        closed_dates: BTreeSet::new(),
        special_hours: BTreeMap::new(),
        slot_length: Millis::from_secs(60 * 60),
        buffer: Millis::ZERO,
        capacity: 1,
        max_advance: Millis::from_secs(60 * 24 * 60 * 60),
        min_notice: Millis::ZERO,
    }
}

/// Form whose fields `date` and `time` request a slot of `calendar`.
pub fn booking_form(calendar: &Arc<Calendar>, token: &str, data: &str) -> InboundSubmission {
    let settings = BookingSettings {
        calendar: calendar.name().clone(),
        date_field: "date".to_owned(),
        time_field: "time".to_owned(),
    };
    InboundSubmission {
        slot_selector: Some(SlotSelector {
            settings,
            calendar: Arc::clone(calendar),
        }),
        ..form(token, data)
    }
}
