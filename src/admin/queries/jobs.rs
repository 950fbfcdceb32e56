//! Answers the requests about jobs and dead letters.

use std::ops::ControlFlow::{Break, Continue};

use super::list::{LimitedSink, for_each_page, send_list};
use crate::admin::context::{AdminContext, RowSink};
use crate::admin::error::AdminError;
use crate::admin::protocol::ListFilter;
use crate::admin::responses::{
    AttemptRow, DeadLetterDetails, DeadLetterRow, JobDetails, JobRow, MessageStatusRow, QueryRow,
    RowKey, UnreadableRow,
};
use crate::domain::delivery::{Delivery, Event};
use crate::domain::ids::JobId;
use crate::domain::job::{DeadLetter, Job, JobState};
use crate::store::{Snapshot, StoreError};

/// Names of the states of jobs and deliveries.
pub(super) const JOB_STATES: [&str; 6] = [
    "scheduled",
    "running",
    "done",
    "dead",
    "discarded",
    "expired",
];

pub(super) fn list_jobs(
    context: &AdminContext,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let running = context.running_jobs();
    let filter_row = |snapshot: &Snapshot, _: &_, id, job: Job| {
        if filter.starts_after(job.created_at) {
            return Ok(Break(()));
        }
        let row = JobRow::new(id, &job, running.contains(&id));
        let wanted = filter.matches_state(&row.state) && matches_flow(snapshot, filter, id, &job)?;
        Ok(Continue(wanted.then_some(row)))
    };
    send_list(context, filter, &JOB_STATES, sink, filter_row)
}

/// Returns `true` if the submission or the event of the job belongs to the flow of the filter.
fn matches_flow(
    snapshot: &Snapshot,
    filter: &ListFilter,
    id: JobId,
    job: &Job,
) -> Result<bool, StoreError> {
    if filter.flow.is_none() {
        return Ok(true);
    }
    if let Some((_, event)) = delivery_of_job(snapshot, id)? {
        return Ok(filter.matches_flow(event.flow.as_ref()));
    }
    let submission = match job.submission_id {
        Some(id) => snapshot.submission(id)?,
        None => None,
    };
    Ok(submission.is_some_and(|stored| filter.matches_flow(Some(&stored.submission.flow))))
}

pub(super) fn get_job(context: &AdminContext, id: JobId) -> Result<JobDetails, AdminError> {
    let snapshot = context.snapshot()?;
    let Some(job) = snapshot.job(id)? else {
        return Err(AdminError::missing("job", id));
    };
    let message = snapshot.receipt(id).transpose().map(|receipt| {
        QueryRow::from_stored(RowKey::Id(id.get()), receipt.map(MessageStatusRow::from))
    });
    Ok(JobDetails {
        job: JobRow::new(id, &job, context.running_jobs().contains(&id)),
        attempt_history: attempt_history(&snapshot, id)?,
        message: message.transpose()?,
    })
}

/// Returns the attempts of a job, in order.
fn attempt_history(
    snapshot: &Snapshot,
    id: JobId,
) -> Result<Vec<QueryRow<AttemptRow>>, StoreError> {
    let attempts = snapshot.attempts(id)?.into_iter();
    let rows = attempts.map(|(number, attempt)| {
        QueryRow::from_stored(RowKey::Number(number.into()), attempt.map(AttemptRow::from))
    });
    rows.collect()
}

pub(super) fn list_dead_letters(
    context: &AdminContext,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let mut sink = LimitedSink::new(filter.limit, sink);
    scan_dead_letters(context, filter, |row| sink.send(row))
}

/// Calls a function for each dead letter that matches the filter, newest first, until the function
/// returns `false`. The limit of the filter is ignored. Unreadable dead letters are skipped.
pub(in crate::admin) fn for_each_dead_letter(
    context: &AdminContext,
    filter: &ListFilter,
    mut visit: impl FnMut(DeadLetterRow) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    scan_dead_letters(context, filter, |dead_letter| match dead_letter {
        QueryRow::Row(row) => visit(row),
        QueryRow::Unreadable(UnreadableRow { key, error, .. }) => {
            tracing::warn!(job.id = %key, error, "unreadable dead letter skipped: run `flowgate check`");
            Ok(true)
        }
    })
}

fn scan_dead_letters(
    context: &AdminContext,
    filter: &ListFilter,
    visit: impl FnMut(QueryRow<DeadLetterRow>) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    let filter_row = |snapshot: &Snapshot, _: &_, id, dead_letter: DeadLetter| {
        let Some(job) = snapshot.job(id)? else {
            return Ok(Continue(None));
        };
        // Jobs do not die in the order of their IDs, so older dead letters may be in the list.
        if filter.starts_after(dead_letter.died_at) {
            return Ok(Continue(None));
        }
        let delivery = delivery_of_job(snapshot, id)?;
        let wanted = match &delivery {
            Some((delivery, event)) => filter.matches_delivery(delivery, event),
            None if filter.destination.is_some() || filter.event.is_some() => false,
            None => matches_flow(snapshot, filter, id, &job)?,
        };
        let job = JobRow::new(id, &job, false);
        let row = || DeadLetterRow::new(job, &dead_letter, delivery.as_ref());
        Ok(Continue(wanted.then(row)))
    };
    for_each_page(context, filter_row, visit)
}

pub(super) fn get_dead_letter(
    context: &AdminContext,
    id: JobId,
) -> Result<DeadLetterDetails, AdminError> {
    let snapshot = context.snapshot()?;
    let (Some(dead_letter), Some(job)) = (snapshot.dead_letter(id)?, snapshot.job(id)?) else {
        return Err(dead_letter_not_found(&snapshot, id)?);
    };
    let job = JobRow::new(id, &job, false);
    let delivery = delivery_of_job(&snapshot, id)?;
    Ok(DeadLetterDetails {
        dead_letter: DeadLetterRow::new(job, &dead_letter, delivery.as_ref()),
        attempt_history: attempt_history(&snapshot, id)?,
    })
}

/// Returns the delivery of the job `id`, with its event. Returns `None` if the job delivers
/// nothing.
pub(super) fn delivery_of_job(
    snapshot: &Snapshot,
    id: JobId,
) -> Result<Option<(Delivery, Event)>, StoreError> {
    let Some(delivery) = snapshot.delivery(id)? else {
        return Ok(None);
    };
    let event = snapshot.event(delivery.event_id)?;
    Ok(event.map(|event| (delivery, event)))
}

/// Creates the error for a missing dead letter, with the reason.
pub(in crate::admin) fn dead_letter_not_found(
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
