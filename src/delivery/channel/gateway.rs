//! Builds texts through an unofficial gateway, merges those for one recipient, and parses the
//! responses.
//!
//! See [`crate::domain::gateway::text`] for the requests and responses of each kind of gateway, and
//! [`crate::delivery::shared_rate_limit`] for the rate.

use hyper::header::{DATE, HeaderMap};
use serde_json::Value;

use crate::config::GatewayDestination;
use crate::domain::delivery::message::{self, MessageError, Recipient};
use crate::domain::gateway::{GatewayKind, text};
use crate::domain::rate_limiter::RemoteQuota;
use crate::domain::time::{Millis, Timestamp};
use crate::net::redact_token;
use crate::store::PendingDelivery;

use crate::delivery::client::parse_http_date;
use crate::delivery::eligibility::event_data;

/// Text of a message with its recipient.
struct TextMessage {
    to: Recipient,
    text: String,
}

/// Builds the request that sends only the text of `pending`.
///
/// # Errors
/// [`MessageError`] if the text can't be built.
pub(crate) fn build_request(
    settings: &GatewayDestination,
    pending: &PendingDelivery,
) -> Result<String, MessageError> {
    let message = build_text(settings, pending)?;
    text::send_body(settings.kind, &settings.session, &message.to, &message.text)
}

/// Merges the texts of `pending` into one request, from the first, as far as the texts fit. Returns
/// the request and the number of merged deliveries. Returns `None` if the first text can't be sent.
pub(crate) fn merge_requests(
    settings: &GatewayDestination,
    pending: &[PendingDelivery],
) -> Option<(String, usize)> {
    let messages: Vec<TextMessage> = pending
        .iter()
        .map_while(|pending| build_text(settings, pending).ok())
        .collect();
    let to = &messages.first()?.to;
    let same = messages.iter().take_while(|message| message.to == *to);
    let (whole, count) = text::merge_texts(same.map(|message| message.text.as_str()));
    Some((
        text::send_body(settings.kind, &settings.session, to, &whole).ok()?,
        count,
    ))
}

fn build_text(
    settings: &GatewayDestination,
    pending: &PendingDelivery,
) -> Result<TextMessage, MessageError> {
    let kind = pending.event.kind;
    let template = settings
        .messages
        .get(&kind)
        .ok_or(MessageError::MissingMessage(kind))?;
    let data = event_data(pending)?;
    let to = settings
        .to
        .resolve_recipient(&data, pending.customer.as_ref())?;
    Ok(TextMessage {
        to,
        text: message::render_text(template, &data)?,
    })
}

/// Parsed response of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayResponse {
    /// Error message of the gateway, without the API key.
    pub rejection: Option<String>,
    /// `true` if the body has the format of a confirmation.
    pub is_confirmation: bool,
    /// Pause that the body asks for, as `WASenderApi` does. `None`: no pause.
    pub retry_after: Option<Millis>,
    /// Remaining quota. `None`: not announced.
    pub quota: Option<RemoteQuota>,
}

impl GatewayResponse {
    /// Parses the headers and the beginning of the body of a response that arrived at `now`.
    pub(crate) fn parse(
        kind: GatewayKind,
        headers: &HeaderMap,
        bytes: &[u8],
        key: &str,
        now: Timestamp,
    ) -> Self {
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        Self {
            rejection: text::rejection(&body)
                .map(|reason| text::redact_numbers(&redact_token(&reason, key))),
            is_confirmation: text::is_confirmation(kind, bytes),
            retry_after: body
                .get("retry_after")
                .and_then(Value::as_u64)
                .map(Millis::from_secs),
            quota: parse_quota(headers, now),
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
        let read = |lines: &[(&'static str, &str)]| {
            GatewayResponse::parse(GatewayKind::Wasender, &head(lines), b"{}", "", now).quota
        };
        assert_eq!(
            read(&[left, reset]),
            Some(RemoteQuota {
                remaining: 255,
                resets_in: Millis::from_secs(60)
            })
        );
        let earlier = ("date", "Wed, 25 Nov 2026 07:27:30 GMT");
        assert_eq!(
            read(&[left, reset, earlier]),
            Some(RemoteQuota {
                remaining: 255,
                resets_in: Millis::from_secs(90)
            })
        );
        assert_eq!(
            read(&[left, ("x-ratelimit-reset", "1")]),
            Some(RemoteQuota {
                remaining: 255,
                resets_in: Millis::ZERO
            })
        );
        for odd in ["", "soon", "-1", "99999999999999999999"] {
            assert_eq!(read(&[left, ("x-ratelimit-reset", odd)]), None, "{odd}");
            assert_eq!(
                read(&[("x-ratelimit-remaining", odd), reset]),
                None,
                "{odd}"
            );
        }
        assert_eq!(read(&[left]), None);
    }

    #[test]
    fn rejection_hides_key() {
        let body = br#"{"success":false,"error":"no session for KEY-12345678","retry_after":5}"#;
        let now = Timestamp::from_millis(0);
        let response = GatewayResponse::parse(
            GatewayKind::Wasender,
            &HeaderMap::new(),
            body,
            "KEY-12345678",
            now,
        );
        assert_eq!(response.rejection.as_deref(), Some("no session for …"));
        assert_eq!(response.retry_after, Some(Millis::from_secs(5)));
    }
}
