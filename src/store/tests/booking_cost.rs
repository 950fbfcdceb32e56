//! Tests of many overlapping bookings: the cost of a decision depends on the number of different
//! times, not on the number of bookings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::domain::booking::calendar::{Calendar, CalendarSpec, SlotRefused, TimeRange};
use crate::domain::booking::slot_request::BookingSettings;
use crate::domain::booking::{Interval, OccupiedInterval};
use crate::domain::ids::{BookingId, CalendarName};
use crate::domain::submission::inbound::{Inbound, InboundSubmission, SlotSelector};
use crate::domain::time::Millis;
use crate::store::tx::bookings;
use crate::store::writer::write_context::{Transaction, WriteContext};
use crate::store::{AcceptInbound, AcceptOutcome, BookingOutcome, CancelBooking, StoreError};

use super::support::{START, StoreBench, form};

const BOOKED: u32 = 20_000;
/// Number of bookings in one transaction.
const SLICE: u32 = 250;

fn calendar(capacity: u32, slot_minutes: u64) -> Arc<Calendar> {
    let calendar = Calendar::new(CalendarSpec {
        name: CalendarName::new("hall").unwrap(),
        time_zone: jiff::tz::TimeZone::UTC,
        weekly_hours: std::array::from_fn(|_| vec![TimeRange::parse("09:00-12:00").unwrap()]),
        closed_dates: BTreeSet::new(),
        special_hours: BTreeMap::new(),
        slot_length: Millis::from_secs(slot_minutes * 60),
        buffer: Millis::ZERO,
        capacity,
        max_advance: Millis::from_secs(60 * 24 * 3600),
        min_notice: Millis::ZERO,
    });
    Arc::new(calendar.unwrap())
}

/// Form that requests this time of the next day.
fn form_at(calendar: &Arc<Calendar>, token: &str, time: &str) -> InboundSubmission {
    let settings = BookingSettings {
        calendar: calendar.name().clone(),
        date_field: "date".to_owned(),
        time_field: "time".to_owned(),
    };
    let slot_selector = Some(SlotSelector {
        settings,
        calendar: Arc::clone(calendar),
    });
    InboundSubmission {
        slot_selector,
        ..form(
            token,
            &format!(r#"{{"date":"2026-11-25","time":"{time}"}}"#),
        )
    }
}

fn form_at_ten(calendar: &Arc<Calendar>, token: &str) -> InboundSubmission {
    form_at(calendar, token, "10:00")
}

/// Creates these bookings and returns the duration.
fn book_many(
    bench: &StoreBench,
    calendar: &Arc<Calendar>,
    numbers: std::ops::Range<u32>,
) -> Duration {
    let arrivals = numbers
        .map(|n| Inbound::Submission(Box::new(form_at_ten(calendar, &format!("t{n}")))))
        .collect();
    let clock = SystemClock::new();
    let began = clock.elapsed();
    for accepted in bench
        .store
        .execute_blocking(AcceptInbound { inbound: arrivals })
        .unwrap()
    {
        assert!(
            matches!(
                accepted,
                AcceptOutcome::New {
                    booking_id: Some(_),
                    ..
                }
            ),
            "{accepted:?}"
        );
    }
    clock.elapsed().saturating_sub(began)
}

/// Lists the rows that a decision about ten o'clock reads.
#[derive(Debug)]
struct ListOccupied(Arc<Calendar>);

impl Transaction for ListOccupied {
    type Outcome = Vec<OccupiedInterval>;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> Result<Vec<OccupiedInterval>, StoreError> {
        bookings::list_occupied(
            &ctx.tables.occupied_slots,
            self.0.name(),
            interval_at_ten(30),
        )
    }
}

fn interval_at_ten(minutes: u64) -> Interval {
    let start = START.plus(Millis::from_secs(26 * 3600));
    Interval {
        start,
        end: start.plus(Millis::from_secs(60 * minutes)),
    }
}

#[test]
fn booking_cost_is_independent_of_existing_bookings() {
    let bench = StoreBench::new();
    let calendar = calendar(BOOKED, 30);
    let mut took = Vec::new();
    for first in (0..BOOKED).step_by(usize::try_from(SLICE).unwrap()) {
        took.push(book_many(&bench, &calendar, first..first + SLICE));
    }
    assert_eq!(
        bench
            .store
            .execute_blocking(ListOccupied(Arc::clone(&calendar)))
            .unwrap(),
        [OccupiedInterval {
            interval: interval_at_ten(30),
            bookings: BOOKED
        }]
    );
    // Only the shortest of ten durations counts, so that a busy machine does not look like a slow
    // rule. A rule that reads each booking would take some hundred times longer.
    let quickest = |slices: &[Duration]| slices.iter().min().copied().unwrap();
    let (first, last) = (quickest(&took[..10]), quickest(&took[took.len() - 10..]));
    assert!(
        last < first * 8,
        "{SLICE} bookings took {first:?} at first and {last:?} in the end"
    );

    let full = bench.accept(form_at_ten(&calendar, "one more"));
    assert!(
        matches!(
            full,
            AcceptOutcome::SlotRefused {
                reason: SlotRefused::Full,
                ..
            }
        ),
        "{full:?}"
    );
    let cancelled = bench
        .store
        .execute_blocking(CancelBooking {
            booking_id: BookingId::new(7),
        })
        .unwrap();
    assert!(matches!(cancelled, BookingOutcome::Updated(_)));
    assert!(matches!(
        bench.accept(form_at_ten(&calendar, "one more")),
        AcceptOutcome::New {
            booking_id: Some(_),
            ..
        }
    ));
    bench.assert_invariants();
}

#[test]
fn bookings_of_a_former_slot_length_still_occupy() {
    let bench = StoreBench::new();
    let long = calendar(3, 90);
    for token in ["a", "b"] {
        assert!(matches!(
            bench.accept(form_at(&long, token, "09:00")),
            AcceptOutcome::New {
                booking_id: Some(_),
                ..
            }
        ));
    }
    let short = calendar(3, 30);
    book_many(&bench, &short, 2..3);
    assert_eq!(
        bench
            .store
            .execute_blocking(ListOccupied(Arc::clone(&short)))
            .unwrap()
            .len(),
        2,
        "one row for each length"
    );
    let full = bench.accept(form_at_ten(&short, "one more"));
    assert!(
        matches!(
            full,
            AcceptOutcome::SlotRefused {
                reason: SlotRefused::Full,
                ..
            }
        ),
        "{full:?}"
    );
    let occupancy = bench
        .store
        .read()
        .unwrap()
        .occupancy(short.name(), interval_at_ten(30))
        .unwrap();
    assert_eq!(
        (
            occupancy.max_overlap(interval_at_ten(30)),
            occupancy.max_overlap(interval_at_ten(150))
        ),
        (3, 3)
    );
    bench.assert_invariants();
}
