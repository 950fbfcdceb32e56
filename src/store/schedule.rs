//! The schedule: which job waits for when. Jobs of our own in one table, deliveries in one lane for each destination, so that
//! a destination which is down holds up nobody else.

use redb::ReadableTable;

use crate::domain::delivery::Delivery;
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::job::{Job, JobKind, JobState};
use crate::domain::time::Timestamp;

use super::batch::Batch;
use super::tallies::Tally;
use super::{RowProblem, StoreError, codec, deliveries, retention};

/// Puts a job into the schedule. `lane`: the destination of a delivery.
pub(super) fn insert(
    batch: &mut Batch<'_, '_>,
    lane: Option<&DestinationName>,
    at: Timestamp,
    id: JobId,
) -> Result<(), StoreError> {
    if let Some(destination) = lane {
        let name = destination.as_str();
        if batch.tables.lanes.insert((name, at.as_millis(), id.get()), ())?.is_none() {
            batch.tallies.add(Tally::Deliveries, name);
        }
        batch.delivering = true;
    } else {
        batch.tables.due.insert((at.as_millis(), id.get()), ())?;
        batch.scheduled = true;
    }
    batch.dirty = true;
    Ok(())
}

/// Puts a new delivery into its lane or, where another one of its customer is to be told before, behind that.
pub(super) fn enqueue(
    batch: &mut Batch<'_, '_>,
    delivery: &Delivery,
    at: Timestamp,
    id: JobId,
) -> Result<(), StoreError> {
    let Some(queue) = delivery.queue else { return insert(batch, Some(&delivery.destination), at, id) };
    let name = delivery.destination.as_str();
    if batch.tables.turns.get((name, &queue))?.is_none() {
        batch.tables.turns.insert((name, &queue), id.get())?;
        return insert(batch, Some(&delivery.destination), at, id);
    }
    if batch.tables.queues.insert((name, &queue, id.get()), ())?.is_none() {
        batch.tallies.add(Tally::Deliveries, name);
    }
    batch.dirty = true;
    Ok(())
}

/// Moves a job from its state and time to others, in the row and in the schedule.
pub(super) fn move_job(
    batch: &mut Batch<'_, '_>,
    id: JobId,
    job: &mut Job,
    state: JobState,
    at: Timestamp,
) -> Result<(), StoreError> {
    let delivery = match job.kind {
        JobKind::Deliver => Some(deliveries::delivery(batch, id)?),
        JobKind::Process | JobKind::Message => None,
    };
    let lane = delivery.as_ref().map(|delivery| &delivery.destination);
    if job.state == JobState::Scheduled {
        match lane {
            Some(destination) => {
                let name = destination.as_str();
                if batch.tables.lanes.remove((name, job.due_at.as_millis(), id.get()))?.is_some() {
                    batch.tallies.subtract(Tally::Deliveries, name);
                }
            }
            None => {
                batch.tables.due.remove((job.due_at.as_millis(), id.get()))?;
            }
        }
    }
    if job.state.is_over() && !state.is_over() {
        retention::job_runs_again(batch, id)?;
    }
    if state == JobState::Scheduled {
        // One that is run again after its death waits behind nobody: what it tells is old news.
        insert(batch, lane, at, id)?;
    } else if let Some(delivery) = &delivery {
        leave_queue(batch, delivery, id)?;
    }
    (job.state, job.due_at) = (state, at);
    if state.is_over() {
        retention::job_ended(batch, id, job)?;
    }
    write(batch, id, job)
}

/// A delivery is over: if it was its turn, it is the next one's.
fn leave_queue(batch: &mut Batch<'_, '_>, delivery: &Delivery, id: JobId) -> Result<(), StoreError> {
    let (Some(queue), name) = (delivery.queue, delivery.destination.as_str()) else { return Ok(()) };
    if batch.tables.turns.get((name, &queue))?.is_none_or(|turn| turn.value() != id.get()) {
        // It may have been given up while it waited for its turn.
        if batch.tables.queues.remove((name, &queue, id.get()))?.is_some() {
            batch.tallies.subtract(Tally::Deliveries, name);
        }
        return Ok(());
    }
    loop {
        let next = batch.tables.queues.range((name, &queue, 0)..=(name, &queue, u64::MAX))?.next().transpose()?;
        let Some(next) = next.map(|(key, _)| JobId::new(key.value().2)) else {
            batch.tables.turns.remove((name, &queue))?;
            return Ok(());
        };
        if batch.tables.queues.remove((name, &queue, next.get()))?.is_some() {
            batch.tallies.subtract(Tally::Deliveries, name);
        }
        let error = match find(batch, next) {
            Ok(Some(job)) => {
                batch.tables.turns.insert((name, &queue), next.get())?;
                return insert(batch, Some(&delivery.destination), job.due_at, next);
            }
            Ok(None) => StoreError::row::<Job>(&next.to_string(), RowProblem::Missing),
            Err(error) if error.is_of_one_change() => error,
            Err(error) => return Err(error),
        };
        // It holds up neither the one before it nor those behind it.
        tracing::error!(job.id = next.get(), error = %error, "a delivery that waited for its turn can't be read");
    }
}

/// Writes a job's row. Where it stands in the schedule is not touched.
pub(super) fn write(batch: &mut Batch<'_, '_>, id: JobId, job: &Job) -> Result<(), StoreError> {
    batch.tables.jobs.insert(id.get(), codec::encode(job)?.as_slice())?;
    batch.dirty = true;
    Ok(())
}

/// The job behind `id`.
pub(super) fn find(batch: &Batch<'_, '_>, id: JobId) -> Result<Option<Job>, StoreError> {
    batch.tables.jobs.get(id.get())?.map(|row| codec::decode(id, row.value())).transpose()
}
