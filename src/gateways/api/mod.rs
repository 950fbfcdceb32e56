//! Probes gateways and performs recovery actions: the requests and responses of each kind of
//! gateway.
//!
//! Only this file contains the paths of these requests. A status of 200 is not sufficient:
//! Evolution API responds to a failed restart with 200 and reports the error in the body. The
//! module uses only the state and a short error text of a response.
//!
//! See [`crate::domain::gateway::states`] for the meaning of the states.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use crate::domain::gateway::session::{ActionResult, Probe};
use crate::domain::gateway::{GatewayKind, RecoveryAction, encode_session, text};
use crate::domain::time::Millis;
use crate::gateways::credentials::GatewayCredentials;
use crate::net::{FullResponse, HttpClients, PRODUCT_TOKEN, printable_excerpt};

/// Maximum size of a response body in bytes. A response may contain a QR code as an image.
const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// Maximum pause that a gateway may ask for.
const RETRY_AFTER_MAX: Millis = Millis::from_secs(60 * 60);

/// Result of a probe.
pub(super) enum ProbeResult {
    /// The gateway responded, or the request failed: the result counts as a probe.
    Probed(Probe),
    /// The gateway limits the rate of requests. The next probe must wait for this time.
    RateLimited(Millis),
}

/// Sends requests to gateways over pooled connections.
#[derive(Clone, Debug)]
pub(super) struct GatewayApi {
    clients: HttpClients,
}

impl GatewayApi {
    /// Creates an API client that sends its requests through `clients`.
    pub(super) const fn new(clients: HttpClients) -> Self {
        Self { clients }
    }

    /// Requests the state of the session.
    pub(super) async fn probe(&self, credentials: &GatewayCredentials) -> ProbeResult {
        let session = encode_session(&credentials.settings.session);
        let path = match credentials.settings.kind {
            // The key determines the session.
            GatewayKind::Wasender => "/status".to_owned(),
            GatewayKind::Waha => format!("/api/sessions/{session}"),
            GatewayKind::Evolution => format!("/instance/connectionState/{session}"),
        };
        match self
            .send(credentials, Method::GET, &path, &credentials.key)
            .await
        {
            Ok(response) => parse_probe(credentials, &response),
            Err(why) => ProbeResult::Probed(Probe::Unanswered(why)),
        }
    }

    /// Sends the request of a recovery action to the gateway, and returns the result.
    pub(super) async fn perform_action(
        &self,
        credentials: &GatewayCredentials,
        action: RecoveryAction,
    ) -> ActionResult {
        let session = encode_session(&credentials.settings.session);
        let post = |path| (Method::POST, path);
        let (method, path) = match (credentials.settings.kind, action) {
            (GatewayKind::Wasender, RecoveryAction::Restart) => {
                post(format!("/whatsapp-sessions/{session}/restart"))
            }
            (GatewayKind::Wasender, _) => post(format!("/whatsapp-sessions/{session}/connect")),
            (GatewayKind::Waha, RecoveryAction::Restart) => {
                post(format!("/api/sessions/{session}/restart"))
            }
            (GatewayKind::Waha, _) => post(format!("/api/sessions/{session}/start")),
            (GatewayKind::Evolution, RecoveryAction::Restart) => {
                post(format!("/instance/restart/{session}"))
            }
            (GatewayKind::Evolution, _) => (Method::GET, format!("/instance/connect/{session}")),
        };
        let key = credentials.token.as_ref().unwrap_or(&credentials.key);
        match self.send(credentials, method, &path, key).await {
            Ok(response) => parse_action_result(credentials, &response),
            Err(why) => ActionResult::Failed(why),
        }
    }

    async fn send(
        &self,
        credentials: &GatewayCredentials,
        method: Method,
        path: &str,
        key: &HeaderValue,
    ) -> Result<FullResponse, String> {
        let (header, _) = credentials.settings.kind.key_header();
        let body = if method == Method::POST {
            Bytes::from_static(b"{}")
        } else {
            Bytes::new()
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", credentials.settings.url))
            .header(USER_AGENT, HeaderValue::from_static(PRODUCT_TOKEN))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(header, key)
            .body(Full::new(body))
            // The config reader has checked all parts. If a part is invalid nevertheless, the error
            // is reported like any other failure.
            .map_err(|error| format!("can't build the request: {error}"))?;
        let client = self
            .clients
            .client(credentials.settings.allow_private, None);
        let timeout = credentials.settings.timeout.to_duration();
        let response = match client.send(request, timeout).await {
            Ok(response) => response.read_full(RESPONSE_BYTES_MAX).await,
            Err(error) => Err(error),
        };
        response.map_err(|error| error.to_string())
    }
}

fn parse_probe(credentials: &GatewayCredentials, response: &FullResponse) -> ProbeResult {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let pointers = match credentials.settings.kind {
        GatewayKind::Wasender => &["/status", "/data/status"][..],
        GatewayKind::Waha => &["/status"],
        GatewayKind::Evolution => &["/instance/state", "/state"],
    };
    let state = if response.status.is_success() {
        first_text(&body, pointers)
    } else {
        None
    };
    let reason = || failure_reason(credentials, response.status, &body);
    match (state, response.status) {
        (Some(state), _) => ProbeResult::Probed(Probe::State(state)),
        (None, StatusCode::TOO_MANY_REQUESTS) => {
            ProbeResult::RateLimited(retry_after(&response.headers, &body))
        }
        (None, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
            ProbeResult::Probed(Probe::Refused(reason()))
        }
        (None, status) if status.is_success() => ProbeResult::Probed(Probe::Unanswered(
            "the response contains no session state".to_owned(),
        )),
        (None, _) => ProbeResult::Probed(Probe::Unanswered(reason())),
    }
}

fn parse_action_result(credentials: &GatewayCredentials, response: &FullResponse) -> ActionResult {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    if !response.status.is_success() || text::rejection(&body).is_some() {
        return ActionResult::Failed(failure_reason(credentials, response.status, &body));
    }
    let pointers = match credentials.settings.kind {
        GatewayKind::Wasender => &["/data/status"][..],
        GatewayKind::Waha => &["/status"],
        GatewayKind::Evolution => {
            let codes = [
                "/base64",
                "/code",
                "/pairingCode",
                "/qrcode/base64",
                "/qrcode/code",
            ];
            if first_text(&body, &codes).is_some() {
                return ActionResult::NeedsScan;
            }
            &["/instance/state", "/instance/status"]
        }
    };
    first_text(&body, pointers).map_or(ActionResult::Accepted, ActionResult::State)
}

/// Returns the first text at one of these places that is not empty.
fn first_text(body: &Value, pointers: &[&str]) -> Option<String> {
    let mut texts = pointers
        .iter()
        .filter_map(|pointer| body.pointer(pointer)?.as_str());
    texts.find(|text| !text.is_empty()).map(str::to_owned)
}

/// Describes a failure by its status. Adds the gateway's error text if it contains no secret.
fn failure_reason(credentials: &GatewayCredentials, status: StatusCode, body: &Value) -> String {
    let reason = text::error_text(body).and_then(|reason| credentials.without_secrets(reason));
    let name = status
        .canonical_reason()
        .map(|name| format!(" {name}"))
        .unwrap_or_default();
    let reason = printable_excerpt(&reason.unwrap_or_default());
    let status = status.as_u16();
    if reason.is_empty() {
        format!("responded with {status}{name}")
    } else {
        format!("responded with {status}{name}: {reason}")
    }
}

/// Returns the pause that the gateway asks for. The pause is in a header or, for `WASenderApi`, in
/// the body.
fn retry_after(headers: &HeaderMap, body: &Value) -> Millis {
    let header = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let seconds = header
        .or_else(|| body.get("retry_after")?.as_u64())
        .unwrap_or_default();
    Millis::from_secs(seconds.min(RETRY_AFTER_MAX.get() / 1000))
}

#[cfg(test)]
mod tests;
