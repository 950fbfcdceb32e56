//! A lane that says more than the jobs do, as a file that was damaged might.

use crate::domain::ids::{DestinationName, JobId};
use crate::store::StoreError;
use crate::store::batch::{Batch, Transaction};

/// Lets a lane say that a job is due now that has no row.
#[derive(Debug)]
pub struct StrayRow {
    pub destination: DestinationName,
    pub job: JobId,
}

impl Transaction for StrayRow {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        let key = (self.destination.as_str(), batch.now.as_millis(), self.job.get());
        batch.tables.lanes.insert(key, ())?;
        batch.dirty = true;
        Ok(())
    }
}
