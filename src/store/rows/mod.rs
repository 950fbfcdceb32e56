//! Defines the tables and their rows: the schema, the encoding, and the rows that the store itself
//! adds to those of the domain.
//!
//! See [`crate::store::tx`] for the transactions that change rows.

pub(in crate::store) mod change_log;
pub(in crate::store) mod codec;
pub(in crate::store) mod counters;
pub(in crate::store) mod drafts;
pub(in crate::store) mod keys;
pub(in crate::store) mod responses;
pub(in crate::store) mod schema;
pub(in crate::store) mod submissions;
pub(in crate::store) mod tallies;
