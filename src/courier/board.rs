//! How the lanes do: written by each lane, read by whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::ids::{DestinationName, JobId};
use crate::domain::time::Timestamp;

/// How one lane does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneState {
    /// Deliveries under way.
    pub out: BTreeSet<JobId>,
    /// Its breaker is open: until when it is left alone, by the process clock.
    pub open_until: Option<Duration>,
    /// It asked to be left alone until then, by the process clock.
    pub held_until: Option<Duration>,
    /// Since the start: what was taken.
    pub delivered: u64,
    /// Since the start: attempts that failed.
    pub failed: u64,
    /// Since the start: what was closed because it had become too late.
    pub expired: u64,
    /// When something expired last.
    pub last_expired: Option<Timestamp>,
    /// The last attempt that succeeded.
    pub last_success: Option<Timestamp>,
    /// The last attempt that failed, and why.
    pub last_failure: Option<(Timestamp, String)>,
}

/// All lanes by name.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<DestinationName, LaneState>>>);

impl Board {
    /// How all lanes do at this moment.
    #[must_use]
    pub fn read(&self) -> BTreeMap<DestinationName, LaneState> {
        self.lock().clone()
    }

    /// Every delivery that is under way.
    #[must_use]
    pub fn out(&self) -> Vec<JobId> {
        self.lock().values().flat_map(|lane| lane.out.iter().copied()).collect()
    }

    /// Shows `name` from now on.
    pub(super) fn show(&self, name: &DestinationName) {
        self.lock().entry(name.clone()).or_default();
    }

    /// Changes what is shown of `name`. One that is not shown any more stays so: its last attempts may still end.
    pub(super) fn note(&self, name: &DestinationName, change: impl FnOnce(&mut LaneState)) {
        if let Some(lane) = self.lock().get_mut(name) {
            change(lane);
        }
    }

    /// Shows nothing any more of those that are not `wanted`.
    pub(super) fn keep_only(&self, wanted: impl Fn(&DestinationName) -> bool) {
        self.lock().retain(|name, _| wanted(name));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DestinationName, LaneState>> {
        // Each change only sets numbers: whoever panicked left nothing worse than an old one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
