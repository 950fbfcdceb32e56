//! Defines the settings of a gateway together with its secrets.
//!
//! See `crate::bootstrap::resolve::gateways` for reading the secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::HeaderValue;

use crate::config::{GatewaySettings, Secret};
use crate::domain::gateway::session::SessionPolicy;
use crate::domain::ids::GatewayName;

/// Settings and secrets of a gateway. Debug output does not contain the secrets. The sources of the
/// secrets, such as a file or a variable, are not part of the value.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayCredentials {
    /// Settings from the config.
    pub settings: GatewaySettings,
    /// Header value with the key of the session or of the API, marked as sensitive.
    pub key: HeaderValue,
    /// Header value with the personal access token, marked as sensitive. Only `WASenderApi` uses
    /// it.
    pub token: Option<HeaderValue>,
    /// Secret that authenticates the gateway's webhook.
    pub webhook_secret: Secret,
}

/// Credentials of all gateways, by name.
pub type GatewayCredentialsByName = BTreeMap<GatewayName, Arc<GatewayCredentials>>;

impl GatewayCredentials {
    /// Returns the monitoring settings of the session.
    pub(super) const fn session_settings(&self) -> SessionPolicy {
        SessionPolicy {
            kind: self.settings.kind,
            probe_interval: self.settings.probe_interval,
            inactivity_timeout: self.settings.inactivity_timeout,
        }
    }

    /// Returns `text`, or `None` if `text` contains one of the secrets.
    pub(super) fn without_secrets(&self, text: &str) -> Option<String> {
        let mut keys = [Some(&self.key), self.token.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|key| key.to_str().ok());
        let has_key = keys.any(|key| text.contains(key.trim_start_matches("Bearer ")));
        (!has_key && !text.contains(self.webhook_secret.expose().as_str())).then(|| text.to_owned())
    }
}
