//! Checks the counts that are stored beside the rows: occupied slots of calendars, and tallies.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};

use crate::domain::booking::{Booking, BookingState};
use crate::domain::lead::Agent;
use crate::store::engine::redb::tables::{
    AGENTS, BOOKINGS, DELIVERIES_DUE, OCCUPIED_SLOTS, ORDERED_QUEUE, TALLIES, WAITING_LEADS,
};
use crate::store::rows::codec;
use crate::store::rows::tallies::{self, Tally};
use crate::store::{Store, StoreError};

use super::IntegrityReport;

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
pub(in crate::store) fn check_tallies(
    store: &Store,
    report: &mut IntegrityReport,
) -> Result<(), StoreError> {
    // An earlier check has already reported the damage.
    if report.damage.is_some() {
        return Ok(());
    }
    store.read_last()?.with_read_txn(|txn| {
        let rows = [
            txn.open_table(DELIVERIES_DUE)?.len()?,
            txn.open_table(ORDERED_QUEUE)?.len()?,
            txn.open_table(WAITING_LEADS)?.len()?,
            txn.open_table(AGENTS)?.len()?,
            txn.open_table(BOOKINGS)?.len()?,
        ];
        let is_large = rows.iter().sum::<u64>() > RECOUNT_ROWS_MAX;
        if is_large && !store.is_read_only() {
            Ok(())
        } else {
            recount_all(txn, report)
        }
    })
}

fn recount_all(txn: &ReadTransaction, report: &mut IntegrityReport) -> Result<(), StoreError> {
    let mut deliveries = Sums::new();
    for row in txn.open_table(DELIVERIES_DUE)?.iter()? {
        increment(&mut deliveries, row?.0.value().0);
    }
    for row in txn.open_table(ORDERED_QUEUE)?.iter()? {
        increment(&mut deliveries, row?.0.value().0);
    }
    check_tally(txn, report, Tally::Deliveries, &deliveries)?;
    let mut leads = Sums::new();
    for row in txn.open_table(WAITING_LEADS)?.iter()? {
        increment(&mut leads, row?.0.value().0);
    }
    check_tally(txn, report, Tally::Leads, &leads)?;
    recount_agents(txn, report)?;
    recount_bookings(txn, report)
}

fn recount_agents(txn: &ReadTransaction, report: &mut IntegrityReport) -> Result<(), StoreError> {
    let mut agents = Sums::new();
    for row in txn.open_table(AGENTS)?.iter()? {
        let (id, bytes) = row?;
        let Ok(agent) = codec::decode::<Agent>(id.value(), bytes.value()) else {
            return Ok(());
        };
        if !agent.is_removed {
            increment(&mut agents, agent.team.as_str());
        }
    }
    check_tally(txn, report, Tally::Agents, &agents)
}

fn recount_bookings(txn: &ReadTransaction, report: &mut IntegrityReport) -> Result<(), StoreError> {
    let mut slots: BTreeMap<(String, u64, u64), u64> = BTreeMap::new();
    let mut calendars = Sums::new();
    for row in txn.open_table(BOOKINGS)?.iter()? {
        let (id, bytes) = row?;
        let Ok(booking) = codec::decode::<Booking>(id.value(), bytes.value()) else {
            return Ok(());
        };
        if booking.state == BookingState::Confirmed {
            let name = booking.calendar.as_str();
            increment(&mut calendars, name);
            let length = booking.end.since(booking.start).get();
            *slots
                .entry((name.to_owned(), length, booking.start.as_millis()))
                .or_default() += 1;
        }
    }
    check_tally(txn, report, Tally::Bookings, &calendars)?;
    for row in txn.open_table(OCCUPIED_SLOTS)?.iter()? {
        let (key, booked) = row?;
        report.rows_read += 1;
        let ((calendar, length, start), booked) = (key.value(), booked.value());
        let confirmed = slots
            .remove(&(calendar.to_owned(), length, start))
            .unwrap_or(0);
        report.require(booked == confirmed, "occupied slots equal the confirmed bookings", || {
            format!("calendar {calendar}, start {start}, length {length} ms: occupied slots: {booked}, {confirmed} confirmed bookings")
        });
    }
    for ((calendar, length, start), confirmed) in slots {
        report.require(false, "occupied slots equal the confirmed bookings", || {
            format!("calendar {calendar}, start {start}, length {length} ms: occupied slots: 0, {confirmed} confirmed bookings")
        });
    }
    Ok(())
}

fn increment(sums: &mut Sums, name: &str) {
    match sums.get_mut(name) {
        Some(sum) => *sum += 1,
        None => {
            sums.insert(name.to_owned(), 1);
        }
    }
}

fn check_tally(
    txn: &ReadTransaction,
    report: &mut IntegrityReport,
    tally: Tally,
    counted: &Sums,
) -> Result<(), StoreError> {
    let stored: Sums = tallies::read_sums(&txn.open_table(TALLIES)?, tally)?
        .into_iter()
        .collect();
    report.require(
        stored == *counted,
        "a tally equals the number of its rows",
        || format!("{}: stored {stored:?}, counted {counted:?}", tally.as_str()),
    );
    Ok(())
}
