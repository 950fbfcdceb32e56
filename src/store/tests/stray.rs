//! Rows that say more than others do, as in a file that was damaged.

use crate::domain::ids::{DestinationName, GatewayName, JobId};
use crate::domain::job::Job;
use crate::store::batch::{Batch, Transaction};
use crate::store::{RowProblem, StoreError};

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

/// Makes a change and fails then, as where a row is met that can't be read: its batch comes to nothing.
#[derive(Debug)]
pub struct ThenFail<T>(pub T);

impl<T: Transaction> Transaction for ThenFail<T> {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        self.0.apply(batch)?;
        Err(StoreError::row::<Job>("1", RowProblem::Missing))
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
            "complaints" => &mut tables.complaints,
            "health_events" => &mut tables.health_events,
            "receipts" => &mut tables.receipts,
            other => panic!("no table {other}"),
        };
        rows.insert(self.key, &b"damaged"[..])?;
        batch.dirty = true;
        Ok(())
    }
}

/// Spoils the bytes of what is kept of one attempt.
#[derive(Debug)]
pub struct SpoilAttempt {
    pub table: &'static str,
    pub job: JobId,
    pub number: u32,
}

impl Transaction for SpoilAttempt {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        let tables = &mut *batch.tables;
        let rows = match self.table {
            "attempts" => &mut tables.attempts,
            "exchanges" => &mut tables.exchanges,
            other => panic!("no table {other}"),
        };
        rows.insert((self.job.get(), self.number), &b"damaged"[..])?;
        batch.dirty = true;
        Ok(())
    }
}

/// Spoils the bytes of how a gateway stands, or of one line of its history.
#[derive(Debug)]
pub struct SpoilGateway {
    pub gateway: GatewayName,
    pub line: Option<u64>,
}

impl Transaction for SpoilGateway {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        let name = self.gateway.as_str();
        match self.line {
            Some(line) => batch.tables.gateway_history.insert((name, line), &b"damaged"[..])?,
            None => batch.tables.gateways.insert(name, &b"damaged"[..])?,
        };
        batch.dirty = true;
        Ok(())
    }
}
