//! Collects the endpoint health of encrypted flows as Meta measures it, and the counts of refused
//! requests. Also collects the phone numbers that have received messages since the last query.
//!
//! Each request adds its sample at its end, and admins read the result. Requests that may not be
//! from Meta are not part of endpoint health. Without this, a stranger could make an endpoint look
//! unhealthy. The data is in memory only, because Meta itself looks back only half an hour.
//!
//! See [`crate::domain::health::window`] for the statistics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::domain::health::refusal_counters::{RefusalCounters, RefusalStats};
use crate::domain::health::window::{HealthWindow, RequestSample, WindowStats};
use crate::domain::ids::FlowName;

/// Health windows of the encrypted flows that had requests, and counts of refused requests. Clones
/// share the same data.
#[derive(Clone, Debug, Default)]
pub struct HealthMonitor(Arc<MonitorState>);

#[derive(Debug, Default)]
struct MonitorState {
    windows: Mutex<BTreeMap<FlowName, HealthWindow>>,
    refusals: Mutex<RefusalCounters>,
    numbers: Mutex<BTreeMap<Box<str>, Box<str>>>,
}

impl HealthMonitor {
    /// Records one request to `flow` that finished at `now` by the process clock.
    pub(in crate::http) fn record_request(
        &self,
        flow: &FlowName,
        now: Duration,
        sample: RequestSample,
    ) {
        self.update_window(flow, |window| window.record_sample(now, sample));
    }

    /// Records one request at `now` whose origin can't be verified, with the kind of mismatch.
    pub(in crate::http) fn record_unverified(
        &self,
        flow: &FlowName,
        now: Duration,
        kind: &'static str,
    ) {
        self.update_window(flow, |window| window.record_unverified(now, kind));
    }

    fn update_window(&self, flow: &FlowName, change: impl FnOnce(&mut HealthWindow)) {
        let mut windows = self.lock_windows();
        match windows.get_mut(flow) {
            Some(window) => change(window),
            None => change(windows.entry(flow.clone()).or_default()),
        }
    }

    /// Returns the statistics of each flow at `now`.
    #[must_use]
    pub fn window_stats(&self, now: Duration) -> BTreeMap<FlowName, WindowStats> {
        self.lock_windows()
            .iter()
            .map(|(flow, window)| (flow.clone(), window.stats(now)))
            .collect()
    }

    /// Returns the counts of refused requests at `now`.
    #[must_use]
    pub fn refusal_stats(&self, now: Duration) -> RefusalStats {
        self.lock_refusals().stats(now)
    }

    /// Locks the refusal counts. The lock is held for one count or one read of an hour:
    /// microseconds.
    pub(in crate::http) fn lock_refusals(&self) -> MutexGuard<'_, RefusalCounters> {
        self.0.refusals.lock()
    }

    /// Records the numbers that received messages: Meta's ID of each number, with the phone number.
    pub(in crate::http) fn record_numbers(&self, numbers: BTreeMap<Box<str>, Box<str>>) {
        if !numbers.is_empty() {
            self.0.numbers.lock().extend(numbers);
        }
    }

    /// Returns the numbers that have received messages since the last call.
    pub(in crate::http) fn take_numbers(&self) -> BTreeMap<Box<str>, Box<str>> {
        std::mem::take(&mut self.0.numbers.lock())
    }

    /// Locks the windows. The lock is held for one count or one read of thirty minutes:
    /// microseconds.
    fn lock_windows(&self) -> MutexGuard<'_, BTreeMap<FlowName, HealthWindow>> {
        self.0.windows.lock()
    }
}
