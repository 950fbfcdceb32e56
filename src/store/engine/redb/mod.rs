//! The redb engine: a database file, its transactions, its tables and its storage backend.

pub mod change;
pub mod database;
pub mod entry;
mod error;
pub mod key;
pub mod storage_backend;
pub mod table;
pub mod table_def;
