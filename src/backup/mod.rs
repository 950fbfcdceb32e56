//! Backups: copies of the data file in a folder, and restored files.
//!
//! | module | content |
//! |---|---|
//! | `copies` | copies in a folder, and the removal of old ones |
//! | `restored_file` | the replacement of a data file by a restored one |
//! | `error` | errors with what to do |
//!
//! See [`crate::store::DataCopy`] for the copy of the rows, and [`crate::domain::backup`] for the
//! rules.

mod copies;
mod error;
mod restored_file;

pub use copies::{CopiedFile, copy_store, copy_to_new_file, remove_old_copies};
pub use error::BackupError;
pub use restored_file::{RestoreSource, RestoredFile, restore_copy};
