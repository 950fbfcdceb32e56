//! Places in time: how many are taken at once, and whether one more fits.
//!
//! Bookings that overlap count together, not only those with the same start: a calendar whose slots became longer still
//! knows its old bookings. Pure: the store reads what is taken and writes what is decided, in the transaction that
//! accepts the submission; the single writer makes that free of races.

use std::collections::BTreeMap;

use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};

use super::calendar::{Calendar, Slot, SlotRefused};
use super::ids::{CalendarName, SubmissionId};
use super::time::Timestamp;

/// Days on either side of a wished one that are searched for free slots.
const DAYS_SEARCHED: i32 = 31;

/// A stretch of time: from `start` up to `end`, which is excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Its first millisecond.
    pub start: Timestamp,
    /// The first one behind it.
    pub end: Timestamp,
}

/// Whether a booking stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BookingState {
    /// Its place is taken.
    Confirmed,
    /// Its place is free again.
    Cancelled,
}

impl BookingState {
    /// The name that lists show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One place taken, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// In which calendar.
    pub calendar: CalendarName,
    /// When it begins.
    pub start: Timestamp,
    /// Until when its place is taken: the buffer is part of it.
    pub end: Timestamp,
    /// The day on the calendar's clock, `2027-01-04`.
    pub date: String,
    /// The time on the calendar's clock, `09:00`.
    pub time: String,
    /// The form that asked for it.
    pub submission: SubmissionId,
    /// Whether it stands.
    pub state: BookingState,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was cancelled.
    pub ended_at: Option<Timestamp>,
}

impl Booking {
    /// A booking of `slot`, made `now`.
    #[must_use]
    pub fn new(calendar: &Calendar, slot: &Slot, submission: SubmissionId, now: Timestamp) -> Self {
        let Interval { start, end } = calendar.blocked(slot);
        Self {
            calendar: calendar.name().clone(),
            start,
            end,
            date: slot.date.to_string(),
            time: slot.clock_time(),
            submission,
            state: BookingState::Confirmed,
            made_at: now,
            ended_at: None,
        }
    }

    /// The same booking at another time.
    #[must_use]
    pub fn moved_to(self, calendar: &Calendar, slot: &Slot) -> Self {
        let Self { submission, made_at, .. } = self;
        Self::new(calendar, slot, submission, made_at)
    }
}

/// Places that are taken for the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// From when until when.
    pub time: Interval,
    /// Number of bookings.
    pub places: u32,
}

/// Number of places taken, as it rises and falls over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Moments at which the number changes, ascending, and the number from each on. Before the first it is 0.
    steps: Vec<(Timestamp, u32)>,
}

impl Occupancy {
    /// The sum of all that is `taken`.
    #[must_use]
    pub fn of(taken: impl IntoIterator<Item = Taken>) -> Self {
        let mut changes: BTreeMap<Timestamp, i64> = BTreeMap::new();
        for Taken { time, places } in taken.into_iter().filter(|taken| taken.time.start < taken.time.end) {
            *changes.entry(time.start).or_default() += i64::from(places);
            *changes.entry(time.end).or_default() -= i64::from(places);
        }
        let mut now: i64 = 0;
        let step = |(moment, change): (Timestamp, i64)| {
            now = now.saturating_add(change);
            (moment, u32::try_from(now).unwrap_or(u32::MAX))
        };
        Self { steps: changes.into_iter().map(step).collect() }
    }

    /// The number of places taken at the fullest moment of `window`.
    #[must_use]
    pub fn peak(&self, window: Interval) -> u32 {
        // The step before the window lasts into it.
        let first = self.steps.partition_point(|(from, _)| *from <= window.start).saturating_sub(1);
        let behind = self.steps.partition_point(|(from, _)| *from < window.end);
        let steps = self.steps.get(first..behind).unwrap_or_default();
        steps.iter().map(|(_, places)| *places).max().unwrap_or(0)
    }
}

/// Takes a place in `slot`, if one is left beside those that are taken.
///
/// # Errors
/// [`SlotRefused::Full`].
pub fn reserve(calendar: &Calendar, slot: Slot, taken: &Occupancy) -> Result<Slot, SlotRefused> {
    if taken.peak(calendar.blocked(&slot)) < calendar.capacity() { Ok(slot) } else { Err(SlotRefused::Full) }
}

/// The free slots nearest to `around`, `most` at the most, in order of time; without `around`, the next ones.
///
/// `taken` tells what is taken in a stretch of time; it is asked once a day, for at most two months of days.
///
/// # Errors
/// Those of `taken`.
pub fn nearest_free<E>(
    calendar: &Calendar,
    around: Option<(Date, Time)>,
    now: Timestamp,
    most: usize,
    mut taken: impl FnMut(Interval) -> Result<Occupancy, E>,
) -> Result<Vec<Slot>, E> {
    let (first, last) = (calendar.first_day(now), calendar.last_day(now));
    let (date, time) = around.unwrap_or((first, Time::midnight()));
    let middle = date.max(first).min(last);
    let wished = if middle == date { date.to_datetime(time) } else { middle.to_datetime(Time::midnight()) };
    let mut free: Vec<Slot> = Vec::new();
    for distance in 0..=DAYS_SEARCHED {
        let days = if distance == 0 { vec![0] } else { vec![distance, -distance] };
        for days in days {
            let Ok(date) = middle.checked_add(jiff::Span::new().days(days)) else { continue };
            if (first..=last).contains(&date) {
                let starts = starts_on(calendar, date, now, &mut taken)?;
                free.extend(starts.into_iter().filter(|(_, is_free)| *is_free).map(|(slot, _)| slot));
            }
        }
        if free.len() >= most {
            break;
        }
    }
    free.sort_by_cached_key(|slot| (slot.date.to_datetime(slot.time).duration_since(wished).abs(), slot.start));
    free.truncate(most);
    free.sort_by_key(|slot| slot.start);
    Ok(free)
}

/// The starts of a day that may be booked at `now`, and whether each has a place left.
///
/// # Errors
/// That of `taken`, which tells what is taken in a stretch of time.
pub fn starts_on<E>(
    calendar: &Calendar,
    date: Date,
    now: Timestamp,
    taken: impl FnOnce(Interval) -> Result<Occupancy, E>,
) -> Result<Vec<(Slot, bool)>, E> {
    let offered = calendar.offered_on(date, now);
    let (Some(first), Some(last)) = (offered.first(), offered.last()) else { return Ok(Vec::new()) };
    let day = taken(Interval { start: first.start, end: calendar.blocked(last).end })?;
    let with_free = |slot: Slot| {
        let is_free = reserve(calendar, slot.clone(), &day).is_ok();
        (slot, is_free)
    };
    Ok(offered.into_iter().map(with_free).collect())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use jiff::civil::{date, time};
    use proptest::prelude::*;

    use super::super::calendar::tests::spec;
    use super::super::calendar::{Calendar, CalendarSpec};
    use super::super::time::Millis;
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn interval((start, length): (u64, u64)) -> Interval {
        Interval { start: Timestamp::from_millis(start), end: Timestamp::from_millis(start + length) }
    }

    fn calendar(capacity: u32) -> Calendar {
        Calendar::new(CalendarSpec { capacity, ..spec("UTC", &["09:00-12:00"]) }).unwrap()
    }

    /// One booking for each interval.
    fn occupancy(taken: &[Interval]) -> Occupancy {
        Occupancy::of(taken.iter().map(|time| Taken { time: *time, places: 1 }))
    }

    #[test]
    fn neighbours_do_not_overlap_and_longer_bookings_count_with_shorter_ones() {
        let window = interval((60, 60));
        let peak =
            |taken: &[(u64, u64)]| occupancy(&taken.iter().copied().map(interval).collect::<Vec<_>>()).peak(window);
        assert_eq!(peak(&[(0, 60), (120, 60)]), 0);
        assert_eq!(peak(&[(60, 30), (90, 30)]), 1, "one after the other");
        assert_eq!(peak(&[(0, 300), (60, 30), (90, 30)]), 2);
    }

    proptest! {
        #[test]
        fn the_peak_is_that_of_counting_every_millisecond(
            window in (0..40_u64, 1..40_u64),
            taken in proptest::collection::vec(((0..60_u64, 1..30_u64), 1..4_u32), 0..12),
        ) {
            let window = interval(window);
            let taken: Vec<_> =
                taken.into_iter().map(|(time, places)| Taken { time: interval(time), places }).collect();
            let at = |ms: u64| {
                let moment = Timestamp::from_millis(ms);
                let runs = taken.iter().filter(|other| other.time.start <= moment && moment < other.time.end);
                runs.map(|other| other.places).sum::<u32>()
            };
            let counted = (window.start.as_millis()..window.end.as_millis()).map(at).max().unwrap_or(0);
            prop_assert_eq!(Occupancy::of(taken.iter().copied()).peak(window), counted);
        }
    }

    #[test]
    fn a_slot_is_full_when_its_capacity_is_taken() {
        let calendar = calendar(2);
        let slot = calendar.slot_at(date(2026, 1, 5), time(9, 0, 0, 0), NOW).unwrap();
        let other = calendar.blocked(&slot);
        assert!(reserve(&calendar, slot.clone(), &occupancy(&[other])).is_ok());
        assert_eq!(reserve(&calendar, slot, &occupancy(&[other, other])), Err(SlotRefused::Full));
    }

    fn nearest(
        calendar: &Calendar,
        around: Option<(Date, Time)>,
        most: usize,
        mut taken: impl FnMut(Interval) -> Vec<Interval>,
    ) -> Vec<Slot> {
        let Ok(free) =
            nearest_free(calendar, around, NOW, most, |window| Ok::<_, Infallible>(occupancy(&taken(window))));
        free
    }

    #[test]
    fn the_nearest_free_slots_lie_on_both_sides_and_come_in_order() {
        let calendar = calendar(1);
        let wished = calendar.slot_at(date(2026, 1, 5), time(10, 0, 0, 0), NOW).unwrap();
        let gone = calendar.blocked(&wished);
        let around = Some((wished.date, wished.time));
        let free = nearest(&calendar, around, 4, |_| vec![gone]);
        let titles: Vec<_> = free.iter().map(Slot::id).collect();
        assert_eq!(titles, ["2026-01-05T09:00", "2026-01-05T09:30", "2026-01-05T10:30", "2026-01-05T11:00"]);
    }

    #[test]
    fn a_wish_in_the_past_or_far_future_is_led_to_what_can_be_had() {
        let calendar = calendar(1);
        let nothing = |_| Vec::new();
        for wished in [date(1999, 1, 1), date(9999, 12, 31)] {
            let free = nearest(&calendar, Some((wished, time(9, 0, 0, 0))), 3, nothing);
            assert_eq!(free.len(), 3, "{wished}");
            assert!(free.iter().all(|slot| calendar.slot_at(slot.date, slot.time, NOW).is_ok()));
        }
        let next = nearest(&calendar, None, 1, nothing);
        assert_eq!(next[0].id(), "2026-01-01T09:00");
    }

    #[test]
    fn a_calendar_that_is_full_for_months_offers_nothing_and_the_search_ends() {
        let calendar = calendar(1);
        let mut days = 0;
        let free = nearest(&calendar, None, 3, |day| {
            days += 1;
            vec![day]
        });
        assert!(free.is_empty() && days <= 63, "{days} days");
    }
    #[test]
    fn days_before_the_notice_is_over_are_not_searched() {
        let day = Millis::from_secs(24 * 3600);
        let notice = CalendarSpec { notice: Millis::new(59 * day.get()), ..spec("UTC", &["09:00-12:00"]) };
        let calendar = Calendar::new(CalendarSpec { ahead: Millis::new(60 * day.get()), ..notice }).unwrap();
        let mut days = 0;
        let free = nearest(&calendar, None, 1, |_| {
            days += 1;
            Vec::new()
        });
        assert_eq!((free[0].date, days), (date(2026, 3, 1), 1), "{free:?}");
    }
}
