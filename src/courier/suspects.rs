//! Deliveries that may have been under way when the process died. One whose body takes the process down as it is made would
//! do so at each start, and nothing would ever be delivered again.
//!
//! So each of them is marked in the file before its body is made, and the mark is taken away before it is sent: these are
//! moments, and one suspect at a time has them. Whatever else is sent meanwhile, and however long a destination takes to
//! answer, a crash finds exactly one mark. Three marks of one delivery make it a dead letter: see
//! [`crate::store::MarkSuspect`].
//!
//! Deliveries that are told together would be marked together, and three crashes would bury all of them for one. So a group
//! with a suspect is told one by one until none of it is a suspect: see [`Suspects::count_together`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::ids::JobId;
use crate::store::{ClearSuspect, MarkSuspect, Store, StoreError, Suspect};

#[derive(Clone)]
pub(crate) struct Suspects(Arc<Inner>);

struct Inner {
    jobs: Mutex<HashSet<JobId>>,
    /// Whose turn it is: one at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Suspects {
    /// Those of `store`, which must be open.
    pub(crate) fn of(store: &Store) -> Self {
        let jobs: HashSet<JobId> = store.suspect_deliveries().into_iter().collect();
        if !jobs.is_empty() {
            tracing::warn!(
                deliveries.suspect = jobs.len(),
                "after an unclean end: the bodies of what may have been under way are made one at a time"
            );
        }
        Self(Arc::new(Inner { jobs: Mutex::new(jobs), turn: tokio::sync::Mutex::default() }))
    }

    /// Returns how many of `jobs`, from the first on, one body is made for: all, or 1 if any of them is a suspect.
    pub(super) fn count_together(&self, jobs: &[JobId]) -> usize {
        let known = self.lock();
        if jobs.iter().any(|job| known.contains(job)) { 1 } else { jobs.len() }
    }

    /// Runs `work`, which makes a body for `job` and, if `job` is no suspect, for others that are none. A suspect is marked
    /// meanwhile. `None`: `job` is a dead letter now, or over, and `work` did not run.
    pub(super) async fn watch<T>(
        &self,
        store: &Store,
        job: JobId,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, StoreError> {
        if !self.lock().contains(&job) {
            return Ok(Some(work.await));
        }
        let _turn = self.0.turn.lock().await;
        let marked = store.commit(MarkSuspect { job }).await?;
        if marked == Suspect::Buried {
            tracing::error!(job.id = job.get(), "a delivery took the process down too often: it is a dead letter now");
        }
        if marked != Suspect::Run {
            self.lock().remove(&job);
            return Ok(None);
        }
        let done = work.await;
        store.commit(ClearSuspect { job }).await?;
        self.lock().remove(&job);
        Ok(Some(done))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<JobId>> {
        // Each change is one removal: a panic leaves nothing half done.
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::JobState;
    use crate::store::tests::support::{Bench, open};

    /// The store of a process that died while two deliveries of one form were due, opened again.
    fn crashed() -> (tempfile::TempDir, Store) {
        let bench = Bench::telling();
        bench.accept_new("a");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crashed.redb");
        std::fs::copy(bench.path(), &path).unwrap();
        let store = open(path, &bench.clock, |_| {});
        (folder, store)
    }

    #[test]
    fn a_suspect_is_marked_while_its_body_is_made_and_no_longer() {
        let (_folder, store) = crashed();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let suspects = Suspects::of(&store);
        let [crm, sheet] = [0, 1].map(|place| store.suspect_deliveries()[place]);
        let crashes = |job| store.read().unwrap().job(job).unwrap().unwrap().crashes;

        let marked = runtime.block_on(suspects.watch(&store, crm, async { crashes(crm) }));
        assert_eq!(marked.unwrap(), Some(1));
        assert_eq!(crashes(crm), 0);
        let again = runtime.block_on(suspects.watch(&store, crm, async { crashes(crm) }));
        assert_eq!(again.unwrap(), Some(0), "it is no suspect any more");

        for _ in 0..3 {
            store.ask(MarkSuspect { job: sheet }).unwrap();
        }
        let buried = runtime.block_on(suspects.watch(&store, sheet, async { panic!("it is made once more") }));
        assert_eq!(buried.unwrap(), None::<()>);
        assert_eq!(store.read().unwrap().job(sheet).unwrap().unwrap().state, JobState::Dead);
    }

    #[test]
    fn a_group_with_a_suspect_is_told_one_by_one_and_no_other_of_it_is_marked() {
        let (_folder, store) = crashed();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let suspects = Suspects::of(&store);
        let [crm, sheet] = [0, 1].map(|place| store.suspect_deliveries()[place]);
        let later = JobId::new(999);
        let group = [crm, sheet, later];
        let crashes = |job| store.read().unwrap().job(job).unwrap().unwrap().crashes;

        assert_eq!(suspects.count_together(&group), 1);
        let marks = runtime.block_on(suspects.watch(&store, crm, async { [crm, sheet].map(crashes) }));
        assert_eq!(marks.unwrap(), Some([1, 0]));
        assert_eq!(suspects.count_together(&group), 1, "another of it is a suspect still");
        assert_eq!(suspects.count_together(&[later, sheet]), 1);
        runtime.block_on(suspects.watch(&store, sheet, async {})).unwrap();
        assert_eq!((suspects.count_together(&group), suspects.count_together(&[])), (3, 0));
    }
}
