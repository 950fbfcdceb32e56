//! Defines the rows about people: steps of a timeline, and customers with all that is theirs.

use serde::{Deserialize, Serialize};

use super::{BookingRow, DeliveryRow, DraftRow, LeadRow, SubmissionRow};
use crate::domain::ids::{BookingId, FlowName, JobId, LeadId, SubmissionId};
use crate::domain::time::Timestamp;
use crate::domain::timeline::TimelineEntry;

/// Response row of one step of a timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TraceRow {
    /// Thing that the timeline is about, as `submission 12`.
    pub(crate) subject: String,
    /// Meanings of the traced text that led to the subject, as `job 12`.
    pub(crate) meanings: Vec<String>,
    /// Submission of the timeline. `None`: a job without a submission, or a draft.
    pub(crate) submission_id: Option<SubmissionId>,
    pub(crate) at: Timestamp,
    /// Kind of the step. See [`crate::domain::timeline::EntryKind`].
    pub(crate) kind: String,
    pub(crate) text: String,
    pub(crate) job_id: Option<JobId>,
    pub(crate) lead_id: Option<LeadId>,
    pub(crate) booking_id: Option<BookingId>,
}

impl TraceRow {
    /// Creates the row of a step.
    pub(crate) fn new(
        subject: &str,
        meanings: &[String],
        submission_id: Option<SubmissionId>,
        entry: TimelineEntry,
    ) -> Self {
        Self {
            subject: subject.to_owned(),
            meanings: meanings.to_vec(),
            submission_id,
            at: entry.at,
            kind: entry.kind.as_str().to_owned(),
            text: entry.text,
            job_id: entry.job_id,
            lead_id: entry.lead_id,
            booking_id: entry.booking_id,
        }
    }
}

/// Response row of a customer with the newest form that matches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CustomerRow {
    /// Customer: the ID or, if there is none, the phone number.
    pub(crate) customer: Option<String>,
    pub(crate) id: Option<String>,
    /// Phone number: from WhatsApp or, if unknown, from the answers.
    pub(crate) phone: Option<String>,
    /// Name in the answers.
    pub(crate) name: Option<String>,
    /// Newest submission that matches.
    pub(crate) submission_id: SubmissionId,
    pub(crate) flow: FlowName,
    pub(crate) received_at: Timestamp,
    /// Text that matched. `None` in a list without a search.
    pub(crate) matched: Option<String>,
}

/// Agent to whom a customer returns.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CustomerAgentRow {
    pub(crate) flow: FlowName,
    pub(crate) agent: Option<String>,
    pub(crate) lead_id: LeadId,
}

/// Customer with all stored rows about the customer.
#[derive(Debug, Serialize)]
pub(crate) struct CustomerDetails {
    pub(crate) customer: Option<String>,
    pub(crate) name: Option<String>,
    /// Phone numbers and IDs under which forms of the customer are stored, the current ones first.
    pub(crate) known_as: Vec<String>,
    /// Agents of flows with `lead.sticky`.
    pub(crate) agents: Vec<CustomerAgentRow>,
    pub(crate) submissions: Vec<SubmissionRow>,
    pub(crate) bookings: Vec<BookingRow>,
    pub(crate) leads: Vec<LeadRow>,
    pub(crate) deliveries: Vec<DeliveryRow>,
    pub(crate) drafts: Vec<DraftRow>,
    /// Reason why rows may be missing. `None`: all are shown.
    pub(crate) incomplete: Option<String>,
}
