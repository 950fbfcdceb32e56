//! Encodes the rows of the tables, and maintains the tallies and the retention queues.
//!
//! See [`crate::store::tx`] for the transactions that change rows.

pub(in crate::store) mod codec;
pub(in crate::store) mod retention_queue;
pub(in crate::store) mod tallies;
