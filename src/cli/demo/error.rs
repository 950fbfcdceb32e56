//! Defines the errors that end the demo before it has a result.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Errors that prevent a result of the demo. A failed verification is a result, not an error.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file of the demo can't be written.
    #[error("can't write {}: {why}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        why: String,
    },
    /// The system provides no process or thread.
    #[error("can't run the temporary server: {0}")]
    Spawn(#[source] io::Error),
    /// The server ended before it was ready.
    #[error("the temporary server ended before it was ready: see {}", log.display())]
    NotReady {
        /// Log file of the server.
        log: PathBuf,
    },
    /// A command against the server failed.
    #[error("`flowgate {command}` failed: {why}")]
    Command {
        /// Arguments of the command.
        command: String,
        /// Error output of the command.
        why: String,
    },
    /// Jobs were not finished within the maximum time.
    #[error("{count} jobs were not finished {} s after the last response", waited.as_secs())]
    JobsUnfinished {
        /// Number of unfinished jobs.
        count: u64,
        /// Maximum time.
        waited: Duration,
    },
}
