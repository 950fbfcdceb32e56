//! Tests of many overlapping bookings: the cost of a decision depends on the number of different
//! times, not on the number of bookings.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::domain::booking::calendar::{Calendar, CalendarSpec, SlotRefused};
use crate::domain::booking::{Interval, OccupiedInterval};
use crate::domain::ids::BookingId;
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::time::Millis;
use crate::store::engine::ReadTxn;
use crate::store::rows::schema::OCCUPIED_SLOTS;
use crate::store::tx::bookings;
use crate::store::{AcceptOutcome, BookingOutcome, CancelBooking};

use super::booking_forms::{booking_form, calendar_spec};
use super::support::{START, StoreBench, inbound};

const BOOKED: u32 = 20_000;
/// Number of bookings in one transaction.
const SLICE: u32 = 250;

fn calendar(capacity: u32, slot_minutes: u64) -> Arc<Calendar> {
    let calendar = Calendar::new(CalendarSpec {
        slot_length: Millis::from_secs(slot_minutes * 60),
        capacity,
        ..calendar_spec("hall")
    });
    Arc::new(calendar.unwrap())
}

/// Form that requests this time of the next day.
fn form_at(calendar: &Arc<Calendar>, token: &str, time: &str) -> InboundSubmission {
    let data = format!(r#"{{"date":"2026-11-25","time":"{time}"}}"#);
    booking_form(calendar, token, &data)
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
        .map(|n| inbound(form_at_ten(calendar, &format!("t{n}"))))
        .collect();
    let clock = SystemClock::new();
    let began = clock.elapsed();
    bench.accept_all(arrivals).iter().for_each(assert_booked);
    clock.elapsed().saturating_sub(began)
}

#[track_caller]
fn assert_booked(accepted: &AcceptOutcome) {
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

#[track_caller]
fn assert_full(refused: &AcceptOutcome) {
    let AcceptOutcome::SlotRefused { reason, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(*reason, SlotRefused::Full);
}

/// Lists the rows that a decision about ten o'clock reads.
fn list_occupied(bench: &StoreBench, calendar: &Calendar) -> Vec<OccupiedInterval> {
    let read = bench.read();
    let list = |txn: &ReadTxn| {
        let table = txn.open(OCCUPIED_SLOTS)?;
        bookings::list_occupied(&table, calendar.name(), interval_at_ten(30))
    };
    read.with_read_txn(list).unwrap()
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
    let occupied = OccupiedInterval {
        interval: interval_at_ten(30),
        bookings: BOOKED,
    };
    assert_eq!(list_occupied(&bench, &calendar), [occupied]);
    // Only the shortest of ten durations counts, so that a busy machine does not look like a slow
    // rule. A rule that reads each booking would take some hundred times longer.
    let quickest = |slices: &[Duration]| slices.iter().min().copied().unwrap();
    let (first, last) = (quickest(&took[..10]), quickest(&took[took.len() - 10..]));
    assert!(
        last < first * 8,
        "{SLICE} bookings took {first:?} at first and {last:?} in the end"
    );

    assert_full(&bench.accept(form_at_ten(&calendar, "one more")));
    let booking_id = BookingId::new(7);
    let cancelled = bench.execute(CancelBooking { booking_id });
    assert!(matches!(cancelled, BookingOutcome::Updated(_)));
    assert_booked(&bench.accept(form_at_ten(&calendar, "one more")));
    bench.assert_invariants();
}

#[test]
fn bookings_of_a_former_slot_length_still_occupy() {
    let bench = StoreBench::new();
    let long = calendar(3, 90);
    for token in ["a", "b"] {
        assert_booked(&bench.accept(form_at(&long, token, "09:00")));
    }
    let short = calendar(3, 30);
    book_many(&bench, &short, 2..3);
    assert_eq!(
        list_occupied(&bench, &short).len(),
        2,
        "one row for each length"
    );
    assert_full(&bench.accept(form_at_ten(&short, "one more")));
    let occupancy = bench.read().occupancy(short.name(), interval_at_ten(30));
    let occupancy = occupancy.unwrap();
    assert_eq!(occupancy.max_overlap(interval_at_ten(30)), 3);
    assert_eq!(occupancy.max_overlap(interval_at_ten(150)), 3);
    bench.assert_invariants();
}
