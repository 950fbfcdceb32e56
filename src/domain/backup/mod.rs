//! Rules of backups: the names of copies and of objects, and which of them may be removed.

pub mod copies;
