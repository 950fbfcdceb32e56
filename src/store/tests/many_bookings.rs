//! Many bookings that overlap: deciding on one more looks at times, not at bookings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::domain::arrival::{Arrival, Asks, Form};
use crate::domain::booking::{Interval, Taken};
use crate::domain::booking_rule::BookingRule;
use crate::domain::calendar::{Calendar, CalendarSpec, SlotRefused, Span};
use crate::domain::ids::{BookingId, CalendarName};
use crate::domain::time::Millis;
use crate::store::batch::{Batch, Transaction};
use crate::store::{Accept, Accepted, BookingChanged, CancelBooking, StoreError, bookings};

use super::support::{Bench, START, form};

const BOOKED: u32 = 20_000;
/// Bookings in one transaction.
const SLICE: u32 = 250;

fn calendar(capacity: u32, slot_minutes: u64) -> Arc<Calendar> {
    let calendar = Calendar::new(CalendarSpec {
        name: CalendarName::new("hall").unwrap(),
        zone: jiff::tz::TimeZone::UTC,
        week: std::array::from_fn(|_| vec![Span::parse("09:00-12:00").unwrap()]),
        closed: BTreeSet::new(),
        opened: BTreeMap::new(),
        slot: Millis::from_secs(slot_minutes * 60),
        buffer: Millis::ZERO,
        capacity,
        ahead: Millis::from_secs(60 * 24 * 3600),
        notice: Millis::ZERO,
    });
    Arc::new(calendar.unwrap())
}

/// A form that asks for this time of the next day.
fn asking(calendar: &Arc<Calendar>, token: &str, time: &str) -> Form {
    let rule = BookingRule { calendar: calendar.name().clone(), date: "date".to_owned(), time: "time".to_owned() };
    let asks = Some(Asks { rule, calendar: Arc::clone(calendar) });
    Form { asks, ..form(token, &format!(r#"{{"date":"2026-11-25","time":"{time}"}}"#)) }
}

fn booking(calendar: &Arc<Calendar>, token: &str) -> Form {
    asking(calendar, token, "10:00")
}

/// Books so many places, and tells how long it took.
fn book(bench: &Bench, calendar: &Arc<Calendar>, numbers: std::ops::Range<u32>) -> Duration {
    let arrivals = numbers.map(|n| Arrival::Form(Box::new(booking(calendar, &format!("t{n}"))))).collect();
    let clock = SystemClock::new();
    let began = clock.elapsed();
    for accepted in bench.store.ask(Accept { arrivals }).unwrap() {
        assert!(matches!(accepted, Accepted::New { booking: Some(_), .. }), "{accepted:?}");
    }
    clock.elapsed().saturating_sub(began)
}

/// The rows that a decision on ten o'clock reads.
#[derive(Debug)]
struct Look(Arc<Calendar>);

impl Transaction for Look {
    type Outcome = Vec<Taken>;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<Vec<Taken>, StoreError> {
        bookings::read_taken(&batch.tables.places, self.0.name(), ten(30))
    }
}

fn ten(minutes: u64) -> Interval {
    let start = START.plus(Millis::from_secs(26 * 3600));
    Interval { start, end: start.plus(Millis::from_secs(60 * minutes)) }
}

#[test]
fn the_last_booking_of_many_at_one_time_costs_what_the_first_did() {
    let bench = Bench::new();
    let calendar = calendar(BOOKED, 30);
    let mut took = Vec::new();
    for first in (0..BOOKED).step_by(usize::try_from(SLICE).unwrap()) {
        took.push(book(&bench, &calendar, first..first + SLICE));
    }
    assert_eq!(bench.store.ask(Look(Arc::clone(&calendar))).unwrap(), [Taken { time: ten(30), places: BOOKED }]);
    // The quickest of ten, so that a busy machine is not taken for a slow rule. A rule that looked at each booking would take
    // some hundred times as long.
    let quickest = |slices: &[Duration]| slices.iter().min().copied().unwrap();
    let (first, last) = (quickest(&took[..10]), quickest(&took[took.len() - 10..]));
    assert!(last < first * 8, "{SLICE} bookings took {first:?} at first and {last:?} in the end");

    let full = bench.accept(booking(&calendar, "one more"));
    assert!(matches!(full, Accepted::SlotRefused { why: SlotRefused::Full, .. }), "{full:?}");
    let cancelled = bench.store.ask(CancelBooking { booking: BookingId::new(7) }).unwrap();
    assert!(matches!(cancelled, BookingChanged::Now(_)));
    assert!(matches!(bench.accept(booking(&calendar, "one more")), Accepted::New { booking: Some(_), .. }));
    bench.check();
}

#[test]
fn bookings_of_a_length_that_the_config_no_longer_has_still_take_their_places() {
    let bench = Bench::new();
    let long = calendar(3, 90);
    for token in ["a", "b"] {
        assert!(matches!(bench.accept(asking(&long, token, "09:00")), Accepted::New { booking: Some(_), .. }));
    }
    let short = calendar(3, 30);
    book(&bench, &short, 2..3);
    assert_eq!(bench.store.ask(Look(Arc::clone(&short))).unwrap().len(), 2, "one row for each length");
    let full = bench.accept(booking(&short, "one more"));
    assert!(matches!(full, Accepted::SlotRefused { why: SlotRefused::Full, .. }), "{full:?}");
    let taken = bench.store.read().unwrap().taken(short.name(), ten(30)).unwrap();
    assert_eq!((taken.peak(ten(30)), taken.peak(ten(150))), (3, 3));
    bench.check();
}
