//! Maintains the schedule: the due times of jobs and deliveries.
//!
//! Internal jobs are in one table. The deliveries of each destination are in a separate
//! schedule, so that a failing destination does not delay the others.

use redb::ReadableTable;

use crate::domain::delivery::Delivery;
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::job::{Job, JobKind, JobState};
use crate::domain::time::Timestamp;

use super::deliveries;
use crate::store::rows::tallies::Tally;
use crate::store::rows::{codec, retention_queue};
use crate::store::writer::write_context::WriteContext;
use crate::store::{RowProblem, StoreError};

/// Adds a job to the schedule. `target` is the destination of a delivery, or `None` for other jobs.
pub(in crate::store) fn schedule_job(
    ctx: &mut WriteContext<'_, '_>,
    target: Option<&DestinationName>,
    at: Timestamp,
    id: JobId,
) -> Result<(), StoreError> {
    if let Some(destination) = target {
        let name = destination.as_str();
        if ctx
            .tables
            .deliveries_due
            .insert((name, at.as_millis(), id.get()), ())?
            .is_none()
        {
            ctx.tallies.increment(Tally::Deliveries, name);
        }
        ctx.has_new_deliveries = true;
    } else {
        ctx.tables.due.insert((at.as_millis(), id.get()), ())?;
        ctx.has_new_jobs = true;
    }
    ctx.is_dirty = true;
    Ok(())
}

/// Adds a new delivery to the schedule of its destination. If an earlier delivery of the same
/// customer must be sent first, adds the new delivery to the ordered queue behind it.
pub(in crate::store) fn enqueue_delivery(
    ctx: &mut WriteContext<'_, '_>,
    delivery: &Delivery,
    at: Timestamp,
    id: JobId,
) -> Result<(), StoreError> {
    let Some(queue) = delivery.ordering_key else {
        return schedule_job(ctx, Some(&delivery.destination), at, id);
    };
    let name = delivery.destination.as_str();
    if ctx.tables.ordered_heads.get((name, &queue))?.is_none() {
        ctx.tables.ordered_heads.insert((name, &queue), id.get())?;
        return schedule_job(ctx, Some(&delivery.destination), at, id);
    }
    if ctx
        .tables
        .ordered_queue
        .insert((name, &queue, id.get()), ())?
        .is_none()
    {
        ctx.tallies.increment(Tally::Deliveries, name);
    }
    ctx.is_dirty = true;
    Ok(())
}

/// Changes the state and due time of a job, both in its row and in the schedule.
pub(in crate::store) fn move_job(
    ctx: &mut WriteContext<'_, '_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    at: Timestamp,
) -> Result<(), StoreError> {
    let delivery = match job.kind {
        JobKind::Deliver => Some(deliveries::get_delivery(ctx, id)?),
        JobKind::Process | JobKind::Message => None,
    };
    let target = delivery.as_ref().map(|delivery| &delivery.destination);
    if job.state == JobState::Scheduled {
        match target {
            Some(destination) => {
                let name = destination.as_str();
                if ctx
                    .tables
                    .deliveries_due
                    .remove((name, job.due_at.as_millis(), id.get()))?
                    .is_some()
                {
                    ctx.tallies.decrement(Tally::Deliveries, name);
                }
            }
            None => {
                ctx.tables.due.remove((job.due_at.as_millis(), id.get()))?;
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
    put_job(ctx, id, job)
}

/// Removes a finished delivery from its ordered queue. If the delivery was the head, the next
/// delivery becomes the head.
fn advance_ordered_queue(
    ctx: &mut WriteContext<'_, '_>,
    delivery: &Delivery,
    id: JobId,
) -> Result<(), StoreError> {
    let (Some(queue), name) = (delivery.ordering_key, delivery.destination.as_str()) else {
        return Ok(());
    };
    if ctx
        .tables
        .ordered_heads
        .get((name, &queue))?
        .is_none_or(|head| head.value() != id.get())
    {
        // An admin may have discarded the delivery while it waited in the queue.
        if ctx
            .tables
            .ordered_queue
            .remove((name, &queue, id.get()))?
            .is_some()
        {
            ctx.tallies.decrement(Tally::Deliveries, name);
        }
        return Ok(());
    }
    loop {
        let next = ctx
            .tables
            .ordered_queue
            .range((name, &queue, 0)..=(name, &queue, u64::MAX))?
            .next()
            .transpose()?;
        let Some(next) = next.map(|(key, _)| JobId::new(key.value().2)) else {
            ctx.tables.ordered_heads.remove((name, &queue))?;
            return Ok(());
        };
        if ctx
            .tables
            .ordered_queue
            .remove((name, &queue, next.get()))?
            .is_some()
        {
            ctx.tallies.decrement(Tally::Deliveries, name);
        }
        let error = match find_job(ctx, next) {
            Ok(Some(job)) => {
                ctx.tables
                    .ordered_heads
                    .insert((name, &queue), next.get())?;
                return schedule_job(ctx, Some(&delivery.destination), job.due_at, next);
            }
            Ok(None) => StoreError::row::<Job>(&next.to_string(), RowProblem::Missing),
            Err(error) if error.affects_one_row() => error,
            Err(error) => return Err(error),
        };
        // An unreadable delivery blocks neither the finished delivery nor the deliveries behind it.
        tracing::error!(job.id = next.get(), error = %error, "queued delivery is unreadable and skipped");
    }
}

/// Writes the row of a job. The position of the job in the schedule stays unchanged.
pub(in crate::store) fn put_job(
    ctx: &mut WriteContext<'_, '_>,
    id: JobId,
    job: &Job,
) -> Result<(), StoreError> {
    ctx.tables
        .jobs
        .insert(id.get(), codec::encode(job)?.as_slice())?;
    ctx.is_dirty = true;
    Ok(())
}

/// Returns the job with this ID. Returns `None` if the row is missing.
pub(in crate::store) fn find_job(
    batch: &WriteContext<'_, '_>,
    id: JobId,
) -> Result<Option<Job>, StoreError> {
    batch
        .tables
        .jobs
        .get(id.get())?
        .map(|row| codec::decode(id, row.value()))
        .transpose()
}
