//! Stores entries of the audit log. An entry is stored before its action, and its outcome after.
//!
//! See [`super::retention`] for the removal.

use crate::domain::access::audit::{AuditEntry, AuditOutcome};

use super::retention_queue::{self, RetentionQueue};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Stores a new entry.
#[derive(Debug)]
pub struct BeginAudit {
    /// Entry. The transaction sets the time.
    pub entry: AuditEntry,
}

/// Stores the outcome of an entry.
#[derive(Debug)]
pub struct EndAudit {
    /// Number of the entry.
    pub number: u64,
    /// Outcome of the action.
    pub outcome: AuditOutcome,
}

impl Transaction for BeginAudit {
    /// Number of the entry.
    type Outcome = u64;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<u64> {
        let last = ctx.tables.audit_log.last()?.map_or(0, |row| row.key());
        let number = last.saturating_add(1);
        let entry = AuditEntry {
            at: ctx.now,
            ..self.entry.clone()
        };
        ctx.tables.audit_log.put(number, &entry)?;
        retention_queue::enqueue_row(ctx, RetentionQueue::AuditLog, number.into())?;
        Ok(number)
    }
}

impl Transaction for EndAudit {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        if let Some(mut entry) = ctx.tables.audit_log.get(self.number)? {
            entry.outcome = self.outcome;
            ctx.tables.audit_log.put(self.number, &entry)?;
        }
        Ok(())
    }
}
