//! Finds the jobs and deliveries that may have been in flight when the process died.

use std::ops::Bound;

use crate::domain::ids::JobId;
use crate::domain::time::Timestamp;

use crate::store::StoreResult;
use crate::store::engine::{Rows, Text};

/// Maximum number of suspect deliveries per destination.
///
/// At most 256 deliveries of a destination are in flight at once, running or being recorded. The
/// rest is a reserve.
const SUSPECTS_PER_DESTINATION: usize = 320;

/// Returns the jobs that may have been in flight when the process died.
///
/// The dispatcher hands out jobs in the order of the schedule, so these jobs are among the first.
pub(super) fn find_suspect_jobs(
    due: &impl Rows<Key = (Timestamp, JobId), Value = ()>,
    max_jobs_in_flight: usize,
    now: Timestamp,
) -> StoreResult<Vec<JobId>> {
    due.range(..=(now, JobId::MAX))?
        .take(max_jobs_in_flight)
        .map(|row| Ok(row?.key().1))
        .collect()
}

/// Returns the deliveries that may have been in flight when the process died: the first ones of
/// each destination.
pub(super) fn find_suspect_deliveries(
    deliveries_due: &impl Rows<Key = (Text, Timestamp, JobId), Value = ()>,
    now: Timestamp,
) -> StoreResult<Vec<JobId>> {
    let mut suspects = Vec::new();
    let mut destination = deliveries_due.first()?.map(|row| row.key().0.to_owned());
    while let Some(name) = destination {
        let first = (&*name, Timestamp::ZERO, JobId::MIN);
        for row in deliveries_due
            .range(first..=(&*name, now, JobId::MAX))?
            .take(SUSPECTS_PER_DESTINATION)
        {
            suspects.push(row?.key().2);
        }
        let last = (&*name, Timestamp::MAX, JobId::MAX);
        let next = deliveries_due
            .range((Bound::Excluded(last), Bound::Unbounded))?
            .next()
            .transpose()?;
        destination = next.map(|row| row.key().0.to_owned());
    }
    Ok(suspects)
}
