//! Defines timeouts that each flow sets for itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::ids::FlowName;
use crate::domain::time::Millis;

/// Timeout of each flow that has one, for example the time after which a draft is abandoned.
/// Clones share the same map.
#[derive(Clone, Debug, Default)]
pub struct FlowTimeouts(Arc<BTreeMap<FlowName, Millis>>);

impl FromIterator<(FlowName, Millis)> for FlowTimeouts {
    fn from_iter<I: IntoIterator<Item = (FlowName, Millis)>>(flows: I) -> Self {
        Self(Arc::new(flows.into_iter().collect()))
    }
}

impl FlowTimeouts {
    /// Returns the timeout of `flow`. Returns `None` if the config no longer contains the flow, or
    /// if the flow has no such timeout.
    #[must_use]
    pub fn for_flow(&self, flow: &FlowName) -> Option<Millis> {
        self.0.get(flow).copied()
    }

    /// Returns the shortest timeout of all flows. Returns `None` if no flow has one.
    #[must_use]
    pub fn shortest(&self) -> Option<Millis> {
        self.0.values().min().copied()
    }
}
