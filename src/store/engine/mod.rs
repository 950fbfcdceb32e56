//! Engines that store the data on disk. The only engine is a redb file.

pub(in crate::store) mod redb;
