//! Holds the one row that every commit rewrites: the last assigned IDs, the positions of the key
//! logs, the expiry clock, and the mark of a clean shutdown.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{AgentId, BookingId, JobId, LeadId, SubmissionId};
use crate::domain::time::Timestamp;

use crate::store::expiry_clock::ClockState;

/// Last IDs assigned, and the clocks. IDs begin at 1 and are never assigned twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    submissions: u64,
    jobs: u64,
    leads: u64,
    bookings: u64,
    agents: u64,
    /// Number of rows written to the token log and to the message log.
    pub log_rows: [u64; 2],
    /// Last evicted row of each log: the keys up to this row are not in memory, but in table
    /// `evicted_keys`.
    pub evicted_up_to: [u64; 2],
    /// Expiry clock at this commit.
    pub clock: ClockState,
    /// `true` if this commit is the last one of a clean shutdown.
    pub is_clean: bool,
}

impl Counters {
    /// Returns the counters of an empty file.
    pub fn new(now: Timestamp) -> Self {
        Self {
            submissions: 0,
            jobs: 0,
            leads: 0,
            bookings: 0,
            agents: 0,
            log_rows: [0; 2],
            evicted_up_to: [0; 2],
            clock: ClockState::new(now),
            is_clean: true,
        }
    }

    /// Returns `true` if both assigned the same IDs.
    pub fn has_same_ids(&self, other: &Self) -> bool {
        let ids = |counters: &Self| {
            [
                counters.submissions,
                counters.jobs,
                counters.leads,
                counters.bookings,
                counters.agents,
            ]
        };
        ids(self) == ids(other) && self.log_rows == other.log_rows
    }

    pub const fn next_submission(&mut self) -> SubmissionId {
        SubmissionId::new(increment(&mut self.submissions))
    }

    pub const fn next_job(&mut self) -> JobId {
        JobId::new(increment(&mut self.jobs))
    }

    pub const fn next_lead(&mut self) -> LeadId {
        LeadId::new(increment(&mut self.leads))
    }

    pub const fn next_booking(&mut self) -> BookingId {
        BookingId::new(increment(&mut self.bookings))
    }

    pub const fn next_agent(&mut self) -> AgentId {
        AgentId::new(increment(&mut self.agents))
    }
}

const fn increment(counter: &mut u64) -> u64 {
    // The counter never reaches its maximum: at a million submissions per second, that would need
    // half a million years.
    *counter = counter.saturating_add(1);
    *counter
}
