//! Builds messages to Meta's Cloud API and parses the responses. Decides how long an attempt
//! without a response waits for a status.
//!
//! The text of Meta's errors may repeat the token or the recipient. Logs and lists therefore
//! contain texts of this program instead.
//!
//! See [`crate::domain::delivery::cloud_error`] for error codes and
//! [`crate::domain::delivery::message`] for the content of messages.

use serde_json::Value;

use crate::config::{Destination, DestinationKind, WhatsappSettings};
use crate::domain::delivery::cloud_error::CloudError;
use crate::domain::delivery::message::{self, MessageError};
use crate::domain::delivery::receipt::{CallbackData, PendingAttempt};
use crate::domain::delivery::{RESPONSE_EXCERPT_BYTES, ResponseRecord};
use crate::domain::job::retry::RetryPolicy;
use crate::domain::time::{Millis, Timestamp};
use crate::net::redact_token;
use crate::store::PendingDelivery;

use crate::delivery::eligibility::event_data;

/// Maximum number of bytes that are read of a response. The limit is sufficient for any error with
/// details, and for a gateway's complete record of a message.
pub(crate) const RESPONSE_BYTES_MAX: usize = 256 << 10;

/// Returns the time until which a status may show the result of a pending attempt. Returns `None`
/// if no status is expected.
pub(crate) fn status_deadline(pending: &PendingDelivery, now: Timestamp) -> Option<Timestamp> {
    let attempt = pending.receipt.as_ref()?.pending_attempt?;
    is_status_pending(attempt, now).then_some(attempt.deadline)
}

/// Builds the request for `pending`.
///
/// # Errors
/// Returns the reason why the request can't be built.
pub(crate) fn build_request(
    settings: &WhatsappSettings,
    retry: RetryPolicy,
    pending: &PendingDelivery,
) -> Result<String, String> {
    let is_open = pending
        .receipt
        .as_ref()
        .is_some_and(|receipt| receipt.pending_attempt.is_some());
    if is_open && pending.job.attempts_since_manual_retry >= retry.max_attempts {
        return Err(
            "too many attempts ended without a known result, and no status from Meta confirms the message".to_owned()
        );
    }
    render_message(settings, pending).map_err(|why| why.to_string())
}

/// Returns the pending attempt that starts at `now`. If no response arrives, a status may still
/// show the result of the attempt.
pub(crate) fn pending_attempt(
    destination: &Destination,
    pending: &PendingDelivery,
    now: Timestamp,
) -> PendingAttempt {
    let wait = match &destination.kind {
        DestinationKind::Whatsapp(settings) => settings.status_wait,
        DestinationKind::Webhook(_) | DestinationKind::Gateway(_) | DestinationKind::Smtp(_) => {
            Millis::ZERO
        }
    };
    let attempt = pending.job.attempts.saturating_add(1);
    PendingAttempt {
        number: attempt,
        started_at: now,
        deadline: now.plus(destination.timeout).plus(wait),
    }
}

/// Returns `true` if a status may still arrive. A start time in the future was written by a clock
/// that has been set back since.
fn is_status_pending(attempt: PendingAttempt, now: Timestamp) -> bool {
    attempt.deadline > now && attempt.started_at <= now
}

fn render_message(
    settings: &WhatsappSettings,
    pending: &PendingDelivery,
) -> Result<String, MessageError> {
    let kind = pending.event.kind;
    let template = settings
        .messages
        .get(&kind)
        .ok_or(MessageError::MissingMessage(kind))?;
    let data = event_data(pending)?;
    let recipient = settings
        .to
        .resolve_recipient(&data, pending.customer.as_ref())?;
    let callback = CallbackData {
        job_id: pending.id,
        webhook_id: pending.delivery.webhook_id.clone(),
    };
    message::message_body(template, &data, &recipient, &callback.to_text())
}

/// Parsed response of the Graph API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudApiResponse {
    /// ID of the created message.
    pub wamid: Option<Box<str>>,
    /// Error of the Graph API.
    pub error: Option<CloudError>,
}

impl CloudApiResponse {
    /// Parses the beginning of a response.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let error = body
            .get("error")
            .filter(|error| error.is_object())
            .and_then(|error| {
                let is_transient = error
                    .get("is_transient")
                    .and_then(Value::as_bool)
                    .unwrap_or_default();
                Some(CloudError {
                    code: error.get("code")?.as_i64()?,
                    is_transient,
                })
            });
        let wamid = body
            .pointer("/messages/0/id")
            .and_then(Value::as_str)
            .filter(|id| !id.is_empty());
        Self {
            wamid: wamid.map(Box::from),
            error,
        }
    }
}

/// Returns the stored part of a response: its beginning, without the token.
pub(crate) fn redacted_excerpt(status: u16, bytes: &[u8], token: &str) -> ResponseRecord {
    let mut body = redact_token(&String::from_utf8_lossy(bytes), token);
    body.truncate(body.floor_char_boundary(RESPONSE_EXCERPT_BYTES));
    ResponseRecord {
        status: Some(status),
        body_excerpt: body.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_contains_wamid_or_error() {
        let parse = |text: &str| CloudApiResponse::parse(text.as_bytes());
        let accepted = parse(
            r#"{"messaging_product":"whatsapp","contacts":[{"input":"1"}],"messages":[{"id":"wamid.1"}]}"#,
        );
        assert_eq!(
            accepted,
            CloudApiResponse {
                wamid: Some("wamid.1".into()),
                error: None
            }
        );
        let error = |code, is_transient| CloudApiResponse {
            wamid: None,
            error: Some(CloudError { code, is_transient }),
        };
        assert_eq!(
            parse(r#"{"error":{"message":"no","code":190}}"#),
            error(190, false)
        );
        assert_eq!(
            parse(r#"{"error":{"code":2,"is_transient":true}}"#),
            error(2, true)
        );
        for odd in [
            "",
            "<html>",
            "[]",
            r#"{"error":"no"}"#,
            r#"{"error":{}}"#,
            r#"{"messages":[]}"#,
        ] {
            assert_eq!(parse(odd), CloudApiResponse::default(), "{odd}");
        }
    }

    #[test]
    fn excerpt_is_bounded_and_without_token() {
        let body = format!(
            "{{\"message\":\"EAAGm0PX4ZCps is malformed\",\"é\":\"{}\"}}",
            "é".repeat(RESPONSE_EXCERPT_BYTES)
        );
        let excerpt = redacted_excerpt(400, body.as_bytes(), "EAAGm0PX4ZCpsBAKZCx");
        assert!(
            excerpt
                .body_excerpt
                .starts_with("{\"message\":\"… is malformed\"")
                && excerpt.body_excerpt.len() <= RESPONSE_EXCERPT_BYTES
        );
        assert_eq!(excerpt.status, Some(400));
    }

    #[test]
    fn pending_attempt_awaits_status_unless_clock_set_back() {
        let at = |ms| Timestamp::from_millis(ms);
        let attempt = PendingAttempt {
            number: 1,
            started_at: at(1000),
            deadline: at(5000),
        };
        assert!(is_status_pending(attempt, at(1000)) && is_status_pending(attempt, at(4999)));
        assert!(!is_status_pending(attempt, at(5000)) && !is_status_pending(attempt, at(999)));
    }
}
