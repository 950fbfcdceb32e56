//! Defines the rows of submissions, late arrivals and drafts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::contact::FormContact;
use crate::domain::ids::{BookingId, FlowName, FlowToken, JobId, LeadId, SubmissionId};
use crate::domain::job::{Job, JobState};
use crate::domain::submission::draft::{Draft, DraftState};
use crate::domain::time::Timestamp;
use crate::store::{LateArrival, StoredSubmission};

use super::stored_json;

/// Response row of a submission.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubmissionRow {
    pub id: SubmissionId,
    pub flow: String,
    /// Flow token as received.
    pub flow_token: Option<String>,
    /// Customer: the user ID or, if there is none, the phone number.
    pub customer: Option<String>,
    /// Name in the answers.
    #[serde(default)]
    pub name: Option<String>,
    /// Phone number: from WhatsApp or, if unknown, from the answers.
    #[serde(default)]
    pub phone: Option<String>,
    /// Channel: `plain`, `encrypted`, `webhook` or `gateway`.
    pub channel: String,
    /// State: `accepted`, `done`, `conflict` or `dead`.
    pub state: String,
    /// Time when the submission was accepted, in UTC.
    pub received_at: Timestamp,
    /// Fields as received.
    pub data: Value,
    /// ID of the lead that the submission created.
    pub lead_id: Option<LeadId>,
    pub agent: Option<String>,
    pub booking_id: Option<BookingId>,
    pub job_id: JobId,
    /// ID of the message that contained the submission. `None` if there was no message.
    pub message_id: Option<String>,
    /// Time when the customer sent the form, in UTC. `None` if the channel does not report the
    /// time.
    pub sent_at: Option<Timestamp>,
    /// Reason why the submission did not get the requested slot.
    pub conflict: Option<String>,
    /// Errors of the fields, one text each.
    pub problems: Vec<String>,
}

fn submission_state(stored: &StoredSubmission, job: Option<&Job>) -> &'static str {
    match job.map(|job| job.state) {
        Some(JobState::Dead | JobState::Discarded) => "dead",
        _ if stored.conflict.is_some() => "conflict",
        Some(JobState::Done) => "done",
        _ => "accepted",
    }
}

impl SubmissionRow {
    /// Creates the row of a submission.
    pub(crate) fn new(
        id: SubmissionId,
        stored: StoredSubmission,
        job: Option<&Job>,
        agent: Option<String>,
    ) -> Self {
        let state = submission_state(&stored, job).to_owned();
        let StoredSubmission {
            received_at,
            stamp: _,
            job_id,
            booking_id: booking,
            conflict,
            submission,
        } = stored;
        let data = stored_json(&submission.data);
        let contact = FormContact::from_answers(&data);
        let phone = submission.customer.phone.as_deref().map(str::to_owned);
        Self {
            id,
            name: contact.name,
            phone: phone.or(contact.phone),
            flow: submission.flow.to_string(),
            flow_token: submission.flow_token.map(|token| token.to_string()),
            customer: submission.customer.name().map(str::to_owned),
            channel: submission.channel.as_str().to_owned(),
            state,
            received_at,
            data,
            lead_id: job.and_then(|job| job.lead_id),
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

/// Submission with all its data.
#[derive(Debug, Serialize)]
pub(crate) struct SubmissionDetails {
    #[serde(flatten)]
    pub(crate) submission: SubmissionRow,
    pub(crate) screen: Option<Box<str>>,
    /// Unknown fields of the request.
    pub(crate) extra: Value,
    pub(crate) late_arrivals: Vec<LateArrivalRow>,
}

/// Late arrival: an item that belongs to a stored submission.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LateArrivalRow {
    at: Timestamp,
    channel: &'static str,
    pub(crate) message_id: Option<String>,
    pub(crate) customer: Option<String>,
    differing: Option<Value>,
}

impl From<LateArrival> for LateArrivalRow {
    fn from(late_arrival: LateArrival) -> Self {
        Self {
            at: late_arrival.at,
            channel: late_arrival.channel.as_str(),
            message_id: late_arrival.message_id.map(|id| id.to_string()),
            customer: late_arrival.customer.name().map(str::to_owned),
            differing: late_arrival.differing_data.as_deref().map(stored_json),
        }
    }
}

/// Response row of a draft.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DraftRow {
    pub(crate) flow: FlowName,
    flow_token: Option<FlowToken>,
    pub(crate) customer: Option<String>,
    /// State: `open` or `abandoned`.
    pub(crate) state: String,
    pub(crate) screen: Box<str>,
    pub(crate) data: Value,
    pub(crate) updated_at: Timestamp,
}

impl DraftRow {
    pub(crate) fn new(draft: Draft, state: DraftState) -> Self {
        Self {
            state: state.as_str().to_owned(),
            flow: draft.flow,
            flow_token: draft.flow_token,
            customer: draft.customer.name().map(str::to_owned),
            screen: draft.screen,
            data: stored_json(&draft.data),
            updated_at: draft.updated_at,
        }
    }
}
