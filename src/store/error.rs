//! What can go wrong with the file, and what it means for whoever asked.

use std::path::PathBuf;

use super::codec::Row;

/// Why the store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file.
    #[error("another flowgate command or server has {} open", .0.display())]
    InUse(PathBuf),
    /// The file's server knew the app's own secret, and none is set any more.
    #[error(
        "no app secret is set, but the server of {} had one: Meta's requests would all be refused. Set META_APP_SECRET, or \
         what `meta.app_secrets` names; or start with `--development` if this is meant",
        .0.display()
    )]
    SecretMissing(PathBuf),
    /// There is no file.
    #[error("no data file at {}: `flowgate serve` makes one", .0.display())]
    Missing(PathBuf),
    /// There is a file, but it is not ours.
    #[error("{} is no flowgate data file ({what}): point `data` at another name, or put the right file back", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What gave it away.
        what: String,
    },
    /// The file has a format that this flowgate does not know.
    #[error("{} has format {found}, this flowgate reads format {known} only: use the flowgate that wrote it", path.display())]
    UnknownFormat {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format that can be read.
        known: u32,
    },
    /// The file's own checksums do not fit.
    #[error("the data file is damaged ({0}): stop flowgate, keep a copy of the file, and put a backup in its place")]
    Damaged(String),
    /// One row can't be read. The rest of the file goes on.
    #[error("row {key} of table {table} {problem}: `flowgate check` lists all such rows")]
    Row {
        /// The table.
        table: &'static str,
        /// The key of the row.
        key: String,
        /// What is wrong with it.
        problem: RowProblem,
    },
    /// The disk has no space left.
    #[error("the disk is full: make room, flowgate goes on by itself")]
    NoSpace,
    /// The disk has too little space left for what would need some for a while.
    #[error("this needs {} MiB free on the disk, and {} MiB are: make room first", needed.div_ceil(1 << 20), free >> 20)]
    NoRoom {
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// The disk failed, and what it holds is unknown.
    #[error("the disk can't be trusted any more ({0}): flowgate ends, and verifies the whole file at the next start")]
    Untrusted(String),
    /// An operation of the file system failed.
    #[error("{operation} {}: {error}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        error: String,
    },
    /// The file is not open: the store is starting, waiting for space, or closed.
    #[error("the data file is not open right now: try again in a moment")]
    NotOpen,
    /// redb refused something that no disk fault explains.
    #[error("the store failed: {0}")]
    Engine(String),
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowProblem {
    /// Too short to be one.
    #[error("is cut off")]
    Cut,
    /// Its bytes are not those that were written.
    #[error("has a wrong checksum")]
    Checksum,
    /// Of a version this program does not know.
    #[error("has the unknown version {0}")]
    Version(u8),
    /// Its fields make no sense.
    #[error("has fields that can't be read")]
    Fields,
    /// It should be there and is not.
    #[error("is missing")]
    Missing,
}

impl StoreError {
    pub(super) fn row<R: Row>(key: &str, problem: RowProblem) -> Self {
        Self::Row { table: R::TABLE, key: key.to_owned(), problem }
    }

    /// Whether only the change that met this is affected, and the file itself is well.
    #[must_use]
    pub const fn is_of_one_change(&self) -> bool {
        matches!(self, Self::Row { .. })
    }

    /// Whether the store takes nothing at all for now. It tells why itself.
    #[must_use]
    pub const fn is_of_closed_store(&self) -> bool {
        matches!(self, Self::NotOpen | Self::NoSpace)
    }

    /// Whether the process must end: nothing that it reads or writes from here on can be relied on.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Untrusted(_) | Self::Engine(_))
    }
}

impl From<redb::StorageError> for StoreError {
    fn from(error: redb::StorageError) -> Self {
        match error {
            redb::StorageError::Corrupted(what) => Self::Damaged(what),
            // It was closed under somebody who still read.
            redb::StorageError::DatabaseClosed => Self::NotOpen,
            // The cause of an I/O error is known to `disk::Faults`; the writer asks there.
            other => Self::Engine(other.to_string()),
        }
    }
}

impl From<redb::TableError> for StoreError {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(storage) => storage.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<redb::TransactionError> for StoreError {
    fn from(error: redb::TransactionError) -> Self {
        match error {
            redb::TransactionError::Storage(storage) => storage.into(),
            other => Self::Engine(other.to_string()),
        }
    }
}

impl From<redb::CommitError> for StoreError {
    fn from(error: redb::CommitError) -> Self {
        match error {
            redb::CommitError::Storage(storage) => storage.into(),
            other => Self::Engine(other.to_string()),
        }
    }
}
