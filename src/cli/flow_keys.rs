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
    config.keys.iter().map(|(flow, places)| Ok((flow.clone(), keys_of(flow, places)?))).collect()
}

fn keys_of(flow: &FlowName, places: &KeyPlaces) -> Result<Arc<[PrivateKey]>, NoFlowKey> {
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
    places.private_keys.iter().map(key).collect()
}
