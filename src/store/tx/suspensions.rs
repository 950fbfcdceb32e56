//! Pauses, disables and resumes destinations. Deliveries to a suspended destination wait.

use crate::domain::delivery::Suspension;
use crate::domain::ids::{DestinationName, JobId};

use super::events;
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Pauses or resumes a destination. A resume lifts every suspension of the destination. No delivery
/// is lost during a pause.
#[derive(Debug)]
pub struct PauseDestination {
    /// Destination name.
    pub destination: DestinationName,
    /// `true` to pause the destination, `false` to resume it.
    pub is_paused: bool,
}

impl Transaction for PauseDestination {
    type Outcome = Suspension;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<Suspension> {
        let suspension = if self.is_paused {
            let previous = find_suspension(ctx, &self.destination)?;
            Suspension {
                paused_at: previous.paused_at.or(Some(ctx.now)),
                ..previous
            }
        } else {
            // The stored row is not read, so a resume also replaces an unreadable row.
            Suspension::default()
        };
        put_suspension(ctx, &self.destination, &suspension)?;
        ctx.has_new_deliveries = true;
        Ok(suspension)
    }
}

/// Disables the destination of the delivery `job`, and emits the event of the suspension once.
pub fn disable_destination(
    ctx: &mut WriteContext<'_>,
    job: JobId,
    reason: &str,
) -> StoreResult<()> {
    let destination = ctx.tables.deliveries.require(job)?.destination;
    let mut suspension = find_suspension(ctx, &destination)?;
    if suspension.disabled.is_none() {
        suspension.disabled = Some((ctx.now, reason.into()));
        put_suspension(ctx, &destination, &suspension)?;
        events::emit_destination_stopped(ctx, &destination, reason)?;
    }
    Ok(())
}

fn find_suspension(
    ctx: &WriteContext<'_>,
    destination: &DestinationName,
) -> StoreResult<Suspension> {
    let stored = ctx.tables.suspensions.get(destination.as_str())?;
    Ok(stored.unwrap_or_default())
}

fn put_suspension(
    ctx: &mut WriteContext<'_>,
    destination: &DestinationName,
    suspension: &Suspension,
) -> StoreResult<()> {
    let (table, name) = (&mut ctx.tables.suspensions, destination.as_str());
    if suspension.is_lifted() {
        table.remove(name)?;
    } else {
        table.put(name, suspension)?;
    }
    Ok(())
}
