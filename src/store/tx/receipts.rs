//! Stores the receipts of sent messages, and applies Meta's statuses to deliveries.
//!
//! A receipt stores attempts with an unknown outcome and the progress by Meta's statuses. The
//! module also stores which deliveries wait for their customer.
//!
//! The store records that a message may exist before the message is sent. If the connection or the
//! process breaks, the attempt waits for a status instead of an immediate retry. Without this, a
//! message could be sent twice.
//!
//! See [`crate::domain::delivery::receipt`] and [`crate::domain::delivery::cloud_error`] for the
//! meaning of a status.

use crate::domain::delivery::cloud_error::{self, CloudError};
use crate::domain::delivery::receipt::{PendingAttempt, Receipt, ReceiptChange, StatusUpdate};
use crate::domain::ids::{JobId, SubmissionId};
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Job, JobEvent, JobState};
use crate::domain::time::Timestamp;

use super::{attempts, customers, schedule, suspensions};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Records that a message of a delivery may exist from now on.
#[derive(Debug)]
pub struct BeginDelivery {
    /// Job ID of the delivery.
    pub job_id: JobId,
    /// Pending attempt, with the time until which the delivery waits for a status if no response
    /// arrives.
    pub pending_attempt: PendingAttempt,
}

/// Defers a delivery without an attempt.
#[derive(Clone, Debug)]
pub struct DeferDelivery {
    /// Job ID of the delivery.
    pub job_id: JobId,
    /// Latest time at which the delivery is due.
    pub due_at: Timestamp,
    /// Reason for which the delivery waits.
    pub reason: DeferReason,
}

/// Reason for which a delivery waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeferReason {
    /// A status must show whether the message exists.
    AwaitingStatus,
    /// The customer of this submission must become known, because the delivery needs the customer.
    AwaitingCustomer(SubmissionId),
}

/// Result of an attempt for its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageOutcome {
    /// The message exists. The value is Meta's message ID.
    Accepted(Box<str>),
    /// No message exists.
    NoMessage,
    /// A message may exist: the record of [`BeginDelivery`] stays.
    Unknown,
}

/// Result of [`record_message_outcome`]: `Yes` if a status of the attempt arrived before the
/// response and has decided the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Superseded {
    Yes,
    No,
}

impl Transaction for BeginDelivery {
    /// `true` if the delivery still waits and may be sent.
    type Outcome = bool;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<bool> {
        let job = ctx.tables.jobs.get(self.job_id)?;
        let is_scheduled = job.is_some_and(|job| job.state == JobState::Scheduled);
        if is_scheduled {
            let receipt = ctx.tables.receipts.get(self.job_id)?.unwrap_or_default();
            let receipt = Receipt {
                pending_attempt: Some(self.pending_attempt),
                ..receipt
            };
            ctx.tables.receipts.put(self.job_id, &receipt)?;
        }
        Ok(is_scheduled)
    }
}

impl Transaction for DeferDelivery {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        let mut job = ctx.tables.jobs.require(self.job_id)?;
        if job.state != JobState::Scheduled {
            return Ok(());
        }
        match self.reason {
            // The customer became known while this transaction was in the queue.
            DeferReason::AwaitingCustomer(submission) if is_customer_known(ctx, submission)? => {
                return Ok(());
            }
            DeferReason::AwaitingCustomer(submission) => {
                ctx.tables
                    .awaiting_customer
                    .add((submission, self.job_id))?;
            }
            DeferReason::AwaitingStatus => {}
        }
        schedule::move_job(ctx, self.job_id, &mut job, JobState::Scheduled, self.due_at)
    }
}

/// Records the message outcome of an attempt. If a status arrived before, its effect stays.
pub fn record_message_outcome(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    outcome: &MessageOutcome,
) -> StoreResult<Superseded> {
    let known = ctx.tables.receipts.get(id)?.unwrap_or_default();
    let receipt = match outcome {
        MessageOutcome::Accepted(wamid) if known.has_failed(wamid) => return Ok(Superseded::Yes),
        MessageOutcome::Accepted(wamid) => {
            index_wamid(ctx, id, known.wamid.as_deref(), wamid)?;
            let previous = if known.wamid.as_ref() == Some(wamid) {
                known
            } else {
                Receipt::default()
            };
            Receipt {
                wamid: Some(wamid.clone()),
                pending_attempt: None,
                ..previous
            }
        }
        MessageOutcome::NoMessage => Receipt {
            pending_attempt: None,
            ..known
        },
        MessageOutcome::Unknown => return Ok(Superseded::No),
    };
    ctx.tables.receipts.put(id, &receipt)?;
    Ok(Superseded::No)
}

/// Applies a status and its consequences. A status of an unknown message changes nothing.
pub fn apply_status(ctx: &mut WriteContext<'_>, update: &StatusUpdate) -> StoreResult<()> {
    let Some(id) = find_delivery_of_status(ctx, update)? else {
        return Ok(());
    };
    let mut receipt = ctx.tables.receipts.get(id)?.unwrap_or_default();
    let (pending_attempt, previous_wamid) = (receipt.pending_attempt, receipt.wamid.clone());
    let change = receipt.apply_status(update);
    if change == ReceiptChange::Unchanged {
        return Ok(());
    }
    receipt.pending_attempt = None;
    ctx.tables.receipts.put(id, &receipt)?;
    index_wamid(ctx, id, previous_wamid.as_deref(), &update.wamid)?;
    let job = ctx.tables.jobs.require(id)?;
    match (change, pending_attempt) {
        (ReceiptChange::Failed(error), _) => {
            fail_after_acceptance(ctx, id, job, pending_attempt, error)
        }
        (_, Some(pending_attempt)) => confirm(ctx, id, job, pending_attempt),
        // No attempt was pending: the message was accepted already, or an admin must judge the dead
        // letter.
        _ => Ok(()),
    }
}

/// Confirms that the message exists: the pending attempt was successful.
fn confirm(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    mut job: Job,
    pending_attempt: PendingAttempt,
) -> StoreResult<()> {
    let Ok(state) = job.state.transition(JobEvent::Finish) else {
        return Ok(());
    };
    if pending_attempt.number > job.attempts {
        attempts::record_success(&mut job, &pending_attempt.to_attempt(None));
        ctx.tables.retried_dead_letters.remove(id)?;
        return schedule::move_job(ctx, id, &mut job, state, ctx.now);
    }
    attempts::confirm_late(ctx, id, &mut job, state, &pending_attempt.to_attempt(None))
}

/// Handles the failure of a message that was accepted before, or whose outcome was unknown.
fn fail_after_acceptance(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    mut job: Job,
    pending_attempt: Option<PendingAttempt>,
    error: CloudError,
) -> StoreResult<()> {
    if !matches!(job.state, JobState::Done | JobState::Scheduled) {
        return Ok(());
    }
    let reason = format!("failed after acceptance: {}", error.summary());
    // The response to this attempt has not arrived yet. When it arrives, `record_message_outcome`
    // finds that the message has failed.
    let uncounted = pending_attempt.filter(|pending_attempt| pending_attempt.number > job.attempts);
    let attempts = job
        .attempts_since_manual_retry
        .saturating_add(u32::from(uncounted.is_some()));
    let decision = match cloud_error::retry_after_failed_status(error, attempts) {
        Some(pause) => RetryDecision::RetryAt {
            at: ctx.now.plus(pause),
        },
        None => RetryDecision::GiveUp,
    };
    match (
        uncounted,
        job.state.transition(attempts::event_of(decision)),
    ) {
        (Some(pending_attempt), Ok(state)) => {
            let attempt = pending_attempt.to_attempt(Some(reason));
            attempts::record_failed_attempt(ctx, id, &mut job, state, &attempt, decision)?;
        }
        _ => attempts::reopen(ctx, id, &mut job, &reason, decision)?,
    }
    if error.blocks_destination() {
        suspensions::disable_destination(ctx, id, &error.summary())
    } else {
        Ok(())
    }
}

/// Finds the delivery of a status.
fn find_delivery_of_status(
    ctx: &WriteContext<'_>,
    update: &StatusUpdate,
) -> StoreResult<Option<JobId>> {
    let Some(callback) = &update.callback else {
        return ctx.tables.wamids.get(&update.wamid);
    };
    let delivery = ctx.tables.deliveries.get(callback.job_id)?;
    Ok(delivery
        .filter(|delivery| delivery.webhook_id == callback.webhook_id)
        .map(|_| callback.job_id))
}

/// Makes the deliveries due that waited for the customer of `submission`, who is known now.
pub fn release_awaiting_customer(
    ctx: &mut WriteContext<'_>,
    submission: SubmissionId,
) -> StoreResult<()> {
    let range = (submission, JobId::MIN)..=(submission, JobId::MAX);
    let rows = ctx.tables.awaiting_customer.range(range.clone())?;
    let waiting = rows
        .map(|row| Ok(row?.key().1))
        .collect::<StoreResult<Vec<_>>>()?;
    ctx.tables.awaiting_customer.remove_range(range)?;
    for id in waiting {
        let Some(mut job) = ctx.tables.jobs.get(id)? else {
            continue;
        };
        if job.state == JobState::Scheduled {
            schedule::move_job(ctx, id, &mut job, JobState::Scheduled, ctx.now)?;
        }
    }
    Ok(())
}

/// Removes the receipt of a delivery, the index row of `wamid`, and the row that waits for the
/// customer of `submission`.
pub fn remove_receipt(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    wamid: Option<&str>,
    submission: Option<SubmissionId>,
) -> StoreResult<()> {
    ctx.tables.receipts.remove(id)?;
    if let Some(wamid) = wamid {
        ctx.tables.wamids.remove(wamid)?;
    }
    if let Some(submission) = submission {
        ctx.tables.awaiting_customer.remove((submission, id))?;
    }
    Ok(())
}

fn is_customer_known(ctx: &WriteContext<'_>, submission: SubmissionId) -> StoreResult<bool> {
    let row = ctx.tables.submissions.require(submission)?;
    let customer = customers::customer_of_submission(ctx, submission, &row.submission.customer)?;
    Ok(!customer.is_unknown())
}

/// Indexes delivery `id` by its message ID and removes the index row of message ID `previous`.
///
/// Each status of a message calls this function. The row is in a separate page, so the function
/// writes the row only for the first status.
fn index_wamid(
    ctx: &mut WriteContext<'_>,
    id: JobId,
    previous: Option<&str>,
    wamid: &str,
) -> StoreResult<()> {
    if previous == Some(wamid) {
        return Ok(());
    }
    if let Some(previous) = previous {
        ctx.tables.wamids.remove(previous)?;
    }
    ctx.tables.wamids.put(wamid, &id)?;
    Ok(())
}
