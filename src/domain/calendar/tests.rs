//! Opening hours against wall clocks that do odd things.

use jiff::civil::{date, time};

use super::*;

pub fn spec(zone: &str, open: &[&str]) -> CalendarSpec {
    let spans: Vec<Span> = open.iter().map(|span| Span::parse(span).unwrap()).collect();
    CalendarSpec {
        name: CalendarName::new("chair").unwrap(),
        zone: TimeZone::get(zone).unwrap(),
        week: std::array::from_fn(|_| spans.clone()),
        closed: BTreeSet::new(),
        opened: BTreeMap::new(),
        slot: Millis::from_secs(30 * 60),
        buffer: Millis::ZERO,
        capacity: 1,
        ahead: Millis::from_secs(400 * 24 * 3600),
        notice: Millis::ZERO,
    }
}

fn berlin(open: &[&str]) -> Calendar {
    Calendar::new(spec("Europe/Berlin", open)).unwrap()
}

/// 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn times(calendar: &Calendar, date: Date) -> Vec<String> {
    calendar.offered_on(date, NOW).iter().map(Slot::clock_time).collect()
}

#[test]
fn starts_fill_the_opening_hours_and_leave_out_the_break() {
    let calendar = berlin(&["13:00-14:15", "09:00-10:00"]);
    assert_eq!(times(&calendar, date(2026, 1, 5)), ["09:00", "09:30", "13:00", "13:30"]);
}

#[test]
fn a_buffer_moves_the_next_start_and_is_taken_with_the_slot() {
    let calendar =
        Calendar::new(CalendarSpec { buffer: Millis::from_secs(600), ..spec("Europe/Berlin", &["09:00-10:30"]) })
            .unwrap();
    assert_eq!(times(&calendar, date(2026, 1, 5)), ["09:00", "09:40"]);
    let slot = calendar.slot_at(date(2026, 1, 5), time(9, 40, 0, 0), NOW).unwrap();
    assert_eq!(calendar.blocked(&slot).end.since(slot.start), Millis::from_secs(40 * 60));
    assert_eq!(slot.end.since(slot.start), Millis::from_secs(30 * 60));
}

#[test]
fn on_the_day_the_clocks_go_forward_the_hour_that_is_not_there_is_not_offered() {
    // Europe/Berlin, 2026-03-29: 02:00 becomes 03:00.
    let calendar = berlin(&["01:00-04:00"]);
    assert_eq!(times(&calendar, date(2026, 3, 29)), ["01:00", "01:30", "03:00", "03:30"]);
    let missing = calendar.slot_at(date(2026, 3, 29), time(2, 30, 0, 0), NOW);
    assert_eq!(missing, Err(SlotRefused::NotASlot));
    let slots = calendar.offered_on(date(2026, 3, 29), NOW);
    assert_eq!(slots[1].end, slots[2].start, "half an hour after 01:30 it is 03:00");
}

#[test]
fn on_the_day_the_clocks_go_back_a_time_that_comes_twice_is_meant_the_first_time() {
    // Europe/Berlin, 2026-10-25: 03:00 becomes 02:00.
    let calendar = berlin(&["01:00-04:00"]);
    let slots = calendar.offered_on(date(2026, 10, 25), NOW);
    let times: Vec<_> = slots.iter().map(Slot::clock_time).collect();
    assert_eq!(times, ["01:00", "01:30", "02:00", "02:30", "03:00", "03:30"]);
    assert_eq!(slots[2].start.to_string(), "2026-10-25T00:00:00.000Z", "02:00 summer time");
    assert_eq!(slots[4].start.to_string(), "2026-10-25T02:00:00.000Z", "03:00 winter time");
    assert!(slots.windows(2).all(|pair| pair[0].end <= pair[1].start), "no two of them overlap");
}

#[test]
fn the_southern_half_turns_its_clocks_the_other_way_round() {
    // Australia/Sydney, 2026-10-04: 02:00 becomes 03:00.
    let sydney = Calendar::new(spec("Australia/Sydney", &["01:30-03:30"])).unwrap();
    assert_eq!(times(&sydney, date(2026, 10, 4)), ["01:30", "03:00"]);
    // And 2026-04-05: 03:00 becomes 02:00.
    assert_eq!(times(&sydney, date(2026, 4, 5)), ["01:30", "02:00", "02:30", "03:00"]);
}

#[test]
fn days_off_and_days_of_their_own_go_before_the_week() {
    let mut spec = spec("Europe/Berlin", &["09:00-10:00"]);
    spec.closed.insert(date(2026, 12, 25));
    spec.closed.insert(date(2026, 12, 26));
    spec.opened.insert(date(2026, 12, 26), vec![Span::parse("20:00-21:00").unwrap()]);
    let calendar = Calendar::new(spec).unwrap();
    assert!(times(&calendar, date(2026, 12, 25)).is_empty());
    assert_eq!(times(&calendar, date(2026, 12, 26)), ["20:00", "20:30"]);
    assert_eq!(calendar.slot_at(date(2026, 12, 25), time(9, 0, 0, 0), NOW), Err(SlotRefused::Closed));
}

#[test]
fn a_start_must_lie_ahead_but_neither_too_near_nor_too_far() {
    let hour = Millis::from_secs(3600);
    let spec = CalendarSpec { notice: hour, ahead: Millis::from_secs(7 * 24 * 3600), ..spec("UTC", &["00:00-24:00"]) };
    let calendar = Calendar::new(spec).unwrap();
    let at = |day, hour, minute| calendar.slot_at(date(2026, 1, day), time(hour, minute, 0, 0), NOW).map(|_| ());
    assert_eq!(calendar.slot_at(date(2025, 10, 15), time(14, 0, 0, 0), NOW), Err(SlotRefused::Past));
    assert_eq!(at(1, 0, 0), Err(SlotRefused::Past), "what begins now has begun");
    assert_eq!(at(1, 0, 30), Err(SlotRefused::TooSoon));
    assert_eq!(at(1, 1, 0), Ok(()));
    assert_eq!(at(8, 0, 0), Ok(()));
    assert_eq!(at(8, 0, 30), Err(SlotRefused::TooFar));
    assert_eq!(at(1, 1, 10), Err(SlotRefused::NotASlot));
}

#[test]
fn a_past_time_is_called_past_even_where_it_was_never_open() {
    let calendar = berlin(&["09:00-10:00"]);
    assert_eq!(calendar.slot_at(date(2025, 10, 15), time(14, 7, 0, 0), NOW), Err(SlotRefused::Past));
}

#[test]
fn what_is_offered_can_be_booked_and_nothing_else() {
    let calendar = berlin(&["08:15-12:00", "13:00-17:45"]);
    let mut day = date(2026, 3, 20);
    for _ in 0..20 {
        let offered = calendar.offered_on(day, NOW);
        for minute in 0..(24 * 60) {
            let time = time_of(minute).unwrap();
            let can_be_booked = calendar.slot_at(day, time, NOW).is_ok();
            assert_eq!(offered.iter().any(|slot| slot.time == time), can_be_booked, "{day} {time}");
        }
        day = day.tomorrow().unwrap();
    }
}

#[test]
fn opening_times_are_read_strictly() {
    for good in ["00:00-24:00", "09:00-09:01", "09:00 - 12:30"] {
        assert!(Span::parse(good).is_ok(), "{good}");
    }
    assert_eq!(Span::parse("9:00-12:00"), Err(InvalidSpan("9:00-12:00".to_owned())));
    for bad in ["", "09:00", "09:00-", "12:00-09:00", "09:00-09:00", "09:60-10:00", "00:00-24:01", "+9:00-10:00"] {
        assert!(Span::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_makes_no_calendar_is_refused_with_the_day() {
    let problem = |change: &dyn Fn(&mut CalendarSpec)| {
        let mut spec = spec("UTC", &["09:00-12:00"]);
        change(&mut spec);
        Calendar::new(spec).unwrap_err().to_string()
    };
    assert!(problem(&|spec| spec.week[1].push(Span::parse("11:00-13:00").unwrap())).contains("tue: 09:00-12:00"));
    assert!(problem(&|spec| spec.slot = Millis::from_secs(4 * 3600)).contains("mon: no slot of 240 minutes"));
    assert!(problem(&|spec| spec.slot = Millis::new(1)).contains("whole minutes"));
    assert!(problem(&|spec| spec.capacity = 0).contains("at least 1"));
    assert!(problem(&|spec| spec.week = Default::default()).contains("never open"));
    assert!(problem(&|spec| spec.notice = Millis::from_secs(500 * 24 * 3600)).contains("notice"));
}

#[test]
fn a_slot_has_an_id_for_forms_and_a_title_for_people() {
    let calendar = berlin(&["09:00-10:00"]);
    let slot = calendar.slot_at(date(2027, 1, 4), time(9, 0, 0, 0), NOW).unwrap();
    assert_eq!((slot.id().as_str(), slot.title().as_str()), ("2027-01-04T09:00", "Mon 4 Jan, 09:00"));
}
