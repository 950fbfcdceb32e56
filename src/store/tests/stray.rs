//! Rows that say more than others do, as in a file that was damaged.

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

/// Takes a job's row away, and nothing else of it.
#[derive(Debug)]
pub struct LoseJob(pub JobId);

impl Transaction for LoseJob {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        batch.tables.jobs.remove(self.0.get())?;
        batch.dirty = true;
        Ok(())
    }
}

/// Spoils the bytes of one row.
#[derive(Debug)]
pub struct SpoilRow {
    pub table: &'static str,
    pub key: u64,
}

impl Transaction for SpoilRow {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        let tables = &mut *batch.tables;
        let rows = match self.table {
            "submissions" => &mut tables.submissions,
            "jobs" => &mut tables.jobs,
            "leads" => &mut tables.leads,
            "agents" => &mut tables.agents,
            "health_events" => &mut tables.health_events,
            other => panic!("no table {other}"),
        };
        rows.insert(self.key, &b"damaged"[..])?;
        batch.dirty = true;
        Ok(())
    }
}
