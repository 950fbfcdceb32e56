//! Engines that hold the data. Today there is one: a redb file.

pub(in crate::store) mod redb;
