//! Reads a single value of a config as the expected type, or reports a problem.
//!
//! A method returns the value if it is valid. Otherwise the method reports the problem with its
//! location and returns `None`. See [`super::TableReader`] for the values of a table.

use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::Diagnostics;
use crate::config::secrets::SecretRef;
use crate::config::{suggest, units};
use crate::domain::time::Millis;

/// Reader of one value, with the location of the value.
#[derive(Clone)]
pub struct ValueReader<'d> {
    pub(super) diagnostics: &'d Diagnostics<'d>,
    /// Key of the value. For an item of an array: key of the array.
    pub key: &'d str,
    /// Byte offset of the key in the text.
    pub(super) key_offset: usize,
    /// Full path of the value, for messages, such as `flows.appointment.path`.
    pub path: String,
    pub(super) value: &'d Spanned<DeValue<'d>>,
}

impl<'d> ValueReader<'d> {
    /// Returns the number of problems reported so far.
    pub fn problem_count(&self) -> usize {
        self.diagnostics.problem_count()
    }

    /// Reports a problem of the value.
    pub fn error(&self, what: impl fmt::Display) {
        self.diagnostics
            .add_problem(self.value.span().start, format!("{}: {what}", self.path));
    }

    /// Reports a problem of the key.
    pub fn key_error(&self, what: impl Into<String>) {
        self.diagnostics.add_problem(self.key_offset, what.into());
    }

    pub fn text(&self) -> Option<&'d str> {
        self.of_type("a text in quotes", self.value.get_ref().as_str())
    }

    /// Returns the text, which must not be empty.
    pub fn non_empty_text(&self) -> Option<&'d str> {
        let text = self.text()?;
        if text.is_empty() {
            self.error("is empty");
            return None;
        }
        Some(text)
    }

    /// Returns the result of `parse` for the text, or reports its error.
    pub fn parse<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&'d str) -> Result<T, E>,
    ) -> Option<T> {
        parse(self.text()?).map_err(|error| self.error(error)).ok()
    }

    /// Returns the result of `parse` for the key, or reports its error.
    pub fn parse_key<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&'d str) -> Result<T, E>,
    ) -> Option<T> {
        parse(self.key)
            .map_err(|error| self.key_error(format!("{}: {error}", self.path)))
            .ok()
    }

    /// Returns the location of a secret. A relative path is relative to the folder of the config.
    pub fn secret(&self) -> Option<SecretRef> {
        self.parse(|text| SecretRef::parse(text, self.diagnostics.folder()))
    }

    /// Returns the text, which must be one of `words`.
    pub fn one_of(&self, words: &[&'static str]) -> Option<&'static str> {
        let text = self.text()?;
        let known = words.iter().copied().find(|word| *word == text);
        if known.is_none() {
            self.error(format!(
                "{text:?} is not a valid value{}",
                suggest::suggestion(text, words.iter().copied())
            ));
        }
        known
    }

    /// Returns the value of the word in `choices` that the text is.
    pub fn choice<T: Copy, const N: usize>(&self, choices: [(&'static str, T); N]) -> Option<T> {
        let word = self.one_of(&choices.map(|(word, _)| word))?;
        let chosen = choices.into_iter().find(|(known, _)| *known == word);
        chosen.map(|(_, value)| value)
    }

    /// Returns the text, which must be one of the `known` names of a `kind` of object.
    pub fn known_name(&self, kind: &str, known: &[&str]) -> Option<&'d str> {
        let name = self.text()?;
        if !known.contains(&name) {
            let suggestion = suggest::suggestion(name, known.iter().copied());
            self.error(format!("there is no {kind} {name:?}{suggestion}"));
            return None;
        }
        Some(name)
    }

    /// Returns `true` if the value is a table.
    pub fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// Returns `true` if the value is a text.
    pub fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// Returns `true` if the value is an array.
    pub fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    pub fn boolean(&self) -> Option<bool> {
        self.of_type("true or false", self.value.get_ref().as_bool())
    }

    pub fn integer<N>(&self, range: RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i64> + PartialOrd + fmt::Display + Copy,
    {
        let integer = self.of_type("a whole number", self.value.get_ref().as_integer())?;
        let number = i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| number.try_into().ok());
        let inside = number.filter(|number| range.contains(number));
        if inside.is_none() {
            self.error(format!(
                "must be from {} to {}, and is {integer}",
                range.start(),
                range.end()
            ));
        }
        inside
    }

    /// Returns a finite number, with or without decimals.
    pub fn number(&self) -> Option<f64> {
        let typed = match self.value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            _ => "",
        };
        let number = typed.parse().ok().filter(|number: &f64| number.is_finite());
        self.of_type("a finite number", number)
    }

    pub fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        self.parse_measure(
            "a size with its unit, like \"4MiB\"",
            units::parse_size,
            range,
            |bytes| units::format_size(*bytes),
        )
    }

    pub fn duration(&self, range: RangeInclusive<Millis>) -> Option<Millis> {
        let kind = "a duration with its unit, like \"90s\"";
        self.parse_measure(kind, units::parse_duration, range, |length| {
            units::format_duration(*length)
        })
    }

    fn parse_measure<T: PartialOrd>(
        &self,
        kind: &str,
        read: fn(&str) -> Result<T, units::InvalidUnit>,
        range: RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let text = self.of_type(kind, self.value.get_ref().as_str())?;
        let value = read(text).map_err(|error| self.error(error)).ok()?;
        if !range.contains(&value) {
            self.error(format!(
                "must be from {} to {}, and is {text}",
                show(range.start()),
                show(range.end())
            ));
            return None;
        }
        Some(value)
    }

    /// Returns the items of an array. Each item has the path of the array.
    pub fn list(&self) -> Option<Vec<ValueReader<'d>>> {
        let array = self.of_type("a list in brackets", self.value.get_ref().as_array())?;
        let item = |value| ValueReader {
            value,
            ..self.clone()
        };
        Some(array.iter().map(item).collect())
    }

    /// Returns the items of an array, which must have at least one item.
    pub fn non_empty_list(&self) -> Option<Vec<ValueReader<'d>>> {
        let items = self.list()?;
        if items.is_empty() {
            self.error("is empty: remove it, or add at least one entry");
            return None;
        }
        Some(items)
    }

    /// Returns the results of `read` for the items of an array, which must have at least one item.
    pub fn read_items<T>(&self, read: impl FnMut(&ValueReader<'d>) -> Option<T>) -> Vec<T> {
        let items = self.non_empty_list().unwrap_or_default();
        items.iter().filter_map(read).collect()
    }

    /// Returns the locations of secrets from an array, which must have 1 to `max` items.
    pub fn secrets(&self, max: usize) -> Vec<SecretRef> {
        let secrets = self.non_empty_list().unwrap_or_default();
        self.check_count(secrets.len(), max, "secrets");
        secrets.iter().filter_map(Self::secret).collect()
    }

    /// Reports a problem if `count`, the number of `parts` that the value has, is more than `max`.
    pub fn check_count(&self, count: usize, max: usize, parts: &str) {
        if count > max {
            self.error(format!("has {count} {parts}, the maximum is {max}"));
        }
    }

    /// Returns the entries of a table. See [`super::TableReader`] for reading them.
    pub(super) fn table(&self) -> Option<&'d DeTable<'d>> {
        self.of_type("a table", self.value.get_ref().as_table())
    }

    /// Returns a date as text. The value may be a text or a TOML date.
    pub fn date_text(&self) -> Option<String> {
        match self.value.get_ref() {
            DeValue::Datetime(date) => Some(date.to_string()),
            _ => self.text().map(str::to_owned),
        }
    }

    /// Reports that the value does not have the `expected` type if `typed` is `None`.
    fn of_type<T>(&self, expected: &str, typed: Option<T>) -> Option<T> {
        if typed.is_some() {
            return typed;
        }
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(format!("must be {expected}, and is {found}"));
        None
    }
}
