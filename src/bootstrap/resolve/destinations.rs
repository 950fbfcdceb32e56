//! Resolves the secrets of destinations from the locations in the config. A URL can be a secret
//! too.
//!
//! See [`crate::webhook_signature`] for the format of a signing secret and [`crate::delivery`] for
//! sending.

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};

use crate::config::{
    Config, Destination, DestinationKind, GatewayDestination, ProxySettings, Secret, SecretError,
    SecretRef, SmtpSettings, WebhookSettings, WebhookUrl, WhatsappSettings, webhook_url,
};
use crate::delivery::{DeliveryTarget, DeliveryTargets, DestinationCredentials, WebhookEndpoint};
use crate::domain::ids::DestinationName;
use crate::net::{InvalidProxyAuth, Proxy};
use crate::webhook_signature::{InvalidSigningKey, SigningKey};

/// Label of a gateway's key in errors. The key is in the table of the gateway, not of the
/// destination.
const GATEWAY_KEY_LABEL: &str = "the gateway key";

/// Errors of a destination's secrets.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// A secret can't be read.
    #[error("destination {destination}: {key}: {source}")]
    Secret {
        /// Destination name.
        destination: DestinationName,
        /// Config key of the secret.
        key: String,
        /// Cause of the error.
        #[source]
        source: SecretError,
    },
    /// A secret is not set.
    #[error("destination {destination}: {key}: {location} is not set")]
    NotSet {
        /// Destination name.
        destination: DestinationName,
        /// Config key of the secret.
        key: String,
        /// Location of the secret in the config.
        location: String,
    },
    /// The secret is not a valid URL of a webhook.
    #[error("destination {destination}: url: the value of {location} {why}")]
    InvalidUrl {
        /// Destination name.
        destination: DestinationName,
        /// Location of the URL in the config.
        location: String,
        /// Cause of the error. The text does not repeat the URL.
        why: &'static str,
    },
    /// The secret is not a valid signing secret.
    #[error("destination {destination}: the secret in {location} can't be used: {source}")]
    InvalidSigningKey {
        /// Destination name.
        destination: DestinationName,
        /// Location of the secret in the config.
        location: String,
        /// Cause of the error.
        #[source]
        source: InvalidSigningKey,
    },
    /// The secret is not valid as the value of an HTTP header.
    #[error(
        "destination {destination}: {key}: the value of {location} can't be used in an HTTP header: it must be one line of visible ASCII characters"
    )]
    InvalidHeader {
        /// Destination name.
        destination: DestinationName,
        /// Config key of the secret.
        key: String,
        /// Location of the secret in the config.
        location: String,
    },
    /// The secret is not valid as credentials for a proxy.
    #[error("destination {destination}: proxy_auth: the value of {location} {source}")]
    InvalidProxyAuth {
        /// Destination name.
        destination: DestinationName,
        /// Location of the secret in the config.
        location: String,
        /// Cause of the error.
        #[source]
        source: InvalidProxyAuth,
    },
}

/// Returns the destinations that can be used, and the errors of the others. A destination with
/// unchanged settings gets the same `Arc` as in `previous`.
pub(crate) fn resolve_all(
    config: &Config,
    previous: &DeliveryTargets,
) -> (DeliveryTargets, Vec<DestinationError>) {
    let (mut targets, mut problems) = (DeliveryTargets::new(), Vec::new());
    for (name, settings) in &config.destinations {
        match resolve_target(name, settings) {
            Ok(new) => {
                let unchanged = previous
                    .get(name)
                    .filter(|old| old.has_same_config(&new))
                    .map(Arc::clone);
                targets.insert(name.clone(), unchanged.unwrap_or_else(|| Arc::new(new)));
            }
            Err(first) => {
                let all = all_errors(name, settings);
                // The file of a secret may have been corrected between the two attempts.
                if all.is_empty() {
                    problems.push(first);
                } else {
                    problems.extend(all);
                }
            }
        }
    }
    (targets, problems)
}

/// Returns all errors in the secrets of a destination.
fn all_errors(destination: &DestinationName, settings: &Destination) -> Vec<DestinationError> {
    let mut problems = Vec::new();
    match &settings.kind {
        DestinationKind::Webhook(webhook) => {
            problems
                .extend(resolve_endpoint(destination, &webhook.url, settings.allow_private).err());
            problems.extend(
                webhook
                    .secrets
                    .iter()
                    .filter_map(|location| resolve_signing_key(destination, location).err()),
            );
            let headers = webhook.headers.iter();
            problems.extend(headers.filter_map(|(name, location)| {
                resolve_custom_header(destination, name, location).err()
            }));
        }
        DestinationKind::Whatsapp(whatsapp) => {
            problems.extend(resolve_whatsapp(destination, whatsapp).err());
        }
        DestinationKind::Gateway(gateway) => {
            problems.extend(resolve_gateway(destination, gateway).err());
        }
        DestinationKind::Smtp(smtp) => problems.extend(resolve_smtp(destination, smtp).err()),
    }
    problems.extend(
        settings
            .proxy
            .iter()
            .filter_map(|settings| resolve_proxy(destination, settings).err()),
    );
    problems
}

/// Resolves one destination.
pub(crate) fn resolve_target(
    destination: &DestinationName,
    settings: &Destination,
) -> Result<DeliveryTarget, DestinationError> {
    let credentials = match &settings.kind {
        DestinationKind::Webhook(webhook) => {
            resolve_webhook(destination, webhook, settings.allow_private)?
        }
        DestinationKind::Whatsapp(whatsapp) => resolve_whatsapp(destination, whatsapp)?,
        DestinationKind::Gateway(gateway) => resolve_gateway(destination, gateway)?,
        DestinationKind::Smtp(smtp) => resolve_smtp(destination, smtp)?,
    };
    let proxy = settings
        .proxy
        .as_ref()
        .map(|settings| resolve_proxy(destination, settings))
        .transpose()?;
    Ok(DeliveryTarget {
        settings: settings.clone(),
        credentials,
        proxy,
    })
}

fn resolve_smtp(
    destination: &DestinationName,
    settings: &SmtpSettings,
) -> Result<DestinationCredentials, DestinationError> {
    let password = settings
        .login
        .as_ref()
        .map(|login| resolve_secret(destination, "password", &login.password));
    Ok(DestinationCredentials::Smtp {
        password: password.transpose()?,
    })
}

fn resolve_proxy(
    destination: &DestinationName,
    settings: &ProxySettings,
) -> Result<Proxy, DestinationError> {
    let auth = settings
        .auth
        .as_ref()
        .map(|location| resolve_secret(destination, "proxy_auth", location))
        .transpose()?;
    let auth = auth.as_ref().map(|secret| secret.expose().as_str());
    Proxy::new(settings.url.clone(), auth).map_err(|source| DestinationError::InvalidProxyAuth {
        destination: destination.clone(),
        location: settings
            .auth
            .as_ref()
            .map(SecretRef::location)
            .unwrap_or_default(),
        source,
    })
}

fn resolve_whatsapp(
    destination: &DestinationName,
    settings: &WhatsappSettings,
) -> Result<DestinationCredentials, DestinationError> {
    Ok(DestinationCredentials::Whatsapp {
        bearer: resolve_header(
            destination,
            "access_token",
            &settings.access_token,
            "Bearer ",
        )?,
    })
}

fn resolve_gateway(
    destination: &DestinationName,
    settings: &GatewayDestination,
) -> Result<DestinationCredentials, DestinationError> {
    let (_, prefix) = settings.kind.key_header();
    Ok(DestinationCredentials::Gateway {
        kind: settings.kind,
        key: resolve_header(destination, GATEWAY_KEY_LABEL, &settings.key, prefix)?,
    })
}

/// Returns a secret as the value of an HTTP header, with `prefix` in front.
fn resolve_header(
    destination: &DestinationName,
    name: &str,
    location: &SecretRef,
    prefix: &str,
) -> Result<HeaderValue, DestinationError> {
    let secret = resolve_secret(destination, name, location)?;
    let whole = Secret::new(format!("{prefix}{}", secret.expose()));
    secret_header(&whole).ok_or_else(|| invalid_header_error(destination, name, location))
}

/// Returns a secret as the value of an HTTP header, marked as sensitive.
///
/// Returns `None` if the secret contains other characters than visible ASCII and spaces. Receivers
/// decode such characters in different ways, and the redaction would not find them in a response
/// that repeats them.
pub(crate) fn secret_header(secret: &Secret) -> Option<HeaderValue> {
    let is_visible = secret
        .expose()
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~'));
    let mut value = HeaderValue::from_str(secret.expose())
        .ok()
        .filter(|_| is_visible)?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns `true` if the value of `header` must be redacted in responses. This is the case if its
/// location is one for secrets, or if its name is typical for a secret. Other values, such as that
/// of `accept`, may appear in any response.
fn is_secret(header: &str, location: &SecretRef) -> bool {
    let names = [
        "auth",
        "key",
        "token",
        "secret",
        "cookie",
        "password",
        "signature",
    ];
    !matches!(location, SecretRef::Text(_))
        || names
            .iter()
            .any(|name| header.to_ascii_lowercase().contains(name))
}

fn invalid_header_error(
    destination: &DestinationName,
    key: &str,
    location: &SecretRef,
) -> DestinationError {
    DestinationError::InvalidHeader {
        destination: destination.clone(),
        key: key.to_owned(),
        location: location.location(),
    }
}

fn resolve_endpoint(
    destination: &DestinationName,
    address: &WebhookUrl,
    allow_private: bool,
) -> Result<WebhookEndpoint, DestinationError> {
    match address {
        WebhookUrl::Plain(url) => Ok(WebhookEndpoint::new(url.clone(), false)),
        WebhookUrl::Secret(location) => {
            let text = resolve_secret(destination, "url", location)?;
            let url = webhook_url(text.expose(), allow_private).map_err(|why| {
                DestinationError::InvalidUrl {
                    destination: destination.clone(),
                    location: location.location(),
                    why,
                }
            })?;
            Ok(WebhookEndpoint::new(url, true))
        }
    }
}

fn resolve_webhook(
    destination: &DestinationName,
    settings: &WebhookSettings,
    allow_private: bool,
) -> Result<DestinationCredentials, DestinationError> {
    let endpoint = resolve_endpoint(destination, &settings.url, allow_private)?;
    let keys = settings
        .secrets
        .iter()
        .map(|location| resolve_signing_key(destination, location))
        .collect::<Result<_, _>>()?;
    let headers = settings
        .headers
        .iter()
        .map(|(name, location)| resolve_custom_header(destination, name, location))
        .collect::<Result<_, _>>()?;
    Ok(DestinationCredentials::Webhook {
        endpoint,
        keys,
        headers,
    })
}

fn resolve_signing_key(
    destination: &DestinationName,
    location: &SecretRef,
) -> Result<SigningKey, DestinationError> {
    let text = resolve_secret(destination, "secrets", location)?;
    SigningKey::parse(text.expose()).map_err(|source| DestinationError::InvalidSigningKey {
        destination: destination.clone(),
        location: location.location(),
        source,
    })
}

fn resolve_custom_header(
    destination: &DestinationName,
    name: &str,
    location: &SecretRef,
) -> Result<(HeaderName, HeaderValue), DestinationError> {
    let named = format!("headers.{name}");
    let mut value = resolve_header(destination, &named, location, "")?;
    value.set_sensitive(is_secret(name, location));
    let name: HeaderName = name
        .parse()
        .map_err(|_| invalid_header_error(destination, &named, location))?;
    Ok((name, value))
}

fn resolve_secret(
    destination: &DestinationName,
    key: &str,
    location: &SecretRef,
) -> Result<Secret, DestinationError> {
    let text = location
        .resolve()
        .map_err(|source| DestinationError::Secret {
            destination: destination.clone(),
            key: key.to_owned(),
            source,
        })?;
    text.ok_or_else(|| DestinationError::NotSet {
        destination: destination.clone(),
        key: key.to_owned(),
        location: location.location(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_destination_errors_are_reported_together() {
        let folder = tempfile::tempdir().unwrap();
        for (name, secret) in [
            ("key", "short"),
            ("header", "schlüssel"),
            ("auth", "without a colon"),
        ] {
            std::fs::write(folder.path().join(name), secret).unwrap();
        }
        let config = "
            [destinations.crm]
            url = \"env:FLOWGATE_NO_SUCH_URL\"
            secrets = [\"file:key\"]
            headers = { x-key = \"file:header\", x-shop = \"env:FLOWGATE_NO_SUCH_HEADER\" }
            proxy = \"http://proxy.example:3128\"
            proxy_auth = \"file:auth\"
        ";
        let config = Config::parse(&folder.path().join("config.toml"), config).unwrap();
        let (targets, problems) = resolve_all(&config, &DeliveryTargets::new());
        assert!(targets.is_empty());
        let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let parts = [
            "url: env:FLOWGATE_NO_SUCH_URL is not set",
            "key can't be used: ",
            "headers.x-key: ",
            "headers.x-shop: env:FLOWGATE_NO_SUCH_HEADER is not set",
            "proxy_auth: ",
        ];
        assert_eq!(messages.len(), parts.len(), "{messages:?}");
        for part in parts {
            assert!(
                messages
                    .iter()
                    .any(|message| message.starts_with("destination crm: ")
                        && message.contains(part)),
                "{messages:?}"
            );
        }
    }

    #[test]
    fn secret_header_accepts_visible_ascii_only() {
        let header = |text: &str| secret_header(&Secret::new(text.to_owned()));
        assert!(header("Bearer a~b").is_some_and(|value| value.is_sensitive()));
        for text in ["schlüssel-123", "two\nlines", "a\tb", "\u{7f}"] {
            assert!(header(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn header_moved_to_secret_location_is_hidden_after_reload() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop");
        std::fs::write(&file, "shop-of-ann").unwrap();
        let crm = DestinationName::new("crm").unwrap();
        let read = |location: &str, previous: &DeliveryTargets| {
            let table = format!(
                "[destinations.crm]\nurl = \"https://crm.example/\"\nheaders = {{ x-shop = \"{location}\" }}"
            );
            let (targets, problems) = resolve_all(
                &Config::parse("config.toml".as_ref(), &table).unwrap(),
                previous,
            );
            assert!(problems.is_empty(), "{problems:?}");
            targets
        };
        let is_hidden = |targets: &DeliveryTargets| {
            let DestinationCredentials::Webhook { headers, .. } = &targets[&crm].credentials else {
                panic!()
            };
            headers[0].1.is_sensitive()
        };
        let shown = read("text:shop-of-ann", &DeliveryTargets::new());
        let hidden = read(&format!("file:{}", file.display()), &shown);
        assert_eq!((is_hidden(&shown), is_hidden(&hidden)), (false, true));
        assert!(
            Arc::ptr_eq(
                &read(&format!("file:{}", file.display()), &hidden)[&crm],
                &hidden[&crm]
            ),
            "nothing changed"
        );
        assert!(!is_hidden(&read("text:shop-of-ann", &hidden)));
    }

    #[test]
    fn secret_header_is_detected_by_location_or_name() {
        let (inline, elsewhere) = (
            SecretRef::Text(Secret::new("a".to_owned())),
            SecretRef::Env("A".to_owned()),
        );
        for header in ["authorization", "x-api-key", "X-Shop-Token", "cookie"] {
            assert!(is_secret(header, &inline), "{header}");
        }
        assert!(!is_secret("accept", &inline) && !is_secret("x-shop", &inline));
        assert!(is_secret("x-shop", &elsewhere));
    }
}
