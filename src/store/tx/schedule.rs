//! Maintains the schedule: the due times of jobs and deliveries.
//!
//! Internal jobs are in one table. The deliveries of each destination are in a separate
//! schedule, so that a failing destination does not delay the others.

use crate::domain::delivery::Delivery;
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::job::{Job, JobKind, JobState};
use crate::domain::time::Timestamp;

use super::retention_queue;
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::tallies::Tally;
use crate::store::writer::write_context::WriteContext;

/// Adds a job to the schedule. `target` is the destination of a delivery, or `None` for other jobs.
pub fn schedule_job(
    ctx: &mut WriteContext<'_>,
    target: Option<&DestinationName>,
    at: Timestamp,
    id: JobId,
) -> StoreResult<()> {
    if let Some(destination) = target {
        let name = destination.as_str();
        if ctx.tables.deliveries_due.add((name, at, id))? {
            ctx.tallies.increment(Tally::Deliveries, name);
        }
        ctx.has_new_deliveries = true;
    } else {
        ctx.tables.due.add((at, id))?;
        ctx.has_new_jobs = true;
    }
    Ok(())
}

/// Adds a new delivery to the schedule of its destination. If an earlier delivery of the same
/// customer must be sent first, adds the new delivery to the ordered queue behind it.
pub fn enqueue_delivery(
    ctx: &mut WriteContext<'_>,
    delivery: &Delivery,
    at: Timestamp,
    id: JobId,
) -> StoreResult<()> {
    let Some(queue) = delivery.ordering_key else {
        return schedule_job(ctx, Some(&delivery.destination), at, id);
    };
    let name = delivery.destination.as_str();
    if !ctx.tables.ordered_heads.contains((name, &queue))? {
        ctx.tables.ordered_heads.put((name, &queue), &id)?;
        return schedule_job(ctx, Some(&delivery.destination), at, id);
    }
    if ctx.tables.ordered_queue.add((name, &queue, id))? {
        ctx.tallies.increment(Tally::Deliveries, name);
    }
    Ok(())
}

/// Changes the state and due time of a job, both in its row and in the schedule.
pub fn move_job(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    at: Timestamp,
) -> StoreResult<()> {
    let delivery = match job.kind {
        JobKind::Deliver => Some(ctx.tables.deliveries.require(id)?),
        JobKind::Process | JobKind::Message => None,
    };
    let target = delivery.as_ref().map(|delivery| &delivery.destination);
    if job.state == JobState::Scheduled {
        match target {
            Some(destination) => {
                let name = destination.as_str();
                if ctx.tables.deliveries_due.remove((name, job.due_at, id))? {
                    ctx.tallies.decrement(Tally::Deliveries, name);
                }
            }
            None => {
                ctx.tables.due.remove((job.due_at, id))?;
            }
        }
    }
    if job.state.is_terminal() && !state.is_terminal() {
        retention_queue::job_runs_again(ctx, id)?;
    }
    if state == JobState::Scheduled {
        // A retried dead letter does not wait in an ordered queue, because its event is old.
        schedule_job(ctx, target, at, id)?;
    } else if let Some(delivery) = &delivery {
        advance_ordered_queue(ctx, delivery, id)?;
    }
    (job.state, job.due_at) = (state, at);
    if state.is_terminal() {
        retention_queue::enqueue_finished_job(ctx, id, job)?;
    }
    ctx.tables.jobs.put(id, job)?;
    Ok(())
}

/// Removes a finished delivery from its ordered queue. If the delivery was the head, the next
/// delivery becomes the head.
fn advance_ordered_queue(
    ctx: &mut WriteContext<'_>,
    delivery: &Delivery,
    id: JobId,
) -> StoreResult<()> {
    let (Some(queue), name) = (delivery.ordering_key, delivery.destination.as_str()) else {
        return Ok(());
    };
    if ctx.tables.ordered_heads.get((name, &queue))? != Some(id) {
        // An admin may have discarded the delivery while it waited in the queue.
        if ctx.tables.ordered_queue.remove((name, &queue, id))? {
            ctx.tallies.decrement(Tally::Deliveries, name);
        }
        return Ok(());
    }
    loop {
        let range = (name, &queue, JobId::MIN)..=(name, &queue, JobId::MAX);
        let next = ctx.tables.ordered_queue.range(range)?.next().transpose()?;
        let Some(next) = next.map(|row| row.key().2) else {
            ctx.tables.ordered_heads.remove((name, &queue))?;
            return Ok(());
        };
        if ctx.tables.ordered_queue.remove((name, &queue, next))? {
            ctx.tallies.decrement(Tally::Deliveries, name);
        }
        let error = match ctx.tables.jobs.require(next) {
            Ok(job) => {
                ctx.tables.ordered_heads.put((name, &queue), &next)?;
                return schedule_job(ctx, Some(&delivery.destination), job.due_at, next);
            }
            Err(error) if error.affects_one_row() => error,
            Err(error) => return Err(error),
        };
        // An unreadable delivery blocks neither the finished delivery nor the deliveries behind it.
        tracing::error!(job.id = next.get(), error = %error, "queued delivery is unreadable and skipped");
    }
}
