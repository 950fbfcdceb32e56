//! Sends texts through an unofficial gateway (kind `gateway`), and merges those for one agent.
//!
//! See [`crate::domain::gateway::text`] for the requests and responses of each kind of gateway, and
//! [`crate::delivery::shared_rate_limit`] for the rate.

use hyper::Uri;
use hyper::header::{DATE, HeaderMap, HeaderValue};
use serde_json::Value;

use super::exchange::{Connection, FailedExchange, Message, SendOutcome};
use super::http_exchange::{
    HttpRequest, HttpResponse, json_headers, parse_http_date, secret_part, send_test_text,
};
use super::test_send::{TestError, TestRequest};
use super::{
    Channel, LimiterKey, Payload, PayloadInput, SendFuture, SharedRate, TestFuture, downcast,
};
use crate::config::{GatewayDestination, Recipients};
use crate::delivery::recipient::{event_data, resolve_recipient};
use crate::delivery::secret_resolver::SecretResolver;
use crate::domain::delivery::message::{self, MessageError, Recipient, RecipientKind};
use crate::domain::event::test_message;
use crate::domain::gateway::{GatewayKind, text};
use crate::domain::rate_limiter::RemoteQuota;
use crate::domain::time::{Millis, Timestamp};
use crate::net::{printable_excerpt, redact_token};
use crate::store::PendingDelivery;

/// Label of a gateway's key in errors. The key is in the table of the gateway, not of the
/// destination.
const KEY_LABEL: &str = "the gateway key";

/// Gateway with its credentials.
#[derive(Debug)]
pub(crate) struct GatewayChannel {
    settings: GatewayDestination,
    /// API key as the value of its header, marked as sensitive.
    key: HeaderValue,
}

/// Text of a message with its recipient.
struct TextMessage {
    to: Recipient,
    text: String,
}

/// Parsed response of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct GatewayResponse {
    /// Error message of the gateway, without the API key.
    rejection: Option<String>,
    /// `true` if the body has the format of a confirmation.
    is_confirmation: bool,
    /// Pause that the body asks for, as `WASenderApi` does. `None`: no pause.
    retry_after: Option<Millis>,
    /// Remaining quota. `None`: not announced.
    quota: Option<RemoteQuota>,
}

impl GatewayChannel {
    /// Resolves the key of the gateway. Returns `None` after an error.
    pub(crate) fn resolve(
        settings: &GatewayDestination,
        secrets: &mut SecretResolver<'_>,
    ) -> Option<Self> {
        let (_, prefix) = settings.kind.key_header();
        Some(Self {
            key: secrets.resolve_header(KEY_LABEL, &settings.key, prefix)?,
            settings: settings.clone(),
        })
    }

    fn render_text(&self, pending: &PendingDelivery) -> Result<TextMessage, MessageError> {
        let kind = pending.event.kind;
        let template = self
            .settings
            .messages
            .get(&kind)
            .ok_or(MessageError::MissingMessage(kind))?;
        let data = event_data(pending)?;
        let recipients = &self.settings.recipients.kind;
        Ok(TextMessage {
            to: recipients.resolve_recipient(&data, pending.customer.as_ref())?,
            text: message::render_text(template, &data)?,
        })
    }

    /// Builds the request that sends `text`.
    fn request_body(&self, to: &Recipient, text: &str) -> Result<String, MessageError> {
        text::send_body(self.settings.kind, &self.settings.session, to, text)
    }

    fn request_headers(&self) -> HeaderMap {
        let (header, _) = self.settings.kind.key_header();
        let mut headers = json_headers();
        headers.insert(header, self.key.clone());
        headers
    }

    fn interpret(&self, mut response: HttpResponse, now: Timestamp) -> SendOutcome {
        let key = secret_part(&self.key);
        let parsed = GatewayResponse::parse(self.settings.kind, &response, key, now);
        response.retry_after = response.retry_after.or(parsed.retry_after);
        let disposition = text::disposition(
            response.attempt_end(),
            parsed.rejection.as_deref(),
            parsed.is_confirmation,
        );
        let detail = match &parsed.rejection {
            Some(rejection) => match printable_excerpt(rejection) {
                excerpt if excerpt.is_empty() => excerpt,
                excerpt => format!(": {excerpt}"),
            },
            None if !parsed.is_confirmation && response.is_success() => {
                ", but the body is not a JSON object".to_owned()
            }
            None => String::new(),
        };
        let record = response.redacted_record(key);
        SendOutcome {
            quota: parsed.quota,
            ..response.into_outcome(disposition, record, &detail)
        }
    }
}

impl Channel for GatewayChannel {
    fn url(&self) -> &Uri {
        &self.settings.url
    }

    fn recipients(&self) -> Option<&Recipients> {
        Some(&self.settings.recipients)
    }

    fn shared_rate(&self) -> Option<SharedRate> {
        Some(SharedRate {
            key: LimiterKey {
                sender_kind: "gateway",
                sender: self.settings.gateway.to_string(),
            },
            limit: self.settings.limit,
        })
    }

    /// Texts for one agent are merged. Messages to customers are never merged.
    fn merge_key(&self, pending: &PendingDelivery) -> Option<Recipient> {
        let recipients = &self.settings.recipients;
        matches!(recipients.kind, RecipientKind::Agent(_))
            .then(|| resolve_recipient(recipients, pending).ok())
            .flatten()
    }

    fn build_payload(&self, input: PayloadInput<'_>) -> Result<Payload, String> {
        let error_text = |why: MessageError| why.to_string();
        let first = self.render_text(input.first).map_err(error_text)?;
        let others: Vec<TextMessage> = input
            .others
            .iter()
            .map_while(|pending| self.render_text(pending).ok())
            .take_while(|message| message.to == first.to)
            .collect();
        let texts = [&first]
            .into_iter()
            .chain(&others)
            .map(|message| message.text.as_str());
        let (merged, delivery_count) = text::merge_texts(texts);
        Ok(Payload {
            body: self.request_body(&first.to, &merged).map_err(error_text)?,
            delivery_count,
        })
    }

    fn send<'a>(&'a self, connection: Connection<'a>, message: Message<'a>) -> SendFuture<'a> {
        let GatewayDestination {
            url, allow_private, ..
        } = &self.settings;
        HttpRequest::post(url, self.request_headers(), message.body, *allow_private).send_message(
            self,
            connection,
            message,
            move |response| self.interpret(response, message.now),
        )
    }

    fn interpret_failure(&self, failed: FailedExchange, _attempt_number: u32) -> SendOutcome {
        let disposition = text::disposition(failed.end, None, false);
        SendOutcome::without_response(disposition, failed.reason)
    }

    fn test<'a>(&'a self, connection: Connection<'a>, request: &'a TestRequest) -> TestFuture<'a> {
        Box::pin(async move {
            let name = &request.destination;
            let Some(to) = &request.to else {
                return Err(TestError::InvalidOptions(format!(
                    "{name} sends messages to people: `flowgate destinations test {name} --to \
                     NUMBER` sends a text to that number, `flowgate gateways show {}` shows the \
                     state of its session",
                    self.settings.gateway
                )));
            };
            let body = self
                .request_body(&Recipient::Phone(to.clone().into()), &test_message(name))
                .map_err(|error| TestError::InvalidOptions(error.to_string()))?;
            let detail = "the gateway accepted the message: check the phone";
            let headers = self.request_headers();
            Ok(send_test_text(self, connection, request, &headers, &body, detail).await)
        })
    }

    fn has_same_config(&self, other: &dyn Channel) -> bool {
        downcast(other).is_some_and(|other: &Self| {
            let same_location = GatewayDestination {
                key: self.settings.key.clone(),
                ..other.settings.clone()
            };
            self.settings == same_location && self.key == other.key
        })
    }

    fn has_same_access(&self, other: &dyn Channel) -> bool {
        downcast(other).is_some_and(|other: &Self| {
            let (one, two) = (&self.settings, &other.settings);
            one.kind == two.kind && one.url == two.url && self.key == other.key
        })
    }
}

impl GatewayResponse {
    /// Parses a response that arrived at `now`. `key` is the API key.
    fn parse(kind: GatewayKind, response: &HttpResponse, key: &str, now: Timestamp) -> Self {
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        Self {
            rejection: text::rejection(&body)
                .map(|reason| text::redact_numbers(&redact_token(&reason, key))),
            is_confirmation: text::is_confirmation(kind, &response.body),
            retry_after: body
                .get("retry_after")
                .and_then(Value::as_u64)
                .map(Millis::from_secs),
            quota: parse_quota(&response.headers, now),
        }
    }
}

/// Parses `X-RateLimit-Remaining` and `X-RateLimit-Reset`, which is in Unix seconds (*Understanding
/// rate limits* of `WASenderApi`). The time is relative to the date of the response, because the
/// two clocks may differ.
fn parse_quota(headers: &HeaderMap, now: Timestamp) -> Option<RemoteQuota> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let left = number("x-ratelimit-remaining")?;
    let resets_at = Timestamp::from_millis(number("x-ratelimit-reset")?.checked_mul(1000)?);
    let now = headers
        .get(DATE)
        .and_then(|text| parse_http_date(text.to_str().ok()?))
        .unwrap_or(now);
    Some(RemoteQuota {
        remaining: u32::try_from(left).unwrap_or(u32::MAX),
        resets_in: resets_at.since(now),
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::delivery::channel::http_exchange::tests::{CUT_BODIES, response};
    use crate::delivery::tests::support::resolve_channel;
    use crate::domain::delivery::Disposition;

    const AGAIN: Disposition = Disposition::Retry {
        retry_after: None,
        pauses_destination: false,
        is_failure: true,
    };

    /// Returns a channel through a gateway of this kind, with the key `SECRET-12345`.
    fn channel(kind: &str) -> GatewayChannel {
        let keys = match kind {
            "wasender" => "session_key = \"text:SECRET-12345\"\naccess_token = \"text:a\"",
            _ => "api_key = \"text:SECRET-12345\"",
        };
        resolve_channel(&format!(
            "[gateways.main]\nkind = \"{kind}\"\nurl = \"https://gateway.example\"\nsession = \"7\"\n{keys}\n\
             webhook_secret = \"text:w\"\n[destinations.notes]\nkind = \"gateway\"\ngateway = \"main\"\n\
             to = \"customer\"\nmessages = {{ \"lead.waiting\" = {{ text = \"a\" }} }}"
        ))
    }

    fn head(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn quota_reset_uses_gateway_clock() {
        let now = Timestamp::from_millis(1_795_591_680_000);
        let left = ("x-ratelimit-remaining", "255");
        let reset = ("x-ratelimit-reset", "1795591740");
        let read = |lines: &[(&'static str, &str)]| parse_quota(&head(lines), now);
        let earlier = ("date", "Wed, 25 Nov 2026 07:27:30 GMT");
        for (lines, seconds) in [
            (&[left, reset][..], 60),
            (&[left, reset, earlier], 90),
            (&[left, ("x-ratelimit-reset", "1")], 0),
        ] {
            let quota = RemoteQuota {
                remaining: 255,
                resets_in: Millis::from_secs(seconds),
            };
            assert_eq!(read(lines), Some(quota), "{lines:?}");
        }
        for odd in ["", "soon", "-1", "99999999999999999999"] {
            for lines in [
                [left, ("x-ratelimit-reset", odd)],
                [("x-ratelimit-remaining", odd), reset],
            ] {
                assert_eq!(read(&lines), None, "{lines:?}");
            }
        }
        assert_eq!(read(&[left]), None);
    }

    #[test]
    fn rejection_and_stored_response_hide_key() {
        let body = r#"{"success":false,"message":"Invalid API key SECRET-12345, Bearer SECRET-12345","retry_after":5}"#;
        let received = response(400, body, true);
        let (kind, key) = (GatewayKind::Wasender, "SECRET-12345");
        let parsed = GatewayResponse::parse(kind, &received, key, Timestamp::ZERO);
        assert_eq!(parsed.retry_after, Some(Millis::from_secs(5)));
        for kind in ["wasender", "waha"] {
            let outcome = channel(kind).interpret(response(400, body, true), Timestamp::ZERO);
            let all = format!("{} {}", outcome.reason, outcome.response.body_excerpt);
            assert!(
                !all.contains("SECRET") && all.contains("Invalid API key …"),
                "{all}"
            );
        }
    }

    #[test]
    fn cut_response_of_gateway_is_retried() {
        let channel = channel("waha");
        let disposition = |received| channel.interpret(received, Timestamp::ZERO).disposition;
        let accepted = response(200, r#"{"success":true}"#, false);
        assert_eq!(disposition(accepted), Disposition::Delivered);
        for cut in CUT_BODIES {
            assert_eq!(disposition(response(400, cut, false)), AGAIN, "{cut}");
        }
        let complete = response(400, "", true);
        assert_eq!(disposition(complete), Disposition::Refused);
    }

    #[test]
    fn html_page_confirms_no_text() {
        let outcome = |kind, body: &'static str| {
            channel(kind).interpret(response(200, body, true), Timestamp::ZERO)
        };
        let page = "<html>Log in</html>";
        for (kind, body, disposition) in [
            ("waha", page, AGAIN),
            ("evolution", "", AGAIN),
            ("waha", "", Disposition::Delivered),
            (
                "evolution",
                r#"{"key":{"id":"3EB0"}}"#,
                Disposition::Delivered,
            ),
        ] {
            assert_eq!(
                outcome(kind, body).disposition,
                disposition,
                "{kind}: {body}"
            );
        }
        let reason = "responded with 200 OK, but the body is not a JSON object";
        assert_eq!(outcome("waha", page).reason, reason);
    }
}
