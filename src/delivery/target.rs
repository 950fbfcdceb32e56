//! Defines a destination together with its secrets, as the delivery client needs it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use crate::config::{Destination, DestinationKind, Secret, SmtpSettings};
use crate::domain::gateway::GatewayKind;
use crate::domain::ids::DestinationName;
use crate::net::{Proxy, redact_token};
use crate::webhook_signature::SigningKey;

/// Minimum length of a URL part that counts as a secret. Shorter parts are words or public names.
const TOKEN_CHARS_MIN: usize = 16;

/// Destination with credentials and proxy. `Debug` hides the secrets.
#[derive(Clone, Debug)]
pub struct DeliveryTarget {
    /// Settings from the config.
    pub settings: Destination,
    /// Credentials for the destination.
    pub credentials: DestinationCredentials,
    /// Proxy to the destination. `None`: direct connection.
    pub proxy: Option<Proxy>,
}

/// Credentials with which flowgate authenticates to a destination.
#[derive(Clone, Debug, PartialEq)]
pub enum DestinationCredentials {
    /// Credentials for a webhook.
    Webhook {
        /// URL of the webhook.
        endpoint: WebhookEndpoint,
        /// Signing keys of the messages, newest first.
        keys: Vec<SigningKey>,
        /// Configured headers. Sensitive ones are marked as such.
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    /// Credentials for the Graph API.
    Whatsapp {
        /// Value of the `Authorization` header, `Bearer` and the token, marked as sensitive.
        bearer: HeaderValue,
    },
    /// Credentials for an unofficial gateway.
    Gateway {
        /// Kind of gateway. The kind decides the header of the key and the format of responses.
        kind: GatewayKind,
        /// API key as the value of its header, marked as sensitive.
        key: HeaderValue,
    },
    /// Credentials for a mail server.
    Smtp {
        /// Password of the user. `None`: no login.
        password: Option<Secret>,
    },
}

impl DestinationCredentials {
    /// Returns `true` if both hide the same headers. `==` is not enough, because the equality of
    /// [`HeaderValue`] ignores the mark.
    fn hides_same_headers(&self, other: &Self) -> bool {
        let marks = |credentials: &Self| -> Vec<bool> {
            match credentials {
                Self::Webhook { headers, .. } => headers
                    .iter()
                    .map(|(_, value)| value.is_sensitive())
                    .collect(),
                // These credentials are always hidden.
                Self::Whatsapp { .. } | Self::Gateway { .. } | Self::Smtp { .. } => Vec::new(),
            }
        };
        marks(self) == marks(other)
    }
}

/// URL of a webhook. `Debug` shows only its host.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookEndpoint {
    url: Uri,
    is_secret: bool,
}

impl WebhookEndpoint {
    /// Creates an endpoint. `is_secret` is `true` if knowledge of the URL is enough to post to it.
    #[must_use]
    pub const fn new(url: Uri, is_secret: bool) -> Self {
        Self { url, is_secret }
    }

    /// Returns a response without the secret parts of the URL. Some servers repeat the URL in their
    /// response.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        if !self.is_secret {
            return text.to_owned();
        }
        let whole = self.url.path_and_query().map_or("", |path| path.as_str());
        let parts = whole
            .split(['/', '?', '&', '='])
            .filter(|part| part.len() >= TOKEN_CHARS_MIN);
        let secrets = [whole, self.url.path()]
            .into_iter()
            .filter(|path| path.len() > 1)
            .chain(parts);
        secrets.fold(text.to_owned(), |text, secret| redact_token(&text, secret))
    }
}

impl fmt::Debug for WebhookEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint")
            .field(&self.url.host().unwrap_or_default())
            .finish()
    }
}

impl DeliveryTarget {
    /// Returns the URL that requests are sent to.
    #[must_use]
    pub fn url(&self) -> Option<&Uri> {
        match &self.credentials {
            DestinationCredentials::Webhook { endpoint, .. } => Some(&endpoint.url),
            DestinationCredentials::Whatsapp { .. }
            | DestinationCredentials::Gateway { .. }
            | DestinationCredentials::Smtp { .. } => self.settings.kind.url(),
        }
    }

    /// Returns the host, with the port if the URL has one.
    #[must_use]
    pub fn host(&self) -> String {
        self.url()
            .and_then(Uri::authority)
            .map(|authority| authority.as_str().to_owned())
            .unwrap_or_default()
    }

    /// Returns `true` if both have the same settings, secret values and hidden headers. The sources
    /// of the secrets, such as a file or a variable, do not matter.
    #[must_use]
    pub fn has_same_config(&self, other: &Self) -> bool {
        let (one, two) = (&self.settings, &other.settings);
        let Destination {
            kind: means,
            concurrency,
            rate,
            timeout,
            breaker,
            retry,
            allow_private,
            is_ordered: ordered,
            max_age: expires,
            proxy: _,
        } = one;
        let same_pace = (*concurrency, *rate, *timeout) == (two.concurrency, two.rate, two.timeout);
        let same_patience =
            *breaker == two.breaker && *retry == two.retry && *expires == two.max_age;
        let same_address = self.url() == other.url()
            && *allow_private == two.allow_private
            && *ordered == two.is_ordered;
        let same_content = match (means, &two.kind) {
            (DestinationKind::Whatsapp(one), DestinationKind::Whatsapp(two)) => {
                let same_waits =
                    one.status_wait == two.status_wait && one.customer_wait == two.customer_wait;
                let same_pace = one.number_rate == two.number_rate;
                same_waits && same_pace && one.to == two.to && one.messages == two.messages
            }
            (DestinationKind::Webhook(one), DestinationKind::Webhook(two)) => {
                one.payload == two.payload
            }
            (DestinationKind::Gateway(one), DestinationKind::Gateway(two)) => {
                let same_gateway = (&one.gateway, one.kind, &one.session)
                    == (&two.gateway, two.kind, &two.session);
                let same_pace = one.limit == two.limit && one.customer_wait == two.customer_wait;
                same_gateway && same_pace && one.to == two.to && one.messages == two.messages
            }
            (DestinationKind::Smtp(one), DestinationKind::Smtp(two)) => {
                let username = |settings: &SmtpSettings| {
                    settings.login.as_ref().map(|login| login.username.clone())
                };
                let same_boxes =
                    one.from == two.from && one.to == two.to && one.reply_to == two.reply_to;
                same_boxes
                    && one.tls == two.tls
                    && username(one) == username(two)
                    && one.messages == two.messages
            }
            (one, two) => std::mem::discriminant(one) == std::mem::discriminant(two),
        };
        same_pace
            && same_patience
            && same_address
            && same_content
            && self.credentials == other.credentials
            && self.credentials.hides_same_headers(&other.credentials)
            && self.proxy == other.proxy
    }
}

/// Targets of all destinations.
pub type DeliveryTargets = BTreeMap<DestinationName, Arc<DeliveryTarget>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(is_secret: bool) -> WebhookEndpoint {
        let url =
            "https://chat.example/api/webhooks/1234/aBcDeFgHiJkLmNoP?thread=7&sig=zYxWvUtSrQpOnMlK"
                .parse()
                .unwrap();
        WebhookEndpoint::new(url, is_secret)
    }

    #[test]
    fn redacted_response_hides_secret_url_parts() {
        for (text, shown) in [
            (
                "no /api/webhooks/1234/aBcDeFgHiJkLmNoP?thread=7&sig=zYxWvUtSrQpOnMlK here",
                "no … here",
            ),
            (
                "{\"path\":\"/api/webhooks/1234/aBcDeFgHiJkLmNoP\"}",
                "{\"path\":\"…\"}",
            ),
            ("bad token aBcDeFgHiJkLmNoP", "bad token …"),
            ("sig zYxWvUtSrQpOnMlK of thread 7", "sig … of thread 7"),
            ("no webhook 1234", "no webhook 1234"),
        ] {
            assert_eq!(endpoint(true).redact(text), shown);
            assert_eq!(endpoint(false).redact(text), text);
        }
    }

    #[test]
    fn debug_output_hides_url() {
        assert_eq!(
            format!("{:?}", endpoint(false)),
            "Endpoint(\"chat.example\")"
        );
    }
}
