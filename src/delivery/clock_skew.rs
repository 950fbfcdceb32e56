//! Finds deliveries that were scheduled too late because the wall clock was ahead and was set back
//! since. These deliveries are due now. Without this, they would wait until the clock reaches the
//! same time again, possibly for days.
//!
//! See [`super::destination_worker`] for the start of deliveries, and
//! [`super::ready_queue`] for the quarantine.

use std::time::Duration;

use crate::domain::ids::{DestinationName, JobId};
use crate::domain::time::{Millis, Timestamp};
use crate::store::{Snapshot, StoreError};

/// Maximum number of rows read at once.
const CHUNK_ROWS: usize = 256;

/// Minimum lag of the wall clock that counts as set back.
const SET_BACK_MIN: Millis = Millis::from_secs(1);

/// Scan of the later part of the schedule. The scan restarts each time the wall clock is set back.
pub(crate) struct SkewScanner {
    /// Last reading of the wall clock and the process clock.
    last_reading: (Timestamp, Duration),
    /// Last scanned row. `None`: the scan is complete.
    cursor: Option<(Timestamp, JobId)>,
}

impl SkewScanner {
    /// Starts a scan. The clock may have been set back while the process was stopped.
    pub(crate) const fn new(now: Timestamp, elapsed: Duration) -> Self {
        Self {
            last_reading: (now, elapsed),
            cursor: Some((now, JobId::new(u64::MAX))),
        }
    }

    /// Compares the readings of the wall clock and the process clock with the last readings.
    /// Restarts the scan if the wall clock was set back.
    pub(crate) fn observe(&mut self, now: Timestamp, elapsed: Duration) {
        let since_last = Millis::from_duration(elapsed.saturating_sub(self.last_reading.1));
        if now.plus(SET_BACK_MIN) < self.last_reading.0.plus(since_last) {
            self.restart(now);
        }
        self.last_reading = (now, elapsed);
    }

    /// Restarts the scan, for example because a delivery that the scan found was not sent.
    pub(crate) const fn restart(&mut self, now: Timestamp) {
        self.cursor = Some((now, JobId::new(u64::MAX)));
    }

    /// Returns `true` if the scan is not complete.
    pub(crate) const fn is_scanning(&self) -> bool {
        self.cursor.is_some()
    }

    /// Scans the next rows and returns the deliveries that should be due. `longest` is the maximum
    /// time to the next retry.
    pub(crate) fn scan(
        &mut self,
        snapshot: &Snapshot,
        destination: &DestinationName,
        now: Timestamp,
        longest: Millis,
    ) -> Result<Vec<JobId>, StoreError> {
        let Some(after) = self.cursor else {
            return Ok(Vec::new());
        };
        let later = snapshot.deliveries_after(destination, after, CHUNK_ROWS)?;
        self.cursor = if later.len() < CHUNK_ROWS {
            None
        } else {
            later.last().copied()
        };
        // The attempt reports an unreadable delivery.
        let is_due =
            |id| matches!(snapshot.job(id), Ok(Some(job)) if job.has_future_skew(now, longest));
        Ok(later
            .into_iter()
            .map(|(_, id)| id)
            .filter(|id| is_due(*id))
            .collect())
    }
}
