//! Position in a retention round, and the result of one slice.

use super::retention_queue::RetentionQueue;
use crate::store::StoreError;

/// Position in a retention round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeCursor {
    /// Idempotency keys: the start of a round.
    Keys,
    /// Queue of rows. A position within the queue is not necessary: each entry that a slice has
    /// read leaves the front of the queue.
    Queue(RetentionQueue),
}

/// Result of one slice of a retention round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeResult {
    /// Number of rows read: queue entries or keys.
    pub rows_read: usize,
    /// Number of rows that the slice removed.
    pub rows_removed: usize,
    /// Number of unreadable rows past their retention. Such rows stay, except rows of key logs.
    pub unreadable_rows: usize,
    /// Error of the first unreadable row.
    pub first_error: Option<String>,
    /// Position of the next slice. `None` if the round is complete.
    pub next: Option<PurgeCursor>,
}

impl PurgeResult {
    pub(super) const fn new(next: Option<PurgeCursor>) -> Self {
        Self {
            rows_read: 0,
            rows_removed: 0,
            unreadable_rows: 0,
            first_error: None,
            next,
        }
    }

    pub(in crate::store) fn record_unreadable(&mut self, error: &StoreError) {
        self.unreadable_rows += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }
}
