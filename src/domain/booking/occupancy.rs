//! Counts the occupied places of a calendar over time.
//!
//! All bookings that overlap count together, not only bookings with the same start. Old bookings
//! therefore still count after the slots of a calendar become longer.

use std::collections::BTreeMap;

use crate::domain::time::Timestamp;

/// Time interval from `start` to `end`, `end` excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// First millisecond of the interval.
    pub start: Timestamp,
    /// First millisecond after the interval.
    pub end: Timestamp,
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
        let is_empty = |interval: Interval| interval.end <= interval.start;
        for OccupiedInterval { interval, bookings } in taken {
            if !is_empty(interval) {
                *changes.entry(interval.start).or_default() += i64::from(bookings);
                *changes.entry(interval.end).or_default() -= i64::from(bookings);
            }
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
        let bookings = steps.iter().map(|(_, bookings)| *bookings);
        bookings.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval((start, length): (u64, u64)) -> Interval {
        Interval {
            start: Timestamp::from_millis(start),
            end: Timestamp::from_millis(start + length),
        }
    }

    fn max_overlap(taken: &[(u64, u64)], window: Interval) -> u32 {
        let taken = taken.iter().map(|time| OccupiedInterval {
            interval: interval(*time),
            bookings: 1,
        });
        Occupancy::sum(taken).max_overlap(window)
    }

    #[test]
    fn adjacent_bookings_do_not_overlap() {
        let peak = |taken: &[(u64, u64)]| max_overlap(taken, interval((60, 60)));
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
            let taken: Vec<_> = taken
                .into_iter()
                .map(|(time, bookings)| OccupiedInterval { interval: interval(time), bookings })
                .collect();
            let bookings_at = |ms: u64| {
                let moment = Timestamp::from_millis(ms);
                let runs = |other: &&OccupiedInterval| {
                    other.interval.start <= moment && moment < other.interval.end
                };
                taken.iter().filter(runs).map(|other| other.bookings).sum::<u32>()
            };
            let milliseconds = window.start.as_millis()..window.end.as_millis();
            let counted = milliseconds.map(bookings_at).max().unwrap_or(0);
            prop_assert_eq!(Occupancy::sum(taken.iter().copied()).max_overlap(window), counted);
        }
    }
}
