//! Deliveries whose time was written by a clock that ran ahead and was set back since. They are found in the lane's schedule
//! and are due: waiting for the clock to get there again could take days.
//!
//! What is handed out and what is left alone is `super::lane`'s.

use std::time::Duration;

use crate::domain::ids::{DestinationName, JobId};
use crate::domain::time::{Millis, Timestamp};
use crate::store::{Snapshot, StoreError};

/// Rows looked at in one go.
const CHUNK: usize = 256;

/// A wall clock that shows this much less than it should was set back.
const SET_BACK: Millis = Millis::from_secs(1);

/// The search, which begins anew whenever the clock is set back.
pub(super) struct Ahead {
    /// Both clocks, as they were looked at last.
    last: (Timestamp, Duration),
    /// What was looked at last; `None`: all was.
    after: Option<(Timestamp, JobId)>,
}

impl Ahead {
    /// A search that begins now: the clock may have been set back while nothing ran.
    pub(super) const fn new(now: Timestamp, elapsed: Duration) -> Self {
        Self { last: (now, elapsed), after: Some((now, JobId::new(u64::MAX))) }
    }

    /// Looks at the clocks: the wall's, and the process's.
    pub(super) fn look_at(&mut self, now: Timestamp, elapsed: Duration) {
        let went_by = u64::try_from(elapsed.saturating_sub(self.last.1).as_millis()).unwrap_or(u64::MAX);
        if now.plus(SET_BACK) < self.last.0.plus(Millis::new(went_by)) {
            self.begin_again(now);
        }
        self.last = (now, elapsed);
    }

    /// Begins again: what was found may not have been told.
    pub(super) const fn begin_again(&mut self, now: Timestamp) {
        self.after = Some((now, JobId::new(u64::MAX)));
    }

    /// Whether there is something left to look at.
    pub(super) const fn is_under_way(&self) -> bool {
        self.after.is_some()
    }

    /// Looks on, and gives those that should be due. `longest`: no retry is further away.
    pub(super) fn search(
        &mut self,
        snapshot: &Snapshot,
        destination: &DestinationName,
        now: Timestamp,
        longest: Millis,
    ) -> Result<Vec<JobId>, StoreError> {
        let Some(after) = self.after else { return Ok(Vec::new()) };
        let later = snapshot.lane_behind(destination, after, CHUNK)?;
        self.after = if later.len() < CHUNK { None } else { later.last().copied() };
        // What can't be read is told by whoever delivers it, in its time.
        let is_due = |id| matches!(snapshot.job(id), Ok(Some(job)) if job.is_of_clock_ahead(now, longest));
        Ok(later.into_iter().map(|(_, id)| id).filter(|id| is_due(*id)).collect())
    }
}
