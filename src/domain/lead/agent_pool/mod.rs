//! Chooses the agent for each new lead, with an index of all agents in order of load.
//!
//! The choice of an agent is one look-up in an ordered index, for any number of agents. The writer
//! holds one pool in memory. Once per batch, the writer stores the agents that changed
//! ([`AgentPool::changed_agents`]). The rows are the source of truth: after a restart,
//! [`AgentPool::new`] builds the same pool from the rows.
//!
//! Absences and daily limits change an agent's availability by time alone. The pool stores the time
//! of each agent's next such change, and applies the changes when it gets the current time. See
//! [`crate::domain::lead`] for the rules of availability.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Agent, AgentCandidate, Assignment, AssignmentReason, CANDIDATES_MAX, CandidateOutcome, LeadLoad,
};
use crate::domain::ids::{AgentId, AgentName, TeamName};
use crate::domain::time::Timestamp;

/// Pool of all agents, including removed ones.
#[derive(Debug, Default)]
pub struct AgentPool {
    entries: BTreeMap<AgentId, PoolEntry>,
    /// Agents that are not removed, by name.
    ids_by_name: BTreeMap<AgentName, AgentId>,
    teams: BTreeMap<TeamName, TeamIndex>,
    /// Times at which the availability of an agent changes by time alone.
    upcoming_changes: BTreeSet<(Timestamp, AgentId)>,
    /// Agents that changed since the last [`AgentPool::mark_saved`], in their state at that time.
    /// `None`: the agent did not exist.
    originals: BTreeMap<AgentId, Option<Agent>>,
    /// Time for which the index is valid.
    as_of: Timestamp,
}

#[derive(Debug)]
struct PoolEntry {
    agent: Agent,
    /// Rank among the available agents of the team. `None` if the agent is not available.
    rank: Option<LoadRank>,
    /// Time of the agent's entry in `upcoming_changes`.
    next_change_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct TeamIndex {
    /// Agents that are not removed.
    members: BTreeSet<AgentId>,
    /// Available agents. The first one gets the next lead.
    available: BTreeSet<LoadRank>,
}

/// Order in which agents get leads: the lowest load, then the longest idle time, then the oldest
/// agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LoadRank {
    load: LeadLoad,
    idle_since: Timestamp,
    agent: AgentId,
}

impl AgentPool {
    /// Creates the pool of `agents` as of `now`.
    #[must_use]
    pub fn new(agents: impl IntoIterator<Item = (AgentId, Agent)>, now: Timestamp) -> Self {
        let mut pool = Self {
            as_of: now,
            ..Self::default()
        };
        for (id, agent) in agents {
            pool.add_to_index(id, agent);
        }
        pool
    }

    /// Chooses the agent of `team` for the next lead.
    ///
    /// The first available agent of `preferred` gets the lead, otherwise the agent with the lowest
    /// load by weight. Among equals, the agent with the longest idle time comes first, then the
    /// agent who was added first. This function does not count the lead. See [`AgentPool::assign`].
    pub fn choose_agent(
        &mut self,
        team: &TeamName,
        now: Timestamp,
        preferred: &[(AgentId, AssignmentReason)],
    ) -> Assignment {
        self.advance_to(now);
        let ranks = self.teams.get(team).map(|team| &team.available);
        let first_free = ranks.and_then(BTreeSet::first).map(|rank| rank.agent);
        let can_accept =
            |agent: &Agent| agent.team == *team && agent.unavailable_reason(now).is_none();
        let is_available = |id| self.agent(id).is_some_and(can_accept);
        let preferred_agent = preferred.iter().find(|(id, _)| is_available(*id)).copied();
        let (agent, reason) = match (preferred_agent, first_free) {
            (Some((preferred_id, preferred_reason)), _) => (Some(preferred_id), preferred_reason),
            (None, Some(first)) => (Some(first), AssignmentReason::LeastLoaded),
            (None, None) => (None, AssignmentReason::NoAgentFree),
        };
        let preferred = preferred.first().map(|(id, _)| *id);
        let (candidates, omitted) = self.candidates(team, agent, reason, preferred);
        Assignment {
            agent,
            reason,
            candidates,
            omitted,
        }
    }

    /// Returns the available agents of `team`. The first one would get the next lead.
    pub fn available_agents(&mut self, team: &TeamName, now: Timestamp) -> Vec<AgentName> {
        self.advance_to(now);
        let teams = self.teams.get(team).into_iter();
        let ranks = teams.flat_map(|team| &team.available);
        let agents = ranks.filter_map(|rank| self.agent(rank.agent));
        agents.map(|agent| agent.name.clone()).collect()
    }

    /// Returns `true` if an agent of `team` is available.
    pub fn has_available_agent(&mut self, team: &TeamName, now: Timestamp) -> bool {
        self.advance_to(now);
        let team = self.teams.get(team);
        team.is_some_and(|team| !team.available.is_empty())
    }

    /// Counts one more lead for agent `id`.
    pub fn assign(&mut self, id: AgentId, now: Timestamp) {
        self.update_counts(id, now, |agent| agent.record_assignment(now));
    }

    /// Counts one lead less for agent `id`.
    pub fn unassign(&mut self, id: AgentId, now: Timestamp) {
        self.update_counts(id, now, Agent::record_release);
    }

    /// Returns the agent with this ID.
    #[must_use]
    pub fn agent(&self, id: AgentId) -> Option<&Agent> {
        self.entries.get(&id).map(|entry| &entry.agent)
    }

    /// Returns the ID of the agent with this name who is not removed.
    #[must_use]
    pub fn find_by_name(&self, name: &AgentName) -> Option<AgentId> {
        self.ids_by_name.get(name).copied()
    }

    /// Adds an agent, or replaces the agent with the same ID.
    pub fn insert_agent(&mut self, id: AgentId, agent: Agent, now: Timestamp) {
        self.advance_to(now);
        self.save_original(id);
        self.remove_from_index(id);
        self.add_to_index(id, agent);
    }

    /// Changes an agent by a function, and deletes absences that are over.
    pub fn update_agent(&mut self, id: AgentId, now: Timestamp, change: impl FnOnce(&mut Agent)) {
        self.advance_to(now);
        self.save_original(id);
        if let Some(mut agent) = self.remove_from_index(id) {
            change(&mut agent);
            agent.absences.retain(|absence| absence.to > now);
            self.add_to_index(id, agent);
        }
    }

    /// Returns the agents that changed since the last [`AgentPool::mark_saved`], in their current
    /// state.
    #[must_use]
    pub fn changed_agents(&self) -> Vec<(AgentId, Agent)> {
        let ids = self.originals.keys();
        ids.filter_map(|id| Some((*id, self.agent(*id)?.clone())))
            .collect()
    }

    /// Marks all changes as stored on disk.
    pub fn mark_saved(&mut self) {
        self.originals.clear();
    }

    /// Reverts all changes since the last [`AgentPool::mark_saved`], because the writer aborted the
    /// batch.
    pub fn roll_back(&mut self) {
        let before = std::mem::take(&mut self.originals);
        // Removes all changed agents first, because a name may have moved from one agent to
        // another.
        for id in before.keys() {
            self.remove_from_index(*id);
        }
        for (id, agent) in before {
            if let Some(agent) = agent {
                self.add_to_index(id, agent);
            }
        }
    }

    fn save_original(&mut self, id: AgentId) {
        let entries = &self.entries;
        self.originals
            .entry(id)
            .or_insert_with(|| entries.get(&id).map(|entry| entry.agent.clone()));
    }

    /// Updates the index to `now`.
    fn advance_to(&mut self, now: Timestamp) {
        let clock_went_back = now < self.as_of;
        self.as_of = now;
        if clock_went_back {
            // `upcoming_changes` contains only future changes, so after a clock set back every
            // agent needs a new rank.
            let ids: Vec<AgentId> = self.entries.keys().copied().collect();
            for id in ids {
                self.reindex(id);
            }
        }
        while let Some((at, id)) = self.upcoming_changes.first().copied()
            && at <= now
        {
            // The agent's next change is after `now`, so the loop ends.
            self.reindex(id);
        }
    }

    /// Changes the counts of an agent. Name, team and membership stay the same.
    fn update_counts(&mut self, id: AgentId, now: Timestamp, change: impl FnOnce(&mut Agent)) {
        self.advance_to(now);
        self.save_original(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            change(&mut entry.agent);
            self.reindex(id);
        }
    }

    /// Updates the rank of an agent and the time of the next change.
    fn reindex(&mut self, id: AgentId) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let agent = &entry.agent;
        let is_free = agent.unavailable_reason(self.as_of).is_none();
        let rank = is_free.then(|| LoadRank {
            load: agent.load(),
            idle_since: agent.idle_since,
            agent: id,
        });
        let changes_at = agent.next_change_at(self.as_of);
        if let Some(team) = self.teams.get_mut(&agent.team) {
            if let Some(old) = entry.rank {
                team.available.remove(&old);
            }
            team.available.extend(rank);
        }
        if let Some(old) = entry.next_change_at {
            self.upcoming_changes.remove(&(old, id));
        }
        self.upcoming_changes.extend(changes_at.map(|at| (at, id)));
        (entry.rank, entry.next_change_at) = (rank, changes_at);
    }

    fn add_to_index(&mut self, id: AgentId, agent: Agent) {
        if !agent.is_removed {
            self.ids_by_name.insert(agent.name.clone(), id);
            let team = self.teams.entry(agent.team.clone()).or_default();
            team.members.insert(id);
        }
        let entry = PoolEntry {
            agent,
            rank: None,
            next_change_at: None,
        };
        self.entries.insert(id, entry);
        self.reindex(id);
    }

    /// Removes an agent from all indexes.
    fn remove_from_index(&mut self, id: AgentId) -> Option<Agent> {
        let entry = self.entries.remove(&id)?;
        if let Some(at) = entry.next_change_at {
            self.upcoming_changes.remove(&(at, id));
        }
        if !entry.agent.is_removed {
            self.ids_by_name.remove(&entry.agent.name);
        }
        if let Some(team) = self.teams.get_mut(&entry.agent.team) {
            team.members.remove(&id);
            if let Some(rank) = entry.rank {
                team.available.remove(&rank);
            }
            if team.members.is_empty() {
                self.teams.remove(&entry.agent.team);
            }
        }
        Some(entry.agent)
    }

    /// Returns the candidates, the chosen one first, and the number of agents of the team that are
    /// not listed.
    fn candidates(
        &self,
        team: &TeamName,
        chosen: Option<AgentId>,
        reason: AssignmentReason,
        preferred: Option<AgentId>,
    ) -> (Vec<AgentCandidate>, u32) {
        let empty_team = TeamIndex::default();
        let index = self.teams.get(team).unwrap_or(&empty_team);
        let (members, available) = (&index.members, &index.available);
        let is_small = members.len() <= CANDIDATES_MAX;
        let next_max = if is_small { CANDIDATES_MAX } else { 2 };
        let next = available.iter().map(|rank| rank.agent).take(next_max);
        let lists_members = is_small || chosen.is_none();
        let members_max = if lists_members { CANDIDATES_MAX } else { 0 };
        let others = next.chain(members.iter().copied().take(members_max));
        let mut ids: Vec<AgentId> = Vec::new();
        for id in chosen.into_iter().chain(preferred).chain(others) {
            if ids.len() < CANDIDATES_MAX && !ids.contains(&id) {
                ids.push(id);
            }
        }
        let listed = ids.iter().filter(|id| members.contains(id)).count();
        let omitted = u32::try_from(members.len() - listed).unwrap_or(u32::MAX);
        let chosen_agent = chosen.and_then(|id| self.agent(id));
        let candidates = ids.into_iter().filter_map(|id| {
            let agent = self.agent(id)?;
            let outcome = if Some(id) == chosen {
                CandidateOutcome::Chosen
            } else {
                self.passed_over_outcome(agent, team, chosen_agent, reason)
            };
            Some(AgentCandidate {
                agent: id,
                current_leads: agent.current_leads,
                weight: agent.weight,
                outcome,
            })
        });
        (candidates.collect(), omitted)
    }

    /// Returns the reason why `agent` does not get a lead that goes to `best`, or to no agent.
    fn passed_over_outcome(
        &self,
        agent: &Agent,
        team: &TeamName,
        best: Option<&Agent>,
        reason: AssignmentReason,
    ) -> CandidateOutcome {
        match (agent.unavailable_reason(self.as_of), best) {
            (Some(CandidateOutcome::Removed), _) => CandidateOutcome::Removed,
            _ if agent.team != *team => CandidateOutcome::OtherTeam,
            (Some(unavailable), _) => unavailable,
            _ if reason == AssignmentReason::KnownCustomer => CandidateOutcome::NotTheirCustomer,
            _ if reason == AssignmentReason::Chosen => CandidateOutcome::NotChosen,
            (None, Some(best)) if agent.load() > best.load() => CandidateOutcome::MoreLoaded,
            (None, Some(best)) if agent.idle_since > best.idle_since => {
                CandidateOutcome::WaitedLess
            }
            (None, _) => CandidateOutcome::AddedLater,
        }
    }
}

#[cfg(test)]
mod tests;
