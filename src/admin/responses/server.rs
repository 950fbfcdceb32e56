//! Defines the rows of requests that only a running server can answer.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;
use crate::telemetry::LogFilterState;

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

/// Filter of the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogLevelRow {
    /// Active filter.
    pub(crate) filter: String,
    /// Filter that the config or the environment sets.
    pub(crate) configured: String,
    /// Source of the configured filter: `config` or `environment`.
    pub(crate) source: String,
}

impl From<LogFilterState> for LogLevelRow {
    fn from(state: LogFilterState) -> Self {
        let source = if state.is_from_environment {
            "environment"
        } else {
            "config"
        };
        Self {
            filter: state.active,
            configured: state.configured,
            source: source.to_owned(),
        }
    }
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
