//! Periods during which the file was closed, as far as rows from before do not count them.
//!
//! The elapsed clock counts a closed period at once: rows written after it have stamps behind the period. Rows from before
//! it count it slowly, because only the wall clock knows its length, and the wall clock may be wrong. A period that every row
//! counts in full is forgotten: a file that is seldom closed keeps none. See [`super::counters::ExpiryClock`].

use serde::{Deserialize, Serialize};

use crate::domain::time::{Millis, Timestamp};

/// Maximum of closed periods that are told apart.
const MAX: usize = 16;

/// Closed periods that rows from before do not count in full, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closings(Vec<Closing>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Closing {
    /// The elapsed clock when the file was closed: rows stamped later are from after the period.
    at: Timestamp,
    /// Part that rows from before will count.
    owed: Millis,
    /// Part that rows from before do not count: the wall clock was set back by as much.
    void: Millis,
}

impl Closing {
    const fn uncounted(&self) -> Millis {
        plus(self.owed, self.void)
    }
}

impl Closings {
    /// Adds a period of `length` that began when the elapsed clock showed `at`.
    pub(super) fn add(&mut self, at: Timestamp, length: Millis) {
        if length == Millis::ZERO {
            return;
        }
        self.0.push(Closing { at, owed: length, void: Millis::ZERO });
        if self.0.len() > MAX {
            self.join_two();
        }
    }

    /// Joins the smallest period, apart from the newest, to the next one. Rows between the two count the smallest later: no row
    /// gets older by that.
    fn join_two(&mut self) {
        let Some(last) = self.0.len().checked_sub(1) else { return };
        let periods = self.0.iter().take(last).enumerate();
        let Some((place, _)) = periods.min_by_key(|(_, closing)| closing.uncounted()) else { return };
        let older = self.0.remove(place);
        if let Some(newer) = self.0.get_mut(place) {
            newer.owed = plus(newer.owed, older.owed);
            newer.void = plus(newer.void, older.void);
        }
    }

    /// Time that rows from before will count.
    pub(super) fn owed(&self) -> Millis {
        self.0.iter().fold(Millis::ZERO, |sum, closing| plus(sum, closing.owed))
    }

    /// Lets rows from before count `length` of what is owed, oldest periods first.
    pub(super) fn count(&mut self, length: Millis) {
        let mut left = length;
        for closing in &mut self.0 {
            let counted = left.min(closing.owed);
            (left, closing.owed) = (minus(left, counted), minus(closing.owed, counted));
        }
        self.0.retain(|closing| closing.uncounted() > Millis::ZERO);
    }

    /// Makes `length` of what is owed void, newest periods first: these concern the most rows. Returns the rest of `length`.
    pub(super) fn take_back(&mut self, length: Millis) -> Millis {
        let mut left = length;
        for closing in self.0.iter_mut().rev() {
            let taken = left.min(closing.owed);
            left = minus(left, taken);
            (closing.owed, closing.void) = (minus(closing.owed, taken), plus(closing.void, taken));
        }
        left
    }

    /// Sum of the void parts: see [`Self::take_back`].
    pub(super) fn void(&self) -> Millis {
        self.0.iter().fold(Millis::ZERO, |sum, closing| plus(sum, closing.void))
    }

    /// Makes all void parts owed again.
    pub(super) fn give_back(&mut self) {
        for closing in &mut self.0 {
            closing.owed = plus(closing.owed, std::mem::take(&mut closing.void));
        }
    }

    /// Age at `now` of a row stamped `at`.
    pub(super) fn age(&self, at: Timestamp, now: Timestamp) -> Millis {
        let before = self.0.iter().rev().take_while(|closing| at <= closing.at);
        let uncounted = before.fold(Millis::ZERO, |sum, closing| plus(sum, closing.uncounted()));
        minus(now.since(at), uncounted)
    }

    /// A stamp for which all rows stamped up to it are at least of this `age` at `now`: the latest, unless two periods were
    /// joined.
    pub(super) fn latest(&self, age: Millis, now: Timestamp) -> Timestamp {
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

    /// All time that some rows do not count.
    pub(super) fn uncounted(&self) -> Millis {
        self.0.iter().fold(Millis::ZERO, |sum, closing| plus(sum, closing.uncounted()))
    }
}

/// The sum of two lengths.
pub(super) const fn plus(one: Millis, other: Millis) -> Millis {
    Millis::new(one.get().saturating_add(other.get()))
}

/// `one` without `other`; nothing where that is longer.
pub(super) const fn minus(one: Millis, other: Millis) -> Millis {
    Millis::new(one.get().saturating_sub(other.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    const LONG: Millis = Millis::from_secs(1_000_000);

    /// A file closed at 100 for 1,000 ms and at 1,200 for 10,000 ms. Then 100 ms went by.
    fn two() -> Closings {
        let mut closings = Closings::default();
        closings.add(at(100), Millis::new(1_000));
        closings.add(at(1_200), Millis::new(10_000));
        closings
    }

    const NOW: Timestamp = Timestamp::from_millis(11_300);

    /// Ages at [`NOW`] of rows from before both periods, between the two, and after both.
    fn ages(closings: &Closings) -> [u64; 3] {
        [50, 1_150, 11_250].map(|stamp| closings.age(at(stamp), NOW).get())
    }

    #[test]
    fn a_row_counts_the_periods_after_it_as_far_as_these_are_counted() {
        let mut closings = two();
        assert_eq!(ages(&closings), [250, 150, 50]);
        assert_eq!(closings.age(at(100), NOW), Millis::new(200), "a row of the moment of closing is from before");
        closings.count(Millis::new(1_500));
        assert_eq!(ages(&closings), [1_750, 650, 50]);
        assert_eq!(closings.owed(), Millis::new(9_500));
        closings.count(LONG);
        assert_eq!(ages(&closings), [11_250, 10_150, 50]);
        assert_eq!(closings, Closings::default());
    }

    #[test]
    fn what_is_taken_back_is_not_counted_unless_it_is_given_back() {
        let mut closings = two();
        assert_eq!(closings.take_back(Millis::new(10_400)), Millis::ZERO);
        assert_eq!(ages(&closings), [250, 150, 50]);
        closings.count(LONG);
        assert_eq!(ages(&closings), [850, 150, 50]);
        assert_eq!(closings.take_back(Millis::new(7)), Millis::new(7), "nothing is owed");
        assert_eq!(closings.void(), Millis::new(10_400));
        closings.give_back();
        closings.count(Millis::new(5_000));
        assert_eq!(ages(&closings), [5_850, 4_750, 50]);
    }

    #[test]
    fn the_latest_stamp_of_an_age_lies_between_rows_of_that_age_and_younger_ones() {
        let mut closings = two();
        for _ in 0..60 {
            for age in (0..12_000).step_by(130) {
                let latest = closings.latest(Millis::new(age), NOW);
                for stamp in (10..=100).chain(1_100..=1_200).chain(11_200..=11_300) {
                    let is_old = closings.age(at(stamp), NOW) >= Millis::new(age);
                    assert_eq!(at(stamp) <= latest, is_old, "age {age}, stamp {stamp}, {closings:?}");
                }
            }
            closings.count(Millis::new(200));
        }
    }

    #[test]
    fn many_periods_are_joined_and_make_no_row_older() {
        let mut joined = Closings::default();
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
        assert_eq!(joined.age(at(1), at(now)), Millis::new(199), "the oldest rows count all periods");
        for age in (0..now).step_by(500) {
            let latest = joined.latest(Millis::new(age), at(now));
            let young = all.iter().filter(|stamp| joined.age(at(**stamp), at(now)).get() < age);
            assert!(young.clone().all(|stamp| at(*stamp) > latest), "{age}");
        }
        joined.count(LONG);
        assert_eq!(joined, Closings::default());
    }
}
