//! The private keys of encrypted flows, from the places that the config names.
//!
//! What a key's text may look like is `crate::intake`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, KeyPlaces, SecretError};
use crate::domain::ids::FlowName;
use crate::intake::{InvalidKey, PrivateKey};

/// A flow without a key that can be used.
#[derive(Debug, thiserror::Error)]
pub enum NoFlowKey {
    /// It can't be read.
    #[error("flow {flow}: {source}")]
    Secret {
        /// The flow.
        flow: FlowName,
        /// Why not.
        #[source]
        source: SecretError,
    },
    /// It is not there.
    #[error("flow {flow}: no private key, {place} is not set: an encrypted flow opens nothing without one")]
    NotSet {
        /// The flow.
        flow: FlowName,
        /// Where it was looked for.
        place: String,
    },
    /// It is no key.
    #[error("flow {flow}: the private key in {place} can't be used: {source}")]
    Invalid {
        /// The flow.
        flow: FlowName,
        /// Where it is.
        place: String,
        /// Why not.
        #[source]
        source: InvalidKey,
    },
}

/// The keys of each encrypted flow, newest first.
pub type FlowKeys = BTreeMap<FlowName, Arc<[PrivateKey]>>;

/// Reads the keys of all encrypted flows.
///
/// # Errors
/// [`NoFlowKey`] for the first that can't be used: a key that is left out would lose forms without a word.
pub fn read(config: &Config) -> Result<FlowKeys, NoFlowKey> {
    let (keys, missing) = read_all(config);
    missing.into_iter().next().map_or(Ok(keys), Err)
}

/// The keys that can be used, and why others can't.
#[must_use]
pub fn read_all(config: &Config) -> (FlowKeys, Vec<NoFlowKey>) {
    let mut missing = Vec::new();
    let mut keep = |key: Result<PrivateKey, NoFlowKey>| key.map_err(|error| missing.push(error)).ok();
    let keys = config.keys.iter().map(|(flow, places)| match keys_of(flow, places) {
        Ok(keys) => (flow.clone(), keys.into_iter().filter_map(&mut keep).collect()),
        Err(error) => (flow.clone(), keep(Err(error)).into_iter().collect()),
    });
    (keys.collect(), missing)
}

fn keys_of(flow: &FlowName, places: &KeyPlaces) -> Result<Vec<Result<PrivateKey, NoFlowKey>>, NoFlowKey> {
    let secret = |source| NoFlowKey::Secret { flow: flow.clone(), source };
    let passphrase = match &places.passphrase {
        Some(place) => place.resolve().map_err(secret)?,
        None => None,
    };
    let key = |place: &crate::config::SecretRef| {
        let text = place.resolve_block().map_err(secret)?;
        let text = text.ok_or_else(|| NoFlowKey::NotSet { flow: flow.clone(), place: place.place() })?;
        PrivateKey::read(text.expose(), passphrase.as_ref().map(|secret| secret.expose().as_str()))
            .map_err(|source| NoFlowKey::Invalid { flow: flow.clone(), place: place.place(), source })
    };
    Ok(places.private_keys.iter().map(key).collect())
}
