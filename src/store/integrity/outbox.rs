//! Checks the outbox: events, deliveries and receipts. A delivery must be in the schedule of its
//! destination exactly while the delivery waits. No row of an event may remain after the removal of
//! its last delivery.

use crate::domain::delivery::{Delivery, Event};
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::job::{Job, JobKind, JobState};
use crate::store::engine::{Hash, Rows};
use crate::store::rows::schema::{
    ABANDONED_DRAFTS, AWAITING_CUSTOMER, DELIVERIES, DELIVERIES_DUE, DELIVERY_RESPONSES, DRAFTS,
    EVENTS, JOBS, ORDERED_HEADS, ORDERED_QUEUE, RECEIPTS, SUSPENSIONS, WAMIDS,
};
use crate::store::{Store, StoreResult};

use super::slices::{CheckedSlice, IntegrityReport, for_each_row, for_each_value};

/// Invariant of the schedule and the ordered queues.
const WAITING_ONLY: &str = "delivery schedules and ordered queues hold scheduled deliveries only";

/// Checks every row of the outbox, except the jobs. See [`check_delivery_job`] for the jobs.
pub fn check_outbox(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    check_delivery_schedule(store, report)?;
    check_deliveries(store, report)?;
    check_receipts(store, report)?;
    for_each_value(store, report, SUSPENSIONS, |slice, name, suspension| {
        slice.require(
            DestinationName::new(name).is_ok() && !suspension.is_lifted(),
            "a suspension is active and names a valid destination",
            || format!("destination {name:?}"),
        );
        Ok(())
    })?;
    for_each_row(store, report, ABANDONED_DRAFTS, |slice, row| {
        let is_there = slice.has_row(DRAFTS, row.key())?;
        slice.require(is_there, "an abandoned mark has its draft", || {
            format!("draft {:02x?}", row.key())
        });
        Ok(())
    })
}

/// Checks a delivery job and its entry in the schedule of its destination.
pub fn check_delivery_job(slice: &mut CheckedSlice<'_>, id: JobId, job: &Job) -> StoreResult<()> {
    let location = || format!("job {id}, {}", job.state.as_str());
    let waits = job.state == JobState::Scheduled;
    let Some(delivery) = slice.find(DELIVERIES, id)? else {
        slice.require(false, "a delivery job has its delivery", location);
        return Ok(());
    };
    let name = delivery.destination.as_str();
    let is_due = slice.has_row(DELIVERIES_DUE, (name, job.due_at, id))?;
    let (mut is_next, mut is_queued) = (false, false);
    if let Some(queue) = &delivery.ordering_key {
        is_next = slice.find(ORDERED_HEADS, (name, queue))? == Some(id);
        is_queued = slice.has_row(ORDERED_QUEUE, (name, queue, id))?;
    }
    slice.require(
        is_due == (waits && !is_queued),
        "a delivery is in its destination's schedule exactly while it is scheduled and not in an ordered queue",
        location,
    );
    slice.require(
        waits || (!is_next && !is_queued),
        "only a scheduled delivery is in an ordered queue or at its head",
        location,
    );
    Ok(())
}

/// Returns the job with this ID and its delivery, if the job is a waiting delivery job.
fn find_waiting_delivery(
    slice: &CheckedSlice<'_>,
    id: JobId,
) -> StoreResult<Option<(Job, Delivery)>> {
    let job = slice.find(JOBS, id)?;
    let job = job.filter(|job| job.kind == JobKind::Deliver && job.state == JobState::Scheduled);
    Ok(job.zip(slice.find(DELIVERIES, id)?))
}

fn check_delivery_schedule(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    for_each_row(store, report, DELIVERIES_DUE, |slice, row| {
        let (name, due_at, id) = row.key();
        let holds = find_waiting_delivery(slice, id)?.is_some_and(|(job, delivery)| {
            job.due_at == due_at && delivery.destination.as_str() == name
        });
        slice.require(holds, WAITING_ONLY, || {
            format!("schedule of {name}, job {id}")
        });
        Ok(())
    })?;
    for_each_row(store, report, ORDERED_QUEUE, |slice, row| {
        let (name, queue, id) = row.key();
        let holds = find_waiting_delivery(slice, id)?
            .is_some_and(|(_, delivery)| is_in_queue(&delivery, name, queue));
        slice.require(holds, WAITING_ONLY, || format!("queue of {name}, job {id}"));
        Ok(())
    })?;
    for_each_row(store, report, ORDERED_HEADS, |slice, row| {
        let ((name, queue), id) = (row.key(), row.value()?);
        let holds = find_waiting_delivery(slice, id)?
            .is_some_and(|(_, delivery)| is_in_queue(&delivery, name, queue));
        slice.require(
            holds,
            "the head of an ordered queue is a scheduled delivery",
            || format!("head at {name}, job {id}"),
        );
        Ok(())
    })
}

fn is_in_queue(delivery: &Delivery, name: &str, queue: &Hash) -> bool {
    delivery.destination.as_str() == name && delivery.ordering_key.as_ref() == Some(queue)
}

fn check_deliveries(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    for_each_value(store, report, DELIVERIES, |slice, id, delivery| {
        let location = || format!("delivery {id}, event {}", delivery.event_id);
        let job = slice.find(JOBS, id)?;
        slice.require(
            job.is_some_and(|job| job.kind == JobKind::Deliver),
            "a delivery has its delivery job",
            location,
        );
        let event = slice.find(EVENTS, delivery.event_id)?;
        slice.require(
            event.is_some_and(|event| delivery_ids(delivery.event_id, &event).contains(&id)),
            "a delivery belongs to the deliveries of its event",
            location,
        );
        Ok(())
    })?;
    for_each_value(store, report, EVENTS, |slice, first, event| {
        let deliveries = slice.txn.open(DELIVERIES)?;
        let mut rows = deliveries.range(delivery_ids(first, &event))?;
        let has_delivery = rows.next().transpose()?.is_some();
        slice.require(has_delivery, "an event has at least one delivery", || {
            format!("event {first}")
        });
        Ok(())
    })?;
    for_each_row(store, report, DELIVERY_RESPONSES, |slice, row| {
        let (id, number) = row.key();
        slice.decode(&row);
        let is_there = slice.has_row(DELIVERIES, id)?;
        let job = slice.find(JOBS, id)?.filter(|_| is_there);
        slice.require(
            job.is_some_and(|job| (1..=job.attempts).contains(&number)),
            "a delivery response belongs to an attempt of a delivery",
            || format!("job {id}, attempt {number}"),
        );
        Ok(())
    })
}

/// Checks the receipts of sent messages.
fn check_receipts(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    for_each_row(store, report, RECEIPTS, |slice, row| {
        let id = row.key();
        slice.decode(&row);
        let has_delivery = slice.find(DELIVERIES, id)?.is_some();
        slice.require(has_delivery, "a receipt has its delivery", || {
            format!("job {id}")
        });
        Ok(())
    })?;
    for_each_row(store, report, WAMIDS, |slice, row| {
        let id = row.value()?;
        let receipt = slice.find(RECEIPTS, id)?;
        let names_it = receipt.is_some_and(|receipt| receipt.wamid.as_deref() == Some(row.key()));
        slice.require(
            names_it,
            "a message id leads to the receipt that names it",
            || format!("job {id}"),
        );
        Ok(())
    })?;
    for_each_row(store, report, AWAITING_CUSTOMER, |slice, row| {
        let (submission, id) = row.key();
        let is_its_own = slice.find(JOBS, id)?.is_some_and(|job| {
            job.kind == JobKind::Deliver && job.submission_id == Some(submission)
        });
        slice.require(
            is_its_own,
            "a delivery waits for the customer of its own submission",
            || format!("submission {submission}, job {id}"),
        );
        Ok(())
    })
}

/// Returns the IDs of the deliveries that the event had when it was written. The ID of the first
/// delivery is the event ID.
fn delivery_ids(first: JobId, event: &Event) -> std::ops::Range<JobId> {
    first..JobId::new(first.get().saturating_add(event.delivery_count.into()))
}
