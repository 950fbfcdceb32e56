//! Defines the errors of the config, with messages for the person who wrote it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::secrets::SecretError;

/// Maximum number of problems shown. More problems usually have one common cause.
const PROBLEMS_SHOWN_MAX: usize = 20;

/// Error for a config that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// None of the searched files exists. The list has the paths.
    #[error("no config file found: looked for {}; pass its path with --config FILE", list(.0))]
    NotFound(Vec<PathBuf>),
    /// The config file is missing or can't be read.
    #[error("can't read the config {}: {source}", file.display())]
    Read {
        /// Path of the config file.
        file: PathBuf,
        /// Reason of the failure.
        source: io::Error,
    },
    /// The path is a folder.
    #[error("the config {} is a directory: pass the path of the file in it", .0.display())]
    Folder(PathBuf),
    /// The file is larger than the maximum size of a config.
    #[error("the config {} is larger than {bytes_max} bytes: is it the right file?", file.display())]
    TooLarge {
        /// Path of the config file.
        file: PathBuf,
        /// Maximum size, in bytes.
        bytes_max: u64,
    },
    /// The file is not UTF-8 text.
    #[error("{}:{line}: this is not text (UTF-8)", file.display())]
    NotText {
        /// Path of the config file.
        file: PathBuf,
        /// Line of the first byte that is not UTF-8, from 1.
        line: usize,
    },
    /// The config has problems.
    #[error("{}", located(file, problems))]
    Invalid {
        /// Path of the config file.
        file: PathBuf,
        /// Problems in the order of the file. Never empty.
        problems: Vec<ConfigProblem>,
    },
    /// A secret can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Problem of a config, with its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Line of the problem, from 1.
    pub line: usize,
    /// Column of the problem, from 1, in characters.
    pub column: usize,
    /// Description of the problem, with a hint where possible.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

fn located(file: &std::path::Path, problems: &[ConfigProblem]) -> String {
    let shown = problems.iter().take(PROBLEMS_SHOWN_MAX);
    let lines = shown.map(|problem| format!("{}:{problem}", file.display()));
    let mut lines: Vec<String> = lines.collect();
    let more = problems.len().saturating_sub(PROBLEMS_SHOWN_MAX);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

fn list(files: &[PathBuf]) -> String {
    let files = files.iter().map(|file| file.display().to_string());
    files.collect::<Vec<_>>().join(" and ")
}
