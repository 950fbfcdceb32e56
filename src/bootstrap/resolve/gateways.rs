//! Resolves the credentials of unofficial gateways from the locations in the config.
//!
//! See [`crate::gateways`] for requests to a gateway and [`crate::intake`] for its webhooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, Gateway, Secret, SecretError, SecretRef};
use crate::domain::ids::GatewayName;
use crate::gateways::{GatewayCredentials, GatewayCredentialsByName};
use crate::intake::GatewayWebhook;

/// Errors of a gateway's credentials.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A secret can't be read.
    #[error("gateway {gateway}: {key}: {source}")]
    Secret {
        /// Gateway name.
        gateway: GatewayName,
        /// Config key of the secret.
        key: &'static str,
        /// Cause of the error.
        #[source]
        source: SecretError,
    },
    /// A secret is not set.
    #[error("gateway {gateway}: {key}: {location} is not set")]
    NotSet {
        /// Gateway name.
        gateway: GatewayName,
        /// Config key of the secret.
        key: &'static str,
        /// Location of the secret in the config.
        location: String,
    },
    /// A secret is not valid as the value of an HTTP header.
    #[error(
        "gateway {gateway}: {key}: the value of {location} can't be used in an HTTP header: it must be one line of visible ASCII \
         characters"
    )]
    InvalidHeader {
        /// Gateway name.
        gateway: GatewayName,
        /// Config key of the secret.
        key: &'static str,
        /// Location of the secret in the config.
        location: String,
    },
}

/// Returns the credentials that can be used, and the errors of the others. A gateway with unchanged
/// credentials gets the same `Arc` as in `previous`.
pub(crate) fn resolve_all(
    config: &Config,
    previous: &GatewayCredentialsByName,
) -> (GatewayCredentialsByName, Vec<GatewayError>) {
    let (mut credentials_by_name, mut problems) = (GatewayCredentialsByName::new(), Vec::new());
    for (name, gateway) in &config.gateways {
        match resolve_credentials(name, gateway) {
            Ok(new) => {
                let unchanged = previous
                    .get(name)
                    .filter(|old| ***old == new)
                    .map(Arc::clone);
                credentials_by_name
                    .insert(name.clone(), unchanged.unwrap_or_else(|| Arc::new(new)));
            }
            Err(problem) => problems.push(problem),
        }
    }
    (credentials_by_name, problems)
}

/// Returns the webhook authentication of each gateway.
pub(crate) fn gateway_webhooks(
    credentials_by_name: &GatewayCredentialsByName,
) -> BTreeMap<GatewayName, GatewayWebhook> {
    let to_webhook = |(name, credentials): (&GatewayName, &Arc<GatewayCredentials>)| {
        let settings = credentials.settings.clone();
        let secret = credentials.webhook_secret.clone();
        let webhook = GatewayWebhook::new(name.clone(), settings, secret);
        (name.clone(), webhook)
    };
    credentials_by_name.iter().map(to_webhook).collect()
}

fn resolve_credentials(
    name: &GatewayName,
    gateway: &Gateway,
) -> Result<GatewayCredentials, GatewayError> {
    let keys = &gateway.keys;
    let key_name = gateway.key_name();
    let (_, prefix) = gateway.settings.kind.key_header();
    let header = |key: &'static str, location: &SecretRef, secret: &Secret| {
        let header = secret.to_header(prefix);
        header.ok_or_else(|| GatewayError::InvalidHeader {
            gateway: name.clone(),
            key,
            location: location.location(),
        })
    };
    let key = resolve_secret(name, key_name, &keys.key)?;
    let token = match &keys.access_token {
        Some(location) => {
            let token = resolve_secret(name, "access_token", location)?;
            Some(header("access_token", location, &token)?)
        }
        None => None,
    };
    Ok(GatewayCredentials {
        settings: gateway.settings.clone(),
        key: header(key_name, &keys.key, &key)?,
        token,
        webhook_secret: match &keys.webhook_secret {
            Some(location) => resolve_secret(name, "webhook_secret", location)?,
            None => key,
        },
    })
}

fn resolve_secret(
    gateway: &GatewayName,
    key: &'static str,
    location: &SecretRef,
) -> Result<Secret, GatewayError> {
    let text = location.resolve().map_err(|source| GatewayError::Secret {
        gateway: gateway.clone(),
        key,
        source,
    })?;
    text.ok_or_else(|| GatewayError::NotSet {
        gateway: gateway.clone(),
        key,
        location: location.location(),
    })
}
