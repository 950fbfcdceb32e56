//! Purge slices and whole rounds of retention for tests.

use crate::domain::flow::FlowTimeouts;
use crate::domain::ids::Customer;
use crate::domain::time::Millis;
use crate::store::{FinishOutcome, PurgeCursor, PurgeResult, PurgeSlice};

use super::support::{StoreBench, draft, flow, token_key};

pub const DAY: Millis = days(1);
/// Submission retention of [`StoreBench::purge_round`].
pub const SUBMISSION_RETENTION: Millis = days(90);

pub const fn days(days: u64) -> Millis {
    hours(days * 24)
}

pub const fn hours(hours: u64) -> Millis {
    Millis::from_secs(hours * 60 * 60)
}

/// Returns a time that is one millisecond shorter.
pub fn just_under(length: Millis) -> Millis {
    Millis::new(length.get() - 1)
}

/// Slice with a submission retention of 90 days and an attempt retention of one day. No draft is
/// abandoned.
pub fn purge_slice(cursor: PurgeCursor, max_rows: usize) -> PurgeSlice {
    PurgeSlice {
        cursor,
        max_rows,
        submission_retention: SUBMISSION_RETENTION,
        attempt_retention: DAY,
        audit_retention: DAY,
        abandon_timeouts: FlowTimeouts::default(),
        close_timeouts: FlowTimeouts::default(),
    }
}

impl StoreBench {
    /// Purges one whole round, in slices of `max_rows`.
    pub fn purge(
        &self,
        max_rows: usize,
        submission_retention: Millis,
        attempt_retention: Millis,
        abandon_after: Millis,
    ) -> PurgeResult {
        let abandon_timeouts: FlowTimeouts = [(flow(), abandon_after)].into_iter().collect();
        let mut sum = PurgeResult {
            rows_read: 0,
            rows_removed: 0,
            unreadable_rows: 0,
            first_error: None,
            next: Some(PurgeCursor::Keys),
        };
        while let Some(cursor) = sum.next {
            let purged = self.execute(PurgeSlice {
                cursor,
                max_rows,
                submission_retention,
                attempt_retention,
                audit_retention: attempt_retention,
                abandon_timeouts: abandon_timeouts.clone(),
                close_timeouts: FlowTimeouts::default(),
            });
            sum.rows_read += purged.rows_read;
            sum.rows_removed += purged.rows_removed;
            sum.unreadable_rows += purged.unreadable_rows;
            sum.first_error = sum.first_error.or(purged.first_error);
            sum.next = purged.next;
        }
        sum
    }

    /// Purges one whole round. A draft is abandoned after one day.
    pub fn purge_round(&self) -> PurgeResult {
        self.purge(1000, SUBMISSION_RETENTION, DAY, DAY)
    }

    /// Advances the clock by `length`, with regular retention rounds, as in a running server.
    pub fn run_for(&self, length: Millis) {
        let mut left = length.get();
        while left > 0 {
            let step = left.min(hours(12).get());
            self.clock.advance(Millis::new(step));
            self.purge_round();
            left -= step;
        }
    }

    /// Submits a form and finishes its job, so that only the retention time protects it.
    pub fn submit_finished(&self, token: &str) {
        let finished = self.finish_without_lead(self.accept_new(token));
        assert!(matches!(finished, FinishOutcome::Done { .. }));
    }

    pub fn submission_count(&self) -> u64 {
        self.counts().submissions
    }

    /// Saves a draft that names no customer.
    pub fn save_unnamed_draft(&self, token: &str) {
        self.save_draft(token_key(token), draft(None, Customer::default(), "{}"));
    }
}
