//! What must hold of what is counted beside the rows: places of calendars, and the sums that figures need.

use std::collections::BTreeMap;

use redb::ReadableTable;

use crate::domain::booking::{Booking, BookingState};
use crate::domain::lead::Agent;
use crate::store::read::Snapshot;
use crate::store::tables::{AGENTS, BOOKINGS, LANES, PLACES, QUEUES, WAITING_LEADS};
use crate::store::tallies::Tally;
use crate::store::{StoreError, codec};

use super::Report;

/// Number of rows by name.
type Sums = BTreeMap<String, u64>;

/// Counts everything again. Rows that can't be read are told where all rows of their table are looked at; with one of
/// them, nothing is said of the sums that it belongs to.
pub(super) fn tallies(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let mut deliveries = Sums::new();
    if let Some(lanes) = snapshot.rows(LANES)? {
        for row in lanes.iter()? {
            count(&mut deliveries, row?.0.value().0);
        }
    }
    if let Some(queues) = snapshot.rows(QUEUES)? {
        for row in queues.iter()? {
            count(&mut deliveries, row?.0.value().0);
        }
    }
    compare(snapshot, report, Tally::Deliveries, &deliveries)?;
    let mut leads = Sums::new();
    if let Some(waiting) = snapshot.rows(WAITING_LEADS)? {
        for row in waiting.iter()? {
            count(&mut leads, row?.0.value().0);
        }
    }
    compare(snapshot, report, Tally::Leads, &leads)?;
    agents(snapshot, report)?;
    places(snapshot, report)
}

fn agents(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let mut agents = Sums::new();
    if let Some(rows) = snapshot.rows(AGENTS)? {
        for row in rows.iter()? {
            let (id, bytes) = row?;
            let Ok(agent) = codec::decode::<Agent>(id.value(), bytes.value()) else { return Ok(()) };
            if !agent.removed {
                count(&mut agents, agent.team.as_str());
            }
        }
    }
    compare(snapshot, report, Tally::Agents, &agents)
}

fn places(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let mut times: BTreeMap<(String, u64, u64), u64> = BTreeMap::new();
    let mut calendars = Sums::new();
    if let Some(rows) = snapshot.rows(BOOKINGS)? {
        for row in rows.iter()? {
            let (id, bytes) = row?;
            let Ok(booking) = codec::decode::<Booking>(id.value(), bytes.value()) else { return Ok(()) };
            if booking.state == BookingState::Confirmed {
                let name = booking.calendar.as_str();
                count(&mut calendars, name);
                let length = booking.end.since(booking.start).get();
                *times.entry((name.to_owned(), length, booking.start.as_millis())).or_default() += 1;
            }
        }
    }
    compare(snapshot, report, Tally::Places, &calendars)?;
    if let Some(rows) = snapshot.rows(PLACES)? {
        for row in rows.iter()? {
            let (key, places) = row?;
            report.rows += 1;
            let ((calendar, length, start), places) = (key.value(), places.value());
            let standing = times.remove(&(calendar.to_owned(), length, start)).unwrap_or(0);
            report.expect(places == standing, "a place is taken exactly while its booking stands", || {
                format!("calendar {calendar}, start {start}, length {length} ms: {places}, {standing} bookings")
            });
        }
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

fn compare(snapshot: &Snapshot, report: &mut Report, tally: Tally, counted: &Sums) -> Result<(), StoreError> {
    let kept: Sums = snapshot.tally(tally)?.into_iter().collect();
    report.expect(kept == *counted, "what figures show is what the rows say", || {
        format!("{}: {kept:?}, counted {counted:?}", tally.as_str())
    });
    Ok(())
}
