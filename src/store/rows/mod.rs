//! Defines the tables and their rows: the schema, the encoding, and the rows that the store itself
//! adds to those of the domain.
//!
//! See [`crate::store::tx`] for the transactions that change rows.

pub mod change_log;
pub mod codec;
pub mod counters;
pub mod drafts;
pub mod forgets;
pub mod keys;
pub mod responses;
pub mod schema;
pub mod secrets;
pub mod submissions;
pub mod tallies;
