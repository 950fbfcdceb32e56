//! Defines the rows of requests that only a running server can answer.

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

/// Signature of a body, as Meta signs it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SignatureRow {
    /// Value of `X-Hub-Signature-256`. `None` if there is no app secret.
    pub(crate) signature: Option<String>,
}

/// Public key of a flow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PublicKeyRow {
    /// Key as PEM. `None` if the flow is not encrypted.
    pub(crate) public_key: Option<String>,
}
