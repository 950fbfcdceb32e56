//! Answers one request to the admin API, from its head to its response.
//!
//! Each request runs on its own thread, because admins are few and a slow request must not delay
//! the others. The number of requests, the size of a request, and the time for it to arrive are
//! limited.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Request};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::fields::Fields;
use super::request_decoder::decode_request;
use super::response::{self, AdminResponse, ApiError};
use super::routes::{Route, RouteMatch, find_route};
use super::row_stream::{Part, RowStream, row_channel};
use crate::admin::{AdminError, AdminHandler, AdminRequest};
use crate::domain::access::Principal;
use crate::http::ConnectionPhase;

/// Maximum size of a body in bytes. Only a corrected payload can be large, at most as large as the
/// message.
pub(super) const BODY_BYTES_MAX: usize = 8 << 20;
/// Niceness of the threads that handle admin requests: about a tenth of the processor time of
/// the server's other threads.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Function that returns the handler of the server, or the reason why there is none yet.
pub type HandlerSource = dyn Fn() -> Result<AdminHandler, AdminError> + Send + Sync;

/// Limits for requests to the API.
#[derive(Clone, Copy, Debug)]
pub(super) struct ApiLimits {
    /// Maximum number of requests that are handled at the same time.
    pub(super) max_requests: usize,
    /// Maximum time for a body to arrive.
    pub(super) body_timeout: Duration,
}

pub(super) const API_LIMITS: ApiLimits = ApiLimits {
    max_requests: 32,
    body_timeout: Duration::from_secs(10),
};

/// The admin API.
#[derive(Clone)]
pub(super) struct Api {
    handler_source: Arc<HandlerSource>,
    body_timeout: Duration,
    /// Each request in progress holds a permit until its thread ends.
    free: Arc<Semaphore>,
}

impl Api {
    pub(super) fn new(handler_source: Arc<HandlerSource>, limits: ApiLimits) -> Self {
        Self {
            handler_source,
            body_timeout: limits.body_timeout,
            free: Arc::new(Semaphore::new(limits.max_requests)),
        }
    }

    /// Answers a request. `path` is its path below the root of the API.
    pub(super) async fn respond(
        &self,
        principal: Principal,
        path: &str,
        request: Request<Incoming>,
        phase: &ConnectionPhase,
    ) -> AdminResponse {
        let answered = self.try_respond(principal, path, request, phase).await;
        answered.unwrap_or_else(|error| error.to_response())
    }

    async fn try_respond(
        &self,
        principal: Principal,
        path: &str,
        request: Request<Incoming>,
        phase: &ConnectionPhase,
    ) -> Result<AdminResponse, ApiError> {
        let found = match find_route(request.method(), path) {
            RouteMatch::Found(route, fields) => Ok((route, fields)),
            RouteMatch::OtherMethod(allowed) => Err(ApiError::MethodNotAllowed(allowed)),
            RouteMatch::Unknown => Err(ApiError::UnknownPath),
        };
        let (route, path_fields) = found.inspect_err(|_| phase.mark_body_unread())?;
        // A request gets its place before its body. This bounds the memory of all bodies.
        let permit = Arc::clone(&self.free)
            .try_acquire_owned()
            .map_err(|_| ApiError::TooManyRequests)
            .inspect_err(|_| phase.mark_body_unread())?;
        let (head, body) = request.into_parts();
        let body = read_body(body, BODY_BYTES_MAX, self.body_timeout)
            .await
            .inspect_err(|_| phase.mark_body_unread())?;
        let query = head.uri.query().unwrap_or_default();
        let request = parse_request(route, &path_fields, query, &head.headers, &body)?;
        let handler = (self.handler_source)()?;
        let (mut writer, parts) = row_channel();
        let thread = thread::Builder::new().name("admin request".to_owned());
        let spawned = thread.spawn(move || {
            let _permit = permit;
            lower_priority();
            let result = handler.handle(&principal, request, &mut |row| writer.write_row(&row));
            writer.finish(result);
        });
        spawned.map_err(|error| AdminError::failed(format!("can't start a thread: {error}")))?;
        first_part(parts).await
    }
}

/// Waits for the first rows or the end. Both decide the status.
async fn first_part(mut parts: mpsc::Receiver<Part>) -> Result<AdminResponse, ApiError> {
    let first = match parts.recv().await {
        Some(Part::Rows(rows)) => rows,
        Some(Part::End(Ok(()))) => {
            // The thread has ended, and the receiver would only report that.
            return Ok(response::rows(RowStream::empty().boxed_unsync()));
        }
        Some(Part::End(Err(error))) => return Err(error.into()),
        None => {
            let message = "the request failed because of a bug: see the log of the server";
            return Err(AdminError::failed(message).into());
        }
    };
    let rows = RowStream::new(first, parts);
    Ok(response::rows(rows.boxed_unsync()))
}

fn parse_request(
    route: &Route,
    path_fields: &[(&'static str, &str)],
    query: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<AdminRequest, ApiError> {
    if !body.is_empty() && !is_json(headers) {
        return Err(ApiError::NotJson);
    }
    let parse = || {
        let mut fields = Fields::from_json(body)?;
        if route.is_get {
            fields.require_none()?;
            fields = Fields::from_query(query)?;
        } else {
            Fields::from_query(query)?.require_none()?;
        }
        for (name, segment) in path_fields {
            fields.insert_from_path(name, segment)?;
        }
        decode_request(route, fields)
    };
    parse().map_err(|error: serde_json::Error| AdminError::invalid(error.to_string()).into())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim() == "application/json")
}

/// Reads a body of at most `max_bytes` that arrives within `time`.
pub(super) async fn read_body(
    body: Incoming,
    max_bytes: usize,
    time: Duration,
) -> Result<Bytes, ApiError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max_bytes {
        return Err(ApiError::TooLarge(max_bytes));
    }
    let collected = timeout(time, Limited::new(body, max_bytes).collect()).await;
    match collected.map_err(|_| ApiError::Timeout)? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge(max_bytes)),
        Err(_) => Err(ApiError::Incomplete),
    }
}

/// Lowers the priority of the calling thread. Without this, a long command (`check`) would compete
/// with customers' forms for the processor.
fn lower_priority() {
    // Linux sets the priority of one thread. Elsewhere the call would slow down the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(error = %error, "a command runs with the priority of the server");
    }
}
