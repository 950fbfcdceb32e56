//! Searches that no index answers. They read a limited number of rows, in slices from separate
//! snapshots, so that no search prevents the reuse of space in the file.

use std::collections::BTreeSet;

use crate::admin::context::AdminContext;
use crate::admin::error::AdminError;
use crate::domain::ids::{JobId, SubmissionId};
use crate::domain::job::{DeadLetter, JobKind};
use crate::domain::submission::draft::Draft;
use crate::domain::time::Timestamp;
use crate::store::FoundSubmission;

/// Rows that a search may still read, in each table.
pub(super) struct ScanBudget {
    limit: Option<u64>,
    /// Tables whose search ended at the limit.
    cut_off: Vec<&'static str>,
}

impl ScanBudget {
    /// Creates a budget of `rows` for each table. 0: no limit.
    pub(super) fn new(rows: u64) -> Self {
        Self {
            limit: Some(rows).filter(|rows| *rows > 0),
            cut_off: Vec::new(),
        }
    }

    /// Returns `true` if the search of `table` may continue after `rows_read` rows.
    fn allows(&mut self, table: &'static str, rows_read: u64) -> bool {
        let is_allowed = self.limit.is_none_or(|limit| rows_read < limit);
        if !is_allowed && !self.cut_off.contains(&table) {
            self.cut_off.push(table);
        }
        is_allowed
    }

    /// Returns the reason why a result may be incomplete. `None`: every table was searched.
    pub(super) fn incomplete_reason(&self) -> Option<String> {
        let limit = self.limit.filter(|_| !self.cut_off.is_empty())?;
        Some(format!(
            "the search ended after {limit} rows of {}: `--scan 0` searches all",
            self.cut_off.join(" and ")
        ))
    }

    /// Returns an error if a result may be incomplete.
    pub(super) fn check_complete(&self) -> Result<(), AdminError> {
        self.incomplete_reason()
            .map_or(Ok(()), |reason| Err(AdminError::failed(reason)))
    }
}

/// Passes each submission that is wanted to `visit`, newest first, until `visit` returns `false` or
/// the submissions are older than `since`.
pub(super) fn search_submissions(
    context: &AdminContext,
    budget: &mut ScanBudget,
    since: Option<Timestamp>,
    mut is_wanted: impl FnMut(&FoundSubmission) -> bool,
    mut visit: impl FnMut(FoundSubmission) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    let (mut before, mut rows_read, mut is_too_old) = (None, 0, false);
    while !is_too_old {
        let slice = context.snapshot()?.search_submissions(before, |found| {
            is_too_old |= since.is_some_and(|since| found.stored.received_at < since);
            !is_too_old && is_wanted(found)
        })?;
        for found in slice.found {
            if !visit(found)? {
                return Ok(());
            }
        }
        rows_read += slice.rows_read;
        before = slice.next;
        if before.is_none() || !budget.allows("submissions", rows_read) {
            break;
        }
    }
    Ok(())
}

/// Lists the jobs of submissions, oldest first, at most `limit`. The search begins at `first`, the
/// oldest job of these submissions.
pub(super) fn search_jobs(
    context: &AdminContext,
    budget: &mut ScanBudget,
    first: JobId,
    submissions: &BTreeSet<SubmissionId>,
) -> Result<Vec<JobId>, AdminError> {
    let (mut next, mut rows_read, mut jobs) = (Some(first), 0, Vec::new());
    while let Some(from) = next {
        let slice = context.snapshot()?.search_jobs(from, |job| {
            job.submission_id
                .is_some_and(|submission| submissions.contains(&submission))
        })?;
        jobs.extend(slice.found);
        rows_read += slice.rows_read;
        next = slice.next;
        if next.is_some() && !budget.allows("jobs", rows_read) {
            break;
        }
    }
    Ok(jobs)
}

/// Returns the delivery with this webhook ID.
pub(super) fn find_webhook_id(
    context: &AdminContext,
    budget: &mut ScanBudget,
    webhook_id: &str,
) -> Result<Option<JobId>, AdminError> {
    let (mut before, mut rows_read) = (None, 0);
    loop {
        let slice = context.snapshot()?.search_webhook_id(webhook_id, before)?;
        if let Some(id) = slice.found.first() {
            return Ok(Some(*id));
        }
        rows_read += slice.rows_read;
        before = slice.next;
        if before.is_none() || !budget.allows("deliveries", rows_read) {
            return Ok(None);
        }
    }
}

/// Lists the messages of webhooks that became dead letters and contain one of `texts`.
pub(super) fn search_dead_messages(
    context: &AdminContext,
    budget: &mut ScanBudget,
    texts: &[String],
) -> Result<Vec<JobId>, AdminError> {
    let (mut before, mut rows_read, mut jobs) = (None, 0_u64, Vec::new());
    loop {
        let snapshot = context.snapshot()?;
        let rows = snapshot.list_rows::<DeadLetter>(before, super::list::PAGE_ROWS)?;
        let Some((last, _)) = rows.last() else {
            return Ok(jobs);
        };
        before = Some(*last);
        rows_read += u64::try_from(rows.len()).unwrap_or(u64::MAX);
        for (number, row) in rows {
            let id = JobId::new(number);
            let Ok(dead_letter) = row else { continue };
            let payload = &dead_letter.payload;
            if texts.iter().any(|text| payload.contains(text.as_str()))
                && let Ok(Some(job)) = snapshot.job(id)
                && job.kind == JobKind::Message
            {
                jobs.push(id);
            }
        }
        if !budget.allows("dead letters", rows_read) {
            return Ok(jobs);
        }
    }
}

/// Lists the drafts that are wanted, the latest change first.
pub(super) fn search_drafts(
    context: &AdminContext,
    is_wanted: impl Fn(&Draft) -> bool,
) -> Result<Vec<Draft>, AdminError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let snapshot = context.snapshot()?;
        let (keys, next) = snapshot.drafts(after, &is_wanted)?;
        for (_, key) in keys {
            found.extend(snapshot.draft(key)?);
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    found.sort_by_key(|draft| std::cmp::Reverse(draft.updated_at));
    Ok(found)
}
