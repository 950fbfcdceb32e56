//! The roster: all agents, ordered by who gets the next lead.
//!
//! Picking is one look-up in an ordered index, however many agents there are. The writer keeps one roster in memory and
//! writes the agents that changed once for each batch ([`Roster::changed`]); the rows are the truth, and after a
//! restart [`Roster::new`] makes the same roster from them. When an agent can take a lead is `super::lead`'s to say.
//!
//! Absences and caps by day change what an agent can do though nobody touches them. The roster knows for each agent
//! when that is next, and catches up whenever it is told the time.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{AgentId, AgentName, TeamName};
use super::lead::{Agent, CONSIDERED_MAX, Choice, Considered, Load, Reason, Verdict};
use super::time::Timestamp;

/// All agents, removed ones included.
#[derive(Debug, Default)]
pub struct Roster {
    entries: BTreeMap<AgentId, Entry>,
    /// Those who are not removed.
    names: BTreeMap<AgentName, AgentId>,
    teams: BTreeMap<TeamName, Team>,
    /// When time alone changes what an agent can do.
    agenda: BTreeSet<(Timestamp, AgentId)>,
    /// Those who changed since the last [`Roster::keep`], as they were then; `None`: they were not there.
    before: BTreeMap<AgentId, Option<Agent>>,
    /// The time that the index is right for.
    as_of: Timestamp,
}

#[derive(Debug)]
struct Entry {
    agent: Agent,
    /// Their place among those of the team who can take a lead.
    place: Option<Place>,
    /// Their entry in the agenda.
    changes_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Team {
    /// Those who are not removed.
    members: BTreeSet<AgentId>,
    /// Those of them who can take a lead; the first gets the next one.
    free: BTreeSet<Place>,
}

/// The order in which agents get leads: least loaded, then longest waiting, then longest there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    load: Load,
    waiting_since: Timestamp,
    agent: AgentId,
}

impl Roster {
    /// The roster of `agents`, as of `now`.
    #[must_use]
    pub fn new(agents: impl IntoIterator<Item = (AgentId, Agent)>, now: Timestamp) -> Self {
        let mut roster = Self { as_of: now, ..Self::default() };
        for (id, agent) in agents {
            roster.enter(id, agent);
        }
        roster
    }

    /// Who of `team` gets the next lead: the first of `preferred` who can take it, otherwise the least loaded for their
    /// weight, of equals the one who waited longest, of equals still the one who was added first.
    ///
    /// Nothing is counted yet: [`Roster::take`] does that.
    pub fn pick(&mut self, team: &TeamName, now: Timestamp, preferred: &[(AgentId, Reason)]) -> Choice {
        self.catch_up(now);
        let first_free = self.teams.get(team).and_then(|team| team.free.first()).map(|place| place.agent);
        let can = |id| self.get(id).is_some_and(|agent| agent.team == *team && agent.obstacle(now).is_none());
        let wanted = preferred.iter().find(|(id, _)| can(*id)).copied();
        let (agent, reason) = match (wanted, first_free) {
            (Some((wanted, why)), _) => (Some(wanted), why),
            (None, Some(first)) => (Some(first), Reason::LeastLoaded),
            (None, None) => (None, Reason::NobodyFree),
        };
        let preferred = preferred.first().map(|(id, _)| *id);
        let (considered, more) = self.considered(team, agent, reason, preferred);
        Choice { agent, reason, considered, more }
    }

    /// Those of `team` who can take a lead, the one who would get the next first.
    pub fn free(&mut self, team: &TeamName, now: Timestamp) -> Vec<AgentName> {
        self.catch_up(now);
        let places = self.teams.get(team).into_iter().flat_map(|team| &team.free);
        places.filter_map(|place| self.get(place.agent)).map(|agent| agent.name.clone()).collect()
    }

    /// Whether anybody of `team` can take a lead.
    pub fn has_free(&mut self, team: &TeamName, now: Timestamp) -> bool {
        self.catch_up(now);
        self.teams.get(team).is_some_and(|team| !team.free.is_empty())
    }

    /// Counts one more lead for `id`.
    pub fn take(&mut self, id: AgentId, now: Timestamp) {
        self.count(id, now, |agent| agent.take(now));
    }

    /// Counts one lead less for `id`.
    pub fn release(&mut self, id: AgentId, now: Timestamp) {
        self.count(id, now, Agent::release);
    }

    /// One agent.
    #[must_use]
    pub fn get(&self, id: AgentId) -> Option<&Agent> {
        self.entries.get(&id).map(|entry| &entry.agent)
    }

    /// The agent of this name who is not removed.
    #[must_use]
    pub fn by_name(&self, name: &AgentName) -> Option<AgentId> {
        self.names.get(name).copied()
    }

    /// Adds an agent, in the place of the one with the same id if there is one.
    pub fn insert(&mut self, id: AgentId, agent: Agent, now: Timestamp) {
        self.catch_up(now);
        self.remember(id);
        self.leave(id);
        self.enter(id, agent);
    }

    /// Changes anything about an agent. Absences that are over are forgotten.
    pub fn change(&mut self, id: AgentId, now: Timestamp, change: impl FnOnce(&mut Agent)) {
        self.catch_up(now);
        self.remember(id);
        if let Some(mut agent) = self.leave(id) {
            change(&mut agent);
            agent.absences.retain(|absence| absence.to > now);
            self.enter(id, agent);
        }
    }

    /// Those who changed since the last [`Roster::keep`], as they are now.
    #[must_use]
    pub fn changed(&self) -> Vec<(AgentId, Agent)> {
        self.before.keys().filter_map(|id| Some((*id, self.get(*id)?.clone()))).collect()
    }

    /// What changed is on disk.
    pub fn keep(&mut self) {
        self.before.clear();
    }

    /// What changed since the last [`Roster::keep`] came to nothing.
    pub fn undo(&mut self) {
        let before = std::mem::take(&mut self.before);
        // First all of them: a name may have gone from one to another.
        for id in before.keys() {
            self.leave(*id);
        }
        for (id, agent) in before {
            if let Some(agent) = agent {
                self.enter(id, agent);
            }
        }
    }

    fn remember(&mut self, id: AgentId) {
        let entries = &self.entries;
        self.before.entry(id).or_insert_with(|| entries.get(&id).map(|entry| entry.agent.clone()));
    }

    /// Brings the index to `now`.
    fn catch_up(&mut self, now: Timestamp) {
        let went_back = now < self.as_of;
        self.as_of = now;
        if went_back {
            // The agenda tells what lies ahead only.
            let ids: Vec<AgentId> = self.entries.keys().copied().collect();
            for id in ids {
                self.place(id);
            }
        }
        while let Some((at, id)) = self.agenda.first().copied()
            && at <= now
        {
            // Whatever they have on the agenda next lies after now, so this comes to an end.
            self.place(id);
        }
    }

    /// Changes the counts of an agent: name, team and membership stay.
    fn count(&mut self, id: AgentId, now: Timestamp, change: impl FnOnce(&mut Agent)) {
        self.catch_up(now);
        self.remember(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            change(&mut entry.agent);
            self.place(id);
        }
    }

    /// Puts an agent where they belong as of now.
    fn place(&mut self, id: AgentId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let agent = &entry.agent;
        let is_free = agent.obstacle(self.as_of).is_none();
        let place = is_free.then(|| Place { load: agent.load(), waiting_since: agent.waiting_since, agent: id });
        let changes_at = agent.changes_at(self.as_of);
        if let Some(team) = self.teams.get_mut(&agent.team) {
            if let Some(old) = entry.place {
                team.free.remove(&old);
            }
            team.free.extend(place);
        }
        if let Some(old) = entry.changes_at {
            self.agenda.remove(&(old, id));
        }
        self.agenda.extend(changes_at.map(|at| (at, id)));
        (entry.place, entry.changes_at) = (place, changes_at);
    }

    fn enter(&mut self, id: AgentId, agent: Agent) {
        if !agent.removed {
            self.names.insert(agent.name.clone(), id);
            self.teams.entry(agent.team.clone()).or_default().members.insert(id);
        }
        self.entries.insert(id, Entry { agent, place: None, changes_at: None });
        self.place(id);
    }

    /// Takes an agent out of everything.
    fn leave(&mut self, id: AgentId) -> Option<Agent> {
        let entry = self.entries.remove(&id)?;
        if let Some(at) = entry.changes_at {
            self.agenda.remove(&(at, id));
        }
        if !entry.agent.removed {
            self.names.remove(&entry.agent.name);
        }
        if let Some(team) = self.teams.get_mut(&entry.agent.team) {
            team.members.remove(&id);
            if let Some(place) = entry.place {
                team.free.remove(&place);
            }
            if team.members.is_empty() {
                self.teams.remove(&entry.agent.team);
            }
        }
        Some(entry.agent)
    }

    /// Whom to tell of, the chosen one first, and how many of the team are not told of.
    fn considered(
        &self,
        team: &TeamName,
        chosen: Option<AgentId>,
        reason: Reason,
        preferred: Option<AgentId>,
    ) -> (Vec<Considered>, u32) {
        let nobody = Team::default();
        let members = self.teams.get(team).unwrap_or(&nobody);
        let is_small = members.members.len() <= CONSIDERED_MAX;
        let in_order = members.free.iter().map(|place| place.agent);
        let mut ids: Vec<AgentId> = Vec::new();
        let mut tell = |id: AgentId| {
            if ids.len() < CONSIDERED_MAX && !ids.contains(&id) {
                ids.push(id);
            }
        };
        chosen.into_iter().chain(preferred).for_each(&mut tell);
        in_order.take(if is_small { CONSIDERED_MAX } else { 2 }).for_each(&mut tell);
        if is_small || chosen.is_none() {
            members.members.iter().copied().take(CONSIDERED_MAX).for_each(&mut tell);
        }
        let told = ids.iter().filter(|id| members.members.contains(id)).count();
        let more = u32::try_from(members.members.len() - told).unwrap_or(u32::MAX);
        let best = chosen.and_then(|id| self.get(id));
        let considered = ids.into_iter().filter_map(|id| {
            let agent = self.get(id)?;
            let verdict =
                if Some(id) == chosen { Verdict::Chosen } else { self.passed_over(agent, team, best, reason) };
            Some(Considered { agent: id, current: agent.current, weight: agent.weight, verdict })
        });
        (considered.collect(), more)
    }

    /// Why `agent` does not get a lead that goes to `best`, or to nobody.
    fn passed_over(&self, agent: &Agent, team: &TeamName, best: Option<&Agent>, reason: Reason) -> Verdict {
        match (agent.obstacle(self.as_of), best) {
            (Some(Verdict::Removed), _) => Verdict::Removed,
            _ if agent.team != *team => Verdict::OtherTeam,
            (Some(obstacle), _) => obstacle,
            _ if reason == Reason::KnownCustomer => Verdict::NotTheirCustomer,
            _ if reason == Reason::Chosen => Verdict::NotChosen,
            (None, Some(best)) if agent.load() > best.load() => Verdict::MoreLoaded,
            (None, Some(best)) if agent.waiting_since > best.waiting_since => Verdict::WaitedLess,
            (None, _) => Verdict::AddedLater,
        }
    }
}

#[cfg(test)]
mod tests;
