//! Submissions, what came later for one, and forms in the making.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::draft::{Draft, DraftState};
use crate::domain::ids::{BookingId, JobId, LeadId, SubmissionId};
use crate::domain::job::{Job, JobState};
use crate::domain::time::Timestamp;
use crate::store::{Join, StoredSubmission};

use super::json;

/// A submission.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubmissionView {
    /// Its number.
    pub id: SubmissionId,
    /// The flow.
    pub flow: String,
    /// The token as it came.
    pub flow_token: Option<String>,
    /// Who sent it: the id where there is one, the number otherwise.
    pub user: Option<String>,
    /// `plain` or `webhook`.
    pub channel: String,
    /// `accepted`, `done`, `conflict`, `dead`.
    pub state: String,
    /// When it was taken.
    pub received_at: Timestamp,
    /// The fields as they came.
    pub data: Value,
    /// The lead it led to.
    pub lead_id: Option<LeadId>,
    /// Who has the lead.
    pub agent: Option<String>,
    /// The slot it got.
    pub booking_id: Option<BookingId>,
    /// Its job.
    pub job_id: JobId,
    /// The message that carried it.
    pub message_id: Option<String>,
    /// When the user sent it, where that is told.
    pub sent_at: Option<Timestamp>,
    /// Why it did not get the slot that it asked for.
    pub conflict: Option<String>,
    /// What is wrong with its fields.
    pub problems: Vec<String>,
}

/// Whether a submission is on its way, over, or stuck.
#[must_use]
pub fn submission_state(stored: &StoredSubmission, job: Option<&Job>) -> &'static str {
    match job.map(|job| job.state) {
        Some(JobState::Dead | JobState::Discarded) => "dead",
        _ if stored.conflict.is_some() => "conflict",
        Some(JobState::Done) => "done",
        _ => "accepted",
    }
}

impl SubmissionView {
    /// The view of one submission.
    pub(in crate::admin) fn new(
        id: SubmissionId,
        stored: StoredSubmission,
        job: Option<&Job>,
        agent: Option<String>,
    ) -> Self {
        let state = submission_state(&stored, job).to_owned();
        let StoredSubmission { received_at, stamp: _, job: job_id, booking, conflict, submission } = stored;
        Self {
            id,
            flow: submission.flow.to_string(),
            flow_token: submission.flow_token.map(|token| token.to_string()),
            user: submission.customer.name().map(str::to_owned),
            channel: submission.channel.as_str().to_owned(),
            state,
            received_at,
            data: json(&submission.data),
            lead_id: job.and_then(|job| job.lead),
            agent,
            booking_id: booking,
            job_id,
            message_id: submission.message_id.map(|id| id.to_string()),
            sent_at: submission.sent_at,
            conflict,
            problems: submission.problems,
        }
    }
}

/// What came later for a submission.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct JoinView {
    at: Timestamp,
    channel: &'static str,
    message_id: Option<String>,
    user: Option<String>,
    differing: Option<Value>,
}

impl From<Join> for JoinView {
    fn from(join: Join) -> Self {
        Self {
            at: join.at,
            channel: join.channel.as_str(),
            message_id: join.message_id.map(|id| id.to_string()),
            user: join.customer.name().map(str::to_owned),
            differing: join.differing.as_deref().map(json),
        }
    }
}

/// A form in the making.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct DraftView {
    flow: String,
    flow_token: Option<String>,
    user: Option<String>,
    state: &'static str,
    screen: String,
    data: Value,
    updated_at: Timestamp,
}

impl DraftView {
    pub(in crate::admin) fn new(draft: Draft, state: DraftState) -> Self {
        Self {
            state: state.as_str(),
            flow: draft.flow.to_string(),
            flow_token: draft.flow_token.map(|token| token.to_string()),
            user: draft.customer.name().map(str::to_owned),
            screen: draft.screen.into(),
            data: json(&draft.data),
            updated_at: draft.updated_at,
        }
    }
}
