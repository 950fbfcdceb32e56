//! Handles the requests `jobs` and `dead-letters`.

use serde_json::Value;

use crate::domain::delivery::{Delivery, Event};
use crate::domain::ids::JobId;
use crate::domain::job::{DeadLetter, Job, JobState};
use crate::store::{Snapshot, StoreError};

use super::{
    LimitedSink, RowFilter, check_state, deliveries, for_each_page, is_before_since, matches_name,
    to_json, with_details,
};
use crate::admin::handler::{AdminHandler, RowSink, send_row};
use crate::admin::protocol::{AdminError, ListFilter};
use crate::admin::responses::{
    AttemptRow, DeadLetterRow, JobRow, MessageStatusRow, QueryRow, RowKey, UnreadableRow,
};

pub(crate) fn list_jobs(
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
    let pick = |snapshot: &Snapshot, _: &_, id, job: Job| {
        if is_before_since(filter, job.created_at) {
            return Ok(RowFilter::Stop);
        }
        let view = JobRow::new(id, &job, running.contains(&id));
        let wanted = matches_name(filter.state.as_deref(), view.state.as_str())
            && matches_flow(snapshot, filter, id, &job)?;
        Ok(RowFilter::include_if(wanted, || view))
    };
    for_each_page(handler, pick, |view| sink.send(view))
}

/// Returns `true` if the submission or the event of the job belongs to the flow of the filter.
fn matches_flow(
    snapshot: &Snapshot,
    filter: &ListFilter,
    id: JobId,
    job: &Job,
) -> Result<bool, StoreError> {
    let Some(flow) = &filter.flow else {
        return Ok(true);
    };
    if let Some((_, event)) = deliveries::delivery_of_job(snapshot, id)? {
        return Ok(event.flow.as_ref() == Some(flow));
    }
    let submission = match job.submission_id {
        Some(id) => snapshot.submission(id)?,
        None => None,
    };
    Ok(submission.is_some_and(|stored| stored.submission.flow == *flow))
}

pub(crate) fn get_job(
    handler: &AdminHandler,
    id: JobId,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let snapshot = handler.snapshot()?;
    let Some(job) = snapshot.job(id)? else {
        return Err(AdminError::not_found(format!(
            "there is no job {id}: `flowgate jobs` lists them"
        )));
    };
    let mut details = vec![("attempt_history", attempt_history(&snapshot, id)?)];
    if let Some(receipt) = snapshot.receipt(id).transpose() {
        let rows =
            QueryRow::from_stored(RowKey::Id(id.get()), receipt.map(MessageStatusRow::from))?;
        details.push(("message", to_json(rows)?));
    }
    let object = with_details(
        JobRow::new(id, &job, handler.running_jobs().contains(&id)),
        details,
    )?;
    drop(snapshot);
    send_row(sink, object)
}

/// Returns the attempts of a job, in order.
fn attempt_history(snapshot: &Snapshot, id: JobId) -> Result<Value, AdminError> {
    let attempts = snapshot.attempts(id)?.into_iter();
    let rows = attempts.map(|(number, attempt)| {
        let view = attempt.map(AttemptRow::from);
        QueryRow::from_stored(RowKey::Number(number.into()), view)
    });
    to_json(rows.collect::<Result<Vec<_>, StoreError>>()?)
}

pub(crate) fn list_dead_letters(
    handler: &AdminHandler,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let mut sink = LimitedSink::new(filter.max_rows(), sink);
    scan_dead_letters(handler, filter, |view| sink.send(view))
}

/// Calls a function for each dead letter that matches the filter, newest first, until the function
/// returns `false`. The limit of the filter is ignored. Unreadable dead letters are skipped.
pub(crate) fn for_each_dead_letter(
    handler: &AdminHandler,
    filter: &ListFilter,
    mut visit: impl FnMut(DeadLetterRow) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    scan_dead_letters(handler, filter, |dead_letter| match dead_letter {
        QueryRow::Row(view) => visit(view),
        QueryRow::Unreadable(UnreadableRow { key, error, .. }) => {
            tracing::warn!(job.id = %key, error, "unreadable dead letter skipped: run `flowgate check`");
            Ok(true)
        }
    })
}

fn scan_dead_letters(
    handler: &AdminHandler,
    filter: &ListFilter,
    visit: impl FnMut(QueryRow<DeadLetterRow>) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    let pick = |snapshot: &Snapshot, _: &_, id, dead_letter: DeadLetter| {
        let Some(job) = snapshot.job(id)? else {
            return Ok(RowFilter::Skip);
        };
        if is_before_since(filter, dead_letter.died_at) {
            return Ok(RowFilter::Skip);
        }
        let delivery_event = deliveries::delivery_of_job(snapshot, id)?;
        let wanted = match &delivery_event {
            Some((delivery, event)) => deliveries::matches_filter(filter, delivery, event),
            None => {
                filter.destination.is_none()
                    && filter.event.is_none()
                    && matches_flow(snapshot, filter, id, &job)?
            }
        };
        Ok(RowFilter::include_if(wanted, || {
            dead_letter_row(id, &job, &dead_letter, delivery_event.as_ref())
        }))
    };
    for_each_page(handler, pick, visit)
}

pub(crate) fn get_dead_letter(
    handler: &AdminHandler,
    id: JobId,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let snapshot = handler.snapshot()?;
    let (Some(dead_letter), Some(job)) = (snapshot.dead_letter(id)?, snapshot.job(id)?) else {
        return Err(dead_letter_not_found(&snapshot, id)?);
    };
    let view = dead_letter_row(
        id,
        &job,
        &dead_letter,
        deliveries::delivery_of_job(&snapshot, id)?.as_ref(),
    );
    let object = with_details(view, [("attempt_history", attempt_history(&snapshot, id)?)])?;
    drop(snapshot);
    send_row(sink, object)
}

fn dead_letter_row(
    id: JobId,
    job: &Job,
    dead_letter: &DeadLetter,
    delivery_event: Option<&(Delivery, Event)>,
) -> DeadLetterRow {
    DeadLetterRow::new(
        JobRow::new(id, job, false),
        dead_letter,
        delivery_event.map(|(delivery, event)| (delivery, event)),
    )
}

/// Creates the error for a missing dead letter, with the reason.
pub(crate) fn dead_letter_not_found(
    snapshot: &Snapshot,
    id: JobId,
) -> Result<AdminError, StoreError> {
    let message = match snapshot.job(id)?.map(|job| job.state) {
        None => format!("there is no dead letter {id}: `flowgate dead-letters list` lists them"),
        Some(JobState::Dead) => {
            format!("the dead letter of job {id} is missing: run `flowgate check`")
        }
        Some(state) => format!(
            "job {id} is {}, not a dead letter: `flowgate jobs show {id}`",
            state.as_str()
        ),
    };
    Ok(AdminError::not_found(message))
}
