//! Verifies the integrity of the file row by row: the invariants across tables that every
//! transaction preserves. The check reports violations and repairs nothing. See
//! [`self::outbox`] for events and deliveries.
//!
//! # Beside a running server
//! While a snapshot exists, redb reuses no page, and the file grows with each commit. So the check
//! reads each slice of a table in a separate snapshot. Between two slices, other transactions may
//! change anything, but the invariants hold in each snapshot. Therefore the check looks up every
//! related row in the snapshot of the row itself. The check calculates no sums over several slices.
//!
//! A stored tally is recounted if that is little work, or if no server runs. Other sums, such as
//! "the schedule has as many entries as jobs wait", are checked from both sides, row by row. Each
//! job must have its entry, and each entry must have its job.

mod events;
mod keys;
mod leads;
mod outbox;
mod slices;
mod submissions;
mod tallies;

use super::data_file;
use super::rows::schema::{
    ACCOUNTS, AUDIT_LOG, FEEDS, META_BYTES, PENDING_FORGETS, PHONE_NUMBERS, RENAMED_CUSTOMERS,
    SIGN_INS,
};
use super::{Store, StoreResult};
use slices::{check_rows_readable, for_each_row};

#[cfg(test)]
pub(super) use slices::SLICE_ROWS;
pub use slices::{IntegrityReport, InvariantViolation};

/// Checks every row of the file, slice by slice.
///
/// # Errors
/// [`StoreError::NotOpen`](super::StoreError::NotOpen) if the file is not open. Unreadable rows and
/// pages are violations, not errors.
pub fn check_integrity(store: &Store) -> StoreResult<IntegrityReport> {
    let mut report = IntegrityReport::default();
    check_counters(store, &mut report)?;
    submissions::check_submissions(store, &mut report)?;
    submissions::check_jobs(store, &mut report)?;
    outbox::check_outbox(store, &mut report)?;
    leads::check_leads(store, &mut report)?;
    leads::check_agents(store, &mut report)?;
    submissions::check_bookings(store, &mut report)?;
    keys::check_keys(store, &mut report)?;
    keys::check_cached_responses(store, &mut report)?;
    events::check_flow_events(store, &mut report)?;
    events::check_gateways(store, &mut report)?;
    check_rows_readable(store, &mut report, RENAMED_CUSTOMERS)?;
    check_rows_readable(store, &mut report, PHONE_NUMBERS)?;
    check_rows_readable(store, &mut report, PENDING_FORGETS)?;
    check_rows_readable(store, &mut report, FEEDS)?;
    check_rows_readable(store, &mut report, ACCOUNTS)?;
    check_rows_readable(store, &mut report, SIGN_INS)?;
    check_rows_readable(store, &mut report, AUDIT_LOG)?;
    tallies::check_tallies(store, &mut report)?;
    Ok(report)
}

/// Checks the counters. Without readable counters, no server opens the file. The other tables can
/// be checked without the counters.
fn check_counters(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    for_each_row(store, report, META_BYTES, |_, _| Ok(()))?;
    if report.damage.is_some() {
        return Ok(());
    }
    let counters = store
        .read_last()?
        .with_read_txn(|txn| Ok(data_file::read_counters(store.path(), txn)))?;
    if let Err(error) = counters {
        report.require(false, "every row can be read", || error.to_string());
        report.damage = Some(error);
    }
    Ok(())
}
