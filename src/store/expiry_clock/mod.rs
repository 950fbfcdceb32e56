//! The expiry clock: idempotency keys expire by this clock, and retention purges rows by it.
//!
//! See [`self::downtime`] for the periods in which the file was closed. The writer advances the
//! clock and stores its state with each commit.

pub mod downtime;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::time::{Millis, Timestamp};

use self::downtime::{DowntimePeriods, minus, plus};

/// State of the clock at a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    /// Expiry clock at the commit.
    reading: Timestamp,
    /// Periods of downtime that earlier rows do not fully count. See [`ExpiryClock`].
    pub downtime: DowntimePeriods,
    /// Time by which the wall clock was set back and has not been set ahead again since.
    set_back: Millis,
    /// `true` if a start found the wall clock set back. The length of the downtime before that
    /// start is unknown.
    has_unknown_downtime: bool,
    /// Wall clock at the commit, in UTC, if the wall clock was ever set.
    wall: Timestamp,
}

impl ClockState {
    /// Returns the state of a clock that starts now.
    pub fn new(now: Timestamp) -> Self {
        Self {
            reading: now,
            downtime: DowntimePeriods::default(),
            set_back: Millis::ZERO,
            has_unknown_downtime: false,
            wall: now,
        }
    }

    /// Returns the wall clock at the commit.
    pub const fn wall(&self) -> Timestamp {
        self.wall
    }

    /// Returns `true` if the wall clock was set between `earlier` and this state.
    pub fn wall_was_set_since(&self, earlier: &Self) -> bool {
        let expected = earlier.wall.plus(self.reading.since(earlier.reading));
        // Without a setting, the two times differ only by rounding. A setting moves the wall clock
        // by at least twice this threshold.
        distance(expected, self.wall) >= Millis::new(CLOCK_SET_MIN.get() / 2)
    }
}

/// The expiry clock: a clock of elapsed time. Idempotency keys expire by this clock, and retention
/// purges rows by it. The expiry clock never goes back. While the process runs, the expiry clock
/// follows the process clock and ignores changes of the wall clock.
///
/// Only the wall clock knows how long the file was closed, and the wall clock may be wrong.
/// Therefore:
///
/// - The expiry clock counts a downtime at once, but rows written before the downtime count it
///   slowly. With each millisecond that passes, such rows also get older by [`SPEED`] ms of the
///   downtime. A row written after the downtime gets no part of it. After a downtime of a week, all
///   ages are right within a day.
/// - Example: a server starts with a wall clock that is a year ahead, and the wall clock is
///   corrected after a minute. Earlier rows then get older by nine minutes, and later rows get
///   older only by the minute. See [`DowntimePeriods`].
/// - If the wall clock is set back, the expiry clock takes back the downtime that rows have not
///   counted yet. The expiry clock records the rest of the setting. The wall clock may be behind
///   from then on, and its correction must not count as downtime.
/// - A downtime shorter than the recorded time does not count. Of a longer downtime, the excess
///   counts. If the excess also covers the downtime that was taken back, rows count that downtime
///   again. If a start found the wall clock set back, the excess does not count: the excess may be
///   older than that start.
/// - If the wall clock is set ahead while the process runs, no age changes. Settings ahead and back
///   cancel each other out.
/// - A wall clock that shows a time before this program existed is ignored.
///
/// So a wrong wall clock, or its correction, can make the ages of rows too small, but hardly too
/// large. In any case, rows get older by the time that the process runs.
#[derive(Clone, Debug)]
pub struct ExpiryClock {
    /// State when the clock was last advanced. Its wall clock is that of the last commit.
    state: ClockState,
    /// Process clock at the same moment.
    process_elapsed: Duration,
    /// Time by which the wall clock was set ahead in this process and has not been set back again
    /// since.
    set_ahead: Millis,
    /// Wall clock and process clock at the last comparison that found a difference.
    last_compared: (Timestamp, Duration),
}

/// Milliseconds of a downtime that earlier rows count with each millisecond that passes.
const SPEED: u64 = 8;

/// Minimum difference to the process clock by which the wall clock counts as set. Time servers
/// adjust the wall clock by smaller steps.
const CLOCK_SET_MIN: Millis = Millis::from_secs(1);

/// 2025-01-01, when this program did not exist. A wall clock before this time was never set and is
/// ignored.
const EARLIEST_VALID_TIME: Timestamp = Timestamp::from_millis(1_735_689_600_000);

/// End of the year 9999. A wall clock after this time is ignored.
const LAST: Timestamp = Timestamp::from_millis(253_402_300_799_999);

impl ExpiryClock {
    /// Continues the clock from the last commit of a file.
    pub fn resume(committed: &ClockState, wall: Timestamp, elapsed: Duration) -> Self {
        let mut clock = Self {
            state: committed.clone(),
            process_elapsed: elapsed,
            set_ahead: Millis::ZERO,
            last_compared: (committed.wall, elapsed),
        };
        if is_plausible(wall) {
            clock.last_compared = (wall, elapsed);
            if is_plausible(committed.wall) {
                let set_back = committed.wall.since(wall);
                if set_back >= CLOCK_SET_MIN {
                    clock.record_set_back(set_back);
                    clock.state.has_unknown_downtime = true;
                } else if wall > committed.wall {
                    clock.record_downtime(wall.since(committed.wall));
                }
            }
        }
        clock
    }

    /// Returns the expiry clock when it was last advanced.
    pub const fn reading(&self) -> Timestamp {
        self.state.reading
    }

    /// Returns the state to store with a commit.
    pub fn state(&self) -> ClockState {
        ClockState {
            wall: self.wall_at(self.process_elapsed),
            ..self.state.clone()
        }
    }

    /// Returns the downtime that earlier rows will count.
    pub fn uncounted_downtime(&self) -> Millis {
        self.state.downtime.owed()
    }

    /// Advances the clock and returns its time. The arguments are the wall clock and the process
    /// clock.
    pub fn advance(&mut self, wall: Timestamp, elapsed: Duration) -> Timestamp {
        self.handle_clock_change(wall, elapsed);
        let elapsed_since = Millis::from_duration(elapsed.saturating_sub(self.process_elapsed));
        self.state
            .downtime
            .count_down(Millis::new(elapsed_since.get().saturating_mul(SPEED)));
        self.state.reading = self.state.reading.plus(elapsed_since);
        // The rest below a millisecond remains for the next call.
        self.process_elapsed = self
            .process_elapsed
            .saturating_add(elapsed_since.to_duration());
        self.state.reading
    }

    /// Returns the wall clock at a reading of the process clock. An ignored wall clock is replaced
    /// by its last valid time plus the time since then.
    fn wall_at(&self, elapsed: Duration) -> Timestamp {
        let (wall, then) = self.last_compared;
        wall.plus(Millis::from_duration(elapsed.saturating_sub(then)))
    }

    /// Detects a setting of the wall clock.
    fn handle_clock_change(&mut self, wall: Timestamp, elapsed: Duration) {
        let expected = self.wall_at(elapsed);
        if !is_plausible(wall) || distance(expected, wall) < CLOCK_SET_MIN {
            return;
        }
        self.last_compared = (wall, elapsed);
        if is_plausible(expected) {
            self.record_set_back(expected.since(wall));
            self.record_set_ahead(wall.since(expected));
        }
    }

    /// Records a downtime of this length by the wall clock.
    fn record_downtime(&mut self, length: Millis) {
        if length < self.state.set_back {
            return;
        }
        let mut downtime = minus(length, std::mem::take(&mut self.state.set_back));
        let taken_back = self.state.downtime.void();
        if downtime >= taken_back {
            self.state.downtime.restore_void();
            downtime = minus(downtime, taken_back);
        }
        // The rest may be older than the start that found the wall clock set back. Rows written
        // since that start must not count the rest.
        if std::mem::take(&mut self.state.has_unknown_downtime) {
            return;
        }
        self.state.downtime.add(self.state.reading, downtime);
        self.state.reading = self.state.reading.plus(downtime);
    }

    /// Records that the wall clock was set back by `length`.
    fn record_set_back(&mut self, length: Millis) {
        let corrects = length.min(self.set_ahead);
        self.set_ahead = minus(self.set_ahead, corrects);
        let rest = self.state.downtime.void_pending(minus(length, corrects));
        self.state.set_back = plus(self.state.set_back, rest);
    }

    /// Records that the wall clock was set ahead by `length` while the process ran.
    fn record_set_ahead(&mut self, length: Millis) {
        let corrects = length.min(self.state.set_back);
        self.state.set_back = minus(self.state.set_back, corrects);
        self.set_ahead = plus(self.set_ahead, minus(length, corrects));
    }
}

/// Returns `true` if a wall clock that shows `wall` can be right.
fn is_plausible(wall: Timestamp) -> bool {
    (EARLIEST_VALID_TIME..=LAST).contains(&wall)
}

fn distance(one: Timestamp, other: Timestamp) -> Millis {
    one.since(other).max(other.since(one))
}
