//! Checks submissions, their jobs and their bookings.

use crate::domain::ids::JobId;
use crate::domain::job::{Job, JobKind, JobState};

use super::slices::{
    CheckedSlice, IntegrityReport, check_rows_readable, for_each_row, for_each_value,
};
use crate::store::rows::schema::{
    ATTEMPTS, BOOKINGS, DEAD_LETTERS, DRAFTS, DUE, JOBS, LATE_ARRIVALS, LEADS,
    RETRIED_DEAD_LETTERS, SUBMISSIONS,
};
use crate::store::{Store, StoreResult};

pub(super) fn check_submissions(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    for_each_value(store, report, SUBMISSIONS, |slice, id, row| {
        let job = slice.find(JOBS, row.job_id)?;
        slice.require(
            job.as_ref()
                .is_some_and(|job| job.submission_id == Some(id)),
            "a submission has its job",
            || format!("submission {id}, job {}", row.job_id),
        );
        if let Some(booking) = row.booking_id {
            let found = slice.find(BOOKINGS, booking)?;
            slice.require(
                found.is_some_and(|found| found.submission_id == id),
                "the booking named by a submission belongs to it",
                || format!("submission {id}, booking {booking}"),
            );
        }
        Ok(())
    })?;
    check_rows_readable(store, report, LATE_ARRIVALS)?;
    check_rows_readable(store, report, DRAFTS)
}

pub(super) fn check_jobs(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    for_each_value(store, report, JOBS, |slice, id, job| {
        if job.kind == JobKind::Deliver {
            super::outbox::check_delivery_job(slice, id, &job)?;
        }
        check_job(slice, id, &job)
    })?;
    for_each_row(store, report, DUE, |slice, row| {
        let (due_at, id) = row.key();
        let waits = slice.find(JOBS, id)?.is_some_and(|job| {
            job.kind != JobKind::Deliver && job.state == JobState::Scheduled && job.due_at == due_at
        });
        slice.require(waits, "the schedule holds scheduled jobs only", || {
            format!("job {id}, due at {due_at}")
        });
        Ok(())
    })?;
    for_each_row(store, report, DEAD_LETTERS, |slice, row| {
        let id = row.key();
        slice.decode(&row);
        let job = slice.find(JOBS, id)?;
        slice.require(
            job.is_some_and(|job| job.state == JobState::Dead),
            "a dead letter has a dead job",
            || format!("dead letter {id}"),
        );
        Ok(())
    })?;
    for_each_row(store, report, RETRIED_DEAD_LETTERS, |slice, row| {
        let id = row.key();
        slice.decode(&row);
        let is_there = slice.has_row(JOBS, id)?;
        slice.require(is_there, "a retried dead letter has its job", || {
            format!("job {id}")
        });
        Ok(())
    })?;
    check_rows_readable(store, report, ATTEMPTS)
}

pub(super) fn check_job(slice: &mut CheckedSlice<'_>, id: JobId, job: &Job) -> StoreResult<()> {
    let is_due = slice.has_row(DUE, (job.due_at, id))?;
    let is_dead = slice.has_row(DEAD_LETTERS, id)?;
    let is_ours = job.kind != JobKind::Deliver;
    let location = || format!("job {id}, {}", job.state.as_str());
    let waits = job.state == JobState::Scheduled;
    slice.require(
        is_due == (waits && is_ours),
        "a job is in the schedule exactly while it is scheduled",
        location,
    );
    slice.require(
        is_dead == (job.state == JobState::Dead),
        "a job has a dead letter exactly while it is dead",
        location,
    );
    if job.kind == JobKind::Process {
        let owner = match job.submission_id {
            Some(of) => slice.find(SUBMISSIONS, of)?,
            None => None,
        };
        let is_its_own = owner.is_some_and(|owner| owner.job_id == id);
        slice.require(is_its_own, "every job has its submission", location);
    }
    if job.kind == JobKind::Message {
        let is_stored = slice.has_row(RETRIED_DEAD_LETTERS, id)?;
        slice.require(
            is_stored == waits,
            "a retried message is stored until its job succeeds",
            location,
        );
    }
    if let Some(lead) = job.lead_id {
        let found = slice.find(LEADS, lead)?;
        let same = found.is_some_and(|found| Some(found.submission_id) == job.submission_id);
        slice.require(
            same,
            "the lead of a job is of the same submission",
            location,
        );
    }
    Ok(())
}

pub(super) fn check_bookings(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    for_each_value(store, report, BOOKINGS, |slice, id, booking| {
        let owner = slice.find(SUBMISSIONS, booking.submission_id)?;
        slice.require(
            owner.is_some_and(|owner| owner.booking_id == Some(id)),
            "every booking is the one booking of its submission",
            || format!("booking {id}"),
        );
        Ok(())
    })
}
