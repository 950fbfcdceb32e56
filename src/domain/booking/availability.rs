//! Decides if one more booking fits into a slot, and finds free slots.
//!
//! All functions are pure: the store reads the occupied intervals and writes the decision in the
//! transaction that accepts the submission. The single writer makes this race-free.

use std::collections::BTreeSet;

use jiff::ToSpan;
use jiff::civil::{Date, Time};

use super::calendar::Calendar;
use super::occupancy::{Interval, Occupancy};
use super::slot::{Slot, SlotRefused};
use crate::domain::time::Timestamp;

/// Days before and after a requested date that are searched for free slots.
const SEARCH_RADIUS_DAYS: i32 = 31;

/// Returns `slot` if the slot has a free place besides the occupied places in `occupancy`.
///
/// # Errors
/// [`SlotRefused::Full`] if no place is left.
pub fn reserve(
    calendar: &Calendar,
    slot: Slot,
    occupancy: &Occupancy,
) -> Result<Slot, SlotRefused> {
    if occupancy.max_overlap(calendar.occupied_interval(&slot)) < calendar.capacity() {
        Ok(slot)
    } else {
        Err(SlotRefused::Full)
    }
}

/// Returns the free slots nearest to `around`, at most `max_slots`, in order of time. Returns the
/// next free slots if `around` is `None`.
///
/// `load_occupancy` returns the occupancy of a time interval. The search calls `load_occupancy`
/// once for each date, for at most 63 dates.
///
/// # Errors
/// The errors of `load_occupancy`.
pub fn nearest_free<E>(
    calendar: &Calendar,
    around: Option<(Date, Time)>,
    now: Timestamp,
    max_slots: usize,
    mut load_occupancy: impl FnMut(Interval) -> Result<Occupancy, E>,
) -> Result<Vec<Slot>, E> {
    let (first, last) = calendar.bookable_dates(now);
    let (date, time) = around.unwrap_or((first, Time::midnight()));
    let middle = date.max(first).min(last);
    let requested = if middle == date {
        date.to_datetime(time)
    } else {
        middle.to_datetime(Time::midnight())
    };
    let mut free: Vec<Slot> = Vec::new();
    for distance in 0..=SEARCH_RADIUS_DAYS {
        // A set, because distance 0 is one date.
        let days = BTreeSet::from([-distance, distance]).into_iter().rev();
        let dates = days.filter_map(|days| middle.checked_add(days.days()).ok());
        for date in dates.filter(|date| (first..=last).contains(date)) {
            let starts = day_availability(calendar, date, now, &mut load_occupancy)?;
            let starts = starts.into_iter().filter(|start| start.is_free);
            free.extend(starts.map(|start| start.slot));
        }
        if free.len() >= max_slots {
            break;
        }
    }
    free.sort_by_cached_key(|slot| {
        let start = slot.date.to_datetime(slot.time);
        (start.duration_since(requested).abs(), slot.start)
    });
    free.truncate(max_slots);
    free.sort_by_key(|slot| slot.start);
    Ok(free)
}

/// Slot that can be booked as far as its calendar is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotAvailability {
    /// The slot.
    pub slot: Slot,
    /// `true` if a place is left.
    pub is_free: bool,
}

/// Returns the slots of a date that can be booked at `now`, with their availability.
///
/// `load_occupancy` returns the occupancy of a time interval.
///
/// # Errors
/// The error of `load_occupancy`.
pub fn day_availability<E>(
    calendar: &Calendar,
    date: Date,
    now: Timestamp,
    load_occupancy: impl FnOnce(Interval) -> Result<Occupancy, E>,
) -> Result<Vec<SlotAvailability>, E> {
    let offered: Vec<Slot> = calendar.available_starts(date, now).collect();
    let (Some(first), Some(last)) = (offered.first(), offered.last()) else {
        return Ok(Vec::new());
    };
    let day = load_occupancy(Interval {
        start: first.start,
        end: calendar.occupied_interval(last).end,
    })?;
    let with_availability = |slot: Slot| SlotAvailability {
        is_free: reserve(calendar, slot.clone(), &day).is_ok(),
        slot,
    };
    Ok(offered.into_iter().map(with_availability).collect())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use jiff::civil::{date, time};

    use super::*;
    use crate::domain::booking::calendar::CalendarSpec;
    use crate::domain::booking::calendar::tests::calendar_spec;
    use crate::domain::booking::occupancy::OccupiedInterval;
    use crate::domain::time::Millis;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn calendar(capacity: u32) -> Calendar {
        Calendar::new(CalendarSpec {
            capacity,
            ..calendar_spec("UTC", &["09:00-12:00"])
        })
        .unwrap()
    }

    fn slot_at(calendar: &Calendar, hour: i8) -> Slot {
        let slot = calendar.slot_at(date(2026, 1, 5), time(hour, 0, 0, 0), NOW);
        slot.unwrap()
    }

    /// Returns the occupancy with one booking for each interval.
    fn occupancy_of(taken: &[Interval]) -> Occupancy {
        Occupancy::sum(taken.iter().map(|time| OccupiedInterval {
            interval: *time,
            bookings: 1,
        }))
    }

    #[test]
    fn reserve_is_refused_at_capacity() {
        let calendar = calendar(2);
        let slot = slot_at(&calendar, 9);
        let other = calendar.occupied_interval(&slot);
        assert!(reserve(&calendar, slot.clone(), &occupancy_of(&[other])).is_ok());
        let refused = reserve(&calendar, slot, &occupancy_of(&[other, other]));
        assert_eq!(refused, Err(SlotRefused::Full));
    }

    fn nearest_free_slots(
        calendar: &Calendar,
        around: Option<(Date, Time)>,
        max_slots: usize,
        mut taken: impl FnMut(Interval) -> Vec<Interval>,
    ) -> Vec<Slot> {
        let Ok(free) = nearest_free(calendar, around, NOW, max_slots, |window| {
            Ok::<_, Infallible>(occupancy_of(&taken(window)))
        });
        free
    }

    #[test]
    fn nearest_free_slots_surround_requested_slot() {
        let calendar = calendar(1);
        let requested = slot_at(&calendar, 10);
        let occupied = calendar.occupied_interval(&requested);
        let around = Some((requested.date, requested.time));
        let free = nearest_free_slots(&calendar, around, 4, |_| vec![occupied]);
        let ids = ["09:00", "09:30", "10:30", "11:00"].map(|time| format!("2026-01-05T{time}"));
        assert!(free.iter().map(Slot::id).eq(ids), "{free:?}");
    }

    #[test]
    fn request_beyond_range_gets_bookable_slots() {
        let calendar = calendar(1);
        let nothing = |_| Vec::new();
        for requested in [date(1999, 1, 1), date(9999, 12, 31)] {
            let around = Some((requested, time(9, 0, 0, 0)));
            let free = nearest_free_slots(&calendar, around, 3, nothing);
            assert_eq!(free.len(), 3, "{requested}");
            let is_bookable = |slot: &Slot| calendar.slot_at(slot.date, slot.time, NOW).is_ok();
            assert!(free.iter().all(is_bookable));
        }
        let next = nearest_free_slots(&calendar, None, 1, nothing);
        assert_eq!(next[0].id(), "2026-01-01T09:00");
    }

    #[test]
    fn search_in_full_calendar_is_bounded() {
        let calendar = calendar(1);
        let mut days = 0;
        let free = nearest_free_slots(&calendar, None, 3, |day| {
            days += 1;
            vec![day]
        });
        assert!(free.is_empty() && days <= 63, "{days} days");
    }

    #[test]
    fn search_starts_after_min_notice() {
        let spec = CalendarSpec {
            min_notice: Millis::from_secs(59 * 24 * 3600),
            max_advance: Millis::from_secs(60 * 24 * 3600),
            ..calendar_spec("UTC", &["09:00-12:00"])
        };
        let calendar = Calendar::new(spec).unwrap();
        let mut days = 0;
        let free = nearest_free_slots(&calendar, None, 1, |_| {
            days += 1;
            Vec::new()
        });
        assert_eq!((free[0].date, days), (date(2026, 3, 1), 1), "{free:?}");
    }
}
