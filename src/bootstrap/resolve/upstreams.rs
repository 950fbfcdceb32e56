//! Resolves the signing secrets of upstreams from the locations in the config, and builds the
//! upstream clients.
//!
//! See [`crate::webhook_signature`] for the format of a secret and [`crate::http`] for the
//! requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{Config, SecretError, UpstreamSettings};
use crate::domain::ids::FlowName;
use crate::http::UpstreamClient;
use crate::webhook_signature::{InvalidSigningKey, SigningKey};

/// Errors of an upstream's signing secret. Requests to the upstream can't be signed without it.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamSecretError {
    /// The secret can't be read.
    #[error("flow {flow}: upstream.secret: {source}")]
    Secret {
        /// Flow name.
        flow: FlowName,
        /// Cause of the error.
        #[source]
        source: SecretError,
    },
    /// The secret is not set.
    #[error(
        "flow {flow}: no secret for its upstream, {location} is not set: requests to it must be signed"
    )]
    NotSet {
        /// Flow name.
        flow: FlowName,
        /// Location of the secret in the config.
        location: String,
    },
    /// The text is not a valid signing secret.
    #[error("flow {flow}: the secret for its upstream in {location} can't be used: {source}")]
    Invalid {
        /// Flow name.
        flow: FlowName,
        /// Location of the secret in the config.
        location: String,
        /// Cause of the error.
        #[source]
        source: InvalidSigningKey,
    },
}

/// Upstream client of each flow that has an upstream.
pub type UpstreamClients = BTreeMap<FlowName, Arc<UpstreamClient>>;

/// Returns the clients that can be used, and the errors of the others. An upstream with unchanged
/// settings gets the same client as in `previous`, so the state of its circuit breaker survives a
/// reload.
pub(crate) fn resolve_all(
    config: &Config,
    clock: &Arc<dyn Clock>,
    previous: &UpstreamClients,
) -> (UpstreamClients, Vec<UpstreamSecretError>) {
    let (mut upstreams, mut problems) = (UpstreamClients::new(), Vec::new());
    for (flow, settings) in &config.upstreams {
        match resolve_signing_key(flow, settings) {
            Ok(key) => {
                let old = previous.get(flow);
                let unchanged = old
                    .filter(|old| old.has_same_config(settings, &key))
                    .cloned();
                let new = || {
                    let clock = Arc::clone(clock);
                    let client = UpstreamClient::new(flow.clone(), settings.clone(), key, clock);
                    Arc::new(client)
                };
                upstreams.insert(flow.clone(), unchanged.unwrap_or_else(new));
            }
            Err(problem) => problems.push(problem),
        }
    }
    (upstreams, problems)
}

fn resolve_signing_key(
    flow: &FlowName,
    settings: &UpstreamSettings,
) -> Result<SigningKey, UpstreamSecretError> {
    let text = settings.secret.resolve();
    let text = text.map_err(|source| UpstreamSecretError::Secret {
        flow: flow.clone(),
        source,
    })?;
    let text = text.ok_or_else(|| UpstreamSecretError::NotSet {
        flow: flow.clone(),
        location: settings.secret.location(),
    })?;
    SigningKey::parse(text.expose()).map_err(|source| UpstreamSecretError::Invalid {
        flow: flow.clone(),
        location: settings.secret.location(),
        source,
    })
}
