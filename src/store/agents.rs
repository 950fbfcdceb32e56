//! Agents: added, changed, removed by an admin. Whoever can take more leads afterwards gets those that wait.
//!
//! What an agent is, and when one can take a lead, is decided in `crate::domain::{lead, roster}`.

use crate::domain::ids::{AgentId, AgentName, TeamName};
use crate::domain::lead::{Absence, Agent};

use super::batch::{Batch, Transaction};
use super::tallies::Tally;
use super::{StoreError, leads};

/// Adds an agent.
#[derive(Clone, Debug)]
pub struct AddAgent {
    /// Not yet that of another agent, unless of a removed one.
    pub name: AgentName,
    /// Whose leads are theirs.
    pub team: TeamName,
    /// Their share of the leads, 1 to 1000: twice the weight, twice the leads.
    pub weight: u32,
    /// Open leads at the most; `None`: no limit.
    pub max: Option<u32>,
    /// Leads in one day (UTC) at the most; `None`: no limit.
    pub max_per_day: Option<u32>,
}

/// Changes an agent. What is `None` stays.
#[derive(Clone, Debug)]
pub struct ChangeAgent {
    /// Whom.
    pub name: AgentName,
    /// What.
    pub change: AgentChange,
}

/// What is changed of an agent.
#[derive(Clone, Debug)]
pub enum AgentChange {
    /// Their settings; the inner `None` of a limit: no limit.
    Set {
        /// The team.
        team: Option<TeamName>,
        /// The weight, 1 to 1000.
        weight: Option<u32>,
        /// Open leads at the most.
        max: Option<Option<u32>>,
        /// Leads in one day at the most.
        max_per_day: Option<Option<u32>>,
    },
    /// No new leads until further notice.
    Pause,
    /// New leads again.
    Resume,
    /// No new leads for a while; it ends by itself.
    Absent(Absence),
    /// Gone: their open leads go to others, 256 at once, the rest by [`super::Distribute`].
    Remove,
}

/// What an admin's word did to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentChanged {
    /// It is so now.
    Now(AgentId, Agent),
    /// There is one of that name.
    NameTaken,
    /// There is no such agent.
    Unknown,
}

impl Transaction for AddAgent {
    type Outcome = AgentChanged;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<AgentChanged, StoreError> {
        if batch.memory.roster.by_name(&self.name).is_some() {
            return Ok(AgentChanged::NameTaken);
        }
        let id = batch.memory.counters.next_agent();
        let agent = Agent {
            max: self.max,
            max_per_day: self.max_per_day,
            ..Agent::new(self.name.clone(), self.team.clone(), self.weight, batch.now)
        };
        batch.memory.roster.insert(id, agent, batch.now);
        batch.tallies.add(Tally::Agents, self.team.as_str());
        batch.dirty = true;
        leads::distribute(batch, &self.team, leads::GIVEN_OUT)?;
        Ok(now(batch, id))
    }
}

impl Transaction for ChangeAgent {
    type Outcome = AgentChanged;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<AgentChanged, StoreError> {
        let Some(id) = batch.memory.roster.by_name(&self.name) else { return Ok(AgentChanged::Unknown) };
        let old_team = batch.memory.roster.get(id).map(|agent| agent.team.clone());
        batch.memory.roster.change(id, batch.now, |agent| match &self.change {
            AgentChange::Set { team, weight, max, max_per_day } => {
                agent.team = team.clone().unwrap_or_else(|| agent.team.clone());
                agent.weight = weight.unwrap_or(agent.weight);
                agent.max = max.unwrap_or(agent.max);
                agent.max_per_day = max_per_day.unwrap_or(agent.max_per_day);
            }
            AgentChange::Pause => agent.active = false,
            AgentChange::Resume => agent.active = true,
            AgentChange::Absent(absence) => agent.absences.push(*absence),
            AgentChange::Remove => agent.removed = true,
        });
        batch.dirty = true;
        let new_team = batch.memory.roster.get(id).filter(|agent| !agent.removed).map(|agent| agent.team.clone());
        if new_team != old_team {
            if let Some(team) = &old_team {
                batch.tallies.subtract(Tally::Agents, team.as_str());
            }
            if let Some(team) = &new_team {
                batch.tallies.add(Tally::Agents, team.as_str());
            }
        }
        if matches!(self.change, AgentChange::Remove) {
            leads::leave(batch, id)?;
            leads::give_out(batch)?;
            return Ok(now(batch, id));
        }
        let mut left = leads::GIVEN_OUT;
        for team in old_team.iter().chain(new_team.iter().filter(|team| Some(*team) != old_team.as_ref())) {
            left = left.saturating_sub(leads::distribute(batch, team, left)?);
        }
        Ok(now(batch, id))
    }
}

fn now(batch: &Batch<'_, '_>, id: AgentId) -> AgentChanged {
    batch.memory.roster.get(id).map_or(AgentChanged::Unknown, |agent| AgentChanged::Now(id, agent.clone()))
}
