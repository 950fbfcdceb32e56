//! How the endpoints of encrypted flows do, as Meta sees them, and what the listener refused: fed by each request as it ends,
//! read by admins. And which of our numbers received messages since somebody last asked.
//!
//! What is not known to be Meta's is no figure of the endpoint: a stranger must not make it look ill. In memory only: Meta
//! looks back half an hour itself. The counting is `crate::domain::gauge`'s.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::gauge::{Exchange, Gauge, Reading};
use crate::domain::ids::FlowName;
use crate::domain::refusals::{Refusals, Refused};

/// A gauge for each encrypted flow that was asked something, and counts of refused requests. Its copies are the same one.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    gauges: Mutex<BTreeMap<FlowName, Gauge>>,
    refusals: Mutex<Refusals>,
    heard: Mutex<BTreeMap<Box<str>, Box<str>>>,
}

impl Watch {
    /// Takes one exchange with `flow` that ended at `now`, by the clock of this process.
    pub(super) fn record(&self, flow: &FlowName, now: Duration, exchange: Exchange) {
        self.with(flow, |gauge| gauge.record(now, exchange));
    }

    /// Notes one request at `now` of which nothing shows whether it was Meta's, and what did not fit.
    pub(super) fn doubt(&self, flow: &FlowName, now: Duration, kind: &'static str) {
        self.with(flow, |gauge| gauge.doubt(now, kind));
    }

    fn with(&self, flow: &FlowName, change: impl FnOnce(&mut Gauge)) {
        let mut gauges = self.gauges();
        match gauges.get_mut(flow) {
            Some(gauge) => change(gauge),
            None => change(gauges.entry(flow.clone()).or_default()),
        }
    }

    /// What there is to say of each flow at `now`.
    #[must_use]
    pub fn read(&self, now: Duration) -> BTreeMap<FlowName, Reading> {
        self.gauges().iter().map(|(flow, gauge)| (flow.clone(), gauge.read(now))).collect()
    }

    /// Requests that were refused, as of `now`.
    #[must_use]
    pub fn refused(&self, now: Duration) -> Refused {
        self.refusals().read(now)
    }

    /// Held for a count or for a look at an hour: microseconds.
    pub(super) fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that messages came to these numbers: by Meta's id, with the number that people know.
    pub(super) fn hear(&self, numbers: BTreeMap<Box<str>, Box<str>>) {
        if !numbers.is_empty() {
            self.0.heard.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
        }
    }

    /// The numbers to which messages came since the last call.
    pub(super) fn take_heard(&self) -> BTreeMap<Box<str>, Box<str>> {
        std::mem::take(&mut self.0.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Held for a count or for a look at thirty minutes: microseconds.
    fn gauges(&self) -> MutexGuard<'_, BTreeMap<FlowName, Gauge>> {
        self.0.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
