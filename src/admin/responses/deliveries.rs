//! Defines the rows of deliveries, and the responses to their attempts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::delivery::{Delivery, Event, ResponseRecord};
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, FlowName, JobId, SubmissionId};
use crate::domain::job::Attempt;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

use super::{JobRow, QueryRow};

/// Response row of a delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeliveryRow {
    pub(crate) id: JobId,
    pub(crate) destination: DestinationName,
    pub(crate) event: EventKind,
    flow: Option<FlowName>,
    pub(crate) submission_id: Option<SubmissionId>,
    /// State, as in [`JobRow`].
    pub(crate) state: String,
    pub(crate) attempts: u32,
    /// HTTP status of the last attempt. `None` if there was no response.
    pub(crate) status: Option<u16>,
    pub(crate) due_at: Timestamp,
    pub(crate) last_error: Option<String>,
    created_at: Timestamp,
}

impl DeliveryRow {
    /// Creates the row of a delivery. `last` is the response to its last attempt.
    pub(crate) fn new(
        job: JobRow,
        delivery: &Delivery,
        event: &Event,
        last: Option<&ResponseRecord>,
    ) -> Self {
        Self {
            id: job.id,
            destination: delivery.destination.clone(),
            event: event.kind,
            flow: event.flow.clone(),
            submission_id: job.submission_id,
            state: job.state,
            attempts: job.attempts,
            status: last.and_then(|last| last.status),
            due_at: job.due_at,
            last_error: job.last_error,
            created_at: job.created_at,
        }
    }
}

/// Delivery with its body and attempts.
#[derive(Debug, Serialize)]
pub(crate) struct DeliveryDetails {
    #[serde(flatten)]
    pub(crate) delivery: DeliveryRow,
    pub(crate) webhook_id: Box<str>,
    pub(crate) event_at: Timestamp,
    pub(crate) body: Value,
    /// Body that replaces the original one.
    pub(crate) corrected: Option<Value>,
    pub(crate) attempt_history: Vec<QueryRow<DeliveryAttemptRow>>,
}

/// Response row of one attempt of a delivery.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DeliveryAttemptRow {
    number: u32,
    started_at: Timestamp,
    duration_ms: u64,
    status: Option<u16>,
    error: Option<String>,
    /// Beginning of the response body.
    response: Option<Box<str>>,
    /// Reason why the stored response is unreadable. `None` if it is readable.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_error: Option<String>,
}

impl DeliveryAttemptRow {
    pub(crate) fn new(
        attempt: Attempt,
        response: Option<Result<&ResponseRecord, &StoreError>>,
    ) -> Self {
        let response_error = response.and_then(Result::err).map(ToString::to_string);
        let response = response.and_then(Result::ok);
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            duration_ms: attempt.duration.get(),
            status: response.and_then(|response| response.status),
            error: attempt.error,
            response: response.map(|response| response.body_excerpt.clone()),
            response_error,
        }
    }
}
