//! Discards waiting deliveries: a single one, or all to one destination.

use crate::admin::context::AdminContext;
use crate::admin::error::AdminError;
use crate::admin::protocol::JobSelector;
use crate::admin::queries::{delivery_not_found, delivery_rows};
use crate::admin::responses::{DeliveryRow, DryRunRow, JobChangeRow};
use crate::domain::ids::JobId;
use crate::domain::job::JobState;
use crate::store::{DeadLetterOutcome, DiscardDeliveries};

/// Maximum number of dead letters or deliveries that a dry run shows.
pub(super) const SAMPLES_MAX: usize = 3;

/// Maximum number of dead letters or deliveries that one transaction changes.
pub(super) const SLICE_JOBS: usize = 100;

pub(super) fn discard_deliveries(
    context: &AdminContext,
    selector: JobSelector,
) -> Result<JobChangeRow<DeliveryRow>, AdminError> {
    let (filter, dry_run) = match selector {
        JobSelector::One { id, .. } => return discard_one(context, id),
        JobSelector::All {
            filter, dry_run, ..
        } => (filter, dry_run),
    };
    let Some(destination) = &filter.destination else {
        return Err(AdminError::invalid(
            "name the destination whose deliveries are discarded: --destination NAME",
        ));
    };
    let chosen = context.snapshot()?.waiting_deliveries(destination)?;
    if dry_run {
        let samples = chosen.get(..SAMPLES_MAX).unwrap_or(&chosen);
        return Ok(JobChangeRow::DryRun(DryRunRow {
            would_change: chosen.len(),
            expired_messages: None,
            samples: delivery_rows(context, samples)?,
        }));
    }
    // The newest delivery comes first. In an ordered queue, later deliveries are discarded before
    // the one in front. If the one in front were first, another delivery would move up.
    let mut changed = 0;
    for slice in chosen.chunks(SLICE_JOBS) {
        let job_ids = slice.to_vec();
        let outcomes = context
            .store
            .execute_blocking(DiscardDeliveries { job_ids })?;
        changed += outcomes
            .iter()
            .filter(|outcome| matches!(outcome, DeadLetterOutcome::Updated(_)))
            .count();
    }
    Ok(JobChangeRow::All { changed })
}

fn discard_one(context: &AdminContext, id: JobId) -> Result<JobChangeRow<DeliveryRow>, AdminError> {
    let job_ids = vec![id];
    let outcomes = context
        .store
        .execute_blocking(DiscardDeliveries { job_ids })?;
    let refused = match outcomes.as_slice() {
        [DeadLetterOutcome::Updated(state)] => {
            let state = state.as_str();
            return Ok(JobChangeRow::One { id, state });
        }
        [DeadLetterOutcome::Refused(refused)] => refused,
        _ => return Err(delivery_not_found(id)),
    };
    let suggestion = match refused.state {
        JobState::Dead => format!(": run `flowgate dead-letters discard {id}`"),
        _ => String::new(),
    };
    Err(AdminError::failed(format!(
        "only a scheduled delivery can be discarded here, and delivery {id} is {}{suggestion}",
        refused.state.as_str()
    )))
}
