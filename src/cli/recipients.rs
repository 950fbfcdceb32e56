//! Destinations made ready to be told: their secrets, a URL among them, from the places that the config names.
//!
//! What a secret's text may look like is `crate::signing`'s, sending is `crate::courier`'s.

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};

use crate::config::{
    Address, Config, Destination, GatewayTexts, Means, ProxyRule, Secret, SecretError, SecretRef, SmtpRule,
    WebhookRule, WhatsappRule, webhook_url,
};
use crate::courier::{Credentials, Endpoint, Recipient, Recipients};
use crate::domain::ids::DestinationName;
use crate::outgoing::{InvalidProxyAuth, Proxy};
use crate::signing::{InvalidSigningKey, SigningKey};

/// The name of a gateway's key, which stands in the gateway's own table.
const GATEWAY_KEY: &str = "the key of its gateway";

/// A destination that can't be told anything.
#[derive(Debug, thiserror::Error)]
pub enum NoRecipient {
    /// A secret can't be read.
    #[error("destination {destination}: {key}: {source}")]
    Secret {
        /// The destination.
        destination: DestinationName,
        /// The key of the config.
        key: String,
        /// Why not.
        #[source]
        source: SecretError,
    },
    /// A secret is not there.
    #[error("destination {destination}: {key}: {place} is not set")]
    NotSet {
        /// The destination.
        destination: DestinationName,
        /// The key of the config.
        key: String,
        /// Where it was looked for.
        place: String,
    },
    /// It is no URL to post to.
    #[error("destination {destination}: url: what is in {place} {why}")]
    NoUrl {
        /// The destination.
        destination: DestinationName,
        /// Where it is.
        place: String,
        /// Why not, without repeating it.
        why: &'static str,
    },
    /// It is no secret to sign with.
    #[error("destination {destination}: the secret in {place} can't be used: {source}")]
    Invalid {
        /// The destination.
        destination: DestinationName,
        /// Where it is.
        place: String,
        /// Why not.
        #[source]
        source: InvalidSigningKey,
    },
    /// It can't stand in a header.
    #[error(
        "destination {destination}: {key}: what is in {place} can't stand in a header: it is to be one line of visible ASCII characters"
    )]
    NoHeader {
        /// The destination.
        destination: DestinationName,
        /// The key of the config.
        key: String,
        /// Where its value is.
        place: String,
    },
    /// A proxy can't be shown it.
    #[error("destination {destination}: proxy_auth: what is in {place} {source}")]
    NoProxyAuth {
        /// The destination.
        destination: DestinationName,
        /// Where it is.
        place: String,
        /// Why not.
        #[source]
        source: InvalidProxyAuth,
    },
}

/// Those that can be told, and what is wrong with the others. One that is told as before stays the one that it was in
/// `before`.
pub(super) fn read_all(config: &Config, before: &Recipients) -> (Recipients, Vec<NoRecipient>) {
    let (mut recipients, mut problems) = (Recipients::new(), Vec::new());
    for (name, rule) in &config.destinations {
        match recipient(name, rule) {
            Ok(new) => {
                let kept = before.get(name).filter(|old| old.is_told_like(&new)).map(Arc::clone);
                recipients.insert(name.clone(), kept.unwrap_or_else(|| Arc::new(new)));
            }
            Err(problem) => {
                problems.extend(places(rule).into_iter().filter_map(|(key, place)| secret(name, &key, place).err()));
                if !matches!(problem, NoRecipient::Secret { .. } | NoRecipient::NotSet { .. }) {
                    problems.push(problem);
                }
            }
        }
    }
    (recipients, problems)
}

/// The places of all secrets of a destination, by their keys.
fn places(rule: &Destination) -> Vec<(String, &SecretRef)> {
    let mut places = Vec::new();
    match &rule.means {
        Means::Webhook(webhook) => {
            if let Address::Secret(place) = &webhook.url {
                places.push(("url".to_owned(), place));
            }
            places.extend(webhook.secrets.iter().map(|place| ("secrets".to_owned(), place)));
            places.extend(webhook.headers.iter().map(|(header, place)| (format!("headers.{header}"), place)));
        }
        Means::Whatsapp(whatsapp) => places.push(("access_token".to_owned(), &whatsapp.access_token)),
        Means::Gateway(gateway) => places.push((GATEWAY_KEY.to_owned(), &gateway.key)),
        Means::Smtp(smtp) => places.extend(smtp.login.iter().map(|login| ("password".to_owned(), &login.password))),
    }
    places.extend(rule.proxy.iter().flat_map(|proxy| &proxy.auth).map(|place| ("proxy_auth".to_owned(), place)));
    places
}

/// One made ready.
pub(super) fn recipient(destination: &DestinationName, rule: &Destination) -> Result<Recipient, NoRecipient> {
    let credentials = match &rule.means {
        Means::Webhook(webhook) => of_webhook(destination, webhook, rule.allow_private)?,
        Means::Whatsapp(whatsapp) => of_whatsapp(destination, whatsapp)?,
        Means::Gateway(gateway) => of_gateway(destination, gateway)?,
        Means::Smtp(smtp) => of_smtp(destination, smtp)?,
    };
    let proxy = rule.proxy.as_ref().map(|rule| proxy(destination, rule)).transpose()?;
    Ok(Recipient { rule: rule.clone(), credentials, proxy })
}

fn of_smtp(destination: &DestinationName, rule: &SmtpRule) -> Result<Credentials, NoRecipient> {
    let password = rule.login.as_ref().map(|login| secret(destination, "password", &login.password));
    Ok(Credentials::Smtp { password: password.transpose()? })
}

fn proxy(destination: &DestinationName, rule: &ProxyRule) -> Result<Proxy, NoRecipient> {
    let auth = rule.auth.as_ref().map(|place| secret(destination, "proxy_auth", place)).transpose()?;
    let auth = auth.as_ref().map(|secret| secret.expose().as_str());
    Proxy::new(rule.url.clone(), auth).map_err(|source| NoRecipient::NoProxyAuth {
        destination: destination.clone(),
        place: rule.auth.as_ref().map(SecretRef::place).unwrap_or_default(),
        source,
    })
}

fn of_whatsapp(destination: &DestinationName, rule: &WhatsappRule) -> Result<Credentials, NoRecipient> {
    Ok(Credentials::Whatsapp { bearer: key(destination, "access_token", &rule.access_token, "Bearer ")? })
}

fn of_gateway(destination: &DestinationName, rule: &GatewayTexts) -> Result<Credentials, NoRecipient> {
    let (_, prefix) = rule.kind.key_header();
    Ok(Credentials::Gateway { kind: rule.kind, key: key(destination, GATEWAY_KEY, &rule.key, prefix)? })
}

/// A secret as it stands in a header, behind `prefix`.
fn key(destination: &DestinationName, name: &str, place: &SecretRef, prefix: &str) -> Result<HeaderValue, NoRecipient> {
    let secret = secret(destination, name, place)?;
    let whole = Secret::new(format!("{prefix}{}", secret.expose()));
    secret_header(&whole).ok_or_else(|| no_header(destination, name, place))
}

/// A secret as a header's value, marked as sensitive. `None`: it is not of visible ASCII characters alone. Others would be read as
/// anything by whoever gets them, and would not be found in an answer that repeats them.
pub(super) fn secret_header(secret: &Secret) -> Option<HeaderValue> {
    let is_visible = secret.expose().bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let mut value = HeaderValue::from_str(secret.expose()).ok().filter(|_| is_visible)?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether what stands in `header` is kept out of answers: it stands in a place of secrets, or under the name of one. Others, such
/// as `accept`, have values that any answer may contain.
fn is_secret(header: &str, place: &SecretRef) -> bool {
    let names = ["auth", "key", "token", "secret", "cookie", "password", "signature"];
    !matches!(place, SecretRef::Text(_)) || names.iter().any(|name| header.to_ascii_lowercase().contains(name))
}

fn no_header(destination: &DestinationName, key: &str, place: &SecretRef) -> NoRecipient {
    NoRecipient::NoHeader { destination: destination.clone(), key: key.to_owned(), place: place.place() }
}

fn endpoint(destination: &DestinationName, address: &Address, allow_private: bool) -> Result<Endpoint, NoRecipient> {
    match address {
        Address::Plain(url) => Ok(Endpoint::new(url.clone(), false)),
        Address::Secret(place) => {
            let text = secret(destination, "url", place)?;
            let url = webhook_url(text.expose(), allow_private).map_err(|why| NoRecipient::NoUrl {
                destination: destination.clone(),
                place: place.place(),
                why,
            })?;
            Ok(Endpoint::new(url, true))
        }
    }
}

fn of_webhook(
    destination: &DestinationName,
    rule: &WebhookRule,
    allow_private: bool,
) -> Result<Credentials, NoRecipient> {
    let endpoint = endpoint(destination, &rule.url, allow_private)?;
    let mut keys = Vec::new();
    for place in &rule.secrets {
        let text = secret(destination, "secrets", place)?;
        let key = SigningKey::read(text.expose()).map_err(|source| NoRecipient::Invalid {
            destination: destination.clone(),
            place: place.place(),
            source,
        })?;
        keys.push(key);
    }
    let mut headers = Vec::new();
    for (header, place) in &rule.headers {
        let named = format!("headers.{header}");
        let mut value = key(destination, &named, place, "")?;
        value.set_sensitive(is_secret(header, place));
        let name: HeaderName = header.parse().map_err(|_| no_header(destination, &named, place))?;
        headers.push((name, value));
    }
    Ok(Credentials::Webhook { endpoint, keys, headers })
}

fn secret(destination: &DestinationName, key: &str, place: &SecretRef) -> Result<Secret, NoRecipient> {
    let text = place.resolve().map_err(|source| NoRecipient::Secret {
        destination: destination.clone(),
        key: key.to_owned(),
        source,
    })?;
    text.ok_or_else(|| NoRecipient::NotSet {
        destination: destination.clone(),
        key: key.to_owned(),
        place: place.place(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_shows_visible_characters_alone() {
        let header = |text: &str| secret_header(&Secret::new(text.to_owned()));
        assert!(header("Bearer a~b").is_some_and(|value| value.is_sensitive()));
        for text in ["schlüssel-123", "two\nlines", "a\tb", "\u{7f}"] {
            assert!(header(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_header_whose_place_becomes_one_of_secrets_is_hidden_without_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop");
        std::fs::write(&file, "shop-of-ann").unwrap();
        let crm = DestinationName::new("crm").unwrap();
        let read = |place: &str, before: &Recipients| {
            let table =
                format!("[destinations.crm]\nurl = \"https://crm.example/\"\nheaders = {{ x-shop = \"{place}\" }}");
            let (recipients, problems) = read_all(&Config::parse("config.toml".as_ref(), &table).unwrap(), before);
            assert!(problems.is_empty(), "{problems:?}");
            recipients
        };
        let is_hidden = |recipients: &Recipients| {
            let Credentials::Webhook { headers, .. } = &recipients[&crm].credentials else { panic!() };
            headers[0].1.is_sensitive()
        };
        let shown = read("text:shop-of-ann", &Recipients::new());
        let hidden = read(&format!("file:{}", file.display()), &shown);
        assert_eq!((is_hidden(&shown), is_hidden(&hidden)), (false, true));
        assert!(
            Arc::ptr_eq(&read(&format!("file:{}", file.display()), &hidden)[&crm], &hidden[&crm]),
            "nothing changed"
        );
        assert!(!is_hidden(&read("text:shop-of-ann", &hidden)));
    }

    #[test]
    fn what_is_a_secret_is_told_by_its_place_or_by_its_name() {
        let (here, elsewhere) = (SecretRef::Text(Secret::new("a".to_owned())), SecretRef::Env("A".to_owned()));
        for header in ["authorization", "x-api-key", "X-Shop-Token", "cookie"] {
            assert!(is_secret(header, &here), "{header}");
        }
        assert!(!is_secret("accept", &here) && !is_secret("x-shop", &here));
        assert!(is_secret("x-shop", &elsewhere));
    }
}
