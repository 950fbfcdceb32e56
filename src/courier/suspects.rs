//! Deliveries that may have been under way when the process died. One whose body takes the process down as it is made would
//! do so at each start, and nothing would ever be delivered again.
//!
//! So each of them is marked in the file before its body is made, and the mark is taken away before it is sent: these are
//! moments, and one suspect at a time has them. Whatever else is sent meanwhile, and however long a destination takes to
//! answer, a crash finds exactly one mark. Three marks of one delivery make it a dead letter: see
//! [`crate::store::MarkSuspect`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

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

    /// Does `work`, which makes a body for `jobs`. Those of them that are suspects are marked meanwhile. `None`: one of them
    /// is a dead letter now, or over, and nothing was done.
    pub(super) async fn watch<T>(
        &self,
        store: &Store,
        jobs: &[JobId],
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, StoreError> {
        let suspects: Vec<JobId> = {
            let known = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.iter().copied().filter(|job| known.contains(job)).collect()
        };
        if suspects.is_empty() {
            return Ok(Some(work.await));
        }
        let _turn = self.0.turn.lock().await;
        for job in &suspects {
            match store.commit(MarkSuspect { job: *job }).await? {
                Suspect::Run => {}
                gone => {
                    if gone == Suspect::Buried {
                        tracing::error!(
                            job.id = job.get(),
                            "a delivery took the process down too often: it is a dead letter now"
                        );
                    }
                    self.forget(*job);
                    return Ok(None);
                }
            }
        }
        let done = work.await;
        for job in suspects {
            store.commit(ClearSuspect { job }).await?;
            self.forget(job);
        }
        Ok(Some(done))
    }

    fn forget(&self, job: JobId) {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::JobState;
    use crate::store::tests::support::{Bench, open};

    #[test]
    fn a_suspect_is_marked_while_its_body_is_made_and_no_longer() {
        let bench = Bench::telling();
        bench.accept_new("a");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crashed.redb");
        std::fs::copy(bench.path(), &path).unwrap();
        let store = open(path, &bench.clock, |_| {});
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let suspects = Suspects::of(&store);
        let [crm, sheet] = [0, 1].map(|place| store.suspect_deliveries()[place]);
        let crashes = |job| store.read().unwrap().job(job).unwrap().unwrap().crashes;

        let marked = runtime.block_on(suspects.watch(&store, &[crm], async { crashes(crm) }));
        assert_eq!(marked.unwrap(), Some(1));
        assert_eq!(crashes(crm), 0);
        let again = runtime.block_on(suspects.watch(&store, &[crm], async { crashes(crm) }));
        assert_eq!(again.unwrap(), Some(0), "it is no suspect any more");

        for _ in 0..3 {
            store.ask(MarkSuspect { job: sheet }).unwrap();
        }
        let buried = runtime.block_on(suspects.watch(&store, &[sheet], async { panic!("it is made once more") }));
        assert_eq!(buried.unwrap(), None::<()>);
        assert_eq!(store.read().unwrap().job(sheet).unwrap().unwrap().state, JobState::Dead);
    }
}
