//! Records the last agent of each customer, for flows whose customers return to their agent.
//!
//! A lead may be created before its customer is known. Then a row under the submission waits for
//! the name of the customer.

use crate::domain::ids::{AgentId, Customer, FlowName, LeadId, SubmissionId};
use crate::domain::submission::IdempotencyKey;

use super::customers;
use super::retention_queue::{self, RetentionQueue};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::writer::write_context::WriteContext;

/// Records that the customer's agent must be stored as soon as both the customer and the agent are
/// known.
pub fn await_customer(
    ctx: &mut WriteContext<'_>,
    submission: SubmissionId,
    lead: LeadId,
) -> StoreResult<()> {
    let key = IdempotencyKey::for_unnamed_customer(submission);
    // The lead itself stores its agent, so the agent ID of this row is 0.
    let row = (AgentId::MIN, lead, ctx.expiry_now);
    ctx.tables.customer_agents.put(key.as_bytes(), &row)?;
    Ok(())
}

/// Returns the customer of a lead that was created before its customer was known, or that waited.
/// Returns `None` if no arrival names the customer yet, or if the flow is not sticky.
pub fn find_awaited_customer(
    ctx: &WriteContext<'_>,
    submission: SubmissionId,
) -> StoreResult<Option<Customer>> {
    let key = IdempotencyKey::for_unnamed_customer(submission);
    if !ctx.tables.customer_agents.contains(key.as_bytes())? {
        return Ok(None);
    }
    let row = ctx.tables.submissions.require(submission)?;
    let first = &row.submission.customer;
    let customer = customers::customer_of_submission(ctx, submission, first)?;
    Ok(Some(customer).filter(|customer| !customer.is_unknown()))
}

/// Removes the row that waits for the name of the customer of `submission`.
pub fn drop_unknown_customer(
    ctx: &mut WriteContext<'_>,
    submission: SubmissionId,
) -> StoreResult<()> {
    let key = IdempotencyKey::for_unnamed_customer(submission);
    ctx.tables.customer_agents.remove(key.as_bytes())?;
    Ok(())
}

/// Returns the agent who had the last lead of this customer, under any known name of the customer.
pub fn find_previous_agent(
    ctx: &WriteContext<'_>,
    flow: &FlowName,
    customer: &Customer,
) -> StoreResult<Option<AgentId>> {
    for key in customer_keys(flow, customer) {
        if let Some((agent, _, _)) = ctx.tables.customer_agents.get(key.as_bytes())? {
            return Ok(Some(agent));
        }
    }
    Ok(None)
}

/// Records the agent of a customer under each name of the customer. The number and the ID of a
/// customer may belong to different customers later.
pub fn record_customer_agent(
    ctx: &mut WriteContext<'_>,
    flow: &FlowName,
    customer: &Customer,
    agent: AgentId,
    lead: LeadId,
) -> StoreResult<()> {
    for key in customer_keys(flow, customer) {
        let row = (agent, lead, ctx.expiry_now);
        if ctx.tables.customer_agents.put(key.as_bytes(), &row)? {
            let row = retention_queue::row_of_key(key.as_bytes());
            retention_queue::enqueue_row(ctx, RetentionQueue::Customers, row)?;
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
