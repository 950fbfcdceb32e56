//! Retries and discards dead letters: a single one, or all that match a filter.

use crate::admin::context::AdminContext;
use crate::admin::error::AdminError;
use crate::admin::protocol::{JobSelector, ListFilter, max_rows};
use crate::admin::queries::{dead_letter_not_found, for_each_dead_letter};
use crate::admin::responses::{DeadLetterRow, DryRunRow, JobChangeRow};
use crate::domain::ids::JobId;
use crate::domain::job::RETRY_SPREAD_MAX;
use crate::domain::rate_limiter::Rate;
use crate::store::{
    DeadLetterOutcome, DiscardDeadLetter, DiscardDeadLetters, RetryDeadLetter, RetryDeadLetters,
};

use super::deliveries::{SAMPLES_MAX, SLICE_JOBS};

#[derive(Clone, Copy)]
pub(super) enum DeadLetterAction {
    Retry,
    Discard,
}

/// Changes the selected dead letters, or shows the first of them in a dry run.
pub(super) fn change_dead_letters(
    context: &AdminContext,
    selector: JobSelector,
    action: DeadLetterAction,
) -> Result<JobChangeRow<DeadLetterRow>, AdminError> {
    let (filter, dry_run, rate) = match selector {
        JobSelector::One { id, payload } => return change_one(context, id, action, payload),
        JobSelector::All {
            filter,
            dry_run,
            rate,
        } => (filter, dry_run, rate),
    };
    // All IDs are collected before the first change. A dead letter that fails again meanwhile is
    // not processed twice.
    let (mut chosen, preview) = choose_dead_letters(context, &filter)?;
    check_rate(rate, chosen.len())?;
    if dry_run {
        return Ok(JobChangeRow::DryRun(preview));
    }
    // The oldest job comes first, so the order of execution stays the same.
    chosen.reverse();
    let changed = change_in_slices(context, &chosen, action, rate)?;
    Ok(JobChangeRow::All { changed })
}

fn change_one(
    context: &AdminContext,
    id: JobId,
    action: DeadLetterAction,
    payload: Option<String>,
) -> Result<JobChangeRow<DeadLetterRow>, AdminError> {
    check_payload(payload.as_deref())?;
    let store = &context.store;
    let outcome = match action {
        DeadLetterAction::Retry => store.execute_blocking(RetryDeadLetter {
            job_id: id,
            payload,
        })?,
        DeadLetterAction::Discard => store.execute_blocking(DiscardDeadLetter { job_id: id })?,
    };
    match outcome {
        DeadLetterOutcome::Updated(state) => Ok(JobChangeRow::One {
            id,
            state: state.as_str(),
        }),
        DeadLetterOutcome::PayloadNotEditable => Err(AdminError::failed(format!(
            "job {id} belongs to a submission: its fields can't be replaced; retry it without --payload"
        ))),
        DeadLetterOutcome::Refused(_) | DeadLetterOutcome::NotFound => {
            Err(dead_letter_not_found(&context.snapshot()?, id)?)
        }
    }
}

fn check_payload(payload: Option<&str>) -> Result<(), AdminError> {
    match payload.map(serde_json::from_str::<serde::de::IgnoredAny>) {
        Some(Err(error)) => Err(AdminError::invalid(format!(
            "the payload is not valid JSON: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Returns the dead letters that match a filter, newest first, and the result of a dry run.
fn choose_dead_letters(
    context: &AdminContext,
    filter: &ListFilter,
) -> Result<(Vec<JobId>, DryRunRow<DeadLetterRow>), AdminError> {
    let mut chosen = Vec::new();
    let (mut samples, mut expired_messages) = (Vec::new(), 0);
    let (catalog, now, rows_max) = (context.catalog(), context.now(), max_rows(filter.limit));
    for_each_dead_letter(context, filter, |row| {
        chosen.push(row.job.id);
        let destination = row.destination.as_ref();
        let max_age = destination.and_then(|to| catalog.max_ages.get(to));
        let is_expired = max_age.is_some_and(|max_age| now.since(row.job.created_at) >= *max_age);
        expired_messages += usize::from(is_expired);
        if samples.len() < SAMPLES_MAX {
            samples.push(row);
        }
        Ok(chosen.len() < rows_max)
    })?;
    let preview = DryRunRow {
        would_change: chosen.len(),
        expired_messages: Some(expired_messages),
        samples,
    };
    Ok((chosen, preview))
}

/// Refuses a rate at which the last dead letter would be due later than the maximum allows.
fn check_rate(rate: Option<Rate>, dead_letters: usize) -> Result<(), AdminError> {
    let Some(rate) = rate else { return Ok(()) };
    let last = u64::try_from(dead_letters)
        .unwrap_or(u64::MAX)
        .saturating_sub(1);
    if rate.offset_of(last) <= RETRY_SPREAD_MAX {
        return Ok(());
    }
    let days = RETRY_SPREAD_MAX.get() / (24 * 60 * 60 * 1000);
    Err(AdminError::invalid(format!(
        "{dead_letters} dead letters at {rate} would take longer than {days} days: choose a higher rate, or select fewer dead letters (--since, --flow, \
         --destination)"
    )))
}

/// Changes dead letters in slices. Each slice is one transaction, so that other transactions can
/// run between the slices. If the process dies, the committed slices stay. The due times of a retry
/// at a rate are stored in the file.
fn change_in_slices(
    context: &AdminContext,
    dead_letters: &[JobId],
    action: DeadLetterAction,
    rate: Option<Rate>,
) -> Result<usize, AdminError> {
    let start = context.now();
    let due = |position| rate.map_or(start, |rate| start.plus(rate.offset_of(position)));
    let mut due_times = (0..).map(due);
    let mut changed = 0;
    for slice in dead_letters.chunks(SLICE_JOBS) {
        let job_ids = slice.iter().copied();
        let outcome = match action {
            DeadLetterAction::Discard => context.store.execute_blocking(DiscardDeadLetters {
                job_ids: job_ids.collect(),
            })?,
            DeadLetterAction::Retry => context.store.execute_blocking(RetryDeadLetters {
                jobs: job_ids.zip(due_times.by_ref()).collect(),
            })?,
        };
        changed += outcome.changed;
        for (job, error) in outcome.unreadable {
            tracing::warn!(job.id = job.get(), error = %error, "unreadable dead letter skipped: run `flowgate check`");
        }
    }
    Ok(changed)
}
