//! Builds responses. Every error has its status and body here.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::domain::booking::calendar::{Slot, SlotRefused};
use crate::intake::{BadSignature, IntakeError, WebhookAuthError};
use crate::store::SubmitError;

use super::body::BodyError;
use super::flow::decrypt_pool::DecryptQueueFull;

/// Complete response.
pub(super) type HttpResponse = Response<Full<Bytes>>;

/// Exact response to an accepted form.
const ACCEPTED: &[u8] =
    br#"{"version":"3.0","screen":"SUCCESS_SCREEN","data":{"message":"Submission received"}}"#;
/// Exact response to a form that was already accepted.
const DUPLICATE: &[u8] = br#"{"status":"already_processed"}"#;
/// Response to a health check of a flow (*Implementing Endpoint for Flows*).
const PONG: &[u8] = br#"{"data":{"status":"active"}}"#;
/// Values of `Retry-After` in seconds: for a busy server, and for a full disk that an admin must
/// clear.
const RETRY_AFTER_SECONDS: [&str; 2] = ["1", "30"];

/// Reason for an error response.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("no endpoint at this path: the config sets the paths of the flows")]
    NotFound,
    #[error("this path accepts only {0}")]
    MethodNotAllowed(&'static str),
    #[error(transparent)]
    Signature(#[from] BadSignature),
    #[error(transparent)]
    GatewayAuth(#[from] WebhookAuthError),
    #[error("{0}")]
    MediaType(&'static str),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error("the signature is invalid")]
    EncryptedSignature,
    #[error("the request can't be decrypted")]
    DecryptionFailed,
    #[error("the same request is in flight: try again in a moment")]
    DuplicateInFlight,
    #[error(transparent)]
    DecryptQueueFull(#[from] DecryptQueueFull),
    #[error("{0}: try again in a moment")]
    Submit(#[from] SubmitError),
    #[error("the commit failed and nothing was acknowledged: try again in a moment")]
    CommitFailed,
    #[error("the answers of all screens together exceed the maximum draft size")]
    DraftTooLarge,
    #[error("{0}")]
    VerificationFailed(&'static str),
}

impl HttpError {
    /// Returns the status and the code for programs.
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Signature(_) | Self::GatewayAuth(_) => {
                (StatusCode::UNAUTHORIZED, "bad_signature")
            }
            Self::MediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::Body(BodyError::TooLarge { .. }) | Self::DraftTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            Self::Body(BodyError::Timeout) => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::Body(BodyError::Incomplete) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::EncryptedSignature => (signature_mismatch_status(), "bad_signature"),
            Self::DecryptionFailed => (StatusCode::MISDIRECTED_REQUEST, "cannot_decrypt"),
            Self::Body(BodyError::BudgetExceeded)
            | Self::Submit(SubmitError::QueueFull)
            | Self::DuplicateInFlight
            | Self::DecryptQueueFull(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Submit(SubmitError::NotOpen) | Self::CommitFailed => {
                (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
            }
            Self::Submit(SubmitError::LowSpace) => (StatusCode::SERVICE_UNAVAILABLE, "disk_full"),
            Self::Intake(IntakeError::NotJson(_) | IntakeError::NotAnObject) => {
                (StatusCode::BAD_REQUEST, "bad_json")
            }
            Self::Intake(
                IntakeError::InvalidField { .. } | IntakeError::ValidationFailed { .. },
            ) => (StatusCode::BAD_REQUEST, "invalid_field"),
            Self::Intake(IntakeError::UnknownAction(_)) => {
                (StatusCode::BAD_REQUEST, "unknown_action")
            }
            Self::Intake(IntakeError::UnknownScreen(_)) => {
                (StatusCode::BAD_REQUEST, "unknown_screen")
            }
            Self::VerificationFailed(_) => (StatusCode::FORBIDDEN, "verification_failed"),
        }
    }

    /// Returns the code for programs.
    pub(super) fn code(&self) -> &'static str {
        self.status_and_code().1
    }

    /// Returns `true` if the request was correct but the server could not accept it.
    pub(super) fn is_server_unavailable(&self) -> bool {
        self.status_and_code().0 == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Returns `true` if an operator can act on the error.
    ///
    /// Wrong signatures are only reported after several in a row, because a single one may come
    /// from a stranger.
    pub(super) fn is_operator_actionable(&self) -> bool {
        let is_client_fault = matches!(
            self,
            Self::NotFound
                | Self::MethodNotAllowed(_)
                | Self::Signature(_)
                | Self::EncryptedSignature
                | Self::Body(BodyError::Timeout | BodyError::Incomplete)
                | Self::Intake(IntakeError::NotJson(_) | IntakeError::NotAnObject)
        );
        !is_client_fault
    }

    pub(super) fn to_response(&self) -> HttpResponse {
        let (status, code) = self.status_and_code();
        if matches!(self, Self::EncryptedSignature | Self::DecryptionFailed) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            return response;
        }
        let mut response = error_response(status, code, &self.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let [soon, later] = RETRY_AFTER_SECONDS;
            let seconds = if matches!(self, Self::Submit(SubmitError::LowSpace)) {
                later
            } else {
                soon
            };
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if let Self::MethodNotAllowed(allow) = self {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// Returns 432, a nonstandard status: the signature of an encrypted request does not match (*Error
/// Codes*, Flows).
fn signature_mismatch_status() -> StatusCode {
    StatusCode::from_u16(432).unwrap_or(StatusCode::UNAUTHORIZED)
}

/// Builds an error response in the format that all errors have.
pub(super) fn error_response(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    let body = json!({"error": {"code": code, "message": message}}).to_string();
    json_response(status, Bytes::from(body))
}

/// Returns the reason phrase, code and message for a status that hyper sends with an empty body, or
/// for a timeout of the head.
pub(super) fn protocol_error(status: u16) -> Option<(&'static str, &'static str, &'static str)> {
    match status {
        400 => Some((
            "Bad Request",
            "bad_request",
            "the request is not valid HTTP/1.1",
        )),
        408 => Some((
            "Request Timeout",
            "timeout",
            "the request headers did not arrive in time",
        )),
        414 => Some((
            "URI Too Long",
            "uri_too_long",
            "the path of the request is too long",
        )),
        431 => Some((
            "Request Header Fields Too Large",
            "head_too_large",
            "the request has too many headers, or its headers are too long",
        )),
        _ => None,
    }
}

pub(super) fn accepted() -> HttpResponse {
    json_response(StatusCode::OK, Bytes::from_static(ACCEPTED))
}

pub(super) fn duplicate() -> HttpResponse {
    json_response(StatusCode::OK, Bytes::from_static(DUPLICATE))
}

pub(super) fn pong() -> HttpResponse {
    json_response(StatusCode::OK, Bytes::from_static(PONG))
}

/// Builds the response with the next screen, without data.
pub(super) fn next_screen(name: &str) -> HttpResponse {
    let body = json!({"version": "3.0", "screen": name, "data": {}});
    json_response(StatusCode::OK, Bytes::from(body.to_string()))
}

/// Builds the response that repeats the screen, with an error and the free slots.
pub(super) fn slot_refused(screen: &str, why: SlotRefused, free: &[Slot]) -> HttpResponse {
    let data = json!({"error_message": why.to_string(), "slots": slot_choices(free)});
    let body = json!({"version": "3.0", "screen": screen, "data": data});
    json_response(StatusCode::OK, Bytes::from(body.to_string()))
}

/// Returns slots in the format of a choice list.
pub(super) fn slot_choices(free: &[Slot]) -> Vec<Value> {
    free.iter()
        .map(|slot| json!({"id": slot.id(), "title": slot.title()}))
        .collect()
}

pub(super) fn json_response(status: StatusCode, body: Bytes) -> HttpResponse {
    response_with_type(status, "application/json", body)
}

pub(super) fn text_response(status: StatusCode, body: impl Into<Bytes>) -> HttpResponse {
    response_with_type(status, "text/plain; charset=utf-8", body.into())
}

pub(super) fn response_with_type(
    status: StatusCode,
    media_type: &'static str,
    body: Bytes,
) -> HttpResponse {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
