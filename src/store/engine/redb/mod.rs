//! The redb engine: file format, tables, storage backend and compaction.

pub(in crate::store) mod compact;
pub(in crate::store) mod format;
pub(in crate::store) mod storage_backend;
pub(in crate::store) mod tables;
