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
    /// The expiry clock at this commit. See [`ExpiryClock`].
    expiry: Timestamp,
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

    /// The expiry clock: what idempotency keys are stamped with and expire by.
    pub(super) const fn expiry(&self) -> Timestamp {
        self.expiry
    }

    /// Takes up the expiry clock after the file was closed for a while: only the wall clock can tell how long. A wall
    /// clock that went back adds nothing, so that no key dies early.
    pub(super) fn resume(&mut self, wall: Timestamp) {
        self.expiry = self.expiry.plus(wall.since(self.wall));
        self.wall = wall;
    }

    /// Notes what the two clocks showed at this commit.
    pub(super) const fn stamp(&mut self, expiry: Timestamp, wall: Timestamp) {
        self.expiry = expiry;
        self.wall = wall;
    }
}

/// The clock that keys expire by. It moves with time that really goes by, never with the wall clock: when that jumps a
/// day ahead, no key expires a day early.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpiryClock {
    base: Timestamp,
    base_elapsed: Duration,
}

impl ExpiryClock {
    /// A clock that shows `base` when the process clock shows `elapsed`.
    pub(super) const fn starting(base: Timestamp, elapsed: Duration) -> Self {
        Self { base, base_elapsed: elapsed }
    }

    /// What it shows when the process clock shows `elapsed`.
    pub(super) fn at(&self, elapsed: Duration) -> Timestamp {
        let went_by = elapsed.saturating_sub(self.base_elapsed).as_millis();
        self.base.plus(Millis::new(u64::try_from(went_by).unwrap_or(u64::MAX)))
    }
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

    #[test]
    fn the_expiry_clock_moves_with_time_that_goes_by_also_in_small_steps() {
        let clock = ExpiryClock::starting(at(1_000), Duration::from_micros(500));
        assert_eq!(clock.at(Duration::from_micros(900)), at(1_000));
        assert_eq!(clock.at(Duration::from_micros(2_500)), at(1_002));
    }

    #[test]
    fn time_spent_closed_counts_and_a_clock_set_back_counts_as_nothing() {
        let mut counters = Counters::new(at(1_000));
        counters.resume(at(61_000));
        assert_eq!(counters.expiry(), at(61_000));
        counters.resume(at(2_000));
        assert_eq!(counters.expiry(), at(61_000));
    }
}
