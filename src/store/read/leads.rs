//! Reads leads and agents.

use crate::domain::ids::{AgentId, LeadId, TeamName};
use crate::domain::lead::{Agent, Lead};

use super::Snapshot;
use crate::store::StoreResult;
use crate::store::rows::schema::{AGENTS, LEADS};
use crate::store::rows::tallies::Tally;

impl Snapshot {
    /// Returns a lead. Returns `None` if no lead has this ID.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn lead(&self, id: LeadId) -> StoreResult<Option<Lead>> {
        self.get_row(LEADS, id)
    }

    /// Lists the teams with waiting leads, and the number of waiting leads of each team.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn waiting_leads_by_team(&self) -> StoreResult<Vec<(TeamName, u64)>> {
        self.tally_by_team(Tally::Leads)
    }

    /// Lists the teams with agents who are not removed, and the number of such agents.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn agents_by_team(&self) -> StoreResult<Vec<(TeamName, u64)>> {
        self.tally_by_team(Tally::Agents)
    }

    fn tally_by_team(&self, tally: Tally) -> StoreResult<Vec<(TeamName, u64)>> {
        let sums = self.read_tally(tally)?.into_iter();
        Ok(sums
            .filter_map(|(team, sum)| Some((TeamName::new(&team).ok()?, sum)))
            .collect())
    }

    /// Returns an agent. Returns `None` if no agent has this ID.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn agent(&self, id: AgentId) -> StoreResult<Option<Agent>> {
        self.get_row(AGENTS, id)
    }

    /// Lists all readable agents in the order of their creation, including removed ones.
    ///
    /// # Errors
    /// [`crate::store::StoreError`] if the table is unreadable.
    pub fn agents(&self) -> StoreResult<Vec<(AgentId, Agent)>> {
        let rows = self.list_all_rows::<Agent>()?.into_iter().rev();
        Ok(rows
            .filter_map(|(id, agent)| Some((AgentId::new(id), agent.ok()?)))
            .collect())
    }
}
