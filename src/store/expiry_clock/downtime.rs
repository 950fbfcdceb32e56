//! Records periods of downtime (while the file was closed) that earlier rows do not fully count.
//!
//! The expiry clock counts a period of downtime at once: rows written after the period have stamps
//! after it. Rows written before the period count it slowly. Only the wall clock knows the length
//! of the period, and the wall clock may be wrong. A period that every row counts in full is
//! removed, so a file that is seldom closed has no such record.
//!
//! See [`super::ExpiryClock`] for the clock.

use serde::{Deserialize, Serialize};

use crate::domain::time::{Millis, Timestamp};

/// Maximum number of separate periods. Beyond it, two periods are merged.
const MAX: usize = 16;

/// Periods of downtime that earlier rows do not fully count, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DowntimePeriods(Vec<DowntimePeriod>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DowntimePeriod {
    /// Expiry clock when the file was closed: rows with later stamps were written after the period.
    at: Timestamp,
    /// Part of the period that earlier rows will count.
    pending: Millis,
    /// Part of the period that earlier rows do not count, because the wall clock was set back by
    /// this length.
    ignored: Millis,
}

impl DowntimePeriod {
    const fn uncounted(&self) -> Millis {
        plus(self.pending, self.ignored)
    }
}

impl DowntimePeriods {
    /// Adds a period of `length` that began when the expiry clock showed `at`.
    pub fn add(&mut self, at: Timestamp, length: Millis) {
        if length == Millis::ZERO {
            return;
        }
        self.0.push(DowntimePeriod {
            at,
            pending: length,
            ignored: Millis::ZERO,
        });
        if self.0.len() > MAX {
            self.merge_smallest();
        }
    }

    /// Merges the smallest period, except the newest, into the next one. Rows written between the
    /// two periods then count the smaller period later. The merge makes no row older.
    fn merge_smallest(&mut self) {
        let Some(last) = self.0.len().checked_sub(1) else {
            return;
        };
        let periods = self.0.iter().take(last).enumerate();
        let Some((place, _)) = periods.min_by_key(|(_, closing)| closing.uncounted()) else {
            return;
        };
        let older = self.0.remove(place);
        if let Some(newer) = self.0.get_mut(place) {
            newer.pending = plus(newer.pending, older.pending);
            newer.ignored = plus(newer.ignored, older.ignored);
        }
    }

    /// Returns the downtime that earlier rows will count.
    pub fn owed(&self) -> Millis {
        self.0
            .iter()
            .fold(Millis::ZERO, |sum, closing| plus(sum, closing.pending))
    }

    /// Counts `length` of the owed downtime for earlier rows, oldest periods first.
    pub fn count_down(&mut self, length: Millis) {
        let mut left = length;
        for closing in &mut self.0 {
            let counted = left.min(closing.pending);
            (left, closing.pending) = (minus(left, counted), minus(closing.pending, counted));
        }
        self.0.retain(|closing| closing.uncounted() > Millis::ZERO);
    }

    /// Moves `length` from the owed to the void parts, newest periods first, because the newest
    /// periods affect the most rows. Returns the rest of `length`.
    pub fn void_pending(&mut self, length: Millis) -> Millis {
        let mut left = length;
        for closing in self.0.iter_mut().rev() {
            let taken = left.min(closing.pending);
            left = minus(left, taken);
            (closing.pending, closing.ignored) =
                (minus(closing.pending, taken), plus(closing.ignored, taken));
        }
        left
    }

    /// Returns the sum of the void parts. See [`Self::void_pending`].
    pub fn void(&self) -> Millis {
        self.0
            .iter()
            .fold(Millis::ZERO, |sum, closing| plus(sum, closing.ignored))
    }

    /// Moves all void parts back to the owed parts.
    pub fn restore_void(&mut self) {
        for closing in &mut self.0 {
            closing.pending = plus(closing.pending, std::mem::take(&mut closing.ignored));
        }
    }

    /// Returns the age at `now` of a row with the stamp `at`.
    pub fn age(&self, at: Timestamp, now: Timestamp) -> Millis {
        let before = self.0.iter().rev().take_while(|closing| at <= closing.at);
        let uncounted = before.fold(Millis::ZERO, |sum, closing| plus(sum, closing.uncounted()));
        minus(now.since(at), uncounted)
    }

    /// Returns a stamp such that all rows with this stamp or an earlier one have at least this
    /// `age` at `now`. The result is the latest such stamp, unless two periods were merged.
    pub fn latest(&self, age: Millis, now: Timestamp) -> Timestamp {
        let mut uncounted = self.uncounted();
        for closing in &self.0 {
            let latest = now.minus(uncounted).minus(age);
            if latest < closing.at {
                return latest;
            }
            uncounted = minus(uncounted, closing.uncounted());
        }
        now.minus(age)
    }

    /// Returns the total downtime that some rows do not count.
    pub fn uncounted(&self) -> Millis {
        self.0
            .iter()
            .fold(Millis::ZERO, |sum, closing| plus(sum, closing.uncounted()))
    }
}

/// Returns the sum of two durations.
pub const fn plus(one: Millis, other: Millis) -> Millis {
    Millis::new(one.get().saturating_add(other.get()))
}

/// Returns the first duration minus the second, or zero if the second is longer.
pub const fn minus(one: Millis, other: Millis) -> Millis {
    Millis::new(one.get().saturating_sub(other.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    const LONG: Millis = Millis::from_secs(1_000_000);

    /// Returns the periods of a file that was closed at 100 for 1,000 ms and at 1,200 for 10,000
    /// ms. At [`NOW`], 100 ms have passed since.
    fn two() -> DowntimePeriods {
        let mut periods = DowntimePeriods::default();
        periods.add(at(100), Millis::new(1_000));
        periods.add(at(1_200), Millis::new(10_000));
        periods
    }

    const NOW: Timestamp = Timestamp::from_millis(11_300);

    /// Returns the ages at [`NOW`] of rows written before both periods, between the periods, and
    /// after both.
    fn ages(periods: &DowntimePeriods) -> [u64; 3] {
        [50, 1_150, 11_250].map(|stamp| periods.age(at(stamp), NOW).get())
    }

    #[test]
    fn row_age_includes_later_downtime_as_counted() {
        let mut periods = two();
        assert_eq!(ages(&periods), [250, 150, 50]);
        assert_eq!(
            periods.age(at(100), NOW),
            Millis::new(200),
            "a row of the moment of closing is from before"
        );
        periods.count_down(Millis::new(1_500));
        assert_eq!(ages(&periods), [1_750, 650, 50]);
        assert_eq!(periods.owed(), Millis::new(9_500));
        periods.count_down(LONG);
        assert_eq!(ages(&periods), [11_250, 10_150, 50]);
        assert_eq!(periods, DowntimePeriods::default());
    }

    #[test]
    fn revoked_downtime_counts_only_if_restored() {
        let mut periods = two();
        assert_eq!(periods.void_pending(Millis::new(10_400)), Millis::ZERO);
        assert_eq!(ages(&periods), [250, 150, 50]);
        periods.count_down(LONG);
        assert_eq!(ages(&periods), [850, 150, 50]);
        assert_eq!(
            periods.void_pending(Millis::new(7)),
            Millis::new(7),
            "nothing is owed"
        );
        assert_eq!(periods.void(), Millis::new(10_400));
        periods.restore_void();
        periods.count_down(Millis::new(5_000));
        assert_eq!(ages(&periods), [5_850, 4_750, 50]);
    }

    #[test]
    fn latest_stamp_separates_rows_by_age() {
        let mut periods = two();
        for _ in 0..60 {
            for age in (0..12_000).step_by(130) {
                let latest = periods.latest(Millis::new(age), NOW);
                for stamp in (10..=100).chain(1_100..=1_200).chain(11_200..=11_300) {
                    let is_old = periods.age(at(stamp), NOW) >= Millis::new(age);
                    assert_eq!(
                        at(stamp) <= latest,
                        is_old,
                        "age {age}, stamp {stamp}, {periods:?}"
                    );
                }
            }
            periods.count_down(Millis::new(200));
        }
    }

    #[test]
    fn many_periods_are_joined_and_make_no_row_older() {
        let mut joined = DowntimePeriods::default();
        let (mut all, mut now) = (Vec::new(), 0);
        for period in 0..100_u64 {
            let length = 1_000 + period * 7 % 40;
            all.push(now + 1);
            joined.add(at(now + 1), Millis::new(length));
            now += length + 2;
            assert!(joined.0.len() <= MAX);
        }
        assert_eq!(joined.owed(), Millis::new(now - 200));
        for (place, stamp) in all.iter().enumerate() {
            let lived = 2 * (100 - u64::try_from(place).unwrap());
            assert!(joined.age(at(*stamp), at(now)).get() < lived, "{stamp}");
        }
        assert_eq!(
            joined.age(at(1), at(now)),
            Millis::new(199),
            "the oldest rows count all periods"
        );
        for age in (0..now).step_by(500) {
            let latest = joined.latest(Millis::new(age), at(now));
            let young = all
                .iter()
                .filter(|stamp| joined.age(at(**stamp), at(now)).get() < age);
            assert!(young.clone().all(|stamp| at(*stamp) > latest), "{age}");
        }
        joined.count_down(LONG);
        assert_eq!(joined, DowntimePeriods::default());
    }
}
