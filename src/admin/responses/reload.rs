//! Defines the row of `flowgate reload`: the result of a config reload.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// Result of a config reload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReloadRow {
    /// Time of the reload, in UTC.
    pub reloaded_at: Timestamp,
    /// Changes that are active now, for example `flows.visit changed`.
    pub changed: Vec<String>,
    /// Changed keys that become active after a restart, for example `limits.max_batch`.
    pub after_restart: Vec<String>,
}
