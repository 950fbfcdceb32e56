//! Reads a single value of a config as the expected type, or reports a problem.
//!
//! A method returns the value if it is valid. Otherwise the method reports the problem with its
//! location and returns `None`.

use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::DeValue;

use super::{Diagnostics, TableReader};
use crate::config::suggest;
use crate::config::units;
use crate::domain::time::Millis;

/// Reader of one value, with the location of the value.
#[derive(Clone)]
pub(in crate::config) struct ValueReader<'d> {
    pub(in crate::config) diagnostics: &'d Diagnostics<'d>,
    /// Key of the value. For an item of an array: key of the array.
    pub(in crate::config) key: &'d str,
    /// Byte offset of the key in the text.
    pub(in crate::config) key_offset: usize,
    /// Full path of the value, for messages, such as `flows.appointment.path`.
    pub(in crate::config) path: String,
    pub(in crate::config) value: &'d Spanned<DeValue<'d>>,
}

impl<'d> ValueReader<'d> {
    /// Returns the number of problems reported so far.
    pub(in crate::config) fn problem_count(&self) -> usize {
        self.diagnostics.problem_count()
    }

    /// Reports a problem of the value.
    pub(in crate::config) fn error(&self, what: impl fmt::Display) {
        self.diagnostics
            .add_problem(self.value.span().start, format!("{}: {what}", self.path));
    }

    /// Reports a problem of the key.
    pub(in crate::config) fn key_error(&self, what: impl Into<String>) {
        self.diagnostics.add_problem(self.key_offset, what.into());
    }

    pub(in crate::config) fn text(&self) -> Option<&'d str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.type_error("a text in quotes");
        }
        text
    }

    /// Returns the text, which must not be empty.
    pub(in crate::config) fn non_empty_text(&self) -> Option<&'d str> {
        let text = self.text()?;
        if text.is_empty() {
            self.error("is empty");
            return None;
        }
        Some(text)
    }

    /// Returns the result of `parse` for the text, or reports its error.
    pub(in crate::config) fn parse<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&'d str) -> Result<T, E>,
    ) -> Option<T> {
        parse(self.text()?).map_err(|error| self.error(error)).ok()
    }

    /// Returns the result of `parse` for the key, or reports its error.
    pub(in crate::config) fn parse_key<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&'d str) -> Result<T, E>,
    ) -> Option<T> {
        parse(self.key)
            .map_err(|error| self.key_error(format!("{}: {error}", self.path)))
            .ok()
    }

    /// Returns the text, which must be one of `words`.
    pub(in crate::config) fn one_of(&self, words: &[&'static str]) -> Option<&'static str> {
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

    /// Returns `true` if the value is a table.
    pub(in crate::config) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// Returns `true` if the value is a text.
    pub(in crate::config) fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// Returns `true` if the value is an array.
    pub(in crate::config) fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    pub(in crate::config) fn boolean(&self) -> Option<bool> {
        let value = self.value.get_ref().as_bool();
        if value.is_none() {
            self.type_error("true or false");
        }
        value
    }

    pub(in crate::config) fn integer<N>(&self, range: RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i64> + PartialOrd + fmt::Display + Copy,
    {
        let Some(integer) = self.value.get_ref().as_integer() else {
            self.type_error("a whole number");
            return None;
        };
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
    pub(in crate::config) fn number(&self) -> Option<f64> {
        let typed = match self.value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            _ => "",
        };
        let number = typed.parse().ok().filter(|number: &f64| number.is_finite());
        if number.is_none() {
            self.type_error("a finite number");
        }
        number
    }

    pub(in crate::config) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        self.parse_measure(
            "a size with its unit, like \"4MiB\"",
            units::parse_size,
            range,
            |bytes| units::format_size(*bytes),
        )
    }

    pub(in crate::config) fn duration(&self, range: RangeInclusive<Millis>) -> Option<Millis> {
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
        let Some(text) = self.value.get_ref().as_str() else {
            self.type_error(kind);
            return None;
        };
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
    pub(in crate::config) fn list(&self) -> Option<Vec<ValueReader<'d>>> {
        let Some(array) = self.value.get_ref().as_array() else {
            self.type_error("a list in brackets");
            return None;
        };
        Some(
            array
                .iter()
                .map(|value| ValueReader {
                    value,
                    ..self.clone()
                })
                .collect(),
        )
    }

    /// Returns the items of an array, which must have at least one item.
    pub(in crate::config) fn non_empty_list(&self) -> Option<Vec<ValueReader<'d>>> {
        let items = self.list()?;
        if items.is_empty() {
            self.error("is empty: remove it, or add at least one entry");
            return None;
        }
        Some(items)
    }

    /// Reads the table with `read`, then rejects the keys that `read` did not use.
    pub(in crate::config) fn read_table<R>(
        &self,
        read: impl FnOnce(&TableReader<'d>) -> R,
    ) -> Option<R> {
        self.read_named_table(|table| {
            let result = read(table);
            table.reject_unknown_keys();
            result
        })
    }

    /// Reads the table with `read`. The keys are user-defined names, so none is rejected here.
    pub(in crate::config) fn read_named_table<R>(
        &self,
        read: impl FnOnce(&TableReader<'d>) -> R,
    ) -> Option<R> {
        let Some(entries) = self.value.get_ref().as_table() else {
            self.type_error("a table");
            return None;
        };
        // For `[flows.form]`, the parser gives the location of the header as that of the table. If
        // the text has only `[flows.form.x]`, the location of the key is used.
        let offset = self.key_offset.max(self.value.span().start);
        Some(read(&TableReader::new(
            self.diagnostics,
            entries,
            self.path.clone(),
            offset,
        )))
    }

    /// Returns a date as text. The value may be a text or a TOML date.
    pub(in crate::config) fn date_text(&self) -> Option<String> {
        match self.value.get_ref() {
            DeValue::Datetime(date) => Some(date.to_string()),
            _ => self.text().map(str::to_owned),
        }
    }

    fn type_error(&self, expected: &str) {
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
    }
}
