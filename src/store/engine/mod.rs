//! Engines that store the data on disk. The only engine is a redb file. The rest of the store uses
//! the types that this module exports.

mod redb;

pub(in crate::store) use ::redb::StorageBackend;
pub(in crate::store) use redb::change::{RawChange, list_changes};
pub(in crate::store) use redb::database::{Database, OpenError, OpenOptions, ReadTxn, WriteTxn};
pub(in crate::store) use redb::entry::{Entry, Position};
pub(in crate::store) use redb::key::{Bytes, Hash, TableKey, TableValue, Text};
pub(in crate::store) use redb::storage_backend::{
    BackendFactory, FaultRecorder, OpenObserver, OverlayBackend, file_backend,
};
pub(in crate::store) use redb::table::{Rows, WriteTable};
pub(in crate::store) use redb::table_def::TableDef;
