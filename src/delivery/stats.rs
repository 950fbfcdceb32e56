//! Holds the statistics of the destination workers. Each worker updates its own statistics, and any
//! thread can read all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::ids::{DestinationName, JobId};
use crate::domain::time::Timestamp;

/// Statistics of one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationStats {
    /// Job IDs of the deliveries in flight.
    pub in_flight: BTreeSet<JobId>,
    /// End of the current pause of the open breaker, by the process clock. `None`: closed.
    pub open_until: Option<Duration>,
    /// End of the pause that the destination asked for, by the process clock. `None`: no pause.
    pub paused_until: Option<Duration>,
    /// Number of accepted deliveries since the start.
    pub delivered: u64,
    /// Number of failed attempts since the start.
    pub failed: u64,
    /// Number of expired deliveries since the start.
    pub expired: u64,
    /// Time of the last expiry. `None`: none since the start.
    pub last_expired: Option<Timestamp>,
    /// Time of the last successful attempt. `None`: none since the start.
    pub last_success: Option<Timestamp>,
    /// Time and reason of the last failed attempt. `None`: none since the start.
    pub last_failure: Option<(Timestamp, String)>,
}

/// Statistics of all destinations by name.
#[derive(Clone, Debug, Default)]
pub struct DeliveryStats(Arc<Mutex<BTreeMap<DestinationName, DestinationStats>>>);

impl DeliveryStats {
    /// Returns the current statistics of all destinations.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<DestinationName, DestinationStats> {
        self.0.lock().clone()
    }

    /// Returns the job IDs of all deliveries in flight.
    #[must_use]
    pub fn in_flight(&self) -> Vec<JobId> {
        self.0
            .lock()
            .values()
            .flat_map(|stats| stats.in_flight.iter().copied())
            .collect()
    }

    /// Adds `name` to the statistics.
    pub(crate) fn register(&self, name: &DestinationName) {
        self.0.lock().entry(name.clone()).or_default();
    }

    /// Updates the statistics of `name`. Does nothing after the removal of `name`, because its last
    /// attempts may still be in flight.
    pub(crate) fn update(
        &self,
        name: &DestinationName,
        change: impl FnOnce(&mut DestinationStats),
    ) {
        if let Some(stats) = self.0.lock().get_mut(name) {
            change(stats);
        }
    }

    /// Removes all destinations that are not `wanted`.
    pub(crate) fn retain(&self, wanted: impl Fn(&DestinationName) -> bool) {
        self.0.lock().retain(|name, _| wanted(name));
    }
}
