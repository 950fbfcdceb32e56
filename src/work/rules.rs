//! What background work goes by: the part of the config that may change while it runs.

use crate::config::{Config, Retention};
use crate::domain::draft::Patience;
use crate::domain::retry::RetryPolicy;
use crate::intake::Catalog;

/// Flows, retries, retention, as the config has them at the moment.
#[derive(Debug)]
pub struct Rules {
    /// What a job looks its flow up in.
    pub(super) catalog: Catalog,
    /// When a job that failed runs again.
    pub(super) retry: RetryPolicy,
    /// What a sweep takes away.
    pub(super) retention: Retention,
    /// After how long a draft is one that its user has left.
    pub(super) patience: Patience,
}

impl From<&Config> for Rules {
    fn from(config: &Config) -> Self {
        Self {
            catalog: Catalog::from(config),
            retry: config.retry,
            retention: config.retention.clone(),
            patience: config.flows.values().map(|flow| (flow.name.clone(), flow.abandoned_after)).collect(),
        }
    }
}
