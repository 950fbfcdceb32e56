//! Defines the result of an import.

use serde::{Deserialize, Serialize};

/// Result of an import, or of its dry run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ImportRow {
    /// `true` if nothing was changed.
    pub(crate) dry_run: bool,
    /// Number of new rows.
    pub(crate) added: usize,
    /// Number of rows whose settings changed.
    pub(crate) changed: usize,
    /// Number of rows that were imported before.
    pub(crate) unchanged: usize,
    /// Lines that can't be imported.
    pub(crate) problems: Vec<ImportProblem>,
}

/// Line of a file that can't be imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImportProblem {
    /// Line number in the file, from 1.
    pub(crate) line: u64,
    pub(crate) problem: String,
}

impl ImportRow {
    pub(crate) fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            ..Self::default()
        }
    }

    /// Adds the result of another part of the same file.
    pub(crate) fn add(&mut self, other: Self) {
        self.added += other.added;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.problems.extend(other.problems);
    }
}
