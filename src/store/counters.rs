//! The one row that every commit rewrites: the next free numbers, the clock that expiry goes by, and whether the file
//! was closed in peace.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{AgentId, BookingId, JobId, LeadId, SubmissionId};
use crate::domain::time::{Millis, Timestamp};

/// Numbers given out so far, and when. Numbers begin at 1 and are never given twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counters {
    submissions: u64,
    jobs: u64,
    leads: u64,
    bookings: u64,
    agents: u64,
    /// Rows written to the token log and to the message log.
    pub(super) log_rows: [u64; 2],
    /// Rows up to these are no longer in memory: their keys are in `old_keys`.
    pub(super) evicted: [u64; 2],
    /// The elapsed clock at this commit. See [`ExpiryClock`].
    expiry: Timestamp,
    /// Time spent closed that the elapsed clock does not show yet.
    owed: Millis,
    /// The wall clock at this commit.
    wall: Timestamp,
    /// Whether nothing came after this commit: the store was closed.
    pub(super) clean: bool,
}

impl Counters {
    /// The counters of a file that holds nothing.
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            submissions: 0,
            jobs: 0,
            leads: 0,
            bookings: 0,
            agents: 0,
            log_rows: [0; 2],
            evicted: [0; 2],
            expiry: now,
            owed: Millis::ZERO,
            wall: now,
            clean: true,
        }
    }

    pub(super) const fn next_submission(&mut self) -> SubmissionId {
        SubmissionId::new(next(&mut self.submissions))
    }

    pub(super) const fn next_job(&mut self) -> JobId {
        JobId::new(next(&mut self.jobs))
    }

    pub(super) const fn next_lead(&mut self) -> LeadId {
        LeadId::new(next(&mut self.leads))
    }

    pub(super) const fn next_booking(&mut self) -> BookingId {
        BookingId::new(next(&mut self.bookings))
    }

    pub(super) const fn next_agent(&mut self) -> AgentId {
        AgentId::new(next(&mut self.agents))
    }

    /// Notes what the clocks showed at this commit.
    pub(super) const fn stamp(&mut self, expiry: &ExpiryClock, wall: Timestamp) {
        self.expiry = expiry.shown;
        self.owed = expiry.owed;
        self.wall = wall;
    }
}

/// The elapsed clock: idempotency keys expire by it and retention goes by it. It never goes back and never jumps with the
/// wall clock: when that jumps a year ahead, nothing expires a year early.
///
/// How long the file was closed only the wall clock can tell, and that may be wrong. So time spent closed is owed at
/// first, and paid while the process lives, eight times as fast as time goes by. After a week's pause the clock is right
/// again within a day; a start with a clock that is a year ahead, and set right after a minute, costs nine minutes. A
/// wall clock that is set back takes back what it owes. What is owed stays with the counters over the next start.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpiryClock {
    /// What it showed when it was last read.
    shown: Timestamp,
    /// What the process clock showed then.
    elapsed: Duration,
    /// Time spent closed that is not paid yet.
    owed: Millis,
    /// The wall clock and the process clock when the two were last found to have come apart.
    compared: (Timestamp, Duration),
}

/// How much of what is owed is paid with each millisecond that goes by.
const PAID: u64 = 8;

/// A wall clock that moved by so much more or less than the process clock was set. Less is how time servers steer it.
const SET: Millis = Millis::from_secs(1);

/// 2025-01-01, when this program did not exist: a wall clock that shows less was never set, and says nothing.
const NEVER_SET: Timestamp = Timestamp::from_millis(1_735_689_600_000);

impl ExpiryClock {
    /// Takes up the clock where a file's last commit left it.
    pub(super) fn resume(counters: &Counters, wall: Timestamp, elapsed: Duration) -> Self {
        let owed = if wall < NEVER_SET {
            counters.owed
        } else if counters.wall < NEVER_SET {
            Millis::ZERO
        } else {
            let closed = wall.since(counters.wall);
            let set_back = counters.wall.since(wall);
            Millis::new(counters.owed.get().saturating_add(closed.get()).saturating_sub(set_back.get()))
        };
        Self { shown: counters.expiry, elapsed, owed, compared: (wall, elapsed) }
    }

    /// What it showed when it was last read.
    pub(super) const fn shown(&self) -> Timestamp {
        self.shown
    }

    /// Time spent closed that is not paid yet.
    pub(super) const fn owed(&self) -> Millis {
        self.owed
    }

    /// Reads the clock. `wall` and `elapsed`: what the wall clock and the process clock show.
    pub(super) fn read(&mut self, wall: Timestamp, elapsed: Duration) -> Timestamp {
        self.compare(wall, elapsed);
        let went_by = millis(elapsed.saturating_sub(self.elapsed));
        let paid = went_by.get().saturating_mul(PAID).min(self.owed.get());
        self.owed = Millis::new(self.owed.get().saturating_sub(paid));
        self.shown = self.shown.plus(went_by).plus(Millis::new(paid));
        // What is less than a millisecond is left for the next reading.
        self.elapsed = self.elapsed.saturating_add(went_by.to_duration());
        self.shown
    }

    /// Takes back what is owed where the wall clock was set back. One that was set ahead changes nothing.
    fn compare(&mut self, wall: Timestamp, elapsed: Duration) {
        let (wall_then, elapsed_then) = self.compared;
        let expected = wall_then.plus(millis(elapsed.saturating_sub(elapsed_then)));
        let (behind, ahead) = (expected.since(wall), wall.since(expected));
        if behind.max(ahead) < SET {
            return;
        }
        self.compared = (wall, elapsed);
        if wall >= NEVER_SET {
            self.owed = Millis::new(self.owed.get().saturating_sub(behind.get()));
        }
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

const fn next(counter: &mut u64) -> u64 {
    // 2⁶⁴ submissions at a million a second take half a million years.
    *counter = counter.saturating_add(1);
    *counter
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    const HOUR: u64 = 60 * 60 * 1000;
    const YEAR: u64 = 365 * 24 * HOUR;
    const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

    /// A file that was closed at [`START`], and what its elapsed clock shows then.
    fn closed() -> Counters {
        Counters { expiry: at(1_000), ..Counters::new(START) }
    }

    fn later(hours: u64) -> (Timestamp, Duration) {
        (START.plus(Millis::new(hours * HOUR)), Duration::from_millis(hours * HOUR))
    }

    #[test]
    fn the_expiry_clock_moves_with_time_that_goes_by_also_in_small_steps() {
        let mut clock = ExpiryClock::resume(&closed(), START, Duration::from_micros(500));
        assert_eq!(clock.read(START, Duration::from_micros(900)), at(1_000));
        assert_eq!(clock.read(START, Duration::from_micros(1_400)), at(1_000));
        assert_eq!(clock.read(START, Duration::from_micros(1_600)), at(1_001));
        assert_eq!(clock.read(START, Duration::from_micros(2_500)), at(1_002));
    }

    #[test]
    fn time_spent_closed_is_paid_while_the_process_lives_and_over_the_next_start() {
        let (wall, _) = later(24);
        let mut clock = ExpiryClock::resume(&closed(), wall, Duration::ZERO);
        let (wall, elapsed) = (later(25).0, later(1).1);
        assert_eq!(clock.read(wall, elapsed), at(1_000 + 9 * HOUR));
        let mut counters = closed();
        counters.stamp(&clock, wall);
        let mut clock = ExpiryClock::resume(&counters, wall, Duration::ZERO);
        let (wall, elapsed) = (later(30).0, later(5).1);
        assert_eq!(clock.read(wall, elapsed), at(1_000 + 30 * HOUR), "and no more than that");
        assert_eq!(clock.owed(), Millis::ZERO);
    }

    #[test]
    fn a_start_with_a_clock_a_year_ahead_costs_nine_times_the_time_until_it_is_set_right() {
        let ahead = START.plus(Millis::new(YEAR));
        let minute = Duration::from_mins(1);
        for set_right_while_running in [true, false] {
            let mut clock = ExpiryClock::resume(&closed(), ahead, Duration::ZERO);
            let wall = ahead.plus(Millis::new(60_000));
            assert_eq!(clock.read(wall, minute), at(1_000 + 9 * 60_000));
            let right = START.plus(Millis::new(60_000));
            if set_right_while_running {
                clock.read(right, minute);
            } else {
                let mut counters = closed();
                counters.stamp(&clock, wall);
                clock = ExpiryClock::resume(&counters, right, minute);
            }
            assert_eq!(clock.owed(), Millis::ZERO, "{set_right_while_running}");
            assert_eq!(clock.read(right.plus(Millis::new(60_000)), 2 * minute), at(1_000 + 10 * 60_000));
        }
    }

    #[test]
    fn a_clock_that_was_never_set_owes_nothing_and_one_set_ahead_while_running_neither() {
        let counters = Counters::new(at(0));
        let clock = ExpiryClock::resume(&counters, START, Duration::ZERO);
        assert_eq!(clock.owed(), Millis::ZERO);
        let mut clock = ExpiryClock::resume(&Counters::new(at(0)), at(0), Duration::ZERO);
        assert_eq!(clock.read(START, Duration::from_secs(1)), at(1_000));
        assert_eq!(clock.owed(), Millis::ZERO);
        // What was owed before a start without a clock stays.
        let counters = Counters { owed: Millis::new(HOUR), ..closed() };
        assert_eq!(ExpiryClock::resume(&counters, at(0), Duration::ZERO).owed(), Millis::new(HOUR));
    }

    #[test]
    fn a_clock_that_a_time_server_slows_down_takes_back_no_more_than_that() {
        let mut clock = ExpiryClock::resume(&closed(), later(100).0, Duration::ZERO);
        for ms in 1..=100_000_u64 {
            // A tenth of a percent too slow, read in whole milliseconds.
            clock.read(later(100).0.plus(Millis::new(ms - ms / 1000)), Duration::from_millis(ms));
        }
        let owed = 100 * HOUR - 8 * 100_000;
        assert!((owed - 100..=owed).contains(&clock.owed().get()), "{:?}", clock.owed());
    }
}
