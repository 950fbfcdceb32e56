//! Closes all open leads that match a selection.

use super::deliveries::SAMPLES_MAX;
use crate::admin::context::AdminContext;
use crate::admin::error::AdminError;
use crate::admin::protocol::LeadSelection;
use crate::admin::queries::list_open_leads;
use crate::admin::responses::{DryRunRow, JobChangeRow, LeadRow};
use crate::domain::ids::LeadId;
use crate::domain::lead::CloseReason;
use crate::store::CloseLeads;

/// Maximum number of leads that one transaction closes. Each close reads the form for its event.
const SLICE_LEADS: usize = 50;

/// Closes the selected leads in slices, or shows the first of them in a dry run. Other transactions
/// can run between the slices. If the process dies, the committed slices stay.
pub(super) fn close_leads(
    context: &AdminContext,
    selection: &LeadSelection,
) -> Result<JobChangeRow<LeadRow>, AdminError> {
    if let Some(name) = &selection.agent {
        let agents = context.snapshot()?.agents()?;
        if !agents.iter().any(|(_, agent)| agent.name == *name) {
            return Err(AdminError::missing("agent", name));
        }
    }
    let mut rows = list_open_leads(context, selection)?;
    // The oldest lead comes first, as in the order of creation.
    rows.reverse();
    if selection.dry_run {
        let would_change = rows.len();
        rows.truncate(SAMPLES_MAX);
        return Ok(JobChangeRow::DryRun(DryRunRow {
            would_change,
            expired_messages: None,
            samples: rows,
        }));
    }
    let ids: Vec<LeadId> = rows.into_iter().map(|lead| lead.id).collect();
    let mut changed = 0;
    for slice in ids.chunks(SLICE_LEADS) {
        let closed = context.store.execute_blocking(CloseLeads {
            lead_ids: slice.to_vec(),
            reason: CloseReason::Command,
        })?;
        changed += closed.closed;
        for (lead, error) in closed.unreadable {
            tracing::warn!(lead.id = lead.get(), error = %error, "unreadable lead skipped: run `flowgate check`");
        }
    }
    Ok(JobChangeRow::All { changed })
}
