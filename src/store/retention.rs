//! The queues of retention: rows that may be removed, in the order of the elapsed clock, one queue for each kind of row.
//!
//! A row enters its queue when retention may begin for it: a submission or delivery when its job ends, a draft or a
//! customer when the row is made. [`super::sweep`] reads only entries that are old enough, so a round costs what it
//! removes. The wall clock plays no part: a wrong one neither removes a row early nor keeps a row for years.

use redb::ReadableTable;

use crate::domain::ids::JobId;
use crate::domain::job::{Job, JobKind};
use crate::domain::time::Timestamp;

use super::StoreError;
use super::batch::Batch;

/// A kind of row that retention removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Submissions by id, from the end of their job.
    Submissions,
    /// Jobs that read messages or deliver events by id, from their end.
    Jobs,
    /// Failed attempts by the id of their job, from the end of the job.
    Attempts,
    /// Drafts by key, from their last screen: to be told of once their users have left.
    LeftDrafts,
    /// Drafts by key, from their last screen: to be removed.
    Drafts,
    /// Customers by key, from their last lead.
    Customers,
    /// Complaints of clients by number.
    Complaints,
    /// Meta's health events by number.
    HealthEvents,
}

/// A place in a queue: the elapsed clock, and the id or key of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) stamp: Timestamp,
    pub(super) row: u128,
}

impl Queue {
    /// All of them, in the order in which a round visits them.
    pub const ALL: [Self; 8] = [
        Self::Submissions,
        Self::Jobs,
        Self::Attempts,
        Self::LeftDrafts,
        Self::Drafts,
        Self::Customers,
        Self::Complaints,
        Self::HealthEvents,
    ];

    /// The queue that a round visits next.
    pub(super) fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.code() > self.code())
    }

    /// The first part of the queue's keys in the file.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Submissions => 1,
            Self::Jobs => 2,
            Self::Attempts => 3,
            Self::LeftDrafts => 4,
            Self::Drafts => 5,
            Self::Customers => 6,
            Self::Complaints => 7,
            Self::HealthEvents => 8,
        }
    }
}

/// Puts a row into `queue` as of now.
pub(super) fn enqueue(batch: &mut Batch<'_, '_>, queue: Queue, row: u128) -> Result<(), StoreError> {
    let stamp = batch.expiry;
    insert(batch, queue, Entry { stamp, row })
}

/// The form of a hashed key that entries carry.
pub(super) const fn of_key(key: &[u8; 16]) -> u128 {
    u128::from_be_bytes(*key)
}

/// Puts what belongs to a job that has just ended into the queues.
pub(super) fn job_ended(batch: &mut Batch<'_, '_>, id: JobId, job: &Job) -> Result<(), StoreError> {
    match (job.kind, job.submission) {
        (JobKind::Process, Some(submission)) => enqueue(batch, Queue::Submissions, submission.get().into())?,
        (JobKind::Process, None) => {}
        (JobKind::Message | JobKind::Deliver, _) => enqueue(batch, Queue::Jobs, id.get().into())?,
    }
    if batch.tables.last_ends.get(id.get())?.is_some() {
        batch.tables.last_ends.insert(id.get(), batch.expiry.as_millis())?;
    }
    if job.attempts > u32::from(job.success.is_some()) {
        enqueue(batch, Queue::Attempts, id.get().into())?;
    }
    Ok(())
}

/// Notes that a job that was over runs again. The entries of its first end stay where they are: [`ended_later`] tells them from
/// those of its last end.
pub(super) fn job_runs_again(batch: &mut Batch<'_, '_>, id: JobId) -> Result<(), StoreError> {
    batch.tables.last_ends.insert(id.get(), 0)?;
    Ok(())
}

/// Returns `true` if the job ended once more after the end that made `entry`. The last end has entries of its own.
pub(super) fn ended_later(batch: &Batch<'_, '_>, id: JobId, entry: Entry) -> Result<bool, StoreError> {
    Ok(batch.tables.last_ends.get(id.get())?.is_some_and(|end| entry.stamp.as_millis() < end.value()))
}

/// The oldest entries of `queue` up to `until`, at most `most`.
pub(super) fn oldest(
    batch: &Batch<'_, '_>,
    queue: Queue,
    until: Timestamp,
    most: usize,
) -> Result<Vec<Entry>, StoreError> {
    let range = (queue.code(), 0, 0)..=(queue.code(), until.as_millis(), u128::MAX);
    let entries = batch.tables.retention.range(range)?.take(most).map(|entry| {
        let (_, stamp, row) = entry?.0.value();
        Ok(Entry { stamp: Timestamp::from_millis(stamp), row })
    });
    entries.collect()
}

/// Takes an entry out of `queue`.
pub(super) fn remove(batch: &mut Batch<'_, '_>, queue: Queue, entry: Entry) -> Result<(), StoreError> {
    batch.tables.retention.remove((queue.code(), entry.stamp.as_millis(), entry.row))?;
    batch.dirty = true;
    Ok(())
}

/// Puts an entry into `queue`.
pub(super) fn insert(batch: &mut Batch<'_, '_>, queue: Queue, entry: Entry) -> Result<(), StoreError> {
    batch.tables.retention.insert((queue.code(), entry.stamp.as_millis(), entry.row), ())?;
    batch.dirty = true;
    Ok(())
}
