//! Leads, and the agents who have them.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{AgentId, LeadId, SubmissionId};
use crate::domain::lead::{Agent, Lead, Verdict};
use crate::domain::time::Timestamp;

/// A lead.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeadView {
    /// Its number.
    pub id: LeadId,
    /// Its submission.
    pub submission_id: SubmissionId,
    /// Who has it; null while it waits.
    pub agent: Option<String>,
    /// `open` or `closed`.
    pub state: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The flow of its submission.
    pub flow: String,
    /// The team whose agents may have it.
    pub team: String,
    /// When its agent got it.
    pub assigned_at: Option<Timestamp>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// The rule that decided who has it.
    pub reason: String,
}

impl LeadView {
    /// The view of one lead.
    pub(in crate::admin) fn new(id: LeadId, lead: &Lead, agent: Option<String>) -> Self {
        Self {
            id,
            submission_id: lead.submission,
            agent,
            state: lead.state.as_str().to_owned(),
            created_at: lead.created_at,
            flow: lead.flow.to_string(),
            team: lead.team.to_string(),
            assigned_at: lead.assigned_at,
            closed_at: lead.closed_at,
            reason: lead.why.reason.as_str().to_owned(),
        }
    }
}

/// An agent that was looked at for a lead.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct ConsideredView {
    pub(in crate::admin) agent: String,
    pub(in crate::admin) current_leads: u32,
    pub(in crate::admin) weight: u32,
    pub(in crate::admin) verdict: &'static str,
}

/// A time without new leads: `from` inclusive, `to` exclusive.
#[derive(Clone, Debug, Serialize)]
struct AbsenceView {
    from: Timestamp,
    to: Timestamp,
}

/// An agent.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct AgentView {
    id: AgentId,
    name: String,
    team: String,
    active: bool,
    weight: u32,
    current_leads: u32,
    max_leads: Option<u32>,
    total_leads: u64,
    max_per_day: Option<u32>,
    absences: Vec<AbsenceView>,
    /// What keeps the agent from taking another lead now; null: nothing does.
    obstacle: Option<&'static str>,
}

impl AgentView {
    pub(in crate::admin) fn new(id: AgentId, agent: &Agent, now: Timestamp) -> Self {
        Self {
            id,
            name: agent.name.to_string(),
            team: agent.team.to_string(),
            active: agent.active,
            weight: agent.weight,
            current_leads: agent.current,
            max_leads: agent.max,
            total_leads: agent.total,
            max_per_day: agent.max_per_day,
            absences: agent.absences.iter().map(|absence| AbsenceView { from: absence.from, to: absence.to }).collect(),
            obstacle: agent.obstacle(now).map(Verdict::as_str),
        }
    }
}
