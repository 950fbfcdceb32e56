//! What can be wrong with a config, in words for whoever wrote it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::secrets::SecretError;

/// Problems shown at the most: a file with more has one cause.
const SHOWN: usize = 20;

/// A config that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// None of the files that are looked for is there.
    #[error("there is no config: looked for {}; name one with --config FILE", list(.0))]
    NotFound(Vec<PathBuf>),
    /// The file that was named is not there, or can't be read.
    #[error("can't read the config {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A folder was named.
    #[error("the config {} is a folder: name the file in it", .0.display())]
    Folder(PathBuf),
    /// Larger than any config.
    #[error("the config {} is larger than {bytes_max} bytes: is it the right file?", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The bound.
        bytes_max: u64,
    },
    /// Not text.
    #[error("{}:{line}: this is not text (UTF-8)", file.display())]
    NotText {
        /// The file.
        file: PathBuf,
        /// The line with the first byte that is none.
        line: usize,
    },
    /// Something in it is wrong.
    #[error("{}", located(file, problems))]
    Invalid {
        /// The file.
        file: PathBuf,
        /// All that is wrong, in the order of the file. Never empty.
        problems: Vec<Problem>,
    },
    /// A secret is not where it says.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What, with a hint.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.what)
    }
}

fn located(file: &std::path::Path, problems: &[Problem]) -> String {
    let mut lines: Vec<String> =
        problems.iter().take(SHOWN).map(|problem| format!("{}:{problem}", file.display())).collect();
    if let Some(more) = problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

fn list(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and ")
}
