//! Removes rows past their retention together with the rows that depend on them.
//!
//! See [`super::retention`] for the decision about a row.

use crate::domain::booking::Booking;
use crate::domain::ids::{BookingId, JobId, LeadId, SubmissionId};

use super::{bookings, customer_agents};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::writer::write_context::WriteContext;

/// Rows that are removed with a submission.
pub struct PurgeableSubmission {
    pub job_id: JobId,
    pub lead_id: Option<LeadId>,
    pub booking: Option<(BookingId, Booking)>,
}

/// Removes a submission and its dependent rows.
pub fn remove_submission(
    ctx: &mut WriteContext<'_>,
    id: SubmissionId,
    purgeable: &PurgeableSubmission,
) -> StoreResult<()> {
    ctx.tables.submissions.remove(id)?;
    ctx.tables
        .late_arrivals
        .remove_range((id, 0)..=(id, u64::MAX))?;
    remove_job(ctx, purgeable.job_id)?;
    customer_agents::drop_unknown_customer(ctx, id)?;
    if let Some(lead) = purgeable.lead_id {
        ctx.tables.leads.remove(lead)?;
    }
    if let Some((id, booking)) = &purgeable.booking {
        bookings::remove_booking(ctx, *id, booking)?;
    }
    Ok(())
}

pub fn remove_job(ctx: &mut WriteContext<'_>, job: JobId) -> StoreResult<()> {
    ctx.tables.jobs.remove(job)?;
    ctx.tables.last_ends.remove(job)?;
    ctx.tables
        .attempts
        .remove_range((job, 0)..=(job, u32::MAX))?;
    Ok(())
}

/// Removes the failed attempts of a job with their responses. The response to the last attempt
/// stays.
pub fn remove_failed_attempts(ctx: &mut WriteContext<'_>, job: JobId) -> StoreResult<usize> {
    let rows = ctx.tables.attempts.range((job, 0)..=(job, u32::MAX))?;
    let keys = rows
        .map(|row| Ok(row?.key()))
        .collect::<StoreResult<Vec<_>>>()?;
    for key in &keys {
        ctx.tables.attempts.remove(*key)?;
        ctx.tables.delivery_responses.remove(*key)?;
    }
    Ok(keys.len())
}
