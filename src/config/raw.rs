//! What was typed: tables with their places, and everything that is wrong with them.
//!
//! A wrong value is reported and then left out, so that one reading finds all problems of a file. The keys that a table
//! may have are those it was asked for: there is no second list of them. Single values are `value`'s; what they mean is
//! left to the readers beside these two files.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem};
use super::nearest;
use super::value::Item;
use crate::domain::time::Millis;

/// A text being read, and what was found wrong with it so far.
pub(super) struct Report<'t> {
    file: &'t Path,
    text: &'t str,
    problems: RefCell<Vec<(usize, String)>>,
}

impl<'t> Report<'t> {
    pub(super) const fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, problems: RefCell::new(Vec::new()) }
    }

    /// Reads the text as TOML.
    ///
    /// What breaks its grammar is all that is reported then: the rest of a broken text only seems to be wrong too.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'t>>, ConfigError> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            let what = match (error.message(), self.text.get(span.clone())) {
                ("duplicate key", Some(key)) => format!("`{key}` stands here twice"),
                (message, _) => format!("this is no TOML (texts need quotes): {}", message.replace('\n', ", ")),
            };
            self.add(span.start, what);
        }
        self.check().map(|()| table)
    }

    /// Everything that was reported so far, in the order of the text; fine if that is nothing.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let mut problems = self.problems.borrow().clone();
        problems.sort_by_key(|(place, _)| *place);
        let located = |(place, what)| {
            let (line, column) = line_and_column(self.text, place);
            Problem { line, column, what }
        };
        let problems: Vec<Problem> = problems.into_iter().map(located).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { file: self.file.to_owned(), problems }) }
    }

    pub(super) fn count(&self) -> usize {
        self.problems.borrow().len()
    }

    pub(super) fn add(&self, place: usize, what: String) {
        self.problems.borrow_mut().push((place, what));
    }
}

/// Line and column of a byte, both from 1; columns in characters.
pub(super) fn line_and_column(text: &str, place: usize) -> (usize, usize) {
    let before = text.get(..place).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.bytes().filter(|byte| *byte == b'\n').count() + 1, line.chars().count() + 1)
}

/// A table, and the keys it was asked for.
pub(super) struct Table<'d> {
    report: &'d Report<'d>,
    entries: &'d DeTable<'d>,
    /// Its name for people: `flows.appointment`. Empty: the whole file.
    pub(super) name: String,
    place: usize,
    asked: RefCell<Vec<&'static str>>,
    /// Its other keys are not looked at any more.
    is_given_up: Cell<bool>,
}

impl<'d> Table<'d> {
    /// Reads the whole file with `read`, then refuses the keys that it did not ask for.
    pub(super) fn whole<R>(report: &'d Report<'d>, root: &'d Spanned<DeTable<'d>>, read: impl FnOnce(&Self) -> R) -> R {
        let table = Self::new(report, root.get_ref(), String::new(), 0);
        let result = read(&table);
        table.refuse_unknown_keys();
        result
    }

    /// Reads a table that is not there with `read`: gives its defaults.
    pub(super) fn empty<R>(read: impl FnOnce(&Table<'_>) -> R) -> R {
        let (report, entries) = (Report::new(Path::new(""), ""), DeTable::new());
        read(&Table::new(&report, &entries, String::new(), 0))
    }

    pub(super) const fn new(report: &'d Report<'d>, entries: &'d DeTable<'d>, name: String, place: usize) -> Self {
        let asked = RefCell::new(Vec::new());
        Self { report, entries, name, place, asked, is_given_up: Cell::new(false) }
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &'static str) -> Option<Item<'d>> {
        if !self.asked.borrow().contains(&key) {
            self.asked.borrow_mut().push(key);
        }
        let (key, value) = self.entries.get_key_value(key)?;
        Some(self.item(key.get_ref(), key.span(), value))
    }

    /// The value of `key`, which must be there.
    pub(super) fn need(&self, key: &'static str) -> Option<Item<'d>> {
        let item = self.get(key);
        if item.is_none() {
            self.refuse(format!("`{key}` is missing"));
        }
        item
    }

    /// The table under `key`, read with `read`.
    pub(super) fn table<R>(&self, key: &'static str, read: impl FnOnce(&Table<'d>) -> R) -> Option<R> {
        self.get(key)?.table(read)
    }

    /// All values, in the order of the text, where the keys are names that the user gave.
    pub(super) fn named(&self) -> Vec<Item<'d>> {
        let mut items: Vec<Item<'d>> =
            self.entries.iter().map(|(key, value)| self.item(key.get_ref(), key.span(), value)).collect();
        items.sort_by_key(|item| item.key_place);
        items
    }

    /// How many problems were reported so far: whoever draws a conclusion looks whether a mistake has come before it.
    pub(super) fn problems_so_far(&self) -> usize {
        self.report.count()
    }

    /// Reports something that is wrong with the table as a whole.
    pub(super) fn refuse(&self, what: impl fmt::Display) {
        let within = if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) };
        self.report.add(self.place, format!("{within}{what}"));
    }

    pub(super) fn size(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.get(key).and_then(|item| item.size(range)).unwrap_or(default)
    }

    pub(super) fn length(&self, key: &'static str, default: Millis, range: RangeInclusive<Millis>) -> Millis {
        self.get(key).and_then(|item| item.length(range)).unwrap_or(default)
    }

    pub(super) fn count<N>(&self, key: &'static str, default: N, range: RangeInclusive<N>) -> N
    where
        N: TryFrom<i64> + PartialOrd + fmt::Display + Copy,
    {
        self.get(key).and_then(|item| item.integer(range)).unwrap_or(default)
    }

    pub(super) fn boolean(&self, key: &'static str, default: bool) -> bool {
        self.get(key).and_then(|item| item.boolean()).unwrap_or(default)
    }

    fn item(&self, key: &'d str, span: Range<usize>, value: &'d Spanned<DeValue<'d>>) -> Item<'d> {
        let name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        Item { report: self.report, key, key_place: span.start, name, value }
    }

    /// Leaves all further keys alone: which of them are right can't be told.
    pub(super) fn ask_nothing_more(&self) {
        self.is_given_up.set(true);
    }

    pub(super) fn refuse_unknown_keys(&self) {
        if self.is_given_up.get() {
            return;
        }
        let asked = self.asked.borrow();
        for (key, _) in self.entries {
            let name = key.get_ref();
            if asked.iter().any(|known| known == name) {
                continue;
            }
            let within = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
            let hint = nearest::hint(name, asked.iter().copied());
            self.report.add(key.span().start, format!("unknown key `{name}`{within}{hint}"));
        }
    }
}
