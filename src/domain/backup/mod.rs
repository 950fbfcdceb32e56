//! Rules of backups: the names of copies and of objects, and which of them may be removed.
//!
//! See [`objects`] for the layout of a continuous backup.

pub mod copies;
pub mod expiry;
pub mod objects;
