//! Reads the status of a running server, or of the data file of a stopped one, for `flowgate
//! status` and for a metrics scraper.

use crate::store::{FORMAT_VERSION, Snapshot, StoreError, StoreHealth};

use super::context::AdminContext;
use super::error::AdminError;
use super::responses::{DestinationRow, JobCounts, LeadCounts, StatusRow, WriterStatus};
use super::{destinations, warnings};

/// Returns the status with all warnings.
pub(super) fn read_status(context: &AdminContext) -> Result<StatusRow, AdminError> {
    let snapshot = context.snapshot()?;
    let mut status = status_without_warnings(context, &snapshot)?;
    status.warnings = warnings::list_warnings(context, &snapshot, &status)?;
    Ok(status)
}

/// Returns the status without warnings, and all destinations, from one snapshot.
pub(super) fn metrics_rows(
    context: &AdminContext,
) -> Result<(StatusRow, Vec<DestinationRow>), AdminError> {
    let snapshot = context.snapshot()?;
    Ok((
        status_without_warnings(context, &snapshot)?,
        destinations::destination_rows(context, &snapshot)?,
    ))
}

fn status_without_warnings(
    context: &AdminContext,
    snapshot: &Snapshot,
) -> Result<StatusRow, StoreError> {
    let (store, server, now) = (&context.store, context.server.as_ref(), context.now());
    let counts = snapshot.counts()?;
    let running = u64::try_from(context.running_jobs().len())
        .unwrap_or(u64::MAX)
        .min(counts.jobs_scheduled);
    let oldest = snapshot.first_due_at()?.filter(|due| *due <= now);
    let (queued, capacity) = store.intake_queue_depth();
    let refusals = server.map(|server| (server.refusals)()).unwrap_or_default();
    Ok(StatusRow {
        health: server
            .map_or("stopped", |_| health_name(&store.health()))
            .to_owned(),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        data_format: Some(FORMAT_VERSION),
        listen: server.map(|server| server.listen),
        submissions: counts.submissions,
        drafts: counts.drafts,
        jobs: JobCounts {
            scheduled: counts.jobs_scheduled.saturating_sub(running),
            running,
            done: counts.jobs_done,
            dead: counts.jobs_dead,
        },
        oldest_due_seconds: oldest.map(|due| now.since(due).get() / 1000),
        leads: LeadCounts {
            open: counts.leads_open,
            unassigned: counts.leads_unassigned,
        },
        bookings: counts.bookings_confirmed,
        writer: WriterStatus {
            queued,
            capacity,
            stats: store.writer_stats(),
        },
        file_bytes: store.file_bytes(),
        free_bytes: store.free_space().0,
        refused: refusals
            .by_reason
            .iter()
            .map(|(reason, count)| ((*reason).to_owned(), *count))
            .collect(),
        backup: server.and_then(|server| (server.backup_status)()),
        warnings: Vec::new(),
    })
}

const fn health_name(health: &StoreHealth) -> &'static str {
    match health {
        StoreHealth::Ready => "ready",
        StoreHealth::LowSpace => "low_space",
        StoreHealth::NoSpace => "no_space",
        StoreHealth::Failed(_) => "failed",
        // A running server handles no request before its store is open.
        StoreHealth::WaitingForLock | StoreHealth::Opening | StoreHealth::Closed => "closed",
    }
}
