//! What must hold of the outbox: every delivery is due in the lane of its destination exactly while it waits, and nothing is
//! left of what is told to the end.

use crate::domain::delivery::{Delivery, Event, Exchange, Standstill};
use crate::domain::ids::DestinationName;
use crate::domain::job::{Job, JobKind, JobState};
use crate::domain::receipt::Receipt;
use crate::store::tables::{
    ABANDONED, AWAITING, DELIVERIES, DRAFTS, EVENTS, EXCHANGES, JOBS, LANES, QUEUES, RECEIPTS, STANDSTILLS, TURNS,
    WAMIDS,
};
use crate::store::{Store, StoreError};

use super::{Report, Slice, walk};

/// What lanes and queues hold.
const WAITING_ONLY: &str = "lanes and queues hold waiting deliveries only";

/// Looks at every row of it, but for the jobs: see [`job`].
pub(super) fn outbox(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    lanes(store, report)?;
    deliveries(store, report)?;
    messages(store, report)?;
    walk(store, report, STANDSTILLS, |slice, name, bytes| {
        let name = name.value();
        let Some(standstill) = slice.readable::<Standstill>(name, bytes.value()) else { return Ok(()) };
        slice.expect(
            DestinationName::new(name).is_ok() && !standstill.is_over(),
            "what stands against a destination stands against one",
            || format!("destination {name:?}"),
        );
        Ok(())
    })?;
    walk(store, report, ABANDONED, |slice, key, _| {
        let is_there = slice.has(DRAFTS, key.value())?;
        slice.expect(is_there, "only of a draft that is there it is noted that it was left", || {
            format!("draft {:02x?}", key.value())
        });
        Ok(())
    })
}

/// A job that delivers, and the lane that it waits in.
pub(super) fn job(slice: &mut Slice<'_>, id: u64, job: &Job) -> Result<(), StoreError> {
    let place = || format!("job {id}, {}", job.state.as_str());
    let waits = job.state == JobState::Scheduled;
    let Some(delivery) = slice.find::<Delivery>(DELIVERIES, id)? else {
        slice.expect(false, "a job that delivers knows what and to whom", place);
        return Ok(());
    };
    let name = delivery.destination.as_str();
    let in_lane = slice.has(LANES, (name, job.due_at.as_millis(), id))?;
    let (is_next, is_queued) = match &delivery.queue {
        Some(queue) => {
            let turn = slice.table(TURNS)?.get((name, queue))?;
            (turn.is_some_and(|turn| turn.value() == id), slice.has(QUEUES, (name, queue, id))?)
        }
        None => (false, false),
    };
    slice.expect(
        in_lane == (waits && !is_queued),
        "a delivery is in its destination's lane exactly while it waits, unless it waits for its turn",
        place,
    );
    slice.expect(waits || (!is_next && !is_queued), "only a delivery that waits has its turn, or waits for it", place);
    Ok(())
}

/// The job `id`, if it waits and delivers, with what it delivers.
fn waiting(slice: &Slice<'_>, id: u64) -> Result<Option<(Job, Delivery)>, StoreError> {
    let job = slice.find::<Job>(JOBS, id)?;
    let job = job.filter(|job| job.kind == JobKind::Deliver && job.state == JobState::Scheduled);
    Ok(job.zip(slice.find::<Delivery>(DELIVERIES, id)?))
}

fn lanes(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    walk(store, report, LANES, |slice, key, _| {
        let (name, due_at, id) = key.value();
        let holds = waiting(slice, id)?
            .is_some_and(|(job, delivery)| job.due_at.as_millis() == due_at && delivery.destination.as_str() == name);
        slice.expect(holds, WAITING_ONLY, || format!("lane of {name}, job {id}"));
        Ok(())
    })?;
    walk(store, report, QUEUES, |slice, key, _| {
        let (name, queue, id) = key.value();
        let holds = waiting(slice, id)?.is_some_and(|(_, delivery)| is_of(&delivery, name, queue));
        slice.expect(holds, WAITING_ONLY, || format!("queue of {name}, job {id}"));
        Ok(())
    })?;
    walk(store, report, TURNS, |slice, key, id| {
        let ((name, queue), id) = (key.value(), id.value());
        let holds = waiting(slice, id)?.is_some_and(|(_, delivery)| is_of(&delivery, name, queue));
        slice.expect(holds, "it is the turn of a delivery that waits", || format!("turn at {name}, job {id}"));
        Ok(())
    })
}

fn is_of(delivery: &Delivery, name: &str, queue: &[u8; 16]) -> bool {
    delivery.destination.as_str() == name && delivery.queue.as_ref() == Some(queue)
}

fn deliveries(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    walk(store, report, DELIVERIES, |slice, id, bytes| {
        let id = id.value();
        let Some(delivery) = slice.readable::<Delivery>(id, bytes.value()) else { return Ok(()) };
        let place = || format!("delivery {id}, event {}", delivery.event);
        let job = slice.find::<Job>(JOBS, id)?;
        slice.expect(
            job.is_some_and(|job| job.kind == JobKind::Deliver),
            "every delivery has its job, and that delivers",
            place,
        );
        let event = slice.find::<Event>(EVENTS, delivery.event.get())?;
        slice.expect(
            event.is_some_and(|event| numbers(delivery.event.get(), &event).contains(&id)),
            "every delivery tells of an event that has it",
            place,
        );
        Ok(())
    })?;
    walk(store, report, EVENTS, |slice, first, bytes| {
        let first = first.value();
        let Some(event) = slice.readable::<Event>(first, bytes.value()) else { return Ok(()) };
        let is_told = slice.table(DELIVERIES)?.range(numbers(first, &event))?.next().transpose()?.is_some();
        slice.expect(is_told, "an event is kept as long as one of its deliveries", || format!("event {first}"));
        Ok(())
    })?;
    walk(store, report, EXCHANGES, |slice, key, bytes| {
        let (id, number) = key.value();
        slice.readable::<Exchange>((id, number), bytes.value());
        let is_there = slice.has(DELIVERIES, id)?;
        let job = slice.find::<Job>(JOBS, id)?.filter(|_| is_there);
        slice.expect(
            job.is_some_and(|job| (1..=job.attempts).contains(&number)),
            "every answer is that of an attempt to deliver",
            || format!("job {id}, attempt {number}"),
        );
        Ok(())
    })
}

/// What is known of the messages that deliveries became.
fn messages(store: &Store, report: &mut Report) -> Result<(), StoreError> {
    walk(store, report, RECEIPTS, |slice, id, bytes| {
        let id = id.value();
        slice.readable::<Receipt>(id, bytes.value());
        let has_delivery = slice.find::<Delivery>(DELIVERIES, id)?.is_some();
        slice.expect(has_delivery, "what is known of a message is known of a delivery", || format!("job {id}"));
        Ok(())
    })?;
    walk(store, report, WAMIDS, |slice, wamid, id| {
        let receipt = slice.find::<Receipt>(RECEIPTS, id.value())?;
        let names_it = receipt.is_some_and(|receipt| receipt.wamid.as_deref() == Some(wamid.value()));
        slice.expect(names_it, "a message leads to the delivery that names it", || format!("job {}", id.value()));
        Ok(())
    })?;
    walk(store, report, AWAITING, |slice, key, _| {
        let (submission, id) = key.value();
        let job = slice.find::<Job>(JOBS, id)?.filter(|job| job.kind == JobKind::Deliver);
        let is_its_own = job.and_then(|job| job.submission).is_some_and(|of| of.get() == submission);
        slice.expect(is_its_own, "a delivery waits for the customer of its own submission", || {
            format!("submission {submission}, job {id}")
        });
        Ok(())
    })
}

/// The deliveries that `event` had when it was written; the first one names it.
fn numbers(first: u64, event: &Event) -> std::ops::Range<u64> {
    first..first.saturating_add(u64::from(event.deliveries))
}
