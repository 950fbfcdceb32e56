//! Defines the errors that end a measurement before it has a result.

use std::io;
use std::path::PathBuf;

use crate::cli::demo::DemoError;
use crate::config::ConfigError;

/// Errors that prevent a result of `bench`. A slow machine is a result, not an error.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The config, which names the data file, can't be read.
    #[error("{0}\n`flowgate bench --folder DIR` needs no config")]
    Config(#[from] ConfigError),
    /// The folder to measure does not exist.
    #[error("{} is not a folder: name one on the disk of the data file with --folder DIR", .0.display())]
    NoFolder(PathBuf),
    /// A write or sync of the disk measurement failed.
    #[error("can't write to {}: {source}", path.display())]
    Disk {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The temporary server can't run.
    #[error(transparent)]
    Server(#[from] DemoError),
    /// A form got no valid response.
    #[error("a form was not accepted: {0}")]
    Refused(String),
    /// The system provides no socket, thread or signal.
    #[error("can't measure: {0}")]
    System(#[source] io::Error),
    /// The report can't be written.
    #[error("can't write the output: {0}")]
    Print(#[source] io::Error),
    /// The admin interrupted the measurement.
    #[error("interrupted: nothing was measured to the end")]
    Interrupted,
}
