//! Simulated server whose wall clock may be wrong, with the true time beside its clocks.

use std::time::Duration;

use crate::domain::time::{Millis, Timestamp};
use crate::store::expiry_clock::{ClockState, ExpiryClock};

/// Hours by which a wall clock is ahead that is a year behind.
pub const BEHIND: i64 = -24 * 365;
pub const AHEAD: i64 = 24 * 365;

/// Simulated server with its clocks and the true time. Times are in hours.
pub struct Server {
    pub hours: u64,
    /// Hours by which the wall clock is ahead of the true time.
    pub ahead: i64,
    pub lived: u64,
    pub clock: ExpiryClock,
    pub committed: ClockState,
}

/// Simulated row: its stamp, and the true time of its write.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub at: Timestamp,
    pub hours: u64,
}

pub const HOUR: u64 = 60 * 60 * 1000;
pub const YEAR: u64 = 365 * 24;
pub const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

pub fn hours(hours: u64) -> Millis {
    Millis::new(hours * HOUR)
}

impl Server {
    /// Creates a new file, written by a server whose wall clock is ahead by this number of
    /// hours.
    pub fn new(ahead: i64) -> Self {
        let wall = wall(YEAR, ahead);
        let committed = ClockState::new(wall);
        let clock = ExpiryClock::resume(&committed, wall, Duration::ZERO);
        Self {
            hours: YEAR,
            ahead,
            lived: 0,
            clock,
            committed,
        }
    }

    pub fn elapsed(&self) -> Duration {
        hours(self.lived).to_duration()
    }

    pub fn read(&mut self) {
        let elapsed = self.elapsed();
        self.clock.advance(wall(self.hours, self.ahead), elapsed);
    }

    pub fn commit(&mut self) {
        self.read();
        self.committed = self.clock.state();
    }

    pub fn live(&mut self, hours: u64) {
        (self.hours, self.lived) = (self.hours + hours, self.lived + hours);
        self.read();
    }

    /// Sets the wall clock to `ahead` hours ahead of the true time.
    pub fn set(&mut self, ahead: i64) {
        self.ahead = ahead;
        self.read();
    }

    /// Ends the process, and starts another process after this number of hours.
    pub fn die(&mut self, closed: u64, ahead: i64) {
        (self.hours, self.ahead) = (self.hours + closed, ahead);
        self.clock = ExpiryClock::resume(&self.committed, wall(self.hours, ahead), self.elapsed());
        self.commit();
    }

    pub fn restart(&mut self, closed: u64, ahead: i64) {
        self.commit();
        self.die(closed, ahead);
    }

    pub fn row(&self) -> Row {
        Row {
            at: self.clock.reading(),
            hours: self.hours,
        }
    }

    /// Returns the age of a row by the expiry clock, and the true age.
    pub fn ages(&self, row: Row) -> [u64; 2] {
        let age = self
            .clock
            .state
            .downtime
            .age(row.at, self.clock.reading())
            .get();
        assert_eq!(age % HOUR, 0);
        [age / HOUR, self.hours - row.hours]
    }

    #[track_caller]
    pub fn has_age(&self, row: Row, age: u64) {
        assert_eq!(self.ages(row)[0], age);
    }
}

/// Returns a wall clock that is ahead by `ahead` hours, after this number of hours.
pub fn wall(hours: u64, ahead: i64) -> Timestamp {
    let shown = hours.checked_add_signed(ahead).unwrap();
    START.minus(self::hours(YEAR)).plus(self::hours(shown))
}
