//! Reads a list page by page, and sends its rows until a limit is reached.
//!
//! Each page is read from a new snapshot. The rows are sent after the snapshot is closed. Without
//! this, a slow reader would hold a snapshot open and prevent the reuse of space in the file.

use std::ops::ControlFlow::{self, Break, Continue};

use serde::Serialize;

use crate::admin::context::{AdminContext, AgentNames, RowSink, to_json};
use crate::admin::error::AdminError;
use crate::admin::protocol::{ListFilter, max_rows};
use crate::admin::responses::{QueryRow, RowKey};
use crate::store::{ListedRow, Snapshot, StoreError};

/// Maximum number of rows that one page reads. A page of large rows has fewer.
pub(in crate::admin) const PAGE_ROWS: usize = 500;

/// Decision of a filter about one stored row: `Continue` with the row if it belongs to the list, or
/// `Break` if neither this row nor any row after it does.
pub(super) type RowDecision<T> = Result<ControlFlow<(), Option<T>>, StoreError>;

/// Sends the rows that `filter_row` includes, newest first, up to the limit of the filter. `states`
/// are the names of all states of such rows.
pub(super) fn send_list<L: ListedRow, T: Serialize>(
    context: &AdminContext,
    filter: &ListFilter,
    states: &[&str],
    sink: &mut RowSink<'_>,
    filter_row: impl FnMut(&Snapshot, &AgentNames, L::Id, L) -> RowDecision<T>,
) -> Result<(), AdminError> {
    check_state(filter, states)?;
    let mut sink = LimitedSink::new(filter.limit, sink);
    for_each_page(context, filter_row, |row| sink.send(row))
}

/// Reads a list from its newest row. See [`for_each_page_before`].
pub(super) fn for_each_page<L: ListedRow, T>(
    context: &AdminContext,
    filter_row: impl FnMut(&Snapshot, &AgentNames, L::Id, L) -> RowDecision<T>,
    visit_row: impl FnMut(QueryRow<T>) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    for_each_page_before(context, None, filter_row, visit_row)
}

/// Reads the rows before number `before`, page by page, newest row first.
///
/// The first function filters the rows while the page is read. Afterwards the second function gets
/// the selected rows, and returns `false` to stop. An unreadable row is sent as such and does not
/// hide other rows.
pub(super) fn for_each_page_before<L: ListedRow, T>(
    context: &AdminContext,
    mut before: Option<u64>,
    mut filter_row: impl FnMut(&Snapshot, &AgentNames, L::Id, L) -> RowDecision<T>,
    mut visit_row: impl FnMut(QueryRow<T>) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    let mut more = true;
    while more {
        let mut included = Vec::new();
        {
            let snapshot = context.snapshot()?;
            let names = AgentNames::default();
            let rows = snapshot.list_rows::<L>(before, PAGE_ROWS)?;
            more = !rows.is_empty();
            for (number, stored) in rows {
                before = Some(number);
                let decided =
                    stored.and_then(|stored| filter_row(&snapshot, &names, L::id(number), stored));
                match QueryRow::from_stored(RowKey::Id(number), decided)? {
                    QueryRow::Row(Continue(row)) => included.extend(row.map(QueryRow::Row)),
                    QueryRow::Row(Break(())) => {
                        more = false;
                        break;
                    }
                    QueryRow::Unreadable(row) => included.push(QueryRow::Unreadable(row)),
                }
            }
        }
        for row in included {
            if !visit_row(row)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Sends rows until the limit is reached.
pub(super) struct LimitedSink<'a, 'b> {
    sink: &'a mut RowSink<'b>,
    remaining: usize,
}

impl<'a, 'b> LimitedSink<'a, 'b> {
    /// Creates a sink for at most `limit` rows. 0: no limit.
    pub(super) fn new(limit: usize, sink: &'a mut RowSink<'b>) -> Self {
        let remaining = max_rows(limit);
        Self { sink, remaining }
    }

    /// Sends one row. Returns `false` if the limit is reached or the reader has disconnected.
    pub(super) fn send(&mut self, row: impl Serialize) -> Result<bool, AdminError> {
        let value = to_json(row)?;
        self.remaining = self.remaining.saturating_sub(1);
        Ok((self.sink)(value) && self.remaining > 0)
    }
}

/// Refuses a filter with a state that the list does not have.
pub(super) fn check_state(filter: &ListFilter, known: &[&str]) -> Result<(), AdminError> {
    match &filter.state {
        Some(state) if !known.contains(&state.as_str()) => Err(AdminError::invalid(format!(
            "unknown state {state:?}: use one of {}",
            known.join(", ")
        ))),
        _ => Ok(()),
    }
}
