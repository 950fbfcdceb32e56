//! Emits the alert about a problem of the backups.

use crate::domain::event::EventKind;
use crate::domain::event::data::{BackupData, EventData};

use super::outbox;
use crate::store::StoreResult;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Emits the alert about a problem of the backups.
#[derive(Clone, Debug)]
pub struct RecordBackupProblem {
    /// Problem, in one sentence.
    pub reason: String,
}

impl Transaction for RecordBackupProblem {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        let Some(pending) = outbox::prepare_event(ctx, EventKind::BackupFailed, None) else {
            return Ok(());
        };
        let reason = &self.reason;
        let data = EventData {
            backup: Some(BackupData { reason }),
            ..EventData::default()
        };
        pending.write_deliveries(ctx, None, &data)
    }
}
