//! Assertion that the invariants of the store hold, for the end of each test.

use std::collections::BTreeSet;

use crate::domain::ids::AgentId;
use crate::domain::job::{Job, JobKind};
use crate::store::engine::Rows;
use crate::store::rows::schema::{CUSTOMER_AGENTS, RETENTION};
use crate::store::{RetentionQueue, check_integrity};

use super::support::{StoreBench, rows};

impl StoreBench {
    /// Asserts that every invariant holds.
    #[track_caller]
    pub fn assert_invariants(&self) {
        let report = check_integrity(&self.store).unwrap();
        assert_eq!(report.violations, []);
        self.assert_retention_queues();
    }

    /// Asserts that every row that retention may remove is in its queue. So no row is stored
    /// forever.
    #[track_caller]
    fn assert_retention_queues(&self) {
        let read = self.read();
        let entries = read.with_read_txn(|txn| txn.open(RETENTION)).unwrap();
        let keys = entries
            .all_rows()
            .unwrap()
            .map(|entry| entry.unwrap().key());
        let queued: BTreeSet<(u8, u128)> = keys.map(|(queue, _, row)| (queue, row)).collect();
        let assert_queued = |queue: RetentionQueue, row: u128| {
            assert!(queued.contains(&(queue.code(), row)), "{queue:?} {row}");
        };
        for (id, job) in rows::<Job>(&read) {
            match job.submission_id.filter(|_| job.kind == JobKind::Process) {
                _ if !job.state.is_terminal() => {}
                Some(submission) => {
                    assert_queued(RetentionQueue::Submissions, submission.get().into());
                }
                None => assert_queued(RetentionQueue::Jobs, id.get().into()),
            }
        }
        for (_, key) in read.drafts(None, |_| true).unwrap().0 {
            assert_queued(RetentionQueue::Drafts, u128::from_be_bytes(*key.as_bytes()));
        }
        let customers = read.with_read_txn(|txn| txn.open(CUSTOMER_AGENTS)).unwrap();
        for row in customers.all_rows().unwrap() {
            let row = row.unwrap();
            // The row of a customer without a name is removed with the submission.
            if row.value().unwrap().0 != AgentId::MIN {
                assert_queued(RetentionQueue::Customers, u128::from_be_bytes(*row.key()));
            }
        }
    }
}
