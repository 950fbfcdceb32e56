//! Checks leads and agents.

use crate::domain::ids::{AgentId, LeadId};
use crate::domain::lead::LeadState;

use super::slices::{IntegrityReport, for_each_row, for_each_value};
use crate::store::engine::Rows;
use crate::store::rows::schema::{
    AGENTS, CUSTOMER_AGENTS, JOBS, LEADS, OPEN_LEADS, PENDING_HANDOVERS, SUBMISSIONS, WAITING_LEADS,
};
use crate::store::{Store, StoreResult};

pub(super) fn check_leads(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    for_each_value(store, report, LEADS, |slice, id, lead| {
        let location = || format!("lead {id}");
        let is_open = lead.state == LeadState::Open;
        if let Some(agent) = lead.agent {
            let listed = slice.has_row(OPEN_LEADS, (agent, id))?;
            slice.require(
                listed == is_open,
                "an agent's list of open leads contains the lead exactly while it is open",
                location,
            );
        } else {
            let listed = slice.has_row(WAITING_LEADS, (lead.team.as_str(), id))?;
            slice.require(
                listed == is_open,
                "an open lead without an agent is in the waiting queue",
                location,
            );
        }
        let owner = slice.find(SUBMISSIONS, lead.submission_id)?;
        let job = match owner {
            Some(owner) => slice.find(JOBS, owner.job_id)?,
            None => None,
        };
        slice.require(
            job.is_some_and(|job| job.lead_id == Some(id)),
            "every lead is the one lead of its submission",
            location,
        );
        Ok(())
    })?;
    for_each_row(store, report, OPEN_LEADS, |slice, row| {
        let (agent, id) = row.key();
        let lead = slice.find(LEADS, id)?;
        let theirs =
            lead.is_some_and(|lead| lead.state == LeadState::Open && lead.agent == Some(agent));
        slice.require(
            theirs,
            "an agent's list of open leads holds only open leads of that agent",
            || format!("agent {agent}, lead {id}"),
        );
        Ok(())
    })?;
    for_each_row(store, report, WAITING_LEADS, |slice, row| {
        let (team, id) = row.key();
        let lead = slice.find(LEADS, id)?;
        let waits = lead.is_some_and(|lead| {
            lead.state == LeadState::Open && lead.agent.is_none() && lead.team.as_str() == team
        });
        slice.require(
            waits,
            "the waiting queue holds only open leads without an agent",
            || format!("team {team}, lead {id}"),
        );
        Ok(())
    })
}

pub(super) fn check_agents(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    for_each_value(store, report, AGENTS, |slice, id, agent| {
        let open_count = slice
            .txn
            .open(OPEN_LEADS)?
            .range((id, LeadId::MIN)..=(id, LeadId::MAX))?
            .count();
        slice.require(
            usize::try_from(agent.current_leads) == Ok(open_count),
            "an agent's lead count equals the number of their open leads",
            || {
                format!(
                    "agent {id}: counts {}, has {open_count}",
                    agent.current_leads
                )
            },
        );
        let is_leaving = slice.has_row(PENDING_HANDOVERS, id)?;
        slice.require(
            if agent.is_removed {
                open_count == 0 || is_leaving
            } else {
                !is_leaving
            },
            "only removed agents have a pending handover, and every removed agent with open leads has one",
            || format!("agent {id}"),
        );
        Ok(())
    })?;
    for_each_value(
        store,
        report,
        CUSTOMER_AGENTS,
        |slice, key, (agent, _, _)| {
            let is_there = agent == AgentId::MIN || slice.has_row(AGENTS, agent)?;
            slice.require(is_there, "the last agent of a customer exists", || {
                format!("customer {key:02x?}, agent {agent}")
            });
            Ok(())
        },
    )
}
