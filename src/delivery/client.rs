//! Sends one message to one destination and interprets the response.
//!
//! Webhooks get messages signed as in *Standard Webhooks*. The Graph API and gateways get the
//! payloads of their channels. Each attempt has a new signature, because receivers refuse a
//! signature that is minutes old. The message ID is the same in all attempts. Errors contain
//! nothing that was sent, and only the host of the URL. Without this, an error could contain a
//! token.
//!
//! See [`super::channel::whatsapp`] and [`super::channel::gateway`] for
//! payloads.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, StatusCode, Uri};
use jiff::fmt::rfc2822;
use serde::de::IgnoredAny;

use crate::config::DestinationKind;
use crate::domain::delivery::cloud_error;
use crate::domain::delivery::smtp_reply::SmtpEnd;
use crate::domain::delivery::{AttemptEnd, Disposition, RESPONSE_EXCERPT_BYTES, ResponseRecord};
use crate::domain::gateway::text;
use crate::domain::rate_limiter::RemoteQuota;
use crate::domain::time::{Millis, Timestamp};
use crate::net::{DecidedBy, HttpClients, NetError, ResponsePrefix, SmtpClient, redact_token};
use crate::webhook_signature;

use super::channel::smtp;
use super::channel::whatsapp::{self, CloudApiResponse};
use super::{DeliveryTarget, DestinationCredentials, GatewayResponse};

/// Minimum length of a secret header value that is removed from responses, in bytes. A shorter
/// value is no secret and may occur in any text.
const SECRET_BYTES_MIN: usize = 8;

/// Maximum length, in characters, of a gateway's message within a reason.
const REASON_CHARS_MAX: usize = 160;

const PRODUCT_TOKEN: &str = concat!("flowgate/", env!("CARGO_PKG_VERSION"));

/// Client for all destinations. The client reuses connections.
#[derive(Clone, Debug)]
pub struct DeliveryClient {
    clients: HttpClients,
    /// Client for mail servers.
    smtp_client: SmtpClient,
}

/// Result of sending a message.
#[derive(Clone, Debug)]
pub struct SendOutcome {
    /// End of the attempt: a response with its status, or the kind of failure.
    pub attempt_end: AttemptEnd,
    /// Stored part of the response.
    pub response_record: ResponseRecord,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// Reason of a missing response. `None`: a complete response.
    pub error: Option<String>,
    /// Content of the response beyond its status.
    pub provider_response: ProviderResponse,
}

/// Content of a response beyond its status.
#[derive(Clone, Debug, Default)]
pub enum ProviderResponse {
    /// No content. A webhook responds by its status only.
    #[default]
    None,
    /// Response of the Graph API.
    CloudApi(CloudApiResponse),
    /// Response of a gateway.
    Gateway(GatewayResponse),
    /// Reply of a mail server.
    Smtp(SmtpEnd),
}

impl DeliveryClient {
    /// Creates a client for all kinds of destinations.
    #[must_use]
    pub fn new(clients: HttpClients) -> Self {
        Self {
            smtp_client: SmtpClient::new(clients.trust().clone()),
            clients,
        }
    }

    /// Sends `body` with the ID `id` to `target` at `now`. For a mail server, `body` is the
    /// complete e-mail.
    pub async fn send(
        &self,
        target: &DeliveryTarget,
        id: &str,
        body: &str,
        now: Timestamp,
    ) -> SendOutcome {
        if let (DestinationKind::Smtp(settings), DestinationCredentials::Smtp { password }) =
            (&target.settings.kind, &target.credentials)
        {
            return smtp::send_mail(
                &self.smtp_client,
                target,
                (settings, password.as_ref()),
                body,
            )
            .await;
        }
        self.execute(target, build_request(target, id, body, now), now)
            .await
    }

    /// Sends a GET request to `url` at `now`, with these headers and the timeout of `target`. The
    /// destination gets no message.
    pub async fn get(
        &self,
        target: &DeliveryTarget,
        url: &Uri,
        headers: HeaderMap,
        now: Timestamp,
    ) -> SendOutcome {
        let request = Request::get(url.clone())
            .body(Full::default())
            .map(|mut request| {
                *request.headers_mut() = headers;
                request
            });
        self.execute(target, request, now).await
    }

    async fn execute(
        &self,
        target: &DeliveryTarget,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
        now: Timestamp,
    ) -> SendOutcome {
        let request = match request {
            Ok(request) => request,
            // All parts of the request were checked when the config was read. An invalid part is
            // reported like any failure.
            Err(error) => {
                let why = format!("can't build the request: {error}");
                return SendOutcome::from_error(AttemptEnd::NotSent, why, &target.credentials);
            }
        };
        let client = self
            .clients
            .client(target.settings.allow_private, target.proxy.as_ref());
        let (max_body_prefix, decided_by) = match &target.credentials {
            DestinationCredentials::Webhook { .. } | DestinationCredentials::Smtp { .. } => {
                (RESPONSE_EXCERPT_BYTES, DecidedBy::Status)
            }
            DestinationCredentials::Whatsapp { .. } | DestinationCredentials::Gateway { .. } => {
                (whatsapp::RESPONSE_BYTES_MAX, DecidedBy::Body)
            }
        };
        match client
            .post(
                request,
                target.settings.timeout.to_duration(),
                max_body_prefix,
                decided_by,
            )
            .await
        {
            Ok(response) => SendOutcome::from_response(response, &target.credentials, now),
            Err(error) => SendOutcome::from_error(
                attempt_end_of(&error),
                error.to_string(),
                &target.credentials,
            ),
        }
    }
}

impl SendOutcome {
    fn from_response(
        response: ResponsePrefix,
        credentials: &DestinationCredentials,
        now: Timestamp,
    ) -> Self {
        let ResponsePrefix {
            status,
            headers,
            body_prefix,
            is_complete: is_whole,
        } = response;
        let code = status.as_u16();
        let mut retry_after = parse_retry_after(&headers, now);
        let (exchange, provider_response) = match credentials {
            DestinationCredentials::Webhook {
                endpoint,
                headers: custom,
                ..
            } => {
                let text = redact_headers(
                    &endpoint.redact(&String::from_utf8_lossy(&body_prefix)),
                    custom,
                );
                (
                    ResponseRecord {
                        status: Some(code),
                        body_excerpt: text.into(),
                    },
                    ProviderResponse::None,
                )
            }
            // E-mails are not sent by HTTP.
            DestinationCredentials::Smtp { .. } => (
                ResponseRecord {
                    status: Some(code),
                    ..ResponseRecord::default()
                },
                ProviderResponse::None,
            ),
            DestinationCredentials::Whatsapp { bearer } => {
                let excerpt = whatsapp::redacted_excerpt(code, &body_prefix, secret_part(bearer));
                (
                    excerpt,
                    ProviderResponse::CloudApi(CloudApiResponse::parse(&body_prefix)),
                )
            }
            DestinationCredentials::Gateway { kind, key } => {
                let key = secret_part(key);
                let response_data = GatewayResponse::parse(*kind, &headers, &body_prefix, key, now);
                retry_after = retry_after.or(response_data.retry_after);
                (
                    whatsapp::redacted_excerpt(code, &body_prefix, key),
                    ProviderResponse::Gateway(response_data),
                )
            }
        };
        let mut outcome = Self {
            attempt_end: AttemptEnd::Responded {
                status: code,
                retry_after,
            },
            response_record: exchange,
            headers,
            error: None,
            provider_response,
        };
        if !is_whole
            && !is_json_object(&body_prefix)
            && !matches!(outcome.provider_response, ProviderResponse::None)
        {
            // The missing part of the response could change the meaning of the response.
            outcome.error = Some(format!(
                "{}, but the response is incomplete",
                outcome.reason()
            ));
            outcome.attempt_end = AttemptEnd::Unknown;
        }
        outcome
    }

    pub(crate) fn from_error(
        attempt_end: AttemptEnd,
        error: String,
        credentials: &DestinationCredentials,
    ) -> Self {
        let provider_response = match credentials {
            DestinationCredentials::Webhook { .. } | DestinationCredentials::Smtp { .. } => {
                ProviderResponse::None
            }
            DestinationCredentials::Whatsapp { .. } => {
                ProviderResponse::CloudApi(CloudApiResponse::default())
            }
            DestinationCredentials::Gateway { .. } => {
                ProviderResponse::Gateway(GatewayResponse::default())
            }
        };
        Self {
            attempt_end,
            response_record: ResponseRecord::default(),
            headers: HeaderMap::new(),
            error: Some(error),
            provider_response,
        }
    }

    /// Returns the disposition of the attempt `number`.
    #[must_use]
    pub fn disposition(&self, number: u32) -> Disposition {
        match &self.provider_response {
            ProviderResponse::None => self.attempt_end.webhook_disposition(),
            ProviderResponse::CloudApi(cloud) => cloud_error::disposition(
                self.attempt_end,
                cloud.error,
                cloud.wamid.is_some(),
                number,
            ),
            ProviderResponse::Gateway(response) => text::disposition(
                self.attempt_end,
                response.rejection.as_deref(),
                response.is_confirmation,
            ),
            ProviderResponse::Smtp(smtp_end) => smtp_end.disposition(),
        }
    }

    /// Returns the remaining quota, if the response announces one.
    #[must_use]
    pub fn remote_quota(&self) -> Option<RemoteQuota> {
        match &self.provider_response {
            ProviderResponse::Gateway(response) => response.quota,
            _ => None,
        }
    }

    /// Returns the reason of a failure, for lists and logs.
    #[must_use]
    pub fn reason(&self) -> String {
        match (&self.error, self.response_record.status) {
            (Some(error), _) => error.clone(),
            (None, Some(status)) => {
                let name = StatusCode::from_u16(status)
                    .ok()
                    .and_then(|status| status.canonical_reason());
                let detail = match &self.provider_response {
                    ProviderResponse::CloudApi(CloudApiResponse {
                        error: Some(error), ..
                    }) => Some(format!(", {}", error.summary())),
                    ProviderResponse::CloudApi(CloudApiResponse { wamid: None, .. })
                        if (200..300).contains(&status) =>
                    {
                        Some(", but the response contains no message ID".to_owned())
                    }
                    ProviderResponse::Gateway(GatewayResponse {
                        rejection: Some(objection),
                        ..
                    }) => Some(truncate_reason(objection)),
                    ProviderResponse::Gateway(GatewayResponse {
                        is_confirmation: false,
                        ..
                    }) if (200..300).contains(&status) => {
                        Some(", but the body is not a JSON object".to_owned())
                    }
                    ProviderResponse::None
                    | ProviderResponse::CloudApi(_)
                    | ProviderResponse::Gateway(_)
                    | ProviderResponse::Smtp(_) => None,
                };
                let detail_text = detail.unwrap_or_default();
                format!(
                    "responded with {status}{}{detail_text}",
                    name.map(|name| format!(" {name}")).unwrap_or_default()
                )
            }
            (None, None) => "no response".to_owned(),
        }
    }
}

fn build_request(
    target: &DeliveryTarget,
    id: &str,
    body: &str,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    // Every destination that gets a POST has a URL.
    let url = target.url().cloned().unwrap_or_default();
    let mut request = Request::post(url).body(Full::new(body.to_owned().into()))?;
    *request.headers_mut() = request_headers(target, id, body, now)?;
    Ok(request)
}

/// Returns the headers of `body` with the ID `id` to `target` at `now`. Headers with secrets are
/// marked as sensitive.
///
/// # Errors
/// Returns an error if the ID is not a valid header value.
pub fn request_headers(
    target: &DeliveryTarget,
    id: &str,
    body: &str,
    now: Timestamp,
) -> Result<HeaderMap, hyper::http::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(PRODUCT_TOKEN));
    match &target.credentials {
        DestinationCredentials::Webhook {
            keys,
            headers: custom,
            ..
        } => {
            if keys.is_empty() {
                headers.insert("webhook-id", id.parse()?);
            } else {
                for (name, value) in
                    webhook_signature::signature_headers(keys, id, now, body.as_bytes())
                {
                    headers.insert(name, value.parse()?);
                }
            }
            for (name, value) in custom {
                // A configured header replaces a default one, for example `user-agent`.
                headers.insert(name, value.clone());
            }
        }
        DestinationCredentials::Whatsapp { bearer } => {
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        DestinationCredentials::Gateway { kind, key } => {
            let (header, _) = kind.key_header();
            headers.insert(header, key.clone());
        }
        // An e-mail has no HTTP headers.
        DestinationCredentials::Smtp { .. } => headers.clear(),
    }
    Ok(headers)
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

/// Returns the secret in a header value, without the scheme in front.
fn secret_part(value: &HeaderValue) -> &str {
    let text = value.to_str().unwrap_or_default();
    text.split_once(' ').map_or(text, |(_, secret)| secret)
}

/// Removes the secret header values from a response. Some servers repeat the received headers.
fn redact_headers(text: &str, headers: &[(HeaderName, HeaderValue)]) -> String {
    let secrets = headers.iter().filter(|(_, value)| value.is_sensitive());
    let secrets =
        secrets.flat_map(|(_, value)| [value.to_str().unwrap_or_default(), secret_part(value)]);
    let secrets = secrets.filter(|secret| secret.len() >= SECRET_BYTES_MIN);
    secrets.fold(text.to_owned(), |text, secret| redact_token(&text, secret))
}

/// Shortens the error message of a gateway for a reason. The reason shows the message after the
/// status.
fn truncate_reason(text: &str) -> String {
    let truncated: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(REASON_CHARS_MAX)
        .collect();
    if truncated.is_empty() {
        String::new()
    } else {
        format!(": {truncated}")
    }
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

/// Parses a date in header format (RFC 9110, 5.6.7).
pub(crate) fn parse_http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()
        .map(Timestamp::from_jiff)
}

#[cfg(test)]
mod tests {
    use hyper::header::ACCEPT;

    use super::*;
    use crate::domain::gateway::GatewayKind;

    #[test]
    fn retry_after_accepts_seconds_and_date() {
        let parsed = |text: &str| {
            let headers =
                HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            // 2026-11-25T07:28:00Z
            parse_retry_after(&headers, Timestamp::from_millis(1_795_591_680_000)).map(Millis::get)
        };
        assert_eq!(parsed("120"), Some(120_000));
        assert_eq!(parsed(" 0 "), Some(0));
        assert_eq!(
            (parsed("0.5"), parsed("1.000"), parsed("64.57")),
            (Some(1000), Some(1000), Some(65_000))
        );
        assert_eq!(parsed("Wed, 25 Nov 2026 07:30:00 GMT"), Some(120_000));
        assert_eq!(
            parsed("Wed, 25 Nov 2026 07:00:00 GMT"),
            Some(0),
            "then is now"
        );
        for nonsense in ["", "soon", "-5", "1.", ".5", "1.5s", "1.-5", "2026-11-25"] {
            assert_eq!(parsed(nonsense), None, "{nonsense}");
        }
        assert_eq!(parsed("99999999999999999999"), None);
    }

    #[test]
    fn complete_json_object_is_whole_response() {
        let secret = || HeaderValue::from_static("Bearer SECRET-12345");
        let cloud = DestinationCredentials::Whatsapp { bearer: secret() };
        let gateway = DestinationCredentials::Gateway {
            kind: GatewayKind::Wasender,
            key: secret(),
        };
        let meaning =
            |credentials: &DestinationCredentials, status, content: &'static str, is_whole| {
                let (status, body_prefix) = (
                    StatusCode::from_u16(status).unwrap(),
                    Bytes::from_static(content.as_bytes()),
                );
                let response = ResponsePrefix {
                    status,
                    headers: HeaderMap::new(),
                    body_prefix,
                    is_complete: is_whole,
                };
                SendOutcome::from_response(response, credentials, Timestamp::from_millis(0))
                    .disposition(1)
            };
        let taken = r#" {"messages":[{"id":"wamid.1"}]}"#;
        let refused = r#"{"error":{"code":131026}}"#;
        assert_eq!(meaning(&cloud, 200, taken, false), Disposition::Delivered);
        assert_eq!(meaning(&cloud, 400, refused, false), Disposition::Refused);
        assert_eq!(
            meaning(&gateway, 200, r#"{"success":true}"#, false),
            Disposition::Delivered
        );
        // The missing rest could change the meaning of the response.
        for cut in [
            "",
            "{",
            r#"{"messages":[{"id":"wamid.1"}]"#,
            "1",
            "[]",
            r#""no""#,
            r#"{"a":1} {"#,
        ] {
            assert_eq!(
                meaning(&cloud, 400, cut, false),
                Disposition::Unconfirmed,
                "{cut}"
            );
            let again = Disposition::Retry {
                retry_after: None,
                pauses_destination: false,
                is_failure: true,
            };
            assert_eq!(meaning(&gateway, 400, cut, false), again, "{cut}");
        }
        assert_eq!(
            meaning(&gateway, 400, "", true),
            Disposition::Refused,
            "nothing is missing here"
        );
    }

    #[test]
    fn html_page_confirms_no_text() {
        let answered = |kind, content: &'static str| {
            let gateway = DestinationCredentials::Gateway {
                kind,
                key: HeaderValue::from_static("SECRET-12345"),
            };
            let body_prefix = Bytes::from_static(content.as_bytes());
            let response = ResponsePrefix {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body_prefix,
                is_complete: true,
            };
            SendOutcome::from_response(response, &gateway, Timestamp::from_millis(0))
        };
        let page = answered(GatewayKind::Waha, "<html>Log in</html>");
        let again = Disposition::Retry {
            retry_after: None,
            pauses_destination: false,
            is_failure: true,
        };
        assert_eq!(
            (page.disposition(1), &*page.reason()),
            (
                again,
                "responded with 200 OK, but the body is not a JSON object"
            )
        );
        assert_eq!(answered(GatewayKind::Evolution, "").disposition(1), again);
        assert_eq!(
            answered(GatewayKind::Waha, "").disposition(1),
            Disposition::Delivered
        );
        assert_eq!(
            answered(GatewayKind::Evolution, r#"{"key":{"id":"3EB0"}}"#).disposition(1),
            Disposition::Delivered
        );
    }

    #[test]
    fn stored_response_hides_credentials() {
        let header = |text: &str| {
            let mut value = HeaderValue::from_str(text).unwrap();
            value.set_sensitive(true);
            value
        };
        let response = |content: &'static str| ResponsePrefix {
            status: StatusCode::BAD_REQUEST,
            headers: HeaderMap::new(),
            body_prefix: Bytes::from_static(content.as_bytes()),
            is_complete: true,
        };
        let now = Timestamp::from_millis(0);
        let message =
            r#"{"success":false,"message":"Invalid API key SECRET-12345, Bearer SECRET-12345"}"#;
        for shown in ["Bearer SECRET-12345", "SECRET-12345"] {
            let gateway = DestinationCredentials::Gateway {
                kind: GatewayKind::Wasender,
                key: header(shown),
            };
            let outcome = SendOutcome::from_response(response(message), &gateway, now);
            let all = format!(
                "{} {}",
                outcome.reason(),
                outcome.response_record.body_excerpt
            );
            assert!(
                !all.contains("SECRET") && all.contains("Invalid API key …"),
                "{all}"
            );
        }
        let webhook = DestinationCredentials::Webhook {
            endpoint: crate::delivery::WebhookEndpoint::new(
                "https://crm.example/".parse().unwrap(),
                false,
            ),
            keys: Vec::new(),
            headers: vec![
                (AUTHORIZATION, header("Basic SECRET-12345")),
                (USER_AGENT, header("no")),
                (ACCEPT, HeaderValue::from_static("application/json")),
            ],
        };
        let body = "no: SECRET-12345 is no key, nor Basic SECRET-12345; the application is wrong";
        let outcome = SendOutcome::from_response(response(body), &webhook, now);
        assert_eq!(
            &*outcome.response_record.body_excerpt,
            "no: … is no key, nor …; the application is wrong"
        );
    }
}
