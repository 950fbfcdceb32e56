//! Handles the requests that only read: lists and single objects.
//!
//! A long list is read in pages, each from a new snapshot. The rows are sent after the snapshot is
//! closed. Without this, a slow reader would hold a snapshot open and prevent the reuse of space in
//! the file.

mod bookings;
mod deliveries;
mod flows;
mod jobs;
mod leads;
mod submissions;

use serde::Serialize;
use serde_json::Value;

use crate::domain::time::Timestamp;
use crate::store::{ListedRow, Snapshot, StoreError};

use super::handler::{AdminHandler, AgentNames, RowSink};
use super::protocol::{AdminError, ListFilter};
use super::responses::{QueryRow, RowKey, UnreadableRow};

pub(super) use bookings::{booking_not_found, get_booking, list_bookings, list_slots};
pub(super) use deliveries::{delivery_not_found, delivery_rows, get_delivery, list_deliveries};
pub(super) use flows::{list_flow_errors, list_flows};
pub(super) use jobs::{
    dead_letter_not_found, for_each_dead_letter, get_dead_letter, get_job, list_dead_letters,
    list_jobs,
};
pub(super) use leads::{get_lead, lead_not_found, list_agents, list_leads};
pub(super) use submissions::{get_submission, list_drafts, list_submissions};

/// Maximum number of rows that one page reads. A page of large rows has fewer.
pub(super) const PAGE_ROWS: usize = 500;

/// Decision of a filter about one stored row.
enum RowFilter<T> {
    /// The row belongs to the list.
    Include(T),
    /// The row does not belong to the list.
    Skip,
    /// Neither this row nor any row after it belongs to the list.
    Stop,
}

impl<T> RowFilter<T> {
    /// Includes `row` if `wanted` is `true`, and skips it otherwise.
    fn include_if(wanted: bool, row: impl FnOnce() -> T) -> Self {
        if wanted {
            Self::Include(row())
        } else {
            Self::Skip
        }
    }
}

/// Reads a list page by page, newest row first. The first function filters the rows while the page
/// is read. Afterwards the second function gets the selected rows, and returns `false` to stop. An
/// unreadable row is sent as such and does not hide other rows.
fn for_each_page<L: ListedRow, T>(
    handler: &AdminHandler,
    mut filter_row: impl FnMut(&Snapshot, &AgentNames, L::Id, L) -> Result<RowFilter<T>, StoreError>,
    mut send_row: impl FnMut(QueryRow<T>) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    let (mut before, mut more) = (None, true);
    while more {
        let mut included = Vec::new();
        {
            let snapshot = handler.snapshot()?;
            let names = AgentNames::default();
            let rows = snapshot.list_rows::<L>(before, PAGE_ROWS)?;
            more = !rows.is_empty();
            for (number, stored) in rows {
                before = Some(number);
                match stored.and_then(|stored| filter_row(&snapshot, &names, L::id(number), stored))
                {
                    Ok(RowFilter::Include(row)) => included.push(QueryRow::Row(row)),
                    Ok(RowFilter::Skip) => {}
                    Ok(RowFilter::Stop) => {
                        more = false;
                        break;
                    }
                    Err(error) if error.affects_one_row() => {
                        included.push(QueryRow::Unreadable(UnreadableRow::new(
                            RowKey::Id(number),
                            &error,
                        )));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        for row in included {
            if !send_row(row)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Sends rows until the limit is reached.
struct LimitedSink<'a, 'b> {
    sink: &'a mut RowSink<'b>,
    remaining: usize,
}

impl<'a, 'b> LimitedSink<'a, 'b> {
    fn new(limit: usize, sink: &'a mut RowSink<'b>) -> Self {
        Self {
            sink,
            remaining: limit,
        }
    }

    /// Sends one row. Returns `false` if the limit is reached or the reader has disconnected.
    fn send(&mut self, row: impl Serialize) -> Result<bool, AdminError> {
        let value = to_json(row)?;
        self.remaining = self.remaining.saturating_sub(1);
        Ok((self.sink)(value) && self.remaining > 0)
    }
}

fn is_before_since(filter: &ListFilter, at: Timestamp) -> bool {
    filter.since.is_some_and(|since| at < since)
}

fn matches_name<T: ?Sized + PartialEq<str>>(wanted: Option<&str>, found: &T) -> bool {
    wanted.is_none_or(|wanted| *found == *wanted)
}

/// Refuses a filter with a state that the list does not have.
fn check_state(filter: &ListFilter, known: &[&str]) -> Result<(), AdminError> {
    match &filter.state {
        Some(state) if !known.contains(&state.as_str()) => Err(AdminError::invalid(format!(
            "unknown state {state:?}: use one of {}",
            known.join(", ")
        ))),
        _ => Ok(()),
    }
}

/// Returns the JSON object of a row with additional fields, which only the view of a single object
/// has.
pub(super) fn with_details(
    row: impl Serialize,
    more: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<Value, AdminError> {
    let mut object = to_json(row)?;
    if let Value::Object(fields) = &mut object {
        fields.extend(
            more.into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
    }
    Ok(object)
}

pub(super) fn to_json(row: impl Serialize) -> Result<Value, AdminError> {
    serde_json::to_value(row).map_err(|error| AdminError::failed(error.to_string()))
}
