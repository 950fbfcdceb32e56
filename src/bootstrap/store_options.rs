//! Derives the options of the store from the config.
//!
//! See [`crate::store`] for their effect.

use crate::config::{Config, VerifyPolicy};
use crate::reloadable::Reloadable;
use crate::store::{StoreError, StoreOptions};

/// Returns the store options of the config. `serving` is `true` for the server, which creates a
/// missing data file.
///
/// # Errors
/// Returns [`StoreError::File`] if the size of the page cache exceeds the address space of this
/// machine.
pub(crate) fn store_options(config: &Config, serving: bool) -> Result<StoreOptions, StoreError> {
    let mut options = StoreOptions::new(config.data.clone());
    options.is_serving = serving;
    options.intake_queue = config.limits.intake_queue;
    options.max_batch = config.limits.max_batch;
    options.page_cache_bytes =
        usize::try_from(config.store.page_cache).map_err(|error| StoreError::File {
            operation: "allocate the memory of `store.page_cache` for",
            path: config.data.clone(),
            error: error.to_string(),
        })?;
    options.max_idempotency_keys = config.limits.max_idempotency_keys;
    options.idempotency_ttl = config.retention.idempotency_ttl;
    options.message_id_ttl = config.retention.message_id_ttl;
    options.min_free_bytes = config.limits.min_free_space;
    options.max_jobs_in_flight = config.workers.queue;
    options.time_zone = Reloadable::new(config.business_zone());
    options.subscriptions = Reloadable::new(config.subscriptions.clone());
    options.max_change_log_bytes = config.backup.max_change_log;
    options.verify_always = config.store.verify == VerifyPolicy::Always;
    Ok(options)
}
