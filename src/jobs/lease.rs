//! Tracks jobs in flight: dispatched to a worker and not finished.
//!
//! A job is in flight from its dispatch until its [`JobLease`] is dropped. The lease moves with the
//! job to the worker, then into the callback that runs after the commit of the outcome. The job
//! therefore reports its result exactly once, even after a panic, a shutdown or a closed store.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crossbeam_channel::Sender;

use crate::domain::ids::JobId;
use crate::store::{FinishOutcome, StoreError};

/// Job that the dispatcher sends to a worker.
#[derive(Debug)]
pub(crate) struct JobTask {
    pub(crate) lease: JobLease,
    /// `true` if the job may have crashed the process. The worker must mark such a job before it
    /// runs.
    pub(crate) is_suspect: bool,
}

/// Lease of a job in flight. Dropping it reports the result.
#[derive(Debug)]
pub(crate) struct JobLease {
    job: JobId,
    result: LeaseResult,
    results: Sender<(JobId, LeaseResult)>,
}

/// Result of a job in flight.
#[derive(Debug)]
pub(crate) enum LeaseResult {
    /// Nothing to report: the job did not run, had finished before, or its failure is committed.
    Released,
    /// The job succeeded, and the outcome is committed.
    Done(FinishOutcome),
    /// The job is a suspect and could not be marked. It did not run and stays a suspect.
    MarkFailed(StoreError),
    /// The job's rows could not be read, or its outcome could not be committed. The job stays due.
    CommitFailed(StoreError),
}

impl JobLease {
    /// Creates a lease of `job`. When the lease is dropped, it sends the result to the channel, if
    /// the channel has a free place.
    pub(crate) const fn new(job: JobId, results: Sender<(JobId, LeaseResult)>) -> Self {
        Self {
            job,
            result: LeaseResult::Released,
            results,
        }
    }

    pub(crate) const fn job_id(&self) -> JobId {
        self.job
    }

    /// Ends the lease with this result.
    pub(crate) fn finish(mut self, ending: LeaseResult) {
        self.result = ending;
    }
}

impl Drop for JobLease {
    fn drop(&mut self) {
        // The channel has a place for each job in flight. If the dispatcher has ended, nobody needs
        // the result.
        let _ = self.results.try_send((
            self.job,
            std::mem::replace(&mut self.result, LeaseResult::Released),
        ));
    }
}

/// Set of jobs in flight. The dispatcher writes it, and other threads read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlightJobs(Arc<Mutex<BTreeSet<JobId>>>);

impl InFlightJobs {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub(crate) fn ids(&self) -> Vec<JobId> {
        self.0.lock().iter().copied().collect()
    }

    /// Adds a job. Returns `false` if the job was in flight already.
    pub(crate) fn insert(&self, job: JobId) -> bool {
        self.0.lock().insert(job)
    }

    pub(crate) fn remove(&self, job: JobId) {
        self.0.lock().remove(&job);
    }
}
