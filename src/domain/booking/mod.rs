//! Counts the occupied places of slots over time, and decides if one more booking fits.
//!
//! All bookings that overlap count together, not only bookings with the same start. Old bookings
//! therefore still count after the slots of a calendar become longer. All functions are pure: the
//! store reads the occupied intervals and writes the decision in the transaction that accepts the
//! submission. The single writer makes this race-free.

pub mod calendar;
pub mod slot_request;
use std::collections::BTreeMap;

use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};

use super::ids::{CalendarName, SubmissionId};
use super::time::Timestamp;
use calendar::{Calendar, Slot, SlotRefused};

/// Days before and after a requested date that are searched for free slots.
const SEARCH_RADIUS_DAYS: i32 = 31;

/// Time interval from `start` to `end`, `end` excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// First millisecond of the interval.
    pub start: Timestamp,
    /// First millisecond after the interval.
    pub end: Timestamp,
}

/// State of a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BookingState {
    /// The booking occupies its place.
    Confirmed,
    /// The booking is cancelled and its place is free.
    Cancelled,
}

impl BookingState {
    /// Returns the name of the state in lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Reserved place in a calendar, as stored in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// Calendar of the booking.
    pub calendar: CalendarName,
    /// Start of the booking.
    pub start: Timestamp,
    /// End of the occupied time, including the buffer.
    pub end: Timestamp,
    /// Date in the time zone of the calendar, `2027-01-04`.
    pub date: String,
    /// Start time in the time zone of the calendar, `09:00`.
    pub time: String,
    /// Submission that requested the booking.
    pub submission_id: SubmissionId,
    /// State of the booking.
    pub state: BookingState,
    /// Time of the reservation.
    pub created_at: Timestamp,
    /// Time of the cancellation. `None`: not cancelled.
    pub cancelled_at: Option<Timestamp>,
}

impl Booking {
    /// Creates a confirmed booking of `slot` at the time `now`.
    #[must_use]
    pub fn new(calendar: &Calendar, slot: &Slot, submission: SubmissionId, now: Timestamp) -> Self {
        let Interval { start, end } = calendar.occupied_interval(slot);
        Self {
            calendar: calendar.name().clone(),
            start,
            end,
            date: slot.date.to_string(),
            time: slot.clock_time(),
            submission_id: submission,
            state: BookingState::Confirmed,
            created_at: now,
            cancelled_at: None,
        }
    }

    /// Returns the booking moved to `slot`, with the same submission and creation time.
    #[must_use]
    pub fn moved_to(self, calendar: &Calendar, slot: &Slot) -> Self {
        let Self {
            submission_id: submission,
            created_at: made_at,
            ..
        } = self;
        Self::new(calendar, slot, submission, made_at)
    }
}

/// Bookings of the same time interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OccupiedInterval {
    /// Occupied time interval.
    pub interval: Interval,
    /// Number of bookings.
    pub bookings: u32,
}

/// Number of occupied places over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Times at which the number changes, ascending, each with the number from then on. The number
    /// before the first time is 0.
    steps: Vec<(Timestamp, u32)>,
}

impl Occupancy {
    /// Sums up the occupied intervals.
    #[must_use]
    pub fn sum(taken: impl IntoIterator<Item = OccupiedInterval>) -> Self {
        let mut changes: BTreeMap<Timestamp, i64> = BTreeMap::new();
        for OccupiedInterval {
            interval: time,
            bookings,
        } in taken
            .into_iter()
            .filter(|taken| taken.interval.start < taken.interval.end)
        {
            *changes.entry(time.start).or_default() += i64::from(bookings);
            *changes.entry(time.end).or_default() -= i64::from(bookings);
        }
        let mut now: i64 = 0;
        let step = |(moment, change): (Timestamp, i64)| {
            now = now.saturating_add(change);
            (moment, u32::try_from(now).unwrap_or(u32::MAX))
        };
        Self {
            steps: changes.into_iter().map(step).collect(),
        }
    }

    /// Returns the maximum number of occupied places at any time in `window`.
    #[must_use]
    pub fn max_overlap(&self, window: Interval) -> u32 {
        // The last step before the window still applies at its start.
        let first = self
            .steps
            .partition_point(|(from, _)| *from <= window.start)
            .saturating_sub(1);
        let end_index = self.steps.partition_point(|(from, _)| *from < window.end);
        let steps = self.steps.get(first..end_index).unwrap_or_default();
        steps
            .iter()
            .map(|(_, bookings)| *bookings)
            .max()
            .unwrap_or(0)
    }
}

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
    let (first, last) = (
        calendar.first_bookable_date(now),
        calendar.last_bookable_date(now),
    );
    let (date, time) = around.unwrap_or((first, Time::midnight()));
    let middle = date.max(first).min(last);
    let requested = if middle == date {
        date.to_datetime(time)
    } else {
        middle.to_datetime(Time::midnight())
    };
    let mut free: Vec<Slot> = Vec::new();
    for distance in 0..=SEARCH_RADIUS_DAYS {
        let days = if distance == 0 {
            vec![0]
        } else {
            vec![distance, -distance]
        };
        for days in days {
            let Ok(date) = middle.checked_add(jiff::Span::new().days(days)) else {
                continue;
            };
            if (first..=last).contains(&date) {
                let starts = day_availability(calendar, date, now, &mut load_occupancy)?;
                free.extend(
                    starts
                        .into_iter()
                        .filter(|(_, is_free)| *is_free)
                        .map(|(slot, _)| slot),
                );
            }
        }
        if free.len() >= max_slots {
            break;
        }
    }
    free.sort_by_cached_key(|slot| {
        (
            slot.date
                .to_datetime(slot.time)
                .duration_since(requested)
                .abs(),
            slot.start,
        )
    });
    free.truncate(max_slots);
    free.sort_by_key(|slot| slot.start);
    Ok(free)
}

/// Returns the slots of a date that can be booked at `now`, each with `true` if a place is left.
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
) -> Result<Vec<(Slot, bool)>, E> {
    let offered = calendar.collect_available_starts(date, now);
    let (Some(first), Some(last)) = (offered.first(), offered.last()) else {
        return Ok(Vec::new());
    };
    let day = load_occupancy(Interval {
        start: first.start,
        end: calendar.occupied_interval(last).end,
    })?;
    let with_availability = |slot: Slot| {
        let is_free = reserve(calendar, slot.clone(), &day).is_ok();
        (slot, is_free)
    };
    Ok(offered.into_iter().map(with_availability).collect())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use jiff::civil::{date, time};
    use proptest::prelude::*;

    use super::calendar::tests::calendar_spec;
    use super::calendar::{Calendar, CalendarSpec};
    use super::*;
    use crate::domain::time::Millis;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn interval((start, length): (u64, u64)) -> Interval {
        Interval {
            start: Timestamp::from_millis(start),
            end: Timestamp::from_millis(start + length),
        }
    }

    fn calendar(capacity: u32) -> Calendar {
        Calendar::new(CalendarSpec {
            capacity,
            ..calendar_spec("UTC", &["09:00-12:00"])
        })
        .unwrap()
    }

    /// Returns the occupancy with one booking for each interval.
    fn occupancy_of(taken: &[Interval]) -> Occupancy {
        Occupancy::sum(taken.iter().map(|time| OccupiedInterval {
            interval: *time,
            bookings: 1,
        }))
    }

    #[test]
    fn adjacent_bookings_do_not_overlap() {
        let window = interval((60, 60));
        let peak = |taken: &[(u64, u64)]| {
            occupancy_of(&taken.iter().copied().map(interval).collect::<Vec<_>>())
                .max_overlap(window)
        };
        assert_eq!(peak(&[(0, 60), (120, 60)]), 0);
        assert_eq!(peak(&[(60, 30), (90, 30)]), 1, "one after the other");
        assert_eq!(peak(&[(0, 300), (60, 30), (90, 30)]), 2);
    }

    proptest! {
        #[test]
        fn max_overlap_equals_count_by_millisecond(
            window in (0..40_u64, 1..40_u64),
            taken in proptest::collection::vec(((0..60_u64, 1..30_u64), 1..4_u32), 0..12),
        ) {
            let window = interval(window);
            let taken: Vec<_> =
                taken.into_iter().map(|(time, places)| OccupiedInterval { interval: interval(time), bookings: places }).collect();
            let bookings_at = |ms: u64| {
                let moment = Timestamp::from_millis(ms);
                let runs = taken.iter().filter(|other| other.interval.start <= moment && moment < other.interval.end);
                runs.map(|other| other.bookings).sum::<u32>()
            };
            let counted = (window.start.as_millis()..window.end.as_millis()).map(bookings_at).max().unwrap_or(0);
            prop_assert_eq!(Occupancy::sum(taken.iter().copied()).max_overlap(window), counted);
        }
    }

    #[test]
    fn reserve_is_refused_at_capacity() {
        let calendar = calendar(2);
        let slot = calendar
            .slot_at(date(2026, 1, 5), time(9, 0, 0, 0), NOW)
            .unwrap();
        let other = calendar.occupied_interval(&slot);
        assert!(reserve(&calendar, slot.clone(), &occupancy_of(&[other])).is_ok());
        assert_eq!(
            reserve(&calendar, slot, &occupancy_of(&[other, other])),
            Err(SlotRefused::Full)
        );
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
        let requested = calendar
            .slot_at(date(2026, 1, 5), time(10, 0, 0, 0), NOW)
            .unwrap();
        let occupied = calendar.occupied_interval(&requested);
        let around = Some((requested.date, requested.time));
        let free = nearest_free_slots(&calendar, around, 4, |_| vec![occupied]);
        let titles: Vec<_> = free.iter().map(Slot::id).collect();
        assert_eq!(
            titles,
            [
                "2026-01-05T09:00",
                "2026-01-05T09:30",
                "2026-01-05T10:30",
                "2026-01-05T11:00"
            ]
        );
    }

    #[test]
    fn request_beyond_range_gets_bookable_slots() {
        let calendar = calendar(1);
        let nothing = |_| Vec::new();
        for requested in [date(1999, 1, 1), date(9999, 12, 31)] {
            let free =
                nearest_free_slots(&calendar, Some((requested, time(9, 0, 0, 0))), 3, nothing);
            assert_eq!(free.len(), 3, "{requested}");
            assert!(
                free.iter()
                    .all(|slot| calendar.slot_at(slot.date, slot.time, NOW).is_ok())
            );
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
        let day = Millis::from_secs(24 * 3600);
        let notice = CalendarSpec {
            min_notice: Millis::new(59 * day.get()),
            ..calendar_spec("UTC", &["09:00-12:00"])
        };
        let calendar = Calendar::new(CalendarSpec {
            max_advance: Millis::new(60 * day.get()),
            ..notice
        })
        .unwrap();
        let mut days = 0;
        let free = nearest_free_slots(&calendar, None, 1, |_| {
            days += 1;
            Vec::new()
        });
        assert_eq!((free[0].date, days), (date(2026, 3, 1), 1), "{free:?}");
    }
}
