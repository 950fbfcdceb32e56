//! What a reload of the config came to, for `flowgate reload`.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// What a reload came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReloadView {
    /// When.
    pub reloaded_at: Timestamp,
    /// What is not as it was, and counts from now on: `flows.visit changed`.
    pub changed: Vec<String>,
    /// Keys that have changed in the file and count after a restart: `limits.batch`.
    pub after_restart: Vec<String>,
}
