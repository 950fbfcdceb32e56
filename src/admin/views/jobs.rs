//! Jobs, their attempts, and dead letters.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::cloud_error::CloudError;
use crate::domain::delivery::{Delivery, Event};
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, JobId, LeadId, SubmissionId};
use crate::domain::job::{Attempt, DeadLetter, Job, JobState};
use crate::domain::receipt::{Reached, Receipt};
use crate::domain::time::Timestamp;

use super::json;

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobView {
    /// Its number.
    pub id: JobId,
    /// `process`, `message` or `deliver`.
    pub kind: String,
    /// `scheduled`, `running`, `done`, `dead`, `discarded`.
    pub state: String,
    /// Runs so far.
    pub attempts: u32,
    /// When it is to run, or when it ended.
    pub due_at: Timestamp,
    /// The submission it carries.
    pub submission_id: Option<SubmissionId>,
    /// Why the last run failed.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The lead it led to.
    pub lead_id: Option<LeadId>,
}

impl JobView {
    /// The view of one job. `running`: it runs right now.
    pub(in crate::admin) fn new(id: JobId, job: &Job, running: bool) -> Self {
        let running = running && job.state == JobState::Scheduled;
        Self {
            id,
            kind: job.kind.as_str().to_owned(),
            state: if running { "running" } else { job.state.as_str() }.to_owned(),
            attempts: job.attempts,
            due_at: job.due_at,
            submission_id: job.submission,
            last_error: job.last_error.clone(),
            created_at: job.created_at,
            lead_id: job.lead,
        }
    }
}

/// One run of a job.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct AttemptView {
    number: u32,
    started_at: Timestamp,
    took_ms: u64,
    error: Option<String>,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            took_ms: attempt.took.get(),
            error: attempt.error,
        }
    }
}

/// The WhatsApp message that a delivery became.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct MessageView {
    /// Meta's id of it.
    wamid: Option<Box<str>>,
    /// `sent`, `delivered`, `read`, `failed`; `unknown` while nobody knows whether it is there.
    status: Option<&'static str>,
    /// When it became so.
    status_at: Option<Timestamp>,
    /// Why it failed.
    error: Option<String>,
    /// Until when a status may tell whether it is there.
    unknown_until: Option<Timestamp>,
}

impl From<Receipt> for MessageView {
    fn from(receipt: Receipt) -> Self {
        let status = match (receipt.failed, receipt.open, receipt.reached) {
            (_, Some(_), _) => Some("unknown"),
            (Some(_), None, _) => Some("failed"),
            (None, None, reached) => reached.map(Reached::as_str),
        };
        Self {
            wamid: receipt.wamid,
            status,
            status_at: receipt.at,
            error: receipt.failed.map(CloudError::why),
            unknown_until: receipt.open.map(|open| open.until),
        }
    }
}

/// A dead letter: its job, and what it was to carry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadView {
    /// The job.
    #[serde(flatten)]
    pub job: JobView,
    /// When it died.
    pub died_at: Timestamp,
    /// Why.
    pub reason: String,
    /// What it was to carry.
    pub payload: Value,
    /// What an admin put in its place.
    pub corrected: Option<Value>,
    /// Whom it was to tell, where it is a delivery,
    pub destination: Option<DestinationName>,
    /// and of what.
    pub event: Option<EventKind>,
}

impl DeadView {
    /// The view of one dead letter.
    pub(in crate::admin) fn new(job: JobView, letter: &DeadLetter, delivery: Option<(&Delivery, &Event)>) -> Self {
        Self {
            job,
            died_at: letter.died_at,
            reason: letter.reason.clone(),
            payload: json(&letter.payload),
            corrected: letter.corrected.as_deref().map(json),
            destination: delivery.map(|(delivery, _)| delivery.destination.clone()),
            event: delivery.map(|(_, event)| event.kind),
        }
    }
}
