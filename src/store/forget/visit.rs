//! Visits the rows of a table in slices, and removes the rows that belong to the customer.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crate::domain::customer_names::CustomerNames;
use crate::domain::ids::FlowName;

use crate::store::engine::{Entry, Position, ReadTxn, Rows, TableDef, TableKey, TableValue};
use crate::store::tx::forget::{CustomerRow, ForgetRows};
use crate::store::{Store, StoreError, StoreResult};

/// Maximum number of rows of a table that the search reads in one snapshot.
const SLICE_ROWS: usize = 500;
/// Size in bytes at which a slice ends.
const SLICE_BYTES: u64 = 1 << 20;
/// Maximum pause after a slice. The search pauses for as long as the slice took.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// Maximum number of rows that one transaction removes.
const REMOVED_ROWS_MAX: usize = 25;

/// Numbers of rows of a customer, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForgottenRows {
    /// Number of submissions, with their jobs and late arrivals.
    pub submissions: usize,
    /// Number of drafts.
    pub drafts: usize,
    /// Number of leads.
    pub leads: usize,
    /// Number of bookings. The places of upcoming bookings are free again.
    pub bookings: usize,
    /// Number of deliveries, including waiting ones.
    pub deliveries: usize,
    /// Number of deliveries that waited and are never sent.
    pub waiting_deliveries: usize,
    /// Number of dead letters of all kinds.
    pub dead_letters: usize,
    /// Number of messages that could not be parsed.
    pub messages: usize,
    /// Number of stored completions of forms.
    pub completions: usize,
    /// Number of flow errors.
    pub flow_errors: usize,
    /// Number of health events.
    pub health_events: usize,
    /// Number of changes of the customer's names.
    pub name_changes: usize,
    /// Number of links to the last agent.
    pub last_agents: usize,
    /// Number of texts of other rows that named the customer and were replaced.
    pub texts: usize,
    /// Number of rows that could not be read or removed.
    pub unreadable: usize,
}

impl ForgottenRows {
    /// Returns the number of all rows, without unreadable ones. A dead letter counts with its
    /// submission, delivery or message.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.submissions
            + self.drafts
            + self.leads
            + self.bookings
            + self.deliveries
            + self.messages
            + self.completions
            + self.flow_errors
            + self.health_events
            + self.name_changes
            + self.last_agents
            + self.texts
    }
}

/// Run through all tables.
pub(super) struct Forget<'a> {
    pub(super) store: &'a Store,
    pub(super) names: CustomerNames,
    pub(super) flows: BTreeSet<FlowName>,
    pub(super) removes: bool,
    is_stopped: &'a dyn Fn() -> bool,
    pub(super) counts: ForgottenRows,
}

impl<'a> Forget<'a> {
    pub(super) fn new(
        store: &'a Store,
        names: CustomerNames,
        flows: Vec<FlowName>,
        removes: bool,
        is_stopped: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            store,
            names,
            flows: flows.into_iter().collect(),
            removes,
            is_stopped,
            counts: ForgottenRows::default(),
        }
    }

    /// Calls `find` with each row of `table`, slice by slice, and removes the rows that it returns.
    /// An unreadable row is counted and skipped.
    pub(super) fn visit_table<K: TableKey, V: TableValue>(
        &mut self,
        table: TableDef<K, V>,
        mut find: impl FnMut(
            &ReadTxn,
            &Entry<'_, K, V>,
            &mut ForgottenRows,
        ) -> StoreResult<Option<CustomerRow>>,
    ) -> StoreResult<()> {
        let mut position: Option<Position> = None;
        while !(self.is_stopped)() {
            let began = self.store.elapsed();
            let mut counts = self.counts;
            let (found, next) = self.store.read()?.with_read_txn(|txn| {
                find_in_slice(txn, table, position.as_ref(), &mut counts, &mut find)
            })?;
            self.counts = counts;
            self.remove_rows(&found)?;
            if next.is_none() {
                break;
            }
            position = next;
            let pause = self.store.elapsed().saturating_sub(began).min(PAUSE_MAX);
            thread::park_timeout(pause);
        }
        Ok(())
    }

    fn remove_rows(&mut self, rows: &[CustomerRow]) -> StoreResult<()> {
        if !self.removes {
            return Ok(());
        }
        for slice in rows.chunks(REMOVED_ROWS_MAX) {
            let rows = slice.to_vec();
            match self.store.execute_blocking(ForgetRows { rows }) {
                // One of the rows is unreadable. The other rows are removed one by one.
                Err(error) if error.affects_one_row() => self.remove_each(slice)?,
                removed => removed?,
            }
        }
        Ok(())
    }

    fn remove_each(&mut self, rows: &[CustomerRow]) -> StoreResult<()> {
        for row in rows {
            let rows = vec![row.clone()];
            match self.store.execute_blocking(ForgetRows { rows }) {
                Err(error) if error.affects_one_row() => {
                    log_unreadable(&error);
                    self.counts.unreadable += 1;
                }
                removed => removed?,
            }
        }
        Ok(())
    }
}

fn find_in_slice<K: TableKey, V: TableValue>(
    txn: &ReadTxn,
    table: TableDef<K, V>,
    after: Option<&Position>,
    counts: &mut ForgottenRows,
    find: &mut impl FnMut(
        &ReadTxn,
        &Entry<'_, K, V>,
        &mut ForgottenRows,
    ) -> StoreResult<Option<CustomerRow>>,
) -> StoreResult<(Vec<CustomerRow>, Option<Position>)> {
    let table = txn.open(table)?;
    let (mut found, mut rows_read, mut bytes) = (Vec::new(), 0, 0);
    for row in table.rows_after(after)? {
        let row = row?;
        rows_read += 1;
        bytes += row.stored_bytes();
        match find(txn, &row, counts) {
            Ok(theirs) => found.extend(theirs),
            Err(error) if error.affects_one_row() => {
                log_unreadable(&error);
                counts.unreadable += 1;
            }
            Err(error) => return Err(error),
        }
        if rows_read >= SLICE_ROWS || bytes >= SLICE_BYTES {
            return Ok((found, Some(row.position())));
        }
    }
    Ok((found, None))
}

fn log_unreadable(error: &StoreError) {
    tracing::error!(error = %error, "row of a customer to forget can't be read: run `flowgate check`");
}
