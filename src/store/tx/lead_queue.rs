//! Assigns the leads that wait for an agent, and hands over the open leads of removed agents.
//!
//! See [`super::leads`] for new leads, and [`crate::domain::lead`] for the choice of the agent.

use crate::domain::ids::{AgentId, LeadId, TeamName};
use crate::domain::lead::{Assignment, AssignmentReason, Lead};

use super::{customer_agents, events};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::tallies::Tally;
use crate::store::writer::write_context::WriteContext;

/// Maximum number of leads that one transaction assigns or hands over. The next
/// [`super::leads::AssignWaitingLeads`] continues.
pub const MOVED_LEADS_MAX: usize = 256;

/// Assigns waiting leads of all teams to available agents, then hands over the open leads of
/// removed agents.
///
/// Moves at most [`MOVED_LEADS_MAX`] leads in total and returns the number of leads moved.
pub fn assign_all_waiting(ctx: &mut WriteContext<'_>) -> StoreResult<usize> {
    let mut remaining = MOVED_LEADS_MAX;
    let mut after: Option<String> = None;
    while remaining > 0 {
        let Some(name) = find_next_waiting_team(ctx, after.as_deref())? else {
            break;
        };
        if let Ok(team) = TeamName::new(&name) {
            remaining = remaining.saturating_sub(assign_waiting(ctx, &team, remaining)?);
        }
        after = Some(name);
    }
    // Waiting leads have priority. No lead is handed over while a waiting lead may still find an
    // agent.
    remaining = remaining.saturating_sub(hand_over_leads(ctx, remaining)?);
    Ok(MOVED_LEADS_MAX.saturating_sub(remaining))
}

/// Assigns at most `max_leads` waiting leads of `team` to available agents, oldest first. Returns
/// the number of leads removed from the queue.
///
/// An unreadable lead also leaves the queue. Without this, the lead would block its team forever.
pub fn assign_waiting(
    ctx: &mut WriteContext<'_>,
    team: &TeamName,
    max_leads: usize,
) -> StoreResult<usize> {
    for moved in 0..max_leads {
        let Some(id) = find_first_waiting(ctx, team)? else {
            return Ok(moved);
        };
        if !ctx.state.agent_pool.has_available_agent(team, ctx.now) {
            return Ok(moved);
        }
        let Some(mut lead) = skip_unreadable(ctx.tables.leads.require(id), id)? else {
            dequeue_lead(ctx, team, id)?;
            continue;
        };
        let awaited = customer_agents::find_awaited_customer(ctx, lead.submission_id);
        let customer = skip_unreadable(awaited, id)?.flatten();
        let previous_agent = match &customer {
            Some(customer) => customer_agents::find_previous_agent(ctx, &lead.flow, customer)?,
            None => None,
        };
        let preferred = previous_agent.map(|agent| (agent, AssignmentReason::KnownCustomer));
        let pool = &mut ctx.state.agent_pool;
        let assignment = pool.choose_agent(team, ctx.now, preferred.as_slice());
        let Some(agent) = assignment.agent else {
            return Ok(moved);
        };
        dequeue_lead(ctx, team, id)?;
        assign_lead(ctx, id, &mut lead, agent, assignment)?;
        if let Some(customer) = customer {
            customer_agents::drop_unknown_customer(ctx, lead.submission_id)?;
            customer_agents::record_customer_agent(ctx, &lead.flow, &customer, agent, id)?;
        }
    }
    Ok(max_leads)
}

/// Records that the open leads of a removed agent must be handed over. See [`assign_all_waiting`].
pub fn start_handover(ctx: &mut WriteContext<'_>, agent: AgentId) -> StoreResult<()> {
    ctx.tables.pending_handovers.add(agent)?;
    Ok(())
}

/// Hands over at most `max_leads` open leads of removed agents to other agents. Returns the number
/// of leads moved.
///
/// A lead waits if no agent of its team is available.
fn hand_over_leads(ctx: &mut WriteContext<'_>, max_leads: usize) -> StoreResult<usize> {
    let mut moved = 0;
    while moved < max_leads {
        let Some(removed_agent) = ctx.tables.pending_handovers.first()?.map(|row| row.key()) else {
            break;
        };
        let Some(id) = find_first_open(ctx, removed_agent)? else {
            ctx.tables.pending_handovers.remove(removed_agent)?;
            continue;
        };
        moved += 1;
        ctx.tables.open_leads.remove((removed_agent, id))?;
        ctx.state.agent_pool.unassign(removed_agent, ctx.now);
        let Some(mut lead) = skip_unreadable(ctx.tables.leads.require(id), id)?
            .filter(|lead| lead.agent == Some(removed_agent))
        else {
            continue;
        };
        (lead.agent, lead.assigned_at) = (None, None);
        let assignment = ctx.state.agent_pool.choose_agent(&lead.team, ctx.now, &[]);
        if let Some(agent) = assignment.agent {
            assign_lead(ctx, id, &mut lead, agent, assignment)?;
        } else {
            lead.assignment = assignment;
            queue_lead(ctx, id, &lead)?;
            emit_event(ctx, id, &lead)?;
        }
    }
    Ok(moved)
}

/// Returns the row, or `None` with a log line if the row is unreadable. A damaged row must not
/// block other rows.
fn skip_unreadable<T>(row: StoreResult<T>, lead: LeadId) -> StoreResult<Option<T>> {
    match row {
        Err(error) if error.affects_one_row() => {
            tracing::error!(
                lead.id = lead.get(), error = %error,
                "row of an open lead is unreadable and skipped: run `flowgate check`"
            );
            Ok(None)
        }
        row => row.map(Some),
    }
}

/// Adds an open lead without an agent to the waiting queue. The caller emits the event.
pub fn queue_lead(ctx: &mut WriteContext<'_>, id: LeadId, lead: &Lead) -> StoreResult<()> {
    if ctx.tables.waiting_leads.add((lead.team.as_str(), id))? {
        ctx.tallies.increment(Tally::Leads, lead.team.as_str());
    }
    ctx.tables.leads.put(id, lead)?;
    Ok(())
}

/// Assigns an open lead to `agent`.
pub fn assign_lead(
    ctx: &mut WriteContext<'_>,
    id: LeadId,
    lead: &mut Lead,
    agent: AgentId,
    assignment: Assignment,
) -> StoreResult<()> {
    ctx.state.agent_pool.assign(agent, ctx.now);
    ctx.tables.open_leads.add((agent, id))?;
    lead.agent = Some(agent);
    lead.assigned_at = Some(ctx.now);
    lead.assignment = assignment;
    ctx.tables.leads.put(id, lead)?;
    emit_event(ctx, id, lead)
}

/// Emits the event that a lead was assigned or waits.
///
/// The function continues without an event if the submission of the lead is unreadable.
pub fn emit_event(ctx: &mut WriteContext<'_>, id: LeadId, lead: &Lead) -> StoreResult<()> {
    // `emit_lead_event` reads all rows before its first write.
    skip_unreadable(events::emit_lead_event(ctx, id, lead), id).map(|_| ())
}

/// Removes a lead from the waiting queue.
pub fn dequeue_lead(ctx: &mut WriteContext<'_>, team: &TeamName, id: LeadId) -> StoreResult<()> {
    if ctx.tables.waiting_leads.remove((team.as_str(), id))? {
        ctx.tallies.decrement(Tally::Leads, team.as_str());
    }
    Ok(())
}

pub fn find_first_waiting(ctx: &WriteContext<'_>, team: &TeamName) -> StoreResult<Option<LeadId>> {
    let team = team.as_str();
    let range = (team, LeadId::MIN)..=(team, LeadId::MAX);
    let mut rows = ctx.tables.waiting_leads.range(range)?;
    Ok(rows.next().transpose()?.map(|row| row.key().1))
}

fn find_first_open(ctx: &WriteContext<'_>, agent: AgentId) -> StoreResult<Option<LeadId>> {
    let range = (agent, LeadId::MIN)..=(agent, LeadId::MAX);
    let mut rows = ctx.tables.open_leads.range(range)?;
    Ok(rows.next().transpose()?.map(|row| row.key().1))
}

fn find_next_waiting_team(
    ctx: &WriteContext<'_>,
    after: Option<&str>,
) -> StoreResult<Option<String>> {
    use std::ops::Bound::{Excluded, Unbounded};
    let from = after.map_or(Unbounded, |team| Excluded((team, LeadId::MAX)));
    let mut rows = ctx.tables.waiting_leads.range((from, Unbounded))?;
    Ok(rows.next().transpose()?.map(|row| row.key().0.to_owned()))
}
