//! Settings of the job system: the part of the config that a reload may change.

use std::sync::Arc;

use crate::config::{Config, RetentionSettings};
use crate::domain::flow::FlowTimeouts;
use crate::domain::job::retry::RetryPolicy;
use crate::intake::Catalog;

/// Flows, retries and retention from the current config.
#[derive(Debug)]
pub struct JobSettings {
    /// Catalog in which a job finds its flow.
    pub(crate) catalog: Arc<Catalog>,
    /// Retry policy of failed jobs.
    pub(crate) retry: RetryPolicy,
    /// Retention of stored rows.
    pub(crate) retention: RetentionSettings,
    /// Time after which an inactive draft counts as abandoned, by flow.
    pub(crate) abandon_timeouts: FlowTimeouts,
    /// Age at which an open lead is closed, by flow.
    pub(crate) close_timeouts: FlowTimeouts,
}

impl JobSettings {
    /// Returns the settings of `config`, whose flows are in `catalog`.
    #[must_use]
    pub fn new(config: &Config, catalog: Arc<Catalog>) -> Self {
        Self {
            catalog,
            retry: config.retry,
            retention: config.retention.clone(),
            abandon_timeouts: config
                .flows
                .values()
                .map(|flow| (flow.name.clone(), flow.abandoned_after))
                .collect(),
            close_timeouts: config
                .flows
                .values()
                .filter_map(|flow| Some((flow.name.clone(), flow.lead.as_ref()?.close_after?)))
                .collect(),
        }
    }
}
