//! Defines the errors of backups.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// Reason why a backup or a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file exists, and a backup overwrites nothing.
    #[error("{} exists: name another file, or a folder", .0.display())]
    Exists(PathBuf),
    /// The data file exists, and `--force` was not given.
    #[error(
        "{} exists: with --force, the restored file takes its place, and the old one is kept beside it",
        .0.display()
    )]
    DataFileExists(PathBuf),
    /// There is nothing to restore at this path.
    #[error("there is no backup at {}: name a copy, a folder of copies, or the URL of a continuous backup", .0.display())]
    NoBackup(PathBuf),
    /// A copy has only the data of its own time.
    #[error("{} is a copy of one moment: leave out --at, or name the folder of the copies", .0.display())]
    OneMoment(PathBuf),
    /// A file or folder can't be used.
    #[error("can't {action} {}: {source}", path.display())]
    File {
        /// What failed.
        action: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// Reason of the failure.
        source: io::Error,
    },
    /// The stream of rows ended early, or has other content.
    #[error("the copy is incomplete: use the same flowgate version for the command and the server")]
    Incomplete,
}

impl BackupError {
    /// Returns a function that creates the error for a failed action on a path.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
