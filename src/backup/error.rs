//! Defines the errors of backups.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::SecretError;
use crate::domain::time::Timestamp;
use crate::net::NetError;
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
    /// An object can't be read or written.
    #[error("can't {action} {name}: {}", first_line(source))]
    Remote {
        /// Step that failed, as a verb phrase.
        action: &'static str,
        /// Place and name of the object.
        name: String,
        /// Reason of the failure.
        source: object_store::Error,
    },
    /// A secret of the object store is not set.
    #[error("backup.{key} is not set: {location} has no value")]
    NoCredentials {
        /// Config key.
        key: &'static str,
        /// Location of the secret.
        location: String,
    },
    /// A secret can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The HTTP client can't be set up.
    #[error(transparent)]
    Net(#[from] NetError),
    /// An object has wrong content.
    #[error("{0} is damaged: restore to an earlier time with --at")]
    DamagedObject(String),
    /// No base is complete.
    #[error("{label} has no complete backup{}", until.map(|until| format!(" at or before {until}")).unwrap_or_default())]
    NoBase {
        /// Place of the backup.
        label: String,
        /// Time that was asked for.
        until: Option<Timestamp>,
    },
    /// A part of the log is missing.
    #[error("the log of {label} has a gap after {reached}: restore that with --at {reached}")]
    Gap {
        /// Place of the backup.
        label: String,
        /// Time of the last commit before the gap.
        reached: Timestamp,
    },
    /// The backup was made by a newer version.
    #[error(
        "the backup has format {0}, which this flowgate does not know: use the version that made it"
    )]
    UnknownFormat(u32),
    /// The data file follows no backup.
    #[error("{} follows no backup: it is the file of a server. Start it with `flowgate serve`, or move it away to follow a backup", .0.display())]
    NotFollowing(PathBuf),
    /// There is no complete file to promote.
    #[error(
        "there is no complete data file yet ({why}): wait until `flowgate status` shows a last commit"
    )]
    NoFollowedFile {
        /// Last error.
        why: String,
    },
    /// A file or folder can't be used.
    #[error("can't {action} {}: {source}", path.display())]
    File {
        /// Step that failed, as a verb phrase.
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

/// Returns the beginning of a message: stores answer with whole documents.
fn first_line(error: &object_store::Error) -> String {
    const CHARACTERS_MAX: usize = 300;
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(CHARACTERS_MAX).collect()
}
