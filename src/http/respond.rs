//! Answers: every refusal, its status and its body, in one place.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::domain::calendar::{Slot, SlotRefused};
use crate::intake::{BadProof, BadSignature, IntakeError};
use crate::store::Busy;

use super::body::BodyError;
use super::opener::Flooded;

/// A whole answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// The exact answer to an accepted form.
const ACCEPTED: &[u8] = br#"{"version":"3.0","screen":"SUCCESS_SCREEN","data":{"message":"Submission received"}}"#;
/// The exact answer to a form that was accepted before.
const DUPLICATE: &[u8] = br#"{"status":"already_processed"}"#;
/// The answer to a health check of a flow (*Implementing Endpoint for Flows*).
const PONG: &[u8] = br#"{"data":{"status":"active"}}"#;
/// Seconds after which a busy server is worth another try, and one whose disk an admin must clear.
const RETRY_SECONDS: [&str; 2] = ["1", "30"];

/// Why a request was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is nothing at this path: the flows' paths are in the config")]
    NotFound,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error(transparent)]
    Signature(#[from] BadSignature),
    #[error(transparent)]
    Proof(#[from] BadProof),
    #[error("{0}")]
    MediaType(&'static str),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error("the signature does not fit")]
    EnvelopeSignature,
    #[error("it can't be decrypted")]
    CannotOpen,
    #[error("the same request is still being answered: try again in a moment")]
    CopyUnderWay,
    #[error(transparent)]
    Flooded(#[from] Flooded),
    #[error("{0}: try again in a moment")]
    Busy(#[from] Busy),
    #[error("the disk did not take it: nothing was promised, try again in a moment")]
    NotStored,
    #[error("the answers of all screens together are larger than is kept")]
    DraftTooLarge,
    #[error("{0}")]
    Verification(&'static str),
}

impl Refusal {
    /// The code for programs, and the status.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Signature(_) | Self::Proof(_) => (StatusCode::UNAUTHORIZED, "bad_signature"),
            Self::MediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::Body(BodyError::TooLarge { .. }) | Self::DraftTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            Self::Body(BodyError::Late) => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::Body(BodyError::Broken) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::EnvelopeSignature => (signature_unfit(), "bad_signature"),
            Self::CannotOpen => (StatusCode::MISDIRECTED_REQUEST, "cannot_decrypt"),
            Self::Body(BodyError::OverBudget) | Self::Busy(Busy::Full) | Self::CopyUnderWay | Self::Flooded(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "busy")
            }
            Self::Busy(Busy::NotOpen) | Self::NotStored => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            Self::Busy(Busy::LowSpace) => (StatusCode::SERVICE_UNAVAILABLE, "disk_full"),
            Self::Intake(IntakeError::NotJson(_) | IntakeError::NotAnObject) => (StatusCode::BAD_REQUEST, "bad_json"),
            Self::Intake(IntakeError::Field { .. } | IntakeError::Unfit { .. }) => {
                (StatusCode::BAD_REQUEST, "invalid_field")
            }
            Self::Intake(IntakeError::UnknownAction(_)) => (StatusCode::BAD_REQUEST, "unknown_action"),
            Self::Intake(IntakeError::UnknownScreen(_)) => (StatusCode::BAD_REQUEST, "unknown_screen"),
            Self::Verification(_) => (StatusCode::FORBIDDEN, "verification_failed"),
        }
    }

    /// The code for programs.
    pub(super) fn code(&self) -> &'static str {
        self.kind().1
    }

    /// Whether nothing was wrong with the request: the server could not take it.
    pub(super) fn is_ours(&self) -> bool {
        self.kind().0 == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether the operator can do something about it. Signatures that do not fit are told of when there are several in a row:
    /// a single one may be a stranger's.
    pub(super) fn is_for_operators(&self) -> bool {
        let is_senders = matches!(
            self,
            Self::NotFound
                | Self::Method(_)
                | Self::Signature(_)
                | Self::EnvelopeSignature
                | Self::Body(BodyError::Late | BodyError::Broken)
                | Self::Intake(IntakeError::NotJson(_) | IntakeError::NotAnObject)
        );
        !is_senders
    }

    pub(super) fn answer(&self) -> Answer {
        let (status, code) = self.kind();
        if matches!(self, Self::EnvelopeSignature | Self::CannotOpen) {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = status;
            return answer;
        }
        let mut answer = error(status, code, &self.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let [soon, later] = RETRY_SECONDS;
            let seconds = if matches!(self, Self::Busy(Busy::LowSpace)) { later } else { soon };
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if let Self::Method(allow) = self {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        }
        answer
    }
}

/// 432, which is in no standard: the signature of an encrypted request does not fit (*Error Codes*, Flows).
fn signature_unfit() -> StatusCode {
    StatusCode::from_u16(432).unwrap_or(StatusCode::UNAUTHORIZED)
}

/// An error in the shape that all of them have.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    let body = json!({"error": {"code": code, "message": message}}).to_string();
    json_answer(status, Bytes::from(body))
}

/// What hyper itself answers with an empty body, and what a head that is late gets.
pub(super) fn bare_error(status: u16) -> Option<(&'static str, &'static str, &'static str)> {
    match status {
        400 => Some(("Bad Request", "bad_request", "this is no HTTP/1.1 request that can be read")),
        408 => Some(("Request Timeout", "timeout", "the head of the request took too long")),
        414 => Some(("URI Too Long", "uri_too_long", "the path of the request is too long")),
        431 => Some((
            "Request Header Fields Too Large",
            "head_too_large",
            "the headers of the request are too many or too long",
        )),
        _ => None,
    }
}

pub(super) fn accepted() -> Answer {
    json_answer(StatusCode::OK, Bytes::from_static(ACCEPTED))
}

pub(super) fn duplicate() -> Answer {
    json_answer(StatusCode::OK, Bytes::from_static(DUPLICATE))
}

pub(super) fn pong() -> Answer {
    json_answer(StatusCode::OK, Bytes::from_static(PONG))
}

/// The screen to show next, without data of its own.
pub(super) fn screen(name: &str) -> Answer {
    let body = json!({"version": "3.0", "screen": name, "data": {}});
    json_answer(StatusCode::OK, Bytes::from(body.to_string()))
}

/// The same screen again, with why the slot can't be had and those that can.
pub(super) fn slot_refused(screen: &str, why: SlotRefused, free: &[Slot]) -> Answer {
    let data = json!({"error_message": why.to_string(), "slots": slots(free)});
    let body = json!({"version": "3.0", "screen": screen, "data": data});
    json_answer(StatusCode::OK, Bytes::from(body.to_string()))
}

/// Slots as a choice list takes them.
pub(super) fn slots(free: &[Slot]) -> Vec<Value> {
    free.iter().map(|slot| json!({"id": slot.id(), "title": slot.title()})).collect()
}

pub(super) fn json_answer(status: StatusCode, body: Bytes) -> Answer {
    typed(status, "application/json", body)
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", body.into())
}

pub(super) fn typed(status: StatusCode, media_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}
