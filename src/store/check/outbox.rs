//! What must hold of the outbox: every delivery is due in the lane of its destination exactly while it waits, and nothing is
//! left of what is told to the end.

use redb::{ReadOnlyTable, ReadableTable, ReadableTableMetadata};

use crate::domain::delivery::{Delivery, Event, Exchange, Standstill};
use crate::domain::ids::DestinationName;
use crate::domain::job::{Job, JobKind, JobState};
use crate::store::StoreError;
use crate::store::read::Snapshot;
use crate::store::tables::{
    ABANDONED, DELIVERIES, DRAFTS, EVENTS, EXCHANGES, JOBS, LANES, QUEUES, Rows, STANDSTILLS, TURNS,
};

use super::{Report, find};

/// Looks at every row of it. A file that an older version wrote may have no such tables.
pub(super) fn outbox(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    jobs(snapshot, report)?;
    deliveries(snapshot, report)?;
    events(snapshot, report)?;
    exchanges(snapshot, report)?;
    standstills(snapshot, report)?;
    abandoned(snapshot, report)
}

/// Jobs that deliver, and the lanes that they wait in.
fn jobs(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let lanes = snapshot.rows(LANES)?;
    let mut waiting = 0;
    for row in snapshot.transaction().open_table(JOBS)?.iter()? {
        let (id, bytes) = row?;
        let id = id.value();
        // What can't be read is told where all jobs are looked at.
        let Ok(job) = super::codec::decode::<Job>(id, bytes.value()) else { continue };
        if job.kind != JobKind::Deliver {
            continue;
        }
        let place = || format!("job {id}, {}", job.state.as_str());
        let waits = job.state == JobState::Scheduled;
        waiting += u64::from(waits);
        let Some(delivery) = look_up::<Delivery>(snapshot, DELIVERIES, id)? else {
            report.expect(false, "a job that delivers knows what and to whom", place);
            continue;
        };
        let key = (delivery.destination.as_str(), job.due_at.as_millis(), id);
        let in_lane = lanes.as_ref().map(|lanes| lanes.get(key)).transpose()?.flatten().is_some();
        let (is_next, is_queued) = turn_of(snapshot, &delivery, id)?;
        let waits_for_turn = waits && is_queued;
        report.expect(
            in_lane == (waits && !waits_for_turn),
            "a delivery is in its destination's lane exactly while it waits, unless it waits for its turn",
            place,
        );
        report.expect(
            waits || (!is_next && !is_queued),
            "only a delivery that waits has its turn, or waits for it",
            place,
        );
    }
    let queued = snapshot.rows(QUEUES)?.map_or(Ok(0), |queues| queues.len())?;
    let entries = lanes.map(|lanes| lanes.len()).transpose()?.unwrap_or_default().saturating_add(queued);
    report.expect(entries == waiting, "lanes and queues hold waiting deliveries only", || {
        format!("{entries} entries, {waiting} deliveries waiting")
    });
    Ok(())
}

/// Whether it is a delivery's turn among those of its customer, and whether it waits for it.
fn turn_of(snapshot: &Snapshot, delivery: &Delivery, id: u64) -> Result<(bool, bool), StoreError> {
    let Some(queue) = delivery.queue else { return Ok((false, false)) };
    let name = delivery.destination.as_str();
    let is_next = match snapshot.rows(TURNS)? {
        Some(turns) => turns.get((name, &queue))?.is_some_and(|turn| turn.value() == id),
        None => false,
    };
    let is_queued = match snapshot.rows(QUEUES)? {
        Some(queues) => queues.get((name, &queue, id))?.is_some(),
        None => false,
    };
    Ok((is_next, is_queued))
}

fn deliveries(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let Some(rows) = snapshot.rows(DELIVERIES)? else { return Ok(()) };
    for row in rows.iter()? {
        let (id, bytes) = row?;
        let id = id.value();
        let Some(delivery) = report.readable::<Delivery>(id, bytes.value()) else { continue };
        let place = || format!("delivery {id}, event {}", delivery.event);
        let job = find::<Job>(snapshot, JOBS, id)?;
        report.expect(
            job.is_some_and(|job| job.kind == JobKind::Deliver),
            "every delivery has its job, and that delivers",
            place,
        );
        let event = look_up::<Event>(snapshot, EVENTS, delivery.event.get())?;
        report.expect(
            event.is_some_and(|event| numbers(delivery.event.get(), &event).contains(&id)),
            "every delivery tells of an event that has it",
            place,
        );
    }
    Ok(())
}

fn events(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let Some(rows) = snapshot.rows(EVENTS)? else { return Ok(()) };
    let deliveries = snapshot.rows(DELIVERIES)?;
    for row in rows.iter()? {
        let (first, bytes) = row?;
        let first = first.value();
        let Some(event) = report.readable::<Event>(first, bytes.value()) else { continue };
        let mut is_told = false;
        if let Some(deliveries) = &deliveries {
            for id in numbers(first, &event) {
                is_told |= deliveries.get(id)?.is_some();
            }
        }
        report.expect(is_told, "an event is kept as long as one of its deliveries", || format!("event {first}"));
    }
    Ok(())
}

fn exchanges(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let Some(rows) = snapshot.rows(EXCHANGES)? else { return Ok(()) };
    let deliveries = snapshot.rows(DELIVERIES)?;
    for row in rows.iter()? {
        let (key, bytes) = row?;
        let (id, number) = key.value();
        report.readable::<Exchange>((id, number), bytes.value());
        let is_there = has(deliveries.as_ref(), id)?;
        let job = find::<Job>(snapshot, JOBS, id)?.filter(|_| is_there);
        report.expect(
            job.is_some_and(|job| (1..=job.attempts).contains(&number)),
            "every answer is that of an attempt to deliver",
            || format!("job {id}, attempt {number}"),
        );
    }
    Ok(())
}

fn standstills(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let Some(rows) = snapshot.rows(STANDSTILLS)? else { return Ok(()) };
    for row in rows.iter()? {
        let (name, bytes) = row?;
        let name = name.value();
        let Some(standstill) = report.readable::<Standstill>(name, bytes.value()) else { continue };
        report.expect(
            DestinationName::new(name).is_ok() && !standstill.is_over(),
            "what stands against a destination stands against one",
            || format!("destination {name:?}"),
        );
    }
    Ok(())
}

fn abandoned(snapshot: &Snapshot, report: &mut Report) -> Result<(), StoreError> {
    let Some(rows) = snapshot.rows(ABANDONED)? else { return Ok(()) };
    let drafts = snapshot.rows(DRAFTS)?;
    for row in rows.iter()? {
        let (key, _) = row?;
        report.rows += 1;
        let is_there = drafts.as_ref().map(|drafts| drafts.get(key.value())).transpose()?.flatten().is_some();
        report.expect(is_there, "only of a draft that is there it is noted that it was left", || {
            format!("draft {:02x?}", key.value())
        });
    }
    Ok(())
}

/// The deliveries that `event` had when it was written; the first one names it.
fn numbers(first: u64, event: &Event) -> std::ops::Range<u64> {
    first..first.saturating_add(u64::from(event.deliveries))
}

fn has(table: Option<&ReadOnlyTable<u64, &'static [u8]>>, key: u64) -> Result<bool, StoreError> {
    Ok(table.map(|table| table.get(key)).transpose()?.flatten().is_some())
}

/// As [`find`], where there may be no such table.
fn look_up<R: super::Row>(snapshot: &Snapshot, table: Rows, key: u64) -> Result<Option<R>, StoreError> {
    if snapshot.rows(table)?.is_none() {
        return Ok(None);
    }
    find(snapshot, table, key)
}
