//! Resolves the secrets of requests that close leads into keys.
//!
//! See [`crate::webhook_signature`] for the format of a secret.

use crate::config::{Config, SecretError, SecretRef};
use crate::webhook_signature::{InvalidSigningKey, SigningKey};

/// Errors of a secret in `leads.close_secrets`.
#[derive(Debug, thiserror::Error)]
pub enum LeadSecretError {
    /// The secret can't be read.
    #[error("leads.close_secrets: {0}")]
    Secret(#[from] SecretError),
    /// The secret is not set.
    #[error("leads.close_secrets: {0} is not set: set it, or remove it from the list")]
    NotSet(String),
    /// The text is not a valid signing secret.
    #[error("leads.close_secrets: the secret in {location} can't be used: {source}")]
    Invalid {
        /// Location of the secret in the config.
        location: String,
        /// Cause of the error.
        #[source]
        source: InvalidSigningKey,
    },
}

/// Returns the keys that can be used, newest first, and the errors of the others.
pub(crate) fn resolve_all(config: &Config) -> (Vec<SigningKey>, Vec<LeadSecretError>) {
    let (mut keys, mut errors) = (Vec::new(), Vec::new());
    for secret in &config.leads.close_secrets {
        match resolve_key(secret) {
            Ok(key) => keys.push(key),
            Err(error) => errors.push(error),
        }
    }
    (keys, errors)
}

fn resolve_key(secret: &SecretRef) -> Result<SigningKey, LeadSecretError> {
    let text = secret.resolve()?;
    let text = text.ok_or_else(|| LeadSecretError::NotSet(secret.location()))?;
    SigningKey::parse(text.expose()).map_err(|source| LeadSecretError::Invalid {
        location: secret.location(),
        source,
    })
}
