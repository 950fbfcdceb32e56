//! `jobs` and `dead`.

use serde_json::Value;

use crate::domain::delivery::{Delivery, Event};
use crate::domain::ids::JobId;
use crate::domain::job::{DeadLetter, Job, JobState};
use crate::store::{Snapshot, StoreError};

use super::super::desk::{Desk, Out, row};
use super::super::protocol::{AdminError, Filter};
use super::super::views::{AttemptView, DeadView, JobView, MessageView, RowKey, Seen, Unreadable};
use super::{Counted, Pick, deliveries, fits, is_before, known_state, value, walk, whole};

pub(in crate::admin) fn jobs(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    known_state(filter, &["scheduled", "running", "done", "dead", "discarded", "expired"])?;
    let running = desk.running();
    let mut out = Counted::new(filter.most(), out);
    let pick = |read: &Snapshot, _: &_, id, job: Job| {
        if is_before(filter, job.created_at) {
            return Ok(Pick::Stop);
        }
        let view = JobView::new(id, &job, running.contains(&id));
        let wanted = fits(filter.state.as_deref(), view.state.as_str()) && of_flow(read, filter, id, &job)?;
        Ok(Pick::when(wanted, || view))
    };
    walk(desk, pick, |view| out.send(view))
}

/// Whether what the job is about is of the flow that is asked for.
fn of_flow(read: &Snapshot, filter: &Filter, id: JobId, job: &Job) -> Result<bool, StoreError> {
    let Some(flow) = &filter.flow else { return Ok(true) };
    if let Some((_, event)) = deliveries::of_job(read, id)? {
        return Ok(event.flow.as_ref() == Some(flow));
    }
    let submission = match job.submission {
        Some(id) => read.submission(id)?,
        None => None,
    };
    Ok(submission.is_some_and(|stored| stored.submission.flow == *flow))
}

pub(in crate::admin) fn job(desk: &Desk, id: JobId, out: &mut Out<'_>) -> Result<(), AdminError> {
    let read = desk.read()?;
    let Some(job) = read.job(id)? else {
        return Err(AdminError::not_found(format!("there is no job {id}: `flowgate jobs` lists them")));
    };
    let mut parts = vec![("history", history(&read, id)?)];
    if let Some(receipt) = read.delivery_status(id).transpose() {
        let seen = Seen::of(RowKey::Id(id.get()), receipt.map(MessageView::from))?;
        parts.push(("message", value(seen)?));
    }
    let whole = whole(JobView::new(id, &job, desk.running().contains(&id)), parts)?;
    drop(read);
    row(out, whole)
}

/// The attempts of a job, in order.
fn history(read: &Snapshot, id: JobId) -> Result<Value, AdminError> {
    let attempts = read.attempts(id)?.into_iter();
    let seen = attempts.map(|(number, attempt)| {
        let view = attempt.map(AttemptView::from);
        Seen::of(RowKey::Number(number.into()), view)
    });
    value(seen.collect::<Result<Vec<_>, StoreError>>()?)
}

pub(in crate::admin) fn dead_letters(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    let mut out = Counted::new(filter.most(), out);
    letters(desk, filter, |view| out.send(view))
}

/// Every dead letter that `filter` lets through, newest first, until `see` has enough. Its limit is not looked at. One that
/// can't be read is left out.
pub(in crate::admin) fn each_dead_letter(
    desk: &Desk,
    filter: &Filter,
    mut see: impl FnMut(DeadView) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    letters(desk, filter, |letter| match letter {
        Seen::Row(view) => see(view),
        Seen::Unreadable(Unreadable { key, error, .. }) => {
            tracing::warn!(job.id = %key, error, "a dead letter can't be read, and is left as it is");
            Ok(true)
        }
    })
}

fn letters(
    desk: &Desk,
    filter: &Filter,
    see: impl FnMut(Seen<DeadView>) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    let pick = |read: &Snapshot, _: &_, id, letter: DeadLetter| {
        let Some(job) = read.job(id)? else { return Ok(Pick::Leave) };
        if is_before(filter, letter.died_at) {
            return Ok(Pick::Leave);
        }
        let told = deliveries::of_job(read, id)?;
        let wanted = match &told {
            Some((delivery, event)) => deliveries::is_wanted(filter, delivery, event),
            None => filter.destination.is_none() && filter.event.is_none() && of_flow(read, filter, id, &job)?,
        };
        Ok(Pick::when(wanted, || dead_view(id, &job, &letter, told.as_ref())))
    };
    walk(desk, pick, see)
}

pub(in crate::admin) fn dead_letter(desk: &Desk, id: JobId, out: &mut Out<'_>) -> Result<(), AdminError> {
    let read = desk.read()?;
    let (Some(letter), Some(job)) = (read.dead(id)?, read.job(id)?) else { return Err(no_letter(&read, id)?) };
    let view = dead_view(id, &job, &letter, deliveries::of_job(&read, id)?.as_ref());
    let whole = whole(view, [("history", history(&read, id)?)])?;
    drop(read);
    row(out, whole)
}

fn dead_view(id: JobId, job: &Job, letter: &DeadLetter, told: Option<&(Delivery, Event)>) -> DeadView {
    DeadView::new(JobView::new(id, job, false), letter, told.map(|(delivery, event)| (delivery, event)))
}

/// Why there is no dead letter of that number.
pub(in crate::admin) fn no_letter(read: &Snapshot, id: JobId) -> Result<AdminError, StoreError> {
    let message = match read.job(id)?.map(|job| job.state) {
        None => format!("there is no dead letter {id}: `flowgate dead list` lists them"),
        Some(JobState::Dead) => format!("the dead letter of job {id} is gone: `flowgate check` tells more"),
        Some(state) => format!("job {id} is {}, no dead letter: `flowgate jobs show {id}`", state.as_str()),
    };
    Ok(AdminError::not_found(message))
}
