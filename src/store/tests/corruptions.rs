//! Transactions that write inconsistent rows, as in a damaged file.

use crate::domain::ids::{DestinationName, GatewayName, JobId};
use crate::domain::job::Job;
use crate::store::writer::write_context::{Transaction, WriteContext};
use crate::store::{RowProblem, StoreError};

/// Schedules a delivery that has no job row.
#[derive(Debug)]
pub struct ScheduleMissingJob {
    pub destination: DestinationName,
    pub job: JobId,
}

impl Transaction for ScheduleMissingJob {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<(), StoreError> {
        let key = (
            self.destination.as_str(),
            ctx.now.as_millis(),
            self.job.get(),
        );
        ctx.tables.deliveries_due.insert(key, ())?;
        ctx.is_dirty = true;
        Ok(())
    }
}

/// Removes the row of a job, and no other row.
#[derive(Debug)]
pub struct RemoveJobRow(pub JobId);

impl Transaction for RemoveJobRow {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<(), StoreError> {
        ctx.tables.jobs.remove(self.0.get())?;
        ctx.is_dirty = true;
        Ok(())
    }
}

/// Applies a transaction and then fails, as on an unreadable row. The writer aborts the batch.
#[derive(Debug)]
pub struct FailAfter<T>(pub T);

impl<T: Transaction> Transaction for FailAfter<T> {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<(), StoreError> {
        self.0.apply(ctx)?;
        Err(StoreError::row::<Job>("1", RowProblem::Missing))
    }
}

/// Corrupts the bytes of one row.
#[derive(Debug)]
pub struct CorruptRow {
    pub table: &'static str,
    pub key: u64,
}

impl Transaction for CorruptRow {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_, '_>) -> Result<(), StoreError> {
        let tables = &mut *ctx.tables;
        let rows = match self.table {
            "submissions" => &mut tables.submissions,
            "jobs" => &mut tables.jobs,
            "leads" => &mut tables.leads,
            "agents" => &mut tables.agents,
            "flow_errors" => &mut tables.flow_errors,
            "health_events" => &mut tables.health_events,
            "receipts" => &mut tables.receipts,
            other => panic!("no table {other}"),
        };
        rows.insert(self.key, &b"damaged"[..])?;
        ctx.is_dirty = true;
        Ok(())
    }
}

/// Corrupts the bytes of the row of one attempt.
#[derive(Debug)]
pub struct CorruptAttempt {
    pub table: &'static str,
    pub job: JobId,
    pub number: u32,
}

impl Transaction for CorruptAttempt {
    type Outcome = ();

    fn apply(&self, batch: &mut WriteContext<'_, '_>) -> Result<(), StoreError> {
        let tables = &mut *batch.tables;
        let rows = match self.table {
            "attempts" => &mut tables.attempts,
            "exchanges" => &mut tables.delivery_responses,
            other => panic!("no table {other}"),
        };
        rows.insert((self.job.get(), self.number), &b"damaged"[..])?;
        batch.is_dirty = true;
        Ok(())
    }
}

/// Corrupts the bytes of the state of a gateway session, or of one entry of its history.
#[derive(Debug)]
pub struct CorruptGateway {
    pub gateway: GatewayName,
    pub line: Option<u64>,
}

impl Transaction for CorruptGateway {
    type Outcome = ();

    fn apply(&self, batch: &mut WriteContext<'_, '_>) -> Result<(), StoreError> {
        let name = self.gateway.as_str();
        match self.line {
            Some(line) => batch
                .tables
                .gateway_history
                .insert((name, line), &b"damaged"[..])?,
            None => batch
                .tables
                .gateway_sessions
                .insert(name, &b"damaged"[..])?,
        };
        batch.is_dirty = true;
        Ok(())
    }
}
