//! Deliveries, and what came back from their attempts.

use serde::Serialize;

use crate::domain::delivery::{Delivery, Event, Exchange};
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, FlowName, JobId, SubmissionId};
use crate::domain::job::{Attempt, Job};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

use super::JobView;

/// A delivery.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct DeliveryView {
    pub(in crate::admin) id: JobId,
    destination: DestinationName,
    event: EventKind,
    flow: Option<FlowName>,
    submission_id: Option<SubmissionId>,
    /// As that of every job.
    pub(in crate::admin) state: String,
    attempts: u32,
    /// What the last attempt was answered with; null: nothing.
    status: Option<u16>,
    due_at: Timestamp,
    last_error: Option<String>,
    created_at: Timestamp,
}

impl DeliveryView {
    /// The view of one delivery. `running`: it is under way right now.
    pub(in crate::admin) fn new(
        (id, job, running): (JobId, &Job, bool),
        delivery: &Delivery,
        event: &Event,
        last: Option<&Exchange>,
    ) -> Self {
        let job = JobView::new(id, job, running);
        Self {
            id,
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

/// One attempt to deliver.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct DeliveryAttemptView {
    number: u32,
    started_at: Timestamp,
    took_ms: u64,
    status: Option<u16>,
    error: Option<String>,
    /// The beginning of what was answered.
    answer: Option<Box<str>>,
    /// Why the row of the answer can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

impl DeliveryAttemptView {
    pub(in crate::admin) fn new(attempt: Attempt, exchange: Option<Result<&Exchange, &StoreError>>) -> Self {
        let unreadable = exchange.and_then(Result::err).map(ToString::to_string);
        let exchange = exchange.and_then(Result::ok);
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            took_ms: attempt.took.get(),
            status: exchange.and_then(|exchange| exchange.status),
            error: attempt.error,
            answer: exchange.map(|exchange| exchange.answer.clone()),
            unreadable,
        }
    }
}
