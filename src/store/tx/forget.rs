//! Removes the rows of one customer. The caller finds the rows and passes them in slices.
//!
//! A removal is recorded when it starts, so that it continues after a crash. No event reports the
//! end of a booking or a lead here, because the event would contain the data of the customer.
//!
//! See [`crate::store::forget`] for the search, and [`super::retention`] for rows that are removed
//! because of their age.

use crate::domain::delivery::{ResponseRecord, Suspension};
use crate::domain::ids::{JobId, SubmissionId};
use crate::domain::job::{Attempt, Job, JobState};
use crate::domain::lead::LeadState;
use crate::domain::time::Timestamp;

use super::deliveries;
use super::purge_rows::{self, PurgeableSubmission};
use super::{drafts, lead_queue, leads, schedule};
use crate::store::StoreResult;
use crate::store::engine::{Hash, Rows};
use crate::store::rows::forgets::PendingForget;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Text that replaces a text with the name of the customer.
const REMOVED_TEXT: &str = "removed: the text named a customer who was forgotten";

/// Row of the customer, or row with a text that names the customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomerRow {
    /// Submission with its job, lead, booking and late arrivals.
    Submission(SubmissionId),
    /// Delivery with its job, attempts, responses and receipt.
    Delivery(JobId),
    /// Message that could not be parsed, with its job and dead letter.
    Message(JobId),
    /// Draft by key.
    Draft(Hash),
    /// Completion of a form by row number.
    Completion(u64),
    /// Flow error by number.
    FlowError(u64),
    /// Health event by number.
    HealthEvent(u64),
    /// Change of a name.
    NameChange(Hash, Timestamp),
    /// Last agent of the customer.
    LastAgent(Hash),
    /// Last error of another job.
    JobError(JobId),
    /// Error of an attempt of another job.
    AttemptError(JobId, u32),
    /// Response to an attempt of another delivery.
    Response(JobId, u32),
    /// Reason of a suspension of a destination.
    Suspension(Box<str>),
}

/// Records that the removal of a customer starts. If an earlier removal of the same customer was
/// interrupted, its names count too.
#[derive(Debug)]
pub struct StartForget {
    /// Customer and flows.
    pub forget: PendingForget,
}

/// Removes rows of a customer. Rows that do not exist any more are skipped.
#[derive(Debug)]
pub struct ForgetRows {
    /// Rows to remove. Bounded by the caller, because the transaction shares its commit.
    pub rows: Vec<CustomerRow>,
}

/// Records that the removal of a customer is complete.
#[derive(Debug)]
pub struct FinishForget {
    /// Number of the removal.
    pub number: u64,
}

impl Transaction for StartForget {
    /// Number of the removal, and its row.
    type Outcome = (u64, PendingForget);

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<(u64, PendingForget)> {
        let mut forget = self.forget.clone();
        let (mut last, mut interrupted) = (0, None);
        for row in ctx.tables.pending_forgets.all_rows()? {
            let row = row?;
            let earlier = row.value()?.names;
            last = row.key();
            if earlier.given() == forget.names.given() {
                forget.names.learn_all(&earlier);
                interrupted = Some(last);
            }
        }
        let number = interrupted.unwrap_or_else(|| last.saturating_add(1));
        ctx.tables.pending_forgets.put(number, &forget)?;
        Ok((number, forget))
    }
}

impl Transaction for FinishForget {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        ctx.tables.pending_forgets.remove(self.number)?;
        Ok(())
    }
}

impl Transaction for ForgetRows {
    type Outcome = ();

    fn weight(&self) -> usize {
        self.rows.len()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        self.rows.iter().try_for_each(|row| forget_row(ctx, row))
    }
}

fn forget_row(ctx: &mut WriteContext<'_>, row: &CustomerRow) -> StoreResult<()> {
    match row {
        CustomerRow::Submission(id) => return forget_submission(ctx, *id),
        CustomerRow::Delivery(id) => return forget_delivery(ctx, *id),
        CustomerRow::Message(id) => return forget_message(ctx, *id),
        CustomerRow::Draft(key) => return drafts::remove_draft(ctx, key),
        CustomerRow::JobError(id) => return clear_job_error(ctx, *id),
        CustomerRow::AttemptError(id, number) => return clear_attempt(ctx, *id, *number),
        CustomerRow::Response(id, number) => return clear_response(ctx, *id, *number),
        CustomerRow::Suspension(name) => return clear_suspension(ctx, name),
        CustomerRow::Completion(number) => ctx.tables.completions.remove(*number)?,
        CustomerRow::FlowError(number) => ctx.tables.flow_errors.remove(*number)?,
        CustomerRow::HealthEvent(number) => ctx.tables.health_events.remove(*number)?,
        CustomerRow::NameChange(key, at) => ctx.tables.renamed_customers.remove((key, *at))?,
        CustomerRow::LastAgent(key) => ctx.tables.customer_agents.remove(key)?,
    };
    Ok(())
}

fn forget_submission(ctx: &mut WriteContext<'_>, id: SubmissionId) -> StoreResult<()> {
    let Some(row) = ctx.tables.submissions.get(id)? else {
        return Ok(());
    };
    let mut job = ctx.tables.jobs.get(row.job_id)?;
    let lead_id = job.as_ref().and_then(|job| job.lead_id);
    let lead = match lead_id {
        Some(lead) => ctx.tables.leads.get(lead)?,
        None => None,
    };
    let booking = match row.booking_id {
        Some(id) => ctx.tables.bookings.get(id)?.map(|booking| (id, booking)),
        None => None,
    };
    // All necessary rows are read.
    if let Some(job) = &mut job {
        end_job(ctx, row.job_id, job)?;
    }
    let open_lead = lead.filter(|lead| lead.state == LeadState::Open);
    if let Some((id, lead)) = lead_id.zip(open_lead.as_ref()) {
        leads::unassign_lead(ctx, id, lead)?;
    }
    let purgeable = PurgeableSubmission {
        job_id: row.job_id,
        lead_id,
        booking,
    };
    purge_rows::remove_submission(ctx, id, &purgeable)?;
    let waiting = (id, JobId::MIN)..=(id, JobId::MAX);
    ctx.tables.awaiting_customer.remove_range(waiting)?;
    if let Some(lead) = open_lead {
        // The agent can get another lead.
        lead_queue::assign_waiting(ctx, &lead.team, 1)?;
    }
    Ok(())
}

fn forget_delivery(ctx: &mut WriteContext<'_>, id: JobId) -> StoreResult<()> {
    let Some(mut job) = ctx.tables.jobs.get(id)? else {
        return Ok(());
    };
    let purgeable = deliveries::read_purgeable(ctx, id, &job, &mut 0)?;
    end_job(ctx, id, &mut job)?;
    deliveries::remove_delivery(ctx, id, &purgeable)?;
    purge_rows::remove_job(ctx, id)
}

fn forget_message(ctx: &mut WriteContext<'_>, id: JobId) -> StoreResult<()> {
    let Some(mut job) = ctx.tables.jobs.get(id)? else {
        return Ok(());
    };
    end_job(ctx, id, &mut job)?;
    purge_rows::remove_job(ctx, id)
}

/// Removes a job from its schedule and its dead letter, before the row of the job is removed.
fn end_job(ctx: &mut WriteContext<'_>, id: JobId, job: &mut Job) -> StoreResult<()> {
    if job.state == JobState::Scheduled {
        let now = ctx.now;
        schedule::move_job(ctx, id, job, JobState::Discarded, now)?;
    }
    ctx.tables.dead_letters.remove(id)?;
    ctx.tables.retried_dead_letters.remove(id)?;
    Ok(())
}

fn clear_job_error(ctx: &mut WriteContext<'_>, id: JobId) -> StoreResult<()> {
    if let Some(job) = ctx.tables.jobs.get(id)? {
        let last_error = Some(REMOVED_TEXT.to_owned());
        ctx.tables.jobs.put(id, &Job { last_error, ..job })?;
    }
    if let Some(mut dead_letter) = ctx.tables.dead_letters.get(id)? {
        REMOVED_TEXT.clone_into(&mut dead_letter.reason);
        ctx.tables.dead_letters.put(id, &dead_letter)?;
    }
    Ok(())
}

fn clear_attempt(ctx: &mut WriteContext<'_>, id: JobId, number: u32) -> StoreResult<()> {
    if let Some(attempt) = ctx.tables.attempts.get((id, number))? {
        let error = Some(REMOVED_TEXT.to_owned());
        let attempt = Attempt { error, ..attempt };
        ctx.tables.attempts.put((id, number), &attempt)?;
    }
    Ok(())
}

fn clear_response(ctx: &mut WriteContext<'_>, id: JobId, number: u32) -> StoreResult<()> {
    if let Some(response) = ctx.tables.delivery_responses.get((id, number))? {
        let response = ResponseRecord {
            body_excerpt: REMOVED_TEXT.into(),
            ..response
        };
        let table = &mut ctx.tables.delivery_responses;
        table.put((id, number), &response)?;
    }
    Ok(())
}

fn clear_suspension(ctx: &mut WriteContext<'_>, name: &str) -> StoreResult<()> {
    if let Some(suspension) = ctx.tables.suspensions.get(name)? {
        let disabled = suspension.disabled.map(|(at, _)| (at, REMOVED_TEXT.into()));
        let suspension = Suspension {
            disabled,
            ..suspension
        };
        ctx.tables.suspensions.put(name, &suspension)?;
    }
    Ok(())
}
