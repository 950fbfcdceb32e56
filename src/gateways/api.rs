//! How each kind of gateway is asked for its state and called, and what its answers say.
//!
//! The paths stand here and nowhere else. A status alone proves nothing: Evolution API answers 200 to a restart that failed,
//! and says so in the body. Of an answer only its state, and a short text of what went wrong, is ever kept.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use crate::domain::gateway::session::{Answer, Look};
use crate::domain::gateway::{Call, GatewayKind, encoded, text};
use crate::domain::time::Millis;
use crate::outgoing::{Bounds, Clients, Reply};

use super::Access;

const AGENT: &str = concat!("flowgate/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer: codes to scan come as images.
const ANSWER_BYTES: usize = 1 << 20;
/// Characters of a gateway's own words that are kept.
const WORDS: usize = 160;
/// How long a gateway may ask to be left alone.
const WAIT_MAX: Millis = Millis::from_secs(60 * 60);

/// What came of asking for the state.
pub(super) enum Health {
    /// This.
    Seen(Look),
    /// It was asked too often: the next look is to wait so long.
    Busy(Millis),
}

/// Asks and calls gateways, over connections that are kept.
#[derive(Clone, Debug)]
pub(super) struct Api {
    clients: Clients,
}

impl Api {
    /// An API client that sends its requests through `clients`.
    pub(super) const fn new(clients: Clients) -> Self {
        Self { clients }
    }

    /// Asks for the session's state.
    pub(super) async fn health(&self, access: &Access) -> Health {
        let session = encoded(&access.rule.session);
        let path = match access.rule.kind {
            // The one that the key belongs to.
            GatewayKind::Wasender => "/status".to_owned(),
            GatewayKind::Waha => format!("/api/sessions/{session}"),
            GatewayKind::Evolution => format!("/instance/connectionState/{session}"),
        };
        match self.send(access, Method::GET, &path, &access.key).await {
            Ok(reply) => health_in(access, &reply),
            Err(why) => Health::Seen(Look::Unanswered(why)),
        }
    }

    /// Makes a call.
    pub(super) async fn call(&self, access: &Access, call: Call) -> Answer {
        let session = encoded(&access.rule.session);
        let (method, path) = match (access.rule.kind, call) {
            (GatewayKind::Wasender, Call::Restart) => (Method::POST, format!("/whatsapp-sessions/{session}/restart")),
            (GatewayKind::Wasender, _) => (Method::POST, format!("/whatsapp-sessions/{session}/connect")),
            (GatewayKind::Waha, Call::Restart) => (Method::POST, format!("/api/sessions/{session}/restart")),
            (GatewayKind::Waha, _) => (Method::POST, format!("/api/sessions/{session}/start")),
            (GatewayKind::Evolution, Call::Restart) => (Method::POST, format!("/instance/restart/{session}")),
            (GatewayKind::Evolution, _) => (Method::GET, format!("/instance/connect/{session}")),
        };
        let key = access.token.as_ref().unwrap_or(&access.key);
        match self.send(access, method, &path, key).await {
            Ok(reply) => answer_in(access, &reply),
            Err(why) => Answer::Failed(why),
        }
    }

    async fn send(&self, access: &Access, method: Method, path: &str, key: &HeaderValue) -> Result<Reply, String> {
        let (header, _) = access.rule.kind.key_header();
        let body = if method == Method::POST { Bytes::from_static(b"{}") } else { Bytes::new() };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", access.rule.url))
            .header(USER_AGENT, HeaderValue::from_static(AGENT))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(header, key)
            .body(Full::new(body))
            // All its parts were checked as they were read; should one not do, it is told like any failure.
            .map_err(|error| format!("no request can be made: {error}"))?;
        let outgoing = self.clients.client(access.rule.allow_private, None);
        let bounds = Bounds { deadline: access.rule.timeout.to_duration(), answer_bytes_max: ANSWER_BYTES };
        outgoing.send(request, bounds).await.map_err(|error| error.to_string())
    }
}

fn health_in(access: &Access, reply: &Reply) -> Health {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let places = match access.rule.kind {
        GatewayKind::Wasender => &["/status", "/data/status"][..],
        GatewayKind::Waha => &["/status"],
        GatewayKind::Evolution => &["/instance/state", "/state"],
    };
    let state = if reply.status.is_success() { text_at(&body, places) } else { None };
    match (state, reply.status) {
        (Some(state), _) => Health::Seen(Look::State(state)),
        (None, StatusCode::TOO_MANY_REQUESTS) => Health::Busy(wait(&reply.headers, &body)),
        (None, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
            Health::Seen(Look::Refused(failure(access, reply.status, &body)))
        }
        (None, status) if status.is_success() => Health::Seen(Look::Unanswered("its answer names no state".to_owned())),
        (None, status) => Health::Seen(Look::Unanswered(failure(access, status, &body))),
    }
}

fn answer_in(access: &Access, reply: &Reply) -> Answer {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if !reply.status.is_success() || text::objection(&body).is_some() {
        return Answer::Failed(failure(access, reply.status, &body));
    }
    let places = match access.rule.kind {
        GatewayKind::Wasender => &["/data/status"][..],
        GatewayKind::Waha => &["/status"],
        GatewayKind::Evolution => {
            let codes = ["/base64", "/code", "/pairingCode", "/qrcode/base64", "/qrcode/code"];
            if text_at(&body, &codes).is_some() {
                return Answer::Code;
            }
            &["/instance/state", "/instance/status"]
        }
    };
    text_at(&body, places).map_or(Answer::Taken, Answer::State)
}

/// The first of these places at which a text stands that is not empty.
fn text_at(body: &Value, places: &[&str]) -> Option<String> {
    let texts = places.iter().filter_map(|place| body.pointer(place)?.as_str());
    texts.filter(|text| !text.is_empty()).map(str::to_owned).next()
}

/// What went wrong, with the gateway's own words as far as they hold no key.
fn failure(access: &Access, status: StatusCode, body: &Value) -> String {
    let words = text::words(body).and_then(|words| access.without_keys(words));
    let name = status.canonical_reason().map(|name| format!(" {name}")).unwrap_or_default();
    let words: String = words.unwrap_or_default().chars().filter(|c| !c.is_control()).take(WORDS).collect();
    let status = status.as_u16();
    if words.is_empty() { format!("answered {status}{name}") } else { format!("answered {status}{name}: {words}") }
}

/// How long it asks to be left alone: in a header or, as `WASenderApi` does it, in the body.
fn wait(headers: &HeaderMap, body: &Value) -> Millis {
    let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let seconds = header.or_else(|| body.get("retry_after")?.as_u64()).unwrap_or_default();
    Millis::from_secs(seconds.min(WAIT_MAX.get() / 1000))
}

#[cfg(test)]
mod tests;
