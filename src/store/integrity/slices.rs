//! Reads the tables for the integrity check, slice by slice, and collects the violations.

use std::thread;
use std::time::Duration;

use crate::store::engine::{Entry, Position, ReadTxn, Rows, TableDef, TableKey, TableValue};
use crate::store::{Store, StoreError, StoreResult};

/// Maximum number of violations in a report. Further violations are only counted.
const VIOLATIONS_LISTED_MAX: usize = 1000;
/// Maximum number of rows of a table that the check reads in one snapshot.
pub const SLICE_ROWS: usize = 1000;
/// Size in bytes at which a slice ends: the row that reaches this size is the last row of the
/// slice.
const SLICE_BYTES: u64 = 1 << 20;
/// Maximum pause after a slice. Beside a running server, the check pauses after each slice for as
/// long as the slice took. So the check uses at most half of one core, and the server has the rest.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Violation of an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvariantViolation {
    /// Text of the violated invariant.
    pub invariant: &'static str,
    /// Location of the violation: the row or table.
    pub location: String,
}

/// Result of an integrity check.
#[derive(Clone, Debug, Default)]
pub struct IntegrityReport {
    /// Number of rows that the check has read.
    pub rows_read: u64,
    /// Violations, at most 1000.
    pub violations: Vec<InvariantViolation>,
    /// Number of all violations, including violations that are not in the list.
    pub violation_count: u64,
    /// Maximum number of rows that were read in one snapshot.
    pub longest_slice: usize,
    /// Damage that prevents a server from using the file: a table that can't be read to its end, or
    /// the counters. `None` if there is no such damage.
    pub damage: Option<StoreError>,
}

impl IntegrityReport {
    pub(super) fn require(
        &mut self,
        holds: bool,
        invariant: &'static str,
        location: impl FnOnce() -> String,
    ) {
        if holds {
            return;
        }
        self.violation_count += 1;
        if self.violations.len() < VIOLATIONS_LISTED_MAX {
            self.violations.push(InvariantViolation {
                invariant,
                location: location(),
            });
        }
    }
}

/// A slice of a table, with the snapshot in which the slice is read.
pub(super) struct CheckedSlice<'a> {
    pub(super) txn: &'a ReadTxn,
    pub(super) report: &'a mut IntegrityReport,
}

impl CheckedSlice<'_> {
    pub(super) fn require(
        &mut self,
        holds: bool,
        invariant: &'static str,
        location: impl FnOnce() -> String,
    ) {
        self.report.require(holds, invariant, location);
    }

    /// Decodes a row. Returns `None` if the row can't be decoded, and reports a violation.
    pub(super) fn decode<K: TableKey, V: TableValue>(
        &mut self,
        row: &Entry<'_, K, V>,
    ) -> Option<V> {
        match row.value() {
            Ok(value) => Some(value),
            Err(error) => {
                self.require(false, "every row can be read", || error.to_string());
                None
            }
        }
    }

    /// Returns the row of another table. Returns `None` if the row is missing or unreadable: the
    /// check of that table reports an unreadable row.
    pub(super) fn find<K: TableKey, V: TableValue>(
        &self,
        table: TableDef<K, V>,
        key: K::Ref<'_>,
    ) -> StoreResult<Option<V>> {
        match self.txn.open(table)?.get(key) {
            Err(error) if error.affects_one_row() => Ok(None),
            row => row,
        }
    }

    /// Returns `true` if another table has a row with this key.
    pub(super) fn has_row<K: TableKey, V: TableValue>(
        &self,
        table: TableDef<K, V>,
        key: K::Ref<'_>,
    ) -> StoreResult<bool> {
        self.txn.open(table)?.contains(key)
    }
}

/// Calls a function with every row of `table`, slice by slice.
pub(super) fn for_each_row<K: TableKey, V: TableValue>(
    store: &Store,
    report: &mut IntegrityReport,
    table: TableDef<K, V>,
    mut each: impl FnMut(&mut CheckedSlice<'_>, Entry<'_, K, V>) -> StoreResult<()>,
) -> StoreResult<()> {
    let mut position: Option<Position> = None;
    loop {
        let began = store.elapsed();
        let outcome = store.read_last().and_then(|snapshot| {
            snapshot.with_read_txn(|txn| {
                check_slice(
                    &mut CheckedSlice { txn, report },
                    table,
                    position.as_ref(),
                    &mut each,
                )
            })
        });
        if !store.is_read_only() {
            thread::park_timeout(store.elapsed().saturating_sub(began).min(PAUSE_MAX));
        }
        match outcome {
            Ok(None) => return Ok(()),
            Ok(last) => position = last,
            Err(error @ StoreError::Damaged(_)) => {
                report.require(false, "every page can be read", || {
                    format!("table {}: {error}", table.name())
                });
                report.damage.get_or_insert(error);
                return Ok(());
            }
            // A running server stops at the first damaged page.
            Err(StoreError::NotOpen) if report.damage.is_some() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Calls a function with every row of `table` and its value. Reports each unreadable row, and calls
/// no function for it.
pub(super) fn for_each_value<K: TableKey, V: TableValue>(
    store: &Store,
    report: &mut IntegrityReport,
    table: TableDef<K, V>,
    mut each: impl FnMut(&mut CheckedSlice<'_>, K::Ref<'_>, V) -> StoreResult<()>,
) -> StoreResult<()> {
    for_each_row(store, report, table, |slice, row| {
        match slice.decode(&row) {
            Some(value) => each(slice, row.key(), value),
            None => Ok(()),
        }
    })
}

/// Checks the rows after a position. Returns the position of the last row, or `None` if there are
/// no more rows.
pub(super) fn check_slice<K: TableKey, V: TableValue>(
    slice: &mut CheckedSlice<'_>,
    table: TableDef<K, V>,
    after: Option<&Position>,
    each: &mut impl FnMut(&mut CheckedSlice<'_>, Entry<'_, K, V>) -> StoreResult<()>,
) -> StoreResult<Option<Position>> {
    let rows = slice.txn.open(table)?;
    let (mut rows_seen, mut bytes) = (0, 0);
    for row in rows.rows_after(after)? {
        let row = row?;
        rows_seen += 1;
        bytes += row.stored_bytes();
        let is_last = rows_seen == SLICE_ROWS || bytes >= SLICE_BYTES;
        let position = is_last.then(|| row.position());
        slice.report.rows_read += 1;
        slice.report.longest_slice = slice.report.longest_slice.max(rows_seen);
        slice.require(row.has_valid_key(), "every key can be read", || {
            format!("table {}, key {}", table.name(), K::describe(row.key()))
        });
        each(slice, row)?;
        if position.is_some() {
            return Ok(position);
        }
    }
    Ok(None)
}

/// Checks that every row of `table` can be decoded.
pub(super) fn check_rows_readable<K: TableKey, V: TableValue>(
    store: &Store,
    report: &mut IntegrityReport,
    table: TableDef<K, V>,
) -> StoreResult<()> {
    for_each_row(store, report, table, |slice, row| {
        slice.decode(&row);
        Ok(())
    })
}
