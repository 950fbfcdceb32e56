//! What background work goes by: the part of the config that may change while it runs.

use crate::config::{Config, Retention};
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
}

impl From<&Config> for Rules {
    fn from(config: &Config) -> Self {
        Self { catalog: Catalog::from(config), retry: config.retry, retention: config.retention.clone() }
    }
}
