//! Adds, changes and removes agents on behalf of an admin. An agent who can accept more leads after
//! a change gets waiting leads.
//!
//! See [`crate::domain::lead`] for agents and their availability, and
//! [`crate::domain::lead::agent_pool`] for the choice of an agent.

use crate::domain::ids::{AgentId, AgentName, TeamName};
use crate::domain::lead::{Absence, Agent};

use super::lead_queue;
use crate::store::StoreResult;
use crate::store::rows::tallies::Tally;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Adds an agent.
#[derive(Clone, Debug)]
pub struct AddAgent {
    /// Agent name. Must be unique, but may be the name of a removed agent.
    pub name: AgentName,
    /// Team of the agent. The agent gets leads of this team.
    pub team: TeamName,
    /// Weight of the agent, 1 to 1000: twice the weight means twice the leads.
    pub weight: u32,
    /// Maximum number of open leads. `None` means no limit.
    pub max_leads: Option<u32>,
    /// Maximum number of leads in one day (UTC). `None` means no limit.
    pub max_leads_per_day: Option<u32>,
}

/// Changes an agent. Settings that are `None` stay unchanged.
#[derive(Clone, Debug)]
pub struct ChangeAgent {
    /// Agent name.
    pub name: AgentName,
    /// Change to apply.
    pub change: AgentChange,
}

/// A change of an agent.
#[derive(Clone, Debug)]
pub enum AgentChange {
    /// New settings. For a limit, the inner `None` means no limit.
    Set {
        /// New team. `None` if unchanged.
        team: Option<TeamName>,
        /// New weight, 1 to 1000. `None` if unchanged.
        weight: Option<u32>,
        /// New maximum number of open leads. `None` if unchanged.
        max_leads: Option<Option<u32>>,
        /// New maximum number of leads in one day (UTC). `None` if unchanged.
        max_leads_per_day: Option<Option<u32>>,
    },
    /// The agent gets no new leads until an admin resumes the agent.
    Pause,
    /// The agent gets new leads again.
    Resume,
    /// The agent gets no new leads during this absence. The absence is over automatically at its
    /// end time.
    AddAbsence(Absence),
    /// The agent is removed. Other agents get the open leads: 256 in this transaction, the rest by
    /// [`crate::store::AssignWaitingLeads`].
    Remove,
}

impl AgentChange {
    fn apply_to(&self, agent: &mut Agent) {
        match self {
            Self::Set {
                team,
                weight,
                max_leads,
                max_leads_per_day,
            } => {
                agent.team = team.clone().unwrap_or_else(|| agent.team.clone());
                agent.weight = weight.unwrap_or(agent.weight);
                agent.max_leads = max_leads.unwrap_or(agent.max_leads);
                agent.max_leads_per_day = max_leads_per_day.unwrap_or(agent.max_leads_per_day);
            }
            Self::Pause => agent.is_active = false,
            Self::Resume => agent.is_active = true,
            Self::AddAbsence(absence) => agent.absences.push(*absence),
            Self::Remove => agent.is_removed = true,
        }
    }
}

/// Outcome of an admin's command about an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentOutcome {
    /// The agent was added or changed.
    Updated(AgentId, Agent),
    /// Another agent has this name.
    NameTaken,
    /// No agent has this name.
    NotFound,
}

impl Transaction for AddAgent {
    type Outcome = AgentOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<AgentOutcome> {
        if ctx.state.agent_pool.find_by_name(&self.name).is_some() {
            return Ok(AgentOutcome::NameTaken);
        }
        let id = ctx.state.counters.next_agent();
        let agent = Agent {
            max_leads: self.max_leads,
            max_leads_per_day: self.max_leads_per_day,
            ..Agent::new(self.name.clone(), self.team.clone(), self.weight, ctx.now)
        };
        ctx.state.agent_pool.insert_agent(id, agent, ctx.now);
        ctx.tallies.increment(Tally::Agents, self.team.as_str());
        ctx.must_commit = true;
        lead_queue::assign_waiting(ctx, &self.team, lead_queue::MOVED_LEADS_MAX)?;
        Ok(updated_outcome(ctx, id))
    }
}

impl Transaction for ChangeAgent {
    type Outcome = AgentOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<AgentOutcome> {
        let Some(id) = ctx.state.agent_pool.find_by_name(&self.name) else {
            return Ok(AgentOutcome::NotFound);
        };
        let pool = &mut ctx.state.agent_pool;
        let old_team = pool.agent(id).map(|agent| agent.team.clone());
        pool.update_agent(id, ctx.now, |agent| self.change.apply_to(agent));
        let changed = pool.agent(id).filter(|agent| !agent.is_removed);
        let new_team = changed.map(|agent| agent.team.clone());
        ctx.must_commit = true;
        let is_moved = new_team != old_team;
        if is_moved {
            if let Some(team) = &old_team {
                ctx.tallies.decrement(Tally::Agents, team.as_str());
            }
            if let Some(team) = &new_team {
                ctx.tallies.increment(Tally::Agents, team.as_str());
            }
        }
        if matches!(self.change, AgentChange::Remove) {
            lead_queue::start_handover(ctx, id)?;
            lead_queue::assign_all_waiting(ctx)?;
            return Ok(updated_outcome(ctx, id));
        }
        let mut remaining = lead_queue::MOVED_LEADS_MAX;
        let joined_team = new_team.filter(|_| is_moved);
        for team in old_team.iter().chain(&joined_team) {
            remaining = remaining.saturating_sub(lead_queue::assign_waiting(ctx, team, remaining)?);
        }
        Ok(updated_outcome(ctx, id))
    }
}

fn updated_outcome(ctx: &WriteContext<'_>, id: AgentId) -> AgentOutcome {
    match ctx.state.agent_pool.agent(id) {
        Some(agent) => AgentOutcome::Updated(id, agent.clone()),
        None => AgentOutcome::NotFound,
    }
}
