//! How the endpoints of encrypted flows do, as Meta sees them: fed by each request as it ends, read by admins.
//!
//! What is not known to be Meta's is no figure of the endpoint: a stranger must not make it look ill. In memory only: Meta
//! looks back half an hour itself. The counting is `crate::domain::gauge`'s.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::gauge::{Exchange, Gauge, Reading};
use crate::domain::ids::FlowName;

/// A gauge for each encrypted flow that was asked something. Its copies are the same one.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<BTreeMap<FlowName, Gauge>>>);

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

    /// Held for a count or for a look at thirty minutes: microseconds.
    fn gauges(&self) -> MutexGuard<'_, BTreeMap<FlowName, Gauge>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
