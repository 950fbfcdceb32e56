//! Reports whether the process is alive, and whether it can commit. A server that listens also
//! answers admin commands.

use hyper::StatusCode;
use serde_json::json;

use crate::store::StoreHealth;

use super::request_log::RequestLog;
use super::response::{self, HttpResponse};
use super::state::AppState;

/// Returns 200, because the process is alive.
pub(super) fn healthz(log: &mut RequestLog<'_>) -> HttpResponse {
    log.outcome = "alive";
    response::json_response(
        StatusCode::OK,
        bytes::Bytes::from_static(b"{\"status\":\"alive\"}"),
    )
}

/// Returns 200 if the disk, the writer and the queue are ready, and 503 otherwise.
pub(super) fn readyz(app: &AppState, log: &mut RequestLog<'_>) -> HttpResponse {
    let (queued, capacity) = app.store.intake_queue_depth();
    let reason = match app.store.health() {
        StoreHealth::Ready if queued >= capacity => Some("the intake queue is full"),
        StoreHealth::Ready => None,
        StoreHealth::LowSpace => Some("the disk is nearly full: free some space"),
        StoreHealth::NoSpace => Some("the disk is full: free some space"),
        StoreHealth::Failed(_) => Some("the data file can't be used after an error: see the log"),
        // The port opens after the data file.
        StoreHealth::WaitingForLock | StoreHealth::Opening | StoreHealth::Closed => {
            Some("the server is shutting down")
        }
    };
    match reason {
        None => {
            log.outcome = "ready";
            response::json_response(
                StatusCode::OK,
                bytes::Bytes::from_static(b"{\"status\":\"ready\"}"),
            )
        }
        Some(reason) => {
            log.outcome = "not_ready";
            let body = json!({"error": {"code": "not_ready", "message": reason}}).to_string();
            let mut response =
                response::json_response(StatusCode::SERVICE_UNAVAILABLE, bytes::Bytes::from(body));
            let seconds = hyper::header::HeaderValue::from_static("1");
            response
                .headers_mut()
                .insert(hyper::header::RETRY_AFTER, seconds);
            response
        }
    }
}
