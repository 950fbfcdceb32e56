//! Answers the requests about deliveries: lists them, and shows one with its event and responses.

use std::ops::ControlFlow::{Break, Continue};

use super::jobs::{JOB_STATES, delivery_of_job};
use super::list::send_list;
use crate::admin::context::{AdminContext, RowSink};
use crate::admin::error::AdminError;
use crate::admin::protocol::ListFilter;
use crate::admin::responses::{
    DeliveryAttemptRow, DeliveryDetails, DeliveryRow, JobRow, QueryRow, RowKey, stored_json,
};
use crate::domain::delivery::Delivery;
use crate::domain::ids::JobId;
use crate::store::{Snapshot, StoreError};

pub(super) fn list_deliveries(
    context: &AdminContext,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let running = context.running_jobs();
    let filter_row = |snapshot: &Snapshot, _: &_, id, delivery: Delivery| {
        let (Some(job), Some(event)) = (snapshot.job(id)?, snapshot.event(delivery.event_id)?)
        else {
            return Ok(Continue(None));
        };
        if filter.starts_after(job.created_at) {
            return Ok(Break(()));
        }
        if !filter.matches_delivery(&delivery, &event) {
            return Ok(Continue(None));
        }
        let job = JobRow::new(id, &job, running.contains(&id));
        let last = snapshot.last_delivery_response(id)?;
        let wanted = filter.matches_state(&job.state);
        Ok(Continue(wanted.then(|| {
            DeliveryRow::new(job, &delivery, &event, last.as_ref())
        })))
    };
    send_list(context, filter, &JOB_STATES, sink, filter_row)
}

/// Returns these deliveries as rows of a list, without unreadable ones.
pub(in crate::admin) fn delivery_rows(
    context: &AdminContext,
    ids: &[JobId],
) -> Result<Vec<DeliveryRow>, AdminError> {
    let (snapshot, running) = (context.snapshot()?, context.running_jobs());
    let read_row = |id: &JobId| {
        let job = snapshot.job(*id).ok()??;
        let (delivery, event) = delivery_of_job(&snapshot, *id).ok()??;
        let last = snapshot.last_delivery_response(*id).ok()?;
        let job = JobRow::new(*id, &job, running.contains(id));
        Some(DeliveryRow::new(job, &delivery, &event, last.as_ref()))
    };
    Ok(ids.iter().filter_map(read_row).collect())
}

pub(super) fn get_delivery(
    context: &AdminContext,
    id: JobId,
) -> Result<DeliveryDetails, AdminError> {
    let snapshot = context.snapshot()?;
    let (Some(job), Some((delivery, event))) = (snapshot.job(id)?, delivery_of_job(&snapshot, id)?)
    else {
        return Err(delivery_not_found(id));
    };
    let responses = snapshot.delivery_responses(id)?;
    let attempts = snapshot.attempts(id)?.into_iter().map(|(number, attempt)| {
        let response = responses.iter().find(|(known, _)| *known == number);
        let response = response.map(|(_, response)| response.as_ref());
        let row = attempt.map(|attempt| DeliveryAttemptRow::new(attempt, response));
        QueryRow::from_stored(RowKey::Number(number.into()), row)
    });
    let attempt_history = attempts.collect::<Result<_, StoreError>>()?;
    let job = JobRow::new(id, &job, context.running_jobs().contains(&id));
    let last = responses.last().and_then(|(_, last)| last.as_ref().ok());
    Ok(DeliveryDetails {
        delivery: DeliveryRow::new(job, &delivery, &event, last),
        webhook_id: delivery.webhook_id,
        event_at: event.occurred_at,
        body: stored_json(&event.body),
        corrected: snapshot.corrected_body(id)?.as_deref().map(stored_json),
        attempt_history,
    })
}

/// Creates an error for a delivery that does not exist.
pub(in crate::admin) fn delivery_not_found(id: JobId) -> AdminError {
    AdminError::not_found(format!(
        "there is no delivery {id}: `flowgate deliveries` lists them"
    ))
}
