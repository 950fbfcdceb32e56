//! Sends events to a URL (kind `webhook`), signed as in *Standard Webhooks*.
//!
//! Each attempt has a new signature. The status of the response decides. Some receivers repeat the
//! URL or headers in their response, so secret parts are removed from the stored response.
//!
//! See [`crate::domain::delivery::payload`] for the payload, and [`crate::webhook_signature`] for
//! the signature.

use std::collections::BTreeSet;
use std::fmt;

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};

use super::exchange::{Connection, FailedExchange, Message, SendOutcome};
use super::http_exchange::{HttpRequest, HttpResponse, json_headers, secret_part};
use super::test_send::{TestError, TestReport, TestRequest, redacted_headers};
use super::{Channel, Payload, PayloadInput, SendFuture, TestFuture, downcast};
use crate::config::{SecretRef, WebhookSettings, WebhookUrl, webhook_url};
use crate::delivery::secret_resolver::SecretResolver;
use crate::domain::delivery::payload::PayloadFormat;
use crate::domain::delivery::{AttemptEnd, ResponseRecord};
use crate::domain::event::EventKind;
use crate::net::{DecidedBy, redact_token};
use crate::store::PendingDelivery;
use crate::webhook_signature::{self, SigningKey};

/// Minimum length of a URL part that counts as a secret. Shorter parts are words or public names.
const TOKEN_CHARS_MIN: usize = 16;

/// Minimum length of a secret header value that is removed from responses, in bytes. A shorter
/// value is no secret and may occur in any text.
const SECRET_BYTES_MIN: usize = 8;

/// Webhook with its credentials.
#[derive(Debug, PartialEq)]
pub(crate) struct WebhookChannel {
    endpoint: WebhookEndpoint,
    allow_private: bool,
    payload: PayloadFormat,
    /// Signing keys of the messages, newest first.
    keys: Vec<SigningKey>,
    /// Configured headers. Sensitive ones are marked as such.
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// URL of a webhook. `Debug` shows only its host.
#[derive(PartialEq, Eq)]
struct WebhookEndpoint {
    url: Uri,
    /// `true` if knowledge of the URL is enough to post to it.
    is_secret: bool,
}

impl WebhookChannel {
    /// Resolves the URL, the signing keys and the headers. Returns `None` after an error.
    pub(crate) fn resolve(
        settings: &WebhookSettings,
        secrets: &mut SecretResolver<'_>,
    ) -> Option<Self> {
        let endpoint = resolve_endpoint(settings, secrets);
        // All secrets are resolved, so that all errors are reported.
        let keys: Vec<_> = settings
            .secrets
            .iter()
            .map(|location| resolve_signing_key(location, secrets))
            .collect();
        let headers: Vec<_> = settings
            .headers
            .iter()
            .map(|(name, location)| resolve_custom_header(name, location, secrets))
            .collect();
        Some(Self {
            endpoint: endpoint?,
            allow_private: settings.allow_private,
            payload: settings.payload.clone(),
            keys: keys.into_iter().collect::<Option<_>>()?,
            headers: headers.into_iter().collect::<Option<_>>()?,
        })
    }

    /// Returns the headers of `message`. Headers with secrets are marked as sensitive.
    fn request_headers(&self, message: Message<'_>) -> Result<HeaderMap, InvalidHeaderValue> {
        let mut headers = json_headers();
        if self.keys.is_empty() {
            headers.insert("webhook-id", message.id.parse()?);
        } else {
            let body = message.body.as_bytes();
            let signed =
                webhook_signature::signature_headers(&self.keys, message.id, message.now, body);
            for (name, value) in signed {
                headers.insert(name, value.parse()?);
            }
        }
        for (name, value) in &self.headers {
            // A configured header replaces a default one, for example `user-agent`.
            headers.insert(name, value.clone());
        }
        Ok(headers)
    }

    fn interpret(&self, response: HttpResponse) -> SendOutcome {
        let record = ResponseRecord {
            status: Some(response.status),
            body_excerpt: self.redact(&String::from_utf8_lossy(&response.body)).into(),
        };
        let disposition = response.attempt_end().webhook_disposition();
        response.into_outcome(disposition, record, "")
    }

    /// Removes the secret parts of the URL and the secret header values from a response.
    fn redact(&self, text: &str) -> String {
        let secrets = self
            .headers
            .iter()
            .filter(|(_, value)| value.is_sensitive());
        let secrets =
            secrets.flat_map(|(_, value)| [value.to_str().unwrap_or_default(), secret_part(value)]);
        let secrets = secrets.filter(|secret| secret.len() >= SECRET_BYTES_MIN);
        secrets.fold(self.endpoint.redact(text), |text, secret| {
            redact_token(&text, secret)
        })
    }
}

impl Channel for WebhookChannel {
    fn url(&self) -> &Uri {
        &self.endpoint.url
    }

    fn build_payload(&self, input: PayloadInput<'_>) -> Result<Payload, String> {
        let PendingDelivery {
            delivery,
            event,
            body,
            ..
        } = input.first;
        let payload = self.payload.render(event.kind, &delivery.webhook_id, body);
        payload
            .map(|payload| Payload::single(payload.into_owned()))
            .map_err(|why| why.to_string())
    }

    fn send<'a>(&'a self, connection: Connection<'a>, message: Message<'a>) -> SendFuture<'a> {
        Box::pin(async move {
            let sent = match self.request_headers(message) {
                Ok(headers) => {
                    let url = &self.endpoint.url;
                    let request = HttpRequest {
                        decided_by: DecidedBy::Status,
                        ..HttpRequest::post(url, headers, message.body, self.allow_private)
                    };
                    request.send(connection, message.now).await
                }
                // All parts of the request were checked when the config was read. An invalid part
                // is reported like any failure.
                Err(error) => Err(FailedExchange {
                    end: AttemptEnd::NotSent,
                    reason: format!("can't build the request: {error}"),
                }),
            };
            match sent {
                Ok(response) => self.interpret(response),
                Err(failed) => self.interpret_failure(failed, message.attempt_number),
            }
        })
    }

    fn interpret_failure(&self, failed: FailedExchange, _attempt_number: u32) -> SendOutcome {
        SendOutcome::without_response(failed.end.webhook_disposition(), failed.reason)
    }

    fn default_test_event(&self, subscribed: &BTreeSet<EventKind>) -> Option<EventKind> {
        let PayloadFormat::Templates(templates) = &self.payload else {
            return None;
        };
        templates
            .keys()
            .find(|kind| subscribed.contains(kind))
            .or(templates.keys().next())
            .copied()
    }

    fn test<'a>(&'a self, connection: Connection<'a>, request: &'a TestRequest) -> TestFuture<'a> {
        Box::pin(async move {
            let (id, event) = (request.webhook_id(), request.event_body());
            // Without an event, the payload is either the standard body or a chat message. Neither
            // depends on the kind of event.
            let kind = request.event.unwrap_or(EventKind::SubmissionAccepted);
            let body = self
                .payload
                .render(kind, &id, &event)
                .map_err(|why| TestError::NotBuilt(why.to_string()))?;
            let message = request.message(&id, &body);
            let headers = self.request_headers(message).map_err(|error| {
                TestError::NotBuilt(format!("the request can't be built: {error}"))
            })?;
            let sent = self.send(connection, message).await;
            Ok(TestReport::of_message(
                sent,
                redacted_headers(&headers),
                serde_json::from_str(&body).unwrap_or_default(),
                None,
            ))
        })
    }

    fn has_same_config(&self, other: &dyn Channel) -> bool {
        // The equality of header values ignores the mark of sensitive ones.
        let marks = |channel: &Self| -> Vec<bool> {
            let values = channel.headers.iter();
            values.map(|(_, value)| value.is_sensitive()).collect()
        };
        downcast(other).is_some_and(|other: &Self| self == other && marks(self) == marks(other))
    }

    fn has_same_access(&self, other: &dyn Channel) -> bool {
        downcast(other).is_some_and(|other: &Self| {
            self.endpoint == other.endpoint
                && self.keys == other.keys
                && self.headers == other.headers
        })
    }
}

impl WebhookEndpoint {
    /// Returns a response without the secret parts of the URL.
    fn redact(&self, text: &str) -> String {
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
        f.debug_tuple("WebhookEndpoint")
            .field(&self.url.host().unwrap_or_default())
            .finish()
    }
}

fn resolve_endpoint(
    settings: &WebhookSettings,
    secrets: &mut SecretResolver<'_>,
) -> Option<WebhookEndpoint> {
    let location = match &settings.url {
        WebhookUrl::Plain(url) => {
            return Some(WebhookEndpoint {
                url: url.clone(),
                is_secret: false,
            });
        }
        WebhookUrl::Secret(location) => location,
    };
    let text = secrets.resolve_secret("url", location)?;
    match webhook_url(text.expose(), settings.allow_private) {
        Ok(url) => Some(WebhookEndpoint {
            url,
            is_secret: true,
        }),
        Err(why) => {
            let location = location.location();
            secrets.report_invalid(format!("url: the value of {location} {why}"));
            None
        }
    }
}

fn resolve_signing_key(
    location: &SecretRef,
    secrets: &mut SecretResolver<'_>,
) -> Option<SigningKey> {
    let text = secrets.resolve_secret("secrets", location)?;
    let key = SigningKey::parse(text.expose());
    key.map_err(|error| {
        let location = location.location();
        secrets.report_invalid(format!("the secret in {location} can't be used: {error}"));
    })
    .ok()
}

fn resolve_custom_header(
    name: &str,
    location: &SecretRef,
    secrets: &mut SecretResolver<'_>,
) -> Option<(HeaderName, HeaderValue)> {
    let mut value = secrets.resolve_header(&format!("headers.{name}"), location, "")?;
    value.set_sensitive(is_secret(name, location));
    let Ok(name) = name.parse() else {
        secrets.report_invalid(format!("headers.{name}: is not a valid header name"));
        return None;
    };
    Some((name, value))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::delivery::channel::http_exchange::tests::response;
    use crate::delivery::tests::support::resolve_channel;

    fn channel(table: &str) -> WebhookChannel {
        resolve_channel(&format!("[destinations.crm]\n{table}"))
    }

    fn endpoint(is_secret: bool) -> WebhookEndpoint {
        let url =
            "https://chat.example/api/webhooks/1234/aBcDeFgHiJkLmNoP?thread=7&sig=zYxWvUtSrQpOnMlK"
                .parse()
                .unwrap();
        WebhookEndpoint { url, is_secret }
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
            "WebhookEndpoint(\"chat.example\")"
        );
    }

    #[test]
    fn stored_response_hides_secret_headers() {
        let channel = channel(
            "url = \"https://crm.example/\"\nheaders = { authorization = \"text:Basic SECRET-12345\", \
             x-key = \"text:no\", accept = \"text:application/json\" }",
        );
        let body = "no: SECRET-12345 is no key, nor Basic SECRET-12345; the application is wrong";
        let received = response(400, body, true);
        assert_eq!(
            &*channel.interpret(received).response.body_excerpt,
            "no: … is no key, nor …; the application is wrong"
        );
    }

    #[test]
    fn header_moved_to_secret_location_is_hidden() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop");
        std::fs::write(&file, "shop-of-ann").unwrap();
        let file = format!("file:{}", file.display());
        let channel = |location: &str| {
            channel(&format!(
                "url = \"https://crm.example/\"\nheaders = {{ x-shop = \"{location}\" }}"
            ))
        };
        let (shown, hidden) = (channel("text:shop-of-ann"), channel(&file));
        let is_hidden = |channel: &WebhookChannel| channel.headers[0].1.is_sensitive();
        assert_eq!((is_hidden(&shown), is_hidden(&hidden)), (false, true));
        assert!(!shown.has_same_config(&hidden) && shown.has_same_access(&hidden));
        assert!(hidden.has_same_config(&channel(&file)), "nothing changed");
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
