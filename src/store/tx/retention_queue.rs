//! Maintains the retention queues: rows that may be removed, in order of the expiry clock, one
//! queue per kind of row.
//!
//! A row enters its queue when its retention starts. The retention of a submission or a delivery
//! starts when its job finishes. The retention of a draft or a customer starts when the row is
//! created. An open lead is in a queue because its age closes it. The purge reads only entries that
//! are old enough. So the cost of a round depends only on the number of rows to remove.
//!
//! The wall clock has no influence. Without this, a wrong wall clock could cause the removal of a
//! row too early, or years too late.
//!
//! See [`super::retention`] for the removal.

use crate::domain::ids::JobId;
use crate::domain::job::{Job, JobKind};
use crate::domain::time::Timestamp;

use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::writer::write_context::WriteContext;

/// Retention queue of one kind of row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionQueue {
    /// Submissions by ID. The entry is made when the job of the submission finishes.
    Submissions,
    /// Jobs that parse messages or deliver events, by ID. The entry is made when the job finishes.
    Jobs,
    /// Failed attempts by the ID of their job. The entry is made when the job finishes.
    Attempts,
    /// Drafts by key, to be marked as abandoned. The entry is made at the last screen.
    AbandonedDrafts,
    /// Drafts by key, to be removed. The entry is made at the last screen.
    Drafts,
    /// Customers by key. The entry is made at the last lead.
    Customers,
    /// Flow errors by number.
    FlowErrors,
    /// Meta's health events by number.
    HealthEvents,
    /// Leads by ID, to be closed by their age. The entry is made when the lead is created.
    OpenLeads,
    /// Entries of the audit log by number.
    AuditLog,
}

/// Queue entry: the reading of the expiry clock, and the ID or key of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionEntry {
    pub stamp: Timestamp,
    pub row: u128,
}

impl RetentionEntry {
    /// Returns the key of the row that stores the entry in `queue`.
    const fn key(self, queue: RetentionQueue) -> (u8, Timestamp, u128) {
        (queue.code(), self.stamp, self.row)
    }
}

impl RetentionQueue {
    /// All queues in the order of a retention round.
    pub const ALL: [Self; 10] = [
        Self::Submissions,
        Self::Jobs,
        Self::Attempts,
        Self::AbandonedDrafts,
        Self::Drafts,
        Self::Customers,
        Self::FlowErrors,
        Self::HealthEvents,
        Self::OpenLeads,
        Self::AuditLog,
    ];

    /// Returns the next queue of a retention round. Returns `None` after the last queue.
    pub(in crate::store) fn next_queue(self) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|queue| queue.code() > self.code())
    }

    /// Number of the queue in the file: the first part of the keys of its entries.
    pub(in crate::store) const fn code(self) -> u8 {
        match self {
            Self::Submissions => 1,
            Self::Jobs => 2,
            Self::Attempts => 3,
            Self::AbandonedDrafts => 4,
            Self::Drafts => 5,
            Self::Customers => 6,
            Self::FlowErrors => 7,
            Self::HealthEvents => 8,
            Self::OpenLeads => 9,
            Self::AuditLog => 10,
        }
    }
}

/// Adds a row to `queue` with the current reading of the expiry clock.
pub fn enqueue_row(
    ctx: &mut WriteContext<'_>,
    queue: RetentionQueue,
    row: u128,
) -> StoreResult<()> {
    let stamp = ctx.expiry_now;
    insert_entry(ctx, queue, RetentionEntry { stamp, row })
}

/// Converts a hashed key to the row number of an entry.
pub const fn row_of_key(key: &[u8; 16]) -> u128 {
    u128::from_be_bytes(*key)
}

/// Adds the rows of a job that has just finished to the queues.
pub fn enqueue_finished_job(ctx: &mut WriteContext<'_>, id: JobId, job: &Job) -> StoreResult<()> {
    match (job.kind, job.submission_id) {
        (JobKind::Process, Some(submission)) => {
            enqueue_row(ctx, RetentionQueue::Submissions, submission.get().into())?;
        }
        (JobKind::Process, None) => {}
        (JobKind::Message | JobKind::Deliver, _) => {
            enqueue_row(ctx, RetentionQueue::Jobs, id.get().into())?;
        }
    }
    if ctx.tables.last_ends.contains(id)? {
        ctx.tables.last_ends.put(id, &ctx.expiry_now)?;
    }
    if job.attempts > u32::from(job.success.is_some()) {
        enqueue_row(ctx, RetentionQueue::Attempts, id.get().into())?;
    }
    Ok(())
}

/// Records that a finished job runs again.
///
/// The entries of its first finish stay in the queues. [`ended_later`] distinguishes the entries of
/// the first finish from those of the last.
pub fn job_runs_again(ctx: &mut WriteContext<'_>, id: JobId) -> StoreResult<()> {
    ctx.tables.last_ends.put(id, &Timestamp::ZERO)?;
    Ok(())
}

/// Returns `true` if the job finished again after the finish that made `entry`. The last finish has
/// separate entries.
pub fn ended_later(ctx: &WriteContext<'_>, id: JobId, entry: RetentionEntry) -> StoreResult<bool> {
    let last_end = ctx.tables.last_ends.get(id)?;
    Ok(last_end.is_some_and(|end| entry.stamp < end))
}

/// Lists at most `max_entries` entries of `queue` up to `until`, oldest first.
pub fn list_oldest(
    ctx: &WriteContext<'_>,
    queue: RetentionQueue,
    until: Timestamp,
    max_entries: usize,
) -> StoreResult<Vec<RetentionEntry>> {
    let range = (queue.code(), Timestamp::ZERO, 0)..=(queue.code(), until, u128::MAX);
    let entries = ctx.tables.retention.range(range)?.take(max_entries);
    entries
        .map(|entry| {
            let (_, stamp, row) = entry?.key();
            Ok(RetentionEntry { stamp, row })
        })
        .collect()
}

/// Removes an entry from `queue`.
pub fn remove_entry(
    ctx: &mut WriteContext<'_>,
    queue: RetentionQueue,
    entry: RetentionEntry,
) -> StoreResult<()> {
    ctx.tables.retention.remove(entry.key(queue))?;
    Ok(())
}

/// Adds an entry to `queue`.
pub fn insert_entry(
    ctx: &mut WriteContext<'_>,
    queue: RetentionQueue,
    entry: RetentionEntry,
) -> StoreResult<()> {
    ctx.tables.retention.add(entry.key(queue))?;
    Ok(())
}
