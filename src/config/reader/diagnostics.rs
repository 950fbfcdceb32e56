//! Collects the problems of a config with their lines and columns. The readers find the problems.

use std::cell::RefCell;
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;

use crate::config::error::{ConfigError, ConfigProblem};

/// Text of a config, and the problems found in the text so far.
pub struct Diagnostics<'t> {
    file: &'t Path,
    text: &'t str,
    problems: RefCell<Vec<(usize, String)>>,
}

impl<'t> Diagnostics<'t> {
    pub const fn new(file: &'t Path, text: &'t str) -> Self {
        let problems = RefCell::new(Vec::new());
        Self {
            file,
            text,
            problems,
        }
    }

    /// Parses the text as TOML.
    ///
    /// Reports only syntax errors if the syntax is broken. Other problems of such a text may be
    /// mere consequences.
    pub fn parse(&self) -> Result<Spanned<DeTable<'t>>, ConfigError> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            let what = match (error.message(), self.text.get(span.clone())) {
                ("duplicate key", Some(key)) => format!("`{key}` is a duplicate key"),
                (message, _) => format!(
                    "invalid TOML (texts need quotes): {}",
                    message.replace('\n', ", ")
                ),
            };
            self.add_problem(span.start, what);
        }
        self.check().map(|()| table)
    }

    /// Returns `Ok` if no problem was reported, or an error with all problems in the order of the
    /// text.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = self.problems.borrow().clone();
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by_key(|(offset, _)| *offset);
        let located = |(offset, message)| {
            let (line, column) = line_and_column(self.text, offset);
            ConfigProblem {
                line,
                column,
                message,
            }
        };
        Err(ConfigError::Invalid {
            file: self.file.to_owned(),
            problems: problems.into_iter().map(located).collect(),
        })
    }

    /// Returns the folder of the config file, which relative paths in a config are relative to.
    pub fn folder(&self) -> &'t Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    pub fn problem_count(&self) -> usize {
        self.problems.borrow().len()
    }

    pub fn add_problem(&self, offset: usize, what: String) {
        self.problems.borrow_mut().push((offset, what));
    }
}

/// Returns the line and column of a byte offset, both from 1. Columns are counted in characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}
