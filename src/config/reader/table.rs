//! Reads the keys of one table, and rejects the keys that nobody read.
//!
//! See [`super::value`] for the types of single values.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostics::Diagnostics;
use super::value::ValueReader;
use crate::config::secrets::SecretRef;
use crate::config::suggest;
use crate::domain::time::Millis;

/// Reader of one table. The reader records the keys that were read, to reject all other keys.
pub struct TableReader<'d> {
    diagnostics: &'d Diagnostics<'d>,
    entries: &'d DeTable<'d>,
    /// Full path of the table, for messages, such as `flows.appointment`. Empty for the whole file.
    pub path: String,
    offset: usize,
    known_keys: RefCell<Vec<&'static str>>,
    /// `true` if unknown keys are not reported.
    is_stopped: Cell<bool>,
}

impl<'d> TableReader<'d> {
    /// Creates a reader of a whole file.
    pub fn root(diagnostics: &'d Diagnostics<'d>, entries: &'d DeTable<'d>) -> Self {
        Self::new(diagnostics, entries, String::new(), 0)
    }

    const fn new(
        diagnostics: &'d Diagnostics<'d>,
        entries: &'d DeTable<'d>,
        path: String,
        offset: usize,
    ) -> Self {
        Self {
            diagnostics,
            entries,
            path,
            offset,
            known_keys: RefCell::new(Vec::new()),
            is_stopped: Cell::new(false),
        }
    }

    /// Reads the whole file with `read`, then rejects the keys that `read` did not use.
    pub fn read_root<R>(
        diagnostics: &'d Diagnostics<'d>,
        root: &'d Spanned<DeTable<'d>>,
        read: impl FnOnce(&Self) -> R,
    ) -> R {
        let table = Self::root(diagnostics, root.get_ref());
        let result = read(&table);
        table.reject_unknown_keys();
        result
    }

    /// Calls `read` with an empty table: the result has the defaults of a missing table.
    pub fn read_empty<R>(read: impl FnOnce(&TableReader<'_>) -> R) -> R {
        let (diagnostics, entries) = (Diagnostics::new(Path::new(""), ""), DeTable::new());
        read(&TableReader::root(&diagnostics, &entries))
    }

    /// Returns the value of `key`, or `None` if the key is missing.
    pub fn get(&self, key: &'static str) -> Option<ValueReader<'d>> {
        if !self.known_keys.borrow().contains(&key) {
            self.known_keys.borrow_mut().push(key);
        }
        let (key, value) = self.entries.get_key_value(key)?;
        Some(self.value_reader(key, value))
    }

    /// Returns the value of `key`. Reports a problem if the key is missing.
    pub fn require(&self, key: &'static str) -> Option<ValueReader<'d>> {
        let item = self.get(key);
        if item.is_none() {
            self.error(format!("`{key}` is missing"));
        }
        item
    }

    /// Returns the result of `read` for the value of `key`. `None`: the key is missing or invalid.
    pub fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&ValueReader<'d>) -> Option<T>,
    ) -> Option<T> {
        read(&self.get(key)?)
    }

    /// Returns the result of `parse` for the text of `key`. `None`: the key is missing, or `parse`
    /// returns an error, which is reported.
    pub fn parse<T, E: fmt::Display>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&'d str) -> Result<T, E>,
    ) -> Option<T> {
        self.get(key)?.parse(parse)
    }

    /// Returns the result of [`TableReader::parse`]. Reports a problem if the key is missing.
    pub fn require_parsed<T, E: fmt::Display>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&'d str) -> Result<T, E>,
    ) -> Option<T> {
        self.require(key)?.parse(parse)
    }

    /// Returns the location of the secret under `key`. `None`: the key is missing or invalid.
    pub fn secret(&self, key: &'static str) -> Option<SecretRef> {
        self.get(key)?.secret()
    }

    /// Returns the result of [`TableReader::secret`]. Reports a problem if the key is missing.
    pub fn require_secret(&self, key: &'static str) -> Option<SecretRef> {
        self.require(key)?.secret()
    }

    /// Returns the text of `key`, which must not be empty. `None`: the key is missing or invalid.
    pub fn text(&self, key: &'static str) -> Option<String> {
        self.get(key)?.non_empty_text().map(str::to_owned)
    }

    /// Returns the value of the chosen word. `None`: the key is missing or invalid.
    pub fn choice<T: Copy, const N: usize>(
        &self,
        key: &'static str,
        choices: [(&'static str, T); N],
    ) -> Option<T> {
        self.get(key)?.choice(choices)
    }

    /// Reads the table under `key` with `read`. `None`: the key is missing, or its value is not a
    /// table.
    pub fn read_table<R>(
        &self,
        key: &'static str,
        read: impl FnOnce(&TableReader<'d>) -> R,
    ) -> Option<R> {
        self.get(key)?.read_table(read)
    }

    /// Reads the table under `key` with `read`. An empty table gives the defaults if the key is
    /// missing, or if its value is not a table.
    pub fn read_table_or_empty<R>(
        &self,
        key: &'static str,
        read: impl Fn(&TableReader<'_>) -> R,
    ) -> R {
        self.read_table(key, |table| read(table))
            .unwrap_or_else(|| Self::read_empty(read))
    }

    /// Returns all values in the order of the text, for a table whose keys are user-defined names.
    pub fn entries(&self) -> Vec<ValueReader<'d>> {
        let entries = self.entries.iter();
        let mut items: Vec<ValueReader<'d>> = entries
            .map(|(key, value)| self.value_reader(key, value))
            .collect();
        items.sort_by_key(|item| item.key_offset);
        items
    }

    /// Returns the values of the table under `key`, whose keys are user-defined names. Returns an
    /// empty list if the key is missing, or if its value is not a table.
    pub fn named_entries(&self, key: &'static str) -> Vec<ValueReader<'d>> {
        self.read(key, ValueReader::entries).unwrap_or_default()
    }

    /// Returns the user-defined names in the table under `key`. Reports no problem: the code that
    /// reads the values does.
    pub fn names_in(&self, key: &'static str) -> Vec<&'d str> {
        let table = self.get(key).filter(ValueReader::is_table);
        let items = table.and_then(|item| item.entries()).unwrap_or_default();
        items.iter().map(|item| item.key).collect()
    }

    /// Returns the folder of the config file.
    pub fn folder(&self) -> &Path {
        self.diagnostics.folder()
    }

    /// Returns the number of problems reported so far. Callers compare two counts, to draw
    /// conclusions only from a part without problems.
    pub fn problem_count(&self) -> usize {
        self.diagnostics.problem_count()
    }

    /// Reports a problem of the table as a whole.
    pub fn error(&self, what: impl fmt::Display) {
        let prefix = if self.path.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.path)
        };
        self.diagnostics
            .add_problem(self.offset, format!("{prefix}{what}"));
    }

    /// Reports a problem of values that do not fit together: at the first of `keys` that is
    /// present, or at the table.
    pub fn error_at(&self, keys: &[&'static str], what: impl fmt::Display) {
        match keys.iter().find_map(|key| self.get(key)) {
            Some(item) => item.error(what),
            None => self.error(what),
        }
    }

    /// Reports a problem of the key of `item`, which is a value of this table.
    pub fn error_at_key(&self, item: &ValueReader<'_>, what: impl fmt::Display) {
        item.key_error(format!("{}: {what}", self.path));
    }

    pub fn size(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.read(key, |item| item.size(range)).unwrap_or(default)
    }

    pub fn duration(
        &self,
        key: &'static str,
        default: Millis,
        range: RangeInclusive<Millis>,
    ) -> Millis {
        let length = self.read(key, |item| item.duration(range));
        length.unwrap_or(default)
    }

    pub fn integer<N>(&self, key: &'static str, default: N, range: RangeInclusive<N>) -> N
    where
        N: TryFrom<i64> + PartialOrd + fmt::Display + Copy,
    {
        let number = self.read(key, |item| item.integer(range));
        number.unwrap_or(default)
    }

    pub fn boolean(&self, key: &'static str, default: bool) -> bool {
        self.read(key, ValueReader::boolean).unwrap_or(default)
    }

    fn value_reader(
        &self,
        key: &'d Spanned<DeString<'d>>,
        value: &'d Spanned<DeValue<'d>>,
    ) -> ValueReader<'d> {
        let name = key.get_ref();
        let path = if self.path.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.path)
        };
        ValueReader {
            diagnostics: self.diagnostics,
            key: name,
            key_offset: key.span().start,
            path,
            value,
        }
    }

    /// Stops the check for unknown keys, because the set of valid keys can't be determined.
    pub fn stop(&self) {
        self.is_stopped.set(true);
    }

    fn reject_unknown_keys(&self) {
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

impl<'d> ValueReader<'d> {
    /// Reads the table with `read`, then rejects the keys that `read` did not use.
    pub fn read_table<R>(&self, read: impl FnOnce(&TableReader<'d>) -> R) -> Option<R> {
        self.read_named_table(|table| {
            let result = read(table);
            table.reject_unknown_keys();
            result
        })
    }

    /// Returns the values of the table in the order of the text. The keys are user-defined names.
    pub fn entries(&self) -> Option<Vec<ValueReader<'d>>> {
        self.read_named_table(TableReader::entries)
    }

    /// Reads the table with `read`. The keys are user-defined names, so none is rejected here.
    pub fn read_named_table<R>(&self, read: impl FnOnce(&TableReader<'d>) -> R) -> Option<R> {
        let entries = self.table()?;
        // For `[flows.form]`, the parser gives the location of the header as that of the table. If
        // the text has only `[flows.form.x]`, the location of the key is used.
        let offset = self.key_offset.max(self.value.span().start);
        let path = self.path.clone();
        Some(read(&TableReader::new(
            self.diagnostics,
            entries,
            path,
            offset,
        )))
    }
}
