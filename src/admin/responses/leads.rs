//! Defines the rows of leads and agents.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{AgentId, AgentName, LeadId, SubmissionId, TeamName};
use crate::domain::lead::{Absence, Agent, CandidateOutcome, Lead};
use crate::domain::time::Timestamp;

/// Response row of a lead.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeadRow {
    pub id: LeadId,
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
    /// Reason of the close: `command`, `request` or `age`. `None` while the lead is open.
    #[serde(default)]
    pub close_reason: Option<String>,
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
            close_reason: lead.close_reason.map(|why| why.as_str().to_owned()),
        }
    }
}

/// Lead with the reason for its assignment.
#[derive(Debug, Serialize)]
pub(crate) struct LeadDetails {
    #[serde(flatten)]
    pub(crate) lead: LeadRow,
    pub(crate) candidates: Vec<CandidateRow>,
    /// Number of agents of the team that are not listed.
    pub(crate) more_candidates: u32,
}

/// Candidate: an agent who was considered for a lead.
#[derive(Debug, Serialize)]
pub(crate) struct CandidateRow {
    pub(crate) agent: String,
    pub(crate) current_leads: u32,
    pub(crate) weight: u32,
    pub(crate) outcome: CandidateOutcome,
}

/// Response row of an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AgentRow {
    id: AgentId,
    pub(crate) name: AgentName,
    pub(crate) team: TeamName,
    pub(crate) active: bool,
    pub(crate) weight: u32,
    pub(crate) current_leads: u32,
    pub(crate) max_leads: Option<u32>,
    pub(crate) total_leads: u64,
    max_per_day: Option<u32>,
    absences: Vec<Absence>,
    /// Reason why the agent can't get a lead now. `None` if the agent can.
    pub(crate) unavailable_reason: Option<CandidateOutcome>,
}

impl AgentRow {
    pub(crate) fn new(id: AgentId, agent: Agent, now: Timestamp, zone: &TimeZone) -> Self {
        Self {
            id,
            unavailable_reason: agent.unavailable_reason(now, zone),
            name: agent.name,
            team: agent.team,
            active: agent.is_active,
            weight: agent.weight,
            current_leads: agent.current_leads,
            max_leads: agent.max_leads,
            total_leads: agent.total_leads,
            max_per_day: agent.max_leads_per_day,
            absences: agent.absences,
        }
    }
}
