//! Sends one HTTP request to a destination, and reads what all kinds need of the response.
//!
//! Errors contain nothing that was sent, and only the host of the URL. Without this, an error could
//! contain a token.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use jiff::fmt::rfc2822;
use serde::de::IgnoredAny;

use super::exchange::{Connection, FailedExchange, Message, SendOutcome};
use super::test_send::{TestReport, TestRequest, redacted_headers, request_line};
use super::{Channel, SendFuture};
use crate::domain::delivery::{AttemptEnd, Disposition, RESPONSE_EXCERPT_BYTES, ResponseRecord};
use crate::domain::time::{Millis, Timestamp};
use crate::net::{DecidedBy, NetError, PRODUCT_TOKEN, ResponsePrefix, redact_token};

/// Maximum number of bytes that are read of a response whose body decides. The limit is sufficient
/// for any error with details, and for a gateway's complete record of a message.
const RESPONSE_BYTES_MAX: usize = 256 << 10;

/// Request to a destination.
pub(super) struct HttpRequest<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: &'a str,
    /// `true` if the host may be on this machine or in a private network.
    pub(super) allow_private: bool,
    /// Part of the response that decides about the disposition.
    pub(super) decided_by: DecidedBy,
}

/// Response of a destination.
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Beginning of the body.
    pub(super) body: Bytes,
    /// Delay that the receiver asks for.
    pub(super) retry_after: Option<Millis>,
    /// `true` if the missing part of the body could change the meaning of the response.
    is_cut: bool,
}

impl<'a> HttpRequest<'a> {
    /// Returns the request that posts `body`. The body of the response decides.
    pub(super) const fn post(
        url: &'a Uri,
        headers: HeaderMap,
        body: &'a str,
        allow_private: bool,
    ) -> Self {
        Self {
            method: Method::POST,
            url,
            headers,
            body,
            allow_private,
            decided_by: DecidedBy::Body,
        }
    }

    /// Sends the request for `message` of `channel`. `interpret` interprets the response.
    pub(super) fn send_message(
        self,
        channel: &'a impl Channel,
        connection: Connection<'a>,
        message: Message<'a>,
        interpret: impl FnOnce(HttpResponse) -> SendOutcome + Send + 'a,
    ) -> SendFuture<'a> {
        Box::pin(async move {
            match self.send(connection, message.now).await {
                Ok(response) => interpret(response),
                Err(failed) => channel.interpret_failure(failed, message.attempt_number),
            }
        })
    }

    /// Sends the request.
    ///
    /// # Errors
    /// [`FailedExchange`] if no response arrived.
    pub(super) async fn send(
        self,
        connection: Connection<'_>,
        now: Timestamp,
    ) -> Result<HttpResponse, FailedExchange> {
        let mut request = Request::new(Full::new(Bytes::from(self.body.to_owned())));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers;
        let max_body_prefix = match self.decided_by {
            DecidedBy::Status => RESPONSE_EXCERPT_BYTES,
            DecidedBy::Body => RESPONSE_BYTES_MAX,
        };
        let client = connection
            .clients
            .client(self.allow_private, connection.proxy);
        let response = client
            .post(
                request,
                connection.deadline,
                max_body_prefix,
                self.decided_by,
            )
            .await
            .map_err(|error| FailedExchange {
                end: attempt_end_of(&error),
                reason: error.to_string(),
            })?;
        Ok(HttpResponse::new(response, self.decided_by, now))
    }
}

impl HttpResponse {
    pub(super) fn new(response: ResponsePrefix, decided_by: DecidedBy, now: Timestamp) -> Self {
        let ResponsePrefix {
            status,
            headers,
            body_prefix: body,
            is_complete,
        } = response;
        Self {
            status: status.as_u16(),
            retry_after: parse_retry_after(&headers, now),
            headers,
            is_cut: decided_by == DecidedBy::Body && !is_complete && !is_json_object(&body),
            body,
        }
    }

    /// Returns the end of the attempt. The outcome is unknown if the response is cut.
    pub(super) const fn attempt_end(&self) -> AttemptEnd {
        if self.is_cut {
            AttemptEnd::Unknown
        } else {
            AttemptEnd::Responded {
                status: self.status,
                retry_after: self.retry_after,
            }
        }
    }

    /// Returns `true` if the status is 2xx.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the reason of a failure: the status, and `detail` from the body.
    fn failure_reason(&self, detail: &str) -> String {
        let name = StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .map(|name| format!(" {name}"))
            .unwrap_or_default();
        let cut = if self.is_cut {
            ", but the response is incomplete"
        } else {
            ""
        };
        format!("responded with {}{name}{detail}{cut}", self.status)
    }

    /// Returns the result of the exchange. `detail` is the reason of a failure in the body.
    pub(super) fn into_outcome(
        self,
        disposition: Disposition,
        record: ResponseRecord,
        detail: &str,
    ) -> SendOutcome {
        SendOutcome {
            response: record,
            reason: self.failure_reason(detail),
            headers: self.headers,
            ..SendOutcome::without_response(disposition, String::new())
        }
    }

    /// Returns the stored part of the response: its beginning, without `token`.
    pub(super) fn redacted_record(&self, token: &str) -> ResponseRecord {
        let mut body = redact_token(&String::from_utf8_lossy(&self.body), token);
        body.truncate(body.floor_char_boundary(RESPONSE_EXCERPT_BYTES));
        ResponseRecord {
            status: Some(self.status),
            body_excerpt: body.into(),
        }
    }
}

/// Sends `body`, a text to one person, as the test `request`, a JSON request with these headers.
/// `detail` is the note about an accepted message.
pub(super) async fn send_test_text(
    channel: &impl Channel,
    connection: Connection<'_>,
    request: &TestRequest,
    headers: &HeaderMap,
    body: &str,
    detail: &str,
) -> TestReport {
    let id = request.webhook_id();
    let sent = channel.send(connection, request.message(&id, body)).await;
    let headers = redacted_headers(headers);
    let body = serde_json::from_str(body).unwrap_or_default();
    TestReport {
        request_line: Some(request_line(&Method::POST, channel.url())),
        ..TestReport::of_message(sent, headers, body, Some(detail))
    }
}

/// Returns the headers of a request with a JSON body, without credentials.
pub(super) fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (USER_AGENT, HeaderValue::from_static(PRODUCT_TOKEN)),
    ])
}

/// Returns the secret in a header value, without the scheme in front.
pub(super) fn secret_part(value: &HeaderValue) -> &str {
    let text = value.to_str().unwrap_or_default();
    text.split_once(' ').map_or(text, |(_, secret)| secret)
}

/// Parses a date in header format (RFC 9110, 5.6.7).
pub(super) fn parse_http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()
        .map(Timestamp::from_jiff)
}

/// Parses `Retry-After` (RFC 9110, 10.2.3): seconds or a date. The seconds of Discord have
/// fractions (*Rate Limits*).
fn parse_retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Millis> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if let (Ok(seconds), true) = (whole.parse::<u64>(), is_number) {
        // A fraction counts as a whole second.
        let rounded_up = u64::from(fraction.bytes().any(|digit| digit != b'0'));
        return Some(Millis::from_secs(seconds.saturating_add(rounded_up)));
    }
    Some(parse_http_date(text)?.since(now))
}

/// Returns `true` if `bytes` are one complete JSON object.
///
/// Nothing can follow the last brace of an object. So the response is complete even if the
/// connection closes without the TLS alert `close_notify`, or stays open until the deadline. Other
/// JSON values may be the beginning of a longer one.
fn is_json_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

const fn attempt_end_of(error: &NetError) -> AttemptEnd {
    match error {
        NetError::NoRootCertificates | NetError::Tls(_) | NetError::Unreachable { .. } => {
            AttemptEnd::NotSent
        }
        NetError::Disconnected { .. }
        | NetError::Timeout { .. }
        | NetError::ResponseTooLarge { .. }
        | NetError::ResponseMemoryFull { .. } => AttemptEnd::Unknown,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Bodies whose missing rest could change the meaning of the response.
    pub(in crate::delivery) const CUT_BODIES: [&str; 7] = [
        "",
        "{",
        r#"{"messages":[{"id":"wamid.1"}]"#,
        "1",
        "[]",
        r#""no""#,
        r#"{"a":1} {"#,
    ];

    /// Returns a response. The connection closed after `body` if it is not complete.
    pub(in crate::delivery) fn response(
        status: u16,
        body: impl Into<Bytes>,
        is_complete: bool,
    ) -> HttpResponse {
        let response = ResponsePrefix {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body_prefix: body.into(),
            is_complete,
        };
        HttpResponse::new(response, DecidedBy::Body, Timestamp::ZERO)
    }

    #[test]
    fn retry_after_accepts_seconds_and_date() {
        let parsed = |text: &str| {
            let headers =
                HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            // 2026-11-25T07:28:00Z
            parse_retry_after(&headers, Timestamp::from_millis(1_795_591_680_000)).map(Millis::get)
        };
        for (text, delay_ms) in [
            ("120", 120_000),
            (" 0 ", 0),
            ("0.5", 1000),
            ("1.000", 1000),
            ("64.57", 65_000),
            ("Wed, 25 Nov 2026 07:30:00 GMT", 120_000),
            // A time in the past counts as now.
            ("Wed, 25 Nov 2026 07:00:00 GMT", 0),
        ] {
            assert_eq!(parsed(text), Some(delay_ms), "{text}");
        }
        for nonsense in ["", "soon", "-5", "1.", ".5", "1.5s", "1.-5", "2026-11-25"] {
            assert_eq!(parsed(nonsense), None, "{nonsense}");
        }
        assert_eq!(parsed("99999999999999999999"), None);
    }

    #[test]
    fn stored_response_is_bounded_and_without_token() {
        let body = format!(
            "{{\"message\":\"EAAGm0PX4ZCps is malformed\",\"é\":\"{}\"}}",
            "é".repeat(RESPONSE_EXCERPT_BYTES)
        );
        let record = response(400, body, true).redacted_record("EAAGm0PX4ZCpsBAKZCx");
        assert!(
            record
                .body_excerpt
                .starts_with("{\"message\":\"… is malformed\"")
                && record.body_excerpt.len() <= RESPONSE_EXCERPT_BYTES
        );
        assert_eq!(record.status, Some(400));
    }
}
