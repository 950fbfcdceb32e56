//! Defines the state after the load: the outcomes of the forms, and the rows that the server's
//! commands print. See [`super::verification`] for the check of the state.

use serde::Deserialize;

/// Outcome of one form. A duplicate counts as a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormOutcome {
    /// The server accepted the form.
    Accepted,
    /// The server reported a duplicate.
    Duplicate,
    /// The requested slot is taken.
    SlotTaken,
    /// The server sent another response. The text is its status and body.
    Refused(String),
    /// No response arrived in any attempt. The text is the last error.
    Unanswered(String),
}

/// Submission, as printed by `submissions --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct SubmissionRecord {
    /// Submission ID.
    pub id: u64,
    /// Flow token of the form.
    pub flow_token: Option<String>,
    /// State of the submission.
    pub state: String,
    /// Booking ID. `None` if the submission has no booking.
    pub booking_id: Option<u64>,
}

/// Lead, as printed by `leads --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct LeadRecord {
    /// Submission ID of the lead.
    pub submission_id: u64,
    /// Name of the agent. `None` while the lead waits.
    pub agent: Option<String>,
}

/// Agent, as printed by `agents --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct AgentRecord {
    /// Agent name.
    pub name: String,
    /// Weight: share of the leads relative to other agents.
    pub weight: u32,
    /// Number of open leads.
    pub current_leads: u32,
    /// Maximum number of open leads. `None` means no limit.
    pub max_leads: Option<u32>,
}

impl AgentRecord {
    /// Returns `true` if the agent has reached its maximum.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.max_leads.is_some_and(|max| self.current_leads >= max)
    }
}

/// Slot of the concurrent forms, as printed by `slots --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct SlotRecord {
    /// Date in the time zone of the calendar.
    pub date: String,
    /// Start time in the time zone of the calendar.
    pub time: String,
    /// Number of places.
    pub capacity: u32,
    /// Number of booked places.
    pub taken: u32,
}

/// State after the load: outcomes of the forms and rows of the server.
#[derive(Debug, Clone)]
pub struct ObservedState {
    /// Flow token and outcome of each form that was sent.
    pub outcomes: Vec<(String, FormOutcome)>,
    /// Submissions that the server has stored.
    pub submissions: Vec<SubmissionRecord>,
    /// Leads that the server has stored.
    pub leads: Vec<LeadRecord>,
    /// Agents that the server has stored.
    pub agents: Vec<AgentRecord>,
    /// Slot of the concurrent forms.
    pub slot: SlotRecord,
    /// Output of a failed `flowgate check`. Empty if the check succeeded.
    pub check_output: String,
}
