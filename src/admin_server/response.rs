//! Builds responses of the admin server. Only this file chooses statuses.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use crate::admin::{AdminError, ErrorCode};

/// Code of the error of a server with too many requests.
pub(super) const TOO_MANY_REQUESTS: &str = "too_many_requests";

/// Response with any body.
pub type AdminResponse = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Reason why a request got no rows.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("no such path: docs/admin-api.md lists the paths of the API")]
    UnknownPath,
    #[error("this path accepts only {0}")]
    MethodNotAllowed(&'static str),
    #[error("send the fields as JSON, with `Content-Type: application/json`")]
    NotJson,
    #[error("the request is too long: maximum {} MiB with its payload", .0 >> 20)]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    Timeout,
    #[error("the body is incomplete, or its encoding differs from its headers")]
    Incomplete,
    #[error("too many requests at once: try again in a moment")]
    TooManyRequests,
    #[error("sign in first: the API needs the cookie of a sign-in")]
    SignInRequired,
    #[error("the request comes from another site, or has no CSRF token")]
    ForeignRequest,
    #[error("the header Host is missing or invalid")]
    NoHost,
    #[error("the dashboard is not at this name: open it under its own address")]
    OtherHost,
}

impl ApiError {
    /// Returns the status and the code for programs.
    const fn status_and_code(&self) -> (StatusCode, ApiErrorCode) {
        use ApiErrorCode::Own;
        match self {
            Self::Admin(error) => (status_of(error.code), ApiErrorCode::Admin(error.code)),
            Self::UnknownPath => (StatusCode::NOT_FOUND, Own("unknown_path")),
            Self::MethodNotAllowed(_) => {
                (StatusCode::METHOD_NOT_ALLOWED, Own("method_not_allowed"))
            }
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Own("not_json")),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Own("too_large")),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, Own("timeout")),
            Self::Incomplete => (StatusCode::BAD_REQUEST, Own("incomplete")),
            Self::TooManyRequests => (StatusCode::SERVICE_UNAVAILABLE, Own(TOO_MANY_REQUESTS)),
            Self::SignInRequired => (StatusCode::UNAUTHORIZED, Own("sign_in_required")),
            Self::ForeignRequest => (StatusCode::FORBIDDEN, Own("foreign_request")),
            Self::NoHost => (StatusCode::BAD_REQUEST, Own("no_host")),
            Self::OtherHost => (StatusCode::MISDIRECTED_REQUEST, Own("other_host")),
        }
    }

    /// Builds the response.
    pub(super) fn to_response(&self) -> AdminResponse {
        let (status, code) = self.status_and_code();
        let body = json!({"error": {"code": code, "message": self.to_string()}});
        let mut response = full(status, "application/json", format!("{body}\n"));
        if let Self::MethodNotAllowed(methods) = self {
            let methods = HeaderValue::from_static(methods);
            response.headers_mut().insert(ALLOW, methods);
        }
        response
    }
}

/// Code of an error: one of the admin requests, or one of HTTP.
#[derive(Serialize)]
#[serde(untagged)]
enum ApiErrorCode {
    Admin(ErrorCode),
    Own(&'static str),
}

/// Returns the status of an error before the first row.
const fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::Invalid => StatusCode::BAD_REQUEST,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Failed => StatusCode::CONFLICT,
        ErrorCode::Unreachable | ErrorCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Untrusted | ErrorCode::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Returns the line of an error after rows.
pub(super) fn error_line(error: &AdminError) -> Bytes {
    let line = json!({"error": error});
    format!("{line}\n").into()
}

/// Builds the response with the rows of a request.
pub(super) fn rows(body: UnsyncBoxBody<Bytes, io::Error>) -> AdminResponse {
    with_type(StatusCode::OK, "application/jsonl", body)
}

/// Builds the response with metrics, in the text format (*Prometheus*, "Exposition formats").
pub(super) fn metrics(text: String) -> AdminResponse {
    full(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text,
    )
}

/// Builds the response of a process that is alive.
pub(super) fn alive() -> AdminResponse {
    full(StatusCode::OK, "text/plain; charset=utf-8", "alive\n")
}

fn full(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> AdminResponse {
    let body = Full::new(body.into()).map_err(|never: Infallible| match never {});
    with_type(status, media_type, body.boxed_unsync())
}

fn with_type(
    status: StatusCode,
    media_type: &'static str,
    body: UnsyncBoxBody<Bytes, io::Error>,
) -> AdminResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
