//! Transactions that create, assign, close and hand over leads.
//!
//! Leads without an available agent wait in order. An agent who becomes available gets the oldest
//! waiting lead.
//!
//! See [`crate::domain::lead`] and [`crate::domain::lead::agent_pool`] for the choice of the agent.

use redb::ReadableTable;

use crate::domain::ids::{AgentId, AgentName, Customer, FlowName, LeadId, SubmissionId, TeamName};
use crate::domain::lead::{Assignment, AssignmentReason, Lead, LeadState};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Millis;

use super::{accept, events, late_arrivals};
use crate::store::rows::codec;
use crate::store::rows::retention_queue::{self, RetentionQueue};
use crate::store::rows::tallies::Tally;
use crate::store::writer::write_context::{Transaction, WriteContext};
use crate::store::{RowProblem, StoreError};

/// Period after the assignment in which a lead may still move to the customer's previous agent.
///
/// The message that names the customer arrives within seconds. After this period, an agent is
/// already working on the lead.
const REASSIGN_WINDOW: Millis = Millis::from_secs(10 * 60);

/// Maximum number of leads that one transaction assigns or hands over. The next
/// [`AssignWaitingLeads`] continues.
pub(in crate::store) const MOVED_LEADS_MAX: usize = 256;

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

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<LeadOutcome, StoreError> {
        let Some(mut lead) = find_lead(ctx, self.lead_id)? else {
            return Ok(LeadOutcome::NotFound);
        };
        if lead.state == LeadState::Closed {
            return Ok(LeadOutcome::AlreadyClosed);
        }
        unassign_lead(ctx, self.lead_id, &lead)?;
        lead.state = LeadState::Closed;
        lead.closed_at = Some(ctx.now);
        put_lead(ctx, self.lead_id, &lead)?;
        assign_waiting(ctx, &lead.team, MOVED_LEADS_MAX)?;
        Ok(LeadOutcome::Updated(lead))
    }
}

impl Transaction for AssignLead {
    type Outcome = LeadOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<LeadOutcome, StoreError> {
        let Some(mut lead) = find_lead(ctx, self.lead_id)? else {
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
            assign_lead(
                ctx,
                self.lead_id,
                &mut lead,
                agent,
                Assignment::manual(agent),
            )?;
            assign_waiting(ctx, &team, MOVED_LEADS_MAX)?;
        }
        Ok(LeadOutcome::Updated(lead))
    }
}

impl Transaction for AssignWaitingLeads {
    /// Number of leads moved. Any other number than 0 means that further leads may remain.
    type Outcome = usize;

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<usize, StoreError> {
        assign_all_waiting(ctx)
    }
}

/// Creates the lead of `submission` and assigns the lead to the right agent, or lets the lead wait.
pub(in crate::store) fn create_lead(
    ctx: &mut WriteContext<'_, '_>,
    new_lead: &NewLead,
    submission: SubmissionId,
) -> Result<(LeadId, Option<AgentName>), StoreError> {
    let id = ctx.state.counters.next_lead();
    let chosen = new_lead
        .chosen_agent
        .as_ref()
        .and_then(|name| ctx.state.agent_pool.find_by_name(name));
    let customer = if new_lead.is_sticky {
        late_arrivals::customer_of_submission(ctx, submission, &new_lead.customer)?
    } else {
        Customer::default()
    };
    let previous_agent = find_previous_agent(ctx, &new_lead.flow, &customer)?;
    let preferred: Vec<(AgentId, AssignmentReason)> = [
        (chosen, AssignmentReason::Chosen),
        (previous_agent, AssignmentReason::KnownCustomer),
    ]
    .into_iter()
    .filter_map(|(id, reason)| Some((id?, reason)))
    .collect();
    let mut assignment = ctx
        .state
        .agent_pool
        .choose_agent(&new_lead.team, ctx.now, &preferred);
    // Leads that already wait have priority. A known customer does not wait, but returns to their
    // agent.
    if assignment.reason == AssignmentReason::LeastLoaded
        && find_first_waiting(ctx, &new_lead.team)?.is_some()
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
        assign_lead(ctx, id, &mut lead, agent, assignment)?;
    } else {
        queue_lead(ctx, id, &lead)?;
        emit_event(ctx, id, &lead)?;
    }
    if new_lead.is_sticky {
        match lead.agent {
            Some(agent) if !customer.is_unknown() => {
                record_customer_agent(ctx, &new_lead.flow, &customer, agent, id)?;
            }
            _ => await_customer(ctx, submission, id)?,
        }
    }
    Ok((
        id,
        lead.agent.and_then(|agent| {
            ctx.state
                .agent_pool
                .agent(agent)
                .map(|agent| agent.name.clone())
        }),
    ))
}

/// Assigns waiting leads of all teams to available agents, then hands over the open leads of
/// removed agents.
///
/// Moves at most [`MOVED_LEADS_MAX`] leads in total and returns the number of leads moved.
pub(in crate::store) fn assign_all_waiting(
    ctx: &mut WriteContext<'_, '_>,
) -> Result<usize, StoreError> {
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
pub(in crate::store) fn assign_waiting(
    ctx: &mut WriteContext<'_, '_>,
    team: &TeamName,
    max_leads: usize,
) -> Result<usize, StoreError> {
    for moved in 0..max_leads {
        let Some(id) = find_first_waiting(ctx, team)? else {
            return Ok(moved);
        };
        if !ctx.state.agent_pool.has_available_agent(team, ctx.now) {
            return Ok(moved);
        }
        let Some(mut lead) = skip_unreadable(get_lead(ctx, id), id)? else {
            dequeue_lead(ctx, team, id)?;
            continue;
        };
        let customer =
            skip_unreadable(find_awaited_customer(ctx, lead.submission_id), id)?.flatten();
        let previous_agent = customer
            .as_ref()
            .map(|customer| find_previous_agent(ctx, &lead.flow, customer))
            .transpose()?
            .flatten();
        let preferred: Vec<_> = previous_agent
            .map(|agent| (agent, AssignmentReason::KnownCustomer))
            .into_iter()
            .collect();
        let assignment = ctx.state.agent_pool.choose_agent(team, ctx.now, &preferred);
        let Some(agent) = assignment.agent else {
            return Ok(moved);
        };
        dequeue_lead(ctx, team, id)?;
        assign_lead(ctx, id, &mut lead, agent, assignment)?;
        if let Some(customer) = customer {
            drop_unknown_customer(ctx, lead.submission_id)?;
            record_customer_agent(ctx, &lead.flow, &customer, agent, id)?;
        }
    }
    Ok(max_leads)
}

/// Records that the open leads of a removed agent must be handed over. See [`assign_all_waiting`].
pub(in crate::store) fn start_handover(
    ctx: &mut WriteContext<'_, '_>,
    agent: AgentId,
) -> Result<(), StoreError> {
    ctx.tables.pending_handovers.insert(agent.get(), ())?;
    ctx.is_dirty = true;
    Ok(())
}

/// Hands over at most `max_leads` open leads of removed agents to other agents. Returns the number
/// of leads moved.
///
/// A lead waits if no agent of its team is available.
fn hand_over_leads(ctx: &mut WriteContext<'_, '_>, max_leads: usize) -> Result<usize, StoreError> {
    let mut moved = 0;
    while moved < max_leads {
        let departing = ctx
            .tables
            .pending_handovers
            .first()?
            .map(|(id, _)| AgentId::new(id.value()));
        let Some(removed_agent) = departing else {
            break;
        };
        let Some(id) = find_first_open(ctx, removed_agent)? else {
            ctx.tables.pending_handovers.remove(removed_agent.get())?;
            ctx.is_dirty = true;
            continue;
        };
        moved += 1;
        ctx.tables
            .open_leads
            .remove((removed_agent.get(), id.get()))?;
        ctx.state.agent_pool.unassign(removed_agent, ctx.now);
        ctx.is_dirty = true;
        let Some(mut lead) = skip_unreadable(get_lead(ctx, id), id)?
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
fn skip_unreadable<T>(row: Result<T, StoreError>, lead: LeadId) -> Result<Option<T>, StoreError> {
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
fn queue_lead(ctx: &mut WriteContext<'_, '_>, id: LeadId, lead: &Lead) -> Result<(), StoreError> {
    if ctx
        .tables
        .waiting_leads
        .insert((lead.team.as_str(), id.get()), ())?
        .is_none()
    {
        ctx.tallies.increment(Tally::Leads, lead.team.as_str());
    }
    put_lead(ctx, id, lead)
}

/// Assigns an open lead to `agent`.
fn assign_lead(
    ctx: &mut WriteContext<'_, '_>,
    id: LeadId,
    lead: &mut Lead,
    agent: AgentId,
    assignment: Assignment,
) -> Result<(), StoreError> {
    ctx.state.agent_pool.assign(agent, ctx.now);
    ctx.tables.open_leads.insert((agent.get(), id.get()), ())?;
    lead.agent = Some(agent);
    lead.assigned_at = Some(ctx.now);
    lead.assignment = assignment;
    put_lead(ctx, id, lead)?;
    emit_event(ctx, id, lead)
}

/// Emits the event that a lead was assigned or waits.
///
/// The function continues without an event if the submission of the lead is unreadable.
fn emit_event(ctx: &mut WriteContext<'_, '_>, id: LeadId, lead: &Lead) -> Result<(), StoreError> {
    // `emit_lead_event` reads all rows before its first write.
    skip_unreadable(events::emit_lead_event(ctx, id, lead), id).map(|_| ())
}

/// Removes a lead from the waiting queue.
fn dequeue_lead(
    ctx: &mut WriteContext<'_, '_>,
    team: &TeamName,
    id: LeadId,
) -> Result<(), StoreError> {
    if ctx
        .tables
        .waiting_leads
        .remove((team.as_str(), id.get()))?
        .is_some()
    {
        ctx.tallies.decrement(Tally::Leads, team.as_str());
    }
    ctx.is_dirty = true;
    Ok(())
}

/// Removes an open lead from its agent, or from the waiting queue. The caller writes the row of the
/// lead.
fn unassign_lead(
    ctx: &mut WriteContext<'_, '_>,
    id: LeadId,
    lead: &Lead,
) -> Result<(), StoreError> {
    match lead.agent {
        Some(agent) => {
            ctx.tables.open_leads.remove((agent.get(), id.get()))?;
            ctx.state.agent_pool.unassign(agent, ctx.now);
        }
        None => dequeue_lead(ctx, &lead.team, id)?,
    }
    Ok(())
}

/// Handles the first arrival that names the customer of `submission`.
///
/// The lead was assigned without a known customer. If the customer's previous agent is available,
/// the lead moves to this agent. The next lead of this customer goes to the agent who then has the
/// lead.
pub(in crate::store) fn on_customer_named(
    ctx: &mut WriteContext<'_, '_>,
    submission: SubmissionId,
    flow: &FlowName,
    customer: &Customer,
) -> Result<(), StoreError> {
    if customer.is_unknown() {
        return Ok(());
    }
    let key = IdempotencyKey::for_unnamed_customer(submission);
    let awaiting_lead = ctx
        .tables
        .customer_agents
        .get(key.as_bytes())?
        .map(|row| LeadId::new(row.value().1));
    let Some(id) = awaiting_lead else {
        return Ok(());
    };
    let Some(mut lead) = find_lead(ctx, id)? else {
        return Ok(());
    };
    // `assign_waiting` looks up the customer of a waiting lead.
    if lead.agent.is_none() {
        return Ok(());
    }
    if let Some(previous_agent) = find_previous_agent(ctx, flow, customer)? {
        reassign_to_previous_agent(ctx, id, &mut lead, previous_agent)?;
    }
    ctx.tables.customer_agents.remove(key.as_bytes())?;
    match lead.agent {
        Some(agent) => record_customer_agent(ctx, flow, customer, agent, id),
        None => Ok(()),
    }
}

/// Records that the customer's agent must be stored as soon as both the customer and the agent are
/// known.
fn await_customer(
    ctx: &mut WriteContext<'_, '_>,
    submission: SubmissionId,
    lead: LeadId,
) -> Result<(), StoreError> {
    let key = IdempotencyKey::for_unnamed_customer(submission);
    // The lead itself stores its agent, so the agent ID of this row is 0.
    ctx.tables
        .customer_agents
        .insert(key.as_bytes(), (0, lead.get(), ctx.expiry_now.as_millis()))?;
    Ok(())
}

/// Returns the customer of a lead that was created before its customer was known, or that waited.
/// Returns `None` if no arrival names the customer yet, or if the flow is not sticky.
fn find_awaited_customer(
    ctx: &WriteContext<'_, '_>,
    submission: SubmissionId,
) -> Result<Option<Customer>, StoreError> {
    let key = IdempotencyKey::for_unnamed_customer(submission);
    if ctx.tables.customer_agents.get(key.as_bytes())?.is_none() {
        return Ok(None);
    }
    let first = accept::get_submission(ctx, submission)?.submission.customer;
    let customer = late_arrivals::customer_of_submission(ctx, submission, &first)?;
    Ok(Some(customer).filter(|customer| !customer.is_unknown()))
}

/// Moves a recently assigned lead to the customer's previous agent, if this agent is available.
fn reassign_to_previous_agent(
    ctx: &mut WriteContext<'_, '_>,
    id: LeadId,
    lead: &mut Lead,
    previous_agent: AgentId,
) -> Result<(), StoreError> {
    let is_least_loaded =
        lead.state == LeadState::Open && lead.assignment.reason == AssignmentReason::LeastLoaded;
    let is_fresh = lead
        .assigned_at
        .is_some_and(|at| ctx.now.since(at) <= REASSIGN_WINDOW);
    if !is_least_loaded || !is_fresh || lead.agent == Some(previous_agent) {
        return Ok(());
    }
    let assignment = ctx.state.agent_pool.choose_agent(
        &lead.team,
        ctx.now,
        &[(previous_agent, AssignmentReason::KnownCustomer)],
    );
    if assignment.agent == Some(previous_agent)
        && assignment.reason == AssignmentReason::KnownCustomer
    {
        unassign_lead(ctx, id, lead)?;
        assign_lead(ctx, id, lead, previous_agent, assignment)?;
        // The former agent of the lead has capacity for one lead.
        assign_waiting(ctx, &lead.team, 1)?;
    }
    Ok(())
}

/// Removes the row that waits for the name of the customer of `submission`.
pub(in crate::store) fn drop_unknown_customer(
    ctx: &mut WriteContext<'_, '_>,
    submission: SubmissionId,
) -> Result<(), StoreError> {
    ctx.tables
        .customer_agents
        .remove(IdempotencyKey::for_unnamed_customer(submission).as_bytes())?;
    Ok(())
}

/// Returns the agent who had the last lead of this customer, under any known name of the customer.
fn find_previous_agent(
    ctx: &WriteContext<'_, '_>,
    flow: &FlowName,
    customer: &Customer,
) -> Result<Option<AgentId>, StoreError> {
    for key in customer_keys(flow, customer) {
        if let Some(row) = ctx.tables.customer_agents.get(key.as_bytes())? {
            return Ok(Some(AgentId::new(row.value().0)));
        }
    }
    Ok(None)
}

/// Records the agent of a customer under each name of the customer. The number and the ID of a
/// customer may belong to different customers later.
pub(in crate::store) fn record_customer_agent(
    ctx: &mut WriteContext<'_, '_>,
    flow: &FlowName,
    customer: &Customer,
    agent: AgentId,
    lead: LeadId,
) -> Result<(), StoreError> {
    for key in customer_keys(flow, customer) {
        let row = (agent.get(), lead.get(), ctx.expiry_now.as_millis());
        if ctx
            .tables
            .customer_agents
            .insert(key.as_bytes(), row)?
            .is_none()
        {
            retention_queue::enqueue_row(
                ctx,
                RetentionQueue::Customers,
                retention_queue::row_of_key(key.as_bytes()),
            )?;
        }
    }
    Ok(())
}

fn customer_keys(flow: &FlowName, customer: &Customer) -> impl Iterator<Item = IdempotencyKey> {
    let names = [&customer.id, &customer.phone];
    names
        .into_iter()
        .flatten()
        .map(|name| IdempotencyKey::for_customer(flow, name))
}

fn find_first_waiting(
    ctx: &WriteContext<'_, '_>,
    team: &TeamName,
) -> Result<Option<LeadId>, StoreError> {
    let mut rows = ctx
        .tables
        .waiting_leads
        .range((team.as_str(), 0)..=(team.as_str(), u64::MAX))?;
    Ok(rows
        .next()
        .transpose()?
        .map(|(key, _)| LeadId::new(key.value().1)))
}

fn find_first_open(
    ctx: &WriteContext<'_, '_>,
    agent: AgentId,
) -> Result<Option<LeadId>, StoreError> {
    let mut rows = ctx
        .tables
        .open_leads
        .range((agent.get(), 0)..=(agent.get(), u64::MAX))?;
    Ok(rows
        .next()
        .transpose()?
        .map(|(key, _)| LeadId::new(key.value().1)))
}

fn find_next_waiting_team(
    ctx: &WriteContext<'_, '_>,
    after: Option<&str>,
) -> Result<Option<String>, StoreError> {
    use std::ops::Bound::{Excluded, Unbounded};
    let from = after.map_or(Unbounded, |team| Excluded((team, u64::MAX)));
    let mut rows = ctx
        .tables
        .waiting_leads
        .range::<(&str, u64)>((from, Unbounded))?;
    Ok(rows
        .next()
        .transpose()?
        .map(|(key, _)| key.value().0.to_owned()))
}

fn put_lead(ctx: &mut WriteContext<'_, '_>, id: LeadId, lead: &Lead) -> Result<(), StoreError> {
    ctx.tables
        .leads
        .insert(id.get(), codec::encode(lead)?.as_slice())?;
    ctx.is_dirty = true;
    Ok(())
}

fn find_lead(ctx: &WriteContext<'_, '_>, id: LeadId) -> Result<Option<Lead>, StoreError> {
    ctx.tables
        .leads
        .get(id.get())?
        .map(|row| codec::decode(id, row.value()))
        .transpose()
}

/// Returns the lead with this ID, or an error if the row is missing or unreadable.
fn get_lead(ctx: &WriteContext<'_, '_>, id: LeadId) -> Result<Lead, StoreError> {
    find_lead(ctx, id)?.ok_or_else(|| StoreError::row::<Lead>(&id.to_string(), RowProblem::Missing))
}
