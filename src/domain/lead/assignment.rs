//! Defines the assignment of a lead: the agent who got it, and the reason.
//!
//! See [`super::agent_pool`] for the choice of the agent.

use serde::{Deserialize, Serialize};

use crate::domain::ids::AgentId;

/// Maximum number of candidates that an [`Assignment`] lists.
pub const CANDIDATES_MAX: usize = 16;

/// Assignment of a lead and the reason for it, stored with the lead. The default is that of a
/// queued lead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Agent who got the lead. `None` if no agent can accept the lead now.
    pub agent: Option<AgentId>,
    /// Rule that decided the assignment.
    pub reason: AssignmentReason,
    /// Agents who were considered, the chosen one first, at most [`CANDIDATES_MAX`]. For larger
    /// teams, only the chosen agent and the next best are listed. Without this limit, an assignment
    /// among ten thousand agents would cost more than among ten.
    pub candidates: Vec<AgentCandidate>,
    /// Number of agents of the team that are not listed.
    pub omitted: u32,
}

impl Assignment {
    /// Creates the assignment of a lead that an admin assigns.
    #[must_use]
    pub const fn manual(agent: AgentId) -> Self {
        Self {
            agent: Some(agent),
            reason: AssignmentReason::Manual,
            candidates: Vec::new(),
            omitted: 0,
        }
    }
}

named_enum! {
    /// Rule that decided an assignment.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum AssignmentReason {
        /// The agent with the fewest open leads by weight got the lead.
        LeastLoaded = "least_loaded",
        /// The agent who had this customer before got the lead.
        KnownCustomer = "known_customer",
        /// An admin assigned the lead.
        Manual = "manual",
        /// No agent of the team can accept a lead.
        NoAgentFree = "no_agent_free",
        /// The lead is queued, because older leads of the team are waiting too.
        #[default]
        Queued = "queued",
        /// The agent whom the customer chose, or was shown, got the lead.
        Chosen = "chosen",
    }
}

/// State of an agent at the time of an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCandidate {
    /// Agent ID.
    pub agent: AgentId,
    /// Number of open leads, without the new lead.
    pub current_leads: u32,
    /// Weight of the agent.
    pub weight: u32,
    /// Outcome for this agent.
    pub outcome: CandidateOutcome,
}

named_enum! {
    /// Reason why a candidate got a lead or did not.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum CandidateOutcome {
        /// The agent got the lead.
        Chosen = "chosen",
        /// The agent has more open leads by weight.
        MoreLoaded = "more_loaded",
        /// The agent has the same load, but got a lead more recently.
        WaitedLess = "waited_less",
        /// The agent is equal in load and idle time, but was added later.
        AddedLater = "added_later",
        /// The customer belongs to another agent.
        NotTheirCustomer = "not_their_customer",
        /// The agent has the maximum number of open leads.
        Full = "full",
        /// The agent has got the maximum number of leads today.
        FullToday = "full_today",
        /// The agent is absent.
        Absent = "absent",
        /// An admin paused the agent.
        Paused = "paused",
        /// The agent knows the customer, but is in another team now.
        OtherTeam = "other_team",
        /// The agent knows the customer, but was removed.
        Removed = "removed",
        /// The customer chose another agent.
        NotChosen = "not_chosen",
    }
}
