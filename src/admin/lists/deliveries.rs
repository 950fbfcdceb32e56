//! `deliveries`: whom the outside was told through, of what, and what came back.

use crate::domain::delivery::{Delivery, Event};
use crate::domain::ids::JobId;
use crate::store::{Snapshot, StoreError};

use super::super::desk::{Desk, Out, row};
use super::super::protocol::{AdminError, Filter};
use super::super::views::{DeliveryAttemptView, DeliveryView, RowKey, Seen, json};
use super::{Counted, Pick, fits, is_before, known_state, value, walk, whole};

pub(in crate::admin) fn deliveries(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    known_state(filter, &["scheduled", "running", "done", "dead", "discarded", "expired"])?;
    let running = desk.running();
    let mut out = Counted::new(filter.most(), out);
    let pick = |read: &Snapshot, _: &_, id, delivery: Delivery| {
        let (Some(job), Some(event)) = (read.job(id)?, read.event(delivery.event)?) else { return Ok(Pick::Leave) };
        if is_before(filter, job.created_at) {
            return Ok(Pick::Stop);
        }
        if !is_wanted(filter, &delivery, &event) {
            return Ok(Pick::Leave);
        }
        let last = read.last_exchange(id)?;
        let view = DeliveryView::new((id, &job, running.contains(&id)), &delivery, &event, last.as_ref());
        let wanted = fits(filter.state.as_deref(), view.state.as_str());
        Ok(Pick::when(wanted, || view))
    };
    walk(desk, pick, |view| out.send(view))
}

/// Whether a delivery is to the destination, of the event and of the flow that are asked for.
pub(super) fn is_wanted(filter: &Filter, delivery: &Delivery, event: &Event) -> bool {
    filter.destination.as_ref().is_none_or(|wanted| delivery.destination == *wanted)
        && filter.event.is_none_or(|wanted| event.kind == wanted)
        && (filter.flow.is_none() || event.flow == filter.flow)
}

/// What the job `id` delivers, and what of; `None`: it delivers nothing.
pub(super) fn of_job(read: &Snapshot, id: JobId) -> Result<Option<(Delivery, Event)>, StoreError> {
    let Some(delivery) = read.delivery(id)? else { return Ok(None) };
    Ok(read.event(delivery.event)?.map(|event| (delivery, event)))
}

/// There is no such delivery.
pub(in crate::admin) fn no_delivery(id: JobId) -> AdminError {
    AdminError::not_found(format!("there is no delivery {id}: `flowgate deliveries` lists them"))
}

/// These deliveries as lists show them, without those that can't be read.
pub(in crate::admin) fn delivery_views(desk: &Desk, ids: &[JobId]) -> Result<Vec<DeliveryView>, AdminError> {
    let (read, running) = (desk.read()?, desk.running());
    let view = |id: &JobId| {
        let (job, (delivery, event)) = (read.job(*id).ok()??, of_job(&read, *id).ok()??);
        let last = read.last_exchange(*id).ok()?;
        Some(DeliveryView::new((*id, &job, running.contains(id)), &delivery, &event, last.as_ref()))
    };
    Ok(ids.iter().filter_map(view).collect())
}

pub(in crate::admin) fn delivery(desk: &Desk, id: JobId, out: &mut Out<'_>) -> Result<(), AdminError> {
    let read = desk.read()?;
    let (Some(job), Some((delivery, event))) = (read.job(id)?, of_job(&read, id)?) else {
        return Err(no_delivery(id));
    };
    let exchanges = read.exchanges(id)?;
    let of = |number: u32| exchanges.iter().find(|(known, _)| *known == number).map(|(_, exchange)| exchange.as_ref());
    let attempts = read.attempts(id)?.into_iter().map(|(number, attempt)| {
        let view = attempt.map(|attempt| DeliveryAttemptView::new(attempt, of(number)));
        Seen::of(RowKey::Number(number.into()), view)
    });
    let attempts = attempts.collect::<Result<Vec<_>, StoreError>>()?;
    let last = exchanges.last().and_then(|(_, last)| last.as_ref().ok());
    let view = DeliveryView::new((id, &job, desk.running().contains(&id)), &delivery, &event, last);
    let whole = whole(
        view,
        [
            ("webhook_id", value(&delivery.message_id)?),
            ("event_at", value(event.at)?),
            ("body", json(&event.body)),
            // What is sent in its place.
            ("corrected", value(read.correction(id)?.as_deref().map(json))?),
            ("history", value(attempts)?),
        ],
    )?;
    drop(read);
    row(out, whole)
}
