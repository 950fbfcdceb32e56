//! Tests opening hours on normal days and on days of a clock change.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{date, time};

use super::*;
use crate::domain::time::Millis;
use SlotRefused::{Closed, NotASlot, Past, TooFar, TooSoon};

pub fn calendar_spec(zone: &str, open: &[&str]) -> CalendarSpec {
    let ranges: Vec<TimeRange> = open
        .iter()
        .map(|range| TimeRange::parse(range).unwrap())
        .collect();
    CalendarSpec {
        name: CalendarName::new("chair").unwrap(),
        time_zone: TimeZone::get(zone).unwrap(),
        weekly_hours: std::array::from_fn(|_| ranges.clone()),
        closed_dates: BTreeSet::new(),
        special_hours: BTreeMap::new(),
        slot_length: Millis::from_secs(30 * 60),
        buffer: Millis::ZERO,
        capacity: 1,
        max_advance: Millis::from_secs(400 * 24 * 3600),
        min_notice: Millis::ZERO,
    }
}

fn berlin_calendar(open: &[&str]) -> Calendar {
    Calendar::new(calendar_spec("Europe/Berlin", open)).unwrap()
}

/// Time of the tests: 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn start_times(calendar: &Calendar, date: Date) -> String {
    let slots = calendar.available_starts(date, NOW);
    let times: Vec<_> = slots.map(|slot| slot.clock_time()).collect();
    times.join(" ")
}

#[test]
fn starts_fill_opening_hours() {
    let calendar = berlin_calendar(&["13:00-14:15", "09:00-10:00"]);
    let times = start_times(&calendar, date(2026, 1, 5));
    assert_eq!(times, "09:00 09:30 13:00 13:30");
}

#[test]
fn buffer_extends_occupied_interval() {
    let calendar = Calendar::new(CalendarSpec {
        buffer: Millis::from_secs(600),
        ..calendar_spec("Europe/Berlin", &["09:00-10:30"])
    })
    .unwrap();
    let day = date(2026, 1, 5);
    assert_eq!(start_times(&calendar, day), "09:00 09:40");
    let slot = calendar.slot_at(day, time(9, 40, 0, 0), NOW).unwrap();
    let occupied = calendar.occupied_interval(&slot);
    assert_eq!(occupied.end.since(slot.start), Millis::from_secs(40 * 60));
    assert_eq!(slot.end.since(slot.start), Millis::from_secs(30 * 60));
}

#[test]
fn nonexistent_hour_has_no_starts() {
    // Europe/Berlin, 2026-03-29: clocks go from 02:00 to 03:00.
    let calendar = berlin_calendar(&["01:00-04:00"]);
    let day = date(2026, 3, 29);
    assert_eq!(start_times(&calendar, day), "01:00 01:30 03:00 03:30");
    let missing = calendar.slot_at(day, time(2, 30, 0, 0), NOW);
    assert_eq!(missing, Err(NotASlot));
    // Half an hour after 01:30, the clock shows 03:00.
    let slots: Vec<Slot> = calendar.available_starts(day, NOW).collect();
    assert_eq!(slots[1].end, slots[2].start);
}

#[test]
fn repeated_hour_uses_first_occurrence() {
    // Europe/Berlin, 2026-10-25: clocks go from 03:00 back to 02:00.
    let calendar = berlin_calendar(&["01:00-04:00"]);
    let day = date(2026, 10, 25);
    let times = start_times(&calendar, day);
    assert_eq!(times, "01:00 01:30 02:00 02:30 03:00 03:30");
    let slots: Vec<Slot> = calendar.available_starts(day, NOW).collect();
    // 02:00 in summer time, 03:00 in winter time.
    for (slot, start) in [(2, "00:00"), (4, "02:00")] {
        let expected = format!("2026-10-25T{start}:00.000Z");
        assert_eq!(slots[slot].start.to_string(), expected);
    }
    let overlap = slots.windows(2).any(|pair| pair[0].end > pair[1].start);
    assert!(!overlap, "{slots:?}");
}

#[test]
fn southern_hemisphere_clock_changes() {
    let sydney = Calendar::new(calendar_spec("Australia/Sydney", &["01:30-03:30"])).unwrap();
    // Clocks go from 02:00 to 03:00.
    assert_eq!(start_times(&sydney, date(2026, 10, 4)), "01:30 03:00");
    // Clocks go from 03:00 back to 02:00.
    let times = start_times(&sydney, date(2026, 4, 5));
    assert_eq!(times, "01:30 02:00 02:30 03:00");
}

#[test]
fn special_hours_override_closed_dates_and_weekly_hours() {
    let (closed, special) = (date(2026, 12, 25), date(2026, 12, 26));
    let mut spec = calendar_spec("Europe/Berlin", &["09:00-10:00"]);
    spec.closed_dates.extend([closed, special]);
    let evening = TimeRange::parse("20:00-21:00").unwrap();
    spec.special_hours.insert(special, vec![evening]);
    let calendar = Calendar::new(spec).unwrap();
    assert_eq!(start_times(&calendar, closed), "");
    assert_eq!(start_times(&calendar, special), "20:00 20:30");
    let slot = calendar.slot_at(closed, time(9, 0, 0, 0), NOW);
    assert_eq!(slot, Err(Closed));
}

#[test]
fn start_respects_min_notice_and_max_advance() {
    let hour = Millis::from_secs(3600);
    let spec = CalendarSpec {
        min_notice: hour,
        max_advance: Millis::from_secs(7 * 24 * 3600),
        ..calendar_spec("UTC", &["00:00-24:00"])
    };
    let calendar = Calendar::new(spec).unwrap();
    for (day, hour, minute, expected) in [
        // A slot that starts at this moment has begun.
        (1, 0, 0, Err(Past)),
        (1, 0, 30, Err(TooSoon)),
        (1, 1, 0, Ok(())),
        (8, 0, 0, Ok(())),
        (8, 0, 30, Err(TooFar)),
        (1, 1, 10, Err(NotASlot)),
    ] {
        let time = time(hour, minute, 0, 0);
        let slot = calendar.slot_at(date(2026, 1, day), time, NOW);
        assert_eq!(slot.map(|_| ()), expected, "{day} {time}");
    }
}

#[test]
fn past_time_outside_hours_is_past() {
    let calendar = berlin_calendar(&["09:00-10:00"]);
    let slot = calendar.slot_at(date(2025, 10, 15), time(14, 7, 0, 0), NOW);
    assert_eq!(slot, Err(Past));
}

#[test]
fn available_starts_equal_bookable_times() {
    let calendar = berlin_calendar(&["08:15-12:00", "13:00-17:45"]);
    let mut day = date(2026, 3, 20);
    for _ in 0..20 {
        let offered: Vec<Slot> = calendar.available_starts(day, NOW).collect();
        for minute in 0..(24 * 60) {
            let time = time_of_minute(minute).unwrap();
            let can_be_booked = calendar.slot_at(day, time, NOW).is_ok();
            let is_offered = offered.iter().any(|slot| slot.time == time);
            assert_eq!(is_offered, can_be_booked, "{day} {time}");
        }
        day = day.tomorrow().unwrap();
    }
}

#[test]
fn time_range_parsing_is_strict() {
    for good in ["00:00-24:00", "09:00-09:01", "09:00 - 12:30"] {
        assert!(TimeRange::parse(good).is_ok(), "{good}");
    }
    let error = TimeRange::parse("9:00-12:00").unwrap_err().to_string();
    assert!(error.starts_with("\"9:00-12:00\" is not"), "{error}");
    let incomplete = ["", "09:00", "09:00-"];
    let empty = ["12:00-09:00", "09:00-09:00"];
    let no_times = ["09:60-10:00", "00:00-24:01", "+9:00-10:00"];
    for bad in incomplete.iter().chain(&empty).chain(&no_times) {
        assert!(TimeRange::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn invalid_calendar_error_names_day() {
    let assert_problem = |expected: &str, change: &dyn Fn(&mut CalendarSpec)| {
        let mut spec = calendar_spec("UTC", &["09:00-12:00"]);
        change(&mut spec);
        let problem = Calendar::new(spec).unwrap_err().to_string();
        assert!(problem.contains(expected), "{problem}");
    };
    let (long, days) = (Millis::from_secs(14_400), Millis::from_secs(43_200_000));
    let noon = TimeRange::parse("11:00-13:00").unwrap();
    assert_problem("tue: 09:00-12:00", &|spec| spec.weekly_hours[1].push(noon));
    assert_problem("mon: no slot of 240", &|spec| spec.slot_length = long);
    assert_problem("whole minutes", &|spec| spec.slot_length = Millis::new(1));
    assert_problem("at least 1", &|spec| spec.capacity = 0);
    assert_problem("never open", &|spec| spec.weekly_hours = Default::default());
    assert_problem("notice", &|spec| spec.min_notice = days);
}

#[test]
fn slot_id_and_title() {
    let calendar = berlin_calendar(&["09:00-10:00"]);
    let slot = calendar.slot_at(date(2027, 1, 4), time(9, 0, 0, 0), NOW);
    let slot = slot.unwrap();
    assert_eq!(slot.id(), "2027-01-04T09:00");
    assert_eq!(slot.title(), "Mon 4 Jan, 09:00");
}
