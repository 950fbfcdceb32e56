//! Moves the data of a customer whose phone number or ID has changed from the old names to the new
//! ones.
//!
//! Submissions stay unchanged, and no index finds them by customer. So a change is stored under
//! each name that it replaces. Every look-up of a submission's customer follows the change.
//! Bookings, waiting messages and later events have the new names at once. Agents, drafts and
//! ordered queues are stored under a customer's name and move in the same transaction.
//!
//! See [`crate::domain::customer_change`] for the decision which change counts for which customer.

use crate::domain::customer_change::CustomerChange;
use crate::domain::delivery::Delivery;
use crate::domain::ids::{DestinationName, FlowName, JobId};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::{self, Draft};
use crate::domain::time::{Millis, Timestamp};

use super::{customer_agents, drafts};
use crate::store::engine::{Hash, Rows};
use crate::store::writer::dedup_index::{DedupWindow, KeyLog};
use crate::store::writer::write_context::WriteContext;
use crate::store::{StoreError, StoreResult};

/// Maximum number of deliveries that move from one ordered queue to another. If more deliveries
/// wait, all of them stay in the old queue.
const MOVED_DELIVERIES_MAX: usize = 1000;
/// Maximum number of changes that one round of retention reads. A few rounds read the whole table.
const PURGE_ROWS_MAX: usize = 64;
/// Maximum delay of a message: Meta sends a message again for seven days (*Create a webhook
/// endpoint*).
const MESSAGE_DELAY_MAX: Millis = Millis::from_secs(8 * 24 * 60 * 60);

/// Applies a change in the flows under which the customer may be known. A repeated change, or a
/// change of an unknown customer, has no visible effect.
pub fn apply_customer_change(
    ctx: &mut WriteContext<'_>,
    change: &CustomerChange,
    flows: &[FlowName],
) -> StoreResult<()> {
    if let Some(key) = change.message_key
        && ctx.find_key(DedupWindow::Message, key)?.is_some()
    {
        return Ok(());
    }
    let at = change.changed_at.unwrap_or(ctx.now);
    for name in change.replaced_names() {
        let key = IdempotencyKey::for_former_name(name);
        let table = &mut ctx.tables.renamed_customers;
        table.put((key.as_bytes(), at), change.current())?;
    }
    for flow in flows {
        move_assigned_agent(ctx, change, flow)?;
        for name in change.replaced_names() {
            move_draft(ctx, change, flow, name)?;
            move_ordered_queues(ctx, change, flow, name)?;
        }
    }
    if let Some(key) = change.message_key {
        ctx.insert_key(KeyLog::Message, key, None)?;
    }
    Ok(())
}

/// Purges changes that are older than all submissions. Reads a few changes, from another start
/// position in each round. Returns the number of purged changes.
pub fn purge_customer_changes(ctx: &mut WriteContext<'_>) -> StoreResult<usize> {
    if ctx.tables.renamed_customers.is_empty()? {
        return Ok(0);
    }
    let oldest = match ctx.tables.submissions.first()? {
        // If the oldest submission is unreadable, its age is unknown and nothing is purged.
        Some(row) => match row.value() {
            Ok(row) => row.received_at,
            Err(_) => return Ok(0),
        },
        None => ctx.now.min(ctx.oldest_rows_clock()),
    };
    let before = oldest.minus(MESSAGE_DELAY_MAX);
    let start = IdempotencyKey::for_former_name(&ctx.expiry_now.to_string());
    let mut expired = Vec::new();
    {
        let (table, start) = (
            &ctx.tables.renamed_customers,
            (start.as_bytes(), Timestamp::ZERO),
        );
        let (from_start, before_start) = (table.range(start..)?, table.range(..start)?);
        for row in from_start.chain(before_start).take(PURGE_ROWS_MAX) {
            let row = row?;
            let (name, at) = row.key();
            if at < before {
                expired.push((*name, at));
            }
        }
    }
    for (key, at) in &expired {
        ctx.tables.renamed_customers.remove((key, *at))?;
    }
    Ok(expired.len())
}

/// Moves the assignment of the customer's last agent from any old name to the new names.
fn move_assigned_agent(
    ctx: &mut WriteContext<'_>,
    change: &CustomerChange,
    flow: &FlowName,
) -> StoreResult<()> {
    let key = |name: &str| IdempotencyKey::for_customer(flow, name);
    let mut assignments = Vec::new();
    for name in change.replaced_names() {
        assignments.extend(ctx.tables.customer_agents.take(key(name).as_bytes())?);
    }
    if assignments.is_empty() {
        return Ok(());
    }
    let new = change.current();
    for name in [&new.id, &new.phone].into_iter().flatten() {
        assignments.extend(ctx.tables.customer_agents.get(key(name).as_bytes())?);
    }
    let Some((agent, lead, _)) = assignments.into_iter().max_by_key(|(_, lead, _)| *lead) else {
        return Ok(());
    };
    customer_agents::record_customer_agent(ctx, flow, new, agent, lead)
}

/// Moves a draft that is stored under the customer's name. A draft with a flow token stays under
/// its token.
fn move_draft(
    ctx: &mut WriteContext<'_>,
    change: &CustomerChange,
    flow: &FlowName,
    name: &str,
) -> StoreResult<()> {
    let key = |name: &str| IdempotencyKey::for_draft_of_customer(flow, name);
    let from = key(name);
    // Two spellings of one number have the same key.
    let Some(to) = change.current().name().map(key).filter(|to| *to != from) else {
        return Ok(());
    };
    let Some(mut moved) = find_readable_draft(ctx, from)? else {
        return Ok(());
    };
    let was_abandoned = drafts::is_marked_abandoned(ctx, from.as_bytes())?;
    let other = find_readable_draft(ctx, to)?;
    let is_abandoned = was_abandoned && other.is_none();
    if let Some(other) = other {
        let (older, mut newer) = if other.updated_at < moved.updated_at {
            (other, moved)
        } else {
            (moved, other)
        };
        newer.data = draft::merge_answers(&older.data, &newer.data);
        moved = newer;
    }
    moved.customer = change.current().clone();
    let abandoned_at = moved.updated_at;
    drafts::remove_draft(ctx, from.as_bytes())?;
    drafts::put_draft(ctx, to, moved)?;
    if is_abandoned {
        let marks = &mut ctx.tables.abandoned_drafts;
        marks.put(to.as_bytes(), &abandoned_at)?;
    }
    Ok(())
}

/// Finds a draft. Returns `None` if the draft is unreadable: such a draft is not moved.
fn find_readable_draft(ctx: &WriteContext<'_>, key: IdempotencyKey) -> StoreResult<Option<Draft>> {
    match drafts::find_draft(ctx, key) {
        Err(error) if error.affects_one_row() => {
            log_unmoved_row(&error);
            Ok(None)
        }
        found => found,
    }
}

/// Moves the ordered deliveries of the customer, so that they wait for each other under the new
/// name.
fn move_ordered_queues(
    ctx: &mut WriteContext<'_>,
    change: &CustomerChange,
    flow: &FlowName,
    name: &str,
) -> StoreResult<()> {
    let key = |name: &str| IdempotencyKey::for_customer(flow, name);
    let Some(to) = change.current().name().map(key) else {
        return Ok(());
    };
    let subscriptions = std::sync::Arc::clone(&ctx.subscriptions);
    for destination in &subscriptions.ordered_destinations {
        move_ordered_queue(ctx, destination, key(name).as_bytes(), to.as_bytes())?;
    }
    Ok(())
}

fn move_ordered_queue(
    ctx: &mut WriteContext<'_>,
    destination: &DestinationName,
    from: &Hash,
    to: &Hash,
) -> StoreResult<()> {
    let name = destination.as_str();
    let Some(head) = ctx.tables.ordered_heads.get((name, from))? else {
        return Ok(());
    };
    let range = (name, from, JobId::MIN)..=(name, from, JobId::MAX);
    let rows = ctx.tables.ordered_queue.range(range)?;
    let queued = rows
        .take(MOVED_DELIVERIES_MAX + 1)
        .map(|row| Ok(row?.key().2))
        .collect::<StoreResult<Vec<_>>>()?;
    if queued.len() > MOVED_DELIVERIES_MAX {
        return Ok(());
    }
    // A head delivery stays the head. If both names have a head, the old head is sent under the old
    // name.
    let has_head = ctx.tables.ordered_heads.contains((name, to))?;
    let moved_head = (!has_head).then_some(head);
    let mut rows: Vec<(JobId, Delivery)> = Vec::new();
    for id in queued.iter().copied().chain(moved_head) {
        match ctx.tables.deliveries.require(id) {
            Ok(mut delivery) => {
                delivery.ordering_key = Some(*to);
                rows.push((id, delivery));
            }
            Err(error) if error.affects_one_row() => {
                log_unmoved_row(&error);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    for (id, delivery) in rows {
        ctx.tables.deliveries.put(id, &delivery)?;
    }
    for id in queued {
        ctx.tables.ordered_queue.remove((name, from, id))?;
        ctx.tables.ordered_queue.add((name, to, id))?;
    }
    if !has_head {
        ctx.tables.ordered_heads.remove((name, from))?;
        ctx.tables.ordered_heads.put((name, to), &head)?;
    }
    Ok(())
}

fn log_unmoved_row(error: &StoreError) {
    tracing::error!(error = %error, "row of a renamed customer is unreadable: it stays under the old number");
}
