//! Jobs that are out: handed to a worker and not yet over.
//!
//! A job is out from the moment it is handed out until its [`Hold`] is dropped. The hold travels with the job: to the
//! worker, then into the callback that runs after the commit of the outcome. So a job comes back exactly once, whatever
//! happens on the way: a panic, a stop, a store that has ended.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use crate::domain::ids::JobId;
use crate::store::{Finished, StoreError};

/// A job on its way to a worker.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) hold: Hold,
    /// Whether it may have taken the process down: it is to be marked before it runs.
    pub(super) is_suspect: bool,
}

/// Keeps a job out until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    job: JobId,
    ending: Ending,
    told: Sender<(JobId, Ending)>,
}

/// What became of a job that was out.
#[derive(Debug)]
pub(super) enum Ending {
    /// Nothing that needs telling: it was not run, it was over before, or its failure is written down.
    Free,
    /// It has succeeded, and that is on disk.
    Done(Finished),
    /// It is a suspect and could not be marked as one: it was not run, and still is one.
    Unmarked(StoreError),
    /// What it needs could not be read, or what became of it not written: it is due as before.
    Unstored(StoreError),
}

impl Hold {
    /// A hold on `job`. When it is dropped, `told` gets a message, if there is a place for it.
    pub(super) const fn new(job: JobId, told: Sender<(JobId, Ending)>) -> Self {
        Self { job, ending: Ending::Free, told }
    }

    pub(super) const fn job(&self) -> JobId {
        self.job
    }

    /// Gives the job back.
    pub(super) fn end(mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // The feeder has a place for each job that is out. If it is gone, nobody needs to know.
        let _ = self.told.try_send((self.job, std::mem::replace(&mut self.ending, Ending::Free)));
    }
}

/// Which jobs are out: written by the feeder, read by whoever asks how the work goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Out(Arc<Mutex<BTreeSet<JobId>>>);

impl Out {
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn ids(&self) -> Vec<JobId> {
        self.lock().iter().copied().collect()
    }

    /// False: it was out already.
    pub(super) fn insert(&self, job: JobId) -> bool {
        self.lock().insert(job)
    }

    pub(super) fn remove(&self, job: JobId) {
        self.lock().remove(&job);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<JobId>> {
        // Each change is one call: whoever panicked left no half-made one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
