//! Handles the request `deliveries`: lists deliveries, and shows one with its event and responses.

use crate::domain::delivery::{Delivery, Event};
use crate::domain::ids::JobId;
use crate::store::{Snapshot, StoreError};

use super::{
    LimitedSink, RowFilter, check_state, for_each_page, is_before_since, matches_name, to_json,
    with_details,
};
use crate::admin::handler::{AdminHandler, RowSink, send_row};
use crate::admin::protocol::{AdminError, ListFilter};
use crate::admin::responses::{DeliveryAttemptRow, DeliveryRow, QueryRow, RowKey, stored_json};

pub(crate) fn list_deliveries(
    handler: &AdminHandler,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    check_state(
        filter,
        &[
            "scheduled",
            "running",
            "done",
            "dead",
            "discarded",
            "expired",
        ],
    )?;
    let running = handler.running_jobs();
    let mut sink = LimitedSink::new(filter.max_rows(), sink);
    let pick = |snapshot: &Snapshot, _: &_, id, delivery: Delivery| {
        let (Some(job), Some(event)) = (snapshot.job(id)?, snapshot.event(delivery.event_id)?)
        else {
            return Ok(RowFilter::Skip);
        };
        if is_before_since(filter, job.created_at) {
            return Ok(RowFilter::Stop);
        }
        if !matches_filter(filter, &delivery, &event) {
            return Ok(RowFilter::Skip);
        }
        let last = snapshot.last_delivery_response(id)?;
        let view = DeliveryRow::new(
            (id, &job, running.contains(&id)),
            &delivery,
            &event,
            last.as_ref(),
        );
        let wanted = matches_name(filter.state.as_deref(), view.state.as_str());
        Ok(RowFilter::include_if(wanted, || view))
    };
    for_each_page(handler, pick, |view| sink.send(view))
}

/// Returns `true` if a delivery matches the destination, the event and the flow of the filter.
pub(crate) fn matches_filter(filter: &ListFilter, delivery: &Delivery, event: &Event) -> bool {
    filter
        .destination
        .as_ref()
        .is_none_or(|wanted| delivery.destination == *wanted)
        && filter.event.is_none_or(|wanted| event.kind == wanted)
        && (filter.flow.is_none() || event.flow == filter.flow)
}

/// Returns the delivery of the job `id`, with its event. Returns `None` if the job delivers
/// nothing.
pub(crate) fn delivery_of_job(
    snapshot: &Snapshot,
    id: JobId,
) -> Result<Option<(Delivery, Event)>, StoreError> {
    let Some(delivery) = snapshot.delivery(id)? else {
        return Ok(None);
    };
    Ok(snapshot
        .event(delivery.event_id)?
        .map(|event| (delivery, event)))
}

/// Creates an error for a delivery that does not exist.
pub(crate) fn delivery_not_found(id: JobId) -> AdminError {
    AdminError::not_found(format!(
        "there is no delivery {id}: `flowgate deliveries` lists them"
    ))
}

/// Returns these deliveries as rows of a list, without unreadable ones.
pub(crate) fn delivery_rows(
    handler: &AdminHandler,
    ids: &[JobId],
) -> Result<Vec<DeliveryRow>, AdminError> {
    let (snapshot, running) = (handler.snapshot()?, handler.running_jobs());
    let view = |id: &JobId| {
        let (job, (delivery, event)) = (
            snapshot.job(*id).ok()??,
            delivery_of_job(&snapshot, *id).ok()??,
        );
        let last = snapshot.last_delivery_response(*id).ok()?;
        Some(DeliveryRow::new(
            (*id, &job, running.contains(id)),
            &delivery,
            &event,
            last.as_ref(),
        ))
    };
    Ok(ids.iter().filter_map(view).collect())
}

pub(crate) fn get_delivery(
    handler: &AdminHandler,
    id: JobId,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let snapshot = handler.snapshot()?;
    let (Some(job), Some((delivery, event))) = (snapshot.job(id)?, delivery_of_job(&snapshot, id)?)
    else {
        return Err(delivery_not_found(id));
    };
    let exchanges = snapshot.delivery_responses(id)?;
    let find_response = |number: u32| {
        exchanges
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, exchange)| exchange.as_ref())
    };
    let attempts = snapshot.attempts(id)?.into_iter().map(|(number, attempt)| {
        let view = attempt.map(|attempt| DeliveryAttemptRow::new(attempt, find_response(number)));
        QueryRow::from_stored(RowKey::Number(number.into()), view)
    });
    let attempts = attempts.collect::<Result<Vec<_>, StoreError>>()?;
    let last = exchanges.last().and_then(|(_, last)| last.as_ref().ok());
    let view = DeliveryRow::new(
        (id, &job, handler.running_jobs().contains(&id)),
        &delivery,
        &event,
        last,
    );
    let whole = with_details(
        view,
        [
            ("webhook_id", to_json(&delivery.webhook_id)?),
            ("event_at", to_json(event.occurred_at)?),
            ("body", stored_json(&event.body)),
            // Body that replaces the original one.
            (
                "corrected",
                to_json(snapshot.corrected_body(id)?.as_deref().map(stored_json))?,
            ),
            ("attempt_history", to_json(attempts)?),
        ],
    )?;
    drop(snapshot);
    send_row(sink, whole)
}
