//! What must hold of what is counted beside the rows: places of calendars, and the sums that figures need.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};

use crate::domain::booking::{Booking, BookingState};
use crate::domain::lead::Agent;
use crate::store::tables::{AGENTS, BOOKINGS, LANES, PLACES, QUEUES, TALLIES, WAITING_LEADS};
use crate::store::tallies::{self, Tally};
use crate::store::{Store, StoreError, codec};

use super::Report;

/// Number of rows by name.
type Sums = BTreeMap<String, u64>;

/// Rows that are counted beside a working server: all of a table are read in one snapshot.
const COUNTED: u64 = 10_000;

/// Counts everything again, unless that would take long and a server runs. Rows that can't be read are told where all rows of their table are looked at; with one of
/// them, nothing is said of the sums that it belongs to.
pub(super) fn tallies(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    // Whoever found damage has told it.
    if report.damage.is_some() {
        return Ok(());
    }
    store.read_last()?.reading(|txn| {
        let rows = [
            txn.open_table(LANES)?.len()?,
            txn.open_table(QUEUES)?.len()?,
            txn.open_table(WAITING_LEADS)?.len()?,
            txn.open_table(AGENTS)?.len()?,
            txn.open_table(BOOKINGS)?.len()?,
        ];
        let is_long = rows.iter().sum::<u64>() > COUNTED;
        if is_long && !store.is_read_only() { Ok(()) } else { count_all(txn, report) }
    })
}

fn count_all(txn: &ReadTransaction, report: &mut Report) -> Result<(), StoreError> {
    let mut deliveries = Sums::new();
    for row in txn.open_table(LANES)?.iter()? {
        count(&mut deliveries, row?.0.value().0);
    }
    for row in txn.open_table(QUEUES)?.iter()? {
        count(&mut deliveries, row?.0.value().0);
    }
    compare(txn, report, Tally::Deliveries, &deliveries)?;
    let mut leads = Sums::new();
    for row in txn.open_table(WAITING_LEADS)?.iter()? {
        count(&mut leads, row?.0.value().0);
    }
    compare(txn, report, Tally::Leads, &leads)?;
    agents(txn, report)?;
    places(txn, report)
}

fn agents(txn: &ReadTransaction, report: &mut Report) -> Result<(), StoreError> {
    let mut agents = Sums::new();
    for row in txn.open_table(AGENTS)?.iter()? {
        let (id, bytes) = row?;
        let Ok(agent) = codec::decode::<Agent>(id.value(), bytes.value()) else { return Ok(()) };
        if !agent.removed {
            count(&mut agents, agent.team.as_str());
        }
    }
    compare(txn, report, Tally::Agents, &agents)
}

fn places(txn: &ReadTransaction, report: &mut Report) -> Result<(), StoreError> {
    let mut times: BTreeMap<(String, u64, u64), u64> = BTreeMap::new();
    let mut calendars = Sums::new();
    for row in txn.open_table(BOOKINGS)?.iter()? {
        let (id, bytes) = row?;
        let Ok(booking) = codec::decode::<Booking>(id.value(), bytes.value()) else { return Ok(()) };
        if booking.state == BookingState::Confirmed {
            let name = booking.calendar.as_str();
            count(&mut calendars, name);
            let length = booking.end.since(booking.start).get();
            *times.entry((name.to_owned(), length, booking.start.as_millis())).or_default() += 1;
        }
    }
    compare(txn, report, Tally::Places, &calendars)?;
    for row in txn.open_table(PLACES)?.iter()? {
        let (key, places) = row?;
        report.rows += 1;
        let ((calendar, length, start), places) = (key.value(), places.value());
        let standing = times.remove(&(calendar.to_owned(), length, start)).unwrap_or(0);
        report.expect(places == standing, "a place is taken exactly while its booking stands", || {
            format!("calendar {calendar}, start {start}, length {length} ms: {places}, {standing} bookings")
        });
    }
    for ((calendar, length, start), standing) in times {
        report.expect(false, "a place is taken exactly while its booking stands", || {
            format!("calendar {calendar}, start {start}, length {length} ms: 0, {standing} bookings")
        });
    }
    Ok(())
}

fn count(sums: &mut Sums, name: &str) {
    match sums.get_mut(name) {
        Some(sum) => *sum += 1,
        None => {
            sums.insert(name.to_owned(), 1);
        }
    }
}

fn compare(txn: &ReadTransaction, report: &mut Report, tally: Tally, counted: &Sums) -> Result<(), StoreError> {
    let kept: Sums = tallies::read(&txn.open_table(TALLIES)?, tally)?.into_iter().collect();
    report.expect(kept == *counted, "what figures show is what the rows say", || {
        format!("{}: {kept:?}, counted {counted:?}", tally.as_str())
    });
    Ok(())
}
