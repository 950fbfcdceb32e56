//! Transactions that create, assign and close leads.
//!
//! See [`super::lead_queue`] for leads that wait for an agent.
//!
//! See [`crate::domain::lead`] and [`crate::domain::lead::agent_pool`] for the choice of the agent.

use crate::domain::ids::{AgentId, AgentName, Customer, FlowName, LeadId, SubmissionId, TeamName};
use crate::domain::lead::{Assignment, AssignmentReason, Lead, LeadState};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Millis;

use super::{customer_agents, customers, lead_queue};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Period after the assignment in which a lead may still move to the customer's previous agent.
///
/// The message that names the customer arrives within seconds. After this period, an agent is
/// already working on the lead.
const REASSIGN_WINDOW: Millis = Millis::from_secs(10 * 60);

/// Data from which the store creates a lead.
#[derive(Clone, Debug)]
pub struct NewLead {
    /// Flow of the submission.
    pub flow: FlowName,
    /// Team whose agents may get the lead.
    pub team: TeamName,
    /// `true` if a known customer returns to their previous agent.
    pub is_sticky: bool,
    /// Customer who filled in the form.
    pub customer: Customer,
    /// Agent whom the customer chose, or whom the form showed.
    pub chosen_agent: Option<AgentName>,
}

/// Closes a lead: its agent can get another one.
#[derive(Debug)]
pub struct CloseLead {
    /// Lead ID.
    pub lead_id: LeadId,
}

/// Assigns a lead to an agent, even if another agent has the lead.
///
/// An assignment by an admin overrides limits and pauses.
#[derive(Debug)]
pub struct AssignLead {
    /// Lead ID.
    pub lead_id: LeadId,
    /// Name of the new agent.
    pub agent: AgentName,
}

/// Assigns waiting leads to agents who became available by time, and then hands over the open leads
/// of removed agents.
///
/// An agent becomes available by time when an absence ends or a new day begins.
#[derive(Debug)]
pub struct AssignWaitingLeads;

/// Result of an admin's change to a lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeadOutcome {
    /// The lead was changed.
    Updated(Lead),
    /// The lead was closed before.
    AlreadyClosed,
    /// No lead has this ID.
    NotFound,
    /// No agent has this name.
    AgentNotFound,
}

impl Transaction for CloseLead {
    type Outcome = LeadOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<LeadOutcome> {
        let Some(mut lead) = ctx.tables.leads.get(self.lead_id)? else {
            return Ok(LeadOutcome::NotFound);
        };
        if lead.state == LeadState::Closed {
            return Ok(LeadOutcome::AlreadyClosed);
        }
        unassign_lead(ctx, self.lead_id, &lead)?;
        lead.state = LeadState::Closed;
        lead.closed_at = Some(ctx.now);
        ctx.tables.leads.put(self.lead_id, &lead)?;
        lead_queue::assign_waiting(ctx, &lead.team, lead_queue::MOVED_LEADS_MAX)?;
        Ok(LeadOutcome::Updated(lead))
    }
}

impl Transaction for AssignLead {
    type Outcome = LeadOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<LeadOutcome> {
        let Some(mut lead) = ctx.tables.leads.get(self.lead_id)? else {
            return Ok(LeadOutcome::NotFound);
        };
        if lead.state == LeadState::Closed {
            return Ok(LeadOutcome::AlreadyClosed);
        }
        let Some(agent) = ctx.state.agent_pool.find_by_name(&self.agent) else {
            return Ok(LeadOutcome::AgentNotFound);
        };
        if lead.agent != Some(agent) {
            let team = lead.team.clone();
            unassign_lead(ctx, self.lead_id, &lead)?;
            let assignment = Assignment::manual(agent);
            lead_queue::assign_lead(ctx, self.lead_id, &mut lead, agent, assignment)?;
            lead_queue::assign_waiting(ctx, &team, lead_queue::MOVED_LEADS_MAX)?;
        }
        Ok(LeadOutcome::Updated(lead))
    }
}

impl Transaction for AssignWaitingLeads {
    /// Number of leads moved. Any other number than 0 means that further leads may remain.
    type Outcome = usize;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<usize> {
        lead_queue::assign_all_waiting(ctx)
    }
}

/// Creates the lead of `submission` and assigns the lead to the right agent, or lets the lead wait.
pub fn create_lead(
    ctx: &mut WriteContext<'_>,
    new_lead: &NewLead,
    submission: SubmissionId,
) -> StoreResult<(LeadId, Option<AgentName>)> {
    let id = ctx.state.counters.next_lead();
    let pool = &ctx.state.agent_pool;
    let chosen = new_lead
        .chosen_agent
        .as_ref()
        .and_then(|name| pool.find_by_name(name));
    let customer = if new_lead.is_sticky {
        customers::customer_of_submission(ctx, submission, &new_lead.customer)?
    } else {
        Customer::default()
    };
    let previous_agent = customer_agents::find_previous_agent(ctx, &new_lead.flow, &customer)?;
    let preferred: Vec<(AgentId, AssignmentReason)> = [
        (chosen, AssignmentReason::Chosen),
        (previous_agent, AssignmentReason::KnownCustomer),
    ]
    .into_iter()
    .filter_map(|(id, reason)| Some((id?, reason)))
    .collect();
    let pool = &mut ctx.state.agent_pool;
    let mut assignment = pool.choose_agent(&new_lead.team, ctx.now, &preferred);
    // Leads that already wait have priority. A known customer does not wait, but returns to their
    // agent.
    if assignment.reason == AssignmentReason::LeastLoaded
        && lead_queue::find_first_waiting(ctx, &new_lead.team)?.is_some()
    {
        assignment = Assignment::default();
    }
    let mut lead = Lead {
        submission_id: submission,
        flow: new_lead.flow.clone(),
        team: new_lead.team.clone(),
        agent: None,
        state: LeadState::Open,
        created_at: ctx.now,
        assigned_at: None,
        closed_at: None,
        assignment: assignment.clone(),
    };
    if let Some(agent) = assignment.agent {
        lead_queue::assign_lead(ctx, id, &mut lead, agent, assignment)?;
    } else {
        lead_queue::queue_lead(ctx, id, &lead)?;
        lead_queue::emit_event(ctx, id, &lead)?;
    }
    if new_lead.is_sticky {
        match lead.agent {
            Some(agent) if !customer.is_unknown() => {
                customer_agents::record_customer_agent(ctx, &new_lead.flow, &customer, agent, id)?;
            }
            _ => customer_agents::await_customer(ctx, submission, id)?,
        }
    }
    let agent = lead
        .agent
        .and_then(|agent| ctx.state.agent_pool.agent(agent));
    Ok((id, agent.map(|agent| agent.name.clone())))
}

/// Removes an open lead from its agent, or from the waiting queue. The caller writes the row of the
/// lead.
fn unassign_lead(ctx: &mut WriteContext<'_>, id: LeadId, lead: &Lead) -> StoreResult<()> {
    match lead.agent {
        Some(agent) => {
            ctx.tables.open_leads.remove((agent, id))?;
            ctx.state.agent_pool.unassign(agent, ctx.now);
        }
        None => lead_queue::dequeue_lead(ctx, &lead.team, id)?,
    }
    Ok(())
}

/// Handles the first arrival that names the customer of `submission`.
///
/// The lead was assigned without a known customer. If the customer's previous agent is available,
/// the lead moves to this agent. The next lead of this customer goes to the agent who then has the
/// lead.
pub fn on_customer_named(
    ctx: &mut WriteContext<'_>,
    submission: SubmissionId,
    flow: &FlowName,
    customer: &Customer,
) -> StoreResult<()> {
    if customer.is_unknown() {
        return Ok(());
    }
    let key = IdempotencyKey::for_unnamed_customer(submission);
    let Some((_, id, _)) = ctx.tables.customer_agents.get(key.as_bytes())? else {
        return Ok(());
    };
    let Some(mut lead) = ctx.tables.leads.get(id)? else {
        return Ok(());
    };
    // `assign_waiting` looks up the customer of a waiting lead.
    if lead.agent.is_none() {
        return Ok(());
    }
    if let Some(previous_agent) = customer_agents::find_previous_agent(ctx, flow, customer)? {
        reassign_to_previous_agent(ctx, id, &mut lead, previous_agent)?;
    }
    ctx.tables.customer_agents.remove(key.as_bytes())?;
    match lead.agent {
        Some(agent) => customer_agents::record_customer_agent(ctx, flow, customer, agent, id),
        None => Ok(()),
    }
}

/// Moves a recently assigned lead to the customer's previous agent, if this agent is available.
fn reassign_to_previous_agent(
    ctx: &mut WriteContext<'_>,
    id: LeadId,
    lead: &mut Lead,
    previous_agent: AgentId,
) -> StoreResult<()> {
    let is_least_loaded =
        lead.state == LeadState::Open && lead.assignment.reason == AssignmentReason::LeastLoaded;
    let is_fresh = lead
        .assigned_at
        .is_some_and(|at| ctx.now.since(at) <= REASSIGN_WINDOW);
    if !is_least_loaded || !is_fresh || lead.agent == Some(previous_agent) {
        return Ok(());
    }
    let preferred = [(previous_agent, AssignmentReason::KnownCustomer)];
    let pool = &mut ctx.state.agent_pool;
    let assignment = pool.choose_agent(&lead.team, ctx.now, &preferred);
    if assignment.agent == Some(previous_agent)
        && assignment.reason == AssignmentReason::KnownCustomer
    {
        unassign_lead(ctx, id, lead)?;
        lead_queue::assign_lead(ctx, id, lead, previous_agent, assignment)?;
        // The former agent of the lead has capacity for one lead.
        lead_queue::assign_waiting(ctx, &lead.team, 1)?;
    }
    Ok(())
}
