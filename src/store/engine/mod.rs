//! Engines that store the data on disk. The only engine is a redb file. The rest of the store uses
//! the types that this module exports.

mod redb;

pub use ::redb::StorageBackend;
pub use redb::change::{RawChange, list_changes};
pub use redb::database::{Database, OpenError, OpenOptions, ReadTxn, WriteTxn};
pub use redb::entry::{Entry, Position};
#[cfg(test)]
pub use redb::key::NumberKey;
pub use redb::key::{Bytes, Hash, TableKey, TableValue, Text};
pub use redb::storage_backend::{
    BackendFactory, FaultRecorder, OpenObserver, OverlayBackend, file_backend,
};
pub use redb::table::{Rows, WriteTable};
pub use redb::table_def::TableDef;
