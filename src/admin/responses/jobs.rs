//! Defines the rows of jobs, attempts and dead letters.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::delivery::cloud_error::CloudError;
use crate::domain::delivery::receipt::{DeliveryStage, Receipt};
use crate::domain::delivery::{Delivery, Event};
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, JobId, LeadId, SubmissionId};
use crate::domain::job::{Attempt, DeadLetter, Job, JobState};
use crate::domain::time::Timestamp;

use super::{QueryRow, stored_json};

/// Response row of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRow {
    pub id: JobId,
    /// Kind: `process`, `message` or `deliver`.
    pub kind: String,
    /// State: `scheduled`, `running`, `done`, `dead`, `discarded` or `expired`.
    pub state: String,
    pub attempts: u32,
    /// Time when the job is due, or when it ended, in UTC.
    pub due_at: Timestamp,
    /// ID of the job's submission.
    pub submission_id: Option<SubmissionId>,
    /// Error of the last failed attempt.
    pub last_error: Option<String>,
    /// Time when the job was created, in UTC.
    pub created_at: Timestamp,
    /// ID of the lead that the job created.
    pub lead_id: Option<LeadId>,
}

impl JobRow {
    /// Creates the row of a job. `running` is `true` if the job is in flight.
    pub(crate) fn new(id: JobId, job: &Job, running: bool) -> Self {
        let state = match job.state {
            JobState::Scheduled if running => "running",
            state => state.as_str(),
        };
        Self {
            id,
            kind: job.kind.as_str().to_owned(),
            state: state.to_owned(),
            attempts: job.attempts,
            due_at: job.due_at,
            submission_id: job.submission_id,
            last_error: job.last_error.clone(),
            created_at: job.created_at,
            lead_id: job.lead_id,
        }
    }
}

/// Job with its attempts.
#[derive(Debug, Serialize)]
pub(crate) struct JobDetails {
    #[serde(flatten)]
    pub(crate) job: JobRow,
    pub(crate) attempt_history: Vec<QueryRow<AttemptRow>>,
    /// WhatsApp message of a delivery. Absent for other jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<QueryRow<MessageStatusRow>>,
}

/// Response row of one attempt of a job.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AttemptRow {
    number: u32,
    started_at: Timestamp,
    duration_ms: u64,
    error: Option<String>,
}

impl From<Attempt> for AttemptRow {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            duration_ms: attempt.duration.get(),
            error: attempt.error,
        }
    }
}

/// WhatsApp message that a delivery sent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MessageStatusRow {
    /// Meta's ID of the message.
    wamid: Option<Box<str>>,
    /// Status: `sent`, `delivered`, `read` or `failed`. `unknown` while an attempt has no confirmed
    /// result.
    status: Option<&'static str>,
    /// Time of the last status, in UTC.
    status_at: Option<Timestamp>,
    /// Reason of the failure.
    error: Option<String>,
    /// Time until which a status may report the result of the attempt, in UTC. `None` if the result
    /// is known.
    unknown_until: Option<Timestamp>,
}

impl From<Receipt> for MessageStatusRow {
    fn from(receipt: Receipt) -> Self {
        let status = match (receipt.error, receipt.pending_attempt, receipt.stage) {
            (_, Some(_), _) => Some("unknown"),
            (Some(_), None, _) => Some("failed"),
            (None, None, reached) => reached.map(DeliveryStage::as_str),
        };
        Self {
            wamid: receipt.wamid,
            status,
            status_at: receipt.updated_at,
            error: receipt.error.map(CloudError::summary),
            unknown_until: receipt.pending_attempt.map(|open| open.deadline),
        }
    }
}

/// Dead letter: its job and payload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetterRow {
    /// Job of the dead letter.
    #[serde(flatten)]
    pub job: JobRow,
    /// Time when the job became a dead letter, in UTC.
    pub died_at: Timestamp,
    /// Reason of the failure.
    pub reason: String,
    /// Payload of the job.
    pub payload: Value,
    /// Corrected payload from an admin. `None` if there is none.
    pub corrected: Option<Value>,
    /// Destination of a delivery. `None` for other jobs.
    pub destination: Option<DestinationName>,
    /// Event of a delivery. `None` for other jobs.
    pub event: Option<EventKind>,
}

impl DeadLetterRow {
    /// Creates the row of a dead letter. `delivery` is the delivery of its job, if the job delivers
    /// an event.
    pub(crate) fn new(
        job: JobRow,
        dead_letter: &DeadLetter,
        delivery: Option<&(Delivery, Event)>,
    ) -> Self {
        Self {
            job,
            died_at: dead_letter.died_at,
            reason: dead_letter.reason.clone(),
            payload: stored_json(&dead_letter.payload),
            corrected: dead_letter.corrected_payload.as_deref().map(stored_json),
            destination: delivery.map(|(delivery, _)| delivery.destination.clone()),
            event: delivery.map(|(_, event)| event.kind),
        }
    }
}

/// Dead letter with the attempts of its job.
#[derive(Debug, Serialize)]
pub(crate) struct DeadLetterDetails {
    #[serde(flatten)]
    pub(crate) dead_letter: DeadLetterRow,
    pub(crate) attempt_history: Vec<QueryRow<AttemptRow>>,
}

/// Result of a change of dead letters or deliveries. `R` is the row of one of them.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum JobChangeRow<R> {
    /// Single job with its new state.
    One { id: JobId, state: &'static str },
    /// Result of a dry run.
    DryRun(DryRunRow<R>),
    /// Number of changed jobs.
    All { changed: usize },
}

/// Jobs that a command without a dry run would change. `R` is the row of one of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct DryRunRow<R> {
    /// Number of selected jobs.
    pub(crate) would_change: usize,
    /// Number of messages to people that are older than `max_age` of their destination. Absent for
    /// deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expired_messages: Option<usize>,
    /// First selected jobs.
    pub(crate) samples: Vec<R>,
}
