//! Handles deliveries that may have been in flight when the process died.
//!
//! A delivery may crash the process while its body is built. Without this module, the process would
//! crash at each start, and nothing would ever be delivered again.
//!
//! Each suspect is marked in the file before its body is built. The mark is removed before the
//! delivery is sent. This time is short, and only one suspect at a time is marked. So a crash finds
//! exactly one mark, whatever else is in flight and however slowly a destination responds. After
//! three marks, a delivery becomes a dead letter. See [`crate::store::MarkSuspect`].
//!
//! Merged deliveries would be marked together, and three crashes would make all of them dead
//! letters. Therefore a group with a suspect is sent one by one until it has no suspect. See
//! [`SuspectDeliveries::batch_size`].

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::ids::JobId;
use crate::store::{ClearSuspect, MarkSuspect, Store, StoreError, SuspectAction};

#[derive(Clone)]
pub(crate) struct SuspectDeliveries(Arc<SuspectState>);

struct SuspectState {
    jobs: Mutex<HashSet<JobId>>,
    /// Mutex that allows only one marked suspect at a time.
    exclusive: tokio::sync::Mutex<()>,
}

impl SuspectDeliveries {
    /// Loads the suspects of `store`, which must be open.
    pub(crate) fn load(store: &Store) -> Self {
        let jobs: HashSet<JobId> = store.suspect_deliveries().into_iter().collect();
        if !jobs.is_empty() {
            tracing::warn!(
                deliveries.suspect = jobs.len(),
                "unclean shutdown: deliveries that may have been in flight are prepared one at a time"
            );
        }
        Self(Arc::new(SuspectState {
            jobs: Mutex::new(jobs),
            exclusive: tokio::sync::Mutex::default(),
        }))
    }

    /// Returns the number of `jobs`, from the first, that may be merged into one body. Returns 1 if
    /// one of the jobs is a suspect, otherwise the number of all jobs.
    pub(crate) fn batch_size(&self, jobs: &[JobId]) -> usize {
        let known = self.0.jobs.lock();
        if jobs.iter().any(|job| known.contains(job)) {
            1
        } else {
            jobs.len()
        }
    }

    /// Runs `operation`, which builds a body for `job`, and for other jobs if no suspect is among
    /// them. A suspect is marked while `operation` runs. Returns `None` without running `operation`
    /// if `job` is finished or a dead letter.
    pub(crate) async fn mark_while<T>(
        &self,
        store: &Store,
        job: JobId,
        operation: impl Future<Output = T>,
    ) -> Result<Option<T>, StoreError> {
        if !self.0.jobs.lock().contains(&job) {
            return Ok(Some(operation.await));
        }
        let _guard = self.0.exclusive.lock().await;
        let marked = store.execute(MarkSuspect { job_id: job }).await?;
        if marked == SuspectAction::DeadLettered {
            tracing::error!(
                job.id = job.get(),
                "a delivery crashed the process too often and is a dead letter now"
            );
        }
        if marked != SuspectAction::Run {
            self.0.jobs.lock().remove(&job);
            return Ok(None);
        }
        let done = operation.await;
        store.execute(ClearSuspect { job_id: job }).await?;
        self.0.jobs.lock().remove(&job);
        Ok(Some(done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::{Job, JobState};
    use crate::store::tests::support::{StoreBench, open_store};

    /// Store of a process that died while two deliveries of one form were due, reopened.
    struct CrashedStore {
        _folder: tempfile::TempDir,
        store: Store,
        suspects: SuspectDeliveries,
    }

    impl CrashedStore {
        /// Returns the store and its suspects.
        fn open() -> (Self, [JobId; 2]) {
            let bench = StoreBench::with_subscribers();
            bench.accept_new("a");
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("crashed.redb");
            std::fs::copy(bench.path(), &path).unwrap();
            let store = open_store(path, &bench.clock, |_| {});
            let crashed = Self {
                _folder: folder,
                suspects: SuspectDeliveries::load(&store),
                store,
            };
            let jobs = crashed.store.suspect_deliveries();
            (crashed, jobs.try_into().unwrap())
        }

        /// Runs `operation` as the preparation of `job`.
        async fn mark_while<T>(&self, job: JobId, operation: impl Future<Output = T>) -> Option<T> {
            let marked = self.suspects.mark_while(&self.store, job, operation).await;
            marked.unwrap()
        }

        fn job(&self, id: JobId) -> Job {
            self.store.read().unwrap().job(id).unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn suspect_is_marked_only_while_body_is_built() {
        let (crashed, [crm, sheet]) = CrashedStore::open();
        let count_crashes = async || crashed.job(crm).crashes;
        assert_eq!(crashed.mark_while(crm, count_crashes()).await, Some(1));
        assert_eq!(crashed.job(crm).crashes, 0);
        let again = crashed.mark_while(crm, count_crashes()).await;
        assert_eq!(again, Some(0), "it is no suspect any more");

        for _ in 0..3 {
            let mark = MarkSuspect { job_id: sheet };
            crashed.store.execute_blocking(mark).unwrap();
        }
        let dead = crashed.mark_while(sheet, async { panic!("it is made once more") });
        assert_eq!(dead.await, None::<()>);
        assert_eq!(crashed.job(sheet).state, JobState::Dead);
    }

    #[tokio::test]
    async fn group_with_suspect_is_sent_one_by_one() {
        let (crashed, [crm, sheet]) = CrashedStore::open();
        let later = JobId::new(999);
        let batch = [crm, sheet, later];
        let batch_size = |jobs: &[JobId]| crashed.suspects.batch_size(jobs);

        assert_eq!(batch_size(&batch), 1);
        let marks = async { [crm, sheet].map(|job| crashed.job(job).crashes) };
        assert_eq!(crashed.mark_while(crm, marks).await, Some([1, 0]));
        assert_eq!(batch_size(&batch), 1, "another of it is a suspect still");
        assert_eq!(batch_size(&[later, sheet]), 1);
        crashed.mark_while(sheet, async {}).await.unwrap();
        assert_eq!((batch_size(&batch), batch_size(&[])), (3, 0));
    }
}
