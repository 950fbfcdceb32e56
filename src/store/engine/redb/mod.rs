//! The redb engine: a database file, its transactions, its tables and its storage backend.

pub(in crate::store) mod change;
pub(in crate::store) mod database;
pub(in crate::store) mod entry;
mod error;
pub(in crate::store) mod key;
pub(in crate::store) mod storage_backend;
pub(in crate::store) mod table;
pub(in crate::store) mod table_def;
