//! Defines the active config: one value with everything that a reload replaces. The value is in one
//! cell, so one swap replaces all parts.
//!
//! See `super::components` for its resolution and `super::reload` for its replacement.

use std::sync::Arc;

use super::components::Components;
use crate::config::LimitSettings;
use crate::domain::event::subscriptions::Subscriptions;
use crate::http::HttpConfig;
use crate::intake::Catalog;
use crate::jobs::JobSettings;

/// Resolved config with the part of each module that reads it.
#[derive(Clone)]
pub(crate) struct ActiveConfig {
    pub(crate) components: Arc<Components>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) job_settings: Arc<JobSettings>,
    pub(crate) http: Arc<HttpConfig>,
    /// Warnings about the config, one sentence each.
    pub(crate) config_warnings: Arc<Vec<String>>,
    /// Warnings of `flowgate status`: those about the config, and that of the last reload if it
    /// failed.
    pub(crate) warnings: Arc<Vec<String>>,
}

impl ActiveConfig {
    /// Builds all parts. `more_warnings` follow the warnings of the components. `previous` is the
    /// HTTP part that a reload replaces.
    pub(crate) fn new(
        components: Components,
        limits: LimitSettings,
        more_warnings: impl IntoIterator<Item = String>,
        previous: Option<&HttpConfig>,
    ) -> Self {
        let config = &components.config;
        let catalog = Arc::new(Catalog::from(config));
        let credentials = components.inbound_credentials();
        let warnings = components.warnings().into_iter().chain(more_warnings);
        let warnings = Arc::new(warnings.collect());
        Self {
            subscriptions: Arc::new(config.subscriptions.clone()),
            job_settings: Arc::new(JobSettings::new(config, Arc::clone(&catalog))),
            http: Arc::new(HttpConfig::new(
                Arc::clone(&catalog),
                credentials,
                limits,
                previous,
            )),
            catalog,
            config_warnings: Arc::clone(&warnings),
            warnings,
            components: Arc::new(components),
        }
    }

    /// Returns the same config with the warning of a failed reload.
    pub(crate) fn with_reload_warning(&self, warning: String) -> Self {
        let mut warnings = self.config_warnings.to_vec();
        warnings.push(warning);
        Self {
            warnings: Arc::new(warnings),
            ..self.clone()
        }
    }
}
