//! Defines the errors of the store and their consequences for the caller.

use std::path::PathBuf;

/// Result of a store operation.
pub type StoreResult<T> = Result<T, StoreError>;

/// Error of a store operation.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file open.
    #[error("another flowgate command or server has {} open", .0.display())]
    InUse(PathBuf),
    /// The earlier server of this file had the secret of the Meta app, and now no app secret is
    /// set.
    #[error(
        "no app secret is set, but the earlier server of {} had one: all requests of Meta would be refused. Set META_APP_SECRET, or \
         what `meta.app_secrets` names; or start with `--development` if this is intended",
        .0.display()
    )]
    SecretMissing(PathBuf),
    /// The file does not exist.
    #[error("no data file at {}: `flowgate serve` creates it", .0.display())]
    FileMissing(PathBuf),
    /// The file follows the backup of another server.
    #[error("{} follows a backup: `flowgate follow` continues to follow it, and `flowgate promote` makes it serve", .0.display())]
    Following(PathBuf),
    /// The file exists, but is not a flowgate data file.
    #[error("{} is not a flowgate data file ({reason}): set `data` to another path, or restore the right file", path.display())]
    NotADataFile {
        /// Path of the file.
        path: PathBuf,
        /// Reason why the file is not a data file.
        reason: String,
    },
    /// This program does not know the format of the file.
    #[error("{} has format {found}, but this flowgate reads only format {supported}: use the version that wrote the file", path.display())]
    UnknownFormat {
        /// Path of the file.
        path: PathBuf,
        /// Format version of the file.
        found: u32,
        /// Format version that this program reads.
        supported: u32,
    },
    /// The checksums of the file are wrong.
    #[error(
        "the data file is damaged ({0}): stop flowgate, keep a copy of the file, and restore a backup"
    )]
    Damaged(String),
    /// A row is unreadable. All other rows can be used.
    #[error("row {key} of table {table} {problem}: `flowgate check` lists all such rows")]
    Row {
        /// Table name.
        table: &'static str,
        /// Key of the row.
        key: String,
        /// Problem of the row.
        problem: RowProblem,
    },
    /// A new file is not what it must be. It was removed.
    #[error(
        "the copy was discarded, because {0}: try again, and check the data file with `flowgate check`"
    )]
    InvalidCopy(String),
    /// The change log does not have the changes that a copy needs.
    #[error(
        "the changes since the beginning of the copy outgrew the change log: try again when less is going on"
    )]
    ChangeLogLost,
    /// A copy or backup has a table that this program does not know.
    #[error(
        "the copy has table {0}, which this flowgate does not know: use the version that made the copy"
    )]
    UnknownTable(String),
    /// The disk is full.
    #[error("the disk is full: free some space, and flowgate continues automatically")]
    NoSpace,
    /// The disk has too little free space for an operation that needs temporary space.
    #[error("{} MiB of free disk space needed, {} MiB available: free some space first", needed_bytes.div_ceil(1 << 20), free_bytes >> 20)]
    InsufficientSpace {
        /// Needed space in bytes.
        needed_bytes: u64,
        /// Free space in bytes.
        free_bytes: u64,
    },
    /// The disk failed, and its content is unknown.
    #[error(
        "the disk can't be trusted any more ({0}): flowgate stops, and verifies the whole file at the next start"
    )]
    Untrusted(String),
    /// An operation of the file system failed.
    #[error("{operation} {}: {error}", path.display())]
    File {
        /// Name of the failed operation.
        operation: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        error: String,
    },
    /// The file is not open: the store is starting, waiting for space, or closed.
    #[error("the data file is not open: try again in a moment")]
    NotOpen,
    /// The engine reported an error that no disk fault explains.
    #[error("the store failed: {0}")]
    Engine(String),
}

/// Problem of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowProblem {
    /// The row is too short.
    #[error("is truncated")]
    Truncated,
    /// The bytes of the row were altered.
    #[error("has a wrong checksum")]
    Checksum,
    /// This program does not know the version of the row.
    #[error("has the unknown version {0}")]
    UnknownVersion(u8),
    /// The fields of the row can't be decoded.
    #[error("has invalid fields")]
    InvalidFields,
    /// The row should exist and does not.
    #[error("is missing")]
    Missing,
}

impl StoreError {
    /// Returns `true` if the error affects only the transaction that failed. The file itself is
    /// intact.
    #[must_use]
    pub const fn affects_one_row(&self) -> bool {
        matches!(self, Self::Row { .. })
    }

    /// Returns `true` if the store accepts nothing at the moment. The store itself logs the reason.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::NotOpen | Self::NoSpace)
    }

    /// Returns `true` if the process must end, because nothing that it reads or writes from now on
    /// is reliable.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Damaged(_) | Self::Untrusted(_) | Self::Engine(_)
        )
    }
}
