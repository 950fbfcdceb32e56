//! Emits the alert about a problem of the backups, and records it, so that a restart does not
//! repeat the alert.

use crate::domain::event::EventKind;
use crate::domain::event::data::{BackupData, EventData};

use super::outbox;
use crate::store::StoreResult;
use crate::store::data_file::BACKUP_ALERTS;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Records which problems of the backups have caused an alert. Emits the alert about a new one.
#[derive(Clone, Debug)]
pub struct RecordBackupAlerts {
    /// New problem, in one sentence. `None` if one is over.
    pub reason: Option<String>,
    /// Kinds of all problems that have caused an alert, as [`crate::backup`] encodes them.
    pub alerted: Vec<u8>,
}

impl Transaction for RecordBackupAlerts {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        if let Some(reason) = &self.reason {
            let data = EventData {
                backup: Some(BackupData { reason }),
                ..EventData::default()
            };
            outbox::emit_event(ctx, EventKind::BackupFailed, &data)?;
        }
        ctx.tables.meta.put_bytes(BACKUP_ALERTS, &self.alerted)?;
        Ok(())
    }
}
