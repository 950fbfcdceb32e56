//! Unofficial gateways made ready to be asked and listened to: their secrets, from the places that the config names.
//!
//! Asking them is `crate::gateways`', what their webhooks bring is read in `crate::intake`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::HeaderValue;

use crate::config::{Config, Gateway, Secret, SecretError, SecretRef};
use crate::domain::ids::GatewayName;
use crate::gateways::{Access, Accesses};
use crate::intake::Door;

use super::recipients::secret_header;

/// A gateway that can't be asked, or not listened to.
#[derive(Debug, thiserror::Error)]
pub enum NoGateway {
    /// A secret can't be read.
    #[error("gateway {gateway}: {key}: {source}")]
    Secret {
        /// The gateway.
        gateway: GatewayName,
        /// The key of the config.
        key: &'static str,
        /// Why not.
        #[source]
        source: SecretError,
    },
    /// A secret is not there.
    #[error("gateway {gateway}: {key}: {place} is not set")]
    NotSet {
        /// The gateway.
        gateway: GatewayName,
        /// The key of the config.
        key: &'static str,
        /// Where it was looked for.
        place: String,
    },
    /// It can't stand in a header.
    #[error(
        "gateway {gateway}: {key}: what is in {place} can't stand in a header: it is to be one line of visible ASCII \
         characters"
    )]
    NoHeader {
        /// The gateway.
        gateway: GatewayName,
        /// The key of the config.
        key: &'static str,
        /// Where it is.
        place: String,
    },
}

/// Those that can be asked, and what is wrong with the others. One that is asked as before stays the one that it was in
/// `before`.
pub(super) fn read_all(config: &Config, before: &Accesses) -> (Accesses, Vec<NoGateway>) {
    let (mut accesses, mut problems) = (Accesses::new(), Vec::new());
    for (name, gateway) in &config.gateways {
        match access(name, gateway) {
            Ok(new) => {
                let kept = before.get(name).filter(|old| old.is_like(&new)).map(Arc::clone);
                accesses.insert(name.clone(), kept.unwrap_or_else(|| Arc::new(new)));
            }
            Err(problem) => problems.push(problem),
        }
    }
    (accesses, problems)
}

/// What their webhooks are held against.
pub(super) fn doors(accesses: &Accesses) -> BTreeMap<GatewayName, Door> {
    let door = |(name, access): (&GatewayName, &Arc<Access>)| {
        (name.clone(), Door::new(name.clone(), access.rule.clone(), access.webhook_secret.clone()))
    };
    accesses.iter().map(door).collect()
}

fn access(name: &GatewayName, gateway: &Gateway) -> Result<Access, NoGateway> {
    let keys = &gateway.keys;
    let key_name = gateway.key_name();
    let (_, prefix) = gateway.rule.kind.key_header();
    let key = secret(name, key_name, &keys.key)?;
    let token = match &keys.access_token {
        Some(place) => {
            let token = secret(name, "access_token", place)?;
            Some(header(name, "access_token", place, prefix, &token)?)
        }
        None => None,
    };
    Ok(Access {
        rule: gateway.rule.clone(),
        key: header(name, key_name, &keys.key, prefix, &key)?,
        token,
        webhook_secret: match &keys.webhook_secret {
            Some(place) => secret(name, "webhook_secret", place)?,
            None => key,
        },
    })
}

fn secret(gateway: &GatewayName, key: &'static str, place: &SecretRef) -> Result<Secret, NoGateway> {
    let text = place.resolve().map_err(|source| NoGateway::Secret { gateway: gateway.clone(), key, source })?;
    text.ok_or_else(|| NoGateway::NotSet { gateway: gateway.clone(), key, place: place.place() })
}

fn header(
    gateway: &GatewayName,
    key: &'static str,
    place: &SecretRef,
    prefix: &str,
    text: &Secret,
) -> Result<HeaderValue, NoGateway> {
    let whole = Secret::new(format!("{prefix}{}", text.expose()));
    secret_header(&whole).ok_or_else(|| NoGateway::NoHeader { gateway: gateway.clone(), key, place: place.place() })
}
