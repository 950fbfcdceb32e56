//! One value that was typed: taken as what it should be, or reported.
//!
//! Every method gives the value if it is right, and otherwise reports why not, where it stands, and gives nothing.

use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::DeValue;

use super::nearest;
use super::raw::{Report, Table};
use super::units;
use crate::domain::time::Millis;

/// One value and its place.
#[derive(Clone)]
pub(super) struct Item<'d> {
    pub(super) report: &'d Report<'d>,
    /// Its key; of an array's item, that of the array.
    pub(super) key: &'d str,
    /// Where its key stands.
    pub(super) key_place: usize,
    /// Its name for people: `flows.appointment.path`.
    pub(super) name: String,
    pub(super) value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Item<'d> {
    /// How many problems were reported so far.
    pub(super) fn problems_so_far(&self) -> usize {
        self.report.count()
    }

    /// Reports something that is wrong with the value.
    pub(super) fn refuse(&self, what: impl fmt::Display) {
        self.report.add(self.value.span().start, format!("{}: {what}", self.name));
    }

    /// Reports something that is wrong with the key.
    pub(super) fn refuse_key(&self, what: impl Into<String>) {
        self.report.add(self.key_place, what.into());
    }

    pub(super) fn text(&self) -> Option<&'d str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.refuse_type("a text in quotes");
        }
        text
    }

    /// The text, which must not be empty.
    pub(super) fn some_text(&self) -> Option<&'d str> {
        let text = self.text()?;
        if text.is_empty() {
            self.refuse("is empty");
            return None;
        }
        Some(text)
    }

    /// The text, as `parse` takes it.
    pub(super) fn parsed<T, E: fmt::Display>(&self, parse: impl FnOnce(&'d str) -> Result<T, E>) -> Option<T> {
        parse(self.text()?).map_err(|error| self.refuse(error)).ok()
    }

    /// The key, as `parse` takes it.
    pub(super) fn parsed_key<T, E: fmt::Display>(&self, parse: impl FnOnce(&'d str) -> Result<T, E>) -> Option<T> {
        parse(self.key).map_err(|error| self.refuse_key(format!("{}: {error}", self.name))).ok()
    }

    /// One of these words.
    pub(super) fn word(&self, words: &[&'static str]) -> Option<&'static str> {
        let text = self.text()?;
        let known = words.iter().copied().find(|word| *word == text);
        if known.is_none() {
            self.refuse(format!("{text:?} is not known here{}", nearest::hint(text, words.iter().copied())));
        }
        known
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// Whether it is a text.
    pub(super) fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// Whether it is a list.
    pub(super) fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let value = self.value.get_ref().as_bool();
        if value.is_none() {
            self.refuse_type("true or false");
        }
        value
    }

    pub(super) fn integer<N>(&self, range: RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i64> + PartialOrd + fmt::Display + Copy,
    {
        let Some(integer) = self.value.get_ref().as_integer() else {
            self.refuse_type("a whole number");
            return None;
        };
        let number =
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|number| number.try_into().ok());
        let inside = number.filter(|number| range.contains(number));
        if inside.is_none() {
            self.refuse(format!("must be from {} to {}, and is {integer}", range.start(), range.end()));
        }
        inside
    }

    /// A finite number, whole or not.
    pub(super) fn number(&self) -> Option<f64> {
        let typed = match self.value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            _ => "",
        };
        let number = typed.parse().ok().filter(|number: &f64| number.is_finite());
        if number.is_none() {
            self.refuse_type("a finite number");
        }
        number
    }

    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        self.measured("a size with its unit, like \"4MiB\"", units::size, range, |bytes| units::show_size(*bytes))
    }

    pub(super) fn length(&self, range: RangeInclusive<Millis>) -> Option<Millis> {
        let kind = "a length of time with its unit, like \"90s\"";
        self.measured(kind, units::length, range, |length| units::show_length(*length))
    }

    fn measured<T: PartialOrd>(
        &self,
        kind: &str,
        read: fn(&str) -> Result<T, units::InvalidUnit>,
        range: RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let Some(text) = self.value.get_ref().as_str() else {
            self.refuse_type(kind);
            return None;
        };
        let value = read(text).map_err(|error| self.refuse(error)).ok()?;
        if !range.contains(&value) {
            self.refuse(format!("must be from {} to {}, and is {text}", show(range.start()), show(range.end())));
            return None;
        }
        Some(value)
    }

    /// The items of an array, each under the array's name.
    pub(super) fn items(&self) -> Option<Vec<Item<'d>>> {
        let Some(array) = self.value.get_ref().as_array() else {
            self.refuse_type("a list in brackets");
            return None;
        };
        Some(array.iter().map(|value| Item { value, ..self.clone() }).collect())
    }

    /// The items of an array, of which there must be one at least.
    pub(super) fn some_items(&self) -> Option<Vec<Item<'d>>> {
        let items = self.items()?;
        if items.is_empty() {
            self.refuse("is empty: leave it out, or put something in");
            return None;
        }
        Some(items)
    }

    /// The table, read with `read`; keys that it did not ask for are refused.
    pub(super) fn table<R>(&self, read: impl FnOnce(&Table<'d>) -> R) -> Option<R> {
        self.names(|table| {
            let result = read(table);
            table.refuse_unknown_keys();
            result
        })
    }

    /// The table, whose keys are names that the user gave.
    pub(super) fn names<R>(&self, read: impl FnOnce(&Table<'d>) -> R) -> Option<R> {
        let Some(entries) = self.value.get_ref().as_table() else {
            self.refuse_type("a table");
            return None;
        };
        // `[flows.form]` gives the header's place as that of the table; where only `[flows.form.x]` stands, the key's.
        let place = self.key_place.max(self.value.span().start);
        Some(read(&Table::new(self.report, entries, self.name.clone(), place)))
    }

    /// A day, as a text or as TOML's own date.
    pub(super) fn date_text(&self) -> Option<String> {
        match self.value.get_ref() {
            DeValue::Datetime(date) => Some(date.to_string()),
            _ => self.text().map(str::to_owned),
        }
    }

    fn refuse_type(&self, expected: &str) {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.refuse(format!("must be {expected}, and is {found}"));
    }
}
