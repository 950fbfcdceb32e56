//! Rows of the idempotency keys: the key logs, and the keys that do not fit into memory.
//!
//! See [`crate::store::writer::dedup`] for the look-up.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// Row of a key log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct KeyLogRow {
    pub(in crate::store) key: [u8; 16],
    /// Time of acceptance, by the expiry clock.
    pub(in crate::store) at: Timestamp,
    /// Submission ID. 0 if the key has no submission: a message without a form, a dead letter, or
    /// the mark of a shared token.
    pub(in crate::store) submission: u64,
}

/// Row of the table `evicted_keys`, and entry of the dedup index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct EvictedKey {
    /// Row number in the key log.
    pub(in crate::store) row: u64,
    /// Time of acceptance, by the expiry clock.
    pub(in crate::store) at: Timestamp,
    /// Submission ID, as in [`KeyLogRow`].
    pub(in crate::store) submission: u64,
}
