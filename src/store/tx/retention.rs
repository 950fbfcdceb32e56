//! Removes expired idempotency keys with their completions, and rows past their retention. The
//! module also emits the events of abandoned drafts.
//!
//! The work is divided into slices. Limits on rows and bytes keep each slice short, so that no
//! other commit is delayed.
//!
//! The following rows are never removed:
//! - a submission whose job has not finished or is a dead letter
//! - a submission whose lead is open
//! - a submission whose booking is upcoming
//! - a dead letter
//!
//! A row that must stay, or that is unreadable, is checked again after a day. The transaction
//! continues with the other rows. The retention task decides when a slice runs.

use redb::{ReadableTable, Table};

use crate::domain::booking::{Booking, BookingState};
use crate::domain::ids::{BookingId, JobId, LeadId, SubmissionId};
use crate::domain::job::{Job, JobKind};
use crate::domain::lead::{Lead, LeadState};
use crate::domain::submission::draft::AbandonTimeouts;
use crate::domain::time::{Millis, Timestamp};

use super::accept::StoredSubmission;
use super::deliveries::{self, PurgeableDelivery};
use super::drafts::{self, StoredDraft};
use super::{bookings, completions, customer_changes, leads};
use crate::store::StoreError;
use crate::store::downtime::minus;
use crate::store::rows::codec::{self, Row};
use crate::store::rows::retention_queue::{self, RetentionEntry, RetentionQueue};
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Bytes of rows that a slice may read. The slice stops after the row that reaches this limit.
const SLICE_BYTES: usize = 1 << 20;

/// Maximum number of abandoned drafts that a slice handles. Each of these drafts is written as a
/// whole once more, into its event.
const ABANDONED_DRAFTS_MAX: usize = 64;

/// Time until a row that must stay is checked again.
const RECHECK_INTERVAL: Millis = Millis::from_secs(24 * 60 * 60);

/// Removes one slice of rows.
#[derive(Clone, Debug)]
pub struct PurgeSlice {
    /// Position at which the slice starts.
    pub cursor: PurgeCursor,
    /// Maximum number of rows to read. A row costs about 1 µs.
    pub max_rows: usize,
    /// Retention of submissions and their dependent rows, drafts, customers, and Meta's health
    /// events.
    pub submission_retention: Millis,
    /// Retention of the failed attempts of finished jobs, and of flow errors.
    pub attempt_retention: Millis,
    /// Time after which a draft without a next screen counts as abandoned, by flow.
    pub abandon_timeouts: AbandonTimeouts,
}

/// Position in a retention round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeCursor {
    /// Idempotency keys: the start of a round.
    Keys,
    /// Queue of rows. A position within the queue is not necessary: each entry that a slice has
    /// read leaves the front of the queue.
    Queue(RetentionQueue),
}

/// Result of one slice of a retention round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeResult {
    /// Number of rows read: queue entries or keys.
    pub rows_read: usize,
    /// Number of rows that the slice removed.
    pub rows_removed: usize,
    /// Number of unreadable rows past their retention. Such rows stay, except rows of key logs.
    pub unreadable_rows: usize,
    /// Error of the first unreadable row.
    pub first_error: Option<String>,
    /// Position of the next slice. `None` if the round is complete.
    pub next: Option<PurgeCursor>,
}

/// Decision about one queue entry.
///
/// The decision is made before the first write, so that the removal needs no further readable row.
enum PurgeDecision {
    /// Drops the entry: the row does not exist any more, or gets a new entry later.
    DropEntry,
    /// The row stays and gets a new entry with this stamp. A later slice reads the new entry when
    /// its retention has passed.
    Postpone(Timestamp),
    /// Removes a submission and its dependent rows.
    Submission(PurgeableSubmission),
    /// Removes a job that parses a message again.
    Job,
    /// Removes a delivery and its job.
    Delivery(PurgeableDelivery),
    /// Removes the failed attempts of a job.
    Attempts,
    /// Marks a draft as abandoned and emits the event.
    AbandonedDraft(StoredDraft),
    /// Removes a draft.
    Draft,
    /// Removes the link from a customer to their last agent.
    Customer,
    /// Removes a flow error.
    FlowError,
    /// Removes a health event.
    HealthEvent,
}

/// Rows that are removed with a submission.
struct PurgeableSubmission {
    job_id: JobId,
    lead_id: Option<LeadId>,
    booking: Option<(BookingId, Booking)>,
}

impl PurgeResult {
    const fn new(next: Option<PurgeCursor>) -> Self {
        Self {
            rows_read: 0,
            rows_removed: 0,
            unreadable_rows: 0,
            first_error: None,
            next,
        }
    }

    pub(in crate::store) fn record_unreadable(&mut self, error: &StoreError) {
        self.unreadable_rows += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }
}

impl Transaction for PurgeSlice {
    type Outcome = PurgeResult;

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<PurgeResult, StoreError> {
        match self.cursor {
            PurgeCursor::Keys => self.purge_keys(ctx),
            PurgeCursor::Queue(queue) => self.purge_queue(ctx, queue),
        }
    }
}

impl PurgeSlice {
    fn purge_keys(&self, ctx: &mut WriteContext<'_, '_>) -> Result<PurgeResult, StoreError> {
        let mut result = PurgeResult::new(Some(PurgeCursor::Queue(RetentionQueue::Submissions)));
        let state = &mut *ctx.state;
        let expired = state.dedup.remove_expired(
            ctx.tables,
            &state.counters,
            ctx.expiry_now,
            self.max_rows,
            &mut result,
        )?;
        let evicted = state
            .dedup
            .evict_oldest(ctx.tables, &mut state.counters, self.max_rows)?;
        let completions = completions::purge_completions(ctx, self.max_rows)?;
        let changes = customer_changes::purge_customer_changes(ctx)?;
        ctx.is_dirty |= expired + evicted + completions + changes > 0;
        (result.rows_read, result.rows_removed) = (
            expired + evicted + completions + changes,
            expired + completions + changes,
        );
        if expired.max(evicted).max(completions) >= self.max_rows {
            result.next = Some(PurgeCursor::Keys);
        }
        Ok(result)
    }

    fn purge_queue(
        &self,
        ctx: &mut WriteContext<'_, '_>,
        queue: RetentionQueue,
    ) -> Result<PurgeResult, StoreError> {
        let next = queue.next_queue().map(PurgeCursor::Queue);
        let mut result = PurgeResult::new(next);
        // No flow has an abandon timeout, so no draft counts as abandoned.
        let Some(retention) = self.retention_of(queue) else {
            return Ok(result);
        };
        // A draft is abandoned as soon as its timeout has passed. A row is removed only after its
        // retention has passed.
        let boundary = Millis::new(u64::from(queue != RetentionQueue::AbandonedDrafts));
        let until = ctx.latest_stamp_of_age(retention).minus(boundary);
        let recheck_at = until.plus(retention.clamp(Millis::new(1), RECHECK_INTERVAL));
        let max_rows = if queue == RetentionQueue::AbandonedDrafts {
            self.max_rows.min(ABANDONED_DRAFTS_MAX)
        } else {
            self.max_rows
        };
        let entries = retention_queue::list_oldest(ctx, queue, until, max_rows)?;
        let mut bytes = 0;
        for entry in &entries {
            // One entry can stand for many rows: the failed attempts of a job.
            if bytes >= SLICE_BYTES || result.rows_removed >= max_rows {
                break;
            }
            result.rows_read += 1;
            let decision =
                match self.decide_entry(ctx, queue, *entry, until, recheck_at, &mut bytes) {
                    Ok(decision) => decision,
                    Err(error) if error.affects_one_row() => {
                        result.record_unreadable(&error);
                        PurgeDecision::Postpone(recheck_at)
                    }
                    Err(error) => return Err(error),
                };
            retention_queue::remove_entry(ctx, queue, *entry)?;
            result.rows_removed += apply_decision(ctx, queue, entry.row, decision)?;
        }
        if result.rows_read < entries.len() || entries.len() == max_rows {
            result.next = Some(self.cursor);
        }
        Ok(result)
    }

    /// Returns the retention of the rows of `queue`. Returns `None` if the slice can skip the
    /// queue.
    fn retention_of(&self, queue: RetentionQueue) -> Option<Millis> {
        match queue {
            RetentionQueue::Submissions
            | RetentionQueue::Jobs
            | RetentionQueue::Drafts
            | RetentionQueue::Customers
            | RetentionQueue::HealthEvents => Some(self.submission_retention),
            RetentionQueue::Attempts | RetentionQueue::FlowErrors => Some(self.attempt_retention),
            RetentionQueue::AbandonedDrafts => self.abandon_timeouts.shortest(),
        }
    }

    /// Decides about one entry of `queue`. All rows of the queue up to `until` are past their
    /// retention.
    ///
    /// Adds the bytes that the function reads to `bytes`.
    fn decide_entry(
        &self,
        ctx: &WriteContext<'_, '_>,
        queue: RetentionQueue,
        entry: RetentionEntry,
        until: Timestamp,
        recheck_at: Timestamp,
        bytes: &mut usize,
    ) -> Result<PurgeDecision, StoreError> {
        let tables = &*ctx.tables;
        let (id, key) = (
            u64::try_from(entry.row).unwrap_or_default(),
            entry.row.to_be_bytes(),
        );
        match queue {
            RetentionQueue::Submissions => {
                decide_submission(ctx, SubmissionId::new(id), recheck_at, bytes)
            }
            RetentionQueue::Jobs => {
                let Some(job) = read_row::<Job>(&tables.jobs, id, bytes)? else {
                    return Ok(PurgeDecision::DropEntry);
                };
                Ok(match job.kind {
                    // The job gets a new entry when it finishes.
                    _ if !job.state.is_terminal() => PurgeDecision::DropEntry,
                    _ if retention_queue::ended_later(ctx, JobId::new(id), entry)? => {
                        PurgeDecision::DropEntry
                    }
                    JobKind::Process => PurgeDecision::DropEntry,
                    JobKind::Message => PurgeDecision::Job,
                    JobKind::Deliver => PurgeDecision::Delivery(deliveries::read_purgeable(
                        ctx,
                        JobId::new(id),
                        &job,
                        bytes,
                    )?),
                })
            }
            RetentionQueue::Attempts => {
                let job = read_row::<Job>(&tables.jobs, id, bytes)?;
                let is_over = job.is_none_or(|job| job.state.is_terminal());
                Ok(
                    if is_over && !retention_queue::ended_later(ctx, JobId::new(id), entry)? {
                        PurgeDecision::Attempts
                    } else {
                        PurgeDecision::DropEntry
                    },
                )
            }
            RetentionQueue::AbandonedDrafts => {
                let Some(draft) = drafts::find_stored_draft(ctx, &key, bytes)? else {
                    return Ok(PurgeDecision::DropEntry);
                };
                if drafts::is_marked_abandoned(ctx, &key)? {
                    return Ok(PurgeDecision::DropEntry);
                }
                // The config no longer has this flow, so the timeout of the flow is unknown.
                let Some(timeout) = self.abandon_timeouts.for_flow(&draft.draft.flow) else {
                    return Ok(PurgeDecision::Postpone(until.plus(RECHECK_INTERVAL)));
                };
                let left = minus(timeout, ctx.age(draft.stamp));
                Ok(if left == Millis::ZERO {
                    PurgeDecision::AbandonedDraft(draft)
                } else {
                    // The entry is read again after this time, or earlier.
                    PurgeDecision::Postpone(until.plus(left))
                })
            }
            RetentionQueue::Drafts => Ok(match drafts::find_stored_draft(ctx, &key, bytes)? {
                None => PurgeDecision::DropEntry,
                Some(draft) if draft.stamp > until => PurgeDecision::Postpone(draft.stamp),
                Some(_) => PurgeDecision::Draft,
            }),
            RetentionQueue::Customers => Ok(
                match tables
                    .customer_agents
                    .get(&key)?
                    .map(|row| Timestamp::from_millis(row.value().2))
                {
                    None => PurgeDecision::DropEntry,
                    Some(stamp) if stamp > until => PurgeDecision::Postpone(stamp),
                    Some(_) => PurgeDecision::Customer,
                },
            ),
            RetentionQueue::FlowErrors => Ok(PurgeDecision::FlowError),
            RetentionQueue::HealthEvents => Ok(PurgeDecision::HealthEvent),
        }
    }
}

/// Reads the row with this ID and adds its size to `bytes`.
pub(in crate::store) fn read_row<R: Row>(
    table: &Table<'_, u64, &'static [u8]>,
    id: u64,
    bytes: &mut usize,
) -> Result<Option<R>, StoreError> {
    let Some(row) = table.get(id)? else {
        return Ok(None);
    };
    *bytes += row.value().len();
    codec::decode(id, row.value()).map(Some)
}

/// Decides whether a submission is still needed and which rows are removed with the submission.
fn decide_submission(
    ctx: &WriteContext<'_, '_>,
    id: SubmissionId,
    recheck_at: Timestamp,
    bytes: &mut usize,
) -> Result<PurgeDecision, StoreError> {
    let tables = &*ctx.tables;
    let Some(row) = read_row::<StoredSubmission>(&tables.submissions, id.get(), bytes)? else {
        return Ok(PurgeDecision::DropEntry);
    };
    let job = read_row::<Job>(&tables.jobs, row.job_id.get(), bytes)?;
    if job.as_ref().is_some_and(|job| !job.state.is_terminal()) {
        return Ok(PurgeDecision::DropEntry);
    }
    let lead = job.and_then(|job| job.lead_id);
    if let Some(lead) = lead
        && let Some(lead) = read_row::<Lead>(&tables.leads, lead.get(), bytes)?
        && lead.state == LeadState::Open
    {
        return Ok(PurgeDecision::Postpone(recheck_at));
    }
    let booking = match row.booking_id {
        Some(id) => {
            read_row::<Booking>(&tables.bookings, id.get(), bytes)?.map(|booking| (id, booking))
        }
        None => None,
    };
    if booking
        .as_ref()
        .is_some_and(|(_, booking)| is_upcoming(ctx, &row, booking))
    {
        return Ok(PurgeDecision::Postpone(recheck_at));
    }
    Ok(PurgeDecision::Submission(PurgeableSubmission {
        job_id: row.job_id,
        lead_id: lead,
        booking,
    }))
}

/// Returns `true` if the appointment may still be in the future.
///
/// The wall clock alone does not decide, because it may be wrongly ahead. The time between the
/// receipt of the form and the end of the booking must also have elapsed by the expiry clock.
fn is_upcoming(batch: &WriteContext<'_, '_>, row: &StoredSubmission, booking: &Booking) -> bool {
    booking.state != BookingState::Cancelled
        && (booking.end >= batch.now || batch.age(row.stamp) < booking.end.since(row.received_at))
}

/// Applies the decision about `row` of `queue`. Returns the number of rows removed.
fn apply_decision(
    ctx: &mut WriteContext<'_, '_>,
    queue: RetentionQueue,
    row: u128,
    decision: PurgeDecision,
) -> Result<usize, StoreError> {
    let (id, key) = (u64::try_from(row).unwrap_or_default(), row.to_be_bytes());
    match decision {
        PurgeDecision::DropEntry => return Ok(0),
        PurgeDecision::Postpone(stamp) => {
            retention_queue::insert_entry(ctx, queue, RetentionEntry { stamp, row })?;
            return Ok(0);
        }
        PurgeDecision::AbandonedDraft(draft) => {
            drafts::mark_abandoned(ctx, &key, &draft.draft)?;
            return Ok(0);
        }
        PurgeDecision::Attempts => return remove_failed_attempts(ctx, id),
        PurgeDecision::Submission(purgeable) => {
            remove_submission(ctx, SubmissionId::new(id), &purgeable)?;
        }
        PurgeDecision::Job => remove_job(ctx, id)?,
        PurgeDecision::Delivery(purgeable) => {
            deliveries::remove_delivery(ctx, JobId::new(id), &purgeable)?;
            remove_job(ctx, id)?;
        }
        PurgeDecision::Draft => drafts::remove_draft(ctx, &key)?,
        PurgeDecision::Customer => {
            ctx.tables.customer_agents.remove(&key)?;
        }
        PurgeDecision::FlowError => {
            ctx.tables.flow_errors.remove(id)?;
        }
        PurgeDecision::HealthEvent => {
            ctx.tables.health_events.remove(id)?;
        }
    }
    Ok(1)
}

/// Removes a submission and its dependent rows.
fn remove_submission(
    ctx: &mut WriteContext<'_, '_>,
    id: SubmissionId,
    purgeable: &PurgeableSubmission,
) -> Result<(), StoreError> {
    ctx.tables.submissions.remove(id.get())?;
    ctx.tables
        .late_arrivals
        .retain_in((id.get(), 0)..=(id.get(), u64::MAX), |_, _| false)?;
    remove_job(ctx, purgeable.job_id.get())?;
    leads::drop_unknown_customer(ctx, id)?;
    if let Some(lead) = purgeable.lead_id {
        ctx.tables.leads.remove(lead.get())?;
    }
    if let Some((id, booking)) = &purgeable.booking {
        bookings::remove_booking(ctx, *id, booking)?;
    }
    Ok(())
}

fn remove_job(batch: &mut WriteContext<'_, '_>, job: u64) -> Result<(), StoreError> {
    batch.tables.jobs.remove(job)?;
    batch.tables.last_ends.remove(job)?;
    Ok(batch
        .tables
        .attempts
        .retain_in((job, 0)..=(job, u32::MAX), |_, _| false)?)
}

/// Removes the failed attempts of a job with their responses. The response to the last attempt
/// stays.
fn remove_failed_attempts(batch: &mut WriteContext<'_, '_>, job: u64) -> Result<usize, StoreError> {
    let rows = batch.tables.attempts.range((job, 0)..=(job, u32::MAX))?;
    let keys = rows
        .map(|row| Ok(row?.0.value()))
        .collect::<Result<Vec<_>, StoreError>>()?;
    for key in &keys {
        batch.tables.attempts.remove(key)?;
        batch.tables.delivery_responses.remove(key)?;
    }
    Ok(keys.len())
}
