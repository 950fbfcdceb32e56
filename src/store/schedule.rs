//! The schedule: which job waits for when. Jobs of our own in one table, deliveries in one lane for each destination, so that
//! a destination which is down holds up nobody else.

use redb::ReadableTable;

use crate::domain::ids::{DestinationName, JobId};
use crate::domain::job::{Job, JobKind, JobState};
use crate::domain::time::Timestamp;

use super::batch::Batch;
use super::{StoreError, codec, deliveries};

/// Puts a job into the schedule. `lane`: the destination of a delivery.
pub(super) fn insert(
    batch: &mut Batch<'_, '_>,
    lane: Option<&DestinationName>,
    at: Timestamp,
    id: JobId,
) -> Result<(), StoreError> {
    match lane {
        Some(destination) => {
            batch.tables.lanes.insert((destination.as_str(), at.as_millis(), id.get()), ())?;
            batch.delivering = true;
        }
        None => {
            batch.tables.due.insert((at.as_millis(), id.get()), ())?;
            batch.scheduled = true;
        }
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
    let lane = match job.kind {
        JobKind::Deliver => Some(deliveries::delivery(batch, id)?.destination),
        JobKind::Process | JobKind::Message => None,
    };
    if job.state == JobState::Scheduled {
        match &lane {
            Some(destination) => {
                batch.tables.lanes.remove((destination.as_str(), job.due_at.as_millis(), id.get()))?;
            }
            None => {
                batch.tables.due.remove((job.due_at.as_millis(), id.get()))?;
            }
        }
    }
    if state == JobState::Scheduled {
        insert(batch, lane.as_ref(), at, id)?;
    }
    (job.state, job.due_at) = (state, at);
    write(batch, id, job)
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
