//! Settings of the job system: the part of the config that a reload may change.

use crate::config::{Config, RetentionSettings};
use crate::domain::job::retry::RetryPolicy;
use crate::domain::submission::draft::AbandonTimeouts;
use crate::intake::Catalog;

/// Flows, retries and retention from the current config.
#[derive(Debug)]
pub struct JobSettings {
    /// Catalog in which a job finds its flow.
    pub(crate) catalog: Catalog,
    /// Retry policy of failed jobs.
    pub(crate) retry: RetryPolicy,
    /// Retention of stored rows.
    pub(crate) retention: RetentionSettings,
    /// Time after which an inactive draft counts as abandoned, by flow.
    pub(crate) abandon_timeouts: AbandonTimeouts,
}

impl From<&Config> for JobSettings {
    fn from(config: &Config) -> Self {
        Self {
            catalog: Catalog::from(config),
            retry: config.retry,
            retention: config.retention.clone(),
            abandon_timeouts: config
                .flows
                .values()
                .map(|flow| (flow.name.clone(), flow.abandoned_after))
                .collect(),
        }
    }
}
