//! Whether the process lives, and whether it can commit. A server that listens answers commands, too.

use hyper::StatusCode;
use serde_json::json;

use crate::store::Health;

use super::respond::{self, Answer};
use super::service::App;
use super::trace::Trace;

/// The process lives.
pub(super) fn healthz(trace: &mut Trace<'_>) -> Answer {
    trace.outcome = "alive";
    respond::json_answer(StatusCode::OK, bytes::Bytes::from_static(b"{\"status\":\"alive\"}"))
}

/// The disk, the writer and the queue are well.
pub(super) fn readyz(app: &App, trace: &mut Trace<'_>) -> Answer {
    let (waiting, room) = app.store.intake_depth();
    let why = match app.store.health() {
        Health::Ready if waiting >= room => Some("as many submissions wait for the disk as may"),
        Health::Ready => None,
        Health::LowSpace => Some("the disk is nearly full: make room"),
        Health::NoSpace => Some("the disk is full: make room"),
        Health::Failed(_) => Some("the data file has failed: see the log"),
        // The port opens after the data file.
        Health::Waiting | Health::Opening | Health::Closed => Some("the server is ending"),
    };
    match why {
        None => {
            trace.outcome = "ready";
            respond::json_answer(StatusCode::OK, bytes::Bytes::from_static(b"{\"status\":\"ready\"}"))
        }
        Some(why) => {
            trace.outcome = "not_ready";
            let body = json!({"error": {"code": "not_ready", "message": why}}).to_string();
            let mut answer = respond::json_answer(StatusCode::SERVICE_UNAVAILABLE, bytes::Bytes::from(body));
            let seconds = hyper::header::HeaderValue::from_static("1");
            answer.headers_mut().insert(hyper::header::RETRY_AFTER, seconds);
            answer
        }
    }
}
