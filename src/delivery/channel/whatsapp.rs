//! Sends messages through Meta's Cloud API (kind `whatsapp`). Records an attempt before its message
//! is sent, because the API has no idempotency key.
//!
//! The text of Meta's errors may repeat the token or the recipient. Logs and lists therefore
//! contain texts of this program instead.
//!
//! A test without a recipient queries the sending phone number at Meta. The query proves that the
//! token, the phone number ID and the network work, and no person gets a message.
//!
//! See [`crate::domain::delivery::cloud_error`] for error codes and
//! [`crate::domain::delivery::message`] for the content of messages.

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Uri};
use serde_json::Value;

use super::exchange::{Connection, FailedExchange, Message, SendOutcome};
use super::http_exchange::{HttpRequest, HttpResponse, json_headers, secret_part, send_test_text};
use super::test_send::{TestReport, TestRequest, redacted_headers, request_line};
use super::{
    Channel, LimiterKey, Payload, PayloadInput, SendFuture, SharedRate, TestFuture, downcast,
};
use crate::config::{DeliveryPolicy, Recipients, WhatsappSettings};
use crate::delivery::recipient::event_data;
use crate::delivery::secret_resolver::SecretResolver;
use crate::domain::delivery::Disposition;
use crate::domain::delivery::cloud_error::{self, CloudError};
use crate::domain::delivery::message::{self, MessageError};
use crate::domain::delivery::receipt::{CallbackData, PendingAttempt};
use crate::domain::event::test_message;
use crate::domain::rate_limiter::RateLimit;
use crate::domain::time::Timestamp;
use crate::store::{MessageOutcome, PendingDelivery};

/// Note about a test message that Meta accepted.
const TEST_DETAIL: &str = "Meta accepted the message. It arrives only if that number has written \
                           to yours within 24 hours; otherwise Meta delivers only templates \
                           (error 131047)";

/// Sending phone number with its credentials.
#[derive(Debug)]
pub(crate) struct WhatsappChannel {
    settings: WhatsappSettings,
    /// Value of the `Authorization` header, `Bearer` and the token, marked as sensitive.
    bearer: HeaderValue,
}

/// Parsed response of the Graph API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct CloudApiResponse {
    /// ID of the created message.
    wamid: Option<Box<str>>,
    error: Option<CloudError>,
}

impl WhatsappChannel {
    /// Resolves the access token. Returns `None` after an error.
    pub(crate) fn resolve(
        settings: &WhatsappSettings,
        secrets: &mut SecretResolver<'_>,
    ) -> Option<Self> {
        Some(Self {
            bearer: secrets.resolve_header("access_token", &settings.access_token, "Bearer ")?,
            settings: settings.clone(),
        })
    }

    fn render_message(&self, pending: &PendingDelivery) -> Result<String, MessageError> {
        let kind = pending.event.kind;
        let template = self
            .settings
            .messages
            .get(&kind)
            .ok_or(MessageError::MissingMessage(kind))?;
        let data = event_data(pending)?;
        let recipients = &self.settings.recipients.kind;
        let recipient = recipients.resolve_recipient(&data, pending.customer.as_ref())?;
        let callback = CallbackData {
            job_id: pending.id,
            webhook_id: pending.delivery.webhook_id.clone(),
        };
        message::message_body(template, &data, &recipient, &callback.to_text())
    }

    fn request_headers(&self) -> HeaderMap {
        let mut headers = json_headers();
        headers.insert(AUTHORIZATION, self.bearer.clone());
        headers
    }

    fn interpret(&self, response: HttpResponse, attempt_number: u32) -> SendOutcome {
        let parsed = CloudApiResponse::parse(&response.body);
        let disposition = cloud_error::disposition(
            response.attempt_end(),
            parsed.error,
            parsed.wamid.is_some(),
            attempt_number,
        );
        let detail = match &parsed {
            CloudApiResponse {
                error: Some(error), ..
            } => format!(", {}", error.summary()),
            CloudApiResponse { wamid: None, .. } if response.is_success() => {
                ", but the response contains no message ID".to_owned()
            }
            _ => String::new(),
        };
        let record = response.redacted_record(secret_part(&self.bearer));
        SendOutcome {
            message_outcome: Some(message_outcome(disposition, parsed.wamid)),
            ..response.into_outcome(disposition, record, &detail)
        }
    }

    /// Queries the sending phone number at Meta.
    async fn query_number(&self, connection: Connection<'_>, test: &TestRequest) -> TestReport {
        let url = &self.settings.number_url;
        let mut headers = self.request_headers();
        headers.remove(CONTENT_TYPE);
        let request_headers = redacted_headers(&headers);
        let request = HttpRequest {
            method: Method::GET,
            ..HttpRequest::post(url, headers, "", self.settings.allow_private)
        };
        let (sent, has_error) = match request.send(connection, test.now).await {
            Ok(response) => {
                let has_error = CloudApiResponse::parse(&response.body).error.is_some();
                (self.interpret(response, 1), has_error)
            }
            Err(failed) => (self.interpret_failure(failed, 1), false),
        };
        let error = number_error(&sent, has_error, &self.settings.phone_number_id);
        let detail = format!(
            "no message was sent: `flowgate destinations test {} --to NUMBER` sends a text to that \
             number",
            test.destination
        );
        TestReport {
            request_line: Some(request_line(&Method::GET, url)),
            delivered: None,
            detail: error.is_none().then_some(detail),
            error,
            ..TestReport::of_message(sent, request_headers, Value::Null, None)
        }
    }
}

impl Channel for WhatsappChannel {
    fn url(&self) -> &Uri {
        &self.settings.url
    }

    fn recipients(&self) -> Option<&Recipients> {
        Some(&self.settings.recipients)
    }

    fn shared_rate(&self) -> Option<SharedRate> {
        Some(SharedRate {
            key: LimiterKey {
                sender_kind: "phone number",
                sender: self.settings.phone_number_id.clone(),
            },
            limit: self
                .settings
                .number_rate
                .map_or(RateLimit::Unlimited, RateLimit::Configured),
        })
    }

    fn build_payload(&self, input: PayloadInput<'_>) -> Result<Payload, String> {
        let PayloadInput { policy, first, .. } = input;
        let is_open = first
            .receipt
            .as_ref()
            .is_some_and(|receipt| receipt.pending_attempt.is_some());
        if is_open && first.job.attempts_since_manual_retry >= policy.retry.max_attempts {
            return Err(
                "too many attempts ended without a known result, and no status from Meta confirms \
                 the message"
                    .to_owned(),
            );
        }
        self.render_message(first)
            .map(Payload::single)
            .map_err(|why| why.to_string())
    }

    fn pending_attempt(
        &self,
        policy: &DeliveryPolicy,
        pending: &PendingDelivery,
        now: Timestamp,
    ) -> Option<PendingAttempt> {
        Some(PendingAttempt {
            number: pending.job.attempts.saturating_add(1),
            started_at: now,
            deadline: now.plus(policy.timeout).plus(self.settings.status_wait),
        })
    }

    fn send<'a>(&'a self, connection: Connection<'a>, message: Message<'a>) -> SendFuture<'a> {
        let WhatsappSettings {
            url, allow_private, ..
        } = &self.settings;
        HttpRequest::post(url, self.request_headers(), message.body, *allow_private).send_message(
            self,
            connection,
            message,
            move |response| self.interpret(response, message.attempt_number),
        )
    }

    fn interpret_failure(&self, failed: FailedExchange, attempt_number: u32) -> SendOutcome {
        let disposition = cloud_error::disposition(failed.end, None, false, attempt_number);
        SendOutcome {
            message_outcome: Some(message_outcome(disposition, None)),
            ..SendOutcome::without_response(disposition, failed.reason)
        }
    }

    fn test<'a>(&'a self, connection: Connection<'a>, request: &'a TestRequest) -> TestFuture<'a> {
        Box::pin(async move {
            let Some(to) = &request.to else {
                return Ok(self.query_number(connection, request).await);
            };
            let body = message::test_message_body(&test_message(&request.destination), to);
            let (headers, body) = (self.request_headers(), body.to_string());
            Ok(send_test_text(self, connection, request, &headers, &body, TEST_DETAIL).await)
        })
    }

    fn has_same_config(&self, other: &dyn Channel) -> bool {
        downcast(other).is_some_and(|other: &Self| {
            let same_location = WhatsappSettings {
                access_token: self.settings.access_token.clone(),
                ..other.settings.clone()
            };
            self.settings == same_location && self.bearer == other.bearer
        })
    }

    fn has_same_access(&self, other: &dyn Channel) -> bool {
        downcast(other).is_some_and(|other: &Self| {
            self.settings.url == other.settings.url && self.bearer == other.bearer
        })
    }
}

/// Returns the outcome for the store. `wamid` is the ID of the created message.
fn message_outcome(disposition: Disposition, wamid: Option<Box<str>>) -> MessageOutcome {
    match (disposition, wamid) {
        (Disposition::Delivered, Some(wamid)) => MessageOutcome::Accepted(wamid),
        (Disposition::Unconfirmed, _) => MessageOutcome::Unknown,
        _ => MessageOutcome::NoMessage,
    }
}

/// Returns an error if the response does not describe the phone number with this ID. `has_error` is
/// `true` if the response contains an error of Meta.
fn number_error(sent: &SendOutcome, has_error: bool, phone_number_id: &str) -> Option<String> {
    let body: Value = serde_json::from_str(&sent.response.body_excerpt).unwrap_or_default();
    let status = sent.response.status;
    if status == Some(200) && body.get("id").and_then(Value::as_str) == Some(phone_number_id) {
        return None;
    }
    Some(match status {
        Some(200) if !has_error => {
            "responded with 200 OK, but without this phone number: check meta.graph_url".to_owned()
        }
        Some(_) if !has_error => format!("{}: check meta.graph_url", sent.reason),
        _ => sent.reason.clone(),
    })
}

impl CloudApiResponse {
    /// Parses the beginning of a response.
    fn parse(bytes: &[u8]) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::channel::http_exchange::tests::{CUT_BODIES, response};
    use crate::delivery::tests::support::resolve_channel;

    #[test]
    fn response_contains_wamid_or_error() {
        let parse = |text: &str| CloudApiResponse::parse(text.as_bytes());
        let accepted = CloudApiResponse {
            wamid: Some("wamid.1".into()),
            error: None,
        };
        let error = |code, is_transient| CloudApiResponse {
            wamid: None,
            error: Some(CloudError { code, is_transient }),
        };
        let message = r#"{"messaging_product":"whatsapp","contacts":[{"input":"1"}],"messages":[{"id":"wamid.1"}]}"#;
        for (body, expected) in [
            (message, accepted),
            (
                r#"{"error":{"message":"no","code":190}}"#,
                error(190, false),
            ),
            (
                r#"{"error":{"code":2,"is_transient":true}}"#,
                error(2, true),
            ),
            ("", CloudApiResponse::default()),
            ("<html>", CloudApiResponse::default()),
            ("[]", CloudApiResponse::default()),
            (r#"{"error":"no"}"#, CloudApiResponse::default()),
            (r#"{"error":{}}"#, CloudApiResponse::default()),
            (r#"{"messages":[]}"#, CloudApiResponse::default()),
        ] {
            assert_eq!(parse(body), expected, "{body}");
        }
    }

    #[test]
    fn cut_response_of_meta_is_unconfirmed() {
        let channel: WhatsappChannel = resolve_channel(
            "[destinations.wa]\nkind = \"whatsapp\"\nphone_number_id = \"106540352242922\"\naccess_token = \"text:t\"\n\
             to = \"customer\"\nmessages = { \"lead.waiting\" = { text = \"a\" } }",
        );
        let disposition = |status, body: &'static str| {
            let received = response(status, body, false);
            channel.interpret(received, 1).disposition
        };
        let accepted = r#" {"messages":[{"id":"wamid.1"}]}"#;
        let refused = r#"{"error":{"code":131026}}"#;
        assert_eq!(disposition(200, accepted), Disposition::Delivered);
        assert_eq!(disposition(400, refused), Disposition::Refused);
        // The missing rest could change the meaning of the response.
        for cut in CUT_BODIES {
            assert_eq!(disposition(400, cut), Disposition::Unconfirmed, "{cut}");
        }
    }
}
