//! Builds responses. Only this file names statuses, and chooses those of errors. An encrypted
//! response has the status of its caller: 200 or [`token_invalid_status`].

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::domain::booking::calendar::{Slot, SlotRefused};
use crate::domain::ids::LeadId;
use crate::domain::lead::{CloseReason, Lead};
use crate::intake::{BadSignature, IntakeError, WebhookAuthError};
use crate::store::SubmitError;
use crate::webhook_signature::BadWebhookSignature;

use super::body::BodyError;
use super::flow::decrypt_pool::DecryptQueueFull;

/// Complete response.
pub(super) type HttpResponse = Response<Full<Bytes>>;

/// Exact body for an accepted form.
pub(super) const ACCEPTED: &str =
    r#"{"version":"3.0","screen":"SUCCESS_SCREEN","data":{"message":"Submission received"}}"#;
/// Exact body for a form that was already accepted.
pub(super) const DUPLICATE: &str = r#"{"status":"already_processed"}"#;
/// Body for a health check of a flow (*Implementing Endpoint for Flows*).
pub(super) const PONG: &str = r#"{"data":{"status":"active"}}"#;
/// Body for a webhook whose items are stored.
pub(super) const RECEIVED: &str = r#"{"status":"received"}"#;
/// Body of a process that is alive.
pub(super) const ALIVE: &str = r#"{"status":"alive"}"#;
/// `Retry-After` of a busy server, in seconds.
const RETRY_SOON: HeaderValue = HeaderValue::from_static("1");
/// `Retry-After` of a full disk that an admin must clear, in seconds.
const RETRY_LATER: HeaderValue = HeaderValue::from_static("30");

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
    #[error(transparent)]
    LeadAuth(#[from] BadWebhookSignature),
    #[error("leads can't be closed by a request: the config sets no leads.close_secrets")]
    LeadRequestsDisabled,
    #[error("the ID of a lead is a number, as in /leads/7/close")]
    InvalidLeadId,
    #[error("there is no lead {0}")]
    LeadNotFound(LeadId),
    #[error("the path names lead {lead_id}, but lead_id in the body is {named}")]
    OtherLead { lead_id: LeadId, named: LeadId },
    #[error("the body must be JSON that names the lead of the path: {{\"lead_id\": {0}}}")]
    NoLeadInBody(LeadId),
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
    #[error("the same encrypted request is still being answered: try again in a moment")]
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
            Self::NotFound
            | Self::LeadRequestsDisabled
            | Self::InvalidLeadId
            | Self::LeadNotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Signature(_) | Self::GatewayAuth(_) | Self::LeadAuth(_) => {
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
            Self::OtherLead { .. }
            | Self::NoLeadInBody(_)
            | Self::Intake(
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
                | Self::LeadRequestsDisabled
                | Self::InvalidLeadId
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
            let is_full = matches!(self, Self::Submit(SubmitError::LowSpace));
            let seconds = if is_full { RETRY_LATER } else { RETRY_SOON };
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        if let Self::MethodNotAllowed(allow) = self {
            let allow = HeaderValue::from_static(allow);
            response.headers_mut().insert(ALLOW, allow);
        }
        response
    }
}

/// Returns 432, a nonstandard status: the signature of an encrypted request does not match (*Error
/// Codes*, Flows).
fn signature_mismatch_status() -> StatusCode {
    StatusCode::from_u16(432).unwrap_or(StatusCode::UNAUTHORIZED)
}

/// Returns 427, a nonstandard status: the flow token is invalid (*Error Codes*, Flows). The client
/// closes the flow and disables its message.
pub(super) fn token_invalid_status() -> StatusCode {
    StatusCode::from_u16(427).unwrap_or(StatusCode::GONE)
}

/// Builds an error response in the format that all errors have.
fn error_response(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    let body = json!({"error": {"code": code, "message": message}}).to_string();
    with_type(status, "application/json", body.into())
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

/// Builds the response with a JSON body and status 200.
pub(super) fn json(body: impl Into<Bytes>) -> HttpResponse {
    with_type(StatusCode::OK, "application/json", body.into())
}

/// Returns the response of a server that can commit, or 503 with the reason why it can't.
pub(super) fn readiness(not_ready: Option<&str>) -> HttpResponse {
    let Some(reason) = not_ready else {
        return json(r#"{"status":"ready"}"#);
    };
    let mut response = error_response(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reason);
    response.headers_mut().insert(RETRY_AFTER, RETRY_SOON);
    response
}

/// Builds the response with the next screen, without data.
pub(super) fn next_screen(name: &str) -> HttpResponse {
    json(json!({"version": "3.0", "screen": name, "data": {}}).to_string())
}

/// Builds the response that repeats the screen, with an error and the free slots.
pub(super) fn slot_refused(screen: &str, why: SlotRefused, free: &[Slot]) -> HttpResponse {
    let data = json!({"error_message": why.to_string(), "slots": slot_choices(free)});
    let body = json!({"version": "3.0", "screen": screen, "data": data});
    json(body.to_string())
}

/// Builds the response with the state of a closed lead.
pub(super) fn closed_lead(id: LeadId, lead: &Lead, was_closed: bool) -> HttpResponse {
    let body = json!({
        "id": id,
        "submission_id": lead.submission_id,
        "state": lead.state.as_str(),
        "closed_at": lead.closed_at,
        "close_reason": lead.close_reason.map(CloseReason::as_str),
        "was_closed": was_closed,
    });
    json(body.to_string())
}

/// Returns slots in the format of a choice list.
pub(super) fn slot_choices(free: &[Slot]) -> Vec<Value> {
    free.iter()
        .map(|slot| json!({"id": slot.id(), "title": slot.title()}))
        .collect()
}

/// Builds the response with a body that is encrypted and encoded as base64.
pub(super) fn encrypted(status: StatusCode, body: String) -> HttpResponse {
    with_type(status, "text/plain", body.into())
}

pub(super) fn text(body: impl Into<Bytes>) -> HttpResponse {
    with_type(StatusCode::OK, "text/plain; charset=utf-8", body.into())
}

/// Returns a calendar feed.
pub(super) fn calendar(status: StatusCode, body: String) -> HttpResponse {
    with_type(status, "text/calendar; charset=utf-8", body.into())
}

fn with_type(status: StatusCode, media_type: &'static str, body: Bytes) -> HttpResponse {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}
