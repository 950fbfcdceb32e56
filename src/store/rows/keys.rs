//! Rows of the idempotency keys: the key logs, and the keys that do not fit into memory.
//!
//! See [`crate::store::writer::dedup`] for the look-up.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// Row of a key log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLogRow {
    pub key: [u8; 16],
    /// Time of acceptance, by the expiry clock.
    pub at: Timestamp,
    /// Submission ID. 0 if the key has no submission: a message without a form, a dead letter, or
    /// the mark of a shared token.
    pub submission: u64,
}

impl KeyLogRow {
    /// Returns the entry of the dedup index for this row with the number `row`.
    pub const fn entry(&self, row: u64) -> EvictedKey {
        EvictedKey {
            row,
            at: self.at,
            submission: self.submission,
        }
    }
}

/// Row of the table `evicted_keys`, and entry of the dedup index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvictedKey {
    /// Row number in the key log.
    pub row: u64,
    /// Time of acceptance, by the expiry clock.
    pub at: Timestamp,
    /// Submission ID, as in [`KeyLogRow`].
    pub submission: u64,
}
