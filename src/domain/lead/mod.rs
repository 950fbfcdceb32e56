//! Defines leads: one submission in an agent's care, or waiting for an agent.
//!
//! See [`agent_pool`] for the choice of the agent, [`agent`] for the reasons why an agent can't
//! accept a lead, and [`assignment`] for the recorded reasons. The store holds the queue of leads
//! that no agent can accept.

pub mod agent;
pub mod agent_pool;
pub mod assignment;
pub mod load;

use serde::{Deserialize, Serialize};

use super::ids::{AgentId, FlowName, SubmissionId, TeamName};
use super::time::Timestamp;
pub use agent::{Absence, Agent, WEIGHT_MAX};
pub use assignment::{
    AgentCandidate, Assignment, AssignmentReason, CANDIDATES_MAX, CandidateOutcome,
};
pub use load::LeadLoad;

/// Stored lead: one submission in an agent's care, or waiting for an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// Submission ID.
    pub submission_id: SubmissionId,
    /// Flow of the submission.
    pub flow: FlowName,
    /// Team whose agents may get the lead.
    pub team: TeamName,
    /// Agent who has the lead. `None` if the lead is waiting.
    pub agent: Option<AgentId>,
    /// State of the lead: open or closed.
    pub state: LeadState,
    /// Time when the lead was created, in UTC.
    pub created_at: Timestamp,
    /// Time when the current agent got the lead, in UTC.
    pub assigned_at: Option<Timestamp>,
    /// Time when the lead was closed, in UTC.
    pub closed_at: Option<Timestamp>,
    /// Reason why this agent, or no agent, got the lead.
    pub assignment: Assignment,
}

named_enum! {
    /// State of a lead.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum LeadState {
        /// The lead counts among its agent's open leads, or is waiting.
        Open = "open",
        /// The lead is closed.
        Closed = "closed",
    }
}
