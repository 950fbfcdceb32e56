//! Defines the rows of leads and agents.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{AgentId, LeadId, SubmissionId};
use crate::domain::lead::{Agent, CandidateOutcome, Lead};
use crate::domain::time::Timestamp;

/// Response row of a lead.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeadRow {
    /// Lead ID.
    pub id: LeadId,
    /// Submission ID.
    pub submission_id: SubmissionId,
    /// Agent of the lead. `None` while the lead waits for an agent.
    pub agent: Option<String>,
    /// State: `open` or `closed`.
    pub state: String,
    /// Time when the lead was created, in UTC.
    pub created_at: Timestamp,
    /// Flow of the submission.
    pub flow: String,
    /// Team whose agents may get the lead.
    pub team: String,
    /// Time when the agent got the lead, in UTC.
    pub assigned_at: Option<Timestamp>,
    /// Time when the lead was closed, in UTC.
    pub closed_at: Option<Timestamp>,
    /// Reason of the assignment.
    pub reason: String,
}

impl LeadRow {
    /// Creates the row of a lead.
    pub(crate) fn new(id: LeadId, lead: &Lead, agent: Option<String>) -> Self {
        Self {
            id,
            submission_id: lead.submission_id,
            agent,
            state: lead.state.as_str().to_owned(),
            created_at: lead.created_at,
            flow: lead.flow.to_string(),
            team: lead.team.to_string(),
            assigned_at: lead.assigned_at,
            closed_at: lead.closed_at,
            reason: lead.assignment.reason.as_str().to_owned(),
        }
    }
}

/// Candidate: an agent who was considered for a lead.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CandidateRow {
    pub(crate) agent: String,
    pub(crate) current_leads: u32,
    pub(crate) weight: u32,
    pub(crate) outcome: &'static str,
}

/// Period without new leads. `from` is inclusive, `to` is exclusive.
#[derive(Clone, Debug, Serialize)]
struct AbsenceRow {
    from: Timestamp,
    to: Timestamp,
}

/// Response row of an agent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AgentRow {
    id: AgentId,
    name: String,
    team: String,
    active: bool,
    weight: u32,
    current_leads: u32,
    max_leads: Option<u32>,
    total_leads: u64,
    max_per_day: Option<u32>,
    absences: Vec<AbsenceRow>,
    /// Reason why the agent can't get a lead now. `None` if the agent can.
    unavailable_reason: Option<&'static str>,
}

impl AgentRow {
    pub(crate) fn new(id: AgentId, agent: &Agent, now: Timestamp) -> Self {
        Self {
            id,
            name: agent.name.to_string(),
            team: agent.team.to_string(),
            active: agent.is_active,
            weight: agent.weight,
            current_leads: agent.current_leads,
            max_leads: agent.max_leads,
            total_leads: agent.total_leads,
            max_per_day: agent.max_leads_per_day,
            absences: agent
                .absences
                .iter()
                .map(|absence| AbsenceRow {
                    from: absence.from,
                    to: absence.to,
                })
                .collect(),
            unavailable_reason: agent.unavailable_reason(now).map(CandidateOutcome::as_str),
        }
    }
}
