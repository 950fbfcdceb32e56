//! Removes expired idempotency keys with their completions, and rows past their retention. The
//! module also emits the events of abandoned drafts, and closes leads by their age.
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

use crate::domain::booking::{Booking, BookingState};
use crate::domain::flow::FlowTimeouts;
use crate::domain::ids::{JobId, LeadId, SubmissionId};
use crate::domain::job::JobKind;
use crate::domain::lead::{Lead, LeadState};
use crate::domain::time::{Millis, Timestamp};

use super::deliveries::{self, PurgeableDelivery};
use super::lead_closing::{self, AgeDecision};
use super::purge_result::{PurgeCursor, PurgeResult};
use super::purge_rows::{
    PurgeableSubmission, remove_failed_attempts, remove_job, remove_submission,
};
use super::retention_queue::{self, RetentionEntry, RetentionQueue};
use super::{completions, customer_changes, drafts};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::expiry_clock::downtime::minus;
use crate::store::rows::drafts::StoredDraft;
use crate::store::rows::submissions::StoredSubmission;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Bytes of rows that a slice may read. The slice stops after the row that reaches this limit.
const SLICE_BYTES: u64 = 1 << 20;

/// Maximum number of abandoned drafts, or of leads to close, that a slice handles. Each of these
/// forms is written as a whole once more, into its event.
const EVENTS_MAX: usize = 64;

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
    /// Retention of the audit log.
    pub audit_retention: Millis,
    /// Time after which a draft without a next screen counts as abandoned, by flow.
    pub abandon_timeouts: FlowTimeouts,
    /// Age at which an open lead is closed, by flow.
    pub close_timeouts: FlowTimeouts,
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
    /// Closes a lead because of its age.
    CloseLead(Lead),
    /// Removes a draft.
    Draft,
    /// Removes the link from a customer to their last agent.
    Customer,
    /// Removes a flow error.
    FlowError,
    /// Removes a health event.
    HealthEvent,
    /// Removes an entry of the audit log.
    AuditEntry,
}

impl Transaction for PurgeSlice {
    type Outcome = PurgeResult;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<PurgeResult> {
        match self.cursor {
            PurgeCursor::Keys => self.purge_keys(ctx),
            PurgeCursor::Queue(queue) => self.purge_queue(ctx, queue),
        }
    }
}

impl PurgeSlice {
    fn purge_keys(&self, ctx: &mut WriteContext<'_>) -> StoreResult<PurgeResult> {
        let mut result = PurgeResult::new(Some(PurgeCursor::Queue(RetentionQueue::Submissions)));
        let state = &mut *ctx.state;
        let expired = state.dedup.remove_expired(
            &mut ctx.tables,
            &state.counters,
            ctx.expiry_now,
            self.max_rows,
            |error| result.record_unreadable(error),
        )?;
        let evicted =
            state
                .dedup
                .evict_oldest(&mut ctx.tables, &mut state.counters, self.max_rows)?;
        let completions = completions::purge_completions(ctx, self.max_rows)?;
        let changes = customer_changes::purge_customer_changes(ctx)?;
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
        ctx: &mut WriteContext<'_>,
        queue: RetentionQueue,
    ) -> StoreResult<PurgeResult> {
        let next = queue.next_queue().map(PurgeCursor::Queue);
        let mut result = PurgeResult::new(next);
        // No flow has an abandon timeout, so no draft counts as abandoned.
        let Some(retention) = self.retention_of(queue) else {
            return Ok(result);
        };
        // A draft is abandoned, and a lead is closed, as soon as its timeout has passed. A row is
        // removed only after its retention has passed.
        let emits_events = matches!(
            queue,
            RetentionQueue::AbandonedDrafts | RetentionQueue::OpenLeads
        );
        let boundary = Millis::new(u64::from(!emits_events));
        let until = ctx.latest_stamp_of_age(retention).minus(boundary);
        let recheck_at = until.plus(retention.clamp(Millis::new(1), RECHECK_INTERVAL));
        let max_rows = if emits_events {
            self.max_rows.min(EVENTS_MAX)
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
            RetentionQueue::AuditLog => Some(self.audit_retention),
            RetentionQueue::AbandonedDrafts => self.abandon_timeouts.shortest(),
            // Also without a timeout, the entries of closed leads must leave the queue.
            RetentionQueue::OpenLeads => {
                let shortest = self.close_timeouts.shortest();
                shortest
                    .into_iter()
                    .chain([self.submission_retention])
                    .min()
            }
        }
    }

    /// Decides about one entry of `queue`. All rows of the queue up to `until` are past their
    /// retention.
    ///
    /// Adds the bytes that the function reads to `bytes`.
    fn decide_entry(
        &self,
        ctx: &WriteContext<'_>,
        queue: RetentionQueue,
        entry: RetentionEntry,
        until: Timestamp,
        recheck_at: Timestamp,
        bytes: &mut u64,
    ) -> StoreResult<PurgeDecision> {
        let tables = &ctx.tables;
        let (id, key) = (
            u64::try_from(entry.row).unwrap_or_default(),
            entry.row.to_be_bytes(),
        );
        match queue {
            RetentionQueue::Submissions => {
                decide_submission(ctx, SubmissionId::new(id), recheck_at, bytes)
            }
            RetentionQueue::Jobs => {
                let Some(job) = tables.jobs.get_sized(JobId::new(id), bytes)? else {
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
                let job = tables.jobs.get_sized(JobId::new(id), bytes)?;
                let is_over = job.is_none_or(|job| job.state.is_terminal());
                Ok(
                    if is_over && !retention_queue::ended_later(ctx, JobId::new(id), entry)? {
                        PurgeDecision::Attempts
                    } else {
                        PurgeDecision::DropEntry
                    },
                )
            }
            RetentionQueue::AbandonedDrafts => self.decide_abandoned_draft(ctx, &key, until, bytes),
            RetentionQueue::Drafts => Ok(match tables.drafts.get_sized(&key, bytes)? {
                None => PurgeDecision::DropEntry,
                Some(draft) if draft.stamp > until => PurgeDecision::Postpone(draft.stamp),
                Some(_) => PurgeDecision::Draft,
            }),
            RetentionQueue::Customers => Ok(match tables.customer_agents.get(&key)? {
                None => PurgeDecision::DropEntry,
                Some((_, _, stamp)) if stamp > until => PurgeDecision::Postpone(stamp),
                Some(_) => PurgeDecision::Customer,
            }),
            RetentionQueue::OpenLeads => self.decide_lead(ctx, LeadId::new(id), until, bytes),
            RetentionQueue::FlowErrors => Ok(PurgeDecision::FlowError),
            RetentionQueue::HealthEvents => Ok(PurgeDecision::HealthEvent),
            RetentionQueue::AuditLog => Ok(PurgeDecision::AuditEntry),
        }
    }

    /// Decides about a draft that may be abandoned. See [`PurgeSlice::decide_entry`].
    fn decide_abandoned_draft(
        &self,
        ctx: &WriteContext<'_>,
        key: &[u8; 16],
        until: Timestamp,
        bytes: &mut u64,
    ) -> StoreResult<PurgeDecision> {
        let Some(draft) = ctx.tables.drafts.get_sized(key, bytes)? else {
            return Ok(PurgeDecision::DropEntry);
        };
        if drafts::is_marked_abandoned(ctx, key)? {
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

    /// Decides about an open lead. See [`PurgeSlice::decide_entry`].
    fn decide_lead(
        &self,
        ctx: &WriteContext<'_>,
        id: LeadId,
        until: Timestamp,
        bytes: &mut u64,
    ) -> StoreResult<PurgeDecision> {
        let timeout = |lead: &Lead| self.close_timeouts.for_flow(&lead.flow);
        let decision = lead_closing::decide_by_age(ctx, id, timeout, RECHECK_INTERVAL, bytes)?;
        Ok(match decision {
            AgeDecision::NotOpen => PurgeDecision::DropEntry,
            AgeDecision::Close(lead) => PurgeDecision::CloseLead(lead),
            AgeDecision::Wait(left) => PurgeDecision::Postpone(until.plus(left)),
        })
    }
}

/// Decides whether a submission is still needed and which rows are removed with the submission.
fn decide_submission(
    ctx: &WriteContext<'_>,
    id: SubmissionId,
    recheck_at: Timestamp,
    bytes: &mut u64,
) -> StoreResult<PurgeDecision> {
    let tables = &ctx.tables;
    let Some(row) = tables.submissions.get_sized(id, bytes)? else {
        return Ok(PurgeDecision::DropEntry);
    };
    let job = tables.jobs.get_sized(row.job_id, bytes)?;
    if job.as_ref().is_some_and(|job| !job.state.is_terminal()) {
        return Ok(PurgeDecision::DropEntry);
    }
    let lead = job.and_then(|job| job.lead_id);
    if let Some(lead) = lead
        && let Some(lead) = tables.leads.get_sized(lead, bytes)?
        && lead.state == LeadState::Open
    {
        return Ok(PurgeDecision::Postpone(recheck_at));
    }
    let booking = match row.booking_id {
        Some(id) => {
            let booking = tables.bookings.get_sized(id, bytes)?;
            booking.map(|booking| (id, booking))
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
fn is_upcoming(ctx: &WriteContext<'_>, row: &StoredSubmission, booking: &Booking) -> bool {
    booking.state != BookingState::Cancelled
        && (booking.end >= ctx.now || ctx.age(row.stamp) < booking.end.since(row.received_at))
}

/// Applies the decision about `row` of `queue`. Returns the number of rows removed.
fn apply_decision(
    ctx: &mut WriteContext<'_>,
    queue: RetentionQueue,
    row: u128,
    decision: PurgeDecision,
) -> StoreResult<usize> {
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
        PurgeDecision::CloseLead(lead) => {
            lead_closing::close_by_age(ctx, LeadId::new(id), lead)?;
            return Ok(0);
        }
        PurgeDecision::Attempts => return remove_failed_attempts(ctx, JobId::new(id)),
        PurgeDecision::Submission(purgeable) => {
            remove_submission(ctx, SubmissionId::new(id), &purgeable)?;
        }
        PurgeDecision::Job => remove_job(ctx, JobId::new(id))?,
        PurgeDecision::Delivery(purgeable) => {
            let id = JobId::new(id);
            deliveries::remove_delivery(ctx, id, &purgeable)?;
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
        PurgeDecision::AuditEntry => {
            ctx.tables.audit_log.remove(id)?;
        }
    }
    Ok(1)
}
