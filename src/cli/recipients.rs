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
            Err(first) => {
                let all = all_problems(name, rule);
                // A file may have been put right between the two.
                if all.is_empty() { problems.push(first) } else { problems.extend(all) }
            }
        }
    }
    (recipients, problems)
}

/// All that is wrong with the secrets of a destination.
fn all_problems(destination: &DestinationName, rule: &Destination) -> Vec<NoRecipient> {
    let mut problems = Vec::new();
    match &rule.means {
        Means::Webhook(webhook) => {
            problems.extend(endpoint(destination, &webhook.url, rule.allow_private).err());
            problems.extend(webhook.secrets.iter().filter_map(|place| signing_key(destination, place).err()));
            let headers = webhook.headers.iter();
            problems.extend(headers.filter_map(|(name, place)| header(destination, name, place).err()));
        }
        Means::Whatsapp(whatsapp) => problems.extend(of_whatsapp(destination, whatsapp).err()),
        Means::Gateway(gateway) => problems.extend(of_gateway(destination, gateway).err()),
        Means::Smtp(smtp) => problems.extend(of_smtp(destination, smtp).err()),
    }
    problems.extend(rule.proxy.iter().filter_map(|rule| proxy(destination, rule).err()));
    problems
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
    let keys = rule.secrets.iter().map(|place| signing_key(destination, place)).collect::<Result<_, _>>()?;
    let headers =
        rule.headers.iter().map(|(name, place)| header(destination, name, place)).collect::<Result<_, _>>()?;
    Ok(Credentials::Webhook { endpoint, keys, headers })
}

fn signing_key(destination: &DestinationName, place: &SecretRef) -> Result<SigningKey, NoRecipient> {
    let text = secret(destination, "secrets", place)?;
    SigningKey::read(text.expose()).map_err(|source| NoRecipient::Invalid {
        destination: destination.clone(),
        place: place.place(),
        source,
    })
}

fn header(
    destination: &DestinationName,
    name: &str,
    place: &SecretRef,
) -> Result<(HeaderName, HeaderValue), NoRecipient> {
    let named = format!("headers.{name}");
    let mut value = key(destination, &named, place, "")?;
    value.set_sensitive(is_secret(name, place));
    let name: HeaderName = name.parse().map_err(|_| no_header(destination, &named, place))?;
    Ok((name, value))
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
    fn all_problems_of_a_destination_are_told_beside_a_variable_that_is_not_set() {
        let folder = tempfile::tempdir().unwrap();
        for (name, secret) in [("key", "short"), ("header", "schlüssel"), ("auth", "without a colon")] {
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
        let (recipients, problems) = read_all(&config, &Recipients::new());
        assert!(recipients.is_empty());
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let parts = [
            "url: env:FLOWGATE_NO_SUCH_URL is not set",
            "key can't be used: ",
            "headers.x-key: ",
            "headers.x-shop: env:FLOWGATE_NO_SUCH_HEADER is not set",
            "proxy_auth: ",
        ];
        assert_eq!(told.len(), parts.len(), "{told:?}");
        for part in parts {
            assert!(told.iter().any(|told| told.starts_with("destination crm: ") && told.contains(part)), "{told:?}");
        }
    }

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
