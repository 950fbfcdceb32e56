//! Reads TOML tables with the location of each value, and collects all problems of a file.
//!
//! A wrong value is reported and then ignored, so that one pass finds all problems of a file. The
//! valid keys of a table are the keys that the code reads: there is no second list of them. The
//! other modules of [`crate::config`] decide on the meaning of the values. See
//! [`self::value`] for single values.

pub(in crate::config) mod value;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigProblem};
use super::suggest;
use crate::domain::time::Millis;
use value::ValueReader;

/// Text of a config, and the problems found in the text so far.
pub(super) struct Diagnostics<'t> {
    file: &'t Path,
    text: &'t str,
    problems: RefCell<Vec<(usize, String)>>,
}

impl<'t> Diagnostics<'t> {
    pub(super) const fn new(file: &'t Path, text: &'t str) -> Self {
        Self {
            file,
            text,
            problems: RefCell::new(Vec::new()),
        }
    }

    /// Parses the text as TOML.
    ///
    /// Reports only syntax errors if the syntax is broken. Other problems of such a text may be
    /// mere consequences.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'t>>, ConfigError> {
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
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let mut problems = self.problems.borrow().clone();
        problems.sort_by_key(|(offset, _)| *offset);
        let located = |(offset, message)| {
            let (line, column) = line_and_column(self.text, offset);
            ConfigProblem {
                line,
                column,
                message,
            }
        };
        let problems: Vec<ConfigProblem> = problems.into_iter().map(located).collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Invalid {
                file: self.file.to_owned(),
                problems,
            })
        }
    }

    pub(super) fn problem_count(&self) -> usize {
        self.problems.borrow().len()
    }

    pub(super) fn add_problem(&self, offset: usize, what: String) {
        self.problems.borrow_mut().push((offset, what));
    }
}

/// Returns the line and column of a byte offset, both from 1. Columns are counted in characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (
        before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        line.chars().count() + 1,
    )
}

/// Reader of one table. The reader records the keys that were read, to reject all other keys.
pub(super) struct TableReader<'d> {
    diagnostics: &'d Diagnostics<'d>,
    entries: &'d DeTable<'d>,
    /// Full path of the table, for messages, such as `flows.appointment`. Empty for the whole file.
    pub(super) path: String,
    offset: usize,
    known_keys: RefCell<Vec<&'static str>>,
    /// `true` if unknown keys are not reported.
    is_stopped: Cell<bool>,
}

impl<'d> TableReader<'d> {
    /// Reads the whole file with `read`, then rejects the keys that `read` did not use.
    pub(super) fn read_root<R>(
        diagnostics: &'d Diagnostics<'d>,
        root: &'d Spanned<DeTable<'d>>,
        read: impl FnOnce(&Self) -> R,
    ) -> R {
        let table = Self::new(diagnostics, root.get_ref(), String::new(), 0);
        let result = read(&table);
        table.reject_unknown_keys();
        result
    }

    /// Calls `read` with an empty table: the result has the defaults of a missing table.
    pub(super) fn read_empty<R>(read: impl FnOnce(&TableReader<'_>) -> R) -> R {
        let (diagnostics, entries) = (Diagnostics::new(Path::new(""), ""), DeTable::new());
        read(&TableReader::new(&diagnostics, &entries, String::new(), 0))
    }

    pub(super) const fn new(
        diagnostics: &'d Diagnostics<'d>,
        entries: &'d DeTable<'d>,
        path: String,
        offset: usize,
    ) -> Self {
        let known_keys = RefCell::new(Vec::new());
        Self {
            diagnostics,
            entries,
            path,
            offset,
            known_keys,
            is_stopped: Cell::new(false),
        }
    }

    /// Returns the value of `key`, or `None` if the key is missing.
    pub(super) fn get(&self, key: &'static str) -> Option<ValueReader<'d>> {
        if !self.known_keys.borrow().contains(&key) {
            self.known_keys.borrow_mut().push(key);
        }
        let (key, value) = self.entries.get_key_value(key)?;
        Some(self.value_reader(key.get_ref(), key.span(), value))
    }

    /// Returns the value of `key`. Reports a problem if the key is missing.
    pub(super) fn require(&self, key: &'static str) -> Option<ValueReader<'d>> {
        let item = self.get(key);
        if item.is_none() {
            self.error(format!("`{key}` is missing"));
        }
        item
    }

    /// Reads the table under `key` with `read`. `None`: the key is missing, or its value is not a
    /// table.
    pub(super) fn read_table<R>(
        &self,
        key: &'static str,
        read: impl FnOnce(&TableReader<'d>) -> R,
    ) -> Option<R> {
        self.get(key)?.read_table(read)
    }

    /// Returns all values in the order of the text, for a table whose keys are user-defined names.
    pub(super) fn entries(&self) -> Vec<ValueReader<'d>> {
        let mut items: Vec<ValueReader<'d>> = self
            .entries
            .iter()
            .map(|(key, value)| self.value_reader(key.get_ref(), key.span(), value))
            .collect();
        items.sort_by_key(|item| item.key_offset);
        items
    }

    /// Returns the number of problems reported so far. Callers compare two counts, to draw
    /// conclusions only from a part without problems.
    pub(super) fn problem_count(&self) -> usize {
        self.diagnostics.problem_count()
    }

    /// Reports a problem of the table as a whole.
    pub(super) fn error(&self, what: impl fmt::Display) {
        let prefix = if self.path.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.path)
        };
        self.diagnostics
            .add_problem(self.offset, format!("{prefix}{what}"));
    }

    pub(super) fn size(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.get(key)
            .and_then(|item| item.size(range))
            .unwrap_or(default)
    }

    pub(super) fn duration(
        &self,
        key: &'static str,
        default: Millis,
        range: RangeInclusive<Millis>,
    ) -> Millis {
        self.get(key)
            .and_then(|item| item.duration(range))
            .unwrap_or(default)
    }

    pub(super) fn integer<N>(&self, key: &'static str, default: N, range: RangeInclusive<N>) -> N
    where
        N: TryFrom<i64> + PartialOrd + fmt::Display + Copy,
    {
        self.get(key)
            .and_then(|item| item.integer(range))
            .unwrap_or(default)
    }

    pub(super) fn boolean(&self, key: &'static str, default: bool) -> bool {
        self.get(key)
            .and_then(|item| item.boolean())
            .unwrap_or(default)
    }

    fn value_reader(
        &self,
        key: &'d str,
        span: Range<usize>,
        value: &'d Spanned<DeValue<'d>>,
    ) -> ValueReader<'d> {
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        ValueReader {
            diagnostics: self.diagnostics,
            key,
            key_offset: span.start,
            path,
            value,
        }
    }

    /// Stops the check for unknown keys, because the set of valid keys can't be determined.
    pub(super) fn stop(&self) {
        self.is_stopped.set(true);
    }

    pub(super) fn reject_unknown_keys(&self) {
        if self.is_stopped.get() {
            return;
        }
        let known_keys = self.known_keys.borrow();
        for (key, _) in self.entries {
            let name = key.get_ref();
            if known_keys.iter().any(|known| known == name) {
                continue;
            }
            let within = if self.path.is_empty() {
                String::new()
            } else {
                format!(" in {}", self.path)
            };
            let suggestion = suggest::suggestion(name, known_keys.iter().copied());
            self.diagnostics.add_problem(
                key.span().start,
                format!("unknown key `{name}`{within}{suggestion}"),
            );
        }
    }
}
