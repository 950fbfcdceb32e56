//! Resolves the private keys of encrypted flows from the locations in the config.
//!
//! See [`crate::intake`] for the formats of a key.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, PrivateKeySources, SecretError};
use crate::domain::ids::FlowName;
use crate::intake::{InvalidKey, PrivateKey};

/// Errors of a flow's private keys.
#[derive(Debug, thiserror::Error)]
pub enum FlowKeyError {
    /// The secret can't be read.
    #[error("flow {flow}: {source}")]
    Secret {
        /// Flow name.
        flow: FlowName,
        /// Cause of the error.
        #[source]
        source: SecretError,
    },
    /// The secret is not set.
    #[error(
        "flow {flow} can't decrypt requests: {location}, the location of a private key, is not set"
    )]
    NotSet {
        /// Flow name.
        flow: FlowName,
        /// Location of the secret in the config.
        location: String,
    },
    /// The text is not a valid private key.
    #[error("flow {flow}: the private key in {location} can't be used: {source}")]
    Invalid {
        /// Flow name.
        flow: FlowName,
        /// Location of the secret in the config.
        location: String,
        /// Cause of the error.
        #[source]
        source: InvalidKey,
    },
}

/// Private keys of each encrypted flow, newest first.
pub type FlowPrivateKeys = BTreeMap<FlowName, Arc<[PrivateKey]>>;

/// Resolves the private keys of all encrypted flows.
///
/// # Errors
/// Returns [`FlowKeyError`] for the first key that can't be used. A skipped key would make forms
/// fail without a message.
pub fn resolve(config: &Config) -> Result<FlowPrivateKeys, FlowKeyError> {
    let (keys, missing) = resolve_all(config);
    missing.into_iter().next().map_or(Ok(keys), Err)
}

/// Returns the keys that can be used, and the errors of the others.
#[must_use]
pub fn resolve_all(config: &Config) -> (FlowPrivateKeys, Vec<FlowKeyError>) {
    let (mut keys_by_flow, mut errors) = (FlowPrivateKeys::new(), Vec::new());
    for (flow, sources) in &config.private_keys {
        let keys = keys_of_flow(flow, sources).unwrap_or_else(|error| vec![Err(error)]);
        let usable = keys
            .into_iter()
            .filter_map(|key| key.map_err(|error| errors.push(error)).ok());
        keys_by_flow.insert(flow.clone(), usable.collect());
    }
    (keys_by_flow, errors)
}

fn keys_of_flow(
    flow: &FlowName,
    sources: &PrivateKeySources,
) -> Result<Vec<Result<PrivateKey, FlowKeyError>>, FlowKeyError> {
    let secret = |source| FlowKeyError::Secret {
        flow: flow.clone(),
        source,
    };
    let passphrase = match &sources.passphrase {
        Some(location) => location.resolve().map_err(secret)?,
        None => None,
    };
    let key = |location: &crate::config::SecretRef| {
        let text = location.resolve_multiline().map_err(secret)?;
        let text = text.ok_or_else(|| FlowKeyError::NotSet {
            flow: flow.clone(),
            location: location.location(),
        })?;
        PrivateKey::parse(
            text.expose(),
            passphrase.as_ref().map(|secret| secret.expose().as_str()),
        )
        .map_err(|source| FlowKeyError::Invalid {
            flow: flow.clone(),
            location: location.location(),
            source,
        })
    };
    Ok(sources.private_keys.iter().map(key).collect())
}
