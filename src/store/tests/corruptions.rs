//! Transactions that write inconsistent rows, as in a damaged file.

use crate::domain::ids::{AgentId, DestinationName, GatewayName, JobId, LeadId, SubmissionId};
use crate::store::rows::schema::JOBS;
use crate::store::{RowProblem, StoreResult, Transaction, WriteContext};

/// Schedules a delivery that has no job row.
#[derive(Debug)]
pub struct ScheduleMissingJob {
    pub destination: DestinationName,
    pub job: JobId,
}

impl Transaction for ScheduleMissingJob {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        let key = (self.destination.as_str(), ctx.now, self.job);
        ctx.tables.deliveries_due.add(key)?;
        Ok(())
    }
}

/// Removes the row of a job, and no other row.
#[derive(Debug)]
pub struct RemoveJobRow(pub JobId);

impl Transaction for RemoveJobRow {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        ctx.tables.jobs.remove(self.0)?;
        Ok(())
    }
}

/// Applies a transaction and then fails, as on an unreadable row. The writer aborts the batch.
#[derive(Debug)]
pub struct FailAfter<T>(pub T);

impl<T: Transaction> Transaction for FailAfter<T> {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        self.0.apply(ctx)?;
        Err(JOBS.row_error(JobId::new(1), RowProblem::Missing))
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

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        let (tables, key, row) = (&mut ctx.tables, self.key, b"damaged");
        match self.table {
            "submissions" => tables.submissions.put_bytes(SubmissionId::new(key), row)?,
            "jobs" => tables.jobs.put_bytes(JobId::new(key), row)?,
            "leads" => tables.leads.put_bytes(LeadId::new(key), row)?,
            "agents" => tables.agents.put_bytes(AgentId::new(key), row)?,
            "flow_errors" => tables.flow_errors.put_bytes(key, row)?,
            "health_events" => tables.health_events.put_bytes(key, row)?,
            "receipts" => tables.receipts.put_bytes(JobId::new(key), row)?,
            other => panic!("no table {other}"),
        };
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

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        let key = (self.job, self.number);
        match self.table {
            "attempts" => ctx.tables.attempts.put_bytes(key, b"damaged")?,
            "exchanges" => ctx.tables.delivery_responses.put_bytes(key, b"damaged")?,
            other => panic!("no table {other}"),
        };
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

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        let name = self.gateway.as_str();
        match self.line {
            Some(line) => ctx
                .tables
                .gateway_history
                .put_bytes((name, line), b"damaged")?,
            None => ctx.tables.gateway_sessions.put_bytes(name, b"damaged")?,
        };
        Ok(())
    }
}

/// Applies a change of a test to the tables.
pub struct EditTables<F>(pub F);

impl<F> Transaction for EditTables<F>
where
    F: Fn(&mut WriteContext<'_>) -> StoreResult<()> + Send + 'static,
{
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        (self.0)(ctx)
    }
}
