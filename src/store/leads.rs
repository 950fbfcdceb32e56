//! Leads: made, given to an agent, closed, given to another.
//!
//! Who gets one and why is decided in `crate::domain::{lead, roster}`. Leads that nobody can take wait in order; whoever
//! becomes free gets the oldest.

use redb::ReadableTable;

use crate::domain::ids::{AgentId, AgentName, Customer, FlowName, LeadId, SubmissionId, TeamName};
use crate::domain::lead::{Choice, Lead, LeadState, Reason};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Millis;

use super::batch::{Batch, Transaction};
use super::retention::{self, Queue};
use super::tallies::Tally;
use super::{RowProblem, StoreError, accept, announce, codec, joins};

/// How long after a lead was dealt out it may still go to the agent who knows its customer: the message that says who that is
/// comes within seconds, and later somebody works on it.
const FRESH: Millis = Millis::from_secs(10 * 60);

/// Maximum number of leads that one transaction gives out or hands over. The next [`Distribute`] goes on.
pub(super) const GIVEN_OUT: usize = 256;

/// What a lead is made for.
#[derive(Clone, Debug)]
pub struct LeadOrder {
    /// The flow of its submission.
    pub flow: FlowName,
    /// The team whose agents may have it.
    pub team: TeamName,
    /// Whether a known customer returns to the agent they had.
    pub sticky: bool,
    /// Who filled in the form.
    pub customer: Customer,
    /// The agent whom the customer chose, or was shown.
    pub chosen: Option<AgentName>,
}

/// Closes a lead: its agent is free for another.
#[derive(Debug)]
pub struct CloseLead {
    /// Which one.
    pub lead: LeadId,
}

/// Gives a lead to an agent, whoever had it. An admin's word goes over limits and pauses.
#[derive(Debug)]
pub struct AssignLead {
    /// Which one.
    pub lead: LeadId,
    /// To whom.
    pub agent: AgentName,
}

/// Gives waiting leads to agents that have become free by the clock (an absence that ended, a new day), then hands over
/// the open leads of removed agents.
#[derive(Debug)]
pub struct Distribute;

/// What an admin's word did to a lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeadChanged {
    /// It is so now.
    Now(Lead),
    /// It was closed before.
    Closed,
    /// There is no such lead.
    Unknown,
    /// There is no such agent.
    NoAgent,
}

impl Transaction for CloseLead {
    type Outcome = LeadChanged;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<LeadChanged, StoreError> {
        let Some(mut lead) = find(batch, self.lead)? else { return Ok(LeadChanged::Unknown) };
        if lead.state == LeadState::Closed {
            return Ok(LeadChanged::Closed);
        }
        take_away(batch, self.lead, &lead)?;
        lead.state = LeadState::Closed;
        lead.closed_at = Some(batch.now);
        write(batch, self.lead, &lead)?;
        distribute(batch, &lead.team, GIVEN_OUT)?;
        Ok(LeadChanged::Now(lead))
    }
}

impl Transaction for AssignLead {
    type Outcome = LeadChanged;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<LeadChanged, StoreError> {
        let Some(mut lead) = find(batch, self.lead)? else { return Ok(LeadChanged::Unknown) };
        if lead.state == LeadState::Closed {
            return Ok(LeadChanged::Closed);
        }
        let Some(agent) = batch.memory.roster.by_name(&self.agent) else { return Ok(LeadChanged::NoAgent) };
        if lead.agent != Some(agent) {
            let team = lead.team.clone();
            take_away(batch, self.lead, &lead)?;
            give(batch, self.lead, &mut lead, agent, Choice::by_hand(agent))?;
            distribute(batch, &team, GIVEN_OUT)?;
        }
        Ok(LeadChanged::Now(lead))
    }
}

impl Transaction for Distribute {
    /// Number of leads that it moved. Unless it is 0, more may be left.
    type Outcome = usize;

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<usize, StoreError> {
        give_out(batch)
    }
}

/// Makes the lead of `submission` and gives it to the right agent, or lets it wait.
pub(super) fn make(
    batch: &mut Batch<'_, '_>,
    order: &LeadOrder,
    submission: SubmissionId,
) -> Result<(LeadId, Option<AgentName>), StoreError> {
    let id = batch.memory.counters.next_lead();
    let chosen = order.chosen.as_ref().and_then(|name| batch.memory.roster.by_name(name));
    let customer =
        if order.sticky { joins::customer(batch, submission, &order.customer)? } else { Customer::default() };
    let known = known_agent(batch, &order.flow, &customer)?;
    let preferred: Vec<(AgentId, Reason)> = [(chosen, Reason::Chosen), (known, Reason::KnownCustomer)]
        .into_iter()
        .filter_map(|(id, why)| Some((id?, why)))
        .collect();
    let mut choice = batch.memory.roster.pick(&order.team, batch.now, &preferred);
    // Those who wait already come first; a known customer has an agent of their own.
    if choice.reason == Reason::LeastLoaded && first_waiting(batch, &order.team)?.is_some() {
        choice = Choice::default();
    }
    let mut lead = Lead {
        submission,
        flow: order.flow.clone(),
        team: order.team.clone(),
        agent: None,
        state: LeadState::Open,
        created_at: batch.now,
        assigned_at: None,
        closed_at: None,
        why: choice.clone(),
    };
    if let Some(agent) = choice.agent {
        give(batch, id, &mut lead, agent, choice)?;
    } else {
        wait(batch, id, &lead)?;
        announce(batch, id, &lead)?;
    }
    if order.sticky {
        match lead.agent {
            Some(agent) if !customer.is_unknown() => remember(batch, &order.flow, &customer, agent, id)?,
            _ => expect_customer(batch, submission, id)?,
        }
    }
    Ok((id, lead.agent.and_then(|agent| batch.memory.roster.get(agent).map(|agent| agent.name.clone()))))
}

/// Gives waiting leads of all teams to those who can take one, then hands over the open leads of removed agents:
/// [`GIVEN_OUT`] leads in all. Returns how many leads it moved.
pub(super) fn give_out(batch: &mut Batch<'_, '_>) -> Result<usize, StoreError> {
    let mut left = GIVEN_OUT;
    let mut after: Option<String> = None;
    while left > 0 {
        let Some(name) = next_waiting_team(batch, after.as_deref())? else { break };
        if let Ok(team) = TeamName::new(&name) {
            left = left.saturating_sub(distribute(batch, &team, left)?);
        }
        after = Some(name);
    }
    // Those who wait come first: as long as some of them may still find an agent, nothing is handed over.
    left = left.saturating_sub(hand_over(batch, left)?);
    Ok(GIVEN_OUT.saturating_sub(left))
}

/// Gives waiting leads of `team`, oldest first, to those who can take one, `most` at the most. Returns how many leads it
/// took out of the queue.
///
/// A lead that can't be read leaves the queue: without this, it would hold up its team for ever.
pub(super) fn distribute(batch: &mut Batch<'_, '_>, team: &TeamName, most: usize) -> Result<usize, StoreError> {
    for taken in 0..most {
        let Some(id) = first_waiting(batch, team)? else { return Ok(taken) };
        if !batch.memory.roster.has_free(team, batch.now) {
            return Ok(taken);
        }
        let Some(mut lead) = readable(lead(batch, id), id)? else {
            leave_queue(batch, team, id)?;
            continue;
        };
        let customer = readable(expected_customer(batch, lead.submission), id)?.flatten();
        let known = customer.as_ref().map(|customer| known_agent(batch, &lead.flow, customer)).transpose()?.flatten();
        let preferred: Vec<_> = known.map(|agent| (agent, Reason::KnownCustomer)).into_iter().collect();
        let choice = batch.memory.roster.pick(team, batch.now, &preferred);
        let Some(agent) = choice.agent else { return Ok(taken) };
        leave_queue(batch, team, id)?;
        give(batch, id, &mut lead, agent, choice)?;
        if let Some(customer) = customer {
            forget_unnamed(batch, lead.submission)?;
            remember(batch, &lead.flow, &customer, agent, id)?;
        }
    }
    Ok(most)
}

/// Notes that the open leads of a removed agent are to be handed over. See [`give_out`].
pub(super) fn leave(batch: &mut Batch<'_, '_>, agent: AgentId) -> Result<(), StoreError> {
    batch.tables.leaving.insert(agent.get(), ())?;
    batch.dirty = true;
    Ok(())
}

/// Gives the open leads of removed agents to others, `most` at the most. A lead that nobody of its team can take waits.
/// Returns how many leads it moved.
fn hand_over(batch: &mut Batch<'_, '_>, most: usize) -> Result<usize, StoreError> {
    let mut moved = 0;
    while moved < most {
        let leaving = batch.tables.leaving.first()?.map(|(id, _)| AgentId::new(id.value()));
        let Some(old) = leaving else { break };
        let Some(id) = first_open(batch, old)? else {
            batch.tables.leaving.remove(old.get())?;
            batch.dirty = true;
            continue;
        };
        moved += 1;
        batch.tables.open_leads.remove((old.get(), id.get()))?;
        batch.memory.roster.release(old, batch.now);
        batch.dirty = true;
        let Some(mut lead) = readable(lead(batch, id), id)?.filter(|lead| lead.agent == Some(old)) else { continue };
        (lead.agent, lead.assigned_at) = (None, None);
        let choice = batch.memory.roster.pick(&lead.team, batch.now, &[]);
        if let Some(agent) = choice.agent {
            give(batch, id, &mut lead, agent, choice)?;
        } else {
            lead.why = choice;
            wait(batch, id, &lead)?;
            announce(batch, id, &lead)?;
        }
    }
    Ok(moved)
}

/// The row, or `None` with a line in the log: a damaged row must hold up nothing but itself.
fn readable<T>(row: Result<T, StoreError>, lead: LeadId) -> Result<Option<T>, StoreError> {
    match row {
        Err(error) if error.is_of_one_change() => {
            tracing::error!(
                lead.id = lead.get(), error = %error,
                "a row of an open lead can't be read: the others go on; `flowgate check` lists such rows"
            );
            Ok(None)
        }
        row => row.map(Some),
    }
}

/// Lets an open lead wait for somebody. The caller announces it.
fn wait(batch: &mut Batch<'_, '_>, id: LeadId, lead: &Lead) -> Result<(), StoreError> {
    if batch.tables.waiting_leads.insert((lead.team.as_str(), id.get()), ())?.is_none() {
        batch.tallies.add(Tally::Leads, lead.team.as_str());
    }
    write(batch, id, lead)
}

/// Puts an open lead into `agent`'s care.
fn give(batch: &mut Batch<'_, '_>, id: LeadId, lead: &mut Lead, agent: AgentId, why: Choice) -> Result<(), StoreError> {
    batch.memory.roster.take(agent, batch.now);
    batch.tables.open_leads.insert((agent.get(), id.get()), ())?;
    lead.agent = Some(agent);
    lead.assigned_at = Some(batch.now);
    lead.why = why;
    write(batch, id, lead)?;
    announce(batch, id, lead)
}

/// Tells the outside who has a lead, or that it waits. The lead goes on if its submission can't be read: then nobody is
/// told.
fn announce(batch: &mut Batch<'_, '_>, id: LeadId, lead: &Lead) -> Result<(), StoreError> {
    // `announce::lead` reads everything before its first write.
    readable(announce::lead(batch, id, lead), id).map(|_| ())
}

/// Takes a lead out of the queue of those that wait.
fn leave_queue(batch: &mut Batch<'_, '_>, team: &TeamName, id: LeadId) -> Result<(), StoreError> {
    if batch.tables.waiting_leads.remove((team.as_str(), id.get()))?.is_some() {
        batch.tallies.subtract(Tally::Leads, team.as_str());
    }
    batch.dirty = true;
    Ok(())
}

/// Takes an open lead out of its agent's care, or out of the queue. The row is the caller's to write.
fn take_away(batch: &mut Batch<'_, '_>, id: LeadId, lead: &Lead) -> Result<(), StoreError> {
    match lead.agent {
        Some(agent) => {
            batch.tables.open_leads.remove((agent.get(), id.get()))?;
            batch.memory.roster.release(agent, batch.now);
        }
        None => leave_queue(batch, &lead.team, id)?,
    }
    Ok(())
}

/// It is known now who filled in `submission`. Its lead, which was made for nobody in particular, goes to the agent who had
/// this customer before, if they can take it; whoever has it then is to have that customer's next one, too.
pub(super) fn name_customer(
    batch: &mut Batch<'_, '_>,
    submission: SubmissionId,
    flow: &FlowName,
    customer: &Customer,
) -> Result<(), StoreError> {
    if customer.is_unknown() {
        return Ok(());
    }
    let key = IdempotencyKey::of_unnamed_customer(submission);
    let kept = batch.tables.customers.get(key.as_bytes())?.map(|row| LeadId::new(row.value().1));
    let Some(id) = kept else { return Ok(()) };
    let Some(mut lead) = find(batch, id)? else { return Ok(()) };
    // `distribute` looks for the customer of a lead that waits.
    if lead.agent.is_none() {
        return Ok(());
    }
    if let Some(known) = known_agent(batch, flow, customer)? {
        bring_back(batch, id, &mut lead, known)?;
    }
    batch.tables.customers.remove(key.as_bytes())?;
    match lead.agent {
        Some(agent) => remember(batch, flow, customer, agent, id),
        None => Ok(()),
    }
}

/// The customer of a lead is to be remembered as soon as it is known who they are and who has them.
fn expect_customer(batch: &mut Batch<'_, '_>, submission: SubmissionId, lead: LeadId) -> Result<(), StoreError> {
    let key = IdempotencyKey::of_unnamed_customer(submission);
    // Whose it is, the lead itself says.
    batch.tables.customers.insert(key.as_bytes(), (0, lead.get(), batch.expiry.as_millis()))?;
    Ok(())
}

/// The customer of a lead that was made before its customer was known, or that waited; `None`: nothing names them yet,
/// or the flow remembers nobody.
fn expected_customer(batch: &Batch<'_, '_>, submission: SubmissionId) -> Result<Option<Customer>, StoreError> {
    let key = IdempotencyKey::of_unnamed_customer(submission);
    if batch.tables.customers.get(key.as_bytes())?.is_none() {
        return Ok(None);
    }
    let first = accept::submission(batch, submission)?.submission.customer;
    let customer = joins::customer(batch, submission, &first)?;
    Ok(Some(customer).filter(|customer| !customer.is_unknown()))
}

/// Gives a lead that was only just dealt out to the agent who knows its customer, if they can take it.
fn bring_back(batch: &mut Batch<'_, '_>, id: LeadId, lead: &mut Lead, known: AgentId) -> Result<(), StoreError> {
    let is_dealt = lead.state == LeadState::Open && lead.why.reason == Reason::LeastLoaded;
    let is_fresh = lead.assigned_at.is_some_and(|at| batch.now.since(at) <= FRESH);
    if !is_dealt || !is_fresh || lead.agent == Some(known) {
        return Ok(());
    }
    let choice = batch.memory.roster.pick(&lead.team, batch.now, &[(known, Reason::KnownCustomer)]);
    if choice.agent == Some(known) && choice.reason == Reason::KnownCustomer {
        take_away(batch, id, lead)?;
        give(batch, id, lead, known, choice)?;
        // The lead's old agent has room for one.
        distribute(batch, &lead.team, 1)?;
    }
    Ok(())
}

/// Nobody will ever name the customer behind `submission`.
pub(super) fn forget_unnamed(batch: &mut Batch<'_, '_>, submission: SubmissionId) -> Result<(), StoreError> {
    batch.tables.customers.remove(IdempotencyKey::of_unnamed_customer(submission).as_bytes())?;
    Ok(())
}

/// The agent who had this customer last, by whatever name we know the customer.
fn known_agent(batch: &Batch<'_, '_>, flow: &FlowName, customer: &Customer) -> Result<Option<AgentId>, StoreError> {
    for key in customer_keys(flow, customer) {
        if let Some(row) = batch.tables.customers.get(key.as_bytes())? {
            return Ok(Some(AgentId::new(row.value().0)));
        }
    }
    Ok(None)
}

/// Notes who has the customer, under each name: the number and the id of one customer may come apart later.
pub(super) fn remember(
    batch: &mut Batch<'_, '_>,
    flow: &FlowName,
    customer: &Customer,
    agent: AgentId,
    lead: LeadId,
) -> Result<(), StoreError> {
    for key in customer_keys(flow, customer) {
        let row = (agent.get(), lead.get(), batch.expiry.as_millis());
        if batch.tables.customers.insert(key.as_bytes(), row)?.is_none() {
            retention::enqueue(batch, Queue::Customers, retention::of_key(key.as_bytes()))?;
        }
    }
    Ok(())
}

fn customer_keys(flow: &FlowName, customer: &Customer) -> impl Iterator<Item = IdempotencyKey> {
    let names = [&customer.id, &customer.phone];
    names.into_iter().flatten().map(|name| IdempotencyKey::of_customer(flow, name))
}

fn first_waiting(batch: &Batch<'_, '_>, team: &TeamName) -> Result<Option<LeadId>, StoreError> {
    let mut rows = batch.tables.waiting_leads.range((team.as_str(), 0)..=(team.as_str(), u64::MAX))?;
    Ok(rows.next().transpose()?.map(|(key, _)| LeadId::new(key.value().1)))
}

fn first_open(batch: &Batch<'_, '_>, agent: AgentId) -> Result<Option<LeadId>, StoreError> {
    let mut rows = batch.tables.open_leads.range((agent.get(), 0)..=(agent.get(), u64::MAX))?;
    Ok(rows.next().transpose()?.map(|(key, _)| LeadId::new(key.value().1)))
}

fn next_waiting_team(batch: &Batch<'_, '_>, after: Option<&str>) -> Result<Option<String>, StoreError> {
    use std::ops::Bound::{Excluded, Unbounded};
    let from = after.map_or(Unbounded, |team| Excluded((team, u64::MAX)));
    let mut rows = batch.tables.waiting_leads.range::<(&str, u64)>((from, Unbounded))?;
    Ok(rows.next().transpose()?.map(|(key, _)| key.value().0.to_owned()))
}

fn write(batch: &mut Batch<'_, '_>, id: LeadId, lead: &Lead) -> Result<(), StoreError> {
    batch.tables.leads.insert(id.get(), codec::encode(lead)?.as_slice())?;
    batch.dirty = true;
    Ok(())
}

fn find(batch: &Batch<'_, '_>, id: LeadId) -> Result<Option<Lead>, StoreError> {
    batch.tables.leads.get(id.get())?.map(|row| codec::decode(id, row.value())).transpose()
}

/// The lead behind `id`.
fn lead(batch: &Batch<'_, '_>, id: LeadId) -> Result<Lead, StoreError> {
    find(batch, id)?.ok_or_else(|| StoreError::row::<Lead>(&id.to_string(), RowProblem::Missing))
}
