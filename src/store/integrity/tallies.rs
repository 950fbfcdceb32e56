//! Checks the counts that are stored beside the rows: occupied slots of calendars, and tallies.

use std::collections::BTreeMap;

use crate::domain::booking::BookingState;
use crate::domain::time::{Millis, Timestamp};
use crate::store::engine::{ReadTxn, Rows};
use crate::store::rows::schema::{
    AGENTS, BOOKINGS, DELIVERIES_DUE, OCCUPIED_SLOTS, ORDERED_QUEUE, TALLIES, WAITING_LEADS,
};
use crate::store::rows::tallies::{self, Tally};
use crate::store::{Store, StoreResult};

use super::slices::IntegrityReport;

/// Number of rows by name.
type Sums = BTreeMap<String, u64>;

/// Maximum number of rows that are recounted beside a running server. All rows of a table are read
/// in one snapshot.
const RECOUNT_ROWS_MAX: u64 = 10_000;

/// Recounts all tallies and occupied slots. Beside a running server, recounts only if the tables
/// are small (at most [`RECOUNT_ROWS_MAX`] rows).
///
/// The check of a table reports its unreadable rows. If a table has an unreadable row, the sums of
/// that table are not checked.
pub fn check_tallies(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    // An earlier check has already reported the damage.
    if report.damage.is_some() {
        return Ok(());
    }
    store.read_last()?.with_read_txn(|txn| {
        let rows = [
            txn.open(DELIVERIES_DUE)?.len()?,
            txn.open(ORDERED_QUEUE)?.len()?,
            txn.open(WAITING_LEADS)?.len()?,
            txn.open(AGENTS)?.len()?,
            txn.open(BOOKINGS)?.len()?,
        ];
        if rows.iter().sum::<u64>() <= RECOUNT_ROWS_MAX || store.is_read_only() {
            recount_all(txn, report)?;
        }
        Ok(())
    })
}

fn recount_all(txn: &ReadTxn, report: &mut IntegrityReport) -> StoreResult<()> {
    let mut deliveries = Sums::new();
    for row in txn.open(DELIVERIES_DUE)?.all_rows()? {
        increment(&mut deliveries, row?.key().0);
    }
    for row in txn.open(ORDERED_QUEUE)?.all_rows()? {
        increment(&mut deliveries, row?.key().0);
    }
    check_tally(txn, report, Tally::Deliveries, &deliveries)?;
    let mut leads = Sums::new();
    for row in txn.open(WAITING_LEADS)?.all_rows()? {
        increment(&mut leads, row?.key().0);
    }
    check_tally(txn, report, Tally::Leads, &leads)?;
    recount_agents(txn, report)?;
    recount_bookings(txn, report)
}

fn recount_agents(txn: &ReadTxn, report: &mut IntegrityReport) -> StoreResult<()> {
    let mut agents = Sums::new();
    for row in txn.open(AGENTS)?.all_rows()? {
        let Ok(agent) = row?.value() else {
            return Ok(());
        };
        if !agent.is_removed {
            increment(&mut agents, agent.team.as_str());
        }
    }
    check_tally(txn, report, Tally::Agents, &agents)
}

fn recount_bookings(txn: &ReadTxn, report: &mut IntegrityReport) -> StoreResult<()> {
    let mut slots: BTreeMap<(String, Millis, Timestamp), u64> = BTreeMap::new();
    let mut calendars = Sums::new();
    for row in txn.open(BOOKINGS)?.all_rows()? {
        let Ok(booking) = row?.value() else {
            return Ok(());
        };
        if booking.state == BookingState::Confirmed {
            let name = booking.calendar.as_str();
            increment(&mut calendars, name);
            let length = booking.end.since(booking.start);
            *slots
                .entry((name.to_owned(), length, booking.start))
                .or_default() += 1;
        }
    }
    check_tally(txn, report, Tally::Bookings, &calendars)?;
    for row in txn.open(OCCUPIED_SLOTS)?.all_rows()? {
        let row = row?;
        report.rows_read += 1;
        let ((calendar, length, start), booked) = (row.key(), row.value()?);
        let confirmed = slots
            .remove(&(calendar.to_owned(), length, start))
            .unwrap_or(0);
        report.require(booked == confirmed, "occupied slots equal the confirmed bookings", || {
            format!("calendar {calendar}, start {start}, length {} ms: occupied slots: {booked}, {confirmed} confirmed bookings", length.get())
        });
    }
    for ((calendar, length, start), confirmed) in slots {
        report.require(false, "occupied slots equal the confirmed bookings", || {
            format!("calendar {calendar}, start {start}, length {} ms: occupied slots: 0, {confirmed} confirmed bookings", length.get())
        });
    }
    Ok(())
}

fn increment(sums: &mut Sums, name: &str) {
    *sums.entry(name.to_owned()).or_default() += 1;
}

fn check_tally(
    txn: &ReadTxn,
    report: &mut IntegrityReport,
    tally: Tally,
    counted: &Sums,
) -> StoreResult<()> {
    let stored: Sums = tallies::read_sums(&txn.open(TALLIES)?, tally)?
        .into_iter()
        .collect();
    report.require(
        stored == *counted,
        "a tally equals the number of its rows",
        || format!("{}: stored {stored:?}, counted {counted:?}", tally.as_str()),
    );
    Ok(())
}
